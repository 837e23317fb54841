"""Registers: of all that was said under one name, what was said last (R10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from tests.replay import reading
from tests.replay.reading import Stamp


class Told(NamedTuple):
    """Facets as one event gave them, in one name space."""

    stamp: Stamp
    space: str
    facets: dict[str, Any]


class Register(NamedTuple):
    """What was said last under one name; no `facet_id`: it was deleted."""

    stamp: Stamp
    facet_id: bytes | None
    body: Any


Registers: TypeAlias = dict[tuple[str, str], Register]


def registers(told: Iterable[Told]) -> Registers:
    """By name space and name the facet with the greatest stamp; in one event, the greatest id (R10)."""
    last: Registers = {}
    for stamp, space, facets in told:
        for name, body in facets.items():
            if name in reading.APART:
                continue
            deleted = reading.is_deleted(body)
            new = Register(stamp, None if deleted else reading.facet_id(name, body), body)
            old = last.get((space, name))
            if old is None or (old.stamp, old.facet_id or b"") < (new.stamp, new.facet_id or b""):
                last[space, name] = new
    return last


def said_last(facets: Registers, space: str, name: str) -> dict[str, Any] | None:
    """The standing body under `name`, when it is an object."""
    register = facets.get((space, name))
    if register is None or register.facet_id is None or not isinstance(register.body, dict):
        return None
    return register.body


def facet_ids(facets: Registers) -> bytes:
    return b"".join(sorted({r.facet_id for r in facets.values() if r.facet_id is not None}))
