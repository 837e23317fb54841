"""Dicts and lists of equal content are told apart where they can be, and never given to the wrong run."""

from __future__ import annotations

import copy
from typing import Any

from headwater.emitter import pipeline, step
from headwater.emitter.tracking import MAX_EQUAL, SMALL_NODES, Known, Tracker
from headwater.schemas import events
from headwater.schemas.events import AssetRef
from tests.support.recorded import Recorded, names


@step
def fold(n: int) -> dict[str, float]:
    return {"acc": 1.0}


@step
def report(scores: Any) -> None:
    return None


def _runs(log: Recorded, job: str) -> list[str]:
    return [event.run.id for event in log.of(events.StepStarted, job)]


def test_of_two_equal_results_the_one_that_is_passed_on_is_read(log: Recorded) -> None:
    with pipeline("p"):
        first, second = fold(1), fold(2)
        report(first)
        report(second)
    assert [ref.production for ref in log.consumed("p.report")] == _runs(log, "p.fold")


def test_outside_of_a_pipeline_the_very_object_is_recognised(log: Recorded) -> None:
    first, second = fold(1), fold(2)
    report(first)
    report(second)
    assert [ref.production for ref in log.consumed("report")] == _runs(log, "fold")


def test_outside_of_a_pipeline_an_equal_literal_is_no_old_result(log: Recorded) -> None:
    fold(1)
    for _ in range(50):  # a freed dict's id is soon another's
        report({"acc": 1.0})
    assert log.consumed("report") == []


def test_in_a_pipeline_a_copy_counts_as_the_only_result_of_its_content(log: Recorded) -> None:
    with pipeline("p"):
        report(copy.deepcopy(fold(1)))
    assert [ref.production for ref in log.consumed("p.report")] == _runs(log, "p.fold")


def test_a_copy_of_what_several_runs_wrote_names_none_of_them(log: Recorded) -> None:
    with pipeline("p"):
        fold(1)
        report(copy.deepcopy(fold(2)))
    (read,) = log.consumed("p.report")
    assert names([read]) == ["fold"]
    assert read.version == log.created("p.fold")[0].version
    assert read.production is None


def test_a_copy_of_what_has_several_names_is_none_of_them(log: Recorded) -> None:
    @step
    def other() -> dict[str, float]:
        return {"acc": 1.0}

    with pipeline("p"):
        fold(1)
        report(copy.deepcopy(other()))
    assert log.consumed("p.report") == []


def _known(production: str) -> Known:
    ref = AssetRef(namespace="n", name="a", version="json1:0", production=production)
    return Known(ref, events.Asset(namespace="n", name="a", version="json1:0", type="Dataset"))


def test_a_large_value_is_not_held(log: Recorded) -> None:
    tracker, small, large = Tracker(), [1], list(range(SMALL_NODES + 1))
    for value in (small, large):
        tracker.remember_value("", value, _known("r"))  # type: ignore[arg-type]
        assert tracker.recall_value("", value) is not None  # type: ignore[arg-type]
    held = [one.held for filed in tracker._values.values() for one in filed]
    assert held == [small, None]


def test_the_number_of_equal_values_that_are_kept_is_bounded() -> None:
    tracker, values = Tracker(), [[1] for _ in range(MAX_EQUAL + 3)]
    for at, value in enumerate(values):
        tracker.remember_value("", value, _known(str(at)))  # type: ignore[arg-type]
    recalled = [tracker.recall_value("", value) for value in values]  # type: ignore[arg-type]
    assert [known.ref.production for known in recalled if known] == ["3", "4", "5", "6"]
