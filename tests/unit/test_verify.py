"""`verify` finds every kind of difference between a store and its log, and names it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from sqlalchemy import LargeBinary, text

from headwater.consumers import tables
from headwater.consumers.digest import StateDigest, digest, first_difference
from headwater.consumers.log import Cursor, Partition, Record, SegmentLog
from headwater.consumers.replaying import replay, verify
from headwater.consumers.runner import Progress, Runner
from headwater.consumers.store import Store, open_store
from headwater.consumers.tables import Id
from headwater.schemas.segment import encode_frame
from tests.support.graphs import Graph
from tests.support.logs import BEGUN, run_event, write_segment

FACET = {"_producer": "https://example.com", "_schemaURL": "https://example.com/facet.json"}


def events() -> list[bytes]:
    """Events that put a row into every covered table."""
    emission = {
        "emitterId": "0190a0a0-0000-7000-8000-000000000001",
        "sequence": 0,
        "previous": None,
        "final": False,
    }
    facets = {
        "headwater_emission": {**FACET, **emission},
        "headwater_runClosed": {**FACET, "emitterId": emission["emitterId"], "events": 1, "lastSequence": 0},
        "headwater_metricPoints": {**FACET, "points": [{"key": "auc", "value": 0.9, "step": 1, "time": 5}]},
        "parent": {**FACET, "run": {"runId": "p"}, "job": {"namespace": "tests", "name": "parent"}},
    }
    columns = {"a": {"inputFields": [{"namespace": "lake", "name": "in", "field": "b"}]}}
    output = {
        "namespace": "lake",
        "name": "out",
        "facets": {
            "version": {**FACET, "datasetVersion": "7"},
            "columnLineage": {**FACET, "fields": columns},
            "symlinks": {**FACET, "identifiers": [{"namespace": "hive", "name": "t", "type": "TABLE"}]},
            "tags": {**FACET, "tags": [{"key": "tier", "value": "1", "source": "dbt"}]},
            "headwater_model": {**FACET, "class": "Tree", "parameters": {"depth": 3}},
        },
    }
    lineage = {
        **FACET,
        "entries": [
            {
                "namespace": "lake",
                "name": "out-2",
                "type": "DATASET",
                "inputs": [{"namespace": "lake", "name": "in-2", "type": "DATASET", "field": "c"}],
            }
        ],
    }
    tagging = {
        "eventTime": "2026-03-01T11:00:00Z",
        "producer": "https://example.com/tests",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/DatasetEvent",
        "dataset": {
            "namespace": "lake",
            "name": "out",
            "facets": {"headwater_tagging": {**FACET, "version": "7", "tags": {"tier": "gold"}}},
        },
    }
    run = {"runId": "00000000-0000-7000-8000-000000000001", "facets": facets}
    untagged = {**FACET, "_deleted": True}
    job = {"namespace": "tests", "name": "job", "facets": {"lineage": lineage, "tags": untagged}}
    return [
        run_event(1, inputs=["in"], outputs=[output], run=run),
        run_event(2, inputs=["in"], job=job),
        orjson.dumps(tagging),
    ]


def consumed(folder: Path, url: str) -> Store:
    store = open_store(url, create=True)
    with SegmentLog(folder) as source:
        Runner(store, source).run()
    return store


def test_a_store_that_consumed_its_log_verifies(tmp_path: Path, store_url: str) -> None:
    write_segment(tmp_path / "log", events())
    with consumed(tmp_path / "log", store_url) as store, SegmentLog(tmp_path / "log") as source:
        found = verify(store, source)
    assert found.equal
    assert found.difference is None
    assert found.records == 3


def test_a_log_that_grew_since_is_verified_up_to_where_the_store_is(tmp_path: Path, sqlite_url: str) -> None:
    write_segment(tmp_path / "log", events())
    with consumed(tmp_path / "log", sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        write_segment(tmp_path / "log", [run_event(50)])
        assert verify(store, source).equal


def test_a_store_that_goes_on_consuming_meanwhile_is_verified_as_it_was(
    tmp_path: Path, store_url: str
) -> None:
    write_segment(tmp_path / "log", events())
    with consumed(tmp_path / "log", store_url) as store, SegmentLog(tmp_path / "log") as source:

        def go_on(_: Progress) -> None:
            write_segment(tmp_path / "log", [run_event(number) for number in range(60, 70)])
            with SegmentLog(tmp_path / "log") as other:
                Runner(store, other).run()

        found = verify(store, source, report=go_on)
    assert found.equal
    assert found.records == 3


def test_an_infinite_metric_is_not_taken_for_another(tmp_path: Path, sqlite_url: str) -> None:
    write_segment(tmp_path / "log", events())
    with consumed(tmp_path / "log", sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        roots = set()
        for value in ("NULL", "9e999", "-9e999"):
            with store.writing() as tx:
                tx.execute(text(f"UPDATE metric_point SET value = {value}"))
            roots.add(digest(store).root)
            assert not verify(store, source).equal
    assert len(roots) == 3


def test_a_fold_that_is_no_document_any_more_is_named(tmp_path: Path, sqlite_url: str) -> None:
    write_segment(tmp_path / "log", events())
    with consumed(tmp_path / "log", sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        with store.writing() as tx:
            tx.execute(text("UPDATE run_fold SET doc = x'7b7b'"))
        found = verify(store, source)
    assert found.difference is not None
    assert found.difference.table == "run_fold"


def _spoil(store: Store, name: str) -> None:
    """Change one column of one row of table `name`, by SQL, as somebody with a client would."""
    table = tables.metadata.tables[name]
    column = [c for c in table.columns if c.name not in {"topic", "partition", "offset", "appended_at"}][-1]
    if name == "run_fold":
        column = table.c.edge_hash
    if name == "event":
        column = table.c.rank
    kind = column.type
    if isinstance(kind, Id):
        value = "'00000000-0000-0000-0000-000000000000'" if store.dialect == "postgresql" else "zeroblob(16)"
    elif isinstance(kind, LargeBinary):
        value = "'\\x00'::bytea" if store.dialect == "postgresql" else "x'00'"
    elif column.name == "body":
        value = "'{\"edited\": true}'"
    else:
        value = {int: "9", float: "9", str: "'edited'"}.get(kind.python_type, "NULL")
    first = ""
    if name == "word":  # its last column is a part of the key
        row = "ctid" if store.dialect == "postgresql" else "(word, kind, subject_id)"
        first = f" WHERE {row} = (SELECT {row.strip('()')} FROM word ORDER BY word, kind, subject_id LIMIT 1)"
    with store.writing() as tx:
        assert tx.execute(text(f'UPDATE {name} SET "{column.name}" = {value}{first}')).rowcount


@pytest.mark.parametrize("name", [table.name for table in tables.COVERED])
def test_an_edited_row_of_any_table_is_named(tmp_path: Path, sqlite_url: str, name: str) -> None:
    write_segment(tmp_path / "log", events())
    with consumed(tmp_path / "log", sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        _spoil(store, name)
        found = verify(store, source)
    assert not found.equal
    assert found.difference is not None
    assert found.difference.table == name


@pytest.mark.parametrize("name", ["facet", "run_input", "event", "metric_point"])
def test_an_edited_row_is_named_on_postgresql_too(tmp_path: Path, postgres_url: str, name: str) -> None:
    write_segment(tmp_path / "log", events())
    with consumed(tmp_path / "log", postgres_url) as store, SegmentLog(tmp_path / "log") as source:
        _spoil(store, name)
        found = verify(store, source)
    assert found.difference is not None
    assert found.difference.table == name


@pytest.mark.parametrize(("written_at", "relation"), [(1, "resolved_input"), (3, "resolved_later")])
def test_an_input_bound_to_something_else_is_another_digest(
    tmp_path: Path, store_url: str, written_at: int, relation: str
) -> None:
    """No row of any run tells: the reader's dataset becomes another name of one that is written."""
    graph = Graph()
    graph.output(graph.run("writer"), "written", at=written_at)
    graph.input(graph.run("reader", at=2), "read", at=2, last_at=4)
    with (
        open_store(f"sqlite:///{tmp_path}/other.db") as other,
        open_store(store_url, create=True) as store,
    ):
        for each in (store, other):
            with each.writing() as tx:
                graph.insert(tx)
        before = digest(other)
        assert digest(store) == before
        with store.writing() as tx:
            tx.execute(tables.dataset.update().values(group_id=min(graph.rows["dataset"])))
        after = digest(store)
        changed = [name for name in after.tables if after.tables[name] != before.tables[name]]
        assert changed == ["dataset", relation]
        # Where only the bindings differ, as between stores that are asked by different code.
        alike = StateDigest(after.tables | {"dataset": before.tables["dataset"]})
        with store.snapshot() as left, other.snapshot() as right:
            found = first_difference(left, right, alike, before)
    assert found is not None
    assert found.table == relation
    assert found.left is not None
    assert found.left["bound"] == next(iter(graph.rows["run_output"])).hex()
    assert (found.right or {"bound": None})["bound"] is None


def test_a_deleted_and_an_added_row_are_told_apart(tmp_path: Path, sqlite_url: str) -> None:
    write_segment(tmp_path / "log", events())
    with consumed(tmp_path / "log", sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        with store.writing() as tx:
            tx.execute(text("DELETE FROM job WHERE name = 'parent'"))
        gone = verify(store, source).difference
        assert gone is not None
        assert gone.left is None
        assert gone.right is not None
        assert gone.right["name"] == "parent"


def test_records_that_the_log_lost_are_reported(tmp_path: Path, sqlite_url: str) -> None:
    path = write_segment(tmp_path / "log", [run_event(number) for number in range(5)])
    with consumed(tmp_path / "log", sqlite_url) as store:
        os.truncate(path, path.stat().st_size - 10)
        with SegmentLog(tmp_path / "log") as source:
            found = verify(store, source)
    assert not found.equal
    (missing,) = found.missing
    assert (missing.consumed, missing.found) == (5, 4)


def test_a_replay_makes_the_same_state_anywhere(tmp_path: Path, sqlite_url: str, postgres_url: str) -> None:
    write_segment(tmp_path / "log", events(), sealed=True)
    with consumed(tmp_path / "log", sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        replay(source, postgres_url)
        with open_store(postgres_url) as copy:
            assert digest(copy).root == digest(store).root
            assert verify(copy, source).equal


def test_a_replay_goes_on_where_it_was_stopped(tmp_path: Path, sqlite_url: str) -> None:
    write_segment(tmp_path / "log", [run_event(number) for number in range(50)], sealed=True)
    with SegmentLog(tmp_path / "log") as source:
        asked = iter([False, True])
        replay(source, sqlite_url, stopping=lambda: next(asked))
        assert replay(source, sqlite_url).applied in {0, 50}
        with open_store(sqlite_url) as store:
            assert verify(store, source).equal


def test_a_store_of_what_was_known_then_verifies_as_that(tmp_path: Path, sqlite_url: str) -> None:
    write_segment(tmp_path / "log", [run_event(number) for number in range(9)])
    with SegmentLog(tmp_path / "log") as source:
        replay(source, sqlite_url, until=BEGUN + 3)
        with open_store(sqlite_url) as store:
            assert digest(store).tables["run"].rows == 4
            assert verify(store, source).equal


class Sparse(SegmentLog):
    """A log whose offsets have gaps, as a compacted topic's do: every record stands ten further on."""

    ahead = 10

    def read(self, partition: Partition, cursor: Cursor, *, records: int, size: int) -> list[Record]:
        before = Cursor(max(0, cursor.offset - self.ahead) if cursor.offset else 0, cursor.byte)
        found = super().read(partition, before, records=records, size=size)
        return [replace(record, offset=record.offset + self.ahead) for record in found]


def test_a_log_with_gaps_is_compared_as_far_as_it_was_consumed(tmp_path: Path, sqlite_url: str) -> None:
    path = write_segment(tmp_path / "log", [run_event(n) for n in range(10)])
    with open_store(sqlite_url, create=True) as store, Sparse(tmp_path / "log") as source:
        done = Runner(store, source).run()
        assert (done.applied, done.gaps) == (10, 10)
        with path.open("ab") as file:
            file.writelines(encode_frame(run_event(n), BEGUN + n) for n in range(10, 40))
        assert verify(store, source).equal
