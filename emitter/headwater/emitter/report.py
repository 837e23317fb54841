"""What happens when headwater itself fails while it watches a step.

In the default profile nothing happens to the step: the failure is logged with its
exception, once for each place and kind, and counted in `failures()`. In the
`regulated` profile it is raised, since a step whose lineage is not known must not go on;
also when the settings that state this profile are wrong elsewhere.
Exceptions of the step itself never come here.
"""

from __future__ import annotations

import logging
from collections import Counter
from types import TracebackType

log = logging.getLogger("headwater.emitter")

_failures: Counter[str] = Counter()
_told: set[tuple[str, str]] = set()


class guarded:
    """Keeps a failure of our own at `place` away from the step, unless the profile says otherwise."""

    __slots__ = ("place", "quiet")

    def __init__(self, place: str, *, quiet: bool = False) -> None:
        self.place = place
        self.quiet = quiet  # an exception of the step is on its way, and ours must not replace it

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, Exception) or (not self.quiet and _must_raise()):
            return False
        tell(self.place, error)
        return True


def tell(place: str, error: Exception) -> None:
    """Counts a failure of our own, and logs it the first time."""
    _failures[place] += 1
    key = (place, type(error).__qualname__)
    if key not in _told:
        _told.add(key)
        log.error("lineage_not_recorded", exc_info=error, extra={"place": place})


def failures() -> dict[str, int]:
    """How often headwater itself failed in this process, by place; empty when all is well."""
    return dict(_failures)


def _must_raise() -> bool:
    from headwater.emitter import emitter, settings

    try:
        return emitter.current().settings.profile == "regulated"
    except Exception:  # noqa: BLE001 - the failure under way may be the emitter's own, and is told in any case
        # No emitter, since some setting is wrong: what was asked for holds all the same.
        return settings.stated_profile() == "regulated"
