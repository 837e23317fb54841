"""Bringing one event that was just written into the store, so that the next question knows of it.

The event is in the log for good before anything here is called; a store that is away, or that
another consumer keeps, costs nothing but that it is brought in later. Folding touches the partition
of this event alone and takes no other consumer's work away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from headwater.consumers.log import SEGMENTS, Partition, open_log
from headwater.consumers.positions import Fenced
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store
from headwater.consumers.tables import event
from headwater.emitter.emitter import Receipt
from headwater.emitter.settings import Settings
from headwater.schemas.errors import HeadwaterError, Retryable

#: How long the store may be away before we leave the folding to others, and they may take to do it.
PATIENCE_S = 5.0
FOLLOWED_S = 2.0
LOOK_S = 0.05


def bring_in(
    store: Store, settings: Settings, at: int, receipt: Receipt, sleep: Callable[[float], None] = time.sleep
) -> tuple[bool, str | None]:
    """Fold the event of time `at` (µs) in the log of `settings` into `store`; (whether it is there, why not).

    Of a topic only the broker knows where in it the event is: its consumer brings it in.
    """
    if settings.topic is not None:
        return _is_brought_in(store, at, receipt, sleep), None
    partition = Partition(SEGMENTS, receipt.position.partition)
    bounds = {partition: receipt.position.offset + 1}
    try:
        with open_log(str(settings.log)) as source:
            Runner(store, source, bounds=bounds, take_over=False, patience_s=PATIENCE_S).run()
        return _is_in(store, at, receipt), None
    except Fenced:
        return _is_brought_in(store, at, receipt, sleep), None
    except HeadwaterError as problem:
        return False, str(problem)


def _is_brought_in(store: Store, at: int, receipt: Receipt, sleep: Callable[[float], None]) -> bool:
    """Whether another consumer, which has it, brings it into the store in a moment."""
    waited = 0.0
    while not _is_in(store, at, receipt):
        if waited >= FOLLOWED_S:
            return False
        sleep(LOOK_S)
        waited += LOOK_S
    return True


def _is_in(store: Store, at: int, receipt: Receipt) -> bool:
    with suppress(Retryable, OperationalError), store.connecting() as connection:
        found = select(event.c.at).where(
            event.c.at == at, event.c.event_id == bytes.fromhex(receipt.event_id)
        )
        return connection.execute(found).first() is not None
    return False
