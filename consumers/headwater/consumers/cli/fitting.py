"""How lines and tables fit a terminal: what is too wide goes on below; nothing is cut off.

A line goes on under its beginning, and a tree's branches go on with it. A table's cells get narrower,
the widest first: ids of runs as far as they can still be asked for, other cells by going on below;
states and marks keep their width. Where even that is too wide a row is told in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from headwater.consumers.drawing import Line, short_run

#: Narrower than this, a column of text is no longer one.
_LEAST_COLUMN = 14
_HANGING = "    "
_GAP = 2
#: Before the rows of a table that stands under a title.
_INDENT = "  "
#: A short piece, such as a mark or a time, is not torn apart.
_WHOLE = 24
_NAMES = ("ASSET", "NAME", "JOB")
_PREFIX = re.compile(r"[ │├└─]*")
_WORDS = re.compile(r"\s*\S+|\s+")
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Cell = tuple[str, str]


def wrapped(line: Line, room: int) -> list[Line]:
    """`line` as lines of at most `room` cells; a new line in it is one."""
    rows = _split(line)
    indent = _INDENT if rows[0] and rows[0][0] == (_INDENT, "") else ""
    found: list[Line] = []
    for place, row in enumerate(rows):
        found += _broken(row if place == 0 else [(indent, ""), *row], room)
    return found


def fitted(headers: Sequence[str], rows: Sequence[Sequence[Cell]], room: int) -> list[Line] | None:
    """A table's lines, one for each row with new lines in it; None where it fits as it is."""
    if sum(_widths([_heading(headers), *rows])) + _between(headers) <= room - len(_INDENT):
        return None
    cells = [_heading(headers), *([(_shorter(text), style) for text, style in row] for row in rows)]
    widths = _narrowed(headers, _widths(cells), room - len(_INDENT) - _between(headers))
    if widths is None:
        return [_told(headers, row) for row in cells]
    return [_row(row, widths) for row in cells]


def _heading(headers: Sequence[str]) -> list[Cell]:
    return [(header, "bold") for header in headers]


def _between(headers: Sequence[str]) -> int:
    return _GAP * (len(headers) - 1)


def _widths(cells: Sequence[Sequence[Cell]]) -> list[int]:
    return [max(_length(row[at][0]) for row in cells) for at in range(len(cells[0]))]


def _shorter(text: str) -> str:
    return _RUN_ID.sub(lambda found: short_run(found[0]), text)


def _narrowed(headers: Sequence[str], widths: Sequence[int], room: int) -> list[int] | None:
    """The widths with the widest narrowed until all is in `room`; None where that is too narrow."""
    last = len(headers) - 1
    keep = [header == "STATE" or (at == last and not header) for at, header in enumerate(headers)]
    for cap in range(max(widths), _LEAST_COLUMN - 1, -1):
        found = [wide if kept else min(wide, cap) for wide, kept in zip(widths, keep, strict=True)]
        if sum(found) <= room:
            return found
    return None


def _row(row: Sequence[Cell], widths: Sequence[int]) -> Line:
    """A row: each cell in its column, going on below where it is too long for it."""
    columns = [
        ["".join(text for text, _ in part) for part in _filled(_tokens([cell], wide), wide, wide)] or [""]
        for cell, wide in zip(row, widths, strict=True)
    ]
    line: Line = []
    for at in range(max(map(len, columns))):
        line += [("\n", "")] if at else []
        for parts, wide, (_, style) in zip(columns, widths, row, strict=True):
            text = parts[at].strip() if at < len(parts) else ""
            line.append((text + " " * (wide - _length(text) + _GAP), style))
    return line


def _told(headers: Sequence[str], row: Sequence[Cell]) -> Line:
    """A row that has no columns: its cells one after the other, a mark right behind the name."""
    cells = list(row)
    named = next((at for at, header in enumerate(headers) if header in _NAMES), None)
    if named is not None and not headers[-1]:
        cells.insert(named + 1, cells.pop())
    line: Line = []
    for text, style in cells:
        if text:
            line += [(" " * _GAP, "")] if line else []
            line.append((text, style))
    return line


def _split(line: Line) -> list[Line]:
    rows: list[Line] = [[]]
    for piece in line:
        if piece[0] == "\n":
            rows.append([])
        else:
            rows[-1].append(piece)
    return rows


def _broken(line: Line, room: int) -> list[Line]:
    text = "".join(piece for piece, _ in line).rstrip()
    if _length(text) <= room:
        return [line]
    found = _PREFIX.match(text)
    before = found[0] if found and len(found[0]) <= room // 2 else ""
    hanging = before.replace("├─", "│ ").replace("└─", "  ") + _HANGING
    hanging = hanging if len(hanging) < room - len(_HANGING) else ""
    first, *rest = _filled(_tokens(line, room // 2), room, room - len(hanging))
    return [first, *([(hanging, "dim"), *part] for part in rest)]


def _tokens(line: Iterable[Cell], room: int) -> Iterator[Cell]:
    """What a line may be broken between."""
    for text, style in line:
        if len(text) <= min(_WHOLE, room):
            yield text, style
        else:
            for word in _WORDS.findall(text):
                yield word, style


def _filled(tokens: Iterable[Cell], first: int, room: int) -> list[Line]:
    """Lines filled with `tokens`, a word that is longer than a line in pieces."""
    lines: list[Line] = [[]]
    left = first
    for text, style in tokens:
        if _length(text.rstrip()) > left and lines[-1]:
            lines.append([])
            left, text = room, text.lstrip()
        text = text if _length(text) <= left else text.rstrip()
        while _length(text) > left and text.strip():
            head = _head(text, left)
            lines[-1].append((head, style))
            lines.append([])
            text, left = text[len(head) :], room
        if text and (lines[-1] or text.strip() or len(lines) == 1):
            lines[-1].append((text, style))
            left -= _length(text)
    return [line for line in lines if line] or [[]]


def _head(text: str, room: int) -> str:
    """As much of `text` as there is room for, and at least a character."""
    end = 1
    while end < len(text) and _length(text[: end + 1]) <= room:
        end += 1
    return text[:end]


def _length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
