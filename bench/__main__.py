"""`python -m bench [GROUP …]`: measures, prints a table, writes bench/results.json."""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import machine, rows
from bench.isolated import CACHE, ROOT, Failed
from bench.scale import FULL, QUICK, Scale

RESULTS = ROOT / "bench" / "results.json"
DOCUMENT = ROOT / "docs" / "reference" / "benchmarks.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
_MODULES = {
    "import": "bench.importing",
    "kafka-emit": "bench.kafka_emit",
    "kafka-postgres": "bench.kafka_postgres",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure headwater beside its peers."
    )
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"of {', '.join(rows.GROUPS)}; default all"
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to try the benchmarks; bench/.cache/quick.json"
    )
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.groups) - set(rows.GROUPS))
    if unknown:
        parser.error(f"there is no group {unknown[0]}; there are {', '.join(rows.GROUPS)}")
    CACHE.mkdir(parents=True, exist_ok=True)
    groups = [name for name in rows.GROUPS if not chosen.groups or name in chosen.groups]
    path = CACHE / "quick.json" if chosen.quick else RESULTS
    here = machine.describe()
    print(f"{here['cpu']}, {here['cores']} cores, {here['memory_gb']} GB; load {here['load_before']} before")
    found, failed = _measure(groups, QUICK if chosen.quick else FULL, here, path)
    if not chosen.quick:
        _document(rows.read(path))
    print(f"\n{rows.table(found)}\n\n{_summary(found)}\n{path.relative_to(ROOT)} has them all")
    return 1 if failed else 0


def _measure(
    groups: Sequence[str], scale: Scale, here: dict[str, Any], path: Path
) -> tuple[list[rows.Row], bool]:
    """The rows of `groups`, each group written to `path` when it is done; whether one failed."""
    found, failed = list[rows.Row](), False
    for name in groups:
        began, before, now = time.monotonic(), len(found), machine.before_a_group(here)
        print(f"\n{name}  {machine.warning(now)}".rstrip(), flush=True)
        try:
            for figure in group(name)(scale):
                row = rows.row_of(figure, now, datetime.now(UTC).isoformat(timespec="seconds"))
                found.append(row)
                print(f"  {row['name']}: {rows.shown(row['value'])} {row['unit']}", flush=True)
        except Failed as problem:
            failed = True
            print(f"  FAILED: {problem}", flush=True)
        rows.write(path, rows.merged(rows.read(path), found[before:], [name]))
        print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    return found, failed


def _document(found: Sequence[rows.Row]) -> None:
    """Put what was seen between the marks in the document."""
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}{rows.markdown(found)}{END}{after}", encoding="utf-8")


def group(name: str) -> Callable[[Scale], Iterator[rows.Figure]]:
    """What yields the figures of the group `name`."""
    module = importlib.import_module(_MODULES.get(name, f"bench.{name}"))
    figures: Callable[[Scale], Iterator[rows.Figure]] = module.figures
    return figures


def _summary(found: Sequence[rows.Row]) -> str:
    judged = [row for row in found if row["within"] is not None]
    missed = [row["name"] for row in judged if not row["within"]]
    kept = f"{len(judged) - len(missed)} of {len(judged)} budgets kept"
    better = "“times better” is how much less time, or how much more a second, than the peer"
    return f"{kept}{'; missed: ' + ', '.join(missed) if missed else ''}; {better}"


if __name__ == "__main__":
    raise SystemExit(main())
