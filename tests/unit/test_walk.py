"""The walk finds exactly what the rules say, at true depth, whatever the graph looks like."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine

from bench.fixtures import Deep
from headwater.consumers import tables, walk
from tests.replay.binding import Bound
from tests.replay.rows import Tables, columns
from tests.support.graphs import Graph

FOREVER = 10_000


def oracle(graph: Graph, as_of: int | None = None, include_failed: bool = False) -> Bound:
    """The reference binding and walk over the same rows, which looks at every row for every question."""
    found = Tables()
    for name in ("dataset", "version", "run", "run_input", "run_output", "run_edge", "edge_map"):
        for row in graph.rows[name].values():
            found.rows[name].add(tuple(row[column] for column in columns(name)))
    return Bound(found, as_of, include_failed)


NAMES = ("a", "b", "c", "d")
TIMES = st.integers(0, 6)
#: Now; as of a time that events have, or one that none has; long before and long after all of them.
AS_OF = st.one_of(st.none(), st.none(), TIMES, st.integers(-1, 14), st.sampled_from([-(2**61), 2**61]))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A few runs over four datasets: every way to name an input, equal times, aliases, cycles, all bases."""
    graph = Graph()
    for name in NAMES:
        graph.dataset(name)
    for one, other in draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=2)):
        if one != other:
            graph.alias(one, other)
    made = [_outputs(draw, graph, number) for number in range(draw(st.integers(1, 7)))]
    productions = list(graph.rows["run_output"])
    for run, streaming in made:
        for _ in range(draw(st.integers(0, 3))):
            _input(draw, graph, run, streaming, productions)
    return graph


def _outputs(draw: st.DrawFn, graph: Graph, number: int) -> tuple[bytes, bool]:
    kind = draw(st.sampled_from([0, 0, 0, 0, 1, 2]))
    streaming = draw(st.booleans()) and draw(st.booleans())
    state = draw(st.sampled_from([2, 3, 3, 4, 5, 5]))
    ended_at = None if state == 2 else draw(TIMES)
    last_at = draw(TIMES)
    run = graph.run(
        str(number), kind=kind, streaming=streaming, state=state, ended_at=ended_at, last_at=last_at
    )
    facet = graph.facet("columnLineage", {"of": number})
    for _ in range(draw(st.integers(0, 3))):
        target = draw(st.sampled_from(NAMES))
        at = None if kind == 1 else draw(st.one_of(st.none(), TIMES, TIMES))
        basis = draw(st.sampled_from([0, 0, 0, 1, 2, 3]))
        graph.output(
            run,
            target,
            draw(st.sampled_from([None, "v1", "v2"])),
            at=at,
            lifecycle=draw(st.sampled_from([None, None, None, "DROP"])),
            basis=basis,
            edge_facet=facet if basis == 1 else None,
        )
        for source in draw(st.lists(st.sampled_from(NAMES), max_size=2)):
            if basis == 1:
                graph.column_edge(facet, target, source)
            if basis == 2:
                graph.run_edge(run, target, source)
    return run, streaming


def _input(draw: st.DrawFn, graph: Graph, run: bytes, streaming: bool, productions: list[bytes]) -> None:
    at = draw(TIMES)
    last_at = at + draw(TIMES) if streaming else None
    how = draw(st.sampled_from(["time", "time", "version", "production", "unseen"]))
    name = draw(st.sampled_from(NAMES))
    if how == "time":
        graph.input(run, name, at=at, last_at=last_at)
    elif how == "version":
        graph.input(run, name, draw(st.sampled_from(["v1", "v2", "v3"])), at=at, last_at=last_at)
    elif how == "production" and productions:
        row = graph.rows["run_output"][draw(st.sampled_from(productions))]
        graph.rows["run_input"][run, row["production_id"]] = {
            "run_id": run,
            "dataset_id": row["dataset_id"],
            "version_id": row["version_id"],
            "production_id": row["production_id"],
            "role": 0,
            "first_at": at,
            "last_at": last_at,
            "live": True,
            "facets": b"",
        }
    else:
        graph.input(run, name, "v1", at=at, last_at=last_at, production=bytes([7]) * 16)


def productions_of(found: walk.Walk) -> dict[bytes, int]:
    """The nodes that stand for a production, described or not, with their depth."""
    return {
        id: found.depths[id]
        for id, node in found.nodes.items()
        if isinstance(node, walk.Production) or (isinstance(node, walk.Origin) and node.production_id)
    }


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(graph=graphs(), as_of=AS_OF, include_failed=st.booleans())
def test_a_walk_up_finds_what_the_slow_reference_finds(
    connection: Connection, graph: Graph, as_of: int | None, include_failed: bool
) -> None:
    truth = oracle(graph, as_of, include_failed)
    with connection.begin_nested() as inserted:
        graph.insert(connection)
        everything = list(graph.rows["run_output"])
        assert {p.id for p in walk.productions(connection, everything, as_of)} == set(truth.outputs)
        for start in truth.outputs:
            starts = walk.productions(connection, [start], as_of)
            found = walk.upstream(connection, starts, as_of=as_of, include_failed=include_failed)
            assert productions_of(found) == truth.upstream(start)
            assert {
                edge for edge in found.edges if not isinstance(found.nodes[edge[0]], walk.Origin)
            } | _named_unseen(found) == {
                (parent, child)
                for child in truth.upstream(start)
                for parent in truth.parents(child)
                if parent != child
            }
            assert {edge for edge in found.edges if found.possible(*edge)} == {
                (parent, child)
                for child in truth.upstream(start)
                for parent in truth.parents(child, possible=True)
            }
            assert found.truncated is None
        inserted.rollback()


def _named_unseen(found: walk.Walk) -> set[tuple[bytes, bytes]]:
    unseen = {id for id, n in found.nodes.items() if isinstance(n, walk.Origin) and n.production_id}
    return {edge for edge in found.edges if edge[0] in unseen}


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(graph=graphs(), as_of=AS_OF, include_failed=st.booleans())
def test_a_walk_down_finds_what_the_slow_reference_finds(
    connection: Connection, graph: Graph, as_of: int | None, include_failed: bool
) -> None:
    truth = oracle(graph, as_of, include_failed)
    with connection.begin_nested() as inserted:
        graph.insert(connection)
        for start in truth.outputs:
            starts = walk.productions(connection, [start], as_of)
            found = walk.downstream(connection, starts, as_of=as_of, include_failed=include_failed)
            assert productions_of(found) == truth.downstream(start)
        inserted.rollback()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(graph=graphs(), depth=st.integers(0, 3))
def test_a_depth_cuts_the_answer_there_and_says_so(connection: Connection, graph: Graph, depth: int) -> None:
    truth = oracle(graph)
    with connection.begin_nested() as inserted:
        graph.insert(connection)
        for start in truth.outputs:
            whole = walk.upstream(connection, walk.productions(connection, [start]))
            cut = walk.upstream(connection, walk.productions(connection, [start]), depth=depth)
            assert cut.depths == {id: at for id, at in whole.depths.items() if at <= depth}
            missing = whole.edges.keys() - cut.edges.keys()
            assert cut.more == {target for _, target in missing if target in cut.nodes}
            assert cut.truncated == ("depth" if cut.more else None)
        inserted.rollback()


def test_a_run_does_not_inherit_from_itself(connection: Connection) -> None:
    graph = Graph()
    first = graph.output(graph.run("1"), "table", at=10)
    updating = graph.run("2")
    graph.input(updating, "table", at=30)
    second = graph.output(updating, "table", at=20)
    graph.insert(connection)
    found = walk.upstream(connection, walk.productions(connection, [second]))
    assert list(found.edges) == [(first, second)]


def test_the_run_that_published_next_is_found_as_a_reader_of_the_one_before(connection: Connection) -> None:
    graph = Graph()
    first = graph.output(graph.run("1"), "table", at=10)
    updating = graph.run("2")
    second = graph.output(updating, "table", at=20)
    graph.input(updating, "table", at=900)
    graph.output(graph.run("3"), "table", at=1000)
    graph.insert(connection)
    found = walk.downstream(connection, walk.productions(connection, [first]))
    assert (first, second) in found.edges


def test_a_name_linked_later_joins_two_histories(connection: Connection) -> None:
    graph = Graph()
    written = graph.output(graph.run("spark"), "hive/t", at=10)
    reader = graph.run("step")
    graph.input(reader, "s3/t", at=20)
    made = graph.output(reader, "model", at=30)
    graph.insert(connection)
    apart = walk.upstream(connection, walk.productions(connection, [made]))
    assert [type(node) for node in apart.nodes.values()] == [walk.Production, walk.Origin]
    connection.rollback()
    graph.alias("hive/t", "s3/t")
    graph.insert(connection)
    joined = walk.upstream(connection, walk.productions(connection, [made]))
    assert list(joined.edges) == [(written, made)]
    down = walk.downstream(connection, walk.productions(connection, [written]))
    assert list(down.edges) == [(written, made)]


def test_a_dropped_dataset_is_read_as_nothing_until_it_is_written_again(connection: Connection) -> None:
    graph = Graph()
    graph.output(graph.run("1"), "table", at=10)
    graph.output(graph.run("2"), "table", at=20, lifecycle="DROP", basis=3)
    again = graph.output(graph.run("3"), "table", at=30)
    between, after = graph.run("between"), graph.run("after")
    graph.input(between, "table", at=25)
    graph.input(after, "table", at=35)
    lost, kept = graph.output(between, "x", at=26), graph.output(after, "y", at=36)
    graph.insert(connection)
    found = walk.upstream(connection, walk.productions(connection, [lost]))
    (origin,) = (node for node in found.nodes.values() if isinstance(node, walk.Origin))
    assert origin.dropped
    assert list(walk.upstream(connection, walk.productions(connection, [kept])).edges) == [(again, kept)]


def test_what_a_run_read_without_writing_is_a_leaf_of_the_walk_down(connection: Connection) -> None:
    graph = Graph()
    table = graph.output(graph.run("1"), "table", at=10)
    report = graph.run("report")
    graph.input(report, "table", at=20)
    graph.insert(connection)
    found = walk.downstream(connection, walk.productions(connection, [table]))
    assert found.nodes[report] == walk.Reader(report)
    assert found.depths[report] == 1


def test_an_asset_that_nobody_wrote_still_says_who_read_it(connection: Connection) -> None:
    graph = Graph()
    run = graph.run("1")
    graph.input(run, "raw", at=5)
    made = graph.output(run, "clean", at=10)
    graph.insert(connection)
    raw = graph.dataset("raw")
    found = walk.downstream(connection, [walk.Origin(raw, raw, None, None, False)])
    assert list(found.edges) == [(raw, made)]


def test_a_node_limit_is_kept_and_said(connection: Connection) -> None:
    graph = Graph()
    sources = [graph.output(graph.run(f"s{n}"), f"source-{n}", "v", at=1) for n in range(20)]
    run = graph.run("join")
    for n, production in enumerate(sources):
        graph.input(run, f"source-{n}", "v", production=production, at=2)
    joined = graph.output(run, "joined", "v", at=3)
    graph.insert(connection)
    found = walk.upstream(connection, walk.productions(connection, [joined]), limit=8)
    assert len(found.nodes) == 8
    assert found.truncated == "limit"
    assert found.more == {joined}
    whole = walk.upstream(connection, walk.productions(connection, [joined]), limit=21)
    assert len(whole.nodes) == 21
    assert whole.truncated is None
    assert not whole.more
    down = walk.downstream(connection, walk.productions(connection, sources[:1]), limit=1)
    assert (down.truncated, down.more) == ("limit", {sources[0]})


def test_a_hundred_inputs_and_a_hundred_outputs_are_read_once_each(connection: Connection) -> None:
    graph = Graph()
    run = graph.run("wide")
    for n in range(100):
        source = graph.output(graph.run(f"s{n}"), f"in-{n}", "v", at=1)
        graph.input(run, f"in-{n}", "v", production=source, at=2)
    outputs = [graph.output(run, f"out-{n}", "v", at=3) for n in range(100)]
    graph.insert(connection)
    found = walk.upstream(connection, walk.productions(connection, outputs))
    assert len(found.nodes) == 200
    assert len(found.edges) == 10_000


@pytest.mark.parametrize("binding", ["named", "late"])
@pytest.mark.parametrize(("reach", "deepest"), [(1, 1999), (2, 1000)])
def test_a_long_chain_and_a_skip_ladder_keep_their_true_depth(
    connection: Connection, reach: int, deepest: int, binding: str
) -> None:
    shape = Deep(name="deep", steps=2000, reach=reach, binding=binding)  # type: ignore[arg-type]
    for sheet in shape.sheets():
        for table, rows in sheet.rows.items():
            names = [column.name for column in table.columns]
            connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])
    up = walk.upstream(connection, walk.productions(connection, [shape.last()]))
    assert (len(up.nodes), max(up.depths.values()), up.truncated) == (2000, deepest, None)
    cut = walk.upstream(connection, walk.productions(connection, [shape.last()]), depth=100)
    assert (max(cut.depths.values()), cut.truncated) == (100, "depth")
    down = walk.downstream(connection, walk.productions(connection, [shape.first()]), depth=50)
    assert (max(down.depths.values()), down.truncated) == (50, "depth")


def test_ids_are_bytes_and_nothing_is_left_of_a_walk_in_an_unused_file(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    tables.metadata.create_all(engine)
    with engine.connect() as opened:
        assert walk.productions(opened, [bytes(16)]) == []
        assert walk.upstream(opened, []).nodes == {}
    engine.dispose()


def test_what_the_next_writer_reads_later_is_not_read_yet(connection: Connection) -> None:
    graph = Graph()
    first = graph.output(graph.run("1"), "table", at=10)
    updating = graph.run("2", ended_at=900, last_at=900)
    second = graph.output(updating, "table", at=20)
    graph.input(updating, "table", at=900)
    graph.insert(connection)
    for as_of, edges in ((899, []), (900, [(first, second)])):
        found = walk.downstream(connection, walk.productions(connection, [first], as_of), as_of=as_of)
        assert list(found.edges) == edges
        up = walk.upstream(connection, walk.productions(connection, [second], as_of), as_of=as_of)
        assert list(up.edges) == edges


def test_content_first_written_after_it_was_read_has_no_writer_until_then(connection: Connection) -> None:
    graph = Graph()
    reader = graph.run("reader")
    graph.input(reader, "table", "v1", at=10)
    made = graph.output(reader, "model", "m", at=15)
    written = graph.output(graph.run("writer"), "table", "v1", at=20)
    graph.insert(connection)
    for as_of, edges in ((19, []), (20, [(written, made)]), (None, [(written, made)])):
        up = walk.upstream(connection, walk.productions(connection, [made], as_of), as_of=as_of)
        assert [edge for edge in up.edges if isinstance(up.nodes[edge[0]], walk.Production)] == edges
        origin = walk.Origin(graph.dataset("table"), graph.dataset("table"), None, None, False)
        down = walk.downstream(connection, [origin], as_of=as_of)
        assert (made in down.nodes) == (edges == [])
