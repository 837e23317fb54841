"""A search finds exactly what looking at every row finds, whatever the events and their order."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from headwater.consumers.queries import FIELDS
from headwater.consumers.searching import search
from headwater.consumers.store import Store
from headwater.schemas import ids
from tests.replay import finding, product
from tests.replay.finding import Term, World
from tests.replay.profiles import examples, fresh_examples
from tests.replay.universes import large_universes

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


def found(store: Store, wanted: list[Term]) -> set[finding.Thing]:
    """What the product finds, as the oracle names it."""
    with store.connecting() as connection, connection.begin():
        answer = search(connection, [term.typed() for term in wanted], limit=10_000)
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


def test_the_oracle_knows_every_field() -> None:
    assert set(finding.FIELDS) | {"metric"} == set(FIELDS)
