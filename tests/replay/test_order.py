"""The tables are a function of the set of events: order, repetition and batches leave no trace.

Every test compares with the reference fold, on SQLite; `test_databases` does so on PostgreSQL.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from headwater.consumers.store import Store
from tests.replay import product
from tests.replay.native import native_universes, whole_events
from tests.replay.profiles import examples, fresh_examples
from tests.replay.reference import reference
from tests.replay.universes import long_runs, universes
from tests.support.logs import run_event

sizes = st.lists(st.integers(1, 4), min_size=1, max_size=3)


def check(store: Store, values: Sequence[bytes], batches: Sequence[Sequence[bytes]]) -> None:
    product.wipe(store)
    product.apply_all(store, batches)
    assert product.differences(store, reference(values)) == []


def shuffled(data: DataObject, values: Sequence[bytes]) -> list[bytes]:
    """`values` in another order, some of them twice."""
    again = data.draw(st.lists(st.sampled_from(values), max_size=3), label="again")
    return data.draw(st.permutations([*values, *again]), label="order")


@examples(120)
@given(values=universes, sizes=sizes, data=st.data())
def test_any_order_repetition_and_split_gives_the_reference(
    sqlite_store: Store, values: list[bytes], sizes: list[int], data: DataObject
) -> None:
    check(sqlite_store, values, product.split(shuffled(data, values), sizes))


@examples(60)
@given(values=native_universes, sizes=sizes, data=st.data())
def test_the_events_of_our_own_emitters_give_the_reference(
    sqlite_store: Store, values: list[bytes], sizes: list[int], data: DataObject
) -> None:
    check(sqlite_store, values, product.split(shuffled(data, values), sizes))


def check_every_cut(store: Store, values: Sequence[bytes]) -> None:
    expected = reference(values)
    for cut in range(len(values) + 1):
        product.wipe(store)
        product.apply_all(store, [part for part in (values[:cut], values[cut:]) if part])
        assert product.differences(store, expected) == [], f"cut at {cut}"


@examples(20)
@given(values=universes)
def test_one_batch_cut_at_any_point_gives_the_reference(sqlite_store: Store, values: list[bytes]) -> None:
    check_every_cut(sqlite_store, values)


@examples(8)
@given(values=native_universes)
def test_our_own_events_cut_at_any_point_give_the_reference(sqlite_store: Store, values: list[bytes]) -> None:
    check_every_cut(sqlite_store, values)


def test_real_events_cut_at_any_point_give_the_reference(sqlite_store: Store) -> None:
    check_every_cut(sqlite_store, whole_events())


@examples(10)
@given(values=long_runs, sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), data=st.data())
def test_a_long_run_in_any_order_gives_the_reference(
    sqlite_store: Store, values: list[bytes], sizes: list[int], data: DataObject
) -> None:
    order = data.draw(st.randoms(use_true_random=False), label="chance").sample(values, k=len(values))
    check(sqlite_store, values, product.split(order, sizes))


def test_more_runs_in_a_batch_than_a_statement_takes_values_give_the_reference(sqlite_store: Store) -> None:
    starts = [run_event(run, "START", at="2026-03-01T09:00:00Z") for run in range(2_100)]
    ends = [run_event(run, inputs=[f"out-{run - 1}"]) for run in range(2_100)]
    check(sqlite_store, [*starts, *ends], [starts, ends])


@pytest.mark.parametrize("seed", range(4))
def test_real_events_in_any_order_give_the_reference(sqlite_store: Store, seed: int) -> None:
    values = whole_events()
    chance = random.Random(seed)
    order = chance.sample([*values, *values[::3]], k=len(values) + len(values[::3]))
    check(sqlite_store, values, product.split(order, [chance.randint(1, 6) for _ in range(5)]))


@pytest.mark.deep
@fresh_examples(600)
@given(values=universes, sizes=sizes, data=st.data())
def test_many_universes_in_two_orders_give_the_reference(
    sqlite_store: Store, values: list[bytes], sizes: list[int], data: DataObject
) -> None:
    for _ in range(2):
        check(sqlite_store, values, product.split(shuffled(data, values), sizes))


@pytest.mark.deep
@fresh_examples(60)
@given(values=long_runs, sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), data=st.data())
def test_many_long_runs_in_two_orders_give_the_reference(
    sqlite_store: Store, values: list[bytes], sizes: list[int], data: DataObject
) -> None:
    for _ in range(2):
        order = data.draw(st.randoms(use_true_random=False), label="chance").sample(values, k=len(values))
        check(sqlite_store, values, product.split(order, sizes))
