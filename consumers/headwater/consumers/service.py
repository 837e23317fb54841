"""A consumer as a long-running service: it waits for what is away, says how it is, and ends when told.

`serve` consumes until `stop` is asked for. A store or a log that is away is waited for without an end,
unready meanwhile. Stopping finishes the batch under way, leaves the group and returns; what is not finished
within `stop_within_s` is dropped where it is, as a crash would do, and as harmless: a batch is in the store
whole or not at all.

    SIGTERM                       the step under way ends; partitions are handed over; exit 0
    … and nothing ends            after `stop_within_s` the process ends at once, exit 0
    the store or a broker away    not ready; tried again for ever, with growing pauses
    a topic's budget is spent     that topic halts; the native topic's ends the service (`BudgetSpent`)
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from headwater.consumers import completeness
from headwater.consumers.breaker import Breaker, Limits
from headwater.consumers.health import Answer, Health
from headwater.consumers.instruments import Meter
from headwater.consumers.log import Cursor, Log, Partition, Record, open_log
from headwater.consumers.positions import Tally
from headwater.consumers.runner import Progress, Runner
from headwater.consumers.sharing import ByNumber, Sharing, shared
from headwater.consumers.store import Store, open_store
from headwater.consumers.version import code_version
from headwater.schemas.errors import Misconfigured, Retryable

log = logging.getLogger(__name__)

STOP_WITHIN_S = 25.0
#: How long one answer of the cluster may take; shorter than a person's patience with SIGTERM.
ANSWER_S = 10.0
COMPLETENESS_S = 300.0
_SLICE_S = 0.2
_OPENING_S = 2.0

Opened = TypeVar("Opened")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What to serve: `listen` is HOST:PORT or None; `limits` are the budgets by topic name."""

    store: str = field(repr=False)
    log: str
    kafka: Mapping[str, Any] = field(default_factory=dict, repr=False)
    listen: str | None = None
    limits: Mapping[str, Limits] = field(default_factory=dict)
    stop_within_s: float = STOP_WITHIN_S


class Stop:
    """Whether somebody asked to stop. Safe to set in a signal's handler: it takes no lock."""

    def __init__(self) -> None:
        self.asked_at: float | None = None

    def ask(self) -> None:
        if self.asked_at is None:
            self.asked_at = time.monotonic()

    def __call__(self) -> bool:
        return self.asked_at is not None


class _Watch:
    """The observer of a service: the health, and the meter where there is one."""

    def __init__(self, health: Health, meter: Meter | None) -> None:
        self._all = (health,) if meter is None else (health, meter)

    def committed(
        self, records: Sequence[Record], tallies: Mapping[Partition, Tally], seconds: float
    ) -> None:
        log.info("batch_applied", extra=_told(tallies, seconds))
        for each in self._all:
            each.committed(records, tallies, seconds)

    def stepped(self, cursors: Mapping[Partition, Cursor], source: Log) -> None:
        for each in self._all:
            each.stepped(cursors, source)

    def waiting(self, error: Exception) -> None:
        for each in self._all:
            each.waiting(error)

    def fenced(self, partition: Partition) -> None:
        for each in self._all:
            each.fenced(partition)


def _told(tallies: Mapping[Partition, Tally], seconds: float) -> dict[str, Any]:
    parts = ("applied", "duplicate", "quarantined", "gaps")
    sums = {part: sum(getattr(tally, part) for tally in tallies.values()) for part in parts}
    return {**sums, "partitions": len(tallies), "seconds": round(seconds, 3)}


def serve(service: Service, stop: Stop) -> Progress:
    """Consume until `stop` is asked for. Raises what no waiting mends: `Misconfigured`, `BudgetSpent`."""
    health = Health()
    meter = Meter() if service.listen else None
    with ExitStack() as stack:
        if service.listen:
            stack.enter_context(_answering(service.listen, health, meter))
        stack.enter_context(_bounded(stop, service.stop_within_s))
        log.info("service_started", extra={"version": code_version(), "log": service.log})
        store = _patiently(lambda: open_store(service.store), health, stop)
        if store is None:
            return Progress()
        stack.enter_context(store)
        source = stack.enter_context(open_log(service.log, service.kafka, answer_s=ANSWER_S))
        sharing = _patiently(
            lambda: shared(source, service.store, service.kafka) or ByNumber(0, 1), health, stop
        )
        if sharing is None:
            return Progress()
        progress = _consume(service, store, source, sharing, health, meter, stop)
        health.not_ready("stopped")
    log.info("service_stopped", extra={"seen": progress.seen})
    return progress


def _consume(
    service: Service,
    store: Store,
    source: Log,
    sharing: Sharing,
    health: Health,
    meter: Meter | None,
    stop: Stop,
) -> Progress:
    health.awaits(lambda: sharing.awaited)
    runner = Runner(
        store,
        source,
        sharing=sharing,
        breaker=Breaker(limits=service.limits, native=source.native),
        observer=_Watch(health, meter),
        patience_s=float("inf"),
        sleep=lambda seconds: _sleep(seconds, stop, health, sharing),
    )

    def report(progress: Progress) -> None:
        if meter is not None:
            meter.halted(progress.spent, progress.damaged, source.halted)

    done = threading.Event()
    if meter is not None:
        watching = threading.Thread(target=_watch_completeness, args=(store, meter, done), daemon=True)
        watching.start()
    try:
        return runner.run(follow=True, stopping=stop, report=report)
    finally:
        done.set()
        sharing.close()


def _sleep(seconds: float, stop: Stop, health: Health, sharing: Sharing | None) -> None:
    """A pause that ends when it is told to, and in which the group goes on to hear of us."""
    deadline = time.monotonic() + seconds
    while not stop() and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, _SLICE_S))
        health.beat()
        if sharing is not None:
            sharing.attend()


def _patiently(open_: Callable[[], Opened], health: Health, stop: Stop) -> Opened | None:
    """What `open_` opens, however long it is away; None when asked to stop before."""
    while not stop():
        try:
            return open_()
        except Retryable as away:
            health.not_ready(away.message)
            log.warning("store_unavailable", extra={"error": away.message, "pause_s": _OPENING_S})
            _sleep(_OPENING_S, stop, health, None)
    return None


@contextmanager
def _bounded(stop: Stop, within_s: float) -> Iterator[None]:
    """Once asked to stop, end within the bound, whatever is still waited for."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SLICE_S):
            if stop.asked_at is not None and time.monotonic() - stop.asked_at > within_s:
                log.warning("batch_dropped", extra={"waited_s": within_s})
                # Nothing is torn by it: the database takes back the transaction, the group notices.
                os._exit(0)

    threading.Thread(target=watch, name="headwater-stop", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch_completeness(store: Store, meter: Meter, done: threading.Event) -> None:
    while not done.is_set():
        try:
            with store.connecting() as connection:
                meter.emitters(completeness.each_emitter(connection))
        except Exception as error:  # noqa: BLE001 - of a thread that must not end; the runner meets the same
            log.warning("completeness_unknown", extra={"error": str(error).partition("\n")[0]})
        done.wait(COMPLETENESS_S)


# -- probes and metrics -------------------------------------------------------------------


@contextmanager
def _answering(listen: str, health: Health, meter: Meter | None) -> Iterator[None]:
    host, port = parsed_listen(listen)
    handler = type("Handler", (_Handler,), {"health": health, "meter": meter})
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = type("Server", (ThreadingHTTPServer,), {"address_family": family})
    try:
        server: ThreadingHTTPServer = kind((host, port), handler)
    except OSError as refused:
        raise Misconfigured(f"cannot listen on {listen}: {refused.strerror or refused}") from refused
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="headwater-http", daemon=True).start()
    log.info("listening", extra={"host": host, "port": server.server_address[1]})
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def parsed_listen(listen: str) -> tuple[str, int]:
    """HOST:PORT, or :PORT for all addresses; raises `Misconfigured`."""
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65_535:
        raise Misconfigured(f"--listen {listen!r} is no HOST:PORT", remedy="write 127.0.0.1:9095")
    return host.strip("[]"), int(port)


class _Handler(BaseHTTPRequestHandler):
    """/livez, /readyz and /metrics; nothing of what events say."""

    health: Health
    meter: Meter | None
    server_version = "headwater"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        if self.path == "/livez":
            self._probe(self.health.alive())
        elif self.path == "/readyz":
            self._probe(self.health.ready())
        elif self.path == "/metrics" and self.meter is not None:
            self.meter.ready(self.health.ready().ok)
            self._answer(200, self.meter.exposed(), "text/plain; version=0.0.4; charset=utf-8")
        else:
            self._answer(404, b"there are /livez, /readyz and /metrics\n")

    def _probe(self, found: Answer) -> None:
        self._answer(200 if found.ok else 503, f"{found.why}\n".encode())

    def _answer(self, code: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds: not worth a line each."""
