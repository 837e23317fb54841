"""Where two contents differ, as far as what was recorded of both can tell.

A digest says that contents differ and not where. Columns and their types, counts, the numbers
of each column, the parameters of a model and the values of metrics stand beside it in the
events; the first of each that differ are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.consumers.recipes import RecipeOutput

#: Differences of one kind that are told; that there are more is said.
MOST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`what` of the asset differs: what was `recorded`, and what was `found` this time."""

    asset: str
    what: str
    recorded: Any
    found: Any

    def __str__(self) -> str:
        if self.recorded is None and self.found is None:
            return f"{self.asset}: {self.what}"
        return f"{self.asset}: {self.what}: {_told(self.recorded)} was recorded, {_told(self.found)} came out"


def differences(
    asset: str, recorded: RecipeOutput | None, made: Sequence[Mapping[str, Any]]
) -> Iterator[Difference]:
    """Where what was `made` under the asset's name differs from what was `recorded`."""
    if recorded is None or not made:
        found = [out["version"] for out in made]
        was = None if recorded is None else recorded.version
        yield Difference(asset=asset, what="the step did not write it", recorded=was, found=found or None)
        return
    out = made[-1]
    yield Difference(asset=asset, what="version", recorded=recorded.version, found=out["version"])
    told = list(_of_content(asset, recorded, out))
    yield from told
    if not told:
        what = "nothing else that was recorded of the content differs"
        yield Difference(asset=asset, what=what, recorded=None, found=None)


def _of_content(asset: str, recorded: RecipeOutput, out: Mapping[str, Any]) -> Iterator[Difference]:
    yield from _columns(asset, recorded.columns, [tuple(column) for column in out["columns"]])
    yield from _entries(asset, "", recorded.statistics, out["statistics"])
    columns = [name for name in recorded.metrics if name in out["metrics"]]
    for shown, name in enumerate(
        name for name in columns if not _same(recorded.metrics[name], out["metrics"][name])
    ):
        if shown == MOST:
            yield Difference(asset=asset, what="more columns differ", recorded=None, found=None)
            break
        yield from _entries(asset, f"column {name}: ", recorded.metrics[name], out["metrics"][name])
    for kind in ("model", "metrics"):
        yield from _entries(
            asset, f"{kind}: ", _flat(recorded.details.get(kind)), _flat(out["details"].get(kind))
        )


def _columns(
    asset: str, before: Sequence[tuple[str, Any]], now: Sequence[tuple[Any, ...]]
) -> Iterator[Difference]:
    was, found = dict(before), dict(now)
    gone, new = [name for name in was if name not in found], [name for name in found if name not in was]
    if gone or new:
        yield Difference(asset=asset, what="columns", recorded=gone[:MOST] or None, found=new[:MOST] or None)
    elif list(was) != list(found):
        yield Difference(
            asset=asset, what="order of the columns", recorded=list(was)[:MOST], found=list(found)[:MOST]
        )
    types = [name for name in was if name in found and was[name] != found[name]]
    for name in types[:MOST]:
        yield Difference(asset=asset, what=f"type of {name}", recorded=was[name], found=found[name])


def _entries(
    asset: str, place: str, was: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[Difference]:
    keys = [key for key in sorted({*was, *found}) if not _same(was.get(key), found.get(key))]
    # Quantiles follow from the rest, and are long: told where nothing else is.
    keys = [key for key in keys if key != "quantiles"] or keys
    for key in keys[:MOST]:
        yield Difference(asset=asset, what=f"{place}{key}", recorded=was.get(key), found=found.get(key))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def _same(one: Any, other: Any) -> bool:
    """Equality in which NaN, however it was written, is itself."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (_is_nan(one) and _is_nan(other))


def _is_nan(value: Any) -> bool:
    return value == "NaN" or (isinstance(value, float) and value != value)


def _told(value: Any) -> str:
    return (
        "nothing" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    )
