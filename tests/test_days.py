"""The calendar's days (handbook 5.1 E4–E7): seeded from what is announced, provisional until then, edited with a revision."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models import policy
from models.tables import DeadlineRow
from models.visits.months import counting_day, month_of, shifted
from settings import House
from starter.__main__ import app
from starter.commands import terminal, visits
from tests.conftest import KEYS
from tests.office import DAY, Office
from tests.visiting import ZONE, Visiting, at, day

SUNDAY = 6


async def asked(office: Office, year: int, by: str = "lin") -> dict[str, Any]:
    async with office.api(by) as door:
        answer = await door.get(f"/api/days/{year}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def edited(office: Office, year: int, *days: dict[str, Any], by: str = "wang", revision: int = 0) -> Any:
    async with office.api(by) as door:
        return await door.put(f"/api/days/{year}", json={"revision": revision, "days": [*days], "why": "国办通知"})


def named(view: dict[str, Any]) -> dict[str, tuple[bool, bool]]:
    return {one["day"]: (one["working"], one["provisional"]) for one in view["days"]}


async def test_an_announced_year_has_its_weekends_that_are_worked_and_one_to_come_is_provisional(closed_office: Office):
    known = await asked(closed_office, 2026)
    assert (known["revision"], known["provisional"]) == (0, False)
    days = named(known)
    assert (days["2026-02-17"], days["2026-02-28"]) == ((False, False), (True, False)), (
        "Spring Festival, and a Saturday"
    )
    later = await asked(closed_office, 2027)
    assert (later["provisional"], named(later)["2027-10-01"]) == (True, (False, True))


async def test_the_manager_edits_a_year_and_each_edit_is_a_revision(closed_office: Office):
    office = closed_office
    first = await edited(office, 2027, {"day": "2027-02-13", "working": True}, {"day": "2027-02-11", "working": False})
    assert first.status_code == 200, first.text
    made, days = first.json()["revision"], named(first.json())
    assert (days["2027-02-13"], days["2027-02-11"], days["2027-10-01"]) == (
        (True, False),
        (False, False),
        (False, True),
    )
    stale = await edited(office, 2027, {"day": "2027-02-14", "working": True})
    assert (stale.status_code, stale.json()["code"]) == (409, "days_changed")
    back = await edited(office, 2027, {"day": "2027-02-13"}, revision=made)
    assert (back.json()["revision"] > made, "2027-02-13" in named(back.json())) == (True, False)
    assert (await asked(office, 2026))["revision"] == 0, "another year is as it was"


@pytest.mark.parametrize(
    ("by", "day", "status", "code"),
    [
        ("lin", "2027-02-13", 403, "may_not_edit_days"),
        ("oa-sh01", "2027-02-13", 403, "may_not_edit_days"),
        ("wang", "2028-02-13", 422, "not_in_year"),
        ("wang", "2027-02-30", 422, "date_from_datetime_parsing"),
    ],
)
async def test_nobody_else_edits_it_and_a_day_is_one_of_its_year(
    closed_office: Office, by: str, day: str, status: int, code: str
):
    answer = await edited(closed_office, 2027, {"day": day, "working": True}, by=by)
    said = answer.json()
    assert (answer.status_code, said["errors"][0]["code"] if status == 422 else said["code"]) == (status, code)
    assert (await asked(closed_office, 2027))["revision"] == 0


@pytest.mark.parametrize(("setting", "earlier"), [("literal", 0), ("working_day", 1)])
async def test_where_a_setting_says_so_the_months_reminder_comes_on_the_last_working_day_as_it_was_edited(
    closed_office: Office, tmp_path: Path, setting: str, earlier: int
):
    """E4, E5: of the first month to come whose consolidation's reminder falls on a Sunday; the Saturday before is worked. The due
    time stays where it is."""
    month = shifted(month_of(closed_office.now().astimezone(ZONE).date()), 2)
    while (sunday := counting_day(shifted(month, -1), 30)).weekday() != SUNDAY:
        month = shifted(month, 1)
    file = tmp_path / "policy.toml"
    shipped = policy.SHIPPED.read_text("utf-8")
    file.write_text(shipped.replace('reminders = "literal"', f'reminders = "{setting}"'), encoding="utf-8")
    house = House(closed_office.house.settings.model_copy(update={"policy": file}))
    async with Office(closed_office.client, house, closed_office.env) as office:
        await office.worker_comes()
        worked = {"day": (sunday - DAY).isoformat(), "working": True}
        assert (await edited(office, sunday.year, worked)).status_code == 200
        visiting = Visiting(office)
        await visiting.begin(at(day(shifted(month, -1), 20)))
        await visiting.until(at(day(shifted(month, -1), 20), "10:00"))
        case = visiting.month(month)
        [first, *_] = office.rows(DeadlineRow, case, DeadlineRow.rung)
        assert first.planned_at == at(sunday - earlier * DAY)
        assert office.tasks(case)["consolidation"].due_at == at(sunday, "24:00")
        await visiting.until(at(sunday - DAY, "01:00"))
        owner = office.tasks(case)["consolidation"].owner
        assert ("reminder/consolidation" in office.heard(case, owner)) == bool(earlier)
    house.database.close()


async def test_days_are_shown_and_edited_at_the_command_line(
    house: House, closed_office: Office, monkeypatch: pytest.MonkeyPatch
):
    for module in (terminal, visits):
        monkeypatch.setattr(module, "LANGUAGE", "zh")
    monkeypatch.setattr(terminal, "configure_logs", lambda: None)
    monkeypatch.setenv("KEFU_KEYS", KEYS)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")  # nobody listens there

    async def kefu(*words: str) -> list[str]:
        ran = await asyncio.to_thread(
            CliRunner().invoke, app, ["days", "2027", "--data", str(house.settings.data), *words]
        )
        return [*ran.output.splitlines(), *([str(ran.exception)] if ran.exit_code else [])]

    assert "2027-10-01 放假 国庆节（暂定）" in await kefu("--as", "lin")
    edited = await kefu("--as", "wang", "--set", "2027-10-09=work", "--set", "2027-10-01=off", "--why", "国办通知")
    assert ("2027-10-09 上班 上班" in edited, "2027-10-01 放假 国庆节" in edited) == (True, True)
    assert "2027-10-09 上班 上班" not in await kefu("--as", "admin", "--set", "2027-10-09=-", "--why", "更正")
    nothing_said = await kefu("--as", "wang", "--set", "2027-10-09=work")
    assert nothing_said[-1] == "--why: 请写明为什么改，例如 --why 国办通知"
    assert "work, off, -" in (await kefu("--as", "wang", "--set", "2027-10-09=maybe", "--why", "x"))[-1]
