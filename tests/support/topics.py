"""Spools that go on to a topic, and what a topic holds, read without headwater."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from headwater.emitter.settings import Settings, SpoolLimits
from tests.support.spool import emission_of

WAIT_S = 60.0


def settings_for(
    url: str,
    folder: Path,
    *,
    mode: str = "spool",
    profile: str = "default",
    segment_bytes: int = 64 << 20,
    drain_on_exit_s: float = 30.0,
    sync_timeout_s: float = 30.0,
    **kafka: Any,
) -> Settings:
    """Settings of a log at `url` with its spool in `folder`; `kafka` with _ for each dot."""
    return Settings(
        mode=mode,
        profile=profile,
        spool=SpoolLimits(segment_bytes=segment_bytes, max_bytes=0),
        spool_folder=folder,
        drain_on_exit_s=drain_on_exit_s,
        sync_timeout_s=sync_timeout_s,
        document={"kafka": {key.replace("_", "."): value for key, value in kafka.items()}},
    ).with_log(url)


def values_of(bootstrap: str, topic: str, partitions: int) -> list[list[bytes]]:
    """What the topic holds, by partition, in order."""
    return [[value for value, *_ in part] for part in records_of(bootstrap, topic, partitions)]


def count_of(bootstrap: str, topic: str, partitions: int) -> int:
    """How many records the topic holds; asked of the broker, as a reader may not catch up with a writer."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "tests", "log_level": 2})
    try:
        ends = [
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=WAIT_S)
            for number in range(partitions)
        ]
    finally:
        consumer.close()
    assert None not in ends, "the broker did not tell"
    return sum(high - low for low, high in ends)


def records_of(
    bootstrap: str, topic: str, partitions: int
) -> list[list[tuple[bytes, bytes | None, dict[str, bytes], int]]]:
    """Value, key, headers and timestamp (ms) of every record."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests",
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 11 << 20,
            "log_level": 2,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    found: list[list[Any]] = [[] for _ in range(partitions)]
    ended: set[int] = set()
    deadline = time.monotonic() + WAIT_S
    while len(ended) < partitions and time.monotonic() < deadline:
        for message in consumer.consume(2_000, 0.2):
            number, error = message.partition(), message.error()
            assert number is not None
            if error is None:
                headers = dict(message.headers() or [])
                found[number].append((message.value(), message.key(), headers, message.timestamp()[1]))
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(number)
    consumer.close()
    assert len(ended) == partitions, "the topic could not be read to its end"
    return found


def id_of(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def ids_in(parts: Iterable[Sequence[bytes]]) -> set[str]:
    return {id_of(value) for part in parts for value in part}


def assert_in_order(parts: Iterable[Sequence[bytes]]) -> None:
    """In each partition each emitter's events stand in order; an event counts where it comes first."""
    for part in parts:
        last: dict[str, int] = defaultdict(lambda: -1)
        for value in dict.fromkeys(part):
            emission = emission_of(orjson.loads(value))
            assert emission["sequence"] > last[emission["emitterId"]]
            last[emission["emitterId"]] = emission["sequence"]


def assert_chains_whole(values: Iterable[bytes]) -> None:
    """Every emitter's sequence is dense, and each event names the one before."""
    chains: dict[str, dict[int, tuple[str, str | None]]] = defaultdict(dict)
    for value in values:
        emission = emission_of(orjson.loads(value))
        chains[emission["emitterId"]][emission["sequence"]] = (id_of(value), emission.get("previous"))
    for chain in chains.values():
        links = [chain[number] for number in sorted(chain)]
        assert sorted(chain) == list(range(len(chain)))
        assert [previous for _, previous in links] == [None, *(event_id for event_id, _ in links[:-1])]


def eventually(holds: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < deadline, f"not in {wait_s:.0f} s: {what}"
        time.sleep(0.02)
