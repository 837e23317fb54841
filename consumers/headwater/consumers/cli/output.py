"""How commands print: lines with styles, tables, JSON.

On a terminal lines are coloured, and what is too wide for it goes on below; into a pipe they are whole
and plain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from headwater.consumers.drawing import PIPED_WIDTH, Line, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/reference/json.md).")


def console(*, stderr: bool = False) -> Console:
    """A console that neither wraps nor marks up what it is given."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def is_interactive() -> bool:
    """Whether a person is looking."""
    return sys.stdout.isatty()


def width() -> int:
    """The room for a line: the terminal's, or a generous one in a pipe."""
    return console().width if is_interactive() else PIPED_WIDTH


def print_lines(lines: Iterable[Line]) -> None:
    """Print styled lines."""
    if not is_interactive():
        for line in lines:
            sys.stdout.write("".join(text for text, _ in line).rstrip() + "\n")
        return
    from rich.text import Text

    from headwater.consumers.cli.fitting import wrapped

    terminal = console()
    for line in lines:
        for part in wrapped(line, terminal.width):
            text = Text.assemble(*part)
            text.rstrip()  # blanks beyond the edge would be a line of their own
            terminal.print(text)


def print_text(text: str) -> None:
    """Print plain text as it is."""
    sys.stdout.write(f"{text}\n")


def print_json(value: Any) -> None:
    """Print `value`, an answer or made of answers, as JSON."""
    sys.stdout.write(json_text(value))


def json_text(value: Any) -> str:
    """`value`, an answer or made of answers, as JSON."""
    import orjson

    from headwater.consumers.answers import as_json

    plain = as_json(value)
    try:
        return orjson.dumps(plain, option=orjson.OPT_INDENT_2, default=_spelled).decode() + "\n"
    except TypeError:
        # Half of a surrogate pair in a name: JSON can say it, in ASCII, but UTF-8 cannot.
        import json

        return json.dumps(plain, indent=2, default=_spelled) + "\n"


def _spelled(value: Any) -> Any:
    """What orjson leaves to us: integers beyond 64 bits, and mappings of other kinds."""
    return str(value)


def table(headers: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]]) -> list[Line]:
    """Aligned columns, two spaces apart, on a terminal as wide as it is; a cell may be (text, style)."""
    from rich.cells import cell_len

    cells = [[_cell(cell) for cell in row] for row in rows]
    if is_interactive():
        from headwater.consumers.cli.fitting import fitted

        if (narrow := fitted(headers, cells, width())) is not None:
            return narrow
    cells.insert(0, [(header, "bold") for header in headers])
    widths = [max(cell_len(row[at][0]) for row in cells) for at in range(len(headers))]
    return [
        [(text + " " * (widths[at] - cell_len(text) + 2), style) for at, (text, style) in enumerate(row)]
        for row in cells
    ]


def _cell(cell: str | tuple[str, str]) -> tuple[str, str]:
    text, style = (cell, "") if isinstance(cell, str) else cell
    return printable(text), style


def say(message: str) -> None:
    """Tell the person, not the pipe."""
    sys.stderr.write(f"{message}\n")


@contextmanager
def progress() -> Iterator[Progress | None]:
    """A progress display on standard error, or None when no one is looking."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        console=console(stderr=True),
        transient=True,
    ) as shown:
        yield shown
