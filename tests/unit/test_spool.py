"""What a spool accepted is in its segments, whole and in order; what it refused is not, whatever fails."""

from __future__ import annotations

import errno
import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headwater.emitter.settings import SpoolLimits
from headwater.emitter.sinks import SinkClosed, SpoolFull, Unwritable
from headwater.emitter.spool import Spool
from headwater.emitter.writer import OPEN_FOLDER
from headwater.schemas.ids import uuid7
from headwater.schemas.segment import HEADER_BYTES, SEAL_BYTES, check, list_segments, read_seal
from tests.support.spool import (
    BROKEN_DISK,
    NO_SPACE,
    READ_ONLY,
    START_US,
    FailingFiles,
    read_all,
)

Opened = Callable[..., Spool]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def opened(directory: Path) -> Iterator[Opened]:
    """Opens spools with a clock that ticks a microsecond a call, and closes them at the end."""
    spools: list[Spool] = []
    clock = itertools.count(START_US)

    def open_one(files: FailingFiles | None = None, *, fsync: bool = False, **limits: int) -> Spool:
        spool = Spool(
            directory,
            emitter_id=uuid7(START_US),
            limits=SpoolLimits(**limits) if limits else None,
            fsync=fsync,
            files=files,
            now=lambda: next(clock),
        )
        spools.append(spool)
        return spool

    yield open_one
    for spool in spools:
        spool.close()


def values_in(directory: Path) -> list[bytes]:
    return [frame.value for path in list_segments(directory) for frame in read_all(path)]


def refusals(spool: Spool, values: list[bytes]) -> list[bytes]:
    """Append all of them; the ones that were accepted."""
    accepted = []
    for value in values:
        try:
            spool.append(value)
        except (Unwritable, SpoolFull):
            continue
        accepted.append(value)
    return accepted


def test_an_accepted_event_is_readable_before_append_returns(opened: Opened, directory: Path) -> None:
    spool = opened()
    for number in range(5):
        position = spool.append(b"%d" % number)
        (path,) = list_segments(directory)
        frame = read_all(path)[-1]
        assert (frame.value, frame.offset, frame.append_time) == (
            b"%d" % number,
            number,
            position.append_time,
        )
        assert (position.partition, position.offset) == (path.stem, number)


def test_nothing_is_created_before_the_first_event(opened: Opened, directory: Path) -> None:
    opened().close()
    assert not directory.exists()


def test_close_seals_and_unlocks_and_may_be_called_twice(opened: Opened, directory: Path) -> None:
    spool = opened()
    spool.append(b"x")
    assert list((directory / OPEN_FOLDER).iterdir())
    spool.close()
    spool.close()
    (path,) = list_segments(directory)
    assert check(path).digest_holds
    assert not list((directory / OPEN_FOLDER).iterdir())
    with pytest.raises(SinkClosed):
        spool.append(b"late")


def test_a_full_segment_is_followed_by_the_next_and_sealed(opened: Opened, directory: Path) -> None:
    spool = opened(segment_bytes=4096, max_bytes=0)
    values = [b"%04d" % number + b"x" * 500 for number in range(40)]
    positions = [spool.append(value) for value in values]
    spool.flush()
    paths = list_segments(directory)
    assert len(paths) == 6
    assert values_in(directory) == values
    assert [read_seal(path) is not None for path in paths] == [True] * 5 + [False]
    assert all(path.stat().st_size <= 4096 + SEAL_BYTES for path in paths)
    assert [p.partition for p in positions] == sorted(p.partition for p in positions)


def test_an_event_longer_than_a_segment_gets_one_of_its_own(opened: Opened, directory: Path) -> None:
    spool = opened(segment_bytes=4096, max_bytes=0)
    values = [b"a", b"b" * 10_000, b"c"]
    assert refusals(spool, values) == values
    spool.close()
    assert values_in(directory) == values
    assert len(list_segments(directory)) == 3


def test_segments_of_one_spool_are_listed_in_their_order_when_the_clock_steps_back(directory: Path) -> None:
    clock = iter(range(START_US, 0, -60_000_000))
    spool = Spool(
        directory,
        emitter_id=uuid7(START_US),
        limits=SpoolLimits(segment_bytes=4096, max_bytes=0),
        now=lambda: next(clock),
    )
    values = [b"%04d" % number + b"x" * 3000 for number in range(9)]
    assert refusals(spool, values) == values
    spool.close()
    assert values_in(directory) == values


class TestLimit:
    def test_a_spool_at_its_limit_refuses_and_stays_below_it(self, opened: Opened, directory: Path) -> None:
        spool = opened(segment_bytes=4096, max_bytes=20_000)
        values = [b"%04d" % number + b"x" * 500 for number in range(60)]
        accepted = refusals(spool, values)
        assert 30 < len(accepted) < 40
        assert accepted == values[: len(accepted)]
        spool.close()
        assert values_in(directory) == accepted
        assert sum(path.stat().st_size for path in list_segments(directory)) <= 20_000

    def test_the_refusal_names_the_folder_the_limit_and_the_remedy(self, opened: Opened) -> None:
        spool = opened(segment_bytes=4096, max_bytes=4096)
        with pytest.raises(SpoolFull, match=r"4096.*spool\.max_bytes"):
            spool.append(b"x" * 5000)

    def test_segments_of_other_processes_count(self, opened: Opened) -> None:
        other = opened()
        other.append(b"x" * 10_000)
        with pytest.raises(SpoolFull):
            opened(max_bytes=10_500, segment_bytes=4096).append(b"y" * 500)

    def test_room_that_was_made_is_used_again(self, directory: Path) -> None:
        clock = itertools.count(START_US, 600_000)
        spool = Spool(
            directory,
            emitter_id=uuid7(START_US),
            limits=SpoolLimits(segment_bytes=4096, max_bytes=12_000),
            now=lambda: next(clock),
        )
        accepted = refusals(spool, [b"x" * 900] * 30)
        assert len(accepted) < 30
        spool.flush()
        list_segments(directory)[0].unlink()
        assert len(refusals(spool, [b"y" * 900] * 3)) == 3
        spool.close()


class TestShortWrites:
    @pytest.mark.parametrize("taken", [0, 1, 15, 16, 17, 500])
    def test_a_short_write_is_taken_back_and_the_next_event_follows_the_last_whole_one(
        self, opened: Opened, directory: Path, taken: int
    ) -> None:
        spool = opened(FailingFiles(short={2: taken}))
        values = [b"%d" % number * 600 for number in range(4)]
        assert refusals(spool, values) == [values[0], *values[2:]]
        spool.close()
        assert values_in(directory) == [values[0], *values[2:]]
        assert len(list_segments(directory)) == 1

    def test_when_it_cannot_be_taken_back_the_segment_takes_nothing_more(
        self, opened: Opened, directory: Path
    ) -> None:
        files = FailingFiles(short={2: 100}, fail={"truncate": [BROKEN_DISK]})
        spool = opened(files)
        values = [b"%d" % number * 600 for number in range(4)]
        assert refusals(spool, values) == [values[0], *values[2:]]
        first, second = list_segments(directory)
        assert [frame.value for frame in read_all(first)] == values[:1]
        assert [frame.value for frame in read_all(second)] == values[2:]
        spool.close()
        assert read_seal(first) is None
        assert read_seal(second) is not None

    @pytest.mark.parametrize("code", [NO_SPACE, BROKEN_DISK, READ_ONLY, errno.EDQUOT, errno.EFBIG])
    def test_a_failing_write_refuses_that_event_alone(
        self, opened: Opened, directory: Path, code: int
    ) -> None:
        spool = opened(FailingFiles(fail={"write": [0, 0, code, 0]}))
        assert refusals(spool, [b"0", b"1", b"2"]) == [b"0", b"2"]
        spool.close()
        assert values_in(directory) == [b"0", b"2"]

    def test_a_header_that_does_not_fit_leaves_no_file_behind(self, opened: Opened, directory: Path) -> None:
        spool = opened(FailingFiles(fail={"write": [NO_SPACE, 0]}))
        assert refusals(spool, [b"0", b"1"]) == [b"1"]
        spool.close()
        assert len([path for path in directory.iterdir() if path.is_file()]) == 1
        assert values_in(directory) == [b"1"]

    @pytest.mark.parametrize("operation", ["create", "rename"])
    def test_a_segment_that_cannot_be_begun_refuses_until_it_can(
        self, opened: Opened, directory: Path, operation: str
    ) -> None:
        spool = opened(FailingFiles(fail={operation: [READ_ONLY, READ_ONLY, 0]}))
        assert refusals(spool, [b"0", b"1", b"2"]) == [b"2"]
        spool.close()
        assert values_in(directory) == [b"2"]


@dataclass
class TimedFiles(FailingFiles):
    """Files that note when each sync was asked for."""

    synced_at: list[float] = field(default_factory=list)

    def sync(self, file: int) -> None:
        self.synced_at.append(time.monotonic())
        super().sync(file)


class TestDurability:
    def test_mode_fsync_syncs_each_event_before_it_is_accepted(self, opened: Opened) -> None:
        files = FailingFiles()
        spool = opened(files, fsync=True)
        for number in range(3):
            spool.append(b"x")
            assert files.calls.count("sync") == number + 1

    def test_mode_spool_syncs_in_the_background_half_a_second_after_the_first_event(
        self, opened: Opened
    ) -> None:
        files = TimedFiles()
        spool = opened(files)
        delays = []
        for number in range(3):
            begun = time.monotonic()
            for _ in range(100):
                spool.append(b"x")
            assert len(files.synced_at) == number
            assert _within(5.0, lambda expected=number + 1: len(files.synced_at) == expected)  # type: ignore[misc]
            delays.append(files.synced_at[-1] - begun)
        # The least of three: on a busy machine a thread may be woken late, but not every time.
        assert min(delays) <= 0.75

    def test_an_idle_spool_does_not_sync(self, opened: Opened) -> None:
        files = FailingFiles()
        spool = opened(files)
        spool.append(b"x")
        assert _within(2.0, lambda: files.calls.count("sync") == 1)
        assert not _within(1.2, lambda: files.calls.count("sync") > 1)

    def test_the_name_of_a_segment_is_durable_before_its_first_event_is_accepted(
        self, opened: Opened, directory: Path
    ) -> None:
        files = FailingFiles()
        spool = opened(files, fsync=True)
        spool.append(b"0")
        # Of the segment, and of the folder that was made for it.
        assert files.synced == [directory, directory.parent]
        assert files.calls.index("rename") < files.calls.index("sync_folder")
        spool.append(b"1")
        assert len(files.synced) == 2

    def test_the_name_of_a_segment_is_durable_after_a_flush_or_a_seal(
        self, opened: Opened, directory: Path
    ) -> None:
        directory.mkdir()
        flushed, sealed = FailingFiles(), FailingFiles()
        spool = opened(flushed)
        spool.append(b"0")
        spool.flush()
        assert flushed.synced == [directory]
        spool = opened(sealed)
        spool.append(b"0")
        spool.close()
        assert sealed.synced == [directory]

    def test_an_event_whose_segment_may_lose_its_name_is_refused_until_it_cannot(
        self, opened: Opened, directory: Path
    ) -> None:
        spool = opened(FailingFiles(fail={"sync_folder": [BROKEN_DISK, 0]}), fsync=True)
        assert refusals(spool, [b"0", b"1", b"2"]) == [b"1", b"2"]
        spool.close()
        assert values_in(directory) == [b"1", b"2"]

    def test_a_failing_sync_refuses_the_event_and_leaves_the_segment(
        self, opened: Opened, directory: Path
    ) -> None:
        spool = opened(FailingFiles(fail={"sync": [0, BROKEN_DISK, 0]}), fsync=True)
        assert refusals(spool, [b"0", b"1", b"2"]) == [b"0", b"2"]
        spool.close()
        first, second = list_segments(directory)
        assert [frame.value for frame in read_all(first)] == [b"0"]
        assert [frame.value for frame in read_all(second)] == [b"2"]

    def test_a_failing_background_sync_is_told_and_the_next_event_begins_a_segment(
        self, opened: Opened, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        spool = opened(FailingFiles(fail={"sync": [BROKEN_DISK, 0]}))
        spool.append(b"0")
        spool.flush()
        spool.append(b"1")
        assert len(list_segments(directory)) == 2
        assert "flush_failed: %s" in [record.msg for record in caplog.records]
        assert values_in(directory) == [b"0", b"1"]

    def test_a_segment_that_cannot_be_sealed_stays_readable_for_an_adopter(
        self, opened: Opened, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        spool = opened(FailingFiles(fail={"write": [0, 0, NO_SPACE]}))
        spool.append(b"0")
        spool.close()
        (path,) = list_segments(directory)
        assert read_seal(path) is None
        assert values_in(directory) == [b"0"]
        assert list((directory / OPEN_FOLDER).iterdir())
        assert any("segment_not_sealed" in record.msg for record in caplog.records)


class TestFolder:
    def test_a_deleted_folder_comes_back_with_every_event(
        self, opened: Opened, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        spool = opened()
        spool.append(b"0")
        shutil.rmtree(directory)
        spool.append(b"1")
        spool.flush()
        spool.append(b"2")
        spool.close()
        assert values_in(directory) == [b"0", b"1", b"2"]
        assert all(check(path).digest_holds for path in list_segments(directory))
        assert any("segment_restored" in record.msg for record in caplog.records)

    @pytest.mark.parametrize("fsync", [False, True])
    def test_a_restore_that_fails_is_tried_again_by_itself_and_told_once(
        self, opened: Opened, directory: Path, caplog: pytest.LogCaptureFixture, fsync: bool
    ) -> None:
        files = FailingFiles(fail={"rename": [0, NO_SPACE, NO_SPACE, 0]})
        spool = opened(files, fsync=fsync)
        spool.append(b"0")
        shutil.rmtree(directory)
        spool.append(b"1")
        told = ["segment_not_restored", "segment_restored"]
        assert _within(6.0, lambda: [record.msg.partition(":")[0] for record in caplog.records] == told)
        assert values_in(directory) == [b"0", b"1"]
        # And what is appended now is made durable again.
        assert _within(2.0, lambda: files.calls[-1] in ("sync", "sync_folder"))
        before = files.calls.count("sync")
        spool.append(b"2")
        assert _within(3.0, lambda: files.calls.count("sync") > before)

    def test_a_restored_segment_is_durable_before_it_has_its_name(
        self, opened: Opened, directory: Path
    ) -> None:
        files = FailingFiles()
        spool = opened(files, fsync=True)
        spool.append(b"0")
        shutil.rmtree(directory)
        files.calls.clear()
        spool.flush()
        relevant = [call for call in files.calls if call in ("sync", "rename", "sync_folder")]
        assert relevant[:3] == ["sync", "rename", "sync_folder"]

    def test_a_folder_deleted_right_before_the_end_comes_back_too(
        self, opened: Opened, directory: Path
    ) -> None:
        spool = opened()
        spool.append(b"0")
        shutil.rmtree(directory)
        spool.close()
        assert values_in(directory) == [b"0"]

    def test_a_file_where_the_folder_should_be_refuses(self, opened: Opened, directory: Path) -> None:
        directory.touch()
        with pytest.raises(Unwritable):
            opened().append(b"x")


def test_two_threads_interleave_whole_frames_only(opened: Opened, directory: Path) -> None:
    spool = opened(segment_bytes=65_536, max_bytes=0)
    count = 2_000
    values = {who: [b"%s-%06d-" % (who, n) + who * (n % 300) for n in range(count)] for who in (b"a", b"b")}
    threads = [threading.Thread(target=refusals, args=(spool, values[who])) for who in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spool.close()
    found = values_in(directory)
    assert len(found) == 2 * count
    for who in values:
        assert [value for value in found if value.startswith(who)] == values[who]
    assert all(check(path).digest_holds for path in list_segments(directory))


def test_an_interruption_between_the_write_and_our_books_keeps_them_true(directory: Path) -> None:
    class Interrupting(FailingFiles):
        interrupt = False

        def write(self, file: int, data: bytes) -> int:  # type: ignore[override]
            written = super().write(file, data)
            if self.interrupt:
                self.interrupt = False
                raise KeyboardInterrupt
            return written

    files = Interrupting()
    spool = Spool(directory, emitter_id=uuid7(START_US), files=files)
    spool.append(b"0")
    files.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        spool.append(b"1")
    assert spool.kept == 2
    assert spool.append(b"2").offset == 2
    spool.close()
    (path,) = list_segments(directory)
    assert values_in(directory) == [b"0", b"1", b"2"]
    assert check(path).digest_holds


def test_an_empty_segment_is_sealed_too(directory: Path) -> None:
    spool = Spool(directory, emitter_id=uuid7(START_US), files=FailingFiles(fail={"write": [0, NO_SPACE, 0]}))
    with pytest.raises(Unwritable):
        spool.append(b"0")
    spool.close()
    (path,) = list_segments(directory)
    assert path.stat().st_size == HEADER_BYTES + SEAL_BYTES
    assert check(path).digest_holds


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    waiting = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        waiting.wait(0.02)
    return condition()
