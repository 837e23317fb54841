"""What one part of an event says by itself, whichever run it belongs to and whenever it happened.

Facets, and datasets as inputs and outputs list them, repeat from event to event: equal ones are
read once, and what they mention goes to `Mentions` once. How several statements are joined is the
business of `headwater.consumers.fold`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from headwater.consumers.facets import (
    column_sources,
    dicts,
    is_deleted,
    is_named,
    is_text,
    transformation_kinds,
)
from headwater.consumers.mentions import Mentions, Names
from headwater.consumers.terms import OWNED_BY_DATASET, OWNED_BY_RUN, TYPED, Owner, type_of
from headwater.schemas import ids
from headwater.schemas.jsontext import canonical
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
    "headwater_describing": "description",
    "headwater_owning": "ownership",
}
APART = frozenset({EMISSION, RUN_CLOSED, METRIC_POINTS, *GOVERNANCE})

_HELD_BYTES = 8_000_000
_HELD_ENTRY = 2_500


class Said(NamedTuple):
    """One facet, as a register takes it."""

    #: Name space and name.
    key: str
    #: The id of the body, "" when deleted.
    facet: str
    #: What derivation needs of the body, where it needs anything.
    meaning: Any
    #: Whether a row says which runs have it.
    owned: bool
    #: A dataset that is named in it, or "".
    named: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A dataset as one event lists it, without its version."""

    dataset: str
    said: tuple[Said, ...]
    #: ((dataset, facet's name), facet): what is said of the dataset over all runs (R11).
    about: tuple[tuple[tuple[str, str], str], ...]
    #: Datasets that its columns come from.
    named: frozenset[str]


class Readings:
    """What was read, by its JSON. Whoever keeps some must know that what they mention is stored."""

    def __init__(self) -> None:
        self.said: dict[tuple[str, bytes], Said] = {}
        self.listings: dict[tuple[str, bytes], Listing] = {}
        self._size = 0

    def remember(self, new: Readings) -> None:
        """Keep `new` as well; everything older is forgotten when it is much."""
        added = sum(len(text) + _HELD_ENTRY for held in (new.said, new.listings) for _, text in held)
        if self._size + added > _HELD_BYTES:
            self.said.clear()
            self.listings.clear()
            self._size = 0
        self.said |= new.said
        self.listings |= new.listings
        self._size += added


class Reader:
    """Reads parts of a batch's events, and collects what they mention; one per batch.

    `names` may be shared by batches. `known_facets` holds facet ids, and `known` readings, that need
    not be mentioned again: hints, which the owner drops when a transaction fails.
    """

    def __init__(self, names: Names, known_facets: set[str], known: Readings | None = None) -> None:
        self.names = names
        self.mentions = Mentions()
        self.readings = Readings()
        self._known_facets = known_facets
        self._known = known or Readings()

    # -- dictionaries -------------------------------------------------------------------

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
        return self._facet(name, canonical(body, plain=plain), plain)

    def _facet(self, name: str, text: bytes, plain: bool) -> str:
        if plain:
            facet = hashlib.sha256(b"facet\0%b\0%b" % (name.encode(), text)).hexdigest()[:32]
        else:
            facet = ids.hash128("facet", name, text.decode()).hex()
        if facet not in self._known_facets:
            self.mentions.facets[facet] = (name, text)
        return facet

    def column(self, facet: str, target: str, field_name: str, source: str, entry: Mapping[str, Any]) -> None:
        source_field = entry.get("field")
        field = source_field if is_text(source_field) else ""
        for kind in transformation_kinds(entry.get("transformations")):
            self.mentions.columns.add((facet, target, field_name, source, field, kind))

    # -- facets and listings ------------------------------------------------------------

    def said(self, space: str, name: str, body: Any, plain: bool) -> Said:
        """The facet `name` of one name space: `r` run, `j` job, `d` dataset, `i` input, `o` output."""
        text = canonical(body, plain=plain)
        if not plain:  # NaN and "NaN" are written alike, and mean different things
            return self._read_facet(space + storable(name), name, body, text, plain)
        key = space + name
        place = (key, text)
        found = self._known.said.get(place) or self.readings.said.get(place)
        if found is None:
            found = self.readings.said[place] = self._read_facet(key, name, body, text, plain)
        return found

    def listing(self, side: str, item: dict[str, Any], plain: bool) -> Listing:
        """An item of `inputs` (`i`) or `outputs` (`o`)."""
        # Whoever names versions seldom lists the same twice.
        facets = item.get("facets")
        named = isinstance(facets, dict) and "version" in facets
        text = _text(item) if plain and not named else None
        if text is None:
            return self._read_listing(side, item, plain)
        place = (side, text)
        found = self._known.listings.get(place) or self.readings.listings.get(place)
        if found is None:
            found = self.readings.listings[place] = self._read_listing(side, item, plain)
        return found

    def _read_facet(self, key: str, name: str, body: Any, text: bytes, plain: bool) -> Said:
        if is_deleted(body):
            return Said(key, "", None, False, "")
        facet = self._facet(name, text, plain)
        meaning, named = None, ""
        reader = _MEANINGS.get(key)
        # Meaning is taken from losing facets too: what they mention exists all the same.
        if reader is not None and isinstance(body, dict):
            meaning = reader(self, body)
            named = _renamed(self, body) if reader is _lifecycle_meaning else ""
        return Said(key, facet, meaning, key in OWNED_BY_RUN, named)

    def _read_listing(self, side: str, item: dict[str, Any], plain: bool) -> Listing:
        dataset = self.dataset(item["namespace"], item["name"])
        said: list[Said] = []
        about: list[tuple[tuple[str, str], str]] = []
        sources: set[str] = set()
        facets = item.get("facets")
        for name, body in facets.items() if isinstance(facets, dict) else ():
            if name not in APART:
                one = self.said("d", name, body, plain)
                said.append(one)
                about.append(((dataset, name), one.facet))
                if one.facet and isinstance(body, dict):
                    self._read_dataset_facet(dataset, name, one.facet, body)
                    if name == "columnLineage" and side == "o":
                        sources |= self._map_columns(dataset, one.facet, body)
        own = item.get("inputFacets" if side == "i" else "outputFacets")
        if isinstance(own, dict):
            said += [self.said(side, name, body, plain) for name, body in own.items()]
        return Listing(dataset, tuple(said), tuple(about), frozenset(sources))

    def _read_dataset_facet(self, dataset: str, name: str, facet: str, body: dict[str, Any]) -> None:
        if name in OWNED_BY_DATASET:
            self.mentions.owners.add((facet, Owner.DATASET, dataset))
        elif name in TYPED:
            told = type_of(name, body)
            if told is not None:
                self.mentions.types.add((dataset, told))
        elif name == "symlinks":
            self._link(dataset, body)

    def _link(self, dataset: str, body: dict[str, Any]) -> None:
        for identifier in dicts(body.get("identifiers")):
            namespace, name = identifier.get("namespace"), identifier.get("name")
            if is_text(namespace) and is_text(name):
                other = self.dataset(namespace, name)
                if other != dataset:
                    self.mentions.links.add((min(dataset, other), max(dataset, other)))

    def _map_columns(self, target: str, facet: str, body: dict[str, Any]) -> set[str]:
        """The edges of one columnLineage body, once per distinct body and target (R25); their sources."""
        sources = set()
        for field_name, source in column_sources(body):
            source_id = self.dataset(source["namespace"], source["name"])
            sources.add(source_id)
            self.mentions.edges.add((facet, target, source_id))
            self.column(facet, target, field_name, source_id, source)
        return sources


def _text(body: Any) -> bytes | None:
    """JSON of a body in which nothing is special, in the order of its keys; None where it is too deep."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return None


# -- meanings: what derivation needs of a winning facet's body ------------------------------


def _parent_meaning(reader: Reader, body: dict[str, Any]) -> list[str] | None:
    """[parent run, parent job, root run] of a well-formed `parent` facet (R9)."""
    parent = _run_and_job(reader, body)
    if parent is None:
        return None
    root = body.get("root")
    found = _run_and_job(reader, root) if isinstance(root, dict) else None
    return [*parent, found[0] if found else ""]


def _run_and_job(reader: Reader, body: dict[str, Any]) -> tuple[str, str] | None:
    run, job = body.get("run"), body.get("job")
    if not isinstance(run, dict) or not isinstance(job, dict) or not is_named(job):
        return None
    run_id = run.get("runId")
    if not is_text(run_id) or not run_id:
        return None
    key = ids.run_key(run_id, job["namespace"], job["name"]).hex()
    return key, reader.job(job["namespace"], job["name"])


def _streaming_meaning(_: Reader, body: dict[str, Any]) -> int | None:
    processing = body.get("processingType")
    return 1 if is_text(processing) and processing.upper() in {"STREAMING", "SERVICE"} else None


def _lifecycle_meaning(reader: Reader, body: dict[str, Any]) -> list[str] | None:
    """[state, previous dataset or ""] of a `lifecycleStateChange` (R23)."""
    before = _renamed(reader, body)
    state = body.get("lifecycleStateChange")
    return [storable(state.upper()), before] if is_text(state) else None


def _renamed(reader: Reader, body: dict[str, Any]) -> str:
    """The dataset that a `lifecycleStateChange` names as the one before, or ""."""
    previous = body.get("previousIdentifier")
    if isinstance(previous, dict) and is_named(previous):
        return reader.dataset(previous["namespace"], previous["name"])
    return ""


def _column_meaning(_: Reader, body: dict[str, Any]) -> int | None:
    return 1 if next(column_sources(body), None) is not None else None


_MEANINGS = {
    "rparent": _parent_meaning,
    "jjobType": _streaming_meaning,
    "dlifecycleStateChange": _lifecycle_meaning,
    "dcolumnLineage": _column_meaning,
}
