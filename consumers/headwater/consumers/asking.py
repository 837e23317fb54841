"""The questions, as a typed Python API.

    from headwater.consumers import Lineage

    with Lineage("sqlite:///.headwater/lineage.db") as lineage:
        graph = lineage.upstream("churn-model", depth=5)
        for node in graph.nodes:
            print("  " * node.depth, node.name, node.version)

Every answer is a frozen fact of `headwater.consumers.answers`, read in one transaction, so its
parts agree with each other. Nothing here writes. Asks the same things as the command line does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    false,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.exc import DBAPIError, OperationalError

from headwater.consumers import walk
from headwater.consumers.answers import (
    Asset,
    AssetDetails,
    Direction,
    Field,
    Graph,
    Metric,
    Read,
    Run,
    RunDetails,
    Statement,
    Unknown,
    Written,
)
from headwater.consumers.binding import AMBIGUOUS, BOUND, LATER
from headwater.consumers.details import (
    ROLES,
    STATES,
    Details,
    Facets,
    asset_type,
    instant,
    location,
    mapping,
    moment,
    schema_fields,
    statistics,
    summary,
)
from headwater.consumers.naming import NamedAsset, NamedRun, find, id_text
from headwater.consumers.store import Store, open_store
from headwater.consumers.tables import (
    dataset,
    dataset_facet,
    facet,
    governance,
    job,
    metric_point,
    run,
    run_input,
    run_output,
    version,
)
from headwater.schemas.errors import Misconfigured, Retryable, shown
from headwater.schemas.parameters import parameter_value
from headwater.schemas.text import original, storable

HISTORY = 10
CHILDREN = 200


class Lineage:
    """One lineage store, to be asked. Opens at the first question; may be used from one thread.

    Raises `Unknown` and `Ambiguous` for names, `Misconfigured` for a store that is none,
    `Retryable` when the database cannot be reached.
    """

    def __init__(self, store: str | Store = "sqlite:///.headwater/lineage.db") -> None:
        self._store = store if isinstance(store, Store) else None
        self._url = None if isinstance(store, Store) else store

    def close(self) -> None:
        """Give the connections back. A store that was passed in stays open."""
        if self._store is not None and self._url is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> Lineage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upstream(self, name: str, *, depth: int | None = None, limit: int = walk.DEFAULT_LIMIT) -> Graph:
        """What `name` (an asset, a version, a run) was made of; see `headwater.consumers.naming`."""
        return self.lineage(name, "up", depth=depth, limit=limit)

    def downstream(self, name: str, *, depth: int | None = None, limit: int = walk.DEFAULT_LIMIT) -> Graph:
        """What `name` (an asset, a version, a run) went into."""
        return self.lineage(name, "down", depth=depth, limit=limit)

    def lineage(
        self, name: str, direction: Direction, *, depth: int | None = None, limit: int = walk.DEFAULT_LIMIT
    ) -> Graph:
        """Either of the two; `depth` counts steps (None: all of them), `limit` nodes."""
        with self._reading() as connection:
            starts = _starts(connection, find(connection, name))
            walked = walk.upstream if direction == "up" else walk.downstream
            found = walked(connection, starts, depth=depth, limit=limit)
            return Details(connection).graph(found, [start.id for start in starts], depth, limit)

    def show(self, name: str) -> AssetDetails | RunDetails:
        """Everything about an asset (at one production) or a run."""
        with self._reading() as connection:
            named = find(connection, name)
            if isinstance(named, NamedRun):
                return _show_run(connection, named.run)
            return _show_asset(connection, named)

    def runs(self, *, job: str | None = None, state: str | None = None, limit: int = 50) -> tuple[Run, ...]:
        """The latest runs first; `job` is a name or `namespace/name`, `state` as in `Run.state`."""
        with self._reading() as connection:
            ids = connection.scalars(_runs_query(connection, job, state, limit)).all()
            details = Details(connection)
            details.load_runs(ids)
            return tuple(details.runs[id] for id in ids)

    def assets(
        self, pattern: str | None = None, *, type: str | None = None, limit: int = 200
    ) -> tuple[Asset, ...]:
        """The assets by name; `pattern` (`*`, `?`) is held against the name and `namespace/name`."""
        with self._reading() as connection:
            return tuple(_assets(connection, pattern, type, limit))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        if self._store is None:
            self._store = opened(self._url or "")
        with self._store.connecting() as connection:
            if self._store.dialect == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            try:
                with connection.begin():
                    yield connection
            except OperationalError as cause:
                raise Retryable(f"the store {self._store.url} did not answer: {cause.orig}") from cause
            except DBAPIError as cause:
                if cause.connection_invalidated:
                    raise Retryable(f"the connection to {self._store.url} broke") from cause
                raise


def opened(url: str) -> Store:
    """The store at `url`; a question never makes one."""
    path = url.removeprefix("sqlite:///")
    if path != url and path not in ("", ":memory:") and not Path(path).exists():
        raise Misconfigured(f"there is no lineage store at {path}", remedy="`headwater consume` makes it")
    return open_store(url)


def _starts(connection: Connection, named: NamedAsset | NamedRun) -> list[walk.Node]:
    """Where a walk begins: a production, all that a run wrote, or an asset of unknown origin."""
    if isinstance(named, NamedRun):
        ids = connection.scalars(
            select(run_output.c.production_id)
            .where(run_output.c.run_id == named.run)
            .order_by(run_output.c.production_id)
        ).all()
        return [*walk.productions(connection, ids)] or [walk.Reader(named.run)]
    if named.production is not None:
        return [*walk.productions(connection, [named.production])]
    return [walk.Origin(id, id, None, None, False) for id in named.datasets]


# -- show -------------------------------------------------------------------------------


def _show_asset(connection: Connection, named: NamedAsset) -> AssetDetails:
    details = Details(connection)
    details.load_names(named.datasets)
    own, facets, of_run = None, _asset_facets(connection, named.datasets), dict[str, Any]()
    inputs: tuple[Read, ...] = ()
    if named.production is not None:
        own = _written(connection, run_output.c.production_id == named.production)[0]
        run_id = bytes.fromhex(own.run_id.replace("-", ""))
        details.load_runs([run_id])
        details.load_facets([named.production])
        facets, of_run = {**details.facets[named.production]}, {**details.run_facets.get(run_id, {})}
        inputs = _inputs(connection, run_id)
    statements = _statements(connection, named.datasets)
    return AssetDetails(
        namespace=original(named.namespace) if own is None else own.namespace,
        name=original(named.name) if own is None else own.name,
        also_known_as=_other_names(details, named, own),
        type=asset_type(facets),
        summary=summary(facets),
        production=own,
        run=None if own is None else details.runs.get(bytes.fromhex(own.run_id.replace("-", ""))),
        location=location(facets),
        columns=_columns(facets),
        statistics=statistics(facets),
        tags=_tags(facets, statements, own),
        properties=mapping(facets, "headwater_asset", "properties"),
        parameters=_parameters(of_run),
        environment=_plain(mapping(of_run, "headwater_environment")),
        inputs=inputs,
        statements=statements,
        history=tuple(_written(connection, run_output.c.dataset_id.in_(named.datasets), limit=HISTORY)),
        facets=facets,
    )


def _other_names(details: Details, named: NamedAsset, own: Written | None) -> tuple[str, ...]:
    shown_as = (own.namespace, own.name) if own else (original(named.namespace), original(named.name))
    return tuple(sorted("/".join(name) for name in details.names.values() if name != shown_as))


def _asset_facets(connection: Connection, datasets: Collection[bytes]) -> dict[str, Any]:
    """What is known of an asset that nobody is known to have written."""
    rows = connection.execute(
        select(facet.c.name, facet.c.body)
        .join(dataset_facet, dataset_facet.c.facet_id == facet.c.facet_id)
        .where(dataset_facet.c.dataset_id.in_(datasets))
        .order_by(dataset_facet.c.stamp)
    )
    return {name: _document(body) for name, body in rows}


def _document(body: Any) -> Any:
    """A facet's body: parsed already on PostgreSQL, text on SQLite."""
    if not isinstance(body, str):
        return body
    import orjson

    return orjson.loads(body)


def _columns(facets: Facets) -> tuple[Field, ...]:
    metrics = mapping(facets, "dataQualityMetrics", "columnMetrics")
    return tuple(
        Field(
            name=str(column["name"]),
            type=column.get("type") if isinstance(column.get("type"), str) else None,
            metrics=found if isinstance(found := metrics.get(column["name"]), dict) else {},
        )
        for column in schema_fields(facets)
    )


def _tags(facets: Facets, statements: Iterable[Statement], own: Written | None) -> dict[str, str]:
    """What the producer said at creation, overlaid by what curators say now."""
    listed = mapping(facets, "tags").get("tags")
    tags = {
        str(tag.get("key")): str(tag.get("value", ""))
        for tag in (listed if isinstance(listed, list) else [])
        if isinstance(tag, dict) and "field" not in tag
    }
    for statement in statements:
        if statement.kind == "tag" and statement.version in (None, own.version if own else None):
            tags[statement.key] = statement.value or ""
    return tags


def _parameters(facets: Facets) -> dict[str, Any]:
    listed = mapping(facets, "executionParameters").get("parameters")
    return {
        str(entry["key"]): parameter_value(entry["value"]) if isinstance(entry.get("value"), str) else None
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict) and "key" in entry
    }


def _plain(body: Facets) -> dict[str, Any]:
    """A facet without its bookkeeping."""
    return {key: value for key, value in body.items() if not key.startswith("_")}


def _statements(connection: Connection, datasets: Collection[bytes]) -> tuple[Statement, ...]:
    """What curators said of the asset, the last word on each subject, unless withdrawn."""
    rows = connection.execute(
        select(governance, version.c.version)
        .outerjoin(version, version.c.version_id == governance.c.version_id)
        .where(governance.c.dataset_id.in_(datasets))
        .order_by(governance.c.at, governance.c.event_id)
    )
    last: dict[tuple[Any, ...], Any] = {}
    for row in rows:
        about = None if row.kind == "alias" else row.version_id
        last[row.kind, row.key, about, row.event_id if row.kind == "erasure" else None] = row
    return tuple(
        Statement(
            kind=row.kind,
            key=original(row.key),
            value=None if row.value is None else original(row.value),
            version=None if row.version is None else original(row.version),
            actor=None if row.actor is None else original(row.actor),
            at=moment(row.at),
        )
        for row in last.values()
        if not row.withdrawn
    )


def _written(connection: Connection, *where: Any, limit: int | None = None) -> list[Written]:
    rows = connection.execute(
        select(
            run_output.c.production_id,
            dataset.c.namespace,
            dataset.c.name,
            version.c.version,
            run_output.c.published_at,
            run_output.c.run_id,
            run_output.c.lifecycle,
            run.c.state,
        )
        .join(dataset, dataset.c.dataset_id == run_output.c.dataset_id)
        .join(run, run.c.run_id == run_output.c.run_id)
        .outerjoin(version, version.c.version_id == run_output.c.version_id)
        .where(*where)
        .order_by(
            run_output.c.published_at.is_(None), run_output.c.published_at.desc(), run_output.c.production_id
        )
        .limit(limit)
    )
    return [
        Written(
            id=id_text(row.production_id),
            namespace=original(row.namespace),
            name=original(row.name),
            version=None if row.version is None else original(row.version),
            published_at=instant(row.published_at),
            run_id=id_text(row.run_id),
            state=STATES[row.state],
            lifecycle=row.lifecycle,
        )
        for row in rows
    ]


def _inputs(connection: Connection, run_id: bytes) -> tuple[Read, ...]:
    """What a run read, each bound as a walk would bind it."""
    i, source = run_input.alias("i"), run_output.alias("s")
    bound: ColumnElement[Any] = literal_column(BOUND)
    by_time = i.outerjoin(source, source.c.production_id == bound)
    rows = connection.execute(
        _inputs_query(by_time, i, source, literal_column(AMBIGUOUS, Boolean)).where(i.c.run_id == run_id)
    ).all()
    reads = [_read(row) for row in rows]
    if any(row.last_at is not None for row in rows):
        g, m = dataset.alias("g"), dataset.alias("m")
        later = i.join(g, g.c.dataset_id == i.c.dataset_id).join(m, m.c.group_id == g.c.group_id)
        later = later.join(source, literal_column(LATER, Boolean))
        query = _inputs_query(later, i, source, false()).where(i.c.run_id == run_id)
        reads += [_read(row) for row in connection.execute(query.order_by(source.c.published_at))]
    return tuple(reads)


def _inputs_query(
    joined: FromClause, i: FromClause, source: FromClause, ambiguous: ColumnElement[bool]
) -> Select[Any]:
    read_version = version.alias("read_version")
    return (
        select(
            dataset.c.namespace,
            dataset.c.name,
            i.c.version_id,
            i.c.production_id.label("named"),
            i.c.role,
            i.c.first_at,
            i.c.last_at,
            source.c.production_id,
            source.c.published_at,
            source.c.lifecycle,
            ambiguous.label("ambiguous"),
            func.coalesce(version.c.version, read_version.c.version).label("version"),
        )
        .select_from(joined)
        .join(dataset, dataset.c.dataset_id == i.c.dataset_id)
        .outerjoin(version, version.c.version_id == i.c.version_id)
        .outerjoin(read_version, read_version.c.version_id == source.c.version_id)
        .order_by(i.c.first_at, dataset.c.namespace, dataset.c.name)
    )


def _read(row: Any) -> Read:
    dropped = row.version_id is None and row.lifecycle == "DROP"
    if row.named is not None:
        binding = "named"
    elif row.production_id is None:
        binding = "unknown"
    else:
        by_time = "later" if row.published_at is not None and row.published_at > row.first_at else "current"
        binding = "dropped" if dropped else "version" if row.version_id is not None else by_time
    production = row.named if row.named is not None else row.production_id
    return Read(
        namespace=original(row.namespace),
        name=original(row.name),
        version=None if row.version is None or dropped else original(row.version),
        production_id=None if production is None or dropped else id_text(production),
        binding=binding,
        role=ROLES[row.role],
        first_at=moment(row.first_at),
        ambiguous=row.ambiguous,
    )


def _show_run(connection: Connection, run_id: bytes) -> RunDetails:
    details = Details(connection)
    children = connection.scalars(
        select(run.c.run_id).where(run.c.parent_run_id == run_id).order_by(run.c.first_at).limit(CHILDREN)
    ).all()
    details.load_runs([run_id, *children])
    if run_id not in details.runs:
        raise Unknown(f"there is no run {id_text(run_id)}")
    facets = details.run_facets[run_id]
    return RunDetails(
        run=details.runs[run_id],
        parameters=_parameters(facets),
        environment=_plain(mapping(facets, "headwater_environment")),
        error=_plain(mapping(facets, "errorMessage")),
        inputs=_inputs(connection, run_id),
        outputs=tuple(_written(connection, run_output.c.run_id == run_id)),
        children=tuple(details.runs[id] for id in children),
        metrics=_metrics(connection, run_id),
        facets=facets,
    )


def _metrics(connection: Connection, run_id: bytes) -> tuple[Metric, ...]:
    """The last point of each metric, and how many there were."""
    place = func.row_number().over(
        partition_by=metric_point.c.key,
        order_by=(metric_point.c.step.desc(), metric_point.c.at.desc(), metric_point.c.point_id),
    )
    points = func.count().over(partition_by=metric_point.c.key)
    ranked = (
        select(metric_point, place.label("place"), points.label("points"))
        .where(metric_point.c.run_id == run_id)
        .subquery()
    )
    rows = connection.execute(select(ranked).where(ranked.c.place == 1).order_by(ranked.c.key))
    return tuple(
        Metric(key=original(row.key), points=row.points, step=row.step, value=row.value, at=moment(row.at))
        for row in rows
    )


# -- listings ---------------------------------------------------------------------------


def _runs_query(connection: Connection, wanted: str | None, state: str | None, limit: int) -> Select[Any]:
    query = select(run.c.run_id).where(run.c.kind == 0)
    if wanted is not None:
        query = query.where(run.c.job_id.in_(_jobs(connection, wanted)))
    if state is not None:
        if state.upper() not in STATES:
            raise Unknown(f"no run has a state {shown(state)}", remedy=f"one of {', '.join(STATES)}")
        query = query.where(run.c.state == STATES.index(state.upper()))
    return query.order_by(run.c.first_at.desc(), run.c.run_id.desc()).limit(limit)


def _jobs(connection: Connection, text: str) -> Sequence[bytes]:
    wanted = storable(text)
    splits = [at for at, character in enumerate(wanted) if character == "/"]
    named = [and_(job.c.namespace == wanted[:at], job.c.name == wanted[at + 1 :]) for at in splits[:64]]
    # A step is called `pipeline.step`; its own name is enough.
    of_step = job.c.name.endswith(f".{wanted}", autoescape=True)
    found = connection.scalars(select(job.c.job_id).where(or_(job.c.name == wanted, *named))).all()
    found = found or connection.scalars(select(job.c.job_id).where(of_step)).all()
    if not found:
        raise Unknown(f"no job is called {shown(text)}", remedy="`headwater runs` lists what ran")
    return found


def _assets(connection: Connection, pattern: str | None, type: str | None, limit: int) -> Iterator[Asset]:
    rows = connection.execute(_assets_query(pattern, type).limit(limit)).all()
    newest = _newest(connection, [row.dataset_id for row in rows])
    for row in rows:
        last_version, last_at = newest.get(row.dataset_id, (None, None))
        yield Asset(
            namespace=original(row.namespace),
            name=original(row.name),
            type=asset_type({row.facet: _document(row.body)}) if row.facet else None,
            versions=row.versions,
            last_version=last_version,
            last_published_at=instant(last_at),
        )


def _assets_query(pattern: str | None, type: str | None) -> Select[Any]:
    told = select(dataset_facet.c.dataset_id, facet.c.name, facet.c.body).join(
        facet, facet.c.facet_id == dataset_facet.c.facet_id
    )
    described = told.where(dataset_facet.c.name == "headwater_asset").subquery("described")
    count = select(func.count()).select_from(version).where(version.c.dataset_id == dataset.c.dataset_id)
    query = (
        select(
            dataset.c.dataset_id,
            dataset.c.namespace,
            dataset.c.name,
            described.c.name.label("facet"),
            described.c.body,
            count.scalar_subquery().label("versions"),
        )
        .outerjoin(described, described.c.dataset_id == dataset.c.dataset_id)
        .order_by(dataset.c.namespace, dataset.c.name)
    )
    if pattern is not None:
        like = _like(storable(pattern))
        full = dataset.c.namespace + "/" + dataset.c.name
        query = query.where(or_(dataset.c.name.like(like, escape="\\"), full.like(like, escape="\\")))
    if type is not None:
        query = query.where(type_coerce(described.c.body, JSON)["assetType"].as_string() == type)
    return query


def _like(pattern: str) -> str:
    for special in ("\\", "%", "_"):
        pattern = pattern.replace(special, f"\\{special}")
    return pattern.replace("*", "%").replace("?", "_")


def _newest(
    connection: Connection, datasets: Collection[bytes]
) -> Mapping[bytes, tuple[str | None, int | None]]:
    """The version and time of the last publication of each."""
    of_asset = run_output.alias()
    newest = (
        select(of_asset.c.production_id)
        .where(of_asset.c.dataset_id == dataset.c.dataset_id, of_asset.c.published_at.is_not(None))
        .order_by(of_asset.c.published_at.desc(), of_asset.c.version_id.desc())
        .limit(1)
        .correlate(dataset)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(dataset.c.dataset_id, version.c.version, run_output.c.published_at)
        .select_from(dataset)
        .join(run_output, run_output.c.production_id == newest)
        .outerjoin(version, version.c.version_id == run_output.c.version_id)
        .where(dataset.c.dataset_id.in_(datasets))
    )
    return {
        row.dataset_id: (None if row.version is None else original(row.version), row.published_at)
        for row in rows
    }
