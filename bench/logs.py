"""Segment files for the benchmarks: foreign or native events, in segments that two workers share evenly."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.events import START_US, foreign, native_steps, run_id
from headwater.emitter import MemorySink, Settings
from headwater.emitter.emitter import Emitter
from headwater.schemas.events import PipelineCompleted, StepCompleted
from headwater.schemas.segment import SUFFIX, SegmentHeader, encode_frame, encode_header

WORKERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a log holds."""

    events: int
    size: int


def write_foreign(folder: Path, pairs: int, segments: int) -> Written:
    """START and COMPLETE of `pairs` runs; both events of a run are in one segment."""
    return _write(folder, (foreign(part) for part in _parts(pairs, segments)), segments)


def write_native(folder: Path, steps: int, segments: int) -> Written:
    """What an emitter a segment says of `steps` steps, chained, closed and final as it leaves them."""
    return _write(folder, (_emitted(part) for part in _parts(steps, segments)), segments)


def _parts(total: int, segments: int) -> Iterator[range]:
    each = -(-total // segments)
    return (range(start, min(start + each, total)) for start in range(0, total, each))


def _emitted(steps: Iterable[int]) -> list[bytes]:
    sink = MemorySink()
    emitter = Emitter(Settings(profile="regulated"), lambda _: sink)
    for fact in native_steps(steps):
        emitter.emit(fact)
        if isinstance(fact, StepCompleted | PipelineCompleted):
            emitter.close_run(fact.run, fact.parent, fact.root)
    emitter.close()
    return sink.values


def _write(folder: Path, parts: Iterable[Iterable[bytes]], segments: int) -> Written:
    folder.mkdir(parents=True)
    events = size = 0
    for segment_id, values in zip(_segment_ids(segments), parts, strict=False):
        header = SegmentHeader(segment_id=segment_id, emitter_id=run_id("emitter"), created_at=START_US)
        with (folder / f"{segment_id}{SUFFIX}").open("wb") as file:
            file.write(encode_header(header))
            for value in values:
                file.write(encode_frame(value, START_US + events))
                events += 1
                size += len(value)
    return Written(events=events, size=size)


def _segment_ids(segments: int) -> Iterator[str]:
    """Ids whose shards alternate, as the runner shares partitions out."""
    numbers = count()
    for segment in range(segments):
        yield next(
            name
            for name in (run_id("segment", number) for number in numbers)
            if zlib.crc32(name.encode()) % WORKERS == segment % WORKERS
        )
