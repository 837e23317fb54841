"""A log in memory, whose records were appended when a test says, in any order of times."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Self

from headwater.consumers.log import Cursor, Partition, Record
from headwater.schemas.errors import HeadwaterError


class TimedLog:
    """Partitions of (value, append time in µs): dense offsets, immutable records, nothing waits."""

    topic = "timed"
    native = topic
    halted: Mapping[str, HeadwaterError] = {}

    def __init__(self, *partitions: Sequence[tuple[bytes, int]]) -> None:
        self._records = {
            Partition(self.topic, str(number)): [
                Record(self.topic, str(number), offset, at, value, 0)
                for offset, (value, at) in enumerate(values)
            ]
            for number, values in enumerate(partitions)
        }

    def known(self, until: int) -> list[bytes]:
        """The values that were appended by then."""
        records = (record for records in self._records.values() for record in records)
        return [record.value for record in records if record.appended_at <= until]

    def partitions(self) -> list[Partition]:
        return list(self._records)

    def resume(self, stored: Collection[Partition]) -> None:
        """Any is this log."""

    def read(self, partition: Partition, cursor: Cursor, *, records: int, size: int) -> list[Record]:
        del size
        return self._records[partition][cursor.offset : cursor.offset + records]

    def finished(self, partition: Partition, cursor: Cursor) -> bool:
        del partition, cursor
        return False

    def unread(self, cursors: Mapping[Partition, Cursor]) -> int:
        del cursors
        return 0

    def behind(self, cursors: Mapping[Partition, Cursor]) -> dict[Partition, int]:
        return {part: len(self._records[part]) - cursor.offset for part, cursor in cursors.items()}

    def release(self, partition: Partition) -> None:
        """Nothing is held."""

    def place(self, partition: Partition) -> str:
        return f"{self.topic}/{partition.number}"

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
