"""numpy arrays: `array1` over elements in C order, whatever their strides and byte order.

A structured array of one dimension is a table; a masked element is no content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from headwater.emitter.extractors import vectors
from headwater.emitter.extractors.columns import Cells, Metrics, TableColumn
from headwater.emitter.extractors.extraction import Extraction, library, told, unidentified
from headwater.emitter.extractors.plain import plain, vector_of
from headwater.emitter.extractors.tables import METRIC_COLUMNS, Table, in_threads, spread
from headwater.schemas import canonical
from headwater.schemas.canonical import Uncanonical, combine_array, sha256
from headwater.schemas.events import Column, Statistics

_BLOCK = 1 << 18
_KINDS = {"b": "bool", "i": "int", "u": "int", "f": "float"}
_TIMES = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


def open_array(data: Any) -> Table | ArrayContent:
    """An ndarray: a table when it is a list of records, an array otherwise."""
    if data.dtype.names and data.ndim == 1:
        return _open_records(data)
    return ArrayContent(data)


def _open_records(data: Any) -> Table:
    return Table(
        rows=len(data),
        columns=[
            TableColumn(name=name, type=str(data.dtype[name]), load=partial(column_vector, data[name]))
            for name in data.dtype.names
        ],
        size=int(data.nbytes),
        details=library("numpy", data, data.shape),
        thinned=lambda positions: _open_records(data[positions]),
    )


def column_vector(values: Any) -> Any:
    """The vector of a one-dimensional array as a column of a table; here NaN is a value, and NaT is null."""
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    plain_values, valid = np.asarray(values), None if mask is None else ~mask
    kind = _KINDS.get(values.dtype.kind)
    if values.ndim == 1 and kind and values.dtype.char != "g":
        return vectors.Numbers(kind=kind, pieces=[vectors.Piece(plain_values, valid)])
    unit = np.datetime_data(values.dtype) if values.dtype.kind in "mM" else ("", 0)
    if values.ndim == 1 and unit[0] in _TIMES:
        present = ~np.isnat(plain_values) if valid is None else ~np.isnat(plain_values) & valid
        counts = plain_values.astype(plain_values.dtype.newbyteorder("=")).view("i8") * 1
        kind = "local" if values.dtype.kind == "M" else "duration"
        return vectors.Numbers(
            kind=kind, pieces=[vectors.Piece(counts, present)], unit_ns=_TIMES[unit[0]] * unit[1]
        )
    return vector_of(values.tolist() if values.dtype.kind not in "mMgG" else plain(values))


@dataclass(frozen=True, slots=True)
class ArrayContent:
    """An array of any number of dimensions."""

    data: Any

    def version(self) -> str:
        """See `Content`."""
        return array_version(self.data)

    def sample(self) -> str:
        """See `Content`."""
        data = np.asarray(self.data)
        if data.dtype.hasobject or data.dtype.itemsize not in (1, 2, 4, 8) or data.size < 4096:
            return self.version()
        flat = data.reshape(-1)[spread(data.size)] if data.flags.c_contiguous else data[:1]
        total = (
            int(data.view(f"u{data.dtype.itemsize}").sum(dtype=np.uint64))
            if data.flags.c_contiguous
            else _sum(data)
        )
        return f"{data.dtype.str}{data.shape};{array_version(flat)};{total}"

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        errors = []
        try:
            version = self.version()
        except Exception as error:  # noqa: BLE001 - object arrays raise what their elements raise
            version = unidentified()
            errors.append(f"content: {told(error)}")
        shape = self.data.shape
        columns = self._columns()
        read = in_threads(lambda column: _metrics(column, raw_values), columns[:METRIC_COLUMNS])
        errors.extend(error for _, error in read if error)
        return Extraction(
            version=version,
            columns=tuple(Column(name=str(c.name), type=c.type) for c in columns),
            statistics=Statistics(row_count=int(shape[0]) if shape else 1, size=int(self.data.nbytes)),
            column_metrics={str(c.name): m for c, (m, _) in zip(columns, read, strict=False) if m},
            details=library("numpy", self.data, shape, dtype=dtype_text(self.data.dtype)),
            error="; ".join(errors[:5]) or None,
        )

    def _columns(self) -> list[TableColumn]:
        """The columns of a matrix; anything else is one column of all its elements."""
        data = self.data if isinstance(self.data, np.ma.MaskedArray) else np.asarray(self.data)
        text = dtype_text(data.dtype)
        if data.dtype.names:
            return []
        if data.ndim == 2 and data.shape[1] <= METRIC_COLUMNS:
            return [
                TableColumn(name=place, type=text, load=partial(column_vector, data[:, place]))
                for place in range(data.shape[1])
            ]
        flat = data if data.ndim == 1 else np.ravel(data)
        return [
            TableColumn(name=0 if data.ndim == 1 else "values", type=text, load=partial(column_vector, flat))
        ]


def _metrics(column: TableColumn, raw_values: Collection[str]) -> tuple[Metrics, str | None]:
    try:
        return column.load().metrics(open_values=str(column.name) in raw_values), None
    except Exception as error:  # noqa: BLE001 - told, and the version stands
        return {}, f"statistics of column {column.name!r}: {told(error)}"


def _sum(data: Any) -> int:
    words = np.ascontiguousarray(data[:_BLOCK])
    return int(words.view(f"u{data.dtype.itemsize}").sum(dtype=np.uint64))


def dtype_text(dtype: Any) -> str:
    """An element type by its name in the specification; byte order is not part of it."""
    if dtype.kind in "UT":
        return "string"
    return str({"S": "binary", "O": "object", "V": "record"}.get(dtype.kind, dtype.name))


def array_version(data: Any) -> str:
    """The version of any array but a structured one; raises `Uncanonical`."""
    text = dtype_text(data.dtype)
    if data.dtype.char in "gGV" or (text.endswith("64") and data.dtype.kind in "mM"):
        raise Uncanonical(str(data.dtype), "no canonical form covers elements of this type")
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        mask = ~np.ma.getmaskarray(data).ravel(order="C")
        masked = len(mask) - int(np.count_nonzero(mask))
        return combine_array(
            text, data.shape, masked, sha256(mask.view("u1").tobytes()), _elements(data.compressed(), text)
        )
    return combine_array(text, data.shape, 0, None, _elements(np.asarray(data), text))


def _elements(data: Any, text: str) -> bytes:
    if text in ("string", "binary"):
        return vector_of(data.ravel(order="C").tolist()).digest()
    if text == "object":
        return Cells([plain(value) for value in data.ravel(order="C").tolist()]).digest()
    digest = hashlib.sha256()
    for block in _blocks(data):
        digest.update(_without_nan_bits(block))
    return digest.digest()


def _blocks(data: Any) -> Iterator[Any]:
    """The elements in C order, little-endian, some at a time; nothing is copied that lies that way."""
    data = np.atleast_1d(data)  # an iteration over no dimension does not convert
    little = data.dtype.newbyteorder("<") if data.dtype.itemsize > 1 else data.dtype
    if data.flags.c_contiguous and data.dtype == little:
        flat = data.reshape(-1)
        yield from (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK))
        return
    flags = ["external_loop", "buffered", "zerosize_ok"]
    walk = np.nditer(data, flags=flags, op_dtypes=[little], order="C", buffersize=_BLOCK, casting="equiv")  # type: ignore[call-overload]
    yield from (block for block in walk if block.size)


def _without_nan_bits(block: Any) -> Any:
    if block.dtype.kind == "c":
        block = block.view(f"<f{block.dtype.itemsize // 2}")
    if block.dtype.kind != "f":
        return np.ascontiguousarray(block).view("u1")
    nan = np.isnan(block)
    if nan.any():
        block = block.copy()
        bits = canonical.NAN_BITS[block.dtype.name]
        block.view(f"<u{block.dtype.itemsize}")[nan] = bits
    return np.ascontiguousarray(block).view("u1")
