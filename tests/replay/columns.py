"""What a walk over columns must find: naively, over the reference tables, one edge after the other.

A cell is (node, column): a production or where the known history begins, and a column of it; "" is
every column, None that it is not known which. Nothing is joined because names are equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TypeAlias

from tests.replay.binding import STATIC, Bound, Record
from tests.replay.rows import Tables

Cell: TypeAlias = tuple[bytes, str | None]
Edge: TypeAlias = tuple[Cell, Cell]
#: (source dataset, its field, the target's field, how)
Arrow: TypeAlias = tuple[bytes, str, str, str]


class Columns:
    """Walks over the columns of the reference tables."""

    def __init__(self, tables: Tables) -> None:
        self.bound = Bound(tables)
        self._map = tables.named("column_map")
        self._bodies: dict[bytes, set[bytes]] = defaultdict(set)
        for row in tables.named("run_lineage"):
            self._bodies[row["run_id"]].add(row["facet_id"])

    def arrows(self, output: Record) -> set[Arrow]:
        """What the step stated of the columns of one of its outputs (R24, R25)."""
        bodies = {1: {output["edge_facet"]}, 2: self._bodies[output["run_id"]]}.get(output["basis"], set())
        return {
            (row["source_id"], row["source_field"], row["target_field"], row["kind"])
            for row in self._map
            if row["facet_id"] in bodies and row["target_id"] == output["dataset_id"]
        }

    def _nodes(self, read: Record) -> set[bytes]:
        """What an input is bound to."""
        bound = self.bound.resolved[self.bound.key(read)]
        unknown = read["dataset_id"] + (read["version_id"] or b"")
        return {unknown if bound.production is None else bound.production} | bound.later

    def _up(self, cell: Cell) -> Iterator[tuple[Edge, str | None]]:
        node, column = cell
        output = self.bound.outputs.get(node)
        if output is None or column is None:
            return
        inputs = [i for i in self.bound.inputs if i["run_id"] == output["run_id"]]
        arrows = self.arrows(output)
        for source, source_field, target_field, kind in arrows:
            if column != "" and target_field not in (column, ""):
                continue
            found = [node for i in inputs if i["dataset_id"] == source for node in self._nodes(i)]
            listed = any(i["dataset_id"] == source for i in inputs)
            for origin in found if listed else [source]:
                yield ((origin, source_field), cell), kind
        for read in self.bound.read_for(node):
            if read["dataset_id"] not in {source for source, *_ in arrows}:
                yield from ((((origin, None), cell), None) for origin in self._nodes(read))

    def _down(self, cell: Cell) -> Iterator[tuple[Edge, str | None]]:
        node, column = cell
        if column is None:
            return
        for read in self.bound.inputs:
            if self.bound.runs[read["run_id"]]["kind"] == STATIC or node not in self._read_as(read):
                continue
            outputs = [p for p, o in self.bound.outputs.items() if o["run_id"] == read["run_id"]]
            fed = [p for p in outputs if read in self.bound.read_for(p)]
            for production in fed:
                arrows = self.arrows(self.bound.outputs[production])
                if read["dataset_id"] not in {source for source, *_ in arrows}:
                    yield (cell, (production, None)), None
                for source, source_field, target_field, kind in arrows:
                    if source == read["dataset_id"] and (column == "" or source_field in (column, "")):
                        yield (cell, (production, target_field)), kind
            if not fed:
                yield (cell, (read["run_id"], None)), None

    def _read_as(self, read: Record) -> set[bytes]:
        """The nodes from which a walk down comes to an input: what it is bound to, or its dataset's own."""
        bound = self.bound.resolved[self.bound.key(read)]
        unknown = bound.production is None and not bound.dropped
        return {bound.production or b"", *bound.later, read["dataset_id"] if unknown else b""}

    def walk(self, start: Cell, direction: str) -> tuple[dict[Cell, int], dict[Edge, set[str]]]:
        """Every cell that is reached, with its true depth, and every edge with how it is."""
        depths, frontier = {start: 0}, [start]
        edges: dict[Edge, set[str]] = {}
        while frontier:
            reached: set[Cell] = set()
            for cell in frontier:
                for (source, target), kind in (self._up if direction == "up" else self._down)(cell):
                    if source[0] != target[0]:
                        edges.setdefault((source, target), set()).update({kind} - {None, ""})  # type: ignore[arg-type]
                        reached.add(source if direction == "up" else target)
            depth = depths[frontier[0]] + 1
            frontier = [cell for cell in reached if cell not in depths]
            depths |= dict.fromkeys(frontier, depth)
        return depths, edges
