"""A lineage as a picture: layers from left to right, made by us, without scripts or fonts of others.

Sources stand left of what was made of them, except where a cycle closes. A picture is for looking
at: it has the first `LARGEST` nodes of the answer and says how many more there are. Names are
escaped; what a name might do to a page, it does not do here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from headwater.consumers.answers import Graph, Node
from headwater.consumers.column_drawing import called, is_indirect, ways
from headwater.consumers.columns import ColumnGraph, ColumnNode
from headwater.consumers.drawing import printable, short_version, step_and_pipeline
from headwater.consumers.sheets import encodable

LARGEST = 200

_WIDTH, _HEIGHT = 200, 52
_ACROSS, _BETWEEN = 90, 18
_MARGIN = 12
_LONGEST = 28
_SWEEPS = 4
_STROKES = {"production": "#4a7ebb", "origin": "#8a8a8a", "reader": "#5a9a5a"}


class Box(NamedTuple):
    """What stands in a node's box, a line each; `tip` is shown when the pointer rests on it."""

    id: str
    kind: str
    lines: tuple[str, ...]
    tip: str
    depth: int


class Link(NamedTuple):
    """An edge: `source` went into `target`."""

    source: str
    target: str
    label: str
    dashed: bool


def svg(graph: Graph | ColumnGraph, largest: int = LARGEST) -> str:
    """`graph` as an SVG element."""
    boxes, links = _picture(graph)
    drawn = {box.id: box for box in boxes[:largest]}
    shown = [link for link in links if link.source in drawn and link.target in drawn]
    rows = _ordered(_layers(drawn, shown, graph.direction), shown)
    return "\n".join(_lines(drawn, shown, _places(rows), len(boxes) - len(drawn)))


def _picture(graph: Graph | ColumnGraph) -> tuple[list[Box], list[Link]]:
    if isinstance(graph, Graph):
        boxes = [_asset_box(node) for node in graph.nodes]
        links = [Link(edge.source, edge.target, "", edge.inferred) for edge in graph.edges]
        return boxes, links
    columns = [_column_box(node) for node in graph.nodes]
    arrows = [Link(e.source, e.target, ways(e), e.inferred or is_indirect(e)) for e in graph.edges]
    return columns, arrows


def _asset_box(node: Node) -> Box:
    step = "" if node.run is None else step_and_pipeline(node.run)[0]
    if node.kind == "reader":
        return Box(node.id, node.kind, (step or node.id, "", ""), node.id, node.depth)
    version = short_version(node.version) if node.version else node.note or ""
    told = " · ".join(text for text in (node.type, *node.summary) if text)
    tip = "\n".join(text for text in (f"{node.namespace}/{node.name}", node.version, told, step) if text)
    return Box(node.id, node.kind, (node.name or node.id, version, step and f"by {step}"), tip, node.depth)


def _column_box(node: ColumnNode) -> Box:
    step = "" if node.run is None else step_and_pipeline(node.run)[0]
    second = " · ".join(text for text in (node.type, node.note) if text)
    tip = "\n".join(text for text in (f"{node.namespace}/{node.name}", node.column, node.version) if text)
    return Box(node.id, node.kind, (called(node), second, step and f"by {step}"), tip, node.depth)


# -- where things stand -----------------------------------------------------------------


def _layers(boxes: Mapping[str, Box], links: Iterable[Link], direction: str) -> list[list[str]]:
    """The ids by layer, left to right: each as far from the asked-for as its longest way is."""
    near_far = [(k.target, k.source) if direction == "up" else (k.source, k.target) for k in links]
    after: dict[str, list[str]] = defaultdict(list)
    waiting: dict[str, int] = dict.fromkeys(boxes, 0)
    for near, far in near_far:
        after[near].append(far)
        waiting[far] += 1
    layer = {id: 0 for id, count in waiting.items() if not count}
    ready = list(layer)
    for id in ready:
        for far in after[id]:
            layer[far] = max(layer.get(far, 0), layer[id] + 1)
            waiting[far] -= 1
            if not waiting[far]:
                ready.append(far)
    # What is left is on a cycle or behind one: there is no longest way, the shortest must do.
    found = {id: layer[id] if not waiting[id] else box.depth for id, box in boxes.items()}
    rows: list[list[str]] = [[] for _ in range(max(found.values(), default=-1) + 1)]
    for id, at in found.items():
        rows[at].append(id)
    rows = [row for row in rows if row]
    return rows[::-1] if direction == "up" else rows


def _ordered(rows: list[list[str]], links: Sequence[Link]) -> list[list[str]]:
    """Each layer in an order that lets few lines cross: by the middle of what a node is joined to."""
    joined: dict[str, list[str]] = defaultdict(list)
    for link in links:
        joined[link.source].append(link.target)
        joined[link.target].append(link.source)
    for sweep in range(_SWEEPS):
        height = {id: at for row in rows for at, id in enumerate(row)}

        def middle(id: str, height: Mapping[str, int] = height) -> float:
            ends = [height[end] for end in joined[id]]
            return sum(ends) / len(ends) if ends else height[id]

        for row in rows if sweep % 2 else reversed(rows):
            row.sort(key=middle)
    return rows


def _places(rows: Sequence[Sequence[str]]) -> dict[str, tuple[float, float]]:
    tallest = max((len(row) for row in rows), default=0)
    return {
        id: (
            _MARGIN + across * (_WIDTH + _ACROSS),
            _MARGIN + (down + (tallest - len(row)) / 2) * (_HEIGHT + _BETWEEN),
        )
        for across, row in enumerate(rows)
        for down, id in enumerate(row)
    }


# -- drawing ----------------------------------------------------------------------------


def _lines(
    boxes: Mapping[str, Box], links: Iterable[Link], places: Mapping[str, tuple[float, float]], more: int
) -> Iterator[str]:
    right = max((x for x, _ in places.values()), default=0) + _WIDTH + _MARGIN
    bottom = max((y for _, y in places.values()), default=0) + _HEIGHT + _MARGIN
    height = bottom + (24 if more else 0)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{right:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {right:.0f} {height:.0f}" font-family="sans-serif" font-size="12" role="img" '
        'aria-label="lineage">'
    )
    for link in links:
        yield from _link(link, places[link.source], places[link.target])
    for box in boxes.values():
        yield from _box(box, *places[box.id])
    if more:
        yield f'<text x="{_MARGIN}" y="{bottom + 12:.0f}" fill="currentColor">and {more:,} more</text>'
    yield "</svg>"


def _link(link: Link, source: tuple[float, float], target: tuple[float, float]) -> Iterator[str]:
    x1, y1 = source[0] + _WIDTH, source[1] + _HEIGHT / 2
    x2, y2 = target[0], target[1] + _HEIGHT / 2
    bend = max(40.0, abs(x2 - x1) / 2)
    dashed = ' stroke-dasharray="5 4"' if link.dashed else ""
    path = f"M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2 - 6:.0f} {y2:.0f}"
    yield f'<path d="{path}" fill="none" stroke="#888888"{dashed}/>'
    yield f'<path d="M{x2:.0f} {y2:.0f}l-8 -4v8z" fill="#888888"/>'
    if link.label:
        at = f'x="{(x1 + x2) / 2:.0f}" y="{(y1 + y2) / 2 - 4:.0f}"'
        yield f'<text {at} text-anchor="middle" font-size="10" fill="#888888">{_text(link.label, 18)}</text>'


def _box(box: Box, x: float, y: float) -> Iterator[str]:
    stroke = _STROKES[box.kind]
    round_ = 20 if box.kind == "reader" else 4
    yield f"<g><title>{_text(box.tip)}</title>"
    yield (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="{round_}" '
        f'fill="{stroke}" fill-opacity="0.08" stroke="{stroke}"/>'
    )
    styles = ('font-weight="bold"', 'font-size="11"', 'font-size="11" fill-opacity="0.7"')
    for at, (line, style) in enumerate(zip(box.lines, styles, strict=True)):
        if line:
            place = f'x="{x + 8:.0f}" y="{y + 16 + at * 15:.0f}"'
            yield f'<text {place} {style} fill="currentColor">{_text(line, _LONGEST)}</text>'
    yield "</g>"


def _text(text: str, longest: int | None = None) -> str:
    """`text` cut and escaped, its line ends kept only where it is not cut."""
    if longest is not None and len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return escape("\n".join(printable(encodable(line)) for line in text.split("\n")))
