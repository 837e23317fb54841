"""Writing files whole or not at all: a reader never meets half of one, and a crash leaves the old one.

What is written goes to a file beside the one that is meant, is flushed to the disk, and takes its
name. `-` is the standard output, for which none of this holds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

from headwater.schemas.errors import Misconfigured

STDOUT = "-"


def write(path: str | Path, content: Iterable[bytes]) -> None:
    """Let the file at `path` hold `content`. Raises `Misconfigured` where nothing can be written."""
    with replacing(path) as file:
        file.writelines(content)


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write to; it becomes `path` when the block ends well, and is gone when it does not."""
    if str(path) == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    # What a link leads to is what is meant; a pipe or a device is written to, and stays what it is.
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        with _opened(target) as file:
            yield file
        return
    beside = target.parent / f".{uuid4().hex}.part"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = beside.open("xb")
    except OSError as cause:
        raise _unwritable(target, cause) from cause
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as cause:
        raise _unwritable(target, cause) from cause
    finally:
        beside.unlink(missing_ok=True)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("wb")
    except OSError as cause:
        raise _unwritable(path, cause) from cause


def _unwritable(path: Path, cause: OSError) -> Misconfigured:
    return Misconfigured(
        f"cannot write {path}: {cause.strerror or cause}", remedy="name another with --output"
    )
