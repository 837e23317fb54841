"""What was believed at a time, with the log in a real Apache Kafka: timestamps are the append times."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer

from headwater.consumers import Lineage, cli, open_log, open_store
from headwater.consumers.answers import Unknown
from headwater.consumers.runner import Runner
from headwater.schemas.openlineage import parse_time
from tests.support.kafka import Broker
from tests.support.logs import run_event


def told(run: int, at: str, reads: list[str], writes: str, version: str) -> bytes:
    facets = {"version": {"datasetVersion": version}}
    output = {"namespace": "lake", "name": writes, "facets": facets}
    return run_event(run, at=f"2026-{at}:00Z", inputs=reads, outputs=[output])


#: When each was appended; the machine that ran the repair on 1 March was cut off until the 5th.
STORY = [
    ("02-28T22:00", told(1, "02-28T21:59", [], "customers", "february")),
    ("03-01T10:20", told(2, "03-01T10:19", ["customers"], "churn-model", "first")),
    ("03-04T10:20", told(3, "03-04T10:19", ["customers"], "churn-model", "second")),
    ("03-05T08:00", told(4, "03-01T09:30", [], "customers", "repaired")),
]
THIRD = datetime(2026, 3, 3, 23, 59, 59, tzinfo=UTC)
FIRST = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)


@pytest.fixture
def topic(kafka_broker: Broker) -> str:
    """The story over three partitions, each record with the time at which it was appended."""
    name = kafka_broker.topic(partitions=3, retention_ms=-1)
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap, "acks": "all"})
    for place, (appended, value) in enumerate(STORY):
        time = parse_time(f"2026-{appended}:00Z") // 1_000
        producer.produce(name, value, partition=place % 3, timestamp=time)
    assert producer.flush(30.0) == 0
    return name


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.chdir(tmp_path)


def trained_on(lineage: Lineage, model: str) -> list[str | None]:
    return [node.version for node in lineage.upstream(model).nodes if node.depth == 1]


def test_what_was_believed_on_3_march_of_the_model_that_ran_on_1_march(
    kafka_broker: Broker, topic: str, store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = kafka_broker.url(topic)
    with open_log(url) as log, open_store(store_url, create=True) as store:
        Runner(store, log).run()
        with Lineage(store) as lineage:
            assert trained_on(lineage, "churn-model@first") == ["repaired"]
            with lineage.known_at(THIRD, log=url) as then:
                # First of the few events that it takes, then (a search needs all) of the whole log.
                assert trained_on(then, "churn-model@first") == ["february"]
                assert [one.version for one in then.search("churn-model", versions=True).results] == [None]
                assert [asset.last_version for asset in then.assets("churn-model")] == ["first"]
                assert trained_on(then, "churn-model@first") == ["february"]
                shown = then.show("churn-model", as_of=FIRST)
                assert shown.run is not None
                assert shown.run.id.endswith("2")
                with pytest.raises(Unknown, match="not known yet"):
                    then.show("churn-model@second")
            with lineage.known_at(datetime(2026, 3, 5, 8, tzinfo=UTC), log=url) as later:
                assert trained_on(later, "churn-model@first") == ["repaired"]
    places = ["--store", store_url, "--log", url, "--json"]
    for known, expected in (("2026-03-03", "february"), ("2026-03-05", "repaired")):
        asked = ["lineage", "churn-model", "--as-of", "2026-03-01", "--known-at", known, *places]
        assert cli.main(asked) == 0
        nodes = json.loads(capsys.readouterr().out)["up"]["nodes"]
        assert [node["version"] for node in nodes] == ["first", expected]
