"""When somebody is there: weekly hours and their exceptions, absences; and how long so many hours of duty last."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FURTHEST = 400
"""Days that are looked ahead for somebody's next hours."""
_HOURS = re.compile(r"(\d\d):([0-5]\d)-(\d\d):([0-5]\d)")

Span = tuple[timedelta, timedelta]


def spans_of(hours: str) -> list[Span]:
    """`09:00-12:00 13:00-18:00` as spans of the day, from midnight; none for the empty text. ValueError where it is neither."""
    spans: list[Span] = []
    for part in hours.replace(",", " ").split():
        said = _HOURS.fullmatch(part)
        if not said:
            raise ValueError(hours)
        h1, m1, h2, m2 = map(int, said.groups())
        spans.append((timedelta(hours=h1, minutes=m1), timedelta(hours=h2, minutes=m2)))
    ends = [timedelta(0), *(end for span in spans for end in span)]
    if ends != sorted(ends) or any(begin == end for begin, end in spans) or ends[-1] > timedelta(days=1):
        raise ValueError(hours)
    return spans


def _are_hours(hours: str) -> str:
    try:
        spans_of(hours)
    except ValueError as error:
        raise PydanticCustomError(
            "not_hours", "must be like 09:00-12:00 13:00-18:00, or empty for a day off"
        ) from error
    return hours


Hours = Annotated[str, AfterValidator(_are_hours)]


class Roster(BaseModel):
    """The hours of a week, and days that are otherwise. A weekday that is not named is a day off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    week: dict[Weekday, Hours]
    days: dict[date, Hours] = {}

    @model_validator(mode="after")
    def _works_sometime(self) -> "Roster":
        if not any(self.week.values()):
            raise PydanticCustomError("no_hours", "a roster needs hours on some day of the week")
        return self

    def spans(self, since: datetime, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
        """Hours of duty that end after an instant, in order."""
        first = since.astimezone(zone).date()
        for day in (first + timedelta(days=n) for n in range(FURTHEST)):
            midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
            for begin, end in spans_of(self.days.get(day, self.week.get(WEEKDAYS[day.weekday()], ""))):
                began, ended = (midnight + begin).astimezone(UTC), (midnight + end).astimezone(UTC)
                if ended > since:
                    yield max(began, since), ended


class Absence(BaseModel):
    """Somebody is away, from one instant until another. Who stands in may be said; else it is one of his deputies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    person: str
    since: AwareDatetime
    until: AwareDatetime
    deputy: str | None = None

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> "Absence":
        if self.until <= self.since:
            raise PydanticCustomError("absence_backwards", "must end after it begins")
        return self

    def holds(self, at: datetime) -> bool:
        return self.since <= at < self.until


def after(roster: Roster | None, since: datetime, span: timedelta, zone: ZoneInfo) -> datetime:
    """The instant (UTC) by which so many hours of duty have passed. Without a roster, every hour is one."""
    if roster is None:
        return since + span
    for begin, end in roster.spans(since, zone):
        if end - begin >= span:
            return begin + span
        span -= end - begin
    return since + timedelta(days=FURTHEST)


def next_hours(roster: Roster | None, since: datetime, zone: ZoneInfo) -> datetime:
    """When he is on duty next; now, where he is."""
    return (
        since
        if roster is None
        else next((begin for begin, _ in roster.spans(since, zone)), since + timedelta(days=FURTHEST))
    )
