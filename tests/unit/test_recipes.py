"""Recipes: complete when nothing is missing, the same bytes for the same question, readable again."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from headwater.consumers import Lineage
from headwater.consumers.log import open_log
from headwater.consumers.recipe_file import document, read, written
from headwater.consumers.recipes import Recipe, inexact
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from headwater.schemas.errors import Misconfigured, Rejected
from tests.support.graphs import Graph
from tests.support.logs import run_event, write_segment
from tests.support.pipelines import MAIN, STEPS, consumed, perform, project
from tests.support.postgres import Server
from tests.support.segment_reader import read_segment

SCHEMA = orjson.loads((files("headwater.schemas") / "recipe.json").read_bytes())
CONTENT = "table1:" + "ab" * 32
OTHER = "table1:" + "cd" * 32


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that ran once, out of a git repository with a remote and a clean tree."""
    folder = project(tmp_path_factory.mktemp("churn"), {"steps.py": STEPS, "main.py": MAIN})
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    for command in (
        ("init", "--quiet"),
        ("add", "."),
        (*who, "commit", "--quiet", "-m", "steps"),
        ("remote", "add", "origin", "https://user:secret@git.example.com/crm/churn.git"),
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    perform(folder, "main.py")
    consumed(folder).close()
    return folder


def recipe_of(churn: Path, name: str, *, whole: bool = False) -> Recipe:
    with Lineage(f"sqlite:///{churn / 'lineage.db'}") as lineage:
        return lineage.recipe(name, whole=whole)


# -- what is in one ---------------------------------------------------------------------


def test_a_recipe_of_a_clean_checkout_from_its_source_on_is_complete(churn: Path) -> None:
    found = recipe_of(churn, "evaluation", whole=True)
    assert (found.missing, found.complete) == ((), True)
    assert [step.label for step in found.steps] == [
        f"crm/churn.{name}" for name in ("load", "clean", "features", "train", "evaluate")
    ]
    load, clean, _, train, evaluate = found.steps
    assert load.code.function == "steps:load"
    assert load.code.repository_url == "https://git.example.com/crm/churn.git"
    assert (load.code.git_dirty, len(load.code.git_commit or "")) == (False, 40)
    assert load.parameters == {"path": "customers.csv"}
    assert train.parameters == {"strength": 0.5}
    assert clean.inputs[0].argument == "customers"
    assert clean.inputs[0].location == str(churn / "customers.csv")
    assert [read.argument for read in evaluate.inputs] == ["models.0", "test"]
    assert evaluate.inputs[0].run_id == train.run_id
    assert found.subject.version == evaluate.outputs[0].version


def test_its_environment_is_told_once_and_found_for_every_step(churn: Path) -> None:
    found = recipe_of(churn, "churn-model")
    (known,) = found.environments.values()
    assert "orjson" in known.packages
    assert (known.python or "").startswith("cpython 3.")
    lines = written(found, "requirements").splitlines()
    assert f"orjson=={known.packages['orjson']}" in lines


def test_without_the_whole_cone_an_input_without_location_is_missing(churn: Path) -> None:
    found = recipe_of(churn, "churn-model")
    assert [step.label for step in found.steps] == ["crm/churn.train"]
    assert [(gap.what, gap.reason) for gap in found.missing] == [("the input features", "no location")]


def test_uncommitted_changes_make_it_incomplete(tmp_path: Path, churn: Path) -> None:
    folder = tmp_path / "dirty"
    subprocess.run(["git", "clone", "--quiet", str(churn), str(folder)], check=True)
    (folder / "main.py").write_text(MAIN + "\n")
    perform(folder, "main.py")
    with consumed(folder) as lineage:
        found = lineage.recipe("customers")
    reasons = {gap.what: gap.reason for gap in found.missing}
    assert reasons == {"the code as it was": "the working tree had uncommitted changes"}


def test_an_asset_that_nobody_wrote_has_an_empty_recipe(store_url: str) -> None:
    with store_of(store_url, [run_event(1, inputs=["orders"])]) as lineage:
        found = lineage.recipe("orders")
        foreign = lineage.recipe("out-1", whole=True)
    assert (found.steps, found.complete) == ((), False)
    assert found.missing[0].reason == "no known run wrote it"
    # Of a foreign run there is as much as its events said.
    (step,) = foreign.steps
    assert (step.label, step.inputs[0].name, step.outputs[0].version) == ("tests/job", "orders", None)
    whats = {gap.what for gap in foreign.missing}
    assert {"the function", "the git commit", "the environment", "the digest of out-1"} <= whats


def store_of(url: str, values: list[bytes]) -> Lineage:
    with open_store(url, create=True) as store, tempfile.TemporaryDirectory() as folder:
        write_segment(Path(folder), values)
        Runner(store, open_log(folder)).run()
    return Lineage(url)


def test_steps_stand_in_order_also_where_tables_feed_each_other(store_url: str) -> None:
    values = [
        run_event(1, at="2026-03-01T10:00:00Z", inputs=["out-3"]),
        run_event(2, at="2026-03-01T10:01:00Z", inputs=["out-1"]),
        run_event(3, at="2026-03-01T10:02:00Z", inputs=["out-2"]),
    ]
    with store_of(store_url, values) as lineage:
        found = lineage.recipe("out-3", whole=True)
    assert [step.outputs[0].name for step in found.steps] == ["out-1", "out-2", "out-3"]


def test_as_of_a_time_it_is_of_what_was_current(store_url: str) -> None:
    output = {"namespace": "lake", "name": "table"}
    values = [
        run_event(
            run, at=f"2026-03-0{run}T10:00:00Z", outputs=[output], job={"namespace": "j", "name": str(run)}
        )
        for run in (1, 2)
    ]
    with store_of(store_url, values) as lineage:
        assert lineage.recipe("table").steps[0].label == "j/2"
        then = lineage.recipe("table", as_of=datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert then.steps[0].label == "j/1"


# -- the file ---------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_a_file_keeps_the_schema_and_is_read_back_as_it_was(churn: Path, whole: bool) -> None:
    found = recipe_of(churn, "evaluation", whole=whole)
    validator = Draft202012Validator(SCHEMA)
    for format in ("yaml", "json"):
        text = written(found, format)
        validator.validate(yaml.safe_load(text))
        assert read(text, "it") == found
        assert written(read(text, "it"), format) == text


def test_the_schema_names_everything_that_a_recipe_holds(churn: Path) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    found = document(recipe_of(churn, "evaluation", whole=True))
    assert found["$schema"] == SCHEMA["$id"]
    assert set(found) == set(SCHEMA["properties"])
    step, known = found["steps"][-1], SCHEMA["$defs"]["Step"]["properties"]
    assert set(step) == set(known)
    for part in ("inputs", "outputs"):
        assert set(step[part][0]) == set(known[part]["items"]["properties"])
    assert set(step["code"]) == set(known["code"]["properties"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipe: 2-0-0", "recipe is '2-0-0'"),
        ("- 1", "no mapping"),
        ("{", "neither YAML nor JSON"),
        ("recipe: 1-0-0", "churn.yaml: subject is None, not a mapping"),
    ],
)
def test_what_is_no_recipe_is_refused_by_its_place(text: str, said: str) -> None:
    with pytest.raises(Rejected, match=said):
        read(text, "churn.yaml")


def test_a_wrong_value_is_named_by_its_place(churn: Path) -> None:
    broken = yaml.safe_load(written(recipe_of(churn, "churn-model"), "yaml"))
    broken["steps"][0]["parameters"] = 3
    with pytest.raises(Rejected, match=r"steps\[0\]: parameters is 3, not a mapping"):
        read(yaml.safe_dump(broken), "churn.yaml")


def test_requirements_that_nobody_recorded_are_not_made_up(store_url: str) -> None:
    with store_of(store_url, [run_event(1)]) as lineage, pytest.raises(Misconfigured, match="not recorded"):
        written(lineage.recipe("out-1"), "requirements")


# -- the same bytes -----------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(order=st.randoms(use_true_random=False))
def test_the_same_events_in_any_order_give_the_same_bytes(
    churn_values: list[bytes], order: random.Random
) -> None:
    check_bytes("sqlite://", churn_values, order)


@settings(max_examples=4, deadline=None)
@given(order=st.randoms(use_true_random=False))
def test_on_postgresql_the_same_events_in_any_order_give_the_same_bytes(
    postgres_server: Server, churn_values: list[bytes], order: random.Random
) -> None:
    with postgres_server.fresh() as url:
        check_bytes(url, churn_values, order)


def check_bytes(url: str, churn_values: list[bytes], order: random.Random) -> None:
    values = churn_values + order.sample(churn_values, len(churn_values) // 2)
    order.shuffle(values)
    with open_store(url, create=True) as store, tempfile.TemporaryDirectory() as folder:
        half = order.randrange(len(values))
        for at, some in enumerate((values[:half], values[half:])):
            write_segment(Path(folder), some, appended_at=1_700_000_000_000_000 + at)
        Runner(store, open_log(folder)).run()
        texts = {written(Lineage(store).recipe("evaluation", whole=True), "yaml") for _ in range(2)}
    assert texts == {expected(churn_values)}


@pytest.fixture(scope="module")
def churn_values(churn: Path) -> list[bytes]:
    """The pipeline's events."""
    segments = [read_segment(path.read_bytes()) for path in sorted((churn / "log").glob("*.seg"))]
    return [payload for segment in segments for _, payload in segment.frames]


_EXPECTED: dict[int, str] = {}


def expected(values: list[bytes]) -> str:
    if id(values) not in _EXPECTED:
        with open_store("sqlite://", create=True) as store, tempfile.TemporaryDirectory() as folder:
            write_segment(Path(folder), values)
            Runner(store, open_log(folder)).run()
            _EXPECTED[id(values)] = written(Lineage(store).recipe("evaluation", whole=True), "yaml")
    return _EXPECTED[id(values)]


def test_both_databases_give_the_same_bytes(churn_values: list[bytes], store_urls: dict[str, str]) -> None:
    texts = set()
    for url in store_urls.values():
        with store_of(url, churn_values) as lineage:
            texts |= {written(lineage.recipe("evaluation", whole=whole), "json") for whole in (True, False)}
    assert len(texts) == 2


# -- what is missing ------------------------------------------------------------------------

_COMPLETE: dict[str, Any] = {
    "function": "steps:train",
    "source": "ab" * 32,
    "commit": "4f" * 20,
    "dirty": False,
    "url": "https://git.example.com/x",
    "packages": {"pandas": "2.2"},
    "environment": "json1:" + "ef" * 32,
    "parameter": 8,
    "location": "/data/x.csv",
    "read": OTHER,
    "wrote": CONTENT,
    "state": 3,
}
#: What to take away, and what is then said to be missing.
_GAPS: dict[str, tuple[Mapping[str, Any], str]] = {
    "no function": ({"function": None}, "the function"),
    "no source": ({"source": None}, "the source digest"),
    "no commit": ({"commit": None, "url": None}, "the git commit"),
    "dirty": ({"dirty": True}, "the code as it was"),
    "clean or not": ({"dirty": None}, "the code as it was"),
    "no repository": ({"url": None}, "the repository's URL"),
    "no packages": ({"packages": None}, "the packages"),
    "no environment": ({"environment": None}, "the environment"),
    "redacted": ({"parameter": "[redacted]"}, "the parameter depth"),
    "shortened": ({"parameter": "x" * 2000 + "…"}, "the parameter depth"),
    "left out": ({"parameter": [{"omitted": "list", "items": 5000}]}, "the parameter depth"),
    "no location": ({"location": None}, "the input raw"),
    "opaque input": ({"read": "opaque1:" + "a" * 64}, "the digest of input raw"),
    "opaque output": ({"wrote": "opaque1:" + "a" * 64}, "the digest of model"),
    "stated version": ({"wrote": "v7"}, "the digest of model"),
    "failed": ({"state": 5}, "the end of the run"),
}


def incomplete(url: str, facts: Mapping[str, Any]) -> Recipe:
    graph = Graph()
    code = {
        "function": facts["function"],
        "sourceDigest": facts["source"],
        "gitCommit": facts["commit"],
        "gitDirty": facts["dirty"],
        "repositoryUrl": facts["url"],
    }
    value = facts["parameter"]
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    facets: dict[str, Any] = {
        "headwater_code": {key: value for key, value in code.items() if value is not None},
        "executionParameters": {"parameters": [{"key": "depth", "value": text}]},
    }
    if facts["environment"] is not None:
        packages = {"packages": facts["packages"]} if facts["packages"] else {}
        facets["headwater_environment"] = {"digest": facts["environment"], **packages}
    run = graph.run("00000000-0000-7000-8000-000000000001", facets=facets, at=10, state=facts["state"])
    place = {"headwater_asset": {"assetType": "Dataset", "location": facts["location"]}}
    graph.input(run, "raw", facts["read"], at=10, production=b"\1" * 16)
    graph.rows["run_input"][next(iter(graph.rows["run_input"]))]["facets"] = graph._facets(place)
    graph.output(run, "model", facts["wrote"], at=11)
    with open_store(url, create=True) as store, store.writing() as connection:
        graph.insert(connection)
    with Lineage(url) as lineage:
        return lineage.recipe("model")


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gaps")


@settings(max_examples=40, deadline=None)
@given(gaps=st.sets(st.sampled_from(sorted(_GAPS)), max_size=4))
def test_a_recipe_names_exactly_what_was_taken_away(gaps: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_missing(f"sqlite:///{os.path.join(folder, 'store.db')}", gaps)


@settings(max_examples=6, deadline=None)
@given(gaps=st.sets(st.sampled_from(sorted(_GAPS)), max_size=4))
def test_on_postgresql_a_recipe_names_exactly_what_was_taken_away(
    postgres_server: Server, gaps: set[str]
) -> None:
    with postgres_server.fresh() as url:
        check_missing(url, gaps)


def check_missing(url: str, gaps: set[str]) -> None:
    facts = dict(_COMPLETE)
    for gap in sorted(gaps):
        facts |= _GAPS[gap][0]
    found = incomplete(url, facts)
    assert {gap.what for gap in found.missing} == by_oracle(facts)
    assert found.complete == (not by_oracle(facts))
    assert all(gap.reason for gap in found.missing)


def by_oracle(facts: Mapping[str, Any]) -> set[str]:
    """What is missing, from the facts themselves."""
    wanted = {
        "the end of the run": facts["state"] != 3,
        "the function": facts["function"] is None,
        "the source digest": facts["function"] is not None and facts["source"] is None,
        "the git commit": facts["commit"] is None,
        "the code as it was": facts["commit"] is not None and facts["dirty"] is not False,
        "the repository's URL": facts["commit"] is not None and facts["url"] is None,
        "the environment": facts["environment"] is None,
        "the packages": facts["environment"] is not None and not facts["packages"],
        "the parameter depth": facts["parameter"] != 8,
        "the input raw": facts["location"] is None,
        "the digest of input raw": facts["read"].startswith("opaque1"),
        "the digest of model": facts["wrote"] != CONTENT,
    }
    return {what for what, missing in wanted.items() if missing}


@pytest.mark.parametrize("value", [None, True, 8, "text", "…", ["a"], {"items": 3}, {"omitted": 1}])
def test_an_exact_parameter_is_not_missing(value: Any) -> None:
    assert inexact(value) is None
