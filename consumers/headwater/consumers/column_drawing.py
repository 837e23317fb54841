"""Columns drawn: as a tree for a terminal, as Mermaid for a page, as DOT for Graphviz.

As `headwater.consumers.drawing`: text in a fixed order. An edge says in which way the column was
made; one that decides on rows only (a join, a filter) is dotted, and so is one we inferred.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from headwater.consumers.columns import ColumnEdge, ColumnGraph, ColumnNode
from headwater.consumers.drawing import (
    PIPED_WIDTH,
    UNKNOWN_RECALLS,
    Line,
    dot_text,
    mermaid_text,
    printable,
    recall_words,
    short_version,
    step_and_pipeline,
    step_words,
)

_LEAST_ROOM = 44
_BRANCH, _LAST, _PASS, _BLANK = "├─ ", "└─ ", "│  ", "   "
_Hung = TypeVar("_Hung")


def called(node: ColumnNode) -> str:
    """`NAME#COLUMN`, as a person writes it; a step that wrote nothing of it by its name."""
    if node.kind == "reader":
        return step_and_pipeline(node.run)[0] if node.run else node.id
    whole = {"column": f"#{node.column}", "dataset": " (every column)", "unknown": ""}
    return f"{node.name or node.id}{whole[node.scope]}"


def ways(edge: ColumnEdge) -> str:
    """How: `identity`, `aggregation, masked`, `indirect join`; empty where nothing was stated."""
    told = []
    for way in edge.transformations:
        indirect = "indirect" if way.type == "INDIRECT" else ""
        named = (way.subtype or ("" if indirect else way.type) or "").lower()
        masked = "masked" if way.masking and named != "masked" else ""
        told.append(" ".join(word for word in (indirect, named, masked) if word))
    return ", ".join(dict.fromkeys(word for word in told if word))


def is_indirect(edge: ColumnEdge) -> bool:
    """Whether it only decides on rows, as a filter does: every way that was stated is INDIRECT."""
    return bool(edge.transformations) and all(way.type == "INDIRECT" for way in edge.transformations)


# -- tree -------------------------------------------------------------------------------


class _Item(NamedTuple):
    """What remains to be drawn: a column, with the edge that led to it, or the step between."""

    id: str
    edge: ColumnEdge | None
    indent: str
    branch: str
    below: tuple[ColumnEdge, ...] | None = None


def tree(graph: ColumnGraph, width: int = PIPED_WIDTH) -> list[Line]:
    """`graph` as lines; a column that was shown is referred to, one too far to the right goes on below."""
    return list(_Tree(graph, width).lines())


class _Tree:
    def __init__(self, graph: ColumnGraph, width: int) -> None:
        self._graph = graph
        self._nodes = {node.id: node for node in graph.nodes}
        self._deepest = max(len(_BRANCH) * 3, width - _LEAST_ROOM)
        self._next: dict[str, list[ColumnEdge]] = defaultdict(list)
        for edge in graph.edges:
            self._next[edge.target if graph.direction == "up" else edge.source].append(edge)
        self._drawn: set[str] = set()
        self._later: list[str] = []

    def lines(self) -> Iterator[Line]:
        for root in self._graph.roots:
            if root not in self._drawn:
                yield from self._part(root)
        while self._later:
            id = self._later.pop(0)
            if id not in self._drawn:
                yield [("", "")]
                yield from self._part(id)

    def _part(self, root: str) -> Iterator[Line]:
        stack = [_Item(root, None, "", "")]
        while stack:
            item = stack.pop()
            yield self._line(item)
            stack.extend(reversed(self._below(item)))

    def _far(self, edge: ColumnEdge) -> str:
        return edge.source if self._graph.direction == "up" else edge.target

    def _below(self, item: _Item) -> list[_Item]:
        rest = item.indent + (_PASS if item.branch == _BRANCH else _BLANK if item.branch else "")
        if item.below is not None:
            return [_Item(self._far(e), e, rest, branch) for e, branch in _with_branches(item.below)]
        if item.id in self._drawn or self._is_late(item):
            return []
        self._drawn.add(item.id)
        steps = self._steps(item.id)
        return [_Item(id, None, rest, branch, edges) for (id, edges), branch in _with_branches(steps)]

    def _steps(self, id: str) -> list[tuple[str, tuple[ColumnEdge, ...]]]:
        """Up: the step that made the column. Down: each step that read it, with what it wrote."""
        edges = self._next.get(id, [])
        if self._graph.direction == "up":
            return [(id, tuple(edges))] if edges else []
        by_run: dict[str, list[ColumnEdge]] = defaultdict(list)
        for edge in edges:
            reached = self._nodes[edge.target]
            by_run[reached.run.id if reached.run else edge.target].append(edge)
        return [
            (found[0].target, tuple(edge for edge in found if self._nodes[edge.target].kind != "reader"))
            for found in by_run.values()
        ]

    def _is_late(self, item: _Item) -> bool:
        return len(item.indent) > self._deepest and bool(self._next.get(item.id))

    def _line(self, item: _Item) -> Line:
        node = self._nodes[item.id]
        line: Line = [(item.indent + item.branch, "dim")] if item.branch else []
        if item.below is not None:
            words = [("a step", "")] if node.run is None else step_words(node.run)
            if node.kind == "reader":
                words.append(("columns unknown here", "dim"))
            words += recall_words(node) if node.kind == "reader" else []
        else:
            words = self._words(item, node)
        for place, (text, style) in enumerate(words):
            line += [("  ", "")] * (place > 0) + [(printable(text), style)]
        return line

    def _words(self, item: _Item, node: ColumnNode) -> Line:
        words: Line = [(called(node), "bold")]
        if item.edge is not None and ways(item.edge):
            words.append((ways(item.edge), "magenta" if is_indirect(item.edge) else "green"))
        if item.id in self._drawn and self._next.get(item.id):
            return [*words, ("shown above", "cyan")]
        if node.version is not None or node.kind == "production":
            words.append((short_version(node.version), "yellow"))
        if node.type is not None:
            words.append((node.type, ""))
        words += recall_words(node)
        if node.note is not None:
            words.append((node.note, "dim"))
        if node.more:
            words.append(("… more beyond this depth", "cyan"))
        if self._is_late(item):
            self._later.append(item.id)
            words.append(("goes on below", "cyan"))
        return words


def _with_branches(items: Sequence[_Hung]) -> list[tuple[_Hung, str]]:
    last = len(items) - 1
    return [(item, _LAST if place == last else _BRANCH) for place, item in enumerate(items)]


# -- for other programs to draw ---------------------------------------------------------


def merged(graphs: Sequence[ColumnGraph]) -> ColumnGraph:
    """Several graphs of one column as one, to be drawn together."""
    if len(graphs) == 1:
        return graphs[0]
    nodes = {node.id: node for graph in graphs for node in graph.nodes}
    edges = {(edge.source, edge.target): edge for graph in graphs for edge in graph.edges}
    cut = [graph.truncated for graph in graphs if graph.truncated]
    return replace(
        graphs[0], nodes=tuple(nodes.values()), edges=tuple(edges.values()), truncated=cut[0] if cut else None
    )


def mermaid(graph: ColumnGraph) -> str:
    """`graph` as a Mermaid flowchart: a box for each production, its columns inside."""
    numbers = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for number, (title, nodes) in enumerate(_boxes(graph)):
        lines.append(f'  subgraph g{number}["{mermaid_text(title)}"]')
        lines += [f'    {numbers[node.id]}["{mermaid_text(_inside(node))}"]' for node in nodes]
        lines.append("  end")
    for edge in graph.edges:
        label = f'|"{mermaid_text(ways(edge))}"|' if ways(edge) else ""
        arrow = "-.->" if edge.inferred or is_indirect(edge) else "-->"
        lines.append(f"  {numbers[edge.source]} {arrow}{label} {numbers[edge.target]}")
    lines += [f"  %% {note}" for note in notes(graph)]
    return "\n".join(lines)


def dot(graph: ColumnGraph) -> str:
    """`graph` for Graphviz: a cluster for each production, its columns inside."""
    numbers = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["digraph columns {", "  rankdir=LR;", '  node [fontname="sans-serif", shape=box];']
    for number, (title, nodes) in enumerate(_boxes(graph)):
        lines.append(f"  subgraph cluster{number} {{")
        lines.append(f"    label={dot_text(title)};")
        lines += [f"    {numbers[node.id]} [label={dot_text(_inside(node))}];" for node in nodes]
        lines.append("  }")
    for edge in graph.edges:
        style = ", style=dashed" if edge.inferred or is_indirect(edge) else ""
        lines.append(
            f"  {numbers[edge.source]} -> {numbers[edge.target]} [label={dot_text(ways(edge))}{style}];"
        )
    lines += [f"  // {note}" for note in notes(graph)]
    return "\n".join([*lines, "}"])


def _boxes(graph: ColumnGraph) -> list[tuple[str, list[ColumnNode]]]:
    """The columns by production, each with its title."""
    boxes: dict[str, list[ColumnNode]] = defaultdict(list)
    for node in graph.nodes:
        boxes[node.id.partition("#")[0] if node.kind == "production" else node.id].append(node)
    return [(_title(nodes[0]), nodes) for nodes in boxes.values()]


def _title(node: ColumnNode) -> str:
    if node.kind == "reader":
        return called(node)
    told = [node.name, short_version(node.version) if node.version else ""]
    return " ".join(text for text in (*told, *(text for text, _ in recall_words(node))) if text)


def _inside(node: ColumnNode) -> str:
    texts = {"column": node.column or "", "dataset": "every column", "unknown": "columns unknown here"}
    return texts[node.scope]


def notes(graph: ColumnGraph) -> list[str]:
    """What a reader must know to trust the drawing."""
    found = []
    if graph.truncated == "depth":
        found.append(
            f"cut at depth {graph.depth}: the lineage goes on (see the columns marked “more”; --depth)"
        )
    if graph.truncated == "limit":
        found.append(f"cut at {graph.limit:,} columns: there are more (--limit)")
    unknown = sum(node.scope == "unknown" for node in graph.nodes)
    if unknown:
        found.append(
            f"columns unknown at {unknown:,} of {len(graph.nodes):,} nodes: the steps say nothing of them"
        )
    unlooked = sum(node.recalled_upstream is None for node in graph.nodes)
    if unlooked:
        found.append(f"of {unlooked:,} nodes {UNKNOWN_RECALLS}")
    inferred = sum(edge.inferred for edge in graph.edges)
    if inferred:
        found.append(
            f"{inferred:,} of {len(graph.edges):,} edges are inferred: the events named no production"
        )
    return found
