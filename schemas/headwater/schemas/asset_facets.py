"""How assets look as OpenLineage datasets: a reference to one, and all that is known of one.

What a facet can hold is decided here; the events around the datasets are the business of
`headwater.schemas.rendering`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from headwater.schemas.events import Asset, AssetRef, Column, ColumnSource, Owner
from headwater.schemas.facets import own, standard

Document: TypeAlias = dict[str, Any]

TAG_SOURCE = "headwater"

_VERSION = standard("DatasetVersionDatasetFacet", "1-0-1")
_SCHEMA = standard("SchemaDatasetFacet", "1-2-0")
_COLUMN_LINEAGE = standard("ColumnLineageDatasetFacet", "1-2-0")
_STATISTICS = standard("OutputStatisticsOutputDatasetFacet", "1-0-2")
_METRICS = standard("DataQualityMetricsDatasetFacet", "1-0-0")
_STORAGE = standard("StorageDatasetFacet", "1-0-1")
_SOURCE = standard("DatasourceDatasetFacet", "1-0-1")
_TYPE = standard("DatasetTypeDatasetFacet", "1-0-1")
_SYMLINKS = standard("SymlinksDatasetFacet", "1-0-1")
_TAGS = standard("TagsDatasetFacet", "1-0-0")
_OWNERSHIP = standard("OwnershipDatasetFacet", "1-0-1")
_DOCUMENTATION = standard("DocumentationDatasetFacet", "1-1-0")
_COLUMNS = own("headwater_columns", "Dataset")
_ASSET = own("headwater_asset", "Dataset")
_INPUT = own("headwater_input", "InputDataset")
_OUTPUT = own("headwater_output", "OutputDataset")

_NUMBER = (float, int)
_STANDARD: dict[str, tuple[type, ...]] = {
    "nullCount": (int,),
    "distinctCount": (int,),
    "sum": _NUMBER,
    "count": _NUMBER,
    "min": _NUMBER,
    "max": _NUMBER,
    "quantiles": (dict,),
}
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*\Z")
_FILE_SCHEMES = frozenset(
    ("file", "s3", "s3a", "gs", "abfs", "abfss", "wasb", "wasbs", "hdfs", "http", "https")
)


def reference(asset: AssetRef) -> Document:
    """`asset` inside a facet of ours."""
    named = {"namespace": asset.namespace, "name": asset.name}
    if asset.version is not None:
        named["version"] = asset.version
    return named | _kept(asset)


def lineage_entry(output: Asset | AssetRef, parents: Sequence[AssetRef]) -> Document:
    """One target of the standard `lineage` facet, which knows datasets but no versions.

    A parent of which columns are stated is there with these alone: else all of it would be a source of
    every column.
    """
    columns_from = output.columns_from if isinstance(output, Asset) else {}
    stated = {(source.namespace, source.name) for found in columns_from.values() for source in found}
    sources = {(parent.namespace, parent.name) for parent in parents} - stated
    entry: Document = {
        "namespace": output.namespace,
        "name": output.name,
        "type": "DATASET",
        "inputs": [
            {"namespace": namespace, "name": name, "type": "DATASET"} for namespace, name in sorted(sources)
        ],
    }
    if columns_from:
        entry["fields"] = {
            column: {"inputs": [{**_input_field(source), "type": "DATASET"} for source in found]}
            for column, found in columns_from.items()
        }
    return entry


def _input_field(source: ColumnSource) -> Document:
    return {"namespace": source.namespace, "name": source.name, "field": source.column}


def input_dataset(asset: AssetRef) -> Document:
    """`asset` among an event's inputs; the production consumed is named with it."""
    return _named_again(asset, "inputFacets", "headwater_input", _INPUT)


def output_dataset(asset: AssetRef) -> Document:
    """`asset` among an event's outputs.

    It must not carry `headwater_asset`: that facet would replace, entirely, the full one of AssetCreated.
    """
    return _named_again(asset, "outputFacets", "headwater_output", _OUTPUT)


def _named_again(asset: AssetRef, place: str, name: str, facet: Document) -> Document:
    dataset: Document = {"namespace": asset.namespace, "name": asset.name}
    if asset.version is not None:
        dataset["facets"] = {"version": {**_VERSION, "datasetVersion": asset.version}}
    kept = _kept(asset)
    if kept:
        dataset[place] = {name: {**facet, **kept}}
    return dataset


def asset_dataset(asset: Asset) -> Document:
    """`asset` as the output of the event that created it, with all its facets."""
    facets: Document = {
        "version": {**_VERSION, "datasetVersion": asset.version},
        "datasetType": {**_TYPE, "datasetType": _dataset_type(asset)},
        "headwater_asset": _asset_facet(asset),
    }
    if asset.columns:
        facets["schema"] = {**_SCHEMA, "fields": [_field(column) for column in asset.columns]}
    if asset.columns_from:
        facets["columnLineage"] = {
            **_COLUMN_LINEAGE,
            "fields": {
                column: {"inputFields": [_input_field(source) for source in found]}
                for column, found in asset.columns_from.items()
            },
        }
    if asset.column_metrics:
        _add_column_metrics(facets, asset.column_metrics)
    if asset.location is not None or asset.format is not None:
        facets["storage"] = _storage(asset)
        if asset.location is not None:
            facets["dataSource"] = _data_source(asset.location)
    if asset.symlinks:
        facets["symlinks"] = {
            **_SYMLINKS,
            "identifiers": [
                {"namespace": link.namespace, "name": link.name, "type": link.type} for link in asset.symlinks
            ],
        }
    _describe(facets, asset)
    for name, fields in asset.details.items():
        facets[name] = own(name, "Dataset") | escaped(fields)
    dataset: Document = {"namespace": asset.namespace, "name": asset.name, "facets": facets}
    if asset.statistics is not None:
        dataset["outputFacets"] = {"outputStatistics": _statistics(asset)}
    return dataset


def escaped(fields: Mapping[str, Any]) -> Document:
    """`fields` for the top of a facet, where `_` begins OpenLineage's own names: ours get one `_` more."""
    return {f"_{key}" if key[:1] == "_" else key: value for key, value in fields.items()}


def _kept(asset: AssetRef) -> dict[str, str]:
    kept = {}
    if asset.type is not None:
        kept["assetType"] = asset.type
    if asset.production is not None:
        kept["productionRunId"] = asset.production
    return kept


def _asset_facet(asset: Asset) -> Document:
    facet: Document = {**_ASSET, "assetType": asset.type}
    if asset.previous_version is not None:
        facet["previousVersion"] = asset.previous_version
    if asset.location is not None:
        facet["location"] = asset.location
    if asset.format is not None:
        facet["format"] = asset.format
    if asset.extraction_error is not None:
        facet["extractionError"] = asset.extraction_error
    if asset.properties:
        facet["properties"] = dict(asset.properties)
    if asset.parents is not None:
        facet["parents"] = [reference(parent) for parent in asset.parents]
    return facet


def _add_column_metrics(facets: Document, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """The standard facet takes the numbers that it has names for, and its classes no others: ours does."""
    standard_metrics: Document = {}
    others: Document = {}
    for column, found in metrics.items():
        kept = {
            key: value for key, value in found.items() if key in _STANDARD and type(value) in _STANDARD[key]
        }
        standard_metrics[column] = kept
        if len(kept) < len(found):
            others[column] = {key: value for key, value in found.items() if key not in kept}
    facets["dataQualityMetrics"] = {**_METRICS, "columnMetrics": standard_metrics}
    if others:
        facets["headwater_columns"] = {**_COLUMNS, "columns": others}


def _describe(facets: Document, asset: Asset) -> None:
    if asset.tags:
        facets["tags"] = {
            **_TAGS,
            "tags": [{"key": key, "value": value, "source": TAG_SOURCE} for key, value in asset.tags.items()],
        }
    if asset.owner is not None:
        facets["ownership"] = ownership([Owner(name=asset.owner)])
    if asset.description is not None:
        facets["documentation"] = documentation(asset.description)


def documentation(description: str) -> Document:
    """The standard facet with what a dataset is."""
    return {**_DOCUMENTATION, "description": description}


def ownership(owners: Sequence[Owner]) -> Document:
    """The standard facet with who answers for a dataset."""
    listed = [{"name": o.name} if o.role is None else {"name": o.name, "type": o.role} for o in owners]
    return {**_OWNERSHIP, "owners": listed}


def _field(column: Column) -> Document:
    field: Document = {"name": column.name}
    if column.type is not None:
        field["type"] = column.type
    if column.description is not None:
        field["description"] = column.description
    if column.fields:
        field["fields"] = [_field(inner) for inner in column.fields]
    return field


def _statistics(asset: Asset) -> Document:
    facet: Document = {**_STATISTICS}
    statistics = asset.statistics
    if statistics is not None:
        for key, value in (
            ("rowCount", statistics.row_count),
            ("size", statistics.size),
            ("fileCount", statistics.file_count),
        ):
            if value is not None:
                facet[key] = value
    return facet


def _dataset_type(asset: Asset) -> str:
    if asset.type != "Dataset":
        return asset.type.upper()
    return "FILE" if asset.location is not None and _scheme(asset.location) in _FILE_SCHEMES else "TABLE"


def _scheme(location: str) -> str:
    scheme, separator, _ = location.partition("://")
    return scheme.lower() if separator else "file"


def _storage(asset: Asset) -> Document:
    layer = "memory" if asset.location is None else _scheme(asset.location)
    facet: Document = {**_STORAGE, "storageLayer": layer}
    if asset.format is not None:
        facet["fileFormat"] = asset.format
    return facet


def _data_source(location: str) -> Document:
    name, uri = _source(location)
    facet: Document = {**_SOURCE, "name": name}
    if uri is not None:
        facet["uri"] = uri
    return facet


@lru_cache(maxsize=256)
def _source(location: str) -> tuple[str, str | None]:
    """(name, URI) of the place; no URI where `location` is neither one nor an absolute path."""
    if _URI.match(location) and "://" in location:
        scheme, _, rest = location.partition("://")
        authority = rest.partition("/")[0]
        return f"{scheme}://{authority}" if authority else scheme, location
    if location.startswith("/"):
        from urllib.parse import quote  # 5 ms that most steps never need

        return "file", f"file://{quote(location, errors='backslashreplace')}"
    return _scheme(location), None
