"""What an author says of columns: from which columns of which inputs each was made.

    {"total": {"orders": ["price", "quantity"]}}                  of the one output
    {"totals": {"total": {"orders": ["price", "quantity"]}}}      of several, by name

An input is named by the argument it came in by, by its asset's name, or by its place (`s3://…`).
What does not fit is refused with the column that it is about; whether that reaches the step is
the business of `headwater.emitter.report`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from headwater.schemas.errors import Misconfigured, shown
from headwater.schemas.events import Asset, AssetRef, ColumnSource

#: Column → input → the columns of it.
Sources: TypeAlias = Mapping[str, Mapping[str, str | Sequence[str]]]
#: As `Sources`; or that by the name of the output.
ColumnsFrom: TypeAlias = Mapping[str, Mapping[str, Any]]

_FORM = 'write columns_from={"total": {"orders": ["price", "quantity"]}}'
_NEAR = 3


@dataclass(frozen=True, slots=True)
class ColumnStatement:
    """A checked statement: column → input → columns, by output (None: of the only one)."""

    outputs: Mapping[str | None, Mapping[str, Mapping[str, tuple[str, ...]]]]

    def of(self, name: str, count: int) -> Mapping[str, Mapping[str, tuple[str, ...]]] | None:
        """What is said of the output `name` of `count`; raises where it is not said of which."""
        if None not in self.outputs:
            return self.outputs.get(name)
        if count > 1:
            column = next(iter(self.outputs[None]))
            raise Misconfigured(
                f"columns_from states {shown(column)}, and the step returned {count} outputs",
                remedy=f"say of which: columns_from={{{name!r}: {{{column!r}: …}}}}",
            )
        return self.outputs[None]


def checked(said: object) -> ColumnStatement:
    """`said` in one form; raises `Misconfigured` for what is no statement."""
    if not isinstance(said, Mapping) or not said:
        raise Misconfigured(f"columns_from is {shown(said)}", remedy=_FORM)
    if all(_is_of_columns(value) for value in said.values()):
        return ColumnStatement({str(output): _columns(columns) for output, columns in said.items()})
    return ColumnStatement({None: _columns(said)})


def _is_of_columns(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(inner, Mapping) for inner in value.values())


def _columns(said: Mapping[Any, Any]) -> dict[str, dict[str, tuple[str, ...]]]:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for column, inputs in said.items():
        if not isinstance(column, str) or not column:
            raise Misconfigured(f"columns_from names a column {shown(column)}", remedy=_FORM)
        if not isinstance(inputs, Mapping):
            raise Misconfigured(f"columns_from[{column!r}] is {shown(inputs)}", remedy=_FORM)
        found[column] = {str(source): _texts(column, source, names) for source, names in inputs.items()}
    return found


def _texts(column: str, source: object, names: object) -> tuple[str, ...]:
    several = [names] if isinstance(names, str) else names
    if (
        not isinstance(several, (list, tuple, set, frozenset))
        or not several
        or not all(isinstance(name, str) and name for name in several)
    ):
        raise Misconfigured(
            f"columns_from[{column!r}][{source!r}] is {shown(names)}, and no columns", remedy=_FORM
        )
    return tuple(several) if isinstance(several, (list, tuple)) else tuple(sorted(several))


def require_columns(record: Asset, columns: Iterable[str]) -> None:
    """Raises where the output has columns, and not these."""
    known = [column.name for column in record.columns]
    for column in columns:
        if known and column not in known:
            raise Misconfigured(
                f"columns_from states {shown(column)}, and {shown(record.name)} has no such column",
                remedy=_nearest(column, known, "its columns"),
            )


def sources(
    column: str, name: str, columns: Sequence[str], ref: AssetRef, known: Sequence[str]
) -> tuple[ColumnSource, ...]:
    """`columns` of the input `ref`; raises where what is `known` of it has no such column."""
    for one in columns:
        if known and one not in known:
            raise Misconfigured(
                f"columns_from[{column!r}][{name!r}] names {shown(one)}, which is no column of it",
                remedy=_nearest(one, known, "its columns"),
            )
    return tuple(ColumnSource(namespace=ref.namespace, name=ref.name, column=one) for one in columns)


def unread(column: str, name: str, read: Sequence[str]) -> Misconfigured:
    """The refusal of an input that the step did not read."""
    return Misconfigured(
        f"columns_from[{column!r}] names {shown(name)}, which the step did not read",
        remedy=_nearest(name, read, "it read") if read else "it read nothing",
    )


def _nearest(wanted: str, known: Sequence[str], what: str) -> str:
    from difflib import get_close_matches  # only when something is wrong

    near = get_close_matches(wanted, known, n=_NEAR)
    return f"did you mean {' or '.join(map(shown, near))}?" if near else f"{what}: {', '.join(known[:12])}"
