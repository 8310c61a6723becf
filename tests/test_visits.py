"""Planned visits (handbook 6.3): a store's plan, the consolidation, the calls, the report."""

from datetime import timedelta

import pytest

from tests.office import Office
from tests.visiting import Visiting, at, day, line, next_month_like


@pytest.fixture
async def visiting(office: Office) -> Visiting:
    return Visiting(office)


async def test_a_plan_its_calls_and_its_month_go_their_whole_way(visiting: Visiting):
    office = visiting.office
    month = next_month_like(office, 2, leap=False)
    before = next_month_like(office, 1) if False else f"{int(month[:4])}-01"
    await visiting.until(at(day(before, 25), "10:00"))
    assert len(visiting.cases("visit_plan", month)) == 6
    plan = visiting.plan(month, "SH01")
    answer = await visiting.deliver(
        month, "SH01", [line(day(month, 3), 1), line(day(month, 3), 2), line(day(month, 5), 3)]
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["submission_state"] == "decided"
    assert office.open_tasks(plan) == {"calls", "calls-2"}
    for store in ("SH02", "HZ01", "GZ01", "SZ01", "BJ01"):
        assert (await visiting.deliver(month, store)).status_code == 201
    await visiting.until(at(day(before, 29), "10:00"))
    answer = await visiting.post(f"months/{month}/consolidate", by="lin")
    assert (answer.status_code, answer.json()["missing"], answer.json()["lines"]) == (200, [], 3), answer.text
    await visiting.until(at(day(month, 3), "10:00"))
    [first, second, third] = (await visiting.get("", month=month))["items"]
    assert (first["line"]["name"], first["due_on"]) == ("顾客1", day(month, 3).isoformat())
    for visit in (first, second):
        answer = await visiting.post(f"{visit['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=5)
        assert answer.status_code == 200, answer.text
    assert office.open_tasks(plan) == {"calls-2"}
    assert office.tasks(plan)["calls"].done_by == "oa-sh01"
    await visiting.until(at(day(month, 6), "10:00"))
    assert office.heard(plan, "wang") == ["overdue/calls-2"]
    async with office.api("wang") as door:
        text = (await door.get("/api/notices")).json()["items"][0]["text"]
    assert "还有 1 人" in text
    answer = await visiting.post(f"{third['visit']}/call", by="oa-sh01", outcome="unreachable")
    assert answer.json()["on_time"] is False
    assert office.open_tasks(plan) == set()
    early = await visiting.post(f"months/{month}/report", by="wang")
    assert (early.status_code, early.json()["code"]) == (409, "month_not_over")
    await visiting.until(at(day(month, 28), "24:00") + timedelta(hours=10))
    answer = await visiting.post(f"months/{month}/report", by="lin", remark="已核对")
    assert (answer.status_code, answer.json()["state"]) == (200, "archived"), answer.text
    await visiting.delivered()
    assert office.case(plan).closed_because == "completed"
    assert office.heard(visiting.month(month), "wang") == ["visits_reported/None"]
