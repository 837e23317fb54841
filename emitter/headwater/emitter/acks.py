"""How much of a segment is safe elsewhere, written beside it.

`{segment id}.ack` holds the number of frames, counted from the first, that a broker has
acknowledged, as decimal digits and a newline. It may lag behind the truth, never run ahead of it:
whoever delivers writes it after the broker's answer, so what it leaves out is sent again.
"""

from __future__ import annotations

from pathlib import Path

from headwater.schemas.errors import Misconfigured, shown

ACK_SUFFIX = ".ack"


def acknowledge(segment: Path, frames: int) -> None:
    """Record that the first `frames` frames of `segment` are safe elsewhere; replaces what was recorded."""
    unnamed = segment.with_suffix(f"{ACK_SUFFIX}.new")
    unnamed.write_text(f"{frames}\n", encoding="ascii")
    unnamed.rename(segment.with_suffix(ACK_SUFFIX))


def acknowledged(segment: Path) -> int:
    """How many frames of `segment` are safe elsewhere; 0 when nothing says so."""
    path = segment.with_suffix(ACK_SUFFIX)
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip("\x00\n ")
    except FileNotFoundError:
        return 0
    # Power loss may leave the name without the bytes: then nothing is known to be safe.
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise Misconfigured(f"{path}: {shown(text)} is no number of frames", remedy="remove the file")
    return int(text)
