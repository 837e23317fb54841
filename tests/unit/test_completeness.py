"""Lost, edited and unclosed: what an emitter's numbers and hashes tell (invariant E)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.consumers.completeness import EmitterReport, Gap, emitters
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from tests.replay.product import MemoryLog
from tests.support.logs import EMITTER, chain, run_event
from tests.support.postgres import Server


def reports(url: str, values: list[bytes]) -> list[EmitterReport]:
    with open_store(url, create=True) as store:
        Runner(store, MemoryLog(values)).run()
        return emitters(store)


def test_a_chain_that_is_all_there_is_complete(store_url: str) -> None:
    (found,) = reports(store_url, [*chain(5), run_event(77)])
    assert found.complete
    assert (found.events, found.last_sequence, found.closed) == (5, 4, True)


@pytest.mark.parametrize(
    ("lost", "gaps"), [({0}, [(0, 0)]), ({2}, [(2, 2)]), ({1, 2, 5}, [(1, 2), (5, 5)])], ids=str
)
def test_a_lost_event_is_a_gap(store_url: str, lost: set[int], gaps: list[tuple[int, int]]) -> None:
    values = [value for sequence, value in enumerate(chain(8)) if sequence not in lost]
    (found,) = reports(store_url, values)
    assert found.gaps == tuple(Gap(first, last) for first, last in gaps)
    assert not found.complete


def test_a_lost_tail_is_said_to_be_unknown(store_url: str) -> None:
    (found,) = reports(store_url, chain(5)[:4])
    assert not found.closed
    assert not found.gaps
    assert not found.complete


def test_an_emitter_that_died_is_unclosed(store_url: str) -> None:
    (found,) = reports(store_url, chain(5, closed=False))
    assert not found.complete


def test_an_edited_event_breaks_the_chain_behind_it(store_url: str) -> None:
    values = chain(6)
    values[2] = values[2].replace(b"out-2", b"out-X")
    (found,) = reports(store_url, values)
    assert found.broken == (3,)


def test_two_events_with_one_number_break_the_chain(store_url: str) -> None:
    values = chain(4)
    (found,) = reports(store_url, [*values, values[2].replace(b"out-2", b"out-X")])
    assert 2 in found.broken


def test_only_what_is_not_certain_is_listed_on_demand(sqlite_url: str) -> None:
    with open_store(sqlite_url) as store:
        Runner(store, MemoryLog([*chain(3), *chain(3, emitter=2)[1:]])).run()
        (found,) = emitters(store, incomplete_only=True)
    assert found.emitter_id == EMITTER.format(2)


_chains = given(
    length=st.integers(1, 12), lost=st.sets(st.integers(0, 11)), order=st.randoms(), closed=st.booleans()
)


@settings(max_examples=30, deadline=None)
@_chains
def test_a_chain_is_complete_exactly_when_nothing_is_lost_and_it_was_closed(
    length: int, lost: set[int], order: object, closed: bool
) -> None:
    check_chain("sqlite://", length, lost, order, closed)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@_chains
def test_on_postgresql_a_chain_is_complete_exactly_when_nothing_is_lost_and_it_was_closed(
    postgres_server: Server, length: int, lost: set[int], order: object, closed: bool
) -> None:
    with postgres_server.fresh() as url:
        check_chain(url, length, lost, order, closed)


def check_chain(url: str, length: int, lost: set[int], order: object, closed: bool) -> None:
    kept = [value for sequence, value in enumerate(chain(length, closed=closed)) if sequence not in lost]
    order.shuffle(kept)  # type: ignore[attr-defined]
    found = reports(url, [*kept, *kept[:2]])
    if not kept:
        assert found == []
        return
    missing = {number for gap in found[0].gaps for number in range(gap.first, gap.last + 1)}
    tail = set(range(found[0].last_sequence + 1, length))
    assert missing | tail == {sequence for sequence in lost if sequence < length}
    assert found[0].complete == (closed and len(kept) == length)
