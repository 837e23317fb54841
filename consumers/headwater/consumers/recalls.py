"""Recalls: which versions must not be relied on.

A recall is about content: it holds for every production of those bytes, under every name of the
asset, until it is lifted. Of several statements about one version the last one holds; one about
the whole asset is another subject than one about a version of it. Recalls are few, so a question
reads all of them at once, by an index of their own.

What was made from recalled versions is the business of `headwater.consumers.descent`. Nothing here
writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, literal_column, select

from headwater.consumers import walk
from headwater.consumers.answers import Recall
from headwater.consumers.existence import existing, written
from headwater.consumers.naming import id_text
from headwater.consumers.tables import dataset, governance, run_output, version
from headwater.consumers.times import moment
from headwater.consumers.walk import Node, Origin, Production, Reader
from headwater.schemas import ids
from headwater.schemas.text import original


@dataclass(frozen=True, slots=True)
class Recalled:
    """A recall that holds, and what it is about: these versions (ids), or these datasets in whole."""

    recall: Recall
    datasets: tuple[bytes, ...]
    versions: frozenset[bytes]

    @property
    def whole(self) -> bool:
        return self.recall.whole

    def starts(self, connection: Connection, as_of: int | None, limit: int | None = None) -> list[Node]:
        """The nodes from which a walk down finds everything made from it; at most `limit` productions."""
        where = run_output.c.dataset_id.in_(self.datasets)
        if not self.whole:
            where = run_output.c.version_id.in_(self.versions)
        return [*_productions(connection, where, as_of, limit), *self._origins()]

    def _origins(self) -> Iterator[Origin]:
        """What was read of it though the log has nobody who wrote it."""
        for id in self.datasets:
            if self.whole:
                yield Origin(id, id, None, None, False)
            elif self.recall.version is not None:
                content = ids.version_id(id, self.recall.version)
                yield Origin(id + content, id, content, None, False)


class Recalls:
    """Every recall that holds (as of a time: that held then), newest first. Falsy when there is none."""

    def __init__(self, connection: Connection, as_of: int | None = None) -> None:
        self.standing = tuple(_standing(connection, as_of))
        self._whole = {id: held for held in self.standing if held.whole for id in held.datasets}
        self._versions = {id: held for held in self.standing for id in held.versions}
        self._place = {held.recall: place for place, held in enumerate(self.standing)}

    def __bool__(self) -> bool:
        return bool(self.standing)

    def of(self, dataset_id: bytes, version_id: bytes | None) -> tuple[Recalled, ...]:
        """The recalls that hold for this version: its own, then that of the whole asset."""
        own = None if version_id is None else self._versions.get(version_id)
        return tuple(held for held in (own, self._whole.get(dataset_id)) if held is not None)

    def count(self, dataset_id: bytes) -> int:
        """How many hold for this asset or versions of it."""
        return sum(dataset_id in held.datasets for held in self.standing)

    def hold_for(self, node: Node) -> bool:
        """Whether what stands at `node` is recalled; who read of a dropped asset read nothing of it."""
        if isinstance(node, Production) or (isinstance(node, Origin) and not node.dropped):
            return node.version_id in self._versions or node.dataset_id in self._whole
        return False

    def bits(self, node: Node) -> int:
        """The recalls that hold for what stands at `node`: a bit for each, at its place in `standing`."""
        if isinstance(node, Reader) or not self.hold_for(node):
            return 0
        return sum(1 << self._place[held.recall] for held in self.of(node.dataset_id, node.version_id))

    def told(self, bits: int, most: int) -> tuple[Recall, ...]:
        """The recalls that `bits` stand for, the newest `most` of them."""
        found = (held.recall for place, held in enumerate(self.standing) if bits >> place & 1)
        return tuple(islice(found, most))

    def starts(self, connection: Connection, as_of: int | None, limit: int) -> list[Node]:
        """As `Recalled.starts`, of all of them."""
        found: dict[bytes, Node] = {}
        for held in self.standing:
            found |= {node.id: node for node in held.starts(connection, as_of, limit)}
        return list(found.values())


def _productions(
    connection: Connection, where: ColumnElement[bool], as_of: int | None, limit: int | None = None
) -> list[Production]:
    query = (
        select(run_output.c.production_id)
        .where(where, existing(as_of), written())
        .order_by(run_output.c.published_at, run_output.c.production_id)
    )
    return walk.productions(connection, connection.scalars(query.limit(limit)), as_of)


def produced_by(connection: Connection, run: bytes, as_of: int | None = None) -> list[Production]:
    """Everything that a run wrote."""
    return _productions(connection, run_output.c.run_id == run, as_of)


def copies(connection: Connection, production: Production, as_of: int | None = None) -> list[Production]:
    """Every production of the same content, under all names of the asset, `production` among them."""
    if not production.versioned:
        return [production]
    versions = same_content(connection, production.version_id)
    return _productions(connection, run_output.c.version_id.in_(versions), as_of) or [production]


def same_content(connection: Connection, version_id: bytes) -> list[bytes]:
    """The ids of this version under all names of its asset; itself alone where no text names it."""
    member = dataset.alias("member")
    rows = connection.execute(
        select(version.c.version, member.c.dataset_id)
        .join(dataset, dataset.c.dataset_id == version.c.dataset_id)
        .join(member, member.c.group_id == dataset.c.group_id)
        .where(version.c.version_id == version_id)
    )
    return [ids.version_id(dataset_id, original(text)) for text, dataset_id in rows] or [version_id]


# -- reading the statements --------------------------------------------------------------


def _standing(connection: Connection, as_of: int | None) -> Iterator[Recalled]:
    """What was said last of each subject, where that was not a withdrawal; the newest first."""
    said: dict[tuple[bytes, Any], Any] = {}
    for row in connection.execute(_statements(as_of)):
        subject = row.version if row.version is not None else row.version_id
        said[row.group_id, subject] = row
    standing = [row for row in said.values() if not row.withdrawn]
    members = _members(connection, {row.group_id for row in standing})
    runs = _runs(connection, [r.version_id for r in standing if r.version is None and r.version_id])
    for row in sorted(standing, key=lambda row: (row.at, row.event_id), reverse=True):
        yield _recalled(row, members[row.group_id], runs.get(row.version_id))


def _statements(as_of: int | None) -> Any:
    query = (
        select(
            dataset.c.namespace,
            dataset.c.name,
            dataset.c.group_id,
            governance.c.version_id,
            version.c.version,
            governance.c.value,
            governance.c.withdrawn,
            governance.c.actor,
            governance.c.at,
            governance.c.event_id,
        )
        .join(dataset, dataset.c.dataset_id == governance.c.dataset_id)
        .outerjoin(version, version.c.version_id == governance.c.version_id)
        .where(governance.c.kind == literal_column("'recall'"))
        .order_by(governance.c.at, governance.c.event_id)
    )
    return query if as_of is None else query.where(governance.c.at <= as_of)


def _recalled(row: Any, members: Collection[bytes], run: bytes | None) -> Recalled:
    named = None if row.version is None else original(row.version)
    recall = Recall(
        namespace=original(row.namespace),
        name=original(row.name),
        version=named,
        run_id=None if run is None else id_text(run),
        whole=row.version_id is None,
        reason=None if row.value is None else original(row.value),
        actor=None if row.actor is None else original(row.actor),
        at=moment(row.at),
    )
    if row.version_id is None:
        return Recalled(recall, tuple(members), frozenset())
    versions = [row.version_id] if named is None else [ids.version_id(id, named) for id in members]
    return Recalled(recall, tuple(members), frozenset(versions))


def _members(connection: Connection, groups: Collection[bytes]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = defaultdict(list)
    query = select(dataset.c.group_id, dataset.c.dataset_id).where(dataset.c.group_id.in_(groups))
    for group, member in connection.execute(query.order_by(dataset.c.dataset_id)):
        found[group].append(member)
    return found


def _runs(connection: Connection, versions: Collection[bytes]) -> dict[bytes, bytes]:
    """Which run wrote what has no version."""
    query = select(run_output.c.version_id, run_output.c.run_id).where(run_output.c.version_id.in_(versions))
    return {row.version_id: row.run_id for row in connection.execute(query)} if versions else {}
