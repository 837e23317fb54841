"""A fold is a join: the order of its events leaves no trace in it."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Sequence

import pytest

from headwater.consumers.derive import derive
from headwater.consumers.fold import Folder, RunFold, run_id_of
from headwater.consumers.mentions import Names
from headwater.schemas import ids
from headwater.schemas.errors import Corrupt, Unparseable
from headwater.schemas.openlineage import parse
from tests.support.logs import run_event


def folded(values: Sequence[bytes]) -> RunFold:
    folder = Folder(Names(), set())
    events = [parse(value) for value in values]
    fold = RunFold.empty(run_id_of(events[0]), events[0])
    for event in events:
        folder.add(fold, event)
    return fold


def _with_run_id(value: bytes, run_id: str) -> bytes:
    document = json.loads(value)
    document["run"]["runId"] = run_id
    return json.dumps(document).encode()


def test_a_run_whose_id_somebody_computed_is_the_same_in_either_order() -> None:
    computed = ids.run_key("1", "tests", "job").hex()
    uuid = f"{computed[:8]}-{computed[8:12]}-{computed[12:16]}-{computed[16:20]}-{computed[20:]}"
    values = [_with_run_id(run_event(1), "1"), _with_run_id(run_event(2), uuid)]
    one, other = (folded(order) for order in itertools.permutations(values))
    assert one.canonical() == other.canonical()
    assert derive(one).hashes() == derive(other).hashes()


def test_a_run_of_a_thousand_events_keeps_only_the_stamps_that_still_mean_something() -> None:
    values = [run_event(1, "RUNNING", at=f"2026-03-01T10:{n // 60:02d}:{n % 60:02d}Z") for n in range(1000)]
    fold = folded(values)
    stored = RunFold.load(fold.run_id, fold.dump())
    assert len(stored.doc["s"]) < 5
    assert stored.canonical() == folded(values[::-1]).canonical()


@pytest.mark.parametrize(
    "error",
    [Corrupt(place="a.seg", start=1, end=2, offset=3), Unparseable(path="run", value="1", rule="an object")],
    ids=repr,
)
def test_errors_travel_between_processes(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made in the line itself
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
