"""Facets of many runs and productions, each body read once, and rows in batches: for questions that go far.

Bodies are content-addressed, so what a million runs say of one environment is one row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

from sqlalchemy import Connection, Select, select

from headwater.consumers.existence import document
from headwater.consumers.tables import facet

BATCH = 1_000
MOST_REMEMBERED = 100_000

#: By name: the facet's id and its body.
Bodies: TypeAlias = Mapping[str, tuple[bytes, Any]]


def batched(connection: Connection, query: Select[Any]) -> Iterator[list[Any]]:
    """The rows of `query` in order, never many of them at once."""
    with connection.execute(query.execution_options(yield_per=BATCH)) as rows:
        for some in rows.partitions():
            yield list(some)


class FacetBodies:
    """What the facets of runs and productions say; bodies are content-addressed, so each is read once."""

    WANTED = (
        "headwater_code",
        "sourceCodeLocation",
        "executionParameters",
        "headwater_environment",
        "dataSource",
        "headwater_asset",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[bytes, tuple[str, Any] | None] = {}

    def of(self, lists: Collection[bytes]) -> list[Bodies]:
        """For each list of facet ids the wanted ones by name: id and body."""
        ids = [[text[at : at + 16] for at in range(0, len(text), 16)] for text in lists]
        self._load({id for some in ids for id in some})
        return [
            {found[0]: (id, found[1]) for id in some if (found := self._known.get(id)) is not None}
            for some in ids
        ]

    def _load(self, wanted: set[bytes]) -> None:
        if len(self._known) > MOST_REMEMBERED:
            self._known.clear()
        missing = [id for id in wanted if id not in self._known]
        for at in range(0, len(missing), BATCH):
            some = missing[at : at + BATCH]
            self._known.update(dict.fromkeys(some))
            rows = self._connection.execute(
                select(facet.c.facet_id, facet.c.name, facet.c.body).where(
                    facet.c.facet_id.in_(some), facet.c.name.in_(self.WANTED)
                )
            )
            self._known.update((id, (name, _slim(name, document(body)))) for id, name, body in rows)


def _slim(name: str, body: Any) -> Any:
    """The body without what nobody here asks for, and which is long."""
    if not isinstance(body, dict):
        return {}
    if name == "headwater_environment":
        return {"digest": body.get("digest")}
    return {"location": body.get("location")} if name == "headwater_asset" else body


def body(facets: Bodies, name: str) -> dict[str, Any]:
    """The facet's body where it is an object; else an empty one."""
    found = facets.get(name)
    return found[1] if found is not None and isinstance(found[1], dict) else {}


def text(value: Any) -> str | None:
    """`value` where it is a text that is not empty."""
    return value if isinstance(value, str) and value else None
