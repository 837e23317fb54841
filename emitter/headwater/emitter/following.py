"""Results that come later: coroutines, generators and asynchronous generators of a step.

Each stands in for the step's own object and passes on what goes in and comes out: values
sent, exceptions thrown, `close`. While the step's code runs its run is the active one; what
it yields is recorded before its consumer sees it.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Protocol

from headwater.emitter.context import activated
from headwater.emitter.naming import Plan
from headwater.emitter.steps import StepRun

FOLLOWED: frozenset[type] = frozenset((types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType))

_NOTHING = Plan()


class Recorder(Protocol):
    """What is to be done with what a step yields and returns."""

    @property
    def plan(self) -> Plan: ...

    def hand_over(self, run: StepRun, value: object, said: Plan) -> None: ...

    def finish(self, run: StepRun, value: object, said: Plan | None = None) -> None: ...


def followed(recorder: Recorder, begin: Callable[[], StepRun | None], result: Any) -> Any:
    """`result`, one of the types `FOLLOWED`, followed to its end; `begin` is called when its code starts."""
    if isinstance(result, types.GeneratorType):
        return follow_generator(recorder, begin, result)
    if isinstance(result, types.AsyncGeneratorType):
        return follow_async_generator(recorder, begin, result)
    return follow_coroutine(recorder, begin, result)


def handed_out(recorder: Recorder, run: StepRun, result: Any) -> Any:
    """`result` of a run under way, followed; if nobody ever asks it for anything, the run ends with it."""

    def begin() -> StepRun:
        waiting.detach()  # from here on what stands in for `result` says how the run ends
        return run

    following = followed(recorder, begin, result)
    waiting = weakref.finalize(following, run.abandoned)
    waiting.atexit = False  # at exit the emitter says which runs are still open
    return following


async def follow_coroutine(
    recorder: Recorder, begin: Callable[[], StepRun | None], coroutine: Coroutine[Any, Any, Any]
) -> Any:
    """Awaits the step's coroutine within its run."""
    run = begin()
    if run is None:
        return await coroutine
    try:
        with activated(run):
            result = await coroutine
    except BaseException as error:
        run.fail(error)
        raise
    recorder.finish(run, result)
    return result


def follow_generator(
    recorder: Recorder, begin: Callable[[], StepRun | None], generator: Generator[Any, Any, Any]
) -> Generator[Any, Any, Any]:
    """Yields what the step yields; closing it early is a good end, its consumer had enough."""
    run = begin()
    if run is None:
        return (yield from generator)
    said = recorder.plan.of_an_item()
    resume: Callable[[], Any] = functools.partial(next, generator)
    try:
        while True:
            try:
                with activated(run):
                    item = resume()
            except StopIteration as stop:
                recorder.finish(run, stop.value, _NOTHING)
                return stop.value
            recorder.hand_over(run, item, said)
            try:
                sent = yield item
            except GeneratorExit:
                with activated(run):
                    generator.close()
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, and passed on
                resume = functools.partial(generator.throw, error)
            else:
                resume = functools.partial(generator.send, sent)
    except GeneratorExit:
        run.complete()
        raise
    except BaseException as error:
        run.fail(error)
        raise


async def follow_async_generator(
    recorder: Recorder, begin: Callable[[], StepRun | None], generator: AsyncGenerator[Any, Any]
) -> AsyncGenerator[Any, Any]:
    """As `follow_generator`, for an asynchronous one."""
    run = begin()
    if run is None:
        async for item in generator:
            yield item
        return
    said = recorder.plan.of_an_item()
    resume: Callable[[], Any] = generator.__anext__
    try:
        while True:
            try:
                with activated(run):
                    item = await resume()
            except StopAsyncIteration:
                run.complete()
                return
            recorder.hand_over(run, item, said)
            try:
                sent = yield item
            except GeneratorExit:
                with activated(run):
                    await generator.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, and passed on
                resume = functools.partial(generator.athrow, error)
            else:
                resume = functools.partial(generator.asend, sent)
    except GeneratorExit:
        run.complete()
        raise
    except BaseException as error:
        run.fail(error)
        raise
