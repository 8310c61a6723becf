"""What nobody hands in, found in the ledger again and again by whoever watches: purchases and changes that were not judged yet,
cards that have ended, regions in which everybody was called."""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import sleep
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, exists, or_, select

from activities.database import once_more
from models.expiry import EXPIRY_CALLS, EXPIRY_NOTICE, CallsDone
from models.people import CALENDAR
from models.tables import CaseRow, ExpiryLineRow, MemberRow, PurchaseRow, SubmissionRow, TaskRow
from settings import House
from starter.expiry.calls import done_key
from starter.expiry.standing import judge
from starter.submissions import Submissions

AT_ONCE = 20
"""Members judged in one transaction."""
BREATH = 0.05
"""Seconds between two transactions: who waits for the ledger meanwhile comes first."""
FURTHEST_BACK = timedelta(days=366)
"""Cards that ended longer ago are not looked at every half minute."""


class Rounds:
    """One look; any number of watches may look at one house."""

    name = "expiry"
    every = timedelta(seconds=30)

    def __init__(self, house: House, submissions: Submissions, clock: Callable[[], datetime]) -> None:
        self._house = house
        self._database = house.database
        self._submissions = submissions
        self._clock = clock

    def round(self) -> list[str]:
        """Hand in what is to be; the cases it went to."""
        touched: list[str] = []
        last = ("", "")
        while found := self._unjudged(last):
            touched += self._judge(found)
            last = found[-1]
            sleep(BREATH)
        return touched + [case for case in self._open_rounds() if self._close_round(case)]

    def _unjudged(self, after: tuple[str, str]) -> list[tuple[str, str]]:
        """Lines with news since they were judged last, or whose card has ended; by month and member, those after one."""
        now = self._clock()
        news = exists().where(
            col(PurchaseRow.member_id) == ExpiryLineRow.member_id,
            col(PurchaseRow.recorded_at) > ExpiryLineRow.checked_at,
        )
        ended = and_(ExpiryLineRow.expires_at <= now, CaseRow.state == "open")
        changed = and_(CaseRow.state == "open", col(MemberRow.changed_at) > ExpiryLineRow.checked_at)
        alive = or_(CaseRow.state == "open", and_(col(ExpiryLineRow.case_id).is_(None), ExpiryLineRow.expires_at > now))
        month, member = after
        query = (
            select(ExpiryLineRow.month, ExpiryLineRow.member_id)
            .join(MemberRow, col(MemberRow.id) == col(ExpiryLineRow.member_id))
            .join(CaseRow, col(CaseRow.id) == col(ExpiryLineRow.case_id), isouter=True)
            .where(ExpiryLineRow.expires_at > now - FURTHEST_BACK, alive, or_(ended, changed, news))
            .where(~_is_settled(ExpiryLineRow.case_id))
            .where(
                or_(ExpiryLineRow.month > month, and_(ExpiryLineRow.month == month, ExpiryLineRow.member_id > member))
            )
            .order_by(col(ExpiryLineRow.month), col(ExpiryLineRow.member_id))
        )
        with self._database.reading() as session:
            return [(of, who) for of, who in session.exec(query.limit(AT_ONCE))]

    @once_more
    def _judge(self, found: list[tuple[str, str]]) -> list[str]:
        with self._database.writing() as session:
            lines = [session.get_one(ExpiryLineRow, line) for line in found]
            return judge(session, self._submissions, self._house.people, lines, self._clock())

    # A region's calls

    def _open_rounds(self) -> list[str]:
        with self._database.reading() as session:
            rounds = select(CaseRow).where(CaseRow.process == EXPIRY_CALLS.name, CaseRow.state == "open")
            return [case.id for case in session.exec(rounds) if not self._left(session, case)]

    def _left(self, session: Session, case: CaseRow) -> bool:
        """Whether a member of the region is still to be called: his notice is open, and no call is in it."""
        called = exists().where(
            col(TaskRow.case_id) == CaseRow.id, col(TaskRow.form) == "call", col(TaskRow.state) != "open"
        )
        month = case.number[: len("2026-12")]
        query = (
            select(CaseRow.id)
            .join(ExpiryLineRow, col(ExpiryLineRow.case_id) == col(CaseRow.id))
            .where(ExpiryLineRow.month == month, ExpiryLineRow.region == case.region)
            .where(CaseRow.process == EXPIRY_NOTICE.name, CaseRow.state == "open", ~called)
        )
        return session.exec(query.limit(1)).first() is not None

    @once_more
    def _close_round(self, case: str) -> bool:
        key = done_key(case)
        with self._database.writing() as session:
            row = session.exec(select(CaseRow).where(CaseRow.id == case).with_for_update()).one()
            told = session.get(SubmissionRow, key)
            if row.state != "open" or told or self._left(session, row):
                return False
            self._submissions.add_in(session, EXPIRY_CALLS, case, CallsDone(), CALENDAR, key=key)
        return True


def _is_settled(case: Any) -> ColumnElement[bool]:
    return exists().where(col(SubmissionRow.case_id) == case, col(SubmissionRow.form) == "settled")
