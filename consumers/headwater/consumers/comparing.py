"""What differs between two things and everything they were made of: the question itself.

Both cones are walked, matched (`cones`), compared by ids, and only what differs is read: facets are
stored under the hash of their content. One statement per kind of thing, whatever the size.
The answer's parts are explained in `headwater.consumers.differences`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, func, select

from headwater.consumers import changes, cones
from headwater.consumers.answers import Unknown
from headwater.consumers.causes import StepPair, Verdict, content
from headwater.consumers.cones import Matched, Pair, chunks
from headwater.consumers.details import Details, Facets, mapping
from headwater.consumers.differences import Difference
from headwater.consumers.naming import NamedAsset, NamedRun, find, nor_a_job
from headwater.consumers.statements import Statements
from headwater.consumers.tables import event, job, metric_point, run, run_output
from headwater.consumers.telling import Compared, Sides, tell
from headwater.schemas.errors import Rejected, shown
from headwater.schemas.jsontext import exact, read
from headwater.schemas.text import original, storable

DEFAULT_LIMIT = 20_000
#: The whole environment is among the first things that a process says.
_FIRST_EVENTS = 64

T = TypeVar("T")
Named: TypeAlias = NamedAsset | NamedRun


def diff(
    connection: Connection,
    a: str,
    b: str | None = None,
    *,
    as_of: int | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Difference:
    """What differs between `a` and `b`; without `b` between the last two of what `a` names.

    Raises `Unknown` where there are no two, and `Rejected` for a run and an asset.
    """
    if b is None:
        named = _last_two(connection, a, as_of)
    else:
        named = (find(connection, a, as_of), find(connection, b, as_of))
        if isinstance(named[0], NamedRun) is not isinstance(named[1], NamedRun):
            raise Rejected(
                f"of {shown(a)} and {shown(b)} one is a run and one an asset",
                remedy="compare two runs, or two versions",
            )
    matched = cones.load(connection, named, limit=limit, as_of=as_of)
    return tell(_compared(connection, matched, as_of), limit)


# -- the last two -----------------------------------------------------------------------


def _last_two(connection: Connection, text: str, as_of: int | None) -> tuple[Named, Named]:
    """The production that `text` names and the one before it; of a job its last two runs."""
    try:
        named = find(connection, text, as_of)
    except Unknown as unknown:
        runs = _runs_of(connection, text, as_of)
        if not runs:
            raise nor_a_job(connection, text, unknown) from None
        if len(runs) == 1:
            raise Unknown(f"{shown(text)} ran once: there is nothing to compare it with") from unknown
        return NamedRun(run=runs[1]), NamedRun(run=runs[0])
    before = _run_before(connection, named) if isinstance(named, NamedRun) else _before(connection, named)
    if before is None:
        what = "run" if isinstance(named, NamedRun) else "production"
        raise Unknown(
            f"there is no {what} before {shown(text)} to compare it with",
            remedy="name two: headwater diff A B",
        )
    return before, named


def _runs_of(connection: Connection, text: str, as_of: int | None) -> list[bytes]:
    """The last two runs of the job called so."""
    wanted = storable(text)
    namespace, _, name = wanted.rpartition("/")
    jobs = connection.execute(
        select(job.c.job_id, job.c.namespace).where(job.c.name.in_({wanted, name or wanted}))
    ).all()
    ids = [row.job_id for row in jobs if not namespace or row.namespace == namespace]
    query = select(run.c.run_id).where(run.c.job_id.in_(ids), run.c.kind == 0)
    if as_of is not None:
        query = query.where(run.c.first_at <= as_of)
    return list(connection.scalars(query.order_by(run.c.first_at.desc(), run.c.run_id.desc()).limit(2)))


def _run_before(connection: Connection, named: NamedRun) -> NamedRun | None:
    this = connection.execute(select(run.c.job_id, run.c.first_at).where(run.c.run_id == named.run)).first()
    if this is None:
        return None
    found: bytes | None = connection.scalar(
        select(run.c.run_id)
        .where(run.c.job_id == this.job_id, run.c.kind == 0, run.c.run_id != named.run)
        .where(
            (run.c.first_at < this.first_at)
            | ((run.c.first_at == this.first_at) & (run.c.run_id < named.run))
        )
        .order_by(run.c.first_at.desc(), run.c.run_id.desc())
        .limit(1)
    )
    return None if found is None else NamedRun(run=found)


def _before(connection: Connection, named: NamedAsset) -> NamedAsset | None:
    """The production published before the one named, by another run."""
    if named.production is None:
        return None
    o = run_output.c
    this = connection.execute(
        select(o.published_at, o.version_id, o.run_id).where(o.production_id == named.production)
    ).one()
    if this.published_at is None:
        return None
    earlier = (o.published_at < this.published_at) | (
        (o.published_at == this.published_at)
        & (
            (o.version_id < this.version_id)
            | ((o.version_id == this.version_id) & (o.production_id < named.production))
        )
    )
    found: bytes | None = connection.scalar(
        select(o.production_id)
        .where(o.dataset_id.in_(named.datasets), o.published_at.is_not(None), earlier)
        .order_by(o.published_at.desc(), o.version_id.desc(), o.production_id.desc())
        .limit(1)
    )
    if found is None:
        return None
    return replace(named, production=found)


# -- loading what differs ---------------------------------------------------------------


class _Facets:
    """Reads bodies by id, each once, and of those only what is compared."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._names: dict[bytes, str] = {}
        self._bodies: dict[bytes, Any] = {}

    def of(self, lists: Mapping[T, tuple[bytes, bytes]], compared: Collection[str]) -> dict[T, Sides]:
        """What both sides of each say, of those that differ in a facet of `compared`."""
        ids = {key: (set(_ids(a)), set(_ids(b))) for key, (a, b) in lists.items() if a != b}
        self._load((id for a, b in ids.values() for id in a ^ b), compared)
        differing = {key: both for key, both in ids.items() if self._bodies.keys() & (both[0] ^ both[1])}
        self._load((id for a, b in differing.values() for id in a & b), compared)
        return {key: Sides(self._facets(a), self._facets(b)) for key, (a, b) in differing.items()}

    def all(self, lists: Iterable[bytes], compared: Collection[str]) -> list[Facets]:
        """What each list says."""
        ids = [set(_ids(text)) for text in lists]
        self._load((id for some in ids for id in some), compared)
        return [self._facets(some) for some in ids]

    def _load(self, ids: Iterable[bytes], compared: Collection[str]) -> None:
        wanted = {id for id in ids if id not in self._names}
        for id, name, body in self._statements.facets(wanted):
            self._names[id] = name
            if name in compared:
                self._bodies[id] = exact(read(body.encode()).value)

    def _facets(self, ids: Iterable[bytes]) -> Facets:
        return {self._names[id]: self._bodies[id] for id in sorted(ids) if id in self._bodies}


def _ids(text: bytes) -> Iterator[bytes]:
    return (text[at : at + 16] for at in range(0, len(text), 16))


def _last_points(
    connection: Connection, runs: Iterable[bytes], as_of: int | None
) -> dict[bytes, dict[str, float | None]]:
    """The last value of each metric of each run."""
    found: dict[bytes, dict[str, float | None]] = defaultdict(dict)
    for ids in chunks(sorted(runs)):
        point = metric_point.c
        place = func.row_number().over(
            partition_by=(point.run_id, point.key),
            order_by=(point.step.desc(), point.at.desc(), point.point_id),
        )
        ranked = select(point.run_id, point.key, point.value, place.label("place")).where(
            point.run_id.in_(ids)
        )
        if as_of is not None:
            ranked = ranked.where(point.at <= as_of)
        last = ranked.subquery()
        for row in connection.execute(select(last).where(last.c.place == 1).order_by(last.c.key)):
            found[row.run_id][original(row.key)] = row.value
    return found


def _tellers(connection: Connection, runs: Collection[bytes]) -> list[bytes]:
    """The first runs of the processes that `runs` ran in: one of them told the whole environment."""
    found: dict[bytes, None] = {}
    for ids in chunks(sorted(runs)):
        emitters = select(event.c.emitter_id).where(event.c.run_id.in_(ids), event.c.emitter_id.is_not(None))
        of_process = connection.scalars(emitters.distinct()).all()
        for some in chunks(of_process):
            told = select(event.c.run_id).where(
                event.c.emitter_id.in_(some), event.c.sequence < _FIRST_EVENTS
            )
            found.update(dict.fromkeys(connection.scalars(told.distinct())))
    return sorted(found)


# -- the comparison ---------------------------------------------------------------------


def _compared(connection: Connection, matched: Matched, as_of: int | None) -> Compared:
    """Both cones with everything that differs between them."""
    statements = Statements(connection, as_of)
    bodies = _Facets(statements)
    of_runs = bodies.of(_run_lists(matched), changes.OF_RUNS)
    told = _environments(connection, statements, bodies, of_runs)
    of_assets = bodies.of(_asset_lists(statements, matched), changes.OF_ASSETS)
    verdicts = [_verdict(pair, of_assets.get(number)) for number, pair in enumerate(matched.pairs)]
    states = _states(connection, matched, as_of)
    compared = [step for step in matched.steps if None not in step and step[0] != step[1]]
    return Compared(
        matched=matched,
        verdicts=verdicts,
        of_runs=of_runs,
        of_assets=of_assets,
        environments=told,
        states=states,
        errors=_errors(_Facets(statements), matched, states),
        points=_last_points(connection, {id for step in compared for id in step if id is not None}, as_of),
    )


def _states(connection: Connection, matched: Matched, as_of: int | None) -> dict[bytes, str]:
    """What became of the runs that are compared, and of those that were asked for."""
    ids = {id for step in matched.steps if None not in step and step[0] != step[1] for id in step if id}
    for cone in (matched.a, matched.b):
        start = cone.items.get(cone.starts[0]) if cone.starts else None
        asked = cone.run or (start and start.run_id)
        ids |= {asked} if asked else set()
    details = Details(connection, as_of)
    for some in chunks(sorted(ids)):
        details.load_runs(some)
    return {id: found.state for id, found in details.runs.items() if id in ids}


def _errors(bodies: _Facets, matched: Matched, states: Mapping[bytes, str]) -> dict[bytes, str]:
    """What was said of why a run failed."""
    runs = {**matched.a.runs, **matched.b.runs}
    failed = [id for id, state in states.items() if state in ("FAIL", "ABORT") and id in runs]
    told = bodies.all((runs[id].facets for id in failed), {"errorMessage"})
    return {
        id: message
        for id, facets in zip(failed, told, strict=True)
        if isinstance(message := mapping(facets, "errorMessage").get("message"), str)
    }


def _run_lists(matched: Matched) -> dict[StepPair, tuple[bytes, bytes]]:
    """The facets of the runs that are to be compared."""
    return {
        (one, other): (matched.a.runs[one].facets, matched.b.runs[other].facets)
        for one, other in matched.steps
        if one is not None and other is not None and one != other
    }


def _asset_lists(statements: Statements, matched: Matched) -> dict[int, tuple[bytes, bytes]]:
    """The facets of the productions whose content is not certainly the same."""
    pairs = {
        number: (pair.a.id, pair.b.id)
        for number, pair in enumerate(matched.pairs)
        if pair.a is not None and pair.b is not None and pair.a.run_id and pair.b.run_id
        if content(pair) in ("changed", "unknown")
    }
    lists: dict[bytes, bytes] = dict(statements.output_facets({id for both in pairs.values() for id in both}))
    return {n: (bytes(lists[a]), bytes(lists[b])) for n, (a, b) in pairs.items() if a in lists and b in lists}


def _verdict(pair: Pair, sides: Sides | None) -> Verdict:
    """What versions say; where they say nothing, what was measured of the content."""
    said = content(pair)
    if said == "unknown" and sides is not None and changes.content_differs(*sides):
        return "changed"
    return said


def _environments(
    connection: Connection, statements: Statements, bodies: _Facets, of_runs: Mapping[StepPair, Sides]
) -> dict[str, Facets]:
    """The whole environments, by digest, of those that differ: each is told once in its process."""
    told: dict[str, Facets] = {}
    wanted: dict[str, bytes] = {}
    for step, sides in of_runs.items():
        digests = [changes.environment_digest(facets) for facets in sides]
        _keep_told(told, sides)
        if digests[0] != digests[1]:
            wanted.update(
                (d, r) for d, r in zip(digests, step, strict=True) if d is not None and r is not None
            )
    missing = {run_id for digest, run_id in wanted.items() if digest not in told}
    if missing:
        rows = statements.runs(_tellers(connection, missing))
        _keep_told(told, bodies.all((bytes(row[14]) for row in rows), changes.OF_RUNS))
    return told


def _keep_told(told: dict[str, Facets], found: Iterable[Facets]) -> None:
    for facets in found:
        digest = changes.environment_digest(facets)
        if digest is not None and changes.tells_environment(facets):
            told.setdefault(digest, facets)
