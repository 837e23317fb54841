"""What was there by a time: conditions over the tables, for questions asked as of it.

A production is there from its publication; one that was never published, from the end of its
run. An asset is there from the first time that something wrote or read it. Symlinks bear no
time, so an asset has always had all its names. Times are µs since 1970 UTC, inclusive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, true

from headwater.consumers.fold import time_of
from headwater.consumers.tables import dataset, dataset_facet, facet, run, run_input, run_output, version
from headwater.schemas import jsontext

#: `run.kind` of what DatasetEvents say of a dataset.
DATASET_EVENT = 2
#: How many of the last readings and writings of an asset are looked at for what its facets said then.
OBSERVATIONS = 1_000


def existing(as_of: int | None) -> ColumnElement[bool]:
    """Whether the row of `run_output` was there."""
    if as_of is None:
        return true()
    ended = select(func.coalesce(run.c.ended_at, run.c.last_at)).where(run.c.run_id == run_output.c.run_id)
    # Its own `run`, also in a query that has one.
    of_run = ended.correlate(run_output).scalar_subquery()
    unpublished = and_(run_output.c.published_at.is_(None), of_run <= as_of)
    return or_(run_output.c.published_at <= as_of, unpublished)


def written() -> ColumnElement[bool]:
    """Whether the row of `run_output` was written: what is said of a dataset without a version is not."""
    writer = run.alias("writer")
    kind = select(writer.c.kind).where(writer.c.run_id == run_output.c.run_id).correlate(run_output)
    return or_(run_output.c.published_at.is_not(None), kind.scalar_subquery() != DATASET_EVENT)


def known(as_of: int | None) -> ColumnElement[bool]:
    """Whether the dataset of the row of `dataset` had been written or read."""
    if as_of is None:
        return true()
    written = select(run_output.c.run_id).where(run_output.c.dataset_id == dataset.c.dataset_id)
    read = select(run_input.c.run_id).where(run_input.c.first_at <= as_of)
    of_version = read.join(version, version.c.version_id == run_input.c.version_id).where(
        version.c.dataset_id == dataset.c.dataset_id, run_input.c.production_id.is_(None)
    )
    # What names a production that the log has not shown is in no index of the asset's: the last resort,
    # for assets with a version that nobody is known to have written.
    produced = select(run_output.c.run_id).where(run_output.c.version_id == version.c.version_id)
    unwritten = select(version.c.version_id).where(
        version.c.dataset_id == dataset.c.dataset_id, ~produced.exists()
    )
    of_asset = read.where(run_input.c.dataset_id == dataset.c.dataset_id)
    return or_(
        written.where(run_output.c.published_at <= as_of).exists(),
        of_asset.where(run_input.c.version_id.is_(None)).exists(),
        of_version.exists(),
        written.where(run_output.c.published_at.is_(None), existing(as_of)).exists(),
        and_(unwritten.exists(), of_asset.exists()),
    )


def known_version(as_of: int | None) -> ColumnElement[bool]:
    """Whether the version of the row of `version` had been published or read."""
    if as_of is None:
        return true()
    written = select(run_output.c.run_id).where(run_output.c.version_id == version.c.version_id)
    read = select(run_input.c.run_id).where(
        run_input.c.version_id == version.c.version_id,
        run_input.c.production_id.is_(None),
        run_input.c.first_at <= as_of,
    )
    return or_(written.where(run_output.c.published_at <= as_of).exists(), read.exists())


def facets_of(connection: Connection, datasets: Sequence[bytes], as_of: int | None) -> dict[str, Any]:
    """What is known of an asset over all runs, by facet name: the last word, or the last by then (R11)."""
    rows = connection.execute(
        select(dataset_facet.c.name, dataset_facet.c.stamp, facet.c.body)
        .outerjoin(facet, facet.c.facet_id == dataset_facet.c.facet_id)
        .where(dataset_facet.c.dataset_id.in_(datasets))
        .order_by(dataset_facet.c.stamp)
    ).all()
    said = [(time_of(row.stamp), row.name, row.body) for row in rows]
    if as_of is not None:
        later = {name for at, name, _ in said if at > as_of}
        said = [one for one in said if one[0] <= as_of]
        if later:
            said += [one for one in _observed(connection, datasets, as_of) if one[1] in later]
            said.sort(key=lambda one: one[0])
    last = {name: document(body) for _, name, body in said}
    return {name: body for name, body in last.items() if body is not None}


def document(body: Any) -> Any:
    """A facet's body: parsed already on PostgreSQL, text on SQLite; too wide numbers are digits."""
    if not isinstance(body, str):
        return body
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return jsontext.read(body.encode()).value


def _observed(
    connection: Connection, datasets: Sequence[bytes], as_of: int
) -> Iterator[tuple[int, str, Any]]:
    """(time, facet name, body) as the runs that wrote and read the asset by then said it, oldest first.

    What one run said of it at several times counts as said when it first did.
    """
    written = select(run_output.c.published_at, run_output.c.facets).where(
        run_output.c.dataset_id.in_(datasets), run_output.c.published_at <= as_of
    )
    described = (
        select(run.c.last_at, run_output.c.facets)
        .join(run, run.c.run_id == run_output.c.run_id)
        .where(run_output.c.dataset_id.in_(datasets), run_output.c.published_at.is_(None))
        .where(run.c.kind == 2, run.c.last_at <= as_of)
    )
    read = select(run_input.c.first_at, run_input.c.facets).where(run_input.c.first_at <= as_of)
    named = select(version.c.version_id).where(version.c.dataset_id.in_(datasets))
    seen: list[tuple[int, bytes]] = []
    for query in (
        written.order_by(run_output.c.published_at.desc()),
        described,
        read.where(run_input.c.dataset_id.in_(datasets), run_input.c.version_id.is_(None)).order_by(
            run_input.c.first_at.desc()
        ),
        read.where(run_input.c.version_id.in_(named), run_input.c.production_id.is_(None)),
    ):
        seen += [(row[0], row[1]) for row in connection.execute(query.limit(OBSERVATIONS))]
    listed = {text[at : at + 16] for _, text in seen for at in range(0, len(text), 16)}
    bodies = {
        row.facet_id: (row.name, row.body)
        for row in connection.execute(select(facet).where(facet.c.facet_id.in_(listed)))
    }
    for at, text in sorted(seen):
        for start in range(0, len(text), 16):
            if (found := bodies.get(text[start : start + 16])) is not None:
                yield at, *found
