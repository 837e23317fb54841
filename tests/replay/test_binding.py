"""What an unnamed input is bound to, and what a walk finds: by the product's SQL as by the reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from headwater.consumers.store import Store
from tests.replay import product
from tests.replay.binding import Bound
from tests.replay.native import native_universes, whole_events
from tests.replay.profiles import examples, fresh_examples
from tests.replay.reference import reference
from tests.replay.rows import Tables, columns
from tests.replay.universes import universes
from tests.support.graphs import Graph

#: A view, and the columns of it that the reference speaks of.
READS = ("resolved_input", "run_id", "asset_id", "production_id", "binding", "ambiguous")
STEPS = ("edges", "source_production_id", "target_production_id", "inferred", "ambiguous")


def check_bindings(store: Store, values: list[bytes]) -> None:
    product.wipe(store)
    product.apply_all(store, [values])
    check_questions(store, Bound(reference(values)))


def check_questions(store: Store, expected: Bound) -> None:
    """Bindings, views and walks."""
    assert product.bindings(store) == expected.resolved
    assert product.view(store, *READS) == expected.reads()
    assert product.view(store, *STEPS) == expected.steps()
    assert product.ambiguous(store, expected.runs) == expected.ambiguous()
    for production in expected.outputs:
        assert product.walked(store, production, "up") == expected.upstream(production)
        assert product.walked(store, production, "down") == expected.downstream(production)


@examples(30, shrink=False)
@given(values=universes)
def test_inputs_and_walks_equal_the_reference(store: Store, values: list[bytes]) -> None:
    check_bindings(store, values)


#: In seconds; and what is a microsecond before or after.
near_by = st.builds(lambda s, us: s * 1_000_000 + us, st.integers(0, 5), st.sampled_from([0, 0, -1, 1]))


@st.composite
def close_by(draw: DrawFn) -> Graph:
    """Publications and reads of one asset of two names, within seconds; some of the readers read on."""
    graph = Graph()
    if draw(st.booleans()):
        graph.alias("a", "b")
    names = st.sampled_from(["a", "b"])
    for number in range(draw(st.integers(1, 4))):
        lifecycle = draw(st.sampled_from([None, None, None, "DROP"]))
        at = draw(st.one_of(st.just(-5_000_000), near_by))
        graph.output(graph.run(f"w{number}"), draw(names), at=at, lifecycle=lifecycle)
    for number in range(draw(st.integers(1, 3))):
        first, last = sorted([draw(near_by), draw(near_by)])
        ended = draw(st.sampled_from([None, first, last]))
        run = graph.run(f"r{number}", at=first, ended_at=ended)
        graph.input(run, draw(names), at=first, last_at=last if draw(st.booleans()) else None)
        graph.output(run, draw(st.sampled_from(["a", "made"])), at=last)
    return graph


@examples(150)
@given(graph=close_by())
def test_what_is_read_within_seconds_of_publications_equals_the_reference(store: Store, graph: Graph) -> None:
    product.wipe(store)
    with store.writing() as connection:
        graph.insert(connection)
    found = Tables()
    for name in ("dataset", "version", "run", "run_input", "run_output", "run_edge", "edge_map"):
        for row in graph.rows[name].values():
            found.rows[name].add(tuple(row[column] for column in columns(name)))
    check_questions(store, Bound(found))


@examples(15, shrink=False)
@given(values=native_universes)
def test_inputs_and_walks_over_our_own_events_equal_the_reference(store: Store, values: list[bytes]) -> None:
    check_bindings(store, values)


def test_inputs_and_walks_over_real_events_equal_the_reference(store: Store) -> None:
    values = whole_events()
    check_bindings(store, values)


@pytest.mark.deep
@fresh_examples(600)
@given(values=universes)
def test_inputs_and_walks_of_many_universes_equal_the_reference(store: Store, values: list[bytes]) -> None:
    check_bindings(store, values)
