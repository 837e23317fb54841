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
other question. What cannot be judged is left out and counted: `Drift.left_out` says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from headwater.consumers import walk
from headwater.consumers.changed_inputs import ChangedInput, changed_inputs
from headwater.consumers.details import instant
from headwater.consumers.facet_bodies import FacetBodies
from headwater.consumers.naming import NamedRun, find
from headwater.consumers.shown import Shown
from headwater.consumers.tables import dataset, run, run_output
from headwater.consumers.unstable_steps import Comparison, UnstableStep

#: Findings of each kind in an answer.
DEFAULT_LIMIT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift(Shown):
    """All that was found. `more` says that there are findings beyond the limit."""

    since: datetime | None
    runs: int
    left_out: Mapping[str, int]
    steps: tuple[UnstableStep, ...]
    inputs: tuple[ChangedInput, ...]
    more: bool

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
    connection: Connection, name: str | None = None, *, since: int | None = None, limit: int = DEFAULT_LIMIT
) -> Drift:
    """What drifted, in the whole store or in what `name` was made of; `since` (µs) is inclusive.

    With `since` the findings are those to which a run of then or later added something.
    """
    scope = _Scope() if name is None else _cone(connection, name)
    facts = FacetBodies(connection)
    left_out: Counter[str] = Counter()
    steps = Comparison(connection, facts, left_out)
    unstable = sorted(steps.unstable(scope.jobs, since), key=_step_order)
    changed = sorted(changed_inputs(connection, facts, scope.datasets, since), key=_input_order)
    return Drift(
        since=instant(since),
        runs=steps.seen,
        left_out=dict(sorted(left_out.items())),
        steps=tuple(unstable[:limit]),
        inputs=tuple(changed[:limit]),
        more=len(unstable) > limit or len(changed) > limit,
    )


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


def _cone(connection: Connection, name: str) -> _Scope:
    """The jobs that made `name` and the assets that went into it, directly or not."""
    named = find(connection, name)
    if isinstance(named, NamedRun):
        ids = connection.scalars(
            select(run_output.c.production_id).where(run_output.c.run_id == named.run)
        ).all()
        starts: list[walk.Node] = [*walk.productions(connection, ids)]
        runs, datasets = {named.run}, set[bytes]()
    else:
        found = [] if named.production is None else [named.production]
        starts, runs, datasets = [*walk.productions(connection, found)], set(), set(named.datasets)
    nodes = walk.upstream(connection, starts).nodes.values()
    runs |= {node.run_id for node in nodes if isinstance(node, walk.Production)}
    datasets |= {node.dataset_id for node in nodes if not isinstance(node, walk.Reader)}
    groups = select(dataset.c.group_id).where(dataset.c.dataset_id.in_(datasets))
    members = select(dataset.c.dataset_id).where(dataset.c.group_id.in_(groups))
    jobs = select(run.c.job_id).where(run.c.run_id.in_(runs), run.c.job_id.is_not(None)).distinct()
    return _Scope(frozenset(connection.scalars(jobs)), frozenset(connection.scalars(members)))
