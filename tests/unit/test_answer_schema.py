"""The JSON Schema of the answers is what the answers are."""

from __future__ import annotations

import json
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
