"""A parameter of any JSON type as the text that the standard `executionParameters` facet asks for.

A string is written as it is, every other value as JSON. A string that could be taken for
JSON (`8`, `true`, `"x"`) is written as a JSON string, so the way back is certain.
"""

from __future__ import annotations

from typing import Any

import orjson

from headwater.schemas.events import Json
from headwater.schemas.jsontext import NotJson, exact, read, spelled

# What JSON, and the names of its missing numbers, can begin with.
_MAY_BE_JSON = frozenset('"-0123456789{[tfnNI \t\n\r\ufeff')


def parameter_text(value: Json) -> str:
    """`value` as text."""
    if type(value) is str:
        return value if _as_json(value) is None else _dumps(value)
    if isinstance(value, float) and value - value != 0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return _dumps(value)


def parameter_value(text: str) -> Json:
    """The value that `parameter_text` was given."""
    found = _as_json(text)
    return text if found is None else found[0]


def _dumps(value: Any) -> str:
    try:
        text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
        return (spelled(value) if b"null" in text else text).decode()
    except TypeError:
        return spelled(value).decode()


def _as_json(text: str) -> tuple[Json] | None:
    """The JSON value that `text` spells, in a tuple because it may be None; None when it spells none."""
    if text[:1] not in _MAY_BE_JSON:
        return None
    try:
        reading = read(text.encode())
    except (NotJson, UnicodeEncodeError):
        return None
    return (reading.value if reading.plain else exact(reading.value),)
