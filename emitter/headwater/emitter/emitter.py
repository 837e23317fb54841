"""The emitter: gives each event its place in this process's chain and puts it into the log.

`emit` = redact, take the next sequence number, render, hash, append, return a receipt. The
sequence is dense from 0 and each event names the sha256 of the one before, so an event that
was accepted and is missing later is seen; one that was refused leaves a gap in the sequence
on purpose. `close` says of every run how many events it had here, and marks the last event
as final: an emitter without one is known to have ended unsaid.

One emitter per process. A forked child goes on with the same object as a new emitter: new
id, new chain, new segment. No signal handler is installed; the spool makes that needless.

In the `default` profile `emit` never raises: what is refused is logged the first time,
counted always. In `regulated` it raises the typed error. What an event looks like is the
business of `headwater.schemas.rendering`, where it is kept that of the sink.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import orjson

from headwater.emitter import settings as settings_
from headwater.emitter.redaction import Redactor
from headwater.emitter.settings import Settings
from headwater.emitter.sinks import Confirming, EventSink, Position, QueueSink, SinkClosed
from headwater.emitter.spool import Spool
from headwater.emitter.writer import now_us
from headwater.schemas.errors import HeadwaterError, Rejected, Retryable
from headwater.schemas.events import Emission, Event, Run, RunClosed, RunFact
from headwater.schemas.ids import uuid7
from headwater.schemas.rendering import encode, render

log = logging.getLogger("headwater.emitter")

MAX_EVENT_BYTES = 8 << 20
# Runs that were closed and may still get a late event keep their counts; this many of them.
_REMEMBERED_RUNS = 4096


class EventTooLarge(Rejected):
    """An event of more than 8 MiB: nothing was written. `facet` is its largest one, with its size."""

    def __init__(self, *, size: int, facet: str, facet_size: int) -> None:
        super().__init__(
            f"the event has {size} bytes, the limit is {MAX_EVENT_BYTES}; "
            f"its largest facet is {facet} with {facet_size} bytes",
            remedy="keep such data as an artifact and name it here",
        )
        self.size = size
        self.limit = MAX_EVENT_BYTES
        self.facet = facet
        self.facet_size = facet_size


class Unconfirmed(Retryable):
    """Mode `sync`: the broker has not acknowledged an event in time.

    It is in the spool with its place in the chain, and will be delivered; emitting it again would double it.
    """

    def __init__(self, receipt: Receipt, topic: str, why: HeadwaterError) -> None:
        super().__init__(
            f"{topic} has not acknowledged event {receipt.event_id}: {why.message}; "
            "the event is in the spool and will be sent",
            remedy="; ".join(filter(None, (why.remedy, "`headwater drain` sends what is left"))),
        )
        self.receipt = receipt


class KeptAside(Rejected):
    """Mode `sync`: the broker refused an event for good. It is in the chain, and kept aside."""

    def __init__(self, receipt: Receipt, topic: str, why: HeadwaterError) -> None:
        super().__init__(
            f"{topic} refused event {receipt.event_id}: {why.message}; the event is kept aside in `parked/`",
            remedy="mend the cause, then `headwater drain --parked` sends it",
        )
        self.receipt = receipt


class Receipt(NamedTuple):
    """An event was accepted: its id (sha256 of its bytes, hex), its place in the chain, and where it is."""

    event_id: str
    sequence: int
    position: Position


class Stats(NamedTuple):
    """What became of this emitter's events; `reasons` counts refusals by error class.

    `unconfirmed` of the accepted ones were refused by the broker, or not acknowledged in time (mode `sync`).
    """

    accepted: int
    refused: int
    deferred: int
    reasons: dict[str, int]
    unconfirmed: int = 0


class _Account:
    """One run as this emitter knows it."""

    __slots__ = ("events", "last_sequence", "parent", "root", "run")

    def __init__(self, run: Run, parent: Run | None, root: Run | None) -> None:
        self.run = run
        self.parent = parent
        self.root = root
        self.events = 0
        self.last_sequence = -1


SinkOpener = Callable[[str], EventSink]


class Emitter:
    """This process's voice in the log; safe to call from several threads.

    `open_sink` is called with the emitter's id at the first event, and again in a forked child.
    """

    def __init__(self, settings: Settings, open_sink: SinkOpener, *, now: Callable[[], int] = now_us) -> None:
        self.settings = settings
        self._open_sink = open_sink
        self._now = now
        self._redactor = Redactor(settings.redact)
        self._regulated = settings.profile == "regulated"
        self._confirms = settings.mode == "sync"
        self._begin()
        _emitters.add(self)

    def _begin(self) -> None:
        """Be a new emitter: at the start, and in a forked child, where the parent's locks mean nothing."""
        self.emitter_id = uuid7(self._now())
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._closing = threading.RLock()
        self._busy = False
        self._deferred: list[Event] = []
        self._deferrals = 0
        self._sequence = 0
        self._previous: str | None = None
        self._sink: EventSink | None = None
        self._accounts: dict[str, _Account] = {}
        self._settled: dict[str, _Account] = {}
        self._last_account: _Account | None = None
        self._accepted = 0
        self._reasons: Counter[str] = Counter()
        self._unconfirmed = 0
        self._final = False
        self.closed = False

    @property
    def stats(self) -> Stats:
        """Counts so far; a snapshot."""
        with self._lock:
            refused = sum(self._reasons.values())
            return Stats(self._accepted, refused, self._deferrals, dict(self._reasons), self._unconfirmed)

    def emit(self, event: Event, *, final: bool = False) -> Receipt | None:
        """Accept one event; None when it was refused (default profile), or put off by re-entrance.

        `final` says that this emitter emits nothing after it. An event emitted while this very
        thread is emitting (from a signal handler or a destructor) is emitted right after.
        """
        if self._pid != os.getpid():
            self._begin()
        receipts = self._accept(event, final)
        if self._confirms:
            self._await_broker(receipts)
        return receipts[0]

    def _accept(self, event: Event, final: bool) -> list[Receipt | None]:
        """The receipt of the event, then those of events that came while it was emitted."""
        with self._lock:
            if self._busy:
                self._deferred.append(event)
                self._deferrals += 1
                return [None]
            self._busy = True
            try:
                receipts = [self._emit(event, final)]
            finally:
                self._busy = False
            while self._deferred:
                receipts += self._accept(self._deferred.pop(0), False)
            return receipts

    def _await_broker(self, receipts: Iterable[Receipt | None]) -> None:
        """Mode `sync`, without any lock: return once the broker has these events.

        Raises in the regulated profile, `KeptAside` for the first that it refused, `Unconfirmed` for the last
        when it takes too long. In the default profile that is told once, and nobody waits again while the
        broker is away.
        """
        sink, kept = self._sink, [receipt for receipt in receipts if receipt is not None]
        if not kept or not isinstance(sink, Confirming):
            return
        topic = str(self.settings.topic)
        reasons = sink.confirm([receipt.position for receipt in kept], patient=self._regulated)
        refused: KeptAside | None = None
        late: Unconfirmed | None = None
        for receipt, why in zip(kept, reasons, strict=True):
            if isinstance(why, Rejected):
                refused = refused or KeptAside(receipt, topic, why)
            elif why is not None:
                late = Unconfirmed(receipt, topic, why)
        self._settle_unconfirmed(sum(why is not None for why in reasons), refused or late)

    def _settle_unconfirmed(self, count: int, error: Unconfirmed | KeptAside | None) -> None:
        if error is None:
            return
        with self._lock:
            first = not self._unconfirmed
            self._unconfirmed += count
        if self._regulated:
            raise error
        if first:
            log.error("event_unconfirmed: %s", error, extra={"event_id": error.receipt.event_id})

    def close_run(self, run: Run, parent: Run | None = None, root: Run | None = None) -> Receipt | None:
        """Say that this emitter is done with `run`: `RunClosed`, with how many events it had here.

        None also when the run had none here.
        """
        with self._lock:
            account = self._accounts.pop(run.id, None) or self._settled.get(run.id)
            if account is None:
                return None
            account.parent, account.root = parent or account.parent, root or account.root
            receipts = self._close_account(account, final=False)
        if self._confirms:
            self._await_broker(receipts)
        return receipts[0]

    def close(self) -> None:
        """`RunClosed` for every run still open, the last one final; then the sink. May be called twice.

        Never raises in the default profile.
        """
        if self._pid != os.getpid():
            return
        # Apart from the lock of those that emit: nobody else waits for a broker, or for a disk, meanwhile.
        with self._closing:
            if self.closed:
                return
            try:
                receipts = self._close_accounts()
                if self._confirms:
                    self._await_broker(receipts)
            finally:
                if self._sink is not None:
                    self._sink.close()
            if self._reasons:
                log.error("events_refused_in_all: %d", sum(self._reasons.values()), extra=dict(self._reasons))

    def _close_accounts(self) -> list[Receipt | None]:
        """`RunClosed` for every run still open; nothing is accepted after it."""
        receipts: list[Receipt | None] = []
        with self._lock:
            open_ = list(self._accounts.values())
            self._accounts.clear()
            if self._final:
                open_ = []
            elif not open_ and self._last_account is not None:
                open_ = [self._last_account]
            try:
                for account in open_:
                    receipts += self._close_account(account, final=account is open_[-1])
            finally:
                self.closed = True
        return receipts

    # -- one event -----------------------------------------------------------------------

    def _emit(self, event: Event, final: bool) -> Receipt | None:
        """The effects of one event, in order. Whatever stops it, the sequence number is used up."""
        sink = self._sink
        kept = 0 if sink is None else sink.kept
        sequence = self._sequence
        event_id: str | None = None
        try:
            if self.closed or self._final:
                raise SinkClosed(f"emitter {self.emitter_id} is closed", remedy="ask for current() again")
            if sink is None:
                sink = self._opened()
            self._sequence = sequence + 1
            emission = Emission(
                emitter_id=self.emitter_id, sequence=sequence, previous=self._previous, final=final
            )
            event = self._redactor.redact(event)
            value = encode(event, emission)
            if len(value) > MAX_EVENT_BYTES:
                raise _too_large(value, event, emission)
            event_id = hashlib.sha256(value).hexdigest()
            position = sink.append(value)
            self._record(event, event_id, sequence, final)
            return Receipt(event_id, sequence, position)
        except Exception as error:
            self._refuse(error)
            if self._regulated:
                raise
            return None
        except BaseException:
            # A signal's exception. If the event is in the log all the same, the chain must go on from it.
            if event_id is not None and sink is not None and sink.kept != kept and self._previous != event_id:
                self._record(event, event_id, sequence, final)
            raise

    def _opened(self) -> EventSink:
        self._sink = self._open_sink(self.emitter_id)
        _close_at_exit()
        return self._sink

    def _record(self, event: Event, event_id: str, sequence: int, final: bool) -> None:
        self._previous = event_id
        self._accepted += 1
        self._final = final
        if not isinstance(event, RunFact):
            return
        account = self._accounts.get(event.run.id)
        if account is None:
            account = self._account_of(event)
        if type(event) is not RunClosed:
            account.events += 1
            account.last_sequence = sequence

    def _account_of(self, event: RunFact) -> _Account:
        account = self._settled.pop(event.run.id, None) or _Account(event.run, event.parent, event.root)
        self._last_account = account
        # A RunClosed opens nothing: it is what settles an account.
        (self._settled if type(event) is RunClosed else self._accounts)[event.run.id] = account
        if len(self._settled) > _REMEMBERED_RUNS:
            del self._settled[next(iter(self._settled))]
        return account

    def _close_account(self, account: _Account, *, final: bool) -> list[Receipt | None]:
        self._settled[account.run.id] = account
        event = RunClosed(
            time=self._now(),
            run=account.run,
            parent=account.parent,
            root=account.root,
            emitter_id=self.emitter_id,
            events=account.events,
            last_sequence=account.last_sequence,
        )
        return self._accept(event, final)

    def _refuse(self, error: Exception) -> None:
        kind = type(error).__name__
        self._reasons[kind] += 1
        if self._reasons[kind] == 1 and not self._regulated:
            log.error("event_refused: %s", error, exc_info=error, extra={"reason": kind})


def _too_large(value: bytes, event: Event, emission: Emission) -> EventTooLarge:
    sizes = dict(_facet_sizes(render(event, emission)))
    facet = max(sizes, key=lambda name: sizes[name], default="none")
    return EventTooLarge(size=len(value), facet=facet, facet_size=sizes.get(facet, 0))


def _facet_sizes(document: object) -> list[tuple[str, int]]:
    """The facets of a rendered event, wherever they stand, with the bytes they take."""
    if isinstance(document, list):
        return [found for item in document for found in _facet_sizes(item)]
    if not isinstance(document, dict):
        return []
    sizes = []
    for key, value in document.items():
        if key in ("facets", "inputFacets", "outputFacets") and isinstance(value, dict):
            sizes += [(name, len(orjson.dumps(facet, default=str))) for name, facet in value.items()]
        elif key in ("run", "job", "dataset", "inputs", "outputs"):
            sizes += _facet_sizes(value)
    return sizes


# -- this process's emitter ------------------------------------------------------------------

_emitters: weakref.WeakSet[Emitter] = weakref.WeakSet()
_current: Emitter | None = None
_guard = threading.Lock()
_exit_pid = 0


def current() -> Emitter:
    """This process's emitter, made from the settings on first use; raises `Misconfigured` for wrong ones."""
    emitter = _current
    if emitter is not None and not emitter.closed:
        return emitter
    return _renewed()


def _renewed() -> Emitter:
    global _current
    with _guard:
        if _current is None or _current.closed:
            _current = from_settings(_current.settings if _current else settings_.load())
        return _current


def configure(settings: Settings | None = None, sink: EventSink | None = None) -> None:
    """Use these settings, and this sink if one is given, from now on; closes the emitter in use."""
    global _current
    with _guard:
        before, _current = _current, None
    if before is not None:
        before.close()
    chosen = settings if settings is not None else settings_.load()
    emitter = from_settings(chosen) if sink is None else Emitter(chosen, lambda _: sink)
    with _guard:
        _current = emitter


def from_settings(settings: Settings, *, now: Callable[[], int] = now_us) -> Emitter:
    """An emitter whose events go where `settings` say."""
    return Emitter(settings, _Opener(settings), now=now)


def sink_opener(settings: Settings) -> SinkOpener:
    """What opens the place where `settings` keep events, for an emitter's id."""
    return _Opener(settings)


class _Opener:
    """Opens the sink of a mode; a forked child leaves what others left to a parent that opened one itself.

    A parent that only forks, as that of a prefork server does, opens none, and its children look after it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened_by: int | None = None
        if settings.topic is not None:
            settings.topic.name  # noqa: B018 - several topics are refused before anything is emitted

    def __call__(self, emitter_id: str) -> EventSink:
        settings = self._settings
        directory = settings.log.absolute()
        self._opened_by = self._opened_by or os.getpid()
        others = self._opened_by == os.getpid()
        spool = Spool(
            directory,
            emitter_id=emitter_id,
            limits=settings.spool,
            fsync=settings.mode == "spool+fsync",
            first=(lambda: _adopt(directory)) if settings.adopt and others else None,
        )
        sink: EventSink = spool
        if settings.topic is not None:
            from headwater.emitter.drained import DrainedSpool  # a log in a folder never needs it

            sink = DrainedSpool(spool, settings, others=others)
        return QueueSink(sink) if settings.mode == "memory" else sink


def _adopt(directory: Path) -> None:
    from headwater.emitter.adoption import adopt_marked  # once per process, and not when adoption is off

    adopt_marked(directory)


def _close_at_exit() -> None:
    """See to it that `_close_all` runs when this process ends in good order; once per process.

    Children of multiprocessing leave through os._exit and run no atexit functions, but
    they do run its finalizers. That module is only in such a child if it was imported.
    """
    global _exit_pid
    if _exit_pid == os.getpid():
        return
    if _exit_pid == 0:
        atexit.register(_close_all)
    _exit_pid = os.getpid()
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _close_all, exitpriority=0)


def _close_all() -> None:
    for emitter in list(_emitters):
        try:
            emitter.close()
        except Exception:  # the interpreter is leaving: nobody is left to handle it
            log.exception("emitter_not_closed", extra={"emitter": emitter.emitter_id})


def _after_fork_in_child() -> None:
    global _guard
    _guard = threading.Lock()
    for emitter in list(_emitters):
        emitter._begin()


os.register_at_fork(after_in_child=_after_fork_in_child)
