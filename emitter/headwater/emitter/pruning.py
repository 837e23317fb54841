"""Removing segments whose events are safe elsewhere.

`{segment id}.ack` holds the number of frames, counted from the first, that a broker has
acknowledged, as decimal digits and a newline. Whoever delivers writes it; without one
nothing is ever removed, because then the segments are the log.

A sealed segment goes when its `.ack` covers every frame of it, unless its emitter is not
done and the segment says which run that emitter has open: whoever adopts needs to read it.
"""

from __future__ import annotations

from pathlib import Path

from headwater.emitter.adoption import Left, segments_of
from headwater.emitter.files import FileOperations, LocalFiles
from headwater.schemas.errors import Misconfigured, shown
from headwater.schemas.segment import SegmentReader, list_segments, read_seal

ACK_SUFFIX = ".ack"


def acknowledge(segment: Path, frames: int) -> None:
    """Record that the first `frames` frames of `segment` are safe elsewhere; replaces what was recorded."""
    unnamed = segment.with_suffix(f"{ACK_SUFFIX}.new")
    unnamed.write_text(f"{frames}\n", encoding="ascii")
    unnamed.rename(segment.with_suffix(ACK_SUFFIX))


def acknowledged(segment: Path) -> int:
    """How many frames of `segment` are safe elsewhere; 0 when nothing says so."""
    path = segment.with_suffix(ACK_SUFFIX)
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return 0
    if not text.isdigit():
        raise Misconfigured(f"{path}: {shown(text)} is no number of frames", remedy="remove the file")
    return int(text)


def prune(directory: Path, *, files: FileOperations | None = None) -> list[Path]:
    """Remove what is sealed and acknowledged in full; returns what went, oldest first."""
    operations = files or LocalFiles()
    segments = list_segments(directory)
    unfinished = {_emitter(path) for path in segments if read_seal(path) is None}
    pruned = []
    for path in segments:
        seal = read_seal(path)
        if seal is None or acknowledged(path) < seal.frames:
            continue
        if (emitter := _emitter(path)) in unfinished and _opens_a_run(directory, path, emitter):
            continue
        operations.remove(path)
        # The record of delivery goes after the segment it is about, or a crash would undo it.
        operations.remove(path.with_suffix(ACK_SUFFIX))
        pruned.append(path)
    return pruned


def _emitter(path: Path) -> str:
    with SegmentReader(path) as reader:
        return reader.header.emitter_id


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
