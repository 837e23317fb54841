"""dataset: statistics and digest of a table of 100,000 × 20, beside flowyml's statistics.

Ours is `Dataset.create` within a pipeline: schema, statistics, content version, event in the
log. The peer's makes statistics only, and its digest does not read the data.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import isolated, peers
from bench.rows import Figure
from bench.scale import Scale

_SHAPES = {
    "float": ("20 float columns with some NaN", 100.0),
    "mixed": ("12 float, 3 int, 4 text and 1 time column", 200.0),
    "array": ("numpy array of 20 float columns", None),
    "records": ("list of dicts, 5 keys", None),
}


def figures(scale: Scale) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder:
        for shape, (what, budget) in _SHAPES.items():
            path = str(Path(folder) / f"{shape}.csv")
            isolated.call("bench.dataset:write", path=path, shape=shape, rows=scale.frame_rows)
            runs = scale.runs if budget else min(3, scale.runs)
            ours = isolated.call("bench.dataset:creating", path=path, shape=shape, runs=runs)
            theirs = peers.FLOWYML.call("datasets", path=path, shape=shape, runs=runs)
            yield Figure(
                name=f"dataset:{shape}",
                unit="ms",
                values=[value * 1e3 for value in ours["seconds"]],
                budget=budget,
                peer=peers.FLOWYML.title,
                peer_values=[value * 1e3 for value in theirs],
                fixture=f"{scale.frame_rows:,} rows: {what}; a fresh copy each time, one process, GC on",
                note=_described(ours["describe"]),
            )


def _described(seconds: float | None) -> str:
    return f"pandas' own describe() on it: {seconds * 1e3:,.0f} ms" if seconds else ""


# -- in a process of their own ------------------------------------------------------------


def write(path: str, shape: str, rows: int) -> int:
    """The table of `shape` as CSV, so that both sides read the same."""
    import numpy
    import pandas

    draw = numpy.random.default_rng(7)
    wide = {"float": 20, "mixed": 12, "array": 20, "records": 2}[shape]
    columns: dict[str, Any] = {f"f{n}": draw.normal(size=rows) for n in range(wide)}
    columns["f0"][draw.random(rows) < (0.01 if shape != "array" else 0)] = numpy.nan
    if shape in ("mixed", "records"):
        columns |= {
            f"i{n}": draw.integers(0, 10 ** (n + 2), rows) for n in range(3 if shape == "mixed" else 1)
        }
        columns |= {f"s{n}": _texts(draw, rows, kinds) for n, kinds in enumerate((3, 100))}
    if shape == "mixed":
        columns |= {"s2": _texts(draw, rows, rows), "s3": _texts(draw, rows, 5_000)}
        columns["at"] = pandas.Timestamp("2026-01-01") + pandas.to_timedelta(numpy.arange(rows), unit="s")
    pandas.DataFrame(columns).to_csv(path, index=False)
    return rows


def _texts(draw: Any, rows: int, kinds: int) -> list[str]:
    return [f"value-{number}" for number in draw.integers(0, kinds, rows)]


def creating(path: str, shape: str, runs: int) -> dict[str, Any]:
    """Seconds for `Dataset.create` of the table in the CSV file at `path`, handed over as `shape`."""
    import pandas

    from headwater.emitter import Dataset, Settings, configure, pipeline
    from headwater.emitter.emitter import current

    frame = pandas.read_csv(path, parse_dates=["at"] if shape == "mixed" else None)
    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder:
        configure(Settings(project="bench", log=Path(folder), profile="regulated"))
        with pipeline("bench", project="bench"):
            taken = [_seconds(Dataset, _as(frame, shape), number) for number in range(runs + 1)]
        current().close()
    return {"seconds": taken[1:], "describe": _describe(frame) if shape in ("float", "mixed") else None}


def _seconds(cls: Any, data: Any, number: int) -> float:
    began = time.perf_counter()
    made = cls.create(data, name=f"frame-{number}")
    taken = time.perf_counter() - began
    if made.record.extraction_error is not None:
        raise ValueError(made.record.extraction_error)
    return taken


def _as(frame: Any, shape: str) -> Any:
    import numpy

    if shape == "array":
        return numpy.ascontiguousarray(frame.to_numpy())
    return frame.to_dict("records") if shape == "records" else frame.copy()


def _describe(frame: Any) -> float:
    began = time.perf_counter()
    frame.describe()
    return time.perf_counter() - began
