"""Clusters that let in only whom they know: the settings open them, and a refusal names the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer

from headwater.consumers.kafka_log import KafkaLog
from headwater.consumers.log import records_of
from headwater.emitter.kafka_faults import Faults
from headwater.emitter.kafka_settings import producer_settings
from headwater.schemas.errors import Misconfigured, Retryable
from tests.support.kafka_security import (
    CLIENT_SECRET,
    MUTUAL,
    OAUTH,
    PASSWORD,
    SCRAM,
    SecureBroker,
    TokenEndpoint,
    given_token,
)

OIDC = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "OAUTHBEARER",
    "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.client.id": "headwater",
}


@pytest.fixture(scope="module")
def topic(secure_kafka: SecureBroker) -> str:
    topic = secure_kafka.broker.topic()
    secure_kafka.broker.send(topic, [b"one", b"two"])
    return topic


@pytest.fixture(scope="module")
def endpoint() -> Iterator[TokenEndpoint]:
    endpoint = TokenEndpoint()
    yield endpoint
    endpoint.stop()


def read(address: str, topic: str, settings: dict[str, str]) -> list[bytes]:
    with KafkaLog(address, [topic], settings, answer_s=20.0) as log:
        return [record.value for record in records_of(log)]


def test_scram_over_tls_lets_in(secure_kafka: SecureBroker, topic: str) -> None:
    assert read(secure_kafka.address(SCRAM), topic, secure_kafka.scram()) == [b"one", b"two"]


def test_mutual_tls_lets_in(secure_kafka: SecureBroker, topic: str) -> None:
    assert read(secure_kafka.address(MUTUAL), topic, secure_kafka.mutual()) == [b"one", b"two"]


def test_a_token_of_a_callback_lets_in(secure_kafka: SecureBroker, topic: str) -> None:
    settings = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "oauth_cb": f"{given_token.__module__}:{given_token.__name__}",
    }
    assert read(secure_kafka.address(OAUTH), topic, settings) == [b"one", b"two"]


def test_a_token_of_an_identity_provider_lets_in(
    secure_kafka: SecureBroker, topic: str, endpoint: TokenEndpoint
) -> None:
    settings = {
        **OIDC,
        "sasl.oauthbearer.client.secret": CLIENT_SECRET,
        "sasl.oauthbearer.token.endpoint.url": endpoint.url,
    }
    assert read(secure_kafka.address(OAUTH), topic, settings) == [b"one", b"two"]


def test_a_wrong_client_secret_is_told_and_not_shown(
    secure_kafka: SecureBroker, topic: str, endpoint: TokenEndpoint
) -> None:
    settings = {
        **OIDC,
        "sasl.oauthbearer.client.secret": f"wrong-{CLIENT_SECRET}",
        "sasl.oauthbearer.token.endpoint.url": endpoint.url,
    }
    with pytest.raises(Misconfigured) as told:
        read(secure_kafka.address(OAUTH), topic, settings)
    assert "sasl.oauthbearer" in told.value.remedy
    assert CLIENT_SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("listener", "changed", "remedy"),
    [
        (SCRAM, {"sasl.password": f"not-{PASSWORD}"}, "sasl.password"),
        (SCRAM, {"sasl.username": "nobody"}, "sasl.username"),
        (SCRAM, {"sasl.mechanism": "SCRAM-SHA-256"}, "sasl.mechanism"),
        (SCRAM, {"ssl.ca.location": "stranger.pem"}, "ssl.ca.location"),
        (MUTUAL, {"ssl.ca.location": "stranger.pem"}, "ssl.ca.location"),
    ],
    ids=["password", "user", "mechanism", "authority", "authority of a listener without users"],
)
def test_a_refusal_names_the_remedy_and_no_secret(
    secure_kafka: SecureBroker, topic: str, listener: str, changed: dict[str, str], remedy: str
) -> None:
    settings = secure_kafka.scram() if listener == SCRAM else secure_kafka.mutual()
    settings |= changed
    if not settings["ssl.ca.location"].startswith("/"):
        settings["ssl.ca.location"] = secure_kafka.certificates.path(settings["ssl.ca.location"])
    with pytest.raises(Misconfigured) as told:
        read(secure_kafka.address(listener), topic, settings)
    assert remedy in told.value.remedy
    assert PASSWORD not in str(told.value)


def test_a_listener_that_hangs_up_on_plain_text_is_away_and_the_remedy_speaks_of_tls(
    secure_kafka: SecureBroker, topic: str
) -> None:
    settings = secure_kafka.scram() | {"security.protocol": "SASL_PLAINTEXT"}
    with (
        KafkaLog(secure_kafka.address(SCRAM), [topic], settings, answer_s=3.0) as log,
        pytest.raises(Retryable) as told,
    ):
        log.partitions()
    assert "security.protocol" in told.value.remedy


def test_a_listener_that_asks_for_a_certificate_says_so(secure_kafka: SecureBroker, topic: str) -> None:
    settings = {
        "security.protocol": "SSL",
        "ssl.ca.location": secure_kafka.certificates.path("authority.pem"),
    }
    with pytest.raises(Misconfigured) as told:
        read(secure_kafka.address(MUTUAL), topic, settings)
    assert "ssl.certificate.location" in told.value.remedy


def test_a_producer_is_let_in_by_the_same_settings(secure_kafka: SecureBroker) -> None:
    topic = secure_kafka.broker.topic()
    faults = Faults(secure_kafka.address(SCRAM), secure_kafka.scram())
    producer = Producer(
        {**producer_settings(secure_kafka.scram(), secure_kafka.address(SCRAM)), "error_cb": faults}
    )
    producer.produce(topic, b"kept", key=b"run")
    assert producer.flush(20.0) == 0
    assert faults.refused() is None
    assert read(secure_kafka.address(MUTUAL), topic, secure_kafka.mutual()) == [b"kept"]


def test_a_certificate_that_is_no_file_is_told_by_its_setting(
    secure_kafka: SecureBroker, tmp_path: Path
) -> None:
    settings = secure_kafka.scram() | {"ssl.ca.location": str(tmp_path / "missing.pem")}
    with pytest.raises(Misconfigured) as told:
        KafkaLog(secure_kafka.address(SCRAM), ["any"], settings)
    assert "ssl.ca.location" in str(told.value)
    assert isinstance(told.value.__cause__, KafkaException)
