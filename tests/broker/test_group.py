"""Consumers of one store share the partitions; whatever becomes of one, nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer as Client
from confluent_kafka import TopicPartition

from headwater.consumers.digest import digest
from headwater.consumers.kafka_group import KafkaGroup, group_of
from headwater.consumers.kafka_log import KafkaLog
from headwater.consumers.log import open_log
from headwater.consumers.replaying import replay
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from tests.support.kafka import Broker
from tests.support.logs import run_event
from tests.support.serving import PARTITIONS, Consumer, books, consumed, serving, until


def pairs(first: int, count: int) -> list[bytes]:
    """START and COMPLETE of runs, bound to each other, of which some come twice."""
    values = [
        run_event(run, kind, inputs=[f"out-{run - 1}", "shared"])
        for run in range(first, first + count // 2)
        for kind in ("START", "COMPLETE")
    ]
    return values


def spread(broker: Broker, topic: str, values: list[bytes]) -> None:
    """A run's START and COMPLETE in different partitions."""
    for partition in range(PARTITIONS):
        broker.send(topic, values[partition::PARTITIONS], partition=partition)


def check(broker: Broker, topic: str, store: str, tmp_path: Path) -> None:
    """The store is what a fresh replay of the topic makes."""
    with open_log(broker.url(topic)) as source:
        replay(source, f"sqlite:///{tmp_path}/twin.db")
    with open_store(store) as live, open_store(f"sqlite:///{tmp_path}/twin.db") as twin:
        assert digest(live).root == digest(twin).root


class TestSharing:
    @pytest.mark.parametrize("protocol", ["classic", "consumer"])
    def test_two_consumers_share_the_partitions_and_one_that_ends_hands_them_over(
        self, kafka_broker: Broker, topic: str, store: str, tmp_path: Path, protocol: str
    ) -> None:
        settings = "kafka:\n  group.protocol: consumer\n" if protocol == "consumer" else None
        more = {"settings": settings} if settings else {}
        with serving(store, kafka_broker.url(topic), tmp_path, members=2, **more) as (one, two):
            one.wait_for("partitions_assigned")
            until(lambda: held(one) == held(two) == PARTITIONS // 2, "half of the partitions for each")
            spread(kafka_broker, topic, pairs(0, 400))
            until(lambda: consumed(store) == 400)
            assert one.count("batch_applied")
            assert two.count("batch_applied")
            assert one.stop() == 0
            until(lambda: held(two) == PARTITIONS)
            spread(kafka_broker, topic, pairs(200, 400))
            until(lambda: consumed(store) == 800)
            assert two.stop() == 0
        assert books(store) == {"applied": 800, "duplicate": 0, "quarantined": 0, "gaps": 0}
        check(kafka_broker, topic, store, tmp_path)

    def test_what_was_committed_is_told_also_on_a_topic_that_fell_quiet(
        self, kafka_broker: Broker, topic: str, store: str
    ) -> None:
        with (
            KafkaLog(kafka_broker.bootstrap, [topic]) as source,
            open_store(store) as opened,
            contextlib.closing(KafkaGroup(source, group_of(store))) as member,
        ):
            runner = Runner(opened, source, sharing=member)
            until(lambda: seen(runner) == 0 and member.joined)
            for begun in range(0, 80, 40):
                spread(kafka_broker, topic, pairs(begun, 40))
                until(lambda begun=begun: seen(runner) == begun + 40)  # type: ignore[misc]
            until(lambda: seen(runner) == 80 and committed(kafka_broker, store, topic) == [20] * PARTITIONS)

    def test_kafka_is_told_the_positions_for_lag_tools(
        self, kafka_broker: Broker, topic: str, store: str, tmp_path: Path
    ) -> None:
        with serving(store, kafka_broker.url(topic), tmp_path) as (one,):
            spread(kafka_broker, topic, pairs(0, 40))
            until(lambda: consumed(store) == 40)
            assert one.stop() == 0
        assert committed(kafka_broker, store, topic) == [10] * PARTITIONS


def seen(runner: Runner) -> int:
    """After one step more."""
    runner.step()
    return runner.progress.seen


def committed(broker: Broker, store: str, topic: str) -> list[int]:
    """What Kafka was told."""
    client = Client({"bootstrap.servers": broker.bootstrap, "group.id": group_of(store)})
    told = client.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], timeout=10)
    client.close()
    return [each.offset for each in told]


def held(consumer: Consumer) -> int:
    told = [each["held"] for each in consumer.events if "held" in each]
    return told[-1] if told else 0


class TestKilled:
    def test_consumers_that_are_killed_lose_and_double_nothing(
        self, kafka_broker: Broker, topic: str, store: str, tmp_path: Path
    ) -> None:
        check_kills(kafka_broker, topic, store, tmp_path, kills=3, apart=200)

    @pytest.mark.deep
    def test_consumers_that_are_killed_often_lose_and_double_nothing(
        self, kafka_broker: Broker, topic: str, store: str, tmp_path: Path
    ) -> None:
        check_kills(kafka_broker, topic, store, tmp_path, kills=25, apart=1_000)

    def test_a_consumer_that_slept_through_its_eviction_writes_nothing_twice(
        self, kafka_broker: Broker, topic: str, store: str, tmp_path: Path
    ) -> None:
        url = kafka_broker.url(topic)
        with serving(store, url, tmp_path) as (zombie,):
            zombie.wait_for("partitions_assigned")
            spread(kafka_broker, topic, pairs(0, 20_000))
            zombie.wait_for("batch_applied", times=2)
            zombie.signal(signal.SIGSTOP)
            with serving(store, url, tmp_path) as (heir,):
                heir.wait_for("batch_applied")
                zombie.signal(signal.SIGCONT)
                # Whether it is fenced or hears of its loss in time is chance; test_sharing.py fences.
                until(lambda: consumed(store) == 20_000)
                spread(kafka_broker, topic, pairs(10_000, 400))
                until(lambda: consumed(store) == 20_400)
                assert heir.stop() == 0
            assert zombie.stop() == 0
        assert books(store)["applied"] == 20_400
        check(kafka_broker, topic, store, tmp_path)


def check_kills(broker: Broker, topic: str, store: str, tmp_path: Path, *, kills: int, apart: int) -> None:
    """One of two consumers is killed, `kills` times, after `apart` events or more, at a random moment."""
    chance, sent = random.Random(kills), 0
    url = broker.url(topic)
    with serving(store, url, tmp_path, members=2) as team:
        for _ in range(kills):
            spread(broker, topic, pairs(sent // 2, 4 * apart))
            sent += 4 * apart
            reached = sent - 4 * apart + chance.randrange(apart, 3 * apart)
            until(lambda reached=reached: consumed(store) >= reached)  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.1))
            team.pop(0).kill()
            team.append(Consumer(store, url, tmp_path))
        until(lambda: consumed(store) == sent)
    assert books(store) == {"applied": sent, "duplicate": 0, "quarantined": 0, "gaps": 0}
    check(broker, topic, store, tmp_path)
