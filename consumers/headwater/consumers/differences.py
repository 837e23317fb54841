"""What a comparison answers: the causes first, then everything that differs.

Frozen facts, as those of `headwater.consumers.answers`; `as_json` gives their documented shape
(docs/reference/json.md). "Before" is the thing named first, "after" the one named second. How
they are found is the business of `headwater.consumers.comparing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from headwater.consumers.answers import Job, Recall
from headwater.consumers.shown import Shown

#: Of one thing with a value on either side.
State: TypeAlias = Literal["added", "removed", "changed"]
#: Of an asset. `unknown`: nothing that was recorded tells whether its content differs.
Content: TypeAlias = Literal["added", "removed", "changed", "unknown"]
#: What an asset's difference is: where one begins, what came of one, or not known to be one.
Role: TypeAlias = Literal["cause", "consequence", "unknown"]
Kind: TypeAlias = Literal[
    "state", "parameter", "code", "source", "content", "inputs", "step", "asset", "commit", "environment"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One named value that differs; None on the side where there is none."""

    name: str
    state: State
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What ran on either side; `before` and `after` are ids of runs."""

    job: Job | None
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """An asset as one side has it. `production_id` is None where no known run wrote it.

    `recalled`, `recalled_upstream`: as in `answers.Node`.
    """

    namespace: str
    name: str
    version: str | None
    production_id: str | None
    run_id: str | None
    published_at: datetime | None
    recalled: bool = False
    recalled_upstream: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Commits:
    """Which commits lie between: `range` is `a..b`; `url` shows them where the host's form is known."""

    repository_url: str | None
    before: str | None
    after: str | None
    before_dirty: bool | None
    after_dirty: bool | None
    range: str | None
    url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentChange:
    """Two environments. `told` is False when the packages of one were never told, only its digest."""

    before: str | None
    after: str | None
    told: bool
    interpreter: tuple[Change, ...]
    packages: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChange:
    """An asset that a step read on one side only, or in other versions."""

    namespace: str
    name: str
    state: State
    before: tuple[Copy, ...]
    after: tuple[Copy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """What differs in a step itself, whatever came to it from upstream.

    `state` is `added` or `removed` for a step of one side. `code` names the function, its source,
    the job, a query; `commits` stands for all that the step calls.
    """

    step: Step
    state: State
    parameters: tuple[Change, ...]
    code: tuple[Change, ...]
    commits: Commits | None
    environment: EnvironmentChange | None
    inputs: tuple[InputChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far a column has moved, by a named measure (docs/how-to/diff.md says how each is computed).

    `value` is None where the measure has none (`note` says why). `flagged`: it is beyond `threshold`.
    `before` and `after` are what it was computed from, as far as one number says it.
    """

    column: str
    measure: str
    value: float | None
    threshold: float | None
    flagged: bool
    before: float | None = None
    after: float | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricChange:
    """A measured value on both sides; of a step (its last point) or of an asset."""

    name: str
    of: str
    state: State
    before: float | None
    after: float | None
    absolute: float | None
    relative: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetChange:
    """An asset of the two cones whose content differs, or may.

    `columns` are added, removed, or of another type; `reordered`: the columns of both stand in
    another order. `statistics` are rows, bytes and files; `properties` what else was told of it.
    """

    namespace: str
    name: str
    state: Content
    role: Role
    before: Copy | None
    after: Copy | None
    columns: tuple[Change, ...] = ()
    reordered: bool = False
    statistics: tuple[Change, ...] = ()
    drift: tuple[Drift, ...] = ()
    properties: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Something that differs and that nothing upstream explains.

    - `state`: a step completed on one side and failed, was aborted or never ended on the other; `error`
      says why, where it told.
    - `parameter`, `code`: a step was called otherwise, or is another function.
    - `inputs`, `step`: a step reads something else, or is there on one side only.
    - `source`: something that was read from outside has another content.
    - `content`: the same step wrote another content from the same inputs; `suspects` names what
      may be the reason (the commit, the environment, inputs whose versions nobody told).
    - `asset`: an asset is there on one side only.
    - `commit`, `environment`: they differ, and may be a reason anywhere.

    One change in several steps is one cause. `path` leads through the assets to what was asked for;
    `reaches` says whether every asset on a path to it may differ: when it is False, the effect ended on
    the way; None where a step wrote nothing. `brought` counts what is on one side only because of it.
    """

    kind: Kind
    name: str
    steps: tuple[Step, ...]
    before: Any = None
    after: Any = None
    state: State = "changed"
    asset: AssetChange | None = None
    inputs: tuple[InputChange, ...] = ()
    commits: Commits | None = None
    environment: EnvironmentChange | None = None
    suspects: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    reaches: bool | None = None
    brought: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One side of the question: a production, or a run with everything beneath it.

    `recalled`: it is, or something that the run wrote; `recalled_upstream`: something that went into it
    (None: that could not be found out within bounds). `recalls` are those. `state` is that of the run, or
    of the one that wrote the production, as in `answers.Run`.
    """

    name: str
    namespace: str | None
    version: str | None
    production_id: str | None
    run_id: str | None
    at: datetime | None
    assets: int
    steps: int
    recalled: bool = False
    recalled_upstream: bool | None = False
    recalls: tuple[Recall, ...] = ()
    state: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Shown):
    """What differs between two things and everything they were made of.

    `equal` and `unknown` count assets: certainly the same, and nobody can tell. `truncated` is
    `limit` when a side has more than `limit` assets: then what is missing from it was not compared.
    """

    before: Asked
    after: Asked
    differs: bool
    causes: tuple[Cause, ...]
    steps: tuple[StepChange, ...]
    assets: tuple[AssetChange, ...]
    metrics: tuple[MetricChange, ...]
    equal: int
    unknown: int
    limit: int
    truncated: Literal["limit"] | None
