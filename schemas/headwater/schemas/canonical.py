"""Content identity: `{form}:{token}`, a function of logical values and of nothing else.

This is the reference implementation of docs/reference/versions.md: plain Python values in, versions
out, no third-party import. Whatever is faster must give the same bytes; whatever is new gets a form
of its own: `table1`, `array1`, `json1` and `bytes1` are added to, never redefined.

How a framework's object becomes these values is the business of `headwater.emitter.extractors`.
"""

from __future__ import annotations

import hashlib
import math
import numbers
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from headwater.schemas.errors import Rejected

MAX_DEPTH = 1_024  # levels of a JSON value
MAX_COLUMN_DEPTH = 64  # lists and structs inside a column
NAN_BITS = {"float16": 0x7E00, "float32": 0x7FC0_0000, "float64": 0x7FF8_0000_0000_0000}

_DEEP = 4  # where a column is looked at for being too deep; most never get there
_I64_MIN, _I64_MAX, _U64_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
_NAN = struct.pack("<Q", NAN_BITS["float64"])
_EPOCH, _LOCAL_EPOCH, _EPOCH_DAY = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1),
    date(1970, 1, 1).toordinal(),
)
_length = struct.Struct("<Q").pack
_double = struct.Struct("<d").pack


class Uncanonical(Rejected):
    """A value that no canonical form covers: its content cannot be identified.

    `type_name` is the value's type; the value itself is never shown.
    """

    def __init__(self, type_name: str, reason: str = "no canonical form covers values of this type") -> None:
        super().__init__(f"{type_name}: {reason}")
        self.type_name = type_name
        self.reason = reason


# --- the four forms ---------------------------------------------------------------------------------


def bytes_version(chunks: bytes | Iterable[bytes]) -> str:
    """The version of a run of bytes: what `sha256sum` prints; how it is cut into chunks is invisible."""
    digest = hashlib.sha256()
    for chunk in (chunks,) if isinstance(chunks, bytes) else chunks:
        digest.update(chunk)
    return f"bytes1:{digest.hexdigest()}"


def json_version(value: object) -> str:
    """The version of a JSON value, or of any value that `cell` covers; raises `Uncanonical`."""
    return f"json1:{hashlib.sha256(b'json1' + bytes((10,)) + cell(value)).hexdigest()}"


def table_version(
    columns: Iterable[tuple[object, Sequence[object]]],
    *,
    index: Iterable[tuple[object, Sequence[object]]] = (),
    rows: int | None = None,
) -> str:
    """The version of a table given as (name, cells) pairs in order; None is null.

    `index` holds row labels that are part of the content; `rows` is needed only for a
    table without any column. Raises `Uncanonical`, and ValueError where lengths differ.
    """
    levels, body = list(index), list(columns)
    lengths = {len(cells) for _, cells in levels + body} | ({rows} if rows is not None else set())
    if len(lengths) > 1:
        raise ValueError(f"columns of one table have different lengths: {sorted(lengths)}")
    return combine_table(
        lengths.pop() if lengths else 0,
        [(name, column_digest(cells)) for name, cells in levels],
        [(name, column_digest(cells)) for name, cells in body],
    )


def array_version(
    dtype: str, shape: Sequence[int], values: Sequence[object], *, valid: Sequence[bool] | None = None
) -> str:
    """The version of an n-dimensional array from its elements in C order.

    `dtype` is a name of the specification's table; elements that `valid` masks out are not content.
    """
    masked = 0 if valid is None else sum(not v for v in valid)
    kept = values if valid is None or not masked else [v for v, ok in zip(values, valid, strict=True) if ok]
    mask = bytes(map(bool, valid)) if valid is not None and masked else None
    return combine_array(dtype, shape, masked, mask and sha256(mask), _elements(dtype, kept))


# --- how digests combine; faster implementations share these -----------------------------------------


def sha256(*parts: bytes) -> bytes:
    """The 32 bytes of the SHA-256 of `parts`, one after the other."""
    return hashlib.sha256(b"".join(parts)).digest()


def combine_column(kind: str, rows: int, nulls: int, parts: Iterable[bytes]) -> bytes:
    """The digest of a column from its kind, its size and the digests of its parts."""
    return sha256(f"column1\n{kind}\n{rows}\n{nulls}\n".encode(), *parts)


def combine_table(
    rows: int, index: Sequence[tuple[object, bytes]], columns: Sequence[tuple[object, bytes]]
) -> str:
    """The version of a table from (name, column digest) pairs."""
    pairs = [part for name, digest in (*index, *columns) for part in (sha256(cell(name)), digest)]
    header = f"table1\n{rows}\n{len(index)}\n{len(columns)}\n".encode()
    return f"table1:{sha256(header, *pairs).hex()}"


def combine_array(
    dtype: str, shape: Sequence[int], masked: int, validity: bytes | None, elements: bytes
) -> str:
    """The version of an array from the digests of its mask and of its elements."""
    header = f"array1\n{dtype}\n{','.join(map(str, shape))}\n{masked}\n".encode()
    return f"array1:{sha256(header, validity or b'', elements).hex()}"


def opaque_version(token: str) -> str:
    """The version of content that could not be identified: `token` is drawn anew each time it is said."""
    return f"opaque1:{token}"


# --- columns ----------------------------------------------------------------------------------------


def column_digest(cells: Sequence[object], depth: int = 0) -> bytes:
    """The digest of one column; its class follows from its values, never from a declared type.

    `depth` counts the lists and structs around it; raises `Uncanonical` beyond 64.
    """
    if depth == _DEEP:
        _refuse_depth(cells, depth)
    present = [value for value in cells if value is not None]
    nulls = len(cells) - len(present)
    if not present:
        return combine_column("null", len(cells), nulls, ())
    classes = classes_of(present)
    name = classes.pop() if len(classes) == 1 else "mixed"
    nested = _NESTED.get(name)
    kind, parts = nested(present, depth + 1) if nested else _ENCODERS[name](present)
    validity = [sha256(bytes(value is not None for value in cells))] if nulls else []
    return combine_column(kind, len(cells), nulls, validity + parts)


def _refuse_depth(cells: Sequence[object], depth: int) -> None:
    # Depth first, because going level by level a value inside itself would grow without end.
    stack = [(value, depth) for value in cells if isinstance(value, (list, tuple, Mapping))]
    while stack:
        value, level = stack.pop()
        if level >= MAX_COLUMN_DEPTH:
            raise Uncanonical("column", f"nested deeper than {MAX_COLUMN_DEPTH} levels")
        items = value.values() if isinstance(value, Mapping) else value
        stack.extend((item, level + 1) for item in items if isinstance(item, (list, tuple, Mapping)))


def classes_of(values: Iterable[object]) -> set[str]:
    """The logical classes that occur in `values`, none of which is None."""
    classes: set[str] = set()
    of_type: dict[type, list[object]] = {}
    for kind in set(map(type, values)):
        known = _CLASS_OF_TYPE.get(kind)
        if known is None:
            of_type[kind] = []
        else:
            classes.add(known)
    if of_type:
        classes.update({_class_of(value) for value in values if type(value) in of_type})
    return classes


_CLASS_OF_TYPE: dict[type, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    complex: "complex",
    Decimal: "decimal",
    str: "string",
    bytes: "binary",
    date: "date",
    timedelta: "duration",
    UUID: "uuid",
    list: "list",
    tuple: "list",
}


def _class_of(value: object) -> str:
    if isinstance(value, datetime):
        return "local" if value.utcoffset() is None else "instant"
    if isinstance(value, time):
        return "time"
    if isinstance(value, Mapping):
        return "struct" if all(isinstance(key, str) for key in value) else "mapping"
    if isinstance(value, numbers.Real) and not isinstance(value, (numbers.Integral, float, bool)):
        # float32 and its like; a fraction that no double equals has no class
        return "float" if float(value) == value or value != value else "mixed"
    return next((name for kinds, name in _CLASS_OF_BASE if isinstance(value, kinds)), "mixed")


_CLASS_OF_BASE: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bool,), "bool"),
    ((int, numbers.Integral), "int"),
    ((float,), "float"),
    ((complex,), "complex"),
    ((Decimal,), "decimal"),
    ((str,), "string"),
    ((bytes, bytearray, memoryview), "binary"),
    ((date,), "date"),
    ((timedelta,), "duration"),
    ((UUID,), "uuid"),
    ((list, tuple), "list"),
)

_Encoded = tuple[str, list[bytes]]


def _packed(code: str, values: Iterable[object]) -> bytes:
    buffer = array(code, values)  # type: ignore[type-var]
    if sys.byteorder == "big":
        buffer.byteswap()
    return buffer.tobytes()


def integer_parts(prefix: str, values: Sequence[int]) -> tuple[str, list[bytes]]:
    """The kind of a column of integers, and the digests of its parts."""
    low, high = min(values), max(values)
    if low >= _I64_MIN and high <= _I64_MAX:
        return f"{prefix}/i64", [sha256(_packed("q", values))]
    if low >= 0 and high <= _U64_MAX:
        return f"{prefix}/u64", [sha256(_packed("Q", values))]
    return f"{prefix}/big", _texts([integer_bytes(value) for value in values])


def _texts(values: Sequence[bytes]) -> list[bytes]:
    return [sha256(_packed("Q", map(len, values))), sha256(b"".join(values))]


def _scaled(prefix: str, nanoseconds: Sequence[int]) -> _Encoded:
    if any(value % 1_000 for value in nanoseconds):
        return integer_parts(f"{prefix}/ns", nanoseconds)
    return integer_parts(f"{prefix}/us", [value // 1_000 for value in nanoseconds])


def _strings(values: Sequence[str]) -> _Encoded:
    joined = "".join(values)
    if joined.isascii():
        return "string", [sha256(_packed("Q", map(len, values))), sha256(joined.encode())]
    return "string", _texts([utf8(value) for value in values])


def _lists(values: Sequence[Sequence[object]], depth: int) -> _Encoded:
    lengths = sha256(_packed("Q", map(len, values)))
    return "list", [lengths, column_digest([item for value in values for item in value], depth)]


def _structs(values: Sequence[Mapping[str, object]], depth: int) -> _Encoded:
    names = sorted({utf8(key): key for value in values for key in value}.items())
    parts: list[bytes] = []
    for _, name in names:
        parts += sha256(cell(name)), column_digest([value.get(name) for value in values], depth)
    return "struct", parts


def _mixed(values: Sequence[object]) -> _Encoded:
    return "mixed", [sha256(b"".join(map(cell, values)))]


def _floats(values: Sequence[float]) -> bytes:
    packed = _packed("d", values)
    if not any(map(math.isnan, values)):
        return packed
    return b"".join(_NAN if value != value else _double(value) for value in values)


_ENCODERS: dict[str, Callable[[Any], _Encoded]] = {
    "bool": lambda values: ("bool", [sha256(bytes(values))]),
    "int": lambda values: integer_parts("int", list(map(int, values))),
    "float": lambda values: ("float", [sha256(_floats(list(map(float, values))))]),
    "complex": lambda values: ("complex", [sha256(b"".join(map(_complex, values)))]),
    "decimal": lambda values: ("decimal", _texts(list(map(_decimal, values)))),
    "string": _strings,
    "binary": lambda values: ("binary", _texts(list(map(bytes, values)))),
    "uuid": lambda values: ("uuid", [sha256(b"".join(value.bytes for value in values))]),
    "date": lambda values: integer_parts("date", list(map(_days, values))),
    "instant": lambda values: _scaled("instant", list(map(_since_epoch, values))),
    "local": lambda values: _scaled("local", list(map(_since_epoch, values))),
    "duration": lambda values: _scaled("duration", list(map(_span, values))),
    "time": lambda values: _scaled("time", list(map(_of_day, values))),
    "mapping": _mixed,
    "mixed": _mixed,
}
_NESTED: dict[str, Callable[[Any, int], _Encoded]] = {"list": _lists, "struct": _structs}


# --- elements of arrays -----------------------------------------------------------------------------

_ELEMENT_CODES = {
    "bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q",
    "uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q",
    "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip


def _elements(dtype: str, values: Sequence[object]) -> bytes:
    base = "int64" if dtype.startswith(("datetime64[", "timedelta64[")) else dtype
    if base in ("string", "binary", "object"):
        return column_digest(values)
    if base in ("complex64", "complex128"):
        part = "float32" if base == "complex64" else "float64"
        return _elements(part, [part for value in values for part in (value.real, value.imag)])  # type: ignore[attr-defined]
    if base not in _ELEMENT_CODES:
        raise Uncanonical(dtype)
    pack = struct.Struct("<" + _ELEMENT_CODES[base]).pack
    nan = NAN_BITS.get(base)
    if nan is None:
        return sha256(b"".join(map(pack, values)))
    bits = nan.to_bytes(struct.calcsize(_ELEMENT_CODES[base]), "little")
    return sha256(b"".join(bits if value != value else pack(value) for value in values))


# --- cells ------------------------------------------------------------------------------------------

_KEY_ORDERS = 64


def cell(value: object) -> bytes:
    """One value as tagged, self-delimiting bytes; raises `Uncanonical`, also beyond 1,024 levels."""
    out: list[bytes] = []
    stack: list[tuple[object, int]] = [(value, 0)]
    orders: dict[tuple[object, ...], list[tuple[_Raw, object]]] = {}
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise Uncanonical(type(item).__qualname__, f"nested deeper than {MAX_DEPTH} levels")
        write = _CELLS.get(type(item))
        if write is not None:
            out.append(write(item))
        elif isinstance(item, (list, tuple)):
            out.append(b"[" + _length(len(item)))
            stack.extend((child, depth + 1) for child in reversed(item))
        elif isinstance(item, Mapping):
            out.append(b"{" + _length(len(item)))
            order = _key_order(item, orders)
            if depth == MAX_DEPTH or not _write_flat(out, item, order):
                stack.extend((part, depth + 1) for raw, key in reversed(order) for part in (item[key], raw))
        else:
            out.append(_scalar(item))
    return b"".join(out)


def _key_order(
    item: Mapping[object, object], orders: dict[tuple[object, ...], list[tuple[_Raw, object]]]
) -> list[tuple[_Raw, object]]:
    """The keys of `item` with their cells, sorted by them; once for all mappings with the same text keys."""
    keys = tuple(item)
    # Equal keys have equal cells only where all are text: 1, 1.0 and True are equal.
    named = all(type(key) is str for key in keys)
    found = orders.get(keys) if named else None
    if found is None:
        found = sorted(((_Raw(cell(key)), key) for key in keys), key=lambda pair: pair[0])
        if named and len(orders) < _KEY_ORDERS:
            orders[keys] = found
    return found


def _write_flat(out: list[bytes], item: Mapping[object, object], order: list[tuple[_Raw, object]]) -> bool:
    """Write the entries of a mapping that holds no containers; False, and nothing, for another."""
    written: list[bytes] = []
    for raw, key in order:
        child = item[key]
        write = _CELLS.get(type(child))
        if write is None:
            return False
        written += (raw, write(child))
    out += written
    return True


class _Raw(bytes):
    """Bytes of a cell that are ready to be written."""


def _tagged(tag: bytes, body: bytes) -> bytes:
    return tag + _length(len(body)) + body


def _scalar(value: object) -> bytes:
    if isinstance(value, AbstractSet):
        return b"(" + _length(len(value)) + b"".join(sorted(map(cell, value)))
    name = _class_of(value)
    if name not in _SCALARS:
        raise Uncanonical(type(value).__qualname__)
    return _SCALARS[name](value)


def _float_cell(value: object) -> bytes:
    number = float(value)  # type: ignore[arg-type]
    return b"R" + (_NAN if number != number else _double(number))


_SCALARS: dict[str, Callable[..., bytes]] = {
    "bool": lambda value: b"T" if value else b"F",
    "int": lambda value: _tagged(b"I", integer_bytes(int(value))),
    "float": _float_cell,
    "complex": lambda value: b"C" + _complex(value),
    "decimal": lambda value: _tagged(b"D", _decimal(value)),
    "string": lambda value: _tagged(b"S", utf8(value)),
    "binary": lambda value: _tagged(b"B", bytes(value)),
    "uuid": lambda value: b"U" + value.bytes,
    "date": lambda value: _tagged(b"E", integer_bytes(_days(value))),
    "instant": lambda value: _tagged(b"Z", integer_bytes(_since_epoch(value))),
    "local": lambda value: _tagged(b"L", integer_bytes(_since_epoch(value))),
    "duration": lambda value: _tagged(b"Y", integer_bytes(_span(value))),
    "time": lambda value: _tagged(b"H", integer_bytes(_of_day(value))),
}

_CELLS: dict[type, Callable[..., bytes]] = {
    type(None): lambda value: b"N",
    bool: _SCALARS["bool"],
    int: _SCALARS["int"],
    float: _float_cell,
    str: _SCALARS["string"],
    bytes: _SCALARS["binary"],
    _Raw: bytes,
}


# --- scalars ----------------------------------------------------------------------------------------


def utf8(text: str) -> bytes:
    """UTF-8 without normalisation; a lone surrogate as the three bytes of its own code point."""
    return text.encode("utf-8", "surrogatepass")


def integer_bytes(value: int) -> bytes:
    """Little-endian two's complement in ⌊bits/8⌋ + 1 bytes, `bits` being the bit length of |value|."""
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def _decimal(value: object) -> bytes:
    if not isinstance(value, Decimal):
        raise Uncanonical(type(value).__qualname__)
    if not value.is_finite():
        return b"NaN" if value.is_nan() else b"Infinity" if value > 0 else b"-Infinity"
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    short = text.rstrip("0")
    if not short:
        return b"0E0"
    return f"{'-' if sign else ''}{short}E{int(exponent) + len(text) - len(short)}".encode()


def _complex(value: object) -> bytes:
    number = complex(value)  # type: ignore[call-overload]
    return b"".join(_NAN if part != part else _double(part) for part in (number.real, number.imag))


def _days(value: object) -> int:
    return int(value.toordinal()) - _EPOCH_DAY  # type: ignore[attr-defined]


def _span(value: object) -> int:
    # A timedelta subclass may be finer than a microsecond (pandas): it says so in `nanoseconds`.
    whole: int = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds  # type: ignore[attr-defined]
    return whole * 1_000 + int(getattr(value, "nanoseconds", 0))


def _since_epoch(value: object) -> int:
    if not isinstance(value, datetime):
        raise Uncanonical(type(value).__qualname__)
    fine = int(getattr(value, "nanosecond", 0))
    coarse = value.to_pydatetime(warn=False) if fine and hasattr(value, "to_pydatetime") else value
    return _span(coarse - (_LOCAL_EPOCH if coarse.utcoffset() is None else _EPOCH)) // 1_000 * 1_000 + fine


def _of_day(value: object) -> int:
    if not isinstance(value, time) or value.tzinfo is not None:
        raise Uncanonical(type(value).__qualname__, "a time of day with a zone names no time")
    whole = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return whole * 1_000 + int(getattr(value, "nanosecond", 0))
