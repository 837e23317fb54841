"""What becomes of the segments of processes that died.

A segment that is neither sealed nor locked belongs to a dead process. Adopting it, under
its lock: cut off the torn tail, append `RunAborted` for each run that its emitter started
and did not end, seal. Everything appended is a function of what the dead process left (no
clock, no id of the adopter) but the append time, so an adopter that dies half-way is
continued by the next one to the same events, and each ABORT is in the log once.

| crash after | what remains | who repairs |
|---|---|---|
| cutting the tail | a segment without seal | the next adopter |
| some of the ABORT events | the same; those events count as written | the next adopter writes the others |
| the seal | a marker in `open/` of a sealed segment | the next adopter removes the marker |

Damage before the end is never touched: the segment is reported and left for a person.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from headwater.emitter.acks import ACK_SUFFIX, acknowledge, acknowledged
from headwater.emitter.files import FileOperations, LocalFiles
from headwater.emitter.writer import OPEN_FOLDER, UNBEGUN_SUFFIX, created_us, now_us, write_all
from headwater.schemas import jsontext
from headwater.schemas.errors import Corrupt, HeadwaterError, Misconfigured, Retryable, Unparseable
from headwater.schemas.events import Emission, PipelineStarted, RunAborted, StepStarted
from headwater.schemas.ids import hash128
from headwater.schemas.openlineage import parse
from headwater.schemas.records import says_running
from headwater.schemas.rendering import encode, recognise
from headwater.schemas.segment import (
    SUFFIX,
    Frame,
    Seal,
    SegmentReader,
    encode_frame,
    encode_seal,
    list_segments,
    read_seal,
    sha256_until,
)

log = logging.getLogger("headwater.emitter")

FIRST_EVENT_DEADLINE_S = 0.5
FIRST_EVENT_BYTES = 64 << 20
UNBEGUN_AGE_S = 60.0
_CHANGES = (b'"START"', b'"COMPLETE"', b'"FAIL"', b'"ABORT"')
_live: weakref.WeakSet[_Locks] = weakref.WeakSet()
REASON = "the process ended without closing its runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A dead process's segment was sealed; `aborted` are the ids of the runs that it had left open."""

    path: Path
    segment_id: str
    emitter_id: str
    frames: int
    torn_bytes: int
    aborted: tuple[str, ...]


def adopt(
    directory: Path, *, files: FileOperations | None = None, now: Callable[[], int] = now_us
) -> list[Adopted]:
    """Adopt every segment of a dead process in `directory`, also those whose marker is missing.

    Safe beside living emitters and other adopters; what is damaged is logged and left.
    """
    operations = files or LocalFiles()
    unsealed = [path for path in list_segments(directory) if _is_unsealed(path)]
    _marked(directory, operations)
    _discard_unbegun(directory, operations)
    return _adopt_all(directory, unsealed, operations, now)[0]


def adopt_marked(
    directory: Path,
    *,
    max_bytes: int = FIRST_EVENT_BYTES,
    files: FileOperations | None = None,
    now: Callable[[], int] = now_us,
) -> list[Adopted]:
    """As `adopt`, bounded and never raising: what an emitter does at its first event.

    Looks only at segments with a marker. Adopts at once what is little (`max_bytes` in all,
    half a second), and leaves the rest to a thread: a process that lives long enough finishes it.
    """
    operations = files or LocalFiles()
    try:
        unsealed = _marked(directory, operations)
        adopted, finished = _adopt_all(directory, unsealed, operations, now, _Budget(max_bytes))
        if not finished:
            threading.Thread(target=adopt, args=(directory,), name="headwater-adopt", daemon=True).start()
        return adopted
    except Exception:
        # Whatever the dead left must not touch the event that the living one has just emitted.
        log.exception("adoption_failed", extra={"directory": str(directory)})
        return []


def _marked(directory: Path, files: FileOperations) -> list[Path]:
    """The unsealed segments that markers name; a marker of nothing, or of a sealed segment, is removed."""
    try:
        names = sorted(os.listdir(directory / OPEN_FOLDER))
    except FileNotFoundError:
        return []
    unsealed = []
    for name in names:
        path = directory / f"{name}{SUFFIX}"
        if _is_unsealed(path):
            unsealed.append(path)
        elif not path.with_suffix(UNBEGUN_SUFFIX).exists() and not _is_unsealed(path):
            # Looked at twice, since a segment being begun changes its name between two looks.
            files.remove(directory / OPEN_FOLDER / name)
    return unsealed


def _is_unsealed(path: Path) -> bool:
    try:
        return read_seal(path) is None
    except FileNotFoundError:
        return False


class _Budget:
    """How much may be read from now on, and until when a next emitter may be begun with."""

    def __init__(self, max_bytes: int) -> None:
        self._bytes = max_bytes
        self._until = time.monotonic() + FIRST_EVENT_DEADLINE_S

    def allows(self, paths: list[Path]) -> bool:
        self._bytes -= sum(_size_of(path) for path in paths)
        return self._bytes >= 0 and time.monotonic() < self._until


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _adopt_all(
    directory: Path,
    unsealed: list[Path],
    files: FileOperations,
    now: Callable[[], int],
    budget: _Budget | None = None,
) -> tuple[list[Adopted], bool]:
    """What was adopted, and whether that is all there was within the budget.

    One emitter after the other, so that only the segments of one are open and locked at a time.
    """
    adopted: list[Adopted] = []
    headers = _Headers(directory)
    for emitter_id, paths in _by_emitter(unsealed, headers, files).items():
        segments = headers.segments_of(emitter_id)
        if budget is not None and not budget.allows(segments):
            return adopted, False
        adopted += _adopt_emitter(emitter_id, segments, paths, files, now)
    return adopted, True


class _Locks:
    """The locked files of one emitter; all are given back at the end, and by a forked child at once."""

    def __init__(self, files: FileOperations) -> None:
        self.files = files
        self.open: dict[Path, int] = {}
        _live.add(self)

    def __enter__(self) -> _Locks:
        return self

    def __exit__(self, *_: object) -> None:
        for path in list(self.open):
            self.release(path)

    def take(self, path: Path) -> bool:
        """Whether the segment is ours now: nobody alive holds it, and it is still the file of that name."""
        try:
            file = self.files.open(path)
        except FileNotFoundError:
            return False
        # Known before it is locked, so that a fork in between leaves no lock in the child.
        self.open[path] = file
        if not self.files.lock(file) or os.fstat(file).st_nlink == 0:
            self.release(path)
            return False
        return True

    def release(self, path: Path) -> None:
        self.files.close(self.open.pop(path))

    def disown(self) -> None:
        """In a forked child: close the descriptors. The locks are its parent's, which go on with theirs."""
        while self.open:
            _, file = self.open.popitem()
            with contextlib.suppress(OSError):
                os.close(file)


class _Headers:
    """Whose segment is whose in one folder; no header is read twice, and no lock is taken."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._emitters: dict[Path, str | None] = {}

    def emitter_of(self, path: Path) -> str | None:
        """The emitter that the header names, None when there is no header to read (any more)."""
        if path not in self._emitters:
            self._emitters[path] = _header_emitter(path)
        return self._emitters[path]

    def segments_of(self, emitter_id: str) -> list[Path]:
        """The segments of one emitter, in order; older files than the emitter are not opened."""
        since = created_us(emitter_id)
        return [
            path
            for path in list_segments(self._directory)
            if _begun_since(path, since) and self.emitter_of(path) == emitter_id
        ]


def _by_emitter(unsealed: Iterable[Path], headers: _Headers, files: FileOperations) -> dict[str, list[Path]]:
    """The segments by the emitter that wrote them; one that has no header is set aside."""
    found: dict[str, list[Path]] = {}
    for path in unsealed:
        emitter_id = headers.emitter_of(path)
        if emitter_id is not None:
            found.setdefault(emitter_id, []).append(path)
        else:
            _look_into(path, files)
    return found


def _look_into(path: Path, files: FileOperations) -> None:
    """Say what is wrong with a header; what power loss left without one is set aside, unless it is in use."""
    try:
        SegmentReader(path).close()
    except FileNotFoundError:
        return
    except (Corrupt, Misconfigured) as error:
        log.error("segment_unreadable: %s", error, extra={"segment": path.name})
    except Retryable:
        with _Locks(files) as locks:
            if locks.take(path):
                _set_aside(path, files)


def _set_aside(path: Path, files: FileOperations) -> None:
    """A segment without header, as power loss leaves it: no event is in it; its bytes are kept."""
    log.error("segment_without_header: %s", path, extra={"segment": path.name})
    files.rename(path, path.with_name(f"{path.name}.damaged"))
    files.remove(path.parent / OPEN_FOLDER / path.stem)


class Left:
    """What one emitter's segments say, read in their order: runs still open, and where the chain ended."""

    def __init__(self, emitter_id: str) -> None:
        self.emitter_id = emitter_id
        self.open: dict[str, bytes] = {}
        #: Runs that ended here, and were not seen to begin.
        self.ended: set[str] = set()
        self.last: Frame | None = None
        self.adoptions: set[bytes] = set()

    def read(self, paths: Iterable[Path]) -> None:
        for path in paths:
            with SegmentReader(path) as reader:
                while frames := reader.read():
                    for frame in frames:
                        self._see(frame)

    def _see(self, frame: Frame) -> None:
        value = frame.value
        # A search of the bytes only says where to look: a user's texts may hold the same words.
        if says_running(value) or not any(kind in value for kind in _CHANGES):
            self.last = frame
            return
        document = _document(value)
        if document.get("eventType") == "ABORT" and _facet(document, "headwater_adoption") is not None:
            self.adoptions.add(value)
            return
        self.last = frame
        self._change(document, value)

    def _change(self, document: Mapping[str, Any], value: bytes) -> None:
        run = document.get("run")
        run_id = run.get("runId") if isinstance(run, dict) else None
        if not isinstance(run_id, str):
            return
        if document.get("eventType") == "START":
            self.open[run_id] = value
        elif document.get("eventType") not in ("COMPLETE", "FAIL", "ABORT"):
            return
        elif self.open.pop(run_id, None) is None:
            self.ended.add(run_id)

    @property
    def final(self) -> bool:
        """Whether the emitter said that nothing comes after what was read."""
        return self.last is not None and _is_final(self.last.value)

    def aborts(self) -> Iterator[tuple[str, bytes]]:
        """The ABORT events to write, in the order of their STARTs: bytes that depend on nothing else."""
        if self.last is None or self.final:
            return
        last_id = hashlib.sha256(self.last.value).hexdigest()
        emitter = _named_uuid(hash128("adoption", self.emitter_id, last_id))
        started = [event for value in self.open.values() if (event := _started(value)) is not None]
        previous = None
        for sequence, event in enumerate(started):
            emission = Emission(
                emitter_id=emitter,
                sequence=sequence,
                previous=previous,
                final=sequence == len(started) - 1,
            )
            value = encode(self._abort(event, self.last.append_time), emission)
            previous = hashlib.sha256(value).hexdigest()
            if value not in self.adoptions:
                yield event.run.id, value

    def _abort(self, event: PipelineStarted | StepStarted, time: int) -> RunAborted:
        return RunAborted(
            time=max(time, event.time),
            run=event.run,
            parent=event.parent,
            root=event.root,
            adopted_from=self.emitter_id,
            reason=REASON,
        )


def _named_uuid(digest: bytes) -> str:
    """A UUIDv8 (RFC 9562: the bits are the application's) of 16 bytes."""
    bits = int.from_bytes(digest, "big") & ~(0xF << 76) & ~(0b11 << 62)
    return str(UUID(int=bits | 0x8 << 76 | 0b10 << 62))


def _started(value: bytes) -> PipelineStarted | StepStarted | None:
    try:
        event = recognise(parse(value))
    except Unparseable:
        # Whatever it is, it is no event that an emitter of ours wrote about a run.
        return None
    return event if isinstance(event, PipelineStarted | StepStarted) else None


def _document(value: bytes) -> Mapping[str, Any]:
    """An event as a mapping, also one that orjson alone would refuse; empty when it is none."""
    try:
        document = jsontext.read(value).value
    except jsontext.NotJson:
        return {}
    return document if isinstance(document, dict) else {}


def _facet(document: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    for entity in (document.get("run"), document.get("dataset")):
        facets = entity.get("facets") if isinstance(entity, dict) else None
        facet = facets.get(name) if isinstance(facets, dict) else None
        if isinstance(facet, dict):
            return facet
    return None


def _is_final(value: bytes) -> bool:
    """Whether the emitter said that nothing comes after this event."""
    if b"true" not in value:
        return False
    emission = _facet(_document(value), "headwater_emission")
    return emission is not None and emission.get("final") is True


def _adopt_emitter(
    emitter_id: str, segments: list[Path], paths: list[Path], files: FileOperations, now: Callable[[], int]
) -> list[Adopted]:
    """Adopt what one dead emitter left; nothing of it when it is alive, or when any part is damaged.

    `segments` are all of its segments, `paths` those that are not sealed.
    """
    try:
        with _Locks(files) as locks:
            if not all(locks.take(path) for path in paths):
                return []
            left = Left(emitter_id)
            left.read(segments)
            aborts = list(left.aborts())
            unsealed = [path for path in paths if not _sealed_meanwhile(path, files)]
            # The ABORT events last: an adopter that dies before them leaves a segment to be adopted.
            return [
                _adopt_one(path, locks, aborts if path == unsealed[-1] else [], now()) for path in unsealed
            ]
    except (HeadwaterError, OSError) as error:
        log.error("segment_not_adopted: %s", error, extra={"emitter": emitter_id})
        return []


def _sealed_meanwhile(path: Path, files: FileOperations) -> bool:
    if read_seal(path) is None:
        return False
    files.remove(path.parent / OPEN_FOLDER / path.stem)
    return True


def _sync_ack(path: Path, files: FileOperations) -> None:
    """On the disk before anything is appended: else power loss may leave the old number beside new frames."""
    file = files.open(path.with_suffix(ACK_SUFFIX))
    try:
        files.sync(file)
    finally:
        files.close(file)
    files.sync_folder(path.parent)


def _adopt_one(path: Path, locks: _Locks, aborts: list[tuple[str, bytes]], now: int) -> Adopted:
    """Every durable effect of adopting one segment, in order; the table above says what a crash leaves."""
    file, files = locks.open[path], locks.files
    with SegmentReader(path) as reader:
        while reader.read():
            continue
        header, frames, end = reader.header, reader.offset, reader.byte
    torn = os.fstat(file).st_size - end
    if torn:
        files.truncate(file, end)
        log.warning("torn_tail_cut: %s: %d bytes", path, torn, extra={"bytes": torn})
    if acknowledged(path) > frames:
        # Power loss took delivered frames; what is appended now stands at their numbers and is not delivered.
        acknowledge(path, frames)
        _sync_ack(path, files)
    for _, value in aborts:
        write_all(files, file, frame := encode_frame(value, now))
        frames, end = frames + 1, end + len(frame)
    write_all(files, file, encode_seal(Seal(sealed_at=now, frames=frames, sha256=sha256_until(file, end))))
    files.sync(file)
    files.remove(path.parent / OPEN_FOLDER / path.stem)
    log.info("segment_adopted", extra={"segment": path.name, "frames": frames, "aborted": len(aborts)})
    return Adopted(
        path=path,
        segment_id=header.segment_id,
        emitter_id=header.emitter_id,
        frames=frames,
        torn_bytes=torn,
        aborted=tuple(run for run, _ in aborts),
    )


def segments_of(directory: Path, emitter_id: str) -> list[Path]:
    """The segments of one emitter, in order; older files than the emitter are not opened."""
    return _Headers(directory).segments_of(emitter_id)


def _begun_since(path: Path, since: int) -> bool:
    try:
        return created_us(path.stem) >= since
    except ValueError:
        return True


def _header_emitter(path: Path) -> str | None:
    try:
        with SegmentReader(path) as reader:
            return reader.header.emitter_id
    except (HeadwaterError, FileNotFoundError):
        return None


def _discard_unbegun(directory: Path, files: FileOperations) -> None:
    """Remove files that a process died over before they became segments."""
    if directory.is_dir():
        for path in sorted(directory.glob(f"*{UNBEGUN_SUFFIX}")):
            with _Locks(files) as locks:
                # A young one may be locked by its writer a moment from now.
                if _age_of(path) > UNBEGUN_AGE_S and locks.take(path):
                    files.remove(path)


def _age_of(path: Path) -> float:
    """Seconds since a file was written; 0 when it has become a segment, or is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _disown_inherited() -> None:
    for locks in list(_live):
        locks.disown()
    _live.clear()


os.register_at_fork(after_in_child=_disown_inherited)
