"""Two ways in which order once mattered: they must not come back."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest

from headwater.consumers.digest import digest
from headwater.consumers.store import Store
from tests.replay import product
from tests.replay.reference import reference

RUN = "01890000-0000-7000-8000-00000000000a"


def dataset(name: str, **facets: Any) -> dict[str, Any]:
    return {"namespace": "lake", "name": name, "facets": facets}


def event(minute: int, kind: str, **more: Any) -> bytes:
    run = {"eventTime": f"2024-03-01T10:{minute:02d}:00Z", "eventType": kind, "run": {"runId": RUN}}
    return orjson.dumps({**run, "job": {"namespace": "crm", "name": "P"}, **more})


def stated(target: str, source: str) -> dict[str, Any]:
    entry = {"namespace": "lake", "name": target, "type": "DATASET"}
    inputs = [{"namespace": "lake", "name": source, "type": "DATASET"}]
    facets = {"lineage": {"entries": [{**entry, "inputs": inputs}]}}
    return {"job": {"namespace": "crm", "name": "P", "facets": facets}}


def digests(store: Store, values: list[bytes]) -> set[str]:
    """The digests that all orders of `values` lead to, in one batch and in a batch each."""
    found = set()
    for order in itertools.permutations(values):
        for batches in ([list(order)], [[value] for value in order], [list(order[:2]), list(order[2:])]):
            product.wipe(store)
            product.apply_all(store, [batch for batch in batches if batch])
            assert product.differences(store, reference(values)) == []
            found.add(digest(store).root)
    return found


def test_edge_sets_of_half_a_run_do_not_stay_behind(store: Store) -> None:
    """Content-addressed rows come from events alone: what a fold once stood for is replaced with it."""
    values = [
        event(0, "START", inputs=[dataset("a"), dataset("b")], outputs=[dataset("c"), dataset("d")]),
        event(1, "RUNNING", **stated("c", "a")),
        event(2, "RUNNING", **stated("d", "b")),
    ]
    assert len(digests(store, values)) == 1
    assert product.contents(store)["edge_map"].total() == 0
    assert product.contents(store)["run_edge"].total() == 2


@pytest.mark.parametrize("version", [None, "v1"])
def test_a_real_output_keeps_its_place_beside_the_tombstone_of_a_rename(
    store: Store, version: str | None
) -> None:
    """Both had one key, and which of them came first in a set decided the rows' hash."""
    facets = {} if version is None else {"version": {"datasetVersion": version}}
    change = {"lifecycleStateChange": "RENAME", "previousIdentifier": {"namespace": "lake", "name": "old"}}
    values = [
        event(0, "RUNNING", outputs=[dataset("new", lifecycleStateChange=change)]),
        event(1, "RUNNING", outputs=[dataset("old", **facets)]),
        event(2, "COMPLETE"),
    ]
    assert len(digests(store, values)) == 1
    outputs = reference(values).named("run_output")
    assert sorted(str(output["lifecycle"]) for output in outputs) == ["None", "RENAME"]
