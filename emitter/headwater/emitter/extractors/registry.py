"""Which extractor reads what: one row a kind of object, found by its real type.

A row's framework is looked up among the modules that are loaded already: an object cannot exist
without them. The code behind a row is imported when the first such object arrives.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from headwater.emitter.extractors.extraction import Content

_HERE = "headwater.emitter.extractors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One extractor: objects that are instances of `module`.`type` are opened by `opener` (module:function).

    `asset_type` is what such an object is without being told, None when it is nothing by itself.
    """

    module: str
    type: str
    opener: str
    asset_type: str | None = "Dataset"

    def takes(self, data: object) -> bool:
        """Whether `data` is of this row's type; imports nothing."""
        kind = getattr(sys.modules.get(self.module), self.type, None)
        # The type, never `__class__`: a proxy answers that with another object, or raises.
        return isinstance(kind, type) and issubclass(type(data), kind)

    def open(self, data: object) -> Content:
        """`data` as this row's extractor reads it."""
        module, _, function = self.opener.partition(":")
        content: Content = getattr(import_module(f"{_HERE}.{module}"), function)(data)
        return content


ROWS = (
    Row(module="pandas", type="DataFrame", opener="pandas_frames:open_frame"),
    Row(module="pandas", type="Series", opener="pandas_frames:open_series"),
    Row(module="pandas", type="Index", opener="pandas_frames:open_index"),
    Row(module="numpy", type="ndarray", opener="numpy_arrays:open_array"),
    Row(module="pyarrow", type="Table", opener="arrow_tables:open_table"),
    Row(module="pyarrow", type="RecordBatch", opener="arrow_tables:open_table"),
    Row(module="pyarrow", type="Array", opener="arrow_tables:open_array"),
    Row(module="pyarrow", type="ChunkedArray", opener="arrow_tables:open_array"),
    Row(module="polars", type="DataFrame", opener="polars_frames:open_frame"),
    Row(module="polars", type="Series", opener="polars_frames:open_series"),
    Row(module="scipy.sparse", type="spmatrix", opener="sparse:open_sparse"),
    Row(module="scipy.sparse", type="sparray", opener="sparse:open_sparse"),
    Row(module="sklearn.base", type="BaseEstimator", opener="estimators:open_model", asset_type="Model"),
    Row(module="polars", type="LazyFrame", opener="documents:open_unknown", asset_type=None),
    Row(module="pyarrow.dataset", type="Dataset", opener="documents:open_unknown", asset_type=None),
    Row(module="os", type="PathLike", opener="files:open_path", asset_type=None),
)

_TEXTS = Row(module="builtins", type="str", opener="documents:open_text", asset_type=None)
_BYTES = Row(module="builtins", type="object", opener="documents:open_bytes", asset_type=None)
_TABULAR = Row(module="builtins", type="object", opener="documents:open_tabular", asset_type=None)
_MODELS = Row(module="builtins", type="object", opener="estimators:open_model", asset_type="Model")
_UNKNOWN = Row(module="builtins", type="object", opener="documents:open_unknown", asset_type=None)
_DOCUMENTS = Row(module="builtins", type="object", opener="documents:open_document", asset_type=None)

#: How a mapping is read as an asset of a type that has a form of its own.
MAPPINGS = {
    "Metrics": Row(module="builtins", type="dict", opener="documents:open_metrics", asset_type=None),
}

_BUILTIN = (type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset)


def row_of(data: object) -> Row | None:
    """The row for an object of a framework or a path; None for plain Python and unknown objects."""
    if type(data) in _BUILTIN:
        return None
    return next((row for row in ROWS if row.takes(data)), None)


def opener_of(data: object, *, tabular: bool, model: bool) -> Row:
    """The row that opens `data`, whatever it is, as a table or as a model where it could be either."""
    row = row_of(data)
    if row is not None:
        return row
    if model:
        return _MODELS
    if isinstance(data, str):
        return _TEXTS
    if isinstance(data, (bytes, bytearray, memoryview)):
        return _BYTES
    if tabular and isinstance(data, (Mapping, list, tuple)):
        return _TABULAR
    return _UNKNOWN if tabular and type(data) not in _BUILTIN else _DOCUMENTS
