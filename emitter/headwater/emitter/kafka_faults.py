"""What a cluster refuses, in words that say what to do: librdkafka tells it beside the call that fails.

A client with a wrong password does not get an answer, it gets none: each call times out, and only the
error callback hears why. `Faults` is that callback. What it heard is decisive where no waiting helps: until
the cluster has answered for the first time. From then on it is a broker's passing trouble (a certificate that
is being changed, a token that comes late), and waited for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from headwater.emitter.kafka_settings import without_secrets
from headwater.schemas.errors import HeadwaterError, Misconfigured, Retryable, shown

# What librdkafka, OpenSSL or the broker says (in part), and what helps.
_REMEDIES: tuple[tuple[str, str], ...] = (
    ("oauthbearer", "see to sasl.oauthbearer.* (client id, secret, token endpoint) or to oauth_cb"),
    (
        "unable to acquire sasl",
        "see to sasl.oauthbearer.* (client id, secret, token endpoint) or to oauth_cb",
    ),
    ("invalid credentials", "see to sasl.username and sasl.password, and that the broker has that user"),
    ("unsupported sasl mechanism", "set sasl.mechanism to one that the broker offers"),
    ("mechanism handshake failed", "set sasl.mechanism to one that the broker offers"),
    (
        "certificate verify failed",
        "name the file of the authority that signed the broker's certificate in ssl.ca.location",
    ),
    ("hostname mismatch", "name the broker as its certificate does"),
    (
        "certificate required",
        "name your certificate and key in ssl.certificate.location and ssl.key.location",
    ),
    (
        "bad certificate",
        "name a certificate and key that the broker trusts in ssl.certificate.location and ssl.key.location",
    ),
    ("alert", "see that the broker trusts ssl.certificate.location, and speaks TLS on this port"),
    ("wrong version number", "the port speaks no TLS: see to security.protocol and the port"),
    ("expecting an ssl", "the port speaks TLS: set security.protocol to SSL or SASL_SSL"),
    ("connecting to a ssl listener", "the port speaks TLS: set security.protocol to SSL or SASL_SSL"),
    ("sasl authentication error", "see to sasl.mechanism, sasl.username and sasl.password"),
    ("ssl handshake failed", "see to security.protocol and to ssl.*"),
    ("authorization failed", "give the user the right to do so (kafka-acls)"),
)
_HANDSHAKE = ("ssl handshake failed", "ssl/tls alert", "connecting to a ssl listener")
#: How long after one broker's refusal another one may still let us in.
OTHERS_S = 3.0
_SETTINGS = "see to `kafka:` in headwater.yaml and to the cluster"


class Faults:
    """librdkafka's `error_cb`: remembers what no call will be told."""

    def __init__(self, bootstrap: str, given: Mapping[str, Any]) -> None:
        self._bootstrap = bootstrap
        self._given = given
        self._decisive: Any = None
        self._decisive_at = 0.0
        self._let_in = False
        self.heard: list[str] = []

    def __call__(self, error: Any) -> None:
        from confluent_kafka import KafkaError

        text = without_secrets(error.str(), self._given)
        self.heard = [*self.heard[-9:], text]
        handshake = any(sign in text.lower() for sign in _HANDSHAKE)
        if handshake or error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            if self._decisive is None:
                self._decisive_at = time.monotonic()
            self._decisive = error

    def answered(self) -> None:
        """The cluster did let us in: what one of its brokers refused before is over."""
        self._decisive = None
        self._let_in = True

    def is_hopeless(self) -> bool:
        """Whether we were refused, by whichever broker, and no other one has answered for a while."""
        if self._decisive is None or self._let_in:
            return False
        return time.monotonic() - self._decisive_at > OTHERS_S

    def refused(self) -> HeadwaterError | None:
        """Why the cluster does not let us in, where that is what happened."""
        if self._decisive is None:
            return None
        told = refusal(self._bootstrap, self._decisive.str(), self._given)
        return Retryable(told.message, remedy=told.remedy) if self._let_in else told

    def raise_refused(self) -> None:
        """Raises `Misconfigured` where the cluster does not let us in; `Retryable` where it did before."""
        if (error := self.refused()) is not None:
            raise error

    def away(self, what: str) -> Retryable:
        """`what` was not answered; with the last thing that was heard of the cluster."""
        heard = f": {self.heard[-1]}" if self.heard else ""
        remedy = "it is tried again; see that the brokers run and that this machine reaches them"
        if not str(self._given.get("security.protocol", "")).upper().endswith("SSL"):
            # A broker that speaks TLS hangs up on whoever does not, without a word.
            remedy += "; where they speak TLS, set security.protocol to SASL_SSL or SSL"
        return Retryable(f"kafka://{self._bootstrap}: {what} was not answered{heard}", remedy=remedy)


def refusal(bootstrap: str, text: str, given: Mapping[str, Any]) -> Misconfigured:
    """What the cluster said as an error with the remedy."""
    said = without_secrets(text, given)
    lowered = said.lower()
    remedy = next((remedy for sign, remedy in _REMEDIES if sign in lowered), _SETTINGS)
    return Misconfigured(f"kafka://{bootstrap}: {said}", remedy=remedy)


def unmade(error: Any, given: Mapping[str, Any]) -> Misconfigured:
    """librdkafka's refusal to make a client of these settings (a `KafkaException`)."""
    said = without_secrets(error.args[0].str(), given)
    place = next((name for name in given if f'"{name}"' in said or f"`{name}`" in said), None)
    where = getattr(given, "place", lambda name: f"kafka: {name}")(place) if place else "kafka"
    return Misconfigured(f"{where}: {said}", remedy="mend `kafka:` in headwater.yaml")


def missing_client(error: ImportError) -> Misconfigured:
    """Kafka's client is not installed."""
    return Misconfigured(
        f"Kafka needs {shown(error.name or 'confluent_kafka')}", remedy="pip install 'headwater[kafka]'"
    )
