"""What has come of the members of a list: whether each was called, what came of it, when his store heard (handbook 3.3 F2)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlmodel import Session, col, select

from models.tables import CaseRow, NoticeRow, SubmissionRow

State = Literal["to_call", "called", "ended"]
STORE_TOLD = "member_called"


@dataclass(frozen=True)
class Course:
    """Of one notice. Instants are UTC."""

    number: str
    state: State
    outcome: str | None = None
    told_rule: bool | None = None
    called_at: datetime | None = None
    called_by: str | None = None
    store_notified_at: datetime | None = None
    closed_because: str | None = None


def courses(session: Session, cases: Collection[str]) -> dict[str, Course]:
    """By the notice's case."""
    of_calls = select(SubmissionRow).where(
        col(SubmissionRow.case_id).in_(cases), SubmissionRow.form == "call", SubmissionRow.state == "decided"
    )
    calls = {row.case_id: row for row in session.exec(of_calls)}
    told = select(NoticeRow.case_id, NoticeRow.delivered_at).where(
        col(NoticeRow.case_id).in_(cases), NoticeRow.what == STORE_TOLD
    )
    stores = dict(session.exec(told).all())
    notices = session.exec(select(CaseRow).where(col(CaseRow.id).in_(cases)))
    return {row.id: _course(row, calls.get(row.id), stores.get(row.id)) for row in notices}


def _course(notice: CaseRow, call: SubmissionRow | None, store_notified_at: datetime | None) -> Course:
    return Course(
        number=notice.number,
        state="ended" if notice.state != "open" else "called" if call else "to_call",
        outcome=call.outline["outcome"] if call else None,
        told_rule=call.outline["told_rule"] if call else None,
        called_at=call.recorded_at if call else None,
        called_by=call.by if call else None,
        store_notified_at=store_notified_at,
        closed_because=notice.closed_because,
    )
