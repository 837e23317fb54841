"""Both sides of a comparison: what each was made of, and what of the one corresponds to what of the other.

A cone is everything upstream of the thing asked for. Steps correspond by job, assets by name
(names that are linked are one name); where a name comes more than once, what is the same on both
sides corresponds to itself, then what corresponding steps wrote, then equal content, then the
rest, each in the order of publication. What the differences mean is the business of
`headwater.consumers.causes`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import ColumnElement, Connection, select

from headwater.consumers import walk
from headwater.consumers.descent import BUDGETS
from headwater.consumers.details import Details
from headwater.consumers.marks import Mark, Marks
from headwater.consumers.naming import NamedAsset, NamedRun
from headwater.consumers.statements import Statements
from headwater.consumers.tables import dataset, run, run_output
from headwater.schemas.text import original

T = TypeVar("T")
Key: TypeAlias = Callable[[Any], Hashable]

#: Ids in one statement; a database takes only so many parameters.
CHUNK = 10_000
_NESTED = 64


class Item(NamedTuple):
    """A node of a cone: a production, an origin (`run_id` is None), or a run that wrote nothing."""

    id: bytes
    group: bytes
    dataset_id: bytes | None
    version: str | None
    run_id: bytes | None
    at: int | None

    @property
    def is_asset(self) -> bool:
        return self.dataset_id is not None


class Execution(NamedTuple):
    """A run of a cone. `facets` are the ids of its facets, concatenated."""

    id: bytes
    external_id: str | None
    job: tuple[str, str] | None
    parent_job: tuple[str, str] | None
    first_at: int
    facets: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cone:
    """One side: `starts` are the items asked for, `run` the run asked for when it was one."""

    starts: tuple[bytes, ...]
    run: bytes | None
    items: Mapping[bytes, Item]
    sources: Mapping[bytes, Sequence[bytes]]
    runs: Mapping[bytes, Execution]
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What corresponds; None where one side has nothing. `before`, `after`: the pairs it was made of."""

    a: Item | None
    b: Item | None
    before: set[int] = field(default_factory=set)
    after: set[int] = field(default_factory=set)

    @property
    def sources(self) -> set[int]:
        return self.before | self.after

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(item for item in (self.a, self.b) if item is not None)

    @property
    def is_asset(self) -> bool:
        return self.items[0].is_asset


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Both cones as one graph of pairs. `steps` are pairs of run ids; `targets` number what was asked for."""

    a: Cone
    b: Cone
    pairs: tuple[Pair, ...]
    steps: tuple[tuple[bytes | None, bytes | None], ...]
    targets: tuple[int, ...]
    names: Mapping[bytes, tuple[str, str]]
    #: Of the items' ids; what is not here is clean.
    marks: Mapping[bytes, Mark] = field(default_factory=dict)


# -- loading ----------------------------------------------------------------------------


def load(
    connection: Connection,
    named: tuple[NamedAsset | NamedRun, NamedAsset | NamedRun],
    *,
    limit: int,
    as_of: int | None = None,
) -> Matched:
    """The cones of both, of at most `limit` nodes each."""
    walks = []
    for one in named:
        starts, runs = _starts(connection, one, as_of)
        walks.append((one, runs, walk.upstream(connection, starts, limit=limit, as_of=as_of)))
    details = Details(connection, as_of)
    nodes = [node for _, _, found in walks for node in found.nodes.values()]
    assets = [node for node in nodes if not isinstance(node, walk.Reader)]
    details.load_names(node.dataset_id for node in assets)
    details.load_versions(node.version_id for node in assets if node.version_id is not None)
    groups = _groups(connection, {node.dataset_id for node in assets})
    written_by = {node.run_id for node in nodes if isinstance(node, walk.Production)}
    others = {node.id for node in nodes if isinstance(node, walk.Reader)}
    known = _executions(connection, written_by | others | {id for _, runs, _ in walks for id in runs}, as_of)
    a, b = (_cone(one, runs, found, details.versions, groups, known) for one, runs, found in walks)
    marks = Marks(connection, as_of, BUDGETS)
    marked = {id: mark for _, _, found in walks for id, mark in marks.of_walk(found).items()}
    return replace(match(a, b, details.names), marks=marked)


def _starts(
    connection: Connection, named: NamedAsset | NamedRun, as_of: int | None
) -> tuple[list[walk.Node], list[bytes]]:
    """Where the walk begins, and the runs that were asked for."""
    if isinstance(named, NamedRun):
        runs = descendants(connection, named.run, as_of)
        written = _written(connection, runs, as_of)
        wrote = {production.run_id for production in written}
        return [*written, *(walk.Reader(id) for id in runs if id not in wrote)], runs
    if named.production is not None:
        return [*walk.productions(connection, [named.production], as_of)], []
    return [walk.Origin(id, id, None, None, False) for id in named.datasets], []


def descendants(connection: Connection, root: bytes, as_of: int | None = None) -> list[bytes]:
    """A run and every run beneath it, parents first."""
    found, level = {root: None}, [root]
    for _ in range(_NESTED):
        children = [
            row.run_id
            for ids in chunks(level)
            for row in connection.execute(
                select(run.c.run_id)
                .where(run.c.parent_run_id.in_(ids), run.c.kind == 0, *_until(run.c.first_at, as_of))
                .order_by(run.c.first_at, run.c.run_id)
            )
        ]
        level = [id for id in children if id not in found]
        if not level:
            break
        found.update(dict.fromkeys(level))
    return list(found)


def _written(connection: Connection, runs: Collection[bytes], as_of: int | None) -> list[walk.Production]:
    ids = [
        row.production_id
        for some in chunks(runs)
        for row in connection.execute(
            select(run_output.c.production_id)
            .where(run_output.c.run_id.in_(some))
            .order_by(run_output.c.production_id)
        )
    ]
    return walk.productions(connection, ids, as_of)


def _until(at: ColumnElement[Any], as_of: int | None) -> list[ColumnElement[bool]]:
    return [] if as_of is None else [at <= as_of]


def _groups(connection: Connection, datasets: Collection[bytes]) -> dict[bytes, bytes]:
    return {
        row.dataset_id: row.group_id
        for ids in chunks(datasets)
        for row in connection.execute(
            select(dataset.c.dataset_id, dataset.c.group_id).where(dataset.c.dataset_id.in_(ids))
        )
    }


def _executions(connection: Connection, runs: Collection[bytes], as_of: int | None) -> dict[bytes, Execution]:
    """The runs, without the statements that datasets make of themselves."""
    found = {}
    for row in Statements(connection, as_of).runs(runs):
        job = _name(row[10], row[11])
        if job is not None:
            external = None if row[1] is None else original(row[1])
            found[row[0]] = Execution(row[0], external, job, _name(row[12], row[13]), row[5], bytes(row[14]))
    return found


def _name(namespace: str | None, name: str | None) -> tuple[str, str] | None:
    return None if namespace is None or name is None else (original(namespace), original(name))


def chunks(ids: Iterable[T]) -> Iterator[list[T]]:
    """`ids` in lists short enough for one statement."""
    rest = iter(ids)
    while some := list(islice(rest, CHUNK)):
        yield some


def _cone(
    named: NamedAsset | NamedRun,
    runs: Collection[bytes],
    found: walk.Walk,
    versions: Mapping[bytes, str],
    groups: Mapping[bytes, bytes],
    known: Mapping[bytes, Execution],
) -> Cone:
    sources: dict[bytes, list[bytes]] = defaultdict(list)
    for source, target in found.edges:
        sources[target].append(source)
    items = {id: _item(node, versions, groups) for id, node in found.nodes.items()}
    met = {item.run_id for item in items.values() if item.run_id is not None} | set(runs)
    return Cone(
        starts=tuple(id for id, depth in found.depths.items() if depth == 0),
        run=named.run if isinstance(named, NamedRun) else None,
        items=items,
        sources=sources,
        runs={id: known[id] for id in sorted(met) if id in known},
        truncated=found.truncated is not None,
    )


def _item(node: walk.Node, versions: Mapping[bytes, str], groups: Mapping[bytes, bytes]) -> Item:
    if isinstance(node, walk.Reader):
        return Item(node.id, node.id, None, None, node.id, None)
    group = groups.get(node.dataset_id, node.dataset_id)
    version = versions.get(node.version_id) if node.version_id is not None else None
    if isinstance(node, walk.Origin):
        return Item(node.id, group, node.dataset_id, version, None, None)
    return Item(node.id, group, node.dataset_id, version, node.run_id, node.published_at)


# -- matching ---------------------------------------------------------------------------


def match(a: Cone, b: Cone, names: Mapping[bytes, tuple[str, str]]) -> Matched:
    """What corresponds; see the head of this module."""
    runs = _matched_runs(a, b)
    items = _matched_items(a, b, runs)
    taken = set(items.values())
    pairs = [
        *(Pair(a=item, b=b.items[items[id]] if id in items else None) for id, item in a.items.items()),
        *(Pair(a=None, b=item) for id, item in b.items.items() if id not in taken),
    ]
    # Whatever order the rows came in.
    pairs.sort(key=lambda pair: (pair.a is None, _publication(pair.items[0])))
    place_a = {pair.a.id: number for number, pair in enumerate(pairs) if pair.a is not None}
    place_b = {pair.b.id: number for number, pair in enumerate(pairs) if pair.b is not None}
    for pair in pairs:
        if pair.a is not None:
            pair.before.update(place_a[id] for id in a.sources.get(pair.a.id, ()) if id in place_a)
        if pair.b is not None:
            pair.after.update(place_b[id] for id in b.sources.get(pair.b.id, ()) if id in place_b)
    starts = {place_a[id] for id in a.starts} | {place_b[id] for id in b.starts}
    return Matched(
        a=a,
        b=b,
        pairs=tuple(pairs),
        steps=tuple(_steps(a, b, pairs, runs)),
        targets=tuple(sorted(_ends(pairs, starts) or starts)),
        names=names,
    )


def _ends(pairs: Sequence[Pair], starts: set[int]) -> set[int]:
    """What of `starts` nothing else was made of: what a run's story ends in."""
    read = {source for number in starts for source in pairs[number].sources if source != number}
    return {number for number in starts - read if pairs[number].is_asset}


def paired(a: Sequence[T], b: Sequence[T], rounds: Iterable[tuple[Key, Key]]) -> dict[T, T]:
    """In each round the first left of `a` goes with the first left of `b` of its key; None is no key."""
    found: dict[T, T] = {}
    rest_a, rest_b = list(a), list(b)
    for of_a, of_b in rounds:
        waiting: dict[Hashable, deque[T]] = defaultdict(deque)
        for one in rest_b:
            waiting[of_b(one)].append(one)
        waiting.pop(None, None)
        for one in rest_a:
            if queue := waiting.get(of_a(one)):
                found[one] = queue.popleft()
        taken = set(found.values())
        rest_a, rest_b = [x for x in rest_a if x not in found], [x for x in rest_b if x not in taken]
    return found


def _matched_runs(a: Cone, b: Cone) -> dict[bytes, bytes]:
    """Run ids of `a` and theirs of `b`."""
    asked = _asked_run(a), _asked_run(b)
    did = _did(a), _did(b)
    rounds: list[tuple[Key, Key]] = [
        (lambda r: r.id == asked[0] or None, lambda r: r.id == asked[1] or None),
        (lambda r: r.id, lambda r: r.id),
        (lambda r: (r.job, did[0][r.id]), lambda r: (r.job, did[1][r.id])),
        (lambda r: r.job, lambda r: r.job),
    ]
    one, other = (sorted(cone.runs.values(), key=lambda r: (r.first_at, r.id)) for cone in (a, b))
    return {before.id: after.id for before, after in paired(one, other, rounds).items()}


def _asked_run(cone: Cone) -> bytes | None:
    if cone.run is not None:
        return cone.run
    return cone.items[cone.starts[0]].run_id


def _did(cone: Cone) -> dict[bytes, frozenset[Any]]:
    """What each run wrote: assets and contents."""
    written: dict[bytes, set[Any]] = {id: set() for id in cone.runs}
    for item in cone.items.values():
        if item.run_id in written and item.is_asset:
            written[item.run_id].add((item.group, item.version))
    return {id: frozenset(contents) for id, contents in written.items()}


def _matched_items(a: Cone, b: Cone, runs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Item ids of `a` and theirs of `b`."""
    one_each = a.run is None and b.run is None and len(a.starts) == len(b.starts) == 1
    asked = (a.starts[0], b.starts[0]) if one_each else (None, None)
    rounds: list[tuple[Key, Key]] = [
        (lambda i: i.id == asked[0] or None, lambda i: i.id == asked[1] or None),
        (lambda i: i.id, lambda i: i.id),
        (lambda i: _written_as(i, runs.get(i.run_id)), lambda i: _written_as(i, i.run_id)),
        (lambda i: i.version and (i.group, i.version), lambda i: i.version and (i.group, i.version)),
        (lambda i: i.group if i.is_asset else None, lambda i: i.group if i.is_asset else None),
    ]
    one, other = (sorted(cone.items.values(), key=_publication) for cone in (a, b))
    return {before.id: after.id for before, after in paired(one, other, rounds).items()}


def _written_as(item: Item, run_id: bytes | None) -> Hashable:
    """By which step an item was written (for a reader: that step itself)."""
    return None if run_id is None else (item.group if item.is_asset else b"", run_id)


def _publication(item: Item) -> tuple[bool, int, bytes]:
    return (item.at is not None, item.at or 0, item.id)


def _steps(
    a: Cone, b: Cone, pairs: Sequence[Pair], runs: Mapping[bytes, bytes]
) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Which runs are to be compared, and those that have no counterpart."""
    together: dict[tuple[bytes | None, bytes | None], None] = dict.fromkeys(runs.items())
    for pair in pairs:
        if pair.a is not None and pair.b is not None and pair.a.run_id in a.runs and pair.b.run_id in b.runs:
            together[pair.a.run_id, pair.b.run_id] = None
    known_a, known_b = {one for one, _ in together}, {other for _, other in together}
    yield from together
    yield from ((id, None) for id in a.runs if id not in known_a)
    yield from ((None, id) for id in b.runs if id not in known_b)
