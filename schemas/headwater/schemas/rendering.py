"""How each fact looks as an OpenLineage 2-0-2 event.

`render` and `encode` lose nothing: `headwater.schemas.recognition.recognise` gives the same
fact back. A standard facet is used wherever one fits; what none can hold stands in a facet
of ours. docs/reference/events.md shows every one. Nothing here reads a clock or redacts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from headwater.schemas import events as facts
from headwater.schemas.asset_facets import (
    asset_dataset,
    documentation,
    input_dataset,
    lineage_entry,
    output_dataset,
    ownership,
    reference,
)
from headwater.schemas.errors import Rejected
from headwater.schemas.facets import PRODUCER, SPECIFICATION, own, standard
from headwater.schemas.jsontext import DEPTH_LIMIT, deeper_than, spelled
from headwater.schemas.parameters import parameter_text

if TYPE_CHECKING:
    from headwater.schemas.openlineage import OpenLineageEvent

__all__ = ["encode", "headers", "kafka_key", "recognise", "render", "rfc3339"]

Document: TypeAlias = dict[str, Any]

_PARENTS_KEPT = 64
_parents: dict[tuple[int, int], tuple[facts.Run, facts.Run | None, Document]] = {}
_NULL = re.compile(rb"null(?!Count)")
_NAME = r"([A-Za-z0-9._~/-]+?)(?:\.git)?/?"
_REPOSITORY = re.compile(
    rf"(?:https?|ssh|git)://(?:[^@/\s]+@)?([A-Za-z0-9.-]+(?::\d+)?)/{_NAME}|git@([A-Za-z0-9.-]+):{_NAME}"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RUN_EVENT = f"{SPECIFICATION}#/$defs/RunEvent"
_DATASET_EVENT = f"{SPECIFICATION}#/$defs/DatasetEvent"

_PARENT = standard("ParentRunFacet", "1-2-0")
_PARAMETERS = standard("ExecutionParametersRunFacet", "1-0-0")
_ERROR = standard("ErrorMessageRunFacet", "1-0-1")
_ENGINE = {
    **standard("ProcessingEngineRunFacet", "1-1-1"),
    "name": "headwater",
    "version": PRODUCER.rpartition("/")[2],
}
_SOURCE = standard("SourceCodeLocationJobFacet", "1-1-0")
_JOB_TYPE = standard("JobTypeJobFacet", "2-0-4")
_LINEAGE = standard("LineageFacet", "1-0-0", "LineageJobFacet")
_RUN_EMISSION = own("headwater_emission", "Run")
_DATASET_EMISSION = own("headwater_emission", "Dataset")
_ROOT = own("headwater_root", "Run")
_CODE = own("headwater_code", "Run")
_ENVIRONMENT = own("headwater_environment", "Run")
_FAILURE = own("headwater_failure", "Run")
_ADOPTION = own("headwater_adoption", "Run")
_RUN_CLOSED = own("headwater_runClosed", "Run")
_METRIC_POINTS = own("headwater_metricPoints", "Run")
_REPRODUCTION = own("headwater_reproduction", "Run")
_OWN_LINEAGE = own("headwater_lineage", "Run")
_GOVERNANCE = {
    name: own(name, "Dataset")
    for name in (
        *("headwater_tagging", "headwater_aliasing", "headwater_recall", "headwater_erasure"),
        *("headwater_describing", "headwater_owning"),
    )
}
_CONSUMPTION = own("headwater_consumption", "InputDataset")


def render(event: facts.Event, emission: facts.Emission | None = None) -> Document:
    """`event` as a document for orjson; `emission` wins over the event's own.

    The document is the caller's, yet mappings and lists inside properties and details are
    those of the event: they are to be written, not edited.
    """
    document = _rendered(event, emission)
    if isinstance(event, facts.RunFact) and event.parent is not None:
        document["run"]["facets"]["parent"] = _new_parent(event.parent, event.root)
    return document


def _rendered(event: facts.Event, emission: facts.Emission | None) -> Document:
    """The document, whose `parent` facet belongs to all events of the run."""
    return _RENDERINGS[type(event)](event, emission if emission is not None else event.emission)


def encode(event: facts.Event, emission: facts.Emission | None = None) -> bytes:
    """`event` as the bytes of one record.

    No text, number or depth of a value loses an event as long as `parse` can read it again:
    lone surrogates are spelled `\\udXXX`, as the reference client spells them, integers keep all
    digits, NaN and the infinities become strings (a column metric that is none is left out).
    Raises `Rejected` for a value that is no JSON, a nesting that no reader accepts, and a time
    outside the years 1 to 9999.
    """
    try:
        document = _rendered(event, emission)
    except RecursionError as error:
        raise Rejected("the columns of a schema nest too deep", remedy="record a flatter schema") from error
    try:
        value = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, a depth beyond 254, or no JSON at all
        return _encode_slowly(document)
    # orjson writes NaN as null; an event with neither None nor NaN in it spells no other null.
    return value if _NULL.search(value) is None else _encode_slowly(document)


def recognise(parsed: OpenLineageEvent) -> facts.Event | None:
    """The fact that `parsed` states, None when it states none of ours: the inverse of `render`."""
    from headwater.schemas import recognition  # a step writes events and never needs their reader

    return recognition.recognise(parsed)


def headers(event: facts.Event) -> dict[str, bytes]:
    """The record's headers: the kind and the asset's type, so that a reader may skip without parsing."""
    found = {"headwater-kind": type(event).__name__.encode()}
    asset = getattr(event, "asset", None)
    if asset is not None and asset.type is not None:
        found["headwater-asset-type"] = asset.type.encode(errors="backslashreplace")
    return found


def kafka_key(event: facts.Event) -> bytes:
    """The record's key, as OpenLineage's clients build it: all runs under one root share a partition."""
    if isinstance(event, facts.AssetFact):
        key = f"dataset:{event.asset.namespace}/{event.asset.name}"
    else:
        job = (event.root or event.parent or event.run).job
        key = f"run:{job.namespace}/{job.name}"
    return key.encode(errors="backslashreplace")


def rfc3339(time: int) -> str:
    """`time` (µs since 1970 UTC) as RFC 3339, always with six digits."""
    second, microsecond = divmod(time, 1_000_000)
    return f"{_second(second)}.{microsecond:06d}Z"


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    try:
        return (_EPOCH + timedelta(seconds=second)).isoformat()[:19]
    except OverflowError as error:
        raise Rejected(f"{second} s since 1970 is no time between the years 1 and 9999") from error


def _encode_slowly(document: Document) -> bytes:
    if deeper_than(document, DEPTH_LIMIT):
        raise Rejected(
            f"a value nests more than {DEPTH_LIMIT:,} levels deep",
            remedy="record it as an artifact, and its digest as the property",
        )
    for dataset in document.get("outputs", ()):
        metrics = dataset.get("facets", {}).get("dataQualityMetrics")
        if metrics is not None:
            metrics["columnMetrics"] = _numbers(metrics["columnMetrics"])
    try:
        return spelled(document)
    except TypeError as error:
        raise Rejected(f"the event holds a value that JSON cannot: {error}") from error


def _numbers(metrics: Mapping[str, Any]) -> Document:
    """`metrics` without what the standard facet forbids: NaN and the infinities."""
    kept: Document = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            kept[key] = _numbers(value)
        elif not isinstance(value, float) or math.isfinite(value):
            kept[key] = value
    return kept


# -- run events -------------------------------------------------------------------------


def _run_event(
    event: facts.RunFact,
    state: str,
    emission: facts.Emission | None,
    run_facets: Document | None = None,
    job_facets: Document | None = None,
    inputs: Sequence[Document] = (),
    outputs: Sequence[Document] = (),
) -> Document:
    run = event.run
    facets: Document = {} if run_facets is None else run_facets
    if event.parent is not None:
        facets["parent"] = _parent(event.parent, event.root)
    elif event.root is not None:
        facets["headwater_root"] = {**_ROOT, **_named_run(event.root)}
    if emission is not None:
        facets["headwater_emission"] = _emission(_RUN_EMISSION, emission)
    job: Document = {"namespace": run.job.namespace, "name": run.job.name}
    if job_facets:
        job["facets"] = job_facets
    document: Document = {
        "eventTime": rfc3339(event.time),
        "eventType": state,
        "producer": PRODUCER,
        "schemaURL": _RUN_EVENT,
        "run": {"runId": run.id, "facets": facets},
        "job": job,
    }
    if inputs:
        document["inputs"] = inputs
    if outputs:
        document["outputs"] = outputs
    return document


def _named_run(run: facts.Run) -> Document:
    return {"run": {"runId": run.id}, "job": {"namespace": run.job.namespace, "name": run.job.name}}


def _parent(parent: facts.Run, root: facts.Run | None) -> Document:
    """The facet, shared by the documents of all events of a run: they come with the same two objects."""
    # Keyed by identity, since hashing two facts costs as much as the facet; the entry keeps both alive.
    held = _parents.get((id(parent), id(root)))
    if held is None:
        if len(_parents) >= _PARENTS_KEPT:
            _parents.clear()
        held = _parents[id(parent), id(root)] = (parent, root, _new_parent(parent, root))
    return held[2]


def _new_parent(parent: facts.Run, root: facts.Run | None) -> Document:
    facet = {**_PARENT, **_named_run(parent)}
    if root is not None:
        facet["root"] = _named_run(root)
    return facet


def _emission(base: Mapping[str, str], emission: facts.Emission) -> Document:
    facet = {**base, "emitterId": emission.emitter_id, "sequence": emission.sequence}
    if emission.previous is not None:
        facet["previous"] = emission.previous
    if emission.final:
        facet["final"] = True
    return facet


def _job_type(kind: str) -> Document:
    return {**_JOB_TYPE, "processingType": "BATCH", "integration": "HEADWATER", "jobType": kind}


def _pipeline_started(event: facts.PipelineStarted, emission: facts.Emission | None) -> Document:
    run_facets, job_facets = _start(event, "PIPELINE")
    if event.environment is not None:
        run_facets["headwater_environment"] = _environment(event.environment)
    return _run_event(event, "START", emission, run_facets, job_facets)


def _environment(environment: facts.Environment) -> Document:
    return {
        **_ENVIRONMENT,
        "digest": environment.digest,
        "python": environment.python,
        "platform": environment.platform,
        "packages": dict(environment.packages),
    }


def _step_started(event: facts.StepStarted, emission: facts.Emission | None) -> Document:
    run_facets, job_facets = _start(event, "STEP")
    if event.environment is not None:
        run_facets["headwater_environment"] = _environment(event.environment)
    elif event.environment_digest is not None:
        run_facets["headwater_environment"] = {**_ENVIRONMENT, "digest": event.environment_digest}
    return _run_event(event, "START", emission, run_facets, job_facets)


def _start(event: facts.PipelineStarted | facts.StepStarted, kind: str) -> tuple[Document, Document]:
    run_facets: Document = {"processing_engine": {**_ENGINE}}
    job_facets: Document = {"jobType": _job_type(kind)}
    if event.parameters:
        run_facets["executionParameters"] = {
            **_PARAMETERS,
            "parameters": [
                {"key": key, "value": parameter_text(value)} for key, value in event.parameters.items()
            ],
        }
    if event.code is not None:
        run_facets["headwater_code"] = _code(event.code)
        location = _source_location(event.code)
        if location is not None:
            job_facets["sourceCodeLocation"] = location
    return run_facets, job_facets


def _code(code: facts.Code) -> Document:
    facet: Document = {**_CODE}
    for key, value in (
        ("function", code.function),
        ("sourceDigest", code.source_digest),
        ("gitCommit", code.git_commit),
        ("gitBranch", code.git_branch),
        ("gitDirty", code.git_dirty),
        ("repositoryUrl", code.repository_url),
        ("path", code.path),
        ("line", code.line),
    ):
        if value is not None:
            facet[key] = value
    return facet


def _source_location(code: facts.Code) -> Document | None:
    """The standard facet, where the repository has a URL that a browser opens."""
    if code.repository_url is None:
        return None
    from urllib.parse import quote  # 5 ms that most steps never need

    repository = _browsable(code.repository_url)
    if repository is None:
        return None
    url = repository
    if code.git_commit is not None and code.path is not None:
        url = f"{repository}/blob/" + quote(f"{code.git_commit}/{code.path}", errors="replace")
    facet: Document = {**_SOURCE, "type": "git", "url": url, "repoUrl": code.repository_url}
    for key, value in (("path", code.path), ("version", code.git_commit), ("branch", code.git_branch)):
        if value is not None:
            facet[key] = value
    return facet


def _browsable(repository_url: str) -> str | None:
    """`git@host:team/repository.git` and its like as `https://host/team/repository`; without credentials."""
    match = _REPOSITORY.fullmatch(repository_url)
    return None if match is None else f"https://{match[1] or match[3]}/{match[2] or match[4]}"


def _pipeline_completed(event: facts.PipelineCompleted, emission: facts.Emission | None) -> Document:
    return _run_event(event, "COMPLETE", emission, None, {"jobType": _job_type("PIPELINE")})


def _pipeline_failed(event: facts.PipelineFailed, emission: facts.Emission | None) -> Document:
    return _run_event(event, "FAIL", emission, _failure(event.failure), {"jobType": _job_type("PIPELINE")})


def _failure(failure: facts.Failure) -> Document:
    error: Document = {**_ERROR, "message": failure.message, "programmingLanguage": "python"}
    if failure.traceback is not None:
        error["stackTrace"] = failure.traceback
    return {"errorMessage": error, "headwater_failure": {**_FAILURE, "type": failure.type}}


def _step_completed(event: facts.StepCompleted, emission: facts.Emission | None) -> Document:
    return _step_ended(event, "COMPLETE", emission, {})


def _step_failed(event: facts.StepFailed, emission: facts.Emission | None) -> Document:
    return _step_ended(event, "FAIL", emission, _failure(event.failure))


def _step_ended(
    event: facts.StepCompleted | facts.StepFailed,
    event_type: str,
    emission: facts.Emission | None,
    run_facets: Document,
) -> Document:
    job_facets: Document = {"jobType": _job_type("STEP")}
    if event.lineage:
        job_facets["lineage"] = {
            **_LINEAGE,
            "entries": [lineage_entry(output, parents) for output, parents in event.lineage],
        }
        run_facets["headwater_lineage"] = {
            **_OWN_LINEAGE,
            "entries": [
                {"output": reference(output), "parents": [reference(parent) for parent in parents]}
                for output, parents in event.lineage
            ],
        }
    return _run_event(
        event, event_type, emission, run_facets, job_facets, _inputs(event.inputs), _outputs(event.outputs)
    )


def _inputs(assets: Sequence[facts.AssetRef]) -> list[Document]:
    return [input_dataset(asset) for asset in assets]


def _outputs(assets: Sequence[facts.AssetRef]) -> list[Document]:
    return [output_dataset(asset) for asset in assets]


def _run_aborted(event: facts.RunAborted, emission: facts.Emission | None) -> Document:
    adoption = {**_ADOPTION, "adoptedFrom": event.adopted_from, "reason": event.reason}
    return _run_event(event, "ABORT", emission, {"headwater_adoption": adoption})


def _asset_consumed(event: facts.AssetConsumed, emission: facts.Emission | None) -> Document:
    dataset = input_dataset(event.asset)
    if event.argument is not None:
        consumption = {**_CONSUMPTION, "argument": event.argument}
        dataset.setdefault("inputFacets", {})["headwater_consumption"] = consumption
    return _run_event(event, "RUNNING", emission, inputs=[dataset])


def _asset_created(event: facts.AssetCreated, emission: facts.Emission | None) -> Document:
    asset = event.asset
    job_facets: Document | None = None
    inputs: list[Document] = []
    if asset.parents is not None:
        job_facets = {"lineage": {**_LINEAGE, "entries": [lineage_entry(asset, asset.parents)]}}
        # The lineage facet names no versions; as inputs they keep theirs.
        inputs = [input_dataset(parent) for parent in asset.parents if parent.version is not None]
    return _run_event(event, "RUNNING", emission, None, job_facets, inputs, [asset_dataset(asset)])


def _metrics_logged(event: facts.MetricsLogged, emission: facts.Emission | None) -> Document:
    points = [
        {"key": point.key, "value": _number(point.value), "step": point.step, "time": point.time}
        for point in event.points
    ]
    return _run_event(
        event, "RUNNING", emission, {"headwater_metricPoints": {**_METRIC_POINTS, "points": points}}
    )


def _number(value: float) -> float | str:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _run_closed(event: facts.RunClosed, emission: facts.Emission | None) -> Document:
    closed = {
        **_RUN_CLOSED,
        "emitterId": event.emitter_id,
        "events": event.events,
        "lastSequence": event.last_sequence,
    }
    return _run_event(event, "OTHER", emission, {"headwater_runClosed": closed})


def _reproduction_attempted(event: facts.ReproductionAttempted, emission: facts.Emission | None) -> Document:
    """Without inputs and outputs: an attempt publishes nothing, and nobody reads what it looked at."""
    facet: Document = {
        **_REPRODUCTION,
        "subject": reference(event.subject),
        "outcome": event.outcome,
        "environment": event.environment,
        "reasons": list(event.reasons),
        "differences": list(event.differences),
        "caveats": list(event.caveats),
    }
    for key, value in (("actor", event.actor), ("version", event.version), ("step", event.step)):
        if value is not None:
            facet[key] = value
    return _run_event(event, "COMPLETE", emission, {"headwater_reproduction": facet})


# -- events about assets outside a run ----------------------------------------------------


def _dataset_event(
    event: facts.AssetFact,
    emission: facts.Emission | None,
    name: str,
    fields: Document,
    beside: Document | None = None,
) -> Document:
    """A DatasetEvent; the version stands in our facet, for the standard one would publish it (rule R26).

    `beside` are the standard facets that say what ours says who said.
    """
    asset = event.asset
    facet: Document = {**_GOVERNANCE[name], **fields}
    for key, value in (
        ("version", asset.version),
        ("assetType", asset.type),
        ("productionRunId", asset.production),
        ("actor", event.actor),
    ):
        if value is not None:
            facet[key] = value
    facets: Document = {**(beside or {}), name: facet}
    if emission is not None:
        facets["headwater_emission"] = _emission(_DATASET_EMISSION, emission)
    return {
        "eventTime": rfc3339(event.time),
        "producer": PRODUCER,
        "schemaURL": _DATASET_EVENT,
        "dataset": {"namespace": asset.namespace, "name": asset.name, "facets": facets},
    }


def _asset_tagged(event: facts.AssetTagged, emission: facts.Emission | None) -> Document:
    return _dataset_event(event, emission, "headwater_tagging", {"tags": dict(event.tags)})


def _asset_aliased(event: facts.AssetAliased, emission: facts.Emission | None) -> Document:
    fields = {"alias": event.alias, "removed": event.removed}
    return _dataset_event(event, emission, "headwater_aliasing", fields)


def _asset_recalled(event: facts.AssetRecalled, emission: facts.Emission | None) -> Document:
    fields = {"reason": event.reason, "lifted": event.lifted}
    return _dataset_event(event, emission, "headwater_recall", fields)


def _asset_erased(event: facts.AssetErased, emission: facts.Emission | None) -> Document:
    fields: Document = {"reason": event.reason}
    if event.location is not None:
        fields["location"] = event.location
    return _dataset_event(event, emission, "headwater_erasure", fields)


def _asset_described(event: facts.AssetDescribed, emission: facts.Emission | None) -> Document:
    beside = {"documentation": documentation(event.description)}
    return _dataset_event(event, emission, "headwater_describing", {}, beside)


def _asset_owned(event: facts.AssetOwned, emission: facts.Emission | None) -> Document:
    return _dataset_event(event, emission, "headwater_owning", {}, {"ownership": ownership(event.owners)})


_RENDERINGS: dict[type, Callable[[Any, facts.Emission | None], Document]] = {
    facts.PipelineStarted: _pipeline_started,
    facts.PipelineCompleted: _pipeline_completed,
    facts.PipelineFailed: _pipeline_failed,
    facts.StepStarted: _step_started,
    facts.StepCompleted: _step_completed,
    facts.StepFailed: _step_failed,
    facts.RunAborted: _run_aborted,
    facts.AssetConsumed: _asset_consumed,
    facts.AssetCreated: _asset_created,
    facts.MetricsLogged: _metrics_logged,
    facts.RunClosed: _run_closed,
    facts.ReproductionAttempted: _reproduction_attempted,
    facts.AssetTagged: _asset_tagged,
    facts.AssetAliased: _asset_aliased,
    facts.AssetRecalled: _asset_recalled,
    facts.AssetErased: _asset_erased,
    facts.AssetDescribed: _asset_described,
    facts.AssetOwned: _asset_owned,
}
