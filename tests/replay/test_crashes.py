"""A consumer that ends anywhere, or loses its database anywhere, leaves what the log says: no more, no less.

All durable effects of a batch are one transaction, so the moments are: before it, in it,
and after it, for every transaction that a run makes, claims of partitions included.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from sqlalchemy import Engine, func, select

from headwater.consumers import tables
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store
from tests.replay import product
from tests.replay.faults import (
    DISCONNECTS,
    KILLS,
    FailingStore,
    Fault,
    InterruptedStore,
    Killed,
    TerminatedStore,
)
from tests.replay.native import large_native_universes, whole_events
from tests.replay.product import MemoryLog
from tests.replay.profiles import examples, fresh_examples
from tests.replay.reference import reference
from tests.replay.universes import large_universes


def consume(store: Store, values: list[bytes], batch: int = 2) -> None:
    """As one process does: a runner of its own, until the end of the log."""
    Runner(
        store, MemoryLog(values[::2], values[1::2]), batch_records=batch, sleep=lambda _: None, now=lambda: 0
    ).run()


def check(store: Store, values: list[bytes]) -> None:
    assert product.differences(store, reference(values)) == []
    refused = sum(reference([value]).refused for value in values)
    position = tables.position.c
    counts = (position.applied, position.duplicate, position.quarantined, position.gaps)
    with store.connecting() as connection:
        totals = connection.execute(select(*(func.sum(count) for count in counts))).one()
        parked = connection.execute(select(func.count()).select_from(tables.quarantine)).scalar_one()
        kept = connection.execute(select(func.count()).select_from(tables.event)).scalar_one()
    assert tuple(totals) == (kept, len(values) - refused - kept, refused, 0), (
        "every record is accounted for once"
    )
    assert parked == refused


def fail_at_every_moment(store: Store, values: list[bytes], fault: Fault, batch: int = 2) -> int:
    """Runs `values` once for every transaction that `fault` can meet; how many those were."""
    for moment in range(10_000):
        product.wipe(store)
        failing = FailingStore(store.engine, fault, moment)
        if fault in KILLS:
            try:
                consume(failing, values, batch)
            except Killed:
                consume(store, values, batch)
        else:
            consume(failing, values, batch)
        check(store, values)
        if not failing.met:
            return moment
    raise AssertionError("the run never ended")


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
@examples(3, shrink=False)
@given(values=large_universes)
def test_a_run_survives_a_fault_in_any_transaction(
    sqlite_store: Store, values: list[bytes], fault: Fault
) -> None:
    assert fail_at_every_moment(sqlite_store, values, fault) > 4


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
@examples(2, shrink=False)
@given(values=large_universes)
def test_a_run_into_postgresql_survives_a_fault_in_any_transaction(
    postgres_store: Store, values: list[bytes], fault: Fault
) -> None:
    assert fail_at_every_moment(postgres_store, values, fault) > 4


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
@examples(1, shrink=False)
@given(values=large_native_universes)
def test_a_run_over_our_own_events_survives_a_fault_in_any_transaction(
    store: Store, values: list[bytes], fault: Fault
) -> None:
    assert fail_at_every_moment(store, values, fault) > 4


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
def test_a_run_over_real_events_survives_a_fault_in_any_transaction(store: Store, fault: Fault) -> None:
    assert fail_at_every_moment(store, whole_events(), fault, batch=4) > 5


def check_interruptions(
    store: Store, values: list[bytes], make: Callable[[Engine, int], object], step: int, batch: int = 2
) -> None:
    for moment in range(1, 1_000_000, step):
        product.wipe(store)
        interrupted = make(store.engine, moment)
        assert isinstance(interrupted, InterruptedStore | TerminatedStore)
        consume(interrupted, values, batch)
        check(store, values)
        if not interrupted.met:
            return


def check_terminations(store: Store, values: list[bytes], batch: int = 2) -> None:
    check_interruptions(
        store, values, lambda engine, moment: TerminatedStore(engine, moment - 1), step=1, batch=batch
    )


@examples(2, shrink=False)
@given(values=large_universes)
def test_a_run_survives_an_interrupted_statement_anywhere(sqlite_store: Store, values: list[bytes]) -> None:
    check_interruptions(sqlite_store, values, InterruptedStore, step=211)


@examples(2, shrink=False)
@given(values=large_universes)
def test_a_run_survives_a_server_that_ends_its_session(postgres_store: Store, values: list[bytes]) -> None:
    check_terminations(postgres_store, values)


@examples(1, shrink=False)
@given(values=large_native_universes)
def test_a_run_over_our_own_events_survives_a_server_that_ends_its_session(
    postgres_store: Store, values: list[bytes]
) -> None:
    check_terminations(postgres_store, values)


def test_a_run_over_real_events_survives_a_server_that_ends_its_session(postgres_store: Store) -> None:
    check_terminations(postgres_store, whole_events(), batch=4)


@pytest.mark.deep
@pytest.mark.parametrize("fault", [*KILLS, *DISCONNECTS], ids=lambda fault: fault.value)
@fresh_examples(40)
@given(values=large_universes)
def test_many_runs_survive_a_fault_in_any_transaction(
    store: Store, values: list[bytes], fault: Fault
) -> None:
    assert fail_at_every_moment(store, values, fault) > 4
