"""An empty store on either database, for tests that write its rows by hand (`tests.support.graphs`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine

from headwater.consumers import tables


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def empty_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'lineage.db'}"
    else:
        url = request.getfixturevalue("postgres_server").create()
    engine = create_engine(url)
    tables.metadata.create_all(engine)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def connection(empty_store: Connection) -> Iterator[Connection]:
    """To the empty store; what a test inserts is rolled back."""
    yield empty_store
    empty_store.rollback()
