"""What an extraction tells of tables and arrays, and what it never tells."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.emitter.extractors import asset_type_of, extract, fingerprint
from headwater.emitter.extractors.columns import Cells
from headwater.emitter.extractors.extraction import Extraction
from headwater.emitter.extractors.tables import in_threads, spread, unique_labels
from headwater.emitter.extractors.vectors import Numbers, Piece, from_cells

SECRET = "hunter2-Örsted"
NUMBERS = [float(n) for n in range(1, 21)]


def of(data: object, *open_columns: str) -> Extraction:
    return extract(data, asset_type="Dataset", raw_values=open_columns)


def metrics(data: object, *open_columns: str) -> Any:
    return of(data, *open_columns).column_metrics


def as_all(columns: Mapping[str, Sequence[object]]) -> dict[str, object]:
    return {
        "dict": columns,
        "rows": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        "pandas": pd.DataFrame(columns),
        "pyarrow": pa.table(columns),
        "polars": pl.DataFrame(columns),
    }


EVERY = pytest.mark.parametrize("holder", ["dict", "rows", "pandas", "pyarrow", "polars"])


class TestStatistics:
    @EVERY
    def test_numbers_are_summed_up(self, holder: str) -> None:
        found = metrics(as_all({"a": NUMBERS})[holder])["a"]
        assert found["count"] == 20
        assert found["nullCount"] == 0
        assert found["distinctCount"] == 20
        assert (found["min"], found["max"], found["sum"], found["mean"]) == (1, 20, 210, 10.5)
        assert found["std"] == pytest.approx(statistics.stdev(NUMBERS))
        assert found["quantiles"] == pytest.approx(
            {str(q): float(np.quantile(NUMBERS, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
        )

    @EVERY
    def test_strings_are_counted_and_measured_in_characters(self, holder: str) -> None:
        found = metrics(as_all({"a": ["", "é", "abc", "abc", None, "\U0001f600"]})[holder])["a"]
        assert found == {
            "nullCount": 1,
            "count": 5,
            "distinctCount": 4,
            "minLength": 0,
            "maxLength": 3,
            "meanLength": 1.6,
            "emptyCount": 1,
        }

    @EVERY
    def test_booleans_are_counted(self, holder: str) -> None:
        found = metrics(as_all({"a": [True, False, True]})[holder])["a"]
        assert found == {"nullCount": 0, "count": 3, "trueCount": 2, "distinctCount": 2}

    @EVERY
    def test_times_have_a_range_in_seconds_since_1970(self, holder: str) -> None:
        start = datetime(2020, 1, 1, tzinfo=UTC)
        found = metrics(as_all({"a": [start + timedelta(hours=n) for n in range(12)]})[holder])["a"]
        assert (found["min"], found["max"], found["unit"]) == (
            start.timestamp(),
            start.timestamp() + 39_600,
            "s",
        )
        assert found["distinctCount"] == 12

    @EVERY
    def test_size_and_schema_are_told(self, holder: str) -> None:
        extraction = of(as_all({"a": [1], "b": ["x"]})[holder])
        assert [column.name for column in extraction.columns] == ["a", "b"]
        assert all(column.type for column in extraction.columns)
        assert extraction.statistics is not None
        assert extraction.statistics.row_count == 1
        assert extraction.details["headwater_dataset"]["shape"] == [1, 2]

    def test_infinite_and_nan_values_are_counted_apart(self) -> None:
        values = [*NUMBERS, math.inf, -math.inf, math.nan, math.nan]
        for data in ({"a": values}, pa.table({"a": values}), pl.DataFrame({"a": values})):
            found = metrics(data)["a"]
            assert (found["nanCount"], found["infiniteCount"], found["distinctCount"]) == (2, 2, 23)
            assert (found["min"], found["max"], found["sum"]) == (1, 20, 210)

    def test_a_sum_that_json_cannot_hold_is_left_out(self) -> None:
        found = metrics(pd.DataFrame({"a": [1.7e308] * 20}))["a"]
        assert "sum" not in found
        assert found["max"] == 1.7e308

    def test_sums_of_integers_are_exact(self) -> None:
        near = [2**53 + 1, 1] * 10
        assert metrics(pd.DataFrame({"a": near}))["a"]["sum"] == sum(near)
        huge = [2**62] * 20
        assert metrics(pd.DataFrame({"a": huge}))["a"]["sum"] == float(sum(huge))
        assert metrics(pd.DataFrame({"a": np.full(20, 2**64 - 1, dtype="u8")}))["a"]["max"] == float(
            2**64 - 1
        )

    def test_integers_beyond_64_bits_are_counted(self) -> None:
        found = metrics({"a": [10**400 + n for n in range(20)]})["a"]
        assert found == {"nullCount": 0, "count": 20, "distinctCount": 20}

    @settings(max_examples=80, deadline=None)
    @given(
        st.one_of(
            st.lists(
                st.none() | st.floats(-1e6, 1e6, width=32) | st.sampled_from([math.nan, math.inf]),
                max_size=40,
            ),
            st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=40),
            st.lists(st.none() | st.text(), max_size=40),
            st.lists(st.none() | st.booleans(), max_size=40),
        )
    )
    def test_both_paths_tell_the_same(self, values: list[Any]) -> None:
        slow, fast = Cells(values), from_cells(values)
        assert slow.digest() == fast.digest()
        one, other = slow.metrics(open_values=False), fast.metrics(open_values=False)
        quantiles = one.pop("quantiles", None), other.pop("quantiles", None)
        close = {key for key in one if key in ("mean", "std", "sum")}
        if values and any(value is not None for value in values):
            assert one.keys() == other.keys()
            assert {k: v for k, v in one.items() if k not in close} == {
                k: v for k, v in other.items() if k not in close
            }
        for key in close:
            assert other[key] == pytest.approx(one[key], rel=1e-9, abs=1e-6)
        assert (quantiles[0] is None) == (quantiles[1] is None)
        if quantiles[0] is not None:
            assert quantiles[1] == pytest.approx(quantiles[0])

    def test_a_column_too_large_to_sort_tells_what_one_pass_finds(self) -> None:
        values = np.random.default_rng(0).normal(1e9, 1.0, 300_000)
        values[7], values[8] = np.nan, np.inf
        pieces = [Piece(values[:100_000]), Piece(values[100_000:])]
        whole = Numbers(kind="float", pieces=pieces).metrics(open_values=False)
        streamed = Numbers(kind="float", pieces=pieces, largest_sort=1_000).metrics(open_values=False)
        assert "distinctCount" not in streamed
        for key in ("count", "min", "max", "sum", "mean", "std"):
            assert streamed[key] == pytest.approx(whole[key], rel=1e-9)

    def test_every_number_is_one_that_json_can_hold(self) -> None:
        frame = pd.DataFrame(
            {"f": np.arange(20, dtype="f4"), "i": np.arange(20, dtype="u1"), "b": [True] * 20}
        )
        json.dumps(asdict(of(frame)), allow_nan=False)


class TestPrivacy:
    def planted(self) -> dict[str, list[Any]]:
        return {
            "text": [SECRET, "b"] * 10,
            "bytes": [SECRET.encode(), b"b"] * 10,
            "list": [[SECRET], []] * 10,
            "struct": [{"k": SECRET}, None] * 10,
            "day": [date(1987, 3, 14), None] * 10,
        }

    @EVERY
    def test_no_raw_value_is_in_an_extraction(self, holder: str) -> None:
        rendered = repr(of(as_all(self.planted())[holder]))
        assert "hunter2" not in rendered
        assert "1987" not in rendered

    def test_no_category_is_in_a_schema(self) -> None:
        labels = [SECRET, "x"] * 10
        for data in (
            pd.DataFrame({"a": pd.Categorical(labels)}),
            pl.DataFrame({"a": pl.Series(labels, dtype=pl.Enum([SECRET, "x"]))}),
            pl.DataFrame(
                {"a": pl.Series([[label] for label in labels], dtype=pl.List(pl.Enum([SECRET, "x"])))}
            ),
            pa.table({"a": pa.array(labels).dictionary_encode()}),
        ):
            extraction = of(data)
            assert extraction.error is None
            assert "hunter2" not in repr(extraction)

    def test_an_error_quotes_no_value(self) -> None:
        class Loud:
            def __reduce_ex__(self, protocol: object) -> str:
                raise ValueError(SECRET)

            def __hash__(self) -> int:
                raise TypeError(SECRET)

        for data in ({"a": [Loud()]}, [{"a": Loud()}], pd.DataFrame({"a": [Loud(), 1]}), Loud(), [Loud()]):
            extraction = of(data)
            assert extraction.error
            assert "hunter2" not in repr(extraction)

    @EVERY
    def test_aggregates_of_fewer_than_ten_are_suppressed(self, holder: str) -> None:
        few, enough = as_all({"a": NUMBERS[:9]})[holder], as_all({"a": NUMBERS[:10]})[holder]
        assert metrics(few)["a"] == {"nullCount": 0, "count": 9, "distinctCount": 9}
        assert metrics(enough)["a"]["max"] == 10

    def test_nulls_do_not_count_towards_ten(self) -> None:
        for data in as_all({"a": [*NUMBERS[:9], *[None] * 50]}).values():
            assert metrics(data)["a"] == {"nullCount": 50, "count": 9, "distinctCount": 9}

    @EVERY
    def test_a_column_that_opted_in_tells_its_most_frequent_values(self, holder: str) -> None:
        columns: dict[str, list[object]] = {"open": ["x", "x", "y"], "shut": [SECRET] * 3, "n": [7, 7, 8]}
        found = metrics(as_all(columns)[holder], "open", "n")
        assert found["open"]["topValues"][0] == {"value": "x", "count": 2}
        assert found["n"]["topValues"][0] == {"value": 7, "count": 2}
        assert found["n"]["max"] == 8
        assert "hunter2" not in repr(found)


class TestNames:
    def test_integer_names_work(self) -> None:
        extraction = of(pd.DataFrame(np.ones((20, 3))))
        assert [column.name for column in extraction.columns] == ["0", "1", "2"]
        assert extraction.column_metrics["2"]["mean"] == 1
        assert extraction.error is None

    def test_duplicate_names_are_kept_apart(self) -> None:
        frame = pd.DataFrame([[1, 2.5, 3]] * 20, columns=["a", "a", "a#2"])
        extraction = of(frame)
        assert [column.name for column in extraction.columns] == ["a", "a#2", "a#2#2"]
        assert [extraction.column_metrics[c.name]["max"] for c in extraction.columns] == [1, 2.5, 3]

    def test_names_of_any_kind_become_text(self) -> None:
        names = [None, ("a", 1), 2.5, date(2020, 1, 1), "", "x\0y", "\ud800", 1, "1"]
        assert len(unique_labels(names)) == len(names)
        columns = pd.Index(names, dtype=object, tupleize_cols=False)
        assert of(pd.DataFrame([[1] * len(names)], columns=columns)).error is None

    def test_many_columns_stay_within_one_event(self) -> None:
        extraction = of({f"c{n}": [1] for n in range(12_000)})
        assert (len(extraction.columns), len(extraction.column_metrics)) == (10_000, 1_000)
        assert extraction.details["headwater_dataset"]["shape"] == [1, 12_000]
        other = {f"c{n}": [1 if n < 11_999 else 2] for n in range(12_000)}
        assert of(other).version != extraction.version


class TestOddTables:
    def test_empty_frames_have_one_version_a_set_of_names(self) -> None:
        for data in (
            pd.DataFrame({"a": []}),
            pa.table({"a": pa.array([], pa.int8())}),
            pl.DataFrame({"a": []}),
        ):
            extraction = of(data)
            assert extraction.error is None
            assert extraction.version == of({"a": []}).version
        assert of(pd.DataFrame()).version == of(pl.DataFrame()).version == of([]).version

    def test_mixed_objects_have_a_version_and_counts(self) -> None:
        extraction = of(pd.DataFrame({"a": [1, "x", None, 2.5, [1, {"k": np.int8(3)}], np.array([1, 2])]}))
        assert extraction.error is None
        assert extraction.version.startswith("table1:")
        assert extraction.column_metrics["a"]["nullCount"] == 1

    def test_an_object_without_a_form_makes_the_version_opaque_and_nothing_else(self) -> None:
        frame = pd.DataFrame({"good": NUMBERS, "bad": [object()] * 20})
        extraction = of(frame)
        assert extraction.version.startswith("opaque1:")
        assert "bad" in str(extraction.error)
        assert extraction.column_metrics["good"]["max"] == 20
        assert of(frame).version != extraction.version

    def test_deep_values_are_refused_and_told(self) -> None:
        deep: Any = 1
        for _ in range(10_000):
            deep = [deep]
        for data in ({"a": [deep]}, [{"a": deep}], pd.DataFrame({"a": [deep]}), [deep]):
            extraction = of(data)
            assert extraction.version.startswith("opaque1:")
            assert extraction.error

    @pytest.mark.parametrize("values", [[1, 2, 3], [], ["x"], [{"a": 1}, 2]])
    def test_a_list_that_is_no_table_is_a_document(self, values: list[Any]) -> None:
        extraction = of(values)
        assert extraction.version.partition(":")[0] == ("table1" if not values else "json1")
        assert extraction.statistics is not None
        assert extraction.statistics.row_count == len(values)

    def test_a_dict_may_hold_columns_of_any_library(self) -> None:
        columns = {
            "a": np.arange(3),
            "b": pd.Series([1, 2, 3]),
            "c": pa.array([1, 2, 3]),
            "d": pl.Series([1, 2, 3]),
        }
        extraction = of({**columns, "e": (1, 2, 3), "f": range(1, 4)})
        plain = {"a": [0, 1, 2], **{key: [1, 2, 3] for key in "bcdef"}}
        assert extraction.version == of(plain).version
        assert extraction.error is None

    def test_features_and_target_of_different_shapes_are_a_document_of_arrays(self) -> None:
        data = {"features": np.ones((5, 2)), "target": np.zeros(5)}
        extraction = of(data)
        assert extraction.version.startswith("json1:")
        data["features"][3, 1] = 2
        assert of(data).version != extraction.version

    def test_a_dict_is_a_table_only_where_a_table_is_meant(self) -> None:
        assert extract({"accuracy": [0.5]}, asset_type="Metrics").version.startswith("json1:")
        assert of({"accuracy": [0.5]}).version.startswith("table1:")

    def test_records_and_series_are_tables(self) -> None:
        records = np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")])
        assert of(records).version == of({"a": [1, 3], "b": [2.5, 4.5]}).version
        assert of(pd.Series([1, 3], name="a")).version == of(pa.table({"a": [1, 3]})).version
        assert of(pl.Series("a", [1, 3])).version == of({"a": [1, 3]}).version

    def test_pandas_kinds_of_every_sort_have_a_version(self) -> None:
        frame = pd.DataFrame(
            {
                "period": pd.period_range("2020-01", periods=3, freq="M"),
                "interval": pd.interval_range(0, 3),
                "sparse": pd.arrays.SparseArray([0, 0, 1]),
                "complex": [1j, 2j, 3j],
                "zone": pd.date_range("2020", periods=3, tz="Europe/Berlin"),
                "category": pd.Categorical([1, None, 2]),
                "times": pd.Categorical(pd.date_range("2020", periods=3)),
                "Int8": pd.array([1, None, 3], dtype="Int8"),
                "boolean": pd.array([True, None, False], dtype="boolean"),
                "tuple": [(1,), (2,), (3,)],
            }
        )
        extraction = of(frame)
        assert extraction.error is None
        assert extraction.version.startswith("table1:")
        assert of(frame.copy()).version == extraction.version
        indexed = frame.set_index(["period", "category"])
        assert of(indexed).details["headwater_dataset"]["index"] == ["period", "category"]

    def test_a_plan_for_data_is_not_data(self) -> None:
        for plan in (pl.LazyFrame({"a": [1]}), {"plan": pl.LazyFrame({"a": [1]})}, iter([1]), object()):
            extraction = of(plan)
            assert extraction.version.startswith("opaque1:")
            assert extraction.error

    def test_times_beyond_all_calendars_have_a_version(self) -> None:
        far = pd.DataFrame({"a": np.array(["300000-01-01", "2020-01-01", "NaT"], dtype="M8[s]")})
        other = pd.DataFrame({"a": np.array(["300000-01-02", "2020-01-01", "NaT"], dtype="M8[s]")})
        assert of(far).error is None
        assert of(far).version != of(other).version

    def test_decimals_are_numbers(self) -> None:
        found = metrics({"a": [Decimal(n) / 4 for n in range(20)]})["a"]
        assert (found["min"], found["max"], found["mean"]) == (0, 4.75, 2.375)

    def test_a_named_tuple_and_an_enumeration_are_their_values(self) -> None:
        point = namedtuple("point", "x y")
        assert of({"a": [point(1, 2)]}).version == of({"a": [[1, 2]]}).version


class TestArrays:
    def test_a_matrix_has_numbers_by_column(self) -> None:
        extraction = of(np.arange(40.0).reshape(20, 2))
        assert extraction.column_metrics["1"]["max"] == 39
        assert extraction.details["headwater_dataset"]["shape"] == [20, 2]
        assert extraction.statistics is not None
        assert extraction.statistics.row_count == 20

    @pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 3, 4), (30,)], ids=str)
    def test_arrays_of_any_shape_are_described(self, shape: tuple[int, ...]) -> None:
        extraction = of(np.ones(shape))
        assert extraction.error is None
        assert extraction.version.startswith("array1:")

    @pytest.mark.parametrize(
        "array",
        [
            np.array(["a", "b"]),
            np.array([b"a"]),
            np.array([1, None, "x"], dtype=object),
            np.array(["2020-01-01"], dtype="M8[D]"),
            np.array([1, 2], dtype="m8[ms]"),
            np.array([1 + 2j]),
            np.ma.masked_array([1, 2], mask=[True, False]),
            np.array(["x"], dtype=np.dtypes.StringDType()),
        ],
        ids=lambda array: str(array.dtype),
    )
    def test_arrays_of_any_type_are_described(self, array: Any) -> None:
        assert of(array).error is None
        assert of(array).version == of(array.copy()).version

    def test_strides_and_memory_order_are_invisible(self) -> None:
        matrix = np.random.default_rng(0).standard_normal((300, 7))
        for other in (np.asfortranarray(matrix), np.repeat(matrix, 2, axis=0)[::2], matrix[::-1][::-1]):
            assert of(other).version == of(matrix).version

    def test_an_array_wider_than_a_double_is_refused_and_told(self) -> None:
        extraction = of(np.ones(3, dtype=np.longdouble))
        assert extraction.version.startswith("opaque1:")
        assert extraction.error


class TestFingerprints:
    def test_in_full_it_is_the_version(self) -> None:
        for data in as_all({"a": NUMBERS, "b": ["x"] * 20}).values():
            assert fingerprint(data, sampled=False) == of(data).version

    def test_sampled_it_sees_any_changed_number_in_a_large_frame(self) -> None:
        frame = pd.DataFrame(np.random.default_rng(0).standard_normal((5_000, 4)))
        for row in (0, 1, 2_345, 4_999):
            before = fingerprint(frame, sampled=True)
            assert fingerprint(frame, sampled=True) == before
            frame.iloc[row, 2] += 1e-9
            assert fingerprint(frame, sampled=True) != before

    def test_sampled_it_sees_changes_of_size_names_and_types(self) -> None:
        frame = pd.DataFrame({"a": ["x"] * 1_000, "n": range(1_000)})
        others = [
            frame.iloc[:-1],
            frame.rename(columns={"a": "b"}),
            frame.astype({"n": float}),
            frame[["n", "a"]],
        ]
        assert len({fingerprint(data, sampled=True) for data in [frame, *others]}) == 5

    @pytest.mark.parametrize("sampled", [True, False])
    def test_it_sees_a_changed_array_and_a_changed_list(self, sampled: bool) -> None:
        array, rows = np.zeros((100, 100)), [{"a": n} for n in range(100)]
        before = [fingerprint(data, sampled=sampled) for data in (array, array.T[:50], rows)]
        array[49, 70] = 1
        rows[50]["a"] = -1
        after = [fingerprint(data, sampled=sampled) for data in (array, array.T[:50], rows)]
        assert before[0] != after[0]
        assert before[2] != after[2]

    def test_what_cannot_be_read_never_looks_changed(self) -> None:
        for sampled in (True, False):
            assert fingerprint(object(), sampled=sampled) == fingerprint(object(), sampled=sampled)
            assert fingerprint({"a": [object()]}, sampled=sampled) == "unidentified"


class TestKinds:
    def test_frames_and_arrays_are_datasets(self) -> None:
        for data in (
            pd.DataFrame(),
            pd.Series([1]),
            np.ones(1),
            pa.table({}),
            pl.DataFrame(),
            pl.Series([1]),
        ):
            assert asset_type_of(data) == "Dataset"

    def test_plain_values_and_types_are_nothing_by_themselves(self) -> None:
        for data in ({}, [1], "x", b"x", 1, None, object(), pd.DataFrame, np.ndarray, pl.LazyFrame()):
            assert asset_type_of(data) is None

    def test_a_proxy_that_raises_is_nothing_by_itself(self) -> None:
        class Proxy:
            @property  # type: ignore[misc]
            def __class__(self) -> Any:
                raise RuntimeError("unbound")

        assert asset_type_of(Proxy()) is None
        assert of(Proxy()).error

    @pytest.mark.parametrize(
        "data", ["{'a': [1, None, 3]}", "[{'a': 1}]", "'text'", "b'bytes'", "{'k': {'v': 1}}"]
    )
    def test_plain_python_needs_no_framework(self, data: str) -> None:
        program = f"""
import sys
from headwater.emitter.extractors import asset_type_of, extract, fingerprint
extraction = extract({data}, asset_type="Dataset")
assert extraction.error is None, extraction.error
asset_type_of({data}), fingerprint({data}, sampled=True)
loaded = {{"numpy", "pandas", "pyarrow", "polars", "sklearn", "scipy"}} & sys.modules.keys()
assert not loaded, loaded
print(extraction.version)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == of(eval(data)).version

    def test_arrow_and_polars_need_no_numpy(self) -> None:
        program = """
import sys
sys.modules["numpy"] = None
import pyarrow as pa, polars as pl
from headwater.emitter.extractors import extract
columns = {"a": [1, None], "b": ["x", "y"], "c": [1.5, 2.5], "l": [[1], []]}
for data in (pa.table(columns), pl.DataFrame(columns)):
    extraction = extract(data, asset_type="Dataset")
    assert extraction.error is None, extraction.error
    print(extraction.version)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        expected = of({"a": [1, None], "b": ["x", "y"], "c": [1.5, 2.5], "l": [[1], []]}).version
        assert done.stdout.split() == [expected, expected], done.stderr


class TestThreads:
    def test_results_keep_their_order(self) -> None:
        assert in_threads(lambda n: n * n, list(range(100))) == [n * n for n in range(100)]

    def test_an_error_reaches_the_caller(self) -> None:
        def work(n: int) -> int:
            if n == 3:
                raise KeyError(n)
            return n

        with pytest.raises(KeyError):
            in_threads(work, list(range(50)))

    def test_large_frames_are_read_the_same_by_several_threads(self) -> None:
        frame = pd.DataFrame(np.random.default_rng(0).standard_normal((20_000, 8)))
        assert len({of(frame).version for _ in range(5)}) == 1
        assert of(frame).version == of({n: frame[n].tolist() for n in frame}).version

    @given(st.integers(0, 2_000), st.integers(2, 50))
    def test_sampled_rows_are_spread_from_the_first_to_the_last(self, rows: int, wanted: int) -> None:
        places = spread(rows, wanted)
        assert len(set(places)) == len(places) == min(rows, wanted)
        assert not rows or (places[0] == 0 and places[-1] == rows - 1)


def test_the_values_of_metrics_are_told_and_those_of_other_documents_are_not() -> None:
    measured = {"auc": 0.93, "rows": 7, "note": "good"}
    assert extract(measured, asset_type="Metrics").details == {
        "headwater_metrics": {"values": {"auc": 0.93, "rows": 7}}
    }
    assert extract(measured, asset_type="Artifact").details == {}
    assert extract(measured, asset_type="Metrics").version == extract(measured, asset_type="Artifact").version
