"""The doctor finds what is wrong with a deployment, says what to do, changes nothing and shows no secret."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from headwater.consumers.checks import Check, State
from headwater.consumers.cli import main
from headwater.consumers.doctor import (
    examine_folder,
    examine_kafka,
    examine_lag,
    examine_store,
)
from headwater.consumers.kafka_cluster import Cluster
from headwater.consumers.log import open_log
from headwater.consumers.partitioning import murmur2, partition_of
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from headwater.consumers.subscription import subscribed
from headwater.consumers.topics import create
from headwater.emitter.kafka_settings import KafkaSettings
from headwater.emitter.parking import park
from headwater.emitter.settings import Settings, SpoolLimits
from headwater.emitter.spool import Spool
from headwater.schemas.ids import uuid7
from tests.support.kafka import Broker
from tests.support.kafka_security import MUTUAL, PASSWORD, SCRAM, SecureBroker
from tests.support.logs import run_event, write_segment

START_US = 1_790_000_000_000_000


def states(checks: object) -> dict[str, State]:
    return {check.name: check.state for check in checks}  # type: ignore[attr-defined]


def spool(folder: Path) -> Spool:
    return Spool(folder, emitter_id=uuid7(START_US))


class TestEmbedded:
    def test_a_sound_folder_and_store_are_ok(self, tmp_path: Path, store_url: str) -> None:
        write_segment(tmp_path / "log", [run_event(1)])
        with open_store(store_url, create=True) as store, open_log(str(tmp_path / "log")) as log:
            Runner(store, log).run()
        found = [*examine_folder(tmp_path / "log", Settings()), *examine_store(store_url)]
        assert {check.name for check in found if check.state is State.OK} >= {
            "folder",
            "size",
            "schema",
            "projection",
            "quarantine",
        }

    def test_nothing_is_made_where_nothing_is(self, tmp_path: Path) -> None:
        found = [
            *examine_folder(tmp_path / "log", Settings()),
            *examine_store(f"sqlite:///{tmp_path / 'x' / 'store.db'}"),
        ]
        assert {check.state for check in found} == {State.WARN}
        assert list(tmp_path.iterdir()) == []

    def test_a_dead_process_is_told_from_a_living_one(self, tmp_path: Path) -> None:
        living = spool(tmp_path)
        living.append(run_event(1))
        assert states(examine_folder(tmp_path, Settings()))["dead processes' segments"] is State.OK
        pid = os.fork()
        if pid == 0:
            spool(tmp_path).append(run_event(2))
            os._exit(0)
        os.waitpid(pid, 0)
        dead = next(
            check
            for check in examine_folder(tmp_path, Settings())
            if check.name == "dead processes' segments"
        )
        assert (dead.state, dead.found) == (State.WARN, "1 left open")
        living.close()

    def test_a_folder_near_its_limit_is_warned_of_and_a_full_one_fails(self, tmp_path: Path) -> None:
        write_segment(tmp_path, [run_event(n) for n in range(50)])
        size = sum(path.stat().st_size for path in tmp_path.glob("*.seg"))
        for limit, state in ((size * 2, State.OK), (int(size * 1.1), State.WARN), (size, State.FAIL)):
            chosen = Settings(spool=SpoolLimits(max_bytes=limit))
            assert states(examine_folder(tmp_path, chosen))["size"] is state

    def test_the_backlog_is_what_no_broker_has_acknowledged(self, tmp_path: Path) -> None:
        write_segment(tmp_path, [run_event(n) for n in range(5)])
        (segment,) = tmp_path.glob("*.seg")

        def backlog() -> Check:
            found = examine_folder(tmp_path, Settings(), drained=True)
            return next(check for check in found if check.name == "backlog")

        assert backlog().state is State.WARN
        assert backlog().remedy == "headwater drain"
        segment.with_suffix(".ack").write_text("5\n")
        assert (backlog().state, backlog().found) == (State.OK, "none")

    def test_a_segment_that_a_drain_removes_meanwhile_is_no_fault(self, tmp_path: Path) -> None:
        write_segment(tmp_path, [run_event(1)])
        (tmp_path / f"{uuid7(START_US)}.seg").symlink_to(tmp_path / "gone")
        (tmp_path / f"{uuid7(START_US)}.seg").touch()  # its writer has just begun
        found = states(examine_folder(tmp_path, Settings(), drained=True))
        assert "answer" not in found
        assert found["backlog"] is State.WARN

    def test_what_a_drain_kept_aside_is_counted(self, tmp_path: Path) -> None:
        write_segment(tmp_path, [run_event(1)])
        assert states(examine_folder(tmp_path, Settings(), drained=True))["kept aside"] is State.OK
        park(
            tmp_path,
            segment_id=str(uuid7(START_US)),
            offset=0,
            value=run_event(1),
            append_time=START_US,
            reason="too large",
            now=lambda: START_US,
        )
        found = examine_folder(tmp_path, Settings(), drained=True)
        aside = next(check for check in found if check.name == "kept aside")
        assert (aside.state, aside.found[:8]) == (State.WARN, "1 events")
        assert "headwater drain --parked" in aside.remedy

    def test_a_store_that_lacks_a_table_is_a_failed_check(self, store_url: str) -> None:
        with open_store(store_url, create=True) as store, store.connecting() as connection:
            connection.execute(text("DROP TABLE quarantine"))
            connection.commit()
        found = list(examine_store(store_url))
        assert "quarantine" in next(check for check in found if check.name == "answer").found
        assert states(found)["schema"] is State.OK

    def test_what_is_parked_is_counted(self, tmp_path: Path, store_url: str) -> None:
        write_segment(tmp_path / "log", [b"no event", run_event(1)])
        with open_store(store_url, create=True) as store, open_log(str(tmp_path / "log")) as log:
            Runner(store, log).run()
        assert states(examine_store(store_url))["quarantine"] is State.WARN

    def test_a_store_that_is_away_fails_without_its_password(self) -> None:
        (found,) = examine_store("postgresql://lineage:hunter2hunter2@127.0.0.1:1/db")
        assert found.state is State.FAIL
        assert "hunter2" not in str(found)

    def test_the_command_ends_with_0_or_1_and_speaks_json(
        self, tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_segment(tmp_path / "log", [run_event(1)])
        where = ["--log", str(tmp_path / "log"), "--store", sqlite_url]
        assert main(["consume", *where]) == 0
        capsys.readouterr()
        assert main(["doctor", *where, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert {"subject", "name", "state", "found", "wanted", "remedy"} == set(answer["checks"][0])
        assert main(["doctor", *where[:2], "--store", "postgresql://u:hunter2hunter2@127.0.0.1:1/db"]) == 1
        said = capsys.readouterr()
        assert "fail" in said.out
        assert "hunter2" not in said.out + said.err


class TestKafka:
    def test_a_sound_topic_is_ok_and_the_lag_is_told(self, kafka_broker: Broker, sqlite_url: str) -> None:
        cluster, topic = Cluster(kafka_broker.bootstrap), f"events-{uuid4()}"
        create(cluster, topic, partitions=1)
        kafka_broker.send(topic, [run_event(n) for n in range(5)])
        with open_store(sqlite_url) as store, open_log(kafka_broker.url(topic)) as log:
            Runner(store, log).run()
        kafka_broker.send(topic, [run_event(9)])
        assert State.FAIL not in states(examine_kafka(cluster, subscribed([topic]))).values()
        (lag,) = examine_lag(cluster, topic, sqlite_url)
        assert (lag.state, lag.found) == (State.OK, "1 records unread")

    def test_records_deleted_unread_fail(self, kafka_broker: Broker, sqlite_url: str) -> None:
        topic = kafka_broker.topic()
        kafka_broker.send(topic, [run_event(n) for n in range(5)])
        with open_store(sqlite_url) as store, open_log(kafka_broker.url(topic)) as log:
            Runner(store, log).run()
        kafka_broker.send(topic, [run_event(n) for n in range(5, 9)])
        kafka_broker.delete_below(topic, 0, 8)
        (lag,) = examine_lag(Cluster(kafka_broker.bootstrap), topic, sqlite_url)
        assert lag.state is State.FAIL

    def test_a_topic_that_was_made_anew_is_another(self, kafka_broker: Broker, sqlite_url: str) -> None:
        topic = kafka_broker.topic()
        kafka_broker.send(topic, [run_event(n) for n in range(5)])
        with open_store(sqlite_url) as store, open_log(kafka_broker.url(topic)) as log:
            Runner(store, log).run()
        kafka_broker.delete(topic)
        kafka_broker.topic(1, topic)
        kafka_broker.send(topic, [run_event(n) for n in range(2)])
        (lag,) = examine_lag(Cluster(kafka_broker.bootstrap), topic, sqlite_url)
        assert lag.state is State.FAIL
        assert "another topic of this name" in lag.found

    @pytest.mark.parametrize(
        ("partitioner", "state"), [("murmur2_random", State.OK), ("consistent_random", State.WARN)]
    )
    def test_keys_that_java_would_put_elsewhere_are_found(
        self, kafka_broker: Broker, partitioner: str, state: State
    ) -> None:
        from confluent_kafka import Producer

        topic = kafka_broker.topic(partitions=4)
        producer = Producer({"bootstrap.servers": kafka_broker.bootstrap, "partitioner": partitioner})
        for n in range(60):
            producer.produce(topic, run_event(n), key=f"run:airflow/dag-{n}".encode())
        producer.flush(20)
        found = states(examine_kafka(Cluster(kafka_broker.bootstrap), subscribed([topic]), foreign=True))
        assert found["partitioner"] is state

    def test_keys_of_before_partitions_were_added_are_no_fault(self, kafka_broker: Broker) -> None:
        from confluent_kafka import Producer
        from confluent_kafka.cimpl import NewPartitions

        topic = kafka_broker.topic(partitions=2)
        producer = Producer({"bootstrap.servers": kafka_broker.bootstrap, "partitioner": "murmur2_random"})
        for n in range(60):
            producer.produce(topic, run_event(n), key=f"run:airflow/dag-{n}".encode())
        producer.flush(20)
        kafka_broker.admin.create_partitions([NewPartitions(topic, 5)])[topic].result(20)
        cluster = Cluster(kafka_broker.bootstrap)
        assert states(examine_kafka(cluster, subscribed([topic])))["partitioner"] is State.OK

    def test_the_first_of_several_topics_is_ours_and_the_others_are_others(
        self,
        kafka_broker: Broker,
        sqlite_url: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        mark = uuid4()
        ours, other = f"events-{mark}", kafka_broker.topic(1, f"openlineage.{mark}", retention_ms=1 << 30)
        where = ["--log", kafka_broker.url(ours, f"^openlineage\\.{mark}")]
        assert main(["topics", "create", *where, "--partitions", "1"]) == 0
        assert "others', not made here" in capsys.readouterr().out
        assert main(["topics", "check", *where]) == 0
        capsys.readouterr()
        assert main(["doctor", *where, "--store", sqlite_url, "--json"]) == 0
        checks = json.loads(capsys.readouterr().out)["checks"]
        found = {(check["subject"], check["name"]): check["state"] for check in checks}
        assert (found[ours, "retention.ms"], found[other, "retention.ms"]) == ("ok", "warn")
        assert [check["name"] for check in checks].count("brokers") == 1
        assert main(["topics", "check", "--log", kafka_broker.url(f"^none-{mark}")]) == 0
        assert "none has such a name" in capsys.readouterr().out
        assert main(["topics", "create", "--log", kafka_broker.url(f"^none-{mark}")]) == 3

    def test_a_reader_that_cannot_be_made_stands_in_no_other_checks_way(self, kafka_broker: Broker) -> None:
        topic = kafka_broker.topic(partitions=2)
        kafka_broker.send(topic, [run_event(1)])
        # Each holds by itself; an admin client has no session.
        given = KafkaSettings({"session.timeout.ms": 3_600_000, "max.poll.interval.ms": 1})
        found = states(examine_kafka(Cluster(kafka_broker.bootstrap, given), subscribed([topic])))
        assert found["answer"] is State.FAIL
        assert "retention.ms" in found

    def test_a_cluster_that_is_away_and_a_topic_that_is_not_there_fail(self, kafka_broker: Broker) -> None:
        away = states(examine_kafka(Cluster("127.0.0.1:1", answer_s=1.0), subscribed(["any"])))
        assert away["answer"] is State.FAIL
        there = states(examine_kafka(Cluster(kafka_broker.bootstrap), subscribed([f"none-{uuid4()}"])))
        assert there["topic"] is State.FAIL

    def test_a_user_who_may_only_read_is_warned_and_not_failed(self) -> None:
        from confluent_kafka import admin

        broker = Broker.started(
            settings={
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "allow.everyone.if.no.acl.found": "true",
            }
        )
        try:
            topic = broker.topic(partitions=2)
            broker.send(topic, [run_event(n) for n in range(3)])
            kinds: Any = admin
            allowed = [
                kinds.AclBinding(
                    kinds.ResourceType.TOPIC,
                    topic,
                    kinds.ResourcePatternType.LITERAL,
                    "User:ANONYMOUS",
                    "*",
                    operation,
                    kinds.AclPermissionType.ALLOW,
                )
                for operation in (kinds.AclOperation.READ, kinds.AclOperation.DESCRIBE)
            ]
            for future in broker.admin.create_acls(allowed).values():
                future.result(20)
            for foreign in (False, True):
                cluster = Cluster(broker.bootstrap)
                found = states(examine_kafka(cluster, subscribed([topic]), foreign=foreign))
                assert found["settings"] is State.WARN
                assert State.FAIL not in found.values()
                assert "newest record" in found
        finally:
            broker.stop()

    def test_a_wrong_password_is_told_with_the_remedy(self, secure_kafka: SecureBroker) -> None:
        wrong = secure_kafka.scram(sasl_password=f"not-{PASSWORD}")
        found = list(examine_kafka(Cluster(secure_kafka.address(SCRAM), wrong), subscribed(["any"])))
        assert any("sasl.password" in check.remedy for check in found)
        assert PASSWORD not in str(found)

    def test_a_plain_secret_is_warned_of(self, secure_kafka: SecureBroker) -> None:
        given = KafkaSettings(secure_kafka.mutual(), plain=("ssl.key.password",))
        found = states(examine_kafka(Cluster(secure_kafka.address(MUTUAL), given), subscribed(["any"])))
        assert found["secrets"] is State.WARN


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    secret=st.text("abcdefghkmnpqrstuvwxyzABCDEFGH23456789", min_size=16, max_size=24),
    protocol=st.sampled_from(["PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL", "NONSENSE"]),
    wrong=st.sampled_from(["", "acks: 0", "no.such.setting: 1"]),
)
def test_a_secret_is_in_no_output_log_or_error(
    secret: str,
    protocol: str,
    wrong: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    capfd.readouterr()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWATER_KAFKA_SSL_KEY_PASSWORD", secret)
    (tmp_path / "headwater.yaml").write_text(
        f"store: postgresql://user:{secret}@127.0.0.1:1/db\n"
        f"kafka:\n  security.protocol: {protocol}\n  sasl.mechanism: PLAIN\n  sasl.username: me\n"
        f"  sasl.password: {secret}\n  sasl.oauthbearer.client.secret: {secret}\n  {wrong}\n"
    )
    for command in (["doctor", "--wait", "0.3"], ["doctor", "--wait", "0.3", "--json"]):
        assert main([*command, "--log", "kafka://127.0.0.1:1/events"]) != 0
    said = capfd.readouterr()
    assert secret not in said.out + said.err
    assert all(secret not in str(record.__dict__) for record in caplog.records)


def test_the_hash_is_javas() -> None:
    # Vectors of Kafka's own UtilsTest.
    assert [murmur2(key) for key in (b"21", b"foobar", b"a-little-bit-long-string")] == [
        -973932308 & 0xFFFFFFFF,
        -790332482 & 0xFFFFFFFF,
        -985981536 & 0xFFFFFFFF,
    ]
    assert partition_of(b"21", 7) == (-973932308 & 0x7FFFFFFF) % 7
