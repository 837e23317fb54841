"""Metrics over time, and how they are drawn: no point, no peak and no gap is lost silently."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from headwater.consumers.answers import Unknown
from headwater.consumers.details import moment
from headwater.consumers.metrics import Metrics, Point, Series, metrics
from headwater.consumers.plotting import plot
from tests.support.graphs import Graph


def values(series: Series) -> list[float | None]:
    return [point.value for point in series.points]


def test_a_run_has_a_curve_for_each_metric_in_the_order_of_steps(connection: Connection) -> None:
    graph = Graph()
    run = graph.run("r", job="train")
    for step, value in ((2, 0.2), (0, 1.0), (1, None)):
        graph.point(run, "loss", value, step=step, at=step)
    graph.point(run, "auc", math.inf)
    graph.insert(connection)
    found = metrics(connection, "r")
    auc, loss = found.series
    assert (found.of, found.name) == ("run", "train")
    assert (values(loss), loss.total, loss.not_numbers) == ([1.0, None, 0.2], 3, 1)
    assert (loss.least, loss.greatest, loss.last) == (0.2, 1.0, 0.2)
    assert values(auc) == [math.inf]
    assert [one.key for one in metrics(connection, "r", key="loss").series] == ["loss"]
    assert metrics(connection, "r", key="loss", as_of=1).series[0].total == 2
    with pytest.raises(Unknown):
        metrics(connection, "r", key="f1")


points = st.lists(
    st.tuples(st.integers(0, 60), st.none() | st.floats(allow_nan=False, width=32)), min_size=1, max_size=80
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=points, most=st.integers(1, 30))
def test_thinning_keeps_the_ends_the_extremes_and_that_there_were_gaps(
    connection: Connection, told: list[tuple[int, float | None]], most: int
) -> None:
    connection.rollback()
    graph = Graph()
    run = graph.run("r")
    for at, (step, value) in enumerate(told):
        graph.point(run, "m", None if value is None else value + 0.0, step=step, at=at)
    graph.insert(connection)
    (series,) = metrics(connection, "r", points=most).series
    ordered = [v for _, _, v in sorted((step, at, v) for at, (step, v) in enumerate(told))] if told else []
    numbers = [value for value in ordered if value is not None]
    kept = values(series)
    assert series.total == len(told)
    assert (kept[0], kept[-1]) == (ordered[0], ordered[-1])
    assert (series.least, series.greatest) == (min(numbers, default=None), max(numbers, default=None))
    assert {series.least, series.greatest} - {None} <= set(kept)
    assert (None in kept) == (None in ordered)
    assert [p.step for p in series.points] == sorted(p.step for p in series.points)
    if len(told) <= most:
        assert len(kept) == len(told)


def test_an_asset_tells_what_each_version_says_or_its_run_measured(connection: Connection) -> None:
    graph = Graph()
    for number in range(3):
        run = graph.run(f"r{number}", job="evaluate", at=number)
        told = {"headwater_metrics": {"values": {"auc": number / 10, "by": {"class": 1}, "name": "x"}}}
        graph.output(run, "scores", f"v{number}", at=number, facets=told)
        graph.output(run, "model", f"m{number}", at=number)
        for step in range(3):
            graph.point(run, "loss", 1.0 / (step + 1), step=step, at=number)
    graph.insert(connection)
    auc, by = metrics(connection, "scores").series
    assert (values(auc), [p.version for p in auc.points]) == ([0.0, 0.1, 0.2], ["v0", "v1", "v2"])
    assert by.key == "by.class"
    (loss,) = metrics(connection, "model").series
    assert values(loss) == [1 / 3] * 3
    assert [p.version for p in metrics(connection, "scores", as_of=1).series[0].points] == ["v0", "v1"]
    assert values(metrics(connection, "scores@v1").series[0]) == [0.1]
    newest = metrics(connection, "scores", history=2)
    assert (values(newest.series[0]), newest.more) == ([0.1, 0.2], True)
    of_job = metrics(connection, "evaluate")
    assert (of_job.of, [one.key for one in of_job.series]) == ("job", ["auc", "by.class", "loss"])
    assert values(of_job.series[2]) == [1 / 3] * 3


# -- drawing -----------------------------------------------------------------------------


def series(*told: float | None, key: str = "loss") -> Series:
    return Series(
        key=key,
        total=len(told),
        not_numbers=told.count(None),
        least=None,
        greatest=None,
        last=told[-1],
        points=tuple(Point(step=step, at=moment(0), value=value) for step, value in enumerate(told)),
    )


def drawn(*one: Series, width: int = 40, **how: Any) -> list[str]:
    return ["".join(text for text, _ in line) for line in plot(one, width, **how)]


def test_a_curve_has_axes_with_numbers_at_their_ends() -> None:
    rising = series(*(float(n) for n in range(10)))
    assert drawn(rising, width=30, ascii=True, height=5) == [
        "loss  10 points, last 9",
        "9 |                      *****",
        "  |                ******",
        "  |          ******",
        "  |    ******",
        "0 |****",
        "  +---------------------------",
        "   step 0               step 9",
    ]
    assert drawn(rising, width=30, height=2) == [
        "loss  10 points, last 9",
        "9 │             ⢀⣀⣀⠤⠤⠤⠤⠤⠤⠔⠒⠒⠉⠉",
        "0 │⣀⡠⠤⠤⠔⠒⠒⠒⠒⠒⠉⠉⠉⠁",
        "  └───────────────────────────",
        "   step 0               step 9",
    ]


def test_a_gap_stays_a_gap_and_is_marked_on_the_axis() -> None:
    lines = drawn(series(0.0, 0.0, None, math.inf, 0.0, 0.0), width=62, ascii=True, height=3)
    curve = max(lines[1:4], key=lambda line: line.count("*"))
    assert "*" * 5 in curve
    assert " " * 20 in curve.partition("|")[2].strip()
    assert lines[4].count("x") == 2
    assert "2 not finite (x)" in lines[0]


@settings(max_examples=80, deadline=None)
@given(
    told=st.lists(st.none() | st.floats(allow_nan=False), min_size=1, max_size=50),
    width=st.integers(1, 120),
    is_ascii=st.booleans(),
)
def test_any_values_can_be_drawn_in_any_width(told: list[float | None], width: int, is_ascii: bool) -> None:
    lines = drawn(series(*told, key="\x1b[2J\u202e"), width=width, ascii=is_ascii)
    assert len(lines) == 11
    assert not any(set(line) & set("\x1b\u202e") for line in lines)
    assert len({len(line) for line in lines[9:10]}) == 1
    if is_ascii:
        assert all(line.isascii() for line in lines[1:])
    finite = [value for value in told if value is not None and math.isfinite(value)]
    has_ink = any(set(line.partition("|" if is_ascii else "│")[2].strip()) for line in lines[1:9])
    assert has_ink == bool(finite)


def test_several_metrics_are_drawn_one_below_the_other() -> None:
    lines = drawn(series(1.0), series(2.0, key="auc"))
    assert [line.split()[0] for line in lines if "point" in line] == ["loss", "auc"]


def test_an_answer_without_metrics_has_no_series(connection: Connection) -> None:
    graph = Graph()
    graph.output(graph.run("r"), "plain", "v1")
    graph.insert(connection)
    assert metrics(connection, "plain") == Metrics(
        of="asset", namespace="ns", name="plain", run_id=None, series=()
    )


def test_what_several_assets_of_one_run_say_under_one_name_is_all_told(connection: Connection) -> None:
    graph = Graph()
    run = graph.run("r", job="evaluate", at=1)
    for name, value in (("forest", 0.4), ("boosted", 0.5)):
        said = {"headwater_metrics": {"values": {"r2": value}}}
        graph.output(run, name, f"v-{name}", at=2, facets=said)
    graph.insert(connection)
    expected = {"ns/forest": [0.4], "ns/boosted": [0.5]}
    for asked in ("evaluate", "r"):
        found = metrics(connection, asked)
        assert {one.asset: values(one) for one in found.series} == expected
        assert [one.label for one in metrics(connection, asked, key="r2").series] == [
            "ns/boosted r2",
            "ns/forest r2",
        ]
    (alone,) = metrics(connection, "forest").series
    assert (alone.asset, alone.key, values(alone)) == (None, "r2", [0.4])
