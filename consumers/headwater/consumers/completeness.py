"""Whether every event that was emitted is here, as far as that can be known (invariant E).

Every emitter numbers its events from 0 and names the hash of the one before. So a missing
number is an event lost before the log, a hash that does not match is a chain that was edited or
forked, and an emitter that never said "this is my last" may have lost its tail: nobody can know.
Events of other producers carry no numbers; nothing is said about them here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, and_, func, or_, select

from headwater.consumers.store import Store
from headwater.consumers.tables import event


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


def emitters(store: Store, *, incomplete_only: bool = False) -> list[EmitterReport]:
    """Every emitter in the order of its first event; `incomplete_only` leaves out those that are certain."""
    with store.connecting() as connection:
        gaps, broken = _faults(connection)
        last = func.max(event.c.sequence)
        columns = (
            event.c.emitter_id,
            func.count(event.c.sequence.distinct()),
            last,
            func.min(event.c.at),
            func.max(event.c.at),
            func.max(event.c.sequence).filter(event.c.final.is_(True)) == last,
        )
        query = select(*columns).where(event.c.emitter_id.is_not(None)).group_by(event.c.emitter_id)
        reports = [
            EmitterReport(
                emitter_id=str(UUID(bytes=emitter)),
                events=count,
                last_sequence=sequence,
                first_at=first_at,
                last_at=last_at,
                closed=bool(closed),
                gaps=tuple(gaps[emitter]),
                broken=tuple(broken[emitter]),
            )
            for emitter, count, sequence, first_at, last_at, closed in connection.execute(query)
        ]
    reports.sort(key=lambda report: (report.first_at, report.emitter_id))
    return [report for report in reports if not (incomplete_only and report.complete)]


def _faults(connection: Connection) -> tuple[dict[bytes, list[Gap]], dict[bytes, list[int]]]:
    """The gaps and the broken links of every emitter, from each event and the one before it."""
    chain, order = event.c.emitter_id, (event.c.sequence, event.c.event_id)
    pairs = (
        select(
            event.c.emitter_id,
            event.c.sequence,
            event.c.previous,
            func.lag(event.c.sequence).over(partition_by=chain, order_by=order).label("sequence_before"),
            func.lag(event.c.event_id).over(partition_by=chain, order_by=order).label("event_before"),
        )
        .where(event.c.emitter_id.is_not(None))
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
    query = select(pairs.c.emitter_id, pairs.c.sequence, before, gap, mismatch)
    gaps: dict[bytes, list[Gap]] = defaultdict(list)
    broken: dict[bytes, list[int]] = defaultdict(list)
    for emitter, sequence, last_seen, is_gap, is_mismatch in connection.execute(
        query.where(or_(gap, mismatch))
    ):
        if is_gap:
            gaps[emitter].append(Gap(last_seen + 1, sequence - 1))
        if is_mismatch:
            broken[emitter].append(sequence)
    return gaps, broken
