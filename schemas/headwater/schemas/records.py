"""What stands beside an event in a Kafka record, derived from the event's bytes alone.

    key      OpenLineage's own: all runs below one root share a partition, so their order is kept
    headers  the kind of fact and the asset's type, so that a reader may skip without parsing

Of a fact of ours it is what `rendering.kafka_key` and `rendering.headers` say, without building the
fact: a drain does this for every record. Of any other OpenLineage event the key is the one that
OpenLineage's clients use, and there are no headers. What is no event at all has neither. No
projection depends on any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import orjson

from headwater.schemas import jsontext
from headwater.schemas.facets import PRODUCER_PREFIX

KIND = "headwater-kind"
ASSET_TYPE = "headwater-asset-type"

_NOTHING: Mapping[str, Any] = {}
_ENDINGS = {"COMPLETE": "Completed", "FAIL": "Failed", "START": "Started"}
_STATEMENTS = {
    "headwater_tagging": "AssetTagged",
    "headwater_aliasing": "AssetAliased",
    "headwater_recall": "AssetRecalled",
    "headwater_erasure": "AssetErased",
    "headwater_describing": "AssetDescribed",
    "headwater_owning": "AssetOwned",
}


# Where the parts of an event of ours begin that are the same in all events of one job below one run. A
# quote within a text is escaped, so these are found as structure or not at all.
_TYPE_AT = len('{"eventTime":"2026-03-01T09:00:00.000000Z')
_RUNNING = b'","eventType":"RUNNING","producer":"' + PRODUCER_PREFIX.encode()
_RUN = b',"run":{"runId":"'
_AFTER_RUN_ID = len(_RUN) + 36
_PARENT = b'","facets":{"parent":{'
_EMISSION = b'"headwater_emission":{"_producer":"'
_JOB = b'}}},"job":{"namespace":"'
_ASSET = b'"headwater_asset":{"_producer":"'
_ASSET_TYPE = b'","assetType":"'
# The key of a record whose event has these parts; parsing one of them takes as long as five look-ups.
_known: dict[bytes, bytes] = {}
_KNOWN = 4_096

#: As Kafka's client takes them; shared, so not to be changed.
Headers: TypeAlias = list[tuple[str, str | bytes | None]]


class Labels(NamedTuple):
    """A record's key, and its headers in their order."""

    key: bytes | None
    headers: Headers = []  # noqa: RUF012 - nobody changes it


def says_running(value: bytes) -> bool:
    """Whether its first bytes show that this is a RUNNING event of ours; where not, it may still be one."""
    return value.startswith(_RUNNING, _TYPE_AT)


def labels_of(value: bytes) -> Labels:
    """The key and the headers of the record that carries `value`; never raises."""
    if says_running(value):
        parts = _parts(value)
        if parts is not None:
            same, asset_type = parts
            key = _known.get(same)
            if key is not None:
                return Labels(key, _headers("AssetCreated", asset_type))
            labels = _parsed(value)
            if labels.key is not None and labels.headers == _headers("AssetCreated", asset_type):
                if len(_known) >= _KNOWN:
                    _known.clear()
                _known[same] = labels.key
            return labels
    return _parsed(value)


def _parts(value: bytes) -> tuple[bytes, bytes] | None:
    """Of an asset that a step created: what its key depends on, and its type; None for anything else."""
    run = value.find(_RUN, _TYPE_AT, 400)
    emission = value.find(_EMISSION, run)
    job = value.find(_JOB, emission)
    outputs = value.find(b',"outputs":[{', job)
    asset = value.find(_ASSET, outputs)
    kind = value.find(_ASSET_TYPE, asset, asset + 400)
    if min(run, emission, job, outputs, asset, kind) < 0:
        return None
    start = kind + len(_ASSET_TYPE)
    above = value[run + _AFTER_RUN_ID : emission]
    # Below a parent the job's own name does not matter.
    same = above if above.startswith(_PARENT) else above + value[job:outputs]
    return same, value[start : value.index(b'"', start)]


@lru_cache(maxsize=256)
def _headers(kind: str, asset_type: bytes | None) -> Headers:
    if asset_type is None:
        return [(KIND, kind.encode())]
    return [(KIND, kind.encode()), (ASSET_TYPE, asset_type)]


def _parsed(value: bytes) -> Labels:
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        document = _read_leniently(value)
    if type(document) is not dict:
        return Labels(None)
    try:
        return _labels(document)
    except (AttributeError, KeyError, TypeError, IndexError):
        # JSON of another shape: whoever consumes it will say what is wrong with it.
        return Labels(None)


def _read_leniently(value: bytes) -> Any:
    """What orjson refuses and other producers write: NaN, halves of surrogate pairs, long integers."""
    try:
        return jsontext.read(value).value
    except jsontext.NotJson:
        return None


def _labels(document: dict[str, Any]) -> Labels:
    if (run := document.get("run")) is not None:
        facets = run.get("facets") or _NOTHING
        key, kind, asset = _job_key(facets, document["job"]), _run_kind, _asset_of_run
    elif (dataset := document.get("dataset")) is not None:
        facets = dataset.get("facets") or _NOTHING
        key, kind, asset = f"dataset:{dataset['namespace']}/{dataset['name']}", _asset_kind, _asset_of_dataset
    else:
        job = document["job"]
        return Labels(_bytes(f"job:{job['namespace']}/{job['name']}"))
    if not document["producer"].startswith(PRODUCER_PREFIX):
        return Labels(_bytes(key))
    named = kind(document, facets)
    if named is None:
        return Labels(_bytes(key))
    asset_type = asset(document, named)
    return Labels(_bytes(key), _headers(named, None if asset_type is None else _bytes(asset_type)))


def _job_key(facets: Mapping[str, Any], job: Mapping[str, Any]) -> str:
    """The root's job, else the parent's, else the run's own."""
    parent = facets.get("parent")
    above = parent or facets.get("headwater_root")
    if above is not None:
        root = above.get("root")
        job = above["job"] if root is None else root["job"]
    return f"run:{job['namespace']}/{job['name']}"


def _run_kind(document: Mapping[str, Any], facets: Mapping[str, Any]) -> str | None:
    state = document.get("eventType")
    if state == "RUNNING":
        if "headwater_metricPoints" in facets:
            return "MetricsLogged"
        if document.get("outputs"):
            return "AssetCreated"
        return "AssetConsumed" if document.get("inputs") else None
    if state == "OTHER":
        return "RunClosed" if "headwater_runClosed" in facets else None
    if state == "ABORT":
        return "RunAborted" if "headwater_adoption" in facets else None
    if "headwater_reproduction" in facets:
        return "ReproductionAttempted"
    ending = _ENDINGS.get(str(state))
    job_type = (document["job"].get("facets") or _NOTHING).get("jobType") or _NOTHING
    if ending is None or not job_type:
        return None
    return f"{'Pipeline' if job_type['jobType'] == 'PIPELINE' else 'Step'}{ending}"


def _asset_kind(document: Mapping[str, Any], facets: Mapping[str, Any]) -> str | None:
    return next((kind for facet, kind in _STATEMENTS.items() if facet in facets), None)


def _asset_of_run(document: Mapping[str, Any], kind: str) -> str | None:
    if kind == "AssetCreated":
        return _stated(document["outputs"][0]["facets"], "headwater_asset")
    if kind == "AssetConsumed":
        return _stated(document["inputs"][0].get("inputFacets") or _NOTHING, "headwater_input")
    return None


def _asset_of_dataset(document: Mapping[str, Any], kind: str) -> str | None:
    facet = next(facet for facet, named in _STATEMENTS.items() if named == kind)
    return _stated(document["dataset"]["facets"], facet)


def _stated(facets: Mapping[str, Any], name: str) -> str | None:
    stated = (facets.get(name) or _NOTHING).get("assetType")
    return stated if isinstance(stated, str) else None


def _bytes(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
