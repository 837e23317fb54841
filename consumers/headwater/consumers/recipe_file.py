"""Recipes as files: YAML or JSON of one documented shape, the same bytes for the same recipe.

The shape is `headwater/schemas/recipe.json` (JSON Schema). `read` accepts what `written`
gives, also after a person edited it, and names the place of what it cannot accept.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from headwater.consumers.answers import as_json
from headwater.consumers.recipes import FORMAT, Recipe
from headwater.schemas.errors import Misconfigured, Rejected, shown

SCHEMA = f"https://headwater.dev/spec/recipe/{FORMAT}/recipe.json"
FORMATS = ("yaml", "json", "requirements")
#: Keys that a file of the format may lack: it was written before they were.
_LATER = frozenset({"recalled", "recalled_upstream", "recalls"})


def document(recipe: Recipe) -> dict[str, Any]:
    """`recipe` as JSON values, in the order in which the file holds them."""
    found: dict[str, Any] = {"$schema": SCHEMA, **as_json(recipe)}
    for step in found["steps"]:
        for output in step["outputs"]:
            output["columns"] = [{"name": name, "type": type} for name, type in output["columns"]]
    return found


def written(recipe: Recipe, format: str) -> str:
    """The file's text: `yaml`, `json`, or the `requirements` of the step that made the subject."""
    if format == "requirements":
        return _requirements(recipe)
    if format == "json":
        import orjson

        return orjson.dumps(document(recipe), option=orjson.OPT_INDENT_2, default=str).decode() + "\n"
    import yaml

    text: str = yaml.safe_dump(
        document(recipe), sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )
    return text


def _requirements(recipe: Recipe) -> str:
    step = recipe.step(recipe.subject.run_id)
    known = recipe.environments.get(step.environment) if step and step.environment else None
    if known is None or not known.packages:
        raise Misconfigured(
            f"which packages made {recipe.subject.name} is not recorded",
            remedy="`headwater recipe` without --format requirements tells what is",
        )
    head = f"# {known.python or 'python unknown'}, {known.platform or 'platform unknown'}\n"
    head += "".join(f"# {line}\n" for line in warnings(recipe))
    return head + "".join(f"{line}\n" for line in known.requirements)


def warnings(recipe: Recipe) -> list[str]:
    """Why what the recipe makes must not be relied on, in lines; none where nothing says so."""
    from headwater.consumers.drawing import printable, recall_notes, recall_words, short_version

    subject = recipe.subject
    version = f"@{short_version(subject.version)}" if subject.version is not None else ""
    told = [text for text, _ in recall_words(recipe)]
    notes = [text for line in recall_notes(recipe.recalls) for text, _ in line]
    return [printable(f"{subject.namespace}/{subject.name}{version}: {told[0]}"), *notes] if told else []


def read(text: str, place: str) -> Recipe:
    """The recipe in `text`; `place` is named in errors. Raises `Rejected`."""
    import yaml

    try:
        found = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise Rejected(f"{place} is neither YAML nor JSON: {_line(error)}") from error
    if not isinstance(found, dict) or found.get("recipe") != FORMAT:
        what = shown(found.get("recipe")) if isinstance(found, dict) else "no mapping"
        raise Rejected(f"{place}: recipe is {what}", remedy=f"a recipe of format {FORMAT} is read")
    for step in found["steps"] if isinstance(found.get("steps"), list) else []:
        for output in step.get("outputs") or [] if isinstance(step, dict) else []:
            columns = output.get("columns") if isinstance(output, dict) else None
            if isinstance(columns, list) and all(isinstance(column, dict) for column in columns):
                output["columns"] = [[column.get("name"), column.get("type")] for column in columns]
    recipe: Recipe = _built(Recipe, found, place)
    return recipe


def _built(kind: Any, value: Any, place: str) -> Any:
    """`value` as the dataclass, tuple, mapping or plain type `kind`; other keys are passed over."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(value, dict):
            raise _wrong(place, value, "a mapping")
        hints = typing.get_type_hints(kind)
        said = [f for f in fields(kind) if f.name in value or f.name not in _LATER]
        return kind(**{f.name: _built(hints[f.name], value.get(f.name), f"{place}: {f.name}") for f in said})
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _built(arguments[0], value, place)
    if origin is tuple:
        return _tuple(arguments, value, place)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _wrong(place, value, "a mapping")
        return {str(key): _built(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    if kind is datetime:
        return _time(value, place)
    if not isinstance(value, kind):
        raise _wrong(place, value, f"a {kind.__name__}")
    return value


def _time(value: Any, place: str) -> datetime:
    """YAML reads a time that stands without quotes."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError) as cause:
        raise _wrong(place, value, "a time") from cause
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _tuple(arguments: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(place, value, "a list")
    if arguments[-1] is Ellipsis:
        return tuple(_built(arguments[0], item, f"{place}[{at}]") for at, item in enumerate(value))
    if len(value) != len(arguments):
        raise _wrong(place, value, f"a list of {len(arguments)}")
    return tuple(
        _built(kind, item, f"{place}[{at}]")
        for at, (kind, item) in enumerate(zip(arguments, value, strict=True))
    )


def _wrong(place: str, value: Any, rule: str) -> Rejected:
    return Rejected(
        f"{place} is {shown(value)}, not {rule}", remedy="write the recipe anew: headwater recipe"
    )


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
