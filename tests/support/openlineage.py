"""The OpenLineage specification and real events, which are never part of the repository.

`$HEADWATER_TEST_OPENLINEAGE` names the folder that holds them, from the repository's root where
it is relative; without it that is `../shared/openlineage`. In it, `spec` is the specification's
own folder of that name, and `events/*/events/*.json` are events that were recorded. Tests that
need them carry `requires_spec`.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from headwater.schemas.facets import OURS, SPECIFICATION, load_schema
from tests.support import needed

ENVIRONMENT = "HEADWATER_TEST_OPENLINEAGE"
_REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.path.normpath(_REPOSITORY / (os.environ.get(ENVIRONMENT) or "../shared/openlineage")))
SPEC: Path = FOLDER / "spec"
EVENTS: Path = FOLDER / "events"

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")

requires_spec = pytest.mark.usefixtures("openlineage_data")


def require_data() -> None:
    """Skips without the folder; where it is named or there, CI fails for what is not in it."""
    if not FOLDER.is_dir() and not os.environ.get(ENVIRONMENT):
        pytest.skip(
            f"no folder {FOLDER} with OpenLineage's specification and events; ${ENVIRONMENT} names it"
        )
    for part in ("spec/OpenLineage.json", "spec/tests/example_full_event.json", "events"):
        if not (FOLDER / part).exists():
            needed.lacking(f"no {part} in {FOLDER}, the folder of OpenLineage's specification and events")


def real_events() -> list[tuple[str, bytes]]:
    """(where it is from, bytes) of every recorded event; a file may hold one event or an array of them."""
    found = []
    for path in sorted(EVENTS.glob("*/events/*.json")):
        content: Any = orjson.loads(path.read_bytes())
        events = content if isinstance(content, list) else [content]
        for index, event in enumerate(events):
            name = f"{path.parent.parent.name}/{path.stem}" + (f"[{index}]" if len(events) > 1 else "")
            found.append((name, orjson.dumps(event)))
    return found


def core_violations(event: dict[str, Any]) -> list[str]:
    """What in `event` breaks the specification's schema of events; facets only have to be facets."""
    return _errors({"$ref": SPECIFICATION}, event, "event", _registry(), _format_checker())


def violations(event: dict[str, Any]) -> list[str]:
    """What in `event` breaks the specification's schema, a standard facet's own, or one of ours.

    Every facet must name a schema that the specification or we have: an unknown URL is a violation.
    """
    registry, checker = _registry(), _format_checker()
    found = core_violations(event)
    for place, facets in facet_groups(event):
        for name, facet in facets.items():
            url = facet["_schemaURL"]
            if url.partition("#")[0] not in registry:
                found.append(f"{place}.{name}: no schema {url}")
            else:
                found += _errors({"$ref": url}, facet, f"{place}.{name}", registry, checker)
    return found


def facet_groups(event: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(place, facets by name) of every entity in `event`."""
    holders: list[tuple[str, Any, str]] = [
        (key, event[key], "facets") for key in ("run", "job", "dataset") if key in event
    ]
    for side, more in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        for index, dataset in enumerate(event.get(side, [])):
            holders += [(f"{side}[{index}]", dataset, "facets"), (f"{side}[{index}]", dataset, more)]
    return [(f"{place}.{key}", holder.get(key, {})) for place, holder, key in holders]


def _errors(
    schema: dict[str, Any], value: object, place: str, registry: Registry[Any], checker: FormatChecker
) -> list[str]:
    validator = Draft202012Validator(schema, registry=registry, format_checker=checker)
    return [f"{place}: {error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]


@cache
def _registry() -> Registry[Any]:
    standard = [orjson.loads(path.read_bytes()) for path in sorted(SPEC.glob("**/*.json"))]
    schemas = [schema for schema in standard if "$id" in schema] + [load_schema(facet) for facet in OURS]
    return Registry().with_resources(
        [
            (schema["$id"], Resource.from_contents(schema, default_specification=DRAFT202012))
            for schema in schemas
        ]
    )


@cache
def _format_checker() -> FormatChecker:
    checker = FormatChecker()
    assert {"date-time", "uuid"} <= set(checker.checkers), "a format that is not checked proves nothing"

    checker.checks("uri")(lambda value: not isinstance(value, str) or _URI.fullmatch(value) is not None)
    return checker
