"""What a step says of its columns is in its events, and a lineage store follows it column by column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from headwater.consumers.asking import Lineage
from headwater.consumers.column_drawing import called
from headwater.consumers.log import SegmentLog
from headwater.consumers.runner import Runner
from headwater.consumers.store import open_store
from headwater.emitter import Dataset, Settings, configure, failures, start_step, step
from headwater.emitter import emitter as emitters
from headwater.emitter.column_statements import checked
from headwater.schemas.errors import Misconfigured
from tests.support.recorded import Recorded

ORDERS = pd.DataFrame({"price": [1.0, 2.0], "quantity": [3, 4], "status": ["a", "b"]})
RATES = pd.DataFrame({"euro": [1.1]})
SAID = {"total": {"orders": ["price", "quantity"]}}

Ask = Callable[[], Lineage]


@pytest.fixture
def asked(log: Recorded, tmp_path: Path) -> Ask:
    """Ends the emitter and gives the lineage of what it told."""
    configure(Settings(project="crm", log=tmp_path / "log"))

    def ask() -> Lineage:
        emitters.current().close()
        store = open_store(f"sqlite:///{tmp_path / 'lineage.db'}", create=True)
        with SegmentLog(tmp_path / "log") as source:
            Runner(store, source).run()
        return Lineage(store)

    return ask


def up(lineage: Lineage, name: str) -> set[str]:
    """The columns above, and the assets of which nobody said which columns."""
    return {called(node) for node in lineage.columns(name).nodes} - {name}


def ancestors(lineage: Lineage, name: str) -> set[str | None]:
    return {node.name for node in lineage.upstream(name).nodes} - {name}


def totals(orders: Dataset, *others: Dataset) -> pd.DataFrame:
    return pd.DataFrame({"total": orders.data.price * orders.data.quantity})


def test_a_column_is_followed_to_those_that_a_step_named(asked: Ask) -> None:
    decorated = step(name="totals", columns_from=SAID)(totals)
    decorated(Dataset.create(ORDERS, "crm-orders"))
    lineage = asked()
    assert up(lineage, "totals#total") == {"crm-orders#price", "crm-orders#quantity"}
    assert {called(node) for node in lineage.columns("crm-orders#price", "down").nodes} == {
        "crm-orders#price",
        "totals#total",
    }
    edges = lineage.columns("totals#total").edges
    assert not [edge for edge in edges if edge.inferred], "a version was left to be guessed"


def test_what_no_column_names_stays_upstream_and_says_that_its_columns_are_unknown(asked: Ask) -> None:
    decorated = step(name="totals", columns_from=SAID)(totals)
    decorated(Dataset.create(ORDERS, "orders"), Dataset.create(RATES, "rates"))
    lineage = asked()
    assert ancestors(lineage, "totals") == {"orders", "rates"}
    assert up(lineage, "totals#total") == {"orders#price", "orders#quantity", "rates"}


def test_of_several_outputs_each_has_its_own(asked: Ask) -> None:
    @step(outputs=["left", "right"], columns_from={"left": SAID, "right": {"price": {"orders": "price"}}})
    def split(orders: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
        return totals(orders), orders.data[["price"]]

    split(Dataset.create(ORDERS, "orders"))
    lineage = asked()
    assert up(lineage, "left#total") == {"orders#price", "orders#quantity"}
    assert up(lineage, "right#price") == {"orders#price"}


def test_the_explicit_forms_say_the_same(asked: Ask) -> None:
    orders = Dataset.create(ORDERS, "orders")
    frame = pd.DataFrame({"total": [3.0, 8.0]})
    run = start_step("sum", inputs=[orders])
    run.produce(frame, name="one", columns_from=SAID)
    run.complete()
    Dataset.create(frame + 1, "two", parents=["orders"], columns_from=SAID)
    lineage = asked()
    assert up(lineage, "one#total") == {"orders#price", "orders#quantity"}
    assert up(lineage, "two#total") == {"orders#price", "orders#quantity"}
    assert ancestors(lineage, "one") == ancestors(lineage, "two") == {"orders"}


@pytest.mark.parametrize("order", [0, 1], ids=["before", "after"])
def test_parents_that_another_output_states_cost_no_columns(asked: Ask, order: int) -> None:
    """Once an output states its parents, only statements count, for every output of the run."""
    orders = Dataset.create(ORDERS, "orders")
    with start_step("sum", inputs=[orders]) as run:
        makers: list[Callable[[], Any]] = [
            lambda: run.produce(pd.DataFrame({"total": [3.0]}), name="one", columns_from=SAID),
            lambda: run.produce(pd.DataFrame({"n": [1]}), name="two", parents=[]),
        ]
        for make in makers if order else reversed(makers):
            make()
    lineage = asked()
    assert up(lineage, "one#total") == {"orders#price", "orders#quantity"}
    assert ancestors(lineage, "two") == set()


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({}, "columns_from is {}"),
        ({"total": ["price"]}, "columns_from['total'] is ['price']"),
        ({"total": {"orders": []}}, "columns_from['total']['orders'] is [], and no columns"),
        ({"total": {"orders": [1]}}, "columns_from['total']['orders'] is [1]"),
        ({"": {"orders": ["price"]}}, "names a column ''"),
    ],
)
def test_what_is_no_statement_is_refused_where_it_is_written(said: Any, refusal: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        step(columns_from=said)
    assert refusal in str(refused.value)
    with pytest.raises(Misconfigured):
        checked(said)


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        (
            {"totl": {"orders": ["price"]}},
            "states 'totl', and 'totals' has no such column (did you mean 'total'?",
        ),
        (
            {"total": {"ordres": ["price"]}},
            "names 'ordres', which the step did not read (did you mean 'orders'?",
        ),
        ({"total": {"orders": ["prise"]}}, "names 'prise', which is no column of it (did you mean 'price'?"),
    ],
)
def test_a_wrong_statement_is_refused_with_the_column_in_a_regulated_step(
    log: Recorded, tmp_path: Path, said: Any, refusal: str
) -> None:
    configure(Settings(project="crm", log=tmp_path / "log", profile="regulated"))
    decorated = step(name="totals", columns_from=said)(totals)
    with pytest.raises(Misconfigured) as refused:
        decorated(Dataset.create(ORDERS, "orders"))
    assert refusal in str(refused.value)
    log.failures_expected = True


def test_a_wrong_statement_costs_neither_step_nor_output(asked: Ask, log: Recorded) -> None:
    log.failures_expected = True
    before = failures().get("columns", 0)
    decorated = step(name="totals", columns_from={"totl": {"orders": ["price"]}})(totals)
    assert list(decorated(Dataset.create(ORDERS, "orders")).columns) == ["total"]
    assert failures()["columns"] == before + 1
    assert ancestors(asked(), "totals") == {"orders"}
