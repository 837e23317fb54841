"""What is known of an object's content, and how an extractor says it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from secrets import token_hex
from typing import Protocol

from headwater.schemas.canonical import opaque_version
from headwater.schemas.errors import HeadwaterError
from headwater.schemas.events import Column, Json, Properties, Statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What is known of an object's content; the fields that `headwater.schemas.events.Asset` takes over.

    `version` begins with `opaque1:` where the content could not be identified, and `error` then says why.
    """

    version: str
    columns: tuple[Column, ...] = ()
    statistics: Statistics | None = None
    column_metrics: Mapping[str, Properties] = field(default_factory=dict)
    format: str | None = None
    location: str | None = None
    details: Mapping[str, Properties] = field(default_factory=dict)
    properties: Properties = field(default_factory=dict)
    error: str | None = None


class Content(Protocol):
    """An object as one extractor reads it. Reads only; may raise whatever the object raises."""

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """Version and description; a part that fails is told in `error`, the rest stands."""

    def version(self) -> str:
        """The version alone, without the cost of the description; raises `Uncanonical`."""

    def sample(self) -> str:
        """Text that most changes in place would change, at a small part of the cost of `version`."""


def unidentified() -> str:
    """A version that equals no other: said where content has no canonical form."""
    return opaque_version(token_hex(32))


def library(name: str, data: object, shape: Sequence[int], **more: Json) -> dict[str, Properties]:
    """The `headwater_dataset` facet: what held the data in memory, and its shape."""
    kind = type(data)
    found: dict[str, Json] = {"library": name, "class": f"{kind.__module__}.{kind.__qualname__}"}
    version = getattr(sys.modules.get(name), "__version__", None)
    if isinstance(version, str):
        found["libraryVersion"] = version
    return {"headwater_dataset": {**found, "shape": [int(size) for size in shape], **more}}


def told(error: BaseException) -> str:
    """`error` as metadata may hold it: its kind and place, never its message, which may quote a value."""
    if isinstance(error, HeadwaterError):
        return str(error)
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return type(error).__qualname__
    return (
        f"{type(error).__qualname__} at {PurePath(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
    )
