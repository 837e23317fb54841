"""The explicit form: runs begun and ended by calls, for orchestrators."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from headwater.emitter import (
    Dataset,
    PipelineRun,
    active_run,
    pipeline,
    resume_step,
    start_pipeline,
    start_step,
    step,
)
from headwater.schemas import events
from headwater.schemas.errors import Misconfigured
from headwater.schemas.events import Job
from headwater.schemas.ids import uuid7
from tests.support.recorded import Recorded, names

FRAME = pd.DataFrame({"tenure": [1, 12, 40], "churned": [0, 1, 0]})


class TestAStep:
    def test_begun_and_ended_by_calls_tells_all_of_it(self, log: Recorded) -> None:
        with pipeline("churn") as churn:
            features = Dataset.create(FRAME.copy(), name="features")
        run = start_step("train", pipeline=churn, parameters={"depth": 8}, inputs=[features])
        run.consume("settings")
        run.log_metric("auc", 0.9)
        model = run.produce({"weights": [1, 2]}, name="churn-model", tags={"team": "crm"})
        run.complete()

        assert log.one(events.StepStarted).run.job == Job(namespace="crm", name="churn.train")
        assert log.one(events.StepStarted).parent == churn.run
        assert log.one(events.StepStarted).parameters == {"depth": 8}
        assert names(log.consumed("churn.train")) == ["features", "settings"]
        assert names(log.created("churn.train")) == ["churn-model", "train.metrics"]
        assert model.production == run.id
        assert log.story()[-2:] == ["StepCompleted churn.train", "RunClosed churn.train"]

    def test_is_not_active_unless_it_is_entered(self, log: Recorded) -> None:
        run = start_step("train")
        assert active_run() is None
        with run:
            assert active_run() is run
            Dataset.create(FRAME.copy(), name="inside")
        assert active_run() is None
        assert names(log.one(events.StepCompleted).outputs) == ["inside"]

    def test_as_a_block_fails_with_the_exception(self, log: Recorded) -> None:
        with pytest.raises(ValueError, match="no"), start_step("train"):
            raise ValueError("no")
        assert log.one(events.StepFailed).failure.message == "no"
        assert log.of(events.StepCompleted) == []

    def test_may_fail_by_a_call(self, log: Recorded) -> None:
        run = start_step("train")
        run.fail(ValueError("no rows"))
        assert log.one(events.StepFailed).failure.traceback is not None

    def test_ends_once(self, log: Recorded) -> None:
        run = start_step("train")
        run.complete()
        run.fail(ValueError())
        run.complete()
        assert log.story() == ["StepStarted train", "StepCompleted train", "RunClosed train"]

    def test_a_decorated_step_inside_its_block_is_its_child(self, log: Recorded) -> None:
        @step
        def inner() -> None:
            return None

        with start_step("outer") as run:
            inner()
        assert log.one(events.StepStarted, "outer.inner").parent == run.run

    def test_inputs_that_are_no_assets_are_told_and_not_raised(self, log: Recorded) -> None:
        log.failures_expected = True
        run = start_step("train", inputs=[3])
        run.complete()
        assert log.consumed("train") == []

    def test_produce_says_again_what_was_made_elsewhere(self, log: Recorded) -> None:
        made = Dataset.create(FRAME.copy(), name="made")
        run = start_step("copy")
        again = run.produce(made)
        run.complete()
        assert (again.version, again.production) == (made.version, run.id)
        assert names(log.created("copy")) == ["made"]

    def test_a_run_id_of_an_orchestrator_is_kept(self, log: Recorded) -> None:
        run_id = uuid7()
        assert start_step("train", run_id=run_id).id == run_id


class TestAStepInPieces:
    def test_is_resumed_by_its_address_and_ended_by_a_call(self, log: Recorded) -> None:
        begun = start_step("train", project="crm")
        with resume_step(begun.address) as run:
            run.produce(FRAME.copy(), name="half")
        assert log.of(events.StepCompleted) == []
        resume_step(begun.address).complete()
        assert log.one(events.StepCompleted).run == begun.run
        assert names(log.created("train")) == ["half"]

    def test_a_wrong_address_is_refused(self) -> None:
        with pytest.raises(Misconfigured, match="run id"):
            resume_step("crm/train/not-a-uuid")


class TestAPipeline:
    def test_explicitly_begun_is_ended_by_whoever_has_its_id(self, log: Recorded) -> None:
        begun = start_pipeline("churn", run_id="scheduled__2026-11-23T00:00")
        joined = pipeline("churn", run_id="scheduled__2026-11-23T00:00")
        assert joined.run == begun.run
        with joined:
            start_step("load").complete()
        assert log.of(events.PipelineCompleted) == []
        pipeline("churn", run_id="scheduled__2026-11-23T00:00").complete()
        assert log.one(events.PipelineCompleted).run == begun.run
        assert log.one(events.StepStarted).parent == begun.run
        assert len(log.of(events.PipelineStarted)) == 1

    def test_another_run_id_is_another_run_and_another_project_too(self) -> None:
        ids = {
            pipeline("churn", project=project, run_id=text).id
            for project in ("a", "b")
            for text in ("1", "2")
        }
        assert len(ids) == 4

    def test_may_fail_by_a_call(self, log: Recorded) -> None:
        start_pipeline("churn").fail(TimeoutError("scheduler"))
        assert log.one(events.PipelineFailed).failure.type == "TimeoutError"

    def test_inside_another_is_its_child(self, log: Recorded) -> None:
        with pipeline("outer", project="sales") as outer, pipeline("inner") as inner:
            assert inner.run.job == Job(namespace="sales", name="inner")
        assert log.one(events.PipelineStarted, "inner").parent == outer.run

    def test_decorates_a_function_whose_every_call_is_a_run(self, log: Recorded) -> None:
        seen: list[Any] = []

        @pipeline("churn", parameters={"depth": 3})
        def main(n: int) -> int:
            seen.append(active_run())
            return n

        assert [main(1), main(2)] == [1, 2]
        assert all(isinstance(run, PipelineRun) for run in seen)
        assert len({event.run.id for event in log.of(events.PipelineCompleted)}) == 2
        assert log.of(events.PipelineStarted)[0].parameters == {"depth": 3}

    def test_without_a_name_is_refused(self) -> None:
        with pytest.raises(Misconfigured):
            pipeline("")
