"""Workers that share a log out among themselves make the state that one of them would."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from headwater.consumers import workers
from headwater.consumers.digest import digest
from headwater.consumers.log import SegmentLog
from headwater.consumers.replaying import replay, verify
from headwater.consumers.runner import Progress
from headwater.consumers.store import open_store
from headwater.schemas.errors import Retryable
from tests.support.logs import run_event, write_segment


def _log(folder: Path, runs: int) -> None:
    """Every run's START, RUNNING and COMPLETE in different segments: workers meet on every run."""
    for kind, minute in (("START", 0), ("RUNNING", 1), ("COMPLETE", 2)):
        for part in range(2):
            at = f"2026-03-01T10:{minute:02d}:00Z"
            events = [run_event(run, kind, at=at, inputs=[f"out-{run - 1}"]) for run in range(part, runs, 2)]
            write_segment(folder, [*events, b"{"], sealed=True)


def test_two_workers_that_meet_on_every_run_agree_with_one(
    tmp_path: Path, store_urls: dict[str, str]
) -> None:
    _log(tmp_path / "log", 600)
    twin = f"sqlite:///{tmp_path}/twin.db"
    with SegmentLog(tmp_path / "log") as source:
        replay(source, twin)
        with open_store(twin) as other:
            expected = digest(other).root
        for url in store_urls.values():
            open_store(url, create=True).close()
            progress = workers.consume(url, str(tmp_path / "log"), workers=2)
            assert (progress.applied, progress.duplicate, progress.quarantined) == (1800, 0, 6)
            with open_store(url) as store:
                assert digest(store).root == expected
                assert verify(store, source).equal


def test_damage_that_a_worker_meets_is_told_by_all(tmp_path: Path, sqlite_url: str) -> None:
    _log(tmp_path / "log", 40)
    damaged = sorted((tmp_path / "log").iterdir())[0]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    open_store(sqlite_url).close()
    progress = workers.consume(sqlite_url, str(tmp_path / "log"), workers=2)
    (damage,) = progress.damaged.values()
    assert damage.place == str(damaged)
    assert progress.applied >= 100


def test_a_worker_that_is_killed_is_noticed_also_while_the_other_goes_on(
    tmp_path: Path, sqlite_url: str
) -> None:
    _log(tmp_path / "log", 10)
    open_store(sqlite_url).close()

    def kill_one(progress: Progress) -> None:
        children = multiprocessing.active_children()
        if progress.applied == 30 and children:
            children[0].kill()

    with pytest.raises(Retryable, match="exit code -9"):
        workers.consume(sqlite_url, str(tmp_path / "log"), workers=2, follow=True, report=kill_one)
    assert multiprocessing.active_children() == []


def test_a_worker_that_cannot_work_ends_all_with_its_error(tmp_path: Path, sqlite_url: str) -> None:
    _log(tmp_path / "log", 10)
    open_store(sqlite_url).close()
    with pytest.raises(Retryable, match="no log at"):
        workers.consume(sqlite_url, str(tmp_path / "elsewhere"), workers=2)
