"""Drift is computed from what was recorded, by the measure that is named, or not at all."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.consumers.differences import Drift
from headwater.consumers.measures import LEAST_SHARE, MEASURES, drift


def facets(rows: int | None = None, **columns: dict[str, Any]) -> dict[str, Any]:
    """The facets of an asset with these columns; what the standard facet has no name for is in ours."""
    found: dict[str, Any] = {"dataQualityMetrics": {"columnMetrics": columns}}
    if rows is not None:
        found["outputStatistics"] = {"rowCount": rows}
    return found


def moved(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Drift]:
    """The drift of one column, by measure."""
    return {one.measure: one for one in drift(facets(x=before), facets(x=after))}


def normal(mean: float, std: float, count: int = 1_000) -> dict[str, Any]:
    shape = NormalDist(mean, std)
    quantiles = {str(q): shape.inv_cdf(q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
    ends = {"min": shape.inv_cdf(0.0005), "max": shape.inv_cdf(0.9995)}
    return {"count": count, "nullCount": 0, "mean": mean, "std": std, "quantiles": quantiles, **ends}


def test_the_difference_of_means_is_told_in_units_of_the_spread() -> None:
    found = moved({"mean": 10.0, "std": 3.0}, {"mean": 12.0, "std": 4.0})
    one = found["standardized mean difference"]
    assert one.value == pytest.approx(2 / math.sqrt((9 + 16) / 2))
    assert (one.flagged, one.before, one.after) == (True, 10.0, 12.0)


def test_a_move_from_values_without_spread_has_no_number_and_is_flagged() -> None:
    one = moved({"mean": 1.0, "std": 0.0}, {"mean": 2.0, "std": 0.0})["standardized mean difference"]
    assert (one.value, one.flagged) == (None, True)
    assert one.note


def test_the_stability_index_of_normal_columns_is_near_its_closed_form() -> None:
    here, there = NormalDist(0, 1), NormalDist(0.3, 1)
    edges = [-math.inf, *(here.inv_cdf(q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)), math.inf]
    expected = 0.0
    for low, high in pairwise(edges):
        a, b = here.cdf(high) - here.cdf(low), there.cdf(high) - there.cdf(low)
        expected += (b - a) * math.log(b / a)
    found = moved(normal(0, 1), normal(0.3, 1))["population stability index"]
    assert found.value == pytest.approx(expected, rel=0.35)
    assert found.flagged is False
    assert moved(normal(0, 1), normal(2, 1))["population stability index"].flagged


def test_columns_of_few_values_have_no_stability_index() -> None:
    flat = {"0.05": 0.0, "0.25": 0.0, "0.5": 1.0, "0.75": 1.0, "0.95": 1.0}
    one = {"mean": 0.5, "std": 0.5, "min": 0.0, "max": 1.0, "quantiles": flat}
    assert set(moved(one, {**one, "mean": 0.6})) == {"standardized mean difference"}


def test_null_rates_are_compared_by_rows_or_by_counts() -> None:
    told = drift(facets(rows=100, x={"nullCount": 0}), facets(rows=200, x={"nullCount": 10}))
    assert [(one.measure, one.value) for one in told] == [("null rate difference", 0.05)]
    found = moved({"nullCount": 1, "count": 99}, {"nullCount": 1, "count": 49})
    assert found["null rate difference"].value == pytest.approx(0.01)


def test_texts_are_compared_by_distinct_values_and_lengths() -> None:
    found = moved(
        {"count": 100, "distinctCount": 100, "meanLength": 8.0},
        {"count": 100, "distinctCount": 50, "meanLength": 8.4},
    )
    assert found["distinct ratio difference"].value == -0.5
    assert found["relative mean length change"].flagged is False


def test_truths_are_compared_by_their_rate() -> None:
    found = moved({"count": 10, "trueCount": 5, "distinctCount": 2}, {"count": 10, "trueCount": 6})
    assert found["true rate difference"].value == pytest.approx(0.1)


def test_times_are_compared_by_what_their_ranges_share() -> None:
    found = moved({"min": 0.0, "max": 10.0, "unit": "s"}, {"min": 5.0, "max": 15.0, "unit": "s"})
    assert found["range mismatch"].value == pytest.approx(2 / 3)


def test_without_a_spread_the_mean_is_compared_with_itself() -> None:
    found = moved({"sum": 100, "count": 10}, {"sum": 150, "count": 10})
    assert found["relative mean change"].value == 0.5


def test_what_was_suppressed_is_said() -> None:
    (one,) = drift(facets(x={"count": 5}), facets(x={"count": 4}))
    assert (one.value, one.flagged) == (None, False)
    assert one.note is not None
    assert "suppressed" in one.note


def test_what_was_recorded_on_one_side_only_is_not_made_up() -> None:
    (one,) = drift(facets(x={"distinctCount": 5}), facets(x={"meanLength": 4}))
    assert one.note == "the two sides recorded different numbers"
    assert list(drift(facets(x={"count": 5}), facets(y={"count": 5}))) == []


def test_raw_values_of_columns_that_opted_in_are_no_drift() -> None:
    before, after = {"count": 50, "topValues": [1]}, {"count": 50, "topValues": [2]}
    assert list(drift(facets(x=before), facets(x=after))) == []


_odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just("NaN"), st.just([])
)
_numbers = st.dictionaries(
    st.sampled_from(
        ["count", "nullCount", "distinctCount", "mean", "std", "sum", "min", "max", "trueCount", "meanLength"]
    ),
    _odd,
)
_quantiles = st.dictionaries(st.sampled_from(["0.05", "0.5", "0.95", "x", "2"]), _odd)
_columns = st.builds(lambda numbers, quantiles: {**numbers, "quantiles": quantiles}, _numbers, _quantiles)


@settings(deadline=None)
@given(before=_columns, after=_columns, rows=st.none() | st.integers(0, 50))
def test_whatever_a_producer_wrote_every_value_is_a_number_and_flagged_by_its_threshold(
    before: dict[str, Any], after: dict[str, Any], rows: int | None
) -> None:
    for one in drift(facets(rows, x=before), facets(rows, x=after)):
        assert one.value is None or math.isfinite(one.value)
        if one.value is not None and one.threshold is not None:
            assert one.flagged == (abs(one.value) > one.threshold)
    assert not [one for one in drift(facets(rows, x=before), facets(rows, x=before)) if one.flagged]


def test_every_measure_has_a_name_of_its_own() -> None:
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    assert 0 < LEAST_SHARE < 0.05
