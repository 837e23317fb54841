"""The benchmarks' arithmetic: what a row says follows from what was measured, and no more."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from bench import __main__ as program
from bench import events, isolated, rows
from bench.rows import Figure
from headwater.schemas.openlineage import parse


def figure(**more: Any) -> Figure:
    return Figure(**{"name": "emit:x", "unit": "µs", "values": [3.0, 1.0, 2.0], "fixture": "1 kB"} | more)


def row(*, busy: bool = False, **more: Any) -> rows.Row:
    return rows.row_of(figure(**more), {"cpu": "abacus", "busy": busy}, "2026-11-23T16:00:00+00:00")


def test_the_value_is_the_median_of_the_runs_and_their_number_is_told() -> None:
    told = row()
    assert (told["value"], told["runs"], told["values"]) == (2.0, 3, [3.0, 1.0, 2.0])


def test_the_median_of_an_even_number_of_runs_lies_between_the_two_in_the_middle() -> None:
    assert row(values=[1.0, 2.0, 4.0, 10.0])["value"] == 3.0


@pytest.mark.parametrize(
    ("better", "budget", "within"),
    [
        ("lower", 2.0, True),
        ("lower", 1.9, False),
        ("higher", 2.0, True),
        ("higher", 2.1, False),
        ("lower", None, None),
        ("higher", None, None),
    ],
)
def test_a_budget_is_kept_on_its_own_side_and_without_one_there_is_no_verdict(
    better: str, budget: float | None, within: bool | None
) -> None:
    assert row(better=better, budget=budget)["within"] is within


def test_a_verdict_is_on_what_was_measured_not_on_what_is_shown() -> None:
    told = row(values=[15.0004], budget=15.0)
    assert (told["value"], told["within"]) == (15.0, False)


@pytest.mark.parametrize(("better", "ratio"), [("lower", 5.0), ("higher", 0.2)])
def test_a_ratio_above_one_is_better_than_the_peer_whether_less_or_more_is(better: str, ratio: float) -> None:
    told = row(better=better, peer="another", peer_values=[30.0, 10.0, 0.1])
    assert (told["peer_value"], told["ratio"]) == (10.0, ratio)


def test_without_a_peer_there_is_no_ratio() -> None:
    assert (row()["peer"], row()["peer_value"], row()["ratio"]) == (None, None, None)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (0.95, 95), (0.001, 1), (1.0, 100)])
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    assert rows.percentile(range(100, 0, -1), share) == expected


def test_the_99th_percentile_of_few_values_is_the_greatest() -> None:
    assert rows.percentile([1, 2, 3], 0.99) == 3


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        rows.percentile([], 0.5)


def test_measuring_one_group_replaces_its_rows_and_keeps_the_others() -> None:
    before = [row(name="emit:old"), row(name="lineage:old"), row(name="step:old")]
    merged = rows.merged(before, [row(name="step:new")], ["step"])
    assert [found["name"] for found in merged] == ["emit:old", "step:new", "lineage:old"]


def test_every_group_has_figures_to_yield() -> None:
    for group in rows.GROUPS:
        assert callable(program.group(group))


def test_the_table_has_a_line_for_every_row_and_names_what_was_missed() -> None:
    table = rows.table(
        [
            row(budget=1.0, peer="another", peer_values=[5.0]),
            row(name="emit:y", budget=9.0),
            row(name="emit:z"),
        ]
    )
    headings, _, missed, kept, plain = table.splitlines()
    assert headings.split()[:3] == ["name", "measured", "budget"]
    assert "MISSED" in missed
    assert "2.5×" in missed
    assert "ok" in kept
    assert ("ok" in plain, "MISSED" in plain) == (False, False)


def test_the_document_tells_what_was_missed_and_what_was_measured_on_a_busy_machine() -> None:
    told = rows.markdown([row(budget=1.0, peer="another", peer_values=[5.0]), row(name="emit:y", busy=True)])
    assert told.splitlines()[2:] == [
        "| `emit:x` | 2 µs | ≤ 1 | **missed** | another | 5 | 2.5× |",
        "| `emit:y` (busy machine) | 2 µs | – | – | – | – | – |",
    ]


def test_a_result_of_another_process_comes_back_whatever_it_printed() -> None:
    assert isolated.call("tests.unit.test_bench:printing", number=20) == {"twice": 40}


def printing(number: int) -> dict[str, int]:
    sys.stdout.write("chatter\n")
    return {"twice": number * 2}


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(isolated.Failed, match="nothing to divide by"):
        isolated.call("tests.unit.test_bench:failing")


def failing() -> None:
    raise ZeroDivisionError("nothing to divide by")


def test_the_foreign_events_are_of_the_size_that_the_budget_names_and_come_in_pairs() -> None:
    values = list(events.foreign(range(200)))
    parsed = [parse(value) for value in values]
    assert 1_600 < sum(map(len, values)) / len(values) < 1_800
    assert (
        sorted(str(event.document["eventType"]) for event in parsed) == ["COMPLETE"] * 200 + ["START"] * 200
    )
    assert len({event.document["run"]["runId"] for event in parsed}) == 200


def test_the_events_are_the_same_in_every_run() -> None:
    assert list(events.foreign(range(50))) == list(events.foreign(range(50)))
    assert events.created(7) == events.created(7)


@pytest.mark.skipif(not program.RESULTS.exists(), reason="no benchmark was run here yet")
def test_the_results_that_are_kept_have_what_a_reader_needs() -> None:
    found = rows.read(program.RESULTS)
    names = [kept["name"] for kept in found]
    assert len(names) == len(set(names))
    assert {rows.group_of(name) for name in names} <= set(rows.GROUPS)
    for kept in found:
        assert set(rows.REQUIRED) <= set(kept)
        assert kept["runs"] >= 1
        assert kept["fixture"]
        assert (kept["within"] is None) == (kept["budget"] is None)
        assert (kept["ratio"] is None) == (kept["peer_value"] is None)
        assert {"cpu", "cores", "load_before", "busy"} <= set(kept["machine"])
