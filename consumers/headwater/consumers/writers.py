"""Bulk writing into the lineage tables: COPY on PostgreSQL, executemany on SQLite.

Rows come in the tables' column order with ids as hex text (None for NULL). Every method runs
in the caller's transaction. Which rows to write is decided in `headwater.consumers.lineage`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from sqlalchemy import Boolean, Column, Connection, LargeBinary, Table, Text

from headwater.consumers import tables
from headwater.consumers.tables import Id
from headwater.schemas.text import storable

Row = tuple[Any, ...]
StoredFold = tuple[bytes, str, str, str, str]

#: The tables of rows that belong to one run and are replaced with its fold, in the order of writing.
OF_ONE_RUN = ("run_fold", "run", "run_input", "run_output", "run_edge", "run_lineage")


# These are storable already, coming from a stored fold or made of storable texts: escaping is not idempotent.
_STORABLE = frozenset({"ext_id", "lifecycle", "tags"})


class Writer(Protocol):
    """What the projection needs of a database; bound to one transaction."""

    def load_folds(self, run_ids: Sequence[str]) -> dict[str, StoredFold]:
        """The stored folds of `run_ids`, locked until the transaction ends where others may write."""

    def delete(self, table: Table, run_ids: Sequence[str]) -> None:
        """Remove the rows of `run_ids`."""

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows that cannot exist yet; a row that does is an IntegrityError."""

    def insert_missing(self, table: Table, rows: Sequence[Row]) -> int:
        """Add the rows that do not exist yet, by primary key; how many there were."""

    def stored_elsewhere(self, rows: Sequence[Row]) -> frozenset[str]:
        """Which of these rows of `event` the store has from another position: copies of an event."""

    def keep_earliest(self, rows: Sequence[Row]) -> None:
        """Of several copies of an event keep the position and time of the one appended first."""

    def raise_registers(self, table: Table, rows: Sequence[Row]) -> None:
        """Let the rows win whose stamp is greater: they bring the columns from `stamp` on."""

    def groups(self, dataset_ids: Sequence[str]) -> dict[str, str]:
        """The alias group of each dataset, under a lock that keeps others from merging groups."""

    def merge_groups(self, merges: Sequence[tuple[str, str]]) -> None:
        """Give every dataset of group `old` the group `new`, for each (new, old)."""


def writer_for(connection: Connection) -> Writer:
    """The writer that fits `connection`'s database."""
    return PostgresWriter(connection) if connection.dialect.name == "postgresql" else SqliteWriter(connection)


def _columns(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _key(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.primary_key)


def _if_greater(register: Table) -> str:
    """What happens to a register's row that exists: it is replaced by one with a greater stamp."""
    names = [column.name for column in register.columns]
    brought = ", ".join(f"{name}=excluded.{name}" for name in names[names.index("stamp") :])
    return (
        f"ON CONFLICT ({_key(register)}) DO UPDATE SET {brought} WHERE excluded.stamp > {register.name}.stamp"
    )


# -- SQLite -----------------------------------------------------------------------------------

_VARIABLES = 900  # below SQLite's historic limit of 999 bound values


class SqliteWriter:
    """Writes through the driver's executemany: no per-row work in between but hex to bytes."""

    def __init__(self, connection: Connection) -> None:
        driver = connection.connection.driver_connection
        if driver is None:  # pragma: no cover - a pooled connection always has one
            raise RuntimeError("the connection is closed")
        self._driver = driver

    def load_folds(self, run_ids: Sequence[str]) -> dict[str, StoredFold]:
        found: dict[str, StoredFold] = {}
        for chunk in _chunks(run_ids, _VARIABLES):
            sql = (
                "SELECT run_id, doc, run_hash, input_hash, output_hash, edge_hash FROM run_fold "
                f"WHERE run_id IN ({','.join('?' * len(chunk))})"
            )
            for run_id, doc, *hashes in self._driver.execute(sql, [bytes.fromhex(run) for run in chunk]):
                run, inputs, outputs, edges = (value.hex() for value in hashes)
                found[run_id.hex()] = (doc, run, inputs, outputs, edges)
        return found

    def delete(self, table: Table, run_ids: Sequence[str]) -> None:
        rows = [(bytes.fromhex(run),) for run in run_ids]
        self._driver.executemany(f"DELETE FROM {table.name} WHERE run_id = ?", rows)

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._executemany("INSERT INTO", table, rows)

    def insert_missing(self, table: Table, rows: Sequence[Row]) -> int:
        return self._executemany("INSERT OR IGNORE INTO", table, rows)

    def _executemany(self, verb: str, table: Table, rows: Sequence[Row]) -> int:
        sql = f"{verb} {table.name} ({_columns(table)}) VALUES ({','.join('?' * len(table.columns))})"
        if not rows:
            return 0
        return int(self._driver.executemany(sql, _SQLITE_ROWS[table.name](rows)).rowcount)

    def stored_elsewhere(self, rows: Sequence[Row]) -> frozenset[str]:
        sql = (
            'SELECT 1 FROM event WHERE at=? AND event_id=? AND NOT (topic=? AND "partition"=? AND "offset"=?)'
        )
        return frozenset(
            row[1]
            for row in rows
            if self._driver.execute(sql, (row[0], bytes.fromhex(row[1]), *row[5:8])).fetchone() is not None
        )

    def keep_earliest(self, rows: Sequence[Row]) -> None:
        sql = (
            'UPDATE event SET topic=?1, "partition"=?2, "offset"=?3, appended_at=?4 '
            'WHERE at=?5 AND event_id=?6 AND (?4, ?1, ?2, ?3) < (appended_at, topic, "partition", "offset")'
        )
        self._driver.executemany(sql, ((*row[5:9], row[0], bytes.fromhex(row[1])) for row in rows))

    def raise_registers(self, table: Table, rows: Sequence[Row]) -> None:
        sql = (
            f"INSERT INTO {table.name} ({_columns(table)}) VALUES ({','.join('?' * len(table.columns))}) "
            f"{_if_greater(table)}"
        )
        self._driver.executemany(sql, _SQLITE_ROWS[table.name](rows))

    def groups(self, dataset_ids: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for chunk in _chunks(dataset_ids, _VARIABLES):
            sql = (
                f"SELECT dataset_id, group_id FROM dataset WHERE dataset_id IN ({','.join('?' * len(chunk))})"
            )
            rows = self._driver.execute(sql, [bytes.fromhex(dataset) for dataset in chunk])
            found.update((dataset.hex(), group.hex()) for dataset, group in rows)
        return found

    def merge_groups(self, merges: Sequence[tuple[str, str]]) -> None:
        rows = [(bytes.fromhex(new), bytes.fromhex(old)) for new, old in merges]
        self._driver.executemany("UPDATE dataset SET group_id = ? WHERE group_id = ?", rows)


def _chunks(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _sqlite_rows(table: Table) -> Callable[[Sequence[Row]], Iterable[Row]]:
    """A function from rows with hex ids to what SQLite binds; by column, since cells are many."""
    converters: list[tuple[int, _Change]] = []
    for index, column in enumerate(table.columns):
        if column.name == "body":
            converters.append((index, _each(bytes.decode, column)))
        elif isinstance(column.type, Id | LargeBinary) and column.name != "doc":
            converters.append((index, _each(bytes.fromhex, column)))
        elif isinstance(column.type, Text) and column.name not in _STORABLE:
            converters.append((index, _made_storable))

    def convert(rows: Sequence[Row]) -> Iterable[Row]:
        columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
        for index, change in converters:
            columns[index] = change(columns[index])
        return zip(*columns, strict=True)

    return convert


_Change = Callable[[Iterable[Any]], Iterable[Any]]


def _each(change: Callable[[Any], Any], column: Column[Any]) -> _Change:
    if not column.nullable:
        return lambda cells: map(change, cells)
    return lambda cells: [None if cell is None else change(cell) for cell in cells]


def _made_storable(cells: Iterable[Any]) -> Iterable[Any]:
    """Nearly every text is storable as it is, and one search over all of them tells."""
    texts = "".join(filter(None, cells))
    if storable(texts) is texts:
        return cells
    return [None if cell is None else storable(cell) for cell in cells]


_SQLITE_ROWS = {table.name: _sqlite_rows(table) for table in tables.metadata.tables.values()}


# -- PostgreSQL -------------------------------------------------------------------------------


# The key is (at, event_id); the run, which is the event's own, says in which piece to look.
_SAME_EVENT = "e.at=s.at AND e.event_id=s.event_id AND e.run_id=s.run_id"
# Until the transaction ends, which joins nothing else. The planner counts a probe of one piece as one of all,
# and would go through a table of a million rows to find two thousand.
_KEY_BY_KEY = "SELECT set_config('enable_mergejoin', 'off', true), set_config('enable_hashjoin', 'off', true)"
_STORED_ELSEWHERE = (
    f"SELECT e.event_id FROM event e JOIN stage_event s ON {_SAME_EVENT} "
    'WHERE NOT (e.topic=s.topic AND e."partition"=s."partition" AND e."offset"=s."offset")'
)
_KEEP_EARLIEST = (
    'UPDATE event e SET topic=s.topic, "partition"=s."partition", "offset"=s."offset", '
    f"appended_at=s.appended_at FROM stage_event s WHERE {_SAME_EVENT} "
    'AND (s.appended_at, s.topic, s."partition", s."offset") < '
    '(e.appended_at, e.topic, e."partition", e."offset")'
)


class PostgresWriter:
    """Writes through COPY: straight into tables of new rows, through a temporary table into the others."""

    def __init__(self, connection: Connection) -> None:
        driver = connection.connection.driver_connection
        if driver is None:  # pragma: no cover - a pooled connection always has one
            raise RuntimeError("the connection is closed")
        self._cursor = driver.cursor()
        self._staged: set[str] = set()

    def load_folds(self, run_ids: Sequence[str]) -> dict[str, StoredFold]:
        # In the order of the key, so that two writers that want the same runs wait, and do not deadlock.
        self._cursor.execute(
            "SELECT run_id, doc, run_hash, input_hash, output_hash, edge_hash FROM run_fold "
            "WHERE run_id = ANY(%s::uuid[]) ORDER BY run_id FOR UPDATE",
            [sorted(run_ids)],
        )
        found: dict[str, StoredFold] = {}
        for run_id, doc, run, inputs, outputs, edges in self._cursor:
            found[run_id.hex] = (bytes(doc), run.hex, inputs.hex, outputs.hex, edges.hex)
        return found

    def delete(self, table: Table, run_ids: Sequence[str]) -> None:
        self._cursor.execute(f"DELETE FROM {table.name} WHERE run_id = ANY(%s::uuid[])", [list(run_ids)])

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._copy(table.name, table, rows)

    def _copy(self, target: str, table: Table, rows: Sequence[Row]) -> None:
        convert = _COPY_ROWS[table.name]
        with self._cursor.copy(f"COPY {target} ({_columns(table)}) FROM STDIN") as copy:
            for start in range(0, len(rows), 500):
                copy.write(convert(rows[start : start + 500]).encode())

    def _stage(self, table: Table, rows: Sequence[Row]) -> str:
        name = f"stage_{table.name}"
        if name not in self._staged:
            self._cursor.execute(
                f"CREATE TEMP TABLE IF NOT EXISTS {name} (LIKE {table.name}) ON COMMIT DELETE ROWS"
            )
            self._staged.add(name)
        self._cursor.execute(f"DELETE FROM {name}")
        self._copy(name, table, rows)
        return name

    def insert_missing(self, table: Table, rows: Sequence[Row]) -> int:
        # Sorted by key: writers that add the same rows then wait for each other in one order.
        self._cursor.execute(
            f"INSERT INTO {table.name} SELECT * FROM {self._stage(table, rows)} ORDER BY {_key(table)} "
            "ON CONFLICT DO NOTHING"
        )
        return int(self._cursor.rowcount)

    def stored_elsewhere(self, rows: Sequence[Row]) -> frozenset[str]:
        # What `insert_missing` staged a moment ago still stands in the temporary table.
        self._cursor.execute(_KEY_BY_KEY)
        self._cursor.execute(_STORED_ELSEWHERE)
        return frozenset(event_id.hex() for (event_id,) in self._cursor)

    def keep_earliest(self, rows: Sequence[Row]) -> None:
        self._stage(tables.event, rows)
        self._cursor.execute(_KEY_BY_KEY)
        self._cursor.execute(_KEEP_EARLIEST)

    def raise_registers(self, table: Table, rows: Sequence[Row]) -> None:
        self._cursor.execute(
            f"INSERT INTO {table.name} SELECT * FROM {self._stage(table, rows)} "
            f"ORDER BY {_key(table)} {_if_greater(table)}"
        )

    def groups(self, dataset_ids: Sequence[str]) -> dict[str, str]:
        self._cursor.execute("LOCK TABLE dataset_link IN SHARE ROW EXCLUSIVE MODE")
        self._cursor.execute(
            "SELECT dataset_id, group_id FROM dataset WHERE dataset_id = ANY(%s::uuid[])", [list(dataset_ids)]
        )
        return {dataset.hex: group.hex for dataset, group in self._cursor}

    def merge_groups(self, merges: Sequence[tuple[str, str]]) -> None:
        self._cursor.executemany("UPDATE dataset SET group_id = %s::uuid WHERE group_id = %s::uuid", merges)


_COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_COPY_ESCAPED = re.compile(r"[\\\t\n\r]")
_COPY_NULL = "\\N"


def _copy_column(column: Column[Any]) -> _Change:
    """How COPY's text format writes the cells of `column` that are no NULLs."""
    if column.name == "doc":
        return lambda docs: ["\\\\x" + doc.hex() for doc in docs]
    if column.name == "body":
        return lambda bodies: _escaped(map(bytes.decode, bodies))
    if isinstance(column.type, Id):
        return lambda ids: ids
    if isinstance(column.type, LargeBinary):
        return lambda digits: ["\\\\x" + cell for cell in digits]
    if isinstance(column.type, Boolean):
        return lambda values: ["t" if value else "f" for value in values]
    if column.name in _STORABLE:
        return _escaped
    if isinstance(column.type, Text):
        return lambda texts: _escaped(_made_storable(texts))
    return lambda numbers: map(repr, numbers)


def _escaped(texts: Iterable[str]) -> Iterable[str]:
    texts = list(texts)
    if _COPY_ESCAPED.search("".join(texts)) is None:
        return texts
    return [text.translate(_COPY_ESCAPES) for text in texts]


def _with_nulls(write: _Change, cells: tuple[Any, ...]) -> Iterable[str]:
    if None not in cells:
        return write(cells)
    written = iter(write(tuple(cell for cell in cells if cell is not None)))
    return [_COPY_NULL if cell is None else next(written) for cell in cells]


def _copy_rows(table: Table) -> Callable[[Sequence[Row]], str]:
    """A function from rows with hex ids to lines of COPY's text format."""
    writers = [_copy_column(column) for column in table.columns]

    def convert(rows: Sequence[Row]) -> str:
        columns = zip(writers, zip(*rows, strict=True), strict=True)
        lines = zip(*(_with_nulls(write, cells) for write, cells in columns), strict=True)
        return "\n".join(map("\t".join, lines)) + "\n"

    return convert


_COPY_ROWS = {table.name: _copy_rows(table) for table in tables.metadata.tables.values()}
