"""What a version went into: every asset that it is in, whether that is still in use, and by which way.

An impact starts at every production of the content asked for, under all names of its asset, since
what is wrong with bytes is wrong with every copy of them. It is told by asset, the ones that
matter first: models that an alias points at, other models, other assets with an alias, the rest.
Of what is walked, names and versions are looked up for what is told alone.

`recalled` asks the same of everything that is recalled. Nothing here writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from headwater.consumers import walk
from headwater.consumers.answers import Graph, Job, Recall
from headwater.consumers.details import Details, asset_type
from headwater.consumers.existence import document
from headwater.consumers.marks import MOST, Mark, Marks, of_several
from headwater.consumers.naming import NamedRun, find, id_text
from headwater.consumers.recalls import Recalled, Recalls, copies, produced_by
from headwater.consumers.shown import Shown
from headwater.consumers.statement_texts import spelled
from headwater.consumers.statements import Statements
from headwater.consumers.times import instant, moment
from headwater.consumers.walk import Node, Origin, Production, Reader, Walk
from headwater.schemas.ids import version_id
from headwater.schemas.text import original

DEFAULT_LIMIT = 100_000
#: Of a longer way only so many steps at each end are told.
WAY_ENDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One production on a way, and the job that wrote it.

    A way may begin with what nobody is known to have written: then it names neither production nor run.
    """

    namespace: str
    name: str
    version: str | None
    production_id: str | None
    run_id: str | None
    job: Job | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """An alias and the affected version that it points at; `production_id` is the last one of that."""

    alias: str
    version: str | None
    production_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """An asset that something asked for went into.

    `productions` of it did; `latest` is the last of them, published at `published_at`. `current`: what
    one reads of the asset now is one of them (None: nothing of it is published). `aliases` are those
    that point at one of them. `recalled`: `latest` is; `recalled_upstream`: something that it was made of
    is, what was asked for or another (None: that could not be found out within bounds), as `recalls` say.
    `way` is the shortest from a start (its first hop) to `latest`; of more
    than twice `WAY_ENDS` hops it has the first and the last, and `steps` counts all that lie between.
    """

    namespace: str
    name: str
    type: str | None
    productions: int
    latest: str
    version: str | None
    published_at: datetime | None
    current: bool | None
    aliases: tuple[Pointer, ...]
    recalled: bool
    recalled_upstream: bool | None
    recalls: tuple[Recall, ...]
    steps: int
    way: tuple[Hop, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """A job of which `runs` runs read assets that are affected (`read`) and wrote nothing of them.

    `last_run_id` is the latest of them, begun `last_at`.
    """

    job: Job | None
    runs: int
    last_run_id: str
    last_at: datetime
    read: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What an impact is of: a version of an asset; without one what a run wrote, or else all of the asset."""

    namespace: str | None
    name: str | None
    version: str | None
    run_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact(Shown):
    """Everything that something went into.

    `copies` productions of it were started from. `recalled`: one of them is; `recalled_upstream`: something
    that one of them was made of is (None: not known). `recalls` are those, the newest first.
    `productions` are affected in all. `truncated`: there are more than `limit`, so what is not among
    `assets` may be affected too.
    """

    of: Source
    copies: int
    recalled: bool
    recalled_upstream: bool | None
    recalls: tuple[Recall, ...]
    productions: int
    assets: tuple[Affected, ...]
    readers: tuple[Readers, ...]
    limit: int
    truncated: bool
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallImpacts(Shown):
    """The impact of every recall that nobody has lifted, the newest first; each is cut at `limit`."""

    recalls: tuple[Impact, ...]
    limit: int
    as_of: datetime | None = None


def impact(
    connection: Connection, text: str, *, limit: int = DEFAULT_LIMIT, as_of: int | None = None
) -> Impact:
    """What `text` (an asset's latest version, a version, a production, a run) went into."""
    named = find(connection, text, as_of)
    telling = _Telling(connection, as_of, limit)
    if isinstance(named, NamedRun):
        starts: Sequence[Node] = produced_by(connection, named.run, as_of)
        return telling.impact(starts, run=named.run)
    asset = (original(named.namespace), original(named.name))
    if named.production is None:
        return telling.impact([Origin(id, id, None, None, False) for id in named.datasets], named=asset)
    (own,) = walk.productions(connection, [named.production], as_of)
    starts = [own] if named.by == "production" else copies(connection, own, as_of)
    return telling.impact(starts, named=asset, of=own)


def recalled(
    connection: Connection, *, limit: int = DEFAULT_LIMIT, as_of: int | None = None
) -> RecallImpacts:
    """The impact of each recall that holds, the newest first; at most `limit` productions each."""
    telling = _Telling(connection, as_of, limit)
    found = tuple(telling.of_recall(held) for held in telling.marks.recalls.standing)
    return RecallImpacts(recalls=found, limit=limit, as_of=instant(as_of))


def graph(
    connection: Connection, text: str | None, *, limit: int = DEFAULT_LIMIT, as_of: int | None = None
) -> Graph:
    """Everything that `text` (None: whatever is recalled) went into, from every production of it on.

    What `impact` tells by asset, one by one, with what was made of what.
    """
    if text is not None:
        starts = _starts(connection, text, as_of)
    else:
        starts = Recalls(connection, as_of).starts(connection, as_of, limit + 1)
    begun = {node.id: node for node in starts}
    room = len(begun) + limit
    found = walk.downstream(connection, begun.values(), limit=room, as_of=as_of)
    return Details(connection, as_of, brief=True).graph(found, list(begun), None, room)


def _starts(connection: Connection, text: str, as_of: int | None) -> Sequence[Node]:
    """Every production of what `text` names."""
    named = find(connection, text, as_of)
    if isinstance(named, NamedRun):
        return produced_by(connection, named.run, as_of)
    if named.production is None:
        return [Origin(id, id, None, None, False) for id in named.datasets]
    (own,) = walk.productions(connection, [named.production], as_of)
    return [own] if named.by == "production" else copies(connection, own, as_of)


class _Telling:
    """Walks down and tells what was met."""

    def __init__(self, connection: Connection, as_of: int | None, limit: int) -> None:
        self._connection = connection
        self._statements = Statements(connection, as_of)
        self.marks = Marks(connection, as_of)
        self._as_of = as_of
        self._limit = limit

    def of_recall(self, held: Recalled) -> Impact:
        # One more than the limit tells whether there are more.
        starts = held.starts(self._connection, self._as_of, self._limit + 1)
        return self.impact(starts, recall=held.recall)

    def impact(
        self,
        starts: Sequence[Node],
        *,
        named: tuple[str, str] | None = None,
        of: Production | None = None,
        run: bytes | None = None,
        recall: Recall | None = None,
    ) -> Impact:
        """What `starts` went into; the rest says what they are."""
        written = [node for node in starts if isinstance(node, Production)]
        begun = {node.id for node in starts}
        found = walk.downstream(self._connection, starts, limit=len(begun) + self._limit, as_of=self._as_of)
        reached = [node for id, node in found.nodes.items() if id not in begun]
        productions = [node for node in reached if isinstance(node, Production)]
        return Impact(
            of=self._origin(named, of, run) if recall is None else _recalled_origin(recall),
            copies=len(written),
            **self._mark(starts, run, recall).fields(),
            productions=len(productions),
            assets=_Assets(self._statements, self.marks, found).told(productions),
            readers=self._readers(found, [node for node in reached if isinstance(node, Reader)]),
            limit=self._limit,
            truncated=found.truncated is not None or len(written) > self._limit,
            as_of=instant(self._as_of),
        )

    def _origin(self, named: tuple[str, str] | None, of: Production | None, run: bytes | None) -> Source:
        namespace, name = named or (None, None)
        if of is not None and not of.versioned:
            run = of.run_id
        texts = self._statements.versions([of.version_id]) if of is not None and of.versioned else []
        return Source(
            namespace=namespace,
            name=name,
            version=original(texts[0][1]) if texts else None,
            run_id=None if run is None else id_text(run),
        )

    def _mark(self, starts: Sequence[Node], run: bytes | None, recall: Recall | None) -> Mark:
        """That of what was asked for; the recall whose impact this is stands first."""
        if run is not None and not starts:
            return self.marks.of_runs([run])[run]
        mark = of_several(self.marks.of_nodes(starts).values())
        if recall is None:
            return mark
        others = tuple(other for other in mark.recalls if other != recall)
        return Mark(recalled=True, upstream=mark.upstream, recalls=(recall, *others)[:MOST])

    def _readers(self, found: Walk, readers: Sequence[Reader]) -> tuple[Readers, ...]:
        """The runs that only read, by job, the latest first."""
        ids = {reader.id for reader in readers}
        read: dict[bytes, set[bytes]] = defaultdict(set)
        for source, target in found.edges:
            if target in ids:
                read[target].add(_dataset(found.nodes[source]))
        names = _names(self._statements, {id for datasets in read.values() for id in datasets})
        by_job: dict[Job | None, list[tuple[int, bytes]]] = defaultdict(list)
        for run, first_at, job in _runs(self._statements, ids):
            by_job[job].append((first_at, run))
        told = []
        for job, runs in by_job.items():
            first_at, last = max(runs)
            assets = {"/".join(names[id]) for _, run in runs for id in read[run]}
            told.append(
                Readers(
                    job=job,
                    runs=len(runs),
                    last_run_id=id_text(last),
                    last_at=moment(first_at),
                    read=tuple(sorted(assets)),
                )
            )
        return tuple(sorted(told, key=lambda readers: (readers.last_at, readers.last_run_id), reverse=True))


class _Assets:
    """The productions of a walk down, told by asset."""

    def __init__(self, statements: Statements, marks: Marks, found: Walk) -> None:
        self._statements = statements
        self._marks = marks
        self._found = found
        self._before = _before(found)
        self._heads = _heads(found, self._before)

    def told(self, productions: Collection[Production]) -> tuple[Affected, ...]:
        groups = self._by_asset(productions)
        latest = {group: max(of_it, key=_published) for group, of_it in groups.items()}
        asked = [last.dataset_id for last in latest.values()]
        current = _current(self._statements, asked)
        types = _types(self._statements, asked)
        aliases = self._aliases(groups, latest)
        ways = {group: self._way(last.id) for group, last in latest.items()}
        hops = self._hops({id for way in ways.values() for id in way})
        marks = self._marks.of_nodes(latest.values())
        found = []
        for group, last in latest.items():
            own = hops[last.id]
            now = current.get(last.dataset_id)
            found.append(
                Affected(
                    namespace=own.namespace,
                    name=own.name,
                    type=types.get(last.dataset_id),
                    productions=len(groups[group]),
                    latest=id_text(last.id),
                    version=own.version,
                    published_at=instant(last.published_at),
                    current=None if now is None else any(p.id == now for p in groups[group]),
                    aliases=aliases[group],
                    **marks[last.id].fields(),
                    steps=self._found.depths[last.id],
                    way=tuple(hops[id] for id in ways[group]),
                )
            )
        return tuple(sorted(found, key=_weight))

    def _by_asset(self, productions: Collection[Production]) -> dict[bytes, list[Production]]:
        """By the group of names that an asset has."""
        datasets = {production.dataset_id for production in productions}
        group = {row[0]: row[1] for row in self._statements.ask(_GROUPS, datasets)}
        found: dict[bytes, list[Production]] = defaultdict(list)
        for production in productions:
            found[group[production.dataset_id]].append(production)
        return found

    def _aliases(
        self, groups: Mapping[bytes, list[Production]], latest: Mapping[bytes, Production]
    ) -> dict[bytes, tuple[Pointer, ...]]:
        """Of each asset the aliases that point at one of its productions here, as last said."""
        said: dict[tuple[bytes, str], tuple[bytes, bool]] = {}
        for asked, key, content, withdrawn in self._statements.ask(
            _ALIASES, [last.dataset_id for last in latest.values()]
        ):
            said[asked, key] = (content, bool(withdrawn))
        texts = _texts(self._statements, {content for content, _ in said.values()})
        pointing: dict[bytes, list[tuple[str, bytes]]] = defaultdict(list)
        for (asked, key), (content, withdrawn) in sorted(said.items()):
            if content is not None and not withdrawn:
                pointing[asked].append((key, content))
        return {
            group: tuple(self._pointers(pointing[last.dataset_id], groups[group], texts))
            for group, last in latest.items()
        }

    @staticmethod
    def _pointers(
        pointing: Iterable[tuple[str, bytes]], written: list[Production], texts: Mapping[bytes, str]
    ) -> Iterator[Pointer]:
        """Those of the aliases that point at something in `written`."""
        datasets = {production.dataset_id for production in written}
        for key, content in pointing:
            text = texts.get(content)
            # It may have been set under another name of the asset.
            meant = _under_any_name(content, text, datasets)
            if pointed_at := [production for production in written if production.version_id in meant]:
                yield Pointer(
                    alias=original(key),
                    version=None if text is None else original(text),
                    production_id=id_text(max(pointed_at, key=_published).id),
                )

    def _way(self, id: bytes) -> list[bytes]:
        """The nodes from a start to `id`; of a long way those at its ends."""
        steps, head = self._found.depths[id], self._heads[id]
        tail: list[bytes] = []
        while len(tail) < WAY_ENDS and len(head) + len(tail) <= steps:
            tail.append(id)
            id = self._before[id]
        return [*head[: steps + 1], *reversed(tail)]

    def _hops(self, ids: Collection[bytes]) -> dict[bytes, Hop]:
        """What stands on the ways that are told, named."""
        nodes = {id: self._found.nodes[id] for id in ids}
        names = _names(self._statements, {_dataset(node) for node in nodes.values()})
        contents = [node.version_id for node in nodes.values() if not isinstance(node, Reader)]
        texts = _texts(self._statements, contents)
        runs = {node.run_id for node in nodes.values() if isinstance(node, Production)}
        jobs = {run: job for run, _, job in _runs(self._statements, runs)}
        return {id: _hop(node, names, texts, jobs) for id, node in nodes.items()}


def _recalled_origin(recall: Recall) -> Source:
    return Source(namespace=recall.namespace, name=recall.name, version=recall.version, run_id=recall.run_id)


def _published(production: Production) -> tuple[int, bytes, bytes]:
    """The order of publications; what nobody inherits comes before all."""
    at = -(2**62) if production.published_at is None else production.published_at
    return at, production.version_id, production.id


def _weight(affected: Affected) -> tuple[bool, bool, bool, bool, str, str]:
    """What matters first."""
    model = (affected.type or "").upper() == "MODEL"
    return (
        not (model and affected.aliases),
        not model,
        not affected.aliases,
        not affected.current,
        affected.namespace,
        affected.name,
    )


def _before(found: Walk) -> dict[bytes, bytes]:
    """The node before each on a shortest way; of several the one with the least id."""
    before: dict[bytes, bytes] = {}
    depths = found.depths
    for source, target in found.edges:
        if depths[source] + 1 == depths[target]:
            held = before.get(target)
            if held is None or source < held:
                before[target] = source
    return before


def _heads(found: Walk, before: Mapping[bytes, bytes]) -> dict[bytes, tuple[bytes, ...]]:
    """How the way to each node begins; nodes on one way share what they have in common."""
    heads: dict[bytes, tuple[bytes, ...]] = {}
    for id in found.nodes:
        head = heads[before[id]] if id in before else ()
        heads[id] = head if len(head) == WAY_ENDS else (*head, id)
    return heads


def _dataset(node: Node) -> bytes:
    if isinstance(node, Reader):
        raise TypeError("a reader is of no dataset")
    return node.dataset_id


def _under_any_name(content: bytes, text: str | None, datasets: Iterable[bytes]) -> set[bytes]:
    if text is None:
        return {content}
    return {content, *(version_id(dataset, original(text)) for dataset in datasets)}


def _hop(
    node: Node,
    names: Mapping[bytes, tuple[str, str]],
    texts: Mapping[bytes, str],
    jobs: Mapping[bytes, Job | None],
) -> Hop:
    namespace, name = names[_dataset(node)]
    content = None if isinstance(node, Reader) or node.version_id is None else texts.get(node.version_id)
    run = node.run_id if isinstance(node, Production) else None
    return Hop(
        namespace=namespace,
        name=name,
        version=None if content is None else original(content),
        production_id=None if run is None else id_text(node.id),
        run_id=None if run is None else id_text(run),
        job=None if run is None else jobs.get(run),
    )


# -- statements: one for each kind of thing ------------------------------------------------

_GROUPS = spelled(
    "SELECT {d}, {g} FROM {w} CROSS JOIN dataset d WHERE d.dataset_id = w.id",
    {"d": "d.dataset_id", "g": "d.group_id"},
)
# What one reads of the asset now, under each of its names.
_CURRENT = spelled(
    """SELECT {asked}, c.published_at, {v}, {c}, c.lifecycle
FROM {w} CROSS JOIN dataset g CROSS JOIN dataset m CROSS JOIN run_output c
WHERE g.dataset_id = w.id AND m.group_id = g.group_id AND c.production_id = (
  SELECT o.production_id FROM run_output o
  WHERE o.dataset_id = m.dataset_id AND o.published_at <= {as_of}
  ORDER BY o.published_at DESC, o.version_id DESC, o.production_id DESC LIMIT 1)""",
    {"asked": "w.id", "v": "c.version_id", "c": "c.production_id"},
)
_ALIASES = spelled(
    """SELECT {asked}, s.key, {v}, s.withdrawn
FROM {w} CROSS JOIN dataset g CROSS JOIN dataset m CROSS JOIN governance s
WHERE g.dataset_id = w.id AND m.group_id = g.group_id
  AND s.dataset_id = m.dataset_id AND s.kind = 'alias' AND s.at <= {as_of}
ORDER BY s.at, s.event_id""",
    {"asked": "w.id", "v": "s.version_id"},
)
_TYPES = spelled(
    """SELECT {d}, f.name, CAST(f.body AS TEXT)
FROM {w} CROSS JOIN dataset_facet d CROSS JOIN facet f
WHERE d.dataset_id = w.id AND d.name IN ('headwater_asset', 'datasetType') AND f.facet_id = d.facet_id""",
    {"d": "d.dataset_id"},
)
_RUNS = spelled(
    """SELECT {r}, r.first_at, j.namespace, j.name
FROM {w} CROSS JOIN run r LEFT JOIN job j ON j.job_id = r.job_id WHERE r.run_id = w.id""",
    {"r": "r.run_id"},
)


def _current(statements: Statements, datasets: Collection[bytes]) -> dict[bytes, bytes]:
    """Of each dataset's asset the production published last, unless that says that it was dropped."""
    found: dict[bytes, tuple[int, bytes, bytes, str | None]] = {}
    for asked, at, content, production, lifecycle in statements.ask(_CURRENT, datasets):
        row = (at, content, production, lifecycle)
        if asked not in found or found[asked][:3] < row[:3]:
            found[asked] = row
    return {asked: row[2] for asked, row in found.items() if row[3] != "DROP"}


def _types(statements: Statements, datasets: Collection[bytes]) -> dict[bytes, str | None]:
    facets: dict[bytes, dict[str, Any]] = defaultdict(dict)
    for dataset, name, body in statements.ask(_TYPES, datasets):
        facets[dataset][name] = document(body)
    return {dataset: asset_type(found) for dataset, found in facets.items()}


def _texts(statements: Statements, versions: Iterable[bytes | None]) -> dict[bytes, str]:
    """What versions are called, as it is stored."""
    return dict(map(tuple, statements.versions({id for id in versions if id is not None})))


def _names(statements: Statements, datasets: Collection[bytes]) -> dict[bytes, tuple[str, str]]:
    return {id: (original(space), original(name)) for id, space, name in statements.names(datasets)}


def _runs(statements: Statements, runs: Collection[bytes]) -> Iterator[tuple[bytes, int, Job | None]]:
    """(run, its first event, its job) of each."""
    for run, first_at, namespace, name in statements.ask(_RUNS, runs):
        known = namespace is not None and name is not None
        yield run, first_at, Job(namespace=original(namespace), name=original(name)) if known else None
