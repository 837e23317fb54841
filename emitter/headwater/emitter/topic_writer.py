"""One idempotent producer of one process, writing records to one topic until one of them fails.

Records of a partition are acknowledged in the order in which they were sent, or not at all: with the
first that fails for good the producer stops (`enable.gapless.guarantee`), and whoever sends
begins a new one where the last acknowledgement stands. What a broker may mend by itself (no leader,
too few replicas, no connection) is waited for, for ever, and fails nothing.

A forked child inherits the object and must neither flush nor destroy it, for the threads behind it are
not in the child, and both would wait for them. So each producer is kept alive by one reference that only
the process that made it gives back.

Kafka's client is imported here and nowhere else in the emitter.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headwater.emitter.kafka_settings import producer_settings
from headwater.emitter.topic import Topic
from headwater.schemas.errors import HeadwaterError, Misconfigured, Retryable
from headwater.schemas.records import labels_of

log = logging.getLogger("headwater.emitter")

# librdkafka tells each failed connection, again and again; an outage is told by the drain, twice.
_client_log = logging.getLogger("headwater.emitter.librdkafka")
if _client_log.level == logging.NOTSET:
    _client_log.setLevel(logging.CRITICAL + 1)

MAX_RECORD_BYTES = 10 << 20
CLOSE_S = 5.0
HEAR_OUT_S = 1.0

_DEFAULTS: Mapping[str, Any] = {
    "client.id": "headwater",
    "compression.type": "lz4",
    "linger.ms": 5,
    "batch.size": 1 << 20,
    "message.max.bytes": MAX_RECORD_BYTES,
    "queue.buffering.max.kbytes": 64 << 10,
    "socket.keepalive.enable": True,
    "retry.backoff.max.ms": 1_000,
    "reconnect.backoff.max.ms": 2_000,
}

_OF_ONE_RECORD = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD})
# What befalls records because the producer is at its end, and says nothing about them.
_OF_THE_PRODUCER = frozenset(
    {
        KafkaError._FATAL,
        KafkaError._GAPLESS_GUARANTEE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._PURGE_QUEUE,
        KafkaError._DESTROY,
        KafkaError._FENCED,
        KafkaError.DUPLICATE_SEQUENCE_NUMBER,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.PRODUCER_FENCED,
        KafkaError.UNKNOWN_PRODUCER_ID,
    }
)
_DOOR_CLOSED = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED})
_UNREACHABLE = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE})
_REMEDIES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "give this user the right to WRITE to the topic",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "give this user IDEMPOTENT_WRITE on the cluster",
    KafkaError._UNKNOWN_TOPIC: "make the topic (`headwater topics create`), or name another in `log`",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "make the topic (`headwater topics create`), or name another in `log`",
    KafkaError.MSG_SIZE_TOO_LARGE: f"set the topic's max.message.bytes to {MAX_RECORD_BYTES}",
    KafkaError.INVALID_RECORD: "see to the topic's cleanup.policy and to what the broker checks of a record",
    KafkaError.INVALID_TIMESTAMP: "see to this machine's clock and to the topic's message.timestamp.*",
    KafkaError._AUTHENTICATION: "see to sasl.* under `kafka:` in headwater.yaml",
    KafkaError.SASL_AUTHENTICATION_FAILED: "see to sasl.* under `kafka:` in headwater.yaml",
    KafkaError._SSL: "see to security.protocol and ssl.* under `kafka:` in headwater.yaml",
}


class Means(Enum):
    """What a failure says about what to do next."""

    PARK = "this record can never be taken: keep it aside, go on with the others"
    HALT = "no record can be taken until a person has changed something"
    RENEW = "this producer is at its end: another one goes on"
    WAIT = "the line is full"


class Failure(NamedTuple):
    """Why the producer stopped, or is not let in."""

    means: Means
    error: HeadwaterError


_FULL = Failure(Means.WAIT, Retryable("the line of records is full"))

Told = Callable[[KafkaError | None, Message], None]


class TopicWriter:
    """Sends records in order; for one thread of the process that made it.

    `settings` are librdkafka's own. Raises `Misconfigured` for one that it does not take, or that would
    break a promise. Nothing is connected before the first record. `failure` is the first thing
    that went wrong for good; after it nothing more is sent. `refused` says that the cluster does not let
    us in, and `away` that it cannot be reached: both are tried on and on.
    """

    def __init__(self, topic: Topic, settings: Mapping[str, Any], **defaults: Any) -> None:
        self.topic = topic
        self.failure: Failure | None = None
        #: The hashes of values that were in a request that was refused because of a record in it.
        self.suspects: set[int] = set()
        self.refused: Misconfigured | None = None
        self.away: str | None = None
        self._name = topic.name
        self._pid = os.getpid()
        try:
            self._producer = Producer(
                {
                    **_DEFAULTS,
                    **defaults,
                    **producer_settings(settings, topic.servers),
                    "error_cb": self._heard,
                    "logger": _client_log,
                }
            )
        except KafkaException as refused:
            raise Misconfigured(
                f"kafka: {refused.args[0].str()}", remedy="mend `kafka:` in headwater.yaml"
            ) from refused
        self._send, self._poll = self._producer.produce, self._producer.poll
        self._held = ctypes.py_object(self._producer)
        ctypes.pythonapi.Py_IncRef(self._held)

    def send(self, value: bytes, append_time: int, told: Told) -> Failure | None:
        """Put one record (`append_time` in µs) in line.

        `told` hears of it during some later `poll`, unless a `Failure` is returned: then the record was
        not taken.
        """
        key, headers = labels_of(value)
        try:
            self._send(
                self._name,
                value,
                key,
                on_delivery=told,
                timestamp=append_time // 1_000,
                headers=headers,
            )
        except BufferError:
            return _FULL
        except KafkaException as refused:
            failure = self.failure_of(refused.args[0])
            if failure.means is not Means.PARK:
                self.failure = self.failure or failure
            return failure
        return None

    def poll(self, wait_s: float) -> None:
        """Hear what the cluster said of records that were sent, for so long at most."""
        try:
            self._poll(wait_s)
        except KafkaException as fatal:
            self._stop(fatal.args[0])

    def hear_out(self) -> Failure | None:
        """Of a producer at its end: what each record is told, since one of them may be why. For a second."""
        until = time.monotonic() + HEAR_OUT_S
        while len(self._producer) and time.monotonic() < until:
            self.poll(0.05)
        return self.failure

    def reached(self) -> None:
        """The cluster took a record: it is neither away, nor does it refuse us."""
        self.away = self.refused = None

    def failed(self, error: KafkaError, message: Message) -> None:
        """A record failed for good. With it fail all that went in one request, which is not their fault."""
        failure = self.failure_of(error)
        if failure.means is Means.PARK:
            self.suspects.add(hash(message.value()))
        if self.failure is None or self.failure.means is Means.RENEW:
            self.failure = failure

    def failure_of(self, error: KafkaError) -> Failure:
        code = error.code()
        said = f"{self.topic}: {error.str()}"
        if code in _OF_ONE_RECORD:
            return Failure(Means.PARK, Misconfigured(said, remedy=_REMEDIES.get(code, "")))
        if code in _OF_THE_PRODUCER or error.fatal() or error.retriable():
            return Failure(Means.RENEW, Retryable(said, remedy="a new producer goes on"))
        remedy = _REMEDIES.get(code, "see to `kafka:` in headwater.yaml and to the cluster")
        return Failure(Means.HALT, Misconfigured(said, remedy=remedy))

    def close(self) -> None:
        """Give up what is in line, and end; waits a few seconds at most for librdkafka to agree."""
        if self._pid != os.getpid():
            return
        thread = threading.Thread(target=self._destroy, name="headwater-kafka-close", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # the interpreter is leaving, and takes the producer with it
        thread.join(CLOSE_S)

    def _destroy(self) -> None:
        try:
            self._producer.purge()
            self._producer.close(0.1)  # type: ignore[call-arg]
        except (KafkaException, RuntimeError) as error:
            # Nothing is lost by it, for all is in the spool; but what is in line may still be sent.
            log.warning("producer_not_closed: %s: %s", self.topic, error)
        # The reference that a forked child would otherwise drop.
        ctypes.pythonapi.Py_DecRef(self._held)

    def _stop(self, error: KafkaError) -> None:
        self.failure = self.failure or self.failure_of(error)

    def _heard(self, error: KafkaError) -> None:
        """librdkafka's `error_cb`: what no single record is told."""
        code = error.code()
        if error.fatal():
            self._stop(error)
        elif code in _DOOR_CLOSED:
            self.refused = Misconfigured(f"{self.topic}: {error.str()}", remedy=_REMEDIES[code])
        elif code in _UNREACHABLE:
            self.away = error.str()
