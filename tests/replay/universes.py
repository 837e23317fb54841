"""Generated event sets that collide on purpose, to test the projection with.

A universe is a list of values as a log would hold them. Names, runs and times are few, so
that events meet; every construct that has a rule occurs, also malformed. Events of our own
are in `tests.replay.native`.
"""

from __future__ import annotations

import json
import random
from typing import Any, TypeAlias

import orjson
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

Body: TypeAlias = dict[str, Any]
Facets: TypeAlias = dict[str, SearchStrategy[Any]]

DATASETS = [
    {"namespace": "lake", "name": "a"},
    {"namespace": "lake", "name": "b"},
    {"namespace": "s3://lake", "name": "a"},
    {"namespace": "lake", "name": "c\x00␛0"},
    {"namespace": "\udc00", "name": "d'; DROP TABLE run;--\\N\t\r\n"},
]
JOBS = [
    {"namespace": "crm", "name": "P"},
    {"namespace": "crm", "name": "Q"},
    {"namespace": "c\x00rm", "name": "\u202eR"},
]
UUIDS = ["01890000-0000-7000-8000-00000000000a", "01890000-0000-7000-8000-00000000000b"]
RUN_IDS = [*UUIDS, UUIDS[0].upper(), "1", "scheduled__\x00␛", "\\."]
TIMES = [
    "2024-03-01T10:00:00Z",
    "2024-03-01T10:00:00",
    "2024-03-01T11:00:00.000+01:00",
    "2024-03-01T10:00:00.000001Z",
    "2024-03-01T10:00:00.0000019Z",
    "2024-03-01T09:59:60Z",
    "2024-03-01T10:02:00-00:00",
    "2024-03-01T10:03:00.5Z",
    "1969-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
]
EVENT_TYPES = [
    "START",
    "START",
    "RUNNING",
    "COMPLETE",
    "COMPLETE",
    "FAIL",
    "ABORT",
    "OTHER",
    "complete",
    "Paused",
    None,
]
WIDE = 12345678901234567890123456789

# The first of each comes most often, so that events meet.
datasets = st.sampled_from([*DATASETS[:1] * 3, *DATASETS[1:2] * 2, *DATASETS])
jobs = st.sampled_from([JOBS[0], *JOBS])
run_ids = st.sampled_from([*RUN_IDS[:1] * 5, *RUN_IDS])
fields = st.sampled_from(["x", "y", "\x00"])
not_objects: SearchStrategy[Any] = st.sampled_from([None, 7, "text", [], [{"datasetVersion": "v1"}], True])
plain = st.sampled_from([{"a": 1}, {"a": 2}, {"_producer": "p", "a": 1}, {}])
odd = st.sampled_from(
    [
        {"x": float("nan"), "y": [float("inf"), -float("inf")]},
        {"x": WIDE, "y": 10**400, "z": -1.5},
        {"\x00": "\ud800␛", "é": {"␛": [None, True, 1e300]}},
        {"_deleted": "true"},
        {"_deleted": 1},
    ]
)


def _rarely(
    strategy: SearchStrategy[Any], otherwise: SearchStrategy[Any], one_in: int = 8
) -> SearchStrategy[Any]:
    return st.integers(0, one_in - 1).flatmap(lambda n: strategy if n == one_in - 1 else otherwise)


def _deletable(bodies: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """`bodies`, at times deleted (also with a body left in), at times no object."""
    deleted = st.one_of(st.just({"_deleted": True}), bodies.map(_with_deletion))
    return _rarely(not_objects, _rarely(deleted, bodies, 6), 12)


def _with_deletion(body: Any) -> Any:
    return {**body, "_deleted": True} if isinstance(body, dict) else body


@st.composite
def _some(draw: DrawFn, choices: Facets, most: int = 3) -> Body:
    """Up to `most` of the facets in `choices`."""
    names = draw(st.lists(st.sampled_from(sorted(choices)), max_size=most, unique=True))
    return {name: draw(choices[name]) for name in names}


# -- facets of datasets -----------------------------------------------------------------

versions = st.fixed_dictionaries(
    {
        "datasetVersion": _rarely(
            st.sampled_from(["", 7, WIDE, None, "\x00v", "\\N", "\\."]), st.sampled_from(["v1", "v2"])
        )
    }
)
_named = _rarely(st.sampled_from([{"name": "a"}, {"namespace": WIDE, "name": "a"}]), datasets, 16)
_identifiers = _rarely(not_objects, _named, 16)
symlinks = st.fixed_dictionaries({"identifiers": _rarely(not_objects, st.lists(_identifiers, max_size=2))})
lifecycles = st.fixed_dictionaries(
    {
        "lifecycleStateChange": _rarely(
            st.sampled_from([None, 3, "", "melt\x00"]),
            st.sampled_from(
                ["RENAME", "RENAME", "DROP", "TRUNCATE", "ALTER", "CREATE", "OVERWRITE", "rename", "drop"]
            ),
        )
    },
    optional={"previousIdentifier": _identifiers},
)
_transformations = st.lists(
    st.sampled_from(
        [
            {"type": "direct", "subtype": "IDENTITY"},
            {"type": "INDIRECT"},
            {"subtype": "x"},
            {"type": "DIRECT", "subtype": "TRANSFORMATION", "masking": True},
            {"type": "DIRECT", "masking": True},
            {"type": "DIRECT", "masking": "true"},
            5,
        ]
    ),
    max_size=2,
)


@st.composite
def _sources(draw: DrawFn, *, kinds: list[Any] | None = None) -> Body:
    """A dataset as a source of lineage; `kinds` are the values of `type`, when it has one."""
    source = dict(draw(_named))
    if draw(st.integers(0, 2)) == 2:
        source["transformations"] = draw(_rarely(not_objects, _transformations))
    if draw(st.booleans()):
        source["field"] = draw(_rarely(st.sampled_from([None, WIDE, ""]), fields))
    if kinds is not None:
        source["type"] = draw(st.sampled_from(kinds))
    return source


def _lists(items: SearchStrategy[Any], most: int = 2) -> SearchStrategy[Any]:
    return _rarely(not_objects, st.lists(items, max_size=most), 16)


def _by_field(described: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return _rarely(not_objects, st.dictionaries(fields, described, max_size=2), 16)


column_lineages = st.fixed_dictionaries(
    {
        "fields": _by_field(
            st.fixed_dictionaries(
                {"inputFields": _lists(_sources())},
                optional={
                    "transformationType": _rarely(st.just(WIDE), st.sampled_from(["IDENTITY", "MASKED"]))
                },
            )
        )
    },
    optional={"dataset": _lists(_sources())},
)
_ENTITIES = [*["DATASET"] * 8, "JOB", None]
_lineage_inputs = _lists(_sources(kinds=_ENTITIES))
_lineage_fields = _by_field(st.fixed_dictionaries({"inputs": _lineage_inputs}))
dataset_lineages = st.fixed_dictionaries({}, optional={"inputs": _lineage_inputs, "fields": _lineage_fields})


@st.composite
def _entries(draw: DrawFn) -> Body:
    entry = {**draw(_sources(kinds=_ENTITIES)), **draw(dataset_lineages)}
    return entry


job_lineages = _rarely(st.just({"inputs": []}), st.fixed_dictionaries({"entries": _lists(_entries(), 3)}))
copies = st.fixed_dictionaries(
    {"productionRunId": _rarely(st.sampled_from(["1", 5, None]), st.sampled_from([*UUIDS, UUIDS[1].upper()]))}
)

_tags = st.fixed_dictionaries(
    {"key": _rarely(st.sampled_from([None, WIDE, "\x00k␛"]), st.sampled_from(["pii", "team"]), 12)},
    optional={
        "value": _rarely(
            st.sampled_from([None, True, WIDE, ["a"], "\ud800"]), st.sampled_from(["true", "crm"])
        ),
        "source": _rarely(st.sampled_from([None, 4, "\x00"]), st.sampled_from(["dbt", "steward"])),
        "field": _rarely(st.sampled_from([None, WIDE, ""]), fields, 6),
    },
)
tag_lists = st.fixed_dictionaries({"tags": _lists(_rarely(not_objects, _tags, 16), 3)})

# What can be searched: few texts, so that they meet.
_texts = _rarely(
    st.sampled_from(["", None, WIDE, "l\x00ss \ud800␛", "\u202eÄ_ﬁ-9", "x" * 2_100]),
    st.sampled_from(["the churn model", "Email", "user_id", "crm:team"]),
)
_scalars = st.sampled_from(
    ["8", "eight", "", 8, 0.5, -0.0, True, None, WIDE, "NaN", "Infinity", float("nan"), 1e300, [8], {"a": 8}]
)
_schema_fields = st.recursive(
    st.fixed_dictionaries({"name": _texts}, optional={"type": st.just("int64")}),
    lambda inner: st.fixed_dictionaries({"name": _texts, "fields": _lists(inner)}),
    max_leaves=3,
)
_models = st.fixed_dictionaries(
    {},
    optional={
        "class": _texts,
        "framework": st.sampled_from(["sklearn", None]),
        "parameters": _by_field(_scalars),
    },
)
_named_values = st.dictionaries(st.sampled_from(["auc", "loss", "l\x00ss"]), _scalars, max_size=3)
_described = st.fixed_dictionaries({}, optional={"description": _texts})
_owned = st.fixed_dictionaries(
    {"owners": _lists(st.fixed_dictionaries({"name": _texts}, optional={"type": st.just("TEAM")}))}
)
_by_name: SearchStrategy[Any] = st.one_of(_named_values, not_objects)
SEARCHED_DATASET_FACETS: Facets = {
    "schema": _deletable(st.one_of(plain, st.fixed_dictionaries({"fields": _lists(_schema_fields)}))),
    "documentation": _deletable(_described),
    "ownership": _deletable(_owned),
    "headwater_asset": _deletable(
        st.fixed_dictionaries({"assetType": st.sampled_from(["Model", "Dataset", "", None])})
    ),
    "datasetType": _deletable(st.fixed_dictionaries({"datasetType": _texts})),
    "headwater_model": _deletable(_models),
    "headwater_metrics": _deletable(st.fixed_dictionaries({"values": _by_name})),
}
_parameters = st.fixed_dictionaries({"key": _texts, "value": _scalars})
SEARCHED_RUN_FACETS: Facets = {
    "executionParameters": _deletable(st.fixed_dictionaries({"parameters": _lists(_parameters, 3)})),
    "headwater_code": _deletable(
        st.fixed_dictionaries(
            {},
            optional={"function": _texts, "gitCommit": st.sampled_from(["4F1C9AB", "4f1c000", None, ""])},
        )
    ),
}
SEARCHED_JOB_FACETS: Facets = {
    "sourceCodeLocation": _deletable(
        st.fixed_dictionaries({}, optional={"path": _texts, "version": st.just("4f1c9ab0")})
    ),
    "ownership": _deletable(_owned),
    "documentation": _deletable(_described),
}

DATASET_FACETS: Facets = {
    **SEARCHED_DATASET_FACETS,
    "tags": _deletable(tag_lists),
    "version": _deletable(versions),
    "symlinks": _rarely(not_objects, _deletable(symlinks)),
    "lifecycleStateChange": _deletable(lifecycles),
    "columnLineage": _deletable(column_lineages),
    "lineage": _deletable(dataset_lineages),
    "\x00un\ud800known": _deletable(odd),
}
MORE_FACETS: Facets = {
    "headwater_input": _deletable(copies),
    "statistics": _deletable(plain),
    "schema": _deletable(odd),
}


@st.composite
def listed_datasets(draw: DrawFn, more: str) -> Body:
    """An item of `inputs` or `outputs`."""
    item: Body = dict(draw(datasets))
    facets = draw(_some(DATASET_FACETS))
    if draw(st.booleans()):
        facets.setdefault("version", draw(DATASET_FACETS["version"]))
    if draw(st.booleans()) or facets:
        item["facets"] = facets
    item[more] = draw(_rarely(_some(MORE_FACETS, 2), st.just({}), 2))
    return {**item, "facets": draw(not_objects)} if draw(st.integers(0, 20)) == 20 else item


# -- facets of runs and jobs ------------------------------------------------------------

_named_runs = st.fixed_dictionaries(
    {
        "run": st.fixed_dictionaries({"runId": _rarely(st.sampled_from([None, 5, ""]), run_ids)}),
        "job": _rarely(st.sampled_from([None, {"name": "P"}, {"namespace": "crm", "name": WIDE}]), jobs),
    }
)
parents = st.one_of(
    _named_runs,
    st.builds(lambda parent, root: {**parent, "root": root}, _named_runs, _named_runs | not_objects),
)
_SNAPSHOT = ["COMPLETE_SNAPSHOT", "complete_snapshot", "Complete_Snapshot"]
job_types = st.fixed_dictionaries(
    {"processingType": st.sampled_from(["BATCH", "STREAMING", "streaming", "SERVICE", None, WIDE])},
    optional={
        "emissionPattern": _rarely(
            not_objects,
            st.fixed_dictionaries({"eventContentMode": st.sampled_from([*_SNAPSHOT, "ACCUMULATIVE", WIDE])}),
        ),
        "eventContentMode": st.sampled_from([*_SNAPSHOT, None]),
    },
)
_counts = _rarely(st.sampled_from([True, None, "3", WIDE, 2.0]), st.integers(0, 3), 12)
emissions = st.fixed_dictionaries(
    {"emitterId": _rarely(st.sampled_from(["e", None]), st.sampled_from(UUIDS), 12), "sequence": _counts},
    optional={
        "previous": st.sampled_from(["ab" * 32, None, "xyz"]),
        "final": st.sampled_from([True, False, None]),
    },
)
closures = st.fixed_dictionaries(
    {
        "emitterId": _rarely(st.sampled_from(["e", 4]), st.sampled_from(UUIDS)),
        "events": _counts,
        "lastSequence": _counts,
    }
)

_metric_values = _rarely(
    st.sampled_from([WIDE, "NaN", "-Infinity", float("nan"), float("inf"), "7", None, True, -0.0]),
    st.sampled_from([1, 1.0, 0.1, 2.5e-7]),
    4,
)
_points = st.fixed_dictionaries(
    {
        "key": _rarely(st.sampled_from([None, "l\x00ss"]), st.sampled_from(["loss", "auc"])),
        "value": _metric_values,
        "step": _counts,
        "time": _rarely(st.sampled_from([None, -1, 1.5, WIDE]), st.sampled_from([1_700_000_000_000_000, 0])),
    }
)
metric_points = st.fixed_dictionaries({"points": _lists(_points, 3)})

_decided: Facets = {
    "version": _rarely(st.sampled_from(["", None, WIDE]), st.sampled_from(["v1", "v3"])),
    "actor": st.sampled_from(["ann", None, "\x00", 4]),
    "productionRunId": st.sampled_from([UUIDS[0], UUIDS[1].upper(), "1", None]),
}
_yes_no = st.sampled_from([True, False, None, "true"])
_reasons = st.sampled_from(["leak", None, "\ud800", WIDE])
_tag_values = st.sampled_from(["crm", "\x00", None, None, 4, WIDE])
GOVERNANCE_FACETS: Facets = {
    "headwater_tagging": _deletable(
        st.fixed_dictionaries({"tags": _by_field(_tag_values)}, optional=_decided)
    ),
    "headwater_aliasing": _deletable(
        st.fixed_dictionaries(
            {"alias": _rarely(st.sampled_from([None, "\x00", WIDE]), st.just("production"))},
            optional={**_decided, "removed": _yes_no},
        )
    ),
    "headwater_recall": _deletable(
        st.fixed_dictionaries({}, optional={**_decided, "reason": _reasons, "lifted": _yes_no})
    ),
    "headwater_erasure": _deletable(st.fixed_dictionaries({}, optional={**_decided, "reason": _reasons})),
    "headwater_describing": _deletable(st.fixed_dictionaries({}, optional=_decided)),
    "headwater_owning": _deletable(st.fixed_dictionaries({}, optional=_decided)),
}
_owner = st.fixed_dictionaries(
    {"name": _rarely(st.sampled_from([None, "\ud800", WIDE]), st.sampled_from(["ann", "x\x00"]))},
    optional={"type": st.sampled_from(["MAINTAINER", None, 4])},
)
#: What governance says in standard facets, beside ours.
STATED_FACETS: Facets = {
    "documentation": _deletable(
        st.fixed_dictionaries({"description": st.sampled_from(["it", "", None, "\x00"])})
    ),
    "ownership": _deletable(st.fixed_dictionaries({"owners": _lists(_owner)})),
}

RUN_FACETS: Facets = {
    **SEARCHED_RUN_FACETS,
    "parent": _deletable(parents),
    "tags": _deletable(tag_lists),
    "nominalTime": _deletable(plain),
    "headwater_runClosed": _deletable(closures),
    "headwater_metricPoints": _deletable(metric_points),
    "headwater_recall": _deletable(plain),
    "lineage": _deletable(plain),
    "␛": _deletable(odd),
}
JOB_FACETS: Facets = {
    **SEARCHED_JOB_FACETS,
    "tags": _deletable(tag_lists),
    "jobType": _deletable(job_types),
    "lineage": _deletable(job_lineages),
    "nominalTime": _deletable(plain),
    "sql": _deletable(odd),
}


@st.composite
def run_events(draw: DrawFn) -> Body:
    event: Body = {
        "eventTime": draw(st.sampled_from(TIMES)),
        "run": {"runId": draw(run_ids)},
        "job": dict(draw(jobs)),
    }
    kind = draw(st.sampled_from(EVENT_TYPES))
    if kind is not None:
        event["eventType"] = kind
    event["run"]["facets"] = draw(_some(RUN_FACETS, 2))
    if draw(st.integers(0, 3)) == 3:
        event["run"]["facets"]["headwater_emission"] = draw(_deletable(emissions))
    event["job"]["facets"] = draw(_some(JOB_FACETS, 2))
    _add_lists(draw, event)
    if draw(st.integers(0, 12)) == 12:
        event["dataset"] = draw(datasets)
    return event


def _add_lists(draw: DrawFn, event: Body) -> None:
    for name, more in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        if draw(st.integers(0, 4)):
            event[name] = draw(st.lists(listed_datasets(more), max_size=3))
        elif draw(st.booleans()):
            event[name] = None


@st.composite
def job_events(draw: DrawFn) -> Body:
    event: Body = {"eventTime": draw(st.sampled_from(TIMES)), "job": dict(draw(jobs))}
    event["job"]["facets"] = draw(_some(JOB_FACETS, 2))
    _add_lists(draw, event)
    if not draw(st.integers(0, 6)):
        event["eventType"] = "COMPLETE"
    return event


@st.composite
def dataset_events(draw: DrawFn) -> Body:
    subject: Body = dict(draw(datasets))
    subject["facets"] = draw(_some({**DATASET_FACETS, **GOVERNANCE_FACETS}))
    if subject["facets"].keys() & {"headwater_describing", "headwater_owning"}:
        subject["facets"] |= draw(_some(STATED_FACETS))
    if draw(st.integers(0, 3)) == 3:
        subject["facets"]["headwater_emission"] = draw(_deletable(emissions))
    return {"eventTime": draw(st.sampled_from(TIMES)), "dataset": subject}


def written(event: Body, escaped: bool) -> bytes:
    """`event` as a producer writes it: with ASCII alone, or with every character as it is."""
    if not escaped:
        try:
            return orjson.dumps(event)
        except TypeError:  # a lone surrogate or a wide integer
            return json.dumps(event).encode()
    return json.dumps({"producer": "https://example.com", **event}).encode()


GARBAGE = [
    b"",
    b"not json",
    b"[]",
    b'{"eventTime": "yesterday", "run": {"runId": "1"}, "job": {"namespace": "crm", "name": "P"}}',
    b'{"eventTime": "2024-03-01T10:00:00Z", "run": {}, "job": {"namespace": "crm", "name": "P"}}',
    b'{"eventTime": "2024-03-01T10:00:00Z", "run": {"runId": "1"}, "job": {"name": "P"}}',
]

PRODUCERS = ["https://dbt.example", "https://steward.example", "", "\x00", None, 4]
producers = _rarely(st.sampled_from(PRODUCERS), st.sampled_from(PRODUCERS[:2]), 8)


def _by(event: Body, producer: Any) -> Body:
    return {"producer": producer, **event}


_bodies = st.one_of(run_events(), run_events(), run_events(), run_events(), job_events(), dataset_events())
events = st.one_of(_bodies, st.builds(_by, _bodies, producers))
values = _rarely(st.sampled_from(GARBAGE), st.builds(written, events, st.booleans()), 30)
large_universes = st.lists(values, min_size=7, max_size=16)
universes = st.one_of(st.lists(values, min_size=1, max_size=5), large_universes)


@st.composite
def tagging_events(draw: DrawFn) -> Body:
    """An event that tags: its run, its job or datasets, by one of few producers."""
    event = _by(draw(_bodies), draw(producers))
    holders = [event[name] for name in ("run", "job", "dataset") if name in event]
    holders += [item for name in ("inputs", "outputs") for item in event.get(name) or []]
    for holder in holders:
        if isinstance(holder.get("facets"), dict) and draw(st.booleans()):
            holder["facets"]["tags"] = draw(_deletable(tag_lists))
    return event


#: Few events, nearly all of which tag something.
tagging_universes = st.lists(
    st.builds(written, tagging_events(), st.booleans()), min_size=2, max_size=10, unique=True
)


def _stretched(pool: list[Body], seed: int, length: int) -> list[bytes]:
    """Many events of one run, drawn from `pool`, spread over some minutes."""
    chance = random.Random(seed)
    found = []
    for _ in range(length):
        event = dict(chance.choice(pool))
        event["run"] = {**event["run"], "runId": UUIDS[0]}
        event["eventTime"] = f"2024-03-01T10:{chance.randrange(4):02d}:{chance.randrange(60):02d}Z"
        found.append(written(event, chance.random() < 0.5))
    return found


#: One run of more than a hundred events: its fold is compacted on the way.
long_runs = st.builds(
    _stretched, st.lists(run_events(), min_size=4, max_size=8), st.integers(0, 10**6), st.integers(100, 140)
)
