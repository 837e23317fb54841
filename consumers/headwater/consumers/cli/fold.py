"""From the log to the store: consume, replay, verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from headwater.consumers.cli import NO, UNACCEPTABLE
from headwater.consumers.cli.moments import as_moment
from headwater.consumers.cli.output import json_option, print_json, print_lines, progress, say
from headwater.consumers.cli.places import resolve, with_places
from headwater.consumers.cli.stopping import handling, stoppable

if TYPE_CHECKING:
    from headwater.consumers.cli.places import Places
    from headwater.consumers.digest import Difference
    from headwater.consumers.drawing import Line
    from headwater.consumers.log import Log
    from headwater.consumers.replaying import Verification
    from headwater.consumers.runner import Progress
    from headwater.consumers.store import Store


@click.command()
@click.argument("service", metavar="[lineage]", type=click.Choice(["lineage"]), required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is appended, until interrupted.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes to share the work."
)
@click.option("--listen", metavar="HOST:PORT", help="Of the service: /livez, /readyz and /metrics.")
@click.option(
    "--stop-within",
    type=click.FloatRange(min=1),
    default=25.0,
    show_default=True,
    metavar="SECONDS",
    help="Of the service: after SIGTERM drop a batch that takes longer.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    show_default=True,
    help="Of the service: JSON unless someone looks.",
)
@json_option
@with_places
@click.pass_context
def consume(
    ctx: click.Context,
    service: str | None,
    follow: bool,
    workers: int,
    listen: str | None,
    stop_within: float,
    log_format: str,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """Read the log into the lineage store.

    Reads to the end of the log and stops; with --follow it goes on. It goes on where it was,
    and killing it is harmless. Records that are no OpenLineage event are parked
    (`headwater quarantine list`), their neighbours go on.

    `headwater consume lineage` is a service: it waits for what is away, logs in JSON, answers probes
    (--listen), and on Kafka shares the partitions with all others that serve the same store.
    """
    from headwater.consumers.log import open_log
    from headwater.consumers.store import open_store

    places = resolve(ctx, store, log, config)
    if service is not None:
        if workers > 1:
            raise click.UsageError("the service is one process; start several, they share the partitions")
        return _serve(places, listen, stop_within, log_format)
    if listen is not None:
        raise click.UsageError("--listen is of the service: headwater consume lineage --listen HOST:PORT")
    with (
        open_log(places.log, places.kafka) as source,
        open_store(places.store) as opened,
        display_reading(source) as report,
    ):
        if workers > 1:
            from headwater.consumers.workers import consume as consume_together

            with stoppable("stopping after this batch") as stopping:
                done = consume_together(
                    places.store,
                    places.log,
                    kafka=places.kafka,
                    workers=workers,
                    follow=follow,
                    limits=places.limits,
                    stopping=stopping,
                    report=report,
                )
        else:
            with stoppable("stopping after this batch") as stopping:
                done = _alone(opened, source, places, follow, stopping, report)
    _tell(done, as_json)
    return UNACCEPTABLE if done.damaged or done.spent else 0


def _alone(
    store: Store,
    source: Log,
    places: Places,
    follow: bool,
    stopping: Callable[[], bool],
    report: Callable[[Progress], None],
) -> Progress:
    from headwater.consumers.breaker import Breaker
    from headwater.consumers.runner import Runner
    from headwater.consumers.sharing import shared

    sharing = shared(source, places.store, places.kafka) if follow else None
    breaker = Breaker(limits=places.limits, native=source.native)
    try:
        runner = Runner(store, source, sharing=sharing, breaker=breaker)
        return runner.run(follow=follow, stopping=stopping, report=report)
    finally:
        if sharing is not None:
            sharing.close()


def _serve(places: Places, listen: str | None, stop_within: float, log_format: str) -> int:
    """Until SIGTERM or SIGINT; a second one ends it at once."""
    from headwater.consumers.cli.logs import configure
    from headwater.consumers.service import Service, Stop, serve

    configure(log_format)
    stop = Stop()

    def on_signal(number: int, _: Any) -> None:
        if stop():
            raise KeyboardInterrupt
        stop.ask()

    with handling(on_signal):
        serve(
            Service(
                store=places.store,
                log=places.log,
                kafka=places.kafka,
                listen=listen,
                limits=places.limits,
                stop_within_s=stop_within,
            ),
            stop,
        )
    return 0


@click.command()
@click.option(
    "--into", metavar="URL", required=True, help="The store to fill: sqlite:///path or postgresql://…"
)
@click.option(
    "--until",
    metavar="TIME",
    callback=as_moment,
    help="Only what was known by then (append time): 2026-03-03 (to its end), 2026-03-03T12:00:00Z.",
)
@json_option
@with_places
@click.pass_context
def replay(
    ctx: click.Context,
    into: str,
    until: int | None,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """Rebuild a store from the whole log, anywhere.

    Makes the schema where there is none. Stopped and started again it goes on where it was.
    With --until it is the store as it was known at that time.
    """
    from headwater.consumers.log import open_log
    from headwater.consumers.replaying import replay as fill

    places = resolve(ctx, store or into, log, config)
    with (
        open_log(places.log, places.kafka) as source,
        display_reading(source) as report,
        stoppable("stopping after this batch") as stopping,
    ):
        done = fill(source, into, until=until, stopping=stopping, report=report)
    _tell(done, as_json)
    return UNACCEPTABLE if done.damaged else 0


@click.command()
@click.option("--scratch", metavar="FOLDER", help="Where the second store is made (default: the system's).")
@json_option
@with_places
@click.pass_context
def verify(
    ctx: click.Context,
    scratch: str | None,
    as_json: bool,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """Is the store what the log says?

    Replays what the store has consumed into a second one and compares the digests of both.
    Ends with 0 when they are equal; otherwise with 1, and names the first row that differs.
    """
    from pathlib import Path

    from headwater.consumers.asking import opened
    from headwater.consumers.log import open_log
    from headwater.consumers.replaying import verify as compare

    places = resolve(ctx, store, log, config)
    with (
        opened(places.store) as store_,
        open_log(places.log, places.kafka) as source,
        display_reading(source) as report,
    ):
        found = compare(store_, source, scratch=Path(scratch) if scratch else None, report=report)
    if as_json:
        print_json(verification(found))
    else:
        print_lines(_verdict(found))
    return 0 if found.equal else NO


@contextmanager
def display_reading(source: Log) -> Iterator[Callable[[Progress], None]]:
    """A progress bar while someone looks, nothing otherwise."""
    with progress() as shown:
        if shown is None:
            yield lambda _: None
            return
        task = shown.add_task("reading the log", total=None, told="")
        begun, whole = time.monotonic(), 0

        def report(now: Progress) -> None:
            nonlocal whole
            # Bytes are all one knows beforehand; the log may grow meanwhile.
            total = source.unread({})
            whole = max(whole, total)
            rate = now.seen / max(time.monotonic() - begun, 0.001)
            shown.update(
                task,
                total=whole or None,
                completed=whole - now.unread,
                told=f"{now.seen:,} events, {rate:,.0f}/s",
            )

        yield report


def _tell(done: Progress, as_json: bool) -> None:
    damaged = [str(damage) for damage in done.damaged.values()]
    if as_json:
        print_json(
            {
                "records": done.seen,
                "applied": done.applied,
                "duplicate": done.duplicate,
                "quarantined": done.quarantined,
                "gaps": done.gaps,
                "damaged": damaged,
                "halted": [str(problem) for problem in done.spent.values()],
            }
        )
    else:
        print_lines([_told(done)])
    for line in (*damaged, *map(str, done.spent.values())):
        say(f"headwater: {line}")
    if done.quarantined and not as_json:
        say("headwater: some records were parked: `headwater quarantine list`")


def _told(done: Progress) -> Line:
    if not done.seen:
        return [("nothing new", "dim")]
    words = [f"{done.applied:,} events applied"]
    words += [f"{done.duplicate:,} seen before"] if done.duplicate else []
    words += [f"{done.quarantined:,} parked"] if done.quarantined else []
    words += [f"{done.gaps:,} passed over"] if done.gaps else []
    return [(", ".join(words), "")]


def verification(found: Verification) -> dict[str, Any]:
    """What `verify --json` prints."""
    return {
        "equal": found.equal,
        "records": found.records,
        "seconds": round(found.seconds, 3),
        "built_by": found.built_by,
        "checked_by": found.checked_by,
        "store_digest": found.store.root,
        "log_digest": found.log.root,
        "difference": None if found.difference is None else _difference(found.difference),
        "missing": [{"place": m.place, "consumed": m.consumed, "found": m.found} for m in found.missing],
        "damaged": [str(damage) for damage in found.damaged],
    }


def _difference(difference: Difference) -> dict[str, Any]:
    def plain(row: dict[str, Any] | None) -> dict[str, Any] | None:
        if row is None:
            return None
        return {key: value.hex() if isinstance(value, bytes) else value for key, value in row.items()}

    return {"table": difference.table, "store": plain(difference.left), "log": plain(difference.right)}


def _verdict(found: Verification) -> Iterator[Line]:
    if found.equal:
        yield [("equal", "bold green"), ("  the store is what the log says", "")]
    else:
        yield [("different", "bold red"), ("  the store is not what the log says", "")]
    yield [(f"  {found.records:,} records replayed in {found.seconds:.1f} s", "dim")]
    yield [(f"  digest of the store  {found.store.root}", "dim")]
    yield [(f"  digest of the log    {found.log.root}", "dim")]
    if found.built_by != found.checked_by:
        yield [(f"  built by headwater {found.built_by}, checked by {found.checked_by}", "dim")]
    for missing in found.missing:
        yield [
            (f"  {missing.place}: {missing.consumed:,} records consumed, {missing.found:,} found", "red"),
        ]
    for damage in found.damaged:
        yield [(f"  {damage}", "red")]
    if found.difference is not None:
        told = _difference(found.difference)
        yield [(f"  the first difference is in {told['table']}", "red")]
        yield from _compared(told["store"], told["log"])


def _compared(store: dict[str, Any] | None, log: dict[str, Any] | None) -> Iterator[Line]:
    """The row on both sides; of two rows only the columns that differ, after those that name it."""
    if store is None or log is None:
        side, row = ("the log has", log) if store is None else ("the store has", store)
        yield [(f"    only {side} {row}", "")]
        return
    for key, value in store.items():
        if value == log.get(key):
            yield [(f"    {key}  {value}", "dim")]
        else:
            yield [(f"    {key}  store: {value!r}  log: {log.get(key)!r}", "red")]
