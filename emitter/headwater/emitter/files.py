"""The file operations that the spool stands on, as one small object.

`LocalFiles` is the operating system. A test passes an object that refuses, shortens or
fails a call on purpose; nothing else about the spool changes then. Reading is not here:
it goes through `headwater.schemas.segment`.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol

# fdatasync keeps the size and the bytes, which is all a segment needs; macOS lacks it.
_sync = getattr(os, "fdatasync", os.fsync)


class FileOperations(Protocol):
    """What the spool asks of a local file system.

    `write` may write less than it was given, and says how much. Everything raises OSError. Only `lock`
    answers with False: another process holds the file.
    """

    def create(self, path: Path) -> int: ...

    def open(self, path: Path) -> int: ...

    def lock(self, file: int) -> bool: ...

    def write(self, file: int, data: bytes) -> int: ...

    def truncate(self, file: int, size: int) -> None: ...

    def sync(self, file: int) -> None: ...

    def sync_folder(self, path: Path) -> None: ...

    def rename(self, old: Path, new: Path) -> None: ...

    def remove(self, path: Path) -> None: ...

    def make_folder(self, path: Path) -> None: ...

    def close(self, file: int) -> None: ...


class LocalFiles:
    """The operating system's own file operations."""

    # The hot one, without a frame of ours around it.
    write = staticmethod(os.write)

    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)

    def lock(self, file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        return True

    def truncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def sync(self, file: int) -> None:
        _sync(file)

    def sync_folder(self, path: Path) -> None:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        except OSError as error:
            # A file system that cannot sync a folder promises nothing about names either way.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(folder)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def close(self, file: int) -> None:
        os.close(file)
