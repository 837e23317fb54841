"""A line on the terminal for whoever waits for a question that goes through the whole store.

Shown once it takes longer than two seconds, on standard error, with what is being looked at and for
how long; gone when the answer is there. Into a pipe nothing is written. While a log is read for
--known-at, the reading has a line of its own (`headwater.consumers.cli.fold`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING

from headwater.consumers.cli.output import console
from headwater.consumers.looking import Report, nobody_waits

if TYPE_CHECKING:
    from rich.progress import Progress

AFTER_S = 2.0


@contextmanager
def waiting(*, known_at: int | None = None, after_s: float = AFTER_S) -> Iterator[Report]:
    """The `report` to give to a question; see the head of this module."""
    if known_at is not None or not sys.stderr.isatty():
        yield nobody_waits
        return
    line = _Line()
    timer = Timer(after_s, line.show)
    timer.daemon = True
    timer.start()
    try:
        yield line.report
    finally:
        timer.cancel()
        line.close()


class _Line:
    """The line; told by the question's thread, shown by a timer's."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._told = ""
        self._progress: Progress | None = None
        self._is_closed = False

    def report(self, what: str, done: int | None) -> None:
        with self._lock:
            self._told = what if done is None else f"{what}: {done:,}"
            if self._progress is not None:
                self._progress.update(self._progress.task_ids[0], told=self._told)

    def show(self) -> None:
        # Costs a hundredth of a second to import: not for an answer that is there at once.
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._lock:
            if self._is_closed:
                return
            columns = (SpinnerColumn(), TextColumn("looking at {task.fields[told]}"), TimeElapsedColumn())
            self._progress = Progress(*columns, console=console(stderr=True), transient=True)
            self._progress.add_task("", told=self._told or "the store")
            self._progress.start()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._progress is not None:
                self._progress.stop()
