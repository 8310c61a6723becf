"""Whom a line of a plan is about: a member or not, what is known of him, and what speaks against calling him."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.orm import aliased
from sqlmodel import Session, and_, col, func, select

from activities.keys import COLUMN, KeyRing
from activities.members import found, whole
from models.complaint import COMPLAINT
from models.forms import LEDGER
from models.organisation import Who
from models.tables import CaseRow, CustomerRow, MemberRow, PurchaseRow, VisitFinderRow, VisitRow
from models.visits.facts import PlannedVisit
from models.visits.months import begins, months_before
from starter.customers import values_of
from starter.numbers import Kind, folded, normal
from starter.refusals import Invalid

CHURNED_AFTER = 3
"""Months without a purchase, after which a member counts as churned (handbook 5.4, T23)."""
FOUND_BY: dict[str, str] = {"number": "member_no", "card": "card_no", "phone": "phone"}


@dataclass(frozen=True)
class Whom:
    """The customer of a line: the line with what the member's record adds to it, and the member, where he is one."""

    line: PlannedVisit
    member: str | None

    @property
    def identity(self) -> str:
        """What tells him from others in one plan."""
        for kind, number in (("member", self.member), ("phone", self.line.phone), ("card", self.line.card_no)):
            if number:
                return f"{kind}:{number if kind == 'member' else normalised(kind, number) or number}"
        return f"name:{self.line.name}"


def normalised(kind: str, number: str) -> str | None:
    """A number as every spelling of it comes out; None where it is none."""
    try:
        return normal("phone" if kind == "phone" else "card", number)
    except Invalid:
        return None


def member_of(session: Session, keys: KeyRing, line: PlannedVisit) -> MemberRow | None:
    """The member that a line names by his number, his card or his phone, if exactly one has it."""
    for kind, field in FOUND_BY.items():
        said = getattr(line, field)
        for number in _spellings(kind, said) if said else ():
            ids = found(session, keys, kind, number)
            if len(ids) == 1:
                return session.get(MemberRow, ids[0])
    return None


def _spellings(kind: str, said: str) -> list[str]:
    """As it is filed: in its normal form."""
    spelt = re.sub(r"[\W_]", "", folded(said)).upper() if kind == "number" else normalised(kind, said)
    return [spelt] if spelt else []


def is_theirs(people: Who, member: MemberRow, store: str) -> bool:
    """Whether a member is of a store, or of a closed one that it follows (5.3 E55)."""
    home = people.store(member.store)
    return member.store == store or (home is not None and home.successor == store)


def stores_followed(people: Who, store: str, on: date) -> list[str]:
    """The stores whose members are a store's to visit: its own, and those that it follows and that are closed on a day."""
    followed = [one.code for one in people.stores if one.successor == store and one.is_closed_on(on)]
    return [store, *followed]


def with_record(line: PlannedVisit, record: Mapping[str, Any]) -> PlannedVisit:
    """A line with what it left empty taken from the member's record."""
    known = {field: record.get(field) for field in ("member_no", "name", "phone", "card_no")}
    return line.model_copy(update={field: said for field, said in known.items() if said and not getattr(line, field)})


def record_of(member: MemberRow, keys: KeyRing) -> dict[str, Any]:
    return whole(member, keys)


# What is sealed of a line


def seal(keys: KeyRing, visit: str, line: PlannedVisit) -> bytes:
    document = line.model_dump(mode="json", context=LEDGER, exclude_none=True)
    return keys.seal(json.dumps(document, ensure_ascii=False).encode(), COLUMN, f"visit/{visit}")


def line_of(keys: KeyRing, row: VisitRow) -> PlannedVisit:
    """The line as it was planned, in full."""
    return PlannedVisit.model_validate_json(keys.open(row.sealed, COLUMN, f"visit/{row.id}"))


def finders(keys: KeyRing, visit: str, line: PlannedVisit) -> list[VisitFinderRow]:
    """What a line's customer is found by."""
    values = numbers(line)
    return [VisitFinderRow(visit_id=visit, kind=kind, value=keys.index(_bytes(kind, value))) for kind, value in values]


def numbers(line: PlannedVisit) -> list[tuple[Kind, str]]:
    said: list[tuple[Kind, str | None]] = [("phone", line.phone), ("card", line.card_no)]
    return [(kind, number) for kind, text in said if text and (number := normalised(kind, text))]


def called(line: PlannedVisit) -> set[str]:
    """Every number that a line calls its customer by, each in its normal form."""
    by_number = {f"{kind}:{number}" for kind, number in numbers(line)}
    return by_number | {f"number:{spelt}" for spelt in _spellings("number", line.member_no or "")}


def _bytes(kind: str, number: str) -> bytes:
    return f"{kind}:{number}".encode()  # as the customers of cases are kept: one number is one value


# What speaks against a call


def open_complaint(session: Session, keys: KeyRing, line: PlannedVisit) -> str | None:
    """An open complaint of the customer: while he has one, nobody makes him a courtesy call (5.3 E59)."""
    values = [value for kind, number in numbers(line) for value in values_of(keys, kind, number)]
    if not values:
        return None
    query = select(CaseRow.id).join(CustomerRow, col(CustomerRow.case_id) == col(CaseRow.id))
    query = query.where(is_open_complaint(), col(CustomerRow.value).in_(values))
    return session.exec(query.order_by(col(CaseRow.opened_at)).limit(1)).first()


def is_open_complaint() -> Any:
    """A condition on cases: open, and taken for a complaint now, whatever it was opened as (5.2 E31)."""
    return and_(CaseRow.process == COMPLAINT.name, CaseRow.taken_for == "complaint", CaseRow.state == "open")


def churned_before(today: date, zone: ZoneInfo) -> datetime:
    """Who has bought nothing since this instant is churned: longer ago than three calendar months (handbook 2.5)."""
    return begins(months_before(today, CHURNED_AFTER), zone)


def is_sale() -> Any:
    """What counts as a purchase, for a query: no refund, and nothing that was paid back whole (handbook D-8)."""
    refund = aliased(PurchaseRow)
    back = select(func.sum(refund.fen)).where(refund.refund_of == PurchaseRow.receipt).scalar_subquery()
    return col(PurchaseRow.refund_of).is_(None) & (back.is_(None) | (back < PurchaseRow.fen))


def last_purchases(session: Session, members: list[str]) -> dict[str, datetime]:
    """When each of these members bought something last."""
    query = select(PurchaseRow.member_id, func.max(PurchaseRow.at)).where(
        col(PurchaseRow.member_id).in_(members), is_sale()
    )
    return {member: at for member, at in session.exec(query.group_by(col(PurchaseRow.member_id))) if at}


def flags(session: Session, keys: KeyRing, row: VisitRow, line: PlannedVisit, today: date, zone: ZoneInfo) -> list[str]:
    """`open_complaint`, `card_expired`, `churned`, `left`: what whoever calls should know first."""
    found_flags = ["open_complaint"] if open_complaint(session, keys, line) else []
    member = session.get(MemberRow, row.member_id) if row.member_id else None
    if member is None:
        return found_flags
    if member.valid_through and member.valid_through < today:
        found_flags.append("card_expired")
    bought = last_purchases(session, [member.id]).get(member.id)
    if is_churned(member, bought, today, zone):
        found_flags.append("churned")
    return found_flags + (["left"] if member.standing in ("left", "moved") else [])


def is_churned(member: MemberRow, bought: datetime | None, today: date, zone: ZoneInfo) -> bool:
    """Nothing bought for over three months; of who never bought anything, counted from the day he joined."""
    since = churned_before(today, zone)
    if bought is not None:
        return bought < since
    return member.joined_on is not None and begins(member.joined_on, zone) < since
