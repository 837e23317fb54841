"""A walk over columns finds what the reference finds, in whatever order the events came."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from headwater.consumers import column_walk, walk
from headwater.consumers.column_walk import ColumnWalk
from headwater.consumers.store import Store
from tests.replay import product
from tests.replay import universes as made
from tests.replay.columns import Columns
from tests.replay.profiles import examples, fresh_examples
from tests.replay.reference import reference

COLUMNS = ("x", "y", "␛0", "")


def found(store: Store, start: walk.Node, column: str, direction: walk.Direction) -> ColumnWalk:
    with store.connecting() as connection:
        return column_walk.walk(connection, [(start, column)], direction)


def check_columns(store: Store, values: list[bytes], seed: int) -> None:
    """Every column of every production, both ways; events permuted and doubled, in several batches."""
    chance = random.Random(seed)
    told = values + chance.choices(values, k=len(values) // 2)
    chance.shuffle(told)
    product.wipe(store)
    product.apply_all(store, product.split(told, [chance.randint(1, 4) for _ in range(3)]))
    expected = Columns(reference(values))
    with store.connecting() as connection:
        starts: list[walk.Node] = [*walk.productions(connection, expected.bound.outputs)]
    written = {o["dataset_id"] for o in expected.bound.outputs.values()}
    read = {i["dataset_id"] for i in expected.bound.inputs} - written
    starts += [walk.Origin(dataset, dataset, None, None, False) for dataset in sorted(read)]
    for start in starts:
        for column in COLUMNS:
            for direction in ("up", "down"):
                walked = found(store, start, column, direction)
                depths, edges = expected.walk((start.id, column), direction)
                assert {tuple(cell): depth for cell, depth in walked.depths.items()} == depths
                assert walked.kinds == edges
                assert walked.truncated is None


@st.composite
def steps(draw: DrawFn) -> bytes:
    """A run that states columns, more often than not."""
    names = st.sampled_from(made.DATASETS[:3])
    facets: made.Body = {}
    if draw(st.integers(0, 2)) == 0:
        facets["lineage"] = draw(st.one_of(made.job_lineages, made.job_lineages, st.just({"_deleted": True})))
    outputs: list[made.Body] = []
    for name in draw(st.lists(names, min_size=1, max_size=2)):
        item: made.Body = {**name, "facets": {}}
        if draw(st.integers(0, 3)):
            item["facets"]["columnLineage"] = draw(made.column_lineages)
        outputs.append(item)
    event = {
        "eventType": draw(st.sampled_from(["RUNNING", "COMPLETE", "COMPLETE", "FAIL"])),
        "eventTime": f"2024-03-01T10:{draw(st.integers(0, 9)):02d}:00Z",
        "run": {"runId": draw(st.sampled_from(["r1", "r2", "r3", "r4"]))},
        "job": {"namespace": "crm", "name": "P", "facets": facets},
        "inputs": [dict(name) for name in draw(st.lists(names, max_size=2))],
        "outputs": outputs,
    }
    return made.written(event, False)


def _stating(minute: int, column: str, run: str | None = "r1") -> bytes:
    """One event that says that `lake/b` is made of one column of `lake/a`."""
    source = {"namespace": "lake", "name": "a", "type": "DATASET", "field": column}
    entry = {"namespace": "lake", "name": "b", "type": "DATASET", "fields": {"y": {"inputs": [source]}}}
    lineage = {"_deleted": True} if not column else {"entries": [entry]}
    event = {
        "eventTime": f"2024-03-01T10:{minute:02d}:00Z",
        "job": {"namespace": "crm", "name": "P", "facets": {"lineage": lineage}},
        "inputs": [made.DATASETS[0]],
        "outputs": [made.DATASETS[1]],
    }
    return made.written(event | ({} if run is None else {"run": {"runId": run}}), False)


@pytest.mark.parametrize(
    ("values", "standing"),
    [
        ([_stating(0, "x"), _stating(1, "y")], 2),
        ([_stating(0, "x"), _stating(1, ""), _stating(2, "y")], 1),
        ([_stating(0, "x"), _stating(1, "y"), _stating(2, "")], 0),
        ([_stating(0, "x"), _stating(1, ""), _stating(2, "x")], 1),
        ([_stating(0, "x", None), _stating(1, "y", None)], 1),
    ],
    ids=["a run adds up", "deleted between", "deleted last", "said again", "a job replaces"],
)
def test_the_bodies_that_hold_are_those_said_since_the_floor(
    store: Store, values: list[bytes], standing: int
) -> None:
    for seed in range(4):
        check_columns(store, values, seed)
        assert product.differences(store, reference(values)) == []
        assert product.contents(store)["run_lineage"].total() == standing


def test_a_job_that_states_other_columns_every_day_keeps_a_small_fold(store: Store) -> None:
    values = [_stating(number % 60, f"c{number}", None) for number in range(300)]
    product.wipe(store)
    product.apply_all(store, product.split(values, [10]))
    with store.connecting() as connection:
        (doc,) = connection.exec_driver_sql("SELECT doc FROM run_fold").one()
    assert len(doc) < 20_000


@examples(40, shrink=False)
@given(values=st.lists(steps(), min_size=2, max_size=9), seed=st.integers(0, 2**16))
def test_columns_of_steps_that_state_them_equal_the_reference(
    store: Store, values: list[bytes], seed: int
) -> None:
    check_columns(store, values, seed)


@examples(15, shrink=False)
@given(values=made.universes, seed=st.integers(0, 2**16))
def test_columns_of_any_events_equal_the_reference(store: Store, values: list[bytes], seed: int) -> None:
    check_columns(store, values, seed)


@pytest.mark.deep
@fresh_examples(200)
@given(values=st.lists(steps(), min_size=2, max_size=12), seed=st.integers(0, 2**16))
def test_columns_of_many_steps_equal_the_reference(store: Store, values: list[bytes], seed: int) -> None:
    check_columns(store, values, seed)
