"""The state of any object as JSON-like values: what `json1` of a fitted model is computed over.

Nothing is pickled and nothing is called but the object's own account of itself
(`__dict__`, else `__reduce_ex__`). No address, repr, clock or hash order enters. What
cannot be walked completely raises `Uncanonical`: a version is never computed over a part.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from headwater.emitter.extractors.plain import name_of
from headwater.schemas.canonical import Uncanonical, cell

MOST_NODES = 1_000_000
MAX_DEPTH = 150

_SCALARS = (bool, int, float, complex, str, bytes, bytearray, Decimal, date, time, timedelta, UUID)
# What estimators keep that is no result of the fit: measured times, and a memory address (CountVectorizer).
_VOLATILE = re.compile(r"(refit_time_|(mean|std)_(fit|score)_time|_stop_words_id)\Z")
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


def state_of(value: object) -> Any:
    """`value` as values that `json_version` covers; marks of our own have bytes as key, which JSON cannot."""
    return _Walk().of(value)


def qualified(kind: Any) -> str:
    """The name under which a class or function can be imported."""
    module = getattr(kind, "__module__", None) or getattr(kind, "__objclass__", object).__module__
    return f"{module}.{kind.__qualname__}"


class _Walk:
    """One walk: counts its nodes, and knows which objects it is inside of."""

    def __init__(self) -> None:
        self.nodes = 0
        self.inside: dict[int, int] = {}
        self.estimators = 0  # how many estimators it is inside of

    def of(self, value: Any) -> Any:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise Uncanonical(
                type(value).__qualname__, f"the object's state has more than {MOST_NODES:,} parts"
            )
        if value is None or (isinstance(value, _SCALARS) and not isinstance(value, Enum)):
            return getattr(value, "item", lambda: value)()  # numpy's float64 is a float
        if id(value) in self.inside:
            return {b"up": len(self.inside) - self.inside[id(value)]}
        if len(self.inside) >= MAX_DEPTH:
            raise Uncanonical(type(value).__qualname__, f"nested deeper than {MAX_DEPTH} levels")
        self.inside[id(value)] = len(self.inside)
        try:
            return self._container(value)
        finally:
            del self.inside[id(value)]

    def _container(self, value: Any) -> Any:
        kind = type(value)
        if kind in (list, tuple):
            return [self.of(item) for item in value]
        if kind is dict:
            return self._mapping(value)
        if kind in (set, frozenset):
            return {b"set": sorted((self.of(item) for item in value), key=cell)}
        if isinstance(value, Enum):
            return {b"enum": [qualified(kind), value.name]}
        if isinstance(value, type):
            return {b"type": qualified(value)}
        if isinstance(value, _FUNCTIONS):
            return self._function(value)
        known = self._data(value)
        return self._object(value) if known is None else known

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        return {
            name_of(key): self.of(item)
            for key, item in value.items()
            if not (self.estimators and isinstance(key, str) and _VOLATILE.match(key))
        }

    def _function(self, value: Any) -> Any:
        code = getattr(value, "__code__", None)
        named = "<" not in value.__qualname__ and value.__module__ != "__main__"
        if code is None or named:
            owner = getattr(value, "__self__", None)
            bound = owner is not None and not isinstance(owner, types.ModuleType)
            name = qualified(value)
            return {b"function": [name, self.of(owner)] if bound else name}
        closed = [cell_.cell_contents for cell_ in value.__closure__ or ()]
        return {b"code": [_code(code), self.of([value.__defaults__, value.__kwdefaults__, closed])]}

    def _data(self, value: Any) -> Any:
        """Arrays, scalars and frames of frameworks, by their own versions."""
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic):
            return (
                self.of(value.item())
                if value.dtype.kind not in "mMV"
                else self._array(numpy, numpy.asarray(value))
            )
        if numpy is not None and isinstance(value, numpy.ndarray):
            return self._array(numpy, value)
        if numpy is not None and isinstance(value, numpy.dtype):
            return {b"dtype": value.str}
        from headwater.emitter.extractors import registry

        row = registry.row_of(value)
        if row is None or row.asset_type == "Model" or row.module == "os":
            return None
        return {b"content": row.open(value).version()}

    def _array(self, numpy: Any, value: Any) -> Any:
        if value.dtype.names:
            return {b"records": {name: self._array(numpy, value[name]) for name in value.dtype.names}}
        if value.dtype.kind == "O":
            return {b"items": [list(value.shape), [self.of(item) for item in value.ravel(order="C")]]}
        from headwater.emitter.extractors import numpy_arrays

        return {b"array": numpy_arrays.array_version(value)}

    def _object(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, (types.ModuleType, types.GeneratorType, types.CoroutineType)):
            raise Uncanonical(kind.__qualname__)
        if hasattr(value, "get_params") and hasattr(value, "__dict__"):
            self.estimators += 1
            try:
                return {b"object": [qualified(kind), self._mapping(vars(value))]}
            finally:
                self.estimators -= 1
        if hasattr(value, "__dict__") and _plainly_kept(kind):
            return {b"object": [qualified(kind), self._mapping(vars(value))]}
        reduced = value.__reduce_ex__(2)
        if isinstance(reduced, str):
            return {b"global": reduced}
        make, arguments, *rest = reduced
        state, items, pairs = (*rest, None, None, None)[:3]
        parts: list[Any] = [self.of(make), self.of(list(arguments)), self.of(state)]
        parts.append([self.of(item) for item in items] if items is not None else None)
        parts.append([[self.of(key), self.of(item)] for key, item in pairs] if pairs is not None else None)
        return {b"reduced": [qualified(kind), *parts]}


def _plainly_kept(kind: type) -> bool:
    """Whether an instance is its `__dict__` and nothing more: no slots, no base in C, no say of its own."""
    return (
        all(getattr(kind, name, None) is getattr(object, name, None) for name in _OWN_ACCOUNTS)
        and kind.__basicsize__ == _BARE_SIZE
    )


class _Bare:
    pass


_OWN_ACCOUNTS = ("__reduce_ex__", "__reduce__", "__getstate__")
_BARE_SIZE = _Bare.__basicsize__


def _code(code: Any) -> Any:
    constants = [_code(part) if isinstance(part, types.CodeType) else part for part in code.co_consts]
    names = [list(code.co_names), list(code.co_varnames), list(code.co_freevars)]
    return [code.co_code, [None if part is Ellipsis else part for part in constants], names]
