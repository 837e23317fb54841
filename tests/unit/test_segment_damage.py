"""Under any damage: what is returned was written, and damage is silent only where nothing valid follows."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.schemas.errors import Corrupt, Misconfigured, Retryable
from headwater.schemas.segment import HEADER_BYTES, SegmentReader
from tests.support.segment_reader import read_segment
from tests.support.spool import read_all, segment_bytes

Edit = tuple[int, int, bytes]
payloads = st.lists(
    st.one_of(st.binary(min_size=1, max_size=60), st.just(b"\0" * 40), st.just(b"\x01\0\0\0" * 9)),
    max_size=6,
)
# Replace a range of the file by other bytes: flips, cuts, insertions, holes.
edits = st.lists(
    st.tuples(st.integers(0, 700), st.integers(0, 60), st.binary(max_size=60)), min_size=1, max_size=3
)


def damaged(data: bytes, changes: list[Edit]) -> bytes:
    for position, removed, inserted in changes:
        at = HEADER_BYTES + position % max(1, len(data) - HEADER_BYTES + 1)
        data = data[:at] + inserted + data[at + removed :]
    return data


@settings(max_examples=400, deadline=None)
@given(values=payloads, sealed=st.booleans(), changes=edits)
def test_the_reader_agrees_with_the_one_written_from_the_document(
    values: list[bytes], sealed: bool, changes: list[Edit]
) -> None:
    data = damaged(segment_bytes(values, sealed=sealed), changes)
    expected = read_segment(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.seg"
        path.write_bytes(data)
        found: list[tuple[int, bytes]] = []
        error: Corrupt | None = None
        with SegmentReader(path) as reader:
            try:
                while frames := reader.read(max_frames=2):
                    found += [(frame.append_time, frame.value) for frame in frames]
            except Corrupt as caught:
                error = caught
    assert found == expected.frames
    assert (error is not None) == expected.damaged


@settings(max_examples=200, deadline=None)
@given(values=payloads.filter(bool), sealed=st.booleans(), changes=edits)
def test_a_damaged_payload_is_never_returned(values: list[bytes], sealed: bool, changes: list[Edit]) -> None:
    data = damaged(segment_bytes(values, sealed=sealed), changes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.seg"
        path.write_bytes(data)
        try:
            found = [frame.value for frame in read_all(path)]
        except Corrupt:
            return
    assert set(found) <= set(values)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_a_file_of_anything_raises_only_what_is_documented(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.seg"
        path.write_bytes(data)
        with pytest.raises((Corrupt, Misconfigured, Retryable), match=re.escape(str(path))):
            read_all(path)
