"""The events that one question needs, as they were known at a time, out of a log of any length.

What was known at P is the fold of the events that were appended until P. A question about one
name needs few of them. The live store knows where in the log each of its events lies, so the
events of the runs that can matter are read back and folded into a scratch store, and the
question is asked there. Which runs can matter is found in rounds, as a walk goes: what the name
may mean, what wrote that, what those runs read by the events of then, what wrote that, …

The answer equals that of a replay of the whole log until P, because what the live store knows
only grows: its alias groups hold those of then, and `run_output`, `run_input` and `run_mention`
lead from a dataset to every run whose events ever said anything of it, whatever the rows of
these runs say now. Events that the live store has not consumed yet are read as well, all of them.
One exception: the start of an id may fit more of the ids of then than of today's; it is
understood as it is today.

Where this cannot be had, or would be no small part of the log, `gather` says so, and the whole
log is replayed instead (`headwater.consumers.knowing`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, and_, func, select, union

from headwater.consumers import books, faults, naming, positions, walk
from headwater.consumers.answers import Ambiguous, Unknown
from headwater.consumers.lineage import LineageProjection
from headwater.consumers.log import Cursor, Log, Partition, Record
from headwater.consumers.naming import NamedAsset, NamedRun
from headwater.consumers.reproductions import job_of
from headwater.consumers.statements import Statements
from headwater.consumers.store import Store
from headwater.consumers.tables import (
    dataset,
    event,
    governance,
    position,
    quarantine,
    run,
    run_input,
    run_mention,
    run_output,
    version,
)
from headwater.consumers.version import code_version
from headwater.schemas import ids
from headwater.schemas.errors import Corrupt, Unparseable
from headwater.schemas.openlineage import OpenLineageEvent, parse
from headwater.schemas.text import original

BATCH_RECORDS = 2_000
BATCH_BYTES = 16 << 20
#: Rounds before the live store is asked what the coming ones may need.
ROUNDS_BEFORE_AHEAD = 12
_CHUNK = 500

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """One question: what `name` was made of, what it went into, or (without direction) what it is.

    The rest as in `headwater.consumers.walk`.
    """

    name: str
    direction: walk.Direction | None = None
    depth: int | None = None
    as_of: int | None = None
    include_failed: bool = False


class _Whole(Exception):
    """This needs a replay of the whole log."""


def gather(
    live: Connection, source: Log, scratch: Store, about: About, *, until: int, share: float = 1 / 3
) -> bool:
    """Fold into the empty `scratch` what the answer to `about` takes of the events appended until `until`.

    `live` is a snapshot of a store that has consumed `source`. False, and a scratch store of no
    use, where the events cannot be had or are more than `share` of those that were consumed.
    """
    try:
        _Gathering(live, source, scratch, until, share).gather(about)
    except (_Whole, Corrupt):
        return False
    return True


class _Gathering:
    def __init__(self, live: Connection, source: Log, scratch: Store, until: int, share: float) -> None:
        self.live = live
        self.source = source
        self.scratch = scratch
        self.until = until
        self._partitions = source.partitions()
        self._records = _Shelf(source)
        self._projection = LineageProjection()
        self._room = self._allowed(share)
        self._lagging = False
        #: Runs whose events are in the scratch store, and of them those that the answer tells of.
        self._folded: set[bytes] = set()
        self._told: set[bytes] = set()
        #: Datasets all of whose runs are folded, and those of which at least all writers are.
        self._complete: set[bytes] = set()
        self._written: set[bytes] = set()

    def gather(self, about: About) -> None:
        books.admit(self.scratch, LineageProjection.name, LineageProjection.version, known_at=self.until)
        self._refuse_parked_by_other_code()
        self._take_what_is_unread()
        named = self._name(about)
        if named is None:
            return
        if isinstance(named, NamedRun) and about.direction is None:
            raise _Whole  # its children: a run may have had another parent then
        if isinstance(named, NamedAsset) and about.direction is None:
            self._fold_attempts(named.datasets)
        if about.direction == "down":
            self._go_down(named, about)
        else:
            self._go_up(self._runs_of(named), about, 0 if about.direction is None else about.depth)
        if about.direction is not None and self._has_recalls():
            self._go_up(set(self._told), about, None)  # what was made from something recalled, however far up
        self._fold_ancestors()

    # -- where it begins ----------------------------------------------------------------

    def _allowed(self, share: float) -> int:
        """How many events may be read back."""
        total = self.live.scalar(
            select(func.sum(position.c.applied)).where(position.c.projection == LineageProjection.name)
        )
        return int(int(total or 0) * share)

    def _refuse_parked_by_other_code(self) -> None:
        """A replay tries them again, and this code may accept them."""
        parked = select(quarantine.c.offset).where(
            quarantine.c.projection == LineageProjection.name,
            quarantine.c.accepted_at.is_(None),
            quarantine.c.code_version != code_version(),
        )
        if self.live.execute(parked.limit(1)).first() is not None:
            raise _Whole

    def _take_what_is_unread(self) -> None:
        """Fold the events behind the live store's positions; from now on both stores are asked."""
        consumed = positions.stored(self.live, LineageProjection.name)
        self.source.resume(consumed)
        for partition in self._partitions:
            cursor = consumed.get(partition, Cursor())
            while records := self.source.read(partition, cursor, records=BATCH_RECORDS, size=BATCH_BYTES):
                early = [record for record in records if record.appended_at <= self.until]
                if early:
                    self._spend(len(early))
                    self._apply(early)
                    self._lagging = True
                cursor = Cursor(records[-1].offset + 1, records[-1].next_byte)

    def _name(self, about: About) -> NamedAsset | NamedRun | None:
        """What was meant, by the events of then; None when asking will say that it is unclear."""
        candidates = self._both(lambda connection: [naming.candidates(connection, about.name)])
        datasets = {id for found in candidates for id in found.datasets}
        runs = {id for found in candidates for id in found.runs}
        if any(found.more for found in candidates):
            raise _Whole
        entirely = (
            about.direction != "up" or about.as_of is not None or "@" in about.name or len(datasets) > 1
        )
        self._fold(runs)
        self._complete_datasets(datasets, entirely=entirely)
        named = self._find(about)
        if not entirely and (named is None or (isinstance(named, NamedAsset) and named.production is None)):
            self._complete_datasets(datasets, entirely=True)
            named = self._find(about)
        return named

    def _find(self, about: About) -> NamedAsset | NamedRun | None:
        with self.scratch.connecting() as connection:
            try:
                return naming.find(connection, about.name, about.as_of)
            except Ambiguous:
                return None
            except Unknown:
                if any(self._both(lambda asked: [naming.may_be_an_id(asked, about.name)])):
                    raise _Whole from None  # of a production that is no more, or of a run after all
                return None

    def _runs_of(self, named: NamedAsset | NamedRun) -> set[bytes]:
        if isinstance(named, NamedRun):
            return {named.run}
        if named.production is None:
            return set()
        written = select(run_output.c.run_id).where(run_output.c.production_id == named.production)
        return self._ask_scratch(written)

    # -- rounds -------------------------------------------------------------------------

    def _go_up(self, runs: set[bytes], about: About, depth: int | None) -> None:
        """Complete what each round's inputs are bound to, then follow the bindings."""
        rounds = 0
        while runs and (depth is None or rounds <= depth):
            self._told |= runs
            self._complete_inputs(runs)
            with self.scratch.connecting() as connection:
                rows = Statements(connection, about.as_of, about.include_failed).inputs(runs)
            bound = [row for row in rows if row[6] is not None]
            rounds += 1
            if rounds % ROUNDS_BEFORE_AHEAD == 0 and depth is None:
                bound += self._ahead(walk.upstream, {row[6] for row in bound}, about)
            runs = {row[7] for row in bound} - self._told
        self._told |= runs

    def _go_down(self, named: NamedAsset | NamedRun, about: About) -> None:
        origins: set[bytes] = set()
        if isinstance(named, NamedRun):
            frontier = self._ask_scratch(
                select(run_output.c.production_id).where(run_output.c.run_id == named.run)
            )
            self._told.add(named.run)
        else:
            frontier = {named.production} if named.production is not None else set()
            origins = set(named.datasets) if named.production is None else set()
        rounds, seen = 0, set[bytes]()
        while (frontier or origins) and (about.depth is None or rounds <= about.depth):
            seen |= frontier
            self._complete_datasets(self._datasets_of(frontier) | origins, entirely=True)
            frontier, origins = self._read_and_wrote(frontier, origins, about) - seen, set()
            rounds += 1
            if rounds % ROUNDS_BEFORE_AHEAD == 0 and about.depth is None:
                frontier |= {row[6] for row in self._ahead(walk.downstream, frontier, about)} - seen
        self._fold_statements_on(self._datasets_of(frontier))

    def _read_and_wrote(self, frontier: set[bytes], origins: set[bytes], about: About) -> set[bytes]:
        """The productions of the runs that read those in `frontier`, or the origins."""
        with self.scratch.connecting() as connection:
            statements = Statements(connection, about.as_of, about.include_failed)
            rows = statements.readers(statements.productions(frontier)) + statements.origin_readers(origins)
            readers = {row[0] for row in rows}
            self._told |= readers | {row[0] for row in self._run_of_production(connection, frontier)}
            return {row[1] for row in statements.outputs(readers) if row[1] is not None}

    @staticmethod
    def _run_of_production(connection: Connection, productions: set[bytes]) -> list[Any]:
        query = select(run_output.c.run_id)
        return _in_chunks(
            connection, productions, lambda some: query.where(run_output.c.production_id.in_(some))
        )

    def _ahead(self, walked: Callable[..., walk.Walk], starts: set[bytes], about: About) -> list[Any]:
        """What the live store finds further on: much of it will be asked for, so it is folded at once.

        Rows as of `Statements.inputs`, as far as they are looked at here.
        """
        found = walked(
            self.live,
            walk.productions(self.live, starts, about.as_of),
            limit=self._room + len(starts) + 1,
            as_of=about.as_of,
        )
        nodes = [node for node in found.nodes.values() if isinstance(node, walk.Production)]
        self._fold({node.run_id for node in nodes})
        return [(None,) * 6 + (node.id, node.run_id) for node in nodes]

    def _complete_inputs(self, runs: set[bytes]) -> None:
        """Fold what it takes to bind the inputs of `runs`."""
        columns = (run_input.c.dataset_id, run_input.c.version_id, run_input.c.production_id)
        with self.scratch.connecting() as connection:
            rows = _in_chunks(
                connection, runs, lambda some: select(*columns).where(run_input.c.run_id.in_(some))
            )
        self._fold_statements_on({row.dataset_id for row in rows})
        named = {row.production_id for row in rows if row.production_id is not None}
        self._fold(self._runs_by(run_output.c.production_id, named))
        unnamed = [row for row in rows if row.production_id is None]
        alone, aliased = self._grouped({row.dataset_id for row in unnamed})
        self._complete_datasets(aliased, entirely=True)
        versions = {row.version_id for row in unnamed if row.dataset_id in alone} - {None}
        self._fold(self._runs_by(run_output.c.version_id, versions))
        self._complete_datasets(
            {row.dataset_id for row in unnamed if row.version_id is None} & alone, entirely=False
        )

    def _has_recalls(self) -> bool:
        """Whether anything was recalled by then; if so, all that was said of it is folded."""
        query = select(governance.c.dataset_id).where(governance.c.kind == "recall")
        recalled = {row[0] for row in self._both(lambda connection: connection.execute(query).all())}
        alone, aliased = self._grouped(recalled)
        self._fold_statements_on(alone)
        self._complete_datasets(aliased, entirely=True)
        return bool(self._ask_scratch(query.limit(1)))

    def _datasets_of(self, productions: set[bytes]) -> set[bytes]:
        query = select(run_output.c.dataset_id)
        with self.scratch.connecting() as connection:
            rows = _in_chunks(
                connection, productions, lambda some: query.where(run_output.c.production_id.in_(some))
            )
        return {row[0] for row in rows}

    def _fold_ancestors(self) -> None:
        """The runs above those that are told of: the root is found by walking up."""
        runs, query = self._told, select(run.c.parent_run_id).where(run.c.parent_run_id.is_not(None))
        while runs:
            self._fold(runs)
            with self.scratch.connecting() as connection:
                above = _in_chunks(connection, runs, lambda some: query.where(run.c.run_id.in_(some)))
            runs = {row[0] for row in above} - self._told
            self._told |= runs

    # -- which runs ---------------------------------------------------------------------

    def _complete_datasets(self, datasets: Collection[bytes], *, entirely: bool) -> None:
        """Fold every run that writes them; and `entirely`, or where there are aliases, every one at all.

        Only the events of readers may say which datasets are one.
        """
        alone, aliased = self._grouped(set(datasets) - self._complete)
        if entirely:
            aliased, alone = aliased | alone, set()
        alone -= self._written
        self._fold(self._runs(_writers, alone))
        self._fold(self._runs(_everyone, aliased))
        self._written |= alone
        self._complete |= aliased

    def _grouped(self, datasets: set[bytes]) -> tuple[set[bytes], set[bytes]]:
        """Those of `datasets` that have one name; and the others, with all their aliases."""
        aliases: set[bytes] = set()
        todo = datasets
        while todo:
            pairs = self._both(lambda connection, some=todo: _aliases(connection, some))  # type: ignore[misc]
            found = {id for pair in pairs for id in pair}
            todo = found - aliases - datasets
            aliases |= found
        return datasets - aliases, aliases

    def _fold_statements_on(self, datasets: set[bytes]) -> None:
        """What was said of them in events of their own: recalls."""
        query = select(dataset.c.namespace, dataset.c.name)
        names = self._both(
            lambda connection: _in_chunks(
                connection, datasets, lambda some: query.where(dataset.c.dataset_id.in_(some))
            )
        )
        self._fold(
            {ids.hash128("datasetevent", original(row.namespace), original(row.name)) for row in names}
        )

    def _fold_attempts(self, datasets: Collection[bytes]) -> None:
        """The attempts to make a version of them again: runs that neither read nor wrote them."""
        names = self.live.execute(
            select(dataset.c.namespace, dataset.c.name).where(dataset.c.dataset_id.in_(datasets))
        )
        jobs = [job_of(row.namespace, row.name) for row in names]
        self._fold(set(self.live.scalars(select(run.c.run_id).where(run.c.job_id.in_(jobs)))))

    def _runs_by(self, key: Any, values: set[bytes]) -> set[bytes]:
        """The runs that wrote what has one of `values` as `key`."""
        query = select(run_output.c.run_id).distinct()
        return self._runs(lambda some: query.where(key.in_(some)), values)

    def _runs(self, query: Callable[[Sequence[bytes]], Any], values: set[bytes]) -> set[bytes]:
        """The runs that `query` finds; `_Whole` where they are more than events may be read."""
        most = self._room + len(self._folded) + 1
        rows = self._both(
            lambda connection: _in_chunks(connection, values, lambda some: query(some).limit(most))
        )
        if len(rows) >= most:
            raise _Whole
        return {row[0] for row in rows}

    def _both(self, ask: Callable[[Connection], Iterable[Found]]) -> set[Found]:
        """What the live store answers, and the scratch store where it knows more."""
        found = set(ask(self.live))
        if self._lagging:
            with self.scratch.connecting() as connection:
                found.update(ask(connection))
        return found

    def _ask_scratch(self, query: Select[Any]) -> set[bytes]:
        with self.scratch.connecting() as connection:
            return set(connection.scalars(query))

    # -- folding ------------------------------------------------------------------------

    def _fold(self, runs: set[bytes]) -> None:
        """Read the events of `runs` that were known by then, and fold them."""
        new = runs - self._folded
        self._folded |= new
        columns = (event.c.topic, event.c.partition, event.c.offset, event.c.event_id)
        known = select(*columns).where(event.c.appended_at <= self.until)
        rows = _in_chunks(
            self.live, new, lambda some: known.where(event.c.run_id.in_(some)).limit(self._room + 1)
        )
        self._spend(len(rows))
        wanted: dict[Partition, dict[int, bytes]] = {}
        for topic, partition, offset, event_id in rows:
            wanted.setdefault(Partition(topic, partition), {})[offset] = bytes(event_id)
        if not wanted.keys() <= set(self._partitions):
            raise _Whole  # the log has lost some: a replay has none of theirs
        for partition, expected in sorted(wanted.items()):
            for records in self._records.fetch(partition, sorted(expected)):
                self._apply(records, expected)

    def _spend(self, events: int) -> None:
        self._room -= events
        if self._room < 0:
            raise _Whole

    def _apply(self, records: Sequence[Record], expected: dict[int, bytes] | None = None) -> None:
        batch: list[tuple[Record, OpenLineageEvent]] = []
        for record in records:
            try:
                parsed = parse(record.value)
            except Unparseable:
                if expected is None:
                    continue  # a replay parks it
                raise _Whole from None
            if expected is not None and parsed.event_id != expected[record.offset]:
                raise _Whole  # another log than the one that the store has read
            batch.append((record, parsed))
        try:
            with self.scratch.writing() as tx:
                self._projection.apply(tx, batch)
        except Exception as error:
            if faults.is_data_error(error):
                raise _Whole from error
            raise
        self._projection.committed()


class _Shelf:
    """Reads single records, by offset, from a log that is read from cursors."""

    def __init__(self, source: Log) -> None:
        self._source = source
        #: By partition: where reading can begin.
        self._marks: dict[Partition, list[Cursor]] = {}

    def fetch(self, partition: Partition, offsets: Sequence[int]) -> Iterator[list[Record]]:
        """The records at `offsets`, which ascend, in batches. `_Whole` when the log lacks one."""
        at = 0
        while at < len(offsets):
            records = self._read(partition, offsets[at])
            by_offset = {record.offset: record for record in records}
            last = records[-1].offset
            end = bisect_right(offsets, last, at)
            found = [by_offset[offset] for offset in offsets[at:end] if offset in by_offset]
            if len(found) < end - at:
                raise _Whole
            at = end
            if found:
                yield found

    def _read(self, partition: Partition, offset: int) -> list[Record]:
        """A batch that begins at `offset`, or, in a segment, before it and as near as is known."""
        marks = self._marks.setdefault(partition, [Cursor()])
        place = bisect_right(marks, offset, key=lambda mark: mark.offset) - 1
        cursor = marks[place]
        if len(marks) > 1 and marks[1].byte == 0:
            cursor = Cursor(offset)  # a carrier that seeks by offset
        records = self._source.read(partition, cursor, records=BATCH_RECORDS, size=BATCH_BYTES)
        if not records:
            raise _Whole
        if place == len(marks) - 1:
            marks.append(Cursor(records[-1].offset + 1, records[-1].next_byte))
        return records


def _in_chunks(
    connection: Connection, values: Iterable[bytes], query: Callable[[Sequence[bytes]], Any]
) -> list[Any]:
    """The rows of `query`, asked for some of `values` at a time."""
    ordered = sorted(values)
    rows: list[Any] = []
    for start in range(0, len(ordered), _CHUNK):
        rows += connection.execute(query(ordered[start : start + _CHUNK])).all()
    return rows


def _aliases(connection: Connection, datasets: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """(one of `datasets`, another name of it)."""
    other = dataset.alias("other")
    query = select(dataset.c.dataset_id, other.c.dataset_id).join(
        other, and_(other.c.group_id == dataset.c.group_id, other.c.dataset_id != dataset.c.dataset_id)
    )
    rows = _in_chunks(connection, datasets, lambda some: query.where(dataset.c.dataset_id.in_(some)))
    return [(row[0], row[1]) for row in rows]


def _writers(datasets: Sequence[bytes]) -> Any:
    """Every run that ever wrote one of `datasets`, or may have by what it names."""
    written = select(run_output.c.run_id).where(run_output.c.dataset_id.in_(datasets))
    return union(
        written.where(run_output.c.published_at.is_not(None)),
        written.where(run_output.c.published_at.is_(None)),
        select(run_mention.c.run_id).where(run_mention.c.dataset_id.in_(datasets)),
    )


def _everyone(datasets: Sequence[bytes]) -> Any:
    """Every run whose events say anything of one of `datasets`."""
    read = select(run_input.c.run_id)
    return union(
        *_writers(datasets).selects,
        read.where(run_input.c.dataset_id.in_(datasets), run_input.c.version_id.is_(None)),
        read.join(version, version.c.version_id == run_input.c.version_id).where(
            version.c.dataset_id.in_(datasets), run_input.c.production_id.is_(None)
        ),
    )
