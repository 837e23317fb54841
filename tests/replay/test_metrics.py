"""What was measured is what the events said, point by point, in any order and as of any time."""

from __future__ import annotations

import math
import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.consumers import metrics as measured
from headwater.consumers.answers import Unknown
from headwater.consumers.metrics import Metrics
from headwater.consumers.store import Store
from headwater.consumers.times import moment
from headwater.schemas import events as facts
from headwater.schemas.rendering import encode
from tests.replay import product
from tests.replay.profiles import examples, fresh_examples

BEGUN = 1_709_287_200_000_000
RUNS = [
    facts.Run(
        id=f"01890000-0000-7000-8000-0000000000{number:02x}",
        job=facts.Job(namespace="crm", name=f"churn.step{number % 2}"),
    )
    for number in range(3)
]
KEYS = ("auc", "lo\x00ss")
#: (step, time, value); None stands for NaN.
Told = tuple[int, int, float | None]

_points = st.builds(
    facts.MetricPoint,
    key=st.sampled_from(KEYS),
    step=st.integers(-1, 6),
    time=st.integers(0, 6).map(lambda n: BEGUN + n),
    value=st.sampled_from([0.5, -1.0, 2.0, math.nan, math.inf, -math.inf]),
)
logged = st.lists(
    st.builds(
        facts.MetricsLogged,
        time=st.integers(0, 6).map(lambda n: BEGUN + n),
        run=st.sampled_from(RUNS),
        points=st.lists(_points, min_size=1, max_size=6).map(tuple),
    ),
    min_size=1,
    max_size=12,
)


def points_of(events: list[facts.MetricsLogged], as_of: int | None) -> dict[tuple[str, str], list[Told]]:
    """(run, key) → its points in order; one that was told twice counts once."""
    found: dict[tuple[str, str], set[Told]] = defaultdict(set)
    for event in events:
        for point in event.points:
            if as_of is None or point.time <= as_of:
                value = None if math.isnan(point.value) else point.value
                found[event.run.id, point.key].add((point.step, point.time, value))
    return {key: sorted(told, key=lambda one: one[:2]) for key, told in found.items()}


def check_curve(answer: Metrics, run: str, expected: dict[tuple[str, str], list[Told]]) -> None:
    assert {series.key for series in answer.series} == {key for of, key in expected if of == run}
    for series in answer.series:
        told = expected[run, series.key]
        numbers = [value for _, _, value in told if value is not None]
        assert series.total == len(told)
        assert series.not_numbers == len(told) - len(numbers)
        assert (series.least, series.greatest) == (min(numbers, default=None), max(numbers, default=None))
        given_back = [(point.step, point.at, point.value) for point in series.points]
        # Of one step and instant the order is stable, and nobody's business.
        assert [one[:2] for one in given_back] == [(step, moment(time)) for step, time, _ in told]
        assert {(step, moment(time), value) for step, time, value in told} == set(given_back)


def check_thinned(answer: Metrics, run: str, expected: dict[tuple[str, str], list[Told]]) -> None:
    """Fewer points are some of them: the ends, a NaN where there is one, and both extremes."""
    for series in answer.series:
        told = {(step, moment(time), value) for step, time, value in expected[run, series.key]}
        kept = [(point.step, point.at, point.value) for point in series.points]
        values = [value for _, _, value in kept]
        assert set(kept) <= told
        steps = [step for step, _, _ in told]
        assert (kept[0][0], kept[-1][0]) == (min(steps), max(steps))
        assert {series.least, series.greatest} - {None} <= set(values)
        assert (None in values) == bool(series.not_numbers)


def check(store: Store, events: list[facts.MetricsLogged], seed: int) -> None:
    chance = random.Random(seed)
    values = [encode(event) for event in events]
    told = values + chance.choices(values, k=len(values) // 2)
    chance.shuffle(told)
    product.wipe(store)
    product.apply_all(store, product.split(told, [chance.randint(1, 4) for _ in range(3)]))
    with store.connecting() as connection, connection.begin():
        for as_of in (None, BEGUN + 3):
            expected = points_of(events, as_of)
            for run in {event.run.id for event in events}:
                try:
                    answer = measured.metrics(connection, run, as_of=as_of)
                except Unknown:
                    assert as_of is not None
                    continue
                check_curve(answer, run, expected)
                check_thinned(measured.metrics(connection, run, points=1, as_of=as_of), run, expected)
        check_history(measured.metrics(connection, "churn.step0"), events)


def check_history(answer: Metrics, events: list[facts.MetricsLogged]) -> None:
    """Of a job: the last point of each of its runs, by step and time."""
    expected = points_of(events, None)
    ran = {event.run.id for event in events if event.run.job.name == "churn.step0"}
    for key in KEYS:
        last = {run: told[-1] for (run, of), told in expected.items() if of == key and run in ran}
        series = next((one for one in answer.series if one.key == key), None)
        found = {point.run_id: point.value for point in series.points} if series else {}
        assert found.keys() == last.keys()
        for run, (step, time, _) in last.items():
            ties = {value for at_step, at, value in expected[run, key] if (at_step, at) == (step, time)}
            assert found[run] in ties


@examples(40)
@given(events=logged, seed=st.integers(0, 2**16))
def test_metrics_are_what_was_logged(
    sqlite_store: Store, events: list[facts.MetricsLogged], seed: int
) -> None:
    if not any(event.run.job.name == "churn.step0" for event in events):
        return
    check(sqlite_store, events, seed)


@examples(10, shrink=False)
@given(events=logged, seed=st.integers(0, 2**16))
def test_metrics_on_postgresql_are_what_was_logged(
    postgres_store: Store, events: list[facts.MetricsLogged], seed: int
) -> None:
    if any(event.run.job.name == "churn.step0" for event in events):
        check(postgres_store, events, seed)


@pytest.mark.deep
@fresh_examples(1_000)
@given(events=logged, seed=st.integers(0, 2**16))
def test_metrics_of_many_histories(sqlite_store: Store, events: list[facts.MetricsLogged], seed: int) -> None:
    if any(event.run.job.name == "churn.step0" for event in events):
        check(sqlite_store, events, seed)
