"""The page that `headwater show` prints: everything about one asset or one run, as lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headwater.consumers.answers import (
    AssetDetails,
    Code,
    Read,
    Recall,
    Run,
    RunDetails,
    Statement,
    Written,
)
from headwater.consumers.cli.output import table
from headwater.consumers.drawing import (
    Line,
    duration,
    printable,
    recall_cell,
    recall_notes,
    recall_title,
    recall_words,
    short_run,
    short_time,
    short_version,
)

_INDENT = "  "
_LONGEST_VALUE = 160
_RECALLS = 5


def page(details: AssetDetails | RunDetails) -> list[Line]:
    """Everything in `details` that a person wants to read; `--json` has all of it."""
    found = _asset(details) if isinstance(details, AssetDetails) else _run_page(details)
    return list(found)


def _asset(asset: AssetDetails) -> Iterator[Line]:
    yield [(printable(asset.name), "bold"), (f"  {printable(asset.namespace)}", "dim")]
    facts: dict[str, Any] = {"type": " · ".join(word for word in (asset.type, *asset.summary) if word)}
    if asset.production is None:
        facts["produced"] = "by nothing in the log: origin unknown"
    else:
        facts["version"] = asset.production.version or "(none named: what this run wrote)"
        facts["production"] = asset.production.id
        facts["published"] = asset.production.published_at and short_time(asset.production.published_at)
        facts["lifecycle"] = asset.production.lifecycle
    facts["location"] = asset.location
    facts["also known as"] = ", ".join(asset.also_known_as)
    facts |= {_STATISTICS.get(key, key): f"{value:,}" for key, value in asset.statistics.items()}
    yield from _facts(facts)
    yield from _recalls(asset.recalls, asset.upstream_recalls, asset.upstream_recalls_complete)
    yield from _values("tags", asset.tags)
    yield from _statements(asset)
    yield from _values("properties", asset.properties)
    yield from _columns(asset)
    if asset.run is not None:
        yield from _section("produced by", _run_facts(asset.run))
        yield from _values("parameters", asset.parameters)
        yield from _environment(asset.environment)
    yield from _inputs(asset.inputs)
    yield from _reproductions(asset)
    yield from _written("history", asset.history)
    yield from _facet_names(asset.facets)


_STATISTICS = {"row_count": "rows", "size": "bytes", "file_count": "files"}


def _run_page(details: RunDetails) -> Iterator[Line]:
    run = details.run
    title = f"{run.job.name}" if run.job else "(no job)"
    yield [(printable(title), "bold"), (f"  {printable(run.job.namespace)}" if run.job else "", "dim")]
    yield from _facts(_run_facts(run))
    yield from _recalls((), details.upstream_recalls, details.upstream_recalls_complete)
    others = recall_notes(recall for recall in details.recalls if recall not in details.upstream_recalls)
    if others:
        yield [("", "")]
        yield [(_INDENT, ""), *recall_words(details, of_run=True)]
        yield from _indented(others)
    if details.error:
        yield from _error(details.error)
    yield from _values("parameters", details.parameters)
    yield from _environment(details.environment)
    yield from _inputs(details.inputs)
    yield from _written("outputs", details.outputs)
    yield from _metrics(details)
    if details.children:
        yield from _title("steps")
        yield from _indented(
            table(
                ("RUN", "JOB", "STATE", "STARTED", "TOOK", ""),
                [
                    (
                        child.external_id or child.id,
                        child.job.name if child.job else "",
                        child.state,
                        short_time(child.started_at or child.first_at),
                        "" if child.duration_s is None else duration(child.duration_s),
                        recall_cell(child, of_run=True),
                    )
                    for child in details.children
                ],
            )
        )
    yield from _facet_names(details.facets)


def _run_facts(run: Run) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "run": run.id,
        "external id": run.external_id,
        "job": f"{run.job.namespace}/{run.job.name}" if run.job else None,
        "state": run.state,
        "started": run.started_at and short_time(run.started_at),
        "ended": run.ended_at and short_time(run.ended_at),
        "took": None if run.duration_s is None else duration(run.duration_s),
        "part of": f"{run.parent_job.namespace}/{run.parent_job.name}" if run.parent_job else None,
        "part of run": run.parent_run_id,
    }
    return facts | (_code_facts(run.code) if run.code else {})


def _code_facts(code: Code) -> dict[str, Any]:
    dirty = {None: "", True: " (with uncommitted changes)", False: " (clean)"}[code.git_dirty]
    place = f"{code.path}:{code.line}" if code.path and code.line else code.path
    return {
        "function": code.function,
        "git": f"{code.git_commit}{dirty}" if code.git_commit else None,
        "branch": code.git_branch,
        "file": place,
        "source": code.source_digest and f"sha256:{code.source_digest[:16]}…",
    }


def _error(error: Mapping[str, Any]) -> Iterator[Line]:
    yield from _title("error")
    yield [(f"{_INDENT}{printable(str(error.get('message', '')))}", "red")]
    trace = error.get("stackTrace")
    for line in trace.splitlines() if isinstance(trace, str) else []:
        yield [(f"{_INDENT}{printable(line)}", "dim")]


def _environment(environment: Mapping[str, Any]) -> Iterator[Line]:
    told = {key: value for key, value in environment.items() if key in ("python", "platform", "digest")}
    packages = environment.get("packages")
    if isinstance(packages, Mapping):
        told["packages"] = f"{len(packages):,} (--json lists them)"
    yield from _values("environment", told)


def _columns(asset: AssetDetails) -> Iterator[Line]:
    if not asset.columns:
        return
    told = dict.fromkeys(key for column in asset.columns for key in _plain(column.metrics))
    keys = [*(key for key in _ORDER if key in told), *(key for key in told if key not in _ORDER)]
    yield from _title(f"columns ({len(asset.columns):,})")
    rows = [
        (column.name, column.type or "", *(_value(_plain(column.metrics).get(key, "")) for key in keys))
        for column in asset.columns
    ]
    yield from _indented(table(("NAME", "TYPE", *(_heading(key) for key in keys)), rows))


#: What people read first; anything else comes behind.
_ORDER = ("count", "nullCount", "distinctCount", "min", "mean", "median", "max", "std", "sum")


def _plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if isinstance(value, int | float)}


def _heading(key: str) -> str:
    return "".join(f" {c}" if c.isupper() else c for c in key).upper()


def _statements(asset: AssetDetails) -> Iterator[Line]:
    """What curators said, apart from tags, which stand among the tags."""
    said = [statement for statement in asset.statements if statement.kind != "tag"]
    if not said:
        return
    yield from _title("curation")
    yield from _indented(
        table(
            ("WHAT", "", "VERSION", "WHEN", "WHO", ""),
            [
                (
                    (statement.kind, "bold red" if statement.kind == "recall" else ""),
                    _words(statement),
                    _about(statement),
                    short_time(statement.at),
                    statement.actor or "",
                    recall_cell(statement),
                )
                for statement in said
            ],
        )
    )


def _words(statement: Statement) -> str:
    if statement.kind != "ownership":
        return statement.value or statement.key
    import json

    owners = json.loads(statement.value or "[]")
    return ", ".join(name + (f" ({role})" if role else "") for name, role in owners)


def _about(statement: Statement) -> str:
    if statement.version is not None:
        return short_version(statement.version)
    return "all" if statement.whole else f"run {short_run(statement.run_id or '?')}…"


def _recalls(own: Iterable[Recall], upstream: tuple[Recall, ...], complete: bool) -> Iterator[Line]:
    """What must not be relied on, before anything else is told."""
    lines = [("recalled", recall) for recall in own]
    lines += [(f"made from {recall_title(recall)}, recalled", recall) for recall in upstream[:_RECALLS]]
    if lines or not complete:
        yield [("", "")]
    for title, recall in lines:
        who = f" by {recall.actor}" if recall.actor else ""
        words = f"{title}{who} {short_time(recall.at)}: {recall.reason or 'no reason given'}"
        yield [(f"{_INDENT}{printable(words)}", "bold red")]
    if len(upstream) > _RECALLS:
        yield [(f"{_INDENT}… and from {len(upstream) - _RECALLS:,} more that are recalled (--json)", "red")]
    if not complete:
        yield [(f"{_INDENT}its lineage goes on too far to know all recalls in it", "red")]


def _reproductions(asset: AssetDetails) -> Iterator[Line]:
    """What came of the recorded attempts to make this version again."""
    if not asset.reproductions:
        return
    words = {"identical": "made again, identical", "different": "made again, another content came out"}
    yield from _title("reproductions")
    for one in asset.reproductions[:_RECALLS]:
        who = f" by {printable(one.actor)}" if one.actor else ""
        style = {"identical": "green", "different": "bold red"}.get(one.outcome, "yellow")
        where = f" in {one.step}" if one.step else ""
        why = f": {one.reason}" if one.reason else ""
        told = words.get(one.outcome, f"{one.actor or 'somebody'} tried: {one.outcome}{where}{why}")
        if one.outcome in words:
            who += f"{where}{why}"
        yield [
            (f"{_INDENT}{short_time(one.at)}  ", ""),
            (printable(told), style),
            (printable(f"{who if one.outcome in words else ''}  run {short_run(one.run_id)}…"), "dim"),
        ]
    if len(asset.reproductions) > _RECALLS:
        yield [(f"{_INDENT}… and {len(asset.reproductions) - _RECALLS:,} before (--json)", "dim")]


def _inputs(inputs: Iterable[Read]) -> Iterator[Line]:
    rows = [
        (
            f"{read.namespace}/{read.name}",
            (short_version(read.version) if read.version else "", "yellow"),
            (_BINDINGS[read.binding], "dim"),
            ("recalled" if read.recalled else "", "bold red"),
        )
        for read in inputs
    ]
    if rows:
        yield from _title("inputs")
        yield from _indented(table(("ASSET", "VERSION", "HOW WE KNOW", ""), rows))


_BINDINGS = {
    "named": "named by the event",
    "version": "inferred from the version",
    "current": "inferred: current at the time",
    "later": "inferred: published while it read on",
    "dropped": "dropped before",
    "unknown": "origin unknown",
}


def _written(title: str, written: Iterable[Written]) -> Iterator[Line]:
    rows = [
        (
            f"{production.namespace}/{production.name}",
            (short_version(production.version), "yellow"),
            short_time(production.published_at) if production.published_at else "not published",
            production.run_id,
            production.state,
            recall_cell(production),
        )
        for production in written
    ]
    if rows:
        yield from _title(title)
        yield from _indented(table(("ASSET", "VERSION", "PUBLISHED", "RUN", "STATE", ""), rows))


def _metrics(details: RunDetails) -> Iterator[Line]:
    if not details.metrics:
        return
    yield from _title("metrics")
    rows = [
        (
            metric.key,
            "NaN" if metric.value is None else f"{metric.value:g}",
            f"{metric.step:,}",
            f"{metric.points:,}",
        )
        for metric in details.metrics
    ]
    yield from _indented(table(("METRIC", "LAST", "STEP", "POINTS"), rows))


def _facet_names(facets: Mapping[str, Any]) -> Iterator[Line]:
    if facets:
        yield from _title("facets")
        yield [(f"{_INDENT}{printable(', '.join(sorted(facets)))}  (--json shows them)", "dim")]


def _title(title: str) -> Iterator[Line]:
    yield [("", "")]
    yield [(title, "bold cyan")]


def _section(title: str, facts: Mapping[str, Any]) -> Iterator[Line]:
    yield from _title(title)
    yield from _facts(facts)


def _values(title: str, values: Mapping[str, Any]) -> Iterator[Line]:
    if values:
        yield from _section(title, {key: _value(value) for key, value in values.items()})


def _facts(facts: Mapping[str, Any]) -> Iterator[Line]:
    known = {key: str(value) for key, value in facts.items() if value not in (None, "")}
    wide = max((len(key) for key in known), default=0)
    for key, value in known.items():
        yield [(f"{_INDENT}{printable(key).ljust(wide)}  ", "dim"), (printable(value), "")]


def _value(value: Any) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, float):
        text = f"{value:g}"
    else:
        import orjson

        text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _indented(lines: Iterable[Line]) -> Iterator[Line]:
    for line in lines:
        yield [(_INDENT, ""), *line]
