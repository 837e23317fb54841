"""Records that could not be read: quarantine list, show, retry, export."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.consumers.cli.output import json_option, print_json, print_lines, print_text, table
from headwater.consumers.cli.places import resolve, with_places

if TYPE_CHECKING:
    from headwater.consumers.quarantine import Parked
    from headwater.consumers.store import Store

_SHOWN_BYTES = 2_000


@click.group()
def quarantine() -> None:
    """Records that are no OpenLineage event: parked, never lost."""


def _opened(ctx: click.Context, store: str | None, log: str | None, config: str | None) -> Store:
    from headwater.consumers.asking import opened

    return opened(resolve(ctx, store, log, config).store)


@quarantine.command("list")
@click.option("--all", "include_accepted", is_flag=True, help="Also those that a retry accepted.")
@json_option
@with_places
@click.pass_context
def list_(
    ctx: click.Context,
    include_accepted: bool,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> None:
    """What is parked, and which rule it breaks where."""
    from headwater.consumers.drawing import short_time
    from headwater.consumers.quarantine import parked

    with _opened(ctx, store, log, config) as found:
        entries = list(parked(found, include_accepted=include_accepted))
    if as_json:
        print_json({"quarantined": [_json(entry) for entry in entries]})
    elif not entries:
        print_lines([[("nothing is parked", "dim")]])
    else:
        rows = [
            (entry.id, short_time(_time(entry.appended_at)), entry.path, entry.found, entry.rule)
            for entry in entries
        ]
        print_lines(table(("RECORD", "APPENDED", "WHERE", "FOUND", "RULE"), rows))


@quarantine.command()
@click.argument("record")
@json_option
@with_places
@click.pass_context
def show(
    ctx: click.Context,
    record: str,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> None:
    """One record: why it is parked, and its bytes. RECORD is `partition@offset`."""
    from headwater.consumers.drawing import printable, short_time
    from headwater.consumers.quarantine import find

    with _opened(ctx, store, log, config) as found:
        entry = find(found, record)
    if as_json:
        print_json(_json(entry) | {"value": entry.value.decode("utf-8", "backslashreplace")})
        return
    accepted = short_time(_time(entry.accepted_at)) if entry.accepted_at is not None else None
    facts = {
        "record": entry.id,
        "appended": short_time(_time(entry.appended_at)),
        "where": entry.path,
        "found": entry.found,
        "rule": entry.rule,
        "parked": f"{short_time(_time(entry.quarantined_at))} by headwater {entry.code_version}",
        "accepted": accepted,
        "bytes": f"{len(entry.value):,}",
    }
    print_lines([[(f"{key.ljust(10)}{printable(value)}", "")] for key, value in facts.items() if value])
    print_text("")
    print_text(printable(entry.value[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")))
    if len(entry.value) > _SHOWN_BYTES:
        print_lines([[(f"… {len(entry.value) - _SHOWN_BYTES:,} bytes more (quarantine export)", "dim")]])


@quarantine.command()
@json_option
@with_places
@click.pass_context
def retry(ctx: click.Context, as_json: bool, store: str | None, log: str | None, config: str | None) -> None:
    """Read every parked record again, and apply those that can be read now."""
    from headwater.consumers.quarantine import retry as again

    with _opened(ctx, store, log, config) as found:
        done = again(found)
    if as_json:
        print_json({"tried": done.tried, "accepted": done.accepted})
    else:
        print_text(f"{done.tried:,} read again, {len(done.accepted):,} accepted")


@quarantine.command()
@json_option
@with_places
@click.pass_context
def topics(ctx: click.Context, as_json: bool, store: str | None, log: str | None, config: str | None) -> None:
    """What is parked of each topic, and which topics are halted for it."""
    from headwater.consumers.quarantine import budgets

    places = resolve(ctx, store, log, config)
    with _opened(ctx, store, log, config) as found:
        told = budgets(found, places.limits)
    if as_json:
        print_json({"topics": told})
    elif not told:
        print_lines([[("nothing is parked", "dim")]])
    else:
        rows = [
            (
                each.topic,
                f"{each.parked:,}",
                f"{each.refused:,} of {each.seen:,}",
                f"{each.in_a_row:,}",
                ("halted", "bold red") if each.halted else "reading",
            )
            for each in told
        ]
        print_lines(table(("TOPIC", "PARKED", "OF THE LAST", "IN A ROW", "STATE"), rows))


@quarantine.command()
@click.argument("topic")
@json_option
@with_places
@click.pass_context
def resume(
    ctx: click.Context, topic: str, as_json: bool, store: str | None, log: str | None, config: str | None
) -> None:
    """Go on with TOPIC, which was halted: its parked records stay parked, and count no more.

    A running consumer goes on within seconds. TOPIC is its name; `segments` is a folder of segments.
    """
    from headwater.consumers.breaker import resume as go_on

    with _opened(ctx, store, log, config) as found, found.writing() as tx:
        partitions = go_on(tx, topic)
    if as_json:
        print_json({"topic": topic, "partitions": partitions})
    else:
        print_text(
            f"{topic} counts anew in {partitions:,} {'partition' if partitions == 1 else 'partitions'}"
        )


@quarantine.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@json_option
@with_places
@click.pass_context
def export(
    ctx: click.Context, folder: Path, as_json: bool, store: str | None, log: str | None, config: str | None
) -> None:
    """Write each parked record's bytes and reason into FOLDER."""
    from headwater.consumers.quarantine import export as write

    with _opened(ctx, store, log, config) as found:
        count = write(found, folder)
    if as_json:
        print_json({"exported": count, "folder": str(folder)})
    else:
        print_text(f"{count:,} records written to {folder}")


def _time(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _json(entry: Parked) -> dict[str, Any]:
    return {
        "record": entry.id,
        "topic": entry.topic,
        "partition": entry.partition,
        "offset": entry.offset,
        "appended_at": _time(entry.appended_at),
        "path": entry.path,
        "found": entry.found,
        "rule": entry.rule,
        "bytes": len(entry.value),
        "code_version": entry.code_version,
        "quarantined_at": _time(entry.quarantined_at),
        "accepted_at": None if entry.accepted_at is None else _time(entry.accepted_at),
    }
