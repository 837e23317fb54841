"""An export holds what the answer holds: every node, edge and event, whatever the history."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx
import pyarrow.parquet
import pytest
from hypothesis import given

from headwater.consumers import Lineage, column_drawing, drawing, open_log
from headwater.consumers.answers import Direction, Graph, as_json
from headwater.consumers.columns import ColumnGraph
from headwater.consumers.exporting import Missing, read_back
from headwater.consumers.graphml import graphml
from headwater.consumers.runner import Runner
from headwater.consumers.sheets import FORMULA, csv_text, encodable, parquet, sheets
from headwater.consumers.store import Store, open_store
from headwater.consumers.tables import dataset
from headwater.schemas.text import original
from tests.replay import product
from tests.replay.native import large_native_universes
from tests.replay.profiles import examples, fresh_examples
from tests.replay.universes import large_universes
from tests.support.logs import write_segment
from tests.support.postgres import Server

DIRECTIONS: tuple[Direction, ...] = ("up", "down")


def graphs_of(store: Store) -> list[Graph | ColumnGraph]:
    """The lineage of every asset both ways, and of all its columns."""
    lineage = Lineage(store)
    with store.connecting() as connection:
        names = [
            f"{original(row.namespace)}/{original(row.name)}"
            for row in connection.execute(dataset.select().order_by(dataset.c.dataset_id))
        ]
    found: list[Graph | ColumnGraph] = []
    for name in names[:4]:
        for direction in DIRECTIONS:
            found += [lineage.lineage(name, direction), lineage.columns(name, direction, column="")]
    return found


def ids(graph: Graph | ColumnGraph) -> tuple[list[str], list[tuple[str, str]]]:
    return [node.id for node in graph.nodes], sorted((edge.source, edge.target) for edge in graph.edges)


def check_graph(graph: Graph | ColumnGraph) -> None:
    nodes, edges = ids(graph)
    assert len(set(nodes)) == len(nodes)
    # As XML and CSV can say it; two ids that differ in that alone are not in these histories.
    spelled = [_xml(id) for id in nodes]
    assert len(set(spelled)) == len(nodes)
    read = networkx.parse_graphml(graphml(graph))
    assert sorted(read.nodes) == sorted(spelled)
    assert sorted(read.edges()) == sorted({(_xml(a), _xml(b)) for a, b in edges})
    listed: tuple[Sequence[Any], Sequence[Any]] = (graph.nodes, graph.edges)
    for sheet, expected in zip(sheets(graph), listed, strict=True):
        rows = list(csv.DictReader(io.StringIO(csv_text(sheet), newline="")))
        table = pyarrow.parquet.read_table(io.BytesIO(parquet(sheet)))
        assert len(rows) == table.num_rows == len(expected)
        for column in ("id", "source", "target", "name", "version", "column"):
            if column in table.column_names:
                told = [getattr(one, column) for one in expected]
                assert table[column].to_pylist() == [None if v is None else encodable(v) for v in told]
                assert [_unguarded(row[column]) for row in rows] == [encodable(v or "") for v in told]
    document = as_json(graph)
    assert [node["id"] for node in document["nodes"]] == nodes
    assert sorted((edge["source"], edge["target"]) for edge in document["edges"]) == edges
    check_drawings(graph)


def check_drawings(graph: Graph | ColumnGraph) -> None:
    """Mermaid and DOT number the nodes; every edge is there once, between the right two."""
    numbers = {id: f"n{number}" for number, id in enumerate(ids(graph)[0])}
    expected = sorted((numbers[edge.source], numbers[edge.target]) for edge in graph.edges)
    module: Any = drawing if isinstance(graph, Graph) else column_drawing
    for text, arrow in (
        (module.mermaid(graph), r"^  (n\d+) (?:-->|-\.->)(?:\|.*\|)? (n\d+)$"),
        (module.dot(graph), r"^ +(n\d+) -> (n\d+) \["),
    ):
        found = re.findall(arrow, text, re.MULTILINE)
        assert sorted(found) == expected, text


def _xml(id: str) -> str:
    return re.sub(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]",
        lambda found: f"\\u{ord(found[0]):04x}",
        id,
    )


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell[1:]) else cell


def check_events(url: str, values: list[bytes]) -> None:
    """The events of every cone stand in the log as they were written, each once; none is invented."""
    with tempfile.TemporaryDirectory() as folder:
        write_segment(Path(folder) / "log", values)
        with (
            open_log(f"{folder}/log") as log,
            open_store(url, create=True) as store,
        ):
            Runner(store, log).run()
            lineage = Lineage(store)
            with store.connecting() as connection:
                rows = connection.execute(dataset.select()).all()
            for row in rows[:3]:
                name = f"{original(row.namespace)}/{original(row.name)}"
                missing: list[Missing] = []
                stand = lineage.events(name, DIRECTIONS)
                read = list(read_back(log, stand.positions, missing))
                assert missing == []
                assert len(set(read)) == len(read) == len(stand.positions)
                assert set(read) <= set(values)
                told = {
                    node.run.id for d in DIRECTIONS for node in lineage.lineage(name, d).nodes if node.run
                }
                assert told <= _runs_of(store, {position.event_id for position in stand.positions})


def _runs_of(store: Store, events: set[bytes]) -> set[str]:
    from headwater.consumers.naming import id_text
    from headwater.consumers.tables import event

    with store.connecting() as connection:
        return {id_text(row.run_id) for row in connection.execute(event.select()) if row.event_id in events}


def check(store: Store, values: list[bytes]) -> None:
    product.wipe(store)
    product.apply_all(store, [values])
    for graph in graphs_of(store):
        check_graph(graph)


@examples(25, shrink=False)
@given(values=large_universes)
def test_every_format_has_the_nodes_and_edges_of_the_answer(sqlite_store: Store, values: list[bytes]) -> None:
    check(sqlite_store, values)


@examples(6, shrink=False)
@given(values=large_universes)
def test_on_postgresql_every_format_has_the_nodes_and_edges_of_the_answer(
    postgres_store: Store, values: list[bytes]
) -> None:
    check(postgres_store, values)


@examples(15, shrink=False)
@given(values=large_native_universes)
def test_an_export_of_events_is_verbatim_and_whole(values: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_events(f"sqlite:///{folder}/lineage.db", values)


@examples(4, shrink=False)
@given(values=large_native_universes)
def test_on_postgresql_an_export_of_events_is_verbatim_and_whole(
    postgres_server: Server, values: list[bytes]
) -> None:
    with postgres_server.fresh() as url:
        check_events(url, values)


@pytest.mark.deep
@fresh_examples(150)
@given(values=large_universes)
def test_every_format_over_many_histories(sqlite_store: Store, values: list[bytes]) -> None:
    check(sqlite_store, values)
