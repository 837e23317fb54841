"""Stores that the property tests of one module share; each example empties them first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headwater.consumers.store import Store, open_store
from tests.support import postgres


@pytest.fixture(scope="module")
def sqlite_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path_factory.mktemp('replay')}/lineage.db") as store:
        yield store


@pytest.fixture(scope="module")
def postgres_store(postgres_server: postgres.Server) -> Iterator[Store]:
    url = postgres_server.create()
    with open_store(url, create=True) as store:
        yield store
    postgres_server.drop(url)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Store:
    """The same test on either database."""
    wanted = "sqlite_store" if request.param == "sqlite" else "postgres_store"
    found: Store = request.getfixturevalue(wanted)
    return found
