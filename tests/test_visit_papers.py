"""What is written and counted of planned visits: members, the workbooks, the report, the callback file (handbook 6.3, 3.4, 5.4)."""

from collections import Counter
from io import BytesIO
from typing import Any

import openpyxl
import pytest

from models.people import Store
from models.tables import PurchaseRow
from models.visits.months import month_of, shifted
from settings import House
from starter.papers.doors import XLSX
from starter.visits import callbacks, sheets
from tests.office import DAY
from tests.visiting import (
    STORES,
    Visiting,
    add_member,
    at,
    book_at,
    day,
    line,
    lines_of,
    next_month_like,
    planned,
    with_stores,
)

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


async def test_the_workbook_of_a_store_comes_back_filled_in_with_refused_rows_named(visiting: Visiting):
    now = visiting.office.now()
    month = next_month_like(visiting.office, 3)
    asked = at(day(shifted(month, -1), 25))
    for n in range(3):
        add_member(visiting.office.house, f"100{n}", bought_at=asked - (5 + n) * DAY)
    await planned(visiting)
    path = f"/api/visits/plans/{month}/SH01"
    book = await book_at(visiting, f"{path}/template.xlsx", by="oa-sh01")
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
    book = await book_at(visiting, f"/api/visits/months/{month}/report.xlsx")
    rows = [row[:3] for row in book["各店计划"].iter_rows(min_row=2, values_only=True)]
    assert rows == [("GZ01", "无回访", None), ("SH01", "已提交", None), ("SH02", "已提交", "超时")]
    book = await book_at(visiting, f"/api/visits/months/{month}/plan.xlsx")
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
        book = await book_at(visiting, f"/api/visits/plans/{month}/SH01/template.xlsx", by="oa-sh01")
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


async def test_a_template_that_does_not_hold_all_members_says_so(
    visiting: Visiting, house: House, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sheets, "MOST", 2)
    now, month = visiting.office.now(), shifted(month_of(visiting.office.now().date()), 1)
    path, said = f"/api/visits/plans/{month}/SH01/template.xlsx", []
    for number, days in (("1001", 5), ("1002", 120), ("1003", 130)):
        add_member(house, number, bought_at=now - days * DAY)
        guide = (await book_at(visiting, path, by="oa-sh01")).worksheets[1]
        said.append("每类最多 2 位" in str(guide.cell(3, 1).value))
    assert said == [False, False, True]


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


async def test_a_workbook_of_more_lines_than_a_plan_may_have_is_refused_with_the_limit(visiting: Visiting):
    month = await planned(visiting)
    path, refused = f"/api/visits/plans/{month}/SH01", []
    book = await book_at(visiting, f"{path}/template.xlsx", by="oa-sh01")
    heads = {str(cell.value).rstrip("*"): n for n, cell in enumerate(book.worksheets[0][1], start=1)}
    for rows in (301, 1001):
        for row in range(2, rows + 2):
            said = {"顾客姓名": "甲", "联系电话": f"138{row:08}", "回访目的": "关怀回访", "计划日期": day(month, 9)}
            for name, value in said.items():
                book.worksheets[0].cell(row, heads[name]).value = value
        refused.append(await upload(visiting, path, book))
    assert [answer.status_code for answer in refused] == [422, 422], refused[-1].text[:300]
    assert [answer.json()["errors"][0]["code"] for answer in refused] == ["too_many_lines", "too_many_lines"]
    assert [answer.json()["errors"][0]["field"] for answer in refused] == ["lines", "lines"]


async def test_a_workbook_names_all_that_does_not_hold_at_once_and_nothing_that_only_follows(visiting: Visiting):
    month = await planned(visiting)
    path = f"/api/visits/plans/{month}/SH01"
    book = await book_at(visiting, f"{path}/template.xlsx", by="oa-sh01")
    heads = {str(cell.value).rstrip("*"): n for n, cell in enumerate(book.worksheets[0][1], start=1)}
    good = {"顾客姓名": "甲", "联系电话": "13800000001", "回访目的": "关怀回访", "计划日期": day(month, 9)}
    for row, said in enumerate(
        (
            good,
            good | {"联系电话": "1.38E+10", "计划日期": day(shifted(month, 1), 1)},
            good | {"回访目的": "随便", "购买日期": "昨天", "回访人": "oa-sh02"},
            good | {"联系电话": "138", "计划日期": day(shifted(month, 1), 1)},
            good | {"计划日期": "月底"},
            good,
        ),
        start=2,
    ):
        for name, value in said.items():
            book.worksheets[0].cell(row, heads[name]).value = value
    refused = await upload(visiting, path, book)
    assert refused.status_code == 422
    assert [(error["field"], error["code"]) for error in refused.json()["errors"]] == [
        ("rows.3.phone", "number_mangled"),
        ("rows.3.planned_on", "not_in_month"),
        ("rows.4.purchased_on", "date_from_datetime_parsing"),
        ("rows.4.purpose", "literal_error"),
        ("rows.4.caller", "caller_elsewhere"),
        ("rows.5.planned_on", "not_in_month"),
        ("rows.5.phone", "phone_short"),
        ("rows.6.planned_on", "date_from_datetime_parsing"),
        ("rows.7.member_no", "line_twice"),
    ]
    async with visiting.door("oa-sh01") as door:
        assert (await door.get(path)).json()["versions"] == [], "nothing of it is taken"


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
    book = await book_at(visiting, f"/api/visits/months/{month}/report.xlsx")
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
    book = await book_at(visiting, "/api/callbacks.xlsx")
    assert (book.sheetnames, book["east"].max_row) == (["east"], 5)


async def test_a_callback_file_that_is_too_long_is_refused_and_never_cut(
    visiting: Visiting, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(callbacks, "MOST", 2)
    month = await planned(visiting, {}, {}, {})
    for n, one in enumerate(await lines_of(visiting, month)):
        await visiting.post(f"{one['visit']}/call", by="oa-sh01", outcome="refused_contact" if n else "unreachable")
    async with visiting.door() as door:
        whole = await door.get("/api/callbacks.xlsx")
        part = await door.get("/api/callbacks.xlsx", params={"outcome": "refused_contact"})
    assert (whole.status_code, whole.json()["errors"][0]["code"]) == (422, "too_many_records")
    assert "共 3 条" in whole.json()["errors"][0]["reason"]
    assert openpyxl.load_workbook(BytesIO(part.content))["east"].max_row == 3


@pytest.mark.parametrize("days", [{"since": "0001-01-01"}, {"until": "9999-12-31"}, {"since": "2027-02-30"}])
async def test_a_day_that_nobody_can_reckon_with_is_refused(visiting: Visiting, days: dict[str, str]):
    async with visiting.door() as door:
        answers = [await door.get("/api/callbacks", params=days), await door.get("/api/callbacks.xlsx", params=days)]
        answers.append(await door.post("/api/callbacks/search", json={"phone": "13800000001", **days}))
    assert [(one.status_code, one.json()["errors"][0]["field"]) for one in answers] == [(422, next(iter(days)))] * 3
