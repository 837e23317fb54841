"""librdkafka's settings, checked: `kafka:` in headwater.yaml, overruled by the environment.

    kafka:
      security.protocol: SASL_SSL
      sasl.mechanism: SCRAM-SHA-512
      sasl.username: headwater
      sasl.password: ${file:/run/secrets/kafka}     # or ${KAFKA_PASSWORD}

    HEADWATER_KAFKA_SASL_PASSWORD=…                 # each dot a _; overrules the file

Every setting passes through, and what is refused is told by its name, its place and the remedy: a name that
librdkafka does not have, a value that it does not take, another value where a promise of headwater's rests
on ours (acknowledgements, partitioner, what to do where records are missing), and, in the profiles
`prod` and `regulated`, a connection that others could read or answer.

A secret is in no message, log or `repr` that comes from here. Whether the cluster takes the settings is the
business of `headwater.emitter.kafka_faults`; nothing here connects, or imports Kafka's client.
"""

from __future__ import annotations

import importlib
import ipaddress
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from headwater.emitter import settings as settings_
from headwater.emitter.kafka_names import NAMES
from headwater.emitter.settings import Settings
from headwater.schemas.errors import Misconfigured, shown

log = logging.getLogger("headwater.emitter")

Value = str | int | bool

REDACTED = "[redacted]"
PREFIX = "HEADWATER_KAFKA_"
#: Profiles in which a connection must be encrypted and its other end known.
GUARDED = ("prod", "regulated")
OAUTH = "oauth_cb"

_FILE = re.compile(r"\$\{file:([^}]+)\}")
_FILE_BYTES = 1 << 20
_SECRET = re.compile(r"password|secret|passphrase|\bkey\.pem$")

#: What a promise rests on: the value that holds, and the promise.
PRODUCER_PROMISES: Mapping[str, tuple[Value, str]] = {
    "enable.idempotence": (True, "a resent event must not be in the log twice, or out of order"),
    "acks": ("all", "an event counts as sent when all replicas in sync have it"),
    "enable.gapless.guarantee": (True, "what follows a record that was refused must wait for it"),
    "message.timeout.ms": (0, "an event is never given up because of the time that passed"),
    "allow.auto.create.topics": (False, "a mistyped topic must not be made, to forget its events in a week"),
    "delivery.report.only.error": (False, "an event counts as sent when that is reported"),
    "partitioner": ("murmur2_random", "Java's producers put the same key into the same partition"),
}
CONSUMER_PROMISES: Mapping[str, tuple[Value, str]] = {
    "enable.auto.commit": (False, "positions stand in the store"),
    "enable.auto.offset.store": (False, "positions stand in the store"),
    # The default, `largest`, skips what was not read and says nothing.
    "auto.offset.reset": ("error", "records that are gone must not be passed over"),
    "isolation.level": ("read_committed", "an aborted transaction's records are no events"),
    "check.crcs": (True, "a damaged record must be seen"),
    "enable.partition.eof": (True, "a reader must know the end"),
}
_NEVER: Mapping[str, str] = {
    "bootstrap.servers": "the brokers are named in `log: kafka://host:9092/topic`",
    "metadata.broker.list": "the brokers are named in `log: kafka://host:9092/topic`",
    "transactional.id": "headwater's topic is not transactional, so that its offsets have no gaps",
    "plugin.library.paths": "a library is not loaded on a setting's word",
}


class KafkaSettings(Mapping[str, Value]):
    """librdkafka's settings by name, checked; the same for producers and consumers. Secrets are not shown."""

    def __init__(
        self,
        values: Mapping[str, Value] | None = None,
        *,
        places: Mapping[str, str] | None = None,
        profile: str = "default",
        plain: tuple[str, ...] = (),
    ) -> None:
        self._values = {name: _plain(name, value) for name, value in (values or {}).items()}
        self._places = dict(places or {})
        self.profile = profile
        #: The names of the secrets that are written down as they are.
        self.plain = plain
        for name, value in self._values.items():
            _check(self.place(name), name, value)

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"KafkaSettings({dict(redacted(self))})"

    def place(self, name: str) -> str:
        """Where a person finds the setting."""
        return self._places.get(name, f"kafka: {name}")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that nobody may see."""
        return tuple(str(value) for name, value in self._values.items() if is_secret(name) and str(value))


def of(found: Settings, environ: Mapping[str, str] | None = None) -> KafkaSettings:
    """What holds under `kafka:` in the project's settings; raises `Misconfigured`.

    The environment overrules the file, and what was decided over both (`load_over`) overrules it. A secret
    that is written down as it is works, and is warned of.
    """
    variables = os.environ if environ is None else environ
    found.require("kafka")
    section = found.document.get("kafka") or {}
    if not isinstance(section, Mapping):
        raise Misconfigured(
            f"{found.source}: kafka: is no mapping", remedy="write librdkafka's settings below it"
        )
    own = {str(name): value for name, value in (found.own.get("kafka") or {}).items()}
    values: dict[str, Any] = {str(name): value for name, value in section.items()}
    places = {name: f"{found.own_place if name in own else found.source}: kafka.{name}" for name in values}
    stated = {name: it for name, it in _from_environment(variables).items() if name not in own}
    written = {**_written(found), **own}
    plain = tuple(name for name in written if name not in stated and _is_plain_secret(name, written[name]))
    for name in plain:
        log.warning("secret_written_plainly", extra={"setting": name, "place": places[name]})
    values |= {name: variables[variable] for name, variable in stated.items()}
    places |= {name: f"environment variable {variable}" for name, variable in stated.items()}
    return KafkaSettings(
        {name: _from_file(places[name], value) for name, value in values.items()},
        places=places,
        profile=found.profile,
        plain=plain,
    )


def producer_settings(given: Mapping[str, Any], bootstrap: str) -> dict[str, Any]:
    """For a Kafka producer: what was given for one, with what our promises rest on.

    Raises `Misconfigured` where these contradict, and for a connection that the profile does not allow.
    """
    return _of_kind(given, bootstrap, "P", PRODUCER_PROMISES)


def consumer_settings(given: Mapping[str, Any], bootstrap: str) -> dict[str, Any]:
    """The same for a consumer."""
    return _of_kind(given, bootstrap, "C", CONSUMER_PROMISES)


def admin_settings(given: Mapping[str, Any], bootstrap: str) -> dict[str, Any]:
    """The same for an admin client: what producers and consumers have in common."""
    return _of_kind(given, bootstrap, "", {})


def is_secret(name: str) -> bool:
    """Whether the value of this setting must not be seen."""
    return _SECRET.search(name) is not None


def redacted(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they may be shown."""
    return {name: REDACTED if is_secret(name) else value for name, value in given.items()}


def without_secrets(text: str, given: Mapping[str, Any]) -> str:
    """`text` without any value of a secret setting in it."""
    hidden = (str(value) for name, value in given.items() if is_secret(name) and str(value))
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def is_loopback(bootstrap: str) -> bool:
    """Whether every broker that is named is this machine."""
    return all(_is_here(_host(each)) for each in bootstrap.split(",") if each.strip())


# -- one client's settings -----------------------------------------------------------------


def _of_kind(
    given: Mapping[str, Any], bootstrap: str, scope: str, promises: Mapping[str, tuple[Value, str]]
) -> dict[str, Any]:
    checked = given if isinstance(given, KafkaSettings) else KafkaSettings(given)
    _check_connection(checked, bootstrap)
    _keep(checked, {**PRODUCER_PROMISES, **CONSUMER_PROMISES})
    chosen: dict[str, Any] = {
        name: value for name, value in checked.items() if name == OAUTH or _fits(name, scope)
    }
    if OAUTH in chosen:
        chosen[OAUTH] = _callback(checked.place(OAUTH), str(chosen[OAUTH]))
    # The same by two names, of which librdkafka would take the one that comes last.
    kept = {_canonical(name) for name in promises}
    chosen = {name: value for name, value in chosen.items() if _canonical(name) not in kept}
    return {
        **chosen,
        **{name: value for name, (value, _) in promises.items()},
        "bootstrap.servers": bootstrap,
    }


def _fits(name: str, scope: str) -> bool:
    known = NAMES.get(name)
    # What this table has not heard of goes to both kinds: librdkafka warns, and does not fail.
    return known is None or known.scope in ("*", scope)


def _keep(given: KafkaSettings, promises: Mapping[str, tuple[Value, str]]) -> None:
    ours = {_canonical(name): (name, *promise) for name, promise in promises.items()}
    for name, value in given.items():
        known = ours.get(_canonical(name))
        if known is not None and _spelled(known[1]) != _spelled(value):
            raise Misconfigured(
                f"{given.place(name)} is {shown(value)}, and must be {_spelled(known[1])}: {known[2]}",
                remedy="leave it out",
            )


def _check_connection(given: KafkaSettings, bootstrap: str) -> None:
    """In a guarded profile nobody on the way may read, or answer in the broker's place."""
    if given.profile not in GUARDED or is_loopback(bootstrap):
        return
    protocol = str(given.get("security.protocol", "PLAINTEXT")).upper()
    why = f"profile {given.profile} sends nothing unencrypted, and {bootstrap} is not this machine"
    if not protocol.endswith("SSL"):
        raise Misconfigured(
            f"{given.place('security.protocol')} is {protocol}: {why}",
            remedy="set security.protocol to SASL_SSL or SSL",
        )
    for name, unsafe in (
        ("enable.ssl.certificate.verification", "false"),
        ("ssl.endpoint.identification.algorithm", "none"),
    ):
        if _spelled(given.get(name, "")) == unsafe:
            raise Misconfigured(
                f"{given.place(name)} is {unsafe}: whoever answers would be taken for the broker",
                remedy=f"leave {name} out, and name the certificate's authority in ssl.ca.location",
            )


def _callback(place: str, text: str) -> Callable[[str], Any]:
    """The function that `package.module:name` names."""
    module, colon, name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module), name) if colon else None
    except (ImportError, AttributeError) as error:
        raise Misconfigured(f"{place}: {shown(text)} cannot be imported: {error}") from error
    if not callable(found):
        raise Misconfigured(f"{place}: {shown(text)} is no function", remedy="write package.module:function")
    return found  # type: ignore[no-any-return]


# -- one setting ---------------------------------------------------------------------------


def _check(place: str, name: str, value: Value) -> None:
    if name in _NEVER:
        raise Misconfigured(f"{place} is not for you to set: {_NEVER[name]}", remedy="leave it out")
    if name == OAUTH:
        return
    if name.endswith("_cb"):
        raise Misconfigured(
            f"{place} takes a function", remedy=f"leave it out; {OAUTH}: package.module:function can be named"
        )
    known = NAMES.get(name)
    if known is None:
        _unknown(place, name)
    if _canonical(name) == "request.required.acks" and _spelled(value) == "all":
        return
    rule = known.wrong(str(value))
    if rule:
        said = REDACTED if is_secret(name) else shown(value)
        raise Misconfigured(f"{place} is {said}, and must be {rule}")


def _unknown(place: str, name: str) -> NoReturn:
    near = get_close_matches(name, [*NAMES, OAUTH], n=3, cutoff=0.6)
    raise Misconfigured(
        f"{place}: librdkafka has no setting {shown(name)}",
        remedy=f"did you mean {' or '.join(near)}?" if near else "see librdkafka's CONFIGURATION.md",
    )


def _plain(name: str, value: object) -> Value:
    if isinstance(value, str | int | bool):
        return value
    if isinstance(value, float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ",".join(map(str, value))
    kind = "nothing" if value is None else type(value).__name__
    raise Misconfigured(
        f"kafka: {name} holds {kind}, and a setting is a text, a number, true or false",
        remedy="write names with dots: `sasl.username: …`, not one level for each word",
    )


def _spelled(value: object) -> str:
    text = str(value).lower()
    return "all" if text == "-1" else text


def _canonical(name: str) -> str:
    known = NAMES.get(name)
    return known.stands_for if known else name


def _from_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variable that states each setting; `Misconfigured` for one that states none."""
    known = {_variable(name): name for name in (*NAMES, OAUTH, *_NEVER)}
    found = {}
    for variable, value in variables.items():
        if not variable.startswith(PREFIX) or not value:
            continue
        if variable not in known:
            near = get_close_matches(variable, known, n=3, cutoff=0.7)
            raise Misconfigured(
                f"environment variable {variable} is no setting of librdkafka's",
                remedy=f"did you mean {' or '.join(near)}?" if near else "unset it",
            )
        found[known[variable]] = variable
    return found


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace(".", "_")


def _from_file(place: str, value: Any) -> Any:
    """The value with `${file:/path}` replaced by what the file holds, without the line's end."""
    return _FILE.sub(lambda match: _read(place, match[1]), value) if isinstance(value, str) else value


def _read(place: str, path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            text = file.read(_FILE_BYTES).decode().rstrip("\r\n")
    except OSError as error:
        raise Misconfigured(
            f"{place}: {path} cannot be read: {error.strerror}", remedy="mount the file, or correct the path"
        ) from None
    except UnicodeDecodeError:
        raise Misconfigured(f"{place}: {path} is no UTF-8 text") from None
    if not text:
        raise Misconfigured(f"{place}: {path} is empty", remedy="write the secret into it")
    return text


def _written(found: Settings) -> dict[str, Any]:
    """What stands in the file itself, variables and all."""
    section = settings_.parsed(found.source).get("kafka") if found.source else None
    return {str(name): value for name, value in section.items()} if isinstance(section, Mapping) else {}


def _is_plain_secret(name: str, value: object) -> bool:
    return is_secret(name) and "${" not in str(value)


def _host(server: str) -> str:
    server = server.strip().rpartition("://")[2]
    return (
        server[1 : server.index("]")]
        if server.startswith("[") and "]" in server
        else server.rpartition(":")[0]
    )


def _is_here(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
