"""What is missing: gaps."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from headwater.consumers.cli import NO
from headwater.consumers.cli.formats import Form, with_form
from headwater.consumers.cli.moments import as_moment, opened_lineage, with_time
from headwater.consumers.cli.output import print_lines, table
from headwater.consumers.cli.places import with_places
from headwater.consumers.cli.waiting import waiting

if TYPE_CHECKING:
    from headwater.consumers.drawing import Line
    from headwater.consumers.gaps import Gaps, Lack

_UNITS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SHOWN = 5


def _as_span(ctx: click.Context, param: click.Parameter, text: str) -> int:
    """A span of time as µs: 90s, 30min, 1h, 3d, 2w."""
    match = re.fullmatch(r"(\d{1,9})\s*(s|min|h|d|w)", text.strip(), re.ASCII)
    if match is None:
        raise click.BadParameter(f"{text!r} is no span of time like 30min, 1h or 2d", ctx, param)
    return int(match[1]) * _UNITS[match[2]] * 1_000_000


@click.command()
@click.option("--project", metavar="NAME", help="Only what belongs to jobs of this namespace.")
@click.option("--since", metavar="TIME", callback=as_moment, help="Only what was heard of since then.")
@click.option(
    "--older-than",
    metavar="SPAN",
    default="1h",
    show_default=True,
    callback=_as_span,
    help="Leave out what was heard of more lately: the rest may be on its way. 30min, 2d.",
)
@click.option("--strict", is_flag=True, help="Inputs of unknown origin are gaps as well.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="List at most this many of a kind.",
)
@with_form()
@with_time
@with_places
@click.pass_context
def gaps(
    ctx: click.Context,
    project: str | None,
    since: int | None,
    older_than: int,
    strict: bool,
    limit: int,
    form: Form,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """What is missing from the lineage: events, ends of runs, producers of what was read.

    Ends with 1 when something is missing, with 0 when nothing is: for a check in CI. Everything is
    counted, of each kind at most --limit are listed. What was read from outside, without a version,
    is listed apart and counts only with --strict.

    \b
    headwater gaps
    headwater gaps --project crm --since 7d
    headwater gaps --older-than 1d --strict
    """
    from headwater.consumers.details import instant

    times = [at for at in (as_of, known_at) if at is not None]
    with opened_lineage(ctx, store, log, config, known_at) as found, waiting(known_at=known_at) as report:
        answer = found.gaps(
            project=project,
            since=instant(since),
            older_than=timedelta(microseconds=older_than),
            strict=strict,
            limit=limit,
            as_of=instant(as_of),
            now=instant(min(times, default=None)),
            report=report,
        )
    if not form.write(answer):
        print_lines(_page(answer))
    return 0 if answer.complete else NO


def _page(answer: Gaps) -> list[Line]:
    from headwater.consumers.drawing import recall_notes
    from headwater.consumers.gaps import KINDS

    lines: list[Line] = []
    for kind in KINDS:
        total = answer.count(kind)
        if not total:
            continue
        lines += [[("", "")]] if lines else []
        is_failure = kind != KINDS[-1] or answer.strict
        lines.append([(f"{_TITLES[kind]}: {total:,}", "red" if is_failure else "yellow")])
        of_kind = [lack for lack in answer.lacks if lack.kind == kind]
        lines += table(_HEADERS[kind], [_row(lack) for lack in of_kind]) if of_kind else []
        if len(of_kind) < total:
            lines.append([(f"{len(of_kind):,} of {total:,} are listed (--limit)", "dim")])
    unknown = sum(lack.recalled_upstream is None for lack in answer.lacks)
    lines += recall_notes(answer.recalls, unknown)
    left_out = _left_out(answer)
    if answer.complete:
        first = f"nothing is missing; {left_out}" if left_out else "nothing is missing"
        lines = [[(first, "green")], *([[("", "")]] if lines else []), *lines]
    elif left_out:
        lines += [[("", "")], [(left_out, "dim")]]
    return lines


def _left_out(answer: Gaps) -> str:
    """What was not looked at because it is too new."""
    if not answer.left_out:
        return ""
    span = next(
        (
            f"{answer.older_than // seconds:.0f} {unit}"
            for unit, seconds in _SPANS
            if answer.older_than % seconds == 0
        ),
        f"{answer.older_than:g} s",
    )
    things = f"{answer.left_out:,} thing{'' if answer.left_out == 1 else 's'}"
    return f"{things} of the last {'hour' if span == '1 h' else span} left out (--older-than 0s)"


_SPANS = (("d", 86_400), ("h", 3_600), ("min", 60))


_TITLES = {
    "missing": "emitters with missing events",
    "broken": "emitters with a broken chain",
    "unclosed": "emitters that never closed, so that their tail is unknown",
    "miscounted": "runs with fewer events than their emitter counted",
    "unended": "runs that did not end",
    "unstarted": "runs that never said that they began",
    "unproduced": "versions that were read, and that nobody wrote",
    "unknown-origin": "read before anybody wrote it, origin unknown (no failure unless --strict)",
}
_EMITTER = ("PROJECT", "EMITTER", "FIRST", "LAST", "NUMBERS", "")
_RUN = ("PROJECT", "RUN", "FIRST", "LAST", "JOB", "")
_INPUT = ("PROJECT", "ASSET", "FIRST READ", "LAST READ", "TIMES", "")
_HEADERS = {
    **dict.fromkeys(("missing", "broken", "unclosed"), _EMITTER),
    **dict.fromkeys(("unended", "unstarted"), _RUN),
    "miscounted": ("PROJECT", "RUN", "FIRST", "LAST", "MISSING", ""),
    **dict.fromkeys(("unproduced", "unknown-origin"), _INPUT),
}


def _row(lack: Lack) -> tuple[str | tuple[str, str], ...]:
    from headwater.consumers.drawing import recall_cell, short_time

    last = f"{lack.count:,}" if lack.count is not None else lack.job.name if lack.job else ""
    if lack.numbers:
        last = _numbers(lack)
    times = (short_time(lack.first_at), short_time(lack.last_at))
    mark = recall_cell(lack, of_run=lack.kind in ("miscounted", "unended", "unstarted"))
    return (lack.project or "", lack.subject, *times, last, mark)


def _numbers(lack: Lack) -> str:
    if lack.kind == "unclosed":
        return f"unknown from {lack.numbers[0].first} on"
    ranges = [str(gap.first) if gap.first == gap.last else f"{gap.first}–{gap.last}" for gap in lack.numbers]
    return ", ".join([*ranges[:_SHOWN], *(["…"] if len(ranges) > _SHOWN else [])])
