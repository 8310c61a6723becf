"""What a notice about visits says besides its case and its time: whose list, of which day, and how many are left of it."""

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, col, func, or_, select

from models.people import Role
from models.tables import CaseRow, NoticeRow, SubmissionRow, VisitListRow, VisitRow
from models.visits.forms import Deliver, Progress

OF_A_LIST = ("task", "reminder", "overdue", "breached")
OF_A_MONTH = {"plans_missing": "missing", "plan_appended": "appended", "visits_reported": "planned"}

NAMES_HIM = {(Deliver.form, "lines"), (Progress.form, "reason")}

SEES_NAMES = (Role.STORE, Role.SPECIALIST, Role.MANAGER)
"""Who calls, or answers for the calls."""


def without_names(form: str, content: dict[str, Any]) -> dict[str, Any]:
    """What was sent to a case, for who need not know the customers of a plan."""
    return {name: said for name, said in content.items() if (form, name) not in NAMES_HIM}


def said(session: Session, row: NoticeRow) -> tuple[str, Mapping[str, Any]]:
    """The sentence of a notice, and what fills it; any other notice as it is."""
    if row.case_id and row.task and row.what in OF_A_LIST and row.task.partition("-")[0] == "calls":
        return f"{row.what}_calls", _of_list(session, row)
    if row.what in OF_A_MONTH and row.submission:
        return row.what, _of_month(session, row)
    return row.what, {}


def _of_list(session: Session, row: NoticeRow) -> Mapping[str, Any]:
    """What was left of the list when the notice was made."""
    nth = int((row.task or "").partition("-")[2] or 1)
    known = session.get(VisitListRow, (row.case_id, nth))
    case = session.get(CaseRow, row.case_id)
    if known is None or case is None:
        return {}
    left = select(func.count()).where(
        VisitRow.case_id == row.case_id,
        VisitRow.list_nth == nth,
        VisitRow.state != "held",
        or_(col(VisitRow.done_at).is_(None), col(VisitRow.done_at) > row.created_at),
        or_(col(VisitRow.dropped_at).is_(None), col(VisitRow.dropped_at) > row.created_at),
    )
    return {"caller": known.caller, "day": known.day.isoformat(), "store": case.store, "left": session.exec(left).one()}


def _of_month(session: Session, row: NoticeRow) -> Mapping[str, Any]:
    sent = session.get(SubmissionRow, row.submission)
    if sent is None:
        return {}
    outline = sent.outline
    return {
        "missing": " ".join(outline.get("missing", ())),
        "appended": outline.get("store", ""),
        "planned": outline.get("planned"),
        "done": outline.get("done"),
    }
