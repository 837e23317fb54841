"""kill -9 of emitting and of draining processes, brokers that go and come: nothing accepted is missing.

Invariant A: every event whose `emit` returned is in the topic. Each emitter's events stand in order in each
partition, and what stands there twice is in the store once (B: every record is accounted for).
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.consumers.kafka_log import KafkaLog
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from headwater.emitter.draining import drain, left_in
from headwater.emitter.emitter import from_settings
from tests.support.emitting import ID_BYTES
from tests.support.kafka import Broker
from tests.support.mock_kafka import mock_cluster
from tests.support.spool import created, run_named
from tests.support.topics import (
    assert_chains_whole,
    assert_in_order,
    count_of,
    eventually,
    ids_in,
    settings_for,
    values_of,
)

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
SEGMENT_BYTES = 300_000
EMITTERS, DRAINS = 4, 6
DEEP = 25


class Emitting:
    """A process that emits into a topic until it is killed, and what it was told."""

    def __init__(self, url: str, folder: Path, seed: int, *, pause_s: float = 0.0) -> None:
        self._accepted = folder / f"accepted-{seed}"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.emitting", url, str(self._accepted), str(seed)),
                *("spool", str(SEGMENT_BYTES), str(folder / "spool"), str(pause_s)),
            ],
            cwd=ROOT,
        )

    def wait_for(self, events: int) -> None:
        eventually(lambda: self._size() >= events * ID_BYTES or self._process.poll() is not None, "it emits")
        assert self._process.poll() is None, "it ended by itself"

    def _size(self) -> int:
        return self._accepted.stat().st_size if self._accepted.exists() else 0

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> set[str]:
        self._process.kill()
        self._process.wait()
        return {line.decode() for line in self._accepted.read_bytes().split(b"\n")[:-1]}


def draining(url: str, folder: Path) -> subprocess.Popen[bytes]:
    """`headwater drain --follow` as a process to kill."""
    config = folder / "headwater.yaml"
    config.write_text(f"log: {url}\nspool: {{folder: {folder / 'spool'}}}\n")
    command = Path(sys.executable).parent / "headwater"
    return subprocess.Popen(
        [str(command), "drain", "--follow", "--config", str(config)], stdout=subprocess.DEVNULL
    )


def killed_emitters(
    url: str, folder: Path, kills: int, seed: int, sends: Callable[[], bool], each: int = 800
) -> set[str]:
    """Emitters that deliver, one after the other killed at a random moment; what they were told.

    The first one lives until its own drain has sent something.
    """
    accepted: set[str] = set()
    choice = random.Random(seed)
    for number in range(kills):
        emitting = Emitting(url, folder, seed + number)
        try:
            emitting.wait_for(each)
            if not number:
                eventually(sends, "its own drain sends")
            time.sleep(choice.uniform(0, 0.3))
        finally:
            accepted |= emitting.kill()
    return accepted


def finished(url: str, folder: Path) -> None:
    """What the dead left is adopted and delivered; nothing stays."""
    settings = settings_for(url, folder / "spool", segment_bytes=SEGMENT_BYTES)
    done = drain(settings)
    assert (done.left, done.aside, done.problem) == (0, 0, None)
    assert left_in(settings.log) == 0


def assert_all_there(bootstrap: str, topic: str, accepted: set[str]) -> int:
    """A, and the order; how many records stand there a second time."""
    parts = values_of(bootstrap, topic, PARTITIONS)
    assert len(accepted) > 1_000
    assert accepted <= ids_in(parts)
    assert_in_order(parts)
    values = [value for part in parts for value in part]
    assert_chains_whole(values)
    return len(values) - len(set(values))


def assert_stored_once(bootstrap: str, topic: str, store_url: str, doubled: int) -> None:
    """B: what stands in the topic twice was seen twice, and is in the store once."""
    with KafkaLog(bootstrap, [topic]) as log, open_store(store_url, create=True) as store:
        done = Runner(store, log).run()
    assert done.duplicate == doubled
    assert done.quarantined == 0
    assert done.applied + done.duplicate == done.seen


def emitters_are_killed(broker: Broker, folder: Path, store_url: str, kills: int, seed: int) -> None:
    topic = broker.topic(PARTITIONS)
    url = broker.url(topic)

    def sends() -> bool:
        return count_of(broker.bootstrap, topic, PARTITIONS) > 0

    accepted = killed_emitters(url, folder, kills, seed, sends)
    finished(url, folder)
    doubled = assert_all_there(broker.bootstrap, topic, accepted)
    assert_stored_once(broker.bootstrap, topic, store_url, doubled)


def drains_are_killed(broker: Broker, folder: Path, store_url: str, kills: int, seed: int) -> None:
    """An emitter that leaves delivering to others, and drains that are killed while they deliver."""
    topic = broker.topic(PARTITIONS)
    url = broker.url(topic)
    choice = random.Random(seed)
    spool = folder / "spool" / topic
    emitting = Emitting(str(spool), folder, seed)  # a plain spool: others deliver
    try:
        emitting.wait_for(1_000)
        emitting.pause()
        for _ in range(kills):
            process = draining(url, folder)
            time.sleep(choice.uniform(0.4, 1.0))
            emitting.resume()
            time.sleep(choice.uniform(0.1, 0.3))
            emitting.pause()
            process.kill()
            process.wait()
    finally:
        accepted = emitting.kill()
    finished(url, folder)
    doubled = assert_all_there(broker.bootstrap, topic, accepted)
    assert_stored_once(broker.bootstrap, topic, store_url, doubled)


def test_killed_emitters_lose_nothing(kafka_broker: Broker, tmp_path: Path, sqlite_url: str) -> None:
    emitters_are_killed(kafka_broker, tmp_path, sqlite_url, EMITTERS, 100)


def test_killed_drains_lose_nothing(kafka_broker: Broker, tmp_path: Path, sqlite_url: str) -> None:
    drains_are_killed(kafka_broker, tmp_path, sqlite_url, DRAINS, 200)


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_many_killed_emitters_lose_nothing(kafka_broker: Broker, tmp_path: Path, sqlite_url: str) -> None:
    emitters_are_killed(kafka_broker, tmp_path, sqlite_url, DEEP, 5_100)


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_many_killed_drains_lose_nothing(kafka_broker: Broker, tmp_path: Path, sqlite_url: str) -> None:
    drains_are_killed(kafka_broker, tmp_path, sqlite_url, DEEP, 5_200)


def test_a_drain_killed_between_delivery_and_its_record_sends_again_and_readers_count_once(
    kafka_broker: Broker, tmp_path: Path, sqlite_url: str
) -> None:
    """Exactly that: delivered, and what says so is gone."""
    topic = kafka_broker.topic(PARTITIONS)
    url = kafka_broker.url(topic)
    settings = settings_for(url, tmp_path / "spool")
    emitter = from_settings(settings)
    accepted = set()
    for number in range(1_200):
        receipt = emitter.emit(created(run_named("run", number % 9), number))
        assert receipt is not None
        accepted.add(receipt.event_id)
    segment = next(iter((settings.log).glob("*.seg")))
    eventually(lambda: left_in(settings.log) == 0, "all is delivered")
    kept = segment.read_bytes()
    emitter.close()
    # As if the process had been killed before `.ack` was written and the segment removed.
    segment.write_bytes(kept)
    finished(url, tmp_path)
    doubled = assert_all_there(kafka_broker.bootstrap, topic, accepted)
    assert doubled >= 1_200
    assert_stored_once(kafka_broker.bootstrap, topic, sqlite_url, doubled)


def test_a_broker_that_is_stopped_for_longer_than_any_timeout_costs_nothing(tmp_path: Path) -> None:
    """The timeouts are a second each, and it is away for several; every event is accepted."""
    broker = Broker.started()
    try:
        assert broker.cluster is not None
        topic = broker.topic(PARTITIONS)
        settings = settings_for(
            broker.url(topic), tmp_path / "spool", socket_timeout_ms=1_000, request_timeout_ms=1_000
        )
        emitter = from_settings(settings)
        accepted = set()
        for phase in range(3):
            for number in range(600):
                receipt = emitter.emit(created(run_named("run", number % 9), number))
                assert receipt is not None
                accepted.add(receipt.event_id)
            if phase == 0:
                eventually(lambda: left_in(settings.log) == 0, "what came before is delivered")
                broker.cluster.kill(1)
            elif phase == 1:
                time.sleep(4)
        broker.cluster.start_broker(1)
        emitter.close()
        assert_all_there(broker.bootstrap, topic, accepted)
        assert left_in(settings.log) == 0
    finally:
        broker.stop()


@pytest.mark.deep
@pytest.mark.timeout(900)
def test_brokers_that_are_killed_in_turn_lose_nothing(tmp_path: Path, sqlite_url: str) -> None:
    broker = Broker.started(brokers=3)
    try:
        cluster = broker.cluster
        assert cluster is not None
        topic = broker.topic(PARTITIONS)
        url = broker.url(topic)
        emitting = Emitting(url, tmp_path, 7_000, pause_s=0.1)
        emitting.wait_for(1_000)
        for turn in range(6):
            victim = cluster.numbers[turn % len(cluster.numbers)]
            cluster.kill(victim)
            time.sleep(2)
            cluster.start_broker(victim)
        accepted = emitting.kill()
        finished(url, tmp_path)
        doubled = assert_all_there(broker.bootstrap, topic, accepted)
        assert_stored_once(broker.bootstrap, topic, sqlite_url, doubled)
    finally:
        broker.stop()


def test_a_full_disk_is_emptied_by_delivering(small_disk: Path) -> None:
    with mock_cluster() as cluster:
        cluster.topic("t", PARTITIONS)
        cluster.set_down()
        settings = settings_for(cluster.url("t"), small_disk, segment_bytes=50_000)
        emitter = from_settings(settings)
        accepted: set[str] = set()
        emit_until(emitter.emit, accepted, refused=True)
        assert accepted
        # Not one byte is left, so what is delivered cannot even be written down.
        with (small_disk / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(b"x" * 512):
                    continue
            except OSError:
                pass
        cluster.set_up()
        eventually(lambda: left_in(settings.log) < 200, "delivering makes room")
        emit_until(emitter.emit, accepted, refused=False)
        emitter.close()
        assert accepted <= ids_in(values_of(cluster.bootstrap, "t", PARTITIONS))


def emit_until(emit: Callable[..., object], accepted: set[str], *, refused: bool) -> None:
    """Emit until an event is refused, or until one is not."""
    for number in range(5_000):
        receipt = emit(created(run_named("run"), number, filler="x" * 1_000))
        if receipt is not None:
            accepted.add(receipt.event_id)  # type: ignore[attr-defined]
        if (receipt is None) == refused:
            return
        if receipt is None:
            time.sleep(0.01)
    pytest.fail("nothing changed")


def test_two_processes_and_a_companion_deliver_beside_each_other(tmp_path: Path) -> None:
    """Two processes' drains on one spool, each with its own emitter, and a third that only delivers."""
    with mock_cluster(3) as cluster:
        cluster.topic("t", PARTITIONS)
        url = cluster.url("t")
        emitting = [Emitting(url, tmp_path, seed) for seed in (1, 2)]
        settings = settings_for(url, tmp_path / "spool")
        stop = threading.Event()
        companion = threading.Thread(
            target=drain, args=(settings,), kwargs={"follow": True, "stopping": stop.is_set}
        )
        companion.start()
        for one in emitting:
            one.wait_for(600)
        accepted = {event for one in emitting for event in one.kill()}
        eventually(lambda: left_in(settings.log) == 0, "the companion delivers what they left")
        stop.set()
        companion.join()
        finished(url, tmp_path)
        assert accepted <= ids_in(values_of(cluster.bootstrap, "t", PARTITIONS))
