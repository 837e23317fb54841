"""Changed inputs: what was read under one name is not what it was.

Two things are looked at: what lies at one place, is written by known runs, read by others, and
became another version; and what no known run writes, and was read in another version than
before. Assets are gone through in batches, each through indexes; of each the last changes are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, select

from headwater.consumers.details import Details, moment
from headwater.consumers.facet_bodies import BATCH, FacetBodies, batched, body, text
from headwater.consumers.looking import Report, nobody_waits
from headwater.consumers.naming import id_text
from headwater.consumers.tables import dataset, run_input, run_output, version

#: Changes that one finding lists.
LISTED = 20

_OPAQUE = "opaque1:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From then on it was another version; the run wrote it, or was the first to read it.

    `recalled` and `recalled_upstream` are those of the version now, as in `answers.Node`.
    """

    at: datetime
    before: str
    now: str
    run_id: str
    recalled: bool = False
    recalled_upstream: bool | None = False
    before_recalled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedInput:
    """What was read under this name became another version; `changes` are the last ones of `count`.

    `location` is None where only the name tells that it is the same thing.
    """

    namespace: str
    name: str
    location: str | None
    written: bool
    count: int
    changes: tuple[Change, ...]


def changed_inputs(
    connection: Connection,
    facts: FacetBodies,
    datasets: frozenset[bytes] | None,
    since: int | None,
    as_of: int | None = None,
    report: Report = nobody_waits,
) -> Iterator[ChangedInput]:
    """Of `datasets` (None: all) those that changed, with the changes from `since` (µs) until `as_of`."""
    seen = 0
    for some in _dataset_batches(connection, datasets):
        seen += len(some)
        report("assets", seen)
        written = _Sightings(since)
        for rows in batched(connection, _productions_query(some, as_of)):
            for row, location in zip(rows, _locations(facts, rows), strict=True):
                if location is not None:
                    written.see(row.dataset_id, location, row.published_at, row.version_id, row.run_id)
        yield from _told_changes(
            connection, written, _read_ones(connection, written.datasets(), as_of), written=True
        )
        read = _Sightings(since)
        for rows in batched(connection, _unexplained_query(_unwritten(connection, some, as_of), as_of)):
            for row in rows:
                read.see(row.dataset_id, None, row.first_at, row.version_id, row.run_id)
        yield from _told_changes(connection, read, read.datasets(), written=False)


def _dataset_batches(connection: Connection, datasets: frozenset[bytes] | None) -> Iterator[list[bytes]]:
    if datasets is not None:
        ordered = sorted(datasets)
        yield from (ordered[at : at + BATCH] for at in range(0, len(ordered), BATCH))
        return
    for rows in batched(connection, select(dataset.c.dataset_id).order_by(dataset.c.dataset_id)):
        yield [row.dataset_id for row in rows]


def _published(as_of: int | None) -> ColumnElement[bool]:
    published = run_output.c.published_at
    # As the partial index spells it, in either case.
    return published.is_not(None) if as_of is None else and_(published.is_not(None), published <= as_of)


def _until(query: Select[Any], as_of: int | None) -> Select[Any]:
    return query if as_of is None else query.where(run_input.c.first_at <= as_of)


def _productions_query(datasets: Collection[bytes], as_of: int | None) -> Select[Any]:
    return (
        select(
            run_output.c.dataset_id,
            dataset.c.namespace,
            dataset.c.name,
            run_output.c.published_at,
            run_output.c.version_id,
            run_output.c.run_id,
            run_output.c.facets,
        )
        .join(dataset, dataset.c.dataset_id == run_output.c.dataset_id)
        .join(version, version.c.version_id == run_output.c.version_id)
        .where(
            run_output.c.dataset_id.in_(datasets),
            _published(as_of),
            run_output.c.versioned,
            version.c.version.not_like(f"{_OPAQUE}%"),
        )
        .order_by(
            run_output.c.dataset_id,
            run_output.c.published_at,
            run_output.c.version_id,
            run_output.c.production_id,
        )
    )


def _unwritten(connection: Connection, datasets: Collection[bytes], as_of: int | None) -> list[bytes]:
    """Those of `datasets` that no known run writes, under any of their names."""
    member = dataset.alias("member")
    one = (
        select(run_output.c.production_id)
        # The index holds what was published.
        .where(run_output.c.dataset_id == member.c.dataset_id, _published(as_of))
        .limit(1)
        .correlate(member)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(dataset.c.dataset_id, dataset.c.group_id).where(dataset.c.dataset_id.in_(datasets))
    )
    groups = {row.dataset_id: row.group_id for row in rows}
    written = set(
        connection.scalars(
            select(member.c.group_id).where(member.c.group_id.in_(set(groups.values())), one.is_not(None))
        )
    )
    return [id for id, group in groups.items() if group not in written]


def _unexplained_query(datasets: Collection[bytes], as_of: int | None) -> Select[Any]:
    """What was read of `datasets` in a version, without naming the production."""
    query = (
        select(version.c.dataset_id, run_input.c.first_at, run_input.c.version_id, run_input.c.run_id)
        .select_from(version)
        .join(run_input, run_input.c.version_id == version.c.version_id)
        .where(
            version.c.dataset_id.in_(datasets),
            run_input.c.version_id.is_not(None),
            run_input.c.production_id.is_(None),
            version.c.version.not_like(f"{_OPAQUE}%"),
        )
        .order_by(version.c.dataset_id, run_input.c.first_at, run_input.c.version_id, run_input.c.run_id)
    )
    return _until(query, as_of)


def _locations(facts: FacetBodies, rows: Collection[Any]) -> Iterator[str | None]:
    """Where each production lies; the name itself where that is a place."""
    for row, facets in zip(rows, facts.of([row.facets for row in rows]), strict=True):
        stated = text(body(facets, "headwater_asset").get("location"))
        stated = stated or text(body(facets, "dataSource").get("uri"))
        physical = row.namespace == "file" or "://" in row.namespace
        yield stated or (f"{row.namespace}/{row.name}" if physical else None)


@dataclass(slots=True)
class _Seen:
    version_id: bytes
    count: int
    last: list[tuple[int, bytes, bytes, bytes]]


class _Sightings:
    """The versions seen of each (dataset, location) in order; keeps the last changes of each."""

    def __init__(self, since: int | None) -> None:
        self._since = since
        self._seen: dict[tuple[bytes, str | None], _Seen] = {}

    def see(self, dataset_id: bytes, location: str | None, at: int, version_id: bytes, run_id: bytes) -> None:
        seen = self._seen.setdefault((dataset_id, location), _Seen(version_id, 0, []))
        if seen.version_id == version_id:
            return
        if self._since is None or at >= self._since:
            seen.count += 1
            seen.last = [*seen.last[1 - LISTED :], (at, seen.version_id, version_id, run_id)]
        seen.version_id = version_id

    def changed(self) -> Iterator[tuple[bytes, str | None, _Seen]]:
        for (dataset_id, location), seen in self._seen.items():
            if seen.count:
                yield dataset_id, location, seen

    def datasets(self) -> set[bytes]:
        return {dataset_id for dataset_id, _, _ in self.changed()}


def _read_ones(connection: Connection, datasets: Collection[bytes], as_of: int | None) -> set[bytes]:
    """Those of `datasets` that some run read, under any of their names."""
    if not datasets:
        return set()
    own, member = dataset.alias("own"), dataset.alias("member")

    def first(query: Select[Any]) -> Any:
        own_group = _until(query, as_of).where(member.c.group_id == own.c.group_id)
        return own_group.limit(1).correlate(own).scalar_subquery()

    by_name = select(run_input.c.run_id).join(member, member.c.dataset_id == run_input.c.dataset_id)
    by_version = (
        select(run_input.c.run_id)
        .join(version, version.c.version_id == run_input.c.version_id)
        .join(member, member.c.dataset_id == version.c.dataset_id)
        .where(run_input.c.version_id.is_not(None), run_input.c.production_id.is_(None))
    )
    by_production = (
        select(run_input.c.run_id)
        .join(run_output, run_output.c.production_id == run_input.c.production_id)
        .join(member, member.c.dataset_id == run_output.c.dataset_id)
        .where(run_output.c.published_at.is_not(None))
    )
    found: set[bytes] = set()
    for query in (by_production, by_version, by_name.where(run_input.c.version_id.is_(None))):
        left = [id for id in datasets if id not in found]
        wanted = select(own.c.dataset_id).where(own.c.dataset_id.in_(left), first(query).is_not(None))
        found.update(connection.scalars(wanted) if left else ())
    return found


def _told_changes(
    connection: Connection, sightings: _Sightings, kept: Collection[bytes], *, written: bool
) -> Iterator[ChangedInput]:
    found = [(id, location, seen) for id, location, seen in sightings.changed() if id in kept]
    details = Details(connection)
    details.load_names({id for id, _, _ in found})
    details.load_versions(
        {v for _, _, seen in found for _, before, now, _ in seen.last for v in (before, now)}
    )
    name: Callable[[bytes], str] = details.versions.__getitem__
    for dataset_id, location, seen in found:
        namespace, own_name = details.names[dataset_id]
        yield ChangedInput(
            namespace=namespace,
            name=own_name,
            location=location,
            written=written,
            count=seen.count,
            changes=tuple(
                Change(at=moment(at), before=name(before), now=name(now), run_id=id_text(run_id))
                for at, before, now, run_id in seen.last
            ),
        )
