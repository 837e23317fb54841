"""The options --as-of and --known-at, and the store that they ask.

@with_time
@with_places
@click.pass_context
def command(ctx, …, as_of, known_at, store, log, config):
    with opened_lineage(ctx, store, log, config, known_at) as lineage:
        lineage.show(name, as_of=as_of)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headwater.consumers.cli.output import say
from headwater.consumers.cli.places import resolve

if TYPE_CHECKING:
    from headwater.consumers.asking import Lineage

Command = TypeVar("Command", bound=Callable[..., Any])


def as_moment(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    """An option's callback: the µs since 1970 UTC that its text means (`headwater.consumers.moments`)."""
    if text is None:
        return None
    from headwater.consumers.moments import parse_moment
    from headwater.schemas.errors import Rejected

    try:
        return parse_moment(text)
    except Rejected as refusal:
        raise click.BadParameter(str(refusal), ctx, param) from refusal


def with_time(command: Command) -> Command:
    """The options --as-of and --known-at, as `as_of` and `known_at`: µs since 1970 UTC, or None."""
    known_at = click.option(
        "--known-at",
        metavar="TIME",
        callback=as_moment,
        help="As it was known then: by what stood in the log at that time, as if asked then.",
    )
    as_of = click.option(
        "--as-of",
        metavar="TIME",
        callback=as_moment,
        help="As it was then: 2026-03-03 (to its end), 2026-03-03T12:00:00Z, 3d. UTC without a zone.",
    )
    return as_of(known_at(command))


@contextmanager
def opened_lineage(
    ctx: click.Context, store: str | None, log: str | None, config: str | None, known_at: int | None
) -> Iterator[Lineage]:
    """The lineage store to ask: as it is, or as it was known at `known_at`."""
    places = resolve(ctx, store, log, config)
    if known_at is None:
        from headwater.consumers.asking import Lineage

        with Lineage(places.store) as lineage:
            yield lineage
        return
    from headwater.consumers.cli.fold import display_reading
    from headwater.consumers.knowing import known_at as asked_at
    from headwater.consumers.log import open_log

    with (
        open_log(places.log, places.kafka) as source,
        display_reading(source) as report,
        asked_at(places.store, source, known_at, name=places.log, report=report) as known,
    ):
        yield known
        for damage in known.damaged.values():
            say(f"headwater: the answer leaves out what stands behind damage: {damage}")
