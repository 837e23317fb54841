"""Making a version again, and saying whether the same content came out.

`reproduce` takes a recipe, runs its steps in a process of their own
(`headwater.consumers.remaking`), and compares digests. It checks out nothing and installs
nothing. What it takes and is not here is told, each thing with what to do about it; then no
code ran, or none after that point. `record` puts the outcome into the log as an event of a
job of its own, which publishes nothing: the asset's current version stays what it was.

What can be said about code that behaves badly: it runs with the caller's rights, in the
caller's folder, for at most the time that the caller gives it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from headwater.consumers.answers import Recall
from headwater.consumers.content_differences import Difference, differences
from headwater.consumers.recipes import (
    CONTENT,
    Recipe,
    RecipeInput,
    RecipeOutput,
    RecipeStep,
    Subject,
    inexact,
)
from headwater.consumers.reproductions import NAMESPACE
from headwater.consumers.shown import Shown
from headwater.emitter.emitter import Receipt, from_settings
from headwater.emitter.settings import Settings
from headwater.emitter.writer import now_us
from headwater.schemas.errors import Misconfigured, Rejected, shown
from headwater.schemas.events import AssetRef, Job, ReproductionAttempted, Run
from headwater.schemas.ids import uuid7

Outcome: TypeAlias = Literal["identical", "different", "cannot"]
Policy: TypeAlias = Literal["strict", "compatible", "ignore"]

TIMEOUT_S = 600.0
#: The namespace of the jobs under which attempts stand in the log; the job's name is the subject's.

# What ties a process to a run under way; steps that are run again belong to none.
_TIES = ("HEADWATER_PARENT", "HEADWATER_ROOT", "OPENLINEAGE_PARENT_ID", "OPENLINEAGE_ROOT_PARENT_ID")


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
class StepOutcome:
    """What became of one step: identical, different, refused, failed, or not run."""

    run_id: str
    step: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction(Shown):
    """What came of an attempt.

    `version` is what the subject's content is this time; None where it was not made. `step` is the
    first one whose content differs. `caveats` differ from the recorded run, or cannot be known not
    to, and did not keep the steps from running. `wrote` are recorded places that were written to.
    `recalled`, `recalled_upstream` and `recalls` are the recipe's: equal content of what must not be
    relied on must not be relied on either.
    """

    outcome: Outcome
    subject: Subject
    version: str | None
    step: str | None
    reasons: tuple[Reason, ...]
    differences: tuple[Difference, ...]
    caveats: tuple[str, ...]
    steps: tuple[StepOutcome, ...]
    environment: Policy
    wrote: tuple[str, ...]
    recalled: bool = False
    recalled_upstream: bool | None = False
    recalls: tuple[Recall, ...] = ()


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
        """Where the steps may write to: the recorded places of what they wrote."""
        written = (o.location for s in self.steps for o in s.step.outputs if o.location is not None)
        return tuple(dict.fromkeys(written))


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


def reproduce(
    plan: Plan,
    *,
    environment: Policy = "compatible",
    timeout_s: float = TIMEOUT_S,
    python: str | None = None,
    paths: Sequence[str] = (),
    folder: Path | None = None,
) -> Reproduction:
    """Run `plan` and compare. `python` is another interpreter, with headwater installed in it.

    `paths` go before its `sys.path`; `folder` (default: the current one) is where it works.
    """
    if plan.reasons:
        return _outcome(plan, "cannot", environment, reasons=plan.reasons)
    where = Path.cwd() if folder is None else folder
    before = {place: _stamp(place) for place in plan.places}
    report, ending = _run(plan, environment, timeout_s, python or sys.executable, paths, where)
    wrote = tuple(place for place, stamp in before.items() if _stamp(place) != stamp)
    return _judged(plan, environment, report, ending, wrote)


def record(attempt: Reproduction, settings: Settings, actor: str | None = None) -> tuple[int, Receipt]:
    """Put the outcome into the log of `settings`; returns its time (µs) and where it is.

    It is on the disk then. Raises `SpoolFull` or `Unwritable` when the log does not keep it.
    """
    subject = attempt.subject
    run = Run(id=uuid7(), job=Job(namespace=NAMESPACE, name=f"{subject.namespace}/{subject.name}"))
    emitter = from_settings(replace(settings, mode="spool+fsync", profile="regulated", adopt=False))
    fact = _fact(attempt, run, actor)
    try:
        receipt = emitter.emit(fact)
    finally:
        emitter.close()
    if receipt is None:
        raise Rejected("the outcome was put off: it cannot be recorded while a statement is being made")
    return fact.time, receipt


def _fact(attempt: Reproduction, run: Run, actor: str | None) -> ReproductionAttempted:
    subject = attempt.subject
    return ReproductionAttempted(
        time=now_us(),
        run=run,
        subject=AssetRef(
            namespace=subject.namespace,
            name=subject.name,
            version=subject.version,
            type=subject.type,
            production=subject.run_id,
        ),
        outcome=attempt.outcome,
        actor=actor,
        version=attempt.version,
        step=attempt.step,
        environment=attempt.environment,
        reasons=tuple(map(str, attempt.reasons)),
        differences=tuple(map(str, attempt.differences)),
        caveats=attempt.caveats,
    )


# -- planning -----------------------------------------------------------------------------


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
        elif (place := _local(read.location)) is None:
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


def _local(location: str) -> str | None:
    """The path of a place on this machine."""
    if "://" not in location:
        return location
    url = urlsplit(location)
    return unquote(url.path) if url.scheme == "file" and url.hostname in (None, "localhost") else None


# -- running ------------------------------------------------------------------------------


def _run(
    plan: Plan, environment: Policy, timeout_s: float, python: str, paths: Sequence[str], folder: Path
) -> tuple[dict[str, Any], str | None]:
    """What the process reported, and how it ended when it did not end well."""
    here = [os.path.abspath(path) for path in paths]
    request = {
        "policy": environment,
        "paths": here,
        "folders": list(dict.fromkeys([*here, str(folder), *_repository(folder)])),
        "steps": [step.request for step in plan.steps],
    }
    with tempfile.TemporaryDirectory(prefix="headwater-") as scratch:
        report = Path(scratch, "report.json")
        ending = _execute(
            [python, "-m", "headwater.consumers.remaking", str(report)], request, timeout_s, folder
        )
        said = json.loads(report.read_bytes()) if report.exists() else {"steps": []}
    return said, None if said.get("done") else ending


def _execute(command: list[str], request: Mapping[str, Any], timeout_s: float, folder: Path) -> str:
    """Run the command to its end or its deadline, with all processes that it started."""
    variables = {name: value for name, value in os.environ.items() if name not in _TIES}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            # Nothing of it may mix with the answer on standard output.
            stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
            cwd=folder,
            env=variables,
            start_new_session=True,
        )
    except OSError as error:
        raise Misconfigured(
            f"{command[0]} cannot be run: {error.strerror}", remedy="--python PATH"
        ) from error
    try:
        process.communicate(json.dumps(request).encode(), timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"it took longer than {timeout_s:g} s"
    finally:
        _end(process)
    return f"its process ended with code {process.returncode}"


def _has_file(stream: Any) -> bool:
    try:
        stream.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process group: the step may have started others."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _repository(folder: Path) -> Iterator[str]:
    """Recorded paths begin at the root of the repository."""
    yield from (str(above) for above in (folder, *folder.parents) if (above / ".git").exists())


def _stamp(location: str) -> tuple[int, int] | None:
    place = _local(location)
    try:
        found = os.stat(place) if place is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_size, found.st_mtime_ns)


# -- judging ------------------------------------------------------------------------------


def _judged(
    plan: Plan,
    environment: Policy,
    report: Mapping[str, Any],
    ending: str | None,
    wrote: tuple[str, ...],
) -> Reproduction:
    said = {found["run_id"]: found for found in report["steps"]}
    caveats = tuple(dict.fromkeys(text for found in report["steps"] for text in found["caveats"]))
    outcomes = tuple(_step_outcome(one.step, said.get(one.step.run_id)) for one in plan.steps)

    def outcome(word: Outcome, **more: Any) -> Reproduction:
        return _outcome(plan, word, environment, caveats=caveats, steps=outcomes, wrote=wrote, **more)

    for one in plan.steps:
        found = said.get(one.step.run_id)
        if found is None:
            why = Reason(step=one.step.label, what="the step", reason=ending or "it was not run", remedy="")
            return outcome("cannot", reasons=(why,))
        if found["refused"]:
            reasons = tuple(Reason(step=one.step.label, **reason) for reason in found["refused"])
            return outcome("cannot", reasons=reasons)
        if found["error"]:
            error = found["error"]
            what = f"{error['type']}: {error['message']}"
            why = Reason(step=one.step.label, what="the step", reason=f"it raised {what}", remedy="")
            return outcome("cannot", reasons=(why,))
        if found["differs"]:
            return outcome(
                "different",
                step=one.step.label,
                differences=tuple(_differences(one.step, found)),
                version=_version(plan.subject, found["outputs"]) if one is plan.steps[-1] else None,
            )
    return outcome("identical", version=plan.subject.version)


def _step_outcome(step: RecipeStep, found: Mapping[str, Any] | None) -> StepOutcome:
    word = "not run"
    if found is not None:
        word = (
            "refused"
            if found["refused"]
            else "failed"
            if found["error"]
            else "different"
            if found["differs"]
            else "identical"
        )
    return StepOutcome(run_id=step.run_id, step=step.label, outcome=word)


def _differences(step: RecipeStep, found: Mapping[str, Any]) -> Iterator[Difference]:
    """Of each output that others need, and is not what it was, where it differs."""
    for namespace, name, version in found["differs"]:
        recorded = _output(step.outputs, namespace, name, version)
        made = [out for out in found["outputs"] if (out["namespace"], out["name"]) == (namespace, name)]
        yield from differences(name, recorded, made)


def _output(outputs: Iterable[RecipeOutput], namespace: str, name: str, version: str) -> RecipeOutput | None:
    key = (namespace, name, version)
    return next((out for out in outputs if (out.namespace, out.name, out.version) == key), None)


def _version(subject: Subject, outputs: Iterable[Mapping[str, Any]]) -> str | None:
    made = [o["version"] for o in outputs if (o["namespace"], o["name"]) == (subject.namespace, subject.name)]
    return made[-1] if made else None


def _outcome(
    plan: Plan,
    outcome: Outcome,
    environment: Policy,
    *,
    version: str | None = None,
    step: str | None = None,
    reasons: tuple[Reason, ...] = (),
    differences: tuple[Difference, ...] = (),
    caveats: tuple[str, ...] = (),
    steps: tuple[StepOutcome, ...] = (),
    wrote: tuple[str, ...] = (),
) -> Reproduction:
    return Reproduction(
        outcome=outcome,
        subject=plan.subject,
        version=version,
        step=step,
        reasons=reasons,
        differences=differences,
        caveats=caveats,
        steps=steps or tuple(_step_outcome(one.step, None) for one in plan.steps),
        environment=environment,
        wrote=wrote,
        recalled=plan.recipe.recalled,
        recalled_upstream=plan.recipe.recalled_upstream,
        recalls=plan.recipe.recalls,
    )
