"""Exceptions pass through a step untouched, and our own never reach it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from headwater.emitter import (
    Artifact,
    Dataset,
    MemorySink,
    Model,
    Settings,
    configure,
    failures,
    log_metric,
    pipeline,
    step,
)
from headwater.schemas import events
from tests.support.recorded import Recorded, names

FRAME = pd.DataFrame({"tenure": [1, 12, 40], "churned": [0, 1, 0]})


class TestFailure:
    def test_the_exception_passes_through_untouched(self, log: Recorded) -> None:
        error = ValueError("no rows")

        @step
        def broken() -> None:
            raise error

        with pytest.raises(ValueError, match="no rows") as caught:
            broken()
        assert caught.value is error
        assert error.__cause__ is None
        assert error.__context__ is None
        assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1] == "broken"

    def test_the_run_fails_with_type_message_and_traceback_of_the_step_alone(self, log: Recorded) -> None:
        @step
        def broken(frame: pd.DataFrame) -> None:
            Artifact.create({"a": 1}, name="half done")
            raise KeyError("tenure")

        with pytest.raises(KeyError):
            broken(Dataset.create(FRAME.copy(), name="customers"))
        failed = log.one(events.StepFailed)
        assert (failed.failure.type, failed.failure.message) == ("KeyError", "'tenure'")
        assert names(failed.inputs) == ["customers"]
        assert names(failed.outputs) == ["half done"]
        assert 'raise KeyError("tenure")' in str(failed.failure.traceback)
        assert "decorator.py" not in str(failed.failure.traceback)
        assert log.of(events.StepCompleted, "broken") == []

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_an_interruption_is_recorded_and_passes_through(
        self, log: Recorded, kind: type[BaseException]
    ) -> None:
        @step
        def interrupted() -> None:
            raise kind

        with pytest.raises(kind), pipeline("churn"):
            interrupted()
        assert log.one(events.StepFailed).failure.type == kind.__name__
        assert log.one(events.PipelineFailed).failure.type == kind.__name__

    def test_a_huge_message_is_bounded_and_a_broken_one_survived(self, log: Recorded) -> None:
        class Unprintable(Exception):
            def __str__(self) -> str:
                raise RuntimeError("cannot be shown")

        @step
        def huge() -> None:
            raise ValueError("x" * 1_000_000)

        @step
        def unprintable() -> None:
            raise Unprintable

        with pytest.raises(ValueError, match="xxx"):
            huge()
        with pytest.raises(Unprintable):
            unprintable()
        first, second = log.of(events.StepFailed)
        assert len(first.failure.message) < 5_000
        assert "RuntimeError" in second.failure.message

    def test_a_deep_recursion_is_still_told(self, log: Recorded) -> None:
        def down(n: int) -> int:
            return down(n + 1)

        @step
        def deep() -> None:
            down(0)

        with pytest.raises(RecursionError):
            deep()
        assert log.one(events.StepFailed).failure.type == "RecursionError"


class TestOurOwnFailures:
    def test_an_object_that_cannot_be_looked_at_does_not_stop_the_step(self, log: Recorded) -> None:
        class Hostile(dict[str, object]):
            def items(self) -> Any:
                raise RuntimeError("no looking")

        @step
        def use(value: object) -> int:
            return 7

        log.failures_expected = True
        before = failures().get("step", 0) + failures().get("inputs", 0)
        assert use(Hostile(a=1)) == 7
        assert failures().get("step", 0) + failures().get("inputs", 0) > before

    def test_a_hostile_result_is_returned_all_the_same(self, log: Recorded) -> None:
        class Hostile(dict[str, object]):
            def items(self) -> Any:
                raise RuntimeError("no looking")

        @step
        def give() -> object:
            return hostile

        hostile = Hostile(a=1)
        log.failures_expected = True
        assert give() is hostile
        assert log.one(events.StepCompleted, "give").outputs == ()

    def test_names_for_outputs_that_are_no_names_do_not_stop_the_step(self, log: Recorded) -> None:
        numbered: Any = 3

        @step(outputs=numbered)
        def give() -> dict[str, int]:
            return {"a": 1}

        log.failures_expected = True
        assert give() == {"a": 1}
        assert len(log.of(events.StepCompleted, "give")) == 1

    def test_a_working_folder_that_is_gone_does_not_matter(
        self, log: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        @step
        def make() -> Dataset:
            return Dataset.create([{"a": 1}], location="rows.json", name="rows")

        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        log.failures_expected = True
        with pipeline("p"):
            assert make().name == "rows"
        monkeypatch.chdir(tmp_path)
        assert [event.run.job.name for event in log.of(events.StepCompleted)] == ["p.make"]
        assert len(log.of(events.PipelineStarted)) == 1

    def test_a_sink_that_refuses_everything_stops_nothing(self, log: Recorded) -> None:
        class Full(MemorySink):
            def append(self, value: bytes) -> Any:
                raise OSError(28, "No space left on device")

        configure(Settings(project="crm"), Full())

        @step
        def train(frame: pd.DataFrame) -> Model:
            log_metric("loss", 0.5)
            return Model.create(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), name="m")

        with pipeline("churn"):
            assert train(FRAME.copy()).name == "m"

    def test_in_the_regulated_profile_the_same_sink_stops_the_step_before_it_starts(
        self, log: Recorded
    ) -> None:
        class Full(MemorySink):
            def append(self, value: bytes) -> Any:
                raise OSError(28, "No space left on device")

        configure(Settings(project="crm", profile="regulated"), Full())
        ran = []

        @step
        def train() -> None:
            ran.append(1)

        with pytest.raises(OSError, match="No space left"):
            train()
        assert ran == []

    def test_in_the_regulated_profile_the_steps_own_exception_wins(self, log: Recorded) -> None:
        class Filling(MemorySink):
            full = False

            def append(self, value: bytes) -> Any:
                if self.full:
                    raise OSError(28, "No space left on device")
                return super().append(value)

        sink = Filling()
        configure(Settings(project="crm", profile="regulated"), sink)
        log.failures_expected = True

        @step
        def train() -> None:
            sink.full = True
            raise ValueError("the author's")

        with pytest.raises(ValueError, match="the author's"):
            train()
        sink.full = False
