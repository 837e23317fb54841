"""The figures in README.md: one or two of each promise, as bench/results.json held them.

All of them, met or missed, are in docs/reference/benchmarks.md.

python -m tests.docs.figures      writes them into README.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.docs.documents import ROOT

RESULTS = ROOT / "bench" / "results.json"
README = ROOT / "README.md"
#: What README.md shows, each the figure that is closest to what a person does.
HEADLINES = (
    "emit:spool:p50",
    "emit:spool:p99",
    "step:overhead:p50",
    "import:emitter",
    "dataset:mixed",
    "ingest:sqlite:native:2-workers",
    "ingest:postgresql:foreign:1-worker",
    "ingest:postgresql:foreign:2-workers",
    "ingest:memory:sqlite",
    "ingest:live:postgresql:p99",
    "kafka-emit:",
    "kafka-postgres:",
    "live:",
    "replay:",
    "lineage:sqlite:depth-10:up:named:",
    "lineage:sqlite:ladder:walk",
    "lineage:postgresql:depth-10:up:named:",
    "lineage:postgresql:ladder:walk",
    "lineage-",
    "search:",
)
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def between_marks(text: str) -> str:
    """What stands in README.md between the marks."""
    return text.split(BEGIN)[1].split(END)[0]


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows of results.json as a table for README.md; nothing when there are none."""
    lines = [
        f"| {row['name']} | {_amount(row['value'], row['unit'])} | {_amount(row['budget'], row['unit'])} "
        f"| {row['peer'] or '–'} | {_amount(row['peer_value'], row['unit'])} | {_factor(row['ratio'])} |"
        for row in rows
    ]
    if not lines:
        return ""
    head = ["| figure | headwater | goal | peer | the peer's | times better |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *lines]) + "\n"


def _amount(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{_number(value)} {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _factor(ratio: float | None) -> str:
    return "–" if ratio is None else f"{_number(ratio)}×"


def recorded(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The rows that were measured; none where nothing was."""
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    goals = [
        row for row in recorded() if row["budget"] is not None and str(row["name"]).startswith(HEADLINES)
    ]
    README.write_text(f"{before}{BEGIN}{table(goals)}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
