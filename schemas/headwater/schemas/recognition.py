"""Our own facts, recognised among any OpenLineage events.

`recognise` is the inverse of `headwater.schemas.rendering.render`: what was rendered comes
back equal. Fields that a later version adds are passed over; an event that is not ours, or
that is ours no longer in shape, is None and stays what it is: an OpenLineage event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from headwater.schemas import events as facts
from headwater.schemas.asset_facets import TAG_SOURCE
from headwater.schemas.facets import PREFIX, PRODUCER_PREFIX, RESERVED
from headwater.schemas.jsontext import Number, exact, exact_int
from headwater.schemas.openlineage import Kind, OpenLineageEvent, Rank
from headwater.schemas.parameters import parameter_value

Body: TypeAlias = dict[str, Any]


class _Foreign(Exception):
    """Not one of our facts."""


def recognise(parsed: OpenLineageEvent) -> facts.Event | None:
    """The fact that `parsed` states, None when it states none of ours."""
    producer = parsed.document.get("producer")
    if type(producer) is not str or not producer.startswith(PRODUCER_PREFIX):
        return None
    try:
        if parsed.kind is Kind.RUN:
            return _run_fact(parsed)
        if parsed.kind is Kind.DATASET:
            return _asset_fact(parsed)
    except (_Foreign, RecursionError):  # no schema that we wrote nests as deep as Python's stack
        return None
    return None


# -- facts about runs -------------------------------------------------------------------


class _Event:
    """The parts of one run event that its readers share."""

    def __init__(self, parsed: OpenLineageEvent) -> None:
        document = parsed.document
        self.plain = parsed.plain
        self.run = _body(document["run"].get("facets", {}))
        self.job = _body(document["job"].get("facets", {}))
        self.inputs = _bodies(document.get("inputs") or [])
        self.outputs = _bodies(document.get("outputs") or [])
        parent = _maybe_body(self.run, "parent")
        above = _maybe_body(self.run, "headwater_root") if parent is None else _maybe_body(parent, "root")
        self.common: Body = {
            "time": parsed.time,
            "run": facts.Run(id=document["run"]["runId"], job=_job(document["job"])),
            "parent": None if parent is None else _run(parent),
            "root": None if above is None else _run(above),
            "emission": _emission(self.run),
        }

    @property
    def is_pipeline(self) -> bool:
        return _text(_body_at(self.job, "jobType"), "jobType") == "PIPELINE"


def _run_fact(parsed: OpenLineageEvent) -> facts.RunEvent:
    reader = _READERS.get(parsed.rank)
    if reader is None:
        raise _Foreign
    return reader(_Event(parsed))


def _started(event: _Event) -> facts.RunEvent:
    environment = _maybe_body(event.run, "headwater_environment")
    parameters = _parameters(_maybe_body(event.run, "executionParameters"))
    code = _code(_maybe_body(event.run, "headwater_code"))
    if event.is_pipeline:
        return facts.PipelineStarted(
            **event.common,
            parameters=parameters,
            code=code,
            environment=None if environment is None else _environment(environment),
        )
    whole = environment is not None and "packages" in environment
    return facts.StepStarted(
        **event.common,
        parameters=parameters,
        code=code,
        environment=_environment(environment) if environment is not None and whole else None,
        environment_digest=None if environment is None or whole else _text(environment, "digest"),
    )


def _completed(event: _Event) -> facts.RunEvent:
    reproduction = _maybe_body(event.run, "headwater_reproduction")
    if reproduction is not None:
        return _reproduction(event, reproduction)
    if event.is_pipeline:
        return facts.PipelineCompleted(**event.common)
    return facts.StepCompleted(
        **event.common, inputs=_inputs(event), outputs=_outputs(event), lineage=_lineage(event)
    )


def _lineage(event: _Event) -> tuple[tuple[facts.AssetRef, tuple[facts.AssetRef, ...]], ...]:
    stated = _maybe_body(event.run, "headwater_lineage")
    return () if stated is None else tuple(map(_lineage_entry, _bodies_at(stated, "entries")))


def _reproduction(event: _Event, body: Body) -> facts.ReproductionAttempted:
    return facts.ReproductionAttempted(
        **event.common,
        subject=_reference(_body_at(body, "subject")),
        outcome=_text(body, "outcome"),
        environment=_text(body, "environment"),
        actor=_maybe_text(body, "actor"),
        version=_maybe_text(body, "version"),
        step=_maybe_text(body, "step"),
        reasons=_texts(body, "reasons"),
        differences=_texts(body, "differences"),
        caveats=_texts(body, "caveats"),
    )


def _failed(event: _Event) -> facts.RunEvent:
    failure = _failure(event.run)
    if event.is_pipeline:
        return facts.PipelineFailed(**event.common, failure=failure)
    return facts.StepFailed(
        **event.common,
        failure=failure,
        inputs=_inputs(event),
        outputs=_outputs(event),
        lineage=_lineage(event),
    )


def _aborted(event: _Event) -> facts.RunEvent:
    adoption = _body_at(event.run, "headwater_adoption")
    return facts.RunAborted(
        **event.common, adopted_from=_text(adoption, "adoptedFrom"), reason=_text(adoption, "reason")
    )


def _running(event: _Event) -> facts.RunEvent:
    points = _maybe_body(event.run, "headwater_metricPoints")
    if points is not None:
        return facts.MetricsLogged(**event.common, points=tuple(map(_point, _bodies_at(points, "points"))))
    if len(event.outputs) == 1:
        return facts.AssetCreated(**event.common, asset=_asset(event.outputs[0], plain=event.plain))
    if len(event.inputs) == 1 and not event.outputs:
        consumption = _maybe_body(_maybe_body(event.inputs[0], "inputFacets") or {}, "headwater_consumption")
        argument = None if consumption is None else _maybe_text(consumption, "argument")
        return facts.AssetConsumed(**event.common, asset=_input(event.inputs[0]), argument=argument)
    raise _Foreign


def _closed(event: _Event) -> facts.RunEvent:
    closed = _body_at(event.run, "headwater_runClosed")
    return facts.RunClosed(
        **event.common,
        emitter_id=_text(closed, "emitterId"),
        events=_integer(closed, "events"),
        last_sequence=_integer(closed, "lastSequence"),
    )


_READERS: dict[Rank, Callable[[_Event], facts.RunEvent]] = {
    Rank.START: _started,
    Rank.RUNNING: _running,
    Rank.COMPLETE: _completed,
    Rank.FAIL: _failed,
    Rank.ABORT: _aborted,
    Rank.OTHER: _closed,
}


def _job(body: Body) -> facts.Job:
    return facts.Job(namespace=_text(body, "namespace"), name=_text(body, "name"))


def _run(body: Body) -> facts.Run:
    return facts.Run(id=_text(_body_at(body, "run"), "runId"), job=_job(_body_at(body, "job")))


def _emission(facets: Body) -> facts.Emission | None:
    body = _maybe_body(facets, "headwater_emission")
    if body is None:
        return None
    return facts.Emission(
        emitter_id=_text(body, "emitterId"),
        sequence=_integer(body, "sequence"),
        previous=_maybe_text(body, "previous"),
        final=_flag(body, "final"),
    )


def _parameters(body: Body | None) -> Body:
    entries = [] if body is None else _bodies_at(body, "parameters")
    return {_text(entry, "key"): parameter_value(_text(entry, "value")) for entry in entries}


def _code(body: Body | None) -> facts.Code | None:
    if body is None:
        return None
    dirty = body.get("gitDirty")
    return facts.Code(
        function=_maybe_text(body, "function"),
        source_digest=_maybe_text(body, "sourceDigest"),
        git_commit=_maybe_text(body, "gitCommit"),
        git_branch=_maybe_text(body, "gitBranch"),
        git_dirty=None if dirty is None else _flag(body, "gitDirty"),
        repository_url=_maybe_text(body, "repositoryUrl"),
        path=_maybe_text(body, "path"),
        line=_maybe_integer(body, "line"),
    )


def _environment(body: Body) -> facts.Environment:
    packages = _maybe_body(body, "packages") or {}
    return facts.Environment(
        digest=_text(body, "digest"),
        python=_text(body, "python"),
        platform=_text(body, "platform"),
        packages={name: _text(packages, name) for name in packages},
    )


def _failure(facets: Body) -> facts.Failure:
    error = _body_at(facets, "errorMessage")
    return facts.Failure(
        type=_text(_body_at(facets, "headwater_failure"), "type"),
        message=_text(error, "message"),
        traceback=_maybe_text(error, "stackTrace"),
    )


def _point(body: Body) -> facts.MetricPoint:
    value = body.get("value")
    if value in ("NaN", "Infinity", "-Infinity"):
        value = float(value)
    if type(value) is not float and type(value) is not int:
        raise _Foreign
    return facts.MetricPoint(
        key=_text(body, "key"), value=value, step=_integer(body, "step"), time=_integer(body, "time")
    )


# -- assets -----------------------------------------------------------------------------


def _inputs(event: _Event) -> tuple[facts.AssetRef, ...]:
    return tuple(map(_input, event.inputs))


def _outputs(event: _Event) -> tuple[facts.AssetRef, ...]:
    return tuple(map(_output, event.outputs))


def _input(dataset: Body) -> facts.AssetRef:
    kept = _maybe_body(_maybe_body(dataset, "inputFacets") or {}, "headwater_input")
    return _dataset_reference(dataset, _maybe_body(dataset, "facets") or {}, kept)


def _output(dataset: Body) -> facts.AssetRef:
    kept = _maybe_body(_maybe_body(dataset, "outputFacets") or {}, "headwater_output")
    return _dataset_reference(dataset, _maybe_body(dataset, "facets") or {}, kept)


def _dataset_reference(dataset: Body, facets: Body, kept: Body | None) -> facts.AssetRef:
    version = _maybe_body(facets, "version")
    return facts.AssetRef(
        namespace=_text(dataset, "namespace"),
        name=_text(dataset, "name"),
        version=None if version is None else _text(version, "datasetVersion"),
        type=None if kept is None else _maybe_text(kept, "assetType"),
        production=None if kept is None else _maybe_text(kept, "productionRunId"),
    )


def _reference(body: Body) -> facts.AssetRef:
    return facts.AssetRef(
        namespace=_text(body, "namespace"),
        name=_text(body, "name"),
        version=_maybe_text(body, "version"),
        type=_maybe_text(body, "assetType"),
        production=_maybe_text(body, "productionRunId"),
    )


def _lineage_entry(body: Body) -> tuple[facts.AssetRef, tuple[facts.AssetRef, ...]]:
    return _reference(_body_at(body, "output")), tuple(map(_reference, _bodies_at(body, "parents")))


def _asset(dataset: Body, *, plain: bool) -> facts.Asset:
    facets = _body_at(dataset, "facets")
    own = _body_at(facets, "headwater_asset")
    described = _maybe_body(facets, "documentation")
    return facts.Asset(
        namespace=_text(dataset, "namespace"),
        name=_text(dataset, "name"),
        version=_text(_body_at(facets, "version"), "datasetVersion"),
        type=_text(own, "assetType"),
        parents=tuple(map(_reference, _bodies_at(own, "parents"))) if "parents" in own else None,
        previous_version=_maybe_text(own, "previousVersion"),
        location=_maybe_text(own, "location"),
        format=_maybe_text(own, "format"),
        columns=_columns(_maybe_body(facets, "schema") or {}),
        columns_from=_columns_from(_maybe_body(facets, "columnLineage") or {}),
        statistics=_statistics(dataset),
        column_metrics=_column_metrics(facets, plain=plain),
        tags=_tags(facets),
        properties=_values(_maybe_body(own, "properties") or {}, plain=plain),
        owner=_owner(facets),
        description=None if described is None else _text(described, "description"),
        symlinks=_symlinks(facets),
        details=_details(facets, plain=plain),
        extraction_error=_maybe_text(own, "extractionError"),
    )


def _columns_from(body: Body) -> dict[str, tuple[facts.ColumnSource, ...]]:
    if not body:
        return {}
    fields = _body_at(body, "fields")
    return {
        column: tuple(
            facts.ColumnSource(
                namespace=_text(source, "namespace"),
                name=_text(source, "name"),
                column=_text(source, "field"),
            )
            for source in _bodies_at(_body_at(fields, column), "inputFields")
        )
        for column in fields
    }


def _columns(body: Body) -> tuple[facts.Column, ...]:
    return tuple(
        facts.Column(
            name=_text(field, "name"),
            type=_maybe_text(field, "type"),
            description=_maybe_text(field, "description"),
            fields=_columns(field),
        )
        for field in _bodies(body.get("fields", []))
    )


def _statistics(dataset: Body) -> facts.Statistics | None:
    body = _maybe_body(_maybe_body(dataset, "outputFacets") or {}, "outputStatistics")
    if body is None:
        return None
    return facts.Statistics(
        row_count=_maybe_integer(body, "rowCount"),
        size=_maybe_integer(body, "size"),
        file_count=_maybe_integer(body, "fileCount"),
    )


def _column_metrics(facets: Body, *, plain: bool) -> dict[str, Body]:
    body = _maybe_body(facets, "dataQualityMetrics")
    metrics = {} if body is None else _body_at(body, "columnMetrics")
    more = _maybe_body(facets, "headwater_columns")
    others = {} if more is None else _body_at(more, "columns")
    return {
        column: _values({**_body_at(metrics, column), **(_maybe_body(others, column) or {})}, plain=plain)
        for column in metrics
    }


def _tags(facets: Body) -> dict[str, str]:
    body = _maybe_body(facets, "tags")
    entries = [] if body is None else _bodies_at(body, "tags")
    return {_text(tag, "key"): _text(tag, "value") for tag in entries if tag.get("source") == TAG_SOURCE}


def _owner(facets: Body) -> str | None:
    body = _maybe_body(facets, "ownership")
    owners = [] if body is None else _bodies_at(body, "owners")
    return _text(owners[0], "name") if owners else None


def _symlinks(facets: Body) -> tuple[facts.Identifier, ...]:
    body = _maybe_body(facets, "symlinks")
    return tuple(
        facts.Identifier(
            namespace=_text(link, "namespace"), name=_text(link, "name"), type=_text(link, "type")
        )
        for link in ([] if body is None else _bodies_at(body, "identifiers"))
    )


def _details(facets: Body, *, plain: bool) -> dict[str, Body]:
    found = {}
    for name, body in facets.items():
        if name.startswith(PREFIX) and name not in RESERVED and type(body) is dict:
            fields = {_unescaped(key): value for key, value in body.items() if not _is_base(key)}
            found[name] = _values(fields, plain=plain)
    return found


def _is_base(key: str) -> bool:
    return key[:1] == "_" and key[1:2] != "_"


def _unescaped(key: str) -> str:
    return key[1:] if key[:1] == "_" else key


def _values(body: Body, *, plain: bool) -> Body:
    """What a caller put in: integers of any width are integers again."""
    if plain:
        return body
    values: Body = exact(body)
    return values


# -- facts about assets outside a run -----------------------------------------------------


def _asset_fact(parsed: OpenLineageEvent) -> facts.AssetEvent:
    dataset = parsed.document["dataset"]
    facets = _body_at(dataset, "facets")
    names = [name for name in _GOVERNANCE if name in facets]
    if len(names) != 1:
        raise _Foreign
    body = _body_at(facets, names[0])
    common = {
        "time": parsed.time,
        "asset": _reference({**body, "namespace": dataset["namespace"], "name": dataset["name"]}),
        "emission": _emission(facets),
        "actor": _maybe_text(body, "actor"),
    }
    return _GOVERNANCE[names[0]](common, body, facets)


def _tagged(common: Body, body: Body, _: Body) -> facts.AssetEvent:
    tags = _body_at(body, "tags")
    return facts.AssetTagged(**common, tags={key: _maybe_text(tags, key) for key in tags})


def _aliased(common: Body, body: Body, _: Body) -> facts.AssetEvent:
    return facts.AssetAliased(**common, alias=_text(body, "alias"), removed=_flag(body, "removed"))


def _recalled(common: Body, body: Body, _: Body) -> facts.AssetEvent:
    return facts.AssetRecalled(**common, reason=_text(body, "reason"), lifted=_flag(body, "lifted"))


def _erased(common: Body, body: Body, _: Body) -> facts.AssetEvent:
    return facts.AssetErased(**common, reason=_text(body, "reason"), location=_maybe_text(body, "location"))


def _described(common: Body, _: Body, facets: Body) -> facts.AssetEvent:
    documentation = _body_at(facets, "documentation")
    return facts.AssetDescribed(**common, description=_text(documentation, "description"))


def _owned(common: Body, _: Body, facets: Body) -> facts.AssetEvent:
    listed = _bodies_at(_body_at(facets, "ownership"), "owners")
    owners = (facts.Owner(name=_text(owner, "name"), role=_maybe_text(owner, "type")) for owner in listed)
    return facts.AssetOwned(**common, owners=tuple(owners))


#: Each reads our own facet, and the standard ones beside it.
_GOVERNANCE: dict[str, Callable[[Body, Body, Body], facts.AssetEvent]] = {
    "headwater_tagging": _tagged,
    "headwater_aliasing": _aliased,
    "headwater_recall": _recalled,
    "headwater_erasure": _erased,
    "headwater_describing": _described,
    "headwater_owning": _owned,
}


# -- reading one field --------------------------------------------------------------------


def _body(value: Any) -> Body:
    if type(value) is not dict:
        raise _Foreign
    body: Body = value
    return body


def _body_at(body: Body, key: str) -> Body:
    return _body(body.get(key))


def _maybe_body(body: Body, key: str) -> Body | None:
    return _body(body[key]) if key in body else None


def _bodies(value: Any) -> list[Body]:
    if type(value) is not list:
        raise _Foreign
    return [_body(entry) for entry in value]


def _bodies_at(body: Body, key: str) -> list[Body]:
    return _bodies(body.get(key))


def _text(body: Body, key: str) -> str:
    value = body.get(key)
    if type(value) is not str:
        raise _Foreign
    return value


def _maybe_text(body: Body, key: str) -> str | None:
    return None if body.get(key) is None else _text(body, key)


def _texts(body: Body, key: str) -> tuple[str, ...]:
    value = body.get(key)
    if type(value) is not list or not all(type(text) is str for text in value):
        raise _Foreign
    return tuple(value)


def _integer(body: Body, key: str) -> int:
    value = body.get(key)
    if type(value) is int:
        return value
    if type(value) is Number:
        try:
            return exact_int(value)
        except ValueError as error:
            raise _Foreign from error
    raise _Foreign


def _maybe_integer(body: Body, key: str) -> int | None:
    return None if body.get(key) is None else _integer(body, key)


def _flag(body: Body, key: str) -> bool:
    value = body.get(key, False)
    if type(value) is not bool:
        raise _Foreign
    return value
