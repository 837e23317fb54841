"""Files and folders: bytes, sizes and what their columns are, without reading a row."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from headwater.emitter.extractors import asset_type_of, extract, fingerprint
from headwater.emitter.extractors.extraction import Extraction


def of(path: Path) -> Extraction:
    return extract(path, asset_type="Dataset")


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_a_file_is_its_bytes(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    path = tmp_path / "data.bin"
    path.write_bytes(content)
    extraction = of(path)
    assert extraction.version == f"bytes1:{hashlib.sha256(content).hexdigest()}"
    assert extraction.version == fingerprint(path, sampled=False)
    assert extraction.statistics is not None
    assert (extraction.statistics.size, extraction.statistics.file_count) == (size, 1)
    assert extraction.location == str(path)


def test_a_text_has_the_version_of_the_file_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "prompt.md"
    path.write_text("Grüße", encoding="utf-8")
    assert of(path).version == extract("Grüße", asset_type="Prompt").version
    assert extract("lone \ud800", asset_type="Prompt").error is None


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.csv", "csv"), ("a.CSV.gz", "csv"), ("a.parquet", "parquet"), ("a.ndjson", "jsonl"), ("a", None)],
)
def test_the_name_tells_the_format(tmp_path: Path, name: str, format: str | None) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    assert of(path).format == format


def test_the_header_of_a_csv_file_is_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,name\n1,alice\n2,bob\n")
    assert [column.name for column in of(path).columns] == ["id", "name"]
    path.write_text("id;größe\n1;x\n")
    assert [column.name for column in of(path).columns] == ["id", "größe"]


@pytest.mark.parametrize(
    "text", ["alice,berlin\nbob,paris\n", "1,2\n3,4\n", "alice,7\nbob,9\n", "only\n", ""]
)
def test_a_first_row_that_may_be_data_is_no_header(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert of(path).columns == ()
    assert "alice" not in repr(of(path))


def test_a_parquet_file_tells_its_schema_where_pyarrow_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"id": [1, 2], "s": [{"x": 1}, None]}), path)
    extraction = of(path)
    assert [column.name for column in extraction.columns] == ["id", "s"]
    assert extraction.columns[1].fields[0].name == "x"
    assert extraction.statistics is not None
    assert extraction.statistics.row_count == 2


def test_a_parquet_file_imports_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and so on")
    program = (
        "import sys, pathlib\n"
        "from headwater.emitter.extractors import extract\n"
        f"assert extract(pathlib.Path({str(path)!r}), asset_type='Dataset').error is None\n"
        "assert 'pyarrow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_file_that_is_not_what_its_name_says_is_still_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"no parquet")
    extraction = of(path)
    assert extraction.version.startswith("bytes1:")
    assert extraction.error
    assert "schema" in extraction.error


def test_a_folder_is_its_files_by_relative_path(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        (folder / "sub").mkdir(parents=True)
        (folder / "a.csv").write_text("x")
        (folder / "sub" / "b.csv").write_text("y")
    assert of(one).version == of(other).version
    statistics = of(one).statistics
    assert statistics is not None
    assert (statistics.file_count, statistics.size) == (2, 2)
    (other / "sub" / "b.csv").rename(other / "b.csv")
    assert of(one).version != of(other).version


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path / "absent", fifo, Path("/dev/zero"), Path("nul\0name")):
        extraction = of(path)
        assert extraction.version.startswith("opaque1:")
        assert extraction.error
        assert fingerprint(path, sampled=True) == "unidentified"


def test_a_sampled_fingerprint_sees_a_rewritten_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before = fingerprint(path, sampled=True)
    os.utime(path, ns=(1, 1))
    assert fingerprint(path, sampled=True) != before


def test_a_path_is_no_asset_by_itself(tmp_path: Path) -> None:
    assert asset_type_of(tmp_path) is None
