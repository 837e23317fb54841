"""A topic that consumers share, and the store that they fill; tests of something else have their own."""

from __future__ import annotations

import pytest

from headwater.consumers.store import open_store
from tests.support.kafka import Broker
from tests.support.serving import PARTITIONS


@pytest.fixture
def topic(kafka_broker: Broker) -> str:
    return kafka_broker.topic(partitions=PARTITIONS)


@pytest.fixture
def store(postgres_url: str) -> str:
    open_store(postgres_url, create=True).close()
    return postgres_url
