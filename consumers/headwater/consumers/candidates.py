"""Who may match a condition of a search: ids from the indexes, never more than are asked for.

Dictionaries only grow, so whoever comes out of here may have said something else since, and as of a
time before: `headwater.consumers.searching` looks at what stood. How the ids of several conditions
come together is the business of `headwater.consumers.sieve`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, or_, select

from headwater.consumers import naming, tables
from headwater.consumers.queries import Comparison, Condition, Words
from headwater.consumers.statement_texts import spelled
from headwater.consumers.statements import Statements
from headwater.consumers.tables import facet_value, indexed, metric_point, word
from headwater.consumers.terms import OF_FACETS, Kind, Owner, words
from headwater.schemas.text import storable

_BEGINNINGS = 20
_LAST = "\U0010ffff"
_DATASET_WORDS = frozenset({Kind.NAME, Kind.TYPE})
#: What curators state, by what it is about.
_STATED = frozenset({Kind.TAG, Kind.OWNER, Kind.DESCRIPTION})
_DATASET_FACETS = frozenset({Kind.TAG, Kind.OWNER, Kind.DESCRIPTION, Kind.COLUMN})
_JOB_FACETS = frozenset({Kind.TAG, Kind.OWNER, Kind.DESCRIPTION, Kind.CODE})
_RUN_FACETS = frozenset({Kind.PARAMETER, Kind.CODE, Kind.MODEL})
#: No list of ids that is asked for is longer, whatever the bound.
LONGEST = 2_000
_OWNERS = {
    owner: spelled(
        "SELECT {o} FROM {w} CROSS JOIN facet_owner o WHERE o.facet_id = w.id "
        f"AND o.kind = {int(owner)} LIMIT {LONGEST + 1}",
        {"o": "o.owner_id"},
    )
    for owner in Owner
}


class Reach(NamedTuple):
    """Ids in the order in which they were found, each once; `is_whole`: there are no others."""

    ids: dict[bytes, None]
    is_whole: bool

    def __bool__(self) -> bool:
        return bool(self.ids) or not self.is_whole


def datasets(connection: Connection, condition: Condition, most: int) -> Reach:
    """Datasets of which a facet, a name or a curator may say it; those with such a name first."""
    told = _spoken(condition)
    subjects = condition.kinds & _DATASET_WORDS
    if condition.kinds & _STATED:
        subjects |= {Kind.STATEMENT}
    queries: list[Select[Any] | _Owned] = [
        *_with_name(condition, Kind.NAME, tables.dataset),
        *_with_word(told, subjects),
        *_owned(told, condition.kinds & _DATASET_FACETS, Owner.DATASET),
    ]
    return _reached(connection, queries, most)


def jobs(connection: Connection, condition: Condition, most: int) -> Reach:
    """Jobs of which a facet or the name may say it."""
    told = _spoken(condition)
    queries: list[Select[Any] | _Owned] = [
        *_with_name(condition, Kind.JOB, tables.job),
        *_with_word(told, condition.kinds & {Kind.JOB}),
        *_owned(told, condition.kinds & _JOB_FACETS, Owner.JOB),
        *_with_value(condition, Owner.JOB),
    ]
    return _reached(connection, queries, most)


def job_names(connection: Connection, condition: Condition, most: int) -> Reach:
    """Jobs whose names have it."""
    return _reached(connection, _with_word(_spoken(condition), condition.kinds & {Kind.JOB}), most)


def run_facets(connection: Connection, condition: Condition, most: int) -> Reach:
    """The facets of runs, and of what they wrote, that say it: exactly those, but for tags."""
    told = _spoken(condition)
    # A tag is looked up by its words alone, so only there a comparison has any.
    kinds = condition.kinds & _RUN_FACETS if isinstance(condition, Words) else frozenset[Kind]()
    values = [select(facet_value.c.facet_id).where(where) for where in _values(condition)]
    return _reached(connection, [*_with_word(told, kinds & OF_FACETS), *values], most)


def owners_of(connection: Connection, facets: Reach) -> Reach:
    """The runs that said one of `facets`, of themselves or of what they wrote."""
    rows = Statements(connection).ask(_OWNERS[Owner.RUN], facets.ids)
    return Reach({row[0]: None for row in rows[:LONGEST]}, facets.is_whole and len(rows) <= LONGEST)


def runs(connection: Connection, condition: Condition, most: int) -> Reach:
    """Runs that may say it by a tag or by a point of a metric."""
    points = point_query(condition)
    queries = _owned(_spoken(condition), condition.kinds & {Kind.TAG}, Owner.RUN)
    return _reached(connection, [*queries, *([] if points is None else [points])], most)


class _Owned(NamedTuple):
    """Whose the facets of `query` are, as far as they are of `owner`'s kind."""

    query: Select[Any]
    owner: Owner


def _reached(connection: Connection, queries: Iterable[Select[Any] | _Owned], most: int) -> Reach:
    found: dict[bytes, None] = {}
    is_whole = True
    for one in queries:
        query = one.query if isinstance(one, _Owned) else one
        ids = connection.scalars(query.limit(most + 1)).all()
        is_whole = is_whole and len(ids) <= most
        if isinstance(one, _Owned):
            # Not one statement: of a common word a million facets may be of none of this kind.
            owners = Statements(connection).ask(_OWNERS[one.owner], dict.fromkeys(ids))[: most + 1]
            is_whole = is_whole and len(owners) <= most
            ids = [row[0] for row in owners]
        found.update(dict.fromkeys(ids))
    return Reach(found, is_whole)


# -- words -------------------------------------------------------------------------------


def _spoken(condition: Condition) -> tuple[str, bool] | None:
    """The word to look up, the longest, and whether it is only a beginning."""
    if isinstance(condition, Words):
        return max(condition.words, key=len), condition.is_prefix
    if condition.sign != "=" or Kind.TAG not in condition.kinds:
        return None
    found = words(condition.key) or words(condition.text)
    return (max(found, key=len), False) if found else None


def _with_name(condition: Condition, kind: Kind, table: Table) -> Iterator[Select[Any]]:
    """What is called as typed, and a few names that begin so: the best answers come first."""
    if not isinstance(condition, Words) or kind not in condition.kinds:
        return
    (key,) = table.primary_key
    text, start = storable(condition.text), indexed(table.c.name)
    for where in (naming.called(table.c.name, text), and_(start >= text[:200], start < text[:200] + _LAST)):
        some = select(key).where(where).order_by(start).limit(_BEGINNINGS).subquery()
        yield select(*some.c)


def _is_word(told: tuple[str, bool]) -> ColumnElement[bool]:
    text, is_prefix = told
    return and_(word.c.word >= text, word.c.word < text + _LAST) if is_prefix else word.c.word == text


def _with_word(told: tuple[str, bool] | None, kinds: frozenset[Kind]) -> list[Select[Any]]:
    if told is None or not kinds:
        return []
    of_kinds = word.c.kind.in_([int(kind) for kind in kinds])
    return [select(word.c.subject_id).where(_is_word(told), of_kinds)]


def _owned(told: tuple[str, bool] | None, kinds: frozenset[Kind], owner: Owner) -> list[_Owned]:
    return [_Owned(query, owner) for query in _with_word(told, kinds)]


# -- values ------------------------------------------------------------------------------


def _with_value(condition: Condition, owner: Owner) -> Iterator[_Owned]:
    for where in _values(condition):
        yield _Owned(select(facet_value.c.facet_id).where(where), owner)


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
