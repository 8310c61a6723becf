"""Complaints: the facts, the forms and the promises of handbook 6.2."""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from models.forms import Bundle, Case, Code, FieldError, Form, Instant, Private, Text
from models.people import Role
from models.tasks import AT_DUE, Past, Process, Promise, Rung

Channel = Literal[
    "phone", "sms", "fax", "email", "im", "oa", "mail", "web", "in_person", "authority", "social", "marketplace"
]
Remedy = Literal["exchange", "return", "refund", "repair", "compensation", "apology", "gift", "information", "other"]
Severity = Literal["ordinary", "serious", "major"]
Department = Literal["merchandise", "brand", "logistics", "training", "administration", "store"]
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
    def about(self) -> str | None:
        return self.about_employee

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
    """The customer's yes or no. Nothing is carried out without a yes; a yes with a wish is none (5.2 E22)."""

    accepted: bool
    wish: Text | None = None

    def objections(self, now: datetime) -> list[FieldError]:
        return [FieldError(field="wish", code="consent_with_wish")] if self.accepted and self.wish else []


class Execution(Form):
    """What was carried out."""

    content: Text


class Attempt(Form):
    """The customer was tried and not reached (3.3 F10). Several, on several days, before a case is closed without him."""

    channel: Channel
    tried_at: Instant | None = None
    note: Text | None = None

    def day(self, zone: str) -> date:
        """The day of the calendar on which it was made."""
        return (self.tried_at or self.at).astimezone(ZoneInfo(zone)).date()

    def objections(self, now: datetime) -> list[FieldError]:
        return [FieldError(field="tried_at", code="past_in_future")] if self.tried_at and self.tried_at > now else []


class Completion(Form):
    """The solution carried out within 48 hours, as the service level has it (1.1, D-3). Nobody hands it in."""

    may = frozenset()


class Callback(Form):
    """The call after the solution was carried out, and how satisfied the customer is (1 worst, 5 best)."""

    outcome: Reached
    satisfaction: Annotated[int, Field(ge=1, le=5)] | None = Field(default=None, validate_default=True)
    comment: Text | None = None
    channel: Channel | None = None

    @property
    def dissatisfied(self) -> bool:
        return self.outcome == "dissatisfied"

    @property
    def not_reached(self) -> bool:
        return self.outcome in ("unreachable", "refused_contact", "wrong_number", "rescheduled")

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


class AskManager(Form):
    """Something the specialist wants the manager to decide. Possible on every case."""

    question: Text


class OutOfAuthority(Form):
    """The complaint is beyond the specialist: the manager decides, and the customer is told when he will be answered (5.2 E20)."""

    reason: Text


class Agreement(Form):
    """When the customer was promised an answer. It is a clock of its own, beside the 24 and the 48 hours."""

    reply_by: Instant
    note: Text | None = None

    def objections(self, now: datetime) -> list[FieldError]:
        return [FieldError(field="reply_by", code="due_in_past")] if self.reply_by <= now else []


class AgreedReply(Form):
    """The answer that was promised for an agreed time."""

    content: Text


class Decision(Form):
    """The manager's word. An approval may bound the amount; a later answer than the 48 hours is allowed by `reply_by`."""

    may = frozenset({Role.MANAGER, Role.DIRECTOR})

    verdict: Literal["approve", "reject", "instruct"]
    instruction: Text | None = None
    department: Department | None = None
    amount_limit: Yuan | None = None
    reply_by: Instant | None = None

    @property
    def approves(self) -> bool:
        return self.verdict == "approve"

    def covers(self, solution: "Solution") -> bool:
        return self.approves and (self.amount_limit is None or solution.amount <= self.amount_limit)

    def objections(self, now: datetime) -> list[FieldError]:
        if self.verdict == "instruct" and self.instruction is None:
            return [FieldError(field="instruction", code="missing")]
        return [FieldError(field="reply_by", code="due_in_past")] if self.reply_by and self.reply_by <= now else []


class Assist(Form):
    """Another department, or another store, is asked. Repeatable, and no clock stops for it (handbook 1.2)."""

    department: Department
    store: Code | None = None
    question: Text

    @property
    def unit(self) -> str:
        return self.store or self.department

    def objections(self, now: datetime) -> list[FieldError]:
        return [FieldError(field="store", code="missing")] if self.department == "store" and not self.store else []


class Answer(Form):
    """What the department, or the other store, says."""

    may = frozenset({Role.CONTACT, Role.STORE, Role.SPECIALIST, Role.MANAGER})

    content: Text


class Refer(Form):
    """An authority or a marketplace has the matter too, with a due time of its own (12315, 12345, a platform)."""

    body: Code
    reference: Code
    due_at: Instant

    def objections(self, now: datetime) -> list[FieldError]:
        return [FieldError(field="due_at", code="due_in_past")] if self.due_at <= now else []


class ExternalReply(Form):
    """What was answered to the authority or the marketplace."""

    content: Text


class Opinion(Form):
    """The region supervisor's word on what a store did (3.3 F8). Through OA it comes along."""

    may = frozenset({Role.SUPERVISOR, Role.MANAGER})

    content: Text


class Supplement(Form):
    """What a store's form lacked. The receipt time stays (5.2 E28)."""

    may = frozenset({Role.STORE, Role.SPECIALIST, Role.MANAGER})

    customer: Customer | None = None
    nothing_more_known: bool = False
    note: Text | None = None

    @property
    def can_be_reached(self) -> bool:
        return self.customer is not None and self.customer.can_be_reached

    def objections(self, now: datetime) -> list[FieldError]:
        return (
            []
            if self.can_be_reached or self.nothing_more_known
            else [FieldError(field="customer", code="contact_needed")]
        )


class Withdraw(Form):
    """The customer has withdrawn the complaint (5.2 E33). The record form is owed all the same."""

    reason: Text


class NoContact(Form):
    """Nobody knows how to reach the customer: no callback is possible (5.2 E32). The record form is owed all the same."""

    reason: Text


class Amend(Form):
    """The store, or the customer, corrects what was handed in (5.2 E27). The receipt time stays, and so do the clocks."""

    may = frozenset({Role.STORE, Role.SPECIALIST, Role.MANAGER})

    content: Text | None = None
    demand: Text | None = None
    customer: Customer | None = None
    goods: Goods | None = None
    severity: Severity | None = None

    def objections(self, now: datetime) -> list[FieldError]:
        said = (self.content, self.demand, self.customer, self.goods, self.severity)
        return [] if any(said) else [FieldError(field="content", code="nothing_amended")]


class Duplicate(Form):
    """The same matter as another case, by another way (5.2 E27): that one goes on, with the shorter clocks of the two."""

    of: Code
    """The case that goes on: its id, or its business number."""

    @property
    def other_case(self) -> str:
        return self.of


class Absorb(Form):
    """What a duplicate leaves to the case that goes on. Nobody types this."""

    may = frozenset()

    case: Code
    due: dict[Code, Instant]


class NoAgreement(Form):
    """No solution was found that the customer takes. He was told of the outside ways: 12315, the consumer association (5.2 E22)."""

    may = frozenset({Role.MANAGER, Role.DIRECTOR})

    reason: Text
    outside_ways_told: Literal[True]


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


class Limit(BaseModel):
    """What a role may promise by itself: up to an amount, of some kinds of remedy."""

    amount: Decimal
    remedies: frozenset[Remedy]

    def covers(self, solution: Solution) -> bool:
        return solution.amount <= self.amount and solution.remedy in self.remedies


def _of_ours(name: str, within: timedelta, *more: Rung) -> Promise:
    """For cases that were opened before the policy had the promise."""
    ladder = (*more, Rung(AT_DUE, Role.MANAGER), Rung(timedelta(hours=24), Role.DIRECTOR))
    return Promise(name=name, within=within, basis="ours", ladder=ladder)


class ComplaintTerms(BaseModel):
    """What a complaint is opened under besides its promises."""

    edition: int = 1
    """The edition of the process a case was opened under: it keeps the steps it began with."""
    authority: dict[Role, Limit] = {}
    """By role; a role that is not named may promise anything."""
    refusals: int = 2
    """So many refused proposals, and the manager decides how it goes on."""
    zone: str = "Asia/Shanghai"
    attempts: int = 3
    attempt_days: int = 2
    """Before a case is closed without reaching the customer: so many attempts, on so many days, on two channels at least."""


class ComplaintPromises(BaseModel):
    """What a complaint is opened under: a promise for each task it may owe, and the terms."""

    reply: Promise
    solution: Promise
    new_solution: Promise
    consent: Promise
    execution: Promise
    callback: Promise
    record: Promise
    completion: Promise = Promise(name="completion", within=timedelta(hours=48), basis="ours", ladder=())
    agreement: Promise = _of_ours("agreement", timedelta(hours=1))
    agreed_reply: Promise = _of_ours("agreed_reply", timedelta(hours=24))
    decision: Promise = _of_ours("decision", timedelta(hours=24))
    answer: Promise = _of_ours("answer", timedelta(hours=24))
    external_reply: Promise = _of_ours("external_reply", timedelta(hours=24))
    opinion: Promise = _of_ours("opinion", timedelta(hours=48))
    supplement: Promise = _of_ours("supplement", timedelta(hours=48))
    sign_off: Promise = _of_ours("sign_off", timedelta(hours=24))
    second_callback: Promise = _of_ours("second_callback", timedelta(days=7))
    terms: ComplaintTerms = ComplaintTerms()


COMPLAINT = Process(
    name="complaint",
    case=Complaint,
    intake=ComplaintIntake,
    promises=ComplaintPromises,
    forms=(
        *(Reply, Solution, Consent, Execution, Callback, Record),
        *(Agreement, AgreedReply, Decision, Answer, ExternalReply, Opinion, Supplement),
    ),
    acts=(
        Solve,
        AskManager,
        OutOfAuthority,
        Assist,
        Refer,
        Attempt,
        Withdraw,
        NoAgreement,
        NoContact,
        Amend,
        Duplicate,
    ),
    sent=(Absorb,),
    past=ComplaintPast,
)
