"""Unstable steps: runs that should have written the same, and did not.

Runs are alike that are of one job, with the same source of the function, parameters and input
versions. They are gone through once, in the order of an index; two hashes and the id of each
are kept while its job is looked at. What the hashes suspect is then read again and compared in
full. What cannot be judged is left out and counted.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Select, func, select

from headwater.consumers.answers import Job
from headwater.consumers.details import Details, moment
from headwater.consumers.facet_bodies import BATCH, Bodies, FacetBodies, batched, body, text
from headwater.consumers.looking import Report, nobody_waits
from headwater.consumers.naming import id_text
from headwater.consumers.recipe_store import parameters_of
from headwater.consumers.recipes import CONTENT
from headwater.consumers.statement_texts import spelled
from headwater.consumers.statements import Statements
from headwater.consumers.tables import run

#: Runs whose hashes are kept together; a job with more of them is still looked at as one.
RUNS_AT_ONCE = 100_000
#: Contents that one finding lists.
LISTED = 20

_COMPLETE = 3

# Of every run of the store: on the driver beneath, which reads millions of ids in half the time.
_INPUTS = spelled(
    """SELECT {r}, {d}, {v} FROM {w} CROSS JOIN run_input i
WHERE i.run_id = w.id AND i.role = 0 AND i.first_at <= {as_of}""",
    {"r": "i.run_id", "d": "i.dataset_id", "v": "i.version_id"},
)
_OUTPUTS = spelled(
    """SELECT {r}, {d}, {v}, v.version
FROM {w} CROSS JOIN run_output o LEFT JOIN version v ON v.version_id = o.version_id
WHERE o.run_id = w.id AND (o.published_at <= {as_of} OR (o.published_at IS NULL
  AND (SELECT COALESCE(r.ended_at, r.last_at) FROM run r WHERE r.run_id = o.run_id) <= {as_of}))""",
    {"r": "o.run_id", "d": "o.dataset_id", "v": "o.version_id"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A version that came out, in how many of the runs, and the first and last of them.

    `recalled`, `recalled_upstream`: of what came out in the last of them, as in `answers.Node`.
    """

    version: str
    runs: int
    first_run_id: str
    first_at: datetime
    last_run_id: str
    last_at: datetime
    recalled: bool = False
    recalled_upstream: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UnstableStep:
    """The runs of `job` that had the same code, parameters and inputs wrote `contents` as `name`.

    `inputs` are what they read (`namespace/name@version`). `suspects` says what else differs between
    the runs: environment, git commit, uncommitted changes; nothing means that the step itself varies.
    `overwritten` are the places at which one of the contents took the place of another.
    """

    job: Job
    function: str | None
    source_digest: str | None
    parameters: Mapping[str, Any]
    inputs: tuple[str, ...]
    namespace: str
    name: str
    contents: tuple[Content, ...]
    suspects: tuple[str, ...]
    overwritten: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Code:
    """`same` tells equal code, as far as a function's source can."""

    function: str | None
    source_digest: str | None
    commit: str | None
    dirty: bool

    @property
    def same(self) -> tuple[str | None, ...] | None:
        """None where nothing tells which code it was."""
        if self.source_digest is not None:
            return (self.function, self.source_digest)
        return (self.function, None, self.commit) if self.commit is not None else None


@dataclass(frozen=True, slots=True)
class _Row:
    """A run with what makes it comparable to others, and what it wrote."""

    run_id: bytes
    job_id: bytes
    at: int
    facets: Bodies
    code: _Code
    inputs: tuple[tuple[bytes, bytes], ...]
    outputs: tuple[tuple[bytes, bytes], ...]

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for runs that should have written the same."""
        parameters = self.facets.get("executionParameters")
        return (self.job_id, self.code.same, None if parameters is None else parameters[0], self.inputs)


class Comparison:
    """Finds runs that are alike and wrote something else."""

    def __init__(
        self,
        connection: Connection,
        facts: FacetBodies,
        left_out: Counter[str],
        as_of: int | None = None,
        report: Report = nobody_waits,
    ) -> None:
        self._connection = connection
        self._report = report
        self._as_of = as_of
        self._statements = Statements(connection, as_of)
        self._facts = facts
        self._left_out = left_out
        self._content: dict[bytes, bool] = {}
        self.seen = 0

    def unstable(self, jobs: frozenset[bytes] | None, since: int | None) -> Iterator[UnstableStep]:
        alike = _Alike()
        for row in self._rows(_runs_query(jobs, since, self._as_of), self._left_out):
            if alike.full and row.job_id != alike.job:
                yield from self._told(alike.suspicious(), since)
                alike = _Alike()
            alike.add(row)
        yield from self._told(alike.suspicious(), since)

    def _rows(self, query: Select[Any], left_out: Counter[str]) -> Iterator[_Row]:
        for some in batched(self._connection, query):
            self.seen += len(some)
            self._report("runs", self.seen)
            outputs, writers = self._outputs([row.run_id for row in some])
            # A pipeline, or a step that only reads, writes nothing.
            wrote = [row for row in some if row.run_id in writers]
            fit: list[tuple[Any, Bodies, _Code]] = []
            for row, facets in zip(wrote, self._facts.of([row.facets for row in wrote]), strict=True):
                code = _code(facets)
                if row.run_id not in outputs:
                    left_out["wrote no content that has a digest"] += 1
                elif code.same is None:
                    left_out["named no code"] += 1
                else:
                    fit.append((row, facets, code))
            inputs = self._inputs([row.run_id for row, *_ in fit])
            for row, facets, code in fit:
                read = inputs.get(row.run_id, ())
                if any(version is None for _, version in read):
                    left_out["read something without a version"] += 1
                    continue
                yield _Row(
                    row.run_id,
                    row.job_id,
                    row.first_at,
                    facets,
                    code,
                    tuple(sorted(set(read))),
                    tuple(sorted(set(outputs[row.run_id]))),
                )

    def _inputs(self, runs: Collection[bytes]) -> dict[bytes, list[tuple[bytes, bytes]]]:
        """What they read; without a version None stands for it."""
        found: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for run_id, *read in self._statements.ask(_INPUTS, runs):
            found.setdefault(run_id, []).append((read[0], read[1]))
        return found

    def _outputs(self, runs: Collection[bytes]) -> tuple[dict[bytes, list[tuple[bytes, bytes]]], set[bytes]]:
        """What they wrote whose version is a digest of content; and all that wrote anything."""
        found: dict[bytes, list[tuple[bytes, bytes]]] = {}
        writers: set[bytes] = set()
        for run_id, dataset_id, version_id, version_text in self._statements.ask(_OUTPUTS, runs):
            writers.add(run_id)
            if version_text is not None and CONTENT.match(version_text):
                found.setdefault(run_id, []).append((dataset_id, version_id))
        return found, writers

    def _told(self, suspicious: list[bytes], since: int | None) -> Iterator[UnstableStep]:
        """The runs that looked alike by their hashes, compared in full."""
        groups: dict[tuple[Any, ...], list[_Row]] = {}
        looked_at = self.seen
        for at in range(0, len(suspicious), BATCH):
            query = _run_columns().where(run.c.run_id.in_(suspicious[at : at + BATCH]))
            for row in self._rows(query, Counter()):
                groups.setdefault(row.key, []).append(row)
        self.seen = looked_at
        for rows in groups.values():
            yield from self._of_group(sorted(rows, key=lambda row: (row.at, row.run_id)), since)

    def _of_group(self, rows: list[_Row], since: int | None) -> Iterator[UnstableStep]:
        written: dict[bytes, dict[tuple[bytes, ...], list[_Row]]] = {}
        for row in rows:
            by_dataset: dict[bytes, list[bytes]] = {}
            for dataset_id, version_id in row.outputs:
                by_dataset.setdefault(dataset_id, []).append(version_id)
            for dataset_id, versions in by_dataset.items():
                written.setdefault(dataset_id, {}).setdefault(tuple(versions), []).append(row)
        for dataset_id, contents in sorted(written.items()):
            newest = max(row.at for some in contents.values() for row in some)
            if len(contents) > 1 and (since is None or newest >= since):
                yield self._unstable(dataset_id, contents)

    def _unstable(self, dataset_id: bytes, contents: Mapping[tuple[bytes, ...], list[_Row]]) -> UnstableStep:
        rows = [row for some in contents.values() for row in some]
        details = Details(self._connection)
        details.load_names([dataset_id, *(d for d, _ in rows[0].inputs)])
        details.load_versions(
            [*(v for versions in contents for v in versions), *(v for _, v in rows[0].inputs)]
        )
        details.load_runs([rows[0].run_id])
        job = details.runs[rows[0].run_id].job
        namespace, name = details.names[dataset_id]
        return UnstableStep(
            job=job or Job(namespace="", name=""),
            function=rows[0].code.function,
            source_digest=rows[0].code.source_digest,
            parameters=parameters_of({key: said for key, (_, said) in rows[0].facets.items()}),
            inputs=tuple(
                sorted("/".join(details.names[d]) + f"@{details.versions[v]}" for d, v in rows[0].inputs)
            ),
            namespace=namespace,
            name=name,
            contents=tuple(
                _content(", ".join(details.versions[v] for v in versions), some)
                for versions, some in sorted(
                    contents.items(), key=lambda item: (item[1][0].at, item[1][0].run_id)
                )
            )[:LISTED],
            suspects=tuple(_suspects(rows)),
        )


def _content(text_of_it: str, rows: list[_Row]) -> Content:
    first, last = rows[0], rows[-1]
    return Content(
        version=text_of_it,
        runs=len(rows),
        first_run_id=id_text(first.run_id),
        first_at=moment(first.at),
        last_run_id=id_text(last.run_id),
        last_at=moment(last.at),
    )


def _suspects(rows: Iterable[_Row]) -> Iterator[str]:
    """What else differs between runs that are alike."""
    some = list(rows)
    environments = {told["digest"] for row in some if (told := body(row.facets, "headwater_environment"))}
    if len(environments) > 1:
        yield "the environment"
    if len({row.code.commit for row in some}) > 1:
        yield "the git commit"
    if any(row.code.dirty for row in some):
        yield "uncommitted changes"


def _runs_query(jobs: frozenset[bytes] | None, since: int | None, as_of: int | None) -> Select[Any]:
    """The runs to compare, job by job in the order of the index; as of a time, those complete by then."""
    query = _run_columns().where(run.c.kind == 0, run.c.state == _COMPLETE, run.c.job_id.is_not(None))
    if as_of is not None:
        query = query.where(func.coalesce(run.c.ended_at, run.c.last_at) <= as_of)
    if jobs is not None:
        query = query.where(run.c.job_id.in_(jobs))
    if since is not None:
        # A run of then is compared with all before it, but only jobs that ran since can have drifted.
        active = run.alias("active")
        query = query.where(run.c.job_id.in_(select(active.c.job_id).where(active.c.first_at >= since)))
    return query.order_by(run.c.job_id, run.c.first_at)


def _run_columns() -> Select[Any]:
    return select(run.c.run_id, run.c.job_id, run.c.first_at, run.c.facets)


def _code(facets: Bodies) -> _Code:
    ours, standard = body(facets, "headwater_code"), body(facets, "sourceCodeLocation")
    return _Code(
        text(ours.get("function")),
        text(ours.get("sourceDigest")),
        text(ours.get("gitCommit")) or text(standard.get("version")),
        ours.get("gitDirty") is True,
    )


class _Alike:
    """Runs by two hashes: of what makes them alike, and of what they wrote."""

    def __init__(self) -> None:
        self.job: bytes | None = None
        self._keys = array("Q")
        self._outputs = array("Q")
        self._runs = bytearray()

    @property
    def full(self) -> bool:
        return len(self._keys) >= RUNS_AT_ONCE

    def add(self, row: _Row) -> None:
        self.job = row.job_id
        self._keys.append(_hashed(row.key))
        self._outputs.append(_hashed(row.outputs))
        self._runs += row.run_id

    def suspicious(self) -> list[bytes]:
        """The runs alike to another one that wrote something else."""
        keys, outputs = self._keys, self._outputs
        order = sorted(range(len(keys)), key=keys.__getitem__)
        found: list[bytes] = []
        begin = 0
        for end in range(1, len(order) + 1):
            if end < len(order) and keys[order[end]] == keys[order[begin]]:
                continue
            if any(outputs[at] != outputs[order[begin]] for at in order[begin:end]):
                found += (bytes(self._runs[at * 16 : at * 16 + 16]) for at in order[begin:end])
            begin = end
        return found


def _hashed(value: Any) -> int:
    return int.from_bytes(blake2b(repr(value).encode(), digest_size=8).digest(), "big")
