"""Which partitions of a log this process reads, where several processes share them.

Whoever shares only advises. That two processes never write the same partition is kept by the store: each
assignment claims the partition anew, which raises its epoch, and what an earlier owner still has in hand is
refused (`headwater.consumers.positions`). So advice that comes late, or not at all, costs time and no record.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from headwater.consumers.log import Cursor, Log, Partition, SegmentLog


class Sharing(Protocol):
    """Shares the partitions out. Called from the one thread that consumes, between batches."""

    @property
    def awaited(self) -> str:
        """What must happen before any partition can be ours; "" once it has. For any thread."""

    def assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Of all `partitions` those that are ours, each with the number of its assignment.

        A partition that comes back under another number was another's meanwhile: it must be claimed anew.
        """

    def attend(self) -> None:
        """Answer the others; to be called every few seconds also while there is nothing to read."""

    def moved(self, cursors: Mapping[Partition, Cursor]) -> None:
        """Told what the store has committed, and where a partition that came to us stands, for those who
        watch from outside."""

    def close(self) -> None:
        """Leave, so that the others need not wait for us."""


class ByNumber:
    """Shared out among a fixed number of workers by the partitions' numbers; nobody comes or goes."""

    awaited = ""

    def __init__(self, index: int, count: int) -> None:
        self._index = index
        self._count = count

    def assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return {
            part: 0 for part in partitions if zlib.crc32(part.number.encode()) % self._count == self._index
        }

    def attend(self) -> None:
        """Nobody waits."""

    def moved(self, cursors: Mapping[Partition, Cursor]) -> None:
        """Nobody watches."""

    def close(self) -> None:
        """Nothing is held."""


def shared(source: Log, store_url: str, kafka: Mapping[str, Any] | None) -> Sharing | None:
    """This process as a member of the store's consumer group where the log is on Kafka; else None."""
    if isinstance(source, SegmentLog):
        return None  # and Kafka's client need not be installed
    from headwater.consumers.kafka_group import KafkaGroup, group_of
    from headwater.consumers.kafka_log import KafkaLog

    return KafkaGroup(source, group_of(store_url), kafka) if isinstance(source, KafkaLog) else None
