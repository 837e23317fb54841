"""One segment while this process appends to it.

    {segment id}.new          being begun: no header yet; nobody reads it
    {segment id}.seg          a segment (docs/reference/segment-format.md)
    open/{segment id}         exists while the segment may be unsealed, so adopters need not open them all

The writer holds flock(LOCK_EX) on the segment until it is sealed or the process is gone,
however it goes; a forked child closes the descriptors it inherited, since a lock lives as
long as the last of them. What `append` accepted is whole in the file. What it refused
is not in the file, or the file takes nothing more.

When to begin the next segment, and what a dead process left behind, are not decided here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import weakref
from pathlib import Path
from uuid import UUID

from headwater.emitter.files import FileOperations
from headwater.emitter.sinks import Unwritable
from headwater.schemas import segment as format_
from headwater.schemas.ids import uuid7
from headwater.schemas.segment import Seal, SegmentHeader

OPEN_FOLDER = "open"
UNBEGUN_SUFFIX = ".new"

_COPY_BYTES = 1 << 20
_REMEDIES = {
    errno.EFBIG: "raise the limit of file sizes",
    errno.ENOSPC: "free disk space",
    errno.EDQUOT: "free disk space or raise the quota",
    errno.EROFS: "make the folder writable",
}
_live: weakref.WeakSet[SegmentWriter] = weakref.WeakSet()


class SegmentWriter:
    """Appends frames to one segment that this process holds locked; not thread-safe by itself."""

    def __init__(
        self,
        files: FileOperations,
        path: Path,
        file: int,
        header: SegmentHeader,
        unsynced: tuple[Path, ...] = (),
    ) -> None:
        self.path = path
        self.header = header
        self.segment_id = header.segment_id
        self.size = format_.HEADER_BYTES
        self.frames = 0
        self.broken = False
        self.file = file
        self._files = files
        self._write = files.write
        # The folders whose entries power loss may still undo: of the segment, and of folders made for it.
        self._unsynced = unsynced
        _live.add(self)

    @classmethod
    def begin(
        cls, files: FileOperations, directory: Path, *, emitter_id: str, created_at: int, not_before: int
    ) -> SegmentWriter:
        """A new, locked, empty segment; raises `Unwritable`, and then nothing of it is left.

        `not_before` (µs) keeps the ids of one emitter's segments ascending when the clock steps back.
        """
        segment_id = uuid7(max(created_at, not_before))
        header = SegmentHeader(segment_id=segment_id, emitter_id=emitter_id, created_at=created_at)
        path = directory / f"{segment_id}{format_.SUFFIX}"
        unnamed = path.with_suffix(UNBEGUN_SUFFIX)
        marker = directory / OPEN_FOLDER / segment_id
        file = -1
        folders = _entries_of(directory)
        try:
            files.make_folder(marker.parent)
            file = _new_locked(files, unnamed, format_.encode_header(header))
            # The marker first: a crash in between leaves a marker of nothing, never a segment
            # that no adopter looks at.
            files.close(files.create(marker))
            files.rename(unnamed, path)
        except OSError as error:
            _undo(files, file, unnamed, marker)
            raise Unwritable(f"no segment can be begun in {directory}: {error.strerror}") from error
        return cls(files, path, file, header, folders)

    def append(self, frame: bytes) -> int:
        """Append one frame and return its offset; raises `Unwritable` when none of it is kept.

        An exception of a signal handler may pass through; `frames` then tells whether it was kept.
        """
        start, before = self.size, self.frames
        try:
            written = self._write(self.file, frame)
            if written == len(frame):
                self.size = start + written
                self.frames = before + 1
                return before
        except OSError as error:
            self._take_back(start)
            raise Unwritable(f"{self.path}: {error.strerror}", remedy=_remedy(error)) from error
        except BaseException:
            self._settle(start, len(frame), before)
            raise
        self._take_back(start)
        raise Unwritable(
            f"{self.path}: {written} of {len(frame)} bytes were written", remedy="free disk space"
        )

    def withdraw(self, length: int) -> None:
        """Cut off the last frame, `length` bytes, of a segment that takes no more."""
        self.size -= length
        self.frames -= 1
        self._take_back(self.size)

    def _take_back(self, start: int) -> None:
        try:
            self._files.truncate(self.file, start)
        except OSError:
            # Part of a frame may be at the end for good: a torn tail, as long as nothing follows it.
            self.broken = True

    def _settle(self, start: int, length: int, before: int) -> None:
        """After an interruption: a frame that is whole stays, since a reader may have seen it."""
        size = os.fstat(self.file).st_size
        if size == start + length:
            self.size, self.frames = size, before + 1
        elif size != start:
            self._take_back(start)

    def sync(self) -> None:
        """Everything appended so far survives power loss, and so does the segment's name.

        A failure breaks the segment for good: after a failed fsync the kernel may have dropped the dirty
        pages and call the file clean. Of a folder that cannot be synced, the next call tries again.
        """
        try:
            self._files.sync(self.file)
        except OSError as error:
            self.broken = True
            raise Unwritable(f"{self.path}: {error.strerror}", remedy="check the disk") from error
        if self._unsynced:
            try:
                self._sync_folders()
            except OSError as error:
                raise Unwritable(f"{self.path.parent}: {error.strerror}", remedy="check the disk") from error

    def _sync_folders(self) -> None:
        for folder in self._unsynced:
            self._files.sync_folder(folder)
        self._unsynced = ()

    def deleted(self) -> bool:
        """Whether the file has no name any more: nobody will ever read what is appended."""
        return os.fstat(self.file).st_nlink == 0

    def restore(self) -> None:
        """Give a deleted segment its name and its bytes back, and go on there; raises `Unwritable`."""
        unnamed, marker = (
            self.path.with_suffix(UNBEGUN_SUFFIX),
            self.path.parent / OPEN_FOLDER / self.segment_id,
        )
        file = -1
        folders = _entries_of(self.path.parent)
        try:
            self._files.make_folder(marker.parent)
            file = _new_locked(self._files, unnamed, b"")
            for position in range(0, self.size, _COPY_BYTES):
                block = os.pread(self.file, min(_COPY_BYTES, self.size - position), position)
                write_all(self._files, file, block)
            if not marker.exists():
                self._files.close(self._files.create(marker))
            # What was promised of the deleted file must be true of this one before it has the name.
            self._files.sync(file)
            self._files.rename(unnamed, self.path)
        except OSError as error:
            _undo(self._files, file, unnamed, None)
            raise Unwritable(f"{self.path} was deleted and cannot be restored: {error.strerror}") from error
        self._files.close(self.file)
        self.file = file
        self._unsynced = folders
        with contextlib.suppress(OSError):
            # The bytes are back; of the name, the next `sync` says whether it will stay.
            self._sync_folders()

    def seal(self, sealed_at: int) -> None:
        """Nothing more comes: write the seal, make it durable, unlock. Does nothing to a broken segment.

        A crash before the marker goes leaves a marker of a sealed segment, which the next adopter removes.
        """
        if self.broken:
            return
        digest = format_.sha256_until(self.file, self.size)
        seal = format_.encode_seal(Seal(sealed_at=sealed_at, frames=self.frames, sha256=digest))
        try:
            write_all(self._files, self.file, seal)
            self._files.sync(self.file)
            self._sync_folders()
            self._files.remove(self.path.parent / OPEN_FOLDER / self.segment_id)
        except OSError as error:
            self._take_back(self.size)
            self.broken = True
            raise Unwritable(f"{self.path} cannot be sealed: {error.strerror}") from error
        self.release()

    def release(self) -> None:
        """Close the file, and with it the lock; may be called twice."""
        if self.file >= 0:
            file, self.file = self.file, -1
            self._files.close(file)


def disown_inherited() -> None:
    """In a forked child: close the parent's segments without touching the parent's locks.

    Never LOCK_UN here: the lock belongs to the open file that both processes share.
    """
    for writer in list(_live):
        writer.broken = True
        with contextlib.suppress(OSError):
            writer.release()
    _live.clear()


def now_us() -> int:
    """Microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000


def created_us(uuid: str) -> int:
    """When a UUIDv7 was made, in µs since 1970, to the millisecond."""
    return (UUID(uuid).int >> 80) * 1_000


def _entries_of(directory: Path) -> tuple[Path, ...]:
    """The folders to sync so that a new file in `directory` is found again: also above what is made now."""
    folders = [directory]
    while not folders[-1].exists() and folders[-1].parent != folders[-1]:
        folders.append(folders[-1].parent)
    return tuple(folders)


def _new_locked(files: FileOperations, path: Path, content: bytes) -> int:
    file = files.create(path)
    try:
        if not files.lock(file):
            raise BlockingIOError(f"{path} is locked by another process")
        write_all(files, file, content)
    except BaseException:
        files.close(file)
        raise
    return file


def write_all(files: FileOperations, file: int, data: bytes) -> None:
    """Write all of `data`, however little each call takes; raises OSError once nothing is taken."""
    while data:
        written = files.write(file, data)
        if written <= 0:
            raise OSError(f"nothing of {len(data)} bytes was written")
        data = data[written:]


def _undo(files: FileOperations, file: int, unnamed: Path, marker: Path | None) -> None:
    if file >= 0:
        files.close(file)
    for path in (unnamed, marker):
        if path is not None:
            with contextlib.suppress(OSError):
                files.remove(path)


def _remedy(error: OSError) -> str:
    return _REMEDIES.get(error.errno or 0, "check the disk")


os.register_at_fork(after_in_child=disown_inherited)
