"""A segment reader gives back whole frames only, tells a torn tail from damage, and never anything else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from headwater.schemas.errors import Corrupt, Misconfigured, Retryable
from headwater.schemas.segment import (
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    Frame,
    SegmentReader,
    check,
    encode_frame,
    list_segments,
    read_seal,
)
from tests.support.spool import START_US, header_bytes, read_all, segment_bytes

VALUES = [b'{"n":0}', b'{"n":"a longer one"}', b'{"n":2}']


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.seg"


def values_of(path: Path) -> list[bytes]:
    return [frame.value for frame in read_all(path)]


def test_frames_come_back_with_their_offsets_times_and_ends(path: Path) -> None:
    path.write_bytes(segment_bytes(VALUES))
    end = HEADER_BYTES
    for offset, frame in enumerate(read_all(path)):
        end += FRAME_HEADER_BYTES + len(VALUES[offset])
        assert frame == Frame(offset, START_US + offset, VALUES[offset], end)
    assert end == path.stat().st_size


@pytest.mark.parametrize("max_frames", [1, 2, 3, 100])
def test_reading_in_pieces_gives_what_reading_at_once_gives(path: Path, max_frames: int) -> None:
    values = [b"x" * (1 + i * 37 % 4000) for i in range(500)]
    path.write_bytes(segment_bytes(values, sealed=True))
    found: list[Frame] = []
    with SegmentReader(path) as reader:
        while frames := reader.read(max_frames=max_frames):
            assert len(frames) <= max_frames
            found += frames
        assert reader.sealed
    assert found == read_all(path)
    assert [frame.value for frame in found] == values


def test_reading_goes_on_where_another_reader_stopped(path: Path) -> None:
    path.write_bytes(segment_bytes(VALUES))
    for stop, frame in enumerate(read_all(path)):
        with SegmentReader(path, offset=frame.offset + 1, byte=frame.end) as reader:
            assert [(f.offset, f.value) for f in reader.read()] == list(enumerate(VALUES))[stop + 1 :]


def test_max_bytes_bounds_a_batch_but_always_lets_one_frame_through(path: Path) -> None:
    path.write_bytes(segment_bytes([b"x" * 1000] * 10))
    with SegmentReader(path) as reader:
        assert len(reader.read(max_bytes=3500)) == 3
        assert len(reader.read(max_bytes=10)) == 1
        assert len(reader.read()) == 6


def test_a_payload_may_be_as_long_as_the_format_allows_and_hold_any_byte(path: Path) -> None:
    values = [bytes(range(256)), b"\0" * MAX_PAYLOAD_BYTES, b"\x01\0\0\0" * 100, b"y"]
    path.write_bytes(segment_bytes(values, sealed=True))
    assert values_of(path) == values
    assert check(path).digest_holds


@pytest.mark.parametrize("length", [0, MAX_PAYLOAD_BYTES + 1])
def test_a_frame_of_another_length_is_not_written(length: int) -> None:
    with pytest.raises(ValueError, match=str(length)):
        encode_frame(b"x" * length, START_US)


@pytest.mark.parametrize("time", [-1, 1 << 56])
def test_an_append_time_that_could_not_be_found_again_is_not_written(time: int) -> None:
    with pytest.raises(ValueError, match="append time"):
        encode_frame(b"x", time)


def test_a_file_cut_anywhere_gives_its_whole_frames_and_no_error(path: Path) -> None:
    data = segment_bytes(VALUES, sealed=True)
    ends = [frame.end for frame in _frames_of(data, path)]
    for size in range(HEADER_BYTES, len(data)):
        path.write_bytes(data[:size])
        assert values_of(path) == VALUES[: sum(end <= size for end in ends)]
        assert not check(path).seal


def test_a_tail_of_zeros_as_power_loss_leaves_it_is_torn(path: Path) -> None:
    path.write_bytes(segment_bytes(VALUES) + b"\0" * 5000)
    assert values_of(path) == VALUES


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "unsealed"])
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_anywhere_never_yields_a_wrong_frame(path: Path, sealed: bool, flip: int) -> None:
    data = segment_bytes(VALUES, sealed=sealed)
    ends = [HEADER_BYTES, *(frame.end for frame in _frames_of(data, path))]
    seal_start = ends[-1]
    for position in range(HEADER_BYTES, len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :])
        hit = next((i for i in range(len(VALUES)) if position < ends[i + 1]), len(VALUES))
        with SegmentReader(path) as reader:
            found, error = _read_until_error(reader)
            assert [frame.value for frame in found] == VALUES[:hit]
            followed = hit < len(VALUES) - 1 or (sealed and position < seal_start)
            assert (error is not None) == followed
            if error is not None:
                assert (error.start, error.end, error.offset) == (ends[hit], ends[hit + 1], hit)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_in_the_header_is_never_taken_for_another_segment(path: Path, flip: int) -> None:
    data = segment_bytes(VALUES)
    for position in range(HEADER_BYTES):
        path.write_bytes(data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :])
        with pytest.raises(Corrupt) as caught:
            SegmentReader(path)
        assert (caught.value.start, caught.value.end) == (0, HEADER_BYTES)


def test_frames_after_damage_are_readable_for_who_accepts_the_loss(path: Path) -> None:
    data = bytearray(segment_bytes(VALUES))
    data[HEADER_BYTES + FRAME_HEADER_BYTES] ^= 1
    path.write_bytes(data)
    with SegmentReader(path) as reader:
        for _ in range(2):
            with pytest.raises(Corrupt) as caught:
                reader.read()
    with SegmentReader(path, offset=1, byte=caught.value.end) as reader:
        assert [(f.offset, f.value) for f in reader.read()] == [(1, VALUES[1]), (2, VALUES[2])]


def test_a_removed_frame_in_a_sealed_segment_is_noticed_by_the_count(path: Path) -> None:
    data = segment_bytes(VALUES, sealed=True)
    first, second = _frames_of(data, path)[:2]
    path.write_bytes(data[: first.end] + data[second.end :])
    with SegmentReader(path) as reader:
        found, error = _read_until_error(reader)
    assert [frame.value for frame in found] == [VALUES[0], VALUES[2]]
    assert error is not None


def test_an_exchanged_frame_in_a_sealed_segment_is_noticed_by_the_digest(path: Path) -> None:
    data = segment_bytes(VALUES, sealed=True)
    assert _frames_of(data, path)
    assert check(path).digest_holds
    first = encode_frame(VALUES[0], START_US)
    forged = encode_frame(b'{"n":9}', START_US)
    path.write_bytes(data.replace(first, forged))
    checked = check(path)
    assert checked.frames == len(VALUES)
    assert checked.digest_holds is False


def test_bytes_after_a_seal_are_no_part_of_the_segment(path: Path) -> None:
    path.write_bytes(segment_bytes(VALUES, sealed=True) + encode_frame(b"late", START_US))
    assert values_of(path) == VALUES


def test_a_live_segment_grows_byte_by_byte_and_each_frame_appears_once_when_whole(path: Path) -> None:
    data = segment_bytes(VALUES, sealed=True)
    ends = [frame.end for frame in _frames_of(data, path)]
    path.write_bytes(data[:HEADER_BYTES])
    found: list[bytes] = []
    with SegmentReader(path) as reader, path.open("ab", buffering=0) as writer:
        for size in range(HEADER_BYTES + 1, len(data) + 1):
            writer.write(data[size - 1 : size])
            found += [frame.value for frame in reader.read()]
            assert found == VALUES[: sum(end <= size for end in ends)]
        assert reader.sealed


def test_a_short_write_that_was_taken_back_and_replaced_leaves_no_trace_in_a_reader(path: Path) -> None:
    path.write_bytes(segment_bytes(VALUES[:1]))
    size = path.stat().st_size
    with SegmentReader(path) as reader:
        assert len(reader.read()) == 1
        with path.open("ab") as writer:
            writer.write(encode_frame(b"never accepted" * 10, START_US)[:50])
        assert reader.read() == []
        os.truncate(path, size)
        with path.open("ab") as writer:
            writer.write(encode_frame(VALUES[1], START_US))
        assert [frame.value for frame in reader.read()] == [VALUES[1]]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_writer_seen_in_the_middle_of_its_writes_is_never_taken_for_damage(path: Path) -> None:
    path.write_bytes(segment_bytes([]))
    count, frame = 20_000, encode_frame(b"x" * 300, START_US)
    writer = os.fork()
    if writer == 0:
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        for number in range(count):
            cut = 1 + number % (len(frame) - 1)
            os.write(file, frame[:cut])
            os.write(file, frame[cut:])
        os._exit(0)
    found = 0
    deadline = time.monotonic() + 30
    with SegmentReader(path) as reader:
        while found < count and time.monotonic() < deadline:
            found += len(reader.read(max_frames=7))
    assert os.waitpid(writer, 0)[1] == 0
    assert found == count


def test_a_position_beyond_the_end_of_the_file_is_damage_since_that_frame_was_there(path: Path) -> None:
    path.write_bytes(segment_bytes(VALUES[:1]))
    with SegmentReader(path, offset=2, byte=path.stat().st_size + 30) as reader, pytest.raises(Corrupt):
        reader.read()


@pytest.mark.parametrize("data", [b"", b"\x89HWS", b"\0" * 64, b"\0" * 4096])
def test_a_file_without_a_header_is_to_be_read_again_later(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(Retryable):
        SegmentReader(path)


def test_a_later_format_is_refused_with_the_remedy(path: Path) -> None:
    import zlib

    body = bytearray(header_bytes()[:60])
    body[8] = 2
    path.write_bytes(bytes(body) + zlib.crc32(bytes(body)).to_bytes(4, "little"))
    with pytest.raises(Misconfigured, match="newer headwater"):
        SegmentReader(path)


def test_segments_are_listed_in_the_order_of_their_ids_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("b.seg", "a.seg", "c.new", "a.ack", "d.seg.damaged"):
        (tmp_path / name).touch()
    (tmp_path / "open").mkdir()
    assert list_segments(tmp_path) == [tmp_path / "a.seg", tmp_path / "b.seg"]
    assert list_segments(tmp_path / "absent") == []


def test_the_seal_is_found_without_reading_the_frames(path: Path) -> None:
    path.write_bytes(segment_bytes(VALUES, sealed=True))
    seal = read_seal(path)
    assert seal is not None
    assert seal.frames == len(VALUES)
    path.write_bytes(segment_bytes(VALUES))
    assert read_seal(path) is None


def _frames_of(data: bytes, path: Path) -> list[Frame]:
    path.write_bytes(data)
    return read_all(path)


def _read_until_error(reader: SegmentReader) -> tuple[list[Frame], Corrupt | None]:
    found: list[Frame] = []
    try:
        while frames := reader.read():
            found += frames
    except Corrupt as error:
        return found, error
    return found, None


def test_zeros_after_the_last_frame_are_passed_over_in_no_time(path: Path) -> None:
    # Power loss leaves megabytes of them; each could be the end of a length, but none has one before it.
    path.write_bytes(segment_bytes(VALUES) + bytes(8 << 20))
    began = time.process_time()
    assert values_of(path) == VALUES
    assert time.process_time() - began < 1.0


def test_a_frame_after_many_zeros_makes_them_damage(path: Path) -> None:
    data = segment_bytes(VALUES) + bytes(3 << 20)
    path.write_bytes(data + encode_frame(b"x", START_US))
    with SegmentReader(path) as reader:
        assert len(reader.read()) == len(VALUES)
        with pytest.raises(Corrupt) as caught:
            reader.read()
    assert caught.value.end == len(data)
