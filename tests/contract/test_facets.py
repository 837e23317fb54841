"""Our facets keep OpenLineage's rules of naming, and a published schema never changes."""

from __future__ import annotations

import re
import tomllib
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from headwater.schemas import facets
from headwater.schemas.facets import OURS, Facet

ROOT = Path(__file__).resolve().parents[2]

# An entry is added with each new version and never edited: the URL of a schema stands in stored events.
PUBLISHED = {
    "1-0-0/HeadwaterAdoptionRunFacet": "633771b21f554b80e2a040be131ea91d",
    "1-0-0/HeadwaterAliasingDatasetFacet": "313e6945ecd546ac5f49d562fdd02dd3",
    "1-0-0/HeadwaterArtifactDatasetFacet": "6c3938326b22db6e3f77a3d5920e2a7c",
    "1-0-0/HeadwaterAssetDatasetFacet": "071c6da75e7480796df3b9a4762c76a4",
    "1-0-0/HeadwaterCodeRunFacet": "5a83473143d9aef842af3facc5550d75",
    "1-0-0/HeadwaterColumnsDatasetFacet": "4f7dac8401ec2478a5f887275e2d1150",
    "1-0-0/HeadwaterInputInputDatasetFacet": "58a761f14d524679ff62363f99fc0f53",
    "1-0-0/HeadwaterConsumptionInputDatasetFacet": "7c31438bfb29ea7b9f969aa053c096e0",
    "1-0-0/HeadwaterDatasetDatasetFacet": "b0e30f9bbff03fd6cff95303f51e8678",
    "1-0-0/HeadwaterDescribingDatasetFacet": "7bdee30b0d9b520d14c94f3c9e78efe4",
    "1-0-0/HeadwaterEmissionDatasetFacet": "6e2743fc77e61a9375067432d0187af3",
    "1-0-0/HeadwaterEmissionRunFacet": "a171234dc5be7dd96a0df1b9f258f08a",
    "1-0-0/HeadwaterEnvironmentRunFacet": "17713c81885788d4678c2b093d8277d4",
    "1-0-0/HeadwaterErasureDatasetFacet": "52f0d574d9f6009c74daa5a0a716aada",
    "1-0-0/HeadwaterFailureRunFacet": "f3459ee3820bc488598030d0ee205655",
    "1-0-0/HeadwaterFeatureSetDatasetFacet": "1c669f1c94d706e3f4ec1132efef511c",
    "1-0-0/HeadwaterLineageRunFacet": "8ec505593265c01fc59b0b10503a196a",
    "1-0-0/HeadwaterMetricPointsRunFacet": "5f0b94af5246bb579dc4c14e4bf26c0b",
    "1-0-0/HeadwaterMetricsDatasetFacet": "02653644135fd030247df9b8c889b013",
    "1-0-0/HeadwaterModelDatasetFacet": "a398ccdb44de55d91f8cd460e6b8625e",
    "1-0-0/HeadwaterOutputOutputDatasetFacet": "7a693736e48f7f02e1ed2db610d10410",
    "1-0-0/HeadwaterOwningDatasetFacet": "988856337bb8035d7562bc9f0ba808c1",
    "1-0-0/HeadwaterPromptDatasetFacet": "2576c151e615957c9eb6a6202b66d341",
    "1-0-0/HeadwaterRecallDatasetFacet": "0456d9ae3571f59facea328a37466240",
    "1-1-0/HeadwaterReproductionRunFacet": "31b33572a0d7b3559b615018269b095e",
    "1-0-0/HeadwaterRootRunFacet": "d00ed52278c63ca93e6e78aaad06fbbd",
    "1-0-0/HeadwaterRunClosedRunFacet": "ef30317fde4dd85a9089298249ad24f6",
    "1-0-0/HeadwaterTaggingDatasetFacet": "6609583fa297af78e6c666c4ab773001",
}

ours = pytest.mark.parametrize("facet", OURS, ids=lambda facet: facet.class_name)


@ours
def test_a_published_schema_never_changes(facet: Facet) -> None:
    content = (files("headwater.schemas") / "facets" / f"{facet.class_name}.json").read_bytes()
    assert sha256(content).hexdigest()[:32] == PUBLISHED[f"{facet.version}/{facet.class_name}"]


@ours
def test_a_schema_stands_at_its_url_and_describes_its_facet(facet: Facet) -> None:
    schema = facets.load_schema(facet)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == facet.schema_id
    assert facet.schema_url == f"{schema['$id']}#/$defs/{facet.class_name}"
    assert schema["properties"] == {facet.name: {"$ref": f"#/$defs/{facet.class_name}"}}
    definition = schema["$defs"][facet.class_name]
    assert definition["description"].endswith(".")
    assert definition["allOf"][0]["$ref"] == f"{facets.SPECIFICATION}#/$defs/{facet.entity}Facet"


@ours
def test_every_field_of_a_schema_is_described(facet: Facet) -> None:
    definition = facets.load_schema(facet)["$defs"][facet.class_name]
    undescribed = [
        name for name, body in definition["allOf"][1]["properties"].items() if "description" not in body
    ]
    assert undescribed == [] or facet.name == "headwater_root"


@ours
def test_a_name_is_camel_case_after_the_prefix_and_its_class_follows_from_it(facet: Facet) -> None:
    assert re.fullmatch(r"headwater_[a-z][a-zA-Z]*", facet.name)
    rest = facet.name.removeprefix("headwater_")
    assert facet.class_name == f"Headwater{rest[0].upper()}{rest[1:]}{facet.entity}Facet"


def test_every_schema_file_has_a_facet_and_every_published_one_still_exists() -> None:
    stored = {path.name for path in (ROOT / "schemas/headwater/schemas/facets").glob("*.json")}
    assert stored == {f"{facet.class_name}.json" for facet in OURS}
    assert set(PUBLISHED) == {f"{facet.version}/{facet.class_name}" for facet in OURS}


def test_the_version_that_events_name_is_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == facets.VERSION
    assert f"https://headwater.dev/python/{facets.VERSION}" == facets.PRODUCER


def test_a_facet_without_a_schema_of_its_own_gets_the_url_that_it_will_have() -> None:
    url = facets.own("headwater_checkpoint", "Dataset")["_schemaURL"]
    assert url.endswith("/1-0-0/HeadwaterCheckpointDatasetFacet.json#/$defs/HeadwaterCheckpointDatasetFacet")
