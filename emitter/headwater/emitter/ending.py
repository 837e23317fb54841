"""How a run ends: once, by whoever owns it, with what is still to be told of it before.

A process that joined another's run, or was forked out of it, adds to it and does not end it by leaving
its block. What comes after the first ending is ignored and logged.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from headwater.emitter import emitter
from headwater.emitter.context import enter, leave
from headwater.emitter.failure import failure_of
from headwater.emitter.report import guarded
from headwater.emitter.runs import LiveRun
from headwater.emitter.tracking import Verification
from headwater.schemas import events
from headwater.schemas.events import Run

log = logging.getLogger("headwater.emitter")


class EndingRun(LiveRun, ABC):
    """A run that may be ended here: a context manager, or explicitly `complete()` and `fail(error)`."""

    def __init__(
        self,
        run: Run,
        *,
        parent: Run | None,
        root: Run | None,
        name: str,
        owner: bool,
        verify_inputs: Verification | None = None,
    ) -> None:
        super().__init__(run, parent=parent, root=root, name=name, verify_inputs=verify_inputs)
        self._owner = owner
        self._pid = os.getpid()

    def complete(self) -> None:
        """Ends the run well. What comes after the first ending is ignored and logged."""
        with guarded("complete"):
            if self._ends():
                self._flush_metrics()
                self._record_metrics()
                for event in self._in_parts(self._completed()):
                    self._emit(event)
                self._close()

    def fail(self, error: BaseException) -> None:
        """Ends the run with `error`, which is only looked at."""
        with guarded("fail", quiet=True):
            if self._ends():
                self._flush_metrics()
                for event in self._in_parts(self._failed(failure_of(error))):
                    self._emit(event)
                self._close()

    def abandoned(self) -> None:
        """Ends the run well if it has not ended: nobody holds its result any more."""
        if not self._ended:
            self.complete()

    def leave(self) -> None:
        """Ends this process's part in a run that it does not own."""
        with guarded("leave"):
            self._flush_metrics()
            self._close()

    def _ends(self) -> bool:
        if os.getpid() != self._pid:
            # Forked out of the run: the process that began it says how it ended.
            self._flush_metrics()
            self._close()
            return False
        if self._ended:
            log.warning("run_ended_twice", extra={"run": self.id, "job": self.run.job.name})
            return False
        self._ended = True
        return True

    def _close(self) -> None:
        emitter.current().close_run(self.run, self.parent, self.root)

    @abstractmethod
    def _completed(self) -> events.Event:
        """The event that says that it ended well."""

    @abstractmethod
    def _failed(self, failure: events.Failure) -> events.Event:
        """The event that says why it did not."""

    def _in_parts(self, ending: events.Event) -> Iterable[events.Event]:
        """The ending, in as many events as it takes."""
        return (ending,)

    def __enter__(self) -> Self:
        enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave(self)
        if not self._owner:
            self.leave()
        elif error is not None:
            self.fail(error)
        elif not self._ended:
            self.complete()
