"""How much is measured: the real sizes, and small ones for trying the benchmarks themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes of the fixtures and numbers of runs."""

    runs: int = 5
    imports: int = 11
    emits: int = 20_000
    down_emits: int = 1
    sent: int = 100_000
    steps: int = 400
    peer_steps: int = 10
    frame_rows: int = 100_000
    ingest_runs: int = 3
    pairs: int = 30_000
    native_steps: int = 12_000
    rentgen_pairs: int = 6_000
    long_pairs: int = 150_000
    long_segments: int = 400
    live: int = 200
    kafka_pairs: int = 100_000
    kafka_long_pairs: int = 500_000
    kafka_rentgen_events: int = 40_000
    walks: int = 60
    versions: int = 278
    deep: int = 10_000


FULL = Scale()
QUICK = Scale(
    runs=2,
    imports=2,
    emits=500,
    sent=2_000,
    steps=20,
    peer_steps=3,
    frame_rows=2_000,
    ingest_runs=1,
    pairs=1_500,
    native_steps=600,
    rentgen_pairs=300,
    long_pairs=4_000,
    long_segments=20,
    live=15,
    kafka_pairs=1_500,
    kafka_long_pairs=3_000,
    kafka_rentgen_events=600,
    walks=5,
    versions=4,
    deep=300,
)
