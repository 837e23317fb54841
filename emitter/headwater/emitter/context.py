"""Which run the code under way belongs to.

A context variable, so tasks of asyncio and `asyncio.to_thread` inherit it; a thread
started bare does not, and `in_context` hands it over. Nothing here emits.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, SupportsFloat, TypeAlias, TypeVar

if TYPE_CHECKING:
    from headwater.emitter.runs import LiveRun
    from headwater.emitter.settings import Settings

log = logging.getLogger("headwater.emitter")

P = ParamSpec("P")
R = TypeVar("R")

# The active run, and what was active before it.
_Frame: TypeAlias = "tuple[LiveRun | None, _Frame | None]"
_ACTIVE: ContextVar[_Frame | None] = ContextVar("headwater_active_run", default=None)


def active_run() -> LiveRun | None:
    """The step or pipeline that the calling code runs in, or None outside of any."""
    frame = _ACTIVE.get()
    return None if frame is None else frame[0]


def now_us() -> int:
    """Microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000


def settings() -> Settings:
    """The settings of this process's emitter."""
    from headwater.emitter import emitter

    return emitter.current().settings


class activated:
    """Makes `run` the active one inside the block."""

    __slots__ = ("_run",)

    def __init__(self, run: LiveRun | None) -> None:
        self._run = run

    def __enter__(self) -> None:
        enter(self._run)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave(self._run)


def enter(run: LiveRun | None) -> None:
    """Makes `run` the active one of this context until `leave`."""
    _ACTIVE.set((run, _ACTIVE.get()))


def leave(run: LiveRun | None) -> None:
    """Takes `run` out of what is active, wherever it is; nothing where it was not entered.

    Blocks may be left in another order than they were entered in: what was entered later stays.

    A generator or coroutine may be closed in another context than it ran in: there the
    run was never entered. Tokens of the context variable would raise there.
    """
    later, frame = [], _ACTIVE.get()
    while frame is not None and frame[0] is not run:
        later.append(frame[0])
        frame = frame[1]
    if frame is None:
        return
    rest = frame[1]
    for other in reversed(later):
        rest = (other, rest)
    _ACTIVE.set(rest)


def in_context(function: Callable[P, R]) -> Callable[P, R]:
    """`function` bound to the run active now, for threads that do not copy context variables.

        with pipeline("churn"):
            with ThreadPoolExecutor() as pool:
                pool.map(in_context(train), folds)

    The result may be called from several threads at once.
    """
    run = active_run()

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with activated(run):
            return function(*args, **kwargs)

    return called


def log_metric(key: str, value: SupportsFloat, step: int | None = None) -> None:
    """Records a number of the active run; outside of any there is nothing it could belong to."""
    log_metrics({key: value}, step)


def log_metrics(values: Mapping[str, SupportsFloat], step: int | None = None) -> None:
    """Records several numbers of the active run."""
    run = active_run()
    if run is None:
        log.warning("metric_outside_of_a_run", extra={"keys": sorted(values)})
        return
    run.log_metrics(values, step)
