"""SQLite and PostgreSQL hold the same, row by row and in the state digest; and both hold the reference."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from headwater.consumers.digest import digest, first_difference
from headwater.consumers.store import Store
from tests.replay import product
from tests.replay.native import native_universes, whole_events
from tests.replay.profiles import examples, fresh_examples
from tests.replay.reference import reference
from tests.replay.test_order import check, shuffled, sizes
from tests.replay.universes import universes


def check_both(sqlite_store: Store, postgres_store: Store, values: list[bytes], order: list[bytes]) -> None:
    """One order and split on one database, another on the other."""
    check(sqlite_store, values, [values])
    check(postgres_store, values, product.split(order, [2, 1, 3]))
    one, other = digest(sqlite_store), digest(postgres_store)
    with sqlite_store.snapshot() as left, postgres_store.snapshot() as right:
        assert first_difference(left, right, one, other) is None
    assert one.root == other.root


@examples(35, shrink=False)
@given(values=universes, data=st.data())
def test_both_databases_hold_the_reference_and_one_digest(
    sqlite_store: Store, postgres_store: Store, values: list[bytes], data: DataObject
) -> None:
    check_both(sqlite_store, postgres_store, values, shuffled(data, values))


@examples(15, shrink=False)
@given(values=native_universes, data=st.data())
def test_both_databases_hold_one_digest_of_our_own_events(
    sqlite_store: Store, postgres_store: Store, values: list[bytes], data: DataObject
) -> None:
    check_both(sqlite_store, postgres_store, values, shuffled(data, values))


def test_both_databases_hold_one_digest_of_real_events(sqlite_store: Store, postgres_store: Store) -> None:
    values = whole_events()
    check_both(sqlite_store, postgres_store, values, random.Random(1).sample(values, k=len(values)))


def test_what_is_longer_deeper_or_wider_than_usual_is_held_by_both(
    sqlite_store: Store, postgres_store: Store
) -> None:
    """Names longer than an index entry, a facet at the limit of depth, numbers beyond any type."""
    name = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9F00), k=1_500)))
    arrow = {
        "namespace": name,
        "name": name,
        "field": name,
        "transformations": [{"type": name, "subtype": name}],
    }
    facets = {
        name: {"x": 1},
        "version": {"datasetVersion": name},
        "columnLineage": {"fields": {name: {"inputFields": [arrow]}}},
        "lifecycleStateChange": {"lifecycleStateChange": name},
        "symlinks": {"identifiers": [{"namespace": name, "name": f"{name}2"}]},
    }
    run = {"runId": name, "facets": {name: {"a": 1}, "deep": "DEEP", "wide": "WIDE"}}
    job = {"namespace": name, "name": name}
    outputs = [{"namespace": name, "name": name, "facets": facets}]
    text = json.dumps({"eventTime": "2024-03-01T10:00:00Z", "run": run, "job": job, "outputs": outputs})
    text = text.replace('"DEEP"', "[" * 1_000 + "]" * 1_000)
    values = [
        text.replace('"WIDE"', number).encode() for number in ("1e400", "1e200000", "1.5e-9999", "7" * 5_000)
    ]
    check_both(sqlite_store, postgres_store, values, values)


@examples(25)
@given(values=universes.filter(lambda values: len(set(values)) > 1))
def test_one_event_less_is_another_digest(sqlite_store: Store, values: list[bytes]) -> None:
    """Only if it says something that the others do not; an accepted event always does: it is an event."""
    fewer = [value for value in values if value != values[0]]
    product.wipe(sqlite_store)
    product.apply_all(sqlite_store, [values])
    whole = digest(sqlite_store)
    product.wipe(sqlite_store)
    product.apply_all(sqlite_store, [fewer])
    refused = reference([values[0]]).refused == 1
    assert (digest(sqlite_store).root == whole.root) is refused


@pytest.mark.deep
@fresh_examples(150)
@given(values=universes, sizes=sizes, data=st.data())
def test_many_universes_in_two_orders_give_one_digest_on_both_databases(
    sqlite_store: Store, postgres_store: Store, values: list[bytes], sizes: list[int], data: DataObject
) -> None:
    for _ in range(2):
        check_both(sqlite_store, postgres_store, values, shuffled(data, values))
