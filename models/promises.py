"""Promises and ladders: how long a task may take, or until which time of the calendar, and who hears when."""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.people import Role

AT_DUE = timedelta(0)


class Rung(NamedTuple):
    """One step of a ladder: this long after the due time (before it, when negative), this role hears."""

    after: timedelta
    tell: Role
    acknowledge: timedelta | None = None
    """So much of his duty whoever hears of a breach has, to say that he has heard; then the next in line hears. None: nobody else does."""

    @property
    def is_reminder(self) -> bool:
        return self.after < AT_DUE


_CALENDAR = re.compile(
    r"(?:day (?P<day>\d{1,2})|last day|\+(?P<days>\d{1,3}) days?) (?P<hour>\d\d):(?P<minute>[0-5]\d)"
)


class CalendarTime(NamedTuple):
    """A time of the calendar, counted from the month or the day of an anchor: `day 28 18:00`, `last day 24:00`, `+1 day 24:00`.

    A day that a month does not have is its last one (handbook D-9); 24:00 is the end of the day.
    """

    day: int | None
    days: int | None
    at: timedelta

    @classmethod
    def read(cls, text: str) -> "CalendarTime":
        """ValueError where it is none."""
        said = _CALENDAR.fullmatch(text)
        at = said and timedelta(hours=int(said["hour"]), minutes=int(said["minute"]))
        if not said or not at or at > timedelta(days=1) or (said["day"] and not 1 <= int(said["day"]) <= 31):
            raise ValueError("must be like `day 28 18:00`, `last day 24:00` or `+1 day 24:00`")
        day = int(said["day"]) if said["day"] else None if said["days"] else 31
        return cls(day, int(said["days"]) if said["days"] else None, at)

    def after(self, anchor: datetime, zone: str) -> datetime:
        """The instant (UTC) it means for an anchor, in the anchor's own month or so many days after its day."""
        here = anchor.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.days is not None:
            midnight = here + timedelta(days=self.days)
        else:
            assert self.day is not None
            midnight = here.replace(day=min(self.day, monthrange(here.year, here.month)[1]))
        return (midnight + self.at).astimezone(UTC)


class Promise(BaseModel):
    """How long a task may take, elapsed from its anchor, or until which time of the calendar; and who hears when.

    A number of the policy, frozen into the case. Exactly one of `within` and `by` is said.
    """

    model_config = ConfigDict(frozen=True)
    name: str
    within: timedelta | None = Field(default=None, gt=AT_DUE)
    by: str | None = None
    """A `CalendarTime`."""
    zone: str = "Asia/Shanghai"
    """Whose calendar `by` speaks of."""
    ladder: tuple[Rung, ...]
    """Empty where lateness is shown and reckoned, and told to nobody."""
    basis: str
    """The handbook's section, or "ours"."""
    together: bool = False
    """Several of one owner that pass it at the same time are one word to whoever hears."""

    @field_validator("ladder")
    @classmethod
    def _climbs_and_somebody_hears(cls, ladder: tuple[Rung, ...]) -> tuple[Rung, ...]:
        if any(later.after <= earlier.after for earlier, later in pairwise(ladder)):
            raise ValueError("the rungs of a ladder must climb: each later than the one before")
        if ladder and all(rung.is_reminder for rung in ladder):
            raise ValueError("a ladder needs a rung at or after the due time: somebody must hear that it passed")
        return ladder

    @model_validator(mode="after")
    def _says_until_when(self) -> Self:
        if (self.within is None) == (self.by is None):
            raise ValueError("say either `within` or `by`")
        if self.by is not None:
            CalendarTime.read(self.by)
        return self

    def due(self, since: datetime) -> datetime:
        if self.within is not None:
            return since + self.within
        assert self.by is not None
        return CalendarTime.read(self.by).after(since, self.zone)

    def lasting(self, span: timedelta | None) -> Self:
        """The same ladder over the span somebody promised, or over the policy's own where nobody did."""
        return (
            self
            if span is None
            else self.model_copy(update={"within": span, "by": None, "basis": "promised to the customer"})
        )
