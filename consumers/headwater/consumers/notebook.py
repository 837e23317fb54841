"""Answers in a notebook: as tables and pictures that a cell shows by itself.

An answer that is `Shown` is HTML where there is a browser and text where there is a terminal; one
that is `Tabular` becomes data frames as well. Every text of an event is escaped; a long table is cut
and says so. Nothing here imports IPython, and pandas and pyarrow only when they are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from headwater.consumers.drawing import printable, short_time
from headwater.consumers.shown import Tabular

if TYPE_CHECKING:
    from headwater.consumers.sheets import Sheet

LONGEST_TABLE = 100
_LONGEST_CELL = 200

T_co = TypeVar("T_co", covariant=True)


class Listing(tuple[T_co, ...]):
    """Answers of one class in a row: a tuple that a notebook shows as a table."""

    of: type

    def __new__(cls, answers: Iterable[T_co], of: type) -> Listing[T_co]:
        made = super().__new__(cls, answers)
        made.of = of
        return made

    def __getnewargs__(self) -> tuple[tuple[T_co, ...], type]:
        return tuple(self), self.of

    def _repr_html_(self) -> str:
        return html(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": text(self)}

    def _sheet(self) -> Sheet:
        from headwater.consumers.sheets import sheet

        return sheet(self.of.__name__, self, self.of)

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`. Raises `Misconfigured` where pandas is missing."""
        from headwater.consumers.sheets import frame

        return frame(self._sheet())

    def to_arrow(self) -> Any:
        """A `pyarrow.Table`. Raises `Misconfigured` where pyarrow is missing."""
        from headwater.consumers.sheets import arrow

        return arrow(self._sheet())


# -- HTML -------------------------------------------------------------------------------


def html(answer: Any) -> str:
    """An answer as a piece of HTML."""
    from headwater.consumers.svg import svg

    if isinstance(answer, Tabular):
        notes = "".join(f"<p><small>{_escaped(note)}</small></p>" for note in _notes(answer))
        return f'<div class="headwater">{svg(answer)}{notes}</div>'  # type: ignore[arg-type]
    return f'<div class="headwater">{"".join(_value(answer))}</div>'


def _notes(graph: Any) -> list[str]:
    from headwater.consumers import column_drawing, drawing
    from headwater.consumers.answers import Graph

    return drawing.notes(graph) if isinstance(graph, Graph) else column_drawing.notes(graph)


def _value(value: Any) -> Iterator[str]:
    """A value in a cell: a table in the cell where it is an answer, some of them, or a mapping."""
    if is_dataclass(value) and not isinstance(value, type):
        yield from _pairs(
            [(f.name, _value(getattr(value, f.name))) for f in fields(value) if _says(value, f)]
        )
    elif isinstance(value, Mapping):
        # A facet may be of any depth and size: what is in it is JSON in a cell.
        yield from _pairs([(str(key), iter([_escaped(_plain(one))])) for key, one in value.items()])
    elif isinstance(value, tuple | list) and value and all(is_dataclass(one) for one in value):
        yield from _rows(value)
    elif isinstance(value, tuple | list):
        yield ", ".join(_escaped(_plain(one)) for one in value[:LONGEST_TABLE])
        yield from _more(len(value))
    else:
        yield _escaped(_plain(value))


def _says(answer: Any, field: Field[Any]) -> bool:
    value = getattr(answer, field.name)
    return value is not None and value != () and value != {}


def _pairs(pairs: Sequence[tuple[str, Iterator[str]]]) -> Iterator[str]:
    yield "<table>"
    for key, cell in pairs[:LONGEST_TABLE]:
        yield f'<tr><th style="text-align:left">{_escaped(key)}</th><td style="text-align:left">'
        yield from cell
        yield "</td></tr>"
    yield "</table>"
    yield from _more(len(pairs))


def _more(count: int) -> Iterator[str]:
    if count > LONGEST_TABLE:
        yield f"<p><small>and {count - LONGEST_TABLE:,} more</small></p>"


def _rows(answers: Sequence[Any]) -> Iterator[str]:
    names = [field.name for field in fields(answers[0])]
    yield f"<table><thead><tr>{''.join(f'<th>{_escaped(name)}</th>' for name in names)}</tr></thead><tbody>"
    for answer in answers[:LONGEST_TABLE]:
        cells = (_escaped(_short(getattr(answer, name))) for name in names)
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</tbody></table>"
    yield from _more(len(answers))


def _short(value: Any) -> str:
    """A value in a line of a table: what it is called, where it is an answer itself."""
    if not is_dataclass(value):
        return _plain(value)
    named = [getattr(value, name, None) for name in ("namespace", "name", "id")]
    return "/".join(str(name) for name in named if name) or _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return short_time(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float):
        return str(value)
    from headwater.consumers.answers import as_json

    return json.dumps(as_json(value), ensure_ascii=False, default=str)


def _escaped(text: str) -> str:
    from headwater.consumers.sheets import encodable

    cut = text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"
    return escape(printable(encodable(cut)))


# -- text -------------------------------------------------------------------------------


def text(answer: Any) -> str:
    """An answer as plain text, as the command line prints it."""
    from headwater.consumers import column_drawing, drawing
    from headwater.consumers.answers import Graph
    from headwater.consumers.columns import ColumnGraph
    from headwater.consumers.sheets import encodable

    if isinstance(answer, Graph):
        lines = drawing.tree(answer) + [[(note, "")] for note in drawing.notes(answer)]
    elif isinstance(answer, ColumnGraph):
        lines = column_drawing.tree(answer) + [[(note, "")] for note in column_drawing.notes(answer)]
    elif isinstance(answer, Listing):
        lines = [[(_line(one), "")] for one in answer[:LONGEST_TABLE]]
        if len(answer) > LONGEST_TABLE:
            lines.append([(f"and {len(answer) - LONGEST_TABLE:,} more", "")])
    else:
        told = ((f.name, _short(getattr(answer, f.name))) for f in fields(answer))
        lines = [[(printable(f"{name}: {_cut(value)}"), "")] for name, value in told if value]
    return encodable("\n".join("".join(piece for piece, _ in line) for line in lines))


def _line(answer: Any) -> str:
    cells = (_short(getattr(answer, field.name)) for field in fields(answer))
    return printable("  ".join(_cut(cell) for cell in cells if cell))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"
