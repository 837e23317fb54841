"""How far a projection has read each partition, kept in the store it writes, fenced by epochs.

Every assignment of a partition raises its epoch; `advance` moves a position only from where
its owner left it and only under the owner's epoch, in the transaction of the rows. A worker
that was overtaken (paused, partitioned away) therefore cannot write: `Fenced`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from headwater.consumers.log import Cursor, Partition
from headwater.consumers.tables import position
from headwater.schemas.errors import Retryable


class Fenced(Retryable):
    """Another worker owns this partition now. Nothing was written; stop, and let the other go on."""

    def __init__(self, partition: Partition) -> None:
        super().__init__(
            f"another consumer took over partition {partition.number} of {partition.topic}",
            remedy="let one consumer run for each store; this one stops",
        )
        self.partition = partition


@dataclass(slots=True)
class Tally:
    """What became of the records of one partition in one batch (invariant B)."""

    first: int
    next: Cursor
    applied: int = 0
    duplicate: int = 0
    quarantined: int = 0
    gaps: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition that this worker owns: under which epoch, and where to go on."""

    epoch: int
    cursor: Cursor


def claim(
    connection: Connection, projection: str, partition: Partition, owner: str, *, take_over: bool = True
) -> Claim:
    """Take over `partition`, from whoever had it, at the position that is stored.

    Without `take_over` only a partition that nobody has read yet: else `Fenced`, and its owner goes on.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    fresh = insert(position).values(
        projection=projection,
        topic=partition.topic,
        partition=partition.number,
        start_offset=0,
        next_offset=0,
        next_byte=0,
        epoch=1,
        owner=owner,
        applied=0,
        duplicate=0,
        quarantined=0,
        gaps=0,
        counted_from=0,
    )
    keys = ["projection", "topic", "partition"]
    if take_over:
        taken = fresh.on_conflict_do_update(
            index_elements=keys, set_={"epoch": position.c.epoch + 1, "owner": owner}
        )
    else:
        taken = fresh.on_conflict_do_nothing(index_elements=keys)
    row = connection.execute(
        taken.returning(position.c.epoch, position.c.next_offset, position.c.next_byte)
    ).first()
    if row is None:
        raise Fenced(partition)
    return Claim(row.epoch, Cursor(row.next_offset, row.next_byte))


def advance(
    connection: Connection,
    projection: str,
    claims: Mapping[Partition, Claim],
    tallies: Mapping[Partition, Tally],
) -> None:
    """Move each partition past its batch; `Fenced` when another worker took it over."""
    for partition, tally in sorted(tallies.items()):
        moved = connection.execute(
            update(position)
            .where(
                position.c.projection == projection,
                position.c.topic == partition.topic,
                position.c.partition == partition.number,
                position.c.epoch == claims[partition].epoch,
                position.c.next_offset == tally.first,
            )
            .values(
                next_offset=tally.next.offset,
                next_byte=tally.next.byte,
                applied=position.c.applied + tally.applied,
                duplicate=position.c.duplicate + tally.duplicate,
                quarantined=position.c.quarantined + tally.quarantined,
                gaps=position.c.gaps + tally.gaps,
            )
        )
        if moved.rowcount != 1:
            raise _why(connection, projection, partition, claims[partition])


def _why(connection: Connection, projection: str, partition: Partition, held: Claim) -> Retryable:
    """Why a position did not move: another owner, or an own COMMIT that was not answered but did happen."""
    epoch = connection.execute(
        select(position.c.epoch).where(
            position.c.projection == projection,
            position.c.topic == partition.topic,
            position.c.partition == partition.number,
        )
    ).scalar_one_or_none()
    if epoch != held.epoch:
        return Fenced(partition)
    return Retryable(f"partition {partition.number} moved on meanwhile", remedy="positions are read back")


def stored(connection: Connection, projection: str) -> dict[Partition, Cursor]:
    """Where `projection` goes on in every partition it has read."""
    query = select(position.c.topic, position.c.partition, position.c.next_offset, position.c.next_byte)
    rows = connection.execute(query.where(position.c.projection == projection))
    return {Partition(topic, number): Cursor(offset, byte) for topic, number, offset, byte in rows}


def still_mine(
    connection: Connection, projection: str, held: Mapping[Partition, Claim]
) -> dict[Partition, Claim]:
    """The claims that hold, with the stored positions, after a transaction whose end is not known."""
    columns = (
        position.c.topic,
        position.c.partition,
        position.c.epoch,
        position.c.next_offset,
        position.c.next_byte,
    )
    rows = connection.execute(select(*columns).where(position.c.projection == projection))
    found = {
        Partition(topic, number): Claim(epoch, Cursor(offset, byte))
        for topic, number, epoch, offset, byte in rows
    }
    return {
        partition: found[partition]
        for partition, claimed in held.items()
        if partition in found and found[partition].epoch == claimed.epoch
    }
