"""From what a person types to what the store holds.

    NAME                 the asset called so; its latest production
    NAMESPACE/NAME       the same, said in full
    NAME@VERSION         a version: its text or the start of it, with or without its form
                         (`table1:9f2c`, `9f2c`), an alias a curator set (`@production`),
                         or the start of the run id that wrote it
    ID                   a run or a production: its id or the start of it (six digits or more)

A name wins over an id. What fits several things raises `Ambiguous` with what would tell them
apart; what fits nothing raises `Unknown`. As of a time, text names what it named then: the
production that was the latest, the version that had the alias, and nothing that came later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select, true

from headwater.consumers import misnamed
from headwater.consumers.answers import Ambiguous, Unknown
from headwater.consumers.existence import existing, known, written
from headwater.consumers.nearest import did_you_mean, nearest_names
from headwater.consumers.tables import dataset, governance, indexed, run, run_output, version
from headwater.consumers.terms import Kind
from headwater.schemas.errors import shown
from headwater.schemas.text import storable

_ID = re.compile(r"[0-9a-fA-F]{6,8}(?:-?[0-9a-fA-F]{0,12}){0,4}\Z")
_CANDIDATES = 8
_MOST_CANDIDATES = 64
_NO_NAME = "no asset,"

#: How a text names what it names: the asset, a version of it, or one run's production of one.
Chosen: TypeAlias = Literal["asset", "version", "production"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedAsset:
    """An asset under all its names (dataset ids); `production` is the one meant, when there is one.

    `by` tells what was named: the asset, one version of it, or one production (its id, or its run).
    """

    datasets: tuple[bytes, ...]
    namespace: str
    name: str
    production: bytes | None
    by: Chosen = "asset"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRun:
    """A run."""

    run: bytes


def find(connection: Connection, text: str, as_of: int | None = None) -> NamedAsset | NamedRun:
    """What `text` names; as of a time (µs since 1970 UTC, inclusive), what it named then."""
    wanted = storable(text)
    found: NamedAsset | NamedRun | None = _asset(connection, wanted, None, as_of)
    if found is None and "@" in wanted:
        name, _, chosen = wanted.rpartition("@")
        found = _asset(connection, name, chosen, as_of)
    if found is None:
        found = _by_id(connection, wanted, as_of)
    if found is None and as_of is not None and (came := _came_later(connection, wanted)):
        raise Unknown(f"{shown(text)} was not there yet", remedy=came, name=text)
    if found is None:
        raise Unknown(
            f"{_NO_NAME} run or production is called {shown(text)}",
            remedy=_near(connection, text) or "`headwater assets` lists what there is",
            name=text,
        )
    return found


def _near(connection: Connection, text: str) -> str:
    """The nearest names, of the whole text or of what stands before a version; or the nearest ids."""
    if _bounds(storable(text)) is not None and (near := misnamed.near_runs(connection, text)):
        return near
    names = nearest_names(connection, text)
    if not names and "@" in text:
        names = nearest_names(connection, text.rpartition("@")[0])
    return did_you_mean(names)


def nor_a_job(connection: Connection, text: str, unknown: Unknown) -> Unknown:
    """`unknown`, of a question that takes the name of a job as well."""
    if not unknown.message.startswith(_NO_NAME):
        return unknown
    near = [*nearest_names(connection, text), *nearest_names(connection, text, kind=Kind.JOB)]
    return Unknown(
        unknown.message.replace(_NO_NAME, "no asset, job,", 1),
        remedy=did_you_mean(near[:3]) or unknown.remedy,
        name=text,
    )


def _came_later(connection: Connection, text: str) -> str:
    """Since when a run or a production has that id; "" where none has, or several."""
    try:
        later = _by_id(connection, text, None)
    except Ambiguous:
        return ""
    return "" if later is None else _came(connection, later)


def _came(connection: Connection, later: NamedAsset | NamedRun) -> str:
    """Since when it has been there."""
    if isinstance(later, NamedRun):
        began = connection.scalar(select(run.c.first_at).where(run.c.run_id == later.run))
        return f"its first event is of {misnamed.told(began)}" if began is not None else ""
    at = connection.scalar(
        select(run_output.c.published_at).where(run_output.c.production_id == later.production)
    )
    return f"it was published at {misnamed.told(at)}" if at is not None else "it was never published"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """All that a text may name: datasets and runs by their ids; `more` than these, when it is vague."""

    datasets: frozenset[bytes]
    runs: frozenset[bytes]
    more: bool


def candidates(connection: Connection, text: str) -> Candidates:
    """What `find` would choose from, whatever else happened: for who looks at part of the events."""
    wanted = storable(text)
    spelled = [*_spellings(wanted), *_spellings(wanted.rpartition("@")[0])]
    found = select(dataset.c.dataset_id).where(or_(*spelled)).limit(_MOST_CANDIDATES)
    datasets, runs = set(connection.scalars(found)), set[bytes]()
    bounds = _bounds(wanted)
    if bounds is not None:
        of_run = select(run.c.run_id).where(run.c.run_id.between(*bounds), run.c.kind == 0)
        runs |= set(connection.scalars(of_run.limit(_MOST_CANDIDATES)))
        written = select(run_output.c.run_id, run_output.c.dataset_id)
        of_production = written.where(run_output.c.production_id.between(*bounds))
        for run_id, dataset_id in connection.execute(of_production.limit(_MOST_CANDIDATES)):
            runs.add(run_id)
            datasets.add(dataset_id)
    if not datasets and not runs:
        runs |= set(connection.scalars(_of_text(wanted).limit(_MOST_CANDIDATES)))
    more = max(len(datasets), len(runs)) >= _MOST_CANDIDATES
    return Candidates(datasets=frozenset(datasets), runs=frozenset(runs), more=more)


def may_be_an_id(connection: Connection, text: str) -> bool:
    """Whether `text` looks like the start of an id, or is what a producer calls one of its runs."""
    wanted = storable(text)
    return _bounds(wanted) is not None or connection.scalar(_of_text(wanted).limit(1)) is not None


def _of_text(text: str) -> Select[tuple[bytes]]:
    return select(run.c.run_id).where(run.c.ext_id == text)


def id_text(id: bytes) -> str:
    """An id as its canonical text: a UUID's, without the cost of making one."""
    text = id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _asset(connection: Connection, text: str, chosen: str | None, as_of: int | None) -> NamedAsset | None:
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
    production: bytes | None
    by: Chosen = "asset"
    if chosen:
        production, by = _chosen(connection, text, datasets, chosen, as_of)
    else:
        production = _latest(connection, datasets, as_of)
    if production is None and as_of is not None and not _was_known(connection, datasets, as_of):
        raise Unknown(
            f"{shown(text)} was not there yet: nothing had written or read it by then",
            remedy=_first_heard(connection, datasets) or f"`headwater show {text}` tells when it came",
            name=text,
        )
    return NamedAsset(
        datasets=datasets, namespace=rows[0].namespace, name=rows[0].name, production=production, by=by
    )


def _first_heard(connection: Connection, datasets: Sequence[bytes]) -> str:
    first = misnamed.first_heard(connection, datasets)
    return f"first written or read at {misnamed.told(first)}" if first is not None else ""


def _was_known(connection: Connection, datasets: Sequence[bytes], as_of: int) -> bool:
    asked = select(dataset.c.dataset_id).where(dataset.c.dataset_id.in_(datasets), known(as_of))
    return connection.execute(asked.limit(1)).first() is not None


def _count(rows: Sequence[Any]) -> str:
    return f"more than {_CANDIDATES}" if len(rows) > _CANDIDATES else str(len(rows))


def _spellings(text: str) -> list[ColumnElement[bool]]:
    """`text` as a name, and as namespace and name split at each of its slashes."""
    splits = [at for at, character in enumerate(text) if character == "/" and 0 < at < len(text) - 1]
    return [
        called(dataset.c.name, text),
        *(
            and_(dataset.c.namespace == text[:at], called(dataset.c.name, text[at + 1 :]))
            for at in splits[:64]
        ),
    ]


def called(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Whether a name is `text`; by the index, which holds the beginnings of names."""
    # Joined with nothing: else SQLite puts `text` for the column in the first condition too, and scans.
    return and_(indexed(column) == text[:200], column.concat("") == text)


def _latest(
    connection: Connection, datasets: Sequence[bytes], as_of: int | None, *also: ColumnElement[bool]
) -> bytes | None:
    """The production published last; one that nobody inherits only when there is no other."""
    of_asset = select(run_output.c.production_id).where(run_output.c.dataset_id.in_(datasets), *also)
    published = of_asset.where(run_output.c.published_at.is_not(None)).order_by(
        run_output.c.published_at.desc(), run_output.c.version_id.desc(), run_output.c.production_id.desc()
    )
    if as_of is not None:
        published = published.where(run_output.c.published_at <= as_of)
    found: bytes | None = connection.scalar(published.limit(1))
    if found is None:
        unpublished = of_asset.where(run_output.c.published_at.is_(None), existing(as_of), written())
        found = connection.scalar(unpublished.order_by(run_output.c.production_id.desc()).limit(1))
    return found


def _chosen(
    connection: Connection, name: str, datasets: Sequence[bytes], chosen: str, as_of: int | None
) -> tuple[bytes, Chosen]:
    """The last production of the version, alias or run that `chosen` says, and which of them it was."""
    aliased = _aliased(connection, datasets, chosen, as_of)
    versions = {aliased: chosen} if aliased else _versions(connection, datasets, chosen, as_of)
    if len(set(versions.values())) > 1:
        texts = sorted(set(versions.values()))[:_CANDIDATES]
        raise Ambiguous(
            f"{len(set(versions.values()))} versions of {shown(name)} begin with {shown(chosen)}",
            tuple(f"{name}@{text}" for text in texts),
        )
    found = _latest(connection, datasets, as_of, run_output.c.version_id.in_(versions)) if versions else None
    if found is not None:
        return found, "version"
    bounds = _bounds(chosen)
    if bounds is not None:
        found = _latest(connection, datasets, as_of, run_output.c.run_id.between(*bounds))
    if found is None:
        raise Unknown(
            f"{shown(name)} {'has' if as_of is None else 'had'} no version, alias or run {shown(chosen)}",
            remedy=_instead(connection, name, datasets, chosen, as_of),
            name=f"{name}@{chosen}",
        )
    return found, "production"


def _instead(
    connection: Connection, name: str, datasets: Sequence[bytes], chosen: str, as_of: int | None
) -> str:
    """Since when there is such a version, or what is nearest to it."""
    if as_of is not None and (came := _since_when(connection, name, datasets, chosen)):
        return came
    near = misnamed.near_versions(connection, name, datasets, chosen)
    return near or f"`headwater show {name}` lists its versions"


def _since_when(connection: Connection, name: str, datasets: Sequence[bytes], chosen: str) -> str:
    """Since when there is what `chosen` says; "" where there is none today."""
    try:
        later, by = _chosen(connection, name, datasets, chosen, None)
    except (Unknown, Ambiguous):
        # This only looks for a remedy: that nothing was there at the time asked for is being told already.
        return ""
    if _aliased(connection, datasets, chosen, None) is not None:
        return f"{chosen} points at one now; `headwater show {name}` tells since when"
    return _came(
        connection, NamedAsset(datasets=tuple(datasets), namespace="", name=name, production=later, by=by)
    )


def _aliased(
    connection: Connection, datasets: Sequence[bytes], alias: str, as_of: int | None
) -> bytes | None:
    said: Select[Any] = select(governance.c.version_id, governance.c.withdrawn).where(
        governance.c.dataset_id.in_(datasets), governance.c.kind == "alias", governance.c.key == alias
    )
    if as_of is not None:
        said = said.where(governance.c.at <= as_of)
    last = connection.execute(
        said.order_by(governance.c.at.desc(), governance.c.event_id.desc()).limit(1)
    ).first()
    return None if last is None or last.withdrawn else last.version_id


def _versions(
    connection: Connection, datasets: Sequence[bytes], start: str, as_of: int | None
) -> dict[bytes, str]:
    """The versions that `start` may mean, by id; an exact text means only itself."""
    written = select(version.c.version_id, version.c.version).where(
        version.c.dataset_id.in_(datasets),
        or_(
            version.c.version.startswith(start, autoescape=True),
            version.c.version.contains(f":{start}", autoescape=True),
        ),
    )
    if as_of is not None:
        produced = select(run_output.c.production_id).where(run_output.c.version_id == version.c.version_id)
        written = written.where(produced.where(existing(as_of)).exists())
    rows = connection.execute(written).all()
    # LIKE folds case on SQLite.
    found = {id: text for id, text in rows if text.startswith(start) or f":{start}" in text}
    return {id: text for id, text in found.items() if text == start} or found


def _bounds(text: str) -> tuple[bytes, bytes] | None:
    """The least and the greatest id that begin as `text` does, when it looks like one."""
    digits = text.replace("-", "").lower()
    if _ID.match(text) is None or len(digits) > 32:
        return None
    return bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))


def _by_id(connection: Connection, text: str, as_of: int | None) -> NamedAsset | NamedRun | None:
    bounds = _bounds(text)
    begun = true() if as_of is None else run.c.first_at <= as_of
    runs: list[bytes] = []
    productions: list[bytes] = []
    if bounds is not None:
        of_run = select(run.c.run_id).where(run.c.run_id.between(*bounds), run.c.kind == 0, begun)
        of_production = select(run_output.c.production_id).where(
            run_output.c.production_id.between(*bounds), existing(as_of), written()
        )
        runs = list(connection.scalars(of_run.order_by(run.c.run_id).limit(_CANDIDATES)))
        productions = list(
            connection.scalars(of_production.order_by(run_output.c.production_id).limit(_CANDIDATES))
        )
    if not runs and not productions:
        of_text = select(run.c.run_id).where(run.c.ext_id == text, begun)
        runs = list(connection.scalars(of_text.limit(_CANDIDATES)))
    if len(runs) + len(productions) > 1:
        runs, productions = runs[:_CANDIDATES], productions[: max(0, _CANDIDATES - len(runs))]
        ids = tuple(id_text(id) for id in (*runs, *productions))
        described = misnamed.described_runs(connection, runs)
        described += misnamed.described_productions(connection, productions)
        raise Ambiguous(f"{shown(text)} begins {len(ids)} ids or more", ids, tuple(described))
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
    return NamedAsset(
        datasets=tuple(members),
        namespace=own.namespace,
        name=own.name,
        production=production,
        by="production",
    )
