"""A step that read and wrote very much ends like any other, and says all of it within bounds."""

from __future__ import annotations

import pytest

from headwater.emitter import Artifact, Dataset, start_step, step
from headwater.emitter import emitter as emitters
from headwater.emitter.emitter import MAX_EVENT_BYTES
from headwater.emitter.runs import MAX_REPEATED
from headwater.emitter.steps import Ending, StepRun
from headwater.schemas import events
from headwater.schemas.events import AssetRef
from tests.support.recorded import Recorded


def _ref(name: str) -> AssetRef:
    return AssetRef(namespace="crm", name=name, version="json1:" + "a" * 64, type="Dataset", production=None)


def _record(name: str, parents: tuple[AssetRef, ...] | None = None) -> events.Asset:
    return events.Asset(
        namespace="crm", name=name, version="json1:" + "b" * 64, type="Dataset", parents=parents
    )


def _large(inputs: int, outputs: int, name: str = "{}") -> StepRun:
    run = start_step("join")
    for n in range(inputs):
        run.consumed(_ref(name.format(f"in{n}")), None)
    for n in range(outputs):
        run.created(_record(name.format(f"out{n}")))
    return run


def _pairs(log: Recorded) -> dict[str, set[str]]:
    said: dict[str, set[str]] = {}
    for event in log.of(events.StepCompleted):
        for output, parents in event.lineage:
            said.setdefault(output.name, set()).update(parent.name for parent in parents)
    return said


def test_stated_parents_among_many_inputs_and_outputs_are_all_told(log: Recorded) -> None:
    run = _large(220, 220)
    run.created(_record("chosen", (_ref("in0"),)))
    run.complete()
    read = {f"in{n}" for n in range(220)}
    assert _pairs(log) == {**{f"out{n}": read for n in range(220)}, "chosen": {"in0"}}
    assert emitters.current().stats.refused == 0


def test_one_output_of_very_many_inputs_is_told(log: Recorded) -> None:
    run = _large(7_000, 1)
    run.created(_record("chosen", ()))
    run.complete()
    assert len(_pairs(log)["out0"]) == 7_000
    assert _pairs(log)["chosen"] == set()
    assert emitters.current().stats.refused == 0


@pytest.mark.parametrize("failing", [False, True], ids=["completed", "failed"])
@pytest.mark.parametrize(("count", "name"), [(7_000, "{}"), (500, "ü" * 4_000 + "{}")], ids=["many", "long"])
def test_an_ending_too_large_for_one_event_is_told_in_several(
    log: Recorded, count: int, name: str, failing: bool
) -> None:
    run = _large(count, count, name)
    if failing:
        run.fail(ValueError("no"))
    else:
        run.complete()
    kind = events.StepFailed if failing else events.StepCompleted
    endings: list[Ending] = list(log.of(kind))
    assert len(endings) > 1
    assert len({event.time for event in endings}) == 1
    assert sum(len(event.inputs) for event in endings) == count
    assert sum(len(event.outputs) for event in endings) == count
    assert max(map(len, log.sink.values)) < MAX_EVENT_BYTES
    assert emitters.current().stats.refused == 0


def test_an_ordinary_step_ends_with_one_event(log: Recorded) -> None:
    _large(80, 80).complete()
    assert len(log.of(events.StepCompleted)) == 1


def test_what_a_run_remembers_of_a_stream_is_bounded(log: Recorded) -> None:
    run = _large(MAX_REPEATED + 5, 1)
    assert len(run._inputs) == MAX_REPEATED
    run.complete()
    assert len(log.consumed("join")) == MAX_REPEATED + 5
    assert sum(len(event.inputs) for event in log.of(events.StepCompleted)) == MAX_REPEATED


def test_a_parent_is_told_to_each_of_the_versions_it_led_to(log: Recorded) -> None:
    @step
    def split() -> None:
        whole = Dataset.create([{"a": 1}], name="whole", parents=[])
        Artifact.create({"b": 2}, name="part", parents=[whole])

    split()
    assert _pairs(log) == {"whole": set(), "part": {"whole"}}
