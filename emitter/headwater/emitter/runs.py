"""Runs under way: what a step or a pipeline read, wrote and measured, told as it happens.

`pipeline` and `start_step` begin a run; its facts go out in the order in which they become
true: started, consumed, created, measured, ended. A run that another process began is
joined by its id or through the environment. How a run ends is the business of
`headwater.emitter.ending`; what an event looks like and where it goes is not decided here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, NamedTuple, Self, SupportsFloat, TypeAlias, TypeVar

from headwater.emitter import address, column_statements, emitter
from headwater.emitter.assets import ASSET_TYPES, Artifact, Asset, Metrics, Parents, Source
from headwater.emitter.context import activated, now_us, settings
from headwater.emitter.describing import NOTHING_SAID, Said, described, identity, located
from headwater.emitter.metrics import MetricBuffer
from headwater.emitter.places import identify
from headwater.emitter.report import guarded
from headwater.emitter.tracking import Known, Verification, tracker
from headwater.emitter.verification import fingerprint_of, same_version, still_as_recorded, version_of
from headwater.emitter.walking import asset_type
from headwater.schemas import events
from headwater.schemas.errors import Misconfigured
from headwater.schemas.events import AssetRef, ColumnSource, Run

log = logging.getLogger("headwater.emitter")

# Of so many versions read, and as many written, a run knows that it told them, and its end repeats them.
MAX_REPEATED = 10_000

K = TypeVar("K")
V = TypeVar("V")

_VersionKey: TypeAlias = tuple[str, str, str]


class _Stated(NamedTuple):
    """What was said of a version that its content does not tell."""

    tags: Mapping[str, str]
    properties: events.Properties
    owner: str | None
    description: str | None
    parents: tuple[AssetRef, ...] | None
    columns_from: Mapping[str, tuple[ColumnSource, ...]]
    previous_version: str | None

    @classmethod
    def of(cls, record: events.Asset) -> Self:
        return cls(*(getattr(record, field) for field in cls._fields))

    def and_then(self, later: _Stated) -> _Stated:
        """Both; where they differ, what was said later."""
        return _Stated(
            {**self.tags, **later.tags},
            {**self.properties, **later.properties},
            later.owner or self.owner,
            later.description or self.description,
            self.parents if later.parents is None else later.parents,
            {**self.columns_from, **later.columns_from},
            later.previous_version or self.previous_version,
        )


class LiveRun:
    """A run that this process adds facts to. Its methods may be called from several threads.

    None of them raises when recording fails, unless the profile is `regulated`.
    """

    def __init__(
        self,
        run: Run,
        *,
        parent: Run | None,
        root: Run | None,
        name: str,
        verify_inputs: Verification | None = None,
    ) -> None:
        self.run = run
        self.parent = parent
        self.root = root
        self.name = name
        self._verify = verify_inputs
        self._ended = False
        # Keyed by texts alone, so that setdefault is one atomic step for several threads.
        self._inputs: dict[tuple[str, str, str | None, str | None], tuple[AssetRef]] = {}
        self._outputs: dict[_VersionKey, tuple[AssetRef, _Stated]] = {}
        self._parents: dict[_VersionKey, tuple[AssetRef, ...]] = {}
        # By argument: what came in by it, and its columns where they are known.
        self._arguments: dict[str, tuple[AssetRef, tuple[str, ...]]] = {}
        self._left_out = 0
        self._unnamed = 0
        self._metrics = MetricBuffer()

    @property
    def id(self) -> str:
        """The run's UUID."""
        return self.run.id

    @property
    def project(self) -> str:
        """The namespace of the job, and of every asset that is named here."""
        return self.run.job.namespace

    @property
    def address(self) -> str:
        """`{namespace}/{name}/{run id}`, for another process."""
        return address.written(self.run)

    @property
    def scope(self) -> str:
        """The id of the run at the top, within which values are recognised by content."""
        return (self.root or self.run).id

    def environ(self) -> dict[str, str]:
        """The environment variables that put another process below this run."""
        return address.environ(self.run, self.root or self.run)

    # --- what was read ----------------------------------------------------------------------------

    def consume(self, source: Source, argument: str | None = None) -> AssetRef | None:
        """Records that the run read `source`: an asset, its address, a name, or a data object."""
        with guarded("consume"):
            ref = self.ref_of(source, argument or "input")
            self.consumed(ref, argument)
            if argument is not None:
                self.came_in(argument, ref, source)
            return ref
        return None

    def refs_of(self, sources: Parents) -> tuple[AssetRef, ...]:
        """The versions that `sources` stand for; raises `Misconfigured` for what stands for none."""
        several = [sources] if self._is_one(sources) or not isinstance(sources, Iterable) else list(sources)
        found = [self.ref_of(source, f"parents.{at}") for at, source in enumerate(several)]
        return tuple(dict.fromkeys(found))

    def _is_one(self, sources: object) -> bool:
        """Whether `sources` is itself a source: iterating a frame or a mapping gives the names in it."""
        if isinstance(sources, (Asset, AssetRef, str, os.PathLike, Mapping)) or self._known(sources):
            return True
        return not isinstance(sources, (list, tuple, AbstractSet)) and asset_type(sources) is not None

    def ref_of(self, source: Source, place: str) -> AssetRef:
        """The version that `source` stands for now, verified as the settings ask."""
        if isinstance(source, AssetRef):
            return source
        if isinstance(source, str):
            return _ref_of_text(source, self.project)
        ref = self.observed(source, place)
        if ref is None and isinstance(source, os.PathLike):
            physical = identify(os.path.abspath(os.fsdecode(source)))
            ref = AssetRef(namespace=physical.namespace, name=physical.name) if physical else None
        if ref is None:
            raise Misconfigured(
                f"{type(source).__qualname__} is no asset",
                remedy="wrap it with Dataset.create or Artifact.create",
            )
        return ref

    def observed(self, found: object, place: str, name: str | None = None) -> AssetRef | None:
        """What `found` was recorded as, or is recorded as from now on; None for what is no asset.

        A data object that nothing is known of is called `{step}.{place}`: its content is known,
        its origin is not.
        """
        if isinstance(found, Asset):
            known = tracker.recall(found)
            return found.ref if known is None else self._verified(known, found.data)
        known = self._known(found)
        if known is not None:
            # A dict, a list or a file was recognised by its content: it is as it was recorded.
            by_identity = not isinstance(found, (dict, list, os.PathLike))
            return self._verified(known, found) if by_identity else known.ref
        kind = None if isinstance(found, (dict, list)) else asset_type(found)
        return None if kind is None else self._first_seen(found, kind, name or f"{self.name}.{place}")

    def _first_seen(self, found: object, kind: str, name: str) -> AssetRef:
        place = located(found, NOTHING_SAID)
        namespace, name, _ = identity(self.project, None if place else name, place) or (
            self.project,
            name,
            (),
        )
        version = version_of(found, kind)
        ref = AssetRef(namespace=namespace, name=name, version=version, type=kind)
        record = events.Asset(namespace=namespace, name=name, version=version, type=kind)
        self.track(found, Known(ref, record, fingerprint_of(found, kind, self.verify_inputs)))
        return ref

    @property
    def verify_inputs(self) -> Verification:
        """How inputs are looked at for changes in place."""
        return self._verify or settings().verify_inputs  # type: ignore[return-value]

    def _verified(self, known: Known, data: object) -> AssetRef:
        mode = self.verify_inputs
        if mode == "off":
            return known.ref
        with tracker.verifying:
            if not still_as_recorded(known, data, mode):
                self._tell_change(known, data, mode)
            return known.ref

    def _tell_change(self, known: Known, data: object, mode: Verification) -> None:
        """A new version, made from the old one by a run of its own: by whom is not known.

        The place of the old version is not the new one's: the file was not written.
        """
        before = known.record
        record = described(
            data,
            asset_type=before.type,
            namespace=before.namespace,
            name=before.name,
            said=Said(parents=(known.ref,)),
        )
        record = replace(record, previous_version=before.version)
        from headwater.emitter.steps import own_step

        with own_step("changed_in_place", parent=self.parent, root=self.root, project=self.project) as run:
            known.ref = run.created(record)
        known.record, known.fingerprint = record, fingerprint_of(data, before.type, mode)

    def consumed(self, ref: AssetRef, argument: str | None) -> None:
        """Tells that the run read `ref`, the first time."""
        key = (ref.namespace, ref.name, ref.version, ref.production)
        first = (ref,)
        if self._noted(self._inputs, key, first) is first:
            self._emit(
                events.AssetConsumed(
                    time=now_us(),
                    run=self.run,
                    parent=self.parent,
                    root=self.root,
                    asset=ref,
                    argument=argument,
                )
            )

    # --- what was written -------------------------------------------------------------------------

    def produce(
        self,
        data: Any = None,
        name: str | None = None,
        *,
        type: type[Asset] | None = None,
        **said: Any,
    ) -> Asset:
        """Records that the run wrote `data` and returns the asset; `said` is what `Asset.create` takes.

        Without `type` it follows from the data. An asset made elsewhere is recorded as written
        again, by this run.
        """
        with activated(self):
            if isinstance(data, Asset) and name is None and not said:
                return (
                    data
                    if data.production == self.id
                    else self.record(data.__class__, data.record, data.data)
                )
            return _class_for(data, type).create(data, name, **said)

    def record(self, cls: type[Asset], record: events.Asset, data: Any) -> Any:
        """The asset of `record`, told and remembered by its object."""
        ref = None
        with guarded("produce"):
            ref = self.created(record)
        asset = cls(record=record, data=data, production=ref.production if ref else None)
        with guarded("track"):
            fingerprint = fingerprint_of(data, record.type, self.verify_inputs)
            self.track(asset, Known(asset.ref, record, fingerprint))
            self.track(data, tracker.recall(asset))
        return asset

    def handed_on(self, asset: Asset) -> AssetRef:
        """The version that a returned asset is: written by this run, or read by it and passed on."""
        ref = self.observed(asset, self.name) or asset.ref
        if ref.production != self.id:
            self.consumed(ref, None)
        return ref

    def record_object(self, data: object, kind: str, name: str, chosen: bool) -> AssetRef:
        """The version that a returned object is: unchanged and not named anew, what the run was given."""
        known = self._known(data)
        if known is not None and known.ref.production == self.id:
            if same_version(known.record.version, version_of(data, known.record.type)):
                return known.ref
            name = known.record.name  # its buffer was filled again: another version of the same asset
        namespace, name, links = identity(self.project, name, located(data, NOTHING_SAID)) or (
            self.project,
            name,
            (),
        )
        record = described(data, asset_type=kind, namespace=namespace, name=name, symlinks=links)
        if known is not None and known.ref.production != self.id:
            anew = chosen and known.ref.name != record.name
            if self._has_read(known.ref) and not anew and same_version(known.record.version, record.version):
                return known.ref
            if not isinstance(data, (dict, list)):
                # Kept elsewhere than in an argument, and read all the same. Equal content is no such proof.
                self.consumed(known.ref, None)
        ref = self.created(record)
        self.track(data, Known(ref, record, fingerprint_of(data, kind, self.verify_inputs)))
        return ref

    def _known(self, data: object) -> Known | None:
        if isinstance(data, (dict, list)):
            return tracker.recall(data) or tracker.recall_value(self.scope, data)
        return tracker.recall_file(data) if isinstance(data, os.PathLike) else tracker.recall(data)

    def _has_read(self, ref: AssetRef) -> bool:
        return (ref.namespace, ref.name, ref.version, ref.production) in self._inputs

    def track(self, data: object, known: Known | None) -> None:
        """Makes `data` recognisable as what is `known` of it."""
        if known is None or tracker.remember(data, known):
            return
        if isinstance(data, os.PathLike):
            tracker.remember_file(data, known)
        elif isinstance(data, (dict, list)) and data:
            version = known.record.version
            digest = version if version.startswith("json1:") else None
            tracker.remember_value(self.scope, data, known, digest)

    def created(self, record: events.Asset) -> AssetRef:
        """Tells that the run wrote `record`, after the stated parents that it had not read yet."""
        if record.columns_from:
            record = replace(record, parents=self._parents_with_columns(record))
        for parent in record.parents or ():
            self.consumed(parent, None)
        before = tracker.supersede(record.namespace, record.name, record.version)
        if before is not None and record.previous_version is None:
            record = replace(record, previous_version=before)
        key = (record.namespace, record.name, record.version)
        told = AssetRef(
            namespace=record.namespace, name=record.name, version=record.version, type=record.type
        )
        stated = _Stated.of(record)
        first = (told, stated)
        before_it = self._noted(self._outputs, key, first)
        # One entry says that parents were stated at all; more than there are outputs are not kept.
        if record.parents is not None and (key in self._outputs or not self._parents):
            stated_columns = {(s.namespace, s.name) for of in record.columns_from.values() for s in of}
            self._parents[key] = tuple(
                parent for parent in record.parents if (parent.namespace, parent.name) not in stated_columns
            )
        if before_it is first:
            self._tell_created(record)
        elif (both := before_it[1].and_then(stated)) != before_it[1]:
            self._outputs[key] = (told, both)
            self._tell_created(replace(record, **both._asdict()))
        return AssetRef(
            namespace=told.namespace,
            name=told.name,
            version=told.version,
            type=told.type,
            production=self.run.id,
        )

    def _parents_with_columns(self, record: events.Asset) -> tuple[AssetRef, ...]:
        """What the author stated, else all that was read; and what only its columns name.

        Statements of columns alone would have a reader take nothing else for upstream.
        """
        parents = record.parents
        if parents is None:
            parents = tuple(ref for (ref,) in list(self._inputs.values()) if ref.production != self.id)
        known = {(parent.namespace, parent.name) for parent in parents}
        named = dict.fromkeys((s.namespace, s.name) for of in record.columns_from.values() for s in of)
        unknown = (AssetRef(namespace=of, name=name) for of, name in named if (of, name) not in known)
        return (*parents, *unknown)

    def state_columns(self, record: events.Asset, said: Mapping[str, Mapping[str, tuple[str, ...]]]) -> None:
        """Tells from which columns those of an output of this run were made."""
        self.created(replace(record, columns_from=self.columns_of(record, said, may_be_unread=False)))

    def columns_of(
        self,
        record: events.Asset,
        said: Mapping[str, Mapping[str, tuple[str, ...]]],
        *,
        may_be_unread: bool,
    ) -> dict[str, tuple[ColumnSource, ...]]:
        """What was said of the columns of `record`, with the inputs that are meant."""
        column_statements.require_columns(record, said)
        return {
            column: tuple(
                dict.fromkeys(
                    source
                    for name, columns in inputs.items()
                    for source in column_statements.sources(
                        column, name, columns, *self._input_called(column, name, may_be_unread)
                    )
                )
            )
            for column, inputs in said.items()
        }

    def _input_called(self, column: str, name: str, may_be_unread: bool) -> tuple[AssetRef, tuple[str, ...]]:
        """The input that came in as the argument `name`, or is called so; and its columns, where known."""
        if name in self._arguments:
            return self._arguments[name]
        columns = dict(self._arguments.values())
        read = [ref for (ref,) in list(self._inputs.values())]
        for ref in read:
            if name in (ref.name, f"{ref.namespace}/{ref.name}"):
                return ref, columns.get(ref, ())
        if not may_be_unread and "://" not in name and not address.is_asset_address(name):
            raise column_statements.unread(
                column, name, list(dict.fromkeys([*self._arguments, *(ref.name for ref in read)]))
            )
        return _ref_of_text(name, self.project), ()

    def came_in(self, place: str, ref: AssetRef, found: object = None) -> None:
        """Keeps what the argument `place` was, for statements of columns."""
        known = None if found is None else self.record_of(found)
        self._arguments[place] = (ref, tuple(column.name for column in known.columns) if known else ())

    def record_of(self, found: object) -> events.Asset | None:
        """What an asset or a data object was last recorded as."""
        if isinstance(found, Asset):
            return found.record
        known = self._known(found)
        return None if known is None else known.record

    def _tell_created(self, record: events.Asset) -> None:
        self._emit(
            events.AssetCreated(time=now_us(), run=self.run, parent=self.parent, root=self.root, asset=record)
        )

    def _noted(self, told: dict[K, V], key: K, value: V) -> V:
        """What stands under `key`: `value` itself the first time, and always where there is no room."""
        if len(told) < MAX_REPEATED or key in told:
            return told.setdefault(key, value)
        self._left_out += 1
        return value

    def name_of_output(self) -> str:
        """The name of an asset that its author did not name: the step's, then `step.1`, `step.2`, …"""
        name = self.name if self._unnamed == 0 else f"{self.name}.{self._unnamed}"
        self._unnamed += 1
        return name

    # --- what was measured ------------------------------------------------------------------------

    def log_metric(self, key: str, value: SupportsFloat, step: int | None = None) -> None:
        """Records a number; without `step` it counts on from the last one of the same key."""
        with guarded("metric"):
            if self._metrics.add(str(key), float(value), step, now_us()) or self._ended:
                self._flush_metrics()

    def log_metrics(self, values: Mapping[str, SupportsFloat], step: int | None = None) -> None:
        """Records several numbers of one moment."""
        for key, value in values.items():
            self.log_metric(key, value, step)

    def _flush_metrics(self) -> None:
        while points := self._metrics.take():
            self._emit(
                events.MetricsLogged(
                    time=points[-1].time, run=self.run, parent=self.parent, root=self.root, points=points
                )
            )

    def _record_metrics(self) -> None:
        if latest := dict(self._metrics.latest):
            name = f"{self.name}.metrics"
            self.created(described(latest, asset_type=Metrics.type, namespace=self.project, name=name))

    def _emit(self, event: events.Event) -> None:
        emitter.current().emit(event)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"


def _ref_of_text(text: str, project: str) -> AssetRef:
    """An asset's address, a physical place, or a name within the project (its version is bound later)."""
    if address.is_asset_address(text):
        return address.asset_read(text)
    physical = identify(text) if "://" in text else None
    if physical is not None:
        return AssetRef(namespace=physical.namespace, name=physical.name)
    return AssetRef(namespace=project, name=text)


def _class_for(data: object, stated: type[Asset] | None) -> type[Asset]:
    return stated or ASSET_TYPES.get(asset_type(data) or "", Artifact)
