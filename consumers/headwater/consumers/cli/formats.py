"""In which form a command writes its answer: as text, JSON, CSV, Parquet or a graph; to where.

@click.command()
@with_form()
@with_places
@click.pass_context
def command(ctx, …, form):
    …
    if not form.write(answer):
        print_lines(…)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from headwater.consumers.cli.output import json_option, json_text

if TYPE_CHECKING:
    from headwater.consumers.answers import Graph
    from headwater.consumers.sheets import Sheet

Command = TypeVar("Command", bound=Callable[..., Any])

TEXT = "text"
TABLES = ("csv", "parquet")
GRAPHS = ("mermaid", "dot", "graphml")
_STDOUT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What was asked for; `table` names one table of several."""

    format: str
    output: str
    table: str | None

    @property
    def is_graph(self) -> bool:
        return self.format in GRAPHS

    def write(self, answer: Any, document: Any = None) -> bool:
        """Write `answer`, unless a person wants to read it; `document` is its JSON, where that is another."""
        from headwater.consumers.files import write

        if self.format == TEXT:
            return False
        if self.format == "json":
            write(self.output, [json_text(answer if document is None else document).encode()])
        else:
            self._write_tables(answer)
        return True

    def write_graph(self, graph: Graph) -> None:
        """Write a graph as a drawing or as GraphML."""
        from headwater.consumers.cli.export import text_of
        from headwater.consumers.files import write

        write(self.output, [f"{text_of({graph.direction: graph}, self.format)}\n".encode()])

    def _write_tables(self, answer: Any) -> None:
        from headwater.consumers.answer_sheets import sheets_of
        from headwater.consumers.files import write

        found = {sheet.name: sheet for sheet in sheets_of(answer)}
        if self.table is not None and self.table not in found:
            raise click.BadParameter(f"{self.table!r} is none of {', '.join(found)}", param_hint="--table")
        if self.table is None and self.output == _STDOUT:
            raise click.UsageError(
                f"this is {len(found)} tables: name a folder with --output, or one of them with --table "
                f"({', '.join(found)})"
            )
        if self.table is None:
            for name, sheet in found.items():
                write(Path(self.output) / f"{name}.{self.format}", [sheet_bytes(sheet, self.format)])
        elif self.format == "parquet" and self.output == _STDOUT:
            raise click.UsageError("parquet is not for reading: name a file with --output")
        else:
            write(self.output, [sheet_bytes(found[self.table], self.format)])


def with_form(*graphs: str) -> Callable[[Command], Command]:
    """The options --format, --json, --output and --table, as `form`; `graphs` are further formats."""

    def decorated(command: Command) -> Command:
        @wraps(command)
        def called(
            *args: Any, as_json: bool, format_: str, output: str, table: str | None, **options: Any
        ) -> Any:
            wanted = chosen(click.get_current_context(), as_json=as_json, format_=format_)
            form = Form(format=wanted, output=output, table=table)
            if form.format == TEXT and output != _STDOUT:
                raise click.UsageError(f"what is --output to hold? --format {', '.join(formats[1:])}")
            if table is not None and form.format not in TABLES:
                raise click.UsageError("--table is one of --format csv or parquet")
            return command(*args, form=form, **options)

        formats = (TEXT, "json", *TABLES, *graphs)
        return _options(called, formats)  # type: ignore[return-value]

    return decorated


def _options(command: Callable[..., Any], formats: Sequence[str]) -> Callable[..., Any]:
    for option in (
        click.option("--table", metavar="TABLE", help="Of csv and parquet only this table, to one file."),
        click.option(
            "--output",
            metavar="PATH",
            default=_STDOUT,
            show_default=True,
            help="The file to write; for csv and parquet the folder, a file for each table.",
        ),
        json_option,
        click.option(
            "--format",
            "format_",
            type=click.Choice(formats),
            default=TEXT,
            show_default=True,
            help="How to write the answer.",
        ),
    ):
        command = option(command)
    return command


def chosen(ctx: click.Context, *, as_json: bool, format_: str) -> str:
    """The one format that was asked for; --json is one as well."""
    if not as_json:
        return format_
    if format_ != "json" and ctx.get_parameter_source("format_") is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"--json and --format {format_} are two formats: leave one out")
    return "json"


def sheet_bytes(sheet: Sheet, format_: str) -> bytes:
    """A table as the content of a file."""
    from headwater.consumers import sheets

    return sheets.csv_text(sheet).encode() if format_ == "csv" else sheets.parquet(sheet)
