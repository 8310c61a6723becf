"""A customer who is back with what was closed: whether his case is opened again, and the numbers that lead to it (5.2 E26)."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel import Session, col, func, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from models.complaint.facts import Complaint, ComplaintIntake
from models.complaint.forms import BackAgain
from models.forms import Case, FieldError
from models.tables import ERASED, CaseRow, EventRow, NumberRow, SubmissionRow, TaskRow
from models.tasks import REOPENING
from starter.refusals import Conflict, Invalid, Refused

REOPENABLE_SINCE = 4
"""The edition of the process from which on closed cases are opened again."""
LOCK = 4102
"""Of who gives a number, where several may write at once."""
FOR_GOOD = ("duplicate", "cancelled")
"""What goes on in another case, or was ended from outside, is not opened again."""
HANDLING = {"reply", "solution", "consent", "execution", "callback", "sign_off", "supplement"}
"""What is owed while a complaint is handled."""


def numbered(process: str, number: str) -> SelectOfScalar[CaseRow]:
    """The case of a business number: its own, or one under which its customer came back."""
    leads_to = select(NumberRow.case_id).where(NumberRow.process == process, NumberRow.number == number)
    by_either = or_(col(CaseRow.number) == number, col(CaseRow.id) == leads_to.scalar_subquery())
    return select(CaseRow).where(CaseRow.process == process, by_either)


def given_meanwhile(session: Session, process: str, number: str) -> bool:
    """Whether somebody else has just given a business number that was free; until the transaction ends nobody does. Of the two
    tables that know numbers, none keeps the other from knowing it, too. Locked after the cases, by whoever locks any."""
    if session.get_bind().dialect.name != "postgresql":  # writers come one after the other
        return False
    session.connection().execute(select(func.pg_advisory_xact_lock(LOCK, func.hashtext(f"{process}/{number}"))))
    return session.exec(numbered(process, number)).first() is not None


def back_with(facts: Case) -> BackAgain | None:
    """What hands a complaint in on the case that it continues."""
    return BackAgain.of(facts) if isinstance(facts, Complaint) else None


def continued(session: Session, earlier: CaseRow, facts: Case, intake: Any, now: datetime) -> BackAgain | None:
    """What hands it in, where that case is opened again for it: not for what is said of another store."""
    back = back_with(facts) if facts.store_code in (None, earlier.store) else None
    return back if back and against(session, earlier, back, intake, now) is None else None


def against(session: Session, case: CaseRow, form: BackAgain, intake: ComplaintIntake, now: datetime) -> Refused | None:
    """Why a case is not opened again at an instant (UTC). None where it is, also where somebody has just handed that in."""
    over_at = case.closed_at or _over_at(session, case)
    if over_at is None:
        return Conflict("case_is_open", number=case.number)
    came_at = form.received_at or now
    if came_at > now + intake.clocks_differ:
        return Invalid([FieldError(field="received_at", code="past_in_future")])
    if intake.oldest_receipt and came_at < now - intake.oldest_receipt:
        values = {"days": str(intake.oldest_receipt.days)}
        return Invalid([FieldError(field="received_at", code="received_too_long_ago", values=values)])
    if came_at <= over_at:
        here = over_at.astimezone(ZoneInfo(case.promises["terms"]["zone"]))
        values = {"closed_at": f"{here:%Y-%m-%d %H:%M}"}
        return Invalid([FieldError(field="received_at", code="came_before_closing", values=values)])
    if case.closed_at and came_at > case.closed_at + intake.back_again:
        return Conflict("closed_too_long", number=case.number, days=str(intake.back_again.days))
    edition = case.promises["terms"].get("edition", 1)
    if edition < REOPENABLE_SINCE or case.closed_because in FOR_GOOD or _is_erased(session, case):
        return Conflict("closed_for_good", number=case.number)
    return None


def keep_number(session: Session, case: CaseRow, form: BackAgain, submission: str) -> None:
    """The number of the paper with which the customer came back leads to his case from now on. Conflict where it is another's."""
    if form.form_no is None or form.form_no == case.number:
        return
    given_meanwhile(session, case.process, form.form_no)
    known = session.exec(numbered(case.process, form.form_no)).first()
    if known and known.id != case.id:
        raise Conflict("number_taken", number=form.form_no)
    if known is None:
        session.add(NumberRow(process=case.process, number=form.form_no, case_id=case.id, submission=submission))


def numbers_of(session: Session, case: str) -> list[str]:
    """The further numbers that lead to a case."""
    theirs = select(NumberRow.number).where(NumberRow.case_id == case)
    return list(session.exec(theirs.order_by(col(NumberRow.number))))


def is_open(session: Session, case: CaseRow) -> bool:
    """Whether a case is open, or the customer back and the desk about to open it again."""
    back = select(SubmissionRow.id).where(
        SubmissionRow.case_id == case.id, SubmissionRow.form == REOPENING, SubmissionRow.state == "pending"
    )
    return case.state == "open" or session.exec(back).first() is not None


def is_over(session: Session, case: CaseRow) -> bool:
    """Whether an open case waits for its closing form, an authority or others only: who is back then has it opened again."""
    return case.closed_at is None and _over_at(session, case) is not None


def _over_at(session: Session, case: CaseRow) -> datetime | None:
    """Since when an open complaint is over for its customer; None while it is not."""
    tasks = session.exec(select(TaskRow).where(TaskRow.case_id == case.id, col(TaskRow.by_itself).is_(False))).all()
    owed = {task.form for task in tasks if task.state == "open"}
    for_the_customer = HANDLING if case.taken_for == "complaint" else {*HANDLING, "record", "agreed_reply"}
    if not owed or owed & for_the_customer:
        return None
    return max((task.owed_at for task in tasks if task.form == "record"), default=case.opened_at)


def _is_erased(session: Session, case: CaseRow) -> bool:
    erased = select(EventRow.id).where(EventRow.case_id == case.id, EventRow.key == ERASED)
    return session.exec(erased).first() is not None
