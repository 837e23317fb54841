"""Partitions by run on PostgreSQL. A migration is history: it is never edited after a release."""

import logging
import time
from typing import NamedTuple

from alembic import op
from sqlalchemy import Connection, text

from headwater.schemas.errors import Misconfigured, shown

# Alembic loads this file by its path: its name alone is not under `headwater`.
log = logging.getLogger("headwater.consumers.migrations")

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PIECES = 16
#: Blocks of 8 kB that are moved between two lines of the log.
_STRIDE = 8_192


class _Whole(NamedTuple):
    """A table to be partitioned: its key, and the indexes that it gets; `dropped` are those that it had."""

    name: str
    key: str
    indexes: dict[str, str]
    dropped: tuple[str, ...]


_TABLES = (
    _Whole(
        "event",
        "at, event_id, run_id",
        {"event_run_ix": "run_id, at", "event_emitter_ix": "emitter_id, sequence"},
        ("event_run_ix", "event_emitter_ix"),
    ),
    _Whole(
        "metric_point",
        "run_id, point_id",
        {"metric_point_value_ix": 'substr("key", 1, 200), value'},
        ("metric_point_run_ix", "metric_point_value_ix"),
    ),
)


def upgrade() -> None:
    """On SQLite a table is one B-tree whatever is done: only the version moves."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for table in _TABLES:
        _refuse_other_views(connection, table.name)
    for table in _TABLES:
        _partition(connection, table)


_VIEWS = text(
    "SELECT DISTINCT CAST(CAST(r.ev_class AS regclass) AS text)"
    " FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid"
    " WHERE d.classid = CAST('pg_rewrite' AS regclass) AND d.refobjid = CAST(:name AS regclass) ORDER BY 1"
)


def _refuse_other_views(connection: Connection, name: str) -> None:
    """Before anything is moved: a table that a view reads cannot go (our own views are gone by now)."""
    views = connection.scalars(_VIEWS, {"name": name}).all()
    if views:
        raise Misconfigured(
            f"the table {name} is replaced by a partitioned one, and views that are not headwater's read it: "
            f"{', '.join(map(shown, views))}",
            remedy="drop them, run `headwater store upgrade`, and make them again",
        )


def _partition(connection: Connection, table: _Whole) -> None:
    """The table under a new name, its rows into the pieces, keys and indexes when they are filled."""
    name, whole = table.name, f"{table.name}_whole"
    for index in table.dropped:
        op.execute(f"DROP INDEX {index}")
    op.execute(f"ALTER TABLE {name} RENAME TO {whole}")
    op.execute(f"ALTER TABLE {whole} RENAME CONSTRAINT {name}_pkey TO {whole}_pkey")
    op.execute(f"CREATE TABLE {name} (LIKE {whole}) PARTITION BY HASH (run_id)")
    for piece in range(PIECES):
        op.execute(
            f"CREATE TABLE {name}_p{piece:02} PARTITION OF {name} "
            f"FOR VALUES WITH (MODULUS {PIECES}, REMAINDER {piece})"
        )
    moved = _move(connection, whole, name)
    op.execute(f"ALTER TABLE {name} ADD CONSTRAINT {name}_pkey PRIMARY KEY ({table.key})")
    for index, columns in table.indexes.items():
        op.execute(f"CREATE INDEX {index} ON {name} ({columns})")
    _let_the_same_people_in(connection, whole, name)
    op.execute(f"DROP TABLE {whole}")
    if moved:
        # Autovacuum analyses the pieces, and never what they are pieces of.
        op.execute(f"ANALYZE {name}")


def _move(connection: Connection, source: str, target: str) -> int:
    """Every row, in the order in which they lie, and how many there were."""
    begun, moved = time.monotonic(), 0
    blocks = connection.scalar(text(f"SELECT pg_relation_size('{source}') / 8192")) or 0
    for start in range(0, blocks, _STRIDE):
        stretch = f"ctid >= '({start},0)' AND ctid < '({start + _STRIDE},0)'"
        rows = connection.execute(text(f"INSERT INTO {target} SELECT * FROM {source} WHERE {stretch}"))
        moved += rows.rowcount
        share = min(1.0, (start + _STRIDE) / blocks)
        seconds = round(time.monotonic() - begun, 1)
        log.info(
            "rows_moved", extra={"table": target, "rows": moved, "share": round(share, 3), "seconds": seconds}
        )
    return moved


_GRANTS = text(
    "SELECT pg_get_userbyid(c.relowner) AS owner, a.privilege_type AS privilege, a.is_grantable AS passed_on,"
    " CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee"
    " FROM pg_class c LEFT JOIN LATERAL aclexplode(c.relacl) a ON true WHERE c.oid = CAST(:name AS regclass)"
)


def _let_the_same_people_in(connection: Connection, source: str, target: str) -> None:
    """The owner and the grants of the table that goes: whoever upgrades may be somebody else."""
    rows = connection.execute(_GRANTS, {"name": source}).all()
    for row in rows:
        if row.privilege is not None:
            passed_on = " WITH GRANT OPTION" if row.passed_on else ""
            op.execute(f"GRANT {row.privilege} ON {target} TO {row.grantee}{passed_on}")
    owner = rows[0].owner
    if owner != connection.scalar(text("SELECT current_user")):
        quoted = connection.dialect.identifier_preparer.quote(owner)
        for name in (target, *(f"{target}_p{piece:02}" for piece in range(PIECES))):
            op.execute(f"ALTER TABLE {name} OWNER TO {quoted}")
