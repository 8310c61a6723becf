"""The round of calls of a region and month; and who hears of a call that is owed only after the list, when a refund has taken a waiver away."""

import re
from datetime import datetime

from sqlmodel import Session, col, select

from models.expiry import EXPIRY_CALLS, CallsDone, ExpiryCalls
from models.people import CALENDAR
from models.tables import CaseRow, ExpiryLineRow, NoticeRow, SubmissionRow, TaskRow
from starter.submissions import Submissions

NO_CODE = re.compile(r"[^\w.-]")
"""What a region's name may hold, and a number may not."""


def done_key(case: str) -> str:
    """The submission that says that a round is done."""
    return f"called-{case}"


def open_round(
    session: Session, submissions: Submissions, month: str, region: str, begins_at: datetime, members: int, nth: int = 1
) -> None:
    """All calls of a region at once: its specialist hears, and the manager where they are late."""
    code = f"{month}-{NO_CODE.sub('-', region)}"
    facts = ExpiryCalls(
        round_no=code if nth == 1 else f"{code}-{nth}",
        month=month,
        region=region,
        begins_at=begins_at,
        members=members,
    )
    submissions.open_in(session, EXPIRY_CALLS, facts, CALENDAR)


def one_more_call(
    session: Session, submissions: Submissions, line: ExpiryLineRow, begins_at: datetime, now: datetime
) -> None:
    """A notice was opened after the list. Whoever makes the region's calls hears, once a day; where they are done there is
    another round, with a clock: past its time the manager hears at once."""
    of_region = select(CaseRow).where(CaseRow.process == EXPIRY_CALLS.name, CaseRow.region == line.region)
    of_month = of_region.where(col(CaseRow.number).startswith(line.month, autoescape=True))
    rounds = session.exec(of_month.order_by(col(CaseRow.opened_at)).with_for_update()).all()
    going = [row for row in rounds if row.state == "open" and session.get(SubmissionRow, done_key(row.id)) is None]
    if not going:
        return open_round(session, submissions, line.month, line.region, begins_at, 1, len(rounds) + 1)
    owed = select(TaskRow.owner).where(TaskRow.case_id == going[-1].id, TaskRow.form == CallsDone.form)
    key = f"one_more_call/{going[-1].id}/{now:%Y-%m-%d}"
    for person in session.exec(owed):  # nobody yet: the round's own first word is still to come, and tells of all
        if not session.exec(select(NoticeRow.id).where(NoticeRow.person == person, NoticeRow.key == key)).first():
            session.add(
                NoticeRow(
                    person=person,
                    key=key,
                    what="one_more_call",
                    case_id=going[-1].id,
                    created_at=now,
                    delivered_at=now,
                    data={},
                )
            )
    return None
