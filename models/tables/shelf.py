"""What lies beside the cases: attachments, what customers are found by, the case library."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index, LargeBinary, String, text
from sqlmodel import Field

from models.tables.base import SQLModel


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
