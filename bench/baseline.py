"""The floor beneath ingest: parse, hash, and put what an event names into four tables, nothing more.

No lineage, no facets, no order-independence, no quarantine, no positions; a row for each event,
run, job and dataset, in batches of 2,000: what a short script would do. On PostgreSQL by COPY
into temporary tables and one merge each, on SQLite by INSERT OR IGNORE.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeAlias

import orjson

from headwater.consumers.log import open_log, records_of
from headwater.schemas.ids import dataset_id, job_id

BATCH = 2_000
TABLES = {
    "raw_event": ("event_id", "at", "run_id", "kind"),
    "raw_run": ("run_id", "job_id", "state", "at"),
    "raw_job": ("job_id", "namespace", "name"),
    "raw_dataset": ("dataset_id", "namespace", "name"),
}
Rows: TypeAlias = dict[str, dict[str, tuple[str, ...]]]


def load(store_url: str, log: str) -> dict[str, float]:
    """Events a second from the segments in `log` into the empty database `store_url`."""
    write, close = (_sqlite if store_url.startswith("sqlite") else _postgres)(store_url)
    events, began = 0, time.perf_counter()
    values = (record.value for record in records_of(open_log(log)))
    for batch in _batches(values):
        write(_rows(batch))
        events += len(batch)
    taken = time.perf_counter() - began
    close()
    return {"events": events, "rate": events / taken}


def _batches(values: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(values, BATCH)):
        yield batch


def _rows(batch: list[bytes]) -> Rows:
    rows: Rows = {table: {} for table in TABLES}
    for value in batch:
        document = orjson.loads(value)
        event, run, job = hashlib.sha256(value).hexdigest(), document["run"]["runId"], document["job"]
        at, kind = document["eventTime"], document["eventType"]
        key = job_id(job["namespace"], job["name"]).hex()
        rows["raw_event"][event] = (event, at, run, kind)
        rows["raw_run"][run] = (run, key, kind, at)
        rows["raw_job"][key] = (key, job["namespace"], job["name"])
        for dataset in (*document.get("inputs", ()), *document.get("outputs", ())):
            found = dataset_id(dataset["namespace"], dataset["name"]).hex()
            rows["raw_dataset"][found] = (found, dataset["namespace"], dataset["name"])
    return rows


Writer: TypeAlias = tuple[Callable[[Rows], None], Callable[[], None]]


def _sqlite(url: str) -> Writer:
    database = sqlite3.connect(url.removeprefix("sqlite:///"))
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    for table, columns in TABLES.items():
        database.execute(f"CREATE TABLE {table} ({columns[0]} PRIMARY KEY, {', '.join(columns[1:])})")

    def write(rows: Rows) -> None:
        for table, columns in TABLES.items():
            verb = "REPLACE" if table == "raw_run" else "IGNORE"
            marks = ",".join("?" * len(columns))
            database.executemany(f"INSERT OR {verb} INTO {table} VALUES ({marks})", rows[table].values())
        database.commit()

    return write, database.close


def _postgres(url: str) -> Writer:
    import psycopg

    database: Any = psycopg.connect(url.replace("postgresql+psycopg", "postgresql"))
    for table, columns in TABLES.items():
        typed = ", ".join(f"{column} text" for column in columns)
        database.execute(f"CREATE TABLE {table} ({typed}, PRIMARY KEY ({columns[0]}))")
        database.execute(f"CREATE TEMP TABLE new_{table} ({typed}) ON COMMIT DELETE ROWS")
    database.commit()

    def write(rows: Rows) -> None:
        for table, columns in TABLES.items():
            with database.cursor() as cursor, cursor.copy(f"COPY new_{table} FROM STDIN") as copy:
                for row in rows[table].values():
                    copy.write_row(row)
            known = "UPDATE SET state = EXCLUDED.state, at = EXCLUDED.at" if table == "raw_run" else "NOTHING"
            database.execute(
                f"INSERT INTO {table} SELECT * FROM new_{table} ON CONFLICT ({columns[0]}) DO {known}"
            )
        database.commit()

    return write, database.close
