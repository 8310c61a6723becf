"""Planned visits (handbook 6.3, 5.3 E55–E59): a store's plan, the consolidation, the stores that open and close."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from activities import schema
from models import policy
from models.visits import VISIT_PLAN
from models.visits.months import shifted
from models.visits.terms import VisitPlanPromises
from settings import House, Settings
from starter.visits.opening import reminded_earlier
from tests.conftest import KEYS
from tests.office import DAY, HOUR, Office
from tests.visiting import (
    TAKEN,
    ZONE,
    Visiting,
    add_member,
    asked,
    at,
    at_work,
    book_at,
    day,
    line,
    lines_of,
    living,
    next_month_like,
    planned,
    visits,
    with_stores,
)


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


async def test_the_lines_that_are_incomplete_are_named_at_the_consolidation(visiting: Visiting):
    """A line after a sale says what was bought and when; a courtesy needs neither."""
    month = await planned(visiting, {}, {"goods": None}, {"purchased_on": None}, {"purpose": "care", "goods": None})
    await visiting.until(at(day(shifted(month, -1), 28), "20:00"))
    consolidated = (await visiting.post(f"months/{month}/consolidate")).json()
    names = {one["visit"]: one["line"]["name"] for one in await lines_of(visiting, month)}
    assert sorted(names[visit] for visit in consolidated["incomplete"]) == ["顾客1", "顾客2"]
    outline = visiting.office.submission(consolidated["submission"]).outline
    assert (outline["lines"], outline["incomplete"]) == (4, 2), "as it was then, in the case"
    book = await book_at(visiting, f"/api/visits/months/{month}/plan.xlsx")
    marks = {row[2]: row[-2] for row in book["east"].iter_rows(min_row=2, values_only=True)}
    assert marks == {"顾客0": None, "顾客1": "资料不全", "顾客2": "资料不全", "顾客3": None}


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
    book = await book_at(visiting, f"/api/visits/months/{month}/plan.xlsx")
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


# Stores that open and close, and what a month may cost


async def test_a_plan_is_expected_of_the_stores_that_are_active_on_the_28th(closed_office: Office):
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
    async with at_work(closed_office, *living(**stores)) as visiting:
        office = visiting.office
        add_member(office.house, "4001", store="ST04")
        visiting.days = frozenset({20, 27})
        await asked(visiting, month)
        assert [row.store for row in visiting.cases("visit_plan", month)] == ["ST01", "ST02", "ST05"]
        with_stores(office.house, *living(**{**stores, "ST02": {"closes_on": day(before, 26)}}))
        await visiting.until(at(day(before, 28), "23:00"))
        assert office.case(visiting.plan(month, "ST02")).closed_because == "store_closed"
        assert office.heard(visiting.plan(month, "ST02"), "qian") == []
        theirs = line(day(month, 5), member_no="4001", name=None, phone=None)
        assert (await visiting.deliver(month, "ST01", [theirs])).status_code in TAKEN, "the successor knows its members"
        answer = await visiting.post(f"months/{month}/consolidate")
        assert answer.json()["missing"] == ["ST05"]


async def test_what_a_store_hands_in_before_it_opens_stands_and_what_one_leaves_when_it_closes_is_nobodys(
    closed_office: Office,
):
    """E55: ST02 opens on the 1st, ST05 on the 5th: nothing is late of either. ST03 closes on the 27th: its lines are no figure."""
    month = next_month_like(closed_office, 3)
    before = shifted(month, -1)

    stores = {"ST01": {}, "ST02": {"opens_on": day(month, 1)}, "ST03": {}, "ST05": {"opens_on": day(month, 5)}}
    async with at_work(closed_office, *living(**stores)) as visiting:
        office = visiting.office
        visiting.days = frozenset({20, 27})
        await asked(visiting, month)
        for store in ("ST01", "ST02", "ST03"):
            assert (await visiting.deliver(month, store, [line(day(month, 6))])).status_code in TAKEN
        closed_early = {"ST03": {"closes_on": day(before, 27), "successor": "ST01"}}
        with_stores(office.house, *living(**stores | closed_early))
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


async def test_what_a_store_that_closes_within_its_month_has_not_called_is_its_successors_or_the_regions(
    closed_office: Office,
):
    """E55: ST02 and ST03 close on the 12th. ST01 follows ST02, nobody ST03; a sample stays with whom headquarters named."""
    month = next_month_like(closed_office, 3)
    closing: dict[str, Any] = {"closes_on": day(month, 12)}
    async with at_work(closed_office, *living(ST01={}, ST02=closing | {"successor": "ST01"}, ST03=closing)) as visiting:
        office = visiting.office
        visiting.days = frozenset({12, 15, 20})
        await asked(visiting, month)
        lines = [line(day(month, nth), nth) for nth in (9, 11, 15, 16)]
        sample = line(day(month, 15), 5, caller="chen")
        for store, theirs in (("ST02", [*lines, sample]), ("ST03", [line(day(month, 15), 6)]), ("ST01", None)):
            assert (await visiting.deliver(month, store, theirs)).status_code in TAKEN
        plan, of_nobody = visiting.plan(month, "ST02"), visiting.plan(month, "ST03")
        by_day = {one["line"]["name"]: one["visit"] for one in await lines_of(visiting, month, store="ST02")}
        await visiting.until(at(day(month, 9), "10:00"))
        reached = {"outcome": "satisfied", "satisfaction": 5}
        assert (await visiting.post(f"{by_day['顾客9']}/call", by="oa-st02", **reached)).status_code == 200
        await office.open(by="lin", store="ST02", customer={"phone": lines[3]["phone"]})
        await visiting.post(f"{by_day['顾客16']}/hold", by="oa-st02")
        assert (await visiting.get("/lists", by="oa-st01", month=month))["items"] == []
        await visiting.until(at(day(month, 12), "10:00"))
        found = await lines_of(visiting, month, store="ST01")
        moved = {one["line"]["name"]: (one["caller"], one["state"], one["due_on"]) for one in found}
        assert moved == {
            "顾客11": ("oa-st01", "planned", day(month, 12).isoformat()),
            "顾客15": ("oa-st01", "planned", day(month, 15).isoformat()),
            "顾客16": ("oa-st01", "held", day(month, 16).isoformat()),
        }
        assert {one["caller"] for one in await lines_of(visiting, month, store="ST02", state="planned")} == {"chen"}
        assert [one["caller"] for one in await lines_of(visiting, month, store="ST03")] == ["lin"]
        lists = (await visiting.get("/lists", by="oa-st01", month=month))["items"]
        assert [(one["store"], one["day"], one["left"]) for one in lists] == [
            ("ST01", day(month, 12).isoformat(), 1),
            ("ST01", day(month, 15).isoformat(), 1),
        ]
        assert {office.tasks(plan)[one["task"]].owner for one in lists} == {"oa-st01"}
        before = office.heard(plan, "oa-st02")
        said = {"outcome": "dissatisfied", "satisfaction": 1, "complaint": "掉扣子"}
        called = await visiting.post(f"{by_day['顾客11']}/call", by="oa-st01", **said)
        assert office.case(called.json()["complaint"]).store == "ST01", called.text
        gone = await visiting.post(f"{by_day['顾客15']}/call", by="oa-st02", **reached)
        assert gone.status_code == 404, "it is not theirs any more"
        await visiting.until(at(day(month, 16), "10:00"))
        assert office.heard(plan, "oa-st02") == before, "who is no more is told of nothing that is late"
        [of_12, of_15] = [one["task"] for one in lists]
        assert office.heard(plan, "oa-st01") == [f"task/{of_12}", f"task/{of_15}", f"breached/{of_15}"]
        assert office.heard(of_nobody, "lin")[-1] == "breached/calls-2"
        put_off = await visiting.post(f"{by_day['顾客15']}/put-off", by="oa-st01", day=day(month, 18).isoformat())
        assert [one["by"] for one in put_off.json()["moves"]] == ["oa-st01"], put_off.text
        figures = (await visiting.get(f"/months/{month}/report"))["figures"]
        counted = {one["name"]: [one["counts"][what] for what in ("planned", "done", "held")] for one in figures}
        assert counted == {
            "ST01": [3, 1, 1],
            "ST02": [2, 1, 0],
            "ST03": [1, 0, 0],
            "east": [6, 2, 1],
            "": [6, 2, 1],
        }


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


def test_days_of_the_wall_clock():
    assert at("2027-02-28", "24:00") - at("2027-02-28", "18:00") == 6 * HOUR
    assert at(date(2027, 3, 1)).astimezone(ZONE).hour == 0
    assert timedelta(days=1) == DAY
