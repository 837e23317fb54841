"""Processes that fork, exit and die in every way: `python -m tests.support.forking SCENARIO LOG`.

Each scenario emits events of the run `parent` in this process and of `child` elsewhere, then leaves.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.context import BaseContext
from pathlib import Path

from headwater.emitter.emitter import configure, current
from headwater.emitter.settings import Settings
from tests.support.spool import completed, created, run_named, started

PARENT, CHILD = run_named("parent"), run_named("child")
EVENTS = 20


def emit_some(count: int = EVENTS) -> None:
    for number in range(count):
        current().emit(created(CHILD, number))


def emit_and_wait(ready: int) -> None:
    """As a DataLoader's worker, which is terminated when its loader is done."""
    emit_some()
    os.write(ready, b"!")
    time.sleep(60)


def configured_child(log: str) -> None:
    configure(Settings(log=Path(log)))
    emit_some()


def os_fork(log: str) -> None:
    emitter = current()
    emitter.emit(started(PARENT))
    pid = os.fork()
    if pid == 0:
        for number in range(EVENTS):
            emitter.emit(created(CHILD, number))  # the parent's object, kept by someone
        sys.exit(0)
    os.waitpid(pid, 0)
    emitter.emit(completed(PARENT))


def os_fork_and_exit_hard(log: str) -> None:
    current().emit(started(PARENT))
    pid = os.fork()
    if pid == 0:
        current().emit(started(CHILD))
        emit_some()
        os._exit(0)
    os.waitpid(pid, 0)
    current().emit(completed(PARENT))


def _multiprocess(context: BaseContext, log: str) -> None:
    current().emit(started(PARENT))
    process = context.Process(target=configured_child, args=(log,))  # type: ignore[attr-defined]
    process.start()
    process.join()
    current().emit(completed(PARENT))


def mp_fork(log: str) -> None:
    _multiprocess(multiprocessing.get_context("fork"), log)


def mp_forkserver(log: str) -> None:
    _multiprocess(multiprocessing.get_context("forkserver"), log)


def mp_spawn(log: str) -> None:
    _multiprocess(multiprocessing.get_context("spawn"), log)


def mp_fork_inherited(log: str) -> None:
    current().emit(started(PARENT))
    process = multiprocessing.get_context("fork").Process(target=emit_some)
    process.start()
    process.join()
    current().emit(completed(PARENT))


def terminated_workers(log: str) -> None:
    current().emit(started(PARENT))
    read, write = os.pipe()
    workers = [
        multiprocessing.get_context("fork").Process(target=emit_and_wait, args=(write,)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        os.read(read, 1)
    for worker in workers:
        worker.terminate()
        worker.join()
    current().emit(completed(PARENT))


def fork_while_threads_emit(log: str) -> None:
    """The parent's locks are held by other threads at the moment of the fork."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            current().emit(created(PARENT, 1))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    pids = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            emit_some(3)
            os._exit(0)
        pids.append(pid)
    failed = [pid for pid in pids if os.waitpid(pid, 0)[1] != 0]
    stop.set()
    for thread in threads:
        thread.join()
    sys.exit(len(failed))


def child_outlives_parent(log: str) -> None:
    """The parent is killed while a child lives that inherited its files."""
    current().emit(started(PARENT))
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        os.read(read, 1)  # until whoever started us closes its end of the pipe it gave as stdin
        os.read(0, 1)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def sys_exit(log: str) -> None:
    current().emit(started(PARENT))
    sys.exit(0)


def exception(log: str) -> None:
    current().emit(started(PARENT))
    raise SystemExit("as an unhandled exception ends a script")


def sigterm(log: str) -> None:
    current().emit(started(PARENT))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)


def os_exit(log: str) -> None:
    current().emit(started(PARENT))
    os._exit(0)


def emits_at_exit(log: str) -> None:
    import atexit

    current().emit(started(PARENT))
    atexit.register(lambda: current().emit(completed(PARENT)))


if __name__ == "__main__":
    configure(Settings(log=Path(sys.argv[2])))
    globals()[sys.argv[1]](sys.argv[2])
