"""Rebuilding a store from the log, and proving that a store is what the log says.

`replay` fills a fresh store, or goes on filling one that an earlier replay left unfinished.
`verify` replays, into a scratch store, exactly the records that a live store has consumed, and
compares digests; it names the first row that differs, and records that the log has lost.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headwater.consumers import books, positions
from headwater.consumers.digest import Difference, StateDigest, digest_of, first_difference
from headwater.consumers.lineage import LineageProjection
from headwater.consumers.log import Cursor, Log, Partition
from headwater.consumers.runner import Progress, Runner
from headwater.consumers.store import Store, open_store
from headwater.schemas.errors import Corrupt


@dataclass(frozen=True, slots=True)
class Missing:
    """Records that the store has consumed and the log no longer holds."""

    place: str
    consumed: int
    found: int


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a store equals its log. `built_by` is the code that wrote the store, `checked_by` this one."""

    equal: bool
    records: int
    seconds: float
    built_by: str
    checked_by: str
    store: StateDigest
    log: StateDigest
    difference: Difference | None
    missing: tuple[Missing, ...]
    damaged: tuple[Corrupt, ...]


def replay(
    source: Log,
    url: str,
    *,
    until: int | None = None,
    accept_damage: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Fold the whole of `source` into the store at `url`, making its schema when it is empty.

    With `until` (µs since 1970 UTC) only what was known by then, by append time; such a store is
    marked and never consumes more. Stopped and started again it goes on where it was. Raises
    `Misconfigured` when the store already holds another fold.
    """
    with open_store(url, create=True) as store:
        runner = Runner(store, source, until=until, accept_damage=accept_damage)
        return runner.run(stopping=stopping, report=report)


def verify(
    store: Store,
    source: Log,
    *,
    scratch: Path | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Verification:
    """Compare `store` with a replay of the records it has consumed, in a scratch SQLite store.

    `scratch` is a folder for it (default: the system's); it needs about the live store's size
    and is removed afterwards. Neither the store nor the log is written to.
    """
    begun = time.monotonic()
    name = LineageProjection.name
    entry = books.entry(store, name)
    books.require_version(store, name, entry.version, LineageProjection.version)
    # One snapshot for all: a consumer may go on meanwhile, and what it writes is not what is compared.
    with (
        store.snapshot() as held,
        tempfile.TemporaryDirectory(prefix="headwater-verify-", dir=scratch) as folder,
        open_store(f"sqlite:///{folder}/scratch.db") as twin,
    ):
        consumed = {part: cursor.offset for part, cursor in positions.stored(held, name).items()}
        accepted = books.accepted_damage(held, name)
        live = digest_of(held)
        runner = Runner(twin, source, bounds=consumed, until=entry.known_at, accept_damage=accepted)
        progress = runner.run(report=report)
        missing = _missing(twin, source, consumed)
        with twin.snapshot() as replayed:
            folded = digest_of(replayed)
            difference = first_difference(held, replayed, live, folded)
    return Verification(
        equal=live.root == folded.root and not missing and not progress.damaged,
        records=progress.seen,
        seconds=time.monotonic() - begun,
        built_by=entry.code_version,
        checked_by=books.code_version(),
        store=live,
        log=folded,
        difference=difference,
        missing=missing,
        damaged=tuple(progress.damaged.values()),
    )


def _missing(twin: Store, source: Log, consumed: dict[Partition, int]) -> tuple[Missing, ...]:
    with twin.connecting() as connection:
        reached = positions.stored(connection, LineageProjection.name)
    lost = []
    for partition, offset in sorted(consumed.items()):
        found = reached.get(partition, Cursor()).offset
        if found < offset:
            lost.append(Missing(source.place(partition), offset, found))
    return tuple(lost)
