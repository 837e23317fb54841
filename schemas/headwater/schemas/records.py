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
from typing import Any, NamedTuple

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


class Labels(NamedTuple):
    """A record's key, and its headers in their order."""

    key: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def labels_of(value: bytes) -> Labels:
    """The key and the headers of the record that carries `value`; never raises."""
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
    if asset_type is None:
        return Labels(_bytes(key), ((KIND, named.encode()),))
    return Labels(_bytes(key), ((KIND, named.encode()), (ASSET_TYPE, _bytes(asset_type))))


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
