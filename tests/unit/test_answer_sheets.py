"""Every answer has its tables: the same for its class, typed, in Python and from the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from headwater.consumers import Lineage
from headwater.consumers.answer_schema import ANSWERS
from headwater.consumers.answer_sheets import names_of, sheets_of
from headwater.consumers.answers import Asset, Graph, Node, Run
from headwater.consumers.checks import Check
from headwater.consumers.cli import main
from headwater.consumers.columns import ColumnGraph
from headwater.consumers.graphml import graphml
from headwater.consumers.metrics import Metrics, Point, Series
from headwater.consumers.sheets import Column, Sheet
from headwater.consumers.store import Store, open_store
from headwater.consumers.tables import governance
from headwater.schemas import ids
from tests.replay import product
from tests.support.graphs import Graph as Made
from tests.unit.test_columns import EVENTS
from tests.unit.test_exporting import NOW, graph

RUN = "01890000-0000-7000-8000-000000000003"
QUESTIONS: dict[str, Callable[[Lineage], Any]] = {
    "show": lambda lineage: lineage.show("total"),
    "show of a run": lambda lineage: lineage.show(RUN),
    "search": lambda lineage: lineage.search("total"),
    "metrics": lambda lineage: lineage.metrics("total"),
    "diff": lambda lineage: lineage.diff("total", "clean"),
    "impact": lambda lineage: lineage.impact("orders"),
    "recalled": lambda lineage: lineage.recalled(),
    "recipe": lambda lineage: lineage.recipe("total", whole=True),
    "drift": lambda lineage: lineage.drift(),
    "gaps": lambda lineage: lineage.gaps(),
    "emitters": lambda lineage: lineage.emitters(),
}
TYPES = {
    "text": pyarrow.string(),
    "json": pyarrow.string(),
    "integer": pyarrow.int64(),
    "real": pyarrow.float64(),
    "boolean": pyarrow.bool_(),
    "time": pyarrow.timestamp("us", tz="UTC"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("sheets") / "lineage.db"
    with open_store(f"sqlite:///{path}", create=True) as opened:
        product.apply_all(opened, [EVENTS])
        recalled = Made()
        recalled.governance("recall", "", "orders", value="wrong units", at=1_800_000_000_000_000)
        (row,) = recalled.rows["governance"].values()
        row |= {"dataset_id": ids.dataset_id("lake", "orders")}
        with opened.writing() as connection:
            connection.execute(governance.insert(), [row])
        yield opened


@pytest.fixture
def places(store: Store) -> list[str]:
    return ["--store", store.url]


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_the_same_tables_in_pandas_arrow_and_csv(store: Store, question: str) -> None:
    answer = QUESTIONS[question](Lineage(store))
    found = sheets_of(answer)
    assert [sheet.name for sheet in found] == list(names_of(type(answer)))
    frames, tables = answer.to_pandas(), answer.to_arrow()
    for sheet in found:
        frame, table = getattr(frames, sheet.name), getattr(tables, sheet.name)
        assert isinstance(frame, pandas.DataFrame)
        assert list(frame.columns) == table.column_names == [column.name for column in sheet.columns]
        assert [field.type for field in table.schema] == [TYPES[column.kind] for column in sheet.columns]
        assert len(frame) == table.num_rows == len(sheet.rows)
        assert len({column.name for column in sheet.columns}) == len(sheet.columns)


@pytest.mark.parametrize("of", [of for of in ANSWERS if of not in (Graph, ColumnGraph, Run, Asset, Check)])
def test_every_class_of_answers_has_tables_of_different_names(of: type) -> None:
    assert len(set(names_of(of))) == len(names_of(of)) > 1


def test_a_list_in_a_row_knows_whose_it_is(store: Store) -> None:
    points = tuple(Point(step=step, at=NOW, value=value) for step, value in enumerate((0.5, None)))
    series = Series(key="auc", total=2, not_numbers=1, least=0.5, greatest=0.5, last=None, points=points)
    answer = Metrics(of="run", namespace=None, name=None, run_id=RUN, series=(series,))
    frames = answer.to_pandas()
    assert frames.points[["key", "step", "value"]].astype(object).where(frames.points.notna(), None).to_dict(
        "records"
    ) == [{"key": "auc", "step": 0, "value": 0.5}, {"key": "auc", "step": 1, "value": None}]
    assert frames.series["total"].tolist() == [2]
    recalls = Lineage(store).recalled().to_pandas()
    assert recalls.recalls["of_name"].tolist() == ["orders"]
    assert set(recalls.assets["of_name"]) == {"orders"}
    steps = Lineage(store).recipe("total", whole=True).to_pandas()
    assert set(steps.inputs["step_run_id"]) <= set(steps.steps["run_id"])


@pytest.mark.parametrize(
    ("command", "table", "column", "said"),
    [
        (("show", "total"), "columns", "name", {"sum"}),
        (("search", "total"), "results", "name", {"total"}),
        (("impact", "orders"), "assets", "name", {"clean", "total", "report"}),
        (("impact", "--recalled"), "recalls", "of_name", {"orders"}),
        (("gaps",), "totals", "key", {"crm"}),
        (("diff", "total", "clean"), "answer", "before_name", {"total"}),
        (("drift",), "answer", "runs", {"5"}),
        (("emitters",), "answer", "known", {"0"}),
        (("recipe", "total"), "steps", "run_id", {RUN}),
    ],
)
def test_a_question_is_asked_for_a_table(
    places: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    table: str,
    column: str,
    said: set[str],
) -> None:
    main([*places, *command, "--format", "csv", "--table", table])
    printed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row[column] for row in printed} == said
    main([*places, *command, "--format", "parquet", "--output", str(tmp_path / "all")])
    read = pyarrow.parquet.read_table(tmp_path / "all" / f"{table}.parquet")
    assert {str(value) for value in read[column].to_pylist()} == said


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("export", "total", "--format", "mermaid", "--json"), "--json and --format mermaid are two formats"),
        (("lineage", "total", "--format", "dot", "--json"), "--json and --format dot are two formats"),
        (("assets", "--format", "csv", "--json"), "two formats"),
        (("gaps", "--format", "csv", "--json"), "two formats"),
        (("gaps", "--format", "csv"), "name a folder with --output, or one of them with --table"),
        (("gaps", "--format", "csv", "--table", "lack"), "'lack' is none of answer, lacks, recalls, totals"),
        (("gaps", "--table", "lacks"), "--table is one of --format csv or parquet"),
        (("gaps", "--output", "x"), "what is --output to hold?"),
        (("gaps", "--format", "parquet", "--table", "lacks"), "name a file with --output"),
    ],
)
def test_what_contradicts_itself_is_refused(
    places: list[str], capsys: pytest.CaptureFixture[str], command: tuple[str, ...], said: str
) -> None:
    assert main([*places, *command]) == 2
    assert said in capsys.readouterr().err


def test_an_answer_is_json_by_both_options(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    documents = []
    for option in (["--json"], ["--format", "json"], ["--format", "json", "--json"]):
        assert main([*places, "impact", "orders", *option]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    assert documents[0] == documents[1] == documents[2]


def test_an_impact_is_a_graph_too(
    places: list[str], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*places, "impact", "orders", "--format", "graphml"]) == 0
    read = networkx.parse_graphml(capsys.readouterr().out)
    affected = {data["name"] for _, data in read.nodes(data=True) if data["kind"] == "production"}
    assert affected == {"orders"} | {one.name for one in Lineage(store).impact("orders").assets}
    assert main([*places, "impact", "--recalled", "--format", "mermaid"]) == 0
    assert "flowchart LR" in capsys.readouterr().out


def test_graphml_keeps_numbers_that_are_none_and_carriage_returns() -> None:
    """A reader makes a line feed of a bare carriage return, and knows infinity by a few names only."""
    from headwater.consumers import graphml as module

    texts = graph(["a\rb\r\nc\td", "x\r"])
    read = networkx.parse_graphml(graphml(texts))
    assert [data["name"] for _, data in read.nodes(data=True)] == ["a\rb\r\nc\td", "x\r"]
    assert set(read.nodes) == {node.id for node in texts.nodes}
    numbers = tuple(map(float, ("nan", "inf", "-inf")))
    keys = '<key id="node.x" for="node" attr.name="x" attr.type="double"/>'
    sheet = Sheet(
        name="nodes",
        columns=(Column("id", "text"), Column("x", "real")),
        rows=tuple((str(place), number) for place, number in enumerate(numbers)),
    )
    nodes = "\n".join(module._elements(sheet, "node", {"id": "id"}))
    keys += '<key id="node.id" for="node" attr.name="of" attr.type="string"/>'
    document = (
        f'<graphml xmlns="{module._NAMESPACE}">{keys}<graph edgedefault="directed">{nodes}</graph></graphml>'
    )
    found = [data["x"] for _, data in networkx.parse_graphml(document).nodes(data=True)]
    assert list(map(str, found)) == ["nan", "inf", "-inf"]


def test_one_row_of_a_listing_is_one_table(store: Store) -> None:
    (first, *_) = Lineage(store).assets()
    assert isinstance(first.to_pandas(), pandas.DataFrame)
    node = Lineage(store).upstream("total").nodes[0]
    assert isinstance(replace(node, depth=3), Node)
    assert node.to_pandas()["depth"].tolist() == [0]
