"""Who delivers whose segments: one process at a time for one emitter, so that its order is kept.

    draining/{emitter id}     flock(LOCK_EX) is held on it by whoever delivers that emitter's segments

The lock is gone when its holder is, however it goes, and the next one goes on from what was
acknowledged. It has nothing to do with the lock on the segment itself: an emitter writes while
somebody else delivers. A forked child closes the descriptors that it inherited.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path

from headwater.emitter.files import FileOperations, LocalFiles

FOLDER = "draining"

_live: weakref.WeakSet[Claim] = weakref.WeakSet()


class Claim:
    """The right to deliver one emitter's segments, until `release`."""

    def __init__(self, path: Path, file: int, files: FileOperations) -> None:
        self._path = path
        self._file = file
        self._files = files
        _live.add(self)

    def release(self, *, done: bool = False) -> None:
        """Let others deliver; with `done` nothing of this emitter is left, and its lock file goes, too."""
        if self._file < 0:
            return
        if done:
            # Under the lock: whoever has opened it meanwhile sees that it has no name any more.
            with contextlib.suppress(OSError):
                self._files.remove(self._path)
        self.disown()

    def disown(self) -> None:
        """Close the descriptor; the lock goes with the last one, which in a forked child is not ours."""
        file, self._file = self._file, -1
        if file >= 0:
            self._files.close(file)


def claim(directory: Path, emitter_id: str, files: FileOperations | None = None) -> Claim | None:
    """The right to deliver; None while another process has it. Raises `OSError`, as on a full disk."""
    operations = files or LocalFiles()
    path = directory / FOLDER / emitter_id
    operations.make_folder(path.parent)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if not operations.lock(file):
            operations.close(file)
            return None
        if os.fstat(file).st_nlink:
            return Claim(path, file, operations)
        # Its holder was done with it and took the name away between our two calls.
        operations.close(file)


def _disown_inherited() -> None:
    for one in list(_live):
        with contextlib.suppress(OSError):
            one.disown()
    _live.clear()


os.register_at_fork(after_in_child=_disown_inherited)
