"""Records that could not be accepted: kept with their bytes, where they stood, and why.

A record is parked in the transaction that moves the position past it, so it is never lost
and never holds up its neighbours. `retry` reads parked records again with today's code and
applies those that parse now; a row is never deleted, it is marked as accepted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from headwater.consumers import books, faults
from headwater.consumers.breaker import Breaker, Limits
from headwater.consumers.lineage import LineageProjection
from headwater.consumers.log import Partition, Record
from headwater.consumers.store import Store
from headwater.consumers.tables import position, quarantine
from headwater.consumers.version import code_version
from headwater.schemas.errors import Corrupt, Misconfigured, Retryable, Unparseable
from headwater.schemas.openlineage import OpenLineageEvent, parse
from headwater.schemas.text import storable

_DAMAGE_KEPT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Parked:
    """One parked record. `path`, `found` and `rule` say where, what and why; times are µs since 1970 UTC."""

    topic: str
    partition: str
    offset: int
    appended_at: int
    value: bytes
    path: str
    found: str
    rule: str
    code_version: str
    quarantined_at: int
    accepted_at: int | None

    @property
    def id(self) -> str:
        """How a person names it: `partition@offset`."""
        return f"{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry did: how many were read again, and which of them parse now."""

    tried: int
    accepted: tuple[str, ...]


def park(
    connection: Connection, projection: str, refused: Sequence[tuple[Record, Unparseable]], now: int
) -> None:
    """Keep refused records, in the caller's transaction. Parking a record twice keeps the first."""
    rows = [
        {
            "projection": projection,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "appended_at": record.appended_at,
            "value": record.value,
            "path": storable(refusal.path),
            "found": storable(refusal.value),
            "rule": storable(refusal.rule),
            "code_version": code_version(),
            "quarantined_at": now,
            "accepted_at": None,
        }
        for record, refusal in refused
    ]
    if rows:
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(insert(quarantine).on_conflict_do_nothing(), rows)


def park_damage(
    connection: Connection, projection: str, partition: Partition, damage: Corrupt, now: int
) -> None:
    """Keep the bytes of a damaged range (its first 16 MiB) as one record at the offset where it begins."""
    with open(damage.place, "rb") as file:
        file.seek(damage.start)
        value = file.read(min(damage.end - damage.start, _DAMAGE_KEPT_BYTES))
    record = Record(partition.topic, partition.number, damage.offset, now, value, damage.end)
    refusal = Unparseable(
        path=f"bytes {damage.start}–{damage.end}",
        value=f"{damage.end - damage.start} damaged bytes",
        rule="checksum",
    )
    park(connection, projection, [(record, refusal)], now)


def parked(
    store: Store, *, include_accepted: bool = False, projection: str = LineageProjection.name
) -> Iterator[Parked]:
    """Every parked record, in the order of the log."""
    query = _query(projection)
    if not include_accepted:
        query = query.where(quarantine.c.accepted_at.is_(None))
    with store.connecting() as connection:
        for row in connection.execution_options(yield_per=100).execute(query):
            yield Parked(*row)


def find(store: Store, record_id: str, *, projection: str = LineageProjection.name) -> Parked:
    """The parked record `partition@offset`; the partition may be shortened. `Misconfigured` when none is."""
    partition, _, offset = record_id.rpartition("@")
    if not offset.isdecimal():
        raise Misconfigured(
            f"{record_id!r} is no quarantine id", remedy="ids look like partition@offset; see the list"
        )
    query = _query(projection).where(
        quarantine.c.offset == int(offset), quarantine.c.partition.startswith(partition, autoescape=True)
    )
    with store.connecting() as connection:
        rows = connection.execute(query).all()
    if len(rows) != 1:
        what = "no record" if not rows else f"{len(rows)} records"
        raise Misconfigured(
            f"{what} in quarantine under {record_id!r}", remedy="see `headwater quarantine list`"
        )
    return Parked(*rows[0])


def retry(store: Store, *, projection: LineageProjection | None = None) -> Retried:
    """Read every parked record again and apply those that parse now; each in its own transaction.

    A record that parses and that the store refuses stays parked. Raises `Retryable` when the
    database is in the way, a running consumer perhaps; what was accepted until then stays so.
    """
    projection = projection or LineageProjection()
    known_at = books.entry(store, projection.name).known_at
    books.admit(store, projection.name, projection.version, known_at=known_at)
    tried, accepted = 0, []
    for place in _places(store, projection.name):
        entry = _at(store, projection.name, place)
        tried += 1
        if known_at is not None and entry.appended_at > known_at:
            continue
        try:
            event = parse(entry.value)
        except Unparseable:
            continue
        if _accept(store, projection, entry, event):
            accepted.append(entry.id)
    return Retried(tried, tuple(accepted))


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is parked of one topic: `parked` in all, `refused` of the last `seen`, `in_a_row` at its end."""

    topic: str
    parked: int
    refused: int
    seen: int
    in_a_row: int
    halted: bool


def budgets(
    store: Store, limits: Mapping[str, Limits], *, projection: str = LineageProjection.name
) -> list[Budget]:
    """Every topic of which something was parked, as a consumer sees it with these `limits`."""
    breaker = Breaker(projection, limits=limits)
    parked = select(position.c.topic, func.sum(position.c.quarantined)).where(
        position.c.projection == projection, position.c.quarantined > 0
    )
    with store.connecting() as connection:
        breaker.refresh(connection)
        counts = connection.execute(parked.group_by(position.c.topic).order_by(position.c.topic)).all()
    found = []
    for topic, count in counts:
        last = breaker.state(topic)
        spent = topic in breaker.spent
        found.append(
            Budget(
                topic=topic,
                parked=int(count),
                refused=last.refused,
                seen=last.seen,
                in_a_row=last.in_a_row,
                halted=spent,
            )
        )
    return found


def _places(store: Store, projection: str) -> list[tuple[str, str, int]]:
    """Where the records stand that are still parked; their bytes are fetched one at a time."""
    columns = (quarantine.c.topic, quarantine.c.partition, quarantine.c.offset)
    query = select(*columns).where(quarantine.c.projection == projection, quarantine.c.accepted_at.is_(None))
    with store.connecting() as connection:
        rows = connection.execute(query.order_by(quarantine.c.appended_at, *columns))
        return [(topic, partition, offset) for topic, partition, offset in rows]


def _at(store: Store, projection: str, place: tuple[str, str, int]) -> Parked:
    topic, partition, offset = place
    query = _query(projection).where(
        quarantine.c.topic == topic, quarantine.c.partition == partition, quarantine.c.offset == offset
    )
    with store.connecting() as connection:
        return Parked(*connection.execute(query).one())


def _accept(store: Store, projection: LineageProjection, entry: Parked, event: OpenLineageEvent) -> bool:
    """Apply one record and mark it, in one transaction; whether this call was the one that did."""
    record = Record(entry.topic, entry.partition, entry.offset, entry.appended_at, entry.value, 0)
    try:
        with store.writing() as tx:
            marked = tx.execute(
                update(quarantine)
                .where(
                    quarantine.c.projection == projection.name,
                    quarantine.c.topic == entry.topic,
                    quarantine.c.partition == entry.partition,
                    quarantine.c.offset == entry.offset,
                    quarantine.c.accepted_at.is_(None),
                )
                .values(accepted_at=time.time_ns() // 1000)
            )
            if marked.rowcount:
                projection.apply(tx, [(record, event)])
    except BaseException as error:
        projection.rolled_back()
        if faults.is_data_error(error):
            return False
        if faults.is_passing(error):
            raise Retryable(f"the store is busy: {faults.line_of(error)}", remedy="try again") from error
        raise
    projection.committed()
    return bool(marked.rowcount)


def export(store: Store, folder: Path) -> int:
    """Write each parked record's bytes and reason into `folder`; how many.

    A file that is there already with these bytes is left as it is. One with other bytes is never
    overwritten: `Misconfigured` names it, and what was written before it stays.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise Misconfigured(f"cannot make the folder {folder}: {cause.strerror}") from cause
    count = 0
    for entry in parked(store, include_accepted=True):
        stem = f"{entry.partition.replace('/', '_')}@{entry.offset}"
        _write_once(folder / f"{stem}.bin", entry.value)
        reason = {
            "topic": entry.topic,
            "partition": entry.partition,
            "offset": entry.offset,
            "appended_at": entry.appended_at,
            "path": entry.path,
            "found": entry.found,
            "rule": entry.rule,
            "code_version": entry.code_version,
            "accepted_at": entry.accepted_at,
        }
        _write_once(folder / f"{stem}.json", (json.dumps(reason, indent=2) + "\n").encode())
        count += 1
    return count


def _write_once(path: Path, value: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(value)
    except FileExistsError as there:
        if not path.is_file() or path.read_bytes() != value:
            raise Misconfigured(
                f"{path} is there already and holds something else", remedy="name another folder"
            ) from there


def _query(projection: str) -> Select[Any]:
    columns = [column for column in quarantine.columns if column.name != "projection"]
    query = select(*columns).where(quarantine.c.projection == projection)
    return query.order_by(
        quarantine.c.appended_at, quarantine.c.topic, quarantine.c.partition, quarantine.c.offset
    )
