"""What there is: the runs, and the assets.

A listing is a table of short lines, cut at a number of them; what one line is about is the
business of `headwater.consumers.showing`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any

from sqlalchemy import JSON, Connection, Select, and_, func, or_, select, type_coerce

from headwater.consumers.answers import Asset, ListedRun, Run, Unknown
from headwater.consumers.details import STATES, Details, asset_type, instant
from headwater.consumers.existence import document, facets_of, known, known_version
from headwater.consumers.fold import time_of
from headwater.consumers.marks import CLEAN, Marks
from headwater.consumers.naming import called
from headwater.consumers.nearest import did_you_mean, nearest_names
from headwater.consumers.reproductions import NAMESPACE as REPRODUCTIONS
from headwater.consumers.tables import (
    dataset,
    dataset_facet,
    facet,
    job,
    run,
    run_output,
    version,
)
from headwater.consumers.terms import Kind
from headwater.schemas.errors import shown
from headwater.schemas.text import original, storable

#: Assets looked at at a time, where what they were then decides whether they are listed.
PAGE = 500


def runs(
    connection: Connection, job: str | None, state: str | None, limit: int, as_of: int | None = None
) -> tuple[ListedRun, ...]:
    """The latest runs first; `job` is a name or `namespace/name`, `state` as in `Run.state`.

    Attempts to make a version again are no work of a pipeline: they are listed where `job` is theirs, or
    their namespace.
    """
    if state is not None and state.upper() not in STATES:
        raise Unknown(f"no run has a state {shown(state)}", remedy=f"one of {', '.join(STATES)}")
    wanted = None if state is None else state.upper()
    query = _runs_query(connection, job, wanted, as_of)
    found: dict[bytes, Run] = {}
    start = 0
    while len(found) < limit:
        ids = connection.scalars(query.limit(limit).offset(start)).all()
        details = Details(connection, as_of)
        details.load_runs(ids)
        found |= {id: details.runs[id] for id in ids if wanted in (None, details.runs[id].state)}
        start += limit
        if len(ids) < limit:
            break
    listed = dict(islice(found.items(), limit))
    marks = Marks(connection, as_of).of_runs(listed)
    return tuple(_listed(run, marks[id].fields()) for id, run in listed.items())


def _listed(run: Run, mark: dict[str, Any]) -> ListedRun:
    return ListedRun(**{field.name: getattr(run, field.name) for field in fields(run)}, **mark)


def _runs_query(
    connection: Connection, wanted: str | None, state: str | None, as_of: int | None
) -> Select[Any]:
    """The ids; as of a time, of the runs that may have been in that state."""
    query = select(run.c.run_id).where(run.c.kind == 0)
    of_attempts = select(job.c.job_id).where(job.c.namespace == REPRODUCTIONS)
    if wanted is None:
        query = query.where(or_(run.c.job_id.is_(None), run.c.job_id.not_in(of_attempts)))
    elif wanted == REPRODUCTIONS:
        query = query.where(run.c.job_id.in_(of_attempts))
    else:
        query = query.where(run.c.job_id.in_(jobs_called(connection, wanted)))
    if as_of is not None:
        query = query.where(run.c.first_at <= as_of)
    if state is not None:
        then = run.c.state == STATES.index(state)
        query = query.where(then if as_of is None else or_(then, run.c.last_at > as_of))
    return query.order_by(run.c.first_at.desc(), run.c.run_id.desc())


def jobs_called(connection: Connection, text: str) -> Sequence[bytes]:
    """The jobs of that name, with or without namespace; a step's own name is enough."""
    wanted = storable(text)
    splits = [at for at, character in enumerate(wanted) if character == "/"]
    named = [and_(job.c.namespace == wanted[:at], called(job.c.name, wanted[at + 1 :])) for at in splits[:64]]
    # A step is called `pipeline.step`; its own name is enough.
    of_step = job.c.name.endswith(f".{wanted}", autoescape=True)
    found = connection.scalars(select(job.c.job_id).where(or_(called(job.c.name, wanted), *named))).all()
    found = found or connection.scalars(select(job.c.job_id).where(of_step)).all()
    if not found:
        near = did_you_mean(nearest_names(connection, text, kind=Kind.JOB))
        raise Unknown(f"no job is called {shown(text)}", remedy=near or "`headwater runs` lists what ran")
    return found


def assets(
    connection: Connection, pattern: str | None, type: str | None, limit: int, as_of: int | None = None
) -> tuple[Asset, ...]:
    """The assets by name; `pattern` (`*`, `?`) is held against the name and `namespace/name`."""
    if as_of is None or type is None:
        return tuple(_assets(connection, _assets_query(pattern, type, as_of).limit(limit), as_of))
    # What type it was then is not in the query: ask for as many as it takes.
    found: list[Asset] = []
    query, start = _assets_query(pattern, None, as_of), 0
    while len(found) < limit:
        listed = tuple(_assets(connection, query.limit(PAGE).offset(start), as_of))
        found += [asset for asset in listed if (asset.type or "").lower() == type.lower()]
        start += PAGE
        if len(listed) < PAGE:
            break
    return tuple(found[:limit])


def _assets(connection: Connection, query: Select[Any], as_of: int | None) -> Iterator[Asset]:
    rows = connection.execute(query).all()
    latest = newest(connection, [row.dataset_id for row in rows], as_of)
    marks = Marks(connection, as_of)
    marked = marks.of_productions(production for _, _, _, production in latest.values())
    for row in rows:
        last_version, last_at, content, production = latest.get(row.dataset_id, (None, None, None, b""))
        facets = {"headwater_asset": document(row.body)} if row.body is not None else {}
        if as_of is not None and row.stamp is not None and time_of(row.stamp) > as_of:
            facets = facets_of(connection, [row.dataset_id], as_of)
        yield Asset(
            namespace=original(row.namespace),
            name=original(row.name),
            type=asset_type(facets),
            versions=row.versions,
            last_version=last_version,
            last_published_at=instant(last_at),
            recalled=bool(marks.recalls.of(row.dataset_id, content)),
            recalled_upstream=marked.get(production, CLEAN).upstream,
            recalls=marks.recalls.count(row.dataset_id),
        )


def _assets_query(pattern: str | None, type: str | None, as_of: int | None) -> Select[Any]:
    told = select(dataset_facet.c.dataset_id, dataset_facet.c.stamp, facet.c.body).join(
        facet, facet.c.facet_id == dataset_facet.c.facet_id
    )
    described = told.where(dataset_facet.c.name == "headwater_asset").subquery("described")
    count = select(func.count()).select_from(version).where(version.c.dataset_id == dataset.c.dataset_id)
    query = (
        select(
            dataset.c.dataset_id,
            dataset.c.namespace,
            dataset.c.name,
            described.c.stamp,
            described.c.body,
            count.where(known_version(as_of)).scalar_subquery().label("versions"),
        )
        .outerjoin(described, described.c.dataset_id == dataset.c.dataset_id)
        .where(known(as_of))
        .order_by(dataset.c.namespace, dataset.c.name)
    )
    if pattern is not None:
        like = _like(storable(pattern))
        full = dataset.c.namespace + "/" + dataset.c.name
        query = query.where(or_(dataset.c.name.like(like, escape="\\"), full.like(like, escape="\\")))
    if type is not None:
        said = type_coerce(described.c.body, JSON)["assetType"].as_string()
        query = query.where(func.lower(said) == type.lower())
    return query


def _like(pattern: str) -> str:
    for special in ("\\", "%", "_"):
        pattern = pattern.replace(special, f"\\{special}")
    return pattern.replace("*", "%").replace("?", "_")


def newest(
    connection: Connection, datasets: Collection[bytes], as_of: int | None
) -> Mapping[bytes, tuple[str | None, int | None, bytes | None, bytes]]:
    """The version, the time, the version's id and the production of the last publication of each."""
    of_asset = run_output.alias()
    published = of_asset.c.published_at.is_not(None) if as_of is None else of_asset.c.published_at <= as_of
    newest = (
        select(of_asset.c.production_id)
        .where(of_asset.c.dataset_id == dataset.c.dataset_id, published)
        .order_by(of_asset.c.published_at.desc(), of_asset.c.version_id.desc())
        .limit(1)
        .correlate(dataset)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(
            dataset.c.dataset_id,
            run_output.c.version_id,
            version.c.version,
            run_output.c.published_at,
            run_output.c.production_id,
        )
        .select_from(dataset)
        .join(run_output, run_output.c.production_id == newest)
        .outerjoin(version, version.c.version_id == run_output.c.version_id)
        .where(dataset.c.dataset_id.in_(datasets))
    )
    return {
        row.dataset_id: (
            None if row.version is None else original(row.version),
            row.published_at,
            row.version_id,
            row.production_id,
        )
        for row in rows
    }
