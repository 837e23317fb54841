"""A log on a real Apache Kafka: everything is read once, and what is gone is never passed over unseen."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from sqlalchemy import select

from headwater.consumers import tables
from headwater.consumers.kafka_log import END_HOLDS_S, KafkaLog, RecordsLost, TopicMissing, TopicRefused
from headwater.consumers.log import Cursor, Log, Partition, Record, open_log, records_of
from headwater.consumers.replaying import verify
from headwater.consumers.runner import Progress, Runner
from headwater.consumers.store import open_store
from headwater.consumers.workers import consume
from headwater.schemas.errors import Misconfigured, Retryable
from tests.support.kafka import Broker
from tests.support.logs import run_event, write_segment
from tests.support.mock_kafka import LIST_OFFSETS, MockLog, mock_cluster
from tests.support.serving import until


@pytest.fixture
def topic(kafka_broker: Broker) -> str:
    return kafka_broker.topic(partitions=3)


@pytest.fixture
def source(kafka_broker: Broker, topic: str) -> Iterator[KafkaLog]:
    with KafkaLog(kafka_broker.bootstrap, [topic]) as log:
        yield log


def filled(broker: Broker, topic: str, events: int, partitions: int = 3) -> list[bytes]:
    """That many events in the topic, START and COMPLETE of each run in different partitions."""
    values = [run_event(n // 2, "START" if n % 2 == 0 else "COMPLETE", inputs=["in"]) for n in range(events)]
    for partition in range(partitions):
        broker.send(topic, values[partition::partitions], partition=partition)
    return values


def applied(log: Log, url: str) -> Progress:
    with open_store(url, create=True) as store:
        return Runner(store, log).run()


class TestReading:
    def test_every_record_is_read_once_in_the_order_of_its_partition(
        self, kafka_broker: Broker, topic: str, source: KafkaLog
    ) -> None:
        values = filled(kafka_broker, topic, 3_001)
        records = list(records_of(source, batch=100))
        assert sorted(record.value for record in records) == sorted(values)
        for place, found in itertools.groupby(records, key=lambda record: record.place):
            assert [record.offset for record in found] == list(
                range(len(values) // 3 + (place.number == "0"))
            )

    def test_an_empty_topic_ends_at_once_and_later_records_are_seen(
        self, kafka_broker: Broker, topic: str, source: KafkaLog
    ) -> None:
        assert list(records_of(source)) == []
        kafka_broker.send(topic, [b"late"], partition=1)
        assert [record.value for record in waited_for(source, source.partitions()[1], 0)] == [b"late"]

    def test_a_cursor_may_go_back_and_forth(self, kafka_broker: Broker, topic: str, source: KafkaLog) -> None:
        kafka_broker.send(topic, [str(n).encode() for n in range(50)])
        first = source.partitions()[0]
        for offset in (40, 0, 49, 7, 7):
            found = source.read(first, Cursor(offset), records=5, size=1 << 20)
            assert [record.offset for record in found] == list(range(offset, min(50, offset + 5)))

    def test_what_was_held_back_is_read_again_from_anywhere(self, kafka_broker: Broker) -> None:
        topic = kafka_broker.topic()
        values = [b"%06d" % n + b"x" * 60_000 for n in range(1_200)]  # twice what is held in hand
        kafka_broker.send(topic, values)
        with KafkaLog(kafka_broker.bootstrap, [topic], answer_s=10.0) as log:
            (part,) = log.partitions()
            for offset in (0, 0, 700, 0):
                found = log.read(part, Cursor(offset), records=100, size=1 << 30)
                assert found[0].value == values[offset]
                log._poll(1.0)
            assert len(list(records_of(log))) == len(values)

    def test_a_batch_ends_at_its_size_and_holds_one_record_at_least(
        self, kafka_broker: Broker, topic: str, source: KafkaLog
    ) -> None:
        kafka_broker.send(topic, [b"x" * 1_000] * 10)
        first = source.partitions()[0]
        assert len(source.read(first, Cursor(), records=100, size=2_500)) == 2
        assert len(source.read(first, Cursor(2), records=100, size=1)) == 1

    def test_the_largest_record_passes(self, kafka_broker: Broker, topic: str, source: KafkaLog) -> None:
        kafka_broker.send(topic, [b"before", b"x" * ((10 << 20) - 2_000), b"after"])
        assert [len(record.value) for record in records_of(source)] == [6, (10 << 20) - 2_000, 5]

    def test_the_append_time_is_that_of_the_record(
        self, kafka_broker: Broker, topic: str, source: KafkaLog
    ) -> None:
        kafka_broker.send(topic, [b"now"])
        record = next(iter(records_of(source)))
        assert record.appended_at % 1_000 == 0
        assert 1_700_000_000_000_000 < record.appended_at < 4_000_000_000_000_000

    def test_what_holds_no_event_is_a_gap(self, kafka_broker: Broker, topic: str, sqlite_url: str) -> None:
        kafka_broker.send(topic, [run_event(1)])
        kafka_broker.send_aborted(topic, [run_event(2), run_event(3)])
        kafka_broker.send(topic, [None, run_event(4)])
        with KafkaLog(kafka_broker.bootstrap, [topic]) as log:
            done = applied(log, sqlite_url)
        # Two aborted records and a tombstone; the abort's marker stands before the last record or behind it.
        assert done.applied == 2
        assert done.gaps in (3, 4)
        with open_store(sqlite_url) as store, store.connecting() as connection:
            for row in connection.execute(select(tables.position)):
                accounted = row.applied + row.duplicate + row.quarantined + row.gaps
                assert row.next_offset - row.start_offset == accounted


class TestFolding:
    def test_the_store_is_the_one_that_segments_give(
        self, kafka_broker: Broker, topic: str, store_url: str, tmp_path: Path
    ) -> None:
        values = filled(kafka_broker, topic, 600)
        write_segment(tmp_path / "log", values, sealed=True)
        with open_log(kafka_broker.url(topic)) as log, open_store(store_url, create=True) as store:
            assert Runner(store, log).run().applied == 600
            on_kafka = verify(store, log)
            assert on_kafka.equal
        with open_log(str(tmp_path / "log")) as log:
            applied(log, f"sqlite:///{tmp_path / 'twin.db'}")
            with open_store(f"sqlite:///{tmp_path / 'twin.db'}") as twin:
                # The events' places differ, and no digest covers them.
                assert verify(twin, log).store.root == on_kafka.store.root

    def test_workers_share_the_partitions(self, kafka_broker: Broker, topic: str, store_url: str) -> None:
        filled(kafka_broker, topic, 300)
        open_store(store_url, create=True).close()
        assert consume(store_url, kafka_broker.url(topic), workers=2).applied == 300
        assert consume(store_url, kafka_broker.url(topic), workers=3).seen == 0

    def test_several_topics_are_one_log(self, kafka_broker: Broker, topic: str, sqlite_url: str) -> None:
        other = kafka_broker.topic()
        kafka_broker.send(topic, [run_event(1)])
        kafka_broker.send(other, [run_event(2), b"garbage", run_event(1)])
        with open_log(kafka_broker.url(topic, other)) as log:
            done = applied(log, sqlite_url)
        assert (done.applied, done.duplicate, done.quarantined) == (2, 1, 1)

    def test_a_poison_record_is_parked_wherever_it_stands(
        self, kafka_broker: Broker, topic: str, sqlite_url: str
    ) -> None:
        for partition, place in enumerate((0, 2, 4)):
            values = [run_event(10 * partition + n) for n in range(4)]
            values.insert(place, b"\xff\x00poison")
            kafka_broker.send(topic, values, partition=partition)
        with KafkaLog(kafka_broker.bootstrap, [topic]) as log:
            done = applied(log, sqlite_url)
        assert (done.applied, done.quarantined) == (12, 3)


class TestLoss:
    def test_records_deleted_below_the_position_halt(self, kafka_broker: Broker, sqlite_url: str) -> None:
        topic = kafka_broker.topic()
        kafka_broker.send(topic, [run_event(n) for n in range(10)])
        with KafkaLog(kafka_broker.bootstrap, [topic]) as log:
            assert applied(log, sqlite_url).applied == 10
        kafka_broker.send(topic, [run_event(n) for n in range(10, 30)])
        kafka_broker.delete_below(topic, 0, 25)
        with KafkaLog(kafka_broker.bootstrap, [topic]) as log:
            done = applied(log, sqlite_url)
            (lost,) = done.damaged.values()
        assert done.seen == 0
        assert isinstance(lost, RecordsLost)
        assert (lost.offset, lost.until) == (10, 25)
        assert "records 10–24" in str(lost)

    def test_records_deleted_while_they_are_read_halt(self, kafka_broker: Broker) -> None:
        topic = kafka_broker.topic()
        kafka_broker.send(topic, [str(n).encode() for n in range(10)])
        with KafkaLog(kafka_broker.bootstrap, [topic]) as log:
            (part,) = log.partitions()
            assert len(log.read(part, Cursor(), records=10, size=1 << 20)) == 10
            kafka_broker.delete_below(topic, 0, 10)
            # Nothing that was unread is gone.
            assert log.read(part, Cursor(10), records=10, size=1 << 20) == []
            with pytest.raises(RecordsLost):
                log.read(part, Cursor(4), records=10, size=1 << 20)

    def test_a_topic_that_ends_before_the_position_halts(self, kafka_broker: Broker) -> None:
        topic = kafka_broker.topic()
        kafka_broker.send(topic, [b"1", b"2"])
        with KafkaLog(kafka_broker.bootstrap, [topic]) as log, pytest.raises(RecordsLost) as cut:
            log.read(log.partitions()[0], Cursor(7), records=10, size=1 << 20)
        assert cut.value.until is None
        assert "ends at 2" in str(cut.value)

    def test_a_topic_made_anew_halts_also_after_a_restart(
        self, kafka_broker: Broker, sqlite_url: str
    ) -> None:
        topic = kafka_broker.topic()
        kafka_broker.send(topic, [run_event(1), run_event(2)])
        with KafkaLog(kafka_broker.bootstrap, [topic]) as log, open_store(sqlite_url, create=True) as store:
            runner = Runner(store, log)
            assert runner.run().applied == 2
            kafka_broker.delete(topic)
            remade(kafka_broker, topic)
            kafka_broker.send(topic, [run_event(n) for n in range(3, 9)])
            with pytest.raises(Misconfigured, match="made anew"):
                log.partitions()
            with (
                KafkaLog(kafka_broker.bootstrap, [topic]) as again,
                pytest.raises(Misconfigured, match="made anew"),
            ):
                Runner(store, again).run()

    def test_records_of_a_topic_made_anew_are_not_taken_for_the_old_ones(self, kafka_broker: Broker) -> None:
        topic = kafka_broker.topic()
        kafka_broker.send(topic, [run_event(1)])
        with KafkaLog(kafka_broker.bootstrap, [topic]) as log:
            (part,) = log.partitions()
            assert len(log.read(part, Cursor(0), records=9, size=1 << 20)) == 1
            kafka_broker.delete(topic)
            remade(kafka_broker, topic)
            kafka_broker.send(topic, [run_event(n) for n in range(2, 9)])
            # The reader goes on at offset 1 of the name, between two looks at the topic.
            with pytest.raises(Misconfigured, match="made anew"):
                read_until_refused(log, part)

    def test_a_topic_that_is_not_there_is_told(self, kafka_broker: Broker) -> None:
        with (
            KafkaLog(kafka_broker.bootstrap, ["nowhere"]) as log,
            pytest.raises(Misconfigured, match="nowhere"),
        ):
            log.partitions()


class TestFaults:
    def test_a_broker_that_is_away_is_waited_for(self, sqlite_url: str) -> None:
        broker = Broker.started()
        try:
            topic = broker.topic()
            broker.send(topic, [run_event(n) for n in range(5)])
            with (
                KafkaLog(broker.bootstrap, [topic], {"socket.timeout.ms": 1_000}, answer_s=2.0) as log,
                open_store(sqlite_url, create=True) as store,
            ):
                cluster = broker.cluster
                assert cluster is not None
                runner = Runner(store, log, sleep=lambda _: cluster.start_broker(1))
                assert runner.run().applied == 5
                cluster.kill(1)
                with pytest.raises(Retryable):
                    log.partitions()
                # The runner meets the same, pauses (the broker starts meanwhile), and goes on.
                runner.run()
                broker.send(topic, [run_event(n) for n in range(5, 9)])
                time.sleep(END_HOLDS_S)
                assert runner.run().applied == 9
        finally:
            broker.stop()

    def test_a_setting_that_would_skip_records_is_refused(self) -> None:
        with pytest.raises(Misconfigured, match=r"auto\.offset\.reset"):
            KafkaLog("127.0.0.1:9", ["t"], {"auto.offset.reset": "latest"})

    def test_a_setting_that_does_not_exist_is_told(self) -> None:
        with pytest.raises(Misconfigured, match=r"no\.such"):
            KafkaLog("127.0.0.1:9", ["t"], {"no.such": 1})

    @pytest.mark.parametrize("url", ["kafka://host:9092", "kafka:///topic", "kafka://host:9092/", "s3://b/c"])
    def test_a_url_that_names_no_log_is_refused(self, url: str) -> None:
        with pytest.raises(Misconfigured):
            open_log(url)


def waited_for(log: KafkaLog, partition: Partition, offset: int) -> list[Record]:
    """The next records, once the reader's fetches have seen them."""
    for _ in range(100):
        found = log.read(partition, Cursor(offset), records=10, size=1 << 20)
        if found:
            return found
        log._poll(0.1)
    return []


def read_until_refused(log: KafkaLog, partition: Partition) -> None:
    """Ask for what follows offset 0, half a minute long; nothing may come."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert log.read(partition, Cursor(1), records=9, size=1 << 20) == []


def remade(broker: Broker, topic: str) -> None:
    """The topic anew; its deletion takes a moment."""
    from confluent_kafka import KafkaException

    for _ in range(100):
        try:
            broker.topic(name=topic)
        except KafkaException:
            continue
        return
    raise TimeoutError(f"{topic} is still being deleted")


class TestTrouble:
    def test_a_refusal_of_one_broker_does_not_end_a_log_that_is_read(
        self, kafka_broker: Broker, topic: str
    ) -> None:
        with KafkaLog(kafka_broker.bootstrap, [topic]) as log:
            log.partitions()
            log._faults(KafkaError(KafkaError._SSL, "ssl://b2:9093/2: SSL handshake failed: Disconnected"))
            assert log.partitions()

    def test_a_topic_that_is_missing_at_the_start_is_read_once_it_is_there(
        self, kafka_broker: Broker, topic: str
    ) -> None:
        later = f"later-{topic}"
        with KafkaLog(kafka_broker.bootstrap, [topic, later], halted_s=0.0) as log:
            log.partitions()
            assert isinstance(log.halted[later], TopicMissing)
            kafka_broker.topic(name=later)
            until(lambda: any(log.name_of(part) == later for part in log.partitions()))
            assert not log.halted

    def test_what_is_refused_of_another_topic_halts_that_topic_alone(self) -> None:
        with mock_cluster() as mock:
            for name in ("native", "other"):
                mock.topic(name, 1)
                Broker(mock.bootstrap).send(name, [b"1", b"2"])
            with MockLog(mock, ["native", "other"], 1, answer_s=5.0) as log:
                native, other = log.partitions()
                mock.answer([KafkaError.TOPIC_AUTHORIZATION_FAILED] * 2, LIST_OFFSETS)
                assert log.read(other, Cursor(), records=10, size=1 << 20) == []
                assert isinstance(log.halted["other"], TopicRefused)
                assert len(waited_for(log, native, 0)) == 2
                log.release(native)
                mock.answer([KafkaError.TOPIC_AUTHORIZATION_FAILED] * 2, LIST_OFFSETS)
                with pytest.raises(TopicRefused, match="native"):
                    log.read(native, Cursor(), records=10, size=1 << 20)
