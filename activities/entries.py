"""What is kept of an entry: an event, once; and what follows from it for tasks, their clocks, other cases and the archive."""

from typing import Any

import structlog
from sqlmodel import col, select

from activities.archive import sealed_whole
from activities.callers import caller_of
from activities.cases import Held, other_case
from activities.duplicates import lost
from activities.keys import KeyRing
from activities.notices import Notices
from activities.submissions import made_to
from models.entries import (
    Acknowledged,
    AnyEntry,
    Armed,
    CaseClosed,
    CaseOpened,
    CaseReopened,
    CycleBegun,
    Entry,
    Noted,
    Sent,
    TaskDone,
    TaskMoved,
    TaskOwed,
    TaskReassigned,
    TaskWithdrawn,
    Told,
)
from models.people import Role
from models.tables import ArchiveRow, DeadlineRow, EventRow, TaskRow

log = structlog.get_logger()


class Entries:
    """What is written of a case in one recording."""

    def __init__(self, case: Held, keys: KeyRing, notices: Notices) -> None:
        self._case = case
        self._session = case.session
        self._keys = keys
        self._notices = notices

    def new(self, entries: list[AnyEntry]) -> list[AnyEntry]:
        """Those that are not kept yet: the first write of a key wins."""
        case, keys = self._case.row.id, [entry.key for entry in entries]
        rows = self._session.exec(select(EventRow).where(EventRow.case_id == case, col(EventRow.key).in_(keys)))
        kept = {row.key: row.data for row in rows}
        for entry in entries:
            if entry.key in kept and _said(_content(entry)) != _said(kept[entry.key]):
                log.error("ledger.fork", case=case, key=entry.key)  # two histories of one case: never expected
        return [entry for entry in entries if entry.key not in kept]

    def write(self, entry: AnyEntry) -> None:
        """Its event, and what follows from it."""
        self._happened(entry, entry.key)
        match entry:
            case CaseOpened():
                pass
            case Noted():
                self._note(entry)
            case Sent():
                self._send(entry)
            case TaskOwed():
                self._owe(entry)
            case TaskDone():
                task = self._case.task(entry.task)
                task.state, task.done_at, task.done_by = "done", entry.at, entry.by
            case TaskWithdrawn():
                task = self._case.task(entry.task)
                task.state, task.withdrawn_because = "withdrawn", entry.because
            case TaskMoved():
                task = self._case.task(entry.task)
                task.due_at, task.generation = entry.due_at, entry.generation
                task.due_because = entry.because.model_dump(mode="json", exclude_none=True)
                self._arm(entry, entry.task, entry.generation, entry.rungs)
            case TaskReassigned():
                task = self._case.task(entry.task)
                self._notices.tell_of_loss(entry, task)
                task.owner = entry.person
            case Acknowledged():
                rung = (self._case.row.id, entry.task, entry.generation, entry.rung)
                deadline = self._session.get_one(DeadlineRow, rung)
                deadline.acknowledged_at, deadline.acknowledged_by, deadline.climbs_at = entry.at, entry.by, None
            case CycleBegun():
                self._case.row.cycle = entry.cycle
            case Told():
                self._notices.tell(entry)
            case CaseClosed():
                self._close(entry)
            case CaseReopened():
                self._reopen()

    def _happened(self, entry: AnyEntry, key: str) -> None:
        self._session.add(
            EventRow(
                case_id=self._case.row.id,
                key=key,
                kind=entry.kind,
                task=getattr(entry, "task", None),
                at=entry.at,
                submission=entry.submission,
                by=entry.by,
                role=entry.role,
                data=_content(entry),
            )
        )

    # Tasks and their clocks

    def _owe(self, owed: TaskOwed) -> None:
        case = self._case
        caller = caller_of(self._session, case.people, case.row.id, owed)
        self._session.add(
            TaskRow(
                case_id=case.row.id,
                key=owed.task,
                form=owed.form,
                owner_role=owed.owner,
                owner=caller or case.who(owed.owner, owed.at, owed.unit),
                owed_at=owed.at,
                due_at=owed.due_at,
                due_because=owed.because.model_dump(mode="json", exclude_none=True),
                after=owed.after,
                by_itself=owed.by_itself,
            )
        )
        self._arm(owed, owed.task, 0, owed.rungs)

    def _arm(self, cause: Entry, task: str, generation: int, rungs: list[Armed]) -> None:
        self._session.add_all(
            DeadlineRow(
                case_id=self._case.row.id,
                task=task,
                generation=generation,
                rung=armed.rung,
                after_seconds=round(armed.after.total_seconds()),
                role=armed.tell,
                armed_at=max(cause.at, self._case.row.entered_at or cause.at),
                planned_at=armed.planned_at,
            )
            for armed in rungs
        )

    def _note(self, noted: Noted) -> None:
        case = self._case.row
        case.taken_for, case.about = noted.taken_for or case.taken_for, noted.about or case.about
        if noted.about:
            self._take_from(noted, noted.about)

    def _take_from(self, noted: Noted, person: str) -> None:
        """Whom the case turns out to be about owes nothing in it: what he had is for who would have had it from the first."""
        case, taken = self._case, dict[str, list[TaskRow]]()
        his = select(TaskRow).where(TaskRow.case_id == case.row.id, TaskRow.owner == person, TaskRow.state == "open")
        for task in self._session.exec(his.order_by(col(TaskRow.due_at), col(TaskRow.key))).all():
            task.owner = case.who(Role(task.owner_role), noted.at, self._unit(task))
            if task.by_itself or task.owner == person:
                continue  # on nobody's list; or nobody else is there
            moved = TaskReassigned(
                task=task.key, person=task.owner, **noted.model_dump(include=set(Entry.model_fields))
            )
            self._happened(moved, f"{moved.key}/{task.key}")
            taken.setdefault(task.owner, []).append(task)
        self._notices.tell_of_taken(noted, person, taken)

    def _unit(self, task: TaskRow) -> str | None:
        """Which of several that play its owner's role a task was owed by."""
        named_so = select(EventRow).where(EventRow.case_id == task.case_id, EventRow.key == f"owed/{task.key}")
        owed = self._session.exec(named_so).first()
        return owed.data.get("unit") if owed else None

    # Other cases, and the end

    def _send(self, sent: Sent) -> None:
        """A submission to another case. Where that one has ended meanwhile, the manager hears."""
        case = self._case.row
        to = other_case(self._session, case.process, sent.to)
        if to is None or to.state != "open":
            log.warning("sent.nowhere", case=case.id, form=sent.form)
            number = to.number if to else sent.to
            self._session.add(lost(self._session, self._case.people, sent.outline, number, sent.submission, sent.at))
            return
        self._session.add(made_to(to, sent, case.id, self._keys))

    def _close(self, closed: CaseClosed) -> None:
        case = self._case.row
        case.state, case.closed_at, case.closed_because = "archived", closed.at, closed.because
        self._session.flush()
        sealed = sealed_whole(self._session, case, self._keys)
        self._session.add(ArchiveRow(case_id=case.id, archived_at=closed.at, sealed=sealed))

    def _reopen(self) -> None:
        """What was archived is so again, with what is to come, at the next end."""
        case = self._case.row
        case.state, case.closed_at, case.closed_because = "open", None, None
        if archive := self._session.get(ArchiveRow, case.id):
            self._session.delete(archive)


def _content(entry: AnyEntry) -> dict[str, Any]:
    """What two writes of one entry must agree on: everything but the instant and what the row already says."""
    return entry.model_dump(mode="json", exclude={"at", "task", "by", "role"})


def _said(document: Any) -> Any:
    """A document without what it leaves open: a later release knows more fields."""
    if isinstance(document, dict):
        return {name: _said(value) for name, value in document.items() if value is not None}
    return [_said(item) for item in document] if isinstance(document, list) else document
