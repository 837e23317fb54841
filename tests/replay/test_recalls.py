"""Recalls and what was made from them: by the product as by the slow reference, in any order of events."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headwater.consumers import impact, walk
from headwater.consumers.descent import _search_down, _search_up, above, descent
from headwater.consumers.naming import id_text
from headwater.consumers.recalls import Recalls
from headwater.consumers.store import Store
from tests.replay import product
from tests.replay.profiles import examples
from tests.replay.recalling import Tainted
from tests.replay.reference import reference

NAMES = ("a", "b", "c", "d")
DAY_S = 86_400
RUNS = [f"01890000-0000-7000-8000-0000000000{number:02x}" for number in range(8)]
#: A second apart, equal, and on a clock that is a day ahead or behind.
seconds = st.sampled_from([0, 1, 1, 2, 3, 3, 4, DAY_S + 1, 2 - DAY_S])
versions = st.sampled_from([None, "v1", "v2"])


def _time(second: int) -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime(2024, 3, 1, 10, tzinfo=UTC) + timedelta(seconds=second)).isoformat()


def _dataset(name: str, version: str | None, linked: str | None = None) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if version is not None:
        facets["version"] = {"datasetVersion": version}
    if linked is not None:
        facets["symlinks"] = {"identifiers": [{"namespace": "lake", "name": linked, "type": "TABLE"}]}
    return {"namespace": "lake", "name": name, "facets": facets}


@st.composite
def histories(draw: st.DrawFn) -> list[bytes]:
    """Runs over a few assets, some of them aliases, and recalls and lifts of what they wrote and read."""
    events = []
    written: list[tuple[int, str, str | None]] = []
    for number in range(draw(st.integers(2, 7))):
        inputs = [_read(draw, written) for _ in range(draw(st.integers(0, 2)))]
        outputs = [(draw(st.sampled_from(NAMES)), draw(versions)) for _ in range(draw(st.integers(0, 2)))]
        linked = draw(st.sampled_from([None] * 5 + ["a"]))
        events.append(
            {
                "eventType": draw(st.sampled_from(["COMPLETE"] * 5 + ["FAIL"])),
                "eventTime": _time(draw(seconds)),
                "run": {"runId": RUNS[number]},
                "job": {"namespace": "crm", "name": f"j{number % 3}"},
                "inputs": inputs,
                "outputs": [_dataset(name, version, linked) for name, version in outputs],
            }
        )
        written += [(number, name, version) for name, version in outputs]
    events += [_recall(draw, written) for _ in range(draw(st.integers(1, 4)))]
    return [json.dumps(event).encode() for event in draw(st.permutations(events))]


def _read(draw: st.DrawFn, written: list[tuple[int, str, str | None]]) -> dict[str, Any]:
    """An input that names the dataset alone, a version (written or not), or the production."""
    if bool(written) and draw(st.booleans()):
        number, name, version = draw(st.sampled_from(written))
        item = _dataset(name, version)
        if version is not None and draw(st.booleans()):
            item["inputFacets"] = {"headwater_input": {"productionRunId": RUNS[number]}}
        return item
    return _dataset(draw(st.sampled_from(NAMES)), draw(st.sampled_from([None, None, "v1", "v3"])))


def _recall(draw: st.DrawFn, written: list[tuple[int, str, str | None]]) -> dict[str, Any]:
    facet: dict[str, Any] = {"reason": "wrong", "lifted": draw(st.sampled_from([False, False, True]))}
    name = draw(st.sampled_from(NAMES))
    if bool(written) and draw(st.integers(0, 4)):
        number, name, version = draw(st.sampled_from(written))
        facet |= {"version": version} if version is not None else {"productionRunId": RUNS[number]}
    elif draw(st.booleans()):
        facet["version"] = draw(st.sampled_from(["v1", "v3"]))
    subject = {"namespace": "lake", "name": name, "facets": {"headwater_recall": facet}}
    return {"eventTime": _time(draw(seconds)), "dataset": subject}


def filled(store: Store, values: list[bytes], sizes: list[int]) -> None:
    product.wipe(store)
    product.apply_all(store, product.split(values, sizes))


moments = st.sampled_from([None, None, 1_709_287_201_000_000, 1_709_287_203_000_000])


@examples(60)
@given(values=histories(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3), as_of=moments)
def test_every_node_knows_whether_it_descends_from_a_recalled_version(
    store: Store, values: list[bytes], sizes: list[int], as_of: int | None
) -> None:
    filled(store, values, sizes)
    truth = Tainted(reference(values), as_of)
    with store.snapshot() as connection:
        recalls = Recalls(connection, as_of)
        assert len(recalls.standing) == len(truth.standing)
        starts = walk.productions(connection, truth.bound.outputs, as_of)
        for start in starts:
            for depth in (0, 1, None):
                for walked in (walk.upstream, walk.downstream):
                    found = walked(connection, [start], depth=depth, as_of=as_of)
                    told = descent(connection, found, recalls, as_of)
                    guessed = descent(connection, found, recalls, as_of, budgets=())
                    for id, node in found.nodes.items():
                        if isinstance(node, walk.Production):
                            assert recalls.hold_for(node) == truth.is_recalled(id)
                            assert told[id] == truth.descends(id)
                            assert guessed[id] in (None, told[id])


@examples(60)
@given(values=histories(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3), as_of=moments)
def test_either_search_alone_finds_what_both_find(
    store: Store, values: list[bytes], sizes: list[int], as_of: int | None
) -> None:
    filled(store, values, sizes)
    truth = Tainted(reference(values), as_of)
    with store.snapshot() as connection:
        recalls = Recalls(connection, as_of)
        starts = walk.productions(connection, truth.bound.outputs, as_of)
        nodes: dict[bytes, walk.Node] = {start.id: start for start in starts}
        expected = {id: truth.descends(id) for id in nodes}
        for search in (_search_up, _search_down) if nodes and recalls else ():
            found = search(connection, nodes, recalls, as_of, 1_000)
            assert {id: one.verdict for id, one in found.items()} == expected


@examples(60)
@given(values=histories(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3), as_of=moments)
def test_an_impact_has_everything_that_was_made_from_it_and_nothing_else(
    store: Store, values: list[bytes], sizes: list[int], as_of: int | None
) -> None:
    filled(store, values, sizes)
    truth = Tainted(reference(values), as_of)
    with store.snapshot() as connection:
        for start in walk.productions(connection, truth.written(), as_of):
            own = impact.impact(connection, id_text(start.id), as_of=as_of)
            assert own.productions == len(truth.below({start.id}))
            for affected in own.assets:
                assert affected.steps == len(affected.way) - 1 > 0
                assert affected.way[0].production_id == id_text(start.id)
                assert affected.way[-1].production_id == affected.latest
        expected = sorted(len(truth.below(truth.of_subject(subject))) for subject in truth.standing)
        assert sorted(f.productions for f in impact.recalled(connection, as_of=as_of).recalls) == expected


@examples(40)
@given(values=histories(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_what_was_made_from_recalled_versions_names_the_recalls(
    store: Store, values: list[bytes], sizes: list[int]
) -> None:
    filled(store, values, sizes)
    truth = Tainted(reference(values))
    with store.snapshot() as connection:
        recalls = Recalls(connection)
        for start in walk.productions(connection, truth.bound.outputs):
            met, complete = above(connection, start, recalls)
            expected = {
                truth.standing[subject]["at"]
                for subject in truth.standing
                if truth.of_subject(subject) & (truth.above(start.id) - {start.id})
            }
            assert complete
            assert {int(recall.at.timestamp() * 1_000_000) for recall in met} == expected
