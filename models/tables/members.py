"""Members as the chain's own system has them, their purchases, and what the new-member audit keeps of each (handbook 4.1, 4.2).

Nothing of a person is in the clear: a member is a made-up id, found by keyed hashes; what he is called lies sealed.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, Column, Index, LargeBinary, text
from sqlmodel import Field

from models.tables.base import SQLModel


class MemberRow(SQLModel, table=True):
    """A member, at the latest version that the member system sent."""

    __tablename__ = "members"
    __table_args__ = (Index("members_by_expiry", "valid_through", "region"),)

    id: str = Field(primary_key=True)
    """Made up here, and the same for ever. His number in the member system is in `sealed` and, hashed, in `member_finders`."""
    version: int
    """Of the member system. A version that is not later than this one is known already."""
    digest: str
    """A keyed hash of the record as it was sent."""
    store: str = Field(index=True)
    """The home store: where the card was taken out."""
    region: str | None = Field(default=None, index=True)
    joined_on: date | None = None
    valid_from: date | None = None
    valid_through: date | None = None
    """The card's last day. None where the record has none, or one that is no date."""
    standing: str = "active"
    """`active`, `lost`, `replaced`, `moved`, `left`, as the member system has it."""
    entered_at: datetime
    """When it came here first, UTC."""
    changed_at: datetime = Field(index=True)
    """When anything of it changed here last, UTC."""
    clean_at_first: bool | None = None
    """Whether the first audit found everything there; None before that, and for who was a member before go-live."""
    existing: bool = False
    """A member before go-live: filed as audited."""
    case_id: str | None = Field(default=None, foreign_key="cases.id", index=True)
    """The case it is, or was, audited in: the list of a day and region, or its own."""
    findings: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """What the rules have against the record as it is now: field -> what is wrong with it. Codes only."""
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """The record as it was sent, and what was filled in here; encrypted."""
    keys: str = Field(index=True)
    """The id of the key that `sealed`, the digest and the finders were made with."""


class FinderRow(SQLModel, table=True):
    """What a member is found by: a keyed hash of the number in the member system, the phone or the card."""

    __tablename__ = "member_finders"
    __table_args__ = (
        Index(
            "member_finders_of_number",
            "value",
            unique=True,
            sqlite_where=text("kind = 'number'"),
            postgresql_where=text("kind = 'number'"),
        ),
    )

    member_id: str = Field(primary_key=True, foreign_key="members.id")
    kind: str = Field(primary_key=True)
    """`number`, `phone`, `card`."""
    value: str = Field(primary_key=True, index=True)


class PurchaseRow(SQLModel, table=True):
    """A receipt of a member, or a refund. Once written it does not change."""

    __tablename__ = "purchases"
    __table_args__ = (Index("purchases_of_member", "member_id", "at"),)

    receipt: str = Field(primary_key=True)
    """The chain's key of the receipt; of a refund, the refund's own."""
    member_id: str = Field(foreign_key="members.id")
    store: str | None = None
    at: datetime
    """When it was paid, or paid back, UTC."""
    fen: int
    """A hundredth of a yuan: what was paid; what was paid back, for a refund."""
    refund_of: str | None = Field(default=None, index=True)
    """The receipt that was paid back, whole or in part: which may come later than its refund does."""
    recorded_at: datetime

    @property
    def amount(self) -> Decimal:
        """In yuan; a refund is negative."""
        return Decimal(-self.fen if self.refund_of else self.fen) / 100


class AuditLineRow(SQLModel, table=True):
    """A clean new member on the list of a day and region. Its case says whether the list was audited, by whom and when."""

    __tablename__ = "audit_lines"

    case_id: str = Field(primary_key=True, foreign_key="cases.id")
    member_id: str = Field(primary_key=True, foreign_key="members.id", index=True)
    at: datetime
    """When it came on the list."""
    state: str = "listed"
    """`listed`; `rejected` by the auditor; `withdrawn`: a later version was not clean. The latter two have cases of their own."""


class MessageRow(SQLModel, table=True):
    """A message that the member system's webhook delivered and that was taken, kept for ever: it is never taken twice."""

    __tablename__ = "member_messages"

    id: str = Field(primary_key=True)
    at: datetime
    kind: str


class PullRow(SQLModel, table=True):
    """How far what is pulled from the member system has been taken."""

    __tablename__ = "member_pulls"

    source: str = Field(primary_key=True)
    """`sql` or `http`; with `-receipts`, what its members bought."""
    since: datetime
    """Everything up to then was taken."""
    at: datetime
    """When it was asked last with success."""


class MemberFileRow(SQLModel, table=True):
    """A file of members or purchases: who brought it, and what became of its rows."""

    __tablename__ = "member_files"

    digest: str = Field(primary_key=True)
    """SHA-256 of its content: the same file is known by whatever name."""
    kind: str
    """`members`, `existing`, `purchases`."""
    by: str
    role: str
    at: datetime
    finished_at: datetime | None = None
    """None where it was broken off: the same file again goes on."""
    total: int = 0
    new: int = 0
    changed: int = 0
    known: int = 0
    rejected: int = 0
