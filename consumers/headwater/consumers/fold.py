"""The fold: what all events of one run say, joined so that their order does not matter.

`RunFold.add` joins one event into one run's document: registers (greatest stamp wins),
minima, maxima and sets, each commutative, associative and idempotent. What any event
mentions besides (datasets, versions, facet bodies, links, …) goes to `Mentions`, sets that
only grow. Nothing here knows a database, and nothing here reads another run's events; what
rows a fold stands for is `headwater.consumers.derive`'s business.

Rules R1–R27 are those of docs/reference/projection.md. Ids are hex text in here, because
the stored document is JSON and PostgreSQL's COPY takes hex.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from headwater.consumers.facets import (
    column_sources,
    dicts,
    governance_rows,
    hash_point,
    is_deleted,
    is_int64,
    is_named,
    is_snapshot,
    is_text,
    lineage_sources,
    metric_point,
    production_run,
    transformation_kinds,
    version_text,
)
from headwater.schemas import ids
from headwater.schemas.openlineage import Kind, OpenLineageEvent, Rank, canonical_json
from headwater.schemas.text import storable

#: Facets with a table of their own; they differ in every event, so no register keeps them.
EMISSION = "headwater_emission"
RUN_CLOSED = "headwater_runClosed"
METRIC_POINTS = "headwater_metricPoints"
GOVERNANCE = {
    "headwater_tagging": "tag",
    "headwater_aliasing": "alias",
    "headwater_recall": "recall",
    "headwater_erasure": "erasure",
}
_APART = frozenset({EMISSION, RUN_CLOSED, METRIC_POINTS, *GOVERNANCE})

_EPOCH_SHIFT = 1 << 62
_COMPACT_ABOVE = 64
_CACHED_CHARACTERS = 32_000_000  # names of any length: what is remembered is bounded by its size
_CACHED_ENTRY = 250

Registers = dict[str, list[Any]]  # name → [stamp index, facet id or "" when deleted, meaning …]
Observation = list[Any]  # [first time, last time, greatest stamp's index, Registers]


def stamp_of(event: OpenLineageEvent) -> str:
    """(time, rank, event id) as text that sorts the same way."""
    return f"{event.time + _EPOCH_SHIFT:017x}{int(event.rank)}{event.event_id[:16].hex()}"


def time_of(stamp: str) -> int:
    """The µs since 1970 in `stamp`."""
    return int(stamp[:17], 16) - _EPOCH_SHIFT


class Names:
    """Hex ids of datasets, jobs and versions, remembered because events repeat them."""

    def __init__(self) -> None:
        self._datasets: dict[tuple[str, str], str] = {}
        self._jobs: dict[tuple[str, str], str] = {}
        self._characters = 0

    def dataset(self, namespace: str, name: str) -> str:
        found = self._datasets.get((namespace, name))
        if found is None:
            found = ids.dataset_id(namespace, name).hex()
            self._remember(self._datasets, namespace, name, found)
        return found

    def job(self, namespace: str, name: str) -> str:
        found = self._jobs.get((namespace, name))
        if found is None:
            found = ids.job_id(namespace, name).hex()
            self._remember(self._jobs, namespace, name, found)
        return found

    def _remember(self, held: dict[tuple[str, str], str], namespace: str, name: str, found: str) -> None:
        self._characters += len(namespace) + len(name) + _CACHED_ENTRY
        if self._characters > _CACHED_CHARACTERS:
            self._datasets.clear()
            self._jobs.clear()
            self._characters = 0
        held[namespace, name] = found


@dataclass(slots=True)
class Mentions:
    """The dictionary rows that a batch's events call for: sets, keyed by id."""

    datasets: dict[str, tuple[str, str]] = field(default_factory=dict)
    jobs: dict[str, tuple[str, str]] = field(default_factory=dict)
    versions: dict[str, tuple[str, str]] = field(default_factory=dict)
    facets: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    edges: set[tuple[str, str, str]] = field(default_factory=set)
    columns: set[tuple[str, str, str, str, str, str]] = field(default_factory=set)
    links: set[tuple[str, str]] = field(default_factory=set)
    closures: set[tuple[str, str, int, int]] = field(default_factory=set)
    points: dict[str, tuple[str, str, int, int, float | None]] = field(default_factory=dict)
    governance: dict[tuple[str, str, str], tuple[Any, ...]] = field(default_factory=dict)
    dataset_facets: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)


def run_id_of(event: OpenLineageEvent) -> str:
    """The hex id of the run, or of the pseudo-run that stands for a JobEvent's or DatasetEvent's entity."""
    document = event.document
    if event.kind is Kind.RUN:
        job = document["job"]
        return ids.run_key(document["run"]["runId"], job["namespace"], job["name"]).hex()
    if event.kind is Kind.JOB:
        job = document["job"]
        return ids.hash128("jobevent", job["namespace"], job["name"]).hex()
    dataset = document["dataset"]
    return ids.hash128("datasetevent", dataset["namespace"], dataset["name"]).hex()


class RunFold:
    """Everything the events of one run said, as a document that can be stored and joined again.

    The document's keys: `k` kind, `x` the producer's run id where it is no UUID, `t`
    [first, last, first START, last START] times, `e` greatest terminal stamp, `n` greatest
    non-terminal rank, `j` the job's register, `r` run and job facets, `i`/`o` observations of
    inputs/outputs by dataset id + version id + production's run id, `fi`/`fo` their floors
    (R12, R26), `l` lineage pairs with `lt` its newest facet and `lf` its floor (R24), `s` the
    stamps that all of them point into.
    """

    __slots__ = ("_places", "doc", "run_id")

    def __init__(self, run_id: str, doc: dict[str, Any]) -> None:
        self.run_id = run_id
        self.doc = doc
        self._places: dict[str, int] | None = None

    def place(self, stamp: str) -> int:
        """The index of `stamp` among the fold's stamps, where it is entered if it is new."""
        stamps: list[str] = self.doc["s"]
        if self._places is None:
            self._places = {held: index for index, held in enumerate(stamps)}
        index = self._places.get(stamp)
        if index is None:
            index = self._places[stamp] = len(stamps)
            stamps.append(stamp)
        return index

    @classmethod
    def empty(cls, run_id: str, event: OpenLineageEvent) -> RunFold:
        doc: dict[str, Any] = {
            "k": int(event.kind),
            "t": [event.time, event.time, None, None],
            "n": 0,
            "r": {},
            "i": {},
            "o": {},
            "s": [],
        }
        return cls(run_id, doc)

    @classmethod
    def load(cls, run_id: str, stored: bytes) -> RunFold:
        return cls(run_id, orjson.loads(stored))

    def dump(self) -> bytes:
        if len(self.doc["s"]) > _COMPACT_ABOVE:
            self._compact()
        return orjson.dumps(self.doc)

    def canonical(self) -> bytes:
        """The document with stamps in sorted order and keys sorted: equal folds, equal bytes."""
        self._compact()
        return orjson.dumps(self.doc, option=orjson.OPT_SORT_KEYS)

    def _pointers(self) -> Iterator[tuple[Any, Any]]:
        """Every (container, key) that holds an index into the stamps."""
        doc = self.doc
        for key in ("e", "fi", "fo", "lt", "lf"):
            if key in doc:
                yield doc, key
        if "j" in doc:
            yield doc["j"], 0
        for register in doc["r"].values():
            yield register, 0
        for side in (doc["i"], doc["o"]):
            for observation in side.values():
                yield observation, 2
                for register in observation[3].values():
                    yield register, 0
        for pair in doc.get("l", ()):
            yield doc["l"], pair

    def _compact(self) -> None:
        """Drop stamps that nothing points at and sort the rest."""
        stamps = self.doc["s"]
        pointers = list(self._pointers())
        used = sorted({stamps[container[key]] for container, key in pointers})
        place = {stamp: index for index, stamp in enumerate(used)}
        for container, key in pointers:
            container[key] = place[stamps[container[key]]]
        self.doc["s"] = used
        self._places = None


class Folder:
    """Joins events into folds and collects what they mention; one per batch and process.

    `names` may be shared by batches; `known_facets` holds facet ids that need not be
    mentioned again, a hint that the owner clears when a transaction fails.
    """

    def __init__(self, names: Names, known_facets: set[str]) -> None:
        self.names = names
        self.mentions = Mentions()
        self._known_facets = known_facets

    def add(self, fold: RunFold, event: OpenLineageEvent) -> None:
        """Join `event`, which belongs to the run of `fold`."""
        _Joining(self, fold, event).join()

    # -- what any event mentions --------------------------------------------------------

    def dataset(self, namespace: str, name: str) -> str:
        dataset = self.names.dataset(namespace, name)
        if dataset not in self.mentions.datasets:
            self.mentions.datasets[dataset] = (namespace, name)
        return dataset

    def job(self, namespace: str, name: str) -> str:
        job = self.names.job(namespace, name)
        if job not in self.mentions.jobs:
            self.mentions.jobs[job] = (namespace, name)
        return job

    def version(self, dataset: str, version: str) -> str:
        version_id = ids.version_id(bytes.fromhex(dataset), version).hex()
        self.mentions.versions[version_id] = (dataset, version)
        return version_id

    def facet(self, name: str, body: Any, plain: bool) -> str:
        text = canonical_json(body, plain=plain)
        if plain:
            facet = hashlib.sha256(b"facet\0%b\0%b" % (name.encode(), text)).hexdigest()[:32]
        else:
            facet = ids.hash128("facet", name, text.decode()).hex()
        if facet not in self._known_facets:
            self.mentions.facets[facet] = (name, text)
        return facet


class _Joining:
    """One event being joined into one fold: the stamp, the places, and the rules."""

    __slots__ = (
        "doc",
        "document",
        "event",
        "folder",
        "index",
        "plain",
        "rank",
        "run_id",
        "stamp",
        "stamps",
        "time",
    )

    def __init__(self, folder: Folder, fold: RunFold, event: OpenLineageEvent) -> None:
        self.folder = folder
        self.doc = fold.doc
        self.run_id = fold.run_id
        self.event = event
        self.document = event.document
        self.plain = event.plain
        self.time = event.time
        self.rank = int(event.rank)
        self.stamp = stamp_of(event)
        self.stamps: list[str] = fold.doc["s"]
        self.index = fold.place(self.stamp)

    def join(self) -> None:
        # Both may differ for one id: anyone can compute the id of another's run. Least kind, any text.
        self.doc["k"] = min(self.doc["k"], int(self.event.kind))
        times = self.doc["t"]
        times[0] = min(times[0], self.time)
        times[1] = max(times[1], self.time)
        if self.event.kind is Kind.DATASET:
            self._join_dataset_event()
            return
        if self.event.kind is Kind.RUN:
            run_id = self.document["run"]["runId"]
            if not ids.is_uuid(run_id):
                self.doc["x"] = storable(run_id)
            self._join_state(times)
            self._join_facets("r", self.document["run"].get("facets"))
        self._join_job()
        self._join_sides()

    # -- runs ---------------------------------------------------------------------------

    def _join_state(self, times: list[Any]) -> None:
        rank = self.rank
        if rank >= Rank.COMPLETE:
            self._raise("e")
        else:
            self.doc["n"] = max(self.doc["n"], rank)
        if rank == Rank.START:
            times[2] = self.time if times[2] is None else min(times[2], self.time)
            times[3] = self.time if times[3] is None else max(times[3], self.time)

    def _join_job(self) -> None:
        job = self.document["job"]
        job_id = self.folder.job(job["namespace"], job["name"])
        held = self.doc.get("j")
        if held is None or (self.stamps[held[0]], held[1]) < (self.stamp, job_id):
            self.doc["j"] = [self.index, job_id]
        facets = job.get("facets")
        if isinstance(facets, dict):
            self._join_facets("j", facets)
            if "lineage" in facets:
                self._join_job_lineage(facets["lineage"])

    def _raise(self, key: str) -> None:
        """Raise the stamp under `key` of the document to this event's, if that is greater."""
        held = self.doc.get(key)
        if held is None or self.stamps[held] < self.stamp:
            self.doc[key] = self.index

    def _join_sides(self) -> None:
        document = self.document
        for side, key in (("i", "inputs"), ("o", "outputs")):
            items = document.get(key)
            if items:
                for item in items:
                    self._observe(side, item)
            if self.event.kind is Kind.JOB and items is not None:
                self._raise("f" + side)
        if is_snapshot(document["job"].get("facets")):
            self._raise("fi")
            self._raise("fo")

    # -- facets -------------------------------------------------------------------------

    def _join_facets(self, space: str, facets: Any) -> None:
        """Run facets (`r`) and job facets (`j`): one register each (R10)."""
        if not isinstance(facets, dict):
            return
        registers = self.doc["r"]
        for name, body in facets.items():
            if name in _APART:
                self._join_apart(name, body)
            else:
                self._register(registers, space, name, body)

    def _register(self, registers: Registers, space: str, name: str, body: Any) -> str:
        """Let this facet win its register if its stamp is greater; the facet's id, "" when deleted."""
        facet = "" if is_deleted(body) else self.folder.facet(name, body, self.plain)
        key = space + (name if self.plain else storable(name))
        held = registers.get(key)
        # Meaning is taken from losing facets too: what they mention exists all the same.
        reader = _MEANINGS.get(key)
        meaning = reader(self, body) if reader is not None and facet and isinstance(body, dict) else None
        if held is None or (self.stamps[held[0]], held[1]) < (self.stamp, facet):
            registers[key] = [self.index, facet] if meaning is None else [self.index, facet, meaning]
        return facet

    def _join_apart(self, name: str, body: Any) -> None:
        if not isinstance(body, dict) or is_deleted(body):
            return
        if name == RUN_CLOSED:
            self._join_closure(body)
        elif name == METRIC_POINTS:
            self._join_points(body.get("points"))

    def _join_closure(self, body: dict[str, Any]) -> None:
        emitter, events, last = body.get("emitterId"), body.get("events"), body.get("lastSequence")
        if is_text(emitter) and ids.is_uuid(emitter) and is_int64(events) and is_int64(last):
            closure = (self.run_id, emitter.replace("-", "").lower(), last, events)
            self.folder.mentions.closures.add(closure)

    def _join_points(self, points: Any) -> None:
        if not isinstance(points, list):
            return
        for point in points:
            row = metric_point(point)
            if row is not None:
                key, step, at, value = row
                number = hash_point(self.run_id, key, step, at, value)
                # SQLite has neither NaN nor a negative zero; adding 0.0 leaves no sign on a zero.
                stored = None if value != value else value + 0.0
                self.folder.mentions.points[number] = (self.run_id, key, step, at, stored)

    # -- datasets -----------------------------------------------------------------------

    def _observe(self, side: str, item: dict[str, Any]) -> None:
        """One listing of a dataset as input (`i`) or output (`o`): R14–R18."""
        dataset = self.folder.dataset(item["namespace"], item["name"])
        facets = item.get("facets")
        if not isinstance(facets, dict):
            facets = {}
        key = dataset
        version = version_text(facets)
        # The version on an output of START is the one before the write (R15).
        if version is not None and not (
            side == "o" and self.rank == Rank.START and self.event.kind is Kind.RUN
        ):
            key += self.folder.version(dataset, version)
            if side == "i":
                key += production_run(item.get("inputFacets"))
        observation = self._observation(self.doc[side], key)
        registers = observation[3]
        for name, body in facets.items():
            self._dataset_facet(dataset, registers, name, body, side)
        own = item.get("inputFacets" if side == "i" else "outputFacets")
        if isinstance(own, dict):
            for name, body in own.items():
                self._register(registers, side, name, body)

    def _observation(self, observations: dict[str, Observation], key: str) -> Observation:
        held = observations.get(key)
        if held is None:
            held = observations[key] = [self.time, self.time, self.index, {}]
            return held
        if self.time < held[0]:
            held[0] = self.time
        if self.time > held[1]:
            held[1] = self.time
        if self.stamps[held[2]] < self.stamp:
            held[2] = self.index
        return held

    def _dataset_facet(self, dataset: str, registers: Registers, name: str, body: Any, side: str) -> None:
        if name in _APART:
            return
        facet = self._register(registers, "d", name, body)
        key = (dataset, name)
        held = self.folder.mentions.dataset_facets.get(key)
        if held is None or held < (self.stamp, facet):
            self.folder.mentions.dataset_facets[key] = (self.stamp, facet)
        if not facet or not isinstance(body, dict):
            return
        if name == "symlinks":
            self._link(dataset, body)
        elif name == "columnLineage" and side == "o":
            self._map_columns(dataset, facet, body)

    def _link(self, dataset: str, body: dict[str, Any]) -> None:
        for identifier in dicts(body.get("identifiers")):
            namespace, name = identifier.get("namespace"), identifier.get("name")
            if is_text(namespace) and is_text(name):
                other = self.folder.dataset(namespace, name)
                if other != dataset:
                    self.folder.mentions.links.add((min(dataset, other), max(dataset, other)))

    # -- column and explicit lineage ----------------------------------------------------

    def _map_columns(self, target: str, facet: str, body: dict[str, Any]) -> None:
        """The edges of one columnLineage body, once per distinct body and target (R25)."""
        for field_name, source in column_sources(body):
            source_id = self.folder.dataset(source["namespace"], source["name"])
            self.folder.mentions.edges.add((facet, target, source_id))
            self._column(facet, target, field_name, source_id, source)

    def _column(self, facet: str, target: str, field_name: str, source: str, entry: dict[str, Any]) -> None:
        source_field = entry.get("field")
        for kind in transformation_kinds(entry.get("transformations")):
            self.folder.mentions.columns.add(
                (
                    facet,
                    target,
                    field_name,
                    source,
                    source_field if is_text(source_field) else "",
                    kind,
                )
            )

    def _join_job_lineage(self, body: Any) -> None:
        """The `lineage` job facet: accumulates on runs, replaces on JobEvents (R24)."""
        if is_deleted(body):
            self._raise("lf")
        elif isinstance(body, dict) and isinstance(body.get("entries"), list):
            facet = self.folder.facet("lineage", body, self.plain)
            targets = [entry for entry in dicts(body["entries"]) if entry.get("type") == "DATASET"]
            self._join_lineage([(entry, facet) for entry in targets if is_named(entry)])

    def _join_dataset_lineage(self, dataset: dict[str, Any], body: Any) -> None:
        if is_deleted(body):
            self._raise("lf")
        elif isinstance(body, dict):
            facet = self.folder.facet("lineage", body, self.plain)
            entry = {**body, "namespace": dataset["namespace"], "name": dataset["name"]}
            self._join_lineage([(entry, facet)])

    def _join_lineage(self, targets: list[tuple[dict[str, Any], str]]) -> None:
        self._raise("lt")
        if self.event.kind is not Kind.RUN:
            self._raise("lf")
        pairs = self.doc.setdefault("l", {})
        for entry, facet in targets:
            target = self.folder.dataset(entry["namespace"], entry["name"])
            for field_name, source in lineage_sources(entry):
                source_id = self.folder.dataset(source["namespace"], source["name"])
                pair = target + source_id
                held = pairs.get(pair)
                if held is None or self.stamps[held] < self.stamp:
                    pairs[pair] = self.index
                if field_name or is_text(source.get("field")):
                    self._column(facet, target, field_name, source_id, source)

    # -- DatasetEvents ------------------------------------------------------------------

    def _join_dataset_event(self) -> None:
        dataset = self.document["dataset"]
        self._observe("o", dataset)
        facets = dataset.get("facets")
        if isinstance(facets, dict):
            if "lineage" in facets:
                self._join_dataset_lineage(dataset, facets["lineage"])
            for name in GOVERNANCE.keys() & facets.keys():
                self._govern(dataset, name, facets[name])

    def _govern(self, dataset: dict[str, Any], name: str, body: Any) -> None:
        if not isinstance(body, dict) or is_deleted(body):
            return
        dataset_id = self.folder.dataset(dataset["namespace"], dataset["name"])
        version = body.get("version")
        version_id = self.folder.version(dataset_id, version) if is_text(version) and version else None
        actor = body.get("actor")
        said_by = actor if is_text(actor) else None
        event_id = self.event.event_id.hex()
        for key, value, withdrawn in governance_rows(name, body):
            row = (dataset_id, version_id, value, withdrawn, said_by, self.time)
            self.folder.mentions.governance[event_id, GOVERNANCE[name], key] = row


# -- meanings: what derivation needs of a winning facet's body ------------------------------


def _parent_meaning(joining: _Joining, body: dict[str, Any]) -> list[str] | None:
    """[parent run, parent job, root run] of a well-formed `parent` facet (R9)."""
    parent = _run_and_job(joining.folder, body)
    if parent is None:
        return None
    root = body.get("root")
    found = _run_and_job(joining.folder, root) if isinstance(root, dict) else None
    return [*parent, found[0] if found else ""]


def _run_and_job(folder: Folder, body: dict[str, Any]) -> tuple[str, str] | None:
    run, job = body.get("run"), body.get("job")
    if not isinstance(run, dict) or not isinstance(job, dict) or not is_named(job):
        return None
    run_id = run.get("runId")
    if not is_text(run_id) or not run_id:
        return None
    key = ids.run_key(run_id, job["namespace"], job["name"]).hex()
    return key, folder.job(job["namespace"], job["name"])


def _streaming_meaning(_: _Joining, body: dict[str, Any]) -> int | None:
    processing = body.get("processingType")
    return 1 if is_text(processing) and processing.upper() in {"STREAMING", "SERVICE"} else None


def _lifecycle_meaning(joining: _Joining, body: dict[str, Any]) -> list[str] | None:
    """[state, previous dataset or ""] of a `lifecycleStateChange` (R23)."""
    previous = body.get("previousIdentifier")
    before = ""
    if isinstance(previous, dict) and is_named(previous):
        before = joining.folder.dataset(previous["namespace"], previous["name"])
    state = body.get("lifecycleStateChange")
    return [storable(state.upper()), before] if is_text(state) else None


def _column_meaning(_: _Joining, body: dict[str, Any]) -> int | None:
    return 1 if next(column_sources(body), None) is not None else None


_MEANINGS = {
    "rparent": _parent_meaning,
    "jjobType": _streaming_meaning,
    "dlifecycleStateChange": _lifecycle_meaning,
    "dcolumnLineage": _column_meaning,
}
