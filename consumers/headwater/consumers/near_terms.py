"""What may have been meant by the terms of a search that found nothing.

For names the nearest names, for the other terms the terms as they would be typed: `tag:pii`,
`r2>0.4`. Candidates come from indexes alone, as in `headwater.consumers.nearest`. Of what stands as
it was typed nothing is offered, unless it may not have been there at the time asked about.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, Text, column, exists, select, values

from headwater.consumers.nearest import (
    LONGEST_EDITED,
    edits,
    near_words,
    nearest_names,
    nearest_of,
    texts_around,
)
from headwater.consumers.queries import Comparison, Condition, Words
from headwater.consumers.tables import facet_value, indexed, metric_point
from headwater.consumers.terms import Kind, folded
from headwater.schemas.text import original, storable

_MOST = 3
#: Distinct names of parameters and metrics that are looked at before and after the one typed.
_BESIDE = 50
_LONGEST = 200


def near_terms(connection: Connection, wanted: tuple[Condition, ...], as_of: int | None) -> tuple[str, ...]:
    """Up to three names and terms like those of `wanted`."""
    found = dict.fromkeys((*_names(connection, wanted), *_terms(connection, wanted, as_of)))
    return tuple(found)[:_MOST]


def is_about_names(condition: Condition) -> bool:
    return isinstance(condition, Words) and bool(condition.kinds & {Kind.NAME, Kind.JOB})


def _names(connection: Connection, wanted: tuple[Condition, ...]) -> Iterator[str]:
    for one in wanted:
        if is_about_names(one):
            for kind in (Kind.NAME, Kind.JOB):
                yield from nearest_names(connection, one.term.partition(":")[2] or one.term, kind=kind)


def _terms(connection: Connection, wanted: tuple[Condition, ...], as_of: int | None) -> Iterator[str]:
    for one in wanted:
        field = f"{one.term.partition(':')[0]}:" if _has_field(one) else ""
        if isinstance(one, Words):
            if field and not is_about_names(one):
                near = near_words(connection, one.text, one.kinds)
                yield from (
                    f"{field}{word}" for word in near if as_of is not None or word != folded(one.text)
                )
            if one.named is not None:
                yield from (f"{field}{key}" for key in _near_keys(connection, one.named, one.kinds))
            continue
        if one.sign is None:
            yield from (f"{field}{key}" for key in _near_keys(connection, one.key, one.kinds))
            continue
        keys = [*_near_keys(connection, one.key, one.kinds)]
        if Kind.TAG in one.kinds:
            keys += [key for key in near_words(connection, one.key, {Kind.TAG}) if key != folded(one.key)]
        yield from (f"{field}{key}{one.sign}{one.text}" for key in keys)


def _has_field(condition: Condition) -> bool:
    """Whether the term says where to look: the key of a comparison may have a colon itself."""
    if isinstance(condition, Comparison):
        return not condition.term.startswith(condition.key)
    return ":" in condition.term and condition.text != condition.term


# -- names of parameters and metrics -------------------------------------------------------


def _near_keys(connection: Connection, key: str, kinds: frozenset[Kind]) -> tuple[str, ...]:
    """Names of parameters and metrics near `key`; none where something is called exactly so."""
    told = storable(key)[:_LONGEST]
    places = list(_places(kinds))
    spelled = [told, told.lower(), told.upper()]
    if len(told) <= LONGEST_EDITED:
        spelled += sorted(set(edits(told)))
    known = [text for place in places for text in _known(connection, spelled, *place)]
    if told in known:
        return ()
    known += [text for place in places for text in texts_around(connection, told, *place, count=_BESIDE)]
    return nearest_of(key, map(original, known), _MOST)


def _places(kinds: frozenset[Kind]) -> Iterator[tuple[ColumnElement[str], *tuple[ColumnElement[bool], ...]]]:
    """Where names of those kinds stand: the indexed text, and what of it is meant."""
    for kind in sorted(kinds & {Kind.PARAMETER, Kind.METRIC}):
        yield indexed(facet_value.c.key), facet_value.c.kind == int(kind)
    if Kind.METRIC in kinds:
        yield (indexed(metric_point.c.key),)


def _known(
    connection: Connection, wanted: list[str], key: ColumnElement[str], *where: ColumnElement[bool]
) -> list[str]:
    """Which of `wanted` are keys; one probe each."""
    rows = values(column("w", Text), name="v").data([(one,) for one in wanted]).cte("asked")
    return list(connection.scalars(select(rows.c.w).where(exists().where(key == rows.c.w, *where))))
