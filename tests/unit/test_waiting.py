"""Whoever waits for a long question sees what it is looking at; nobody else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.consumers import Lineage
from headwater.consumers.store import open_store
from tests.replay import product
from tests.support.logs import run_event

# The question ends only when the line has been written: the terminal's reader says so.
_LONG = """
import sys
from headwater.consumers.cli.waiting import waiting
with waiting(after_s={after_s}) as report:
    report("runs", 120_000)
    sys.stdin.readline()
print("the answer")
"""


def _ask(after_s: float) -> tuple[int, subprocess.Popen[bytes]]:
    """The question in a process whose standard error is a terminal, and that terminal's other end."""
    ours, its = os.openpty()
    asked = subprocess.Popen(
        [sys.executable, "-c", _LONG.format(after_s=after_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=its,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(its)
    return ours, asked


def _read(terminal: int, until: bytes | None) -> bytes:
    said = b""
    while until is None or until not in said:
        try:
            some = os.read(terminal, 4_096)
        except OSError:  # the other end was closed
            break
        if not some:
            break
        said += some
    return said


def test_what_takes_long_says_what_it_is_looking_at_until_the_answer_is_there() -> None:
    terminal, asked = _ask(0)
    said = _read(terminal, b"runs: 120,000")
    out, _ = asked.communicate(b"\n")
    rest = _read(terminal, None)
    os.close(terminal)
    assert b"looking at runs: 120,000" in said
    # The line is taken away again.
    assert b"\x1b[2K" in rest
    assert (asked.returncode, out) == (0, b"the answer\n")


def test_what_is_answered_at_once_writes_nothing_to_the_terminal() -> None:
    terminal, asked = _ask(3_600)
    out, _ = asked.communicate(b"\n")
    said = _read(terminal, None)
    os.close(terminal)
    assert (asked.returncode, out, said) == (0, b"the answer\n", b"")


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    url = f"sqlite:///{tmp_path / 'lineage.db'}"
    with open_store(url, create=True) as opened:
        product.apply_all(opened, [[run_event(number) for number in range(3)]])
    return Lineage(url)


def test_drift_and_gaps_say_what_they_look_at(lineage: Lineage) -> None:
    told: list[tuple[str, int | None]] = []
    with lineage:
        lineage.gaps(report=lambda *one: told.append(one))
        assert ("runs that did not end", None) in told
        assert {what for what, _ in told} >= {"emitters", "versions that nobody wrote"}
        told.clear()
        drift = lineage.drift(report=lambda *one: told.append(one))
    assert drift.runs == 3
    assert told == [("runs", 3), ("assets", 3)]
