"""The vocabulary of the desk: promises and ladders, submissions and outcomes, and the entries that go into the ledger."""

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.calendar import Rhythm
from models.forms import Case, Code, FieldError, Form, Instant, Private, Text
from models.people import Role

AT_DUE = timedelta(0)
FURTHEST = timedelta(days=366)
"""No due time is set later than this from now; a mistyped year would silence a task for good."""


class Rung(NamedTuple):
    """One step of a ladder: this long after the due time (before it, when negative), this role hears."""

    after: timedelta
    tell: Role
    acknowledge: timedelta | None = None
    """So much of his duty whoever hears of a breach has, to say that he has heard; then the next in line hears. None: nobody else does."""

    @property
    def is_reminder(self) -> bool:
        return self.after < AT_DUE


_CALENDAR = re.compile(
    r"(?:day (?P<day>\d{1,2})|last day|\+(?P<days>\d{1,3}) days?) (?P<hour>\d\d):(?P<minute>[0-5]\d)"
)


class CalendarTime(NamedTuple):
    """A time of the calendar, counted from the month or the day of an anchor: `day 28 18:00`, `last day 24:00`, `+1 day 24:00`.

    A day that a month does not have is its last one (handbook D-9); 24:00 is the end of the day.
    """

    day: int | None
    days: int | None
    at: timedelta

    @classmethod
    def read(cls, text: str) -> "CalendarTime":
        """ValueError where it is none."""
        said = _CALENDAR.fullmatch(text)
        at = said and timedelta(hours=int(said["hour"]), minutes=int(said["minute"]))
        if not said or not at or at > timedelta(days=1) or (said["day"] and not 1 <= int(said["day"]) <= 31):
            raise ValueError("must be like `day 28 18:00`, `last day 24:00` or `+1 day 24:00`")
        day = int(said["day"]) if said["day"] else None if said["days"] else 31
        return cls(day, int(said["days"]) if said["days"] else None, at)

    def after(self, anchor: datetime, zone: str) -> datetime:
        """The instant (UTC) it means for an anchor, in the anchor's own month or so many days after its day."""
        here = anchor.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.days is not None:
            midnight = here + timedelta(days=self.days)
        else:
            assert self.day is not None
            midnight = here.replace(day=min(self.day, monthrange(here.year, here.month)[1]))
        return (midnight + self.at).astimezone(UTC)


class Promise(BaseModel):
    """How long a task may take, elapsed from its anchor, or until which time of the calendar; and who hears when.

    A number of the policy, frozen into the case. Exactly one of `within` and `by` is said.
    """

    model_config = ConfigDict(frozen=True)
    name: str
    within: timedelta | None = Field(default=None, gt=AT_DUE)
    by: str | None = None
    """A `CalendarTime`."""
    zone: str = "Asia/Shanghai"
    """Whose calendar `by` speaks of."""
    ladder: tuple[Rung, ...]
    """Empty where lateness is shown and reckoned, and told to nobody."""
    basis: str
    """The handbook's section, or "ours"."""

    @field_validator("ladder")
    @classmethod
    def _climbs_and_somebody_hears(cls, ladder: tuple[Rung, ...]) -> tuple[Rung, ...]:
        if any(later.after <= earlier.after for earlier, later in pairwise(ladder)):
            raise ValueError("the rungs of a ladder must climb: each later than the one before")
        if ladder and all(rung.is_reminder for rung in ladder):
            raise ValueError("a ladder needs a rung at or after the due time: somebody must hear that it passed")
        return ladder

    @model_validator(mode="after")
    def _says_until_when(self) -> Self:
        if (self.within is None) == (self.by is None):
            raise ValueError("say either `within` or `by`")
        if self.by is not None:
            CalendarTime.read(self.by)
        return self

    def due(self, since: datetime) -> datetime:
        if self.within is not None:
            return since + self.within
        assert self.by is not None
        return CalendarTime.read(self.by).after(since, self.zone)

    def lasting(self, span: timedelta | None) -> Self:
        """The same ladder over the span somebody promised, or over the policy's own where nobody did."""
        return (
            self
            if span is None
            else self.model_copy(update={"within": span, "by": None, "basis": "promised to the customer"})
        )


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


class Refusal(BaseModel):
    """Why the desk did not take a submission: a code of the catalogue and the values of its sentence."""

    code: str
    values: dict[str, str] = {}


class Outcome(BaseModel):
    """What became of a submission."""

    refused: Refusal | None = None


class Extend(Form):
    """Move a task's due time later, with a reason."""

    may = frozenset({Role.MANAGER})

    task: Code
    due_at: Instant
    reason: Text

    def objections(self, now: datetime) -> list[FieldError]:
        if self.due_at <= now:
            return [FieldError(field="due_at", code="due_in_past")]
        if self.due_at > now + FURTHEST:
            return [FieldError(field="due_at", code="due_too_far", values={"days": str(FURTHEST.days)})]
        return []


class Reassign(Form):
    """Give a task to another person, with a reason. Its clock runs on."""

    may = frozenset({Role.MANAGER})

    task: Code
    person: Code
    reason: Text


class HandOver(Form):
    """A task offered to a colleague by whoever owns it. It stays the owner's until the other accepts; its clock runs on."""

    may = frozenset({Role.SPECIALIST, Role.MANAGER, Role.SUPERVISOR, Role.CONTACT})

    task: Code
    person: Code
    note: Text


class Accept(Form):
    """I take the task that was offered to me."""

    may = HandOver.may

    task: Code


class Acknowledge(Form):
    """I have heard, and see to it: nobody else need hear before the next rung of the ladder (handbook D-12)."""

    may = frozenset(Role) - {Role.OWNER, Role.SYSTEM, Role.ADMINISTRATOR}

    rung: Code
    """The task that is overdue, or the very rung of it: `reply`, `reply/0/1`."""
    comment: Text | None = None

    @property
    def task(self) -> str:
        return self.rung.partition("/")[0]


class Closed(Form):
    """The case was closed before it came here. Nobody hands this in: it is the end of a past."""

    may = frozenset()


EVERY_CASE: tuple[type[Form], ...] = (Extend, Reassign, HandOver, Accept, Acknowledge)
"""The acts every process takes, each about one task."""
EveryCase = Extend | Reassign | HandOver | Accept | Acknowledge


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

    def objections(self, case: Any, intake: Any, now: datetime) -> list[FieldError]:
        """What cannot have been so, of the case's facts or of its past. Empty when the case may enter."""
        raise NotImplementedError

    def told(self, case: Any) -> list[tuple[datetime, Form]]:
        """What to record after the opening: the steps and the end, no two at one instant."""
        steps = [*self.steps(), *([(self.closed_at, Closed())] if self.closed_at else [])]
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


# What the desk tells the ledger. `key` says what an entry is: the first one written under a key wins.


class Change(BaseModel):
    """An agreed change of a due time. The reason is in the submission."""

    due_before: datetime
    due_at: datetime
    by: str
    submission: str


class Because(BaseModel):
    """Why a due time is where it is."""

    promise: str
    basis: str
    anchor: str
    """What the clock runs from: an instant of the case (`received_at`), or the form whose recording started it."""
    anchored_at: datetime
    within: timedelta | None = None
    by: str | None = None
    """The time of the calendar that was promised, in place of a span."""
    counted: Literal["elapsed", "calendar"] = "elapsed"
    changes: list[Change] = []


class Armed(BaseModel):
    """A rung that lies ahead."""

    rung: int
    after: timedelta
    tell: Role
    planned_at: datetime


class Entry(BaseModel):
    """Something that happened in a case, at the recording of the submission that caused it."""

    at: datetime
    submission: str
    by: str
    role: Role


class CaseOpened(Entry):
    kind: Literal["opened"] = "opened"

    @property
    def key(self) -> str:
        return self.kind


class TaskOwed(Entry):
    kind: Literal["owed"] = "owed"
    task: str
    form: str
    owner: Role
    by_itself: bool = False
    """A promise the desk keeps without a form: nobody hands anything in."""
    unit: str | None = None
    """Which of several that play the role: a department, another store."""
    due_at: datetime
    because: Because
    after: str | None
    rungs: list[Armed]

    @property
    def key(self) -> str:
        return f"owed/{self.task}"


class TaskDone(Entry):
    kind: Literal["done"] = "done"
    task: str

    @property
    def key(self) -> str:
        return f"closed/{self.task}"


class TaskWithdrawn(Entry):
    kind: Literal["withdrawn"] = "withdrawn"
    task: str
    because: str

    @property
    def key(self) -> str:
        return f"closed/{self.task}"


class TaskMoved(Entry):
    kind: Literal["moved"] = "moved"
    task: str
    generation: int
    due_at: datetime
    because: Because
    rungs: list[Armed]

    @property
    def key(self) -> str:
        return f"moved/{self.task}/{self.generation}"


class TaskReassigned(Entry):
    kind: Literal["reassigned"] = "reassigned"
    task: str
    person: str

    @property
    def key(self) -> str:
        return f"reassigned/{self.submission}"


class Acknowledged(Entry):
    """Somebody who was told of a breach sees to it."""

    kind: Literal["acknowledged"] = "acknowledged"
    task: str
    generation: int
    rung: int

    @property
    def key(self) -> str:
        return f"acknowledged/{self.task}/{self.generation}/{self.rung}"


class Noted(Entry):
    """Something worth a line in the timeline that changes no task."""

    kind: Literal["noted"] = "noted"
    what: str
    task: str | None = None

    @property
    def key(self) -> str:
        return f"noted/{self.what}/{self.submission}"


class Sent(Entry):
    """A submission that this case makes to another one of its process."""

    kind: Literal["sent"] = "sent"
    to: str
    """The other case's id, or its business number."""
    form: str
    outline: dict[str, Any]

    @property
    def key(self) -> str:
        return f"sent/{self.form}/{self.to}/{self.submission}"


class CycleBegun(Entry):
    """The customer was not satisfied: the case is handled once more."""

    kind: Literal["cycle"] = "cycle"
    cycle: int

    @property
    def key(self) -> str:
        return f"cycle/{self.cycle}"


class Told(Entry):
    """A notice without a clock, to a role or to one person."""

    kind: Literal["told"] = "told"
    what: str
    to: Role
    person: str | None = None
    task: str | None = None

    @property
    def key(self) -> str:
        return f"told/{self.what}/{self.to}/{self.task or '-'}/{self.submission}"


class CaseClosed(Entry):
    kind: Literal["archived"] = "archived"
    because: str

    @property
    def key(self) -> str:
        return "archived"


AnyEntry = Annotated[
    CaseOpened
    | TaskOwed
    | TaskDone
    | TaskWithdrawn
    | TaskMoved
    | TaskReassigned
    | Acknowledged
    | Noted
    | Sent
    | CycleBegun
    | Told
    | CaseClosed,
    Field(discriminator="kind"),
]


class Recording(BaseModel):
    """All that happened to a case in one instant: one transaction of the ledger."""

    case: str
    entries: list[AnyEntry]
    refused: dict[str, Refusal] = {}
    """Submissions the case has refused while it decided others: who delivers them may come when it is closed."""


class DueRung(BaseModel):
    """A rung whose time has come, and the submissions the case has already decided."""

    case: str
    task: str
    generation: int
    rung: int
    tell: Role
    planned_at: datetime
    now: datetime
    silent: bool
    """A reminder whose due time has passed: kept for the record, told to nobody."""
    acknowledge: timedelta | None = None
    """How long whoever hears has before the next in line does."""
    urgent: bool = False
    """Every hour counts, on duty or not."""
    hop: int = 0
    """Nobody has acknowledged the rung: which time it climbs. 0 for the rung itself."""
    known: list[str]


class Fired(BaseModel):
    """When a rung fired, as the ledger first kept it; or the submissions recorded before it that must be decided first."""

    at: datetime | None = None
    earlier: list[Submission] = []
    climbs_at: datetime | None = None
    """When the next in line hears, unless somebody acknowledges before."""
    hops: int = 0
