"""The lineage tables as sets of plain tuples, as the reference fold gives them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from headwater.consumers import tables

Row: TypeAlias = tuple[Any, ...]

#: Columns that depend on where a record lay in the log, not on the set of events.
OF_THE_LOG = {"event": frozenset({"topic", "partition", "offset", "appended_at"})}

COVERED = tuple(table for table in tables.COVERED if table.name != "run_fold")


def columns(table: str) -> list[str]:
    """The columns of `table` that the reference gives, in their order."""
    return [c.name for c in tables.metadata.tables[table].columns if c.name not in OF_THE_LOG.get(table, ())]


@dataclass
class Tables:
    """Rows by table name, each a tuple in the order of `columns(table)`."""

    rows: dict[str, set[Row]] = field(default_factory=lambda: {table.name: set() for table in COVERED})
    refused: int = 0

    def add(self, table: str, **values: Any) -> None:
        expected = columns(table)
        if set(values) != set(expected):
            raise ValueError(f"{table}: {sorted(set(values) ^ set(expected))}")
        self.rows[table].add(tuple(values[name] for name in expected))

    def named(self, table: str) -> list[dict[str, Any]]:
        """The rows of `table` as dictionaries, in a stable order."""
        return [dict(zip(columns(table), row, strict=True)) for row in sorted(self.rows[table], key=repr)]
