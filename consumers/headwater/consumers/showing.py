"""Everything known of one asset, at one of its productions, or of one run.

As of a time: what had been written, read and said by then, and the state that a run was in.
What a production's own facets say was said with it; a run's facets are the last ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, true

from headwater.consumers import tag_registers
from headwater.consumers.answers import (
    AssetDetails,
    Field,
    ListedRun,
    Metric,
    Read,
    Run,
    RunDetails,
    Statement,
    Unknown,
    Written,
)
from headwater.consumers.curated import curated
from headwater.consumers.descent import BUDGETS, above
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
from headwater.consumers.existence import existing, facets_of, written
from headwater.consumers.marks import CLEAN, Mark, Marks, of_several
from headwater.consumers.naming import NamedAsset, NamedRun, id_text
from headwater.consumers.recalls import Recalls
from headwater.consumers.reproductions import attempts
from headwater.consumers.statements import Statements
from headwater.consumers.tables import dataset, metric_point, run, run_output, version
from headwater.consumers.tag_registers import ProducerTag
from headwater.consumers.walk import Input, Production, Reader, productions
from headwater.schemas.asset_facets import TAG_SOURCE
from headwater.schemas.ids import version_id
from headwater.schemas.parameters import parameter_value
from headwater.schemas.text import original

HISTORY = 10
CHILDREN = 200


def show(
    connection: Connection, named: NamedAsset | NamedRun, as_of: int | None = None
) -> AssetDetails | RunDetails:
    """Everything about what was named; as of a time (µs since 1970 UTC, inclusive), everything then."""
    if isinstance(named, NamedRun):
        return _show_run(connection, named.run, as_of)
    return _show_asset(connection, named, as_of)


def _show_asset(connection: Connection, named: NamedAsset, as_of: int | None) -> AssetDetails:
    details = Details(connection, as_of)
    details.load_names(named.datasets)
    own, facets, of_run = None, dict[str, Any](), dict[str, Any]()
    inputs: tuple[Read, ...] = ()
    if named.production is not None:
        own = _written(connection, as_of, run_output.c.production_id == named.production)[0]
        run_id = bytes.fromhex(own.run_id.replace("-", ""))
        details.load_runs([run_id])
        details.load_facets([named.production])
        facets, of_run = {**details.facets[named.production]}, {**details.run_facets.get(run_id, {})}
        inputs = _inputs(connection, run_id, as_of)
    else:
        facets = facets_of(connection, named.datasets, as_of)
    said = curated(connection, named.datasets, as_of)
    stated = tag_registers.standing(connection, "dataset", named.datasets, as_of)
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
        tags=said.tagged(_tags(facets, stated, own), own),
        properties=mapping(facets, "headwater_asset", "properties"),
        parameters=_parameters(of_run),
        environment=_plain(mapping(of_run, "headwater_environment")),
        inputs=inputs,
        statements=_marked(connection, named, said.statements, as_of),
        history=tuple(
            _written(connection, as_of, run_output.c.dataset_id.in_(named.datasets), limit=HISTORY)
        ),
        facets=facets,
        as_of=instant(as_of),
        reproductions=()
        if own is None
        else attempts(connection, details.names.values(), own.version, own.run_id, as_of),
        **_recalls(connection, named, details.recalls, as_of),
    )


def _recalls(
    connection: Connection, named: NamedAsset, recalls: Recalls, as_of: int | None
) -> dict[str, Any]:
    """What must not be relied on: this version, and what it was made of."""
    if named.production is None:
        held = recalls.of(named.datasets[0], None)
        return {"recalls": tuple(one.recall for one in held)}
    (node,) = productions(connection, [named.production], as_of)
    held = recalls.of(node.dataset_id, node.version_id)
    upstream, complete = above(connection, node, recalls, as_of)
    return {
        "recalls": tuple(one.recall for one in held),
        "upstream_recalls": upstream,
        "upstream_recalls_complete": complete,
    }


def _marked(
    connection: Connection, named: NamedAsset, statements: Iterable[Statement], as_of: int | None
) -> tuple[Statement, ...]:
    """`statements` with the marks of the versions that they are about."""
    marks = Marks(connection, as_of)
    told = tuple(statements)
    if not marks.recalls:
        return told
    texts = {one.version for one in told if one.version is not None}
    of_text = {version_id(id, text): text for id in named.datasets for text in texts}
    runs = [bytes.fromhex(one.run_id.replace("-", "")) for one in told if one.run_id is not None]
    of_run = and_(run_output.c.run_id.in_(runs), run_output.c.dataset_id.in_(named.datasets))
    where = or_(run_output.c.version_id.in_(of_text), of_run)
    rows = connection.execute(
        select(run_output.c.production_id, run_output.c.version_id, run_output.c.run_id).where(
            where, existing(as_of), written()
        )
    ).all()
    found = marks.of_productions(row.production_id for row in rows)
    by_subject: dict[str | None, list[Mark]] = defaultdict(list)
    for row in rows:
        by_subject[of_text.get(row.version_id) or id_text(row.run_id)].append(found[row.production_id])
    return tuple(
        replace(one, **of_several(by_subject.get(one.version or one.run_id, [])).flags()) for one in told
    )


def _other_names(details: Details, named: NamedAsset, own: Written | None) -> tuple[str, ...]:
    shown_as = (own.namespace, own.name) if own else (original(named.namespace), original(named.name))
    return tuple(sorted("/".join(name) for name in details.names.values() if name != shown_as))


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


def _tags(facets: Facets, stated: Iterable[ProducerTag], own: Written | None) -> dict[str, str]:
    """What was said at creation, overlaid by what other sources state.

    What headwater's own steps said at another creation belongs to that production.
    """
    listed = mapping(facets, "tags").get("tags")
    said = [tag for tag in (listed if isinstance(listed, list) else []) if isinstance(tag, dict)]
    sources = {tag.get("source", "") for tag in said if isinstance(tag.get("source", ""), str)}
    if own is not None:
        sources.add(TAG_SOURCE)
    tags = {str(tag.get("key")): str(tag.get("value", "")) for tag in said if "field" not in tag}
    for one in stated:
        if one.field is None and one.source not in sources:
            tags[one.key] = one.value or ""
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


def _written(
    connection: Connection, as_of: int | None, *where: Any, limit: int | None = None
) -> list[Written]:
    rows = connection.execute(
        select(
            run_output.c.production_id,
            run_output.c.dataset_id,
            run_output.c.version_id,
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
        .where(*where, existing(as_of), written())
        .order_by(
            run_output.c.published_at.is_(None), run_output.c.published_at.desc(), run_output.c.production_id
        )
        .limit(limit)
    ).all()
    states = {row.run_id: STATES[row.state] for row in rows}
    marks = Marks(connection, as_of).of_productions(row.production_id for row in rows)
    if as_of is not None:
        details = Details(connection, as_of)
        details.load_runs(states)
        states = {id: found.state for id, found in details.runs.items()}
    return [
        Written(
            id=id_text(row.production_id),
            namespace=original(row.namespace),
            name=original(row.name),
            version=None if row.version is None else original(row.version),
            published_at=instant(row.published_at),
            run_id=id_text(row.run_id),
            state=states[row.run_id],
            lifecycle=row.lifecycle,
            **marks.get(row.production_id, CLEAN).flags(),
        )
        for row in rows
    ]


def _inputs(connection: Connection, run_id: bytes, as_of: int | None) -> tuple[Read, ...]:
    """What a run read, each bound as a walk would bind it; what a streaming run read later on comes last."""
    statements, details = Statements(connection, as_of), Details(connection, as_of)
    statements.begin()
    rows = [(Input._make(row[:6]), _source(row[6:15])) for row in statements.inputs([run_id])]
    doubtful = {dataset for _, dataset in statements.ambiguous([run_id])}
    details.load_names(read.dataset_id for read, _ in rows)
    details.load_versions(
        version
        for read, source in rows
        for version in (read.version_id, source and source.version_id)
        if version is not None
    )
    reads = [(source, _read(read, source, details, read.dataset_id in doubtful)) for read, source in rows]
    reads.sort(key=lambda one: _place(*one))
    return tuple(read for _, read in reads)


def _source(row: tuple[Any, ...]) -> Production | None:
    return None if row[0] is None else Production._make(row)


def _place(source: Production | None, read: Read) -> tuple[Any, ...]:
    published_at = source.published_at if source is not None and read.binding == "later" else None
    later = published_at is not None
    return later, read.first_at, read.namespace, read.name, published_at or 0, read.version or ""


def _read(read: Input, source: Production | None, details: Details, doubtful: bool) -> Read:
    binding = _binding(read, source)
    production, version = read.production_id, read.version_id
    if source is not None and binding != "dropped":
        production, version = production or source.id, version or source.version_id
    namespace, name = details.names[read.dataset_id]
    return Read(
        namespace=namespace,
        name=name,
        version=None if version is None else details.versions.get(version),
        production_id=None if production is None else id_text(production),
        binding=binding,
        role=ROLES[read.role],
        first_at=moment(read.first_at),
        ambiguous=doubtful and read.version_id is None and binding != "later",
        recalled=binding != "dropped" and details.recalled(read.dataset_id, version),
    )


def _binding(read: Input, source: Production | None) -> str:
    if read.production_id is not None:
        return "named"
    if source is None:
        return "unknown"
    if read.version_id is not None:
        return "version"
    if source.lifecycle == "DROP":
        return "dropped"
    later = source.published_at is not None and source.published_at > read.first_at
    return "later" if later else "current"


def _show_run(connection: Connection, run_id: bytes, as_of: int | None) -> RunDetails:
    details = Details(connection, as_of)
    begun = true() if as_of is None else run.c.first_at <= as_of
    children = connection.scalars(
        select(run.c.run_id)
        .where(run.c.parent_run_id == run_id, begun)
        .order_by(run.c.first_at)
        .limit(CHILDREN)
    ).all()
    details.load_runs([run_id, *children])
    if run_id not in details.runs:
        raise Unknown(f"there is no run {id_text(run_id)}")
    facets = details.run_facets[run_id]
    upstream, complete = above(connection, Reader(run_id), details.recalls, as_of)
    marks = Marks(connection, as_of, BUDGETS).of_runs([run_id, *children])
    return RunDetails(
        run=details.runs[run_id],
        parameters=_parameters(facets),
        environment=_plain(mapping(facets, "headwater_environment")),
        error=_plain(mapping(facets, "errorMessage")),
        inputs=_inputs(connection, run_id, as_of),
        outputs=tuple(_written(connection, as_of, run_output.c.run_id == run_id)),
        children=tuple(_listed(details.runs[id], marks[id]) for id in children),
        metrics=_metrics(connection, run_id, as_of),
        facets=facets,
        as_of=instant(as_of),
        upstream_recalls=upstream,
        upstream_recalls_complete=complete,
        **marks[run_id].fields(),
    )


def _listed(run: Run, mark: Mark) -> ListedRun:
    return ListedRun(**{field.name: getattr(run, field.name) for field in fields(run)}, **mark.fields())


def _metrics(connection: Connection, run_id: bytes, as_of: int | None) -> tuple[Metric, ...]:
    """The last point of each metric, and how many there were."""
    place = func.row_number().over(
        partition_by=metric_point.c.key,
        order_by=(metric_point.c.step.desc(), metric_point.c.at.desc(), metric_point.c.point_id),
    )
    points = func.count().over(partition_by=metric_point.c.key)
    ranked = (
        select(metric_point, place.label("place"), points.label("points"))
        .where(metric_point.c.run_id == run_id, true() if as_of is None else metric_point.c.at <= as_of)
        .subquery()
    )
    rows = connection.execute(select(ranked).where(ranked.c.place == 1).order_by(ranked.c.key))
    return tuple(
        Metric(key=original(row.key), points=row.points, step=row.step, value=row.value, at=moment(row.at))
        for row in rows
    )
