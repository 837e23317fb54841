"""Answers in a notebook: as tables and pictures that a cell shows by itself.

An answer that is `Shown` is HTML where there is a browser and text where there is a terminal; its
tables are those of `headwater.consumers.answer_sheets`. Every text of an event is escaped; a long
table is cut and says so. Nothing here imports IPython, and pandas and pyarrow only when they are
asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
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
    """An answer as a piece of HTML: a picture where it is a graph, else its tables."""
    from headwater.consumers.svg import svg

    if isinstance(answer, Tabular):
        notes = "".join(f"<p><small>{_escaped(note)}</small></p>" for note in _notes(answer))
        return f'<div class="headwater">{svg(answer)}{notes}</div>'  # type: ignore[arg-type]
    return f'<div class="headwater">{"".join(_tables(answer))}</div>'


def _notes(graph: Any) -> list[str]:
    from headwater.consumers import column_drawing, drawing
    from headwater.consumers.answers import Graph

    return drawing.notes(graph) if isinstance(graph, Graph) else column_drawing.notes(graph)


def _tables(answer: Any) -> Iterator[str]:
    """What is said once as pairs, and below it every table that has rows."""
    from headwater.consumers.answer_sheets import sheets_of

    found = sheets_of(answer)
    if isinstance(answer, Listing):
        yield from _rows(found[0]) if answer else ()
        return
    yield from _pairs(found[0])
    for sheet in found[1:]:
        if sheet.rows:
            yield f"<p><b>{_escaped(sheet.name)}</b></p>"
            yield from _rows(sheet)


def _pairs(sheet: Sheet) -> Iterator[str]:
    """The one row of a table, a line for each column that says something."""
    yield "<table>"
    for column, value in zip(sheet.columns, sheet.rows[0], strict=True):
        if value not in _NOTHING:
            yield f'<tr><th style="text-align:left">{_escaped(column.name)}</th>'
            yield f'<td style="text-align:left">{_escaped(_plain(value))}</td></tr>'
    yield "</table>"


#: What is not known, and empty lists and mappings as JSON.
_NOTHING = (None, "[]", "{}")


def _rows(sheet: Sheet) -> Iterator[str]:
    # What nobody said anything of only makes a table wide.
    said = [at for at in range(len(sheet.columns)) if any(row[at] not in _NOTHING for row in sheet.rows)]
    names = "".join(f"<th>{_escaped(sheet.columns[at].name)}</th>" for at in said)
    yield f"<table><thead><tr>{names}</tr></thead><tbody>"
    for row in sheet.rows[:LONGEST_TABLE]:
        yield f"<tr>{''.join(f'<td>{_escaped(_plain(row[at]))}</td>' for at in said)}</tr>"
    yield "</tbody></table>"
    if len(sheet.rows) > LONGEST_TABLE:
        yield f"<p><small>and {len(sheet.rows) - LONGEST_TABLE:,} more</small></p>"


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
