"""What an unnamed input is bound to, and what a walk finds: by the product's SQL as by the reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from headwater.consumers.details import RUNNING
from headwater.consumers.store import Store
from headwater.schemas.errors import Unparseable
from headwater.schemas.openlineage import parse
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
    names, contents = st.sampled_from(["a", "b"]), st.sampled_from([None, None, "v1"])
    for number in range(draw(st.integers(1, 4))):
        lifecycle = draw(st.sampled_from([None, None, None, "DROP"]))
        at = draw(st.one_of(st.just(-5_000_000), near_by))
        graph.output(graph.run(f"w{number}"), draw(names), draw(contents), at=at, lifecycle=lifecycle)
    for number in range(draw(st.integers(0, 2))):
        run = graph.run(f"f{number}", at=0, ended_at=draw(near_by), state=draw(st.sampled_from([4, 5])))
        graph.output(run, draw(names), at=None)
    for number in range(draw(st.integers(1, 3))):
        first, last = sorted([draw(near_by), draw(near_by)])
        ended = draw(st.sampled_from([None, first, last]))
        run = graph.run(f"r{number}", at=first, ended_at=ended)
        last_at = last if draw(st.booleans()) else None
        graph.input(run, draw(names), draw(contents), at=first, last_at=last_at)
        graph.output(run, draw(st.sampled_from(["a", "made"])), at=draw(st.one_of(st.just(last), near_by)))
    return graph


@examples(150)
@given(graph=close_by())
def test_what_is_read_within_seconds_of_publications_equals_the_reference(store: Store, graph: Graph) -> None:
    check_questions(store, Bound(written(store, graph)))


def written(store: Store, graph: Graph) -> Tables:
    """`graph` as the only contents of `store`, and as the reference takes it."""
    product.wipe(store)
    with store.writing() as connection:
        graph.insert(connection)
    found = Tables()
    for name in ("dataset", "version", "run", "run_input", "run_output", "run_edge", "edge_map"):
        for row in graph.rows[name].values():
            found.rows[name].add(tuple(row[column] for column in columns(name)))
    return found


@examples(15, shrink=False)
@given(values=native_universes)
def test_inputs_and_walks_over_our_own_events_equal_the_reference(store: Store, values: list[bytes]) -> None:
    check_bindings(store, values)


def test_inputs_and_walks_over_real_events_equal_the_reference(store: Store) -> None:
    values = whole_events()
    check_bindings(store, values)


#: Which of a universe's times to ask about, and from a microsecond before it to one after.
moments = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0, 0, -1, 1])), min_size=1, max_size=2)
LONG_AGO, IN_THE_END = -(2**61), 2**61


def times_of(tables: Tables) -> list[int]:
    """Every time that decides what there was."""
    found = {row[name] for row in tables.named("run_input") for name in ("first_at", "last_at")}
    found |= {row["published_at"] for row in tables.named("run_output")}
    found |= {row[name] for row in tables.named("run") for name in ("started_at", "ended_at", "last_at")}
    return sorted(time for time in found if time is not None) or [0]


def check_as_of(store: Store, tables: Tables, as_of: int, include_failed: bool) -> None:
    expected = Bound(tables, as_of, include_failed)
    assert product.ambiguous(store, expected.runs, as_of) == expected.ambiguous()
    for production in tables.named("run_output"):
        start = production["production_id"]
        if start not in expected.outputs:
            assert product.walked(store, start, "up", as_of, include_failed) == {}
            continue
        up, down = expected.upstream(start), expected.downstream(start)
        assert product.walked(store, start, "up", as_of, include_failed) == up
        assert product.walked(store, start, "down", as_of, include_failed) == down


@examples(12, shrink=False)
@given(values=universes, chosen=moments, include_failed=st.booleans())
def test_walks_as_of_a_time_equal_the_reference(
    store: Store, values: list[bytes], chosen: list[tuple[int, int]], include_failed: bool
) -> None:
    product.wipe(store)
    product.apply_all(store, [values])
    tables = reference(values)
    times = times_of(tables)
    asked = [times[place % len(times)] + beside for place, beside in chosen]
    for as_of in (*asked, LONG_AGO, IN_THE_END):
        check_as_of(store, tables, as_of, include_failed)
    check_states(store, values, tables, asked)


@examples(60)
@given(graph=close_by(), as_of=near_by, include_failed=st.booleans())
def test_walks_as_of_a_time_within_seconds_of_it_equal_the_reference(
    store: Store, graph: Graph, as_of: int, include_failed: bool
) -> None:
    check_as_of(store, written(store, graph), as_of, include_failed)


def check_states(store: Store, values: list[bytes], tables: Tables, asked: list[int]) -> None:
    """A run is as the events until then made it; one that ended later was running."""
    runs = {row["run_id"]: row for row in tables.named("run") if row["kind"] == 0}
    for as_of in asked:
        by_then = reference([value for value in values if happened(value, as_of)])
        expected = {row["run_id"]: row for row in by_then.named("run") if row["kind"] == 0}
        for id, row in expected.items():
            if row["ended_at"] is None and runs[id]["ended_at"] is not None:
                row["state"] = RUNNING
        begun = {id for id, row in runs.items() if row["first_at"] <= as_of}
        assert product.states(store, begun, as_of) == {
            id: tuple(row[name] for name in ("state", "started_at", "ended_at", "first_at", "last_at"))
            for id, row in expected.items()
        }


def happened(value: bytes, as_of: int) -> bool:
    try:
        return parse(value).time <= as_of
    except Unparseable:
        return False


@pytest.mark.deep
@fresh_examples(250)
@given(values=universes)
def test_inputs_and_walks_of_many_universes_equal_the_reference(store: Store, values: list[bytes]) -> None:
    check_bindings(store, values)
