"""kafka-postgres: from an Apache Kafka of our own into PostgreSQL, by one and two consumers of a group.

Beside it Data.Rentgen, which reads the same topic into the same server. Then how soon an event that is
produced is found by a query, and how long a replay of a long topic takes, and how much memory.
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import isolated, stores
from bench.events import foreign as foreign_events
from bench.ingest import BUDGET_MEMORY_MB, Databases, live_figures
from bench.isolated import ROOT, Failed, clean_environment
from bench.peers import RENTGEN
from bench.rows import Figure
from bench.scale import Scale
from deploy.kafka.cluster import Cluster, Unavailable

BUDGET = 10_000.0
PARTITIONS = 8
LONGEST_S = 1_200.0


def figures(scale: Scale) -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hw-bench-")))
        databases = Databases(folder, stack.enter_context(stores.cluster()))
        bootstrap = stack.enter_context(_kafka(folder))
        sent = fill(bootstrap, "events", scale.kafka_pairs)
        fixture = (
            f"{sent['events']:,} OpenLineage RunEvents of {sent['size'] / sent['events']:,.0f} B (START and "
            f"COMPLETE, two inputs, one output, parents) in {PARTITIONS} partitions of one broker; an empty "
            f"store; "
            f"{databases.described('postgresql')}"
        )
        theirs = _rentgen(databases, bootstrap, scale)
        for members in (1, 2):
            yield _throughput(databases, bootstrap, scale, members, fixture, theirs if members == 1 else [])
        yield from _live(databases, bootstrap, scale)
        yield from _replay(databases, bootstrap, scale)


@contextmanager
def _kafka(folder: Path) -> Iterator[str]:
    cluster = Cluster(folder / "kafka")
    try:
        yield cluster.start()
    except Unavailable as problem:
        raise Failed(f"no Kafka: {problem}") from problem
    finally:
        cluster.stop()


def fill(bootstrap: str, topic: str, pairs: int) -> dict[str, int]:
    """Make the topic and produce that many pairs, each run's events into one partition."""
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS)])[topic].result(30)
    return produce(bootstrap, topic, foreign_events(range(pairs)))


def produce(bootstrap: str, topic: str, values: Iterable[bytes]) -> dict[str, int]:
    """How many events, and how many bytes."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "partitioner": "murmur2_random"})
    events = size = 0
    for value in values:
        while True:
            try:
                producer.produce(topic, value, key=json.loads(value)["run"]["runId"].encode())
                break
            except BufferError:
                producer.poll(0.1)
        events, size = events + 1, size + len(value)
    if producer.flush(120):
        raise Failed("the broker did not take all events")
    return {"events": events, "size": size}


def _rentgen(databases: Databases, bootstrap: str, scale: Scale) -> list[float]:
    """Events a second of Data.Rentgen from the same topic; nothing where it cannot be installed."""
    try:
        with databases.empty("postgresql") as url:
            told = RENTGEN.call(
                "consume", url=url, bootstrap=bootstrap, topic="events", events=scale.kafka_rentgen_events
            )
            return [told["rate"]]
    except Failed as problem:
        print(f"  {RENTGEN.title}: {problem}", flush=True)
        return []


def _throughput(
    databases: Databases, bootstrap: str, scale: Scale, members: int, fixture: str, theirs: list[float]
) -> Figure:
    told = []
    for _ in range(scale.ingest_runs):
        with databases.empty("postgresql") as url:
            log = f"kafka://{bootstrap}/events"
            told.append(sharing(url, log, members, 2 * scale.kafka_pairs))
    return Figure(
        name=f"kafka-postgres:{members}-consumer{'s' if members > 1 else ''}",
        unit="events/s",
        better="higher",
        values=told,
        budget=BUDGET,
        peer=RENTGEN.title if theirs else None,
        peer_values=theirs,
        fixture=fixture,
        note="processes of `headwater consume lineage`, from the first batch in the store to the last",
    )


def sharing(store: str, log: str, members: int, events: int) -> float:
    """Events a second of so many services, as the store's positions tell."""
    from headwater.consumers.store import open_store

    open_store(store, create=True).close()
    first: tuple[float, int] | None = None
    with _services(store, log, members), open_store(store) as opened:
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            passed, now = _passed(opened), time.perf_counter()
            if first is None and passed:
                first = now, passed
            if first is not None and passed >= events:
                return (passed - first[1]) / max(now - first[0], 1e-9)
            time.sleep(0.02)
    raise Failed(f"{members} consumers did not read {events:,} events within {LONGEST_S:.0f} s")


def _passed(store: Any) -> int:
    from sqlalchemy import text

    with store.connecting() as connection:
        return int(connection.execute(text("SELECT coalesce(sum(next_offset), 0) FROM position")).scalar())


@contextmanager
def _services(store: str, log: str, members: int) -> Iterator[None]:
    program = "import sys; from headwater.consumers.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "consume", "lineage", "--store", store, "--log", log]
    team = [
        subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stderr=subprocess.DEVNULL)
        for _ in range(members)
    ]
    try:
        yield
    finally:
        for process in team:
            process.terminate()
        for process in team:
            process.wait(60)


def _live(databases: Databases, bootstrap: str, scale: Scale) -> Iterator[Figure]:
    taken = []
    for run in range(scale.ingest_runs):
        topic = f"live-{run}"
        fill(bootstrap, topic, 0)
        with databases.empty("postgresql") as url:
            taken.append(
                isolated.call(
                    "bench.kafka_postgres:produced_to_query",
                    store=url,
                    bootstrap=bootstrap,
                    topic=topic,
                    count=scale.live,
                )
            )
    yield from live_figures(
        "live:kafka-postgres",
        taken,
        fixture=f"{scale.live} RunEvents, one every 20 to 120 ms, into {PARTITIONS} partitions; the "
        "service is another process; nothing else in the topic",
        note="from before `produce` (linger 0) until a query by the event's id returns its row",
    )


def produced_to_query(store: str, bootstrap: str, topic: str, count: int) -> list[float]:
    """ms from before an event is produced until a query finds it; a service follows in another process."""
    import random

    from confluent_kafka import Producer
    from sqlalchemy import text

    from headwater.consumers.store import open_store

    open_store(store, create=True).close()
    draw, taken = random.Random(7), []
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    found = text("SELECT 1 FROM event WHERE event_id = :id")
    with _services(store, f"kafka://{bootstrap}/{topic}", 1), open_store(store) as opened:
        for number, value in enumerate(foreign_events(range((count + 11) // 2)), start=-10):
            time.sleep(draw.uniform(0.02, 0.12))
            event_id = hashlib.sha256(value).digest()
            began = time.perf_counter()
            producer.produce(topic, value, key=str(number).encode())
            producer.poll(0)
            with opened.connecting() as connection:
                while connection.execute(found, {"id": event_id}).first() is None:
                    connection.rollback()
                    if time.perf_counter() - began > 60:
                        raise TimeoutError("a produced event did not reach the store within 60 s")
                    time.sleep(0.001)
            if number >= 0:  # the first ones start the consumer
                taken.append((time.perf_counter() - began) * 1e3)
    producer.flush(10)
    return taken


def _replay(databases: Databases, bootstrap: str, scale: Scale) -> Iterator[Figure]:
    sent = fill(bootstrap, "long", scale.kafka_long_pairs)
    log = f"kafka://{bootstrap}/long"
    fixture = (
        f"{sent['events']:,} events, {sent['size'] / 1e6:,.0f} MB in {PARTITIONS} partitions; an empty store"
    )
    for workers in (1, 2):
        with databases.empty("postgresql") as url:
            told = isolated.call("bench.kafka_postgres:replaying", store=url, log=log, workers=workers)
        name = f"replay:kafka-postgres:{workers}-process{'es' if workers > 1 else ''}"
        yield Figure(
            name=name,
            unit="events/s",
            better="higher",
            values=[told["rate"]],
            budget=BUDGET,
            fixture=fixture,
            note="with the start of the processes",
        )
        yield Figure(
            name=f"{name}:memory",
            unit="MB",
            values=[told["peak"]],
            budget=BUDGET_MEMORY_MB,
            fixture=fixture,
            note="resident at the most, of the largest process",
        )


def replaying(store: str, log: str, workers: int) -> dict[str, float]:
    """Events a second from `log` into the empty database, and the peak of the largest process."""
    from headwater.consumers.log import open_log
    from headwater.consumers.replaying import replay
    from headwater.consumers.store import open_store
    from headwater.consumers.workers import consume

    open_store(store, create=True).close()
    began = time.perf_counter()
    if workers > 1:
        progress = consume(store, log, workers=workers)
    else:
        with open_log(log) as source:
            progress = replay(source, store)
    rate = progress.seen / (time.perf_counter() - began)
    whose = resource.RUSAGE_CHILDREN if workers > 1 else resource.RUSAGE_SELF
    unit = 1 if sys.platform == "darwin" else 1024
    return {"rate": rate, "peak": resource.getrusage(whose).ru_maxrss * unit / 1e6}
