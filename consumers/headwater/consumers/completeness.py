"""Whether every event that was emitted is here, as far as that can be known (invariant E).

Every emitter numbers its events from 0 and names the hash of the one before. So a missing
number is an event lost before the log, a hash that does not match is a chain that was edited or
forked, and an emitter that never said "this is my last" may have lost its tail: nobody can know.
Events of other producers carry no numbers; nothing is said about them here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from headwater.consumers.answers import Unknown
from headwater.consumers.nearest import did_you_mean, nearest_of
from headwater.consumers.shown import Shown
from headwater.consumers.store import Store
from headwater.consumers.tables import event
from headwater.consumers.times import instant, moment
from headwater.schemas.errors import shown

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Gap:
    """Sequence numbers `first` to `last` of an emitter that are not in the log."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class EmitterReport:
    """One emitting process. `closed` says that its last event is here and says that it is the last.

    `broken` lists sequence numbers whose event does not name the hash of the one before, or that
    two different events claim. Times are µs since 1970 UTC (event time).
    """

    emitter_id: str
    events: int
    last_sequence: int
    first_at: int
    last_at: int
    closed: bool
    gaps: tuple[Gap, ...]
    broken: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether it is certain that every event of this emitter is in the log, unaltered."""
        return self.closed and not self.gaps and not self.broken

    @property
    def damaged(self) -> bool:
        """Whether it is certain that an event of this emitter is missing, or was altered."""
        return bool(self.gaps or self.broken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitter(Shown):
    """One emitting process as an answer: an `EmitterReport` with times."""

    emitter_id: str
    events: int
    last_sequence: int
    first_at: datetime
    last_at: datetime
    complete: bool
    closed: bool
    gaps: tuple[Gap, ...]
    broken: tuple[int, ...]

    @property
    def damaged(self) -> bool:
        """As `EmitterReport.damaged`."""
        return bool(self.gaps or self.broken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitters(Shown):
    """Emitters in the order of their first event; `known` are how many there are, listed or not.

    `damaged`: of one that is known an event is missing or was altered, for certain.
    """

    emitters: tuple[Emitter, ...]
    known: int
    damaged: bool
    as_of: datetime | None = None


def answer(
    connection: Connection, id: str | None = None, *, every: bool = False, as_of: int | None = None
) -> Emitters:
    """The emitters that are not certain to be complete, or `every` one; by their events until `as_of`.

    `id` (or its beginning) asks for one, whatever its state. Raises `Unknown` where none begins so.
    """
    wanted = None if id is None else id.lower()
    reports = sorted(each_emitter(connection, as_of), key=lambda report: (report.first_at, report.emitter_id))
    known = [_emitter(report) for report in reports]
    if wanted is not None:
        known = [one for one in known if one.emitter_id.startswith(wanted)]
        if not known:
            starts = {report.emitter_id[: len(wanted)]: report.emitter_id for report in reports}
            near = [starts[one] for one in nearest_of(wanted, starts)]
            remedy = did_you_mean(near or _alike(wanted, starts.values())) or "there are none"
            raise Unknown(f"no emitter is called {shown(id)}", remedy=remedy)
    return Emitters(
        emitters=tuple(one for one in known if every or wanted is not None or not one.complete),
        known=len(known),
        damaged=any(one.damaged for one in known),
        as_of=instant(as_of),
    )


def _alike(wanted: str, ids: Iterable[str]) -> list[str]:
    """The few that have the longest beginning in common with it."""
    return sorted(ids, key=lambda id: (-_shared(id, wanted), id))[:3]


def _shared(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _emitter(report: EmitterReport) -> Emitter:
    return Emitter(
        emitter_id=report.emitter_id,
        events=report.events,
        last_sequence=report.last_sequence,
        first_at=moment(report.first_at),
        last_at=moment(report.last_at),
        complete=report.complete,
        closed=report.closed,
        gaps=report.gaps,
        broken=report.broken,
    )


def emitters(store: Store, *, incomplete_only: bool = False) -> list[EmitterReport]:
    """Every emitter in the order of its first event; `incomplete_only` leaves out those that are certain."""
    with store.connecting() as connection:
        reports = [report for report in each_emitter(connection) if not (incomplete_only and report.complete)]
    reports.sort(key=lambda report: (report.first_at, report.emitter_id))
    return reports


def each_emitter(connection: Connection, as_of: int | None = None) -> Iterator[EmitterReport]:
    """Every emitter, by id, as its events tell (until `as_of`, in µs); one at a time is held in memory."""
    last = func.max(event.c.sequence)
    columns = (
        event.c.emitter_id,
        func.count(event.c.sequence.distinct()),
        last,
        func.min(event.c.at),
        func.max(event.c.at),
        func.max(event.c.sequence).filter(event.c.final.is_(True)) == last,
    )
    query = select(*columns).where(_emitted(as_of)).group_by(event.c.emitter_id).order_by(event.c.emitter_id)
    faults = _faults(connection, as_of)
    fault = next(faults, None)
    for emitter, count, sequence, first_at, last_at, closed in _streamed(connection, query):
        gaps, broken = list[Gap](), list[int]()
        while fault is not None and fault.emitter == emitter:
            if fault.gap is not None:
                gaps.append(fault.gap)
            if fault.is_broken:
                broken.append(fault.sequence)
            fault = next(faults, None)
        yield EmitterReport(
            emitter_id=str(UUID(bytes=emitter)),
            events=count,
            last_sequence=sequence,
            first_at=first_at,
            last_at=last_at,
            closed=bool(closed),
            gaps=tuple(gaps),
            broken=tuple(broken),
        )


def _emitted(as_of: int | None) -> ColumnElement[bool]:
    ours = event.c.emitter_id.is_not(None)
    return ours if as_of is None else and_(ours, event.c.at <= as_of)


def _streamed(connection: Connection, query: Select[Any]) -> Iterator[Any]:
    with connection.execute(query, execution_options={"yield_per": _PAGE}) as result:
        yield from result


class _Fault(NamedTuple):
    """An event before which numbers are missing, or that does not follow the one before."""

    emitter: bytes
    sequence: int
    gap: Gap | None
    is_broken: bool


def _faults(connection: Connection, as_of: int | None) -> Iterator[_Fault]:
    """What is wrong with each event and the one before it, by emitter and number."""
    chain, order = event.c.emitter_id, (event.c.sequence, event.c.event_id)
    pairs = (
        select(
            event.c.emitter_id,
            event.c.sequence,
            event.c.previous,
            func.lag(event.c.sequence).over(partition_by=chain, order_by=order).label("sequence_before"),
            func.lag(event.c.event_id).over(partition_by=chain, order_by=order).label("event_before"),
        )
        .where(_emitted(as_of))
        .subquery()
    )
    before = func.coalesce(pairs.c.sequence_before, -1)
    follows = pairs.c.sequence == before + 1
    mismatch = or_(
        and_(follows, pairs.c.sequence > 0, func.coalesce(pairs.c.previous != pairs.c.event_before, True)),
        and_(pairs.c.sequence == 0, pairs.c.previous.is_not(None)),
        pairs.c.sequence == pairs.c.sequence_before,
    )
    gap = pairs.c.sequence > before + 1
    query = (
        select(pairs.c.emitter_id, pairs.c.sequence, before, gap, mismatch)
        .where(or_(gap, mismatch))
        .order_by(pairs.c.emitter_id, pairs.c.sequence)
    )
    for emitter, sequence, last_seen, is_gap, is_mismatch in _streamed(connection, query):
        missing = Gap(last_seen + 1, sequence - 1) if is_gap else None
        yield _Fault(emitter, sequence, missing, bool(is_mismatch))
