"""A common word leaves nobody out, however few of those who have it are looked up."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from headwater.consumers.naming import id_text
from headwater.consumers.queries import conditions
from headwater.consumers.sieve import Candidates
from headwater.consumers.store import Store, open_store
from tests.replay import product
from tests.support.logs import run_event


def told(run: int) -> bytes:
    document = orjson.loads(run_event(run, at=f"2026-03-01T10:00:{run:02}Z"))
    parameters = [{"key": "x", "value": "1"}, {"key": "y", "value": str(run // 2)}]
    document["run"]["facets"] = {"executionParameters": {"parameters": parameters}}
    return orjson.dumps(document)


@pytest.fixture
def store(store_url: str) -> Any:
    with open_store(store_url, create=True) as opened:
        product.apply_all(opened, [[told(run) for run in range(12)]])
        yield opened


def runs(store: Store, query: list[str], most: int) -> tuple[list[int], bool]:
    with store.snapshot() as connection:
        found = Candidates(connection, conditions(query), most=most).runs(with_assets=True)
    return [int(id_text(id)[-2:], 16) for id in found.ids], found.is_whole


def test_the_rare_word_leads_and_the_newest_come_first(store: Store) -> None:
    for value in range(6):
        pair = [2 * value + 1, 2 * value]
        assert runs(store, ["x=1", f"y={value}"], 2) == (pair, True)
        assert runs(store, [f"y={value}", "x=1"], 2) == (pair, True)
        assert runs(store, ["x=1", f"y={value}"], 100) == (pair, True)


def test_what_no_run_says_leaves_nobody(store: Store) -> None:
    assert runs(store, ["x=1", "y=77"], 2) == ([], True)


def test_where_every_word_is_common_the_candidates_are_not_said_to_be_all(store: Store) -> None:
    some, is_whole = runs(store, ["x=1"], 2)
    assert some == sorted(some, reverse=True)
    assert some
    assert not is_whole
