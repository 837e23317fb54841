"""What is said of an outage, and when it is tried again, by a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.emitter.outage import BACKOFF_S, Outage
from headwater.schemas.errors import Misconfigured, Retryable


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage(Path("spool"), clock)


def test_what_halts_delivery_is_told_once_and_tried_again_after_pauses_that_grow_to_an_end(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = []
    for _ in range(10):
        assert outage.lets_send(clock.now)
        outage.halt(Misconfigured("no right to write"))
        before = clock.now
        while not outage.lets_send(clock.now):
            clock.now += 0.25
        pauses.append(clock.now - before)
    assert pauses[:3] == [BACKOFF_S[0], 2 * BACKOFF_S[0], 4 * BACKOFF_S[0]]
    assert pauses[-2:] == [BACKOFF_S[1]] * 2
    assert caplog.text.count("delivery_halted") == 1


def test_an_acknowledgement_ends_it_and_the_next_one_is_told_and_paused_for_as_the_first(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        outage.halt(Misconfigured("no right to write"))
        outage.halt(Misconfigured("no right to write"))
        assert outage.halted is not None
        outage.progressed(clock.now)
        assert outage.halted is None
    assert caplog.text.count("delivery_halted") == 2
    assert caplog.text.count("delivery_resumed") == 2
    clock.now += 100
    outage.pause()
    assert outage.lets_send(clock.now + BACKOFF_S[0])


def test_where_nothing_was_amiss_progress_says_nothing(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage.progressed(clock.now)
    assert caplog.text == ""


def test_an_error_of_the_disk_is_told_with_its_file(outage: Outage) -> None:
    outage.halt(OSError(28, "No space left on device", "/spool/parked"))
    assert isinstance(outage.halted, Retryable)
    assert str(outage.halted).startswith("/spool/parked: No space left on device")


def test_a_warning_is_said_once_until_something_was_acknowledged(
    outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        outage.say_once("segments_not_removed: full")
        outage.say_once("segments_not_removed: full")
        outage.progressed(clock.now)
    assert caplog.text.count("segments_not_removed") == 2
