"""What a step reads is found in its arguments, what it writes in what it returns."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from headwater.emitter import (
    Artifact,
    Dataset,
    Metrics,
    Model,
    pipeline,
    step,
)
from headwater.schemas import events
from tests.support.recorded import Recorded, names

FRAME = pd.DataFrame({"tenure": [1, 12, 40], "churned": [0, 1, 0]})


@dataclasses.dataclass
class Split:
    train: pd.DataFrame
    test: Annotated[pd.DataFrame, "holdout"]
    ratio: float


class Pair(NamedTuple):
    left: Any
    right: Any


class TestInputs:
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda a: [a],
            lambda a: (0, a),
            lambda a: {a},
            lambda a: frozenset({a}),
            lambda a: {"k": {"deep": [a]}},
            lambda a: Pair(left=a, right=1),
            lambda a: Split(train=a, test=None, ratio=0.5),
        ],
        ids=["list", "tuple", "set", "frozenset", "nested dict", "named tuple", "dataclass"],
    )
    def test_are_found_inside_collections(self, log: Recorded, wrap: Any) -> None:
        @step
        def use(value: object) -> None:
            return None

        use(wrap(Dataset.create(FRAME, name="inner")))
        assert names(log.consumed("use")) == ["inner"]

    def test_a_cycle_ends(self, log: Recorded) -> None:
        @step
        def use(value: object) -> None:
            return None

        cycle: list[object] = [Dataset.create(FRAME, name="inner")]
        cycle.append(cycle)
        use(cycle)
        assert names(log.consumed("use")) == ["inner"]

    def test_a_huge_list_costs_a_bounded_time(self, log: Recorded) -> None:
        @step
        def use(value: object) -> None:
            return None

        use(list(range(3_000_000)))
        assert log.one(events.StepCompleted).inputs == ()

    def test_one_asset_given_twice_is_read_once(self, log: Recorded) -> None:
        @step
        def use(a: object, b: object, c: object) -> None:
            return None

        dataset = Dataset.create(FRAME.copy(), name="inner")
        use(dataset, [dataset], dataset.data)
        assert names(log.consumed("use")) == ["inner"]

    def test_data_of_unknown_origin_is_named_by_the_argument_or_its_annotation(self, log: Recorded) -> None:
        @step
        def use(frame: pd.DataFrame, labels: Annotated[np.ndarray, "truth"]) -> None:
            return None

        use(FRAME.copy(), np.array([1, 2]))
        refs = log.consumed("use")
        assert names(refs) == ["use.frame", "truth"]
        assert refs[0].version is not None
        assert refs[0].version.startswith("table1:")
        assert refs[0].production is None

    def test_the_data_of_an_asset_is_recognised_without_its_wrapper(self, log: Recorded) -> None:
        @step
        def use(frame: pd.DataFrame) -> None:
            return None

        use(Dataset.create(FRAME.copy(), name="wrapped").data)
        assert names(log.consumed("use")) == ["wrapped"]

    def test_an_equal_object_is_not_taken_for_the_known_one(self, log: Recorded) -> None:
        @step
        def use(frame: pd.DataFrame) -> None:
            return None

        dataset = Dataset.create(FRAME.copy(), name="known")
        use(FRAME.copy())
        assert names(log.consumed("use")) == ["use.frame"]
        assert log.consumed("use")[0].version == dataset.version

    def test_dicts_and_lists_are_recognised_by_content_within_their_pipeline(self, log: Recorded) -> None:
        @step
        def configure_search() -> dict[str, object]:
            return {"depth": [3, 5], "rate": 0.1}

        @step
        def search(space: dict[str, object]) -> None:
            return None

        with pipeline("tune"):
            search(configure_search())
        assert names(log.consumed("tune.search")) == ["configure_search"]
        assert log.one(events.StepStarted, "tune.search").parameters == {}
        with pipeline("tune"):
            search({"depth": [3, 5], "rate": 0.1})
        assert len(log.consumed("tune.search")) == 1

    def test_outside_of_pipelines_they_are_recognised_too(self, log: Recorded) -> None:
        @step
        def space() -> dict[str, object]:
            return {"depth": [3, 5], "outside": True}

        @step
        def search(space: dict[str, object]) -> None:
            return None

        search(space())
        assert names(log.consumed("search")) == ["space"]


class TestOutputs:
    def test_several_are_named_by_position_key_and_field(self, log: Recorded) -> None:
        @step
        def by_position() -> tuple[pd.DataFrame, np.ndarray, float]:
            return FRAME.copy(), np.array([1.5]), 0.5

        @step
        def by_key() -> dict[str, object]:
            return {"train": FRAME.copy(), "scores": {"auc": 0.9}, "note": "x"}

        @step
        def by_field() -> Split:
            return Split(FRAME.copy(), FRAME + 1, 0.2)

        @step
        def by_name() -> Pair:
            return Pair(FRAME.copy(), [FRAME + 1, FRAME + 2])

        for each in (by_position, by_key, by_field, by_name):
            each()
        assert names(log.created("by_position")) == ["by_position.0", "by_position.1"]
        assert names(log.created("by_key")) == ["by_key.train", "by_key.scores"]
        assert names(log.created("by_field")) == ["by_field.train", "holdout"]
        assert names(log.created("by_name")) == ["by_name.left", "by_name.right.0", "by_name.right.1"]

    def test_annotations_name_them(self, log: Recorded) -> None:
        @step
        def features() -> Annotated[pd.DataFrame, "customer-features"]:
            return FRAME.copy()

        @step
        def split() -> tuple[Annotated[pd.DataFrame, "train"], Annotated[pd.DataFrame, "test"]]:
            return FRAME.copy(), FRAME + 1

        @step
        def folds() -> list[Annotated[pd.DataFrame, "fold"]]:
            return [FRAME.copy(), FRAME + 1]

        features()
        split()
        folds()
        assert names(log.created("features")) == ["customer-features"]
        assert names(log.created("split")) == ["train", "test"]
        assert names(log.created("folds")) == ["fold.0", "fold.1"]

    def test_the_decorator_names_them_above_all(self, log: Recorded) -> None:
        @step(name="prepare", outputs="ready")
        def first() -> Annotated[pd.DataFrame, "not this"]:
            return FRAME.copy()

        @step(outputs=("train", "test"))
        def second() -> tuple[pd.DataFrame, pd.DataFrame]:
            return FRAME.copy(), FRAME + 1

        @step(outputs={"model": "churn-model"})
        def third() -> dict[str, object]:
            return {
                "model": LogisticRegression().fit(FRAME[["tenure"]], FRAME.churned),
                "frame": FRAME.copy(),
            }

        first()
        second()
        third()
        assert names(log.created("prepare")) == ["ready"]
        assert names(log.created("second")) == ["train", "test"]
        assert names(log.created("third")) == ["churn-model", "third.frame"]

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            (FRAME, "Dataset"),
            (np.zeros((2, 2)), "Dataset"),
            (LogisticRegression().fit([[0.0], [1.0]], [0, 1]), "Model"),
            ([{"a": 1}, {"a": 2}], "Dataset"),
            ({"a": [1, 2], "b": [3, 4]}, "Dataset"),
            ({"auc": 0.9}, "Artifact"),
            ([1, 2, 3], "Artifact"),
            (b"%PDF", "Artifact"),
        ],
        ids=["frame", "array", "model", "rows", "columns", "dict", "list", "bytes"],
    )
    def test_a_plain_object_is_an_asset_of_the_fitting_type(
        self, log: Recorded, value: Any, kind: str
    ) -> None:
        @step
        def give() -> Any:
            return value

        give()
        [asset] = log.created("give")
        assert (asset.name, asset.type) == ("give", kind)
        assert not asset.version.startswith("opaque")

    @pytest.mark.parametrize("value", [None, 3, 0.5, True, "text", {}, [], (), np.float64(0.5)])
    def test_scalars_and_nothing_are_no_assets(self, log: Recorded, value: Any) -> None:
        @step
        def give() -> Any:
            return value

        give()
        assert log.created("give") == []

    def test_the_annotation_decides_the_type(self, log: Recorded) -> None:
        class Scorer:
            def __init__(self) -> None:
                self.weights = [0.1, 0.9]

        @step
        def evaluate() -> Metrics:
            return {"auc": 0.9}  # type: ignore[return-value]

        @step
        def fit() -> Model:
            return Scorer()  # type: ignore[return-value]

        @step
        def report() -> Artifact:
            return "# Results"  # type: ignore[return-value]

        @step
        def bundle() -> Dataset:
            return {"X": np.zeros((2, 2)), "y": np.ones(2)}  # type: ignore[return-value]

        for each in (evaluate, fit, report, bundle):
            each()
        found = [(a.asset.name, a.asset.type) for a in log.of(events.AssetCreated)]
        assert found == [
            ("evaluate", "Metrics"),
            ("fit", "Model"),
            ("report", "Artifact"),
            ("bundle", "Dataset"),
        ]

    def test_an_asset_made_and_returned_is_written_once(self, log: Recorded) -> None:
        @step
        def make() -> Dataset:
            return Dataset.create(FRAME.copy(), name="made")

        @step
        def make_and_return_the_data() -> pd.DataFrame:
            return Dataset.create(FRAME.copy(), name="made-too").data

        make()
        make_and_return_the_data()
        assert names(a.asset for a in log.of(events.AssetCreated)) == ["made", "made-too"]

    def test_an_asset_made_and_not_returned_is_written_too(self, log: Recorded) -> None:
        @step
        def make() -> None:
            Artifact.create({"a": 1}, name="side effect")

        make()
        assert names(log.one(events.StepCompleted).outputs) == ["side effect"]

    def test_a_step_that_hands_on_what_it_was_given_wrote_nothing(self, log: Recorded) -> None:
        @step
        def same(frame: pd.DataFrame, dataset: Dataset) -> tuple[pd.DataFrame, Dataset]:
            return frame, dataset

        same(FRAME.copy(), Dataset.create(FRAME, name="given"))
        assert log.created("same") == []
        assert names(log.one(events.StepCompleted, "same").inputs) == ["same.frame", "given"]

    def test_a_step_that_hands_on_under_another_name_wrote_that(self, log: Recorded) -> None:
        @step
        def approve(frame: pd.DataFrame) -> Annotated[pd.DataFrame, "approved"]:
            return frame

        approve(FRAME.copy())
        assert names(log.created("approve")) == ["approved"]

    def test_an_object_kept_elsewhere_than_in_an_argument_is_read_and_written(self, log: Recorded) -> None:
        kept = Dataset.create(FRAME.copy(), name="kept").data

        @step
        def cached() -> pd.DataFrame:
            return kept

        cached()
        assert names(log.consumed("cached")) == ["kept"]
        assert names(log.created("cached")) == ["cached"]

    def test_a_step_that_changes_its_input_and_returns_it_wrote_a_new_asset(self, log: Recorded) -> None:
        @step
        def fill(frame: pd.DataFrame) -> pd.DataFrame:
            frame["tenure"] = frame["tenure"].clip(upper=12)
            return frame

        @step
        def use(frame: pd.DataFrame) -> None:
            return None

        raw = Dataset.create(FRAME.copy(), name="raw")
        use(fill(raw.data))
        assert names(log.consumed("fill")) == ["raw"]
        assert names(log.created("fill")) == ["fill"]
        assert names(log.consumed("use")) == ["fill"]

    def test_the_second_content_under_one_name_tells_the_first(self, log: Recorded) -> None:
        @step(name="previous version")
        def make(n: int) -> pd.DataFrame:
            return FRAME + n

        make(1)
        make(2)
        first, second = log.created("previous version")
        assert second.previous_version == first.version
        assert first.previous_version is None
