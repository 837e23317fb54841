"""A transport for OpenLineage's own Python client: its events go into headwater's log, as ours do.

    transport:                                   # openlineage.yml
      type: headwater.emitter.openlineage.HeadwaterTransport
      log: /var/lib/headwater/log                # and any other key of headwater.yaml's

Airflow, dbt and everything else that builds on that client get what a step of ours gets: `emit` returns
once the event is in this process's segment, waits for no network, and raises nothing in the profiles
`default` and `prod`. What was refused is logged the first time, counted always (`stats`), and makes
`close` answer False. A forked child writes a segment of its own; a killed one loses nothing.

The bytes are those that the client's own transports would send, unless they hold a secret: that is taken
out first (`redact: false` leaves it to others), since a log cannot forget. The events have no chain of
ours, so what is lost before `emit` is not seen. How the segments reach a topic is the drain's business.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from headwater.emitter import settings as settings_
from headwater.emitter.emitter import MAX_EVENT_BYTES, EventTooLarge, sink_opener
from headwater.emitter.redaction import REDACTED, Redactor
from headwater.emitter.settings import Settings
from headwater.emitter.sinks import EventSink
from headwater.emitter.writer import now_us
from headwater.schemas.errors import Misconfigured, shown
from headwater.schemas.ids import uuid7

try:
    from openlineage.client.serde import Serde
    from openlineage.client.transport.transport import Config, Transport
except ImportError as missing:
    raise Misconfigured(
        f"headwater.emitter.openlineage needs {missing.name}", remedy="pip install 'headwater[openlineage]'"
    ) from missing

log = logging.getLogger("headwater.emitter")

PLACE = "the OpenLineage transport"
_KEYS = ("project", "log", "mode", "profile", "adopt", "spool", "redact", "kafka")
# What the client's factory itself reads.
_FACTORY = frozenset({"type", "name", "priority"})
# Below these, keys are the names of columns: `password` is no secret there.
_KEYED_BY_NAME = frozenset({"fields", "columnMetrics"})
_LEFT_ALONE = frozenset({"_producer", "_schemaURL", "producer", "schemaURL", "eventTime", "runId"})


class HeadwaterConfig(Config):  # type: ignore[misc] # the client brings no types that mypy reads here
    """The transport's own keys, over those of the environment and of headwater.yaml."""

    def __init__(self, settings: Settings | None = None, *, redacts: bool = True) -> None:
        self.settings = settings if settings is not None else settings_.load()
        self.redacts = redacts
        if self.settings.mode == "sync":
            raise Misconfigured(
                f"{PLACE}: mode `sync` waits for the broker, and `emit` waits for no network",
                remedy="write `mode: spool+fsync` for the transport",
            )

    @classmethod
    def from_dict(cls, params: Mapping[str, Any]) -> HeadwaterConfig:
        """Raises `Misconfigured` for a key that is none, and for a wrong value."""
        own = {key: value for key, value in params.items() if key not in _FACTORY}
        for key in own:
            if key not in _KEYS:
                near = get_close_matches(key, _KEYS, n=1)
                raise Misconfigured(
                    f"{PLACE}: {shown(key)} is no setting",
                    remedy=f"did you mean {near[0]}?" if near else f"known: {', '.join(_KEYS)}",
                )
        redacts = own.get("redact") is not False
        if not redacts:
            own["redact"] = {}
        return cls(settings_.load_over(own, PLACE), redacts=redacts)


class Stats(NamedTuple):
    """What became of this process's events; `reasons` counts refusals by error class."""

    accepted: int
    refused: int
    reasons: dict[str, int]


class HeadwaterTransport(Transport):  # type: ignore[misc] # as above
    """Keeps the client's events in headwater's log; safe to call from several threads and after a fork."""

    kind = "headwater"
    config_class = HeadwaterConfig

    def __init__(self, config: HeadwaterConfig) -> None:
        self.settings = config.settings
        self._open_sink = sink_opener(config.settings)
        self._cleaner = _Cleaner(Redactor(config.settings.redact)) if config.redacts else None
        self._regulated = config.settings.profile == "regulated"
        self._begin()
        _transports.add(self)

    def _begin(self) -> None:
        """At the start, and in a forked child, where the parent's lock and segment mean nothing."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._sink: EventSink | None = None
        self._accepted = 0
        self._reasons: Counter[str] = Counter()

    @property
    def stats(self) -> Stats:
        """Counts so far, of this process."""
        return Stats(self._accepted, sum(self._reasons.values()), dict(self._reasons))

    def emit(self, event: Any) -> None:
        """Keep one event, of any class that the client knows, or its document as a dict."""
        try:
            value = self._encoded(event)
            if len(value) > MAX_EVENT_BYTES:
                raise _too_large(event, len(value))
            self._opened().append(value)
            self._accepted += 1
        except Exception as error:
            self._refuse(error)
            if self._regulated:
                raise

    def close(self, timeout: float = -1) -> bool:
        """Seal this process's segment; whether every event was kept. What comes later gets a new segment.

        `timeout` (seconds; negative: none) bounds the wait. An event that was kept needs no wait to be safe,
        except in mode `memory`.
        """
        with self._lock:
            sink, self._sink = self._sink, None
        if sink is not None and not _closed_in_time(sink, timeout) and self.settings.mode == "memory":
            return False
        return not self._reasons

    def _opened(self) -> EventSink:
        if self._pid != os.getpid():
            self._begin()
        sink = self._sink
        if sink is None:
            with self._lock:
                if self._sink is None:
                    self._sink = self._open_sink(uuid7(now_us()))
                sink = self._sink
        return sink

    def _encoded(self, event: Any) -> bytes:
        if self._cleaner is not None:
            event = self._cleaner.cleaned(Serde.to_dict(event))
        encoded: bytes = Serde.to_json(event).encode()
        return encoded

    def _refuse(self, error: Exception) -> None:
        kind = type(error).__name__
        self._reasons[kind] += 1
        if self._reasons[kind] == 1 and not self._regulated:
            log.error("event_refused: %s", error, exc_info=error, extra={"reason": kind})


class _Cleaner:
    """Takes secrets out of a document that others made, where keys and name-value pairs give them away."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def cleaned(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._entry(key, item) for key, item in self._paired(value).items()}
        if isinstance(value, list | tuple):
            return [self.cleaned(item) for item in value]
        return self._redactor.text(value) if isinstance(value, str) else value

    def _entry(self, key: str, value: Any) -> Any:
        if key in _LEFT_ALONE:
            return value
        if key in _KEYED_BY_NAME and isinstance(value, dict):
            return {name: self.cleaned(item) for name, item in value.items()}
        if isinstance(value, dict | list) and not self._redactor.is_secret(key):
            return self.cleaned(value)
        return self._redactor.entry(key, value)

    def _paired(self, value: dict[str, Any]) -> dict[str, Any]:
        """An environment variable, a parameter or a tag: `{name: DB_PASSWORD, value: …}`."""
        if "value" in value and any(self._redactor.is_secret(value.get(key)) for key in ("name", "key")):
            return {**value, "value": REDACTED}
        return value


def _too_large(event: Any, size: int) -> EventTooLarge:
    document = Serde.to_dict(event)
    facets = {
        f"{entity}.{name}": len(Serde.to_json(facet) if isinstance(facet, dict) else str(facet))
        for entity in ("run", "job", "dataset")
        for name, facet in ((document.get(entity) or {}).get("facets") or {}).items()
    }
    facet = max(facets, key=lambda name: facets[name], default="none")
    return EventTooLarge(size=size, facet=facet, facet_size=facets.get(facet, 0))


def _closed_in_time(sink: EventSink, timeout: float) -> bool:
    if timeout < 0:
        sink.close()
        return True
    closing = threading.Thread(target=sink.close, name="headwater-close", daemon=True)
    try:
        closing.start()
    except RuntimeError:  # the interpreter is leaving, and starts no more threads
        sink.close()
        return True
    closing.join(timeout)
    return not closing.is_alive()


_transports: weakref.WeakSet[HeadwaterTransport] = weakref.WeakSet()


def _close_all() -> None:
    for transport in list(_transports):
        try:
            transport.close()
        except Exception:  # the interpreter is leaving: nobody is left to handle it
            log.exception("transport_not_closed")


def _after_fork_in_child() -> None:
    for transport in list(_transports):
        transport._begin()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork_in_child)
