"""step: what `@step` adds to a function, beside a step of flowyml.

Ours tells five events for each call: started, consumed, created, completed, closed. The
budget leaves the hashing of contents out, so the asset states its version; a second figure
passes a small DataFrame, statistics and digest included.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count as count_from
from pathlib import Path
from typing import Any

from bench import isolated, peers
from bench.events import digest
from bench.rows import Figure, percentile
from bench.scale import Scale

BUDGET_US = 300.0


def figures(scale: Scale) -> Iterator[Figure]:
    ours, frames, theirs = list[dict[str, float]](), list[dict[str, float]](), list[float]()
    for _ in range(scale.runs):
        ours.append(isolated.call("bench.step:stating_versions", count=scale.steps))
        frames.append(isolated.call("bench.step:passing_frames", count=scale.steps))
        theirs += peers.FLOWYML.call("steps", count=scale.peer_steps, runs=1)
    peer = [value * 1e6 for value in theirs]
    compared = (
        f"the peer: a pipeline of {scale.peer_steps} steps that hand on an int, its web page not started"
    )
    for name, runs, fixture, budget in (
        (
            "step:overhead:p50",
            ours,
            "one asset in, one out, version stated; within a pipeline; spool",
            BUDGET_US,
        ),
        (
            "step:dataframe:p50",
            frames,
            "a DataFrame of 1,000 × 5 in, another out; within a pipeline; spool",
            None,
        ),
    ):
        yield Figure(
            name=name,
            unit="µs",
            values=[run["p50"] for run in runs],
            budget=budget,
            peer=peers.FLOWYML.title,
            peer_values=peer,
            fixture=f"{fixture}; {scale.steps} steps a run after a warm-up, GC on",
            note=f"p99 {percentile([run['p99'] for run in runs], 0.5):,.0f} µs; "
            f"the same function without `@step` {runs[0]['bare']:.1f} µs, taken off; {compared}",
        )


# -- in a process of their own ------------------------------------------------------------


def stating_versions(count: int) -> dict[str, float]:
    """µs that `@step` adds to a call that takes an asset and makes one."""
    from headwater.emitter import Artifact, step

    versions = (f"bytes1:{digest(number)}" for number in count_from(0))

    def advance(thing: Any) -> Any:
        return Artifact.create(name="thing", version=next(versions))

    def bare(thing: Any) -> Any:
        return next(versions)

    with _pipeline():
        advance.__annotations__ = {"thing": Artifact, "return": Artifact}
        return _overhead(step(advance), bare, lambda: advance(None), count)


def passing_frames(count: int) -> dict[str, float]:
    """µs that `@step` adds to a call that takes a DataFrame and returns a new one."""
    import numpy
    import pandas

    from headwater.emitter import step

    values = numpy.random.default_rng(7).normal(size=(1_000, 5))
    first = pandas.DataFrame(values, columns=list("abcde"))

    def advance(frame: pandas.DataFrame) -> pandas.DataFrame:
        return frame + 1

    with _pipeline():
        return _overhead(step(advance), advance, lambda: first, count)


def _overhead(
    follows: Callable[[Any], Any], bare: Callable[[Any], Any], first: Callable[[], Any], count: int
) -> dict[str, float]:
    plain = percentile(_chain(bare, first(), count), 0.5)
    _chain(follows, first(), max(5, count // 10))
    taken = _chain(follows, first(), count)
    return {
        "p50": (percentile(taken, 0.5) - plain) / 1e3,
        "p99": (percentile(taken, 0.99) - plain) / 1e3,
        "bare": plain / 1e3,
    }


def _chain(function: Callable[[Any], Any], value: Any, count: int) -> list[int]:
    """Nanoseconds of each call, each on what the one before returned."""
    taken = []
    for _ in range(count):
        began = time.perf_counter_ns()
        value = function(value)
        taken.append(time.perf_counter_ns() - began)
    return taken


class _pipeline:
    """A pipeline under way, whose events go to a spool in a folder that is thrown away."""

    def __enter__(self) -> None:
        from headwater.emitter import Settings, configure, pipeline

        self._folder = tempfile.TemporaryDirectory(prefix="hw-bench-")
        log = Path(self._folder.name)
        configure(Settings(project="bench", log=log, profile="regulated"))
        self._run = pipeline("bench", project="bench")
        self._run.__enter__()

    def __exit__(self, *_: object) -> None:
        from headwater.emitter.emitter import current

        self._run.__exit__(None, None, None)
        current().close()
        self._folder.cleanup()
