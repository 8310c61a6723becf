"""What the calendar has opened; and the months' lists of expiring members."""

from datetime import date, datetime

from sqlalchemy import Column, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from models.tables.base import SQLModel


class PeriodRow(SQLModel, table=True):
    """A period of a process for which the calendar has opened every case; the first of each process is the one it was installed in."""

    __tablename__ = "periods"

    process: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    at: datetime
    """When it was to be opened."""
    opened_at: datetime
    """Of the first of a process, when the calendar was installed, whoever opened it since."""
    by: str
    """`calendar`, `watch`, or the person who opened it by hand; `installed` where it had begun before there was a calendar."""
    cases: int
    """How many there are of it."""
    refused: int = 0
    """How many the door would not take: the log says why."""


class ExpiryListRow(SQLModel, table=True):
    """The list of cards that expire in a month, as it was when it was made."""

    __tablename__ = "expiry_lists"

    month: str = Field(primary_key=True)
    case_id: str = Field(foreign_key="cases.id", index=True)
    """The run that made it. Its terms say by which rule."""
    as_of: datetime
    made_at: datetime | None = None
    opened_at: datetime | None = None
    """When the notices of all on it were opened."""
    listed: int = 0
    waived: int = 0
    sealed: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    """The workbook that was archived, encrypted."""
    keys: str = Field(default="", index=True)
    """The id of the key that `sealed` was made with."""


class ExpiryLineRow(SQLModel, table=True):
    """A member of a month's list, or one who has earned the waiver. What he is called, his own record says."""

    __tablename__ = "expiry_lines"
    __table_args__ = (UniqueConstraint("month", "nth"), Index("expiry_lines_by_region", "month", "region"))

    month: str = Field(primary_key=True)
    member_id: str = Field(primary_key=True, foreign_key="members.id", index=True)
    nth: int
    store: str
    """The card's home store when the list was made."""
    region: str
    """`other` where the directory does not know the store."""
    valid_through: date
    expires_at: datetime = Field(index=True)
    purchases: int
    fen: int
    """Spent in the year that counts, net of refunds, when the list was made."""
    waived: bool
    case_id: str | None = Field(default=None, foreign_key="cases.id", index=True)
    """His notice."""
    checked_at: datetime
    """What came of him later is still to be reckoned."""
