"""Python values freed of the wrappers that frameworks put around them; imports none of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from headwater.emitter.extractors.columns import Cells, Vector
from headwater.schemas.canonical import MAX_COLUMN_DEPTH, Uncanonical

_PLAIN_TYPES = frozenset((bool, int, float, complex, str, bytes, type(None)))
_MISSING_TYPES = frozenset(("NAType", "NaTType"))
_MAX_DEPTH = MAX_COLUMN_DEPTH


def plain(value: Any, depth: int = 0) -> Any:
    """`value` without numpy's scalars and arrays, pandas' missing markers and enumerations, at any depth."""
    if type(value) in _PLAIN_TYPES:
        return value
    if depth > _MAX_DEPTH:
        raise Uncanonical(type(value).__qualname__, f"nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {name_of(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Enum) and isinstance(value, (int, str, float)):
        return value.value
    return _unwrapped(value, depth)


def name_of(name: Any) -> Any:
    """A column's or a key's name without wrappers; a tuple stays one."""
    if type(name) in _PLAIN_TYPES:
        return name
    return tuple(map(name_of, name)) if isinstance(name, tuple) else _unwrapped(name, 0)


def _unwrapped(value: Any, depth: int) -> Any:
    kind = type(value)
    origin = kind.__module__.partition(".")[0]
    if kind.__name__ in _MISSING_TYPES and origin == "pandas":
        return None
    if origin == "numpy" and hasattr(value, "dtype") and hasattr(value, "tolist"):
        return plain(_numpy(value), depth + 1)
    if origin == "pandas":
        return _pandas(value, depth)
    return value


def _numpy(value: Any) -> Any:
    if value.dtype.kind not in "mM":
        if value.dtype.char in "gG" and not (value.astype("c16") == value).all():
            raise Uncanonical(str(value.dtype), "wider than a double")
        return value.tolist()
    fine = value.astype(f"{value.dtype.kind}8[us]")
    if not ((fine == value) | (fine != fine)).all():
        raise Uncanonical(str(value.dtype), "finer than a microsecond inside a nested value")
    return fine.tolist()


def _pandas(value: Any, depth: int) -> Any:
    if isinstance(value, (datetime, timedelta)):
        return value
    if hasattr(value, "ordinal") and hasattr(value, "freqstr"):
        return {"freq": value.freqstr, "ordinal": value.ordinal}
    if all(hasattr(value, name) for name in ("left", "right", "closed")) and not hasattr(value, "dtype"):
        return {
            "left": plain(value.left, depth + 1),
            "right": plain(value.right, depth + 1),
            "closed": value.closed,
        }
    return plain(value.tolist(), depth + 1) if hasattr(value, "tolist") else value


def vector_of(values: Sequence[Any]) -> Vector:
    """The vector of a column of Python values, on buffers when numpy is loaded anyway."""
    cells = values if set(map(type, values)) <= _PLAIN_TYPES else [plain(value) for value in values]
    if "numpy" not in sys.modules:
        return Cells(cells)
    from headwater.emitter.extractors import vectors

    return vectors.from_cells(cells)


def column_type(values: Iterable[Any]) -> str | None:
    """The Python types of a column as its schema shows them; None when every value is null."""
    names = sorted({kind.__name__ for kind in set(map(type, values)) if kind is not type(None)})
    return " | ".join(names) or None
