"""The state digest: whether two stores hold the same, and the first row where they do not.

Every covered table is read in the order of its natural key, and after the tables what each
input is bound to: no row holds that, yet it is what people ask for. A row's leaf goes into one
of 256 buckets, by the last byte of the row's id; a bucket's digest is the sha256 over its leaves
in that order, a relation's over its buckets, the root over the relations. Nothing but 256 running
hashes is held in memory. Append times and positions are left out: they belong to the log that
was read, not to what it says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import orjson
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    case,
    cast,
    literal_column,
    null,
    select,
    true,
)

from headwater.consumers import tables
from headwater.consumers.binding import BOUND, DROPPED, LATER
from headwater.consumers.fold import RunFold
from headwater.consumers.store import Store

BUCKETS = 256
#: Where a copy of an event lay, and when it was appended: not part of what the log says.
LEFT_OUT = {"event": {"topic", "partition", "offset", "appended_at"}}
#: Tables without a primary key, and the columns that order their rows totally.
_ORDERED_BY = {"run_input": ("run_id", "dataset_id", "version_id", "production_id", "role")}
_CHUNK = 2_000

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """What is digested as one: a query in a total order, and which of its columns that order is by."""

    name: str
    columns: tuple[str, ...]
    order: tuple[str, ...]
    #: The column whose last byte chooses the bucket.
    place: int
    query: Select[Any]


@dataclass(frozen=True, slots=True)
class TableDigest:
    """One table: how many rows, and each bucket's digest in hex ("" where it is empty)."""

    rows: int
    buckets: tuple[str, ...]

    @property
    def root(self) -> str:
        return hashlib.sha256("".join(self.buckets).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StateDigest:
    """Everything the log says, as one hash; and by table, so that a difference can be found."""

    tables: dict[str, TableDigest]

    @property
    def root(self) -> str:
        lines = (f"{name} {table.rows} {table.root}\n" for name, table in self.tables.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Difference:
    """The first row that two stores do not share; None on the side that has no such row."""

    table: str
    left: dict[str, Any] | None
    right: dict[str, Any] | None


def digest(store: Store) -> StateDigest:
    """The digest of `store`, from one snapshot."""
    with store.snapshot() as held:
        return digest_of(held)


def digest_of(held: Connection) -> StateDigest:
    """The digest of the state that `held`, a snapshot, sees."""
    return StateDigest({relation.name: _digest(held, relation) for relation in RELATIONS})


def _digest(held: Connection, relation: Relation) -> TableDigest:
    hashes = [hashlib.sha256() for _ in range(BUCKETS)]
    used: set[int] = set()
    count = 0
    with held.execute(relation.query, execution_options={"yield_per": _CHUNK}) as result:
        for row in result:
            bucket, leaf = _leaf(relation, tuple(row))
            hashes[bucket].update(leaf)
            used.add(bucket)
            count += 1
    return TableDigest(
        count, tuple(hashes[index].hexdigest() if index in used else "" for index in range(BUCKETS))
    )


def first_difference(
    left: Connection, right: Connection, one: StateDigest, other: StateDigest
) -> Difference | None:
    """The first row in which two snapshots differ, relations in order; None when their digests are equal."""
    for relation in RELATIONS:
        a, b = one.tables[relation.name], other.tables[relation.name]
        buckets = {index for index in range(BUCKETS) if a.buckets[index] != b.buckets[index]}
        if buckets:
            with (
                closing(_rows(left, relation, buckets)) as a_rows,
                closing(_rows(right, relation, buckets)) as b_rows,
            ):
                return _first_in(relation, a_rows, b_rows)
    return None


def _first_in(relation: Relation, left: Iterator[Row], right: Iterator[Row]) -> Difference | None:
    # Both come in the order of one key, so at the first pair that differs the lesser key is the odd one.
    for a, b in zip_longest(left, right):
        if a == b:
            continue
        key_a, key_b = (None if row is None else _key_of(relation, row) for row in (a, b))
        if key_b is None or (key_a is not None and key_a < key_b):
            return Difference(relation.name, _named(relation, a), None)
        if key_a is None or key_b < key_a:
            return Difference(relation.name, None, _named(relation, b))
        return Difference(relation.name, _named(relation, a), _named(relation, b))
    return None


def _rows(held: Connection, relation: Relation, buckets: set[int]) -> Generator[Row, None, None]:
    with held.execute(relation.query, execution_options={"yield_per": _CHUNK}) as result:
        for row in result:
            values = tuple(row)
            if _leaf(relation, values)[0] in buckets:
                yield _canonical(relation, values)


def _leaf(relation: Relation, row: Row) -> tuple[int, bytes]:
    """(bucket, canonical bytes) of one row: its length and its JSON, so that leaves never run together."""
    text = orjson.dumps(_canonical(relation, row))
    return row[relation.place][-1], b"%d:%b" % (len(text), text)


def _canonical(relation: Relation, row: Row) -> Row:
    if relation.name == "run_fold":
        row = (row[0], _fold_text(row), *row[2:])
    # repr of a float, since JSON has no infinities and orjson writes them as null.
    return tuple(
        value.hex() if isinstance(value, bytes) else repr(value) if isinstance(value, float) else value
        for value in row
    )


def _fold_text(row: Row) -> str:
    """A fold's document in its canonical form; a damaged one as it is, so that it is found to differ."""
    try:
        return RunFold.load(row[0].hex(), row[1]).canonical().decode()
    except (ValueError, LookupError, TypeError, AttributeError):
        return bytes(row[1]).hex()


def _key_of(relation: Relation, row: Row) -> list[tuple[bool, Any]]:
    values = (row[relation.columns.index(name)] for name in relation.order)
    return [(value is not None, value) for value in values]


def _named(relation: Relation, row: Row | None) -> dict[str, Any] | None:
    return None if row is None else dict(zip(relation.columns, row, strict=True))


def _of_table(table: Table) -> Relation:
    left_out = LEFT_OUT.get(table.name, set())
    columns = [column for column in table.columns if column.name not in left_out]
    names = tuple(column.name for column in columns)
    order = _ORDERED_BY.get(table.name) or tuple(column.name for column in table.primary_key)
    query = select(*(cast(column, Text) if column.name in tables.JSON else column for column in columns))
    # The id, and of an event its hash rather than its time.
    place = next(at for at, name in enumerate(names) if name.endswith("_id") or name == "a")
    return Relation(table.name, names, order, place, query.order_by(*_sorted(table.c[n] for n in order)))


def _of_bindings() -> Relation:
    """What each input is bound to, by the very text that the walks and the views bind with."""
    i, s = tables.run_input.alias("i"), tables.run_output.alias("s")
    own = [i.c[name] for name in ("run_id", "dataset_id", "version_id", "production_id", "role", "first_at")]
    dropped = literal_column(DROPPED, Boolean)
    bound = case((dropped, null()), else_=s.c.production_id)
    query = select(*own, bound.label("bound"), dropped.label("dropped")).select_from(
        i.outerjoin(s, s.c.production_id == literal_column(BOUND, tables.Id))
    )
    order = _ORDERED_BY["run_input"]
    names = (*(column.name for column in own), "bound", "dropped")
    return Relation("resolved_input", names, order, 0, query.order_by(*_sorted(i.c[n] for n in order)))


def _of_later_bindings() -> Relation:
    """What each unversioned input of a streaming run is bound to as well."""
    i, s = tables.run_input.alias("i"), tables.run_output.alias("s")
    g, m = tables.dataset.alias("g"), tables.dataset.alias("m")
    columns = [i.c.run_id, i.c.dataset_id, i.c.role, s.c.production_id]
    joined = i.join(g, true()).join(m, true()).join(s, true())
    query = select(*columns).select_from(joined).where(literal_column(LATER)).order_by(*columns)
    names = ("run_id", "dataset_id", "role", "bound")
    return Relation("resolved_later", names, names, 0, query)


def _sorted(columns: Iterable[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [column.asc().nulls_first() for column in columns]


#: What the state digest covers, in the order in which differences are looked for.
RELATIONS = (*map(_of_table, tables.COVERED), _of_bindings(), _of_later_bindings())
