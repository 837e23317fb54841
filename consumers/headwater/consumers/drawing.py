"""A lineage drawn: as a tree for a terminal, as Mermaid for a page, as DOT for Graphviz.

A drawing is text in a fixed order, so that two drawings of one answer are equal. Nothing here
asks a database or writes to a stream; the colours of a tree are names that the command line
turns into the terminal's own, or drops.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeAlias

from headwater.consumers.answers import Edge, Graph, Node, Recall, Run

#: (text, style) pieces of one line.
Line: TypeAlias = list[tuple[str, str]]

PIPED_WIDTH = 100
# Control characters, and those that change the direction of the text around them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_LEAST_ROOM = 44
_RECALLS = 5
_MORE = ("… more beyond this depth", "cyan")
UNKNOWN_RECALLS = (
    "it is not known whether something recalled is in what they were made of: "
    "their lineage goes on too far to look through"
)
_BRANCH, _LAST, _PASS, _BLANK = "├─ ", "└─ ", "│  ", "   "


class Marked(Protocol):
    """What of an answer says whether it must not be relied on."""

    @property
    def recalled(self) -> bool: ...

    @property
    def recalled_upstream(self) -> bool | None: ...


def short_version(version: str | None) -> str:
    """`table1:9f2c…` for one of our versions; others as they are, cut to 24 characters."""
    if version is None:
        return "(no version)"
    form, colon, digest = version.partition(":")
    if colon and len(digest) == 64 and digest.isalnum():
        return f"{form}:{digest[:8]}…"
    return version if len(version) <= 24 else f"{version[:23]}…"


def short_run(id: str) -> str:
    """The start of a run's id: in our ids the first 8 digits are those of all runs of a minute."""
    return id[:13]


def short_time(time: datetime) -> str:
    """To the second, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def duration(seconds: float) -> str:
    """`80 µs`, `340 ms`, `1.2 s`, `4 min 10 s`, `2 h 5 min`."""
    if 0 < seconds < 0.001:
        return f"{seconds * 1_000_000:.0f} µs"
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


# -- tree -------------------------------------------------------------------------------


def tree(graph: Graph, width: int = PIPED_WIDTH) -> list[Line]:
    """`graph` as lines: assets, and between them the steps that made or read them.

    A sub-tree that was shown is referred to by its number; one that has come too far to the
    right for `width` goes on in a part of its own.
    """
    return list(_Tree(graph, width).lines())


class _Item(NamedTuple):
    """What remains to be drawn: an asset, a run's step, or an asset whose turn is in another part."""

    kind: str
    id: str
    indent: str
    branch: str
    below: tuple[str, ...] = ()


class _Tree:
    def __init__(self, graph: Graph, width: int) -> None:
        self._graph = graph
        self._nodes = {node.id: node for node in graph.nodes}
        self._deepest = max(len(_BRANCH) * 3, width - _LEAST_ROOM)
        self._next: dict[str, list[Edge]] = defaultdict(list)
        for edge in graph.edges:
            near, _ = self._ends(edge)
            self._next[near].append(edge)
        self._inferred = {self._ends(edge) for edge in graph.edges if edge.inferred}
        self._numbers: dict[str, int] = {}
        self._drawn: set[str] = set()
        self._parts: list[str] = []
        self._count_references()

    def _ends(self, edge: Edge) -> tuple[str, str]:
        return (edge.target, edge.source) if self._graph.direction == "up" else (edge.source, edge.target)

    def _count_references(self) -> None:
        """A node that has something below it and is reached twice gets a number, in the order of drawing."""
        reached: dict[str, int] = defaultdict(int)
        for edge in self._graph.edges:
            reached[self._ends(edge)[1]] += 1
        for root in self._graph.roots:
            reached[root] += 1
        self._shared = {id for id, times in reached.items() if times > 1 and self._next.get(id)}

    def lines(self) -> Iterator[Line]:
        for root in self._graph.roots:
            if root not in self._drawn:
                yield from self._part(root, [])
        while self._parts:
            id = self._parts.pop(0)
            if id not in self._drawn:
                yield [("", "")]
                yield from self._part(id, [(f"[{self._number(id)}] ", "cyan")])

    def _part(self, root: str, before: Line) -> Iterator[Line]:
        stack = [_Item("asset", root, "", "")]
        head = before
        while stack:
            item = stack.pop()
            if item.kind == "step":
                yield self._step_line(item)
            else:
                yield head + self._asset_line(item, numbered=not head)
                head = []
            stack.extend(reversed(self._below(item)))

    def _below(self, item: _Item) -> list[_Item]:
        """What hangs on a line, in the order in which it is drawn."""
        rest = item.indent + (_PASS if item.branch == _BRANCH else _BLANK if item.branch else "")
        if item.kind == "step":
            return _hung([("asset", id, ()) for id in item.below], rest)
        if item.id in self._drawn or self._is_late(item):
            return []
        self._drawn.add(item.id)
        return _hung(self._steps(item.id), rest)

    def _is_late(self, item: _Item) -> bool:
        return len(item.indent) > self._deepest and bool(self._next.get(item.id))

    def _steps(self, id: str) -> list[tuple[str, str, tuple[str, ...]]]:
        """Up: the step that made it, with what it read. Down: each step that read it, with what it wrote."""
        node, ends = self._nodes[id], [self._ends(edge)[1] for edge in self._next.get(id, ())]
        if self._graph.direction == "up":
            if node.run is None or node.kind == "reader":
                return [("asset", end, ()) for end in ends]
            return [("step", id, tuple(ends))]
        by_run: dict[str, list[str]] = defaultdict(list)
        for end in ends:
            reached = self._nodes[end]
            by_run[reached.run.id if reached.run else end].append(end)
        return [
            ("step", ends[0], tuple(end for end in ends if self._nodes[end].kind != "reader"))
            for ends in by_run.values()
        ]

    def _step_line(self, item: _Item) -> Line:
        node = self._nodes[item.id]
        words = [("a run", "")] if node.run is None else step_words(node.run)
        if node.kind == "reader":
            words[1:1] = recall_words(node)
        return [(item.indent + item.branch, "dim"), *_joined(words)]

    def _asset_line(self, item: _Item, *, numbered: bool) -> Line:
        node = self._nodes[item.id]
        line: Line = [(item.indent + item.branch, "dim")] if item.branch else []
        if item.id in self._drawn and self._next.get(item.id):
            words = [(node.name or item.id, "bold"), (f"see [{self._number(item.id)}]", "cyan")]
            return line + _joined(words)
        words = asset_words(node)
        if words[-1] == _MORE and self._graph.truncated == "limit":
            words[-1] = ("… more beyond this limit", "cyan")
        if self._is_late(item):
            self._parts.append(item.id)
            words.append((f"goes on at [{self._number(item.id)}]", "cyan"))
        elif numbered and item.id in self._shared:
            words.append((f"[{self._number(item.id)}]", "cyan"))
        return line + _joined(words)

    def _number(self, id: str) -> int:
        return self._numbers.setdefault(id, len(self._numbers) + 1)


def _hung(below: list[tuple[str, str, tuple[str, ...]]], indent: str) -> list[_Item]:
    last = len(below) - 1
    return [
        _Item(kind, id, indent, _LAST if place == last else _BRANCH, under)
        for place, (kind, id, under) in enumerate(below)
    ]


def _joined(words: Line) -> Line:
    """The words of a line, two spaces between them."""
    line: Line = []
    for text, style in words:
        if line:
            line.append(("  ", ""))
        line.append((printable(text), style))
    return line


def printable(text: str) -> str:
    """`text` with what could move a cursor, colour a terminal or turn a line around spelled out."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def asset_words(node: Node) -> Line:
    """An asset in a line: name, version, type and the few things worth knowing."""
    if node.kind == "reader":
        return step_words(node.run) if node.run is not None else [(node.id, "")]
    words: Line = [(node.name or node.id, "bold")]
    if node.version is not None or node.kind == "production":
        words.append((short_version(node.version), "yellow"))
    words += recall_words(node)
    told = [word for word in (node.type, *node.summary) if word]
    if told:
        words.append((" · ".join(told), ""))
    if node.lifecycle is not None:
        words.append((node.lifecycle.lower(), "magenta"))
    if node.note is not None:
        words.append((node.note, "dim"))
    if node.location is not None and node.location != node.name:
        words.append((node.location, "dim"))
    if node.more:
        words.append(_MORE)
    return words


def recall_words(node: Marked, *, of_run: bool | None = None) -> Line:
    """A warning of what must not be relied on, itself or in what it was made of.

    `of_run`: it is a run that is marked (default: when it is a reader).
    """
    is_run = getattr(node, "kind", None) == "reader" if of_run is None else of_run
    if node.recalled:
        return [("wrote recalled" if is_run else "recalled", "bold red")]
    told = {True: "read recalled" if is_run else "made from recalled", None: "recalls unknown"}
    return [(told[node.recalled_upstream], "red")] if node.recalled_upstream in told else []


def recall_cell(node: Marked, *, of_run: bool = False) -> tuple[str, str]:
    """The same as a cell of a table."""
    words = recall_words(node, of_run=of_run)
    return words[0] if words else ("", "")


def recall_title(recall: Recall) -> str:
    """What a recall is about, in a few words."""
    name = f"{recall.namespace}/{recall.name}"
    if recall.version is not None:
        return f"{name}@{short_version(recall.version)}"
    return name if recall.whole else f"{name} as run {short_run(recall.run_id or '?')}… wrote it"


def recall_notes(recalls: Iterable[Recall], unknown: int = 0) -> list[Line]:
    """Below an answer: the recalls that its marks stand for, and of how many things none is known."""
    named = sorted(dict.fromkeys(recalls), key=lambda recall: recall.at, reverse=True)
    lines: list[Line] = []
    for recall in named[:_RECALLS]:
        whole = "every version recalled" if recall.whole else "recalled"
        who = f" by {recall.actor}" if recall.actor else ""
        why = f"{whole}{who} {short_time(recall.at)}: {recall.reason or 'no reason given'}"
        lines.append([(printable(f"{recall_title(recall)} {why}"), "red")])
    if len(named) > _RECALLS:
        lines.append([(f"… and {len(named) - _RECALLS:,} more that are recalled (--json)", "red")])
    if unknown:
        lines.append([(f"of {unknown:,} {UNKNOWN_RECALLS}", "red")])
    return lines


def step_words(run: Run) -> Line:
    """A run in a line: step, pipeline, run, time, duration, code."""
    step, pipeline = step_and_pipeline(run)
    words: Line = [(step, "green")]
    if pipeline:
        words.append((pipeline, ""))
    words.append((f"run {run.external_id or short_run(run.id) + '…'}", "dim"))
    words.append((short_time(run.started_at or run.first_at), "dim"))
    if run.duration_s is not None:
        words.append((duration(run.duration_s), "dim"))
    if run.state != "COMPLETE":
        words.append((run.state.lower(), "red" if run.state in ("FAIL", "ABORT") else "yellow"))
    if run.code is not None and run.code.git_commit is not None:
        state = {None: "", True: " (dirty)", False: " (clean)"}[run.code.git_dirty]
        words.append((f"git {run.code.git_commit[:7]}{state}", "dim"))
    return words


def step_and_pipeline(run: Run) -> tuple[str, str]:
    """What ran, and as a part of what: `churn.train` under `crm/churn` is the step `train` of `crm/churn`."""
    if run.job is None:
        return "(no job)", ""
    parent = run.parent_job
    if parent is None:
        return run.job.name, run.job.namespace
    return run.job.name.removeprefix(f"{parent.name}."), f"{parent.namespace}/{parent.name}"


# -- for other programs to draw ---------------------------------------------------------


def mermaid(graph: Graph) -> str:
    """`graph` as a Mermaid flowchart; what we inferred is dotted, what is only possible says so."""
    numbers = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        opening, closing = {"production": ('["', '"]'), "origin": ('[("', '")]'), "reader": ('(["', '"])')}[
            node.kind
        ]
        lines.append(f"  {numbers[node.id]}{opening}{mermaid_text(_caption(node, '<br/>'))}{closing}")
    steps = {node.id: _edge_label(node) for node in graph.nodes}
    for edge in graph.edges:
        told = ", ".join(word for word in (steps[edge.target], "possibly" if edge.possible else "") if word)
        label = f'|"{mermaid_text(told)}"|' if told else ""
        arrow = "-.->" if edge.inferred else "-->"
        lines.append(f"  {numbers[edge.source]} {arrow}{label} {numbers[edge.target]}")
    lines += [f"  %% {note}" for note in notes(graph)]
    return "\n".join(lines)


def merged(graphs: Sequence[Graph]) -> Graph:
    """Several graphs of one thing as one, to be drawn together."""
    if len(graphs) == 1:
        return graphs[0]
    nodes = {node.id: node for graph in graphs for node in graph.nodes}
    edges = {(edge.source, edge.target): edge for graph in graphs for edge in graph.edges}
    cut = [graph.truncated for graph in graphs if graph.truncated]
    return replace(
        graphs[0], nodes=tuple(nodes.values()), edges=tuple(edges.values()), truncated=cut[0] if cut else None
    )


def _caption(node: Node, newline: str) -> str:
    if node.kind == "reader":
        return step_and_pipeline(node.run)[0] if node.run else node.id
    told = [
        node.name or node.id,
        short_version(node.version) if node.version else node.note or "",
        node.type or "",
        *(text for text, _ in recall_words(node)),
    ]
    return newline.join(text for text in told if text)


def _edge_label(node: Node) -> str:
    return "" if node.run is None or node.kind == "reader" else step_and_pipeline(node.run)[0]


def mermaid_text(text: str) -> str:
    """Mermaid reads `#…;` as an entity, so every sign with a meaning becomes one."""
    kept = text.split("<br/>")
    return "<br/>".join(
        "".join(c if c.isalnum() or c in " -_.:…/,()=" else f"#{ord(c)};" for c in k) for k in kept
    )


def dot(graph: Graph) -> str:
    """`graph` for Graphviz; what we inferred is dashed, what is only possible dotted."""
    numbers = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    shapes = {"production": "box", "origin": "cylinder", "reader": "ellipse"}
    lines = ["digraph lineage {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    lines += [
        f"  {numbers[node.id]} [shape={shapes[node.kind]}, label={dot_text(_caption(node, chr(10)))}];"
        for node in graph.nodes
    ]
    steps = {node.id: _edge_label(node) for node in graph.nodes}
    for edge in graph.edges:
        style = ", style=dotted" if edge.possible else ", style=dashed" if edge.inferred else ""
        label = dot_text(steps[edge.target])
        lines.append(f"  {numbers[edge.source]} -> {numbers[edge.target]} [label={label}{style}];")
    lines += [f"  // {note}" for note in notes(graph)]
    return "\n".join([*lines, "}"])


def dot_text(text: str) -> str:
    """`text` as DOT quotes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def notes(graph: Graph) -> list[str]:
    """What a reader must know to trust the drawing: where it was cut, what is inferred."""
    found = []
    if graph.truncated == "depth":
        found.append(
            f"cut at depth {graph.depth}: the lineage goes on (see the nodes marked “more”; --depth)"
        )
    if graph.truncated == "limit":
        found.append(f"cut at {graph.limit:,} nodes: there are more (--limit)")
    unknown = sum(node.recalled_upstream is None for node in graph.nodes)
    if unknown:
        found.append(f"of {unknown:,} nodes {UNKNOWN_RECALLS}")
    inferred = sum(edge.inferred for edge in graph.edges)
    if inferred:
        found.append(
            f"{inferred:,} of {len(graph.edges):,} edges are inferred: the events named no production"
        )
    possible = sum(edge.possible for edge in graph.edges)
    if possible:
        found.append(f"{possible:,} of them lead from what a failed run may or may not have written")
    return found
