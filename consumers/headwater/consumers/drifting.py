"""Drift: the same step gave another content, or an input changed under an unchanged name.

Two kinds, both read from what was recorded; nothing is run:

- an *unstable step*: runs of one job with the same function source, parameters and input versions
  wrote different contents. Only versions that are digests of content count, so nothing that a
  producer counts up (a snapshot number) looks like drift. What else differs between the runs
  (packages, commit, uncommitted changes) stands beside it: it may be the reason.
- a *changed input*: what lies at one place under one name, and was read by somebody, became another
  version; or what no known run writes was read in another version than before.

The whole store is gone through in one pass by index order and in batches; of a run some eighty
bytes are kept while its job is looked at, so a million versions take no more memory than any
other question. A file that the same step found overwritten is one finding, the step's, which names the
place. What cannot be judged is left out and counted: `Drift.left_out` says why.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from headwater.consumers import walk
from headwater.consumers.answers import Recall
from headwater.consumers.changed_inputs import Change, ChangedInput, changed_inputs
from headwater.consumers.details import instant
from headwater.consumers.existence import existing
from headwater.consumers.facet_bodies import FacetBodies
from headwater.consumers.looking import Report, nobody_waits
from headwater.consumers.marks import CLEAN, Mark, Marks, of_several, together
from headwater.consumers.naming import NamedRun, find
from headwater.consumers.shown import Shown
from headwater.consumers.tables import dataset, run, run_output
from headwater.consumers.unstable_steps import Comparison, UnstableStep
from headwater.schemas.ids import dataset_id, version_id

#: Findings of each kind in an answer.
DEFAULT_LIMIT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift(Shown):
    """All that was found. `more` says that there are findings beyond the limit.

    `recalls` are those that the marks of the findings stand for, the newest first.
    """

    since: datetime | None
    runs: int
    left_out: Mapping[str, int]
    steps: tuple[UnstableStep, ...]
    inputs: tuple[ChangedInput, ...]
    more: bool
    recalls: tuple[Recall, ...] = ()
    as_of: datetime | None = None

    @property
    def found(self) -> bool:
        """Whether anything drifted."""
        return bool(self.steps or self.inputs)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is looked at: None stands for everything."""

    jobs: frozenset[bytes] | None = None
    datasets: frozenset[bytes] | None = None


def drift(
    connection: Connection,
    name: str | None = None,
    *,
    since: int | None = None,
    limit: int = DEFAULT_LIMIT,
    as_of: int | None = None,
    report: Report = nobody_waits,
) -> Drift:
    """What drifted, in the whole store or in what `name` was made of; `since` and `as_of` (µs) are inclusive.

    With `since` the findings are those to which a run of then or later added something; as of a time
    only what had been written, and the runs that were complete, by then count.
    """
    scope = _Scope() if name is None else _cone(connection, name, as_of)
    facts = FacetBodies(connection)
    left_out: Counter[str] = Counter()
    steps = Comparison(connection, facts, left_out, as_of, report)
    found = list(steps.unstable(scope.jobs, since))
    changes = changed_inputs(connection, facts, scope.datasets, since, as_of, report)
    changed, unstable = _told_once(changes, found)
    changed.sort(key=_input_order)
    unstable.sort(key=_step_order)
    marking = _Marking(connection, as_of)
    return Drift(
        since=instant(since),
        runs=steps.seen,
        left_out=dict(sorted(left_out.items())),
        steps=marking.steps(unstable[:limit]),
        inputs=marking.inputs(changed[:limit]),
        more=len(unstable) > limit or len(changed) > limit,
        recalls=together(marking.met),
        as_of=instant(as_of),
    )


class _Marking:
    """Marks the findings that are told; `met` are all marks that were given."""

    def __init__(self, connection: Connection, as_of: int | None) -> None:
        self._connection = connection
        self._marks = Marks(connection, as_of)
        self.met: list[Mark] = []

    def steps(self, found: Sequence[UnstableStep]) -> tuple[UnstableStep, ...]:
        if not self._marks.recalls:
            return tuple(found)
        by_run = self._written((_run(c.last_run_id), _dataset(s)) for s in found for c in s.contents)
        return tuple(
            replace(
                step,
                contents=tuple(
                    replace(one, **self._met(by_run.get((_run(one.last_run_id), _dataset(step)))).flags())
                    for one in step.contents
                ),
            )
            for step in found
        )

    def inputs(self, found: Sequence[ChangedInput]) -> tuple[ChangedInput, ...]:
        if not self._marks.recalls:
            return tuple(found)
        by_run = self._written((_run(c.run_id), _dataset(i)) for i in found if i.written for c in i.changes)
        return tuple(
            replace(changed, changes=tuple(self._change(changed, one, by_run) for one in changed.changes))
            for changed in found
        )

    def _change(
        self, changed: ChangedInput, one: Change, by_run: Mapping[tuple[bytes, bytes], Mark]
    ) -> Change:
        dataset = _dataset(changed)
        before, now = (self._marks.of_version(dataset, version_id(dataset, v)) for v in (one.before, one.now))
        now = by_run.get((_run(one.run_id), dataset), now)
        self.met += [before, now]
        return replace(one, **now.flags(), before_recalled=before.recalled)

    def _met(self, mark: Mark | None) -> Mark:
        self.met.append(mark or CLEAN)
        return mark or CLEAN

    def _written(self, wanted: Iterable[tuple[bytes, bytes]]) -> dict[tuple[bytes, bytes], Mark]:
        """By (run, dataset) the mark of what the run wrote of it."""
        pairs = set(wanted)
        o = run_output.c
        rows = self._connection.execute(
            select(o.production_id, o.run_id, o.dataset_id).where(o.run_id.in_({one for one, _ in pairs}))
        )
        written: dict[tuple[bytes, bytes], list[bytes]] = defaultdict(list)
        for production, *pair in rows:
            if tuple(pair) in pairs:
                written[pair[0], pair[1]].append(production)
        marks = self._marks.of_productions(id for ids in written.values() for id in ids)
        return {pair: of_several([marks[id] for id in ids]) for pair, ids in written.items()}


def _dataset(found: UnstableStep | ChangedInput) -> bytes:
    """The id of the dataset that a finding is about."""
    return dataset_id(found.namespace, found.name)


def _run(id: str) -> bytes:
    return bytes.fromhex(id.replace("-", ""))


def _told_once(
    changed: Iterable[ChangedInput], unstable: list[UnstableStep]
) -> tuple[list[ChangedInput], list[UnstableStep]]:
    """The changes that no unstable step tells already; the others are the step's (`overwritten`)."""
    of_asset: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, step in enumerate(unstable):
        of_asset[step.namespace, step.name].append(place)
    left = []
    for one in changed:
        versions = {version for change in one.changes for version in (change.before, change.now)}
        tellers = [
            place
            for place in of_asset.get((one.namespace, one.name), ())
            if one.written and versions <= {content.version for content in unstable[place].contents}
        ]
        if not tellers or one.location is None or one.count > len(one.changes):
            left.append(one)
            continue
        for place in tellers:
            step = unstable[place]
            unstable[place] = replace(step, overwritten=(*step.overwritten, one.location))
    return left, unstable


def _step_order(found: UnstableStep) -> tuple[Any, ...]:
    return (
        bool(found.suspects),
        found.job.namespace,
        found.job.name,
        found.namespace,
        found.name,
        found.inputs,
    )


def _input_order(found: ChangedInput) -> tuple[Any, ...]:
    return (found.namespace, found.name, found.location or "")


def _cone(connection: Connection, name: str, as_of: int | None) -> _Scope:
    """The jobs that made `name` and the assets that went into it, directly or not."""
    named = find(connection, name, as_of)
    if isinstance(named, NamedRun):
        ids = connection.scalars(
            select(run_output.c.production_id).where(run_output.c.run_id == named.run, existing(as_of))
        ).all()
        starts: list[walk.Node] = [*walk.productions(connection, ids, as_of)]
        runs, datasets = {named.run}, set[bytes]()
    else:
        found = [] if named.production is None else [named.production]
        starts, runs, datasets = [*walk.productions(connection, found, as_of)], set(), set(named.datasets)
    nodes = walk.upstream(connection, starts, as_of=as_of).nodes.values()
    runs |= {node.run_id for node in nodes if isinstance(node, walk.Production)}
    datasets |= {node.dataset_id for node in nodes if not isinstance(node, walk.Reader)}
    groups = select(dataset.c.group_id).where(dataset.c.dataset_id.in_(datasets))
    members = select(dataset.c.dataset_id).where(dataset.c.group_id.in_(groups))
    jobs = select(run.c.job_id).where(run.c.run_id.in_(runs), run.c.job_id.is_not(None)).distinct()
    return _Scope(frozenset(connection.scalars(jobs)), frozenset(connection.scalars(members)))
