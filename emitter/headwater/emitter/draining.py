"""Delivering a whole spool from outside: what `headwater drain` does, once or as a companion of steps.

Whatever nobody delivers is delivered here: what dead processes left (their segments are adopted first),
and what living ones write whose own thread does not deliver, as where Kafka's client is not installed.
Killing it is harmless: what it had sent and not written down is sent again.
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
from headwater.emitter.parking import parked, release
from headwater.emitter.settings import Settings
from headwater.schemas.errors import HeadwaterError, Misconfigured, Retryable
from headwater.schemas.segment import list_segments

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

    from headwater.emitter.delivery import Drain

PATIENCE_S = 60.0
TURN_S = 0.1
ADOPT_S = 5.0
COUNT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of a spool's events: delivered now, kept aside now, and left in it.

    `aside` is how many are kept aside in all, `problem` why some are left where that is known.
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
    return Drained(
        delivered=running.delivered,
        parked=running.parked,
        left=left_in(directory),
        aside=len(parked(directory)),
        problem=problem,
    )


def left_in(directory: Path) -> int:
    """How many events of a spool are not known to be delivered."""
    return sum(waiting(path) for path in list_segments(directory))


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
    return running.damaged[0] if left and running.damaged else None


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
    return running.halted or running.away


def send_parked(settings: Settings, *, patience_s: float = PATIENCE_S) -> Drained:
    """Send what is kept aside again, one by one; what the topic takes now is kept aside no longer."""
    directory = settings.log.absolute()
    delivered, problem = 0, None
    for one in parked(directory):
        writer = opened(settings, **{"linger.ms": 0})
        answers: list[KafkaError | None] = []

        def told(
            error: KafkaError | None, message: Message, answers: list[KafkaError | None] = answers
        ) -> None:
            answers.append(error)

        try:
            failure = writer.send(one.value, one.append_time, told)
            until = time.monotonic() + patience_s
            while failure is None and not answers and time.monotonic() < until:
                writer.poll(TURN_S)
            if answers == [None]:
                release(one)
                delivered += 1
                continue
            if failure is None and answers and answers[0] is not None:
                failure = writer.failure_of(answers[0])
            late = Retryable(f"{writer.topic} did not answer for {patience_s:g} s", remedy="try again later")
            problem = failure.error if failure is not None else writer.refused or late
            if failure is None:
                break
        finally:
            writer.close()
    return Drained(
        delivered=delivered,
        parked=0,
        left=left_in(directory),
        aside=len(parked(directory)),
        problem=problem,
    )
