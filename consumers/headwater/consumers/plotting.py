"""Curves in a terminal: one panel for each metric, in braille dots, or in ASCII where there are none.

Every point is drawn, so where many share a column the column is filled from the least to the
greatest. What is no finite number breaks the line and is marked below the axis. Nothing here
asks a database or writes to a stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headwater.consumers.drawing import Line, printable
from headwater.consumers.metrics import Point, Series

HEIGHT = 8
_LEAST_WIDTH = 20
# Dots of a braille cell by column and row: U+2800 and these bits.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


@dataclass(frozen=True, slots=True)
class _Style:
    """How many dots a cell has, and what the frame is made of."""

    across: int
    down: int
    side: str
    corner: str
    floor: str
    mark: str
    is_braille: bool


_BRAILLE = _Style(2, 4, "│", "└", "─", "×", True)
_ASCII = _Style(1, 1, "|", "+", "-", "x", False)


def plot(series: Sequence[Series], width: int, *, ascii: bool = False, height: int = HEIGHT) -> list[Line]:
    """The curves, one below the other, at most `width` characters wide."""
    lines: list[Line] = []
    for one in series:
        lines += [[("", "")]] if lines else []
        lines += _Panel(one, width, height, _ASCII if ascii else _BRAILLE).lines()
    return lines


def number(value: float | None) -> str:
    """A value as it is shown: short, NaN for none."""
    return "NaN" if value is None else f"{value:.5g}"


def _is_finite(point: Point) -> bool:
    return point.value is not None and math.isfinite(point.value)


class _Panel:
    """One curve with its axes."""

    def __init__(self, series: Series, width: int, height: int, style: _Style) -> None:
        self._series = series
        self._style = style
        self._height = height
        values = [
            point.value for point in series.points if point.value is not None and math.isfinite(point.value)
        ]
        self._least, self._greatest = min(values, default=0.0), max(values, default=0.0)
        labels = (number(self._greatest), number(self._least)) if values else ("", "")
        self._margin = max(map(len, labels))
        self._labels = labels
        self._columns = max(_LEAST_WIDTH, width - self._margin - 2)
        steps = [point.step for point in series.points]
        self._first, self._last = min(steps), max(steps)
        self._cells = [[0] * self._columns for _ in range(height)]

    def lines(self) -> Iterator[Line]:
        yield [(printable(self._series.label), "bold"), (f"  {self._told()}", "dim")]
        self._draw()
        for row, cells in enumerate(self._cells):
            label = self._labels[0] if row == 0 else self._labels[1] if row == self._height - 1 else ""
            drawn = "".join(map(self._character, cells)).rstrip()
            yield [(f"{label:>{self._margin}} {self._style.side}", "dim"), (drawn, "cyan")]
        yield [(self._axis(), "dim")]
        yield [(self._steps(), "dim")]

    def _told(self) -> str:
        series = self._series
        told = [f"{series.total:,} point{'' if series.total == 1 else 's'}", f"last {number(series.last)}"]
        broken = [point for point in series.points if not _is_finite(point)]
        if broken:
            counted = series.not_numbers + sum(point.value is not None for point in broken)
            told.append(f"{counted:,} not finite ({self._style.mark})")
        return ", ".join(told)

    def _character(self, cell: int) -> str:
        if self._style.is_braille:
            return chr(0x2800 + cell) if cell else " "
        return "*" if cell else " "

    def _draw(self) -> None:
        before: tuple[int, int] | None = None
        for point in self._series.points:
            if not _is_finite(point):
                before = None
                continue
            here = self._across(point), self._down(point.value or 0.0)
            for x, y in _between(before or here, here):
                self._dot(x, y)
            before = here

    def _across(self, point: Point) -> int:
        dots = self._columns * self._style.across
        span = self._last - self._first
        return 0 if span == 0 else (point.step - self._first) * (dots - 1) // span

    def _down(self, value: float) -> int:
        dots = self._height * self._style.down
        # Halves first: the span of two doubles may be greater than any double.
        span = self._greatest / 2 - self._least / 2
        share = 0.5 if span == 0 else (value / 2 - self._least / 2) / span
        return round((1 - share) * (dots - 1))

    def _dot(self, x: int, y: int) -> None:
        style = self._style
        bit = _DOTS[x % 2][y % 4] if style.is_braille else 1
        self._cells[y // style.down][x // style.across] |= bit

    def _axis(self) -> str:
        floor = [self._style.floor] * self._columns
        for point in self._series.points:
            if not _is_finite(point):
                floor[self._across(point) // self._style.across] = self._style.mark
        return f"{'':>{self._margin}} {self._style.corner}{''.join(floor)}"

    def _steps(self) -> str:
        first, last = (self._label(place) for place in (0, -1))
        room = self._columns - len(first) - len(last)
        below = first if room < 1 or first == last else f"{first}{' ' * room}{last}"
        return f"{'':>{self._margin}}  {below}".rstrip()

    def _label(self, place: int) -> str:
        point = self._series.points[place]
        if point.run_id is None:
            return f"step {point.step}"
        return "" if point.at is None else point.at.strftime("%Y-%m-%d %H:%M:%SZ")


def _between(one: tuple[int, int], other: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The dots of a straight line, both ends included."""
    (x, y), (to_x, to_y) = one, other
    steps = max(abs(to_x - x), abs(to_y - y))
    for step in range(steps + 1):
        share = step / steps if steps else 0.0
        yield round(x + (to_x - x) * share), round(y + (to_y - y) * share)
