"""Tables: columns read side by side into one version, one schema, one set of numbers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from headwater.emitter.extractors.columns import Metrics, TableColumn
from headwater.emitter.extractors.extraction import Extraction, told, unidentified
from headwater.schemas.canonical import combine_table
from headwater.schemas.events import Column, Json, Properties, Statistics

# Bounds of one event: columns beyond them are still part of the version, and counted in the shape.
SCHEMA_COLUMNS = 10_000
METRIC_COLUMNS = 1_000
SAMPLED_ROWS = 256

_MOST_THREADS = 4  # each holds the sorted copy of one column
_WORTH_A_THREAD = 50_000  # cells; starting a thread costs as much as reading some thousand

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as its extractor found it.

    `index` are row labels that are content; `thinned` gives the table of some of its rows,
    `sums` cheap numbers that a change in place would change.
    """

    rows: int
    columns: Sequence[TableColumn]
    index: Sequence[TableColumn] = ()
    size: int | None = None
    format: str | None = None
    details: Mapping[str, Properties] = field(default_factory=dict)
    thinned: Callable[[Sequence[int]], Table] | None = None
    sums: Callable[[], Iterable[int]] | None = None

    def version(self) -> str:
        """See `Content`."""
        digests = self._each(lambda column: column.load().digest(), [*self.index, *self.columns])
        return self._combined(digests)

    def sample(self) -> str:
        """See `Content`."""
        thin = self.thinned(spread(self.rows)) if self.thinned and self.rows > SAMPLED_ROWS else self
        sums = ",".join(map(str, self.sums())) if self.sums else ""
        return f"{self.rows};{thin.version()};{sums}"

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        labels = unique_labels([column.name for column in self.columns])
        told_of = [(None, column) for column in self.index] + [
            (label if place < METRIC_COLUMNS else None, column)
            for place, (label, column) in enumerate(zip(labels, self.columns, strict=True))
        ]
        read = self._each(lambda item: _read(item[1], item[0], raw_values), told_of)
        errors = [error for _, _, error in read if error]
        digests = [digest for digest, _, _ in read if digest is not None]
        return Extraction(
            version=self._combined(digests) if len(digests) == len(read) else unidentified(),
            columns=tuple(
                Column(name=label, type=column.type, fields=column.fields)
                for label, column in zip(labels[:SCHEMA_COLUMNS], self.columns, strict=False)
            ),
            statistics=Statistics(row_count=self.rows, size=self.size),
            column_metrics={
                label: metrics
                for (label, _), (_, metrics, _) in zip(told_of, read, strict=True)
                if label is not None
            },
            format=self.format,
            details=self._details(),
            error="; ".join(errors[:5]) or None,
        )

    def _combined(self, digests: Sequence[bytes]) -> str:
        named = [(c.name, d) for c, d in zip([*self.index, *self.columns], digests, strict=True)]
        return combine_table(self.rows, named[: len(self.index)], named[len(self.index) :])

    def _details(self) -> Mapping[str, Properties]:
        """The facets of its own, with the names of row labels that are content."""
        if not self.index:
            return self.details
        names: list[Json] = list(unique_labels([level.name for level in self.index]))
        return {facet: {**fields, "index": names} for facet, fields in self.details.items()}

    def _each(self, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        threads = 1 if self.rows * len(items) < _WORTH_A_THREAD else _MOST_THREADS
        return in_threads(work, items, threads)


def _read(
    column: TableColumn, label: str | None, raw_values: Collection[str]
) -> tuple[bytes | None, Metrics, str | None]:
    """Digest, numbers and error of one column; what one of them raises does not touch the other."""
    digest, metrics, errors = None, {}, []
    try:
        vector = column.load()
    except Exception as error:  # noqa: BLE001 - foreign objects raise anything, and a step must go on
        return None, {}, f"column {label!r}: {told(error)}"
    try:
        digest = vector.digest()
    except Exception as error:  # noqa: BLE001 - as above
        errors.append(f"content of column {label!r}: {told(error)}")
    try:
        if label is not None:
            metrics = vector.metrics(open_values=label in raw_values)
    except Exception as error:  # noqa: BLE001 - as above
        errors.append(f"statistics of column {label!r}: {told(error)}")
    return digest, metrics, "; ".join(errors) or None


def unique_labels(names: Iterable[object]) -> list[str]:
    """Column names as text, each once: a name that came before gets `#2`, `#3` and so on."""
    labels: dict[str, None] = {}
    for name in names:
        text = label = name if isinstance(name, str) else label_of(name)
        count = 1
        while label in labels:
            count += 1
            label = f"{text}#{count}"
        labels[label] = None
    return list(labels)


def label_of(name: object) -> str:
    """A column's name as text: an int as its digits, a tuple joined by dots, anything else as it prints."""
    if isinstance(name, tuple):
        return ".".join(map(label_of, name))
    return "" if name is None else str(name)


def spread(rows: int, wanted: int = SAMPLED_ROWS) -> list[int]:
    """Positions of at most `wanted` rows, evenly spread, first and last among them."""
    if rows <= wanted:
        return list(range(rows))
    return [place * (rows - 1) // (wanted - 1) for place in range(wanted)]


def processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def in_threads(work: Callable[[_T], _R], items: Sequence[_T], most: int = _MOST_THREADS) -> list[_R]:
    """`work` of each item, in order; threads live only inside this call, so a fork never inherits one."""
    queue = iter(enumerate(items))
    lock, results, raised = threading.Lock(), dict[int, _R](), list[BaseException]()

    def drain() -> None:
        while not raised:
            with lock:
                place, item = next(queue, (-1, None))
            if place < 0:
                return
            try:
                results[place] = work(item)  # type: ignore[arg-type]
            except BaseException as error:  # noqa: BLE001 - carried to the caller's thread below
                raised.append(error)

    helpers = [threading.Thread(target=drain) for _ in range(min(most, processors(), len(items)) - 1)]
    started = [helper for helper in helpers if _started(helper)]
    drain()
    for helper in started:
        helper.join()
    if raised:
        raise raised[0]
    return [results[place] for place in range(len(items))]


def _started(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:  # no threads at interpreter shutdown, or none left: the caller does the work
        return False
    return True
