"""Times as people write them: one meaning each, or a refusal that names the ways out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.consumers.moments import microseconds, parse_moment
from headwater.schemas.errors import Rejected
from headwater.schemas.openlineage import parse_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = parse_time("2026-11-23T09:14:02.5Z")


def at(text: str) -> int:
    return parse_time(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-03-03T12:00:00Z", "2026-03-03T12:00:00Z"),
        ("2026-03-03t12:00:00z", "2026-03-03T12:00:00Z"),
        (" 2026-03-03 12:00 ", "2026-03-03T12:00:00Z"),
        ("2026-03-03T12:00:00", "2026-03-03T12:00:00Z"),
        ("2026-03-03T12:00:00+05:45", "2026-03-03T06:15:00Z"),
        ("2026-03-03T12:00:00.1234567Z", "2026-03-03T12:00:00.123456Z"),
        ("2026-03-03T12:00:00[Europe/Vienna]", "2026-03-03T11:00:00Z"),
        ("2026-03-03T12:00:00[!Europe/Vienna]", "2026-03-03T11:00:00Z"),
        ("2026-03-03T12:00:00Z[Europe/Vienna]", "2026-03-03T12:00:00Z"),
        ("2026-03-03T12:00:00+01:00[Europe/Vienna]", "2026-03-03T11:00:00Z"),
    ],
)
def test_a_time_means_its_instant(text: str, meant: str) -> None:
    assert parse_moment(text) == at(meant)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-03-03", "2026-03-03T23:59:59.999999Z"),
        ("2024-02-29", "2024-02-29T23:59:59.999999Z"),
        ("9999-12-31", "9999-12-31T23:59:59.999999Z"),
        ("2026-03-03[Europe/Vienna]", "2026-03-03T22:59:59.999999Z"),
        ("2026-03-29[Europe/Vienna]", "2026-03-29T21:59:59.999999Z"),
        # Havana puts its clocks forward at midnight: the day before ends at the change.
        ("2026-03-07[America/Havana]", "2026-03-08T04:59:59.999999Z"),
        ("2011-12-29[Pacific/Apia]", "2011-12-30T09:59:59.999999Z"),
    ],
)
def test_a_date_alone_means_the_end_of_that_day(text: str, meant: str) -> None:
    assert parse_moment(text) == at(meant)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", "2026-11-23T09:14:02.5Z"),
        ("today", "2026-11-23T23:59:59.999999Z"),
        ("yesterday", "2026-11-22T23:59:59.999999Z"),
        ("90s", "2026-11-23T09:12:32.5Z"),
        ("30min", "2026-11-23T08:44:02.5Z"),
        ("12h", "2026-11-22T21:14:02.5Z"),
        ("3d", "2026-11-20T09:14:02.5Z"),
        ("2w ago", "2026-11-09T09:14:02.5Z"),
    ],
)
def test_so_long_ago_is_counted_from_now(text: str, meant: str) -> None:
    assert parse_moment(text, now=NOW) == at(meant)


def test_a_leap_second_is_when_events_of_that_second_are_said_to_have_been() -> None:
    for text in ("2016-12-31T23:59:60Z", "2016-12-31T18:59:60[America/New_York]"):
        assert parse_moment(text) == at("2016-12-31T23:59:60Z") == at("2017-01-01T00:00:00Z")
    assert parse_moment("2016-12-31T23:59:60.5Z") == at("2017-01-01T00:00:00.5Z")


def test_a_time_that_a_clock_showed_twice_names_both() -> None:
    with pytest.raises(Rejected) as refused:
        parse_moment("2026-10-25T02:30:00[Europe/Vienna]")
    assert "2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00" in str(refused.value)
    assert parse_moment("2026-10-25T02:30:00+02:00[Europe/Vienna]") == at("2026-10-25T00:30:00Z")
    assert parse_moment("2026-10-25T02:30:00+01:00[Europe/Vienna]") == at("2026-10-25T01:30:00Z")


def test_a_time_that_a_clock_never_showed_names_the_gap() -> None:
    with pytest.raises(Rejected) as refused:
        parse_moment("2026-03-29T02:30:00[Europe/Vienna]")
    assert "went from 02:00:00 to 03:00:00" in str(refused.value)
    assert "write 2026-03-29T03:00:00+02:00" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "3",
        "3m",
        "-3d",
        "2026",
        "2026-03",
        "20260303",
        "2026-02-30",
        "2026-13-01T10:00:00Z",
        "2026-03-03T24:00:00Z",
        "2026-03-03T12",
        "2026-03-03T12:00.5Z",
        "2026-03-03T12:00:00+0100",
        "2026-03-03Z",
        "2026-03-03T12:00:00 UTC",
        "0000-01-01",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "999999999w",
        "٢٠٢٦-٠٣-٠٣",
        "2026-03-03[Nowhere/Here]",
        "2026-03-03[../../etc/passwd]",
        "2026-03-03[\x00]",
        "2011-12-30[Pacific/Apia]",
        "2026-03-03T12:00:00+02:00[Europe/Vienna]",
    ],
)
def test_what_is_no_time_is_refused_with_its_text_and_a_way_out(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_moment(text)
    assert refused.value.remedy
    assert ascii(text)[1:-1] in refused.value.message


ZONES = ["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"]


@given(instant=st.datetimes(datetime(1950, 1, 1), datetime(2030, 1, 1)), zone=st.sampled_from(ZONES))
def test_what_a_clock_shows_means_the_instant_or_is_refused_because_it_shows_it_twice(
    instant: datetime, zone: str
) -> None:
    shown = instant.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    local = shown.replace(tzinfo=None)
    twice = shown.replace(fold=0).utcoffset() != shown.replace(fold=1).utcoffset()
    text = f"{local.isoformat()}[{zone}]"
    if twice:
        with pytest.raises(Rejected, match="twice"):
            parse_moment(text)
    else:
        assert parse_moment(text) == microseconds(instant.replace(tzinfo=UTC))


@given(
    day=st.dates(date(1, 1, 2), date(9999, 12, 30)),
    offset=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_every_offset_and_every_day_of_the_calendar_can_be_named(day: date, offset: timezone) -> None:
    time = datetime.combine(day, datetime.min.time(), offset)
    assert parse_moment(time.isoformat()) == (time - EPOCH) // timedelta(microseconds=1)


def test_an_aware_datetime_is_its_microseconds_and_a_naive_one_is_refused() -> None:
    assert microseconds(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1
    assert microseconds(datetime(2026, 3, 3, 1, tzinfo=ZoneInfo("Europe/Vienna"))) == at(
        "2026-03-03T00:00:00Z"
    )
    with pytest.raises(Rejected, match="tzinfo"):
        microseconds(datetime(2026, 3, 3))
