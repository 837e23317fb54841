"""A full disk, a limit of file sizes, a read-only folder: refused, counted, and good again afterwards."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.emitter.adoption import adopt
from headwater.emitter.emitter import Emitter, from_settings
from headwater.emitter.settings import Settings, SpoolLimits
from headwater.schemas.segment import check, list_segments
from tests.support.spool import created, event_ids, log_of, run_named, started

# Forking beside threads of other tests is meant: the child only emits and leaves.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

TRAIN = run_named("train")
PATIENCE = 5_000


def emit_until_refused(emitter: Emitter) -> set[str]:
    accepted: set[str] = set()
    for number in range(PATIENCE):
        receipt = emitter.emit(created(TRAIN, number, filler="x" * (number * 37 % 1500)))
        if receipt is None:
            return accepted
        accepted.add(receipt.event_id)
    pytest.fail("nothing was ever refused")


@pytest.mark.parametrize("segment_bytes", [64 << 20, 100_000])
def test_a_full_disk_refuses_and_is_used_again_once_there_is_room(
    small_disk: Path, segment_bytes: int
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 500_000)
    log = small_disk / "log"
    emitter = from_settings(Settings(log=log, spool=SpoolLimits(segment_bytes=segment_bytes, max_bytes=0)))
    emitter.emit(started(TRAIN))
    accepted = emit_until_refused(emitter)
    assert emitter.emit(created(TRAIN, 1, filler="x" * 100_000)) is None
    assert accepted <= event_ids(log)
    ballast.unlink()
    receipt = emitter.emit(created(TRAIN, PATIENCE))
    assert receipt is not None
    emitter.close()
    adopt(log)
    (links,) = log_of(log).values()
    assert accepted | {receipt.event_id} <= {link.event_id for link in links}
    # The refused ones show as a gap in the sequence and nowhere else.
    assert [link.previous for link in links[1:]] == [link.event_id for link in links[:-1]]
    gap = emitter.stats.refused
    assert gap >= 2
    assert links[-1].sequence + 1 == len(links) + gap
    assert all(check(path).digest_holds for path in list_segments(log))


def in_child(work: Callable[[], bool]) -> bool:
    """Whether `work` was true in a forked process."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


def test_a_limit_of_file_sizes_refuses_like_a_full_disk(tmp_path: Path) -> None:
    def work() -> bool:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        emitter = from_settings(Settings(log=tmp_path))
        emitter.emit(started(TRAIN))
        accepted = emit_until_refused(emitter)
        return accepted <= event_ids(tmp_path) and emitter.stats.reasons == {"Unwritable": 1}

    assert in_child(work)
    adopted = adopt(tmp_path)
    assert [one.aborted for one in adopted] == [(TRAIN.id,)]


def test_a_folder_that_may_not_be_written_refuses_every_event(tmp_path: Path) -> None:
    log = Path("/tmp") / f"headwater-read-only-{os.getpid()}"
    log.mkdir(mode=0o555)

    def work() -> bool:
        if os.geteuid() == 0:  # who may write anywhere
            os.setuid(65534)
        emitter = from_settings(Settings(log=log))
        refused = [emitter.emit(created(TRAIN, number)) is None for number in range(3)]
        emitter.close()
        return all(refused) and emitter.stats.reasons["Unwritable"] >= 3

    assert in_child(work)
    assert list(log.iterdir()) == []
    log.rmdir()
