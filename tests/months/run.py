"""The product through every month: the calendar opens it, the list is made, purchases come in day by day, cards end."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from operator import attrgetter

from sqlmodel import select

from models.tables import CaseRow, DeadlineRow, ExpiryLineRow, PurchaseRow
from starter.expiry.standing import heard_of
from tests.cards import SHANGHAI, delivered, looked_round, month_opens, until
from tests.cards import member as enter
from tests.months.orders import Order
from tests.months.reference import Member, expected
from tests.office import Office, eventually

STORES = ("SH01", "SH02", "HZ01", "GZ01", "SZ01", "BJ01")
DAY = timedelta(days=1)
NOON = time(12)
BY_DAY = attrgetter("day")


def a_year_on(day: date) -> date:
    return day.replace(year=day.year + 1, day=28 if (day.month, day.day) == (2, 29) else day.day)


async def run(office: Office, orders: list[Order], say: Callable[[str], None] = lambda _: None) -> None:
    """Everything the orders cover, from the month of the first to the end of the last card of theirs, or of the last order."""
    first = {order.customer: order.day for order in sorted(orders, key=BY_DAY, reverse=True)}
    ends = {who: a_year_on(day) for who, day in first.items()}
    with office.house.database.writing() as session:
        for who, day in first.items():
            store = STORES[int(who) % len(STORES)]
            enter(office, who, ends[who].isoformat(), day.isoformat(), store, session=session)
    by_day = {day: list(some) for day, some in groupby(sorted(orders, key=BY_DAY), BY_DAY)}
    card_ended = {day + DAY for day in ends.values()}
    day, last = min(by_day).replace(day=1), max(*by_day, *card_ended)
    while day <= last:
        if day.day == 1 or day in card_ended:
            await until(office, datetime.combine(day, time(), SHANGHAI).astimezone(UTC))
            await looked_round(office)
        if day.day == 1:
            await a_month_begins(office, day, say)
        if day in by_day:
            await until(office, datetime.combine(day, NOON, SHANGHAI).astimezone(UTC))
            await asyncio.to_thread(come_in, office, by_day[day])
            await delivered(office)
        day += DAY


async def a_month_begins(office: Office, day: date, say: Callable[[str], None]) -> None:
    await month_opens(office)
    month = f"{a_month_on(day):%Y-%m}"

    def is_there() -> bool:
        with office.house.database.reading() as session:
            run = session.exec(select(CaseRow).where(CaseRow.process == "expiry", CaseRow.number == month)).one()
            return run.state == "archived"

    async def is_made() -> bool:
        await looked_round(office)
        return is_there()

    await eventually(is_made, within=600)
    say(f"{day:%Y-%m}: the list of {month} is made")


def a_month_on(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def come_in(office: Office, orders: list[Order]) -> None:
    """The orders of a day, as the member system's door writes them: with the word to whom it concerns."""
    with office.house.database.writing() as session:
        for nth, order in enumerate(orders):
            session.add(
                PurchaseRow(
                    receipt=f"{order.customer}-{order.day}-{nth}",
                    member_id=order.customer,
                    at=datetime.combine(order.day, NOON, SHANGHAI).astimezone(UTC),
                    fen=order.cents,
                    recorded_at=office.now(),
                )
            )
        session.flush()
        heard_of(office.submissions, office.house.people, session, office.now(), {o.customer for o in orders})


def found(office: Office) -> dict[str, Member]:
    """What the ledger says came of each member."""
    with office.house.database.reading() as session:
        notices = {row.id: row for row in session.exec(select(CaseRow).where(CaseRow.process == "expiry_notice"))}
        lines = list(session.exec(select(ExpiryLineRow)))
    outcome = {}
    for line in lines:
        notice = notices.get(line.case_id or "")
        dropped = None
        if notice and notice.closed_because == "waiver_reached":
            assert notice.closed_at
            dropped = notice.closed_at.astimezone(SHANGHAI).date()
        elif notice:
            assert notice.closed_because == "expired", notice
        outcome[line.member_id] = Member(line.month, line.purchases, line.fen, line.waived, dropped)
    return outcome


def compared(office: Office, orders: list[Order]) -> tuple[str, list[str]]:
    """A table of the months, and every member of whom the product and the reference differ."""
    ours, theirs = found(office), expected(orders)
    differ = [who for who in sorted(ours.keys() | theirs.keys()) if ours.get(who) != theirs.get(who)]
    heads = ("cards of", "cards", "waived", "listed", "dropped out", "expired", "overdue rounds")
    rows = [heads]
    digests = rounds_overdue(office)
    for month in sorted(digests.keys() | {member.month for member in theirs.values()}):
        of_month = [member for member in ours.values() if member.month == month]
        counts = Counter(
            "waived" if member.waived else "dropped" if member.dropped_on else "expired" for member in of_month
        )
        listed = counts["dropped"] + counts["expired"]
        rows.append(
            (
                month,
                *map(str, (len(of_month), counts["waived"], listed, counts["dropped"], counts["expired"])),
                str(digests[month]),
            )
        )
    return "\n".join("  ".join(cell.rjust(14) for cell in row) for row in rows), differ


def rounds_overdue(office: Office) -> Counter[str]:
    """Rounds of calls of which the manager heard, by month; months with a list that nobody is on count nothing."""
    with office.house.database.reading() as session:
        months = session.exec(select(CaseRow.number).where(CaseRow.process == "expiry"))
        told = Counter(dict.fromkeys(months, 0))
        heard = select(CaseRow.number, DeadlineRow.person).join(
            DeadlineRow,
            DeadlineRow.case_id == CaseRow.id,  # type: ignore[arg-type]
        )
        heard = heard.where(CaseRow.process == "expiry_calls", DeadlineRow.role == "manager")
        told.update(number[:7] for number, person in session.exec(heard) if person)
    return told
