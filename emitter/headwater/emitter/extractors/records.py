"""Tables made of plain Python: a dict of columns, a list of dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from headwater.emitter.extractors.columns import TableColumn, Vector
from headwater.emitter.extractors.extraction import library
from headwater.emitter.extractors.plain import column_type, name_of, vector_of
from headwater.emitter.extractors.tables import Table

MOST_KEYS = 10_000


def open_columns(data: Mapping[Any, Any]) -> Table | None:
    """A dict of columns of one length; None when it is something else."""
    if not data or not all(map(_is_column, data.values())):
        return None
    lengths = {len(values) for values in data.values()}
    if len(lengths) > 1:
        return None
    return Table(
        rows=lengths.pop(),
        columns=[_column(name, values) for name, values in data.items()],
        details=library("python", data, (len(next(iter(data.values()))), len(data))),
        thinned=lambda positions: _thinned(data, positions),
    )


def open_rows(data: Sequence[Any]) -> Table | None:
    """A list of dicts, its columns in order of first appearance over all rows; None when it is none."""
    names: dict[Any, None] = {}
    for row in data:
        if not isinstance(row, Mapping):
            return None
        names.update(dict.fromkeys(row))
        if len(names) > MOST_KEYS:
            return None
    return Table(
        rows=len(data),
        columns=[_row_column(data, name) for name in names],
        details=library("python", data, (len(data), len(names))),
        thinned=lambda positions: (
            open_rows([data[place] for place in positions]) or Table(rows=0, columns=[])
        ),
    )


def _is_column(values: Any) -> bool:
    if isinstance(values, (list, tuple, range)):
        return True
    return not isinstance(values, (str, bytes, Mapping)) and _single_column(values) is not None


def _single_column(values: Any) -> TableColumn | None:
    """The column that a framework's one-dimensional object is."""
    from headwater.emitter.extractors import registry

    row = registry.row_of(values)
    if row is None or row.asset_type != "Dataset" or getattr(values, "ndim", 1) != 1:
        return None
    if row.module == "numpy":
        from headwater.emitter.extractors import numpy_arrays

        return TableColumn(
            name=None, type=str(values.dtype), load=partial(numpy_arrays.column_vector, values)
        )
    opened = row.open(values)
    return opened.columns[0] if isinstance(opened, Table) and len(opened.columns) == 1 else None


def _column(name: Any, values: Any) -> TableColumn:
    single = None if isinstance(values, (list, tuple, range)) else _single_column(values)
    if single is not None:
        return TableColumn(name=name_of(name), type=single.type, load=single.load)
    return TableColumn(name=name_of(name), type=column_type(values), load=partial(vector_of, values))


def _row_column(data: Sequence[Any], name: Any) -> TableColumn:
    def load() -> Vector:
        return vector_of([row.get(name) for row in data])

    return TableColumn(name=name_of(name), type=column_type(row.get(name) for row in data), load=load)


def _thinned(data: Mapping[Any, Any], positions: Sequence[int]) -> Table:
    return open_columns({name: _taken(values, positions) for name, values in data.items()}) or Table(
        rows=0, columns=[]
    )


def _taken(values: Any, positions: Sequence[int]) -> Any:
    if isinstance(values, (list, tuple, range)):
        return [values[place] for place in positions]
    if hasattr(values, "iloc"):
        return values.iloc[list(positions)]
    return (
        values.take(list(positions))
        if type(values).__module__.startswith("pyarrow")
        else values[list(positions)]
    )
