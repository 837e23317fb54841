"""Stores of what was known at a time, kept for the next question about that time.

A folder holds one SQLite store for each log and time. A store that was kept may lack records that
were adopted into the log since with earlier append times, so whoever gets one replays on to the
log's end, which is quick. Files are removed that nobody used for a month, and the ones used longest
ago while all of them take more than 4 GiB. Removing any of them, at any time, loses nothing.

A lock file beside each store keeps two processes from filling it at once, and a store in use from
being removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

KEPT_S = 30 * 86_400
KEPT_BYTES = 4 << 30
WAIT_S = 5.0
LOOK_S = 0.1

_STORE = ".db"
_LOCK = ".lock"
_PARTS = (_STORE, f"{_STORE}-wal", f"{_STORE}-shm")


def folder_of(variables: Mapping[str, str]) -> Path:
    """Where the user's stores are kept: `$XDG_CACHE_HOME/headwater/known`, or under `~/.cache`."""
    base = variables.get("XDG_CACHE_HOME") or ""
    caches = Path(base) if os.path.isabs(base) else Path(variables.get("HOME") or "~").expanduser() / ".cache"
    return caches / "headwater" / "known"


class KnownStores:
    """The stores in one folder."""

    def __init__(self, folder: Path, *, kept_bytes: int = KEPT_BYTES, kept_s: float = KEPT_S) -> None:
        self.folder = folder
        self._kept_bytes = kept_bytes
        self._kept_s = kept_s

    def path(self, *key: str) -> Path:
        """The file of the store that `key` stands for; it may not exist."""
        return self.folder / f"{hashlib.sha256(chr(0).join(key).encode()).hexdigest()[:32]}{_STORE}"

    @contextmanager
    def filling(self, path: Path) -> Iterator[Path]:
        """Holds the store at `path` alone.

        Raises OSError where no file can be, and (`BlockingIOError`) where others use it for longer than
        `WAIT_S`: in this process, too, and then they may wait for us.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(path, fcntl.LOCK_EX, wait_s=WAIT_S):
            yield path
            os.utime(path)
        self._make_room(path)

    @contextmanager
    def using(self, path: Path) -> Iterator[bool]:
        """Keeps the store at `path` from being removed; whether it is there."""
        with _locked(path, fcntl.LOCK_SH):
            yield path.exists()

    def remove(self, path: Path) -> None:
        """Remove the store; only while `filling`."""
        for part in _PARTS:
            path.with_suffix(part).unlink(missing_ok=True)

    def _make_room(self, used: Path) -> None:
        """Remove what was used long ago, and of the rest what does not fit, but never `used`."""
        left, now = self._kept_bytes, time.time()
        for at, size, path in sorted(self._kept(), reverse=True):
            left -= size
            if path != used and (left < 0 or now - at > self._kept_s):
                self._remove_unless_used(path)

    def _kept(self) -> Iterator[tuple[float, int, Path]]:
        """(last used, bytes, path) of each store."""
        for path in self.folder.glob(f"*{_STORE}"):
            try:
                size = sum(p.stat().st_size for p in map(path.with_suffix, _PARTS) if p.exists())
                yield path.stat().st_mtime, size, path
            except FileNotFoundError:
                log.debug("known_store_gone", extra={"path": str(path)})  # another process made room too

    def _remove_unless_used(self, path: Path) -> None:
        try:
            with _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                self.remove(path)
        except BlockingIOError:
            log.debug("known_store_in_use", extra={"path": str(path)})


@contextmanager
def _locked(path: Path, how: int, *, wait_s: float | None = None) -> Iterator[None]:
    """Holds the lock of the store at `path`. Lock files stay: removing one would let two holders in."""
    file = os.open(path.with_suffix(_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = None if wait_s is None else time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, how if deadline is None else how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline is None or time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_S)
        yield
    finally:
        os.close(file)
