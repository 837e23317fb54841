"""The commands that keep the store: consume, replay, verify, quarantine, store, log."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from headwater.consumers import Lineage, cli
from headwater.consumers.store import open_store
from tests.support.logs import EMITTER, chain, run_event, write_segment

PROGRAM = [sys.executable, "-c", "import sys; from headwater.consumers.cli import main; sys.exit(main())"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with a log of three events and one record that is none."""
    for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    values = [run_event(1), run_event(2, inputs=["out-1"]), b"no event", run_event(3)]
    write_segment(tmp_path / ".headwater" / "log", values, sealed=True)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    found, out, _ = run(capsys, *arguments, "--json")
    assert found == code
    return json.loads(out)


def damage(segment: Path) -> None:
    """Flip a byte in the first record, with whole ones behind it."""
    content = bytearray(segment.read_bytes())
    content[content.index(b"eventType")] ^= 0xFF
    segment.write_bytes(content)


def test_consuming_twice_finds_nothing_new_the_second_time(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "consume")
    assert (code, out) == (0, "3 events applied, 1 parked\n")
    assert "quarantine list" in err
    assert answer(capsys, "consume")["records"] == 0
    assert run(capsys, "consume")[1] == "nothing new\n"


def test_a_verified_store_ends_with_zero_and_an_edited_one_with_one_and_the_row(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    run(capsys, "consume")
    assert answer(capsys, "verify")["equal"]
    assert run(capsys, "verify")[1].startswith("equal")
    with open_store(f"sqlite:///{folder}/.headwater/lineage.db") as store, store.writing() as connection:
        connection.execute(text("UPDATE dataset SET name = 'other' WHERE name = 'out-3'"))
    code, out, _ = run(capsys, "verify")
    assert code == cli.NO
    assert "out-3" in out
    assert answer(capsys, "verify", code=cli.NO)["difference"]["table"] == "dataset"


def test_verifying_a_store_that_is_not_there_makes_none(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    code, _, err = run(capsys, "verify")
    assert code == cli.MISCONFIGURED
    assert "headwater consume" in err
    assert not (folder / ".headwater" / "lineage.db").exists()


def test_a_replay_fills_another_store_with_the_same(
    capsys: pytest.CaptureFixture[str], store_url: str
) -> None:
    done = answer(capsys, "replay", "--into", store_url)
    assert (done["applied"], done["quarantined"]) == (3, 1)
    assert answer(capsys, "verify", "--store", store_url)["equal"]
    with Lineage(store_url) as lineage:
        assert [node.name for node in lineage.upstream("out-2").nodes] == ["out-2", "out-1"]


def test_a_replay_until_a_time_knows_only_what_was_known(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    url = f"sqlite:///{folder}/then.db"
    done = answer(capsys, "replay", "--into", url, "--until", "2020-01-01T00:00:00Z")
    assert (done["applied"], done["gaps"]) == (0, 4)
    assert run(capsys, "replay", "--into", url, "--until", "soon")[0] == cli.USAGE


def test_what_is_parked_can_be_listed_shown_retried_and_exported(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    run(capsys, "consume")
    (entry,) = answer(capsys, "quarantine", "list")["quarantined"]
    assert entry["offset"] == 2
    assert entry["record"] in run(capsys, "quarantine", "list")[1]
    assert answer(capsys, "quarantine", "show", entry["record"])["value"] == "no event"
    assert "no event" in run(capsys, "quarantine", "show", entry["record"])[1]
    assert answer(capsys, "quarantine", "retry") == {"tried": 1, "accepted": []}
    assert answer(capsys, "quarantine", "export", "parked")["exported"] == 1
    assert (folder / "parked" / f"{entry['record']}.bin").read_bytes() == b"no event"
    assert run(capsys, "quarantine", "show", "nothing@1")[0] == cli.MISCONFIGURED


def test_a_damaged_segment_halts_is_found_and_can_be_given_up(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (segment,) = (folder / ".headwater" / "log").glob("*.seg")
    damage(segment)
    code, _, err = run(capsys, "consume")
    assert code == cli.UNACCEPTABLE
    assert segment.name in err
    assert answer(capsys, "log", "check", code=cli.NO)["segments"][0]["damage"]["offset"] == 0
    assert run(capsys, "log", "check")[0] == cli.NO
    done = answer(capsys, "log", "accept-damage", "--yes")
    assert (done["applied"], done["quarantined"]) == (2, 2)
    assert run(capsys, "consume")[:2] == (0, "nothing new\n")


def test_giving_up_damage_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [*PROGRAM, "log", "accept-damage"], input="n\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == cli.INTERRUPTED
    assert not Path(".headwater/lineage.db").exists()


def test_a_whole_log_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    (segment,) = answer(capsys, "log", "check")["segments"]
    assert (segment["records"], segment["damage"]) == (4, None)
    assert answer(capsys, "log", "adopt") == {"adopted": []}


def test_the_schema_is_checked_and_made(capsys: pytest.CaptureFixture[str], postgres_url: str) -> None:
    assert answer(capsys, "store", "check", "--store", postgres_url, code=cli.NO)["current"] is None
    code, _, err = run(capsys, "consume", "--store", postgres_url)
    assert code == cli.MISCONFIGURED
    assert "headwater store upgrade" in err
    assert answer(capsys, "store", "upgrade", "--store", postgres_url)["before"] is None
    assert answer(capsys, "store", "check", "--store", postgres_url)["fits"]
    assert "nothing to do" in run(capsys, "store", "upgrade", "--store", postgres_url)[1]
    assert answer(capsys, "consume", "--store", postgres_url)["applied"] == 3


def emitted(capsys: pytest.CaptureFixture[str], folder: Path, *chains: list[bytes]) -> None:
    """Replace the log by one of these chains, and consume it."""
    shutil.rmtree(folder / ".headwater")
    write_segment(folder / ".headwater" / "log", [value for values in chains for value in values])
    assert run(capsys, "consume")[0] == 0


def test_emitters_that_are_complete_are_listed_on_demand(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    emitted(capsys, folder, chain(3), chain(4, emitter=2))
    assert run(capsys, "emitters")[:2] == (0, "every event of 2 emitters is here, unaltered\n")
    assert answer(capsys, "emitters") == {"emitters": [], "known": 2, "damaged": False, "as_of": None}
    known_then = answer(capsys, "emitters", "--as-of", "1999-01-01")
    assert (known_then["known"], known_then["as_of"]) == (0, "1999-01-01T23:59:59.999999Z")
    assert answer(capsys, "emitters", "--known-at", "1999-01-01")["known"] == 0
    assert answer(capsys, "emitters", EMITTER.format(2))["known"] == 1
    code, _, told = run(capsys, "emitters", EMITTER.format(2)[:-2] + "9" + EMITTER.format(2)[-1])
    assert (code, f"did you mean '{EMITTER.format(2)}'" in told) == (4, True)
    first, second = answer(capsys, "emitters", "--all")["emitters"]
    assert (first["emitter_id"], first["events"], first["complete"]) == (EMITTER.format(1), 3, True)
    assert (second["last_sequence"], second["gaps"], second["broken"]) == (3, [], [])
    assert "complete" in run(capsys, "emitters", "--all")[1]


def test_a_store_without_emitters_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "consume")
    assert run(capsys, "emitters")[:2] == (0, "no emitters\n")


def test_an_emitter_that_was_killed_is_listed_and_is_no_failure(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    emitted(capsys, folder, chain(3, closed=False), chain(4, emitter=2))
    (found,) = answer(capsys, "emitters")["emitters"]
    assert (found["emitter_id"], found["closed"], found["complete"]) == (EMITTER.format(1), False, False)
    code, out, _ = run(capsys, "emitters")
    assert code == 0
    assert "unclosed: unknown after 2" in out
    assert EMITTER.format(2) not in out


@pytest.mark.parametrize(
    ("values", "told", "gaps", "broken"),
    [
        ([*chain(9)[:2], *chain(9)[4:7], chain(9)[8]], "3 missing: 2–3, 7", [(2, 3), (7, 7)], []),
        ([chain(3)[0], chain(3)[1].replace(b"out-1", b"out-X"), chain(3)[2]], "chain broken at 2", [], [2]),
    ],
    ids=["lost", "edited"],
)
def test_a_missing_or_altered_event_is_named_and_ends_with_one(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    values: list[bytes],
    told: str,
    gaps: list[tuple[int, int]],
    broken: list[int],
) -> None:
    emitted(capsys, folder, values)
    code, out, _ = run(capsys, "emitters")
    assert code == cli.NO
    assert told in out
    (found,) = answer(capsys, "emitters", code=cli.NO)["emitters"]
    assert [(gap["first"], gap["last"]) for gap in found["gaps"]] == gaps
    assert found["broken"] == broken


def test_a_person_sees_progress_and_a_pipe_does_not(folder: Path) -> None:
    values = [run_event(number) for number in range(10, 6_010)]
    write_segment(folder / ".headwater" / "log", values, sealed=True)
    seen = on_a_terminal([*PROGRAM, "replay", "--into", "sqlite:///seen.db"])
    assert "reading the log" in seen
    assert "━" in seen
    assert re.search(r"[\d,]+ events, [\d,]+/s", seen)
    assert seen.index("━") < seen.index("6,003 events applied")
    piped = subprocess.run(
        [*PROGRAM, "replay", "--into", "sqlite:///piped.db"], capture_output=True, text=True, check=True
    )
    assert "\x1b" not in piped.stdout + piped.stderr
    assert "reading the log" not in piped.stdout + piped.stderr
    assert "events applied" in piped.stdout


def on_a_terminal(command: list[str]) -> str:
    """Everything that `command` writes to a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI")}
    environment |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = bytearray()
        reader = threading.Thread(target=_drain, args=(ours, written))
        reader.start()
        code = process.wait(timeout=120)
        reader.join(timeout=30)
    os.close(ours)
    assert code == 0, written.decode()
    return written.decode()


def _drain(terminal: int, written: bytearray) -> None:
    """Read until nobody holds the other end any more: Linux says so with an error, macOS with nothing."""
    while True:
        try:
            block = os.read(terminal, 65_536)
        except OSError:
            return
        if not block:
            return
        written += block


def test_without_a_log_the_remedy_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "consume", "--log", "nowhere")
    assert code == cli.MISCONFIGURED
    assert "--log" in err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_following_sees_what_comes_and_stops_in_good_order(folder: Path, how: signal.Signals) -> None:
    url = f"sqlite:///{folder}/.headwater/lineage.db"
    with subprocess.Popen([*PROGRAM, "consume", "--follow"], stderr=subprocess.PIPE, text=True) as following:
        _wait_for(url, "out-3")
        write_segment(folder / ".headwater" / "log", [run_event(4)])
        _wait_for(url, "out-4")
        following.send_signal(how)
        _, err = following.communicate(timeout=30)
    assert following.returncode == 0
    assert "stopping" in err


def _wait_for(url: str, name: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if Path(url.removeprefix("sqlite:///")).exists():
            try:
                with Lineage(url) as lineage:
                    if lineage.assets(name):
                        return
            except Exception:  # noqa: BLE001 - the schema may be half made; look again
                time.sleep(0.05)
        time.sleep(0.05)
    raise AssertionError(f"{name} never came")


def test_a_topic_of_garbage_is_halted_told_and_resumed(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "headwater.yaml").write_text("quarantine: {in_a_row: 3, share: 1, of_last: 10}\n")
    write_segment(folder / ".headwater" / "log", [b"garbage"] * 5)
    code, _, err = run(capsys, "consume")
    assert code == cli.UNACCEPTABLE
    assert "headwater quarantine resume segments" in err
    (told,) = answer(capsys, "quarantine", "topics")["topics"]
    assert (told["topic"], told["halted"]) == ("segments", True)
    assert "halted" in run(capsys, "quarantine", "topics")[1]
    assert run(capsys, "quarantine", "resume", "segments")[0] == 0
    assert run(capsys, "consume")[0] == 0
    assert run(capsys, "quarantine", "resume", "nothing")[0] == cli.MISCONFIGURED
    (folder / "headwater.yaml").write_text("quarantine: {in_a_row: no}\n")
    code, _, err = run(capsys, "consume")
    assert code == cli.MISCONFIGURED
    assert "quarantine.in_a_row" in err


def test_what_is_of_the_service_is_refused_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "consume", "--listen", "127.0.0.1:0")[0] == cli.USAGE
    assert run(capsys, "consume", "lineage", "--workers", "2")[0] == cli.USAGE
    assert run(capsys, "consume", "metrics")[0] == cli.USAGE
