"""From the ids of a walk to nodes a person can read: names, versions, runs and a few words on each.

One statement per kind of thing, whatever the number of nodes. Facets are read defensively:
any producer may have written anything into them, so what does not look as expected is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeAlias

from sqlalchemy import Connection

from headwater.consumers.answers import Code, Edge, Graph, Job, Node, Run
from headwater.consumers.descent import descent
from headwater.consumers.existence import document
from headwater.consumers.naming import id_text
from headwater.consumers.recalls import Recalls
from headwater.consumers.statements import Rows, Statements
from headwater.consumers.times import instant as instant
from headwater.consumers.times import moment as moment
from headwater.consumers.walk import Origin, Production, Reader, Walk
from headwater.schemas.text import original

Facets: TypeAlias = Mapping[str, Any]

STATES = ("OTHER", "START", "RUNNING", "COMPLETE", "ABORT", "FAIL")
RUNNING = STATES.index("RUNNING")
POSSIBLY_WRITTEN = "possibly written"
ROLES = ("listed", "lineage", "rename", "alter")
_SUMMARY_PARAMETERS = 3
_SUMMARY_METRICS = 3
#: The facets that say what an asset is and which code ran, in a line.
TELLING = frozenset(
    {
        "headwater_asset",
        "datasetType",
        "dataSource",
        "schema",
        "dataQualityMetrics",
        "outputStatistics",
        "headwater_model",
        "headwater_metrics",
        "headwater_code",
        "sourceCodeLocation",
    }
)
# A model has dozens of parameters, most of them defaults: these tell one from the other.
_TELLING = (
    "max_depth",
    "n_estimators",
    "learning_rate",
    "C",
    "alpha",
    "penalty",
    "kernel",
    "n_neighbors",
    "max_iter",
)


class Details:
    """Loads what ids are called; each thing once.

    As of a time (µs since 1970 UTC, inclusive) runs are in the state that they were in, and
    recalled is what had been recalled. Facets of runs are the last ones: no more is kept of them.
    `brief`: of the facets only those that the nodes of a graph are described by (`TELLING`).
    """

    def __init__(self, connection: Connection, as_of: int | None = None, *, brief: bool = False) -> None:
        self._statements = Statements(connection, as_of)
        self._as_of = as_of
        self._brief = brief
        self.names: dict[bytes, tuple[str, str]] = {}
        self.versions: dict[bytes, str] = {}
        self.runs: dict[bytes, Run] = {}
        self.run_facets: dict[bytes, Facets] = {}
        self.facets: dict[bytes, Facets] = {}
        self._connection = connection
        self._recalls: Recalls | None = None

    def load_names(self, datasets: Iterable[bytes]) -> None:
        for id, namespace, name in self._statements.names(set(datasets) - self.names.keys()):
            self.names[id] = (original(namespace), original(name))

    def load_versions(self, versions: Iterable[bytes]) -> None:
        for id, version in self._statements.versions(set(versions) - self.versions.keys()):
            self.versions[id] = original(version)

    def load_runs(self, runs: Iterable[bytes]) -> None:
        rows = self._then(self._statements.runs(set(runs) - self.runs.keys()))
        self.run_facets.update(self._bodies({row[0]: row[14] for row in rows}))
        for row in rows:
            self.runs[row[0]] = _run(row, self.run_facets[row[0]])

    def _then(self, rows: Rows) -> Rows:
        """Rows of runs with their state, start, end and last event as of the time asked for."""
        as_of = self._as_of
        if as_of is None:
            return rows
        went_on = [row[0] for row in rows if row[6] > as_of]
        told = {row[0]: row[1:] for row in self._statements.states_then(went_on)}
        return [_state_then(row, told[row[0]], as_of) if row[0] in told else row for row in rows]

    def load_facets(self, productions: Collection[bytes]) -> None:
        rows = self._statements.output_facets(set(productions) - self.facets.keys())
        self.facets.update(self._bodies(dict(rows)))

    @property
    def recalls(self) -> Recalls:
        if self._recalls is None:
            self._recalls = Recalls(self._connection, self._as_of)
        return self._recalls

    def recalled(self, dataset: bytes, version: bytes | None) -> bool:
        return bool(self.recalls.of(dataset, version))

    def _bodies(self, lists: Mapping[bytes, bytes]) -> dict[bytes, Facets]:
        ids = {owner: [text[at : at + 16] for at in range(0, len(text), 16)] for owner, text in lists.items()}
        wanted = {id for listed in ids.values() for id in listed}
        known = {
            row[0]: (row[1], document(row[2]))
            for row in self._statements.facets(wanted, TELLING if self._brief else None)
        }
        return {owner: dict(known[id] for id in listed if id in known) for owner, listed in ids.items()}

    def graph(self, walk: Walk, roots: Iterable[bytes], depth: int | None, limit: int) -> Graph:
        """`walk` with everything named."""
        nodes = walk.nodes.values()
        productions = [n for n in nodes if isinstance(n, Production)]
        assets = [n for n in nodes if not isinstance(n, Reader)]
        datasets = {n.dataset_id for n in assets}
        self.load_names(datasets)
        self.load_versions(n.version_id for n in assets if n.version_id is not None)
        readers = [n.id for n in nodes if isinstance(n, Reader)]
        self.load_runs([*readers, *(n.run_id for n in productions)])
        self.load_facets([n.id for n in productions])
        doubtful = {row[0] for row in walk.edges.values() if row[2] is None and row[3] is None}
        ambiguous = {(run, dataset) for run, dataset in self._statements.ambiguous(doubtful)}
        texts = {id: _node_id(node, self.versions) for id, node in walk.nodes.items()}
        tainted = descent(self._connection, walk, self.recalls, self._as_of)
        return Graph(
            direction=walk.direction,
            roots=tuple(texts[id] for id in roots if id in texts),
            depth=depth,
            limit=limit,
            as_of=instant(self._as_of),
            truncated=walk.truncated,
            nodes=tuple(self._node(node, texts[id], walk, tainted[id]) for id, node in walk.nodes.items()),
            edges=tuple(_edge(walk, source, target, texts, ambiguous) for source, target in walk.edges),
        )

    def _node(self, node: Production | Origin | Reader, id: str, walk: Walk, tainted: bool | None) -> Node:
        depth, more = walk.depths[node.id], node.id in walk.more
        if isinstance(node, Reader):
            return _blank(id, "reader", depth, more, run=self.runs.get(node.id), recalled_upstream=tainted)
        namespace, name = self.names[node.dataset_id]
        version = self.versions.get(node.version_id) if node.version_id is not None else None
        recalled = self.recalls.hold_for(node)
        if isinstance(node, Origin):
            note = "dropped" if node.dropped else "not in the log" if node.production_id else "origin unknown"
            return _blank(id, "origin", depth, more, namespace, name, version, note=note, recalled=recalled)
        facets = self.facets.get(node.id, {})
        return Node(
            id=id,
            kind="production",
            namespace=namespace,
            name=name,
            version=version,
            type=asset_type(facets),
            summary=summary(facets),
            location=location(facets),
            published_at=instant(node.published_at),
            lifecycle=node.lifecycle,
            recalled=recalled,
            recalled_upstream=tainted,
            depth=depth,
            more=more,
            run=(run := self.runs.get(node.run_id)),
            note=POSSIBLY_WRITTEN if _is_possible(node, run) else None,
        )


def _edge(
    walk: Walk,
    source: bytes,
    target: bytes,
    texts: Mapping[bytes, str],
    ambiguous: Collection[tuple[bytes, bytes]],
) -> Edge:
    read = walk.edges[source, target]
    run, dataset, version, production, role = read[:5]
    by_time = production is None and version is None
    possible = by_time and walk.possible(source, target)
    in_doubt = by_time and not possible and (run, dataset) in ambiguous
    return Edge(
        source=texts[source],
        target=texts[target],
        inferred=production is None,
        ambiguous=in_doubt and not _is_later(walk.nodes[source], read[5]),
        possible=possible,
        role=ROLES[role],
    )


def _is_possible(node: Production, run: Run | None) -> bool:
    """Whether a failed run may or may not have written it, for all that its events say."""
    failed = run is not None and run.state in ("FAIL", "ABORT")
    return node.published_at is None and failed and node.lifecycle != "DROP"


def _blank(
    id: str,
    kind: Any,
    depth: int,
    more: bool,
    namespace: str | None = None,
    name: str | None = None,
    version: str | None = None,
    *,
    run: Run | None = None,
    note: str | None = None,
    recalled: bool = False,
    recalled_upstream: bool | None = False,
) -> Node:
    return Node(
        id=id,
        kind=kind,
        namespace=namespace,
        name=name,
        version=version,
        type=None,
        summary=(),
        location=None,
        published_at=None,
        lifecycle=None,
        recalled=recalled,
        recalled_upstream=recalled_upstream,
        depth=depth,
        more=more,
        run=run,
        note=note,
    )


def _is_later(source: Production | Origin | Reader, first_at: int) -> bool:
    """Whether it was published while a streaming run read on: that one was read, without a doubt."""
    at = source.published_at if isinstance(source, Production) else None
    return at is not None and at > first_at


def _node_id(node: Production | Origin | Reader, versions: Mapping[bytes, str]) -> str:
    """A production's and a run's id are UUIDs; an origin is its dataset's, with the version read."""
    if not isinstance(node, Origin) or node.production_id is not None:
        return id_text(node.id)
    suffix = f"@{versions.get(node.version_id, id_text(node.version_id))}" if node.version_id else ""
    return f"origin:{id_text(node.dataset_id)}{suffix}"


def _state_then(row: tuple[Any, ...], told: tuple[Any, ...], as_of: int) -> tuple[Any, ...]:
    """The row of a run that went on after `as_of`, as it was then; it ran, if it ended later."""
    last, unfinished, state, ended_at = told
    if state is None and row[4] is not None and row[4] <= as_of:
        state, ended_at = row[2], row[4]
    elif state is None:
        state = RUNNING if row[4] is not None else unfinished if unfinished is not None else row[2]
    started = row[3] if row[3] is not None and row[3] <= as_of else None
    return (*row[:2], state, started, ended_at, row[5], as_of if last is None else last, *row[7:])


def _run(row: tuple[Any, ...], facets: Facets) -> Run:
    return Run(
        id=id_text(row[0]),
        external_id=None if row[1] is None else original(row[1]),
        job=_job(row[10], row[11]),
        state=STATES[row[2]],
        started_at=instant(row[3]),
        ended_at=instant(row[4]),
        first_at=moment(row[5]),
        last_at=moment(row[6]),
        streaming=bool(row[7]),
        parent_run_id=None if row[8] is None else id_text(row[8]),
        parent_job=_job(row[12], row[13]),
        root_run_id=None if row[9] is None else id_text(row[9]),
        code=_code(facets),
    )


def _job(namespace: str | None, name: str | None) -> Job | None:
    return (
        None if namespace is None or name is None else Job(namespace=original(namespace), name=original(name))
    )


# -- what facets say --------------------------------------------------------------------


def mapping(facets: Facets, name: str, key: str | None = None) -> Facets:
    """The facet (or its entry `key`) where it is an object; else an empty one."""
    body = facets.get(name)
    if key is not None:
        body = body.get(key) if isinstance(body, dict) else None
    return body if isinstance(body, dict) else {}


def text_of(body: Facets, key: str) -> str | None:
    value = body.get(key)
    return value if isinstance(value, str) and value else None


def _code(facets: Facets) -> Code | None:
    if not facets:
        return None
    body = mapping(facets, "headwater_code")
    location = mapping(facets, "sourceCodeLocation")
    dirty, line = body.get("gitDirty"), body.get("line")
    code = Code(
        function=text_of(body, "function"),
        git_commit=text_of(body, "gitCommit") or text_of(location, "version"),
        git_branch=text_of(body, "gitBranch") or text_of(location, "branch"),
        git_dirty=dirty if isinstance(dirty, bool) else None,
        source_digest=text_of(body, "sourceDigest"),
        repository_url=text_of(body, "repositoryUrl") or text_of(location, "repoUrl"),
        path=text_of(body, "path") or text_of(location, "path"),
        line=line if isinstance(line, int) else None,
    )
    return None if code == Code() else code


def asset_type(facets: Facets) -> str | None:
    """Dataset, Model, …; for foreign assets what the `datasetType` facet says."""
    return text_of(mapping(facets, "headwater_asset"), "assetType") or text_of(
        mapping(facets, "datasetType"), "datasetType"
    )


def location(facets: Facets) -> str | None:
    """Where the bytes are."""
    return text_of(mapping(facets, "headwater_asset"), "location") or text_of(
        mapping(facets, "dataSource"), "uri"
    )


def schema_fields(facets: Facets) -> list[Facets]:
    """The columns of the `schema` facet, nested ones flattened with dots."""
    found: list[Facets] = []
    stack = [("", field) for field in reversed(_listed(mapping(facets, "schema"), "fields"))]
    while stack:
        prefix, field = stack.pop()
        name = prefix + str(field.get("name", ""))
        found.append({**field, "name": name})
        stack.extend((f"{name}.", inner) for inner in reversed(_listed(field, "fields")))
    return found


def _listed(body: Facets, key: str) -> list[Facets]:
    values = body.get(key)
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def statistics(facets: Facets) -> Facets:
    """Rows, bytes and files, as far as known."""
    body = {**mapping(facets, "dataQualityMetrics"), **mapping(facets, "outputStatistics")}
    size = body.get("size", body.get("bytes"))
    known = {"row_count": body.get("rowCount"), "size": size, "file_count": body.get("fileCount")}
    return {key: value for key, value in known.items() if isinstance(value, int)}


def summary(facets: Facets) -> tuple[str, ...]:
    """What is worth knowing at a glance: the shape of data, the class of a model, the best of metrics."""
    if not facets:
        return ()
    model = mapping(facets, "headwater_model")
    words = [text_of(model, "class") or text_of(model, "framework") or ""]
    words[0] = words[0].rpartition(".")[2]
    parameters = mapping(facets, "headwater_model", "parameters")
    told = {key: parameters[key] for key in _TELLING if parameters.get(key) is not None}
    words += _few(told or parameters, _SUMMARY_PARAMETERS)
    words += _few(mapping(facets, "headwater_metrics", "values"), _SUMMARY_METRICS)
    words.append(_shape(facets))
    return tuple(word for word in words if word)


def _shape(facets: Facets) -> str:
    rows, columns = statistics(facets).get("row_count"), len(_listed(mapping(facets, "schema"), "fields"))
    if rows is None:
        return f"{columns:,} columns" if columns else ""
    return f"{rows:,} × {columns:,}" if columns else f"{rows:,} rows"


def _few(values: Facets, count: int) -> list[str]:
    """`key=value` of the first few that are short and not None."""
    shown = []
    for key, value in values.items():
        if isinstance(value, bool | int | str) or (isinstance(value, float) and value == value):
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            if len(text) <= 20:
                shown.append(f"{key}={text}")
    return shown[:count]
