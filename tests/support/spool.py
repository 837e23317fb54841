"""Segments, events and failing file systems to test the log with."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater.emitter.files import LocalFiles
from headwater.schemas import jsontext
from headwater.schemas.events import Asset, AssetCreated, Job, Run, StepCompleted, StepStarted
from headwater.schemas.segment import (
    Frame,
    Seal,
    SegmentHeader,
    SegmentReader,
    encode_frame,
    encode_header,
    encode_seal,
    list_segments,
)

START_US = 1_790_000_000_000_000


def header_bytes(segment: int = 1, emitter: int = 2) -> bytes:
    header = SegmentHeader(
        segment_id=str(uuid.UUID(int=(0x0199 << 112) | (0x7 << 76) | (0b10 << 62) | segment)),
        emitter_id=str(uuid.UUID(int=(0x0199 << 112) | (0x7 << 76) | (0b10 << 62) | emitter)),
        created_at=START_US,
    )
    return encode_header(header)


def segment_bytes(values: Sequence[bytes], *, sealed: bool = False) -> bytes:
    """A segment with these payloads, a microsecond apart."""
    data = header_bytes() + b"".join(encode_frame(value, START_US + i) for i, value in enumerate(values))
    if not sealed:
        return data
    digest = hashlib.sha256(data).digest()
    return data + encode_seal(Seal(sealed_at=START_US, frames=len(values), sha256=digest))


def read_all(path: Path) -> list[Frame]:
    frames: list[Frame] = []
    with SegmentReader(path) as reader:
        while more := reader.read():
            frames += more
    return frames


def run_named(name: str, number: int = 0) -> Run:
    run_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/{number}")
    return Run(id=str(run_id), job=Job(namespace="tests", name=name))


def started(run: Run, time: int = START_US) -> StepStarted:
    return StepStarted(time=time, run=run, parameters={"depth": 6})


def created(run: Run, number: int = 0, *, filler: str = "", time: int = START_US) -> AssetCreated:
    asset = Asset(
        namespace="tests",
        name=f"asset-{number}",
        version=f"bytes1:{number:064x}",
        type="Artifact",
        properties={"number": number, "filler": filler},
    )
    return AssetCreated(time=time, run=run, asset=asset)


def completed(run: Run, time: int = START_US) -> StepCompleted:
    return StepCompleted(time=time, run=run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One event as a link of its emitter's chain."""

    sequence: int
    previous: str | None
    event_id: str
    final: bool
    document: dict[str, Any]


def emission_of(document: dict[str, Any]) -> dict[str, Any]:
    entity = document.get("run") or document["dataset"]
    emission: dict[str, Any] = entity["facets"]["headwater_emission"]
    return emission


def log_of(directory: Path) -> dict[str, list[Link]]:
    """Every event in the folder, by emitter, in the order of the files."""
    chains: dict[str, list[Link]] = defaultdict(list)
    for path in list_segments(directory):
        for frame in read_all(path):
            document = jsontext.read(frame.value).value
            emission = emission_of(document)
            link = Link(
                sequence=emission["sequence"],
                previous=emission.get("previous"),
                event_id=hashlib.sha256(frame.value).hexdigest(),
                final=emission.get("final", False),
                document=document,
            )
            chains[emission["emitterId"]].append(link)
    return dict(chains)


def event_ids(directory: Path) -> set[str]:
    return {link.event_id for links in log_of(directory).values() for link in links}


def assert_unbroken(links: Sequence[Link]) -> None:
    """Sequence dense from 0, each event naming the one before."""
    assert [link.sequence for link in links] == list(range(len(links)))
    assert [link.previous for link in links] == [None, *(link.event_id for link in links[:-1])]


def types_of(links: Sequence[Link]) -> list[str]:
    return [link.document.get("eventType", "") for link in links]


class Died(BaseException):
    """The process would have ended here."""


@dataclass
class FailingFiles(LocalFiles):
    """The operating system's files, except for the calls named in `fail`.

    `fail` maps an operation to the errno of each of its coming calls (0: let it through);
    the last entry holds for good. `short` maps the number of a write (from 0) to how many bytes it takes.
    """

    fail: dict[str, list[int]] = field(default_factory=dict)
    short: dict[int, int] = field(default_factory=dict)
    die_at: int = -1
    calls: list[str] = field(default_factory=list)
    writes: int = 0
    synced: list[Path] = field(default_factory=list)

    def _called(self, name: str) -> None:
        if len(self.calls) == self.die_at:
            raise Died(name)
        self.calls.append(name)
        coming = self.fail.get(name)
        if coming:
            code = coming.pop(0) if len(coming) > 1 else coming[0]
            if code:
                raise OSError(code, os.strerror(code))

    def write(self, file: int, data: bytes) -> int:  # type: ignore[override]
        self._called("write")
        taken = self.short.get(self.writes, len(data))
        self.writes += 1
        return os.write(file, data[:taken])

    def create(self, path: Path) -> int:
        self._called("create")
        return super().create(path)

    def open(self, path: Path) -> int:
        self._called("open")
        return super().open(path)

    def truncate(self, file: int, size: int) -> None:
        self._called("truncate")
        super().truncate(file, size)

    def sync(self, file: int) -> None:
        self._called("sync")
        super().sync(file)

    def sync_folder(self, path: Path) -> None:
        self._called("sync_folder")
        super().sync_folder(path)
        self.synced.append(path)

    def rename(self, old: Path, new: Path) -> None:
        self._called("rename")
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._called("remove")
        super().remove(path)


NO_SPACE = errno.ENOSPC
BROKEN_DISK = errno.EIO
READ_ONLY = errno.EROFS
