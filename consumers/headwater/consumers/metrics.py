"""Metrics over time: a run's curves, an asset's values over its versions, a job's over its runs.

A run's points are read in order and thinned on the way where there are more than asked for: of
each stretch of steps the first, the last, the least, the greatest and a NaN stay, so that no peak
and no gap disappears, and memory is bounded. NaN is a point without a value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, cast, func, select

from headwater.consumers.answers import Recall, Unknown
from headwater.consumers.descent import BUDGETS
from headwater.consumers.details import moment
from headwater.consumers.existence import existing
from headwater.consumers.listing import jobs_called
from headwater.consumers.marks import Mark, Marks, together
from headwater.consumers.naming import NamedAsset, NamedRun, find, id_text, nor_a_job
from headwater.consumers.nearest import offered
from headwater.consumers.shown import Shown
from headwater.consumers.tables import dataset, facet, job, metric_point, run, run_output, version
from headwater.consumers.terms import body_of, metric_values
from headwater.schemas.errors import shown
from headwater.schemas.text import original, storable

DEFAULT_POINTS = 1_000
DEFAULT_HISTORY = 50
#: Of each stretch of steps at most so many points stay.
_KEPT = 5
_PAGE = 2_000

Of: TypeAlias = Literal["run", "asset", "job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measurement. `step` is the run's own count, or the place in a history, from 0.

    `value` None stands for NaN; it may be infinite. In a history `version` and `run_id` say whose it is.
    `recalled`: that version is, or something that the run wrote; `recalled_upstream`: something that it
    was made of, or that the run read (None: that could not be found out within bounds).
    """

    step: int
    at: datetime | None
    value: float | None
    version: str | None = None
    run_id: str | None = None
    recalled: bool = False
    recalled_upstream: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The points of one metric. `total` is how many there are; `points` are fewer when they were thinned.

    `least` and `greatest` are of all of them, without NaN; `last` is the last point's value. `asset` is
    what says so of itself, `namespace/name`, where one run may have written several that do.
    """

    key: str
    total: int
    not_numbers: int
    least: float | None
    greatest: float | None
    last: float | None
    points: tuple[Point, ...]
    asset: str | None = None

    @property
    def label(self) -> str:
        """What it is called beside others."""
        return self.key if self.asset is None else f"{self.asset} {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(Shown):
    """The metrics of a run, an asset or a job. `more`: there are older versions or runs than these.

    `recalls` are those that the points' marks stand for, the newest first.
    """

    of: Of
    namespace: str | None
    name: str | None
    run_id: str | None
    series: tuple[Series, ...]
    more: bool = False
    recalls: tuple[Recall, ...] = ()


def metrics(
    connection: Connection,
    name: str,
    *,
    key: str | None = None,
    points: int = DEFAULT_POINTS,
    history: int = DEFAULT_HISTORY,
    as_of: int | None = None,
) -> Metrics:
    """What was measured of `name`: a run, an asset, or a job; `key` names one metric.

    `points` bounds each curve of a run, `history` the versions or runs looked at, the newest
    first. Raises `Unknown` and `Ambiguous`; an asset's name wins over a job's.
    """
    try:
        named = find(connection, name, as_of)
    except Unknown as unknown:
        found = _of_job(connection, name, key, history, as_of, unknown)
    else:
        if isinstance(named, NamedRun):
            found = _of_run(connection, named, key, points, as_of)
        else:
            found = _of_asset(connection, named, key, history, as_of)
    if key is not None and not found.series:
        known = metrics(connection, name, points=1, history=history, as_of=as_of)
        raise Unknown(
            f"{shown(name)} has no metric {shown(key)}",
            remedy=offered(key, list(dict.fromkeys(series.key for series in known.series)), "its metrics")
            or "it has none",
        )
    return found


# -- a run's curves ------------------------------------------------------------------------


def _of_run(
    connection: Connection, named: NamedRun, key: str | None, points: int, as_of: int | None
) -> Metrics:
    row = connection.execute(
        select(job.c.namespace, job.c.name, run.c.ext_id)
        .select_from(run)
        .outerjoin(job, job.c.job_id == run.c.job_id)
        .where(run.c.run_id == named.run)
    ).first()
    where = [metric_point.c.run_id == named.run]
    if key is not None:
        where.append(metric_point.c.key == storable(key))
    if as_of is not None:
        where.append(metric_point.c.at <= as_of)
    job_of = None if row is None or row.name is None else row
    mark = Marks(connection, as_of, BUDGETS).of_runs([named.run])[named.run]
    return Metrics(
        of="run",
        namespace=None if job_of is None else original(job_of.namespace),
        name=None if job_of is None else original(job_of.name),
        run_id=id_text(named.run),
        series=(
            *_curves(connection, and_(*where), points, mark),
            *_of_outputs(connection, named, key, as_of, mark),
        ),
        recalls=mark.recalls,
    )


def _of_outputs(
    connection: Connection, named: NamedRun, key: str | None, as_of: int | None, mark: Mark
) -> Iterator[Series]:
    """What the assets that the run wrote say of themselves."""
    rows = connection.execute(_outputs_of([named.run], as_of)).all()
    stated = _stated(connection, [(row.production_id, row.facets) for row in rows])
    for row in rows:
        said: _Values = {
            (_asset_of(row), name): value for name, value in stated.get(row.production_id, {}).items()
        }
        yield from _series([_Told(None, named.run, row.published_at, said, mark)], key)


def _outputs_of(runs: Collection[bytes], as_of: int | None) -> Select[Any]:
    return (
        select(
            run_output.c.production_id,
            run_output.c.run_id,
            run_output.c.published_at,
            run_output.c.facets,
            dataset.c.namespace,
            dataset.c.name,
        )
        .join(dataset, dataset.c.dataset_id == run_output.c.dataset_id)
        .where(run_output.c.run_id.in_(runs), existing(as_of))
        .order_by(dataset.c.namespace, dataset.c.name, run_output.c.production_id)
    )


def _asset_of(row: Any) -> str:
    return f"{original(row.namespace)}/{original(row.name)}"


def _curves(connection: Connection, where: ColumnElement[bool], points: int, mark: Mark) -> Iterator[Series]:
    m = metric_point.c
    summed = connection.execute(
        select(
            m.key,
            func.count(),
            func.count() - func.count(m.value),
            func.min(m.value),
            func.max(m.value),
            func.min(m.step),
            func.max(m.step),
        )
        .where(where)
        .group_by(m.key)
        .order_by(m.key)
    ).all()
    for key, total, not_numbers, least, greatest, first, last in summed:
        query = (
            select(m.step, m.at, m.value)
            .where(where, m.key == key)
            # SQLite and PostgreSQL put NULLs at other ends; the id makes the order total.
            .order_by(m.step, m.at, m.point_id)
        )
        with connection.execute(query, execution_options={"yield_per": _PAGE}) as rows:
            told = (Point(step=step, at=moment(at), value=value, **mark.flags()) for step, at, value in rows)
            kept = tuple(told if total <= points else _thinned(told, first, last, max(1, points // _KEPT)))
        yield Series(
            key=original(key),
            total=total,
            not_numbers=not_numbers,
            least=least,
            greatest=greatest,
            last=kept[-1].value,
            points=kept,
        )


def _thinned(points: Iterator[Point], first: int, last: int, stretches: int) -> Iterator[Point]:
    """Of each of `stretches` equal parts of the steps the first, last, least and greatest point."""
    width = max(1, -(-(last - first + 1) // stretches))
    held: list[tuple[int, Point]] = []
    for place, point in enumerate(points):
        if held and (point.step - first) // width != (held[0][1].step - first) // width:
            yield from (one for _, one in _telling(held))
            held = []
        held.append((place, point))
        if len(held) > _KEPT:
            held = _telling(held)
    yield from (one for _, one in _telling(held))


def _telling(held: list[tuple[int, Point]]) -> list[tuple[int, Point]]:
    """The first, the last, the least and the greatest of `held`, in order, and the first NaN."""
    numbers = [one for one in held if one[1].value is not None]
    chosen = {held[0], held[-1], *[one for one in held if one[1].value is None][:1]}
    if numbers:
        chosen |= {min(numbers, key=_value), max(numbers, key=_value)}
    return sorted(chosen, key=lambda one: one[0])


def _value(one: tuple[int, Point]) -> float:
    return one[1].value or 0.0


# -- histories -----------------------------------------------------------------------------


def _of_asset(
    connection: Connection, named: NamedAsset, key: str | None, history: int, as_of: int | None
) -> Metrics:
    """What each version says of itself; where it says nothing, what the run that wrote it measured last."""
    query = (
        select(
            run_output.c.production_id,
            run_output.c.run_id,
            run_output.c.published_at,
            run_output.c.facets,
            version.c.version,
        )
        .outerjoin(version, version.c.version_id == run_output.c.version_id)
        .where(run_output.c.dataset_id.in_(named.datasets), existing(as_of))
        .where(run_output.c.published_at.is_not(None))
        .order_by(
            run_output.c.published_at.desc(), run_output.c.version_id.desc(), run_output.c.production_id
        )
    )
    if named.by != "asset" and named.production is not None:
        query = query.where(run_output.c.production_id == named.production)
    rows = connection.execute(query.limit(history + 1)).all()
    told = rows[:history][::-1]
    stated = _stated(connection, [(row.production_id, row.facets) for row in told])
    silent = [row.run_id for row in told if row.production_id not in stated]
    measured = _last_points(connection, silent, as_of)
    marks = Marks(connection, as_of).of_productions(row.production_id for row in told)
    history_points = [
        _Told(
            row.version and original(row.version),
            row.run_id,
            row.published_at,
            _plain(stated.get(row.production_id) or measured.get(row.run_id, {})),
            marks[row.production_id],
        )
        for row in told
    ]
    return Metrics(
        of="asset",
        namespace=original(named.namespace),
        name=original(named.name),
        run_id=None,
        series=_series(history_points, key),
        more=len(rows) > history,
        recalls=_recalls(history_points, key),
    )


def _of_job(
    connection: Connection, name: str, key: str | None, history: int, as_of: int | None, unknown: Unknown
) -> Metrics:
    """What each run of the job measured last, or said of what it wrote."""
    try:
        jobs = jobs_called(connection, name)
    except Unknown:
        raise nor_a_job(connection, name, unknown) from None
    query = select(run.c.run_id, run.c.first_at).where(run.c.job_id.in_(jobs), run.c.kind == 0)
    if as_of is not None:
        query = query.where(run.c.first_at <= as_of)
    rows = connection.execute(
        query.order_by(run.c.first_at.desc(), run.c.run_id.desc()).limit(history + 1)
    ).all()
    told = rows[:history][::-1]
    ids = [row.run_id for row in told]
    measured = _last_points(connection, ids, as_of)
    outputs = connection.execute(_outputs_of(ids, as_of)).all()
    stated = _stated(connection, [(row.production_id, row.facets) for row in outputs])
    said_by: dict[tuple[bytes, str], set[str]] = {}
    for row in outputs:
        for name in stated.get(row.production_id, {}):
            said_by.setdefault((row.run_id, name), set()).add(_asset_of(row))
    several = {name for (_, name), assets in said_by.items() if len(assets) > 1}
    of_run: dict[bytes, _Values] = {}
    for row in outputs:
        for name, value in stated.get(row.production_id, {}).items():
            of_run.setdefault(row.run_id, {})[_asset_of(row) if name in several else None, name] = value
    marks = Marks(connection, as_of).of_runs(ids)
    points = [
        _Told(
            None,
            row.run_id,
            row.first_at,
            of_run.get(row.run_id, {}) | _plain(measured.get(row.run_id, {})),
            marks[row.run_id],
        )
        for row in told
    ]
    called = connection.execute(select(job.c.namespace, job.c.name).where(job.c.job_id.in_(jobs))).all()
    one = called[0] if len(called) == 1 else None
    return Metrics(
        of="job",
        namespace=None if one is None else original(one.namespace),
        name=name if one is None else original(one.name),
        run_id=None,
        series=_series(points, key),
        more=len(rows) > history,
        recalls=_recalls(points, key),
    )


#: By the asset that says it, where that matters, and the metric.
_Values: TypeAlias = dict[tuple[str | None, str], float | None]


def _plain(values: dict[str, float | None]) -> _Values:
    return {(None, name): value for name, value in values.items()}


class _Told(NamedTuple):
    """One version or run of a history, and what was measured of it."""

    version: str | None
    run_id: bytes
    at: int | None
    values: _Values
    mark: Mark


def _recalls(history: Sequence[_Told], key: str | None) -> tuple[Recall, ...]:
    """Those of what has a point."""
    return together(one.mark for one in history if any(key in (None, name) for _, name in one.values))


def _series(history: Sequence[_Told], key: str | None) -> tuple[Series, ...]:
    keys = {said for told in history for said in told.values if key in (None, said[1])}
    found = []
    for name in sorted(keys, key=lambda said: (said[1], said[0] or "")):
        points = tuple(
            Point(
                step=place,
                at=None if told.at is None else moment(told.at),
                value=told.values[name],
                version=told.version,
                run_id=id_text(told.run_id),
                **told.mark.flags(),
            )
            for place, told in enumerate(history)
            if name in told.values
        )
        numbers = [point.value for point in points if point.value is not None]
        found.append(
            Series(
                key=name[1],
                asset=name[0],
                total=len(points),
                not_numbers=len(points) - len(numbers),
                least=min(numbers, default=None),
                greatest=max(numbers, default=None),
                last=points[-1].value,
                points=points,
            )
        )
    return tuple(found)


def _stated(
    connection: Connection, lists: Collection[tuple[bytes, bytes]]
) -> dict[bytes, dict[str, float | None]]:
    """The values in each production's `headwater_metrics` facet."""
    ids = {text[at : at + 16] for _, text in lists for at in range(0, len(text), 16)}
    query = select(facet.c.facet_id, cast(facet.c.body, Text)).where(
        facet.c.facet_id.in_(ids), facet.c.name == "headwater_metrics"
    )
    bodies = {
        id: {original(name): value for name, value in metric_values(body_of(text))}
        for id, text in connection.execute(query)
    }
    return {
        owner: bodies[text[at : at + 16]]
        for owner, text in lists
        for at in range(0, len(text), 16)
        if text[at : at + 16] in bodies
    }


def _last_points(
    connection: Connection, runs: Collection[bytes], as_of: int | None
) -> dict[bytes, dict[str, float | None]]:
    """The last point of each metric of each run."""
    m = metric_point.c
    place = func.row_number().over(
        partition_by=(m.run_id, m.key), order_by=(m.step.desc(), m.at.desc(), m.point_id.desc())
    )
    query = select(m.run_id, m.key, m.value, place.label("place")).where(m.run_id.in_(runs))
    if as_of is not None:
        query = query.where(m.at <= as_of)
    ranked = query.subquery()
    found: dict[bytes, dict[str, float | None]] = {}
    for run_id, key, value, _ in connection.execute(select(ranked).where(ranked.c.place == 1)):
        found.setdefault(run_id, {})[original(key)] = value
    return found
