"""Consumers as they are run: processes of `headwater consume lineage`, watched through their log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from headwater.consumers import tables
from headwater.consumers.store import connect

DEADLINE_S = 90.0
#: Of the topic that they share.
PARTITIONS = 4
PROGRAM = "import sys; from headwater.consumers.cli import main; sys.exit(main(sys.argv[1:]))"
#: Short waits, so that a test need not wait for a member that is gone.
QUICK = "kafka:\n  session.timeout.ms: 6000\n  heartbeat.interval.ms: 500\n"


class Consumer:
    """One running service; `events` are its log's lines so far."""

    def __init__(self, store: str, log: str, folder: Path, *options: str, settings: str = QUICK) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "headwater.yaml").write_text(settings)
        self.events: list[dict[str, Any]] = []
        self.text = ""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", PROGRAM, "consume", "lineage", "--log-format", "json"),
                *("--store", store, "--log", log, *options),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.text += line

    def count(self, event: str) -> int:
        return sum(each["event"] == event for each in list(self.events))

    def wait_for(self, event: str, times: int = 1) -> dict[str, Any]:
        """The last of so many lines of that name."""
        until(lambda: self.count(event) >= times or self.ended)
        found = [each for each in self.events if each["event"] == event]
        assert len(found) >= times, (event, self.text, self.events[-10:])
        return found[-1]

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.end()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.signal(signal.SIGTERM)
        return self.end()

    def end(self) -> int:
        code = self._process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        if self._process.stderr is not None:
            self._process.stderr.close()
        return code


@contextlib.contextmanager
def serving(
    store: str, log: str, folder: Path, *options: str, settings: str = QUICK, members: int = 1
) -> Iterator[list[Consumer]]:
    """So many consumers, which are killed at the end if they still run."""
    team = [Consumer(store, log, folder, *options, settings=settings) for _ in range(members)]
    try:
        yield team
    finally:
        for each in team:
            each.signal(signal.SIGCONT)
            each.kill()


def until(condition: Callable[[], bool], what: str = "") -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what or "what was waited for did not happen")
        time.sleep(0.02)


def consumed(store_url: str) -> int:
    """How many positions the store has passed."""
    store = connect(store_url)
    try:
        with store.connecting() as connection:
            p = tables.position.c
            passed = func.coalesce(func.sum(p.next_offset - p.start_offset), 0)
            return int(connection.execute(select(passed)).scalar_one())
    finally:
        store.close()


def books(store_url: str) -> dict[str, int]:
    """What became of all records: the sums over all partitions."""
    store = connect(store_url)
    p = tables.position.c
    parts = ("applied", "duplicate", "quarantined", "gaps")
    try:
        with store.connecting() as connection:
            sums = [func.coalesce(func.sum(p[part]), 0) for part in parts]
            row = connection.execute(select(*sums, func.sum(p.next_offset - p.start_offset))).one()
    finally:
        store.close()
    *counts, passed = map(int, row)
    assert sum(counts) == passed, "a record is not accounted for"
    return dict(zip(parts, counts, strict=True))


def asked(url: str) -> tuple[int, str]:
    """(status, body) of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
