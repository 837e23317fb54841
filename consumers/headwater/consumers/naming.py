"""From what a person types to what the store holds.

    NAME                 the asset called so; its latest production
    NAMESPACE/NAME       the same, said in full
    NAME@VERSION         a version: its text or the start of it, with or without its form
                         (`table1:9f2c`, `9f2c`), an alias a curator set (`@production`),
                         or the start of the run id that wrote it
    ID                   a run or a production: its id or the start of it (six digits or more)

A name wins over an id. What fits several things raises `Ambiguous` with what would tell them
apart; what fits nothing raises `Unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from headwater.consumers.answers import Ambiguous, Unknown
from headwater.consumers.tables import dataset, governance, run, run_output, version
from headwater.schemas.errors import shown
from headwater.schemas.text import storable

_ID = re.compile(r"[0-9a-fA-F]{6,8}(?:-?[0-9a-fA-F]{0,12}){0,4}\Z")
_CANDIDATES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedAsset:
    """An asset under all its names (dataset ids); `production` is the one meant, when there is one."""

    datasets: tuple[bytes, ...]
    namespace: str
    name: str
    production: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRun:
    """A run."""

    run: bytes


def find(connection: Connection, text: str) -> NamedAsset | NamedRun:
    """What `text` names."""
    wanted = storable(text)
    found: NamedAsset | NamedRun | None = _asset(connection, wanted, None)
    if found is None and "@" in wanted:
        name, _, chosen = wanted.rpartition("@")
        found = _asset(connection, name, chosen)
    if found is None:
        found = _by_id(connection, wanted)
    if found is None:
        raise Unknown(
            f"no asset, run or production is called {shown(text)}",
            remedy="`headwater assets` lists what there is",
        )
    return found


def id_text(id: bytes) -> str:
    """An id as its canonical text."""
    return str(UUID(bytes=id))


def _asset(connection: Connection, text: str, chosen: str | None) -> NamedAsset | None:
    rows = connection.execute(
        select(dataset.c.namespace, dataset.c.name, dataset.c.group_id)
        .where(or_(*_spellings(text)))
        .order_by(dataset.c.namespace, dataset.c.name)
        .limit(_CANDIDATES + 1)
    ).all()
    if not rows:
        return None
    if len({row.group_id for row in rows}) > 1:
        names = tuple(f"{row.namespace}/{row.name}" for row in rows if f"{row.namespace}/{row.name}" != text)
        raise Ambiguous(f"{shown(text)} is the name of {_count(rows)} assets", names[:_CANDIDATES])
    members = connection.scalars(select(dataset.c.dataset_id).where(dataset.c.group_id == rows[0].group_id))
    datasets = tuple(members)
    production = _chosen(connection, text, datasets, chosen) if chosen else _latest(connection, datasets)
    return NamedAsset(
        datasets=datasets, namespace=rows[0].namespace, name=rows[0].name, production=production
    )


def _count(rows: Sequence[Any]) -> str:
    return f"more than {_CANDIDATES}" if len(rows) > _CANDIDATES else str(len(rows))


def _spellings(text: str) -> list[ColumnElement[bool]]:
    """`text` as a name, and as namespace and name split at each of its slashes."""
    splits = [at for at, character in enumerate(text) if character == "/" and 0 < at < len(text) - 1]
    return [
        dataset.c.name == text,
        *(and_(dataset.c.namespace == text[:at], dataset.c.name == text[at + 1 :]) for at in splits[:64]),
    ]


def _latest(connection: Connection, datasets: Sequence[bytes], *also: ColumnElement[bool]) -> bytes | None:
    """The production published last; one that nobody inherits only when there is no other."""
    of_asset = select(run_output.c.production_id).where(run_output.c.dataset_id.in_(datasets), *also)
    published = of_asset.where(run_output.c.published_at.is_not(None)).order_by(
        run_output.c.published_at.desc(), run_output.c.version_id.desc(), run_output.c.production_id.desc()
    )
    found: bytes | None = connection.scalar(published.limit(1))
    if found is None:
        found = connection.scalar(of_asset.order_by(run_output.c.production_id.desc()).limit(1))
    return found


def _chosen(connection: Connection, name: str, datasets: Sequence[bytes], chosen: str) -> bytes:
    """The last production of the version, alias or run that `chosen` says."""
    aliased = _aliased(connection, datasets, chosen)
    versions = {aliased: chosen} if aliased else _versions(connection, datasets, chosen)
    if len(set(versions.values())) > 1:
        texts = sorted(set(versions.values()))[:_CANDIDATES]
        raise Ambiguous(
            f"{len(set(versions.values()))} versions of {shown(name)} begin with {shown(chosen)}",
            tuple(f"{name}@{text}" for text in texts),
        )
    found = _latest(connection, datasets, run_output.c.version_id.in_(versions)) if versions else None
    bounds = _bounds(chosen)
    if found is None and bounds is not None:
        found = _latest(connection, datasets, run_output.c.run_id.between(*bounds))
    if found is None:
        raise Unknown(
            f"{shown(name)} has no version, alias or run {shown(chosen)}",
            remedy=f"`headwater show {name}` lists its versions",
        )
    return found


def _aliased(connection: Connection, datasets: Sequence[bytes], alias: str) -> bytes | None:
    last = connection.execute(
        select(governance.c.version_id, governance.c.withdrawn)
        .where(governance.c.dataset_id.in_(datasets), governance.c.kind == "alias", governance.c.key == alias)
        .order_by(governance.c.at.desc(), governance.c.event_id.desc())
        .limit(1)
    ).first()
    return None if last is None or last.withdrawn else last.version_id


def _versions(connection: Connection, datasets: Sequence[bytes], start: str) -> dict[bytes, str]:
    """The versions that `start` may mean, by id; an exact text means only itself."""
    rows = connection.execute(
        select(version.c.version_id, version.c.version).where(
            version.c.dataset_id.in_(datasets),
            or_(
                version.c.version.startswith(start, autoescape=True),
                version.c.version.contains(f":{start}", autoescape=True),
            ),
        )
    ).all()
    # LIKE folds case on SQLite.
    found = {id: text for id, text in rows if text.startswith(start) or f":{start}" in text}
    return {id: text for id, text in found.items() if text == start} or found


def _bounds(text: str) -> tuple[bytes, bytes] | None:
    """The least and the greatest id that begin as `text` does, when it looks like one."""
    digits = text.replace("-", "").lower()
    if _ID.match(text) is None or len(digits) > 32:
        return None
    return bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))


def _by_id(connection: Connection, text: str) -> NamedAsset | NamedRun | None:
    bounds = _bounds(text)
    runs: list[bytes] = []
    productions: list[bytes] = []
    if bounds is not None:
        of_run = select(run.c.run_id).where(run.c.run_id.between(*bounds), run.c.kind == 0)
        of_production = select(run_output.c.production_id).where(run_output.c.production_id.between(*bounds))
        runs = list(connection.scalars(of_run.order_by(run.c.run_id).limit(_CANDIDATES)))
        productions = list(
            connection.scalars(of_production.order_by(run_output.c.production_id).limit(_CANDIDATES))
        )
    if not runs and not productions:
        runs = list(connection.scalars(select(run.c.run_id).where(run.c.ext_id == text).limit(_CANDIDATES)))
    if len(runs) + len(productions) > 1:
        ids = tuple(id_text(id) for id in (*runs, *productions))
        raise Ambiguous(f"{shown(text)} begins {len(ids)} ids or more", ids[:_CANDIDATES])
    if runs:
        return NamedRun(run=runs[0])
    return _of_production(connection, productions[0]) if productions else None


def _of_production(connection: Connection, production: bytes) -> NamedAsset:
    own = connection.execute(
        select(dataset.c.namespace, dataset.c.name, dataset.c.group_id)
        .join(run_output, run_output.c.dataset_id == dataset.c.dataset_id)
        .where(run_output.c.production_id == production)
    ).one()
    members = connection.scalars(select(dataset.c.dataset_id).where(dataset.c.group_id == own.group_id))
    return NamedAsset(datasets=tuple(members), namespace=own.namespace, name=own.name, production=production)
