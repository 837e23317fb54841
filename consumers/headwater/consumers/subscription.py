"""Which topics of a cluster are read: by name, and by pattern.

`headwater.events,^openlineage\\..*` names one topic and, behind the `^`, a regular expression (Python's)
for all others whose whole name it matches; topics that are made later are found while the consumer
runs. Kafka's own topics (`__…`) match no pattern. The first name is where headwater's own steps write:
the *native* topic, whose trouble stops the consumer; any other topic's stops that topic alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headwater.schemas.errors import Misconfigured, shown

_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}\Z")


@dataclass(frozen=True, slots=True)
class Subscription:
    """Names and compiled patterns, as `subscribed` read them."""

    names: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...] = ()

    @property
    def native(self) -> str | None:
        """The topic of headwater's own events; None where only patterns are given."""
        return self.names[0] if self.names else None

    def chosen(self, existing: Iterable[str]) -> list[str]:
        """The names, and which of the `existing` topics match a pattern."""
        found = [
            topic
            for topic in existing
            if not topic.startswith("__") and any(pattern.fullmatch(topic) for pattern in self.patterns)
        ]
        return list(dict.fromkeys([*self.names, *sorted(found)]))

    def __str__(self) -> str:
        return ",".join([*self.names, *(f"^{pattern.pattern}" for pattern in self.patterns)])


def subscribed(topics: Sequence[str]) -> Subscription:
    """Read names and `^patterns`; raises `Misconfigured` for a name that no topic can have, or no pattern."""
    patterns = []
    for text in topics:
        if not text.startswith("^"):
            if not _NAME.match(text):
                raise Misconfigured(
                    f"kafka: {shown(text)} can be no topic's name",
                    remedy="names are letters, digits, . _ and -; a pattern begins with ^: ^openlineage\\..*",
                )
            continue
        try:
            patterns.append(re.compile(text[1:]))
        except re.error as error:
            raise Misconfigured(
                f"kafka: {shown(text)} is no regular expression: {error}",
                remedy="commas separate topics, so a pattern holds none",
            ) from error
    return Subscription(tuple(text for text in topics if not text.startswith("^")), tuple(patterns))
