"""One run's rows, read from all of its events by the rules of the projection as they are written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from headwater.schemas import ids
from headwater.schemas.openlineage import Kind, OpenLineageEvent, Rank
from headwater.schemas.text import storable
from tests.replay import reading
from tests.replay.reading import Listing, Name, Stamp
from tests.replay.registers import Registers, Told, facet_ids, registers, said_last
from tests.replay.rows import Tables

TERMINAL = (Rank.COMPLETE, Rank.ABORT, Rank.FAIL)
WITHOUT_UPSTREAM = 3


@dataclass(frozen=True)
class Seen:
    """One observation of a dataset by the run: which version, which production, when, with what facets."""

    dataset: bytes
    version: str | None
    production: bytes | None
    stamps: tuple[Stamp, ...]
    own: Registers
    below: tuple[Registers, ...] = ()
    same_version: tuple[Stamp, ...] = ()
    unversioned: tuple[Stamp, ...] = ()

    @property
    def facets(self) -> Registers:
        effective: Registers = {}
        for layer in reversed((self.own, *self.below)):
            effective.update(layer)
        return effective

    @property
    def times(self) -> list[int]:
        return [stamp[0] for stamp in self.stamps]


class RunStory:
    """All that is known of one run or pseudo-run, from its events in the order of their stamps."""

    def __init__(self, run_id: bytes, events: list[OpenLineageEvent]) -> None:
        self.run_id = run_id
        self.events = events
        self.kind = events[0].kind
        self.facets = registers(self._told())
        self.inputs = self._seen("input")
        self.outputs = self._seen("output")
        self.pairs, self.bodies, self.has_lineage = self._live_lineage()

    def write(self, found: Tables) -> None:
        self._write_run(found)
        self._write_inputs(found)
        self._write_outputs(found)
        for target, source in self.pairs:
            found.add("run_edge", run_id=self.run_id, target_id=target, source_id=source)
        for body in self.bodies:
            found.add("run_lineage", run_id=self.run_id, facet_id=body)

    # The run itself.

    def _told(self) -> Iterator[Told]:
        for event in self.events:
            yield Told(reading.stamp_of(event), "r", reading.run_facets(event))
            yield Told(reading.stamp_of(event), "j", reading.job_facets(event))

    def _times(self, *ranks: Rank) -> list[int]:
        return [e.time for e in self.events if e.rank in ranks]

    @property
    def last_terminal(self) -> OpenLineageEvent | None:
        terminal = [e for e in self.events if e.rank in TERMINAL]
        return terminal[-1] if terminal and self.kind is Kind.RUN else None

    @property
    def state(self) -> Rank:
        if self.kind is not Kind.RUN:
            return Rank.OTHER
        return self.last_terminal.rank if self.last_terminal else max(e.rank for e in self.events)

    @property
    def streaming(self) -> bool:
        job_type = said_last(self.facets, "j", "jobType") or {}
        return (reading.text_of(job_type.get("processingType")) or "").upper() in {"STREAMING", "SERVICE"}

    def _external_id(self) -> str | None:
        if self.kind is not Kind.RUN:
            return None
        run_id = self.events[-1].document["run"]["runId"]
        return None if ids.is_uuid(run_id) else storable(run_id)

    def _job(self) -> bytes | None:
        if self.kind is Kind.DATASET:
            return None
        job = self.events[-1].document["job"]
        return ids.job_id(job["namespace"], job["name"])

    def _write_run(self, found: Tables) -> None:
        parent, root = reading.parent_and_root(said_last(self.facets, "r", "parent"))
        starts = self._times(Rank.START) if self.kind is Kind.RUN else []
        found.add(
            "run",
            run_id=self.run_id,
            kind=int(self.kind),
            ext_id=self._external_id(),
            job_id=self._job(),
            state=int(self.state),
            first_at=min(e.time for e in self.events),
            started_at=min(starts, default=None),
            ended_at=self.last_terminal.time if self.last_terminal else None,
            last_at=max(e.time for e in self.events),
            last_start_at=max(starts, default=None),
            streaming=self.streaming,
            parent_run_id=ids.run_key(parent[0], *parent[1]) if parent else None,
            parent_job_id=ids.job_id(*parent[1]) if parent else None,
            root_run_id=ids.run_key(root[0], *root[1]) if root else None,
            facets=facet_ids(self.facets),
        )

    # What it read and wrote.

    def _seen(self, direction: str) -> list[Seen]:
        """The observations that are rows: the less precise ones are absorbed by the more precise (R16)."""
        told: dict[tuple[bytes, str | None, bytes | None], list[tuple[Stamp, Listing]]] = defaultdict(list)
        for event in self.events:
            for listing in reading.listings(event):
                if listing.direction == direction:
                    key = (listing.dataset, listing.version, listing.production)
                    told[key].append((reading.stamp_of(event), listing))
        everything = {key: _observation(*key, said) for key, said in told.items()}
        rows = []
        for (dataset, version, production), seen in everything.items():
            more_precise = [
                (v, p)
                for d, v, p in everything
                if d == dataset and (v, p) != (version, production)
                if (version is None and v is not None)
                or (v == version and production is None and p is not None)
            ]
            if not more_precise:
                rows.append(self._with_absorbed(seen, everything))
        return rows

    def _with_absorbed(
        self, seen: Seen, everything: dict[tuple[bytes, str | None, bytes | None], Seen]
    ) -> Seen:
        same_version = everything.get((seen.dataset, seen.version, None)) if seen.production else None
        unversioned = everything.get((seen.dataset, None, None)) if seen.version is not None else None
        below = [s for s in (same_version, unversioned) if s is not None]
        return Seen(
            dataset=seen.dataset,
            version=seen.version,
            production=seen.production,
            stamps=seen.stamps,
            own=seen.own,
            below=tuple(s.own for s in below),
            same_version=same_version.stamps if same_version else (),
            unversioned=unversioned.stamps if unversioned else (),
        )

    def _is_live(self, seen: Seen, direction: str) -> bool:
        floor = self._floor(direction)
        return floor is None or max(seen.stamps + seen.same_version + seen.unversioned) >= floor

    def _floor(self, direction: str) -> Stamp | None:
        key = f"{direction}s"
        raising = [
            reading.stamp_of(event)
            for event in self.events
            if reading.is_snapshot(event) or (self.kind is Kind.JOB and event.document.get(key) is not None)
        ]
        return max(raising, default=None)

    def _live_lineage(self) -> tuple[dict[tuple[bytes, bytes], Stamp], set[bytes], bool]:
        """Pairs (target, source) that hold, each with its newest stamp; the bodies that speak of columns
        and hold; whether a facet holds at all."""
        said = [(reading.stamp_of(e), reading.lineage_of(e)) for e in self.events]
        facets = [(stamp, lineage) for stamp, lineage in said if lineage is not None]
        if self.kind is Kind.RUN:
            deletions = [n for n, (_, lineage) in enumerate(facets) if lineage.deleted]
            holding = facets[deletions[-1] + 1 :] if deletions else facets
        else:
            holding = [(stamp, lineage) for stamp, lineage in facets[-1:] if not lineage.deleted]
        pairs = {}
        for stamp, lineage in holding:
            for target in lineage.targets:
                for source in target.sources:
                    pairs[ids.dataset_id(*target.name), ids.dataset_id(*source)] = stamp
        bodies = {
            reading.facet_id("lineage", lineage.body)
            for _, lineage in holding
            if any(target.arrows for target in lineage.targets)
        }
        return pairs, bodies, bool(holding)

    # Inputs.

    def _write_inputs(self, found: Tables) -> None:
        for seen in self.inputs:
            version_id = None if seen.version is None else ids.version_id(seen.dataset, seen.version)
            found.add(
                "run_input",
                run_id=self.run_id,
                dataset_id=seen.dataset,
                version_id=version_id,
                production_id=seen.production,
                role=0,
                # Where less was said of the same version, it was read then, too.
                first_at=min(seen.stamps + seen.same_version)[0],
                last_at=max(seen.times) if self.streaming else None,
                live=self._is_live(seen, "input"),
                facets=facet_ids(seen.facets),
            )
        for dataset, (role, first_at) in self._implied_inputs().items():
            found.add(
                "run_input",
                run_id=self.run_id,
                dataset_id=dataset,
                version_id=None,
                production_id=None,
                role=role,
                first_at=first_at,
                last_at=first_at if self.streaming else None,
                live=True,
                facets=b"",
            )

    def _changes(self) -> Iterator[tuple[Seen, str, Name | None, int]]:
        """(output, lifecycle, previous name, time) of every output whose lifecycle changed."""
        for seen in self.outputs:
            facet = said_last(seen.facets, "d", "lifecycleStateChange")
            kind = reading.lifecycle(facet)
            if kind is not None:
                time = seen.facets["d", "lifecycleStateChange"].stamp[0]
                yield seen, kind, reading.previous_name(facet), time

    def _renames(self) -> list[tuple[bytes, int]]:
        return [
            (ids.dataset_id(*previous), time)
            for _, kind, previous, time in self._changes()
            if kind == "RENAME" and previous is not None
        ]

    def _implied_inputs(self) -> dict[bytes, tuple[int, int]]:
        """(role, first_at) of each dataset that is an input without being listed."""
        listed = {seen.dataset for seen in self.inputs}
        implied = [(source, 1, stamp[0]) for (_, source), stamp in self.pairs.items()]
        implied += [(dataset, 2, time) for dataset, time in self._renames()]
        implied += [(seen.dataset, 3, time) for seen, kind, _, time in self._changes() if kind == "ALTER"]
        return {
            dataset: min((role, time) for d, role, time in implied if d == dataset)
            for dataset, _, _ in implied
            if dataset not in listed
        }

    # Outputs.

    def _write_outputs(self, found: Tables) -> None:
        for seen in self.outputs:
            self._write_output(found, seen)
        observed = {seen.dataset for seen in self.outputs}
        renames = self._renames()
        for dataset in {dataset for dataset, _ in renames} - observed:
            version_id = ids.unversioned_output_id(dataset, self.run_id)
            found.add(
                "run_output",
                production_id=ids.production_id(self.run_id, dataset, version_id),
                run_id=self.run_id,
                dataset_id=dataset,
                version_id=version_id,
                versioned=False,
                published_at=self._published_unversioned([time for d, time in renames if d == dataset]),
                lifecycle="DROP",
                basis=WITHOUT_UPSTREAM,
                edge_facet=None,
                live=True,
                facets=b"",
            )

    def _published_unversioned(self, times: list[int]) -> int | None:
        """When what carries no version became current (R17)."""
        if self.kind is not Kind.RUN:
            return None
        if self.last_terminal is None:
            return max(times)
        return self.last_terminal.time if self.last_terminal.rank is Rank.COMPLETE else None

    def _write_output(self, found: Tables, seen: Seen) -> None:
        if seen.version is None:
            version_id = ids.unversioned_output_id(seen.dataset, self.run_id)
            published_at = self._published_unversioned(seen.times)
        else:
            version_id = ids.version_id(seen.dataset, seen.version)
            published_at = None if self.kind is Kind.JOB else min(seen.times)
        change = reading.lifecycle(said_last(seen.facets, "d", "lifecycleStateChange"))
        basis, edge_facet = self._basis(seen, change)
        found.add(
            "run_output",
            production_id=ids.production_id(self.run_id, seen.dataset, version_id),
            run_id=self.run_id,
            dataset_id=seen.dataset,
            version_id=version_id,
            versioned=seen.version is not None,
            published_at=published_at,
            lifecycle=None if change is None else storable(change),
            basis=basis,
            edge_facet=edge_facet,
            live=self._is_live(seen, "output"),
            facets=facet_ids(seen.facets),
        )

    def _basis(self, seen: Seen, change: str | None) -> tuple[int, bytes | None]:
        if self.has_lineage:
            return 2, None
        if change in ("TRUNCATE", "DROP"):
            return WITHOUT_UPSTREAM, None
        facet = said_last(seen.facets, "d", "columnLineage")
        if facet is not None and reading.column_lineage(facet):
            return 1, seen.facets["d", "columnLineage"].facet_id
        return 0, None


def _observation(
    dataset: bytes, version: str | None, production: bytes | None, said: list[tuple[Stamp, Listing]]
) -> Seen:
    told = [Told(stamp, "d", listing.facets) for stamp, listing in said]
    told += [Told(stamp, listing.more_space, listing.more) for stamp, listing in said]
    return Seen(dataset, version, production, tuple(stamp for stamp, _ in said), registers(told))
