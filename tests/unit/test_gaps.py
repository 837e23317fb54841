"""What is missing is found, counted and told apart, on rows written by hand and against a plain oracle."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from headwater.consumers import Lineage, tables
from headwater.consumers.answers import Unknown
from headwater.consumers.gaps import HOUR_US, KINDS, Asked, Gaps, gaps
from headwater.consumers.store import open_store
from headwater.schemas import ids
from tests.replay import product
from tests.support.graphs import Graph
from tests.support.logs import EMITTER, chain, run_event
from tests.support.postgres import Server

HOUR = HOUR_US
NOW = 100 * HOUR


def asked(connection: Connection, graph: Graph, **values: Any) -> Gaps:
    graph.insert(connection)
    return gaps(connection, Asked(**({"now": NOW} | values)))


def subjects(found: Gaps, kind: str) -> list[str]:
    return [lack.subject for lack in found.lacks if lack.kind == kind]


OPEN: dict[str, Any] = {"state": 1, "ended_at": None}


def test_a_run_that_did_not_end_is_missing_its_end_once_it_is_old_enough(connection: Connection) -> None:
    graph = Graph()
    graph.run("old", job="load", at=HOUR, last_at=2 * HOUR, **OPEN)
    graph.run("new", job="load", at=HOUR, last_at=NOW - HOUR + 1, **OPEN)
    graph.run("stream", job="load", at=HOUR, last_at=2 * HOUR, streaming=True, **OPEN)
    graph.run("ended", job="load", at=HOUR)
    found = asked(connection, graph)
    assert subjects(found, "unended") == ["old"]
    (lack,) = found.lacks
    assert lack.job is not None
    assert (lack.job.name, lack.project, found.complete) == ("load", "ns", False)


def test_as_of_a_time_a_run_that_ended_later_had_not_ended(connection: Connection) -> None:
    graph = Graph()
    graph.run("long", at=HOUR, ended_at=50 * HOUR, last_at=50 * HOUR)
    graph.run("later", at=60 * HOUR, last_at=60 * HOUR, **OPEN)
    found = asked(connection, graph, now=40 * HOUR, as_of=40 * HOUR)
    assert subjects(found, "unended") == ["long"]


def test_a_run_that_never_said_that_it_began_is_told(connection: Connection) -> None:
    graph = Graph()
    graph.run("only the end", at=HOUR, started_at=None)
    graph.run("a job's own statement", at=HOUR, started_at=None, kind=1)
    assert subjects(asked(connection, graph), "unstarted") == ["only the end"]


def test_versions_and_copies_that_nobody_wrote_are_told_and_counted_by_project(
    connection: Connection,
) -> None:
    graph = Graph()
    writer = graph.run("w", job="make", at=HOUR)
    made = graph.output(writer, "a", "v1", at=HOUR)
    for name in ("r1", "r2"):
        reader = graph.run(name, job="read", at=2 * HOUR)
        graph.input(reader, "a", "v1", at=2 * HOUR)
        graph.input(reader, "a", "v1", at=2 * HOUR, production=made)
        graph.input(reader, "a", "v2", at=3 * HOUR)
        graph.input(reader, "b", "v1", at=3 * HOUR, production=ids.hash128("x", "nobody's"))
    found = asked(connection, graph)
    version, copy = sorted(subjects(found, "unproduced"))
    assert (version, copy.partition(" ")[0]) == ("ns/a@v2", "ns/b@v1")
    assert [lack.count for lack in found.lacks] == [2, 2]
    assert found.totals == {"ns": {"unproduced": 2}}


def test_the_same_content_under_another_name_of_the_asset_was_written(connection: Connection) -> None:
    graph = Graph()
    graph.output(graph.run("w", at=HOUR), "hive", "v1", at=HOUR)
    graph.input(graph.run("r", at=2 * HOUR), "s3", "v1", at=2 * HOUR)
    graph.alias("hive", "s3")
    assert asked(connection, graph).complete


def test_what_was_published_later_had_not_been_written_as_of_a_time(connection: Connection) -> None:
    graph = Graph()
    graph.input(graph.run("r", at=2 * HOUR), "a", "v1", at=2 * HOUR)
    graph.output(graph.run("w", at=50 * HOUR), "a", "v1", at=50 * HOUR)
    graph.insert(connection)
    assert gaps(connection, Asked(now=NOW)).complete
    then = gaps(connection, Asked(now=40 * HOUR, as_of=40 * HOUR))
    assert subjects(then, "unproduced") == ["ns/a@v1"]


def test_an_unknown_origin_is_no_failure_unless_one_is_strict(connection: Connection) -> None:
    graph = Graph()
    graph.input(graph.run("r", at=2 * HOUR), "outside", at=2 * HOUR)
    found = asked(connection, graph)
    assert (subjects(found, "unknown-origin"), found.complete) == (["ns/outside"], True)
    assert not gaps(connection, Asked(now=NOW, strict=True)).complete


def test_of_each_kind_a_few_are_listed_and_all_are_counted(connection: Connection) -> None:
    graph = Graph()
    for number in range(7):
        graph.run(f"r{number}", job="load", at=number * HOUR, last_at=number * HOUR, **OPEN)
    found = asked(connection, graph, limit=3)
    assert subjects(found, "unended") == ["r0", "r1", "r2"]
    assert found.count("unended") == 7
    assert asked_again(connection, since=5 * HOUR).count("unended") == 2
    row = {"job_id": ids.job_id("another", "idle"), "namespace": "another", "name": "idle"}
    connection.execute(tables.job.insert(), [row])
    assert asked_again(connection, project="another").complete
    with pytest.raises(Unknown, match="no project"):
        asked_again(connection, project="anothr")


def asked_again(connection: Connection, **values: Any) -> Gaps:
    return gaps(connection, Asked(**({"now": NOW} | values)))


# -- emitters, from events ---------------------------------------------------------------


def of_events(url: str, values: list[bytes], **asked: Any) -> Gaps:
    with open_store(url, create=True) as store:
        product.apply_all(store, [values])
        with Lineage(store) as lineage:
            return lineage.gaps(**asked)


def told(found: Gaps) -> dict[str, list[tuple[int, int]]]:
    return {lack.kind: [(gap.first, gap.last) for gap in lack.numbers] for lack in found.lacks}


def test_an_emitter_is_told_with_its_project_and_what_is_wrong(store_url: str) -> None:
    values = [value for number, value in enumerate(chain(9, closed=False)) if number not in (2, 3, 6)]
    found = of_events(store_url, values)
    assert told(found) == {"missing": [(2, 3), (6, 6)], "unclosed": [(9, 9)]} | {
        kind: [] for kind in told(found) if kind not in ("missing", "unclosed")
    }
    missing = next(lack for lack in found.lacks if lack.kind == "missing")
    assert (missing.subject, missing.project, missing.count) == (EMITTER.format(1), "tests", 3)


def test_an_emitter_that_was_heard_of_lately_may_still_close(store_url: str) -> None:
    now = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
    found = of_events(store_url, chain(3, closed=False), now=now, older_than=timedelta(hours=1))
    assert found.count("unclosed") == 0


def test_a_run_with_fewer_events_than_its_emitter_counted_is_told(store_url: str) -> None:
    values = chain(4)
    last = orjson.loads(values[-1])
    run = orjson.loads(values[0])["run"]["runId"]
    last["run"]["runId"] = run
    last["run"]["facets"]["headwater_runClosed"] = {
        "emitterId": EMITTER.format(1),
        "events": 3,
        "lastSequence": 0,
    }
    found = of_events(store_url, [*values[:-1], orjson.dumps(last)])
    (lack,) = (lack for lack in found.lacks if lack.kind == "miscounted")
    assert (lack.subject, lack.count) == (run, 2)


STATES = {0: "OTHER", 1: "START", 2: "RUNNING", 3: "COMPLETE"}


_told = given(
    told=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["START", "COMPLETE", "RUNNING"]),
            st.integers(0, 9),
            st.sampled_from([None, "v1", "v2"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=10,
    ),
    order=st.randoms(use_true_random=False),
)


@settings(max_examples=40, deadline=None)
@_told
def test_what_is_missing_is_what_the_events_lack(
    told: list[tuple[int, str, int, str | None, bool]], order: Any
) -> None:
    check_missing("sqlite://", told, order)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@_told
def test_on_postgresql_what_is_missing_is_what_the_events_lack(
    postgres_server: Server, told: list[tuple[int, str, int, str | None, bool]], order: Any
) -> None:
    with postgres_server.fresh() as url:
        check_missing(url, told, order)


def check_missing(url: str, told: list[tuple[int, str, int, str | None, bool]], order: Any) -> None:
    """Runs without end or start, and versions read that nobody wrote: straight from the events."""
    values, ends, starts, runs = [], set(), set(), set()
    read, wrote = Counter[str](), set()
    for run, kind, minute, version, is_input in told:
        facets = {"version": {"datasetVersion": version}} if version else {}
        item = {"namespace": "lake", "name": "x", "facets": facets}
        side = {"inputs": [item], "outputs": []} if is_input else {"outputs": [item]}
        document = orjson.loads(run_event(run, kind, at=f"2026-03-01T10:0{minute}:00Z"))
        values.append(orjson.dumps(document | {"inputs": []} | side))
        runs.add(run)
        starts |= {run} if kind == "START" else set()
        ends |= {run} if kind == "COMPLETE" else set()
        if version and is_input:
            read[version] += 1
        if version and not is_input and kind != "START":
            wrote.add(version)
    order.shuffle(values)
    found = of_events(url, [*values, *values[:2]])
    names = {run: f"00000000-0000-7000-8000-{run:012x}" for run in runs}
    assert set(subjects(found, "unended")) == {names[run] for run in runs - ends}
    assert set(subjects(found, "unstarted")) == {names[run] for run in runs - starts}
    assert set(subjects(found, "unproduced")) == {f"lake/x@{version}" for version in set(read) - wrote}


def test_every_kind_has_its_words_on_the_command_line(tmp_path: Path) -> None:
    from headwater.consumers.cli import lacks

    assert set(lacks._TITLES) == set(lacks._HEADERS) == set(KINDS)


def test_what_is_left_out_for_being_new_is_counted_and_old_or_certain_things_are_not(
    connection: Connection,
) -> None:
    graph = Graph()
    graph.run("old", job="load", at=HOUR, last_at=2 * HOUR, **OPEN)
    graph.run("killed just now", job="load", at=NOW - 2, last_at=NOW - 1, **OPEN)
    graph.run("only an end, just now", job="load", at=NOW - 2, last_at=NOW - 1, started_at=None)
    graph.run("of another project", job="theirs", at=NOW - 2, last_at=NOW - 1, **OPEN)
    (theirs,) = (row for row in graph.rows["job"].values() if row["name"] == "theirs")
    theirs["namespace"] = "other"
    found = asked(connection, graph)
    assert (found.left_out, found.older_than, len(found.lacks)) == (3, 3600.0, 1)
    assert gaps(connection, Asked(now=NOW, project="other")).left_out == 1
    assert gaps(connection, Asked(now=NOW, project="other")).complete
    all_of_it = gaps(connection, Asked(now=NOW, older_than=0))
    assert (all_of_it.left_out, len(all_of_it.lacks)) == (0, 4)


def test_an_attempt_to_make_a_version_again_never_says_that_it_begins(connection: Connection) -> None:
    graph = Graph()
    graph.run("again", job="ns/a", at=HOUR, started_at=None)
    (attempts,) = graph.rows["job"].values()
    attempts["namespace"] = "headwater.reproduction"
    assert asked(connection, graph).complete


def test_of_clocks_a_day_ahead_what_was_said_is_new_and_of_clocks_a_day_behind_old(
    connection: Connection,
) -> None:
    graph = Graph()
    graph.run("ahead", job="load", at=NOW + 24 * HOUR, last_at=NOW + 24 * HOUR, **OPEN)
    graph.run("behind", job="load", at=NOW - 24 * HOUR, last_at=NOW - 24 * HOUR, **OPEN)
    found = asked(connection, graph, older_than=0)
    assert (subjects(found, "unended"), found.left_out) == (["behind"], 1)
    then = gaps(connection, Asked(now=NOW, as_of=NOW, older_than=0))
    assert (subjects(then, "unended"), then.left_out) == (["behind"], 0)
