"""The reference fold: what the lineage tables must hold, read straight from the rules.

`reference(values)` takes the set of an event log's values and gives every row of every
covered table, by collecting each run's events in the order of their stamps and applying
each rule as it is written. It is slow and it is plain, and it shares no code with the
product beyond the parser, the ids and the names of the columns: when the two differ, one
of them is wrong. `run_fold` is not here: how a fold is kept is the product's own business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from headwater.schemas import ids
from headwater.schemas.errors import Unparseable
from headwater.schemas.openlineage import Kind, OpenLineageEvent, canonical_json, parse
from headwater.schemas.text import storable
from tests.replay import reading
from tests.replay.facts import closures, emission, governance, governed_versions, metric_points
from tests.replay.reading import Listing, Name
from tests.replay.registers import Told, registers
from tests.replay.rows import Tables
from tests.replay.search import write_search
from tests.replay.story import RunStory
from tests.replay.tags import write_tags


def reference(values: Iterable[bytes]) -> Tables:
    """The tables that the events in `values` must lead to, in whatever order they come."""
    found = Tables()
    events = []
    for value in set(values):
        try:
            events.append(parse(value))
        except Unparseable:
            found.refused += 1
    events.sort(key=reading.stamp_of)
    for event in events:
        _write_what_exists(found, event)
        _write_facts(found, event)
    _write_datasets(found, events)
    _write_dataset_facets(found, events)
    write_tags(found, events)
    write_search(found, events)
    by_run: dict[bytes, list[OpenLineageEvent]] = defaultdict(list)
    for event in events:
        by_run[reading.run_of(event)].append(event)
    for run_id, told in by_run.items():
        RunStory(run_id, told).write(found)
    return found


# -- what exists as soon as one event mentions it ---------------------------------------


def _datasets_of(event: OpenLineageEvent) -> Iterator[Name]:
    """Every dataset that `event` mentions."""
    for listing in reading.listings(event):
        yield listing.name
        yield from reading.symlinks(listing.facets)
        previous = reading.previous_name(reading.standing(listing.facets, "lifecycleStateChange"))
        if previous is not None:
            yield previous
        if listing.direction == "output":
            yield from (arrow.source for arrow in _column_arrows(listing))
    lineage = reading.lineage_of(event)
    for target in lineage.targets if lineage else ():
        yield target.name
        yield from target.sources


def _named(event: OpenLineageEvent) -> set[bytes]:
    """What `event` names in lineage, or as a former name; and lists or not."""
    names: list[Name] = []
    for listing in reading.listings(event):
        previous = reading.previous_name(reading.standing(listing.facets, "lifecycleStateChange"))
        names += [previous] if previous is not None else []
        if listing.direction == "output":
            names += [arrow.source for arrow in _column_arrows(listing)]
    lineage = reading.lineage_of(event)
    for target in lineage.targets if lineage else ():
        names += [target.name, *target.sources]
    return {ids.dataset_id(*name) for name in names}


def _column_arrows(listing: Listing) -> list[reading.Arrow]:
    facet = reading.standing(listing.facets, "columnLineage")
    return reading.column_lineage(facet) if facet is not None else []


def _jobs_of(event: OpenLineageEvent) -> Iterator[Name]:
    if event.kind is not Kind.DATASET:
        job = event.document["job"]
        yield job["namespace"], job["name"]
    parent = reading.standing(reading.run_facets(event), "parent")
    for named in reading.parent_and_root(parent):
        if named is not None:
            yield named[1]


def _write_what_exists(found: Tables, event: OpenLineageEvent) -> None:
    for namespace, name in _jobs_of(event):
        job_id = ids.job_id(namespace, name)
        found.add("job", job_id=job_id, namespace=storable(namespace), name=storable(name))
    spaces = [reading.run_facets(event), reading.job_facets(event)]
    for listing in reading.listings(event):
        spaces += [listing.facets, listing.more]
        if listing.version is not None:
            _write_version(found, listing.dataset, listing.version)
        if listing.direction == "output" and (arrows := _column_arrows(listing)):
            body = listing.facets["columnLineage"]
            _write_arrows(found, reading.facet_id("columnLineage", body), listing.dataset, arrows)
            for arrow in arrows:
                found.add(
                    "edge_map",
                    facet_id=reading.facet_id("columnLineage", body),
                    target_id=listing.dataset,
                    source_id=ids.dataset_id(*arrow.source),
                )
    listed = list(reading.listings(event))
    named = _named(event) - {listing.dataset for listing in listed}
    for mentioned in named | {listing.dataset for listing in listed if listing.production is not None}:
        found.add("run_mention", dataset_id=mentioned, run_id=reading.run_of(event))
    _write_bodies(found, spaces)
    lineage = reading.lineage_of(event)
    for target in lineage.targets if lineage else ():
        body_id = reading.facet_id("lineage", lineage.body if lineage else None)
        _write_arrows(found, body_id, ids.dataset_id(*target.name), target.arrows)


def _write_version(found: Tables, dataset: bytes, version: str) -> None:
    version_id = ids.version_id(dataset, version)
    found.add("version", version_id=version_id, dataset_id=dataset, version=storable(version))


def _write_bodies(found: Tables, spaces: list[dict[str, Any]]) -> None:
    for facets in spaces:
        for name, body in facets.items():
            if name not in reading.APART and not reading.is_deleted(body):
                found.add(
                    "facet",
                    facet_id=reading.facet_id(name, body),
                    name=storable(name),
                    body=canonical_json(body).decode(),
                )


def _write_arrows(found: Tables, facet_id: bytes, target: bytes, arrows: Iterable[reading.Arrow]) -> None:
    for arrow in arrows:
        source = ids.dataset_id(*arrow.source)
        ends = (target.hex(), arrow.target_field, source.hex(), arrow.source_field)
        found.add(
            "column_map",
            column_id=ids.hash128("column", facet_id.hex(), *ends, arrow.kind),
            facet_id=facet_id,
            target_id=target,
            target_field=storable(arrow.target_field),
            source_id=source,
            source_field=storable(arrow.source_field),
            kind=storable(arrow.kind),
        )


def _write_facts(found: Tables, event: OpenLineageEvent) -> None:
    run_id = reading.run_of(event)
    found.add(
        "event",
        at=event.time,
        event_id=event.event_id,
        run_id=run_id,
        kind=int(event.kind),
        rank=int(event.rank),
        **emission(event),
    )
    for closure in closures(event):
        found.add("run_closure", run_id=run_id, **closure)
    for point in metric_points(event):
        found.add("metric_point", run_id=run_id, **point)
    for dataset, version in governed_versions(event):
        _write_version(found, dataset, version)
    for fact in governance(event):
        governance_id = ids.hash128("governance", event.event_id.hex(), fact["kind"], fact["key"])
        fact["key"] = storable(fact["key"])
        found.add(
            "governance",
            governance_id=governance_id,
            event_id=event.event_id,
            at=event.time,
            **fact,
        )


def _write_datasets(found: Tables, events: list[OpenLineageEvent]) -> None:
    """Datasets, links between them, and the least id of everything linked together (R5)."""
    links: set[tuple[bytes, bytes]] = set()
    names: dict[bytes, Name] = {}
    for event in events:
        names |= {ids.dataset_id(*mentioned): mentioned for mentioned in _datasets_of(event)}
        for listing in reading.listings(event):
            for linked in reading.symlinks(listing.facets):
                pair = sorted((listing.dataset, ids.dataset_id(*linked)))
                if pair[0] != pair[1]:
                    links.add((pair[0], pair[1]))
    for a, b in links:
        found.add("dataset_link", a=a, b=b)
    group = {dataset: dataset for dataset in names}
    for _ in names:
        for a, b in links:
            group[a] = group[b] = min(group[a], group[b])
    for dataset, (namespace, name) in names.items():
        found.add(
            "dataset",
            dataset_id=dataset,
            namespace=storable(namespace),
            name=storable(name),
            group_id=group[dataset],
        )


def _write_dataset_facets(found: Tables, events: list[OpenLineageEvent]) -> None:
    """The newest body of each facet of a dataset over all runs (R11)."""
    told: dict[bytes, list[Told]] = defaultdict(list)
    for event in events:
        for listing in reading.listings(event):
            told[listing.dataset].append(Told(reading.stamp_of(event), "d", listing.facets))
    for dataset, said in told.items():
        for (_, facet), register in registers(said).items():
            time, rank, event_id = register.stamp
            found.add(
                "dataset_facet",
                register_id=ids.hash128("register", dataset.hex(), facet),
                dataset_id=dataset,
                name=storable(facet),
                stamp=f"{time + 2**62:017x}{rank}{event_id[:16].hex()}",
                facet_id=register.facet_id,
            )
