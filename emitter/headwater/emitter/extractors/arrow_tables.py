"""pyarrow tables, record batches and arrays: buffers are hashed where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headwater.emitter.extractors.columns import Cells, TableColumn, Vector
from headwater.emitter.extractors.extraction import library
from headwater.emitter.extractors.tables import Table
from headwater.schemas.events import Column

_BLOCK_ROWS = 1 << 18
_TIME_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


def open_table(data: Any) -> Table:
    """A pyarrow Table or RecordBatch."""
    names = data.schema.names
    return Table(
        rows=data.num_rows,
        columns=[_column(name, data.column(place)) for place, name in enumerate(names)],
        size=_size(data),
        details=library("pyarrow", data, (data.num_rows, len(names))),
        thinned=lambda positions: open_table(data.take(positions)),
    )


def open_array(data: Any) -> Table:
    """A pyarrow Array or ChunkedArray: a table of one unnamed column."""
    return Table(
        rows=len(data),
        columns=[_column(None, data)],
        size=_size(data),
        details=library("pyarrow", data, (len(data),)),
        thinned=lambda positions: open_array(data.take(pa.array(positions, pa.int64()))),
    )


def _size(data: Any) -> int | None:
    """Bytes in memory; None where pyarrow cannot tell (before 19 for views of strings)."""
    try:
        return int(data.nbytes)
    except pa.ArrowTypeError:
        return None


def _column(name: object, data: Any) -> TableColumn:
    return TableColumn(
        name=name, type=type_text(data.type), load=partial(vector, data), fields=_fields(data.type)
    )


def type_text(kind: Any) -> str:
    """A type as the schema shows it; a dictionary is how values are kept, not what they are."""
    return type_text(kind.value_type) if pa.types.is_dictionary(kind) else str(kind)


def schema_column(field: Any) -> Column:
    """A field as the schema shows it."""
    return Column(name=field.name, type=type_text(field.type), fields=_fields(field.type))


def _fields(kind: Any) -> tuple[Column, ...]:
    if not pa.types.is_struct(kind):
        return ()
    return tuple(schema_column(kind.field(place)) for place in range(kind.num_fields))


def vector(data: Any, *, nan_is_null: bool = False) -> Vector:
    """The vector of an Array or ChunkedArray; `nan_is_null` where the owner cannot tell them apart."""
    chunks = data.chunks if isinstance(data, pa.ChunkedArray) else [data]
    kind = data.type
    if pa.types.is_dictionary(kind):
        kind, chunks = kind.value_type, [chunk.dictionary_decode() for chunk in chunks]
    try:
        from headwater.emitter.extractors import vectors
    except ImportError:  # numpy is no requirement of pyarrow
        return Cells(_cells(chunks, kind))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _texts(vectors, "string", chunks)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return _texts(vectors, "binary", chunks)
    numbers = _numbers_of(kind)
    if numbers is None:
        return vectors.from_cells(_cells(chunks, kind))
    name, unit_ns = numbers
    pieces = [_piece(vectors, chunk, kind, nan_is_null) for chunk in chunks if len(chunk)]
    return vectors.Numbers(kind=name, pieces=pieces, unit_ns=unit_ns)


def _numbers_of(kind: Any) -> tuple[str, int] | None:
    """The class and the time unit of a type whose values lie in one buffer; None for all others."""
    if pa.types.is_boolean(kind):
        return "bool", 1
    if pa.types.is_integer(kind):
        return "int", 1
    if pa.types.is_floating(kind):
        return "float", 1
    if pa.types.is_timestamp(kind):
        return ("local" if kind.tz is None else "instant"), _TIME_UNITS[kind.unit]
    if pa.types.is_duration(kind):
        return "duration", _TIME_UNITS[kind.unit]
    if pa.types.is_time(kind):
        return "time", _TIME_UNITS[kind.unit]
    return ("date", 1) if pa.types.is_date(kind) else None


def _piece(vectors: Any, chunk: Any, kind: Any, nan_is_null: bool) -> Any:
    values, valid = _values(vectors, chunk, kind), None
    if chunk.null_count:
        valid = chunk.is_valid().to_numpy(zero_copy_only=False)
    if nan_is_null and pa.types.is_floating(kind):
        nan = vectors.np.isnan(values)
        if nan.any():
            valid = ~nan if valid is None else valid & ~nan
    return vectors.Piece(values, valid)


def _values(vectors: Any, chunk: Any, kind: Any) -> Any:
    if pa.types.is_boolean(kind):
        filled = chunk.fill_null(False) if chunk.null_count else chunk
        return filled.to_numpy(zero_copy_only=False)
    width = kind.bit_width // 8
    code = "f" if pa.types.is_floating(kind) else "u" if pa.types.is_unsigned_integer(kind) else "i"
    buffer = chunk.buffers()[1]
    values = vectors.np.frombuffer(
        buffer, dtype=f"={code}{width}", count=len(chunk), offset=chunk.offset * width
    )
    return values // 86_400_000 if pa.types.is_date64(kind) else values


def _texts(vectors: Any, kind: str, chunks: Sequence[Any]) -> Vector:
    whole = pa.chunked_array(chunks) if chunks else pa.chunked_array([pa.array([], pa.string())])
    return vectors.Texts(  # type: ignore[no-any-return]
        kind=kind,
        rows=len(whole),
        nulls=whole.null_count,
        read=partial(_text_pieces, vectors, kind, chunks),
        distinct=lambda: int(pc.count_distinct(_countable(whole), mode="only_valid").as_py()),
        values=whole.to_pylist,
    )


def _countable(whole: Any) -> Any:
    views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return whole.cast(views[whole.type]) if whole.type in views else whole


def _text_pieces(vectors: Any, kind: str, chunks: Sequence[Any]) -> Iterator[Any]:
    np = vectors.np
    for chunk in chunks:
        for start in range(0, len(chunk), _BLOCK_ROWS):
            block = chunk.slice(start, _BLOCK_ROWS)
            if pa.types.is_string_view(block.type) or pa.types.is_binary_view(block.type):
                block = block.cast(pa.large_string() if kind == "string" else pa.large_binary())
            valid = block.is_valid().to_numpy(zero_copy_only=False) if block.null_count else None
            # What lies under a null may be anything: it is dropped before offsets are read.
            present = block.drop_null() if block.null_count else block
            yield _buffers(vectors, np, present, len(block), valid)


def _buffers(vectors: Any, np: Any, present: Any, rows: int, valid: Any) -> Any:
    if not len(present):
        return vectors.TextPiece(np.zeros(0, dtype=np.int64), b"", rows, valid)
    wide = pa.types.is_large_string(present.type) or pa.types.is_large_binary(present.type)
    width, (_, offsets, data) = (8 if wide else 4), present.buffers()
    places = np.frombuffer(
        offsets, dtype=f"=i{width}", count=len(present) + 1, offset=present.offset * width
    ).astype(np.int64)
    text = memoryview(b"") if data is None else memoryview(data)[int(places[0]) : int(places[-1])]
    return vectors.TextPiece(np.diff(places), text, rows, valid)


def _cells(chunks: Sequence[Any], kind: Any) -> list[Any]:
    """Cells of a type without a buffer of its own; an Arrow map is a list of [key, value] lists."""
    storage = [
        chunk.storage if isinstance(chunk, pa.ExtensionArray) and not _is_uuid(kind) else chunk
        for chunk in chunks
    ]
    return [value for chunk in storage for value in chunk.to_pylist()]


def _is_uuid(kind: Any) -> bool:
    return getattr(kind, "extension_name", "") == "arrow.uuid"
