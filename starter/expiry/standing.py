"""Where the members of a list stand now: whom a purchase, a change of his card or its last day takes off it, or a refund puts on it.

The member system's door calls `heard_of` in the transaction that writes what it heard. Whatever came another way, the
round finds (`rounds.py`), by the same function.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal

import structlog
from sqlmodel import Session, col, func, select

from activities.members import AT_ONCE, member_of, purchases
from models.expiry import EXPIRY_NOTICE, Because, ExpiryNotice, ExpiryPromises, Reckoned, Settled, Waiver
from models.members import Member
from models.organisation import Who
from models.people import CALENDAR
from models.tables import CaseRow, EventRow, ExpiryLineRow, ExpiryListRow, MemberRow, SubmissionRow
from models.tasks import OPENING
from starter.expiry.calls import one_more_call
from starter.submissions import Submissions

MADE_ANYWAY = "made_anyway"
"""What the timeline calls a list that was not waited for."""

log = structlog.get_logger()


def heard_of(submissions: Submissions, people: Who, session: Session, now: datetime, members: Collection[str]) -> None:
    """Judge anew the members of whom something was just written: a receipt, a refund, a later version. The relay delivers
    what comes of it."""
    ids = list(members)
    for part in (ids[begin : begin + AT_ONCE] for begin in range(0, len(ids), AT_ONCE)):
        wanted = col(ExpiryLineRow.member_id).in_(part)
        lines = session.exec(select(ExpiryLineRow).where(wanted, ExpiryLineRow.expires_at > now)).all()
        judge(session, submissions, people, lines, now)


def judge(
    session: Session, submissions: Submissions, people: Who, lines: Sequence[ExpiryLineRow], now: datetime
) -> list[str]:
    """End the notices of those for whom there is nothing left to wait; list who has lost the waiver."""
    touched = []
    rules = {month: rule_of(session, month) for month in {line.month for line in lines}}
    for line in lines:
        if line.case_id is None and not (line.waived and _is_listed(session, line.month)):
            continue  # its list is being made: it comes again
        line.checked_at = now
        member = member_of(session.get_one(MemberRow, line.member_id))
        now_stands = reckoned(session, rules[line.month], member, line)
        if line.case_id is None or _ended_by_the_waiver(session, line.case_id):
            if not now_stands.waived and line.expires_at > now:
                _count(line, now_stands)
                touched.append(open_notice(session, submissions, people, line))
                if session.get_one(
                    ExpiryListRow, line.month
                ).opened_at:  # else the rounds are still to come, this call in them
                    one_more_call(session, submissions, line, begun_at(session, line.month), now)
        elif because := _ended(line, member, now_stands, now):
            touched += _settle(session, submissions, line.case_id, because)
    return touched


def rule_of(session: Session, month: str) -> Waiver:
    """The rule a list was made by."""
    row = session.get_one(ExpiryListRow, month)
    case = session.get_one(CaseRow, row.case_id)
    return ExpiryPromises.model_validate(case.promises).terms.waiver


def reckoned(session: Session, rule: Waiver, member: Member, line: ExpiryLineRow) -> Reckoned:
    """What a member has bought until now in the year of the card that the list is about, whatever card he has today."""
    since, until = rule.period(of_list(member, line), line.month)
    return rule.reckon(purchases(session, [member.id], since, until)[member.id])


def of_list(member: Member, line: ExpiryLineRow) -> Member:
    """The member with the card that is on the list: he may have another by now."""
    if member.valid_through == line.valid_through:
        return member
    return Member(**(vars(member) | {"valid_through": line.valid_through, "valid_from": None}))


def open_notice(session: Session, submissions: Submissions, people: Who, line: ExpiryLineRow) -> str:
    """The notice of a member of the list, its number his place on it; another one where a purchase that ended it was paid back."""
    number = f"{line.month}-{line.nth:05}"
    earlier = select(func.count()).where(
        CaseRow.process == EXPIRY_NOTICE.name, col(CaseRow.number).startswith(number, autoescape=True)
    )
    nth = session.exec(earlier).one() + 1
    facts = ExpiryNotice(
        notice_no=number if nth == 1 else f"{number}-{nth}",
        month=line.month,
        member=line.member_id,
        store=line.store if people.store(line.store) else None,
        valid_through=line.valid_through,
        begins_at=begun_at(session, line.month),
        expires_at=line.expires_at,
        purchases=line.purchases,
        spend=yuan(line.fen),
    )
    line.waived, line.case_id = False, submissions.open_in(session, EXPIRY_NOTICE, facts, CALENDAR).case
    return line.case_id


def begun_at(session: Session, month: str) -> datetime:
    """When a month's run began: the clocks of its calls run from there."""
    run = session.get_one(ExpiryListRow, month).case_id
    opening = select(SubmissionRow.outline).where(SubmissionRow.case_id == run, SubmissionRow.form == OPENING)
    return datetime.fromisoformat(session.exec(opening).one()["begins_at"])


def made_anyway_by(session: Session, row: ExpiryListRow) -> str | None:
    """Who had the list made without waiting for the member system: what it would have told may be missing on it."""
    said = select(EventRow.by).where(EventRow.case_id == row.case_id, EventRow.key == MADE_ANYWAY)
    return session.exec(said).first()


def yuan(fen: int) -> Decimal:
    return Decimal(fen) / 100


def _count(line: ExpiryLineRow, stands: Reckoned) -> None:
    line.purchases, line.fen = stands.purchases, int(stands.spend * 100)


def _ended_by_the_waiver(session: Session, notice: str) -> bool:
    """Whether a purchase has ended it, which may be paid back again."""
    case = session.get_one(CaseRow, notice)
    return (case.state, case.closed_because) == ("archived", "waiver_reached")


def _is_listed(session: Session, month: str) -> bool:
    return session.get_one(ExpiryListRow, month).made_at is not None


def _ended(line: ExpiryLineRow, member: Member, stands: Reckoned, now: datetime) -> Because | None:
    """Why a member needs no notice any more."""
    if stands.waived:
        return "waiver_reached"
    if member.valid_through and member.valid_through > line.valid_through:
        return "renewed"
    if member.standing == "left":
        return "left"
    if member.standing == "replaced":
        return "card_replaced"
    return "expired" if line.expires_at <= now else None


def _settle(session: Session, submissions: Submissions, case: str, because: Because) -> list[str]:
    """Hand in what has ended a notice, once."""
    key = f"settled-{case}"
    row = session.exec(select(CaseRow).where(CaseRow.id == case).with_for_update()).one()
    told = session.get(SubmissionRow, key)
    if row.state != "open" or told:
        return []
    submissions.add_in(session, EXPIRY_NOTICE, case, Settled(because=because), CALENDAR, key=key)
    log.info("expiry.settled", case=case, because=because)
    return [case]
