"""What a store says of itself: which projection built it, with which code, and up to when it knows.

A store is admitted to consume only for the projection version it was built by: two versions'
rows never mix, an upgrade that changes their meaning rebuilds beside the old store.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from headwater.consumers.store import Store
from headwater.consumers.tables import projection, quarantine
from headwater.consumers.version import code_version
from headwater.schemas.errors import Misconfigured

__all__ = ["Entry", "accepted_damage", "admit", "code_version", "entry", "folded_by", "require_version"]

#: What to do with a store whose rows mean something else than this code's.
REBUILD = (
    "fold the log into a fresh store with `headwater replay --into URL`, "
    "then set `store` in headwater.yaml to that URL"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One projection's entry; `known_at` (µs since 1970 UTC): the store holds only what was known then."""

    version: int
    code_version: str
    known_at: int | None


def admit(store: Store, name: str, version: int, *, known_at: int | None = None) -> None:
    """Let this projection write to `store`; raises `Misconfigured` when the store is another's work."""
    with store.writing() as tx:
        insert = postgresql.insert if store.dialect == "postgresql" else sqlite.insert
        row = {"name": name, "version": version, "code_version": code_version(), "known_at": known_at}
        tx.execute(insert(projection).on_conflict_do_nothing(), row)
        held = _entry(tx, name)
    if held is None:  # pragma: no cover - it was inserted a moment ago, or is another's
        raise Misconfigured(f"the store {store.url} lost its entry for {name}")
    require_version(store, name, held.version, version)
    if held.known_at != known_at:
        raise Misconfigured(
            f"the store {store.url} holds {_extent(held.known_at)}, not {_extent(known_at)}",
            remedy="replay into another store",
        )


def require_version(store: Store, name: str, held: int, version: int) -> None:
    """Raise `Misconfigured`, naming the commands to run, unless the rows were folded by this `version`."""
    if held < version:
        raise Misconfigured(
            f"the store {store.url} was folded by version {held} of the {name} projection, this headwater "
            f"folds by version {version}",
            remedy=REBUILD,
        )
    if held > version:
        raise Misconfigured(
            f"the store {store.url} was folded by version {held} of the {name} projection, newer than this "
            f"headwater's {version}",
            remedy="use the newer headwater",
        )


def folded_by(store: Store, name: str) -> int | None:
    """The version of the projection that wrote the rows of `store`; None where nothing was consumed."""
    with store.connecting() as connection:
        held = _entry(connection, name)
    return None if held is None else held.version


def entry(store: Store, name: str) -> Entry:
    """The entry of projection `name`; raises `Misconfigured` when nothing was ever consumed."""
    with store.connecting() as connection:
        held = _entry(connection, name)
    if held is None:
        raise Misconfigured(
            f"the store {store.url} has consumed nothing yet", remedy="run `headwater consume` first"
        )
    return held


def accepted_damage(connection: Connection, name: str) -> bool:
    """Whether somebody accepted damaged bytes of the log as lost when this store was made."""
    query = select(quarantine.c.offset).where(
        quarantine.c.projection == name, quarantine.c.rule == "checksum"
    )
    return connection.execute(query.limit(1)).first() is not None


def _entry(connection: Connection, name: str) -> Entry | None:
    query = select(projection.c.version, projection.c.code_version, projection.c.known_at)
    row = connection.execute(query.where(projection.c.name == name)).one_or_none()
    return None if row is None else Entry(*row)


def _extent(known_at: int | None) -> str:
    return "everything that its log holds" if known_at is None else f"what was known at {known_at} µs"
