"""Complaints: the facts, the forms and the promises of handbook 6.2."""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from models.forms import Bundle, Case, Code, FieldError, Form, Instant, Private, Text
from models.tasks import Past, Process, Promise

Channel = Literal[
    "phone", "sms", "fax", "email", "im", "oa", "mail", "web", "in_person", "authority", "social", "marketplace"
]
Remedy = Literal["exchange", "return", "refund", "repair", "compensation", "apology", "gift", "information", "other"]
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
    card_no: Text | None = None


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


class Complaint(Case):
    """A complaint as it was received (handbook 3.3 F7). `received_at` starts its clocks, however late it is typed."""

    number_field = "form_no"

    form_no: Code
    kind: Literal["complaint", "suggestion", "query", "praise"]
    channel: Channel
    received_at: Instant
    received_by: Code | None = None
    origin: Literal["direct", "store"] = "direct"
    store: Code | None = None
    category: Code | None = None
    content: Text
    demand: Text | None = None
    severity: Literal["ordinary", "serious", "major"] = "ordinary"
    customer: Customer
    goods: Goods | None = None
    purchased_on: date | None = None
    about_employee: Code | None = None
    store_handling: StoreHandling | None = None

    @property
    def store_code(self) -> str | None:
        return self.store

    def objections(self, intake: "ComplaintIntake", now: datetime) -> list[FieldError]:
        if self.origin == "store":
            return [FieldError(field="origin", code="store_complaint_not_yet")]
        if self.received_at > now + intake.clocks_differ:
            return [FieldError(field="received_at", code="received_in_future")]
        if intake.oldest_receipt and self.received_at < now - intake.oldest_receipt:
            return [
                FieldError(
                    field="received_at", code="received_too_long_ago", values={"days": str(intake.oldest_receipt.days)}
                )
            ]
        return []


class Reply(Form):
    """The first answer to the customer, within 24 hours of receipt."""

    content: Text


class Solution(Form):
    """What is proposed to the customer: steps, time, effect (handbook 6.2, principle 5). `duration` is the span promised to carry it out."""

    steps: Text
    duration: Span | None = None
    effect: Text
    amount: Yuan = Decimal(0)
    remedy: Remedy


class Consent(Form):
    """The customer's yes or no. Nothing is carried out without a yes."""

    accepted: bool
    wish: Text | None = None


class Execution(Form):
    """What was carried out."""

    content: Text


class Callback(Form):
    """The call after the solution was carried out, and how satisfied the customer is (1 worst, 5 best)."""

    outcome: Reached
    satisfaction: Annotated[int, Field(ge=1, le=5)] | None = Field(default=None, validate_default=True)
    comment: Text | None = None
    channel: Channel | None = None

    @field_validator("satisfaction")
    @classmethod
    def _is_said_when_reached(cls, satisfaction: int | None, info: ValidationInfo) -> int | None:
        if satisfaction is None and info.data.get("outcome") in ("satisfied", "partly_satisfied", "dissatisfied"):
            raise PydanticCustomError("satisfaction_needed", "say how satisfied, 1 to 5, when the customer was reached")
        return satisfaction


class Record(Form):
    """《顾客投诉意见处理表》 (CS department): what was found, who is responsible, what is learnt."""

    finding: Text
    responsible: Text | None = None
    lesson: Text | None = None


class Solve(Bundle):
    """Solved on the line (handbook 6.2(1)): reply, solution, consent and execution in one."""

    reply: Text | None = None
    steps: Text
    effect: Text
    amount: Yuan = Decimal(0)
    remedy: Remedy
    execution: Text

    def now(self) -> list[Form]:
        solution = Solution(steps=self.steps, effect=self.effect, amount=self.amount, remedy=self.remedy)
        return [Reply(content=self.reply), solution] if self.reply else [solution]

    def then(self) -> list[Form]:
        return [Consent(accepted=True), Execution(content=self.execution)]


UNSAID = "（未随文件提供）"
"""The text of a form that was handed in elsewhere and did not come along."""


class ComplaintPast(Past):
    """How far a complaint had come before it came here, and what is known of it."""

    replied_at: Instant | None = None
    reply: Text = UNSAID
    proposed_at: Instant | None = None
    proposal: Text = UNSAID
    effect: Text = UNSAID
    amount: Yuan = Decimal(0)
    remedy: Remedy = "other"
    duration: Span | None = None
    consented_at: Instant | None = None
    executed_at: Instant | None = None
    execution: Text = UNSAID
    called_back_at: Instant | None = None
    outcome: Reached | None = None
    satisfaction: Annotated[int, Field(ge=1, le=5)] | None = None
    comment: Text | None = None

    def began_at(self, case: Complaint) -> datetime:
        return case.received_at

    def steps(self) -> list[tuple[datetime, Form]]:
        """What is there; of two steps at one instant, the earlier of the process comes first."""
        steps: list[tuple[datetime | None, Callable[[], Form]]] = [
            (self.replied_at, lambda: Reply(content=self.reply)),
            (self.proposed_at, self._solution),
            (self.consented_at, lambda: Consent(accepted=True)),
            (self.executed_at, lambda: Execution(content=self.execution)),
            (self.called_back_at, self._callback),
        ]
        return [(at, form()) for at, form in steps if at]

    def _solution(self) -> Solution:
        return Solution(
            steps=self.proposal, duration=self.duration, effect=self.effect, amount=self.amount, remedy=self.remedy
        )

    def _callback(self) -> Callback:
        return Callback.model_validate(
            {"outcome": self.outcome, "satisfaction": self.satisfaction, "comment": self.comment}
        )

    @model_validator(mode="after")
    def _callback_says_how_it_went(self) -> Self:
        if self.called_back_at and self.outcome is None:
            raise PydanticCustomError("outcome_needed", "say how the callback went")
        if self.called_back_at:
            self._callback()
        return self

    def objections(self, case: Complaint, intake: "ComplaintIntake", now: datetime) -> list[FieldError]:
        """Each step lies after the one it stands on, and none in the future. A closed case may be of any age."""
        if self.closed_at:
            intake = intake.model_copy(update={"oldest_receipt": None})
        return [*case.objections(intake, now), *self._impossible(case, now)]

    def _impossible(self, case: Complaint, now: datetime) -> Iterator[FieldError]:
        latest = max([case.received_at, *(at for at, _ in self.steps())])
        for field, at, before, then in (
            ("replied_at", self.replied_at, "received_at", case.received_at),
            ("proposed_at", self.proposed_at, "received_at", case.received_at),
            ("consented_at", self.consented_at, "proposed_at", self.proposed_at),
            ("executed_at", self.executed_at, "consented_at", self.consented_at),
            ("called_back_at", self.called_back_at, "executed_at", self.executed_at),
            ("closed_at", self.closed_at, "every_step", latest),
        ):
            if at and then is None:
                yield FieldError(field=before, code="past_step_missing", values={"field": field})
            elif at and then and at < then:
                yield FieldError(field=field, code="past_out_of_order", values={"before": before})
            elif at and at > now:
                yield FieldError(field=field, code="past_in_future")


class ComplaintIntake(BaseModel):
    """What the door asks of a receipt."""

    oldest_receipt: timedelta | None
    """None where any age will do: for history."""
    clocks_differ: timedelta


class ComplaintPromises(BaseModel):
    """One promise for each task a complaint may owe."""

    reply: Promise
    solution: Promise
    new_solution: Promise
    consent: Promise
    execution: Promise
    callback: Promise
    record: Promise


COMPLAINT = Process(
    name="complaint",
    case=Complaint,
    intake=ComplaintIntake,
    promises=ComplaintPromises,
    forms=(Reply, Solution, Consent, Execution, Callback, Record),
    acts=(Solve,),
    past=ComplaintPast,
)
