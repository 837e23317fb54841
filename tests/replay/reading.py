"""What one OpenLineage event says, read for the reference fold: plainly, and slowly.

Every function takes a part of one event's document. Nothing here knows of a second
event, and nothing is shared with the product beyond the parser and the ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from headwater.schemas import ids
from headwater.schemas.openlineage import Kind, OpenLineageEvent, Rank, canonical_json

Name: TypeAlias = tuple[str, str]
Stamp: TypeAlias = tuple[int, int, bytes]

#: Facets that have tables of their own: neither registers nor rows of `facet`.
APART = frozenset(
    {
        "headwater_emission",
        "headwater_runClosed",
        "headwater_metricPoints",
        "headwater_tagging",
        "headwater_aliasing",
        "headwater_recall",
        "headwater_erasure",
        "headwater_describing",
        "headwater_owning",
    }
)


def text_of(value: Any) -> str | None:
    """`value` when it is a JSON string; an integer kept as its digits is none."""
    return value if type(value) is str else None


def object_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def integer_of(value: Any) -> int | None:
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def is_deleted(body: Any) -> bool:
    return isinstance(body, dict) and body.get("_deleted") is True


def standing(facets: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The facet `name` when it is an object that says something, not a deletion."""
    body = facets.get(name)
    return body if isinstance(body, dict) and not is_deleted(body) else None


def facet_id(name: str, body: Any) -> bytes:
    return ids.hash128("facet", name, canonical_json(body).decode())


def name_of(value: Any) -> Name | None:
    """(namespace, name) when both are strings."""
    named = object_of(value)
    namespace, name = text_of(named.get("namespace")), text_of(named.get("name"))
    return None if namespace is None or name is None else (namespace, name)


def stamp_of(event: OpenLineageEvent) -> Stamp:
    return event.time, int(event.rank), event.event_id


def run_of(event: OpenLineageEvent) -> bytes:
    """The key of the run, or of the pseudo-run, that `event` is about (R4)."""
    document = event.document
    if event.kind is Kind.RUN:
        job = document["job"]
        return ids.run_key(document["run"]["runId"], job["namespace"], job["name"])
    subject = document["job"] if event.kind is Kind.JOB else document["dataset"]
    kind = "jobevent" if event.kind is Kind.JOB else "datasetevent"
    return ids.hash128(kind, subject["namespace"], subject["name"])


def run_facets(event: OpenLineageEvent) -> dict[str, Any]:
    return object_of(event.document["run"].get("facets")) if event.kind is Kind.RUN else {}


def job_facets(event: OpenLineageEvent) -> dict[str, Any]:
    return {} if event.kind is Kind.DATASET else object_of(event.document["job"].get("facets"))


def subject_facets(event: OpenLineageEvent) -> dict[str, Any]:
    """The facets of what the event is about: the run's, or the dataset's of a DatasetEvent."""
    if event.kind is Kind.DATASET:
        return object_of(event.document["dataset"].get("facets"))
    return run_facets(event)


@dataclass(frozen=True)
class Listing:
    """A dataset in `inputs`, in `outputs`, or as the subject of a DatasetEvent."""

    direction: str
    dataset: bytes
    name: Name
    version: str | None
    production: bytes | None
    facets: dict[str, Any]
    more: dict[str, Any]
    more_space: str


def listings(event: OpenLineageEvent) -> Iterator[Listing]:
    document = event.document
    if event.kind is Kind.DATASET:
        yield _listing(event, "output", document["dataset"])
        return
    for item in list_of(document.get("inputs")):
        yield _listing(event, "input", item)
    for item in list_of(document.get("outputs")):
        yield _listing(event, "output", item)


def _listing(event: OpenLineageEvent, direction: str, item: dict[str, Any]) -> Listing:
    facets = object_of(item.get("facets"))
    named = text_of((standing(facets, "version") or {}).get("datasetVersion")) or None
    before_the_write = direction == "output" and event.kind is Kind.RUN and event.rank is Rank.START
    version = None if before_the_write else named
    named_copy = standing(object_of(item.get("inputFacets")), "headwater_input") or {}
    produced_by = text_of(named_copy.get("productionRunId"))
    production = None
    dataset = ids.dataset_id(item["namespace"], item["name"])
    if direction == "input" and version is not None and produced_by is not None and ids.is_uuid(produced_by):
        run = ids.run_key(produced_by, "", "")
        production = ids.production_id(run, dataset, ids.version_id(dataset, version))
    return Listing(
        direction=direction,
        dataset=dataset,
        name=(item["namespace"], item["name"]),
        version=version,
        production=production,
        facets=facets,
        more=object_of(item.get("inputFacets" if direction == "input" else "outputFacets")),
        more_space="i" if direction == "input" else "o",
    )


@dataclass(frozen=True)
class Arrow:
    """`source` (its field, or "") feeds a target's field ("": all of it), in the way `kind` says."""

    target_field: str
    source: Name
    source_field: str
    kind: str


def _kinds(item: dict[str, Any]) -> list[str]:
    found = []
    for transformation in list_of(item.get("transformations")):
        if isinstance(transformation, dict):
            kind, subtype = text_of(transformation.get("type")) or "", text_of(transformation.get("subtype"))
            if transformation.get("masking") is True:
                found.append(f"{kind}/{subtype or ''}/masking".upper())
            else:
                found.append(f"{kind}/{subtype}".upper() if subtype else kind.upper())
    return found or [""]


def _arrows(target_field: str, item: dict[str, Any]) -> Iterator[Arrow]:
    source = name_of(item)
    if source is not None:
        for kind in _kinds(item):
            yield Arrow(target_field, source, text_of(item.get("field")) or "", kind)


def column_lineage(facet: dict[str, Any]) -> list[Arrow]:
    """The arrows of a `columnLineage` facet."""
    found: list[Arrow] = []
    for field, described in object_of(facet.get("fields")).items():
        older = text_of(object_of(described).get("transformationType"))
        for item in list_of(object_of(described).get("inputFields")):
            source = dict(object_of(item))
            if older is not None:
                source.setdefault("transformations", [{"type": older}])
            found.extend(_arrows(field, source))
    for item in list_of(facet.get("dataset")):
        found.extend(_arrows("", object_of(item)))
    return found


@dataclass(frozen=True)
class Target:
    """What a lineage facet says of one target: all its sources, and the arrows between columns."""

    name: Name
    sources: frozenset[Name]
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True)
class Lineage:
    """A lineage facet that counts: a deletion, or targets (perhaps none)."""

    deleted: bool
    body: Any
    targets: tuple[Target, ...]


def lineage_of(event: OpenLineageEvent) -> Lineage | None:
    """The lineage facet of the event's job, or of a DatasetEvent's dataset."""
    if event.kind is Kind.DATASET:
        dataset = event.document["dataset"]
        body = object_of(dataset.get("facets")).get("lineage")
        counts = isinstance(body, dict)
        entries = [{**object_of(body), "namespace": dataset["namespace"], "name": dataset["name"]}]
    else:
        body = job_facets(event).get("lineage")
        counts = isinstance(body, dict) and isinstance(body.get("entries"), list)
        entries = [e for e in list_of(object_of(body).get("entries")) if _is_dataset(e)]
    if is_deleted(body):
        return Lineage(True, body, ())
    return Lineage(False, body, tuple(map(_target, entries))) if counts else None


def _is_dataset(item: Any) -> bool:
    return object_of(item).get("type") == "DATASET" and name_of(item) is not None


def _target(entry: dict[str, Any]) -> Target:
    name = name_of(entry)
    if name is None:
        raise ValueError(f"{entry!r} is no target")
    sources: set[Name] = set()
    arrows: list[Arrow] = []
    for item in filter(_is_dataset, list_of(entry.get("inputs"))):
        sources.add((item["namespace"], item["name"]))
        if text_of(item.get("field")) is not None:
            arrows.extend(_arrows("", item))
    for field, described in object_of(entry.get("fields")).items():
        for item in filter(_is_dataset, list_of(object_of(described).get("inputs"))):
            sources.add((item["namespace"], item["name"]))
            arrows.extend(_arrows(field, item))
    return Target(name, frozenset(sources), tuple(arrows))


def symlinks(facets: dict[str, Any]) -> list[Name]:
    identifiers = list_of((standing(facets, "symlinks") or {}).get("identifiers"))
    return [name for name in map(name_of, identifiers) if name is not None]


def lifecycle(facet: dict[str, Any] | None) -> str | None:
    kind = text_of((facet or {}).get("lifecycleStateChange"))
    return None if kind is None else kind.upper()


def previous_name(facet: dict[str, Any] | None) -> Name | None:
    return name_of((facet or {}).get("previousIdentifier"))


def parent_and_root(facet: dict[str, Any] | None) -> tuple[tuple[str, Name] | None, tuple[str, Name] | None]:
    """(parent, root) of a `parent` facet; one that names no parent says nothing."""
    parent = run_and_job(facet)
    return parent, run_and_job(object_of(facet).get("root")) if parent else None


def run_and_job(value: Any) -> tuple[str, Name] | None:
    """(run id, job) of a `parent` facet or of its `root`, when well-formed."""
    described = object_of(value)
    run_id = text_of(object_of(described.get("run")).get("runId"))
    job = name_of(described.get("job"))
    return None if not run_id or job is None else (run_id, job)


def is_snapshot(event: OpenLineageEvent) -> bool:
    """Whether the event itself says that it lists everything (R12)."""
    job_type = standing(job_facets(event), "jobType") or {}
    modes = (
        object_of(job_type.get("emissionPattern")).get("eventContentMode"),
        job_type.get("eventContentMode"),
    )
    return any((text_of(mode) or "").upper() == "COMPLETE_SNAPSHOT" for mode in modes)
