"""Reads the test vectors: their notation of values as Python values."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

FOLDER = Path(__file__).parent / "vectors"


class FineDatetime(datetime):
    """A datetime with the nanoseconds below its microsecond, as pandas' Timestamp has them."""

    nanosecond = 0


class FineTimedelta(timedelta):
    """A timedelta with the nanoseconds below its microsecond."""

    nanoseconds = 0


class FineTime(time):
    """A time with the nanoseconds below its microsecond."""

    nanosecond = 0


def vectors(form: str) -> list[dict[str, Any]]:
    """The vectors of one form."""
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{form}.json").read_text())
    return found


def value_of(written: Any) -> Any:
    """A value of the notation in `vectors/README.md`."""
    if written is None or isinstance(written, bool):
        return written
    ((kind, body),) = written.items()
    return _READERS[kind](body)


def _float(bits: str) -> float:
    value: float = struct.unpack(">d", bytes.fromhex(bits))[0]
    return value


def _datetime(nanoseconds: str, zone: Any) -> datetime:
    micros, rest = divmod(int(nanoseconds), 1_000)
    moment = datetime(1970, 1, 1, tzinfo=zone) + timedelta(microseconds=micros)
    if not rest:
        return moment
    fine = FineDatetime.fromisoformat(moment.isoformat())
    fine.nanosecond = rest
    return fine


def _duration(nanoseconds: str) -> timedelta:
    micros, rest = divmod(int(nanoseconds), 1_000)
    if not rest:
        return timedelta(microseconds=micros)
    fine = FineTimedelta(microseconds=micros)
    fine.nanoseconds = rest
    return fine


def _time(nanoseconds: str) -> time:
    micros, rest = divmod(int(nanoseconds), 1_000)
    moment = (datetime(1970, 1, 1) + timedelta(microseconds=micros)).time()
    if not rest:
        return moment
    fine = FineTime.fromisoformat(moment.isoformat())
    fine.nanosecond = rest
    return fine


_READERS: dict[str, Any] = {
    "int": int,
    "float": _float,
    "complex": lambda bits: complex(*map(_float, bits)),
    "decimal": Decimal,
    "string": str,
    "bytes": bytes.fromhex,
    "uuid": UUID,
    "date": lambda days: date(1970, 1, 1) + timedelta(days=int(days)),
    "instant": lambda ns: _datetime(ns, UTC),
    "local": lambda ns: _datetime(ns, None),
    "duration": _duration,
    "time": _time,
    "list": lambda items: [value_of(item) for item in items],
    "mapping": lambda pairs: {value_of(key): value_of(value) for key, value in pairs},
    "set": lambda items: frozenset(value_of(item) for item in items),
}
