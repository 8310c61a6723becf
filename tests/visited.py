"""Stories of visits whose histories are recorded: each told to the point where its history is taken."""

from models.visits.months import shifted
from tests.office import DAY, Office
from tests.visiting import Visiting, at, day, line, planned


async def a_stores_plan_is_late_then_called_and_closed(office: Office) -> str:
    """The store, the supervisor and the manager hear; the plan is appended, changed, called, and the month reported."""
    visiting = Visiting(office)
    month = await planned(visiting, number=2)
    await visiting.until(at(day(shifted(month, -1), 28), "23:00"))
    await visiting.post(f"months/{month}/consolidate")
    await visiting.deliver(month, "SH01", [line(day(month, 3), n) for n in range(2)])
    await visiting.deliver(month, "SH01", [line(day(month, 3 + n), n) for n in range(2)])
    plan = visiting.plan(month, "SH01")
    for visit in (await visiting.get("", month=month))["items"]:
        await visiting.post(f"{visit['visit']}/call", by="oa-sh01", outcome="satisfied", satisfaction=5)
        await visiting.until(at(day(month, 6)))
    await visiting.until(at(day(shifted(month, 1), 2)))
    await visiting.post(f"months/{month}/report")
    assert office.case(plan).closed_because == "completed"
    return plan


async def a_plan_that_never_came(office: Office) -> str:
    visiting = Visiting(office)
    month = await planned(visiting, number=2)
    await visiting.until(at(day(shifted(month, -1), 28), "23:00"))
    await visiting.post(f"months/{month}/consolidate")
    await visiting.until(at(day(shifted(month, 1), 2)))
    await visiting.post(f"months/{month}/report")
    plan = visiting.plan(month, "SH02")
    assert office.case(plan).closed_because == "never_delivered"
    return plan


async def a_months_plans_are_consolidated_late_and_reported(office: Office) -> str:
    visiting = Visiting(office)
    month = await planned(visiting, number=2)
    await visiting.until(at(day(month, 1)) + DAY)
    await visiting.post(f"months/{month}/consolidate")
    await visiting.deliver(month, "SH01")
    await visiting.until(at(day(shifted(month, 1), 28), "01:00"))
    await visiting.post(f"months/{month}/report")
    assert office.case(visiting.month(month)).state == "archived"
    return visiting.month(month)


VISITED = [
    a_stores_plan_is_late_then_called_and_closed,
    a_plan_that_never_came,
    a_months_plans_are_consolidated_late_and_reported,
]
