"""What the stories of visits are told with: days that pass, members, lines of a plan."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
from httpx2 import ASGITransport, AsyncClient
from sqlmodel import col, select

from activities.keys import COLUMN
from activities.members import finder, place
from models.calendar import between
from models.organisation import Directory
from models.people import Store
from models.tables import ArchiveRow, CaseRow, FinderRow, MemberRow, PurchaseRow, SubmissionRow, VisitCallRow, VisitRow
from models.visits.months import first_day, month_of, shifted
from settings import House
from starter.papers.doors import XLSX
from starter.visits.calls import said_in
from tests.office import Office, eventually

TAKEN = (201, 202)
"""What a plan that was taken is answered: the latter where the engine was slow."""
ZONE = ZoneInfo("Asia/Shanghai")


def at(day: date | str, wall: str = "00:00") -> datetime:
    """An instant of the wall clock in Shanghai, UTC. 24:00 is the end of the day."""
    hours, minutes = map(int, wall.split(":"))
    day = date.fromisoformat(day) if isinstance(day, str) else day
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZONE)
    return (midnight + timedelta(hours=hours, minutes=minutes)).astimezone(UTC)


def day(month: str, nth: int) -> date:
    return first_day(month).replace(day=nth)


def next_month_like(office: Office, month_number: int, leap: bool | None = None) -> str:
    """The next month of this number whose month before is still to come, whole; of a leap year, or of none."""
    month = shifted(month_of(office.now().astimezone(ZONE).date()), 2)
    while not (int(month[5:]) == month_number and (leap is None or leap == (int(month[:4]) % 4 == 0))):
        month = shifted(month, 1)
    return month


def with_stores(house: House, *stores: Store) -> None:
    """The directory of the sample with other stores, each with somebody in it."""
    people = [person for person in house.people.people if person.role != "store"]
    staff = [
        {"id": f"oa-{store.code.lower()}", "name": store.name, "role": "store", "store": store.code} for store in stores
    ]
    house.__dict__["people"] = Directory.model_validate(
        {
            "stores": [store.model_dump() for store in stores],
            "people": [*staff, *(person.model_dump() for person in people)],
        }
    )


def living(**stores: dict[str, Any]) -> list[Store]:
    """Stores of the east by their codes, and when each opens and closes."""
    return [Store(code=code, name=code, region="east", **life) for code, life in stores.items()]


@asynccontextmanager
async def at_work(closed_office: Office, *stores: Store) -> AsyncIterator["Visiting"]:
    """The department of these stores at work: an office knows its people from its beginning."""
    with_stores(closed_office.house, *stores)
    async with Office(closed_office.client, closed_office.house, closed_office.env) as office:
        await office.worker_comes()
        yield Visiting(office)


class Visiting:
    """The office with its calendar kept: days pass one after the other, and what begins with each begins."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.calendar_is_kept = True
        self._app = office.app
        self._kept_until: datetime | None = None

    async def until(self, instant: datetime) -> None:
        """Let time pass to an instant; each day's openings at its beginning."""
        office = self.office
        almanac = office.front.almanac
        since = self._kept_until or office.now()
        for period in between(almanac.rhythm("visit_plan"), since, instant, office.house.settings.zone):
            if not self.calendar_is_kept:
                break
            if period.at > office.now() and self._matters(period.first_day):
                await self._pass(period.at)
            if self._matters(period.first_day):
                await self.openings(period.at)
            self._kept_until = period.at
        await self._pass(instant)

    async def begin(self, instant: datetime) -> None:
        """Let time pass to where a story begins, nothing opened on the way."""
        await self._pass(instant)
        self._kept_until = instant - timedelta(days=1)

    async def openings(self, instant: datetime) -> None:
        """What the Schedules, or the watch, do for a day."""
        for process in ("visit_plan", "visit_month"):
            await asyncio.to_thread(self.office.front.almanac.open_due, process, instant)
        await self.delivered()

    async def delivered(self) -> None:
        """What the relay does, until nothing waits; with nobody at work it stays where it is."""
        if self.office.is_closed:
            return

        async def nothing_waits() -> bool:
            for again in (False, True):
                for case in self.office.docket.waiting(500, again):
                    await self.office.relay.deliver(case)
            with self.office.house.database.reading() as session:
                pending = select(SubmissionRow.id).where(SubmissionRow.state == "pending")
                return session.exec(pending.limit(1)).first() is None

        await eventually(nothing_waits, within=60)

    days: frozenset[int] = frozenset({20})
    """On which days of a month the calendar is kept here: each costs, and most change nothing."""

    def _matters(self, one: date) -> bool:
        return one.day in self.days

    stride: timedelta = timedelta(days=60)
    """So much virtual time passes in one call: what falls due in it must be done before the call is given up."""

    async def _pass(self, instant: datetime) -> None:
        while (span := instant - self.office.now()) > timedelta(0):
            await self.office.pass_time(min(span, self.stride))

    # What stands in the ledger

    def cases(self, process: str, month: str) -> list[CaseRow]:
        with self.office.house.database.reading() as session:
            rows = session.exec(select(CaseRow).where(CaseRow.process == process).order_by(CaseRow.number))
            return [row for row in rows if row.number.startswith(month)]

    def plan(self, month: str, store: str) -> str:
        return next(row.id for row in self.cases("visit_plan", month) if row.store == store)

    def month(self, month: str) -> str:
        [row] = self.cases("visit_month", month)
        return row.id

    # What people do

    def door(self, actor: str = "lin", **headers: str) -> AsyncClient:
        transport = ASGITransport(self._app, raise_app_exceptions=False)
        return AsyncClient(transport=transport, base_url="http://testserver", headers={"X-Kefu-Actor": actor} | headers)

    async def deliver(self, month: str, store: str, lines: list[dict[str, Any]] | None = None, **more: Any) -> Any:
        by = more.pop("by", f"oa-{store.lower()}")
        headers = {"Idempotency-Key": more.pop("key")} if "key" in more else {}
        async with self.door(by, **headers) as door:
            body = {"lines": lines, **more} if lines else {"nil": True, **more}
            answer = await door.put(f"/api/visits/plans/{month}/{store}", json=body)
        await self.delivered()  # where the machine was too busy to answer in time
        return answer

    async def post(self, path: str, by: str = "lin", **body: Any) -> Any:
        async with self.door(by) as door:
            answer = await door.post(f"/api/visits/{path}", json=body)
        await self.delivered()
        return answer

    async def get(self, path: str, by: str = "lin", **params: Any) -> Any:
        async with self.door(by) as door:
            answer = await door.get(f"/api/visits{path}", params=params)
            assert answer.status_code == 200, answer.text
            return answer.json()


def line(planned_on: date, nth: int = 0, **more: Any) -> dict[str, Any]:
    """A line of a plan: somebody who bought a coat."""
    return {
        "name": f"顾客{nth}",
        "phone": f"138{nth:08}",
        "goods": "羊毛大衣",
        "purchased_on": "2026-11-01",
        "purpose": "after_sale",
        "planned_on": planned_on.isoformat(),
        **more,
    }


def add_member(house: House, number: str, store: str = "SH01", bought_at: datetime | None = None, **more: Any) -> str:
    """A member as the member system's door files him."""
    keys, member = house.keys, f"m{number}"
    record = {"member_no": number, "name": "会员" + number, "phone": f"139{int(number):08}", "store": store}
    known = {name: more.pop(name) for name in ("name", "phone") if name in more}
    document = {"sent": record | known}
    now = datetime.now(UTC)
    with house.database.writing() as session:
        session.add(
            MemberRow(
                id=member,
                version=1,
                digest="test:-",
                store=store,
                region=house.people.region(store),
                entered_at=now,
                changed_at=now,
                findings={},
                sealed=keys.seal(json.dumps(document).encode(), COLUMN, place(member)),
                keys=keys.writing,
                **more,
            )
        )
        session.flush()
        found = {"number": number, "phone": f"+86{document['sent']['phone']}"}
        session.add_all(
            FinderRow(member_id=member, kind=kind, value=finder(keys, kind, said)) for kind, said in found.items()
        )
        if bought_at:
            session.add(
                PurchaseRow(
                    receipt=f"R{number}", member_id=member, store=store, at=bought_at, fen=19900, recorded_at=now
                )
            )
    return member


# A month that stories are told of

STORES = [
    Store(code=code, name=code, region=region)
    for code, region in (("SH01", "east"), ("SH02", "east"), ("GZ01", "south"))
]


async def asked(visiting: Visiting, month: str) -> None:
    """The stores have been asked for a month's plan, and it is the 25th of the month before."""
    await visiting.begin(at(day(shifted(month, -1), 20)))
    await visiting.until(at(day(shifted(month, -1), 25), "10:00"))


async def planned(visiting: Visiting, *lines: dict[str, Any], number: int = 3) -> str:
    """A month whose store SH01 has handed these lines in, on the 25th of the month before."""
    month = next_month_like(visiting.office, number)
    await asked(visiting, month)
    if lines:
        answer = await visiting.deliver(month, "SH01", [line(day(month, 10), n, **one) for n, one in enumerate(lines)])
        assert answer.status_code in TAKEN, answer.text
    return month


async def lines_of(visiting: Visiting, month: str, **wanted: Any) -> list[dict[str, Any]]:
    return (await visiting.get("", month=month, **wanted))["items"]


def visits(office: Office, case: str) -> list[VisitRow]:
    return office.rows(VisitRow, case, VisitRow.added_at, VisitRow.planned_on)


def whole_of(office: Office, case: str) -> str:
    """All that can be read of a plan: what was sent, its archive, its lines, its calls."""
    keys = office.house.keys
    sealed = [(row.sealed, f"submission/{row.id}") for row in office.rows(SubmissionRow, case)]
    sealed += [(row.sealed, f"archive/{case}") for row in office.rows(ArchiveRow, case)]
    sealed += [(row.sealed, f"visit/{row.id}") for row in visits(office, case)]
    with office.house.database.reading() as session:
        of_case = select(VisitCallRow).where(col(VisitCallRow.visit_id).in_(row.id for row in visits(office, case)))
        calls = [json.dumps(said_in(keys, call), ensure_ascii=False) for call in session.exec(of_case)]
    return "\n".join([*(keys.open(one, COLUMN, place).decode() for one, place in sealed), *calls])


async def book_at(visiting: Visiting, path: str, by: str = "lin") -> Any:
    """A workbook as it is downloaded."""
    async with visiting.door(by) as door:
        answer = await door.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, XLSX), answer.text
    return openpyxl.load_workbook(BytesIO(answer.content))
