"""Looking after the store and the log: store upgrade, check; log check, adopt, accept-damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headwater.consumers.cli import NO
from headwater.consumers.cli.output import json_option, print_json, print_lines, print_text, table
from headwater.consumers.cli.places import resolve, spool_of, with_places

if TYPE_CHECKING:
    from headwater.consumers.log import Log, Partition
    from headwater.consumers.store import Store
    from headwater.schemas.errors import Corrupt


@click.group()
def store() -> None:
    """The lineage store's schema."""


@store.command()
@json_option
@with_places
@click.pass_context
def upgrade(
    ctx: click.Context, as_json: bool, store: str | None, log: str | None, config: str | None
) -> None:
    """Make the schema, or bring it to this headwater's version. Stop the consumers first.

    Rows stay as they are. Where this headwater folds events otherwise, it says so: fold the log again then.
    """
    from headwater.consumers import migrations
    from headwater.consumers.cli import logs
    from headwater.consumers.store import connect

    logs.configure()
    with connect(resolve(ctx, store, log, config).store) as found:
        before, now = migrations.upgrade(found)
        projection = _projection(found)
    if as_json:
        print_json({"before": before, "now": now, "projection": projection})
        return
    if before == now:
        print_text(f"the schema is {now}: nothing to do")
    else:
        print_text(f"the schema is {now} now" + (f", it was {before}" if before else ""))
    _tell_of_replay(projection)


@store.command()
@json_option
@with_places
@click.pass_context
def check(ctx: click.Context, as_json: bool, store: str | None, log: str | None, config: str | None) -> int:
    """Are the schema and the rows this headwater's? Ends with 1 when they are not."""
    from headwater.consumers import migrations
    from headwater.consumers.store import connect

    with connect(resolve(ctx, store, log, config).store) as found:
        current = migrations.current(found)
        projection = None if current is None else _projection(found)
    fits = current == migrations.HEAD and (projection is None or projection["fits"])
    if as_json:
        needed = {"current": current, "needed": migrations.HEAD, "projection": projection}
        print_json({**needed, "fits": fits})
        return 0 if fits else NO
    if current == migrations.HEAD:
        print_text(f"the schema is {current}, as it should be")
    else:
        print_text(
            f"the schema is {current or 'missing'}, this headwater needs {migrations.HEAD}"
            " (headwater store upgrade)"
        )
    _tell_of_replay(projection)
    return 0 if fits else NO


def _projection(found: Store) -> dict[str, Any] | None:
    """Which version of the projection wrote the rows; None where there are none."""
    from headwater.consumers import books
    from headwater.consumers.lineage import LineageProjection

    held, needed = books.folded_by(found, LineageProjection.name), LineageProjection.version
    return None if held is None else {"current": held, "needed": needed, "fits": held == needed}


def _tell_of_replay(projection: dict[str, Any] | None) -> None:
    if projection is not None and not projection["fits"]:
        from headwater.consumers.books import REBUILD

        print_text(
            f"the rows were folded by version {projection['current']} of the projection, this headwater "
            f"folds by version {projection['needed']}: no consumer goes on with them"
        )
        print_text(REBUILD)


@click.group()
def log() -> None:
    """The log's files."""


@log.command("check")
@json_option
@with_places
@click.pass_context
def check_log(
    ctx: click.Context, as_json: bool, store: str | None, log: str | None, config: str | None
) -> int:
    """Read every segment from end to end. Ends with 1 when one is damaged."""
    from headwater.consumers.log import open_log

    places = resolve(ctx, store, log, config)
    with open_log(places.log, places.kafka) as source:
        found = [(source.place(partition), *_read(source, partition)) for partition in source.partitions()]
    if as_json:
        print_json(
            {
                "segments": [
                    {"path": place, "records": records, "damage": None if damage is None else _json(damage)}
                    for place, records, damage in found
                ]
            }
        )
    else:
        rows = [
            (place, f"{records:,}", ("whole", "green") if damage is None else (str(damage), "red"))
            for place, records, damage in found
        ]
        print_lines(table(("SEGMENT", "RECORDS", "STATE"), rows))
    return NO if any(damage for _, _, damage in found) else 0


def _read(source: Log, partition: Partition) -> tuple[int, Corrupt | None]:
    """How many records can be read, and what stops the reading."""
    from headwater.consumers.log import Cursor
    from headwater.schemas.errors import Corrupt

    cursor = Cursor()
    try:
        while records := source.read(partition, cursor, records=2_000, size=16 << 20):
            cursor = Cursor(records[-1].offset + 1, records[-1].next_byte)
    except Corrupt as damage:
        return cursor.offset, damage
    return cursor.offset, None


def _json(damage: Corrupt) -> dict[str, Any]:
    return {"place": damage.place, "start": damage.start, "end": damage.end, "offset": damage.offset}


@log.command()
@json_option
@with_places
@click.pass_context
def adopt(ctx: click.Context, as_json: bool, store: str | None, log: str | None, config: str | None) -> None:
    """Close what dead processes left open: their runs end with ABORT, their segments are sealed.

    The next process that emits into the log does the same; this is for a log that no one
    writes to any more.
    """
    from headwater.emitter.adoption import adopt as close

    adopted = close(spool_of(ctx, log, config))
    if as_json:
        print_json(
            {
                "adopted": [
                    {
                        "path": str(one.path),
                        "emitter_id": one.emitter_id,
                        "records": one.frames,
                        "torn_bytes": one.torn_bytes,
                        "aborted_runs": one.aborted,
                    }
                    for one in adopted
                ]
            }
        )
    elif not adopted:
        print_text("no process has left anything open")
    else:
        for one in adopted:
            print_text(f"{one.path.name}: {one.frames:,} records, {len(one.aborted):,} runs ended with ABORT")


@log.command("accept-damage")
@click.confirmation_option("--yes", prompt="Accept that the damaged records are lost?")
@json_option
@with_places
@click.pass_context
def accept_damage(
    ctx: click.Context, as_json: bool, store: str | None, log: str | None, config: str | None
) -> None:
    """Give up damaged bytes: keep them in quarantine, and consume what stands behind them.

    Restore the segment from a copy instead, if there is one. Nothing is written to the log.
    """
    from headwater.consumers.log import open_log
    from headwater.consumers.runner import Runner
    from headwater.consumers.store import open_store

    places = resolve(ctx, store, log, config)
    with open_log(places.log, places.kafka) as source, open_store(places.store) as opened:
        done = Runner(opened, source, accept_damage=True).run()
    if as_json:
        print_json({"applied": done.applied, "quarantined": done.quarantined})
    else:
        print_text(f"{done.applied:,} events applied, {done.quarantined:,} records parked")
