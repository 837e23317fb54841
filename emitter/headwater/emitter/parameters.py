"""What a step was called with, as far as JSON can say it, within bounds.

Assets among the arguments are inputs and not parameters. What is no JSON (a connection, a
lock) is left out. A collection that is too long is data rather than a setting: it is
replaced by its length, and none of its values are kept. Redaction is not done here; it
happens before an event exists, in the emitter.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import os
import types
import uuid
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeAlias

from headwater.schemas.events import Json

MAX_ITEMS = 100
MAX_CHARACTERS = 2_000
MAX_DEPTH = 6
MAX_NODES = 2_000


class _Omitted(enum.Enum):
    OMITTED = "not a parameter"


OMITTED: Final = _Omitted.OMITTED
Said: TypeAlias = Json | _Omitted


def parameters(arguments: Mapping[str, object], without: tuple[type, ...] = ()) -> dict[str, Json]:
    """The arguments that JSON can say, in order, without objects of the types `without` at any depth."""
    budget = _Budget(MAX_NODES, without)
    said = ((str(name), _json(value, MAX_DEPTH, budget)) for name, value in arguments.items())
    return {name: value for name, value in said if value is not OMITTED}


class _Budget:
    """Counts visited values down, so that a call with a huge nested argument costs a bounded time."""

    __slots__ = ("left", "without")

    def __init__(self, nodes: int, without: tuple[type, ...]) -> None:
        self.left = nodes
        self.without = without

    def spend(self) -> bool:
        self.left -= 1
        return self.left >= 0


def _json(value: object, depth: int, budget: _Budget) -> Said:
    try:
        return _said(value, depth, budget)
    except Exception:  # noqa: BLE001 - foreign objects raise anything when asked; such a one is no parameter
        return OMITTED


def _said(value: object, depth: int, budget: _Budget) -> Said:
    if not budget.spend() or isinstance(value, budget.without):
        return OMITTED
    if value is None or isinstance(value, (bool, int, float, str)):
        return _scalar(value)
    if isinstance(value, (list, tuple, AbstractSet)):
        return _sequence(value, depth, budget)
    if isinstance(value, Mapping):
        return _mapping(value, depth, budget)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
        return _mapping(fields, depth, budget)
    return _special(value)


def _scalar(value: Any) -> Said:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, str):
        return str(value) if len(value) <= MAX_CHARACTERS else f"{value[:MAX_CHARACTERS]}…"
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value) if -(2**63) <= value < 2**64 else f"{value:#x}"[:MAX_CHARACTERS]
    return value if value is None or isinstance(value, bool) else float(value)


def _sequence(value: Iterable[object], depth: int, budget: _Budget) -> Said:
    items = list(value) if len(value) <= MAX_ITEMS else None  # type: ignore[arg-type]
    if items is None or depth == 0:
        return {"omitted": type(value).__name__, "items": len(value)}  # type: ignore[arg-type]
    said = [_json(item, depth - 1, budget) for item in items]
    kept = [item for item in said if item is not OMITTED]
    if isinstance(value, AbstractSet):
        kept.sort(key=repr)
    return kept if kept or not items else OMITTED


def _mapping(value: Mapping[Any, object], depth: int, budget: _Budget) -> Said:
    if len(value) > MAX_ITEMS or depth == 0:
        return {"omitted": type(value).__name__, "items": len(value)}
    said = {str(key): _json(item, depth - 1, budget) for key, item in value.items()}
    kept = {key: item for key, item in said.items() if item is not OMITTED}
    return kept if kept or not value else OMITTED


def _special(value: object) -> Said:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    if isinstance(value, os.PathLike):
        return _scalar(os.fspath(value)) if isinstance(os.fspath(value), str) else OMITTED
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return f"{value.__module__}:{value.__qualname__}"
    return _number_of(value)


def _number_of(value: object) -> Said:
    """A number of another library (a numpy float, a 0-d tensor) as Python's own."""
    item = getattr(value, "item", None)
    if getattr(value, "shape", None) != () or not callable(item):
        return OMITTED
    plain = item()
    return _scalar(plain) if isinstance(plain, (bool, int, float, str)) else OMITTED
