"""One argument that cannot be looked at costs that argument, and nothing else of the run."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from headwater.emitter import Dataset, failures, step
from headwater.emitter.parameters import parameters
from headwater.schemas import events
from tests.support.recorded import Recorded, names

FRAME = pd.DataFrame({"tenure": [1, 12, 40]})


class Refuses:
    """A proxy whose connection is gone."""

    @property
    def shape(self) -> tuple[int, ...]:
        raise RuntimeError("detached")


class Empty:
    shape = ()

    def item(self) -> object:
        raise ValueError("no value yet")


class Boundless(list[int]):
    def __len__(self) -> int:
        raise OverflowError


class Nameless:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "odd", [Refuses(), Empty(), Boundless(), {Nameless(): 1}], ids=["property", "item", "length", "key"]
)
def test_an_odd_value_is_no_parameter_and_the_others_are(odd: object) -> None:
    assert parameters({"depth": 8, "odd": odd, "rate": 0.5}) == {"depth": 8, "rate": 0.5}
    assert parameters({"all": [1, odd, 2]}) == {"all": [1, 2]}


@pytest.mark.parametrize("first", [True, False], ids=["odd first", "odd last"])
def test_a_step_given_an_odd_object_still_tells_its_other_inputs(log: Recorded, first: bool) -> None:
    @step
    def train(a: Any, b: Any, depth: int) -> None:
        return None

    log.failures_expected = True
    before = failures().get("inputs", 0)
    data, odd = Dataset.create(FRAME.copy(), name="customers"), {Nameless(): 1}
    train(odd, data, 8) if first else train(data, odd, 8)
    assert names(log.consumed("train")) == ["customers"]
    assert log.one(events.StepStarted, "train").parameters == {"depth": 8}
    assert len(log.of(events.StepCompleted, "train")) == 1
    assert failures()["inputs"] == before + 1
