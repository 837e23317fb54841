"""Statements about assets, made outside of any run: tags, descriptions, owners, aliases, recalls.

`state` is for programs that write a few of them, a command line or a registry's hook. It is an
emitter of its own that begins, speaks and ends: its chain is whole, its last event is marked as
final, its segment is sealed. When it returns, the events have been flushed to the disk, or
acknowledged by the broker where the log is a topic; when they cannot be, it raises, whatever the
profile says, for a recall that nobody kept must not look like one. What a statement means and who
reads it is not its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headwater.emitter import settings as settings_
from headwater.emitter.emitter import KeptAside, Receipt, Unconfirmed, from_settings
from headwater.emitter.settings import Settings
from headwater.schemas.errors import Rejected
from headwater.schemas.events import AssetEvent


def state(events: Sequence[AssetEvent], settings: Settings | None = None) -> tuple[Receipt, ...]:
    """Put `events` into the log that `settings` name (default: this process's), in this order.

    Returns where each of them is. Raises `Rejected` when there are none, `Misconfigured` for
    wrong settings, `EventTooLarge`, `SpoolFull` or `Unwritable` for an event that was not kept;
    those before it were. Raises `Unconfirmed` when the broker did not answer in time: then all of them
    are kept in the spool, and will be delivered; `KeptAside` when it refused one.
    """
    if not events:
        raise Rejected("there is nothing to state", remedy="give at least one event")
    chosen = settings_.load() if settings is None else settings
    # What dead processes left is adopted by those that record runs; this one is gone in a moment.
    mode = "spool+fsync" if chosen.topic is None else "sync"
    emitter = from_settings(replace(chosen, mode=mode, profile="regulated", adopt=False))
    late: Unconfirmed | KeptAside | None = None
    receipts = []
    try:
        for at, event in enumerate(events):
            try:
                receipts.append(_stated(emitter.emit(event, final=at == len(events) - 1)))
            except (Unconfirmed, KeptAside) as unconfirmed:
                late = unconfirmed if not isinstance(late, KeptAside) else late
                receipts.append(unconfirmed.receipt)
    finally:
        emitter.close()
    if late is not None:
        raise late
    return tuple(receipts)


def _stated(receipt: Receipt | None) -> Receipt:
    if receipt is None:
        raise Rejected("the event was put off: a statement cannot be made while one is being made")
    return receipt
