"""An absence hands a person's open tasks over to who stands in for him, in one act; and back on his return. Clocks run on."""

import secrets
from collections import Counter
from datetime import UTC, datetime

from pydantic import BaseModel
from sqlmodel import Session, col, select

from activities.cases import locked
from activities.gathering import key_together
from models.acts import Reassign
from models.complaint.forms import Assist
from models.duty import Absence
from models.organisation import Directory, Wanted, Who
from models.people import Person, Role
from models.tables import CaseRow, EventRow, HandOverRow, NoticeRow, TaskRow
from models.tasks import Process
from starter.access import CAN_BE_ASKED
from starter.refusals import Conflict, Forbidden, NotFound
from starter.submissions import Submissions


class Handed(BaseModel):
    """A task on the list: whose it is now, and when it is due (UTC)."""

    case: str
    number: str
    process: str
    task: str
    owner: str
    deputy: str
    due_at: datetime
    handed_over: bool = False
    returned: bool = False


def absence_of(directory: Directory, person: str, at: datetime) -> Absence:
    """The absence of somebody that holds, the next one, or the last. NotFound where he was never away."""
    known = sorted((absence for absence in directory.absences if absence.person == person), key=lambda a: a.since)
    if not known:
        raise NotFound("not_away", person=directory.name(person))
    return next((absence for absence in known if absence.until > at), known[-1])


def key_of(absence: Absence) -> str:
    """The same, in whatever offset its begin is written."""
    return f"{absence.person}/{absence.since.astimezone(UTC).isoformat()}"


def listed(session: Session, directory: Directory, absence: Absence, at: datetime) -> list[Handed]:
    """What he still owes, and what has gone to others for this absence; the soonest due first."""
    gone = session.exec(select(HandOverRow).where(HandOverRow.absence == key_of(absence))).all()
    by_task = {(row.case_id, row.task): row for row in gone}
    rows = session.exec(
        select(TaskRow, CaseRow)
        .join(CaseRow, col(CaseRow.id) == col(TaskRow.case_id))
        .where(TaskRow.state == "open", col(TaskRow.by_itself).is_(False))
        .where(col(TaskRow.owner).in_({absence.person, *(row.deputy for row in gone)}))
        .order_by(col(TaskRow.due_at), col(TaskRow.case_id), col(TaskRow.key))
    )
    found = []
    for task, case in rows:
        handed = by_task.get((case.id, task.key))
        if task.owner != absence.person and handed is None:
            continue
        deputy = handed.deputy if handed else _stands_in(session, directory, absence, case, task, at)
        found.append(
            Handed(
                case=case.id,
                number=case.number,
                process=case.process,
                task=task.key,
                owner=task.owner,
                deputy=deputy,
                due_at=task.due_at,
                handed_over=handed is not None,
                returned=handed is not None and handed.returned_at is not None,
            )
        )
    return found


class Moves:
    """Tasks that change hands in one act and one transaction: a submission each. Who gets several, or loses several, has one
    notice of them all; of a single one he hears from its case, and so he does of each where one is a question that he answers
    by its link."""

    def __init__(
        self,
        session: Session,
        submissions: Submissions,
        processes: dict[str, Process],
        people: Who,
        note: str,
        now: datetime,
    ) -> None:
        self._session = session
        self._submissions = submissions
        self._processes = processes
        self._people = people
        self._note = note
        self._now = now
        self._act = secrets.token_hex(11)
        self._told: dict[tuple[str, str], list[tuple[str, datetime]]] = {}
        self._by_links: set[tuple[str, str]] = set()

    def __len__(self) -> int:
        return sum(len(told) for (_, what), told in self._told.items() if what == "assigned")

    def give(self, case: CaseRow, task: TaskRow, to: str, by: Person) -> None:
        """Refused, and nothing is changed, where he may not have it."""
        form = Reassign(task=task.key, person=to, reason=self._note)
        key = f"{self._act}-{len(self)}"
        self._submissions.add_in(self._session, self._processes[case.process], case.id, form, by, key=key, by_rule=True)
        self._told.setdefault((to, "assigned"), []).append((task.owner, task.due_at))
        gets = self._people.person(to)
        if task.form == Assist.form and gets and gets.role in CAN_BE_ASKED:
            self._by_links.add((to, "assigned"))
        if task.owner != by.id:
            self._told.setdefault((task.owner, "given_away"), []).append((to, task.due_at))

    def tell(self) -> None:
        """How many came from whom, or went to whom, and what is due first."""
        for (person, what), told in self._told.items():
            if len(told) > 1 and (person, what) not in self._by_links:
                data = {"count": len(told), "whose": dict(Counter(other for other, _ in told))}
                notice = NoticeRow(
                    person=person,
                    key=key_together(what, self._act),
                    what=f"{what}_together",
                    created_at=self._now,
                    delivered_at=self._now,
                    data={**data, "due_at": min(due for _, due in told).isoformat()},
                )
                self._session.add(notice)


def hand_over(
    session: Session,
    submissions: Submissions,
    processes: dict[str, Process],
    directory: Directory,
    absence: Absence,
    by: Person,
    note: str,
    now: datetime,
) -> list[Handed]:
    """Give every open task to who stands in: one submission each, in one transaction. Done again, nothing is done twice."""
    _check(by)
    given = []
    moves = Moves(session, submissions, processes, directory, note, now)
    for item in listed(session, directory, absence, max(now, absence.since)):
        if (item.handed_over and not item.returned) or item.owner != absence.person:
            continue
        if item.deputy == absence.person:
            raise Conflict("nobody_stands_in", person=directory.name(absence.person))
        case, task = session.get_one(CaseRow, item.case), session.get_one(TaskRow, (item.case, item.task))
        moves.give(case, task, item.deputy, by)
        session.merge(
            HandOverRow(
                absence=key_of(absence), case_id=item.case, task=item.task, deputy=item.deputy, at=now, by=by.id
            )
        )
        given.append(item.model_copy(update={"handed_over": True, "returned": False}))
    moves.tell()
    return given


def give_back(
    session: Session,
    submissions: Submissions,
    processes: dict[str, Process],
    directory: Directory,
    absence: Absence,
    by: Person,
    note: str,
    now: datetime,
) -> list[Handed]:
    """What is still open and still with the deputy goes back."""
    _check(by)
    moves = Moves(session, submissions, processes, directory, note, now)
    given = [item for item in listed(session, directory, absence, now) if item.handed_over]
    returned = [item for item in given if back(session, moves, (key_of(absence), item.case, item.task), by, now)]
    moves.tell()
    return [item.model_copy(update={"returned": True}) for item in returned]


def back(session: Session, moves: Moves, handed: tuple[str, str, str], by: Person, now: datetime) -> bool:
    """Give a task back to whom it was handed over for, once, if it is open and its deputy still has it. Refused where he may
    not have it any more."""
    absence, case_id, key = handed
    case = locked(session, case_id)
    row = session.get_one(HandOverRow, handed, populate_existing=True)
    task = session.get_one(TaskRow, (case_id, key), populate_existing=True)
    if row.returned_at or task.state != "open" or task.owner != row.deputy:
        return False
    moves.give(case, task, absence.partition("/")[0], by)
    row.returned_at = now
    return True


def _stands_in(
    session: Session, directory: Directory, absence: Absence, case: CaseRow, task: TaskRow, at: datetime
) -> str:
    """Whom the absence names, else who would owe the task now: what a department was asked is no other department's."""
    known = directory.person(absence.person)
    if absence.deputy and absence.deputy != case.about:
        return absence.deputy
    role = known.role if known else Role.MANAGER
    unit = _unit(session, task) if role == task.owner_role else None
    since = max(at, absence.since)
    return directory.resolve(role, Wanted(case.id, since, case.region, case.store, unit, case.about))


def _unit(session: Session, task: TaskRow) -> str | None:
    """The department, or the store, that was asked."""
    named_so = select(EventRow).where(EventRow.case_id == task.case_id, EventRow.key == f"owed/{task.key}")
    owed = session.exec(named_so).first()
    return owed.data.get("unit") if owed else None


def _check(by: Person) -> None:
    if by.role is not Role.MANAGER:
        raise Forbidden("may_not_hand_over", role=by.role)
