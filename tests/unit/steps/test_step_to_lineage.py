"""What steps record, asked of a lineage store: the answers are what the code did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from headwater.consumers.asking import Lineage
from headwater.consumers.log import SegmentLog
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from headwater.emitter import Dataset, Model, Settings, configure, pipeline, start_step, step
from headwater.emitter import emitter as emitters
from tests.support.recorded import Recorded

FRAME = pd.DataFrame({"tenure": [1, 12, 40], "churned": [0, 1, 0]})

Ask = Callable[[str], set[str]]


@pytest.fixture
def ancestry(log: Recorded, tmp_path: Path) -> Ask:
    """`ask(name)`: the edges above the newest version of `name`, as `child < parent`."""
    configure(Settings(project="crm", log=tmp_path / "log"))

    def ask(name: str) -> set[str]:
        emitters.current().close()
        url = f"sqlite:///{tmp_path / 'lineage.db'}"
        with open_store(url, create=True) as store, SegmentLog(tmp_path / "log") as source:
            Runner(store, source).run()
            graph = Lineage(store).upstream(name)
        named = {node.id: node.name for node in graph.nodes}
        assert not [edge for edge in graph.edges if edge.inferred], "a version was left to be guessed"
        return {f"{named[edge.target]} < {named[edge.source]}" for edge in graph.edges}

    return ask


def test_the_example_of_the_design(ancestry: Ask, tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "customers.csv", index=False)

    @step
    def load(path: str) -> Dataset:
        return Dataset.from_csv(path, name="customers")

    @step
    def features(customers: Dataset) -> pd.DataFrame:
        return customers.data.assign(tenure_years=lambda d: d.tenure / 12)

    @step
    def train(features: pd.DataFrame) -> Model:
        return Model.create(
            LogisticRegression().fit(features[["tenure"]], features.churned), name="churn-model"
        )

    with pipeline("churn"):
        train(features(load(str(tmp_path / "customers.csv"))))
    assert ancestry("churn-model") == {"churn-model < features", "features < customers"}


def test_nested_steps_lead_through_what_the_outer_one_got_back(ancestry: Ask) -> None:
    @step
    def inner(frame: pd.DataFrame) -> pd.DataFrame:
        return frame + 1

    @step
    def outer(frame: pd.DataFrame) -> Annotated[pd.DataFrame, "result"]:
        return inner(frame) * 2

    with pipeline("p"):
        outer(Dataset.create(FRAME.copy(), name="raw").data)
    assert ancestry("result") == {"result < raw", "result < inner", "inner < raw"}


def test_a_change_in_place_stands_between_the_two_versions(ancestry: Ask) -> None:
    @step(verify_inputs="full")
    def use(frame: pd.DataFrame) -> Annotated[pd.DataFrame, "result"]:
        return frame * 2

    with pipeline("p"):
        raw = Dataset.create(FRAME.copy(), name="raw")
        raw.data.loc[0, "tenure"] = 99
        use(raw.data)
    assert ancestry("result") == {"result < raw", "raw < raw"}


def test_stated_parents_are_the_only_ones(ancestry: Ask) -> None:
    @step
    def split(a: Dataset, b: Dataset) -> tuple[Dataset, Dataset]:
        one = Dataset.create(a.data + 1, name="from-a", parents=[a])
        return one, Dataset.create(b.data + one.data, name="from-both")

    split(Dataset.create(FRAME + 5, name="a"), Dataset.create(FRAME + 6, name="b"))
    assert ancestry("from-a") == {"from-a < a"}
    assert ancestry("from-both") == {"from-both < a", "from-both < b"}


def test_a_parent_made_in_the_same_step_leads_on_to_what_it_was_made_from(ancestry: Ask) -> None:
    @step
    def train(raw: Dataset) -> Model:
        sample = Dataset.create(raw.data.head(2), name="sample")
        fitted = LogisticRegression().fit(sample.data[["tenure"]], sample.data.churned)
        return Model.create(fitted, name="model", parents=[sample])

    train(Dataset.create(FRAME.copy(), name="raw"))
    assert ancestry("model") == {"model < sample", "sample < raw"}


def test_a_generator_feeds_its_consumer(ancestry: Ask) -> None:
    @step
    def chunks(raw: Dataset) -> Iterator[pd.DataFrame]:
        for at in range(3):
            yield raw.data.iloc[[at]].copy()

    @step
    def total(parts: Iterator[pd.DataFrame]) -> Annotated[dict[str, int], "total"]:
        return {"tenure": int(sum(part.tenure.sum() for part in parts))}

    with pipeline("p"):
        total(chunks(Dataset.create(FRAME.copy(), name="raw")))
    assert ancestry("total") == {"total < chunks", "chunks < raw"}


def test_a_step_that_changes_nothing_is_not_its_own_parent(ancestry: Ask) -> None:
    @step
    def check(frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    @step
    def use(frame: pd.DataFrame) -> Annotated[pd.DataFrame, "result"]:
        return frame * 2

    with pipeline("p"):
        use(check(Dataset.create(FRAME.copy(), name="raw").data))
    assert ancestry("result") == {"result < raw"}


def test_an_overwritten_name_leads_to_the_version_that_was_read(ancestry: Ask) -> None:
    @step
    def advance(state: Dataset) -> Dataset:
        return Dataset.create(state.data + 1, name="state")

    with pipeline("p"):
        state = Dataset.create(FRAME.copy(), name="state")
        for _ in range(3):
            state = advance(state)
    assert ancestry("state") == {"state < state"}


def test_an_ending_told_in_several_events_leads_to_all_that_was_read(ancestry: Ask) -> None:
    with pipeline("p"):
        raw = [Dataset.create([{"a": n}], name=f"raw{n}", parents=[]) for n in range(120)]
        with start_step("join", inputs=raw) as join:
            for n in range(120):
                join.produce([{"b": n}], name=f"part{n}", type=Dataset)
            join.produce([{"c": 1}], name="chosen", type=Dataset, parents=raw[3])
    assert ancestry("part7") == {f"part7 < raw{n}" for n in range(120)}
    assert ancestry("chosen") == {"chosen < raw3"}
