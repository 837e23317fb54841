"""A comparison as an answer: what was found, put into the facts of `headwater.consumers.differences`.

One change in several steps becomes one cause, each cause gets its way to what was asked for, and
everything is put into a fixed order. Nothing here asks a database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from headwater.consumers import changes
from headwater.consumers.answers import Job
from headwater.consumers.causes import (
    DIFFERS,
    Beginning,
    Paths,
    Reading,
    StepPair,
    Verdict,
    explain,
    step_of,
)
from headwater.consumers.cones import Cone, Execution, Item, Matched
from headwater.consumers.details import Facets, instant, moment
from headwater.consumers.differences import (
    Asked,
    AssetChange,
    Cause,
    Change,
    Copy,
    Difference,
    InputChange,
    Kind,
    MetricChange,
    Step,
    StepChange,
)
from headwater.consumers.marks import CLEAN, of_several
from headwater.consumers.measures import drift
from headwater.consumers.naming import id_text

#: Causes are told in this order; what may be a reason anywhere comes last.
_KINDS: tuple[Kind, ...] = (
    "state",
    "parameter",
    "code",
    "source",
    "content",
    "inputs",
    "step",
    "asset",
    "commit",
    "environment",
)


class Sides(NamedTuple):
    """The facets of both sides, where they differ in anything that is compared; else nothing."""

    before: Facets
    after: Facets


NOTHING = Sides({}, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both cones, and all that was read of what differs: facets by step and by pair, the rest by run."""

    matched: Matched
    verdicts: Sequence[Verdict]
    of_runs: Mapping[StepPair, Sides]
    of_assets: Mapping[int, Sides]
    environments: Mapping[str, Facets]
    points: Mapping[bytes, Mapping[str, float | None]]
    states: Mapping[bytes, str]
    errors: Mapping[bytes, str]


def _steps_of(cone: Cone) -> int:
    """How many steps ran: not the pipelines, which wrote nothing themselves and are above others."""
    wrote = {item.run_id for item in cone.items.values()}
    above = {run.parent_job for run in cone.runs.values()}
    return sum(id in wrote or run.job not in above for id, run in cone.runs.items())


def _rank(kind: Kind) -> int:
    """How a run ended is told above everything else, and what differs everywhere below it."""
    return 0 if kind == "state" else 2 if kind in ("commit", "environment") else 1


def tell(compared: Compared, limit: int) -> Difference:
    """The answer."""
    return _Telling(compared).difference(limit)


class _Telling:
    def __init__(self, compared: Compared) -> None:
        self._compared = compared
        self._matched = compared.matched
        self._pairs = compared.matched.pairs
        self._verdicts = compared.verdicts
        self._steps = {step: self._step_change(step) for step in compared.matched.steps}
        own = [step for step, change in self._steps.items() if change.parameters or change.code]
        self._explained = explain(compared.matched, compared.verdicts, own)
        self._paths = Paths(compared.matched, compared.verdicts)
        self._written: dict[StepPair, list[int]] = defaultdict(list)
        for number, pair in enumerate(self._pairs):
            self._written[step_of(pair)].append(number)
        self._read = {
            beginning.step: tuple(self._input_changes(beginning))
            for beginning in self._explained.beginnings
            if beginning.kind == "inputs"
        }
        self._assets = {number: self._asset_change(number) for number in self._listed()}

    def difference(self, limit: int) -> Difference:
        causes, metrics = self._causes(), tuple(self._metrics())
        a, b = self._matched.a, self._matched.b
        changed = any(asset.state != "unknown" for asset in self._assets.values())
        return Difference(
            before=self._asked(a),
            after=self._asked(b),
            differs=bool(causes or metrics or changed),
            causes=causes,
            steps=tuple(self._differing_steps()),
            assets=tuple(self._assets.values()),
            metrics=metrics,
            equal=self._verdicts.count("equal"),
            unknown=self._verdicts.count("unknown"),
            limit=limit,
            truncated="limit" if a.truncated or b.truncated else None,
        )

    # -- names

    def _name_of(self, item: Item) -> tuple[str, str]:
        return self._matched.names[item.dataset_id] if item.dataset_id is not None else ("", "")

    def _name(self, number: int) -> tuple[str, str]:
        """Namespace and name of a pair, as the later side calls it."""
        return self._name_of(self._pairs[number].items[-1])

    def _copy(self, item: Item) -> Copy:
        namespace, name = self._name_of(item)
        return Copy(
            namespace=namespace,
            name=name,
            version=item.version,
            production_id=None if item.run_id is None else id_text(item.id),
            run_id=None if item.run_id is None else id_text(item.run_id),
            published_at=instant(item.at),
            **self._matched.marks.get(item.id, CLEAN).flags(),
        )

    def _asked(self, cone: Cone) -> Asked:
        assets = sum(item.is_asset for item in cone.items.values())
        mark = of_several([self._matched.marks.get(id, CLEAN) for id in cone.starts])
        if cone.run is not None:
            ran = cone.runs.get(cone.run)
            return Asked(
                name=short_name(ran) or id_text(cone.run),
                namespace=None if ran is None or ran.job is None else ran.job[0],
                version=None,
                production_id=None,
                run_id=id_text(cone.run),
                at=None if ran is None else moment(ran.first_at),
                assets=assets,
                steps=_steps_of(cone),
                state=self._compared.states.get(cone.run),
                **mark.fields(),
            )
        item = cone.items[cone.starts[0]]
        copy = self._copy(item)
        return Asked(
            name=copy.name,
            namespace=copy.namespace,
            version=copy.version,
            production_id=copy.production_id,
            run_id=copy.run_id,
            at=copy.published_at,
            assets=assets,
            steps=_steps_of(cone),
            state=None if item.run_id is None else self._compared.states.get(item.run_id),
            **mark.fields(),
        )

    # -- steps

    def _executions(self, step: StepPair) -> tuple[Execution | None, Execution | None]:
        one, other = step
        return (
            None if one is None else self._matched.a.runs.get(one),
            None if other is None else self._matched.b.runs.get(other),
        )

    def _step(self, step: StepPair) -> Step:
        one, other = self._executions(step)
        ran = other or one
        return Step(
            job=None if ran is None or ran.job is None else Job(namespace=ran.job[0], name=ran.job[1]),
            name=short_name(ran),
            before=None if step[0] is None else id_text(step[0]),
            after=None if step[1] is None else id_text(step[1]),
        )

    def _step_change(self, step: StepPair) -> StepChange:
        alike = StepChange(
            step=self._step(step),
            state="added" if step[0] is None else "removed" if step[1] is None else "changed",
            parameters=(),
            code=tuple(self._jobs(step)),
            commits=None,
            environment=None,
            inputs=(),
        )
        if step not in self._compared.of_runs:
            return alike
        before, after = self._compared.of_runs[step]
        return replace(
            alike,
            parameters=tuple(changes.changed(changes.parameters(before), changes.parameters(after))),
            code=(*alike.code, *changes.code(before, after)),
            commits=changes.commits(before, after),
            environment=changes.environment(before, after, self._compared.environments),
        )

    def _jobs(self, step: StepPair) -> Iterator[Change]:
        """A change of the job itself, where two jobs wrote what corresponds."""
        one, other = self._executions(step)
        if one is not None and other is not None and one.job != other.job:
            yield from changes.changed({"job": "/".join(one.job or ())}, {"job": "/".join(other.job or ())})

    def _differing_steps(self) -> Iterator[StepChange]:
        for step, change in sorted(self._steps.items(), key=lambda one: (one[1].step.name, _key(one[0]))):
            read = self._read.get(step, ())
            if change.state != "changed" or any(
                (change.parameters, change.code, change.commits, change.environment, read)
            ):
                yield replace(change, inputs=read)

    def _input_changes(self, beginning: Beginning) -> Iterator[InputChange]:
        """What a step read on one side only, asset by asset."""
        by_group: dict[bytes, list[Reading]] = defaultdict(list)
        for reading in beginning.readings:
            by_group[reading.group].append(reading)
        yield from sorted(
            (self._input_change(readings) for readings in by_group.values()),
            key=lambda change: (change.name, change.namespace),
        )

    def _input_change(self, readings: Sequence[Reading]) -> InputChange:
        before = {number for reading in readings for number in reading.before}
        after = {number for reading in readings for number in reading.after}
        old = [item for number in sorted(before) if (item := self._pairs[number].a) is not None]
        new = [item for number in sorted(after) if (item := self._pairs[number].b) is not None]
        namespace, name = self._name_of((new or old)[0])
        return InputChange(
            namespace=namespace,
            name=name,
            state="added" if not old else "removed" if not new else "changed",
            before=tuple(map(self._copy, old)),
            after=tuple(map(self._copy, new)),
        )

    # -- assets

    def _listed(self) -> list[int]:
        """The assets that differ or may, from the farthest upstream on."""
        found = [n for n, verdict in enumerate(self._verdicts) if verdict in DIFFERS or verdict == "unknown"]
        assets = [number for number in found if self._pairs[number].is_asset]
        return sorted(assets, key=lambda n: (-self._paths.distance(n), self._name(n), n))

    def _asset_change(self, number: int) -> AssetChange:
        pair, verdict = self._pairs[number], self._verdicts[number]
        namespace, name = self._name(number)
        differs: Literal["cause", "consequence"] = (
            "cause" if number in self._explained.begun else "consequence"
        )
        change = AssetChange(
            namespace=namespace,
            name=name,
            state=verdict,  # type: ignore[arg-type] # only what may differ is listed
            role="unknown" if verdict == "unknown" else differs,
            before=None if pair.a is None else self._copy(pair.a),
            after=None if pair.b is None else self._copy(pair.b),
        )
        if number not in self._compared.of_assets:
            return change
        before, after = self._compared.of_assets[number]
        columns, reordered = changes.columns(before, after)
        return replace(
            change,
            columns=columns,
            reordered=reordered,
            statistics=changes.sizes(before, after),
            drift=tuple(drift(before, after)),
            properties=changes.properties(before, after),
        )

    # -- metrics

    def _metrics(self) -> Iterator[MetricChange]:
        """Assets' values first, the nearest to what was asked for first; then the last points of steps."""
        found = self._compared.of_assets
        for number in sorted(found, key=lambda n: (self._paths.distance(n), self._name(n), n)):
            before, after = (changes.metric_values(facets) for facets in found[number])
            yield from changes.metrics(self._name(number)[1], before, after)
        points = self._compared.points
        steps = [step for step in self._steps if step[0] in points or step[1] in points]
        for step in sorted(steps, key=lambda one: (self._steps[one].step.name, _key(one))):
            one, other = (points.get(run_id, {}) if run_id is not None else {} for run_id in step)
            yield from changes.metrics(self._steps[step].step.name, one, other)

    # -- causes

    def _causes(self) -> tuple[Cause, ...]:
        """All of them: those that reach what was asked for first, then by kind and name."""
        found = [*self._ends(), *self._beginnings(), *self._suspects()]
        found.sort(key=lambda c: (_rank(c.kind), c.reaches is False, _KINDS.index(c.kind), c.name))
        return tuple(found)

    def _ends(self) -> Iterator[Cause]:
        """Steps that ended otherwise; not the pipeline above one, which ended so because of it."""
        states, errors = self._compared.states, self._compared.errors
        ended = {
            step: [states.get(id) if id is not None else None for id in step]
            for step in self._steps
            if step[0] != step[1]
        }
        other = [step for step, (one, two) in ended.items() if one and two and one != two]
        runs = [run for step in other for run in self._executions(step) if run is not None]
        above = {run.parent_job for run in runs} - {None}
        for step in other:
            if not any(run.job in above for run in self._executions(step) if run is not None):
                one, two = step
                error = errors.get(two or b"") or errors.get(one or b"")
                yield replace(
                    self._located("state", self._step(step).name, [step], self._written.get(step, ())),
                    before=ended[step][0],
                    after=ended[step][1],
                    error=error,
                )

    def _beginnings(self) -> Iterator[Cause]:
        own: dict[tuple[Any, ...], list[Beginning]] = defaultdict(list)
        told: dict[tuple[Any, ...], tuple[Kind, Change]] = {}
        for beginning in self._explained.beginnings:
            if beginning.kind != "own":
                yield self._cause(beginning)
                continue
            for kind, change in self._own_changes(beginning.step):
                key = (kind, change.name, change.state, repr(change.before), repr(change.after))
                own[key].append(beginning)
                told[key] = (kind, change)
        for key, beginnings in own.items():
            kind, change = told[key]
            steps = [beginning.step for beginning in beginnings]
            yield replace(
                self._located(kind, change.name, steps, [n for one in beginnings for n in one.at]),
                before=change.before,
                after=change.after,
                state=change.state,
            )

    def _own_changes(self, step: StepPair) -> Iterator[tuple[Kind, Change]]:
        """A step's parameters, each for itself; of its code the one thing that tells most."""
        change = self._steps[step]
        yield from (("parameter", parameter) for parameter in change.parameters)
        code = {one.name: one for one in change.code}
        if code:
            yield "code", next(code[name] for name in ("job", "function", "query", "source") if name in code)

    def _located(self, kind: Kind, name: str, steps: Sequence[StepPair], at: Sequence[int]) -> Cause:
        """A cause in `steps` that begins in the pairs `at`, with the longest way that it goes."""
        assets = [number for number in at if self._pairs[number].is_asset]
        reaching = [number for number in assets if self._paths.reaches(number)]
        first = min(reaching or assets, key=lambda n: (-self._paths.distance(n), n), default=None)
        return Cause(
            kind=kind,
            name=name,
            steps=tuple(self._step(step) for step in sorted(set(steps), key=self._flow)),
            path=() if first is None else tuple(self._name(n)[1] for n in self._paths.path(first)),
            reaches=bool(reaching) if assets else None,
        )

    def _flow(self, step: StepPair) -> tuple[int, bytes]:
        """Steps far upstream first; a pipeline, which wrote nothing itself, before its steps."""
        written = [self._paths.distance(n) for n in self._written.get(step, ()) if self._pairs[n].is_asset]
        return (-max(written, default=2**31), _key(step)[1])

    def _cause(self, beginning: Beginning) -> Cause:
        """A cause that is no change of a parameter or of code."""
        kind: Kind = beginning.kind if beginning.kind != "own" else "code"
        is_run = beginning.step in self._steps
        located = self._located(kind, "", [beginning.step] if is_run else [], beginning.at)
        brought = sum(self._pairs[number].is_asset for number in beginning.brought)
        if kind == "inputs":
            name = self._step(beginning.step).name
            return replace(located, name=name, inputs=self._read[beginning.step], brought=brought)
        first = beginning.at[0]
        if kind == "step":
            state = self._steps[beginning.step].state
            return replace(located, name=self._step(beginning.step).name, state=state, brought=brought)
        asset = self._assets[first]
        return replace(
            located,
            name=asset.name,
            state=asset.state if asset.state in ("added", "removed") else "changed",
            asset=asset,
            before=None if asset.before is None else asset.before.version,
            after=None if asset.after is None else asset.after.version,
            suspects=tuple(self._suspected(beginning)) if kind in ("source", "content") else (),
            brought=brought,
        )

    def _suspected(self, beginning: Beginning) -> Iterator[str]:
        """What may be the reason of an asset's other content, as far as anything was recorded."""
        change = self._steps.get(beginning.step)
        if change is not None and change.commits is not None:
            yield "commit"
        elif self._is_dirty(beginning.step):
            yield "uncommitted changes"
        if change is not None and change.environment is not None:
            yield "environment"
        if any(self._verdicts[source] == "unknown" for source in self._pairs[beginning.at[0]].sources):
            yield "inputs without versions"
        if beginning.circular:
            yield "a circle"

    def _is_dirty(self, step: StepPair) -> bool:
        return all(changes.is_dirty(facets) for facets in self._compared.of_runs.get(step, NOTHING))

    def _suspects(self) -> Iterator[Cause]:
        """Commits and environments, each once for all its steps."""
        commits: dict[Any, list[StepPair]] = defaultdict(list)
        environments: dict[Any, list[StepPair]] = defaultdict(list)
        for step, change in self._steps.items():
            if change.commits is not None:
                commits[change.commits].append(step)
            if change.environment is not None:
                environments[_environment_key(change)].append(step)
        for found, steps in commits.items():
            cause = self._located("commit", found.repository_url or "", steps, ())
            yield replace(cause, before=found.before, after=found.after, commits=found)
        for steps in environments.values():
            environment = self._steps[steps[0]].environment
            cause = self._located("environment", "", steps, ())
            if environment is not None:
                yield replace(
                    cause, before=environment.before, after=environment.after, environment=environment
                )


def short_name(ran: Execution | None) -> str:
    """`churn.train` under `churn` is the step `train`."""
    if ran is None or ran.job is None:
        return ""
    return ran.job[1] if ran.parent_job is None else ran.job[1].removeprefix(f"{ran.parent_job[1]}.")


def _key(step: StepPair) -> tuple[bytes, bytes]:
    return (step[0] or b"", step[1] or b"")


def _environment_key(change: StepChange) -> tuple[str | None, str | None, str]:
    found = change.environment
    return ("", "", "") if found is None else (found.before, found.after, repr(found.interpreter))
