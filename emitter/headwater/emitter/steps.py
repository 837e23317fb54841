"""Runs of steps: begun by a decorated call, or explicitly by an orchestrator.

A step's job is named by its place: `churn.train` in the pipeline `churn`,
`churn.train.fold` when `train` calls `fold`, `train` alone outside of any. A step that
calls itself keeps its name at any depth, so names do not depend on the data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from headwater.emitter import address
from headwater.emitter.context import active_run, now_us
from headwater.emitter.emitter import current
from headwater.emitter.ending import EndingRun
from headwater.emitter.environment import environment, untold
from headwater.emitter.parameters import parameters as as_parameters
from headwater.emitter.pipelines import project_or_default, surroundings
from headwater.emitter.report import guarded, log
from headwater.emitter.runs import LiveRun
from headwater.schemas import events
from headwater.schemas.errors import Misconfigured
from headwater.schemas.events import AssetRef, Code, Job, Json, Run
from headwater.schemas.ids import uuid7

if TYPE_CHECKING:
    from headwater.emitter.assets import Source
    from headwater.emitter.tracking import Verification

# What an ending says of parents, in all. Beyond it outputs that stated none are left out.
MAX_PAIRS = 100_000
# An ending that could be larger is told in several events; the limit of one is 8 MiB.
PART_BYTES = 6 << 20
# So few references fit with the longest names; they are not weighed.
FEW = 200
# Parents of one output in one entry.
SLICE = 500

Ending: TypeAlias = events.StepCompleted | events.StepFailed
Entry: TypeAlias = tuple[AssetRef, tuple[AssetRef, ...]]


class StepRun(EndingRun):
    """One run of a step. A context manager, or explicitly `complete()` and `fail(error)`."""

    def __init__(
        self,
        run: Run,
        *,
        parent: Run | None,
        root: Run | None,
        name: str,
        owner: bool = True,
        verify_inputs: Verification | None = None,
        outer: LiveRun | None = None,
        definition: object = None,
    ) -> None:
        super().__init__(run, parent=parent, root=root, name=name, owner=owner, verify_inputs=verify_inputs)
        self.outer = outer
        self.definition = definition

    @property
    def scope(self) -> str:
        """The run at the top; steps outside of any share one scope, as their caller passes values on."""
        return self.root.id if self.root else ""

    def started(self, parameters: Mapping[str, Json], code: Code | None) -> None:
        """Tells that the step began."""
        here = environment()
        whole = untold(current().emitter_id)
        self._emit(
            events.StepStarted(
                time=now_us(),
                run=self.run,
                parent=self.parent,
                root=self.root,
                parameters=parameters,
                code=code,
                environment=here if whole else None,
                environment_digest=None if whole else here.digest,
            )
        )

    def _completed(self) -> events.Event:
        inputs, outputs = self._seen()
        return events.StepCompleted(
            time=now_us(),
            run=self.run,
            parent=self.parent,
            root=self.root,
            inputs=inputs,
            outputs=outputs,
            lineage=self._lineage(),
        )

    def _failed(self, failure: events.Failure) -> events.Event:
        inputs, outputs = self._seen()
        return events.StepFailed(
            time=now_us(),
            run=self.run,
            parent=self.parent,
            root=self.root,
            failure=failure,
            inputs=inputs,
            outputs=outputs,
            lineage=self._lineage(),
        )

    def _seen(self) -> tuple[tuple[AssetRef, ...], tuple[AssetRef, ...]]:
        if self._left_out:
            # Each of them was told when it happened.
            log.warning("completion_shortened", extra={"run": self.id, "left_out": self._left_out})
        inputs = tuple(ref for (ref,) in list(self._inputs.values()))
        return inputs, tuple(ref for ref, _ in list(self._outputs.values()))

    def _lineage(self) -> tuple[Entry, ...]:
        """Parents of every output, once any output stated its own: nothing else is inferred then."""
        if not self._parents:
            return ()
        read = tuple(ref for (ref,) in list(self._inputs.values()) if ref.production != self.id)
        outputs = list(self._outputs.items())
        stated = [(ref, self._parents[key]) for key, (ref, _) in outputs if key in self._parents]
        others = [(ref, read) for key, (ref, _) in outputs if key not in self._parents]
        fitting = MAX_PAIRS // max(len(read), 1)
        if len(others) > fitting:
            log.warning("lineage_shortened", extra={"run": self.id, "left_out": len(others) - fitting})
        return (*stated, *others[:fitting])

    def _in_parts(self, ending: events.Event) -> Iterable[events.Event]:
        return in_parts(ending) if isinstance(ending, Ending) else (ending,)


def in_parts(ending: Ending) -> Iterator[Ending]:
    """`ending`, or several of the same time that together say what it says, each small enough for the log.

    A reader adds up what the events of a run say, so it makes no difference to lineage.
    """
    if len(ending.inputs) + len(ending.outputs) + sum(1 + len(of) for _, of in ending.lineage) <= FEW:
        yield ending
        return
    part, room = _Part(), PART_BYTES
    for kind, weight, said in _said_by(ending):
        if weight > room:
            yield part.of(ending)
            part, room = _Part(), PART_BYTES
        getattr(part, kind).append(said)
        room -= weight
    yield part.of(ending)


@dataclass(slots=True)
class _Part:
    inputs: list[AssetRef] = field(default_factory=list)
    outputs: list[AssetRef] = field(default_factory=list)
    lineage: list[Entry] = field(default_factory=list)

    def of(self, ending: Ending) -> Ending:
        return replace(
            ending, inputs=tuple(self.inputs), outputs=tuple(self.outputs), lineage=tuple(self.lineage)
        )


def _said_by(ending: Ending) -> Iterator[tuple[str, int, Any]]:
    """What an ending says, piece by piece: its field, the bytes it takes at most, the piece."""
    for ref in ending.inputs:
        yield "inputs", _bytes_of(ref), ref
    for ref in ending.outputs:
        yield "outputs", _bytes_of(ref), ref
    for output, parents in ending.lineage:
        for at in range(0, max(len(parents), 1), SLICE):
            some = parents[at : at + SLICE]
            yield "lineage", _bytes_of(output) + sum(map(_bytes_of, some)), (output, some)


def _bytes_of(ref: AssetRef) -> int:
    # Names stand twice in an entry; JSON may take six bytes for one character.
    return 700 + 12 * (len(ref.namespace) + len(ref.name)) + 6 * len(ref.version or "")


def begin(
    name: str,
    *,
    outer: LiveRun | None = None,
    project: str | None = None,
    run_id: str | None = None,
    verify_inputs: Verification | None = None,
    definition: object = None,
) -> StepRun:
    """A step's run below `outer` (default: the active run, else the environment's), not yet told."""
    outer = outer or active_run()
    parent, root = (outer.run, outer.root or outer.run) if outer else surroundings()
    if parent is not None:
        job = _job_of_caller(outer, definition) or Job(
            namespace=parent.job.namespace, name=f"{parent.job.name}.{name}"
        )
    else:
        job = Job(namespace=project_or_default(project), name=name)
    identity = uuid7() if run_id is None else address.run_id_of(job.namespace, job.name, run_id)
    return StepRun(
        Run(id=identity, job=job),
        parent=parent,
        root=root,
        name=name,
        verify_inputs=verify_inputs,
        outer=outer,
        definition=definition,
    )


def start_step(
    name: str,
    *,
    pipeline: LiveRun | str | None = None,
    project: str | None = None,
    parameters: Mapping[str, object] | None = None,
    inputs: Iterable[Source] = (),
    run_id: str | None = None,
    code: Code | None = None,
    verify_inputs: Verification | None = None,
) -> StepRun:
    """Begins a step without a decorated function; end it with `complete()` or `fail(error)`, or use `with`.

        run = start_step("train", pipeline=churn, parameters={"depth": 8}, inputs=[features])
        model = run.produce(fitted, name="churn-model")
        run.complete()

    `pipeline` is a pipeline's run, an outer step's, or the address of either; by default the
    active run or the one that the environment names.
    """
    if not name:
        raise Misconfigured("a step has no name", remedy="write start_step with a name")
    outer = _joined(pipeline) if isinstance(pipeline, str) else pipeline
    run = begin(name, outer=outer, project=project, run_id=run_id, verify_inputs=verify_inputs)
    with guarded("step"):
        run.started(as_parameters(parameters or {}), code)
    for at, source in enumerate(inputs):
        run.consume(source, f"inputs.{at}")
    return run


def resume_step(run_address: str, *, parent: str | None = None, root: str | None = None) -> StepRun:
    """The step's run that another process began, by its address; `complete()` or `fail(error)` ends it.

    Leaving its `with` block does not: the step goes on elsewhere. `parent` and `root` are
    addresses too; by default they are the environment's.
    """
    run = address.read(run_address)
    above, top = surroundings()
    above = address.read(parent) if parent else above
    top = address.read(root) if root else top or above
    return StepRun(
        run,
        parent=None if above == run else above,
        root=None if top == run else top,
        name=run.job.name.rpartition(".")[2],
        owner=False,
        outer=active_run(),
    )


@contextlib.contextmanager
def own_step(
    name: str, *, parent: Run | None = None, root: Run | None = None, project: str | None = None
) -> Iterator[StepRun]:
    """A run for what happened outside of any step; without code, since none is known."""
    job = Job(
        namespace=parent.job.namespace if parent else project_or_default(project),
        name=f"{parent.job.name}.{name}" if parent else name,
    )
    run = StepRun(Run(id=uuid7(), job=job), parent=parent, root=root, name=name)
    with guarded("step"):
        run.started({}, None)
    with run:
        yield run


@contextlib.contextmanager
def recording(name: str) -> Iterator[LiveRun]:
    """The active run, or one of its own for an asset `name` that is made outside of any."""
    active = active_run()
    if active is not None:
        yield active
        return
    parent, root = surroundings()
    with own_step(f"{name}.create", parent=parent, root=root) as run:
        yield run


def _joined(text: str) -> LiveRun:
    run = address.read(text)
    _, root = surroundings()
    return LiveRun(run, parent=None, root=None if root == run else root, name=run.job.name)


def _job_of_caller(outer: LiveRun | None, definition: object) -> Job | None:
    """The job of the same step further out, when it calls itself."""
    while isinstance(outer, StepRun) and definition is not None:
        if outer.definition is definition:
            return outer.run.job
        outer = outer.outer
    return None
