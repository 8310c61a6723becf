"""The case library: what was learnt is found by two characters, and nothing in it tells who the customer was."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlmodel import select

from models.complaint.forms import Record
from models.tables import LibraryRow, LibraryWordRow, SubmissionRow
from settings import House
from starter.__main__ import app as kefu
from starter.library.nameless import objections, without
from starter.library.shelf import LibraryViews
from starter.library.words import words_of
from starter.numbers import folded
from starter.refusals import Conflict
from starter.views import Views
from tests.conftest import KEYS
from tests.office import DAY, Office
from tests.test_customers import ON_SQLITE, ask, closed, opened
from tests.test_postgres import DATABASES, house_on

ENTRY = {
    "title": "真丝围巾水洗后褪色",
    "problem": "顾客按吊牌水洗一次，真丝围巾褪色并染到衬衫领口，款号 KF-2210。",
    "solution": "致歉并换新；送检同批次，吊牌改为只可干洗。",
    "tags": ["褪色", "洗涤说明"],
}
FACTS = {
    "content": "跑绒",
    "customer": {
        "name": "张小红",
        "phone": "138-0000-0001",
        "im": "xiao_hong88",
        "email": "hong@example.com",
        "card_no": "VIP 0012-345",
        "address": "南京东路一百号",
    },
    "goods": {"receipt_no": "2026-1122-0001"},
}
MOBILES = st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True)
MARKS = st.lists(
    st.sampled_from(["", "", "", " ", "-", "－", "—", ".", "·", "　", "_", "/", "\u200b", " - "]),
    min_size=11,
    max_size=11,
)
SCRIPTS = st.lists(
    st.sampled_from(
        ["0123456789", "０１２３４５６７８９", "〇一二三四五六七八九", "零壹贰叁肆伍陆柒捌玖", "٠١٢٣٤٥٦٧٨٩"]
    ),
    min_size=11,
    max_size=11,
)
AROUND = st.sampled_from(["", "顾客电话", "请打", "（", "，", "款 KF-2210 ", "+86 ", "2026-11-23 ", "第"])


@pytest.fixture(params=DATABASES)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A house with nobody in it, on each database."""
    yield from house_on(request.param, request, tmp_path)


def solved(house: House, number: str = "OA-1", **facts: Any) -> str:
    """A case that is closed."""
    case = opened(house, number, **facts)
    closed(house, case)
    return case


def added(house: House, case: str | None = None, actor: str = "lin", **entry: Any) -> dict[str, Any]:
    case = case or solved(house, f"OA-{datetime.now(UTC).timestamp()}")
    status, said = ask(house, actor, "POST", "/library", {"case": case, **ENTRY, **entry})
    assert status == 201, said
    return said  # type: ignore[no-any-return]


def refused(house: House, case: str, **entry: Any) -> set[tuple[str, str]]:
    status, said = ask(house, "lin", "POST", "/library", {"case": case, **ENTRY, **entry})
    assert status == 422, said
    assert all(error["reason"] and error["reason"] != error["code"] for error in said["errors"])
    return {(error["field"], error["code"]) for error in said["errors"]}


def titles(house: House, query: str = "", actor: str = "lin") -> list[str]:
    status, page = ask(house, actor, "GET", f"/library?{query}")
    assert status == 200, page
    return [entry["title"] for entry in page["items"]]


# What may be added, by whom, and when


def test_an_entry_of_a_closed_case_is_there_for_everybody_at_headquarters(house: House):
    case = solved(house)
    entry = added(house, case)
    assert (entry["case"], entry["number"], entry["version"], entry["author"]) == (case, "OA-1", 1, "lin")
    assert entry["created_at"].endswith("+08:00")
    for actor in ("chen", "wang", "sun"):
        assert titles(house, actor=actor) == [ENTRY["title"]]
    for actor in ("oa-sh01", "admin"):
        assert ask(house, actor, "GET", "/library")[0] == 403
        assert ask(house, actor, "GET", f"/library/{entry['entry']}")[0] == 403


async def test_a_case_is_added_from_its_closing_form_on_and_not_before(office: Office):
    case = await office.open()
    await office.walk(case, until="execution")
    async with office.api("lin") as lin:
        early = await lin.post("/api/library", json={"case": case, **ENTRY})
        assert (early.status_code, early.json()["code"]) == (409, "not_at_record")
        await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5, channel="phone")
        at_its_record = await lin.post("/api/library", json={"case": case, **ENTRY})
    assert at_its_record.status_code == 201, at_its_record.text
    assert at_its_record.headers["location"] == f"/api/library/{at_its_record.json()['entry']}"
    files = list(office.house.settings.data.glob("ledger.db*"))
    for file in files:
        assert [secret for secret in ("张小红", "13800000001") if secret.encode() in file.read_bytes()] == []


async def test_the_closing_form_brings_the_entry_along(office: Office):
    """3.4: one act closes the case and adds what it taught. With something of the customer in it nothing is taken; sent again,
    nothing is there twice; and the engine never sees a word of it."""
    case = await office.open(customer=FACTS["customer"])
    await office.walk(case, until="callback")
    path = f"/api/cases/complaint/{case}/record"

    async def sent(lin: Any, key: str, **more: str) -> tuple[int, dict[str, Any]]:
        form = {"finding": "染色牢度不足", "entry": ENTRY | more}
        answer = await lin.post(path, json=form, headers={"Idempotency-Key": key})
        return answer.status_code, answer.json()

    async with office.api("lin") as lin:
        status, said = await sent(lin, "1", solution="电话 13912345678")
        assert (status, [(error["field"], error["code"]) for error in said["errors"]]) == (
            422,
            [("entry.solution", "holds_phone")],
        )
        assert office.open_tasks(case) == {"record"}
        assert [(await sent(lin, "2"))[0] for _ in range(2)] == [200, 200]
        assert office.case(case).state == "archived"
        [entry] = (await lin.get("/api/library", params={"q": "褪色"})).json()["items"]
        assert (entry["title"], entry["author"], entry["case"]) == (ENTRY["title"], "lin", case)
        shown = (await lin.get(f"/api/cases/{case}")).json()
    [closing] = [done for done in shown["timeline"] if done.get("task") == "record" and done["kind"] == "done"]
    assert closing["content"] == {"finding": "染色牢度不足"}, "an entry that is removed later is left nowhere"
    assert "entry" not in office.rows(SubmissionRow, case, SubmissionRow.recorded_at)[-1].outline
    assert "褪色" not in Record.model_validate({"finding": "x", "entry": ENTRY}).model_dump_json()


async def test_a_closing_form_whose_case_has_an_entry_brings_no_second(office: Office):
    case = await office.open()
    await office.walk(case, until="callback")
    async with office.api("lin") as lin:
        assert (await lin.post("/api/library", json={"case": case, **ENTRY})).status_code == 201
        again = await lin.post(f"/api/cases/complaint/{case}/record", json={"finding": "工艺", "entry": ENTRY})
    assert (again.status_code, again.json()["code"]) == (409, "in_library_already")
    assert office.open_tasks(case) == {"record"}


async def test_a_closing_form_that_is_not_taken_adds_nothing(office: Office):
    case = await office.open()
    await office.walk(case)
    async with office.api("lin") as lin:
        late = await lin.post(f"/api/cases/complaint/{case}/record", json={"finding": "工艺", "entry": ENTRY})
        assert (late.status_code, late.json()["code"]) == (409, "case_closed")
        assert (await lin.get("/api/library")).json()["items"] == []


async def test_the_entry_of_a_second_closing_form_is_not_lost_while_its_callback_waits(office: Office):
    """E26: as in the first handling, the form comes when it is owed; then its entry is on the shelf."""
    case = await office.open()
    await office.walk(case)
    await office.pass_time(DAY)
    await office.hand_in(case, "back_again", content="又褪色")
    await office.walk(case, until="execution")
    office.commit(case, "callback", outcome="satisfied", satisfaction=5)
    with pytest.raises(Conflict) as early:
        office.commit(case, "record", finding="工艺", entry=ENTRY)
    assert early.value.code == "not_at_record"
    await office.relay.deliver(case)
    await office.hand_in(case, "record", finding="工艺", entry=ENTRY)
    assert office.case(case).state == "archived"
    async with office.api("lin") as lin:
        assert [entry["case"] for entry in (await lin.get("/api/library")).json()["items"]] == [case]


@pytest.mark.parametrize("actor", ["oa-sh01", "sun", "admin"])
def test_only_specialists_and_the_manager_add(house: House, actor: str):
    status, said = ask(house, actor, "POST", "/library", {"case": solved(house), **ENTRY})
    assert (status, said["code"]) == (403, "may_not_shelve")


def test_one_entry_a_case(house: House):
    entry = added(house, case := solved(house))
    status, said = ask(house, "chen", "POST", "/library", {"case": case, **ENTRY})
    assert (status, said["code"]) == (409, "in_library_already")
    assert str(entry["entry"]) in said["detail"]


def test_a_case_that_is_none_is_not_found(house: House):
    assert ask(house, "lin", "POST", "/library", {"case": "complaint-0", **ENTRY})[0] == 404
    assert ask(house, "lin", "GET", "/library/1")[0] == 404
    assert ask(house, "lin", "GET", "/cases/complaint-0/similar")[0] == 404


@pytest.mark.parametrize(
    ("entry", "field", "code"),
    [
        ({"title": "  "}, "title", "string_too_short"),
        ({"title": "\u0007"}, "title", "string_too_short"),
        ({"title": "褪" * 81}, "title", "string_too_long"),
        ({"tags": ["褪" * 21]}, "tags.0", "string_too_long"),
        ({"colour": "red"}, "body", "extra_forbidden"),
    ],
)
def test_what_does_not_hold_is_named(house: House, entry: dict[str, Any], field: str, code: str):
    assert (field, code) in refused(house, solved(house), **entry)


def test_control_characters_are_left_out_and_a_tag_counts_once(house: House):
    entry = added(house, title="褪\u0000色", tags=["洗涤", " 洗涤 "])
    assert (entry["title"], entry["tags"]) == ("褪色", ["洗涤"])


# Nothing of a customer


@given(MOBILES, MARKS, SCRIPTS, AROUND, AROUND)
def test_a_phone_number_is_found_in_every_spelling(
    number: str, marks: list[str], scripts: list[str], before: str, after: str
):
    spelt = "".join(script[int(digit)] + mark for digit, script, mark in zip(number, scripts, marks, strict=True))
    found = objections({"problem": before + spelt + after}, {})
    assert {error.code for error in found} & {"holds_phone", "holds_id_card", "holds_card"}
    assert found[0].field == "problem"
    assert spelt not in str(found)
    assert number not in re.sub(r"\D", "", folded(without(before + spelt + after)))


@given(st.text(alphabet="褪色开线起球一二三羊毛衫，。 KF-10", max_size=60))
def test_ordinary_text_with_few_digits_is_left_alone(text: str):
    assume(sum(char in "一二三10" for char in text) < 7)
    assert objections({"problem": text}, {}) == []
    assert without(text) == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("请打 021-5555 1234 转 8001", "holds_phone"),
        ("（０５７１）８８８８８８８８", "holds_phone"),
        ("whatsapp +1 650 253 0000", "holds_phone"),
        ("订单5 13800000001", "holds_phone"),
        ("2026-11-23 13800000001", "holds_phone"),
        ("身份证 110101 19900101 123X", "holds_id_card"),
        ("１１０１０１１９９００１０１１２３４", "holds_id_card"),
        ("会员卡号：VIP00123", "holds_card"),
        ("卡 0012 345", "holds_card"),
        ("付款账户 6222 0212 3456 7890 128", "holds_card"),
        ("付款账户 4111-1111-1111-1111", "holds_card"),
        ("写信到 hong＠example.com", "holds_email"),
        ("hong (at) example.com", "holds_email"),
    ],
)
def test_so_is_every_other_number_and_address(text: str, code: str):
    assert [error.code for error in objections({"solution": text}, {})] == [code]
    assert objections({"solution": without(text)}, {}) == []


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23 10:30 致电，2026-01-13 2026-01-15 两次来店",
        "尺码 38、39、40、41、42、43、44 断码",
        "吊牌价 1399 元，补偿 199 元，货号 Y-1700，批次 20261123001",
        "2026年11月23日起，一次性退款三百五十元",
        "第一百三十八条；洗涤 30 度，烘干 60 分钟",
        "请 @林晓 跟进，卡其色 165/88A",
        "投诉热线 400-820-8820",
    ],
)
def test_dates_sizes_prices_and_codes_are_not_taken_for_numbers_of_people(text: str):
    assert objections({"problem": text}, {}) == []
    assert without(text) == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("张小红说褪色", "holds_own_name"),
        ("张 小 红说褪色", "holds_own_name"),
        ("张·小·红", "holds_own_name"),
        ("微信 Xiao-Hong 88", "holds_own_im"),
        ("卡上写着 ｖｉｐ００１２３４５", "holds_own_card_no"),
        ("住南京东路100号", ""),
        ("住南京东路一 百号", "holds_own_address"),
        ("小票 2026，1122，0001", "holds_own_receipt_no"),
        ("电话是138，0000，0001", "holds_own_phone"),
        ("电话是一三八、零零零零、零零零一", "holds_own_phone"),
    ],
)
def test_nor_may_it_hold_anything_of_the_cases_own_customer(text: str, code: str):
    found = {error.code for error in objections({"problem": text}, FACTS)}
    assert code in found if code else not found
    assert objections({"problem": without(text, FACTS)}, FACTS) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("顾客张 小 红（电话 138-0000-0001，会员卡 8812345678）称跑绒", "顾客****（电话 ****，会员卡 ****）称跑绒"),
        ("2026-11-23 １３８００００００１２ 来电，穿了 2 次", "2026-11-23 **** 来电，穿了 2 次"),
        ("邮箱hong.z@example.com.cn，微信 Xiao-Hong 88", "邮箱****，微信 ****"),
        ("ｶﾞｸ 说要退 3 件", "**** 说要退 3 件"),
        ("货号 Y-1700 跑绒", "货号 Y-1700 跑绒"),
    ],
)
def test_who_is_asked_reads_all_but_that(text: str, shown: str):
    assert without(text, FACTS, {"customer": {"name": "ガク"}}) == shown


def test_a_short_latin_name_is_found_as_a_word_only():
    facts = {"customer": {"name": "Li"}}
    assert objections({"problem": "quality 问题"}, facts) == []
    assert [error.code for error in objections({"problem": "Ms Li 说褪色"}, facts)] == ["holds_own_name"]


def test_the_door_names_every_field_that_holds_something_and_keeps_nothing(house: House):
    case = solved(house)
    said = refused(house, case, title="张小红的围巾", problem="电话 138 0000 0001", tags=["褪色", "hong@example.com"])
    assert said >= {("title", "holds_own_name"), ("problem", "holds_phone"), ("tags.1", "holds_email")}
    assert {field for field, _ in said} == {"title", "problem", "tags.1"}
    with house.database.reading() as session:
        assert session.exec(select(LibraryRow)).all() == []


def test_neither_a_change_nor_a_reason_brings_a_customer_in(house: House):
    entry = added(house)
    path = f"/library/{entry['entry']}"
    status, said = ask(house, "lin", "PUT", path, {**ENTRY, "version": 1, "solution": "致电 13800000001"})
    assert (status, said["errors"][0]["field"]) == (422, "solution")
    status, said = ask(house, "lin", "POST", f"{path}/remove", {"reason": "写了张小红的名字"})
    assert (status, said["errors"][0]["field"]) == (422, "reason")


# Found


@pytest.mark.parametrize(
    "q",
    [
        "褪色",
        "真丝",
        "围巾",
        "真丝围巾褪色",
        "染到 衬衫",
        "KF-2210",
        "kf2210",
        "ｋｆ 2210",
        "2210",
        "褪",
        "巾",
        "洗涤说明",
    ],
)
def test_an_entry_is_found_by_two_characters_by_more_and_by_codes(house: House, q: str):
    added(house)
    added(house, title="羽绒服跑绒", problem="面料不致密", solution="换新", tags=["跑绒"])
    assert titles(house, f"q={q}") == [ENTRY["title"]]


def test_it_is_found_by_the_codes_of_its_cases_goods_too(house: House):
    added(house, solved(house, goods={"style_no": "Y-1700"}))
    assert titles(house, "q=Y1700") == [ENTRY["title"]]


def test_what_fits_better_comes_first_and_the_latest_first_where_that_is_wanted(house: House):
    added(house, title="衬衫", problem="其中提到褪色", solution="换新", tags=[])
    added(house, title="真丝围巾褪色", problem="围巾", solution="换新", tags=[])
    added(house, title="牛仔裤", problem="褪色", solution="换新", tags=[])
    assert titles(house, "q=围巾褪色")[0] == "真丝围巾褪色"
    assert titles(house, "q=褪色") == ["真丝围巾褪色", "牛仔裤", "衬衫"]
    assert titles(house, "q=褪色&sort=latest") == ["牛仔裤", "真丝围巾褪色", "衬衫"]
    assert titles(house) == ["牛仔裤", "真丝围巾褪色", "衬衫"]


def test_an_entry_that_holds_less_than_half_of_what_is_asked_for_is_not_shown(house: House):
    added(house, title="羊毛大衣", problem="起球", solution="换新", tags=[])
    added(house, title="羊毛衫", problem="缩水", solution="退货", tags=[])
    assert titles(house, "q=羊毛衫缩水退货") == ["羊毛衫"]


def test_tags_meetings_authors_and_cases_narrow_it(house: House):
    case = solved(house)
    added(house, case, tags=["褪色"], for_meeting=True)
    added(house, title="别人写的褪色", actor="chen", tags=["Ａ级"])
    assert titles(house, "tag=褪色") == [ENTRY["title"]]
    assert titles(house, "tag=a级") == ["别人写的褪色"]
    assert titles(house, "for_meeting=true") == [ENTRY["title"]]
    assert titles(house, "author=chen&q=褪色") == ["别人写的褪色"]
    assert titles(house, f"case={case}") == [ENTRY["title"]]
    assert ask(house, "lin", "GET", "/library?tags=褪色")[0] == 422


@pytest.mark.parametrize("query", ["q=褪色&", "", "q=褪色&sort=latest&"])
def test_pages_show_every_entry_once(house: House, query: str):
    for n in range(5):
        added(house, title=f"第{n}件褪色" + "褪色" * (n % 2))
    seen, cursor = [], ""
    while True:
        page = ask(house, "lin", "GET", f"/library?{query}limit=2{cursor}")[1]
        assert page["more"] == 5 - len(seen) - len(page["items"])
        seen += [entry["entry"] for entry in page["items"]]
        if not page["cursor"]:
            break
        cursor = f"&cursor={page['cursor']}"
    assert len(seen) == len(set(seen)) == 5


def test_an_empty_list_says_what_to_do_next(house: House):
    assert "POST /api/library" in ask(house, "lin", "GET", "/library?q=褪色")[1]["hint"]
    added(house)
    nothing = ask(house, "lin", "GET", "/library?q=貂皮", **{"Accept-Language": "en"})[1]
    assert nothing["items"] == []
    assert "shorter" in nothing["hint"]
    assert ask(house, "lin", "GET", "/library?q=褪色")[1]["hint"] is None
    assert ask(house, "lin", "GET", "/library?cursor=nonsense")[0] == 422
    assert ask(house, "lin", "GET", "/library?q=%00")[0] == 422
    assert ask(house, "lin", "GET", "/library?q=，。")[1]["items"] == []


def test_words_are_pairs_of_characters_and_runs_of_letters_and_digits():
    assert list(words_of("T恤褪色，KF-2210。")) == ["t", "恤褪", "褪色", "色", "kf", "2210"]


# Similar


def test_what_is_like_a_case_is_offered_while_it_is_being_solved(house: House):
    added(house)
    added(house, title="羽绒服跑绒", problem="绒从针眼钻出", solution="换新", tags=["跑绒"])
    added(house, title="牛仔裤开线", problem="裤脚开线", solution="维修", tags=["开线"])
    case = opened(house, "NOW", content="围巾洗了一次就褪色，把领口染了", customer={"name": "李四"})
    status, page = ask(house, "lin", "GET", f"/cases/{case}/similar")
    assert status == 200
    assert [entry["title"] for entry in page["items"]] == [ENTRY["title"]]
    assert ask(house, "oa-sh01", "GET", f"/cases/{case}/similar")[0] == 403


def test_the_goods_count_too_and_a_cases_own_entry_does_not(house: House):
    case = solved(house, content="褪色", goods={"style_no": "Y-1700"})
    added(house, case)
    other = added(
        house, solved(house, "OA-2", goods={"style_no": "Y-1700"}), title="掉扣", problem="掉扣", solution="补扣"
    )
    page = ask(house, "lin", "GET", f"/cases/{case}/similar")[1]
    assert [entry["entry"] for entry in page["items"]] == [other["entry"]]


async def test_a_case_counts_as_it_was_corrected(office: Office):
    """Its entry is found by the style it was about, and it finds what is like the matter it is."""
    case = await office.open(goods={"style_no": "Y-1700"})
    await office.hand_in(case, "amend", goods={"style_no": "ZX-771"})
    await office.walk(case)
    other = await office.open(content="顾客来店")
    await office.hand_in(other, "amend", content="真丝围巾水洗一次就褪色")
    async with office.api() as lin:
        assert (await lin.post("/api/library", json={"case": case, **ENTRY})).status_code == 201
        assert len((await lin.get("/api/library", params={"q": "ZX-771"})).json()["items"]) == 1
        assert (await lin.get("/api/library", params={"q": "1700"})).json()["items"] == []
        similar = (await lin.get(f"/api/cases/{other}/similar")).json()["items"]
    assert [entry["title"] for entry in similar] == [ENTRY["title"]]


async def test_an_entry_is_found_by_what_its_case_was_corrected_to_since(office: Office):
    """It may be added before the closing form is in: the category and the goods are those that the case has by now; of what is
    undecided or was refused it is found by nothing."""
    case = await office.open(category="质量/起球", goods={"style_no": "Y-1700"})
    await office.walk(case, until="callback")
    other = await office.open(category="服务", content="到店退货")
    async with office.api() as lin:

        async def found(q: str) -> int:
            return len((await lin.get("/api/library", params={"q": q})).json()["items"])

        assert (await lin.post("/api/library", json={"case": case, **ENTRY})).status_code == 201
        assert (await found("起球"), await found("尺码"), await found("1700")) == (1, 0, 1)
        sent = office.commit(case, "amend", category="尺码", goods={"style_no": "ZX-771"})
        assert (await found("起球"), await found("尺码")) == (1, 0), "it is not decided yet"
        await office.relay.deliver(case)
        assert office.submission(sent.submission).state == "decided"
        assert [await found(q) for q in ("起球", "尺码", "1700", "ZX-771")] == [0, 1, 0, 1]
        assert await found("褪色") == 1, "its own words stay"
        assert (await lin.get(f"/api/cases/{other}/similar")).json()["items"] == []
        await office.hand_in(other, "amend", category="尺码")
        similar = (await lin.get(f"/api/cases/{other}/similar")).json()["items"]
        assert [entry["case"] for entry in similar] == [case]
        office.commit(case, "record", finding="尺码不符")
        late = office.commit(case, "amend", category="质量/起球")
        await office.relay.deliver(case)
        assert office.submission(late.submission).state == "refused"
        assert [await found(q) for q in ("起球", "尺码")] == [0, 1]


def test_where_nothing_is_like_it_the_list_says_so(house: House):
    case = opened(house, "NOW")
    assert "收入" in ask(house, "lin", "GET", f"/cases/{case}/similar")[1]["hint"]


# Changed and removed


def test_a_change_is_found_by_its_new_words_and_its_versions_are_kept(house: House):
    entry = added(house)
    changed = {**ENTRY, "title": "围巾起球", "problem": "起球", "tags": []}
    status, now = ask(house, "lin", "PUT", f"/library/{entry['entry']}", {**changed, "version": 1})
    assert (status, now["version"]) == (200, 2)
    assert titles(house, "q=起球") == ["围巾起球"]
    assert titles(house, "q=褪色") == []
    assert titles(house, "tag=褪色") == []
    assert [(one["version"], one["what"], one["by"], one["data"]["title"]) for one in now["changes"]] == [
        (1, "added", "lin", ENTRY["title"]),
        (2, "changed", "lin", "围巾起球"),
    ]


def test_the_author_and_the_manager_change_it_and_nobody_else(house: House):
    path = f"/library/{added(house)['entry']}"
    status, said = ask(house, "chen", "PUT", path, {**ENTRY, "version": 1})
    assert (status, said["code"]) == (403, "not_your_entry")
    assert ask(house, "chen", "POST", f"{path}/remove", {"reason": "重复"})[0] == 403
    assert ask(house, "wang", "PUT", path, {**ENTRY, "version": 1})[0] == 200


def test_who_changes_an_old_version_is_told_so(house: House):
    path = f"/library/{added(house)['entry']}"
    assert ask(house, "lin", "PUT", path, {**ENTRY, "version": 1})[0] == 200
    status, said = ask(house, "lin", "PUT", path, {**ENTRY, "version": 1})
    assert (status, said["code"]) == (409, "entry_changed")


def test_a_removed_entry_is_gone_with_all_its_texts_and_its_case_may_be_added_anew(house: House):
    case = solved(house)
    path = f"/library/{added(house, case, for_meeting=True)['entry']}"
    status, gone = ask(house, "wang", "POST", f"{path}/remove", {"reason": "与另一条重复"})
    assert (status, gone["title"], gone["removed_because"]) == (200, "", "与另一条重复")
    assert [(one["what"], one["by"], one["data"]) for one in gone["changes"]] == [
        ("added", "lin", {}),
        ("removed", "wang", {}),
    ]
    assert titles(house) == titles(house, "q=褪色") == titles(house, "tag=褪色") == []
    assert ask(house, "lin", "GET", "/library/agenda")[1]["items"] == []
    with house.database.reading() as session:
        assert session.exec(select(LibraryWordRow)).all() == []
    assert ask(house, "lin", "PUT", path, {**ENTRY, "version": 2})[1]["code"] == "entry_removed"
    assert ask(house, "lin", "POST", f"{path}/remove", {"reason": "再来"})[1]["code"] == "entry_removed"
    added(house, case)
    assert titles(house) == [ENTRY["title"]]


# The Friday meeting


def agenda(house: House, now: datetime) -> Any:
    wang = house.people.person("wang")
    assert wang
    with house.database.reading() as session:
        return LibraryViews(Views(session, house.keys, house.calendar, wang, now, house.people)).agenda()


def marked(house: House, title: str, at: datetime) -> int:
    entry = added(house, title=title, for_meeting=True)["entry"]
    with house.database.writing() as session:
        session.get_one(LibraryRow, entry).marked_at = at
    return int(entry)


def test_the_agenda_holds_what_was_marked_since_last_friday_and_what_was_not_come_to(house: House):
    wednesday = datetime(2026, 11, 25, 4, tzinfo=UTC)
    marked(house, "本周的", wednesday - DAY)
    marked(house, "上周五的", datetime(2026, 11, 19, 17, tzinfo=UTC))  # Friday already in Shanghai
    marked(house, "没有讨论到的", datetime(2026, 11, 19, 15, tzinfo=UTC))
    added(house, title="不在议题上")
    shown = agenda(house, wednesday)
    assert (str(shown.meeting), str(shown.since)) == ("2026-11-27", "2026-11-20")
    assert [(item.title, item.carried_over) for item in shown.items] == [
        ("没有讨论到的", True),
        ("上周五的", False),
        ("本周的", False),
    ]


@pytest.mark.parametrize(("days", "meeting"), [(0, "2026-11-27"), (1, "2026-12-04"), (7, "2026-12-04")])
def test_on_a_friday_the_meeting_is_today(house: House, days: int, meeting: str):
    assert str(agenda(house, datetime(2026, 11, 27, 10, tzinfo=UTC) + timedelta(days=days)).meeting) == meeting


def test_what_was_discussed_is_marked_off_once_and_may_come_back(house: House):
    entry = added(house, for_meeting=True)
    path = f"/library/{entry['entry']}"
    assert [one["entry"] for one in ask(house, "sun", "GET", "/library/agenda")[1]["items"]] == [entry["entry"]]
    assert ask(house, "sun", "POST", f"{path}/discussed")[0] == 403
    status, done = ask(house, "chen", "POST", f"{path}/discussed")
    assert (status, done["for_meeting"], bool(done["discussed_at"])) == (200, False, True)
    assert ask(house, "chen", "POST", f"{path}/discussed")[1]["code"] == "not_on_agenda"
    assert "for_meeting" in ask(house, "lin", "GET", "/library/agenda")[1]["hint"]
    again = ask(house, "lin", "PUT", path, {**ENTRY, "for_meeting": True, "version": 2})[1]
    assert (again["for_meeting"], again["discussed_at"]) == (True, None)
    assert again["marked_at"] > entry["marked_at"]


def test_the_agenda_comes_in_pages(house: House):
    for n in range(3):
        added(house, title=f"议题{n}", for_meeting=True)
    first = ask(house, "lin", "GET", "/library/agenda?limit=2")[1]
    rest = ask(house, "lin", "GET", f"/library/agenda?limit=2&cursor={first['cursor']}")[1]
    assert [one["title"] for page in (first, rest) for one in page["items"]] == ["议题0", "议题1", "议题2"]
    assert (first["more"], rest["more"], rest["cursor"]) == (1, 0, None)


# The commands


@ON_SQLITE
def test_the_command_line_looks_shows_and_lists_the_agenda(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    entry = added(house, for_meeting=True)
    monkeypatch.setenv("KEFU_DATA", str(house.settings.data))
    monkeypatch.setenv("KEFU_DATABASE_URL", house.settings.database_url.get_secret_value())  # type: ignore[union-attr]
    monkeypatch.setenv("KEFU_KEYS", KEYS)
    for arguments, said in (
        (["library", "褪色"], "洗涤说明"),
        (["library", "貂皮"], "换短一些的词"),
        (["library", "--entry", str(entry["entry"])], ENTRY["solution"]),
        (["agenda"], "例会的议题"),
    ):
        kefu([*arguments, "--as", "lin"], standalone_mode=False)
        assert said in capsys.readouterr().out.replace("\n", "")
    with pytest.raises(SystemExit, match="不能查看"):
        kefu(["library", "--as", "admin"], standalone_mode=False)
