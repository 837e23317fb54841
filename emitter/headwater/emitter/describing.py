"""Turns an object and what its author says of it into the fact of one asset version.

Names follow one rule: an explicit name belongs to the project, and a known physical
place becomes a symlink; without a name the physical name is the name. Content is
looked at by the extractors; when that fails the asset is recorded all the same, with
the reason, under a version that equals no other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.emitter import places
from headwater.emitter.context import settings
from headwater.emitter.parameters import parameters
from headwater.schemas import events
from headwater.schemas.events import AssetRef, Identifier

if TYPE_CHECKING:
    from headwater.emitter.extractors import Extraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the author says of an asset; everything is optional."""

    name: str | None = None
    parents: tuple[AssetRef, ...] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    description: str | None = None
    location: str | os.PathLike[str] | None = None
    version: str | None = None
    properties: Mapping[str, object] = field(default_factory=dict)


NOTHING_SAID = Said()


def located(data: object, said: Said) -> str | None:
    """Where the bytes are: as stated, or the path that the data is."""
    place = said.location if said.location is not None else data if isinstance(data, os.PathLike) else None
    return None if place is None else places.absolute(os.fsdecode(place))


def identity(
    project: str, name: str | None, location: str | None
) -> tuple[str, str, tuple[Identifier, ...]] | None:
    """Namespace, name and symlinks; None when there is neither a name nor a place to take it from."""
    physical = places.identify(location) if location else None
    if name is not None:
        return project, name, (physical,) if physical else ()
    return (physical.namespace, physical.name, ()) if physical else None


def described(
    data: object,
    *,
    asset_type: str,
    namespace: str,
    name: str,
    symlinks: tuple[Identifier, ...] = (),
    said: Said = NOTHING_SAID,
) -> events.Asset:
    """The fact of this version. Reads the whole content once, and never raises for what it finds there."""
    extraction = _extracted(data, asset_type, said)
    return events.Asset(
        namespace=namespace,
        name=name,
        version=said.version or extraction.version,
        type=asset_type,
        parents=said.parents,
        location=located(data, said) or extraction.location,
        format=extraction.format,
        columns=extraction.columns,
        statistics=extraction.statistics,
        column_metrics=extraction.column_metrics,
        tags=said.tags,
        properties={**extraction.properties, **parameters(said.properties)},
        owner=said.owner,
        description=said.description,
        symlinks=symlinks,
        details=extraction.details,
        extraction_error=extraction.error,
    )


def unidentified() -> str:
    """A version that equals no other, for content that could not be looked at."""
    from headwater.emitter.extractors.extraction import unidentified as new_version

    return new_version()


def _extracted(data: object, asset_type: str, said: Said) -> Extraction:
    from headwater.emitter.extractors import extract

    content = _content(data, said)
    if content is None:
        from headwater.emitter.extractors import Extraction

        return Extraction(version=said.version or unidentified(), error="no content was given")
    return extract(content, asset_type=asset_type, raw_values=settings().raw_values)


def _content(data: object, said: Said) -> object:
    """Without data the file at the location is the content; what lies elsewhere is not fetched."""
    if data is None and said.location is not None and "://" not in os.fsdecode(said.location):
        return Path(os.fsdecode(said.location))
    return data
