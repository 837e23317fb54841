"""Making versions again: real pipelines in processes of their own, made again in others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headwater.consumers import cli
from headwater.consumers.answers import AssetDetails, Run
from headwater.consumers.asking import Lineage
from headwater.consumers.recipe_file import read, written
from headwater.consumers.recipes import Recipe, RecipeEnvironment
from headwater.consumers.remaking.functions import _refuse_what_runs
from headwater.consumers.remaking.refusing import Refused
from headwater.consumers.reproducing import Policy, Reproduction, reproduce
from headwater.consumers.reproduction_plans import Plan, planned
from headwater.schemas.errors import Misconfigured
from tests.support.pipelines import CUSTOMERS, MAIN, STEPS, consumed, perform, project

OTHERS = """
import steps
from pathlib import Path
from headwater.emitter import pipeline

class Connection:
    rows = 3

if __name__ == "__main__":
    with pipeline("others", project="crm"):
        customers = steps.load(Path("customers.csv"))
        steps.counted(steps.shuffled(customers))
        steps.signed(customers, api_key="hunter2hunter2")
        steps.queried(Connection())
        steps.slow(customers)
        steps.failing(customers)
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both pipelines ran once."""
    folder = project(
        tmp_path_factory.mktemp("recorded"), {"steps.py": STEPS, "main.py": MAIN, "others.py": OTHERS}
    )
    perform(folder, "main.py")
    perform(folder, "others.py")
    consumed(folder).close()
    return folder


@pytest.fixture
def lineage(recorded: Path) -> Lineage:
    return Lineage(f"sqlite:///{recorded / 'lineage.db'}")


@pytest.fixture
def elsewhere(recorded: Path, tmp_path: Path) -> Path:
    """The same files, to be changed."""
    return project(tmp_path / "elsewhere", {"steps.py": STEPS, "main.py": MAIN, "others.py": OTHERS})


def again(
    lineage: Lineage,
    name: str,
    folder: Path,
    *,
    from_sources: bool = False,
    environment: Policy = "compatible",
    timeout_s: float = 60.0,
    **given: Any,
) -> Reproduction:
    recipe = lineage.recipe(name, whole=from_sources)
    plan = planned(recipe, from_sources=from_sources, **given)
    return reproduce(plan, environment=environment, timeout_s=timeout_s, folder=folder)


def reasons(found: Reproduction) -> str:
    return "; ".join(map(str, found.reasons))


# -- the same ---------------------------------------------------------------------------


def test_a_step_that_reads_a_file_makes_the_same_again(lineage: Lineage, recorded: Path) -> None:
    found = again(lineage, "plausible", recorded)
    assert (found.outcome, reasons(found)) == ("identical", "")
    assert found.version == found.subject.version


@pytest.mark.parametrize("name", ["customers", "features", "churn-model", "evaluation"])
def test_a_chain_in_memory_is_made_again_from_its_source(lineage: Lineage, recorded: Path, name: str) -> None:
    found = again(lineage, name, recorded, from_sources=True)
    assert (found.outcome, reasons(found)) == ("identical", "")
    assert {step.outcome for step in found.steps} == {"identical"}


def test_steps_run_in_order_and_each_once(lineage: Lineage, recorded: Path) -> None:
    found = again(lineage, "evaluation", recorded, from_sources=True)
    names = [step.step.rpartition(".")[2] for step in found.steps]
    assert names == ["load", "clean", "features", "train", "evaluate"]


def test_a_recipe_in_a_file_is_enough(lineage: Lineage, recorded: Path) -> None:
    recipe = read(written(lineage.recipe("churn-model", whole=True), "yaml"), "churn.yaml")
    found = reproduce(planned(recipe, from_sources=True), folder=recorded)
    assert found.outcome == "identical"


def test_nothing_is_recorded_while_steps_run_again(lineage: Lineage, recorded: Path) -> None:
    before = {path: path.stat().st_size for path in (recorded / "log").iterdir()}
    again(lineage, "churn-model", recorded, from_sources=True)
    assert {path: path.stat().st_size for path in (recorded / "log").iterdir()} == before


def test_an_input_may_be_read_from_a_copy(lineage: Lineage, elsewhere: Path) -> None:
    (elsewhere / "copy.csv").write_text(CUSTOMERS)
    found = again(lineage, "plausible", elsewhere, inputs={"customers": str(elsewhere / "copy.csv")})
    assert found.outcome == "identical"


# -- another content --------------------------------------------------------------------


def test_a_step_that_varies_is_named_as_the_first_one_that_differs(lineage: Lineage, recorded: Path) -> None:
    found = again(lineage, "counted", recorded, from_sources=True)
    assert (found.outcome, found.step) == ("different", "crm/others.shuffled")
    assert [step.outcome for step in found.steps] == ["identical", "different", "not run"]
    assert found.version is None


def test_a_difference_is_told_by_what_was_recorded_of_the_content(lineage: Lineage, elsewhere: Path) -> None:
    recipe = lineage.recipe("plausible", whole=True)
    (elsewhere / "customers.csv").write_text(CUSTOMERS.replace("\n1,7,2,0\n", "\n1,7,8,1\n"))
    found = reproduce(planned(recipe, from_sources=True), folder=elsewhere)
    assert (found.outcome, found.step) == ("different", "crm/churn.load")
    told = [str(difference) for difference in found.differences]
    assert any(text.startswith("customers: column calls: mean: ") for text in told), told
    assert any(text.startswith("customers: column churned: ") for text in told)
    assert not any("tenure" in text for text in told)


def test_missing_columns_and_other_counts_are_told(lineage: Lineage, elsewhere: Path) -> None:
    recipe = lineage.recipe("customers")
    lines = [line.rpartition(",")[0] for line in CUSTOMERS.splitlines()[:50]]
    (elsewhere / "customers.csv").write_text("\n".join(lines) + "\n")
    found = reproduce(planned(recipe), folder=elsewhere)
    told = [str(difference) for difference in found.differences]
    assert found.outcome == "different"
    assert "customers: columns: churned was recorded, nothing came out" in told
    assert "customers: row_count: 100 was recorded, 49 came out" in told
    assert found.version is not None
    assert found.version != found.subject.version


# -- cannot -----------------------------------------------------------------------------


def test_a_changed_input_file_is_found_before_the_step_runs(lineage: Lineage, elsewhere: Path) -> None:
    (elsewhere / "copy.csv").write_text(CUSTOMERS + "101,1,1,0\n")
    found = again(lineage, "plausible", elsewhere, inputs={"customers": str(elsewhere / "copy.csv")})
    assert found.outcome == "cannot"
    assert "copy.csv is not the recorded version table1:" in reasons(found)
    assert "--from-sources" in reasons(found)


def test_a_missing_input_file_is_named(lineage: Lineage, elsewhere: Path) -> None:
    found = again(lineage, "plausible", elsewhere, inputs={"customers": str(elsewhere / "gone.csv")})
    assert found.outcome == "cannot"
    assert "there is no file" in reasons(found)
    assert "--input customers=FILE" in reasons(found)


def test_changed_code_is_refused_whatever_the_policy(lineage: Lineage, elsewhere: Path) -> None:
    (elsewhere / "steps.py").write_text(STEPS.replace(">= least", "> least"))
    found = again(lineage, "plausible", elsewhere, environment="ignore")
    assert found.outcome == "cannot"
    assert "the source of steps:clean: it is not what ran" in reasons(found)


def test_another_version_of_a_package_that_is_used_is_refused_or_told(
    lineage: Lineage, recorded: Path
) -> None:
    recipe = with_packages(lineage.recipe("plausible"), {"pandas": "1.0.0", "click": "1.0.0", "gone": "1.0"})
    outcomes = {
        policy: reproduce(planned(recipe), environment=policy, folder=recorded)
        for policy in ("strict", "compatible", "ignore")
    }
    assert [found.outcome for found in outcomes.values()] == ["cannot", "cannot", "identical"]
    assert "gone 1.0 ran, none is here" in reasons(outcomes["strict"])
    assert "pip install" in reasons(outcomes["strict"])
    assert "pandas 1.0.0 ran" in reasons(outcomes["compatible"])
    # No module of it was loaded, so it cannot have mattered.
    assert "click" not in reasons(outcomes["compatible"])
    assert any(text.startswith("pandas 1.0.0 ran, ") for text in outcomes["ignore"].caveats)


def test_another_python_is_refused(lineage: Lineage, recorded: Path) -> None:
    recipe = with_packages(lineage.recipe("plausible"), {}, python="cpython 3.5.1")
    found = reproduce(planned(recipe), folder=recorded)
    assert found.outcome == "cannot"
    assert "cpython 3.5.1 ran" in reasons(found)


def with_packages(recipe: Recipe, packages: Mapping[str, str], python: str | None = None) -> Recipe:
    """The recipe as of an environment in which these packages were others."""
    return replace(
        recipe,
        environments={
            digest: RecipeEnvironment(
                python=python or known.python,
                platform=known.platform,
                packages={**known.packages, **packages},
            )
            for digest, known in recipe.environments.items()
        },
    )


def test_strict_wants_the_commit_and_a_clean_tree(lineage: Lineage, recorded: Path) -> None:
    found = again(lineage, "plausible", recorded, environment="strict")
    assert found.outcome == "cannot"
    assert "which commit ran was not recorded" in reasons(found)


def test_a_redacted_parameter_has_to_be_given(lineage: Lineage, recorded: Path) -> None:
    found = again(lineage, "signed", recorded)
    assert found.outcome == "cannot"
    assert "the parameter api_key: redacted" in reasons(found)
    given = again(lineage, "signed", recorded, parameters={"api_key": "hunter2hunter2"})
    assert given.outcome == "identical"
    other = again(lineage, "signed", recorded, parameters={"signed.api_key": "another"})
    assert other.outcome == "different"


def test_a_recorded_parameter_cannot_be_given_another_value(lineage: Lineage) -> None:
    with pytest.raises(Misconfigured, match=r"least of crm/churn\.clean was recorded"):
        planned(lineage.recipe("plausible"), parameters={"least": 3})


def test_what_nothing_takes_is_refused(lineage: Lineage) -> None:
    with pytest.raises(Misconfigured, match="'nonsense'"):
        planned(lineage.recipe("plausible"), inputs={"nonsense": "x.csv"})


def test_a_model_is_not_loaded_and_nothing_runs(lineage: Lineage, recorded: Path) -> None:
    found = again(lineage, "evaluation", recorded)
    assert found.outcome == "cannot"
    assert "the input churn-model: it is a Model, and loading it would execute code" in reasons(found)
    assert "the input features: it has no location" in reasons(found)
    assert {step.outcome for step in found.steps} == {"not run"}


def test_an_argument_that_was_no_json_is_named(lineage: Lineage, recorded: Path) -> None:
    found = again(lineage, "queried", recorded)
    assert found.outcome == "cannot"
    assert "the argument connection: what was passed is no JSON" in reasons(found)


def test_a_step_that_takes_too_long_is_ended(
    lineage: Lineage, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLEEP", "600")
    found = again(lineage, "slow", recorded, timeout_s=8)
    assert found.outcome == "cannot"
    assert "it took longer than 8 s" in reasons(found)


def test_a_step_that_raises_is_told(
    lineage: Lineage, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "1")
    found = again(lineage, "failing", recorded)
    assert found.outcome == "cannot"
    assert "it raised RuntimeError: the scale is broken" in reasons(found)


def test_a_module_that_is_gone_is_named(lineage: Lineage, tmp_path: Path) -> None:
    moved = replace_path(lineage.recipe("customers"), "/nowhere/steps.py")
    found = reproduce(planned(moved), folder=project(tmp_path / "empty", {}))
    assert found.outcome == "cannot"
    assert "the module steps: it cannot be imported: no module steps" in reasons(found)
    assert "--path FOLDER" in reasons(found)


def replace_path(recipe: Recipe, path: str) -> Recipe:
    steps = tuple(replace(step, code=replace(step.code, path=path)) for step in recipe.steps)
    return replace(recipe, steps=steps)


def test_a_module_is_found_by_the_path_that_was_recorded(lineage: Lineage, tmp_path: Path) -> None:
    # The folder that it was imported from is on no path here.
    found = again(lineage, "customers", project(tmp_path / "other", {}))
    assert found.outcome == "identical"


# -- scripts ----------------------------------------------------------------------------

SCRIPT = """
from headwater.emitter import Dataset, pipeline, step

@step
def load(rows: int) -> Dataset:
    return Dataset.create([{"n": n} for n in range(rows)], name="numbers")

def main():
    with pipeline("numbers", project="tests"):
        load(5)

{ending}
"""
GUARDED = 'if __name__ == "__main__":\n    main()'


def script(folder: Path, ending: str) -> Lineage:
    project(folder, {"counting.py": SCRIPT.replace("{ending}", ending)})
    perform(folder, "counting.py")
    return consumed(folder)


def test_a_script_is_loaded_without_its_guarded_part(tmp_path: Path) -> None:
    with script(tmp_path, GUARDED) as lineage:
        found = again(lineage, "numbers", tmp_path)
    assert (found.outcome, reasons(found)) == ("identical", "")


@pytest.mark.parametrize(
    "ending",
    [
        "main()",
        'with pipeline("numbers", project="tests"):\n    load(5)',
        "made = load(5)",
        "class Job:\n    def run(self): main()\n\nJob().run()",
        "class Job:\n    def run(self): main()\n\njob = Job()\njob.run()",
        "class Job:\n    def __init__(self): main()\n\nJob()",
    ],
)
def test_a_script_that_would_run_its_pipeline_is_refused(tmp_path: Path, ending: str) -> None:
    with script(tmp_path, ending) as lineage:
        found = again(lineage, "numbers", tmp_path)
    assert found.outcome == "cannot"
    assert "runs the pipeline when the script is loaded" in reasons(found)
    assert '`if __name__ == "__main__":`' in reasons(found)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("from jobs import main\nmain()", True),
        ("from jobs import run as main\nmain()", True),
        ("import jobs\njobs.main()", True),
        ("import jobs\nimport sys\nsys.exit(jobs.main())", True),
        (
            "class Settings:\n    n: int = 1\n\nS = [Settings()]",
            False,
        ),
        ("class Job:\n    pass\njob = Job()", False),
        ("import logging\nlogging.basicConfig()", False),
        ("import subprocess\nout = subprocess.run(['true'])", False),
        ("from jobs import main\nif __name__ == '__main__':\n    main()", False),
    ],
)
def test_only_what_runs_a_pipeline_when_it_is_loaded_is_refused(
    tmp_path: Path, text: str, runs: bool
) -> None:
    file = tmp_path / "script.py"
    file.write_text(text)
    if runs:
        with pytest.raises(Refused, match="runs the pipeline"):
            _refuse_what_runs(file)
    else:
        _refuse_what_runs(file)


def test_steps_that_yield_wait_or_are_nested_are_made_again(tmp_path: Path) -> None:
    text = """
import asyncio
from collections.abc import Iterator
from headwater.emitter import Dataset, pipeline, step

@step
def parts(count: int) -> Iterator[Dataset]:
    for at in range(count):
        yield Dataset.create([{"part": at}], name="parts")

@step
async def fetched(count: int) -> Dataset:
    await asyncio.sleep(0)
    return Dataset.create([{"n": count}], name="fetched")

@step
def inner(rows: Dataset) -> Dataset:
    return Dataset.create([*rows.data, {"n": 9}], name="inner")

@step
def outer(rows: Dataset) -> Dataset:
    own = inner(rows)
    return Dataset.create([*own.data, {"n": 10}], name="outer")

if __name__ == "__main__":
    with pipeline("odd", project="tests"):
        list(parts(3))
        outer(asyncio.run(fetched(2)))
"""
    project(tmp_path, {"odd.py": text})
    perform(tmp_path, "odd.py")
    with consumed(tmp_path) as lineage:
        for name in ("parts", "fetched", "inner", "outer"):
            found = again(lineage, name, tmp_path, from_sources=True)
            assert (name, found.outcome, reasons(found)) == (name, "identical", "")
        assert [step.step for step in found.steps] == ["tests/odd.fetched", "tests/odd.outer"]


# -- the command and what it leaves in the log --------------------------------------------


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    program = "import sys; from headwater.consumers.cli import main; sys.exit(main())"
    places = ["--log", str(folder / "log"), "--store", f"sqlite:///{folder / 'lineage.db'}"]
    return subprocess.run(
        [sys.executable, "-c", program, arguments[0], *places, *arguments[1:]],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of one's own in which both pipelines ran."""
    folder = project(tmp_path / "own", {"steps.py": STEPS, "main.py": MAIN, "others.py": OTHERS})
    perform(folder, "main.py")
    perform(folder, "others.py")
    consumed(folder).close()
    return folder


def test_the_command_ends_with_what_came_out_and_the_log_knows_it(own: Path) -> None:
    with Lineage(f"sqlite:///{own / 'lineage.db'}") as lineage:
        before = lineage.show("plausible")
    same = command(own, "reproduce", "plausible", "--json")
    other = command(own, "reproduce", "shuffled")
    cannot = command(own, "reproduce", "churn-model")
    assert [same.returncode, other.returncode, cannot.returncode] == [0, cli.NO, cli.NOT_TOLD], other.stderr
    assert json.loads(same.stdout)["outcome"] == "identical"
    assert "This runs code, as you, in" in same.stderr
    assert "steps:clean" in same.stderr
    assert "different content" in other.stdout
    assert "--from-sources runs the step that makes it" in cannot.stdout
    assert "This runs code" not in cannot.stderr

    assert command(own, "consume").returncode == 0
    with Lineage(f"sqlite:///{own / 'lineage.db'}") as lineage:
        runs = list(lineage.runs(job="headwater.reproduction"))
        assert not {run.id for run in runs} & {run.id for run in lineage.runs()}
        assert lineage.gaps(older_than=timedelta(0)).count("unstarted") == 0
        told = [lineage.show(run.id).facets["headwater_reproduction"] for run in runs]
        after = lineage.show("plausible")
        assert not [n for n in lineage.downstream("plausible").nodes if n.run and n.run.id in told_by(runs)]
    assert [facet["outcome"] for facet in told] == ["cannot", "different", "identical"]
    assert told[0]["reasons"]
    assert told[1]["step"] == "crm/others.shuffled"
    assert told[2]["subject"]["name"] == "plausible"
    # The attempts wrote nothing that is anyone's current version.
    assert after.production == before.production  # type: ignore[union-attr]
    assert after.history == before.history  # type: ignore[union-attr]


def test_the_store_knows_of_an_attempt_at_once_and_its_asset_says_so(own: Path) -> None:
    assert command(own, "reproduce", "plausible").returncode == 0
    assert command(own, "reproduce", "shuffled").returncode == cli.NO
    with Lineage(f"sqlite:///{own / 'lineage.db'}") as lineage:
        details = lineage.show("plausible")
        assert isinstance(details, AssetDetails)
        (attempt,) = details.reproductions
        assert details.production is not None
        assert (attempt.outcome, attempt.version) == ("identical", details.production.version)
        assert attempt.actor
        assert details.columns
        other = lineage.show("shuffled")
        assert isinstance(other, AssetDetails)
        assert [one.outcome for one in other.reproductions] == ["different"]
        assert [one.step for one in other.reproductions] == ["crm/others.shuffled"]
        assert other.reproductions[0].reason
        before = attempt.at - timedelta(seconds=1)
        earlier = lineage.show("plausible", as_of=before)
        assert isinstance(earlier, AssetDetails)
        assert earlier.reproductions == ()
        with lineage.known_at(attempt.at + timedelta(hours=1), log=own / "log") as then:
            known = then.show("plausible")
            assert isinstance(known, AssetDetails)
            assert known.reproductions == details.reproductions
    page = command(own, "show", "plausible").stdout
    assert "made again, identical" in page
    assert command(own, "reproduce", "churn-model").returncode == cli.NOT_TOLD
    assert "tried: cannot: " in command(own, "show", "churn-model").stdout


@pytest.mark.parametrize("log", ["s3://lake/log", "headwater.yaml"])
def test_a_log_that_cannot_be_written_is_refused_before_anything_runs(own: Path, log: str) -> None:
    store = f"sqlite:///{own / 'lineage.db'}"
    (own / "headwater.yaml").touch()
    place = log if "://" in log else str(own / log)
    done = command(own, "reproduce", "plausible", "--store", store, "--log", place)
    assert done.returncode == cli.MISCONFIGURED
    assert "; nothing was run (" in done.stderr
    assert "--no-record" in done.stderr
    assert "This runs code" not in done.stderr
    assert (
        command(own, "reproduce", "plausible", "--store", store, "--log", place, "--no-record").returncode
        == 0
    )


def test_what_cannot_be_asked_of_reproduce_says_what_to_do_instead(own: Path) -> None:
    nowhere = command(own, "reproduce", "--recipe", "nope.yaml")
    assert nowhere.returncode == cli.MISCONFIGURED
    assert "nope.yaml cannot be read: No such file or directory (headwater recipe NAME" in nowhere.stderr
    then = command(own, "reproduce", "plausible", "--as-of", "2026-03-03")
    assert then.returncode == cli.USAGE
    assert "headwater recipe NAME --as-of 2026-03-03 --output FILE" in then.stderr


def told_by(runs: Sequence[Run]) -> set[str]:
    return {run.id for run in runs}


def test_the_log_is_whole_and_the_store_what_it_says_after_an_attempt(own: Path) -> None:
    command(own, "reproduce", "plausible")
    command(own, "consume")
    assert command(own, "verify").returncode == 0
    assert command(own, "emitters").returncode == 0


def test_a_dry_run_runs_and_records_nothing(own: Path) -> None:
    (own / "steps.py").write_text('raise SystemExit("this ran")')
    before = sorted((own / "log").iterdir())
    done = command(own, "reproduce", "churn-model", "--from-sources", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert [step["step"] for step in json.loads(done.stdout)["steps"]][-1] == "crm/churn.train"
    assert "this ran" not in done.stderr
    assert sorted((own / "log").iterdir()) == before


def test_what_a_step_prints_is_no_part_of_the_answer(own: Path) -> None:
    noisy = STEPS + '\nprint("hello from the module")\n'
    (own / "steps.py").write_text(noisy)
    done = command(own, "reproduce", "plausible", "--json", "--no-record")
    assert json.loads(done.stdout)["outcome"] == "identical"
    assert "hello from the module" in done.stderr


def test_a_process_that_dies_is_told(own: Path) -> None:
    (own / "steps.py").write_text(STEPS + "\nos._exit(9)\n")
    done = command(own, "reproduce", "plausible")
    assert done.returncode == cli.NOT_TOLD
    assert "its process ended with code 9" in done.stdout


def test_a_recipe_and_a_name_at_once_are_a_wrong_command_line(own: Path) -> None:
    assert command(own, "reproduce").returncode == cli.USAGE
    assert command(own, "reproduce", "plausible", "--recipe", "x.yaml").returncode == cli.USAGE
    assert command(own, "reproduce", "--recipe", "x.yaml").returncode == cli.MISCONFIGURED


def test_where_a_step_writes_is_said_before_and_after(tmp_path: Path) -> None:
    text = """
from pathlib import Path
from headwater.emitter import Artifact, pipeline, step

@step
def report(page: str) -> Artifact:
    Path(page).write_text("the same\\n")
    return Artifact.create(location=page, name="report")

if __name__ == "__main__":
    with pipeline("reports", project="tests"):
        report("report.md")
"""
    project(tmp_path, {"reports.py": text})
    perform(tmp_path, "reports.py")
    with consumed(tmp_path) as lineage:
        plan: Plan = planned(lineage.recipe("report"))
        found = reproduce(plan, folder=tmp_path)
    assert (plan.places, plan.only_read) == ((str(tmp_path / "report.md"),), ())
    assert (found.outcome, found.wrote) == ("identical", plan.places)


def test_of_a_step_that_only_reads_it_is_not_said_that_it_may_write(own: Path) -> None:
    def announced() -> tuple[list[str], list[str]]:
        done = command(own, "reproduce", "customers", "--from-sources", "--dry-run", "--json")
        told = json.loads(done.stdout)
        return told["places"], told["only_read"]

    csv = own / "customers.csv"
    assert announced() == ([], [str(csv)])
    said = command(own, "reproduce", "customers", "--from-sources").stderr
    assert f"  reads {csv}, which was last written before the recorded run\n" in said
    assert "may write" not in said
    # What was written since may have been written by the run.
    csv.touch()
    assert announced() == ([str(csv)], [])
    csv.unlink()
    assert announced() == ([str(csv)], [])


def test_an_interpreter_that_is_none_is_named(lineage: Lineage, recorded: Path) -> None:
    with pytest.raises(Misconfigured, match="/no/python"):
        reproduce(planned(lineage.recipe("customers")), python="/no/python", folder=recorded)


def test_a_foreign_run_cannot_be_made_again(tmp_path: Path) -> None:
    from tests.support.logs import run_event, write_segment

    write_segment(tmp_path / "log", [run_event(1, inputs=["orders"])])
    with consumed(tmp_path) as lineage:
        found = again(lineage, "out-1", tmp_path, from_sources=True)
    assert found.outcome == "cannot"
    assert "no version of it was recorded" in reasons(found)


def test_the_store_may_be_gone_when_the_recipe_is_there(recorded: Path, tmp_path: Path) -> None:
    with Lineage(f"sqlite:///{recorded / 'lineage.db'}") as lineage:
        text = written(lineage.recipe("churn-model", whole=True), "json")
    (tmp_path / "churn.json").write_text(text)
    done = command(tmp_path, "reproduce", "--recipe", "churn.json", "--from-sources", "--path", str(recorded))
    # There is no customers.csv here, and the path was recorded as it was given: relative.
    assert done.returncode == cli.NOT_TOLD
    assert "FileNotFoundError" in done.stdout
    (tmp_path / "customers.csv").write_text(CUSTOMERS)
    done = command(tmp_path, "reproduce", "--recipe", "churn.json", "--from-sources", "--path", str(recorded))
    assert done.returncode == 0, done.stdout + done.stderr
