"""Inputs from files: read in the ways that there are, and accepted only when the digest is the recorded one.

How a file was read is not recorded, so each way that fits its name is tried; the version of what
comes out decides, so a wrong guess can only lead to a refusal. Models are not loaded: whatever
holds one executes code when it is opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.consumers.remaking.refusing import Refused
from headwater.emitter.assets import ASSET_TYPES, Asset, Dataset
from headwater.emitter.extractors import UNIDENTIFIED, fingerprint
from headwater.emitter.extractors.files import format_of

Way = Callable[[Path], Any]


def loaded(wanted: Mapping[str, Any]) -> Asset:
    """The input as an asset of its type, its content checked against the recorded version."""
    location, version, kind = wanted["location"], wanted["version"], wanted["type"] or "Dataset"
    path = Path(location)
    if not path.exists():
        raise Refused(
            what=f"the input {wanted['name']}",
            reason=f"there is no file {location}",
            remedy=f"restore it, or name a copy: --input {wanted['name']}=FILE",
        )
    found: list[str] = []
    for data in _readings(path, kind, wanted.get("library")):
        content = fingerprint(data, sampled=False, asset_type=kind)
        if content == version:
            return _as_asset(data, kind, wanted)
        if content != UNIDENTIFIED:
            found.append(content)
    raise _no_reading(wanted, path, kind, found)


def _as_asset(data: Any, kind: str, wanted: Mapping[str, Any]) -> Asset:
    cls = ASSET_TYPES.get(kind, Dataset)
    named = None if wanted["namespace"].partition(":")[0] == "file" else wanted["name"]
    return cls.create(data, named, location=wanted["location"])


def _no_reading(wanted: Mapping[str, Any], path: Path, kind: str, found: list[str]) -> Refused:
    what = f"the input {wanted['name']}"
    if not found:
        return Refused(
            what=what,
            reason=f"nothing here loads a {kind} from {path.name}",
            remedy="--from-sources runs the step that makes it",
        )
    return Refused(
        what=what,
        reason=(
            f"the content of {path} is not the recorded version {_short(wanted['version'])}: it reads as "
            f"{', '.join(map(_short, dict.fromkeys(found)))}"
        ),
        remedy="restore the file; if it was read with options, --from-sources runs the step that read it",
    )


def _short(version: str) -> str:
    form, _, digest = version.partition(":")
    return f"{form}:{digest[:8]}…" if digest else version


def _readings(path: Path, kind: str, library: str | None) -> Iterator[Any]:
    """What the file may have been read as, the likeliest first; what cannot be read so is passed over."""
    if kind != "Dataset" or path.is_dir():
        yield path
    name = format_of(path)
    for way in _ways(name, library):
        try:
            yield way(path)
        except Exception:  # noqa: BLE001 - another way may fit; that none does is told by the caller
            continue
    if kind == "Dataset" and not path.is_dir():
        yield path


def _ways(name: str | None, library: str | None) -> Iterator[Way]:
    for reader in (library, "pandas", "polars", "pyarrow", "numpy", "json"):
        way = _WAYS.get((reader or "", name or ""))
        if way is not None:
            yield way


def _pandas(function: str, **options: Any) -> Way:
    def read(path: Path) -> Any:
        import pandas

        return getattr(pandas, function)(path, **options)

    return read


def _polars(function: str) -> Way:
    def read(path: Path) -> Any:
        import polars

        return getattr(polars, function)(path)

    return read


def _arrow(module: str, function: str) -> Way:
    def read(path: Path) -> Any:
        import importlib

        return getattr(importlib.import_module(f"pyarrow.{module}"), function)(path)

    return read


def _array(path: Path) -> Any:
    import numpy

    return numpy.load(path, allow_pickle=False)


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _json_lines(path: Path) -> Any:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]


_WAYS: dict[tuple[str, str], Way] = {
    ("pandas", "csv"): _pandas("read_csv"),
    ("pandas", "parquet"): _pandas("read_parquet"),
    ("pandas", "jsonl"): _pandas("read_json", lines=True),
    ("pandas", "json"): _pandas("read_json"),
    ("polars", "csv"): _polars("read_csv"),
    ("polars", "parquet"): _polars("read_parquet"),
    ("polars", "jsonl"): _polars("read_ndjson"),
    ("pyarrow", "csv"): _arrow("csv", "read_csv"),
    ("pyarrow", "parquet"): _arrow("parquet", "read_table"),
    ("numpy", "npy"): _array,
    ("json", "json"): _json,
    ("json", "jsonl"): _json_lines,
}
