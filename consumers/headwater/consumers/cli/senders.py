"""Whether every event that was emitted is here: emitters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from headwater.consumers.cli import NO
from headwater.consumers.cli.formats import Form, with_form
from headwater.consumers.cli.moments import opened_lineage, with_time
from headwater.consumers.cli.output import print_lines, table
from headwater.consumers.cli.places import with_places

if TYPE_CHECKING:
    from headwater.consumers.completeness import Emitter
    from headwater.consumers.drawing import Line

_LISTED = 5


@click.command()
@click.argument("emitter", required=False)
@click.option("--all", "every", is_flag=True, help="Also those that are certain to be complete.")
@with_form()
@with_time
@with_places
@click.pass_context
def emitters(
    ctx: click.Context,
    emitter: str | None,
    every: bool,
    form: Form,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """The processes of which an event may be missing.

    Every process numbers its events and chains them by hash. Listed are those with a number
    missing, with a broken chain, and those that never said which event is their last; or EMITTER
    alone (the beginning of its id). Ends with 1 when an event is missing or altered for certain,
    otherwise with 0.

    \b
    headwater emitters
    headwater emitters --known-at 2026-03-03
    """
    from headwater.consumers.times import instant

    with opened_lineage(ctx, store, log, config, known_at) as found:
        answer = found.emitters(emitter, every=every, as_of=instant(as_of))
    if form.write(answer):
        pass
    elif answer.emitters:
        print_lines(_table(answer.emitters))
    else:
        print_lines([[(_nothing(answer.known), "dim")]])
    return NO if answer.damaged else 0


def _nothing(known: int) -> str:
    if not known:
        return "no emitters"
    return f"every event of {known:,} emitter{'' if known == 1 else 's'} is here, unaltered"


def _table(reports: Sequence[Emitter]) -> list[Line]:
    from headwater.consumers.drawing import short_time

    return table(
        ("EMITTER", "EVENTS", "FIRST", "LAST", "STATE"),
        [
            (
                report.emitter_id,
                f"{report.events:,}",
                short_time(report.first_at),
                short_time(report.last_at),
                ("; ".join(_state(report)), _style(report)),
            )
            for report in reports
        ],
    )


def _style(report: Emitter) -> str:
    return "red" if report.damaged else "green" if report.complete else "yellow"


def _state(report: Emitter) -> Iterator[str]:
    if report.complete:
        yield "complete"
    if report.gaps:
        missing = sum(gap.last - gap.first + 1 for gap in report.gaps)
        ranges = [str(g.first) if g.first == g.last else f"{g.first}–{g.last}" for g in report.gaps]
        yield f"{missing:,} missing: {_some(ranges)}"
    if report.broken:
        yield f"chain broken at {_some([str(number) for number in report.broken])}"
    if not report.closed:
        yield f"unclosed: unknown after {report.last_sequence}"


def _some(texts: Sequence[str]) -> str:
    """The first few; --json has them all."""
    return ", ".join([*texts[:_LISTED], *(["…"] if len(texts) > _LISTED else [])])
