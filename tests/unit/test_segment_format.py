"""docs/reference/segment-format.md is enough to write a reader, and its example is true."""

from __future__ import annotations

import hashlib
import re
import zlib
from pathlib import Path

import pytest

from headwater.schemas.segment import SegmentReader, check
from tests.support.segment_reader import read_segment
from tests.support.spool import segment_bytes

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "segment-format.md"


@pytest.fixture
def example() -> bytes:
    text = DOCUMENT.read_text(encoding="utf-8")
    dump = re.search(r"```hex\n(.*?)```", text, re.DOTALL)
    assert dump is not None
    return bytes.fromhex("".join(line[4:] for line in dump[1].splitlines()))


def test_the_example_reads_as_the_document_says(example: bytes) -> None:
    found = read_segment(example)
    text = DOCUMENT.read_text(encoding="utf-8")
    assert len(example) == 169
    assert [value.decode() for _, value in found.frames] == ['{"n":1}', '{"n":"ü"}']
    for said in (found.segment_id, found.emitter_id, found.created_at, found.sealed_at):
        assert str(said) in text.split("## An example")[1]
    for time, value in found.frames:
        assert f"appended {time}, `{value.decode()}`" in text
    assert found.digest_holds
    assert hashlib.sha256(example[: found.ends[-1]]).hexdigest()[:8] in text
    assert not found.damaged


def test_the_example_reads_the_same_with_our_own_reader(example: bytes, tmp_path: Path) -> None:
    path = tmp_path / "example.seg"
    path.write_bytes(example)
    expected = read_segment(example)
    with SegmentReader(path) as reader:
        frames = reader.read()
        assert (reader.header.segment_id, reader.header.emitter_id) == (
            expected.segment_id,
            expected.emitter_id,
        )
        assert reader.header.created_at == expected.created_at
    assert [(frame.append_time, frame.value) for frame in frames] == expected.frames
    assert [frame.end for frame in frames] == expected.ends
    assert check(path).digest_holds


def test_the_checksum_is_the_one_that_the_document_names() -> None:
    assert f"{zlib.crc32(b'123456789'):08x}" in DOCUMENT.read_text(encoding="utf-8")


def test_what_we_write_is_what_the_document_describes() -> None:
    found = read_segment(segment_bytes([b"a", b"bc" * 500], sealed=True))
    assert [value for _, value in found.frames] == [b"a", b"bc" * 500]
    assert found.digest_holds
