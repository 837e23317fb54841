"""The facts that headwater records: frozen, named in the past tense, told the time.

Nothing here reads a clock, a file or the environment, and nothing renders: how a
fact looks as an OpenLineage event is the business of `headwater.schemas.rendering`.

Times are whole microseconds since 1970-01-01 UTC. A version is text of the form
`{canonical form}:{sha256 hex}` (see `headwater.schemas.canonical`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
Properties: TypeAlias = Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What runs: a pipeline (`crm`, `churn`) or a step of it (`crm`, `churn.train`)."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a job; `id` is a UUID in canonical text."""

    id: str
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """Where an event stands in the chain of the process that emitted it.

    `sequence` counts that emitter's events from 0 without a gap; `previous` is the
    event_id (sha256 hex) of the one before, None for the first. `final` says that this
    emitter closed in good order and emits nothing after.
    """

    emitter_id: str
    sequence: int
    previous: str | None = None
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Which code ran. `function` is `module:qualname`, `source_digest` the sha256 hex of its source."""

    function: str | None = None
    source_digest: str | None = None
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool | None = None
    repository_url: str | None = None
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where it ran. `packages` maps distributions to versions; `digest` is the json1 version of the rest."""

    digest: str
    python: str
    platform: str
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run failed. `type` is the exception's qualified name; `traceback` is redacted text."""

    type: str
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a schema, as the standard `schema` facet describes it."""

    name: str
    type: str | None = None
    description: str | None = None
    fields: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Size of a whole asset: rows, bytes, files."""

    row_count: int | None = None
    size: int | None = None
    file_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """Another name of the same dataset; `type` is TABLE or LOCATION (the `symlinks` facet)."""

    namespace: str
    name: str
    type: str = "TABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetRef:
    """A version of an asset, and the run that produced the copy meant here, when known."""

    namespace: str
    name: str
    version: str | None = None
    type: str | None = None
    production: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSource:
    """A column of a dataset, from which a column of another was made."""

    namespace: str
    name: str
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """What is known of one version of an asset when it is created.

    `type` is the asset's type (Dataset, Model, Metrics, Artifact, …). `parents` is None
    when nothing was said (the run's inputs are its upstream) and a tuple when it was
    (an empty one: no tracked upstream). `columns_from` maps a column to those that it was made from,
    where that was said. `column_metrics` maps a column to the numbers of
    the standard `dataQualityMetrics` facet. `details` maps a facet name of our own
    (`headwater_model`) to its fields.
    """

    namespace: str
    name: str
    version: str
    type: str
    parents: tuple[AssetRef, ...] | None = None
    previous_version: str | None = None
    location: str | None = None
    format: str | None = None
    columns: tuple[Column, ...] = ()
    columns_from: Mapping[str, tuple[ColumnSource, ...]] = field(default_factory=dict)
    statistics: Statistics | None = None
    column_metrics: Mapping[str, Properties] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Properties = field(default_factory=dict)
    owner: str | None = None
    description: str | None = None
    symlinks: tuple[Identifier, ...] = ()
    details: Mapping[str, Properties] = field(default_factory=dict)
    extraction_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFact:
    """What every fact about a run states: when, of which run, under which parent."""

    time: int
    run: Run
    parent: Run | None = None
    root: Run | None = None
    emission: Emission | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStarted(RunFact):
    """A pipeline began."""

    parameters: Properties = field(default_factory=dict)
    code: Code | None = None
    environment: Environment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCompleted(RunFact):
    """A pipeline ended well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFailed(RunFact):
    """A pipeline ended with an exception."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted(RunFact):
    """A step began. `environment` is told in whole once a process; the digest alone refers to it."""

    parameters: Properties = field(default_factory=dict)
    code: Code | None = None
    environment: Environment | None = None
    environment_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCompleted(RunFact):
    """A step ended well; it names all it read and wrote again, for readers of COMPLETE alone.

    `lineage` maps each output to its parents once any output of the run stated its own.
    """

    inputs: tuple[AssetRef, ...] = ()
    outputs: tuple[AssetRef, ...] = ()
    lineage: tuple[tuple[AssetRef, tuple[AssetRef, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed(RunFact):
    """A step ended with an exception; what it had read and written by then is named, `lineage` as above."""

    failure: Failure
    inputs: tuple[AssetRef, ...] = ()
    outputs: tuple[AssetRef, ...] = ()
    lineage: tuple[tuple[AssetRef, tuple[AssetRef, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAborted(RunFact):
    """A run ended without saying so: the process died, and `adopted_from` (its emitter id) tells which."""

    adopted_from: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetConsumed(RunFact):
    """A run read an asset; `argument` is the parameter it came in by."""

    asset: AssetRef
    argument: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetCreated(RunFact):
    """A run wrote an asset. Never edited, only superseded."""

    asset: Asset


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """One value of one metric; `step` counts the training's own steps."""

    key: str
    value: float
    step: int
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsLogged(RunFact):
    """A run measured something; a batch of points."""

    points: tuple[MetricPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClosed(RunFact):
    """This emitter says no more about this run; `events` of it were emitted, up to `last_sequence`.

    This event itself is not counted; its own place is in `emission`.
    """

    emitter_id: str
    events: int
    last_sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionAttempted(RunFact):
    """A version was made again from its recipe, in a run of its own that publishes nothing.

    `outcome` is identical, different or cannot; `version` is what came out, `step` the first step
    whose content differs, `environment` how strictly packages had to match, `actor` who tried.
    """

    subject: AssetRef
    outcome: str
    environment: str
    actor: str | None = None
    version: str | None = None
    step: str | None = None
    reasons: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetFact:
    """What every fact about an asset outside a run states; without a version it is about all of them."""

    time: int
    asset: AssetRef
    emission: Emission | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetTagged(AssetFact):
    """Tags were set; None removes one."""

    tags: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetAliased(AssetFact):
    """An alias (`production`) now points at this version; `removed` takes it away."""

    alias: str
    removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetRecalled(AssetFact):
    """This version must not be relied on; `lifted` withdraws that."""

    reason: str
    lifted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetErased(AssetFact):
    """The bytes of this version are gone from `location`; its history stays."""

    reason: str
    location: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetDescribed(AssetFact):
    """What the asset is, in words (the `documentation` facet); it replaces what was said before."""

    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who answers for an asset: `name` as `team:data` or `user:ada`, `role` as MAINTAINER."""

    name: str
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetOwned(AssetFact):
    """Who answers for the asset (the `ownership` facet): these, and nobody named before."""

    owners: tuple[Owner, ...]


RunEvent: TypeAlias = (
    PipelineStarted
    | PipelineCompleted
    | PipelineFailed
    | StepStarted
    | StepCompleted
    | StepFailed
    | RunAborted
    | AssetConsumed
    | AssetCreated
    | MetricsLogged
    | RunClosed
    | ReproductionAttempted
)
AssetEvent: TypeAlias = AssetTagged | AssetAliased | AssetRecalled | AssetErased | AssetDescribed | AssetOwned
Event: TypeAlias = RunEvent | AssetEvent
