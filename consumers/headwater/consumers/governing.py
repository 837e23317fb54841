"""Saying something about assets: tags, descriptions, owners, aliases, recalls.

    from headwater.consumers import Curation

    Curation(store="sqlite:///.headwater/lineage.db", log=".headwater/log", actor="ada").recall(
        "customers@9f2c", reason="wrong units"
    )

What is said is an event like any other: it goes into the log and stays there, and only from the
log into the store. In order:

    name looked up in the store     nothing is written for a name that nothing has
    event appended, flushed         crash here: said for good; `headwater consume` brings it in
    event folded into the store     the store is away, or another consumer reads it: the same

Folding touches the partition of this event alone and takes no other consumer's work away.
Who may say what is not its business: whoever can write the log can say anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, select
from sqlalchemy.exc import OperationalError

from headwater.consumers.answers import Ambiguous, Unknown
from headwater.consumers.asking import opened
from headwater.consumers.bringing_in import bring_in
from headwater.consumers.naming import NamedRun, find, id_text
from headwater.consumers.nearest import did_you_mean, nearest_of, offered
from headwater.consumers.recalls import Recalls, same_content
from headwater.consumers.store import Store
from headwater.consumers.tables import dataset, governance, run_output, version
from headwater.consumers.tag_registers import standing
from headwater.consumers.times import moment
from headwater.emitter import settings as settings_
from headwater.emitter.emitter import Receipt, Unconfirmed
from headwater.emitter.governing import state
from headwater.emitter.redaction import Redactor
from headwater.emitter.settings import Settings
from headwater.emitter.topic import is_topic
from headwater.schemas.errors import HeadwaterError, Misconfigured, Rejected, Retryable, shown
from headwater.schemas.events import (
    AssetAliased,
    AssetDescribed,
    AssetEvent,
    AssetOwned,
    AssetRecalled,
    AssetRef,
    AssetTagged,
    Owner,
)
from headwater.schemas.text import original, storable

Kind: TypeAlias = Literal["tag", "description", "ownership", "alias", "recall"]

#: Statements dated by a clock so far ahead of ours are told of.
AHEAD_US = 2_000_000
_LATEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Something was said, and is in the log for good; `in_store`: questions know of it already.

    `version` None: about the whole asset, or, with a `run_id`, about what that run wrote without naming
    a version. `values` are what was said, as it stands in the log (secrets taken out). `notes` are what
    whoever said it should know.
    """

    kind: Kind
    namespace: str
    name: str
    version: str | None
    run_id: str | None
    values: Mapping[str, Any]
    actor: str
    at: datetime
    event_id: str
    in_store: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What is spoken of, and under which ids the store knows it; `version_id` None: the whole asset."""

    ref: AssetRef
    datasets: tuple[bytes, ...]
    version_id: bytes | None

    @property
    def title(self) -> str:
        named = self.ref.version or self.ref.production
        return f"{self.ref.name}@{named}" if named else self.ref.name


#: A statement, and what whoever makes it should know.
_Said: TypeAlias = tuple[AssetEvent, tuple[str, ...]]


class Curation:
    """One who says things about assets, and where that is kept. For one thread.

    `actor` is who is named as saying it. `settings` (default: this process's) say what is redacted;
    `now` gives µs since 1970 UTC. Every method returns once the statement is durable, and raises
    `Unknown` and `Ambiguous` for names, `Rejected` for what cannot be said, `Retryable` and
    `Misconfigured` when the store or the log cannot be used; then nothing was said.
    """

    def __init__(
        self,
        store: str | Store,
        log: str | Path,
        *,
        actor: str,
        settings: Settings | None = None,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not actor.strip():
            raise Rejected("nobody is named as saying it", remedy="name the actor")
        if ":/" in str(log) and not is_topic(str(log)):
            raise Misconfigured(
                f"nothing can be said into {str(log).partition(':/')[0]}://…",
                remedy="name the folder of segments, or the topic, that steps write to: --log PATH",
            )
        self._store = store
        self._actor = actor
        self._settings = (settings_.load() if settings is None else settings).with_log(log)
        self._now = now
        self._sleep = sleep

    def tag(self, name: str, tags: Mapping[str, str | None]) -> Recorded:
        """Set these tags of an asset (or of one version); None takes one away, whoever set it."""
        if not tags or not all(tags):
            raise Rejected("a tag needs a key", remedy="write key=value")

        def said(connection: Connection) -> _Said:
            subject = _subject(connection, name)
            at, notes = self._time(connection, "tag", subject, tags)
            notes = (*_untagged(connection, subject, tags), *notes)
            return AssetTagged(time=at, asset=subject.ref, actor=self._actor, tags=dict(tags)), notes

        return self._record("tag", said)

    def describe(self, name: str, description: str) -> Recorded:
        """Say what an asset is; "" takes back what was said."""

        def said(connection: Connection) -> _Said:
            subject = _subject(connection, name)
            at, notes = self._time(connection, "description", subject)
            words = AssetDescribed(time=at, asset=subject.ref, actor=self._actor, description=description)
            return words, notes

        return self._record("description", said)

    def own(self, name: str, owners: Sequence[str], role: str | None = None) -> Recorded:
        """Say who answers for an asset: these and nobody else, in this `role` (MAINTAINER, …)."""
        if not all(owner.strip() for owner in owners):
            raise Rejected("an owner needs a name", remedy="write it as team:crm or user:ada")
        named = tuple(Owner(name=owner, role=role) for owner in dict.fromkeys(owners))

        def said(connection: Connection) -> _Said:
            subject = _subject(connection, name)
            at, notes = self._time(connection, "ownership", subject)
            return AssetOwned(time=at, asset=subject.ref, actor=self._actor, owners=named), notes

        return self._record("ownership", said)

    def alias(self, name: str, alias: str, *, remove: bool = False) -> Recorded:
        """Let `alias` point at a version, away from where it pointed; or take it away.

        Taking away needs no version; if one is named, the alias must point at it.
        """
        if not alias.strip() or "@" in alias:
            raise Rejected(f"{shown(alias)} is no alias", remedy="use a name without @, such as production")

        def said(connection: Connection) -> _Said:
            subject = _subject(connection, name)
            held = _pointing(connection, subject.datasets, alias)
            if remove:
                subject = _holder(connection, subject, held, alias)
            elif subject.version_id is None:
                raise _needs_version(connection, subject, "an alias points at one version")
            at, notes = self._time(connection, "alias", subject, (alias,))
            if held is not None and held != subject.version_id:
                notes = (f"{alias} pointed at {_title(connection, subject, held)} before", *notes)
            fact = AssetAliased(time=at, asset=subject.ref, actor=self._actor, alias=alias, removed=remove)
            return fact, notes

        return self._record("alias", said)

    def recall(self, name: str, reason: str, *, lift: bool = False, all_versions: bool = False) -> Recorded:
        """Say that a version must not be relied on, or with `lift` that it may be again.

        With `all_versions` the whole asset is meant, whatever was and will be written. A recall of the
        whole and one of a version are two, each lifted by itself.
        """
        if not reason.strip():
            raise Rejected("a recall needs a reason", remedy="say why: those who come later will ask")

        def said(connection: Connection) -> _Said:
            subject = _subject(connection, name)
            if all_versions:
                subject = _whole(subject)
            elif subject.version_id is None:
                raise _needs_version(connection, subject, "a recall is about one version (or --all-versions)")
            about = _of_recall(connection, subject, lift=lift)
            at, notes = self._time(connection, "recall", subject)
            fact = AssetRecalled(time=at, asset=subject.ref, actor=self._actor, reason=reason, lifted=lift)
            return fact, (*about, *notes)

        return self._record("recall", said)

    def _time(
        self, connection: Connection, kind: Kind, subject: _Subject, keys: Collection[str] = ("",)
    ) -> tuple[int, tuple[str, ...]]:
        """Now; or just after what was said of the same before, where that is dated later.

        The last word is the one with the greatest time, so what is said now must not be dated before
        what it answers, whichever clock that came from.
        """
        now = self._now()
        about: list[Any] = []
        # An alias is about the asset, whichever version it points at.
        if kind != "alias" and subject.version_id is None:
            about = [governance.c.version_id.is_(None)]
        elif kind != "alias" and subject.version_id is not None:
            about = [governance.c.version_id.in_(same_content(connection, subject.version_id))]
        query = select(governance.c.at, governance.c.actor).where(
            governance.c.dataset_id.in_(subject.datasets),
            governance.c.kind == kind,
            governance.c.key.in_([storable(key) for key in keys]),
            governance.c.at >= now,
            *about,
        )
        last = connection.execute(query.order_by(governance.c.at.desc()).limit(1)).first()
        if last is None:
            return now, ()
        if last.at - now < AHEAD_US:
            return last.at + 1, ()
        who, when = last.actor or "somebody", f"{moment(last.at):%Y-%m-%d %H:%M:%SZ}"
        return last.at + 1, (
            f"what {who} said of this is dated {when}, ahead of this clock; this is dated just after it",
        )

    # -- recording ------------------------------------------------------------------------

    def _record(self, kind: Kind, say: Callable[[Connection], _Said]) -> Recorded:
        """The effects, in order: look up, append, fold."""
        with self._opened() as store:
            with _looking(store) as connection:
                said, notes = say(connection)
            said = Redactor(self._settings.redact).redact(said)
            (receipt,), late = self._stated(said)
            in_store, problem = (
                bring_in(store, self._settings, said.time, receipt, self._sleep)
                if late is None
                else (False, late.message)
            )
        return Recorded(
            kind=kind,
            namespace=said.asset.namespace,
            name=said.asset.name,
            version=said.asset.version,
            run_id=said.asset.production,
            values=_values(said),
            actor=said.actor or "",
            at=moment(said.time),
            event_id=receipt.event_id,
            in_store=in_store,
            notes=(*notes, *([] if problem is None else [problem])),
        )

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        if isinstance(self._store, Store):
            yield self._store
        else:
            with opened(self._store) as store:
                yield store

    def _stated(self, said: AssetEvent) -> tuple[tuple[Receipt, ...], Unconfirmed | None]:
        """Where the statement is, and why it is only in the spool so far, where that is so."""
        try:
            return state([said], self._settings), None
        except Unconfirmed as late:
            return (late.receipt,), late


@contextmanager
def _looking(store: Store) -> Iterator[Connection]:
    try:
        with store.snapshot() as connection:
            yield connection
    except OperationalError as cause:
        raise Retryable(f"the store {store.url} did not answer: {cause.orig}") from cause


def _values(said: AssetEvent) -> dict[str, Any]:
    """What was said, without what every statement has."""
    common = {"time", "asset", "emission", "actor"}
    found = {field.name: getattr(said, field.name) for field in fields(said) if field.name not in common}
    if isinstance(said, AssetOwned):
        found["owners"] = [{"name": owner.name, "role": owner.role} for owner in said.owners]
    return found


# -- what is spoken of -------------------------------------------------------------------


def _subject(connection: Connection, text: str) -> _Subject:
    """What `text` names; an asset named alone is spoken of as a whole."""
    named = find(connection, text)
    if isinstance(named, NamedRun):
        raise Rejected(f"{shown(text)} is a run", remedy="name an asset or one of its versions")
    whole = _Subject(
        ref=AssetRef(namespace=original(named.namespace), name=original(named.name)),
        datasets=named.datasets,
        version_id=None,
    )
    if named.by == "asset" or named.production is None:
        return whole
    return _produced(connection, whole, run_output.c.production_id == named.production)


def _produced(connection: Connection, subject: _Subject, where: Any) -> _Subject:
    """The version that a production wrote, under the name it was written by."""
    row = connection.execute(
        select(
            dataset.c.namespace,
            dataset.c.name,
            run_output.c.version_id,
            run_output.c.run_id,
            run_output.c.versioned,
            version.c.version,
        )
        .join(dataset, dataset.c.dataset_id == run_output.c.dataset_id)
        .outerjoin(version, version.c.version_id == run_output.c.version_id)
        .where(where)
        .limit(1)
    ).one()
    ref = AssetRef(
        namespace=original(row.namespace),
        name=original(row.name),
        version=original(row.version) if row.versioned else None,
        production=None if row.versioned else id_text(row.run_id),
    )
    return replace(subject, ref=ref, version_id=row.version_id)


def _whole(subject: _Subject) -> _Subject:
    return replace(subject, ref=replace(subject.ref, version=None, production=None), version_id=None)


def _needs_version(connection: Connection, subject: _Subject, rule: str) -> HeadwaterError:
    """The refusal, with the last versions to choose from."""
    latest = connection.scalars(
        select(version.c.version)
        .join(run_output, run_output.c.version_id == version.c.version_id)
        .where(run_output.c.dataset_id.in_(subject.datasets), run_output.c.published_at.is_not(None))
        .order_by(run_output.c.published_at.desc(), run_output.c.version_id.desc())
        .limit(_LATEST)
    )
    name = subject.ref.name
    texts = tuple(f"{name}@{original(text)}" for text in dict.fromkeys(latest))
    if texts:
        return Ambiguous(f"{shown(name)} names no version: {rule}", texts)
    return Rejected(
        f"{shown(name)} names no version: {rule}", remedy=f"none has a name; name a run: {name}@RUN"
    )


def _untagged(connection: Connection, subject: _Subject, tags: Mapping[str, str | None]) -> Iterator[str]:
    """Of the tags to be taken away those that it does not have, with those that may have been meant."""
    removed = [key for key, value in tags.items() if value is None]
    if not removed:
        return
    said = select(governance.c.key).where(
        governance.c.dataset_id.in_(subject.datasets), governance.c.kind == "tag"
    )
    known = {original(key) for key in connection.scalars(said.distinct())}
    known |= {tag.key for tag in standing(connection, "dataset", subject.datasets)}
    for key in removed:
        if key not in known:
            near = did_you_mean(nearest_of(key, sorted(known)))
            yield f"it had no tag {shown(key)}{f': {near}' if near else ''}"


def _pointing(connection: Connection, datasets: Collection[bytes], alias: str) -> bytes | None:
    """The version that `alias` points at now."""
    last = connection.execute(
        select(governance.c.version_id, governance.c.withdrawn)
        .where(
            governance.c.dataset_id.in_(datasets),
            governance.c.kind == "alias",
            governance.c.key == storable(alias),
        )
        .order_by(governance.c.at.desc(), governance.c.event_id.desc())
        .limit(1)
    ).first()
    return None if last is None or last.withdrawn else last.version_id


def _holder(connection: Connection, subject: _Subject, held: bytes | None, alias: str) -> _Subject:
    """What `alias` is to be taken from: the version that it points at, if it is the one named."""
    if held is None:
        raise Unknown(
            f"{shown(subject.ref.name)} has no alias {shown(alias)}",
            remedy=offered(alias, _aliases(connection, subject), "its aliases")
            or f"`headwater show {subject.ref.name}` lists them",
        )
    if subject.version_id is not None and subject.version_id != held:
        raise Rejected(
            f"{alias} does not point at {subject.title}, but at {_title(connection, subject, held)}",
            remedy="name that version, or none",
        )
    return _of_version(connection, subject, held)


def _aliases(connection: Connection, subject: _Subject) -> list[str]:
    """The aliases that point at one of its versions."""
    said = select(governance.c.key).where(
        governance.c.dataset_id.in_(subject.datasets), governance.c.kind == "alias"
    )
    keys = sorted(original(key) for key in connection.scalars(said.distinct()))
    return [key for key in keys if _pointing(connection, subject.datasets, key) is not None]


def _of_version(connection: Connection, subject: _Subject, version_id: bytes) -> _Subject:
    text = connection.scalar(select(version.c.version).where(version.c.version_id == version_id))
    if text is None:
        return _produced(connection, subject, run_output.c.version_id == version_id)
    own = connection.execute(
        select(dataset.c.namespace, dataset.c.name)
        .join(version, version.c.dataset_id == dataset.c.dataset_id)
        .where(version.c.version_id == version_id)
    ).one()
    ref = AssetRef(namespace=original(own.namespace), name=original(own.name), version=original(text))
    return replace(subject, ref=ref, version_id=version_id)


def _title(connection: Connection, subject: _Subject, version_id: bytes) -> str:
    return _of_version(connection, subject, version_id).title


def _of_recall(connection: Connection, subject: _Subject, *, lift: bool) -> tuple[str, ...]:
    """What to know of the recalls that hold; raises `Unknown` when there is none to lift."""
    recalls = Recalls(connection)
    held = [
        r
        for r in recalls.of(subject.datasets[0], subject.version_id)
        if r.whole == (subject.version_id is None)
    ]
    others = [r for r in recalls.of(subject.datasets[0], subject.version_id) if r not in held]
    if lift and not held:
        whole = " by itself: the whole asset is (--all-versions)" if others else ""
        raise Unknown(
            f"{subject.title} is not recalled{whole}",
            remedy="if it was recalled just now, `headwater consume` brings that into the store",
        )
    if lift:
        return ("it stays recalled: the whole asset is",) if others else ()
    return tuple(
        f"{r.recall.actor or 'somebody'} recalled it before: {r.recall.reason or 'no reason given'}"
        for r in held
    )
