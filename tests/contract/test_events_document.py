"""docs/reference/events.md shows exactly what is written, and leaves out no fact and no facet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from headwater.schemas import events as facts
from headwater.schemas.facets import OURS, PRODUCER, SPECIFICATION, Facet, load_schema, own
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import encode, recognise
from tests.support.openlineage import facet_groups, requires_spec, violations

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "events.md").read_text()
LEFT_OUT = ("producer", "schemaURL", "_producer", "_schemaURL")


def _examples() -> list[tuple[str, dict[str, Any]]]:
    """(the heading above, the example) of every JSON block."""
    found = []
    for match in re.finditer(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL):
        heading = re.findall(r"^#+ (.*)$", TEXT[: match.start()], re.MULTILINE)[-1]
        found.append((heading, orjson.loads(match[1])))
    return found


EXAMPLES = _examples()
EVENTS = [(heading, example) for heading, example in EXAMPLES if "eventTime" in example]
DETAILS = next(example for _, example in EXAMPLES if "eventTime" not in example)


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items() if key not in LEFT_OUT}
    return [_shown(item) for item in value] if isinstance(value, list) else value


def _fact(example: dict[str, Any]) -> facts.Event | None:
    whole = {**example, "producer": PRODUCER, "schemaURL": SPECIFICATION}
    return recognise(parse(orjson.dumps(whole)))


@pytest.mark.parametrize(("heading", "example"), EVENTS, ids=[heading for heading, _ in EVENTS])
def test_an_example_is_the_fact_in_its_heading_and_exactly_what_is_written(
    heading: str, example: dict[str, Any]
) -> None:
    fact = _fact(example)
    assert fact is not None
    assert type(fact).__name__ == heading
    assert _shown(orjson.loads(encode(fact))) == example


@requires_spec
@pytest.mark.parametrize(("heading", "example"), EVENTS, ids=[heading for heading, _ in EVENTS])
def test_an_example_keeps_every_schema(heading: str, example: dict[str, Any]) -> None:
    fact = _fact(example)
    assert fact is not None
    assert violations(orjson.loads(encode(fact))) == []


@requires_spec
def test_the_examples_of_details_keep_their_schemas() -> None:
    asset = facts.Asset(namespace="n", name="a", version="json1:00", type="Artifact", details=DETAILS)
    run = facts.Run(id="0198c0de-0000-7000-8000-000000000001", job=facts.Job(namespace="n", name="j"))
    document = orjson.loads(encode(facts.AssetCreated(time=0, run=run, asset=asset)))
    assert set(DETAILS) < set(document["outputs"][0]["facets"])
    assert violations(document) == []


def test_every_fact_has_an_example() -> None:
    assert {heading for heading, _ in EVENTS} == {kind.__name__ for kind in get_args(facts.Event)}


def test_every_facet_of_ours_has_an_example_and_a_line() -> None:
    shown = {name for _, example in EVENTS for _, facets in facet_groups(example) for name in facets}
    names = {facet.name for facet in OURS}
    assert names <= shown | set(DETAILS)
    assert all(f"`{name}`" in TEXT for name in names)


# The fields of these two depend on the library that made the asset; their schemas describe them.
CLOSED = [facet for facet in OURS if facet.name not in ("headwater_model", "headwater_dataset")]


@pytest.mark.parametrize("facet", CLOSED, ids=lambda facet: facet.class_name)
def test_every_field_of_a_facet_of_ours_is_shown(facet: Facet) -> None:
    fields = load_schema(facet)["$defs"][facet.class_name]["allOf"][1]["properties"]
    assert [name for name in fields if f'"{name}":' not in TEXT] == []


def test_the_urls_are_those_that_the_page_promises() -> None:
    url = own("headwater_asset", "Dataset")["_schemaURL"]
    name = "HeadwaterAssetDatasetFacet"
    assert url == f"https://headwater.dev/spec/facets/1-0-0/{name}.json#/$defs/{name}"
    assert "https://headwater.dev/spec/facets/{version}/{Class}.json#/$defs/{Class}" in TEXT
