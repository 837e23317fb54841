"""Loading events into the classes of openlineage-python, which has no loader of its own.

Each facet becomes the class that its `_schemaURL` names; what the client does not know
becomes the entity's base class with additional properties, as the client itself does it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import attr
from openlineage.client import event_v2, generated
from openlineage.client.generated.base import BaseFacet
from openlineage.client.serde import Serde

_EVENTS = {"run": event_v2.RunEvent, "job": event_v2.JobEvent, "dataset": event_v2.DatasetEvent}


def load(document: dict[str, Any]) -> Any:
    """`document` as the client's RunEvent, JobEvent or DatasetEvent; raises what the client raises."""
    kind = next(key for key in _EVENTS if key in document)
    return _instance(_EVENTS[kind], document)


def written(event: Any) -> Any:
    """What the client would send for `event`."""
    return Serde.to_dict(event)


def without_nothing(value: Any) -> Any:
    """`value` without None and without empty objects and arrays: the client drops some and adds others."""
    if isinstance(value, dict):
        kept = {key: without_nothing(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None and item != {} and item != []}
    if isinstance(value, list):
        return [
            item for item in map(without_nothing, value) if item is not None and item != {} and item != []
        ]
    return value


@cache
def _facet_classes() -> dict[str, type]:
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules(generated.__path__):
        for name, value in vars(importlib.import_module(f"{generated.__name__}.{module.name}")).items():
            if inspect.isclass(value) and issubclass(value, BaseFacet):
                found[name] = value
    return found


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _instance(cls: Any, value: dict[str, Any]) -> Any:
    """`value` as an instance of an attrs class that has a field for every key."""
    fields = {field.name: field for field in attr.fields(cls) if field.init}
    unknown = set(value) - set(fields) - {"schemaURL"}
    if unknown:
        raise TypeError(f"{cls.__name__} has no field for {sorted(unknown)}")
    given = {name: item for name, item in value.items() if name in fields}
    instance = cls(
        **{fields[name].alias: _structured(_hints(cls)[name], item) for name, item in given.items()}
    )
    if "schemaURL" in value:
        assert value["schemaURL"] == instance.schemaURL
    return instance


def _facet(base: Any, value: dict[str, Any]) -> Any:
    cls: Any = _facet_classes().get(value["_schemaURL"].rpartition("/")[2], base)
    assert issubclass(cls, base), f"{cls.__name__} is no {base.__name__}"
    fields = {field.name: field for field in attr.fields(cls) if field.init}
    known = {name: _structured(_hints(cls)[name], item) for name, item in value.items() if name in fields}
    facet = cls(**{fields[name].alias: item for name, item in known.items()})
    more = {name: item for name, item in value.items() if name not in fields and name != "_schemaURL"}
    if more:
        facet = facet.with_additional_properties(**more)
    if cls is base:
        facet._schemaURL = value["_schemaURL"]
    return facet


def _structured(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if origin in (Union, types.UnionType):
        return _structured(next(option for option in arguments if option is not type(None)), value)
    if origin is list:
        return [_structured(arguments[0], item) for item in value]
    if origin is dict:
        return {key: _structured(arguments[1], item) for key, item in value.items()}
    if not inspect.isclass(hint):
        return value
    if issubclass(hint, BaseFacet):
        return _facet(hint, value)
    if issubclass(hint, Enum):
        return hint(value)
    return _instance(hint, value) if attr.has(hint) else value
