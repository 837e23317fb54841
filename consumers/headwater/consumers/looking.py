"""What a question that goes through the whole store is looking at, for whoever waits for it.

A question calls its `report` with what it looks at and how many of them it has looked at, from its own
thread and at least once for each statement that may take long. Nothing depends on what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: What is looked at, and how many so far; None where a statement does not tell before it ends.
Report: TypeAlias = Callable[[str, int | None], None]


def nobody_waits(what: str, done: int | None) -> None:
    """For whoever does not want to know."""
