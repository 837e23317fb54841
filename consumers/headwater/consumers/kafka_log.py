"""Reading the log from Apache Kafka: the carrier of production, by the same interface.

A partition is (name@topic id, partition number), never a topic's name alone: a topic that was
deleted and made anew under its name is another log, and to go on in it at the old position would
skip records without a word. Positions are the reader's business (they stand in its store); Kafka's
committed offsets are neither read nor written here, and no consumer group is joined: who reads which
partition is said by `headwater.consumers.kafka_group`, where several processes share them.

    what the broker says                      what is told
    unreachable, timed out, leader moving     `Retryable`: tried again
    topic missing, or made anew               `TopicMissing`, `TopicMadeAnew`: a person decides
    a right is missing                        `TopicRefused`: a person decides
    position below the first record kept      `RecordsLost`: retention or deletion took records unread
    position beyond the last record           `RecordsLost`: the topic was cut off behind it

Offsets that carry no record (transaction markers, what compaction removed, tombstones) are passed
over; the next record's offset tells how many they were. Trouble with the native topic (the first that was
named) is raised; any other topic is left alone from then on, `halted` says why, and the rest goes on.
One that is missing or refused is asked for again every minute.
Not for use from several threads.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import wait
from typing import Any
from uuid import UUID

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from headwater.consumers.log import Cursor, Partition, Record
from headwater.consumers.subscription import subscribed
from headwater.emitter.kafka_faults import Faults, unmade
from headwater.emitter.kafka_settings import KafkaSettings, admin_settings, consumer_settings, without_secrets
from headwater.schemas.errors import Corrupt, HeadwaterError, Misconfigured, Retryable

log = logging.getLogger(__name__)

#: How long one answer of the cluster may take before it counts as away.
ANSWER_S = 30.0
#: Bytes read ahead of what was asked for, of all partitions together.
AHEAD_BYTES = 32 << 20
MESSAGES_A_POLL = 2_000
POLL_S = 0.1
#: How long the end of a partition is taken for its end without asking again, and how long what is
#: behind it may take to arrive.
END_HOLDS_S = 1.0
FETCHED_S = 1.0

# Errors are told by the calls that meet them.
_QUIET: Mapping[str, Any] = {"log_level": 2}
_DEFAULTS: Mapping[str, Any] = {
    **_QUIET,
    "client.id": "headwater",
    # Asked for by librdkafka; no group is joined and nothing is committed.
    "group.id": "headwater",
    "fetch.message.max.bytes": 11 << 20,
    "queued.max.messages.kbytes": AHEAD_BYTES >> 10,
    # A partition that is read for the first time waits for the fetch under way, twice.
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 100,
    "socket.keepalive.enable": True,
}
#: Settings of a group's members: they are `headwater.consumers.kafka_group`'s, and a reader is none.
OF_MEMBERS = frozenset(
    {
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.remote.assignor",
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "partition.assignment.strategy",
        "session.timeout.ms",
    }
)
#: How often a halted topic that may have come back, or may be read by now, is asked for again.
HALTED_S = 60.0
_UNANSWERED = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT)
_PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        # What librdkafka says of partitions while it looks for the brokers anew; a topic that is gone is
        # told by `partitions`.
        KafkaError._DESTROY_BROKER,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


class TopicMissing(Misconfigured):
    """A topic that was named is not there."""

    def __init__(self, name: str, bootstrap: str) -> None:
        super().__init__(
            f"there is no topic {name} at {bootstrap}",
            remedy="make it first, or name another: kafka://host:9092/topic",
        )
        self.name = name


class TopicRefused(Misconfigured):
    """The broker does not let us read a topic: a right is missing, most of the time."""

    def __init__(self, name: str, bootstrap: str, said: str) -> None:
        super().__init__(
            f"topic {name} at {bootstrap} cannot be read: {said}",
            remedy="give the user of `kafka:` in headwater.yaml READ and DESCRIBE on the topic (kafka-acls), "
            "or do not name it",
        )
        self.name = name


class TopicMadeAnew(Misconfigured):
    """A topic has another id than when it was read: it was deleted, and made again under its name."""

    def __init__(self, name: str, bootstrap: str, *, topic: str, before: str) -> None:
        super().__init__(
            f"topic {name} at {bootstrap} was deleted and made anew: "
            f"it is {topic} now, and {before} was read before",
            remedy="what the old one held unread is lost; a fresh store (`headwater replay --into`) "
            "reads the new one from its beginning",
        )
        self.name = name


class RecordsLost(Corrupt):
    """Records that were not read yet are in the topic no more; `offset` is the first of them.

    `until` is the first offset that can be read again, None where the topic ends before `offset`.
    """

    def __init__(self, *, place: str, offset: int, first: int, end: int) -> None:
        gone = f"records {offset}–{first - 1}" if offset < first else f"record {offset} and what follows it"
        why = (
            f"the topic begins at {first}: its retention, or a deletion, took them"
            if offset < first
            else f"the topic ends at {end}: it was cut off"
        )
        HeadwaterError.__init__(
            self,
            f"{place}: {gone} are not in the topic any more, and were not read; {why}",
            remedy="fill a store from an archive, or from a copy of the topic",
        )
        self.place = place
        self.start = self.end = 0
        self.offset = offset
        self.until = first if offset < first else None


class _Reading:
    """One partition as this reader holds it: what was fetched and not yet asked for."""

    __slots__ = (
        *("ahead", "arrived_at", "asked_at", "at_end", "bytes", "end", "failure", "next", "paused", "size"),
    )

    def __init__(self, position: int) -> None:
        self.next = position
        self.ahead: deque[Record] = deque()
        self.bytes = 0
        self.arrived_at = 0.0
        self.at_end = False
        self.end = 0
        self.asked_at = 0.0
        self.paused = False
        self.failure: KafkaError | None = None
        self.size = 2_000.0  # of a record, about: how far there is to go is told in bytes


class KafkaLog:
    """The partitions of some topics of one cluster.

    `bootstrap` is `host:port,host:port`; `topics` are names and `^patterns`; `settings` are librdkafka's
    own, for the cluster's security and the like. Opening asks nothing of the cluster; the first
    `partitions` does. `halted` has what became of topics, other than the native one, that cannot be read
    on.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        settings: Mapping[str, Any] | None = None,
        *,
        answer_s: float = ANSWER_S,
        halted_s: float = HALTED_S,
    ) -> None:
        self._halted_s = halted_s
        self.bootstrap = bootstrap
        self.topics = subscribed(topics)
        self.halted: dict[str, HeadwaterError] = {}
        given = settings if isinstance(settings, KafkaSettings) else KafkaSettings(settings)
        self._faults = Faults(bootstrap, given)
        told: dict[str, Any] = {"error_cb": self._faults}
        own = {k: v for k, v in consumer_settings(given, bootstrap).items() if k not in OF_MEMBERS}
        self._answer_s = answer_s
        try:
            self._consumer = Consumer({**_DEFAULTS, **own, **told})
            self._admin = AdminClient({**_QUIET, **admin_settings(given, bootstrap), **told})
        except KafkaException as refused:
            raise unmade(refused, given) from refused
        self._given = given
        self._halted_at: dict[str, float] = {}
        self._stored: set[str] = set()
        self._said: dict[str, str] = {}  # of halted topics, so that the same is not said every minute
        self._names: dict[str, str] = {}  # of each topic, by its id
        self._ids: dict[str, str] = {}  # and the other way round
        self._held: dict[Partition, _Reading] = {}
        self._listed_at = 0.0

    # -- the interface of a log ----------------------------------------------------------

    @property
    def native(self) -> str | None:
        return self.topics.native

    def partitions(self) -> list[Partition]:
        """All partitions of the topics, which may grow in number, and the topics with their patterns.

        Raises `TopicMissing` and `TopicMadeAnew` (since this reader saw it) for the native topic.
        """
        found = []
        asked_at = time.monotonic()
        for name, described in self._described().items():
            topic = f"{name}@{_uuid(described.topic_id)}"
            try:
                self._require_same(name, topic, self._known(name))
            except TopicMadeAnew as problem:
                self._halt(name, problem)
                continue
            self._names[topic], self._ids[name] = name, topic
            if self.halted.pop(name, None) is not None:
                log.info("topic_tried_again", extra={"topic": name})
            found += [Partition(topic, str(each.id)) for each in described.partitions]
        self._listed_at = asked_at
        return sorted(found, key=lambda part: (part.topic, int(part.number)))

    def resume(self, stored: Collection[Partition]) -> None:
        self._stored = {each.topic for each in stored}
        for topic in {each.topic for each in self.partitions()}:
            name = self._names[topic]
            try:
                self._require_same(name, topic, self._stored_as(name))
            except TopicMadeAnew as problem:
                self._halt(name, problem)

    def _stored_as(self, name: str) -> set[str]:
        return {topic for topic in self._stored if topic.startswith(f"{name}@")}

    def _known(self, name: str) -> set[str]:
        """As what the topic was read before: by this reader, or else into the store."""
        return {self._ids[name]} if name in self._ids else self._stored_as(name)

    def _require_same(self, name: str, topic: str, known: Collection[str]) -> None:
        if known and topic not in known:
            raise TopicMadeAnew(name, self.bootstrap, topic=topic, before=min(known))

    def _halt(self, name: str, problem: Misconfigured) -> None:
        """Go on without this topic; without the native one there is no going on."""
        if name == self.topics.native:
            raise problem
        self._halted_at[name] = time.monotonic()
        self.halted[name] = problem
        if self._said.get(name) != str(problem):
            log.error("topic_halted", extra={"topic": name, "error": str(problem)})
        self._said[name] = str(problem)

    def topic_of(self, name: str) -> str | None:
        """`name@id` of a topic that was seen."""
        return self._ids.get(name)

    def name_of(self, partition: Partition) -> str:
        """The name of its topic in Kafka."""
        return self._names.get(partition.topic, partition.topic.rpartition("@")[0])

    def read(self, partition: Partition, cursor: Cursor, *, records: int, size: int) -> list[Record]:
        """Waits for the cluster to answer (`Retryable` when it does not), never for a record to come."""
        if self.name_of(partition) in self.halted:
            return []
        try:
            return self._read(partition, cursor, records, size)
        except TopicRefused as problem:
            self._halt(problem.name, problem)
            self.release(partition)
            return []

    def _read(self, partition: Partition, cursor: Cursor, records: int, size: int) -> list[Record]:
        held = self._at(partition, cursor.offset)
        deadline = time.monotonic() + self._answer_s
        patience = 0.0
        while not held.ahead:
            self._poll(patience)
            if held.failure is not None:
                self._fail(partition, held)
            if held.ahead or (held.at_end and self._is_still_the_end(partition, held)):
                break
            if time.monotonic() > deadline:
                raise Retryable(f"{self.place(partition)} did not answer for {self._answer_s:.0f} s")
            patience = POLL_S
        return self._handed_out(partition, held, records, size) if self._is_confirmed(partition, held) else []

    def _is_confirmed(self, partition: Partition, held: _Reading) -> bool:
        """Whether what is in hand is of the topic whose position this is: asked after it had arrived.

        Records come by the topic's name. Of one that was made anew since it was last looked at they would be
        taken for the old one's, and those before the old position would be passed over.
        """
        if held.ahead and held.arrived_at >= self._listed_at:
            self.partitions()
        return self.name_of(partition) not in self.halted

    def finished(self, partition: Partition, cursor: Cursor) -> bool:
        return False

    def unread(self, cursors: Mapping[Partition, Cursor]) -> int:
        total = 0.0
        for partition, held in self._held.items():
            try:
                _, end = self._consumer.get_watermark_offsets(self._kafka(partition), cached=True)
            except KafkaException:
                continue
            total += max(0, end - cursors.get(partition, Cursor()).offset) * held.size
        return int(total)

    def behind(self, cursors: Mapping[Partition, Cursor]) -> dict[Partition, int]:
        """As the last answers of the brokers had it; offsets that hold no record count, too."""
        found = {}
        for partition in self._held.keys() & cursors.keys():
            try:
                _, end = self._consumer.get_watermark_offsets(self._kafka(partition), cached=True)
            except KafkaException:
                continue
            found[partition] = max(0, end - cursors[partition].offset)
        return found

    def release(self, partition: Partition) -> None:
        held = self._held.pop(partition, None)
        if held is not None:
            self._unassign(partition, held)

    def place(self, partition: Partition) -> str:
        name = self._names.get(partition.topic, partition.topic)
        return f"kafka://{self.bootstrap}/{name}[{partition.number}]"

    def close(self) -> None:
        self._consumer.close()

    def __enter__(self) -> KafkaLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the topics ----------------------------------------------------------------------

    def _described(self) -> dict[str, Any]:
        """What the cluster says of each topic that is read and not halted."""
        wanted = [name for name in self.topics.chosen(self._existing()) if self._is_asked_for(name)]
        if not wanted:
            return {}
        futures = self._admin.describe_topics(TopicCollection(wanted), request_timeout=self._answer_s)
        found = {}
        for name, future in futures.items():
            while not wait([future], POLL_S).done:
                self._admin.poll(0)
                if self._faults.is_hopeless():
                    self._faults.raise_refused()
            try:
                found[name] = future.result()
            except KafkaException as problem:
                self._not_described(name, problem)
            self._faults.answered()
        return found

    def _not_described(self, name: str, problem: KafkaException) -> None:
        error = problem.args[0]
        if error.code() in _UNANSWERED:
            self._faults.raise_refused()
            raise self._faults.away(f"the question for topic {name}") from problem
        if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            told = self._told(error, name)
            if not isinstance(told, TopicRefused):
                raise told from problem
            self._halt(name, told)
        # A topic of a pattern may go as it came; one that was named is missed.
        elif name in self.topics.names:
            self._halt(name, TopicMissing(name, self.bootstrap))

    def _is_asked_for(self, name: str) -> bool:
        """All but what was halted; what may mend itself is asked for again now and then."""
        if not isinstance(self.halted.get(name), (TopicMissing, TopicRefused, type(None))):
            return False
        return name not in self.halted or time.monotonic() - self._halted_at[name] > self._halted_s

    def _existing(self) -> list[str]:
        """The names of all topics there are, where a pattern asks for them."""
        if not self.topics.patterns:
            return []
        try:
            return list(self._admin.list_topics(timeout=self._answer_s).topics)
        except KafkaException as problem:
            self._faults.raise_refused()
            if problem.args[0].code() in _UNANSWERED:
                raise self._faults.away("the question for all topics") from problem
            raise self._told(problem.args[0]) from problem

    def _told(self, error: KafkaError, name: str | None = None) -> HeadwaterError:
        """The broker's refusal as an error of ours; `name` is the topic that it is about."""
        said = without_secrets(error.str(), self._given)
        if error.code() in _PASSING or error.retriable():
            return Retryable(f"kafka://{self.bootstrap}: {said}", remedy="it is tried again")
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            # Of one broker among several; whether any lets us in is heard where topics are described.
            return Retryable(f"kafka://{self.bootstrap}: {said}", remedy="see to `kafka:` in headwater.yaml")
        if name is not None:
            return TopicRefused(name, self.bootstrap, said)
        return Misconfigured(
            f"kafka://{self.bootstrap}: {said}",
            remedy="see to `kafka:` in headwater.yaml and to the cluster",
        )

    # -- reading -------------------------------------------------------------------------

    def _kafka(self, partition: Partition, offset: int = OFFSET_BEGINNING) -> TopicPartition:
        if partition.topic not in self._names:
            self.partitions()
        if partition.topic not in self._names:
            raise Misconfigured(
                f"topic {partition.topic} is none of {self.topics} at {self.bootstrap}",
                remedy="a topic that was deleted and made anew is another one",
            )
        return TopicPartition(self._names[partition.topic], int(partition.number), offset)

    def _at(self, partition: Partition, offset: int) -> _Reading:
        """The partition, being read from `offset` on."""
        held = self._held.get(partition)
        if held is not None and held.next == offset and held.failure is None:
            return held
        where = self._kafka(partition, offset)
        self.release(partition)
        # The first thing that may be heard of a position beyond the end is nothing at all.
        self._require_within(partition, where)
        self._consumer.incremental_assign([where])
        held = self._held[partition] = _Reading(offset)
        return held

    def _unassign(self, partition: Partition, held: _Reading) -> None:
        where = self._kafka(partition)
        # A pause would outlive the assignment; and from here on nothing is assigned.
        if held.paused:
            self._consumer.resume([where])
        self._consumer.incremental_unassign([where])

    def _is_still_the_end(self, partition: Partition, held: _Reading) -> bool:
        """Whether nothing came since the end was met; asked of the cluster now and then, else not known."""
        now = time.monotonic()
        if now - held.asked_at < END_HOLDS_S:
            return True
        # Of all at once, and not over the connection on which a fetch is waited for.
        resting = [each for each, reading in self._held.items() if reading.at_end]
        ends = self._offsets(map(self._kafka, resting), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        is_the_end = True
        for each, end in zip(resting, ends, strict=True):
            reading = self._held[each]
            if isinstance(end, int) and end <= reading.end:
                reading.asked_at = now
            elif each == partition:
                if not isinstance(end, int):
                    raise self._told(end, self.name_of(partition))
                held.asked_at, is_the_end = now, self._is_empty_until(held, end, now)
        return is_the_end

    def _is_empty_until(self, held: _Reading, end: int, now: float) -> bool:
        """Whether no record arrives though offsets were given: a marker's, or a transaction's still open."""
        held.end = end
        while not held.ahead and held.failure is None and time.monotonic() < now + FETCHED_S:
            self._poll(POLL_S)
        return not held.ahead

    def _require_within(self, partition: Partition, where: TopicPartition) -> None:
        try:
            first, end = self._consumer.get_watermark_offsets(where, timeout=self._answer_s)
        except KafkaException as problem:
            raise self._told(problem.args[0], where.topic) from problem
        if first <= where.offset <= end:
            return
        # Of two answers of which one failed librdkafka may make one (both ends at the other's offset): what
        # halts a partition is asked for in another way.
        ends = []
        for which in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call]
            (answer,) = self._offsets([where], which)
            if not isinstance(answer, int):
                raise self._told(answer, where.topic)
            ends.append(answer)
        first, end = ends
        if not first <= where.offset <= end:
            raise RecordsLost(place=self.place(partition), offset=where.offset, first=first, end=end)

    def _offsets(self, places: Iterable[TopicPartition], which: OffsetSpec) -> list[int | KafkaError]:
        """The first or last offset of each partition, or why it is not known."""
        wanted = [TopicPartition(each.topic, each.partition) for each in places]
        answers = self._admin.list_offsets(dict.fromkeys(wanted, which), request_timeout=self._answer_s)
        found: list[int | KafkaError] = []
        for place in wanted:
            try:
                found.append(int(answers[place].result().offset))
            except KafkaException as problem:
                found.append(problem.args[0])
        return found

    def _poll(self, wait_s: float) -> None:
        """Take what has arrived, for whichever partition."""
        for message in self._consumer.consume(MESSAGES_A_POLL, wait_s):
            problem = message.error()
            if message.topic() is None:
                if problem is not None and problem.code() not in _PASSING:
                    raise self._told(problem)
                continue
            held = self._of(message)
            if held is None:
                continue
            if problem is None:
                self._take(held[0], held[1], message)
            elif problem.code() == KafkaError._PARTITION_EOF:
                held[1].at_end, held[1].end = True, message.offset() or 0
                held[1].asked_at = time.monotonic()
            elif problem.code() not in _PASSING:
                held[1].failure = problem
        self._balance()

    def _of(self, message: Message) -> tuple[Partition, _Reading] | None:
        partition = Partition(self._ids.get(str(message.topic()), ""), str(message.partition()))
        held = self._held.get(partition)
        return None if held is None else (partition, held)

    def _take(self, partition: Partition, held: _Reading, message: Message) -> None:
        held.at_end = False
        offset, value = message.offset(), message.value()
        last = held.ahead[-1].offset + 1 if held.ahead else held.next
        if offset is None or offset < last or not isinstance(value, bytes):
            return  # read before it was sought anew; or a tombstone, which no event is
        kind, stamp = message.timestamp()
        appended_at = 0 if kind == TIMESTAMP_NOT_AVAILABLE else stamp * 1_000
        held.ahead.append(Record(partition.topic, partition.number, offset, appended_at, value, 0))
        held.bytes += len(value)
        held.arrived_at = time.monotonic()
        held.size += (len(value) - held.size) / 64

    def _balance(self) -> None:
        """Hold back partitions with much in hand, so that a busy one does not fill the memory."""
        share = AHEAD_BYTES // max(1, len(self._held))
        for partition, held in self._held.items():
            if not held.paused and held.bytes > share:
                self._consumer.pause([self._kafka(partition)])
                held.paused = True
            elif held.paused and held.bytes <= share // 2:
                self._consumer.resume([self._kafka(partition)])
                held.paused = False

    def _handed_out(self, partition: Partition, held: _Reading, records: int, size: int) -> list[Record]:
        found: list[Record] = []
        while held.ahead and len(found) < records:
            length = len(held.ahead[0].value)
            if found and length > size:
                break
            found.append(held.ahead.popleft())
            held.bytes -= length
            size -= length
        if found:
            held.next = found[-1].offset + 1
        return found

    def _fail(self, partition: Partition, held: _Reading) -> None:
        problem = held.failure
        assert problem is not None
        if problem.code() == KafkaError._AUTO_OFFSET_RESET:
            self._require_within(partition, self._kafka(partition, held.next))
            raise Retryable(f"{self.place(partition)}: {problem.str()}", remedy="it is tried again")
        raise self._told(problem, self.name_of(partition))


def _uuid(topic_id: Any) -> UUID:
    words = (topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits())
    return UUID(bytes=b"".join(int(word).to_bytes(8, "big", signed=True) for word in words))
