"""Where differences begin, and which of them are only consequences: logic over pairs, no database.

A difference begins

- in a step that was called otherwise, is another function, or reads something else: nothing
  upstream explains that;
- in an asset of another content that such a step did not write, and nothing of whose inputs differs;
- in what is on one side only and is not merely what such a step reads.

Commits and environments differ everywhere at once, so they hide no difference of content: they
are suspects. Every other difference came of one of these; where assets explain each other in a
circle, the one published first counts as the beginning.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from headwater.consumers.cones import Matched, Pair

#: Of a pair. `none`: a run that wrote nothing has no content.
Verdict: TypeAlias = Literal["equal", "changed", "added", "removed", "unknown", "none"]
StepPair: TypeAlias = tuple[bytes | None, bytes | None]

DIFFERS = frozenset({"changed", "added", "removed"})
_MAY_DIFFER = DIFFERS | {"unknown"}
_RANDOM = "opaque1:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Pairs of one asset's copies that the pair `reader` was made of on one side each."""

    reader: int
    group: bytes
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """Where a difference begins: in the pairs `at`; `brought` are on one side only because of it."""

    kind: Literal["own", "inputs", "step", "asset", "source", "content"]
    step: StepPair
    at: tuple[int, ...]
    readings: tuple[Reading, ...] = ()
    brought: tuple[int, ...] = ()
    circular: bool = False


@dataclass(slots=True)
class Explained:
    """The beginnings, and the pairs in which one lies itself."""

    beginnings: list[Beginning] = field(default_factory=list)
    begun: set[int] = field(default_factory=set)


def content(pair: Pair) -> Verdict:
    """What versions say; `unknown` where they say nothing."""
    a, b = pair.a, pair.b
    if not pair.is_asset:
        return "none"
    if a is None or b is None:
        return "added" if a is None else "removed"
    if a.id == b.id and a.run_id is not None:
        return "equal"
    if a.version is None or b.version is None or _RANDOM in (a.version[:8], b.version[:8]):
        return "unknown"
    return "equal" if a.version == b.version else "changed"


def step_of(pair: Pair) -> StepPair:
    """The runs that wrote a pair."""
    return (pair.a.run_id if pair.a else None, pair.b.run_id if pair.b else None)


def explain(matched: Matched, verdicts: Sequence[Verdict], own: Iterable[StepPair]) -> Explained:
    """Where the differences begin; `own` are the steps whose parameters or code differ."""
    return _Explaining(matched, verdicts, set(own)).run()


class _Explaining:
    def __init__(self, matched: Matched, verdicts: Sequence[Verdict], own: set[StepPair]) -> None:
        self.pairs = matched.pairs
        self.steps = set(matched.steps)
        self.verdicts = verdicts
        self.own = own
        self.found = Explained()
        self.readings = {number: list(self._readings(number)) for number in range(len(self.pairs))}
        self._together: dict[tuple[int, bytes | None], list[StepPair]] = defaultdict(list)
        for step in matched.steps:
            if None not in step:
                self._together[0, step[0]].append(step)
                self._together[1, step[1]].append(step)
        self.single = {number for number in range(len(self.pairs)) if self._is_single(number)}
        self.readers: dict[int, list[int]] = defaultdict(list)
        self._written: dict[StepPair, list[int]] = defaultdict(list)
        for number, pair in enumerate(self.pairs):
            self._written[step_of(pair)].append(number)
            for source in pair.sources:
                self.readers[source].append(number)

    def run(self) -> Explained:
        self._own_changes()
        self._other_inputs()
        self._one_sided()
        self._contents()
        self._circles()
        return self.found

    def _is_single(self, number: int) -> bool:
        """Whether it is on one side only; a run that wrote nothing, here, may have its counterpart there."""
        pair = self.pairs[number]
        return None in (pair.a, pair.b) and (pair.is_asset or not self._both_sides(step_of(pair)))

    def _readings(self, number: int) -> Iterator[Reading]:
        """Of a pair with two sides: what was read on one of them only, by asset."""
        pair = self.pairs[number]
        if pair.a is None or pair.b is None:
            return
        before, after = self._by_group(pair.before - pair.after), self._by_group(pair.after - pair.before)
        for group in sorted(before.keys() | after.keys()):
            old, new = before.get(group, []), after.get(group, [])
            one_sided = any(None in (self.pairs[n].a, self.pairs[n].b) for n in (*old, *new))
            if one_sided or _contents_of(self.pairs, old, 0) != _contents_of(self.pairs, new, 1):
                yield Reading(reader=number, group=group, before=tuple(old), after=tuple(new))

    def _by_group(self, numbers: set[int]) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = defaultdict(list)
        for number in sorted(numbers):
            found[self.pairs[number].items[0].group].append(number)
        return found

    def _add(self, beginning: Beginning) -> None:
        self.found.beginnings.append(beginning)

    def _own_changes(self) -> None:
        for step in sorted(self.own, key=_step_key):
            self._add(Beginning(kind="own", step=step, at=tuple(self._written.get(step, ()))))

    def _other_inputs(self) -> None:
        """One beginning for each step that reads something else; what only one side has of it came along."""
        by_step: dict[StepPair, list[Reading]] = defaultdict(list)
        for readings in self.readings.values():
            for reading in readings:
                by_step[step_of(self.pairs[reading.reader])].append(reading)
        for step, read in by_step.items():
            entries = {n for one in read for n in (*one.before, *one.after) if n in self.single}
            self._add(
                Beginning(
                    kind="inputs",
                    step=step,
                    at=tuple(sorted({reading.reader for reading in read})),
                    readings=tuple(read),
                    brought=self._take(entries),
                )
            )

    def _take(self, entries: Iterable[int]) -> tuple[int, ...]:
        """`entries` and what is upstream of them, as far as it is one-sided; each is taken once."""
        taken, waiting = [], deque(sorted(entries))
        while waiting:
            number = waiting.popleft()
            if number in self.single:
                self.single.discard(number)
                taken.append(number)
                waiting.extend(sorted(self.pairs[number].sources))
        return tuple(taken)

    def _one_sided(self) -> None:
        """What is on one side only and read by nothing else of that kind; the last published in a circle."""
        ends = [number for number in sorted(self.single) if not self._is_read_on(number)]
        by_step: dict[StepPair, list[int]] = defaultdict(list)
        for number in ends:
            by_step[step_of(self.pairs[number])].append(number)
        for step, numbers in by_step.items():
            self._begin_one_sided(step, numbers)
        for number in sorted(self.single, key=lambda n: (_published(self.pairs[n]), n), reverse=True):
            if number in self.single:
                self._begin_one_sided(step_of(self.pairs[number]), [number])

    def _begin_one_sided(self, step: StepPair, numbers: list[int]) -> None:
        """One beginning for a step of one side; else one for each asset that no change of a step explains."""
        counterparts = self._both_sides(step)
        if not self.own.isdisjoint(counterparts):
            self._take(numbers)
            return
        self.found.begun.update(numbers)
        if step in self.steps:
            brought = tuple(n for n in self._take(numbers) if n not in numbers)
            self._add(Beginning(kind="step", step=step, at=tuple(numbers), brought=brought))
            return
        for number in numbers:
            brought = tuple(n for n in self._take([number]) if n != number)
            of = counterparts[0] if counterparts else step
            self._add(Beginning(kind="asset", step=of, at=(number,), brought=brought))

    def _is_read_on(self, number: int) -> bool:
        return any(reader in self.single for reader in self.readers[number] if reader != number)

    def _both_sides(self, step: StepPair) -> list[StepPair]:
        """The steps with runs on both sides that a run of one side belongs to."""
        return self._together[0, step[0]] + self._together[1, step[1]]

    def _contents(self) -> None:
        for number, pair in enumerate(self.pairs):
            if self.verdicts[number] == "changed" and not self._is_explained(number):
                self._begin_content(number, pair)

    def _begin_content(self, number: int, pair: Pair, *, circular: bool = False) -> None:
        self.found.begun.add(number)
        kind: Literal["source", "content"] = "content" if pair.sources - {number} else "source"
        self._add(Beginning(kind=kind, step=step_of(pair), at=(number,), circular=circular))

    def _is_explained(self, number: int) -> bool:
        """Whether its step differs in itself, or anything that it was made of does."""
        pair = self.pairs[number]
        sources = pair.sources - {number}
        return (
            step_of(pair) in self.own
            or bool(self.readings[number])
            or any(self.verdicts[source] in DIFFERS for source in sources)
        )

    def _circles(self) -> None:
        """Whatever differs and came of no beginning explains itself in a circle."""
        reached: set[int] = set()
        self._spread(reached, (n for one in self.found.beginnings for n in (*one.at, *one.brought)))
        left = {n for n, verdict in enumerate(self.verdicts) if verdict == "changed"} - reached
        while left:
            number = min(left, key=lambda n: (_published(self.pairs[n]), n))
            self._begin_content(number, self.pairs[number], circular=True)
            self._spread(reached, [number])
            left -= reached

    def _spread(self, reached: set[int], starts: Iterable[int]) -> None:
        """Add to `reached` what differs downstream of `starts`, and these."""
        waiting = deque(starts)
        while waiting:
            number = waiting.popleft()
            if number not in reached:
                reached.add(number)
                if self.verdicts[number] in DIFFERS:
                    waiting.extend(r for r in self.readers[number] if self.verdicts[r] in DIFFERS)


def _contents_of(pairs: Sequence[Pair], numbers: Iterable[int], side: int) -> list[str]:
    items = [pairs[number].a if side == 0 else pairs[number].b for number in numbers]
    return sorted(item.version or item.id.hex() for item in items if item is not None)


def _published(pair: Pair) -> tuple[int, bytes]:
    item = pair.items[-1]
    return (item.at if item.at is not None else -(2**62), item.id)


def _step_key(step: StepPair) -> tuple[bytes, bytes]:
    return (step[0] or b"", step[1] or b"")


# -- paths ------------------------------------------------------------------------------


class Paths:
    """The shortest ways from a pair to what was asked for: through what may differ, else through anything."""

    def __init__(self, matched: Matched, verdicts: Sequence[Verdict]) -> None:
        self._pairs = matched.pairs
        soft = {n for n, verdict in enumerate(verdicts) if verdict in _MAY_DIFFER}
        self._soft = self._from(set(matched.targets) & soft, soft)
        self._any = self._from(set(matched.targets), None)

    def _from(self, targets: Iterable[int], within: set[int] | None) -> dict[int, tuple[int, int | None]]:
        """By pair: how far away it is, and the next on its way."""
        found: dict[int, tuple[int, int | None]] = dict.fromkeys(sorted(targets), (0, None))
        waiting = deque(found)
        while waiting:
            number = waiting.popleft()
            for source in sorted(self._pairs[number].sources):
                if source not in found and (within is None or source in within):
                    found[source] = (found[number][0] + 1, number)
                    waiting.append(source)
        return found

    def distance(self, number: int) -> int:
        """How many steps lie between a pair and what was asked for."""
        return self._any.get(number, (0, None))[0]

    def reaches(self, number: int) -> bool:
        """Whether a pair may have changed what was asked for: all on some way to it may differ."""
        return number in self._soft

    def path(self, number: int) -> list[int]:
        """The pairs on the way, from `number` on."""
        steps = self._soft if number in self._soft else self._any
        found: list[int] = []
        at: int | None = number
        while at is not None and at in steps:
            found.append(at)
            at = steps[at][1]
        return found
