"""Steps in threads, tasks and forked processes: each call has its own run, below the right one."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest

from headwater.emitter import (
    Dataset,
    Settings,
    active_run,
    configure,
    in_context,
    log_metric,
    pipeline,
    step,
)
from headwater.emitter import emitter as emitters
from headwater.schemas import events
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import recognise
from headwater.schemas.segment import SegmentReader, list_segments
from tests.support.recorded import Recorded, names


@step
def square(n: int) -> np.ndarray:
    return np.full(3, n * n)


class TestThreads:
    def test_in_context_keeps_a_pool_within_its_pipeline(self, log: Recorded) -> None:
        with pipeline("p") as run, ThreadPoolExecutor(4) as pool:
            results = list(pool.map(in_context(square), range(40)))
        assert [int(r[0]) for r in results] == [n * n for n in range(40)]
        started = log.of(events.StepStarted)
        assert {event.parent.id for event in started if event.parent} == {run.id}
        assert sorted(int(str(event.parameters["n"])) for event in started) == list(range(40))
        assert len(log.of(events.StepCompleted)) == 40
        assert len({event.run.id for event in started}) == 40

    def test_a_copied_context_needs_no_help(self, log: Recorded) -> None:
        with pipeline("p") as run:
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(square, 3))
            thread.start()
            thread.join()
        assert log.one(events.StepStarted).parent == run.run

    def test_a_bare_thread_has_runs_of_its_own(self, log: Recorded) -> None:
        with pipeline("p"):
            thread = threading.Thread(target=square, args=(3,))
            thread.start()
            thread.join()
        assert log.one(events.StepStarted).parent is None

    def test_one_asset_read_by_many_threads_is_read_once_by_each_run(self, log: Recorded) -> None:
        @step
        def use(data: pd.DataFrame) -> None:
            return None

        with pipeline("p"), ThreadPoolExecutor(8) as pool:
            frame = Dataset.create(pd.DataFrame({"a": [1]}), name="shared").data
            list(pool.map(in_context(use), [frame] * 50))
        assert names(log.consumed("p.use")) == ["shared"] * 50

    def test_the_chain_of_events_has_no_gap(self, log: Recorded) -> None:
        with pipeline("p"), ThreadPoolExecutor(8) as pool:
            list(pool.map(in_context(square), range(50)))
        sequences = [
            parse(v).document["run"]["facets"]["headwater_emission"]["sequence"] for v in log.sink.values
        ]
        assert sequences == list(range(len(sequences)))


class TestAsyncio:
    def test_concurrent_coroutines_do_not_mix_their_runs(self, log: Recorded) -> None:
        seen: dict[int, Any] = {}

        @step
        async def fetch(n: int) -> np.ndarray:
            mine = active_run()
            await asyncio.sleep(0.001 * (5 - n % 5))
            assert active_run() is mine
            seen[n] = mine
            return np.full(2, n)

        async def main() -> list[np.ndarray]:
            with pipeline("p"):
                return list(await asyncio.gather(*(fetch(n) for n in range(20))))

        results = asyncio.run(main())
        assert [int(r[0]) for r in results] == list(range(20))
        for event in log.of(events.StepStarted):
            assert seen[int(str(event.parameters["n"]))].id == event.run.id
        assert len(log.of(events.StepCompleted)) == 20

    def test_a_coroutine_step_inside_another_is_its_child(self, log: Recorded) -> None:
        @step
        async def inner() -> pd.DataFrame:
            return pd.DataFrame({"a": [1]})

        @step
        async def outer() -> None:
            await asyncio.create_task(inner())

        asyncio.run(outer())
        assert log.one(events.StepStarted, "outer.inner").parent == log.one(events.StepStarted, "outer").run

    def test_a_cancelled_step_fails(self, log: Recorded) -> None:
        @step
        async def waits() -> None:
            await asyncio.sleep(60)

        async def main() -> None:
            task = asyncio.ensure_future(waits())
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert log.one(events.StepFailed).failure.type.endswith("CancelledError")

    def test_to_thread_inherits_the_run(self, log: Recorded) -> None:
        async def main() -> None:
            with pipeline("p"):
                await asyncio.to_thread(square, 2)

        asyncio.run(main())
        assert log.one(events.StepStarted).run.job.name == "p.square"

    def test_an_asynchronous_generator_is_followed(self, log: Recorded) -> None:
        inside = []

        @step
        async def batches() -> AsyncIterator[Annotated[np.ndarray, "batch"]]:
            for n in range(3):
                inside.append(active_run())
                await asyncio.sleep(0)
                yield np.full(2, n)

        async def main() -> int:
            count = 0
            with pipeline("p") as outer:
                async for _ in batches():
                    assert active_run() is outer
                    count += 1
            return count

        assert asyncio.run(main()) == 3
        assert names(log.created("p.batches")) == ["batch"] * 3
        assert {run.name for run in inside if run} == {"batches"}
        assert len(log.of(events.StepCompleted)) == 1

    def test_an_asynchronous_generator_closed_early_ends_well(self, log: Recorded) -> None:
        closed = []

        @step
        async def endless() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
            finally:
                closed.append(True)

        async def main() -> None:
            items = endless()
            await anext(items)
            await items.aclose()  # type: ignore[attr-defined]

        asyncio.run(main())
        assert closed == [True]
        assert len(log.of(events.StepCompleted)) == 1

    def test_values_sent_and_exceptions_thrown_reach_an_asynchronous_generator(self, log: Recorded) -> None:
        @step
        async def talk() -> Any:
            heard = yield 1
            try:
                yield heard
            except LookupError:
                yield "caught"

        async def main() -> list[object]:
            talking = talk()
            return [await anext(talking), await talking.asend("hello"), await talking.athrow(LookupError())]

        assert asyncio.run(main()) == [1, "hello", "caught"]

    def test_a_coroutine_that_a_plain_function_returns_is_followed(self, log: Recorded) -> None:
        async def work() -> np.ndarray:
            return np.zeros(2)

        @step
        def start() -> Any:
            return work()

        assert asyncio.run(start()).shape == (2,)
        assert names(log.created("start")) == ["start"]


def _child(results: Any) -> None:
    square(7)
    results.put((os.getpid(), emitters.current().emitter_id))


class TestForks:
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    def test_a_step_in_a_forked_process_belongs_to_the_pipeline_that_forked(self, tmp_path: Path) -> None:
        configure(Settings(project="crm", log=tmp_path))
        context = multiprocessing.get_context("fork")
        with pipeline("p") as run:
            results = context.Queue()
            child = context.Process(target=_child, args=(results,))
            child.start()
            results.get(timeout=30)
            child.join(30)
        emitters.current().close()
        found = _from_segments(tmp_path)
        started = [event for event in found if isinstance(event, events.StepStarted)]
        assert [event.parent.id for event in started if event.parent] == [run.id]
        assert len([event for event in found if isinstance(event, events.PipelineCompleted)]) == 1

    def test_a_forked_process_that_leaves_the_block_does_not_end_the_pipeline(self, tmp_path: Path) -> None:
        configure(Settings(project="crm", log=tmp_path))
        with pipeline("p"):
            Dataset.create(np.zeros(2), name="before")
            child = os.fork()
            if child == 0:
                Dataset.create(np.ones(2), name="in the child")
        if child == 0:
            emitters.current().close()
            os._exit(0)
        os.waitpid(child, 0)
        emitters.current().close()
        found = _from_segments(tmp_path)
        assert len([event for event in found if isinstance(event, events.PipelineCompleted)]) == 1
        created = [e.asset.name for e in found if isinstance(e, events.AssetCreated)]
        assert sorted(created) == ["before", "in the child"]
        closed = {e.emitter_id for e in found if isinstance(e, events.RunClosed)}
        assert len(closed) == 2


def test_metrics_from_many_threads_are_all_kept(log: Recorded) -> None:
    @step
    def train() -> None:
        def report(n: int) -> None:
            log_metric("loss", float(n), n)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(in_context(report), range(3_000)))

    train()
    points = [point for event in log.of(events.MetricsLogged) for point in event.points]
    assert sorted(point.step for point in points) == list(range(3_000))


def _from_segments(folder: Path) -> list[events.Event]:
    found: list[events.Event] = []
    for path in list_segments(folder):
        reader = SegmentReader(path)
        found += [event for frame in reader.read() if (event := recognise(parse(frame.value))) is not None]
        reader.close()
    return found
