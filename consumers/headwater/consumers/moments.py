"""Times as people write them: from text to whole microseconds since 1970 UTC.

    2026-03-03T12:00:00Z                 RFC 3339, with any offset; a blank for the T, no seconds
    2026-03-03T12:00:00                  without a zone it is UTC
    2026-03-03T12:00:00[Europe/Vienna]   by that zone's clocks (RFC 9557)
    2026-03-03                           the END of that day, in UTC: "as of 3 March" has 3 March in it
    2026-03-03[Europe/Vienna]            the end of that day there
    now, today, yesterday                today and yesterday as a date alone
    90s, 30min, 12h, 3d, 2w              so long ago; a day has 24 hours

One rule everywhere a person writes a time. Digits below 1 µs are cut, and second 60 is the
first of the next minute: as in the times of events, so that "as of" a leap second has in it
what happened then. How times are shown is the business of `headwater.consumers.drawing`.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from headwater.schemas.errors import Rejected, Unparseable, shown
from headwater.schemas.openlineage import parse_time

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

FORMS = "write it as 2026-03-03, 2026-03-03T12:00:00Z, 2026-03-03T12:00:00[Europe/Vienna], 12h, 3d or now"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS_A_DAY = 86_400_000_000
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

_UNITS_S = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,9})\s*(s|min|h|d|w)(?:\s+ago)?", re.ASCII)
_WRITTEN = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<minute>\d\d:\d\d)(?P<second>:\d\d)?(?P<fraction>\.\d+)?(?P<offset>[Zz]|[+-]\d\d:\d\d)?)?"
    r"(?:\[!?(?P<zone>[^\]]+)\])?",
    re.ASCII,
)


def parse_moment(text: str, *, now: int | None = None) -> int:
    """The µs since 1970 UTC that `text` means; see the head of this module.

    `now` is what the relative forms count from (default: the clock). Raises `Rejected` for text
    that is no time, a day or a time that a zone's clocks never showed or showed twice, and
    years outside 1 to 9999.
    """
    written = text.strip()
    present = time.time_ns() // 1_000 if now is None else now
    if written in ("now", "today", "yesterday"):
        return _named(written, present)
    if ago := _AGO.fullmatch(written):
        return _within(present - int(ago[1]) * _UNITS_S[ago[2]] * 1_000_000, text)
    match = _WRITTEN.fullmatch(written)
    if match is None or (match["fraction"] and not match["second"]):
        raise Rejected(f"{shown(text)} is no time", remedy=FORMS)
    zone = _zone(match["zone"], text) if match["zone"] else None
    if not match["minute"]:
        return _within(_end_of_day(_day(match["day"], text), zone, text), text)
    return _within(_instant(match, zone, text), text)


def microseconds(time: datetime) -> int:
    """`time` as µs since 1970 UTC. Raises `Rejected` when it has no zone, or is no datetime at all."""
    if not hasattr(time, "utcoffset"):
        raise Rejected(
            f"{shown(str(time))} is no datetime",
            remedy="give an aware one: datetime(2026, 3, 3, tzinfo=datetime.UTC)",
        )
    if time.utcoffset() is None:
        raise Rejected(
            f"{shown(time.isoformat())} has no zone", remedy="give an aware datetime: tzinfo=datetime.UTC"
        )
    return (time - _EPOCH) // _MICROSECOND


def _named(name: str, now: int) -> int:
    if name == "now":
        return now
    days = now // _MICROSECONDS_A_DAY + (1 if name == "today" else 0)
    return days * _MICROSECONDS_A_DAY - 1


def _within(moment: int, text: str) -> int:
    if not _FIRST <= moment <= _LAST:
        raise Rejected(f"{shown(text)} is outside the years 1 to 9999", remedy=FORMS)
    return moment


def _day(text: str, whole: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as cause:
        raise Rejected(f"{shown(whole)} is no time: {cause}", remedy=FORMS) from cause


def _instant(match: re.Match[str], zone: ZoneInfo | None, text: str) -> int:
    """A time of day, on the clock that it names."""
    _day(match["day"], text)
    clock = f"{match['day']}T{match['minute']}{match['second'] or ':00'}{match['fraction'] or ''}"
    try:
        found = parse_time(f"{clock}{match['offset'] or 'Z'}".upper())
    except Unparseable as cause:
        raise Rejected(f"{shown(text)} is no time", remedy=FORMS) from cause
    if zone is None:
        return found
    if match["offset"] in ("Z", "z"):  # RFC 9557: the instant, to be shown on that zone's clock
        return found
    local = _EPOCH + timedelta(microseconds=parse_time(f"{clock}Z"))
    showing = _showing(local.replace(tzinfo=None), zone)
    if not match["offset"]:
        return _only(showing, local.replace(tzinfo=None), zone, text)
    if found not in [microseconds(each) for each in showing]:
        raise Rejected(
            f"{shown(text)}: the clocks of {zone.key} did not show that time with that offset",
            remedy="leave out the offset or the zone",
        )
    return found


def _showing(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants at which the zone's clocks showed `local`: one, or two, or none."""
    found = []
    for fold in (0, 1):
        try:
            instant = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        except OverflowError:
            continue
        back = instant.astimezone(zone)
        if back.replace(tzinfo=None, fold=0) == local and instant not in found:
            found.append(instant)
    return found


def _only(showing: list[datetime], local: datetime, zone: ZoneInfo, text: str) -> int:
    if len(showing) == 1:
        return microseconds(showing[0])
    if showing:
        first, second = (each.astimezone(zone).isoformat() for each in showing)
        raise Rejected(
            f"{shown(text)}: the clocks of {zone.key} showed this time twice",
            remedy=f"write {first} or {second}",
        )
    before, after = _gap(local, zone, text)
    raise Rejected(
        f"{shown(text)}: the clocks of {zone.key} never showed this time; "
        f"they went from {before:%H:%M:%S} to {after:%H:%M:%S}",
        remedy=f"write {after.isoformat()}, when it began to be later",
    )


def _gap(local: datetime, zone: ZoneInfo, text: str) -> tuple[datetime, datetime]:
    """What the clocks would have shown, and showed, when they were put forward over `local`."""
    offsets = [local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)]
    if offsets[0] is None or offsets[1] is None or offsets[0] >= offsets[1]:
        raise Rejected(f"{shown(text)} is outside the years 1 to 9999", remedy=FORMS)
    # Somewhere between the two instants that `local` would be, the offset changes.
    low = local.replace(tzinfo=UTC) - offsets[1]
    high = local.replace(tzinfo=UTC) - offsets[0]
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == offsets[0] else (low, middle)
    change = high.replace(microsecond=0)
    return (change + offsets[0]).replace(tzinfo=None), change.astimezone(zone)


def _end_of_day(day: date, zone: ZoneInfo | None, text: str) -> int:
    """The last microsecond whose date is `day`."""
    begun = (day.toordinal() - _EPOCH.toordinal()) * _MICROSECONDS_A_DAY
    if zone is None:
        return begun + _MICROSECONDS_A_DAY - 1
    try:
        midnight = datetime.combine(day, datetime.min.time(), zone) + timedelta(days=1)
        last = midnight.astimezone(UTC) - _MICROSECOND
        ends_there = last.astimezone(zone).date() == day
    except OverflowError as cause:
        raise Rejected(f"{shown(text)} is outside the years 1 to 9999", remedy=FORMS) from cause
    if not ends_there:
        raise Rejected(
            f"{shown(text)}: the clocks of {zone.key} were changed at the end of this day",
            remedy="write the time of day too",
        )
    return microseconds(last)


def _zone(name: str, text: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as cause:
        raise Rejected(
            f"{shown(text)}: no zone is called {shown(name)}",
            remedy="names are like Europe/Vienna; or write the offset, as +01:00; "
            "a system without zones has them from `pip install tzdata`",
        ) from cause
