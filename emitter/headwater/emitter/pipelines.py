"""Pipelines: the run that steps belong to, in this process and in others.

A pipeline begun here is owned here and ends with its block. One that is joined, by
`run_id` or because the environment names it, is not begun again and goes on after the
block; an orchestrator's last task ends it by calling `complete()` or `fail(error)`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Self, TypeVar

from headwater.emitter import address
from headwater.emitter.code import program_code
from headwater.emitter.context import active_run, now_us, settings
from headwater.emitter.emitter import current
from headwater.emitter.ending import EndingRun
from headwater.emitter.environment import environment, untold
from headwater.emitter.parameters import parameters as as_parameters
from headwater.emitter.report import guarded
from headwater.schemas import events
from headwater.schemas.errors import Misconfigured
from headwater.schemas.events import Job, Run
from headwater.schemas.ids import uuid7

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_PROJECT = "default"


class PipelineRun(EndingRun):
    """One run of a pipeline. A context manager, or explicitly `start()` and `complete()`."""

    def __init__(
        self, run: Run, *, parent: Run | None, root: Run | None, owner: bool, parameters: Mapping[str, object]
    ) -> None:
        super().__init__(run, parent=parent, root=root, name=run.job.name, owner=owner)
        self._parameters = parameters
        self._started = not owner

    @property
    def attached(self) -> bool:
        """Whether another process owns this run."""
        return not self._owner

    def start(self) -> Self:
        """Tells that the pipeline began; once, and not for a run that is joined."""
        if not self._started:
            self._started = True
            code, here = None, None
            with guarded("code"):
                code = program_code()
            with guarded("environment"):
                here = environment()
                untold(current().emitter_id)
            with guarded("pipeline"):
                self._emit(
                    events.PipelineStarted(
                        time=now_us(),
                        run=self.run,
                        parent=self.parent,
                        root=self.root,
                        parameters=as_parameters(self._parameters),
                        code=code,
                        environment=here,
                    )
                )
        return self

    def __enter__(self) -> Self:
        self.start()
        return super().__enter__()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """As a decorator: each call of `function` is a run of its own, named and parametrised as this one."""
        again = functools.partial(_resolved, self.run.job.name, self.project, self._parameters)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                with again():
                    return await function(*args, **kwargs)

            return awaited  # type: ignore[return-value]

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with again():
                return function(*args, **kwargs)

        return called

    def _completed(self) -> events.Event:
        return events.PipelineCompleted(time=now_us(), run=self.run, parent=self.parent, root=self.root)

    def _failed(self, failure: events.Failure) -> events.Event:
        return events.PipelineFailed(
            time=now_us(), run=self.run, parent=self.parent, root=self.root, failure=failure
        )


def pipeline(
    name: str,
    *,
    project: str | None = None,
    parameters: Mapping[str, object] | None = None,
    run_id: str | None = None,
    owner: bool | None = None,
) -> PipelineRun:
    """The pipeline `name` of `project` (default: the active run's, else the settings').

        with pipeline("churn", project="crm", parameters={"depth": 8}):
            train(features(load("customers.csv")))

    `run_id` joins a run that another process owns; a text that is no UUID stands for the run id
    computed from it, so an orchestrator's own id will do. Without it, the run that
    `HEADWATER_PARENT` names is joined when it is one of this very pipeline, and is the parent
    otherwise. `owner=True` begins and ends the run of that id here.
    """
    if not name:
        raise Misconfigured("a pipeline has no name", remedy='write pipeline("its name")')
    return _resolved(name, project, parameters or {}, run_id, owner)


def start_pipeline(
    name: str,
    *,
    project: str | None = None,
    parameters: Mapping[str, object] | None = None,
    run_id: str | None = None,
) -> PipelineRun:
    """Begins a pipeline that this process need not see the end of.

    For an orchestrator's first task; the others join with `pipeline(name, run_id=…)`, and the
    last one calls `complete()` or `fail(error)` on what that returns.
    """
    return pipeline(name, project=project, parameters=parameters, run_id=run_id, owner=True).start()


def project_or_default(stated: str | None) -> str:
    """The stated project, else the active run's, else the settings'."""
    if stated:
        return stated
    outer = active_run()
    if outer is not None:
        return outer.project
    with guarded("settings"):
        return settings().project
    return DEFAULT_PROJECT


def surroundings() -> tuple[Run | None, Run | None]:
    """Parent and root of a new run: the active run and its root, else what the environment names."""
    outer = active_run()
    if outer is not None:
        return outer.run, outer.root or outer.run
    with guarded("environment"):
        found = address.ambient()
        return (found.parent, found.root) if found else (None, None)
    return None, None


def _resolved(
    name: str,
    project: str | None,
    parameters: Mapping[str, Any],
    run_id: str | None = None,
    owner: bool | None = None,
) -> PipelineRun:
    parent, root = surroundings()
    if active_run() is None and project is None and parent is not None and parent.job.name == name:
        project = parent.job.namespace
    job = Job(namespace=project_or_default(project), name=name)
    if run_id is not None:
        joined = Run(id=address.run_id_of(job.namespace, name, run_id), job=job)
        own = bool(owner)
        if parent is not None and parent.id == joined.id:
            parent, root = None, None if root is None or root.id == joined.id else root
    elif active_run() is None and parent is not None and parent.job == job and not owner:
        joined, own = parent, False
        parent, root = None, None if root == joined else root
    else:
        joined, own = Run(id=uuid7(), job=job), True
    return PipelineRun(joined, parent=parent, root=root, owner=own, parameters=parameters)
