"""headwater topics: make our topics, and see whether those that are there will do."""

from __future__ import annotations

from collections.abc import Iterable

import click

from headwater.consumers.checks import Check, Made, State, worst
from headwater.consumers.cli import NO
from headwater.consumers.cli.output import json_option, print_json, print_lines, print_text, table
from headwater.consumers.cli.places import on_kafka, with_places
from headwater.consumers.drawing import Line, printable
from headwater.schemas.errors import Misconfigured

STYLES = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}


@click.group()
def topics() -> None:
    """Topics on Kafka: make ours, and check any."""


@topics.command()
@click.option("--partitions", type=click.IntRange(1, 10_000), default=6, help="How many (6).")
@click.option("--replication", type=click.IntRange(1, 9), help="Copies: 3, or as many as there are brokers.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, and make nothing.")
@json_option
@with_places
@click.pass_context
def create(
    ctx: click.Context,
    partitions: int,
    replication: int | None,
    dry_run: bool,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """Make the log's topic, with the settings that a log needs. Ends with 1 when it has others.

    A topic that is there is looked at and left as it is. Of several topics the first is made: the others,
    and what patterns match, are others' to make.
    """
    from headwater.consumers import topics as subject

    place = on_kafka(ctx, store, log, config)
    topic = place.topics.native
    if topic is None:
        raise Misconfigured(
            f"{place.topics} names no topic of ours to make", remedy="--log kafka://host:9092/topic"
        )
    made = subject.create(
        place.cluster(),
        topic,
        profile=place.profile,
        partitions=partitions,
        replicas=replication,
        dry_run=dry_run,
    )
    left = [one for one in str(place.topics).split(",") if one != topic]
    if as_json:
        print_json({"topics": [made], "not_ours": left})
    else:
        _tell(made)
        for other in left:
            print_text(f"{printable(other)}: others', not made here")
    return _code(made.checks)


@topics.command()
@click.option("--foreign", is_flag=True, help="The topics are others': check only what reading them needs.")
@json_option
@with_places
@click.pass_context
def check(
    ctx: click.Context,
    foreign: bool,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """Are the log's topics as a log needs them? Ends with 1 when one is not.

    The first is ours; the others, and what patterns match, are others', of which only what reading needs
    is checked.
    """
    from headwater.consumers import topics as subject

    place = on_kafka(ctx, store, log, config)
    cluster = place.cluster()
    chosen = subject.chosen(cluster, place.topics, foreign=foreign)
    checks = [
        found
        for topic, others in chosen.items()
        for found in subject.check(cluster, topic, profile=place.profile, foreign=others)
    ] or [subject.none_chosen(place.topics)]
    if as_json:
        print_json({"state": worst(checks), "checks": checks})
    else:
        print_lines(lines_of(checks))
    return _code(checks)


def lines_of(checks: Iterable[Check]) -> list[Line]:
    """A line for each check, and below those that are not ok what is wanted and what to do."""
    checks = list(checks)
    rows = [
        ((check.state.value, STYLES[check.state]), check.subject, check.name, check.found) for check in checks
    ]
    header, *lines = table(("STATE", "WHERE", "WHAT", "FOUND"), rows)
    shown = [header]
    for check, line in zip(checks, lines, strict=True):
        shown.append(line)
        if check.state is not State.OK:
            shown += [
                [(f"      {label}: {printable(text)}", "dim")]
                for label, text in (("wanted", check.wanted), ("remedy", check.remedy))
                if text
            ]
    return shown


def _tell(made: Made) -> None:
    if made.existed:
        print_text(f"{printable(made.topic)}: it is there")
    else:
        verb = "would be made" if made.dry_run else "made"
        print_text(f"{printable(made.topic)}: {verb}, {made.partitions} partitions, {made.replicas} replicas")
        for name, value in made.settings.items():
            print_text(f"  {name}={value}")
    wrong = [check for check in made.checks if check.state is not State.OK]
    if wrong:
        print_lines(lines_of(wrong))


def _code(checks: Iterable[Check]) -> int:
    return NO if worst(checks) is State.FAIL else 0
