"""librdkafka's mock cluster, for answers that a real broker gives only when something is wrong with it.

It speaks Kafka's protocol on ports of the loopback interface and keeps what it is sent in memory,
the last 5 MiB of a partition. The library is the one inside confluent_kafka's wheel. It does not describe
topics, so a log that reads from it is told its topic's id (`MockLog`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import confluent_kafka

from headwater.consumers.kafka_log import KafkaLog

PRODUCE = 0
FETCH = 1
LIST_OFFSETS = 2
METADATA = 3
INIT_PRODUCER_ID = 22


def _library() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).parent
    places = (folder.parent / "confluent_kafka.libs", folder / ".dylibs")
    (found,) = (library for place in places for library in place.glob("librdkafka*"))
    library = ctypes.CDLL(str(found))
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, ()),
        ("rd_kafka_conf_set", number, (pointer, text, text, text, ctypes.c_size_t)),
        ("rd_kafka_new", pointer, (number, pointer, text, ctypes.c_size_t)),
        ("rd_kafka_destroy", None, (pointer,)),
        ("rd_kafka_mock_cluster_new", pointer, (pointer, number)),
        ("rd_kafka_mock_cluster_destroy", None, (pointer,)),
        ("rd_kafka_mock_cluster_bootstraps", text, (pointer,)),
        ("rd_kafka_mock_topic_create", number, (pointer, text, number, number)),
        ("rd_kafka_mock_topic_set_error", None, (pointer, text, number)),
        ("rd_kafka_mock_broker_set_down", number, (pointer, ctypes.c_int32)),
        ("rd_kafka_mock_broker_set_up", number, (pointer, ctypes.c_int32)),
        ("rd_kafka_mock_broker_set_rtt", number, (pointer, ctypes.c_int32, number)),
        (
            "rd_kafka_mock_push_request_errors_array",
            None,
            (pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(number)),
        ),
        ("rd_kafka_mock_clear_request_errors", None, (pointer, ctypes.c_int16)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, list(arguments)
    return library


class MockCluster:
    """Brokers, numbered from 1, and what they are told to answer."""

    def __init__(self, brokers: int = 1) -> None:
        self._library = _library()
        said = ctypes.create_string_buffer(512)
        settings = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(settings, b"log_level", b"0", said, 512)
        self._client = self._library.rd_kafka_new(0, settings, said, 512)
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        self.brokers = range(1, brokers + 1)
        self.bootstrap = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def topic(self, name: str, partitions: int = 1) -> str:
        self._library.rd_kafka_mock_topic_create(
            self._cluster, name.encode(), partitions, min(3, len(self.brokers))
        )
        return name

    def answer(self, errors: Sequence[int], request: int = PRODUCE) -> None:
        """Answer the coming requests of this kind with these errors, in order; 0 lets one through."""
        array = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(errors), array)

    def forget_answers(self, request: int = PRODUCE) -> None:
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, request)

    def set_topic_error(self, topic: str, error: int) -> None:
        """What the metadata says of the topic; 0 ends it."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), error)

    def set_down(self) -> None:
        for broker in self.brokers:
            self._library.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def set_up(self) -> None:
        for broker in self.brokers:
            self._library.rd_kafka_mock_broker_set_up(self._cluster, broker)

    def set_delay(self, ms: int) -> None:
        for broker in self.brokers:
            self._library.rd_kafka_mock_broker_set_rtt(self._cluster, broker, ms)

    def url(self, topic: str) -> str:
        return f"kafka://{self.bootstrap}/{topic}"

    def stop(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


@contextmanager
def mock_cluster(brokers: int = 1) -> Iterator[MockCluster]:
    cluster = MockCluster(brokers)
    try:
        yield cluster
    finally:
        cluster.stop()


class MockLog(KafkaLog):
    """The reader itself, but for the one question that the mock cannot answer."""

    def __init__(self, mock: MockCluster, topics: Sequence[str], partitions: int, **more: Any) -> None:
        super().__init__(mock.bootstrap, topics, **more)
        self._count = partitions

    def _described(self) -> dict[str, Any]:
        topic_id = SimpleNamespace(get_most_significant_bits=lambda: 1, get_least_significant_bits=lambda: 2)
        numbers = [SimpleNamespace(id=number) for number in range(self._count)]
        told = SimpleNamespace(topic_id=topic_id, partitions=numbers)
        return {name: told for name in self.topics.names if name not in self.halted}
