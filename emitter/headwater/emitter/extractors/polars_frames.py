"""polars frames and series. A lazy frame is a plan, not data: it is no asset."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import polars as pl

from headwater.emitter.extractors.columns import Cells, TableColumn, Vector
from headwater.emitter.extractors.extraction import library
from headwater.emitter.extractors.plain import vector_of
from headwater.emitter.extractors.tables import Table
from headwater.schemas.canonical import Uncanonical
from headwater.schemas.events import Column

_BLOCK_ROWS = 1 << 18
_TIME_UNITS = {"ms": 1_000_000, "us": 1_000, "ns": 1}


def open_frame(data: Any) -> Table:
    """A polars DataFrame."""
    return Table(
        rows=data.height,
        columns=[_column(series) for series in data.get_columns()],
        size=int(data.estimated_size()),
        details=library("polars", data, data.shape),
        thinned=lambda positions: open_frame(data[positions]),
    )


def open_series(data: Any) -> Table:
    """A polars Series: a table of one column."""
    return Table(
        rows=len(data),
        columns=[_column(data)],
        size=int(data.estimated_size()),
        details=library("polars", data, data.shape),
        thinned=lambda positions: open_series(data[positions]),
    )


def _column(series: Any) -> TableColumn:
    return TableColumn(
        name=series.name,
        type=type_text(series.dtype),
        load=partial(vector, series),
        fields=_fields(series.dtype),
    )


def type_text(dtype: Any) -> str:
    """A type as the schema shows it, without the values that an Enum's type spells out."""
    if isinstance(dtype, pl.Enum):
        return "Enum"
    if isinstance(dtype, (pl.List, pl.Array)):
        return f"{type(dtype).__name__}({type_text(dtype.inner)})"
    return "Struct" if isinstance(dtype, pl.Struct) else str(dtype)


def _fields(dtype: Any) -> tuple[Column, ...]:
    if not isinstance(dtype, pl.Struct):
        return ()
    return tuple(Column(name=f.name, type=type_text(f.dtype), fields=_fields(f.dtype)) for f in dtype.fields)


def vector(series: Any) -> Vector:
    """The vector of a series."""
    dtype = series.dtype
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        series, dtype = series.cast(pl.String), pl.String()
    try:
        from headwater.emitter.extractors import vectors
    except ImportError:  # numpy is no requirement of polars
        return Cells(_cells(series))
    if isinstance(dtype, pl.String):
        return _texts(vectors, series)
    numbers = _numbers_of(dtype)
    if numbers is None:
        return vector_of(_cells(series))
    kind, unit_ns = numbers
    if not len(series):
        return vectors.Numbers(kind=kind, pieces=[])
    valid = series.is_not_null().to_numpy() if series.null_count() else None
    physical = series.to_physical()
    filled = physical if valid is None else physical.fill_null(False if kind == "bool" else 0)
    return vectors.Numbers(kind=kind, pieces=[vectors.Piece(filled.to_numpy(), valid)], unit_ns=unit_ns)


def _numbers_of(dtype: Any) -> tuple[str, int] | None:
    """The class and the time unit of a type whose values lie in one buffer of at most 64 bits."""
    if isinstance(dtype, pl.Boolean):
        return "bool", 1
    if dtype.is_integer():
        return None if "128" in str(dtype) else ("int", 1)
    if dtype.is_float():
        return "float", 1
    if isinstance(dtype, pl.Datetime):
        return ("local" if dtype.time_zone is None else "instant"), _TIME_UNITS[dtype.time_unit]
    if isinstance(dtype, pl.Duration):
        return "duration", _TIME_UNITS[dtype.time_unit]
    return {pl.Date: ("date", 1), pl.Time: ("time", 1)}.get(type(dtype))


def _texts(vectors: Any, series: Any) -> Vector:
    present = series.drop_nulls()
    return vectors.Texts(  # type: ignore[no-any-return]
        kind="string",
        rows=len(series),
        nulls=series.null_count(),
        read=partial(_text_pieces, vectors, series),
        distinct=present.n_unique,
        values=series.to_list,
    )


def _text_pieces(vectors: Any, series: Any) -> Iterator[Any]:
    for start in range(0, len(series), _BLOCK_ROWS):
        block = series.slice(start, _BLOCK_ROWS)
        valid = block.is_not_null().to_numpy() if block.null_count() else None
        present = block.drop_nulls()
        lengths = present.str.len_bytes().to_numpy().astype("i8")
        text = present.str.join("").item() if len(present) else ""
        yield vectors.TextPiece(lengths, text.encode(), len(block), valid)


def _cells(series: Any) -> list[Any]:
    text = str(series.dtype)
    if series.dtype.is_nested() and ("time_unit='ns'" in text or "Time" in text.replace("Datetime", "")):
        # Python's times end at microseconds: reading these would silently cut them.
        raise Uncanonical("polars", "nested times that may be finer than a microsecond")
    return list(series.to_list())
