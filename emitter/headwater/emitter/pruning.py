"""Removing segments whose events are safe elsewhere.

`{segment id}.ack` says how much of a segment is (`headwater.emitter.acks`); without one
nothing is ever removed, because then the segments are the log.

A sealed segment goes when its `.ack` covers every frame of it, unless its emitter is not
done and the segment says which run that emitter has open: whoever adopts needs to read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headwater.emitter.acks import ACK_SUFFIX, acknowledged
from headwater.emitter.adoption import Left, segments_of
from headwater.emitter.files import FileOperations, LocalFiles
from headwater.schemas.errors import HeadwaterError
from headwater.schemas.segment import Seal, SegmentReader, list_segments, read_seal


def prune(
    directory: Path, *, delivered: Mapping[Path, int] | None = None, files: FileOperations | None = None
) -> list[Path]:
    """Remove what is sealed and acknowledged in full; returns what went, oldest first.

    `delivered` is what the caller knows to be safe beyond what it could write down: on a full disk
    no `.ack` can be written, and only removing makes room.
    """
    operations = files or LocalFiles()
    known = delivered or {}
    # Another process may remove any of them meanwhile: what is gone is nobody's.
    seals = {path: seal for path in list_segments(directory) if (seal := _seal(path)) is not None}
    unfinished = {_emitter(path) for path, seal in seals.items() if seal is _UNSEALED}
    pruned = []
    for path, seal in seals.items():
        if seal is _UNSEALED or max(acknowledged(path), known.get(path, 0)) < seal.frames:
            continue
        emitter = _emitter(path)
        if emitter is None or (emitter in unfinished and _opens_a_run(directory, path, emitter)):
            continue
        operations.remove(path)
        # The record of delivery goes after the segment it is about, or a crash would undo it.
        operations.remove(path.with_suffix(ACK_SUFFIX))
        pruned.append(path)
    return pruned


_UNSEALED = Seal(sealed_at=0, frames=0, sha256=b"")


def _seal(path: Path) -> Seal | None:
    """The seal, `_UNSEALED`, or None for a file that is gone."""
    try:
        return read_seal(path) or _UNSEALED
    except FileNotFoundError:
        return None


def _emitter(path: Path) -> str | None:
    """Whose segment it is; None for a file that is gone, or whose header cannot be read."""
    try:
        with SegmentReader(path) as reader:
            return reader.header.emitter_id
    except (HeadwaterError, FileNotFoundError):
        return None


def _opens_a_run(directory: Path, path: Path, emitter_id: str) -> bool:
    """Whether a run that began in this segment has not ended in it or after it."""
    left = Left(emitter_id)
    left.read([path])
    if not left.open:
        return False
    left.read(later for later in segments_of(directory, emitter_id) if later.name > path.name)
    with SegmentReader(path) as reader:
        while frames := reader.read():
            if any(frame.value in left.open.values() for frame in frames):
                return True
    return False
