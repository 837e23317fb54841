"""Partitions come and go between batches; who lost one drops what is in hand, and who has it goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from headwater.consumers import positions
from headwater.consumers.health import Health
from headwater.consumers.log import Cursor, Partition, Record
from headwater.consumers.positions import Tally
from headwater.consumers.runner import Runner
from headwater.consumers.sharing import ByNumber
from headwater.consumers.store import open_store
from headwater.consumers.watching import Unobserved
from headwater.schemas.errors import Retryable
from tests.replay.product import MemoryLog
from tests.support.logs import run_event
from tests.support.serving import books

FIRST, SECOND = Partition("memory", "0"), Partition("memory", "1")


class Advice:
    """A group whose mind the test makes up."""

    awaited = ""

    def __init__(self, *partitions: Partition) -> None:
        self.number = 1
        self.mine = dict.fromkeys(partitions, 1)
        self.told: dict[Partition, Cursor] = {}

    def give(self, partition: Partition) -> None:
        self.number += 1
        self.mine[partition] = self.number

    def assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return {part: number for part, number in self.mine.items() if part in partitions}

    def attend(self) -> None: ...

    def moved(self, cursors: Mapping[Partition, Cursor]) -> None:
        self.told.update(cursors)

    def close(self) -> None: ...


def source(events: int = 20) -> MemoryLog:
    values = [run_event(run) for run in range(events)]
    return MemoryLog(values[::2], values[1::2])


def test_a_revoked_partition_goes_on_where_its_last_owner_left_it(store_url: str) -> None:
    one, two = Advice(FIRST, SECOND), Advice()
    with open_store(store_url, create=True) as store:
        log = source()
        left = Runner(store, log, sharing=one, batch_records=4)
        right = Runner(store, log, sharing=two, batch_records=4)
        left.step()
        del one.mine[SECOND]
        two.give(SECOND)
        while left.step() | right.step():
            pass
        assert (left.progress.fenced, right.progress.fenced) == (0, 0)
        assert right.progress.applied >= 8
    assert books(store_url) == {"applied": 20, "duplicate": 0, "quarantined": 0, "gaps": 0}
    assert one.told[FIRST].offset == two.told[SECOND].offset == 10


def test_who_did_not_hear_of_its_loss_is_fenced_and_goes_on_with_the_rest(store_url: str) -> None:
    one, two = Advice(FIRST, SECOND), Advice()
    with open_store(store_url, create=True) as store:
        log = source()
        left = Runner(store, log, sharing=one, batch_records=3)
        right = Runner(store, log, sharing=two, batch_records=3)
        left.step()
        two.give(SECOND)  # and nobody tells the other one
        right.step()
        while left.step() | right.step():
            pass
        assert left.progress.fenced == 1
        assert right.progress.fenced == 0
    assert books(store_url) == {"applied": 20, "duplicate": 0, "quarantined": 0, "gaps": 0}


def test_an_owner_that_has_not_written_yet_is_not_written_past(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        left = Runner(store, source(), sharing=Advice(FIRST), batch_records=3)
        left.step()
        with store.writing() as tx:
            positions.claim(tx, "lineage", FIRST, "another")
        left.step()
        assert left.progress.fenced == 1
    assert books(store_url)["applied"] == 3


def test_a_partition_that_came_back_is_claimed_anew(store_url: str) -> None:
    one, two = Advice(FIRST), Advice()
    with open_store(store_url, create=True) as store:
        log = source()
        left = Runner(store, log, sharing=one, batch_records=2)
        left.step()
        two.give(FIRST)
        Runner(store, log, sharing=two, batch_records=2).step()
        one.give(FIRST)  # between two listings of the first consumer
        while left.step():
            pass
        assert left.progress.fenced == 0
    assert books(store_url)["applied"] == 10


def test_a_fenced_partition_that_stays_ours_is_claimed_again_after_a_while(store_url: str) -> None:
    one = Advice(FIRST)
    with open_store(store_url, create=True) as store:
        log = source()
        left = Runner(store, log, sharing=one, batch_records=2, reclaim_s=0.0)
        patient = Runner(store, log, sharing=Advice(FIRST), batch_records=2)
        patient.step()
        left.step()
        assert patient.step()  # fenced
        assert not patient.step()  # and it leaves the partition alone
        Runner(store, log, batch_records=2).step()
        while left.step():
            pass
        assert left.progress.fenced == 1
    assert books(store_url)["applied"] == 10


def test_a_commit_is_told_to_those_who_watch_behind_the_store(store_url: str) -> None:
    heard: list[tuple[int, int]] = []

    class Watching(Unobserved):
        def committed(self, records: object, tallies: Mapping[Partition, Tally], seconds: float) -> None:
            told = books(store_url)["applied"]
            heard.append((told, sum(tally.applied for tally in tallies.values())))

    with open_store(store_url, create=True) as store:
        Runner(store, source(6), observer=Watching(), batch_records=2).run()
    assert heard == [(2, 2), (4, 2), (6, 2)]


def test_workers_by_number_share_out_everything_once() -> None:
    partitions = [Partition("t", str(number)) for number in range(40)]
    shares = [ByNumber(index, 3).assigned(partitions) for index in range(3)]
    assert sorted(part for share in shares for part in share) == sorted(partitions)


class Leaderless(MemoryLog):
    """Of its second partition nobody answers; what it says is counted."""

    asked = 0

    def read(self, partition: Partition, cursor: Cursor, *, records: int, size: int) -> list[Record]:
        if partition == SECOND:
            self.asked += 1
            raise Retryable("no leader")
        return super().read(partition, cursor, records=records, size=size)


def test_a_partition_without_an_answer_does_not_hold_up_the_others(store_url: str) -> None:
    values = [run_event(run) for run in range(20)]
    log, steps, health = Leaderless(values, values), iter(range(50)), Health()
    with open_store(store_url, create=True) as store:
        runner = Runner(store, log, batch_records=4, observer=health, sleep=lambda _: None)
        runner.run(follow=True, stopping=lambda: next(steps, None) is None)
        assert runner.progress.applied == 20
        assert health.ready().ok
        assert log.asked == 1


def test_what_did_not_answer_is_not_taken_for_the_end(store_url: str) -> None:
    clock = iter(range(10**12, 10**15, 10**8))
    log = Leaderless([run_event(1)], [run_event(2)])
    with (
        open_store(store_url, create=True) as store,
        pytest.raises(Retryable, match="no leader"),
    ):
        Runner(store, log, sleep=lambda _: None, now=lambda: next(clock)).run()


def test_a_claimed_partition_s_place_is_told_before_anything_is_read(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        Runner(store, source(), sharing=Advice(FIRST, SECOND), batch_records=100).step()
        heir = Advice(FIRST)
        assert not Runner(store, source(), sharing=heir).step()
        assert heir.told == {FIRST: Cursor(10)}


def test_who_has_not_joined_is_not_ready() -> None:
    health, awaited = Health(), ["not yet in group g"]
    health.awaits(lambda: awaited[0])
    health.stepped({}, source())
    assert health.ready().why == "not yet in group g"
    awaited[0] = ""
    assert health.ready().ok
