"""The canonical forms: the vectors, and what the specification promises of any content."""

from __future__ import annotations

import hashlib
import itertools
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.emitter.extractors import extract, fingerprint
from headwater.emitter.extractors.numpy_arrays import array_version as fast_array_version
from headwater.emitter.extractors.plain import vector_of
from headwater.schemas import canonical
from headwater.schemas.canonical import Uncanonical, array_version, bytes_version, json_version, table_version
from tests.contract.vectors_io import value_of, vectors

named = pytest.mark.parametrize


def ids(vector: Mapping[str, Any]) -> str:
    return str(vector["name"])


def name_of(written: Any) -> Any:
    name = value_of(written)
    return tuple(name) if isinstance(name, list) else name


def columns_of(vector: Mapping[str, Any], part: str) -> list[tuple[Any, list[Any]]]:
    return [(name_of(c["name"]), [value_of(cell) for cell in c["cells"]]) for c in vector[part]]


class TestVectors:
    @named("vector", vectors("bytes1"), ids=ids)
    def test_bytes(self, vector: dict[str, Any]) -> None:
        chunks = [bytes.fromhex(chunk) for chunk in vector["chunks"]]
        assert (
            bytes_version(chunks)
            == vector["version"]
            == extract(b"".join(chunks), asset_type="Artifact").version
        )

    @named("vector", vectors("json1"), ids=ids)
    def test_json(self, vector: dict[str, Any]) -> None:
        assert json_version(value_of(vector["value"])) == vector["version"]

    @named("vector", vectors("array1"), ids=ids)
    def test_arrays_by_the_reference(self, vector: dict[str, Any]) -> None:
        values = [value_of(cell) for cell in vector["values"]]
        assert (
            array_version(vector["dtype"], vector["shape"], values, valid=vector.get("valid"))
            == vector["version"]
        )

    @named("vector", vectors("array1"), ids=ids)
    def test_arrays_by_numpy(self, vector: dict[str, Any]) -> None:
        dtype = {"string": "U", "binary": "S", "object": "O"}.get(vector["dtype"], vector["dtype"])
        values = [value_of(cell) for cell in vector["values"]]
        if dtype.startswith(("datetime", "timedelta")):
            array = np.array(values, dtype="i8").view(dtype)
        else:
            array = np.array(values, dtype=dtype).reshape(vector["shape"])
        if "valid" in vector:
            array = np.ma.masked_array(array, mask=[not valid for valid in vector["valid"]])
        assert fast_array_version(array) == vector["version"]
        for other in (array.copy(order="F"), array.astype(array.dtype.newbyteorder(">"))):
            assert fast_array_version(other) == vector["version"]

    @named("vector", vectors("table1"), ids=ids)
    def test_tables_by_the_reference(self, vector: dict[str, Any]) -> None:
        version = table_version(columns_of(vector, "columns"), index=columns_of(vector, "index"))
        assert version == vector["version"]

    @named("vector", vectors("table1"), ids=ids)
    def test_tables_on_buffers(self, vector: dict[str, Any]) -> None:
        read = {
            part: [(name, vector_of(cells).digest()) for name, cells in columns_of(vector, part)]
            for part in ("index", "columns")
        }
        rows = len(vector["columns"][0]["cells"]) if vector["columns"] else 0
        assert canonical.combine_table(rows, read["index"], read["columns"]) == vector["version"]

    @named(
        ("library", "vector"),
        [
            pytest.param(library, vector, id=f"{library}-{vector['name']}")
            for vector in vectors("table1")
            for library in vector["also"]
        ],
    )
    def test_tables_by_each_library_that_can_hold_them(self, library: str, vector: dict[str, Any]) -> None:
        table = {"pandas": in_pandas, "pyarrow": in_pyarrow, "polars": in_polars}[library](vector)
        extraction = extract(table, asset_type="Dataset")
        assert extraction.error is None
        assert extraction.version == vector["version"] == fingerprint(table, sampled=False)


def in_pandas(vector: Mapping[str, Any]) -> pd.DataFrame:
    columns = columns_of(vector, "columns")
    frame = pd.DataFrame({place: pd.Series(cells) for place, (_, cells) in enumerate(columns)})
    frame.columns = pd.Index([name for name, _ in columns], dtype=None if columns else object)
    levels = columns_of(vector, "index")
    if levels:
        frame.index = pd.MultiIndex.from_arrays([c for _, c in levels], names=[name for name, _ in levels])
    if len(levels) == 1:
        frame.index = pd.Index(levels[0][1], name=levels[0][0])
    return frame


def in_pyarrow(vector: Mapping[str, Any]) -> pa.Table:
    columns = columns_of(vector, "columns")
    return pa.Table.from_arrays(
        [pa.array(cells) for _, cells in columns], names=[name for name, _ in columns]
    )


def in_polars(vector: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        {name: pl.Series(cells, strict=True) for name, cells in columns_of(vector, "columns")}
    )


class TestByHand:
    """The specification, followed once without any code of ours."""

    def test_a_table_of_integers_and_strings(self) -> None:
        def h(*parts: bytes) -> bytes:
            return hashlib.sha256(b"".join(parts)).digest()

        numbers = h(b"column1\nint/i64\n3\n0\n", h(struct.pack("<3q", 1, 2, 3)))
        validity, lengths, text = h(b"\1\0\1"), h(struct.pack("<2Q", 2, 1)), h("éz".encode())
        strings = h(b"column1\nstring\n3\n1\n", validity, lengths, text)
        name_a, name_b = (h(b"S", struct.pack("<Q", 1), letter) for letter in (b"a", b"b"))
        root = h(b"table1\n3\n0\n2\n", name_a, numbers, name_b, strings)
        assert table_version([("a", [1, 2, 3]), ("b", ["é", None, "z"])]) == f"table1:{root.hex()}"

    def test_a_json_value(self) -> None:
        cell = b"{" + struct.pack("<Q", 1) + b"S" + struct.pack("<Q", 1) + b"k"
        cell += b"[" + struct.pack("<Q", 3) + b"I" + struct.pack("<Q", 2) + b"\x80\x00" + b"N" + b"T"
        expected = hashlib.sha256(b"json1\n" + cell).hexdigest()
        assert json_version({"k": [128, None, True]}) == f"json1:{expected}"

    def test_an_array(self) -> None:
        elements = hashlib.sha256(struct.pack("<4f", 1, 2, 3, 4)).digest()
        expected = hashlib.sha256(b"array1\nfloat32\n2,2\n0\n" + elements).hexdigest()
        assert array_version("float32", (2, 2), [1.0, 2.0, 3.0, 4.0]) == f"array1:{expected}"

    def test_bytes_have_the_version_that_sha256sum_prints(self) -> None:
        assert (
            bytes_version(b"abc") == "bytes1:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )


I64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "int": I64,
    "float": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "string": st.text(max_size=8),
    "binary": st.binary(max_size=8),
    "date": st.dates(date(1700, 1, 1), date(2200, 1, 1)),
    "local": TIMES,
    "instant": TIMES.map(lambda moment: moment.replace(tzinfo=UTC)),
    "duration": st.timedeltas(timedelta(days=-1000), timedelta(days=1000)),
    "decimal": st.decimals(-(10**6), 10**6, places=2, allow_nan=False),
    "list": st.lists(st.integers(-9, 9), max_size=3),
    "struct": st.fixed_dictionaries({"x": st.integers(0, 9), "y": st.text(max_size=3)}),
}
Columns = dict[str, list[Any]]


@st.composite
def tables(draw: st.DrawFn, *, nulls: bool = True, least: int = 0) -> Columns:
    """Columns of one class each, with nulls."""
    rows = draw(st.integers(least, 8))
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    cell = {kind: st.none() | CELLS[kind] if nulls else CELLS[kind] for kind in kinds}
    return {
        f"c{place}": draw(st.lists(cell[kind], min_size=rows, max_size=rows))
        for place, kind in enumerate(kinds)
    }


def version(data: object) -> str:
    extraction = extract(data, asset_type="Dataset")
    assert extraction.error is None
    return extraction.version


def reference(columns: Columns) -> str:
    return table_version(columns.items())


def as_rows(columns: Columns) -> list[dict[str, Any]]:
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def in_objects(columns: Columns) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})


class TestEqualContent:
    @settings(max_examples=150, deadline=None)
    @given(tables())
    def test_one_table_has_one_version_in_whatever_holds_it(self, columns: Columns) -> None:
        arrow = pa.table({name: pa.array(cells) for name, cells in columns.items()})
        holders: dict[str, object] = {
            "dict": columns,
            "pandas objects": in_objects(columns),
            "pandas on Arrow": arrow.to_pandas(types_mapper=pd.ArrowDtype),
            "pyarrow": arrow,
            "polars": pl.DataFrame({name: pl.Series(cells, strict=True) for name, cells in columns.items()}),
        }
        if next(iter(columns.values())):  # a list of no rows has no columns
            holders["rows"] = as_rows(columns)
        assert {name: version(data) for name, data in holders.items()} == dict.fromkeys(
            holders, reference(columns)
        )

    @settings(max_examples=80, deadline=None)
    @given(tables(nulls=False))
    def test_columns_that_pandas_infers_have_the_same_version(self, columns: Columns) -> None:
        assert version(pd.DataFrame(columns)) == reference(columns)

    @settings(max_examples=80, deadline=None)
    @given(tables(least=1), st.lists(st.integers(0, 8), max_size=3), st.booleans())
    def test_chunks_and_slices_are_invisible(self, columns: Columns, cuts: list[int], padded: bool) -> None:
        table = pa.table({name: pa.array(cells) for name, cells in columns.items()})
        if padded:  # content that begins in the middle of its buffers
            around = table.take(list(reversed(range(table.num_rows))))
            whole = pa.concat_tables([around, table, around]).combine_chunks()
            table = whole.slice(table.num_rows, table.num_rows)
        places = sorted({0, *(min(cut, table.num_rows) for cut in cuts), table.num_rows})
        pieces = [table.slice(a, b - a) for a, b in itertools.pairwise(places)]
        assert version(pa.concat_tables(pieces)) == reference(columns)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.none() | st.text(max_size=3), min_size=1, max_size=20))
    def test_dictionary_encoding_and_categories_are_invisible(self, cells: list[str | None]) -> None:
        expected = reference({"a": cells})
        plain = pa.array(cells, pa.string())
        assert version(pa.table({"a": plain.dictionary_encode()})) == expected
        assert version(pl.DataFrame({"a": pl.Series(cells, dtype=pl.Categorical)})) == expected
        categories = pd.Categorical(cells)
        # pandas before 3 takes "" and "\0" for one category.
        if [None if pd.isna(cell) else cell for cell in categories] == cells:
            assert version(pd.DataFrame({"a": categories})) == expected
        assert version(pd.DataFrame({"a": pd.Series(cells, dtype="string[python]")})) == expected
        for wide in (pa.large_string(), pa.string_view()):
            assert version(pa.table({"a": plain.cast(wide)})) == expected

    @named(
        "dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "Int8", "UInt64"]
    )
    def test_the_width_of_integers_is_invisible(self, dtype: str) -> None:
        assert version(pd.DataFrame({"a": pd.Series([1, 2, 100], dtype=dtype)})) == reference(
            {"a": [1, 2, 100]}
        )

    @named("dtype", ["float16", "float32", "float64", "Float32", "float[pyarrow]", "halffloat[pyarrow]"])
    def test_the_width_of_floats_is_invisible(self, dtype: str) -> None:
        assert version(pd.DataFrame({"a": pd.Series([1.5, -0.25], dtype=dtype)})) == reference(
            {"a": [1.5, -0.25]}
        )

    @named("unit", ["s", "ms", "us", "ns"])
    def test_the_unit_of_times_is_invisible(self, unit: str) -> None:
        moments = [datetime(2020, 1, 1, 12, 30), None, datetime(1969, 12, 31, 23, 59, 59)]
        expected = reference({"a": moments})
        assert version(pd.DataFrame({"a": pd.Series(moments, dtype=f"datetime64[{unit}]")})) == expected
        assert version(pa.table({"a": pa.array(moments, pa.timestamp(unit))})) == expected
        spans = [timedelta(seconds=-5), None]
        assert version(pd.DataFrame({"a": pd.Series(spans, dtype=f"timedelta64[{unit}]")})) == reference(
            {"a": spans}
        )

    def test_the_zone_is_a_way_of_showing_an_instant(self) -> None:
        at = datetime(2020, 6, 1, 12, tzinfo=UTC)
        shifted = at.astimezone(timezone(timedelta(hours=5, minutes=30)))
        expected = reference({"a": [at]})
        assert reference({"a": [shifted]}) == expected
        for zone in ("UTC", "Europe/Berlin", "Asia/Kathmandu"):
            assert version(pd.DataFrame({"a": pd.Series([at]).dt.tz_convert(zone)})) == expected
            assert version(pa.table({"a": pa.array([at], pa.timestamp("ns", zone))})) == expected
            assert version(pl.DataFrame({"a": pl.Series([at]).dt.convert_time_zone(zone)})) == expected

    def test_missing_in_pandas_is_null_however_it_is_spelt(self) -> None:
        expected = reference({"a": [1.5, None]})
        for column in (
            pd.Series([1.5, math.nan]),
            pd.Series([1.5, None], dtype=object),
            pd.Series([1.5, pd.NA], dtype="Float64"),
            pd.Series([1.5, None], dtype="double[pyarrow]"),
            pd.Series([1.5, pd.NA], dtype=object),
            pd.Series(pd.arrays.SparseArray([1.5, math.nan])),
            pd.Series(pd.Categorical([1.5, None])),
        ):
            assert version(pd.DataFrame({"a": column})) == expected
        assert version(pa.Table.from_pandas(pd.DataFrame({"a": [1.5, math.nan]}))) == expected

    def test_what_lies_under_a_null_is_invisible(self) -> None:
        valid = pa.py_buffer(b"\x05")
        numbers = pa.Array.from_buffers(pa.int64(), 3, [valid, pa.py_buffer(struct.pack("<3q", 1, 99, 3))])
        texts = pa.Array.from_buffers(
            pa.string(), 3, [valid, pa.py_buffer(struct.pack("<4i", 0, 1, 4, 5)), pa.py_buffer(b"xsecz")]
        )
        assert version(pa.table({"n": numbers, "t": texts})) == reference(
            {"n": [1, None, 3], "t": ["x", None, "z"]}
        )

    def test_an_index_that_only_counts_rows_is_no_content(self) -> None:
        frame = pd.DataFrame({"a": [1, 2, 3]})
        for index in (pd.RangeIndex(3), pd.Index([0, 1, 2]), pd.Index([0, 1, 2], dtype="int8")):
            assert version(frame.set_axis(index)) == version(frame)

    def test_absent_keys_of_rows_are_null(self) -> None:
        assert version([{"a": 1}, {"b": "x", "a": 2}]) == reference({"a": [1, 2], "b": [None, "x"]})


def changed(strategy: st.SearchStrategy[Any], before: Any, draw: Callable[..., Any]) -> Any:
    return draw(strategy.filter(lambda after: canonical.cell(after) != canonical.cell(before)))


class TestDifferentContent:
    @settings(max_examples=150, deadline=None)
    @given(st.data(), tables(least=1))
    def test_one_changed_cell_is_another_version(self, data: st.DataObject, columns: Columns) -> None:
        name = data.draw(st.sampled_from(sorted(columns)))
        row = data.draw(st.integers(0, len(columns[name]) - 1))
        kind = next((k for c in columns[name] for k in canonical.classes_of([c]) if c is not None), "int")
        after = changed(st.none() | CELLS[kind], columns[name][row], data.draw)
        other = {**columns, name: [*columns[name][:row], after, *columns[name][row + 1 :]]}
        assert reference(other) != reference(columns)
        assert version(in_objects(other)) != version(in_objects(columns))

    @named(
        ("one", "another"),
        [
            pytest.param([1], [1.0], id="integer and float"),
            pytest.param([1], [True], id="integer and boolean"),
            pytest.param([1], ["1"], id="integer and string"),
            pytest.param(["a"], [b"a"], id="string and bytes"),
            pytest.param([0.0], [-0.0], id="zero and negative zero"),
            pytest.param([math.nan], [None], id="NaN and null"),
            pytest.param(["", None], [None, ""], id="where the null is"),
            pytest.param(["ab", "c"], ["a", "bc"], id="where a string ends"),
            pytest.param([[1], [2, 3]], [[1, 2], [3]], id="where a list ends"),
            pytest.param(["é"], ["e\u0301"], id="composed and decomposed"),
            pytest.param(
                [datetime(2020, 1, 1)], [datetime(2020, 1, 1, tzinfo=UTC)], id="with and without a zone"
            ),
            pytest.param([date(2020, 1, 1)], [datetime(2020, 1, 1)], id="date and time"),
            pytest.param([Decimal("1.5")], [1.5], id="decimal and float"),
            pytest.param([{"a": 1}], [{"b": 1}], id="keys of a struct"),
            pytest.param([[None]], [[]], id="a list of null and no item"),
            pytest.param([1, 2], [2, 1], id="order of rows"),
            pytest.param([None], [], id="a null and no row"),
        ],
    )
    def test_it_is_told_apart(self, one: list[Any], another: list[Any]) -> None:
        assert version({"a": one}) != version({"a": another})

    def test_the_order_of_columns_is_content(self) -> None:
        assert version({"a": [1], "b": [2]}) != version({"b": [2], "a": [1]})

    def test_names_are_content_with_their_type(self) -> None:
        names: Sequence[Any] = ["a", "b", 0, "0", None, "", ("a", 1), "a.1", 0.0]
        versions = {version(pd.DataFrame([[1]], columns=pd.Index([name], dtype=object))) for name in names}
        assert len(versions) == len(names)

    def test_an_index_with_labels_is_content(self) -> None:
        frame = pd.DataFrame({"a": [1, 2]})
        indexes = [
            None,
            [1, 2],
            [1, 0],
            ["x", "y"],
            pd.Index([0, 1], name="id"),
            pd.RangeIndex(1, 3, name="k"),
        ]
        versions = {version(frame if index is None else frame.set_axis(index)) for index in indexes}
        assert len(versions) == len(indexes)
        assert version(frame.set_axis(pd.RangeIndex(1, 3))) == version(frame.set_axis([1, 2]))

    def test_an_array_is_told_by_shape_and_width(self) -> None:
        numbers = np.arange(6)
        arrays = [
            numbers,
            numbers.reshape(2, 3),
            numbers.reshape(3, 2),
            numbers.astype("i4"),
            numbers.astype("f8"),
        ]
        assert len({version(array) for array in arrays}) == len(arrays)

    def test_nanoseconds_are_content(self) -> None:
        fine = pd.DataFrame({"a": pd.to_datetime(["2020-01-01T00:00:00.000000001"]).as_unit("ns")})
        assert version(fine) != reference({"a": [datetime(2020, 1, 1)]})
        assert version(fine) == version(pa.Table.from_pandas(fine)) == version(pl.from_pandas(fine))
        assert version(fine) == version(fine.astype(object))


class TestRefusals:
    @named(
        "value",
        [object(), Fraction(1, 3), time(1, tzinfo=UTC), {1: object()}, range(3), np.longdouble("0.1")],
        ids=lambda value: type(value).__name__,
    )
    def test_a_value_without_a_form_is_refused(self, value: object) -> None:
        with pytest.raises(Uncanonical) as caught:
            json_version(value)
        assert "no canonical form" in str(caught.value) or "zone" in str(caught.value)

    def test_deep_values_have_a_version_up_to_the_limit(self) -> None:
        deep: list[Any] = []
        for _ in range(canonical.MAX_DEPTH):
            deep = [deep]
        assert json_version(deep).startswith("json1:")
        with pytest.raises(Uncanonical):
            json_version([deep])

    def test_a_value_inside_itself_is_refused(self) -> None:
        inside: list[Any] = []
        inside += [inside, inside]
        with pytest.raises(Uncanonical):
            json_version(inside)
        with pytest.raises(Uncanonical):
            table_version([("a", [inside])])

    def test_columns_of_different_lengths_are_no_table(self) -> None:
        with pytest.raises(ValueError):
            table_version([("a", [1]), ("b", [])])

    def test_the_limit_of_python_for_digits_is_no_limit_of_ours(self) -> None:
        assert json_version(10**5_000) != json_version(10**5_000 + 1)
