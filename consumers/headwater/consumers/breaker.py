"""A topic's budget of records that cannot be read: spent, it stops that topic before all of it is parked.

One poison record is parked and passed over. A hundred in a row, or half of the last thousand, are no
poison: the producer is broken, or a topic of something else was named. The topic then halts where it is,
nothing is lost, and the others go on; the native topic's spent budget stops the consumer.

    a budget is spent when         by default
    `in_a_row` records in a row    100, of one partition
    a `share` of the last          0.5 of the last 1,000 of each partition that holds any, together,
                                   and as many as `in_a_row` at least

A folder of segments is one topic whose partitions end: its last records are those of its newest segments, as
many as hold `of_last`, whether or not anything was parked in them.

What counts is read from the store (quarantined rows near the positions, which were written with them), so
a restart, another process, and a COMMIT without an answer all see the same. A person goes on with `headwater
quarantine resume`, which counts anew from where the topic stands; records that a `quarantine retry` accepted
no longer count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, update

from headwater.consumers.log import SEGMENTS, Partition, Record
from headwater.consumers.tables import position, quarantine
from headwater.schemas.errors import Misconfigured, Rejected, Unparseable, shown
from headwater.schemas.openlineage import OpenLineageEvent

Parsed = tuple[Record, OpenLineageEvent | Unparseable]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a topic may be parked; see the head of this module."""

    in_a_row: int = 100
    share: float = 0.5
    of_last: int = 1_000


class BudgetSpent(Rejected):
    """So many of a topic's records cannot be read that it was halted, at the record that is next."""

    def __init__(self, *, topic: str, refused: int, seen: int, in_a_row: int) -> None:
        name = name_of(topic)
        why = f"{refused:,} of its last {seen:,} records cannot be read ({in_a_row:,} in a row)"
        super().__init__(
            f"topic {name} is halted: {why}",
            remedy=f"look at `headwater quarantine list` and correct the producer; then "
            f"`headwater quarantine resume {name}` goes on",
        )
        self.topic = topic
        self.refused = refused
        self.seen = seen
        self.in_a_row = in_a_row

    def __reduce__(self) -> tuple[Any, ...]:
        facts = (self.topic, self.refused, self.seen, self.in_a_row)
        return _spent, facts


def _spent(topic: str, refused: int, seen: int, in_a_row: int) -> BudgetSpent:
    return BudgetSpent(topic=topic, refused=refused, seen=seen, in_a_row=in_a_row)


@dataclass(frozen=True, slots=True)
class Window:
    """The last records of one partition: up to `next`, counted from `since` on, and which were refused."""

    since: int
    next: int
    refused: tuple[int, ...] = ()
    in_a_row: int = 0

    def with_record(self, offset: int, *, refused: bool, of_last: int) -> Window:
        floor = max(self.since, offset + 1 - of_last)
        kept = tuple(each for each in self.refused if each >= floor)
        if not refused:
            return Window(self.since, offset + 1, kept, 0)
        return Window(self.since, offset + 1, (*kept, offset), self.in_a_row + 1)

    def seen(self, of_last: int) -> int:
        return min(of_last, self.next - self.since)


class State(NamedTuple):
    """Of a topic's last `seen` records so many were `refused`, so many `in_a_row` at a partition's end."""

    refused: int
    seen: int
    in_a_row: int


class Breaker:
    """The budgets of all topics of one projection, for one consumer. Not for use from several threads.

    `limits` by topic name, "" for all others; `native` is the name of the topic whose spent budget is raised.
    """

    def __init__(
        self,
        projection: str = "lineage",
        *,
        limits: Mapping[str, Limits] | None = None,
        native: str | None = None,
    ) -> None:
        self.spent: dict[str, BudgetSpent] = {}
        self._projection = projection
        self._limits = dict(limits or {})
        self._native = native
        self._windows: dict[Partition, Window] = {}
        self._trial: dict[Partition, Window] = {}

    def limits(self, topic: str) -> Limits:
        return self._limits.get(name_of(topic)) or self._limits.get("") or Limits()

    def refresh(self, connection: Connection) -> None:
        """Read what the store knows: refusals of other processes too, and a person's leave to go on."""
        known, self._windows = self._windows, {}
        for part, window in windows(connection, self._projection, self.limits):
            mine = known.get(part)
            # Offsets without a record stand between refused ones, too: who was there knows better.
            if mine is not None and mine.next == window.next:
                told = max(window.in_a_row, min(mine.in_a_row, len(window.refused)))
                window = replace(window, in_a_row=told)
            self._windows[part] = window
        self._trial.clear()
        self.spent = {}
        for topic in {part.topic for part in self._windows}:
            self._judge(topic, self._windows)

    def require_native(self) -> None:
        """Raise `BudgetSpent` where the native topic's budget is spent."""
        for topic, problem in self.spent.items():
            if name_of(topic) == self._native:
                raise problem

    def within(self, batch: Sequence[Parsed]) -> Sequence[Parsed]:
        """What of `batch` may be committed: all, but nothing behind the record that spends a budget."""
        if not self.spent and not any(isinstance(event, Unparseable) for _, event in batch):
            self._pass(batch)
            return batch
        kept = []
        for record, event in batch:
            if record.topic in self.spent:
                continue
            refused = isinstance(event, Unparseable)
            self._trial[record.place] = self._window(record).with_record(
                record.offset, refused=refused, of_last=self.limits(record.topic).of_last
            )
            kept.append((record, event))
            if refused:
                self._judge(record.topic, {**self._windows, **self._trial})
        return kept

    def _pass(self, batch: Sequence[Parsed]) -> None:
        """A batch without refusals: only what was refused before grows older."""
        for place, record in {record.place: record for record, _ in batch}.items():
            if place in self._windows or place.topic == SEGMENTS:
                self._trial[place] = self._window(record).with_record(
                    record.offset, refused=False, of_last=self.limits(place.topic).of_last
                )

    def committed(self) -> None:
        self._windows.update(self._trial)
        self._trial.clear()

    def rolled_back(self) -> None:
        self._trial.clear()
        self.spent = {}
        for topic in {part.topic for part in self._windows}:
            self._judge(topic, self._windows)

    def _window(self, record: Record) -> Window:
        known = self._trial.get(record.place) or self._windows.get(record.place)
        # Where nothing was parked, what came before was read.
        return known or Window(max(0, record.offset - self.limits(record.topic).of_last), record.offset)

    def state(self, topic: str) -> State:
        """Of the last records of `topic`, as far as this consumer knows."""
        return self._state(topic, self._windows)

    def _state(self, topic: str, held: Mapping[Partition, Window]) -> State:
        of_last = self.limits(topic).of_last
        ours = _newest(held, of_last) if topic == SEGMENTS else _of_topic(held, topic)
        return State(
            sum(len(window.refused) for window in ours),
            sum(window.seen(of_last) for window in ours),
            max((window.in_a_row for window in ours), default=0),
        )

    def _judge(self, topic: str, held: Mapping[Partition, Window]) -> None:
        limits, now = self.limits(topic), self._state(topic, held)
        many = now.refused >= limits.in_a_row and now.refused >= limits.share * now.seen
        if many or now.in_a_row >= limits.in_a_row:
            self.spent[topic] = BudgetSpent(topic=topic, **now._asdict())


def _of_topic(held: Mapping[Partition, Window], topic: str) -> list[Window]:
    return [window for part, window in held.items() if part.topic == topic]


def _newest(held: Mapping[Partition, Window], of_last: int) -> list[Window]:
    """Of segments, whose names begin with their time, the last that hold `of_last` records."""
    kept: list[Window] = []
    seen = 0
    for part in sorted((part for part in held if part.topic == SEGMENTS), reverse=True):
        if seen >= of_last:
            break
        kept.append(held[part])
        seen += held[part].seen(of_last)
    return kept


def windows(
    connection: Connection, projection: str, limits: Any = lambda _: Limits()
) -> Iterator[tuple[Partition, Window]]:
    """Of every partition that counts, its last records as the store knows them.

    Those are the partitions in which something was parked; of segments the newest ones.
    """
    p, q = position.c, quarantine.c
    chosen = (p.topic, p.partition, p.start_offset, p.counted_from, p.next_offset, p.quarantined)
    ours = select(*chosen).where(p.projection == projection)
    parked = ours.where(p.topic != SEGMENTS, p.quarantined > 0)
    of_last = limits(SEGMENTS).of_last
    counted = ours.where(p.topic == SEGMENTS, p.next_offset > p.start_offset, p.next_offset > p.counted_from)
    newest = counted.order_by(p.partition.desc()).limit(of_last)  # of which each holds one at least
    rows = [*connection.execute(parked), *_last(connection.execute(newest), of_last)]
    for topic, number, start, counted_from, following, refusals in rows:
        since = max(start, counted_from)
        if not refusals:
            yield Partition(topic, number), Window(since, following)
            continue
        floor = max(since, following - limits(topic).of_last)
        found = connection.execute(
            select(q.offset)
            .where(
                q.projection == projection,
                q.topic == topic,
                q.partition == number,
                q.offset >= floor,
                q.offset < following,
                q.accepted_at.is_(None),
            )
            .order_by(q.offset)
        )
        refused = tuple(found.scalars())
        yield Partition(topic, number), Window(since, following, refused, _tail(refused, following))


def _last(rows: Iterable[Any], of_last: int) -> Iterator[Any]:
    """So many of `rows`, the newest segment first, as hold `of_last` records."""
    seen = 0
    for row in rows:
        if seen >= of_last:
            return
        yield row
        seen += min(of_last, row.next_offset - max(row.start_offset, row.counted_from))


def _tail(refused: Sequence[int], following: int) -> int:
    """How many of `refused` stand one after another right before `following`."""
    count = 0
    while count < len(refused) and refused[-1 - count] == following - 1 - count:
        count += 1
    return count


def resume(connection: Connection, topic: str, projection: str = "lineage") -> int:
    """Count the budget of `topic` (a name, or name@id) anew from where it stands; of how many partitions."""
    p = position.c
    named = (p.topic == topic) | p.topic.startswith(f"{topic}@", autoescape=True)
    done = connection.execute(
        update(position).where(p.projection == projection, named).values(counted_from=p.next_offset)
    )
    if not done.rowcount:
        raise Misconfigured(
            f"the store has read no topic {shown(topic)}", remedy="see `headwater quarantine topics`"
        )
    return int(done.rowcount)


def name_of(topic: str) -> str:
    """The name in `name@id`; a folder of segments is one topic, `segments`."""
    return topic.rpartition("@")[0] or topic


_RULES: Mapping[str, str] = {
    "in_a_row": "a whole number above 0",
    "share": "a number above 0, 1 at the most",
    "of_last": "a whole number above 0",
}


def limits_of(document: object, place: str = "headwater.yaml: quarantine") -> dict[str, Limits]:
    """Limits by topic from what headwater.yaml says below `quarantine`; raises `Misconfigured`."""
    if document is None:
        return {}
    said = _mapping(document, place)
    topics = _mapping(said.get("topics") or {}, f"{place}.topics")
    general = _limits({key: value for key, value in said.items() if key != "topics"}, Limits(), place)
    own = {
        str(name): _limits(_mapping(each, f"{place}.topics.{name}"), general, f"{place}.topics.{name}")
        for name, each in topics.items()
    }
    return {"": general, **own}


def _mapping(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Misconfigured(f"{place}: {shown(value)} is no mapping")
    return value


def _limits(said: Mapping[str, Any], general: Limits, place: str) -> Limits:
    for key, value in said.items():
        if key not in _RULES:
            raise Misconfigured(f"{place}: {key} is no setting", remedy=f"known: {', '.join(_RULES)}, topics")
        whole = type(value) is int and value > 0
        if not (type(value) in (int, float) and 0 < value <= 1 if key == "share" else whole):
            raise Misconfigured(f"{place}.{key}: {shown(value)} is not {_RULES[key]}")
    found = replace(general, **said)
    if found.in_a_row > found.of_last:
        raise Misconfigured(f"{place}: in_a_row {found.in_a_row} is more than of_last {found.of_last}")
    return found
