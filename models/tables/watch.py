"""What those who watch have found."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index, text
from sqlmodel import Field

from models.tables.base import SQLModel


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
