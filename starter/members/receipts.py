"""Purchases of members, as they come: each receipt once."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from activities import members
from activities.keys import KeyRing
from activities.members import AT_ONCE
from models.forms import FieldError
from models.members import PurchaseRecord
from models.people import Directory
from models.tables import FinderRow, PurchaseRow
from starter.members.register import Follower, Taken
from starter.members.rules import number_of
from starter.refusals import Conflict, Invalid, Refused


class Receipts:
    """What webhook, files and pull have in common. Everything happens within the caller's transaction."""

    def __init__(self, keys: KeyRing, people: Directory) -> None:
        self._keys = keys
        self._people = people
        self.followers: list[Follower] = []
        """Told of members who have bought something, or were paid back."""

    def take(self, session: Session, now: datetime, record: PurchaseRecord) -> Taken:
        """One receipt. Invalid or Conflict where it cannot be taken."""
        [taken] = self.take_all(session, now, [record])
        if isinstance(taken, Refused):
            raise taken
        return taken

    def take_all(self, session: Session, now: datetime, records: Sequence[PurchaseRecord]) -> list[Taken | Refused]:
        """Receipts and refunds in their order, each taken or refused. The same one again is known."""
        wanted = [record.receipt for record in records]
        known = {
            row.receipt: row for row in session.exec(select(PurchaseRow).where(col(PurchaseRow.receipt).in_(wanted)))
        }
        buyers = self._buyers(session, records)
        outcomes: list[Taken | Refused] = []
        for record in records:
            try:
                row = self._row(record, buyers, now)
                old = known.get(row.receipt)
                if old and _said(old) != _said(row):
                    raise Conflict("receipt_taken", receipt=row.receipt)
            except Refused as refused:
                outcomes.append(refused)
                continue
            if old is None:
                known[row.receipt] = row
                session.add(row)
            outcomes.append(Taken("known" if old else "new", row.member_id))
        session.flush()
        touched = [taken.id for taken in outcomes if isinstance(taken, Taken) and taken.what == "new"]
        for follow in self.followers if touched else ():
            follow(session, now, list(dict.fromkeys(touched)))
        return outcomes

    def _buyers(self, session: Session, records: Sequence[PurchaseRecord]) -> dict[str, str]:
        """The member of each number that is known."""
        wanted: dict[str, str] = {}
        for record in records:
            number = number_of(record.member_no)
            wanted |= dict.fromkeys(members.finders(self._keys, "number", number), number)
        found: dict[str, str] = {}
        values = list(wanted)
        for part in (values[at : at + AT_ONCE] for at in range(0, len(values), AT_ONCE)):
            of_number = select(FinderRow.value, FinderRow.member_id).where(FinderRow.kind == "number")
            found |= {
                wanted[value]: member for value, member in session.exec(of_number.where(col(FinderRow.value).in_(part)))
            }
        return found

    def _row(self, record: PurchaseRecord, buyers: Mapping[str, str], now: datetime) -> PurchaseRow:
        member = buyers.get(number_of(record.member_no))
        if member is None:
            raise Invalid([FieldError(field="member_no", code="unknown_member")])
        if record.store and self._people.store(record.store) is None:
            raise Invalid([FieldError(field="store", code="unknown_store")])
        return PurchaseRow(
            receipt=record.receipt,
            member_id=member,
            store=record.store,
            at=record.at,
            fen=int(record.amount * 100),
            refund_of=record.refund_of,
            recorded_at=now,
        )


def _said(row: PurchaseRow) -> dict[str, object]:
    return row.model_dump(exclude={"recorded_at"})
