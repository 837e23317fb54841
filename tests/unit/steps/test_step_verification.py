"""Objects changed in place between steps, and outputs that say what they were made from."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from headwater.emitter import (
    Dataset,
    Settings,
    configure,
    pipeline,
    step,
)
from headwater.schemas import events
from tests.support.recorded import Recorded, names

FRAME = pd.DataFrame({"tenure": [1, 12, 40], "churned": [0, 1, 0]})


class TestVerification:
    @pytest.mark.parametrize("mode", ["sampled", "full"])
    def test_a_change_in_place_between_steps_is_a_new_version_made_from_the_old(
        self, log: Recorded, mode: Any
    ) -> None:
        @step(verify_inputs=mode)
        def load() -> pd.DataFrame:
            return FRAME.copy()

        @step(verify_inputs=mode)
        def use(frame: pd.DataFrame) -> None:
            return None

        with pipeline("churn") as run:
            frame = load()
            frame.loc[0, "tenure"] = 99
            use(frame)
            use(frame)
        [first] = log.created("churn.load")
        changed = log.one(events.AssetCreated, "churn.changed_in_place")
        assert changed.parent == run.run
        assert (changed.asset.name, changed.asset.previous_version) == ("load", first.version)
        assert [ref.version for ref in changed.asset.parents or ()] == [first.version]
        assert [ref.version for ref in log.consumed("churn.use")] == [changed.asset.version] * 2
        assert {ref.production for ref in log.consumed("churn.use")} == {changed.run.id}
        story = log.story()
        assert story.index("AssetCreated churn.changed_in_place load") < story.index(
            "AssetConsumed churn.use load"
        )

    def test_an_asset_whose_data_changed_is_found_too(self, log: Recorded) -> None:
        @step(verify_inputs="full")
        def use(customers: Dataset) -> None:
            return None

        customers = Dataset.create(FRAME.copy(), name="customers")
        use(customers)
        customers.data.loc[0, "tenure"] = 99
        use(customers)
        before, after = log.consumed("use")
        assert before.version == customers.version != after.version

    def test_of_two_objects_under_one_name_each_has_its_own_previous_version(self, log: Recorded) -> None:
        @step(verify_inputs="full")
        def use(customers: Dataset) -> None:
            return None

        first = Dataset.create(FRAME.copy(), name="customers")
        Dataset.create(FRAME + 1, name="customers")
        use(first)
        first.data.loc[0, "tenure"] = 99
        use(first)
        assert log.one(events.AssetCreated, "changed_in_place").asset.previous_version == first.version

    def test_unchanged_inputs_are_not_reported(self, log: Recorded) -> None:
        @step(verify_inputs="full")
        def use(frame: pd.DataFrame) -> None:
            return None

        dataset = Dataset.create(FRAME.copy(), name="customers")
        use(dataset.data)
        use(dataset.data)
        assert {ref.version for ref in log.consumed("use")} == {dataset.version}

    def test_off_trusts_the_object(self, log: Recorded) -> None:
        @step
        def use(frame: pd.DataFrame) -> None:
            return None

        dataset = Dataset.create(FRAME.copy(), name="customers")
        dataset.data.loc[0, "tenure"] = 99
        use(dataset.data)
        assert [ref.version for ref in log.consumed("use")] == [dataset.version]

    def test_the_settings_decide_where_the_step_does_not(self, log: Recorded) -> None:
        configure(Settings(project="crm", verify_inputs="full"), log.sink)

        @step
        def use(frame: pd.DataFrame) -> None:
            return None

        dataset = Dataset.create(FRAME.copy(), name="customers")
        dataset.data.loc[0, "tenure"] = 99
        use(dataset.data)
        assert [ref.version for ref in log.consumed("use")] != [dataset.version]


class TestExplicitParents:
    def test_every_output_then_says_what_it_was_made_from(self, log: Recorded) -> None:
        @step
        def split(a: Dataset, b: Dataset) -> tuple[Dataset, Dataset, Dataset]:
            return (
                Dataset.create(a.data + 1, name="from-a", parents=[a]),
                Dataset.create(FRAME + 9, name="from-both"),
                Dataset.create(FRAME + 8, name="from-nothing", parents=[]),
            )

        split(Dataset.create(FRAME + 5, name="a"), Dataset.create(FRAME + 6, name="b"))
        lineage = {
            target.name: names(sources) for target, sources in log.one(events.StepCompleted, "split").lineage
        }
        assert lineage == {"from-a": ["a"], "from-both": ["a", "b"], "from-nothing": []}

    def test_what_a_step_made_itself_is_no_parent_unless_it_says_so(self, log: Recorded) -> None:
        @step
        def train(raw: Dataset) -> Dataset:
            sample = Dataset.create(raw.data.head(2), name="sample")
            return Dataset.create(sample.data + 1, name="made", parents=[sample])

        train(Dataset.create(FRAME.copy(), name="raw"))
        lineage = {t.name: names(sources) for t, sources in log.one(events.StepCompleted, "train").lineage}
        assert lineage == {"sample": ["raw"], "made": ["sample"]}

    def test_a_parent_that_was_no_argument_is_read_first(self, log: Recorded) -> None:
        hidden = Dataset.create(FRAME + 5, name="hidden")

        @step
        def make() -> Dataset:
            return Dataset.create(FRAME.copy(), name="made", parents=hidden)

        make()
        assert log.story()[-4:-2] == ["AssetConsumed make hidden", "AssetCreated make made"]
        assert names(log.one(events.StepCompleted, "make").inputs) == ["hidden"]
