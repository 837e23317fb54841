"""What lacks something or drifted, and is recalled: said where nothing else would."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from headwater.consumers import listing
from headwater.consumers.answers import ListedRun, RunDetails
from headwater.consumers.drifting import drift
from headwater.consumers.gaps import Asked, gaps
from headwater.consumers.naming import find
from headwater.consumers.sheets import csv_text, sheet
from headwater.consumers.showing import show
from headwater.consumers.store import Store, open_store
from tests.replay import product
from tests.support.logs import run_event

NOW = int(datetime(2026, 4, 1, tzinfo=UTC).timestamp() * 1_000_000)


def named(name: str, version: str, location: str | None = None) -> dict[str, Any]:
    facets: dict[str, Any] = {"version": {"datasetVersion": version}}
    if location is not None:
        facets["dataSource"] = {"name": "lake", "uri": location}
    return {"namespace": "lake", "name": name, "facets": facets}


def recall(name: str, version: str, *, lifted: bool = False, at: str = "2026-03-02T10:00:00Z") -> bytes:
    facet = {"version": version, "reason": f"{name} is wrong", "lifted": lifted}
    subject = {"namespace": "lake", "name": name, "facets": {"headwater_recall": facet}}
    return orjson.dumps({"eventTime": at, "dataset": subject})


def told(run: int, kind: str, hour: int, inputs: list[Any], outputs: list[Any]) -> bytes:
    document = orjson.loads(run_event(run, kind, at=f"2026-03-01T{hour}:00:00Z", outputs=outputs))
    return orjson.dumps(document | {"inputs": inputs})


EVENTS = [
    told(1, "COMPLETE", 10, [], [named("orders", "v1", "s3://lake/orders")]),
    told(2, "COMPLETE", 11, [], [named("orders", "v2", "s3://lake/orders")]),
    told(3, "START", 12, [named("orders", "v2")], []),
    told(4, "COMPLETE", 13, [named("items", "v9")], []),
]


@pytest.fixture
def store(store_url: str) -> Any:
    with open_store(store_url, create=True) as opened:
        product.apply_all(opened, [EVENTS])
        yield opened


def test_gaps_mark_what_read_something_recalled_and_what_is_recalled_and_nobody_wrote(store: Store) -> None:
    product.apply_all(store, [[recall("orders", "v2"), recall("items", "v9")]])
    with store.snapshot() as connection:
        found = gaps(connection, Asked(now=NOW))
        then = gaps(connection, Asked(now=NOW, as_of=NOW - 40 * 86_400_000_000))
    lacks = {lack.kind: lack for lack in found.lacks}
    assert (lacks["unended"].recalled, lacks["unended"].recalled_upstream) == (False, True)
    assert (lacks["unproduced"].recalled, lacks["unproduced"].recalled_upstream) == (True, False)
    assert {one.reason for one in found.recalls} == {"orders is wrong", "items is wrong"}
    assert then.recalls == ()


def test_the_run_of_a_pipeline_has_the_marks_of_its_parts(store: Store) -> None:
    def part(run: int, parent: int, inputs: list[Any], outputs: list[Any]) -> bytes:
        document = orjson.loads(told(run, "COMPLETE", 14, inputs, outputs))
        whole = orjson.loads(told(parent, "COMPLETE", 14, [], []))
        facet = {"run": {"runId": whole["run"]["runId"]}, "job": whole["job"]}
        document["run"].setdefault("facets", {})["parent"] = facet
        return orjson.dumps(document)

    product.apply_all(store, [[told(7, "COMPLETE", 14, [], []), part(8, 7, [], []), part(9, 8, [], [])]])
    product.apply_all(store, [[part(10, 9, [named("orders", "v2")], [named("sums", "v5")])]])
    product.apply_all(store, [[recall("orders", "v2"), recall("sums", "v5")]])
    with store.snapshot() as connection:
        runs = {run.id[-2:]: run for run in listing.runs(connection, None, None, 20)}
        marked = [id for id, run in sorted(runs.items()) if run.recalled and run.recalled_upstream]
        whole = show(connection, find(connection, runs[marked[0]].id))
    assert len(marked) == 4
    assert isinstance(whole, RunDetails)
    assert (whole.recalled, whole.recalled_upstream, whole.upstream_recalls) == (True, True, ())
    assert {one.reason for one in whole.recalls} == {"orders is wrong", "sums is wrong"}
    assert [child.recalled for child in whole.children] == [True]


def test_drift_marks_the_versions_that_an_input_had_and_has(store: Store) -> None:
    assert changes(store) == [(False, False)]
    product.apply_all(store, [[recall("orders", "v1")]])
    assert changes(store) == [(True, False)]
    product.apply_all(
        store, [[recall("orders", "v2"), recall("orders", "v1", lifted=True, at="2026-03-03T10:00:00Z")]]
    )
    assert changes(store) == [(False, True)]


def changes(store: Store) -> list[tuple[bool, bool]]:
    with store.snapshot() as connection:
        found = drift(connection)
    marks = [(one.before_recalled, one.recalled) for of in found.inputs for one in of.changes]
    assert bool(found.recalls) == any(before or now for before, now in marks)
    return marks


def test_a_sheet_of_runs_has_the_marks_and_the_reasons(store: Store) -> None:
    product.apply_all(store, [[recall("orders", "v2")]])
    with store.snapshot() as connection:
        text = csv_text(sheet("runs", listing.runs(connection, None, None, 10), ListedRun))
    header, *rows = text.splitlines()
    assert header.endswith("recalled,recalled_upstream,recalls,duration_s")
    marked = {row[:36][-1]: "orders is wrong" in row for row in rows}
    assert marked == {"4": False, "3": True, "2": True, "1": False}
