"""A topic whose records cannot be read is halted before all of it is parked, and only it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.consumers import breaker
from headwater.consumers.breaker import Breaker, BudgetSpent, Limits, State, limits_of
from headwater.consumers.log import SEGMENTS, Partition, Record
from headwater.consumers.quarantine import budgets
from headwater.consumers.runner import Runner
from headwater.consumers.store import Store, open_store
from headwater.schemas.errors import Misconfigured, Unparseable
from headwater.schemas.openlineage import parse
from tests.replay.product import MemoryLog
from tests.support.logs import run_event

BAD = b"garbage"
TIGHT = {"": Limits(in_a_row=10, share=0.5, of_last=40)}
REFUSAL = Unparseable(path="byte 0", value="'garbage'", rule="JSON")
EVENT = parse(run_event(1))


def good(count: int) -> list[bytes]:
    return [run_event(number) for number in range(count)]


class TwoTopics(MemoryLog):
    """Partition 0 is the native topic, partition 1 another one."""

    native = "native"

    def __init__(self, native: list[bytes], foreign: list[bytes]) -> None:
        super().__init__(native, foreign)
        renamed = {}
        for number, topic in enumerate(("native@1", "foreign@2")):
            records = self._records[Partition(self.topic, str(number))]
            renamed[Partition(topic, "0")] = [
                Record(topic, "0", each.offset, each.appended_at, each.value, 0) for each in records
            ]
        self._records = renamed


def runner(store: Store, source: MemoryLog, batch: int = 7) -> Runner:
    return Runner(store, source, breaker=Breaker(limits=TIGHT, native=source.native), batch_records=batch)


@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_a_foreign_topic_of_garbage_halts_at_its_budget_and_the_native_one_goes_on(
    store_url: str, batch: int
) -> None:
    with open_store(store_url, create=True) as store:
        source = TwoTopics(good(30), [*good(5), *[BAD] * 100])
        done = runner(store, source, batch).run()
        assert (done.applied, done.duplicate, done.quarantined) == (30, 5, 10)
        assert list(done.spent) == ["foreign@2"]
        (told,) = budgets(store, TIGHT)
        assert (told.topic, told.parked, told.in_a_row, told.halted) == ("foreign@2", 10, 10, True)


@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_a_spent_budget_stays_spent_after_a_restart_until_a_person_says_go_on(
    store_url: str, batch: int
) -> None:
    with open_store(store_url, create=True) as store:
        source = TwoTopics([], [BAD] * 25)
        assert runner(store, source, batch).run().quarantined == 10
        assert runner(store, source, batch).run().seen == 0
        with store.writing() as tx:
            assert breaker.resume(tx, "foreign") == 1
        again = runner(store, source, batch).run()
        assert (again.quarantined, list(again.spent)) == (10, ["foreign@2"])
        with store.writing() as tx, pytest.raises(Misconfigured, match="no topic"):
            breaker.resume(tx, "elsewhere")


def test_a_running_consumer_hears_that_it_may_go_on(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        source = TwoTopics([], [BAD] * 15)
        running = runner(store, source)
        assert running.run().quarantined == 10
        with store.writing() as tx:
            breaker.resume(tx, "foreign")
        running._budgets_at = -100.0  # as if seconds had passed
        assert running.run().quarantined == 15
        assert running.progress.spent == {}


def test_the_native_topic_s_spent_budget_ends_the_consumer(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        source = TwoTopics([BAD] * 50, good(3))
        with pytest.raises(BudgetSpent, match="quarantine resume native") as spent:
            runner(store, source, 100).run()
        assert spent.value.in_a_row == 10
        with pytest.raises(BudgetSpent):
            runner(store, source).run()


def test_half_of_the_last_records_is_too_much_and_a_few_are_not(store_url: str) -> None:
    with open_store(store_url, create=True) as store:
        mixed = [value for number in range(40) for value in (run_event(number), BAD)]
        done = runner(store, TwoTopics([], mixed)).run()
        # 21 of the last 40, or as many as there were before them.
        assert 10 <= done.quarantined < 40
        assert done.spent
    with open_store(store_url) as store:
        seldom = [BAD if number % 5 == 0 else run_event(100 + number) for number in range(200)]
        assert runner(store, TwoTopics(seldom, [])).run().quarantined == 40


class Segments(MemoryLog):
    """Many short partitions of one topic."""

    native = SEGMENTS

    def __init__(self, *values: list[bytes]) -> None:
        super().__init__(*values)
        self._records = {
            Partition(SEGMENTS, f"{int(part.number):04}"): [
                Record(SEGMENTS, f"{int(part.number):04}", each.offset, each.appended_at, each.value, 0)
                for each in records
            ]
            for part, records in self._records.items()
        }


class TestSegments:
    def test_a_bad_record_now_and_then_over_many_segments_spends_nothing(self, store_url: str) -> None:
        log = Segments(*([BAD, *good(9)] for _ in range(60)))
        with open_store(store_url, create=True) as store:
            for _ in range(3):  # as it is read, and after restarts
                assert not runner(store, log).run().spent
            (told,) = budgets(store, TIGHT)
            assert (told.parked, told.halted) == (60, False)
            with store.connecting() as connection:
                known = Breaker(limits=TIGHT)
                known.refresh(connection)
                assert known.state(SEGMENTS) == State(4, 40, 0)

    def test_many_short_segments_of_garbage_spend_the_budget_and_it_stays_spent(self, store_url: str) -> None:
        log = Segments(*(good(10) for _ in range(20)), *([BAD, run_event(1)] for _ in range(60)))
        with open_store(store_url, create=True) as store:
            for _ in range(2):
                with pytest.raises(BudgetSpent, match="of its last 4"):
                    runner(store, log).run()
            with store.writing() as connection:
                breaker.resume(connection, SEGMENTS)
            with pytest.raises(BudgetSpent):
                runner(store, log).run()


def test_records_that_the_store_refuses_count_as_well(store_url: str) -> None:
    from tests.unit.test_runner import RefusingOne

    with open_store(store_url, create=True) as store:
        values = good(4)
        source = TwoTopics([], values)
        limits = {"": Limits(in_a_row=1, share=1.0, of_last=10)}
        done = Runner(
            store,
            source,
            projection=RefusingOne(values[2]),
            breaker=Breaker(limits=limits, native="native"),
        ).run()
        assert (done.applied, done.quarantined, len(done.spent)) == (2, 1, 1)


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(st.booleans(), max_size=80),
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
)
def test_where_a_topic_halts_does_not_depend_on_the_batches(said: list[bool], cuts: list[int]) -> None:
    limits = Limits(in_a_row=5, share=0.6, of_last=20)
    records = [
        (Record("t", "0", offset, 0, b"", 0), EVENT if readable else REFUSAL)
        for offset, readable in enumerate(said)
    ]

    def passed(sizes: list[int]) -> int:
        found, start, turn = Breaker(limits={"": limits}), 0, 0
        while start < len(records):
            batch = records[start : start + sizes[turn % len(sizes)]]
            kept = found.within(batch)
            found.committed()
            if len(kept) < len(batch):
                return start + len(kept)
            start, turn = start + len(batch), turn + 1
        return start

    assert passed(cuts) == passed([1]) == oracle(said, limits)


def oracle(said: list[bool], limits: Limits) -> int:
    """How many records are passed, told plainly."""
    for end in range(1, len(said) + 1):
        if said[end - 1]:
            continue
        refused = said[max(0, end - limits.of_last) : end].count(False)
        in_a_row = next((n for n, readable in enumerate(reversed(said[:end])) if readable), end)
        many = refused >= limits.in_a_row and refused >= limits.share * min(limits.of_last, end)
        if many or in_a_row >= limits.in_a_row:
            return end
    return len(said)


class TestLimits:
    def test_a_topic_s_own_limits_replace_the_general_ones(self) -> None:
        found = limits_of({"in_a_row": 20, "topics": {"dbt": {"share": 1}}})
        assert found == {"": Limits(in_a_row=20), "dbt": Limits(in_a_row=20, share=1)}
        assert limits_of(None) == {}

    @pytest.mark.parametrize(
        "said",
        [
            [],
            {"share": 0},
            {"share": 2},
            {"in_a_row": True},
            {"in_a_row": 0},
            {"of_last": 10},
            {"often": 1},
            {"topics": 3},
            {"topics": {"a": {"of_last": 0.5}}},
        ],
    )
    def test_a_limit_that_is_none_is_refused_with_its_place(self, said: object) -> None:
        with pytest.raises(Misconfigured, match="quarantine"):
            limits_of(said)


def test_a_spent_budget_travels_between_processes() -> None:
    import pickle

    spent = BudgetSpent(topic="t@1", refused=3, seen=4, in_a_row=2)
    assert str(pickle.loads(pickle.dumps(spent))) == str(spent)  # noqa: S301 - our own bytes


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/lineage.db"
