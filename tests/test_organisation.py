"""The organisation as data (handbook 1.2, E36, E37): read whole or not at all, changed in the open, and found at every instant."""

import asyncio
import base64
import re
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog
import xlsxwriter
from pydantic import SecretStr
from sqlmodel import select
from typer.testing import CliRunner

from models.canary import CANARY
from models.duty import Absence, Roster, after, next_hours, spans_of
from models.organisation import Directory, Wanted
from models.people import POSTS, Person, Role, Store
from models.tables import AlarmRow, NoticeRow, OrganisationRow
from settings import House
from starter.__main__ import app
from starter.commands import organisation
from starter.organisation.files import BadOrganisation, read
from starter.organisation.returning import Returning
from starter.organisation.staffing import Staffing
from starter.organisation.versions import keep
from starter.reseal import reseal
from starter.submissions import Submissions
from tests.conftest import KEYS
from tests.letterbox import Clock, mail_server, post_of
from tests.office import DAY, HOUR, Office, organised
from tests.terminals import wide_and_chinese
from workflows import PROCESSES

ZONE = ZoneInfo("Asia/Shanghai")
AT = datetime(2026, 11, 23, 2, tzinfo=UTC)  # Monday, 10 o'clock in Shanghai
WORKDAYS = Roster(week=dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), "09:00-12:00 13:00-18:00"))


def here(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE)


def someone(id: str, role: Role = Role.SPECIALIST, **more: Any) -> Person:
    return Person(**{"id": id, "name": id, "role": role, **more})


ABOVE = (
    someone("m", Role.MANAGER),
    someone("d", Role.DIRECTOR),
    someone("g", Role.GENERAL_MANAGER),
    someone("a", Role.ADMINISTRATOR),
)


def of(*people: Person, absences: tuple[Absence, ...] = ()) -> Directory:
    stores = (Store(code="E1", name="E1", region="east"), Store(code="W1", name="W1", region="west"))
    return Directory(stores=stores, people=(*people, *ABOVE), absences=absences)


def away(person: str, deputy: str | None = None) -> Absence:
    return Absence(person=person, since=AT - DAY, until=AT + DAY, deputy=deputy)


def wanted(region: str | None = "east", **more: Any) -> Wanted:
    return Wanted(**{"case": "complaint-1", "at": AT, "region": region, **more})


# Hours


@pytest.mark.parametrize(
    ("since", "span", "until"),
    [
        ("2026-11-23 10:00", 4 * HOUR, "2026-11-23 15:00"),  # over lunch
        ("2026-11-23 16:00", 4 * HOUR, "2026-11-24 11:00"),  # over the night
        ("2026-11-27 17:00", 4 * HOUR, "2026-11-30 12:00"),  # over the weekend
        ("2026-11-28 03:00", HOUR, "2026-11-30 10:00"),
        ("2026-11-23 08:00", timedelta(hours=8), "2026-11-23 18:00"),
    ],
)
def test_hours_of_duty_are_counted_on_duty(since: str, span: timedelta, until: str):
    assert after(WORKDAYS, here(since), span, ZONE) == here(until)


def test_without_a_roster_every_hour_counts():
    assert after(None, AT, 4 * HOUR, ZONE) == AT + 4 * HOUR


def test_a_day_that_is_otherwise_is_otherwise():
    roster = Roster(week=WORKDAYS.week, days={here("2026-11-24").date(): "", here("2026-11-28").date(): "10:00-11:00"})
    assert next_hours(roster, here("2026-11-23 18:00"), ZONE) == here("2026-11-25 09:00")
    assert next_hours(roster, here("2026-11-27 18:00"), ZONE) == here("2026-11-28 10:00"), "a make-up working day"


@pytest.mark.parametrize("hours", ["9-18", "18:00-09:00", "09:00-12:00 11:00-13:00", "09:00-25:00", "09:00-09:00"])
def test_what_are_no_hours_is_refused(hours: str):
    with pytest.raises(ValueError, match=hours):
        spans_of(hours)


# Who


def test_the_region_comes_first_then_the_speciality_then_the_load():
    east, other, special = (
        someone("e1", regions=("east",)),
        someone("w1", regions=("west",)),
        someone("e2", regions=("east",), specialities=("complaint",)),
    )
    directory = of(east, other, special)
    assert directory.resolve(Role.SPECIALIST, wanted(process="complaint")) == "e2"
    assert directory.resolve(Role.SPECIALIST, wanted(process="audit")) == "e1"
    two = of(someone("x", regions=("east",)), someone("y", regions=("east",)))
    for busy, free in (("x", "y"), ("y", "x")):
        assert two.resolve(Role.SPECIALIST, wanted(load=lambda busy=busy: {busy: 3})) == free


@pytest.mark.parametrize("process", [name for name in PROCESSES if name != CANARY.name])
def test_each_process_goes_to_the_post_that_it_is_of(process: str):
    """The five posts into which the specialists may split (1.2)."""
    posts = {post: someone(post, regions=("east",), specialities=(post,)) for post in POSTS}
    [post] = [post for post, processes in POSTS.items() if process in processes]
    assert of(*posts.values()).resolve(Role.SPECIALIST, wanted(process=process)) == post


def test_a_case_stays_with_who_has_it_though_others_have_less_to_do():
    two = of(someone("x", regions=("east",)), someone("y", regions=("east",)))
    busy = wanted(load=lambda: {"x": 9}, before=lambda: "x")
    assert two.resolve(Role.SPECIALIST, busy) == "x"
    assert two.resolve(Role.SPECIALIST, wanted(load=lambda: {"x": 9}, before=lambda: "gone")) == "y"


def test_e37_who_is_absent_is_passed_over_and_a_region_without_an_owner_is_the_managers():
    """E37. Absent: a colleague of the region, else the deputy; transitively, and never round in a circle."""
    one, two = someone("e1", regions=("east",), deputies=("w1",)), someone("e2", regions=("east",))
    west = someone("w1", regions=("west",), deputies=("w2",))
    far = someone("w2", regions=("west",))
    assert of(one, two, west, far, absences=(away("e1"),)).resolve(Role.SPECIALIST, wanted()) == "e2"
    assert of(one, west, far, absences=(away("e1"),)).resolve(Role.SPECIALIST, wanted()) == "w1"
    assert of(one, west, far, absences=(away("e1"), away("w1"))).resolve(Role.SPECIALIST, wanted()) == "w2"
    named = away("e1", deputy="w2")
    assert of(one, west, far, absences=(named,)).resolve(Role.SPECIALIST, wanted()) == "w2", "whom the absence names"
    everybody = tuple(map(away, ("e1", "w1", "w2")))
    assert of(one, west, far, absences=everybody).resolve(Role.SPECIALIST, wanted()) == "m"
    assert of(one, west, far).resolve(Role.SPECIALIST, wanted("north")) == "m"
    assert of(two).resolve(Role.SPECIALIST, wanted(region=None)) == "e2"


def test_absences_that_name_each_other_end_with_the_superior():
    one, two = someone("e1", regions=("east",)), someone("e2")
    round_in_a_circle = (away("e1", deputy="e2"), away("e2", deputy="e1"))
    assert of(one, two, absences=round_in_a_circle).resolve(Role.SPECIALIST, wanted()) == "m"


def test_an_absence_holds_from_its_first_instant_to_its_last():
    directory = of(someone("e1", regions=("east",), deputies=("w1",)), someone("w1"), absences=(away("e1"),))
    found = {
        at: directory.resolve(Role.SPECIALIST, wanted(at=at))
        for at in (AT - DAY - timedelta.resolution, AT - DAY, AT + DAY - timedelta.resolution, AT + DAY)
    }
    assert list(found.values()) == ["e1", "w1", "w1", "e1"]


def test_a_weekend_is_no_absence_and_a_week_off_duty_is():
    alone = someone("e1", regions=("east",), roster=WORKDAYS)
    on_saturday = here("2026-11-28 10:00")
    assert of(alone).resolve(Role.SPECIALIST, wanted(at=on_saturday)) == "e1"
    days = {here("2026-11-30").date() + n * DAY: "" for n in range(5)}
    off = someone("e1", regions=("east",), roster=Roster(week=WORKDAYS.week, days=days))
    assert of(off).resolve(Role.SPECIALIST, wanted(at=on_saturday)) == "m"


def test_next_in_line_is_the_deputy_then_the_superior_then_nobody():
    directory = of(someone("e1", regions=("east",)), someone("v", Role.MANAGER, deputies=()))
    people = tuple(Person(**{**p.model_dump(), "deputies": ("e1",)}) if p.id == "m" else p for p in directory.people)
    directory = Directory(stores=directory.stores, people=people)
    assert directory.next_in_line("m", ["m"], wanted()) == "e1"
    assert directory.next_in_line("e1", ["m", "e1"], wanted()) in ("v", "d")
    assert directory.next_in_line("d", ["m", "e1", "d"], wanted()) is None, "the general manager is in no ladder"
    assert directory.next_in_line("gone", ["gone"], wanted()) is None


def test_while_no_manager_is_there_and_nobody_stands_in_the_administrator_is_warned_once(house: House):
    clock = Clock(AT)
    watch = Staffing(house.database, house.people, clock)
    assert watch.round() == []
    organised(house, AT, Absence(person="wang", since=AT, until=AT + DAY))
    assert [finding.kind for _ in range(3) for finding in watch.round()] == ["no_manager"] * 3, "it stands"
    with house.database.reading() as session:
        [told] = session.exec(select(NoticeRow))
    assert (told.person, told.data["alarm"]) == ("admin", "no_manager")
    organised(house, AT + HOUR, Absence(person="wang", since=AT, until=AT + DAY, deputy="zhao"))
    clock.pass_time(HOUR)
    assert watch.round() == [], "somebody stands in"
    with house.database.reading() as session:
        assert [row.cleared_at for row in session.exec(select(AlarmRow))] == [AT + HOUR]


# A file: whole, or not at all


ORG = """
stores = [{ code = "E1", name = "东一店", region = "east" }]
people = [
    { id = "lin", name = "林", role = "specialist", regions = ["east"], deputies = ["wang"] },
    { id = "wang", name = "王", role = "manager", roster = { week = { mon = "09:00-18:00" } } },
    { id = "sun", name = "孙", role = "director" },
    { id = "admin", name = "管", role = "administrator" },
]
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('role = "manager",', 'role = "manager", deputies = ["lin"],'), r"line 4.*代理关系成环：lin → wang → lin"),
        (('regions = ["east"]', 'regions = ["east"], store = "E9"'), r"line 4.*E9"),
        (('id = "sun"', 'id = "wang"'), r"line 6: .*wang 出现了两次"),
        (('deputies = ["wang"]', 'deputies = ["li"]'), r"line 4.*li 不在名单中"),
        (('mon = "09:00-18:00"', 'mon = "9-18"'), r"line 5, people\.1\.roster\.week\.mon: .*09:00-12:00"),
        (('role = "director"', 'role = "boss"'), r"line 6, people\.2\.role"),
        (('role = "manager"', 'role = "specialist"'), r"manager"),
        (('regions = ["east"]', 'regions = ["east"], specialities = ["complain"]'), r"line 4.*complain 既不是岗位"),
        (('id = "sun",', 'id = "sun", channels = ["sun@example.com"],'), r"line 6, people\.2\.channels\.0: .*mailto:"),
        (('id = "sun",', 'id = "sun", channels = ["mailto:§"],'), r"line 6, people\.2\.channels\.0"),
        (('id = "sun",', 'id = "sun", channels = ["wecombot://KEY"],'), r"line 6, people\.2\.channels\.0"),
        (('id = "sun",', 'id = "sun", quiet = "22-25",'), r"line 6, people\.2\.quiet: .*22:00-07:00"),
        (
            ('id = "sun",', 'id = "sun", language = "fr",'),
            r"line 6, people\.2\.language: 只能是：zh（中文）、en（英文） · ",
        ),
        (('id = "sun",', 'id = "sun", langage = "en",'), r"line 6, people\.2\.langage: .*想写的是 people\.2\.language"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused_with_the_line_and_the_reason(
    tmp_path: Path, change: tuple[str, str], said: str
):
    file = tmp_path / "org.toml"
    file.write_text(ORG.replace(*change), encoding="utf-8")
    with pytest.raises(BadOrganisation, match=said):
        read(file, "Asia/Shanghai")


def workbook(file: Path, rows: list[list[str]]) -> Path:
    book = xlsxwriter.Workbook(file)
    regions = book.add_worksheet("区域")
    regions.write_row(0, 0, ["区域", "名称"])
    regions.write_row(1, 0, ["east", "华东"])
    stores = book.add_worksheet("门店")
    stores.write_row(0, 0, ["门店编号", "名称", "区域", "开业"])
    stores.write_row(1, 0, ["E1", "东一店", "east"])
    stores.write_datetime(1, 3, datetime(2026, 1, 5), book.add_format({"num_format": "yyyy-mm-dd"}))  # noqa: DTZ001
    days = book.add_worksheet("班表例外")
    days.write_row(0, 0, ["人员", "日期", "时间"])
    days.write_row(1, 0, [rows[1][0], "2027-01-04"])
    days.write_row(2, 0, [rows[1][0], "2027-01-09", "10:00-12:00"])
    people = book.add_worksheet("人员")
    people.write_row(
        0, 0, ["工号", "名称", "岗位", "负责区域", "代理人", "周一", "渠道", "免打扰", "语言", "每小时最多"]
    )
    for n, row in enumerate(rows, start=1):
        people.write_row(n, 0, row)
    book.close()
    return file


PEOPLE = [
    ["lin", "林", "specialist", "east、west", "wang", ""],
    [
        "wang",
        "王",
        "manager",
        "",
        "",
        "09:00-18:00",
        "wecom:wangjl、mailto:wang@example.com",
        "22:00-07:00",
        "en",
        "30",
    ],
    ["sun", "孙", "director", "", "", ""],
    ["admin", "管", "administrator", "", "", ""],
]


def test_a_workbook_says_the_same_as_a_file(tmp_path: Path):
    directory = read(workbook(tmp_path / "org.xlsx", PEOPLE), "Asia/Shanghai")
    lin, wang, *_ = directory.people
    assert (lin.regions, lin.deputies, lin.roster) == (("east", "west"), ("wang",), None)
    days = {date(2027, 1, 4): "", date(2027, 1, 9): "10:00-12:00"}
    assert wang.roster == Roster(week={"mon": "09:00-18:00"}, days=days)
    assert [store.opens_on for store in directory.stores] == [date(2026, 1, 5)]
    addresses = [address.get_secret_value() for address in wang.channels]
    assert addresses == ["wecom:wangjl", "mailto:wang@example.com"]
    assert (wang.quiet, wang.language, wang.most_an_hour) == ("22:00-07:00", "en", 30)
    assert directory.regions == {"east": "华东"}
    assert lin.channels == ()
    with pytest.raises(
        BadOrganisation, match=r"人员 row 3.*people\.1\.role: 只能是：.*specialist（客服专员）.* · must be"
    ):
        read(workbook(tmp_path / "bad.xlsx", [PEOPLE[0], ["wang", "王", "boss", "", "", ""]]), "Asia/Shanghai")


def test_people_and_regions_are_called_by_name_and_told_apart_by_their_codes_where_two_have_one_name():
    two = of(someone("x", name="李娜"), someone("y", name="李娜"), someone("z", name="赵敏"))
    assert [two.called(person) for person in ("x", "y", "z", "gone")] == ["李娜（x）", "李娜（y）", "赵敏", "gone"]
    chain = two.model_copy(update={"regions": {"e1": "华东", "e2": "华东", "s": "华南"}})
    named = [chain.region_name(code) for code in ("e1", "e2", "s", "north", None)]
    assert named == ["华东（e1）", "华东（e2）", "华南", "north", None]


def test_a_file_is_shown_before_it_holds_and_every_version_is_kept(house: House, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("KEFU_KEYS", KEYS)
    if url := house.settings.database_url:
        monkeypatch.setenv("KEFU_DATABASE_URL", url.get_secret_value())
    data = str(house.settings.data)
    file = tmp_path / "org.toml"
    file.write_text(ORG, encoding="utf-8")

    def kefu(*words: str, **more: Any) -> Any:
        return CliRunner().invoke(app, ["org", *words, "--data", data, "--as", "admin"], **more)

    refused = kefu("load", str(file), input="n\n")
    assert refused.exit_code == 1
    assert "chen" in refused.output, "who would go is shown"
    assert kefu("history").output == ""
    assert kefu("load", str(file), "--yes").exit_code == 0
    assert "没有变化" in kefu("load", str(file), "--yes").output
    file.write_text(ORG.replace("王", "王小明"), encoding="utf-8")
    assert kefu("load", str(file), "--yes").exit_code == 0
    history = kefu("history").output
    assert "王 → 王小明" in history
    assert history.index("王小明") < history.index("人员 sun"), "the latest first"
    assert "王小明" in kefu("show").output
    lasting = ("--since", "2020-01-01", "--until", "2199-01-01")
    assert kefu("away", "lin", *lasting).exit_code == 0
    assert "2199-01-01" in kefu("show").output
    assert kefu("end", "lin").exit_code == 0
    assert "2199-01-01" not in kefu("show").output
    file.write_text(ORG.replace('role = "manager"', 'role = "director"'), encoding="utf-8")
    assert "manager" in str(kefu("load", str(file), "--yes").exception)
    assert "王小明" in kefu("show").output, "nothing of it was applied"


# The doors


async def test_one_person_is_changed_by_the_api_and_others_are_not_overwritten(office: Office):
    async with office.api("admin") as admin, office.api("lin") as lin, office.api("oa-sh01") as store:
        before = (await admin.get("/api/organisation")).json()
        assert before["version"] == 0
        shown = await admin.patch("/api/organisation/people/lin", json={"deputies": ["chen"]}, params={"preview": True})
        assert shown.json()["changes"][0]["fields"] == {"deputies": [[], ["chen"]]}
        assert (await admin.get("/api/organisation")).json()["version"] == 0
        done = await admin.patch("/api/organisation/people/lin", json={"deputies": ["chen"]}, params={"instead_of": 0})
        assert (done.status_code, done.json()["version"]) == (200, 1)
        late = await admin.patch("/api/organisation/people/lin", json={"deputies": []}, params={"instead_of": 0})
        assert (late.status_code, late.json()["code"]) == (409, "organisation_changed")
        for unfit in ({"deputies": ["nobody"]}, {"specialities": ["complain"]}):
            assert (await admin.patch("/api/organisation/people/lin", json=unfit)).status_code == 422
        assert [
            who.status_code for who in (await lin.get("/api/organisation"), await store.get("/api/organisation"))
        ] == [
            200,
            403,
        ]
        assert (await lin.patch("/api/organisation/people/lin", json={})).status_code == 403
    assert office.house.people.person("lin").deputies == ("chen",)


async def test_where_others_are_reached_is_the_managers_and_the_administrators_to_see(office: Office):
    """Whoever may read the organisation sees that somebody is reached otherwise; where, he himself and those two."""
    office.organise(lin={"channels": ["mailto:lin@old.example"], "quiet": "22:00-07:00"})
    change = {"channels": ["mailto:lin@new.example"], "language": "en", "most_an_hour": 5}

    async def seen(by: str) -> tuple[list[str], list[list[str]]]:
        async with office.api(by) as door:
            shown = (await door.get("/api/organisation")).json()["organisation"]["people"]
            latest = (await door.get("/api/organisation/history", params={"limit": 1})).json()[0]
        [now] = [one["channels"] for one in shown if one["id"] == "lin"]
        return now, latest["changes"][0]["fields"]["channels"]

    with structlog.testing.capture_logs() as logs:
        async with office.api("admin") as admin:
            done = (await admin.patch("/api/organisation/people/lin", json=change)).json()
        whole = (["mailto:lin@new.example"], [["mailto:lin@old.example"], ["mailto:lin@new.example"]])
        assert done["changes"][0]["fields"]["most_an_hour"] == [None, 5]
        assert [await seen(by) for by in ("lin", "wang", "admin")] == [whole] * 3
        assert [await seen(by) for by in ("chen", "sun")] == [(["mailto:§"], [["mailto:§"], ["mailto:§"]])] * 2
        async with office.api("admin") as admin:
            refused = await admin.patch("/api/organisation/people/lin", json={"channels": ["lin@new.example"]})
        assert (refused.status_code, "new.example" in refused.text) == (422, False)
    assert "new.example" not in f"{logs} {office.house.people.now!r}"
    with office.house.database.reading() as session:
        for row in session.exec(select(OrganisationRow)):
            assert b"example" not in row.sealed


async def test_an_absence_hands_over_all_open_tasks_in_one_act_and_back_on_return(office: Office):
    mine, others = await office.open(), await office.open(by="oa-gz01", store="GZ01")
    due = {key: task.due_at for key, task in office.tasks(mine).items()}
    async with office.api("wang") as wang, office.api("lin") as lin:
        nobody = await wang.get("/api/organisation/absences/lin/hand-over")
        assert (nobody.status_code, nobody.json()["code"]) == (404, "not_away")
        absence = {
            "person": "lin",
            "since": office.now().isoformat(),
            "until": (office.now() + 5 * DAY).isoformat(),
            "deputy": "chen",
        }
        assert (await wang.post("/api/organisation/absences", json=absence)).status_code == 201
        listed = (await wang.get("/api/organisation/absences/lin/hand-over")).json()
        assert {item["task"] for item in listed["items"]} == {"reply", "solution", "callback"}
        denied = await lin.post("/api/organisation/absences/lin/hand-over", json={"note": "我请假"})
        assert denied.status_code == 403
        note = {"note": "林晓请假，请代理"}
        given = await wang.post("/api/organisation/absences/lin/hand-over", json=note)
        assert {item["deputy"] for item in given.json()} == {"chen"}
        assert (await wang.post("/api/organisation/absences/lin/hand-over", json=note)).json() == [], "not twice"
        await office.relay.deliver(mine)
        assert {row.owner for row in office.tasks(mine).values() if not row.by_itself} == {"chen"}
        assert {key: task.due_at for key, task in office.tasks(mine).items()} == due, "clocks run on"
        assert {row.owner for row in office.tasks(others).values() if not row.by_itself} == {"chen"}
        new = await office.open()
        assert office.tasks(new)["reply"].owner == "chen", "what is new goes to her at once"
        await office.hand_in(mine, "reply", by="chen", content="代为回复")
        assert (await wang.post("/api/organisation/absences/lin/end")).status_code == 200
        back = await wang.post("/api/organisation/absences/lin/give-back", json={"note": "林晓回来了"})
        assert {item["task"] for item in back.json()} == {"solution", "callback"}
        await office.relay.deliver(mine)
    assert {key: row.owner for key, row in office.tasks(mine).items() if row.state == "open" and not row.by_itself} == {
        "solution": "lin",
        "callback": "lin",
    }
    assert office.tasks(others)["reply"].owner == "chen", "hers stay hers"
    assert office.tasks(await office.open())["reply"].owner == "lin"


async def test_what_was_handed_over_goes_back_when_the_absence_is_over(office: Office):
    """Nobody need think of it; what the deputy has done or given on stays, and a second look finds nothing. Not before, and not while he is away again."""
    done, given_on, still = [await office.open() for _ in range(3)]
    since, back = office.now(), office.now() + 5 * HOUR
    again = back + 10 * HOUR
    shanghai = office.house.calendar
    spans = ((since, back), (again, again + HOUR))
    async with office.api("wang") as wang:
        for begin, end in spans:
            absence = {"person": "lin", "since": begin.astimezone(shanghai).isoformat(), "until": end.isoformat()}
            assert (await wang.post("/api/organisation/absences", json=absence | {"deputy": "chen"})).status_code == 201
        given = await wang.post("/api/organisation/absences/lin/hand-over", json={"note": "林晓请假"})
        assert len(given.json()) == 9
    for case in (done, given_on, still):
        await office.relay.deliver(case)
    await office.hand_in(done, "reply", by="chen", content="代为回复")
    await office.hand_in(given_on, "reassign", by="wang", task="reply", person="zhao", reason="赵更熟悉")
    [returning] = [watch for watch in office.front.watches if watch.name == "returning"]
    assert await asyncio.to_thread(returning.round) == 0, "he is still away"
    await office.pass_time(6 * HOUR)
    assert await asyncio.to_thread(returning.round) == 7
    assert await asyncio.to_thread(returning.round) == 0
    for case in (done, given_on, still):
        await office.relay.deliver(case)

    def owners(case: str) -> dict[str, str]:
        return {key: row.owner for key, row in office.tasks(case).items() if not row.by_itself}

    assert owners(still) == {"reply": "lin", "solution": "lin", "callback": "lin"}
    assert owners(done) == {"reply": "chen", "solution": "lin", "callback": "lin"}
    assert owners(given_on) == {"reply": "zhao", "solution": "lin", "callback": "lin"}
    assert "assigned/solution" in office.heard(still, "lin")


class Killed(BaseException):
    """As kill -9: nothing gets to clean up."""


async def test_who_gets_or_loses_many_tasks_in_one_act_hears_once_how_many_and_whose(office: Office):
    """Six to the deputy and four back, whenever the one who gives them back is killed: a notice each time, in the inbox and by mail."""
    office.organise(**{who: {"channels": [f"mailto:{who}@hq.example"]} for who in ("lin", "chen")})
    cases = [await office.open() for _ in range(2)]
    since, until = office.now(), office.now() + 5 * HOUR

    async def inbox(who: str) -> list[str]:
        async with office.api(who) as door:
            items = (await door.get("/api/notices")).json()["items"]
        return [item["text"] for item in items if "转派" in item["text"]]

    async def moved(to: str) -> str:
        """Once the cases have decided: what is due first of what is his."""
        for case in cases:
            await office.relay.deliver(case)
        tasks = [task for case in cases for task in office.tasks(case).values() if not task.by_itself]
        due = min(task.due_at for task in tasks if (task.owner, task.state) == (to, "open"))
        return f"{due.astimezone(office.house.calendar):%Y-%m-%d %H:%M}"

    def got(n: int, whose: str, due: str) -> str:
        return f"{n} 项待办已转派给您（原经办：{whose} {n} 项），时限照旧，最早 {due} 到期。请查看待办（kefu tasks）。"

    def lost(n: int, to: str) -> str:
        return f"您的 {n} 项待办已转派他人（{to} {n} 项），不再由您经办。"

    with mail_server() as mails:
        post = post_of(office, mails)
        async with office.api("wang") as wang:
            away = {"person": "lin", "since": since.isoformat(), "until": until.isoformat(), "deputy": "chen"}
            assert (await wang.post("/api/organisation/absences", json=away)).status_code == 201
            path = "/api/organisation/absences/lin/hand-over"
            assert len((await wang.post(path, json={"note": "林晓请假"})).json()) == 6
            assert (await wang.post(path, json={"note": "再来一次"})).json() == []
        told = {"chen": [got(6, "林晓", await moved("chen"))], "lin": [lost(6, "陈静")]}
        assert {who: await inbox(who) for who in told} == told
        for form, fields in (("reply", {"content": "代为回复"}), ("solution", Office.SOLUTION)):
            await office.hand_in(cases[0], form, by="chen", **fields)
        await office.pass_time(6 * HOUR)

        def returning(reads: int | None = None) -> int:
            """The round, killed when somebody reads the clock for the n-th time."""
            ticks = count(1)

            def clock() -> datetime:
                if next(ticks) == reads:
                    raise Killed
                return office.now()

            house = office.house
            submissions = Submissions(house.database, house.keys, house.people, clock)
            return Returning(house.database, house.people, submissions, PROCESSES, office.now).round()

        for nth in range(1, 5):
            with pytest.raises(Killed):
                await asyncio.to_thread(returning, nth)
        assert await asyncio.to_thread(returning) == 4
        assert await asyncio.to_thread(returning) == 0
        told["lin"].insert(0, got(4, "陈静", await moved("lin")))
        told["chen"].insert(0, lost(4, "林晓"))
        assert {who: await inbox(who) for who in told} == told

        await asyncio.to_thread(post.round)
        for who, sentences in told.items():
            mailed = "\n".join(mail.get_content() for mail in mails.boxes[f"{who}@hq.example"])
            assert mailed.count("转派") == len(sentences), mailed
            assert all(text in mailed for text in sentences)


@pytest.mark.parametrize(
    ("department", "away", "deputy"), [("merchandise", "shang", "pin"), ("store", "oa-sh02", "oa-gz01")]
)
async def test_who_answers_by_a_link_has_the_link_of_each_question_that_is_handed_over_to_him(
    office: Office, department: str, away: str, deputy: str
):
    """And who gets them back has them again. What he gives away he hears of once."""
    cases = [await office.open(by="lin"), await office.open(by="lin")]
    for case, question in ((cases[0], "同批次有没有别的投诉"), (cases[0], "别的颜色呢"), (cases[1], "还有没有同款")):
        store = {"store": "SH02"} if department == "store" else {}
        await office.hand_in(case, "ask_department", department=department, question=question, **store)
    owed = {(cases[0], "assist"), (cases[0], "assist-2"), (cases[1], "assist")}

    async def inbox(who: str) -> list[dict[str, Any]]:
        for case in cases:
            await office.relay.deliver(case)
        async with office.api(who) as door:
            return [item for item in (await door.get("/api/notices")).json()["items"] if "转派" in item["text"]]

    async def opens(notices: list[dict[str, Any]]) -> set[str]:
        async with office.api(None) as anybody:
            pages = [await anybody.get(str(notice["answer"])) for notice in notices]
        assert [page.status_code for page in pages] == [200] * len(pages)
        return {re.findall(r'class="question">(.*?)<', page.text)[0] for page in pages}

    async with office.api("wang") as wang:
        span = {"since": office.now().isoformat(), "until": (office.now() + DAY).isoformat()}
        assert (
            await wang.post("/api/organisation/absences", json={"person": away, "deputy": deputy, **span})
        ).status_code == 201
        note = {"note": "休假"}
        assert len((await wang.post(f"/api/organisation/absences/{away}/hand-over", json=note)).json()) == 3
        given = await inbox(deputy)
        assert {(notice["case"], notice["task"]) for notice in given} == owed
        assert await opens(given) == {"同批次有没有别的投诉", "别的颜色呢", "还有没有同款"}
        assert [notice["what"] for notice in await inbox(away)] == ["given_away_together"]
        assert len((await wang.post(f"/api/organisation/absences/{away}/give-back", json=note)).json()) == 3
        back = [notice for notice in await inbox(away) if notice["what"] == "assigned"]
        assert {(notice["case"], notice["task"]) for notice in back} == owed
        assert len(await opens(back)) == 3
        assert (await inbox(deputy))[0]["what"] == "given_away_together"


async def test_what_a_department_was_asked_is_handed_over_to_no_other_department(office: Office):
    """Where nobody of it stands in, the manager does, as for what it is asked while its contact is away."""
    case = await office.open()
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次有没有别的投诉")
    office.organise(Absence(person="shang", since=office.now(), until=office.now() + DAY))
    async with office.api("wang") as wang:
        given = await wang.post("/api/organisation/absences/shang/hand-over", json={"note": "休假"})
    assert [(item["task"], item["deputy"]) for item in given.json()] == [("assist", "wang")]
    await office.hand_in(case, "ask_department", department="merchandise", question="别的颜色呢")
    assert {office.tasks(case)[task].owner for task in ("assist", "assist-2")} == {"wang"}


async def test_an_absence_that_is_ended_the_day_it_began_gives_back_and_another_hands_over_again(office: Office):
    """Whatever offset its begin was typed with. A task that its owner may not have any more stays, and holds up no other."""
    case, others = await office.open(), await office.open(by="oa-gz01", store="GZ01")
    local = office.now().astimezone(office.house.calendar).isoformat()
    until = (office.now() + 5 * DAY).isoformat()
    [returning] = [watch for watch in office.front.watches if watch.name == "returning"]
    async with office.api("wang") as wang:

        async def away(person: str) -> None:
            absence = {"person": person, "since": local, "until": until, "deputy": "zhao"}
            assert (await wang.post("/api/organisation/absences", json=absence)).status_code == 201
            path = f"/api/organisation/absences/{person}/hand-over"
            assert len((await wang.post(path, json={"note": "临时有事"})).json()) == 3

        for person in ("lin", "chen"):
            await away(person)
        for one in (case, others):
            await office.relay.deliver(one)
        await office.pass_time(HOUR)
        for person in ("lin", "chen"):
            assert (await wang.post(f"/api/organisation/absences/{person}/end")).status_code == 200
        office.organise(chen={"role": "director"})
        assert await asyncio.to_thread(returning.round) == 3
        await office.relay.deliver(case)
        assert office.tasks(case)["reply"].owner == "lin"
        assert office.tasks(others)["reply"].owner == "zhao"
        await office.pass_time(HOUR)
        local = office.now().astimezone(office.house.calendar).isoformat()
        await away("lin")


async def test_the_commands_speak_of_the_organisation_in_words_and_in_the_calendars_time(
    office: Office, monkeypatch: pytest.MonkeyPatch
):
    """Whatever offset an absence was typed with; a task that goes back is again his whose it was."""
    wide_and_chinese(office.house, monkeypatch, organisation)

    async def kefu(*words: str) -> list[str]:
        said = await asyncio.to_thread(CliRunner().invoke, app, ["org", *words, "--as", "wang"])
        return said.output.splitlines()

    def here(at: datetime) -> str:
        return f"{at.astimezone(office.house.calendar):%Y-%m-%d %H:%M}"

    case = await office.open()
    since, until = office.now(), office.now() + 5 * DAY
    async with office.api("wang") as wang:
        away = {"person": "lin", "since": since.isoformat(), "until": until.isoformat(), "deputy": "chen"}
        assert (await wang.post("/api/organisation/absences", json=away)).status_code == 201
        changed = {"role": "supervisor", "department": None}
        assert (await wang.patch("/api/organisation/people/pin", json=changed)).status_code == 200
    said = await kefu("history")
    assert f"  新增 请假 lin（林晓） {here(since)}  " in said
    assert (
        "  修改 人员 pin（品牌中心 吴）  岗位: contact（部门联系人） → supervisor（区域主管）; 部门: brand（品牌中心） → –"
        in said
    )
    assert [line.split("  ")[2:] for line in said if line[0].isdigit()] == [["王经理", "人员"], ["王经理", "请假"]]
    assert any(f"{here(since)[:10]} – {here(until)[:10]}" in line for line in await kefu("show"))
    due = here(office.tasks(case)["reply"].due_at)
    for command, owner in (("hand-over", "陈静"), ("give-back", "林晓"), ("hand-over", "陈静")):
        rows = await kefu(command, "lin", "--note", "林晓请假")
        [row] = [line for line in rows if "│ 回复 " in line]
        assert [cell.strip() for cell in row.strip("│").split("│")][1:] == ["回复", owner, due]
        await office.relay.deliver(case)


def test_every_version_is_turned_over_to_a_new_key(house: House):
    admin = house.people.person("admin")
    assert admin
    with house.database.writing() as session:
        for n in range(2):
            keep(session, house.keys, house.people.now, admin, "loaded", AT + n * HOUR, None)
    fresh = "new:" + base64.b64encode(b"n" * 32).decode()
    both = House(house.settings.model_copy(update={"keys": SecretStr(f"{fresh},{KEYS}")}))
    assert reseal(both).others == {"test": None}, "nothing needs the old one any more"
    alone = House(house.settings.model_copy(update={"keys": SecretStr(fresh)}))
    assert alone.people.now == house.people.now
    with alone.database.reading() as session:
        assert alone.people.version(session, 1) == house.people.now
    both.database.close()
    alone.database.close()
