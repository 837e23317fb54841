"""Any fact that our types can hold, with the texts and numbers that break things.

Left out is only what JSON cannot say: NaN in properties (it becomes text, and a test says
so), and a high surrogate directly before a low one (JSON has one spelling for both that
pair and the character it stands for).
"""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from headwater.schemas import events as facts

EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_NASTY = [
    "",
    " ",
    "../../etc/passwd",
    "'; DROP TABLE run; --",
    'quote " and \\ backslash',
    "\x00",
    "a\x00b",
    "\u202egnihton\u202c",
    "مرحبا",
    "␛0",
    "␛␛",
    "\ud800",
    "x\udfff",
    "\ue000",
    "NaN",
    "null",
    "8",
    '"8"',
    "[1]",
    "{",
    "-Infinity",
    "\ufeff",
    "\u2028\n\r\t",
    "n" * 4096,
    "😀" * 1024,
]
_characters = st.characters(exclude_categories=())
texts = (st.sampled_from(_NASTY) | st.text(_characters, max_size=12)).filter(
    lambda text: not _PAIR.search(text)
)
clean_texts = st.text(max_size=12)
uuids = st.uuids().map(str)
times = st.integers(EARLIEST, LATEST)
integers = st.integers(-5, 5) | st.integers() | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**4299])
floats = st.floats(allow_nan=False, allow_infinity=False)
values: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
properties = st.dictionaries(texts, values, max_size=3)
_quantiles = st.dictionaries(texts, floats, max_size=2)
metrics: SearchStrategy[Any] = st.fixed_dictionaries(
    {},
    optional={
        "nullCount": st.integers(0, 2**70) | floats,
        "distinctCount": st.integers(0, 9),
        "min": floats | integers | st.none() | texts,
        "quantiles": _quantiles,
        "mean": floats,
        "unit": texts,
        "common": st.lists(values, max_size=2),
    },
)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
versions = digests.map(lambda digest: f"table1:{digest}") | texts


def _maybe(strategy: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.none() | strategy


jobs = st.builds(facts.Job, namespace=texts, name=texts)
runs = st.builds(facts.Run, id=uuids, job=jobs)
emissions = st.builds(
    facts.Emission,
    emitter_id=uuids,
    sequence=st.integers(0, 2**63 - 1),
    previous=_maybe(digests),
    final=st.booleans(),
)
codes = st.builds(
    facts.Code,
    function=_maybe(texts),
    source_digest=_maybe(texts),
    git_commit=_maybe(texts),
    git_branch=_maybe(texts),
    git_dirty=_maybe(st.booleans()),
    repository_url=_maybe(
        texts | st.sampled_from(["git@github.com:a/b.git", "https://x:y@h.org/a/b", "git@::"])
    ),
    path=_maybe(texts),
    line=_maybe(st.integers(1, 10**6)),
)
environments = st.builds(
    facts.Environment,
    digest=texts,
    python=texts,
    platform=texts,
    packages=st.dictionaries(texts, texts, max_size=3),
)
failures = st.builds(facts.Failure, type=texts, message=texts, traceback=_maybe(texts))
references = st.builds(
    facts.AssetRef,
    namespace=texts,
    name=texts,
    version=_maybe(versions),
    type=_maybe(texts),
    production=_maybe(uuids | texts),
)
reference_tuples = st.lists(references, max_size=3).map(tuple)
_leaf_columns = st.builds(facts.Column, name=texts, type=_maybe(texts), description=_maybe(texts))
columns = st.builds(
    facts.Column,
    name=texts,
    type=_maybe(texts),
    description=_maybe(texts),
    fields=st.lists(_leaf_columns, max_size=2).map(tuple),
)
column_sources = st.builds(facts.ColumnSource, namespace=texts, name=texts, column=texts)
_details = st.dictionaries(texts | st.sampled_from(["_producer", "_deleted", "__x", "_"]), values, max_size=3)
assets = st.builds(
    facts.Asset,
    namespace=texts,
    name=texts,
    version=versions,
    type=st.sampled_from(["Dataset", "Model", "Metrics", "Artifact"]) | texts,
    parents=_maybe(reference_tuples),
    previous_version=_maybe(versions),
    location=_maybe(
        texts | st.sampled_from(["s3://lake/a b.csv", "/data/ü.csv", "postgres://u:p@h:5432/d", "s3://"])
    ),
    format=_maybe(texts),
    columns=st.lists(columns, max_size=3).map(tuple),
    statistics=_maybe(
        st.builds(
            facts.Statistics, row_count=_maybe(integers), size=_maybe(integers), file_count=_maybe(integers)
        )
    ),
    columns_from=st.dictionaries(texts, st.lists(column_sources, max_size=2).map(tuple), max_size=2),
    column_metrics=st.dictionaries(texts, metrics, max_size=2),
    tags=st.dictionaries(texts, texts, max_size=3),
    properties=properties,
    owner=_maybe(texts),
    description=_maybe(texts),
    symlinks=st.lists(st.builds(facts.Identifier, namespace=texts, name=texts, type=texts), max_size=2).map(
        tuple
    ),
    details=st.dictionaries(st.sampled_from(["headwater_dataset", "headwater_prompt"]), _details, max_size=2),
    extraction_error=_maybe(texts),
)
points = st.builds(
    facts.MetricPoint,
    key=texts,
    value=floats | st.sampled_from([float("inf"), float("-inf")]),
    step=integers,
    time=st.integers(-(2**63), 2**63 - 1),
)

_run = {
    "time": times,
    "run": runs,
    "parent": _maybe(runs),
    "root": _maybe(runs),
    "emission": _maybe(emissions),
}
owners = st.builds(facts.Owner, name=texts, role=_maybe(texts))
_asset = {"time": times, "asset": references, "emission": _maybe(emissions), "actor": _maybe(texts)}
_ends: dict[str, SearchStrategy[Any]] = {
    "inputs": reference_tuples,
    "outputs": reference_tuples,
    "lineage": st.lists(st.tuples(references, reference_tuples), max_size=2).map(tuple),
}
_starts: dict[str, SearchStrategy[Any]] = {"parameters": properties, "code": _maybe(codes)}

BY_TYPE: dict[type, SearchStrategy[Any]] = {
    facts.PipelineStarted: st.builds(
        facts.PipelineStarted, **_run, **_starts, environment=_maybe(environments)
    ),
    facts.PipelineCompleted: st.builds(facts.PipelineCompleted, **_run),
    facts.PipelineFailed: st.builds(facts.PipelineFailed, **_run, failure=failures),
    facts.StepStarted: st.one_of(
        st.builds(facts.StepStarted, **_run, **_starts, environment_digest=_maybe(texts)),
        st.builds(facts.StepStarted, **_run, **_starts, environment=environments),
    ),
    facts.StepCompleted: st.builds(facts.StepCompleted, **_run, **_ends),
    facts.StepFailed: st.builds(facts.StepFailed, **_run, **_ends, failure=failures),
    facts.RunAborted: st.builds(facts.RunAborted, **_run, adopted_from=texts, reason=texts),
    facts.AssetConsumed: st.builds(facts.AssetConsumed, **_run, asset=references, argument=_maybe(texts)),
    facts.AssetCreated: st.builds(facts.AssetCreated, **_run, asset=assets),
    facts.MetricsLogged: st.builds(
        facts.MetricsLogged, **_run, points=st.lists(points, max_size=3).map(tuple)
    ),
    facts.RunClosed: st.builds(
        facts.RunClosed,
        **_run,
        emitter_id=uuids,
        events=st.integers(0, 2**63),
        last_sequence=st.integers(-1, 2**63),
    ),
    facts.ReproductionAttempted: st.builds(
        facts.ReproductionAttempted,
        **_run,
        subject=references,
        outcome=texts,
        environment=texts,
        actor=_maybe(texts),
        version=_maybe(texts),
        step=_maybe(texts),
        reasons=st.lists(texts, max_size=2).map(tuple),
        differences=st.lists(texts, max_size=2).map(tuple),
        caveats=st.lists(texts, max_size=2).map(tuple),
    ),
    facts.AssetTagged: st.builds(
        facts.AssetTagged, **_asset, tags=st.dictionaries(texts, _maybe(texts), max_size=3)
    ),
    facts.AssetAliased: st.builds(facts.AssetAliased, **_asset, alias=texts, removed=st.booleans()),
    facts.AssetRecalled: st.builds(facts.AssetRecalled, **_asset, reason=texts, lifted=st.booleans()),
    facts.AssetErased: st.builds(facts.AssetErased, **_asset, reason=texts, location=_maybe(texts)),
    facts.AssetDescribed: st.builds(facts.AssetDescribed, **_asset, description=texts),
    facts.AssetOwned: st.builds(facts.AssetOwned, **_asset, owners=st.lists(owners, max_size=3).map(tuple)),
}
ALL = list(BY_TYPE)
