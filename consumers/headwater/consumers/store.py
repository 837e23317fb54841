"""The lineage store: a SQLite file or a PostgreSQL database, opened safely.

`open_store` connects and checks that the schema is the one this code writes; it never
changes a schema that holds data (that is `headwater store upgrade`). Only a SQLite file that
does not exist yet, or is empty, is created on the way, under the file's own lock.

What is written and how is the business of `headwater.consumers.lineage` and `writers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from headwater.schemas.errors import Misconfigured, Retryable, shown

BUSY_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10

_SQLITE_SETTINGS = (
    "PRAGMA journal_mode=WAL",
    # With WAL this survives a killed process; a power cut may take back the last transactions
    # whole, and their positions with them, so they are read again.
    "PRAGMA synchronous=NORMAL",
    # 32 MB: a batch touches pages all over the indexes, and each checkpoint copies them anew.
    "PRAGMA wal_autocheckpoint=8000",
    "PRAGMA cache_size=-65536",
    "PRAGMA temp_store=MEMORY",
)


class Store:
    """One lineage store: `engine` serves readers, `writing()` opens the transactions that write."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name

    @property
    def url(self) -> str:
        """The store's URL without anything that may be a secret."""
        return self.engine.url.set(query={}).render_as_string(hide_password=True)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block, or leaves no trace.

        On SQLite it takes the write lock at once, so that what it read stays true until it
        writes. Raises `Retryable` when the database cannot be reached.
        """
        with self.connecting() as connection, connection.execution_options(immediate=True).begin():
            yield connection

    @contextmanager
    def connecting(self) -> Iterator[Connection]:
        """A connection for reading; `Retryable` when the database cannot be reached."""
        try:
            connection = self.engine.connect()
        except OperationalError as cause:
            raise Retryable(f"cannot reach the store {self.url}: {_first_line(cause)}") from cause
        except DatabaseError as cause:
            raise Misconfigured(f"cannot use the store {self.url}: {_first_line(cause)}") from cause
        with connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection that sees one state of the store while it is open, whoever writes meanwhile."""
        with self.connecting() as connection:
            if self.dialect == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                # The state is fixed by the first reading, not by BEGIN.
                connection.exec_driver_sql("SELECT 1 FROM alembic_version")
                yield connection

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(url: str, *, create: bool = False) -> Store:
    """Open the store at `url` (`sqlite:///path` or `postgresql://…`).

    `create` makes the schema in an empty database (SQLite files are always created so).
    Raises `Misconfigured` for a URL that is none, and for a schema that is missing, older or
    newer than this code; `Retryable` when the database cannot be reached.
    """
    from headwater.consumers import migrations

    store = connect(url)
    try:
        with store.connecting() as connection:
            fresh = not inspect(connection).get_table_names()
        if fresh and (create or store.dialect == "sqlite"):
            migrations.upgrade(store)
        else:
            migrations.require_current(store)
    except OperationalError as cause:
        store.close()
        raise Retryable(f"cannot read the store {store.url}: {_first_line(cause)}") from cause
    except BaseException:
        store.close()
        raise
    return store


def connect(url: str) -> Store:
    """Connect to `url` without looking at the schema."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return Store(_sqlite_engine(parsed))
    if parsed.get_backend_name() == "postgresql":
        return Store(_postgres_engine(parsed))
    raise Misconfigured(
        f"store {shown(parsed.get_backend_name())} is not supported",
        remedy="use sqlite:///path or postgresql://user@host/database",
    )


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as cause:
        raise Misconfigured(
            "the store's URL cannot be read", remedy="use sqlite:///path or postgresql://user@host/database"
        ) from cause


def _sqlite_engine(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        folder = Path(url.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise Misconfigured(f"cannot make the store's folder {folder}: {cause.strerror}") from cause
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        # Transactions are begun below, in the form that the caller asked for.
        connection.isolation_level = None
        for setting in _SQLITE_SETTINGS:
            connection.execute(setting)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _postgres_engine(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    # jit costs more than it saves on every query here; what the URL says is kept beside it.
    said = url.query.get("options", "")
    options = f"-c jit=off -c timezone=UTC {said if isinstance(said, str) else ' '.join(said)}".strip()
    settings: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, "keepalives_idle": 30}
    settings = {name: value for name, value in settings.items() if name not in url.query}
    return sqlalchemy.create_engine(
        url.difference_update_query(["options"]),
        pool_pre_ping=True,
        # What is written while waiting for a lock must be seen after it, whatever the role's default is;
        # and COPY sends UTF-8.
        isolation_level="READ COMMITTED",
        connect_args={**settings, "options": options, "client_encoding": "UTF8"},
    )


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "orig", error))
    return text.splitlines()[0] if text else type(error).__name__
