"""The candidates of a search, from those of its conditions: whoever can fit all of them.

What each condition reaches is asked for up to a bound. Where it ends within, everything else is left out
by it; where it does not, it leaves out nothing. So a rare word makes a search small, however common
its other words are. Runs are held against the ids of their facets, and of what they wrote, before
any of those is read. `is_whole` says that nobody was left out who might fit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from headwater.consumers import candidates
from headwater.consumers.candidates import LONGEST, Reach
from headwater.consumers.queries import Condition
from headwater.consumers.statement_texts import spelled
from headwater.consumers.statements import Rows, Statements

#: Of each condition so many ids are asked for.
MOST = LONGEST
#: Of a condition that stands alone: nothing is held against it.
MOST_ALONE = 1_000
#: Facets that lead to runs, of one condition.
MOST_FACETS = 1_500

_GROUPS = spelled(
    "SELECT {d}, {g} FROM {w} CROSS JOIN dataset d WHERE d.dataset_id = w.id",
    {"d": "d.dataset_id", "g": "d.group_id"},
)
_OF_JOBS = spelled(
    "SELECT {r} FROM {w} CROSS JOIN run r WHERE r.job_id = w.id AND r.kind = 0 AND r.first_at <= {as_of} "
    f"LIMIT {MOST + 1}",
    {"r": "r.run_id"},
)
_RUNS = spelled(
    """SELECT {r}, {j}, r.first_at, r.facets
FROM {w} CROSS JOIN run r WHERE r.run_id = w.id AND r.first_at <= {as_of}""",
    {"r": "r.run_id", "j": "r.job_id"},
)
_OUTPUTS = spelled(
    """SELECT {r}, {g}, o.facets
FROM {w} CROSS JOIN run_output o CROSS JOIN dataset d
WHERE o.run_id = w.id AND d.dataset_id = o.dataset_id""",
    {"r": "o.run_id", "g": "d.group_id"},
)


class _OfRuns(NamedTuple):
    """What of a run, or of what it wrote, makes one condition true: any of these ids."""

    facets: Reach
    runs: Reach
    jobs: Reach
    #: Groups of datasets, where the condition may be true of an asset as a whole.
    groups: Reach

    @property
    def is_whole(self) -> bool:
        return all(reach.is_whole for reach in self)


class Candidates:
    """The candidates for the conditions `parts`; as of a time, of what there was by then."""

    def __init__(
        self,
        connection: Connection,
        parts: Sequence[Condition],
        as_of: int | None = None,
        *,
        most: int | None = None,
    ) -> None:
        self._connection = connection
        self._parts = parts
        self._statements = Statements(connection, as_of)
        self._most = most or (MOST if len(parts) > 1 else MOST_ALONE)
        self._datasets: list[Reach] | None = None

    def datasets(self) -> Reach:
        """The assets that may fit, by the ids of their groups (each a dataset); those called so first."""
        # Each word may be in another of an asset's names.
        groups = [self._groups(reach) for reach in self._of_datasets()]
        return _common(groups)

    def jobs(self) -> Reach:
        """The jobs that may fit."""
        return _common([candidates.jobs(self._connection, one, self._most) for one in self._parts])

    def runs(self, *, with_assets: bool) -> Reach:
        """The runs that may fit, or (`with_assets`) that wrote what may; the newest first."""
        reached = [self._of_runs(part, datasets) for part, datasets in self._with_datasets(with_assets)]
        required = [one for one in reached if not one.groups]
        led = self._led_to(min(required, key=_width)) if required else self._led_to_any(reached)
        if required and not led.is_whole:
            # Some of those that it leads to are as good as others; what a rarer word leads to is better.
            led = self._led_to(min(reached, key=_width))._replace(is_whole=False)
        sieve = _Sieve(reached)
        rows = self._statements.ask(_RUNS, led.ids)
        held = {row[0]: sieve.of_run(row[0], row[1], bytes(row[3])) for row in rows}
        lacking = [id for id, bits in held.items() if bits != sieve.all]
        fitting = held.keys() - lacking
        for run_id, group, facets in self._statements.ask(_OUTPUTS, lacking):
            if held[run_id] | sieve.of_output(group, bytes(facets)) == sieve.all:
                fitting.add(run_id)
        newest = sorted(((row[2], row[0]) for row in rows if row[0] in fitting), reverse=True)
        return Reach({id: None for _, id in newest}, led.is_whole)

    # -- what each condition reaches ---------------------------------------------------------

    def _of_datasets(self) -> list[Reach]:
        if self._datasets is None:
            self._datasets = [candidates.datasets(self._connection, one, self._most) for one in self._parts]
        return self._datasets

    def _with_datasets(self, with_assets: bool) -> Iterator[tuple[Condition, Reach]]:
        nothing = [Reach({}, True)] * len(self._parts)
        return zip(self._parts, self._of_datasets() if with_assets else nothing, strict=True)

    def _of_runs(self, part: Condition, datasets: Reach) -> _OfRuns:
        # The name of a run's job stands beside it, and says nothing by itself.
        beside = len(self._parts) > 1
        return _OfRuns(
            facets=candidates.run_facets(self._connection, part, min(self._most, MOST_FACETS)),
            runs=candidates.runs(self._connection, part, self._most),
            jobs=candidates.job_names(self._connection, part, self._most) if beside else Reach({}, True),
            groups=self._groups(datasets),
        )

    def _groups(self, datasets: Reach) -> Reach:
        groups = self._group_of(datasets.ids)
        return Reach(dict.fromkeys(groups.values()), datasets.is_whole)

    def _group_of(self, datasets: Collection[bytes]) -> Mapping[bytes, bytes]:
        return {row[0]: row[1] for row in self._statements.ask(_GROUPS, datasets)}

    # -- from a condition to runs ------------------------------------------------------------

    def _led_to_any(self, reached: Sequence[_OfRuns]) -> Reach:
        """Where each condition may be true of an asset alone, but not all of them: one leads to the run."""
        found: dict[bytes, None] = {}
        for one in sorted(reached, key=_width):
            led = self._led_to(one)
            found.update(led.ids)
            if not led.is_whole or len(found) > LONGEST:
                return Reach(found, False)
        return Reach(found, True)

    def _led_to(self, one: _OfRuns) -> Reach:
        owners = candidates.owners_of(self._connection, one.facets)
        of_jobs = _as_reach(self._statements.ask(_OF_JOBS, one.jobs.ids), one.jobs.is_whole)
        return _together((owners, one.runs, of_jobs))


def _width(one: _OfRuns) -> tuple[bool, int]:
    return not one.is_whole, len(one.facets.ids) + len(one.jobs.ids)


def _as_reach(rows: Rows, is_whole: bool) -> Reach:
    return Reach({row[0]: None for row in rows}, is_whole and len(rows) <= MOST)


def _together(reached: Iterable[Reach]) -> Reach:
    found: dict[bytes, None] = {}
    is_whole = True
    for reach in reached:
        found.update(reach.ids)
        is_whole = is_whole and reach.is_whole
    return Reach(found, is_whole)


def _common(reached: Sequence[Reach]) -> Reach:
    """What is in all of those that are known whole, in the order of the smallest."""
    if not all(reached):
        return Reach({}, True)
    whole = [reach.ids for reach in reached if reach.is_whole]
    if not whole:
        return reached[0]
    least = min(whole, key=len)
    return Reach({id: None for id in least if all(id in ids for ids in whole)}, True)


class _Sieve:
    """Which of the conditions may be true of a run, or of an output: a bit for each, all of them in `all`."""

    def __init__(self, reached: Sequence[_OfRuns]) -> None:
        self.all = (1 << len(reached)) - 1
        #: What cannot be said of anybody that it is not true.
        self._always = sum(1 << place for place, one in enumerate(reached) if not one.is_whole)
        self._ids: dict[bytes, int] = defaultdict(int)
        for place, one in enumerate(reached):
            for reach in one:
                for id in reach.ids:
                    self._ids[id] |= 1 << place
        self._lists: dict[bytes, int] = {}

    def of_run(self, run: bytes, job: bytes | None, facets: bytes) -> int:
        own = self._ids.get(run, 0) | (0 if job is None else self._ids.get(job, 0))
        return self._always | own | self._of_facets(facets)

    def of_output(self, group: bytes, facets: bytes) -> int:
        return self._ids.get(group, 0) | self._of_facets(facets)

    def _of_facets(self, text: bytes) -> int:
        """Runs and outputs share their lists, or many do."""
        found = self._lists.get(text)
        if found is None:
            found = 0
            for at in range(0, len(text), 16):
                found |= self._ids.get(text[at : at + 16], 0)
            self._lists[text] = found
        return found
