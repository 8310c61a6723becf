"""The command line of the department: what it shows, whose it is, and what it says of what it does not know."""

import asyncio
import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from activities.people import SAMPLE, BadDirectory, read_directory
from models import words as catalogue
from settings import House
from starter.__main__ import app
from starter.commands import terminal, work
from tests.office import HOUR, Office
from tests.terminals import wide_and_chinese

FULL_WIDTH = re.compile(r"[\u3000-\u303f\uff00-\uffef]")


@pytest.fixture(autouse=True)
def _a_wide_terminal_of_a_chinese_reader(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    wide_and_chinese(house, monkeypatch, work)


async def kefu(*words: str) -> Result:
    """Run a command as somebody at a terminal would, beside the office's own loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


async def test_a_case_is_shown_with_its_facts_by_its_number(office: Office):
    case = await office.open(
        form_no="YL-1", channel="im", received_at=(office.now() - 27 * HOUR).isoformat(), goods={"price": "899"}
    )
    await office.hand_in(case, "reply", content="已致歉[b]")
    due = (office.now() + 100 * HOUR).astimezone(office.house.calendar)
    await office.hand_in(case, "extend", by="wang", task="solution", due_at=due.isoformat(), reason="等检测")
    await office.hand_in(case, "reassign", by="wang", task="solution", person="chen", reason="休假")
    shown = (await kefu("show", "YL-1", "--as", "lin")).output
    for line in (
        f"工单 {case}  单号 YL-1  客诉 · 上海南京东路店  处理中",
        "  投诉渠道: 在线聊天",
        "  投诉内容: 羽绒服穿了两次就跑绒",
        "  顾客姓名: 张小红",
        "  价格: 899",
        "    回复内容: 已致歉[b]",
        f"    截止时间: {due:%Y-%m-%d %H:%M}",
        "    原因: 等检测",
        "    经办人: 陈静",
    ):
        assert line in shown.splitlines(), shown
    assert "完成 回复  林晓  迟交 3 小时" in shown
    assert "逾期上报 回复  → " in shown
    assert "通知 解决方案  → 林晓" in shown
    assert "通知 解决方案  → 陈静" in shown
    administrator = (await kefu("show", case, "--as", "admin")).output
    assert "张小红" not in administrator
    assert "已致歉" not in administrator
    assert "您的岗位不能查看" in administrator


async def test_what_was_corrected_is_marked_and_the_opening_says_what_it_was(office: Office):
    case = await office.open(form_no="YL-1", customer={"name": "张小红", "phone": "13800000001"})
    assert "更正" not in (await kefu("show", "YL-1", "--as", "lin")).output
    await office.hand_in(case, "amend", by="oa-sh01", customer={"phone": "13900000002"}, demand="要求退款")
    shown = (await kefu("show", "YL-1", "--as", "lin")).output.splitlines()
    for line in ("  联系电话（更正）: 13900000002", "  顾客诉求（更正）: 要求退款", "  顾客姓名: 张小红"):
        assert line in shown, shown
    opened = next(nth for nth, line in enumerate(shown) if line.endswith("  登记  南京东路店"))
    before = [line for line in shown[opened + 1 : opened + 3] if line.startswith("    ")]
    assert before == ["    联系电话: 13800000001"], "what it left open it does not say"
    assert "    联系电话: 13900000002" in shown[opened + 2 :]


async def test_who_reads_english_meets_no_full_width_punctuation(office: Office, monkeypatch: pytest.MonkeyPatch):
    """A second proposal, a breach that two heard of, a question: in a case, a list, an inbox and a refusal."""
    for module in (terminal, work):
        monkeypatch.setattr(module, "LANGUAGE", "en")
    case = await office.open(form_no="YL-1")
    await office.hand_in(case, "solution", **office.SOLUTION)
    await office.hand_in(case, "consent", accepted=False)
    await office.pass_time(25 * HOUR)
    said = [
        (await kefu(*words, "--as", by)).output
        for by in ("lin", "wang")
        for words in (("show", case), ("tasks",), ("inbox",), ("hand-in", case, "nothing"))
    ]
    assert "solution (2)" in said[0]
    assert "→ 林晓, 王经理" in said[0]
    assert not [text for text in said if FULL_WIDTH.search(text)]
    sections = tomllib.loads(Path(catalogue.__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    assert not [
        english for section in sections.values() for _, english, *_ in section.values() if FULL_WIDTH.search(english)
    ]


async def test_tasks_are_ones_own_and_a_managers_everybodys(office: Office):
    await office.open(form_no="YL-1", store="SH01")
    await office.open(form_no="YL-2", store="GZ01", by="oa-gz01")
    own = (await kefu("tasks", "--as", "lin")).output
    assert ("YL-1" in own, "YL-2" in own) == (True, False)
    for name in ("客诉 · 上海南京东路店", "林晓", "单号"):
        assert name in own
    everybodys = [await kefu("tasks", "--as", "lin", "--all"), await kefu("tasks", "--as", "wang")]
    for answer in everybodys:
        assert "YL-1" in answer.output
        assert "YL-2" in answer.output
    chens = (await kefu("tasks", "--as", "lin", "--owner", "chen")).output
    assert ("YL-1" in chens, "YL-2" in chens) == (False, True)


@pytest.mark.parametrize("command", ["tasks", "cases"])
async def test_a_list_says_how_much_it_left_out_and_goes_on(office: Office, command: str):
    for _ in range(3):
        await office.open()
    first = (await kefu(command, "--as", "wang", "--limit", "2")).output
    assert f"还有 {7 if command == 'tasks' else 1} 条" in first
    cursor = first.rsplit("--cursor ", 1)[1].strip()
    last = (await kefu(command, "--as", "wang", "--cursor", cursor)).output
    assert "OA-0003" in last
    assert "还有" not in last


async def test_an_inbox_says_how_much_it_left_out(office: Office):
    for _ in range(2):
        case = await office.open()
        await office.hand_in(case, "reassign", by="wang", task="reply", person="chen", reason="休假")
    shown = (await kefu("inbox", "--as", "chen", "--limit", "1")).output
    assert "已转派给您" in shown
    assert "还有 " in shown


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("tasks", "--state", "closed"), "withdrawn"),
        (("cases", "--state", "done"), "archived"),
        (("tasks", "--owner", "林晓"), "lin, chen"),
        (("cases", "--owner", "ghost"), "lin, chen"),
        (("show", "YL-9"), "没有编号为 YL-9 的工单"),
        (("hand-in", "YL-9", "reply", "content=x"), "没有编号为 YL-9 的工单"),
    ],
)
async def test_what_is_not_there_is_said_with_what_there_is(closed_office: Office, command: tuple[str, ...], said: str):
    answer = await kefu(*command, "--as", "lin")
    assert answer.exit_code != 0
    assert said in str(answer.exception) + answer.output


async def test_a_form_is_handed_in_by_the_names_on_the_screens(office: Office):
    case = await office.open(form_no="YL-1")
    taken = await kefu(
        "hand-in", "YL-1", "解决方案", "--as", "lin", "task=解决方案", "steps=换", "effect=好", "remedy=exchange"
    )
    assert taken.exit_code == 0, (taken.output, taken.exception)
    assert case in taken.output
    sent = office.submission(taken.output.split()[-1])
    assert (sent.form, sent.task) == ("solution", "solution")
    unknown = await kefu("hand-in", "YL-1", "赔钱", "--as", "lin")
    assert "reply（回复）" in str(unknown.exception)


async def test_what_a_customer_demands_is_handed_in_and_shown_in_words(office: Office):
    case = await office.open()
    await office.walk(case, until="solution")
    no = ("hand-in", case, "consent", "--as", "lin", "accepted=false", "demand_amount=900")
    wrong = await kefu(*no, "demand_remedy=cash")
    assert "demand_remedy: " in str(wrong.exception)
    assert "refund（退款）" in str(wrong.exception)
    yes = await kefu("hand-in", case, "consent", "--as", "lin", "accepted=true", "demand_amount=900")
    assert "demand_amount: 顾客既同意又另有要求" in str(yes.exception)
    taken = await kefu(*no, "demand_remedy=refund")
    assert taken.exit_code == 0, (taken.output, taken.exception)
    await office.relay.deliver(case)
    assert "decision" in office.open_tasks(case)
    shown = (await kefu("show", case, "--as", "wang")).output.splitlines()
    assert {"    要求金额: 900", "    要求处理方式: 退款"} <= set(shown)


async def test_the_survey_is_handed_in_and_shown_with_its_questions(office: Office):
    case = await office.open()
    await office.walk(case, until="execution")
    said = ("survey.0.question=speed", "survey.0.score=4", "survey.1.question=solved", "survey.1.yes=true")
    wrong = await kefu(
        "hand-in", case, "callback", "--as", "lin", "outcome=satisfied", "satisfaction=5", "survey.0.question=x"
    )
    assert "survey.0.question: 调查中没有这个问题；有：speed, attitude, solved, wish" in str(wrong.exception)
    await kefu("hand-in", case, "callback", "--as", "lin", "outcome=satisfied", "satisfaction=5", *said)
    await office.relay.deliver(case)
    shown = (await kefu("show", case, "--as", "lin")).output
    assert "满意度调查: 对回复的及时性是否满意  4" in shown
    assert "满意度调查: 问题是否已经解决  是" in shown
    async with office.api() as lin:
        asked = (await lin.get(f"/api/cases/{case}")).json()["survey"]
    assert [(question["code"], question["way"]) for question in asked] == [
        ("speed", "score"),
        ("attitude", "score"),
        ("solved", "yes_no"),
        ("wish", "text"),
    ]


async def test_who_is_asked_is_told_how_to_answer_and_what_he_types_is_taken(
    office: Office, monkeypatch: pytest.MonkeyPatch
):
    case = await office.open()
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次还有吗")
    told = (await kefu("inbox", "--as", "shang")).output.replace("\n", "")
    assert f"kefu hand-in {case} assist" in told
    async with office.api("shang") as door:
        link = (await door.get("/api/notices")).json()["items"][0]["answer"]
    for pages in (None, "https://kefu.example.com"):
        monkeypatch.setenv("KEFU_LINK", pages or "")
        lines = (await kefu("inbox", "--as", "shang")).output.splitlines()
        assert f"部门答复（{case}）的答复链接：{pages or ''}{link}" in lines, "whole, whatever the table's width"
    assert "答复链接" not in (await kefu("inbox", "--as", "lin")).output
    shown = (await kefu("show", case, "--as", "shang")).output
    assert "协助事项: 同批次还有吗" in shown
    assert "羽绒服穿了两次就跑绒" in shown
    assert "张小红" not in shown
    await office.hand_in(case, "ask_department", department="store", store="SH02", question="别店还有吗")
    await office.hand_in(case, "assist", by="oa-sh02", answer="还有两件")
    for words in (("show", case), ("tasks",)):
        narrow = (await kefu(*words, "--as", "shang")).output
        assert "部门答复" in narrow
        for others in ("别店还有吗", "还有两件", "五角场店", "解决方案", "林晓"):
            assert others not in narrow.replace("登记  林晓", ""), (words, others)
    await kefu("hand-in", case, "assist", "--as", "shang", "answer=没有")
    await office.relay.deliver(case)
    assert office.tasks(case)["assist"].done_by == "shang"


async def test_a_field_that_does_not_hold_is_said_without_its_value(closed_office: Office):
    unknown = await kefu("open", "complaint", "--as", "lin", "form_no=YL-1", "customer.13800000001=x", "store=SH99")
    assert "13800000001" not in str(unknown.exception)
    assert "name, phone" in str(unknown.exception)
    store = [f"{name}={value}" for name, value in closed_office.complaint(store="SH99").items() if name != "customer"]
    answer = await kefu("open", "complaint", "--as", "lin", *store, "customer.name=辰")
    assert str(answer.exception) == "store: 通讯录中没有这个门店代码"
    both = await kefu("open", "complaint", "--as", "lin", "customer=x", "customer.name=辰")
    assert "customer.name" in str(both.exception)


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(hours=3, seconds=20), "3 小时"),
        (timedelta(days=2, hours=4, minutes=5), "2 天 4 小时"),
        (timedelta(seconds=2), "1 分钟"),
    ],
)
def test_a_span_is_said_in_its_two_largest_units(length: timedelta, said: str):
    assert terminal.span(length) == said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KEFU_ZONE", "Mars", "KEFU_ZONE: 不是时区名"),
        ("KEFU_HOST", "192.168.1.5", "KEFU_HOST: 只能是本机地址"),
        ("KEFU_PORT", "x", "KEFU_PORT: 应为整数"),
        ("KEFU_PORT", "70000", "KEFU_PORT: 不能大于 65533"),
        ("KEFU_DATABASE_URL", "mysql://secret@here", "KEFU_DATABASE_URL: 应写作 postgresql+psycopg://"),
    ],
)
def test_a_setting_that_does_not_hold_is_said_in_the_readers_language(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
):
    monkeypatch.setenv(name, value)
    answer = CliRunner().invoke(app, ["tasks", "--as", "lin"])
    assert str(answer.exception).startswith(said)
    assert "secret" not in str(answer.exception)


@pytest.mark.parametrize(
    ("sent", "zh", "en"),
    [
        (
            ("decision", "wang", {"verdict": "maybe"}),
            "只能是：approve（同意）、reject（不同意）、instruct（另行指示）",
            "must be one of approve, reject, instruct",
        ),
        (
            ("ask_department", "lin", {"department": "x", "question": "x"}),
            "人力资源部",
            "personnel (human resources), store (another store)",
        ),
    ],
)
async def test_a_refused_code_is_said_with_those_that_may_be_typed_and_what_they_are_called(
    office: Office, sent: tuple[str, str, dict[str, str]], zh: str, en: str
):
    form, by, fields = sent
    async with office.api(by) as door:
        path = f"/api/cases/complaint/{await office.open()}/{form}"
        said = [(await door.post(path, json=fields, headers={"Accept-Language": one})).text for one in ("zh", "en")]
    assert zh in said[0]
    assert en in said[1]


async def test_which_of_several_tasks_is_asked_with_their_names(office: Office):
    case = await office.open()
    for question in ("批次？", "颜色？"):
        await office.hand_in(case, "ask_department", department="merchandise", question=question)
    async with office.api("shang") as shang:
        path = f"/api/cases/complaint/{case}/assist"
        said = [
            (await shang.post(path, json={"answer": "没有"}, headers={"Accept-Language": one})).json()["detail"]
            for one in ("zh", "en")
        ]
    assert said == [
        "有几项待办可以提交，请用 task 指明是哪一项：assist（部门答复）、assist-2（部门答复（2））。",
        "Several tasks are open; say which with task: assist (department's answer), assist-2 (department's answer (2)).",
    ]


@pytest.mark.parametrize("department", ["", ', department = "merchandize"'])
def test_a_contact_of_no_department_is_refused(tmp_path: Path, department: str):
    """Otherwise a question to the department would quietly go to the manager."""
    file = tmp_path / "directory.toml"
    person = f'people = [{{ id = "gou", name = "采购", role = "contact"{department} }},'
    file.write_text(SAMPLE.read_text().replace("people = [", person))
    with pytest.raises(
        BadDirectory, match=r"gou 是部门联系人.*merchandise（商品中心）、brand.* · person gou is a contact"
    ):
        read_directory(file)


def test_a_directory_or_a_ledger_that_does_not_fit_is_said_in_the_readers_language(house: House):
    with house.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = 'made_up'")
    schema = CliRunner().invoke(app, ["tasks", "--as", "lin"])
    assert str(schema.exception).startswith("台账的结构不是这个版本的")
    directory = house.settings.data / "directory.toml"
    directory.write_text('people = [{id = "a", name = "甲", role = "owner"}]', encoding="utf-8")
    people = CliRunner().invoke(app, ["tasks", "--as", "lin"])
    assert "a 的岗位不能是 owner 或 system · person a cannot" in str(people.exception)
