"""Answers as sheets: flat rows with typed columns, for spreadsheets, data frames and Parquet.

A field of an answer is a column; what is an answer itself becomes columns of its own
(`run.job.name` → `run_job_name`); lists and mappings are JSON text. The columns follow from the
class of the answers, so that an empty sheet has them too. What a sheet is written to is the
business of `headwater.consumers.files`.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin, get_type_hints

from headwater.consumers.answers import Edge, Graph, ListedRun, Node, Read, Run, as_json
from headwater.consumers.columns import ColumnEdge, ColumnGraph, ColumnNode
from headwater.schemas.errors import Misconfigured

Kind: TypeAlias = Literal["text", "integer", "real", "boolean", "time", "json"]

#: What a spreadsheet takes for the beginning of a formula; and the sign that says that it is none.
FORMULA = re.compile("[=+\\-@\t\r\n＝＋－＠']")
TEXT_SIGN = "'"
_SPECIAL = re.compile('[",\r\n]')

_KINDS: dict[Any, Kind] = {str: "text", int: "integer", float: "real", bool: "boolean", datetime: "time"}
#: Properties that JSON shows as well.
_BESIDES: dict[type, tuple[tuple[str, Kind], ...]] = {
    Run: (("duration_s", "real"),),
    ListedRun: (("duration_s", "real"),),
    Read: (("inferred", "boolean"),),
}


class Column(NamedTuple):
    """A column of a sheet."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Rows of plain values (None, str, int, float, bool, aware datetime), in the order of `columns`."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]


def sheet(name: str, answers: Sequence[Any], of: Any, without: Collection[str] = ()) -> Sheet:
    """`answers`, all of the class `of`, as rows, without the fields `without`; plain values as `value`."""
    found = [one for one in _columns(of) if one[0] not in without]
    rows = tuple(tuple(get(answer) for _, _, get in found) for answer in answers)
    return Sheet(name=name, columns=tuple(Column(name, kind) for name, kind, _ in found), rows=rows)


def sheets(graph: Graph | ColumnGraph) -> tuple[Sheet, Sheet]:
    """The nodes and the edges of a graph."""
    node, edge = (Node, Edge) if isinstance(graph, Graph) else (ColumnNode, ColumnEdge)
    return sheet("nodes", graph.nodes, node), sheet("edges", graph.edges, edge)


# -- columns of a class -----------------------------------------------------------------

_Getter: TypeAlias = Callable[[Any], Any]


@cache
def _columns(of: Any) -> tuple[tuple[str, Kind, _Getter], ...]:
    if isinstance(of, type) and is_dataclass(of):
        return tuple(_walked(of, "", lambda answer: answer))
    kind = _kind(_plain_type(of))
    return (("value", kind, _as_text(_itself) if kind == "json" else _itself),)


def _itself(value: Any) -> Any:
    return value


def _walked(of: type, prefix: str, get: _Getter) -> Iterator[tuple[str, Kind, _Getter]]:
    hints = get_type_hints(of)
    own = [(field.name, hints[field.name]) for field in fields(of)]
    for name, hint in own:
        inner, reach = _plain_type(hint), _reaching(get, name)
        if isinstance(inner, type) and is_dataclass(inner):
            yield from _walked(inner, f"{prefix}{name}_", reach)
        elif (kind := _kind(inner)) == "json":
            yield prefix + name, kind, _as_text(reach)
        elif kind == "integer":
            yield prefix + name, kind, _within_64_bits(reach)
        else:
            yield prefix + name, kind, reach
    for name, kind in _BESIDES.get(of, ()):
        yield prefix + name, kind, _reaching(get, name)


def _reaching(get: _Getter, name: str) -> _Getter:
    def reach(answer: Any) -> Any:
        holder = get(answer)
        return None if holder is None else getattr(holder, name)

    return reach


def _within_64_bits(get: _Getter) -> _Getter:
    """An event may give any integer as, say, a line of code; columns hold those of 64 bits."""

    def number(answer: Any) -> int | None:
        value = get(answer)
        return value if value is not None and -(1 << 63) <= value < 1 << 63 else None

    return number


def _as_text(get: _Getter) -> _Getter:
    def text(answer: Any) -> str | None:
        value = get(answer)
        return None if value is None else json.dumps(as_json(value), ensure_ascii=False, default=str)

    return text


def _plain_type(hint: Any) -> Any:
    """`hint` without None."""
    if get_origin(hint) in (Union, UnionType):
        others = [other for other in get_args(hint) if other is not type(None)]
        return others[0] if len(others) == 1 else Any
    return hint


def _kind(hint: Any) -> Kind:
    if get_origin(hint) is Literal:
        return "text"
    return _KINDS.get(hint, "json")


# -- what sheets become -----------------------------------------------------------------


def csv_text(sheet: Sheet) -> str:
    """RFC 4180 with a header, lines ending in LF; None is an empty cell, times are RFC 3339.

    A text that begins as a formula does (`=`, `+`, `-`, `@`, a tab, a line end, `'`) is written with `'`
    in front, so that a spreadsheet shows it and does not execute it; a reader takes one `'` away.
    """
    lines = [",".join(column.name for column in sheet.columns)]
    lines += [",".join(_quoted(_cell(value)) for value in row) for row in sheet.rows]
    return encodable("\n".join(lines) + "\n")


def _quoted(cell: str) -> str:
    """As RFC 4180 has it; the standard library leaves a lone CR bare."""
    return '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return TEXT_SIGN + value if FORMULA.match(value) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(as_json(value))


def arrow(sheet: Sheet) -> Any:
    """`sheet` as a `pyarrow.Table`; times are UTC timestamps of microseconds."""
    pyarrow = _imported("pyarrow")
    types = {
        "text": pyarrow.string(),
        "json": pyarrow.string(),
        "integer": pyarrow.int64(),
        "real": pyarrow.float64(),
        "boolean": pyarrow.bool_(),
        "time": pyarrow.timestamp("us", tz="UTC"),
    }
    schema = pyarrow.schema([(column.name, types[column.kind]) for column in sheet.columns])
    columns = [[_encodable(row[at]) for row in sheet.rows] for at in range(len(sheet.columns))]
    arrays = [pyarrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def parquet(sheet: Sheet) -> bytes:
    """`sheet` as the bytes of a Parquet file."""
    _imported("pyarrow")
    import pyarrow.parquet

    written = io.BytesIO()
    pyarrow.parquet.write_table(arrow(sheet), written)
    return written.getvalue()


def frame(sheet: Sheet) -> Any:
    """`sheet` as a `pandas.DataFrame`."""
    pandas = _imported("pandas")
    columns: Mapping[str, Any] = {
        column.name: pandas.Series([row[at] for row in sheet.rows], dtype=_DTYPES[column.kind])
        for at, column in enumerate(sheet.columns)
    }
    return pandas.DataFrame(columns)


_DTYPES = {
    "text": "object",
    "json": "object",
    "integer": "Int64",
    "real": "Float64",
    "boolean": "boolean",
    "time": "datetime64[us, UTC]",
}


def _imported(module: str) -> Any:
    """`module`, or what to do where it is missing."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise Misconfigured(
            f"this needs {missing.name or module}", remedy=f"pip install {missing.name or module}"
        ) from missing


def encodable(text: str) -> str:
    r"""`text` with what UTF-8 cannot carry (half of a surrogate pair) written as `\udc00`."""
    return text.encode("utf-8", "backslashreplace").decode()


def _encodable(value: Any) -> Any:
    return encodable(value) if isinstance(value, str) else value
