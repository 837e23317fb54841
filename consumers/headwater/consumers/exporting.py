"""The OpenLineage events behind a lineage, byte for byte as they stand in the log.

A cone's events are those of its runs, of the runs these were part of, and what was said of its
datasets themselves (DatasetEvents). The store knows where in the log each one stands; its bytes are
read back from there and held against the event's id, which is their sha256. What is not there any
more, or is another, is named: an export never leaves out an event silently.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, select

from headwater.consumers import walk
from headwater.consumers.answers import Truncated
from headwater.consumers.log import SEGMENTS, Cursor, Log, Partition, Record
from headwater.consumers.shown import Shown
from headwater.consumers.tables import dataset, event, run
from headwater.schemas import ids
from headwater.schemas.errors import Corrupt, Misconfigured
from headwater.schemas.text import original

T = TypeVar("T")

_CHUNK = 500
_READ_RECORDS = 2_000
_READ_BYTES = 16 << 20


class Position(NamedTuple):
    """Where the store says that an event stands."""

    topic: str
    partition: str
    offset: int
    event_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Events(Shown):
    """Where the events of a lineage stand; `truncated` as in `answers.Graph`."""

    positions: tuple[Position, ...]
    truncated: Truncated | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """An event that the store knows and that is not given; `why` says it in words."""

    event_id: str
    place: str
    offset: int
    why: str


def events(connection: Connection, found: Collection[walk.Walk], as_of: int | None = None) -> Events:
    """Where the events behind `found` stand; as of a time, those that had happened by then."""
    cut = [one.truncated for one in found if one.truncated is not None]
    return Events(positions=tuple(_positions(connection, found, as_of)), truncated=cut[0] if cut else None)


def _positions(connection: Connection, found: Iterable[walk.Walk], as_of: int | None) -> list[Position]:
    nodes = [node for one in found for node in one.nodes.values()]
    runs = {node.run_id for node in nodes if isinstance(node, walk.Production)}
    runs |= {node.id for node in nodes if isinstance(node, walk.Reader)}
    runs = _with_parents(connection, runs)
    datasets = {node.dataset_id for node in nodes if not isinstance(node, walk.Reader)}
    about = _statements_about(connection, datasets)
    rows = [
        Position(*row)
        for some in _chunks(runs | about)
        for row in connection.execute(
            select(event.c.topic, event.c.partition, event.c.offset, event.c.event_id).where(
                event.c.run_id.in_(some), *([] if as_of is None else [event.c.at <= as_of])
            )
        )
    ]
    return sorted(set(rows))


def _with_parents(connection: Connection, runs: set[bytes]) -> set[bytes]:
    """`runs`, and every run that one of them was a part of."""
    found, level = set(runs), set(runs)
    while level:
        rows = [
            row
            for some in _chunks(level)
            for row in connection.execute(
                select(run.c.parent_run_id, run.c.root_run_id).where(run.c.run_id.in_(some))
            )
        ]
        level = {id for row in rows for id in row if id is not None} - found
        found |= level
    return found


def _statements_about(connection: Connection, datasets: Collection[bytes]) -> set[bytes]:
    """The pseudo-runs of the datasets' own events, under all their names."""
    groups = select(dataset.c.group_id).where
    names = [
        row
        for some in _chunks(datasets)
        for row in connection.execute(
            select(dataset.c.namespace, dataset.c.name).where(
                dataset.c.group_id.in_(groups(dataset.c.dataset_id.in_(some)))
            )
        )
    ]
    return {ids.hash128("datasetevent", original(row.namespace), original(row.name)) for row in names}


def read_back(log: Log, wanted: Sequence[Position], missing: list[Missing]) -> Iterator[bytes]:
    """The events at `wanted` in the order of the log, verbatim; what cannot be had goes to `missing`."""
    by_partition: dict[Partition, dict[int, Position]] = defaultdict(dict)
    for position in wanted:
        by_partition[Partition(position.topic, position.partition)][position.offset] = position
    known = log.partitions()
    for partition in [*known, *(by_partition.keys() - set(known))]:
        if partition in by_partition:
            yield from _of_partition(log, partition, by_partition[partition], missing, partition in known)


def _of_partition(
    log: Log, partition: Partition, wanted: dict[int, Position], missing: list[Missing], exists: bool
) -> Iterator[bytes]:
    left = dict(wanted)
    cursor = _first(partition, left)
    while exists and left:
        try:
            records = log.read(partition, cursor, records=_READ_RECORDS, size=_READ_BYTES)
        except Corrupt as damage:
            lost = [offset for offset in left if _is_lost(partition, cursor, offset)]
            why = f"the log is damaged before it: {damage}"
            missing.extend(_missing(log, left.pop(offset), why) for offset in lost)
            cursor = _first(partition, left)
            continue
        except Misconfigured:
            break  # the segment went away since it was listed
        if not records:
            break
        cursor = Cursor(records[-1].offset + 1, records[-1].next_byte)
        yield from _verbatim(log, records, left, missing)
    why = "it is not in the log any more (pruned, or moved away)"
    missing.extend(_missing(log, position, why) for position in left.values())


def _first(partition: Partition, left: Collection[int]) -> Cursor:
    """Where to begin: a segment is read from its head, since only the bytes say where a record stands."""
    return Cursor() if partition.topic == SEGMENTS else Cursor(min(left, default=0))


def _is_lost(partition: Partition, damaged: Cursor, offset: int) -> bool:
    """Whether damage at a cursor takes the record at `offset` with it."""
    return partition.topic == SEGMENTS or offset <= damaged.offset


def _verbatim(
    log: Log, records: Iterable[Record], left: dict[int, Position], missing: list[Missing]
) -> Iterator[bytes]:
    for record in records:
        position = left.pop(record.offset, None)
        if position is None:
            continue
        if hashlib.sha256(record.value).digest() != position.event_id:
            missing.append(_missing(log, position, "another event stands there"))
        elif b"\n" in record.value or b"\r" in record.value:
            missing.append(_missing(log, position, "it has line ends in it: no line holds it"))
        else:
            yield record.value


def _missing(log: Log, position: Position, why: str) -> Missing:
    place = log.place(Partition(position.topic, position.partition))
    return Missing(event_id=position.event_id.hex(), place=place, offset=position.offset, why=why)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, _CHUNK)):
        yield some
