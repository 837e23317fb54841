"""The demo, from end to end, as a person meets it: one telling, looked at from several sides."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from headwater.consumers import Lineage
from headwater.consumers.answers import RunDetails
from headwater.consumers.cli.story import found
from headwater.consumers.demo.folder import DemoFolder, prepared
from headwater.consumers.demo.story import Story, require
from headwater.consumers.demo.trials import trials
from headwater.schemas.errors import Misconfigured, Rejected
from tests.docs.documents import ROOT, blocks_of, prints

HEADWATER = str(Path(sys.executable).with_name("headwater"))
ESCAPE = "\x1b"
STEPS = {"load", "clean", "split", "features", "train_forest", "train_boosted", "evaluate", "report"}


@dataclass(frozen=True)
class Told:
    """A finished demo: where it was started, and what it printed."""

    home: Path
    printed: str

    @property
    def store(self) -> str:
        return f"sqlite:///{self.home / '.headwater-demo' / 'lineage.db'}"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    home = tmp_path_factory.mktemp("demo")
    (home / "headwater.yaml").write_text("mode: of another project\n")
    done = run([HEADWATER, "demo"], home)
    assert done.returncode == 0, done.stdout + done.stderr
    return Told(home, done.stdout)


def run(command: list[str], home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "FORCE_"))
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    return subprocess.run(
        command,
        cwd=home,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def unscored(text: str) -> str:
    """`text` without scores, which differ a little between versions of scikit-learn."""
    return re.sub(r"\b0\.\d{3}\b", "0.…", text)


def test_both_runs_are_in_the_store_with_all_their_steps(told: Told) -> None:
    with Lineage(told.store) as lineage:
        runs = lineage.runs(job="progression")
        assert [run.state for run in runs] == ["COMPLETE", "COMPLETE"]
        for run in runs:
            details = lineage.show(run.id)
            assert isinstance(details, RunDetails)
            names = {step.job.name.removeprefix("progression.") for step in details.children if step.job}
            assert names == STEPS


def test_the_runs_differ_in_the_depth_the_input_and_what_came_of_it(told: Told) -> None:
    first, second = trials(told.store)
    assert (first.parameters["depth"], second.parameters["depth"]) == (6, 2)
    assert first.metrics.keys() == second.metrics.keys() == {"forest", "boosted"}
    with Lineage(told.store) as lineage:
        found = lineage.diff(first.run_id, second.run_id)
    assert [(cause.kind, cause.name) for cause in found.causes][:2] == [
        ("parameter", "depth"),
        ("source", "patients"),
    ]
    assert {step.name for step in found.causes[0].steps} == {"progression", "train_forest", "train_boosted"}
    assert {metric.of for metric in found.metrics} == {"forest.evaluation", "boosted.evaluation"}


def test_the_wrong_file_reached_the_first_run_and_nothing_of_the_second(told: Told) -> None:
    first, second = trials(told.store)
    with Lineage(told.store) as lineage:
        graph = lineage.downstream(first.named("patients"))
    reached = {(node.name, node.version) for node in graph.nodes}
    assert {name for name, _ in reached} >= {"forest", "boosted", "report"}
    assert ("forest", first.versions["forest"]) in reached
    assert ("forest", second.versions["forest"]) not in reached


def test_no_test_row_is_in_the_ancestry_of_a_model(told: Told) -> None:
    with Lineage(told.store) as lineage:
        names = {node.name for node in lineage.upstream("boosted").nodes}
    assert "patients.training" in names
    assert "patients.test" not in names


def test_it_ends_with_three_commands_that_work_when_pasted(told: Told) -> None:
    commands = [line[2:] for line in told.printed.split("Try next")[1].splitlines() if line.startswith("$ ")]
    assert len(commands) == 3
    for command in reversed(commands):
        done = run(shlex.split(command), told.home)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() or "replay" in command


def test_piped_it_prints_no_escape_codes_and_no_progress(told: Told) -> None:
    assert ESCAPE not in told.printed
    assert "\r" not in told.printed


def test_it_takes_less_than_a_minute_and_says_how_long(told: Told) -> None:
    (seconds,) = re.findall(r"^That took (\d+) s\.", told.printed, re.MULTILINE)
    assert int(seconds) < 60


def test_nothing_is_written_outside_of_its_folder(told: Told) -> None:
    assert {path.name for path in told.home.iterdir()} == {".headwater-demo", "headwater.yaml"}


def test_the_readme_shows_what_it_prints(told: Told) -> None:
    (block,) = [block for block in blocks_of(ROOT / "README.md") if block.says.endswith("tests/demo")]
    shown = block.text.splitlines()[1:]
    assert prints([unscored(line) for line in shown], unscored(told.printed)), told.printed


def test_what_it_found_can_be_had_as_json(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(told.home)
    document = found(DemoFolder(Path(".headwater-demo")))
    assert json.loads(json.dumps(document)) == document
    assert [one["parameters"]["depth"] for one in document["runs"]] == [6, 2]
    assert [one["versions"] for one in document["runs"]] == [trial.versions for trial in trials(told.store)]
    assert document["runs"][1]["r2"].keys() == {"forest", "boosted"}
    assert document["best"] in told.printed
    assert document["verification"]["equal"]
    assert (document["folder"], document["store"]) == (
        ".headwater-demo",
        "sqlite:///.headwater-demo/lineage.db",
    )


@pytest.mark.deep
def test_with_json_the_story_goes_to_standard_error(tmp_path: Path) -> None:
    done = run([HEADWATER, "demo", "--json"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lineage patients@" in done.stderr
    assert json.loads(done.stdout)["verification"]["equal"]


def test_a_part_that_fails_ends_it_and_is_named(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    story = Story(prepared(tmp_path / "demo"), console, python="false")
    with pytest.raises(Rejected) as failure:
        story.tell()
    assert "the first run" in failure.value.message


def test_a_missing_package_names_the_command_that_mends_it() -> None:
    with pytest.raises(Misconfigured) as refused:
        require(("pandas", "no_such_package"))
    assert "no_such_package" in refused.value.message
    assert refused.value.remedy == "pip install 'headwater[demo]'"


def test_a_folder_of_someone_elses_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = run([HEADWATER, "demo", "--dir", str(tmp_path)], tmp_path)
    assert done.returncode != 0
    assert "--dir" in done.stderr
