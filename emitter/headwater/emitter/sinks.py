"""Where an emitter's events go, and what is promised when they have gone there.

    EventSink      the promise
    ├── Spool      segment files (headwater.emitter.spool): the default, and the embedded log
    ├── DrainedSpool  the same, and on to Kafka (headwater.emitter.drained)
    ├── QueueSink  a bounded queue in memory before another sink: fast, and lost with the process
    └── MemorySink keeps the values; for programs and tests that want to look at them

What an event says, its sequence and its redaction are the business of `headwater.emitter.emitter`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from headwater.schemas.errors import HeadwaterError, Rejected, Retryable

log = logging.getLogger("headwater.emitter")

QUEUE_EVENTS = 100_000
QUEUE_BYTES = 256 << 20
CLOSE_DEADLINE_S = 10.0


class Position(NamedTuple):
    """Where an event was put: the partition, its offset in it, and when (µs since 1970 UTC)."""

    partition: str
    offset: int
    append_time: int


class SpoolFull(Retryable):
    """The folder of segments has reached its size limit: nothing was written."""


class QueueFull(Retryable):
    """The queue in memory is full because the sink behind it does not keep up: nothing was taken."""


class Unwritable(Retryable):
    """The file system refused an event, and no part of it was kept; `__cause__` has the reason."""


class SinkClosed(Rejected):
    """An event came after `close`."""


class EventSink(Protocol):
    """Somewhere events are kept, in the order in which they come.

    `append` returns once the event is where the sink's mode says it is safe, and then it is
    never taken back; when it raises an `Exception`, no part of the event is kept. `kept`
    counts what was kept: after an interruption (a signal's exception) it tells which of
    the two it was. Calls may come from several threads. `close` finishes what is under
    way and may be called twice; `append` after it raises `SinkClosed`.
    """

    @property
    def kept(self) -> int:
        """How many events were kept so far."""

    def append(self, value: bytes) -> Position: ...

    def close(self) -> None: ...


@runtime_checkable
class Confirming(Protocol):
    """A sink behind which something else is, which acknowledges events later."""

    def confirm(self, positions: Sequence[Position], *, patient: bool = True) -> list[HeadwaterError | None]:
        """For each of these events, in the order in which they were kept, why it is not acknowledged.

        None for one that is, `Rejected` for one that never will be: it was refused, and is kept aside. Waits
        for the last one alone, and, unless `patient`, not again while nothing is acknowledged.
        """


class MemorySink:
    """Keeps every value in `values`, in order."""

    def __init__(self, partition: str = "memory") -> None:
        self.partition = partition
        self.values: list[bytes] = []
        self._closed = False

    @property
    def kept(self) -> int:
        return len(self.values)

    def append(self, value: bytes) -> Position:
        if self._closed:
            raise SinkClosed("the memory sink is closed")
        self.values.append(value)
        return Position(self.partition, len(self.values) - 1, 0)

    def close(self) -> None:
        self._closed = True


class QueueSink:
    """A bounded queue in memory before `inner`, emptied by a thread of its own.

    `append` costs no system call, and what is still queued when the process is killed is
    lost. A full queue refuses. The position it returns is the place in the queue's
    order. `close` waits at most 10 s for the queue to empty, and says what it left behind.
    """

    def __init__(self, inner: EventSink, *, events: int = QUEUE_EVENTS, size: int = QUEUE_BYTES) -> None:
        self.lost = 0
        self._inner = inner
        self._events = events
        self._bytes = size
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self.kept = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def append(self, value: bytes) -> Position:
        with self._changed:
            if self._closed:
                raise SinkClosed("the queue is closed")
            if len(self._queue) >= self._events or self._queued_bytes + len(value) > self._bytes:
                raise QueueFull(
                    f"{len(self._queue)} events ({self._queued_bytes} bytes) are waiting",
                    remedy="use mode `spool`, which waits for nothing",
                )
            self._queue.append(value)
            self._queued_bytes += len(value)
            self.kept += 1
            if self._thread is None:
                self._thread = _started(self._drain, "headwater-queue")
            self._changed.notify_all()
            return Position("memory", self.kept - 1, 0)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSE_DEADLINE_S)
        if self._queue:
            log.error("queue_lost: %d events", len(self._queue), extra={"events": len(self._queue)})
        self._inner.close()

    def _drain(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if not self._queue:
                    return
                value = self._queue[0]
            self._hand_on(value)
            with self._changed:
                self._queue.popleft()
                self._queued_bytes -= len(value)

    def _hand_on(self, value: bytes) -> None:
        try:
            self._inner.append(value)
        except (HeadwaterError, OSError) as error:
            self.lost += 1
            if self.lost == 1:
                log.error("queued_event_lost: %s", error, extra={"error": type(error).__name__})


def _started(target: object, name: str) -> threading.Thread | None:
    """A daemon thread running `target`; None when the interpreter starts no more threads."""
    thread = threading.Thread(target=target, name=name, daemon=True)  # type: ignore[arg-type]
    try:
        thread.start()
    except RuntimeError:
        # At interpreter shutdown none can be started; `close` then does the thread's work.
        return None
    return thread
