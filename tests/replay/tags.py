"""Who tagged what, read for the reference fold: of each source and field what was said last (R13)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from headwater.schemas import ids
from headwater.schemas.openlineage import Kind, OpenLineageEvent, canonical_json
from headwater.schemas.text import storable
from tests.replay import reading
from tests.replay.rows import Tables


class Tagged(NamedTuple):
    """One `tags` facet, and which entity it is on."""

    kind: str
    entity: bytes
    body: Any


def _facets_on(event: OpenLineageEvent) -> Iterator[Tagged]:
    if event.kind is Kind.RUN:
        yield from _of("run", reading.run_of(event), reading.run_facets(event))
    if event.kind is not Kind.DATASET:
        job = event.document["job"]
        yield from _of("job", ids.job_id(job["namespace"], job["name"]), reading.job_facets(event))
    for listing in reading.listings(event):
        yield from _of("dataset", listing.dataset, listing.facets)


def _of(kind: str, entity: bytes, facets: dict[str, Any]) -> Iterator[Tagged]:
    if "tags" in facets:
        yield Tagged(kind, entity, facets["tags"])


def _named(body: Any) -> dict[tuple[str, str], set[tuple[str, str | None]]]:
    """The tags of one facet, by the source and the field that each names."""
    found: dict[tuple[str, str], set[tuple[str, str | None]]] = {}
    for tag in map(reading.object_of, reading.list_of(reading.object_of(body).get("tags"))):
        key, value = reading.text_of(tag.get("key")), tag.get("value")
        if key is None:
            continue
        if type(value) is str:
            value = storable(value)
        elif value is not None:
            value = canonical_json(value).decode()
        pair = (reading.text_of(tag.get("source")) or "", reading.text_of(tag.get("field")) or "")
        found[pair] = found.get(pair, set()) | {(storable(key), value)}
    return found


def _text(tags: set[tuple[str, str | None]]) -> str:
    """In the order of the keys; where they are equal, of the values, and none comes after the empty text."""
    ordered = sorted(tags, key=lambda tag: (tag[0], "" if tag[1] is None else tag[1], tag[1] is None))
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))


def write_tags(found: Tables, events: Iterable[OpenLineageEvent]) -> None:
    """The last word on each (entity, source, field), and up to when each producer took back what it said."""
    registers: dict[tuple[str, bytes, str, str], tuple[str, int, str, str]] = {}
    floors: dict[tuple[str, bytes, str], str] = {}
    for event in events:
        time, rank, event_id = reading.stamp_of(event)
        stamp = f"{time + 2**62:017x}{rank}{event_id[:16].hex()}"
        producer = reading.text_of(event.document.get("producer")) or ""
        for kind, entity, body in _facets_on(event):
            if reading.is_deleted(body):
                floor = (kind, entity, producer)
                floors[floor] = max(stamp, floors.get(floor, stamp))
                continue
            for (source, field), tags in _named(body).items():
                key = (kind, entity, source, field)
                said = (stamp, time, _text(tags), producer)
                registers[key] = max(said, registers.get(key, said))
    for (kind, entity, source, field), (stamp, at, tags_text, producer) in registers.items():
        found.add(
            "tag_register",
            register_id=ids.hash128("tags", kind, entity.hex(), source, field),
            kind=kind,
            entity_id=entity,
            source=storable(source),
            field=storable(field),
            stamp=stamp,
            at=at,
            producer=storable(producer),
            tags=tags_text,
        )
    for (kind, entity, producer), stamp in floors.items():
        found.add(
            "tag_floor",
            floor_id=ids.hash128("untags", kind, entity.hex(), producer),
            kind=kind,
            entity_id=entity,
            producer=storable(producer),
            stamp=stamp,
        )
