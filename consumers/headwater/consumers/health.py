"""Whether a consumer is ready, and whether it lives: two questions with two answers.

*Ready* is false while the store or the log does not answer, and until the group has taken us in: nobody
should be paged for the consumer then, and restarting it helps nothing. *Alive* is false only when the loop
itself is stuck, and a restart is what helps.
Written by the thread that consumes, read by those that answer probes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headwater.consumers import faults
from headwater.consumers.log import Cursor, Log, Partition, Record
from headwater.consumers.positions import Tally

#: A step may wait for the broker, for a lock, and for a transaction; all of that ends long before this.
STUCK_S = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe is told."""

    ok: bool
    why: str


class Health:
    """Keeps the promise of `headwater.consumers.watching.Observer`."""

    def __init__(self, *, stuck_s: float = STUCK_S, now: Callable[[], float] = time.monotonic) -> None:
        self._stuck_s = stuck_s
        self._now = now
        self._beat_at = now()
        self._not_ready = "starting"
        self._awaited: Callable[[], str] = str

    def awaits(self, awaited: Callable[[], str]) -> None:
        """Besides a good step, `awaited()` must be "" for being ready."""
        self._awaited = awaited

    def beat(self) -> None:
        """The loop goes round, whether or not it gets anywhere."""
        self._beat_at = self._now()

    def not_ready(self, why: str) -> None:
        self._not_ready = why
        self.beat()

    def alive(self) -> Answer:
        silent = self._now() - self._beat_at
        if silent > self._stuck_s:
            return Answer(False, f"the loop has not gone round for {silent:.0f} s")
        return Answer(True, "the loop goes round")

    def ready(self) -> Answer:
        alive = self.alive()
        if not alive.ok:
            return alive
        why = self._not_ready or self._awaited()
        return Answer(not why, why or "consuming")

    def committed(
        self, records: Sequence[Record], tallies: Mapping[Partition, Tally], seconds: float
    ) -> None:
        self.beat()

    def stepped(self, cursors: Mapping[Partition, Cursor], source: Log) -> None:
        self.not_ready("")

    def waiting(self, error: Exception) -> None:
        if faults.is_contention(error):
            self.beat()  # another writer was first; the store is well
        else:
            self.not_ready(faults.line_of(error))

    def fenced(self, partition: Partition) -> None:
        self.beat()
