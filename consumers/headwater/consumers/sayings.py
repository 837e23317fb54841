"""What is said of assets, runs and jobs, as far as one can search for it.

Loaded for a page of candidates at a time, one statement per kind of thing. What stands now
counts: a facet that another one replaced, a tag that was taken back, says nothing any more. As of a
time (µs since 1970 UTC, inclusive) what stood then counts; of the facets of runs only the last are
kept, and count for all times of the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, cast, func, select, true

from headwater.consumers import tag_registers
from headwater.consumers.candidates import any_of, point_query
from headwater.consumers.existence import existing, facets_of
from headwater.consumers.fold import time_of
from headwater.consumers.queries import Condition
from headwater.consumers.tables import (
    dataset,
    dataset_facet,
    facet,
    facet_owner,
    facet_value,
    governance,
    job,
    metric_point,
    run,
    run_output,
    version,
)
from headwater.consumers.terms import (
    OWNED_BY_DATASET,
    OWNED_BY_JOB,
    SEARCHED,
    TYPED,
    Kind,
    Owner,
    body_of,
    facts,
    statement_texts,
    type_of,
)
from headwater.schemas import ids as ids_of
from headwater.schemas.text import original

_STATED = {"tag": Kind.TAG, "description": Kind.DESCRIPTION, "ownership": Kind.OWNER}


class Said(NamedTuple):
    """One fact: a text with words, or a value that is compared (`number`, or `text` where it is none)."""

    kind: Kind
    key: str
    text: str
    number: float | None = None
    is_value: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetSaid:
    """An asset under all its names, and what is said of it."""

    group: bytes
    names: tuple[tuple[str, str], ...]
    type: str | None
    said: tuple[Said, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSaid:
    """One production of a run, and what is said of it alone."""

    production: bytes
    dataset: bytes
    version: str | None
    published_at: int | None
    said: tuple[Said, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSaid:
    """A run: what is said of it, by what its job is called, and what it wrote.

    `is_run`: not one that stands for what was said of a dataset outside of any run.
    """

    run: bytes
    is_run: bool
    job: tuple[str, str] | None
    state: int
    at: int
    said: tuple[Said, ...]
    job_said: tuple[Said, ...]
    outputs: tuple[OutputSaid, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSaid:
    """A job, and what is said of it: by itself, or by its newest run."""

    job: bytes
    name: tuple[str, str]
    at: int | None
    said: tuple[Said, ...]


# -- assets ------------------------------------------------------------------------------


def assets(
    connection: Connection, datasets: Collection[bytes], as_of: int | None = None
) -> dict[bytes, AssetSaid]:
    """The assets that have one of `datasets` as a name, by each of their names' ids."""
    groups = select(dataset.c.group_id).where(dataset.c.dataset_id.in_(datasets))
    rows = connection.execute(select(dataset).where(dataset.c.group_id.in_(groups))).all()
    members: dict[bytes, list[bytes]] = defaultdict(list)
    names: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    group_of = {row.dataset_id: row.group_id for row in rows}
    for row in rows:
        members[row.group_id].append(row.dataset_id)
        names[row.group_id].append((original(row.namespace), original(row.name)))
    said: dict[bytes, list[Said]] = defaultdict(list)
    for told in (_of_registers(connection, group_of, as_of), _stated(connection, group_of, as_of)):
        for one, facts_of_one in told.items():
            said[group_of[one]] += facts_of_one
    found = {}
    for group, ids in members.items():
        named = tuple(sorted(names[group]))
        types = [one.text for one in said[group] if one.kind is Kind.TYPE]
        asset = AssetSaid(
            group=group,
            names=named,
            type=types[0] if types else None,
            said=(*_of_names(Kind.NAME, named), *said[group]),
        )
        found.update(dict.fromkeys(ids, asset))
    return found


def _of_names(kind: Kind, names: Iterable[tuple[str, str]]) -> list[Said]:
    return [Said(kind, namespace, name) for namespace, name in names]


def _of_registers(
    connection: Connection, datasets: Collection[bytes], as_of: int | None
) -> dict[bytes, list[Said]]:
    """What facets say of datasets over all runs (R11), and producers' tags (R13)."""
    wanted = (OWNED_BY_DATASET | set(TYPED)) - {"tags"}
    last = [] if as_of is None else _said_later(connection, datasets, as_of)
    query = (
        select(dataset_facet.c.dataset_id, facet.c.facet_id, facet.c.name, cast(facet.c.body, Text))
        .join(facet, facet.c.facet_id == dataset_facet.c.facet_id)
        .where(
            dataset_facet.c.dataset_id.in_(set(datasets).difference(last)), dataset_facet.c.name.in_(wanted)
        )
        # Of two types our own facet's is the one that is shown.
        .order_by(facet.c.name.desc())
    )
    found: dict[bytes, list[Said]] = defaultdict(list)
    read: dict[bytes, list[Said]] = {}  # many datasets share one schema
    for id, facet_id, name, text in connection.execute(query):
        if facet_id not in read:
            read[facet_id] = _of_body(name, body_of(text))
        found[id] += read[facet_id]
    for id in last:
        then = facets_of(connection, [id], as_of)
        for name in sorted(then.keys() & wanted, reverse=True):
            found[id] += _of_body(name, then[name])
    for id, tag in tags_of(connection, "dataset", datasets, as_of):
        found[id].append(tag)
    return found


def _said_later(connection: Connection, datasets: Collection[bytes], as_of: int) -> list[bytes]:
    """Those of which a facet was said after `as_of`: what was said before has to be looked up."""
    stamps = connection.execute(
        select(dataset_facet.c.dataset_id, dataset_facet.c.stamp).where(
            dataset_facet.c.dataset_id.in_(datasets)
        )
    )
    return list(dict.fromkeys(id for id, stamp in stamps if time_of(stamp) > as_of))


def _of_body(name: str, body: Any) -> list[Said]:
    if name not in TYPED:
        return [Said(*fact) for fact in facts(name, body)]
    told = type_of(name, body)
    return [Said(Kind.TYPE, "", original(told))] if told else []


def tags_of(
    connection: Connection, kind: str, entities: Collection[bytes], as_of: int | None = None
) -> Iterable[tuple[bytes, Said]]:
    """The tags that producers' statements give each of `entities`."""
    for tag in tag_registers.standing(connection, kind, entities, as_of):
        yield tag.entity, Said(Kind.TAG, tag.key, tag.value or "")


def _stated(
    connection: Connection, datasets: Collection[bytes], as_of: int | None
) -> dict[bytes, list[Said]]:
    """What curators say: the last word on each subject, unless withdrawn."""
    query = (
        select(governance)
        .where(governance.c.dataset_id.in_(datasets), governance.c.kind.in_(_STATED))
        .order_by(governance.c.at, governance.c.event_id)
    )
    if as_of is not None:
        query = query.where(governance.c.at <= as_of)
    last = {
        (row.dataset_id, row.version_id, row.kind, row.key): row for row in connection.execute(query).all()
    }
    found: dict[bytes, list[Said]] = defaultdict(list)
    for row in last.values():
        if row.withdrawn:
            continue
        value = None if row.value is None else original(row.value)
        kind = _STATED[row.kind]
        if kind is Kind.TAG:
            found[row.dataset_id].append(Said(kind, original(row.key), value or ""))
        else:
            found[row.dataset_id] += [
                Said(kind, "", text) for text in statement_texts(row.kind, original(row.key), value)
            ]
    return found


# -- runs --------------------------------------------------------------------------------


def runs(
    connection: Connection,
    ids: Collection[bytes],
    conditions: tuple[Condition, ...],
    as_of: int | None = None,
) -> dict[bytes, RunSaid]:
    """The runs (and pseudo-runs of DatasetEvents) of `ids`; values as far as `conditions` ask for them."""
    rows = connection.execute(
        select(run, job.c.namespace, job.c.name)
        .outerjoin(job, job.c.job_id == run.c.job_id)
        .where(run.c.run_id.in_(ids), run.c.kind != 1, true() if as_of is None else run.c.first_at <= as_of)
    ).all()
    outputs = connection.execute(
        select(run_output, version.c.version)
        .outerjoin(version, version.c.version_id == run_output.c.version_id)
        .where(run_output.c.run_id.in_(ids), existing(as_of))
    ).all()
    lists = {row.run_id: row.facets for row in rows} | {row.production_id: row.facets for row in outputs}
    said = _of_facets(connection, lists, conditions)
    points = _points(connection, ids, conditions, as_of)
    tags: dict[bytes, list[Said]] = defaultdict(list)
    for id, tag in tags_of(connection, "run", ids, as_of):
        tags[id].append(tag)
    by_run: dict[bytes, list[OutputSaid]] = defaultdict(list)
    for row in outputs:
        by_run[row.run_id].append(
            OutputSaid(
                production=row.production_id,
                dataset=row.dataset_id,
                version=None if row.version is None else original(row.version),
                published_at=row.published_at,
                said=tuple(one for name, one in said[row.production_id] if name in _OF_OUTPUTS),
            )
        )
    found = {}
    for row in rows:
        named = None if row.name is None else (original(row.namespace), original(row.name))
        own = (one for name, one in said[row.run_id] if name in _OF_RUNS)
        found[row.run_id] = RunSaid(
            run=row.run_id,
            is_run=row.kind == 0,
            job=named if row.kind == 0 else None,
            state=row.state,
            at=row.started_at if row.started_at is not None else row.first_at,
            said=(*own, *tags[row.run_id], *points[row.run_id]) if row.kind == 0 else (),
            job_said=tuple(_of_names(Kind.JOB, [named])) if named is not None and row.kind == 0 else (),
            outputs=tuple(by_run[row.run_id]),
        )
    return found


# Lists hold the facets of a run and of its job, or of a dataset, side by side. Tags are told by registers.
_OF_RUNS = frozenset({"executionParameters", "headwater_code", "sourceCodeLocation"})
_OF_OUTPUTS = frozenset({"headwater_model", "headwater_metrics"})
_OF_JOBS = OWNED_BY_JOB - {"tags"}


def _of_facets(
    connection: Connection, lists: Mapping[bytes, bytes], conditions: tuple[Condition, ...]
) -> dict[bytes, list[tuple[str, Said]]]:
    """What the facets in each list of ids say, each with the facet's name."""
    wanted = {text[at : at + 16] for text in lists.values() for at in range(0, len(text), 16)}
    told: dict[bytes, list[tuple[str, Said]]] = defaultdict(list)
    bodies = select(facet.c.facet_id, facet.c.name, cast(facet.c.body, Text)).where(
        facet.c.facet_id.in_(wanted), facet.c.name.in_(SEARCHED)
    )
    for id, name, text in connection.execute(bodies):
        told[id] += [(name, Said(*fact)) for fact in facts(name, body_of(text))]
    v = facet_value.c
    values = select(v.facet_id, facet.c.name, v.kind, v.key, v.text, v.number)
    for id, name, kind, key, text, number in connection.execute(
        values.join(facet, facet.c.facet_id == v.facet_id).where(v.facet_id.in_(wanted), any_of(conditions))
    ):
        told[id].append((name, Said(Kind(kind), original(key), original(text), number, is_value=True)))
    return defaultdict(
        list,
        {
            owner: [one for at in range(0, len(text), 16) for one in told[text[at : at + 16]]]
            for owner, text in lists.items()
        },
    )


def _points(
    connection: Connection,
    ids: Collection[bytes],
    conditions: tuple[Condition, ...],
    as_of: int | None,
) -> dict[bytes, list[Said]]:
    """For each condition on metrics, the point of each run that fits it best."""
    found: dict[bytes, list[Said]] = defaultdict(list)
    for condition in conditions:
        query = point_query(condition)
        if query is None:
            continue
        if as_of is not None:
            query = query.where(metric_point.c.at <= as_of)
        sign = getattr(condition, "sign", None)
        best = func.min(metric_point.c.value) if sign in ("<", "<=") else func.max(metric_point.c.value)
        of_runs = query.with_only_columns(metric_point.c.run_id, metric_point.c.key, best)
        of_runs = of_runs.where(metric_point.c.run_id.in_(ids)).group_by(
            metric_point.c.run_id, metric_point.c.key
        )
        for id, key, value in connection.execute(of_runs):
            found[id].append(Said(Kind.METRIC, original(key), "", value, is_value=True))
    return found


# -- jobs --------------------------------------------------------------------------------


def jobs(
    connection: Connection,
    ids: Collection[bytes],
    conditions: tuple[Condition, ...],
    as_of: int | None = None,
) -> dict[bytes, JobSaid]:
    """The jobs of `ids`: what their own statements and their newest runs say of them.

    As of a time those that had run, or spoken for themselves.
    """
    begun = true() if as_of is None else run.c.first_at <= as_of
    # One probe a job for its newest run, however many it has.
    newest = (
        select(run.c.run_id)
        .where(run.c.job_id == job.c.job_id, run.c.kind == 0, begun)
        .order_by(run.c.first_at.desc(), run.c.run_id.desc())
        .limit(1)
        .correlate(job)
        .scalar_subquery()
    )
    named = connection.execute(select(job, newest.label("newest")).where(job.c.job_id.in_(ids))).all()
    own = {
        row.job_id: ids_of.hash128("jobevent", original(row.namespace), original(row.name)) for row in named
    }
    wanted = [*own.values(), *(row.newest for row in named if row.newest is not None)]
    rows = {
        row.run_id: row
        for row in connection.execute(
            select(run.c.run_id, run.c.kind, run.c.first_at, run.c.facets).where(
                run.c.run_id.in_(wanted), begun
            )
        )
    }
    said = _of_facets(connection, _of_jobs(connection, named, own, rows), conditions)
    tags: dict[bytes, list[Said]] = defaultdict(list)
    for id, tag in tags_of(connection, "job", ids, as_of):
        tags[id].append(tag)
    found = {}
    for row in named:
        if as_of is not None and row.newest is None and own[row.job_id] not in rows:
            continue
        of_job = [one for name, one in said[row.job_id] if name in _OF_JOBS]
        called = (original(row.namespace), original(row.name))
        found[row.job_id] = JobSaid(
            job=row.job_id,
            name=called,
            at=rows[row.newest].first_at if row.newest in rows else None,
            said=(*_of_names(Kind.JOB, [called]), *of_job, *tags[row.job_id]),
        )
    return found


def _of_jobs(
    connection: Connection,
    named: Sequence[Any],
    own: Mapping[bytes, bytes],
    rows: Mapping[bytes, Any],
) -> dict[bytes, bytes]:
    """The facets of each job among those of its runs: a run that names two jobs has facets of both."""
    lists = {
        row.job_id: b"".join(rows[id].facets for id in (own[row.job_id], row.newest) if id in rows)
        for row in named
    }
    wanted = {text[at : at + 16] for text in lists.values() for at in range(0, len(text), 16)}
    o = facet_owner.c
    owned = connection.execute(
        select(o.facet_id, o.owner_id).where(
            o.facet_id.in_(wanted), o.kind == int(Owner.JOB), o.owner_id.in_(lists)
        )
    )
    found: dict[bytes, bytes] = defaultdict(bytes)
    for facet_id, job_id in owned:
        text = lists[job_id]
        if facet_id in {text[at : at + 16] for at in range(0, len(text), 16)}:
            found[job_id] += facet_id
    return found
