"""Who hears of what is recorded: the owners of new tasks, who loses one, and whom the desk tells."""

from typing import Any

from sqlmodel import col, select

from activities.cases import Held
from activities.gathering import lies_behind
from models.entries import AnyEntry, CaseOpened, CaseReopened, Entry, Noted, TaskOwed, TaskReassigned, Told
from models.people import Role
from models.tables import NoticeRow, TaskRow

WHAT_BEGINS = {"opened": "new", "reopened": "reopened"}
"""What the owners are told of, by what happened."""


class Notices:
    """The notices of one recording. Each goes out once the submission that caused it is decided."""

    def __init__(self, case: Held) -> None:
        self._case = case

    def tell(self, told: Told) -> None:
        """A notice without a clock."""
        task = self._case.task(told.task) if told.task else None
        if (task and task.by_itself) or self._was_elsewhere(told):
            return  # on nobody's list, or nobody's news
        owner = task.owner if task and told.to is Role.OWNER else None
        person = told.person or owner or self._case.who(told.to, told.at)
        data = {"by": told.by, **({"due_at": task.due_at.isoformat()} if task else {})}
        self._notify(told, person, told.what, told.task, data, told.key)

    def tell_owners(self, new: list[AnyEntry]) -> None:
        """Each owner hears once of a new case, and of one that is open again, with what is due first, unless it comes quietly;
        later of what somebody else's form made him owe."""
        owed = [entry for entry in new if isinstance(entry, TaskOwed) and not entry.by_itself]
        opened = next((entry for entry in new if isinstance(entry, CaseOpened | CaseReopened)), None)
        if any(self._was_elsewhere(entry) for entry in new):
            return
        keys = [entry.task for entry in owed]
        if not keys or (isinstance(opened, CaseOpened) and opened.quiet):
            return
        of_case = select(TaskRow).where(TaskRow.case_id == self._case.row.id, col(TaskRow.key).in_(keys))
        tasks = list(self._case.session.exec(of_case.order_by(col(TaskRow.due_at))))
        if opened:
            for owner, task in {task.owner: task for task in reversed(tasks)}.items():  # the one that is due first
                data = {"form": task.key, "due_at": task.due_at.isoformat()}
                self._notify(opened, owner, WHAT_BEGINS[opened.kind], None, data)
            return
        for task in tasks:
            if task.owner != owed[0].by and task.state == "open":
                self._notify(owed[0], task.owner, "task", task.key, {"due_at": task.due_at.isoformat()})

    def tell_of_loss(self, moved: TaskReassigned, task: TaskRow) -> None:
        """Its owner hears that another one gets a task, unless it was he who gave it."""
        if task.owner not in (moved.person, moved.by):
            self._notify(moved, task.owner, "given_away", task.key, {"person": moved.person})

    def tell_of_taken(self, noted: Noted, person: str, taken: dict[str, list[TaskRow]]) -> None:
        """Who gets a person's tasks, and he, unless he said so himself: each hears of it once."""
        for owner, tasks in taken.items():
            given = [(task, {"by": noted.by, "due_at": task.due_at.isoformat()}) for task in tasks]
            self._notify_of_all(noted, owner, "assigned", given, {"person": person})
        if person != noted.by:
            gone = [(task, {"person": owner}) for owner, tasks in taken.items() for task in tasks]
            whose = {owner: len(tasks) for owner, tasks in taken.items()}
            self._notify_of_all(noted, person, "given_away", gone, {"whose": whose})

    def _notify_of_all(
        self,
        cause: Entry,
        person: str,
        what: str,
        told: list[tuple[TaskRow, dict[str, Any]]],
        of_all: dict[str, Any],
    ) -> None:
        """What becomes of several tasks of a case: one notice, behind which those of each lie. Who answers by a link gets each by
        itself: each has a link of its own."""
        hears, within = self._case.people.person(person), {}
        needs_links = what == "assigned" and hears and hears.role in (Role.CONTACT, Role.STORE)
        if len(told) > 1 and not needs_links:
            first_due = min(task.due_at for task, _ in told)
            data = {**of_all, "count": len(told), "due_at": first_due.isoformat()}
            first = self._notify(cause, person, f"{what}_in_case", None, data)
            self._case.session.flush()
            within = {"within": first.id}
        for task, said in told:
            self._notify(cause, person, what, task.key, {**said, **within})

    def _notify(
        self, cause: Entry, person: str, what: str, task: str | None, data: dict[str, Any], key: str | None = None
    ) -> NoticeRow:
        """A notice; behind the one of the whole act, where that has told of it."""
        if first := lies_behind(self._case.session, person, what, cause.submission):
            data = {**data, "within": first}
        notice = NoticeRow(
            person=person,
            key=key or f"{what}/{task or '-'}/{cause.submission}",
            what=what,
            case_id=self._case.row.id,
            task=task,
            submission=cause.submission,
            created_at=cause.at,
            data=data,
        )
        self._case.session.add(notice)
        return notice

    def _was_elsewhere(self, entry: Entry) -> bool:
        """Whether it happened before the case came here: whoever had to hear of it has heard of it there."""
        entered_at = self._case.row.entered_at
        return entered_at is not None and entry.at < entered_at
