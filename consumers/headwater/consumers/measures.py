"""Drift: how far a column has moved between two versions, by measures with names and thresholds.

Computed from what the events hold of a column (counts, mean and standard deviation, quantiles,
lengths), never from data. A measure whose ingredients were not recorded on both sides is not
given; where nothing at all can be computed, one entry without a value says why.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from headwater.consumers.details import Facets, mapping, statistics
from headwater.consumers.differences import Drift

#: Below so many values headwater's emitter tells no aggregates of a column.
SUPPRESSED_BELOW = 10
#: A bin never counts as emptier than this: a logarithm has to be taken.
LEAST_SHARE = 1e-3
_LEAST_QUANTILES = 3


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure and the value above which it flags a column."""

    name: str
    threshold: float


NULL_RATE = Measure("null rate difference", 0.01)
TRUE_RATE = Measure("true rate difference", 0.05)
MEAN = Measure("standardized mean difference", 0.1)
SHIFT = Measure("relative mean change", 0.1)
PSI = Measure("population stability index", 0.2)
RANGE = Measure("range mismatch", 0.5)
DISTINCT = Measure("distinct ratio difference", 0.1)
LENGTH = Measure("relative mean length change", 0.1)
MEASURES = (NULL_RATE, TRUE_RATE, MEAN, SHIFT, PSI, RANGE, DISTINCT, LENGTH)


class _Numbers(NamedTuple):
    """What was told of one column on one side: finite numbers by name, and the quantiles by share."""

    told: Mapping[str, float]
    quantiles: list[tuple[float, float]]
    rows: int | None

    def get(self, name: str) -> float | None:
        return self.told.get(name)

    @property
    def present(self) -> float:
        """How many values that are not null; infinite where nobody told."""
        known = self.told.get("count")
        if known is not None:
            return known
        return math.inf if self.rows is None else self.rows - self.told.get("nullCount", 0.0)

    @property
    def mean(self) -> float | None:
        known, whole = self.told.get("mean"), self.told.get("sum")
        if known is None and whole is not None and 0 < self.present < math.inf:
            return whole / self.present
        return known


def drift(before: Facets, after: Facets) -> Iterator[Drift]:
    """What moved in the columns that both sides have, in the order of the later side."""
    old, new = _columns(before), _columns(after)
    rows = statistics(before).get("row_count"), statistics(after).get("row_count")
    for column, told in new.items():
        if column in old and _differ(old[column], told):
            yield from _moved(column, _numbers(old[column], rows[0]), _numbers(told, rows[1]))


def _columns(facets: Facets) -> dict[str, dict[str, Any]]:
    """What is told of each column: by the standard facet, and what only ours has names for."""
    found: dict[str, dict[str, Any]] = {}
    for listed in (
        mapping(facets, "dataQualityMetrics", "columnMetrics"),
        mapping(facets, "headwater_columns", "columns"),
    ):
        for column, told in listed.items():
            if isinstance(told, dict):
                found[str(column)] = {**found.get(str(column), {}), **told}
    return found


def _differ(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether anything differs but raw values, which no measure takes."""
    return old != new and any(
        old.get(key) != new.get(key) for key in old.keys() | new.keys() if key != "topValues"
    )


def _numbers(told: dict[str, Any], rows: int | None) -> _Numbers:
    found = {key: value for key, raw in told.items() if (value := number(raw)) is not None}
    quantiles = [
        (share, value)
        for key, raw in mapping(told, "quantiles").items()
        if (share := _share(str(key))) is not None and (value := number(raw)) is not None
    ]
    return _Numbers(found, sorted(quantiles), rows)


def _moved(column: str, old: _Numbers, new: _Numbers) -> Iterator[Drift]:
    found = [one for measured in _MEASURED if (one := measured(column, old, new)) is not None]
    if found:
        yield from (one for one in found if one.value != 0)
    elif min(old.present, new.present) < SUPPRESSED_BELOW:
        yield _none(column, f"too few values: aggregates of fewer than {SUPPRESSED_BELOW} are suppressed")
    elif old.told.keys() != new.told.keys():
        yield _none(column, "the two sides recorded different numbers")


def _none(column: str, note: str) -> Drift:
    return Drift(column=column, measure="none", value=None, threshold=None, flagged=False, note=note)


def _drift(column: str, measure: Measure, value: float, before: float, after: float) -> Drift | None:
    if not math.isfinite(value):
        return Drift(
            column=column,
            measure=measure.name,
            value=None,
            threshold=measure.threshold,
            flagged=True,
            before=before,
            after=after,
            note="moved, from values that had no spread",
        )
    return Drift(
        column=column,
        measure=measure.name,
        value=value,
        threshold=measure.threshold,
        flagged=abs(value) > measure.threshold,
        before=before,
        after=after,
    )


def number(value: object) -> float | None:
    """A finite number, or None."""
    if type(value) is float:
        return value if -math.inf < value < math.inf else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _both(old: _Numbers, new: _Numbers, name: str) -> tuple[float, float] | None:
    before, after = old.get(name), new.get(name)
    return None if before is None or after is None else (before, after)


def _counts(old: _Numbers, new: _Numbers) -> tuple[float, float] | None:
    """The counts of both, where they are known and not zero."""
    before, after = old.present, new.present
    return (before, after) if 0 < before < math.inf and 0 < after < math.inf else None


def _means(old: _Numbers, new: _Numbers) -> tuple[float, float] | None:
    before, after = old.mean, new.mean
    return None if before is None or after is None else (before, after)


def _null_share(numbers: _Numbers) -> float | None:
    nulls, count = numbers.get("nullCount"), numbers.get("count")
    total = float(numbers.rows) if numbers.rows else None if nulls is None or count is None else nulls + count
    return None if nulls is None or not total else min(nulls / total, 1.0)


def _null_rate(column: str, old: _Numbers, new: _Numbers) -> Drift | None:
    before, after = _null_share(old), _null_share(new)
    if before is None or after is None:
        return None
    return _drift(column, NULL_RATE, after - before, before, after)


def _true_rate(column: str, old: _Numbers, new: _Numbers) -> Drift | None:
    trues, counts = _both(old, new, "trueCount"), _counts(old, new)
    if trues is None or counts is None:
        return None
    before, after = trues[0] / counts[0], trues[1] / counts[1]
    return _drift(column, TRUE_RATE, after - before, before, after)


def _mean(column: str, old: _Numbers, new: _Numbers) -> Drift | None:
    """Cohen's: the difference of the means in units of the mean spread of both sides."""
    means = _means(old, new)
    if means is None:
        return None
    before, after = means
    spreads = _both(old, new, "std")
    if spreads is None:
        if before == 0:
            return None
        return _drift(column, SHIFT, (after - before) / abs(before), before, after)
    spread = math.hypot(*spreads) / math.sqrt(2)
    moved = after - before
    value = moved / spread if spread else math.copysign(math.inf, moved) if moved else 0.0
    return _drift(column, MEAN, value, before, after)


def _stability(column: str, old: _Numbers, new: _Numbers) -> Drift | None:
    """PSI over the bins between the earlier side's quantiles, the later side interpolated between its own."""
    before, after = _distribution(old), _distribution(new)
    if before is None or after is None:
        return None
    edges = before[0][1:-1]
    expected, actual = _shares(edges, before), _shares(edges, after)
    value = sum((there - here) * math.log(there / here) for here, there in zip(expected, actual, strict=True))
    return _drift(column, PSI, round(value, 12), _median(before), _median(after))


Distribution: TypeAlias = tuple[list[float], list[float]]


def _distribution(numbers: _Numbers) -> Distribution | None:
    """(values, share of all that is not greater) from the least value to the greatest.

    None where two of them are equal: between the few values of such a column nothing can be interpolated.
    """
    low, high = numbers.get("min"), numbers.get("max")
    if len(numbers.quantiles) < _LEAST_QUANTILES or low is None or high is None:
        return None
    values = [low, *(value for _, value in numbers.quantiles), high]
    if not all(one < other for one, other in pairwise(values)):
        return None
    return values, [0.0, *(share for share, _ in numbers.quantiles), 1.0]


@lru_cache(maxsize=256)
def _share(key: str) -> float | None:
    try:
        share = float(key)
    except ValueError:
        return None
    return share if 0 < share < 1 else None


def _shares(edges: list[float], distribution: Distribution) -> list[float]:
    """How much of `distribution` lies in each bin: up to the first edge, between each two, and beyond."""
    cumulated = [0.0, *(_until(edge, distribution) for edge in edges), 1.0]
    return [max(high - low, LEAST_SHARE) for low, high in pairwise(cumulated)]


def _until(edge: float, distribution: Distribution) -> float:
    """The share of all that is not greater than `edge`."""
    return _interpolated(edge, *distribution)


def _median(distribution: Distribution) -> float:
    values, shares = distribution
    return _interpolated(0.5, shares, values)


def _interpolated(at: float, places: list[float], values: list[float]) -> float:
    """The value at `at`, on straight lines between those at `places`."""
    above = bisect_right(places, at)
    if above == 0:
        return values[0]
    if above == len(places):
        return values[-1]
    low, high = places[above - 1], places[above]
    part = (at - low) / (high - low) if math.isfinite(high - low) else 0.0
    return values[above - 1] + (values[above] - values[above - 1]) * part


def _range(column: str, old: _Numbers, new: _Numbers) -> Drift | None:
    """What part of both ranges together is not in both: for times, and where nothing else is known."""
    lows, highs = _both(old, new, "min"), _both(old, new, "max")
    if lows is None or highs is None or _means(old, new) is not None:
        return None
    union = max(highs) - min(lows)
    shared = max(min(highs) - max(lows), 0.0)
    return _drift(column, RANGE, 1 - shared / union if union > 0 else 0.0, highs[0], highs[1])


def _distinct(column: str, old: _Numbers, new: _Numbers) -> Drift | None:
    """Distinct values per value; for numbers other measures say more."""
    distinct, counts = _both(old, new, "distinctCount"), _counts(old, new)
    if distinct is None or counts is None or "trueCount" in old.told or _means(old, new) is not None:
        return None
    before, after = distinct[0] / counts[0], distinct[1] / counts[1]
    return _drift(column, DISTINCT, after - before, before, after)


def _length(column: str, old: _Numbers, new: _Numbers) -> Drift | None:
    lengths = _both(old, new, "meanLength")
    if lengths is None or not lengths[0]:
        return None
    return _drift(column, LENGTH, (lengths[1] - lengths[0]) / lengths[0], *lengths)


_MEASURED: tuple[Callable[[str, _Numbers, _Numbers], Drift | None], ...] = (
    _null_rate,
    _true_rate,
    _mean,
    _stability,
    _range,
    _distinct,
    _length,
)
