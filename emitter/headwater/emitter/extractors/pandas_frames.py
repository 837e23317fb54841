"""pandas frames, series and indexes, whatever backs their columns: numpy, masks, Arrow or objects.

pandas spells missing as NaN wherever a column has no other way to say it, so in a pandas
column NaN is null. An index that only counts rows is no content; any other is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from headwater.emitter.extractors import vectors
from headwater.emitter.extractors.columns import TableColumn, Vector
from headwater.emitter.extractors.extraction import library
from headwater.emitter.extractors.plain import name_of, vector_of
from headwater.emitter.extractors.tables import Table
from headwater.schemas.canonical import Uncanonical

_TIME_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


def open_frame(data: Any) -> Table:
    """A DataFrame; duplicate and integer column names are as good as others."""
    columns = [data.iloc[:, place] for place in range(data.shape[1])]
    return Table(
        rows=len(data),
        columns=[_column(name, series) for name, series in zip(data.columns, columns, strict=True)],
        index=_index(data.index),
        size=int(data.memory_usage(index=False, deep=False).sum()),
        details=library("pandas", data, data.shape),
        thinned=lambda positions: open_frame(data.iloc[positions]),
        sums=lambda: _sums(columns),
    )


def open_series(data: Any) -> Table:
    """A Series: a table of one column."""
    return Table(
        rows=len(data),
        columns=[_column(data.name, data)],
        index=_index(data.index),
        size=int(data.nbytes),
        details=library("pandas", data, data.shape),
        thinned=lambda positions: open_series(data.iloc[positions]),
        sums=lambda: _sums([data]),
    )


def open_index(data: Any) -> Table:
    """An Index by itself: a table of its levels."""
    return Table(
        rows=len(data),
        columns=_levels(data),
        size=int(data.nbytes),
        details=library("pandas", data, (len(data), data.nlevels)),
        thinned=lambda positions: open_index(data[positions]),
    )


def _column(name: Any, series: Any) -> TableColumn:
    return TableColumn(name=name_of(name), type=str(series.dtype), load=partial(vector, series.array))


def _index(index: Any) -> list[TableColumn]:
    return [] if _counts_rows(index) else _levels(index)


def _levels(index: Any) -> list[TableColumn]:
    levels = [index.get_level_values(place) for place in range(index.nlevels)]
    return [_column(level.name, level) for level in levels]


def _counts_rows(index: Any) -> bool:
    if index.nlevels > 1 or index.name is not None:
        return False
    if isinstance(index, pd.RangeIndex):
        return len(index) == 0 or (index.start == 0 and (index.step == 1 or len(index) == 1))
    if len(index) == 0:
        return True
    return (
        isinstance(index.dtype, np.dtype)
        and index.dtype.kind in "iu"
        and bool(np.array_equal(index.to_numpy(), np.arange(len(index))))
    )


def _sums(columns: list[Any]) -> Iterator[int]:
    for series in columns:
        if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biufmM":
            yield word_sum(series.to_numpy())


def word_sum(values: Any) -> int:
    """The sum of an array's bit patterns, modulo 2**64: cheap, and changed by nearly any change."""
    if values.dtype.itemsize not in (1, 2, 4, 8):
        return 0
    return int(values.view(f"u{values.dtype.itemsize}").sum(dtype=np.uint64))


def vector(values: Any, missing: Any = None) -> Vector:
    """The vector of an ExtensionArray; rows in `missing` are null whatever they hold."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _decoded(values)
    if isinstance(dtype, pd.SparseDtype):
        return _of_numpy(np.asarray(values.to_dense()), missing)
    if isinstance(dtype, pd.DatetimeTZDtype) or (isinstance(dtype, np.dtype) and dtype.kind in "mM"):
        return _of_times(values, missing)
    if isinstance(values, pd.arrays.NumpyExtensionArray):
        return _of_numpy(values.to_numpy(), missing)
    if missing is None and _in_arrow(dtype):
        from headwater.emitter.extractors import arrow_tables

        return arrow_tables.vector(values.__arrow_array__(), nan_is_null=True)
    if getattr(dtype, "numpy_dtype", None) is not None and not _in_arrow(dtype):
        return _of_masked(values, missing)
    return _of_objects(np.asarray(values, dtype=object), missing)


def _in_arrow(dtype: Any) -> bool:
    return isinstance(dtype, pd.ArrowDtype) or getattr(dtype, "storage", "") == "pyarrow"


def _either(first: Any, second: Any) -> Any:
    """Two masks of missing rows, either of which may be None, as a mask of rows that are present."""
    masks = [mask for mask in (first, second) if mask is not None and mask.any()]
    if not masks:
        return None
    return ~masks[0] if len(masks) == 1 else ~(masks[0] | masks[1])


def _of_numpy(values: Any, missing: Any) -> Vector:
    kind = {"b": "bool", "i": "int", "u": "int", "f": "float"}.get(values.dtype.kind)
    if values.dtype.char == "g":
        raise Uncanonical(str(values.dtype), "wider than a double")
    if kind is None:
        return _of_objects(values.astype(object), missing)
    nan = np.isnan(values) if kind == "float" else None
    return vectors.Numbers(kind=kind, pieces=[vectors.Piece(values, _either(nan, missing))])


def _of_times(values: Any, missing: Any) -> Vector:
    span, zone = (
        isinstance(values.dtype, np.dtype) and values.dtype.kind == "m",
        getattr(values.dtype, "tz", None),
    )
    kind = "duration" if span else "local" if zone is None else "instant"
    piece = vectors.Piece(values.asi8, _either(np.asarray(values.isna()), missing))
    return vectors.Numbers(kind=kind, pieces=[piece], unit_ns=_TIME_UNITS[values.unit])


def _of_masked(values: Any, missing: Any) -> Vector:
    filled = values.to_numpy(dtype=values.dtype.numpy_dtype, na_value=values.dtype.numpy_dtype.type(0))
    masked = np.asarray(values.isna())
    return _of_numpy(filled, masked if missing is None else masked | missing)


def _decoded(values: Any) -> Vector:
    codes = values.codes
    missing = codes < 0
    if not len(values.categories):
        return vector_of([None] * len(codes))
    # A missing row borrows the first category; the mask takes it away again.
    return vector(
        values.categories.take(np.where(missing, 0, codes)).array, missing if missing.any() else None
    )


def _of_objects(values: Any, missing: Any) -> Vector:
    cells = values.tolist()
    present = _either(pd.isna(values), missing)
    if present is not None:
        cells = [cell if ok else None for cell, ok in zip(cells, present.tolist(), strict=True)]
    return vector_of(cells)
