"""What events mention besides what they say of their run: rows that only grow, registers of all runs.

Ids are hex text, as in the fold. Collected by `headwater.consumers.fold`, written by
`headwater.consumers.lineage`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from headwater.schemas import ids

_CACHED_CHARACTERS = 32_000_000  # names of any length: what is remembered is bounded by its size
_CACHED_ENTRY = 250


class Names:
    """Hex ids of datasets, jobs and versions, remembered because events repeat them."""

    def __init__(self) -> None:
        self._datasets: dict[tuple[str, str], str] = {}
        self._jobs: dict[tuple[str, str], str] = {}
        self._characters = 0

    def dataset(self, namespace: str, name: str) -> str:
        found = self._datasets.get((namespace, name))
        if found is None:
            found = ids.dataset_id(namespace, name).hex()
            self._remember(self._datasets, namespace, name, found)
        return found

    def job(self, namespace: str, name: str) -> str:
        found = self._jobs.get((namespace, name))
        if found is None:
            found = ids.job_id(namespace, name).hex()
            self._remember(self._jobs, namespace, name, found)
        return found

    def _remember(self, held: dict[tuple[str, str], str], namespace: str, name: str, found: str) -> None:
        self._characters += len(namespace) + len(name) + _CACHED_ENTRY
        if self._characters > _CACHED_CHARACTERS:
            self._datasets.clear()
            self._jobs.clear()
            self._characters = 0
        held[namespace, name] = found


@dataclass(slots=True)
class Mentions:
    """What a batch's events call for besides their runs' folds: sets keyed by id, registers by their key."""

    datasets: dict[str, tuple[str, str]] = field(default_factory=dict)
    jobs: dict[str, tuple[str, str]] = field(default_factory=dict)
    versions: dict[str, tuple[str, str]] = field(default_factory=dict)
    facets: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    edges: set[tuple[str, str, str]] = field(default_factory=set)
    columns: set[tuple[str, str, str, str, str, str]] = field(default_factory=set)
    links: set[tuple[str, str]] = field(default_factory=set)
    #: (dataset, run), see `tables.run_mention`.
    named: set[tuple[str, str]] = field(default_factory=set)
    closures: set[tuple[str, str, int, int]] = field(default_factory=set)
    points: dict[str, tuple[str, str, int, int, float | None]] = field(default_factory=dict)
    governance: dict[tuple[str, str, str], tuple[Any, ...]] = field(default_factory=dict)
    dataset_facets: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    tag_registers: dict[tuple[str, str, str, str], tuple[str, str, str]] = field(default_factory=dict)
    tag_floors: dict[tuple[str, str, str], str] = field(default_factory=dict)
    owners: set[tuple[str, int, str]] = field(default_factory=set)
    types: set[tuple[str, str]] = field(default_factory=set)
