"""The command line as a person and as a program meets it: real stores, and real processes for the frame."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from headwater.consumers import cli
from headwater.consumers.cli.app import COMMANDS, app
from headwater.consumers.store import open_store
from tests.support.graphs import Graph
from tests.support.logs import write_segment

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
MINUTE = 60_000_000
VERSION = "table1:" + "9f" * 32
OTHER_VERSION = "table1:" + "9e" * 32
RUN = "0198c2f4-0000-7000-8000-000000000001"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a folder of its own, and no setting of ours from outside."""
    for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def crm() -> Graph:
    """customers → features → churn-model, written by the steps of crm/churn."""
    graph = Graph()
    pipeline = graph.run("0198c2f4-0000-7000-8000-000000000000", job="churn", at=MINUTE)
    step = {
        "parent_run_id": pipeline,
        "parent_job_id": graph.job("churn"),
        "root_run_id": pipeline,
    }
    code = {"headwater_code": {"gitCommit": "4f1c9ab" * 5, "gitDirty": False, "function": "churn:train"}}
    parameters = {"executionParameters": {"parameters": [{"key": "depth", "value": "8"}]}}
    load = graph.run(
        "0198c2f4-0000-7000-8000-000000000002", job="churn.load", at=2 * MINUTE, facets=code, **step
    )
    schema = {"schema": {"fields": [{"name": "tenure", "type": "int64"}, {"name": "plan", "type": "string"}]}}
    rows = {"outputStatistics": {"rowCount": 7043, "size": 100_000}}
    dataset = {"headwater_asset": {"assetType": "Dataset", "location": "s3://lake/customers.csv"}}
    customers = graph.output(
        load, "customers", OTHER_VERSION, at=3 * MINUTE, facets={**schema, **rows, **dataset}
    )
    train = graph.run(RUN, job="churn.train", at=4 * MINUTE, facets={**code, **parameters}, **step)
    graph.input(train, "customers", OTHER_VERSION, production=customers, at=4 * MINUTE)
    graph.input(train, "rates", at=4 * MINUTE)
    model = {
        "headwater_asset": {"assetType": "Model"},
        "headwater_model": {"class": "sklearn.ensemble.Forest"},
    }
    tags = {"tags": {"tags": [{"key": "team", "value": "crm", "source": "headwater"}]}}
    graph.output(train, "churn-model", VERSION, at=5 * MINUTE, facets={**model, **tags})
    failed = graph.run(
        "0198c2f4-0000-7000-8000-000000000003",
        job="churn.report",
        at=6 * MINUTE,
        state=5,
        facets={"errorMessage": {"message": "no font", "stackTrace": "File x\nOSError"}},
        **step,
    )
    graph.input(failed, "churn-model", VERSION, at=6 * MINUTE)
    graph.governance("alias", "production", "churn-model", VERSION, at=7 * MINUTE, actor="ada")
    graph.governance("recall", "", "customers", OTHER_VERSION, value="wrong units", at=7 * MINUTE)
    graph.point(train, "loss", 0.5, step=1)
    graph.point(train, "loss", 0.25, step=2)
    return graph


def fill(url: str, graph: Graph) -> None:
    with open_store(url, create=True) as store, store.writing() as connection:
        graph.insert(connection)


@pytest.fixture
def store(store_url: str) -> str:
    fill(store_url, crm())
    return store_url


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code = cli.main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out)


# -- asking -----------------------------------------------------------------------------


def test_the_tree_names_what_was_read_and_the_steps_between(
    capsys: pytest.CaptureFixture[str], store: str
) -> None:
    code, out, _ = run(capsys, "lineage", "churn-model", "--store", store)
    assert code == 0
    assert out.splitlines() == [
        "churn-model  table1:9f9f9f9f…  made from recalled  Model · Forest",
        "└─ train  ns/churn  run 0198c2f4-0000…  1970-01-01 00:04:00Z  1 µs  git 4f1c9ab (clean)",
        "   ├─ customers  table1:9e9e9e9e…  recalled  Dataset · 7,043 × 2  s3://lake/customers.csv",
        "   │  └─ load  ns/churn  run 0198c2f4-0000…  1970-01-01 00:02:00Z  1 µs  git 4f1c9ab (clean)",
        "   └─ rates  origin unknown",
        "1 of 2 edges are inferred: the events named no production",
    ]


def test_down_ends_with_the_runs_that_only_read(capsys: pytest.CaptureFixture[str], store: str) -> None:
    code, out, _ = run(capsys, "lineage", "customers", "--down", "--store", store)
    assert code == 0
    assert "report  read recalled  ns/churn" in out.splitlines()[-2]
    assert "fail" in out


def test_a_name_can_be_a_path_a_version_an_alias_a_run_or_a_production(
    capsys: pytest.CaptureFixture[str], store: str
) -> None:
    expected = answer(capsys, "lineage", "churn-model", "--store", store)
    production = expected["up"]["roots"][0]
    for name in (
        "ns/churn-model",
        f"churn-model@{VERSION}",
        "churn-model@table1:9f9f",
        "churn-model@9f9f",
        "churn-model@production",
        f"churn-model@{RUN}",
        RUN,
        production,
        production[:13],
    ):
        assert answer(capsys, "lineage", name, "--store", store) == expected


def test_a_prefix_that_fits_two_runs_lists_them(capsys: pytest.CaptureFixture[str], store: str) -> None:
    code, out, err = run(capsys, "show", "0198c2f4", "--store", store)
    assert (code, out) == (cli.UNKNOWN, "")
    assert RUN in err
    assert len(err.splitlines()) == 1


def test_one_name_in_two_namespaces_is_ambiguous_and_lists_both(
    capsys: pytest.CaptureFixture[str], store_url: str
) -> None:
    graph = crm()
    graph.dataset("churn-model", namespace="other/place")
    fill(store_url, graph)
    code, _, err = run(capsys, "lineage", "churn-model", "--store", store_url)
    assert code == cli.UNKNOWN
    assert "ns/churn-model" in err
    assert "other/place/churn-model" in err
    assert run(capsys, "lineage", "ns/churn-model", "--store", store_url)[0] == 0


def test_what_is_not_there_is_said_in_one_line(capsys: pytest.CaptureFixture[str], store: str) -> None:
    for name in ("nothing", "churn-model@nothing", "deadbeef"):
        code, out, err = run(capsys, "lineage", name, "--store", store)
        assert (code, out) == (cli.UNKNOWN, "")
        assert len(err.splitlines()) == 1


def test_an_asset_of_unknown_origin_says_who_read_it(capsys: pytest.CaptureFixture[str], store: str) -> None:
    found = answer(capsys, "lineage", "rates", "--down", "--store", store)["down"]
    assert [(node["name"], node["depth"]) for node in found["nodes"]] == [
        ("rates", 0),
        ("churn-model", 1),
        (None, 2),
    ]


def test_a_depth_is_kept_and_said_in_the_tree_and_in_json(
    capsys: pytest.CaptureFixture[str], store: str
) -> None:
    arguments = ("lineage", "churn-model", "--depth", "0", "--store", store)
    _, out, _ = run(capsys, *arguments)
    assert "more beyond this depth" in out
    assert "cut at depth 0" in out
    found = answer(capsys, *arguments)["up"]
    assert (found["truncated"], found["nodes"][0]["more"]) == ("depth", True)


def test_a_limit_is_kept_and_said(capsys: pytest.CaptureFixture[str], store: str) -> None:
    _, out, _ = run(capsys, "lineage", "churn-model", "--limit", "2", "--store", store)
    assert "cut at 2 nodes" in out


def test_both_directions_are_both_drawn(capsys: pytest.CaptureFixture[str], store: str) -> None:
    assert set(answer(capsys, "lineage", "customers", "--up", "--down", "--store", store)) == {"up", "down"}
    code, out, _ = run(
        capsys, "lineage", "churn-model", "--up", "--down", "--format", "dot", "--store", store
    )
    assert code == 0
    assert out.startswith("digraph lineage {")
    assert "customers" in out
    assert "report" in out


def test_mermaid_draws_every_node_and_edge(capsys: pytest.CaptureFixture[str], store: str) -> None:
    _, out, _ = run(capsys, "lineage", "churn-model", "--format", "mermaid", "--store", store)
    assert out.splitlines()[0] == "flowchart LR"
    assert sum("-->" in line for line in out.splitlines()) == 1
    assert sum("-.->" in line for line in out.splitlines()) == 1


def test_show_tells_everything_of_an_asset(capsys: pytest.CaptureFixture[str], store: str) -> None:
    _, out, _ = run(capsys, "show", "churn-model", "--store", store)
    for part in ("Model · Forest", VERSION, "team", "production", "ada", "depth", "8", "inputs", "history"):
        assert part in out
    found = answer(capsys, "show", "customers", "--store", store)
    assert found["statistics"] == {"row_count": 7043, "size": 100_000}
    assert [column["name"] for column in found["columns"]] == ["tenure", "plan"]
    assert found["facets"]["outputStatistics"] == {"rowCount": 7043, "size": 100_000}


def test_show_tells_everything_of_a_run(capsys: pytest.CaptureFixture[str], store: str) -> None:
    found = answer(capsys, "show", RUN, "--store", store)
    assert found["parameters"] == {"depth": 8}
    assert [(read["name"], read["binding"]) for read in found["inputs"]] == [
        ("customers", "named"),
        ("rates", "unknown"),
    ]
    assert [(metric["key"], metric["value"], metric["points"]) for metric in found["metrics"]] == [
        ("loss", 0.25, 2)
    ]
    _, out, _ = run(capsys, "show", "0198c2f4-0000-7000-8000-000000000003", "--store", store)
    assert "no font" in out
    assert "OSError" in out


def test_runs_are_listed_latest_first_and_filtered(capsys: pytest.CaptureFixture[str], store: str) -> None:
    found = answer(capsys, "runs", "--store", store)["runs"]
    assert [entry["job"]["name"] for entry in found] == ["churn.report", "churn.train", "churn.load", "churn"]
    assert [e["state"] for e in answer(capsys, "runs", "--state", "fail", "--store", store)["runs"]] == [
        "FAIL"
    ]
    for job in ("train", "churn.train", "ns/churn.train"):
        assert [e["id"] for e in answer(capsys, "runs", "--job", job, "--store", store)["runs"]] == [RUN]
    assert run(capsys, "runs", "--job", "nothing", "--store", store)[0] == cli.UNKNOWN


def test_assets_are_listed_and_matched(capsys: pytest.CaptureFixture[str], store: str) -> None:
    found = answer(capsys, "assets", "--store", store)
    assert [asset["name"] for asset in found["assets"]] == ["churn-model", "customers", "rates"]
    assert not found["more"]
    for pattern in ("c*", "ns/c*"):
        assert len(answer(capsys, "assets", pattern, "--store", store)["assets"]) == 2
    cut = answer(capsys, "assets", "--limit", "1", "--store", store)
    assert (len(cut["assets"]), cut["more"]) == (1, True)
    _, out, _ = run(capsys, "assets", "--store", store)
    assert "never written" in out


def test_names_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str], sqlite_url: str) -> None:
    graph = Graph()
    graph.output(graph.run("1"), "red\x1b[31m\nname\u202e", "v", at=1)
    fill(sqlite_url, graph)
    for command in (("assets",), ("lineage", "red\x1b[31m\nname\u202e"), ("show", "red\x1b[31m\nname\u202e")):
        _, out, _ = run(capsys, *command, "--store", sqlite_url)
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "\\u001b[31m\\u000aname\\u202e" in out


# -- the frame --------------------------------------------------------------------------


def test_a_question_never_makes_a_store(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "assets")
    assert code == cli.MISCONFIGURED
    assert "headwater consume" in err
    assert not (tmp_path / ".headwater").exists()


def test_a_wrong_command_line_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["nothing"], ["lineage"], ["lineage", "x", "--depth", "-1"], ["runs", "--state", "well"]):
        assert run(capsys, *wrong)[0] == cli.USAGE


def test_a_store_that_cannot_be_is_a_line_that_names_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "runs", "--store", "mysql://somewhere/x")
    assert code == cli.MISCONFIGURED
    assert "sqlite:///path or postgresql://" in err


def test_debug_shows_where_an_error_comes_from() -> None:
    from headwater.schemas.errors import Misconfigured

    with pytest.raises(Misconfigured):
        cli.main(["runs", "--debug", "--store", "mysql://somewhere/x"])


def test_the_store_comes_from_the_option_then_the_environment_then_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("option", "variable", "file"):
        graph = Graph()
        graph.dataset(name)
        fill(f"sqlite:///{tmp_path / name}.db", graph)
    (tmp_path / "headwater.yaml").write_text("store: sqlite:///file.db\n")
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert answer(capsys, "assets")["assets"][0]["name"] == "file"
    monkeypatch.setenv("HEADWATER_STORE", f"sqlite:///{tmp_path}/variable.db")
    assert answer(capsys, "assets")["assets"][0]["name"] == "variable"
    option = f"sqlite:///{tmp_path}/option.db"
    assert answer(capsys, "assets", "--store", option)["assets"][0]["name"] == "option"
    code, out, _ = run(capsys, "--store", option, "assets", "--json")
    assert (code, json.loads(out)["assets"][0]["name"]) == (0, "option")
    (tmp_path / "other.yaml").write_text("store: sqlite:///variable.db\n")
    monkeypatch.delenv("HEADWATER_STORE")
    assert answer(capsys, "assets", "--config", "../other.yaml")["assets"][0]["name"] == "variable"


def _headwater(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from headwater.consumers.cli import main; sys.exit(main())"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, **options)


def test_a_project_holds_also_where_the_store_and_the_folder_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headwater.yaml").write_text("quarantine: {in_a_row: 3}\n")
    write_segment(tmp_path / "log", [b"no event"] * 5)
    assert cli.main(["consume", "--store", sqlite_url, "--log", str(tmp_path / "log")]) != 0
    assert "is halted" in capsys.readouterr().err


def test_help_is_quick_because_it_imports_no_database() -> None:
    program = (
        "import sys\nfrom headwater.consumers.cli import main\nmain(['--help'])\n"
        "loud = {'sqlalchemy', 'psycopg', 'alembic', 'yaml'} & set(sys.modules)\n"
        "sys.exit(', '.join(loud) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "headwater lineage churn-model" in done.stdout


def test_without_the_extra_the_command_names_it(tmp_path: Path) -> None:
    """A folder in front of the path that refuses click stands for an installation without it."""
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('No module named click', name='click')\n")
    done = _headwater("assets", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == cli.MISCONFIGURED
    assert "pip install 'headwater[consumers]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_has_seen_enough_is_no_error(sqlite_url: str) -> None:
    graph = Graph()
    for number in range(3000):
        graph.dataset(f"{number:04}-{'x' * 60}")
    fill(sqlite_url, graph)
    program = f"{sys.executable} -c 'import sys; from headwater.consumers.cli import main; sys.exit(main())'"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {program} assets --limit 3000 --store {sqlite_url} | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ASSET")


def test_completion_knows_the_commands() -> None:
    done = _headwater(
        env={
            **os.environ,
            "_HEADWATER_COMPLETE": "bash_complete",
            "COMP_WORDS": "headwater li",
            "COMP_CWORD": "1",
        }
    )
    assert "lineage" in done.stdout
    for shell in ("bash", "zsh", "fish"):
        assert "_HEADWATER_COMPLETE" in _headwater("completion", shell).stdout


# -- the reference ----------------------------------------------------------------------


def commands(group: click.Group, name: str = "headwater") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for part in group.list_commands(context):
        command = group.get_command(context, part)
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {part}")
        elif command is not None:
            yield f"{name} {part}", command


def test_every_command_and_every_option_is_in_the_reference() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    everywhere = {"--store", "--log", "--config", "--debug", "--help", "--json"}
    everywhere |= {"--format", "--output", "--table"}  # of every question
    for name, command in commands(app):
        assert f"## `{name}" in text
        own = text.split(f"## `{name}")[1].split("\n## ")[0]
        for parameter in command.params:
            for option in parameter.opts:
                is_hidden = isinstance(parameter, click.Option) and parameter.hidden
                if option.startswith("--") and option not in everywhere and not is_hidden:
                    assert f"`{option}" in own, f"{name} {option}"
    assert all(f"`{option}" in text for option in everywhere)


def test_every_command_explains_itself() -> None:
    assert set(COMMANDS) == set(app.list_commands(click.Context(app)))
    for name, command in commands(app):
        assert command.help, name
        if name.split()[1] not in ("demo", "completion"):
            assert any("--json" in parameter.opts for parameter in command.params), name


def test_every_exit_code_is_in_the_reference() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    codes = (cli.NO, cli.USAGE, cli.MISCONFIGURED, cli.UNKNOWN, cli.UNACCEPTABLE, cli.RETRY, cli.BUG)
    for code in (0, *codes, cli.INTERRUPTED):
        assert f"| {code} |" in text
