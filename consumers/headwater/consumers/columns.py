"""Columns: what a column was made from and what it went into, named for people and programs.

    NAME#COLUMN          a column of what NAME names (an asset, NAME@VERSION, a run, a production)
    NAME#                every column of it, one by one

A name of an asset may hold `#` itself: the longest one that exists wins. A column's name is taken as
it stands, with its dots, blanks and signs. Where `#` would be read wrongly, the column is given
apart (`--column`, `column=`). How the walk goes is the business of `headwater.consumers.column_walk`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, TypeAlias

from sqlalchemy import Connection, select

from headwater.consumers import column_walk, walk
from headwater.consumers.answers import Direction, Kind, Run, Truncated, Unknown
from headwater.consumers.column_walk import EVERY, Cell, ColumnWalk
from headwater.consumers.descent import BUDGETS
from headwater.consumers.details import ROLES, Details, instant, schema_fields, text_of
from headwater.consumers.marks import Mark, Marks
from headwater.consumers.naming import NamedAsset, NamedRun, find, id_text
from headwater.consumers.nearest import offered
from headwater.consumers.shown import Tabular
from headwater.consumers.statements import Statements
from headwater.consumers.tables import run_output
from headwater.consumers.walk import Input, Origin, Production, Reader
from headwater.schemas.errors import shown
from headwater.schemas.text import original, storable

Scope: TypeAlias = Literal["column", "dataset", "unknown"]

_SPLITS = 64
_LISTED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformation:
    """How a column was made of another: DIRECT (its values come from there) or INDIRECT (it decides on rows).

    Each is what the step stated, in capitals, or None: `subtype` is IDENTITY, AGGREGATION, JOIN, …
    """

    type: str | None
    subtype: str | None
    masking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNode:
    """One column of one production.

    `scope` is `column`; `dataset` where every column of it is meant; `unknown` where the step did not
    say which: the walk ends there. `column` is None for both of these. `type` is the column's.
    `note` says why a walk ends: columns unknown here, no source stated, origin unknown, dropped,
    not in the log. `recalled` and `recalled_upstream` are the production's, as in `answers.Node`.
    """

    id: str
    kind: Kind
    scope: Scope
    namespace: str | None
    name: str | None
    version: str | None
    column: str | None
    type: str | None
    published_at: datetime | None
    recalled: bool
    depth: int
    more: bool
    run: Run | None
    note: str | None = None
    recalled_upstream: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnEdge:
    """`target` was made from `source` (ids of nodes), in the ways of `transformations`, where stated.

    `inferred`, `ambiguous`, `possible` and `role` are those of the productions, as in `answers.Edge`; the
    role is `stated` where the step named a dataset that it did not list as an input.
    """

    source: str
    target: str
    transformations: tuple[Transformation, ...]
    inferred: bool
    ambiguous: bool = False
    possible: bool = False
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnGraph(Tabular):
    """Everything up- or downstream of columns; as `answers.Graph`, with columns of productions for nodes."""

    direction: Direction
    roots: tuple[str, ...]
    depth: int | None
    limit: int
    truncated: Truncated | None
    nodes: tuple[ColumnNode, ...]
    edges: tuple[ColumnEdge, ...]
    as_of: datetime | None = None

    def node(self, id: str) -> ColumnNode:
        """The node called `id`; raises KeyError."""
        for node in self.nodes:
            if node.id == id:
                return node
        raise KeyError(id)


def columns(
    connection: Connection,
    name: str,
    direction: Direction,
    *,
    column: str | None = None,
    depth: int | None = None,
    limit: int = walk.DEFAULT_LIMIT,
    as_of: int | None = None,
    include_failed: bool = False,
) -> ColumnGraph:
    """The columns that `NAME#COLUMN` was made from (`up`) or went into (`down`).

    With `column` given (empty: all of them) `name` names the asset alone. Raises `Unknown` for a name or a
    column that nothing is called, `Ambiguous` as `naming.find`.
    """
    named, wanted = _named(connection, name, column, as_of)
    details = Details(connection, as_of)
    starts = [
        (node, cell)
        for node in _nodes(connection, named, as_of)
        for cell in _columns_of(connection, details, node, wanted, direction, as_of)
    ]
    if not starts:
        called = f"{shown(name)} has no column {shown(original(wanted))}"
        raise Unknown(called, remedy=_remedy(connection, details, named, original(wanted), as_of))
    found = column_walk.walk(
        connection,
        starts,
        direction,
        depth=depth,
        limit=limit,
        as_of=as_of,
        include_failed=include_failed,
    )
    roots = [Cell(node.id, cell) for node, cell in starts]
    with walk.without_gc():
        return _Naming(connection, details, found, as_of).graph(roots, depth, limit)


def names_a_column(connection: Connection, text: str, as_of: int | None = None) -> bool:
    """Whether `text` is `NAME#COLUMN`, and no name of anything as it stands."""
    try:
        find(connection, text, as_of)
    except Unknown:
        return _split(connection, text, as_of) is not None
    return False


def _named(
    connection: Connection, name: str, column: str | None, as_of: int | None
) -> tuple[NamedAsset | NamedRun, str]:
    if column is not None:
        return find(connection, name, as_of), storable(column)
    found = _split(connection, name, as_of)
    if found is not None:
        return found
    if "#" in name:
        find(connection, name.rpartition("#")[0], as_of)
    raise Unknown(f"{shown(name)} names no column", remedy="write NAME#COLUMN, or NAME# for all of them")


def _split(connection: Connection, text: str, as_of: int | None) -> tuple[NamedAsset | NamedRun, str] | None:
    """What `text` names before one of its `#`, the last that fits, and what stands behind it."""
    places = [at for at, character in enumerate(text) if character == "#" and at > 0]
    for at in reversed(places[:_SPLITS]):
        try:
            return find(connection, text[:at], as_of), storable(text[at + 1 :])
        except Unknown:
            continue
    return None


def _nodes(connection: Connection, named: NamedAsset | NamedRun, as_of: int | None) -> list[walk.Node]:
    """The productions that are meant; of an asset that nobody is known to have written, its names."""
    if isinstance(named, NamedRun):
        of_run = select(run_output.c.production_id).where(run_output.c.run_id == named.run)
        ids = connection.scalars(of_run.order_by(run_output.c.production_id)).all()
        return [*walk.productions(connection, ids, as_of)]
    if named.production is not None:
        return [*walk.productions(connection, [named.production], as_of)]
    return [Origin(id, id, None, None, False) for id in named.datasets]


def _columns_of(
    connection: Connection,
    details: Details,
    node: walk.Node,
    wanted: str,
    direction: Direction,
    as_of: int | None,
) -> list[str]:
    """The columns of `node` to begin at: those of its schema, and those that a step speaks of."""
    known = dict.fromkeys(storable(name) for name in _schema(details, node))
    stated = column_walk.columns_stated(connection, node) if isinstance(node, Production) else set()
    if wanted != EVERY and (wanted in known or wanted in stated):
        return [wanted]
    read = column_walk.columns_read(connection, node, as_of)
    if wanted != EVERY:
        return [wanted] if wanted in read else []
    others = stated | (read if direction == "down" else set())
    return [*known, *sorted(others - known.keys())] or [EVERY]


def _schema(details: Details, node: walk.Node) -> dict[str, str | None]:
    """The columns that the production's schema lists, with their types."""
    if not isinstance(node, Production):
        return {}
    details.load_facets([node.id])
    fields = schema_fields(details.facets.get(node.id, {}))
    return {str(field["name"]): text_of(field, "type") for field in fields}


def _remedy(
    connection: Connection, details: Details, named: NamedAsset | NamedRun, wanted: str, as_of: int | None
) -> str:
    """The columns that are nearest to the one wanted, or those that there are."""
    nodes = _nodes(connection, named, as_of)
    # As `up` and `down` know them together: what is recorded of it, and what is said of it elsewhere.
    known = (_columns_of(connection, details, node, EVERY, "down", as_of) for node in nodes)
    names = [original(name) for columns in known for name in columns if name != EVERY]
    if not names and isinstance(named, NamedAsset):
        whole = shown(f"{original(named.name)}#")
        return f"no columns of it were recorded; {whole} is all of them as one"
    if not names:
        return "no columns of what it wrote were recorded" if nodes else "name what the run wrote"
    return offered(wanted, list(dict.fromkeys(names)), "its columns", _LISTED)


class _Naming:
    """From a walk over ids to an answer."""

    def __init__(
        self, connection: Connection, details: Details, found: ColumnWalk, as_of: int | None
    ) -> None:
        self._connection = connection
        self._statements = Statements(connection, as_of)
        self._details = details
        self._walk = found
        self._marks: dict[bytes, Mark] = {}
        self._as_of = as_of
        self._types: dict[bytes, dict[str, str | None]] = {}

    def graph(self, roots: Collection[Cell], depth: int | None, limit: int) -> ColumnGraph:
        self._load()
        found = self._walk
        ids = {cell: self._id(cell) for cell in found.depths}
        self._marks = Marks(self._connection, self._as_of, BUDGETS).of_nodes(found.nodes.values())
        near = {(edge[1] if found.direction == "up" else edge[0]) for edge in found.edges}
        return ColumnGraph(
            direction=found.direction,
            roots=tuple(ids[cell] for cell in roots if cell in ids),
            depth=depth,
            limit=limit,
            truncated=found.truncated,
            nodes=tuple(self._node(cell, ids[cell], cell in near) for cell in found.depths),
            edges=tuple(self._edges(ids)),
            as_of=instant(self._as_of),
        )

    def _load(self) -> None:
        nodes = self._walk.nodes.values()
        productions = [node for node in nodes if isinstance(node, Production)]
        assets = [node for node in nodes if not isinstance(node, Reader)]
        details = self._details
        details.load_names(node.dataset_id for node in assets)
        details.load_versions(node.version_id for node in assets if node.version_id is not None)
        details.load_runs([*(n.run_id for n in productions), *(n.id for n in nodes if isinstance(n, Reader))])
        details.load_facets([node.id for node in productions])
        self._types = {node.id: _schema(details, node) for node in productions}

    def _id(self, cell: Cell) -> str:
        """`ID#COLUMN`; `ID#` is every column, and `ID` alone where it is not known which."""
        node = self._walk.nodes[cell.node]
        column = "" if cell.column is None else f"#{original(cell.column)}"
        if not isinstance(node, Origin) or node.production_id is not None:
            return id_text(node.id) + column
        text = self._details.versions.get(node.version_id) if node.version_id else None
        version = f"@{text or id_text(node.version_id)}" if node.version_id else ""
        return f"origin:{id_text(node.dataset_id)}{version}{column}"

    def _node(self, cell: Cell, id: str, goes_on: bool) -> ColumnNode:
        node, details, more = self._walk.nodes[cell.node], self._details, cell in self._walk.more
        column = original(cell.column) if cell.column else None
        scope: Scope = "column" if cell.column else "unknown" if cell.column is None else "dataset"
        asset = None if isinstance(node, Reader) else node
        run_id = node.id if asset is None else node.run_id if isinstance(node, Production) else None
        return ColumnNode(
            id=id,
            kind=_kind(node),
            scope=scope,
            namespace=details.names[asset.dataset_id][0] if asset else None,
            name=details.names[asset.dataset_id][1] if asset else None,
            version=details.versions.get(asset.version_id) if asset and asset.version_id else None,
            column=column,
            type=self._types.get(node.id, {}).get(column) if column else None,
            published_at=instant(node.published_at) if isinstance(node, Production) else None,
            **self._marks[node.id].flags(),
            depth=self._walk.depths[cell],
            more=more,
            run=details.runs.get(run_id) if run_id else None,
            note=None if goes_on or more else self._note(cell, node),
        )

    def _note(self, cell: Cell, node: walk.Node) -> str | None:
        """Why the walk ends at `cell`."""
        if isinstance(node, Origin) and self._walk.direction == "up":
            return "dropped" if node.dropped else "not in the log" if node.production_id else "origin unknown"
        if cell.column is None:
            return "columns unknown here"
        return "no source stated" if cell in self._walk.silent else None

    def _edges(self, ids: dict[Cell, str]) -> Iterator[ColumnEdge]:
        rows = self._walk.edges.items()
        reads = {edge: None if row is None else Input._make(row[:6]) for edge, row in rows}
        doubtful = {r.run_id for r in reads.values() if r and r.inferred and r.version_id is None}
        ambiguous = {(run, dataset) for run, dataset in self._statements.ambiguous(doubtful)}
        for edge, read in reads.items():
            source, target = edge
            yield ColumnEdge(
                source=ids[source],
                target=ids[target],
                transformations=tuple(map(_transformation, sorted(self._walk.kinds[edge]))),
                inferred=read is None or read.inferred,
                ambiguous=read is not None
                and read.version_id is None
                and (read.run_id, read.dataset_id) in ambiguous
                and not self._is_later(source, read)
                and not self._walk.possible(source, target),
                possible=self._walk.possible(source, target),
                role="stated" if read is None else ROLES[read.role],
            )

    def _is_later(self, source: Cell, read: Input) -> bool:
        """Whether it was published while a streaming run read on: that one was read, without a doubt."""
        node = self._walk.nodes[source.node]
        at = node.published_at if isinstance(node, Production) else None
        return at is not None and at > read.first_at


def _kind(node: walk.Node) -> Kind:
    if isinstance(node, Production):
        return "production"
    return "origin" if isinstance(node, Origin) else "reader"


@lru_cache(maxsize=1_000)
def _transformation(kind: str) -> Transformation:
    """From `TYPE/SUBTYPE` or `TYPE/SUBTYPE/MASKING`, as `column_map` has it."""
    masking = kind.endswith("/MASKING") and kind.count("/") > 1
    type_, _, subtype = original(kind.removesuffix("/MASKING") if masking else kind).partition("/")
    if type_ == "MASKED":  # the facet's older form
        masking = True
    return Transformation(type=type_ or None, subtype=subtype or None, masking=masking)
