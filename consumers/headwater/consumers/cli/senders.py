"""Whether every event that was emitted is here: emitters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from headwater.consumers.cli import NO
from headwater.consumers.cli.output import json_option, print_json, print_lines, table
from headwater.consumers.cli.places import resolve, with_places

if TYPE_CHECKING:
    from headwater.consumers.completeness import EmitterReport
    from headwater.consumers.drawing import Line

_LISTED = 5


@click.command()
@click.option("--all", "include_complete", is_flag=True, help="Also those that are certain to be complete.")
@json_option
@with_places
@click.pass_context
def emitters(
    ctx: click.Context,
    include_complete: bool,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """The processes of which an event may be missing.

    Every process numbers its events and chains them by hash. Listed are those with a number
    missing, with a broken chain, and those that never said which event is their last. Ends
    with 1 when an event is missing or altered for certain, otherwise with 0.
    """
    from headwater.consumers.asking import opened
    from headwater.consumers.completeness import emitters as reports

    with opened(resolve(ctx, store, log, config).store) as found:
        known = reports(found)
    listed = [report for report in known if include_complete or not report.complete]
    if as_json:
        print_json({"emitters": [_document(report) for report in listed]})
    elif listed:
        print_lines(_table(listed))
    else:
        print_lines([[(_nothing(len(known)), "dim")]])
    return NO if any(report.damaged for report in known) else 0


def _nothing(known: int) -> str:
    if not known:
        return "no emitters"
    return f"every event of {known:,} emitter{'' if known == 1 else 's'} is here, unaltered"


def _table(reports: Sequence[EmitterReport]) -> list[Line]:
    from headwater.consumers.details import moment
    from headwater.consumers.drawing import short_time

    return table(
        ("EMITTER", "EVENTS", "FIRST", "LAST", "STATE"),
        [
            (
                report.emitter_id,
                f"{report.events:,}",
                short_time(moment(report.first_at)),
                short_time(moment(report.last_at)),
                ("; ".join(_state(report)), _style(report)),
            )
            for report in reports
        ],
    )


def _style(report: EmitterReport) -> str:
    return "red" if report.damaged else "green" if report.complete else "yellow"


def _state(report: EmitterReport) -> Iterator[str]:
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


def _document(report: EmitterReport) -> dict[str, Any]:
    from headwater.consumers.details import moment

    return {
        "emitter_id": report.emitter_id,
        "events": report.events,
        "last_sequence": report.last_sequence,
        "first_at": moment(report.first_at),
        "last_at": moment(report.last_at),
        "complete": report.complete,
        "closed": report.closed,
        "gaps": [{"first": gap.first, "last": gap.last} for gap in report.gaps],
        "broken": list(report.broken),
    }
