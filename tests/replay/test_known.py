"""What was known at a time: the fold of exactly the events appended by then, whichever way it is had."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from headwater.consumers import Lineage, tables
from headwater.consumers.answers import Ambiguous, Direction, Unknown
from headwater.consumers.gathering import About, gather
from headwater.consumers.knowing import KnownLineage
from headwater.consumers.naming import id_text
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store, open_store
from headwater.consumers.times import moment
from headwater.schemas.text import original
from tests.replay import product
from tests.replay.native import native_universes
from tests.replay.profiles import examples, fresh_examples
from tests.replay.reference import reference
from tests.replay.rows import Tables
from tests.replay.universes import universes
from tests.support.timed_log import TimedLog

DIRECTIONS: tuple[Direction, ...] = ("up", "down")
#: How many of the names of a history are asked about.
NAMES = 6
#: Few, so that events of one run, and copies of one event, lie on both sides.
appended = st.integers(0, 5)


@st.composite
def histories(draw: DrawFn, values: st.SearchStrategy[list[bytes]]) -> tuple[TimedLog, dict[str, int], int]:
    """A log, how far a live store has read each partition, and a time."""
    partitions: list[list[tuple[bytes, int]]] = [[] for _ in range(draw(st.integers(1, 3)))]
    for value in draw(values):
        for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
            draw(st.sampled_from(partitions)).append((value, draw(appended)))
    behind = draw(st.booleans())
    read = {
        str(number): draw(st.integers(0, len(records))) if behind else len(records)
        for number, records in enumerate(partitions)
    }
    return TimedLog(*partitions), read, draw(appended)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path_factory.mktemp('known')}/scratch.db") as store:
        yield store


def emptied(store: Store) -> Store:
    """As it was made."""
    product.wipe(store)
    with store.writing() as connection:
        connection.execute(tables.projection.delete())
    return store


def filled(store: Store, log: TimedLog, read: dict[str, int]) -> Store:
    """A live store that has come so far."""
    bounds = {part: read[part.number] for part in log.partitions() if read[part.number]}
    Runner(emptied(store), log, bounds=bounds).run()
    return store


def names(found: Tables) -> list[str]:
    """What one may ask about, and what is there no more, or not yet."""
    texts = {original(d["name"]) for d in found.named("dataset")}
    texts |= {f"{original(d['namespace'])}/{original(d['name'])}" for d in found.named("dataset")}
    texts |= {f"{text}@{ending}" for text in sorted(texts)[:2] for ending in ("v1", "production", "table1:a")}
    texts |= {id_text(row["run_id"]) for row in found.named("run")}
    texts |= {id_text(row["production_id"]) for row in found.named("run_output")}
    return [*sorted(texts), "1", "nothing", "0189000"]


def questions(found: Tables) -> Iterator[About]:
    """Each name, asked in each way; of some the depth, the time and the failed runs too."""
    asked = names(found)
    random.Random(len(found.rows["event"])).shuffle(asked)
    for place, name in enumerate(asked[:NAMES]):
        yield About(name=name)
        for direction in DIRECTIONS:
            yield About(
                name=name,
                direction=direction,
                depth=(None, 0, None, 1)[place % 4],
                as_of=(None, None, 1_709_287_320_000_000)[place % 3],
                include_failed=place % 2 == 1,
            )


def answer(lineage: Lineage, about: About) -> Any:
    as_of = None if about.as_of is None else moment(about.as_of)
    try:
        if about.direction is None:
            return lineage.show(about.name, as_of=as_of)
        return lineage.lineage(
            about.name,
            about.direction,
            depth=about.depth,
            as_of=as_of,
            include_failed=about.include_failed,
        )
    except Unknown as error:
        return Unknown, error.message  # what it suggests depends on what else is there
    except Ambiguous as error:
        return Ambiguous, str(error)


def check(live: Store, scratch: Store, history: tuple[TimedLog, dict[str, int], int]) -> int:
    """Both ways give what the reference has; how many questions were answered without a replay."""
    log, read, until = history
    filled(live, log, read)
    expected = reference(log.known(until))
    gathered = 0
    with KnownLineage(None, log, until) as whole, live.snapshot() as snapshot:
        assert answer(whole, About(name="nothing"))[0] is Unknown
        assert isinstance(whole._store, Store)
        assert product.differences(whole._store, expected) == []
        for about in questions(reference(log.known(5))):
            if gather(snapshot, log, emptied(scratch), about, until=until, share=1.0):
                gathered += 1
                assert answer(Lineage(scratch), about) == answer(whole, about), about
    return gathered


@examples(8, shrink=False)
@given(history=histories(universes))
def test_the_events_of_a_question_answer_it_as_all_events_do(
    store: Store, scratch: Store, history: tuple[TimedLog, dict[str, int], int]
) -> None:
    check(store, scratch, history)


@examples(6, shrink=False)
@given(history=histories(native_universes))
def test_the_events_of_a_question_about_our_own_runs_answer_it_as_all_events_do(
    store: Store, scratch: Store, history: tuple[TimedLog, dict[str, int], int]
) -> None:
    check(store, scratch, history)


@pytest.mark.deep
@fresh_examples(100)
@given(history=histories(universes | native_universes))
def test_the_events_of_a_question_answer_it_in_many_histories(
    store: Store, scratch: Store, history: tuple[TimedLog, dict[str, int], int]
) -> None:
    check(store, scratch, history)


def told(run: int, at: str, *, inputs: Sequence[Any] = (), outputs: Sequence[Any] = (), **job: Any) -> bytes:
    """An event of run number `run`, about datasets of `lake` (a name, or a name and its facets)."""

    def listed(items: Sequence[Any]) -> list[dict[str, Any]]:
        pairs = [(item, {}) if isinstance(item, str) else item for item in items]
        return [{"namespace": "lake", "name": name, "facets": facets} for name, facets in pairs]

    document = {
        "eventType": "COMPLETE",
        "eventTime": f"2026-03-01T{at}:00Z",
        "run": {"runId": f"00000000-0000-7000-8000-{run:012x}"},
        "job": {"namespace": "tests", "name": f"job{run}", "facets": job},
        "inputs": listed(inputs),
        "outputs": listed(outputs),
    }
    return json.dumps(document).encode()


def lifecycle(state: str, before: str | None = None) -> dict[str, Any]:
    named = {} if before is None else {"previousIdentifier": {"namespace": "lake", "name": before}}
    return {"lifecycleStateChange": {"lifecycleStateChange": state, **named}}


def entries(target: str, *sources: str) -> dict[str, Any]:
    inputs = [{"type": "DATASET", "namespace": "lake", "name": name} for name in sources]
    return {"entries": [{"type": "DATASET", "namespace": "lake", "name": target, "inputs": inputs}]}


def recalled(name: str) -> bytes:
    facets = {"headwater_recall": {"reason": "leak"}}
    subject = {"namespace": "lake", "name": name, "facets": facets}
    return json.dumps({"eventTime": "2026-03-01T09:50:00Z", "dataset": subject}).encode()


OLD = {"namespace": "lake", "name": "old", "type": "TABLE"}
#: What was said first, and what is withdrawn by what was appended after the time asked about.
WITHDRAWN = {
    "a renaming": (
        [told(1, "09:00", outputs=["old"]), told(2, "09:30", outputs=[("new", lifecycle("RENAME", "old"))])],
        [told(2, "09:40", outputs=[("new", lifecycle("CREATE"))])],
    ),
    "a source of lineage": (
        [told(1, "09:00", outputs=["old"]), told(2, "09:30", outputs=["new"], lineage=entries("new", "old"))],
        [told(2, "09:40", outputs=["new"], lineage={"_deleted": True})],
    ),
    "a name without a version": (
        [told(1, "09:00", outputs=["old"]), told(2, "09:30", inputs=["old"], outputs=["new"])],
        [told(2, "09:40", inputs=[("old", {"version": {"datasetVersion": "v2"}})], outputs=["new"])],
    ),
    "nothing, and a reader says that two names are one": (
        [
            told(1, "09:00", outputs=["s3"]),
            told(5, "09:20", inputs=[("s3", {"symlinks": {"identifiers": [OLD]}})], outputs=["other"]),
        ],
        [],
    ),
    "nothing, and what something was made of is recalled": (
        [
            told(1, "09:00", outputs=["old"]),
            told(2, "09:30", inputs=["old"], outputs=["new"]),
            told(4, "09:45", inputs=["new"], outputs=["newer"]),
            recalled("old"),
        ],
        [],
    ),
    "that two names are two things": (
        [told(1, "09:00", outputs=["s3"]), told(2, "09:10", outputs=["old"])],
        [told(5, "09:40", outputs=[("s3", {"symlinks": {"identifiers": [OLD]}})])],
    ),
}


@pytest.mark.parametrize("case", WITHDRAWN)
def test_what_the_live_store_shows_no_more_is_found(store: Store, scratch: Store, case: str) -> None:
    early, late = WITHDRAWN[case]
    reading = told(3, "10:00", inputs=["old"], outputs=["made"])
    log = TimedLog([(value, 1) for value in (*early, reading)] + [(value, 3) for value in late])
    filled(store, log, {"0": len(early) + 1 + len(late)})
    with KnownLineage(None, log, 2) as whole, store.snapshot() as live:
        for name in ("made", "old", "new"):
            for about in (About(name=name), *(About(name=name, direction=d) for d in DIRECTIONS)):
                assert gather(live, log, emptied(scratch), about, until=2, share=1.0)
                assert answer(Lineage(scratch), about) == answer(whole, about), about
