"""Finding assets, runs and jobs by what is said of them.

Every term must be true of a thing or of what it belongs with, and at least one of the thing
itself. A thing is an asset under all its names, at one production where a term is about one; a
run; or a job. With an asset's production belongs the run that wrote it and the name of that
run's job, with a run the name of its job: so `type:Model depth=8` finds the model that a run
with depth 8 wrote, and `depth=8` alone finds the run.

Candidates come from the indexes of the narrowest term (`candidates`), and are held against what
stands now (`sayings`). At most `CANDIDATES` are looked at, and no more than
fill the answer; one that may lack something says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from itertools import chain, islice
from typing import Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection

from headwater.consumers import candidates, sayings, terms
from headwater.consumers.details import STATES, instant
from headwater.consumers.naming import id_text
from headwater.consumers.nearest import nearest_names
from headwater.consumers.queries import OPERATORS, Comparison, Condition, Words, conditions
from headwater.consumers.sayings import AssetSaid, JobSaid, OutputSaid, RunSaid, Said
from headwater.consumers.shown import Shown
from headwater.consumers.statements import Statements
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

    `id`: the run, or the production that was matched; None for a job and for an asset matched as
    a whole. `at`: when it was published, started, or last ran. `state` is a run's.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResults(Shown):
    """What was found, the best first. `more`: there is more, or may be. `nearest`: names like those typed."""

    results: tuple[Found, ...]
    more: bool
    nearest: tuple[str, ...]


def search(
    connection: Connection, query: Sequence[str], *, type: str | None = None, limit: int = 20
) -> SearchResults:
    """What fits every term of `query`; `type` is asset, run or job, or a type of asset (Model, …)."""
    asked = tuple(query)
    things = THINGS
    if type is not None and type.lower() in THINGS:
        things = tuple(thing for thing in THINGS if thing == type.lower())
    elif type is not None:
        things, asked = ("asset",), (*asked, f'type:"{type}"')
    wanted = conditions(asked)
    # Pins the plans to the indexes until the transaction ends.
    Statements(connection).begin()
    looking = _Looking(connection, wanted, things, enough=limit + 1)
    looking.run()
    ranked = sorted(looking.found.values(), key=_order)
    results = tuple(one.found for one in ranked[:limit])
    return SearchResults(
        results=results,
        more=looking.is_cut or len(ranked) > limit,
        nearest=() if results else _nearest(connection, wanted),
    )


def _nearest(connection: Connection, wanted: tuple[Condition, ...]) -> tuple[str, ...]:
    """Names like the free words and names that were typed."""
    texts = [one.term.partition(":")[2] or one.term for one in wanted if _is_about_names(one)]
    names = (
        name
        for text in texts
        for kind in (Kind.NAME, Kind.JOB)
        for name in nearest_names(connection, text, kind=kind)
    )
    return tuple(dict.fromkeys(names))[:3]


def _is_about_names(condition: Condition) -> bool:
    return isinstance(condition, Words) and bool(condition.kinds & {Kind.NAME, Kind.JOB})


# -- which candidates ----------------------------------------------------------------------


class _Ranked(NamedTuple):
    rank: int
    found: Found


class _Looking:
    """One search: pages of candidates, what of them fits, and whether everything was looked at."""

    def __init__(
        self, connection: Connection, wanted: tuple[Condition, ...], things: tuple[Thing, ...], enough: int
    ) -> None:
        self._connection = connection
        self._wanted = wanted
        self._parts = tuple(_parts(wanted))
        self._things = things
        self._enough = enough
        self._left = CANDIDATES
        self.found: dict[tuple[Thing, bytes], _Ranked] = {}
        self.is_cut = False

    def run(self) -> None:
        of_datasets = [_Stream(partial(candidates.datasets, self._connection, one)) for one in self._parts]
        if "asset" in self._things and all(of_datasets):
            self._pages("asset", _narrowest(of_datasets), self._look_at_assets)
        if "job" in self._things:
            of_jobs = [_Stream(partial(candidates.jobs, self._connection, one)) for one in self._parts]
            if all(of_jobs):
                self._pages("job", _narrowest(of_jobs), self._look_at_jobs)
        if not {"asset", "run"} & set(self._things):
            return
        if len(self.found) >= self._enough:
            # Names come first, and fill the answer.
            self.is_cut = True
        else:
            self._look_for_runs(of_datasets)

    def _look_for_runs(self, of_datasets: list[_Stream]) -> None:
        """Runs, and what they wrote: a term that no dataset can be true of must be true of the run."""
        several = len(self._wanted) > 1
        streams = [
            _Stream(partial(candidates.runs, self._connection, one, by_job=several)) for one in self._parts
        ]
        required = [stream for stream, datasets in zip(streams, of_datasets, strict=True) if not datasets]
        if "asset" not in self._things:
            required = streams
        ids = iter(_narrowest(required)) if required else chain.from_iterable(streams)
        if all(required):
            self._pages("run" if "run" in self._things else "asset", ids, self._look_at_runs)

    def _pages(self, thing: Thing, ids: Iterable[bytes], look_at: Callable[[list[bytes]], None]) -> None:
        """Look at `ids`, each once, until there is enough of `thing` or too much was looked at."""
        seen: set[bytes] = set()
        fresh = (id for id in ids if not (id in seen or seen.add(id)))  # type: ignore[func-returns-value]
        before, size = len(self.found), _FIRST_PAGE
        while page := list(islice(fresh, size)):
            if self._left <= 0 or len(self.found) - before >= self._enough:
                self.is_cut = True
                return
            self._left -= len(page)
            look_at(page)
            size = min(_PAGE, 2 * size)

    # -- looking -----------------------------------------------------------------------------

    def _look_at_assets(self, page: list[bytes]) -> None:
        for asset in sayings.assets(self._connection, page).values():
            matched = _matched(self._wanted, asset.said, ())
            if matched is not None:
                self._keep("asset", asset.group, _of_asset(asset, None, matched), asset.names)

    def _look_at_jobs(self, page: list[bytes]) -> None:
        for job in sayings.jobs(self._connection, page, self._wanted).values():
            matched = _matched(self._wanted, job.said, ())
            if matched is not None:
                self._keep("job", job.job, _of_job(job, matched), (job.name,))

    def _look_at_runs(self, page: list[bytes]) -> None:
        runs = sayings.runs(self._connection, page, self._wanted)
        for run in runs.values():
            matched = _matched(self._wanted, run.said, run.job_said)
            if matched is not None and "run" in self._things:
                self._keep("run", run.run, _of_run(run, matched), ())
        if "asset" not in self._things:
            return
        datasets = {output.dataset for run in runs.values() for output in run.outputs}
        assets = sayings.assets(self._connection, datasets)
        for run in runs.values():
            for output in run.outputs:
                asset = assets[output.dataset]
                matched = _matched(self._wanted, (*asset.said, *output.said), (*run.said, *run.job_said))
                if matched is not None:
                    self._keep("asset", asset.group, _of_asset(asset, output, matched), asset.names)

    def _keep(self, thing: Thing, id: bytes, found: Found, names: Iterable[tuple[str, str]]) -> None:
        """Of several productions of an asset the newest is kept; of equal ones it as a whole."""
        ranked = _Ranked(_rank(self._wanted, names), found)
        held = self.found.get((thing, id))
        if held is None or (held.found.id is not None and _newer(found, held.found)):
            self.found[thing, id] = ranked


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


class _Stream:
    """Ids that are fetched as they are needed; the first few are, to see whether there are any."""

    def __init__(self, begin: Callable[[], Iterator[bytes]]) -> None:
        self._rest = begin()
        self.first = list(islice(self._rest, _FIRST_PAGE))
        self.is_whole = len(self.first) < _FIRST_PAGE

    def __bool__(self) -> bool:
        return bool(self.first)

    def fetch(self, count: int) -> None:
        """Have `count` more of them, or all."""
        more = list(islice(self._rest, count))
        self.first += more
        self.is_whole = len(more) < count

    def __iter__(self) -> Iterator[bytes]:
        return chain(self.first, self._rest)


def _narrowest(streams: Sequence[_Stream]) -> _Stream:
    """The one that ends first, when they are followed side by side for a while."""
    count = _FIRST_PAGE
    while len(streams) > 1 and count < CANDIDATES and not any(stream.is_whole for stream in streams):
        for stream in streams:
            stream.fetch(count)
        count *= 2
    return min(streams, key=lambda stream: (not stream.is_whole, len(stream.first)))


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
    typed = [folded(one.term.partition(":")[2] or one.term) for one in wanted if _is_about_names(one)]
    spelled = [folded(text) for namespace, name in names for text in (name, f"{namespace}/{name}")]
    if any(text in spelled for text in (*typed, " ".join(typed))):
        return 0
    if any(name.startswith(text) for text in typed for name in spelled):
        return 1
    words = {word for name in spelled for word in _words(name)}
    asked = [word for one in wanted if isinstance(one, Words) and _is_about_names(one) for word in one.words]
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
