"""Events that the topic will not take, kept aside so that their neighbours can go on.

    parked/{segment id}-{offset}.event    the event's bytes, as they were emitted
    parked/{segment id}-{offset}.reason   JSON: what the broker said, when, and the event's append time

What is here is counted as handled, and is in no log: a person mends the cause, then
`headwater drain --parked` sends it. The reason is written last, so an event without one is a write
that was cut off, and is written again. One that cannot be read is named, and keeps nothing else back.

`.lock` is held by whoever sends what is here, so that no event is sent by two at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headwater.emitter.files import FileOperations, LocalFiles
from headwater.emitter.writer import write_all
from headwater.schemas.errors import HeadwaterError, Misconfigured

FOLDER = "parked"
EVENT, REASON, LOCK = ".event", ".reason", ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """One event kept aside; times are µs since 1970 UTC."""

    path: Path
    reason: str
    append_time: int
    parked_at: int

    @property
    def value(self) -> bytes:
        return self.path.read_bytes()


def park(
    directory: Path,
    *,
    segment_id: str,
    offset: int,
    value: bytes,
    append_time: int,
    reason: str,
    now: Callable[[], int],
    files: FileOperations | None = None,
) -> Path:
    """Keep one event aside, on the disk when this returns; raises `OSError`."""
    operations = files or LocalFiles()
    folder = directory / FOLDER
    operations.make_folder(folder)
    path = folder / f"{segment_id}-{offset}{EVENT}"
    told = {"reason": reason, "append_time": append_time, "parked_at": now()}
    _write(operations, path, value)
    _write(operations, path.with_suffix(REASON), json.dumps(told).encode())
    operations.sync_folder(folder)
    return path


def parked(directory: Path) -> list[Parked]:
    """Everything kept aside that can be read, in the order in which it was emitted."""
    return sorted((one for one in _found(directory) if isinstance(one, Parked)), key=_place)


def unreadable(directory: Path) -> list[HeadwaterError]:
    """What is kept aside and cannot be read."""
    return [one for one in _found(directory) if isinstance(one, HeadwaterError)]


def _found(directory: Path) -> Iterator[Parked | HeadwaterError]:
    for told in sorted((directory / FOLDER).glob(f"*{REASON}")):
        event = told.with_suffix(EVENT)
        try:
            stated = json.loads(told.read_bytes())
            one = Parked(
                path=event,
                reason=str(stated["reason"]),
                append_time=int(stated["append_time"]),
                parked_at=int(stated["parked_at"]),
            )
            _place(one)
            if event.exists():
                yield one
            elif told.exists():
                yield Misconfigured(f"{event} is missing", remedy=f"restore it, or remove {told}")
        except FileNotFoundError:
            continue  # sent meanwhile
        except (OSError, ValueError, KeyError, TypeError) as damage:
            yield Misconfigured(
                f"{told} cannot be read ({type(damage).__name__}), so {event.name} stays aside",
                remedy='write {"reason": "", "append_time": µs since 1970, "parked_at": the same} into it',
            )


@contextmanager
def by_itself(directory: Path, files: FileOperations | None = None) -> Iterator[bool]:
    """Whether nobody else sends what is kept aside; until the end nobody else begins to."""
    operations = files or LocalFiles()
    folder = directory / FOLDER
    if not folder.exists():
        yield True
        return
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        yield operations.lock(file)
    finally:
        operations.close(file)


def release(one: Parked, files: FileOperations | None = None) -> None:
    """Forget an event that the topic has taken after all."""
    operations = files or LocalFiles()
    operations.remove(one.path.with_suffix(REASON))
    operations.remove(one.path)


def _place(one: Parked) -> tuple[str, int]:
    segment_id, _, offset = one.path.stem.rpartition("-")
    return segment_id, int(offset)


def _write(files: FileOperations, path: Path, data: bytes) -> None:
    unnamed = path.with_name(f"{path.name}.new")
    files.remove(unnamed)
    file = files.create(unnamed)
    try:
        write_all(files, file, data)
        files.sync(file)
    finally:
        files.close(file)
    files.rename(unnamed, path)
