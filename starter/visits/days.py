"""The calendar's days: which are off, which are worked in their place; seeded once a year, then the department's to edit (5.1 E4–E7).

No deadline moves by it. A setting lets a reminder come on the last working day before.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated

import holidays
from pydantic import BaseModel, Field, StringConstraints
from sqlmodel import Session, col, func, select

from models.forms import FieldError, Private
from models.people import CALENDAR, Person, Role
from models.tables import DayRevisionRow, DayRow
from starter.refusals import Conflict, Forbidden, Invalid

SATURDAY = 5
MAY_EDIT = (Role.MANAGER, Role.ADMINISTRATOR)
SEED = "seed"
ONE_DAY = timedelta(days=1)

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]


class DayChange(Private):
    """A day that is not what its weekday says; or, without `working`, one that is again."""

    day: date
    working: bool | None = None
    name: Word | None = None
    provisional: bool = False


class DaysSent(Private):
    """Changes of one year, and why; on what revision they were made."""

    revision: int = Field(ge=0, le=2**31 - 1)
    days: list[DayChange] = Field(min_length=1, max_length=400)
    why: Word


class DayView(BaseModel):
    day: date
    working: bool
    name: str
    provisional: bool


class YearView(BaseModel):
    """The days of a year that are not what their weekdays say."""

    year: int
    revision: int
    """0: nobody has edited it, nor has it been seeded here; it is as the seed would have it."""
    provisional: bool
    """Whether something of it is not announced yet: days worked in place of others, mostly."""
    days: list[DayView]


@dataclass(frozen=True)
class Days:
    """Which days are worked."""

    known: dict[date, bool]

    @classmethod
    def of(cls, session: Session, years: Iterable[int]) -> "Days":
        return cls({one.day: one.working for year in years for one in year_view(session, year).days})

    def is_worked(self, day: date) -> bool:
        return self.known.get(day, day.weekday() < SATURDAY)

    def last_worked(self, day: date) -> date:
        """The day itself, or the last working day before it: within a month, or the day as it is."""
        earlier = (day - n * ONE_DAY for n in range(31))
        return next((one for one in earlier if self.is_worked(one)), day)


def seed(year: int) -> list[DayView]:
    """What the library knows of a year: public holidays, and weekends that are worked. Provisional until those are announced."""
    china = holidays.country_holidays("CN", years=year, language="zh_CN")
    worked = {day for day in getattr(china, "weekend_workdays", ()) if day.year == year}
    provisional = not worked
    off = [
        DayView(day=day, working=False, name=name, provisional=provisional)
        for day, name in china.items()
        if day.year == year
    ]
    back = [DayView(day=day, working=True, name="调休上班", provisional=False) for day in worked]
    return sorted([*off, *back], key=lambda one: one.day)


def year_view(session: Session, year: int) -> YearView:
    """A year as it was edited, or as the seed has it."""
    revision = _revision(session, year)
    if revision == 0:
        found = seed(year)
    else:
        rows = session.exec(
            select(DayRow)
            .where(col(DayRow.day) >= date(year, 1, 1), col(DayRow.day) <= date(year, 12, 31))
            .order_by(col(DayRow.day))
        )
        found = [DayView(**row.model_dump(exclude={"revision"})) for row in rows]
    return YearView(year=year, revision=revision, provisional=any(one.provisional for one in found), days=found)


def change(session: Session, now: datetime, by: Person, year: int, sent: DaysSent) -> int:
    """Edit a year. Forbidden, Invalid (a day of another year), Conflict (somebody else has meanwhile). Returns its revision."""
    if by.role not in MAY_EDIT:
        raise Forbidden("may_not_edit_days", role=by.role)
    elsewhere = [f"days.{nth}.day" for nth, one in enumerate(sent.days) if one.day.year != year]
    if elsewhere:
        raise Invalid([FieldError(field=field, code="not_in_year", values={"year": str(year)}) for field in elsewhere])
    if sent.revision != _revision(session, year):
        raise Conflict("days_changed", year=str(year), revision=str(_revision(session, year)))
    if sent.revision == 0:
        _plant(session, now, year)
    made = _revised(session, now, by, year, sent.why)
    for one in sent.days:
        row = session.get(DayRow, one.day)
        if row and one.working is None:
            session.delete(row)
        elif one.working is not None:
            row = row or DayRow(day=one.day, working=one.working, name="", provisional=False, revision=made)
            row.working, row.name, row.provisional, row.revision = (
                one.working,
                one.name or row.name or ("上班" if one.working else "放假"),
                one.provisional,
                made,
            )
            session.add(row)
    return made


def plant(session: Session, now: datetime, by: Person, year: int) -> int:
    """Keep what the seed says of a year, where nobody has yet. Returns its revision."""
    if by.role not in MAY_EDIT:
        raise Forbidden("may_not_edit_days", role=by.role)
    return _revision(session, year) or _plant(session, now, year)


def _plant(session: Session, now: datetime, year: int) -> int:
    made = _revised(session, now, CALENDAR, year, SEED)
    session.add_all(DayRow(**one.model_dump(), revision=made) for one in seed(year))
    session.flush()
    return made


def _revised(session: Session, now: datetime, by: Person, year: int, why: str) -> int:
    row = DayRevisionRow(at=now, by=by.id, year=year, why=why)
    session.add(row)
    session.flush()
    assert row.id is not None
    return row.id


def _revision(session: Session, year: int) -> int:
    return session.exec(select(func.max(DayRevisionRow.id)).where(DayRevisionRow.year == year)).one() or 0
