"""Text that every store can hold, and the way back to what the event said.

PostgreSQL cannot store U+0000 and UTF-8 cannot encode a lone surrogate, yet JSON
can spell both. They are escaped with U+241B (␛, SYMBOL FOR ESCAPE), reversibly:

    U+0000            ␛0
    U+D8xx … U+DFxx   ␛d8xx … ␛dfxx   (a lone surrogate, four lower-case hex digits)
    U+241B            ␛␛

Every other text, which is nearly all of it, is stored as it came.
"""

from __future__ import annotations

import re

ESCAPE = "\u241b"

_UNSTORABLE = re.compile("[\x00\ud800-\udfff\u241b]")
_ESCAPED = re.compile(f"{ESCAPE}(0|d[89a-f][0-9a-f]{{2}}|{ESCAPE})")


def storable(text: str) -> str:
    """`text` with everything escaped that a store cannot hold."""
    return text if _UNSTORABLE.search(text) is None else _UNSTORABLE.sub(_escape, text)


def original(text: str) -> str:
    """The text that `storable` was given."""
    return text if ESCAPE not in text else _ESCAPED.sub(_unescape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\x00":
        return f"{ESCAPE}0"
    return ESCAPE + ESCAPE if character == ESCAPE else f"{ESCAPE}{ord(character):04x}"


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if code == "0":
        return "\x00"
    return ESCAPE if code == ESCAPE else chr(int(code, 16))
