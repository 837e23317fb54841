"""Assets: what steps hand to each other, as objects an author can name, tag and pass on.

An asset is immutable. Making one with `create` records it, in the run under way or, outside
of any, in a run of its own; nothing else has to be called. Its data stays the author's
own object: it is read once and neither copied nor kept anywhere but here.

Another type is another subclass: its name is the type's name in every event.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

from headwater.emitter import address
from headwater.emitter.column_statements import ColumnStatement, Sources, checked
from headwater.emitter.context import active_run
from headwater.emitter.describing import Said, described, identity, located, unidentified
from headwater.emitter.report import guarded
from headwater.schemas import events
from headwater.schemas.errors import Misconfigured
from headwater.schemas.events import AssetRef, Json, Statistics

# What may be named as a parent or as an input: an asset, its address, or any object known by itself.
Source: TypeAlias = "Asset | AssetRef | str | object"
# One of them, or several.
Parents: TypeAlias = "Source | Iterable[Source]"

ASSET_TYPES: dict[str, type[Asset]] = {}


@dataclass(frozen=True, eq=False, repr=False)
class Asset:
    """One version of a named thing, and the run that made this copy of it.

    `record` is the fact as it was recorded, `data` the author's object, `production` the id
    of the run that wrote it (None when nothing could be recorded).
    """

    type: ClassVar[str] = "Asset"

    record: events.Asset
    data: Any
    production: str | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.type = cls.__name__
        ASSET_TYPES[cls.type] = cls

    @classmethod
    def create(
        cls,
        data: Any = None,
        name: str | None = None,
        *,
        parents: Parents | None = None,
        columns_from: Sources | None = None,
        tags: Mapping[str, object] | None = None,
        owner: str | None = None,
        description: str | None = None,
        location: str | os.PathLike[str] | None = None,
        version: str | None = None,
        **properties: object,
    ) -> Self:
        """Records a version of the asset `name` that holds `data`.

        `parents` are what it was made from; without them that is everything the step read, and
        an empty list says that there is nothing upstream. `columns_from` says from which columns of which
        inputs its columns were made: `{"total": {"orders": ["price", "quantity"]}}`.
        `location` is where the bytes are; an asset without a name takes its name from there, or
        from the step it is made in. `version` replaces the content's digest, for content that
        cannot be read here. Properties that are no JSON are left out. Raises `Misconfigured` for an
        asset without data, location and version, and outside of a step for one without name and
        location.
        """
        return cls._create(
            data,
            name,
            parents=parents,
            columns_from=columns_from,
            tags=tags,
            owner=owner,
            description=description,
            location=location,
            version=version,
            properties=properties,
        )

    @classmethod
    def _create(
        cls,
        data: Any,
        name: str | None,
        *,
        parents: Parents | None,
        columns_from: Sources | None,
        tags: Mapping[str, object] | None,
        owner: str | None,
        description: str | None,
        location: str | os.PathLike[str] | None,
        version: str | None = None,
        properties: Mapping[str, object] | None,
    ) -> Self:
        if data is None and location is None and version is None:
            raise Misconfigured(
                f"{cls.type}.create was given no content", remedy="pass data, location or version"
            )
        if name is not None and not (isinstance(name, str) and name):
            raise Misconfigured(f"{name!r} is no name for an asset", remedy="pass a text that is not empty")
        said = Said(
            name=name,
            tags={str(key): str(value) for key, value in (tags or {}).items()},
            owner=owner,
            description=description,
            location=location,
            version=version,
            properties=properties or {},
        )
        columns = None if columns_from is None else checked(columns_from)
        made: Self = recorded(cls, data.data if isinstance(data, Asset) else data, said, parents, columns)
        return made

    @property
    def name(self) -> str:
        """The name, the same in every run and version."""
        return self.record.name

    @property
    def namespace(self) -> str:
        """The project of a named asset, else the namespace of its physical place."""
        return self.record.namespace

    @property
    def version(self) -> str:
        """The content: `{canonical form}:{sha256}`."""
        return self.record.version

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of this production."""
        return self.record.tags

    @property
    def properties(self) -> events.Properties:
        """Properties of this production, stated and extracted."""
        return self.record.properties

    @property
    def owner(self) -> str | None:
        """Who answers for it."""
        return self.record.owner

    @property
    def description(self) -> str | None:
        """What it is, for people."""
        return self.record.description

    @property
    def location(self) -> str | None:
        """Where the bytes are, without credentials."""
        return self.record.location

    @property
    def format(self) -> str | None:
        """How the data is laid out (`pandas`, `csv`, …), when known."""
        return self.record.format

    @property
    def parents(self) -> tuple[AssetRef, ...] | None:
        """The stated parents; None when the step's inputs are meant."""
        return self.record.parents

    @property
    def statistics(self) -> Statistics | None:
        """Rows, bytes and files, as far as known."""
        return self.record.statistics

    @property
    def ref(self) -> AssetRef:
        """This version and production, without data."""
        return AssetRef(
            namespace=self.namespace,
            name=self.name,
            version=self.version,
            type=self.record.type,
            production=self.production,
        )

    @property
    def address(self) -> str:
        """This version and production as text, to be named as an input in another process."""
        return address.asset_written(self.ref)

    def __repr__(self) -> str:
        return (
            f"{self.record.type}({self.name!r}, version={self.version[:18]!r}, namespace={self.namespace!r})"
        )


class Dataset(Asset):
    """Rows or arrays: a DataFrame, a numpy array, a dict of columns, a list of dicts, a file."""

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        parents: Parents | None = None,
        columns_from: Sources | None = None,
        tags: Mapping[str, object] | None = None,
        owner: str | None = None,
        description: str | None = None,
        properties: Mapping[str, object] | None = None,
        **options: Any,
    ) -> Self:
        """Reads a CSV file with pandas (`options` are `pandas.read_csv`'s) and records it with its place."""
        frame = _pandas("from_csv").read_csv(path, **options)
        return cls._create(
            frame,
            name,
            parents=parents,
            columns_from=columns_from,
            tags=tags,
            owner=owner,
            description=description,
            location=path if isinstance(path, (str, os.PathLike)) else None,
            properties=properties,
        )

    @classmethod
    def from_parquet(
        cls,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        parents: Parents | None = None,
        columns_from: Sources | None = None,
        tags: Mapping[str, object] | None = None,
        owner: str | None = None,
        description: str | None = None,
        properties: Mapping[str, object] | None = None,
        **options: Any,
    ) -> Self:
        """Reads a Parquet file, or a folder of them, with pandas and records it with its place."""
        frame = _pandas("from_parquet").read_parquet(path, **options)
        return cls._create(
            frame,
            name,
            parents=parents,
            columns_from=columns_from,
            tags=tags,
            owner=owner,
            description=description,
            location=path if isinstance(path, (str, os.PathLike)) else None,
            properties=properties,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.record.columns)

    @property
    def schema(self) -> tuple[events.Column, ...]:
        """The columns with their types."""
        return self.record.columns

    @property
    def num_rows(self) -> int | None:
        """How many rows there are, when that is known."""
        return self.record.statistics.row_count if self.record.statistics else None

    @property
    def column_metrics(self) -> Mapping[str, events.Properties]:
        """Per column: counts and, for numbers, aggregates."""
        return self.record.column_metrics


class Model(Asset):
    """Anything that was fitted. Of scikit-learn's estimators the parameters are known."""

    @property
    def details(self) -> events.Properties:
        """What is known of the model itself: framework, class, parameters, …"""
        return self.record.details.get("headwater_model", {})

    @property
    def parameters(self) -> Mapping[str, Json]:
        """The hyper-parameters, when the framework tells them."""
        stated = self.details.get("parameters")
        return stated if isinstance(stated, dict) else {}


class Metrics(Asset):
    """Named numbers that were measured."""

    @classmethod
    def create(
        cls,
        data: Mapping[str, object] | None = None,
        name: str | None = None,
        *,
        parents: Parents | None = None,
        columns_from: Sources | None = None,
        tags: Mapping[str, object] | None = None,
        owner: str | None = None,
        description: str | None = None,
        location: str | os.PathLike[str] | None = None,
        version: str | None = None,
        **properties: object,
    ) -> Self:
        """As `Asset.create`; without `data` the numbers among the keywords are the values.

        `Metrics.create(auc=0.93, f1=0.81, name="evaluation")` is `Metrics.create({"auc": …, "f1": …}, …)`.
        """
        if data is None:
            data = {key: value for key, value in properties.items() if _is_number(value)}
            properties = {key: value for key, value in properties.items() if key not in data}
        return super().create(
            data,
            name,
            parents=parents,
            columns_from=columns_from,
            tags=tags,
            owner=owner,
            description=description,
            location=location,
            version=version,
            **properties,
        )

    @property
    def values(self) -> Mapping[str, float]:
        """The numbers by name; a copy."""
        return dict(self.data or {})

    def __getitem__(self, key: str) -> float:
        return self.values[key]


class Artifact(Asset):
    """A file, bytes, or any JSON value: whatever is none of the other types."""

    @property
    def path(self) -> Path | None:
        """The file, when the artifact is a local one."""
        place = self.location
        return Path(place) if place is not None and "://" not in place else None


def recorded(
    cls: type[Asset],
    data: Any,
    said: Said,
    parents: Parents | None = None,
    columns: ColumnStatement | None = None,
) -> Any:
    """The asset, recorded in the run under way or in one of its own; `said` is already checked."""
    from headwater.emitter.steps import recording

    location = None
    with guarded("location"):
        location = located(data, said)
    if said.name is None and location is None and active_run() is None:
        raise Misconfigured(
            f"a {cls.type} outside of a step has no name",
            remedy="pass name= or location=, or create it in a step",
        )
    with recording(said.name or cls.type.lower()) as run:
        namespace, name, symlinks = identity(run.project, said.name, location) or (
            run.project,
            run.name_of_output(),
            (),
        )
        if parents is not None:
            said = replace(said, parents=run.refs_of(parents))
        record = None
        with guarded("asset"):
            record = described(
                data, asset_type=cls.type, namespace=namespace, name=name, symlinks=symlinks, said=said
            )
        if record is None:
            record = events.Asset(
                namespace=namespace, name=name, version=said.version or unidentified(), type=cls.type
            )
        with guarded("columns"):
            if columns is not None and (stated := columns.of(name, 1)) is not None:
                found = run.columns_of(record, stated, may_be_unread=True)
                record = replace(record, columns_from=found)
        return run.record(cls, record, data)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) or (
        getattr(value, "shape", None) == () and hasattr(value, "__float__")
    )


def _pandas(caller: str) -> Any:
    try:
        import pandas
    except ImportError as error:
        raise Misconfigured(
            f"Dataset.{caller} reads with pandas, which is not installed",
            remedy="pip install pandas, or read the file yourself and pass the object to Dataset.create",
        ) from error
    return pandas
