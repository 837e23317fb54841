"""Every question marks what is recalled and what was made from it, as the slow reference does."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from headwater.consumers import columns, comparing, impact, listing, marks, recipe_store
from headwater.consumers import metrics as measured
from headwater.consumers.answers import AssetDetails, Recall
from headwater.consumers.descent import _search_down, _search_up
from headwater.consumers.drifting import drift
from headwater.consumers.gaps import Asked, gaps
from headwater.consumers.marks import Marks
from headwater.consumers.naming import find, id_text
from headwater.consumers.recalls import Recalls
from headwater.consumers.searching import search
from headwater.consumers.showing import show
from headwater.consumers.store import Store
from headwater.consumers.walk import Reader
from headwater.schemas.errors import HeadwaterError
from headwater.schemas.ids import dataset_id, version_id
from tests.replay.profiles import examples
from tests.replay.recalling import Tainted
from tests.replay.reference import reference
from tests.replay.test_recalls import filled, histories, moments

sizes = st.lists(st.integers(1, 5), min_size=1, max_size=3)


def measuring(values: list[bytes]) -> list[bytes]:
    """The same events; each run measures something, and says so of what it wrote as well."""
    told = []
    for value in values:
        event = json.loads(value)
        for output in event.get("outputs", ()):
            output["facets"]["headwater_metrics"] = {"values": {"auc": 0.5}}
        told.append(json.dumps(event).encode())
    return told


def bytes_of(id: str | None) -> bytes:
    return UUID(id or "").bytes


def stated(recalls: tuple[Recall, ...]) -> set[int]:
    return {int(recall.at.timestamp() * 1_000_000) for recall in recalls}


@examples(50)
@given(values=histories(), sizes=sizes, as_of=moments)
def test_every_question_says_what_is_recalled_and_what_descends_from_it(
    store: Store, values: list[bytes], sizes: list[int], as_of: int | None
) -> None:
    told = measuring(values)
    filled(store, told, sizes)
    truth = Tainted(reference(told), as_of)
    with store.snapshot() as connection:
        check_runs(connection, truth, as_of)
        check_search(connection, truth, as_of)
        for production in truth.written():
            check_production(connection, truth, production, as_of)


def check_runs(connection: Connection, truth: Tainted, as_of: int | None) -> None:
    for run in listing.runs(connection, None, None, 100, as_of):
        assert (run.recalled, run.recalled_upstream) == truth.is_marked(bytes_of(run.id)), run


def check_search(connection: Connection, truth: Tainted, as_of: int | None) -> None:
    for found in search(connection, ["metric:auc"], limit=100, as_of=as_of, versions=True).results:
        production = bytes_of(found.id)
        assert found.recalled == truth.is_recalled(production)
        assert found.recalled_upstream == truth.descends(production)
        assert stated(found.recalls) == truth.met(production)
    for found in search(connection, ["job:j0"], type="run", limit=100, as_of=as_of).results:
        assert (found.recalled, found.recalled_upstream) == truth.is_marked(bytes_of(found.id))


def check_production(connection: Connection, truth: Tainted, production: bytes, as_of: int | None) -> None:
    name, expected = id_text(production), (truth.is_recalled(production), truth.descends(production))
    history = measured.metrics(connection, name, as_of=as_of)
    for point in (point for series in history.series for point in series.points):
        assert (point.recalled, point.recalled_upstream) == expected
    if history.series:
        assert stated(history.recalls) == truth.met(production)
    made = recipe_store.recipe(connection, name, as_of=as_of)
    assert (made.recalled, made.recalled_upstream) == expected
    assert stated(made.recalls) == truth.met(production)
    below = impact.impact(connection, name, as_of=as_of)
    assert (below.recalled, below.recalled_upstream) == expected
    assert stated(below.recalls) == truth.met(production)
    for affected in below.assets:
        own = bytes_of(affected.latest)
        assert (affected.recalled, affected.recalled_upstream) == (
            truth.is_recalled(own),
            truth.descends(own),
        )
        assert stated(affected.recalls) == truth.met(own)
    shown = show(connection, find(connection, name, as_of), as_of)
    assert isinstance(shown, AssetDetails)
    assert bool(shown.upstream_recalls) == expected[1]
    for written in shown.history:
        own = bytes_of(written.id)
        assert (written.recalled, written.recalled_upstream) == (truth.is_recalled(own), truth.descends(own))
    for node in columns.columns(connection, name, "up", column="", as_of=as_of).nodes:
        if node.kind == "production":
            own = bytes_of(node.id.partition("#")[0])
            assert (node.recalled, node.recalled_upstream) == (truth.is_recalled(own), truth.descends(own))
    for other in truth.written()[:2]:
        try:
            found = comparing.diff(connection, name, id_text(other), as_of=as_of)
        except HeadwaterError:
            continue
        assert (found.before.recalled, found.before.recalled_upstream) == expected
        assert stated(found.before.recalls) == truth.met(production)
        for copy in (copy for asset in found.assets for copy in (asset.before, asset.after)):
            if copy is not None and copy.production_id is not None and copy.published_at is not None:
                own = bytes_of(copy.production_id)
                assert copy.recalled == truth.is_recalled(own)
                assert copy.recalled_upstream == truth.descends(own)


def drifting(values: list[bytes]) -> list[bytes]:
    """The same events with digests for versions; jobs have one code, and what is written lies somewhere."""
    told = []
    for value in values:
        for version in ("v1", "v2", "v3"):
            value = value.replace(f'"{version}"'.encode(), f'"table1:{version[1] * 64}"'.encode())
        event = json.loads(value)
        if "run" in event:
            event["run"]["facets"] = {"headwater_code": {"function": "f", "sourceDigest": "ab" * 32}}
        for output in event.get("outputs", ()):
            output["facets"]["dataSource"] = {"uri": f"s3://lake/{output['name']}"}
        told.append(json.dumps(event).encode())
    return told


@examples(30)
@given(values=histories(), sizes=sizes, as_of=moments)
def test_drift_gaps_and_the_listing_of_assets_say_what_is_recalled_too(
    store: Store, values: list[bytes], sizes: list[int], as_of: int | None
) -> None:
    told = drifting(values)
    filled(store, told, sizes)
    truth = Tainted(reference(told), as_of)
    with store.snapshot() as connection:
        check_drift(connection, truth, as_of)
        check_gaps(connection, truth, as_of)
        check_assets(connection, truth, as_of)


def check_drift(connection: Connection, truth: Tainted, as_of: int | None) -> None:
    def wrote(run: str, dataset: bytes) -> tuple[bool, bool]:
        outputs = truth.bound.outputs
        own = [id for id in truth.written() if outputs[id]["run_id"] == bytes_of(run)]
        own = [id for id in own if outputs[id]["dataset_id"] == dataset]
        return any(map(truth.is_recalled, own)), any(map(truth.descends, own))

    found = drift(connection, as_of=as_of)
    for step in found.steps:
        dataset = dataset_id(step.namespace, step.name)
        for content in step.contents:
            assert (content.recalled, content.recalled_upstream) == wrote(content.last_run_id, dataset)
    for changed in found.inputs:
        dataset = dataset_id(changed.namespace, changed.name)
        for change in changed.changes:
            now = (truth.is_recalled((dataset, version_id(dataset, change.now))), False)
            expected = wrote(change.run_id, dataset) if changed.written else now
            assert (change.recalled, change.recalled_upstream) == expected
            before = version_id(dataset, change.before)
            assert change.before_recalled == truth.is_recalled((dataset, before))


def check_gaps(connection: Connection, truth: Tainted, as_of: int | None) -> None:
    found = gaps(connection, Asked(now=2**62, as_of=as_of))
    of_runs = [lack for lack in found.lacks if lack.kind in ("unended", "unstarted")]
    assert of_runs or as_of is not None or not any(run["kind"] == 0 for run in truth.bound.runs.values())
    for lack in of_runs:
        assert (lack.recalled, lack.recalled_upstream) == truth.is_marked(bytes_of(lack.subject)), lack
    for lack in found.lacks:
        if lack.kind == "unproduced" and "(production" not in lack.subject:
            name, _, version = lack.subject.rpartition("@")
            dataset = dataset_id("lake", name.partition("/")[2])
            assert lack.recalled == truth.is_recalled((dataset, version_id(dataset, version))), lack


def check_assets(connection: Connection, truth: Tainted, as_of: int | None) -> None:
    """By the last production published; where several may be it, one of them."""
    for asset in listing.assets(connection, None, None, 100, as_of):
        group = truth._group[dataset_id(asset.namespace, asset.name)]
        outputs = truth.bound.outputs
        own = [id for id in truth.written() if truth._group[outputs[id]["dataset_id"]] == group]
        times = [outputs[id]["published_at"] for id in own if outputs[id]["published_at"] is not None]
        last = [id for id in own if times and outputs[id]["published_at"] == max(times)]
        marks = {(truth.is_recalled(id), truth.descends(id)) for id in last}
        if marks:
            assert (asset.recalled, asset.recalled_upstream) in marks, asset


@examples(40)
@given(values=histories(), sizes=sizes, as_of=moments)
def test_either_search_alone_finds_what_a_run_read(
    store: Store, values: list[bytes], sizes: list[int], as_of: int | None
) -> None:
    filled(store, values, sizes)
    truth = Tainted(reference(values), as_of)
    with store.snapshot() as connection:
        recalls = Recalls(connection, as_of)
        runs: dict[bytes, Any] = {id: Reader(id) for id in truth.bound.runs if not truth.reads_itself(id)}
        for one in (_search_up, _search_down) if recalls else ():
            found = one(connection, runs, recalls, as_of, 1_000)
            assert {id: above.verdict for id, above in found.items()} == {
                id: truth.is_marked(id)[1] for id in runs
            }


@pytest.mark.parametrize("budget", [1, 2, 3])
@examples(30)
@given(values=histories(), sizes=sizes)
def test_a_mark_that_was_not_looked_for_to_the_end_says_unknown_and_never_no(
    sqlite_store: Store, budget: int, values: list[bytes], sizes: list[int]
) -> None:
    filled(sqlite_store, values, sizes)
    truth = Tainted(reference(values))
    with sqlite_store.snapshot() as connection:
        told = Marks(connection, budgets=(budget,)).of_productions(truth.bound.outputs)
        for id, mark in told.items():
            assert mark.recalled == truth.is_recalled(id)
            assert mark.upstream in (None, truth.descends(id))
            assert stated(mark.recalls) <= truth.met(id)


def test_of_several_marks_one_that_is_unknown_leaves_the_whole_unknown() -> None:
    unknown, clean = marks.Mark(upstream=None), marks.CLEAN
    assert marks.of_several([clean, unknown]).upstream is None
    assert marks.of_several([unknown, marks.Mark(upstream=True)]).upstream is True
    assert marks.of_several([clean]) == clean
