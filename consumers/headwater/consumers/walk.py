"""The walk over productions, up to what they were made of and down to what they went into.

A walk goes breadth-first in rounds of one or two statements, each over a whole frontier, so
depth is the true (shortest) depth, a cycle ends where it closes, and inputs × outputs is
never built. A walk that goes on for more than a few rounds is narrow and long: then one
recursive statement over the set of nodes, which carries no depth, fetches ahead what the
rounds will ask for. Ids travel as raw bytes, past the type layer; what the ids are called is
the business of `headwater.consumers.answers`.

Nothing is cut silently: `Walk.truncated` says which bound was met, `Walk.more` where.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection

from headwater.consumers.statements import Statements

Direction: TypeAlias = Literal["up", "down"]
Bound: TypeAlias = Literal["depth", "limit"]

DEFAULT_LIMIT = 20_000
#: Rounds before fetching ahead, and the depth still to go that makes it worth while.
ROUNDS_BEFORE_AHEAD = 12
DEPTH_WORTH_AHEAD = 40
#: Nodes fetched ahead at a time.
AHEAD = 25_000


class Production(NamedTuple):
    """A row of `run_output`: one run wrote one version of one dataset."""

    id: bytes
    run_id: bytes
    dataset_id: bytes
    version_id: bytes
    versioned: bool
    published_at: int | None
    lifecycle: str | None
    basis: int
    edge_facet: bytes | None


class Origin(NamedTuple):
    """What a run read and no known production explains: the walk ends here.

    `production_id` is given when the event named a production that the log has not shown yet.
    """

    id: bytes
    dataset_id: bytes
    version_id: bytes | None
    production_id: bytes | None
    dropped: bool


class Reader(NamedTuple):
    """A run that read something and wrote nothing of it: `id` is the run's."""

    id: bytes


class Input(NamedTuple):
    """A row of `run_input`, bound."""

    run_id: bytes
    dataset_id: bytes
    version_id: bytes | None
    production_id: bytes | None
    role: int
    first_at: int

    @property
    def inferred(self) -> bool:
        """Whether the binding is ours; the event itself named no production."""
        return self.production_id is None


Node: TypeAlias = Production | Origin | Reader
Row: TypeAlias = tuple[Any, ...]
#: (the node reached, the edge's source, its target)
Found: TypeAlias = tuple[bytes, bytes, bytes]


@dataclass(slots=True)
class Walk:
    """What a walk found: nodes by id in breadth-first order, their depth, the edges between them.

    `edges` maps (source, target), target made from source, to the row that says so (see `statement`).
    `more` holds the nodes that go on beyond the depth or the limit; `truncated` is None when the answer is
    whole.
    """

    direction: Direction
    nodes: dict[bytes, Node] = field(default_factory=dict)
    depths: dict[bytes, int] = field(default_factory=dict)
    edges: dict[tuple[bytes, bytes], Row] = field(default_factory=dict)
    more: set[bytes] = field(default_factory=set)
    truncated: Bound | None = None

    def possible(self, source: bytes, target: bytes) -> bool:
        """Whether `source` is only what a failed run may have written: an input is bound to no such thing."""
        node = self.nodes[source]
        by_time = self.edges[source, target][2] is None
        return by_time and isinstance(node, Production) and node.published_at is None

    def statement(self, source: bytes, target: bytes) -> Input:
        """The input behind an edge. Made when asked: a walk has more edges than anyone looks at."""
        return Input._make(self.edges[source, target][:6])


def productions(connection: Connection, found: Iterable[bytes], as_of: int | None = None) -> list[Production]:
    """The productions with these ids that exist (as of a time), in the order asked for."""
    ids = list(dict.fromkeys(found))
    rows = {row[0]: Production._make(row) for row in Statements(connection, as_of).productions(ids)}
    return [rows[id] for id in ids if id in rows]


def upstream(
    connection: Connection,
    starts: Iterable[Node],
    *,
    depth: int | None = None,
    limit: int = DEFAULT_LIMIT,
    as_of: int | None = None,
    include_failed: bool = False,
) -> Walk:
    """Everything that `starts` were made of, at most `depth` steps away and `limit` nodes in all.

    `as_of` (µs since 1970 UTC, inclusive): by what was read and published by then. `include_failed`:
    also what failed runs may have written, and others may then have read (see `Walk.possible`).
    """
    return _Up(Statements(connection, as_of, include_failed), Walk("up"), limit).run(starts, depth)


def downstream(
    connection: Connection,
    starts: Iterable[Node],
    *,
    depth: int | None = None,
    limit: int = DEFAULT_LIMIT,
    as_of: int | None = None,
    include_failed: bool = False,
) -> Walk:
    """Everything that `starts` went into, at most `depth` steps away and `limit` nodes in all."""
    return _Down(Statements(connection, as_of, include_failed), Walk("down"), limit).run(starts, depth)


class _Rounds(ABC):
    """The breadth-first loop; a subclass says how a frontier is expanded."""

    def __init__(self, statements: Statements, walk: Walk, limit: int) -> None:
        self.statements = statements
        self.walk = walk
        self.limit = limit
        self._column_edges: dict[bytes, set[tuple[bytes, bytes]]] = {}
        self._run_edges: dict[bytes, set[tuple[bytes, bytes]]] = {}

    def run(self, starts: Iterable[Node], depth: int | None) -> Walk:
        self.statements.begin()
        frontier: list[Node] = []
        for start in starts:
            if len(self.walk.nodes) >= self.limit:
                self.walk.truncated = "limit"
            elif start.id not in self.walk.nodes:
                self.walk.nodes[start.id] = start
                self.walk.depths[start.id] = 0
                frontier.append(start)
        with without_gc():
            self._loop(frontier, depth)
        return self.walk

    def _loop(self, frontier: list[Node], depth: int | None) -> None:
        reached, next_ahead = 0, ROUNDS_BEFORE_AHEAD
        while frontier and (depth is None or reached < depth):
            if reached == next_ahead:
                next_ahead += ROUNDS_BEFORE_AHEAD
                if depth is None or depth - reached > DEPTH_WORTH_AHEAD:
                    self.fetch_ahead(frontier)
            reached += 1
            frontier = self.advance(frontier, reached)
        if frontier:
            self._mark_what_goes_on(frontier)

    def _mark_what_goes_on(self, frontier: list[Node]) -> None:
        """A node at the bound is truncated when one more round would leave it."""
        for reached, source, target in self.expand(frontier):
            if (source, target) not in self.walk.edges:
                self.walk.more.add(target if reached == source else source)
        if self.walk.more and self.walk.truncated is None:
            self.walk.truncated = "depth"

    def feeds(self, source: bytes, output: Production) -> bool:
        """Whether an input of this dataset went into that output: what its basis says (rule R24)."""
        if output.basis == 0:
            return True
        pair = (output.dataset_id, source)
        if output.basis == 1 and output.edge_facet is not None:
            return pair in self._column_edges[output.edge_facet]
        return output.basis == 2 and pair in self._run_edges[output.run_id]

    def load_bases(self, outputs: Collection[Production]) -> None:
        """What `feeds` needs of outputs whose upstream was stated."""
        facets = {o.edge_facet for o in outputs if o.basis == 1 and o.edge_facet is not None}
        runs = {o.run_id for o in outputs if o.basis == 2}
        self._load(self._column_edges, facets, self.statements.column_edges)
        self._load(self._run_edges, runs, self.statements.run_edges)

    @staticmethod
    def _load(
        known: dict[bytes, set[tuple[bytes, bytes]]],
        wanted: set[bytes],
        ask: Callable[[Collection[bytes]], list[tuple[Any, ...]]],
    ) -> None:
        missing = _absent(wanted, known)
        if not missing:
            return
        known.update((key, set()) for key in missing)
        for key, target, source in ask(missing):
            known[key].add((target, source))

    @abstractmethod
    def advance(self, frontier: list[Node], depth: int) -> list[Node]:
        """Enter what one round finds; returns the nodes not seen before."""

    @abstractmethod
    def expand(self, frontier: list[Node]) -> Iterator[Found]:
        """Every edge that leaves `frontier` in the walk's direction, except to itself."""

    def fetch_ahead(self, frontier: list[Node]) -> None:  # noqa: B027 - a walk may go without
        """Load what the coming rounds will ask for; only a matter of speed."""


class _Up(_Rounds):
    """Output → run → inputs → what they are bound to. Rows: an input, then its production."""

    def __init__(self, statements: Statements, walk: Walk, limit: int) -> None:
        super().__init__(statements, walk, limit)
        self._inputs: dict[bytes, list[Row]] = {}

    def advance(self, frontier: list[Node], depth: int) -> list[Node]:
        # Not by way of `expand`: a long chain is ten thousand rounds of one node.
        walk, fresh = self.walk, list[Node]()
        nodes, edges, depths, limit = walk.nodes, walk.edges, walk.depths, self.limit
        for node, inputs in self._read(frontier):
            target = node.id
            for row in inputs:
                source = row[6] if row[6] is not None and row[12] is None else _source(row)
                if source == target:
                    continue
                if source not in nodes:
                    if len(nodes) >= limit:
                        walk.truncated = "limit"
                        walk.more.add(target)
                        continue
                    nodes[source] = found = self._node(source, row)
                    depths[source] = depth
                    fresh.append(found)
                if (source, target) not in edges:
                    edges[source, target] = row
        return fresh

    def expand(self, frontier: list[Node]) -> Iterator[Found]:
        for node, inputs in self._read(frontier):
            for row in inputs:
                source = _source(row)
                if source != node.id:
                    yield source, source, node.id

    def _read(self, frontier: list[Node]) -> list[tuple[Node, list[Row]]]:
        """The nodes of a run, each with the inputs that went into it."""
        inputs = self._inputs
        runs = [(node, run) for node in frontier if (run := _run_of(node)) is not None]
        missing = {run for _, run in runs if run not in inputs}
        if missing:
            self._enter(missing, self.statements.inputs(missing))
        stated = [node for node, _ in runs if isinstance(node, Production) and node.basis]
        if not stated:
            return [(node, inputs[run]) for node, run in runs]
        self.load_bases(stated)
        return [
            (node, [row for row in inputs[run] if self.feeds(row[1], node)])
            if isinstance(node, Production)
            else (node, inputs[run])
            for node, run in runs
        ]

    @staticmethod
    def _node(id: bytes, row: Row) -> Node:
        if id == row[6]:
            return Production._make(row[6:15])
        return Origin(id, row[1], row[2], row[3], row[6] is not None)

    def fetch_ahead(self, frontier: list[Node]) -> None:
        ids = [n.id for n in frontier if isinstance(n, Production) and n.run_id not in self._inputs]
        if ids:
            rows = self.statements.inputs_ahead(ids, AHEAD)
            self._enter(_absent({row[0] for row in rows}, self._inputs), rows)

    def _enter(self, runs: Collection[bytes], rows: Iterable[Row]) -> None:
        self._inputs.update((run, []) for run in runs)
        for row in rows:
            if row[0] in runs:
                self._inputs[row[0]].append(row)


class _Down(_Rounds):
    """Production → the inputs bound to it → their runs' outputs. Rows: an output, or none."""

    def __init__(self, statements: Statements, walk: Walk, limit: int) -> None:
        super().__init__(statements, walk, limit)
        self._outputs: dict[bytes, list[Production]] = {}
        self._static: set[bytes] = set()
        #: Runs of whose outputs some were made of some inputs alone.
        self._stated: set[bytes] = set()
        self._readers: dict[bytes, list[Row]] = {}

    def advance(self, frontier: list[Node], depth: int) -> list[Node]:
        walk, fresh = self.walk, list[Node]()
        nodes, edges, depths, limit = walk.nodes, walk.edges, walk.depths, self.limit
        for row, fed in self._read(frontier):
            source = row[6]
            for output in fed or (Reader(row[0]),):
                target = output[0]
                if target == source:
                    continue
                if target not in nodes:
                    if len(nodes) >= limit:
                        walk.truncated = "limit"
                        walk.more.add(source)
                        continue
                    nodes[target] = output
                    depths[target] = depth
                    fresh.append(output)
                if (source, target) not in edges:
                    edges[source, target] = row
        return fresh

    def expand(self, frontier: list[Node]) -> Iterator[Found]:
        for row, fed in self._read(frontier):
            source = row[6]
            for output in fed or (Reader(row[0]),):
                if output.id != source:
                    yield output.id, source, output.id

    def _read(self, frontier: list[Node]) -> list[tuple[Row, list[Production]]]:
        """Each input that is bound to one of `frontier`, with what its run made of it (see `feeds`)."""
        rows = self._readers_of([n for n in frontier if isinstance(n, Production)])
        # Only a walk that starts at one meets an origin on its way down.
        rows += self._origin_readers([n for n in frontier if isinstance(n, Origin)])
        self._load_outputs({row[0] for row in rows})
        outputs, stated = self._outputs, self._stated
        return [
            (row, [o for o in outputs[run] if self.feeds(row[1], o)] if run in stated else outputs[run])
            for row in rows
            if (run := row[0]) in outputs
        ]

    def _readers_of(self, productions: list[Production]) -> list[Row]:
        """The inputs bound to `productions`: as far as they are not here already."""
        ahead = self._readers
        rows = self.statements.readers([p for p in productions if p.id not in ahead])
        for production in productions:
            rows += ahead.get(production.id, ())
        return rows

    def fetch_ahead(self, frontier: list[Node]) -> None:
        ids = [n.id for n in frontier if isinstance(n, Production) and n.id not in self._readers]
        ahead = _absent(self.statements.productions_ahead(ids, AHEAD), self._readers) if ids else set()
        if len(ahead) <= len(ids):
            return  # nothing is gained over asking round by round
        rows = self.statements.readers(self.statements.productions(ahead))
        self._readers.update((id, []) for id in ahead)
        for row in rows:
            self._readers[row[6]].append(row)
        self._load_outputs({row[0] for row in rows})

    def _origin_readers(self, origins: list[Origin]) -> list[Row]:
        """Readers of a dataset that nobody wrote, whatever version they name; of a version those of it."""
        rows = self.statements.origin_readers({o.dataset_id for o in origins})
        whole = {o.dataset_id for o in origins if o.version_id is None}
        read = {o.version_id: o.id for o in origins if o.version_id is not None}
        found = [row for row in rows if row[1] in whole]
        return found + [(*row[:6], read[row[2]]) for row in rows if row[2] in read]

    def _load_outputs(self, runs: set[bytes]) -> None:
        found = []
        missing = {run for run in _absent(runs, self._outputs) if run not in self._static}
        for row in self.statements.outputs(missing):
            outputs = self._outputs.setdefault(row[0], [])
            if row[1] is not None:
                outputs.append(Production._make(row[1:]))
                found.append(outputs[-1])
        self._static |= _absent(missing, self._outputs)
        stated = [output for output in found if output.basis]
        self._stated.update(output.run_id for output in stated)
        self.load_bases(stated)


@contextmanager
def without_gc() -> Iterator[None]:
    """A walk makes many small tuples and no cycles; collecting meanwhile takes a quarter of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _absent(wanted: Iterable[bytes], known: Mapping[bytes, Any]) -> set[bytes]:
    """What of `wanted` is not in `known`; a set minus a view of keys would go through all the keys."""
    return {key for key in wanted if key not in known}


def _run_of(node: Node) -> bytes | None:
    if isinstance(node, Production):
        return node.run_id
    return node.id if isinstance(node, Reader) else None


def _source(row: Row) -> bytes:
    """The node that a bound input leads to: a production, or where the known history begins."""
    production: bytes | None = row[6]
    dropped = row[12] == "DROP" and row[2] is None
    if production is not None and not dropped:
        return production
    named: bytes | None = row[3]
    return named if named is not None else row[1] + (row[2] or b"")
