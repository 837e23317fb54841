"""librdkafka's own mock cluster, which answers requests with the errors that a test asks for.

It comes inside confluent-kafka's wheel and is reached through ctypes; it keeps records in memory and
does not describe topics, so a log that reads from it is told its topic's id.
"""

from __future__ import annotations

import ctypes
import glob
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import confluent_kafka

from headwater.consumers.kafka_log import KafkaLog

FETCH = 1
LIST_OFFSETS = 2
METADATA = 3


class MockKafka:
    """One broker. `bootstrap` is its address; it ends with `close`."""

    def __init__(self) -> None:
        folder = Path(confluent_kafka.__file__).parent
        (found,) = [
            *glob.glob(str(folder.parent / "confluent_kafka.libs" / "librdkafka*")),
            *glob.glob(str(folder / ".dylibs" / "librdkafka*")),
        ]
        self._lib = lib = ctypes.CDLL(found)
        lib.rd_kafka_conf_new.restype = ctypes.c_void_p
        lib.rd_kafka_new.restype = ctypes.c_void_p
        lib.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
        lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        why = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(lib.rd_kafka_conf_new())
        self._client = ctypes.c_void_p(lib.rd_kafka_new(0, conf, why, ctypes.c_size_t(512)))
        self._cluster = ctypes.c_void_p(lib.rd_kafka_mock_cluster_new(self._client, 1))
        self.bootstrap = str(lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def topic(self, name: str, partitions: int) -> None:
        self._lib.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)

    def fail(self, request: int, codes: Sequence[int]) -> None:
        """Answer the next requests of that kind with these errors."""
        errors = (ctypes.c_int * len(codes))(*codes)
        self._lib.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(request), ctypes.c_size_t(len(codes)), errors
        )

    def down(self) -> None:
        self._lib.rd_kafka_mock_broker_set_down(self._cluster, 1)

    def up(self) -> None:
        self._lib.rd_kafka_mock_broker_set_up(self._cluster, 1)

    def close(self) -> None:
        self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
        self._lib.rd_kafka_destroy(self._client)


class MockLog(KafkaLog):
    """The reader itself, but for the one question that the mock cannot answer."""

    def __init__(self, mock: MockKafka, topic: str, partitions: int, **more: Any) -> None:
        super().__init__(mock.bootstrap, [topic], **more)
        self._topic, self._count = topic, partitions

    def _described(self) -> dict[str, Any]:
        topic_id = SimpleNamespace(get_most_significant_bits=lambda: 1, get_least_significant_bits=lambda: 2)
        numbers = [SimpleNamespace(id=number) for number in range(self._count)]
        return {self._topic: SimpleNamespace(topic_id=topic_id, partitions=numbers)}
