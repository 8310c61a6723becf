"""What is printed: the record form says what the case holds, whole; the register has every complaint of its days."""

import asyncio
import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pypdfium2
import pytest
from httpx2 import Response
from openpyxl.workbook import Workbook
from PIL import Image

from activities.keys import COLUMN
from models.complaint.facts import Customer
from models.tables import ArchiveRow
from models.words import Language
from starter.__main__ import app as kefu
from starter.commands import papers as commands
from starter.papers import doors, press
from starter.papers.masks import masked
from starter.papers.record import Print, Sheet
from starter.refusals import Busy
from starter.shown import CaseView
from tests.conftest import KEYS
from tests.office import DAY, HOUR, Office
from tests.test_bent_complaints import there_and_back

ZONE = ZoneInfo("Asia/Shanghai")
MARKUP = '#import "x"\n*bold* _it_ $a$ =SUM(A1) `raw` // c /* d */ @ref <label> \\ 㐂𠮷㛃䶮 😀👍🏽 #{sys.inputs}'
RTL = "שלום مرحبا"

FACTS: dict[str, Any] = {
    "demand": "要求退货退款，并赔偿来回车费 50 元",
    "received_by": "lin",
    "category": "质量/起球",
    "severity": "serious",
    "purchased_on": "2026-10-01",
    "customer": {
        "name": "张小红",
        "phone": "13800000001",
        "card_no": "8800123456",
        "address": "上海市黄浦区南京东路 300 号 5 楼",
        "email": "zhang@example.com",
    },
    "goods": {
        "style_no": "Y-1700",
        "colour": "驼色",
        "size": "165/88A",
        "batch": "B2609",
        "receipt_no": "SH01-20261001-0033",
        "price": "699",
    },
    "content": "羊毛混纺针织衫穿了三次，腋下和袖口就起了一层球，到店要求更换，店员说属于正常现象。",
}


@pytest.fixture
async def long_story(office: Office) -> str:
    """A late reply that the manager heard of, an extension, a refusal, a hand-over, a second proposal; open."""
    case = await office.open(**FACTS)
    await office.pass_time(25 * HOUR)
    await office.hand_in(case, "reply", content="已致电张女士致歉，说明会送检同批次面料。")
    later = (office.now() + 2 * DAY).isoformat()
    await office.hand_in(case, "extend", by="wang", task="solution", due_at=later, reason="检测报告后天出具")
    await office.pass_time(20 * HOUR)
    solution = {"steps": "去球护理后寄还", "duration": "P3D", "effect": "恢复外观", "remedy": "repair"}
    await office.hand_in(case, "solution", **solution)
    await office.hand_in(case, "consent", accepted=False, wish="坚持退货退款并补偿车费")
    await office.hand_in(case, "reassign", by="wang", task="solution-2", person="chen", reason="林晓外出")
    return case


async def finish(office: Office, case: str) -> None:
    solution = {"steps": "退货退款，另补偿车费", "duration": "P2D", "effect": "收到全额退款", "amount": "749"}
    await office.hand_in(case, "solution", by="wang", remedy="refund", **solution)
    await office.hand_in(case, "consent", by="chen", accepted=True)
    await office.hand_in(case, "execution", content="退款原路退回，车费现金签收。")
    await office.hand_in(
        case, "callback", outcome="satisfied", satisfaction=4, channel="phone", comment="希望店员态度改进"
    )
    await office.hand_in(case, "record", finding="抗起球 2 级", responsible="商品中心", lesson="同批次下架送检")


# The record form


async def test_the_form_says_what_the_case_holds_on_one_page(office: Office, long_story: str):
    await finish(office, long_story)
    async with office.api("wang") as wang:
        answer = await wang.get(f"/api/cases/{long_story}/record.pdf")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["cache-control"] == "no-store"
    assert len(pages_of(answer.content)) == 1
    said = text_of(answer.content)
    customer, goods = FACTS["customer"], FACTS["goods"]
    for held in (
        *(
            "顾客投诉意见处理表（客服部用）",
            "OA-0001",
            long_story,
            "上海南京东路店SH01",
            "✓投诉",
            "✓严重",
            "第1页/共1页",
        ),
        *customer.values(),
        *(value for name, value in goods.items() if name != "price"),
        *("¥699.00", "¥749.00", "¥0.00", FACTS["content"], FACTS["demand"], "2026-10-01", "质量/起球"),
        *(
            "已致电张女士致歉，说明会送检同批次面料。",
            "去球护理后寄还",
            "坚持退货退款并补偿车费",
            "退款原路退回，车费现金签收。",
        ),
        *("第一次方案", "第二次方案", "3天", "2天", "维修", "退款", "希望店员态度改进", "✓4", "满意"),
        *(
            "抗起球2级",
            "商品中心",
            "同批次下架送检",
            "超时1小时",
            "王经理（客服部经理）",
            "检测报告后天出具",
            "林晓外出",
        ),
        *("陈静", "审核意见", "经办人（签字）", "打印王经理"),
    ):
        assert squeezed(held) in said, held
    assert "办理中" not in said


async def test_what_the_customer_demanded_stands_below_his_wish(office: Office):
    case = await office.open()
    await office.walk(case, until="solution")
    await office.hand_in(
        case, "consent", accepted=False, wish="要赔偿", demand_amount="900", demand_remedy="compensation"
    )
    assert "顾客的意愿要赔偿要求处理方式赔偿要求金额¥900.00" in text_of(await printed(office, case))
    await office.hand_in(case, "decision", by="wang", verdict="reject")
    await office.hand_in(case, "solution", **office.SOLUTION)
    await office.hand_in(case, "consent", accepted=False, demand_remedy="gift")
    said = text_of(await printed(office, case))
    assert "要求处理方式赠礼要求金额" in said
    assert said.count("要求金额") == 2


async def test_every_instant_of_the_form_is_the_ledgers(office: Office, long_story: str):
    await finish(office, long_story)
    said = text_of(await printed(office, long_story))
    for task in office.tasks(long_story).values():
        for instant in (task.due_at, task.done_at):
            assert instant is not None
            assert squeezed(f"{instant.astimezone(ZONE):%Y-%m-%d %H:%M}") in said


async def test_an_open_case_prints_so_far_and_says_so(office: Office, long_story: str):
    said = text_of(await printed(office, long_story))
    assert "办理中" in said
    assert "未到期" in said
    assert "结案后请重新打印归档" in said
    assert "坚持退货退款并补偿车费" in said


async def test_a_solved_on_the_line_complaint_prints_all_its_forms(office: Office):
    case = await office.open()
    solved = {"reply": "通话中致歉", "steps": "换同款新衣", "effect": "不再跑绒", "remedy": "exchange"}
    await office.hand_in(case, "solve", execution="门店已当场换好", **solved)
    said = text_of(await printed(office, case))
    for held in ("通话中致歉", "换同款新衣", "不再跑绒", "换货", "门店已当场换好", "✓是"):
        assert held in said


async def test_the_same_state_is_the_same_file_for_the_archive(office: Office, long_story: str):
    first = await printed(office, long_story, archive=True)
    await office.pass_time(timedelta(minutes=7))
    assert await printed(office, long_story, archive=True, by="wang") == first
    assert b"pdfaid" in first, "an archive wants PDF/A"
    assert "打印" not in text_of(first).replace("截至打印时", "").replace("重新打印", "")
    await finish(office, long_story)
    assert await printed(office, long_story, archive=True) != first


async def test_a_masked_form_shows_nobody(office: Office, long_story: str):
    async with office.api() as lin:
        answer = await lin.get(f"/api/cases/{long_story}/record.pdf", params={"masked": "true"})
    said = text_of(answer.content)
    assert "张*" in said
    assert "138****0001" in said
    assert "已脱敏" in said
    for hidden in ("张小红", "13800000001", "8800123456", "zhang@", "300号"):
        assert hidden not in said


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"phone": "138-0000-0001"}, {"phone": "138****0001"}),
        ({"phone": "+86 138 0000 0001"}, {"phone": "138****0001"}),
        ({"phone": "6333 1234"}, {"phone": "****34"}),
        ({"phone": "店里"}, {"phone": "****"}),
        ({"name": "𠮷田"}, {"name": "𠮷*"}),
        ({"email": "a"}, {"email": "****"}),
        ({"im": "wx_zhang88", "card_no": "123"}, {"im": "****88", "card_no": "****"}),
    ],
)
def test_contacts_are_masked(given: dict[str, str], shown: dict[str, str]):
    assert masked(Customer(**given)) == Customer(**shown)


@pytest.mark.parametrize("customer", [{}, {"name": "李四", "phone": "13900000002"}, {"email": "li@example.com"}])
async def test_no_part_ends_in_an_empty_row(office: Office, customer: dict[str, str]):
    """However little a part says, its last row is as tall as the name at its side; a store's form ends with the signatures."""
    facts = {"customer": customer, "goods": {"style_no": "Y-1700"}}
    case, of_store = await office.open(**facts), await office.open(**facts, origin="store", store_handling=STORE)
    named: dict[Language, tuple[str, str, str]] = {
        "zh": ("受理时间", "货号", "经办人（签字）"),
        "en": ("received at", "style number", "handled by"),
    }
    for language, (first, last, signed) in named.items():
        papers = [await printed(office, one, language=language) for one in (case, of_store)]
        assert [blank(paper, first, last) for paper in papers] == [0, 0], language
        assert blank(papers[1], signed) == 0, language


async def test_long_texts_stand_whole_and_what_looks_like_markup_as_it_is(office: Office, long_story: str):
    view = await seen(office, long_story)
    assert view.facts is not None
    texts = {
        "content": (MARKUP * 200)[:7900] + RTL,
        "demand": "！" * 400 + "a" * 3000 + "长" * 3000,
        "customer": {"name": "㐂𠮷" + "名" * 300, "address": "x/" * 300, "im": "y" * 90, "phone": "1" * 60},
    }
    view = view.model_copy(update={"facts": view.facts | texts})
    made = press.pdf(sheet(office, view).form(), office.now())
    said = text_of(made)
    whole = squeezed(texts["content"].removesuffix(RTL))
    assert whole in said
    for held in (*texts["customer"].values(), texts["demand"]):
        assert squeezed(str(held)) in said
    assert set(re.findall(r"[\u0590-\u06ff]", RTL)) <= set(said), (
        "set from the right; read back in the order of the eye"
    )
    for page in pages_of(made):
        assert page.get_mediabox() == pytest.approx((0, 0, 595.28, 841.89), abs=0.1)
        text = page.get_textpage()
        boxes = [text.get_charbox(at) for at in range(text.count_chars())]
        assert all(left >= 30 and right <= 566 for left, _, right, _ in boxes if right > left), "inside the rules"


@pytest.mark.parametrize("length", [1, 90, 300, 499, 501])
async def test_no_line_of_a_text_stands_where_something_else_does(office: Office, length: int):
    """Nor outside its own row, however long it is: the room for it is the least that it has."""
    opinion = "同" * length
    handled = {**STORE, "supervisor_opinion": opinion}
    case = await office.open(content="长" * length, demand="求" * length, origin="store", store_handling=handled)
    [page] = pages_of(await printed(office, case))
    text = page.get_textpage()
    boxes = [text.get_charbox(at) for at in range(text.count_chars()) if text.get_text_range(at, 1).strip()]
    middles = [((left + right) / 2, (bottom + top) / 2) for left, bottom, right, top in boxes]
    for nth, (left, bottom, right, top) in enumerate(boxes):
        within = [at for at, (x, y) in enumerate(middles) if left < x < right and bottom < y < top]
        assert within in ([nth], []), (text.get_text_range(nth, 1), within)


async def test_a_character_without_a_font_is_a_box_and_said_so(office: Office, long_story: str):
    view = await seen(office, long_story)
    assert view.facts is not None
    view = view.model_copy(update={"facts": view.facts | {"content": "藏文 བོད 之后"}})
    said = text_of(press.pdf(sheet(office, view).form(), office.now()))
    assert "之后" in said
    assert "有的字没有字体" in said


async def test_a_stores_complaint_prints_the_stores_form(office: Office):
    case = await office.open(**FACTS)
    view = await seen(office, case)
    assert view.facts is not None
    handled = {"reply": "当场致歉", "solution": "答应换货", "by": "oa-sh01", "supervisor_opinion": "同意换货"}
    view = view.model_copy(
        update={"facts": view.facts | {"origin": "store", "store_handling": {**handled, "help_wanted": True}}}
    )
    made = press.pdf(sheet(office, view).form(), office.now())
    said = text_of(made)
    assert len(pages_of(made)) == 1
    for held in ("当场致歉", "答应换货", "南京东路店", "同意换货", "顾客反应", "区域主管（签字）", "满意度", "张小红"):
        assert held in said
    assert "客服部用" not in said
    assert "解决措施" not in said


async def test_the_form_speaks_english_to_those_who_ask(office: Office, long_story: str):
    async with office.api("lin", **{"Accept-Language": "en"}) as lin:
        said = text_of((await lin.get(f"/api/cases/{long_story}/record.pdf")).content)
    assert "Customercomplaintrecord" in said
    assert "张小红" in said


async def test_only_who_may_read_contents_may_print_them(office: Office, long_story: str):
    address = f"/api/cases/{long_story}/record.pdf"
    async with office.api("admin") as admin, office.api("oa-gz01") as elsewhere, office.api("oa-sh01") as store:
        answers = [await who.get(address) for who in (admin, elsewhere, store)]
        mistyped = await store.get(address, params={"mask": "true"})
    assert [answer.status_code for answer in answers] == [403, 404, 200]
    assert [answer.headers["content-type"] for answer in answers[:2]] == ["application/problem+json"] * 2
    assert (mistyped.status_code, mistyped.json()["errors"][0]["code"]) == (422, "unknown_parameter")


async def test_a_form_that_takes_too_long_is_refused(office: Office, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(press, "WITHIN", 0.01)
    view = await seen(office, await office.open())
    form = sheet(office, view).form()
    form["parts"] *= 200
    with pytest.raises(Busy, match="printing_slow"):
        await press.printed(form, office.now())


async def test_no_text_is_left_on_the_disk_or_in_the_log(
    office: Office, long_story: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file")

    for maker in ("mkstemp", "NamedTemporaryFile", "TemporaryFile", "mkdtemp"):
        monkeypatch.setattr(f"tempfile.{maker}", refuse)
    assert await printed(office, long_story)
    async with office.api() as lin:
        assert (await lin.get("/api/register.xlsx", params=around(office))).status_code == 200
    said = "".join(capfd.readouterr())
    assert "张小红" not in said
    assert "起了一层球" not in said


# The register


async def test_the_register_has_a_row_for_each_complaint_of_its_days(office: Office, long_story: str):
    await finish(office, long_story)
    other = await office.open(**{**FACTS, "content": "=SUM(A1)\n+1 @x", "customer": {"name": "=cmd|' /C calc'!A0"}})
    book = book_of(await register(office))
    first, second = rows_of(book)
    held = {
        "单号": "OA-0001",
        "投诉渠道": "OA",
        "类型": "投诉",
        "门店": "上海南京东路店",
        "区域": "华东",
        "问题类别": "质量/起球",
        "货号": "Y-1700",
        "内容摘要": FACTS["content"],
        "顾客姓名": "张*",
        "联系电话": "138****0001",
        "顾客诉求": FACTS["demand"],
        "回复是否及时": "超时",
        "方案是否及时": "及时",
        "回访是否及时": "及时",
        "方案次数": 2,
        "处理方式": "退款",
        "赔付金额": 749,
        "回访结果": "满意",
        "满意度": 4,
        "责任部门": "商品中心",
        "状态": "已结案",
        "上报次数": 1,
        "延期次数": 1,
        "经办人": "林晓",
        "系统编号": long_story,
    }
    assert {name: first[name] for name in held} == held
    tasks = office.tasks(long_story)
    times = {"首次回复时间": "reply", "回复时间": "reply", "方案提出时间": "solution", "落实时间": "execution"}
    for name, task in (times | {"回访时间": "callback"}).items():
        if name in first:
            assert abs(first[name] - local(tasks[task].done_at)) < timedelta(seconds=1), name
    assert abs(first["顾客同意时间"] - local(tasks["consent-2"].done_at)) < timedelta(seconds=1)
    assert (second["系统编号"], second["状态"], second["内容摘要"]) == (other, "办理中", "=SUM(A1) +1 @x")
    assert second["顾客姓名"] == "=*"
    assert second["回复是否及时"] == "未到期"
    sheet = book.worksheets[0]
    assert {cell.data_type for row in sheet.iter_rows(min_row=2) for cell in row} <= {"s", "n", "d"}
    assert all(cell.quotePrefix for cell in sheet[3] if isinstance(cell.value, str))
    assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("B2", "A1:AG3")
    assert sheet["B2"].number_format == "yyyy-mm-dd hh:mm"
    assert sheet.column_dimensions["A"].width > 10


async def test_the_figures_are_those_of_the_rows(office: Office, long_story: str):
    await office.open(by="oa-gz01", kind="suggestion", channel="phone", store="GZ01")
    figures = figures_of(book_of(await register(office)))
    assert figures["受理件数"] == [2]
    assert figures["上报总次数"] == [1]
    assert figures["有上报的件数"] == [1]
    assert figures["24 小时内回复"] == [0, 1, 0, 0, 0]
    assert figures["48 小时内给出解决方案"] == [1, 0, 0, 0, 1]
    assert figures["一周内回访"] == [0, 0, 0, 1]
    assert figures["办理中"] == [2]
    assert (figures["投诉"], figures["意见建议"], figures["OA"], figures["电话"]) == ([1], [1], [1], [1])
    assert figures["上海南京东路店"] == [1]


async def test_a_complaint_belongs_to_the_day_of_its_receipt_in_the_calendars_zone(office: Office):
    day = office.now().astimezone(ZONE).date() - timedelta(days=3)
    midnight = datetime.combine(day, datetime.min.time(), ZONE)
    just_before = (midnight - timedelta(microseconds=1)).astimezone(UTC)
    receipts = [just_before, midnight, midnight + DAY - timedelta(seconds=1), (midnight + DAY).astimezone(UTC)]
    cases = [await office.open(received_at=at.isoformat()) for at in receipts]
    found = [row["系统编号"] for row in rows_of(book_of(await register(office, since=day, until=day + DAY)))]
    assert found == cases[1:3]


async def test_a_register_without_complaints_is_a_sheet_with_a_heading(office: Office):
    book = book_of(await register(office))
    assert rows_of(book) == []
    assert figures_of(book)["受理件数"] == [0]


async def test_a_store_has_its_own_and_the_administrator_no_contents(office: Office, long_story: str):
    elsewhere = await office.open(by="oa-gz01", store="GZ01")
    of_store = rows_of(book_of(await register(office, by="oa-gz01")))
    assert [row["系统编号"] for row in of_store] == [elsewhere]
    for row in rows_of(book_of(await register(office, by="admin"))):
        assert [row[name] for name in ("内容摘要", "顾客姓名", "联系电话", "顾客诉求", "责任部门")] == [None] * 5
        assert row["状态"] == "办理中"


@pytest.mark.parametrize(
    ("since", "until", "field", "code"),
    [
        ("2026-11-02", "2026-11-01", "until", "period_empty"),
        ("2026-11-01", "2026-11-01", "until", "period_empty"),
        ("2025-11-01", "2026-12-01", "until", "period_too_long"),
        ("gestern", "2026-12-01", "since", "date_from_datetime_parsing"),
        (None, "2026-12-01", "since", "missing"),
    ],
)
async def test_a_period_that_is_none_is_refused(office: Office, since: str | None, until: str, field: str, code: str):
    async with office.api("wang") as wang:
        answer = await wang.get("/api/register.xlsx", params={"until": until} | ({"since": since} if since else {}))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [(field, code)]
    assert "{" not in answer.json()["errors"][0]["reason"]


async def test_a_long_register_is_sent_while_it_is_made(office: Office):
    for _ in range(3):
        await office.open()
    days = doors.Period(**around(office))
    _, pieces = await doors.register(office.front, office.front.actor("wang"), days, "zh")
    many = list(pieces)
    assert len(many) > 1
    assert zipfile.ZipFile(io.BytesIO(b"".join(many))).testzip() is None


async def test_e31_what_was_reclassified_and_came_back_is_in_the_register_with_its_clocks(office: Office):
    """E31: the tasks that are owed anew count, from receipt; what was late before it stays late, and the figures say so."""
    case = await office.open()
    await office.pass_time(25 * HOUR)
    await office.hand_in(case, "reply", content="已致歉")
    await there_and_back(office, case)
    await office.pass_time(DAY)
    for form, fields in {
        "solution": office.SOLUTION,
        "consent": {"accepted": True},
        "execution": {"content": "新衣已寄出"},
        "callback": {"outcome": "satisfied", "satisfaction": 5},
        "record": {"finding": "充绒工艺不良"},
    }.items():
        await office.hand_in(case, form, **fields)
    tasks = office.tasks(case)
    assert (office.case(case).state, tasks["solution"].state, tasks["callback"].state) == (
        "archived",
        "withdrawn",
        "withdrawn",
    )
    book = book_of(await register(office))
    [row] = rows_of(book)
    shown = {"方案提出时间": "solution-2", "落实时间": "execution", "回访时间": "callback-2"}
    for name, task in shown.items():
        assert abs(row[name] - local(tasks[task].done_at)) < timedelta(seconds=1), name
    assert [row[f"{name}是否及时"] for name in ("回复", "方案", "回访")] == ["超时", "超时", "及时"]
    figures = figures_of(book)
    assert figures["24 小时内回复"] == [0, 1, 0, 0, 0]
    assert figures["48 小时内给出解决方案"] == [0, 1, 0, 0, 0]
    assert figures["一周内回访"] == [1, 0, 0, 0, 1]


async def test_e31_a_reply_that_was_late_when_it_came_back_is_late(office: Office):
    case = await office.open()
    await office.pass_time(25 * HOUR)
    await there_and_back(office, case)
    [owed] = rows_of(book_of(await register(office)))
    assert owed["回复是否及时"] == "逾期未完成"
    await office.hand_in(case, "reply", content="已致歉")
    assert office.tasks(case)["reply"].state == "withdrawn"
    book = book_of(await register(office))
    [row] = rows_of(book)
    assert abs(row["回复时间"] - local(office.tasks(case)["reply-2"].done_at)) < timedelta(seconds=1)
    assert row["回复是否及时"] == "超时"
    assert figures_of(book)["24 小时内回复"] == [0, 1, 0, 0, 0]


async def test_e31_an_agreed_time_is_an_answer_also_of_what_came_back(office: Office):
    case = await office.open()
    await there_and_back(office, case)
    await office.hand_in(case, "out_of_authority", reason="要求三倍赔偿")
    await office.hand_in(case, "agreement", reply_at=(office.now() + 20 * HOUR).isoformat())
    done = office.tasks(case)["reply-2"].done_at
    assert done
    said = squeezed(f"回复时间{done.astimezone(ZONE):%Y-%m-%d %H:%M}回复人林晓是否及时及时")
    assert said in text_of(await printed(office, case))


async def test_e31_what_is_no_complaint_any_more_counts_in_no_rate(office: Office):
    case = await office.open()
    await office.hand_in(case, "reclassify", kind="suggestion", reason="只是建议")
    book = book_of(await register(office))
    assert [row["回复是否及时"] for row in rows_of(book)] == ["已取消"]
    assert figures_of(book)["24 小时内回复"] == [0, 0, 0, 0]


# The commands


async def test_the_command_prints_the_form(office: Office, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """By number, into the file that is named, or into one that bears the number; masked where asked."""
    case = await office.open(**FACTS)
    settings = office.house.settings
    monkeypatch.setenv("KEFU_DATA", str(settings.data))
    monkeypatch.setenv("KEFU_KEYS", KEYS)
    if settings.database_url:
        monkeypatch.setenv("KEFU_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.chdir(tmp_path)
    number, customer = office.case(case).number, FACTS["customer"]["name"]

    def printed_by(*more: str) -> None:
        kefu(["record", number, "--as", "lin", *more], standalone_mode=False)

    await asyncio.to_thread(printed_by)
    [whole] = await asyncio.to_thread(lambda: list(tmp_path.glob("*.pdf")))
    assert number in whole.name
    await asyncio.to_thread(printed_by, "--masked")
    assert customer in text_of(whole.read_bytes()), "the masked one lies beside it"
    masked = text_of((tmp_path / f"{whole.stem}-masked.pdf").read_bytes())
    await asyncio.to_thread(printed_by, "--masked", "-o", "mine.pdf")
    assert text_of((tmp_path / "mine.pdf").read_bytes()) == masked
    assert (customer in masked, squeezed(number) in masked) == (False, True)
    with pytest.raises(SystemExit, match="没有"):
        await asyncio.to_thread(kefu, ["record", "OA-none", "--as", "lin"], standalone_mode=False)


def test_files_are_written_whole_and_for_their_owner_only(tmp_path: Any, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "a.pdf"
    commands.write(path, [b"one", b"two"])
    assert path.read_bytes() == b"onetwo"
    assert path.stat().st_mode & 0o777 == 0o600

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(SystemExit, match="No space left"):
        commands.write(path, broken())
    assert path.read_bytes() == b"onetwo"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pdf"]


def test_a_name_of_a_file_is_one_everywhere():
    assert doors.plain("../沪客诉〔2026〕12号.pdf") == "_____2026_12_.pdf"
    assert doors.named("沪1.pdf", "inline") == "inline; filename=\"_1.pdf\"; filename*=UTF-8''%E6%B2%AA1.pdf"


SURVEY = [
    {"question": "speed", "score": 4},
    {"question": "solved", "yes": True},
    {"question": "wish", "text": "请快一点"},
]
STORE = {"reply": "店长已致歉", "solution": "已换新", "by": "oa-sh01"}


async def test_a_later_answer_names_who_allowed_it(office: Office):
    """Past the 48 hours: the manager's name, how the customer agreed, and the original due time."""
    case = await office.open(**FACTS)
    await office.hand_in(case, "out_of_authority", reason="要求三倍赔偿")
    late = (office.now() + 4 * DAY).isoformat()
    await office.hand_in(case, "decision", by="wang", verdict="approve", reply_by=late)
    due = office.tasks(case)["solution"].due_at.astimezone(office.house.calendar)
    await office.hand_in(case, "agreement", reply_at=late, evidence="电话录音")
    said = text_of(await printed(office, case))
    name = office.house.people.name("wang")
    assert squeezed(f"{due:%Y-%m-%d %H:%M}") in said
    assert squeezed(f"{name}电话录音") in said


async def test_what_bent_a_complaint_is_in_its_course_and_each_handling_whole(office: Office):
    """Back again, reclassified, an authority, a department, another word of the manager's, a third handling: all are there."""
    customer = FACTS["customer"] | {"company": "上海某某贸易有限公司", "preferred_time": "工作日19点以后"}
    earlier = await office.open(form_no="OA-0000")
    await office.walk(earlier)
    case = await office.open(**FACTS | {"customer": customer}, earlier="OA-0000")
    picture = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(picture, "JPEG")
    async with office.api() as lin:
        sent = {"file": ("腋下起球.jpg", picture.getvalue(), "image/jpeg")}
        answer = await lin.post(f"/api/cases/{case}/attachments", files=sent, data={"caption": "顾客的照片"})
        assert answer.status_code == 201, answer.text
    due = (office.now() + 3 * DAY).isoformat()
    await office.hand_in(case, "refer", body="12315", reference="SH-2026-117", due_at=due)
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次还有吗")
    await office.hand_in(case, "assist", by="shang", answer="另有两起")
    await office.hand_in(case, "amend", by="oa-sh01", customer={"phone": "13900000002"})
    await office.hand_in(case, "reclassify", kind="suggestion", reason="只是建议")
    await office.hand_in(case, "reclassify", kind="complaint", reason="还是投诉")
    await office.walk(case, until="execution")
    await office.pass_time(2 * DAY)
    for channel, ago in (("phone", 30 * HOUR), ("sms", HOUR), ("phone", HOUR)):
        await office.hand_in(case, "attempt", channel=channel, tried_at=(office.now() - ago).isoformat())
    assert (await office.hand_in(case, "callback", outcome="unreachable")).state == "decided"
    await office.hand_in(case, "sign_off", by="wang", approved=False, note="周末再打")
    await office.hand_in(case, "callback", outcome="dissatisfied", satisfaction=1, survey=SURVEY)
    again = {"steps": "经理登门致歉", "effect": "消气", "remedy": "apology", "told_by": "chen", "channel": "im"}
    await office.hand_in(case, "solution", **again)
    await office.hand_in(case, "consent", accepted=True)
    await office.hand_in(case, "execution", content="已登门致歉")
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5)
    await office.hand_in(case, "record", finding="抗起球 2 级")
    await office.hand_in(case, "external_reply", content="已回函市监局")
    assert office.case(case).state == "archived"
    said = text_of(await printed(office, case))
    for held in (
        *("OA-0000", "上海某某贸易有限公司", "工作日19点以后", "转办编号：SH-2026-117", "同批次还有吗", "另有两起"),
        *(
            "联系电话：13900000002",
            "类型：意见建议",
            "类型：投诉",
            "是否通过：否",
            "周末再打",
            "第3次处理",
            "已回函市监局",
        ),
        *(
            "告知人陈",
            "新衣已寄出",
            "已登门致歉",
            "对回复的及时性是否满意4/5",
            "问题是否已经解决是",
            "还有什么建议请快一点",
        ),
        *("腋下起球.jpg顾客的照片", "JPG", "回访人（即方案提出人）"),
    ):
        assert squeezed(held) in said, held
    assert said.count("✓是") == 3, "what the customer agreed to is there, each time"
    [row] = office.rows(ArchiveRow, case)
    kept = json.loads(office.house.keys.open(row.sealed, COLUMN, f"archive/{case}"))["attachments"]
    assert [(file["kind"], file["name"], file["caption"], file["by"]) for file in kept] == [
        ("jpg", "腋下起球.jpg", "顾客的照片", "lin")
    ]
    _, paper = await doors.record(office.front, office.front.actor("lin"), case, True, False, "zh")
    hidden = text_of(paper)
    assert "139****0002" in hidden
    for name in ("13900000002", "上海某某贸易", "张小红"):
        assert name not in hidden, name


async def test_e27_papers_say_what_was_corrected_and_the_course_how_it_came_to_be_so(office: Office):
    """Each correction says what it says and no more: a new number keeps the name, a new size the style."""
    case = await office.open(customer={}, goods={"style_no": "Y-1700", "size": "165"})
    li = {"name": "李四", "phone": "13900000002"}
    await office.hand_in(case, "amend", severity="major", customer=li, demand="要求退款")
    await office.hand_in(case, "amend", by="oa-sh01", customer={"phone": "13900000003"}, goods={"size": "170"})
    await office.walk(case)
    assert office.case(case).state == "archived"
    said = text_of(await printed(office, case))
    of_customer = squeezed(said.partition("顾客姓名")[2].partition("会员卡号")[0])
    assert ("✓重大" in said, "✓一般" in said, of_customer) == (True, False, "李四联系电话13900000003")
    for held in ("要求退款", "Y-1700", "尺码170", "联系电话：13900000002", "尺码：170"):
        assert held in said, held
    [row] = rows_of(book_of(await register(office)))
    corrected = {
        "严重程度": "重大",
        "顾客姓名": "李*",
        "联系电话": "139****0003",
        "顾客诉求": "要求退款",
        "货号": "Y-1700",
    }
    assert {name: row[name] for name in corrected} == corrected
    _, paper = await doors.record(office.front, office.front.actor("lin"), case, True, False, "zh")
    hidden = text_of(paper)
    assert ("李*" in hidden, "139****0003" in hidden) == (True, True)
    for name in ("李四", "13900000002", "13900000003"):
        assert name not in hidden, name


async def test_e34_whom_it_turns_out_to_be_about_stands_on_the_form_and_so_does_who_has_it_now(office: Office):
    case = await office.open()
    await office.hand_in(case, "amend", by="oa-sh01", about_employee="lin")
    said = text_of(await printed(office, case))
    owner = office.house.people.name(office.tasks(case)["reply"].owner)
    for held in ("被投诉员工林晓", "被投诉员工：林晓", f"回复{owner}南京东路店"):
        assert held in said, held


async def test_e27_what_was_refused_corrects_nothing(office: Office):
    case = await office.open()
    await office.walk(case)
    assert (await office.hand_in(case, "amend", demand="要求退款")).state == "refused"
    assert "要求退款" not in text_of(await printed(office, case))
    assert [row["顾客诉求"] for row in rows_of(book_of(await register(office)))] == [None]


async def test_e28_a_stores_form_prints_with_the_number_that_it_was_returned_for(office: Office):
    case = await office.open(customer={}, origin="store", store_handling=STORE)
    await office.hand_in(case, "supplement", by="oa-sh01", customer={"name": "李四", "phone": "13900000002"})
    said = text_of(await printed(office, case))
    assert "顾客姓名李四联系电话13900000002" in said
    [row] = rows_of(book_of(await register(office)))
    assert (row["顾客姓名"], row["联系电话"]) == ("李*", "139****0002")
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5)
    async with office.api() as lin:
        [called] = (await lin.get("/api/callbacks")).json()["items"]
    assert called["customer"] == {"name": "李四", "phone": "13900000002"}


async def test_a_stores_form_has_the_survey_the_later_opinion_and_what_headquarters_did(office: Office):
    case = await office.open(**FACTS, origin="store", store_handling=STORE)
    await office.hand_in(case, "opinion", by="qian", content="已约谈当班店员")
    await office.hand_in(case, "callback", outcome="dissatisfied", satisfaction=1, survey=SURVEY)
    await office.walk(case)
    said = text_of(await printed(office, case))
    for held in (
        "已约谈当班店员",
        "对回复的及时性是否满意4/5",
        "换一件新的",
        "新衣已寄出",
        "充绒工艺不良",
        "第2次处理",
    ):
        assert squeezed(held) in said, held


# How it is looked at


async def seen(office: Office, case: str, by: str = "lin") -> CaseView:
    return await office.front.look(office.front.actor(by), lambda views: views.case(case))


def sheet(office: Office, view: CaseView) -> Sheet:
    return Sheet(view, office.house.people, office.house.calendar, print=Print("lin", office.now()))


async def printed(
    office: Office, case: str, by: str = "lin", archive: bool = False, language: Language = "zh"
) -> bytes:
    _, paper = await doors.record(office.front, office.front.actor(by), case, False, archive, language)
    return paper


def blank(paper: bytes, first: str, last: str | None = None) -> int:
    """How much of the column of names is white, in dots, from one name on the first page to another, or to the last rule."""
    page, scale = pages_of(paper)[0], 3
    dots = page.render(scale=scale).to_pil().convert("L")
    text = page.get_textpage()

    def below_top(name: str) -> int:
        at, _ = text.search(name).get_next()
        return int((page.get_height() - text.get_charbox(at)[3]) * scale)

    column = [dots.getpixel((int(22.5 / 25.4 * 72 * scale), y)) for y in range(dots.height)]
    rules = [y for y, shade in enumerate(column[: dots.height - 48 * scale]) if shade < 100]
    return column[below_top(first) : below_top(last) if last else rules[-1]].count(255)


def pages_of(paper: bytes) -> list[Any]:
    return list(pypdfium2.PdfDocument(paper))


def text_of(paper: bytes) -> str:
    """What a PDF says, without spaces, and without what stands at the head and foot of a page or is repeated there."""
    pages = []
    for nth, page in enumerate(pages_of(paper)):
        text = page.get_textpage()
        body = squeezed(text.get_text_bounded(bottom=48, top=842 if nth == 0 else 808))
        foot = squeezed(text.get_text_bounded(bottom=0, top=48))
        pages.append((re.sub(r"^(投诉内容|顾客诉求|地址)", "", body) if nth else body, foot))
    return "".join(body for body, _ in pages) + pages[0][1]


def squeezed(text: str) -> str:
    return re.sub(r"[\s\u200b-\u200f\u202a-\u202e\ufeff\ufffe]", "", text)


def around(office: Office) -> dict[str, str]:
    today = office.now().astimezone(ZONE).date()
    return {"since": str(today - 30 * DAY), "until": str(today + DAY)}


async def register(office: Office, by: str = "wang", since: date | None = None, until: date | None = None) -> Response:
    days = {"since": str(since), "until": str(until)} if since else around(office)
    async with office.api(by) as reader:
        answer = await reader.get("/api/register.xlsx", params=days)
    assert answer.status_code == 200, answer.text
    return answer


def book_of(answer: Response) -> Workbook:
    return openpyxl.load_workbook(io.BytesIO(answer.content))


def rows_of(book: Workbook) -> list[dict[str, Any]]:
    heading, *rows = book.worksheets[0].iter_rows(values_only=True)
    return [dict(zip(map(str, heading), row, strict=True)) for row in rows if any(row)]


def figures_of(book: Workbook) -> dict[str, list[Any]]:
    rows = [[cell for cell in row if cell is not None] for row in book.worksheets[1].iter_rows(values_only=True)]
    return {str(row[0]): row[1:] for row in rows if row}


def local(instant: datetime | None) -> datetime:
    assert instant is not None
    return instant.astimezone(ZONE).replace(tzinfo=None)
