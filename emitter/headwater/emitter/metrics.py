"""Points that a run logged, gathered into events: at most `BATCH_POINTS`, at most `BATCH_AGE_US` old.

No thread and no timer: age is looked at when a point comes and when the run ends. What
a killed process had not yet passed on is lost with it, at most one batch. A forked
process passes on only what it logs itself; without a stated step it counts on from
where it was forked.
"""

from __future__ import annotations

import os
from collections import deque

from headwater.schemas.events import MetricPoint

BATCH_POINTS = 500
BATCH_AGE_US = 1_000_000


class MetricBuffer:
    """The points of one run. Safe from several threads: no point is taken twice or forgotten."""

    __slots__ = ("_next_step", "_oldest", "_pid", "_points", "latest")

    def __init__(self) -> None:
        self._points: deque[MetricPoint] = deque()
        self._pid = os.getpid()
        self._oldest = 0
        self._next_step: dict[str, int] = {}
        self.latest: dict[str, float] = {}

    def add(self, key: str, value: float, step: int | None, now: int) -> bool:
        """Keeps a point; without `step` it counts on from the key's last. True when a batch is due."""
        self._leave_to_parent()
        counted = self._next_step.get(key, 0) if step is None else int(step)
        self._next_step[key] = counted + 1
        self.latest[key] = value
        if not self._points:
            self._oldest = now
        self._points.append(MetricPoint(key=key, value=value, step=counted, time=now))
        return len(self._points) >= BATCH_POINTS or now - self._oldest >= BATCH_AGE_US

    def take(self) -> tuple[MetricPoint, ...]:
        """Up to a batch of the oldest points, which are then no longer here; () when there are none."""
        self._leave_to_parent()
        taken: list[MetricPoint] = []
        while len(taken) < BATCH_POINTS:
            try:
                taken.append(self._points.popleft())
            except IndexError:  # another thread took the rest
                break
        return tuple(taken)

    def _leave_to_parent(self) -> None:
        """Forgets points that were logged before a fork: they are in the parent, which passes them on."""
        if self._pid != os.getpid():
            self._points = deque()
            self._pid = os.getpid()
