"""What the desk tells the ledger. `key` says what an entry is: the first one written under a key wins."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from models.people import Role
from models.promises import Promise
from models.tasks import Refusal, Submission


class Change(BaseModel):
    """An agreed change of a due time. The reason is in the submission, and in the one that allowed it where one was needed."""

    due_before: datetime
    due_at: datetime
    by: str
    submission: str
    allowed_by: str | None = None
    allowed: str | None = None


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

    @classmethod
    def of(cls, promise: Promise, anchor: str, since: datetime) -> Self:
        return cls(
            promise=promise.name,
            basis=promise.basis,
            anchor=anchor,
            anchored_at=since,
            within=promise.within,
            by=promise.by,
            counted="calendar" if promise.by else "elapsed",
        )


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
    quiet: bool = False

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
    taken_for: str | None = None
    """The kind the case is of from now on."""
    about: str | None = None
    """The employee the case turns out to be about."""

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
    """The customer was not satisfied, or is back: the case is handled once more."""

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
    nth: int | None = None
    """Which time; None the first time."""

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.nth}" if self.nth else self.kind


class CaseReopened(Entry):
    """The customer is back with what was closed: it is owed again."""

    kind: Literal["reopened"] = "reopened"
    nth: int
    """Which time."""

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.nth}"


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
    | CaseClosed
    | CaseReopened,
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
