"""What is shown of a month's list, and to whom: the list, the archived workbook, what to say; and the calendar's command."""

import asyncio
import base64
import io
from typing import Any

import openpyxl
import pytest
from pydantic import SecretStr
from sqlmodel import select
from typer.testing import CliRunner, Result

from activities.keys import COLUMN, KeyRing, needed
from models.tables import ExpiryListRow
from settings import House
from starter.__main__ import app
from starter.expiry.lists import place_of
from starter.reseal import reseal
from tests.cards import at, bought, delivered, listed, looked_round, member, month_opens, notice_of, until
from tests.conftest import KEYS
from tests.members import MemberSystem, record
from tests.office import Office


@pytest.fixture
async def month(office: Office) -> Office:
    """The list of January: two in Shanghai, one in Canton, one who has earned the waiver."""
    for who, store in (("m1", "SH01"), ("m2", "SH02"), ("m3", "GZ01"), ("m0", "SH01")):
        member(office, who, "2027-01-10", "2026-01-11", store)
    bought(office, "m1", "300", "200.50", on=at("2026-06-01 12:00"))
    bought(office, "m0", "1000", on=at("2026-06-01 12:00"))
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    return office


async def answer(office: Office, who: str, path: str, **headers: str) -> tuple[int, Any]:
    async with office.api(who, **headers) as door:
        found = await door.get(f"/api/{path}")
    return found.status_code, found.json()


async def test_a_month_is_seen_by_each_as_far_as_he_may(month: Office):
    _, whole = await answer(month, "lin", "expiry/2027-01")
    assert (whole["title"], whole["listed"], whole["waived"]) == ("2027年1月到期会员名单", 3, 1)
    assert (whole["reader"], whole["role"], whole["scope"]) == ("lin", "specialist", "all")
    assert whole["made_anyway_by"] is None
    [first] = [line for line in whole["items"] if line["name"] == "会员m1"]
    assert (first["purchases"], first["spend"], first["purchases_missing"]) == (2, "500.5", 1)
    assert (first["amount_missing"], first["state"], first["outcome"]) == ("499.5", "to_call", None)

    async def names(who: str, query: str = "") -> set[str]:
        status, page = await answer(month, who, f"expiry/2027-01{query}")
        assert status == 200
        return {line["name"] for line in page["items"]}

    for who, role, scope in (("qian", "supervisor", "east"), ("oa-sh01", "store", "SH01")):
        for path in ("expiry/2027-01", "expiry"):
            _, page = await answer(month, who, path)
            assert (page["reader"], page["role"], page["scope"]) == (who, role, scope)
    assert await names("oa-sh01") == {"会员m1"}
    assert await names("qian") == {"会员m1", "会员m2"}
    assert await names("lin", "?region=south") == {"会员m3"}
    assert await names("lin", "?store=SH02") == {"会员m2"}
    assert await names("lin", "?waived=true") == {"会员m0"}
    for nobody in ("admin", "shang"):
        assert (await answer(month, nobody, "expiry/2027-01"))[0] == 403
    assert (await answer(month, "oa-sh01", "expiry/2027-01/list.xlsx"))[0] == 403
    assert (await answer(month, "lin", "expiry/2027-02"))[1]["code"] == "no_such_list"
    assert (await answer(month, "lin", "expiry/1月"))[0] == 422


async def test_a_list_has_pages_and_the_calls_show_in_it(month: Office):
    case = notice_of(month, "m1", "2027-01").id
    await month.hand_in(case, "call", process="expiry_notice", outcome="will_spend", comment="春节前来")
    bought(month, "m2", "1000")
    await delivered(month)
    _, first = await answer(month, "lin", "expiry/2027-01?limit=2")
    assert (len(first["items"]), first["more"]) == (2, 1)
    _, second = await answer(month, "lin", f"expiry/2027-01?limit=2&cursor={first['cursor']}")
    lines = {line["name"]: line for line in [*first["items"], *second["items"]]}
    called = lines["会员m1"]
    assert (called["state"], called["outcome"], called["told_rule"]) == ("called", "will_spend", True)
    assert called["called_by"] == "lin"
    assert (lines["会员m2"]["state"], lines["会员m2"]["closed_because"]) == ("ended", "waiver_reached")
    for state, who in (("to_call", "会员m3"), ("called", "会员m1"), ("ended", "会员m2")):
        _, page = await answer(month, "lin", f"expiry/2027-01?state={state}")
        assert [line["name"] for line in page["items"]] == [who]
    _, months = await answer(month, "lin", "expiry")
    [row] = months["items"]
    assert (row["to_call"], row["called"], row["ended"]) == (1, 1, {"waiver_reached": 1})


def sheet_of(book: bytes, nth: int = 0) -> list[list[Any]]:
    sheet = openpyxl.load_workbook(io.BytesIO(book)).worksheets[nth]
    return [list(row) for row in sheet.iter_rows(values_only=True)]


async def test_the_workbook_is_the_archived_one_or_has_the_calls_until_now(month: Office):
    """F2: who was called when, by whom, with what result, whether he was told the rule, when his store heard; who made it, and when."""
    case = notice_of(month, "m1", "2027-01").id
    await month.hand_in(case, "call", process="expiry_notice", outcome="will_spend")
    bought(month, "m2", "1000")
    await delivered(month)
    async with month.api("lin") as door:
        archived = await door.get("/api/expiry/2027-01/list.xlsx")
        current = await door.get("/api/expiry/2027-01/list.xlsx?calls=true")
        page = (await door.get("/api/expiry/2027-01")).json()
    assert archived.headers["content-type"].endswith("spreadsheetml.sheet")
    assert archived.headers["content-disposition"].startswith('attachment; filename="expiry-2027-01.xlsx"')
    then, now = (
        {row[heads.index("姓名")]: dict(zip(heads, row, strict=True)) for row in rows}
        for heads, *rows in (sheet_of(archived.content), sheet_of(current.content))
    )
    assert set(then) == set(now) == {"会员m1", "会员m2", "会员m3"}
    asked = ("状态", "去电时间", "去电人", "结果", "已告知免年费条件", "通知门店时间", "结束原因")
    assert {then["会员m1"][head] for head in asked} == {None}
    shown = {line["name"]: line for line in page["items"]}
    at_minute = {name: shown["会员m1"][name][:16].replace("T", " ") for name in ("called_at", "store_notified_at")}
    assert [now["会员m1"][head] for head in asked] == [
        *("已去电", at_minute["called_at"], "林晓", "将再消费"),
        *("是", at_minute["store_notified_at"], None),
    ]
    assert [now["会员m2"][head] for head in asked] == ["已结束", None, None, None, None, None, "已达免年费条件"]
    assert now["会员m3"]["状态"] == "待去电"
    made_at = page["made_at"][:16].replace("T", " ")
    assert [then["会员m1"][head] for head in ("制表", "制表时间")] == ["日程", made_at]
    assert [row["序号"] for row in sorted(then.values(), key=lambda row: row["姓名"])] == [1, 2, 3]
    async with month.api("oa-sh01") as store:
        assert (await store.get("/api/expiry/2027-01/list.xlsx?calls=true")).status_code == 403


async def test_an_outcome_that_is_not_of_the_list_is_refused_and_nothing_is_kept(month: Office):
    case = notice_of(month, "m1", "2027-01").id
    async with month.api("lin") as door:
        refused = await door.post(f"/api/cases/expiry_notice/{case}/call", json={"outcome": "maybe"})
        without = await door.post(f"/api/cases/expiry_notice/{case}/call", json={})
        taken = await door.post(f"/api/cases/expiry_notice/{case}/call", json={"outcome": "wrong_number"})
    for answer in (refused, without):
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["outcome"])
    assert "will_renew" in refused.text, "what may be said is said"
    assert taken.status_code == 200, taken.text
    assert month.tasks(case)["call"].state == "done"


async def test_the_script_says_what_the_member_still_lacks_now(month: Office):
    """Re-reckoned before the call: not what the list said."""
    case = notice_of(month, "m1", "2027-01").id
    bought(month, "m1", "99.5", heard=False, on=at("2026-11-30 12:00"))
    bought(month, "m1", "0", heard=False)
    _, said = await answer(month, "lin", f"cases/{case}/script")
    assert (said["purchases"], said["amount_missing"], said["waived"]) == (3, "400.0", True)
    assert "已经免年费" in said["text"]
    _, other = await answer(month, "lin", f"cases/{notice_of(month, 'm2', '2027-01').id}/script")
    assert "再消费 3 次，或再消费 1000 元" in other["text"]
    assert "会员m2" in other["text"]
    assert (await answer(month, "oa-gz01", f"cases/{case}/script"))[0] == 404
    assert (await answer(month, "admin", f"cases/{case}/script"))[0] == 403
    complaint = await month.open()
    assert (await answer(month, "lin", f"cases/{complaint}/script"))[1]["code"] == "not_a_notice"
    await looked_round(month)
    assert month.case(case).closed_because == "waiver_reached"


async def test_what_the_member_system_sends_ends_notices(office: Office):
    """A receipt that reaches the waiver, a card that is renewed: by the signed webhook, each in the transaction that takes it."""
    fuxi = MemberSystem(office)
    card = {"valid_from": "2026-01-11", "valid_through": "2027-01-10"}
    buyer, renewer = record(**card), record(**card)
    ids = [(await fuxi.sends(facts))["member"] for facts in (buyer, renewer)]
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    await listed(office, "2027-01")
    receipt = {"receipt": "XS-1", "member_no": buyer["member_no"], "at": office.now().isoformat(), "amount": "1000"}
    await fuxi.sells(receipt)
    await fuxi.sells(receipt)
    await fuxi.sends({**renewer, "version": 2, "valid_through": "2028-01-10"})
    await delivered(office)
    ends = [notice_of(office, who, "2027-01").closed_because for who in ids]
    assert ends == ["waiver_reached", "renewed"]


async def kefu(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


@pytest.fixture
def terminal(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lin's, and wide."""
    monkeypatch.setenv("KEFU_KEYS", KEYS)
    monkeypatch.setenv("KEFU_DATA", str(house.settings.data))
    monkeypatch.setenv("KEFU_ACTOR", "lin")
    monkeypatch.setattr("starter.commands.terminal.out.width", 250)


@pytest.mark.usefixtures("terminal")
async def test_a_list_is_made_anyway_by_the_command_line(office: Office):
    """By the manager, of a month that has begun and whose list is not made yet; and the list says so."""
    member(office, "m1", "2027-01-10")
    await office.worker_leaves()
    await until(office, at("2026-12-01 00:00"))
    await asyncio.to_thread(office.front.almanac.open_due, "expiry", office.now())
    for words, said in (
        (("--anyway", "--as", "wang"), "--anyway 要写明是哪个月的名单"),
        (("2027-01", "--anyway"), "须由客服部经理决定"),
        (("2027-02", "--anyway", "--as", "wang"), "2027-02 的名单还没有开始"),
    ):
        refused = await kefu("expiry", *words)
        assert (refused.exit_code, said in refused.output) == (1, True), refused.output
    made = await kefu("expiry", "2027-01", "--anyway", "--as", "wang")
    assert (made.exit_code, "2027-01 的名单将按现有资料生成" in made.output) == (0, True), made.output
    again = await kefu("expiry", "2027-01", "--anyway", "--as", "wang")
    assert (again.exit_code, "已在生成或已生成" in again.output) == (1, True), again.output
    await office.worker_comes()
    await delivered(office)
    await listed(office, "2027-01")
    for shown in (await kefu("expiry", "2027-01"), await kefu("expiry")):
        assert "未等会员系统，按当时已有资料生成，决定人: wang" in shown.output


@pytest.mark.usefixtures("terminal")
async def test_by_the_command_line(month: Office, tmp_path: Any):
    whole = await kefu("expiry", "2027-01")
    assert whole.exit_code == 0, whole.output
    assert "2027年1月到期会员名单：3 人；另有 1 人已免年费" in whole.output
    assert "会员m1" in whole.output
    overview = await kefu("expiry")
    assert "2027-01" in overview.output
    file = tmp_path / "list.xlsx"
    assert (await kefu("expiry", "2027-01", "--excel", str(file))).exit_code == 0
    sheet = openpyxl.load_workbook(io.BytesIO(file.read_bytes())).worksheets[0]
    assert {sheet.cell(row, 6).value for row in (2, 3, 4)} == {"会员m1", "会员m2", "会员m3"}
    assert file.stat().st_mode & 0o077 == 0
    assert (await kefu("expiry", "2027-01", "--excel", str(file), "--calls")).exit_code == 0
    assert [row[12] for row in sheet_of(file.read_bytes())] == ["状态", *["待去电"] * 3]
    said = await kefu("script", notice_of(month, "m2", "2027-01").number)
    assert "再消费 3 次" in said.output

    shown = await kefu("calendar")
    assert "到期会员名单" in shown.output
    assert "每月 1 日 00:00" in shown.output
    again = await kefu("calendar", "expiry", "--open", "2026-11", "--as", "wang")
    assert (again.exit_code, "新开 1 个" in again.output) == (0, True), again.output
    other = await kefu("calendar", "expiry", "--open", "2026-11", "--as", "admin")
    assert "新开 0 个" in other.output
    for words in (  # a day for a month, no role for it, no such process; and a month that has not begun
        ("calendar", "expiry", "--open", "2027-02", "--as", "admin"),
        ("calendar", "expiry", "--open", "2027-02-01", "--as", "wang"),
        ("calendar", "expiry", "--open", "2027-03"),
        ("calendar", "nothing"),
    ):
        assert (await kefu(*words)).exit_code == 1


async def test_the_archived_list_is_turned_over_to_a_new_key(month: Office):
    fresh = "new:" + base64.b64encode(b"n" * 32).decode()
    old = month.house
    settings = old.settings.model_copy(update={"keys": SecretStr(f"{fresh},{KEYS}")})
    both = House(settings)
    with both.database.reading() as session:
        assert "test" in needed(session)
    reseal(both)
    with both.database.reading() as session:
        row = session.exec(select(ExpiryListRow)).one()
    assert row.keys == "new"
    assert row.sealed
    assert KeyRing(fresh).open(row.sealed, COLUMN, place_of("2027-01")).startswith(b"PK")
    both.database.close()


async def test_no_history_and_no_column_in_the_clear_says_who_a_member_is(month: Office):
    case = notice_of(month, "m1", "2027-01").id
    await month.hand_in(case, "call", process="expiry_notice", outcome="declined", comment="不想再续")
    for file in month.house.settings.data.glob("ledger.db*"):
        content = file.read_bytes()
        assert [secret for secret in ("会员m1", "C-m1", "不想再续") if secret.encode() in content] == []
