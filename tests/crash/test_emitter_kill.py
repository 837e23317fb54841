"""kill -9 of emitting processes: what was accepted is in the log, and every run ends in the end."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from headwater.emitter.adoption import adopt
from headwater.schemas.errors import Corrupt
from headwater.schemas.segment import Frame, SegmentReader, check, list_segments, read_seal
from tests.support.emitting import ID_BYTES
from tests.support.spool import Link, assert_unbroken, emission_of, log_of, read_all, types_of

ROOT = Path(__file__).parents[2]
LEAST_ACCEPTED = 1_000
KILLS = 25
DEEP_KILLS = 200


@dataclass(frozen=True, kw_only=True)
class Killed:
    """What a killed process had been told."""

    accepted: frozenset[str]


def start(log: Path, accepted: Path, seed: int, mode: str, segment_bytes: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.support.emitting"]
    arguments = [str(log), str(accepted), str(seed), mode, str(segment_bytes)]
    return subprocess.Popen([*command, *arguments], cwd=ROOT)


def wait_for(path: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 150
    while not path.exists() or path.stat().st_size < lines * ID_BYTES:
        assert process.poll() is None, "the child ended by itself"
        assert time.monotonic() < deadline, "the child emits too slowly"
        time.sleep(0.002)


def emit_until_killed(log: Path, accepted: Path, seed: int, *, mode: str, segment_bytes: int) -> Killed:
    process = start(log, accepted, seed, mode, segment_bytes)
    try:
        wait_for(accepted, LEAST_ACCEPTED, process)
        time.sleep(random.Random(seed).uniform(0, 0.05))
    finally:
        process.kill()
        process.wait()
    lines = accepted.read_bytes().split(b"\n")[:-1]
    return Killed(accepted=frozenset(line.decode() for line in lines))


def kill_many(tmp_path: Path, kills: int, *, mode: str, segment_bytes: int, seed: int) -> None:
    log = tmp_path / "log"
    killed = [
        emit_until_killed(log, tmp_path / f"{n}", seed + n, mode=mode, segment_bytes=segment_bytes)
        for n in range(kills)
    ]
    adopt(log)
    chains = log_of(log)
    everything = {link.event_id for links in chains.values() for link in links}
    for one in killed:
        assert len(one.accepted) >= LEAST_ACCEPTED
        assert one.accepted <= everything
    for links in chains.values():
        assert_unbroken(links)
    assert_every_run_ended_once([link for links in chains.values() for link in links])
    adoptions = [links for links in chains.values() if set(types_of(links)) == {"ABORT"}]
    assert len(chains) == 2 * kills
    assert len(adoptions) == kills
    assert all(check(path).digest_holds for path in list_segments(log))


def assert_every_run_ended_once(links: list[Link]) -> None:
    begun = Counter(link.document["run"]["runId"] for link in links if types_of([link]) == ["START"])
    ended = Counter(
        link.document["run"]["runId"] for link in links if types_of([link])[0] in ("COMPLETE", "ABORT")
    )
    assert ended == begun
    assert set(begun.values()) == {1}


@pytest.mark.parametrize(
    ("mode", "segment_bytes", "kills"),
    [("spool", 64 << 20, KILLS - 10), ("spool", 200_000, 10)],
    ids=["one segment", "many segments"],
)
def test_what_was_accepted_before_a_kill_is_in_the_log(
    tmp_path: Path, mode: str, segment_bytes: int, kills: int
) -> None:
    kill_many(tmp_path, kills, mode=mode, segment_bytes=segment_bytes, seed=7_000)


@pytest.mark.deep
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("segment_bytes", [64 << 20, 200_000])
def test_what_was_accepted_before_many_kills_is_in_the_log(tmp_path: Path, segment_bytes: int) -> None:
    kill_many(tmp_path, DEEP_KILLS, mode="spool", segment_bytes=segment_bytes, seed=90_000)


@pytest.mark.deep
def test_mode_fsync_keeps_what_it_accepted_too(tmp_path: Path) -> None:
    kill_many(tmp_path, 5, mode="spool+fsync", segment_bytes=200_000, seed=50_000)


def test_mode_memory_loses_only_the_end_of_the_chain(tmp_path: Path) -> None:
    log = tmp_path / "log"
    emit_until_killed(log, tmp_path / "ids", 3, mode="memory", segment_bytes=64 << 20)
    for links in log_of(log).values():
        assert_unbroken(links)


def test_a_reader_that_follows_a_live_writer_sees_each_frame_once_and_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(log, tmp_path / "ids", 11, "spool", 300_000)
    try:
        wait_for(tmp_path / "ids", 1, process)
        followed = _follow(log, seconds=1.5)
    finally:
        process.kill()
        process.wait()
    adopt(log)
    for path, frames in followed.items():
        assert frames == read_all(path)[: len(frames)]
    assert sum(map(len, followed.values())) > 1_000
    assert len(followed) > 2


def _follow(log: Path, *, seconds: float) -> dict[Path, list[Frame]]:
    """Read all segments again and again, by readers that stay open."""
    readers: dict[Path, SegmentReader] = {}
    followed: dict[Path, list[Frame]] = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for path in list_segments(log):
            reader = readers.setdefault(path, SegmentReader(path)) if path not in readers else readers[path]
            followed.setdefault(path, []).extend(reader.read(max_frames=50))
    for reader in readers.values():
        reader.close()
    return followed


def test_a_damaged_segment_of_a_killed_process_is_left_and_the_others_are_adopted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    emit_until_killed(log, tmp_path / "0", 21, mode="spool", segment_bytes=64 << 20)
    (damaged,) = list_segments(log)
    data = bytearray(damaged.read_bytes())
    data[5_000] ^= 1
    damaged.write_bytes(data)
    emit_until_killed(log, tmp_path / "1", 22, mode="spool", segment_bytes=64 << 20)
    adopt(log)
    assert read_seal(damaged) is None
    assert damaged.read_bytes() == bytes(data)
    with pytest.raises(Corrupt):
        read_all(damaged)
    (other,) = (path for path in list_segments(log) if path != damaged)
    assert check(other).digest_holds
    assert emission_of(log_of_one(other)).get("final")


def log_of_one(path: Path) -> dict[str, object]:
    import orjson

    document: dict[str, object] = orjson.loads(read_all(path)[-1].value)
    return document
