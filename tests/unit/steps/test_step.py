"""Steps: what a decorated call records, and what it must leave untouched."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from headwater.emitter import (
    Dataset,
    Model,
    active_run,
    pipeline,
    step,
)
from headwater.schemas import events
from headwater.schemas.errors import Misconfigured
from tests.support.recorded import Recorded, names

FRAME = pd.DataFrame({"tenure": [1, 12, 40], "churned": [0, 1, 0]})


class TestOneStep:
    def test_a_run_starts_reads_writes_completes_and_closes_in_this_order(self, log: Recorded) -> None:
        @step
        def load() -> pd.DataFrame:
            return FRAME.copy()

        @step
        def clean(customers: pd.DataFrame) -> pd.DataFrame:
            return customers.dropna().copy()

        with pipeline("churn"):
            clean(load())

        assert log.story() == [
            "PipelineStarted churn",
            "StepStarted churn.load",
            "AssetCreated churn.load load",
            "StepCompleted churn.load",
            "RunClosed churn.load",
            "StepStarted churn.clean",
            "AssetConsumed churn.clean load",
            "AssetCreated churn.clean clean",
            "StepCompleted churn.clean",
            "RunClosed churn.clean",
            "PipelineCompleted churn",
            "RunClosed churn",
        ]

    def test_a_consumed_asset_names_the_run_that_produced_it(self, log: Recorded) -> None:
        @step
        def load() -> pd.DataFrame:
            return FRAME.copy()

        @step
        def use(frame: pd.DataFrame) -> None:
            return None

        use(load())
        [ref] = log.consumed("use")
        created = log.one(events.AssetCreated, "load")
        assert (ref.production, ref.version, ref.type) == (created.run.id, created.asset.version, "Dataset")
        assert log.one(events.AssetConsumed).argument == "frame"

    def test_completion_names_all_it_read_and_wrote(self, log: Recorded) -> None:
        @step
        def join(left: Dataset, right: Dataset) -> Dataset:
            return Dataset.create(left.data, name="joined")

        left, right = Dataset.create(FRAME, name="left"), Dataset.create(FRAME + 1, name="right")
        join(left, right)
        completed = log.one(events.StepCompleted, "join")
        assert names(completed.inputs) == ["left", "right"]
        assert names(completed.outputs) == ["joined"]
        assert completed.lineage == ()

    def test_the_result_is_the_very_object(self, log: Recorded) -> None:
        frame = FRAME.copy()

        @step
        def give() -> pd.DataFrame:
            return frame

        assert give() is frame

    def test_a_pipeline_gives_its_steps_parent_root_and_project(self, log: Recorded) -> None:
        @step
        def nothing() -> None:
            return None

        with pipeline("churn", project="sales") as run:
            nothing()
        started = log.one(events.StepStarted)
        assert started.run.job == events.Job(namespace="sales", name="churn.nothing")
        assert started.parent == started.root == run.run

    def test_a_step_outside_of_a_pipeline_has_a_run_of_its_own(self, log: Recorded) -> None:
        @step
        def alone() -> None:
            return None

        alone()
        started = log.one(events.StepStarted)
        assert started.run.job == events.Job(namespace="crm", name="alone")
        assert started.parent is None

    def test_code_and_environment_are_identified(self, log: Recorded) -> None:
        @step
        def known() -> None:
            return None

        with pipeline("churn"):
            known()
        started = log.one(events.StepStarted)
        begun = log.one(events.PipelineStarted)
        assert started.code is not None
        assert begun.environment is not None
        assert str(started.code.function).endswith("known")
        assert len(str(started.code.source_digest)) == 64
        assert started.environment_digest == begun.environment.digest
        assert begun.environment.packages["pandas"] == pd.__version__

    def test_without_a_pipeline_the_first_step_tells_the_whole_environment_and_the_next_its_digest(
        self, log: Recorded
    ) -> None:
        @step
        def alone() -> None:
            return None

        alone()
        alone()
        first, second = log.of(events.StepStarted)
        assert first.environment is not None
        assert first.environment.packages["pandas"] == pd.__version__
        assert second.environment is None
        assert second.environment_digest == first.environment.digest

    def test_the_decorated_function_still_looks_like_itself(self) -> None:
        def plain(a: int, *, b: str = "x") -> float:
            """Says what it does."""
            return 1.0

        decorated = step(plain)
        assert inspect.signature(decorated) == inspect.signature(plain)
        assert (decorated.__name__, decorated.__doc__) == ("plain", "Says what it does.")

    def test_methods_class_methods_and_static_methods_can_be_steps(self, log: Recorded) -> None:
        class Trainer:
            @step
            def fit(self, depth: int) -> None:
                return None

            @step
            @classmethod
            def from_file(cls, path: str) -> str:
                return cls.__name__

            @staticmethod
            @step
            def score(n: int) -> int:
                return n

        Trainer().fit(3)
        assert Trainer.from_file("x") == "Trainer"
        assert Trainer.score(2) == 2
        started = log.of(events.StepStarted)
        assert [event.run.job.name for event in started] == [
            "Trainer.fit",
            "Trainer.from_file",
            "Trainer.score",
        ]
        assert [dict(event.parameters) for event in started] == [
            {"depth": 3},
            {"cls": f"{__name__}:{Trainer.__qualname__}", "path": "x"},
            {"n": 2},
        ]

    def test_a_wrong_setting_of_the_decorator_is_refused_at_once(self) -> None:
        with pytest.raises(Misconfigured):
            step(verify_inputs="sometimes")  # type: ignore[call-overload]


class TestParameters:
    def test_are_the_arguments_that_json_can_say_with_defaults(self, log: Recorded) -> None:
        @step
        def train(
            frame: pd.DataFrame, depth: int = 6, *seeds: int, solver: str = "lbfgs", **more: object
        ) -> None:
            return None

        train(FRAME.copy(), 8, 1, 2, rate=np.float64(0.5), callback=print, lock=object())
        assert log.one(events.StepStarted).parameters == {
            "depth": 8,
            "seeds": [1, 2],
            "solver": "lbfgs",
            "rate": 0.5,
            "callback": "builtins:print",
        }

    def test_secrets_among_them_are_redacted(self, log: Recorded) -> None:
        @step
        def fetch(url: str, password: str) -> None:
            return None

        fetch("s3://lake", "hunter2")
        assert b"hunter2" not in b"".join(log.sink.values)

    def test_a_long_collection_is_counted_and_not_copied(self, log: Recorded) -> None:
        @step
        def score(customers: list[str]) -> None:
            return None

        score([f"customer-{n}" for n in range(5_000)])
        assert log.one(events.StepStarted).parameters == {"customers": {"omitted": "list", "items": 5_000}}
        assert b"customer-17" not in b"".join(log.sink.values)

    def test_assets_are_inputs_and_no_parameters(self, log: Recorded) -> None:
        @step
        def merge(parts: dict[str, Any]) -> None:
            return None

        merge({"a": Dataset.create(FRAME, name="a"), "rate": 0.1})
        assert log.one(events.StepStarted, "merge").parameters == {"parts": {"rate": 0.1}}
        assert names(log.consumed("merge")) == ["a"]

    def test_a_call_with_wrong_arguments_fails_as_it_would_without_us(self, log: Recorded) -> None:
        @step
        def one(a: int) -> None:
            return None

        with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
            one()  # type: ignore[call-arg]
        assert log.one(events.StepFailed).failure.type == "TypeError"


class TestNesting:
    def test_an_inner_step_is_a_child_run_and_its_output_is_read_by_the_outer(self, log: Recorded) -> None:
        @step
        def inner(frame: pd.DataFrame) -> pd.DataFrame:
            return frame + 1

        @step
        def outer(frame: pd.DataFrame) -> pd.DataFrame:
            return inner(frame) * 2

        with pipeline("churn") as run:
            outer(Dataset.create(FRAME.copy(), name="raw").data)
        child = log.one(events.StepStarted, "churn.outer.inner")
        parent = log.one(events.StepStarted, "churn.outer")
        assert child.parent == parent.run
        assert child.root == run.run
        assert names(log.consumed("churn.outer")) == ["raw", "inner"]
        assert log.consumed("churn.outer")[1].production == child.run.id

    def test_a_step_that_calls_itself_keeps_its_name(self, log: Recorded) -> None:
        @step
        def count(n: int) -> int:
            return 0 if n == 0 else 1 + count(n - 1)

        with pipeline("p"):
            assert count(3) == 3
        started = log.of(events.StepStarted)
        assert [event.run.job.name for event in started] == ["p.count"] * 4
        assert [event.parent.id for event in started[1:] if event.parent] == [e.run.id for e in started[:-1]]
        assert [event.parameters for event in started] == [{"n": 3}, {"n": 2}, {"n": 1}, {"n": 0}]

    def test_after_the_step_the_outer_run_is_active_again(self, log: Recorded) -> None:
        @step
        def inner() -> None:
            raise ValueError

        with pipeline("p") as run:
            with pytest.raises(ValueError):
                inner()
            assert active_run() is run
        assert active_run() is None


class TestTheExampleOfTheDesign:
    def test_it_works_as_written(self, log: Recorded, tmp_path: Any) -> None:
        path = str(tmp_path / "customers.csv")
        FRAME.to_csv(path, index=False)

        def fit(features: pd.DataFrame, depth: int) -> LogisticRegression:
            return LogisticRegression(max_iter=depth * 100).fit(features[["tenure_years"]], features.churned)

        @step
        def load(path: str) -> Dataset:
            return Dataset.from_csv(path, name="customers")

        @step
        def features(customers: Dataset) -> pd.DataFrame:  # plain objects are followed too
            return customers.data.assign(tenure_years=lambda d: d.tenure / 12)

        @step
        def train(features: pd.DataFrame, depth: int = 6) -> Model:
            fitted = fit(features, depth)
            return Model.create(fitted, name="churn-model", tags={"team": "crm"})

        with pipeline("churn", project="crm"):
            train(features(load(path)), depth=8)

        [customers] = log.created("churn.load")
        assert (customers.name, customers.location) == ("customers", path)
        assert names(log.consumed("churn.features")) == ["customers"]
        assert names(log.consumed("churn.train")) == ["features"]
        [model] = log.created("churn.train")
        assert (model.name, dict(model.tags), model.type) == ("churn-model", {"team": "crm"}, "Model")
        assert log.one(events.StepStarted, "churn.train").parameters == {"depth": 8}
