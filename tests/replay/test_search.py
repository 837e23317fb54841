"""A search finds exactly what looking at every row finds, whatever the events and their order."""

from __future__ import annotations

import json
from collections import defaultdict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from headwater.consumers.queries import FIELDS, conditions
from headwater.consumers.searching import Found, _parts, search
from headwater.consumers.sieve import Candidates
from headwater.consumers.store import Store
from headwater.schemas import ids
from headwater.schemas.openlineage import parse_time
from tests.replay import finding, product
from tests.replay.finding import Term, World
from tests.replay.profiles import examples, fresh_examples
from tests.replay.test_recalls import histories
from tests.replay.universes import large_universes

#: Something that no search here finds.
_NOTHING = json.dumps({"eventTime": "2020-01-01T00:00:00Z", "job": {"namespace": "z", "name": "z"}}).encode()
_WORDS = [
    "churn",
    "model",
    "the",
    "email",
    "user",
    "user_id",
    "id",
    "crm",
    "team",
    "lake",
    "a",
    "p",
    "q",
    "8",
]
_NAMES = ["auc", "loss", "x", "y", "the churn model", "Email", "pii", "team"]
_free = st.sampled_from([*_WORDS, "chu", "e", "s3", "4f1c", "4F1C9AB", "auc", "x", "Email", "sklearn", "dbt"])
_values: SearchStrategy[float | str] = st.sampled_from([0.5, 1.0, 8.0, 0.0, 1e300, "eight", "crm", "true"])
terms = st.one_of(
    st.builds(Term, _free),
    st.builds(
        Term, st.sampled_from([*_WORDS, "us*", "Model", "dataset"]), st.sampled_from(sorted(finding.FIELDS))
    ),
    st.builds(
        Term,
        st.sampled_from([name for name in _NAMES if " " not in name]),
        st.sampled_from([None, "metric", "parameter", "tag"]),
        st.just("="),
        _values,
    ),
    st.builds(
        Term,
        st.sampled_from(["auc", "loss", "x", "y", "Email"]),
        st.sampled_from([None, "metric", "parameter"]),
        st.sampled_from(["<", "<=", ">", ">="]),
        st.sampled_from([0.5, 1.0, 8.0]),
    ),
    st.builds(Term, st.sampled_from(["auc", "loss", "lake"]), st.just("metric")),
)


def found(store: Store, wanted: list[Term], type: str | None = None) -> set[finding.Thing]:
    """What the product finds, as the oracle names it."""
    with store.connecting() as connection, connection.begin():
        answer = search(connection, [term.typed() for term in wanted], type=type, limit=10_000)
        assert not answer.more
        groups = World(store)
    things = set()
    for one in answer.results:
        if one.kind == "run":
            things.add(("run", UUID(one.id or "").bytes))
        elif one.kind == "job":
            things.add(("job", ids.job_id(one.namespace or "", one.name or "")))
        else:
            dataset = ids.dataset_id(one.namespace or "", one.name or "")
            things.add(("asset", next(r.group_id for r in groups.rows["dataset"] if r.dataset_id == dataset)))
    assert len(things) == len(answer.results)
    return things


def check(store: Store, values: list[bytes], queries: list[list[Term]]) -> None:
    product.wipe(store)
    product.apply_all(store, [values])
    world = World(store)
    for wanted in queries:
        assert found(store, wanted) == world.find(wanted), [term.typed() for term in wanted]
        assert found(store, wanted, "run") == world.find_runs(wanted), [term.typed() for term in wanted]


queries = st.lists(st.lists(terms, min_size=1, max_size=3), min_size=8, max_size=8)


@examples(50)
@given(values=large_universes, queries=queries)
def test_a_search_finds_what_looking_at_every_row_finds(
    sqlite_store: Store, values: list[bytes], queries: list[list[Term]]
) -> None:
    check(sqlite_store, values, queries)


@examples(20, shrink=False)
@given(values=large_universes, queries=queries)
def test_a_search_on_postgresql_finds_what_looking_at_every_row_finds(
    postgres_store: Store, values: list[bytes], queries: list[list[Term]]
) -> None:
    check(postgres_store, values, queries)


@pytest.mark.deep
@fresh_examples(120)
@given(values=large_universes, queries=queries)
def test_many_searches_find_what_looking_at_every_row_finds(
    sqlite_store: Store, values: list[bytes], queries: list[list[Term]]
) -> None:
    check(sqlite_store, values, queries)


def told(values: list[bytes]) -> list[bytes]:
    """The same events; each says something of its own of its run, and of what it read and wrote."""
    found = []
    for number, value in enumerate(values):
        event = json.loads(value)
        if "run" in event:
            # What a failed run said of an asset that it did not write has no time of its own.
            event["eventType"] = "COMPLETE"
            parameters = [{"key": "x", "value": str(number % 3)}]
            event["run"]["facets"] = {"executionParameters": {"parameters": parameters}}
        for output in event.get("outputs", ()):
            output["facets"].pop("symlinks", None)
            output["facets"]["headwater_metrics"] = {"values": {"auc": number / 4}}
            output["facets"]["schema"] = {"fields": [{"name": f"column_{number % 2}"}]}
        found.append(json.dumps(event).encode())
    return found


_AS_OF = (
    *(["a"], ["x=1"], ["auc>0.4"], ["column:column_1"]),
    *(["job:j1"], ["name:b", "x>0"], ["metric:auc", "j0"]),
)


def _at(value: bytes) -> int:
    return parse_time(json.loads(value)["eventTime"])


@examples(40, shrink=False)
@given(values=histories(), second=st.integers(-1, 4))
def test_a_search_as_of_a_time_is_one_of_a_store_that_nothing_later_came_into(
    store: Store, values: list[bytes], second: int
) -> None:
    as_of = 1_709_287_200_000_000 + second * 1_000_000
    events = told(values)
    answers = []
    for by_then, asked in ((False, as_of), (True, None)):
        product.wipe(store)
        product.apply_all(
            store, [[value for value in events if not by_then or _at(value) <= as_of] or [_NOTHING]]
        )
        with store.snapshot() as connection:
            answers.append(
                [
                    (one.kind, one.namespace, one.name, one.id, one.version, one.versions, one.state, one.at)
                    for query in _AS_OF
                    for versions in (False, True)
                    for one in search(connection, query, limit=500, versions=versions, as_of=asked).results
                ]
            )
    assert answers[0] == answers[1]


@examples(40)
@given(values=histories(), query=st.sampled_from([["auc>0.4"], ["x=1", "lake"], ["metric:auc", "name:a"]]))
def test_each_asset_tells_its_newest_version_that_fits_and_how_many_do(
    store: Store, values: list[bytes], query: list[str]
) -> None:
    product.wipe(store)
    product.apply_all(store, [told(values)])
    with store.snapshot() as connection:
        newest = search(connection, query, type="asset", limit=500)
        each = search(connection, query, type="asset", limit=500, versions=True)
    assert not newest.more
    by_asset: dict[tuple[str | None, str | None], list[Found]] = defaultdict(list)
    for one in each.results:
        by_asset[one.namespace, one.name].append(one)
    assert {(one.namespace, one.name) for one in newest.results} == by_asset.keys()
    for one in newest.results:
        fitting = by_asset[one.namespace, one.name]
        assert one.id in [other.id for other in fitting]
        assert (one.versions, one.versions_complete) == (len(fitting) if one.id else 0, True)
        times = [other.at for other in fitting if other.at is not None]
        assert one.at == max(times, default=None)


@examples(40)
@given(values=large_universes, queries=queries, most=st.integers(1, 4))
def test_candidates_that_are_said_to_be_all_leave_out_nobody(
    sqlite_store: Store, values: list[bytes], queries: list[list[Term]], most: int
) -> None:
    product.wipe(sqlite_store)
    product.apply_all(sqlite_store, [values])
    world = World(sqlite_store)
    with sqlite_store.snapshot() as connection:
        for wanted in queries:
            fitting = world.find(wanted)
            parts = tuple(_parts(conditions([term.typed() for term in wanted])))
            those = Candidates(connection, parts, most=most)
            runs = those.runs(with_assets=True)
            if runs.is_whole:
                assert {id for kind, id in fitting if kind == "run"} <= runs.ids.keys()
            jobs = those.jobs()
            if jobs.is_whole:
                assert {id for kind, id in fitting if kind == "job"} <= jobs.ids.keys()


def test_the_oracle_knows_every_field() -> None:
    assert set(finding.FIELDS) | {"metric"} == set(FIELDS)
