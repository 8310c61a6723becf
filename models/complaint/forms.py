"""What is handed in while a complaint is handled (handbook 6.2, 5.2)."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AliasChoices,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WrapSerializer,
    field_validator,
)
from pydantic_core import PydanticCustomError

from models.complaint.facts import (
    Channel,
    Complaint,
    ComplaintIntake,
    Customer,
    Department,
    Goods,
    Kind,
    Reached,
    Remedy,
    Severity,
    Span,
    StoreHandling,
    Yuan,
)
from models.forms import LEDGER, Bundle, Code, FieldError, Form, Instant, Private, Text
from models.library import EntryText
from models.people import Role


class Spoken(Form):
    """What the customer is told. Where no letter takes it to him: who told him, when, and over what."""

    told_by: Code | None = None
    told_at: Instant | None = None
    channel: Channel | None = None


class Reply(Spoken):
    """The first answer to the customer, within 24 hours of receipt."""

    content: Text


class Solution(Spoken):
    """What is proposed to the customer: steps, time, effect (handbook 6.2, principle 5). `duration` is the span promised to carry it out."""

    steps: Text
    duration: Span | None = None
    effect: Text
    amount: Yuan = Decimal(0)
    remedy: Remedy


class Consent(Form):
    """The customer's yes or no. Nothing is carried out without a yes; a yes with a wish, or a demand, is none (5.2 E22)."""

    accepted: bool
    wish: Text | None = None
    demand_amount: Yuan | None = None
    demand_remedy: Remedy | None = None
    """What of his wish can be reckoned with: where it is beyond the specialist, the manager decides (5.2 E22)."""

    def objections(self, now: datetime) -> list[FieldError]:
        said = {"wish": self.wish, "demand_amount": self.demand_amount, "demand_remedy": self.demand_remedy}
        wanted = [field for field, what in said.items() if what is not None]
        return [FieldError(field=field, code="consent_with_wish") for field in wanted] if self.accepted else []


class Execution(Form):
    """What was carried out."""

    content: Text


class Attempt(Form):
    """The customer was tried and not reached (3.3 F10). Several, on several days, before a case is closed without him."""

    channel: Channel
    tried_at: Instant | None = None
    note: Text | None = None

    @property
    def made_at(self) -> datetime:
        return self.tried_at or self.at

    def day(self, zone: str) -> date:
        """The day of the calendar on which it was made."""
        return self.made_at.astimezone(ZoneInfo(zone)).date()

    def objections(self, now: datetime) -> list[FieldError]:
        return [FieldError(field="tried_at", code="past_in_future")] if self.tried_at and self.tried_at > now else []


class Completion(Form):
    """The solution carried out within 48 hours, as the service level has it (1.1, D-3). Nobody hands it in."""

    may = frozenset()


class SurveyAnswer(Private):
    """What the customer said to one question of the survey, in the way it asks for."""

    question: Code
    score: Annotated[int, Field(ge=1, le=5)] | None = None
    yes: bool | None = None
    text: Text | None = None

    @property
    def way(self) -> str | None:
        """How it is answered; None where it is in several ways, or in none."""
        said = {"score": self.score, "yes_no": self.yes, "text": self.text}
        ways = [way for way, what in said.items() if what is not None]
        return ways[0] if len(ways) == 1 else None


class Callback(Form):
    """The call after the solution was carried out, and how satisfied the customer is (1 worst, 5 best)."""

    outcome: Reached
    satisfaction: Annotated[int, Field(ge=1, le=5)] | None = Field(default=None, validate_default=True)
    comment: Text | None = None
    channel: Channel | None = None
    survey: tuple[SurveyAnswer, ...] | None = None

    def objections(self, now: datetime) -> list[FieldError]:
        said = {"satisfaction": self.satisfaction, "survey": self.survey}
        return [
            FieldError(field=field, code="satisfaction_unreached")
            for field, answer in said.items()
            if self.not_reached and answer
        ]

    def unfit(self, promises: Any) -> list[FieldError]:
        """The survey is the one of the policy that the case was opened under; what it requires is asked of whoever is reached."""
        questions = {question.code: question for question in promises.terms.survey}
        answers = self.survey or ()
        asked = [answer.question for answer in answers]
        known = {"known": ", ".join(questions)}
        wrong = [
            FieldError(field=f"survey.{n}.question", code="unknown_question", values=known)
            if answer.question not in questions
            else FieldError(field=f"survey.{n}.question", code="asked_twice")
            if answer.question in asked[:n]
            else FieldError(field=f"survey.{n}", code=f"answer_by_{questions[answer.question].way}")
            for n, answer in enumerate(answers)
            if answer.question not in questions
            or answer.question in asked[:n]
            or answer.way != questions[answer.question].way
        ]
        required = [] if self.not_reached else [code for code, asks in questions.items() if asks.required]
        missing = [code for code in required if code not in asked]
        lacks = FieldError(field="survey", code="survey_lacks", values={"questions": ", ".join(missing)})
        return [*wrong, *([lacks] if missing else [])]

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


def _in_ledger_alone(entry: Any, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    return write(entry) if info.context == LEDGER else None


class Record(Form):
    """《顾客投诉意见处理表》 (CS department): what was found, who is responsible, what is learnt; and what others may learn (3.4)."""

    finding: Text
    responsible: Text | None = None
    lesson: Text | None = None
    entry: Annotated[EntryText | None, WrapSerializer(_in_ledger_alone)] = None
    """Goes into the case library, and is kept there alone: the desk never sees it."""

    def filed(self) -> Self:
        return self.model_copy(update={"entry": None})


class AskManager(Form):
    """Something the specialist wants the manager to decide. Possible on every case."""

    question: Text


class OutOfAuthority(Form):
    """The complaint is beyond the specialist: the manager decides, and the customer is told when he will be answered (5.2 E20)."""

    reason: Text


class Agreement(Form):
    """When the customer was promised an answer. It is a clock of its own, beside the 24 and the 48 hours."""

    reply_at: Instant = Field(validation_alias=AliasChoices("reply_at", "reply_by"))  # its name in the first releases
    evidence: Text | None = Field(default=None, validation_alias=AliasChoices("evidence", "note"))
    """How the customer agreed: a call, a message."""

    def objections(self, now: datetime) -> list[FieldError]:
        return [FieldError(field="reply_at", code="due_in_past")] if self.reply_at <= now else []


class AgreedReply(Spoken):
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

    def covers(self, amount: Decimal) -> bool:
        return self.approves and (self.amount_limit is None or amount <= self.amount_limit)

    def objections(self, now: datetime) -> list[FieldError]:
        if self.verdict == "instruct" and self.instruction is None:
            return [FieldError(field="instruction", code="missing")]
        return [FieldError(field="reply_by", code="due_in_past")] if self.reply_by and self.reply_by <= now else []


class AskDepartment(Form):
    """Another department, or another store, is asked. Repeatable, and no clock stops for it (handbook 1.2)."""

    department: Department
    store: Code | None = None
    question: Text

    @property
    def store_named(self) -> Code | None:
        return self.store

    @property
    def unit(self) -> str:
        return self.store or self.department

    def objections(self, now: datetime) -> list[FieldError]:
        return [FieldError(field="store", code="missing")] if self.department == "store" and not self.store else []


class Assist(Form):
    """What the department, or the other store, says."""

    may = frozenset({Role.CONTACT, Role.STORE, Role.SPECIALIST, Role.MANAGER})

    answer: Text = Field(validation_alias=AliasChoices("answer", "content"))  # its name in the first releases


class SignOff(Form):
    """The manager's eye on what is closed without the customer: nobody was reached, or it was no complaint at all."""

    may = frozenset({Role.MANAGER, Role.DIRECTOR})

    approved: bool
    note: Text | None = None

    @property
    def approves(self) -> bool:
        return self.approved


class Reclassify(Form):
    """It is of another kind than it was taken for (5.2 E31). The clocks of that kind run from receipt, whatever passed."""

    kind: Kind | Literal["junk"]
    reason: Text


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
    category: Code | None = None
    about_employee: Code | None = None

    @property
    def can_be_reached(self) -> bool:
        return self.customer is not None and self.customer.can_be_reached

    def unknown(self, intake: ComplaintIntake) -> list[FieldError]:
        return intake.unknown(self.category)

    def objections(self, now: datetime) -> list[FieldError]:
        said = (self.content, self.demand, self.customer, self.goods, self.severity, self.category, self.about_employee)
        return [] if any(said) else [FieldError(field="content", code="nothing_amended")]


class BackAgain(Amend):
    """The customer is back with a matter that was closed lately: its case is opened again (5.2 E26). What is said of him and of
    the goods is so from now on; the content is the new matter. Where a store's system sends it as a form with a number of
    its own and the case's as `earlier`, that number leads to this case."""

    content: Text
    channel: Channel | None = None
    received_at: Instant | None = None
    """When he came back; when it is recorded, where nothing is said. The new clocks run from it."""
    received_by: Code | None = None
    kind: Kind | None = None
    """What it is taken for now; None for what it was."""
    purchased_on: date | None = None
    store_handling: StoreHandling | None = None
    form_no: Code | None = None

    @classmethod
    def of(cls, facts: Complaint) -> Self:
        """What a complaint says that names this one as earlier. An ordinary one says nothing of how grave the matter was before."""
        said = {name: value for name, value in facts if name in cls.model_fields}
        return cls(**said | {"severity": facts.severity if facts.severity != "ordinary" else None})

    @property
    def came_at(self) -> datetime:
        return self.received_at or self.at


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
