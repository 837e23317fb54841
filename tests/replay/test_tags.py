"""Tags of several producers: each source for itself, whatever the order in which they arrive (R13)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from headwater.consumers import Lineage, tag_registers
from headwater.consumers.answers import AssetDetails
from headwater.consumers.store import Store
from headwater.schemas import ids
from tests.replay import product
from tests.replay.profiles import examples
from tests.replay.reference import reference
from tests.replay.test_databases import check_both
from tests.replay.test_order import check, shuffled, sizes
from tests.replay.test_rules import dataset, event
from tests.replay.universes import tagging_universes

DBT, CATALOG = "https://dbt.example", "https://catalog.example"


def tag(key: str, value: Any, source: str | None = None, field: str | None = None) -> dict[str, Any]:
    told = {"key": key, "value": value, "source": source, "field": field}
    return {name: entry for name, entry in told.items() if entry is not None or name == "value"}


def tagging(minute: int, producer: str, *tags: dict[str, Any], **more: Any) -> bytes:
    """A run of `producer` that writes the dataset `x`, and tags it."""
    facet = more or {"tags": tags}
    return event(minute, "COMPLETE", f"R{minute}", outputs=[dataset("x", tags=facet)], producer=producer)


def standing(store: Store) -> dict[tuple[str, str | None, str], str | None]:
    with store.connecting() as connection:
        found = tag_registers.standing(connection, "dataset", [ids.dataset_id("lake", "x")])
    return {(one.source, one.field, one.key): one.value for one in found}


def in_every_order(store: Store, *values: bytes) -> dict[tuple[str, str | None, str], str | None]:
    """The tags of `x` that stand, which no order of the events changes, nor the reference denies."""
    found = []
    for order in itertools.permutations(values):
        product.wipe(store)
        product.apply_all(store, [[value] for value in order])
        assert product.differences(store, reference(values)) == []
        found.append(standing(store))
    assert all(one == found[0] for one in found)
    return found[0]


@examples(60)
@given(values=tagging_universes, sizes=sizes, data=st.data())
def test_tags_in_any_order_repetition_and_split_give_the_reference(
    sqlite_store: Store, values: list[bytes], sizes: list[int], data: DataObject
) -> None:
    check(sqlite_store, values, product.split(shuffled(data, values), sizes))


@examples(20, shrink=False)
@given(values=tagging_universes, data=st.data())
def test_both_databases_hold_the_same_tags_and_one_digest(
    sqlite_store: Store, postgres_store: Store, values: list[bytes], data: DataObject
) -> None:
    check_both(sqlite_store, postgres_store, values, shuffled(data, values))
    assert _seen(sqlite_store) == _seen(postgres_store)


def _seen(store: Store) -> list[tuple[Any, ...]]:
    """What the views show of producers' tags, as text."""
    with store.connecting() as connection:
        rows = [
            row
            for name, wanted in (
                ("asset_tags", "name, tag, value, source, field"),
                ("job_tags", "name, tag, value, source"),
                ("run_tags", "job_name, tag, value, source"),
            )
            for row in connection.exec_driver_sql(f"SELECT {wanted} FROM {name} WHERE source IS NOT NULL")
        ]
    return sorted((tuple(row) for row in rows), key=repr)


def test_a_run_of_dbt_leaves_a_stewards_tags_alone(store: Store) -> None:
    by_dbt = tagging(0, DBT, tag("pii", "true", "dbt"))
    steward = tagging(1, CATALOG, tag("owner", "ann", "steward"))
    again = tagging(2, DBT, tag("tier", "1", "dbt"))
    assert in_every_order(store, by_dbt, steward, again) == {
        ("dbt", None, "tier"): "1",
        ("steward", None, "owner"): "ann",
    }


def test_a_facet_replaces_only_the_sources_and_fields_that_it_names(store: Store) -> None:
    first = tagging(0, DBT, tag("a", "1"), tag("b", "1", "dbt"), tag("c", "1", "dbt", "id"), tag("d", None))
    second = tagging(1, DBT, tag("e", "2", "dbt"))
    nothing = tagging(2, DBT)
    assert in_every_order(store, first, second, nothing) == {
        ("", None, "a"): "1",
        ("", None, "d"): None,
        ("dbt", "id", "c"): "1",
        ("dbt", None, "e"): "2",
    }


def test_a_deletion_takes_back_what_the_same_producer_said_before_and_nothing_else(store: Store) -> None:
    values = (
        tagging(0, DBT, tag("a", "1", "dbt"), tag("b", "1", "shared")),
        tagging(1, CATALOG, tag("c", "1", "shared")),
        tagging(2, DBT, _deleted=True),
    )
    assert in_every_order(store, *values) == {("shared", None, "c"): "1"}
    assert in_every_order(store, *values, tagging(3, DBT, tag("d", "1", "dbt"))) == {
        ("dbt", None, "d"): "1",
        ("shared", None, "c"): "1",
    }


def test_jobs_and_runs_are_tagged_as_datasets_are(store: Store) -> None:
    facets = {"tags": {"tags": [tag("tier", "1", "dbt")]}}
    values = [
        event(0, "START", "1", run_facets={"tags": {"tags": [tag("env", "test", "ci")]}}, job_facets=facets),
        event(1, "COMPLETE", "2", run_facets={"tags": {"tags": [tag("env", "prod", "ci")]}}),
    ]
    product.wipe(store)
    product.apply_all(store, [values])
    with store.connecting() as connection:
        jobs = connection.exec_driver_sql("SELECT name, tag, value, source FROM job_tags").all()
        runs = connection.exec_driver_sql("SELECT tag, value FROM run_tags ORDER BY value").all()
    assert [tuple(row) for row in jobs] == [("P", "tier", "1", "dbt")]
    assert [tuple(row) for row in runs] == [("env", "prod"), ("env", "test")]


def shown(store: Store, *values: Sequence[bytes]) -> dict[str, str]:
    product.wipe(store)
    product.apply_all(store, values)
    with Lineage(store) as lineage:
        found = lineage.show("x")
        assert isinstance(found, AssetDetails)
        return dict(found.tags)


def test_show_puts_other_sources_over_the_creation_and_a_curator_over_all(store: Store) -> None:
    made = tagging(0, DBT, tag("team", "crm", "dbt"), tag("tier", "3", "dbt"))
    told = tagging(1, CATALOG, tag("tier", "2", "steward"), tag("owner", "ann", "steward"))
    # The catalog's run did not write x: it is an input there.
    read = orjson.loads(told)
    read["inputs"] = read.pop("outputs")
    governed = {
        "eventTime": "2024-03-01T10:30:00Z",
        "dataset": dataset("x", headwater_tagging={"tags": {"tier": "1"}, "actor": "eve"}),
    }
    values = [made, orjson.dumps(read)]
    assert shown(store, values) == {"team": "crm", "tier": "2", "owner": "ann"}
    assert shown(store, [*values, orjson.dumps(governed)]) == {"team": "crm", "tier": "1", "owner": "ann"}
