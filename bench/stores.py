"""The databases of the benchmarks: fresh ones for writing, and a million versions to ask.

PostgreSQL runs from local binaries with its own default settings (fsync and synchronous commits
on), reached by a Unix socket. The graph is built once and kept in bench/.cache, under a key
that changes with its generator and with the tables.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path

from sqlalchemy import create_engine, text

from bench import fixtures, isolated
from bench.isolated import CACHE, ROOT, Failed
from tests.support import postgres

_MADE_BY = ("bench/fixtures.py", "bench/stores.py", "consumers/headwater/consumers/tables.py")


@contextmanager
def cluster(data: Path | None = None) -> Iterator[postgres.Cluster]:
    """A PostgreSQL server with its default settings; `data` is kept, else thrown away."""
    try:
        server = postgres.start_cluster(settings={}, data=data)
    except postgres.Unavailable as problem:
        raise Failed(f"no PostgreSQL: {problem}") from problem
    try:
        yield server
    finally:
        server.stop()


def settings_of(url: str) -> str:
    """Version and the settings that decide the speed of writing, as the server tells them."""
    import psycopg

    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as connection:
        told = {name: str((connection.execute(f"SHOW {name}").fetchone() or ["?"])[0]) for name in names}
    version = told.pop("server_version").split(" ")[0]
    return f"PostgreSQL {version} ({', '.join(f'{name} {value}' for name, value in told.items())})"


def graph_key(versions: int, deep: int) -> str:
    """What decides the rows of the graph: its size, its generator, the tables."""
    content = b"".join((ROOT / path).read_bytes() for path in _MADE_BY)
    return f"{versions}-{deep}-{hashlib.sha256(content).hexdigest()[:10]}"


@contextmanager
def graph(kind: str, versions: int, deep: int) -> Iterator[str]:
    """The URL of the store with the graph in it, built when it is not there yet."""
    CACHE.mkdir(parents=True, exist_ok=True)
    home = CACHE / f"graph-{kind}-{graph_key(versions, deep)}"
    ready = home / "database"
    if not ready.exists():
        _forget(kind, versions, deep)
        home.mkdir()
    if kind == "sqlite":
        url = f"sqlite:///{home / 'lineage.db'}"
        if not ready.exists():
            _build(kind, url, versions, deep)
            ready.write_text("lineage.db")
        yield url
        return
    with cluster(home / "data") as server:
        if not ready.exists():
            url = server.create()
            _build(kind, url, versions, deep)
            ready.write_text(url.partition("?")[0].rpartition("/")[2])
        yield server.url(ready.read_text())


def _forget(kind: str, versions: int, deep: int) -> None:
    """Remove what an earlier generator left of this size, and what was not finished."""
    for old in CACHE.glob(f"graph-{kind}-{versions}-{deep}-*"):
        shutil.rmtree(old)


def _build(kind: str, url: str, versions: int, deep: int) -> None:
    print(f"  building the graph on {kind}, once …", flush=True)
    isolated.call("bench.stores:build", url=url, versions=versions, deep=deep)


def build(url: str, versions: int, deep: int) -> int:
    """Fill the store at `url`; called in a process of its own. A table of ready edges goes with it."""
    layered = chain(fixtures.Layered(versions=versions).sheets(), fixtures.Wide(versions=versions).sheets())
    deeps = chain.from_iterable(shape.sheets() for shape in deep_shapes(deep))
    fixtures.fill(url, chain(layered, deeps))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE bench_edge AS SELECT o.production_id AS target, i.production_id AS source "
                "FROM run_output o JOIN run_input i ON i.run_id = o.run_id WHERE i.production_id IS NOT NULL"
            )
        )
        connection.execute(text("CREATE INDEX bench_edge_ix ON bench_edge (target, source)"))
        connection.execute(text("CREATE INDEX bench_edge_down_ix ON bench_edge (source, target)"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE bench_edge"))
        return int(connection.execute(text("SELECT count(*) FROM run_output")).scalar_one())


def deep_shapes(deep: int) -> tuple[fixtures.Deep, ...]:
    """The chains and ladders, `deep` steps each."""
    shapes = (fixtures.CHAIN, fixtures.LADDER, fixtures.LATE_CHAIN, fixtures.LATE_LADDER)
    return tuple(replace(shape, steps=deep) for shape in shapes)
