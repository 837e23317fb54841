"""The lineage store's schema, version by version; separate from starting up.

A consumer or a query never changes a schema that holds data: it checks, and says what to
run. `upgrade` is that command's whole body; it may be run by several processes at once.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from headwater.consumers import views
from headwater.consumers.store import Store
from headwater.schemas.errors import Misconfigured

HEAD = "0004"
#: Any number that no one else's advisory lock uses by chance: "headwatr" in ASCII.
_LOCK = 0x6865616477617472


def current(store: Store) -> str | None:
    """The schema's revision; None where there is no schema."""
    with store.connecting() as connection:
        return _revision(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def require_current(store: Store) -> None:
    """Raise `Misconfigured`, naming the command to run, unless the schema is this code's."""
    found = current(store)
    if found == HEAD:
        return
    if found is None:
        raise Misconfigured(f"the store {store.url} has no schema", remedy="run `headwater store upgrade`")
    if found > HEAD:
        raise Misconfigured(
            f"the store {store.url} has schema {found}, newer than this headwater's {HEAD}",
            remedy="use the newer headwater",
        )
    raise Misconfigured(
        f"the store {store.url} has schema {found}, this headwater needs {HEAD}",
        remedy="stop the consumers and run `headwater store upgrade`; it says whether to replay as well",
    )


def upgrade(store: Store) -> tuple[str | None, str]:
    """Bring the schema to this code's revision; (revision before, revision now). One transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with store.writing() as tx:
        if store.dialect == "postgresql":
            tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        before = _revision(tx)
        # The views belong to the code, not to a revision: they go before the tables change, and are
        # made anew even where no table does.
        views.drop(tx)
        if before != HEAD:
            config.attributes["connection"] = tx
            command.upgrade(config, "head")
        views.create(tx)
    return before, HEAD
