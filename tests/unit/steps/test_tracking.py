"""Objects are recognised while they live, and never by a reused id."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression

from headwater.emitter import tracking
from headwater.emitter.tracking import Known, Tracker
from headwater.schemas import events
from headwater.schemas.events import AssetRef


def known(name: str = "a") -> Known:
    ref = AssetRef(namespace="n", name=name, version="json1:0")
    return Known(ref, events.Asset(namespace="n", name=name, version="json1:0", type="Dataset"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: pd.DataFrame({"a": [1]}),
        lambda: pd.Series([1]),
        lambda: np.zeros(3),
        lambda: polars.DataFrame({"a": [1]}),
        lambda: pa.table({"a": [1]}),
        lambda: sparse.eye(3, format="csr"),
        LogisticRegression,
        lambda: {1, 2},
    ],
    ids=["frame", "series", "array", "polars", "arrow", "sparse", "model", "set"],
)
def test_every_kind_of_data_object_is_recognised_by_identity(make: Callable[[], Any]) -> None:
    tracker, obj = Tracker(), make()
    assert tracker.remember(obj, known())
    found = tracker.recall(obj)
    assert found is not None
    assert found.ref.name == "a"
    assert tracker.recall(make()) is None


@pytest.mark.parametrize("value", [{"a": 1}, [1], (1,), "text", 3, Path("/x")])
def test_what_has_no_identity_is_refused(value: object) -> None:
    assert not Tracker().remember(value, known())


def test_an_entry_goes_with_its_object() -> None:
    tracker = Tracker()
    obj = np.zeros(3)
    tracker.remember(obj, known())
    assert len(tracker) == 1
    del obj
    gc.collect()
    assert len(tracker) == 0


def test_a_reused_id_is_never_recognised() -> None:
    tracker, reused = Tracker(), 0
    for _ in range(2_000):
        first = np.zeros(3)
        tracker.remember(first, known())
        address = id(first)
        del first
        second = np.zeros(3)
        reused += id(second) == address
        assert tracker.recall(second) is None
        del second
    assert reused, "no id was reused, so this test showed nothing"


def test_an_entry_that_outlived_its_object_would_not_be_believed() -> None:
    # As if the callback had not come yet: the reference decides, not the id it is filed under.
    tracker = Tracker()
    obj, other = np.zeros(3), np.ones(3)
    tracker.remember(obj, known())
    tracker._objects[id(other)] = tracker._objects[id(obj)]
    assert tracker.recall(other) is None


def test_a_values_content_is_recognised_within_its_pipeline_only() -> None:
    tracker = Tracker()
    tracker.remember_value("run 1", {"a": [1, 2]}, known())
    assert tracker.recall_value("run 1", {"a": [1, 2]}) is not None
    assert tracker.recall_value("run 1", {"a": [1, 3]}) is None
    assert tracker.recall_value("run 2", {"a": [1, 2]}) is None


def test_values_and_names_are_kept_in_bounds() -> None:
    tracker = Tracker()
    for n in range(tracking.MAX_VALUES + 10):
        tracker.remember_value("run", [n], known())
    assert tracker.recall_value("run", [0]) is None
    assert tracker.recall_value("run", [tracking.MAX_VALUES]) is not None
    for n in range(tracking.MAX_NAMES + 10):
        tracker.supersede("n", str(n), "v1")
    assert tracker.supersede("n", "0", "v2") is None
    assert tracker.supersede("n", str(tracking.MAX_NAMES), "v2") == "v1"


def test_a_value_without_a_canonical_form_is_not_tracked() -> None:
    tracker = Tracker()
    tracker.remember_value("run", {"lock": object()}, known())
    assert tracker.recall_value("run", {"lock": object()}) is None


def test_a_file_is_recognised_until_it_changes(tmp_path: Path) -> None:
    tracker, path = Tracker(), tmp_path / "a.bin"
    path.write_bytes(b"abc")
    tracker.remember_file(path, known())
    assert tracker.recall_file(path) is not None
    os.utime(path, ns=(1, 1))
    assert tracker.recall_file(path) is None
    path.unlink()
    assert tracker.recall_file(path) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["v1", "v2", "v3"]))))
def test_a_superseded_version_is_the_one_noted_last(noted: list[tuple[str, str]]) -> None:
    tracker, last = Tracker(), dict[str, str]()
    for name, version in noted:
        before = tracker.supersede("n", name, version)
        assert before == (last.get(name) if last.get(name) != version else None)
        last[name] = version


@pytest.mark.parametrize("change", ["overwritten", "added", "removed", "renamed", "nested"])
def test_a_folder_is_recognised_until_a_file_in_it_changes(tmp_path: Path, change: str) -> None:
    tracker, folder = Tracker(), tmp_path / "parts"
    (folder / "year=2024").mkdir(parents=True)
    for name in ("0.bin", "1.bin", "year=2024/2.bin"):
        (folder / name).write_bytes(b"abc")
    tracker.remember_file(folder, known())
    assert tracker.recall_file(folder) is not None
    if change == "overwritten":
        (folder / "0.bin").write_bytes(b"xyzw")
    elif change == "added":
        (folder / "3.bin").write_bytes(b"abc")
    elif change == "removed":
        (folder / "1.bin").unlink()
    elif change == "renamed":
        (folder / "1.bin").rename(folder / "4.bin")
    else:
        os.utime(folder / "year=2024/2.bin", ns=(1, 1))
    assert tracker.recall_file(folder) is None
