"""The walk over columns: which columns a column was made from, and which it went into.

Between productions it goes where `headwater.consumers.walk` goes, by the same bindings (R20). Within a
step it goes by what the step stated and nothing else: a `columnLineage` facet, or the `lineage`
facets that still hold (R24, R25). Columns are never joined because their names are equal. Where a step
states nothing of the columns, the walk reaches the production with no column and ends there.

Depth is true, a cycle ends where it closes, and `truncated` says which bound was met. What the ids
are called is the business of `headwater.consumers.columns`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection

from headwater.consumers.statements import Statements
from headwater.consumers.walk import (
    AHEAD,
    DEFAULT_LIMIT,
    DEPTH_WORTH_AHEAD,
    ROUNDS_BEFORE_AHEAD,
    Bound,
    Direction,
    Node,
    Origin,
    Production,
    Reader,
    Row,
    without_gc,
)

#: What `column` is where every column of the production is meant.
EVERY = ""


class Cell(NamedTuple):
    """A column of a node. `column` is `EVERY` for all of them, None where it is not known which."""

    node: bytes
    column: str | None


class Arrow(NamedTuple):
    """What one row of `column_map` says; a field is "" where it speaks of the whole dataset."""

    source_id: bytes
    source_field: str
    target_field: str
    kind: str


class Found(NamedTuple):
    """An edge, the node at its far end, the input behind it (None: stated, yet no input) and its kind."""

    source: Cell
    target: Cell
    node: Node
    row: Row | None
    kind: str | None


Start: TypeAlias = tuple[Node, str | None]


@dataclass(slots=True)
class ColumnWalk:
    """What a walk found: cells with their depth in breadth-first order, and the edges between them.

    `edges` maps (source, target), target made from source, to the input behind it; `kinds` to how.
    `silent` are the cells whose step states columns of that dataset, but not of this one (upward only).
    """

    direction: Direction
    nodes: dict[bytes, Node] = field(default_factory=dict)
    depths: dict[Cell, int] = field(default_factory=dict)
    edges: dict[tuple[Cell, Cell], Row | None] = field(default_factory=dict)
    kinds: dict[tuple[Cell, Cell], set[str]] = field(default_factory=dict)
    more: set[Cell] = field(default_factory=set)
    silent: set[Cell] = field(default_factory=set)
    truncated: Bound | None = None

    def possible(self, source: Cell, target: Cell) -> bool:
        """Whether the source is only what a failed run may have written."""
        node, row = self.nodes[source.node], self.edges[source, target]
        by_time = row is not None and row[2] is None
        return by_time and isinstance(node, Production) and node.published_at is None


def walk(
    connection: Connection,
    starts: Iterable[Start],
    direction: Direction,
    *,
    depth: int | None = None,
    limit: int = DEFAULT_LIMIT,
    as_of: int | None = None,
    include_failed: bool = False,
) -> ColumnWalk:
    """Everything that the columns `starts` were made from (`up`) or went into (`down`).

    `as_of` and `include_failed` are those of `headwater.consumers.walk.upstream`.
    """
    statements = Statements(connection, as_of, include_failed)
    rounds = (_Up if direction == "up" else _Down)(connection, statements, ColumnWalk(direction), limit)
    return rounds.run(starts, depth)


def columns_read(connection: Connection, node: Node, as_of: int | None = None) -> set[str]:
    """The columns of `node` that steps which read it speak of."""
    return _Down(connection, Statements(connection, as_of), ColumnWalk("down"), 0).columns_read(node)


def columns_stated(connection: Connection, output: Production) -> set[str]:
    """The columns of `output` that the step which made it speaks of."""
    statements = _Statements(connection)
    statements.load([output])
    return statements.of(output).by_target.keys() - {EVERY}


class _Stated:
    """What a step stated of the columns of one of its outputs."""

    def __init__(self, arrows: Iterable[Arrow]) -> None:
        self.by_target: dict[str, list[Arrow]] = defaultdict(list)
        self.by_source: dict[bytes, list[Arrow]] = defaultdict(list)
        for arrow in arrows:
            self.by_target[arrow.target_field].append(arrow)
            self.by_source[arrow.source_id].append(arrow)

    def into(self, column: str) -> Iterator[Arrow]:
        """The arrows that end at `column`: its own, and those of the whole dataset."""
        targets = self.by_target.keys() if column == EVERY else dict.fromkeys((column, EVERY))
        return (arrow for target in targets for arrow in self.by_target.get(target, ()))

    def out_of(self, dataset: bytes, column: str) -> Iterator[Arrow]:
        """The arrows that begin at `column` of `dataset`, or at all of it."""
        return (
            arrow
            for arrow in self.by_source.get(dataset, ())
            if column == EVERY or arrow.source_field in (column, EVERY)
        )


_NOTHING = _Stated(())


class _Statements:
    """What steps stated of columns, loaded once per facet body and run."""

    def __init__(self, connection: Connection) -> None:
        self._statements = Statements(connection)
        self._arrows: dict[bytes, dict[bytes, list[Arrow]]] = {}
        self._bodies: dict[bytes, list[bytes]] = {}
        self._pairs: dict[bytes, set[tuple[bytes, bytes]]] = {}
        self._stated: dict[tuple[bytes, bytes], _Stated] = {}

    def load(self, outputs: Collection[Production]) -> None:
        """Everything that `of` and `feeds` need to know of `outputs`."""
        runs = {o.run_id for o in outputs if o.basis == 2 and o.run_id not in self._bodies}
        self._bodies.update((run, []) for run in runs)
        for run, body in self._statements.run_lineage(runs):
            self._bodies[run].append(body)
        self._pairs.update((run, set()) for run in runs)
        for run, target, source in self._statements.run_edges(runs):
            self._pairs[run].add((target, source))
        wanted = {body for run in runs for body in self._bodies[run]}
        wanted |= {o.edge_facet for o in outputs if o.basis == 1 and o.edge_facet is not None}
        missing = {body for body in wanted if body not in self._arrows}
        self._arrows.update((body, {}) for body in missing)
        for body, target, target_field, source, source_field, kind in self._statements.columns(missing):
            arrow = Arrow(source, source_field, target_field, kind)
            self._arrows[body].setdefault(target, []).append(arrow)

    def of(self, output: Production) -> _Stated:
        """What was stated of the columns of `output`."""
        if output.basis == 1 and output.edge_facet is not None:
            return self._known((output.edge_facet, output.dataset_id), [output.edge_facet])
        if output.basis == 2:
            return self._known((output.run_id, output.dataset_id), self._bodies[output.run_id])
        return _NOTHING

    def _known(self, key: tuple[bytes, bytes], bodies: Iterable[bytes]) -> _Stated:
        found = self._stated.get(key)
        if found is None:
            target = key[1]
            arrows = {arrow for body in bodies for arrow in self._arrows[body].get(target, ())}
            found = self._stated[key] = _Stated(sorted(arrows, key=_in_order))
        return found

    def feeds(self, dataset: bytes, output: Production) -> bool:
        """Whether an input of this dataset went into `output` at all (R24)."""
        if output.basis == 1:
            return dataset in self.of(output).by_source
        if output.basis == 2:
            return (output.dataset_id, dataset) in self._pairs[output.run_id]
        return output.basis == 0

    def is_silent(self, dataset: bytes, output: Production) -> bool:
        """Whether it is unknown which columns of an input went into `output`."""
        return self.feeds(dataset, output) and dataset not in self.of(output).by_source


class _Rounds(ABC):
    """The breadth-first loop over cells; a subclass says how a frontier is expanded."""

    def __init__(self, connection: Connection, statements: Statements, walk: ColumnWalk, limit: int) -> None:
        self.statements = statements
        self.whenever = Statements(connection)
        self.stated = _Statements(connection)
        self.walk = walk
        self.limit = limit

    def run(self, starts: Iterable[Start], depth: int | None) -> ColumnWalk:
        self.statements.begin()
        with without_gc():
            self._loop(self._enter(((node, Cell(node.id, column)) for node, column in starts), 0), depth)
        return self.walk

    def _loop(self, frontier: list[Cell], depth: int | None) -> None:
        reached, next_ahead = 0, ROUNDS_BEFORE_AHEAD
        while frontier and (depth is None or reached < depth):
            if reached == next_ahead:
                next_ahead += ROUNDS_BEFORE_AHEAD
                if depth is None or depth - reached > DEPTH_WORTH_AHEAD:
                    self.fetch_ahead(frontier)
            reached += 1
            frontier = self._advance(frontier, reached)
        if frontier and self.walk.truncated is None:
            self._mark_what_goes_on(frontier)

    def _enter(self, found: Iterable[tuple[Node, Cell]], depth: int) -> list[Cell]:
        walk, fresh = self.walk, list[Cell]()
        for node, cell in found:
            if cell in walk.depths:
                continue
            if len(walk.depths) >= self.limit:
                walk.truncated = "limit"
                continue
            walk.nodes.setdefault(node.id, node)
            walk.depths[cell] = depth
            fresh.append(cell)
        return fresh

    def _advance(self, frontier: list[Cell], depth: int) -> list[Cell]:
        walk, fresh = self.walk, list[Cell]()
        for found in self.expand(frontier):
            reached = self.far_end(found)
            fresh += self._enter([(found.node, reached)], depth)
            if reached in walk.depths:
                edge = found.source, found.target
                walk.edges.setdefault(edge, found.row)
                kinds = walk.kinds.setdefault(edge, set())
                if found.kind:
                    kinds.add(found.kind)
        return fresh

    def _mark_what_goes_on(self, frontier: list[Cell]) -> None:
        for found in self.expand(frontier):
            if (found.source, found.target) not in self.walk.edges:
                near = found.target if self.walk.direction == "up" else found.source
                self.walk.more.add(near)
        if self.walk.more:
            self.walk.truncated = "depth"

    def far_end(self, found: Found) -> Cell:
        return found.source if self.walk.direction == "up" else found.target

    @abstractmethod
    def expand(self, frontier: list[Cell]) -> Iterator[Found]:
        """Every edge that leaves `frontier` in the walk's direction, except within one production."""

    def fetch_ahead(self, frontier: list[Cell]) -> None:  # noqa: B027 - a walk may go without
        """Load what the coming rounds will ask for; only a matter of speed."""


class _Up(_Rounds):
    """A column of an output → what its step stated of it → columns of what its inputs are bound to."""

    def __init__(self, connection: Connection, statements: Statements, walk: ColumnWalk, limit: int) -> None:
        super().__init__(connection, statements, walk, limit)
        self._inputs: dict[bytes, dict[bytes, list[Row]]] = {}
        self._listed: dict[bytes, set[bytes]] = {}

    def expand(self, frontier: list[Cell]) -> Iterator[Found]:
        nodes = [(cell, self.walk.nodes[cell.node]) for cell in frontier]
        cells = [(cell, node) for cell, node in nodes if isinstance(node, Production)]
        outputs = {node.id: node for cell, node in cells if cell.column is not None}.values()
        missing = {o.run_id for o in outputs if o.run_id not in self._inputs}
        if missing:
            self._enter_inputs(missing, self.statements.inputs(missing))
        self.stated.load(outputs)
        for cell, output in cells:
            if cell.column is not None:
                yield from self._sources(cell, cell.column, output)

    def _sources(self, cell: Cell, column: str, output: Production) -> Iterator[Found]:
        read = self._inputs[output.run_id]
        stated = self.stated.of(output)
        said = False
        for arrow in stated.into(column):
            said = True
            for row in read.get(arrow.source_id, ()):
                node = _source(row)
                if node.id != output.id:
                    yield Found(Cell(node.id, arrow.source_field), cell, node, row, arrow.kind)
            if arrow.source_id not in read and not self._is_listed(output.run_id, arrow.source_id):
                node = Origin(arrow.source_id, arrow.source_id, None, None, False)
                yield Found(Cell(node.id, arrow.source_field), cell, node, None, arrow.kind)
        for dataset, rows in read.items():
            for row in rows if self.stated.is_silent(dataset, output) else ():
                said = True
                node = _source(row)
                if node.id != output.id:
                    yield Found(Cell(node.id, None), cell, node, row, None)
        if not said and output.basis in (1, 2):
            self.walk.silent.add(cell)

    def _is_listed(self, run: bytes, dataset: bytes) -> bool:
        """Whether the run read it at all: it may have done so after the time that is asked about."""
        if run not in self._listed:
            self._listed[run] = {row[1] for row in self.whenever.inputs([run])}
        return dataset in self._listed[run]

    def fetch_ahead(self, frontier: list[Cell]) -> None:
        nodes = [self.walk.nodes[cell.node] for cell in frontier]
        ids = {n.id for n in nodes if isinstance(n, Production) and n.run_id not in self._inputs}
        if ids:
            rows = self.statements.inputs_ahead(ids, AHEAD)
            self._enter_inputs({row[0] for row in rows if row[0] not in self._inputs}, rows)
            self.stated.load([n for n in map(_source, rows) if isinstance(n, Production)])

    def _enter_inputs(self, runs: Collection[bytes], rows: Iterable[Row]) -> None:
        self._inputs.update((run, {}) for run in runs)
        for row in rows:
            if row[0] in runs:
                self._inputs[row[0]].setdefault(row[1], []).append(row)


class _Down(_Rounds):
    """A column of a production → the steps that read it → the columns that they stated to be made of it."""

    def __init__(self, connection: Connection, statements: Statements, walk: ColumnWalk, limit: int) -> None:
        super().__init__(connection, statements, walk, limit)
        self._outputs: dict[bytes, list[Production]] = {}

    def columns_read(self, node: Node) -> set[str]:
        self.statements.begin()
        fed = ((row, output) for row in self._readings([node]) for output in self._outputs[row[0]])
        arrows = (arrow for row, output in fed for arrow in self.stated.of(output).out_of(row[1], EVERY))
        return {arrow.source_field for arrow in arrows} - {EVERY}

    def expand(self, frontier: list[Cell]) -> Iterator[Found]:
        columns: dict[bytes, list[str]] = defaultdict(list)
        for cell in frontier:
            if cell.column is not None:
                columns[cell.node].append(cell.column)
        for row in self._readings([self.walk.nodes[node] for node in columns]):
            yield from self._targets(row, columns[row[6]])

    def _readings(self, nodes: Collection[Node]) -> list[Row]:
        """Who read the nodes; everything that the rows lead to is loaded."""
        rows = self.statements.readers([n for n in nodes if isinstance(n, Production)])
        rows += self.statements.origin_readers([n.id for n in nodes if isinstance(n, Origin)])
        static = self._load_outputs({row[0] for row in rows})
        self.stated.load([o for row in rows for o in self._outputs.get(row[0], ())])
        return [row for row in rows if row[0] not in static]

    def _load_outputs(self, runs: set[bytes]) -> set[bytes]:
        """Load what the runs wrote; those that are a job's own statements, which are part of no walk."""
        for row in self.statements.outputs({run for run in runs if run not in self._outputs}):
            outputs = self._outputs.setdefault(row[0], [])
            if row[1] is not None:
                outputs.append(Production._make(row[1:10]))
        return {run for run in runs if run not in self._outputs}

    def _targets(self, row: Row, columns: list[str]) -> Iterator[Found]:
        run, dataset, source = row[0], row[1], row[6]
        fed = [o for o in self._outputs[run] if self.stated.feeds(dataset, o)]
        for output in fed:
            if output.id == source:
                continue
            stated, silent = self.stated.of(output), self.stated.is_silent(dataset, output)
            for column in columns:
                near = Cell(source, column)
                if silent:
                    yield Found(near, Cell(output.id, None), output, row, None)
                for arrow in stated.out_of(dataset, column):
                    yield Found(near, Cell(output.id, arrow.target_field), output, row, arrow.kind)
        for column in columns if not fed else ():
            yield Found(Cell(source, column), Cell(run, None), Reader(run), row, None)


def _in_order(arrow: Arrow) -> tuple[str, str, bytes, str]:
    """An order of their own: a database gives rows in any."""
    return arrow.target_field, arrow.source_field, arrow.source_id, arrow.kind


def _source(row: Row) -> Node:
    """What a bound input leads to: a production, or where the known history begins."""
    if row[6] is not None and not (row[12] == "DROP" and row[2] is None):
        return Production._make(row[6:15])
    named: bytes | None = row[3]
    return Origin(named or row[1] + (row[2] or b""), row[1], row[2], named, row[6] is not None)
