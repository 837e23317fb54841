"""ingest: from the segments into the lineage store, on SQLite and PostgreSQL, by one and two workers.

Beside it the floor: a short script that only parses and stores names (`bench.baseline`).
Then how much memory a consumer takes over a long log, and how soon an emitted event is
found by a query while a consumer follows the log.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import isolated, logs, stores
from bench.events import foreign as foreign_events
from bench.isolated import ROOT, Failed, clean_environment
from bench.logs import WORKERS
from bench.peers import RENTGEN
from bench.rows import Figure, percentile
from bench.scale import Scale

BUDGETS = {"sqlite": 15_000.0, "postgresql": 10_000.0}
BUDGET_MEMORY_MB = 250.0
BUDGET_LIVE_MS = 500.0
SEGMENTS = 16
FLOOR = "bare parse + merge of 4 tables"


class Databases:
    """Empty databases of either kind, each thrown away after its use."""

    def __init__(self, folder: Path, server: Any) -> None:
        self._folder = folder
        self._server = server

    @contextmanager
    def empty(self, kind: str) -> Iterator[str]:
        if kind == "postgresql":
            url: str = self._server.create()
            yield url
            self._server.drop(url)
            return
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            yield f"sqlite:///{folder}/lineage.db"

    def described(self, kind: str) -> str:
        if kind == "sqlite":
            return "SQLite (WAL, synchronous NORMAL)"
        with self.empty(kind) as url:
            return stores.settings_of(url)


def figures(scale: Scale) -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hw-bench-")))
        databases = Databases(folder, stack.enter_context(stores.cluster()))
        foreign, native = folder / "foreign", folder / "native"
        wrote = {
            foreign: logs.write_foreign(foreign, scale.pairs, SEGMENTS),
            native: logs.write_native(native, scale.native_steps, SEGMENTS),
        }
        rentgen = _rentgen(databases, folder, scale)
        for kind in BUDGETS:
            theirs = rentgen if kind == "postgresql" else []
            yield from _throughput(databases, kind, foreign, wrote[foreign], scale.ingest_runs, theirs)
            yield from _throughput(databases, kind, native, wrote[native], scale.ingest_runs, [])
        yield from _memory(databases, folder / "long", scale)
        yield from _live(databases, folder, scale)


def _rentgen(databases: Databases, folder: Path, scale: Scale) -> list[float]:
    """Events a second of Data.Rentgen's consumer; nothing where it cannot be installed."""
    lines = folder / "events.jsonl"
    lines.write_bytes(b"\n".join(foreign_events(range(scale.rentgen_pairs))))
    found = []
    try:
        for _ in range(min(2, scale.ingest_runs)):
            with databases.empty("postgresql") as url:
                found.append(RENTGEN.call("load", url=url, events=str(lines))["rate"])
    except Failed as problem:
        print(f"  {RENTGEN.title}: {problem}", flush=True)
    return found


def _throughput(
    databases: Databases, kind: str, log: Path, wrote: logs.Written, runs: int, rentgen: list[float]
) -> Iterator[Figure]:
    foreign = log.name == "foreign"
    what = "START+COMPLETE pairs" if foreign else "a step's events, our own"
    fixture = (
        f"{wrote.events:,} OpenLineage events of {wrote.size / wrote.events:,.0f} B ({what}) in {SEGMENTS} "
        f"segments, in the page cache; an empty store; {databases.described(kind)}"
    )
    floors = _floors(databases, kind, log, runs) if foreign else []
    floor = f"; the floor ({FLOOR}): {percentile(floors, 0.5):,.0f}/s" if floors else ""
    title, theirs = (RENTGEN.title, rentgen) if rentgen else (FLOOR, floors)
    for workers in (1, WORKERS):
        told = []
        for _ in range(runs):
            with databases.empty(kind) as url:
                told.append(isolated.call("bench.ingest:consuming", store=url, log=str(log), workers=workers))
        beside = workers == 1 and bool(theirs)
        yield Figure(
            name=f"ingest:{kind}:{log.name}:{workers}-worker{'s' if workers > 1 else ''}",
            unit="events/s",
            better="higher",
            values=[run["rate"] for run in told],
            budget=BUDGETS[kind],
            peer=title if beside else None,
            peer_values=theirs if beside else (),
            fixture=fixture,
            note=_cost(told, workers) + floor,
        )


def _floors(databases: Databases, kind: str, log: Path, runs: int) -> list[float]:
    found = []
    for _ in range(runs):
        with databases.empty(kind) as url:
            found.append(isolated.call("bench.baseline:load", store_url=url, log=str(log))["rate"])
    return found


def _cost(told: list[dict[str, float]], workers: int) -> str:
    if workers > 1:
        whole = percentile([run["whole"] for run in told], 0.5)
        return f"from the first batch on; with the start of the processes {whole:,.0f}/s"
    cpu, rate = (percentile([run[key] for run in told], 0.5) for key in ("cpu", "rate"))
    return f"{cpu * 1e6 / rate:,.0f} of {1e6 / rate:,.0f} µs an event are CPU of this process"


def _memory(databases: Databases, log: Path, scale: Scale) -> Iterator[Figure]:
    wrote = logs.write_foreign(log, scale.long_pairs, scale.long_segments)
    for kind in BUDGETS:
        told = []
        for _ in range(scale.ingest_runs):
            with databases.empty(kind) as url:
                told.append(isolated.call("bench.ingest:watching_memory", store=url, log=str(log)))
        grown = [percentile([run["samples"][part] for run in told], 0.5) for part in range(4)]
        rate = percentile([run["rate"] for run in told], 0.5)
        yield Figure(
            name=f"ingest:memory:{kind}",
            unit="MB",
            values=[run["peak"] for run in told],
            budget=BUDGET_MEMORY_MB,
            fixture=f"one worker's process over {wrote.events:,} events, {wrote.size / 1e6:,.0f} MB in "
            f"{scale.long_segments} segments",
            note=f"resident after each quarter: {', '.join(f'{v:.0f}' for v in grown)} MB; "
            f"{rate:,.0f} events/s over the whole log",
        )


def _live(databases: Databases, folder: Path, scale: Scale) -> Iterator[Figure]:
    for kind, load in (("sqlite", 0), ("postgresql", 0), ("sqlite", 500)):
        taken = []
        for _ in range(scale.ingest_runs):
            with databases.empty(kind) as url, tempfile.TemporaryDirectory(dir=folder) as log:
                taken.append(
                    isolated.call(
                        "bench.ingest:emit_to_query", store=url, log=log, count=scale.live, load=load
                    )
                )
        name = f"ingest:live:{kind}{':busy' if load else ''}"
        beside = f"{load} events/s of another emitter in the same log" if load else "nothing else in the log"
        yield from live_figures(
            name,
            taken,
            fixture=f"{scale.live} AssetCreated, one every 20 to 120 ms; the consumer is "
            f"another process; {beside}",
            note="from before `emit` until a query by production id returns the row",
        )


def live_figures(name: str, taken: Sequence[list[float]], *, fixture: str, note: str) -> Iterator[Figure]:
    """How soon (ms) an event was found by a query, in the middle and in the tail of each run."""
    for share, budget in ((0.5, None), (0.99, BUDGET_LIVE_MS)):
        yield Figure(
            name=f"{name}:p{share * 100:.0f}",
            unit="ms",
            values=[percentile(run, share) for run in taken],
            budget=budget,
            fixture=fixture,
            note=note,
        )


# -- in a process of their own ------------------------------------------------------------


def consuming(store: str, log: str, workers: int) -> dict[str, float]:
    """Events a second from `log` into the empty database `store`."""
    from headwater.consumers.store import open_store

    open_store(store, create=True).close()
    return _by_workers(store, log, workers) if workers > 1 else _alone(store, log)


def _alone(store: str, log: str) -> dict[str, float]:
    from headwater.consumers.log import open_log
    from headwater.consumers.runner import Runner
    from headwater.consumers.store import open_store

    with open_store(store) as opened, open_log(log) as source:
        runner = Runner(opened, source)
        began, cpu = time.perf_counter(), time.process_time()
        progress = runner.run()
        taken, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"rate": progress.applied / taken, "cpu": cpu / taken, "whole": progress.applied / taken}


def _by_workers(store: str, log: str, workers: int) -> dict[str, float]:
    """The rate from the first report on: a consumer starts once and then goes on for weeks."""
    from headwater.consumers.workers import consume

    first: list[tuple[float, int]] = []

    def report(progress: Any) -> None:
        if progress.seen and not first:
            first.append((time.perf_counter(), progress.seen))

    began = time.perf_counter()
    progress = consume(store, log, workers=workers, report=report)
    ended = time.perf_counter()
    at, seen = first[0]
    behind = progress.applied - seen
    return {"rate": behind / (ended - at) if behind else 0.0, "whole": progress.applied / (ended - began)}


def watching_memory(store: str, log: str) -> dict[str, Any]:
    """MB resident after each quarter of the log, and at the most, of a process that consumes it."""
    from headwater.consumers.log import open_log
    from headwater.consumers.runner import Progress, Runner
    from headwater.consumers.store import open_store

    open_store(store, create=True).close()
    samples: list[tuple[int, float]] = []
    with open_store(store) as opened, open_log(log) as source:

        def report(progress: Progress) -> None:
            samples.append((progress.seen, _resident_mb()))

        began = time.perf_counter()
        seen = Runner(opened, source).run(report=report).seen
        rate = seen / (time.perf_counter() - began)
    quarters = [next(mb for at, mb in samples if at >= seen * part / 4) for part in (1, 2, 3, 4)]
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return {"samples": quarters, "peak": peak, "rate": rate}


def _resident_mb() -> float:
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return 0.0
    return int(pages.read_text().split()[1]) * resource.getpagesize() / 1e6


def emit_to_query(store: str, log: str, count: int, load: int) -> list[float]:
    """ms from before an emit until a query finds what it said; a consumer follows in another process."""
    from bench.events import created
    from headwater.consumers.store import open_store
    from headwater.emitter import Settings
    from headwater.emitter.emitter import from_settings

    open_store(store, create=True).close()
    draw = random.Random(7)
    emitter = from_settings(Settings(project="bench", log=Path(log), profile="regulated"))
    taken = []
    with _following(store, log), _loading(log, load), open_store(store) as opened:
        for number in range(-5, count):
            time.sleep(draw.uniform(0.02, 0.12))
            fact = created(1_000_000 + number)
            began = time.perf_counter()
            emitter.emit(fact)
            _wait_for(opened, fact)
            if number >= 0:  # the first ones start the consumer and the queries' plans
                taken.append((time.perf_counter() - began) * 1e3)
    emitter.close()
    return taken


def _wait_for(store: Any, fact: Any) -> None:
    """Ask for the production that `fact` tells of until it is there."""
    from headwater.consumers import walk
    from headwater.schemas import ids

    made = fact.asset
    dataset = ids.dataset_id(made.namespace, made.name)
    run = ids.run_key(fact.run.id, fact.run.job.namespace, fact.run.job.name)
    production = ids.production_id(run, dataset, ids.version_id(dataset, made.version))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with store.connecting() as connection:
            if walk.productions(connection, [production]):
                return
        time.sleep(0.001)
    raise TimeoutError("an emitted event did not reach the store within 30 s")


@contextmanager
def _following(store: str, log: str) -> Iterator[None]:
    with _beside("follow", store, log):
        yield


@contextmanager
def _loading(log: str, load: int) -> Iterator[None]:
    if not load:
        yield
        return
    with _beside("emit_steadily", log, load):
        yield


@contextmanager
def _beside(function: str, *arguments: object) -> Iterator[None]:
    """Another process that runs `function` of this module until its standard input ends."""
    program = f"from bench.ingest import {function}; {function}{arguments!r}"
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdin=subprocess.PIPE)
    try:
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(30)


def follow(store: str, log: str) -> None:
    """Consume `log` into `store` until standard input ends."""
    from headwater.consumers.log import open_log
    from headwater.consumers.runner import Runner
    from headwater.consumers.store import open_store

    told = _told_to_end()
    with open_store(store) as opened, open_log(log) as source:
        Runner(opened, source).run(follow=True, stopping=told.is_set)


def emit_steadily(log: str, rate: int) -> None:
    """Emit `rate` events a second into `log` until standard input ends."""
    from bench.events import created
    from headwater.emitter import Settings
    from headwater.emitter.emitter import from_settings

    told, number = _told_to_end(), 0
    emitter = from_settings(Settings(project="bench", log=Path(log)))
    began = time.monotonic()
    while not told.is_set():
        while number < (time.monotonic() - began) * rate:
            emitter.emit(created(number))
            number += 1
        time.sleep(0.01)
    emitter.close()


def _told_to_end() -> threading.Event:
    told = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        told.set()

    threading.Thread(target=wait, daemon=True).start()
    return told
