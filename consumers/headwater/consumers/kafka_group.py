"""A member of a consumer group: Kafka says which partitions are this process's, and nothing else.

The member fetches no records: what is assigned to it stays paused at its end, and `KafkaLog` reads, from
where the store says. So a rebalance can neither move a position nor hand out records that nobody asked for.
Kafka's committed offsets are written behind the store's commit, so that the usual lag tools show what is
true; they are never read. A revoked partition is let go between two batches, with nothing of it in hand.

    joins or leaves              the others give up what they must, and go on with the rest (cooperative)
    silent for session.timeout   its partitions go to others; what it has in hand is fenced by the store
    a batch above max.poll       the same; it joins again by itself

The notice that partitions were lost may itself be lost (librdkafka, PR 5604): nothing rests on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import socket
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition
from sqlalchemy.exc import DBAPIError

from headwater.consumers.kafka_log import KafkaLog
from headwater.consumers.log import Cursor, Partition
from headwater.consumers.store import connect
from headwater.emitter.kafka_faults import unmade
from headwater.emitter.kafka_settings import KafkaSettings, consumer_settings, without_secrets
from headwater.schemas.errors import Misconfigured, shown

log = logging.getLogger(__name__)

CLOSE_S = 10.0
#: How often, at the most, positions are told to Kafka.
TELL_S = 1.0
#: How long the group may take to answer without a word of warning.
JOINED_S = 30.0

# Nothing is fetched: everything is paused at its end. What a reader needs here is not the member's.
_FIXED: Mapping[str, Any] = {"auto.offset.reset": "latest", "enable.partition.eof": False}
_DEFAULTS: Mapping[str, Any] = {
    "client.id": "headwater",
    "queued.max.messages.kbytes": 1_024,
    # A partition that was added belongs to nobody until a member has seen it.
    "topic.metadata.refresh.interval.ms": 10_000,
    "socket.keepalive.enable": True,
    "log_level": 2,
}
_STRATEGY = "partition.assignment.strategy"
_CLASSIC: Mapping[str, Any] = {
    # Cooperative: members keep what stays theirs while partitions move.
    _STRATEGY: "cooperative-sticky",
    "session.timeout.ms": 45_000,
}
_REFUSALS = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.UNSUPPORTED_VERSION,
    }
)


def group_of(store_url: str, projection: str = "lineage") -> str:
    """The group of all consumers of one store: two stores in one group would each get half of the events.

    It is told from what the database says of itself, not from the URL: one store has one group whatever its
    hosts are called, and a copy of it has another. Raises `Retryable` where the store does not answer.
    """
    identity = "\0".join(map(str, _identity(store_url)))
    return f"headwater-{projection}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def _identity(store_url: str) -> tuple[object, ...]:
    """What no two stores have in common."""
    with connect(store_url) as store:
        if store.dialect == "sqlite":
            path = Path(store.engine.url.database or "").resolve()
            # The same path in two containers is two files.
            return "sqlite", socket.gethostname(), path, path.stat().st_ino if path.exists() else 0
        with store.connecting() as connection:
            # A schema is a store, too, and a table of one has a number of its own.
            database = connection.exec_driver_sql(
                "SELECT oid, to_regclass('position')::oid FROM pg_database WHERE datname = current_database()"
            ).one()
            try:
                system = connection.exec_driver_sql("SELECT system_identifier FROM pg_control_system()").one()
            except DBAPIError:  # some managed databases keep it to themselves
                url = store.engine.url
                named = (key for key in ("host", "hostaddr", "port", "service") if key in url.query)
                return "postgresql", url.host, url.port, *(url.query[key] for key in named), *database
            return "postgresql", *system, *database


class KafkaGroup:
    """This process as a member; keeps the promise of `headwater.consumers.sharing.Sharing`.

    `settings` are librdkafka's; `group.id` among them replaces `group`, `group.protocol: consumer` asks for
    the protocol of KIP-848 (brokers from 4.0 on).
    """

    def __init__(self, source: KafkaLog, group: str, settings: Mapping[str, Any] | None = None) -> None:
        given = settings if isinstance(settings, KafkaSettings) else KafkaSettings(settings)
        own = consumer_settings(given, source.bootstrap)
        classic = own.get("group.protocol", "classic") == "classic"
        if classic and own.get(_STRATEGY, _CLASSIC[_STRATEGY]) != _CLASSIC[_STRATEGY]:
            raise Misconfigured(
                f"{given.place(_STRATEGY)}: {shown(own[_STRATEGY])} is not {_CLASSIC[_STRATEGY]}, which this "
                "consumer needs",
                remedy=f"remove {_STRATEGY}, for all members of the group",
            )
        told: Mapping[str, Any] = {"on_commit": self._on_told}
        chosen = {**_DEFAULTS, **(_CLASSIC if classic else {}), "group.id": group, **own, **_FIXED, **told}
        self.group = str(chosen["group.id"])
        self.rebalances = 0
        self._source = source
        self._given = given
        try:
            self._consumer = Consumer(chosen)
        except KafkaException as refused:
            raise unmade(refused, given) from refused
        self._following: list[str] = []
        self._mine: dict[tuple[str, int], int] = {}
        self._to_tell: dict[tuple[str, int], int] = {}
        self._told_at = 0.0
        self._is_member = False
        self._apart_since = time.monotonic()
        self._heard = ""

    @property
    def joined(self) -> bool:
        """Whether the group has answered us, be it with no partition at all."""
        return self._is_member

    @property
    def awaited(self) -> str:
        if self._is_member or not self._following:
            return ""
        return f"not yet in group {self.group}{self._heard}"

    def assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Ours of `partitions`; joins, and follows topics that are new or gone."""
        names = sorted({self._source.name_of(part) for part in partitions})
        if names != self._following:
            self._follow(names)
        self.attend()
        numbers = {
            part: self._mine.get((self._source.name_of(part), int(part.number))) for part in partitions
        }
        return {part: number for part, number in numbers.items() if number is not None}

    def _follow(self, names: list[str]) -> None:
        if names:
            if not self._following:
                self._apart_since = time.monotonic()
            self._consumer.subscribe(
                names, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        else:
            self._consumer.unsubscribe()
        self._following = names

    def attend(self) -> None:
        """Serve what the group says. Raises `Misconfigured` where it does not take us."""
        while (message := self._consumer.poll(0)) is not None:
            problem = message.error()
            if problem is None:
                continue
            if problem.code() in _REFUSALS or problem.fatal():
                raise Misconfigured(
                    f"group {self.group} at {self._source.bootstrap}: "
                    f"{without_secrets(problem.str(), self._given)}",
                    remedy="see to the group's rights and to `kafka:` in headwater.yaml",
                )
            said = without_secrets(problem.str(), self._given)
            self._heard = f": {said}"
            log.info("group_notice", extra={"group": self.group, "error": said})
        if self.awaited and time.monotonic() - self._apart_since > JOINED_S:
            log.warning("group_not_joined", extra={"group": self.group, "error": self.awaited})
            self._apart_since = time.monotonic()
        self._tell_when_due()

    def moved(self, cursors: Mapping[Partition, Cursor]) -> None:
        for part, cursor in cursors.items():
            self._to_tell[self._source.name_of(part), int(part.number)] = cursor.offset
        self._tell_when_due()

    def _tell_when_due(self) -> None:
        if self._to_tell and time.monotonic() - self._told_at >= TELL_S:
            self._tell()

    def _tell(self) -> None:
        """For dashboards alone: what is refused, in the middle of a rebalance say, is told again later."""
        self._told_at = time.monotonic()
        offsets = [TopicPartition(*place, at) for place, at in self._to_tell.items() if place in self._mine]
        if offsets:
            with contextlib.suppress(KafkaException):
                self._consumer.commit(offsets=offsets, asynchronous=True)

    def _on_told(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        for part in partitions:
            place = part.topic, part.partition
            if error is None and part.error is None and self._to_tell.get(place) == part.offset:
                del self._to_tell[place]

    def close(self) -> None:
        """Leave the group; not for longer than `CLOSE_S`, a broker that is away takes nobody's farewell."""
        closing = threading.Thread(target=self._close, name="headwater-leave", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        if closing.is_alive():
            log.warning("group_not_left", extra={"group": self.group, "waited_s": CLOSE_S})

    def _close(self) -> None:
        self._tell()
        self._consumer.close()

    # -- what the group says, inside of `poll` --------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.rebalances += 1
        self._is_member, self._heard = True, ""
        ended = [TopicPartition(part.topic, part.partition, OFFSET_END) for part in partitions]
        consumer.incremental_assign(ended)
        consumer.pause(ended)
        for part in partitions:
            self._mine[part.topic, part.partition] = self.rebalances
        self._say("partitions_assigned", partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._let_go(partitions)
        self._say("partitions_revoked", partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._is_member, self._apart_since = False, time.monotonic()
        self._let_go(partitions)
        self._say("partitions_lost", partitions)

    def _let_go(self, partitions: list[TopicPartition]) -> None:
        for part in partitions:
            self._mine.pop((part.topic, part.partition), None)
            self._to_tell.pop((part.topic, part.partition), None)  # its new owner tells

    def _say(self, event: str, partitions: list[TopicPartition]) -> None:
        names = sorted(f"{part.topic}[{part.partition}]" for part in partitions)
        log.info(event, extra={"group": self.group, "partitions": names, "held": len(self._mine)})
