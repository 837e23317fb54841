"""One column at a time: its digest and its numbers, from plain Python values.

This is the path that needs no package: `headwater.emitter.extractors.vectors` does the same on
buffers. Metrics hold aggregates of numbers and lengths and counts of strings; a value
itself only where its column opted in. Both paths answer in the terms declared here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Protocol

from headwater.schemas import canonical
from headwater.schemas.events import Column, Json

SMALLEST_AGGREGATE = 10  # below so many values an aggregate says too much about one of them
LARGEST_SORT = 1 << 25  # values of one column that may be copied to rank them; larger ones tell fewer numbers
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SHOWN_VALUES = 10

Metrics = dict[str, Json]

_SECOND_NS = 1_000_000_000
_DAY_S = 86_400
_ORDERED = {"int", "float", "decimal", "bool", "instant", "local", "duration", "time", "date"}


class Vector(Protocol):
    """The values of one column. Both calls read the object that was given; neither keeps a copy."""

    def digest(self) -> bytes:
        """The column's digest by `headwater.schemas.canonical`; raises `Uncanonical`."""

    def metrics(self, *, open_values: bool) -> Metrics:
        """The column's numbers; `open_values` also allows raw values and aggregates of few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumn:
    """A column before it is read: `name` as the object has it, `load` makes the vector."""

    name: object
    type: str | None
    load: Callable[[], Vector]
    fields: tuple[Column, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Cells:
    """A column of Python values; None is null."""

    values: Sequence[object]

    def digest(self) -> bytes:
        """See `Vector`."""
        return canonical.column_digest(self.values)

    def metrics(self, *, open_values: bool) -> Metrics:
        """See `Vector`."""
        present = [value for value in self.values if value is not None]
        found: Metrics = {"nullCount": len(self.values) - len(present), "count": len(present)}
        distinct = _distinct(present)
        if distinct is not None:
            found["distinctCount"] = distinct
        classes = canonical.classes_of(present)
        if len(classes) == 1:
            found.update(_metrics_of(classes.pop(), present, open_values=open_values))
        if open_values:
            found["topValues"] = top_values(present)
        return found


def aggregates_allowed(count: int, open_values: bool) -> bool:
    """Whether `count` values are enough for their aggregates to be told."""
    return count > 0 and (open_values or count >= SMALLEST_AGGREGATE)


def number(value: float) -> Json:
    """`value` as a JSON number, None where JSON has none: not finite, or an integer beyond 64 bits."""
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return value
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def finite(**numbers: float) -> Metrics:
    """The given numbers without those that JSON cannot hold."""
    return {key: shown for key, value in numbers.items() if (shown := number(value)) is not None}


def length_metrics(count: int, shortest: int, longest: int, total: int, empty: int) -> Metrics:
    """What is told of strings: never one of them."""
    if not count:
        return {}
    return {"minLength": shortest, "maxLength": longest, "meanLength": total / count, "emptyCount": empty}


def top_values(values: Iterable[object]) -> Json:
    """The most frequent values of a column that opted in, as text where JSON has no such value."""
    try:
        common = Counter(values).most_common(SHOWN_VALUES)
    except TypeError:  # unhashable values have no frequency
        return []
    return [{"value": shown(value), "count": count} for value, count in common]


def quantile_positions(count: int) -> Iterable[tuple[str, int, int, float]]:
    """For each quantile its key, the two ranks it lies between, and the weight of the upper one."""
    for q in QUANTILES:
        below = math.floor(q * (count - 1))
        yield str(q), below, min(below + 1, count - 1), q * (count - 1) - below


def shown(value: object) -> Json:
    """A raw value as JSON can hold it."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _distinct(values: Sequence[object]) -> int | None:
    try:
        found = set(values)
    except TypeError:
        return None
    # NaN is one value however many objects spell it.
    nans = sum(1 for value in found if value != value)
    return len(found) - nans + bool(nans)


def _metrics_of(kind: str, values: Sequence[object], *, open_values: bool) -> Metrics:
    if kind in ("string", "binary", "list"):
        lengths = [len(value) for value in values]  # type: ignore[arg-type]
        return length_metrics(len(values), min(lengths), max(lengths), sum(lengths), lengths.count(0))
    if kind == "bool":
        return {"trueCount": sum(map(bool, values))}
    if kind not in _ORDERED or not aggregates_allowed(len(values), open_values):
        return {}
    if kind == "decimal":
        return _number_metrics(list(map(float, values)))  # type: ignore[arg-type]
    if kind in ("int", "float"):
        return _number_metrics(values)  # type: ignore[arg-type]
    return range_metrics(kind, *_span(list(map(_seconds, values))))


def _span(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def range_metrics(kind: str, low: float, high: float) -> Metrics:
    """The range of times: seconds since 1970 for dates and instants, seconds for spans and times of day."""
    return {**finite(min=low, max=high), "unit": "s"}


def _seconds(value: object) -> float:
    if isinstance(value, datetime):
        epoch = datetime(1970, 1, 1, tzinfo=value.tzinfo)
        return (value - epoch).total_seconds() - (value.utcoffset() or timedelta(0)).total_seconds()
    if isinstance(value, date):
        return float((value - date(1970, 1, 1)).days * _DAY_S)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, time):
        return (value.hour * 60 + value.minute) * 60 + value.second + value.microsecond / 1e6
    raise TypeError(f"{type(value).__name__} is no time")


def _number_metrics(values: Sequence[float]) -> Metrics:
    ranked = sorted(value for value in values if not isinstance(value, float) or math.isfinite(value))
    found: Metrics = {}
    if len(ranked) < len(values):
        nans = sum(1 for value in values if value != value)
        found.update(nanCount=nans, infiniteCount=len(values) - len(ranked) - nans)
    if not ranked:
        return found
    try:
        found.update(_moments(ranked))
    except OverflowError:  # integers or sums beyond a double have no mean that JSON could hold
        found.update(finite(min=ranked[0], max=ranked[-1]))
    return found


def _moments(ranked: Sequence[float]) -> Metrics:
    count = len(ranked)
    total = sum(ranked) if all(isinstance(value, int) for value in ranked) else math.fsum(ranked)
    mean = total / count
    found = finite(sum=total, min=ranked[0], max=ranked[-1], mean=mean)
    if count > 1:
        squares = math.fsum((value - mean) ** 2 for value in ranked)
        found.update(finite(std=math.sqrt(squares / (count - 1))))
    found["quantiles"] = finite(
        **{
            key: ranked[low] + (ranked[high] - ranked[low]) * weight if weight else ranked[low]
            for key, low, high, weight in quantile_positions(count)
        }
    )
    return found
