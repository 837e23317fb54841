"""An exception as the fact of a failed run. The exception itself is only looked at, never changed or kept."""

from __future__ import annotations

import traceback
from types import TracebackType

from headwater.emitter.redaction import Redactor
from headwater.schemas.events import Failure

MAX_MESSAGE = 4_000
MAX_TRACEBACK = 16_000
_ACROSS = 8_000  # more than any secret has characters

_OWN_FRAMES = __name__.rpartition(".")[0] + "."


def failure_of(error: BaseException) -> Failure:
    """Type, message and traceback of `error`, within bounds; frames of headwater itself are left out."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return Failure(type=name, message=_message(error), traceback=_traceback(error))


def _message(error: BaseException) -> str:
    try:
        return _bounded(str(error), MAX_MESSAGE)
    except Exception as broken:  # noqa: BLE001 - __str__ is someone else's code
        return f"<{type(broken).__qualname__} while showing the message>"


def _traceback(error: BaseException) -> str | None:
    try:
        lines = traceback.format_exception(type(error), error, _beyond_our_frames(error.__traceback__))
    except Exception:  # noqa: BLE001 - formatting calls __str__ and reads sources; the type and message remain
        return None
    return _bounded("".join(lines), MAX_TRACEBACK)


def _beyond_our_frames(frames: TracebackType | None) -> TracebackType | None:
    at = frames
    while at is not None and str(at.tb_frame.f_globals.get("__name__", "")).startswith(_OWN_FRAMES):
        at = at.tb_next
    return at or frames


def _bounded(text: str, most: int) -> str:
    """Beginning and end of a long text: where it started and what it came to."""
    if len(text) <= most:
        return text
    half = most // 2
    # A secret that the cut goes through would lose what gives it away: so it goes before the cut.
    clean = Redactor().text
    start, end = clean(text[: half + _ACROSS])[:half], clean(text[-half - _ACROSS :])[-half:]
    return f"{start}\n… {len(text) - 2 * half} characters left out …\n{end}"
