"""The questions, as a typed Python API.

    from headwater.consumers import Lineage

    with Lineage("sqlite:///.headwater/lineage.db") as lineage:
        graph = lineage.upstream("churn-model", depth=5)
        for node in graph.nodes:
            print("  " * node.depth, node.name, node.version)

Asked `as_of` a time (an aware datetime, inclusive), a question is about what there was by then:
by the events' own times, whenever they arrived. Every answer is a frozen fact of
`headwater.consumers.answers`, read in one transaction, so its parts agree with each other.
Nothing here writes. Asks the same things as the command line does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError, OperationalError

from headwater.consumers import (
    columns,
    comparing,
    completeness,
    drifting,
    exporting,
    listing,
    recipe_store,
    showing,
    walk,
)
from headwater.consumers import gaps as lacking
from headwater.consumers import impact as impacts
from headwater.consumers import metrics as measured
from headwater.consumers import searching as finding
from headwater.consumers.answers import Asset, AssetDetails, Direction, Graph, ListedRun, RunDetails
from headwater.consumers.columns import ColumnGraph
from headwater.consumers.completeness import Emitters
from headwater.consumers.details import Details
from headwater.consumers.differences import Difference
from headwater.consumers.drifting import Drift
from headwater.consumers.existence import existing
from headwater.consumers.exporting import Events
from headwater.consumers.gaps import Asked, Gaps
from headwater.consumers.gathering import About
from headwater.consumers.impact import Impact, RecallImpacts
from headwater.consumers.looking import Report, nobody_waits
from headwater.consumers.metrics import Metrics
from headwater.consumers.moments import microseconds
from headwater.consumers.naming import NamedAsset, NamedRun, find
from headwater.consumers.notebook import Listing
from headwater.consumers.recipes import Recipe
from headwater.consumers.searching import SearchResults
from headwater.consumers.store import Store, open_store
from headwater.consumers.tables import run_output
from headwater.schemas.errors import Misconfigured, Rejected, Retryable

if TYPE_CHECKING:
    from headwater.consumers.knowing import KnownLineage
    from headwater.consumers.log import Log
    from headwater.consumers.runner import Progress


_UP: tuple[Direction, ...] = ("up",)


class Lineage:
    """One lineage store, to be asked. Opens at the first question; may be used from one thread.

    Raises `Unknown` and `Ambiguous` for names, `Misconfigured` for a store that is none,
    `Retryable` when the database cannot be reached, `Rejected` for a time without a zone.
    """

    def __init__(self, store: str | Store = "sqlite:///.headwater/lineage.db") -> None:
        self._store = store if isinstance(store, Store) else None
        self._url = None if isinstance(store, Store) else store

    def close(self) -> None:
        """Give the connections back. A store that was passed in stays open."""
        if self._store is not None and self._url is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upstream(
        self,
        name: str,
        *,
        depth: int | None = None,
        limit: int = walk.DEFAULT_LIMIT,
        as_of: datetime | None = None,
        include_failed: bool = False,
    ) -> Graph:
        """What `name` (an asset, a version, a run) was made of; see `headwater.consumers.naming`."""
        return self.lineage(name, "up", depth=depth, limit=limit, as_of=as_of, include_failed=include_failed)

    def downstream(
        self,
        name: str,
        *,
        depth: int | None = None,
        limit: int = walk.DEFAULT_LIMIT,
        as_of: datetime | None = None,
        include_failed: bool = False,
    ) -> Graph:
        """What `name` (an asset, a version, a run) went into."""
        return self.lineage(
            name, "down", depth=depth, limit=limit, as_of=as_of, include_failed=include_failed
        )

    def lineage(
        self,
        name: str,
        direction: Direction,
        *,
        depth: int | None = None,
        limit: int = walk.DEFAULT_LIMIT,
        as_of: datetime | None = None,
        include_failed: bool = False,
    ) -> Graph:
        """Either of the two; `depth` counts steps (None: all of them), `limit` nodes.

        `include_failed`: also what failed runs may have written, and others may have read (`Edge.possible`).
        """
        at, depth = _micros(as_of), _steps(depth)
        about = About(name=name, direction=direction, depth=depth, as_of=at, include_failed=include_failed)
        with self._reading(about) as connection:
            starts = _starts(connection, find(connection, name, at), at)
            walked = walk.upstream if direction == "up" else walk.downstream
            found = walked(
                connection, starts, depth=depth, limit=limit, as_of=at, include_failed=include_failed
            )
            return Details(connection, at, brief=True).graph(
                found, [start.id for start in starts], depth, limit
            )

    def columns(
        self,
        name: str,
        direction: Direction = "up",
        *,
        column: str | None = None,
        depth: int | None = None,
        limit: int = walk.DEFAULT_LIMIT,
        as_of: datetime | None = None,
        include_failed: bool = False,
    ) -> ColumnGraph:
        """The columns that `NAME#COLUMN` was made from, or went into; see `headwater.consumers.columns`.

        With `column` given, `name` is the asset's alone; an empty `column` is all of them.
        """
        at, depth = _micros(as_of), _steps(depth)
        with self._reading() as connection:
            return columns.columns(
                connection,
                name,
                direction,
                column=column,
                depth=depth,
                limit=limit,
                as_of=at,
                include_failed=include_failed,
            )

    def events(
        self,
        name: str,
        directions: Collection[Direction] = _UP,
        *,
        depth: int | None = None,
        limit: int = walk.DEFAULT_LIMIT,
        as_of: datetime | None = None,
    ) -> Events:
        """Where in the log the events behind a lineage stand; `exporting.read_back` reads them."""
        at = _micros(as_of)
        with self._reading() as connection:
            starts = _starts(connection, find(connection, name, at), at)
            walks = [
                (walk.upstream if direction == "up" else walk.downstream)(
                    connection, starts, depth=depth, limit=limit, as_of=at
                )
                for direction in directions
            ]
            return exporting.events(connection, walks, at)

    def names_a_column(self, name: str, *, as_of: datetime | None = None) -> bool:
        """Whether `name` is `NAME#COLUMN`, and as it stands the name of nothing else."""
        at = _micros(as_of)
        if "#" not in name:
            return False
        with self._reading() as connection:
            return columns.names_a_column(connection, name, at)

    def impact(
        self, name: str, *, limit: int = impacts.DEFAULT_LIMIT, as_of: datetime | None = None
    ) -> Impact:
        """What `name` went into, by asset; a version stands for every production of its content."""
        at = _micros(as_of)
        with self._reading() as connection:
            return impacts.impact(connection, name, limit=limit, as_of=at)

    def recalled(self, *, limit: int = impacts.DEFAULT_LIMIT, as_of: datetime | None = None) -> RecallImpacts:
        """The impact of every recall that nobody has lifted, the newest first."""
        at = _micros(as_of)
        with self._reading() as connection:
            return impacts.recalled(connection, limit=limit, as_of=at)

    def impact_graph(
        self,
        name: str | None = None,
        *,
        limit: int = impacts.DEFAULT_LIMIT,
        as_of: datetime | None = None,
    ) -> Graph:
        """`impact` as a graph, every production for itself; without `name`, of all that is recalled."""
        at = _micros(as_of)
        with self._reading() as connection:
            return impacts.graph(connection, name, limit=limit, as_of=at)

    def search(
        self,
        *query: str,
        type: str | None = None,
        limit: int = 20,
        versions: bool = False,
        as_of: datetime | None = None,
    ) -> SearchResults:
        """Assets, runs and jobs that fit every term; see `headwater.consumers.queries` for the terms.

        Of an asset the newest version that fits, or with `versions` each of them.
        """
        at = _micros(as_of)
        with self._reading() as connection:
            return finding.search(connection, query, type=type, limit=limit, versions=versions, as_of=at)

    def metrics(
        self,
        name: str,
        *,
        key: str | None = None,
        points: int = measured.DEFAULT_POINTS,
        history: int = measured.DEFAULT_HISTORY,
        as_of: datetime | None = None,
    ) -> Metrics:
        """What was measured of a run (its curves), an asset (its versions) or a job (its runs)."""
        at = _micros(as_of)
        with self._reading() as connection:
            return measured.metrics(connection, name, key=key, points=points, history=history, as_of=at)

    def gaps(
        self,
        *,
        project: str | None = None,
        since: datetime | None = None,
        older_than: timedelta = timedelta(hours=1),
        strict: bool = False,
        limit: int = lacking.DEFAULT_LIMIT,
        as_of: datetime | None = None,
        now: datetime | None = None,
        report: Report = nobody_waits,
    ) -> Gaps:
        """What is missing from the lineage, or cannot be known to be there.

        What was heard of less than `older_than` before `now` (default: `as_of`, or the clock) may
        still come, and is left out. `report` is told what is being looked at: it goes through all runs.
        """
        at = _micros(as_of)
        asked = Asked(
            now=microseconds(now or as_of or datetime.now(UTC)),
            older_than=older_than // timedelta(microseconds=1),
            as_of=at,
            since=_micros(since),
            project=project,
            limit=limit,
            strict=strict,
        )
        with self._reading() as connection:
            return lacking.gaps(connection, asked, report)

    def emitters(
        self, emitter: str | None = None, *, every: bool = False, as_of: datetime | None = None
    ) -> Emitters:
        """The processes of which an event may be missing; `every` one, or the one that is called so."""
        at = _micros(as_of)
        with self._reading() as connection:
            return completeness.answer(connection, emitter, every=every, as_of=at)

    def show(self, name: str, *, as_of: datetime | None = None) -> AssetDetails | RunDetails:
        """Everything about an asset (at one production) or a run."""
        at = _micros(as_of)
        with self._reading(About(name=name, as_of=at)) as connection:
            return showing.show(connection, find(connection, name, at), at)

    def runs(
        self,
        *,
        job: str | None = None,
        state: str | None = None,
        limit: int = 50,
        as_of: datetime | None = None,
    ) -> Listing[ListedRun]:
        """The latest runs first; `job` is a name or `namespace/name`, `state` as in `Run.state`."""
        at = _micros(as_of)
        with self._reading() as connection:
            return Listing(listing.runs(connection, job, state, limit, at), ListedRun)

    def assets(
        self,
        pattern: str | None = None,
        *,
        type: str | None = None,
        limit: int = 200,
        as_of: datetime | None = None,
    ) -> Listing[Asset]:
        """The assets by name; `pattern` (`*`, `?`) is held against the name and `namespace/name`."""
        at = _micros(as_of)
        with self._reading() as connection:
            return Listing(listing.assets(connection, pattern, type, limit, at), Asset)

    def diff(
        self,
        a: str,
        b: str | None = None,
        *,
        as_of: datetime | None = None,
        limit: int = comparing.DEFAULT_LIMIT,
    ) -> Difference:
        """What differs between two runs, or two versions, and everything they were made of; causes first.

        Without `b`: between what `a` names and the one before it. `limit` bounds the assets of each side.
        """
        at = _micros(as_of)
        with self._reading() as connection:
            return comparing.diff(connection, a, b, as_of=at, limit=limit)

    def recipe(self, name: str, *, whole: bool = False, as_of: datetime | None = None) -> Recipe:
        """What it takes to make `name` again: its own step's, or with `whole` every step's of its cone."""
        at = _micros(as_of)
        with self._reading() as connection:
            return recipe_store.recipe(connection, name, whole=whole, as_of=at)

    def drift(
        self,
        name: str | None = None,
        *,
        since: datetime | None = None,
        limit: int = drifting.DEFAULT_LIMIT,
        as_of: datetime | None = None,
        report: Report = nobody_waits,
    ) -> Drift:
        """Steps that gave another content from the same inputs, and inputs that changed under their name.

        In the whole store, or in what `name` was made of. `limit` bounds the findings of each kind.
        `report` is told what is being looked at, and how many so far.
        """
        begin, at = _micros(since), _micros(as_of)
        with self._reading() as connection:
            return drifting.drift(connection, name, since=begin, limit=limit, as_of=at, report=report)

    def known_at(
        self,
        time: datetime,
        *,
        log: Log | str | os.PathLike[str] = ".headwater/log",
        report: Callable[[Progress], None] = lambda _: None,
    ) -> KnownLineage:
        """The same questions as they would have been answered at `time`: of what `log` held by then.

        By the time at which records were appended. `log` is the log that this store reads. To be
        closed, as this is, which stays open; see `headwater.consumers.knowing`.
        """
        from headwater.consumers import knowing

        live = self._store if self._store is not None else self._url
        return knowing.known_at(live, log, microseconds(time), report=report)

    @contextmanager
    def _reading(self, about: About | None = None) -> Iterator[Connection]:
        """One state of the store; `about` says that the question is one that little of it answers."""
        del about  # all of it is here
        if self._store is None:
            self._store = opened(self._url or "")
        with self._store.connecting() as connection:
            if self._store.dialect == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            try:
                # What an answer is made of has no cycles, and much of it is dropped at the end.
                with connection.begin(), walk.without_gc():
                    yield connection
            except OperationalError as cause:
                raise Retryable(f"the store {self._store.url} did not answer: {cause.orig}") from cause
            except DBAPIError as cause:
                if cause.connection_invalidated:
                    raise Retryable(f"the connection to {self._store.url} broke") from cause
                raise


def _micros(time: datetime | None) -> int | None:
    return None if time is None else microseconds(time)


def _steps(depth: int | None) -> int | None:
    """How far a walk goes."""
    if depth is not None and depth < 0:
        raise Rejected(f"{depth} is no number of steps", remedy="a depth is 0 or more, or None for all")
    return depth


def opened(url: str) -> Store:
    """The store at `url`; a question never makes one."""
    path = url.removeprefix("sqlite:///")
    if path != url and path not in ("", ":memory:") and not Path(path).exists():
        raise Misconfigured(f"there is no lineage store at {path}", remedy="`headwater consume` makes it")
    return open_store(url)


def _starts(connection: Connection, named: NamedAsset | NamedRun, as_of: int | None) -> list[walk.Node]:
    """Where a walk begins: a production, all that a run wrote, or an asset of unknown origin."""
    if isinstance(named, NamedRun):
        ids = connection.scalars(
            select(run_output.c.production_id)
            .where(run_output.c.run_id == named.run, existing(as_of))
            .order_by(run_output.c.production_id)
        ).all()
        return [*walk.productions(connection, ids, as_of)] or [walk.Reader(named.run)]
    if named.production is not None:
        return [*walk.productions(connection, [named.production], as_of)]
    return [walk.Origin(id, id, None, None, False) for id in named.datasets]
