"""New members (handbook 4.1): entered in the member system, audited by rule and by the specialist, completed by the store. Cases of 5.3 by their numbers."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from activities.gathering import WAITS
from models.tables import DeliveryRow, NoticeRow
from starter.post.sorting import Sorter
from tests.members import MemberSystem, record
from tests.office import DAY, HOUR, Office

SHANGHAI_MIDNIGHT = datetime(2027, 3, 1, 16, tzinfo=UTC)
"""The 2nd of March 2027 begins in Shanghai."""


@pytest.fixture
def fuxi(office: Office) -> MemberSystem:
    return MemberSystem(office)


async def test_a_clean_record_is_a_line_of_its_regions_list_and_is_audited_with_it(office: Office, fuxi: MemberSystem):
    first = await fuxi.sends(record())
    second = await fuxi.sends(record(store="SH02"))
    assert first["case"] == second["case"], "one list for the region and the day"
    [south] = {(await fuxi.sends(record(store="GZ01")))["case"]}
    assert south != first["case"]
    assert office.open_tasks(first["case"]) == {"check"}
    assert office.tasks(first["case"])["check"].owner == "lin"
    assert office.heard(first["case"], "lin") == ["new/None"], "one notice, not one for each member"

    seen = await fuxi.looks(f"lists/{first['case']}")
    assert (seen["listed"], len(seen["items"])) == (2, 2)
    answer = await fuxi.hand_in(first["case"], "check", lines=2)
    assert answer.status_code == 200, answer.text
    assert office.case(first["case"]).state == "archived"
    shown = await fuxi.looks(first["member"])
    assert (shown["state"], shown["audited_by"]) == ("audited", "lin")
    assert shown["data"]["name"] == "李晓雨"


async def test_a_record_with_a_finding_goes_to_its_store_and_round_to_the_archive(office: Office, fuxi: MemberSystem):
    """The store hears exactly which fields; completes them here; the auditor sees the record on the day's list."""
    taken = await fuxi.sends(record(phone=None, birth_date="1990-02-30"))
    case = taken["case"]
    assert office.tasks(case)["supplement"].owner == "oa-sh01"
    async with fuxi.door("oa-sh01") as store:
        [notice] = (await store.get("/api/notices")).json()["items"]
    assert "请补全：出生日期（格式不对）、手机（未填）。" in notice["text"]

    answer = await fuxi.hand_in(case, "supplement", by="oa-sh01", phone="139 0000 7777", birth_date="1990-02-20")
    assert answer.status_code == 200, answer.text
    assert fuxi.member(taken["member"]).findings == {}
    [day] = fuxi.cases("audit_list")
    assert fuxi.lines(day.id) == {taken["member"]: "listed"}
    assert office.heard(case, "lin") == [], "the list is what the auditor hears of"
    assert (await fuxi.hand_in(day.id, "check", lines=1)).status_code == 200
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "completed")
    shown = await fuxi.looks(taken["member"])
    assert (shown["state"], shown["audited_by"], shown["data"]["phone"]) == ("audited", "lin", "139 0000 7777")


async def test_a_new_version_from_the_member_system_completes_it_too(office: Office, fuxi: MemberSystem):
    whole = record()
    taken = await fuxi.sends({**whole, "name": ""})
    case = taken["case"]
    assert office.open_tasks(case) == {"supplement"}
    await fuxi.sends({**whole, "version": 2})
    assert office.tasks(case)["supplement"].done_by == "member-system"
    assert fuxi.member(taken["member"]).findings == {}
    [day] = fuxi.cases("audit_list")
    assert (await fuxi.hand_in(day.id, "check", lines=1)).status_code == 200
    assert office.case(case).state == "archived"


async def test_any_line_may_be_rejected_with_the_fields_and_the_reason(office: Office, fuxi: MemberSystem):
    good, bad = await fuxi.sends(record()), await fuxi.sends(record(name="测试"))
    day = good["case"]
    answer = await fuxi.hand_in(day, "reject", member=bad["member"], fields=["name"], note="不是人名")
    assert answer.status_code == 200, answer.text
    [own] = fuxi.cases("audit")
    assert office.tasks(own.id)["supplement"].owner == "oa-sh01"
    assert (await fuxi.hand_in(day, "check", lines=2)).json()["code"] == "list_changed"
    assert (await fuxi.hand_in(day, "check", lines=1)).status_code == 200
    assert fuxi.lines(day) == {good["member"]: "passed", bad["member"]: "rejected"}

    same = await fuxi.hand_in(own.id, "supplement", by="oa-sh01", address="上海")
    assert same.status_code == 200, same.text
    assert office.open_tasks(own.id) == {"supplement-2"}, "what was rejected has not changed"
    await fuxi.hand_in(own.id, "supplement", by="oa-sh01", name="李雨")
    [_, again] = fuxi.cases("audit_list")
    assert again.number.endswith("-2"), "the first list of this day was audited"
    assert (await fuxi.hand_in(again.id, "check", lines=1)).status_code == 200
    assert office.case(own.id).state == "archived"


async def test_e45_what_is_entered_before_midnight_is_due_a_day_before_what_comes_after(
    office: Office, fuxi: MemberSystem
):
    """E45: the business day is Shanghai's, to the instant; due at the end of the next one."""
    office.clock_stands_at(SHANGHAI_MIDNIGHT - timedelta.resolution)
    before = (await fuxi.posts("member", record())).json()
    office.clock_stands_at(SHANGHAI_MIDNIGHT)
    after = (await fuxi.posts("member", record())).json()
    assert before["case"] != after["case"]
    office.clock_runs()
    await fuxi.delivered()
    due = [office.tasks(taken["case"])["check"].due_at for taken in (before, after)]
    assert due == [SHANGHAI_MIDNIGHT + DAY, SHANGHAI_MIDNIGHT + 2 * DAY]
    assert [row.number for row in fuxi.cases("audit_list")] == ["east-2027-03-01", "east-2027-03-02"]


async def test_late_audits_are_one_notice_a_list_and_not_one_a_member(office: Office, fuxi: MemberSystem):
    taken = [await fuxi.sends(record()) for _ in range(3)]
    await office.pass_time(2 * DAY)
    [case] = {one["case"] for one in taken}
    assert office.heard(case, "wang") == ["overdue/check"]
    assert office.heard(case, "lin") == ["new/None", "breached/check"]


async def test_late_audits_are_one_notice_a_specialist_and_day_however_many_regions_are_his(
    office: Office, fuxi: MemberSystem
):
    """To him, to the manager, and to whom it climbs; one of the next day is another."""
    wang = {"channels": ["mailto:wang@example.com"]}
    office.organise(lin={"regions": ("east", "south")}, chen={"regions": ("north",)}, wang=wang)
    east, south = [(await fuxi.sends(record(store=store)))["case"] for store in ("SH01", "GZ01")]
    assert {office.tasks(case)["check"].owner for case in (east, south)} == {"lin"}
    await office.pass_time(DAY)
    await fuxi.sends(record())
    await office.pass_time(DAY)

    async def late(person: str) -> list[str]:
        async with fuxi.door(person) as door:
            told = (await door.get("/api/notices")).json()["items"]
        return [one["text"] for one in told if one["task"] == "check"]

    both = "、".join(office.case(case).number for case in (east, south))
    other_way = "、".join(office.case(case).number for case in (south, east))
    for person, said in (("wang", "审核名单已逾期"), ("lin", "您经办的审核名单已逾期")):
        [text] = await late(person)
        assert text.startswith((f"工单 {both}：{said}", f"工单 {other_way}：{said}"))
    assert [office.heard(case, "wang") for case in (east, south)] == [["overdue/check"]] * 2, "the case says who heard"
    with office.house.database.writing() as session:
        Sorter(office.house.reached, office.house.calendar).sort(session, office.now())
        [goes] = session.exec(select(DeliveryRow).where(DeliveryRow.person == "wang", DeliveryRow.state == "waiting"))
        [told] = session.exec(select(NoticeRow).where(NoticeRow.id == goes.notice))
        assert goes.next_try_at >= told.created_at + WAITS, "it names both when it goes out"
    await office.pass_time(DAY)
    assert len(await late("wang")) == 2, "the next day's"
    await office.pass_time(4 * DAY)  # four hours of his duty, whatever hour and day of the week it is
    climbed = [text for text in await late("sun") if "未确认知悉" in text]
    assert len(climbed) == 2
    assert climbed[-1].startswith((f"工单 {both}：", f"工单 {other_way}："))


async def test_e46_who_fills_in_one_field_of_several_hears_what_is_still_wanting(office: Office, fuxi: MemberSystem):
    """E46: the re-audit says what is missing still; sent back twice, the region supervisor and the manager hear."""
    case = (await fuxi.sends(record(phone=None, name=None, valid_through="next year")))["case"]
    await fuxi.hand_in(case, "supplement", by="oa-sh01", name="王芳")
    async with fuxi.door("oa-sh01") as store:
        notice = (await store.get("/api/notices")).json()["items"][0]
    assert notice["text"].endswith("请补全：手机、有效期至。")
    assert office.heard(case, "qian") == []
    await fuxi.hand_in(case, "supplement", by="oa-sh01", phone="12")
    assert office.open_tasks(case) == {"supplement-3"}
    assert office.heard(case, "qian") == ["wanting_again/None"]
    assert office.heard(case, "wang") == ["wanting_again/None"]


async def test_whoever_hears_of_a_member_reads_which_one_it_is_and_masked(office: Office, fuxi: MemberSystem):
    """In the inbox, as he opens it: nothing of it is kept with the notice."""
    taken = await fuxi.sends(record(712, phone=None, name="欧阳静"))
    await office.pass_time(73 * HOUR)
    which = f"会员：姓名 欧*，会员号 ****12，会员卡号 ****12；全部资料：kefu members show {taken['member']}。"
    for person in ("oa-sh01", "qian", "wang"):
        async with fuxi.door(person) as door:
            told = (await door.get("/api/notices")).json()["items"]
        texts = [notice["text"] for notice in told if notice["case"] == taken["case"]]
        assert {which in text for text in texts} == {True}, texts
    with office.house.database.reading() as session:
        kept = str([row.model_dump() for row in session.exec(select(NoticeRow))])
    assert not [known for known in ("欧", "00000712", "****12") if known in kept]
    async with fuxi.door("wang") as door:
        spoken = (await door.get("/api/notices", headers={"Accept-Language": "en"})).json()["items"][0]["text"]
    assert "The member: name 欧*, member number ****12, card number ****12; all of him: kefu members show" in spoken


async def test_a_store_that_is_late_is_reminded_then_its_supervisor_and_the_manager_hear(
    office: Office, fuxi: MemberSystem
):
    case = (await fuxi.sends(record(phone=None)))["case"]
    await office.pass_time(25 * HOUR)
    assert office.heard(case, "oa-sh01") == ["new/None", "reminder/supplement"]
    await office.pass_time(24 * HOUR)
    assert office.heard(case, "qian") == ["overdue/supplement"]
    await office.pass_time(24 * HOUR)
    assert office.heard(case, "wang") == ["unacknowledged/supplement", "overdue/supplement"]


async def test_e47_a_field_that_may_be_declined_counts_as_answered_and_a_minor_is_the_auditors_to_decide(
    office: Office, fuxi: MemberSystem
):
    """E47: the required set is policy; a declined optional field is an answer; a child's record is for a person."""
    declined = await fuxi.sends(record(gender=None, declined=["gender"]))
    assert declined["case"] == fuxi.cases("audit_list")[0].id
    child = await fuxi.sends(record(birth_date="2020-01-01"))
    assert fuxi.member(child["member"]).findings == {"birth_date": "minor"}
    refused = await fuxi.hand_in(child["case"], "supplement", by="oa-sh01", declined=["phone"])
    assert refused.json()["errors"][0]["code"] == "not_to_be_declined"
    await fuxi.hand_in(child["case"], "supplement", by="oa-sh01", confirmed=["birth_date"], note="监护人已签字")
    [day] = fuxi.cases("audit_list")
    [line] = [row for row in (await fuxi.looks(f"lists/{day.id}"))["items"] if row["member"] == child["member"]]
    assert line["findings"] == {"birth_date": "minor"}, "the auditor sees it"
    assert (await fuxi.hand_in(day.id, "check", lines=2)).status_code == 200
    assert office.case(child["case"]).state == "archived"


async def test_e48_another_member_with_the_same_phone_or_card_is_a_finding_and_nobody_is_merged(
    office: Office, fuxi: MemberSystem
):
    """E48: however the number is typed."""
    first = await fuxi.sends(record(7, phone="13800000007"))
    second = await fuxi.sends(record(8, phone="+86 138-0000-0007", card_no="66-0000-0007"))
    assert second["member"] != first["member"]
    assert fuxi.member(second["member"]).findings == {"phone": "duplicate", "card_no": "duplicate"}
    await fuxi.hand_in(second["case"], "supplement", by="oa-sh01", card_no="6600000099", confirmed=["phone"])
    assert fuxi.member(second["member"]).findings == {"phone": "duplicate"}
    day = first["case"]
    assert (await fuxi.hand_in(day, "check", lines=2)).status_code == 200
    assert office.case(second["case"]).state == "archived", "a family may share a phone, if the auditor says so"


async def test_e49_what_is_complete_and_false_passes_the_rules(fuxi: MemberSystem):
    """E49: the audit checks completeness; truth is for the survey."""
    taken = await fuxi.sends(record(name="张三", address="月球"))
    assert fuxi.member(taken["member"]).findings == {}


async def test_e50_the_same_event_again_changes_nothing(office: Office, fuxi: MemberSystem):
    """E50: by the message's id, and by member and version; an older version that comes later is known; another content is not."""
    whole = record(phone=None)
    taken = await fuxi.sends(whole, id="msg-e50")
    assert (await fuxi.sends(whole, id="msg-e50"))["taken"] == "known"
    assert (await fuxi.sends(whole))["taken"] == "known"
    other = await fuxi.posts("member", {**whole, "name": "别人"})
    assert (other.status_code, other.json()["code"]) == (409, "version_taken")
    await fuxi.sends({**whole, "version": 3, "phone": "13800000050"})
    assert (await fuxi.sends({**whole, "version": 2}))["taken"] == "known"
    assert fuxi.member(taken["member"]).version == 3
    assert len(fuxi.cases("audit")) == 1
    assert len([e for e in office.events(taken["case"]) if e.kind == "done"]) == 1


async def test_a_version_that_is_no_longer_clean_leaves_the_list(office: Office, fuxi: MemberSystem):
    whole = record()
    taken = await fuxi.sends(whole)
    changed = await fuxi.sends({**whole, "version": 2, "phone": "12"})
    assert fuxi.lines(taken["case"]) == {taken["member"]: "withdrawn"}
    assert office.open_tasks(changed["case"]) == {"supplement"}


async def test_what_was_completed_here_stands_until_the_member_system_says_something_else(
    fuxi: MemberSystem,
):
    whole = record(phone=None)
    taken = await fuxi.sends(whole)
    await fuxi.hand_in(taken["case"], "supplement", by="oa-sh01", phone="13911112222")
    await fuxi.sends({**whole, "version": 2, "name": "李小雨"})
    shown = await fuxi.looks(taken["member"])
    assert (shown["data"]["phone"], shown["data"]["name"]) == ("13911112222", "李小雨")
    await fuxi.sends({**whole, "version": 3, "phone": "13933334444"})
    assert (await fuxi.looks(taken["member"]))["data"]["phone"] == "13933334444"


async def test_first_pass_completeness_is_kept_for_each_store(office: Office, fuxi: MemberSystem):
    good = await fuxi.sends(record())
    await fuxi.sends(record(phone=None))
    await fuxi.sends(record(store="SH02"))
    await fuxi.hand_in(good["case"], "check", lines=2)
    await fuxi.sends(record(store="SH02"))
    today = office.now().astimezone(office.house.calendar).date()
    days = {"since": str(today - DAY), "until": str(today + 2 * DAY)}
    shown = (await fuxi.looks("completeness", by="wang", **days))["items"]
    of_stores = {
        row["store"]: (row["entered"], row["complete"], row["incomplete"], row["waiting"], row["rate"]) for row in shown
    }
    assert of_stores == {"SH01": (2, 1, 1, 0, 0.5), "SH02": (2, 1, 0, 1, 1.0)}
    assert [row["store"] for row in (await fuxi.looks("completeness", by="oa-sh02", **days))["items"]] == ["SH02"]


async def test_every_list_and_submission_says_for_whom_it_is_or_whose_in_which_role_and_how_far(fuxi: MemberSystem):
    good, bad = await fuxi.sends(record()), await fuxi.sends(record(phone=None))
    for by, who in {
        "lin": ("lin", "specialist", "all"),
        "qian": ("qian", "supervisor", "east"),
        "oa-sh01": ("oa-sh01", "store", "SH01"),
    }.items():
        shown = [await fuxi.looks("completeness", by=by, since="2026-01-01", until="2026-02-01")]
        if by != "oa-sh01":  # a day's list is its region's
            shown.append(await fuxi.looks(f"lists/{good['case']}", by=by))
        assert {(page["reader"], page["role"], page["scope"]) for page in shown} == {who}
    handed = await fuxi.hand_in(bad["case"], "supplement", by="oa-sh01", phone="13900001111")
    checked = await fuxi.hand_in(good["case"], "check", lines=2)
    async with fuxi.door("wang") as door:
        sent = [
            (await door.get(f"/api/submissions/{answer.json()['submission']}")).json() for answer in (handed, checked)
        ]
    assert [(one["by"], one["role"], one["scope"]) for one in sent] == [
        ("oa-sh01", "store", "SH01"),
        ("lin", "specialist", "east"),
    ]
