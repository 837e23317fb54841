"""Why something cannot be reproduced here, as an exception inside the runner and as JSON outside."""

from __future__ import annotations


class Refused(Exception):
    """The step cannot be run. `what` it takes, why it is not to be had, and what to do about it."""

    def __init__(self, *, what: str, reason: str, remedy: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.said = {"what": what, "reason": reason, "remedy": remedy}
