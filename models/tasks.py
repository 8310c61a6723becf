"""The vocabulary of the desk: submissions and outcomes, a case's past, and what a process is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from models.acts import EVERY_CASE, Closed
from models.calendar import Rhythm
from models.forms import Bundle, Case, FieldError, Form, Instant, Private
from models.people import Role

C = TypeVar("C", bound=Case)
P = TypeVar("P", bound=BaseModel)


class Opened(BaseModel, Generic[C, P]):
    """What a case's workflow starts with: facts (texts hidden), the promises it was opened under, and its opening submission."""

    case: C
    promises: P
    submission: str
    by: str
    role: Role
    at: datetime
    cycle: int = 1
    """Which time the matter is handled: not the first where a customer comes back soon (5.2 E26)."""
    entered_at: datetime | None = None
    """When a case with a past came here; None for one that began here."""
    past: "list[Submission]" = []
    """What was decided before this run began, in order: the past of a case that came with one, all of a rebuilt one."""


class Submission(BaseModel):
    """What a person sent, as the workflow sees it: who, when it was recorded (UTC), which form, texts hidden."""

    id: str
    at: datetime
    by: str
    role: Role
    form: str
    task: str | None = None
    outline: dict[str, Any] = {}


OPENING = "open"
"""The form name of the submission that opens a case."""

REOPENING = "back_again"
"""The form that opens a closed case again: the customer is back (5.2 E26)."""


class Refusal(BaseModel):
    """Why the desk did not take a submission: a code of the catalogue and the values of its sentence."""

    code: str
    values: dict[str, str] = {}


class Outcome(BaseModel):
    """What became of a submission."""

    refused: Refusal | None = None


class Past(Private):
    """What was done with a case before it came here, each step with its instant. What passed then is told to nobody."""

    may_bring: ClassVar[frozenset[Role]] = frozenset({Role.SPECIALIST, Role.MANAGER})

    closed_at: Instant | None = None

    def began_at(self, case: Any) -> datetime:
        """When the case was opened where it came from."""
        raise NotImplementedError

    def steps(self) -> list[tuple[datetime, Form]]:
        """The forms that were handed in there, in the order of the process."""
        raise NotImplementedError

    def ends_itself(self, case: Any) -> bool:
        """Whether the last of its steps ends the case, so that its end is none of its own."""
        return False

    def objections(self, case: Any, intake: Any, now: datetime) -> list[FieldError]:
        """What cannot have been so, of the case's facts or of its past. Empty when the case may enter."""
        raise NotImplementedError

    def unfit(self, promises: Any, role: Role) -> list[FieldError]:
        """What somebody of this role cannot bring, by the promises of the process: the desk would not take it from him."""
        return []

    def told(self, case: Any) -> list[tuple[datetime, Form]]:
        """What to record after the opening: the steps and the end, no two at one instant."""
        end = [(self.closed_at, Closed())] if self.closed_at and not self.ends_itself(case) else []
        steps = [*self.steps(), *end]
        last, told = self.began_at(case), []
        for at, form in sorted(steps, key=lambda step: step[0]):
            last = max(at, last + timedelta.resolution)
            told.append((last, form))
        return told


@dataclass(frozen=True)
class Process:
    """One process of the handbook, as the doors need to know it. Its policy section bears its name."""

    name: str
    case: type[Case]
    intake: type[BaseModel]
    promises: type[BaseModel]
    forms: tuple[type[Form], ...]
    acts: tuple[type[Form], ...] = ()
    past: type[Past] | None = None
    sent: tuple[type[Form], ...] = ()
    """What only another case hands in."""
    quiet: bool = False
    """Its owners hear of a new case as part of something else: a list, a round."""
    opens: Rhythm | None = None
    """When the calendar opens cases by itself; which, `starter/calendar/openings.py` says."""

    renamed: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False)
    """Forms that had another name: the old one, a field that tells it, the new one. Cases recorded before still run."""

    def name_now(self, form: str, outline: Mapping[str, Any]) -> str:
        """The name of a form that was sent, maybe by an earlier release."""
        told, now = self.renamed.get(form, ("", form))
        return now if told in outline else form

    def key_now(self, task: str) -> str:
        """The key of a task that was named, maybe in an earlier release."""
        form, dash, nth = task.partition("-")
        is_one = form not in self.renamed or form in {known.form for known in self.forms}
        return task if is_one else self.renamed[form][1] + dash + nth

    @property
    def submittable(self) -> dict[str, type[Form]]:
        """Every form and act somebody may send to a case of this process, by name."""
        return {form.form: form for form in (*self.forms, *self.acts, *EVERY_CASE)}

    @property
    def recordable(self) -> dict[str, type[Form]]:
        """What a desk may be given: that, and what only a past holds."""
        unseen: tuple[type[Form], ...] = (*self.sent, Closed)
        return {**self.submittable, **{form.form: form for form in unseen}}

    def form_of(self, submission: Submission) -> Form | None:
        """What was sent, by the name its form has now; None where there is no such form."""
        model = self.recordable.get(self.name_now(submission.form, submission.outline))
        return model.model_validate(submission.outline, extra="ignore") if model else None

    def is_act(self, form: Form) -> bool:
        """Whether it is about the case, not one of its tasks."""
        return type(form) in (*self.acts, *self.sent) and not isinstance(form, Bundle)
