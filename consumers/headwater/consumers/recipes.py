"""Recipes: everything that is known of how a version was made, and honestly what is not.

A recipe is a pure function of the store: the same question gives the same recipe. It names
the steps in the order in which they have to run, each with its code, parameters, inputs,
environment and the outputs it gave; without `whole` that is the one step that made the
subject, with it the steps of the whole cone. What it would take and nobody recorded stands
under `missing`, with the reason: a recipe is complete when nothing does.

How a recipe is read from the store is the business of `recipe_store`, how it is written to a file
and back that of `recipe_file`, running one that of `reproducing`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater.consumers.answers import Job, Recall
from headwater.consumers.shown import Shown
from headwater.schemas.errors import shown

FORMAT = "1-0-0"
MAX_STEPS = 10_000

#: A version that is a digest of content, so that equal versions mean equal content and others another.
CONTENT = re.compile(r"(?:table1|array1|json1|bytes1):[0-9a-f]{64}\Z")
_OPAQUE = "opaque1:"
_REDACTED = "[redacted]"
# What `headwater.emitter.parameters` does to a text that is too long.
_CUT_AT = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the recipe makes. `run_id` is the run that made it; None when none is known."""

    namespace: str
    name: str
    version: str | None
    type: str | None
    production_id: str | None
    run_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeCode:
    """Which code a step ran, as far as its events said; `path` is the file, from the repository's root."""

    function: str | None = None
    source_digest: str | None = None
    path: str | None = None
    repository_url: str | None = None
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeInput:
    """Something that a step read. `argument` is the parameter it came in by, with its place inside
    (`models.0`); None when it came in otherwise. `run_id` is the run that made it. `recalled`: this version
    must not be relied on; `recalled_upstream`: something that it was made of (None: not known)."""

    argument: str | None
    namespace: str
    name: str
    version: str | None
    type: str | None
    location: str | None
    format: str | None
    library: str | None
    inferred: bool
    role: str
    production_id: str | None
    run_id: str | None
    recalled: bool = False
    recalled_upstream: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOutput:
    """Something that a step wrote, and what is known of its content, to compare another run's with."""

    namespace: str
    name: str
    version: str | None
    type: str | None
    location: str | None
    columns: tuple[tuple[str, str | None], ...] = ()
    statistics: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    recalled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeStep:
    """One run to be repeated. `part_of` names the step of the recipe that called it, if one did."""

    run_id: str
    job: Job | None
    state: str
    part_of: str | None
    code: RecipeCode
    parameters: Mapping[str, Any]
    environment: str | None
    inputs: tuple[RecipeInput, ...]
    outputs: tuple[RecipeOutput, ...]

    @property
    def label(self) -> str:
        """What people call the step."""
        return f"{self.job.namespace}/{self.job.name}" if self.job else self.run_id


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeEnvironment:
    """Where steps ran; `packages` are empty where only the digest was recorded."""

    python: str | None
    platform: str | None
    packages: Mapping[str, str]

    @property
    def requirements(self) -> tuple[str, ...]:
        """As lines of a requirements file."""
        return tuple(f"{name}=={version}" for name, version in sorted(self.packages.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something it would take to make the subject again. `run_id` says of which step."""

    run_id: str | None
    what: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Shown):
    """How `subject` was made. `steps` stand in the order in which they have to run.

    When it was asked for, the subject was `recalled`, or something that it was made of, however far up
    (`recalled_upstream`; None: that could not be found out within bounds); `recalls` are those.
    """

    recipe: str
    subject: Subject
    whole: bool
    complete: bool
    recalled: bool = False
    recalled_upstream: bool | None = False
    recalls: tuple[Recall, ...] = ()
    missing: tuple[Missing, ...]
    steps: tuple[RecipeStep, ...]
    environments: Mapping[str, RecipeEnvironment]

    def step(self, run_id: str | None) -> RecipeStep | None:
        """The step that is the run `run_id`."""
        return next((step for step in self.steps if step.run_id == run_id), None)


# -- what is missing ------------------------------------------------------------------------


def missing(
    subject: Subject,
    steps: tuple[RecipeStep, ...],
    environments: Mapping[str, RecipeEnvironment],
    *,
    cut: bool,
    whole: bool,
) -> Iterator[Missing]:
    """What it would take to make `subject` again and is not in `steps`; `cut` when steps were left out."""
    if cut:
        yield Missing(
            run_id=None,
            what="the steps further up",
            reason=f"the cone has more than {MAX_STEPS:,} steps",
            remedy="ask for the recipes of its inputs",
        )
    present = {step.run_id for step in steps}
    for step in steps:
        yield from _missing_code(step)
        yield from _missing_parameters(step)
        yield from _missing_environment(step, environments)
        for read in step.inputs:
            yield from _missing_input(step, read, read.run_id in present, whole=whole)
        for wrote in step.outputs:
            if (wrote.namespace, wrote.name) == (subject.namespace, subject.name) or whole:
                yield from _missing_digest(step, wrote)


def _missing_code(step: RecipeStep) -> Iterator[Missing]:
    code = step.code
    if step.state != "COMPLETE":
        yield _of(step, "the end of the run", f"its state is {step.state}", "name a run that completed")
    if code.function is None:
        yield _of(step, "the function", "the run names none", "make it a function with @step")
    elif code.source_digest is None:
        yield _of(step, "the source digest", "the source could not be read", "define the step in a file")
    if code.git_commit is None:
        yield _of(
            step, "the git commit", "not recorded", "run from a repository, or set HEADWATER_GIT_COMMIT"
        )
    elif code.git_dirty is not False:
        why = (
            "the working tree had uncommitted changes"
            if code.git_dirty
            else "whether it was clean is unknown"
        )
        yield _of(step, "the code as it was", why, "commit before running")
    if code.git_commit is not None and code.repository_url is None:
        yield _of(step, "the repository's URL", "not recorded", "give the repository a remote")


def _missing_parameters(step: RecipeStep) -> Iterator[Missing]:
    for name, value in step.parameters.items():
        reason = inexact(value)
        if reason is not None:
            yield _of(step, f"the parameter {name}", reason, f"give it: --parameter {name}=…")


def inexact(value: Any) -> str | None:
    """Why a recorded parameter is not what was passed; None when it is."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            if _REDACTED in found:
                return "redacted"
            if len(found) == _CUT_AT + 1 and found.endswith("…"):
                return "shortened"
        elif isinstance(found, dict):
            if found.keys() == {"omitted", "items"}:
                return f"a {found['omitted']} of {found['items']} items, too long to be recorded"
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
    return None


def _missing_environment(
    step: RecipeStep, environments: Mapping[str, RecipeEnvironment]
) -> Iterator[Missing]:
    if step.environment is None:
        yield _of(step, "the environment", "not recorded", "emit with headwater")
    elif not environments[step.environment].packages:
        yield _of(
            step,
            "the packages",
            "only the environment's digest is known",
            "the event that told them is not in the log",
        )


def _missing_input(step: RecipeStep, read: RecipeInput, made: bool, *, whole: bool) -> Iterator[Missing]:
    what = f"the input {read.name}"
    if read.inferred and read.version is None:
        yield _of(step, f"the version of {what[4:]}", "the run named none", "name versions when reading")
    elif read.version is None or read.version.startswith(_OPAQUE):
        yield _of(step, f"the digest of {what[4:]}", "its content could not be identified", "")
    if read.inferred and read.production_id is not None:
        yield _of(step, what, "which production was read is inferred from times", "")
    if made or (read.location is not None and read.run_id is None) or (read.location and not whole):
        return
    if read.run_id is None:
        yield _of(step, what, "no location, and no known run wrote it", "record what makes it as a step")
    else:
        yield _of(step, what, "no location", "--whole tells the steps that make it")


def _missing_digest(step: RecipeStep, wrote: RecipeOutput) -> Iterator[Missing]:
    if wrote.version is None or wrote.version.startswith(_OPAQUE):
        reason = "its content could not be identified" if wrote.version else "the event named no version"
        yield _of(step, f"the digest of {wrote.name}", reason, "")
    elif not CONTENT.match(wrote.version):
        reason = f"its version {shown(wrote.version)} was stated, and is no digest"
        yield _of(step, f"the digest of {wrote.name}", reason, "let headwater work out the version")


def _of(step: RecipeStep, what: str, reason: str, remedy: str) -> Missing:
    return Missing(run_id=step.run_id, what=what, reason=reason, remedy=remedy)
