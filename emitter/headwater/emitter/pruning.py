"""Removing segments whose events are safe elsewhere.

`{segment id}.ack` says how much of a segment is (`headwater.emitter.acks`); without one
nothing is ever removed, because then the segments are the log.

A sealed segment goes when its `.ack` covers every frame of it, unless it says which run its emitter has open:
whoever adopts needs to read it. An emitter has none open once it said its last word, or was adopted; that
it has no unsealed segment says nothing, for it may be between two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from headwater.emitter.acks import ACK_SUFFIX, acknowledged
from headwater.emitter.adoption import Left
from headwater.emitter.files import FileOperations, LocalFiles
from headwater.schemas.errors import HeadwaterError
from headwater.schemas.segment import Seal, SegmentReader, list_segments, read_seal


def prune(
    directory: Path, *, delivered: Mapping[Path, int] | None = None, files: FileOperations | None = None
) -> list[Path]:
    """Remove what is sealed and acknowledged in full; returns what went, oldest first.

    `delivered` is what the caller knows to be safe beyond what it could write down: on a full disk
    no `.ack` can be written, and only removing makes room. What cannot be read or removed stays, and hinders
    nothing else; the first such error is raised at the end.
    """
    operations = files or LocalFiles()
    failures: list[HeadwaterError | OSError] = []
    pruned = []
    for segments in _by_emitter(directory, failures).values():
        for path in _no_longer_needed(segments, delivered or {}, failures):
            try:
                operations.remove(path)
                # The record of delivery goes after the segment it is about, or a crash would undo it.
                operations.remove(path.with_suffix(ACK_SUFFIX))
            except OSError as error:
                failures.append(error)
                continue
            _remembered.pop(path, None)
            pruned.append(path)
    if failures:
        raise failures[0]
    return sorted(pruned)


class _Said(NamedTuple):
    """What one segment says of its emitter's runs."""

    opened: frozenset[str] = frozenset()
    ended: frozenset[str] = frozenset()
    final: bool = False
    adopted: bool = False


class _Segment:
    """One segment; once it is sealed, nothing of it is read twice, however often is pruned."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with SegmentReader(path) as reader:
            self.emitter = reader.header.emitter_id
        self.seal: Seal | None = None
        self._said: _Said | None = None

    def look(self) -> None:
        """Read the seal, if there is one by now."""
        if self.seal is None:
            self.seal = read_seal(self.path)

    def is_safe(self, delivered: Mapping[Path, int]) -> bool:
        """Whether it is sealed, and every frame of it is elsewhere."""
        if self.seal is None:
            return False
        return max(acknowledged(self.path), delivered.get(self.path, 0)) >= self.seal.frames

    def said(self) -> _Said:
        if self._said is not None:
            return self._said
        left = Left(self.emitter)
        try:
            left.read([self.path])
        except FileNotFoundError:
            return _Said()
        said = _Said(frozenset(left.open), frozenset(left.ended), left.final, bool(left.adoptions))
        if self.seal is not None:
            self._said = said
        return said


_remembered: dict[Path, _Segment] = {}


def _by_emitter(directory: Path, failures: list[HeadwaterError | OSError]) -> dict[str, list[_Segment]]:
    """The segments that can be read, by the emitter that wrote them, in its order."""
    paths = list_segments(directory)
    for gone in [path for path in _remembered if path.parent == directory and path not in set(paths)]:
        _remembered.pop(gone, None)
    found: dict[str, list[_Segment]] = {}
    for path in paths:
        try:
            segment = _remembered.get(path) or _Segment(path)
            segment.look()
        except (HeadwaterError, FileNotFoundError):
            continue  # damaged, just begun, or removed by another process: nobody's
        except OSError as error:
            failures.append(error)
            continue
        _remembered[path] = segment
        found.setdefault(segment.emitter, []).append(segment)
    return found


def _no_longer_needed(
    segments: Sequence[_Segment], delivered: Mapping[Path, int], failures: list[HeadwaterError | OSError]
) -> list[Path]:
    """Of one emitter's segments those that are safe elsewhere, and say nothing that an adopter must read."""
    safe = []
    for segment in segments:
        try:
            if segment.is_safe(delivered):
                safe.append(segment)
        except (HeadwaterError, OSError) as error:
            failures.append(error)
    if not safe:
        return []
    try:
        needed = _needed(segments[segments.index(safe[0]) :])
    except (HeadwaterError, OSError) as error:
        failures.append(error)
        return []
    return [segment.path for segment in safe if segment.path not in needed]


def _needed(segments: Sequence[_Segment]) -> set[Path]:
    """The segments in which a run begins that has not ended, while its emitter may go on or be adopted."""
    if segments[-1].seal is not None and segments[-1].said().final:
        return set()
    begun: dict[str, Path] = {}
    adopted = False
    for segment in segments:
        said = segment.said()
        adopted = adopted or said.adopted
        for run in said.ended:
            begun.pop(run, None)
        begun.update(dict.fromkeys(said.opened, segment.path))
    if adopted and all(segment.seal is not None for segment in segments):
        return set()
    return set(begun.values())
