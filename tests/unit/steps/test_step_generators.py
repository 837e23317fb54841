"""Steps that yield: items are recorded as they come, and nothing is taken out of the protocol."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headwater.emitter import (
    active_run,
    pipeline,
    step,
)
from headwater.schemas import events
from tests.support.recorded import Recorded, names

FRAME = pd.DataFrame({"tenure": [1, 12, 40], "churned": [0, 1, 0]})


class TestGenerators:
    def test_items_are_recorded_as_they_are_yielded(self, log: Recorded) -> None:
        @step
        def chunks() -> Iterator[pd.DataFrame]:
            yield FRAME.copy()
            yield FRAME + 1

        items = chunks()
        assert log.events == []
        next(items)
        assert log.story()[-1] == "AssetCreated chunks chunks"
        assert len(list(items)) == 1
        assert names(log.one(events.StepCompleted).outputs) == ["chunks", "chunks"]

    def test_values_sent_exceptions_thrown_and_the_return_value_get_through(self, log: Recorded) -> None:
        @step
        def talk() -> Any:
            heard = yield 1
            try:
                yield heard
            except LookupError:
                yield "caught"
            return "done"

        talking = talk()
        assert next(talking) == 1
        assert talking.send("hello") == "hello"
        assert talking.throw(LookupError()) == "caught"
        with pytest.raises(StopIteration) as stopped:
            next(talking)
        assert stopped.value.value == "done"
        assert len(log.of(events.StepCompleted)) == 1

    def test_stopping_early_is_a_good_end_and_closes_the_step_itself(self, log: Recorded) -> None:
        closed = []

        @step
        def endless() -> Iterator[int]:
            try:
                while True:
                    yield 1
            finally:
                closed.append(active_run())

        items = endless()
        next(items)
        items.close()  # type: ignore[attr-defined]
        assert [run.name for run in closed if run] == ["endless"]
        assert len(log.of(events.StepCompleted)) == 1

    def test_an_exception_in_the_middle_fails_the_run(self, log: Recorded) -> None:
        @step
        def breaks() -> Iterator[int]:
            yield 1
            raise ValueError("half way")

        with pytest.raises(ValueError, match="half way"):
            list(breaks())
        assert log.one(events.StepFailed).failure.message == "half way"

    def test_the_step_is_active_inside_and_not_between_the_items(self, log: Recorded) -> None:
        inside = []

        @step
        def items() -> Iterator[int]:
            inside.append(active_run())
            yield 1
            inside.append(active_run())

        with pipeline("p") as outer:
            for _ in items():
                assert active_run() is outer
        assert {run.name for run in inside if run} == {"items"}

    def test_a_consumer_reads_the_items_and_is_not_their_parent(self, log: Recorded) -> None:
        @step
        def chunks() -> Iterator[pd.DataFrame]:
            yield FRAME.copy()
            yield FRAME + 1

        @step
        def total(parts: Iterator[pd.DataFrame]) -> float:
            return float(sum(part.tenure.sum() for part in parts))

        with pipeline("p") as run:
            total(chunks())
        assert log.one(events.StepStarted, "p.chunks").parent == run.run
        assert names(log.consumed("p.total")) == ["chunks", "chunks"]

    def test_a_reused_buffer_is_a_new_version_each_time(self, log: Recorded) -> None:
        @step
        def batches() -> Iterator[np.ndarray]:
            buffer = np.zeros(4)
            for n in range(3):
                buffer[:] = n
                yield buffer

        list(batches())
        assert len({asset.version for asset in log.created("batches")}) == 3

    def test_the_same_content_yielded_again_is_written_once(self, log: Recorded) -> None:
        @step
        def batches() -> Iterator[np.ndarray]:
            yield np.zeros(4)
            yield np.zeros(4)

        list(batches())
        assert len(log.created("batches")) == 1

    def test_a_generator_that_a_plain_function_returns_is_followed(self, log: Recorded) -> None:
        @step
        def lazily() -> Iterator[pd.DataFrame]:
            return (FRAME + n for n in range(2))

        assert len(list(lazily())) == 2
        assert len(log.created("lazily")) == 2
        assert len(log.of(events.StepCompleted)) == 1

    @pytest.mark.parametrize("lazily", ["generator", "asynchronous", "coroutine"])
    @pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
    def test_a_run_whose_generator_nobody_asks_for_an_item_ends_with_it(
        self, log: Recorded, lazily: str
    ) -> None:
        async def items() -> Any:
            yield 1

        async def item() -> int:
            return 1

        @step
        def returns() -> Any:
            return {"generator": (n for n in range(2)), "asynchronous": items(), "coroutine": item()}[lazily]

        result = returns()
        assert log.of(events.StepCompleted) == []
        del result
        gc.collect()
        assert len(log.of(events.StepCompleted)) == 1

    @pytest.mark.parametrize("items", [1, 2, 3])
    def test_a_run_whose_generator_was_asked_for_items_ends_once(
        self, log: Recorded, caplog: pytest.LogCaptureFixture, items: int
    ) -> None:
        @step
        def lazily() -> Iterator[int]:
            return (n for n in range(2))

        result = lazily()
        assert len([n for n, _ in zip(range(items), result, strict=False)]) == min(items, 2)
        del result
        gc.collect()
        assert len(log.of(events.StepCompleted)) == 1
        assert caplog.messages == []
