"""Asking as of what was known: from segments, through the API and the command line, kept between uses."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from headwater.consumers import Lineage, cli, tables
from headwater.consumers.answers import AssetDetails, Unknown
from headwater.consumers.knowing import KnownLineage
from headwater.consumers.known_stores import KnownStores, folder_of
from headwater.consumers.log import SegmentLog
from headwater.consumers.replaying import replay
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store, open_store
from headwater.consumers.version import code_version
from headwater.schemas.errors import Rejected
from headwater.schemas.openlineage import parse_time
from tests.support.logs import run_event, write_segment

DAY = timedelta(days=1)
FOURTH = datetime(2026, 3, 4, tzinfo=UTC)


def micros(text: str) -> int:
    return parse_time(text)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those of the test, and its own caches."""
    for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log: run n reads what run n - 1 wrote, at ten on day n of March; the news of run 2 came on the 6th.

    Run 2 wrote `out-1` too, an hour after run 1 did.
    """
    found = tmp_path / ".headwater" / "log"
    append(found, "2026-03-01T10:00:01Z", [run_event(1, at="2026-03-01T10:00:00Z")])
    late = run_event(2, at="2026-03-01T11:00:00Z", outputs=[{"namespace": "lake", "name": "out-1"}])
    append(found, "2026-03-06T08:00:00Z", [late])
    append(found, "2026-03-03T10:00:01Z", [run_event(3, at="2026-03-03T10:00:00Z", inputs=["out-1"])])
    return found


def append(folder: Path, time: str, values: list[bytes]) -> Path:
    return write_segment(folder, values, appended_at=micros(time), sealed=True)


def consumed(folder: Path, url: str) -> None:
    with SegmentLog(folder) as log:
        replay(log, url)


def run_of(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012x}"


def segment_with(folder: Path, text: str) -> Path:
    return next(path for path in folder.glob("*") if text.encode() in path.read_bytes())


def made_by(lineage: Lineage, name: str = "out-3") -> list[str]:
    """The runs behind `name`, itself first."""
    return [node.run.id[-1] for node in lineage.upstream(name).nodes if node.run]


class Replays:
    """How much was replayed."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, progress: Any) -> None:
        self.seen.append(progress.seen)


def test_what_came_late_was_not_known_before_it_came(folder: Path, store_url: str) -> None:
    consumed(folder, store_url)
    with Lineage(store_url) as lineage:
        assert made_by(lineage) == ["3", "2"]
        with lineage.known_at(FOURTH, log=folder) as then:
            assert made_by(then) == ["3", "1"]
        with lineage.known_at(FOURTH + 3 * DAY, log=folder) as then:
            assert made_by(then) == ["3", "2"]


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["replayed", "gathered"])
def test_both_ways_answer_alike_on_both_databases(folder: Path, store_url: str, share: float) -> None:
    consumed(folder, store_url)
    replays = Replays()
    with open_store(store_url) as live, SegmentLog(folder) as log:
        until = micros("2026-03-04T00:00:00Z")
        with KnownLineage(live, log, until, share=share, report=replays) as then:
            assert made_by(then) == ["3", "1"]
            assert [node.name for node in then.downstream("out-1").nodes] == ["out-1", "out-3"]
            details = then.show("out-1")
            assert isinstance(details, AssetDetails)
            assert [written.run_id for written in details.history] == [run_of(1)]
            with pytest.raises(Unknown):
                then.show("out-2")
            assert bool(replays.seen) is (share == 0.0)
            assert [run.id for run in then.runs()] == [run_of(3), run_of(1)]


def test_a_record_is_known_from_the_instant_of_its_appending(folder: Path, sqlite_url: str) -> None:
    consumed(folder, sqlite_url)
    instant = micros("2026-03-06T08:00:00Z")
    with open_store(sqlite_url) as live, SegmentLog(folder) as log:
        for until, expected in ((instant, "2"), (instant - 1, "1")):
            for share in (0.0, 1.0):
                with KnownLineage(live, log, until, share=share) as then:
                    assert made_by(then)[1] == expected


def test_a_clock_a_day_ahead_makes_true_later_and_known_no_later(folder: Path, sqlite_url: str) -> None:
    """Its events are of tomorrow, and were appended today."""
    ahead = run_event(4, at="2026-03-04T09:00:00Z", inputs=["out-3"])
    append(folder, "2026-03-03T11:00:00Z", [ahead])
    consumed(folder, sqlite_url)
    with Lineage(sqlite_url) as lineage, lineage.known_at(FOURTH - DAY / 2, log=folder) as then:
        assert made_by(then, "out-4") == ["4", "3", "1"]
        with pytest.raises(Unknown):
            then.show("out-4", as_of=FOURTH)
        assert then.show("out-4", as_of=FOURTH + DAY).as_of == FOURTH + DAY


def test_valid_and_known_time_are_asked_together(folder: Path, sqlite_url: str) -> None:
    append(folder, "2026-03-05T10:00:00Z", [run_event(5, at="2026-03-05T09:00:00Z", inputs=["out-1"])])
    consumed(folder, sqlite_url)

    def read_by(lineage: Lineage, as_of: datetime | None) -> set[str]:
        return {n.name or "" for n in lineage.downstream("out-1", as_of=as_of).nodes} - {"out-1"}

    with Lineage(sqlite_url) as now, now.known_at(FOURTH + 1.5 * DAY, log=folder) as then:
        assert read_by(now, None) == {"out-3", "out-5"}
        assert read_by(now, FOURTH) == {"out-3"}
        assert read_by(then, None) == {"out-3", "out-5"}
        assert read_by(then, FOURTH) == {"out-3"}
        assert made_by(then)[1] == "1"


def test_news_that_the_store_has_not_consumed_counts(folder: Path, store_url: str) -> None:
    """It was in the log by then, whenever anybody reads it."""
    consumed(folder, store_url)
    unread = run_event(6, at="2026-03-02T10:00:00Z", outputs=[{"namespace": "lake", "name": "out-1"}])
    append(folder, "2026-03-02T10:00:00Z", [unread])
    until = micros("2026-03-04T00:00:00Z")
    with open_store(store_url) as live, SegmentLog(folder) as log:
        for share in (0.0, 1.0):
            with KnownLineage(live, log, until, share=share) as then:
                assert made_by(then) == ["3", "6"]


def test_of_a_long_segment_single_events_are_read_back(tmp_path: Path, sqlite_url: str) -> None:
    """Across several batches, back and forth: a chain whose runs lie far apart."""
    folder = tmp_path / "long"
    values = [run_event(n, inputs=[f"out-{n // 7}"] if n and n % 7 == 0 else []) for n in range(6_000)]
    write_segment(folder, values)
    consumed(folder, sqlite_url)
    replays = Replays()
    until = 1_700_000_000_000_000 + 5_000
    with (
        open_store(sqlite_url) as live,
        SegmentLog(folder) as log,
        KnownLineage(live, log, until, report=replays) as then,
    ):
        chain = [node.name for node in then.upstream("out-4802").nodes]
        assert chain == ["out-4802", "out-686", "out-98", "out-14", "out-2"]
        with pytest.raises(Unknown):
            then.show("out-5001")
    assert replays.seen == []


def test_a_log_without_a_store_can_be_asked(folder: Path) -> None:
    with Lineage("sqlite:///absent.db").known_at(FOURTH, log=str(folder)) as then:
        assert made_by(then) == ["3", "1"]
    assert not Path("absent.db").exists()


def test_a_store_that_itself_is_of_a_time_does_not_say_where_all_events_lie(
    folder: Path, sqlite_url: str
) -> None:
    with SegmentLog(folder) as log:
        replay(log, sqlite_url, until=micros("2026-03-02T00:00:00Z"))
    with Lineage(sqlite_url) as early, early.known_at(FOURTH, log=folder) as then:
        assert made_by(then) == ["3", "1"]


def test_what_the_log_has_lost_is_not_in_an_answer(folder: Path, sqlite_url: str) -> None:
    consumed(folder, sqlite_url)
    segment_with(folder, run_of(1)).unlink()
    with (
        open_store(sqlite_url) as live,
        SegmentLog(folder) as log,
        KnownLineage(live, log, micros("2026-03-07T00:00:00Z"), share=1.0) as then,
    ):
        assert made_by(then) == ["3", "2"]
        with pytest.raises(Unknown):
            then.lineage(run_of(1), "up")


def test_what_another_version_of_the_code_parked_is_tried_again(folder: Path, sqlite_url: str) -> None:
    append(folder, "2026-03-02T00:00:00Z", [b"no event"])
    consumed(folder, sqlite_url)
    for code, replayed in (("0.0.1", True), (code_version(), False)):
        replays = Replays()
        with open_store(sqlite_url) as live, SegmentLog(folder) as log:
            set_parked_by(live, code)
            with KnownLineage(live, log, micros("2026-03-04T00:00:00Z"), share=1.0, report=replays) as then:
                assert made_by(then) == ["3", "1"]
        assert bool(replays.seen) is replayed


def set_parked_by(store: Store, code: str) -> None:
    with store.writing() as connection:
        connection.execute(update(tables.quarantine).values(code_version=code))


def test_a_time_without_a_zone_is_refused(folder: Path, sqlite_url: str) -> None:
    with pytest.raises(Rejected, match="no zone"):
        Lineage(sqlite_url).known_at(datetime(2026, 3, 4), log=folder)


# -- kept between uses -----------------------------------------------------------------------


def kept_stores() -> list[Path]:
    return sorted(folder_of(os.environ).glob("*.db"))


def test_a_replay_is_kept_and_goes_on_with_what_was_adopted_since(folder: Path) -> None:
    first, again, later = Replays(), Replays(), Replays()
    nowhere = Lineage("sqlite:///absent.db")
    with nowhere.known_at(FOURTH, log=folder, report=first) as then:
        assert len(then.runs()) == 2
    with nowhere.known_at(FOURTH, log=folder, report=again) as then:
        assert len(then.runs()) == 2
    assert (max(first.seen), max(again.seen)) == (3, 0)
    append(folder, "2026-03-02T10:00:00Z", [run_event(6, at="2026-03-02T10:00:00Z")])
    with nowhere.known_at(FOURTH, log=folder, report=later) as then:
        assert len(then.runs()) == 3
    assert max(later.seen) == 1
    assert len(kept_stores()) == 1
    with nowhere.known_at(FOURTH + DAY, log=folder) as then:
        assert len(then.runs()) == 3
    assert len(kept_stores()) == 2


def _another_log(folder: Path, _: Path) -> None:
    for segment in folder.glob("*"):
        segment.unlink()
    append(folder, "2026-03-01T10:00:01Z", [run_event(9)])


def _no_database(_: Path, store: Path) -> None:
    for part in store.parent.glob(f"{store.stem}.db*"):
        part.unlink()
    store.write_bytes(b"something else" * 1_000)


@pytest.mark.parametrize(
    ("happens", "runs"), [(_another_log, 1), (_no_database, 2)], ids=["another log", "no database"]
)
def test_a_kept_store_that_is_of_no_use_is_made_anew(
    folder: Path, happens: Callable[[Path, Path], None], runs: int
) -> None:
    nowhere = Lineage("sqlite:///absent.db")
    with nowhere.known_at(FOURTH, log=folder) as then:
        assert len(then.runs()) == 2
    happens(folder, kept_stores()[0])
    with nowhere.known_at(FOURTH, log=folder) as then:
        assert len(then.runs()) == runs


def test_where_nothing_can_be_kept_questions_are_answered(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with Lineage("sqlite:///absent.db").known_at(FOURTH, log=folder) as then:
        assert len(then.runs()) == 2


def store_of(stores: KnownStores, key: str, age_s: float) -> Path:
    path = stores.path(key)
    with stores.filling(path):
        path.write_bytes(b"x" * 1_000)
    used = os.stat(path).st_mtime - age_s
    os.utime(path, (used, used))
    return path


def test_what_was_used_long_ago_makes_room_unless_it_is_in_use(tmp_path: Path) -> None:
    roomy = KnownStores(tmp_path / "known")
    ages = {"a": 999, "b": 500, "c": 100, "d": 50}
    oldest, held, old, recent = (store_of(roomy, name, age) for name, age in ages.items())
    stores = KnownStores(tmp_path / "known", kept_bytes=2_500)
    with stores.using(held) as there:
        assert there
        store_of(stores, "e", 10)
    assert [path.exists() for path in (oldest, held, old, recent)] == [False, True, False, True]
    store_of(KnownStores(tmp_path / "known", kept_s=20), "f", 0)
    assert not held.exists()
    assert not recent.exists()


def test_a_store_is_filled_by_one_at_a_time(tmp_path: Path) -> None:
    stores = KnownStores(tmp_path / "known")
    path = stores.path("a")
    with stores.filling(path):
        path.touch()
        with open(path.with_suffix(".lock")) as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_caches_are_where_the_desktop_keeps_them() -> None:
    assert folder_of({"XDG_CACHE_HOME": "/caches", "HOME": "/me"}) == Path("/caches/headwater/known")
    assert folder_of({"XDG_CACHE_HOME": "relative", "HOME": "/me"}) == Path("/me/.cache/headwater/known")


# -- on the command line ---------------------------------------------------------------------


def asked(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    found = cli.main([*arguments, "--json"])
    said = capsys.readouterr()
    assert found == code, said.err
    return json.loads(said.out) if code == 0 else said.err


def test_the_command_line_asks_the_same(
    capsys: pytest.CaptureFixture[str], folder: Path, store_url: str
) -> None:
    consumed(folder, store_url)
    places = ("--store", store_url, "--log", str(folder))

    def behind(*when: str) -> list[str]:
        graph = asked(capsys, "lineage", "out-3", *places, *when)["up"]
        return [node["run"]["id"][-1] for node in graph["nodes"]]

    history = asked(capsys, "show", "out-1", *places, "--known-at", "2026-03-03")["history"]
    assert [written["run_id"] for written in history] == [run_of(1)]
    assert behind() == ["3", "2"]
    assert behind("--known-at", "2026-03-03") == ["3", "1"]
    assert behind("--as-of", "2026-03-03", "--known-at", "2026-03-05T12:00:00[Europe/Vienna]") == ["3", "1"]
    assert behind("--as-of", "2026-03-03", "--known-at", "2026-03-06") == ["3", "2"]
    assert [run["id"][-1] for run in asked(capsys, "runs", *places, "--known-at", "2026-03-05")["runs"]] == [
        "3",
        "1",
    ]
    assert "out-3" in asked(capsys, "show", "out-3", *places, "--known-at", "2026-03-01", code=cli.UNKNOWN)
    assert "is no time" in asked(capsys, "runs", *places, "--known-at", "soon", code=cli.USAGE)


def test_a_run_over_the_change_of_clocks_took_as_long_as_it_took(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """From half past one in winter time to half past three in summer time: one hour."""
    folder = tmp_path / ".headwater" / "log"
    append(folder, "2026-03-29T00:30:01Z", [run_event(1, "START", at="2026-03-29T01:30:00+01:00")])
    append(folder, "2026-03-29T01:30:01Z", [run_event(1, at="2026-03-29T03:30:00+02:00")])
    assert cli.main(["consume"]) == 0
    capsys.readouterr()

    def state(*when: str) -> tuple[str, float | None]:
        (run,) = asked(capsys, "runs", *when)["runs"]
        return run["state"], run["duration_s"]

    assert state() == ("COMPLETE", 3_600.0)
    for option in ("--as-of", "--known-at"):
        assert state(option, "2026-03-29T03:00:00[Europe/Vienna]")[0] != "COMPLETE"
        assert state(option, "2026-03-29T03:30:02[Europe/Vienna]") == ("COMPLETE", 3_600.0)
        error = asked(capsys, "runs", option, "2026-03-29T02:30:00[Europe/Vienna]", code=cli.USAGE)
        assert "from 02:00:00 to 03:00:00" in error


def test_an_answer_from_a_damaged_log_says_so(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    write_segment(folder, [run_event(7), run_event(8)], appended_at=micros("2026-03-02T00:00:00Z"))
    segment = segment_with(folder, "out-7")
    content = bytearray(segment.read_bytes())
    content[content.index(b"eventType")] ^= 0xFF
    segment.write_bytes(content)
    assert cli.main(["runs", "--known-at", "2026-03-04"]) == 0
    assert "damage" in capsys.readouterr().err


def test_a_store_that_goes_on_meanwhile_is_seen_in_one_state(folder: Path, sqlite_url: str) -> None:
    """What is consumed between two questions changes neither answer."""
    with (
        open_store(sqlite_url) as live,
        SegmentLog(folder) as log,
        KnownLineage(live, log, micros("2026-03-04T00:00:00Z"), share=1.0) as then,
    ):
        assert made_by(then) == ["3", "1"]
        Runner(live, log).run()
        assert made_by(then) == ["3", "1"]


def test_two_who_ask_about_one_time_do_not_wait_for_each_other(folder: Path) -> None:
    nowhere = Lineage("sqlite:///absent.db")
    with nowhere.known_at(FOURTH, log=folder) as one, nowhere.known_at(FOURTH, log=folder) as other:
        assert one.assets() == other.assets()
