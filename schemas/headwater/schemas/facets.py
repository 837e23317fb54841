"""The facets that headwater writes: names, class names, schema URLs, and our own JSON Schemas.

A schema URL is a promise for ever: the file behind it is never edited, a change is a new
file under a new version, and `tests/contract/test_facets.py` holds the digest of each.
What a facet means is told in docs/reference/events.md.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import orjson

VERSION = "0.1.0"
PRODUCER = f"https://headwater.dev/python/{VERSION}"
PRODUCER_PREFIX = "https://headwater.dev/"
PREFIX = "headwater_"
SPECIFICATION = "https://openlineage.io/spec/2-0-2/OpenLineage.json"

Entity: TypeAlias = Literal["Run", "Job", "Dataset", "InputDataset", "OutputDataset"]

_OURS = "https://headwater.dev/spec/facets"
_STANDARD = "https://openlineage.io/spec/facets"


class Facet(NamedTuple):
    """A facet of ours: its name in an event, what it stands on, the version of its schema."""

    name: str
    entity: Entity
    version: str = "1-0-0"

    @property
    def class_name(self) -> str:
        """The name by OpenLineage's rule: prefix, name, entity, `Facet`."""
        return class_name(self.name, self.entity)

    @property
    def schema_id(self) -> str:
        """The `$id` of its schema."""
        return f"{_OURS}/{self.version}/{self.class_name}.json"

    @property
    def schema_url(self) -> str:
        """The `_schemaURL` that an event carries."""
        return f"{self.schema_id}#/$defs/{self.class_name}"


OURS: tuple[Facet, ...] = (
    Facet("headwater_emission", "Run"),
    Facet("headwater_emission", "Dataset"),
    Facet("headwater_root", "Run"),
    Facet("headwater_code", "Run"),
    Facet("headwater_environment", "Run"),
    Facet("headwater_failure", "Run"),
    Facet("headwater_adoption", "Run"),
    Facet("headwater_runClosed", "Run"),
    Facet("headwater_metricPoints", "Run"),
    Facet("headwater_lineage", "Run"),
    Facet("headwater_reproduction", "Run", "1-1-0"),
    Facet("headwater_asset", "Dataset"),
    Facet("headwater_columns", "Dataset"),
    Facet("headwater_consumption", "InputDataset"),
    Facet("headwater_input", "InputDataset"),
    Facet("headwater_output", "OutputDataset"),
    Facet("headwater_dataset", "Dataset"),
    Facet("headwater_model", "Dataset"),
    Facet("headwater_metrics", "Dataset"),
    Facet("headwater_artifact", "Dataset"),
    Facet("headwater_featureSet", "Dataset"),
    Facet("headwater_prompt", "Dataset"),
    Facet("headwater_tagging", "Dataset"),
    Facet("headwater_aliasing", "Dataset"),
    Facet("headwater_recall", "Dataset"),
    Facet("headwater_erasure", "Dataset"),
    Facet("headwater_describing", "Dataset"),
    Facet("headwater_owning", "Dataset"),
)

_BY_NAME = {(facet.name, facet.entity): facet for facet in OURS}

# Dataset facets of ours with a meaning of their own: none of them can be one of `Asset.details`.
RESERVED = frozenset(
    f"headwater_{name}"
    for name in (
        *("emission", "asset", "columns", "tagging", "aliasing", "recall", "erasure"),
        *("describing", "owning"),
    )
)


def standard(file: str, version: str, definition: str | None = None) -> dict[str, str]:
    """The base fields of a standard facet that we write."""
    url = f"{_STANDARD}/{version}/{file}.json#/$defs/{definition or file}"
    return {"_producer": PRODUCER, "_schemaURL": url}


def own(name: str, entity: Entity) -> dict[str, str]:
    """The base fields of a facet of ours; one without a schema yet gets the URL that its schema will have."""
    facet = _BY_NAME.get((name, entity)) or Facet(name, entity)
    return {"_producer": PRODUCER, "_schemaURL": facet.schema_url}


def class_name(name: str, entity: Entity) -> str:
    """`headwater_runClosed` on a Run is `HeadwaterRunClosedRunFacet`."""
    prefix, _, rest = name.partition("_")
    return f"{prefix[:1].upper()}{prefix[1:]}{rest[:1].upper()}{rest[1:]}{entity}Facet"


def load_schema(facet: Facet) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a facet of ours."""
    from importlib.resources import files  # 10 ms that a step never needs

    schema: dict[str, Any] = orjson.loads(
        (files("headwater.schemas") / "facets" / f"{facet.class_name}.json").read_bytes()
    )
    return schema
