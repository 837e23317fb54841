"""Delivering a whole spool from outside: what `headwater drain` does, once or as a companion of steps.

Whatever nobody delivers is delivered here: what dead processes left (their segments are adopted first),
and what living ones write whose own thread does not deliver, as where Kafka's client is not installed.
What cannot be read is a problem that is told, also where nothing else is left. Killing it is harmless:
what it had sent and not written down is sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.emitter.adoption import adopt
from headwater.emitter.drained import drain_of, opened
from headwater.emitter.outgoing import waiting
from headwater.emitter.parking import Parked, by_itself, parked, release, unreadable
from headwater.emitter.settings import Settings
from headwater.schemas.errors import HeadwaterError, Misconfigured, Retryable
from headwater.schemas.segment import list_segments

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from headwater.emitter.delivery import Drain

PATIENCE_S = 60.0
TURN_S = 0.1
ADOPT_S = 5.0
COUNT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of a spool's events: delivered now, kept aside now, and left in it.

    `aside` is how many are kept aside in all, `problem` why some are left where that is known. With a
    problem more may be left than `left` says: what cannot be read cannot be counted.
    """

    delivered: int
    parked: int
    left: int
    aside: int
    problem: HeadwaterError | None = None


def drain(
    settings: Settings,
    *,
    follow: bool = False,
    patience_s: float = PATIENCE_S,
    stopping: Callable[[], bool] = lambda: False,
    report: Callable[[int, int], None] = lambda delivered, left: None,
) -> Drained:
    """Deliver what the spool of `settings` holds; with `follow` until `stopping`.

    Without `follow` it ends when nothing is left, when nothing was acknowledged for `patience_s`, or when
    a person has to change something. Raises `Misconfigured` when it cannot begin.
    """
    directory = settings.log.absolute()
    running = drain_of(settings)
    opened(settings).close()  # wrong settings are told now, not when the first event is sent
    adopt(directory)
    try:
        problem = _follow(running, directory, settings, stopping, report) if follow else None
        if not follow:
            problem = _drain_once(running, directory, patience_s, stopping, report)
    finally:
        running.close()
    return _drained(directory, running.delivered, running.parked, problem)


def _drained(directory: Path, delivered: int, aside_now: int, problem: HeadwaterError | None) -> Drained:
    left = [waiting(path) for path in list_segments(directory)]
    cut = unreadable(directory)
    found = [one.problem for one in left if one.problem is not None] + cut
    return Drained(
        delivered=delivered,
        parked=aside_now,
        left=sum(one.events for one in left),
        aside=len(parked(directory)) + len(cut),
        problem=problem or next(iter(found), None),
    )


def left_in(directory: Path) -> int:
    """How many events of a spool are not known to be delivered, as far as they can be read."""
    return sum(waiting(path).events for path in list_segments(directory))


def _drain_once(
    running: Drain,
    directory: Path,
    patience_s: float,
    stopping: Callable[[], bool],
    report: Callable[[int, int], None],
) -> HeadwaterError | None:
    left = left_in(directory)
    moved_at = counted_at = time.monotonic()
    while left and not stopping():
        moved = running.turn(TURN_S)
        now = time.monotonic()
        if running.outstanding or moved:
            moved_at = now if moved else moved_at
        elif running.halted is None:
            time.sleep(TURN_S)
        if now - counted_at >= COUNT_S or not (moved or running.outstanding):
            before, left, counted_at = left, left_in(directory), now
            moved_at = now if left < before else moved_at
            report(running.delivered, left)
        if running.halted is not None:
            return running.halted
        if isinstance(running.away, Misconfigured):
            return running.away
        if left and now - moved_at > patience_s:
            return _why(running, directory, patience_s)
    return running.damaged[0] if running.damaged else None


def _why(running: Drain, directory: Path, patience_s: float) -> HeadwaterError:
    if running.damaged:
        return running.damaged[0]
    if running.away is not None:
        return running.away
    if running.outstanding:
        return Retryable(f"the topic acknowledged nothing for {patience_s:g} s", remedy="see to the brokers")
    return Retryable(
        f"what is left in {directory} is in the hands of living processes", remedy="they go on with it"
    )


def _follow(
    running: Drain,
    directory: Path,
    settings: Settings,
    stopping: Callable[[], bool],
    report: Callable[[int, int], None],
) -> HeadwaterError | None:
    adopted_at = time.monotonic()
    while not stopping():
        if not running.turn(TURN_S) and not running.outstanding:
            time.sleep(TURN_S)
            report(running.delivered, 0)
        if time.monotonic() - adopted_at >= ADOPT_S:
            adopt(directory)
            adopted_at = time.monotonic()
    until = time.monotonic() + settings.drain_on_exit_s
    while running.outstanding and time.monotonic() < until:
        running.turn(TURN_S)
    return running.halted or running.away or next(iter(running.damaged), None)


def send_parked(
    settings: Settings,
    *,
    patience_s: float = PATIENCE_S,
    stopping: Callable[[], bool] = lambda: False,
) -> Drained:
    """Send what is kept aside again, one by one; what the topic takes now is kept aside no longer.

    Ends early once `stopping`: what is on its way then stays aside, and is sent again another time.
    """
    directory = settings.log.absolute()
    delivered = 0
    problem: HeadwaterError | None = None
    with by_itself(directory) as alone:
        if not alone:
            problem = Retryable(
                f"another process sends what is kept aside in {directory}", remedy="wait until it has ended"
            )
        for one in parked(directory) if alone else []:
            if stopping():
                break
            answered, refused = _sent_again(settings, one, patience_s, stopping)
            if answered and refused is None:
                release(one)
                delivered += 1
            problem = refused or problem
            if not answered:
                break
    return _drained(directory, delivered, 0, problem)


def _sent_again(
    settings: Settings, one: Parked, patience_s: float, stopping: Callable[[], bool]
) -> tuple[bool, HeadwaterError | None]:
    """Whether the topic answered for one event, and why it is not in the topic."""
    writer = opened(settings, **{"linger.ms": 0})
    answers: list[KafkaError | None] = []
    try:
        failure = writer.send(one.value, one.append_time, lambda error, message: answers.append(error))
        until = time.monotonic() + patience_s
        while failure is None and not answers and time.monotonic() < until and not stopping():
            writer.poll(TURN_S)
        if answers and answers[0] is not None:
            failure = writer.failure_of(answers[0])
        if answers or failure is not None:
            return True, None if failure is None else failure.error
        late = Retryable(f"{writer.topic} did not answer for {patience_s:g} s", remedy="try again later")
        return False, writer.refused or (None if stopping() else late)
    finally:
        writer.close()
