"""What runs in the process that makes a version again: arguments, functions, files."""

from __future__ import annotations

import datetime
import decimal
import enum
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.consumers.remaking import surroundings
from headwater.consumers.remaking.arguments import call_of, typed
from headwater.consumers.remaking.functions import step_function
from headwater.consumers.remaking.refusing import Refused
from headwater.emitter import Dataset, MemorySink, Settings, configure, step
from headwater.emitter.parameters import parameters
from headwater.schemas.events import StepStarted
from headwater.schemas.openlineage import parse
from headwater.schemas.rendering import recognise


class Color(enum.Enum):
    RED = 1


@dataclass
class Options:
    path: Path
    depth: int = 3


class Pair(NamedTuple):
    left: Dataset
    right: int


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (8, int),
        (0.5, float),
        ("text", str),
        (None, int | None),
        (Path("/x/y.csv"), Path),
        ("/x/y.csv", Path | str),  # either fits, and it was recorded as a text
        (Color.RED, Color),
        (datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC), datetime.datetime),
        (datetime.date(2026, 3, 1), datetime.date),
        (datetime.timedelta(seconds=90), datetime.timedelta),
        (uuid.UUID(int=7), uuid.UUID),
        (decimal.Decimal("1.50"), decimal.Decimal),
        ((1, 2), tuple[int, int]),
        ((Path("a"), Path("b")), tuple[Path, ...]),
        ([Path("a")], list[Path]),
        ({"a"}, set[str]),
        (Options(Path("x"), 4), Options),
        (2**70, int),
        (Path("x"), Annotated[Path, "where"]),
    ],
    ids=repr,
)
def test_a_parameter_comes_back_as_the_type_that_its_annotation_names(value: Any, hint: Any) -> None:
    said = parameters({"x": value})["x"]
    back = typed(said, hint)
    assert (back, type(back)) == (value, type(value))


def called(function: Callable[..., Any], assets: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    call = call_of(step(function), assets, settings)
    return function(*call.args, **call.kwargs)


@pytest.fixture(autouse=True)
def _in_memory() -> None:
    configure(Settings(), MemorySink())


def table(name: str) -> Dataset:
    return Dataset.create([{"n": 1}], name=name)


def test_assets_go_to_the_places_that_they_came_in_by() -> None:
    a, b, c = table("a"), table("b"), table("c")

    def function(first: Dataset, *rest: Any, models: list[Dataset], pair: Pair, **others: Any) -> Any:
        return first, rest, models, pair, others

    places = {"first": a, "rest.0": b, "models.0": b, "models.1": c, "pair.left": c, "extra": a}
    first, rest, models, pair, others = called(function, places, {"pair": {"right": 7}, "rate": 0.5})
    assert (first, rest, models, pair) == (a, (b,), [b, c], Pair(c, 7))
    assert others == {"extra": a, "rate": 0.5}


def test_a_dict_of_assets_keeps_its_keys_and_its_plain_values() -> None:
    a = table("a")
    found = called(lambda parts: parts, {"parts.train": a}, {"parts": {"share": 0.2}})
    assert found == {"train": a, "share": 0.2}


def test_the_annotation_says_whether_the_asset_or_its_data_is_wanted() -> None:
    a = table("a")

    def data(rows: list[dict[str, int]]) -> Any:
        return rows

    def asset(rows: Dataset | None) -> Any:
        return rows

    assert called(data, {"rows": a}, {}) is a.data
    assert called(asset, {"rows": a}, {}) is a
    assert called(lambda rows: rows, {"rows": a}, {}) is a


@pytest.mark.parametrize(
    ("function", "settings", "what"),
    [
        (lambda connection: None, {}, "the argument connection"),
        (lambda depth=3: None, {}, "the argument depth"),
        (lambda: None, {"gone": 1}, "the argument gone"),
    ],
)
def test_what_was_not_recorded_or_is_not_taken_is_refused(
    function: Callable[..., Any], settings: Mapping[str, Any], what: str
) -> None:
    with pytest.raises(Refused) as refused:
        call_of(step(function), {}, settings)
    assert refused.value.said["what"] == what


def test_a_default_that_json_cannot_say_is_taken() -> None:
    sentinel = object()
    assert called(lambda connection=sentinel: connection, {}, {}) is sentinel


def test_a_value_that_no_longer_fits_is_refused() -> None:
    def function(color: Color) -> None:
        return None

    with pytest.raises(Refused, match="does not fit"):
        call_of(step(function), {}, {"color": "BLUE"})


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    # Inside of a list an infinity is recorded as text: JSON has none.
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(settings=st.dictionaries(st.sampled_from(["a", "b", "c"]), _values, max_size=3))
def test_a_call_is_put_together_as_it_was_made(settings: dict[str, Any]) -> None:
    @step
    def function(a: Any = 1, b: Any = 2, *, c: Any = 3) -> dict[str, Any]:
        return {"a": a, "b": b, "c": c}

    sink = MemorySink()
    configure(Settings(), sink)
    made = function(**settings)
    fact = recognise(parse(sink.values[0]))
    assert isinstance(fact, StepStarted)
    call = call_of(function, {}, fact.parameters)
    assert function(*call.args, **call.kwargs) == made


@pytest.mark.parametrize("name", ["m:outer.<locals>.inner", "m:<lambda>"])
def test_a_function_that_cannot_be_imported_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="defined inside another function"):
        step_function(name, None, [], "inner")


def test_a_prompt_or_a_notebook_is_no_file() -> None:
    with pytest.raises(Refused, match="typed at a prompt or in a notebook"):
        step_function("__main__:load", None, [], "load")


@pytest.mark.parametrize(
    ("was", "now", "compatible"),
    [
        ("2.1.0", "2.9.9", True),
        ("2.1.0", "3.0.0", False),
        ("0.3.1", "0.3.9", True),
        ("0.3.1", "0.4.0", False),
        ("2024.1", "2025.1", False),
        ("1.0rc1", "1.0", True),
    ],
)
def test_compatible_is_the_same_major_version(was: str, now: str, compatible: bool) -> None:
    assert surroundings._compatible(was, now) is compatible


def test_the_process_needs_no_more_than_the_emitter() -> None:
    program = (
        "import sys, headwater.consumers.remaking.__main__\n"
        "heavy = ('sqlalchemy', 'click', 'rich', 'pandas', 'numpy')\n"
        "print([name for name in sys.modules if name.split('.')[0] in heavy])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_function_that_is_no_step_and_not_the_projects_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no function of this project"):
        step_function("shutil:rmtree", None, [str(tmp_path)], "remove")
