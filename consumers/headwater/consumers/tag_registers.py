"""The tags that producers state: of each entity, source and field what was said last (rule R13).

A register whose producer has taken back what it said of the entity stands no longer; its row stays,
because a later statement may be on its way. What curators say is governance, and not here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, Text, cast, exists, select

from headwater.consumers.tables import tag_floor, tag_register
from headwater.schemas.text import original

#: Whether a row of `tag_register` was not taken back, in SQL.
STANDING = """NOT EXISTS (
  SELECT 1 FROM tag_floor l WHERE l.entity_id = {register}.entity_id AND l.kind = {register}.kind
    AND l.producer = {register}.producer AND l.stamp > {register}.stamp)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerTag:
    """One tag as its source states it now. `field`: the column that it is about, None for the whole."""

    entity: bytes
    source: str
    field: str | None
    key: str
    value: str | None
    #: µs since 1970 UTC
    at: int


def standing(
    connection: Connection, kind: str, entities: Collection[bytes], as_of: int | None = None
) -> list[ProducerTag]:
    """The tags of `entities` (datasets, jobs or runs, as `kind` says), the oldest statement first.

    A register keeps its last statement alone: as of a time before it, it says nothing.
    """
    x, floor = tag_register, tag_floor
    taken_back = exists().where(
        floor.c.entity_id == x.c.entity_id,
        floor.c.kind == x.c.kind,
        floor.c.producer == x.c.producer,
        floor.c.stamp > x.c.stamp,
    )
    query = select(x.c.entity_id, x.c.source, x.c.field, x.c.at, cast(x.c.tags, Text)).where(
        x.c.kind == kind, x.c.entity_id.in_(entities), ~taken_back
    )
    if as_of is not None:
        query = query.where(x.c.at <= as_of)
    return [
        ProducerTag(
            entity=entity,
            source=original(source),
            field=original(field) or None,
            key=original(key),
            value=None if value is None else original(value),
            at=at,
        )
        for entity, source, field, at, tags in connection.execute(
            query.order_by(x.c.stamp, x.c.source, x.c.field)
        )
        for key, value in orjson.loads(tags)
    ]
