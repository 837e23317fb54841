"""What a comparison must find, by the reference tables: naive cones and pairs, the definition of a cause.

Nothing here is quick: every pairing looks at everything that is left, every closure is computed
by going round until nothing changes. Pairs are (id on one side or None, id on the other or None).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from headwater.schemas.text import original
from tests.replay.binding import Bound, Record
from tests.replay.rows import Tables

Pair: TypeAlias = tuple[Any, Any]
Rounds: TypeAlias = Sequence[tuple[Callable[[Any], Hashable], Callable[[Any], Hashable]]]

DIFFERS = ("changed", "added", "removed")


@dataclass(frozen=True)
class Thing:
    """A node of a cone."""

    id: bytes
    dataset: bytes | None
    group: bytes
    version: str | None
    run: bytes | None
    at: int | None


@dataclass
class Side:
    """A cone: things, what each was made of, runs, and what was asked for."""

    start: bytes
    things: dict[bytes, Thing]
    sources: dict[bytes, set[bytes]]
    runs: dict[bytes, Record]
    asked_run: bytes | None


class Differing:
    """The comparison of two productions, or of two runs, of the same tables."""

    def __init__(self, tables: Tables, a: bytes, b: bytes) -> None:
        self.bound = Bound(tables)
        self.names = {
            d["dataset_id"]: (original(d["namespace"]), original(d["name"])) for d in tables.named("dataset")
        }
        self.groups = {d["dataset_id"]: d["group_id"] for d in tables.named("dataset")}
        self.versions = {v["version_id"]: original(v["version"]) for v in tables.named("version")}
        self.jobs = {
            j["job_id"]: (original(j["namespace"]), original(j["name"])) for j in tables.named("job")
        }
        self.bodies = {f["facet_id"]: (f["name"], json.loads(f["body"])) for f in tables.named("facet")}
        self.all_runs = {r["run_id"]: r for r in tables.named("run")}
        self.a, self.b = self._side(a), self._side(b)
        self.runs = self._pair_runs()
        self.pairs = self._pair_things()
        self.steps = self._steps()
        self.verdicts = {pair: self._verdict(pair) for pair in self.pairs}
        self.own = {step for step in self.steps if None not in step and self._own_change(step)}

    # -- cones

    def _side(self, start: bytes) -> Side:
        if start in self.bound.outputs:
            asked, starts, tree = None, {start}, set()
        else:
            tree = self._tree(start)
            asked, starts = (
                start,
                {o["production_id"] for o in self.bound.outputs.values() if o["run_id"] in tree},
            )
            wrote = {self.bound.outputs[id]["run_id"] for id in starts}
            starts |= tree - wrote
        things: dict[bytes, Thing] = {}
        sources: dict[bytes, set[bytes]] = {}
        waiting = set(starts)
        while waiting:
            id = waiting.pop()
            things.setdefault(id, self._thing(id))
            found = self._read(id)
            sources[id] = {thing.id for thing in found}
            for thing in found:
                if thing.id not in things:
                    things[thing.id] = thing
                    waiting.add(thing.id)
        met = {thing.run for thing in things.values() if thing.run} | tree
        runs = {id: self.all_runs[id] for id in met if self.all_runs[id]["job_id"] in self.jobs}
        if asked is None:
            asked = things[start].run
        return Side(start, things, sources, runs, asked)

    def _tree(self, root: bytes) -> set[bytes]:
        tree: set[bytes] = {root}
        while True:
            more = {
                id for id, r in self.all_runs.items() if r["parent_run_id"] in tree and r["kind"] == 0
            } - tree
            if not more:
                return tree
            tree |= more

    def _thing(self, id: bytes) -> Thing:
        if id in self.bound.outputs:
            o = self.bound.outputs[id]
            dataset = o["dataset_id"]
            version = self.versions.get(o["version_id"])
            return Thing(id, dataset, self.groups[dataset], version, o["run_id"], o["published_at"])
        return Thing(id, None, id, None, id, None)  # a run that wrote nothing

    def _read(self, id: bytes) -> list[Thing]:
        if id in self.bound.outputs:
            inputs = self.bound.read_for(id)
        else:
            inputs = [i for i in self.bound.inputs if i["run_id"] == id]
        found = []
        for i in inputs:
            bound = self.bound.resolved[self.bound.key(i)]
            for production in {bound.production, *bound.later} - {None}:
                assert production is not None
                found.append(
                    self._thing(production)
                    if production in self.bound.outputs
                    else self._origin(i, production)
                )
            if bound.production is None:
                found.append(self._origin(i, i["dataset_id"] + (i["version_id"] or b"")))
        return [thing for thing in found if thing.id != id]

    def _origin(self, i: Record, id: bytes) -> Thing:
        dataset = i["dataset_id"]
        return Thing(id, dataset, self.groups[dataset], self.versions.get(i["version_id"]), None, None)

    # -- pairs

    @staticmethod
    def _rounds(a: Sequence[Any], b: Sequence[Any], rounds: Rounds) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for of_a, of_b in rounds:
            for one in a:
                for other in b:
                    free = one not in found and other not in found.values()
                    if free and of_a(one) is not None and of_a(one) == of_b(other):
                        found[one] = other
        return found

    def _pair_runs(self) -> dict[bytes, bytes]:
        def ordered(side: Side) -> list[bytes]:
            return sorted(side.runs, key=lambda id: (side.runs[id]["first_at"], id))

        def job(id: bytes) -> Hashable:
            return self.jobs[self.all_runs[id]["job_id"]]

        def did(side: Side) -> Callable[[bytes], Hashable]:
            def of(id: bytes) -> Hashable:
                wrote = (t for t in side.things.values() if t.run == id and t.dataset)
                return job(id), frozenset((t.group, t.version) for t in wrote)

            return of

        asked_a, asked_b = self.a.asked_run, self.b.asked_run
        return self._rounds(
            ordered(self.a),
            ordered(self.b),
            [
                (lambda id: True if id == asked_a else None, lambda id: True if id == asked_b else None),
                (lambda id: id, lambda id: id),
                (did(self.a), did(self.b)),
                (job, job),
            ],
        )

    def _pair_things(self) -> list[Pair]:
        def ordered(side: Side) -> list[Thing]:
            return sorted(side.things.values(), key=lambda t: (t.at is not None, t.at or 0, t.id))

        starts = [self._only(side) for side in (self.a, self.b)]

        def asked(start: bytes | None) -> Callable[[Thing], Hashable]:
            return lambda t: True if None not in starts and t.id == start else None

        def as_written(run: Callable[[Thing], Any]) -> Callable[[Thing], Hashable]:
            return lambda t: None if run(t) is None else (t.group if t.dataset else None, run(t))

        found = self._rounds(
            ordered(self.a),
            ordered(self.b),
            [
                (asked(starts[0]), asked(starts[1])),
                (lambda t: t.id, lambda t: t.id),
                (as_written(lambda t: self.runs.get(t.run or b"")), as_written(lambda t: t.run)),
                (self._content_key, self._content_key),
                (lambda t: t.group if t.dataset else None, lambda t: t.group if t.dataset else None),
            ],
        )
        taken = {t.id for t in found.values()}
        return [
            *((one.id, found[one].id if one in found else None) for one in self.a.things.values()),
            *((None, other.id) for other in self.b.things.values() if other.id not in taken),
        ]

    @staticmethod
    def _content_key(thing: Thing) -> Hashable:
        return None if thing.version is None else (thing.group, thing.version)

    @staticmethod
    def _only(side: Side) -> bytes | None:
        """The asset that was asked for, when it is one."""
        return side.start if side.start in side.things and side.things[side.start].dataset else None

    def _steps(self) -> set[Pair]:
        together: set[Pair] = set(self.runs.items())
        for one, other in self.pairs:
            if one is not None and other is not None:
                runs = self.a.things[one].run, self.b.things[other].run
                if runs[0] in self.a.runs and runs[1] in self.b.runs:
                    together.add(runs)
        alone_a = {(id, None) for id in self.a.runs if id not in {one for one, _ in together}}
        alone_b = {(None, id) for id in self.b.runs if id not in {other for _, other in together}}
        return together | alone_a | alone_b

    def step(self, pair: Pair) -> Pair:
        """The runs that wrote a pair."""
        return (
            None if pair[0] is None else self.a.things[pair[0]].run,
            None if pair[1] is None else self.b.things[pair[1]].run,
        )

    # -- differences

    def _verdict(self, pair: Pair) -> str:
        if pair[0] is None:
            return "added" if self.b.things[pair[1]].dataset else "none"
        if pair[1] is None:
            return "removed" if self.a.things[pair[0]].dataset else "none"
        one, other = self.a.things[pair[0]], self.b.things[pair[1]]
        if not one.dataset:
            return "none"
        if one.id == other.id and one.run is not None:
            return "equal"
        if one.version is not None and other.version is not None:
            return "equal" if one.version == other.version else "changed"
        rows = [
            self._facet(self._facets_of(thing), "outputStatistics").get("rowCount") for thing in (one, other)
        ]
        return "changed" if None not in rows and rows[0] != rows[1] else "unknown"

    def _facets_of(self, thing: Thing) -> bytes:
        return self.bound.outputs[thing.id]["facets"] if thing.id in self.bound.outputs else b""

    def _facet(self, ids: bytes, name: str) -> dict[str, Any]:
        for at in range(0, len(ids), 16):
            told, body = self.bodies[ids[at : at + 16]]
            if told == name and isinstance(body, dict):
                return body
        return {}

    def parameters(self, run: bytes) -> dict[str, str]:
        """What a run was called with, as the events spell it."""
        listed = self._facet(self.all_runs[run]["facets"], "executionParameters").get("parameters", [])
        return {entry["key"]: entry["value"] for entry in listed}

    def code(self, run: bytes) -> dict[str, str]:
        """What a run told of its own code."""
        body = self._facet(self.all_runs[run]["facets"], "headwater_code")
        query = self._facet(self.all_runs[run]["facets"], "sql").get("query")
        told = {"function": body.get("function"), "source": body.get("sourceDigest"), "query": query}
        return {key: value for key, value in told.items() if isinstance(value, str) and value}

    def _own_change(self, step: Pair) -> bool:
        one, other = (self.all_runs[run] for run in step)
        codes = [self.code(run) for run in step]
        return step[0] != step[1] and (
            self.jobs[one["job_id"]] != self.jobs[other["job_id"]]
            or self.parameters(step[0]) != self.parameters(step[1])
            or any(codes[0][key] != codes[1][key] for key in codes[0].keys() & codes[1].keys())
        )

    # -- causes

    def sources(self, pair: Pair) -> set[Pair]:
        """The pairs that a pair was made of, on either side."""
        before = self.a.sources.get(pair[0], set()) if pair[0] is not None else set()
        after = self.b.sources.get(pair[1], set()) if pair[1] is not None else set()
        return {p for p in self.pairs if p[0] in before or (p[1] is not None and p[1] in after)}

    def readings(self) -> set[tuple[Pair, bytes]]:
        """(reader, asset) of what a pair of both sides was made of on one side only."""
        return {(reader, group) for reader in self.pairs for group in self._read_otherwise(reader)}

    def _read_otherwise(self, reader: Pair) -> dict[bytes, set[Pair]]:
        if None in reader:
            return {}
        found: dict[bytes, set[Pair]] = {}
        for pair in self.sources(reader):
            before = pair[0] in self.a.sources[reader[0]]
            after = pair[1] in self.b.sources[reader[1]]
            if before is not after:
                thing = self.b.things[pair[1]] if after else self.a.things[pair[0]]
                found.setdefault(self._group_of(pair, thing), set()).add(pair)
        return {group: pairs for group, pairs in found.items() if self._tells(reader, pairs)}

    def _group_of(self, pair: Pair, thing: Thing) -> bytes:
        return self.a.things[pair[0]].group if pair[0] is not None else thing.group

    def _tells(self, reader: Pair, pairs: Iterable[Pair]) -> bool:
        """Whether reading these on one side only is a difference: one is one-sided, or contents differ."""
        old, new = [], []
        for pair in pairs:
            if None in pair:
                return True
            if pair[0] in self.a.sources[reader[0]]:
                thing = self.a.things[pair[0]]
                old.append(thing.version or thing.id.hex())
            else:
                thing = self.b.things[pair[1]]
                new.append(thing.version or thing.id.hex())
        return sorted(old) != sorted(new)

    def single(self) -> set[Pair]:
        """What is on one side only; runs that wrote nothing too, if they have no counterpart."""
        alone = {pair for pair in self.pairs if None in pair}
        return {p for p in alone if self.verdicts[p] != "none" or not self._both(self.step(p))}

    def brought(self) -> set[Pair]:
        """What is on one side only because a step of both sides reads it there, directly or not."""
        entries = {p for reader in self.pairs for ps in self._read_otherwise(reader).values() for p in ps}
        return self.upstream_alone(entries & self.single())

    def upstream_alone(self, pairs: set[Pair]) -> set[Pair]:
        """`pairs` and everything one-sided that they were made of."""
        alone, found = self.single(), set(pairs)
        while True:
            more = {source for pair in found for source in self.sources(pair)} & alone
            if more <= found:
                return found
            found |= more

    def ends(self) -> set[Pair]:
        """What of the rest nothing of the rest was made of."""
        rest = self.single() - self.brought()
        return {pair for pair in rest if not any(pair in self.sources(r) for r in rest if r != pair)}

    def begun_alone(self) -> set[Pair]:
        """The ends that no step with a change of its own wrote."""
        return {pair for pair in self.ends() if not self._both(self.step(pair)) & self.own}

    def has_circles_alone(self) -> bool:
        """Whether some of what is one-sided leads to no end."""
        return bool(self.single() - self.brought() - self.upstream_alone(self.ends()))

    def _both(self, step: Pair) -> set[Pair]:
        """The steps of both sides that a run of one side belongs to."""
        return {
            both
            for both in self.steps
            if None not in both
            and any(step[side] is not None and step[side] == both[side] for side in (0, 1))
        }

    def contents(self) -> set[Pair]:
        """Assets of another content that nothing explains: not their step, nor anything they were made of."""
        read = {reader for reader, _ in self.readings()}
        return {
            pair
            for pair, verdict in self.verdicts.items()
            if verdict == "changed" and self.step(pair) not in self.own and pair not in read
            if not any(self.verdicts[source] in DIFFERS for source in self.sources(pair) - {pair})
        }

    def explained(self, begun: set[Pair]) -> set[Pair]:
        """Everything that differs and is downstream of `begun`, of a step's own change or other inputs."""
        read = {reader for reader, _ in self.readings()}
        found = {
            p for p, v in self.verdicts.items() if v in DIFFERS and (self.step(p) in self.own or p in read)
        }
        found |= begun
        while True:
            more = {p for p, v in self.verdicts.items() if v in DIFFERS and self.sources(p) & found}
            if more <= found:
                return found
            found |= more
