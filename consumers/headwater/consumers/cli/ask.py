"""The questions: lineage, show, runs, assets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from headwater.consumers.cli.export import graphs_of, moment_of, text_of, with_format, write_listing
from headwater.consumers.cli.formats import Form, chosen, with_form
from headwater.consumers.cli.moments import opened_lineage, with_time
from headwater.consumers.cli.output import json_option, print_json, print_lines, print_text, table, width
from headwater.consumers.cli.places import with_places

if TYPE_CHECKING:
    from headwater.consumers.answers import Asset, Graph, ListedRun
    from headwater.consumers.asking import Lineage
    from headwater.consumers.columns import ColumnGraph
    from headwater.consumers.drawing import Line

FORMATS = ("tree", "json", "mermaid", "dot", "graphml")
STATES = ("START", "RUNNING", "COMPLETE", "FAIL", "ABORT", "OTHER")
_positive = click.IntRange(min=1)


@click.command()
@click.argument("name")
@click.option("--up", is_flag=True, help="What it was made of (the default).")
@click.option("--down", is_flag=True, help="What it went into.")
@click.option("--depth", type=click.IntRange(min=0), help="At most this many steps away (default: all).")
@click.option("--limit", type=_positive, default=20_000, show_default=True, help="At most this many nodes.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="tree",
    show_default=True,
    help="How to draw it.",
)
@click.option(
    "--include-failed", is_flag=True, help="Also what failed runs may have written, as possibly written."
)
@click.option("--column", metavar="COLUMN", help="The lineage of this column (as NAME#COLUMN); '' for all.")
@json_option
@with_time
@with_places
@click.pass_context
def lineage(
    ctx: click.Context,
    name: str,
    up: bool,
    down: bool,
    depth: int | None,
    limit: int,
    format_: str,
    column: str | None,
    include_failed: bool,
    as_json: bool,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> None:
    """What NAME was made of, or what it went into.

    NAME is an asset (`churn-model`, `crm/churn-model`), one version of it (`churn-model@9f2c`,
    the start of a version, an alias, or the start of the run that wrote it), a run, or a
    production. Without a version it is the one published last. NAME#COLUMN is one of its columns,
    NAME# all of them.

    \b
    headwater lineage churn-model
    headwater lineage customers --down --depth 3
    headwater lineage churn-model --as-of 2026-03-03
    headwater lineage 'customers#tenure' --down
    headwater lineage churn-model --format mermaid
    """
    within = {"depth": depth, "limit": limit, "as_of": moment_of(as_of), "include_failed": include_failed}
    asked = [direction for direction, wanted in (("up", up or not down), ("down", down)) if wanted]
    format_ = chosen(ctx, as_json=as_json, format_=format_)
    with opened_lineage(ctx, store, log, config, known_at) as found:
        graphs = graphs_of(found, name, asked, column, within)
    if format_ == "json":
        print_json(graphs)
    elif format_ == "tree":
        _draw(list(graphs.values()))
    else:
        print_text(text_of(graphs, format_))


def _draw(graphs: Sequence[Graph | ColumnGraph]) -> None:
    from headwater.consumers import column_drawing, drawing
    from headwater.consumers.answers import Graph

    for place, graph in enumerate(graphs):
        if len(graphs) > 1:
            title = "made of" if graph.direction == "up" else "went into"
            print_lines([*([[("", "")]] if place else []), [(title, "italic")]])
        if isinstance(graph, Graph):
            print_lines(drawing.tree(graph, width()))
            print_lines([[(note, "dim")] for note in drawing.notes(graph)])
        else:
            print_lines(column_drawing.tree(graph, width()))
            print_lines([[(note, "dim")] for note in column_drawing.notes(graph)])


@click.command()
@click.argument("name")
@with_form()
@with_time
@with_places
@click.pass_context
def show(
    ctx: click.Context,
    name: str,
    form: Form,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> None:
    """Everything known about an asset, a version, or a run.

    \b
    headwater show churn-model
    headwater show churn-model@9f2c
    headwater show 0198c2f4            the run whose id begins so
    """
    with opened_lineage(ctx, store, log, config, known_at) as found:
        details = found.show(name, as_of=moment_of(as_of))
    if form.write(details):
        return
    from headwater.consumers.cli.page import page

    print_lines(page(details))


@click.command()
@click.option("--job", metavar="NAME", help="Only runs of this job, step or pipeline.")
@click.option("--state", type=click.Choice(STATES, case_sensitive=False), help="Only runs in this state.")
@click.option("--limit", type=_positive, default=50, show_default=True, help="At most this many.")
@with_format
@json_option
@with_time
@with_places
@click.pass_context
def runs(
    ctx: click.Context,
    job: str | None,
    state: str | None,
    limit: int,
    format_: str,
    output: str,
    as_json: bool,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> None:
    """What ran, the latest first.

    \b
    headwater runs --job train
    headwater runs --state fail
    """
    format_ = chosen(ctx, as_json=as_json, format_=format_)
    with opened_lineage(ctx, store, log, config, known_at) as found:
        answer = found.runs(job=job, state=state, limit=limit, as_of=moment_of(as_of))
    if format_ != "table":
        from headwater.consumers.answers import ListedRun

        write_listing({"runs": answer, "as_of": moment_of(as_of)}, ListedRun, format_, output)
    else:
        print_lines(_runs_table(answer) if answer else [[("no runs", "dim")]])


def _runs_table(found: tuple[ListedRun, ...]) -> list[Line]:
    from headwater.consumers.drawing import duration, recall_cell, recall_notes, short_time

    styles = {"COMPLETE": "green", "FAIL": "red", "ABORT": "red"}
    lines = table(
        ("RUN", "JOB", "STATE", "STARTED", "TOOK", ""),
        [
            (
                run.external_id or run.id,
                f"{run.job.namespace}/{run.job.name}" if run.job else "",
                (run.state, styles.get(run.state, "yellow")),
                short_time(run.started_at or run.first_at),
                "" if run.duration_s is None else duration(run.duration_s),
                recall_cell(run, of_run=True),
            )
            for run in found
        ],
    )
    unknown = sum(run.recalled_upstream is None for run in found)
    return lines + recall_notes((recall for run in found for recall in run.recalls), unknown)


@click.command()
@click.argument("pattern", required=False)
@click.option("--type", "type_", metavar="TYPE", help="Only assets of this type: Dataset, Model, …")
@click.option("--limit", type=_positive, default=200, show_default=True, help="At most this many.")
@with_format
@json_option
@with_time
@with_places
@click.pass_context
def assets(
    ctx: click.Context,
    pattern: str | None,
    type_: str | None,
    limit: int,
    format_: str,
    output: str,
    as_json: bool,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> None:
    """What there is; PATTERN may hold * and ?.

    \b
    headwater assets
    headwater assets 's3://lake/*'
    headwater assets --type Model
    """
    format_ = chosen(ctx, as_json=as_json, format_=format_)
    with opened_lineage(ctx, store, log, config, known_at) as found:
        answer = found.assets(pattern, type=type_, limit=limit + 1, as_of=moment_of(as_of))
        near = [] if answer else _near(found, pattern, type_)
    listed, more = answer[:limit], len(answer) > limit
    if format_ != "table":
        from headwater.consumers.answers import Asset

        document = {"assets": listed, "more": more, "as_of": moment_of(as_of)}
        write_listing(document, Asset, format_, output)
        return
    print_lines(_assets_table(listed) if listed else [[(f"no assets{_near_text(near)}", "dim")]])
    if more:
        print_lines([[(f"the first {limit:,}: there are more (--limit)", "dim")]])


def _near(found: Lineage, pattern: str | None, type_: str | None) -> list[str]:
    """What may have been meant, where nothing was found."""
    terms = [f'type:"{type_}"'] if type_ else [f'name:"{pattern}"'] if pattern else []
    return [name.removeprefix("type:") for term in terms for name in found.search(term).nearest]


def _near_text(near: list[str]) -> str:
    from headwater.consumers.nearest import did_you_mean

    return f" ({did_you_mean(near)})" if near else ""


def _assets_table(found: tuple[Asset, ...]) -> list[Line]:
    from headwater.consumers.drawing import short_time, short_version

    return table(
        ("ASSET", "TYPE", "VERSIONS", "LATEST", "PUBLISHED", ""),
        [
            (
                f"{asset.namespace}/{asset.name}",
                asset.type or "",
                f"{asset.versions:,}",
                (short_version(asset.last_version) if asset.last_version else "", "yellow"),
                short_time(asset.last_published_at) if asset.last_published_at else "never written",
                (_recalled(asset), "bold red"),
            )
            for asset in found
        ],
    )


def _recalled(asset: Asset) -> str:
    from headwater.consumers.drawing import recall_cell

    told = [recall_cell(asset)[0]]
    if asset.recalls and not asset.recalled:
        told.append(f"{asset.recalls:,} recalled before")
    return ", ".join(word for word in told if word)
