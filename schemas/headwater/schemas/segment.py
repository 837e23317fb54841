"""The segment: one file of one emitting process, and how to read it.

    header (64 bytes) | frame | frame | … | seal (56 bytes, once nothing more will come)

A frame that was written whole is readable from then on by any process, also while the
writer goes on. Bytes at the end that make no frame are a write in flight or a torn tail:
not an event that was accepted, so they are passed over. The same bytes with anything valid
after them are damage, and `Corrupt`. docs/reference/segment-format.md says every byte.

Writing, locking, sealing and adopting are the business of `headwater.emitter.spool`; what
a payload means is that of `headwater.schemas.openlineage`.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from uuid import UUID

from headwater.schemas.errors import Corrupt, Misconfigured, Retryable

SUFFIX = ".seg"
MAGIC = b"\x89HWSEG\r\n"
FORMAT_VERSION = 1
MAX_PAYLOAD_BYTES = 16 << 20
MAX_APPEND_TIME = 1 << 56  # µs: the year 4253

_HEADER = struct.Struct("<8sHHI16s16sqII")
_FRAME = struct.Struct("<IIq")
_CHECKED = struct.Struct("<Iq")  # what a frame's checksum covers before the payload
_SEAL = struct.Struct("<4sIqQ32s")
HEADER_BYTES = _HEADER.size
FRAME_HEADER_BYTES = _FRAME.size
SEAL_BYTES = _SEAL.size
# Read as a frame's length these four bytes are 1.3 GB: no reader takes a seal for a frame.
_SEAL_MARK = b"SEAL"

_BLOCK_BYTES = 1 << 20
# A frame's length fits in 25 bits and its append time in 56, so their high bytes are known;
# JSON holds neither of them unescaped, hence no event can hold something like a frame. No length
# is 0, so zeros alone, as power loss leaves them by the megabyte, are passed over.
_LENGTH_END = re.compile(rb"(?s)(?:(?<!\x00\x00\x00)\x00|\x01)(?=.{11}\x00)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    """Who wrote a segment and when it was begun; ids are UUIDs as canonical text, time is µs since 1970."""

    segment_id: str
    emitter_id: str
    created_at: int
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The end of a segment: how many frames it has, and the sha256 of every byte before the seal."""

    sealed_at: int
    frames: int
    sha256: bytes


class Frame(NamedTuple):
    """One record: its position in the segment (from 0), append time in µs, its bytes, where it ends."""

    offset: int
    append_time: int
    value: bytes
    end: int


def encode_header(header: SegmentHeader) -> bytes:
    """The 64 bytes that open a segment."""
    fields = (
        MAGIC,
        header.format_version,
        HEADER_BYTES,
        0,
        UUID(header.segment_id).bytes,
        UUID(header.emitter_id).bytes,
        header.created_at,
        0,
    )
    body = _HEADER.pack(*fields, 0)[:-4]
    return body + zlib.crc32(body).to_bytes(4, "little")


def decode_header(data: bytes, *, place: str) -> SegmentHeader:
    """The header in the first 64 bytes of `data`; raises `Corrupt` when they are none."""
    if len(data) < HEADER_BYTES or not any(data[:HEADER_BYTES]):
        raise Retryable(
            f"{place}: the segment has no header yet", remedy="read it again, or adopt the folder"
        )
    magic, version, size, _, segment, emitter, created, _, crc = _HEADER.unpack_from(data)
    if magic == MAGIC and version != FORMAT_VERSION and crc == zlib.crc32(data[: HEADER_BYTES - 4]):
        raise Misconfigured(f"{place}: segment format {version}", remedy="read it with a newer headwater")
    if magic != MAGIC or size != HEADER_BYTES or crc != zlib.crc32(data[: HEADER_BYTES - 4]):
        raise Corrupt(place=place, start=0, end=HEADER_BYTES, offset=0)
    return SegmentHeader(
        segment_id=str(UUID(bytes=segment)),
        emitter_id=str(UUID(bytes=emitter)),
        created_at=created,
        format_version=version,
    )


def encode_frame(value: bytes, append_time: int) -> bytes:
    """`value` framed, 1 byte to 16 MiB; `append_time` is microseconds since 1970 UTC."""
    length = len(value)
    if not 0 < length <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame holds 1 to {MAX_PAYLOAD_BYTES} bytes, not {length}")
    if not 0 <= append_time < MAX_APPEND_TIME:
        raise ValueError(f"append time {append_time} is not within 0 and {MAX_APPEND_TIME}")
    crc = zlib.crc32(value, zlib.crc32(_CHECKED.pack(length, append_time)))
    return _FRAME.pack(length, crc, append_time) + value


def encode_seal(seal: Seal) -> bytes:
    """The 56 bytes that end a segment."""
    rest = struct.pack("<qQ32s", seal.sealed_at, seal.frames, seal.sha256)
    return _SEAL_MARK + zlib.crc32(rest, zlib.crc32(_SEAL_MARK)).to_bytes(4, "little") + rest


def decode_seal(data: bytes, position: int = 0) -> Seal | None:
    """The seal at `position` of `data`; None when there is none, or not all of it."""
    if data[position : position + 4] != _SEAL_MARK or len(data) - position < SEAL_BYTES:
        return None
    _, crc, sealed_at, frames, digest = _SEAL.unpack_from(data, position)
    if crc != zlib.crc32(data[position + 8 : position + SEAL_BYTES], zlib.crc32(_SEAL_MARK)):
        return None
    return Seal(sealed_at=sealed_at, frames=frames, sha256=digest)


class SegmentReader:
    """Reads one segment, also while its writer appends; one reader per thread.

    `byte` is where to begin (the `end` of the frame read last; 0 is the first frame) and `offset` the
    position of the frame there. Both move as frames are read; keep them to reopen.
    Opening raises `Retryable` while the file has no header, `Misconfigured` for a
    format this version does not know, `Corrupt` when the header is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], *, offset: int = 0, byte: int = 0) -> None:
        self.path = Path(path)
        self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.header = decode_header(os.pread(self._file, HEADER_BYTES, 0), place=str(self.path))
        except BaseException:
            self.close()
            raise
        self.offset = offset
        self.byte = max(byte, HEADER_BYTES)
        self.seal: Seal | None = None
        self._whole = offset == 0 and self.byte == HEADER_BYTES
        self._fruitless = (-1, -1)

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def sealed(self) -> bool:
        """Whether the seal was reached: `read` returned everything there will ever be."""
        return self.seal is not None

    @property
    def deleted(self) -> bool:
        """Whether the file has no name any more: what is appended under its name is not here."""
        return os.fstat(self._file).st_nlink == 0

    def close(self) -> None:
        """Give the file back; may be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def sha256(self) -> bytes:
        """The sha256 of everything before `byte`: at the seal, what the seal must say."""
        return sha256_until(self._file, self.byte)

    def read(self, *, max_frames: int = 2000, max_bytes: int = 16 << 20) -> list[Frame]:
        """The next frames, at least one when there is one; [] at the end of valid data.

        Raises `Corrupt` when damage is followed by valid data, after the frames before it were
        returned, and again at each further call.
        """
        frames: list[Frame] = []
        room = max_bytes
        while self.seal is None and len(frames) < max_frames and room > 0:
            block = os.pread(self._file, min(_BLOCK_BYTES, max(1 << 16, max_frames << 12)), self.byte)
            found = self._parse(block, frames, max_frames, room) or self._parse_long(block, frames, room)
            if not found:
                if frames or self._at_end(block):
                    break
                continue
            room -= found
        return frames

    def _parse(self, block: bytes, frames: list[Frame], max_frames: int, room: int) -> int:
        """Append the whole frames at the start of `block`; the number of payload bytes appended."""
        position, size, base, offset = 0, len(block), self.byte, self.offset
        left = room
        view = memoryview(block)
        crc32, unpack = zlib.crc32, _FRAME.unpack_from
        new = tuple.__new__  # Frame(...) costs as much as the checksum
        append = frames.append
        for _ in range(max_frames - len(frames)):
            start = position + 16
            if start > size:
                break
            length, crc, time = unpack(block, position)
            end = start + length
            if end > size or not 0 < length <= MAX_PAYLOAD_BYTES:
                break
            if length > left and (frames or left != room):
                left = 0
                break
            if crc32(view[position + 8 : end], crc32(view[position : position + 4])) != crc:
                break
            append(new(Frame, (offset, time, block[start:end], base + end)))
            offset += 1
            position = end
            left -= length
        self.byte, self.offset = base + position, offset
        return room - left

    def _parse_long(self, block: bytes, frames: list[Frame], room: int) -> int:
        """As `_parse` for a first frame that is longer than `block`."""
        if len(block) < FRAME_HEADER_BYTES:
            return 0
        length: int = _FRAME.unpack_from(block)[0]
        whole = FRAME_HEADER_BYTES + length
        if not len(block) < whole <= FRAME_HEADER_BYTES + MAX_PAYLOAD_BYTES:
            return 0
        return self._parse(os.pread(self._file, whole, self.byte), frames, len(frames) + 1, room)

    def _at_end(self, block: bytes) -> bool:
        """Whether nothing valid follows; False means: look again, a frame has been completed meanwhile."""
        seal = decode_seal(block)
        if seal is not None:
            return self._reached(seal)
        size = os.fstat(self._file).st_size
        if size < self.byte:
            raise Corrupt(
                place=str(self.path),
                start=size,
                end=self.byte,
                offset=self.offset,
                found="were read and are gone",
            )
        if not block or (self.byte, size) == self._fruitless:
            return True
        found = find_valid(self._file, self.byte + 1)
        if found is None:
            self._fruitless = (self.byte, size)
            return True
        # What was in flight a moment ago is complete by now if a later frame is, so look twice.
        if self._valid_here():
            return False
        raise Corrupt(place=str(self.path), start=self.byte, end=found, offset=self.offset)

    def _reached(self, seal: Seal) -> bool:
        if self._whole and seal.frames != self.offset:
            raise Corrupt(place=str(self.path), start=HEADER_BYTES, end=self.byte, offset=self.offset)
        self.seal = seal
        return True

    def _valid_here(self) -> bool:
        return _valid_at(self._file, os.pread(self._file, _BLOCK_BYTES, self.byte), 0, self.byte)


def find_valid(file: int, byte: int) -> int | None:
    """The first byte at or after `byte` where a whole valid frame or a seal begins, None when none does."""
    while True:
        block = os.pread(file, _BLOCK_BYTES + FRAME_HEADER_BYTES, byte)
        for position in _candidates(block):
            if _valid_at(file, block, position, byte + position):
                return byte + position
        if len(block) <= _BLOCK_BYTES:
            return None
        byte += _BLOCK_BYTES


def _candidates(block: bytes) -> list[int]:
    """Where a frame or a seal could begin, in order."""
    found = [match.start() - 3 for match in _LENGTH_END.finditer(block, 3)]
    mark = block.find(_SEAL_MARK)
    while mark >= 0:
        found.append(mark)
        mark = block.find(_SEAL_MARK, mark + 1)
    return sorted(found)


def _valid_at(file: int, block: bytes, position: int, byte: int) -> bool:
    """Whether a frame or a seal begins at `position` of `block`, which is `byte` of `file`."""
    if block[position : position + 4] == _SEAL_MARK:
        return decode_seal(os.pread(file, SEAL_BYTES, byte)) is not None
    if len(block) - position < FRAME_HEADER_BYTES:
        return False
    length, crc, time = _FRAME.unpack_from(block, position)
    if not 0 < length <= MAX_PAYLOAD_BYTES or byte + FRAME_HEADER_BYTES + length > os.fstat(file).st_size:
        return False
    value = os.pread(file, length, byte + FRAME_HEADER_BYTES)
    expected = zlib.crc32(value, zlib.crc32(_CHECKED.pack(length, time)))
    return len(value) == length and bool(crc == expected)


def list_segments(directory: str | os.PathLike[str]) -> list[Path]:
    """The segments in `directory` in the order of their creation; none when there is no such folder.

    Names are UUIDv7, which sort by time; of two made within a millisecond by two
    processes either may come first.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    folder = Path(directory)
    return [folder / name for name in sorted(names) if name.endswith(SUFFIX)]


def read_seal(path: str | os.PathLike[str]) -> Seal | None:
    """The seal in the last bytes of the file, None when it has none: one read, however long the file."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < HEADER_BYTES + SEAL_BYTES:
            return None
        return decode_seal(os.pread(file.fileno(), SEAL_BYTES, size - SEAL_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a whole reading of a segment found; `digest_holds` is None while there is no seal."""

    header: SegmentHeader
    frames: int
    end: int
    seal: Seal | None
    digest_holds: bool | None


def check(path: str | os.PathLike[str]) -> Checked:
    """Read every frame of a segment and recompute what its seal says; raises like `SegmentReader`."""
    with SegmentReader(path) as reader:
        while reader.read():
            continue
        digest = reader.sha256()
        return Checked(
            header=reader.header,
            frames=reader.offset,
            end=reader.byte,
            seal=reader.seal,
            digest_holds=None if reader.seal is None else digest == reader.seal.sha256,
        )


def sha256_until(file: int, end: int) -> bytes:
    """The sha256 of the first `end` bytes of an open file."""
    digest = hashlib.sha256()
    for block in _blocks(file, end):
        digest.update(block)
    return digest.digest()


def _blocks(file: int, end: int) -> Iterator[bytes]:
    position = 0
    while position < end:
        block = os.pread(file, min(_BLOCK_BYTES, end - position), position)
        if not block:
            return
        position += len(block)
        yield block
