"""The runner: records in, batches out, positions in the sink's transaction.

One batch is one transaction in the store: the rows that the projection made, what had to be
quarantined, and the positions moved past it. It happens whole or leaves no trace, so a
runner that was killed anywhere goes on as if it had not been.

    fold and write rows      crash here: nothing happened, the batch is read again
    write quarantine         crash here: the same
    advance positions        crash here: the same; `Fenced` here: another worker owns them now
    COMMIT                   its answer lost: positions are read back before anything is repeated

A record that can never be accepted is quarantined with its bytes and the reason, and its
neighbours go on, until its topic's budget is spent (`headwater.consumers.breaker`). A database that is
away is waited for, never blamed on a record. Where several processes share the log, partitions come and go
between two batches, each claimed anew when it comes; one that another process claimed is let go.
"""

from __future__ import annotations

import gc
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection

from headwater.consumers import books, faults, positions, quarantine
from headwater.consumers.breaker import Breaker, BudgetSpent
from headwater.consumers.lineage import Batch, Folded, LineageProjection
from headwater.consumers.log import Cursor, Log, Partition, Record
from headwater.consumers.positions import Claim, Fenced, Tally
from headwater.consumers.sharing import Sharing
from headwater.consumers.store import Store
from headwater.consumers.watching import Observer, Unobserved
from headwater.schemas.errors import Corrupt, Retryable, Unparseable, shown
from headwater.schemas.ids import uuid7
from headwater.schemas.openlineage import OpenLineageEvent, parse
from headwater.schemas.segment import HEADER_BYTES

log = logging.getLogger(__name__)

BATCH_RECORDS = 2_000
BATCH_BYTES = 16 << 20
IDLE_S = 0.1
LISTING_S = 1.0
LISTING_SHARE = 20  # an idle consumer lists for at most a twentieth of its time
LOOK_AHEAD_S = 0.5
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
#: For how long a partition that did not answer is left alone at first, and how many are waited for in a step.
PARTITION_PAUSE_S = 5.0
WAITS = 3
#: How often the budgets are read anew: what other processes parked, and leave that a person gave.
BUDGETS_S = 5.0
#: For so long a partition that was fenced, and is still said to be ours, is left to whoever claimed it.
RECLAIM_S = 45.0

Parsed = tuple[Record, OpenLineageEvent | Unparseable]


@dataclass(slots=True)
class Progress:
    """What a runner has done since it started; `unread` is what lies ahead, in bytes."""

    applied: int = 0
    duplicate: int = 0
    quarantined: int = 0
    gaps: int = 0
    unread: int = 0
    fenced: int = 0
    damaged: dict[Partition, Corrupt] = field(default_factory=dict)
    spent: dict[str, BudgetSpent] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        return self.applied + self.duplicate + self.quarantined + self.gaps


class _Away(NamedTuple):
    """A partition that did not answer, and until when it is not asked again."""

    error: Retryable
    until: float
    pause_s: float


class Runner:
    """Consumes one log into one store for one projection. For one thread.

    `bounds` limits each partition to the records before an offset and leaves all others out;
    `until` passes over records appended later than that time (µs). `sharing` says which partitions are
    this process's. `accept_damage` quarantines damaged bytes and goes on behind them; without it a
    damaged partition halts and the others go on. `breaker` halts topics whose budget of parked records is
    spent. Without `take_over` it reads only partitions that no runner has read. Raises `Fenced` when
    another runner took over, unless partitions are shared; `BudgetSpent` for the native topic; `Retryable`
    when the store stayed away for longer than `patience_s`.
    """

    def __init__(
        self,
        store: Store,
        source: Log,
        *,
        projection: LineageProjection | None = None,
        owner: str | None = None,
        bounds: Mapping[Partition, int] | None = None,
        until: int | None = None,
        sharing: Sharing | None = None,
        breaker: Breaker | None = None,
        observer: Observer | None = None,
        accept_damage: bool = False,
        take_over: bool = True,
        batch_records: int = BATCH_RECORDS,
        batch_bytes: int = BATCH_BYTES,
        patience_s: float = 300.0,
        reclaim_s: float = RECLAIM_S,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store = store
        self.source = source
        self.projection = projection or LineageProjection()
        self.owner = owner or uuid7()
        self.progress = Progress()
        self._bounds = bounds
        self._until = until
        self._sharing = sharing
        self._breaker = breaker
        self._observer = observer or Unobserved()
        self._reclaim_s = reclaim_s
        self._accept_damage = accept_damage
        self._take_over = take_over
        self._batch_records = batch_records
        self._batch_bytes = batch_bytes
        self._patience_s = patience_s
        self._now = now
        self._sleep = sleep
        self._claims: dict[Partition, Claim] = {}
        self._numbers: dict[Partition, int] = {}  # of the assignment under which each was claimed
        self._fenced_at: dict[Partition, tuple[int, float]] = {}
        self._budgets_at = -BUDGETS_S
        self._turn = 0
        self._follow = False
        self._away: dict[Partition, _Away] = {}
        self._unavailable_since: int | None = None
        self._pause_s = FIRST_PAUSE_S
        self._stale = False
        self._admitted = False
        self._moved = False
        self._done: set[Partition] = set()
        self._listed: list[Partition] = []
        self._listed_at = self._looked_at = -LISTING_S
        self._listing_took = 0.0

    def run(
        self,
        *,
        follow: bool = False,
        stopping: Callable[[], bool] = lambda: False,
        report: Callable[[Progress], None] = lambda _: None,
    ) -> Progress:
        """Consume to the log's end, or for ever with `follow`; `stopping()` is asked between batches."""
        self._follow = follow
        self._listed_at = -LISTING_S  # the end is the end of what is there now
        while not stopping():
            moved = self.step()
            report(self.progress)
            if moved:
                continue
            if not follow:
                break
            self._sleep(IDLE_S)
        return self.progress

    def step(self) -> bool:
        """Consume one batch; whether there was anything to consume."""
        try:
            with _without_gc():
                moved = self._step()
        except Fenced as fenced:
            self._let_go(fenced)
            return True
        except Exception as error:
            if not faults.is_passing(error):
                raise
            self._wait_for_store(error)
            return True
        self._unavailable_since = None
        self._moved = moved
        self._observer.stepped(self._cursors(), self.source)
        return moved

    def _step(self) -> bool:
        if not self._admitted:
            books.admit(self.store, self.projection.name, self.projection.version, known_at=self._until)
            with self.store.connecting() as connection:
                read_before = positions.stored(connection, self.projection.name)
            self.source.resume(read_before)
            self._admitted = True
        if self._stale:
            self._read_back()
        self._look_at_budgets()
        records, damage = self._read()
        if records:
            self._consume([(record, self._parsed(record)) for record in records])
        if damage is not None:
            self._meet_damage(*damage)
        self._look_ahead()
        return bool(records) or damage is not None

    def _read_back(self) -> None:
        """The claims as they stand in the store, after a transaction whose end is not known."""
        with self.store.connecting() as connection:
            held = positions.still_mine(connection, self.projection.name, self._claims)
        lost = [partition for partition in self._claims if partition not in held]
        self._claims = {**self._claims, **held}
        for partition in lost:
            self._let_go(Fenced(partition))
        self._stale = False

    def _let_go(self, fenced: Fenced) -> None:
        """Another process claimed a partition: where they are shared, it is that one's from here on."""
        if self._sharing is None:
            raise fenced
        partition = fenced.partition
        log.warning("partition_fenced", extra={"place": self.source.place(partition)})
        self._claims.pop(partition, None)
        self._fenced_at[partition] = self._numbers.pop(partition, 0), time.monotonic()
        self.source.release(partition)
        self.progress.fenced += 1
        self._observer.fenced(partition)

    def _look_at_budgets(self) -> None:
        """What other processes parked, and what a person gave leave for."""
        if self._breaker is None or time.monotonic() - self._budgets_at < BUDGETS_S:
            return
        with self.store.connecting() as connection:
            self._breaker.refresh(connection)
        self._budgets_at = time.monotonic()
        self._tell_budgets()

    def _tell_budgets(self) -> None:
        if self._breaker is None or self._breaker.spent.keys() == self.progress.spent.keys():
            return
        for topic, problem in self._breaker.spent.items():
            if topic not in self.progress.spent:
                log.error("topic_halted", extra={"topic": topic, "error": str(problem)})
        for topic in self.progress.spent.keys() - self._breaker.spent.keys():
            log.info("topic_resumed", extra={"topic": topic})
        self.progress.spent = dict(self._breaker.spent)
        self._breaker.require_native()

    # -- reading ------------------------------------------------------------------------

    def _read(self) -> tuple[list[Record], tuple[Partition, Corrupt] | None]:
        """The next batch, partitions in turn so that a busy one does not hold up the rest."""
        partitions = self._partitions()
        self._claim([part for part in partitions if part not in self._claims])
        records: list[Record] = []
        failed: list[Retryable] = []
        answered, waited = False, 0
        size = self._batch_bytes
        if partitions:
            self._turn %= len(partitions)
            partitions = partitions[self._turn :] + partitions[: self._turn]
        for partition in partitions:
            room = self._batch_records - len(records)
            if room <= 0 or size <= 0:
                break
            self._turn += 1
            if partition in self.progress.damaged or partition in self._done:
                continue
            if partition.topic in self.progress.spent:
                continue
            if self._is_left_alone(partition):
                failed.append(self._away[partition].error)
                continue
            try:
                found = self._read_partition(partition, room, size)
            except Corrupt as damage:
                return records, (partition, damage)
            except Retryable as error:
                # One partition without an answer does not hold up what others have handed out.
                self._leave_alone(partition, error)
                failed.append(error)
                waited += 1
                if records or waited == WAITS:
                    break
                continue
            answered = True
            self._away.pop(partition, None)
            if not found and self.source.finished(partition, self._claims[partition].cursor):
                self._done.add(partition)
            records += found
            size -= sum(len(record.value) for record in found)
        # Who reads to the end must not take for the end what did not answer.
        if failed and not records and not (answered and self._follow):
            raise failed[-1]
        return records, None

    def _is_left_alone(self, partition: Partition) -> bool:
        away = self._away.get(partition)
        return away is not None and self._follow and time.monotonic() < away.until

    def _leave_alone(self, partition: Partition, error: Retryable) -> None:
        """For a while that grows: a question without an answer takes long, and the others wait meanwhile."""
        before = self._away.get(partition)
        pause = min(before.pause_s * 2, LONGEST_PAUSE_S) if before else PARTITION_PAUSE_S
        if before is None:
            told = {"place": self.source.place(partition), "error": faults.line_of(error)}
            log.warning("partition_unavailable", extra=told)
        self._away[partition] = _Away(error, time.monotonic() + pause, pause)

    def _partitions(self) -> list[Partition]:
        """This worker's partitions, listed anew once a second while busy, and often, if cheap, when idle."""
        begun = time.monotonic()
        wait = LISTING_S if self._moved else self._listing_took * LISTING_SHARE
        if begun - self._listed_at > wait:
            bounds = self._bounds
            self._listed = [part for part in self.source.partitions() if bounds is None or part in bounds]
            self._listed_at = time.monotonic()
            self._listing_took = self._listed_at - begun
        return self._listed if self._sharing is None else self._assigned(self._sharing)

    def _assigned(self, sharing: Sharing) -> list[Partition]:
        """What is ours now. What is not, or came back meanwhile, is let go and claimed anew."""
        assigned = sharing.assigned(self._listed)
        for partition in [part for part, number in self._numbers.items() if assigned.get(part) != number]:
            del self._numbers[partition]
            self._claims.pop(partition, None)
            self.source.release(partition)
        ours = [part for part in self._listed if part in assigned and not self._is_others(part, assigned)]
        self._numbers.update((part, assigned[part]) for part in ours)
        return ours

    def _is_others(self, partition: Partition, assigned: Mapping[Partition, int]) -> bool:
        """Whether it was fenced under this assignment, a moment ago: its loss may not have been told."""
        number, at = self._fenced_at.get(partition, (None, 0.0))
        if number == assigned[partition] and time.monotonic() - at < self._reclaim_s:
            return True
        self._fenced_at.pop(partition, None)
        return False

    def _look_ahead(self) -> None:
        now = time.monotonic()
        if not self._moved or now - self._looked_at > LOOK_AHEAD_S:
            self.progress.unread = self.source.unread(self._cursors())
            self._looked_at = now

    def _read_partition(self, partition: Partition, room: int, size: int) -> list[Record]:
        cursor = self._claims[partition].cursor
        if self._bounds is None:
            return self.source.read(partition, cursor, records=room, size=size)
        end = self._bounds[partition]
        if cursor.offset >= end:
            return []
        found = self.source.read(partition, cursor, records=min(room, end - cursor.offset), size=size)
        # On some carriers offsets have gaps: so many records may reach beyond the bound.
        return [record for record in found if record.offset < end]

    def _cursors(self) -> dict[Partition, Cursor]:
        return {partition: held.cursor for partition, held in self._claims.items()}

    def _claim(self, partitions: Sequence[Partition]) -> None:
        if not partitions:
            return
        with self._writing() as tx:
            fresh = {
                part: positions.claim(tx, self.projection.name, part, self.owner, take_over=self._take_over)
                for part in sorted(partitions)
            }
        self._claims.update(fresh)
        if self._sharing is not None:
            self._sharing.moved({part: held.cursor for part, held in fresh.items()})

    # -- applying -----------------------------------------------------------------------

    def _consume(self, batch: Sequence[Parsed]) -> None:
        """Apply `batch` in one transaction, in halves when a record in it does not fit the store."""
        try:
            self._commit(batch)
        except Exception as error:
            self.projection.rolled_back()
            if self._breaker is not None:
                self._breaker.rolled_back()
            if not faults.is_data_error(error):
                raise
            if len(batch) == 1:
                rule = f"the store cannot hold it: {faults.line_of(error)}"
                refusal = Unparseable(path="(whole event)", value=shown(batch[0][0].value[:80]), rule=rule)
                self._commit([(batch[0][0], refusal)])
                return
            middle = len(batch) // 2
            self._consume(batch[:middle])
            self._consume(batch[middle:])

    def _commit(self, batch: Sequence[Parsed]) -> None:
        """All durable effects of one batch, in the order in which they happen."""
        began = time.perf_counter()
        if self._breaker is not None:
            batch = self._breaker.within(batch)
        if not batch:
            return
        tallies = self._tally(batch)
        known = [(record, event) for record, event in batch if not self._is_too_late(record)]
        kept = [(record, event) for record, event in known if isinstance(event, OpenLineageEvent)]
        refused = [(record, event) for record, event in known if isinstance(event, Unparseable)]
        folded = self._fold_ahead(kept)
        with self._writing() as tx:
            if folded is None or self.projection.overtaken(tx, folded):
                folded = self.projection.fold(tx, kept)
            outcome = self.projection.write(tx, folded)
            quarantine.park(tx, self.projection.name, refused, self._now())
            self._share_out(tallies, kept, outcome.duplicates)
            positions.advance(tx, self.projection.name, self._claims, tallies)
        self.projection.committed()
        for partition, tally in tallies.items():
            self._claims[partition] = Claim(self._claims[partition].epoch, tally.next)
            self.progress.applied += tally.applied
            self.progress.duplicate += tally.duplicate
            self.progress.quarantined += tally.quarantined
            self.progress.gaps += tally.gaps
        if self._breaker is not None:
            self._breaker.committed()
            self._tell_budgets()
        # Behind the commit: these only say what happened.
        self._observer.committed([record for record, _ in batch], tallies, time.perf_counter() - began)
        if self._sharing is not None:
            self._sharing.moved({partition: tally.next for partition, tally in tallies.items()})

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A writing transaction that ends also where this process is stopped in the middle of it."""
        with self.store.writing() as tx:
            if self.store.dialect == "postgresql":
                tx.exec_driver_sql(_BOUNDS)
            yield tx

    def _parsed(self, record: Record) -> OpenLineageEvent | Unparseable:
        if self._is_too_late(record):
            return _TOO_LATE  # passed over: not worth reading
        try:
            return parse(record.value)
        except Unparseable as refusal:
            return refusal

    def _is_too_late(self, record: Record) -> bool:
        return self._until is not None and record.appended_at > self._until

    def _fold_ahead(self, batch: Batch) -> Folded | None:
        """Fold before the write lock is taken, where other workers want it too."""
        if self._sharing is None or self.store.dialect != "sqlite":
            return None
        with self.store.connecting() as connection:
            return self.projection.fold(connection, batch)

    def _tally(self, batch: Sequence[Parsed]) -> dict[Partition, Tally]:
        tallies: dict[Partition, Tally] = {}
        for record, event in batch:
            partition = record.place
            tally = tallies.get(partition)
            if tally is None:
                cursor = self._claims[partition].cursor
                tally = tallies[partition] = Tally(cursor.offset, cursor)
            # Offsets without a record: on Kafka, transaction markers and what compaction removed.
            tally.gaps += record.offset - tally.next.offset
            tally.next = Cursor(record.offset + 1, record.next_byte)
            if self._is_too_late(record):
                tally.gaps += 1
            elif isinstance(event, Unparseable):
                tally.quarantined += 1
            else:
                tally.applied += 1
        return tallies

    def _share_out(
        self,
        tallies: dict[Partition, Tally],
        batch: Sequence[tuple[Record, OpenLineageEvent]],
        duplicates: Sequence[int],
    ) -> None:
        for index in duplicates:
            tally = tallies[batch[index][0].place]
            tally.applied -= 1
            tally.duplicate += 1

    def _meet_damage(self, partition: Partition, damage: Corrupt) -> None:
        claim = self._claims[partition]
        # Behind the cursor there is nothing to skip: a header, or bytes that were read and are gone.
        if not self._accept_damage or damage.end <= max(claim.cursor.byte, HEADER_BYTES):
            self.progress.damaged[partition] = damage
            log.error("partition_halted", extra={"place": damage.place, "error": str(damage)})
            return
        tally = Tally(claim.cursor.offset, Cursor(damage.offset + 1, damage.end), quarantined=1)

        with self._writing() as tx:
            quarantine.park_damage(tx, self.projection.name, partition, damage, self._now())
            positions.advance(tx, self.projection.name, self._claims, {partition: tally})
        self._claims[partition] = Claim(claim.epoch, tally.next)
        self.progress.quarantined += 1

    # -- waiting -------------------------------------------------------------------

    def _wait_for_store(self, error: Exception) -> None:
        """Pause; before the next batch the store says how far the last one came, whose answer may be lost."""
        if self._unavailable_since is None:
            self._unavailable_since = self._now()
            self._pause_s = FIRST_PAUSE_S
        waited_s = (self._now() - self._unavailable_since) / 1e6
        if waited_s > self._patience_s:
            raise Retryable(
                f"the store {self.store.url} or the log did not answer for {waited_s:.0f} s: "
                f"{faults.line_of(error)}",
                remedy="start again when it is back; nothing was lost",
            ) from error
        self._observer.waiting(error)
        told = {"error": faults.line_of(error), "pause_s": self._pause_s}
        if faults.is_contention(error):
            log.info("batch_contended", extra=told)
        else:
            log.warning("store_unavailable" if faults.is_of_store(error) else "log_unavailable", extra=told)
        self._sleep(self._pause_s * random.uniform(0.5, 1.0))
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        self._stale = True


# Of a consumer that is stopped in the middle of a transaction (SIGSTOP, a paused machine) the server gives
# up the locks, idle or in the middle of a COPY: whoever takes over waits for no more than this.
_BOUNDS = "SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL statement_timeout = '120s'"

_TOO_LATE = Unparseable(path="(whole event)", value="", rule="appended later than asked for")


@contextmanager
def _without_gc() -> Iterator[None]:
    """No collection during a batch: it makes many objects and no cycles (a fifth of the fold's time)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
