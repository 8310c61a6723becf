"""A complaint as it was received (handbook 3.3 F7, F8)."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticKnownError

from models.forms import Case, Code, FieldError, Instant, Private, Text

Channel = Literal[
    "phone", "sms", "fax", "email", "im", "oa", "mail", "web", "in_person", "authority", "social", "marketplace"
]
Remedy = Literal["exchange", "return", "refund", "repair", "compensation", "apology", "gift", "information", "other"]
Kind = Literal["complaint", "suggestion", "query", "praise"]
Severity = Literal["ordinary", "serious", "major"]
Department = Literal["merchandise", "brand", "logistics", "training", "administration", "personnel", "store"]
Reached = Literal[
    "satisfied", "partly_satisfied", "dissatisfied", "unreachable", "refused_contact", "wrong_number", "rescheduled"
]


def _small_enough(amount: Decimal) -> Decimal:
    if int(amount.as_tuple().exponent) > 12:  # a zero of any exponent has few digits
        raise PydanticKnownError("decimal_max_digits", {"max_digits": 12})
    return amount


Yuan = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2), AfterValidator(_small_enough)]
Span = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=366))]


class Customer(Private):
    """The complainant, as far as known. May be empty."""

    name: Text | None = None
    phone: Text | None = None
    email: Text | None = None
    im: Text | None = None
    fax: Text | None = None
    address: Text | None = None
    company: Text | None = None
    preferred_time: Text | None = None
    """When he would like to be called."""
    card_no: Text | None = None

    @property
    def can_be_reached(self) -> bool:
        return any((self.phone, self.email, self.im, self.fax, self.address))


class Goods(Private):
    """What was bought (handbook 3.3 F7)."""

    style_no: Code | None = None
    colour: Text | None = None
    size: Text | None = None
    batch: Code | None = None
    receipt_no: Text | None = None
    price: Yuan | None = None


class StoreHandling(Private):
    """What the store did before headquarters heard of it (handbook 3.3 F8)."""

    reply: Text | None = None
    solution: Text | None = None
    by: Code | None = None
    supervisor_opinion: Text | None = None
    help_wanted: bool = False

    @property
    def is_told(self) -> bool:
        """Whether it says what the store did, or that it wants help."""
        return self.help_wanted or bool(self.reply or self.solution)


class ComplaintIntake(BaseModel):
    """What the door asks of a receipt."""

    oldest_receipt: timedelta | None
    """None where any age will do: for history."""
    clocks_differ: timedelta
    back_again: timedelta = timedelta(days=30)
    """Whose customer comes back so soon after it was closed is opened again (5.2 E26); later, it is a new matter."""
    categories: dict[str, tuple[str, ...]] = {}
    """What complaints are about, in two levels. Any will do where none are named."""

    def knows(self, category: str) -> bool:
        first, slash, second = category.partition("/")
        return not self.categories or (first in self.categories and (not slash or second in self.categories[first]))

    def unknown(self, category: str | None) -> list[FieldError]:
        """What speaks against a category: that there is none of the name, and which there are."""
        if category is None or self.knows(category):
            return []
        known = " ".join(
            f"{first}（{'、'.join(second)}）" if second else first for first, second in self.categories.items()
        )
        return [FieldError(field="category", code="unknown_category", values={"known": known})]


class Complaint(Case):
    """A complaint as it was received (handbook 3.3 F7). `received_at` starts its clocks, however late it is typed."""

    number_field = "form_no"

    form_no: Code
    kind: Kind
    channel: Channel
    received_at: Instant
    received_by: Code | None = None
    origin: Literal["direct", "store"] = "direct"
    store: Code | None = None
    category: Code | None = None
    content: Text
    demand: Text | None = None
    severity: Severity = "ordinary"
    customer: Customer
    goods: Goods | None = None
    purchased_on: date | None = None
    about_employee: Code | None = None
    earlier: Code | None = None
    """The number of a case that this customer comes back with (5.2 E26)."""
    store_handling: StoreHandling | None = None

    @property
    def store_code(self) -> str | None:
        return self.store

    @property
    def taken_for(self) -> str:
        return self.kind

    @property
    def about(self) -> str | None:
        return self.about_employee

    @property
    def earlier_case(self) -> str | None:
        return self.earlier

    @property
    def is_the_stores(self) -> bool:
        """Whether the store has answered the customer itself, and headquarters only calls back (3.3 F8)."""
        return self.origin == "store"

    @property
    def is_major(self) -> bool:
        return self.severity == "major"

    @property
    def can_be_reached(self) -> bool:
        """Whether it says how to reach the customer (5.2 E32)."""
        return self.customer.can_be_reached

    def objections(self, intake: "ComplaintIntake", now: datetime) -> list[FieldError]:
        if self.is_the_stores and self.store is None:
            return [FieldError(field="store", code="missing")]
        if self.is_the_stores and not (self.store_handling and self.store_handling.is_told):
            return [FieldError(field="store_handling", code="store_handling_needed")]
        if unknown := intake.unknown(self.category):
            return unknown
        if self.received_at > now + intake.clocks_differ:
            return [FieldError(field="received_at", code="received_in_future")]
        if intake.oldest_receipt and self.received_at < now - intake.oldest_receipt:
            return [
                FieldError(
                    field="received_at", code="received_too_long_ago", values={"days": str(intake.oldest_receipt.days)}
                )
            ]
        return []
