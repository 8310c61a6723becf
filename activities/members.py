"""Members and purchases for whoever asks: a class of three questions, answered by the local tables here, and elsewhere by the member system itself.

Workflows, lists and months ask the local tables, which webhook, files and pull keep up to date; `starter/members/` asks the
member system.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol, cast

from sqlmodel import Session, col, or_, select

from activities.database import Database
from activities.keys import COLUMN, KeyRing
from models.members import Member, Purchase, Standing, filled, month_days
from models.tables import FinderRow, MemberRow, PurchaseRow

AT_ONCE = 500
"""Rows of one query, and ids in one list of a query: what every database takes."""


class Members(Protocol):
    """What the house needs of a member system. Each may be asked again: it changes nothing."""

    def changed(self, since: datetime) -> Iterable[Member]:
        """Members that are new, or were changed at `since` or after it (UTC), the longest ago first."""

    def expiring(self, month: str) -> Iterable[Member]:
        """Members whose card's last day lies in a month like `2027-02`, whatever their standing."""

    def purchases(self, member: str, since: datetime, until: datetime) -> Iterable[Purchase]:
        """Orders of a member paid from `since` to before `until` (UTC), each net of all that was ever paid back on it."""


class LocalMembers:
    """The local tables. Ids are ours. Each answer is read in short parts: it is no snapshot."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def changed(self, since: datetime) -> Iterator[Member]:
        after, last = since, ""
        while True:
            with self._database.reading() as session:
                later = or_(
                    col(MemberRow.changed_at) > after, (col(MemberRow.changed_at) == after) & (col(MemberRow.id) > last)
                )
                query = select(MemberRow).where(later).order_by(col(MemberRow.changed_at), col(MemberRow.id))
                rows = list(session.exec(query.limit(AT_ONCE)))
            if not rows:
                return
            yield from map(member_of, rows)
            after, last = rows[-1].changed_at, rows[-1].id

    def expiring(self, month: str) -> Iterator[Member]:
        last = ""
        while True:
            with self._database.reading() as session:
                found = expiring(session, month, after=last, limit=AT_ONCE)
            if not found:
                return
            yield from found
            last = found[-1].id

    def purchases(self, member: str, since: datetime, until: datetime) -> list[Purchase]:
        with self._database.reading() as session:
            return purchases(session, [member], since, until)[member]


def member_of(row: MemberRow) -> Member:
    return Member(
        id=row.id,
        version=row.version,
        store=row.store,
        region=row.region,
        joined_on=row.joined_on,
        valid_from=row.valid_from,
        valid_through=row.valid_through,
        standing=cast(Standing, row.standing),
    )


def expiring(session: Session, month: str, after: str = "", limit: int = AT_ONCE) -> list[Member]:
    """A part of the members whose card's last day lies in a month, by id: those after one."""
    first, following = month_days(month)
    query = select(MemberRow).where(col(MemberRow.valid_through) >= first, col(MemberRow.valid_through) < following)
    query = query.where(MemberRow.id > after).order_by(col(MemberRow.id)).limit(limit)
    return [member_of(row) for row in session.exec(query)]


def purchases(
    session: Session, members: Collection[str], since: datetime, until: datetime
) -> dict[str, list[Purchase]]:
    """What each of these members paid in a period, in order, net of refunds; nothing paid is an empty list.

    A refund counts against the order it pays back, whenever it came. One whose order nobody knows counts against nothing.
    """
    found: dict[str, list[Purchase]] = {member: [] for member in members}
    ids = list(found)
    for part in (ids[at : at + AT_ONCE] for at in range(0, len(ids), AT_ONCE)):
        paid = select(PurchaseRow).where(
            col(PurchaseRow.member_id).in_(part),
            PurchaseRow.at >= since,
            PurchaseRow.at < until,
            col(PurchaseRow.refund_of).is_(None),
        )
        orders = list(session.exec(paid.order_by(col(PurchaseRow.at), col(PurchaseRow.receipt))))
        back = _paid_back(session, part)
        for row in orders:
            found[row.member_id].append(
                Purchase(
                    receipt=row.receipt,
                    member=row.member_id,
                    store=row.store,
                    at=row.at,
                    paid=_yuan(row.fen),
                    refunded=min(_yuan(back.get(row.receipt, 0)), _yuan(row.fen)),
                )
            )
    return found


def _paid_back(session: Session, members: Collection[str]) -> dict[str, int]:
    """Fen that were paid back to these members, by the receipt they were paid back on."""
    refunds = select(PurchaseRow.refund_of, PurchaseRow.fen).where(
        col(PurchaseRow.member_id).in_(members), col(PurchaseRow.refund_of).is_not(None)
    )
    back: dict[str, int] = {}
    for receipt, fen in session.exec(refunds):
        assert receipt
        back[receipt] = back.get(receipt, 0) + fen
    return back


def _yuan(fen: int) -> Decimal:
    return Decimal(fen) / 100


# What is sealed of a member


def place(member: str) -> str:
    """What the sealed column of a member is bound to."""
    return f"member/{member}"


def unsealed(row: MemberRow, keys: KeyRing) -> dict[str, Any]:
    """The record as the member system sent it (`sent`), and what was filled in here (`here`), each with what it stands for."""
    document: dict[str, Any] = json.loads(keys.open(row.sealed, COLUMN, place(row.id)))
    return document


def whole(row: MemberRow, keys: KeyRing) -> dict[str, Any]:
    """All that is known of a member, field by field, in full: for who may read it, and never for a log or a history."""
    return merged(unsealed(row, keys))


def merged(document: dict[str, Any]) -> dict[str, Any]:
    """The record, and what was filled in here where the member system still says what it said then."""
    sent, here = document["sent"], document.get("here", {})
    own = {name: said["value"] for name, said in here.items() if sent.get(name) == said["instead_of"]}
    return filled({**sent, **own})


# Finding


def finder(keys: KeyRing, kind: str, number: str) -> str:
    """What a number, in its normal form, is kept as: with the writing key."""
    return keys.index(f"member-{kind}:{number}".encode())


def finders(keys: KeyRing, kind: str, number: str) -> list[str]:
    """What a number may have been kept as: by each key of the ring."""
    return keys.indexes(f"member-{kind}:{number}".encode())


def found(session: Session, keys: KeyRing, kind: str, number: str) -> list[str]:
    """The ids of the members with a number, in its normal form."""
    query = select(FinderRow.member_id).where(
        FinderRow.kind == kind, col(FinderRow.value).in_(finders(keys, kind, number))
    )
    return sorted(set(session.exec(query)))


def read_day(text: str | None) -> date | None:
    """A day as records have it; None where there is none, or what is there is no day."""
    if not text:
        return None
    plain = text.strip().replace("/", "-").replace(".", "-")
    try:
        year, month, day = map(int, plain[:10].split("-"))
        return date(year, month, day) if 1900 <= year <= 2200 else None
    except ValueError:
        return None
