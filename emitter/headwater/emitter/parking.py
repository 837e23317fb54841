"""Events that the topic will not take, kept aside so that their neighbours can go on.

    parked/{segment id}-{offset}.event    the event's bytes, as they were emitted
    parked/{segment id}-{offset}.reason   JSON: what the broker said, when, and the event's append time

What is here is counted as handled, and is in no log: a person mends the cause, then
`headwater drain --parked` sends it. The reason is written last, so an event without one is a write
that was cut off, and is written again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headwater.emitter.files import FileOperations, LocalFiles
from headwater.emitter.writer import write_all

FOLDER = "parked"
EVENT, REASON = ".event", ".reason"


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
    """Everything kept aside, in the order in which it was emitted."""
    found = []
    for told in sorted((directory / FOLDER).glob(f"*{REASON}"), key=_place):
        stated = json.loads(told.read_bytes())
        found.append(
            Parked(
                path=told.with_suffix(EVENT),
                reason=str(stated["reason"]),
                append_time=int(stated["append_time"]),
                parked_at=int(stated["parked_at"]),
            )
        )
    return found


def release(one: Parked, files: FileOperations | None = None) -> None:
    """Forget an event that the topic has taken after all."""
    operations = files or LocalFiles()
    operations.remove(one.path.with_suffix(REASON))
    operations.remove(one.path)


def _place(told: Path) -> tuple[str, int]:
    segment_id, _, offset = told.stem.rpartition("-")
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
