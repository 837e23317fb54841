"""Where assets are in the values that a step is given and gives back.

Looks inside lists, tuples, sets, dicts and dataclasses, at most `MAX_DEPTH` deep and at
`MAX_NODES` values, and visits a shared or cyclic container once. Of a container
without any asset in it nothing is kept.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import itertools
import os
import types
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from headwater.emitter.assets import Asset
from headwater.emitter.naming import Place, Plan
from headwater.emitter.tracking import tracker

MAX_DEPTH = 8
MAX_NODES = 10_000

Children: TypeAlias = Sequence[tuple[str, object]]

_PLAIN: frozenset[type] = frozenset(
    (
        *(type(None), bool, int, float, complex, str, type(Ellipsis), range, slice, type),
        *(datetime.datetime, datetime.date, datetime.timedelta, decimal.Decimal),
        *(types.FunctionType, types.BuiltinFunctionType, types.ModuleType),
    )
)


def inputs_in(argument: str, value: object) -> Iterator[tuple[str, object]]:
    """The assets and data objects in `value`, each once, with the place it was found at (`folds.2`)."""
    if type(value) in _PLAIN:
        return
    seen: set[int] = set()
    waiting: deque[tuple[str, object, int]] = deque([(argument, value, 0)])
    budget = MAX_NODES
    while waiting and budget:
        budget -= 1
        place, found, depth = waiting.popleft()
        if type(found) in _PLAIN or id(found) in seen:
            continue
        seen.add(id(found))
        children = None if _is_leaf(found) else _children(found, budget)
        if children is None or type(found) in (dict, list):
            yield place, found
        if children and depth < MAX_DEPTH:
            waiting.extend((f"{place}.{key}", child, depth + 1) for key, child in children)


def outputs_in(value: object, plan: Plan, step_name: str) -> Iterator[tuple[object, Place]]:
    """The assets and data objects in a return value, in order, with their names."""
    budget = [MAX_NODES]
    yield from _outputs(value, plan, step_name, (), budget, set())


def _outputs(
    value: object, plan: Plan, step_name: str, path: tuple[str, ...], budget: list[int], above: set[int]
) -> Iterator[tuple[object, Place]]:
    budget[0] -= 1
    if value is None or budget[0] < 0 or len(path) > MAX_DEPTH or id(value) in above:
        return
    place = plan.locate(step_name, path)
    children = None if _is_leaf(value) or place.asset_type is not None else _children(value)
    if children is None:
        if isinstance(value, Asset) or _is_output(value, place):
            yield value, place
    elif not isinstance(value, (dict, list)) or _holds_objects(value):
        for key, child in children:
            yield from _outputs(child, plan, step_name, (*path, key), budget, above | {id(value)})
    elif value:
        yield value, place


def _is_output(value: object, place: Place) -> bool:
    """Whether a value that is no container is an asset: by its kind, or because the annotation says so.

    A path alone does not say that the step wrote the file; a name or a type does.
    """
    if isinstance(value, os.PathLike):
        return place.asset_type is not None or place.chosen
    if type(value) in _PLAIN:
        return place.asset_type is not None and isinstance(value, str)
    return place.asset_type is not None or bool(fitting_type(value))


def fitting_type(value: object) -> str | None:
    """The asset type of an object that a step returned without saying more."""
    if isinstance(value, (bytes, bytearray)):
        return "Artifact" if value else None
    if isinstance(value, (dict, list)):
        return "Dataset" if _is_tabular(value) else "Artifact"
    return "Artifact" if isinstance(value, os.PathLike) else asset_type(value)


def _is_tabular(value: dict[Any, Any] | list[Any]) -> bool:
    """A list of dicts, or a dict of lists of one length, as far as its beginning tells."""
    some = list(itertools.islice(value.values() if isinstance(value, dict) else value, 100))
    if isinstance(value, list):
        return all(isinstance(row, dict) for row in some)
    return all(isinstance(column, list) for column in some) and len({len(column) for column in some}) == 1


def asset_type(value: object) -> str | None:
    """The asset type of a data object; None for what is no asset by itself."""
    from headwater.emitter.extractors import asset_type_of

    return asset_type_of(value)


def _is_leaf(value: object) -> bool:
    return isinstance(value, Asset) or tracker.recall(value) is not None


def _holds_objects(value: object) -> bool:
    """Whether any asset or data object is inside, so that the container is not JSON but a bundle."""
    return any(
        _is_leaf(found) or (type(found) not in (dict, list) and asset_type(found) is not None)
        for _, found in inputs_in("", value)
        if found is not value
    )


def _children(value: object, limit: int = MAX_NODES) -> Children | None:
    """The first items of a container with their keys; None when `value` is none."""
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        names = getattr(value, "_fields", None) if isinstance(value, tuple) else None
        items = itertools.islice(value, limit)
        return (
            list(zip(names, items, strict=False))
            if names
            else [(str(at), item) for at, item in enumerate(items)]
        )
    if isinstance(value, (dict, types.MappingProxyType)):
        return [(str(key), item) for key, item in itertools.islice(value.items(), limit)]
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, enum.Enum)):
        return [(field.name, _attribute(value, field.name)) for field in dataclasses.fields(value)]
    return None


def _attribute(value: Any, name: str) -> object:
    return getattr(value, name, None)
