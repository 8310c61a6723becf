"""A complaint that was handled elsewhere before it came here."""

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from models.complaint.facts import Complaint, ComplaintIntake, Reached, Remedy, Span, Yuan
from models.complaint.forms import Callback, Consent, Execution, Reply, Solution
from models.complaint.terms import ComplaintPromises
from models.forms import FieldError, Form, Instant, Text
from models.people import Role
from models.tasks import Past

UNSAID = "（未随文件提供）"
"""The text of a form that was handed in elsewhere and did not come along."""
STANDS_ON = {
    "replied_at": "received_at",
    "proposed_at": "received_at",
    "consented_at": "proposed_at",
    "executed_at": "consented_at",
    "called_back_at": "executed_at",
}
"""Each step of a complaint that headquarters handles, and the one before which it cannot have been."""


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

    def ends_itself(self, case: Complaint) -> bool:
        """A query ends with its reply, what a store has answered with the callback, where nobody's word is wanting (5.2 E29)."""
        if case.kind == "query":
            return self.replied_at is not None
        if not _is_the_stores(case) or self.called_back_at is None:
            return False
        called, store = self._callback(), case.store_handling
        return bool(store and store.supervisor_opinion) and not (called.dissatisfied or called.not_reached)

    def unfit(self, promises: ComplaintPromises, role: Role) -> list[FieldError]:
        """A proposal beyond his authority: whoever may promise it brings it (5.2 E20)."""
        limit = promises.terms.authority.get(role)
        if self.proposed_at is None or limit is None or limit.covers(self._solution()):
            return []
        return [FieldError(field="amount", code="past_beyond_authority")]

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
        if self.called_back_at:
            yield from self._callback().objections(now)
            if self.outcome in ("unreachable", "wrong_number", "rescheduled"):
                yield FieldError(field="outcome", code="past_not_reached")
            if _is_the_stores(case) and not case.can_be_reached:
                yield FieldError(field="customer.phone", code="past_whom_was_called")
        known = {"received_at": case.received_at, **{step: getattr(self, step) for step in STANDS_ON}}
        known["every_step"] = max(at for at in known.values() if at)
        stands_on = {**_steps_of(case), "closed_at": "every_step"}
        for field in (*STANDS_ON, "closed_at"):
            at, before = getattr(self, field), stands_on.get(field)
            if at is None:
                continue
            if before is None:
                yield FieldError(field=field, code="past_is_the_stores" if _is_the_stores(case) else "past_of_no_step")
            elif (then := known[before]) is None:
                yield FieldError(field=before, code="past_step_missing", values={"field": field})
            elif at < then:
                yield FieldError(field=field, code="past_out_of_order", values={"before": before})
            elif at > now:
                yield FieldError(field=field, code="past_in_future")


def _is_the_stores(case: Complaint) -> bool:
    """Whether a store has answered it, and headquarters only calls back: not where the store wants help (5.2 E29)."""
    helped = case.store_handling is not None and case.store_handling.help_wanted
    return case.kind == "complaint" and case.is_the_stores and not helped


def _steps_of(case: Complaint) -> dict[str, str]:
    """The steps that such a case can have had, each with the one before: what is no complaint owes less (5.2 E31)."""
    if case.kind != "complaint":
        return {"replied_at": "received_at"} if case.kind == "query" else {}
    return {"called_back_at": "received_at"} if _is_the_stores(case) else STANDS_ON
