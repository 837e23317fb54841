"""A reader of segments written from docs/reference/segment-format.md alone: slow, plain, an oracle.

It shares no code with `headwater.schemas.segment`, and uses the standard library only for
the checksums.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field


@dataclass
class Segment:
    """What a file holds: (append time, payload) of each frame, and how it ends."""

    version: int = 0
    segment_id: str = ""
    emitter_id: str = ""
    created_at: int = 0
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    sealed_at: int | None = None
    digest_holds: bool | None = None
    damaged: bool = False


def number(data: bytes) -> int:
    return sum(byte << (8 * i) for i, byte in enumerate(data))


def uuid_text(data: bytes) -> str:
    text = data.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def frame_at(data: bytes, at: int) -> tuple[int, bytes] | None:
    """A whole valid frame at byte `at`."""
    length = number(data[at : at + 4])
    whole = data[at : at + 16 + length] if 1 <= length <= 16_777_216 else b""
    if len(whole) != 16 + length or len(whole) < 17:
        return None
    if number(whole[4:8]) != zlib.crc32(whole[0:4] + whole[8:]):
        return None
    return number(whole[8:16]), whole[16:]


def seal_at(data: bytes, at: int) -> tuple[int, int, bytes] | None:
    """A whole valid seal at byte `at`: time, number of frames, digest."""
    whole = data[at : at + 56]
    if len(whole) != 56 or whole[0:4] != b"SEAL" or number(whole[4:8]) != zlib.crc32(whole[0:4] + whole[8:]):
        return None
    return number(whole[8:16]), number(whole[16:24]), whole[24:56]


def read_segment(data: bytes) -> Segment:
    """Everything in `data`, which begins with a valid header."""
    assert data[0:8] == bytes.fromhex("894857534547 0d0a")
    assert number(data[8:10]) == 1
    assert number(data[60:64]) == zlib.crc32(data[0:60])
    found = Segment(
        version=1,
        segment_id=uuid_text(data[16:32]),
        emitter_id=uuid_text(data[32:48]),
        created_at=number(data[48:56]),
    )
    at = 64
    while frame := frame_at(data, at):
        found.frames.append(frame)
        at += 16 + len(frame[1])
        found.ends.append(at)
    seal = seal_at(data, at)
    if seal:
        found.sealed_at = seal[0]
        found.damaged = seal[1] != len(found.frames)
        found.digest_holds = seal[2] == hashlib.sha256(data[:at]).digest()
        return found
    found.damaged = any(frame_at(data, p) or seal_at(data, p) for p in range(at + 1, len(data)))
    return found
