"""Members with cards, in a chain's own system: put into the ledger as its door puts them, and what they buy."""

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from zoneinfo import ZoneInfo

from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from activities.keys import COLUMN
from activities.members import place
from models.tables import CaseRow, ExpiryLineRow, ExpiryListRow, MemberRow, PurchaseRow, SubmissionRow
from starter.expiry.standing import heard_of
from starter.relay import AT_ONCE
from tests.office import Office, eventually

SHANGHAI = ZoneInfo("Asia/Shanghai")
_receipts = count(1)


def at(wall: str) -> datetime:
    """An instant as the clock on the wall shows it in Shanghai."""
    return datetime.fromisoformat(wall).replace(tzinfo=SHANGHAI).astimezone(UTC)


def member(
    office: Office,
    id: str,
    valid_through: str,
    valid_from: str | None = None,
    store: str = "SH01",
    standing: str = "active",
    name: str | None = None,
    session: Session | None = None,
) -> None:
    """Enter a member, or a later version of him."""
    if session is None:
        with office.house.database.writing() as session:
            return member(office, id, valid_through, valid_from, store, standing, name, session)
    keys = office.house.keys
    sent = {
        "member_no": id,
        "store": store,
        "name": name or f"会员{id}",
        "phone": f"138{abs(hash(id)) % 10**8:08}",
        "card_no": f"C-{id}",
    }
    row = session.get(MemberRow, id)
    known = {
        "version": row.version + 1 if row else 1,
        "store": store,
        "region": office.house.people.region(store),
        "valid_from": date.fromisoformat(valid_from) if valid_from else None,
        "valid_through": date.fromisoformat(valid_through),
        "standing": standing,
        "changed_at": office.now(),
        "sealed": keys.seal(json.dumps({"sent": sent}).encode(), COLUMN, place(id)),
    }
    if row is None:
        row = MemberRow(id=id, digest="", entered_at=office.now(), findings={}, keys=keys.writing, **known)
    for name, value in known.items():
        setattr(row, name, value)
    session.add(row)
    return None


def bought(
    office: Office,
    id: str,
    *amounts: str,
    on: datetime | None = None,
    refund_of: str | None = None,
    heard: bool = True,
) -> list[str]:
    """Receipts of a member come in, all in one message; the receipts' numbers. `heard`: the door says so at once."""
    numbers = []
    with office.house.database.writing() as session:
        for amount in amounts:
            numbers.append(f"R{next(_receipts)}")
            session.add(
                PurchaseRow(
                    receipt=numbers[-1],
                    member_id=id,
                    at=on or office.now(),
                    fen=int(Decimal(amount) * 100),
                    refund_of=refund_of,
                    recorded_at=office.now(),
                )
            )
        session.flush()
        if heard:
            heard_of(office.submissions, office.house.people, session, office.now(), [id])
    return numbers


async def until(office: Office, instant: datetime) -> None:
    await office.pass_time(max(instant - office.now(), timedelta(0)))


async def delivered(office: Office) -> None:
    """As the relay does, as many at once, until nothing waits."""
    while cases := office.docket.waiting(AT_ONCE, again=False) or office.docket.waiting(AT_ONCE, again=True):
        await asyncio.gather(*(_deliver(office, case) for case in cases))


async def _deliver(office: Office, case: str) -> None:
    with suppress(OperationalError):  # a ledger that is busy for long: the relay, too, comes again
        await office.relay.deliver(case)


async def month_opens(office: Office, process: str = "expiry") -> None:
    """The calendar opens what it opens at this instant."""
    await asyncio.to_thread(office.front.almanac.open_due, process, office.now())
    await delivered(office)


async def listed(office: Office, month: str) -> None:
    """Wait for a list, all of its notices and rounds."""

    def there() -> bool:
        with office.house.database.reading() as session:
            row = session.get(ExpiryListRow, month)
            return bool(row and row.opened_at)

    await eventually(there, within=60)
    await delivered(office)


async def looked_round(office: Office) -> None:
    """As `kefu watch` does every half minute."""
    await asyncio.to_thread(office.front.rounds.round)
    await delivered(office)


def lines(office: Office, month: str) -> dict[str, ExpiryLineRow]:
    with office.house.database.reading() as session:
        return {row.member_id: row for row in session.exec(select(ExpiryLineRow).where(ExpiryLineRow.month == month))}


def on_list(office: Office, month: str) -> set[str]:
    return {who for who, line in lines(office, month).items() if not line.waived}


def waived(office: Office, month: str) -> set[str]:
    return {who for who, line in lines(office, month).items() if line.waived}


def notice_of(office: Office, id: str, month: str) -> CaseRow:
    case = lines(office, month)[id].case_id
    assert case
    return office.case(case)


def cases(office: Office, process: str) -> dict[str, CaseRow]:
    with office.house.database.reading() as session:
        rows = session.exec(select(CaseRow).where(CaseRow.process == process).order_by(col(CaseRow.number)))
        return {row.number: row for row in rows}


def undecided(office: Office) -> Iterable[SubmissionRow]:
    with office.house.database.reading() as session:
        return session.exec(select(SubmissionRow).where(SubmissionRow.state == "pending")).all()
