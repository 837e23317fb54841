"""What a benchmark yields and how it is told: figures become rows, rows a table and results.json.

A figure has one value for each run; its value is their median. `ratio` says how many times
better we are than the peer, so more than 1 is better whether less or more of the unit is.
Nothing here measures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeAlias

Row: TypeAlias = dict[str, Any]
Better: TypeAlias = Literal["lower", "higher"]

GROUPS = (
    "emit",
    "kafka-emit",
    "step",
    "import",
    "dataset",
    "ingest",
    "kafka-postgres",
    "lineage",
    "questions",
)
#: What names a row and is no group: what is asked, or what is seen, and the group that measures it.
_MEASURED_BY = {
    **dict.fromkeys(("lineage-asof", "lineage-impact", "lineage-diff", "search"), "questions"),
    **dict.fromkeys(("live", "replay"), "kafka-postgres"),
}
REQUIRED = (
    "name",
    "value",
    "unit",
    "budget",
    "within",
    "peer",
    "peer_value",
    "ratio",
    "runs",
    "machine",
    "fixture",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that was measured: a value for each run, and what it stands beside.

    `fixture` states what was measured on: event size, graph shape, state of the caches.
    """

    name: str
    unit: str
    values: Sequence[float]
    fixture: str
    budget: float | None = None
    better: Better = "lower"
    peer: str | None = None
    peer_values: Sequence[float] = ()
    note: str = ""

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def peer_value(self) -> float | None:
        return median(self.peer_values) if self.peer_values else None

    @property
    def within(self) -> bool | None:
        """Whether the budget is kept; None without one."""
        if self.budget is None:
            return None
        return self.value <= self.budget if self.better == "lower" else self.value >= self.budget

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer; None without one."""
        theirs, ours = self.peer_value, self.value
        if theirs is None or not ours or not theirs:
            return None
        return theirs / ours if self.better == "lower" else ours / theirs


def row_of(figure: Figure, machine: dict[str, Any], measured_at: str) -> Row:
    """The row of results.json for a figure."""
    ratio = figure.ratio
    return {
        "name": figure.name,
        "value": rounded(figure.value),
        "unit": figure.unit,
        "better": figure.better,
        "budget": figure.budget,
        "within": figure.within,
        "peer": figure.peer,
        "peer_value": None if figure.peer_value is None else rounded(figure.peer_value),
        "ratio": None if ratio is None else rounded(ratio),
        "runs": len(figure.values),
        "values": [rounded(value) for value in figure.values],
        "fixture": figure.fixture,
        "note": figure.note,
        "machine": machine,
        "measured_at": measured_at,
    }


def rounded(value: float) -> float:
    """Four significant digits: no measurement here has more."""
    return float(f"{value:.4g}")


def percentile(values: Iterable[float], share: float) -> float:
    """The least value that at least `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    rank = max(1, -(-len(ordered) * round(share * 1000) // 1000))
    return ordered[min(rank, len(ordered)) - 1]


def merged(before: Sequence[Row], fresh: Sequence[Row], groups: Sequence[str]) -> list[Row]:
    """`before` with the rows of `groups` replaced, in the order of the groups."""
    kept = [row for row in before if group_of(row["name"]) not in groups]
    return sorted([*kept, *fresh], key=lambda row: GROUPS.index(group_of(row["name"])))


def group_of(name: str) -> str:
    """The group that measured a row: what its name begins with."""
    begin = name.partition(":")[0]
    return _MEASURED_BY.get(begin, begin)


def read(path: Path) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return rows


def write(path: Path, rows: Sequence[Row]) -> None:
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


HEADINGS = ("name", "measured", "budget", "", "peer", "peer's", "times better", "runs")


def table(rows: Sequence[Row]) -> str:
    """The rows as people read them."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {True: "ok", False: "MISSED", None: ""}[row["within"]]
    bound = "≤" if row["better"] == "lower" else "≥"
    return (
        row["name"],
        f"{shown(row['value'])} {row['unit']}",
        "" if row["budget"] is None else f"{bound} {shown(row['budget'])}",
        verdict,
        row["peer"] or "",
        "" if row["peer_value"] is None else shown(row["peer_value"]),
        "" if row["ratio"] is None else f"{shown(row['ratio'])}×",
        str(row["runs"]),
    )


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table of a document; what was measured on a busy machine says so."""
    lines = [
        "| figure | headwater | budget | | peer | peer's | times better |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name, measured, budget, verdict, *beside, _runs = _cells(row)
        busy = " (busy machine)" if row["machine"]["busy"] else ""
        cells = (f"`{name}`{busy}", measured, budget, verdict.replace("MISSED", "**missed**"), *beside)
        lines.append(f"| {' | '.join(cell or '–' for cell in cells)} |")
    return "\n".join(lines) + "\n"


def shown(value: float) -> str:
    """A number for reading: thousands set apart, three digits of what is small."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
