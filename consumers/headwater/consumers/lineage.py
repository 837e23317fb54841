"""The lineage projection: a batch of events becomes rows, in the caller's transaction.

Order-independent and idempotent: any permutation, duplication, split or concurrency of the
same events leaves the same rows. `apply` raises what the database raises; who retries, who
parks and who advances positions is `headwater.consumers.runner`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection

from headwater.consumers import tables, terms
from headwater.consumers.derive import Derived, derive
from headwater.consumers.facets import is_deleted, is_text
from headwater.consumers.fold import Folder, RunFold, run_id_of, time_of
from headwater.consumers.log import Record
from headwater.consumers.mentions import Mentions, Names
from headwater.consumers.readings import EMISSION, Readings
from headwater.consumers.writers import OF_ONE_RUN, Row, StoredFold, Writer, writer_for
from headwater.schemas import ids
from headwater.schemas.openlineage import Kind, OpenLineageEvent

#: Raised when the meaning of the tables changes: stores of another version are rebuilt, not mixed.
VERSION = 2

_REMEMBERED = 100_000

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a batch: the places in it of events that the store already had."""

    duplicates: tuple[int, ...] = ()


#: By table: the runs whose rows there are replaced, and the rows.
RowSets = dict[str, tuple[list[str], list[Row]]]
Batch = Sequence[tuple[Record, OpenLineageEvent]]


@dataclass(frozen=True, slots=True)
class Folded:
    """A batch joined with the folds as they were stored, ready to be written."""

    batch: Batch
    stored: dict[str, StoredFold]
    runs: list[str]
    changed: RowSets
    mentions: Mentions
    readings: Readings
    events: dict[str, Row]


@dataclass(slots=True)
class _Known:
    """Keys that the store surely has, so that they need not be sent again. Hints: emptied at will."""

    datasets: set[str]
    jobs: set[str]
    facets: set[str]
    edges: set[tuple[str, str, str]]
    columns: set[tuple[str, str, str, str, str, str]]
    links: set[tuple[str, str]]
    owners: set[tuple[str, int, str]]
    types: set[tuple[str, str]]

    @classmethod
    def nothing(cls) -> _Known:
        return cls(set(), set(), set(), set(), set(), set(), set(), set())

    def remember(self, mentions: Mentions) -> None:
        _add(self.datasets, mentions.datasets)
        _add(self.jobs, mentions.jobs)
        _add(self.facets, mentions.facets)
        _add(self.edges, mentions.edges)
        _add(self.columns, mentions.columns)
        _add(self.links, mentions.links)
        _add(self.owners, mentions.owners)
        _add(self.types, mentions.types)


def _add(known: set[_Key], new: Iterable[_Key]) -> None:
    if len(known) > _REMEMBERED:
        known.clear()
    known.update(new)


class LineageProjection:
    """Applies batches; keeps only hints between them. Not for use from several threads at once."""

    name = "lineage"
    version = VERSION

    def __init__(self) -> None:
        self._names = Names()
        self._known = _Known.nothing()
        self._readings = Readings()
        self._pending: Folded | None = None

    def apply(self, connection: Connection, batch: Batch) -> Applied:
        """Write what `batch` says into the store of `connection`, inside its transaction.

        The caller says `committed()` or `rolled_back()` afterwards.
        """
        return self.write(connection, self.fold(connection, batch))

    def fold(self, connection: Connection, batch: Batch) -> Folded:
        """Join `batch` with the folds that are stored; writes nothing, so it needs no write lock.

        Read in another transaction than the one that writes, it may be overtaken: `overtaken` tells.
        """
        folder = Folder(self._names, self._known.facets, self._readings)
        runs = [run_id_of(event) for _, event in batch]
        stored = writer_for(connection).load_folds(list(dict.fromkeys(runs)))
        folds: dict[str, RunFold] = {}
        rows: dict[str, Row] = {}
        for (record, event), run_id in zip(batch, runs, strict=True):
            fold = folds.get(run_id)
            if fold is None:
                held = stored.get(run_id)
                fold = RunFold.load(run_id, held[0]) if held else RunFold.empty(run_id, event)
                folds[run_id] = fold
            folder.add(fold, event)
            row = _event_row(record, event, run_id)
            earlier = rows.get(row[1])
            if earlier is None or _place(row) < _place(earlier):
                rows[row[1]] = row
        changed: RowSets = {name: ([], []) for name in OF_ONE_RUN}
        # In the order of the key: two workers that add the same new runs then wait, and do not deadlock.
        for run_id, fold in sorted(folds.items()):
            _collect(changed, run_id, fold.dump(), derive(fold), stored.get(run_id))
        return Folded(batch, stored, list(folds), changed, folder.mentions, folder.readings, rows)

    def overtaken(self, connection: Connection, folded: Folded) -> bool:
        """Whether another writer changed one of the folds since; asked in the transaction that writes."""
        return writer_for(connection).load_folds(folded.runs) != folded.stored

    def write(self, connection: Connection, folded: Folded) -> Applied:
        """Write what `fold` made, inside the transaction of `connection`.

        What other writers want too comes last, in one order for all: it is locked for the shortest time.
        """
        writer = writer_for(connection)
        _write_runs(writer, folded.changed)
        rows = folded.events
        old = _write_events(writer, list(rows.values()))
        self._write_mentions(writer, folded.mentions)
        self._pending = folded
        if not old and len(rows) == len(folded.batch):
            return Applied()
        copies = enumerate(folded.batch)
        return Applied(
            tuple(index for index, (record, event) in copies if _repeats(record, event, rows, old))
        )

    def committed(self) -> None:
        if self._pending is not None:
            self._known.remember(self._pending.mentions)
            self._readings.remember(self._pending.readings)
            self._pending = None

    def rolled_back(self) -> None:
        self._known = _Known.nothing()
        self._readings = Readings()
        self._pending = None

    def _write_mentions(self, writer: Writer, said: Mentions) -> None:
        known = self._known
        datasets = [(key, *names, key) for key, names in said.datasets.items() if key not in known.datasets]
        jobs = [(key, *names) for key, names in said.jobs.items() if key not in known.jobs]
        facets = [(key, *content) for key, content in said.facets.items() if key not in known.facets]
        bodies = [(key, name, terms.body_of(text)) for key, name, text in facets if name in terms.SEARCHED]
        for table, rows in (
            (tables.dataset, datasets),
            (tables.job, jobs),
            (tables.version, [(key, *content) for key, content in said.versions.items()]),
            (tables.facet, facets),
            (tables.edge_map, list(said.edges - known.edges)),
            (tables.column_map, [(_id("column", *key), *key) for key in said.columns - known.columns]),
            (tables.run_mention, list(said.named)),
            (tables.run_closure, list(said.closures)),
            (tables.metric_point, [(key, *point) for key, point in said.points.items()]),
            (
                tables.governance,
                [(_id("governance", *key), *key, *row) for key, row in said.governance.items()],
            ),
            (tables.facet_owner, [(a, int(kind), b) for a, kind, b in said.owners - known.owners]),
            (tables.facet_value, list(_values(bodies))),
            (tables.word, list(_words(datasets, jobs, bodies, said, said.types - known.types))),
        ):
            if rows:
                writer.insert_missing(table, rows)
        links = said.links - known.links
        if links:
            self._link(writer, links)
        _raise_registers(writer, said)

    def _link(self, writer: Writer, links: Iterable[tuple[str, str]]) -> None:
        """Join the alias groups of linked datasets; a group's id is its least member (R5)."""
        links = sorted(links)
        # The lock comes before the first link is written: a writer that waited for it must see
        # the groups that the other one made.
        groups = writer.groups(sorted({dataset for link in links for dataset in link}))
        writer.insert_missing(tables.dataset_link, links)
        leader: dict[str, str] = {}

        def find(group: str) -> str:
            while group in leader:
                group = leader[group]
            return group

        for a, b in links:
            first, second = sorted((find(groups[a]), find(groups[b])))
            if first != second:
                leader[second] = first
        if leader:
            writer.merge_groups([(find(old), old) for old in leader])


def _write_runs(writer: Writer, changed: RowSets) -> None:
    """Replace the row sets that changed; `run_fold` first: two writers of one new run meet there."""
    for name, (old, rows) in changed.items():
        table = tables.metadata.tables[name]
        if old:
            writer.delete(table, old)
        if rows:
            writer.insert(table, rows)


def _values(bodies: Iterable[Row]) -> Iterator[Row]:
    """What can be compared in facets that are new."""
    for facet, name, body in bodies:
        for value in terms.values(name, body):
            content = (int(value.kind), value.key, value.text, value.number)
            yield facet, _id("value", *(repr(part) for part in content)), *content


def _words(
    datasets: Iterable[Row],
    jobs: Iterable[Row],
    bodies: Iterable[Row],
    said: Mentions,
    types: Iterable[tuple[str, str]],
) -> Iterator[Row]:
    """The words of what is new, each once."""
    found: set[tuple[str, int, str]] = set()
    for kind, named in ((terms.Kind.NAME, datasets), (terms.Kind.JOB, jobs)):
        for subject, namespace, name, *_ in named:
            found.update((word, kind, subject) for word in terms.name_words(namespace, name))
    for dataset, told in types:
        found.update((word, terms.Kind.TYPE, dataset) for word in terms.words(told))
    for (_, kind_of, key), (dataset, _, value, *_) in said.governance.items():
        for word in terms.statement_words(kind_of, key, value):
            found.add((word, terms.Kind.STATEMENT, dataset))
    for facet, name, body in bodies:
        found.update((word, kind, facet) for word, kind in terms.facet_words(name, body))
    return ((word, int(kind), subject) for word, kind, subject in found)


def _raise_registers(writer: Writer, said: Mentions) -> None:
    """Registers over all runs come last: theirs are the rows that several writers want."""
    facets = [
        (_id("register", *key), *key, stamp, facet or None)
        for key, (stamp, facet) in said.dataset_facets.items()
    ]
    tags = [
        (_id("tags", *key), *key, stamp, time_of(stamp), producer, pairs)
        for key, (stamp, producer, pairs) in said.tag_registers.items()
    ]
    floors = [(_id("untags", *key), *key, stamp) for key, stamp in said.tag_floors.items()]
    for table, rows in (
        (tables.dataset_facet, facets),
        (tables.tag_register, tags),
        (tables.tag_floor, floors),
    ):
        if rows:
            writer.raise_registers(table, rows)


def _write_events(writer: Writer, rows: list[Row]) -> frozenset[str]:
    """Add the events that are new; the ids of those that the store already had."""
    if not rows or writer.insert_missing(tables.event, rows) == len(rows):
        return frozenset()
    old = writer.stored_elsewhere(rows)
    writer.keep_earliest([row for row in rows if row[1] in old])
    return old


def _repeats(record: Record, event: OpenLineageEvent, rows: dict[str, Row], old: frozenset[str]) -> bool:
    """Whether this copy of an event is not the one that was written."""
    event_id = event.event_id.hex()
    return event_id in old or rows[event_id][5:8] != (record.topic, record.partition, record.offset)


def _collect(
    changed: RowSets,
    run_id: str,
    doc: bytes,
    derived: Derived,
    stored: StoredFold | None,
) -> None:
    hashes = derived.hashes()
    # The tables of one hash are replaced together.
    row_sets: tuple[tuple[tuple[str, list[Row]], ...], ...] = (
        (("run", [derived.run]),),
        (("run_input", derived.inputs),),
        (("run_output", derived.outputs),),
        (("run_edge", derived.edges), ("run_lineage", derived.lineage)),
    )
    if stored is None:
        changed["run_fold"][1].append((run_id, doc, *hashes))
        for of_one_hash in row_sets:
            for name, rows in of_one_hash:
                changed[name][1].extend(rows)
        return
    if doc != stored[0] or hashes != stored[1:]:
        changed["run_fold"][0].append(run_id)
        changed["run_fold"][1].append((run_id, doc, *hashes))
    for of_one_hash, new, old in zip(row_sets, hashes, stored[1:], strict=True):
        for name, rows in of_one_hash if new != old else ():
            changed[name][0].append(run_id)
            changed[name][1].extend(rows)


def _event_row(record: Record, event: OpenLineageEvent, run_id: str) -> Row:
    where = (record.topic, record.partition, record.offset, record.appended_at)
    head = (event.time, event.event_id.hex(), run_id, int(event.kind), int(event.rank))
    return (*head, *where, *_emission(event))


def _id(kind: str, *parts: str) -> str:
    return ids.hash128(kind, *parts).hex()


def _place(row: Row) -> Row:
    """When and where an event row's copy was appended: the earliest copy is the one that is kept."""
    return row[8], *row[5:8]


_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FOREIGN = (None, None, None, None)


def _emission(event: OpenLineageEvent) -> tuple[Any, ...]:
    """(emitter, sequence, previous, final) of an event of ours, NULLs for a foreign one."""
    holder = event.document["dataset"] if event.kind is Kind.DATASET else event.document.get("run", {})
    facets = holder.get("facets")
    body = facets.get(EMISSION) if isinstance(facets, dict) else None
    if not isinstance(body, dict) or is_deleted(body):
        return _FOREIGN
    emitter, sequence, previous = body.get("emitterId"), body.get("sequence"), body.get("previous")
    if (
        not is_text(emitter)
        or not ids.is_uuid(emitter)
        or type(sequence) is not int
        or not 0 <= sequence < 1 << 63
    ):
        return _FOREIGN
    known = is_text(previous) and _SHA256.match(previous) is not None
    return emitter.replace("-", "").lower(), sequence, previous if known else None, body.get("final") is True
