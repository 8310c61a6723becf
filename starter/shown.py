"""What a screen shows of a case: facts, tasks and clocks with their reasons, what happened, a notice."""

from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel

from models.people import Role
from models.tasks import REOPENING


class RungView(BaseModel):
    """A step of a task's ladder. `offset` is counted from the due time."""

    rung: int
    generation: int
    offset: timedelta
    role: Role
    person: str | None
    planned_at: datetime
    fired_at: datetime | None
    passed: bool
    system_was_late: bool
    delivered_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    climbs_at: datetime | None
    """When the next in line hears, unless somebody acknowledges before."""
    hops: int
    """How often it has climbed."""


class TaskView(BaseModel):
    """A form somebody owes. `due_because` says why it is due when it is; `possible` is false while `after` is missing."""

    case: str
    process: str
    number: str
    store: str | None
    task: str
    form: str
    state: Literal["open", "done", "withdrawn"]
    owner_role: Role
    owner: str
    due_at: datetime
    due_because: dict[str, Any]
    overdue: bool
    done_at: datetime | None
    done_by: str | None
    by_itself: bool
    """Nobody hands it in: it is met by other forms."""
    possible: bool
    after: str | None
    rungs: list[RungView]


class TimelineEntry(BaseModel):
    """Something that happened: who did it, who was told. `content` is what the person sent, for those who may read it; what a
    case was opened with stands at its opening where some of it was corrected since, else in its facts alone."""

    at: datetime
    kind: str
    task: str | None
    by: str | None
    role: str | None
    told: list[str]
    late: timedelta | None
    """How long after its due time a task was done."""
    submission: str | None
    form: str | None
    content: dict[str, Any] | None
    data: dict[str, Any]


class SubmissionView(BaseModel):
    """A submission and what became of it."""

    submission: str
    case: str
    form: str
    task: str | None
    by: str
    role: str
    scope: str
    """Whose the case is: its store, or its region; `all` of the chain."""
    recorded_at: datetime
    state: Literal["pending", "decided", "refused"]
    refusal: dict[str, Any] | None
    content: dict[str, Any] | None


class CaseSummary(BaseModel):
    """A case in a list: nothing about the customer."""

    case: str
    process: str
    number: str
    state: Literal["open", "archived"]
    cycle: int
    kind: str | None
    """What it is taken for now, where the cases of its process are of several kinds."""
    store: str | None
    region: str | None
    opened_at: datetime
    due_at: datetime | None
    closed_at: datetime | None
    closed_because: str | None
    processing: bool
    """Something was sent that is not decided yet."""


class QuestionView(BaseModel):
    """A question to ask the customer at the callback; `way` is how it is answered: score, yes_no, text."""

    code: str
    zh: str
    en: str
    way: str
    required: bool


class CaseView(CaseSummary):
    """A whole case."""

    also_numbered: list[str]
    """Further business numbers that lead to it: of papers with which its customer came back."""
    facts: dict[str, Any] | None
    """What is so by now: what it was opened with, and over it what was corrected and supplied since; what the reader may read."""
    corrected: list[str]
    """The fields of it, dotted, that say otherwise than the opening did, or that it left open. The timeline has what stood there
    before, and who corrected it."""
    tasks: list[TaskView]
    timeline: list[TimelineEntry]
    survey: list[QuestionView]
    """The questions of the policy that the case was opened under, where its process has any."""
    pending: list[SubmissionView]

    @property
    def returns(self) -> list[TimelineEntry]:
        """Each time its customer came back with what was closed, and what he said."""
        came = (entry for entry in self.timeline if entry.form == REOPENING and entry.content is not None)
        return list({entry.submission: entry for entry in came}.values())


class NoticeView(BaseModel):
    """One line of a person's inbox."""

    id: int
    what: str
    text: str
    """What it says, in the reader's language; nothing about the customer, and a member masked."""
    case: str | None
    """None where it is about the desk itself."""
    task: str | None
    submission: str | None
    """The submission it is about: a refused one can be read again, to correct it."""
    answer: str | None = None
    """Where who is asked answers, on a page: what follows the address of this desk. Whoever has it can answer."""
    created_at: datetime
