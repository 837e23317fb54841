"""Our topics are made as a log needs them; wrong ones are found, and others' are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from headwater.consumers.checks import State
from headwater.consumers.cli import main
from headwater.consumers.kafka_cluster import Cluster
from headwater.consumers.topics import MAX_RECORD_BYTES, check, create, known_to, wanted_settings
from headwater.schemas.errors import Misconfigured, Retryable
from tests.support.kafka import Broker
from tests.support.kafka_security import PASSWORD, SCRAM, SecureBroker


@pytest.fixture
def cluster(kafka_broker: Broker) -> Cluster:
    return Cluster(kafka_broker.bootstrap)


@pytest.fixture
def name() -> str:
    return f"events-{uuid4()}"


def states(cluster: Cluster, topic: str, **how: object) -> dict[str, State]:
    return {found.name: found.state for found in check(cluster, topic, **how)}  # type: ignore[arg-type]


def test_a_topic_is_made_once_with_what_a_log_needs(cluster: Cluster, name: str) -> None:
    made = create(cluster, name, partitions=4)
    assert (made.existed, made.partitions) == (False, 4)
    assert cluster.settings(name).items() >= wanted_settings("default", made.replicas).items()
    assert all(found.state is State.OK for found in made.checks)
    again = create(cluster, name, partitions=9)
    assert (again.existed, again.partitions) == (True, 4)
    assert all(found.state is State.OK for found in again.checks)


def test_a_broker_of_before_3_6_gets_the_name_that_it_knows() -> None:
    wanted, former = wanted_settings("default", 1), "message.timestamp.difference.max.ms"
    assert known_to(wanted, {f"log.{former}": "1"}, "log.").keys() - wanted.keys() == {former}
    both = {former: "1", "message.timestamp.before.max.ms": "1"}
    assert known_to(wanted, both) == known_to(wanted, {}) == wanted


def test_an_event_of_the_greatest_size_fits(kafka_broker: Broker, cluster: Cluster, name: str) -> None:
    create(cluster, name)
    kafka_broker.send(name, [b"x" * (MAX_RECORD_BYTES - 2_000)])


def test_a_dry_run_makes_nothing(cluster: Cluster, name: str) -> None:
    made = create(cluster, name, dry_run=True)
    assert made.settings == wanted_settings("default", made.replicas)
    assert cluster.topics([name])[name] is None


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("retention.ms", "604800000"),
        ("retention.bytes", "1073741824"),
        ("cleanup.policy", "compact"),
        ("max.message.bytes", "1048588"),
        ("message.timestamp.type", "LogAppendTime"),
        ("unclean.leader.election.enable", "true"),
    ],
)
def test_each_wrong_setting_is_found_with_the_value_and_the_command(
    kafka_broker: Broker, cluster: Cluster, setting: str, value: str
) -> None:
    right = wanted_settings("default", 1)
    topic = kafka_broker.topic(
        1, None, **{key.replace(".", "_"): text for key, text in (right | {setting: value}).items()}
    )
    wrong = [found for found in check(cluster, topic) if found.state is not State.OK]
    (found,) = wrong
    assert (found.name, found.found, found.state) == (setting, value, State.FAIL)
    assert found.wanted.startswith(right[setting])
    assert f"--topic {topic} --add-config {setting}={right[setting]}" in found.remedy


def test_a_larger_limit_is_no_fault(kafka_broker: Broker, cluster: Cluster) -> None:
    right = {key.replace(".", "_"): value for key, value in wanted_settings("default", 1).items()}
    topic = kafka_broker.topic(1, None, **right | {"max_message_bytes": str(MAX_RECORD_BYTES * 2)})
    assert states(cluster, topic)["max.message.bytes"] is State.OK


def test_a_guarded_profile_wants_three_copies(kafka_broker: Broker, cluster: Cluster, name: str) -> None:
    create(cluster, name)
    found = states(cluster, name, profile="prod")
    assert found["replication factor"] is State.FAIL
    assert found["min.insync.replicas"] is State.FAIL
    with pytest.raises(Misconfigured, match="need as many brokers"):
        create(cluster, f"{name}-2", profile="prod")
    with pytest.raises(Misconfigured, match="profile prod keeps 3"):
        create(cluster, f"{name}-2", profile="prod", replicas=1)


def test_a_missing_topic_names_the_command_that_makes_it(cluster: Cluster, name: str) -> None:
    (found,) = check(cluster, name)
    assert found.state is State.FAIL
    assert found.remedy == f"headwater topics create --log kafka://{cluster.bootstrap}/{name}"


def test_a_topic_of_others_is_told_what_reading_it_costs(kafka_broker: Broker, cluster: Cluster) -> None:
    topic = kafka_broker.topic(retention_ms=604_800_000)
    kafka_broker.send(topic, [b"one", b"two", b"three"])
    found = states(cluster, topic, foreign=True)
    assert found["retention.ms"] is State.WARN
    assert found["first records"] is State.OK
    assert State.FAIL not in found.values()
    kafka_broker.delete_below(topic, 0, 2)
    assert states(cluster, topic, foreign=True)["first records"] is State.WARN


def test_a_cluster_that_is_away_is_to_be_tried_again() -> None:
    with pytest.raises(Retryable, match="not answered"):
        Cluster("127.0.0.1:1", answer_s=1.0).brokers()


class TestCommand:
    def test_create_and_check_end_with_0_and_a_wrong_topic_with_1(
        self, kafka_broker: Broker, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        url = kafka_broker.url(name)
        assert main(["topics", "check", "--log", url]) == 1
        assert "headwater topics create" in capsys.readouterr().out
        assert main(["topics", "create", "--log", url, "--dry-run"]) == 0
        assert "would be made" in capsys.readouterr().out
        assert main(["topics", "create", "--log", url, "--partitions", "2"]) == 0
        assert "retention.ms=-1" in capsys.readouterr().out
        assert main(["topics", "create", "--log", url]) == 0
        assert "it is there" in capsys.readouterr().out
        assert main(["topics", "check", "--log", url]) == 0
        wrong = kafka_broker.topic(cleanup_policy="compact")
        capsys.readouterr()
        assert main(["topics", "check", "--log", kafka_broker.url(wrong), "--json"]) == 1
        answer = json.loads(capsys.readouterr().out)
        assert answer["state"] == "fail"
        assert {"cleanup.policy"} <= {each["name"] for each in answer["checks"] if each["state"] == "fail"}
        assert main(["topics", "create", "--log", kafka_broker.url(wrong)]) == 1
        assert main(["topics", "check", "--log", kafka_broker.url(wrong), "--foreign"]) == 0

    def test_a_folder_is_no_topic(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["topics", "check", "--log", str(tmp_path)]) == 3
        assert "kafka://" in capsys.readouterr().err


class TestSecured:
    def test_the_command_takes_the_settings_and_shows_no_secret(
        self,
        secure_kafka: SecureBroker,
        tmp_path: Path,
        name: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        lines = "".join(
            f"  {key}: {value}\n" for key, value in secure_kafka.scram(sasl_password="${WORD}").items()
        )
        (tmp_path / "headwater.yaml").write_text(f"kafka:\n{lines}")
        monkeypatch.chdir(tmp_path)
        url = f"kafka://{secure_kafka.address(SCRAM)}/{name}"
        monkeypatch.setenv("WORD", PASSWORD)
        assert main(["topics", "create", "--log", url]) == 0
        monkeypatch.setenv("WORD", f"not-{PASSWORD}")
        assert main(["topics", "check", "--log", url, "--json"]) == 3
        said = capsys.readouterr()
        assert "sasl.password" in said.err
        assert PASSWORD not in said.out + said.err
