"""What a consumer tells Prometheus: one closed list, which is the documentation, too.

docs/reference/metrics.md is written from `INSTRUMENTS` (`python -m headwater.consumers.instruments`), and
nothing is told that does not stand in it. A topic is told by its name; no label holds what an event says.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.consumers.breaker import BudgetSpent, name_of
from headwater.consumers.completeness import EmitterReport
from headwater.consumers.log import Cursor, Log, Partition, Record
from headwater.consumers.positions import Tally
from headwater.schemas.errors import Misconfigured

#: How often the lag is read anew.
LAG_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One metric: its name as it is told, its kind, what it says, and its labels."""

    name: str
    kind: str
    says: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


RECORDS = Instrument(
    name="headwater_consumer_records_total",
    kind="counter",
    says="Positions passed, by what became of them: applied, duplicate, quarantined, or gap (an offset "
    "without a record). Their sum over all outcomes is the distance that was read.",
    labels=("topic", "outcome"),
)
BATCH_RECORDS = Instrument(
    name="headwater_consumer_batch_records",
    kind="histogram",
    says="Records in a batch, which is one transaction in the store; 2,000 at most.",
    buckets=(1, 5, 20, 100, 500, 1_000, 2_000),
)
BATCH_BYTES = Instrument(
    name="headwater_consumer_batch_bytes",
    kind="histogram",
    says="Bytes of the events in a batch; 16 MiB at most, and one record at least.",
    buckets=(1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 22, 1 << 24),
)
APPLY_SECONDS = Instrument(
    name="headwater_consumer_apply_seconds",
    kind="histogram",
    says="From the beginning of a batch's folding until the store has answered its COMMIT.",
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
LAG_RECORDS = Instrument(
    name="headwater_consumer_lag_records",
    kind="gauge",
    says="Offsets between the store's position and the end of a partition that this process reads; on Kafka.",
    labels=("topic", "partition"),
)
LAG_SECONDS = Instrument(
    name="headwater_consumer_lag_seconds",
    kind="gauge",
    says="Age of the last record applied, by its append time, while more lies behind it; 0 at the end.",
    labels=("topic", "partition"),
)
PARTITIONS = Instrument(
    name="headwater_consumer_partitions",
    kind="gauge",
    says="Partitions that this process reads now. The sum over all processes is the number of partitions.",
)
HALTED = Instrument(
    name="headwater_consumer_halted",
    kind="gauge",
    says="1 for a topic that is not read on, and why: quarantine (its budget is spent), lost (records are "
    "gone unread), topic (it is missing, or was made anew). Alert on any.",
    labels=("topic", "reason"),
)
FENCED = Instrument(
    name="headwater_consumer_fenced_total",
    kind="counter",
    says="Partitions that another process had claimed when this one wanted to write; a few at each rebalance "
    "of busy consumers are no harm.",
)
RETRIES = Instrument(
    name="headwater_consumer_retries_total",
    kind="counter",
    says="Steps that failed for a passing reason (a broker or a store away, a deadlock); each is repeated.",
)
READY = Instrument(
    name="headwater_consumer_ready",
    kind="gauge",
    says="What /readyz says: 1 while the store, the log and the group answer.",
)
EMITTERS = Instrument(
    name="headwater_emitters",
    kind="gauge",
    says="Emitting processes in the store, by what is certain of them: complete, unclosed (the tail is "
    "unknown), damaged (an event is missing or altered). Every five minutes.",
    labels=("state",),
)
MISSING = Instrument(
    name="headwater_events_missing",
    kind="gauge",
    says="Events that emitters numbered and that are not in the store. Every five minutes.",
)

INSTRUMENTS = (
    RECORDS,
    BATCH_RECORDS,
    BATCH_BYTES,
    APPLY_SECONDS,
    LAG_RECORDS,
    LAG_SECONDS,
    PARTITIONS,
    HALTED,
    FENCED,
    RETRIES,
    READY,
    EMITTERS,
    MISSING,
)


class Meter:
    """The instruments of one consumer; keeps the promise of `headwater.consumers.watching.Observer`."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        try:
            import prometheus_client
        except ImportError as missing:
            raise Misconfigured(
                f"metrics need {missing.name}", remedy="pip install 'headwater[service]'"
            ) from missing
        self._client = prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        self._now = now
        self._made = {each.name: self._make(each) for each in INSTRUMENTS}
        self._applied_at: dict[Partition, float] = {}
        self._lagging: set[Partition] = set()
        self._halted: set[tuple[str, str]] = set()
        self._lag_at = 0.0

    def _make(self, each: Instrument) -> Any:
        named: dict[str, Any] = {"labelnames": each.labels, "registry": self._registry}
        if each.kind == "histogram":
            return self._client.Histogram(each.name, each.says, buckets=each.buckets, **named)
        return getattr(self._client, each.kind.title())(each.name, each.says, **named)

    def exposed(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return bytes(self._client.generate_latest(self._registry))

    # -- what a runner tells ------------------------------------------------------------

    def committed(
        self, records: Sequence[Record], tallies: Mapping[Partition, Tally], seconds: float
    ) -> None:
        self._made[BATCH_RECORDS.name].observe(len(records))
        self._made[BATCH_BYTES.name].observe(sum(len(record.value) for record in records))
        self._made[APPLY_SECONDS.name].observe(seconds)
        for partition, tally in tallies.items():
            outcomes = {
                "applied": tally.applied,
                "duplicate": tally.duplicate,
                "quarantined": tally.quarantined,
                "gap": tally.gaps,
            }
            for outcome, count in outcomes.items():
                if count:
                    self._made[RECORDS.name].labels(name_of(partition.topic), outcome).inc(count)
        self._applied_at.update((record.place, record.appended_at / 1e6) for record in records)

    def stepped(self, cursors: Mapping[Partition, Cursor], source: Log) -> None:
        if self._now() - self._lag_at < LAG_S:
            return
        self._lag_at = self._now()
        self._made[PARTITIONS.name].set(len(cursors))
        behind = source.behind(cursors)
        for partition in self._lagging - behind.keys():
            for each in (LAG_RECORDS, LAG_SECONDS):
                self._made[each.name].remove(*_labels(partition))
            self._applied_at.pop(partition, None)
        for partition, count in behind.items():
            self._made[LAG_RECORDS.name].labels(*_labels(partition)).set(count)
            applied_at = self._applied_at.get(partition, self._now())
            age = max(0.0, self._now() - applied_at) if count else 0.0
            self._made[LAG_SECONDS.name].labels(*_labels(partition)).set(age)
        self._lagging = set(behind)

    def waiting(self, error: Exception) -> None:
        del error
        self._made[RETRIES.name].inc()

    def fenced(self, partition: Partition) -> None:
        del partition
        self._made[FENCED.name].inc()

    # -- what the service tells -----------------------------------------------------------

    def ready(self, is_ready: bool) -> None:
        self._made[READY.name].set(int(is_ready))

    def halted(
        self, spent: Mapping[str, BudgetSpent], lost: Collection[Partition], topics: Collection[str]
    ) -> None:
        """What is not read on, all of it."""
        now = {(name_of(topic), "quarantine") for topic in spent}
        now |= {(name_of(partition.topic), "lost") for partition in lost}
        now |= {(topic, "topic") for topic in topics}
        for labels in self._halted - now:
            self._made[HALTED.name].remove(*labels)
        for labels in now:
            self._made[HALTED.name].labels(*labels).set(1)
        self._halted = now

    def emitters(self, reports: Iterable[EmitterReport]) -> None:
        """How complete the store is."""
        states = {"complete": 0, "unclosed": 0, "damaged": 0}
        missing = 0
        for report in reports:
            states["damaged" if report.damaged else "complete" if report.complete else "unclosed"] += 1
            missing += sum(gap.last - gap.first + 1 for gap in report.gaps)
        for state, count in states.items():
            self._made[EMITTERS.name].labels(state).set(count)
        self._made[MISSING.name].set(missing)


def _labels(partition: Partition) -> tuple[str, str]:
    return name_of(partition.topic), partition.number


_HEAD = """# Metrics

<!-- Written by `python -m headwater.consumers.instruments`; do not edit. -->

What `headwater consume lineage --listen HOST:PORT` tells under `/metrics`, in Prometheus' text format. No
other metric is told, and no label holds anything that an event says.
[Run it as a service](../how-to/service.md) says what to watch.

| metric | kind | labels | what it says |
|---|---|---|---|
"""


def document() -> str:
    """docs/reference/metrics.md."""
    return _HEAD + "".join(map(_row, INSTRUMENTS))


def _row(each: Instrument) -> str:
    labels = ", ".join(f"`{label}`" for label in each.labels)
    return f"| `{each.name}` | {each.kind} | {labels} | {each.says} |\n"


if __name__ == "__main__":
    sys.stdout.write(document())
