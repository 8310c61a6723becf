"""What the calendar opens is opened once, whoever is killed, whoever does it twice, and however long the server was down."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import col, select
from temporalio.client import ScheduleBackfill, ScheduleOverlapPolicy
from typer.testing import CliRunner

import worker
from activities.opening import Openings
from models.calendar import Daily, Monthly, Period, between
from models.forms import Case, Code, Form, Instant
from models.people import Role
from models.tables import CaseRow, NoticeRow, PeriodRow
from models.tasks import Process
from settings import House
from starter.calendar import schedules
from starter.calendar.almanac import AT_ONCE, Almanac
from starter.calendar.keeper import Keeper
from tests.office import Office, connected, eventually
from tests.umbrellas import LoanIntake, LoanPromises

SHANGHAI = "Asia/Shanghai"


def at(wall: str) -> datetime:
    return datetime.fromisoformat(wall).replace(tzinfo=ZoneInfo(SHANGHAI)).astimezone(UTC)


# Periods


@pytest.mark.parametrize(
    ("rhythm", "instant", "last", "next_one"),
    [
        (Monthly(), "2026-12-01 00:00", "2026-12", "2027-01"),
        (Monthly(), "2026-11-30 23:59", "2026-11", "2026-12"),
        (Monthly(day=28, at="18:00"), "2028-02-28 17:59", "2028-01", "2028-02"),
        (Monthly(day=28), "2027-02-28 00:00", "2027-02", "2027-03"),
        (Daily(), "2028-02-29 00:00", "2028-02-29", "2028-03-01"),
        (Daily(at="08:30"), "2027-01-01 08:29", "2026-12-31", "2027-01-01"),
    ],
)
def test_a_period_begins_by_the_wall_clock_of_the_calendars_zone(
    rhythm: Daily | Monthly, instant: str, last: str, next_one: str
):
    found = rhythm.last(at(instant), SHANGHAI)
    assert (found.name, rhythm.after(found).name) == (last, next_one)
    assert rhythm.period(last, SHANGHAI) == found


def test_months_neither_drift_nor_come_twice_over_the_years():
    months = list(between(Monthly(), at("2026-11-15 12:00"), at("2028-12-01 00:00"), SHANGHAI))
    assert [month.name for month in months][:3] == ["2026-12", "2027-01", "2027-02"]
    assert len(months) == len({month.name for month in months}) == 25
    assert {f"{month.at.astimezone(ZoneInfo(SHANGHAI)):%d %H:%M}" for month in months} == {"01 00:00"}
    assert Monthly().period("2026-12", SHANGHAI).next_month == "2027-01"


def test_what_opens_for_the_next_month_is_opened_by_the_name_of_that_month_or_of_a_day():
    ahead = Daily(ahead_from=20)
    assert ahead.period("2027-01", SHANGHAI) == ahead.period("2026-12-20", SHANGHAI)
    assert ahead.period("2027-01", SHANGHAI).next_month == "2027-01"
    for rhythm, name in ((ahead, "2027-13"), (ahead, "1月"), (Daily(), "2027-01"), (Monthly(), "2027-01-01")):
        with pytest.raises(ValueError, match=r"."):
            rhythm.period(name, SHANGHAI)


def test_a_day_that_some_month_lacks_is_refused():
    with pytest.raises(ValueError, match="28th"):
        Monthly(day=30)


# A process that the calendar opens: every store counts its umbrellas each month


class Count(Case):
    number_field = "count_no"
    may_open = frozenset({Role.SYSTEM})
    count_no: Code
    store: Code
    begins_at: Instant

    @property
    def store_code(self) -> str:
        return self.store


class Counted(Form):
    umbrellas: int


COUNT = Process(
    name="loan", case=Count, intake=LoanIntake, promises=LoanPromises, forms=(Counted,), opens=Monthly(day=1)
)


def counts(house: House, period: Period, _now: datetime) -> list[Case]:
    """Of the stores of the directory, the unknown one is refused."""
    codes = [store.code for store in house.people.stores] * SCALE
    return [
        Count(count_no=f"{period.name}-{store}-{nth}", store=store, begins_at=period.at)
        for nth, store in enumerate(codes)
    ]


SCALE = 20
CASES = 6 * SCALE


def almanac_of(office: Office) -> Almanac:
    return Almanac(office.house, office.submissions, office.now, {"loan": COUNT}, {"loan": counts})


@pytest.fixture
def house(house: House, tmp_path: Any) -> House:
    from models import policy
    from tests.umbrellas import POLICY

    file = tmp_path / "policy.toml"
    file.write_text(policy.SHIPPED.read_text(encoding="utf-8") + POLICY, encoding="utf-8")
    house.settings.policy = file
    return house


@pytest.fixture
def desk(house: House) -> Office:
    """The doors, without an engine: the calendar needs none."""
    return Office(None, house)  # type: ignore[arg-type]


def opened(office: Office) -> dict[str, int]:
    with office.house.database.reading() as session:
        numbers = list(session.exec(select(CaseRow.number)))
    months = [number[:7] for number in numbers]
    assert len(set(numbers)) == len(numbers)
    return {month: months.count(month) for month in sorted(set(months))}


def periods(office: Office) -> list[tuple[str, str, int]]:
    with office.house.database.reading() as session:
        rows = session.exec(select(PeriodRow).order_by(col(PeriodRow.at)))
        return [(row.period, row.by, row.cases) for row in rows]


def test_a_new_ledger_opens_nothing_of_the_past(desk: Office):
    desk.clock_stands_at(at("2026-11-23 10:00"))
    keeper = Keeper(almanac_of(desk), desk.house.database, desk.house.people, desk.now)
    assert keeper.round() == []
    assert (opened(desk), periods(desk)) == ({}, [("2026-11", "installed", 0)])


def test_a_server_down_from_the_30th_to_the_3rd_opens_the_month_once(desk: Office):
    """And the Schedule, whose catch-up comes later, finds it done."""
    almanac = almanac_of(desk)
    keeper = Keeper(almanac, desk.house.database, desk.house.people, desk.now)
    desk.clock_stands_at(at("2026-11-29 10:00"))
    keeper.round()
    desk.clock_stands_at(at("2026-12-03 09:00"))
    [finding] = keeper.round()
    assert (finding.kind, finding.about, finding.since) == ("opening_missed", "loan/2026-12", at("2026-12-01 00:00"))
    assert almanac.open_due("loan", at("2026-12-01 00:00")) == 0
    assert keeper.round() == []
    assert opened(desk) == {"2026-12": CASES}
    assert periods(desk) == [("2026-11", "installed", 0), ("2026-12", "watch", CASES)]
    with desk.house.database.reading() as session:
        told = session.exec(select(NoticeRow).where(NoticeRow.person == "admin")).all()
    assert [notice.data["alarm"] for notice in told] == ["opening_missed"]


def test_while_the_schedule_has_its_grace_the_watch_keeps_out(desk: Office):
    keeper = Keeper(almanac_of(desk), desk.house.database, desk.house.people, desk.now)
    desk.clock_stands_at(at("2026-11-29 10:00"))
    keeper.round()
    desk.clock_stands_at(at("2026-12-01 00:01"))
    assert keeper.round() == []


def test_two_months_down_are_two_months_opened(desk: Office):
    keeper = Keeper(almanac_of(desk), desk.house.database, desk.house.people, desk.now)
    desk.clock_stands_at(at("2026-12-15 10:00"))
    keeper.round()
    desk.clock_stands_at(at("2027-02-02 09:00"))
    assert [finding.about for finding in keeper.round()] == ["loan/2027-01", "loan/2027-02"]


def test_a_period_of_the_past_that_a_hand_opens_makes_no_other_one_missed(desk: Office):
    """Nor does the one in which the calendar was installed, opened by hand afterwards; what comes later is missed as ever."""
    almanac = almanac_of(desk)
    keeper = Keeper(almanac, desk.house.database, desk.house.people, desk.now)
    desk.clock_stands_at(at("2026-11-23 10:00"))
    keeper.round()
    desk.clock_stands_at(at("2026-11-24 10:00"))
    for month in ("2026-08", "2026-11"):
        almanac.open("loan", Monthly().period(month, SHANGHAI), "wang")
    assert (keeper.round(), almanac.entries()[0].missed) == ([], [])
    assert opened(desk) == {"2026-08": CASES, "2026-11": CASES}
    desk.clock_stands_at(at("2027-01-02 10:00"))
    assert [finding.about for finding in keeper.round()] == ["loan/2026-12", "loan/2027-01"]


def test_what_a_hand_opens_while_the_watch_is_busy_with_another_month_was_not_missed(desk: Office):
    def while_a_hand_opens_february(house: House, period: Period, now: datetime) -> list[Case]:
        if period.name == "2027-01":
            almanac.open("loan", Monthly().period("2027-02", SHANGHAI), "wang")
        return counts(house, period, now)

    almanac = Almanac(desk.house, desk.submissions, desk.now, {"loan": COUNT}, {"loan": while_a_hand_opens_february})
    keeper = Keeper(almanac, desk.house.database, desk.house.people, desk.now)
    desk.clock_stands_at(at("2026-12-15 10:00"))
    keeper.round()
    desk.clock_stands_at(at("2027-02-02 09:00"))
    assert [finding.about for finding in keeper.round()] == ["loan/2027-01"]
    assert [by for _, by, _ in periods(desk)] == ["installed", "watch", "wang"]


class Killed(BaseException):
    """As kill -9: nothing gets to clean up."""


def test_killed_after_any_batch_it_goes_on_where_it_was(desk: Office):
    desk.clock_stands_at(at("2026-12-01 00:00"))
    almanac = almanac_of(desk)

    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        almanac.open_due("loan", desk.now(), die)
    assert opened(desk) == {"2026-12": AT_ONCE}
    assert almanac.open_due("loan", desk.now()) == CASES - AT_ONCE
    assert opened(desk) == {"2026-12": CASES}


def test_several_at_once_open_each_case_once(desk: Office):
    desk.clock_stands_at(at("2026-12-01 00:00"))
    almanac = almanac_of(desk)
    news: list[int] = []
    threads = [Thread(target=lambda: news.append(almanac.open_due("loan", at("2026-12-01 00:00")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(news), opened(desk)) == (CASES, {"2026-12": CASES})


def test_what_the_door_refuses_holds_up_none_of_the_others(desk: Office):
    def with_a_stranger(house: House, period: Period, now: datetime) -> list[Case]:
        return [Count(count_no="x", store="NOBODY", begins_at=period.at), *counts(house, period, now)]

    desk.clock_stands_at(at("2026-12-01 00:00"))
    almanac = Almanac(desk.house, desk.submissions, desk.now, {"loan": COUNT}, {"loan": with_a_stranger})
    outcome = almanac.open("loan", Monthly().period("2026-12", SHANGHAI), "wang")
    assert (outcome.cases, outcome.new, outcome.refused) == (CASES, CASES, 1)


def test_a_process_whose_cases_nobody_lists_is_found_at_start(desk: Office):
    with pytest.raises(LookupError, match="loan"):
        Almanac(desk.house, desk.submissions, desk.now, {"loan": COUNT}, {})


# The engine's Schedule


@pytest.fixture
async def real_office(engine: str, house: House) -> AsyncIterator[Office]:
    async with Office(await connected(engine, house), house) as office:
        yield office


async def test_a_schedule_opens_each_of_24_months_once_whatever_month_it_is(real_office: Office):
    """A backfill is what the engine does after an outage: it starts what the calendar meant, in the calendar's zone."""
    office = real_office
    almanac = almanac_of(office)
    one = {"loan": lambda house, period, now: counts(house, period, now)[:1]}
    almanac = Almanac(office.house, office.submissions, office.now, {"loan": COUNT}, one)
    await schedules.make(office.client, almanac, office.task_queue)
    await schedules.make(office.client, almanac, office.task_queue)
    handle = office.client.get_schedule_handle(schedules.id_of("loan"))
    described = await handle.describe()
    assert {f"{when.astimezone(ZoneInfo(SHANGHAI)):%d %H:%M}" for when in described.info.next_action_times} == {
        "01 00:00"
    }
    assert described.schedule.policy.overlap is ScheduleOverlapPolicy.ALLOW_ALL
    assert described.schedule.policy.catchup_window == timedelta(days=365)
    async with worker.build(
        office.client, office.ledger, [Openings(almanac.open_due).open_period], task_queue=office.task_queue
    ):
        for _ in range(2):
            await handle.backfill(
                ScheduleBackfill(
                    at("2026-11-30 12:00"), at("2028-11-30 12:00"), overlap=ScheduleOverlapPolicy.ALLOW_ALL
                )
            )
        await eventually(lambda: len(opened(office)) == 24)
        await handle.delete()
        await eventually(lambda: nothing_runs(office))
    assert set(opened(office).values()) == {1}
    assert min(opened(office)) == "2026-12"
    assert max(opened(office)) == "2028-11"


async def nothing_runs(office: Office) -> bool:
    """Whether all that the Schedule started has come to its end."""
    running = f"TaskQueue = '{office.task_queue}' AND ExecutionStatus = 'Running'"
    return [run.id async for run in office.client.list_workflows(running)] == []


# By hand


def test_a_command_says_what_there_is(house: House, monkeypatch: pytest.MonkeyPatch):
    from starter.__main__ import app

    monkeypatch.setenv("KEFU_KEYS", house.settings.keys.get_secret_value())  # type: ignore[union-attr]
    ran = CliRunner().invoke(app, ["calendar", "nothing", "--as", "wang", "--data", str(house.settings.data)])
    assert ran.exit_code == 1
    assert "nothing" in str(ran.exception)
