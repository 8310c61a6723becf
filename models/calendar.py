"""What the calendar opens: how often a process begins by itself, and the periods it begins for."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

LAST_SURE_DAY = 28
"""A later day is missing in some month, and what was to open on it would not."""


@dataclass(frozen=True)
class Period:
    """A month (`2026-12`) or a day (`2026-12-01`) for which the calendar opens something, at an instant (UTC)."""

    name: str
    at: datetime
    zone: str
    """Whose calendar it is a period of."""

    @property
    def first_day(self) -> date:
        return date.fromisoformat(self.name if self.name.count("-") > 1 else f"{self.name}-01")

    @property
    def month(self) -> str:
        return self.name[:7]

    @property
    def next_month(self) -> str:
        """The month after its own: December's is January of the next year."""
        return f"{_month_after(self.first_day):%Y-%m}"


@dataclass(frozen=True)
class Daily:
    """Every day at an hour of the wall clock. A day's period is that day.

    `ahead_from` is the day of a month from which the next month's cases open: a month is a name of that day, too.
    """

    at: str = "00:00"
    ahead_from: int | None = None

    def __post_init__(self) -> None:
        time.fromisoformat(self.at)

    @property
    def like(self) -> tuple[str, ...]:
        """How a period may be written, the first way the one for people."""
        return ("2026-12", "2026-11-20") if self.ahead_from else ("2026-12-01",)

    def period(self, name: str, zone: str) -> Period:
        """ValueError where it is no day, nor a month that has one."""
        if self.ahead_from and len(name) == len("2026-12"):
            before = date.fromisoformat(f"{name}-01") - timedelta(days=1)
            return self._of(before.replace(day=self.ahead_from), zone)
        if len(name) != len("2026-12-01"):
            raise ValueError(name)
        return self._of(date.fromisoformat(name), zone)

    def last(self, instant: datetime, zone: str) -> Period:
        """The period that was opened last, at or before an instant."""
        today = self._of(instant.astimezone(ZoneInfo(zone)).date(), zone)
        return today if today.at <= instant else self._of(today.first_day - timedelta(days=1), zone)

    def after(self, period: Period) -> Period:
        return self._of(period.first_day + timedelta(days=1), period.zone)

    def _of(self, day: date, zone: str) -> Period:
        return Period(day.isoformat(), _instant(day, self.at, zone), zone)


@dataclass(frozen=True)
class Monthly:
    """Every month on a day, at an hour of the wall clock. A month's period is that month."""

    day: int = 1
    at: str = "00:00"

    def __post_init__(self) -> None:
        time.fromisoformat(self.at)
        if not 1 <= self.day <= LAST_SURE_DAY:
            raise ValueError(f"day {self.day}: some months end before it; what opens monthly opens by the 28th")

    @property
    def like(self) -> tuple[str, ...]:
        """How a period may be written."""
        return ("2026-12",)

    def period(self, name: str, zone: str) -> Period:
        """ValueError where it is no month."""
        if len(name) != len("2026-12"):
            raise ValueError(name)
        return self._of(date.fromisoformat(f"{name}-01"), zone)

    def last(self, instant: datetime, zone: str) -> Period:
        """The period that was opened last, at or before an instant."""
        first = instant.astimezone(ZoneInfo(zone)).date().replace(day=1)
        this = self._of(first, zone)
        return this if this.at <= instant else self._of((first - timedelta(days=1)).replace(day=1), zone)

    def after(self, period: Period) -> Period:
        return self._of(_month_after(period.first_day), period.zone)

    def _of(self, first: date, zone: str) -> Period:
        return Period(f"{first:%Y-%m}", _instant(first.replace(day=self.day), self.at, zone), zone)


Rhythm = Daily | Monthly


def between(rhythm: Rhythm, since: datetime, until: datetime, zone: str) -> Iterator[Period]:
    """Every period that opens after `since`, up to and with `until`."""
    period = rhythm.after(rhythm.last(since, zone))
    while period.at <= until:
        yield period
        period = rhythm.after(period)


def _instant(day: date, at: str, zone: str) -> datetime:
    return datetime.combine(day, time.fromisoformat(at), ZoneInfo(zone)).astimezone(UTC)


def _month_after(day: date) -> date:
    return day.replace(day=1) + timedelta(days=monthrange(day.year, day.month)[1])
