"""Which topic of which cluster a log on Kafka is: `kafka://host:port,host:port/topic`.

Nothing is opened here; security and the like stand under `kafka:` in headwater.yaml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headwater.schemas.errors import Misconfigured, shown

SCHEME = "kafka://"
#: What begins a regular expression for the topics to read; see `headwater.consumers.subscription`.
PATTERN = "^"

# What Kafka takes for a topic's name; so it is also one for a folder.
_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """Topics of one cluster. One can be written to; several are a log that is only read."""

    servers: str
    names: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"{SCHEME}{self.servers}/{','.join(self.names)}"

    @property
    def name(self) -> str:
        """The one topic to write to; raises `Misconfigured` when there are several, or a pattern for some."""
        if len(self.names) > 1 or self.names[0].startswith(PATTERN):
            raise Misconfigured(
                f"{self.url} may name several topics, and events go to one",
                remedy="name one topic in `log`, and read several with --log",
            )
        return self.names[0]

    def __str__(self) -> str:
        return self.url


def is_topic(log: str) -> bool:
    """Whether `log` is a URL of Kafka's."""
    return log.startswith(SCHEME)


def topic_of(log: str, place: str = "log") -> Topic:
    """The topics that a URL names; raises `Misconfigured` with the `place` where the URL stands."""
    rest = log.removeprefix(SCHEME)
    servers, _, names = rest.partition("/")
    # In all of it: a password may hold the slash before which a user would stand.
    if "@" in rest:
        raise Misconfigured(
            f"{place}: the URL holds a user or a password",
            remedy="write them below `kafka:` in headwater.yaml",
        )
    found = tuple(dict.fromkeys(name for name in names.strip("/").split(",") if name))
    if not servers.strip() or not found:
        raise Misconfigured(f"{place}: {shown(log)} names no topic", remedy="write kafka://host:9092/topic")
    for name in found:
        if not name.startswith(PATTERN) and not _NAME.match(name):
            raise Misconfigured(
                f"{place}: {shown(name)} is no name of a topic",
                remedy="use letters, digits, `.`, `_` and `-`, 249 at most",
            )
    return Topic(servers=servers, names=found)
