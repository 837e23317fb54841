"""A spool whose events go on to Kafka: the sink of a log at kafka://…

`append` keeps the event in this process's segment, as `Spool` does, and waits for no network. A thread
of this process, begun with the first event, delivers what the spool holds (`headwater.emitter.delivery`).
The right to deliver its own is taken before the first event, ahead of every other process, and given back
where Kafka's client is not installed. There, or while the broker is away, events stay where they are: the
next process of this spool, or `headwater drain`, delivers them.

`confirm` is what mode `sync` adds: it returns once the broker has acknowledged an event. `close` seals,
then waits `drain_on_exit_s` at most for this process's own events, and says what it left.

A forked child opens a sink of its own; of its parent's it closes the descriptors and touches nothing else.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.emitter import kafka_settings, parking
from headwater.emitter.acks import acknowledged
from headwater.emitter.claims import Claim, claim
from headwater.emitter.settings import Settings
from headwater.emitter.sinks import Position
from headwater.emitter.spool import Spool
from headwater.schemas.errors import HeadwaterError, Misconfigured, Rejected, Retryable

if TYPE_CHECKING:
    from headwater.emitter.delivery import Drain
    from headwater.emitter.topic import Topic
    from headwater.emitter.topic_writer import TopicWriter

log = logging.getLogger("headwater.emitter")

POLL_S = 0.05
IDLE_S = 0.5
# What the thread may take beyond the deadline to give back what it holds.
LEAVE_S = 6.0
FAILED_S = 5.0
# So long a process that ends, and has delivered its own, hears what becomes of what it sent for others.
OTHERS_S = 0.5

# Python locks a module while it is imported, and a process forked meanwhile would wait for that lock
# for ever: no thread of it imports. So a fork waits until our thread has imported what it needs.
_importing = threading.Lock()
os.register_at_fork(
    before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release
)


class DrainedSpool:
    """An `EventSink`: `spool`, and a thread that delivers it to the topic that `settings` name."""

    def __init__(self, spool: Spool, settings: Settings, *, others: bool = True) -> None:
        _topic(settings).name  # noqa: B018 - several topics are refused before anything is kept
        self._spool = spool
        self._drain_on_exit_s = settings.drain_on_exit_s
        self._sync_timeout_s = settings.sync_timeout_s
        self._drain_of = _Opener(settings, spool, others=others)
        self._claim: Claim | None = None
        self._claimed = False
        self._drain: Drain | None = None
        self._thread: threading.Thread | None = None
        self._asleep = True
        self._wake = threading.Event()
        self._heard = threading.Condition()
        self._deadline: float | None = None
        self._progress = 0
        self._gave_up_at = -1
        # Why nothing is delivered, as the thread saw it last.
        self._problem: HeadwaterError | None = None

    @property
    def kept(self) -> int:
        return self._spool.kept

    def append(self, value: bytes) -> Position:
        if not self._claimed:
            self._claim_own()
        position = self._spool.append(value)
        if self._asleep:
            self._rouse()
        return position

    def _claim_own(self) -> None:
        self._claimed = True
        # On a full disk the drain tries again.
        with contextlib.suppress(OSError):
            self._claim = claim(self._spool.directory, self._spool.emitter_id)

    def confirm(self, positions: Sequence[Position], *, patient: bool = True) -> list[HeadwaterError | None]:
        """Why the broker has not acknowledged each event within `sync_timeout_s`; None where it has.

        One that was not acknowledged is in the spool all the same and will be delivered, one that the
        broker refused is kept aside. Unless `patient`, nobody waits again until something was delivered.
        """
        if patient or self._gave_up_at != self._progress:
            self._wait_for(positions[-1])
        return [self._why_not(position) for position in positions]

    def _wait_for(self, position: Position) -> None:
        deadline = time.monotonic() + self._sync_timeout_s
        while not self._is_delivered(position):
            left = deadline - time.monotonic()
            if left <= 0:
                self._gave_up_at = self._progress
                return
            with self._heard:
                self._heard.wait(min(left, POLL_S))

    def _why_not(self, position: Position) -> HeadwaterError | None:
        if self._is_delivered(position):
            # What is kept aside counts as delivered, and is on the disk before it does.
            reason = self._kept_aside(position)
            return None if reason is None else Rejected(reason)
        return self._problem or Retryable(
            f"no acknowledgement within {self._sync_timeout_s:g} s", remedy="see to the broker"
        )

    def _kept_aside(self, position: Position) -> str | None:
        """Why the broker refused the event for good; None when it did not."""
        name = f"{position.partition}-{position.offset}{parking.EVENT}"
        path = self._spool.directory / parking.FOLDER / name
        if not path.exists():
            return None
        try:
            return str(json.loads(path.with_suffix(parking.REASON).read_bytes())["reason"])
        except (OSError, ValueError, KeyError):
            return f"the reason beside {path} cannot be read"

    def _is_delivered(self, position: Position) -> bool:
        drain = self._drain
        if drain is not None and drain.delivered_of(position.partition) > position.offset:
            return True
        # Whoever else delivers our segments writes it down; one that is gone was delivered in full.
        segment = self._spool.directory / f"{position.partition}.seg"
        if acknowledged(segment) > position.offset:
            return True
        return drain is not None and not drain.owns and not segment.exists()

    def close(self) -> None:
        """Seal, deliver for a while, say what is left; may be called twice."""
        self._spool.close()
        if self._deadline is not None:
            return
        self._deadline = time.monotonic() + self._drain_on_exit_s
        self._wake.set()
        if self._thread is not None:
            self._thread.join(self._drain_on_exit_s + LEAVE_S)
        elif self._spool.kept:
            self._deliver()  # no thread can be started any more: the interpreter is leaving
        elif self._claim is not None:
            self._claim.release(done=True)
        self._say_what_is_left()

    def _say_what_is_left(self) -> None:
        from headwater.emitter.outgoing import waiting

        segments = self._drain_of.segments()
        left = sum(waiting(path).events for path in segments)
        if left:
            log.warning(
                "events_left_in_spool: %d in %s; the next process, or `headwater drain`, sends them",
                left,
                self._spool.directory,
                extra={"events": left},
            )

    # -- the thread ----------------------------------------------------------------------

    def _rouse(self) -> None:
        self._asleep = False
        self._wake.set()
        if self._thread is None and self._deadline is None:
            thread = threading.Thread(target=self._deliver, name="headwater-drain", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # the interpreter is leaving; `close` does what can be done
            self._thread = thread

    def _deliver(self) -> None:
        """The thread: deliver until told to stop, and then until all is delivered or the time is up."""
        try:
            drain = self._drain = self._drain_of(self._claim)
        except (HeadwaterError, OSError) as error:
            if self._claim is not None:
                self._claim.release()
            self._problem = error if isinstance(error, HeadwaterError) else None
            log.error("drain_not_begun: %s; events stay in %s", error, self._spool.directory)
            return
        try:
            while self._guarded(lambda: self._turn(drain)):
                continue
        finally:
            self._guarded(drain.close)
            self._tell()

    def _guarded(self, work: Callable[[], bool | None]) -> bool | None:
        """Whatever fails, events are safe in the spool, and the thread must not end over it."""
        try:
            return work()
        except Exception:
            log.exception("drain_failed", extra={"directory": str(self._spool.directory)})
        # Told to end, it comes back at once and not for ever.
        self._wake.wait(FAILED_S if self._deadline is None else POLL_S)
        return self._deadline is None or time.monotonic() < self._deadline

    def _turn(self, drain: Drain) -> bool:
        """Deliver what can be delivered now; whether to go on."""
        if self._is_over(drain):
            return False
        before = drain.delivered
        moved = drain.turn(POLL_S)
        self._problem = drain.halted or drain.away
        if drain.delivered != before:
            self._tell()
        if not moved and not drain.outstanding:
            self._sleep()
        return True

    def _sleep(self) -> None:
        self._asleep = True
        # An event that came before that was seen is found after half a second at the latest.
        if self._deadline is None:
            self._wake.wait(IDLE_S)
            self._wake.clear()
        else:
            time.sleep(POLL_S / 5)
        self._asleep = False

    def _is_over(self, drain: Drain) -> bool:
        if self._deadline is None:
            return False
        now, began = time.monotonic(), self._deadline - self._drain_on_exit_s
        drain.leave_others()
        if now >= self._deadline:
            return True
        return drain.own_delivered and (not drain.outstanding or now - began >= OTHERS_S)

    def _tell(self) -> None:
        with self._heard:
            self._progress += 1
            self._heard.notify_all()


class _Opener:
    """Makes the drain of a spool, in the thread that will turn it."""

    def __init__(self, settings: Settings, spool: Spool, *, others: bool) -> None:
        self._settings = settings
        self._spool = spool
        self._others = others

    def __call__(self, claimed: Claim | None) -> Drain:
        drain = _delivery(self._settings)
        # Alone in its records' way, a single one must not wait for company.
        linger = {"linger.ms": 0} if self._settings.mode == "sync" else {}
        return drain(
            self._spool.directory,
            lambda: opened(self._settings, **linger),
            own=self._spool.emitter_id,
            claimed=claimed,
            others=self._others,
        )

    def segments(self) -> list[Path]:
        from headwater.emitter.adoption import segments_of

        return segments_of(self._spool.directory, self._spool.emitter_id)


def opened(settings: Settings, **defaults: Any) -> TopicWriter:
    """A producer for the topic of `settings`; raises `Misconfigured`, also where the client is missing."""
    from headwater.emitter.topic_writer import TopicWriter

    return TopicWriter(_topic(settings), kafka_settings.of(settings), **defaults)


def drain_of(settings: Settings) -> Drain:
    """What delivers the whole spool of `settings`, for a thread of the caller's; raises as `opened` does."""
    return _delivery(settings)(settings.log.absolute(), lambda: opened(settings))


def _delivery(settings: Settings) -> type[Drain]:
    try:
        with _importing:
            from headwater.emitter.delivery import Drain
    except ImportError as missing:
        raise Misconfigured(
            f"sending events to {_topic(settings)} needs {missing.name}",
            remedy="pip install 'headwater[kafka]'",
        ) from missing
    return Drain


def _topic(settings: Settings) -> Topic:
    if settings.topic is None:
        raise Misconfigured(
            f"the log is the folder {settings.log}", remedy="name a topic in `log`: kafka://host:9092/topic"
        )
    return settings.topic
