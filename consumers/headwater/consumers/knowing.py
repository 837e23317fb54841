"""What was known at a time: the questions, asked of exactly the events appended until then.

    with lineage.known_at(datetime(2026, 3, 3, tzinfo=UTC), log=".headwater/log") as then:
        then.show("churn-model")

A question about one name reads back the few events that it needs, as far as the live store can
tell which (`headwater.consumers.gathering`); any other replays the log until then into a scratch
store, once, which is kept for the next question (`headwater.consumers.known_stores`). Both give the
same answers, and neither the live store nor the log is written to.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from headwater.consumers import books
from headwater.consumers.answers import Ambiguous, Unknown
from headwater.consumers.asking import Lineage, opened
from headwater.consumers.gathering import About, gather
from headwater.consumers.known_stores import KnownStores, folder_of
from headwater.consumers.lineage import LineageProjection
from headwater.consumers.log import Log, Partition, SegmentLog, open_log
from headwater.consumers.misnamed import appended_after, told
from headwater.consumers.naming import NamedRun, find
from headwater.consumers.positions import stored
from headwater.consumers.runner import Progress, Runner
from headwater.consumers.store import Store, open_store
from headwater.schemas.errors import Corrupt, Misconfigured, shown

log = logging.getLogger(__name__)

#: Above this part of all events, reading back the events of one question is no gain.
SHARE = 1 / 3


class KnownLineage(Lineage):
    """The lineage as it was known at `until` (µs since 1970 UTC, inclusive). For one thread.

    `live` is the store that says where events lie; None, and every question replays. `kept` holds
    stores between uses, by the log's `name`; without both they are removed. `report` is told how far a
    replay is. `damaged` holds what of the log could not be read: answers then leave out what stands behind.
    """

    def __init__(
        self,
        live: Store | None,
        source: Log,
        until: int,
        *,
        name: str | None = None,
        kept: KnownStores | None = None,
        share: float = SHARE,
        report: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._name = name
        self._scratch = ExitStack()
        self._live = live
        self._source = source
        self._until = until
        self._kept = kept
        self._share = share
        self._report = report
        self._accepts_damage, self._can_gather = _seen_by(live)
        self._url = None
        self.damaged: dict[Partition, Corrupt] = {}

    def close(self) -> None:
        """Give back the scratch stores."""
        self._store = None
        self._scratch.close()

    @contextmanager
    def _reading(self, about: About | None = None) -> Iterator[Connection]:
        if about is not None and self._store is None and not self._is_kept():
            with self._gathered(about) as scratch:
                if scratch is not None:
                    with Lineage(scratch)._reading() as connection, self._explaining(connection):
                        yield connection
                    return
        if self._store is None:
            self._store = self._whole()
        with super()._reading() as connection, self._explaining(connection):
            yield connection

    @contextmanager
    def _explaining(self, known: Connection) -> Iterator[None]:
        """What was not known then, and is now, is said to be so."""
        try:
            yield
        except Unknown as unknown:
            later = self._known_since(known, unknown.name) if unknown.name is not None else None
            if later is None:
                raise
            message = f"{shown(unknown.name)} was not known yet"
            raise Unknown(message, remedy=later, name=unknown.name) from unknown

    @staticmethod
    def _was_known(known: Connection, name: str) -> bool:
        try:
            find(known, name)
        except Ambiguous:
            return True
        except Unknown:
            return False
        return True

    def _known_since(self, known: Connection, name: str) -> str | None:
        """When the log was first told of it after then; None where nothing is called that now either.

        None as well where it was known, and is refused for another reason: it had not happened by then.
        """
        if self._live is None or self._was_known(known, name):
            return None
        with self._live.snapshot() as live:
            try:
                named = find(live, name)
            except (Unknown, Ambiguous):
                return None
            if isinstance(named, NamedRun):
                time = appended_after(live, self._until, [], named.run)
            else:
                time = appended_after(live, self._until, named.datasets)
        # An event of the same run may have come before the one that names it.
        return None if time is None else f"the log was told of it at {told(time)} or later"

    # -- one question ----------------------------------------------------------------------

    @contextmanager
    def _gathered(self, about: About) -> Iterator[Store | None]:
        """A store with what `about` needs; None when only the whole will do."""
        if self._live is None or not self._can_gather:
            yield None
            return
        with _temporary() as scratch:
            with self._live.snapshot() as live:
                enough = gather(live, self._source, scratch, about, until=self._until, share=self._share)
            yield scratch if enough else None

    # -- the whole -------------------------------------------------------------------------

    def _whole(self) -> Store:
        """The store of everything known then; stays open until `close`."""
        path = self._place()
        if self._kept is not None and path is not None:
            try:
                return self._kept_whole(self._kept, path)
            except OSError as cause:
                log.info("known_store_not_kept", extra={"error": cause.strerror})
        scratch = self._scratch.enter_context(_temporary())
        self._fill(scratch)
        return scratch

    def _kept_whole(self, kept: KnownStores, path: Path) -> Store:
        while True:
            with kept.filling(path):
                store = self._refilled(kept, path)
                store.close()
            with ExitStack() as held:
                if not held.enter_context(kept.using(path)):
                    continue  # removed in between: it was used long ago by the clock of another process
                store = held.enter_context(open_store(f"sqlite:///{path}"))
                self._scratch.push(held.pop_all())
                return store

    def _refilled(self, kept: KnownStores, path: Path) -> Store:
        """The store at `path`, filled to the log's end; made anew where it is no beginning of this."""
        try:
            store = open_store(f"sqlite:///{path}")
            try:
                if self._is_of_this_log(store):
                    self._fill(store)
                    if not self.damaged:
                        return store
            except BaseException:
                store.close()
                raise
            store.close()
        except (Misconfigured, DatabaseError) as cause:
            log.warning("known_store_discarded", extra={"error": type(cause).__name__})
        kept.remove(path)
        store = open_store(f"sqlite:///{path}")
        self._fill(store)
        return store

    def _is_of_this_log(self, store: Store) -> bool:
        """Whether all that it has read is still there: segments are pruned, and folders are replaced."""
        with store.connecting() as connection:
            return stored(connection, LineageProjection.name).keys() <= set(self._source.partitions())

    def _fill(self, store: Store) -> None:
        runner = Runner(store, self._source, until=self._until, accept_damage=self._accepts_damage)
        self.damaged = runner.run(report=self._report).damaged

    def _place(self) -> Path | None:
        if self._kept is None or self._name is None:
            return None
        return self._kept.path(
            self._name,
            str(self._until),
            str(LineageProjection.version),
            books.code_version(),
            "damage accepted" if self._accepts_damage else "",
        )

    def _is_kept(self) -> bool:
        path = self._place()
        return path is not None and path.exists()


def known_at(
    live: Store | str | None,
    source: Log | str | os.PathLike[str],
    until: int,
    *,
    name: str | None = None,
    kept: KnownStores | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> KnownLineage:
    """The lineage as it was known at `until`; closes what it opens.

    `kept` is by default the folder of the user's caches, where stores are kept by the log's `name` (a
    folder of segments has its own). A `live` that cannot be used as it is (missing, or of another
    version) is no hindrance: then every question replays.
    """
    with ExitStack() as opening:
        if isinstance(live, str):
            try:
                live = opening.enter_context(opened(live))
            except Misconfigured as cause:
                log.info("known_without_live_store", extra={"error": cause.message})
                live = None
        if isinstance(source, str | os.PathLike):
            name = os.fspath(source)
            source = opening.enter_context(open_log(name))
        if isinstance(source, SegmentLog):
            name = str(source.folder.resolve())
        kept = kept or KnownStores(folder_of(os.environ))
        known = KnownLineage(live, source, until, name=name, kept=kept, report=report)
        known._scratch.push(opening.pop_all())
        return known


def _seen_by(live: Store | None) -> tuple[bool, bool]:
    """Whether somebody accepted damage in the log; whether `live` can say where every event lies."""
    if live is None:
        return False, False
    try:
        entry = books.entry(live, LineageProjection.name)
    except Misconfigured:
        return False, False  # it has consumed nothing yet
    with live.connecting() as connection:
        accepts = books.accepted_damage(connection, LineageProjection.name)
    return accepts, entry.known_at is None and entry.version == LineageProjection.version


@contextmanager
def _temporary() -> Iterator[Store]:
    with (
        tempfile.TemporaryDirectory(prefix="headwater-known-") as folder,
        open_store(f"sqlite:///{folder}/scratch.db") as store,
    ):
        yield store
