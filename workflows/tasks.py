"""The tasks of a case. Whatever changes one of them stands in the journal."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from models.acts import Accept, Acknowledge, EveryCase, Extend, HandOver, Reassign
from models.forms import Form
from models.people import Role
from workflows.journal import Journal
from workflows.owed import F, Owed


class Tasks:
    """All that a case owes or has owed, in the order in which it was owed."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._owed: dict[str, Owed[Any]] = {}

    def __iter__(self) -> Iterator[Owed[Any]]:
        return iter(self._owed.values())

    def __getitem__(self, key: str) -> Owed[Any]:
        return self._owed[key]

    def get(self, key: str) -> Owed[Any] | None:
        return self._owed.get(key)

    def every(self, form: type[F]) -> list[Owed[F]]:
        return [task for task in self if task.form is form]

    def open(self, form: type[F]) -> list[Owed[F]]:
        return [task for task in self.every(form) if task.is_open]

    def answers(self, form: type[F]) -> list[F]:
        return [task.answer for task in self.every(form) if task.answer]

    def was_handed_in(self, form: type[Form], since: datetime) -> bool:
        return any(answer.at >= since for answer in self.answers(form))

    def latest(self, form: type[F], promise: str, since: datetime) -> Owed[F] | None:
        """What was owed of a form under this promise since then, the last time it was."""
        clock = (form, promise, since)
        return next((task for task in reversed(self.every(form)) if task.clock == clock), None)

    def next_key(self, form: type[Form]) -> str:
        """The name of a form's next task: `solution`, then `solution-2`."""
        nth = len(self.every(form)) + 1
        return form.form if nth == 1 else f"{form.form}-{nth}"

    # What becomes of them

    def add(self, task: Owed[Any], owner: Role, unit: str | None, *, by_itself: bool) -> None:
        self._owed[task.key] = task
        self._journal.owed(task, owner, unit, by_itself=by_itself)

    def close(self, task: Owed[F], answer: F) -> None:
        task.answer = answer.stamped(self._journal.stamp)
        self._journal.done(task)

    def met(self, *tasks: Owed[Any]) -> None:
        for task in tasks:
            if task.is_open:
                task.met = True
                self._journal.done(task)

    def withdraw(self, *tasks: Owed[Any], because: str) -> None:
        for task in tasks:
            if task.is_open:
                task.withdrawn = True
                self._journal.withdrawn(task, because)

    def move(self, *tasks: Owed[Any], to: datetime, allowed: Form | None = None) -> None:
        for task in tasks:
            task.move(to, self._journal.stamp, allowed)
            self._journal.moved(task)
            self._journal.told("extended", Role.OWNER, task=task.key)

    def take(self, act: EveryCase) -> None:
        task = self[act.task]
        match act:
            case Extend(due_at=due_at):
                self.move(task, to=due_at)
            case Reassign(person=person):
                self._give(task, person)
                self._journal.told("assigned", Role.OWNER, person, task.key)
            case HandOver(person=person):
                task.offered_to = person
                self._journal.told("offered", Role.OWNER, person, task.key)
            case Accept():
                self._give(task, self._journal.stamp.by)
            case Acknowledge():
                task.climbs_at = None
                self._journal.acknowledged(task)

    def _give(self, task: Owed[Any], person: str) -> None:
        task.offered_to = None
        self._journal.reassigned(task, person)
