"""An empty store on either database, for rows written by hand (`tests.support.graphs`); a mock of Kafka."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine

from headwater.consumers import tables
from tests.support.mock_kafka import MockCluster, mock_cluster
from tests.support.stores import empty_url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def empty_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    engine = create_engine(empty_url(request, tmp_path_factory))
    tables.metadata.create_all(engine)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def connection(empty_store: Connection) -> Iterator[Connection]:
    """To the empty store; what a test inserts is rolled back."""
    yield empty_store
    empty_store.rollback()


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    """With the topic `t` of three partitions."""
    with mock_cluster() as running:
        running.topic("t", 3)
        yield running
