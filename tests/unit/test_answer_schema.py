"""The JSON Schema of the answers is what the answers are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema import Draft202012Validator

from headwater.consumers import Lineage, open_store
from headwater.consumers.answer_schema import definitions, document
from headwater.consumers.answers import Graph
from headwater.consumers.cli.output import json_text
from tests.replay import product
from tests.unit.test_columns import EVENTS

WRITTEN = Path(__file__).parents[2] / "docs" / "reference" / "json.schema.json"


@pytest.fixture(scope="module")
def lineage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lineage]:
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('schema') / 'lineage.db'}")
    product.apply_all(store, [EVENTS])
    yield Lineage(store)
    store.close()


def test_the_written_schema_is_the_one_of_the_classes() -> None:
    found = json.loads(WRITTEN.read_text(encoding="utf-8"))
    assert found == document(), (
        "python -m headwater.consumers.answer_schema > docs/reference/json.schema.json"
    )
    Draft202012Validator.check_schema(found)


def check(answer: Any, of: type) -> None:
    schema = {**document(), "$ref": f"#/$defs/{definitions().names[of]}"}
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
        json.loads(json_text(answer))
    )


def test_every_answer_fits_the_schema(lineage: Lineage) -> None:
    answers = [
        lineage.upstream("total"),
        lineage.downstream("orders", depth=1),
        lineage.columns("total#sum"),
        lineage.columns("orders#", "down"),
        lineage.show("total"),
        lineage.show("rates"),
        lineage.show("01890000-0000-7000-8000-000000000003"),
        *lineage.runs(),
        *lineage.assets(),
        lineage.search("orders"),
        lineage.diff("01890000-0000-7000-8000-000000000003", "01890000-0000-7000-8000-000000000002"),
        lineage.impact("orders"),
        lineage.recipe("total"),
        lineage.gaps(),
    ]
    for answer in answers:
        check(answer, type(answer))


def test_a_key_that_is_missing_does_not_fit(lineage: Lineage) -> None:
    answer = json.loads(json_text(lineage.upstream("total")))
    del answer["nodes"][0]["version"]
    with pytest.raises(jsonschema.ValidationError):
        check(answer, Graph)


#: Where the reference tells of each class in words; its keys stand there as code.
TOLD = {
    "lineage": ["Graph", "Node", "Edge", "ColumnNode", "ColumnEdge", "Transformation"],
    "show": [
        "AssetDetails",
        "RunDetails",
        "Written",
        "Field",
        "Read",
        "Statement",
        "Recall",
        "Attempt",
        "Metric",
    ],
    "runs": ["ListedRun", "Code", "Job"],
    "assets": ["Asset"],
    "impact": ["Impact", "RecallImpacts", "Source", "Affected", "Pointer", "Hop", "Readers"],
    "diff": [
        *("Difference", "Asked", "Cause", "AssetChange", "Copy", "Change", "Drift", "InputChange", "Commits"),
        *("EnvironmentChange", "StepChange", "Step", "MetricChange"),
    ],
    "search": ["SearchResults", "Found", "Match"],
    "metrics": ["Metrics", "Series", "Point"],
    "gaps": ["Gaps", "Lack", "Gap"],
    "reproduce": ["Reproduction", "Subject", "Reason", "content_differences.Difference", "StepOutcome"],
    "drift": ["drifting.Drift", "UnstableStep", "Content", "ChangedInput", "changed_inputs.Change"],
    "emitters": ["Emitters", "Emitter", "Gap"],
    "doctor and topics": ["Check", "Made"],
}
#: The marks are told once, under runs, and named as such elsewhere.
MARKS = {"recalled", "recalled_upstream", "recalls"}


def words(text: str) -> set[str]:
    """What stands as code in the text, word by word."""
    return {word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"\w+", code)}


@pytest.mark.parametrize("section", TOLD)
def test_the_reference_tells_of_every_key(section: str) -> None:
    text = (WRITTEN.parent / "json.md").read_text(encoding="utf-8")
    told = next(part for part in text.split("\n## ") if part.startswith(f"{section}\n"))
    there = words(told) | (MARKS if "[marks](#runs)" in told else set())
    schemas = document()["$defs"]
    lacking = {of: set(schemas[of]["properties"]) - there for of in TOLD[section]}
    assert {of: keys for of, keys in lacking.items() if keys} == {}


def test_every_class_of_answer_is_told_of_or_is_the_file_of_a_recipe() -> None:
    told = {of for classes in TOLD.values() for of in classes}
    # A graph of columns has a graph's keys, a run those of its line in the listing.
    others = {"ColumnGraph", "Run"}
    assert {of for of in document()["$defs"] if of not in told | others and "Recipe" not in of} == {"Missing"}
