"""What happened in a case and is not in the ledger yet, and how it gets there."""

from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError

from activities.ledger import Ledger
from models.entries import (
    Acknowledged,
    AnyEntry,
    CaseClosed,
    CaseOpened,
    CaseReopened,
    CycleBegun,
    Noted,
    Recording,
    Sent,
    TaskDone,
    TaskMoved,
    TaskOwed,
    TaskReassigned,
    TaskWithdrawn,
    Told,
)
from models.forms import Form, Private, Stamp
from models.people import Role
from models.tasks import Refusal, Submission
from workflows.owed import Owed


class Journal:
    """Each entry bears its cause: the submission that the desk was deciding when it happened."""

    cause: Submission

    def __init__(self) -> None:
        self._entries: list[AnyEntry] = []
        self._refused: dict[str, Refusal] = {}
        self._anchors: dict[datetime, str] = {}

    def bears(self, cause: Submission) -> None:
        """What happens from now on is caused by this."""
        self.cause = cause
        self._anchors[cause.at] = cause.form

    def knows(self, facts: Private) -> None:
        """An instant among the facts of a case, or the fields of a form, is called what its field is."""
        self._anchors |= {when: name for name, when in facts if isinstance(when, datetime)}

    def anchor(self, since: datetime) -> str:
        """What the instant that a clock runs from is called: the form that was recorded then, or a fact."""
        return self._anchors.get(since, "date")

    @property
    def stamp(self) -> Stamp:
        return Stamp(by=self.cause.by, role=self.cause.role, at=self.cause.at, submission=self.cause.id)

    # What happens

    def opened(self, *, quiet: bool) -> None:
        self._entries.append(CaseOpened(quiet=quiet, **self._by))

    def owed(self, task: Owed[Any], owner: Role, unit: str | None, *, by_itself: bool) -> None:
        self._entries.append(
            TaskOwed(
                task=task.key,
                form=task.form.form,
                owner=owner,
                unit=unit,
                by_itself=by_itself,
                due_at=task.due,
                because=task.because,
                after=task.after.form if task.after else None,
                rungs=task.armed(),
                **self._by,
            )
        )

    def done(self, task: Owed[Any]) -> None:
        self._entries.append(TaskDone(task=task.key, **self._by))

    def withdrawn(self, task: Owed[Any], because: str) -> None:
        self._entries.append(TaskWithdrawn(task=task.key, because=because, **self._by))

    def moved(self, task: Owed[Any]) -> None:
        self._entries.append(
            TaskMoved(
                task=task.key,
                generation=task.generation,
                due_at=task.due,
                because=task.because,
                rungs=task.armed(),
                **self._by,
            )
        )

    def reassigned(self, task: Owed[Any], person: str) -> None:
        self._entries.append(TaskReassigned(task=task.key, person=person, **self._by))

    def acknowledged(self, task: Owed[Any]) -> None:
        assert task.breached is not None
        heard = Acknowledged(task=task.key, generation=task.generation, rung=task.breached, **self._by)
        self._entries.append(heard)

    def told(self, what: str, to: Role, person: str | None = None, task: str | None = None) -> None:
        self._entries.append(Told(what=what, to=to, person=person, task=task, **self._by))

    def noted(self, what: str, taken_for: str | None, about: str | None) -> None:
        self._entries.append(Noted(what=what, taken_for=taken_for, about=about, **self._by))

    def sent(self, to: str, form: Form) -> None:
        outline = form.model_dump(mode="json", exclude_none=True)
        self._entries.append(Sent(to=to, form=form.form, outline=outline, **self._by))

    def began_cycle(self, cycle: int) -> None:
        self._entries.append(CycleBegun(cycle=cycle, **self._by))

    def closed(self, because: str, nth: int | None) -> None:
        self._entries.append(CaseClosed(because=because, nth=nth, **self._by))

    def reopened(self, nth: int) -> None:
        self._entries.append(CaseReopened(nth=nth, **self._by))

    def refused(self, submission: str, why: Refusal) -> None:
        self._refused[submission] = why

    @property
    def _by(self) -> dict[str, Any]:
        return vars(self.stamp)

    # The ledger

    async def carry(self) -> None:
        """Let everything this instant causes happen, then carry it to the ledger in one transaction."""
        await workflow.wait_condition(lambda: True)
        while self._entries:
            recording = Recording(case=workflow.info().workflow_id, entries=self._entries, refused=self._refused)
            self._entries, self._refused = [], {}
            await in_ledger(Ledger.record, recording)


async def in_ledger(method: Any, argument: Any) -> Any:
    """Write locally, which costs one event of history; when that fails for seconds, as an activity that never gives up."""
    try:
        return await workflow.execute_local_activity_method(
            method,
            argument,
            start_to_close_timeout=timedelta(seconds=1),
            schedule_to_close_timeout=timedelta(seconds=3),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=4),
        )
    except FailureError as failure:
        workflow.logger.error("ledger.unreachable", extra={"failure": type(failure).__name__})
        return await workflow.execute_activity_method(
            method,
            argument,
            start_to_close_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=2)
            ),
        )
