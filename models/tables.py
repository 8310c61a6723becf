"""The ledger's tables. Instants are UTC; whatever a person typed is in a sealed column, and only there.

Only the case library is in the clear: it is there to be searched, and its door keeps customers out of it.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Column, Index, LargeBinary, String, UniqueConstraint, text
from sqlmodel import Field, SQLModel

SQLModel.metadata.naming_convention = {
    "ix": "%(table_name)s_by_%(column_0_N_name)s",
    "uq": "%(table_name)s_unique_%(column_0_N_name)s",
    "fk": "%(table_name)s_%(column_0_N_name)s_of_%(referred_table_name)s",
    "pk": "%(table_name)s_key",
}

SYSTEM_GRACE = timedelta(minutes=1)


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
    store: str | None = Field(default=None, index=True)
    region: str | None = Field(default=None, index=True)
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
    fired_at: datetime | None = None
    passed: bool = False
    """A reminder that was overtaken by its due time: kept, and told to nobody."""
    delivered_at: datetime | None = None
    acknowledged_at: datetime | None = None

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


class AlarmRow(SQLModel, table=True):
    """Something that does not go as it should, found by those who watch. It is open until they find it gone."""

    __tablename__ = "alarms"
    __table_args__ = (
        Index(
            "alarms_open_by_key",
            "key",
            unique=True,
            sqlite_where=text("cleared_at IS NULL"),
            postgresql_where=text("cleared_at IS NULL"),
        ),
        Index("alarms_by_kind", "kind", "told_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    key: str
    """What it is: its kind and what it is about. Open once."""
    kind: str
    case_id: str | None = Field(default=None, foreign_key="cases.id")
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    since: datetime
    """When it ought to have happened."""
    raised_at: datetime
    told_at: datetime | None = None
    """When the administrators got a notice of it."""
    cleared_at: datetime | None = None


class WatchRow(SQLModel, table=True):
    """When each of those who watch last finished a round."""

    __tablename__ = "watches"

    name: str = Field(primary_key=True)
    at: datetime


class AttachmentRow(SQLModel, table=True):
    """A file that somebody added to a case. The file itself lies sealed beside the ledger, under the same id."""

    __tablename__ = "attachments"

    id: str = Field(primary_key=True)
    case_id: str = Field(foreign_key="cases.id", index=True)
    key: str | None = None
    """The sender's Idempotency-Key; all files of one upload share it."""
    kind: str
    size: int
    """Bytes, of the file as it is kept."""
    width: int | None = None
    height: int | None = None
    seconds: int | None = None
    digest: str
    """A keyed hash of the file as it was sent; empty once it is removed."""
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Its name, caption and hash, encrypted; once it is removed, why, and nothing else."""
    by: str
    role: str
    at: datetime
    removed_at: datetime | None = None
    removed_by: str | None = None


class CustomerRow(SQLModel, table=True):
    """What a case's customer is found by: a keyed hash of a number or an address, never the number itself."""

    __tablename__ = "case_customers"

    case_id: str = Field(primary_key=True, foreign_key="cases.id")
    kind: str = Field(primary_key=True)
    """`phone`, `card`, `receipt`, `email`; or `noted`, whose value is the id of the key that the others were made with."""
    value: str = Field(primary_key=True, index=True)


class SearchRow(SQLModel, table=True):
    """That somebody looked for a customer: by what kind of number, and how many cases there were. Never the number."""

    __tablename__ = "customer_searches"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime
    by: str
    role: str
    kind: str
    found: int


class LibraryRow(SQLModel, table=True):
    """An entry of the case library: what can be learnt from a case, with nothing of its customer, in the clear."""

    __tablename__ = "library"
    __table_args__ = (
        Index(
            "library_of_case",
            "case_id",
            unique=True,
            sqlite_where=text("removed_at IS NULL"),
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    case_id: str = Field(foreign_key="cases.id")
    title: str
    problem: str
    solution: str
    tags: list[str] = Field(sa_column=Column(JSON, nullable=False))
    author: str
    version: int = 1
    created_at: datetime
    changed_at: datetime
    for_meeting: bool = False
    """Waits for the Friday meeting."""
    marked_at: datetime | None = None
    """When it was put on the agenda, last."""
    discussed_at: datetime | None = None
    removed_at: datetime | None = None
    """A removed entry keeps who, when and why; its texts are gone."""
    removed_because: str | None = None


class LibraryChangeRow(SQLModel, table=True):
    """A version of an entry: who made it, when, and what it said."""

    __tablename__ = "library_changes"

    entry: int = Field(primary_key=True, foreign_key="library.id")
    version: int = Field(primary_key=True)
    at: datetime
    by: str
    what: str
    data: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """The texts as they were from then on; empty once the entry is removed."""


WORD = String().with_variant(String(collation="C"), "postgresql")
"""Compared by code point on every database, so that the words that begin with a character are one range."""


class LibraryWordRow(SQLModel, table=True):
    """Where a word stands: two characters of Chinese, a run of Latin letters or of digits, or `#` and a tag."""

    __tablename__ = "library_words"
    __table_args__ = {"sqlite_with_rowid": False}

    word: str = Field(sa_column=Column(WORD, primary_key=True))
    entry: int = Field(primary_key=True, foreign_key="library.id", index=True)
    weight: int
    """2 in the title or a tag, else 1."""


class ArchiveRow(SQLModel, table=True):
    """A closed case, whole and sealed: facts, forms, tasks, deadlines and events in one document."""

    __tablename__ = "archive"

    case_id: str = Field(primary_key=True, foreign_key="cases.id")
    archived_at: datetime
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
