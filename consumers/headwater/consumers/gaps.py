"""What is missing from the lineage, or cannot be known to be there.

    missing         numbers of an emitter that are not in the store: events lost before the log
    broken          an emitter's chain that was edited or forked
    unclosed        an emitter that never said which event is its last: its tail is unknown
    miscounted      a run of which its emitter counted more events than are here
    unended         a run that did not end
    unstarted       a run that never said that it began
    unproduced      a version, or one run's copy of it, that was read and that nobody wrote
    unknown-origin  a dataset that was read, without a version, before anybody wrote it

The last is no failure unless one is strict: what comes from outside has no producer. Of each kind
at most `limit` are listed, and all are counted, in the database. What was said so lately that the
rest may be on its way (`older_than`) is left out, and counted; a lost number and a broken chain do not
mend, and are told at once. As of a time only what had happened by then counts. Attempts to make a
version again never say that they begin: nothing is missing of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
)

from headwater.consumers.answers import Job, Recall, Unknown
from headwater.consumers.binding import binding
from headwater.consumers.completeness import EmitterReport, Gap, each_emitter
from headwater.consumers.details import moment
from headwater.consumers.looking import Report, nobody_waits
from headwater.consumers.marks import Mark, Marks, together
from headwater.consumers.moments import microseconds
from headwater.consumers.naming import id_text
from headwater.consumers.nearest import offered
from headwater.consumers.reproductions import NAMESPACE as REPRODUCTIONS
from headwater.consumers.shown import Shown
from headwater.consumers.tables import (
    Id,
    dataset,
    event,
    job,
    run,
    run_closure,
    run_input,
    run_output,
    version,
)
from headwater.schemas.errors import shown
from headwater.schemas.text import original, storable

KINDS = (
    "missing",
    "broken",
    "unclosed",
    "miscounted",
    "unended",
    "unstarted",
    "unproduced",
    "unknown-origin",
)
_LOOKED_AT = {
    "miscounted": "runs with fewer events than were counted",
    "unended": "runs that did not end",
    "unstarted": "runs that never began",
    "unproduced": "versions that nobody wrote",
    "unknown-origin": "inputs of unknown origin",
}
HOUR_US = 3_600_000_000
_BEGINNING = -(2**63)
DEFAULT_LIMIT = 100
# So many are looked through for the nearest name.
_NAMES = 1_000
_PROJECTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """One thing that is missing or unknown.

    `subject` is an emitter's or a run's id, or an asset with the version read; `project` the
    namespace of the job it belongs to, None where no job is known. `first_at` and `last_at` are the
    first and last event (or reading) that tells of it. `numbers` are an emitter's missing numbers, those
    at which its chain is broken, or the first that is unknown; `count` is how many events are missing,
    or how often it was read. `recalled`: the version that was read is, or something that the run wrote;
    `recalled_upstream`: something that the run read, or what that was made of (None: not known).
    """

    kind: str
    project: str | None
    subject: str
    job: Job | None
    first_at: datetime
    last_at: datetime
    count: int | None
    numbers: tuple[Gap, ...] = ()
    recalled: bool = False
    recalled_upstream: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps(Shown):
    """What is missing: `lacks`, at most `limit` of a kind; `totals` counts all, by project and kind.

    `complete`: nothing is missing that should be there, as far as was looked: `left_out` counts what was
    not told because it was heard of less than `older_than` seconds before. No project is "". `recalls`
    are those that the marks of `lacks` stand for, the newest first.
    """

    complete: bool
    lacks: tuple[Lack, ...]
    totals: Mapping[str, Mapping[str, int]]
    limit: int
    strict: bool
    older_than: float
    left_out: int
    recalls: tuple[Recall, ...] = ()

    def count(self, kind: str) -> int:
        """How many of a kind there are, listed or not."""
        return sum(found.get(kind, 0) for found in self.totals.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to look for; times in µs since 1970 UTC. `now` is the clock, or the time asked about.

    `lately` asks for what is left out because it was heard of too lately, and for nothing else.
    """

    now: int
    older_than: int = HOUR_US
    as_of: int | None = None
    since: int | None = None
    project: str | None = None
    limit: int = DEFAULT_LIMIT
    strict: bool = False
    lately: bool = False

    @property
    def settled(self) -> int:
        """Whatever was last heard of before this time will not be heard of again by itself."""
        return max(self.now - self.older_than, _BEGINNING)

    def in_time(self, heard: ColumnElement[Any]) -> ColumnElement[bool]:
        """Of what was last heard of then: whether it is looked for."""
        return heard > self.settled if self.lately else heard <= self.settled


def gaps(connection: Connection, asked: Asked, report: Report = nobody_waits) -> Gaps:
    """Everything that is missing, or cannot be known to be there; `Unknown` for a project of no job."""
    if asked.project is not None:
        _require_project(connection, asked.project)
    lacks: list[Lack] = []
    marks = Marks(connection, asked.as_of)
    met: list[Mark] = []
    totals: dict[str, Counter[str]] = {}
    left_out = 0
    report("emitters", None)
    for lack in _emitters(connection, asked):
        if lack.kind == "unclosed" and microseconds(lack.last_at) > asked.settled:
            left_out += 1
            continue
        counted = totals.setdefault(lack.project or "", Counter())
        if sum(found[lack.kind] for found in totals.values()) < asked.limit:
            lacks.append(lack)
        counted[lack.kind] += 1
    for kind, query in _queries(asked):
        report(_LOOKED_AT[kind], None)
        counts = list(_counts(connection, query))
        for project, number in counts:
            totals.setdefault(project, Counter())[kind] += number
        if counts:
            for lack, mark in _listed(connection, kind, query, asked.limit, marks):
                lacks.append(lack)
                met.append(mark)
    left_out += sum(
        n for query in _of_silence(replace(asked, lately=True)) for _, n in _counts(connection, query)
    )
    lacks.sort(key=lambda one: (KINDS.index(one.kind), one.first_at, one.subject))
    counted_kinds = KINDS if asked.strict else KINDS[:-1]
    return Gaps(
        complete=not any(found[kind] for found in totals.values() for kind in counted_kinds),
        lacks=tuple(lacks),
        totals={project: dict(totals[project]) for project in sorted(totals)},
        limit=asked.limit,
        strict=asked.strict,
        older_than=asked.older_than / 1_000_000,
        left_out=left_out,
        recalls=together(met),
    )


def _require_project(connection: Connection, project: str) -> None:
    """A misspelt project has no gaps, and a check in CI would be green for ever."""
    wanted = storable(project)
    if connection.execute(select(job.c.job_id).where(job.c.namespace == wanted).limit(1)).first() is None:
        known = connection.scalars(select(job.c.namespace).distinct().limit(_NAMES)).all()
        names = sorted(original(name) for name in known)
        raise Unknown(
            f"no project is called {shown(project)}",
            remedy=offered(project, names, "there are") or "nothing ran yet",
        )


# -- emitters ------------------------------------------------------------------------------


def _emitters(connection: Connection, asked: Asked) -> Iterator[Lack]:
    """What is wrong with each emitter, once for each of its projects."""
    for report in each_emitter(connection, asked.as_of):
        if report.complete or (asked.since is not None and report.last_at < asked.since):
            continue
        wrong = list(_wrong(report))
        projects = _projects(connection, UUID(report.emitter_id).bytes)
        for project in projects:
            if asked.project is None or project == asked.project:
                for kind, count, numbers in wrong:
                    yield Lack(
                        kind=kind,
                        project=project,
                        subject=report.emitter_id,
                        job=None,
                        first_at=moment(report.first_at),
                        last_at=moment(report.last_at),
                        count=count,
                        numbers=numbers,
                    )


def _wrong(report: EmitterReport) -> Iterator[tuple[str, int | None, tuple[Gap, ...]]]:
    if report.gaps:
        yield "missing", sum(gap.last - gap.first + 1 for gap in report.gaps), report.gaps
    if report.broken:
        yield "broken", len(report.broken), tuple(Gap(number, number) for number in report.broken)
    if not report.closed:
        yield "unclosed", None, (Gap(report.last_sequence + 1, report.last_sequence + 1),)


def _projects(connection: Connection, emitter: bytes) -> list[str | None]:
    """The namespaces of the emitter's jobs; [None] where it told of no run."""
    runs = select(event.c.run_id).where(event.c.emitter_id == emitter).distinct().subquery()
    query = (
        select(job.c.namespace)
        .join(run, run.c.job_id == job.c.job_id)
        .join(runs, runs.c.run_id == run.c.run_id)
        .distinct()
        .order_by(job.c.namespace)
        .limit(_PROJECTS)
    )
    return [original(namespace) for namespace in connection.scalars(query)] or [None]


# -- runs and inputs -----------------------------------------------------------------------


def _queries(asked: Asked) -> Iterator[tuple[str, Select[Any]]]:
    """By kind the rows of what is missing: (namespace, job, subject …, first_at, last_at, number)."""
    yield "miscounted", _miscounted(asked)
    yield "unended", _unended(asked)
    yield "unstarted", _unstarted(asked)
    yield "unproduced", _unproduced(asked)
    yield "unknown-origin", _unknown_origin(asked)


def _of_silence(asked: Asked) -> tuple[Select[Any], ...]:
    """The runs that are asked for by when they were last heard of."""
    return _unended(asked), _unstarted(asked)


def _of_runs(asked: Asked, number: ColumnElement[Any], *where: ColumnElement[bool]) -> Select[Any]:
    query = (
        select(
            job.c.namespace,
            job.c.name,
            run.c.run_id,
            run.c.ext_id,
            run.c.first_at,
            run.c.last_at,
            number.label("number"),
        )
        .select_from(run)
        .outerjoin(job, job.c.job_id == run.c.job_id)
        .where(*where)
    )
    if asked.project is not None:
        query = query.where(job.c.namespace == storable(asked.project))
    if asked.since is not None:
        query = query.where(run.c.last_at >= asked.since)
    return query


def _unended(asked: Asked) -> Select[Any]:
    if asked.as_of is None:
        # As the partial index spells it.
        is_open: ColumnElement[bool] = and_(
            literal_column("run.kind = 0 AND run.state < 3", Boolean), asked.in_time(run.c.last_at)
        )
    else:
        # What it said later had not been said then; it is taken to have begun and been silent.
        heard = case((run.c.last_at <= asked.as_of, run.c.last_at), else_=run.c.first_at)
        is_open = and_(
            run.c.kind == 0,
            run.c.first_at <= asked.as_of,
            or_(run.c.ended_at.is_(None), run.c.ended_at > asked.as_of),
            asked.in_time(heard),
        )
    return _of_runs(asked, null(), is_open, run.c.streaming.is_(False))


def _unstarted(asked: Asked) -> Select[Any]:
    never = literal_column("run.kind = 0 AND run.started_at IS NULL", Boolean)
    heard = asked.in_time(run.c.last_at if asked.as_of is None else run.c.first_at)
    by_then = [] if asked.as_of is None else [run.c.first_at <= asked.as_of]
    of_attempts = select(job.c.job_id).where(job.c.namespace == REPRODUCTIONS)
    no_attempt = or_(run.c.job_id.is_(None), run.c.job_id.not_in(of_attempts))
    return _of_runs(asked, null(), never, heard, *by_then, no_attempt)


def _miscounted(asked: Asked) -> Select[Any]:
    here = (
        select(func.count(event.c.sequence.distinct()))
        .where(
            event.c.run_id == run_closure.c.run_id,
            event.c.emitter_id == run_closure.c.emitter_id,
            event.c.sequence <= run_closure.c.last_sequence,
        )
        .correlate(run_closure)
        .scalar_subquery()
    )
    missing = run_closure.c.events - here
    query = _of_runs(asked, missing, here < run_closure.c.events)
    query = query.join(run_closure, run_closure.c.run_id == run.c.run_id)
    return query if asked.as_of is None else query.where(run.c.last_at <= asked.as_of)


def _of_inputs(asked: Asked, what: ColumnElement[bool]) -> Select[Any]:
    """Inputs of which `what` holds, once for each project, asset and version read."""
    query = (
        select(
            job.c.namespace,
            null().label("name"),
            dataset.c.namespace.label("asset_namespace"),
            dataset.c.name.label("asset_name"),
            version.c.version,
            dataset.c.dataset_id,
            literal_column("i.version_id", Id).label("version_id"),
            literal_column("i.production_id", Id).label("production_id"),
            func.min(literal_column("i.first_at")).label("first_at"),
            func.max(literal_column("i.first_at")).label("last_at"),
            func.count().label("number"),
        )
        .select_from(_I)
        .join(run, run.c.run_id == _I.c.run_id)
        .join(dataset, dataset.c.dataset_id == _I.c.dataset_id)
        .outerjoin(version, version.c.version_id == _I.c.version_id)
        .outerjoin(job, job.c.job_id == run.c.job_id)
        # A job's own statements say what it reads, not that it read it.
        .where(run.c.kind == 0, what)
        .group_by(
            *(job.c.namespace, dataset.c.namespace, dataset.c.name, version.c.version),
            *(dataset.c.dataset_id, _I.c.version_id, _I.c.production_id),
        )
    )
    if asked.project is not None:
        query = query.where(job.c.namespace == storable(asked.project))
    if asked.since is not None:
        query = query.where(_I.c.first_at >= asked.since)
    if asked.as_of is not None:
        query = query.where(_I.c.first_at <= asked.as_of)
    return query


_I = run_input.alias("i")


def _unproduced(asked: Asked) -> Select[Any]:
    by_then = (
        []
        if asked.as_of is None
        else [or_(run_output.c.published_at.is_(None), run_output.c.published_at <= asked.as_of)]
    )
    copy = exists().where(run_output.c.production_id == _I.c.production_id, *by_then)
    wrote = exists().where(run_output.c.version_id == _I.c.version_id, *by_then)
    other, named, g, m = (version.alias("ov"), version.alias("nv"), dataset.alias("g"), dataset.alias("m"))
    # The same content under another name of the asset.
    alias = exists().where(
        named.c.version_id == _I.c.version_id,
        g.c.dataset_id == _I.c.dataset_id,
        m.c.group_id == g.c.group_id,
        other.c.dataset_id == m.c.dataset_id,
        func.substr(other.c.version, 1, 200) == func.substr(named.c.version, 1, 200),
        other.c.version == named.c.version,
        run_output.c.version_id == other.c.version_id,
        *by_then,
    )
    of_copy = and_(_I.c.production_id.is_not(None), ~copy)
    of_version = and_(_I.c.version_id.is_not(None), _I.c.production_id.is_(None), ~wrote, ~alias)
    return _of_inputs(asked, or_(of_copy, of_version))


def _unknown_origin(asked: Asked) -> Select[Any]:
    bound = binding(None if asked.as_of is None else str(asked.as_of)).by_time
    return _of_inputs(
        asked, and_(_I.c.version_id.is_(None), _I.c.production_id.is_(None), text(f"{bound} IS NULL"))
    )


def _counts(connection: Connection, query: Select[Any]) -> Iterator[tuple[str, int]]:
    found = query.subquery()
    counted = select(found.c.namespace, func.count()).group_by(found.c.namespace)
    for namespace, number in connection.execute(counted):
        yield "" if namespace is None else original(namespace), number


def _listed(
    connection: Connection, kind: str, query: Select[Any], limit: int, marks: Marks
) -> Iterator[tuple[Lack, Mark]]:
    found = query.subquery()
    keys = [
        found.c.first_at,
        *(found.c[name] for name in ("run_id", "asset_name", "version") if name in found.c),
    ]
    rows = connection.execute(select(found).order_by(*keys).limit(limit)).all()
    of_runs = marks.of_runs([row.run_id for row in rows]) if "run_id" in found.c else {}
    for row in rows:
        namespace = None if row.namespace is None else original(row.namespace)
        is_run = hasattr(row, "run_id")
        mark = of_runs[row.run_id] if is_run else marks.of_version(row.dataset_id, row.version_id)
        lack = Lack(
            kind=kind,
            project=namespace,
            subject=_run(row) if is_run else _asset(row),
            job=Job(namespace=namespace, name=original(row.name))
            if is_run and namespace is not None
            else None,
            first_at=moment(row.first_at),
            last_at=moment(row.last_at),
            count=row.number,
            **mark.flags(),
        )
        yield lack, mark


def _run(row: Any) -> str:
    return original(row.ext_id) if row.ext_id is not None else id_text(row.run_id)


def _asset(row: Any) -> str:
    name = f"{original(row.asset_namespace)}/{original(row.asset_name)}"
    if row.version is not None:
        name += f"@{original(row.version)}"
    return name if row.production_id is None else f"{name} (production {id_text(row.production_id)})"
