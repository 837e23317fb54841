"""A consumer that is killed anywhere goes on as if it had not been: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from headwater.consumers import tables
from headwater.consumers.digest import digest
from headwater.consumers.log import SegmentLog
from headwater.consumers.replaying import replay
from headwater.consumers.store import open_store
from tests.support.logs import run_event, write_segment

# Small batches, so that there are many places between durable effects to be killed at.
CONSUMER = """
import sys
from headwater.consumers.log import SegmentLog
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
with open_store(sys.argv[2], create=True) as store, SegmentLog(sys.argv[1]) as source:
    print("ready", flush=True)
    Runner(store, source, batch_records=20).run()
print("done", flush=True)
"""
BAD = 20


def _log(folder: Path, events: int) -> None:
    """Runs with START and COMPLETE in different segments, inputs bound to others, and a few bad records."""
    starts = [run_event(run, "START", at="2026-03-01T09:00:00Z") for run in range(events // 2)]
    ends = [run_event(run, inputs=[f"out-{run - 1}"]) for run in range(events // 2)]
    bad = [b'{"n": %d' % number for number in range(BAD)]
    write_segment(folder, [*starts, *bad])
    write_segment(folder, ends, sealed=True)


def _kill_often(log: Path, url: str, kills: int) -> None:
    chance = random.Random(len(url) + kills)
    survived = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", CONSUMER, str(log), url], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if survived < kills:
            time.sleep(chance.uniform(0.005, 0.12))
            os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read()
        process.stdout.close()
        process.wait()
        if process.returncode == 0:
            assert rest == "done\n"
            assert survived == kills, "the log was too short to be killed so often"
            return
        assert process.returncode == -signal.SIGKILL
        survived += 1


def _check(log: Path, url: str, twin: str, events: int) -> None:
    with SegmentLog(log) as source, open_store(url) as store:
        replay(source, twin)
        with open_store(twin) as other:
            assert digest(store).root == digest(other).root
        p = tables.position.c
        with store.connecting() as connection:
            done = connection.execute(
                select(
                    func.sum(p.applied),
                    func.sum(p.duplicate),
                    func.sum(p.quarantined),
                    func.sum(p.next_offset),
                )
            ).one()
            parked = connection.execute(select(func.count()).select_from(tables.quarantine)).scalar_one()
        assert tuple(map(int, done)) == (events, 0, BAD, events + BAD)
        assert parked == BAD


@pytest.mark.parametrize(("database", "kills"), [("sqlite", 13), ("postgresql", 12)])
def test_twenty_five_killed_consumers_lose_and_double_nothing(
    database: str, kills: int, tmp_path: Path, store_urls: dict[str, str]
) -> None:
    _log(tmp_path / "log", 6_000)
    _kill_often(tmp_path / "log", store_urls[database], kills)
    _check(tmp_path / "log", store_urls[database], f"sqlite:///{tmp_path}/twin.db", 6_000)


@pytest.mark.deep
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_sixty_killed_consumers_lose_and_double_nothing(
    database: str, tmp_path: Path, store_urls: dict[str, str]
) -> None:
    _log(tmp_path / "log", 30_000)
    _kill_often(tmp_path / "log", store_urls[database], 60)
    _check(tmp_path / "log", store_urls[database], f"sqlite:///{tmp_path}/twin.db", 30_000)
