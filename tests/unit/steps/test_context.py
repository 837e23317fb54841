"""Which run is active after blocks are left in any order."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.emitter import active_run, pipeline, step
from tests.support.recorded import Recorded


def test_a_block_that_is_left_before_the_one_inside_it_is_over(log: Recorded) -> None:
    outer, inner = pipeline("outer"), pipeline("inner")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert active_run() is inner
    inner.__exit__(None, None, None)
    assert active_run() is None


def test_a_pipeline_around_a_yield_does_not_keep_its_step_active(log: Recorded) -> None:
    @step
    def items() -> Iterator[int]:
        with pipeline("within"):
            yield 1

    for _ in items():
        active = active_run()
        assert active is None or active.name == "within"
    assert active_run() is None


def test_of_a_run_entered_twice_the_inner_block_is_left_first(log: Recorded) -> None:
    run = pipeline("p")
    with run:
        inner = pipeline("q")
        inner.__enter__()
        run.produce([1], name="a")
        assert active_run() is inner
        inner.__exit__(None, None, None)
        assert active_run() is run
