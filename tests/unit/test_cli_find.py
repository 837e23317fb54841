"""search, metrics and gaps as a person and as a program meet them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.consumers import Lineage, cli
from headwater.consumers.store import open_store
from tests.replay import product
from tests.support.logs import run_event

EVIL = "ev\x00il\u202e\x1b[2J" + "名" * 4_000


@pytest.fixture
def store(store_url: str) -> str:
    """A model trained with depth 8, measured on the way, and a name that wants to do harm."""
    document = orjson.loads(run_event(1, at="2026-03-01T10:00:00Z"))
    document["job"] = {"namespace": "crm", "name": "churn.train"}
    points = [{"key": "loss", "step": n, "time": n, "value": 1 / (n + 1)} for n in range(20)]
    document["run"]["facets"] = {
        "executionParameters": {"parameters": [{"key": "depth", "value": "8"}]},
        "headwater_metricPoints": {"points": points},
        "headwater_code": {"function": "churn:train", "gitCommit": "4f1c9ab" * 5},
    }
    model = {"headwater_asset": {"assetType": "Model"}, "version": {"datasetVersion": "table1:" + "9f" * 32}}
    scores = {
        "headwater_metrics": {"values": {"auc": 0.91}},
        "headwater_asset": {"assetType": "Metrics"},
        "version": {"datasetVersion": "v1"},
    }
    schema = {
        "schema": {"fields": [{"name": "email"}]},
        "documentation": {"description": "'; DROP TABLE run;--"},
    }
    document["outputs"] = [
        {"namespace": "crm", "name": "churn-model", "facets": model},
        {"namespace": "crm", "name": "scores", "facets": scores},
        {"namespace": "crm", "name": EVIL, "facets": schema},
    ]
    with open_store(store_url, create=True) as opened:
        product.apply_all(opened, [[orjson.dumps(document)]])
    return store_url


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def found(capsys: pytest.CaptureFixture[str], store: str, *query: str) -> list[dict[str, Any]]:
    code, out, _ = run(capsys, "search", *query, "--json", "--store", store)
    assert code == 0
    results: list[dict[str, Any]] = json.loads(out)["results"]
    return results


def test_a_search_tells_what_where_and_why(capsys: pytest.CaptureFixture[str], store: str) -> None:
    code, out, _ = run(capsys, "search", "type:Model", "depth=8", "--store", store)
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["KIND", "NAME", "WHEN", "WHY"],
        [
            "Model",
            "crm/churn-model@table1:9f9f9f9f",
            "2026-03-01",
            "10:00:00Z",
            "type",
            "Model,",
            "parameter",
            "depth=8",
        ],
    ]


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        (["churn-model"], ["asset"]),
        (["churn"], ["asset", "job", "run"]),
        (["depth>6"], ["run"]),
        (["depth>8"], []),
        (["auc>0.9"], ["asset"]),
        (["loss<=0.05"], ["run"]),
        (["code:4F1C9AB"], ["run"]),
        (["column:email"], ["asset"]),
        (["churn", "--type", "job"], ["job"]),
        (["churn", "--type", "Model"], ["asset"]),
        (["type:model", "auc>0.9"], []),
        (["job:train", "type:Metrics"], ["asset"]),
        (["2j名"], ["asset"]),
    ],
    ids=str,
)
def test_what_fits_is_found(
    capsys: pytest.CaptureFixture[str], store: str, query: list[str], kinds: list[str]
) -> None:
    assert sorted(one["kind"] for one in found(capsys, store, *query)) == kinds


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE run;--",
        'a" OR "b',
        "NEAR(a b)",
        "a* AND NOT b",
        "%_%",
        "\\",
        "a:b:c",
        "x=",
        "=x",
        "((((",
        "column:",
        "\u202ea",
        "é̂",
        "a" * 4_000,
        "depth=" + "9" * 400,
        "depth=inf",
        "depth=nan",
        '"',
    ],
)
def test_what_is_typed_stays_a_value(capsys: pytest.CaptureFixture[str], store: str, text: str) -> None:
    code, _, err = run(capsys, "search", "--store", store, "--", text)
    assert code in (0, 5), err
    assert "(this is a bug" not in err
    assert len(found(capsys, store, "churn")) == 3


def test_a_name_that_wants_to_do_harm_is_shown_harmlessly(
    capsys: pytest.CaptureFixture[str], store: str
) -> None:
    _, out, _ = run(capsys, "search", "column:email", "--store", store)
    assert not set(out) & set("\x00\x1b\u202e")


def test_nothing_found_tells_the_nearest_names(capsys: pytest.CaptureFixture[str], store: str) -> None:
    code, out, _ = run(capsys, "search", "chrun-model", "--store", store)
    assert (code, out) == (0, "nothing found (did you mean 'churn-model'?)\n")


@pytest.mark.parametrize(
    ("term", "near"),
    [
        ("lass>0.4", "loss>0.4"),
        ("los<=0.05", "loss<=0.05"),
        ("LOSS<=0.05", "loss<=0.05"),
        ("aux>0.4", "auc>0.4"),
        ("metric:auk", "metric:auc"),
        ("metric:auk>=0.5", "metric:auc>=0.5"),
        ("dept=8", "depth=8"),
        ("parameter:detph", "parameter:depth"),
        ("detph", "depth"),
    ],
)
def test_a_metric_or_a_parameter_that_nobody_recorded_gets_the_nearest_that_somebody_did(
    capsys: pytest.CaptureFixture[str], store: str, term: str, near: str
) -> None:
    _, out, _ = run(capsys, "search", term, "--json", "--store", store)
    assert json.loads(out)["nearest"][0] == near
    code, out, _ = run(capsys, "search", term, "--store", store)
    assert (code, out.startswith("nothing found (did you mean "), near in out) == (0, True, True)
    with Lineage(store) as lineage:
        assert lineage.search(term).nearest[0] == near


@pytest.mark.parametrize("term", ["loss>5", "auc<0.1", "depth=7", "metric:nothinglikeit", "type:Model"])
def test_what_is_called_as_typed_or_like_nothing_gets_no_other_offered(
    capsys: pytest.CaptureFixture[str], store: str, term: str
) -> None:
    _, out, _ = run(capsys, "search", term, "job:nothing", "--json", "--store", store)
    assert json.loads(out)["nearest"] == []


@pytest.mark.parametrize("query", [["auc>0.9"], ["auc>0.9", "depth=8"], ["auc>0.9", "job:train"]], ids=str)
def test_a_run_is_found_by_what_was_measured_of_what_it_wrote(
    capsys: pytest.CaptureFixture[str], store: str, query: list[str]
) -> None:
    (one,) = found(capsys, store, *query, "--type", "run")
    assert (one["kind"], one["matches"][0]["text"]) == ("run", "auc=0.91")
    # Everything is asked for: the asset tells it, and the run is not told beside it.
    (one,) = found(capsys, store, *query)
    assert (one["kind"], one["name"]) == ("asset", "scores")


@pytest.mark.parametrize("query", [[""], [" ", ""]], ids=str)
def test_an_empty_query_is_a_wrong_use_of_the_command(
    capsys: pytest.CaptureFixture[str], store: str, query: list[str]
) -> None:
    code, _, err = run(capsys, "search", "--store", store, "--", *query)
    assert code == 2
    assert "nothing to search for" in err


@pytest.mark.parametrize("query", [["auc>much"], ["---"], ["x"] * 17], ids=str)
def test_a_query_that_asks_nothing_is_refused(
    capsys: pytest.CaptureFixture[str], store: str, query: list[str]
) -> None:
    code, _, err = run(capsys, "search", "--store", store, "--", *query)
    assert code == 5
    assert err.startswith("headwater: ")


@pytest.mark.parametrize("term", ["nokey:foo", "state:FAIL", "auc>>0.4", "auc=>0.4"])
def test_a_term_that_asks_for_what_there_is_not_is_refused_and_no_empty_answer(
    capsys: pytest.CaptureFixture[str], store: str, term: str
) -> None:
    assert cli.main(["search", term, "--store", store]) == 5
    assert capsys.readouterr().out == ""


def test_an_answer_that_was_cut_says_so(capsys: pytest.CaptureFixture[str], store: str) -> None:
    _, out, _ = run(capsys, "search", "churn", "--limit", "1", "--store", store)
    assert out.splitlines()[-1] == "there is more, or may be: narrow the search, or --limit"


def test_metrics_are_a_table_curves_or_json(capsys: pytest.CaptureFixture[str], store: str) -> None:
    run_id = f"00000000-0000-7000-8000-{1:012x}"
    _, out, _ = run(capsys, "metrics", run_id, "--store", store)
    assert out.splitlines()[1].split() == ["loss", "20", "19", "0.05", "0.05", "1"]
    _, out, _ = run(capsys, "metrics", run_id, "--plot", "--store", store)
    assert len(out.splitlines()) == 11
    _, out, _ = run(capsys, "metrics", "scores", "--store", store)
    assert out.splitlines()[1].split()[-2:] == ["v1", "0.91"]
    _, out, _ = run(capsys, "metrics", "train", "--json", "--store", store)
    assert [series["key"] for series in json.loads(out)["series"]] == ["auc", "loss"]


def test_gaps_end_with_one_when_something_is_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'lineage.db'}"
    with open_store(url) as opened:
        product.apply_all(opened, [[run_event(0, "START"), run_event(0)]])
    assert run(capsys, "gaps", "--store", url) == (0, "nothing is missing\n", "")
    with open_store(url) as opened:
        product.apply_all(opened, [[run_event(7, "START")]])
    code, out, _ = run(capsys, "gaps", "--store", url)
    assert (code, out.splitlines()[0]) == (1, "runs that did not end: 1")
    assert run(capsys, "gaps", "--since", "1d", "--store", url)[0] == 0
    code, _, err = run(capsys, "gaps", "--older-than", "soon", "--store", url)
    assert (code, "no span of time" in err) == (2, True)


def test_a_search_for_what_is_not_there_yet_says_so(capsys: pytest.CaptureFixture[str], store: str) -> None:
    code, out, _ = run(capsys, "search", "scores", "--as-of", "2020-01-01", "--store", store)
    assert (code, out) == (0, "nothing found (scores was not there yet)\n")
    _, out, _ = run(capsys, "search", "nothing>0.9", "--type", "run", "--store", store)
    assert "without --type run" in out
