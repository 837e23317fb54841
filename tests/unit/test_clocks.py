"""Emitters whose clocks are a day off: "as of" goes by what they say, "known at" by when it was appended.

What the events say of the time is all that the fold has (rules R20, R27): a wrong clock binds what it
binds, the same whichever way the events came, and asked as known at a time it is the log that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import permutations
from typing import Any, TypeAlias

import orjson
import pytest

from headwater.consumers import Lineage, tables
from headwater.consumers.answers import AssetDetails, Unknown
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store, open_store
from headwater.schemas.openlineage import parse_time
from tests.replay import product
from tests.support.timed_log import TimedLog

Told: TypeAlias = tuple[str, int, str, list[str], list[tuple[str, str]]]

# Three machines: one a day ahead, one a day behind, one right. Each line: what it did, the event's time
# by its own clock, and when the log got it.
AHEAD: Told = ("01T12:00", 1, "load", [], [("table", "ahead")])
BEHIND: Told = ("02T12:00", 2, "load", [], [("table", "behind")])
EARLY: Told = ("01T18:00", 3, "train", ["table"], [("model", "early")])
LATE: Told = ("02T18:00", 4, "train", ["table"], [("model", "late")])
#: Read after everything had been written, by a clock on which nothing had.
LOST: Told = ("02T20:00", 5, "report", ["table"], [("page", "lost")])
CLOCKS = {1: "02T12:00", 2: "01T12:00", 3: "01T18:00", 4: "02T18:00", 5: "01T11:00"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-{text}:00+00:00").astimezone(UTC)


def event(told: Told) -> tuple[bytes, int]:
    """(the event by its machine's clock, when it was appended in µs)."""
    appended, number, job, inputs, outputs = told
    document: dict[str, Any] = {
        "eventType": "COMPLETE",
        "eventTime": f"2026-03-{CLOCKS[number]}:00Z",
        "producer": "https://example.com/tests",
        "run": {"runId": f"00000000-0000-7000-8000-{number:012x}"},
        "job": {"namespace": "crm", "name": job},
        "inputs": [{"namespace": "lake", "name": name} for name in inputs],
        "outputs": [
            {"namespace": "lake", "name": name, "facets": {"version": {"datasetVersion": version}}}
            for name, version in outputs
        ],
    }
    return orjson.dumps(document), parse_time(f"2026-03-{appended}:00Z")


STORY = [AHEAD, BEHIND, EARLY, LATE, LOST]


def filled(store: Store, order: Sequence[Told]) -> TimedLog:
    product.wipe(store)
    log = TimedLog([event(told) for told in order])
    with store.writing() as connection:
        connection.execute(tables.projection.delete())
    Runner(store, log).run()
    return log


def current(lineage: Lineage, as_of: str | None) -> str | None:
    """The version of the table that one reads."""
    try:
        shown = lineage.show("table", as_of=None if as_of is None else at(as_of))
    except Unknown:
        return None
    assert isinstance(shown, AssetDetails)
    return None if shown.production is None else shown.production.version


def read(lineage: Lineage, model: str, as_of: str | None = None) -> str | None:
    """What version of the table went into it, by its name alone; None: of unknown origin, "" not there."""
    try:
        graph = lineage.upstream(model, as_of=None if as_of is None else at(as_of))
    except Unknown:
        return ""
    (source,) = [node for node in graph.nodes if node.depth == 1]
    assert (source.name, graph.edges[0].inferred) == ("table", True)
    return source.version


@pytest.mark.parametrize("order", list(permutations(STORY))[::17], ids=str)
def test_as_of_goes_by_the_clocks_whatever_the_order_of_arrival(
    sqlite_url: str, order: Sequence[Told]
) -> None:
    with open_store(sqlite_url, create=True) as store:
        filled(store, order)
        by_the_clocks(Lineage(store))


def test_as_of_goes_by_the_clocks(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        for order in (STORY, STORY[::-1]):
            filled(store, order)
            by_the_clocks(Lineage(store))


def by_the_clocks(lineage: Lineage) -> None:
    # The machine that is behind wrote last, and what it wrote is the older of the two.
    assert [
        current(lineage, day) for day in ("01T10:59", "01T11:30", "01T12:00", "02T11:59", "02T12:00", None)
    ] == [*(None, None, "behind", "behind", "ahead", "ahead")]
    # It had been written a day later, in truth, than it was read.
    assert [read(lineage, name) for name in ("model@early", "model@late", "page")] == [
        "behind",
        "ahead",
        None,
    ]
    # Before the one that is ahead wrote, the late model is not there, and the early one is the same.
    assert [read(lineage, name, "02T11:59") for name in ("model@early", "model@late")] == ["behind", ""]
    assert read(lineage, "page", "01T11:00") is None
    assert read(lineage, "page", "01T10:59") == ""


def test_known_at_goes_by_the_log_and_as_of_by_the_clocks_of_what_was_known(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        log = filled(store, [LOST, EARLY, BEHIND, LATE, AHEAD])
        with Lineage(store) as live:
            with live.known_at(at("01T12:00"), log=log) as then:
                # Known, and by its own clock not yet there.
                assert [current(then, day) for day in ("01T12:00", "02T11:59", "02T12:00")] == [
                    None,
                    None,
                    "ahead",
                ]
            with live.known_at(at("01T23:00"), log=log) as then:
                assert read(then, "model@early") is None
                assert read(then, "model@late") == read(then, "page") == ""
            with live.known_at(at("02T12:00"), log=log) as then:
                # The news of the machine that is behind: what was read before it had come is bound anew.
                assert read(then, "model@early") == "behind"
                assert current(then, "01T12:00") == "behind"
                assert current(then, None) == "ahead"
            with live.known_at(at("02T19:59"), log=log) as then:
                assert (read(then, "model@late"), read(then, "page")) == ("ahead", "")
            with live.known_at(at("02T20:00"), log=log) as then:
                by_the_clocks(then)
