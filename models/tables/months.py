"""What the calendar has opened."""

from datetime import datetime

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
    by: str
    """`calendar`, `watch`, or the person who opened it by hand; `installed` where it had begun before there was a calendar."""
    cases: int
    """How many there are of it."""
    refused: int = 0
    """How many the door would not take: the log says why."""
