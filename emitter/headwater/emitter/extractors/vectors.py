"""Columns as numpy buffers: the digests and numbers of `columns`, without a Python loop.

Imported only once numpy is loaded or wanted. A column is read in blocks; the one copy
that is made, of one column, is the sorted one that ranks and counts its values.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.emitter.extractors import columns
from headwater.emitter.extractors.columns import Cells, Metrics, Vector
from headwater.schemas import canonical
from headwater.schemas.events import Json

Array = npt.NDArray[Any]

_BLOCK = 1 << 18  # values that are converted and hashed at a time
_I64_MAX = (1 << 63) - 1
_NAN = np.frombuffer(canonical.NAN_BITS["float64"].to_bytes(8, "little"), dtype="<f8")[0]
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a column: `values`, and which of them are no null (None: all)."""

    values: Array
    valid: Array | None = None

    def present(self) -> Array:
        """The values that are no null."""
        return self.values if self.valid is None else self.values[self.valid]

    def blocks(self) -> Iterator[Array]:
        """The values that are no null, some at a time."""
        for start in range(0, len(self.values), _BLOCK):
            block = self.values[start : start + _BLOCK]
            yield block if self.valid is None else block[self.valid[start : start + _BLOCK]]


def _buffer(values: Array) -> memoryview:
    """The bytes of a contiguous array, where they lie."""
    return memoryview(values.view("u1"))  # type: ignore[arg-type]


def _mask_bytes(rows: int, valid: Array | None) -> bytes | memoryview:
    return b"\1" * rows if valid is None else _buffer(np.ascontiguousarray(valid, dtype=bool).view("u1"))


def validity_digest(pieces: Iterable[tuple[int, Array | None]]) -> bytes:
    """The digest of a column's validity: a byte of 1 or 0 a row."""
    digest = hashlib.sha256()
    for rows, valid in pieces:
        digest.update(_mask_bytes(rows, valid))
    return digest.digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A column of fixed-width values.

    `kind` is a class of the specification; for times `unit_ns` is the number of nanoseconds
    that a count of one stands for.
    """

    kind: str
    pieces: Sequence[Piece]
    unit_ns: int = 1
    largest_sort: int = columns.LARGEST_SORT

    @property
    def rows(self) -> int:
        """All rows, null or not."""
        return sum(len(piece.values) for piece in self.pieces)

    @property
    def nulls(self) -> int:
        """How many rows are null."""
        return sum(
            len(piece.valid) - int(np.count_nonzero(piece.valid))
            for piece in self.pieces
            if piece.valid is not None
        )

    def digest(self) -> bytes:
        """See `Vector`."""
        rows, nulls = self.rows, self.nulls
        if rows == nulls:
            return canonical.combine_column("null", rows, nulls, ())
        validity = [validity_digest((len(p.values), p.valid) for p in self.pieces)] if nulls else []
        kind, convert = self._encoding()
        if convert is None:
            return canonical.combine_column(*self._wide_times(rows, nulls, validity))
        digest = hashlib.sha256()
        for block in self._blocks():
            digest.update(_buffer(np.ascontiguousarray(convert(block))))
        return canonical.combine_column(kind, rows, nulls, [*validity, digest.digest()])

    def metrics(self, *, open_values: bool) -> Metrics:
        """See `Vector`."""
        nulls = self.nulls
        count = self.rows - nulls
        found: Metrics = {"nullCount": nulls, "count": count}
        if self.kind == "bool":
            found.update(self._truths(count))
        elif count <= self.largest_sort:
            found.update(self._ranked(np.sort(self._joined()), open_values))
        elif columns.aggregates_allowed(count, open_values):
            found.update(self._streamed())
        if open_values and count <= self.largest_sort:
            found["topValues"] = self._top_values()
        return found

    def _wide_times(self, rows: int, nulls: int, validity: list[bytes]) -> tuple[str, int, int, list[bytes]]:
        """A column whose microseconds leave 64 bits, further from 1970 than 292,000 years."""
        factor = self.unit_ns // 1_000
        counts = [count * factor for block in self._blocks() for count in block.tolist()]
        kind, parts = canonical.integer_parts(f"{self.kind}/us", counts)
        return kind, rows, nulls, validity + parts

    def _blocks(self) -> Iterator[Array]:
        return (block for piece in self.pieces for block in piece.blocks() if len(block))

    def _joined(self) -> Array:
        present = [piece.present() for piece in self.pieces]
        if not present:
            return np.zeros(0, dtype=np.int64)
        return present[0] if len(present) == 1 else np.concatenate(present)

    def _encoding(self) -> tuple[str, Callable[[Array], Array] | None]:
        if self.kind == "bool":
            return "bool", lambda block: block.astype("u1", copy=False)
        if self.kind == "float":
            return "float", _doubles
        if self.kind == "int":
            wide = any(p.values.dtype == np.uint64 for p in self.pieces) and self._highest() > _I64_MAX
            return ("int/u64", _unsigned) if wide else ("int/i64", _signed)
        if self.kind == "date":
            return "date/i64", _signed
        return self._time_encoding()

    def _time_encoding(self) -> tuple[str, Callable[[Array], Array] | None]:
        if self.unit_ns == 1:
            if any(bool(np.any(block % 1_000)) for block in self._blocks()):
                return f"{self.kind}/ns/i64", _signed
            return f"{self.kind}/us/i64", lambda block: _signed(block) // 1_000
        factor = self.unit_ns // 1_000
        if (
            max(abs(int(b.min())) for b in self._blocks()) * factor > _I64_MAX
            or self._highest() * factor > _I64_MAX
        ):
            return f"{self.kind}/us/big", None
        return f"{self.kind}/us/i64", lambda block: _signed(block) * factor

    def _highest(self) -> int:
        return max(int(block.max()) for block in self._blocks())

    def _truths(self, count: int) -> Metrics:
        true = sum(int(np.count_nonzero(block)) for block in self._blocks())
        return {"trueCount": true, "distinctCount": int(true > 0) + int(true < count)}

    def _ranked(self, ranked: Array, open_values: bool) -> Metrics:
        found: Metrics = {"distinctCount": _distinct(ranked)}
        if not columns.aggregates_allowed(len(ranked), open_values):
            return found
        if self.kind == "float":
            found.update(_float_metrics(ranked))
        elif self.kind == "int":
            found.update(_moments(ranked, _exact_sum(ranked)))
        else:
            unit_s = self._unit_s()
            found.update(columns.range_metrics(self.kind, int(ranked[0]) * unit_s, int(ranked[-1]) * unit_s))
        return found

    def _streamed(self) -> Metrics:
        """What a column too large to be copied tells block by block: no distinct count, no quantiles."""
        low, high, total, squares, count, pivot = math.inf, -math.inf, 0.0, 0.0, 0, None
        for block in self._blocks():
            usable = block[np.isfinite(block)] if self.kind == "float" else block
            if not len(usable):
                continue
            low, high = min(low, usable.min().item()), max(high, usable.max().item())
            pivot = float(usable[0]) if pivot is None else pivot
            # Deviations from some value of the column, so that large values keep their digits.
            deviations = usable.astype(np.float64) - pivot
            total, squares = total + float(deviations.sum()), squares + float(np.square(deviations).sum())
            count += len(usable)
        if not count or pivot is None:
            return {}
        if self.kind not in ("int", "float"):
            unit_s = self._unit_s()
            return columns.range_metrics(self.kind, low * unit_s, high * unit_s)
        spread = max(squares - total * total / count, 0.0) / max(count - 1, 1)
        return columns.finite(
            min=low, max=high, sum=total + pivot * count, mean=pivot + total / count, std=math.sqrt(spread)
        )

    def _unit_s(self) -> float:
        return _DAY_S if self.kind == "date" else self.unit_ns / 1e9

    def _top_values(self) -> Json:
        values, counts = np.unique(self._joined(), return_counts=True)
        order = np.lexsort((np.arange(len(counts)), -counts))[: columns.SHOWN_VALUES]
        return [{"value": columns.shown(values[i].item()), "count": int(counts[i])} for i in order]


def _doubles(block: Array) -> Array:
    nan = np.isnan(block)
    if not nan.any():
        return block.astype("<f8", copy=False)
    block = block.astype("<f8", copy=True)
    block[nan] = _NAN
    return block


def _signed(block: Array) -> Array:
    return block.astype("<i8", copy=False)


def _unsigned(block: Array) -> Array:
    return block.astype("<u8", copy=False)


def _distinct(ranked: Array) -> int:
    if not len(ranked):
        return 0
    changes = int(np.count_nonzero(ranked[1:] != ranked[:-1])) + 1
    if ranked.dtype.kind != "f":
        return changes
    nans = int(np.count_nonzero(np.isnan(ranked[_first_nan(ranked) :])))
    return changes - max(nans - 1, 0)  # every NaN differs from its neighbour, and is one value


def _first_nan(ranked: Array) -> int:
    return int(np.searchsorted(ranked, np.nan)) if len(ranked) and np.isnan(ranked[-1]) else len(ranked)


def _float_metrics(ranked: Array) -> Metrics:
    end = _first_nan(ranked)
    low = int(np.searchsorted(ranked[:end], -np.inf, side="right"))
    high = int(np.searchsorted(ranked[:end], np.inf))
    found: Metrics = {}
    if high - low < len(ranked):
        found.update(nanCount=len(ranked) - end, infiniteCount=end - high + low)
    usable = ranked[low:high]
    if len(usable):
        with np.errstate(over="ignore"):  # a sum beyond a double is left out
            found.update(_moments(usable, float(usable.sum(dtype=np.float64))))
    return found


def _exact_sum(values: Array) -> int:
    if values.dtype.itemsize < 8 and len(values) < 1 << 31:
        return int(values.sum(dtype=np.int64))
    if not len(values) or max(abs(int(values[0])), abs(int(values[-1]))) <= _I64_MAX // len(values):
        return int(values.sum(dtype=np.int64))
    high, low = (values >> 32).sum(dtype=np.int64), (values & 0xFFFF_FFFF).sum(dtype=np.uint64)
    return (int(high) << 32) + int(low)


def _moments(ranked: Array, total: float) -> Metrics:
    count = len(ranked)
    mean = total / count
    found = columns.finite(sum=total, min=ranked[0].item(), max=ranked[-1].item(), mean=mean)
    if count > 1 and math.isfinite(mean):
        found.update(columns.finite(std=math.sqrt(_squares(ranked, mean) / (count - 1))))
    quantiles = {}
    for key, low, high, weight in columns.quantile_positions(count):
        below, above = ranked[low].item(), ranked[high].item()
        quantiles[key] = below + (above - below) * weight if weight else below
    found["quantiles"] = columns.finite(**quantiles)
    return found


def _squares(values: Array, mean: float) -> float:
    total = 0.0
    with np.errstate(over="ignore"):
        for start in range(0, len(values), _BLOCK):
            deviations = values[start : start + _BLOCK].astype(np.float64) - mean
            # Not a dot product: BLAS would start threads of its own and wait for them.
            total += float(np.square(deviations, out=deviations).sum())
    return total


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Part of a column of strings or bytes: the lengths in bytes and the bytes of all that are no null."""

    lengths: Array
    data: Any
    rows: int
    valid: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """A column of strings (`string`, UTF-8) or bytes (`binary`); `read` gives its pieces, each time anew."""

    kind: str
    rows: int
    nulls: int
    read: Callable[[], Iterable[TextPiece]]
    distinct: Callable[[], int | None]
    values: Callable[[], Iterable[object]]

    def digest(self) -> bytes:
        """See `Vector`."""
        if self.rows == self.nulls:
            return canonical.combine_column("null", self.rows, self.nulls, ())
        validity, lengths, data = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        for piece in self.read():
            lengths.update(_buffer(np.ascontiguousarray(piece.lengths.astype("<u8", copy=False))))
            data.update(piece.data)
            if self.nulls:
                validity.update(_mask_bytes(piece.rows, piece.valid))
        parts = [lengths.digest(), data.digest()]
        head = [validity.digest()] if self.nulls else []
        return canonical.combine_column(self.kind, self.rows, self.nulls, head + parts)

    def metrics(self, *, open_values: bool) -> Metrics:
        """See `Vector`."""
        count = self.rows - self.nulls
        found: Metrics = {"nullCount": self.nulls, "count": count}
        distinct = self.distinct() if self.rows <= columns.LARGEST_SORT else None
        if distinct is not None:
            found["distinctCount"] = distinct
        lengths = [self._lengths(piece) for piece in self.read() if len(piece.lengths)]
        if lengths:
            shortest, longest = (
                min(int(part.min()) for part in lengths),
                max(int(part.max()) for part in lengths),
            )
            empty = sum(len(part) - int(np.count_nonzero(part)) for part in lengths)
            found.update(
                columns.length_metrics(
                    count, shortest, longest, sum(int(part.sum()) for part in lengths), empty
                )
            )
        if open_values:
            found["topValues"] = columns.top_values(value for value in self.values() if value is not None)
        return found

    def _lengths(self, piece: TextPiece) -> Array:
        if self.kind == "binary":
            return piece.lengths
        data = np.frombuffer(piece.data, dtype=np.uint8)
        if len(data) == 0 or int(data.max()) < 0x80:
            return piece.lengths
        # A character starts wherever a byte is no continuation (10xxxxxx).
        starts = np.concatenate(([0], np.cumsum((data & 0xC0) != 0x80)))
        ends = np.cumsum(piece.lengths)
        counted: Array = starts[ends] - starts[ends - piece.lengths]
        return counted


def from_cells(values: Sequence[object]) -> Vector:
    """The fastest vector for Python values: buffers for numbers and strings, cells for the rest."""
    types = set(map(type, values))
    nullable = type(None) in types
    kinds = types - {type(None)}
    if kinds == {str}:
        return _strings(values, nullable)
    dtype = {float: "f8", int: "i8", bool: "?"}.get(kinds.pop()) if len(kinds) == 1 else None
    if dtype is None:
        return Cells(values)
    try:
        return Numbers(
            kind={"f": "float", "i": "int", "?": "bool"}[dtype[0]], pieces=[_piece(values, dtype, nullable)]
        )
    except OverflowError:  # integers beyond 64 bits
        return Cells(values)


def _piece(values: Sequence[object], dtype: str, nullable: bool) -> Piece:
    if not nullable:
        return Piece(np.array(values, dtype=dtype))
    return Piece(
        np.array([0 if value is None else value for value in values], dtype=dtype),
        np.array([value is not None for value in values], dtype=bool),
    )


def _strings(values: Sequence[object], nullable: bool) -> Texts:
    present: Sequence[Any] = [value for value in values if value is not None] if nullable else values

    def read() -> Iterator[TextPiece]:
        for start in range(0, len(values), _BLOCK):
            yield _text_piece(values[start : start + _BLOCK])

    return Texts(
        kind="string",
        rows=len(values),
        nulls=len(values) - len(present),
        read=read,
        distinct=lambda: len(set(present)),
        values=lambda: values,
    )


def _text_piece(block: Sequence[Any]) -> TextPiece:
    valid = None
    present = [value for value in block if value is not None]
    if len(present) < len(block):
        valid = np.array([value is not None for value in block], dtype=bool)
    joined = "".join(present)
    if joined.isascii():
        return TextPiece(
            np.array(list(map(len, present)), dtype=np.int64), joined.encode(), len(block), valid
        )
    encoded = [canonical.utf8(value) for value in present]
    return TextPiece(np.array(list(map(len, encoded)), dtype=np.int64), b"".join(encoded), len(block), valid)
