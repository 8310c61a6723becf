"""A case in the ledger: what was sent, what happened, what is owed, who heard, and the closed whole."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Column, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field

from models.tables.base import SQLModel

SYSTEM_GRACE = timedelta(minutes=1)
ERASED = "erased"
"""The event that says that what is personal of a case was erased; a case has it once."""


class CaseRow(SQLModel, table=True):
    """One case: who it is, and where it stands. The door writes its identity with the opening submission, `record` the rest."""

    __tablename__ = "cases"
    __table_args__ = (UniqueConstraint("process", "number"), Index("cases_by_due", "state", "due_at", "id"))

    id: str = Field(primary_key=True)
    process: str
    number: str
    """The business number: unique within its process for ever, also after the engine has forgotten the case."""
    state: str = "open"
    cycle: int = 1
    first_cycle: int = 1
    """The one it began with: not the first where it continues a case that was closed shortly before."""
    store: str | None = Field(default=None, index=True)
    region: str | None = Field(default=None, index=True)
    taken_for: str | None = None
    """Of which kind it is, as far as is known: not always what it was opened as (5.2 E31)."""
    about: str | None = None
    """The employee the case is about: it is never his, and where he is the manager, his superior hears."""
    opened_at: datetime
    entered_at: datetime | None = None
    """When a case with a past came here. What was planned before is passed, and told to nobody."""
    due_at: datetime | None = None
    """The earliest due time among its open tasks."""
    closed_at: datetime | None = None
    closed_because: str | None = None
    last_instant: datetime
    """No submission of the case is ever recorded at or before this."""
    promises: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    keys: str = ""
    """The ids of the keys that have sealed anything of it, here or in the engine's history, with commas between."""
    leased_by: str | None = None
    leased_until: datetime | None = None


class NumberRow(SQLModel, table=True):
    """A further business number that leads to a case: of the paper with which its customer came back."""

    __tablename__ = "numbers"

    process: str = Field(primary_key=True)
    number: str = Field(primary_key=True)
    case_id: str = Field(foreign_key="cases.id", index=True)
    submission: str


class SubmissionRow(SQLModel, table=True):
    """What a person sent, committed before anything is decided. Its id is the idempotency key."""

    __tablename__ = "submissions"
    __table_args__ = (
        UniqueConstraint("case_id", "recorded_at"),
        Index("submissions_to_deliver", "state", "next_try_at"),
        Index("submissions_by_decision", "decided_at"),
    )

    id: str = Field(primary_key=True)
    case_id: str = Field(foreign_key="cases.id")
    form: str
    task: str | None = None
    by: str
    role: str
    recorded_at: datetime
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """The whole form, encrypted."""
    outline: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """The form with its texts hidden: what the workflow gets."""
    digest: str
    """A keyed hash of the whole form: the same key with another body is told apart without opening either."""
    state: str = "pending"
    decided_at: datetime | None = None
    refusal: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    """What its case has against it; while it is pending, the deliverer does not know yet."""
    deferred: bool = True
    """Its sender has not heard what became of it: a refusal must find him."""
    attempts: int = 0
    next_try_at: datetime


class EventRow(SQLModel, table=True):
    """Something that happened. Append-only; `key` says what it is, and the first one written under a key wins."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("case_id", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    case_id: str = Field(foreign_key="cases.id")
    key: str
    kind: str
    task: str | None = None
    at: datetime
    submission: str | None = None
    by: str | None = None
    role: str | None = None
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class TaskRow(SQLModel, table=True):
    """A form somebody owes a case."""

    __tablename__ = "tasks"
    __table_args__ = (Index("tasks_by_owner", "owner", "state", "due_at"), Index("tasks_by_due", "state", "due_at"))

    case_id: str = Field(primary_key=True, foreign_key="cases.id")
    key: str = Field(primary_key=True)
    form: str
    state: str = "open"
    owner_role: str
    owner: str
    owed_at: datetime
    due_at: datetime
    due_because: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    generation: int = 0
    by_itself: bool = False
    """A promise that is met by other forms: shown and reckoned, and on nobody's list."""
    after: str | None = None
    """The form that must be handed in before this one."""
    done_at: datetime | None = None
    done_by: str | None = None
    withdrawn_because: str | None = None


class DeadlineRow(SQLModel, table=True):
    """A rung of a task's ladder: when it was planned, when it fired, who heard."""

    __tablename__ = "deadlines"

    case_id: str = Field(primary_key=True, foreign_key="cases.id")
    task: str = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    rung: int = Field(primary_key=True)
    after_seconds: int
    role: str
    person: str | None = None
    armed_at: datetime
    """When it could first be known: the recording of what armed it. Lateness before this is a person's, after it the system's."""
    planned_at: datetime = Field(index=True)
    fired_at: datetime | None = Field(default=None, index=True)
    passed: bool = False
    """A reminder that was overtaken by its due time: kept, and told to nobody."""
    delivered_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    climbs_at: datetime | None = None
    """When the next in line hears, unless somebody acknowledges before; None where nobody is left, or nobody need."""
    hops: int = 0
    """How often it has climbed."""

    @property
    def system_was_late(self) -> bool:
        """Whether somebody heard more than a minute after he could have."""
        heard_at = self.delivered_at or self.fired_at
        return heard_at is not None and heard_at - max(self.planned_at, self.armed_at) > SYSTEM_GRACE


class NoticeRow(SQLModel, table=True):
    """What one person is told, once. `key` is the deadline row or the submission it comes from."""

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("person", "key"),
        Index("notices_by_person", "person", "id"),
        Index(
            "notices_unsent",
            "created_at",
            sqlite_where=text("delivered_at IS NULL"),
            postgresql_where=text("delivered_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    person: str
    key: str
    what: str
    case_id: str | None = Field(default=None, foreign_key="cases.id")
    """None where it is about the desk itself."""
    task: str | None = None
    submission: str | None = None
    """The submission that caused it: the notice goes out once that is decided."""
    created_at: datetime
    delivered_at: datetime | None = None
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class ArchiveRow(SQLModel, table=True):
    """A closed case, whole and sealed: facts, forms, tasks, deadlines and events in one document."""

    __tablename__ = "archive"

    case_id: str = Field(primary_key=True, foreign_key="cases.id")
    archived_at: datetime
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
