"""What is committed and not decided yet: whose turn it is, who delivers it, what starts its case, and what became of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import structlog
from sqlmodel import Session, col, func, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from activities.cases import locked
from activities.database import Database
from activities.duplicates import left_to_nobody
from activities.keys import KeyRing
from activities.submissions import as_submission
from models.organisation import Wanted, Who
from models.people import Role
from models.tables import CaseRow, EventRow, NoticeRow, SubmissionRow
from models.tasks import OPENING, REOPENING, Opened, Refusal, Submission
from starter.facts import corrects
from starter.library.words import shelve_anew
from starter.refusals import NotFound

LEASE = timedelta(seconds=12)
"""How long one deliverer has a case to himself: longer than he waits for an answer; a killed one holds it up no longer."""
LONGEST_WAIT = timedelta(seconds=8)

log = structlog.get_logger()


@dataclass(frozen=True)
class Delivery:
    """The oldest undecided submission of a case, ready to send; with what starts the case where it opens it, or opens it again."""

    submission: Submission
    process: str
    opened: Opened[Any, Any] | None


@dataclass(frozen=True)
class Receipt:
    """A committed submission and what is known of it: `pending`, `decided` or `refused`."""

    submission: str
    case: str
    state: str
    refusal: Refusal | None
    first: bool
    """Whether this call committed it; false for a repetition."""
    form: str = OPENING
    delivery: Delivery | None = None
    """What the one who committed it may send now, the case's lease being his; None when somebody else delivers."""

    @classmethod
    def of(cls, row: SubmissionRow, first: bool = False, delivery: Delivery | None = None) -> Self:
        refusal = Refusal.model_validate(row.refusal) if row.refusal and row.state == "refused" else None
        return cls(row.id, row.case_id, row.state, refusal, first, row.form, delivery)


class Docket:
    """The ledger's side of every deliverer: what waits, oldest first, one deliverer a case; then what Temporal answered.

    `clock` gives the present instant, UTC.
    """

    def __init__(self, database: Database, keys: KeyRing, people: Who, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._keys = keys
        self._people = people
        self._clock = clock

    # Delivering

    def waiting(self, limit: int, again: bool) -> list[str]:
        """Cases with something to deliver now, the longest waiting first: those never tried, or those tried in vain."""
        now = self._clock()
        with self._database.reading() as session:
            return list(
                session.exec(
                    select(CaseRow.id)
                    .join(SubmissionRow, col(SubmissionRow.case_id) == col(CaseRow.id))
                    .where(SubmissionRow.state == "pending", SubmissionRow.next_try_at <= now)
                    .where(or_(col(CaseRow.leased_until).is_(None), col(CaseRow.leased_until) <= now))
                    .group_by(col(CaseRow.id))
                    .having(func.max(SubmissionRow.attempts) > 0 if again else func.max(SubmissionRow.attempts) == 0)
                    .order_by(func.min(SubmissionRow.next_try_at))
                    .limit(limit)
                )
            )

    def next_of(self, case_id: str, holder: str) -> Delivery | None:
        """Take or renew the case's lease and get its oldest undecided submission; None, and no lease, when there is none.

        Whoever holds the lease delivers alone: what arrives meanwhile is found by his next call.
        """
        with self._database.writing() as session:
            return take_lease(session, self._keys, locked(session, case_id), holder, self._clock())

    def postpone(self, case_id: str, submission: str, holder: str) -> None:
        """No answer: try again later, and let go of the case."""
        with self._database.writing() as session:
            case = locked(session, case_id)
            row = session.get_one(SubmissionRow, submission)
            row.attempts += 1
            row.next_try_at = self._clock() + min(timedelta(seconds=0.5 * 2 ** min(row.attempts, 5)), LONGEST_WAIT)
            if case.leased_by == holder:
                case.leased_by = case.leased_until = None

    def rebuilt(self, case_id: str) -> Delivery:
        """What starts a case anew from all that was decided in it: its opening, the rest as its past. Notes the key that seals it."""
        with self._database.writing() as session:
            case = locked(session, case_id)
            case.keys = self._keys.noted(case.keys)
            opening = opening_of(session, case)
            return _starting(case, opening, opening, _decided(session, case))

    # Deciding

    def decide(self, submission: str, refusal: Refusal | None, holder: str) -> Delivery | None:
        """Write what Temporal answered, and go on as `next_of` does. Only who holds the answer calls this; its notices go out now."""
        told: list[NoticeRow] = []
        with self._database.writing() as session:
            case, row = _held(session, submission)
            now = self._clock()
            if row.state == "pending":
                told += self._decide(session, row, refusal, now)
            if row.form == OPENING and case.entered_at:
                told += self._decide_past(session, case, now)
            delivery = take_lease(session, self._keys, case, holder, now)
        for notice in told:
            log.info("notice", what=notice.what, to=notice.person, case=notice.case_id, task=notice.task)
        return delivery

    def decide_without_engine(self, submission: str, holder: str) -> bool:
        """The engine no longer runs the case: an archived one decides by what is in the ledger. False for an open one, and for
        what opens one again: its run was just ending, and another begins with the next try."""
        with self._database.reading() as session:
            row = session.get_one(SubmissionRow, submission)
            archived = session.get_one(CaseRow, row.case_id).state == "archived"
            happened = session.exec(select(EventRow.id).where(EventRow.submission == submission)).first()
            against = Refusal.model_validate(row.refusal) if row.refusal else Refusal(code="case_closed")
            is_over = archived and (happened is not None or row.form != REOPENING)
        if is_over:
            self.decide(submission, None if happened else against, holder)
        return is_over

    def _decide(self, session: Session, row: SubmissionRow, refusal: Refusal | None, now: datetime) -> list[NoticeRow]:
        """Write the decision; returns the notices that go out with it."""
        row.state, row.decided_at = ("refused" if refusal else "decided"), now
        if refusal:
            row.refusal = refusal.model_dump()
        elif corrects(row.form, row.by):
            shelve_anew(session, row.case_id)
        notice = left_to_nobody(session, self._people, row, is_refused=bool(refusal))
        if refusal and row.deferred:
            notice = notice or self._refusal_notice(session, row, refusal, now)
        if notice:
            session.add(notice)
            session.flush()
        told = list(session.exec(select(NoticeRow).where(NoticeRow.submission == row.id)))
        for notice in told:
            notice.delivered_at = now
        return told

    def _refusal_notice(self, session: Session, row: SubmissionRow, refusal: Refusal, now: datetime) -> NoticeRow:
        """To whoever sent it; what a machine sent, the administrator sees to."""
        machine = row.role == Role.SYSTEM
        person = self._people.resolve(Role.ADMINISTRATOR, Wanted(row.case_id, now)) if machine else row.by
        return NoticeRow(
            person=person,
            key=_refused(row),
            what="refused",
            case_id=row.case_id,
            task=row.task,
            submission=row.id,
            created_at=now,
            data={"form": row.form, **refusal.model_dump()},
        )

    def _decide_past(self, session: Session, case: CaseRow, now: datetime) -> list[NoticeRow]:
        """What a case took along when it began is decided with its opening; its events say that it was taken."""
        taken = set(session.exec(select(EventRow.submission).where(EventRow.case_id == case.id)))
        waiting = [row for row in _of(session, case) if row.state == "pending" and row.id in taken]
        return [notice for row in waiting for notice in self._decide(session, row, None, now)]

    # What became of it

    def receipt(self, submission: str) -> Receipt:
        """What became of a submission. NotFound when there is none."""
        with self._database.reading() as session:
            row = session.get(SubmissionRow, submission)
            if row is None:
                raise NotFound("no_such_submission", submission=submission)
            return Receipt.of(row)

    def heard(self, submission: str) -> None:
        """The sender hears of the refusal himself: the notice of it is not needed. Where this fails, he hears twice."""
        with self._database.writing() as session:
            _, row = _held(session, submission)
            row.deferred = False
            for notice in session.exec(
                select(NoticeRow).where(NoticeRow.person == row.by, NoticeRow.key == _refused(row))
            ):
                session.delete(notice)


def take_lease(
    session: Session,
    keys: KeyRing,
    case: CaseRow,
    holder: str | None,
    now: datetime,
    oldest: SubmissionRow | None = None,
) -> Delivery | None:
    """`next_of`, as part of a writing transaction: also a door's, which may take the lease along with what it commits.

    None, too, without a holder, and while somebody else has the lease. `oldest` where it is known which submission that is.
    """
    if holder is None or (
        case.leased_by not in (None, holder) and case.leased_until is not None and case.leased_until > now
    ):
        return None
    row = oldest or session.exec(_submissions(case).where(SubmissionRow.state == "pending").limit(1)).first()
    if row is None:
        case.leased_by = case.leased_until = None
        return None
    case.leased_by, case.leased_until = holder, now + LEASE
    case.keys = keys.noted(case.keys)
    if row.form == OPENING:
        return _starting(case, row, row, past_of(session, case))
    if row.form == REOPENING:  # starts the case anew from all that was decided in it, unless it runs
        before = [*_decided(session, case), row]
        return _starting(case, row, opening_of(session, case), before)
    return Delivery(as_submission(row), case.process, None)


def opening_of(session: Session, case: CaseRow) -> SubmissionRow:
    return session.exec(
        select(SubmissionRow).where(SubmissionRow.case_id == case.id, SubmissionRow.form == OPENING)
    ).one()


def past_of(session: Session, case: CaseRow) -> list[SubmissionRow]:
    """What a case came with, its opening first; nothing where it began here."""
    return [row for row in _of(session, case) if row.recorded_at < case.entered_at] if case.entered_at else []


def _starting(case: CaseRow, sent: SubmissionRow, opening: SubmissionRow, past: list[SubmissionRow]) -> Delivery:
    opened = Opened[Any, Any].model_construct(
        case=opening.outline,
        promises=case.promises,
        submission=opening.id,
        by=opening.by,
        role=Role(opening.role),
        at=opening.recorded_at,
        cycle=case.first_cycle,
        entered_at=case.entered_at,
        past=[as_submission(row) for row in past if row.id != opening.id],
    )
    return Delivery(as_submission(sent), case.process, opened)


def _decided(session: Session, case: CaseRow) -> list[SubmissionRow]:
    return [row for row in _of(session, case) if row.state == "decided"]


def _of(session: Session, case: CaseRow) -> list[SubmissionRow]:
    return list(session.exec(_submissions(case)))


def _submissions(case: CaseRow) -> SelectOfScalar[SubmissionRow]:
    return select(SubmissionRow).where(SubmissionRow.case_id == case.id).order_by(col(SubmissionRow.recorded_at))


def _held(session: Session, submission: str) -> tuple[CaseRow, SubmissionRow]:
    """A submission, its case locked first: what is read of either holds until the transaction ends."""
    case_id = select(SubmissionRow.case_id).where(SubmissionRow.id == submission).scalar_subquery()
    case = session.exec(select(CaseRow).where(CaseRow.id == case_id).with_for_update()).one()
    return case, session.get_one(SubmissionRow, submission)


def _refused(row: SubmissionRow) -> str:
    """The key of the notice that it was refused."""
    return f"{row.id}/refused"
