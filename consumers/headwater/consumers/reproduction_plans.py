"""What it takes to make a version again: which steps run, and where each of their inputs comes from.

A plan is made from a recipe alone: nothing is run and nothing is opened. What stands in the way is told,
each thing with what to do about it, and then there is nothing to run. Running a plan, and saying whether
the same came out, is the business of `headwater.consumers.reproducing`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.consumers.recipes import CONTENT, Recipe, RecipeInput, RecipeStep, Subject, inexact
from headwater.consumers.recorded_places import local, recorded
from headwater.schemas.errors import Misconfigured, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a step cannot be run here. `step` is what people call it."""

    step: str | None
    what: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}" + (f" ({self.remedy})" if self.remedy else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step that is going to be run: `request` is what its process is asked."""

    step: RecipeStep
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be run, in order, to make the subject of `recipe`; nothing where `reasons` forbid it."""

    recipe: Recipe
    steps: tuple[PlannedStep, ...]
    reasons: tuple[Reason, ...]

    @property
    def subject(self) -> Subject:
        """What is made."""
        return self.recipe.subject

    @property
    def files(self) -> tuple[str, ...]:
        """The files that inputs would be read from."""
        places = (a["location"] for s in self.steps for a in s.request["arguments"] if a["from"] is None)
        return tuple(dict.fromkeys(places))

    @property
    def places(self) -> tuple[str, ...]:
        """The recorded places of what the steps made: looked at before and after."""
        return tuple(recorded(one.step for one in self.steps))

    @property
    def only_read(self) -> tuple[str, ...]:
        """Those of `places` that were last written before the recorded runs began: read, and not written."""
        steps = (one.step for one in self.steps)
        return tuple(place for place, may_write in recorded(steps).items() if not may_write)


def planned(
    recipe: Recipe,
    *,
    from_sources: bool = False,
    inputs: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Plan:
    """What it takes to make the recipe's subject again; runs and opens nothing.

    With `from_sources` inputs are made by their own steps where the recipe has those, and only
    the rest is read from files. `inputs` names files for inputs (by name), `parameters` gives the
    ones that were redacted or shortened (by name, or `step.name`).
    """
    return _Planner(recipe, from_sources, inputs or {}, parameters or {}).plan()


class _Planner:
    """Decides backwards from the subject which steps run, and where each of their inputs comes from."""

    def __init__(
        self, recipe: Recipe, from_sources: bool, inputs: Mapping[str, str], parameters: Mapping[str, Any]
    ) -> None:
        self._recipe = recipe
        self._from_sources = from_sources
        self._inputs = inputs
        self._parameters = parameters
        self._by_run = {step.run_id: step for step in recipe.steps}
        self._reasons: list[Reason] = []
        self._used: set[str] = set()

    def plan(self) -> Plan:
        subject = self._recipe.subject
        needed: dict[str, set[tuple[str, str, str]]] = {}
        if subject.run_id not in self._by_run or subject.run_id is None:
            missing = self._recipe.missing[0] if self._recipe.missing else None
            self._refuse(
                None,
                missing.what if missing else "the step",
                missing.reason if missing else "the recipe does not hold the subject's step",
                missing.remedy if missing else "write the recipe anew",
            )
        elif self._checkable(None, "the subject", subject.version):
            needed[subject.run_id] = {(subject.namespace, subject.name, subject.version or "")}
        steps = [
            self._planned(step, needed) for step in reversed(self._recipe.steps) if step.run_id in needed
        ]
        self._refuse_unused()
        steps.reverse()
        self._reasons.reverse()
        return Plan(recipe=self._recipe, steps=tuple(steps), reasons=tuple(dict.fromkeys(self._reasons)))

    def _planned(self, step: RecipeStep, needed: dict[str, set[tuple[str, str, str]]]) -> PlannedStep:
        if step.code.function is None:
            self._refuse(step, "the function", "the run names none", "only steps made with @step can be run")
        arguments = []
        for read in step.inputs:
            if read.argument is None:  # it came in while the step ran, and will again
                continue
            source = self._source(step, read)
            if source is not None and source["from"] is not None:
                key = (read.namespace, read.name, read.version or "")
                needed.setdefault(source["from"], set()).add(key)
            if source is not None:
                arguments.append(source)
        known = self._recipe.environments.get(step.environment or "")
        return PlannedStep(
            step=step,
            request={
                "run_id": step.run_id,
                "name": step.job.name.rpartition(".")[2] if step.job else "step",
                "project": step.job.namespace if step.job else "default",
                "code": {
                    "function": step.code.function,
                    "path": step.code.path,
                    "source_digest": step.code.source_digest,
                    "git_commit": step.code.git_commit,
                    "git_dirty": step.code.git_dirty,
                },
                "parameters": dict(self._settings(step)),
                "arguments": arguments,
                "needed": sorted(map(list, needed[step.run_id])),
                "environment": None
                if known is None
                else {
                    "python": known.python,
                    "platform": known.platform,
                    "packages": dict(known.packages),
                },
            },
        )

    def _settings(self, step: RecipeStep) -> Iterator[tuple[str, Any]]:
        short = step.job.name.rpartition(".")[2] if step.job else ""
        for name, value in step.parameters.items():
            given = next((key for key in (f"{short}.{name}", name) if key in self._parameters), None)
            reason = inexact(value)
            if given is not None:
                if reason is None:
                    raise Misconfigured(
                        f"the parameter {name} of {step.label} was recorded",
                        remedy="with another value it is another version that would be made",
                    )
                self._used.add(given)
                yield name, self._parameters[given]
            else:
                if reason is not None:
                    self._refuse(step, f"the parameter {name}", reason, f"give it: --parameter {name}=…")
                yield name, value

    def _source(self, step: RecipeStep, read: RecipeInput) -> dict[str, Any] | None:
        """Where an input comes from; None when from nowhere, and then why is noted."""
        request = {
            "place": read.argument,
            "namespace": read.namespace,
            "name": read.name,
            "version": read.version,
            "type": read.type,
            "library": read.library,
        }
        if not self._checkable(step, f"the input {read.name}", read.version):
            return None
        given = next(
            (key for key in (f"{read.namespace}/{read.name}", read.name) if key in self._inputs), None
        )
        if given is not None:
            self._used.add(given)
            return request | {"from": None, "location": os.path.abspath(self._inputs[given])}
        maker = self._by_run.get(read.run_id or "") if self._from_sources else None
        if maker is not None and maker.code.function is not None:
            return request | {"from": maker.run_id, "location": None}
        place = self._place(step, read)
        return None if place is None else request | {"from": None, "location": place}

    def _place(self, step: RecipeStep, read: RecipeInput) -> str | None:
        what, maker = f"the input {read.name}", read.run_id is not None and not self._from_sources
        again = "--from-sources runs the step that makes it" if maker else ""
        if read.type == "Model":
            self._refuse(step, what, "it is a Model, and loading it would execute code", again)
        elif read.location is None:
            origin = "" if read.run_id is not None else ", and no known run wrote it"
            self._refuse(step, what, f"it has no location{origin}", again or f"--input {read.name}=FILE")
        elif (place := local(read.location)) is None:
            self._refuse(
                step,
                what,
                f"{read.location} is not on this machine",
                f"fetch it, and name the copy: --input {read.name}=FILE",
            )
        else:
            return place
        return None

    def _checkable(self, step: RecipeStep | None, what: str, version: str | None) -> bool:
        if version is not None and CONTENT.match(version):
            return True
        reason = (
            "no version of it was recorded"
            if version is None
            else "its content could not be identified"
            if version.startswith("opaque1:")
            else f"its version {shown(version)} is no digest of its content"
        )
        self._refuse(step, what, reason, "record it as something whose content headwater can read")
        return False

    def _refuse(self, step: RecipeStep | None, what: str, reason: str, remedy: str) -> None:
        self._reasons.append(
            Reason(step=None if step is None else step.label, what=what, reason=reason, remedy=remedy)
        )

    def _refuse_unused(self) -> None:
        for name in (*self._inputs, *self._parameters):
            if name not in self._used:
                raise Misconfigured(
                    f"no step that would run has an input, or a missing parameter, called {shown(name)}",
                    remedy="`headwater recipe` tells what there is",
                )
