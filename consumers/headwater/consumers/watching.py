"""What a runner tells whoever watches it; nothing that it does depends on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from headwater.consumers.log import Cursor, Log, Partition, Record
from headwater.consumers.positions import Tally


class Observer(Protocol):
    """Called from the thread that consumes; must be quick, and must not raise."""

    def committed(
        self, records: Sequence[Record], tallies: Mapping[Partition, Tally], seconds: float
    ) -> None:
        """A batch is in the store; `seconds` from its folding to the commit's answer."""

    def stepped(self, cursors: Mapping[Partition, Cursor], source: Log) -> None:
        """A step went well, with something to consume or not; `cursors` are all partitions that are ours."""

    def waiting(self, error: Exception) -> None:
        """A step did not go well, and is tried again after a pause."""

    def fenced(self, partition: Partition) -> None:
        """Another process claimed the partition; what was in hand of it was dropped."""


class Unobserved:
    """Nobody watches."""

    def committed(
        self, records: Sequence[Record], tallies: Mapping[Partition, Tally], seconds: float
    ) -> None: ...

    def stepped(self, cursors: Mapping[Partition, Cursor], source: Log) -> None: ...

    def waiting(self, error: Exception) -> None: ...

    def fenced(self, partition: Partition) -> None: ...
