"""Bytes, texts, JSON values and any other object: content without rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from headwater.emitter.extractors import records
from headwater.emitter.extractors.extraction import Content, Extraction, told, unidentified
from headwater.emitter.extractors.state import state_of
from headwater.schemas.canonical import Uncanonical, bytes_version, json_version, utf8
from headwater.schemas.events import Json, Statistics

# Types of asset whose dicts and lists are tables; elsewhere a dict is a document.
TABULAR = frozenset(("Dataset", "FeatureSet"))


@dataclass(frozen=True, slots=True)
class BytesContent:
    """Bytes as they are; a text is its UTF-8, so it has the version of the file that holds it."""

    data: Any
    format: str | None = None

    def version(self) -> str:
        """See `Content`."""
        return bytes_version(bytes(self.data))

    def sample(self) -> str:
        """See `Content`."""
        return self.version()

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        return Extraction(
            version=self.version(), statistics=Statistics(size=len(self.data)), format=self.format
        )


@dataclass(frozen=True, slots=True)
class DocumentContent:
    """Any value by its state: `json1`. A plain JSON value is its own state."""

    data: Any

    def version(self) -> str:
        """See `Content`."""
        try:
            return json_version(self.data)
        except Uncanonical:  # more than JSON is in it
            return json_version(state_of(self.data))

    def sample(self) -> str:
        """See `Content`."""
        return self.version()

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        rows = len(self.data) if isinstance(self.data, (list, tuple)) else None
        try:
            version, error = self.version(), None
        except Exception as raised:  # noqa: BLE001 - foreign objects raise anything, and a step must go on
            version, error = unidentified(), f"content: {told(raised)}"
        return Extraction(version=version, statistics=Statistics(row_count=rows), error=error)


@dataclass(frozen=True, slots=True)
class MetricsContent:
    """Named numbers: a document, and the numbers themselves are what there is to tell of it."""

    data: Mapping[Any, Any]

    def version(self) -> str:
        """See `Content`."""
        return DocumentContent(self.data).version()

    def sample(self) -> str:
        """See `Content`."""
        return self.version()

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        values: dict[str, Json] = {
            str(key): number for key, value in self.data.items() if (number := _number(value)) is not None
        }
        found = DocumentContent(self.data).extraction(raw_values)
        return replace(found, details={"headwater_metrics": {"values": values}}) if values else found


def _number(value: Any) -> float | int | None:
    """A number of any library as Python's own; None for what is none."""
    if isinstance(value, (int, float)):
        return value
    if getattr(value, "shape", None) != ():
        return None
    try:
        return float(value)
    except (TypeError, ValueError):  # an array without dimensions may hold anything
        return None


def open_metrics(data: Mapping[Any, Any]) -> MetricsContent:
    """A mapping of numbers by name."""
    return MetricsContent(data)


def open_bytes(data: Any) -> BytesContent:
    """bytes, bytearray or a memoryview of bytes."""
    return BytesContent(data)


def open_text(data: str) -> BytesContent:
    """A text; a path is never guessed from it: `pathlib.Path` says that a file is meant."""
    return BytesContent(utf8(data), format="text")


@dataclass(frozen=True, slots=True)
class UnknownContent:
    """An object that stands for data without being it (a plan, a connection), or that no extractor knows.

    Its own state says nothing about the data: the same query over another table has the same state.
    """

    data: Any

    def version(self) -> str:
        """See `Content`."""
        raise Uncanonical(type(self.data).__qualname__, "no extractor reads the data behind this object")

    def sample(self) -> str:
        """See `Content`."""
        return self.version()

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        return Extraction(version=self.version())


def open_unknown(data: Any) -> UnknownContent:
    """Anything that is called data and is none that can be read."""
    return UnknownContent(data)


def open_document(data: Any) -> Content:
    """Anything."""
    return DocumentContent(data)


def open_tabular(data: Any) -> Content:
    """A dict or a list where a table is expected; a document where it has no columns."""
    table = records.open_columns(data) if isinstance(data, Mapping) else records.open_rows(data)
    return table if table is not None else DocumentContent(data)
