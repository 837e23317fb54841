"""Files and folders by path: their bytes in blocks, their size, and their columns where that is cheap."""

from __future__ import annotations

import csv
import hashlib
import os
import stat
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.emitter.extractors.extraction import Extraction, told, unidentified
from headwater.schemas.canonical import Uncanonical, json_version
from headwater.schemas.errors import Rejected
from headwater.schemas.events import Column, Statistics

MOST_FILES = 100_000

_BLOCK_BYTES = 1 << 20
_HEADER_BYTES = 1 << 16
_COMPRESSED = {".gz", ".bz2", ".xz", ".zst", ".zip"}
_FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet", ".json": "json", ".jsonl": "jsonl",
    ".ndjson": "jsonl", ".feather": "arrow", ".arrow": "arrow", ".orc": "orc", ".avro": "avro", ".npy": "npy",
    ".npz": "npz", ".txt": "text", ".md": "markdown", ".html": "html", ".pdf": "pdf", ".yaml": "yaml",
    ".yml": "yaml", ".onnx": "onnx", ".safetensors": "safetensors", ".pkl": "pickle", ".joblib": "joblib",
    ".pt": "pytorch", ".h5": "hdf5", ".keras": "keras", ".db": "sqlite", ".xlsx": "xlsx",
    ".png": "png", ".jpg": "jpeg",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileContent:
    """One regular file."""

    path: Path

    def version(self) -> str:
        """See `Content`: `bytes1`, what `sha256sum` prints."""
        return f"bytes1:{_digest(self.path)[0]}"

    def sample(self) -> str:
        """See `Content`: what the file system says without reading."""
        about = self.path.stat()
        return f"{about.st_size};{about.st_mtime_ns};{about.st_ino}"

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        digest, size = _digest(self.path)
        kind = format_of(self.path)
        try:
            columns, rows, error = *_schema(self.path, kind), None
        except Exception as raised:  # noqa: BLE001 - a file that is not what its name says is still its bytes
            columns, rows, error = (), None, f"schema: {told(raised)}"
        return Extraction(
            version=f"bytes1:{digest}",
            columns=columns,
            statistics=Statistics(row_count=rows, size=size, file_count=1),
            format=kind,
            location=str(self.path.absolute()),
            error=error,
        )


@dataclass(frozen=True, slots=True)
class FolderContent:
    """A folder: `json1` over {relative path: version}; empty folders and links to folders are no content."""

    path: Path

    def version(self) -> str:
        """See `Content`."""
        return self._read()[0]

    def sample(self) -> str:
        """See `Content`."""
        return ";".join(f"{name}:{FileContent(path).sample()}" for name, path in self._files())

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        version, size, count = self._read()
        formats = {format_of(path) for _, path in self._files()}
        return Extraction(
            version=version,
            statistics=Statistics(size=size, file_count=count),
            format=formats.pop() if len(formats) == 1 else None,
            location=str(self.path.absolute()),
        )

    def _read(self) -> tuple[str, int, int]:
        read = {name: _digest(path) for name, path in self._files()}
        versions = {name: f"bytes1:{digest}" for name, (digest, _) in read.items()}
        return json_version(versions), sum(size for _, size in read.values()), len(read)

    def _files(self) -> Iterator[tuple[str, Path]]:
        found = 0
        for folder, folders, names in os.walk(self.path):
            folders.sort()
            for name in sorted(names):
                found += 1
                if found > MOST_FILES:
                    raise Uncanonical("folder", f"more than {MOST_FILES:,} files")
                path = Path(folder, name)
                yield path.relative_to(self.path).as_posix(), path


@dataclass(frozen=True, slots=True)
class AbsentContent:
    """A path that leads to no file: the location is known, the content is not."""

    path: Path
    reason: str

    def version(self) -> str:
        """See `Content`."""
        raise Uncanonical("path", self.reason)

    def sample(self) -> str:
        """See `Content`."""
        raise Uncanonical("path", self.reason)

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        return Extraction(
            version=unidentified(),
            format=format_of(self.path),
            location=str(self.path.absolute()),
            error=f"content: {self.reason}",
        )


def open_path(data: Any) -> FileContent | FolderContent | AbsentContent:
    """Anything with `__fspath__`."""
    path = Path(os.fsdecode(data))
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return AbsentContent(path, f"{type(error).__name__} when looking at the path")
    if stat.S_ISDIR(mode):
        return FolderContent(path)
    return FileContent(path) if stat.S_ISREG(mode) else AbsentContent(path, "neither a file nor a folder")


def format_of(path: Path) -> str | None:
    """The format that a file's name claims."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return _FORMATS.get(suffixes[-1]) if suffixes else None


def _digest(path: Path) -> tuple[str, int]:
    """sha256 hex and size of a file; raises `Rejected` when it changed while it was read."""
    digest, size = hashlib.sha256(), 0
    block = memoryview(bytearray(_BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise Uncanonical("path", "neither a file nor a folder")
        while count := file.readinto(block):
            digest.update(block[:count])
            size += count
        after = os.fstat(file.fileno())
    if size != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise Rejected("the file was written while it was read", remedy="close it before it becomes an asset")
    return digest.hexdigest(), size


def _schema(path: Path, kind: str | None) -> tuple[tuple[Column, ...], int | None]:
    if kind == "parquet" and "pyarrow" in sys.modules:
        return _parquet_schema(path)
    if kind == "csv" and path.suffix.lower() in (".csv", ".tsv"):
        return _csv_columns(path), None
    return (), None


def _parquet_schema(path: Path) -> tuple[tuple[Column, ...], int | None]:
    import pyarrow.parquet as parquet

    from headwater.emitter.extractors import arrow_tables

    with parquet.ParquetFile(path) as file:
        columns = tuple(arrow_tables.schema_column(field) for field in file.schema_arrow)
        return columns, file.metadata.num_rows


def _csv_columns(path: Path) -> tuple[Column, ...]:
    """The header of a CSV file, only if it surely is one: otherwise it is a row of raw values.

    Sure is a line of distinct texts of which at least one stands over nothing but numbers.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES).decode("utf-8-sig", "replace")
    lines = head.splitlines()[:21] if len(head) < _HEADER_BYTES else head.splitlines()[:-1][:21]
    rows = list(csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else _delimiter(lines)))
    if (
        len(rows) < 2
        or len(set(rows[0])) < len(rows[0])
        or any(not name or _is_number(name) for name in rows[0])
    ):
        return ()
    body = [row for row in rows[1:] if len(row) == len(rows[0])]
    numeric = any(
        body and all(_is_number(row[place]) for row in body if row[place]) and any(row[place] for row in body)
        for place in range(len(rows[0]))
    )
    return tuple(Column(name=name) for name in rows[0]) if numeric else ()


def _delimiter(lines: list[str]) -> str:
    return max(",;\t|", key=(lines[0] if lines else "").count)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
