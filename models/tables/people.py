"""Who works here, as the ledger knows it."""

from datetime import datetime

from sqlalchemy import Column, LargeBinary
from sqlmodel import Field

from models.tables.base import SQLModel


class OrganisationRow(SQLModel, table=True):
    """A version of the organisation: people, stores, rosters, absences. The latest one holds."""

    __tablename__ = "organisation"

    version: int | None = Field(default=None, primary_key=True)
    at: datetime
    by: str
    what: str
    """`loaded`, `person`, `absence` …"""
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """The whole of it, encrypted."""
    key: str
    """The id of the key it is sealed with."""


class HandOverRow(SQLModel, table=True):
    """A task that went to a deputy for an absence, and maybe back."""

    __tablename__ = "hand_overs"

    absence: str = Field(primary_key=True)
    """Whose, and since when, UTC: `lin/2026-11-23T01:00:00+00:00`."""
    case_id: str = Field(primary_key=True, foreign_key="cases.id")
    task: str = Field(primary_key=True)
    deputy: str
    at: datetime
    by: str
    returned_at: datetime | None = None
