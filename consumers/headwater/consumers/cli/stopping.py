"""SIGINT and SIGTERM, for commands that end what they are about before they end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from headwater.consumers.cli.output import say


@contextmanager
def stoppable(told: str = "") -> Iterator[Callable[[], bool]]:
    """Whether a signal asked to stop, which is then `told`; a second one stops at once."""
    stop = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal stop
        if stop:
            raise KeyboardInterrupt
        stop = True
        if told:
            say(told)

    with handling(on_signal):
        yield lambda: stop


@contextmanager
def handling(on_signal: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGINT and SIGTERM go to `on_signal` meanwhile."""
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
