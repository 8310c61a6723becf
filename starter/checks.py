"""What speaks against a form before it is kept: what the ledger and the organisation know, and the desk of its case does not."""

from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from activities.cases import other_case
from activities.duplicates import owed, owes_less
from models.acts import Acknowledge, HandOver, Reassign
from models.complaint.forms import BackAgain
from models.forms import Bundle, FieldError, Form
from models.organisation import Wanted, Who
from models.people import SUPERIOR, Person, Role
from models.tables import CaseRow, NoticeRow, SubmissionRow, TaskRow
from models.tasks import Process
from starter.refusals import Conflict, Forbidden, Invalid
from starter.reopening import against, numbers_of


def check(
    session: Session,
    people: Who,
    process: Process,
    case: CaseRow,
    form: Form,
    by: Person,
    now: datetime,
    intake: Any,
) -> None:
    """Invalid, naming each field that does not hold; Forbidden, Conflict where it is not his to send, or was done already."""
    if errors := [
        *form.objections(now),
        *form.unknown(intake),
        *_unfit(process, case, form),
        *_unfit_person(people, process, case, form),
        *unknown_store(people, "store", getattr(form, "store_named", None)),
        *_unfit_other(session, case, form),
    ]:
        raise Invalid(errors)
    match form:
        case BackAgain() if refused := against(session, case, form, intake, now):
            raise refused
        case HandOver() if not _is_open_of(session, case, form.task, by.id):
            raise Forbidden("not_your_task", task=form.task)
        case Acknowledge() if not _may_acknowledge(session, case, form, by):
            raise Forbidden("not_told")
        case Reassign() if _is_theirs(session, case, form):
            raise Conflict("already_theirs", task=form.task, person=form.person)


def may_send(people: Who, case: CaseRow | None, form: Form | type[Form], by: Person) -> bool:
    """By his role; where the case is about somebody, his superior also what would be his: the manager is named, the director
    sees to it (5.2 E34)."""
    about = people.person(case.about) if case and case.about else None
    instead_of = about.role if about and SUPERIOR.get(about.role) is by.role else None
    return by.role in form.may or instead_of in form.may


def of_somebody_else(session: Session, people: Who, case: CaseRow, form: Form, by: Person, now: datetime) -> None:
    """Forbidden, with who sees to it, to whom the case is about: who owes it, else the manager, or who is above him (5.2 E34)."""
    if by.id != case.about:
        return
    forms = [part.form for part in form.now()] if isinstance(form, Bundle) else [form.form]
    others = select(TaskRow.owner).where(TaskRow.case_id == case.id, TaskRow.state == "open", TaskRow.owner != by.id)
    owner = session.exec(others.where(col(TaskRow.form).in_(forms)).order_by(col(TaskRow.due_at)).limit(1)).first()
    wanted = Wanted(case.id, now, case.region, case.store, about=by.id, process=case.process)
    person = people.name(owner or people.resolve(Role.MANAGER, wanted))
    raise Forbidden("about_yourself", number=case.number, person=person)


def unknown_store(people: Who, field: str, code: str | None) -> list[FieldError]:
    """A store's code finds the region, and so who is to do the work."""
    return [] if code is None or people.store(code) else [FieldError(field=field, code="unknown_store")]


def _unfit(process: Process, case: CaseRow, form: Form) -> list[FieldError]:
    return form.unfit(process.promises.model_validate(case.promises)) if type(form).unfit is not Form.unfit else []


def _unfit_person(people: Who, process: Process, case: CaseRow, form: Form) -> list[FieldError]:
    """A task is given only to somebody we know, who may hand its form in, and whom the case is not about (5.2 E34)."""
    if not isinstance(form, Reassign | HandOver):
        return []
    person = people.person(form.person)
    if person is None:
        return [FieldError(field="person", code="unknown_person", values={"person": form.person})]
    if person.id == case.about:
        return [FieldError(field="person", code="case_is_about", values={"person": form.person})]
    task = process.submittable.get(form.task.partition("-")[0])
    if task and not may_send(people, case, task, person):
        return [FieldError(field="person", code="unfit_person", values={"person": form.person, "form": task.form})]
    return []


def _unfit_other(session: Session, case: CaseRow, form: Form) -> list[FieldError]:
    """A form that names another case names one that is there, open, not this one, owes the customer no less, and is not on
    its way into another itself."""
    named = getattr(form, "other_case", None)
    if named is None:
        return []
    other = other_case(session, case.process, named)
    if other is None or other.id == case.id:
        return [FieldError(field="of", code="no_such_other_case", values={"case": named})]
    if other.state != "open":
        return [FieldError(field="of", code="other_case_closed", values={"case": named})]
    if owes_less(session, other, owed(session, case, "open")):
        return [FieldError(field="of", code="other_case_owes_less", values={"case": named})]
    on_their_way = select(SubmissionRow).where(SubmissionRow.form == form.form, SubmissionRow.state == "pending")
    for row in session.exec(on_their_way):
        if row.case_id == other.id or row.outline["of"] in (case.id, case.number, *numbers_of(session, case.id)):
            return [FieldError(field="of", code="being_merged", values={"case": named})]
    return []


def _may_acknowledge(session: Session, case: CaseRow, form: Acknowledge, by: Person) -> bool:
    """Whoever was told of it, and his superiors."""
    told = select(NoticeRow.id).where(NoticeRow.case_id == case.id, NoticeRow.task == form.task)
    of_him = told.where(NoticeRow.person == by.id, col(NoticeRow.what).in_(("overdue", "unacknowledged", "breached")))
    return by.role in (Role.MANAGER, Role.DIRECTOR) or session.exec(of_him.limit(1)).first() is not None


def _is_theirs(session: Session, case: CaseRow, form: Reassign) -> bool:
    """Whether the task is that person's already: certain only where nothing sent before is still to be decided."""
    pending = select(SubmissionRow.id).where(SubmissionRow.case_id == case.id, SubmissionRow.state == "pending")
    undecided = session.exec(pending.limit(1)).first()
    return undecided is None and _is_open_of(session, case, form.task, form.person)


def _is_open_of(session: Session, case: CaseRow, task: str, person: str) -> bool:
    row = session.get(TaskRow, (case.id, task))
    return row is not None and row.state == "open" and row.owner == person
