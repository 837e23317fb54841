"""Every event that the specification allows is read; what is not says where, what and why."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openlineage.client.event_v2 import InputDataset, Job, Run, RunEvent, RunState
from openlineage.client.generated.data_quality_metrics_dataset import (
    ColumnMetrics,
    DataQualityMetricsDatasetFacet,
)
from openlineage.client.serde import Serde

from headwater.schemas.errors import Unparseable
from headwater.schemas.openlineage import (
    Kind,
    Number,
    OpenLineageEvent,
    Rank,
    canonical_json,
    parse,
    parse_time,
)
from tests.support.openlineage import SPEC, core_violations, real_events, requires_spec

RUN_ID = "0198c0de-0000-7000-8000-000000000001"
HEAD = {
    "eventTime": "2026-11-23T15:05:06.123456Z",
    "producer": "https://example.org/producer",
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
}
RUN = {**HEAD, "eventType": "START", "run": {"runId": RUN_ID}, "job": {"namespace": "n", "name": "j"}}
JOB = {**HEAD, "job": {"namespace": "n", "name": "j"}}
DATASET = {**HEAD, "dataset": {"namespace": "n", "name": "d"}}
AT = 1_795_446_306_123_456


def event(base: dict[str, Any], **changes: Any) -> bytes:
    """`base` with `changes`; None takes a key away."""
    return json.dumps(
        {key: value for key, value in {**base, **changes}.items() if value is not None}
    ).encode()


def with_facet(body: str) -> bytes:
    """A DatasetEvent whose one facet has `body`, JSON text, as its value `v`."""
    return event({**HEAD, "dataset": {"namespace": "n", "name": "d", "facets": {"f": {"v": "@"}}}}).replace(
        b'"@"', body.encode()
    )


def facet(parsed: OpenLineageEvent) -> Any:
    return parsed.document["dataset"]["facets"]["f"]["v"]


def refusal(value: bytes) -> tuple[str, str, str]:
    with pytest.raises(Unparseable) as caught:
        parse(value)
    error = caught.value
    assert str(error) == f"{error.path}: {error.value}: {error.rule}"
    assert error.value
    assert error.rule
    return error.path, error.value, error.rule


# -- what an event is ---------------------------------------------------------------------


def test_an_event_is_its_bytes_and_named_by_their_digest() -> None:
    value = event(RUN, custom={"kept": [1, None]})
    parsed = parse(value)
    assert parsed.value is value
    assert parsed.event_id == sha256(value).digest()
    assert parsed.document == json.loads(value)
    assert (parsed.kind, parsed.rank, parsed.time) == (Kind.RUN, Rank.START, AT)
    assert parsed.defects == ()
    assert parsed.plain


def test_run_comes_before_job_and_job_before_dataset() -> None:
    dataset = DATASET["dataset"]
    assert parse(event(RUN, dataset=dataset)).kind is Kind.RUN
    assert parse(event(JOB, dataset=dataset)).kind is Kind.JOB
    assert parse(event(DATASET)).kind is Kind.DATASET


@pytest.mark.parametrize("rank", list(Rank), ids=lambda rank: rank.name)
def test_an_event_type_is_compared_in_upper_case(rank: Rank) -> None:
    assert parse(event(RUN, eventType=rank.name)).defects == ()
    lower = parse(event(RUN, eventType=rank.name.lower()))
    assert lower.rank is rank
    assert [defect.path for defect in lower.defects] == ["eventType"]


@pytest.mark.parametrize("unknown", ["PAUSED", "", 7, ["START"]])
def test_an_unknown_event_type_is_other_and_a_defect(unknown: object) -> None:
    parsed = parse(event(RUN, eventType=unknown))
    assert parsed.rank is Rank.OTHER
    assert [defect.path for defect in parsed.defects] == ["eventType"]


def test_a_missing_event_type_is_other_and_no_defect() -> None:
    parsed = parse(event(RUN, eventType=None))
    assert (parsed.rank, parsed.defects) == (Rank.OTHER, ())


def test_only_runs_have_a_rank() -> None:
    assert parse(event(JOB, eventType="FAIL")).rank is Rank.OTHER


@pytest.mark.parametrize("run_id", ["1", "scheduled__2026-11-23T00:00:00+00:00", "x" * 4096, "\x00", "'; --"])
def test_a_run_id_that_is_no_uuid_is_accepted_as_a_defect(run_id: str) -> None:
    parsed = parse(event(RUN, run={"runId": run_id}))
    assert parsed.document["run"]["runId"] == run_id
    assert [defect.path for defect in parsed.defects] == ["run.runId"]


@pytest.mark.parametrize("version", ["1-0-5", "1-1-0", "1-1-1", "2-0-0", "2-0-1", "2-0-2"])
@pytest.mark.parametrize("pointer", ["#/definitions/RunEvent", "#/$defs/RunEvent", ""])
def test_every_version_of_the_specification_is_read(version: str, pointer: str) -> None:
    url = f"https://openlineage.io/spec/{version}/OpenLineage.json{pointer}"
    assert parse(event(RUN, schemaURL=url)).defects == ()


@requires_spec
@pytest.mark.parametrize(
    ("name", "value"),
    real_events() or [("none", b"")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_real_event_is_read_without_loss(name: str, value: bytes) -> None:
    parsed = parse(value)
    assert parsed.document == json.loads(value)
    assert parsed.kind is Kind.RUN
    assert {defect.path for defect in parsed.defects} <= {"run.runId"}


@requires_spec
def test_the_real_events_are_there() -> None:
    assert len(real_events()) >= 17


@requires_spec
def test_the_full_example_of_the_specification_is_read() -> None:
    value = (SPEC / "tests" / "example_full_event.json").read_bytes()
    parsed = parse(value)
    assert parsed.kind is Kind.RUN
    assert "dataset" in parsed.document


@requires_spec
def test_every_facet_example_of_the_specification_is_read_within_an_event() -> None:
    found = 0
    for path in sorted((SPEC / "tests").glob("*/*.json")):
        facets = orjson.loads(path.read_bytes())
        parsed = parse(event({**HEAD, "dataset": {"namespace": "n", "name": "d", "facets": facets}}))
        assert parsed.document["dataset"]["facets"] == facets
        assert parsed.defects == ()
        found += 1
    assert found >= 30


_names = st.text(max_size=5)
_facets = st.fixed_dictionaries(
    {"_producer": st.just("https://p.org"), "_schemaURL": st.just("https://s.org")}
)
_datasets = st.fixed_dictionaries(
    {"namespace": _names, "name": _names}, optional={"facets": st.dictionaries(_names, _facets, max_size=2)}
)
_times = st.datetimes(
    timezones=st.just(UTC) | st.integers(-1439, 1439).map(lambda offset: timezone(timedelta(minutes=offset)))
).map(datetime.isoformat)
_allowed = st.fixed_dictionaries(
    {
        "eventTime": _times,
        "producer": st.just("https://p.org"),
        "schemaURL": st.just("https://s.org"),
        "job": _datasets,
    },
    optional={
        "eventType": st.sampled_from([rank.name for rank in Rank]),
        "run": st.fixed_dictionaries({"runId": st.uuids().map(str)}),
        "inputs": st.lists(_datasets, max_size=2),
        "outputs": st.lists(_datasets, max_size=2),
    },
)


@requires_spec
@given(document=_allowed)
@settings(max_examples=60, deadline=None)
def test_an_event_that_the_specification_allows_is_never_refused(document: dict[str, Any]) -> None:
    if "run" not in document and "eventType" in document:
        del document["eventType"]
    assert core_violations(document) == []
    parsed = parse(json.dumps(document).encode())
    assert parsed.defects == ()
    since = datetime.fromisoformat(document["eventTime"]) - datetime(1970, 1, 1, tzinfo=UTC)
    assert parsed.time == since // timedelta(microseconds=1)


# -- what is refused, and how that is said --------------------------------------------------

REFUSED = {
    "no object": (b"[]", "$"),
    "nothing in it": (b"{}", "$"),
    "a null job": (event(HEAD, job=None, dataset=None), "$"),
    "a run that is no object": (event(RUN, run="x"), "run"),
    "no run id": (event(RUN, run={}), "run.runId"),
    "an empty run id": (event(RUN, run={"runId": ""}), "run.runId"),
    "a run id that is a number": (event(RUN, run={"runId": 7}), "run.runId"),
    "a run id that is a wide number": (
        event(RUN, run={"runId": "@"}).replace(b'"@"', b"9" * 40),
        "run.runId",
    ),
    "a run without job": (event(RUN, job=None), "job"),
    "a job without namespace": (event(JOB, job={"name": "j"}), "job.namespace"),
    "a job whose name is null": (event(JOB).replace(b'"j"', b"null"), "job.name"),
    "a dataset without name": (event(DATASET, dataset={"namespace": "n"}), "dataset.name"),
    "inputs that are a text": (event(RUN, inputs="d"), "inputs"),
    "outputs that are an object": (event(JOB, outputs={"namespace": "n"}), "outputs"),
    "an input that is null": (event(RUN, inputs=[{"namespace": "n", "name": "d"}, None]), "inputs[1]"),
    "an output without name": (event(RUN, outputs=[{"namespace": "n"}]), "outputs[0].name"),
    "no time": (event(RUN, eventTime=None), "eventTime"),
    "a time that is a number": (event(RUN, eventTime=AT), "eventTime"),
    "a time that is none": (event(RUN, eventTime="yesterday"), "eventTime"),
}


@pytest.mark.parametrize(("value", "path"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_the_place_the_value_and_the_rule(value: bytes, path: str) -> None:
    assert refusal(value)[0] == path


def test_what_is_shown_of_a_value_is_short_and_one_line() -> None:
    _, shown, _ = refusal(event(RUN, eventTime="x\n" * 100_000))
    assert len(shown) <= 120
    assert "\n" not in shown


def test_a_null_side_is_the_same_as_none_and_a_defect() -> None:
    value = event(RUN, inputs="@").replace(b'"@"', b"null")
    assert [(defect.path, defect.value) for defect in parse(value).defects] == [("inputs", "null")]


def test_a_missing_producer_and_schema_url_are_defects() -> None:
    parsed = parse(event(RUN, producer=None, schemaURL=None))
    assert [defect.path for defect in parsed.defects] == ["producer", "schemaURL"]


def test_facets_that_are_no_objects_are_kept_and_are_defects() -> None:
    value = event(
        RUN,
        run={"runId": RUN_ID, "facets": []},
        job={"namespace": "n", "name": "j", "facets": {"sql": "select 1", "tags": None}},
        inputs=[{"namespace": "n", "name": "d", "inputFacets": "x"}],
        outputs=[{"namespace": "n", "name": "d", "outputFacets": {"o": 1}}],
    )
    parsed = parse(value)
    assert parsed.document == json.loads(value)
    assert [defect.path for defect in parsed.defects] == [
        "run.facets",
        "job.facets.sql",
        "job.facets.tags",
        "inputs[0].inputFacets",
        "outputs[0].outputFacets.o",
    ]


# -- JSON as it arrives -------------------------------------------------------------------


def test_nan_as_the_reference_client_writes_it_is_read_and_recorded() -> None:
    metrics = DataQualityMetricsDatasetFacet(
        columnMetrics={"x": ColumnMetrics(min=math.nan, max=math.inf, sum=-math.inf)}
    )
    sent = RunEvent(
        eventType=RunState.COMPLETE,
        eventTime=HEAD["eventTime"],
        run=Run(runId=RUN_ID),
        job=Job(namespace="n", name="j"),
        inputs=[InputDataset(namespace="n", name="d", facets={"dataQualityMetrics": metrics})],
    )
    value = Serde.to_json(sent).encode()
    assert b"NaN" in value
    parsed = parse(value)
    column = parsed.document["inputs"][0]["facets"]["dataQualityMetrics"]["columnMetrics"]["x"]
    assert math.isnan(column["min"])
    assert (column["max"], column["sum"]) == (math.inf, -math.inf)
    place = "inputs[0].facets.dataQualityMetrics.columnMetrics.x"
    assert {(defect.path, defect.value) for defect in parsed.defects} == {
        (f"{place}.min", "NaN"),
        (f"{place}.max", "Infinity"),
        (f"{place}.sum", "-Infinity"),
    }
    assert not parsed.plain


def test_names_of_missing_numbers_inside_texts_are_texts() -> None:
    parsed = parse(with_facet('["NaN", "-Infinity", "a\\"NaN", NaN]'))
    assert facet(parsed)[:3] == ["NaN", "-Infinity", 'a"NaN']
    assert [defect.path for defect in parsed.defects] == ["dataset.facets.f.v[3]"]


def test_the_defects_of_one_event_are_bounded() -> None:
    parsed = parse(with_facet(f"[{','.join(['NaN'] * 5000)}]"))
    assert len(parsed.defects) == 100
    assert len(facet(parsed)) == 5000


WIDE = [str(2**64), str(-(2**63) - 1), "9" * 5000, "-" + "7" * 5000, "1e400", "-1E+999"]
NO_NUMBERS = ["00", "01" * 20, "1" * 30 + "x", "+1", "1.", ".5" + "0" * 30, "-", "--1", "-NaN", "nan"]
DEEP = [b"[" * 10_000, b"[" * 1_000_000, b'{"a":' * 10_000 + b"NaN" + b"}" * 10_000]
NAMES = ["../../etc/passwd", "'; DROP TABLE run; --", "\u202etxt.exe", '"', "n" * 4096, ""]


@pytest.mark.parametrize("exact", [2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0, -1])
def test_an_integer_of_64_bits_is_an_integer(exact: int) -> None:
    found = facet(parse(with_facet(str(exact))))
    assert found == exact
    assert type(found) is int


@pytest.mark.parametrize(
    "literal", [str(2**64), str(-(2**63) - 1), "9" * 5000, "-" + "7" * 5000, "1e400", "-1E+999"]
)
@pytest.mark.parametrize("before", ["", " ", "\n"])
def test_a_number_beyond_64_bits_keeps_every_digit(literal: str, before: str) -> None:
    parsed = parse(with_facet(before + literal))
    assert facet(parsed) == literal
    assert type(facet(parsed)) is Number
    assert parsed.defects == ()
    assert canonical_json(facet(parsed)) == literal.encode()


@pytest.mark.parametrize(
    "literal", ["00", "01" * 20, "1" * 30 + "x", "+1", "1.", ".5" + "0" * 30, "-", "--1", "-NaN", "nan"]
)
def test_what_only_looks_like_a_number_is_refused(literal: str) -> None:
    path, _, rule = refusal(with_facet(literal))
    assert path.startswith("byte ")
    assert "RFC 8259" in rule


@pytest.mark.parametrize("key", ["NaN", "9" * 30, "-Infinity"])
def test_a_number_is_no_key(key: str) -> None:
    refusal(with_facet(f"{{{key} : 1}}"))


def test_nul_is_kept_in_the_document_and_escaped_for_stores() -> None:
    parsed = parse(with_facet('"a\\u0000b"'))
    assert facet(parsed) == "a\x00b"
    assert not parsed.plain
    assert canonical_json(facet(parsed)) == '"a␛0b"'.encode()


@pytest.mark.parametrize("spelling", ["␛", "\\u241b", "\\u241B"])
def test_the_escape_sign_itself_is_escaped_for_stores(spelling: str) -> None:
    parsed = parse(with_facet(f'"{spelling}"'))
    assert not parsed.plain
    assert canonical_json(facet(parsed)) == '"␛␛"'.encode()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\\ud800", "\ud800"),
        ("\\uDFFF", "\udfff"),
        ("a\\ud800\\u0041", "a\ud800A"),
        ("\\udc00\\ud800", "\udc00\ud800"),
        ("\\ud800\\ud83d\\ude00", "\ud800😀"),
        ("\\\\ud800", "\\ud800"),
        ("\\\\\\ud800", "\\\ud800"),
    ],
)
def test_a_lone_surrogate_is_kept_and_a_pair_is_its_character(text: str, found: str) -> None:
    parsed = parse(with_facet(f'{{"{text}": "{text}"}}'))
    assert facet(parsed) == {found: found}
    assert parsed.defects == ()


def test_a_key_keeps_its_place_when_another_holds_a_lone_surrogate() -> None:
    assert list(facet(parse(with_facet('{"a": 1, "\\ud800": 2, "b": 3}')))) == ["a", "\ud800", "b"]


@pytest.mark.parametrize(
    ("damage", "found"), [(b"\xff", "ff"), (b"\xc3(", "c3"), (b"\xed\xa0\x80", "ed"), (b"\xf0\x9f", "f0 9f")]
)
def test_bytes_that_are_no_utf_8_are_refused_at_their_place(damage: bytes, found: str) -> None:
    value = with_facet('"@@"').replace(b"@@", damage)
    path, shown, rule = refusal(value)
    assert path == f"byte {value.index(damage)}"
    assert found in shown
    assert "UTF-8" in rule


def test_a_byte_order_mark_is_overlooked_as_a_defect() -> None:
    parsed = parse(b"\xef\xbb\xbf" + event(RUN))
    assert parsed.document == json.loads(event(RUN))
    assert [defect.path for defect in parsed.defects] == ["byte 0"]


def test_utf_16_is_refused() -> None:
    refusal(event(RUN).decode().encode("utf-16"))


@pytest.mark.parametrize("number", ["1", "NaN", "9" * 40], ids=["fast path", "NaN", "wide integer"])
def test_the_last_of_equal_keys_holds_on_both_paths(number: str) -> None:
    found = facet(parse(with_facet(f'{{"a": 1, "a": 2, "n": {number}}}')))
    assert found["a"] == 2


@pytest.mark.parametrize("inner", ["1", "NaN", "9" * 40, '"\\ud800"'])
def test_the_limit_of_depth_is_the_same_on_both_paths(inner: str) -> None:
    levels = 1024 - 4  # the event, its dataset, the facets, the facet
    parsed = parse(with_facet("[" * levels + inner + "]" * levels))
    assert canonical_json(parsed.document, plain=parsed.plain)
    path, _, rule = refusal(with_facet("[" * (levels + 1) + inner + "]" * (levels + 1)))
    assert path.startswith("byte ")
    assert "1,024 levels" in rule


@pytest.mark.parametrize(
    "value", [b"[" * 10_000, b"[" * 1_000_000, b'{"a":' * 10_000 + b"NaN" + b"}" * 10_000]
)
def test_a_depth_of_ten_thousand_is_refused(value: bytes) -> None:
    assert "levels" in refusal(value)[2]


@pytest.mark.parametrize("value", [b"", b" ", b"{", b"nul", b'{"a":1}x', b'{"a":1,}', b'"\x01"', b"{'a':1}"])
def test_bytes_that_are_no_json_are_refused_at_a_byte(value: bytes) -> None:
    assert refusal(value)[0].startswith("byte ")


def test_the_byte_at_fault_is_counted_in_the_bytes_that_came() -> None:
    value = with_facet(f'["é", NaN, "\\ud800", {"1" * 40}, ?]')
    path, shown, _ = refusal(value)
    assert path == f"byte {value.index(b'?')}"
    assert shown.startswith("'?")


@pytest.mark.timeout(30)  # milliseconds when linear, hours when not
def test_an_unclosed_text_full_of_quotes_is_refused_in_linear_time() -> None:
    refusal(b'{"a":"' + b'\\"' * 500_000)


@pytest.mark.parametrize("more", ["1", "NaN"], ids=["fast path", "slow path"])
def test_an_event_of_ten_megabytes_is_read(more: str) -> None:
    fields = ",".join(f'{{"name":"c{number}","type":"VARCHAR"}}' for number in range(300_000))
    value = with_facet(f'{{"fields":[{fields}],"x":{more}}}')
    assert len(value) > 10_000_000
    assert len(facet(parse(value))["fields"]) == 300_000


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "'; DROP TABLE run; --", "\u202etxt.exe", '"', "n" * 4096, ""]
)
def test_a_name_is_left_as_it_came(name: str) -> None:
    parsed = parse(event(DATASET, dataset={"namespace": name, "name": name}))
    assert parsed.document["dataset"] == {"namespace": name, "name": name}
    assert parsed.defects == ()


def test_unknown_facets_and_fields_are_kept_verbatim() -> None:
    unknown = {
        "spark.logicalPlan": {"plan": [{"x": None}]},
        "environment-properties": {},
        "airflowDagRun": {"a": 1},
    }
    value = event(RUN, run={"runId": RUN_ID, "facets": unknown, "more": 1}, extra=[{}])
    assert parse(value).document == json.loads(value)


# -- canonical JSON -----------------------------------------------------------------------

_scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(value=_values)
@settings(max_examples=200, deadline=None)
def test_the_slow_writer_of_canonical_json_agrees_with_orjson(value: Any) -> None:
    text = ascii(value)
    if not any(special in text for special in ("inf", "\\x00", "\\u241b")):
        assert canonical_json(value) == canonical_json(value, plain=True)


def test_canonical_json_is_one_text_for_equal_values() -> None:
    first = {"b": [1.0, math.nan, -math.inf], "a\x00": Number("1" * 30), "é": "\ud800", "\n": {}, "[": []}
    again = dict(reversed(first.items()))
    assert canonical_json(first) == canonical_json(again)
    assert canonical_json(first).decode() == (
        '{"\\n":{},"[":[],"a␛0":' + "1" * 30 + ',"b":[1.0,"NaN","-Infinity"],"é":"␛d800"}'
    )


@given(document=st.dictionaries(st.text(), _values, max_size=3))
@settings(max_examples=100, deadline=None)
def test_the_placeholder_path_reads_what_the_fast_path_reads(document: dict[str, Any]) -> None:
    if "inf" in repr(document):
        return
    body = orjson.dumps(document).decode()
    plain = facet(parse(with_facet(f"[{body}, 1]")))
    special = facet(parse(with_facet(f'[{body}, "\\ud800"]')))
    assert special[0] == plain[0]
    assert repr(special[0]) == repr(plain[0])


# -- time ---------------------------------------------------------------------------------

TIMES = {
    "2026-11-23T15:05:06.123456Z": AT,
    "2026-11-23T15:05:06.123456": AT,
    "2026-11-23t15:05:06.123456z": AT,
    "2026-11-23 15:05:06.123456Z": AT,
    "2026-11-23T15:05:06.1234567899999Z": AT,
    "2026-11-23T16:05:06.123456+01:00": AT,
    "2026-11-23T16:05:06.123456+0100": AT,
    "2026-11-23T10:35:06.123456-04:30": AT,
    "2026-11-24T15:04:06.123456+23:59": AT,
    "2026-11-23T15:05:06.1Z": AT - 23_456,
    "2026-11-23T15:05:06Z": AT - 123_456,
    "2026-11-23T15:04:60.123456Z": AT - 6_000_000,
    "1970-01-01T00:00:00-00:00": 0,
    "1969-12-31T23:59:59.999999Z": -1,
    "2024-02-29T00:00:00Z": 1_709_164_800_000_000,
    "2016-12-31T23:59:60Z": 1_483_228_800_000_000,
    "0001-01-01T00:00:00Z": -62_135_596_800_000_000,
    "0001-01-01T00:00:00+10:00": -62_135_632_800_000_000,
    "0000-01-01T00:00:00Z": -62_167_219_200_000_000,
    "0000-02-29T00:00:00Z": -62_167_219_200_000_000 + 59 * 86_400_000_000,
    "9999-12-31T23:59:60Z": 253_402_300_800_000_000,
    "9999-12-31T23:59:59.999999-23:59": 253_402_300_799_999_999 + 86_340_000_000,
}


@pytest.mark.parametrize(("text", "time"), TIMES.items(), ids=TIMES)
def test_a_time_is_microseconds_since_1970(text: str, time: int) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T24:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-11-31T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-11-23T15:60:00Z",
        "2026-11-23T15:05:61Z",
        "2026-11-23T15:05:06+24:00",
        "2026-11-23T15:05:06+01:60",
        "2026-11-23T15:05:06.Z",
        "2026-11-23T15:05:06,5Z",
        "2026-11-23T15:05:06+00:00:30",
        "2026-11-23T15:05Z",
        "2026-11-23",
        "20261123T150506Z",
        "2026-W48-1T15:05:06Z",
        "2026-11-23T15:05:06Z ",
        " 2026-11-23T15:05:06Z",
        "2026-11-23T15:05:06Z\n",
        "２026-11-23T15:05:06Z",
        "-2026-11-23T15:05:06Z",
        "+12026-11-23T15:05:06Z",
        "2026-11-23T15:05:06 Z",
        "2026-11-23T15:05:06UTC",
        "1795446306",
        "",
        "Z",
    ],
)
def test_what_is_no_time_is_refused_with_its_path(text: str) -> None:
    with pytest.raises(Unparseable) as caught:
        parse_time(text, "eventTime")
    assert caught.value.path == "eventTime"


@given(moment=_times)
@settings(max_examples=300, deadline=None)
def test_the_fast_reader_of_times_agrees_with_the_pattern(moment: str) -> None:
    assert parse_time(moment) == parse_time(moment.replace("T", " "))
