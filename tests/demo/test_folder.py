"""The demo's folder: what is the demo's own goes, everything else stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.consumers.demo.folder import MARKER, prepared
from headwater.schemas.errors import Misconfigured


def test_a_new_folder_is_made_and_marked(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "a" / "demo")
    assert (folder.path / MARKER).is_file()


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    assert prepared(tmp_path).path == tmp_path


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("mine")
    with pytest.raises(Misconfigured) as refused:
        prepared(tmp_path)
    assert "--dir" in refused.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["patients.csv"]


def test_a_file_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(Misconfigured):
        prepared(tmp_path / "demo")


def test_the_next_demo_starts_afresh_beside_what_a_person_put_there(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "demo")
    (folder.log / "open").mkdir(parents=True)
    own = [folder.data, folder.page, folder.log / "1.seg", folder.log / "open" / "1"]
    own += [folder.path / name for name in ("lineage.db", "lineage.db-wal", "rebuilt.db")]
    foreign = [folder.path / "notes.txt", folder.log / "notes.txt", folder.path / "mine.db"]
    for file in own + foreign:
        file.write_text("")
    prepared(folder.path)
    assert not any(file.exists() for file in own)
    assert all(file.exists() for file in foreign)


def test_a_place_where_no_folder_can_be_made_names_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured) as refused:
        prepared(tmp_path / "file" / "demo")
    assert "Not a directory" in refused.value.message
