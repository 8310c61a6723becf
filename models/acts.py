"""The acts that every process takes, each about one task."""

from datetime import datetime, timedelta

from models.forms import Code, FieldError, Form, Instant, Text
from models.people import Role

FURTHEST = timedelta(days=366)
"""No due time is set later than this from now; a mistyped year would silence a task for good."""


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
