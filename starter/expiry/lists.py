"""Making a month's list: its lines a few at a time, the workbook that is archived, the notices of those on it, a round for each region.

Killed at any point and begun again it goes on where it was: lines by the member's id, the list by its row, notices by the
lines that have none yet.
"""

from collections.abc import Callable
from datetime import datetime
from time import sleep

import structlog
from sqlmodel import Session, col, func, select

from activities.database import once_more
from activities.keys import COLUMN
from activities.members import expiring, purchases
from models.expiry import EXPIRY, Listed, expires_at
from models.members import Member
from models.people import CALENDAR, Person, Role
from models.tables import CaseRow, EventRow, ExpiryLineRow, ExpiryListRow, PullRow, SubmissionRow
from models.tasks import OPENING
from settings import House
from starter.expiry.calls import open_round
from starter.expiry.standing import MADE_ANYWAY, open_notice, rule_of
from starter.expiry.workbook import Book
from starter.members.sources import source_of
from starter.refusals import Conflict, Forbidden, NotFound
from starter.submissions import Submissions

AT_ONCE = 100
"""Members in one transaction, when they are only read and listed."""
OPENED_AT_ONCE = 20
BREATH = 0.05
"""Seconds between two transactions: who waits for the ledger meanwhile comes first."""
GONE = ("left", "replaced")
"""Nobody is to be called about such a card."""
NOWHERE = "other"
"""The region of stores that the directory does not know."""

log = structlog.get_logger()


class NotUpToDate(RuntimeError):
    """The member system was not heard of since the month began: what it would tell is missing, and the list is tried again."""


class Lists:
    """The lists of a house. `clock` gives the present instant, UTC."""

    def __init__(self, house: House, submissions: Submissions, clock: Callable[[], datetime]) -> None:
        self._house = house
        self._database = house.database
        self._submissions = submissions
        self._clock = clock

    def make(self, case: str, month: str, alive: Callable[[], object] = lambda: None) -> None:
        """The whole of it. Raises NotUpToDate while the member system is down."""
        begins_at = self._begin(case, month)
        last: str | None = ""
        while last is not None:
            last = self._some_lines(month, last)
            alive()
            sleep(BREATH)
        self._archive(case, month)
        while self._some_notices(month):
            alive()
            sleep(BREATH)
        self._rounds(month, begins_at)

    @once_more
    def _begin(self, case: str, month: str) -> datetime:
        with self._database.writing() as session:
            opening = select(SubmissionRow.outline).where(SubmissionRow.case_id == case, SubmissionRow.form == OPENING)
            begins_at = datetime.fromisoformat(session.exec(opening).one()["begins_at"])
            if session.get(ExpiryListRow, month) is None:
                if (source := self._source) and not self._was_pulled(session, source, begins_at):
                    raise NotUpToDate(f"not pulled since the month began: {source}")
                session.add(ExpiryListRow(month=month, case_id=case, as_of=self._clock()))
        return begins_at

    @property
    def _source(self) -> str | None:
        """The member system that is asked, where one is set: one that was given up is waited for no more."""
        file = self._house.settings.member_source
        return source_of(file).name if file else None

    def _was_pulled(self, session: Session, source: str, since: datetime) -> bool:
        row = session.get(PullRow, source)
        return row is not None and row.since >= since

    @once_more
    def make_anyway(self, month: str, by: Person) -> None:
        """Do not wait for the member system any longer: the list is made of what is known now. Forbidden for everybody but
        the manager, NotFound where the month has no run, Conflict where its list is being made already."""
        if by.role is not Role.MANAGER:
            raise Forbidden("may_not_make_anyway", role=by.role)
        with self._database.writing() as session:
            of_month = select(CaseRow).where(CaseRow.process == EXPIRY.name, CaseRow.number == month)
            case = session.exec(of_month.with_for_update()).first()
            if case is None:
                raise NotFound("no_month_run", month=month)
            if session.get(ExpiryListRow, month):
                raise Conflict("list_begun", month=month)
            now, about = self._clock(), {"what": MADE_ANYWAY}
            session.add(ExpiryListRow(month=month, case_id=case.id, as_of=now))
            session.add(
                EventRow(case_id=case.id, key=MADE_ANYWAY, kind="noted", at=now, by=by.id, role=by.role, data=about)
            )
        log.warning("expiry.made_anyway", month=month, by=by.id)

    @once_more
    def _some_lines(self, month: str, after: str) -> str | None:
        """List the next members; the id of the last of them, None when there were none left or the list is made already."""
        with self._database.writing() as session:
            row = session.get_one(ExpiryListRow, month)
            found = [] if row.made_at else expiring(session, month, after=after, limit=AT_ONCE)
            if not found:
                return None
            lines = select(ExpiryLineRow.member_id).where(ExpiryLineRow.month == month)
            there = set(session.exec(lines.where(col(ExpiryLineRow.member_id).in_([member.id for member in found]))))
            new = [member for member in found if member.id not in there and member.standing not in GONE]
            nth = session.exec(select(func.count()).where(ExpiryLineRow.month == month)).one()
            self._add_lines(session, row, new, nth)
            return found[-1].id

    def _add_lines(self, session: Session, row: ExpiryListRow, members: list[Member], nth: int) -> None:
        rule = rule_of(session, row.month)
        periods = {member.id: rule.period(member, row.month) for member in members}
        if not periods:
            return
        since, until = min(begin for begin, _ in periods.values()), max(end for _, end in periods.values())
        bought = purchases(session, list(periods), since, until)
        for place, member in enumerate(members, start=nth + 1):
            assert member.valid_through
            begin, end = periods[member.id]
            stands = rule.reckon(purchase for purchase in bought[member.id] if begin <= purchase.at < end)
            session.add(
                ExpiryLineRow(
                    month=row.month,
                    member_id=member.id,
                    nth=place,
                    store=member.store,
                    region=self._house.people.region(member.store) or NOWHERE,
                    valid_through=member.valid_through,
                    expires_at=expires_at(member.valid_through, rule.zone),
                    purchases=stands.purchases,
                    fen=int(stands.spend * 100),
                    waived=stands.waived,
                    checked_at=row.as_of,
                )
            )

    @once_more
    def _archive(self, case: str, month: str) -> None:
        """The workbook and the figures, and with them the word to the case that the list is there."""
        with self._database.reading() as session:
            if session.get_one(ExpiryListRow, month).made_at:
                return
            made_at, house = self._clock(), self._house
            book = Book(session, house.keys, house.people, house.calendar, month, made_at).written()
        with self._database.writing() as session:
            session.exec(select(CaseRow).where(CaseRow.id == case).with_for_update()).one()
            row = session.get_one(ExpiryListRow, month, populate_existing=True)
            if row.made_at:
                return
            counts = select(ExpiryLineRow.waived, func.count()).where(ExpiryLineRow.month == month)
            by_waiver = dict(session.exec(counts.group_by(col(ExpiryLineRow.waived))).all())
            row.listed, row.waived = by_waiver.get(False, 0), by_waiver.get(True, 0)
            row.sealed = self._house.keys.seal(book, COLUMN, place_of(month))
            row.keys, row.made_at = self._house.keys.writing, made_at
            made = Listed(as_of=row.as_of, listed=row.listed, waived=row.waived)
            self._submissions.add_in(session, EXPIRY, case, made, CALENDAR, key=f"listed-{case}")
        log.info("expiry.listed", month=month, listed=row.listed, waived=row.waived)

    @once_more
    def _some_notices(self, month: str) -> bool:
        with self._database.writing() as session:
            without = select(ExpiryLineRow).where(
                ExpiryLineRow.month == month,
                col(ExpiryLineRow.waived).is_(False),
                col(ExpiryLineRow.case_id).is_(None),
            )
            lines = session.exec(without.order_by(col(ExpiryLineRow.nth)).limit(OPENED_AT_ONCE)).all()
            for line in lines:
                open_notice(session, self._submissions, self._house.people, line)
            return bool(lines)

    @once_more
    def _rounds(self, month: str, begins_at: datetime) -> None:
        """After the notices: a round that has no notice yet would seem to be done."""
        with self._database.writing() as session:
            row = session.get_one(ExpiryListRow, month)
            if row.opened_at:
                return
            on_list = select(ExpiryLineRow.region, func.count()).where(
                ExpiryLineRow.month == month, col(ExpiryLineRow.case_id).is_not(None)
            )
            for region, members in session.exec(on_list.group_by(col(ExpiryLineRow.region))).all():
                open_round(session, self._submissions, month, region, begins_at, members)
            row.opened_at = self._clock()


def place_of(month: str) -> str:
    """What the archived workbook is bound to."""
    return f"expiry_list/{month}"
