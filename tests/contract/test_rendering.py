"""What is rendered is an OpenLineage event, says everything the fact says, and comes back equal."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from dataclasses import replace
from typing import Any, get_args

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.schemas import events as facts
from headwater.schemas.errors import Rejected
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import encode, headers, kafka_key, recognise, render
from tests.contract import strategies
from tests.support import reference_client
from tests.support.openlineage import requires_spec, violations

JOB = facts.Job(namespace="crm", name="churn.train")
RUN = facts.Run(id="0198c0de-0000-7000-8000-000000000001", job=JOB)
PIPELINE = facts.Run(id="0198c0de-0000-7000-8000-000000000002", job=facts.Job(namespace="crm", name="churn"))
ASSET = facts.Asset(namespace="crm", name="customers", version="table1:00", type="Dataset")
CREATED = facts.AssetCreated(time=1_795_446_306_123_456, run=RUN, parent=PIPELINE, root=PIPELINE, asset=ASSET)
EVERY_TYPE = pytest.mark.parametrize("kind", strategies.ALL, ids=lambda kind: kind.__name__)
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def created(**known: Any) -> facts.AssetCreated:
    return replace(CREATED, asset=replace(ASSET, **known))


def came_back(event: facts.Event) -> facts.Event | None:
    return recognise(parse(encode(event)))


def test_the_strategies_know_every_event_type() -> None:
    assert set(strategies.ALL) == set(get_args(facts.Event))


@EVERY_TYPE
@given(data=st.data())
@settings(SLOW, max_examples=40)
def test_every_fact_comes_back_equal_from_its_bytes(kind: type, data: st.DataObject) -> None:
    event = data.draw(strategies.BY_TYPE[kind])
    assert came_back(event) == event


@requires_spec
@EVERY_TYPE
@given(data=st.data())
@settings(SLOW, max_examples=8)
def test_every_event_keeps_the_specification_and_the_schema_of_each_facet(
    kind: type, data: st.DataObject
) -> None:
    event = data.draw(strategies.BY_TYPE[kind])
    assert violations(json.loads(encode(event))) == []


@EVERY_TYPE
@given(data=st.data())
@settings(SLOW, max_examples=8)
def test_every_event_loads_in_the_reference_client_and_comes_out_the_same(
    kind: type, data: st.DataObject
) -> None:
    document = json.loads(encode(_with_attributes(data.draw(strategies.BY_TYPE[kind]))))
    loaded = reference_client.load(document)
    assert _comparable(reference_client.written(loaded)) == _comparable(document)


def _with_attributes(event: facts.Event) -> facts.Event:
    """The client keeps a facet's fields as attributes, so it holds no field whose name is none.

    Python's attributes are called by their names' compatible forms (NFKC): `ﬀ` is `ff`.
    """
    if not isinstance(event, facts.AssetCreated):
        return event
    kept = {
        name: {key: value for key, value in fields.items() if _is_attribute(key)}
        for name, fields in event.asset.details.items()
    }
    return replace(event, asset=replace(event.asset, details=kept))


def _is_attribute(key: str) -> bool:
    return key.isidentifier() and key[0] != "_" and unicodedata.normalize("NFKC", key) == key


def _comparable(document: Any) -> Any:
    """Without what the client adds or drops, and without the versions of the schemas that it is made from."""
    text = json.dumps(reference_client.without_nothing(document))
    return json.loads(re.sub(r"(openlineage\.io/spec/facets/)\d+-\d+-\d+/", r"\1*/", text))


@requires_spec
def test_the_validation_itself_finds_what_is_wrong() -> None:
    document = render(CREATED)
    document["run"]["runId"] = "1"
    document["outputs"][0]["facets"]["version"]["datasetVersion"] = 7
    document["outputs"][0]["facets"]["headwater_asset"]["assetType"] = 7
    document["outputs"][0]["facets"]["datasetType"]["_schemaURL"] = (
        "https://openlineage.io/spec/facets/9-9-9/X.json"
    )
    places = {violation.partition(":")[0] for violation in violations(document)}
    assert places == {"event"} | {
        f"outputs[0].facets.{name}" for name in ("version", "headwater_asset", "datasetType")
    }


@given(event=st.one_of(*strategies.BY_TYPE.values()))
@settings(SLOW, max_examples=50)
def test_the_slow_writer_and_orjson_agree_on_what_both_can_write(event: facts.Event) -> None:
    document = render(event)
    try:
        fast = orjson.dumps(document)
    except TypeError:
        return
    if b"null" not in fast:
        assert encode(event) == fast


def test_an_emission_given_beside_the_event_wins() -> None:
    own = facts.Emission(emitter_id=RUN.id, sequence=1)
    given_one = facts.Emission(emitter_id=PIPELINE.id, sequence=2, previous="ab" * 32, final=True)
    event = replace(CREATED, emission=own)
    assert recognise(parse(encode(event, given_one))) == replace(CREATED, emission=given_one)


def test_an_edit_of_the_document_does_not_reach_the_event() -> None:
    event = created(
        properties={"a": 1},
        column_metrics={"c": {"min": 1}},
        details={"headwater_model": {"k": 1}},
        tags={"t": "1"},
    )
    before = encode(event)
    document = render(event)
    facets = document["outputs"][0]["facets"]
    facets["headwater_asset"]["properties"]["a"] = 2
    facets["dataQualityMetrics"]["columnMetrics"]["c"]["min"] = 2
    facets["headwater_model"]["k"] = 2
    facets["tags"]["tags"].clear()
    document["run"]["facets"]["parent"]["run"]["runId"] = "x"
    assert encode(event) == before


def test_tags_from_another_source_are_not_the_assets_own() -> None:
    document = render(created(tags={"team": "crm"}))
    tags = document["outputs"][0]["facets"]["tags"]["tags"]
    tags.append({"key": "pii", "value": "true", "source": "STEWARD"})
    assert recognise(parse(orjson.dumps(document))) == created(tags={"team": "crm"})


def test_an_event_of_another_producer_or_another_shape_is_not_recognised() -> None:
    foreign = {**render(CREATED), "producer": "https://example.org/headwater.dev/"}
    assert recognise(parse(orjson.dumps(foreign))) is None
    for place in ("outputs", "run", "job"):
        document = render(replace(CREATED, emission=facts.Emission(emitter_id=RUN.id, sequence=0)))
        if place == "outputs":
            del document["outputs"][0]["facets"]["headwater_asset"]["assetType"]
        elif place == "run":
            document["run"]["facets"]["headwater_emission"]["sequence"] = "0"
        else:
            document["run"]["facets"]["parent"]["job"] = None
        assert recognise(parse(orjson.dumps(document))) is None


def test_a_text_that_is_no_unicode_is_spelled_as_the_reference_client_spells_it() -> None:
    event = created(name="a\ud800b")
    assert rb'"name":"a\ud800b"' in encode(event)
    assert came_back(event) == event


def test_a_pair_of_surrogates_becomes_the_character_it_stands_for() -> None:
    back = came_back(created(name="\ud83d\ude00"))
    assert isinstance(back, facts.AssetCreated)
    assert back.asset.name == "😀"


def test_an_integer_of_five_thousand_digits_keeps_them_all() -> None:
    wide = 10**5000 + 7
    event = created(properties={"seed": wide}, statistics=facts.Statistics(row_count=-wide))
    assert came_back(event) == event


def test_nan_in_a_property_becomes_text_and_never_null() -> None:
    event = created(properties={"a": math.nan, "b": [math.inf, None], "c": -math.inf})
    back = came_back(event)
    assert isinstance(back, facts.AssetCreated)
    assert back.asset.properties == {"a": "NaN", "b": ["Infinity", None], "c": "-Infinity"}


@requires_spec
def test_a_column_metric_that_is_no_number_is_left_out() -> None:
    event = created(
        column_metrics={"x": {"nullCount": 3, "min": math.nan, "quantiles": {"0.5": math.inf, "1": 2.0}}}
    )
    document = orjson.loads(encode(event))
    metrics = document["outputs"][0]["facets"]["dataQualityMetrics"]["columnMetrics"]
    assert metrics == {"x": {"nullCount": 3, "quantiles": {"1": 2.0}}}
    assert violations(document) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_point_keeps_what_no_json_number_holds(value: float) -> None:
    point = facts.MetricPoint(key="loss", value=value, step=1, time=2)
    back = came_back(facts.MetricsLogged(time=1, run=RUN, points=(point,)))
    assert isinstance(back, facts.MetricsLogged)
    assert repr(back.points[0].value) == repr(value)


def test_a_parameter_that_is_nan_stays_nan_and_the_text_nan_stays_text() -> None:
    event = facts.StepStarted(time=1, run=RUN, parameters={"rate": math.nan, "name": "NaN", "n": None})
    back = came_back(event)
    assert isinstance(back, facts.StepStarted)
    assert math.isnan(back.parameters["rate"])  # type: ignore[arg-type]
    assert back.parameters["name"] == "NaN"
    assert back.parameters["n"] is None


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_value_nested_deeper_than_orjson_writes_is_kept() -> None:
    event = created(properties={"deep": _nested(900)})
    value = encode(event)
    again = recognise(parse(value))
    assert again is not None
    assert encode(again) == value


def test_a_value_nested_deeper_than_any_reader_accepts_is_rejected() -> None:
    with pytest.raises(Rejected, match="levels deep"):
        encode(created(properties={"deep": _nested(5000)}))


def test_columns_nested_deeper_than_the_stack_are_rejected_and_not_recognised() -> None:
    column = facts.Column(name="c")
    for _ in range(2000):
        column = facts.Column(name="c", fields=(column,))
    with pytest.raises(Rejected, match="columns"):
        encode(created(columns=(column,)))
    document = render(created(columns=(facts.Column(name="c"),)))
    document["outputs"][0]["facets"]["schema"]["fields"] = "@"
    value = orjson.dumps(document).replace(b'"@"', b'[{"name":"c","fields":' * 490 + b"[]" + b"}]" * 490)
    assert recognise(parse(value)) is None


def test_a_value_that_is_no_json_is_rejected_by_the_name_of_its_type() -> None:
    with pytest.raises(Rejected, match="object"):
        encode(created(properties={"bad": object()}))


@pytest.mark.parametrize("time", [strategies.EARLIEST - 1, strategies.LATEST + 1])
def test_a_time_outside_the_calendar_is_rejected(time: int) -> None:
    with pytest.raises(Rejected, match="9999"):
        encode(replace(CREATED, time=time))


def test_an_event_about_an_asset_carries_no_standard_version_for_that_would_publish_it() -> None:
    asset = facts.AssetRef(namespace="crm", name="model", version="json1:00")
    for event in (
        facts.AssetTagged(time=1, asset=asset, tags={"stage": None}),
        facts.AssetAliased(time=1, asset=asset, alias="production"),
        facts.AssetRecalled(time=1, asset=asset, reason="leak"),
        facts.AssetErased(time=1, asset=asset, reason="request"),
        facts.AssetDescribed(time=1, asset=asset, description="churn"),
        facts.AssetOwned(time=1, asset=asset, owners=(facts.Owner(name="team:crm"),)),
    ):
        facets = render(event)["dataset"]["facets"]
        (ours,) = (facet for name, facet in facets.items() if name.startswith("headwater_"))
        assert ours["version"] == "json1:00"
        assert "version" not in facets
        assert "datasetVersion" not in ours


def test_what_an_asset_is_and_who_owns_it_stand_in_the_standard_facets() -> None:
    asset = facts.AssetRef(namespace="crm", name="model")
    described = render(facts.AssetDescribed(time=1, asset=asset, description="who leaves", actor="ada"))
    owners = (facts.Owner(name="team:crm", role="MAINTAINER"), facts.Owner(name="user:ada"))
    owned = render(facts.AssetOwned(time=1, asset=asset, owners=owners))
    facets = described["dataset"]["facets"]
    assert facets["documentation"]["description"] == "who leaves"
    assert facets["headwater_describing"]["actor"] == "ada"
    listed = owned["dataset"]["facets"]["ownership"]["owners"]
    assert listed == [{"name": "team:crm", "type": "MAINTAINER"}, {"name": "user:ada"}]


def test_an_output_named_again_does_not_replace_what_its_creation_said() -> None:
    asset = facts.AssetRef(namespace="crm", name="model", version="json1:00", type="Model", production=RUN.id)
    document = render(facts.StepCompleted(time=1, run=RUN, outputs=(asset,)))
    assert set(document["outputs"][0]["facets"]) == {"version"}
    assert document["outputs"][0]["outputFacets"]["headwater_output"]["productionRunId"] == RUN.id


def test_stated_parents_are_lineage_and_with_versions_also_inputs() -> None:
    known = facts.AssetRef(namespace="n", name="a", version="table1:01", production=PIPELINE.id)
    named = facts.AssetRef(namespace="n", name="b")
    document = render(created(parents=(known, named)))
    (entry,) = document["job"]["facets"]["lineage"]["entries"]
    assert [source["name"] for source in entry["inputs"]] == ["a", "b"]
    (listed,) = document["inputs"]
    assert listed["facets"]["version"]["datasetVersion"] == "table1:01"
    assert listed["inputFacets"]["headwater_input"]["productionRunId"] == PIPELINE.id


def test_no_stated_parents_and_stated_none_are_two_things() -> None:
    assert "lineage" not in render(CREATED)["job"].get("facets", {})
    (entry,) = render(created(parents=()))["job"]["facets"]["lineage"]["entries"]
    assert entry["inputs"] == []


@pytest.mark.parametrize(
    ("location", "asset_type", "expected"),
    [
        ("s3://lake/a.csv", "Dataset", "FILE"),
        ("/data/a.csv", "Dataset", "FILE"),
        ("postgres://h:5432", "Dataset", "TABLE"),
        (None, "Dataset", "TABLE"),
        (None, "Model", "MODEL"),
        (None, "Artifact", "ARTIFACT"),
    ],
)
def test_the_dataset_type_follows_the_asset(location: str | None, asset_type: str, expected: str) -> None:
    facets = render(created(location=location, type=asset_type))["outputs"][0]["facets"]
    assert facets["datasetType"]["datasetType"] == expected


@pytest.mark.parametrize(
    ("repository", "url"),
    [
        ("git@github.com:crm/churn.git", "https://github.com/crm/churn/blob/abc/src/a%20b.py"),
        (
            "https://token:x@git.example.org/crm/churn",
            "https://git.example.org/crm/churn/blob/abc/src/a%20b.py",
        ),
        ("ssh://git@h.org:22/crm/churn.git", "https://h.org:22/crm/churn/blob/abc/src/a%20b.py"),
        ("/srv/git/churn", None),
    ],
)
def test_the_source_is_located_where_the_repository_can_be_browsed(repository: str, url: str | None) -> None:
    code = facts.Code(repository_url=repository, git_commit="abc", path="src/a b.py")
    document = render(facts.StepStarted(time=1, run=RUN, code=code))
    assert document["job"]["facets"].get("sourceCodeLocation", {}).get("url") == url


def test_headers_repeat_the_kind_and_the_type_of_the_asset() -> None:
    assert headers(CREATED) == {"headwater-kind": b"AssetCreated", "headwater-asset-type": b"Dataset"}
    assert headers(facts.PipelineCompleted(time=1, run=RUN)) == {"headwater-kind": b"PipelineCompleted"}


def test_the_key_is_that_of_the_root_job_else_the_parent_else_the_run_itself() -> None:
    root = facts.Run(id=RUN.id, job=facts.Job(namespace="n", name="root"))
    assert kafka_key(replace(CREATED, root=root)) == b"run:n/root"
    assert kafka_key(replace(CREATED, root=None)) == b"run:crm/churn"
    assert kafka_key(replace(CREATED, root=None, parent=None)) == b"run:crm/churn.train"
    asset = facts.AssetRef(namespace="crm", name="m\ud800")
    assert kafka_key(facts.AssetErased(time=1, asset=asset, reason="")) == b"dataset:crm/m\\ud800"
