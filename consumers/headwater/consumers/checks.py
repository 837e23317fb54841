"""What was looked at, and whether it is as it should be: what `topics` and `doctor` say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """`ok`; `warn`: it works, and something is given up; `fail`: it does not work, or events get lost."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`name` of `subject` was `found`; where not `ok`, `wanted` says what and why, `remedy` what to do."""

    subject: str
    name: str
    state: State
    found: str
    wanted: str = ""
    remedy: str = ""


def judged(
    subject: str, name: str, fits: bool, found: str, wanted: str, remedy: str, state: State = State.FAIL
) -> Check:
    """A check that is `ok` where it `fits`, and else `state`, with the remedy."""
    return Check(
        subject=subject,
        name=name,
        state=State.OK if fits else state,
        found=found,
        wanted=wanted,
        remedy="" if fits else remedy,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A topic that was made, that would be (`dry_run`), or that was there (`existed`) and was looked at."""

    topic: str
    existed: bool
    dry_run: bool
    partitions: int
    replicas: int
    settings: dict[str, str]
    checks: tuple[Check, ...]


def worst(checks: Iterable[Check]) -> State:
    """The worst state of all; `ok` of none."""
    order = list(State)
    return max((check.state for check in checks), key=order.index, default=State.OK)
