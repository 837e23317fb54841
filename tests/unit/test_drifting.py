"""Drift, held against a slow and plain oracle over generated histories, on both databases."""

from __future__ import annotations

import random
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event

from headwater.consumers import Lineage, unstable_steps
from headwater.consumers.drifting import Drift, drift
from headwater.consumers.log import open_log
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store, open_store
from tests.support.logs import write_segment
from tests.support.pipelines import CUSTOMERS, consumed, perform, project

BEGUN = 1_700_000_000


@dataclass(frozen=True)
class Told:
    """One run of a generated history; small domains, so that much of it coincides."""

    number: int
    at: int
    job: str
    source: str
    depth: int
    reads: tuple[tuple[str, str], ...]
    wrote: str
    content: str
    location: str | None
    state: str = "COMPLETE"

    def events(self) -> Iterator[bytes]:
        """As START and the end, each with all that the run says."""
        for offset, kind in ((0, "START"), (1, self.state)):
            yield orjson.dumps(self._event(kind, offset))

    def _event(self, kind: str, offset: int) -> dict[str, Any]:
        version = {"_producer": "x", "_schemaURL": "x"}
        code = {**version, "function": f"steps:{self.job}", "sourceDigest": self.source}
        parameters = {**version, "parameters": [{"key": "depth", "value": str(self.depth)}]}
        output: dict[str, Any] = {
            "version": {**version, "datasetVersion": self.content},
            **({"dataSource": {**version, "name": "file", "uri": self.location}} if self.location else {}),
        }
        return {
            "eventType": kind,
            "eventTime": datetime.fromtimestamp(BEGUN + self.at * 10 + offset, UTC).isoformat(),
            "producer": "https://example.com/tests",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {
                "runId": f"00000000-0000-7000-8000-{self.number:012x}",
                "facets": {"headwater_code": code, "executionParameters": parameters},
            },
            "job": {"namespace": "crm", "name": self.job},
            "inputs": [
                {"namespace": "lake", "name": name, "facets": {"version": {**version, "datasetVersion": v}}}
                for name, v in self.reads
            ],
            "outputs": [{"namespace": "lake", "name": self.wrote, "facets": output}]
            if kind != "START"
            else [],
        }


def digest(letter: str) -> str:
    return f"table1:{letter * 64}"


_CONTENTS = st.sampled_from([*[digest("a"), digest("b")] * 3, "opaque1:" + "c" * 64, "snapshot-7"])
_READS = st.lists(
    st.tuples(st.sampled_from(["raw", "table"]), st.sampled_from([digest("d"), digest("e")])), max_size=1
).map(tuple)


@st.composite
def histories(draw: st.DrawFn) -> list[Told]:
    count = draw(st.integers(1, 12))
    return [
        Told(
            number=number,
            at=draw(st.integers(0, 20)) * 10 + number,
            job=draw(st.sampled_from(["clean", "clean", "load"])),
            source=draw(st.sampled_from([*["11" * 32] * 3, "22" * 32])),
            depth=draw(st.sampled_from([1, 1, 1, 2])),
            reads=draw(_READS),
            wrote=draw(st.sampled_from(["table", "model"])),
            content=draw(_CONTENTS),
            location=draw(st.sampled_from([None, "file:///data/x.csv"])),
            state=draw(st.sampled_from(["COMPLETE", "COMPLETE", "COMPLETE", "FAIL"])),
        )
        for number in range(count)
    ]


# -- the oracle: every pair, straight from the rules -----------------------------------------


def unstable_by_oracle(runs: Sequence[Told]) -> set[tuple[Any, ...]]:
    """(job, source, depth, reads, asset) → the contents, of the keys with more than one."""
    found: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for run in runs:
        if run.state == "COMPLETE" and run.content.startswith("table1:"):
            found[run.job, run.source, run.depth, run.reads, run.wrote].add(run.content)
    return {(*key, tuple(sorted(contents))) for key, contents in found.items() if len(contents) > 1}


def changed_by_oracle(runs: Sequence[Told]) -> set[tuple[Any, ...]]:
    """(name, location or None, how often it became another version), also where a step tells of it."""
    return {(name, location, changes(seen)) for name, location, seen in _sightings(runs) if changes(seen)}


def overwritten_by_oracle(runs: Sequence[Told]) -> set[tuple[str, str]]:
    """(name, location) of what an unstable step tells: it wrote every one of the versions."""
    told_by_steps = [(key[4], set(key[5])) for key in unstable_by_oracle(runs)]
    return {
        (name, location)
        for name, location, seen in _sightings(runs)
        if location is not None
        and changes(seen)
        and any(asset == name and set(seen) <= contents for asset, contents in told_by_steps)
    }


def _sightings(runs: Sequence[Told]) -> Iterator[tuple[str, str | None, list[str]]]:
    """(name, location or None, the versions in the order in which they were seen)."""
    read = {name for run in runs for name, _ in run.reads}
    produced = {run.wrote for run in runs}
    for name in sorted(produced & read):
        for location in {run.location for run in runs if run.wrote == name and run.location}:
            own = [r for r in runs if r.wrote == name and r.location == location]
            seen = [
                r.content for r in sorted(own, key=lambda r: r.at) if not r.content.startswith("opaque1:")
            ]
            yield name, location, seen
    for name in sorted(read - produced):
        sightings = sorted((run.at, v) for run in runs for n, v in run.reads if n == name)
        yield name, None, [version for _, version in sightings]


def changes(seen: Sequence[str]) -> int:
    return sum(one != other for one, other in pairwise(seen))


def unstable_found(found: Drift) -> set[tuple[Any, ...]]:
    return {
        (
            step.job.name,
            step.source_digest,
            step.parameters["depth"],
            tuple(tuple(read.removeprefix("lake/").rsplit("@", 1)) for read in step.inputs),
            step.name,
            tuple(sorted(content.version for content in step.contents)),
        )
        for step in found.steps
    }


def changed_found(found: Drift) -> set[tuple[Any, ...]]:
    return {(changed.name, changed.location, changed.count) for changed in found.inputs}


def consume(store: Store, values: Sequence[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_segment(Path(folder), values)
        Runner(store, open_log(folder)).run()


def asked(url: str, values: Sequence[bytes], **wanted: Any) -> Drift:
    with open_store(url, create=True) as store:
        consume(store, values)
        with store.snapshot() as connection:
            return drift(connection, **wanted)


def told(runs: Sequence[Told], order: random.Random) -> list[bytes]:
    """The events of a history as they may arrive: shuffled, some twice."""
    values = [value for run in runs for value in run.events()]
    values += order.sample(values, len(values) // 3)
    order.shuffle(values)
    return values


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs=histories(), order=st.randoms(use_true_random=False))
def test_it_finds_what_the_rules_say_in_any_order_of_events(runs: list[Told], order: random.Random) -> None:
    found = asked("sqlite://", told(runs, order))
    compare(found, runs)


def compare(found: Drift, runs: Sequence[Told]) -> None:
    """Every finding is there once: what a step tells as overwritten is no changed input."""
    assert unstable_found(found) == unstable_by_oracle(runs)
    overwritten = overwritten_by_oracle(runs)
    assert {(step.name, place) for step in found.steps for place in step.overwritten} == overwritten
    assert changed_found(found) == {one for one in changed_by_oracle(runs) if one[:2] not in overwritten}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(runs=histories(), minute=st.integers(0, 2_200), order=st.randoms(use_true_random=False))
def test_as_of_a_time_it_is_the_drift_of_what_had_been_said_by_then(
    runs: list[Told], minute: int, order: random.Random
) -> None:
    until = BEGUN + minute
    by_then = [
        value
        for value in told(runs, order)
        if datetime.fromisoformat(orjson.loads(value)["eventTime"]).timestamp() <= until
    ]
    found = asked("sqlite://", told(runs, order), as_of=until * 1_000_000)
    assert replace(found, as_of=None) == asked("sqlite://", by_then)


def test_both_databases_say_the_same(store_urls: dict[str, str]) -> None:
    order = random.Random(7)
    runs = [
        Told(
            number=number,
            at=number,
            job=order.choice(["load", "clean"]),
            source="11" * 32,
            depth=order.choice([1, 2]),
            reads=order.choice(
                [(), (("raw", digest("d")),), (("raw", digest("e")),), (("table", digest("a")),)]
            ),
            wrote=order.choice(["table", "model"]),
            content=order.choice([digest("a"), digest("b"), digest("c")]),
            location=order.choice([None, "file:///data/x.csv", "file:///data/y.csv"]),
        )
        for number in range(120)
    ]
    answers = [asked(url, told(runs, order)) for url in store_urls.values()]
    assert answers[0] == answers[1]
    compare(answers[0], runs)
    assert answers[0].found
    until = (BEGUN + 600) * 1_000_000
    earlier = [asked(url, [], as_of=until) for url in store_urls.values()]
    assert earlier[0] == earlier[1] != answers[0]
    compare(earlier[0], [run for run in runs if run.at * 10 + 1 <= 600])


def test_jobs_are_compared_apart_when_many_runs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        run(number, job=f"job{number % 5}", content=digest("ab"[number % 3 == 0])) for number in range(60)
    ]
    whole = asked("sqlite://", told(runs, random.Random(1)))
    monkeypatch.setattr(unstable_steps, "RUNS_AT_ONCE", 1)
    assert asked("sqlite://", told(runs, random.Random(2))) == whole
    assert len(whole.steps) == 5


def run(number: int, **said: Any) -> Told:
    facts: dict[str, Any] = {
        "at": number,
        "job": "clean",
        "source": "11" * 32,
        "depth": 1,
        "reads": (),
        "wrote": "table",
        "content": digest("a"),
        "location": None,
    }
    return Told(number=number, **(facts | said))


# -- what counts and what does not ------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"source": "22" * 32},
        {"depth": 2},
        {"job": "load"},
        {"reads": (("raw", digest("d")),)},
        {"content": "opaque1:" + "c" * 64},
        {"content": "snapshot-8"},
        {"state": "FAIL"},
        {"content": digest("a")},
    ],
    ids=str,
)
def test_a_run_that_differs_in_what_it_was_given_or_said_nothing_of_content_is_no_drift(
    other: dict[str, Any],
) -> None:
    runs = [run(1), run(2, **{"content": digest("b"), **other})]
    assert not asked("sqlite://", told(runs, random.Random(0))).steps


def test_runs_that_cannot_be_judged_are_counted() -> None:
    runs = [run(1, content="snapshot-8"), run(2)]
    values = told(runs, random.Random(0))
    unversioned = orjson.loads(values[0])
    unversioned["run"]["runId"] = "00000000-0000-7000-8000-0000000000ff"
    unversioned["eventType"] = "COMPLETE"
    unversioned["inputs"] = [{"namespace": "lake", "name": "raw"}]
    unversioned["outputs"] = orjson.loads(next(v for v in values if b'"outputs":[{' in v))["outputs"]
    unversioned["outputs"][0]["facets"]["version"]["datasetVersion"] = digest("b")
    nameless = {**unversioned, "run": {"runId": "00000000-0000-7000-8000-0000000000fe"}, "inputs": []}
    found = asked("sqlite://", [*values, orjson.dumps(unversioned), orjson.dumps(nameless)])
    assert found.left_out == {
        "named no code": 1,
        "read something without a version": 1,
        "wrote no content that has a digest": 1,
    }
    assert not found.found


def test_since_keeps_what_later_runs_showed() -> None:
    runs = [run(1), run(2, content=digest("b")), run(50, job="load", wrote="model"), run(60, job="load")]
    values = told(runs, random.Random(0))
    everything = asked("sqlite://", values)
    later = asked("sqlite://", values, since=(BEGUN + 20) * 1_000_000)
    after = asked("sqlite://", values, since=(BEGUN + 21) * 1_000_000)
    assert len(everything.steps) == len(later.steps) == 1
    assert not after.steps


def test_a_later_run_is_compared_with_all_before_it() -> None:
    runs = [run(1), run(90, content=digest("b"))]
    found = asked("sqlite://", told(runs, random.Random(0)), since=(BEGUN + 800) * 1_000_000)
    assert len(found.steps) == 1


def test_a_name_asks_for_what_it_was_made_of_alone(store_url: str) -> None:
    runs = [
        run(1, job="load", wrote="table", location="file:///x.csv"),
        run(2, job="load", wrote="table", location="file:///x.csv", content=digest("b")),
        run(3, job="train", wrote="model", reads=(("table", digest("b")),)),
        run(4, job="other", wrote="else"),
        run(5, job="other", wrote="else", content=digest("b")),
    ]
    with open_store(store_url, create=True) as store:
        consume(store, told(runs, random.Random(0)))
        with store.snapshot() as connection:
            found, everything = drift(connection, "model"), drift(connection)
    assert [step.job.name for step in found.steps] == ["load"]
    assert [step.overwritten for step in found.steps] == [("file:///x.csv",)]
    assert found.inputs == ()
    assert {step.job.name for step in everything.steps} == {"load", "other"}


def test_more_than_the_limit_is_said() -> None:
    runs = [run(n, job=f"job{n % 4}", wrote=f"out{n % 4}", content=digest("ab"[n > 3])) for n in range(8)]
    found = asked("sqlite://", told(runs, random.Random(0)), limit=3)
    assert (len(found.steps), found.more) == (3, True)


def test_statements_stay_few_whatever_the_number_of_runs(sqlite_url: str) -> None:
    counts = []
    for number in (40, 400):
        runs = [run(n, content=digest("a")) for n in range(number)]
        with open_store(sqlite_url.replace(".db", f"{number}.db"), create=True) as store:
            consume(store, told(runs, random.Random(0)))
            with store.snapshot() as connection:
                counts.append(statements(connection))
    assert counts[0] == counts[1]


def statements(connection: Connection) -> int:
    from sqlalchemy import event

    asked_for: list[str] = []
    event.listen(connection, "before_cursor_execute", lambda *said: asked_for.append(said[2]))
    drift(connection)
    return len(asked_for)


# -- a real pipeline --------------------------------------------------------------------------

DAILY = """
import random
from pathlib import Path
import sys
from headwater.emitter import Dataset, pipeline, step

@step
def load(path: Path) -> Dataset:
    rows = [line.split(",") for line in Path(path).read_text().splitlines()]
    return Dataset.create(rows, name="customers", location=path)

@step
def sampled(customers: Dataset) -> Dataset:
    return Dataset.create(random.SystemRandom().sample(customers.data, 5), name="sample")

if __name__ == "__main__":
    with pipeline("daily", project="crm"):
        sampled(load(Path("customers.csv")))
"""


def test_a_file_that_changed_and_a_step_that_varies_are_found(tmp_path: Path) -> None:
    project(tmp_path, {"daily.py": DAILY})
    perform(tmp_path, "daily.py")
    perform(tmp_path, "daily.py")
    with consumed(tmp_path) as lineage:
        before: Drift = lineage.drift()
    (tmp_path / "customers.csv").write_text(CUSTOMERS + "101,1,1,0\n")
    perform(tmp_path, "daily.py")
    with consumed(tmp_path) as lineage:
        after: Drift = lineage.drift()
        assert isinstance(lineage, Lineage)
    assert [(step.name, len(step.contents)) for step in before.steps] == [("sample", 2)]
    assert not before.inputs
    assert [step.name for step in after.steps] == ["customers", "sample"]
    assert after.steps[0].suspects == ()
    assert after.steps[0].overwritten == (str(tmp_path / "customers.csv"),)
    assert after.inputs == ()


# -- how it is read -----------------------------------------------------------------------


@pytest.mark.parametrize("as_of", [None, (BEGUN + 400) * 1_000_000])
def test_drift_reads_its_tables_through_indexes(store_url: str, as_of: int | None) -> None:
    """Of the large tables only `run` is gone through whole, and without `NAME` alone."""
    runs = [run(n, reads=(("raw", digest("d")),), location="file:///x") for n in range(300)]
    with open_store(store_url, create=True) as store:
        consume(store, told(runs, random.Random(0)))
        if store.dialect == "postgresql":
            with store.writing() as connection:
                connection.exec_driver_sql("ANALYZE")
        with store.snapshot() as connection:
            asked_of = _statements_of(connection, lambda: drift(connection, "table", as_of=as_of))
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plans = [line for text, values in asked_of for line in _plan(connection, text, values)]
    through = [
        line
        for line in plans
        if re.search(r"\bSCAN (run_input|run_output|facet|version)\b(?!.*USING)", line)
        or re.search(r"Seq Scan on (run_input|run_output|facet|version)\b", line)
    ]
    assert plans
    assert through == []


def _statements_of(connection: Connection, ask: Callable[[], object]) -> list[tuple[str, Any]]:
    """What `ask` sends, with its values."""
    found: list[tuple[str, Any]] = []

    def seen(_: Any, __: Any, text: str, values: Any, ___: Any, many: bool) -> None:
        if text.lstrip().upper().startswith(("SELECT", "WITH")) and not many:
            found.append((text, values))

    event.listen(connection, "before_cursor_execute", seen)
    ask()
    event.remove(connection, "before_cursor_execute", seen)
    return found


def _plan(connection: Connection, text: str, values: Any) -> list[str]:
    if connection.dialect.name == "sqlite":
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
    return [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {text}", values)]
