"""A search as of a time is one of a store into which nothing later came, whatever each question looks at."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from headwater.consumers import sayings
from headwater.consumers.naming import id_text
from headwater.consumers.queries import conditions
from headwater.consumers.searching import Found, search
from headwater.consumers.sieve import MOST, Candidates
from headwater.consumers.store import open_store
from headwater.schemas.openlineage import parse_time
from tests.replay import product

BEFORE, AFTER = "2026-03-01T10:00:00Z", "2026-03-03T10:00:00Z"
AS_OF = parse_time("2026-03-02T00:00:00Z")


def run(
    number: int, at: str, job: str, *outputs: dict[str, Any], kind: str = "COMPLETE", **facets: Any
) -> Any:
    return {
        "eventType": kind,
        "eventTime": at,
        "producer": "https://example.com/tests",
        "run": {"runId": f"00000000-0000-7000-8000-{number:012x}", "facets": facets},
        "job": {"namespace": "crm", "name": job},
        "outputs": list(outputs),
    }


def dataset(name: str, version: str | None = None, **facets: Any) -> dict[str, Any]:
    if version is not None:
        facets["version"] = {"datasetVersion": version}
    return {"namespace": "lake", "name": name, "facets": facets}


def tags(**pairs: str) -> dict[str, Any]:
    """Each by a source of its own: of what one source says the last alone is kept, for all times."""
    return {"tags": [{"key": key, "value": value, "source": value} for key, value in pairs.items()]}


def stated(at: str, name: str, **facets: Any) -> Any:
    return {"eventTime": at, "producer": "https://example.com/tests", "dataset": dataset(name, **facets)}


def columns(name: str) -> dict[str, Any]:
    return {"fields": [{"name": name}]}


def points(key: str, at: str, value: float) -> dict[str, Any]:
    time = parse_time(at)
    return {"points": [{"key": key, "step": time, "time": time, "value": value}]}


def parameters(**values: object) -> dict[str, Any]:
    return {"parameters": [{"key": key, "value": str(value)} for key, value in values.items()]}


def run_id(number: int) -> bytes:
    return UUID(f"00000000-0000-7000-8000-{number:012x}").bytes


def story() -> list[Any]:
    """Of each kind of fact one before, and one after; and what was recalled before, and after."""
    first = run(
        1,
        BEFORE,
        "train",
        dataset("model", "v1", schema=columns("email"), tags=tags(level="one"), headwater_metrics=auc(0.7)),
        dataset("raw", "r1"),
        executionParameters=parameters(depth=8),
        tags=tags(stage="dev"),
    )
    first["job"]["facets"] = {"documentation": {"description": "first words"}, "tags": tags(team="crm")}
    again = run(
        3,
        AFTER,
        "train",
        dataset("model", "v2", schema=columns("phone"), tags=tags(level="two"), headwater_metrics=auc(0.9)),
        executionParameters=parameters(depth=9),
        tags=tags(stage="live"),
    )
    again["job"]["facets"] = {"documentation": {"description": "second words"}, "tags": tags(team="ops")}
    measured: dict[str, Any] = {"headwater_metricPoints": points("loss", BEFORE, 0.5)}
    ending: dict[str, Any] = {"headwater_metricPoints": points("loss", AFTER, 0.1)}
    tagged: dict[str, Any] = {"tags": tags(stage="late")}
    spoken: dict[str, Any] = {"eventTime": AFTER, "producer": "https://example.com/tests", "outputs": []}
    spoken |= {
        "job": {"namespace": "crm", "name": "train", "facets": {"ownership": {"owners": [{"name": "bo"}]}}}
    }
    return [
        first,
        again,
        run(2, BEFORE, "slow", kind="RUNNING", **measured),
        run(2, AFTER, "slow", dataset("slow", "s1", headwater_metrics=auc(0.8)), **ending, **tagged),
        run(4, AFTER, "new", dataset("fresh", "f1"), executionParameters=parameters(depth=7)),
        stated(BEFORE, "model", headwater_tagging={"tags": {"grade": "gold"}}),
        stated(AFTER, "model", headwater_tagging={"tags": {"grade": "silver"}}),
        stated(BEFORE, "model", headwater_recall={"reason": "wrong", "version": "v1"}),
        stated(AFTER, "raw", headwater_recall={"reason": "late", "version": "r1"}),
        spoken,
    ]


def auc(value: float) -> dict[str, Any]:
    return {"values": {"auc": value}}


QUERIES = [
    *("model", "asset:fresh", "raw", "slow", "new", "job:train", "job:new depth>1", "job:train depth>1"),
    *("depth>1", "depth=9", "auc>0.6", "loss<0.2", "loss>0.4", "metric:loss", "column:email", "column:phone"),
    *(
        "level=one",
        "level=two",
        "stage=dev",
        "stage=live",
        "stage=late",
        "team=crm",
        "team=ops",
        "grade=gold",
    ),
    *(
        "grade=silver",
        "tag:gold",
        "description:first",
        "description:second",
        "owner:bo",
        "job:slow",
        "auc>0.6 column:phone",
        "auc>0.6 column:email",
    ),
]


def answers(url: str, events: list[Any], as_of: int | None) -> dict[tuple[Any, ...], tuple[Found, ...]]:
    with open_store(url, create=True) as store:
        product.wipe(store)
        product.apply_all(store, [[orjson.dumps(event) for event in events]])
        with store.snapshot() as connection:
            return {
                (query, type, versions): search(
                    connection, query.split(), type=type, versions=versions, as_of=as_of
                ).results
                for query in QUERIES
                for type in (None, "run")
                for versions in (False, True)
            }


def test_a_search_as_of_a_time_knows_nothing_that_came_later(store_url: str) -> None:
    events = story()
    then = answers(store_url, [event for event in events if parse_time(event["eventTime"]) <= AS_OF], None)
    now = answers(store_url, events, AS_OF)
    for asked, expected in then.items():
        assert now[asked] == expected, asked
    assert {asked[0] for asked, found in then.items() if found}.isdisjoint({"depth=9", "asset:fresh", "new"})
    # What would be found now, was: each of these answers changed since.
    assert any(found != now[asked] for asked, found in answers(store_url, events, None).items())


def test_runs_that_came_later_take_no_place_among_the_candidates(store_url: str) -> None:
    early = run(1, BEFORE, "train", executionParameters=parameters(depth=8, x=1))
    late = [run(number, AFTER, "train", executionParameters=parameters(x=1)) for number in range(2, MOST + 3)]
    late.append(run(MOST + 3, AFTER, "train", executionParameters=parameters(depth=9)))
    with open_store(store_url, create=True) as store:
        product.apply_all(store, [[orjson.dumps(event) for event in (early, *late)]])
        with store.snapshot() as connection:
            asked = conditions(["job:train", "x=1"])
            now = Candidates(connection, asked).runs(with_assets=False)
            then = Candidates(connection, asked, AS_OF).runs(with_assets=False)
            rare = Candidates(connection, conditions(["depth=9"]), AS_OF).runs(with_assets=True)
            found = search(connection, ["job:train", "x=1"], type="run", as_of=AS_OF)
            said = [sayings.runs(connection, [run_id(2)], asked, time) for time in (None, AS_OF)]
    assert [len(one) for one in said] == [1, 0]
    assert not rare.ids
    assert not found.more
    assert [one.id[-2:] for one in found.results if one.id] == ["01"]
    assert not now.is_whole
    assert [id_text(id)[-2:] for id in then.ids] == ["01"]
    assert then.is_whole
