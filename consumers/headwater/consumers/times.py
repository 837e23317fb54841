"""Times as the store holds them, whole microseconds since 1970 UTC, as Python's own.

What a person writes is read by `headwater.consumers.moments`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(time: int | None) -> datetime | None:
    """µs since 1970 as an aware datetime; what lies outside its years is clipped to their ends."""
    return None if time is None else moment(time)


def moment(time: int) -> datetime:
    """As `instant`, for a time that is there."""
    try:
        return _EPOCH + timedelta(microseconds=time)
    except OverflowError:
        return (datetime.max if time > 0 else datetime.min).replace(tzinfo=UTC)
