"""Which code this is, as recorded in what it writes."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def code_version() -> str:
    """The installed distribution's version; `unknown` where it runs from a bare source tree."""
    try:
        return version("headwater")
    except PackageNotFoundError:
        return "unknown"
