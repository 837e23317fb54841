"""Finding things, and what was measured of them: search, metrics."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from headwater.consumers.cli.formats import Form, with_form
from headwater.consumers.cli.moments import opened_lineage, with_time
from headwater.consumers.cli.output import print_lines, table, width
from headwater.consumers.cli.places import with_places

if TYPE_CHECKING:
    from headwater.consumers.drawing import Line
    from headwater.consumers.metrics import Metrics, Series
    from headwater.consumers.searching import Found, SearchResults

_positive = click.IntRange(min=1)


@click.command()
@click.argument("query", nargs=-1, required=True)
@click.option(
    "--type", "type_", metavar="TYPE", help="Only asset, run or job; or assets of a type: Model, Dataset, …"
)
@click.option("--versions", is_flag=True, help="Each version that fits, and not only an asset's newest.")
@click.option("--limit", type=_positive, default=20, show_default=True, help="At most this many.")
@with_form()
@with_time
@with_places
@click.pass_context
def search(
    ctx: click.Context,
    query: tuple[str, ...],
    type_: str | None,
    versions: bool,
    limit: int,
    form: Form,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> None:
    """Assets, runs and jobs by what is said of them; every term must fit.

    A term is a word or the beginning of one, or says where to look: name:, asset:, job:, type:,
    tag:, owner:, description:, column:, parameter:, metric:, code:, model:. Metrics and parameters
    are compared with = < > <= >= (quote them for the shell), tags with =. Of an asset the newest
    version that fits is told, and how many others do.

    \b
    headwater search churn
    headwater search type:Model 'depth>6'
    headwater search column:email owner:crm
    headwater search 'auc>0.9' --type run      runs that measured it, or wrote what says it
    headwater search 'auc>0.9' type:Model --versions --as-of 2026-03-03
    headwater search code:4f1c9ab
    """
    from headwater.consumers.times import instant

    if not any(part.strip() for part in query):
        raise click.UsageError("nothing to search for: give a word, or a term like column:email or auc>0.9")
    with opened_lineage(ctx, store, log, config, known_at) as found:
        answer = found.search(*query, type=type_, limit=limit, versions=versions, as_of=instant(as_of))
    if form.write(answer):
        return
    lines = _results(answer, query, each_version=versions)
    if not answer.results and type_ is not None and type_.lower() == "run":
        lines.append([("names, columns and tags of assets are not said of runs: without --type run", "dim")])
    print_lines(lines)


def _results(answer: SearchResults, query: Sequence[str], *, each_version: bool) -> list[Line]:
    if not answer.results:
        from headwater.consumers.drawing import printable
        from headwater.consumers.nearest import did_you_mean

        if answer.as_of is not None and (later := _typed(answer.nearest, query)):
            return [[(f"nothing found ({printable(later)} was not there yet)", "dim")]]
        near = did_you_mean(answer.nearest)
        return [[(f"nothing found{f' ({near})' if near else ''}", "dim")]]
    from headwater.consumers.drawing import recall_notes

    rows = [_row(found, each_version) for found in answer.results]
    lines = table(("KIND", "NAME", "WHEN", "WHY", ""), rows)
    if answer.more:
        lines.append([("there is more, or may be: narrow the search, or --limit", "dim")])
    if not each_version and any(found.versions > 1 for found in answer.results):
        lines.append([("of assets the newest version that fits (--versions lists each)", "dim")])
    unknown = sum(found.recalled_upstream is None for found in answer.results)
    return lines + recall_notes((recall for found in answer.results for recall in found.recalls), unknown)


def _typed(nearest: Sequence[str], query: Sequence[str]) -> str | None:
    """The name that was typed as something is called now."""
    terms = {term.rpartition(":")[2].strip('"').lower() for part in query for term in (part, *part.split())}
    return next((name for name in nearest if name.lower() in terms), None)


def _row(found: Found, each_version: bool) -> tuple[str | tuple[str, str], ...]:
    from headwater.consumers.drawing import recall_cell, short_time, short_version

    name = f"{found.namespace}/{found.name}" if found.name is not None else ""
    if found.kind == "run":
        name = f"{found.id}  {name}".rstrip()
    elif found.version is not None:
        name += f"@{short_version(found.version).rstrip('…')}"
    kind = found.type if found.kind == "asset" and found.type else found.kind
    if not each_version and found.versions:
        name += _others(found)
    why = ", ".join(dict.fromkeys(f"{match.where} {match.text}" for match in found.matches))
    mark, style = recall_cell(found, of_run=found.kind == "run")
    if found.recalled_before:
        before = f"{found.recalled_before:,} recalled before"
        mark, style = ", ".join(word for word in (mark, before) if word), "bold red"
    return (kind, name, short_time(found.at) if found.at else "", (why, "dim"), (mark, style))


def _others(found: Found) -> str:
    """How many versions of it fit beside this one."""
    others = found.versions - 1
    if not found.versions_complete:
        return f" and {others:,} or more" if others else " and maybe more"
    return f" and {others:,} more" if others else ""


@click.command()
@click.argument("name")
@click.option("--key", metavar="KEY", help="Only this metric.")
@click.option("--plot", "is_plot", is_flag=True, help="Draw the curves.")
@click.option(
    "--points",
    type=_positive,
    default=1_000,
    show_default=True,
    help="At most this many points a curve; peaks stay.",
)
@click.option(
    "--history", type=_positive, default=50, show_default=True, help="At most this many versions or runs."
)
@with_form()
@with_time
@with_places
@click.pass_context
def metrics(
    ctx: click.Context,
    name: str,
    key: str | None,
    is_plot: bool,
    points: int,
    history: int,
    form: Form,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> None:
    """What was measured: a run's curves, an asset's values over its versions, a job's over its runs.

    \b
    headwater metrics 0198c2f4 --plot          the curves of a run
    headwater metrics churn-metrics            the values of each version
    headwater metrics churn.train --key auc    the last value of each run of a step
    """
    from headwater.consumers.details import instant

    with opened_lineage(ctx, store, log, config, known_at) as found:
        answer = found.metrics(name, key=key, points=points, history=history, as_of=instant(as_of))
    if form.write(answer):
        return
    lines = _curves(answer) if is_plot else _summary(answer) if answer.of == "run" else _history(answer)
    if answer.more:
        lines.append([(f"the last {history:,}: there are older ones (--history)", "dim")])
    lines += _metrics_recalls(answer)
    print_lines(lines if answer.series else [[("no metrics", "dim")]])


def _metrics_recalls(answer: Metrics) -> list[Line]:
    from headwater.consumers.drawing import recall_notes, recall_words

    unknown = {p.run_id for series in answer.series for p in series.points if p.recalled_upstream is None}
    lines: list[Line] = []
    if answer.of == "run" and answer.series:
        # All points are one run's.
        lines = [recall_words(answer.series[0].points[0], of_run=True)]
    return [line for line in lines if line] + recall_notes(answer.recalls, len(unknown))


def _curves(answer: Metrics) -> list[Line]:
    from headwater.consumers import plotting

    has_braille = (sys.stdout.encoding or "").lower().startswith("utf")
    # One value that an asset of the run says is no curve.
    curves = [one for one in answer.series if answer.of != "run" or one.asset is None]
    return plotting.plot(curves or answer.series, width(), ascii=not has_braille)


def _summary(answer: Metrics) -> list[Line]:
    from headwater.consumers.plotting import number

    def row(series: Series) -> tuple[str, ...]:
        last = series.points[-1]
        nans = f"{series.not_numbers:,}" if series.not_numbers else ""
        least, greatest = (
            number(value) if value is not None else "" for value in (series.least, series.greatest)
        )
        step = str(last.step) if series.asset is None else ""
        return (series.label, f"{series.total:,}", step, number(series.last), least, greatest, nans)

    return table(("METRIC", "POINTS", "STEP", "LAST", "LEAST", "GREATEST", "NAN"), map(row, answer.series))


def _history(answer: Metrics) -> list[Line]:
    """A line for each version or run, a column for each metric."""
    from headwater.consumers.drawing import recall_cell, short_time, short_version
    from headwater.consumers.plotting import number

    of_place: dict[int, list[str]] = {}
    marks: dict[int, tuple[str, str]] = {}
    for column, series in enumerate(answer.series):
        for point in series.points:
            if point.step not in of_place:
                what = point.run_id if answer.of == "job" else short_version(point.version)
                when = short_time(point.at) if point.at else ""
                of_place[point.step] = [when, what or "", *[""] * len(answer.series)]
                marks[point.step] = recall_cell(point, of_run=answer.of == "job")
            of_place[point.step][2 + column] = number(point.value)
    headers = ("WHEN", "RUN" if answer.of == "job" else "VERSION", *(one.label for one in answer.series), "")
    return table(headers, [(*of_place[place], marks[place]) for place in sorted(of_place)])
