"""Whatever arrives, the consumer takes it or parks it with the reason, and its neighbours go on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from headwater.consumers import quarantine, tables
from headwater.consumers.replaying import verify
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store, open_store
from headwater.schemas import ids
from headwater.schemas.text import original
from tests.replay.product import MemoryLog
from tests.support.logs import run_event

NAMES = {
    "a path out of the folder": "../../etc/passwd",
    "quotes": 'it\'s a "name" with `all` kinds; \\ and $$',
    "sql": "x'); DROP TABLE run; --",
    "right to left": "\u202eevil\u202c \u05d0\u05d1 \u200f",
    "four kilobytes": "n\u00e4me-" * 700,
    "a nul": "before\x00after",
    "the escape itself": "\u241b0 and \u241b",
    "a lone surrogate": "half \ud83d of a pair",
    "white space": " \t\n\r ",
    "copy's own marks": "\\N\t\\.\n",
    "nothing but emoji": "🦆" * 300,
}


def named(name: str, run: int = 1) -> bytes:
    """An event that carries `name` wherever a name can stand."""
    dataset = {
        "namespace": name,
        "name": name,
        "facets": {
            name: {
                "_producer": "https://example.com",
                "_schemaURL": "https://example.com/f.json",
                name: name,
            },
            "version": {"datasetVersion": name},
            "columnLineage": {
                "fields": {name: {"inputFields": [{"namespace": name, "name": name, "field": name}]}}
            },
            "symlinks": {"identifiers": [{"namespace": name, "name": "other", "type": name}]},
            "lifecycleStateChange": {"lifecycleStateChange": name},
        },
    }
    document = json.loads(run_event(run))
    document["job"] = {"namespace": name, "name": name}
    document["run"]["runId"] = name
    document["run"]["facets"] = {
        "headwater_metricPoints": {"points": [{"key": name, "value": 1, "step": 1, "time": 1}]}
    }
    document["inputs"] = document["outputs"] = [dataset]
    return json.dumps(document).encode()


def consume(store: Store, *values: bytes) -> list[quarantine.Parked]:
    source = MemoryLog([run_event(100), *values, run_event(101)])
    Runner(store, source).run()
    with store.connecting() as connection:
        runs = {run for (run,) in connection.execute(select(tables.run.c.run_id))}
    assert {bytes.fromhex(f"000000000000700080000000000000{n:02x}") for n in (100, 101)} <= runs
    assert verify(store, source).equal
    return list(quarantine.parked(store))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_any_name_is_stored_inert_and_comes_back_as_it_was(store_url: str, name: str) -> None:
    with open_store(store_url, create=True) as store:
        assert consume(store, named(name)) == []
        with store.connecting() as connection:
            dataset = connection.execute(
                select(tables.dataset).where(tables.dataset.c.dataset_id == ids.dataset_id(name, name))
            ).one()
            run = connection.execute(select(tables.run).where(tables.run.c.ext_id.is_not(None))).one()
        assert original(dataset.namespace) == original(dataset.name) == original(run.ext_id) == name


def _with_facet(body: str) -> bytes:
    return run_event(7).replace(b'"facets":{}', b"")[:-1] + b', "extra": ' + body.encode() + b"}"


ACCEPTED = {
    "an integer beyond 64 bits": _with_facet(str(2**70)),
    "5,000 digits": _with_facet("9" * 5000),
    "NaN and infinities": _with_facet('{"a": NaN, "b": Infinity, "c": -Infinity}'),
    "keys twice": b'{"job": 1, ' + run_event(8)[1:],
    "a byte order mark": b"\xef\xbb\xbf" + run_event(9),
    "ten megabytes": _with_facet('"' + "x" * (10 << 20) + '"'),
    "a clock a day ahead": run_event(10, at="2026-11-24T23:59:59Z"),
    "a clock in another century": run_event(11, at="0001-01-01T00:00:00Z"),
    "no event type": run_event(12).replace(b'"eventType":"COMPLETE",', b""),
    "a run id that is no uuid": run_event(13).replace(
        b"00000000-0000-7000-8000-00000000000d", b"scheduled__1"
    ),
}


@pytest.mark.parametrize("value", ACCEPTED.values(), ids=ACCEPTED)
def test_what_the_specification_allows_or_its_clients_send_is_accepted(store_url: str, value: bytes) -> None:
    with open_store(store_url, create=True) as store:
        assert consume(store, value) == []


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b" ", "byte"),
    "no JSON": (b'{"eventTime": ', "byte"),
    "an array": (b"[1, 2]", ""),
    "invalid UTF-8": (run_event(20)[:-2] + b"\xff\xfe}", "byte"),
    "10,000 levels": (b"[" * 10_000 + b"]" * 10_000, ""),
    "no run id": (run_event(21).replace(b"runId", b"runID"), "run.runId"),
    "no time": (run_event(22).replace(b"eventTime", b"time"), "eventTime"),
    "the 30th of February": (run_event(23, at="2026-02-30T10:00:00Z"), "eventTime"),
    "inputs that are a text": (run_event(24).replace(b'"inputs":[]', b'"inputs":"lake"'), "inputs"),
    "an output without a name": (run_event(25).replace(b'"name":"out-25"', b'"nom":"out-25"'), "outputs"),
}


@pytest.mark.parametrize(("value", "place"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_an_event_is_parked_with_the_place_the_value_and_the_rule(
    store_url: str, value: bytes, place: str
) -> None:
    with open_store(store_url, create=True) as store:
        (parked,) = consume(store, value)
        assert parked.value == value
        assert parked.offset == 1
        assert parked.path.startswith(place)
        assert parked.found
        assert parked.rule


FACETS: list[Any] = [None, 7, "text", [], [1], {}, {"_deleted": "yes"}, {"a": {"b": [None]}}]


@pytest.mark.parametrize(
    "name", ["parent", "jobType", "lineage", "headwater_emission", "headwater_runClosed"]
)
def test_a_facet_that_is_not_what_its_name_says_never_stops_its_event(sqlite_url: str, name: str) -> None:
    values = []
    for number, body in enumerate(FACETS):
        document = json.loads(run_event(30 + number))
        document["run"]["facets"] = {name: body}
        document["job"]["facets"] = {name: body}
        values.append(json.dumps(document).encode())
    with open_store(sqlite_url) as store:
        assert consume(store, *values) == []


@pytest.mark.parametrize(
    "name", ["version", "symlinks", "columnLineage", "lifecycleStateChange", "headwater_asset", "schema"]
)
def test_a_dataset_facet_that_is_not_what_its_name_says_never_stops_its_event(
    sqlite_url: str, name: str
) -> None:
    fields = ("identifiers", "fields", "dataset", "previousIdentifier", "datasetVersion")
    values = []
    for number, body in enumerate(FACETS):
        item = {"namespace": "lake", "name": "t", "facets": {name: body}}
        deep = {"namespace": "lake", "name": "u", "facets": {name: dict.fromkeys(fields, body)}}
        document = json.loads(run_event(30 + number))
        document["inputs"] = [{**item, "inputFacets": body}, deep]
        document["outputs"] = [{**item, "outputFacets": body}, deep]
        values.append(json.dumps(document).encode())
    with open_store(sqlite_url) as store:
        assert consume(store, *values) == []
