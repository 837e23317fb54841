"""A comparison finds what the slow definition of a cause finds, on generated histories and both databases."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from headwater.consumers.asking import Lineage
from headwater.consumers.differences import AssetChange, Copy, Difference, Step
from headwater.consumers.naming import id_text
from headwater.consumers.store import Store
from tests.replay import product
from tests.replay.differing import DIFFERS, Differing, Pair
from tests.replay.native import native_universes
from tests.replay.profiles import examples, fresh_examples
from tests.replay.reference import reference
from tests.replay.rows import Tables
from tests.replay.universes import universes

BASE = 1_709_287_200
NAMES = ["raw", "clean", "model", "rates"]
JOBS = ["flow.load", "flow.clean", "flow.train"]


# -- histories --------------------------------------------------------------------------


def _run_id(number: int) -> str:
    return f"01890000-0000-7000-8000-{number:012x}"


def _time(second: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(BASE + second, UTC).isoformat().replace("+00:00", "Z")


def _event(kind: str, second: int, run: int, job: str, parent: int | None) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if parent is not None:
        facets["parent"] = {
            "run": {"runId": _run_id(parent)},
            "job": {"namespace": "crm", "name": "flow"},
        }
    return {
        "eventType": kind,
        "eventTime": _time(second),
        "run": {"runId": _run_id(run), "facets": facets},
        "job": {"namespace": "crm", "name": job},
    }


@st.composite
def _dataset(draw: DrawFn, runs: int, *, is_input: bool) -> dict[str, Any]:
    """A dataset by one of its names, with a version or without, at times naming the run that wrote it."""
    name = draw(st.sampled_from(NAMES))
    renamed = draw(st.integers(0, 5)) == 5
    found: dict[str, Any] = {"namespace": "lake", "name": f"{name}-table" if renamed else name, "facets": {}}
    version = draw(st.sampled_from(["v1", "v2", "v3", None]))
    if version is not None:
        found["facets"]["version"] = {"datasetVersion": version}
    elif not is_input and draw(st.booleans()):
        found["outputFacets"] = {"outputStatistics": {"rowCount": draw(st.integers(1, 2))}}
    if renamed:
        found["facets"]["symlinks"] = {"identifiers": [{"namespace": "lake", "name": name, "type": "TABLE"}]}
    if is_input and version is not None and runs and draw(st.booleans()):
        number = draw(st.integers(0, runs - 1))
        found["inputFacets"] = {"headwater_input": {"productionRunId": _run_id(number)}}
    return found


@st.composite
def histories(draw: DrawFn) -> list[bytes]:
    """A few runs of three jobs of a pipeline that ran twice: shuffled events, some of them twice."""
    events: list[dict[str, Any]] = []
    count = draw(st.integers(2, 8))
    for number in range(count):
        job = draw(st.sampled_from(JOBS))
        parent = draw(st.sampled_from([900, 901, None]))
        at = draw(st.integers(0, 12)) + number * draw(st.sampled_from([0, 5]))
        start = _event("START", at, number, job, parent)
        facets = start["run"]["facets"]
        if draw(st.booleans()):
            listed = [{"key": "depth", "value": draw(st.sampled_from(["1", "2"]))}]
            facets["executionParameters"] = {"parameters": listed}
        facets["headwater_code"] = {"sourceDigest": draw(st.sampled_from(["aa", "aa", "bb"]))}
        start["inputs"] = draw(st.lists(_dataset(number, is_input=True), max_size=3))
        done = _event(draw(st.sampled_from(["COMPLETE", "COMPLETE", "FAIL"])), at + 2, number, job, parent)
        done["outputs"] = draw(st.lists(_dataset(number, is_input=False), max_size=2))
        events += [start, done]
    for parent in (900, 901):
        events.append(_event("START", 0, parent, "flow", None))
    values = [orjson.dumps(event) for event in events]
    chance = random.Random(draw(st.integers(0, 10**6)))
    values += chance.sample(values, min(3, len(values)))
    chance.shuffle(values)
    return values


@st.composite
def reruns(draw: DrawFn) -> list[bytes]:
    """A pipeline run twice: contents follow from inputs and parameters, but for a few things that changed."""
    steps = [
        {
            "reads": draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True)),
            "writes": draw(st.sampled_from(NAMES)),
            "absorbs": draw(st.integers(0, 5)) == 5,
            "names": draw(st.booleans()),
        }
        for _ in range(draw(st.integers(2, 6)))
    ]
    events = [_event("START", 0, parent, "flow", None) for parent in (900, 901)]
    for round in range(2):
        changed = draw(st.sets(st.integers(0, len(steps) - 1), max_size=2)) if round else set()
        noisy = draw(st.sets(st.integers(0, len(steps) - 1), max_size=1)) if round else set()
        left_out = draw(st.sets(st.integers(0, len(steps) - 1), max_size=1)) if round else set()
        last: dict[str, tuple[str, int]] = {}
        for number, step in enumerate(steps):
            if number not in left_out:
                events += _step_events(round, number, step, last, number in changed, number in noisy)
    values = [orjson.dumps(event) for event in events]
    chance = random.Random(draw(st.integers(0, 10**6)))
    values += chance.sample(values, min(3, len(values)))
    chance.shuffle(values)
    return values


def _step_events(
    round: int,
    number: int,
    step: dict[str, Any],
    last: dict[str, tuple[str, int]],
    changed: bool,
    noisy: bool,
) -> list[dict[str, Any]]:
    run, at, job = round * 100 + number, round * 1_000 + number * 10, f"flow.step{number}"
    start = _event("START", at, run, job, 900 + round)
    depth = "2" if changed else "1"
    start["run"]["facets"]["executionParameters"] = {"parameters": [{"key": "depth", "value": depth}]}
    start["inputs"] = []
    contents = []
    for name in step["reads"]:
        version, of = last.get(name, ("v0", None))
        contents.append(version)
        read: dict[str, Any] = {"namespace": "lake", "name": name}
        read["facets"] = {"version": {"datasetVersion": version}}
        if step["names"] and of is not None:
            read["inputFacets"] = {"headwater_input": {"productionRunId": _run_id(of)}}
        start["inputs"].append(read)
    made = hashlib.sha256(repr((number, noisy, [] if step["absorbs"] else (depth, contents))).encode())
    last[step["writes"]] = (made.hexdigest(), run)
    done = _event("COMPLETE", at + 2, run, job, 900 + round)
    facets = {"version": {"datasetVersion": made.hexdigest()}}
    done["outputs"] = [{"namespace": "lake", "name": step["writes"], "facets": facets}]
    return [start, done]


# -- both sides as one shape ------------------------------------------------------------

#: (namespace, name, version, production) of a copy.
Told = tuple[Any, ...] | None


def _copy(copy: Copy | None) -> Told:
    return None if copy is None else (copy.namespace, copy.name, copy.version, copy.production_id)


def _asset(asset: AssetChange) -> tuple[Any, ...]:
    return (asset.state, _copy(asset.before), _copy(asset.after))


def _thing(found: Differing, pair: Pair, side: int) -> Told:
    if pair[side] is None:
        return None
    thing = (found.a, found.b)[side].things[pair[side]]
    assert thing.dataset is not None
    production = None if thing.run is None else id_text(thing.id)
    return (*found.names[thing.dataset], thing.version, production)


def _pair(found: Differing, pair: Pair) -> tuple[Any, ...]:
    return (found.verdicts[pair], _thing(found, pair, 0), _thing(found, pair, 1))


def _listed(found: Differing, pairs: Any) -> Counter[Any]:
    return Counter(_pair(found, pair) for pair in pairs if found.verdicts[pair] != "none")


def check(store: Store, tables: Tables, a: bytes, b: bytes) -> Difference:
    """One comparison, against the definition."""
    told = Lineage(store).diff(id_text(a), id_text(b))
    found = Differing(tables, a, b)
    verdicts = Counter(found.verdicts.values())
    assert (told.equal, told.unknown) == (verdicts["equal"], verdicts["unknown"])
    differing = [pair for pair, verdict in found.verdicts.items() if verdict in (*DIFFERS, "unknown")]
    assert Counter(map(_asset, told.assets)) == _listed(found, differing)
    _check_steps(told, found)
    _check_beginnings(told, found)
    return told


def _steps_of(told: Iterable[Step]) -> set[tuple[bytes | None, bytes | None]]:
    return {
        (
            None if step.before is None else UUID(step.before).bytes,
            None if step.after is None else UUID(step.after).bytes,
        )
        for step in told
    }


def _check_steps(told: Difference, found: Differing) -> None:
    own = {
        (change.step.before, change.step.after) for change in told.steps if change.parameters or change.code
    }
    assert own == {tuple(map(_text, step)) for step in found.own}
    alone = {(s.step.before, s.step.after) for s in told.steps if s.state != "changed"}
    assert alone == {tuple(map(_text, step)) for step in found.steps if None in step}
    for cause in told.causes:
        if cause.kind == "parameter":
            for step in _steps_of(cause.steps):
                one, other = found.parameters(step[0]), found.parameters(step[1])  # type: ignore[arg-type]
                assert one.get(cause.name) != other.get(cause.name)
    parameters = [step for step in found.own if found.parameters(step[0]) != found.parameters(step[1])]
    assert _steps_of(s for c in told.causes if c.kind == "parameter" for s in c.steps) == set(parameters)
    read = {(found.step(reader), group) for reader, group in found.readings()}
    assert sum(len(cause.inputs) for cause in told.causes if cause.kind == "inputs") == len(read)


def _text(id: bytes | None) -> str | None:
    return None if id is None else id_text(id)


def _check_beginnings(told: Difference, found: Differing) -> None:
    """Nothing is called a cause that something else explains, and everything comes of a cause."""
    begun = found.contents() | found.begun_alone()
    said = Counter(_asset(asset) for asset in told.assets if asset.role == "cause")
    expected = _listed(found, begun)
    circles = _listed(found, (p for p in found.pairs if found.verdicts[p] in DIFFERS)) - _listed(
        found, found.explained(begun | found.brought() | found.upstream_alone(found.ends()))
    )
    if not circles and not found.has_circles_alone():
        assert said == expected
    else:
        assert not expected - said
    differs = any(verdict in DIFFERS for verdict in found.verdicts.values())
    assert told.causes or not differs


def compare_all(store: Store, values: list[bytes], most: int = 6) -> None:
    product.wipe(store)
    product.apply_all(store, [values])
    tables = reference(values)
    kinds = {row["run_id"]: row["kind"] for row in tables.named("run")}
    # What is said of a dataset without a version was not written, and has no name.
    written = [
        o for o in tables.named("run_output") if o["published_at"] is not None or kinds[o["run_id"]] != 2
    ]
    some = sorted(o["production_id"] for o in written)[:most]
    runs = sorted(r["run_id"] for r in tables.named("run") if r["kind"] == 0)
    for group in (some, [*runs[:2], *runs[-2:]]):
        for one in dict.fromkeys(group):
            for other in dict.fromkeys(group):
                told = check(store, tables, one, other)
                if one == other:
                    assert not told.differs


@examples(25, shrink=False)
@given(values=histories())
def test_differences_equal_their_definition(store: Store, values: list[bytes]) -> None:
    compare_all(store, values)


@examples(30, shrink=False)
@given(values=reruns())
def test_differences_between_two_runs_of_a_pipeline_equal_their_definition(
    store: Store, values: list[bytes]
) -> None:
    product.wipe(store)
    product.apply_all(store, [values])
    tables = reference(values)
    check(store, tables, UUID(_run_id(900)).bytes, UUID(_run_id(901)).bytes)
    outputs = [o for o in tables.named("run_output") if o["published_at"] is not None]
    last = sorted(outputs, key=lambda o: o["published_at"])[-1]
    for other in outputs:
        if other["dataset_id"] == last["dataset_id"]:
            check(store, tables, other["production_id"], last["production_id"])


@examples(10, shrink=False)
@given(values=universes)
def test_differences_of_any_events_equal_their_definition(store: Store, values: list[bytes]) -> None:
    compare_all(store, values, most=4)


@examples(10, shrink=False)
@given(values=native_universes)
def test_differences_of_our_own_events_equal_their_definition(store: Store, values: list[bytes]) -> None:
    compare_all(store, values, most=4)


@examples(10, shrink=False)
@given(values=histories())
def test_the_other_way_round_the_same_is_found_with_its_sides_changed(
    store: Store, values: list[bytes]
) -> None:
    product.wipe(store)
    product.apply_all(store, [values])
    runs = [_run_id(900), _run_id(901)]
    there, back = Lineage(store).diff(*runs), Lineage(store).diff(*reversed(runs))
    turned = {"added": "removed", "removed": "added"}

    def turn(asset: AssetChange) -> tuple[Any, ...]:
        return (turned.get(asset.state, asset.state), _copy(asset.after), _copy(asset.before))

    assert Counter(map(_asset, there.assets)) == Counter(map(turn, back.assets))
    assert there.differs == back.differs
    parameters = Counter(
        (c.name, repr(c.before), repr(c.after)) for c in there.causes if c.kind == "parameter"
    )
    assert parameters == Counter(
        (c.name, repr(c.after), repr(c.before)) for c in back.causes if c.kind == "parameter"
    )


@pytest.mark.deep
@fresh_examples(100)
@given(values=histories() | reruns())
def test_differences_of_many_histories_equal_their_definition(store: Store, values: list[bytes]) -> None:
    compare_all(store, values)
