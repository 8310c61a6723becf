"""Cards that expire (handbook 4.2): the month's list, a round of calls for each region, and one notice for each member.

A month is named by when its cards expire: the list of 2027-01 is made in December 2026.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from models.calendar import Monthly
from models.forms import Case, Code, Form, Instant, Text
from models.members import Member, Purchase
from models.people import Role
from models.promises import Promise
from models.tasks import Process

OURS = frozenset({Role.SYSTEM})
"""Opened by the calendar, or told by the ledger: no person does it."""
Month = Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
Region = Annotated[str, Field(min_length=1, max_length=64)]
Money = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]

# The rule: so many purchases, or so much spent, in the year


class Waiver(BaseModel):
    """What waives next year's fee (4.2): either will do, and reaching it is enough. Refunds count against both."""

    purchases: int = Field(default=3, ge=1)
    amount: Decimal = Field(default=Decimal(1000), gt=0)
    year: Literal["card", "calendar"] = "card"
    """The membership year that ends with the card (D-7), or the calendar year in which the list is made."""
    same_day_once: bool = False
    """Several receipts of one day are one purchase (D-8 counts receipts)."""
    zone: str = "Asia/Shanghai"

    def days(self, member: Member, month: str) -> tuple[date, date]:
        """The first and the last day of the year that counts for a card of this month's list."""
        if self.year == "calendar":
            made_in = _before(date.fromisoformat(f"{month}-01")).year
            return date(made_in, 1, 1), date(made_in, 12, 31)
        assert member.valid_through
        a_year_before = _year_before(member.valid_through)
        began = member.valid_from
        if began and a_year_before <= began <= member.valid_through:  # the card's own first day counts, whoever reckons
            return began, member.valid_through
        return a_year_before + timedelta(days=1), member.valid_through

    def period(self, member: Member, month: str) -> tuple[datetime, datetime]:
        """The same as instants: from the one, to before the other."""
        first, last = self.days(member, month)
        return _midnight(first, self.zone), _midnight(last + timedelta(days=1), self.zone)

    def day(self, instant: datetime) -> date:
        return instant.astimezone(ZoneInfo(self.zone)).date()

    def reckon(self, purchases: Iterable[Purchase]) -> "Reckoned":
        """Where a member stands by what he bought in the year."""
        counted = [purchase for purchase in purchases if purchase.counts]
        receipts = {purchase.receipt for purchase in counted}
        days = {self.day(purchase.at) for purchase in counted}
        spend = sum((purchase.amount for purchase in counted), Decimal(0))
        return Reckoned(self, len(days if self.same_day_once else receipts), spend)


@dataclass(frozen=True)
class Reckoned:
    """A member's purchases and spending of the year, and what he still lacks."""

    rule: Waiver
    purchases: int
    spend: Decimal

    @property
    def waived(self) -> bool:
        return self.purchases >= self.rule.purchases or self.spend >= self.rule.amount

    @property
    def purchases_missing(self) -> int:
        return max(self.rule.purchases - self.purchases, 0)

    @property
    def amount_missing(self) -> Decimal:
        return max(self.rule.amount - self.spend, Decimal(0))


def expires_at(valid_through: date, zone: str) -> datetime:
    """The end of the card's last day."""
    return _midnight(valid_through + timedelta(days=1), zone)


def _midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone))


def _before(day: date) -> date:
    return day - timedelta(days=1)


def _year_before(day: date) -> date:
    """A year ago; of 29 February, 28 February (E11)."""
    return day.replace(year=day.year - 1, day=28) if (day.month, day.day) == (2, 29) else day.replace(year=day.year - 1)


# The month's list


class Expiry(Case):
    """The run of a month: 《XX月到期会员名单》."""

    number_field = "month"
    may_open = OURS

    month: Month
    """When the cards expire: the month after the one in which the list is made."""
    begins_at: Instant
    """When the calendar begins it: its clock runs from there, however late it is opened."""


class Listed(Form):
    """The list is made and archived: how many are on it, how many have earned the waiver and are not. Nobody hands it in."""

    may = OURS

    as_of: Instant
    listed: int
    waived: int


class ExpiryTerms(BaseModel):
    """What a list is made under."""

    waiver: Waiver = Waiver()


class ExpiryPromises(BaseModel):
    listed: Promise
    terms: ExpiryTerms = ExpiryTerms()


class NoIntake(BaseModel):
    """The calendar asks nothing of itself."""


EXPIRY = Process(
    name="expiry",
    case=Expiry,
    intake=NoIntake,
    promises=ExpiryPromises,
    forms=(),
    sent=(Listed,),
    opens=Monthly(day=1),
)


# The round of calls of a region


class ExpiryCalls(Case):
    """All calls of a region and month: one clock, and one word to the manager, for all of them."""

    number_field = "round_no"
    may_open = OURS

    round_no: Code
    month: Month
    region: Region
    begins_at: Instant
    members: int

    @property
    def region_code(self) -> str:
        return self.region


class CallsDone(Form):
    """Every member of the region was called, or need not be called any more. Nobody hands it in."""

    may = OURS


class ExpiryCallsPromises(BaseModel):
    calls_done: Promise


EXPIRY_CALLS = Process(
    name="expiry_calls",
    case=ExpiryCalls,
    intake=NoIntake,
    promises=ExpiryCallsPromises,
    forms=(),
    sent=(CallsDone,),
)


# A member's notice

CallOutcome = Literal[
    "will_renew",
    "will_spend",
    "declined",
    "unreachable",
    "wrong_number",
    "moved",
    "left",
    "card_replaced",
    "renewed_already",
]
FINAL: tuple[CallOutcome, ...] = ("left", "card_replaced", "renewed_already")
"""Nothing is to be waited for; after the others, until the card expires."""
Because = Literal["waiver_reached", "renewed", "left", "card_replaced", "expired"]


class ExpiryNotice(Case):
    """One expiring member. Who he is, his record says: here is an id of ours."""

    number_field = "notice_no"
    may_open = OURS

    notice_no: Code
    month: Month
    member: Code
    store: Code | None = None
    """The card's home store, where the directory knows it."""
    valid_through: date
    begins_at: Instant
    """When the month's run began: the calls are to be done by the end of that month."""
    expires_at: Instant
    purchases: int
    spend: Money
    """Of the year that counts, when the list was made."""

    @property
    def store_code(self) -> str | None:
        return self.store


class Call(Form):
    """How the call ended that told the member of his card's end and of the rule (4.2(2), (3))."""

    outcome: CallOutcome
    told_rule: bool = True
    """Whether he was told what waives the fee, and what he still lacks."""
    comment: Text | None = None

    @property
    def is_final(self) -> bool:
        return self.outcome in FINAL


class Attempt(Form):
    """A call that reached nobody."""

    note: Text | None = None


class Settled(Form):
    """What ended the notice without anybody's doing: a purchase, a change of the card, or its last day. Nobody hands it in."""

    may = OURS

    because: Because


class NoticeTerms(BaseModel):
    """What a notice is opened under. The rule is its list's."""

    attempts: int = 3
    attempt_days: int = 2
    """Before a member counts as unreachable: so many calls on so many days (5.3 E54)."""
    zone: str = "Asia/Shanghai"

    def day(self, instant: datetime) -> date:
        return instant.astimezone(ZoneInfo(self.zone)).date()


class NoticePromises(BaseModel):
    call: Promise
    settled: Promise
    terms: NoticeTerms = NoticeTerms()


EXPIRY_NOTICE = Process(
    name="expiry_notice",
    case=ExpiryNotice,
    intake=NoIntake,
    promises=NoticePromises,
    forms=(Call,),
    acts=(Attempt,),
    sent=(Settled,),
    quiet=True,
)
