"""Planned visits at the command line: a store's plan by Excel, a call that becomes a complaint, the callback file (handbook 6.3, 3.4)."""

import asyncio
from datetime import timedelta
from pathlib import Path

import openpyxl
import pytest
from typer.testing import CliRunner, Result

from models.visits.months import month_of, shifted
from settings import House
from starter.__main__ import app
from starter.commands import visits, work
from tests.office import DAY, Office
from tests.terminals import wide_and_chinese
from tests.visiting import TAKEN, ZONE, Visiting, add_member, at, day, line, lines_of


@pytest.fixture(autouse=True)
def _a_wide_terminal_of_a_chinese_reader(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent is carried by the office's relay."""
    wide_and_chinese(house, monkeypatch, visits, work)


async def kefu(*words: str) -> Result:
    """Run a command as somebody at a terminal would, beside the office's own loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


@pytest.fixture
def visiting(office: Office) -> Visiting:
    """With the stores of the sample, as the commands have them."""
    return Visiting(office)


def next_month(office: Office) -> str:
    """Commands go by the clock on the wall, and so do these stories: no time passes in them."""
    return shifted(month_of(office.now().astimezone(ZONE).date()), 1)


async def test_a_store_hands_its_plan_in_by_excel_and_a_call_of_it_becomes_a_complaint(
    visiting: Visiting, house: House, tmp_path: Path
):
    office, month = visiting.office, next_month(visiting.office)
    for n in range(2):
        add_member(house, f"100{n}", bought_at=office.now() - (5 + n) * DAY)
    file = tmp_path / "plan.xlsx"
    written = await kefu("visits", "template", month, "SH01", str(file), "--as", "oa-sh01")
    assert (written.exit_code, str(file) in written.output) == (0, True), written.output
    book = openpyxl.load_workbook(file)
    page = book.worksheets[0]
    heads = {cell.value.rstrip("*"): n for n, cell in enumerate(page[1], start=1)}
    assert [page.cell(row, heads["会员号"]).value for row in (2, 3)] == ["1000", "1001"]
    page.cell(2, heads["计划日期"]).value = day(month, 9).strftime("%Y/%m/%d")
    page.cell(3, heads["计划日期"]).value = day(shifted(month, 1), 9)
    page.cell(3, heads["回访方式"]).value = "托梦"
    book.save(file)
    hand_in = ("visits", "plan", month, "SH01", str(file), "--as", "oa-sh01")
    refused = await kefu(*hand_in)
    assert (refused.exit_code, "第 3 行 回访方式: " in str(refused.exception)) == (1, True), refused.exception
    page.cell(3, heads["回访方式"]).value = "短信"
    book.save(file)
    refused = await kefu(*hand_in)
    assert str(refused.exception) == f"第 3 行 计划日期: 应在 {month} 之内"
    assert await lines_of(visiting, month) == []
    page.cell(3, heads["计划日期"]).value = day(month, 10)
    book.save(file)
    taken = await kefu(*hand_in)
    assert taken.output.splitlines()[-1] == f"SH01 {month} 的回访计划已提交：2 行（第 1 版）。"
    await visiting.delivered()
    listed = (await kefu("visits", "list", "--month", month, "--as", "oa-sh01")).output
    assert ("会员1000" in listed, "会员1001" in listed) == (True, True)

    [first, second] = await lines_of(visiting, month)
    off = ("put-off", second["visit"], str(day(month, 12)), "--reason", "顾客出差")
    await kefu("visits", *off, "--as", "oa-sh01")
    await visiting.delivered()
    shown = (await kefu("visits", "show", second["visit"], "--as", "oa-sh01")).output
    assert f"oa-sh01  改日至 {day(month, 12)}  顾客出差" in shown
    plan = (await kefu("show", f"{month}-SH01", "--as", "lin")).output
    assert [word in plan for word in ("待审核行数", "lists:", "nil:", "计划明细: ", "无回访: 否")] == [False] * 3 + [
        True
    ] * 2
    said = ("outcome=dissatisfied", "satisfaction=1", "complaint=大衣起球")
    called = await kefu("visits", "call", first["visit"], *said, "--as", "oa-sh01")
    await visiting.delivered()
    complaint = (await visiting.get(f"/{first['visit']}"))["complaint"]
    assert complaint in called.output
    assert office.open_tasks(complaint) == {"reply", "solution", "callback"}
    shown = (await kefu("show", f"HF-{first['visit']}", "--as", "lin")).output
    assert "  投诉内容: 大衣起球" in shown
    again = await kefu("visits", "call", first["visit"], *said, "--as", "oa-sh01")
    assert (again.exit_code, "已有结果" in str(again.exception)) == (1, True)


async def test_a_nil_return_and_who_is_missing(visiting: Visiting):
    month = next_month(visiting.office)
    await visiting.openings(at(day(shifted(month, -1), 20)))
    nil = await kefu("visits", "plan", month, "SH01", "--nil", "--as", "oa-sh01")
    assert nil.exit_code == 0, nil.exception
    shown = (await kefu("visits", "month", month, "--as", "lin")).output
    assert "已提交 1" in shown
    assert ("SH02" in shown, "SH01" in shown) == (True, False)
    reported = (await kefu("visits", "report", month, "--as", "lin")).output
    assert ("SH02" in reported.split("未提交")[1], "无回访 SH01" in reported) == (True, True), reported
    for word in ("2027-13", "2月", "2027-2"):
        assert str((await kefu("visits", "month", word, "--as", "lin")).exception) == "month: 应是一个月份，如 2027-02"
    async with visiting.door() as door:
        assert [e["code"] for e in (await door.get("/api/visits/months/2027-13")).json()["errors"]] == ["no_month"]
    both = await kefu("visits", "plan", month, "SH02", "--as", "oa-sh02")
    assert (both.exit_code, "nil" in str(both.exception)) == (1, True)


async def test_a_month_is_opened_by_hand_by_its_name_and_the_watch_misses_no_other_day_of_it(
    visiting: Visiting, house: House
):
    """Of before there was a calendar: one day of it opens all its plans."""
    office, month = visiting.office, shifted(next_month(visiting.office), -1)
    front = office.front
    assert front.keeper.round() == []
    for process, cases in (("visit_plan", len(house.people.stores)), ("visit_month", 1)):
        taken = await kefu("calendar", process, "--open", month, "--as", "wang")
        assert f"本期共 {cases} 个工单" in taken.output, taken.exception
    assert [row.number for row in visiting.cases("visit_month", month)] == [month]
    assert front.keeper.round() == []
    for word in ("2026-13", "12月"):
        refused = await kefu("calendar", "visit_month", "--open", word, "--as", "wang")
        assert str(refused.exception) == f"“{word}”不能补开：这里写作 2026-12 / 2026-11-20。"
    refused = await kefu("calendar", "expiry", "--open", "2026-12-01", "--as", "wang")
    assert str(refused.exception) == "“2026-12-01”不能补开：这里写作 2026-12。"


async def test_churned_members_are_listed_a_part_at_a_time(visiting: Visiting, house: House):
    for n in range(2):
        add_member(house, f"100{n}", bought_at=visiting.office.now() - (120 + n) * DAY)
    shown = (await kefu("visits", "churned", "SH01", "--limit", "1", "--as", "oa-sh01")).output
    assert ("会员1000" in shown, "会员1001" in shown, "还有 1 条" in shown) == (True, False, True)
    rest = await kefu("visits", "churned", "SH01", "--cursor", shown.split("--cursor ")[1].strip(), "--as", "oa-sh01")
    assert "会员1001" in rest.output
    nobody = (await kefu("visits", "churned", "SH02", "--as", "lin")).output
    assert "没有三个月以上没有购买的会员" in nobody


async def test_the_callback_file_of_one_customer_holds_nobody_else(visiting: Visiting, tmp_path: Path):
    month = next_month(visiting.office)
    past = (visiting.office.now() - timedelta(days=9)).date().isoformat()
    lines = [line(day(month, 10), n, purchased_on=past) for n in range(3)]
    assert (await visiting.deliver(month, "SH01", lines)).status_code in TAKEN
    found = await lines_of(visiting, month)
    for one, how in zip(found, ("satisfied", "satisfied", "partly_satisfied"), strict=True):
        await visiting.post(f"{one['visit']}/call", by="oa-sh01", outcome=how, satisfaction=5)
    file, phone = tmp_path / "his.xlsx", found[0]["line"]["phone"]
    shown = await kefu("callbacks", "--phone", phone, "--file", str(file), "--as", "lin")
    assert (shown.exit_code, found[0]["visit"] in shown.output) == (0, True)
    names = [row[4] for row in openpyxl.load_workbook(file)["east"].iter_rows(min_row=2, values_only=True)]
    assert names == [found[0]["line"]["name"]]
    async with visiting.door("lin") as door:
        searched = await door.post("/api/callbacks/search.xlsx", json={"phone": phone})
    file.write_bytes(searched.content)
    assert openpyxl.load_workbook(file)["east"].max_row == 2
    narrowed = (await kefu("callbacks", "--kind", "visit", "--outcome", "partly_satisfied", "--as", "lin")).output
    assert [one["visit"] in narrowed for one in found] == [False, False, True]
    assert found[0]["visit"] not in (await kefu("callbacks", "--kind", "callback", "--as", "lin")).output
    assert found[0]["visit"] in (await kefu("callbacks", "--caller", "oa-sh01", "--as", "lin")).output
