"""What cannot be accepted is kept, can be looked at, tried again, and taken away as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from headwater.consumers import quarantine, tables
from headwater.consumers.log import SegmentLog
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from headwater.schemas.errors import Misconfigured
from tests.replay.product import MemoryLog
from tests.support.logs import BEGUN, run_event, write_segment


def test_parked_records_are_listed_in_the_order_of_the_log(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        Runner(store, MemoryLog([b"{", run_event(1), b"[]", b"\xff\xfe"])).run()
        found = list(quarantine.parked(store))
        assert [(entry.offset, entry.value) for entry in found] == [(0, b"{"), (2, b"[]"), (3, b"\xff\xfe")]
        assert all(entry.rule and entry.path for entry in found)
        assert quarantine.find(store, found[1].id) == found[1]


def test_a_record_is_found_by_the_beginning_of_its_partition(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        Runner(store, MemoryLog([b"{"])).run()
        assert quarantine.find(store, "@0").value == b"{"
        with pytest.raises(Misconfigured, match="no record"):
            quarantine.find(store, "0@7")
        with pytest.raises(Misconfigured, match="partition@offset"):
            quarantine.find(store, "seven")


def test_retry_applies_once_what_parses_now_and_leaves_the_rest(store_url: str) -> None:
    value = run_event(7)
    with open_store(store_url, create=True) as store:
        Runner(store, MemoryLog([b"{", b"not yet understood"])).run()
        with store.writing() as tx:
            # As if an older version of the parser had refused a good event.
            tx.execute(update(tables.quarantine).where(tables.quarantine.c.offset == 1).values(value=value))
        first = quarantine.retry(store)
        assert (first.tried, first.accepted) == (2, ("0@1",))
        assert quarantine.retry(store).accepted == ()
        assert [entry.offset for entry in quarantine.parked(store)] == [0]
        with store.connecting() as connection:
            assert connection.execute(select(func.count()).select_from(tables.run)).scalar_one() == 1


def test_a_store_of_what_was_known_then_accepts_nothing_that_came_later(
    tmp_path: Path, sqlite_url: str
) -> None:
    write_segment(tmp_path / "log", [run_event(1), b"{", run_event(2), b"["])
    with open_store(sqlite_url) as store, SegmentLog(tmp_path / "log") as source:
        Runner(store, source, until=BEGUN + 1).run()
        assert [entry.offset for entry in quarantine.parked(store)] == [1]
        with store.writing() as tx:
            later = {"value": run_event(9), "appended_at": BEGUN + 3}
            tx.execute(update(tables.quarantine).values(**later))
        assert quarantine.retry(store).accepted == ()


def test_export_writes_the_bytes_and_the_reason_of_each(tmp_path: Path, sqlite_url: str) -> None:
    with open_store(sqlite_url) as store:
        Runner(store, MemoryLog([b"\xff\x00", run_event(1)])).run()
        assert quarantine.export(store, tmp_path / "parked") == 1
    assert (tmp_path / "parked" / "0@0.bin").read_bytes() == b"\xff\x00"
    reason = json.loads((tmp_path / "parked" / "0@0.json").read_text())
    assert reason["offset"] == 0
    assert reason["rule"]


@pytest.mark.parametrize("changed", [None, "0@0.bin", "0@0.json"])
def test_export_leaves_what_is_there_and_never_overwrites_something_else(
    tmp_path: Path, sqlite_url: str, changed: str | None
) -> None:
    folder = tmp_path / "parked"
    with open_store(sqlite_url) as store:
        Runner(store, MemoryLog([b"\xff\x00"])).run()
        quarantine.export(store, folder)
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        if changed is None:
            assert quarantine.export(store, folder) == 1
            assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
            return
        (folder / changed).write_bytes(b"mine")
        with pytest.raises(Misconfigured) as refused:
            quarantine.export(store, folder)
    assert changed in refused.value.message
    assert (folder / changed).read_bytes() == b"mine"


def test_export_into_a_place_that_can_be_no_folder_names_it(tmp_path: Path, sqlite_url: str) -> None:
    (tmp_path / "file").write_text("")
    with open_store(sqlite_url) as store, pytest.raises(Misconfigured, match="file"):
        quarantine.export(store, tmp_path / "file")
