"""The calls of planned visits (handbook 3.3 F10, 5.3 E59): outcomes, complaints, lines held back or put off, and who may know of whom."""

import asyncio
import base64
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import select

from models.tables import PlanVersionRow, SubmissionRow, VisitCallRow, VisitRow
from models.visits.months import shifted
from settings import House
from starter.reseal import reseal
from starter.visits.calls import said_in
from starter.visits.erasing import of_customer
from starter.visits.whom import line_of
from starter.watching.watchdog import Watchdog
from tests.conftest import KEYS
from tests.office import DAY
from tests.test_budget import weigh
from tests.visiting import (
    TAKEN,
    Visiting,
    add_member,
    at,
    day,
    line,
    lines_of,
    next_month_like,
    planned,
    visits,
    whole_of,
)

NEW = "new:" + base64.b64encode(b"n" * 32).decode()


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


async def test_a_morning_that_a_hand_opens_days_later_gives_the_line_back_for_that_day_and_nobody_is_late(
    visiting: Visiting,
):
    """Nor does the watchdog find anything that waits since the morning that was missed."""
    office = visiting.office
    month = await planned(visiting, {})
    plan, [first] = visiting.plan(month, "SH01"), await lines_of(visiting, month)
    case = await office.open(customer={"phone": first["line"]["phone"]})
    await visiting.post(f"{first['visit']}/hold", by="oa-sh01")
    await office.walk(case)
    visiting.calendar_is_kept = False
    await visiting.until(at(day(month, 14), "10:00"))
    almanac = office.front.almanac
    missed = almanac.rhythm("visit_plan").period(day(month, 11).isoformat(), almanac.zone)
    await asyncio.to_thread(almanac.open, "visit_plan", missed, "wang")
    watchdog = Watchdog(office.house.database, office.house.people, office.now)
    assert [finding.kind for finding in watchdog.round() if finding.case == plan] == []
    await visiting.delivered()
    free = await visiting.get(f"/{first['visit']}")
    assert (free["state"], free["due_on"]) == ("planned", day(month, 14).isoformat())
    assert office.heard(plan, "wang") == []


@pytest.mark.parametrize("kind", ["praise", "query", "suggestion"])
async def test_who_praises_or_asks_is_called_all_the_same_until_his_case_is_found_to_be_a_complaint(
    visiting: Visiting, kind: str
):
    """5.2 E31: what counts is what it is taken for now, and not what it was opened as."""
    office = visiting.office
    month = await planned(visiting, {})
    [first] = await lines_of(visiting, month)
    case = await office.open(kind=kind, customer={"phone": first["line"]["phone"]})
    assert [one["flags"] for one in await lines_of(visiting, month)] == [[]]
    visiting.days = frozenset({10, 11, 12})
    await visiting.until(at(day(month, 10), "08:00"))
    assert [one["state"] for one in await lines_of(visiting, month)] == ["planned"]
    assert (await visiting.post(f"{first['visit']}/hold", by="oa-sh01")).json()["code"] == "nothing_holds_it"
    await office.hand_in(case, "reclassify", kind="complaint", reason="是投诉")
    refused = await visiting.post(f"{first['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=5)
    assert (refused.status_code, refused.json()["code"]) == (409, "visit_held_back")
    await visiting.until(at(day(month, 11), "08:00"))
    held = await lines_of(visiting, month, state="held")
    assert [(one["visit"], one["held_for"]) for one in held] == [(first["visit"], case)]
    await office.hand_in(case, "reclassify", kind="junk", reason="像广告")
    assert (await visiting.get(f"/{first['visit']}"))["flags"] == ["open_complaint"], "the manager has not agreed"
    await office.hand_in(case, "sign_off", by="wang", approved=False)
    assert (await visiting.get(f"/{first['visit']}"))["flags"] == ["open_complaint"], "nor has he now"
    await office.hand_in(case, "reclassify", kind=kind, reason="看错了")
    await visiting.until(at(day(month, 12), "08:00"))
    free = await visiting.get(f"/{first['visit']}")
    assert (free["state"], free["due_on"], free["flags"]) == ("planned", day(month, 12).isoformat(), [])
    done = await visiting.post(f"{first['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=5)
    assert done.json()["state"] == "done"


async def test_a_complaint_that_the_manager_does_not_let_go_as_a_query_holds_the_call_back(visiting: Visiting):
    """5.2 E31: it had its reply, and is found to be a query; until he agrees it is what it was, and afterwards, too, where he does not."""
    office = visiting.office
    month = await planned(visiting, {})
    [first] = await lines_of(visiting, month)
    case, flags = await office.open(customer={"phone": first["line"]["phone"]}), []
    for form, fields in (
        ("reply", {"content": "已致歉"}),
        ("reclassify", {"kind": "query", "reason": "只是询问"}),
        ("sign_off", {"by": "wang", "approved": False}),
        ("reclassify", {"kind": "suggestion", "reason": "是建议"}),
    ):
        assert (await office.hand_in(case, form, **fields)).state == "decided"
        flags.append((await visiting.get(f"/{first['visit']}"))["flags"])
    assert flags == [["open_complaint"]] * 3 + [[]]


async def test_a_complaint_of_the_very_day_holds_the_line_back_before_the_director_hears(visiting: Visiting):
    """The morning saw no complaint: the list may be late at the day's end, and the next morning it is nobody's fault."""
    office = visiting.office
    month = await planned(visiting, {})
    plan, [only] = visiting.plan(month, "SH01"), await lines_of(visiting, month)
    visiting.days = frozenset({10, 11, 12})
    await visiting.until(at(day(month, 10), "10:00"))
    await office.open(customer={"phone": only["line"]["phone"]})
    assert office.open_tasks(plan) == {"calls"}
    await visiting.until(at(day(month, 12), "08:00"))
    assert [one["state"] for one in await lines_of(visiting, month)] == ["held"]
    assert (office.open_tasks(plan), office.heard(plan, "sun")) == (set(), [])


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
