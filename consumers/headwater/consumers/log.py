"""Reading the log: one interface, whatever carries it.

A log is a set of partitions; in each, records stand at ascending offsets (dense from 0, as
headwater's own writers make them) and never change. A cursor says where in a partition to go on.
Whoever consumes keeps the cursors in its own store, in the transaction of what it made of the
records; the log keeps none.

This module has the embedded carrier, a folder of segment files; `headwater.consumers.kafka_log`
has Apache Kafka. What the records mean is not its business.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from headwater.emitter.topic import is_topic, topic_of
from headwater.schemas.errors import Corrupt, HeadwaterError, Misconfigured, Retryable
from headwater.schemas.segment import FRAME_HEADER_BYTES, SEAL_BYTES, SUFFIX, SegmentReader, list_segments

log = logging.getLogger(__name__)

SEGMENTS = "segments"
_OPEN_READERS = 64
_FILE = "file://"


class Partition(NamedTuple):
    """Which ordered part of which log: (`segments`, segment id), or (topic id, partition number)."""

    topic: str
    number: str


class Cursor(NamedTuple):
    """Where to go on reading: the next record's offset, and the byte where it begins in a segment."""

    offset: int = 0
    byte: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `appended_at` is µs since 1970 UTC, kept by every carrier; `next_byte` is its end."""

    topic: str
    partition: str
    offset: int
    appended_at: int
    value: bytes
    next_byte: int

    @property
    def place(self) -> Partition:
        return Partition(self.topic, self.partition)


class Log(Protocol):
    """A log that can be read from any cursor, again and again.

    `partitions` lists what exists now, oldest first; it may grow. Offsets ascend, on some carriers with
    gaps. `read` returns what is there from the cursor on, at most so many records and bytes (but one
    record at least), and nothing at the end; it never waits for more to be written. It raises
    `Corrupt` at damaged records, after it has returned all that stands before them, and `Retryable`
    when the carrier cannot be reached.
    """

    @property
    def native(self) -> str | None:
        """The topic of headwater's own events, whose trouble concerns all; None where none is known."""

    @property
    def halted(self) -> Mapping[str, HeadwaterError]:
        """Topics that are not read on, by name, and why."""

    def partitions(self) -> list[Partition]: ...

    def resume(self, stored: Collection[Partition]) -> None:
        """Told, before reading, where a store has read; `Misconfigured` where that was another log."""

    def read(self, partition: Partition, cursor: Cursor, *, records: int, size: int) -> list[Record]: ...

    def finished(self, partition: Partition, cursor: Cursor) -> bool:
        """Whether nothing will ever come behind `cursor`; False where that cannot be known."""

    def unread(self, cursors: Mapping[Partition, Cursor]) -> int:
        """About how much lies behind the cursors, in bytes; for progress only."""

    def behind(self, cursors: Mapping[Partition, Cursor]) -> Mapping[Partition, int]:
        """How many records lie behind each cursor, of partitions for which the carrier knows."""

    def release(self, partition: Partition) -> None:
        """Told that somebody else reads it from now on: what was held for it may go."""

    def place(self, partition: Partition) -> str:
        """Where a person finds this partition: a path, or broker and topic."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class SegmentLog:
    """The segment files of one folder; not for use from several threads at once."""

    native = SEGMENTS
    halted: Mapping[str, HeadwaterError] = {}

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Misconfigured(
                f"no log at {self.folder}",
                remedy="run a step first, or name the log with --log, HEADWATER_LOG or headwater.yaml",
            )
        self._paths: dict[Partition, Path] = {}
        self._known: dict[Path, Partition] = {}
        self._readers: OrderedDict[Partition, SegmentReader] = OrderedDict()
        self._finished: dict[Partition, int] = {}  # sealed and read to the end: how many records

    def partitions(self) -> list[Partition]:
        found = []
        for path in list_segments(self.folder):
            partition = self._known.get(path) or self._identify(path)
            # A copy of a segment under another name is the same partition: it is read once.
            if partition is not None and self._paths[partition] == path:
                found.append(partition)
        return found

    def resume(self, stored: Collection[Partition]) -> None:
        """Segments come and go (pruned, moved to an archive): no set of them is another log."""

    def _identify(self, path: Path) -> Partition | None:
        """The partition in `path`; None while its writer has not written the header."""
        try:
            reader = SegmentReader(path)
        except Retryable:
            return None
        except FileNotFoundError:
            return None  # moved away since it was listed
        except OSError as cause:
            raise _unreadable(str(path), cause) from cause
        except Corrupt:
            # Its id cannot be read, so its name stands for it; reading it raises Corrupt again.
            partition = Partition(SEGMENTS, path.name)
        else:
            partition = Partition(SEGMENTS, reader.header.segment_id)
            reader.close()
        self._known[path] = partition
        if self._paths.setdefault(partition, path) != path:
            log.warning("segment_copied", extra={"path": str(path), "first": str(self._paths[partition])})
        return partition

    def read(self, partition: Partition, cursor: Cursor, *, records: int, size: int) -> list[Record]:
        if self.finished(partition, cursor):
            return []
        try:
            reader = self._reader(partition, cursor)
            frames = reader.read(max_frames=records, max_bytes=size)
        except OSError as cause:
            raise _unreadable(self.place(partition), cause) from cause
        if not frames and reader.sealed:
            self._finished[partition] = cursor.offset
            self._forget(partition)
        topic, number = partition
        return [Record(topic, number, offset, at, value, end) for offset, at, value, end in frames]

    def finished(self, partition: Partition, cursor: Cursor) -> bool:
        return cursor.offset >= self._finished.get(partition, cursor.offset + 1)

    def _reader(self, partition: Partition, cursor: Cursor) -> SegmentReader:
        reader = self._readers.get(partition)
        if reader is not None and reader.offset == cursor.offset and (cursor.byte in (0, reader.byte)):
            self._readers.move_to_end(partition)
            return reader
        self._forget(partition)
        path = self._paths.get(partition)
        if path is None:
            self.partitions()
            path = self._paths.get(partition)
        if path is None:
            raise Misconfigured(f"segment {partition.number} is not in {self.folder}")
        reader = SegmentReader(path, offset=cursor.offset, byte=cursor.byte)
        self._readers[partition] = reader
        if len(self._readers) > _OPEN_READERS:
            self._readers.popitem(last=False)[1].close()
        return reader

    def _forget(self, partition: Partition) -> None:
        reader = self._readers.pop(partition, None)
        if reader is not None:
            reader.close()

    def unread(self, cursors: Mapping[Partition, Cursor]) -> int:
        total = 0
        for partition, path in list(self._paths.items()):
            if partition in self._finished and partition in cursors:
                continue
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            rest = size - max(cursors.get(partition, Cursor()).byte, FRAME_HEADER_BYTES)
            total += rest if rest > SEAL_BYTES else 0
        return total

    def behind(self, cursors: Mapping[Partition, Cursor]) -> dict[Partition, int]:
        return {}

    def release(self, partition: Partition) -> None:
        self._forget(partition)

    def place(self, partition: Partition) -> str:
        return str(self._paths.get(partition, self.folder / f"{partition.number}{SUFFIX}"))

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def __enter__(self) -> SegmentLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unreadable(place: str, cause: OSError) -> Retryable:
    return Retryable(
        f"cannot read {place}: {cause.strerror or cause}",
        remedy="it is tried again; see to the file or its rights",
    )


def open_log(url: str, kafka: Mapping[str, Any] | None = None, *, answer_s: float | None = None) -> Log:
    """Open the log at `url`: a folder of segments, or `kafka://host:port,host:port/topic,^pattern`.

    `kafka` are librdkafka's settings for the cluster, `answer_s` is how long one of its answers may take.
    Raises `Misconfigured` for anything else, and where Kafka's client is not installed.
    """
    if "://" not in url or url.startswith(_FILE):
        return SegmentLog(url.removeprefix(_FILE))
    servers, topics = kafka_address(url)
    try:
        from headwater.consumers.kafka_log import KafkaLog
    except ImportError as missing:
        raise Misconfigured(
            f"reading kafka://… needs {missing.name}", remedy="pip install 'headwater[kafka]'"
        ) from missing
    return KafkaLog(servers, topics, kafka, **({} if answer_s is None else {"answer_s": answer_s}))


def kafka_address(url: str) -> tuple[str, tuple[str, ...]]:
    """The brokers and the topics that `kafka://host:port,host:port/topic,topic` names."""
    if is_topic(url):
        named = topic_of(url)
        return named.servers, named.names
    scheme, separator, _ = url.partition("://")
    if not separator or scheme == "file":
        raise Misconfigured(f"{url} is a folder, and no log on Kafka", remedy="--log kafka://host:9092/topic")
    raise Misconfigured(
        f"log {scheme}://… is not supported",
        remedy="name a folder of segment files, or kafka://host:9092/topic",
    )


def records_of(source: Log, batch: int = 2000, size: int = 16 << 20) -> Iterator[Record]:
    """Every record of `source` as it is now, partition by partition."""
    for partition in source.partitions():
        cursor = Cursor()
        while records := source.read(partition, cursor, records=batch, size=size):
            yield from records
            cursor = Cursor(records[-1].offset + 1, records[-1].next_byte)
