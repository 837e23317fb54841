"""What curators say of an asset, now or by a time: of several statements on one subject the last.

A subject is an alias of the asset, or a tag, the description, the owners or the recall of the asset
or of one version of it. Each erasure is a subject of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, true

from headwater.consumers.answers import Statement, Written
from headwater.consumers.naming import id_text
from headwater.consumers.tables import governance, run_output, version
from headwater.consumers.times import moment
from headwater.schemas.text import original


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """The statements that hold, and the tags that were taken away, whoever had set them."""

    statements: tuple[Statement, ...]
    untagged: tuple[Statement, ...]

    def tagged(self, tags: dict[str, str], own: Written | None) -> dict[str, str]:
        """`tags`, that others state of the production `own`, with what curators say of it and its asset."""
        found = dict(tags)
        said = [(s, True) for s in self.statements if s.kind == "tag"]
        said += [(s, False) for s in self.untagged]
        # What is said of one version wins over what is said of all of them, whichever came last.
        for statement, stands in sorted(said, key=lambda each: not each[0].whole):
            if not _is_about(statement, own):
                continue
            if stands:
                found[statement.key] = statement.value or ""
            else:
                found.pop(statement.key, None)
        return found


def curated(connection: Connection, datasets: Collection[bytes], as_of: int | None = None) -> Curated:
    """What is said of the asset with these names (by then)."""
    rows = connection.execute(
        select(governance, version.c.version)
        .outerjoin(version, version.c.version_id == governance.c.version_id)
        .where(governance.c.dataset_id.in_(datasets), true() if as_of is None else governance.c.at <= as_of)
        .order_by(governance.c.at, governance.c.event_id)
    )
    last: dict[tuple[Any, ...], Any] = {}
    for row in rows:
        about = None if row.kind == "alias" else row.version if row.version is not None else row.version_id
        subject = (row.kind, row.key, about, row.event_id if row.kind == "erasure" else None)
        last.pop(subject, None)
        last[subject] = row
    unnamed = [row.version_id for row in last.values() if row.version is None and row.version_id]
    runs = _runs(connection, unnamed)
    return Curated(
        statements=tuple(_statement(row, runs) for row in last.values() if not row.withdrawn),
        untagged=tuple(_statement(r, runs) for r in last.values() if r.withdrawn and r.kind == "tag"),
    )


def _statement(row: Any, runs: dict[bytes, str]) -> Statement:
    return Statement(
        kind=row.kind,
        key=original(row.key),
        value=None if row.value is None else original(row.value),
        version=None if row.version is None else original(row.version),
        run_id=None if row.version is not None else runs.get(row.version_id),
        whole=row.version_id is None,
        actor=None if row.actor is None else original(row.actor),
        at=moment(row.at),
    )


def _is_about(statement: Statement, own: Written | None) -> bool:
    if statement.whole:
        return True
    if own is None:
        return False
    if statement.version is not None:
        return statement.version == own.version
    return own.version is None and statement.run_id == own.run_id


def _runs(connection: Connection, versions: Collection[bytes]) -> dict[bytes, str]:
    """Which run wrote what has no version."""
    query = select(run_output.c.version_id, run_output.c.run_id).where(run_output.c.version_id.in_(versions))
    return {row.version_id: id_text(row.run_id) for row in connection.execute(query)} if versions else {}
