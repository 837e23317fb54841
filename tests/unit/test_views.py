"""The views keep what docs/reference/sql.md promises, on both databases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect

from headwater.consumers import Lineage, tables, views
from headwater.consumers.naming import id_text
from headwater.consumers.store import Store
from tests.support.graphs import Graph

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "sql.md"
MINUTE = 60_000_000


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    engine = create_engine(store_url)
    tables.metadata.create_all(engine)
    with engine.connect() as opened:
        views.create(opened)
        yield opened
    engine.dispose()


def rows(connection: Connection, query: str) -> list[dict[str, Any]]:
    """Rows with ids as text and flags as booleans, as either database gives them."""
    found = connection.exec_driver_sql(query).mappings().all()
    return [
        {
            key: str(value) if key.endswith("_id") and value is not None else value
            for key, value in row.items()
        }
        for row in found
    ]


def small() -> Graph:
    """load → clean → train; the last two read by time and by version; a tag, an alias, a metric."""
    graph = Graph()
    load = graph.run("load", at=MINUTE)
    graph.output(load, "raw", at=MINUTE, facets={"schema": {"fields": [{"name": "a"}]}, "version": {"v": 1}})
    clean = graph.run("clean", at=2 * MINUTE, facets={"headwater_code": {"gitCommit": "4f1c9ab"}})
    graph.input(clean, "raw", at=2 * MINUTE)
    graph.output(clean, "table", "v1", at=3 * MINUTE)
    train = graph.run("train", at=4 * MINUTE, state=5)
    graph.input(train, "table", "v1", at=4 * MINUTE)
    graph.input(train, "elsewhere", at=4 * MINUTE)
    graph.output(train, "model", "m1", at=5 * MINUTE)
    graph.governance("tag", "team", "model", value="crm", at=1)
    graph.governance("tag", "team", "model", value="sales", at=2)
    graph.governance("tag", "draft", "model", value="yes", at=1)
    graph.governance("tag", "draft", "model", withdrawn=True, at=2)
    graph.governance("alias", "production", "model", "m1", at=3)
    graph.governance("recall", "", "table", "v1", value="wrong units", at=4)
    graph.point(train, "loss", 0.25, step=3, at=4 * MINUTE)
    graph.point(train, "loss", None, step=4, at=4 * MINUTE)
    return graph


def test_every_view_can_be_read_when_the_store_is_empty(connection: Connection) -> None:
    for name in views.NAMES:
        assert rows(connection, f"SELECT * FROM {name}") == []


def test_creating_the_views_twice_and_dropping_them_twice_is_harmless(connection: Connection) -> None:
    views.create(connection)
    assert set(inspect(connection).get_view_names()) == set(views.NAMES)
    views.drop(connection)
    views.drop(connection)
    assert inspect(connection).get_view_names() == []


def test_edges_lead_from_each_production_to_what_was_made_of_it(connection: Connection) -> None:
    small().insert(connection)
    found = rows(
        connection, "SELECT source_name, source_version, target_name, inferred FROM edges ORDER BY read_at"
    )
    assert [tuple(row.values()) for row in found] == [
        ("raw", None, "table", True),
        ("table", "v1", "model", True),
    ]


def test_an_input_says_how_its_production_is_known(connection: Connection) -> None:
    graph = small()
    named = graph.run("named", at=6 * MINUTE)
    model = next(k for k, r in graph.rows["run_output"].items() if r["dataset_id"] == graph.dataset("model"))
    graph.input(named, "model", "m1", production=model, at=6 * MINUTE)
    graph.output(graph.run("drop", at=7 * MINUTE), "raw", at=7 * MINUTE, lifecycle="DROP", basis=3)
    late = graph.run("late", at=8 * MINUTE)
    graph.input(late, "raw", at=8 * MINUTE)
    graph.insert(connection)
    found = rows(connection, "SELECT name, binding, inferred, production_id FROM resolved_input")
    known = {
        (row["name"], row["binding"], bool(row["inferred"]), bool(row["production_id"])) for row in found
    }
    assert known == {
        ("raw", "current", True, True),
        ("table", "version", True, True),
        ("elsewhere", "unknown", True, False),
        ("model", "named", False, True),
        ("raw", "dropped", True, False),
    }


def test_facets_are_rows_of_their_own(connection: Connection) -> None:
    small().insert(connection)
    found = rows(
        connection,
        """SELECT p.name, f.facet FROM productions p
        JOIN production_facets f ON f.production_id = p.production_id ORDER BY p.name, f.facet""",
    )
    assert [tuple(row.values()) for row in found] == [("raw", "schema"), ("raw", "version")]
    (code,) = rows(connection, "SELECT facet, body FROM run_facets")
    assert "4f1c9ab" in str(code["body"])


def test_only_the_last_word_of_a_curator_counts(connection: Connection) -> None:
    small().insert(connection)
    assert [(row["tag"], row["value"]) for row in rows(connection, "SELECT * FROM asset_tags")] == [
        ("team", "sales")
    ]
    assert [(row["alias"], row["version"]) for row in rows(connection, "SELECT * FROM asset_aliases")] == [
        ("production", "m1")
    ]
    assert [row["reason"] for row in rows(connection, "SELECT * FROM asset_recalls")] == ["wrong units"]


def test_times_are_exact_to_the_microsecond_also_before_1970(connection: Connection) -> None:
    graph = Graph()
    for name, at in (("old", -1_500_001), ("new", 1_764_000_000_123_457)):
        graph.output(graph.run(name), name, at=at)
    graph.insert(connection)
    found = rows(connection, "SELECT published_at FROM productions ORDER BY name")
    times = [
        datetime.fromisoformat(row["published_at"])
        if isinstance(row["published_at"], str)
        else row["published_at"]
        for row in found
    ]
    assert times[0].microsecond == 123_457
    assert times[1].astimezone(UTC) == datetime(1969, 12, 31, 23, 59, 58, 499_999, tzinfo=UTC)


def test_a_gap_in_an_emitters_sequence_is_a_row(connection: Connection) -> None:
    emitter = bytes(range(16))
    for sequence in (0, 1, 4, 5):
        connection.execute(
            tables.event.insert(),
            {
                "at": sequence,
                "event_id": bytes([sequence]) * 32,
                "run_id": bytes(16),
                "kind": 0,
                "rank": 2,
                "topic": "segments",
                "partition": "p",
                "offset": sequence,
                "appended_at": sequence,
                "emitter_id": emitter,
                "sequence": sequence,
                "previous": None,
                "final": sequence == 5,
            },
        )
    (gap,) = rows(connection, "SELECT first_missing, last_missing FROM emitter_gaps")
    assert (gap["first_missing"], gap["last_missing"]) == (2, 3)
    (summary,) = rows(connection, "SELECT events, missing, closed FROM emitters")
    assert (summary["events"], summary["missing"], bool(summary["closed"])) == (4, 2, True)


def test_a_binding_is_ambiguous_when_another_publication_may_as_well_be_meant(
    connection: Connection,
) -> None:
    """When each asset was published, by µs from its being read; reads last ten seconds."""
    second = 1_000_000
    published = {
        "alone, just before": ((-1,), False),
        "before, and just before": ((-3 * second, -1), False),
        "2 s before": ((-2 * second, -1), True),
        "more than 2 s before": ((-2 * second - 1, -1), False),
        "2 s after": ((-1, 2 * second), True),
        "as the run ended": ((-1, 10 * second), True),
        "after the run ended": ((-1, 10 * second + 1), False),
        "two at once": ((-9 * second, -9 * second), True),
        "after, and none before": ((second,), True),
        "never": ((), False),
    }
    graph = Graph()
    for name, (times, _) in published.items():
        graph.alias(name, f"also {name}")
        for number, time in enumerate(times):
            graph.output(graph.run(f"{number} {name}"), f"also {name}" if number else name, at=MINUTE + time)
        reader = graph.run(f"read {name}", at=MINUTE, ended_at=MINUTE + 10 * second)
        graph.input(reader, name, at=MINUTE)
        graph.output(reader, f"made of {name}", at=MINUTE)
        graph.output(reader, f"also {name}", at=MINUTE)
    graph.insert(connection)
    expected = {name: ambiguous for name, (_, ambiguous) in published.items()}
    found = rows(connection, "SELECT name, ambiguous FROM resolved_input")
    assert {row["name"]: bool(row["ambiguous"]) for row in found} == expected
    found = rows(connection, "SELECT target_name, ambiguous FROM edges")
    made = {row["target_name"]: bool(row["ambiguous"]) for row in found}
    bound = {name for name, (times, _) in published.items() if min(times, default=1) < 0}
    assert {name: made[f"made of {name}"] for name in bound} == {name: expected[name] for name in bound}


def test_a_streaming_run_read_every_version_that_was_current_while_it_read(connection: Connection) -> None:
    """Published at the minutes of their names: one before it began, one as it began, one as it ended …"""
    graph = Graph()
    for minute, lifecycle in ((1, None), (2, None), (3, None), (4, "DROP"), (5, None), (6, None)):
        graph.output(
            graph.run(f"writer {minute}"), "topic", f"{minute}", at=minute * MINUTE, lifecycle=lifecycle
        )
    stream = graph.run("stream", at=2 * MINUTE, streaming=True)
    graph.input(stream, "topic", at=2 * MINUTE, last_at=5 * MINUTE)
    graph.output(stream, "topic", "own", at=4 * MINUTE)
    made = graph.output(stream, "sum", at=5 * MINUTE)
    graph.insert(connection)
    found = rows(
        connection,
        """SELECT r.binding, v.version FROM resolved_input r
        JOIN productions v ON v.production_id = r.production_id ORDER BY v.version""",
    )
    assert [tuple(row.values()) for row in found] == [("current", "2"), ("later", "3"), ("later", "5")]
    found = rows(connection, "SELECT source_version FROM edges WHERE target_name = 'sum'")
    assert {row["source_version"] for row in found} == {"2", "3", "5"}
    connection.commit()
    with Lineage(Store(connection.engine)) as lineage:
        up = lineage.upstream(id_text(made), depth=1)
        assert {node.version for node in up.nodes} == {None, "2", "3", "5"}
        assert {edge.ambiguous for edge in up.edges} == {False}
        details = lineage.show(id_text(stream))
        assert [(read.version, read.binding) for read in details.inputs] == [
            ("2", "current"),
            ("3", "later"),
            ("5", "later"),
        ]
        for version, reached in (("1", set()), ("2", {"sum"}), ("3", {"sum"}), ("5", {"sum"}), ("6", set())):
            down = lineage.downstream(f"topic@{version}", depth=1)
            assert {node.name for node in down.nodes} - {"topic"} == reached


def test_what_names_its_version_is_never_ambiguous(connection: Connection) -> None:
    graph = Graph()
    for run in ("one", "other"):
        graph.output(graph.run(run), "table", "v1", at=MINUTE)
    graph.input(graph.run("reader", at=MINUTE), "table", "v1", at=MINUTE)
    graph.insert(connection)
    (read,) = rows(connection, "SELECT inferred, ambiguous FROM resolved_input")
    assert (bool(read["inferred"]), bool(read["ambiguous"])) == (True, False)


def test_an_asset_of_more_names_than_plausible_is_marked(connection: Connection) -> None:
    graph = Graph()
    graph.dataset("alone")
    for asset, names in (("few", 64), ("many", 65)):
        for number in range(1, names):
            graph.alias(f"{asset} 0", f"{asset} {number}")
    graph.insert(connection)
    found = rows(connection, "SELECT group_id, name, members, over_limit FROM alias_groups ORDER BY members")
    assert [(row["name"][:4], row["members"], bool(row["over_limit"])) for row in found] == [
        ("few ", 64, False),
        ("many", 65, True),
    ]
    least = rows(connection, "SELECT asset_id FROM assets WHERE asset_id = group_id")
    assert found[0]["group_id"] in {row["asset_id"] for row in least}


def documented() -> dict[str, list[str]]:
    """The columns that the reference documents, by view: the first cell of each row of its table."""
    parts = re.split(r"^## `(\w+)`.*$", REFERENCE.read_text(encoding="utf-8"), flags=re.M)[1:]
    return {
        name: re.findall(r"^\| `(\w+)` ", part, flags=re.M)
        for name, part in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_column_of_every_view_is_documented(connection: Connection) -> None:
    found = {
        name: [column["name"] for column in inspect(connection).get_columns(name)] for name in views.NAMES
    }
    assert documented() == found


def test_the_example_queries_of_the_reference_run(connection: Connection) -> None:
    small().insert(connection)
    examples = re.findall(r"```sql\n(.*?)```", REFERENCE.read_text(encoding="utf-8"), flags=re.S)
    assert len(examples) >= 6
    for example in examples:
        connection.exec_driver_sql(
            example.replace("%", "%%") if "postgres" in str(connection.engine) else example
        )
