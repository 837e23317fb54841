"""The errors of headwater, by what their reader should do next.

    HeadwaterError
    ├── Retryable       the same call may succeed later: pause, then try again
    ├── Rejected        this input can never be accepted: park it, go on with its neighbours
    │   └── Unparseable not an OpenLineage event: says where in the document, which value, which rule
    ├── Corrupt         stored bytes are damaged: stop reading here, keep the bytes
    └── Misconfigured   a person must change something and start again

Every error carries its facts as fields; `str()` names the value, the place and
the remedy, and never a secret.
"""

from __future__ import annotations

import reprlib
from typing import Any

_SHOWN_CHARACTERS = 120
_BRIEFLY = reprlib.Repr()


def shown(value: object) -> str:
    """`value` as it may stand in a message: quoted, in one line, at most 120 characters."""
    # repr itself would recurse into a document of any depth, and write out one of any size.
    text = ascii(value) if isinstance(value, str) else _BRIEFLY.repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


class HeadwaterError(Exception):
    """Base of every error that headwater raises on purpose."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{message} ({remedy})" if remedy else message)
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel between worker processes, and their constructors take keywords only.
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[HeadwaterError], args: tuple[Any, ...], fields: dict[str, Any]) -> HeadwaterError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class Retryable(HeadwaterError):
    """An infrastructure fault: nothing was lost, the same call may succeed later."""


class Rejected(HeadwaterError):
    """An input that can never be accepted, whoever sends it how often."""


class Unparseable(Rejected):
    """A record that is no OpenLineage event.

    `path` is the place in the document (`run.runId`, or `byte 17` where the bytes are
    no JSON), `value` what stands there as shown to a person, `rule` what the specification asks.
    """

    def __init__(self, *, path: str, value: str, rule: str) -> None:
        super().__init__(f"{path}: {value}: {rule}")
        self.path = path
        self.value = value
        self.rule = rule


class Corrupt(HeadwaterError):
    """Stored bytes are damaged: valid bytes follow, so it is no torn tail, or bytes are gone that were read.

    `place` names the file, `start` and `end` the damaged range in bytes, `offset` the
    position of the first record that cannot be read.
    """

    def __init__(
        self,
        *,
        place: str,
        start: int,
        end: int,
        offset: int,
        found: str = "are damaged, and valid records follow",
    ) -> None:
        super().__init__(
            f"{place}: bytes {start}–{end} (record {offset}) {found}",
            remedy="restore the file from a copy, or accept the loss with `headwater log accept-damage`",
        )
        self.place = place
        self.start = start
        self.end = end
        self.offset = offset
        self.found = found


class Misconfigured(HeadwaterError):
    """A setting or an environment that a person must change."""
