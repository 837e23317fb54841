"""The runner moves records into the store whole batches at a time, and says what it could not move."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, func, select

from headwater.consumers import tables
from headwater.consumers.lineage import Applied, Folded, LineageProjection
from headwater.consumers.log import SegmentLog
from headwater.consumers.positions import Fenced
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store, open_store
from headwater.schemas.errors import Misconfigured, Retryable
from tests.replay.product import MemoryLog
from tests.support import needed, postgres
from tests.support.logs import BEGUN, run_event, write_segment

GOOD = [run_event(number) for number in range(20)]


def count(store: Store, name: str) -> int:
    with store.connecting() as connection:
        return connection.execute(select(func.count()).select_from(tables.metadata.tables[name])).scalar_one()


def books(store: Store) -> list[tuple[int, int, int, int, int, int]]:
    p = tables.position.c
    query = select(p.start_offset, p.next_offset, p.applied, p.duplicate, p.quarantined, p.gaps)
    with store.connecting() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(p.partition))]


def test_every_record_consumed_is_counted_as_applied_duplicate_quarantined_or_gap(store_url: str) -> None:
    source = MemoryLog([*GOOD, b"{", GOOD[0], b"\xff", GOOD[1]], [GOOD[2], run_event(99)])
    with open_store(store_url, create=True) as store:
        progress = Runner(store, source, batch_records=3).run()
        assert books(store) == [(0, 24, 19, 3, 2, 0), (0, 2, 2, 0, 0, 0)] or books(store) == [
            (0, 24, 20, 2, 2, 0),
            (0, 2, 1, 1, 0, 0),
        ]
        assert (progress.applied, progress.duplicate, progress.quarantined) == (21, 3, 2)
        assert count(store, "event") == 21
        for start, end, *parts in books(store):
            assert sum(parts) == end - start


def test_a_refused_record_is_quarantined_with_its_bytes_and_its_neighbours_go_on(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        Runner(store, MemoryLog([GOOD[0], b'{"eventTime": "yesterday"}', GOOD[1]])).run()
        with store.connecting() as connection:
            row = connection.execute(select(tables.quarantine)).one()
        assert row.value == b'{"eventTime": "yesterday"}'
        assert row.offset == 1
        assert row.path
        assert row.rule
        assert count(store, "run") == 2


def test_a_second_runner_takes_over_and_the_first_stops_without_writing(store_url: str) -> None:
    source = MemoryLog(GOOD)
    with open_store(store_url, create=True) as store:
        first = Runner(store, source, batch_records=5)
        first.step()
        second = Runner(store, source, batch_records=5)
        second.step()
        with pytest.raises(Fenced):
            first.run()
        second.run()
        assert books(store) == [(0, 20, 20, 0, 0, 0)]


class RefusingOne(LineageProjection):
    """Stands for a record that the database itself refuses: `poison` never fits."""

    def __init__(self, poison: bytes) -> None:
        super().__init__()
        self._poison = poison

    def write(self, connection: Connection, folded: Folded) -> Applied:
        applied = super().write(connection, folded)
        if any(record.value == self._poison for record, _ in folded.batch):
            raise psycopg.errors.NumericValueOutOfRange("value out of range")
        return applied


def test_a_record_that_the_store_refuses_is_found_by_halving_and_quarantined_alone(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        Runner(store, MemoryLog(GOOD), projection=RefusingOne(GOOD[13])).run()
        assert books(store) == [(0, 20, 19, 0, 1, 0)]
        with store.connecting() as connection:
            row = connection.execute(select(tables.quarantine)).one()
        assert row.value == GOOD[13]
        assert "value out of range" in row.rule


class FailingOnce(LineageProjection):
    """Stands for a database that is in the way of one transaction, before or after it wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 1

    def write(self, connection: Connection, folded: Folded) -> Applied:
        applied = super().write(connection, folded)
        if self.failures:
            self.failures -= 1
            raise psycopg.errors.DeadlockDetected("deadlock detected")
        return applied


def test_a_deadlock_is_waited_out_and_quarantines_nothing(store_url: str) -> None:
    pauses: list[float] = []
    with open_store(store_url, create=True) as store:
        Runner(store, MemoryLog(GOOD), projection=FailingOnce(), sleep=pauses.append).run()
        assert books(store) == [(0, 20, 20, 0, 0, 0)]
    assert len(pauses) == 1


class LosingTheAnswer(LineageProjection):
    """Stands for a COMMIT whose answer is lost: the rows are there, the client hears of a failure."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = 1

    def committed(self) -> None:
        super().committed()
        if self.losses:
            self.losses -= 1
            raise psycopg.OperationalError("server closed the connection unexpectedly")


def test_a_batch_whose_commit_was_not_answered_is_not_applied_again(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        Runner(
            store, MemoryLog(GOOD), projection=LosingTheAnswer(), batch_records=7, sleep=lambda _: None
        ).run()
        assert books(store) == [(0, 20, 20, 0, 0, 0)]
        assert count(store, "event") == 20


def test_a_store_that_stays_away_ends_in_an_error_that_says_nothing_was_lost(sqlite_url: str) -> None:
    class Away(LineageProjection):
        def write(self, connection: Connection, folded: Folded) -> Applied:
            raise psycopg.OperationalError("connection refused")

    clock = iter(range(0, 10**12, 10**6))
    with open_store(sqlite_url) as store:
        runner = Runner(
            store,
            MemoryLog(GOOD),
            projection=Away(),
            patience_s=20,
            now=lambda: next(clock),
            sleep=lambda _: None,
        )
        with pytest.raises(Retryable, match="nothing was lost"):
            runner.run()
        assert books(store) == [(0, 0, 0, 0, 0, 0)]


def test_a_database_that_dies_between_batches_and_returns_loses_and_doubles_nothing() -> None:
    cluster = needed.cluster()
    try:
        values = [run_event(number) for number in range(3000)]
        with open_store(cluster.create(), create=True) as store:
            runner = Runner(store, MemoryLog(values), batch_records=20)
            for _ in range(5):
                runner.step()
            cluster.kill()
            reviver = threading.Timer(1.0, cluster.revive)
            reviver.start()
            runner.run()
            reviver.join()
            assert books(store) == [(0, 3000, 3000, 0, 0, 0)]
            assert count(store, "event") == 3000
    finally:
        cluster.stop()


class LosingItsServer(LineageProjection):
    """Stands for a server that crashes within one batch's transaction, after its rows were written."""

    def __init__(self, cluster: postgres.Cluster, batch: int) -> None:
        super().__init__()
        self._cluster = cluster
        self._until = batch
        self.pauses: list[float] = []

    def write(self, connection: Connection, folded: Folded) -> Applied:
        applied = super().write(connection, folded)
        self._until -= 1
        if self._until == -1:
            self._cluster.kill()
        return applied

    def pause(self, seconds: float) -> None:
        """The runner's pause, by whose end the server is back."""
        self.pauses.append(seconds)
        self._cluster.revive()


def test_a_database_that_dies_within_a_batch_and_returns_loses_and_doubles_nothing() -> None:
    cluster = needed.cluster()
    try:
        # Every event twice: what a lost batch had left behind would show in the counts.
        source = MemoryLog([*GOOD, *GOOD])
        for batch in (0, 2, 5):
            with open_store(cluster.create(), create=True) as store:
                lost = LosingItsServer(cluster, batch)
                Runner(store, source, projection=lost, batch_records=7, sleep=lost.pause).run()
                assert len(lost.pauses) == 1
                assert books(store) == [(0, 40, 20, 20, 0, 0)]
                assert (count(store, "event"), count(store, "run")) == (20, 20)
    finally:
        cluster.stop()


def test_a_damaged_segment_halts_alone_and_says_where(tmp_path: Path, sqlite_url: str) -> None:
    damaged = write_segment(tmp_path / "log", GOOD[:10])
    write_segment(tmp_path / "log", GOOD[10:], sealed=True)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with open_store(sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        progress = Runner(store, source).run()
        (damage,) = progress.damaged.values()
        assert damage.place == str(damaged)
        assert progress.applied == 10 + damage.offset
        assert 0 < damage.offset < 10


def test_a_segment_damaged_at_its_first_record_does_not_end_the_reading_of_others(
    tmp_path: Path, sqlite_url: str
) -> None:
    damaged = write_segment(tmp_path / "log", GOOD[:10])
    write_segment(tmp_path / "log", GOOD[10:])
    content = bytearray(damaged.read_bytes())
    content[70] ^= 1
    damaged.write_bytes(content)
    with open_store(sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        progress = Runner(store, source).run()
        assert progress.applied == 10
        assert len(progress.damaged) == 1


def test_a_copy_of_a_segment_is_the_same_partition_and_read_once(tmp_path: Path, sqlite_url: str) -> None:
    path = write_segment(tmp_path / "log", GOOD)
    (tmp_path / "log" / "zz-copy.seg").write_bytes(path.read_bytes())
    with open_store(sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        Runner(store, source).run()
        assert books(store) == [(0, 20, 20, 0, 0, 0)]


def test_a_sealed_segment_that_was_read_to_its_end_is_not_read_again(tmp_path: Path, sqlite_url: str) -> None:
    write_segment(tmp_path / "log", GOOD, sealed=True)
    with open_store(sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        runner = Runner(store, source)
        assert runner.run().applied == 20
        write_segment(tmp_path / "log", [run_event(50)])
        assert runner.run().applied == 21


def test_accepted_damage_is_kept_in_quarantine_and_the_rest_goes_on(tmp_path: Path, sqlite_url: str) -> None:
    damaged = write_segment(tmp_path / "log", GOOD)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with open_store(sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        progress = Runner(store, source, accept_damage=True).run()
        assert (progress.applied, progress.quarantined) == (19, 1)
        assert count(store, "run") == 19
        ((start, end, *parts),) = books(store)
        assert sum(parts) == end - start == 20


def test_a_damaged_header_cannot_be_accepted_and_halts_that_segment_only(
    tmp_path: Path, sqlite_url: str
) -> None:
    damaged = write_segment(tmp_path / "log", GOOD[:10])
    write_segment(tmp_path / "log", GOOD[10:])
    content = bytearray(damaged.read_bytes())
    content[20] ^= 1
    damaged.write_bytes(content)
    with open_store(sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        progress = Runner(store, source, accept_damage=True).run()
        assert (progress.applied, progress.quarantined) == (10, 0)
        assert [damage.place for damage in progress.damaged.values()] == [str(damaged)]
        assert sorted(end for _, end, *_ in books(store)) == [0, 10]


def test_a_segment_that_lost_what_was_consumed_says_so(tmp_path: Path, sqlite_url: str) -> None:
    path = write_segment(tmp_path / "log", GOOD)
    with open_store(sqlite_url) as store:
        with SegmentLog(tmp_path / "log") as source:
            Runner(store, source).run()
        os.truncate(path, path.stat().st_size // 2)
        with SegmentLog(tmp_path / "log") as source:
            (damage,) = Runner(store, source, accept_damage=True).run().damaged.values()
    assert "were read and are gone" in str(damage)


def test_only_what_was_appended_by_then_is_applied_with_until(tmp_path: Path, sqlite_url: str) -> None:
    write_segment(tmp_path / "log", GOOD)
    with open_store(sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        Runner(store, source, until=BEGUN + 4).run()
        assert books(store) == [(0, 20, 5, 0, 0, 15)]
        with pytest.raises(Misconfigured, match="known at"):
            Runner(store, source).run()


def test_bounds_leave_out_what_lies_behind_them(tmp_path: Path, sqlite_url: str) -> None:
    source = MemoryLog(GOOD, GOOD)
    first, second = source.partitions()
    with open_store(sqlite_url) as store:
        Runner(store, source, bounds={first: 7}, batch_records=5).run()
        assert books(store) == [(0, 7, 7, 0, 0, 0)]
    assert second not in {first}


def test_a_busy_partition_does_not_hold_up_the_others(sqlite_url: str) -> None:
    source = MemoryLog(GOOD, [run_event(100)], [run_event(101)])
    with open_store(sqlite_url) as store:
        runner = Runner(store, source, batch_records=4)
        for _ in range(3):
            runner.step()
        assert sum(1 for _, end, *_ in books(store) if end) == 3


def test_stopping_is_asked_between_batches_and_what_was_done_stays(sqlite_url: str) -> None:
    with open_store(sqlite_url) as store:
        runner = Runner(store, MemoryLog(GOOD), batch_records=5)
        asked = iter([False, False, True])
        runner.run(follow=True, stopping=lambda: next(asked))
        assert books(store) == [(0, 10, 10, 0, 0, 0)]


def test_records_that_arrive_later_are_found_by_the_same_runner(tmp_path: Path, sqlite_url: str) -> None:
    path = write_segment(tmp_path / "log", GOOD[:3])
    whole = write_segment(tmp_path / "other", GOOD[:6], name=path.stem).read_bytes()
    with open_store(sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        runner = Runner(store, source)
        assert runner.run().applied == 3
        with path.open("ab") as file:
            file.write(whole[path.stat().st_size : -40])  # the last frame is still being written
        assert runner.run().applied == 5
        with path.open("ab") as file:
            file.write(whole[-40:])
        write_segment(tmp_path / "log", GOOD[6:8])
        assert runner.run().applied == 8
