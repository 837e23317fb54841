"""The product under test, driven as its consumers drive it, and its tables read back as the reference's.

Nothing is patched: a log in memory keeps the promise of `headwater.consumers.log.Log`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Text, cast, column, select, text
from sqlalchemy.engine import Connection

from headwater.consumers import tables, walk
from headwater.consumers.binding import AMBIGUOUS, BOUND, DROPPED, LATER, LATER_FROM
from headwater.consumers.details import STATES, Details
from headwater.consumers.lineage import LineageProjection
from headwater.consumers.log import Record
from headwater.consumers.moments import microseconds
from headwater.consumers.statements import Statements
from headwater.consumers.store import Store
from headwater.schemas.errors import Unparseable
from headwater.schemas.openlineage import OpenLineageEvent, parse
from tests.replay.binding import Binding
from tests.replay.rows import COVERED, Row, Tables, columns
from tests.support.timed_log import TimedLog

Batch = Sequence[tuple[Record, OpenLineageEvent]]


class MemoryLog(TimedLog):
    """A log whose partitions are lists of values, appended a microsecond apart."""

    topic = "memory"

    def __init__(self, *partitions: Sequence[bytes]) -> None:
        super().__init__(
            *([(value, 1_000_000 + offset) for offset, value in enumerate(values)] for values in partitions)
        )


def batch_of(values: Iterable[bytes], partition: str = "0") -> Batch:
    """The acceptable events of `values`, as a runner hands them to the projection."""
    batch = []
    for offset, value in enumerate(values):
        try:
            batch.append((Record("memory", partition, offset, 1_000_000 + offset, value, 0), parse(value)))
        except Unparseable:
            continue
    return batch


def apply(store: Store, projection: LineageProjection, values: Iterable[bytes]) -> None:
    """One batch, one transaction."""
    with store.writing() as connection:
        projection.apply(connection, batch_of(values))
    projection.committed()


def apply_all(store: Store, batches: Iterable[Sequence[bytes]]) -> None:
    projection = LineageProjection()
    for values in batches:
        apply(store, projection, values)


def wipe(store: Store) -> None:
    """Empties every table; the schema stays."""
    with store.writing() as connection:
        for table in tables.metadata.sorted_tables:
            if table.name != "projection":
                connection.execute(table.delete())


def split(values: Sequence[bytes], sizes: Sequence[int]) -> list[Sequence[bytes]]:
    """`values` cut into batches of `sizes`, over and over."""
    batches: list[Sequence[bytes]] = []
    start = 0
    while start < len(values):
        size = max(1, sizes[len(batches) % len(sizes)])
        batches.append(values[start : start + size])
        start += size
    return batches


def contents(store: Store) -> dict[str, Counter[Row]]:
    """Every covered row as the reference would give it, and how often it is there."""
    with store.connecting() as connection:
        return {table.name: Counter(_rows(connection, table)) for table in COVERED}


def _rows(connection: Connection, table: Any) -> Iterable[Row]:
    names = columns(table.name)
    # Text, because the driver would read the JSON itself, and round its numbers.
    chosen = (cast(table.c[name], Text) if name in tables.JSON else table.c[name] for name in names)
    for row in connection.execute(select(*chosen)):
        yield tuple(map(_bytes, row))


def _bytes(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview | bytearray) else value


def differences(store: Store, expected: Tables) -> list[str]:
    """What `store` has and should not, and lacks and should have; a line each."""
    lines = []
    for table, found in contents(store).items():
        names = columns(table)
        wanted = Counter(expected.rows[table])
        for sign, rows in (("unexpected", found - wanted), ("missing", wanted - found)):
            lines += [f"{table}: {sign} {_shown(names, row)}" for row in rows.elements()]
    return sorted(lines)


def _shown(names: Sequence[str], row: Row) -> str:
    cells = (f"{n}={v.hex() if isinstance(v, bytes) else v!r}" for n, v in zip(names, row, strict=True))
    return " ".join(cells)


def bindings(store: Store) -> dict[Row, Binding]:
    """What the product's own SQL binds each input to."""
    names = columns("run_input")
    chosen = ", ".join(f"i.{name}" for name in names)
    statement = text(
        f"SELECT {chosen}, s.production_id, {DROPPED}, {AMBIGUOUS} FROM run_input i "
        f"LEFT JOIN run_output s ON s.production_id = {BOUND}"
    )
    with store.connecting() as connection:
        rows = connection.execute(
            statement.columns(*(_column(n) for n in (*names, "bound", "dropped", "ambiguous")))
        )
        found = dict(_bound(tuple(map(_bytes, row)), len(names)) for row in rows)
        for row, later in _later(connection).items():
            found[row] = replace(found[row], later=frozenset(later))
        return found


def _later(connection: Connection) -> dict[Row, set[bytes]]:
    """What inputs of streaming runs are bound to besides."""
    names = columns("run_input")
    chosen = ", ".join(f"i.{name}" for name in names)
    statement = text(f"SELECT {chosen}, s.production_id FROM {LATER_FROM} WHERE {LATER}")
    found: dict[Row, set[bytes]] = {}
    for row in connection.execute(statement.columns(*(_column(n) for n in (*names, "bound")))):
        *cells, production = map(_bytes, row)
        found.setdefault(tuple(cells), set()).add(production)
    return found


def _column(name: str) -> ColumnElement[Any]:
    if name in ("live", "dropped", "ambiguous"):
        return column(name, Boolean)
    return column(name, tables.Id) if name.endswith("_id") or name == "bound" else column(name)


def _bound(cells: Row, width: int) -> tuple[Row, Binding]:
    row, production = cells[:width], cells[width]
    dropped, ambiguous = map(bool, cells[width + 1 :])
    named = row[columns("run_input").index("production_id")]
    if named is not None:
        return row, Binding(named, inferred=False, ambiguous=ambiguous)
    return row, Binding(None if dropped else production, inferred=True, dropped=dropped, ambiguous=ambiguous)


def ambiguous(store: Store, runs: Collection[bytes], as_of: int | None = None) -> set[tuple[bytes, bytes]]:
    """(run, dataset) of the inputs that the statement beneath a lineage's edges finds ambiguous."""
    with store.connecting() as connection:
        return {(run, dataset) for run, dataset in Statements(connection, as_of).ambiguous(runs)}


def states(store: Store, runs: Collection[bytes], as_of: int) -> dict[bytes, Row]:
    """(state, start, end, first and last event) of each run, as it was."""
    with store.connecting() as connection:
        details = Details(connection, as_of)
        details.load_runs(runs)
    return {
        id: (
            STATES.index(run.state),
            _micros(run.started_at),
            _micros(run.ended_at),
            _micros(run.first_at),
            _micros(run.last_at),
        )
        for id, run in details.runs.items()
    }


def _micros(time: datetime | None) -> int | None:
    return None if time is None else microseconds(time)


def view(store: Store, name: str, *wanted: str) -> set[Row]:
    """The rows of a view, as sets have them: ids as bytes, whichever way the database shows them."""
    with store.connecting() as connection:
        rows = connection.exec_driver_sql(f"SELECT {', '.join(wanted)} FROM {name}").all()
    return {tuple(_cell(column, value) for column, value in zip(wanted, row, strict=True)) for row in rows}


def _cell(column: str, value: Any) -> Any:
    if column.endswith("_id"):
        return None if value is None else UUID(str(value)).bytes
    return bool(value) if column in ("inferred", "ambiguous") else value


def walked(
    store: Store, start: bytes, direction: str, as_of: int | None = None, include_failed: bool = False
) -> dict[bytes, int]:
    """The productions that the product's walk reaches, with their depths."""
    with store.connecting() as connection:
        starts = walk.productions(connection, [start], as_of)
        ask = walk.upstream if direction == "up" else walk.downstream
        found = ask(connection, starts, as_of=as_of, include_failed=include_failed)
    named = {id for id, node in found.nodes.items() if isinstance(node, walk.Production) or _is_named(node)}
    return {id: depth for id, depth in found.depths.items() if id in named}


def _is_named(node: object) -> bool:
    return isinstance(node, walk.Origin) and node.production_id is not None
