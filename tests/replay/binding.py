"""What each input of the reference tables is bound to, and what a walk over them must find.

Bound late, as the rules say (R19–R24): nothing here is stored. A binding looks at every
production of the input's alias group, one after the other. As of a time (R27) there are only the
inputs read and the productions published by then.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.replay.rows import Row, Tables, columns

Record: TypeAlias = dict[str, Any]

#: `run.kind` of a job's own statements, which publish nothing and are part of no walk.
STATIC = 1
COMPLETE = 3
#: How far apart two clocks may be (R21).
SKEW_US = 2_000_000


@dataclass(frozen=True)
class Binding:
    """The production that an input read; None: not known, or the dataset was `dropped`."""

    production: bytes | None
    inferred: bool
    dropped: bool = False
    ambiguous: bool = False
    #: What was published while a streaming run read on (R20).
    later: frozenset[bytes] = frozenset()
    #: What failed runs may have written by then; only where that is asked for.
    possible: frozenset[bytes] = frozenset()


class Bound:
    """The reference tables with every input bound, as of a time if one is given."""

    def __init__(self, tables: Tables, as_of: int | None = None, include_failed: bool = False) -> None:
        self.runs = {r["run_id"]: r for r in tables.named("run")}
        self.as_of = as_of
        self.include_failed = include_failed
        self.inputs = [i for i in tables.named("run_input") if self._by_then(i["first_at"])]
        self.outputs = {o["production_id"]: o for o in tables.named("run_output") if self._existed(o)}
        self.edges = tables.rows["run_edge"]
        self.edge_map = tables.rows["edge_map"]
        self._group = {d["dataset_id"]: d["group_id"] for d in tables.named("dataset")}
        self._text = {v["version_id"]: v["version"] for v in tables.named("version")}
        self.resolved: dict[Row, Binding] = {self.key(i): self._bind(i) for i in self.inputs}

    def _by_then(self, time: int) -> bool:
        return self.as_of is None or time <= self.as_of

    def _existed(self, output: Record) -> bool:
        """Published; or, of what never was, its run had ended."""
        published_at = output["published_at"]
        return self._by_then(self._ended(output) if published_at is None else published_at)

    def _ended(self, output: Record) -> int:
        run = self.runs[output["run_id"]]
        ended: int = run["last_at"] if run["ended_at"] is None else run["ended_at"]
        return ended

    @staticmethod
    def key(row: Record) -> Row:
        return tuple(row[name] for name in columns("run_input"))

    def _bind(self, row: Record) -> Binding:
        if row["production_id"] is not None:
            return Binding(row["production_id"], inferred=False)
        candidates = [
            o
            for o in self.outputs.values()
            if self._group[o["dataset_id"]] == self._group[row["dataset_id"]]
            if o["published_at"] is not None and o["run_id"] != row["run_id"]
            if self.runs[o["run_id"]]["kind"] != STATIC
        ]
        if row["version_id"] is not None:
            return self._bind_version(row, candidates)
        return self._bind_current(row, candidates)

    def _bind_version(self, row: Record, candidates: list[Record]) -> Binding:
        """The last production of that content until then, else the first one after."""
        text = self._text[row["version_id"]]
        same = [o for o in candidates if o["versioned"] and self._text[o["version_id"]] == text]
        same.sort(key=lambda o: (o["published_at"], o["production_id"]))
        until = [o for o in same if o["published_at"] <= row["first_at"]]
        chosen = until[-1] if until else same[0] if same else None
        return Binding(chosen["production_id"] if chosen else None, inferred=True)

    def _bind_current(self, row: Record, candidates: list[Record]) -> Binding:
        """What was current when the run first read it, and in a streaming run until it last did (R20)."""
        first, last = row["first_at"], row["first_at"] if row["last_at"] is None else row["last_at"]
        until = [o for o in candidates if o["published_at"] <= first]
        during = [o for o in candidates if first < o["published_at"] <= last]
        until.sort(key=lambda o: (o["published_at"], o["version_id"], o["production_id"]))
        chosen = until[-1] if until else None
        ambiguous = self._is_ambiguous(row, chosen, [o for o in candidates if o not in (chosen, *during)])
        dropped = chosen is not None and chosen["lifecycle"] == "DROP"
        return Binding(
            None if chosen is None or dropped else chosen["production_id"],
            inferred=True,
            dropped=dropped,
            ambiguous=ambiguous,
            later=frozenset(o["production_id"] for o in during if o["lifecycle"] != "DROP"),
            possible=self._possible(row, chosen, last) if self.include_failed else frozenset(),
        )

    def _possible(self, row: Record, chosen: Record | None, last: int) -> frozenset[bytes]:
        """What runs that failed between that publication and the read may have left in its place."""
        return frozenset(
            o["production_id"]
            for o in self.outputs.values()
            if self._group[o["dataset_id"]] == self._group[row["dataset_id"]]
            if o["published_at"] is None and o["lifecycle"] != "DROP" and o["run_id"] != row["run_id"]
            if self.runs[o["run_id"]]["kind"] == 0 and self.runs[o["run_id"]]["state"] > COMPLETE
            if self._ended(o) <= last and (chosen is None or self._ended(o) >= chosen["published_at"])
        )

    def _is_ambiguous(self, row: Record, chosen: Record | None, others: list[Record]) -> bool:
        """Another publication within two seconds of the read, later while the run went on, or tied (R21)."""
        first, last = row["first_at"], row["first_at"] if row["last_at"] is None else row["last_at"]
        ended = self.runs[row["run_id"]]["ended_at"]
        if ended is not None and not self._by_then(ended):
            ended = None
        times = [o["published_at"] for o in others]
        return (
            any(first - SKEW_US <= time <= last + SKEW_US for time in times)
            or any(ended is not None and first <= time <= ended for time in times)
            or any(chosen is not None and time == chosen["published_at"] for time in times)
        )

    def ambiguous(self) -> set[tuple[bytes, bytes]]:
        """(run, dataset) of the inputs that may as well have read something else."""
        return {(i["run_id"], i["dataset_id"]) for i in self.inputs if self.resolved[self.key(i)].ambiguous}

    def reads(self) -> set[Row]:
        """(run, dataset, production, how it is known, ambiguous), as the view `resolved_input` shows them."""
        found: set[Row] = set()
        for i in self.inputs:
            bound, of = self.resolved[self.key(i)], (i["run_id"], i["dataset_id"])
            found.add((*of, bound.production, _how(i, bound, self.outputs), bound.ambiguous))
            found |= {(*of, production, "later", False) for production in bound.later}
        return found

    def steps(self) -> set[Row]:
        """(source, target, inferred, ambiguous) between productions that are known, as the view `edges`."""
        found: set[Row] = set()
        for target in self.outputs:
            for bound in (self.resolved[self.key(i)] for i in self.read_for(target)):
                found.add((bound.production, target, bound.inferred, bound.ambiguous))
                found |= {(production, target, True, False) for production in bound.later}
        return {row for row in found if row[0] in self.outputs and row[0] != row[1]}

    # -- walks

    def read_for(self, production: bytes) -> list[Record]:
        """The inputs that went into one production (R24)."""
        output = self.outputs[production]
        inputs = [i for i in self.inputs if i["run_id"] == output["run_id"]]
        target = output["dataset_id"]
        if output["basis"] == 0:
            return inputs
        if output["basis"] == 1:
            return [i for i in inputs if (output["edge_facet"], target, i["dataset_id"]) in self.edge_map]
        if output["basis"] == 2:
            return [i for i in inputs if (output["run_id"], target, i["dataset_id"]) in self.edges]
        return []

    def parents(self, production: bytes, possible: bool = False) -> set[bytes]:
        """The productions directly upstream; those that no event described are among them.

        `possible`: those alone that failed runs may have written.
        """
        if production not in self.outputs:
            return set()
        bound = [self.resolved[self.key(i)] for i in self.read_for(production)]
        certain = {b.production for b in bound if b.production is not None}.union(*(b.later for b in bound))
        perhaps = set[bytes]().union(*(b.possible for b in bound))
        return perhaps - certain if possible else certain | perhaps

    def upstream(self, production: bytes) -> dict[bytes, int]:
        """Every production that went into `production`, with its true depth; itself at 0."""
        return _breadth_first(production, {p: self.parents(p) for p in self.outputs})

    def downstream(self, production: bytes) -> dict[bytes, int]:
        """Every production that `production` went into, with its true depth; itself at 0."""
        children: dict[bytes, set[bytes]] = defaultdict(set)
        for child, output in self.outputs.items():
            if self.runs[output["run_id"]]["kind"] != STATIC:
                for parent in self.parents(child):
                    children[parent].add(child)
        return _breadth_first(production, children)


def _how(row: Record, bound: Binding, outputs: dict[bytes, Record]) -> str:
    if not bound.inferred:
        return "named"
    if bound.dropped:
        return "dropped"
    if bound.production not in outputs:
        return "unknown"
    return "current" if row["version_id"] is None else "version"


def _breadth_first(start: bytes, neighbours: dict[bytes, set[bytes]]) -> dict[bytes, int]:
    depth = {start: 0}
    frontier = [start]
    while frontier:
        reached = {n for node in frontier for n in neighbours.get(node, ()) if n not in depth}
        depth |= dict.fromkeys(reached, depth[frontier[0]] + 1)
        frontier = sorted(reached)
    return depth
