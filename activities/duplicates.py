"""Two cases of one matter: whether the one that goes on owes the customer no less, and who hears where it does (5.2 E27)."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session, select

from models.complaint.forms import Absorb
from models.organisation import Wanted, Who
from models.people import Role
from models.tables import CaseRow, NoticeRow, SubmissionRow, TaskRow

ANSWERS = {"reply", "agreed_reply"}
AGREEING = {"consent", "execution"}
LOST = "not_absorbed"


def owed(session: Session, case: CaseRow, state: str) -> set[str]:
    """The forms of its tasks in a state."""
    return set(session.exec(select(TaskRow.form).where(TaskRow.case_id == case.id, TaskRow.state == state)))


def owes_less(session: Session, other: CaseRow, ours: Collection[str]) -> bool:
    """Whether something this customer is owed would be owed by nobody there: a callback, a proposal, an answer."""
    ours, theirs = set(ours), owed(session, other, "open")
    made = theirs | owed(session, other, "done")
    if "opinion" in ours and "opinion" not in made:
        return True
    if "callback" in ours:
        is_behind = bool(ours & AGREEING) and "solution" in theirs
        return is_behind or "callback" not in theirs or ("solution" in ours and "solution" not in made)
    return bool(ours & ANSWERS) and not theirs & {*ANSWERS, "callback"}


def left_to_nobody(session: Session, people: Who, row: SubmissionRow, is_refused: bool) -> NoticeRow | None:
    """The notice where a case has not taken what a duplicate left to it, or owes less by then."""
    if row.form != Absorb.form:
        return None
    other = session.get_one(CaseRow, row.case_id)
    if not is_refused and not owes_less(session, other, row.outline["due"]):
        return None
    return lost(session, people, row.outline, other.number, row.id, row.recorded_at)


def lost(
    session: Session, people: Who, outline: Mapping[str, Any], other: str, submission: str | None, at: datetime
) -> NoticeRow:
    """To the manager: a duplicate has ended, and what it owed its customer is nobody's."""
    case = session.get_one(CaseRow, outline["case"])
    wanted = Wanted(case.id, at, case.region, case.store, about=case.about, process=case.process)
    return NoticeRow(
        person=people.resolve(Role.MANAGER, wanted),
        key=f"{LOST}/{case.id}",
        what=LOST,
        case_id=case.id,
        submission=submission,
        created_at=at,
        data={"other": other},
    )
