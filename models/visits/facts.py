"""What a plan's case, a month's case and a planned visit say (handbook 3.3 F9)."""

from datetime import date
from typing import Literal

from pydantic import BaseModel, Field

from models.forms import Case, Code, Instant, Private, Text
from models.people import Role
from models.visits.months import Month

Purpose = Literal["after_sale", "churned", "care", "survey"]
"""After a sale; who has bought nothing for long; a courtesy; a survey of the market."""
Method = Literal["phone", "sms", "im", "email", "mail", "in_person"]


class PlanIntake(BaseModel):
    """What the door asks of a plan."""

    most_lines: int = Field(gt=0)
    """Of one plan."""


class VisitMonthIntake(BaseModel):
    """What the door asks of a month's case."""


class VisitPlan(Case):
    """A store's plan for a month. The calendar opens it; the instants are those that its clocks run from."""

    number_field = "plan_no"
    may_open = frozenset({Role.SYSTEM})

    plan_no: Code
    """The month and the store: 2027-02-SH01."""
    month: Month
    store: Code
    asked_at: Instant
    """The beginning of the month before; of the month itself for a store that was not active then."""
    begins_at: Instant
    reminded_earlier: int = Field(default=0, ge=0, le=31)
    """Days that the reminder of the plan comes before the policy's, so as to come on a working day."""

    @property
    def store_code(self) -> str | None:
        return self.store


class VisitMonth(Case):
    """All stores' visits of a month, at headquarters."""

    number_field = "month"
    may_open = frozenset({Role.SYSTEM})

    month: Month
    asked_at: Instant
    """The beginning of the month before."""
    over_at: Instant
    """The beginning of the month after."""
    consolidation_reminded_earlier: int = Field(default=0, ge=0, le=31)
    report_reminded_earlier: int = Field(default=0, ge=0, le=31)
    """Days that a reminder comes before the policy's, so as to come on a working day."""


class PlannedVisit(Private):
    """A line of a plan: whom, why, how, when, by whom; what was bought and when (handbook 3.3 F9).

    Who is a member is found by his number, card or phone, and what is left empty of his name and phone is taken from there.
    """

    member_no: Text | None = None
    name: Text | None = None
    phone: Text | None = None
    card_no: Text | None = None
    goods: Text | None = None
    receipt_no: Text | None = None
    purchased_on: date | None = None
    purpose: Purpose
    method: Method = "phone"
    planned_on: date
    caller: Code | None = None
    """Who of the store's staff is to call, or a specialist of headquarters for a sample; whoever hands the plan in, if empty."""
    note: Text | None = None

    @property
    def names_somebody(self) -> bool:
        return any((self.member_no, self.card_no, self.phone)) or self.method in ("mail", "in_person", "email", "im")
