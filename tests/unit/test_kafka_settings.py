"""What stands under `kafka:` is checked by name, value and promise, and a secret is seen nowhere."""

from __future__ import annotations

import ctypes
import json
import logging
import re
import traceback
from pathlib import Path

import confluent_kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.emitter import settings as settings_
from headwater.emitter.kafka_faults import Faults, refusal, unmade
from headwater.emitter.kafka_names import NAMES
from headwater.emitter.kafka_settings import (
    CONSUMER_PROMISES,
    PRODUCER_PROMISES,
    KafkaSettings,
    admin_settings,
    consumer_settings,
    is_loopback,
    is_secret,
    of,
    producer_settings,
    redacted,
)
from headwater.schemas.errors import Misconfigured

FAR = "b1.example:9092,b2.example:9092"
HERE = "127.0.0.1:9092,localhost:9093,[::1]:9094"


def read(folder: Path, text: str, **variables: str) -> KafkaSettings:
    (folder / "headwater.yaml").write_text(text)
    return of(settings_.load(variables, folder), variables)


def refused(given: dict[str, object], bootstrap: str = FAR, profile: str = "default") -> Misconfigured:
    with pytest.raises(Misconfigured) as told:
        consumer_settings(KafkaSettings(given, profile=profile), bootstrap)  # type: ignore[arg-type]
    return told.value


class TestNames:
    def test_the_table_is_what_librdkafka_says(self, tmp_path: Path) -> None:
        listed = _listed_by_librdkafka(tmp_path)
        assert set(NAMES) <= set(listed)
        installed = confluent_kafka.libversion()[0]
        if installed.startswith("2.16."):
            assert {name for name, kind in listed.items() if kind != "see dedicated API"} == set(NAMES)

    @pytest.mark.parametrize(
        ("wrong", "near"),
        [
            ("sasl.pasword", "sasl.password"),
            ("security.protocl", "security.protocol"),
            ("ssl.ca.file", "ssl.ca."),
            ("fetch.max.byte", "fetch.max.bytes"),
        ],
    )
    def test_an_unknown_name_gets_the_nearest(self, tmp_path: Path, wrong: str, near: str) -> None:
        with pytest.raises(Misconfigured) as told:
            read(tmp_path, f"kafka: {{{wrong}: hidden}}")
        assert f"headwater.yaml: kafka.{wrong}" in told.value.message
        assert near in told.value.remedy
        assert "hidden" not in str(told.value)

    def test_a_function_cannot_be_written_down(self) -> None:
        assert "oauth_cb" in refused({"error_cb": "os:abort"}).remedy

    def test_nested_names_are_refused(self) -> None:
        assert "dots" in refused({"sasl": {"password": "hidden"}}).remedy

    @pytest.mark.parametrize(
        ("name", "value", "rule"),
        [
            ("security.protocol", "TLS", "plaintext,ssl"),
            ("socket.timeout.ms", 5, "from 10 to 300000"),
            ("socket.keepalive.enable", "perhaps", "true or false"),
            ("session.timeout.ms", "soon", "a number from"),
            ("sasl.oauthbearer.method", "saml", "default,oidc"),
        ],
    )
    def test_a_wrong_value_is_told_with_the_rule(self, name: str, value: object, rule: str) -> None:
        message = refused({name: value}).message
        assert name in message
        assert str(value) in message
        assert rule in message

    def test_values_may_be_texts_numbers_and_flags(self) -> None:
        chosen = admin_settings(
            {"socket.timeout.ms": "20000", "socket.keepalive.enable": True, "log_level": 3}, HERE
        )
        assert chosen == {
            "socket.timeout.ms": "20000",
            "socket.keepalive.enable": True,
            "log_level": 3,
            "bootstrap.servers": HERE,
        }


class TestPromises:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_uncommitted"),
            ("check.crcs", False),
            ("enable.auto.commit", True),
            ("acks", 1),
            ("request.required.acks", "0"),
            ("enable.idempotence", "false"),
            ("partitioner", "consistent_random"),
        ],
    )
    def test_what_a_promise_rests_on_cannot_be_changed(self, name: str, value: object) -> None:
        error = refused({name: value})
        assert name in error.message
        assert error.remedy == "leave it out"

    @pytest.mark.parametrize(
        "name", ["transactional.id", "bootstrap.servers", "metadata.broker.list", "plugin.library.paths"]
    )
    def test_some_settings_are_never_for_a_person_to_set(self, name: str) -> None:
        assert refused({name: "x"}).remedy == "leave it out"

    def test_what_agrees_with_a_promise_may_be_written(self) -> None:
        given = {"acks": -1, "enable.idempotence": "true", "auto.offset.reset": "error"}
        for name, (value, _) in PRODUCER_PROMISES.items():
            assert producer_settings(given, HERE)[name] == value
        for name, (value, _) in CONSUMER_PROMISES.items():
            assert consumer_settings(given, HERE)[name] == value
        # librdkafka would take the one that comes last.
        assert "request.required.acks" not in producer_settings({"request.required.acks": "all"}, HERE)

    def test_each_kind_of_client_gets_what_is_its_own(self) -> None:
        given = {"linger.ms": 20, "fetch.min.bytes": 2, "client.id": "mine"}
        producer, consumer = producer_settings(given, HERE), consumer_settings(given, HERE)
        assert (producer["linger.ms"], consumer["fetch.min.bytes"]) == (20, 2)
        assert "fetch.min.bytes" not in producer
        assert "linger.ms" not in consumer
        assert producer["client.id"] == consumer["client.id"] == "mine"

    def test_librdkafka_takes_what_comes_out(self) -> None:
        from confluent_kafka import Consumer, Producer
        from confluent_kafka.admin import AdminClient

        given = {"linger.ms": 20, "fetch.min.bytes": 2, "group.id": "g", "log_level": 2}
        Producer(producer_settings(given, HERE)).flush(0)
        Consumer(consumer_settings(given, HERE)).close()
        AdminClient(admin_settings(given, HERE))


class TestSecrets:
    def test_a_secret_may_come_from_a_file_a_variable_or_the_environment(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("from-file\n")
        text = f"""
        kafka:
          sasl.password: ${{file:{tmp_path / "secret"}}}
          ssl.key.password: ${{KEY_PASSWORD}}
        """
        found = read(
            tmp_path,
            text,
            KEY_PASSWORD="from-variable",
            HEADWATER_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET="from-environment",
        )
        assert dict(found) == {
            "sasl.password": "from-file",
            "ssl.key.password": "from-variable",
            "sasl.oauthbearer.client.secret": "from-environment",
        }
        assert found.plain == ()

    def test_the_environment_overrules_the_file(self, tmp_path: Path) -> None:
        found = read(tmp_path, "kafka: {client.id: a}", HEADWATER_KAFKA_CLIENT_ID="b")
        assert found["client.id"] == "b"
        assert found.place("client.id") == "environment variable HEADWATER_KAFKA_CLIENT_ID"

    def test_an_unknown_variable_gets_the_nearest(self, tmp_path: Path) -> None:
        with pytest.raises(Misconfigured, match="HEADWATER_KAFKA_SASL_PASSWORD"):
            read(tmp_path, "", HEADWATER_KAFKA_SASL_PASSWRD="hidden")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("${file:missing.txt}", "missing.txt cannot be read"),
            ("${file:empty.txt}", "empty.txt is empty"),
            ("${NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE is not set"),
        ],
    )
    def test_a_secret_that_is_nowhere_is_told_by_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty.txt").write_text("\n")
        with pytest.raises(Misconfigured, match=said) as told:
            read(tmp_path, f"kafka: {{sasl.password: '{text}'}}")
        assert "kafka.sasl.password" in told.value.message

    def test_one_that_stands_in_the_file_works_and_is_warned_of(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        found = read(tmp_path, "kafka: {sasl.password: hunter2, sasl.username: me}")
        assert found.plain == ("sasl.password",)
        (record,) = caplog.records
        assert record.getMessage() == "secret_written_plainly"
        assert "hunter2" not in str(record.__dict__)

    @given(
        secret=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=12, max_size=30),
        name=st.sampled_from(sorted(name for name in NAMES if is_secret(name))),
    )
    def test_a_secret_is_in_no_text_that_comes_from_here(self, secret: str, name: str) -> None:
        given = KafkaSettings({name: secret, "client.id": "shown"})
        said = [
            repr(given),
            str(redacted(given)),
            str(refusal("b:1", f"Authentication failed for {secret}", given)),
            _trace(lambda: consumer_settings(KafkaSettings({name: secret, "acks": 0}), HERE)),
            _trace(lambda: KafkaSettings({name: secret, "nonsense": secret})),
        ]
        assert all(secret not in text for text in said)
        assert "shown" in said[0]

    def test_a_client_that_cannot_be_made_says_why_without_the_secret(self) -> None:
        from confluent_kafka import KafkaException, Producer

        given = KafkaSettings(
            {"security.protocol": "ssl", "ssl.key.pem": "no-key-at-all", "ssl.certificate.pem": "none"}
        )
        with pytest.raises(KafkaException) as refused:
            Producer(producer_settings(given, HERE))
        told = unmade(refused.value, given)
        assert "no-key-at-all" not in str(told)
        assert "ssl" in str(told)

    def test_what_was_heard_holds_no_secret(self) -> None:
        from confluent_kafka import KafkaError

        faults = Faults("b:1", {"sasl.password": "hunter2-hunter2"})
        faults(KafkaError(KafkaError._AUTHENTICATION, "SASL authentication error: hunter2-hunter2"))
        assert "hunter2" not in str(faults.heard) + str(faults.refused())

    def test_the_settings_of_a_project_show_no_secret(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        (tmp_path / "headwater.yaml").write_text(
            "store: postgresql://u:hunter2@h/d\nkafka: {sasl.password: hunter2}"
        )
        found = settings_.load({}, tmp_path)
        assert "hunter2" not in repr(found)
        assert "hunter2" not in json.dumps(redacted(of(found, {})))


class TestProfiles:
    @pytest.mark.parametrize("profile", ["prod", "regulated"])
    @pytest.mark.parametrize("protocol", [None, "PLAINTEXT", "sasl_plaintext"])
    def test_a_guarded_profile_refuses_what_others_can_read(self, profile: str, protocol: str | None) -> None:
        given = {"security.protocol": protocol} if protocol else {}
        error = refused(dict(given), FAR, profile)
        assert "SASL_SSL" in error.remedy
        assert profile in error.message
        consumer_settings(KafkaSettings(given, profile=profile), HERE)
        consumer_settings(KafkaSettings(given), FAR)

    def test_one_far_broker_among_near_ones_counts(self) -> None:
        assert refused({}, f"{HERE},b1.example:9092", "prod")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("enable.ssl.certificate.verification", False),
            ("ssl.endpoint.identification.algorithm", "none"),
        ],
    )
    def test_a_guarded_profile_wants_to_know_who_answers(self, name: str, value: object) -> None:
        assert name in refused({"security.protocol": "SSL", name: value}, FAR, "prod").message
        consumer_settings(KafkaSettings({"security.protocol": "SSL", name: value}), FAR)  # type: ignore[dict-item]

    def test_the_profile_is_read_from_the_file(self, tmp_path: Path) -> None:
        found = read(tmp_path, "profile: prod")
        with pytest.raises(Misconfigured, match="profile prod"):
            producer_settings(found, FAR)

    @pytest.mark.parametrize(
        ("bootstrap", "here"),
        [
            (HERE, True),
            ("127.8.0.1:1", True),
            ("SASL_SSL://localhost:1", True),
            ("localhost.example:1", False),
            ("10.0.0.1:1", False),
            ("[fe80::1]:1", False),
        ],
    )
    def test_loopback_is_an_address_and_not_a_likeness(self, bootstrap: str, here: bool) -> None:
        assert is_loopback(bootstrap) is here


def test_a_named_callback_is_imported_and_a_wrong_name_told() -> None:
    chosen = admin_settings({"oauth_cb": "tests.support.kafka_security:given_token"}, HERE)
    assert callable(chosen["oauth_cb"])
    for wrong in ("nowhere:at_all", "os.path", "os:nothing", "os:sep"):
        assert "oauth_cb" in refused({"oauth_cb": wrong}, HERE).message


def _trace(call: object) -> str:
    try:
        call()  # type: ignore[operator]
    except Misconfigured as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError("nothing was refused")


def _listed_by_librdkafka(folder: Path) -> dict[str, str]:
    """Every name with its type, as the library itself prints them."""
    packages = Path(confluent_kafka.__file__).parents[1]
    found = sorted(packages.glob("confluent_kafka.libs/librdkafka-*.so*"))
    if not found:
        pytest.skip("this confluent_kafka brings no library of its own")
    library, c = ctypes.CDLL(str(found[0])), ctypes.CDLL(None)
    c.fopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(c.fopen(str(folder / "names").encode(), b"w"))
    library.rd_kafka_conf_properties_show(file)
    c.fclose(file)
    rows = [line.split("|") for line in (folder / "names").read_text().splitlines() if line.count("|") >= 5]
    kinds = {row[0].strip(): re.search(r"\*Type: ([^*]+)\*", "|".join(row[5:])) for row in rows}
    return {name: kind[1] for name, kind in kinds.items() if kind}
