"""What goes out of the house: notices over channels, letters to customers; and the letters that came in."""

from datetime import datetime

from sqlalchemy import Column, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from models.tables.base import SQLModel


class Outgoing(SQLModel):
    """Something on its way to a channel: who has it in hand, how often it was tried, whether it arrived."""

    state: str = "waiting"
    """`waiting`, `delivered`, `undeliverable`, `bounced`; `inbox` and `outdated` where nothing is to go out."""
    next_try_at: datetime
    attempts: int = 0
    first_tried_at: datetime | None = None
    leased_by: str | None = None
    leased_until: datetime | None = None
    doubtful: bool = False
    """It may have been accepted before, and we do not know: what goes out again says so."""
    delivered_at: datetime | None = None
    """When the channel accepted it."""
    failed: str | None = None
    """Why the last attempt did not: a code."""


class DeliveryRow(Outgoing, table=True):
    """One notice over one channel. What goes out as one message shares a `parcel`, which is its idempotency key."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("person", "key", "rank"),
        Index("deliveries_to_send", "state", "next_try_at"),
        Index("deliveries_of_person", "person", "channel", "delivered_at"),
        Index("deliveries_by_delivery", "delivered_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    person: str
    key: str
    """The notice's: with the person it says what it is, for ever."""
    notice: int = Field(index=True)
    rank: int
    """Which of the person's channels, the first being 0."""
    channel: str
    urgent: bool = False
    """Neither quiet hours nor limits hold it."""
    created_at: datetime
    parcel: str | None = Field(default=None, index=True)


class LetterRow(Outgoing, table=True):
    """A letter that came into the complaint mailbox, or one that goes to a customer. What it says is sealed."""

    __tablename__ = "letters"
    __table_args__ = (Index("letters_to_send", "state", "next_try_at"), Index("letters_by_arrival", "came", "at"))

    id: str = Field(primary_key=True)
    case_id: str | None = Field(default=None, foreign_key="cases.id", index=True)
    """None for what was set aside: a bounce, an automatic answer."""
    came: bool
    """In; else out."""
    what: str
    """In: `opened`, `added`, `unreadable`, `bounce`, `automatic`, `own`. Out: the form it carries, or `receipt`."""
    mark: str = Field(unique=True)
    """A keyed hash of its Message-ID: what it is found by."""
    submission: str | None = Field(default=None, unique=True)
    """In: what it became. Out: what it carries."""
    at: datetime
    """When it arrived, or was written."""
    settled: bool = True
    """In: its attachments have been seen to."""
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """Everything else, encrypted; empty without a case."""


class MailboxRow(SQLModel, table=True):
    """How far a mailbox has been read, and who is reading it."""

    __tablename__ = "mailboxes"

    name: str = Field(primary_key=True)
    """Its account, server and folder; never the password."""
    validity: str = ""
    read_to: int = 0
    """The last message's number (UID)."""
    since: datetime
    """When it was first read: what was seen before is not ours."""
    read_at: datetime | None = None
    leased_by: str | None = None
    leased_until: datetime | None = None


class AnswerRow(SQLModel, table=True):
    """An answer the manager keeps ready, by category, with places to fill in. In the clear: nothing of a customer is in it."""

    __tablename__ = "answers"

    id: int | None = Field(default=None, primary_key=True)
    category: str | None = Field(default=None, index=True)
    """None for every category."""
    form: str
    title: str
    text: str
    version: int = 1
    by: str
    changed_at: datetime
    removed_at: datetime | None = None
