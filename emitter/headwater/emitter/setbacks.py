"""Emitters whose events wait for a person, because a file of theirs cannot be read.

An emitter's order is kept, so nothing that follows the damage is delivered. Once the file has changed, was
replaced or is gone, it is tried again. All other emitters go on meanwhile.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from headwater.emitter.acks import ACK_SUFFIX
from headwater.schemas.errors import HeadwaterError, Retryable

log = logging.getLogger("headwater.emitter")


class Setback(NamedTuple):
    """Why one emitter's events wait, and the state of the file that is to be seen to."""

    error: HeadwaterError
    path: Path
    state: tuple[object, ...]


class Setbacks:
    """By emitter, one at a time; each is told once."""

    def __init__(self) -> None:
        self._found: dict[str, Setback] = {}
        self._told: set[str] = set()

    def __contains__(self, emitter: str | None) -> bool:
        return emitter in self._found

    @property
    def errors(self) -> list[HeadwaterError]:
        return [found.error for found in self._found.values()]

    def add(self, emitter: str, path: Path, problem: HeadwaterError | OSError) -> None:
        """Deliver nothing more of an emitter until this segment, or what is beside it, has changed."""
        error = as_ours(problem)
        self._found[emitter] = Setback(error, path, _state_of(path))
        if str(error) not in self._told:
            self._told.add(str(error))
            log.error("segment_damaged: %s", error, extra={"emitter": emitter})

    def take_changed(self) -> list[tuple[str, Path, bool]]:
        """The emitters that may be tried again, with the segment, and whether it is the same file."""
        changed = []
        for emitter, found in list(self._found.items()):
            state = _state_of(found.path)
            if state != found.state:
                del self._found[emitter]
                changed.append((emitter, found.path, state[0] == found.state[0]))
        return changed


def as_ours(problem: HeadwaterError | OSError) -> HeadwaterError:
    """What the disk said, with what to do about it."""
    if isinstance(problem, HeadwaterError):
        return problem
    return Retryable(f"{problem.filename or 'the spool'}: {problem.strerror}", remedy="see to the disk")


def _state_of(path: Path) -> tuple[object, ...]:
    """What changes when somebody mends a segment, or the record of what was delivered of it."""
    state: list[object] = []
    for file in (path, path.with_suffix(ACK_SUFFIX)):
        try:
            found = file.stat()
            state += [(found.st_dev, found.st_ino), (found.st_size, found.st_mtime_ns)]
        except OSError:
            state += [None, None]
    return tuple(state)
