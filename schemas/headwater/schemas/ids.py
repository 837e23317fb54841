"""Identifiers: made where something begins, computed everywhere else.

A run and an emitter get a UUIDv7 (RFC 9562), so ids sort by time. Every other id
is a function of what it names, the first 128 bits of a SHA-256, so two stores that
never met agree on it. Nothing here reads a database.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from uuid import UUID

from headwater.schemas.text import storable

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z")


def uuid7(now_us: int | None = None) -> str:
    """A new UUIDv7 as canonical text; `now_us` is microseconds since 1970 UTC."""
    ms = (time.time_ns() // 1_000_000) if now_us is None else now_us // 1_000
    head = (ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    return str(UUID(int=head | 0b10 << 62 | secrets.randbits(62)))


def hash128(kind: str, *parts: str) -> bytes:
    """16 bytes that name `parts` as a `kind`: sha256 of the storable texts joined by NUL.

    No storable text holds a NUL, so different parts never join to the same bytes.
    """
    text = "\0".join((kind, *map(storable, parts)))
    return hashlib.sha256(text.encode()).digest()[:16]


def dataset_id(namespace: str, name: str) -> bytes:
    """The id of the dataset (`namespace`, `name`), verbatim: no case folding."""
    return hash128("dataset", namespace, name)


def job_id(namespace: str, name: str) -> bytes:
    """The id of the job (`namespace`, `name`), verbatim."""
    return hash128("job", namespace, name)


def version_id(dataset: bytes, version: str) -> bytes:
    """The id of content `version` of the dataset with id `dataset`."""
    return hash128("version", dataset.hex(), version)


def unversioned_output_id(dataset: bytes, run: bytes) -> bytes:
    """The id of what `run` wrote to `dataset` without naming a version (rule R17)."""
    return hash128("unversioned", dataset.hex(), run.hex())


def production_id(run: bytes, dataset: bytes, version: bytes) -> bytes:
    """The id of the fact that `run` wrote the version with id `version` of `dataset`."""
    return hash128("production", run.hex(), dataset.hex(), version.hex())


def is_uuid(run_id: str) -> bool:
    """Whether `run_id` is a UUID in the canonical 8-4-4-4-12 form, in either case."""
    return _UUID.match(run_id) is not None


def run_key(run_id: str, job_namespace: str, job_name: str) -> bytes:
    """16 bytes that name a run (rule R4).

    A UUID is global; any other text names a run only within its job, so "1" of
    job P and "1" of job Q are two runs.
    """
    if is_uuid(run_id):
        return bytes.fromhex(run_id.replace("-", ""))
    return hash128("run", job_namespace, job_name, run_id)
