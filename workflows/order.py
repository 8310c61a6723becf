"""What stands against a submission now: order and openness. The door has validated the form and the sender."""

from collections.abc import Callable

from models.acts import Accept, Acknowledge, Closed, EveryCase, Extend
from models.forms import Bundle, Form
from models.people import Role
from models.tasks import Process, Refusal, Submission
from workflows.tasks import Tasks


class Order:
    """Judges by what the case owes, and asks the process what it has against a form besides."""

    def __init__(self, process: Process, tasks: Tasks, of_the_process: Callable[[Form, Role], Refusal | None]) -> None:
        self._process, self._tasks, self._of_the_process = process, tasks, of_the_process

    def objection(self, submission: Submission) -> Refusal | None:
        form = self._process.form_of(submission)
        if form is None:
            return Refusal(code="unknown_form", values={"form": submission.form})
        if isinstance(form, Closed):
            return None
        if isinstance(form, EveryCase):
            return self._to_act(form, submission.by)
        if self._process.is_act(form):
            return self._of_the_process(form, submission.role)
        parts, task = (form.now(), None) if isinstance(form, Bundle) else ([form], submission.task)
        key = task and self._process.key_now(task)
        against = (self._to_form(type(part), key) or self._of_the_process(part, submission.role) for part in parts)
        return next(filter(None, against), None)

    def _to_act(self, act: EveryCase, by: str) -> Refusal | None:
        owed = self._tasks.get(act.task)
        if owed is None:
            return Refusal(code="no_such_task", values={"task": act.task})
        if not owed.is_open:
            return Refusal(code="already_done", values={"task": act.task})
        match act:
            case Accept() if owed.offered_to != by:
                return Refusal(code="not_offered", values={"task": act.task})
            case Acknowledge() if owed.breached is None:
                return Refusal(code="nothing_to_acknowledge", values={"task": act.task})
            case Extend(due_at=due_at) if due_at <= owed.due:
                return Refusal(code="not_later", values={"task": act.task, "due_at": owed.due.isoformat()})
        return None

    def _to_form(self, form: type[Form], task: str | None) -> Refusal | None:
        of_form = [owed for owed in self._tasks.every(form) if task in (None, owed.key)]
        waiting = [owed for owed in of_form if owed.is_open]
        if not of_form:
            return Refusal(code="not_owed_yet", values={"task": task or form.form})
        if not waiting:
            return Refusal(code="already_done", values={"task": of_form[-1].key})
        if len(waiting) > 1:
            return Refusal(code="which_task", values={"tasks": ", ".join(owed.key for owed in waiting)})
        before = waiting[0].after
        if before and not self._tasks.was_handed_in(before, waiting[0].owed_at):
            return Refusal(code="not_possible_yet", values={"task": waiting[0].key, "before": before.form})
        return None
