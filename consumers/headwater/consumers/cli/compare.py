"""The question of difference: diff."""

from __future__ import annotations

import click

from headwater.consumers.cli import NO
from headwater.consumers.cli.formats import Form, with_form
from headwater.consumers.cli.moments import opened_lineage, with_time
from headwater.consumers.cli.output import print_lines
from headwater.consumers.cli.places import with_places

_DEFAULT_LIMIT = 20_000


@click.command()
@click.argument("a")
@click.argument("b", required=False)
@click.option("--all", "everything", is_flag=True, help="List everything that differs, consequences too.")
@click.option("--exit-code", is_flag=True, help="End with 1 when they differ, as diff(1) does.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=_DEFAULT_LIMIT,
    show_default=True,
    help="At most this many assets on either side.",
)
@with_form()
@with_time
@with_places
@click.pass_context
def diff(
    ctx: click.Context,
    a: str,
    b: str | None,
    everything: bool,
    exit_code: bool,
    limit: int,
    form: Form,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """What differs between A and B, and why: the smallest set of causes first.

    Two versions, or two runs (a pipeline's with all its steps), compared over everything they were
    made of: parameters, code, environment, inputs, schemas, statistics, metrics. Without B: what A
    names and the one before it.

    \b
    headwater diff churn-model                       its last two productions
    headwater diff churn-model@9f2c churn-model@production
    headwater diff churn                             the last two runs of the pipeline
    headwater diff 0198c2f4 0198d001                 two runs
    """
    from headwater.consumers.details import instant

    with opened_lineage(ctx, store, log, config, known_at) as lineage:
        found = lineage.diff(a, b, as_of=instant(as_of), limit=limit)
    if not form.write(found):
        from headwater.consumers.cli.difference import page

        print_lines(page(found, everything=everything))
    return NO if exit_code and found.differs else 0
