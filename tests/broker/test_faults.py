"""What fails between Kafka, a consumer and PostgreSQL costs time; no record is lost, none counted twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError

from headwater.consumers.kafka_group import group_of
from headwater.consumers.kafka_log import KafkaLog
from headwater.consumers.log import open_log
from headwater.consumers.replaying import replay
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from tests.broker.test_group import check, pairs, spread
from tests.broker.test_kafka_log import remade
from tests.support import needed
from tests.support.kafka import Broker
from tests.support.logs import run_event
from tests.support.mock_kafka import FETCH, LIST_OFFSETS, MockCluster, MockLog, mock_cluster
from tests.support.proxy import CommitCutter
from tests.support.serving import books, consumed, serving, until


class TestTheStore:
    @pytest.mark.parametrize("kept", [True, False], ids=["answer lost", "commit lost"])
    def test_a_commit_without_an_answer_counts_once_whether_or_not_it_was_kept(
        self, kafka_broker: Broker, topic: str, store: str, tmp_path: Path, kept: bool
    ) -> None:
        spread(kafka_broker, topic, pairs(0, 400))
        cut = 0
        with CommitCutter(store) as proxy, KafkaLog(kafka_broker.bootstrap, [topic]) as source:
            proxy.kept = kept
            with open_store(proxy.url) as slow:
                runner = Runner(slow, source, batch_records=50, sleep=lambda _: None)
                proxy.cut_at = 0
                while consumed(store) < 400:
                    runner.step()
                    if proxy.commits > proxy.cut_at:
                        proxy.cut_at = proxy.commits + 1  # every second batch
            cut = proxy.cuts
        assert cut >= 3
        assert books(store) == {"applied": 400, "duplicate": 0, "quarantined": 0, "gaps": 0}
        check(kafka_broker, topic, store, tmp_path)

    def test_a_database_that_crashes_in_the_middle_of_a_batch_is_waited_for(
        self, kafka_broker: Broker, topic: str, tmp_path: Path
    ) -> None:
        check_restarts(kafka_broker, topic, tmp_path, restarts=1)

    @pytest.mark.deep
    def test_a_database_that_crashes_ten_times_is_waited_for(
        self, kafka_broker: Broker, topic: str, tmp_path: Path
    ) -> None:
        check_restarts(kafka_broker, topic, tmp_path, restarts=10)


def check_restarts(broker: Broker, topic: str, tmp_path: Path, *, restarts: int) -> None:
    cluster = needed.cluster()
    chance, sent = random.Random(restarts), 0
    try:
        url = cluster.create()
        open_store(url, create=True).close()
        with serving(url, broker.url(topic), tmp_path, members=2) as team:
            for _ in range(restarts):
                spread(broker, topic, pairs(sent // 2, 8_000))
                sent += 8_000
                reached = sent - 8_000 + chance.randrange(500, 6_000)
                until(lambda reached=reached: consumed(url) >= reached)  # type: ignore[misc]
                cluster.kill()
                cluster.revive()
            until(lambda: consumed(url) == sent)
            # A restart between two batches is not noticed: the pool connects anew.
            assert restarts == 1 or any(each.count("store_unavailable") for each in team)
            assert [each.stop() for each in team] == [0, 0]
        assert books(url) == {"applied": sent, "duplicate": 0, "quarantined": 0, "gaps": 0}
        check(broker, topic, url, tmp_path)
    finally:
        cluster.stop()


class TestTheGroup:
    def test_members_that_come_and_go_all_the_time_do_not_stop_the_rest(
        self, kafka_broker: Broker, topic: str, store: str, tmp_path: Path
    ) -> None:
        url = kafka_broker.url(topic)
        done, joined = threading.Event(), threading.Semaphore(0)
        with serving(store, url, tmp_path, members=2) as team:
            team[0].wait_for("partitions_assigned")
            guests = (kafka_broker, group_of(store), topic, done, joined)
            storm = threading.Thread(target=come_and_go, args=guests)
            storm.start()
            try:
                # While members come and go Kafka hands nothing over; what a member holds, it reads on.
                for begun in range(0, 12_000, 4_000):
                    before = consumed(store)
                    spread(kafka_broker, topic, pairs(begun // 2, 4_000))
                    until(lambda before=before: consumed(store) >= before + 500)  # type: ignore[misc]
            finally:
                done.set()
                storm.join()
            until(lambda: consumed(store) == 12_000)
            assert joined.acquire(blocking=False)
            assert [each.stop() for each in team] == [0, 0]
        assert books(store)["applied"] == 12_000
        check(kafka_broker, topic, store, tmp_path)

    def test_duplicates_and_any_order_across_partitions_leave_the_same_store(
        self, kafka_broker: Broker, topic: str, store: str, tmp_path: Path
    ) -> None:
        values = pairs(0, 600)
        mixed = [*values, *values[::3], *values[::7]]
        random.Random(3).shuffle(mixed)
        spread(kafka_broker, topic, mixed)
        with serving(store, kafka_broker.url(topic), tmp_path, members=2) as team:
            until(lambda: consumed(store) == len(mixed))
            assert [each.stop() for each in team] == [0, 0]
        assert books(store) == {
            "applied": 600,
            "duplicate": len(mixed) - 600,
            "quarantined": 0,
            "gaps": 0,
        }
        check(kafka_broker, topic, store, tmp_path)


def come_and_go(
    broker: Broker, group: str, topic: str, done: threading.Event, joined: threading.Semaphore
) -> None:
    """A member joins or leaves every 200 ms; it reads nothing, and says when it became one of the group."""
    guest: Client | None = None
    while not done.is_set():
        if guest is None:
            guest = Client(
                {
                    "bootstrap.servers": broker.bootstrap,
                    "group.id": group,
                    "partition.assignment.strategy": "cooperative-sticky",
                    "enable.auto.commit": False,
                }
            )
            guest.subscribe([topic])
            guest.poll(0.2)
            if guest.memberid():
                joined.release()
        else:
            guest.close()
            guest = None
            done.wait(0.2)
    if guest is not None:
        guest.close()


class TestTheTopic:
    def test_the_native_topic_made_anew_under_a_live_consumer_ends_it(
        self, kafka_broker: Broker, store: str, tmp_path: Path
    ) -> None:
        topic = kafka_broker.topic()
        kafka_broker.send(topic, [run_event(1)])
        with serving(store, kafka_broker.url(topic), tmp_path) as (one,):
            until(lambda: consumed(store) == 1)
            kafka_broker.delete(topic)
            remade(kafka_broker, topic)
            kafka_broker.send(topic, [run_event(run) for run in range(2, 9)])
            assert one.end() == 3
            assert "made anew" in one.text or "there is no topic" in one.text
        assert consumed(store) == 1
        with serving(store, kafka_broker.url(topic), tmp_path) as (again,):
            assert again.end() == 3
            assert "made anew" in again.text
        assert consumed(store) == 1

    def test_another_topic_made_anew_halts_alone(
        self, kafka_broker: Broker, store: str, tmp_path: Path
    ) -> None:
        native, foreign = kafka_broker.topic(), kafka_broker.topic()
        kafka_broker.send(foreign, [run_event(1)])
        with serving(store, kafka_broker.url(native, foreign), tmp_path) as (one,):
            until(lambda: consumed(store) == 1)
            kafka_broker.delete(foreign)
            remade(kafka_broker, foreign)
            kafka_broker.send(foreign, [run_event(2), run_event(3)])
            assert one.wait_for("topic_halted")["topic"] == foreign
            kafka_broker.send(native, [run_event(4)])
            until(lambda: consumed(store) == 2)
            assert one.stop() == 0

    def test_records_deleted_unread_halt_their_partition_and_the_others_go_on(
        self, kafka_broker: Broker, topic: str, store: str, tmp_path: Path
    ) -> None:
        spread(kafka_broker, topic, pairs(0, 40))
        with serving(store, kafka_broker.url(topic), tmp_path) as (one,):
            until(lambda: consumed(store) == 40)
            assert one.stop() == 0
        spread(kafka_broker, topic, pairs(20, 40))
        kafka_broker.delete_below(topic, 2, 15)
        with serving(store, kafka_broker.url(topic), tmp_path) as (one,):
            until(lambda: consumed(store) == 70)
            assert f"{topic}[2]" in one.wait_for("partition_halted")["place"]
            assert one.stop() == 0

    def test_a_topic_that_comes_to_match_a_pattern_is_read(
        self, kafka_broker: Broker, store: str, tmp_path: Path
    ) -> None:
        native = kafka_broker.topic()
        family = native.replace("-", "")
        with serving(store, kafka_broker.url(native, rf"^{family}\..+"), tmp_path) as (one,):
            one.wait_for("partitions_assigned")
            late = kafka_broker.topic(partitions=2, name=f"{family}.late", cleanup_policy="compact")
            kafka_broker.send(late, [run_event(1)])
            kafka_broker.send_aborted(late, [run_event(2)], partition=1)
            kafka_broker.send(late, [run_event(3), None], partition=1)
            until(lambda: books(store)["applied"] == 2)
            assert one.stop() == 0


class TestTheBroker:
    @pytest.mark.parametrize("place", range(6))
    def test_a_poison_record_is_parked_at_every_place_of_a_batch(
        self, kafka_broker: Broker, sqlite_url: str, place: int
    ) -> None:
        topic = kafka_broker.topic()
        values = [run_event(run) for run in range(17)]
        for begin in (12, 6, 0):
            values.insert(begin + place, b"\x00poison")
        kafka_broker.send(topic, values)
        with (
            KafkaLog(kafka_broker.bootstrap, [topic]) as source,
            open_store(sqlite_url, create=True) as store,
        ):
            Runner(store, source, batch_records=6).run()
        assert books(sqlite_url) == {"applied": 17, "duplicate": 0, "quarantined": 3, "gaps": 0}

    @pytest.fixture
    def mock(self) -> Iterator[MockCluster]:
        with mock_cluster() as mock:
            yield mock

    @pytest.mark.parametrize(
        "code",
        [
            KafkaError.NOT_LEADER_FOR_PARTITION,
            KafkaError.FENCED_LEADER_EPOCH,
            KafkaError.KAFKA_STORAGE_ERROR,
            KafkaError.REQUEST_TIMED_OUT,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError._TRANSPORT,
        ],
        ids=str,
    )
    def test_errors_of_fetches_are_passed_through_without_loss(
        self, mock: MockCluster, sqlite_url: str, code: int
    ) -> None:
        mock.topic("t", 2)
        broker = Broker(mock.bootstrap)
        for part in range(2):
            broker.send("t", [run_event(2 * run + part) for run in range(50)], partition=part)
        with (
            MockLog(mock, ["t"], 2, answer_s=3.0) as source,
            open_store(sqlite_url, create=True) as store,
        ):
            runner = Runner(store, source, batch_records=10, sleep=lambda _: None)
            mock.answer([code], LIST_OFFSETS)
            told, deadline = -1, time.monotonic() + 60
            while (applied := runner.progress.applied) < 100 and time.monotonic() < deadline:
                if applied > told:  # one more for each batch: what is not fetched fails no fetch
                    mock.answer([code], FETCH)
                    told = applied
                runner.step()
        assert not runner.progress.damaged
        assert books(sqlite_url) == {"applied": 100, "duplicate": 0, "quarantined": 0, "gaps": 0}


def test_a_replay_reads_every_topic_of_a_pattern(kafka_broker: Broker, sqlite_url: str) -> None:
    native = kafka_broker.topic()
    family = native.replace("-", "")
    for name in ("one", "two"):
        kafka_broker.send(kafka_broker.topic(name=f"{family}.{name}"), [run_event(len(name))])
    kafka_broker.send(native, [run_event(9), run_event(3)])
    with open_log(kafka_broker.url(native, rf"^{family}\..+")) as source:
        assert replay(source, sqlite_url).applied == 2
