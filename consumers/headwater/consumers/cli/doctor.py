"""headwater doctor: is this deployment sound, from an emitter's folder to the store?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from headwater.consumers.checks import Check, State, worst
from headwater.consumers.cli import NO
from headwater.consumers.cli.output import json_option, print_json, print_lines, print_text
from headwater.consumers.cli.places import Places, on_kafka, resolve, settings_of, with_places, writing
from headwater.consumers.cli.topics import lines_of


@click.command()
@click.option("--foreign", is_flag=True, help="The topics are others': check only what reading them needs.")
@click.option(
    "--wait", type=click.FloatRange(0.1, 300), default=15.0, help="Seconds for each of Kafka's answers (15)."
)
@json_option
@with_places
@click.pass_context
def doctor(
    ctx: click.Context,
    foreign: bool,
    wait: float,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """Look at the log, the brokers and the store. Ends with 1 when something fails; warnings end with 0.

    Changes nothing, and shows no secret.
    """
    places = resolve(ctx, store, log, config)
    if places.log.startswith("kafka://"):
        checks = list(_on_kafka(ctx, places, (store, log, config), foreign, wait))
    else:
        checks = list(_embedded(ctx, places, config))
    if as_json:
        print_json({"state": worst(checks), "checks": checks})
    else:
        print_lines(lines_of(checks))
        counts = {state: sum(check.state is state for check in checks) for state in State}
        print_text(", ".join(f"{count} {state.value}" for state, count in counts.items()))
    return NO if worst(checks) is State.FAIL else 0


def _embedded(ctx: click.Context, places: Places, config: str | None) -> Iterator[Check]:
    from headwater.consumers.doctor import examine_folder, examine_store

    yield from examine_folder(Path(places.log.removeprefix("file://")), settings_of(ctx, config))
    yield from examine_store(places.store)


def _on_kafka(
    ctx: click.Context,
    places: Places,
    given: tuple[str | None, str | None, str | None],
    foreign: bool,
    wait: float,
) -> Iterator[Check]:
    place = on_kafka(ctx, *given)
    cluster = place.cluster(wait)
    from headwater.consumers.doctor import examine_folder, examine_kafka, examine_store

    settings = writing(ctx, *given[1:])
    if settings.log.is_dir():
        yield from examine_folder(settings.log, settings, drained=True)
    stored = list(examine_store(places.store))
    reached = not any(found.name in ("answer", "store") for found in stored)
    yield from examine_kafka(
        cluster, place.topics, foreign=foreign, store_url=places.store if reached else None
    )
    yield from stored
