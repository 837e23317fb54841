"""The commands that say something about assets, and the one that tells what a bad version went into."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from headwater.consumers import cli
from headwater.consumers.store import open_store
from tests.support.churn import CUSTOMERS, MODELS, recorded_log, run_of
from tests.support.logs import run_event, write_segment


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a folder of its own, and no setting of ours from outside."""
    for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def places(store_url: str, tmp_path: Path) -> tuple[str, ...]:
    """Where the store and the log are; the store has what the log says."""
    log = recorded_log(tmp_path)
    open_store(store_url, create=True).close()
    found = ("--store", store_url, "--log", str(log))
    assert cli.main(["consume", *found]) == 0
    return found


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    """Exit code, lines of standard output, standard error."""
    capsys.readouterr()
    code = cli.main(arguments)
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    return json.loads("\n".join(out))


def test_each_command_says_what_it_recorded(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...]
) -> None:
    ada = (*places, "--actor", "ada")
    for arguments, told in (
        (("tag", "customers", "pii=yes", "--remove", "draft"), "crm/customers  tagged pii=yes -draft"),
        (("describe", "customers", "One row each."), "crm/customers  described: One row each."),
        (("describe", "customers", ""), "crm/customers  not described any more"),
        (
            ("own", "customers", "team:crm", "user:eve", "--type", "STEWARD"),
            "crm/customers  owned by team:crm (STEWARD), user:eve (STEWARD)",
        ),
        (("alias", "churn-model@dddd", "production"), "crm/churn-model@json1:dddddddd…  is production"),
        (
            ("alias", "churn-model", "production", "--remove"),
            "crm/churn-model@json1:dddddddd…  is not production any more",
        ),
        (
            ("recall", "customers@bbbb", "--reason", "units"),
            "crm/customers@table1:bbbbbbbb…  recalled: units",
        ),
        (
            ("recall", "customers@bbbb", "--lift", "--reason", "fine"),
            "crm/customers@table1:bbbbbbbb…  recalled no longer: fine",
        ),
        (
            ("recall", "customers", "--all-versions", "--reason", "source"),
            "crm/customers  every version recalled: source",
        ),
    ):
        code, out, err = run(capsys, *arguments, *ada)
        notes = ["  it had no tag 'draft'"] if "draft" in arguments else []
        assert (code, out, err) == (0, [f"{told}  by ada", *notes], "")


def test_the_actor_is_whom_the_environment_names(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_ACTOR", "grace")
    assert answer(capsys, "tag", "customers", "a=b", *places)["actor"] == "grace"
    monkeypatch.delenv("HEADWATER_ACTOR")
    monkeypatch.setenv("LOGNAME", "login")
    assert answer(capsys, "tag", "customers", "a=b", *places)["actor"] == "login"


def test_json_has_what_was_recorded(capsys: pytest.CaptureFixture[str], places: tuple[str, ...]) -> None:
    said = answer(capsys, "recall", "customers@bbbb", "--reason", "units", "--actor", "ada", *places)
    assert said.pop("at").endswith("Z")
    assert len(said.pop("event_id")) == 64
    assert said == {
        "kind": "recall",
        "namespace": "crm",
        "name": "customers",
        "version": CUSTOMERS[1],
        "run_id": None,
        "values": {"reason": "units", "lifted": False},
        "actor": "ada",
        "in_store": True,
        "notes": [],
    }


def test_a_control_character_does_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...]
) -> None:
    _, out, _ = run(capsys, "describe", "customers", "\x1b[31mred\u202e", *places)
    assert "\\u001b[31mred\\u202e" in out[0]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("tag", "customers"), 2, "nothing to set"),
        (("tag", "customers", "=x"), 2, "KEY=VALUE"),
        (("tag", "customers", "a=b", "--remove", "a"), 2, "set and removed"),
        (("recall", "customers@bbbb"), 2, "--reason"),
        (("recall", "customres@b", "--reason", "x"), 4, "customers"),
        (("recall", "customers", "--reason", "x"), 4, "say which"),
        (("recall", "customers@bbbb", "--reason", " "), 2, "it is empty"),
        (("impact",), 2, "either NAME or --recalled"),
        (("impact", "customers", "--recalled"), 2, "either NAME or --recalled"),
        (("impact", "nothing-like-it"), 4, "nothing-like-it"),
    ],
)
def test_what_cannot_be_done_says_so(
    capsys: pytest.CaptureFixture[str],
    places: tuple[str, ...],
    arguments: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    ended, out, err = run(capsys, *arguments, *places)
    assert (ended, out) == (code, [])
    assert told in err


def test_without_a_store_nothing_is_recorded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = recorded_log(tmp_path)
    before = sorted(log.iterdir())
    places = ("--store", f"sqlite:///{tmp_path}/none.db", "--log", str(log))
    code, _, err = run(capsys, "tag", "customers", "a=b", *places)
    assert code == 3
    assert "headwater consume" in err
    assert sorted(log.iterdir()) == before


# -- impact -------------------------------------------------------------------------------


def test_impact_tells_what_is_still_in_use_and_by_which_way(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...]
) -> None:
    run(capsys, "alias", "churn-model@cccc", "production", *places)
    _, now, _ = run(capsys, "impact", "customers", *places)
    assert now == [
        "crm/customers@table1:bbbbbbbb…",
        "  1 production of 1 asset made from it",
        "",
        "still in use",
        "  crm/churn-model@json1:dddddddd…  Model  current  2026-11-23 15:06:11Z",
        "    customers → churn.train → churn-model",
    ]
    _, before, _ = run(capsys, "impact", "customers@aaaa", *places)
    assert "  crm/churn-model@json1:cccccccc…  Model  production  2026-11-23 15:05:11Z" in before
    run(capsys, "alias", "churn-model", "production", "--remove", *places)
    _, before, _ = run(capsys, "impact", "customers@aaaa", *places)
    assert "made before, another version is current" in before


def test_impact_of_everything_recalled_names_who_and_why(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...]
) -> None:
    assert run(capsys, "impact", "--recalled", *places)[1] == ["nothing is recalled"]
    run(capsys, "recall", "customers@bbbb", "--reason", "units", "--actor", "ada", *places)
    code, out, _ = run(capsys, "impact", "--recalled", *places)
    assert code == 0
    assert out[0] == "crm/customers@table1:bbbbbbbb…  recalled"
    assert out[1].startswith("  recalled by ada ")
    assert out[1].endswith(": units")
    (found,) = answer(capsys, "impact", "--recalled", *places)["recalls"]
    assert (found["of"]["version"], found["productions"], found["truncated"]) == (CUSTOMERS[1], 1, False)
    assert [(asset["name"], asset["version"]) for asset in found["assets"]] == [("churn-model", MODELS[1])]
    assert [hop["job"]["name"] for hop in found["assets"][0]["way"]] == ["churn.load", "churn.train"]


def test_impact_is_cut_where_it_is_told_to_and_says_so(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...]
) -> None:
    run(capsys, "recall", "customers", "--all-versions", "--reason", "units", *places)
    _, out, _ = run(capsys, "impact", "--recalled", "--limit", "1", *places)
    assert out[-1] == "  cut at 1: there is more (--limit)"
    assert any(line.startswith("  at least 1 production of 1 asset") for line in out)


def test_impact_of_what_was_made_from_something_recalled_says_so(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...]
) -> None:
    run(capsys, "recall", "customers@bbbb", "--reason", "units", *places)
    _, out, _ = run(capsys, "impact", "churn-model@dddd", *places)
    assert out[0] == "crm/churn-model@json1:dddddddd…  made from recalled"
    assert out[1].startswith("  crm/customers@table1:bbbbbbbb… recalled by ")
    found = answer(capsys, "impact", "churn-model@dddd", *places)
    assert (found["recalled"], found["recalled_upstream"]) == (False, True)
    assert [recall["reason"] for recall in found["recalls"]] == ["units"]


def test_impact_of_a_run_is_that_of_what_it_wrote(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...]
) -> None:
    _, out, _ = run(capsys, "impact", run_of(1, "load").id, *places)
    assert out[0] == "what run 0198c2f4-0000… wrote"
    assert "    customers → churn.train → churn-model" in out
    _, out, _ = run(capsys, "impact", "churn-model", *places)
    assert out[1] == "  nothing was made from it"


def test_impact_as_of_a_time_before_knows_nothing_of_what_came_later(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...]
) -> None:
    run(capsys, "recall", "customers@bbbb", "--reason", "units", *places)
    early = ("--as-of", "2026-11-23T15:05:08Z")
    assert answer(capsys, "impact", "customers", *places, *early)["assets"] == []
    assert answer(capsys, "impact", "--recalled", *places, *early)["recalls"] == []


def test_answers_about_what_was_made_from_a_recalled_version_say_so(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...]
) -> None:
    run(capsys, "recall", "customers@bbbb", "--reason", "units", "--actor", "ada", *places)
    _, tree, _ = run(capsys, "lineage", "churn-model", *places)
    assert "  made from recalled" in tree[0]
    assert any("  recalled" in line for line in tree[1:])
    _, page, _ = run(capsys, "show", "churn-model", *places)
    assert any(
        line.startswith("  made from crm/customers@table1:bbbbbbbb…, recalled by ada") for line in page
    )
    _, listed, _ = run(capsys, "assets", *places)
    assert [line for line in listed if line.endswith("  recalled")] == [
        line for line in listed if "customers" in line
    ]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("search", "type:Dataset", "customers"), "recalled"),
        (("search", "churn-model"), "made from recalled"),
        (("runs", "--job", "churn.load"), "wrote recalled"),
        (("runs", "--job", "churn.train"), "read recalled"),
        (("assets", "churn-model"), "made from recalled"),
        (("diff", "churn-model"), "made from recalled"),
        (("diff", "customers"), "recalled"),
        (("lineage", "churn-model#"), "made from recalled"),
        (("lineage", "churn-model#", "--format", "mermaid"), "made from recalled"),
        (("recipe", "churn-model"), "recalled_upstream: true"),
        (("reproduce", "churn-model", "--no-record"), "made from recalled"),
    ],
    ids=" ".join,
)
def test_every_question_that_meets_a_recalled_version_or_a_descendant_says_so_and_why(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...], asked: tuple[str, ...], told: str
) -> None:
    _, clean, _ = run(capsys, *asked, *places)
    run(capsys, "recall", "customers@bbbb", "--reason", "wrong units", "--actor", "ada", *places)
    _, lines, err = run(capsys, *asked, *places)
    said = "\n".join(lines)
    assert told in said
    assert told not in "\n".join(clean)
    # Drawings, trees and the listing of assets bear the mark alone; `show` says why.
    assert asked[0] in ("lineage", "assets") or "wrong units" in said + err
    as_of = ("--as-of", "2026-11-23T16:30:00Z") if asked[0] != "reproduce" else ()
    if as_of:
        _, then, _ = run(capsys, *asked, *as_of, *places)
        assert told not in "\n".join(then)
    run(capsys, "recall", "customers@bbbb", "--lift", "--reason", "fine", *places)
    _, lifted, _ = run(capsys, *asked, *places)
    assert told not in "\n".join(lifted)


def test_a_recipe_that_was_written_before_a_recall_says_so_when_it_is_used(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...], tmp_path: Path
) -> None:
    file = str(tmp_path / "model.yaml")
    run(capsys, "recipe", "churn-model", "--output", file, *places)
    run(capsys, "recall", "customers@bbbb", "--reason", "wrong units", *places)
    _, lines, err = run(capsys, "reproduce", "--recipe", file, "--no-record", *places)
    assert "made from recalled" in lines[0]
    assert "wrong units" in err
    # Of a store that does not know it, what the file says holds.
    elsewhere = ("--store", f"sqlite:///{tmp_path}/none.db", "--log", str(tmp_path / "nothing"))
    _, lines, _ = run(capsys, "reproduce", "--recipe", file, "--no-record", *elsewhere)
    assert "recalled" not in lines[0]
    run(capsys, "recipe", "churn-model", "--output", file, *places)
    _, lines, _ = run(capsys, "reproduce", "--recipe", file, "--no-record", *elsewhere)
    assert "made from recalled" in lines[0]


def test_the_json_of_marked_answers_names_the_recalls(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...]
) -> None:
    run(capsys, "recall", "customers@bbbb", "--reason", "wrong units", "--actor", "ada", *places)
    runs = answer(capsys, "runs", "--job", "churn.train", *places)["runs"]
    assert [(one["recalled"], one["recalled_upstream"]) for one in runs] == [(False, True), (False, False)]
    (recall,) = runs[0]["recalls"]
    assert (recall["name"], recall["reason"], recall["actor"]) == ("customers", "wrong units", "ada")
    found = answer(capsys, "search", "churn-model", "--type", "asset", *places)["results"]
    assert [(one["recalled_upstream"], one["recalls"]) for one in found] == [(True, [recall])]
    diff = answer(capsys, "diff", "churn-model", *places)
    assert (diff["before"]["recalls"], diff["after"]["recalls"]) == ([], [recall])
    _, lines, _ = run(capsys, "runs", "--format", "csv", *places)
    assert lines[0].endswith("recalled,recalled_upstream,recalls,duration_s")


def test_nothing_is_said_into_a_log_that_is_no_folder(
    capsys: pytest.CaptureFixture[str], places: tuple[str, ...], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    code, _, said = run(capsys, "tag", "churn-model", "a=b", *places[:2], "--log", "s3://bucket/t")
    assert code == 3
    assert "s3://" in said
    assert sorted(tmp_path.iterdir()) == before


def test_what_read_a_recalled_version_of_a_run_that_the_log_lacks_is_affected(
    capsys: pytest.CaptureFixture[str], store_url: str, tmp_path: Path
) -> None:
    facet = {"_producer": "https://example.com", "_schemaURL": "https://example.com/facet.json"}
    read = {
        "namespace": "lake",
        "name": "from elsewhere",
        "facets": {"version": {**facet, "datasetVersion": "table1:aaaa"}},
        "inputFacets": {
            "headwater_input": {**facet, "productionRunId": "00000000-0000-7000-8000-000000000099"}
        },
    }
    recall = {
        "eventTime": "2026-03-02T00:00:00Z",
        "producer": "https://example.com/tests",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/DatasetEvent",
        "dataset": {
            "namespace": "lake",
            "name": "from elsewhere",
            "facets": {"headwater_recall": {**facet, "version": "table1:aaaa", "reason": "wrong"}},
        },
    }
    reader = json.loads(run_event(1)) | {"inputs": [read]}
    write_segment(tmp_path / "log", [json.dumps(event).encode() for event in (reader, recall)])
    open_store(store_url, create=True).close()
    places = ("--store", store_url, "--log", str(tmp_path / "log"))
    assert cli.main(["consume", *places]) == 0
    _, lines, _ = run(capsys, "impact", "--recalled", *places)
    assert any("out-1" in line for line in lines)
