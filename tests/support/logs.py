"""Segment files written by hand, for tests of what reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import orjson

from headwater.schemas.ids import uuid7
from headwater.schemas.segment import SUFFIX, Seal, SegmentHeader, encode_frame, encode_header, encode_seal

BEGUN = 1_700_000_000_000_000
EMITTER = "0190a0a0-0000-7000-8000-{:012x}"


def write_segment(
    folder: Path,
    values: Sequence[bytes],
    *,
    appended_at: int = BEGUN,
    sealed: bool = False,
    name: str | None = None,
) -> Path:
    """A segment that holds `values`, one microsecond apart from `appended_at` on."""
    folder.mkdir(parents=True, exist_ok=True)
    segment_id = name or uuid7()
    header = encode_header(SegmentHeader(segment_id=segment_id, emitter_id=uuid7(), created_at=appended_at))
    body = header + b"".join(encode_frame(value, appended_at + index) for index, value in enumerate(values))
    if sealed:
        digest = hashlib.sha256(body).digest()
        body += encode_seal(Seal(sealed_at=appended_at, frames=len(values), sha256=digest))
    path = folder / f"{segment_id}{SUFFIX}"
    path.write_bytes(body)
    return path


def run_event(
    run: int,
    /,
    kind: str = "COMPLETE",
    *,
    at: str = "2026-03-01T10:00:00Z",
    inputs: Sequence[str] = (),
    **more: object,
) -> bytes:
    """A small foreign RunEvent of run number `run`, which writes `out-{run}`."""
    document = {
        "eventType": kind,
        "eventTime": at,
        "producer": "https://example.com/tests",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"00000000-0000-7000-8000-{run:012x}"},
        "job": {"namespace": "tests", "name": "job"},
        "inputs": [{"namespace": "lake", "name": name} for name in inputs],
        "outputs": [{"namespace": "lake", "name": f"out-{run}"}],
        **more,
    }
    return orjson.dumps(document)


def chain(length: int, *, emitter: int = 1, closed: bool = True) -> list[bytes]:
    """The events of one emitter, as its process would have written them."""
    values: list[bytes] = []
    for sequence in range(length):
        emission = {
            "_producer": "https://example.com",
            "_schemaURL": "https://example.com/emission.json",
            "emitterId": EMITTER.format(emitter),
            "sequence": sequence,
            "previous": hashlib.sha256(values[-1]).hexdigest() if values else None,
            "final": closed and sequence == length - 1,
        }
        document = orjson.loads(run_event(sequence))
        document["run"]["facets"] = {"headwater_emission": emission}
        values.append(orjson.dumps(document))
    return values
