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

from collections.abc import Iterator
from typing import Any

import orjson

from headwater.consumers.facets import (
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
    run_hex,
    tag_lists,
    version_text,
)
from headwater.consumers.readings import APART, GOVERNANCE, METRIC_POINTS, RUN_CLOSED, Reader, Said
from headwater.consumers.terms import OWNED_BY_JOB, Owner
from headwater.schemas import ids
from headwater.schemas.openlineage import Kind, OpenLineageEvent, Rank
from headwater.schemas.text import storable

_EPOCH_SHIFT = 1 << 62
_COMPACT_ABOVE = 64

Registers = dict[str, list[Any]]  # name → [stamp index, facet id or "" when deleted, meaning …]
Observation = list[Any]  # [first time, last time, greatest stamp's index, Registers]


def stamp_of(event: OpenLineageEvent) -> str:
    """(time, rank, event id) as text that sorts the same way."""
    return f"{event.time + _EPOCH_SHIFT:017x}{int(event.rank)}{event.event_id[:16].hex()}"


def time_of(stamp: str) -> int:
    """The µs since 1970 in `stamp`."""
    return int(stamp[:17], 16) - _EPOCH_SHIFT


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
    (R12, R26), `l` lineage pairs with `lt` its newest facet and `lf` its floor (R24), `b` the lineage
    bodies that speak of columns (R25), `s` the stamps that all of them point into.
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
        for stated in (doc.get("l", {}), doc.get("b", {})):
            for key in stated:
                yield stated, key

    def _compact(self) -> None:
        """Drop stamps that nothing points at and sort the rest."""
        stamps = self.doc["s"]
        self._drop_bodies()
        pointers = list(self._pointers())
        used = sorted({stamps[container[key]] for container, key in pointers})
        place = {stamp: index for index, stamp in enumerate(used)}
        for container, key in pointers:
            container[key] = place[stamps[container[key]]]
        self.doc["s"] = used
        self._places = None

    def _drop_bodies(self) -> None:
        """Forget lineage bodies below the floor: a job that restates its lineage would add one a day."""
        doc = self.doc
        if "b" in doc and "lf" in doc:
            floor = doc["s"][doc["lf"]]
            doc["b"] = {body: at for body, at in doc["b"].items() if doc["s"][at] >= floor}
        if not doc.get("b", True):
            del doc["b"]


class Folder(Reader):
    """Joins events into folds and collects what they mention; one per batch and process."""

    def add(self, fold: RunFold, event: OpenLineageEvent) -> None:
        """Join `event`, which belongs to the run of `fold`."""
        joining = _Joining(self, fold, event)
        joining.join()
        if joining.named:
            run_id = fold.run_id
            self.mentions.named.update((dataset, run_id) for dataset in joining.named - joining.listed)


class _Joining:
    """One event being joined into one fold: the stamp, the places, and the rules."""

    __slots__ = (
        "doc",
        "document",
        "event",
        "folder",
        "index",
        "listed",
        "named",
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
        self.listed: set[str] = set()
        self.named: set[str] = set()

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
            self._join_facets("r", self.document["run"].get("facets"), self.run_id)
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
            self._join_facets("j", facets, job_id)
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

    def _join_facets(self, space: str, facets: Any, entity: str) -> None:
        """Run facets (`r`) and job facets (`j`) of `entity`: one register each (R10)."""
        if not isinstance(facets, dict):
            return
        registers = self.doc["r"]
        for name, body in facets.items():
            if name in APART:
                self._join_apart(name, body)
            else:
                said = self.folder.said(space, name, body, self.plain)
                self._register(registers, said)
                if said.facet and space == "j" and name in OWNED_BY_JOB:
                    self.folder.mentions.owners.add((said.facet, Owner.JOB, entity))
        if "tags" in facets:
            self._join_tags("run" if space == "r" else "job", entity, facets["tags"])

    def _register(self, registers: Registers, said: Said) -> None:
        """Let this facet win its register if its stamp is greater."""
        key, facet, meaning, owned, named = said
        held = registers.get(key)
        if owned and (held is None or held[1] != facet):
            self.folder.mentions.owners.add((facet, Owner.RUN, self.run_id))
        if named:
            self.named.add(named)
        if held is None or (self.stamps[held[0]], held[1]) < (self.stamp, facet):
            registers[key] = [self.index, facet] if meaning is None else [self.index, facet, meaning]

    def _join_tags(self, kind: str, entity: str, body: Any) -> None:
        """One register for each source and field that a `tags` facet names, over all runs (R13)."""
        producer = self.document.get("producer")
        said_by = producer if is_text(producer) else ""
        if is_deleted(body):
            floor = (kind, entity, said_by)
            floors = self.folder.mentions.tag_floors
            floors[floor] = max(self.stamp, floors.get(floor, ""))
        elif isinstance(body, dict):
            registers = self.folder.mentions.tag_registers
            for named, tags in tag_lists(body.get("tags")).items():
                said = (self.stamp, said_by, tags)
                register = (kind, entity, *named)
                registers[register] = max(said, registers.get(register, said))

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
        listing = self.folder.listing(side, item, self.plain)
        key = dataset = listing.dataset
        self.listed.add(dataset)
        self.named |= listing.named
        facets = item.get("facets")
        if not isinstance(facets, dict):
            facets = {}
        version = version_text(facets)
        # The version on an output of START is the one before the write (R15).
        if version is not None and not (
            side == "o" and self.rank == Rank.START and self.event.kind is Kind.RUN
        ):
            key += self.folder.version(dataset, version)
            if side == "i":
                produced_by = production_run(item.get("inputFacets"))
                key += produced_by
                if produced_by:
                    self.folder.mentions.named.add((dataset, self.run_id))
        registers = self._observation(self.doc[side], key)[3]
        for said in listing.said:
            self._register(registers, said)
        newest = self.folder.mentions.dataset_facets
        for register, facet in listing.about:
            held = newest.get(register)
            if held is None or held < (self.stamp, facet):
                newest[register] = (self.stamp, facet)
        if "tags" in facets:
            self._join_tags("dataset", dataset, facets["tags"])

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

    # -- column and explicit lineage ----------------------------------------------------

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
            self.named.add(target)
            for field_name, source in lineage_sources(entry):
                source_id = self.folder.dataset(source["namespace"], source["name"])
                self.named.add(source_id)
                pair = target + source_id
                self._raise_in(pairs, pair)
                if field_name or is_text(source.get("field")):
                    self.folder.column(facet, target, field_name, source_id, source)
                    self._raise_in(self.doc.setdefault("b", {}), facet)

    def _raise_in(self, stated: dict[str, int], key: str) -> None:
        held = stated.get(key)
        if held is None or self.stamps[held] < self.stamp:
            stated[key] = self.index

    # -- DatasetEvents ------------------------------------------------------------------

    def _join_dataset_event(self) -> None:
        dataset = self.document["dataset"]
        self._observe("o", dataset)
        facets = dataset.get("facets")
        if isinstance(facets, dict):
            if "lineage" in facets:
                self._join_dataset_lineage(dataset, facets["lineage"])
            for name in GOVERNANCE.keys() & facets.keys():
                self._govern(dataset, name, facets)

    def _govern(self, dataset: dict[str, Any], name: str, facets: dict[str, Any]) -> None:
        body = facets[name]
        if not isinstance(body, dict) or is_deleted(body):
            return
        dataset_id = self.folder.dataset(dataset["namespace"], dataset["name"])
        version_id = self._governed_version(dataset_id, body)
        actor = body.get("actor")
        said_by = actor if is_text(actor) else None
        event_id = self.event.event_id.hex()
        for key, value, withdrawn in governance_rows(name, body, facets):
            row = (dataset_id, version_id, value, withdrawn, said_by, self.time)
            self.folder.mentions.governance[event_id, GOVERNANCE[name], key] = row

    def _governed_version(self, dataset: str, body: dict[str, Any]) -> str | None:
        """The version meant; without one what a run wrote there, when a run is named; else all of them."""
        version = body.get("version")
        if is_text(version) and version:
            return self.folder.version(dataset, version)
        run = run_hex(body.get("productionRunId"))
        return ids.unversioned_output_id(bytes.fromhex(dataset), bytes.fromhex(run)).hex() if run else None
