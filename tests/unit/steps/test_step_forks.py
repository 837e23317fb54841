"""A process forked out of a run waits for nobody and repeats nothing."""

from __future__ import annotations

import inspect
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from headwater.emitter import Settings, configure, log_metric, pipeline, step
from headwater.emitter import emitter as emitters
from headwater.schemas import events
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import recognise
from headwater.schemas.segment import SegmentReader, list_segments
from tests.support.recorded import Recorded


class LooksItselfUp:
    """A function whose signature takes long to find out, as source and git may."""

    def __init__(self) -> None:
        self.asked, self.answer = threading.Event(), threading.Event()

    @property
    def __signature__(self) -> inspect.Signature:
        self.asked.set()
        self.answer.wait(30)
        return inspect.Signature()

    def __call__(self) -> None:
        return None


def _ended_well(child: int, deadline_s: float = 10.0) -> bool:
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_process_forked_during_another_threads_first_step_runs_its_own(log: Recorded) -> None:
    slow = LooksItselfUp()
    other = threading.Thread(target=step(name="slow")(slow))

    @step
    def quick() -> int:
        return 1

    other.start()
    slow.asked.wait(10)
    child = os.fork()
    if child == 0:
        os._exit(0 if quick() == 1 else 1)
    try:
        assert _ended_well(child)
    finally:
        slow.answer.set()
        other.join()


def test_a_forked_process_logs_its_own_metrics_and_none_of_its_parents(tmp_path: Path, log: Recorded) -> None:
    configure(Settings(project="crm", log=tmp_path))
    with pipeline("p"):
        log_metric("loss", 0.5)
        child = os.fork()
        if child == 0:
            log_metric("loss", 0.25)
    if child == 0:
        emitters.current().close()
        os._exit(0)
    os.waitpid(child, 0)
    emitters.current().close()
    points = [
        (point.value, point.step)
        for path in list_segments(tmp_path)
        for frame in SegmentReader(path).read()
        if isinstance(event := recognise(parse(frame.value)), events.MetricsLogged)
        for point in event.points
    ]
    assert sorted(points) == [(0.25, 1), (0.5, 0)]
