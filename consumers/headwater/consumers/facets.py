"""Reading facets defensively: what the projection takes from a body, and only when it is well formed.

Any producer may send anything, so a facet that does not look as its schema says is kept
verbatim and otherwise passed over; nothing here raises. What follows from a facet is the
business of `headwater.consumers.fold`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeGuard

import orjson

from headwater.schemas import ids
from headwater.schemas.openlineage import Number, canonical_json
from headwater.schemas.text import storable


def version_text(facets: dict[str, Any]) -> str | None:
    """The `version` facet's datasetVersion, where it is a text (R14)."""
    body = facets.get("version")
    if isinstance(body, dict) and not is_deleted(body):
        version = body.get("datasetVersion")
        if is_text(version) and version:
            return version
    return None


def column_sources(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(target field, source entry) of a columnLineage body; "" for whole-dataset entries."""
    fields = body.get("fields")
    if isinstance(fields, dict):
        for name, entry in fields.items():
            if isinstance(entry, dict):
                yield from ((name, source) for source in _input_fields(entry) if is_named(source))
    yield from (("", source) for source in dicts(body.get("dataset")) if is_named(source))


def _input_fields(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The sources of one field. Before 1-1-0 the facet had one transformation for all of them."""
    kind = entry.get("transformationType")
    older = {"transformations": [{"type": kind}]} if is_text(kind) else {}
    return [{**older, **source} for source in dicts(entry.get("inputFields"))]


def lineage_sources(entry: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(target field, source entry) of one entry of a lineage facet, DATASET sources only."""
    yield from (("", source) for source in dicts(entry.get("inputs")) if is_dataset(source))
    fields = entry.get("fields")
    if isinstance(fields, dict):
        for name, body in fields.items():
            if isinstance(body, dict):
                yield from ((name, source) for source in dicts(body.get("inputs")) if is_dataset(source))


def hash_point(run_id: str, key: str, step: int, at: int, value: float) -> str:
    """The id of a metric point, in hex."""
    return ids.hash128("metric", run_id, key, str(step), str(at), repr(value)).hex()


def production_run(input_facets: Any) -> str:
    """The run that wrote the copy of an input that was read, in hex, where the event names it; else ""."""
    named = input_facets.get("headwater_input") if isinstance(input_facets, dict) else None
    return run_hex(named.get("productionRunId")) if isinstance(named, dict) and not is_deleted(named) else ""


def run_hex(run: Any) -> str:
    """A run that a facet names by its UUID, in hex; "" for anything else."""
    return run.replace("-", "").lower() if is_text(run) and ids.is_uuid(run) else ""


def metric_point(point: Any) -> tuple[str, int, int, float] | None:
    if not isinstance(point, dict):
        return None
    key, step, at, value = (point.get(name) for name in ("key", "step", "time", "value"))
    if isinstance(value, Number) or value in ("NaN", "Infinity", "-Infinity"):
        value = float(value)
    if not is_text(key) or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not is_int64(step) or not is_int64(at):
        return None
    try:
        return key, step, at, float(value)
    except OverflowError:
        return None


def governance_rows(
    name: str, body: dict[str, Any], facets: dict[str, Any]
) -> Iterator[tuple[str, str | None, bool]]:
    """(key, value, withdrawn) of one governance facet; `facets` are those beside it."""
    if name == "headwater_tagging":
        tags = body.get("tags")
        for key, value in tags.items() if isinstance(tags, dict) else ():
            yield key, value if is_text(value) else None, value is None
    elif name == "headwater_aliasing":
        if is_text(body.get("alias")):
            yield body["alias"], None, body.get("removed") is True
    elif name == "headwater_recall":
        yield "", _text(body.get("reason")), body.get("lifted") is True
    elif name == "headwater_describing":
        description = _beside(facets, "documentation").get("description")
        if is_text(description):
            yield "", description, not description
    elif name == "headwater_owning":
        owners = _owners(_beside(facets, "ownership"))
        if owners is not None:
            yield "", owners, owners == "[]"
    else:
        yield "", _text(body.get("reason")), False


def _beside(facets: dict[str, Any], name: str) -> dict[str, Any]:
    body = facets.get(name)
    return body if isinstance(body, dict) and not is_deleted(body) else {}


def _owners(ownership: dict[str, Any]) -> str | None:
    """Pairs [name, type or null] as ASCII JSON, in the order told; None where there is no list of owners."""
    if not isinstance(ownership.get("owners"), list):
        return None
    pairs = [[owner.get("name"), _text(owner.get("type"))] for owner in dicts(ownership["owners"])]
    return json.dumps([pair for pair in pairs if is_text(pair[0])], separators=(",", ":"))


def tag_lists(tags: Any) -> dict[tuple[str, str], str]:
    """What a `tags` facet's list says, by (source, field): sorted pairs [key, value or null], as JSON."""
    found: dict[tuple[str, str], set[tuple[str, str | None]]] = {}
    for tag in dicts(tags):
        key = tag.get("key")
        if is_text(key):
            named = (_text(tag.get("source")) or "", _text(tag.get("field")) or "")
            found.setdefault(named, set()).add((storable(key), _tag_value(tag.get("value"))))
    return {
        named: orjson.dumps(
            sorted(pairs, key=lambda pair: (pair[0], pair[1] or "", pair[1] is None))
        ).decode()
        for named, pairs in found.items()
    }


def _tag_value(value: Any) -> str | None:
    """The standard says text; what is none is kept as its JSON."""
    if value is None or is_text(value):
        return None if value is None else storable(value)
    return canonical_json(value).decode()


def transformation_kinds(transformations: Any) -> list[str]:
    """`TYPE/SUBTYPE` of each transformation, `/MASKING` where it hides the values; else one empty text."""
    kinds = []
    for entry in dicts(transformations):
        kind, subtype = _text(entry.get("type")) or "", _text(entry.get("subtype")) or ""
        if entry.get("masking") is True:
            kinds.append(f"{kind}/{subtype}/MASKING".upper())
        else:
            kinds.append((f"{kind}/{subtype}" if subtype else kind).upper())
    return kinds or [""]


def is_snapshot(facets: Any) -> bool:
    """Whether this event says that its inputs and outputs are all there are (R12)."""
    job_type = facets.get("jobType") if isinstance(facets, dict) else None
    if not isinstance(job_type, dict) or is_deleted(job_type):
        return False
    pattern = job_type.get("emissionPattern")
    modes = (
        pattern.get("eventContentMode") if isinstance(pattern, dict) else None,
        job_type.get("eventContentMode"),
    )
    return any(is_text(mode) and mode.upper() == "COMPLETE_SNAPSHOT" for mode in modes)


def is_deleted(body: Any) -> bool:
    return isinstance(body, dict) and body.get("_deleted") is True


def dicts(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def is_named(item: dict[str, Any]) -> bool:
    return is_text(item.get("namespace")) and is_text(item.get("name"))


def is_dataset(item: dict[str, Any]) -> bool:
    return item.get("type") == "DATASET" and is_named(item)


def is_text(value: Any) -> TypeGuard[str]:
    """Whether JSON says that this is a string: a `Number`, text to Python, is none."""
    return type(value) is str


def is_int64(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def _text(value: Any) -> str | None:
    return value if is_text(value) else None
