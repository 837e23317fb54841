"""The rows that one run's fold stands for: a pure function, whatever order the fold was made in.

`derive` turns a `RunFold` into the rows of `run`, `run_input`, `run_output`, `run_edge` and
`run_lineage`.
It never looks at another run: which version an unversioned input read is bound in the query
(R20), not here. Ids and lists of ids are hex text, as in the fold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from headwater.consumers.fold import Observation, Registers, RunFold, time_of
from headwater.schemas.openlineage import Kind, Rank

LISTED, BY_LINEAGE, BY_RENAME, BY_ALTER = range(4)
ALL_INPUTS, BY_COLUMNS, BY_PAIRS, NO_UPSTREAM = range(4)

_DATASET = 32  # characters of a dataset id in an observation's key
_VERSION = 64

Row = tuple[Any, ...]


class Derived(NamedTuple):
    """Rows in the tables' column order; each set sorted, so that equal folds give equal bytes."""

    run: Row
    inputs: list[Row]
    outputs: list[Row]
    edges: list[Row]
    lineage: list[Row]

    def hashes(self) -> tuple[str, str, str, str]:
        """128 bits over each row set, in hex; equal means that nothing needs to be written."""
        stated = _hash([*self.edges, *self.lineage])
        return _hash([self.run]), _hash(self.inputs), _hash(self.outputs), stated


_EMPTY = hashlib.sha256(b"[]").hexdigest()[:32]


def _hash(rows: list[Row]) -> str:
    return hashlib.sha256(orjson.dumps(rows)).hexdigest()[:32] if rows else _EMPTY


def derive(fold: RunFold) -> Derived:
    """The rows of `fold`'s run."""
    return _Derivation(fold).derive()


class _Derivation:
    def __init__(self, fold: RunFold) -> None:
        self.run_id = fold.run_id
        self.doc = fold.doc
        self.stamps: list[str] = fold.doc["s"]
        self.kind: int = fold.doc["k"]
        self.state, self.ended_at = self._state()
        self.streaming = len(self.doc["r"].get("jjobType", ())) > 2

    def derive(self) -> Derived:
        outputs, renamed, altered = self._observed_outputs()
        edges = self._live_pairs()
        inputs = self._observed_inputs()
        if edges or renamed or altered:
            inputs += self._implied_inputs({row[1] for row in inputs}, edges, renamed, altered)
        # Total orders: no two inputs share their three ids and no two outputs their production,
        # or the order of a dictionary would decide the hash.
        inputs.sort(key=lambda row: (row[1], row[2] or "", row[3] or ""))
        outputs.sort(key=itemgetter(0))
        return Derived(
            run=self._run(),
            inputs=inputs,
            outputs=outputs,
            edges=sorted((self.run_id, pair[:_DATASET], pair[_DATASET:]) for pair in edges),
            lineage=sorted((self.run_id, body) for body in self._live("b")),
        )

    # -- the run ------------------------------------------------------------------------

    def _state(self) -> tuple[int, int | None]:
        """The terminal event with the greatest stamp wins; else the furthest state seen (R6)."""
        terminal = self.doc.get("e")
        if terminal is None:
            return self.doc["n"], None
        stamp = self.stamps[terminal]
        return int(stamp[17]), time_of(stamp)

    def _run(self) -> Row:
        doc = self.doc
        first, last, started, last_start = doc["t"]
        parent = doc["r"].get("rparent", ())
        parent_run, parent_job, root = parent[2] if len(parent) > 2 else ("", "", "")
        job = doc["j"][1] if "j" in doc else None
        return (
            self.run_id,
            self.kind,
            doc.get("x"),
            job,
            self.state,
            first,
            started,
            self.ended_at,
            last,
            last_start,
            self.streaming,
            parent_run or None,
            parent_job or None,
            root or None,
            _join({register[1] for register in doc["r"].values()}),
        )

    # -- inputs -------------------------------------------------------------------------

    def _observed_inputs(self) -> list[Row]:
        observations: dict[str, Observation] = self.doc["i"]
        floor = self._floor("fi")
        rows = []
        for key, own, below in _rows_of(observations):
            registers = _overlay(own, below)
            first = own[0]
            if len(key) > _VERSION:
                named = observations.get(key[:_VERSION])
                first = min(first, named[0]) if named else first
            rows.append(
                (
                    self.run_id,
                    key[:_DATASET],
                    key[_DATASET:_VERSION] or None,
                    self._production_of(key),
                    LISTED,
                    first,
                    own[1] if self.streaming else None,
                    self._seen(own, below) >= floor,
                    _join({register[1] for register in registers.values()}),
                )
            )
        return rows

    def _production_of(self, key: str) -> str | None:
        if len(key) <= _VERSION:
            return None
        return _id("production", key[_VERSION:], key[:_DATASET], key[_DATASET:_VERSION])

    def _implied_inputs(
        self, listed: set[str], pairs: dict[str, int], renamed: dict[str, int], altered: dict[str, int]
    ) -> list[Row]:
        """Inputs that nobody listed: sources of lineage facets (R24), RENAME and ALTER (R23)."""
        sources: dict[str, int] = {}
        for pair, at in pairs.items():
            source = pair[_DATASET:]
            sources[source] = min(at, sources.get(source, at))
        rows: list[Row] = []
        taken = set(listed)
        for role, implied in ((BY_LINEAGE, sources), (BY_RENAME, renamed), (BY_ALTER, altered)):
            for dataset, at in implied.items():
                if dataset not in taken:
                    last = at if self.streaming else None
                    rows.append((self.run_id, dataset, None, None, role, at, last, True, ""))
            taken |= implied.keys()
        return rows

    # -- outputs ------------------------------------------------------------------------

    def _observed_outputs(self) -> tuple[list[Row], dict[str, int], dict[str, int]]:
        """The output rows; datasets that RENAME read, and those that ALTER read, with the time."""
        observations: dict[str, Observation] = self.doc["o"]
        floor = self._floor("fo")
        explicit = self._has_lineage()
        rows: list[Row] = []
        renamed: dict[str, int] = {}
        tombstones: dict[str, int] = {}
        altered: dict[str, int] = {}
        for key, own, below in _rows_of(observations):
            registers = _overlay(own, below)
            lifecycle = self._lifecycle(key, registers, renamed, tombstones, altered)
            basis, edge_facet = _basis(explicit, lifecycle, registers)
            dataset, version = key[:_DATASET], key[_DATASET:]
            facets = _join({register[1] for register in registers.values()})
            live = self._seen(own, below) >= floor
            published = self._published(own, bool(version))
            rows.append(self._output(dataset, version, published, lifecycle, basis, edge_facet, live, facets))
        written = {key[:_DATASET] for key in observations}
        for dataset, at in tombstones.items():
            if dataset not in written:
                published = self._published([at, at], False)
                rows.append(self._output(dataset, "", published, "DROP", NO_UPSTREAM, None, True, ""))
        return rows, renamed, altered

    def _output(
        self,
        dataset: str,
        version: str,
        published: int | None,
        lifecycle: str | None,
        basis: int,
        edge_facet: str | None,
        live: bool,
        facets: str,
    ) -> Row:
        run = self.run_id
        named = version or _id("unversioned", dataset, run)
        production = _id("production", run, dataset, named)
        head = (production, run, dataset, named, bool(version), published)
        return (*head, lifecycle, basis, edge_facet, live, facets)

    def _published(self, observation: Observation, versioned: bool) -> int | None:
        """When others could read it: R17, R18, R26."""
        if self.kind == Kind.JOB:
            return None
        if versioned:
            return int(observation[0])
        if self.kind == Kind.DATASET:
            return None
        if self.ended_at is None:
            return int(observation[1])
        return self.ended_at if self.state == Rank.COMPLETE else None

    def _lifecycle(
        self,
        key: str,
        registers: Registers,
        renamed: dict[str, int],
        tombstones: dict[str, int],
        altered: dict[str, int],
    ) -> str | None:
        register = registers.get("dlifecycleStateChange", ())
        if len(register) < 3:
            return None
        state, before = register[2]
        at = time_of(self.stamps[register[0]])
        if state == "RENAME" and before:
            renamed[before] = min(at, renamed.get(before, at))
            tombstones[before] = max(at, tombstones.get(before, at))
        elif state == "ALTER":
            dataset = key[:_DATASET]
            altered[dataset] = min(at, altered.get(dataset, at))
        return str(state)

    # -- explicit lineage ---------------------------------------------------------------

    def _has_lineage(self) -> bool:
        newest = self.doc.get("lt")
        return newest is not None and self.stamps[newest] >= self._floor("lf")

    def _live_pairs(self) -> dict[str, int]:
        """(target + source) that the lineage facets still state, with the time of the newest statement."""
        return {pair: time_of(self.stamps[at]) for pair, at in self._live("l").items()}

    def _live(self, key: str) -> dict[str, int]:
        """What of the lineage facets under `key` was said since the floor, with the stamps' indexes (R24)."""
        if key not in self.doc:
            return {}
        floor, stamps = self._floor("lf"), self.stamps
        return {stated: at for stated, at in self.doc[key].items() if stamps[at] >= floor}

    def _floor(self, key: str) -> str:
        index = self.doc.get(key)
        return "" if index is None else self.stamps[index]

    def _seen(self, own: Observation, below: list[Observation]) -> str:
        stamps = self.stamps
        seen = stamps[own[2]]
        for observation in below:
            seen = max(seen, stamps[observation[2]])
        return seen


def _rows_of(observations: dict[str, Observation]) -> Iterable[tuple[str, Observation, list[Observation]]]:
    """Observations that are rows of their own, each with those it absorbs, nearest first (R16)."""
    absorbed = {key[:length] for key in observations for length in (_DATASET, _VERSION) if len(key) > length}
    if not absorbed:
        for key, own in observations.items():
            yield key, own, []
        return
    for key, own in observations.items():
        if key not in absorbed:
            below = [observations.get(key[:length]) for length in (_VERSION, _DATASET) if len(key) > length]
            yield key, own, [observation for observation in below if observation is not None]


def _overlay(own: Observation, below: list[Observation]) -> Registers:
    """The registers of `own`, and under them those of what it absorbs, by facet name (R14)."""
    if not below:
        return own[3]  # type: ignore[no-any-return]
    merged: Registers = {}
    for observation in (*reversed(below), own):
        merged.update(observation[3])
    return merged


def _basis(explicit: bool, lifecycle: str | None, registers: Registers) -> tuple[int, str | None]:
    """What an output's upstream rests on: lineage, then no upstream, then columnLineage, then every input."""
    if explicit:
        return BY_PAIRS, None
    if lifecycle in ("TRUNCATE", "DROP"):
        return NO_UPSTREAM, None
    columns = registers.get("dcolumnLineage", ())
    return (BY_COLUMNS, columns[1]) if len(columns) > 2 else (ALL_INPUTS, None)


def _id(kind: str, *ids: str) -> str:
    """As `headwater.schemas.ids` makes them, of ids in hex, which are storable as they are."""
    return hashlib.sha256("\0".join((kind, *ids)).encode()).hexdigest()[:32]


def _join(facets: set[str]) -> str:
    facets.discard("")
    return "".join(sorted(facets))
