"""What dead processes left is sealed once, with an ABORT for each run they left open, whoever does it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from headwater.emitter.adoption import REASON, Adopted, adopt, adopt_marked
from headwater.emitter.emitter import Emitter
from headwater.emitter.files import LocalFiles
from headwater.emitter.settings import Settings, SpoolLimits
from headwater.emitter.spool import Spool
from headwater.emitter.writer import OPEN_FOLDER
from headwater.schemas.events import Asset, AssetCreated, AssetRef, Event, Json, StepCompleted, StepStarted
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import recognise
from headwater.schemas.segment import check, encode_frame, list_segments, read_seal
from tests.support.spool import (
    BROKEN_DISK,
    NO_SPACE,
    START_US,
    Died,
    FailingFiles,
    Link,
    assert_unbroken,
    completed,
    created,
    emission_of,
    event_ids,
    log_of,
    read_all,
    run_named,
    started,
    types_of,
)

# Forking beside threads of other tests is meant: the child only emits and leaves.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

TRAIN, LOAD = run_named("train"), run_named("load")
ADOPTED_AT = START_US + 86_400_000_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log"


def leave_behind(directory: Path, events: list[Event], *, segment_bytes: int = 64 << 20) -> str:
    """As a process that emitted these events and was killed; its emitter id."""
    pid = os.fork()
    if pid == 0:
        emitter = _emitter(directory, segment_bytes)
        for event in events:
            emitter.emit(event)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    return list(log_of(directory))[-1]


def _emitter(directory: Path, segment_bytes: int = 64 << 20) -> Emitter:
    limits = SpoolLimits(segment_bytes=segment_bytes, max_bytes=0)
    return Emitter(
        Settings(log=directory, spool=limits),
        lambda emitter_id: Spool(directory, emitter_id=emitter_id, limits=limits),
    )


def adopt_now(directory: Path) -> list[Adopted]:
    return adopt(directory, now=lambda: ADOPTED_AT)


def aborts_in(directory: Path) -> list[Link]:
    return [link for links in log_of(directory).values() for link in links if types_of([link]) == ["ABORT"]]


def test_a_run_left_open_is_aborted_and_the_segment_sealed(directory: Path) -> None:
    dead = leave_behind(directory, [started(TRAIN), created(TRAIN, 1)])
    (adopted,) = adopt_now(directory)
    (path,) = list_segments(directory)
    assert (adopted.path, adopted.emitter_id, adopted.torn_bytes) == (path, dead, 0)
    assert adopted.aborted == (TRAIN.id,)
    assert adopted.frames == 3
    assert check(path).digest_holds
    assert not list((directory / OPEN_FOLDER).iterdir())
    event = recognise(parse(read_all(path)[-1].value))
    assert event is not None
    assert (event.adopted_from, event.reason, event.run) == (dead, REASON, TRAIN)  # type: ignore[union-attr]
    assert event.emission is not None
    assert event.emission.emitter_id != dead
    assert event.emission.final


def test_the_abort_happened_when_the_process_was_last_heard_and_is_known_since_adoption(
    directory: Path,
) -> None:
    leave_behind(directory, [started(TRAIN), created(TRAIN, 1)])
    adopt_now(directory)
    frames = read_all(list_segments(directory)[0])
    assert parse(frames[-1].value).time == frames[1].append_time
    assert frames[-1].append_time == ADOPTED_AT


def test_a_run_that_ended_is_not_aborted(directory: Path) -> None:
    leave_behind(directory, [started(TRAIN), started(LOAD), completed(TRAIN)])
    assert [adopted.aborted for adopted in adopt_now(directory)] == [(LOAD.id,)]


def test_a_run_whose_end_holds_what_utf_8_cannot_spell_ended(directory: Path) -> None:
    ended = StepCompleted(time=START_US, run=TRAIN, outputs=(AssetRef(namespace="n", name="\ud800"),))
    leave_behind(directory, [started(TRAIN), ended])
    assert [adopted.aborted for adopted in adopt_now(directory)] == [()]


def test_a_run_whose_start_holds_what_utf_8_cannot_spell_is_aborted(directory: Path) -> None:
    leave_behind(directory, [StepStarted(time=START_US, run=TRAIN, parameters={"note": "\udc00"})])
    assert [adopted.aborted for adopted in adopt_now(directory)] == [(TRAIN.id,)]


@pytest.mark.parametrize(
    "properties", [{"final": True}, {"headwater_adoption": "ABORT"}], ids=["final", "adoption"]
)
def test_what_a_user_passes_is_not_taken_for_what_the_emitter_says(
    directory: Path, properties: dict[str, Json]
) -> None:
    asset = Asset(namespace="n", name="a", version="v", type="Artifact", properties=properties)
    leave_behind(directory, [started(TRAIN), AssetCreated(time=START_US, run=TRAIN, asset=asset)])
    assert [adopted.aborted for adopted in adopt_now(directory)] == [(TRAIN.id,)]
    frames = read_all(list_segments(directory)[0])
    assert parse(frames[-1].value).time == frames[1].append_time


@pytest.mark.parametrize(
    "value",
    [
        *(b'["START"]', b'"START"', b'{"eventType":"START","run":{"runId":["x"]}}', b'"START" and no JSON'),
        *(b'{"eventType":"START","run":{"runId":"x"}}', b'{"eventType":"START","run":[]}'),
    ],
)
def test_what_is_no_event_of_ours_keeps_nothing_from_being_adopted(directory: Path, value: bytes) -> None:
    leave_behind(directory, [started(TRAIN)])
    (path,) = list_segments(directory)
    path.write_bytes(path.read_bytes() + encode_frame(value, START_US))
    assert [adopted.aborted for adopted in adopt_now(directory)] == [(TRAIN.id,)]


def test_a_run_that_another_process_started_is_not_aborted(directory: Path) -> None:
    leave_behind(directory, [created(TRAIN, 1)])
    assert [adopted.aborted for adopted in adopt_now(directory)] == [()]


def test_the_chains_of_the_dead_and_of_their_adoption_are_unbroken(directory: Path) -> None:
    dead = leave_behind(directory, [started(TRAIN), started(LOAD), created(LOAD, 1)])
    adopt_now(directory)
    chains = log_of(directory)
    assert len(chains) == 2
    for links in chains.values():
        assert_unbroken(links)
    assert [link.final for link in chains[dead]] == [False] * 3
    (adoption,) = (links for emitter, links in chains.items() if emitter != dead)
    assert [link.final for link in adoption] == [False, True]


def test_adopting_twice_changes_nothing(directory: Path) -> None:
    leave_behind(directory, [started(TRAIN)])
    assert len(adopt_now(directory)) == 1
    before = {path: path.read_bytes() for path in list_segments(directory)}
    assert adopt_now(directory) == []
    assert adopt_marked(directory) == []
    assert {path: path.read_bytes() for path in list_segments(directory)} == before


def test_runs_that_began_in_earlier_segments_are_found(directory: Path) -> None:
    events: list[Event] = [started(TRAIN), started(LOAD)]
    events += [created(LOAD, number, filler="x" * 2000) for number in range(20)]
    dead = leave_behind(directory, [*events, completed(LOAD)], segment_bytes=8192)
    assert len(list_segments(directory)) > 3
    aborted = [run for adopted in adopt_now(directory) for run in adopted.aborted]
    assert aborted == [TRAIN.id]
    assert all(check(path).digest_holds for path in list_segments(directory))
    assert_unbroken(log_of(directory)[dead])


def test_a_torn_tail_is_cut_off_and_nothing_else(directory: Path) -> None:
    leave_behind(directory, [started(TRAIN), created(TRAIN, 1)])
    (path,) = list_segments(directory)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    before = event_ids(directory)
    (adopted,) = adopt_now(directory)
    assert adopted.torn_bytes > 0
    assert before < event_ids(directory)
    assert read_all(path)[0].value == read_all_of(whole, directory)[0]
    assert adopted.aborted == (TRAIN.id,)


def read_all_of(data: bytes, directory: Path) -> list[bytes]:
    copy = directory / "copy"
    copy.write_bytes(data)
    return [frame.value for frame in read_all(copy)]


def test_damage_is_left_for_a_person(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    leave_behind(directory, [started(TRAIN), created(TRAIN, 1), created(TRAIN, 2)])
    (path,) = list_segments(directory)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    assert adopt_now(directory) == []
    assert path.read_bytes() == bytes(data)
    assert any("segment_not_adopted" in record.msg for record in caplog.records)


def test_a_segment_that_power_loss_left_without_header_is_set_aside(directory: Path) -> None:
    leave_behind(directory, [started(TRAIN)])
    (path,) = list_segments(directory)
    path.write_bytes(b"\0" * 300)
    assert adopt_marked(directory) == []
    assert list_segments(directory) == []
    assert path.with_name(f"{path.name}.damaged").read_bytes() == b"\0" * 300
    assert not list((directory / OPEN_FOLDER).iterdir())


def test_the_living_are_not_adopted(directory: Path) -> None:
    emitter = _emitter(directory)
    emitter.emit(started(TRAIN))
    assert adopt_now(directory) == []
    assert adopt_marked(directory) == []
    assert emitter.emit(created(TRAIN, 1)) is not None
    emitter.close()
    assert aborts_in(directory) == []


def test_a_living_emitter_whose_earlier_segment_was_left_unsealed_is_not_adopted(directory: Path) -> None:
    files = FailingFiles(short={2: 10}, fail={"truncate": [5]})
    emitter = Emitter(Settings(), lambda emitter_id: Spool(directory, emitter_id=emitter_id, files=files))
    emitter.emit(started(TRAIN))
    emitter.emit(created(TRAIN, 1))
    emitter.emit(created(TRAIN, 2))
    assert len(list_segments(directory)) == 2
    assert adopt_now(directory) == []
    emitter.emit(completed(TRAIN))
    emitter.close()
    assert [adopted.aborted for adopted in adopt_now(directory)] == [()]
    assert aborts_in(directory) == []
    assert all(check(path).digest_holds for path in list_segments(directory))


def test_a_living_emitter_that_can_begin_no_further_segment_is_not_adopted(directory: Path) -> None:
    files = FailingFiles(short={2: 10}, fail={"truncate": [BROKEN_DISK], "create": [0, 0, NO_SPACE]})
    emitter = Emitter(Settings(), lambda emitter_id: Spool(directory, emitter_id=emitter_id, files=files))
    emitter.emit(started(TRAIN))
    assert [emitter.emit(created(TRAIN, number)) for number in range(3)] == [None] * 3
    assert adopt_now(directory) == []
    emitter.close()
    assert [adopted.aborted for adopted in adopt_now(directory)] == [(TRAIN.id,)]


def test_a_missing_marker_hides_nothing_from_a_whole_adoption(directory: Path) -> None:
    leave_behind(directory, [started(TRAIN)])
    for marker in (directory / OPEN_FOLDER).iterdir():
        marker.unlink()
    assert adopt_marked(directory) == []
    assert len(adopt_now(directory)) == 1


def test_leftovers_of_a_segment_never_begun_are_removed(directory: Path) -> None:
    leave_behind(directory, [started(TRAIN)])
    (path,) = list_segments(directory)
    unbegun, young = directory / "0199-unbegun.new", directory / "0199-young.new"
    for leftover in (unbegun, young):
        leftover.write_bytes(b"HW")
    os.utime(unbegun, (0, 0))
    (directory / OPEN_FOLDER / "0199-nothing").touch()
    adopt_now(directory)
    assert sorted(entry.name for entry in directory.iterdir()) == sorted([path.name, young.name, OPEN_FOLDER])
    assert not list((directory / OPEN_FOLDER).iterdir())


def test_much_that_the_dead_left_does_not_hold_up_the_first_event(directory: Path) -> None:
    leave_behind(directory, [started(TRAIN)])
    leave_behind(directory, [started(LOAD), created(LOAD, 1, filler="x" * 100_000)])
    before = set(threading.enumerate())
    assert [adopted.aborted for adopted in adopt_marked(directory, max_bytes=50_000)] == [(TRAIN.id,)]
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert sorted(link.document["run"]["runId"] for link in aborts_in(directory)) == sorted(
        [TRAIN.id, LOAD.id]
    )


@dataclass
class CountedFiles(LocalFiles):
    """The operating system's files, with how many segments were open at once at most."""

    open_now: int = 0
    most: int = 0

    def open(self, path: Path) -> int:
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        return super().open(path)

    def close(self, file: int) -> None:
        self.open_now -= 1
        super().close(file)


def test_however_many_died_their_segments_are_opened_one_emitter_at_a_time(directory: Path) -> None:
    for number in range(6):
        leave_behind(directory, [started(run_named("train", number))])
    files = CountedFiles()
    assert len(adopt(directory, files=files)) == 6
    assert (files.most, files.open_now) == (1, 0)


def test_what_the_first_event_has_no_time_for_is_not_even_opened(directory: Path) -> None:
    for number in range(3):
        leave_behind(directory, [started(run_named("train", number))])
    files = CountedFiles()
    before = set(threading.enumerate())
    assert adopt_marked(directory, max_bytes=0, files=files) == []
    assert files.most == 0
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert len(aborts_in(directory)) == 3


def test_a_segment_that_is_begun_while_leftovers_are_looked_at_stops_nothing(directory: Path) -> None:
    leave_behind(directory, [started(TRAIN)])
    # Listed and gone at the next look, as a file that has just been renamed.
    (directory / "0199-renamed.new").symlink_to(directory / "nowhere")
    assert [adopted.aborted for adopted in adopt_now(directory)] == [(TRAIN.id,)]


def test_an_absent_folder_has_nothing_to_adopt(directory: Path) -> None:
    assert adopt(directory) == []
    assert adopt_marked(directory) == []


def test_an_adopter_that_dies_anywhere_is_continued_to_the_same_events(directory: Path) -> None:
    leave_behind(directory, [started(TRAIN), started(LOAD), created(LOAD, 1)])
    (path,) = list_segments(directory)
    marker = directory / OPEN_FOLDER / path.stem
    left = path.read_bytes() + b"torn"
    path.write_bytes(left)
    adopt_now(directory)
    expected = path.read_bytes()

    for die_at in range(100):
        path.write_bytes(left)
        marker.touch()
        files = FailingFiles(die_at=die_at)
        try:
            adopt(directory, files=files, now=lambda: ADOPTED_AT)
        except Died:
            adopt_now(directory)
            assert path.read_bytes() == expected, f"died at call {die_at}: {files.calls}"
            assert not marker.exists()
        else:
            break
    assert die_at > 5


def test_an_adopter_that_writes_half_a_frame_is_continued_to_the_same_events(directory: Path) -> None:
    leave_behind(directory, [started(TRAIN), started(LOAD)])
    (path,) = list_segments(directory)
    left = path.read_bytes()
    adopt_now(directory)
    expected = path.read_bytes()
    for cut in [*range(len(left), len(expected), 61), len(expected) - 1]:
        path.write_bytes(expected[:cut])
        assert len(adopt_now(directory)) == 1
        assert path.read_bytes() == expected


def test_two_adopters_at_once_write_each_abort_once(directory: Path) -> None:
    for number in range(20):
        leave_behind(directory, [started(run_named("train", number))])
    found: list[list[Adopted]] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        found.append(adopt_now(directory))

    together(4, work)
    adopt_now(directory)
    assert len(aborts_in(directory)) == 20
    assert len({link.event_id for link in aborts_in(directory)}) == 20
    assert all(read_seal(path) is not None for path in list_segments(directory))
    assert sum(len(adopted) for adopted in found) <= 20


def together(count: int, work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_the_first_event_of_a_process_adopts_and_can_be_told_not_to(directory: Path) -> None:
    from headwater.emitter.emitter import from_settings

    leave_behind(directory, [started(TRAIN)])
    quiet = from_settings(Settings(log=directory, adopt=False))
    quiet.emit(started(LOAD))
    assert aborts_in(directory) == []
    emitter = from_settings(Settings(log=directory))
    emitter.emit(started(LOAD))
    assert [emission_of(link.document)["sequence"] for link in aborts_in(directory)] == [0]
    quiet.close()
    emitter.close()
