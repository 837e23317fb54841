"""Stores to test with: every fixture gives the URL of an empty database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import kafka, kafka_security, needed, openlineage, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One server for this process's tests; skips without one, and fails instead where CI is set."""
    server = needed.server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[kafka.Broker]:
    """One Kafka for this process's tests; skips without one, and fails instead where CI is set."""
    broker = kafka.broker()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_security.SecureBroker]:
    """One Kafka that lets in only whom it knows, for this process's tests."""
    broker = kafka_security.SecureBroker(tmp_path_factory.mktemp("certificates"))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def openlineage_data() -> None:
    """The specification and the recorded events; skips where they are nowhere."""
    openlineage.require_data()


@pytest.fixture(autouse=True, scope="session")
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between commands is kept for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'lineage.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The same test on either database."""
    wanted = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(wanted)
    return url


@pytest.fixture
def store_urls(sqlite_url: str, postgres_url: str) -> dict[str, str]:
    """Both databases at once, for tests that compare them."""
    return {"sqlite": sqlite_url, "postgresql": postgres_url}
