"""A member and a receipt as the chain's member system sends them, and as the rest of the house reads them (handbook 3.3 F1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from models.forms import Code, Instant, Private, Text
from models.words import names_of

Standing = Literal["active", "lost", "replaced", "moved", "left"]
"""What the member system says of a card: in use, lost, replaced by another; its member moved away, or left."""

MemberField = Literal[
    "card_no",
    "name",
    "gender",
    "birth_date",
    "phone",
    "email",
    "address",
    "joined_on",
    "valid_from",
    "valid_through",
    "consent",
]
"""What an application form asks, and an audit may find wanting. The store and the number are known, or nothing is taken."""
MEMBER_FIELDS: tuple[str, ...] = get_args(MemberField)
_CALLED = {word: field for field in MEMBER_FIELDS for word in names_of("member", field)}

Yuan = Annotated[Decimal, Field(ge=0, max_digits=10, decimal_places=2)]


class MemberRecord(Private):
    """A member as the system of record has him. What is missing or malformed is for the audit to find, and is taken as it is."""

    member_no: Text
    """His number there: card-like, and never in the clear here."""
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Counts his changes. One that is not later than what is known is known already; None where the source does not count."""
    store: Code
    """The store where the card was taken out."""
    standing: Standing = "active"
    card_no: Text | None = None
    name: Text | None = None
    gender: Text | None = None
    birth_date: Text | None = None
    phone: Text | None = None
    email: Text | None = None
    address: Text | None = None
    joined_on: Text | None = None
    valid_from: Text | None = None
    valid_through: Text | None = None
    consent: Text | None = None
    """To his data being kept."""
    declined: tuple[MemberField, ...] = ()
    """What he was asked and would not say."""

    @model_validator(mode="before")
    @classmethod
    def _leaves_open_what_is_empty(cls, given: Any) -> Any:
        """Systems and tables say nothing in many ways; and a table's cell holds several fields with commas between."""
        if not isinstance(given, dict):
            return given
        said = {name: value for name, value in given.items() if value is not None and str(value).strip() != ""}
        if isinstance(declined := said.get("declined"), str):
            said["declined"] = [_CALLED.get(name, name) for name in re.split(r"[,，、;；\s]+", declined) if name]
        return said


class PurchaseRecord(Private):
    """A receipt of a member; with `refund_of`, money paid back on one."""

    receipt: Code
    member_no: Text
    store: Code | None = None
    at: Instant
    amount: Yuan
    """Yuan that were paid, or paid back."""
    refund_of: Code | None = None


@dataclass(frozen=True)
class Member:
    """A member as lists and workflows may know him: nothing here says who he is."""

    id: str
    """Ours, in the local tables; elsewhere the member number."""
    version: int
    store: str
    region: str | None
    joined_on: date | None
    valid_from: date | None
    valid_through: date | None
    """The card's last day, inclusive."""
    standing: Standing = "active"
    record: MemberRecord | None = None
    """All of him, where the member system was asked itself."""


@dataclass(frozen=True)
class Purchase:
    """A paid order of a member, net of what was paid back on it, whenever that was (handbook D-8)."""

    receipt: str
    member: str
    store: str | None
    at: datetime
    """When it was paid, UTC."""
    paid: Decimal
    refunded: Decimal = Decimal(0)

    @property
    def amount(self) -> Decimal:
        """Yuan, net of refunds."""
        return self.paid - self.refunded

    @property
    def counts(self) -> bool:
        """Whether anything of it is left: what was paid back whole is no purchase."""
        return self.amount > 0


def month_days(month: str) -> tuple[date, date]:
    """The first day of a month like `2027-02`, and that of the next. ValueError where it is none."""
    first = date.fromisoformat(f"{month}-01")
    return first, date(first.year + first.month // 12, first.month % 12 + 1, 1)


def filled(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says, without what it leaves open."""
    return {name: value for name, value in record.items() if value not in (None, "", [], ())}
