"""What does not fit a terminal goes on below: no name, state, mark or reason is lost."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.consumers import cli
from headwater.consumers.cli.fitting import fitted, wrapped
from headwater.consumers.store import open_store
from tests.replay.profiles import examples
from tests.support.churn import recorded_log

REASON = "the units of the tariff were cents for a week, and nobody had told the people who billed with it"


def on_a_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines that a command writes to a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "CI", "FORCE_COLOR")}
    command = [str(Path(sys.executable).with_name("headwater")), *arguments]
    environment = kept | {"TERM": "xterm", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        while block := _read(ours):
            written += block
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;]*m", "", written.decode())
    assert process.returncode == 0, text
    return text.replace("\r\n", "\n").splitlines()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # so Linux says that nobody holds the other end
        return b""


@pytest.fixture
def places(tmp_path: Path) -> tuple[str, ...]:
    log = recorded_log(tmp_path)
    store = f"sqlite:///{tmp_path / 'lineage.db'}"
    open_store(store, create=True).close()
    found = ("--store", store, "--log", str(log))
    assert cli.main(["consume", *found]) == 0
    said = (*found, "--actor", "ada")
    assert cli.main(["recall", "customers@bbbb", "--reason", REASON, *said]) == 0
    return found


@pytest.mark.parametrize("columns", [80, 60])
def test_on_a_narrow_terminal_no_state_mark_or_reason_is_lost(
    places: tuple[str, ...], columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for question in (
        ("runs",),
        ("assets",),
        ("lineage", "churn-model@dddd"),
        ("impact", "customers@bbbb"),
        ("show", "churn-model@dddd"),
        ("search", "--versions", "churn"),
    ):
        assert cli.main([*question, *places]) == 0
        piped = capsys.readouterr().out
        lines = on_a_terminal(columns, *question, *places)
        shown = "\n".join(lines)
        assert all(len(line) <= columns for line in lines), question
        for word in ("COMPLETE", "FAIL", "wrote recalled", "read recalled", "made from recalled", "recalled"):
            assert shown.count(word) >= piped.count(word) or word == "recalled", (question, word)
        if REASON in piped:
            assert REASON in " ".join(line.strip() for line in lines), question
        assert "…" not in shown.replace("…", "", piped.count("…")), question


texts = st.text(st.sampled_from("ab c-:/…漢"), max_size=70)
cells = st.tuples(texts, st.sampled_from(["", "red", "dim"]))


@examples(60)
@given(line=st.lists(cells, min_size=1, max_size=6), room=st.integers(20, 100))
def test_a_wrapped_line_has_every_character_of_it(line: list[tuple[str, str]], room: int) -> None:
    from rich.cells import cell_len

    parts = wrapped(line, room)
    told = ["".join(text for text, _ in part) for part in parts]
    assert all(cell_len(part.rstrip()) <= room for part in told)
    assert "".join("".join(told).split()) == "".join("".join(text for text, _ in line).split())


@examples(60)
@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=4), room=st.integers(40, 120))
def test_a_narrowed_table_has_every_character_of_each_row(
    rows: list[tuple[tuple[str, str], ...]], room: int
) -> None:
    narrow = fitted(("NAME", "WHY", "OF"), rows, room)
    for row, line in zip(rows, (narrow or [])[1:], strict=narrow is not None):
        told = sorted("".join(text for text, _ in line if text != "\n").replace(" ", ""))
        assert told == sorted("".join(text for text, _ in row).replace(" ", ""))
