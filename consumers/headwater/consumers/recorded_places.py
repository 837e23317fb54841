"""Where what recorded steps made lay, and whether they wrote it there.

An asset that was read from a file bears the file's place, as one that was written to it does: no event
tells the two apart. The file may: what was last written before a run began, that run did not write. Of
anything else (no file here, a folder, a run whose id has no time) it stays possible. Opens nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit
from uuid import UUID

from headwater.consumers.recipes import RecipeStep

_NANOSECONDS_A_MILLISECOND = 1_000_000


def local(location: str) -> str | None:
    """The path of a place on this machine."""
    if "://" not in location:
        return location
    url = urlsplit(location)
    return unquote(url.path) if url.scheme == "file" and url.hostname in (None, "localhost") else None


def stamp(location: str) -> tuple[int, int] | None:
    """Changes when something is written there; None where nothing is."""
    found = _stat(location)
    return None if found is None else (found.st_size, found.st_mtime_ns)


def recorded(steps: Iterable[RecipeStep]) -> dict[str, bool]:
    """By place whether the steps may have written there."""
    places: dict[str, bool] = {}
    for step in steps:
        for made in step.outputs:
            if made.location is not None:
                may_write = not _was_there(made.location, step.run_id)
                places[made.location] = places.get(made.location, False) or may_write
    return places


def _was_there(location: str, run_id: str) -> bool:
    """Whether the file there is from before the run: our ids of runs bear when they began."""
    found, run = _stat(location), UUID(run_id)
    if found is None or not stat.S_ISREG(found.st_mode) or run.version != 7:
        return False
    return found.st_mtime_ns < (run.int >> 80) * _NANOSECONDS_A_MILLISECOND


def _stat(location: str) -> os.stat_result | None:
    place = local(location)
    try:
        return None if place is None else os.stat(place)
    except (OSError, ValueError):  # a place may be any text
        return None
