"""From a spool to its topic: drain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from headwater.consumers.cli import NO, RETRY
from headwater.consumers.cli.output import json_option, print_json, print_lines, progress, say
from headwater.consumers.cli.places import with_places, writing
from headwater.consumers.cli.stopping import stoppable

if TYPE_CHECKING:
    from headwater.consumers.drawing import Line
    from headwater.emitter.draining import Drained


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with what is emitted, until interrupted.")
@click.option("--parked", "parked", is_flag=True, help="Send again what the topic did not take.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up when nothing was acknowledged for so long.",
)
@json_option
@with_places
@click.pass_context
def drain(
    ctx: click.Context,
    follow: bool,
    parked: bool,
    timeout: float,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """Deliver to Kafka what is left in the spool.

    Steps deliver what they emit by themselves. This is for what they left: a broker that was
    away, processes that were killed, machines without Kafka's client. It closes what dead
    processes left open, and ends with 0 when nothing is left. What cannot be read is told, and
    ends it with 5.
    """
    from headwater.emitter.draining import drain as deliver
    from headwater.emitter.draining import send_parked

    if follow and parked:
        raise click.UsageError("--parked sends what is kept aside once: leave out --follow")
    settings = writing(ctx, log, config)
    with stoppable() as stopping, _display() as report:
        if parked:
            done = send_parked(settings, patience_s=timeout, stopping=stopping)
        else:
            done = deliver(settings, follow=follow, patience_s=timeout, stopping=stopping, report=report)
    if as_json:
        print_json(
            {
                "delivered": done.delivered,
                "left": done.left,
                "parked": done.aside,
                "problem": None if done.problem is None else str(done.problem),
            }
        )
    else:
        print_lines(_told(done))
    return _code(done)


def _code(done: Drained) -> int:
    """What is left decides; then what was kept aside."""
    from headwater.consumers.cli import code_of

    if done.left or done.problem is not None:
        if done.problem is not None:
            say(f"headwater: {done.problem}")
        return RETRY if done.problem is None else code_of(done.problem)
    return NO if done.aside else 0


def _told(done: Drained) -> Iterator[Line]:
    words = [f"{done.delivered:,} events delivered"]
    words += [f"{done.left:,} left in the spool"] if done.left else []
    nothing = "nothing to deliver" if done.problem is None else "nothing delivered"
    yield [(", ".join(words) if done.delivered or done.left else nothing, "")]
    if done.aside:
        yield [
            (f"{done.aside:,} events are kept aside: the topic did not take them", "yellow"),
            ("  (headwater drain --parked)", "dim"),
        ]


@contextmanager
def _display() -> Iterator[Callable[[int, int], None]]:
    """A line that moves while someone looks, nothing otherwise."""
    with progress() as shown:
        if shown is None:
            yield lambda delivered, left: None
            return
        task = shown.add_task("delivering", total=None, told="")

        def report(delivered: int, left: int) -> None:
            shown.update(
                task, total=delivered + left, completed=delivered, told=f"{delivered:,} events, {left:,} left"
            )

        yield report
