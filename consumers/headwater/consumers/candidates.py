"""Who may match a condition of a search: ids from the indexes, one by one, as they are needed.

A stream ends when its reader stops, so a word that a million facets have costs no more than
what is looked at. Dictionaries only grow, so whoever comes out of here may have said something
else since: `headwater.consumers.searching` looks at what stands now.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, or_, select

from headwater.consumers import naming, tables
from headwater.consumers.queries import Comparison, Condition, Words
from headwater.consumers.tables import facet_owner, facet_value, indexed, metric_point, run, word
from headwater.consumers.terms import Kind, Owner, words
from headwater.schemas.text import storable

_PAGE = 100
_BEGINNINGS = 20
_LAST = "\U0010ffff"
_DATASET_WORDS = frozenset({Kind.NAME, Kind.TYPE})
#: What curators state, by what it is about.
_STATED = frozenset({Kind.TAG, Kind.OWNER, Kind.DESCRIPTION})
_DATASET_FACETS = frozenset({Kind.TAG, Kind.OWNER, Kind.DESCRIPTION, Kind.COLUMN})
_JOB_FACETS = frozenset({Kind.TAG, Kind.OWNER, Kind.DESCRIPTION, Kind.CODE})
_RUN_FACETS = frozenset({Kind.TAG, Kind.PARAMETER, Kind.CODE, Kind.MODEL})


def datasets(connection: Connection, condition: Condition) -> Iterator[bytes]:
    """Datasets of which a facet, a name or a curator may say it."""
    told = _spoken(condition)
    subjects = condition.kinds & _DATASET_WORDS
    if condition.kinds & _STATED:
        subjects |= {Kind.STATEMENT}
    return chain(
        _with_name(connection, condition, Kind.NAME, tables.dataset),
        _with_word(connection, told, subjects),
        _owned(connection, told, condition.kinds & _DATASET_FACETS, Owner.DATASET),
    )


def jobs(connection: Connection, condition: Condition) -> Iterator[bytes]:
    """Jobs of which a facet or the name may say it."""
    told = _spoken(condition)
    return chain(
        _with_name(connection, condition, Kind.JOB, tables.job),
        _with_word(connection, told, condition.kinds & {Kind.JOB}),
        _owned(connection, told, condition.kinds & _JOB_FACETS, Owner.JOB),
        _with_value(connection, condition, Owner.JOB),
    )


def runs(connection: Connection, condition: Condition, *, by_job: bool) -> Iterator[bytes]:
    """Runs that may say it of themselves or of what they wrote; `by_job`: or whose job's name has it."""
    told = _spoken(condition)
    found = chain(
        _owned(connection, told, condition.kinds & _RUN_FACETS, Owner.RUN),
        _with_value(connection, condition, Owner.RUN),
        _with_point(connection, condition),
    )
    if by_job and told is not None and Kind.JOB in condition.kinds:
        named = select(run.c.run_id).join(word, word.c.subject_id == run.c.job_id)
        of_job = named.where(_is_word(told), word.c.kind == int(Kind.JOB), run.c.kind == 0)
        return chain(found, _stream(connection, of_job))
    return found


# -- words -------------------------------------------------------------------------------


def _spoken(condition: Condition) -> tuple[str, bool] | None:
    """The word to look up, the longest, and whether it is only a beginning."""
    if isinstance(condition, Words):
        return max(condition.words, key=len), condition.is_prefix
    if condition.sign != "=" or Kind.TAG not in condition.kinds:
        return None
    found = words(condition.key) or words(condition.text)
    return (max(found, key=len), False) if found else None


def _with_name(connection: Connection, condition: Condition, kind: Kind, table: Table) -> Iterator[bytes]:
    """What is called as typed, and a few names that begin so: the best answers come first."""
    if not isinstance(condition, Words) or kind not in condition.kinds:
        return
    (key,) = table.primary_key
    text, start = storable(condition.text), indexed(table.c.name)
    for where in (naming.called(table.c.name, text), and_(start >= text[:200], start < text[:200] + _LAST)):
        yield from connection.scalars(select(key).where(where).order_by(start).limit(_BEGINNINGS))


def _is_word(told: tuple[str, bool]) -> ColumnElement[bool]:
    text, is_prefix = told
    return and_(word.c.word >= text, word.c.word < text + _LAST) if is_prefix else word.c.word == text


def _with_word(
    connection: Connection, told: tuple[str, bool] | None, kinds: frozenset[Kind]
) -> Iterator[bytes]:
    if told is None or not kinds:
        return iter(())
    of_kinds = word.c.kind.in_([int(kind) for kind in kinds])
    return _stream(connection, select(word.c.subject_id).where(_is_word(told), of_kinds))


def _owned(
    connection: Connection, told: tuple[str, bool] | None, kinds: frozenset[Kind], owner: Owner
) -> Iterator[bytes]:
    if told is None or not kinds:
        return iter(())
    # A tag is looked up by its words alone, so only there a comparison has any.
    joined = select(facet_owner.c.owner_id).join(word, word.c.subject_id == facet_owner.c.facet_id)
    of_kinds = word.c.kind.in_([int(kind) for kind in kinds])
    return _stream(connection, joined.where(_is_word(told), of_kinds, facet_owner.c.kind == int(owner)))


# -- values ------------------------------------------------------------------------------


def _with_value(connection: Connection, condition: Condition, owner: Owner) -> Iterator[bytes]:
    query = select(facet_owner.c.owner_id).join(facet_value, facet_value.c.facet_id == facet_owner.c.facet_id)
    query = query.where(facet_owner.c.kind == int(owner))
    return chain.from_iterable(_stream(connection, query.where(where)) for where in _values(condition))


def _values(condition: Condition) -> Iterator[ColumnElement[bool]]:
    v = facet_value.c
    if isinstance(condition, Words):
        if condition.commit is not None:
            start = indexed(v.text)
            of_commit = and_(v.kind == int(Kind.COMMIT), indexed(v.key) == "", v.number.is_(None))
            yield and_(of_commit, start >= condition.commit, start < condition.commit + _LAST)
        for kind in sorted(condition.kinds & {Kind.PARAMETER, Kind.METRIC}):
            if condition.named is not None:
                yield _named(kind, condition.named)
        return
    for kind in sorted(condition.kinds & {Kind.PARAMETER, Kind.METRIC}):
        called = _named(kind, condition.key)
        if condition.sign is None:
            yield called
        elif condition.number is not None:
            yield and_(called, _compared(v.number, condition.sign, condition.number))
        else:
            text = storable(condition.text)
            yield and_(called, v.number.is_(None), naming.called(v.text, text))


def _named(kind: Kind, key: str) -> ColumnElement[bool]:
    v, wanted = facet_value.c, storable(key)
    return and_(v.kind == int(kind), naming.called(v.key, wanted))


def _compared(column: ColumnElement[Any], sign: str, number: float) -> ColumnElement[bool]:
    return {
        "=": column == number,
        "<": column < number,
        "<=": column <= number,
        ">": column > number,
        ">=": column >= number,
    }[sign]


def _with_point(connection: Connection, condition: Condition) -> Iterator[bytes]:
    query = point_query(condition)
    return iter(()) if query is None else _stream(connection, query)


def point_query(condition: Condition) -> Select[Any] | None:
    """Runs with a metric point that matches; None when no point can."""
    key = condition.named if isinstance(condition, Words) else condition.key
    if Kind.METRIC not in condition.kinds or key is None:
        return None
    wanted = storable(key)
    m = metric_point.c
    query = select(m.run_id).where(naming.called(m.key, wanted))
    if isinstance(condition, Comparison) and condition.sign is not None:
        if condition.number is None:
            return None
        query = query.where(_compared(m.value, condition.sign, condition.number))
    return query


def _stream(connection: Connection, query: Select[Any]) -> Iterator[bytes]:
    """The ids, fetched a page at a time as they are asked for; closed with the generator."""
    options = {"yield_per": _PAGE}
    with connection.execute(query, execution_options=options) as result:
        yield from result.scalars()


def any_of(conditions: tuple[Condition, ...]) -> ColumnElement[bool]:
    """Which rows of `facet_value` may match one of `conditions`."""
    keys = [
        storable(key)
        for condition in conditions
        if (key := condition.named if isinstance(condition, Words) else condition.key) is not None
    ]
    commits = any(isinstance(condition, Words) and condition.commit for condition in conditions)
    wanted: list[ColumnElement[bool]] = [facet_value.c.key.in_(keys)]
    if commits:
        wanted.append(facet_value.c.kind == int(Kind.COMMIT))
    return or_(*wanted)
