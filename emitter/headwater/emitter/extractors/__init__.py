"""What an object is: its version, schema and statistics, read from the object itself.

    extract(data, asset_type=…)   everything known of it, as an `Extraction`; never raises
    asset_type_of(data)           what it is without being told, None if nothing by itself
    fingerprint(data, sampled=…)  text that changes when the object is changed in place

No framework is imported that the object did not bring; importing this package imports none.
Raw values stay out of metadata unless their column opted in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from headwater.emitter.extractors import registry
from headwater.emitter.extractors.documents import TABULAR
from headwater.emitter.extractors.extraction import Content, Extraction, told, unidentified

__all__ = ["UNIDENTIFIED", "Content", "Extraction", "asset_type_of", "extract", "fingerprint"]

# What `fingerprint` says of an object whose content cannot be read: it never looks changed.
UNIDENTIFIED = "unidentified"


def extract(data: object, *, asset_type: str, raw_values: Collection[str] = ()) -> Extraction:
    """What is known of `data` as an asset of `asset_type`; a failure is told in `error`, never raised.

    `raw_values` names the columns whose most frequent values may be told.
    """
    try:
        return _open(data, asset_type).extraction(raw_values)
    except Exception as error:  # noqa: BLE001 - foreign objects raise anything, and a step must go on
        return Extraction(version=unidentified(), error=told(error))


def asset_type_of(data: object) -> str | None:
    """`Dataset` for frames and arrays, `Model` for fitted estimators, None for what is no asset by itself."""
    row = registry.row_of(data)
    if row is None or row.asset_type != "Model":
        return None if row is None else row.asset_type
    from headwater.emitter.extractors.estimators import is_fitted

    return "Model" if not isinstance(data, type) and is_fitted(data) else None


def fingerprint(data: object, *, sampled: bool, asset_type: str = "Dataset") -> str:
    """Text that changes when `data` is changed in place.

    In full it is the version. Sampled, it costs a small part of that and may miss a change
    outside of the sampled rows of columns that hold no plain numbers.
    """
    try:
        content = _open(data, asset_type)
        return f"sampled:{content.sample()}" if sampled else content.version()
    except Exception:  # noqa: BLE001 - what cannot be read cannot be seen to change
        return UNIDENTIFIED


def _open(data: object, asset_type: str) -> Content:
    row = registry.MAPPINGS.get(asset_type) if isinstance(data, Mapping) else None
    row = row or registry.opener_of(data, tabular=asset_type in TABULAR, model=asset_type == "Model")
    return row.open(data)
