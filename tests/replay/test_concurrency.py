"""Two writers at once, on the same runs and the same datasets, leave what one would have left."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from headwater.consumers.digest import digest
from headwater.consumers.lineage import LineageProjection
from headwater.consumers.log import Partition
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store, open_store
from tests.replay import product
from tests.replay.native import large_native_universes, whole_events
from tests.replay.product import MemoryLog
from tests.replay.profiles import examples, fresh_examples
from tests.replay.reference import reference
from tests.replay.universes import large_universes
from tests.support.logs import run_event, write_segment

DEADLINE_S = 60.0

_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def apply_patiently(store: Store, values: Sequence[bytes]) -> bool:
    """Apply `values` as a runner does: again when another writer was in the way; whether one was."""
    projection = LineageProjection()
    for attempt in range(10):
        try:
            with store.writing() as connection:
                projection.apply(connection, product.batch_of(values, "1"))
        except (DBAPIError, psycopg.OperationalError, psycopg.errors.UniqueViolation):
            projection.rolled_back()
        else:
            return attempt > 0
    raise AssertionError("ten attempts were in vain")


class Overlap:
    """Two transactions that are open at the same time: the second begins when the first has written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written = threading.Event()
        self._commit = threading.Event()

    def run(self, first: Sequence[bytes], second: Sequence[bytes]) -> bool:
        """Apply both; whether the second had to start again because the first was in its way."""
        with ThreadPoolExecutor(2) as threads:
            one = threads.submit(self._first, first)
            try:
                self._written.wait(DEADLINE_S)
                two = threads.submit(apply_patiently, self._store, second)
                self._wait_until(lambda: two.done() or self._is_blocked())
            finally:
                self._commit.set()
            one.result(DEADLINE_S)
            return two.result(DEADLINE_S)

    def _first(self, values: Sequence[bytes]) -> None:
        try:
            with self._store.writing() as connection:
                LineageProjection().apply(connection, product.batch_of(values, "0"))
                self._written.set()
                self._commit.wait(DEADLINE_S)
        finally:
            self._written.set()

    def _is_blocked(self) -> bool:
        with self._store.connecting() as connection:
            return self._count_waiting(connection) > 0

    @staticmethod
    def _count_waiting(connection: Connection) -> int:
        return int(connection.execute(_WAITING).scalar_one())

    @staticmethod
    def _wait_until(condition: object) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while callable(condition) and not condition() and time.monotonic() < deadline:
            time.sleep(0.002)


def check_overlap(store: Store, values: list[bytes], cut: int) -> bool:
    product.wipe(store)
    # What was there before is extended by both at once.
    before, first, second = values[: cut // 2], values[cut // 2 : cut], values[cut:]
    product.apply_all(store, [before])
    collided = Overlap(store).run(first, second)
    assert product.differences(store, reference(values)) == []
    return collided


@examples(20, shrink=False)
@given(values=large_universes, share=st.floats(0.2, 0.8))
def test_two_open_transactions_leave_the_reference(
    postgres_store: Store, values: list[bytes], share: float
) -> None:
    check_overlap(postgres_store, values, int(len(values) * share))


@examples(10, shrink=False)
@given(values=large_native_universes, share=st.floats(0.2, 0.8))
def test_two_open_transactions_over_our_own_events_leave_the_reference(
    postgres_store: Store, values: list[bytes], share: float
) -> None:
    check_overlap(postgres_store, values, int(len(values) * share))


@pytest.mark.parametrize("cut", [4, 9, 14])
def test_two_open_transactions_over_real_events_leave_the_reference(postgres_store: Store, cut: int) -> None:
    values = whole_events()
    # What stands together in the log is of one run: taken in turn, both write to every run.
    check_overlap(postgres_store, [*values[::2], *values[1::2]], cut)


def test_two_transactions_that_begin_one_run_collide_and_both_are_kept(postgres_store: Store) -> None:
    values = [
        b'{"eventTime":"2024-03-01T10:00:0%d","eventType":"%s","run":{"runId":"1"},'
        b'"job":{"namespace":"crm","name":"P"},"outputs":[{"namespace":"lake","name":"%s"}]}' % parts
        for parts in ((0, b"START", b"a"), (1, b"COMPLETE", b"b"))
    ]
    product.wipe(postgres_store)
    assert Overlap(postgres_store).run(values[:1], values[1:]), (
        "nothing was in the way: the test shows nothing"
    )
    assert product.differences(postgres_store, reference(values)) == []


@pytest.mark.parametrize("names", list(itertools.permutations("abc")), ids="".join)
def test_two_transactions_that_link_one_dataset_join_all_three(
    postgres_store: Store, names: Sequence[str]
) -> None:
    one, shared, other = names

    def link(run: int, name: str) -> bytes:
        # Not one body for both: they would wait for each other at the facet, and never meet at the link.
        same = {"_producer": name, "identifiers": [{"namespace": "lake", "name": shared}]}
        return run_event(run, outputs=[{"namespace": "lake", "name": name, "facets": {"symlinks": same}}])

    values = [run_event(0, inputs=names), link(1, one), link(2, other)]
    product.wipe(postgres_store)
    product.apply_all(postgres_store, [values[:1]])
    Overlap(postgres_store).run(values[1:2], values[2:])
    assert product.differences(postgres_store, reference(values)) == []


_FOLDING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND state = 'idle in transaction' AND query LIKE '%FROM run_fold%'"
)


def test_a_writer_that_is_slow_to_fold_does_not_undo_a_quick_one(postgres_store: Store) -> None:
    """It has read a run's fold and not yet written it, when another extends the same run."""
    before, slow, quick = ([run_event(0, "RUNNING", inputs=[name])] for name in ("a", "b", "c"))
    slow += [run_event(run) for run in range(1, 3_001)]
    product.wipe(postgres_store)
    product.apply_all(postgres_store, [before])
    batch = product.batch_of(slow)

    def apply_slowly() -> None:
        with postgres_store.writing() as connection:
            LineageProjection().apply(connection, batch)

    with ThreadPoolExecutor(1) as threads, postgres_store.connecting() as watching:
        folding = threads.submit(apply_slowly)
        watching.execution_options(isolation_level="AUTOCOMMIT")
        while not watching.execute(_FOLDING).scalar_one() and not folding.done():
            time.sleep(0.001)
        assert not folding.done(), "the slow writer was too quick: the test shows nothing"
        apply_patiently(postgres_store, quick)
        folding.result(DEADLINE_S)
    assert product.differences(postgres_store, reference([*before, *slow, *quick])) == []


@pytest.mark.deep
@fresh_examples(300)
@given(values=large_universes, share=st.floats(0.1, 0.9))
def test_two_open_transactions_leave_the_reference_many_times(
    postgres_store: Store, values: list[bytes], share: float
) -> None:
    check_overlap(postgres_store, values, int(len(values) * share))


def consume_at_once(store: Store, values: list[bytes]) -> None:
    """Two runners, a partition each, in two threads with connections of their own."""
    source = MemoryLog(values[::2], [*values[1::2], *values[:1]])
    partitions = source.partitions()

    def consume(partition: Partition) -> None:
        bounds = {partition: 10_000}
        Runner(store, source, bounds=bounds, batch_records=2, sleep=lambda _: time.sleep(0.005)).run()

    with ThreadPoolExecutor(2) as threads:
        for finished in [threads.submit(consume, partition) for partition in partitions]:
            finished.result(DEADLINE_S)


def check_at_once(store: Store, values: list[bytes]) -> None:
    product.wipe(store)
    consume_at_once(store, values)
    assert product.differences(store, reference(values)) == []


@examples(10, shrink=False)
@given(values=large_universes)
def test_two_runners_at_once_leave_the_reference(store: Store, values: list[bytes]) -> None:
    check_at_once(store, values)


@examples(6, shrink=False)
@given(values=large_native_universes)
def test_two_runners_at_once_over_our_own_events_leave_the_reference(
    store: Store, values: list[bytes]
) -> None:
    check_at_once(store, values)


def test_two_runners_at_once_over_real_events_leave_the_reference(store: Store) -> None:
    check_at_once(store, whole_events())


CONSUMER = """
import sys
from headwater.consumers.log import Partition, SegmentLog
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
with open_store(sys.argv[1]) as store, SegmentLog(sys.argv[2]) as source:
    mine = {part: 10_000 for number, part in enumerate(source.partitions()) if number % 2 == int(sys.argv[3])}
    print("ready", flush=True)
    sys.stdin.readline()
    Runner(store, source, bounds=mine, batch_records=3).run()
"""


@examples(1, shrink=False)
@given(universes=st.lists(large_universes, min_size=12, max_size=12), ours=large_native_universes)
def test_two_processes_at_once_leave_the_reference(
    store_url: str, tmp_path: Path, universes: list[list[bytes]], ours: list[bytes]
) -> None:
    check_processes(
        store_url, tmp_path, [value for universe in (*universes, ours) for value in universe if value]
    )


def test_two_processes_at_once_over_real_events_leave_the_reference(store_url: str, tmp_path: Path) -> None:
    check_processes(store_url, tmp_path, whole_events())


def check_processes(store_url: str, tmp_path: Path, values: list[bytes]) -> None:
    for part in range(4):
        write_segment(tmp_path / "log", values[part::4] + values[:5], name=f"{part:032x}")
    with open_store(store_url, create=True) as store:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", CONSUMER, store_url, str(tmp_path / "log"), str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for number in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        for process in processes:
            process.communicate(b"go\n", timeout=DEADLINE_S)
        assert [process.returncode for process in processes] == [0, 0]
        assert product.differences(store, reference(values)) == []
        with open_store(f"sqlite:///{tmp_path}/one.db") as alone:
            product.apply_all(alone, [values])
            assert digest(alone).root == digest(store).root
