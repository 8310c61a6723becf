"""The link by which another department, or another store, answers what it was asked (handbook 1.2): to the one person, for the one question."""

import re
from typing import Any

import pytest
from httpx2 import AsyncClient, Response

from models.tables import NoticeRow
from starter import access
from tests.letterbox import mail_server, post_of
from tests.office import HOUR, Office

PAGES = "https://kefu.example.com"
FACTS = {"content": "羽绒服<b>跑绒</b>", "customer": {"name": "张小红", "phone": "13800000001"}}
QUESTION = "同批次有没有别的投诉？<script>"


async def asked(office: Office, department: str = "merchandise", **more: Any) -> str:
    case = await office.open(**FACTS)
    await office.hand_in(case, "ask_department", department=department, question=QUESTION, **more)
    return case


async def link_of(office: Office, person: str) -> str:
    """What the latest notice in somebody's inbox holds."""
    async with office.api(person) as door:
        notices = (await door.get("/api/notices")).json()["items"]
    return str(notices[0]["answer"])


async def opened(office: Office, path: str, **headers: str) -> Response:
    async with office.api(None, **headers) as anybody:
        return await anybody.get(path)


async def sent(door: AsyncClient, path: str, page: Response, answer: str) -> Response:
    """The page's own form, filled in."""
    [key] = re.findall(r'name="key" value="(\w+)"', page.text)
    return await door.post(path, data={"key": key, "answer": answer})


async def test_who_is_asked_reads_the_matter_and_answers_by_the_link_alone(office: Office):
    case = await asked(office)
    path = await link_of(office, "shang")
    page = await opened(office, path)
    assert page.status_code == 200
    assert "同批次有没有别的投诉？&lt;script&gt;" in page.text
    assert "羽绒服&lt;b&gt;跑绒&lt;/b&gt;" in page.text
    assert not any(said in page.text for said in ("张小红", "13800000001", "<script", "http:", "https:"))
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")
    async with office.api(None) as anybody:
        thanked = await sent(anybody, path, page, "没有，这是第一件")
        again = await sent(anybody, path, page, "没有，这是第一件")
    assert [answer.status_code for answer in (thanked, again)] == [200, 200]
    assert "已记入工单" in thanked.text
    assert office.tasks(case)["assist"].done_by == "shang"
    async with office.api("lin") as lin:
        timeline = (await lin.get(f"/api/cases/{case}")).json()["timeline"]
    assert [event["content"] for event in timeline if event["kind"] == "done"] == [{"answer": "没有，这是第一件"}]
    assert "已经有答复了" in (await opened(office, path)).text


async def test_who_is_asked_reads_nothing_of_the_customer_wherever_it_was_written(office: Office):
    """Neither in the matter nor in a question, on the page, in the API or in what he answered himself; who was amended in later
    is known, too."""
    case = await office.open(
        content="顾客张小红（电话 13800000001，会员卡 8812345678）来电称跑绒", demand="请回电 138-0000-0001，换一件"
    )
    await office.hand_in(case, "amend", customer={"name": "李大明", "phone": "021-5555 1234"})
    await office.hand_in(case, "ask_department", department="merchandise", question="李大明的羽绒服，同批次有没有")
    page = await opened(office, await link_of(office, "shang"))
    async with office.api("shang") as shang, office.api("lin") as lin:
        matter = (await shang.get(f"/api/cases/{case}")).json()
        await shang.post(f"/api/cases/complaint/{case}/assist", json={"answer": "有，已告诉张小红"})
        answered = await shang.get(f"/api/cases/{case}")
        whole = (await lin.get(f"/api/cases/{case}")).json()
    assert matter["facts"]["content"] == "顾客****（电话 ****，会员卡 ****）来电称跑绒"
    assert matter["facts"]["demand"] == "请回电 ****，换一件"
    assert "****的羽绒服，同批次有没有" in page.text
    assert "有，已告诉****" in answered.text
    for shown in (page.text, str(matter), answered.text):
        assert not any(said in shown for said in ("张小红", "李大明", "13800000001", "138-0000", "8812345678", "5555"))
    assert "张小红" in whole["facts"]["content"], "who handles it reads it as it was written"


async def test_who_is_asked_reads_that_there_is_a_receipt_and_not_its_number(office: Office):
    """A number that finds the customer: neither as it was, as it was corrected, nor as he came back with it; nor what of him was
    written beside it. What was bought, and for how much, he reads."""
    first, second, third = (f"SH01-20261001-003{n}" for n in range(3))
    goods = {"style_no": "Y-1700", "colour": "驼色，张小红定制", "receipt_no": first, "price": "699"}
    case = await office.open(goods=goods, content=f"小票 {first} 的毛衣起球")
    await office.hand_in(case, "ask_department", department="merchandise", question=f"小票 {first} 是哪一批")
    shown = []

    async def looks() -> dict[str, Any]:
        async with office.api("shang") as shang:
            answer = await shang.get(f"/api/cases/{case}")
            sent = {event["submission"] for event in answer.json()["timeline"]} - {None}
            others = [await shang.get(f"/api/submissions/{submission}") for submission in sent]
        page = await opened(office, await link_of(office, "shang"))
        assert [one.status_code for one in (answer, page, *others)] == [200] * (2 + len(sent))
        shown.extend(one.text for one in (answer, page, *others))
        assert "<dd>****</dd>" in page.text
        assert "<dd>699</dd>" in page.text
        return answer.json()

    masked = goods | {"colour": "驼色，****定制", "receipt_no": "****"}
    assert (await looks())["facts"]["goods"] == masked
    await office.hand_in(case, "amend", goods={"receipt_no": second, "size": "165"})
    seen = await looks()
    assert (seen["facts"]["goods"], seen["corrected"]) == (masked | {"size": "165"}, ["goods.size"])
    assert seen["timeline"][0]["content"]["goods"] == masked
    await office.hand_in(case, "assist", by="shang", answer="B2609")
    await office.walk(case)
    await office.hand_in(case, "back_again", content="换的又起球", goods={"receipt_no": third, "colour": "黑"})
    await office.hand_in(case, "ask_department", department="merchandise", question="还有没有同款")
    seen = await looks()
    assert seen["facts"]["goods"] == masked | {"size": "165", "colour": "黑"}
    [back] = [event["content"] for event in seen["timeline"] if event["kind"] == "reopened"]
    assert back["goods"] == {"receipt_no": "****", "colour": "黑"}
    for text in shown:
        assert not any(said in text for said in (first, second, third, "张小红"))
    async with office.api("lin") as lin:
        assert third in (await lin.get(f"/api/cases/{case}")).text, "who handles it reads it as it is"


@pytest.mark.parametrize("owner", ["oa-sh01", "chen"])
async def test_the_page_shows_nothing_of_the_customer_whoever_the_question_is_put_to(office: Office, owner: str):
    """Not even where he sees the case whole, as its own store and a specialist do: whoever holds the link reads the page."""
    said = {"content": "张小红（13800000001）的毛衣起球", "goods": {"receipt_no": "SH01-20261001-0033"}}
    case = await office.open(**said)
    store = {"department": "store", "store": "SH01"} if owner == "oa-sh01" else {"department": "merchandise"}
    await office.hand_in(case, "ask_department", question="张小红是哪天买的", **store)
    if owner == "chen":
        await office.hand_in(case, "reassign", by="wang", task="assist", person="chen", reason="请陈静查")
    path = await link_of(office, owner)
    page = await opened(office, path)
    assert "****（****）的毛衣起球" in page.text
    assert "****是哪天买的" in page.text
    assert not any(private in page.text for private in ("张小红", "13800000001", "SH01-20261001-0033"))
    async with office.api(None) as anybody:
        assert (await sent(anybody, path, page, "十月一日")).status_code == 200
    assert office.tasks(case)["assist"].done_by == owner


async def test_the_link_goes_out_with_the_question(office: Office):
    with mail_server() as mail:
        office.organise(shang={"channels": ["mailto:shang@example.com"]})
        post = post_of(office, mail, link=PAGES)
        case = await asked(office)
        await office.pass_time(HOUR)
        post.round()
        [letter] = mail.boxes["shang@example.com"]
        text = letter.get_content()
    assert f"{PAGES}{await link_of(office, 'shang')}" in text
    assert f"{PAGES}/cases/{case}" not in text


async def test_a_link_opens_nothing_else(office: Office):
    case = await asked(office)
    await office.hand_in(case, "ask_department", department="store", store="SH02", question="还有没有同款")
    other = await asked(office)
    path = await link_of(office, "oa-sh02")
    mark = path.rpartition("/")[2]
    for wrong in (
        f"/answer/{case}/assist/{mark}",
        f"/answer/{other}/assist-2/{mark}",
        f"/answer/{case}/reply/{mark}",
        f"/answer/{case}/assist-2/{mark[:-1]}{'0' if mark[-1] != '0' else '1'}",
        f"/answer/{case}/assist-2/nobody.{'0' * 64}",
        "/answer/complaint-0000000000/assist/x",
        f"/answer/{case}/assist-2/{mark}，谢谢",
        f"/answer/{case}/assist-2/{'x' * 500}",
        f"/answer/{case}/assist%002/{mark}",
    ):
        page = await opened(office, wrong)
        assert (page.status_code, "这个链接无效" in page.text) == (404, True), wrong
    assert (await opened(office, path)).status_code == 200
    assert (await opened(office, f"/api/cases/{case}")).status_code == 401


async def test_once_it_was_given_to_somebody_else_the_link_is_nobodys(office: Office):
    case = await asked(office)
    path = await link_of(office, "shang")
    await office.hand_in(case, "reassign", by="wang", task="assist", person="pin", reason="由品牌中心答复")
    assert (await opened(office, path)).status_code == 404
    assert (await opened(office, await link_of(office, "pin"))).status_code == 200


async def test_an_answer_that_is_not_percent_encoded_is_read_all_the_same(office: Office):
    """And whoever asked hears that it is there."""
    case = await asked(office)
    path = await link_of(office, "shang")
    async with office.api(None) as anybody:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        sent = await anybody.post(path, content="answer=同批次已知问题".encode(), headers=headers)
    assert sent.status_code == 200
    async with office.api("lin") as lin:
        timeline = (await lin.get(f"/api/cases/{case}")).json()["timeline"]
    assert [event["content"] for event in timeline if event["kind"] == "done"] == [{"answer": "同批次已知问题"}]
    assert office.heard(case, "lin") == ["new/None", "answered/assist"]


async def test_what_does_not_hold_is_said_and_what_was_typed_is_kept(office: Office):
    case = await asked(office)
    path = await link_of(office, "shang")
    page = await opened(office, path)
    async with office.api(None) as anybody:
        empty = await sent(anybody, path, page, "   ")
        long = await sent(anybody, path, page, "长" * 8001)
    assert [(answer.status_code, 'role="alert"' in answer.text) for answer in (empty, long)] == [(422, True)] * 2
    assert "长" * 8001 in long.text
    assert office.tasks(case)["assist"].state == "open"
    english = await opened(office, path, **{"Accept-Language": "en"})
    assert "needs your word by" in english.text


async def test_a_question_that_is_over_wants_no_answer(office: Office):
    case = await asked(office)
    path = await link_of(office, "shang")
    await office.hand_in(case, "withdraw", reason="顾客不追究了")
    await office.hand_in(case, "record", finding="已撤诉")
    page = await opened(office, path)
    state = office.tasks(case)["assist"].state
    assert ("不再需要答复" in page.text) == (state == "withdrawn")
    assert state == "withdrawn"


async def test_while_the_engine_is_known_to_be_away_the_answer_is_taken_and_said_to_be_on_its_way(office: Office):
    case = await asked(office)
    path = await link_of(office, "shang")
    for silent in ("one", "another", "a third"):
        office.relay.breaker.note(silent, answered=False)
    office.relay.breaker.lets_through()  # the one that may try
    page = await opened(office, path)
    async with office.api(None) as anybody:
        waiting = await sent(anybody, path, page, "查到了")
    assert (waiting.status_code, "正在处理" in waiting.text) == (200, True)
    await office.relay.deliver(case)
    assert office.tasks(case)["assist"].state == "done"


@pytest.mark.parametrize("what", ["overdue", "new"])
def test_who_only_hears_of_a_question_has_no_link_to_answer_it(office: Office, what: str):
    row = NoticeRow(
        person="lin", key="k", what=what, case_id="complaint-1", task="assist", created_at=office.now(), data={}
    )
    assert access.answer_at(office.house.keys, row) is None
