"""Planned visits: what stores planned, each line and its calls; and the days of the calendar (handbook 6.3, 5.1)."""

from datetime import date, datetime

from sqlalchemy import Column, Index, LargeBinary
from sqlmodel import Field

from models.tables.base import SQLModel


class PlanVersionRow(SQLModel, table=True):
    """A store's plan as it was handed in once: a submission of its case, which holds it whole."""

    __tablename__ = "plan_versions"

    id: str = Field(primary_key=True, foreign_key="submissions.id")
    case_id: str = Field(foreign_key="cases.id", index=True)
    month: str = Field(index=True)
    store: str
    nth: int
    kind: str
    """`first`; `replaced` the one before, which nobody had consolidated; `late`, the first one and after that; `amended` after that."""
    at: datetime
    by: str
    nil: bool
    lines: int
    source: str
    """`api` or `workbook`."""


class VisitRow(SQLModel, table=True):
    """A line of a store's plan: when and by whom somebody is to be called, and what came of it. Whom and why is sealed."""

    __tablename__ = "visits"
    __table_args__ = (
        Index("visits_by_month", "month", "store"),
        Index("visits_by_day", "due_on", "state"),
        Index("visits_by_call", "done_at"),
    )

    id: str = Field(primary_key=True)
    case_id: str = Field(foreign_key="cases.id", index=True)
    month: str
    store: str
    region: str | None = None
    version: int
    """Of the plan, that brought it."""
    added_at: datetime
    dropped_at: datetime | None = None
    """When a later version left it out."""
    purpose: str
    method: str
    planned_on: date
    """As the plan has it."""
    due_on: date
    """The day it is to be done: the planned one, or another that was agreed with the customer."""
    caller: str
    list_nth: int
    """Whose list of which day it is on, within its case."""
    member_id: str | None = Field(default=None, foreign_key="members.id", index=True)
    complete: bool
    """Whether a sale's line says what was bought and when."""
    state: str = "planned"
    """`planned`, `held` back, `done`, `dropped`."""
    held_for: str | None = None
    """The open complaint it is held back for."""
    attempts: int = 0
    outcome: str | None = None
    satisfaction: int | None = None
    problem: bool = False
    cause: str | None = None
    """Of a churned member: why, as he says."""
    won: str | None = None
    """Of a churned member: `back`, `lost` or `open`."""
    reached: bool = False
    on_time: bool = False
    """Whether its outcome came by the end of the planned day."""
    done_at: datetime | None = None
    done_by: str | None = None
    complaint: str | None = Field(default=None, foreign_key="cases.id", index=True)
    """The complaint that it became."""
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """The line as it was planned, encrypted."""


class VisitCallRow(SQLModel, table=True):
    """A call of a planned visit, reached or not (handbook 3.3 F10)."""

    __tablename__ = "visit_calls"

    visit_id: str = Field(primary_key=True, foreign_key="visits.id")
    nth: int = Field(primary_key=True)
    key: str | None = Field(default=None, unique=True)
    """The sender's Idempotency-Key."""
    digest: str
    """A keyed hash of what was sent."""
    at: datetime
    channel: str
    outcome: str
    by: str
    role: str
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """What was said, encrypted."""


class VisitFinderRow(SQLModel, table=True):
    """What a line's customer is found by: a keyed hash of a phone or card number."""

    __tablename__ = "visit_finders"

    visit_id: str = Field(primary_key=True, foreign_key="visits.id")
    kind: str = Field(primary_key=True)
    value: str = Field(primary_key=True, index=True)


class VisitListRow(SQLModel, table=True):
    """One caller's list of one day. Its task in the case is `calls`, or `calls-n` of the nth."""

    __tablename__ = "visit_lists"

    case_id: str = Field(primary_key=True, foreign_key="cases.id")
    nth: int = Field(primary_key=True)
    caller: str
    role: str
    day: date = Field(index=True)

    @property
    def task(self) -> str:
        return "calls" if self.nth == 1 else f"calls-{self.nth}"


class DayRow(SQLModel, table=True):
    """A day of the calendar that is not what its weekday says: a day off, or one that is worked in its place."""

    __tablename__ = "calendar_days"

    day: date = Field(primary_key=True)
    working: bool
    name: str
    provisional: bool
    """Reckoned, and not announced yet."""
    revision: int = Field(foreign_key="calendar_revisions.id")


class DayRevisionRow(SQLModel, table=True):
    """Who changed the calendar, when and why."""

    __tablename__ = "calendar_revisions"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime
    by: str
    year: int
    why: str
    """`seed`, or what its editor wrote."""
