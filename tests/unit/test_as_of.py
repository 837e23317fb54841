"""Questions asked as of a time: names, states, listings and details are what they were by then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine

from headwater.consumers import Lineage, tables
from headwater.consumers.answers import AssetDetails, RunDetails, Unknown
from headwater.consumers.naming import id_text
from headwater.consumers.store import Store
from headwater.schemas.errors import Rejected
from tests.support.graphs import Graph

MINUTE = 60_000_000


def at(minute: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


@pytest.fixture
def empty(store_url: str) -> Iterator[Store]:
    engine = create_engine(store_url)
    tables.metadata.create_all(engine)
    yield Store(engine)
    engine.dispose()


def filled(store: Store, graph: Graph) -> Lineage:
    with store.writing() as connection:
        graph.insert(connection)
    return Lineage(store)


def story() -> Graph:
    """Table v1 at 1, v2 at 5; a model of each; v1 was `production` until 6; v1 is recalled at 7."""
    graph = Graph()
    for number, minute in ((1, 1), (2, 5)):
        load = graph.run(f"load {number}", job="load", at=minute * MINUTE, ended_at=minute * MINUTE)
        graph.output(
            load,
            "table",
            f"v{number}",
            at=minute * MINUTE,
            facets={"headwater_asset": {"assetType": "Dataset" if number == 1 else "Features"}},
        )
        train = graph.run(f"train {number}", job="train", at=(minute + 1) * MINUTE, state=3)
        graph.rows["run"][train] |= {"ended_at": (minute + 2) * MINUTE, "last_at": (minute + 2) * MINUTE}
        graph.input(train, "table", at=(minute + 1) * MINUTE)
        graph.output(train, f"model {number}", "m", at=(minute + 2) * MINUTE)
    graph.governance("alias", "production", "table", "v1", at=2 * MINUTE)
    graph.governance("alias", "production", "table", "v2", at=6 * MINUTE)
    graph.governance("tag", "team", "table", value="crm", at=3 * MINUTE)
    graph.governance("tag", "team", "table", value="sales", at=6 * MINUTE)
    graph.governance("recall", "", "table", "v1", value="wrong units", at=7 * MINUTE)
    return graph


def version_of(lineage: Lineage, name: str, minute: float) -> str | None:
    graph = lineage.upstream(name, as_of=at(minute), depth=0)
    return graph.nodes[0].version


def test_a_name_means_what_was_published_last_by_then(empty: Store) -> None:
    lineage = filled(empty, story())
    assert [version_of(lineage, "table", minute) for minute in (1, 4.99, 5, 100)] == ["v1", "v1", "v2", "v2"]


def test_an_alias_means_what_it_meant_then(empty: Store) -> None:
    lineage = filled(empty, story())
    assert version_of(lineage, "table@production", 5.5) == "v1"
    assert version_of(lineage, "table@production", 6) == "v2"
    with pytest.raises(Unknown, match="had no version, alias or run 'production'"):
        lineage.show("table@production", as_of=at(1.5))


def test_what_came_later_is_unknown(empty: Store) -> None:
    lineage = filled(empty, story())
    with pytest.raises(Unknown, match="'table' was not there yet"):
        lineage.show("table", as_of=at(0.99))
    with pytest.raises(Unknown, match="had no version, alias or run 'v2'"):
        lineage.show("table@v2", as_of=at(4))
    run = lineage.runs(job="train")[0]
    with pytest.raises(Unknown, match=r"was not there yet \(its first event is of 1970-01-01T00:06:00Z\)"):
        lineage.show(run.id, as_of=at(5.5))
    assert isinstance(lineage.show(run.id, as_of=at(6)), RunDetails)


def test_a_walk_down_ends_where_the_time_does(empty: Store) -> None:
    lineage = filled(empty, story())
    names = {
        minute: [(node.kind, node.name) for node in lineage.downstream("table@v1", as_of=at(minute)).nodes]
        for minute in (1, 2, 3)
    }
    assert names[1] == [("production", "table")]
    assert names[2] == [("production", "table"), ("reader", None)]
    assert names[3] == [("production", "table"), ("production", "model 1")]


def test_what_is_recalled_is_what_was_recalled_then(empty: Store) -> None:
    lineage = filled(empty, story())
    told = [lineage.upstream("model 1", as_of=at(minute)).nodes[1].recalled for minute in (6.99, 7)]
    assert told == [False, True]
    assert lineage.upstream("model 1", as_of=at(7)).as_of == at(7)
    assert lineage.upstream("model 1").as_of is None


def test_a_run_is_in_the_state_that_it_was_in(empty: Store) -> None:
    lineage = filled(empty, story())
    found = {}
    for minute in (1.99, 2, 2.99, 3):
        found[minute] = [(run.state, run.ended_at) for run in lineage.runs(job="train", as_of=at(minute))]
    assert found == {
        1.99: [],
        2: [("RUNNING", None)],
        2.99: [("RUNNING", None)],
        3: [("COMPLETE", at(3))],
    }
    assert [run.state for run in lineage.runs(state="running", as_of=at(6.5))] == ["RUNNING"]
    assert lineage.runs(state="running") == ()


def test_a_page_of_runs_in_a_state_of_then_is_full_while_there_are_more(empty: Store) -> None:
    graph = Graph()
    for number in range(12):
        run = graph.run(f"{number}", job="step", at=number * MINUTE, state=3)
        late = number % 3 == 0
        graph.rows["run"][run] |= dict.fromkeys(("ended_at", "last_at"), (99 if late else number) * MINUTE)
    lineage = filled(empty, graph)
    running = lineage.runs(state="RUNNING", limit=3, as_of=at(50))
    assert [run.first_at for run in running] == [at(9), at(6), at(3)]
    assert len(lineage.runs(state="RUNNING", limit=30, as_of=at(50))) == 4


def test_assets_are_those_that_were_there_and_their_versions_then(empty: Store) -> None:
    graph = story()
    graph.input(
        graph.run("report", at=9 * MINUTE), "elsewhere", "e1", production=bytes([9]) * 16, at=9 * MINUTE
    )
    lineage = filled(empty, graph)

    def listed(minute: float) -> list[tuple[str, int, str | None]]:
        return [(a.name, a.versions, a.last_version) for a in lineage.assets(as_of=at(minute))]

    assert listed(0) == []
    assert listed(4) == [("model 1", 1, "m"), ("table", 1, "v1")]
    assert listed(5) == [("model 1", 1, "m"), ("table", 2, "v2")]
    assert [name for name, _, _ in listed(9)] == ["elsewhere", "model 1", "model 2", "table"]
    assert [name for name, _, _ in listed(8.99)] == ["model 1", "model 2", "table"]


def test_the_details_of_an_asset_are_those_of_then(empty: Store) -> None:
    lineage = filled(empty, story())
    then, now = lineage.show("table", as_of=at(4)), lineage.show("table")
    assert isinstance(then, AssetDetails)
    assert isinstance(now, AssetDetails)
    assert (then.type, now.type) == ("Dataset", "Features")
    assert (then.tags, now.tags) == ({"team": "crm"}, {"team": "sales"})
    assert [written.version for written in then.history] == ["v1"]
    assert [written.version for written in now.history] == ["v2", "v1"]
    assert {statement.kind for statement in then.statements} == {"alias", "tag"}
    assert (then.as_of, now.as_of) == (at(4), None)


def test_the_facets_of_an_asset_that_nobody_wrote_are_the_last_that_were_said_by_then(empty: Store) -> None:
    graph = Graph()
    for minute in (1, 2, 3):
        run = graph.run(f"reader {minute}", at=minute * MINUTE)
        said = graph.facet("schema", {"fields": [{"name": f"column{minute}"}]})
        graph.input(run, "source", at=minute * MINUTE, facets=said)
    with empty.writing() as connection:
        graph.insert(connection)
        connection.execute(
            tables.dataset_facet.insert(),
            {
                "register_id": bytes(16),
                "dataset_id": graph.dataset("source"),
                "name": "schema",
                "stamp": f"{3 * MINUTE + 2**62:017x}2{'0' * 32}",
                "facet_id": graph.facet("schema", {"fields": [{"name": "column3"}]}),
            },
        )
    lineage = Lineage(empty)
    for asked, column in ((1, "column1"), (2.5, "column2"), (3, "column3"), (9, "column3")):
        details = lineage.show("source", as_of=at(asked))
        assert isinstance(details, AssetDetails)
        assert [field.name for field in details.columns] == [column]


def test_an_input_is_bound_as_it_was_then(empty: Store) -> None:
    """Content that was first known by a production after the reading, and that one came later still."""
    graph = Graph()
    reader = graph.run("reader", at=2 * MINUTE)
    graph.input(reader, "table", "v1", at=2 * MINUTE)
    made = graph.output(graph.run("writer", at=5 * MINUTE), "table", "v1", at=5 * MINUTE)
    lineage = filled(empty, graph)
    found = {}
    for moment in (2, 4.99, 5):
        details = lineage.show(id_text(reader), as_of=at(moment))
        found[moment] = [(read.binding, read.production_id) for read in details.inputs]
    assert found == {2: [("unknown", None)], 4.99: [("unknown", None)], 5: [("version", id_text(made))]}


@pytest.mark.parametrize("question", ["lineage", "show", "runs", "assets"])
def test_a_time_without_a_zone_is_refused(empty: Store, question: str) -> None:
    asked = {"lineage": ("x", "up"), "show": ("x",)}.get(question, ())
    with pytest.raises(Rejected, match="'2026-03-03T12:00:00' has no zone"):
        getattr(Lineage(empty), question)(*asked, as_of=datetime(2026, 3, 3, 12))
