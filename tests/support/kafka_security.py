"""A Kafka that lets in only whom it knows: TLS with SCRAM, mutual TLS, OAUTHBEARER.

Certificates are made by openssl, for a day. The OAUTHBEARER listener takes unsigned tokens, which
Kafka has for tests alone; `TokenEndpoint` hands them out as an identity provider does.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from deploy.kafka.cluster import Listener
from tests.support.kafka import Broker
from tests.support.needed import lacking

USER = "lineage"
PASSWORD = "a-password-that-nobody-may-see"
CLIENT_SECRET = "a-client-secret-that-nobody-may-see"
SCRAM, MUTUAL, OAUTH = "SCRAM", "MUTUAL", "OAUTH"


class Certificates:
    """An authority with a broker's and a client's certificate, and another authority that signed nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("authority", "stranger"):
            self._openssl(
                *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}"),
                *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
            )
        self._signed("broker", "localhost")
        self._signed("client", USER)
        keystore = (folder / "broker.key").read_text() + (folder / "broker.pem").read_text()
        (folder / "broker.keystore").write_text(keystore)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def _signed(self, name: str, subject: str) -> None:
        self._openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={subject}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        (self.folder / "names").write_text("subjectAltName=DNS:localhost")
        self._openssl(
            *("x509", "-req", "-days", "1", "-in", f"{name}.csr", "-out", f"{name}.pem"),
            *("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-extfile", "names"),
        )

    def _openssl(self, *command: str) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            lacking("no openssl to make certificates with")
        subprocess.run([openssl, *command], cwd=self.folder, check=True, capture_output=True)


class SecureBroker:
    """One broker with a listener for each way in. Its plain one is the tests' own door."""

    def __init__(self, folder: Path) -> None:
        self.certificates = Certificates(folder)
        tls = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.certificates.path("broker.keystore"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.certificates.path("authority.pem"),
        }
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        oauth = (
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
            'unsecuredLoginStringClaim_sub="broker";'
        )
        listeners = (
            Listener(
                name=SCRAM,
                protocol="SASL_SSL",
                properties={
                    **tls,
                    "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                    "scram-sha-512.sasl.jaas.config": scram,
                },
            ),
            Listener(name=MUTUAL, protocol="SSL", properties={**tls, "ssl.client.auth": "required"}),
            Listener(
                name=OAUTH,
                protocol="SASL_PLAINTEXT",
                properties={
                    "sasl.enabled.mechanisms": "OAUTHBEARER",
                    "oauthbearer.sasl.jaas.config": oauth,
                },
            ),
        )
        self.broker = Broker.started(listeners=listeners, scram={USER: PASSWORD})

    def address(self, listener: str) -> str:
        assert self.broker.cluster is not None
        return self.broker.cluster.bootstrap_of(listener)

    def scram(self, **other: str) -> dict[str, str]:
        """What a client with the password writes under `kafka:`; `other` with _ for each dot."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
            "ssl.ca.location": self.certificates.path("authority.pem"),
            **_dotted(other),
        }

    def mutual(self, **other: str) -> dict[str, str]:
        return {
            "security.protocol": "SSL",
            "ssl.ca.location": self.certificates.path("authority.pem"),
            "ssl.certificate.location": self.certificates.path("client.pem"),
            "ssl.key.location": self.certificates.path("client.key"),
            **_dotted(other),
        }

    def stop(self) -> None:
        self.broker.stop()


def _dotted(settings: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "."): value for name, value in settings.items()}


def token(subject: str = USER, lasts_s: int = 600) -> str:
    """An unsigned JSON web token."""
    now = int(time.time())
    claims = {"sub": subject, "iat": now, "exp": now + lasts_s, "scope": "lineage"}
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}."


def given_token(_config: str) -> tuple[str, float]:
    """What `oauth_cb` names: a token and when it ends."""
    return token(), time.time() + 600


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class TokenEndpoint:
    """An identity provider's token endpoint on this machine: a token for whoever has the secret."""

    def __init__(self) -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                basic = self.headers.get("Authorization", "").removeprefix("Basic ")
                secret = base64.b64decode(basic).decode().partition(":")[2]
                granted = secret == CLIENT_SECRET and parse_qs(body)["grant_type"] == ["client_credentials"]
                answer = (
                    {"access_token": token(), "token_type": "Bearer", "expires_in": 600}
                    if granted
                    else {"error": "invalid_client"}
                )
                self.send_response(200 if granted else 401)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
