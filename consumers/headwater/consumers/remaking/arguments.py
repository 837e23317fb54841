"""The arguments of a call, put together again from what its run recorded.

Assets go to the places that they came in by (`models.0`), parameters are given the type that the
function's annotation asks for where JSON had none. An argument that is in neither was something
that is no JSON; then there is no call to repeat.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import os
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from headwater.consumers.remaking.functions import signature_of
from headwater.consumers.remaking.refusing import Refused
from headwater.emitter.assets import Asset
from headwater.emitter.parameters import parameters as as_parameters

_EMPTY = inspect.Parameter.empty


def call_of(
    function: Callable[..., Any], assets: Mapping[str, Any], settings: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The call's `args` and `kwargs`; `assets` by place, `settings` by name. Raises `Refused`."""
    signature = signature_of(function)
    hints = _hints(function)
    inside: dict[str, dict[str, Any]] = {name: {} for name in settings}
    for place, value in assets.items():
        inside.setdefault(place.partition(".")[0], {})[place] = value
    call = signature.bind_partial()
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            # Recorded under their own names, as if they were parameters.
            others = {other: places for other, places in inside.items() if other not in signature.parameters}
            call.arguments[name] = {o: _value(o, p, settings, _EMPTY) for o, p in others.items()}
            inside = {other: places for other, places in inside.items() if other not in others}
        elif name not in inside:
            _accept_default(name, parameter)
        else:
            hint = hints.get(name, _EMPTY)
            if parameter.kind is parameter.VAR_POSITIONAL:
                hint = types.GenericAlias(tuple, (hint, ...)) if hint is not _EMPTY else tuple
            call.arguments[name] = _value(name, inside[name], settings, hint)
    for unknown in sorted(inside.keys() - signature.parameters.keys()):
        raise Refused(
            what=f"the argument {unknown}",
            reason="the function takes no such argument",
            remedy="check out the code that was recorded",
        )
    return call


def _accept_default(name: str, parameter: inspect.Parameter) -> None:
    """Pass when the default was used: it would stand among the parameters if JSON could say it."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return
    default = {} if parameter.default is _EMPTY else {name: parameter.default}
    if default and not as_parameters(default, without=(Asset,)):
        return
    raise Refused(
        what=f"the argument {name}",
        reason="what was passed is no JSON and no asset, or was passed twice, so it was not recorded",
        remedy="pass assets and plain values to the step, and open connections inside it",
    )


def _value(name: str, inside: Mapping[str, Any], settings: Mapping[str, Any], hint: Any) -> Any:
    setting = settings.get(name, _EMPTY)
    try:
        if name in inside:
            return handed(inside[name], hint)
        if not inside:
            return typed(setting, hint)
        return _container({place.partition(".")[2]: value for place, value in inside.items()}, setting, hint)
    except Refused:
        raise
    except Exception as error:
        raise Refused(
            what=f"the argument {name}",
            reason=f"what was recorded does not fit the function: {type(error).__name__}: {error}",
            remedy="check out the code that was recorded",
        ) from error


def _container(places: Mapping[str, Any], setting: Any, hint: Any) -> Any:
    """The list, dict or dataclass whose parts stand at `places`; plain parts come from `setting`."""
    parts: dict[str, dict[str, Any]] = {}
    for place, value in places.items():
        key, _, rest = place.partition(".")
        parts.setdefault(key, {})[rest] = value
    kind = _plain_kind(hint)
    hints = _part_hints(kind, hint)
    built = {}
    for key, found in parts.items():
        part_hint = hints(key)
        built[key] = handed(found[""], part_hint) if "" in found else _container(found, _EMPTY, part_hint)
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
        others = {key: typed(value, hints(key)) for key, value in _items(setting).items()}
        return kind(**{**others, **built})
    if all(key.isdigit() for key in built) and not (isinstance(kind, type) and issubclass(kind, dict)):
        return _sequence(built, setting, kind)
    return {**{key: typed(value, hints(key)) for key, value in _items(setting).items()}, **built}


def _sequence(built: Mapping[str, Any], setting: Any, kind: Any) -> Any:
    others = iter(setting if isinstance(setting, list) else [])
    length = len(built) + (len(setting) if isinstance(setting, list) else 0)
    items = [built[str(at)] if str(at) in built else next(others, None) for at in range(length)]
    if isinstance(kind, type) and issubclass(kind, (tuple, set, frozenset)):
        return kind(items)
    return items


def _items(setting: Any) -> Mapping[str, Any]:
    return setting if isinstance(setting, dict) else {}


def handed(value: Any, hint: Any) -> Any:
    """An asset as its parameter wants it, itself or the object in it; unsaid, as it was made."""
    wants = _wants_asset(hint)
    if isinstance(value, Asset) and wants is False:
        return value.data
    return value


def _wants_asset(hint: Any) -> bool | None:
    """None where the annotation does not say."""
    if hint is _EMPTY or hint is Any or hint is object or isinstance(hint, (str, typing.TypeVar)):
        return None
    if typing.get_origin(hint) is typing.Annotated:
        return _wants_asset(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        said = {_wants_asset(part) for part in typing.get_args(hint) if part is not type(None)}
        return said.pop() if len(said) == 1 else None
    return isinstance(hint, type) and issubclass(hint, Asset)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = inspect.unwrap(function)
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # noqa: BLE001 - an annotation is any expression; then it says nothing
        return {}


def _plain_kind(hint: Any) -> Any:
    """The class behind an annotation, or nothing."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _plain_kind(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return next((_plain_kind(part) for part in arguments if part is not type(None)), None)
    return origin or hint


def _part_hints(kind: Any, hint: Any) -> Callable[[str], Any]:
    """What the annotation says of the part called so."""
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
        try:
            fields = typing.get_type_hints(kind, include_extras=True)
        except Exception:  # noqa: BLE001 - as above
            fields = {}
        return lambda key: fields.get(key, _EMPTY)
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    arguments = typing.get_args(hint)
    if isinstance(kind, type) and issubclass(kind, tuple) and arguments and Ellipsis not in arguments:
        return lambda key: arguments[int(key)] if key.isdigit() and int(key) < len(arguments) else _EMPTY
    if not arguments:
        return lambda key: _EMPTY
    return lambda key: arguments[0] if arguments[-1] is Ellipsis else arguments[-1]


def typed(value: Any, hint: Any) -> Any:
    """A recorded parameter as the type that the annotation asks for, where JSON had none for it."""
    if value is None or hint is _EMPTY or value is _EMPTY:
        return None if value is _EMPTY else value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return typed(value, arguments[0])
    if origin in (typing.Union, types.UnionType):
        return _first_fitting(value, arguments)
    kind = origin or hint
    if not isinstance(kind, type):
        return value
    if isinstance(value, str):
        return _from_text(value, kind)
    if isinstance(value, list) and issubclass(kind, (tuple, set, frozenset)):
        part = _part_hints(kind, hint)
        made = [typed(item, part(str(at))) for at, item in enumerate(value)]
        return kind(*made) if hasattr(kind, "_fields") else kind(made)
    if isinstance(value, list):
        return [typed(item, arguments[0] if arguments else _EMPTY) for item in value]
    if isinstance(value, dict) and dataclasses.is_dataclass(kind):
        part = _part_hints(kind, hint)
        return kind(**{key: typed(item, part(key)) for key, item in value.items()})
    if kind is datetime.timedelta and isinstance(value, (int, float)):
        return datetime.timedelta(seconds=value)
    return value


def _first_fitting(value: Any, kinds: tuple[Any, ...]) -> Any:
    """`value` as it is where one of the kinds takes it so; else as the first that it can become."""
    plain = [kind for kind in kinds if isinstance(kind, type)]
    if any(isinstance(value, kind) for kind in plain):
        return value
    for kind in kinds:
        try:
            made = typed(value, kind)
        except (ValueError, TypeError, KeyError):
            continue
        if made is not value:
            return made
    return value


def _from_text(text: str, kind: type) -> Any:
    if issubclass(kind, str) and not issubclass(kind, enum.Enum):
        return text
    if issubclass(kind, enum.Enum):
        return kind[text]
    if kind in (datetime.datetime, datetime.date, datetime.time):
        return kind.fromisoformat(text)
    if kind in (uuid.UUID, decimal.Decimal):
        return kind(text)
    if issubclass(kind, pathlib.PurePath):
        return kind(text)
    if kind is os.PathLike:
        return pathlib.Path(text)
    if kind is int and text.lower().lstrip("-").startswith("0x"):
        return int(text, 16)
    return text
