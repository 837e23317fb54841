"""Descent: what was made from recalled versions, and from which.

It is not stored. It is found by walking up from what is asked about or down from what is recalled,
in turns and ever further, until one walk ends; the cost is bounded, whatever the size of the
store. Where neither walk ends within its bound what was found stands, and the rest is unknown, never
"no".
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection

from headwater.consumers import walk
from headwater.consumers.answers import Recall
from headwater.consumers.recalls import Recalls
from headwater.consumers.walk import Node, Origin, Reader, Walk

#: Nodes that a walk in search of recalls may visit, in turns: up, down, then up further, …
BUDGETS = (2_000, 10_000, 50_000)

#: A set of recalls: the bit at a place stands for the recall at that place in `Recalls.standing`.
Bits: TypeAlias = int


class Above(NamedTuple):
    """The recalls of what a node was made of; `is_whole`: these are all."""

    bits: Bits
    is_whole: bool

    @property
    def verdict(self) -> bool | None:
        """Whether there is any; None where that is not known."""
        return True if self.bits else False if self.is_whole else None


_UNKNOWN = Above(0, False)


def descent(
    connection: Connection,
    found: Walk,
    recalls: Recalls,
    as_of: int | None = None,
    budgets: Sequence[int] = BUDGETS,
) -> dict[bytes, bool | None]:
    """Of each node of `found` whether it was made from something recalled, however far up.

    None where that is not known.
    """
    traced = trace_walk(connection, found, recalls, as_of, budgets)
    return {id: one.verdict for id, one in traced.items()}


def trace_walk(
    connection: Connection,
    found: Walk,
    recalls: Recalls,
    as_of: int | None = None,
    budgets: Sequence[int] = BUDGETS,
) -> dict[bytes, Above]:
    """As `trace`, of each node of `found`: what is shown there is not walked again."""
    if not recalls:
        return dict.fromkeys(found.nodes, Above(0, True))
    carried, whole = _carried(found, recalls), _whole_upstream(found)
    known = {id: Above(carried.get(id, 0), id in whole) for id in carried.keys() | whole}
    others = {id: node for id, node in found.nodes.items() if id not in known}
    known |= trace(connection, others, recalls, as_of, budgets)
    return {id: known[id] for id in found.nodes}


def trace(
    connection: Connection,
    nodes: Mapping[bytes, Node],
    recalls: Recalls,
    as_of: int | None = None,
    budgets: Sequence[int] = BUDGETS,
) -> dict[bytes, Above]:
    """Of each of `nodes` the recalls of what it was made of, or (of a run) of what it read."""
    if not recalls:
        return dict.fromkeys(nodes, Above(0, True))
    told = dict.fromkeys(nodes, _UNKNOWN)
    for budget in budgets:
        for search in (_search_up, _search_down):
            waiting = {id: node for id, node in nodes.items() if told[id].verdict is None}
            if waiting:
                told |= search(connection, waiting, recalls, as_of, budget)
    return told


def above(
    connection: Connection, node: Node, recalls: Recalls, as_of: int | None = None, budget: int = BUDGETS[-1]
) -> tuple[tuple[Recall, ...], bool]:
    """The recalls of what `node` was made of, the newest first; and whether these are all."""
    if not recalls:
        return (), True
    found = walk.upstream(connection, [node], limit=budget, as_of=as_of)
    met = [other for other in found.nodes.values() if other.id != node.id and recalls.hold_for(other)]
    held = {h for n in met if not isinstance(n, Reader) for h in recalls.of(n.dataset_id, n.version_id)}
    return tuple(h.recall for h in recalls.standing if h in held), found.truncated is None


def _search_up(
    connection: Connection, nodes: Mapping[bytes, Node], recalls: Recalls, as_of: int | None, budget: int
) -> dict[bytes, Above]:
    found = walk.upstream(connection, nodes.values(), limit=len(nodes) + budget, as_of=as_of)
    return _verdicts(nodes, _carried(found, recalls), is_whole=found.truncated is None)


def _search_down(
    connection: Connection, nodes: Mapping[bytes, Node], recalls: Recalls, as_of: int | None, budget: int
) -> dict[bytes, Above]:
    starts = recalls.starts(connection, as_of, budget)
    found = walk.downstream(connection, starts, limit=budget, as_of=as_of)
    carried = _carried(found, recalls)
    # A walk down passes through the runs that wrote something of what they read, and does not stop there.
    readers = {node.id for node in nodes.values() if isinstance(node, Reader)}
    for (source, _), row in found.edges.items():
        if row[0] in readers:
            own = recalls.bits(found.nodes[source])
            carried[row[0]] = carried.get(row[0], 0) | carried.get(source, 0) | own
    is_whole = found.truncated is None and len(starts) < budget
    return _verdicts(nodes, carried, is_whole=is_whole)


def _verdicts(
    nodes: Collection[bytes], carried: Mapping[bytes, Bits], *, is_whole: bool
) -> dict[bytes, Above]:
    """A walk that was cut proves what it found, and nothing of what it did not."""
    return {id: Above(carried.get(id, 0), is_whole) for id in nodes}


def _carried(found: Walk, recalls: Recalls) -> dict[bytes, Bits]:
    """Of each node that something recalled went into, as far as `found` shows, the recalls."""
    own = {id: bits for id, node in found.nodes.items() if (bits := recalls.bits(node))}
    into: dict[bytes, list[bytes]] = defaultdict(list)
    for source, target in found.edges if own else ():
        into[source].append(target)
    carried: dict[bytes, Bits] = dict.fromkeys(_reached(into, own), 0)
    before, changed = _in_order(into, own.keys() | carried.keys())
    for id in before:
        for target in into.get(id, ()):
            carried[target] |= carried.get(id, 0) | own.get(id, 0)
    while changed:
        id = changed.popleft()
        for target in into.get(id, ()):
            bits = carried[target] | carried.get(id, 0) | own.get(id, 0)
            if bits != carried[target]:
                carried[target] = bits
                changed.append(target)
    return carried


def _in_order(
    into: Mapping[bytes, Collection[bytes]], nodes: Collection[bytes]
) -> tuple[list[bytes], deque[bytes]]:
    """`nodes`, each after all that went into it: then a chain is gone through once, whatever is recalled.

    Beside them those that have no such place, because they are in a circle or behind one.
    """
    left = dict.fromkeys(nodes, 0)
    for id in nodes:
        for target in into.get(id, ()):
            left[target] += 1
    ordered = [id for id, count in left.items() if not count]
    for id in ordered:  # grows while it is gone through
        for target in into.get(id, ()):
            left[target] -= 1
            if not left[target]:
                ordered.append(target)
    return ordered, deque(id for id, count in left.items() if count)


def _reached(into: Mapping[bytes, Collection[bytes]], sources: Iterable[bytes]) -> set[bytes]:
    """What one of `sources` went into, however far down."""
    found: set[bytes] = set()
    frontier = list(sources)
    while frontier:
        frontier = [target for id in frontier for target in into.get(id, ()) if target not in found]
        frontier = list(dict.fromkeys(frontier))
        found.update(frontier)
    return found


def _whole_upstream(found: Walk) -> set[bytes]:
    """The nodes whose upstream is shown to its end."""
    if found.direction == "down" or found.truncated == "limit":
        return {id for id, node in found.nodes.items() if isinstance(node, Origin)}
    into: dict[bytes, list[bytes]] = defaultdict(list)
    for source, target in found.edges:
        into[source].append(target)
    return found.nodes.keys() - found.more - _reached(into, found.more)
