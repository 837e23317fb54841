"""Making a version again, and saying whether the same content came out.

`reproduce` takes a plan (`headwater.consumers.reproduction_plans`), runs its steps in a process of
their own (`headwater.consumers.remaking`), and compares digests. It checks out nothing and installs
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

from headwater.consumers.answers import Recall
from headwater.consumers.content_differences import Difference, differences
from headwater.consumers.recipes import RecipeOutput, RecipeStep, Subject
from headwater.consumers.recorded_places import stamp
from headwater.consumers.reproduction_plans import Plan, Reason
from headwater.consumers.reproductions import NAMESPACE
from headwater.consumers.shown import Shown
from headwater.emitter.emitter import Receipt, from_settings
from headwater.emitter.settings import Settings
from headwater.emitter.writer import now_us
from headwater.schemas.errors import Misconfigured, Rejected
from headwater.schemas.events import AssetRef, Job, ReproductionAttempted, Run
from headwater.schemas.ids import uuid7

Outcome: TypeAlias = Literal["identical", "different", "cannot"]
Policy: TypeAlias = Literal["strict", "compatible", "ignore"]

TIMEOUT_S = 600.0
# What ties a process to a run under way; steps that are run again belong to none.
_TIES = ("HEADWATER_PARENT", "HEADWATER_ROOT", "OPENLINEAGE_PARENT_ID", "OPENLINEAGE_ROOT_PARENT_ID")


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
    before = {place: stamp(place) for place in plan.places}
    report, ending = _run(plan, environment, timeout_s, python or sys.executable, paths, where)
    wrote = tuple(place for place, then in before.items() if stamp(place) != then)
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
