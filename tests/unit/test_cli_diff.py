"""`headwater diff` as a person and as a program meets it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from headwater.consumers import cli
from headwater.consumers.cli.difference import page, text, values
from headwater.consumers.differences import Difference
from headwater.consumers.store import open_store
from tests.support.graphs import Graph

SECOND = 1_000_000


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def trained_twice(parameter: str = "depth", columns: int = 1) -> Graph:
    """raw → model, twice: another parameter, and another content of raw."""
    graph = Graph()
    for number, suffix in enumerate("ab"):
        at = number * 100 * SECOND
        load = graph.run(f"load-{suffix}", job="load", at=at)
        numbers = {f"c{i}": {"count": 100, "mean": 1.0 + number, "std": 1.0} for i in range(columns)}
        told: dict[str, Any] = {
            "dataQualityMetrics": {"columnMetrics": numbers},
            "outputStatistics": {"rowCount": 7 + number},
        }
        raw = graph.output(load, "raw", f"r-{suffix}", at=at + SECOND, facets=told)
        listed = [{"key": parameter, "value": str(6 - number)}]
        train = graph.run(
            f"train-{suffix}",
            job="train",
            at=at + 2 * SECOND,
            facets={"executionParameters": {"parameters": listed}},
        )
        graph.input(train, "raw", f"r-{suffix}", production=raw, at=at + 2 * SECOND)
        graph.output(train, "model", f"m-{suffix}", at=at + 3 * SECOND)
    return graph


def ask(capsys: pytest.CaptureFixture[str], url: str, graph: Graph, *arguments: str) -> tuple[int, str]:
    with open_store(url, create=True) as store, store.writing() as connection:
        graph.insert(connection)
    code = cli.main(["diff", *arguments, "--store", url])
    return code, capsys.readouterr().out


def test_the_causes_come_first_and_the_consequences_are_counted(
    capsys: pytest.CaptureFixture[str], store_url: str
) -> None:
    code, out = ask(capsys, store_url, trained_twice(), "model")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("- model  m-a")
    assert lines[1].startswith("+ model  m-b")
    assert lines[3:7] == [
        "2 causes",
        "  parameter   depth  6 → 5  in train",
        "  source      raw  r-a → r-b  from outside, read by load",
        "              raw → model",
    ]
    assert "1 asset differs as a consequence  (--all lists them)" in lines
    assert "standardized mean difference" in out
    assert "\x1b" not in out


def test_all_lists_everything(capsys: pytest.CaptureFixture[str], sqlite_url: str) -> None:
    _, out = ask(capsys, sqlite_url, trained_twice(columns=20), "model", "--all")
    assert "more (--all)" not in out
    assert "~  raw    r-a → r-b  cause        rows 7 → 8" in out
    assert "~  model  m-a → m-b  consequence" in out


def test_long_lists_are_folded_and_say_how_much(capsys: pytest.CaptureFixture[str], sqlite_url: str) -> None:
    _, out = ask(capsys, sqlite_url, trained_twice(columns=20), "model")
    assert "and 12 columns more (--all)" in out


def test_the_exit_code_is_that_of_diff_when_asked_for(
    capsys: pytest.CaptureFixture[str], sqlite_url: str
) -> None:
    code, _ = ask(capsys, sqlite_url, trained_twice(), "model", "--exit-code")
    assert code == 1
    assert cli.main(["diff", "model", "--store", sqlite_url]) == 0
    assert cli.main(["diff", "model@m-a", "model@m-a", "--exit-code", "--store", sqlite_url]) == 0
    assert "no difference  2 assets the same" in capsys.readouterr().out


def test_json_has_the_documented_keys(capsys: pytest.CaptureFixture[str], store_url: str) -> None:
    _, out = ask(capsys, store_url, trained_twice(), "model@m-a", "model@m-b", "--json")
    answer: dict[str, Any] = json.loads(out)
    documented = (Path(__file__).parents[2] / "docs" / "reference" / "json.md").read_text()
    section = documented.split("\n## diff\n")[1].split("\n## ")[0]
    shown = [answer, answer["causes"][1], answer["assets"][0], answer["assets"][0]["drift"][0]]
    assert sorted({key for one in shown for key in one if f"`{key}`" not in section}) == []
    assert [cause["kind"] for cause in answer["causes"]] == ["parameter", "source"]


def test_as_of_a_time_before_the_second_there_is_nothing_to_compare(
    capsys: pytest.CaptureFixture[str], sqlite_url: str
) -> None:
    code, _ = ask(capsys, sqlite_url, trained_twice(), "model", "--as-of", "1970-01-01T00:01:00Z")
    assert code == 4


def test_what_could_move_a_cursor_is_spelled_out(capsys: pytest.CaptureFixture[str], sqlite_url: str) -> None:
    _, out = ask(capsys, sqlite_url, trained_twice(parameter="de\x1b[31mpth\u202e"), "model")
    assert "de\\u001b[31mpth\\u202e" in out


@pytest.mark.parametrize(
    ("before", "after", "state", "told"),
    [
        (1, 2, "changed", "1 → 2"),
        (None, "x", "added", "x"),
        (0.1 + 0.2, None, "removed", "0.3"),
        ({"a": [1]}, True, "changed", '{"a":[1]} → true'),
    ],
)
def test_values_are_told_in_few_characters(before: Any, after: Any, state: str, told: str) -> None:
    assert values(before, after, state) == told
    assert len(text("x" * 100)) == 40


def test_an_empty_difference_is_one_line(sqlite_url: str) -> None:
    from headwater.consumers.asking import Lineage

    with open_store(sqlite_url, create=True) as store:
        with store.writing() as connection:
            trained_twice().insert(connection)
        found: Difference = Lineage(store).diff("model@m-b", "model@m-b")
    lines = ["".join(piece for piece, _ in line) for line in page(found)]
    assert lines[3] == "no difference  2 assets the same"


def ended(second: int, first: int = 3, **facets: Any) -> Graph:
    """A step of a pipeline, twice; states as `details.STATES` numbers them."""
    graph = Graph()
    for number, state in enumerate((first, second)):
        at = number * 100 * SECOND
        end: dict[str, Any] = {"state": state, "ended_at": at + 2 if state >= 3 else None}
        above = graph.run(f"nightly-{number}", job="nightly", at=at, **end)
        run = graph.run(
            f"total-{number}",
            job="nightly.total",
            at=at + 1,
            parent_run_id=above,
            parent_job_id=graph.job("nightly"),
            facets=facets if state == 5 else None,
            **end,
        )
        if state == 3:
            graph.output(run, "sum", f"s-{number}", at=at + 2)
    return graph


def test_that_one_run_failed_is_said_above_everything_else(
    capsys: pytest.CaptureFixture[str], store_url: str
) -> None:
    graph = ended(5, errorMessage={"message": "ValueError: boom\nat line 3", "programmingLanguage": "PYTHON"})
    code, out = ask(capsys, store_url, graph, "nightly")
    lines = out.splitlines()
    assert code == 0
    assert [line.split("  ")[:2] for line in lines[:2]] == [["- nightly", "COMPLETE"], ["+ nightly", "FAIL"]]
    assert lines[4].split() == ["state", "COMPLETE", "→", "FAIL", "in", "total:", "ValueError:", "boom"]
    assert sum("→ FAIL" in line for line in lines) == 1
    assert cli.main(["diff", "nightly", "--store", store_url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["before"]["state"], told["after"]["state"]) == ("COMPLETE", "FAIL")
    assert told["causes"][0]["error"].startswith("ValueError: boom")


def test_a_run_that_failed_and_one_that_was_killed_differ(
    capsys: pytest.CaptureFixture[str], store_url: str
) -> None:
    code, out = ask(capsys, store_url, ended(1, first=5), "nightly")
    assert code == 0
    assert "FAIL → START" in out
    assert "no difference" not in out
