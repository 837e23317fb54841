"""What one event says in headwater's own facets, read for the reference fold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from uuid import UUID

from headwater.schemas import ids
from headwater.schemas.openlineage import Kind, Number, OpenLineageEvent
from headwater.schemas.text import storable
from tests.replay import reading


def _uuid_of(value: Any) -> bytes | None:
    text = reading.text_of(value)
    return UUID(text).bytes if text is not None and ids.is_uuid(text) else None


def _sha256_of(value: Any) -> bytes | None:
    text = reading.text_of(value) or ""
    return bytes.fromhex(text) if len(text) == 64 and set(text) <= set("0123456789abcdef") else None


def _count_of(value: Any) -> int | None:
    number = reading.integer_of(value)
    return number if number is not None and number >= 0 else None


def emission(event: OpenLineageEvent) -> dict[str, Any]:
    """Where the event stands in its emitter's chain; all None unless emitter and sequence are certain."""
    facet = reading.standing(reading.subject_facets(event), "headwater_emission") or {}
    emitter, sequence = _uuid_of(facet.get("emitterId")), _count_of(facet.get("sequence"))
    if emitter is None or sequence is None:
        return {"emitter_id": None, "sequence": None, "previous": None, "final": None}
    return {
        "emitter_id": emitter,
        "sequence": sequence,
        "previous": _sha256_of(facet.get("previous")),
        "final": facet.get("final") is True,
    }


def closures(event: OpenLineageEvent) -> Iterator[dict[str, Any]]:
    facet = reading.standing(reading.run_facets(event), "headwater_runClosed") or {}
    emitter = _uuid_of(facet.get("emitterId"))
    last, count = reading.integer_of(facet.get("lastSequence")), reading.integer_of(facet.get("events"))
    if emitter is not None and last is not None and count is not None:
        yield {"emitter_id": emitter, "last_sequence": last, "events": count}


_NAMED_NUMBERS = ("NaN", "Infinity", "-Infinity")


def _float_of(value: Any) -> float | None:
    """`value` as a double when it is a number, also one too wide for 64 bits, or one spelled out."""
    if type(value) in (int, float, Number) or (type(value) is str and value in _NAMED_NUMBERS):
        return float(value)
    return None


def metric_points(event: OpenLineageEvent) -> Iterator[dict[str, Any]]:
    facet = reading.standing(reading.run_facets(event), "headwater_metricPoints") or {}
    run = reading.run_of(event).hex()
    for point in map(reading.object_of, reading.list_of(facet.get("points"))):
        key, value = reading.text_of(point.get("key")), _float_of(point.get("value"))
        step, at = reading.integer_of(point.get("step")), reading.integer_of(point.get("time"))
        if key is not None and value is not None and step is not None and at is not None:
            yield {
                "point_id": ids.hash128("metric", run, key, str(step), str(at), repr(value)),
                "key": storable(key),
                "step": step,
                "at": at,
                "value": None if math.isnan(value) else value,
            }


Decision: TypeAlias = tuple[str, str, str | None, bool]


def _governing(event: OpenLineageEvent) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """(facet, dataset, body) of each decision that a DatasetEvent states."""
    if event.kind is Kind.DATASET:
        subject = event.document["dataset"]
        dataset = ids.dataset_id(subject["namespace"], subject["name"])
        for name in _DECISIONS:
            body = reading.standing(reading.subject_facets(event), name)
            if body is not None:
                yield name, dataset, body


def governed_versions(event: OpenLineageEvent) -> Iterator[tuple[bytes, str]]:
    """Versions that exist because a decision names them."""
    for _, dataset, body in _governing(event):
        version = reading.text_of(body.get("version"))
        if version:
            yield dataset, version


def governance(event: OpenLineageEvent) -> Iterator[dict[str, Any]]:
    """What a DatasetEvent decides about the dataset, or one version of it."""
    for name, dataset, body in _governing(event):
        version, actor = reading.text_of(body.get("version")), reading.text_of(body.get("actor"))
        for kind, key, value, withdrawn in _DECISIONS[name]({**reading.subject_facets(event), "": body}):
            yield {
                "kind": kind,
                "key": key,
                "dataset_id": dataset,
                "version_id": ids.version_id(dataset, version) if version else _written(dataset, body),
                "value": None if value is None else storable(value),
                "withdrawn": withdrawn,
                "actor": None if actor is None else storable(actor),
            }


def _written(dataset: bytes, facet: dict[str, Any]) -> bytes | None:
    """What a run wrote without a version, when the decision names a run by its UUID."""
    run = reading.text_of(facet.get("productionRunId")) or ""
    return ids.unversioned_output_id(dataset, ids.run_key(run, "", "")) if ids.is_uuid(run) else None


def _tags(facets: dict[str, Any]) -> Iterator[Decision]:
    facet = facets[""]
    for key, value in reading.object_of(facet.get("tags")).items():
        yield "tag", key, reading.text_of(value), value is None


def _alias(facets: dict[str, Any]) -> Iterator[Decision]:
    facet = facets[""]
    alias = reading.text_of(facet.get("alias"))
    if alias is not None:
        yield "alias", alias, None, facet.get("removed") is True


def _recall(facets: dict[str, Any]) -> Iterator[Decision]:
    facet = facets[""]
    yield "recall", "", reading.text_of(facet.get("reason")), facet.get("lifted") is True


def _erasure(facets: dict[str, Any]) -> Iterator[Decision]:
    yield "erasure", "", reading.text_of(facets[""].get("reason")), False


def _description(facets: dict[str, Any]) -> Iterator[Decision]:
    text = reading.text_of((reading.standing(facets, "documentation") or {}).get("description"))
    if text is not None:
        yield "description", "", text, text == ""


def _ownership(facets: dict[str, Any]) -> Iterator[Decision]:
    listed = (reading.standing(facets, "ownership") or {}).get("owners")
    if isinstance(listed, list):
        owners = [(reading.text_of(o.get("name")), reading.text_of(o.get("type"))) for o in _objects(listed)]
        named = [[name, kind] for name, kind in owners if name is not None]
        yield "ownership", "", json.dumps(named, separators=(",", ":")), not named


def _objects(items: list[Any]) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)]


_DECISIONS: dict[str, Callable[[dict[str, Any]], Iterator[Decision]]] = {
    "headwater_tagging": _tags,
    "headwater_aliasing": _alias,
    "headwater_recall": _recall,
    "headwater_erasure": _erasure,
    "headwater_describing": _description,
    "headwater_owning": _ownership,
}
