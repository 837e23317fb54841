"""kafka-emit: from a process to Kafka, emitting and delivering at once, and delivering alone.

The broker is librdkafka's mock in a process of its own: it speaks the protocol, keeps what it is sent in
memory, and costs as much for everybody. Peers: openlineage-python's Kafka transport, which builds,
serialises and sends; and confluent-kafka with nothing around it, the limit of this client.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import isolated
from bench.emit import EVENTS_A_RUN, _client_event
from bench.rows import Figure, percentile
from bench.scale import Scale

if TYPE_CHECKING:
    from headwater.emitter.settings import Settings

CLIENT = f"openlineage-python {version('openlineage-python')}"
BARE = f"confluent-kafka {version('confluent-kafka')}"
BUDGET_BOTH = 35_000.0
BUDGET_DRAIN = 100_000.0
BUDGET_P99_US = 200.0
TOPIC = "bench"
#: What the peers send with, too.
SETTINGS: dict[str, Any] = {"compression.type": "lz4", "linger.ms": 5, "batch.size": 1 << 20, "log_level": 2}


class _Rate(NamedTuple):
    """What is delivered by us and by the peer, by the names of the functions below."""

    what: str
    peer: str
    peer_title: str
    note: str
    budget: float | None = None


#: Of each figure, the peer that does the same.
RATES = {
    "kafka-emit:both": _Rate(
        "both",
        "client",
        f"{CLIENT}, Kafka, flush: false",
        "first emit to last acknowledgement, in one process; the peer keeps nothing on a disk",
        BUDGET_BOTH,
    ),
    "kafka-emit:both:acknowledged": _Rate(
        "both",
        "flushed",
        f"{CLIENT}, Kafka, as it comes",
        "the peer flushes after each event, its default; it sends a hundredth of the events",
    ),
    "kafka-emit:drain": _Rate(
        "drain",
        "bare",
        f"{BARE}, bytes at hand",
        "a filled spool is delivered, with key, headers, time; the peer sends the same bytes and a key",
        BUDGET_DRAIN,
    ),
}
#: Whose emitting is looked at in its tail, and what goes on meanwhile.
TAILS = {
    "kafka-emit:emit:p99": ("both", "while the drain delivers"),
    "kafka-emit:broker-down:emit:p99": ("down", "nobody listens on the broker's port"),
}


def figures(scale: Scale) -> Iterator[Figure]:
    fixture = (
        f"AssetCreated of about 1.8 kB, {scale.sent:,} events a run, {EVENTS_A_RUN} a pipeline run; "
        "mock broker in another process"
    )
    runs = _runs(scale)
    for name, rate in RATES.items():
        yield Figure(
            name=name,
            unit="events/s",
            better="higher",
            values=[run["rate"] for run in runs[rate.what]],
            budget=rate.budget,
            peer=rate.peer_title,
            peer_values=[run["rate"] for run in runs[rate.peer]],
            fixture=fixture,
            note=rate.note,
        )
    for name, (what, meanwhile) in TAILS.items():
        yield Figure(
            name=name,
            unit="µs",
            values=[run["p99"] for run in runs[what]],
            budget=BUDGET_P99_US,
            fixture=fixture,
            note=f"p50 {percentile([run['p50'] for run in runs[what]], 0.5):,.1f} µs; {meanwhile}",
        )


def _runs(scale: Scale) -> dict[str, list[dict[str, float]]]:
    """What each function below told, in turns, so that what else the machine does hits all of them."""
    runs: dict[str, list[dict[str, float]]] = {
        what: [] for what in ("both", "drain", "down", "client", "flushed", "bare")
    }
    with broker() as bootstrap:
        for _ in range(scale.runs):
            for what, told in runs.items():
                count = max(20, scale.sent // 100) if what == "flushed" else scale.sent
                told.append(isolated.call(f"bench.kafka_emit:{what}", bootstrap=bootstrap, count=count))
    return runs


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """A mock broker in a process of its own; its address."""
    program = (
        "import sys; from confluent_kafka import Producer; "
        "p = Producer({'bootstrap.servers': 'mock', 'test.mock.num.brokers': 1, 'log_level': 2}); "
        f"p.produce('{TOPIC}', b''); p.flush(30); "  # the topic is made, as our own producers make none
        "b = p.list_topics(timeout=30).brokers; one = next(iter(b.values())); "
        "print(f'{one.host}:{one.port}', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if process.stdin is None or process.stdout is None:
        raise isolated.Failed("the mock broker has no pipes")
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()


# -- in a process of their own ------------------------------------------------------------


def both(bootstrap: str, count: int) -> dict[str, float]:
    """Emit in a loop while the drain's thread delivers, until the last is acknowledged."""
    from bench.events import created
    from headwater.emitter.emitter import from_settings

    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder:
        emitter = from_settings(_settings(bootstrap, folder))
        warm = max(100, count // 20)
        facts = [created(number, events_a_run=EVENTS_A_RUN) for number in range(count + warm)]
        for fact in facts[:warm]:
            emitter.emit(fact)
        _await_delivery(folder)
        taken, clock = list[int](), time.perf_counter_ns
        began = clock()
        for fact in facts[warm:]:
            before = clock()
            emitter.emit(fact)
            taken.append(clock() - before)
        emitter._accounts.clear()  # their closing events are none of what is measured
        _await_delivery(folder)
        elapsed = (clock() - began) / 1e9
        emitter.close()
    return {
        "rate": count / elapsed,
        "p50": percentile(taken, 0.5) / 1e3,
        "p99": percentile(taken, 0.99) / 1e3,
    }


def down(bootstrap: str, count: int) -> dict[str, float]:
    """Emit while nobody listens."""
    from bench.events import created
    from headwater.emitter.emitter import from_settings

    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder:
        emitter = from_settings(_settings("127.0.0.1:9", folder, on_exit_s=0))
        facts = [created(number, events_a_run=EVENTS_A_RUN) for number in range(count)]
        emitter.emit(facts[0])
        time.sleep(1)
        taken, clock = list[int](), time.perf_counter_ns
        for fact in facts[1:]:
            before = clock()
            emitter.emit(fact)
            taken.append(clock() - before)
        emitter.close()
    return {"rate": 0.0, "p50": percentile(taken, 0.5) / 1e3, "p99": percentile(taken, 0.99) / 1e3}


def drain(bootstrap: str, count: int) -> dict[str, float]:
    """Deliver a spool that somebody else has filled."""
    from headwater.emitter.drained import drain_of

    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder:
        settings = _settings(bootstrap, folder)
        warm = max(100, count // 20)
        _fill(settings, warm)
        running = drain_of(settings)
        while running.delivered < warm:
            running.turn(0.01)
        _fill(settings, count)
        before, began = running.delivered, time.perf_counter()
        while running.delivered < before + count:
            running.turn(0.01)
        elapsed = time.perf_counter() - began
        running.close()
    return {"rate": count / elapsed}


def bare(bootstrap: str, count: int) -> dict[str, float]:
    """confluent-kafka alone: the same bytes, a key, a callback that counts."""
    from confluent_kafka import Producer

    values = _values(count)
    producer = Producer(
        {**SETTINGS, "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all"}
    )
    acknowledged = 0

    def told(error: object, message: object) -> None:
        nonlocal acknowledged
        acknowledged += error is None

    producer.produce(TOPIC, values[0], key=b"run:bench/churn")
    producer.flush()
    began = time.perf_counter()
    for value in values:
        while True:
            try:
                producer.produce(TOPIC, value, key=b"run:bench/churn", on_delivery=told)
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    producer.flush()
    if acknowledged != count:
        raise RuntimeError(f"{acknowledged} of {count} were acknowledged")
    return {"rate": count / (time.perf_counter() - began)}


def client(bootstrap: str, count: int, flush: bool = False) -> dict[str, float]:
    """openlineage-python: build the event, serialise it, hand it to its Kafka transport."""
    from openlineage.client.transport.kafka import KafkaConfig, KafkaTransport

    from bench.events import created

    transport = KafkaTransport(
        KafkaConfig(config={**SETTINGS, "bootstrap.servers": bootstrap}, topic=TOPIC, flush=flush)
    )
    facts = [created(number, events_a_run=EVENTS_A_RUN) for number in range(count)]
    transport.emit(_client_event(facts[0]))
    transport.wait_for_completion()
    began = time.perf_counter()
    for number, fact in enumerate(facts):
        event = _client_event(fact)
        while True:
            try:
                transport.emit(event)
                break
            except BufferError:
                transport.producer.poll(0.01)
        if not number % 100 and not flush:
            transport.producer.poll(0)
    transport.wait_for_completion()
    return {"rate": count / (time.perf_counter() - began)}


def flushed(bootstrap: str, count: int) -> dict[str, float]:
    """The same as it comes: each event waits for its acknowledgement."""
    return client(bootstrap, count, flush=True)


def _settings(bootstrap: str, folder: str, on_exit_s: float = 30.0) -> Settings:
    from headwater.emitter.settings import Settings

    found = Settings(
        project="bench",
        profile="regulated",
        adopt=False,
        spool_folder=Path(folder),
        drain_on_exit_s=on_exit_s,
        document={"kafka": {"log_level": 2}},
    )
    return found.with_log(f"kafka://{bootstrap}/{TOPIC}")


def _await_delivery(folder: str) -> None:
    """Until nothing of the spool is left to deliver."""
    from headwater.emitter.draining import left_in

    while left_in(Path(folder) / TOPIC):
        time.sleep(0.005)


def _fill(settings: Settings, count: int) -> None:
    """A spool as an emitter leaves it."""
    from headwater.emitter.spool import Spool
    from headwater.schemas.ids import uuid7

    spool = Spool(settings.log, emitter_id=uuid7())
    for value in _values(count):
        spool.append(value)
    spool.close()


def _values(count: int) -> list[bytes]:
    from bench.events import created
    from headwater.emitter import MemorySink, Settings
    from headwater.emitter.emitter import Emitter

    sink = MemorySink()
    emitter = Emitter(Settings(profile="regulated"), lambda _: sink)
    for number in range(count):
        emitter.emit(created(number, events_a_run=EVENTS_A_RUN))
    return sink.values


if __name__ == "__main__":
    with broker() as address:
        for what in sys.argv[1:]:
            print(
                what, json.dumps(isolated.call(f"bench.kafka_emit:{what}", bootstrap=address, count=50_000))
            )
