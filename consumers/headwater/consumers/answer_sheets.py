"""The tables of an answer: one rule for every class of answers, in Python, CSV and Parquet.

- `answer` is one row: every field that is a value or an answer itself.
- Every list of answers, and every mapping, is a table of its own, called as the field is.
- A list in the rows of such a table is a table too where it is what one came for (the points of a
  metric's series, the inputs of a recipe's steps); its first columns say whose they are.

Everything else that is nested is JSON text in its cell. A graph is its nodes and edges, a listing its
lines. The tables and their columns follow from the classes alone, so that an empty answer has the same.
How a row comes of an answer is the business of `headwater.consumers.sheets`.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from headwater.consumers.answers import Graph
from headwater.consumers.changed_inputs import ChangedInput
from headwater.consumers.columns import ColumnGraph
from headwater.consumers.differences import AssetChange
from headwater.consumers.impact import Impact
from headwater.consumers.metrics import Series
from headwater.consumers.notebook import Listing
from headwater.consumers.recipes import RecipeStep
from headwater.consumers.sheets import Column, Sheet, arrow, frame, sheet, sheets
from headwater.consumers.unstable_steps import UnstableStep

ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Inner:
    """Lists in the rows of a table that are tables too; `own` are the columns that say of which row."""

    lists: tuple[str, ...]
    own: Mapping[str, Callable[[Any], Any]]


_OF_ASSET = {"namespace": lambda row: row.namespace, "name": lambda row: row.name}
INNER: dict[type, Inner] = {
    Series: Inner(("points",), {"key": lambda series: series.key, "asset": lambda series: series.asset}),
    RecipeStep: Inner(("inputs", "outputs"), {"step_run_id": lambda step: step.run_id}),
    AssetChange: Inner(("drift",), _OF_ASSET),
    UnstableStep: Inner(("contents",), _OF_ASSET),
    ChangedInput: Inner(("changes",), _OF_ASSET),
    Impact: Inner(
        ("assets", "readers"),
        {
            "of_namespace": lambda impact: impact.of.namespace,
            "of_name": lambda impact: impact.of.name,
            "of_version": lambda impact: impact.of.version,
            "of_run_id": lambda impact: impact.of.run_id,
        },
    ),
}

Listed: TypeAlias = "tuple[str, type]"


def sheets_of(answer: Any) -> tuple[Sheet, ...]:
    """Every table of `answer`, by name; those of a class of answers are always the same."""
    if isinstance(answer, (Graph, ColumnGraph)):
        return sheets(answer)
    if isinstance(answer, Listing):
        return (sheet(answer.of.__name__, answer, answer.of),)
    of: type = type(answer)
    lists, mappings = _parts(of)
    tables = {name for name, _ in (*lists, *mappings)}
    found = [sheet(ANSWER, [answer], of, without=tables)]
    for name, row in lists:
        found += _of_list(name, getattr(answer, name), row)
    found += [_of_mapping(name, getattr(answer, name), value) for name, value in mappings]
    return tuple(found)


def names_of(of: type) -> tuple[str, ...]:
    """What the tables of a class of answers are called."""
    lists, mappings = _parts(of)
    listed = [each for name, row in lists for each in (name, *(INNER[row].lists if row in INNER else ()))]
    return (ANSWER, *listed, *(name for name, _ in mappings))


def frames(answer: Any, as_frame: Callable[[Sheet], Any] = frame) -> Any:
    """The tables of `answer` as data frames: the one that there is, or a named tuple of them."""
    found = sheets_of(answer)
    if len(found) == 1:
        return as_frame(found[0])
    return _named_tuple(tuple(one.name for one in found))(*map(as_frame, found))


def tables(answer: Any) -> Any:
    """As `frames`, with `pyarrow.Table`s."""
    return frames(answer, arrow)


@cache
def _named_tuple(names: tuple[str, ...]) -> Any:
    return namedtuple("Frames", names)


@cache
def _parts(of: type) -> tuple[tuple[Listed, ...], tuple[Listed, ...]]:
    """The fields that are lists of answers, with the class of these, and those that are mappings."""
    hints = get_type_hints(of)
    lists, mappings = [], []
    for name in (field.name for field in fields(of)):
        origin, inner = get_origin(hints[name]), get_args(hints[name])
        if origin is tuple and isinstance(inner[0], type) and hasattr(inner[0], "__dataclass_fields__"):
            lists.append((name, inner[0]))
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            mappings.append((name, inner[1]))
    return tuple(lists), tuple(mappings)


def _of_list(name: str, rows: Sequence[Any], of: type) -> Iterator[Sheet]:
    inner = INNER.get(of, Inner((), {}))
    yield sheet(name, rows, of, without=set(inner.lists))
    classes = dict(_parts(of)[0])
    own = tuple(Column(column, "text") for column in inner.own)
    for listed in inner.lists:
        within = [sheet(listed, getattr(row, listed), classes[listed]) for row in rows]
        columns = sheet(listed, (), classes[listed]).columns
        yield Sheet(
            name=listed,
            columns=(*own, *columns),
            rows=tuple(
                (*(get(row) for get in inner.own.values()), *cells)
                for row, found in zip(rows, within, strict=True)
                for cells in found.rows
            ),
        )


def _of_mapping(name: str, mapping: Mapping[str, Any], of: Any) -> Sheet:
    """A row for each key: with the columns of a class, or with the value as JSON."""
    values = sheet(name, tuple(mapping.values()), of)
    rows = ((str(key), *row) for key, row in zip(mapping, values.rows, strict=True))
    return Sheet(name=name, columns=(Column("key", "text"), *values.columns), rows=tuple(rows))
