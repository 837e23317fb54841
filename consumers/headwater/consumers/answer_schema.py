"""The JSON of every answer as a JSON Schema, made from the classes of the answers.

docs/reference/json.schema.json is what this writes:

    python -m headwater.consumers.answer_schema > docs/reference/json.schema.json

A definition for each class. Further keys are allowed: a reader must pass over those that it does not
know, and what is promised is that the ones here are there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from headwater.consumers.answers import Asset, AssetDetails, Graph, ListedRun, Read, Run, RunDetails
from headwater.consumers.checks import Check, Made
from headwater.consumers.columns import ColumnGraph
from headwater.consumers.completeness import Emitters
from headwater.consumers.differences import Difference
from headwater.consumers.drifting import Drift
from headwater.consumers.gaps import Gaps
from headwater.consumers.impact import Impact, RecallImpacts
from headwater.consumers.metrics import Metrics
from headwater.consumers.recipes import Recipe
from headwater.consumers.reproducing import Reproduction
from headwater.consumers.searching import SearchResults

#: What the commands and `Lineage` answer; what is inside them is found. In this order a class gets
#: its own name, and one that shares it with an earlier one its module's in front.
ANSWERS: tuple[type, ...] = (
    *(Graph, ColumnGraph, AssetDetails, RunDetails, Run, ListedRun, Asset),
    *(SearchResults, Metrics, Difference, Impact, RecallImpacts, Recipe, Reproduction, Drift, Gaps, Emitters),
    *(Check, Made),
)

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_BESIDES: dict[type, dict[str, Any]] = {
    Run: {"duration_s": {"type": ["number", "null"]}},
    ListedRun: {"duration_s": {"type": ["number", "null"]}},
    Read: {"inferred": {"type": "boolean"}},
}


def document() -> dict[str, Any]:
    """The whole schema; `$defs` has every class by its name."""
    defs = definitions()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What headwater answers",
        "description": "Every answer and what it is made of, by name. See docs/reference/json.md.",
        "$defs": {defs.names[of]: schema for of, schema in defs.schemas.items()},
    }


def definitions() -> Definitions:
    """Every class of answer, and what it is made of."""
    defs = Definitions()
    for answer in ANSWERS:
        defs.of(answer)
    return defs


class Definitions:
    """Classes by the name that they have in the document, and their schemas."""

    def __init__(self) -> None:
        self.names: dict[type, str] = {}
        self.schemas: dict[type, dict[str, Any]] = {}

    def of(self, wanted: type) -> dict[str, Any]:
        """A reference to the definition of `wanted`, which is made when there is none."""
        if wanted not in self.names:
            taken = wanted.__name__ in self.names.values()
            module = wanted.__module__.rpartition(".")[2]
            self.names[wanted] = f"{module}.{wanted.__name__}" if taken else wanted.__name__
            hints = get_type_hints(wanted)
            properties = {field.name: self._schema(hints[field.name]) for field in fields(wanted)}
            properties |= _BESIDES.get(wanted, {})
            required = list(properties)
            self.schemas[wanted] = {"type": "object", "properties": properties, "required": required}
        return {"$ref": f"#/$defs/{self.names[wanted]}"}

    def _schema(self, hint: Any) -> dict[str, Any]:
        origin, inner = get_origin(hint), get_args(hint)
        if origin in (Union, UnionType):
            return {"anyOf": [self._schema(one) for one in inner]}
        if origin is Literal:
            return {"enum": list(inner)}
        if isinstance(hint, type) and is_dataclass(hint):
            return self.of(hint)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return {"enum": [each.value for each in hint]}
        if hint is datetime:
            return {"type": "string", "format": "date-time"}
        if hint in _PLAIN:
            return {"type": _PLAIN[hint]}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self._schema(inner[1])}
        if origin in (tuple, list):
            return {"type": "array", "items": self._schema(inner[0])}
        return {}


if __name__ == "__main__":
    import orjson

    sys.stdout.write(orjson.dumps(document(), option=orjson.OPT_INDENT_2).decode() + "\n")
