"""A pipeline whose log is a topic: the same lineage as from segments, by one line of configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from headwater.consumers import cli
from headwater.consumers.kafka_log import KafkaLog
from headwater.consumers.log import SegmentLog, open_log
from headwater.consumers.replaying import verify
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from headwater.emitter.draining import drain, left_in
from headwater.emitter.emitter import from_settings
from headwater.emitter.settings import load
from headwater.schemas.segment import list_segments
from tests.support.kafka import Broker
from tests.support.spool import created, read_all, run_named, started
from tests.support.topics import ids_in, settings_for, values_of

ROOT = Path(__file__).parents[2]
PARTITIONS = 3

PIPELINE = """
from headwater.emitter import Dataset, Model, pipeline, step

@step
def load() -> Dataset:
    return Dataset.create([{"a": n, "b": n * n} for n in range(50)], name="rows", tags={"team": "crm"})

@step
def fit(rows: Dataset, depth: int = 3) -> Model:
    return Model.create({"weights": [row["a"] for row in rows.data]}, name="model")

for depth in (3, 4):
    with pipeline("churn", project="crm"):
        fit(load(), depth=depth)
"""


@pytest.fixture
def topic(kafka_broker: Broker) -> str:
    return kafka_broker.topic(PARTITIONS)


def run_pipeline(folder: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADWATER_")}
    done = subprocess.run(
        [sys.executable, "-c", PIPELINE], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_one_line_of_configuration_moves_a_pipeline_from_a_folder_to_kafka(
    kafka_broker: Broker, topic: str, tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "headwater.yaml").write_text(f"store: {store_url}\nlog: {kafka_broker.url(topic)}\n")
    run_pipeline(tmp_path)
    assert left_in(tmp_path / ".headwater/spool" / topic) == 0
    monkeypatch.chdir(tmp_path)
    assert cli.main(["store", "upgrade"]) == 0
    assert cli.main(["consume"]) == 0
    assert cli.main(["verify"]) == 0
    assert cli.main(["lineage", "model", "--up"]) == 0
    assert cli.main(["gaps"]) == 0


def test_the_store_is_the_one_that_the_same_events_in_segments_give(
    kafka_broker: Broker, topic: str, tmp_path: Path, store_url: str
) -> None:
    """The spool is copied before it is delivered: the same bytes by both ways."""
    settings = settings_for(kafka_broker.url(topic), tmp_path / "spool", drain_on_exit_s=0)
    plain = load({"HEADWATER_LOG": str(settings.log)}, tmp_path)
    emitter = from_settings(plain)
    for number in range(5):
        emitter.emit(started(run_named("run", number)))
        for asset in range(20):
            emitter.emit(created(run_named("run", number), asset))
    emitter.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in list_segments(settings.log):
        (copy / path.name).write_bytes(path.read_bytes())
    assert drain(settings).left == 0
    with KafkaLog(kafka_broker.bootstrap, [topic]) as log, open_store(store_url, create=True) as store:
        Runner(store, log).run()
        on_kafka = verify(store, log)
    twin_url = f"sqlite:///{tmp_path / 'twin.db'}"
    with SegmentLog(copy) as log, open_store(twin_url, create=True) as twin:
        Runner(twin, log).run()
        assert verify(twin, log).store.root == on_kafka.store.root
    assert on_kafka.equal


def test_a_statement_is_in_the_topic_when_the_command_returns_and_says_who_brings_it_in(
    kafka_broker: Broker,
    topic: str,
    tmp_path: Path,
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "headwater.yaml").write_text(f"store: {sqlite_url}\nlog: {kafka_broker.url(topic)}\n")
    run_pipeline(tmp_path)
    monkeypatch.chdir(tmp_path)
    open_store(sqlite_url, create=True).close()
    assert cli.main(["consume"]) == 0
    capsys.readouterr()
    assert cli.main(["tag", "model", "stage=candidate", "--actor", "ada", "--json"]) == 0
    said = orjson.loads(capsys.readouterr().out)
    assert said["event_id"] in ids_in(values_of(kafka_broker.bootstrap, topic, PARTITIONS))
    assert said["in_store"] is False
    assert cli.main(["consume"]) == 0
    assert cli.main(["show", "model", "--json"]) == 0
    assert b"candidate" in capsys.readouterr().out.encode()


def test_what_a_killed_process_left_is_adopted_and_delivered_by_the_next(
    kafka_broker: Broker, topic: str, tmp_path: Path
) -> None:
    url = kafka_broker.url(topic)
    program = f"""
import os
from pathlib import Path
from headwater.emitter.emitter import from_settings
from headwater.emitter.settings import Settings
from tests.support.spool import *
emitter = from_settings(Settings(log=Path({str(tmp_path / "spool" / topic)!r})))
emitter.emit(started(run_named("dead")))
for number in range(30):
    emitter.emit(created(run_named("dead"), number))
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    (segment,) = list_segments(tmp_path / "spool" / topic)
    left = {frame.value for frame in read_all(segment)}
    emitter = from_settings(settings_for(url, tmp_path / "spool"))
    emitter.emit(started(run_named("alive")))
    emitter.close()
    drain(settings_for(url, tmp_path / "spool"))
    values = {value for part in values_of(kafka_broker.bootstrap, topic, PARTITIONS) for value in part}
    assert left <= values
    kinds = [orjson.loads(value).get("eventType") for value in values - left]
    assert sorted(kinds) == ["ABORT", "OTHER", "START"]
    assert list_segments(tmp_path / "spool" / topic) == []


def test_a_topic_that_is_not_there_is_told_and_events_stay(
    kafka_broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(
        f"kafka://{kafka_broker.bootstrap}/nowhere",
        tmp_path,
        drain_on_exit_s=0,
        topic_metadata_propagation_max_ms=500,
    )
    emitter = from_settings(settings)
    emitter.emit(started(run_named("a")))
    emitter.close()
    done = drain(settings, patience_s=20)
    assert done.left == 2
    assert "make the topic" in str(done.problem)


def test_a_large_event_goes_through_a_topic_that_takes_ten_mebibytes(
    kafka_broker: Broker, topic: str, tmp_path: Path
) -> None:
    emitter = from_settings(settings_for(kafka_broker.url(topic), tmp_path))
    receipt = emitter.emit(created(run_named("a"), filler=os.urandom(4_000_000).hex()))
    assert receipt is not None
    emitter.close()
    assert receipt.event_id in ids_in(values_of(kafka_broker.bootstrap, topic, PARTITIONS))


def test_a_topic_with_too_small_a_limit_keeps_the_large_event_aside(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.topic(PARTITIONS, max_message_bytes=100_000)
    settings = settings_for(kafka_broker.url(topic), tmp_path)
    emitter = from_settings(settings)
    emitted = []
    for number in range(200):
        filler = os.urandom(200_000).hex() if number == 77 else ""
        receipt = emitter.emit(created(run_named("a"), number, filler=filler))
        assert receipt is not None
        emitted.append(receipt.event_id)
    emitter.close()
    found = ids_in(values_of(kafka_broker.bootstrap, topic, PARTITIONS))
    assert set(emitted) - found == {emitted[77]}
    with open_log(kafka_broker.url(topic)) as log:
        assert log.partitions()
    done = drain(settings)
    assert (done.left, done.aside) == (0, 1)
