"""Promises that speak of the calendar (handbook 5.1, D-6, D-9): the very vectors of the handbook, in Asia/Shanghai."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from models.people import Role
from models.promises import Promise, Rung

ZONE = ZoneInfo("Asia/Shanghai")


def promise(by: str, **more: object) -> Promise:
    ladder = (Rung(timedelta(0), Role.MANAGER),)
    return Promise.model_validate({"name": "x", "by": by, "ladder": ladder, "basis": "ours", **more})


@pytest.mark.parametrize(
    ("by", "anchor", "due"),
    [
        ("day 5 24:00", "2026-11-01 00:00", "2026-11-06 00:00"),
        ("day 5 24:00", "2027-01-01 00:00", "2027-01-06 00:00"),
        ("day 28 18:00", "2027-02-01 00:00", "2027-02-28 18:00"),
        ("day 30 24:00", "2027-02-01 00:00", "2027-03-01 00:00"),
        ("day 30 24:00", "2028-02-01 00:00", "2028-03-01 00:00"),
        ("day 30 24:00", "2026-12-01 00:00", "2026-12-31 00:00"),
        ("last day 24:00", "2026-12-01 00:00", "2027-01-01 00:00"),
        ("+1 day 24:00", "2026-12-30 23:59", "2027-01-01 00:00"),
        ("+1 day 24:00", "2026-12-31 00:00", "2027-01-02 00:00"),
        ("+0 days 24:00", "2028-02-29 12:00", "2028-03-01 00:00"),
    ],
)
def test_a_time_of_the_calendar_is_counted_in_its_own_zone(by: str, anchor: str, due: str):
    since = datetime.fromisoformat(anchor).replace(tzinfo=ZONE)
    assert promise(by).due(since).astimezone(ZONE) == datetime.fromisoformat(due).replace(tzinfo=ZONE)


def test_an_hour_of_a_day_on_which_the_clocks_change_is_the_hour_on_the_wall():
    """Shanghai has had no summer time since 1991; a chain elsewhere may."""
    since = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    due = promise("+1 day 18:00", zone="Europe/Berlin").due(since)
    assert due.astimezone(ZoneInfo("Europe/Berlin")).isoformat() == "2026-03-29T18:00:00+02:00"


@pytest.mark.parametrize("by", ["day 0 12:00", "day 32 12:00", "day 5", "+1 day 24:01", "the 5th", "day 5 12:60"])
def test_what_is_no_time_of_the_calendar_is_refused(by: str):
    with pytest.raises(ValidationError, match="must be like"):
        promise(by)


def test_a_promise_says_either_a_span_or_a_time_of_the_calendar():
    for more in ({"within": "P1D"}, {"by": None}):
        with pytest.raises(ValidationError, match="either"):
            promise(**{"by": "day 5 24:00", **more})  # type: ignore[arg-type]
