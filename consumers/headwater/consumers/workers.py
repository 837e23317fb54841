"""Several worker processes for one log and one store: the partitions are shared out among them.

Each worker is a `Runner` of its own shard, so everything that a runner promises holds; what
two workers want to say about one run is settled by the store. Use it where one process cannot
keep up: folding is Python, and Python uses one core.

A worker says what it does through a pipe of its own, so one that is killed in the middle of a
word disturbs no other; its end is seen by its process, not by what it said last.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from headwater.consumers.breaker import Breaker, Limits
from headwater.consumers.log import open_log
from headwater.consumers.runner import Progress, Runner
from headwater.consumers.sharing import ByNumber, shared
from headwater.consumers.store import open_store
from headwater.schemas.errors import HeadwaterError, Retryable

LOOK_S = 0.2
STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker says: its progress, and at its end the error that ended it, if one did."""

    progress: Progress
    error: str | None = None


@dataclass(slots=True)
class _Worker:
    process: Any
    reports: Connection
    progress: Progress
    error: str | None = None
    ended: bool = False


def consume(
    store_url: str,
    log_url: str,
    *,
    kafka: Mapping[str, Any] | None = None,
    workers: int,
    follow: bool = False,
    accept_damage: bool = False,
    limits: Mapping[str, Limits] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Consume the log with `workers` processes; their progress, added up.

    Partitions are shared out by number; on Kafka, with `follow`, by a consumer group. `limits` are the
    budgets of parked records by topic, None for no budget. The schema must exist. Raises `Retryable` when
    a worker ended with an error or was killed; the others are stopped between two batches then, and
    nothing is lost.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    team: list[_Worker] = []
    try:
        for index in range(workers):
            mine, theirs = context.Pipe(duplex=False)
            number = (index, workers)
            task = (store_url, log_url, kafka, number, follow, accept_damage, limits, theirs, stop)
            process = context.Process(target=_work, args=task, name=f"headwater-worker-{index}")
            process.start()
            # Held by the worker alone from here on: its death closes the pipe.
            theirs.close()
            team.append(_Worker(process, mine, Progress()))
        _attend(team, stop, stopping, report)
    finally:
        stop.set()
        for worker in team:
            worker.process.join(STOP_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.reports.close()
    failure = next((worker.error for worker in team if worker.error is not None), None)
    if failure is not None:
        raise Retryable(f"a worker stopped: {failure}", remedy="nothing was lost; start again")
    return _sum(worker.progress for worker in team)


def _attend(
    team: list[_Worker], stop: Any, stopping: Callable[[], bool], report: Callable[[Progress], None]
) -> None:
    """Listen until every worker has ended; one that fails ends all."""
    while not all(worker.ended for worker in team):
        if stopping():
            stop.set()
        listening = {worker.reports: worker for worker in team if not worker.ended}
        for pipe in wait(list(listening), timeout=LOOK_S):
            worker = listening[pipe]  # type: ignore[index]
            _hear(worker)
            if worker.error is not None:
                stop.set()
        report(_sum(worker.progress for worker in team))


def _hear(worker: _Worker) -> None:
    try:
        said: Report = worker.reports.recv()
    except EOFError:
        worker.ended = True
        worker.process.join()
        if worker.process.exitcode and worker.error is None:
            worker.error = f"{worker.process.name} ended with exit code {worker.process.exitcode}"
        return
    worker.progress = said.progress
    worker.error = worker.error or said.error


def _work(
    store_url: str,
    log_url: str,
    kafka: Mapping[str, Any] | None,
    number: tuple[int, int],
    follow: bool,
    accept_damage: bool,
    limits: Mapping[str, Limits] | None,
    reports: Connection,
    stop: Any,
) -> None:
    """One worker's process. Signals are the parent's to see; this one is told through `stop`."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    orphaned = threading.Event()
    threading.Thread(target=_watch_parent, args=(orphaned,), daemon=True).start()
    progress = Progress()
    error: str | None = None
    try:
        with open_store(store_url) as store, open_log(log_url, kafka) as source, ExitStack() as stack:
            breaker = None if limits is None else Breaker(limits=limits, native=source.native)
            sharing = (shared(source, store_url, kafka) if follow else None) or ByNumber(*number)
            stack.callback(sharing.close)
            runner = Runner(store, source, sharing=sharing, accept_damage=accept_damage, breaker=breaker)
            progress = runner.progress
            runner.run(
                follow=follow,
                stopping=lambda: bool(stop.is_set()) or orphaned.is_set(),
                report=lambda now: reports.send(Report(now)),
            )
    except HeadwaterError as problem:
        error = str(problem)
    except BrokenPipeError:
        return  # the parent died: nobody is left to tell
    reports.send(Report(progress, error))


def _watch_parent(orphaned: threading.Event) -> None:
    """Tell when the parent died, killed perhaps: a worker must not go on unseen."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        orphaned.set()


def _sum(parts: Iterable[Progress]) -> Progress:
    total = Progress()
    for part in parts:
        total.applied += part.applied
        total.duplicate += part.duplicate
        total.quarantined += part.quarantined
        total.gaps += part.gaps
        total.unread += part.unread
        total.fenced += part.fenced
        total.spent.update(part.spent)
        total.damaged.update(part.damaged)
    return total
