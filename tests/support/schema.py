"""Whether a database has the tables that the code writes."""

from __future__ import annotations

import re
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from headwater.consumers import tables

_PIECE = re.compile(r"(event|metric_point)_p\d\d")


def differences(connection: Connection) -> list[Any]:
    """What the database has and the code does not name, or the other way round; but for views and pieces."""
    options = {"compare_type": False, "include_object": _is_compared}
    found = compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)
    # Alembic does not compare an index on an expression on SQLite, it reports it as new.
    return [one for one in found if "substr" not in str(one[1]) and not _is_for_another(one, connection)]


def _is_compared(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    return kind != "view" and _PIECE.match(name or "") is None


def _is_for_another(found: Any, connection: Connection) -> bool:
    """Whether it is an index that is made on SQLite alone: Alembic does not ask for which database one is."""
    return connection.dialect.name == "postgresql" and getattr(found[1], "name", "") == "metric_point_run_ix"
