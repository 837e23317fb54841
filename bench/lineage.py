"""lineage: walks over a million versions, beside bare recursive SQL and flowyml's catalog.

`walk` is the traversal alone; `answer` is what the Python API gives for it, with names, runs
and facets looked up. The bare SQL runs on a table of ready edges in the same database: nothing
to bind, no names, no bounds, no cycles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from bench import isolated, peers, stores
from bench.isolated import CACHE
from bench.rows import Figure, percentile
from bench.scale import Scale

BUDGET_MS = {"sqlite": 20.0, "postgresql": 10.0}
BUDGET_DEEP_MS = 100.0
DEPTH = 10
DEEP_RUNS = 7
BARE = "bare recursive SQL over ready edges"

Told = dict[str, Any]


def figures(scale: Scale) -> Iterator[Figure]:
    catalog = {reach: _catalog(scale, reach) for reach in (1, 2)}
    for kind in BUDGET_MS:
        with stores.graph(kind, scale.versions, scale.deep) as url:
            told = isolated.call(
                "bench.lineage:measuring",
                url=url,
                versions=scale.versions,
                deep=scale.deep,
                walks=scale.walks,
            )
            where = f"{told['productions']:,} productions in the store; {_server(kind, url)}"
        yield from _layered(kind, told, where)
        yield from _deep(kind, told, where, catalog, scale.deep)


def _catalog(scale: Scale, reach: int) -> Told:
    path = CACHE / f"flowyml-catalog-{scale.deep}-{reach}.db"
    told: Told = peers.FLOWYML.call("ancestry", path=str(path), steps=scale.deep, reach=reach, runs=3)
    return told


def _server(kind: str, url: str) -> str:
    return "SQLite" if kind == "sqlite" else stores.settings_of(url)


def _layered(kind: str, told: Told, where: str) -> Iterator[Figure]:
    bare = told["bare:layered"]
    for name, walk in told["layered"].items():
        direction, binding, form = name.split(":")
        compared = (direction, binding) == ("up", "named")
        yield Figure(
            name=f"lineage:{kind}:depth-{DEPTH}:{direction}:{binding}:{form}:p50",
            unit="ms",
            values=[percentile(run, 0.5) for run in walk["ms"]],
            budget=BUDGET_MS[kind] if direction == "up" else None,
            peer=BARE if compared else None,
            peer_values=[percentile(run, 0.5) for run in bare["ms"]] if compared else (),
            fixture=f"{_BINDINGS[binding]}; 3 inputs a step, 12 layers of 100 datasets; "
            f"{len(walk['ms'][0])} starts, {walk['nodes']:,.0f} nodes returned (median); warm; {where}",
            note=f"p95 {percentile([percentile(run, 0.95) for run in walk['ms']], 0.5):.1f} ms; "
            f"met for the first time {percentile(walk['first'], 0.5):.1f} ms",
        )


_BINDINGS = {
    "named": "inputs name the production, as our events do",
    "versioned": "inputs name a content version, bound in the query",
    "late": "inputs name the dataset alone, bound by time in the query",
}


def _deep(kind: str, told: Told, where: str, catalog: dict[int, Told], steps: int) -> Iterator[Figure]:
    for name, walk in told["deep"].items():
        shape, form = name.split(":")
        ladder, late = "ladder" in shape, shape.startswith("late")
        what = "each step reads the two before it" if ladder else "each step reads the one before"
        theirs = catalog[2 if ladder else 1]
        bare = told["bare:deep"].get(shape)
        note = f"; {BARE}: {percentile(bare['ms'], 0.5):.0f} ms for {bare['nodes']:,} nodes" if bare else ""
        yield Figure(
            name=f"lineage:{kind}:{shape}:{form}",
            unit="ms",
            values=walk["ms"],
            budget=BUDGET_DEEP_MS,
            peer=f"{peers.FLOWYML.title} catalog",
            peer_values=[seconds * 1e3 for seconds in theirs["seconds"]],
            fixture=f"{steps:,} steps, {what}, {_BINDINGS['late' if late else 'named']}; "
            f"all {walk['nodes']:,} ancestors of the last; warm; {where}",
            note=f"the peer is asked node by node, {theirs['nodes']:,} nodes{note}",
        )


# -- in a process of their own ------------------------------------------------------------


def measuring(url: str, versions: int, deep: int, walks: int) -> Told:
    """Every walk over the graph at `url`, in ms."""
    from bench import fixtures
    from headwater.consumers.store import connect

    layered = fixtures.Layered(versions=versions)
    told: Told = {"layered": {}, "deep": {}, "bare:deep": {}}
    store = connect(url)
    ask = Questions(store)
    told["productions"] = ask.count()
    for binding in fixtures.BINDINGS:
        tops, bottoms = layered.top(binding, walks), layered.bottom(binding, max(3, walks // 6))
        for form in ("walk", "answer"):
            told["layered"][f"up:{binding}:{form}"] = ask.each(tops, "up", form, DEPTH)
        told["layered"][f"down:{binding}:walk"] = ask.each(bottoms, "down", "walk", DEPTH)
    told["bare:layered"] = ask.each(layered.top("named", walks), "up", "bare", DEPTH)
    for shape in stores.deep_shapes(deep):
        for form in ("walk", "answer"):
            told["deep"][f"{shape.name}:{form}"] = ask.often(shape.last(), form)
        if shape.binding == "named":
            told["bare:deep"][shape.name] = ask.often(shape.last(), "bare")
    store.close()
    return told


class Questions:
    """Asks one store; how long each answer takes, in ms, and how many nodes it has."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def count(self) -> int:
        with self._store.connecting() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM run_output").scalar_one())

    def each(self, starts: list[bytes], direction: str, form: str, depth: int) -> Told:
        """All `starts` once unseen, then three times over."""
        ask = self._form(form, direction, depth)
        first = [self._ms(ask, start) for start in starts]
        runs = [[self._ms(ask, start)[0] for start in starts] for _ in range(3)]
        return {"first": [ms for ms, _ in first], "ms": runs, "nodes": percentile([n for _, n in first], 0.5)}

    def often(self, start: bytes, form: str) -> Told:
        ask = self._form(form, "up", None)
        answers = [self._ms(ask, start) for _ in range(DEEP_RUNS + 1)]
        return {"ms": [ms for ms, _ in answers[1:]], "nodes": answers[0][1]}

    @staticmethod
    def _ms(ask: Callable[[bytes], int], start: bytes) -> tuple[float, int]:
        began = time.perf_counter()
        nodes = ask(start)
        return (time.perf_counter() - began) * 1e3, nodes

    def _form(self, form: str, direction: str, depth: int | None) -> Callable[[bytes], int]:
        if form == "answer":
            return self._answer(direction, depth)
        return self._walk(direction, depth) if form == "walk" else self._bare(depth)

    def _walk(self, direction: str, depth: int | None) -> Callable[[bytes], int]:
        from headwater.consumers import walk

        walked = walk.upstream if direction == "up" else walk.downstream

        def ask(start: bytes) -> int:
            with self._store.connecting() as connection:
                found = walked(connection, walk.productions(connection, [start]), depth=depth, limit=20_000)
                return len(found.nodes)

        return ask

    def _answer(self, direction: str, depth: int | None) -> Callable[[bytes], int]:
        from headwater.consumers.asking import Lineage
        from headwater.consumers.naming import id_text

        lineage = Lineage(self._store)

        def ask(start: bytes) -> int:
            questions = {"up": lineage.upstream, "down": lineage.downstream}
            return len(questions[direction](id_text(start), depth=depth).nodes)

        return ask

    def _bare(self, depth: int | None) -> Callable[[bytes], int]:
        """The walk over `bench_edge`, which no store of ours has; depth only where the graph is layered."""
        postgres = self._store.dialect == "postgresql"
        start = "CAST(%s AS uuid)" if postgres else "?"
        if depth is None:
            text = f"""WITH RECURSIVE t(id) AS (SELECT {start}
                UNION SELECT e.source FROM t JOIN bench_edge e ON e.target = t.id) SELECT id FROM t"""
        else:
            text = f"""WITH RECURSIVE t(id, depth) AS (SELECT {start}, 0
                UNION SELECT e.source, t.depth + 1 FROM t JOIN bench_edge e ON e.target = t.id
                WHERE t.depth < {depth}) SELECT id, depth FROM t"""

        def ask(end: bytes) -> int:
            with self._store.connecting() as connection:
                driver = connection.connection.driver_connection
                return len(driver.execute(text, (end.hex() if postgres else end,)).fetchall())

        return ask
