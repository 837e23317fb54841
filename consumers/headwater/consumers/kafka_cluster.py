"""What a Kafka cluster says of itself: topics, their settings, brokers, ends; and making a topic.

Each question waits for one answer, at most `answer_s`. A cluster that is away is `Retryable`; one that
does not let us in is told at once, as `Misconfigured` with the remedy. What the answers mean for a log is the
business of `headwater.consumers.topics` and `headwater.consumers.doctor`. Not for use from several threads.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition, admin
from confluent_kafka.cimpl import NewTopic

from headwater.emitter.kafka_faults import Faults, refusal, unmade
from headwater.emitter.kafka_settings import KafkaSettings, admin_settings, consumer_settings
from headwater.schemas.errors import HeadwaterError, Misconfigured

ANSWER_S = 15.0
_POLL_S = 0.05
_kafka: Any = admin  # it says neither what it exports nor which types
_FIRST, _END, _NEWEST = (
    _kafka.OffsetSpec.earliest(),
    _kafka.OffsetSpec.latest(),
    _kafka.OffsetSpec.max_timestamp(),
)
_DENIED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    }
)


class Denied(Misconfigured):
    """The cluster knows us, and does not allow this question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """A topic as the cluster describes it. `allowed` are the operations that we may do, None if not told.

    A topic that was deleted and made anew has the same name and another `topic_id`, a UUID.
    """

    name: str
    topic_id: str
    partitions: int
    replicas: int
    leaderless: tuple[int, ...]
    out_of_sync: tuple[int, ...]
    allowed: frozenset[str] | None


class Cluster:
    """One cluster, asked as these settings say. Nothing is asked before the first question."""

    def __init__(
        self, bootstrap: str, settings: Mapping[str, Any] | None = None, *, answer_s: float = ANSWER_S
    ) -> None:
        self.bootstrap = bootstrap
        self.given = settings if isinstance(settings, KafkaSettings) else KafkaSettings(settings)
        self._answer_s = answer_s
        self._faults = Faults(bootstrap, self.given)
        told: dict[str, Any] = {"error_cb": self._faults, "log_level": 2}
        try:
            self._admin = _kafka.AdminClient({**admin_settings(self.given, bootstrap), **told})
        except KafkaException as problem:
            raise unmade(problem, self.given) from problem

    def brokers(self) -> list[str]:
        """The addresses of the brokers that live."""
        cluster = self._answer(self._admin.describe_cluster(request_timeout=self._answer_s), "the cluster")
        return sorted(f"{node.host}:{node.port}" for node in cluster.nodes)

    def names(self) -> list[str]:
        """The topics that we may know of."""
        try:
            return sorted(self._admin.list_topics(timeout=self._answer_s).topics)
        except KafkaException as problem:
            raise self._told(problem.args[0], "the list of topics") from problem

    def topics(self, names: Iterable[str]) -> dict[str, TopicFacts | None]:
        """What the cluster says of each topic; None of one that is not there."""
        futures = self._admin.describe_topics(
            TopicCollection(list(names)), include_authorized_operations=True, request_timeout=self._answer_s
        )
        found: dict[str, TopicFacts | None] = {}
        for name, future in futures.items():
            try:
                found[name] = _facts(self._answer(future, f"topic {name}"))
            except _Missing:
                found[name] = None
        return found

    def settings(self, topic: str) -> dict[str, str]:
        """A topic's settings, with the cluster's defaults where it has none of its own."""
        return self._configuration(_kafka.ResourceType.TOPIC, topic)

    def broker_settings(self) -> dict[str, str]:
        """One broker's settings; raises `Denied` where we may not ask for them."""
        cluster = self._answer(self._admin.describe_cluster(request_timeout=self._answer_s), "the cluster")
        return self._configuration(_kafka.ResourceType.BROKER, str(cluster.nodes[0].id))

    def ends(self, topic: TopicFacts) -> dict[int, tuple[int, int]]:
        """The first offset that is kept and the end, of each partition."""
        first, end = (self._offsets(topic, spec) for spec in (_FIRST, _END))
        return {number: (first[number], end[number]) for number in end}

    def newest(self, topic: TopicFacts) -> int | None:
        """The greatest timestamp (ms since 1970) of a record in the topic; None where there is none."""
        wanted = self._partitions(topic, _NEWEST)
        futures = self._admin.list_offsets(wanted, request_timeout=self._answer_s)
        times = [int(self._answer(future, topic.name).timestamp) for future in futures.values()]
        return max((time for time in times if time >= 0), default=None)

    def newest_keys(self, topic: TopicFacts, *, records: int = 100) -> list[tuple[bytes, int]]:
        """The keys of the newest records of each partition, at most so many, each with its partition."""
        starts = [
            TopicPartition(topic.name, number, max(first, end - records))
            for number, (first, end) in self.ends(topic).items()
            if end > first
        ]
        found: list[tuple[bytes, int]] = []
        if not starts:
            return found
        chosen = {**consumer_settings(self.given, self.bootstrap), "group.id": "headwater-doctor"}
        try:
            reader = Consumer({**chosen, "error_cb": self._faults, "log_level": 2})
        except KafkaException as problem:
            raise unmade(problem, self.given) from problem
        try:
            reader.assign(starts)
            waiting = {start.partition for start in starts}
            deadline = time.monotonic() + self._answer_s
            while waiting and time.monotonic() < deadline:
                for message in reader.consume(500, 0.2):
                    key = message.key()
                    if message.error() is not None:
                        waiting.discard(message.partition() or 0)  # the end of the partition
                    elif isinstance(key, bytes):
                        found.append((key, message.partition() or 0))
        finally:
            reader.close()
        return found

    def create(self, topic: str, *, partitions: int, replicas: int, settings: Mapping[str, str]) -> None:
        """Make a topic, and return when the cluster describes it."""
        new = NewTopic(topic, num_partitions=partitions, replication_factor=replicas, config=dict(settings))
        futures = self._admin.create_topics([new], request_timeout=self._answer_s)
        self._answer(futures[topic], f"making topic {topic}")
        deadline = time.monotonic() + self._answer_s
        while self.topics([topic])[topic] is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    # -- one answer ----------------------------------------------------------------------

    def _configuration(self, kind: Any, name: str) -> dict[str, str]:
        futures = self._admin.describe_configs(
            [_kafka.ConfigResource(kind, name)], request_timeout=self._answer_s
        )
        (future,) = futures.values()
        entries = self._answer(future, f"the settings of {name}")
        return {key: entry.value for key, entry in entries.items() if entry.value is not None}

    def _offsets(self, topic: TopicFacts, spec: Any) -> dict[int, int]:
        futures = self._admin.list_offsets(self._partitions(topic, spec), request_timeout=self._answer_s)
        return {part.partition: self._answer(future, topic.name).offset for part, future in futures.items()}

    def _partitions(self, topic: TopicFacts, spec: Any) -> dict[TopicPartition, Any]:
        leaderless = set(topic.leaderless)
        return {
            TopicPartition(topic.name, number): spec
            for number in range(topic.partitions)
            if number not in leaderless
        }

    def _answer(self, future: Any, what: str) -> Any:
        deadline = time.monotonic() + self._answer_s + 1.0
        while not wait([future], _POLL_S).done:
            self._admin.poll(0)
            self._faults.raise_refused()
            if time.monotonic() > deadline:
                raise self._faults.away(what)
        try:
            return future.result()
        except KafkaException as problem:
            raise self._told(problem.args[0], what) from problem

    def _told(self, error: KafkaError, what: str) -> HeadwaterError:
        code = error.code()
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return _Missing(f"kafka://{self.bootstrap}: {what}: {error.str()}")
        if code in _DENIED:
            return Denied(
                f"kafka://{self.bootstrap}: {what}: {error.str()}",
                remedy="give the user the right to do so (kafka-acls)",
            )
        if code in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT) or error.retriable():
            return self._faults.away(what)
        return refusal(self.bootstrap, f"{what}: {error.str()}", self.given)


class _Missing(Misconfigured):
    """There is no such topic."""


def _facts(described: Any) -> TopicFacts:
    allowed = described.authorized_operations
    return TopicFacts(
        name=described.name,
        topic_id=str(UUID(bytes=urlsafe_b64decode(f"{described.topic_id}=="))),
        partitions=len(described.partitions),
        replicas=min((len(each.replicas) for each in described.partitions), default=0),
        leaderless=tuple(each.id for each in described.partitions if each.leader is None),
        out_of_sync=tuple(
            each.id for each in described.partitions if each.leader and len(each.isr) < len(each.replicas)
        ),
        allowed=None if allowed is None else frozenset(_kafka.AclOperation(each).name for each in allowed),
    )
