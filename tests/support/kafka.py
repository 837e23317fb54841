"""A real Apache Kafka for the tests: the one that HEADWATER_TEST_KAFKA names, or one of our own.

Our own is started once a run from Maven's jars (deploy/kafka), with its data in a temporary folder.
A test that breaks brokers starts a cluster for itself.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from deploy.kafka.cluster import Cluster, Unavailable
from tests.support.needed import lacking

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

ANSWER_S = 30.0


class Broker:
    """A cluster to test with, and topics in it."""

    def __init__(self, bootstrap: str, cluster: Cluster | None = None) -> None:
        from confluent_kafka.admin import AdminClient

        self.bootstrap = bootstrap
        self.cluster = cluster
        self.admin: AdminClient = AdminClient({"bootstrap.servers": bootstrap})

    @classmethod
    def started(cls, brokers: int = 1, settings: Mapping[str, str] | None = None, **more: Any) -> Broker:
        """A cluster of the test's own (`more`: as `Cluster`); skips where Kafka cannot run, fails in CI."""
        folder = Path(tempfile.mkdtemp(prefix="hw-kafka-"))
        cluster = Cluster(folder, brokers=brokers, settings=settings, **more)
        try:
            return cls(cluster.start(), cluster)
        except Unavailable as problem:
            cluster.stop()
            lacking(f"no Kafka: {problem}")

    def stop(self) -> None:
        if self.cluster is not None:
            self.cluster.stop()
            shutil.rmtree(self.cluster.folder, ignore_errors=True)

    def topic(self, partitions: int = 1, name: str | None = None, **settings: Any) -> str:
        """A new topic, by its name; `settings` with _ for each dot."""
        from confluent_kafka.cimpl import NewTopic

        made = name or f"test-{uuid4()}"
        config = {key.replace("_", "."): str(value) for key, value in settings.items()}
        new = NewTopic(made, num_partitions=partitions, config=config)
        self.admin.create_topics([new])[made].result(ANSWER_S)
        return made

    def delete(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result(ANSWER_S)

    def delete_below(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records before `offset`, as retention does."""
        from confluent_kafka import TopicPartition

        wanted = TopicPartition(topic, partition, offset)
        for future in self.admin.delete_records([wanted]).values():
            future.result(ANSWER_S)

    def send(self, topic: str, values: Iterable[bytes | None], *, partition: int = 0, **settings: Any) -> int:
        """Write `values` in this order and wait until they are there; how many."""
        from confluent_kafka import Producer

        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "acks": "all", "message.max.bytes": 11 << 20, **settings}
        )
        count = 0
        for value in values:
            producer.produce(topic, value, key=b"key", partition=partition)
            producer.poll(0)
            count += 1
        if producer.flush(ANSWER_S):
            raise TimeoutError(f"{self.bootstrap} did not take all records within {ANSWER_S:.0f} s")
        return count

    def send_aborted(self, topic: str, values: Iterable[bytes], *, partition: int = 0) -> None:
        """Write `values` in a transaction that is then aborted: the topic holds them, no reader sees them."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": str(uuid4())})
        producer.init_transactions(ANSWER_S)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, partition=partition)
        producer.flush(ANSWER_S)
        producer.abort_transaction(ANSWER_S)

    def url(self, *topics: str) -> str:
        """Of a log."""
        return f"kafka://{self.bootstrap}/{','.join(topics)}"


def broker() -> Broker:
    """The broker that tests share."""
    named = os.environ.get("HEADWATER_TEST_KAFKA")
    return Broker(named) if named else Broker.started()
