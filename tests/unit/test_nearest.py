"""Names that are nearly right get the right ones as an answer, in a bounded number of probes."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from headwater.consumers import Lineage
from headwater.consumers.answers import Unknown
from headwater.consumers.nearest import distance, nearest_names
from headwater.consumers.store import Store, open_store
from headwater.consumers.terms import Kind
from tests.replay import product
from tests.support.logs import run_event
from tests.support.stores import empty_url

NAMES = [
    "churn-model",
    "customers",
    "orders.clean",
    "orders.total",
    "daten/lake/x.csv",
    "Grüße",
    "\u202eevil",
]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A few names among three thousand that look alike."""
    document = orjson.loads(run_event(1))
    document["job"] = {"namespace": "crm", "name": "churn.train"}
    numbered = [f"orders_{number:06d}" for number in range(3_000)]
    document["outputs"] = [{"namespace": "crm", "name": name} for name in [*NAMES, *numbered, "x" * 4_000]]
    with open_store(empty_url(request, tmp_path_factory), create=True) as opened:
        product.apply_all(opened, [[orjson.dumps(document)]])
        yield opened


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("churn-modle", "churn-model"),
        ("hurn-model", "churn-model"),
        ("ustomers", "customers"),
        ("CUSTOMERS", "customers"),
        ("cusotmers", "customers"),
        ("churn", "churn-model"),
        ("ordrs_000123", "orders_000123"),
        ("crm/custmers", "crm/customers"),
        ("orders.totl", "orders.total"),
        ("Gruße", "Grüße"),
    ],
)
def test_the_nearest_name_comes_first(store: Store, typed: str, meant: str) -> None:
    with store.connecting() as connection:
        assert nearest_names(connection, typed)[0] == meant


@pytest.mark.parametrize("typed", ["", "zzzzzz", "\x00", "\u202e", "'; DROP TABLE word;--", "%", "q" * 4_000])
def test_what_is_near_nothing_gets_no_name(store: Store, typed: str) -> None:
    with store.connecting() as connection:
        assert nearest_names(connection, typed) == ()


def test_a_step_is_found_by_its_own_name(store: Store) -> None:
    with store.connecting() as connection:
        assert nearest_names(connection, "trian", kind=Kind.JOB) == ("churn.train",)


def test_an_unknown_name_is_refused_with_the_nearest(store: Store) -> None:
    with Lineage(store) as lineage, pytest.raises(Unknown, match="did you mean 'customers'"):
        lineage.show("custmers")


def test_the_number_of_statements_does_not_depend_on_the_number_of_names(store: Store) -> None:
    asked = []
    event.listen(store.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    with store.connecting() as connection:
        nearest_names(connection, "ordrs_000123")
    assert len(asked) < 60


def naive(one: str, other: str) -> int:
    """The whole matrix: optimal string alignment."""
    rows = [[max(i, j) if not (i and j) else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]


texts = st.text(alphabet="abc", max_size=9)


@settings(max_examples=200, deadline=None)
@given(one=texts, other=texts, most=st.integers(0, 9))
def test_a_band_of_the_matrix_gives_the_distance_or_says_that_it_is_beyond(
    one: str, other: str, most: int
) -> None:
    assert distance(one, other, most) == min(naive(one, other), most + 1)
