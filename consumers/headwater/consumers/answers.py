"""What an answer looks like: frozen facts, ready to be read by a program or drawn for a person.

Ids are text (UUIDs in canonical form), times are aware datetimes in UTC, and names are what
the events said. `as_json` gives the documented shape of every one (docs/reference/json.md).
Nothing here asks a database or draws; see `headwater.consumers.asking` and `drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from headwater.consumers.shown import Shown, Tabular
from headwater.schemas.errors import HeadwaterError

Direction: TypeAlias = Literal["up", "down"]
Truncated: TypeAlias = Literal["depth", "limit"]
Kind: TypeAlias = Literal["production", "origin", "reader"]


class Unknown(HeadwaterError):
    """Nothing in the store is called that; `name` is what was looked up, where a name was."""

    def __init__(self, message: str, *, remedy: str = "", name: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.name = name


class Ambiguous(HeadwaterError):
    """Several things are called that; `candidates` are texts that name each one alone.

    `described` is the same for a person, who may need more than a text to choose.
    """

    def __init__(
        self, message: str, candidates: tuple[str, ...], described: tuple[str, ...] | None = None
    ) -> None:
        super().__init__(message, remedy="say which: " + ", ".join(described or candidates))
        self.candidates = candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What ran."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Which code ran, as far as the events said."""

    function: str | None = None
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool | None = None
    source_digest: str | None = None
    repository_url: str | None = None
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Shown):
    """One execution. `state` is START, RUNNING, COMPLETE, FAIL, ABORT or OTHER.

    Times are None when no event said them. `id` is what the store calls it; `external_id` is
    the producer's own text where that is no UUID.
    """

    id: str
    external_id: str | None
    job: Job | None
    state: str
    started_at: datetime | None
    ended_at: datetime | None
    first_at: datetime
    last_at: datetime
    streaming: bool
    parent_run_id: str | None
    parent_job: Job | None
    root_run_id: str | None
    code: Code | None = None

    @property
    def duration_s(self) -> float | None:
        """From start to end; None where one is not known."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """A curator says that a version must not be relied on, and nobody has lifted that.

    `whole`: all versions of the asset are meant, and `version` is None. It is also None for what a run
    (`run_id`) wrote without naming a version.
    """

    namespace: str
    name: str
    version: str | None
    run_id: str | None
    whole: bool
    reason: str | None
    actor: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun(Run):
    """A line of the listing of runs.

    `recalled`: something that it wrote is recalled; `recalled_upstream`: something that it read is, or
    was made from such a thing (None: that could not be found out within bounds). `recalls` are those.
    """

    recalled: bool = False
    recalled_upstream: bool | None = False
    recalls: tuple[Recall, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(Shown):
    """One node of a lineage.

    A `production` is one run's writing of one version; an `origin` is something read that no
    known run wrote (`note` says why: unknown, dropped, unseen); a `reader` is a run that read
    and wrote nothing of it. `summary` is what is worth knowing at a glance; `more` says that
    the lineage goes on here beyond the depth or the number of nodes asked for. `recalled`: this
    version must not be relied on; `recalled_upstream`: something that it was made of, however far up
    and shown or not, must not (None: that could not be found out within bounds).
    """

    id: str
    kind: Kind
    namespace: str | None
    name: str | None
    version: str | None
    type: str | None
    summary: tuple[str, ...]
    location: str | None
    published_at: datetime | None
    lifecycle: str | None
    recalled: bool
    depth: int
    more: bool
    run: Run | None
    note: str | None = None
    recalled_upstream: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """`target` was made from `source` (ids of nodes).

    `inferred`: which production was read is our conclusion, no event named it. `ambiguous`: it
    may as well have been another, published about then. `possible`: the run of `source` failed, and
    may or may not have written it by the time of reading. `role` is how the input came to be
    known: listed, lineage, rename or alter.
    """

    source: str
    target: str
    inferred: bool
    ambiguous: bool = False
    possible: bool = False
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(Tabular):
    """A lineage: everything up- or downstream of `roots`, breadth-first, true depths.

    `truncated` is None when the answer is whole, `depth` when it goes on beyond `depth` (the
    nodes with `more`), `limit` when there were more than `limit` nodes. `as_of` is the time that
    the answer is about, None for now.
    """

    direction: Direction
    roots: tuple[str, ...]
    depth: int | None
    limit: int
    truncated: Truncated | None
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    as_of: datetime | None = None

    def node(self, id: str) -> Node:
        """The node called `id`; raises KeyError."""
        for node in self.nodes:
            if node.id == id:
                return node
        raise KeyError(id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column of a schema, nested ones with dots."""

    name: str
    type: str | None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """An input of a run, bound: `binding` is named, version, current, dropped or
    unknown; or later, of what was published while a streaming run read on.

    `ambiguous`: it may as well have read another production, published about then.
    """

    namespace: str
    name: str
    version: str | None
    production_id: str | None
    binding: str
    role: str
    first_at: datetime
    ambiguous: bool = False
    recalled: bool = False

    @property
    def inferred(self) -> bool:
        return self.binding != "named"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A production, in short. `recalled_upstream`: something that it was made of is (None: not known)."""

    id: str
    namespace: str
    name: str
    version: str | None
    published_at: datetime | None
    run_id: str
    state: str
    lifecycle: str | None = None
    recalled: bool = False
    recalled_upstream: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a curator said and nobody has withdrawn.

    `kind` is tag, description, ownership (`value` has pairs of name and role, as JSON), alias, recall or
    erasure. `whole`: it is about the asset, not about one version of it. `version` is also None for
    what a run (`run_id`) wrote without naming a version. Of what is about a version: `recalled`, it is;
    `recalled_upstream`, something that it was made of is (None: not known).
    """

    kind: str
    key: str
    value: str | None
    version: str | None
    run_id: str | None = None
    whole: bool = False
    actor: str | None
    at: datetime
    recalled: bool = False
    recalled_upstream: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A recorded attempt to make a version again: `outcome` is identical, different or cannot.

    `version` is what came out, `environment` how much Python and packages had to match; `reason` the first
    of why it could not be made (or in what it differs), `step` the first step that differed.
    """

    outcome: str
    version: str | None
    at: datetime
    actor: str | None
    environment: str | None
    run_id: str
    reason: str | None = None
    step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetDetails(Shown):
    """Everything known of one production and of the asset it belongs to.

    `production` is None for an asset that was read but, as far as the log knows, never written.
    `facets` are the production's, verbatim, by name. `recalls` hold for it, `upstream_recalls` for what
    it was made of, however far up; there may be more of those when they are not `complete`.
    `reproductions` are the recorded attempts to make this version again, the latest first.
    """

    namespace: str
    name: str
    also_known_as: tuple[str, ...]
    type: str | None
    summary: tuple[str, ...]
    production: Written | None
    run: Run | None
    location: str | None
    columns: tuple[Field, ...]
    statistics: Mapping[str, Any]
    tags: Mapping[str, str]
    properties: Mapping[str, Any]
    parameters: Mapping[str, Any]
    environment: Mapping[str, Any]
    inputs: tuple[Read, ...]
    statements: tuple[Statement, ...]
    history: tuple[Written, ...]
    facets: Mapping[str, Any]
    as_of: datetime | None = None
    recalls: tuple[Recall, ...] = ()
    upstream_recalls: tuple[Recall, ...] = ()
    upstream_recalls_complete: bool = True
    reproductions: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of a run: how many points, and the last. `value` None stands for NaN."""

    key: str
    points: int
    step: int
    value: float | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetails(Shown):
    """Everything known of one run. `facets` are the run's and its job's, verbatim, by name.

    `recalled`, `recalled_upstream` and `recalls` are its marks and those of its parts (`children`), as
    the listing of runs has them; `upstream_recalls` are those of what it read itself.
    """

    run: Run
    parameters: Mapping[str, Any]
    environment: Mapping[str, Any]
    error: Mapping[str, Any]
    inputs: tuple[Read, ...]
    outputs: tuple[Written, ...]
    children: tuple[ListedRun, ...]
    metrics: tuple[Metric, ...]
    facets: Mapping[str, Any]
    as_of: datetime | None = None
    upstream_recalls: tuple[Recall, ...] = ()
    upstream_recalls_complete: bool = True
    recalled: bool = False
    recalled_upstream: bool | None = False
    recalls: tuple[Recall, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset(Shown):
    """A line of the listing of assets.

    `recalls` hold for it or for versions of it; `recalled`: one of them for its last version.
    `recalled_upstream`: something that the last version was made of is recalled (None: not known).
    """

    namespace: str
    name: str
    type: str | None
    versions: int
    last_version: str | None
    last_published_at: datetime | None
    recalled: bool = False
    recalled_upstream: bool | None = False
    recalls: int = 0


def as_json(answer: Any) -> Any:
    """`answer` as JSON values: the documented shape, times in RFC 3339 with a Z."""
    if isinstance(answer, datetime):
        return answer.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if is_dataclass(answer) and not isinstance(answer, type):
        found = {f.name: as_json(getattr(answer, f.name)) for f in fields(answer)}
        if isinstance(answer, Run):
            found["duration_s"] = answer.duration_s
        if isinstance(answer, Read):
            found["inferred"] = answer.inferred
        return found
    if isinstance(answer, Mapping):
        return {str(key): as_json(value) for key, value in answer.items()}
    if isinstance(answer, (tuple, list)):
        return [as_json(value) for value in answer]
    return answer
