"""The command export, and the formats that it and others write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headwater.consumers.cli import NO
from headwater.consumers.cli.formats import chosen, sheet_bytes
from headwater.consumers.cli.moments import opened_lineage, with_time
from headwater.consumers.cli.output import json_option, json_text, say
from headwater.consumers.cli.places import Places, resolve, with_places

if TYPE_CHECKING:
    from headwater.consumers.answers import Graph
    from headwater.consumers.asking import Lineage
    from headwater.consumers.columns import ColumnGraph

Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = ("json", "csv", "parquet", "mermaid", "dot", "graphml", "openlineage")
LISTED_AS = ("table", "json", "csv", "parquet")
_SHEETS = ("csv", "parquet")
_SAID = 20


@click.command()
@click.argument("name")
@click.option("--up", is_flag=True, help="What it was made of (the default).")
@click.option("--down", is_flag=True, help="What it went into.")
@click.option("--depth", type=click.IntRange(min=0), help="At most this many steps away (default: all).")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20_000, show_default=True, help="At most this many nodes."
)
@click.option("--column", metavar="COLUMN", help="The lineage of this column (as NAME#COLUMN).")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="What to write.")
@click.option(
    "--output",
    metavar="PATH",
    default="-",
    show_default=True,
    help="The file to write; for csv and parquet a folder, of nodes and edges.",
)
@json_option
@with_time
@with_places
@click.pass_context
def export(
    ctx: click.Context,
    name: str,
    up: bool,
    down: bool,
    depth: int | None,
    limit: int,
    column: str | None,
    format_: str | None,
    output: str,
    as_json: bool,
    as_of: int | None,
    known_at: int | None,
    store: str | None,
    log: str | None,
    config: str | None,
) -> int:
    """Write a lineage to a file, for another program.

    NAME is what it is for `headwater lineage`. With `openlineage` it is the events themselves that are
    written: a line each, byte for byte as they stand in the log. What the log does not hold any more
    is named, and the exit code is 1.

    \b
    headwater export churn-model --format graphml --output churn.graphml
    headwater export churn-model --format parquet --output churn/
    headwater export churn-model --format openlineage > events.ndjson
    """
    if format_ is None and not as_json:
        raise click.UsageError(f"say what to write: --format {', '.join(FORMATS)}")
    format_ = chosen(ctx, as_json=as_json, format_=format_ or "json")
    asked = [direction for direction, wanted in (("up", up or not down), ("down", down)) if wanted]
    within: dict[str, Any] = {"depth": depth, "limit": limit, "as_of": moment_of(as_of)}
    with opened_lineage(ctx, store, log, config, known_at) as found:
        if format_ == "openlineage":
            if column is not None:
                raise click.UsageError("events are those of whole runs: leave out --column")
            return _events(found, name, asked, within, resolve(ctx, store, log, config), output)
        graphs = graphs_of(found, name, asked, column, within)
    write_graphs(graphs, format_, output)
    for graph in graphs.values():
        if graph.truncated:
            say(f"cut at {graph.truncated}: the lineage goes on (--{graph.truncated})")
    return 0


def moment_of(as_of: int | None) -> Any:
    """An aware datetime, as the Python interface takes it."""
    from headwater.consumers.details import instant

    return instant(as_of)


def graphs_of(
    found: Lineage, name: str, asked: Sequence[str], column: str | None, within: dict[str, Any]
) -> dict[str, Graph | ColumnGraph]:
    """By direction the lineage that `name` means: of a column, where it names one and nothing else."""
    if column is not None or ("#" in name and found.names_a_column(name, as_of=within.get("as_of"))):
        return {d: found.columns(name, d, column=column, **within) for d in asked}  # type: ignore[arg-type]
    return {d: found.lineage(name, d, **within) for d in asked}  # type: ignore[arg-type]


def write_graphs(graphs: dict[str, Any], format_: str, output: str) -> None:
    """Write graphs by direction, as `format_`, to the file or folder `output`."""
    from headwater.consumers.files import STDOUT, write

    if format_ == "json":
        write(output, [json_text(graphs).encode()])
    elif format_ not in _SHEETS:
        write(output, [f"{text_of(graphs, format_)}\n".encode()])
    elif output == STDOUT:
        raise click.UsageError(f"{format_} is two files, nodes and edges: name a folder with --output")
    else:
        from headwater.consumers.sheets import sheets

        for sheet in sheets(_merged(graphs)):
            write(Path(output) / f"{sheet.name}.{format_}", [sheet_bytes(sheet, format_)])


def text_of(graphs: dict[str, Any], format_: str) -> str:
    """Graphs by direction as one text: mermaid, dot or graphml."""
    from headwater.consumers import column_drawing, drawing
    from headwater.consumers.answers import Graph
    from headwater.consumers.graphml import graphml
    from headwater.consumers.sheets import encodable

    graph = _merged(graphs)
    if format_ == "graphml":
        return graphml(graph)
    if isinstance(graph, Graph):
        return encodable((drawing.mermaid if format_ == "mermaid" else drawing.dot)(graph))
    return encodable((column_drawing.mermaid if format_ == "mermaid" else column_drawing.dot)(graph))


def _merged(graphs: dict[str, Any]) -> Any:
    from headwater.consumers import column_drawing, drawing
    from headwater.consumers.answers import Graph

    found = list(graphs.values())
    return (drawing if isinstance(found[0], Graph) else column_drawing).merged(found)


def _events(
    found: Lineage, name: str, asked: Sequence[str], within: dict[str, Any], places: Places, output: str
) -> int:
    from headwater.consumers.exporting import Missing, read_back
    from headwater.consumers.files import replacing
    from headwater.consumers.log import open_log

    stand = found.events(name, asked, **within)  # type: ignore[arg-type]
    missing: list[Missing] = []
    with open_log(places.log, places.kafka) as log, replacing(output) as file:
        for value in read_back(log, stand.positions, missing):
            file.write(value + b"\n")
    if stand.truncated:
        say(f"cut at {stand.truncated}: the lineage goes on, and so do its events (--{stand.truncated})")
    for one in missing[:_SAID]:
        say(f"missing: event {one.event_id} at {one.place}, offset {one.offset}: {one.why}")
    if missing:
        say(f"{len(missing):,} of {len(stand.positions):,} events could not be read")
    return NO if missing else 0


# -- listings ---------------------------------------------------------------------------


def with_format(command: Command) -> Command:
    """The options --format and --output of a listing, as `format_` and `output`."""
    output = click.option(
        "--output", metavar="PATH", default="-", show_default=True, help="The file to write."
    )
    format_ = click.option(
        "--format",
        "format_",
        type=click.Choice(LISTED_AS),
        default="table",
        show_default=True,
        help="How to list it.",
    )
    return format_(output(command))


def write_listing(answer: dict[str, Any], of: type, format_: str, output: str) -> None:
    """Write a listing; `answer` is its JSON document: under the first key its lines, of the class `of`."""
    from headwater.consumers.files import STDOUT, write
    from headwater.consumers.sheets import sheet

    if format_ == "json":
        write(output, [json_text(answer).encode()])
        return
    if format_ == "parquet" and output == STDOUT:
        raise click.UsageError("parquet is not for reading: name a file with --output")
    name, listed = next(iter(answer.items()))
    if answer.get("more"):
        say(f"the first {len(listed):,}: there are more (--limit)")
    write(output, [sheet_bytes(sheet(name, listed, of), format_)])
