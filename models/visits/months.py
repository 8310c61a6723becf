"""Months as the visits count them: `YYYY-MM`, never a month's number alone (handbook 5.1 E10)."""

import re
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

_LIKE = r"^20\d\d-(0[1-9]|1[0-2])$"


def _is_month(said: Any) -> Any:
    if isinstance(said, str) and not re.fullmatch(_LIKE, said):
        raise PydanticCustomError("no_month", "must be a month like 2027-02")
    return said


Month = Annotated[str, BeforeValidator(_is_month), StringConstraints(pattern=_LIKE)]
"""A month of the calendar: 2027-02."""


def month_of(day: date) -> str:
    return f"{day:%Y-%m}"


def first_day(month: str) -> date:
    return date.fromisoformat(f"{month}-01")


def last_day(month: str) -> date:
    first = first_day(month)
    return first.replace(day=monthrange(first.year, first.month)[1])


def shifted(month: str, by: int) -> str:
    """So many months later, or earlier."""
    first = first_day(month)
    count = first.year * 12 + first.month - 1 + by
    return f"{count // 12:04}-{count % 12 + 1:02}"


def counting_day(month: str, day: int) -> date:
    """A day of a month, or its last one where it has not so many (handbook D-9)."""
    return min(first_day(month) + timedelta(days=day - 1), last_day(month))


def begins(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a day, UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def month_begins(month: str, zone: ZoneInfo) -> datetime:
    """The first instant of a month, UTC."""
    return begins(first_day(month), zone)


def months_before(day: date, months: int) -> date:
    """The same day so many months earlier, or the last one of a shorter month."""
    return counting_day(shifted(month_of(day), -months), day.day)
