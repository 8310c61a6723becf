"""Planned visits (handbook 6.3, 5.3 E55–E59): a store's plan, the consolidation, the calls, the report, the callback file."""

import base64
import json
from collections import Counter
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pydantic import SecretStr
from sqlmodel import col, select

from activities import schema
from activities.keys import COLUMN
from models import policy
from models.people import Store
from models.tables import ArchiveRow, PlanVersionRow, PurchaseRow, SubmissionRow, VisitCallRow, VisitRow
from models.visits import VISIT_PLAN
from models.visits.months import shifted
from models.visits.terms import VisitPlanPromises
from settings import House, Settings
from starter.papers.doors import XLSX
from starter.reseal import reseal
from starter.visits.calls import said_in
from starter.visits.erasing import of_customer
from starter.visits.opening import reminded_earlier
from starter.visits.whom import line_of
from tests.conftest import KEYS
from tests.office import DAY, HOUR, Office
from tests.test_budget import weigh
from tests.visiting import TAKEN, ZONE, Visiting, add_member, at, day, line, next_month_like, with_stores

NEW = "new:" + base64.b64encode(b"n" * 32).decode()
STORES = [
    Store(code=code, name=code, region=region)
    for code, region in (("SH01", "east"), ("SH02", "east"), ("GZ01", "south"))
]


@pytest.fixture
def house(house: House) -> House:
    with_stores(house, *STORES)
    return house


@pytest.fixture
async def visiting(office: Office) -> Visiting:
    return Visiting(office)


async def planned(visiting: Visiting, *lines: dict[str, Any], number: int = 3) -> str:
    """A month whose store SH01 has handed these lines in, on the 25th of the month before."""
    month = next_month_like(visiting.office, number)
    await visiting.begin(at(day(shifted(month, -1), 20)))
    await visiting.until(at(day(shifted(month, -1), 25), "10:00"))
    if lines:
        answer = await visiting.deliver(month, "SH01", [line(day(month, 10), n, **one) for n, one in enumerate(lines)])
        assert answer.status_code in TAKEN, answer.text
    return month


async def lines_of(visiting: Visiting, month: str, **wanted: Any) -> list[dict[str, Any]]:
    return (await visiting.get("", month=month, **wanted))["items"]


async def test_a_plan_its_calls_and_its_month_go_their_whole_way(visiting: Visiting):
    office = visiting.office
    month = await planned(visiting, {}, {}, {}, number=3)
    before = shifted(month, -1)
    plan = visiting.plan(month, "SH01")
    assert (len(visiting.cases("visit_plan", month)), office.open_tasks(plan)) == (3, {"calls"})
    for store in ("SH02", "GZ01"):
        assert (await visiting.deliver(month, store)).status_code in TAKEN
    early = await visiting.post(f"months/{month}/consolidate")
    assert (early.status_code, early.json()["code"]) == (409, "too_early_to_consolidate")
    await visiting.until(at(day(before, 28), "20:00"))
    answer = await visiting.post(f"months/{month}/consolidate")
    assert (answer.status_code, answer.json()["missing"], answer.json()["lines"]) == (200, [], 3), answer.text
    await visiting.until(at(day(month, 10), "10:00"))
    [first, second, third] = await lines_of(visiting, month)
    assert first["line"]["name"].startswith("顾客")
    for visit in (first, second):
        answer = await visiting.post(f"{visit['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=5)
        assert (answer.status_code, answer.json()["on_time"]) == (200, True), answer.text
    assert office.open_tasks(plan) == {"calls"}, "one is left"
    await visiting.until(at(day(month, 11), "10:00"))
    assert office.heard(plan, "wang") == ["overdue/calls"]
    async with visiting.door("wang") as door:
        text = (await door.get("/api/notices")).json()["items"][0]["text"]
    assert f"SH01 oa-sh01 {day(month, 10)} 的回访已逾期，还有 1 人" in text
    answer = await visiting.post(f"{third['visit']}/call", by="oa-sh01", outcome="unreachable")
    assert (answer.json()["on_time"], office.open_tasks(plan)) == (False, set())
    assert office.tasks(plan)["calls"].done_by == "oa-sh01"
    not_over = await visiting.post(f"months/{month}/report", by="wang")
    assert (not_over.status_code, not_over.json()["code"]) == (409, "month_not_over")
    await visiting.until(at(day(shifted(month, 1), 2), "10:00"))
    answer = await visiting.post(f"months/{month}/report", remark="已核对")
    assert (answer.status_code, answer.json()["state"]) == (200, "archived"), answer.text
    await visiting.delivered()
    assert office.case(plan).closed_because == "completed"
    assert office.heard(visiting.month(month), "wang") == ["visits_reported/None"]


async def test_silence_is_late_and_climbs_store_supervisor_manager_each_once(visiting: Visiting):
    """E56, E58: the missing store is listed, and its plan, which comes on the last day, appended."""
    office = visiting.office
    month = await planned(visiting, {})
    before = shifted(month, -1)
    plan = visiting.plan(month, "SH02")
    await visiting.until(at(day(before, 28), "17:59"))
    assert office.heard(plan, "oa-sh02") == ["new/None", "reminder/plan"]
    await visiting.until(at(day(before, 28), "23:00"))
    assert [row.person for row in office.fired(plan, "plan")] == ["oa-sh02", "qian", "wang"]
    assert office.heard(plan, "oa-sh02")[2:] == ["breached/plan", "breached/plan"]
    answer = await visiting.post(f"months/{month}/consolidate")
    assert answer.json()["missing"] == ["GZ01", "SH02"]
    assert office.heard(visiting.month(month), "wang") == ["plans_missing/None"]
    late = await visiting.deliver(month, "SH02", [line(day(month, 3), 7)])
    assert "versions" in late.json(), late.text
    assert [version["kind"] for version in late.json()["versions"]] == ["late"]
    view = await visiting.get(f"/months/{month}")
    assert (view["appended"], view["lines"], "SH02" in view["missing"]) == (["SH02"], 2, False)
    owner = office.tasks(visiting.month(month))["consolidation"].owner
    assert office.heard(visiting.month(month), owner)[-1] == "plan_appended/None"
    again = await visiting.post(f"months/{month}/consolidate")
    assert (again.status_code, again.json()["code"]) == (409, "consolidated_already")


async def test_a_plan_handed_in_again_replaces_before_the_consolidation_and_amends_after_it(visiting: Visiting):
    """E57."""
    office = visiting.office
    month = await planned(visiting, {}, {})
    before, plan = shifted(month, -1), visiting.plan(month, "SH01")
    first = line(day(month, 10), 0)
    other = line(day(month, 12), 5)
    replaced = await visiting.deliver(month, "SH01", [first, other])
    assert [version["kind"] for version in replaced.json()["versions"]] == ["first", "replaced"]
    assert [row.state for row in visits(office, plan)] == ["planned", "dropped", "planned"]
    assert office.open_tasks(plan) == {"calls", "calls-2"}
    await visiting.until(at(day(before, 28), "20:00"))
    await visiting.post(f"months/{month}/consolidate")
    amended = await visiting.deliver(month, "SH01", [other])
    assert amended.json()["versions"][-1]["kind"] == "amended"
    assert office.open_tasks(plan) == {"calls-2"}
    assert office.tasks(plan)["calls"].withdrawn_because == "replanned"
    same = await visiting.deliver(month, "SH01", [other])
    assert (same.status_code, len(same.json()["versions"])) == (200, 3), "the same plan again is the same plan"
    book = openpyxl.load_workbook(BytesIO(await download(visiting, f"/api/visits/months/{month}/plan.xlsx")))
    marks = {row[2]: row[-1] for row in book["east"].iter_rows(min_row=2, values_only=True)}
    assert marks == {"顾客0": "删去", "顾客5": None}


async def test_a_plan_is_amended_in_its_month_and_lines_whose_day_has_passed_stay(visiting: Visiting):
    """E57: handed in whole, with one more; who was not called is late all the same, and what is new is for a day to come."""
    office = visiting.office
    month = await planned(visiting, {}, {})
    plan, before = visiting.plan(month, "SH01"), [line(day(month, 10), n) for n in range(2)]
    [first, second] = await lines_of(visiting, month)
    await visiting.until(at(day(month, 10), "10:00"))
    await visiting.post(f"{first['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=4)
    await visiting.until(at(day(month, 15), "10:00"))
    late = await visiting.deliver(month, "SH01", [*before, line(day(month, 14), 9)])
    assert [error["field"] for error in late.json()["errors"]] == ["lines.2.planned_on"]
    amended = await visiting.deliver(month, "SH01", [*before, line(day(month, 20), 9)])
    assert amended.status_code == 200, amended.text
    found = {one["visit"]: (one["state"], one["overdue"]) for one in await lines_of(visiting, month)}
    assert (found.pop(first["visit"]), found.pop(second["visit"])) == (("done", False), ("planned", True))
    assert list(found.values()) == [("planned", False)]
    assert office.open_tasks(plan) == {"calls", "calls-2"}
    assert office.heard(plan, "wang") == ["overdue/calls"], "once, and by no amendment again"


async def test_a_line_that_was_called_stays_with_its_outcome_when_the_plan_changes(visiting: Visiting):
    month = await planned(visiting, {}, {})
    [first, second] = await lines_of(visiting, month)
    await visiting.post(f"{first['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=4)
    changed = [line(day(month, 20), n) for n in range(2)]
    assert (await visiting.deliver(month, "SH01", changed)).status_code == 200
    found = {one["line"]["name"]: (one["state"], one["due_on"]) for one in await lines_of(visiting, month)}
    assert found == {
        first["line"]["name"]: ("done", day(month, 10).isoformat()),
        second["line"]["name"]: ("planned", day(month, 20).isoformat()),
    }


async def test_every_line_that_does_not_hold_is_named_and_nothing_is_taken(visiting: Visiting):
    month = await planned(visiting)
    bad = [
        line(day(month, 10), 1),
        line(day(shifted(month, 1), 1), 2),
        line(day(month, 10), 3, phone="12"),
        line(day(month, 10), 4, name=None, phone=None),
        line(day(month, 11), 1),
        line(day(month, 10), 6, member_no="nobody", phone=None),
        line(day(month, 10), 7, caller="oa-gz01"),
        line(day(month, 10), 8, purchased_on="2200-01-01"),
    ]
    answer = await visiting.deliver(month, "SH01", bad)
    assert answer.status_code == 422
    assert {error["field"]: error["code"] for error in answer.json()["errors"]} == {
        "lines.1.planned_on": "not_in_month",
        "lines.2.phone": "phone_short",
        "lines.3.name": "nobody_named",
        "lines.3.phone": "phone_needed",
        "lines.4.member_no": "line_twice",
        "lines.5.member_no": "no_such_member",
        "lines.5.phone": "phone_needed",
        "lines.6.caller": "caller_elsewhere",
        "lines.7.purchased_on": "past_in_future",
    }
    assert "12" not in answer.text.replace(month, "").split('"errors"')[0]
    assert visits(visiting.office, visiting.plan(month, "SH01")) == []


async def test_a_nil_return_is_a_plan_and_no_common_door_takes_one(visiting: Visiting):
    """E56."""
    month = await planned(visiting)
    nil = await visiting.deliver(month, "SH01")
    assert (nil.json()["nil"], nil.json()["delivered"]) == (True, True), nil.text
    assert (await visiting.deliver(month, "SH01", [line(day(month, 4))])).json()["lines"] == 1
    plan = visiting.plan(month, "SH01")
    async with visiting.door("oa-sh01") as door:
        for form in ("plan", "calls", "deliver", "progress", "close_month"):
            assert (await door.post(f"/api/cases/visit_plan/{plan}/{form}", json={})).status_code == 404
        opened = await door.post(
            "/api/cases/visit_plan",
            json={"plan_no": "x", "month": month, "store": "SH01", "asked_at": "2027-01-01T00:00:00Z"}
            | {"begins_at": "2027-01-01T00:00:00Z"},
        )
    assert opened.status_code == 403


async def test_a_store_hands_in_its_own_plan_and_headquarters_any(visiting: Visiting):
    month = await planned(visiting)
    for by, store, status in (
        ("oa-sh02", "SH01", 403),
        ("qian", "SH01", 403),
        ("lin", "XX", 404),
        ("lin", "SH01", 201),
    ):
        answer = await visiting.deliver(month, store, by=by)
        assert answer.status_code == status or (status, answer.status_code) == TAKEN


# Calls


async def test_a_callers_list_is_his_own_task_and_nobody_elses_of_the_region(visiting: Visiting):
    """Lin has the east; Chen of the south calls a sample there, and a clerk whom only the store knows calls for the store."""
    office = visiting.office
    month = await planned(visiting)
    lines = [line(day(month, 10), n, caller=caller) for n, caller in enumerate(("chen", "lin", "clerk-1"))]
    assert (await visiting.deliver(month, "SH01", lines, by="lin")).status_code in TAKEN
    plan = visiting.plan(month, "SH01")
    lists = (await visiting.get("/lists", month=month))["items"]
    owners = {one["caller"]: office.tasks(plan)[one["task"]].owner for one in lists}
    assert owners == {"chen": "chen", "lin": "lin", "clerk-1": "oa-sh01"}
    assert office.heard(plan, "chen") == ["task/calls"]
    [hers] = [one for one in await lines_of(visiting, month) if one["caller"] == "lin"]
    await visiting.post(f"{hers['visit']}/call", outcome="satisfied", satisfaction=5)
    await visiting.until(at(day(month, 11), "10:00"))
    assert office.heard(plan, "chen")[1:] == ["breached/calls"]
    assert office.heard(plan, "lin") == []


async def test_a_dissatisfied_customer_becomes_a_complaint_at_once_linked_both_ways(visiting: Visiting):
    office = visiting.office
    month = await planned(visiting, {"receipt_no": "XP-1"}, {})
    [first, _] = await lines_of(visiting, month)
    path = f"{first['visit']}/call"
    bare = await visiting.post(path, by="oa-sh01", outcome="dissatisfied", satisfaction=1)
    assert [error["code"] for error in bare.json()["errors"]] == ["complaint_needed"]
    answer = await visiting.post(
        path, by="oa-sh01", outcome="dissatisfied", satisfaction=1, complaint="大衣起球", demand="换一件"
    )
    complaint = answer.json()["complaint"]
    assert office.open_tasks(complaint) == {"reply", "solution", "callback"}
    case = office.case(complaint)
    assert (case.number, case.store) == (f"HF-{first['visit']}", "SH01")
    assert [one["visit"] for one in (await visiting.get("", complaint=complaint))["items"]] == [first["visit"]]
    async with visiting.door("lin") as door:
        facts = (await door.get(f"/api/cases/{complaint}")).json()["facts"]
    assert (facts["content"], facts["customer"]["name"], facts["demand"]) == (
        "大衣起球",
        first["line"]["name"],
        "换一件",
    )
    twice = await visiting.post(path, by="oa-sh01", outcome="satisfied", satisfaction=5)
    assert (twice.status_code, twice.json()["code"]) == (409, "visit_done")


async def test_an_open_complaint_holds_the_courtesy_call_back(visiting: Visiting):
    """E59."""
    office = visiting.office
    month = await planned(visiting, {}, {})
    plan = visiting.plan(month, "SH01")
    [first, second] = await lines_of(visiting, month)
    phone = first["line"]["phone"]
    await office.open(customer={"name": "某", "phone": phone[:3] + "-" + phone[3:]})
    [flagged] = [one for one in await lines_of(visiting, month) if one["flags"]]
    assert (flagged["visit"], flagged["flags"]) == (first["visit"], ["open_complaint"])
    refused = await visiting.post(f"{first['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=5)
    assert (refused.status_code, refused.json()["code"]) == (409, "visit_held_back")
    await visiting.post(f"{second['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=5)
    assert office.open_tasks(plan) == {"calls"}
    visiting.days = frozenset({10, 20})
    await visiting.until(at(day(month, 10), "08:00"))
    assert office.open_tasks(plan) == set(), "the morning holds it back, and so nobody is late"
    assert [one["state"] for one in await lines_of(visiting, month, state="held")] == ["held"]
    await visiting.until(at(day(month, 12), "08:00"))
    assert office.heard(plan, "wang") == []
    still = await visiting.post(f"{first['visit']}/put-off", by="oa-sh01", day=day(month, 20).isoformat())
    assert (still.status_code, still.json()["code"]) == (409, "visit_held_back")


async def test_a_line_held_back_is_free_again_once_the_complaint_is_closed(visiting: Visiting):
    office = visiting.office
    month = await planned(visiting, {})
    [first] = await lines_of(visiting, month)
    plain = await visiting.post(f"{first['visit']}/hold", by="oa-sh01")
    assert (plain.status_code, plain.json()["code"]) == (409, "nothing_holds_it")
    case = await office.open(customer={"name": "某", "phone": first["line"]["phone"]})
    held = await visiting.post(f"{first['visit']}/hold", by="oa-sh01")
    assert (held.json()["state"], held.json()["held_for"]) == ("held", case)
    await office.walk(case)
    again = await visiting.post(f"{first['visit']}/put-off", by="oa-sh01", day=day(month, 20).isoformat())
    assert (again.json()["state"], again.json()["due_on"]) == ("planned", day(month, 20).isoformat())
    assert office.open_tasks(visiting.plan(month, "SH01")) == {"calls-2"}


async def test_the_morning_after_the_complaint_is_closed_gives_the_line_back_to_its_caller(visiting: Visiting):
    """One whose day is still to come keeps it; one whose customer has another complaint waits for that one, too."""
    office = visiting.office
    month = await planned(visiting)
    lines = [line(day(month, nth), n) for n, nth in enumerate((10, 25, 10))]
    assert (await visiting.deliver(month, "SH01", lines)).status_code in TAKEN
    plan = visiting.plan(month, "SH01")
    first, third, second = await lines_of(visiting, month)
    cases = [await office.open(customer={"phone": one["line"]["phone"]}) for one in (first, second, third, third)]
    await visiting.post(f"{second['visit']}/hold", by="oa-sh01")
    visiting.days = frozenset({10, 11, 13, 20})
    await visiting.until(at(day(month, 11), "08:00"))
    assert [one["state"] for one in await lines_of(visiting, month)] == ["held"] * 3
    for case in cases[:3]:
        await office.walk(case)
    await visiting.until(at(day(month, 13), "08:00"))
    found = {one["visit"]: (one["state"], one["due_on"]) for one in await lines_of(visiting, month)}
    assert found == {
        first["visit"]: ("planned", day(month, 13).isoformat()),
        second["visit"]: ("planned", day(month, 25).isoformat()),
        third["visit"]: ("held", day(month, 10).isoformat()),
    }
    assert office.heard(plan, "oa-sh01")[1:] == ["task/calls-3", "task/calls-4"]
    await visiting.until(at(day(month, 14), "08:00"))
    assert office.heard(plan, "wang") == ["overdue/calls-3"], "who does not call him now is late"
    await visiting.until(at(day(shifted(month, 1), 1), "08:00"))
    await office.walk(cases[3])
    visiting.days = frozenset({3})
    await visiting.until(at(day(shifted(month, 1), 3), "08:00"))
    assert [one["visit"] for one in await lines_of(visiting, month, state="held")] == [third["visit"]], (
        "his month is over"
    )


async def test_who_put_a_visit_off_to_which_day_and_why_is_kept(visiting: Visiting):
    """Also where no other list is open by it; and the reason is for those who know the customer, until he is erased."""
    office = visiting.office
    month = await planned(visiting, {}, {})
    plan = visiting.plan(month, "SH01")
    [first, second] = await lines_of(visiting, month)
    for nth, one in ((15, first), (16, second), (16, first)):
        path, why = f"{one['visit']}/put-off", {"reason": f"顾客出差，{nth}日回来"}
        answer = await visiting.post(path, by="oa-sh01", day=day(month, nth).isoformat(), **why)
        assert answer.status_code == 200, answer.text
    assert office.open_tasks(plan) == {"calls-3"}
    moves = [(one["by"], one["day"], one["reason"]) for one in answer.json()["moves"]]
    assert moves == [("oa-sh01", day(month, nth).isoformat(), f"顾客出差，{nth}日回来") for nth in (15, 16)]
    async with visiting.door("qian") as door:
        for path in (f"/api/visits/{first['visit']}", f"/api/cases/{plan}"):
            assert "出差" not in (await door.get(path)).text
    await visiting.post(f"{first['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=5)
    assert "出差，15日" in whole_of(office, plan)
    async with visiting.door("wang") as door:
        erased = {"because": "customer_request", "phone": first["line"]["phone"]}
        assert (await door.post("/api/customers/erase", json=erased)).json()["visits"] == 1
    kept = whole_of(office, plan)
    assert ("出差，15日" in kept, kept.count("出差，16日")) == (False, 1), "the other one's"


async def test_who_is_not_reached_is_called_again_and_a_call_sent_twice_is_one_call(visiting: Visiting):
    office = visiting.office
    month = await planned(visiting, {}, {})
    plan = visiting.plan(month, "SH01")
    [first, second] = await lines_of(visiting, month)
    path = f"{first['visit']}/call"
    beyond = await visiting.post(path, outcome="rescheduled", next_on=day(shifted(month, 1), 1).isoformat())
    assert [error["code"] for error in beyond.json()["errors"]] == ["not_in_month"]
    answer = await visiting.post(path, by="oa-sh01", outcome="rescheduled", next_on=day(month, 15).isoformat())
    assert (answer.json()["state"], answer.json()["attempts"], office.open_tasks(plan)) == (
        "planned",
        1,
        {"calls", "calls-2"},
    )
    done = await visiting.post(path, by="oa-sh01", outcome="satisfied", satisfaction=5)
    assert (done.json()["attempts"], [call["outcome"] for call in done.json()["calls"]]) == (
        2,
        ["rescheduled", "satisfied"],
    )
    async with visiting.door("oa-sh01", **{"Idempotency-Key": "k-1"}) as door:
        path, body = f"/api/visits/{second['visit']}/call", {"outcome": "satisfied", "satisfaction": 5}
        answers = [(await door.post(path, json=body)).status_code for _ in range(2)]
        other = await door.post(path, json=body | {"satisfaction": 1})
    assert (answers, other.status_code, other.json()["code"]) == ([200, 200], 409, "key_reused")
    assert (await visiting.get(f"/{second['visit']}"))["attempts"] == 1


async def test_another_store_and_the_administrator_see_nothing_and_a_supervisor_no_names(visiting: Visiting):
    month = await planned(visiting, {})
    [first] = await lines_of(visiting, month)
    assert (await visiting.get("", by="oa-sh02", month=month))["items"] == []
    async with visiting.door("oa-sh02") as door:
        assert (await door.get(f"/api/visits/{first['visit']}")).status_code == 404
        assert (await door.post(f"/api/visits/{first['visit']}/hold")).status_code == 404
    async with visiting.door("admin") as door:
        assert (await door.get("/api/visits")).status_code == 403
    shown = await visiting.get(f"/{first['visit']}", by="qian")
    assert (shown["line"]["name"], "0000" in shown["line"]["phone"]) == ("顾*", True)
    async with visiting.door("qian") as door:
        assert "顾客0" not in (await door.get(f"/api/cases/{visiting.plan(month, 'SH01')}")).text


async def test_who_is_erased_is_gone_from_the_plans_that_named_him_and_from_their_archive(visiting: Visiting):
    """E44: who was called at once, who was not once the month is closed; the others of the plan stay."""
    office = visiting.office
    add_member(office.house, "1001", phone="13912345678", name="欧阳小兰")
    month = await planned(
        visiting, {"name": "赵一", "note": "赵一要大号"}, {"member_no": "10-01", "name": None, "phone": None}, {}
    )
    plan = visiting.plan(month, "SH01")
    called, uncalled, other = await lines_of(visiting, month)
    by_name = {one["line"]["name"]: one["visit"] for one in (called, uncalled, other)}
    said = {"outcome": "satisfied", "satisfaction": 5, "answer": "赵一说很好"}
    await visiting.post(f"{by_name['赵一']}/call", by="oa-sh01", **said)

    async def erase(phone: str) -> dict[str, Any]:
        async with visiting.door("wang") as door:
            answer = await door.post("/api/customers/erase", json={"because": "customer_request", "phone": phone})
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert (await erase("13800000000"))["visits"] == 1
    kept = whole_of(office, plan)
    assert ("赵一" in kept, "13800000000" in kept, "10-01" in kept, "顾客2" in kept) == (False, False, True, True)
    soon = await erase("13912345678")
    assert (soon["visits"], "还有未完成的计划回访" in "".join(soon["hints"])) == (0, True)
    await visiting.until(at(day(shifted(month, -1), 28), "20:00"))
    await visiting.post(f"months/{month}/consolidate")
    await visiting.until(at(day(shifted(month, 1), 2)))
    await visiting.post(f"months/{month}/report")
    assert office.case(plan).state == "archived"
    assert (await erase("13912345678"))["visits"] == 1
    kept = whole_of(office, plan)
    assert ("10-01" in kept, "欧阳小兰" in kept, "13912345678" in kept, "顾客2" in kept) == (False, False, False, True)
    assert (await visiting.get(f"/months/{month}/report"))["figures"][-1]["counts"]["planned"] == 3


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


# Members


async def test_a_member_is_known_by_his_number_and_flagged_when_his_card_is_over(visiting: Visiting):
    house, now = visiting.office.house, visiting.office.now()
    long_ago = now - 200 * DAY
    add_member(house, "1001", valid_through=(now - 9 * DAY).date(), bought_at=long_ago)
    add_member(house, "2002", store="GZ01")
    month = await planned(visiting, {"member_no": "1001", "name": None, "phone": None})
    [first] = await lines_of(visiting, month)
    assert (first["line"]["name"], first["line"]["phone"]) == ("会员1001", "13900001001")
    assert first["flags"] == ["card_expired", "churned"]
    foreign = await visiting.deliver(month, "SH01", [line(day(month, 4), 1, member_no="2002", name=None, phone=None)])
    assert "member_elsewhere" in {error["code"] for error in foreign.json()["errors"]}
    assert "会员2002" not in foreign.text


async def test_a_churned_member_is_listed_asked_why_and_won_back(visiting: Visiting):
    house, now = visiting.office.house, visiting.office.now()
    month = next_month_like(visiting.office, 3)
    asked = at(day(shifted(month, -1), 25))
    add_member(house, "1001", bought_at=asked - 120 * DAY)
    add_member(house, "1002", bought_at=asked - 20 * DAY)
    add_member(house, "1003", joined_on=(now - 400 * DAY).date())
    await planned(visiting, {"member_no": "1001", "name": None, "phone": None, "purpose": "churned"})
    found = await visiting.get("/churned", by="oa-sh01", store="SH01")
    assert [one["name"] for one in found["items"]] == ["会员1001", "会员1003"]
    [first] = await lines_of(visiting, month)
    path = f"{first['visit']}/call"
    short = await visiting.post(path, by="oa-sh01", outcome="satisfied", satisfaction=4)
    assert {error["field"] for error in short.json()["errors"]} == {"cause", "won"}
    said = {"cause": "style", "offer": "新款到店", "won": "back"}
    assert (await visiting.post(path, by="oa-sh01", outcome="satisfied", satisfaction=4, **said)).json()[
        "won"
    ] == "back"
    figures = (await visiting.get(f"/months/{month}/report"))["figures"]
    assert figures[-1]["counts"]["back"] == 1


# Excel


async def download(visiting: Visiting, path: str, by: str = "lin") -> bytes:
    async with visiting.door(by) as door:
        answer = await door.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, XLSX), answer.text
    return answer.content


async def test_the_workbook_of_a_store_comes_back_filled_in_with_refused_rows_named(visiting: Visiting):
    now = visiting.office.now()
    month = next_month_like(visiting.office, 3)
    asked = at(day(shifted(month, -1), 25))
    for n in range(3):
        add_member(visiting.office.house, f"100{n}", bought_at=asked - (5 + n) * DAY)
    await planned(visiting)
    path = f"/api/visits/plans/{month}/SH01"
    book = openpyxl.load_workbook(BytesIO(await download(visiting, f"{path}/template.xlsx", by="oa-sh01")))
    page = book.worksheets[0]
    heads = {cell.value.rstrip("*"): n for n, cell in enumerate(page[1], start=1)}
    assert [page.cell(row, heads["顾客姓名"]).value for row in (2, 3, 4)] == ["会员1000", "会员1001", "会员1002"]
    page.cell(2, heads["计划日期"]).value = day(shifted(month, 1), 1)
    page.cell(3, heads["计划日期"]).value = day(month, 9)
    refused = await upload(visiting, path, book)
    assert {error["field"]: error["code"] for error in refused.json()["errors"]} == {
        "rows.2.planned_on": "not_in_month"
    }
    page.cell(2, heads["计划日期"]).value = day(month, 8)
    taken = await upload(visiting, path, book)
    assert (taken.json()["lines"], taken.json()["versions"][0]["source"]) == (2, "workbook")
    broken = await upload(visiting, path, None)
    assert (broken.status_code, broken.json()["errors"][0]["code"]) == (422, "no_plan_file")
    assert now < asked


async def test_the_report_names_the_stores_without_a_line_and_those_that_were_late(visiting: Visiting):
    month = await planned(visiting, {})
    before = shifted(month, -1)
    await visiting.deliver(month, "GZ01")
    await visiting.until(at(day(before, 28), "20:00"))
    late = await visiting.deliver(month, "SH02", [line(day(month, 3), 7)])
    assert late.json()["versions"][0]["kind"] == "first", "nothing was consolidated yet"
    await visiting.deliver(month, "SH02", [line(day(month, 4), 7)])
    report = await visiting.get(f"/months/{month}/report")
    states = {one["store"]: (one["state"], one["late"]) for one in report["plans"]}
    assert states == {"GZ01": ("nil", False), "SH01": ("delivered", False), "SH02": ("delivered", True)}
    assert [one["store"] for one in (await visiting.get(f"/months/{month}/report", by="oa-sh02"))["plans"]] == ["SH02"]
    book = openpyxl.load_workbook(BytesIO(await download(visiting, f"/api/visits/months/{month}/report.xlsx")))
    rows = [row[:3] for row in book["各店计划"].iter_rows(min_row=2, values_only=True)]
    assert rows == [("GZ01", "无回访", None), ("SH01", "已提交", None), ("SH02", "已提交", "超时")]
    book = openpyxl.load_workbook(BytesIO(await download(visiting, f"/api/visits/months/{month}/plan.xlsx")))
    assert [row[:3] for row in book[month].iter_rows(min_row=2, values_only=True)] == rows


async def test_the_template_holds_every_member_of_a_store_and_of_a_closed_one_that_it_follows(
    visiting: Visiting, house: House
):
    """Who bought lately, some time ago, or long ago; what was paid back whole is no purchase, in part it is one."""
    asked = at(day(shifted(next_month_like(visiting.office, 3), -1), 25), "10:00")
    spans = {"1001": 5, "1002": 70, "1003": 120, "1004": 6, "1005": 7}
    for number, days in spans.items():
        add_member(house, number, bought_at=asked - days * DAY)
    add_member(house, "2001", store="ST09", bought_at=asked - 8 * DAY)
    add_member(house, "2002", store="SH02", bought_at=asked - 8 * DAY)
    with house.database.writing() as session:
        for number, fen in (("1004", 19900), ("1005", 100)):
            back = {"refund_of": f"R{number}", "member_id": f"m{number}", "at": asked - DAY, "recorded_at": asked}
            session.add(PurchaseRow(receipt=f"B{number}", fen=fen, **back))
    month = await planned(visiting)

    async def members() -> dict[str, str]:
        book = openpyxl.load_workbook(
            BytesIO(await download(visiting, f"/api/visits/plans/{month}/SH01/template.xlsx", by="oa-sh01"))
        )
        heads = [str(cell.value).rstrip("*") for cell in book.worksheets[0][1]]
        rows = book.worksheets[0].iter_rows(min_row=2, values_only=True)
        return {row[heads.index("会员号")]: row[heads.index("回访目的")] for row in rows if row[0]}

    own = {"1001": "售后回访", "1002": "关怀回访", "1003": "流失会员回访", "1005": "售后回访"}
    assert await members() == own
    closed = Store(code="ST09", name="ST09", region="east", successor="SH01")
    with_stores(house, *STORES, closed.model_copy(update={"closes_on": day(month, 2)}))
    assert await members() == own, "it is there still when the month begins"
    with_stores(house, *STORES, closed.model_copy(update={"closes_on": day(month, 1)}))
    assert await members() == own | {"2001": "售后回访"}


async def test_the_list_of_churned_members_goes_on_and_says_how_many_are_left(visiting: Visiting, house: House):
    now = visiting.office.now()
    for n in range(4):
        add_member(house, f"100{n}", bought_at=now - (120 + n) * DAY)
    add_member(house, "1009", joined_on=(now - 400 * DAY).date())
    first = await visiting.get("/churned", by="oa-sh01", store="SH01", limit=2)
    assert ([one["member_no"] for one in first["items"]], first["more"]) == (["1000", "1001"], 3)
    rest = await visiting.get("/churned", by="oa-sh01", store="SH01", limit=3, cursor=first["cursor"])
    assert ([one["member_no"] for one in rest["items"]], rest["more"]) == (["1002", "1003", "1009"], 0)
    async with visiting.door("oa-sh01") as door:
        mistyped = await door.get("/api/visits/churned", params={"store": "SH01", "limti": 2})
        others = await door.get("/api/visits/churned", params={"store": "SH02"})
    assert (mistyped.status_code, others.status_code) == (422, 404)


async def upload(visiting: Visiting, path: str, book: Any) -> Any:
    memory = BytesIO()
    if book:
        book.save(memory)
    async with visiting.door("oa-sh01") as door:
        content = memory.getvalue() or b"nothing"
        return await door.post(f"{path}/workbook", content=content, headers={"Content-Type": XLSX})


async def test_the_report_counts_lines_that_can_be_shown_and_the_file_finds_every_call(visiting: Visiting):
    office = visiting.office
    month = await planned(visiting, {}, {}, {}, {})
    found = await lines_of(visiting, month)
    said = [
        {"outcome": "satisfied", "satisfaction": 5, "answer": "很好"},
        {"outcome": "dissatisfied", "satisfaction": 2, "complaint": "掉扣子"},
        {"outcome": "unreachable"},
    ]
    await visiting.until(at(day(month, 10), "09:00"))
    for one, sent in zip(found, said, strict=False):
        assert (await visiting.post(f"{one['visit']}/call", by="oa-sh01", **sent)).status_code == 200
    figures = (await visiting.get(f"/months/{month}/report"))["figures"]
    assert [(one["scope"], one["name"]) for one in figures] == [("store", "SH01"), ("region", "east"), ("all", "")]
    counts, wanted = figures[-1]["counts"], {"planned": 4, "done": 3, "on_time": 3, "reached": 2, "complaints": 1}
    assert (counts | wanted, counts["left"], figures[-1]["satisfaction"]) == (counts, 1, 3.5)
    for what, count in counts.items():
        assert len(await lines_of(visiting, month, what=what)) == count, what
    book = openpyxl.load_workbook(BytesIO(await download(visiting, f"/api/visits/months/{month}/report.xlsx")))
    assert (book.worksheets[0]["C2"].value, book.worksheets[1].max_row) == (4, 5)

    case = await office.open(customer={"name": "某", "phone": found[0]["line"]["phone"]})
    await office.walk(case)
    async with visiting.door("lin") as door:
        everything = (await door.get("/api/callbacks", params={"region": "east"})).json()["items"]
        page = (await door.get("/api/callbacks", params={"limit": 3})).json()
        rest = (await door.get("/api/callbacks", params={"limit": 3, "cursor": page["cursor"]})).json()
        hers = (await door.post("/api/callbacks/search", json={"phone": "+86 " + found[0]["line"]["phone"]})).json()[
            "items"
        ]
        south = (await door.get("/api/callbacks", params={"region": "south"})).json()
        bad = (await door.get("/api/callbacks", params={"regoin": "south"})).status_code
    assert Counter(one["kind"] for one in everything) == {"visit": 3, "callback": 1}
    assert ([one["id"] for one in page["items"] + rest["items"]], page["more"]) == (
        [one["id"] for one in everything],
        1,
    )
    assert {one["kind"] for one in hers} == {"visit", "callback"}
    assert (south["items"], bool(south["hint"]), bad) == ([], True, 422)
    book = openpyxl.load_workbook(BytesIO(await download(visiting, "/api/callbacks.xlsx")))
    assert (book.sheetnames, book["east"].max_row) == (["east"], 5)


# Stores that open and close, and what a month may cost


async def test_a_plan_is_expected_of_the_stores_that_are_active_on_the_28th(house: House, closed_office: Office):
    """E55: one opens on the 28th, one on the 1st; one closes on the 28th, another one a month later."""
    month = next_month_like(closed_office, 3)
    before = shifted(month, -1)
    stores = {
        "ST01": {},
        "ST02": {"opens_on": day(before, 28)},
        "ST03": {"opens_on": day(month, 1)},
        "ST04": {"closes_on": day(before, 28), "successor": "ST01"},
        "ST05": {"closes_on": day(month, 28)},
    }
    with_stores(house, *(Store(code=code, name=code, region="east", **more) for code, more in stores.items()))
    async with Office(closed_office.client, house, closed_office.env) as office:
        await office.worker_comes()
        visiting = Visiting(office)
        add_member(house, "4001", store="ST04")
        visiting.days = frozenset({20, 27})
        await visiting.begin(at(day(before, 20)))
        await visiting.until(at(day(before, 25), "10:00"))
        assert [row.store for row in visiting.cases("visit_plan", month)] == ["ST01", "ST02", "ST05"]
        with_stores(
            house,
            *(Store(code=code, name=code, region="east", closes_on=day(before, 26)) for code in ("ST02",)),
            *(Store(code=code, name=code, region="east", **stores[code]) for code in ("ST01", "ST03", "ST04", "ST05")),
        )
        await visiting.until(at(day(before, 28), "23:00"))
        assert office.case(visiting.plan(month, "ST02")).closed_because == "store_closed"
        assert office.heard(visiting.plan(month, "ST02"), "qian") == []
        theirs = line(day(month, 5), member_no="4001", name=None, phone=None)
        assert (await visiting.deliver(month, "ST01", [theirs])).status_code in TAKEN, "the successor knows its members"
        answer = await visiting.post(f"months/{month}/consolidate")
        assert answer.json()["missing"] == ["ST05"]


async def test_what_a_store_hands_in_before_it_opens_stands_and_what_one_leaves_when_it_closes_is_nobodys(
    house: House, closed_office: Office
):
    """E55: ST02 opens on the 1st, ST05 on the 5th: nothing is late of either. ST03 closes on the 27th: its lines are no figure."""
    month = next_month_like(closed_office, 3)
    before = shifted(month, -1)

    def stores(**third: Any) -> None:
        life = {"ST01": {}, "ST02": {"opens_on": day(month, 1)}, "ST03": third, "ST05": {"opens_on": day(month, 5)}}
        with_stores(house, *(Store(code=code, name=code, region="east", **more) for code, more in life.items()))

    stores()
    async with Office(closed_office.client, house, closed_office.env) as office:
        await office.worker_comes()
        visiting = Visiting(office)
        visiting.days = frozenset({20, 27})
        await visiting.begin(at(day(before, 20)))
        await visiting.until(at(day(before, 25), "10:00"))
        for store in ("ST01", "ST02", "ST03"):
            assert (await visiting.deliver(month, store, [line(day(month, 6))])).status_code in TAKEN
        stores(closes_on=day(before, 27), successor="ST01")
        await visiting.until(at(day(before, 28), "23:00"))
        assert office.case(visiting.plan(month, "ST02")).state == "open"
        closed = visiting.plan(month, "ST03")
        assert (office.case(closed).closed_because, [row.state for row in visits(office, closed)]) == (
            "store_closed",
            ["dropped"],
        )
        answer = await visiting.post(f"months/{month}/consolidate")
        assert [answer.json()[name] for name in ("delivered", "missing", "lines")] == [["ST01", "ST02"], [], 2]
        again = await visiting.deliver(month, "ST03", [line(day(month, 7))])
        assert (again.status_code, again.json()["code"]) == (409, "plan_closed")
        await visiting.until(at(day(month, 6), "10:00"))
        [visit] = await lines_of(visiting, month, store="ST02")
        path = f"{visit['visit']}/call"
        assert (await visiting.post(path, by="oa-st02", outcome="satisfied", satisfaction=5)).status_code == 200
        new = await visiting.deliver(month, "ST05", [line(day(month, 16))])
        assert (new.status_code in TAKEN, new.json()["overdue"]) == (True, False), new.text
        await visiting.until(at(day(month, 8), "10:00"))
        for store in ("ST02", "ST05"):
            plan = visiting.plan(month, store)
            assert (office.fired(plan, "plan"), office.heard(plan, "qian")) == ([], [])


@pytest.mark.parametrize(("month", "earlier"), [("2027-01", 1), ("2027-02", 0)])
def test_where_a_setting_says_so_a_reminder_on_a_day_off_comes_on_the_last_working_day_before(
    tmp_path: Path, month: str, earlier: int
):
    """E4: 26 December 2026 is a Saturday, 26 January 2027 a Tuesday. Due times stay where they are."""
    file = tmp_path / "policy.toml"
    shipped = policy.SHIPPED.read_text("utf-8")
    file.write_text(shipped.replace('reminders = "literal"', 'reminders = "working_day"', 1), encoding="utf-8")
    house = House(Settings(data=tmp_path / "var", keys=SecretStr(KEYS), policy=file))
    schema.upgrade(house.database)
    assert reminded_earlier(house, month) == earlier
    promises = policy.promises(VISIT_PLAN, file)
    assert isinstance(promises, VisitPlanPromises)
    moved = promises.reminding(earlier)
    asked_at = at(f"{shifted(month, -1)}-01")
    assert moved.due(asked_at) == promises.plan.due(asked_at)
    assert [moved.ladder[0].after, *moved.ladder[1:]] == [
        promises.plan.ladder[0].after - earlier * DAY,
        *promises.plan.ladder[1:],
    ]
    house.database.close()


async def test_lines_and_calls_turn_over_to_a_new_key_and_are_found_still(visiting: Visiting):
    month = await planned(visiting, {"name": "赵一"})
    [visit] = await lines_of(visiting, month)
    await visiting.post(f"{visit['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=5, answer="很好")
    house = visiting.office.house
    both, new = (House(house.settings.model_copy(update={"keys": SecretStr(ring)})) for ring in (f"{NEW},{KEYS}", NEW))
    reseal(both)
    with new.database.reading() as session:
        [row] = session.exec(select(VisitRow).where(VisitRow.id == visit["visit"]))
        [call] = session.exec(select(VisitCallRow).where(VisitCallRow.visit_id == row.id))
        assert line_of(new.keys, row).name == "赵一"
        assert said_in(new.keys, call)["answer"] == "很好"
        assert [one.id for one in of_customer(session, new.keys, "phone", "+8613800000000")] == [row.id]
    for one in (both, new):
        one.database.close()


async def test_a_month_of_200_lines_stays_under_2000_events_even_when_every_list_is_late(visiting: Visiting):
    month = next_month_like(visiting.office, 3)
    office = visiting.office
    await planned(visiting)
    lines = [line(day(month, 1 + n % 28), n, caller=f"clerk-{n // 28 % 2}") for n in range(200)]
    assert (await visiting.deliver(month, "SH01", lines)).status_code in TAKEN
    plan = visiting.plan(month, "SH01")
    assert len(office.open_tasks(plan)) == 56
    await visiting.until(at(day(shifted(month, 1), 1), "10:00") + 2 * DAY)
    late = [row for key in office.tasks(plan) if key.startswith("calls") for row in office.fired(plan, key)]
    assert len(late) == 2 * len(office.open_tasks(plan)), "the manager and the director heard of each, once"
    async with visiting.door("oa-sh01") as door:
        for row in visits(office, plan):
            assert (await door.post(f"/api/visits/{row.id}/call", json={"outcome": "unreachable"})).status_code == 200
    await visiting.delivered()
    assert office.open_tasks(plan) == set()
    weight = await weigh(office.client.get_workflow_handle(plan))
    assert sum(weight.events.values()) < 2000, weight.events
    with office.house.database.reading() as session:
        outline = session.exec(select(SubmissionRow).where(SubmissionRow.form == "deliver")).one().outline
        assert session.exec(select(PlanVersionRow)).one().lines == 200
    assert outline["lines"] == [], "no line goes into history"


def visits(office: Office, case: str) -> list[VisitRow]:
    return office.rows(VisitRow, case, VisitRow.added_at, VisitRow.planned_on)


def test_days_of_the_wall_clock():
    assert at("2027-02-28", "24:00") - at("2027-02-28", "18:00") == 6 * HOUR
    assert at(date(2027, 3, 1)).astimezone(ZONE).hour == 0
    assert timedelta(days=1) == DAY
