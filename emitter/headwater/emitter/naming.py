"""What the outputs of a step are called, and which type of asset they are.

In order: what `@step(outputs=…)` says, what the return annotation says
(`Annotated[pd.DataFrame, "features"]`, `-> Model`), the step's own name. Several
outputs are told apart by position, key or field: `split.0`, `split.train`. Names
depend on the code alone, never on the run, so they are the same in every run.
"""

from __future__ import annotations

import builtins
import collections.abc
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias, Union

from headwater.emitter.assets import Asset

Outputs: TypeAlias = str | Sequence[str] | Mapping[str, str]

MAX_ANNOTATION_DEPTH = 8

_EACH = (
    list,
    set,
    frozenset,
    collections.abc.Sequence,
    collections.abc.Set,
    collections.abc.Iterable,
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
)
_NAME = re.compile(r"[^\W\d]\w*")
_WRAPPERS = (collections.abc.Awaitable,)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Place(NamedTuple):
    """The name and type of one output; `chosen` when the author named it."""

    name: str
    asset_type: type[Asset] | None
    chosen: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is said of one place in a return value, and of the places within it."""

    name: str | None = None
    asset_type: type[Asset] | None = None
    within: Mapping[str, Plan] = dataclasses.field(default_factory=dict)
    each: Plan | None = None

    def locate(self, step_name: str, path: Sequence[str]) -> Place:
        """The name and type of the output at `path` (positions, keys, fields) of the value."""
        plan, name, chosen = self, self.name or step_name, self.name is not None
        for key in path:
            named = plan.within.get(key)
            plan = named or plan.each or _NOTHING_SAID
            chosen = chosen or plan.name is not None
            name = named.name if named and named.name else f"{plan.name or name}.{key}"
        return Place(name, plan.asset_type, chosen)

    def of_an_item(self) -> Plan:
        """The plan of what a generator yields: all of it is one asset, in as many versions."""
        return self.each or self


_NOTHING_SAID = Plan()


def plan(
    function: Callable[..., Any], outputs: Outputs | None = None, scope: Mapping[str, object] | None = None
) -> Plan:
    """The plan of what `function` returns; an annotation that cannot be resolved says nothing.

    `scope` holds names that only the function's surroundings know (see `local_names`).
    """
    target = inspect.unwrap(function)
    said = _resolved(target, getattr(target, "__annotations__", {}).get("return"), scope or {})
    annotated = _plan_of(said, MAX_ANNOTATION_DEPTH)
    return annotated if outputs is None else _override(annotated, outputs)


def argument_names(function: Callable[..., Any], scope: Mapping[str, object] | None = None) -> dict[str, str]:
    """The asset names that annotations give to parameters (`Annotated[pd.DataFrame, "features"]`)."""
    target = inspect.unwrap(function)
    annotations = dict(getattr(target, "__annotations__", {}))
    annotations.pop("return", None)
    plans = {name: _plan_of(_resolved(target, said, scope or {}), 1) for name, said in annotations.items()}
    return {name: said.name for name, said in plans.items() if said.name is not None}


def local_names(function: Callable[..., Any], surroundings: Mapping[str, object]) -> dict[str, object]:
    """Of the names around a function those that its postponed annotations use, and no others.

    A function defined inside another does not keep what only its annotations name.
    """
    texts = [said for said in getattr(function, "__annotations__", {}).values() if isinstance(said, str)]
    used = {name for text in texts for name in _NAME.findall(text)}
    return {name: surroundings[name] for name in used if name in surroundings}


def _resolved(target: Callable[..., Any], annotation: object, scope: Mapping[str, object]) -> object:
    if not isinstance(annotation, str):
        return annotation
    names = {**vars(builtins), **getattr(target, "__globals__", {}), **_closure(target), **scope}
    try:
        holder = types.SimpleNamespace(__annotations__={"said": annotation})
        return typing.get_type_hints(holder, names, names, include_extras=True)["said"]
    except Exception:  # noqa: BLE001 - an annotation is any expression; what it raises is nothing of ours
        return None


def _closure(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return dict(inspect.getclosurevars(target).nonlocals)
    except (TypeError, ValueError):
        return {}


def _plan_of(annotation: object, depth: int) -> Plan:
    if annotation is None or depth == 0:
        return _NOTHING_SAID
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return _plan_of_class(annotation, depth)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        name = next((said for said in arguments[1:] if isinstance(said, str) and said), None)
        inner = _plan_of(arguments[0], depth)
        return dataclasses.replace(inner, name=name) if name else inner
    if origin in (Union, types.UnionType):
        members = [_plan_of(member, depth - 1) for member in arguments if member is not type(None)]
        return next((member for member in members if member != _NOTHING_SAID), _NOTHING_SAID)
    return _plan_of_generic(origin, arguments, depth)


def _plan_of_class(annotation: type, depth: int) -> Plan:
    if issubclass(annotation, Asset):
        return Plan(asset_type=annotation)
    if not (
        dataclasses.is_dataclass(annotation)
        or hasattr(annotation, "_fields")
        or typing.is_typeddict(annotation)
    ):
        return _NOTHING_SAID
    try:
        hints = typing.get_type_hints(annotation, include_extras=True)
    except Exception:  # noqa: BLE001 - as above: someone else's annotations
        return _NOTHING_SAID
    return Plan(within={name: _plan_of(hint, depth - 1) for name, hint in hints.items()})


def _plan_of_generic(origin: object, arguments: tuple[Any, ...], depth: int) -> Plan:
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        return Plan(within={str(at): _plan_of(part, depth - 1) for at, part in enumerate(arguments)})
    if origin in _WRAPPERS and arguments:
        return _plan_of(arguments[-1], depth - 1)
    if origin in _MAPPINGS and len(arguments) == 2:
        return Plan(each=_plan_of(arguments[1], depth - 1))
    if (origin in _EACH or origin is tuple) and arguments:
        return Plan(each=_plan_of(arguments[0], depth - 1))
    return _NOTHING_SAID


def _override(said: Plan, outputs: Outputs) -> Plan:
    if isinstance(outputs, str):
        return dataclasses.replace(said, name=outputs)
    named = outputs if isinstance(outputs, Mapping) else {str(at): name for at, name in enumerate(outputs)}
    within = dict(said.within)
    for key, name in named.items():
        within[key] = dataclasses.replace(within.get(key) or said.each or _NOTHING_SAID, name=name)
    return dataclasses.replace(said, within=within)
