"""What a bad version went into: impact."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from headwater.consumers.cli.formats import GRAPHS, Form, with_form
from headwater.consumers.cli.moments import opened_lineage, with_time
from headwater.consumers.cli.output import print_lines, table
from headwater.consumers.cli.places import with_places

if TYPE_CHECKING:
    from headwater.consumers.answers import Recall
    from headwater.consumers.drawing import Line
    from headwater.consumers.impact import Affected, Hop, Impact, Readers, Source

_SHOWN_ASSETS = 200
_INDENT = "  "


@click.command()
@click.argument("name", required=False)
@click.option("--recalled", is_flag=True, help="Of everything that is recalled and not lifted.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="At most this many productions and readers.",
)
@with_form(*GRAPHS)
@with_time
@with_places
@click.pass_context
def impact(
    ctx: click.Context,
    name: str | None,
    recalled: bool,
    limit: int,
    form: Form,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> None:
    """What NAME went into, by asset: what is still in use first, and by which way.

    NAME as in `headwater lineage`. A version stands for all productions of its content; without one
    it is that of the production published last. Models that an alias points at come first, then
    other models, then the rest.

    \b
    headwater impact customers@9f2c
    headwater impact --recalled
    """
    if (name is None) == (not recalled):
        raise click.UsageError("give either NAME or --recalled")
    time = _moment(as_of)
    with opened_lineage(ctx, store, log, config, known_at) as lineage:
        if form.is_graph:
            form.write_graph(lineage.impact_graph(name, limit=limit, as_of=time))
        elif name is None:
            recalls = lineage.recalled(limit=limit, as_of=time)
            if not form.write(recalls):
                print_lines(_recalled(recalls.recalls))
        else:
            found = lineage.impact(name, limit=limit, as_of=time)
            if not form.write(found):
                print_lines(_impact(found))


def _moment(as_of: int | None) -> datetime | None:
    from headwater.consumers.times import instant

    return instant(as_of)


def _recalled(found: tuple[Impact, ...]) -> Iterator[Line]:
    if not found:
        yield [("nothing is recalled", "dim")]
    for place, impact in enumerate(found):
        if place:
            yield [("", "")]
        yield from _impact(impact)


def _impact(impact: Impact) -> Iterator[Line]:
    from headwater.consumers.drawing import printable, recall_notes

    yield _title(impact)
    for recall in impact.recalls:
        yield [(f"{_INDENT}{printable(_why(impact.of, recall))}", "red")]
    yield [(_INDENT + _extent(impact), "")]
    in_use = [affected for affected in impact.assets if affected.current or affected.aliases]
    superseded = [affected for affected in impact.assets if not (affected.current or affected.aliases)]
    yield from _assets("still in use", in_use)
    yield from _assets("made before, another version is current", superseded)
    yield from _readers(impact.readers)
    told = dict.fromkeys(impact.recalls)
    unknown = sum(affected.recalled_upstream is None for affected in impact.assets)
    others = [recall for affected in impact.assets for recall in affected.recalls if recall not in told]
    yield from recall_notes(others, unknown)
    if impact.truncated:
        yield [(f"{_INDENT}cut at {impact.limit:,}: there is more (--limit)", "bold yellow")]


def _title(impact: Impact) -> Line:
    from headwater.consumers.drawing import printable, recall_words

    return [(printable(_source(impact.of)), "bold"), *_spaced(recall_words(impact))]


def _spaced(words: Line) -> Line:
    return [(f"  {text}", style) for text, style in words]


def _source(source: Source) -> str:
    from headwater.consumers.drawing import short_run, short_version

    name = f"{source.namespace}/{source.name}" if source.name is not None else ""
    if source.version is not None:
        return f"{name}@{short_version(source.version)}"
    run = f"what run {short_run(source.run_id)}… wrote" if source.run_id is not None else ""
    return ", ".join(text for text in (name, run) if text)


def _why(source: Source, recall: Recall) -> str:
    """Why what is asked for must not be relied on: of another recall with what that is about."""
    from headwater.consumers.drawing import recall_title, short_time

    whole = "every version recalled" if recall.whole else "recalled"
    who = f" by {recall.actor}" if recall.actor else ""
    why = f"{whole}{who} {short_time(recall.at)}: {recall.reason or 'no reason given'}"
    named = (source.namespace, source.name, source.version, source.run_id)
    own = (recall.namespace, recall.name, recall.version, recall.run_id)
    is_own = own == named or (recall.whole and own[:2] == named[:2])
    return why if is_own else f"{recall_title(recall)} {why}"


def _extent(impact: Impact) -> str:
    if not impact.productions and not impact.readers:
        return "nothing was made from it"
    runs = sum(readers.runs for readers in impact.readers)
    words = [
        ("at least " if impact.truncated else "")
        + _number(impact.productions, "production", "productions")
        + f" of {_number(len(impact.assets), 'asset', 'assets')} made from it"
    ]
    words += [f"{_number(runs, 'run', 'runs')} read it or what was made of it"] if runs else []
    return ", ".join(words)


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _assets(title: str, found: list[Affected]) -> Iterator[Line]:
    if not found:
        return
    yield [("", "")]
    yield [(title, "bold cyan")]
    for affected in found[:_SHOWN_ASSETS]:
        yield _asset(affected)
        yield _way(affected)
    if len(found) > _SHOWN_ASSETS:
        yield [(f"{_INDENT}… and {len(found) - _SHOWN_ASSETS:,} more (--json has all)", "dim")]


def _asset(affected: Affected) -> Line:
    from headwater.consumers.drawing import printable, recall_words, short_time, short_version

    words: Line = [
        (_INDENT, ""),
        (printable(f"{affected.namespace}/{affected.name}"), "bold"),
        (f"@{printable(short_version(affected.version))}" if affected.version else "", "yellow"),
    ]
    words += _spaced(recall_words(affected))
    if affected.type:
        words.append((f"  {printable(affected.type)}", ""))
    for pointer in affected.aliases:
        other = pointer.version != affected.version
        at = f" (@{short_version(pointer.version)})" if other else ""
        words.append((f"  {printable(pointer.alias + at)}", "bold red"))
    if affected.current:
        words.append(("  current", "red"))
    if affected.published_at is not None:
        words.append((f"  {short_time(affected.published_at)}", "dim"))
    else:
        words.append(("  never published", "dim"))
    if affected.productions > 1:
        words.append((f"  the last of {affected.productions:,}", "dim"))
    return words


def _way(affected: Affected) -> Line:
    """`customers → clean → orders.clean → total`: assets and, between them, steps."""
    from headwater.consumers.drawing import printable

    left_out = affected.steps + 1 - len(affected.way)
    words = []
    for place, hop in enumerate(affected.way):
        if left_out and place == len(affected.way) // 2:
            words.append(f"… {_number(left_out, 'production', 'productions')} …")
        words.append(_hop(hop, first=place == 0))
    return [(f"{_INDENT}{_INDENT}{printable(' → '.join(words))}", "dim")]


def _hop(hop: Hop, *, first: bool) -> str:
    return hop.name if first else f"{_step(hop)} → {hop.name}"


def _step(hop: Hop) -> str:
    return hop.job.name if hop.job is not None else "a run"


def _readers(found: tuple[Readers, ...]) -> Iterator[Line]:
    from headwater.consumers.drawing import short_time

    if not found:
        return
    yield [("", "")]
    yield [("only read", "bold cyan")]
    rows = [
        (
            f"{readers.job.namespace}/{readers.job.name}" if readers.job else "(no job)",
            f"{readers.runs:,}",
            short_time(readers.last_at),
            ", ".join(readers.read),
        )
        for readers in found
    ]
    for line in table(("JOB", "RUNS", "LAST", "READ"), rows):
        yield [(_INDENT, ""), *line]
