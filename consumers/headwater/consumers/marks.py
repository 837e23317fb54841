"""Marks: which of the things that an answer tells must not be relied on, and why.

Every question marks what it tells by this one module: a thing is recalled itself, or was made from
something recalled, however far up, and the recalls that say so are named with their reasons. A run
is marked by what it and its parts wrote and read. The cost is bounded (`headwater.consumers.descent`):
where a lineage is too large to look through, the mark says "not known" and never "no". Nothing
here writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select, true

from headwater.consumers import walk
from headwater.consumers.answers import Recall
from headwater.consumers.descent import BUDGETS, Above, trace, trace_walk
from headwater.consumers.existence import existing, written
from headwater.consumers.recalls import Recalls
from headwater.consumers.tables import run, run_output
from headwater.consumers.walk import Node, Origin, Reader, Walk

#: Recalls that are told of one thing; `headwater show` tells all of them.
MOST = 20
#: As `descent.BUDGETS`, where a mark stands beside an answer that comes quickly.
OF_LISTINGS = BUDGETS[:2]
#: Parts of runs that are looked through for the marks of the whole.
PARTS = 5_000
_CHUNK = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """`recalled`: the thing itself is; of a run, something that it wrote.

    `upstream`: something that it was made of is, or that it read; None where that could not be found out
    within bounds. `recalls` are those, the newest first, at most `MOST`; of a lineage too large to look
    through, as far as they were found.
    """

    recalled: bool = False
    upstream: bool | None = False
    recalls: tuple[Recall, ...] = ()

    def fields(self) -> dict[str, Any]:
        """As answers have them."""
        return self.flags() | {"recalls": self.recalls}

    def flags(self) -> dict[str, Any]:
        """As the parts of an answer have them that names the recalls once for all."""
        return {"recalled": self.recalled, "recalled_upstream": self.upstream}


CLEAN = Mark()


class Marks:
    """The marks of one question, as of a time (µs since 1970 UTC): what was recalled by then."""

    def __init__(
        self, connection: Connection, as_of: int | None = None, budgets: Sequence[int] = OF_LISTINGS
    ) -> None:
        self._connection = connection
        self._as_of = as_of
        self._budgets = budgets
        self.recalls = Recalls(connection, as_of)

    def of_nodes(self, nodes: Iterable[Node]) -> dict[bytes, Mark]:
        """By the nodes' ids; of a run that is one (`Reader`) by what it read alone."""
        found = {node.id: node for node in nodes}
        if not self.recalls:
            return dict.fromkeys(found, CLEAN)
        traced = trace(self._connection, found, self.recalls, self._as_of, self._budgets)
        return {id: self._mark(self.recalls.bits(node), traced[id]) for id, node in found.items()}

    def of_walk(self, found: Walk) -> dict[bytes, Mark]:
        """By the ids of the nodes of a walk."""
        if not self.recalls:
            return dict.fromkeys(found.nodes, CLEAN)
        traced = trace_walk(self._connection, found, self.recalls, self._as_of, self._budgets)
        return {id: self._mark(self.recalls.bits(node), traced[id]) for id, node in found.nodes.items()}

    def of_productions(self, ids: Iterable[bytes]) -> dict[bytes, Mark]:
        """By the productions' ids."""
        wanted = list(dict.fromkeys(ids))
        found = dict.fromkeys(wanted, CLEAN)
        if self.recalls:
            found |= self.of_nodes(walk.productions(self._connection, wanted, self._as_of))
        return found

    def of_runs(self, ids: Collection[bytes]) -> dict[bytes, Mark]:
        """By the runs' ids; a run has the marks of its parts as well, and of their parts."""
        if not self.recalls:
            return dict.fromkeys(ids, CLEAN)
        parts, is_whole = self._parts(ids)
        known = self._of_single_runs({*ids, *(part for found in parts.values() for part in found)})
        marks = {id: of_several([known[part] for part in (id, *parts[id])]) for id in ids}
        if is_whole:
            return marks
        return {id: replace(mark, upstream=mark.upstream or None) for id, mark in marks.items()}

    def _parts(self, ids: Collection[bytes]) -> tuple[dict[bytes, set[bytes]], bool]:
        """Of each run the runs that are part of it, and whether these are all; `PARTS` are looked at."""
        parts: dict[bytes, set[bytes]] = {id: set() for id in ids}
        above: dict[bytes, set[bytes]] = {id: {id} for id in ids}
        begun = true() if self._as_of is None else run.c.first_at <= self._as_of
        frontier, seen = set(ids), 0
        while frontier and seen <= PARTS:
            query = select(run.c.run_id, run.c.parent_run_id).where(run.c.parent_run_id.in_(frontier), begun)
            rows = self._connection.execute(query.limit(PARTS + 1 - seen)).all()
            seen += len(rows)
            frontier = set()
            for id, parent in rows:
                news = above[parent] - above.setdefault(id, set())
                above[id] |= news
                for one in news:
                    parts[one].add(id)
                if news:
                    frontier.add(id)
        return parts, seen <= PARTS

    def _of_single_runs(self, ids: Collection[bytes]) -> dict[bytes, Mark]:
        readers: dict[bytes, Node] = {id: Reader(id) for id in ids}
        traced = trace(self._connection, readers, self.recalls, self._as_of, self._budgets)
        wrote = self._wrote(ids)
        return {id: self._mark(wrote[id], traced[id]) for id in readers}

    def of_version(self, dataset: bytes, version: bytes | None = None) -> Mark:
        """Whether a version of an asset is recalled itself, or (without one) the asset as a whole."""
        return self._mark(self.recalls.bits(Origin(b"", dataset, version, None, False)), Above(0, True))

    def _mark(self, own: int, above: Above) -> Mark:
        if not own and above == Above(0, True):
            return CLEAN
        recalls = self.recalls.told(own | above.bits, MOST)
        return Mark(recalled=bool(own), upstream=above.verdict, recalls=recalls)

    def _wrote(self, runs: Collection[bytes]) -> Mapping[bytes, int]:
        """The recalls of what each of `runs` wrote."""
        found: dict[bytes, int] = defaultdict(int)
        wanted = list(runs)
        for at in range(0, len(wanted), _CHUNK):
            rows = self._connection.execute(
                select(run_output.c.run_id, run_output.c.dataset_id, run_output.c.version_id).where(
                    run_output.c.run_id.in_(wanted[at : at + _CHUNK]), existing(self._as_of), written()
                )
            )
            for run_id, dataset_id, version_id in rows:
                found[run_id] |= self.recalls.bits(Origin(b"", dataset_id, version_id, None, False))
        return found


def of_several(marks: Collection[Mark]) -> Mark:
    """The mark of what consists of several things."""
    verdicts = {mark.upstream for mark in marks}
    return Mark(
        recalled=any(mark.recalled for mark in marks),
        upstream=True if True in verdicts else None if None in verdicts else False,
        recalls=together(marks)[:MOST],
    )


def together(marks: Iterable[Mark]) -> tuple[Recall, ...]:
    """The recalls that `marks` name, each once, the newest first."""
    named = dict.fromkeys(recall for mark in marks for recall in mark.recalls)
    return tuple(sorted(named, key=lambda recall: recall.at, reverse=True))
