"""What a notebook shows: tables and pictures that hold any name, and text where there is no browser."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from dataclasses import fields, replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import networkx
import pytest
from IPython.core.formatters import DisplayFormatter

from headwater.consumers import Lineage
from headwater.consumers.answers import Asset, Graph, Run, RunDetails, as_json
from headwater.consumers.columns import ColumnGraph
from headwater.consumers.graphml import graphml
from headwater.consumers.notebook import LONGEST_TABLE, Listing, html, text
from headwater.consumers.store import open_store
from headwater.consumers.svg import LARGEST, svg
from tests.replay import product
from tests.unit.test_columns import EVENTS, dataset, event, made_from, source
from tests.unit.test_exporting import HOSTILE, graph, node, run

RUN_DETAILS = [field.name for field in fields(RunDetails) if field.name != "facets"]
MAPPINGS = ("parameters", "environment", "error")
SCRIPT = '"><script>alert(1)</script>&amp;\u202e\x00'


class Page(HTMLParser):
    """Whether tags close where they should, and which there are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)
        self.close()
        if self.open:
            raise ValueError(f"not closed: {self.open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        if self.open.pop() != tag:
            raise ValueError(f"{tag} closes nothing")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)


@pytest.fixture(scope="module")
def lineage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lineage]:
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('notebook') / 'lineage.db'}")
    odd = made_from({SCRIPT: [source(SCRIPT, SCRIPT, ("DIRECT", "IDENTITY"))]})
    values = [
        *EVENTS,
        event(6, [], [dataset(SCRIPT, (SCRIPT,))]),
        event(7, [dataset(SCRIPT)], [dataset("odd", **odd)]),
    ]
    product.apply_all(store, [values])
    yield Lineage(store)
    store.close()


def test_every_answer_is_html_that_holds_what_the_events_said(lineage: Lineage) -> None:
    answers = [
        lineage.upstream("odd"),
        lineage.columns("odd", column=SCRIPT),
        lineage.show(SCRIPT),
        lineage.show("01890000-0000-7000-8000-000000000007"),
        lineage.runs(),
        lineage.assets(),
        lineage.search("odd"),
        lineage.impact("orders"),
        lineage.recipe("odd"),
        lineage.gaps(),
        lineage.diff("01890000-0000-7000-8000-000000000007", "01890000-0000-7000-8000-000000000002"),
    ]
    for answer in answers:
        assert "text/html" in displayed(answer)
        page = Page(html(answer))
        assert "script" not in page.seen
        assert not [name for name in page.attributes if name.startswith("on")]
        assert "table" in page.seen or "svg" in page.seen


def test_a_picture_is_xml_and_has_every_node_and_edge() -> None:
    answer = graph(HOSTILE)
    picture = ElementTree.fromstring(svg(answer))
    space = "{http://www.w3.org/2000/svg}"
    assert len(picture.findall(f"{space}g")) == len(answer.nodes)
    assert len(picture.findall(f"{space}path")) == 2 * len(answer.edges)
    assert "".join(picture.itertext()).isprintable() or "\n" in "".join(picture.itertext())


def test_sources_stand_left_of_what_was_made_of_them(lineage: Lineage) -> None:
    answers: list[Graph | ColumnGraph] = [lineage.upstream("total"), lineage.downstream("orders")]
    for answer in [*answers, lineage.columns("total#sum")]:
        places = [
            int(str(rect.get("x")))
            for rect in ElementTree.fromstring(svg(answer)).iter("{http://www.w3.org/2000/svg}rect")
        ]
        at = dict(zip([node.id for node in answer.nodes], places, strict=True))
        assert all(at[edge.source] < at[edge.target] for edge in answer.edges)


def test_a_cycle_is_drawn() -> None:
    answer = graph(["a", "b", "c"])
    back = replace(answer.edges[0], source=answer.nodes[2].id, target=answer.nodes[0].id)
    picture = ElementTree.fromstring(svg(replace(answer, edges=(*answer.edges, back))))
    assert len(picture.findall("{http://www.w3.org/2000/svg}path")) == 6


def test_a_picture_of_too_much_says_how_much_is_left_out() -> None:
    picture = svg(graph([f"n{number}" for number in range(LARGEST + 25)]))
    assert "and 25 more" in picture
    assert picture.count("<rect") == LARGEST
    assert "more" not in svg(graph(["one", "two"]))
    ElementTree.fromstring(svg(replace(graph(["one"]), nodes=(), edges=(), roots=())))


def displayed(answer: object) -> dict[str, str]:
    """What a notebook's kernel sends for a cell that ends in `answer`."""
    shown: dict[str, str] = DisplayFormatter().format(answer)[0]  # type: ignore[no-untyped-call]
    return shown


def test_a_notebook_and_a_terminal_show_what_fits_them(lineage: Lineage) -> None:
    shown = displayed(lineage.upstream("total"))
    assert {"text/plain", "text/html", "image/svg+xml"} <= set(shown)
    assert "└─ job3" in shown["text/plain"]
    shown = displayed(lineage.runs())
    assert "<table>" in shown["text/html"]
    assert "job1" in shown["text/plain"]
    shown = displayed(lineage.show("orders"))
    assert "name: orders" in shown["text/plain"]
    shown = displayed(lineage.columns("total#sum"))
    assert "clean#amount  aggregation" in shown["text/plain"]


def test_a_listing_is_a_tuple_and_the_same_json() -> None:
    listed: Any = Listing([run("a"), run("b")], Run)
    assert listed == (run("a"), run("b"))
    assert type(listed[:1]) is tuple
    assert (len(listed), listed[1], listed[:1]) == (2, run("b"), (run("a"),))
    assert as_json(listed) == as_json((run("a"), run("b")))
    assert pickle.loads(pickle.dumps(listed)) == listed  # noqa: S301 - our own bytes
    assert list(listed.to_pandas()["job_name"]) == ["a", "b"]
    assert listed.to_arrow()["state"].to_pylist() == ["COMPLETE"] * 2
    assert Listing([], Asset).to_arrow().num_rows == 0


def test_a_long_listing_is_cut_and_says_so() -> None:
    listed = Listing([run(str(number)) for number in range(LONGEST_TABLE + 3)], Run)
    assert "and 3 more" in html(listed)
    assert text(listed).endswith("and 3 more")
    assert html(Listing([], Run)) == '<div class="headwater"></div>'


def test_a_facet_of_any_size_is_a_bounded_cell() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"in": deep, "list": [deep] * 2 if len(str(deep)) < 10_000 else []}
    many = {f"key{number}": deep for number in range(LONGEST_TABLE + 7)}
    page = html(replace(node("a"), summary=tuple(map(str, range(LONGEST_TABLE + 5)))))
    assert "…" in page
    fields_of: dict[str, Any] = dict.fromkeys(RUN_DETAILS, ()) | {key: {} for key in MAPPINGS}
    page = html(RunDetails(**(fields_of | {"run": run("a"), "as_of": None, "facets": many})))
    Page(page)
    assert "and 7 more" in page
    assert len(page) < 100_000


def test_graphs_become_data_frames(lineage: Lineage) -> None:
    answer = lineage.columns("total#sum")
    assert isinstance(answer, ColumnGraph)
    frames = answer.to_pandas()
    assert list(frames.nodes["column"].dropna()) == ["sum", "amount", "amount", "id"]
    assert len(frames.edges) == len(answer.edges)
    arrow = lineage.upstream("total").to_arrow()
    assert arrow.edges.column_names[:2] == ["source", "target"]


def test_networkx_reads_the_graphml(lineage: Lineage) -> None:
    for answer in (graph(HOSTILE), lineage.upstream("odd"), lineage.columns("odd", column=SCRIPT)):
        read = networkx.read_graphml(io.BytesIO(graphml(answer).encode()))
        assert read.number_of_nodes() == len(answer.nodes)
        assert read.number_of_edges() == len(answer.edges)
        depths = {data["depth"] for _, data in read.nodes(data=True)}
        assert depths == {node.depth for node in answer.nodes}


def test_one_node_is_shown_as_its_fields() -> None:
    page = html(node(SCRIPT, run("a")))
    Page(page)
    assert "&lt;script&gt;" in page
