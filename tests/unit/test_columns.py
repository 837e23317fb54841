"""Columns asked for by name, as a person and as a program do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest

from headwater.consumers import Lineage, column_drawing
from headwater.consumers.answers import Unknown
from headwater.consumers.cli import main
from headwater.consumers.columns import ColumnGraph
from headwater.consumers.store import Store, open_store
from tests.replay import product

Body = dict[str, Any]


def dataset(name: str, columns: tuple[str, ...] = (), **facets: Any) -> Body:
    schema = {"schema": {"fields": [{"name": column, "type": "int"} for column in columns]}}
    return {"namespace": "lake", "name": name, "facets": {**(schema if columns else {}), **facets}}


def source(name: str, field: str | None = None, *ways: tuple[Any, ...]) -> Body:
    told = [dict(zip(("type", "subtype", "masking"), way, strict=False)) for way in ways]
    named = {"namespace": "lake", "name": name, "transformations": told}
    return named if field is None else {**named, "field": field}


def made_from(fields: dict[str, list[Body]], *whole: Body) -> Body:
    stated = {name: {"inputFields": sources} for name, sources in fields.items()}
    return {"columnLineage": {"fields": stated, "dataset": list(whole)}}


def event(number: int, inputs: list[Body], outputs: list[Body], **job: Any) -> bytes:
    """Run `number`, complete at minute `number`."""
    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": f"2024-03-01T10:{number:02d}:00Z",
            "run": {"runId": f"01890000-0000-7000-8000-{number:012d}"},
            "job": {"namespace": "crm", "name": f"job{number}", **job},
            "inputs": inputs,
            "outputs": outputs,
        }
    ).encode()


ORDERS = dataset("orders", ("id", "amount", "mail"))
CLEAN = made_from(
    {
        "amount": [source("orders", "amount", ("DIRECT", "IDENTITY"))],
        "mail": [source("orders", "mail", ("DIRECT", "TRANSFORMATION", True))],
    },
    source("orders", "id", ("INDIRECT", "FILTER")),
)
RATES = {"type": "DATASET", "namespace": "lake", "name": "rates"}
TOTAL = {
    "type": "DATASET",
    "namespace": "lake",
    "name": "total",
    "inputs": [RATES],
    "fields": {
        "sum": {"inputs": [{"type": "DATASET", **source("clean", "amount", ("DIRECT", "AGGREGATION"))}]}
    },
}
EVENTS = [
    event(1, [], [ORDERS]),
    event(2, [dataset("orders")], [dataset("clean", ("amount", "mail"), **CLEAN)]),
    event(3, [dataset("clean")], [dataset("total", ("sum",))], facets={"lineage": {"entries": [TOTAL]}}),
    event(4, [dataset("total")], [dataset("report")]),
    event(5, [dataset("clean")], []),
]


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with open_store(store_url, create=True) as opened:
        yield opened


@pytest.fixture
def lineage(store: Store) -> Lineage:
    product.apply_all(store, [EVENTS])
    return Lineage(store)


def edges(graph: ColumnGraph) -> set[tuple[str, str, str]]:
    """(source, target, how) by the names that a person sees."""
    called = {node.id: column_drawing.called(node) for node in graph.nodes}
    return {(called[e.source], called[e.target], column_drawing.ways(e)) for e in graph.edges}


UP = {
    ("clean#amount", "total#sum", "aggregation"),
    ("rates", "total#sum", ""),
    ("orders#amount", "clean#amount", "identity"),
    ("orders#id", "clean#amount", "indirect filter"),
}


def test_a_column_is_followed_through_both_kinds_of_facet(lineage: Lineage) -> None:
    graph = lineage.columns("total#sum")
    assert edges(graph) == UP
    assert [(column_drawing.called(n), n.depth, n.note) for n in graph.nodes] == [
        ("total#sum", 0, None),
        ("clean#amount", 1, None),
        ("rates", 1, "origin unknown"),
        ("orders#amount", 2, None),
        ("orders#id", 2, None),
    ]
    assert graph.truncated is None
    assert {node.type for node in graph.nodes if node.scope == "column"} == {"int"}


def test_a_step_that_states_nothing_of_columns_ends_the_walk_and_says_so(lineage: Lineage) -> None:
    graph = lineage.columns("orders#mail", "down")
    assert edges(graph) == {
        ("orders#mail", "clean#mail", "transformation masked"),
        ("clean#mail", "job5", ""),
    }
    ends = {column_drawing.called(n): (n.kind, n.scope, n.note) for n in graph.nodes if n.depth == 2}
    assert ends == {"job5": ("reader", "unknown", "columns unknown here")}
    (report,) = (n for n in lineage.columns("total#sum", "down").nodes if n.name == "report")
    assert (report.column, report.scope, report.note) == (None, "unknown", "columns unknown here")


def test_what_decides_on_the_rows_is_drawn_to_the_whole_dataset(lineage: Lineage) -> None:
    graph = lineage.columns("orders#id", "down", depth=1)
    assert edges(graph) == {("orders#id", "clean (every column)", "indirect filter")}
    assert graph.truncated == "depth"
    assert [node.more for node in graph.nodes] == [False, True]


def test_every_column_is_asked_for_without_a_name(lineage: Lineage) -> None:
    graph = lineage.columns("orders#", "down")
    assert [graph.node(root).column for root in graph.roots] == ["id", "amount", "mail"]
    up = lineage.columns("clean", column="")
    assert [up.node(root).column for root in up.roots] == ["amount", "mail"]
    assert lineage.columns("report#").nodes[0].scope == "dataset"


def test_a_column_that_is_stated_by_its_readers_alone_is_one(store: Store) -> None:
    stated = made_from({"sum": [source("rates", "eur", ("DIRECT", "IDENTITY"))]})
    product.apply_all(store, [[event(1, [dataset("rates")], [dataset("total", **stated)])]])
    assert edges(Lineage(store).columns("rates#eur", "down")) == {("rates#eur", "total#sum", "identity")}
    with pytest.raises(Unknown) as refused:
        Lineage(store).columns("rates#eru", "down")
    assert refused.value.remedy == "did you mean 'eur'?"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_no_column_is_invented_where_none_was_recorded(
    lineage: Lineage, direction: Literal["up", "down"]
) -> None:
    """What is known of its columns alone: that a step took all of them together."""
    with pytest.raises(Unknown) as refused:
        lineage.columns("rates#eur", direction)
    assert refused.value.message == "'rates#eur' has no column 'eur'"
    assert refused.value.remedy == "no columns of it were recorded; 'rates#' is all of them as one"
    assert edges(lineage.columns("rates#", "down")) == {("rates (every column)", "total", "")}


def test_a_run_stands_for_what_it_wrote(lineage: Lineage) -> None:
    assert edges(lineage.columns("01890000-0000-7000-8000-000000000003#sum")) == UP


def test_a_column_that_is_none_is_refused_with_those_there_are(lineage: Lineage) -> None:
    with pytest.raises(Unknown) as refused:
        lineage.columns("orders#total")
    assert "'orders#total' has no column 'total'" in str(refused.value)
    assert refused.value.remedy == "its columns: id, amount, mail"
    with pytest.raises(Unknown) as misspelt:
        lineage.columns("orders", column="amuont")
    assert misspelt.value.remedy == "did you mean 'amount'?"
    with pytest.raises(Unknown, match="names no column"):
        lineage.columns("orders")
    with pytest.raises(Unknown, match="is called 'nothing'"):
        lineage.columns("nothing#x")


def test_the_longest_name_that_exists_wins(store: Store) -> None:
    odd = made_from({"x.y z#1": [source("a#b", "c#d", ("DIRECT",))]})
    values = [
        event(1, [], [dataset("a", ("b", "b#c"))]),
        event(2, [], [dataset("a#b", ("c", "c#d"))]),
        event(3, [dataset("a#b")], [dataset("out", **odd)]),
    ]
    product.apply_all(store, [values])
    lineage = Lineage(store)
    assert not lineage.names_a_column("a#b")
    assert lineage.names_a_column("a#b#c")
    assert lineage.columns("a#b#c").nodes[0].name == "a#b"
    assert lineage.columns("a", column="b#c").nodes[0].column == "b#c"
    assert edges(lineage.columns("out#x.y z#1")) == {("a#b#c#d", "out#x.y z#1", "direct")}


def test_a_source_that_the_step_did_not_list_is_an_origin(store: Store) -> None:
    stated = made_from({"x": [source("elsewhere", "y", ("DIRECT", "IDENTITY"))]})
    product.apply_all(store, [[event(1, [], [dataset("out", ("x",), **stated)])]])
    (edge,) = (graph := Lineage(store).columns("out#x")).edges
    assert (edge.role, edge.inferred) == ("stated", True)
    assert graph.node(edge.source).note == "origin unknown"


def test_a_cycle_ends_where_it_closes(store: Store) -> None:
    """Each day's table is made of the day before's: the same column, again and again."""
    day = made_from({"n": [source("a", "n", ("DIRECT", "IDENTITY"))]})
    values = [event(1, [], [dataset("a", ("n",))])]
    values += [event(n, [dataset("a")], [dataset("a", ("n",), **day)]) for n in range(2, 30)]
    product.apply_all(store, [values])
    graph = Lineage(store).columns("a#n")
    assert [node.depth for node in graph.nodes] == list(range(29))


def test_as_of_a_time_a_column_has_the_past_that_it_had(lineage: Lineage) -> None:
    then = datetime(2024, 3, 1, 10, 2, 30, tzinfo=UTC)
    assert edges(lineage.columns("orders#amount", "down", as_of=then)) == {
        ("orders#amount", "clean#amount", "identity")
    }
    with pytest.raises(Unknown):
        lineage.columns("total#sum", as_of=then)


def wide_ladder(rungs: int, columns: int) -> list[bytes]:
    """`rungs` tables of `columns` columns, each made of two columns of the one before."""
    values = []
    for rung in range(rungs):
        before = [source(f"t{rung - 1}", f"c{n}", ("DIRECT", "TRANSFORMATION")) for n in range(columns)]
        made = {f"c{n}": [before[n], before[n - 1]] for n in range(columns)}
        stated = made_from(made) if rung else {}
        inputs = [dataset(f"t{rung - 1}")] if rung else []
        body = json.loads(event(rung % 60, inputs, [dataset(f"t{rung}", **stated)]))
        body["run"]["runId"] = f"01890000-0000-7000-8000-{rung:012d}"
        body["eventTime"] = f"2024-03-{rung // 1440 + 1:02d}T{rung // 60 % 24:02d}:{rung % 60:02d}:00Z"
        values.append(json.dumps(body).encode())
    return values


def test_a_cone_of_ten_thousand_columns_is_whole_or_says_that_it_is_not(store: Store) -> None:
    product.apply_all(store, [wide_ladder(1_000, 10)])
    lineage = Lineage(store)
    whole = lineage.columns("t999#c0")
    # 1, 2, … 10 columns of the last tables, and all ten of the others.
    assert (len(whole.nodes), whole.truncated) == (9_955, None)
    assert max(node.depth for node in whole.nodes) == 999
    assert len(whole.edges) == 2 * (9_955 - 10)
    down = lineage.columns("t0#c0", "down")
    assert (len(down.nodes), down.truncated) == (9_955, None)
    cut = lineage.columns("t999#c0", limit=5_000)
    assert (len(cut.nodes), cut.truncated) == (5_000, "limit")


# -- drawings and the command -----------------------------------------------------------

HOSTILE = 'x"]\n<script>\x1b[31m\u202e'


def test_drawings_hold_hostile_names_and_say_what_is_unknown(store: Store) -> None:
    stated = made_from({HOSTILE: [source("a\nb", HOSTILE, ("DIRECT", "IDENTITY"))]})
    product.apply_all(store, [[event(1, [dataset("a\nb")], [dataset("out", **stated)])]])
    graph = Lineage(store).columns("out", column=HOSTILE)
    tree = ["".join(text for text, _ in line) for line in column_drawing.tree(graph)]
    assert all(line.isprintable() for line in tree)
    assert "<script>" not in column_drawing.mermaid(graph)
    assert '\\"' in column_drawing.dot(graph)


def test_a_chain_too_long_for_the_screen_goes_on_below(store: Store) -> None:
    product.apply_all(store, [wide_ladder(60, 1)])
    graph = Lineage(store).columns("t59#c0")
    lines = ["".join(text for text, _ in line) for line in column_drawing.tree(graph, 80)]
    assert sum("goes on below" in line for line in lines) > 1
    assert {f"t{n}#c0" in "\n".join(lines) for n in range(60)} == {True}


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    url = f"sqlite:///{tmp_path / 'lineage.db'}"
    with open_store(url) as opened:
        product.apply_all(opened, [EVENTS])
    return ["--store", url, "--log", str(tmp_path)]


def test_the_command_asks_for_columns(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*asked, "lineage", "total#sum"]) == 0
    printed = capsys.readouterr().out
    assert "clean#amount  aggregation" in printed
    assert "columns unknown at 1 of 5 nodes" in printed
    assert main([*asked, "lineage", "total", "--column", "sum", "--up", "--down", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"up", "down"}
    assert found["up"]["edges"][0]["transformations"] == [
        {"type": "DIRECT", "subtype": "AGGREGATION", "masking": False}
    ]
    for format_ in ("mermaid", "dot", "graphml"):
        assert main([*asked, "lineage", "total#sum", "--format", format_]) == 0
        assert "aggregation" in capsys.readouterr().out.lower()


def test_the_command_refuses_a_column_that_is_none(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asked, "lineage", "orders#total"]) == 4
    assert "its columns: id, amount, mail" in capsys.readouterr().err
