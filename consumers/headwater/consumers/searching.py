"""Finding assets, runs and jobs by what is said of them.

Every term must be true of a thing or of what it belongs with, and at least one of the thing
itself. A thing is an asset under all its names, at one production where a term is about one; a
run; or a job. With an asset's production belongs the run that wrote it and the name of that
run's job, with a run the name of its job: so `type:Model depth=8` finds the model that a run
with depth 8 wrote, and `depth=8` alone finds the run. Where runs alone are asked for, what an output
says of itself (metrics, the kind of model) is its run's as well.

Of an asset's versions that fit the newest is told, and how many do; or each of them, where they are
asked for. Candidates come from the indexes (`sieve`), and are held against what stands, or stood as of
a time (`sayings`). At most `CANDIDATES` are looked at, the newest versions and runs first, and no
more than fill the answer; an answer that may lack something says so, and its counts are then the
least that they can be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection, select

from headwater.consumers import sayings, terms
from headwater.consumers.answers import Recall
from headwater.consumers.candidates import Reach
from headwater.consumers.details import STATES, Details, instant
from headwater.consumers.existence import known
from headwater.consumers.listing import newest
from headwater.consumers.marks import CLEAN, Marks
from headwater.consumers.naming import id_text
from headwater.consumers.near_terms import is_about_names, near_terms
from headwater.consumers.queries import OPERATORS, Comparison, Condition, Words, conditions
from headwater.consumers.sayings import AssetSaid, JobSaid, OutputSaid, RunSaid, Said
from headwater.consumers.shown import Shown
from headwater.consumers.sieve import Candidates
from headwater.consumers.statements import Statements
from headwater.consumers.tables import dataset
from headwater.consumers.terms import Kind, folded

#: How many candidates one search looks at before it says that there may be more.
CANDIDATES = 4_000
#: The first page of them, and the greatest: most searches need one.
_FIRST_PAGE, _PAGE = 50, 400
_SNIPPET = 60

Thing: TypeAlias = Literal["asset", "run", "job"]
THINGS: tuple[Thing, ...] = ("asset", "run", "job")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Why something was found: the term, what it was found in, and the text there."""

    term: str
    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One thing that was found. `namespace` and `name` are the asset's or the job's (a run's job).

    `id`: the run, or the last production of the version that was matched; None for a job and for an
    asset matched as a whole. `at`: when it was published, started, or last ran. `state` is a run's.
    `versions`: how many versions of the asset fit, this one among them, or at least so many where
    they are not `versions_complete`; 0 for an asset matched as a whole. The marks are those of the version,
    of an asset as a whole its last version's; of a run what it wrote (`recalled`) and read; a job has none.
    `recalled_before`: so many recalls hold for an asset as a whole whose last version is not recalled.
    """

    kind: Thing
    namespace: str | None
    name: str | None
    id: str | None
    type: str | None
    version: str | None
    state: str | None
    at: datetime | None
    matches: tuple[Match, ...]
    versions: int = 0
    versions_complete: bool = True
    recalled: bool = False
    recalled_upstream: bool | None = False
    recalls: tuple[Recall, ...] = ()
    recalled_before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResults(Shown):
    """What was found, the best first. `more`: there is more, or may be. `nearest`: names like those typed."""

    results: tuple[Found, ...]
    more: bool
    nearest: tuple[str, ...]
    as_of: datetime | None = None


def search(
    connection: Connection,
    query: Sequence[str],
    *,
    type: str | None = None,
    limit: int = 20,
    versions: bool = False,
    as_of: int | None = None,
) -> SearchResults:
    """What fits every term of `query`; `type` is asset, run or job, or a type of asset (Model, …).

    `versions`: each version that fits, and not only the newest of its asset.
    """
    asked = tuple(query)
    things = THINGS
    if type is not None and type.lower() in THINGS:
        things = tuple(thing for thing in THINGS if thing == type.lower())
    elif type is not None:
        things, asked = ("asset",), (*asked, f'type:"{type}"')
    wanted = conditions(asked)
    # Pins the plans to the indexes until the transaction ends.
    Statements(connection).begin()
    looking = _Looking(connection, wanted, things, enough=limit + 1, each_version=versions, as_of=as_of)
    looking.run()
    ranked = sorted(looking.found.values(), key=_order)
    results = _marked(connection, [looking.counted(one) for one in ranked[:limit]], as_of)
    return SearchResults(
        results=results,
        more=looking.is_cut or len(ranked) > limit,
        nearest=() if results else near_terms(connection, wanted, as_of),
        as_of=instant(as_of),
    )


def _marked(connection: Connection, found: Sequence[_Ranked], as_of: int | None) -> tuple[Found, ...]:
    """With what must not be relied on; and runs in the state that they were in."""
    marks = Marks(connection, as_of)
    runs = {one.id for one in found if one.found.kind == "run"}
    wholes = [one.id for one in found if one.found.kind == "asset" and one.found.id is None]
    last = _last_productions(connection, wholes, as_of) if marks.recalls else {}
    shown = {one: _production(one, last) for one in found if one.found.kind == "asset"}
    of_runs = marks.of_runs(runs)
    of_productions = marks.of_productions(id for id in shown.values() if id is not None)
    details = Details(connection, as_of)
    details.load_runs(runs if as_of is not None else ())
    told = []
    for one in found:
        mark = of_runs.get(one.id, CLEAN) if one.found.kind == "run" else CLEAN
        if one.found.kind == "asset":
            production = shown[one]
            mark = of_productions[production] if production is not None else marks.of_version(one.id)
        result = replace(one.found, **mark.fields())
        if one in shown and one.found.id is None and not mark.recalled:
            result = replace(result, recalled_before=marks.recalls.count(one.id))
        if one.id in details.runs:
            run = details.runs[one.id]
            result = replace(result, state=run.state, at=run.started_at or run.first_at)
        told.append(result)
    return tuple(told)


def _production(one: _Ranked, last: Mapping[bytes, bytes]) -> bytes | None:
    """The one that an asset's marks are those of."""
    return last.get(one.id) if one.found.id is None else bytes.fromhex(one.found.id.replace("-", ""))


def _last_productions(
    connection: Connection, groups: Collection[bytes], as_of: int | None
) -> dict[bytes, bytes]:
    """Of each asset the production published last, under any of its names."""
    members = select(dataset.c.dataset_id, dataset.c.group_id).where(dataset.c.group_id.in_(groups))
    group_of = {row.dataset_id: row.group_id for row in connection.execute(members)}
    last: dict[bytes, tuple[int, bytes, bytes]] = {}
    for id, (_, at, content, production) in newest(connection, group_of, as_of).items():
        place = (at or 0, content or b"", production)
        last[group_of[id]] = max(last.get(group_of[id], place), place)
    return {group: place[2] for group, place in last.items()}


# -- which candidates ----------------------------------------------------------------------


class _Ranked(NamedTuple):
    """Something found: `id` is that of the run or the job, or of the asset's group."""

    rank: int
    id: bytes
    found: Found


class _Looking:
    """One search: pages of candidates, what of them fits, and whether everything was looked at."""

    def __init__(
        self,
        connection: Connection,
        wanted: tuple[Condition, ...],
        things: tuple[Thing, ...],
        *,
        enough: int,
        each_version: bool,
        as_of: int | None,
    ) -> None:
        self._connection = connection
        self._wanted = wanted
        self._candidates = Candidates(connection, tuple(_parts(wanted)), as_of)
        self._things = things
        self._enough = enough
        self._each_version = each_version
        self._as_of = as_of
        self._left = CANDIDATES
        self._versions: dict[bytes, set[str | bytes]] = defaultdict(set)
        self.found: dict[tuple[object, ...], _Ranked] = {}
        self.is_cut = False

    def run(self) -> None:
        if "asset" in self._things:
            self._pages(self._candidates.datasets(), self._look_at_assets)
        if "job" in self._things:
            self._pages(self._candidates.jobs(), self._look_at_jobs)
        if not {"asset", "run"} & set(self._things):
            return
        if len(self.found) >= self._enough:
            # Names come first, and fill the answer.
            self.is_cut = True
        else:
            runs = self._candidates.runs(with_assets="asset" in self._things)
            self._pages(runs, self._look_at_runs)

    def counted(self, one: _Ranked) -> _Ranked:
        """With how many versions of the asset fit."""
        if one.found.kind != "asset":
            return one
        told = replace(
            one.found,
            versions=0 if one.found.id is None else len(self._versions[one.id]),
            versions_complete=one.found.id is None or not self.is_cut,
        )
        return one._replace(found=told)

    def _pages(self, reach: Reach, look_at: Callable[[list[bytes]], None]) -> None:
        """Look at candidates until there is enough of their kind, or too much was looked at."""
        rest, before, size = iter(reach.ids), len(self.found), _FIRST_PAGE
        self.is_cut = self.is_cut or not reach.is_whole
        while page := list(islice(rest, size)):
            if self._left <= 0 or len(self.found) - before >= self._enough:
                self.is_cut = True
                return
            self._left -= len(page)
            look_at(page)
            size = min(_PAGE, 2 * size)

    # -- looking -----------------------------------------------------------------------------

    def _look_at_assets(self, page: list[bytes]) -> None:
        then = self._known(page)
        for asset in sayings.assets(self._connection, page, self._as_of).values():
            matched = _matched(self._wanted, asset.said, ()) if asset.group in then else None
            if matched is not None:
                self._keep(("asset", asset.group), asset.group, _of_asset(asset, None, matched), asset.names)

    def _known(self, groups: list[bytes]) -> set[bytes]:
        """The assets that were there by the time asked for."""
        if self._as_of is None:
            return set(groups)
        query = select(dataset.c.group_id).where(dataset.c.group_id.in_(groups), known(self._as_of))
        return set(self._connection.scalars(query.distinct()))

    def _look_at_jobs(self, page: list[bytes]) -> None:
        for job in sayings.jobs(self._connection, page, self._wanted, self._as_of).values():
            matched = _matched(self._wanted, job.said, ())
            if matched is not None:
                self._keep(("job", job.job), job.job, _of_job(job, matched), (job.name,))

    def _look_at_runs(self, page: list[bytes]) -> None:
        runs = sayings.runs(self._connection, page, self._wanted, self._as_of)
        for run in runs.values():
            matched = self._matched_run(run) if "run" in self._things else None
            if matched is not None:
                self._keep(("run", run.run), run.run, _of_run(run, matched), ())
        if "asset" not in self._things:
            return
        datasets = {output.dataset for run in runs.values() for output in run.outputs}
        assets = sayings.assets(self._connection, datasets, self._as_of)
        for run in runs.values():
            for output in run.outputs:
                asset = assets[output.dataset]
                matched = _matched(self._wanted, (*asset.said, *output.said), (*run.said, *run.job_said))
                if matched is not None:
                    self._keep_version(asset, output, matched)

    def _matched_run(self, run: RunSaid) -> tuple[Match, ...] | None:
        """Of runs alone also by what one of their outputs says: else the asset is found, and tells it."""
        matched = _matched(self._wanted, run.said, run.job_said)
        if "asset" in self._things or not run.is_run:
            return matched
        by_output = (_matched(self._wanted, (*run.said, *one.said), run.job_said) for one in run.outputs)
        return matched or next((one for one in by_output if one is not None), None)

    def _keep_version(self, asset: AssetSaid, output: OutputSaid, matched: tuple[Match, ...]) -> None:
        """Of several productions of a version, or of an asset, the newest; of one found as a whole, none."""
        if ("asset", asset.group) in self.found and self.found["asset", asset.group].found.id is None:
            return
        # What has no text is a version of its own.
        version = output.production if output.version is None else output.version
        self._versions[asset.group].add(version)
        key = ("asset", asset.group, version) if self._each_version else ("asset", asset.group)
        self._keep(key, asset.group, _of_asset(asset, output, matched), asset.names)

    def _keep(
        self, key: tuple[object, ...], id: bytes, found: Found, names: Iterable[tuple[str, str]]
    ) -> None:
        held = self.found.get(key)
        if held is None or (held.found.id is not None and _newer(found, held.found)):
            self.found[key] = _Ranked(_rank(self._wanted, names), id, found)


def _newer(one: Found, other: Found) -> bool:
    return _age(one) > _age(other)


def _age(found: Found) -> tuple[bool, float, str]:
    return found.at is not None, 0.0 if found.at is None else found.at.timestamp(), found.id or ""


def _parts(wanted: tuple[Condition, ...]) -> Iterator[Condition]:
    """Each word by itself: all of them must be true, and the rarest leads to the fewest candidates."""
    for one in wanted:
        if isinstance(one, Words):
            yield from (replace(one, words=(word,)) for word in one.words)
        else:
            yield one


# -- what fits -----------------------------------------------------------------------------


def _matched(
    wanted: tuple[Condition, ...], own: Sequence[Said], beside: Sequence[Said]
) -> tuple[Match, ...] | None:
    """Why every condition holds, of the thing itself or beside it, and one of itself; None when not."""
    found, is_own = list[Match](), False
    for condition in wanted:
        why = _holds(condition, own)
        is_own = is_own or why is not None
        if why is None:
            why = _holds(condition, (*own, *beside))
            # Words of one term may be found in several places; one in the thing itself will do.
            is_own = is_own or (why is not None and any(one in own for one in why))
        if why is None:
            return None
        found += [_match(condition, one) for one in why]
    return tuple(dict.fromkeys(found)) if is_own else None


def _holds(condition: Condition, said: Sequence[Said]) -> list[Said] | None:
    """The facts that make `condition` true."""
    if isinstance(condition, Comparison):
        return next(([one] for one in said if _compares(condition, one)), None)
    for one in said:
        if one.is_value and _is_named(condition, one):
            return [one]
    found = []
    for word in condition.words:
        place = next((one for one in said if _has_word(condition, one, word)), None)
        if place is None:
            return None
        found.append(place)
    return found


def _is_named(condition: Words, one: Said) -> bool:
    if one.kind is Kind.COMMIT:
        return condition.commit is not None and one.text.startswith(condition.commit)
    return one.kind in condition.kinds and one.key == condition.named


def _has_word(condition: Words, one: Said, word: str) -> bool:
    if one.is_value or one.kind not in condition.kinds:
        return False
    there = _words(one.text)
    # A name's key is its namespace; a parameter's name is found whole, and not by its words.
    if one.kind in (Kind.TAG, Kind.NAME, Kind.JOB):
        there |= _words(one.key)
    return any(other.startswith(word) for other in there) if condition.is_prefix else word in there


@lru_cache(maxsize=4_096)
def _words(text: str) -> frozenset[str]:
    return frozenset(terms.words(text))


def _compares(condition: Comparison, one: Said) -> bool:
    if one.kind not in condition.kinds:
        return False
    if one.kind is Kind.TAG:
        return folded(one.key) == folded(condition.key) and folded(one.text) == folded(condition.text)
    if not one.is_value or one.key != condition.key:
        return False
    if condition.sign is None:
        return True
    if condition.number is None:
        return one.number is None and one.kind is Kind.PARAMETER and one.text == condition.text
    return one.number is not None and OPERATORS[condition.sign](one.number, condition.number)


# -- how it is told ------------------------------------------------------------------------


def _rank(wanted: tuple[Condition, ...], names: Iterable[tuple[str, str]]) -> int:
    """0 a name is what was typed, 1 a name begins so, 2 a word of a name does, 3 something else."""
    typed = [folded(one.term.partition(":")[2] or one.term) for one in wanted if is_about_names(one)]
    spelled = [folded(text) for namespace, name in names for text in (name, f"{namespace}/{name}")]
    if any(text in spelled for text in (*typed, " ".join(typed))):
        return 0
    if any(name.startswith(text) for text in typed for name in spelled):
        return 1
    words = {word for name in spelled for word in _words(name)}
    asked = [word for one in wanted if isinstance(one, Words) and is_about_names(one) for word in one.words]
    return 2 if any(word.startswith(one) for one in asked for word in words) else 3


def _order(one: _Ranked) -> tuple[object, ...]:
    found = one.found
    newest = 0.0 if found.at is None else -found.at.timestamp()
    return one.rank, THINGS.index(found.kind), newest, found.name or "", found.namespace or "", found.id or ""


def _match(condition: Condition, one: Said) -> Match:
    where = "name" if one.kind is Kind.JOB else one.kind.name.lower()
    if one.kind in (Kind.NAME, Kind.JOB):
        return Match(term=condition.term, where=where, text=f"{one.key}/{one.text}")
    value = f"{one.number:.6g}" if one.number is not None and not one.text else one.text
    text = f"{one.key}={value}" if one.key and value else one.key or value
    return Match(term=condition.term, where=where, text=_snippet(text, condition))


def _snippet(text: str, condition: Condition) -> str:
    """The text, or what stands around the word in a long one."""
    if len(text) <= _SNIPPET:
        return text
    low = text.lower()
    at = max((low.find(word) for word in getattr(condition, "words", ())), default=-1)
    start = max(0, min(at - _SNIPPET // 3, len(text) - _SNIPPET))
    cut = text[start : start + _SNIPPET]
    return f"{'…' if start else ''}{cut}{'…' if start + _SNIPPET < len(text) else ''}"


def _of_asset(asset: AssetSaid, output: OutputSaid | None, matches: tuple[Match, ...]) -> Found:
    namespace, name = asset.names[0]
    return Found(
        kind="asset",
        namespace=namespace,
        name=name,
        id=None if output is None else id_text(output.production),
        type=asset.type,
        version=None if output is None else output.version,
        state=None,
        at=None if output is None else instant(output.published_at),
        matches=matches,
    )


def _of_run(run: RunSaid, matches: tuple[Match, ...]) -> Found:
    namespace, name = run.job or (None, None)
    return Found(
        kind="run",
        namespace=namespace,
        name=name,
        id=id_text(run.run),
        type=None,
        version=None,
        state=STATES[run.state],
        at=instant(run.at),
        matches=matches,
    )


def _of_job(job: JobSaid, matches: tuple[Match, ...]) -> Found:
    namespace, name = job.name
    return Found(
        kind="job",
        namespace=namespace,
        name=name,
        id=None,
        type=None,
        version=None,
        state=None,
        at=instant(job.at),
        matches=matches,
    )
