"""The root of a run that names none is found by walking up, whatever its parents are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from headwater.consumers import Lineage
from headwater.consumers.naming import id_text
from headwater.consumers.store import Store, open_store
from headwater.schemas.ids import hash128
from tests.support.graphs import Graph


@dataclass(frozen=True)
class Ancestors:
    """What the events named of a run, by its id: its parent and its root."""

    parents: dict[bytes, bytes | None]
    roots: dict[bytes, bytes | None]

    def root(self, run: bytes) -> bytes | None:
        """Up, one after the other; None where that ends nowhere."""
        if self.parents[run] is None and self.roots[run] is None:
            return None
        seen: set[bytes] = set()
        at = run
        while at not in seen:
            seen.add(at)
            named, above = self.roots.get(at), self.parents.get(at)
            if named is not None or above is None:
                return named or at
            at = above
        return None


def wild(seed: int, count: int) -> tuple[Graph, Ancestors]:
    """Runs with parents taken at random: long chains, circles, runs never seen, roots named and not."""
    pick, graph = random.Random(seed), Graph()
    names = [f"run {number}" for number in range(count)]
    keys = [graph.run(name) for name in names]
    unseen = [hash128("unseen", str(number)) for number in range(3)]
    ancestors = Ancestors({}, {})
    for number, name in enumerate(names):
        near = keys[max(0, number - 3) : number + 2]
        parent = pick.choice([None, *unseen, *near * 4])
        root = pick.choice([None] * 12 + [pick.choice(keys), unseen[0]])
        key = graph.run(name, at=number, parent_run_id=parent, root_run_id=root)
        ancestors.parents[key], ancestors.roots[key] = parent, root
    return graph, ancestors


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with open_store(store_url, create=True) as opened:
        yield opened


def roots_of(store: Store, graph: Graph) -> dict[str, str | None]:
    """By run, as the view and as the Python interface tell it, which must agree."""
    with store.writing() as tx:
        graph.insert(tx)
    with store.connecting() as connection:
        rows = connection.exec_driver_sql("SELECT run_id, root_run_id FROM runs").all()
        found = {str(run): None if root is None else str(root) for run, root in rows}
    runs = Lineage(store).runs(limit=1_000)
    assert {run.id: run.root_run_id for run in runs} == found
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_root_of_every_run_is_what_a_walk_up_finds(store: Store, seed: int) -> None:
    graph, ancestors = wild(seed, 200)
    wanted = {id_text(run): ancestors.root(run) for run in ancestors.parents}
    expected = {run: None if root is None else id_text(root) for run, root in wanted.items()}
    assert roots_of(store, graph) == expected
    assert len(set(expected.values())) > 10


def test_a_circle_of_parents_ends(store: Store) -> None:
    graph = Graph()
    one, other = graph.run("one"), graph.run("other")
    graph.run("one", parent_run_id=other)
    graph.run("other", parent_run_id=one)
    graph.run("below", parent_run_id=one)
    graph.run("own parent", parent_run_id=graph.run("own parent"))
    assert set(roots_of(store, graph).values()) == {None}


def test_a_step_of_a_step_belongs_to_the_run_at_the_top_also_when_that_was_never_seen(store: Store) -> None:
    graph, top = Graph(), hash128("run", "top")
    step = graph.run("step", parent_run_id=top)
    inner = graph.run("inner", parent_run_id=step)
    found = roots_of(store, graph)
    assert found == {id_text(step): id_text(top), id_text(inner): id_text(top)}
