"""Why delivery does not go on, and what is said of it: one line when it begins, one when it ends.

A broker that does not answer is waited for. What a person has to change halts delivery, and is tried again
after a pause that grows. The first acknowledgement ends either. What is tried again is not decided here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.emitter.setbacks import as_ours
from headwater.schemas.errors import HeadwaterError

if TYPE_CHECKING:
    from headwater.emitter.topic_writer import TopicWriter

log = logging.getLogger("headwater.emitter")

STALLED_S = 10.0
BACKOFF_S = (0.5, 30.0)


class Outage:
    """Of one drain, whose spool is `directory`; there is none most of the time."""

    def __init__(self, directory: Path, monotonic: Callable[[], float]) -> None:
        #: Why nothing can be delivered until a person has changed something.
        self.halted: HeadwaterError | None = None
        self._directory = directory
        self._clock = monotonic
        self._progressed = monotonic()
        self._began: float | None = None
        self._not_before = 0.0
        self._backoff = BACKOFF_S[0]
        self._told: set[str] = set()

    def lets_send(self, now: float) -> bool:
        """Whether the pause is over, or there is none."""
        return now >= self._not_before

    def waits_from_now(self) -> None:
        """The first record after none is sent: until now there was nothing to be acknowledged."""
        self._progressed = self._clock()

    def halt(self, error: HeadwaterError | OSError) -> None:
        """Nothing can be delivered until a person has changed something; it is tried again all the same."""
        self.halted = as_ours(error)
        if str(self.halted) not in self._told:
            self._told.add(str(self.halted))
            log.error("delivery_halted: %s; events stay in %s", self.halted, self._directory)
        self.pause()

    def pause(self) -> None:
        """Send nothing for a while that grows."""
        self._not_before = self._clock() + self._backoff
        self._backoff = min(2 * self._backoff, BACKOFF_S[1])

    def progressed(self, now: float) -> None:
        """Something was acknowledged."""
        waited = None if self._began is None else now - self._began
        if waited is not None or self.halted is not None:
            log.warning("delivery_resumed: after %.0f s", waited or 0.0)
        self._progressed, self._began, self.halted = now, None, None
        self._backoff = BACKOFF_S[0]
        self._told.clear()

    def watch(self, now: float, writer: TopicWriter, outstanding: int) -> None:
        """Nothing was acknowledged of so many records that were sent: tell once, when that is an outage."""
        why = writer.refused or writer.away
        if self._began is not None or (why is None and now - self._progressed <= STALLED_S):
            return
        self._began = self._progressed
        told = log.error if writer.refused else log.warning
        told(
            "delivery_waits: %s; events stay in %s until it answers",
            why or f"{writer.topic} acknowledges nothing",
            self._directory,
            extra={"outstanding": outstanding},
        )

    def say_once(self, text: str) -> None:
        """Of what is tried again and again: a warning, until something was acknowledged."""
        if text not in self._told:
            self._told.add(text)
            log.warning("%s", text)
