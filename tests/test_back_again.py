"""A customer who is back with what was closed (handbook 5.2 E26): soon, his case is opened again; later, a new one names it."""

from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from models.complaint import COMPLAINT
from models.complaint.facts import Complaint
from models.tables import ArchiveRow, DeadlineRow, EventRow, NoticeRow, SubmissionRow, TaskRow
from models.tasks import Outcome
from starter.front import Front
from starter.refusals import Conflict, Forbidden, Invalid, NotFound
from starter.reseal import reseal
from starter.watching.doctor import examine
from tests.conftest import KEYS
from tests.office import DAY, HOUR, Office, eventually
from tests.test_keys import NEW, seen_with
from tests.test_papers import text_of

AGAIN: dict[str, Any] = {"content": "新换的又跑绒", "channel": "phone"}


async def closed(office: Office, **facts: Any) -> str:
    """A case that went the whole way."""
    case = await office.open(**facts)
    await office.walk(case)
    assert office.case(case).state == "archived"
    return case


async def wrong_with(office: Office, case: str) -> list[str]:
    """What the doctor says of a case, the engine's run asked what it knows."""
    found = await examine(office.front, office.now() - 90 * DAY, office.now() + HOUR, office.now())
    return [fault.kind for fault in found.faults if fault.case == case]


def everything_of(office: Office, case: str) -> list[Any]:
    tables = (SubmissionRow, EventRow, TaskRow, DeadlineRow, NoticeRow)
    return [row.model_dump() for table in tables for row in office.rows(table, case)]


async def walk_again(office: Office, case: str) -> None:
    for form, fields in {
        "reply": {"content": "再次致歉"},
        "solution": office.SOLUTION,
        "consent": {"accepted": True},
        "execution": {"content": "退货"},
        "callback": {"outcome": "satisfied", "satisfaction": 4},
        "record": {"finding": "同批次"},
    }.items():
        assert (await office.hand_in(case, form, **fields)).state == "decided", form


async def test_e26_soon_after_the_closing_the_case_itself_is_open_again_with_fresh_clocks(office: Office):
    case = await closed(office)
    first = office.case(case)
    await office.pass_time(5 * DAY)
    came = office.now()
    receipt = await office.hand_in(case, "back_again", by="oa-sh01", **AGAIN)
    row = office.case(case)
    assert (receipt.state, row.state, row.closed_at, row.closed_because, row.cycle) == (
        "decided",
        "open",
        None,
        None,
        2,
    )
    tasks = {key: task for key, task in office.tasks(case).items() if task.state == "open"}
    assert tasks.keys() == {"reply-2", "solution-2", "callback-2", "completion-2"}
    dues = {key: round((task.due_at - came) / HOUR) for key, task in tasks.items()}
    assert dues == {"reply-2": 24, "solution-2": 48, "callback-2": 7 * 24, "completion-2": 48}
    assert {task.due_because["anchor"] for task in tasks.values()} == {"back_again"}
    assert {task.owner for task in tasks.values()} == {"lin"}
    assert office.rows(ArchiveRow, case) == [], "an open case has no archive"
    assert office.heard(case, "wang") == ["back_again/None"]
    assert office.heard(case, "lin")[-1] == "reopened/None", "one notice, not one for each task"
    with office.house.database.reading() as session:
        assert session.get_one(SubmissionRow, receipt.submission).state == "decided"
    await walk_again(office, case)
    row = office.case(case)
    assert (row.state, row.closed_because, row.id) == ("archived", "completed", first.id)
    assert row.closed_at > came
    assert len(office.rows(ArchiveRow, case)) == 1
    kinds = [event.kind for event in office.events(case) if event.kind in ("opened", "archived", "reopened", "cycle")]
    assert kinds == ["opened", "archived", "reopened", "cycle", "archived"]
    assert await wrong_with(office, case) == []


async def test_e26_the_reply_of_who_came_back_is_late_like_any_other(office: Office):
    case = await closed(office)
    await office.pass_time(DAY)
    await office.hand_in(case, "back_again", **AGAIN)
    await office.pass_time(25 * HOUR)
    assert office.heard(case, "wang") == ["back_again/None", "overdue/reply-2"]
    assert (await office.hand_in(case, "reply", content="致歉")).state == "decided"


async def test_e26_the_third_time_the_director_hears(office: Office):
    case = await closed(office)
    for _ in range(2):
        await office.pass_time(3 * DAY)
        await office.hand_in(case, "back_again", **AGAIN)
        await walk_again(office, case)
    assert (office.case(case).cycle, office.case(case).state) == (3, "archived")
    assert office.heard(case, "sun") == ["back_again/None"]
    assert office.heard(case, "wang") == ["back_again/None"] * 2
    assert "record-3" in office.tasks(case)


async def test_e26_a_form_with_a_number_of_its_own_that_names_the_case_opens_it_again_and_leads_to_it(office: Office):
    """As a store's system sends it: the same number again is the same submission, and finds the case wherever one looks."""
    case, other = await closed(office), office.case(await office.open()).number
    number = office.case(case).number
    await office.pass_time(2 * DAY)
    facts = office.complaint(earlier=number, content="又跑绒了", received_at=(office.now() - 2 * HOUR).isoformat())
    async with office.api("oa-sh01") as door:
        sent = await door.post("/api/cases/complaint", json=facts)
        assert (sent.status_code, sent.json()["case"]) == (201, case)
        again = await door.post("/api/cases/complaint", json=facts)
        assert (again.status_code, again.json()["submission"]) == (200, sent.json()["submission"])
        for otherwise in ({"content": "别的事"}, {"earlier": None}, {"earlier": other}, {"purchased_on": "2026-01-02"}):
            refused = await door.post("/api/cases/complaint", json=facts | otherwise)
            assert (refused.status_code, refused.json()["code"]) == (409, "number_taken"), otherwise
    async with office.api() as door:
        refused = await door.post("/api/cases/complaint", json=facts | {"store": "SH02"})
        assert (refused.status_code, refused.json()["code"]) == (409, "number_taken")
    assert office.case(case).cycle == 2
    due = office.tasks(case)["reply-2"]
    assert due.due_because["anchor"] == "received_at"
    assert round((due.due_at - office.now()) / HOUR) == 22, "from receipt, however late it is typed"
    async with office.api() as door:
        [listed] = (await door.get("/api/cases", params={"q": facts["form_no"]})).json()["items"]
        seen = (await door.get(f"/api/cases/{case}")).json()
    assert (listed["case"], seen["also_numbered"]) == (case, [facts["form_no"]])
    [said] = [entry["content"] for entry in seen["timeline"] if entry["kind"] == "reopened"]
    assert (said["content"], said["form_no"]) == ("又跑绒了", facts["form_no"])
    await walk_again(office, case)
    later = await office.open(earlier=facts["form_no"])
    assert later == case, "the second number leads there, too"
    assert office.case(case).cycle == 3


async def test_e26_a_major_case_stays_so_where_the_form_of_who_is_back_says_nothing_of_it(office: Office):
    case = await closed(office, severity="major")
    await office.pass_time(DAY)
    assert await office.open(earlier=office.case(case).number, purchased_on="2026-01-02") == case
    async with office.api() as door:
        seen = (await door.get(f"/api/cases/{case}")).json()
    assert (seen["facts"]["severity"], seen["facts"]["purchased_on"]) == ("major", "2026-01-02")
    assert seen["corrected"] == ["purchased_on"], "which the first form left open"


async def test_e26_later_and_at_another_store_it_is_a_new_case_that_is_linked(office: Office):
    """After 30 days a new matter; at another store, whoever types it, a case of its own that counts on."""
    case = await closed(office)
    number = office.case(case).number
    for by in ("oa-sh02", "lin"):
        elsewhere = await office.open(by=by, store="SH02", earlier=number)
        assert (elsewhere != case, office.case(elsewhere).cycle, office.case(elsewhere).store) == (True, 2, "SH02")
        assert office.heard(elsewhere, "wang") == ["back_again/None"]
    await office.pass_time(31 * DAY)
    later = await office.open(earlier=number)
    assert (later != case, office.case(later).cycle, office.case(case).state) == (True, 1, "archived")
    assert office.heard(later, "wang") == ["back_again/None"]
    with pytest.raises(Conflict) as refused:
        await office.hand_in(case, "back_again", **AGAIN)
    assert refused.value.code == "closed_too_long"
    with pytest.raises(Invalid) as unknown:
        await office.open(earlier="OA-none")
    assert [(error.field, error.code) for error in unknown.value.errors] == [("earlier", "no_such_other_case")]


async def test_e26_what_is_not_opened_again_says_what_to_do_instead(office: Office):
    case = await office.open()
    other = await office.open()
    for reason, act in (("case_is_open", case),):
        with pytest.raises(Conflict) as refused:
            await office.hand_in(act, "back_again", **AGAIN)
        assert refused.value.code == reason
    await office.hand_in(case, "duplicate", of=other)
    with pytest.raises(Conflict) as refused:
        await office.hand_in(case, "back_again", **AGAIN)
    assert refused.value.code == "closed_for_good"
    assert await office.open(earlier=office.case(case).number) not in (case, other)
    await office.walk(other)
    for wrong, code in (
        (office.case(other).closed_at - HOUR, "came_before_closing"),
        (office.now() + DAY, "past_in_future"),
    ):
        with pytest.raises(Invalid) as invalid:
            await office.hand_in(other, "back_again", **AGAIN, received_at=wrong.isoformat())
        assert [(error.field, error.code) for error in invalid.value.errors] == [("received_at", code)]
    with pytest.raises(NotFound):
        await office.hand_in(other, "back_again", by="oa-sh02", **AGAIN)
    with pytest.raises(Conflict) as taken:
        await office.hand_in(other, "back_again", **AGAIN, form_no=office.case(case).number)
    assert taken.value.code == "number_taken"
    assert office.case(other).state == "archived"


async def test_e26_who_came_soon_and_is_typed_months_later_is_a_typing_mistake_as_at_the_intake(office: Office):
    case = await closed(office)
    came = office.now() + HOUR
    await office.pass_time(91 * DAY)
    with pytest.raises(Invalid) as refused:
        await office.hand_in(case, "back_again", **AGAIN, received_at=came.isoformat())
    assert [(error.field, error.code) for error in refused.value.errors] == [("received_at", "received_too_long_ago")]


@pytest.mark.parametrize(
    ("act", "by"),
    [
        ({"form": "withdraw", "reason": "撤诉"}, "lin"),
        ({"form": "no_agreement", "reason": "不成", "outside_ways_told": True}, "wang"),
    ],
)
async def test_e26_whatever_way_it_ended_it_is_open_again(office: Office, act: dict[str, Any], by: str):
    case = await office.open()
    form, *_ = act.values()
    await office.hand_in(case, form, by=by, **{name: said for name, said in act.items() if name != "form"})
    await office.hand_in(case, "record", finding="无")
    assert office.case(case).state == "archived"
    await office.pass_time(DAY)
    await office.hand_in(case, "back_again", **AGAIN)
    assert office.open_tasks(case) == {"reply-2", "solution-2", "callback-2"}
    await walk_again(office, case)
    assert office.case(case).closed_because == "completed"


async def test_e26_a_query_that_was_answered_comes_back_as_a_complaint(office: Office):
    case = await office.open(kind="query")
    await office.hand_in(case, "reply", content="可以退")
    assert office.case(case).state == "archived"
    await office.pass_time(DAY)
    await office.hand_in(case, "back_again", **AGAIN)
    assert office.open_tasks(case) == {"reply-2"}, "as what it was"
    await office.hand_in(case, "reply", content="还是可以退")
    await office.hand_in(case, "back_again", **AGAIN, kind="complaint")
    assert office.open_tasks(case) == {"reply-3", "solution", "callback"}
    assert office.case(case).taken_for == "complaint"


async def test_e26_what_a_store_had_answered_is_headquarters_when_the_customer_is_back(office: Office):
    handling = {"reply": "店长致歉", "solution": "已换", "supervisor_opinion": "同意"}
    case = await office.open(origin="store", store_handling=handling)
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=4)
    assert office.case(case).state == "archived"
    await office.pass_time(DAY)
    await office.hand_in(case, "back_again", by="oa-sh01", **AGAIN)
    assert office.open_tasks(case) == {"reply", "solution", "callback-2"}
    assert "completion" in office.tasks(case)


async def test_e26_what_the_manager_allowed_before_is_allowed_no_more(office: Office):
    """Each handling has its own approvals; the attempts of the one before do not count either."""
    case = await office.open()
    await office.hand_in(case, "ask_manager", question="可以退吗")
    await office.hand_in(case, "decision", by="wang", verdict="approve", amount_limit="500")
    await office.walk(case)
    await office.pass_time(DAY)
    await office.hand_in(case, "back_again", **AGAIN)
    refund = office.SOLUTION | {"remedy": "refund", "amount": "300"}
    assert (await office.hand_in(case, "solution", **refund)).refusal.code == "beyond_authority"
    await office.hand_in(case, "ask_manager", question="这次呢")
    await office.hand_in(case, "decision", by="wang", verdict="approve", amount_limit="500")
    assert (await office.hand_in(case, "solution", **refund)).state == "decided"


async def test_e26_whom_the_complaint_is_about_does_not_open_it_again_but_what_he_takes_down_of_the_customer_does(
    office: Office,
):
    case = await office.open(about_employee="lin")
    for form, fields in {
        "reply": {"content": "已致歉"},
        "solution": office.SOLUTION,
        "consent": {"accepted": True},
        "execution": {"content": "已换"},
        "callback": {"outcome": "satisfied", "satisfaction": 5},
        "record": {"finding": "服务"},
    }.items():
        await office.hand_in(case, form, by="chen", **fields)
    await office.pass_time(DAY)
    with pytest.raises(Forbidden) as refused:
        await office.hand_in(case, "back_again", **AGAIN)
    assert refused.value.code == "about_yourself"
    assert await office.open(by="lin", earlier=office.case(case).number) == case
    owners = {task.owner for task in office.tasks(case).values() if task.state == "open" and not task.by_itself}
    assert "lin" not in owners


async def test_e26_who_is_back_before_the_closing_form_or_while_an_authority_waits_has_it_handled_once_more(
    office: Office,
):
    """Over for the customer and not closed yet: nobody would owe him anything otherwise."""
    case = await office.open()
    due = office.now() + 20 * DAY
    await office.hand_in(case, "refer", body="12315", reference="1", due_at=due.isoformat())
    await office.walk(case, until="callback")
    assert office.open_tasks(case) == {"record", "external_reply"}
    await office.hand_in(case, "back_again", **AGAIN)
    assert office.open_tasks(case) == {"reply-2", "solution-2", "callback-2", "external_reply"}
    assert (office.case(case).cycle, office.heard(case, "wang")) == (2, ["back_again/None"])
    assert office.heard(case, "lin")[-1] == "reopened/None"
    await walk_again(office, case)
    assert office.open_tasks(case) == {"external_reply"}
    await office.pass_time(DAY)
    assert await office.open(earlier=office.case(case).number) == case
    assert office.open_tasks(case) == {"reply-3", "solution-3", "callback-3", "external_reply"}
    await walk_again(office, case)
    await office.hand_in(case, "external_reply", content="已回函")
    row = office.case(case)
    assert (row.state, row.cycle, row.closed_because) == ("archived", 3, "completed")
    assert await wrong_with(office, case) == []
    await office.pass_time(DAY)
    await office.hand_in(case, "back_again", **AGAIN)
    assert office.case(case).cycle == 4


async def test_e26_who_withdrew_and_is_back_before_the_closing_form(office: Office):
    case = await office.open()
    await office.hand_in(case, "withdraw", reason="撤诉")
    await office.pass_time(HOUR)
    early = (office.now() - 2 * HOUR).isoformat()
    with pytest.raises(Invalid):
        await office.hand_in(case, "back_again", **AGAIN, received_at=early)
    await office.hand_in(case, "back_again", **AGAIN)
    assert office.open_tasks(case) == {"reply-2", "solution-2", "callback-2"}
    before = everything_of(office, case)
    await office.front.reconciler.rebuild(case)
    await eventually(lambda: everything_of(office, case) == before)
    await walk_again(office, case)
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "completed")
    assert await wrong_with(office, case) == []


async def test_e34_the_second_of_two_who_come_at_once_names_an_employee_too(office: Office):
    """It is open again by then: what he owes there goes to another all the same."""
    case = await closed(office)
    await office.pass_time(DAY)
    office.commit(case, "back_again", **AGAIN)
    office.commit(case, "back_again", by="oa-sh01", **AGAIN, about_employee="lin")
    await office.relay.deliver(case)
    assert (office.case(case).cycle, office.case(case).about) == (2, "lin")
    owners = {task.owner for task in office.tasks(case).values() if task.state == "open" and not task.by_itself}
    assert owners == {"wang"}, "nobody else has the region"


# Whatever is down, and whoever is killed


async def test_who_comes_back_while_nobody_is_at_work_is_in_the_ledger_and_what_follows_waits_behind(office: Office):
    """Two send it at once, then comes an answer; a picture would be taken, too. It is open again once, and nothing is lost."""
    case = await closed(office)
    number = office.case(case).number
    await office.pass_time(DAY)
    await office.worker_leaves()
    first = office.commit(case, "back_again", **AGAIN)
    second = office.commit_opening(earlier=number, content="也是又跑绒")
    reply = office.commit(case, "reply", content="致歉")
    assert (second.case, office.case(case).state) == (case, "archived")
    office.front.attachments.admit(case, office.front.actor("lin"))
    await office.worker_comes()
    await office.relay.deliver(case)
    states = {office.submission(sent.submission).state for sent in (first, second, reply)}
    assert (states, office.case(case).cycle) == ({"decided"}, 2)
    assert office.open_tasks(case) == {"solution-2", "callback-2"}
    assert office.heard(case, "wang") == ["back_again/None"]
    assert await wrong_with(office, case) == []


async def test_a_case_that_was_opened_again_is_rebuilt_from_the_ledger_and_nothing_is_written_twice(office: Office):
    case = await closed(office)
    await office.pass_time(DAY)
    await office.hand_in(case, "back_again", **AGAIN)
    await office.hand_in(case, "reply", content="致歉")
    await office.pass_time(50 * HOUR)
    before = everything_of(office, case)
    await office.front.reconciler.rebuild(case)

    async def recalled() -> bool:
        taken = await office.client.get_workflow_handle(case).query("decided", result_type=list[str])
        return set(taken) == {row.id for row in office.rows(SubmissionRow, case)}

    await eventually(recalled)
    assert everything_of(office, case) == before
    await office.hand_in(case, "solution", **office.SOLUTION)
    assert await wrong_with(office, case) == []


async def test_the_answer_is_lost_and_the_run_too_yet_the_case_is_open_again_once(office: Office):
    """Taken by the desk, and the deliverer killed before he wrote so; then the engine forgets the run."""
    case = await closed(office)
    await office.pass_time(DAY)
    receipt = office.commit(case, "back_again", holder="killed", **AGAIN)
    assert receipt.delivery
    await office.relay._answer_to(case, receipt.delivery)
    assert (office.case(case).state, office.submission(receipt.submission).state) == ("open", "pending")
    await office.front.reconciler.rebuild(case)
    await office.pass_time(HOUR)
    await eventually(lambda: office.docket.next_of(case, "other") is not None)
    await office.relay.deliver(case, "other")
    assert office.submission(receipt.submission).state == "decided"
    assert office.open_tasks(case) == {"reply-2", "solution-2", "callback-2"}
    assert office.heard(case, "wang") == ["back_again/None"]
    assert [event.kind for event in office.events(case)].count("reopened") == 1
    assert await wrong_with(office, case) == []


async def test_whoever_is_back_as_the_run_of_his_case_ends_is_not_sent_away(office: Office, monkeypatch):
    """The engine may say that the run takes nothing more: another one is begun, and no number is used up for nothing."""
    case = await closed(office)
    await office.pass_time(DAY)
    send, ended = office.relay._send, RPCError("workflow execution already completed", RPCStatusCode.NOT_FOUND, b"")

    async def ends_once(*sent: Any) -> Outcome:
        monkeypatch.setattr(office.relay, "_send", send)
        raise ended

    monkeypatch.setattr(office.relay, "_send", ends_once)
    receipt = await office.hand_in(case, "back_again", **AGAIN)
    assert (receipt.state, office.case(case).state) == ("decided", "open")
    assert await wrong_with(office, case) == []


# What is shown


async def test_the_paper_shows_with_what_he_came_back_and_every_closing_form_as_it_was_signed(office: Office):
    case = await closed(office)
    await office.pass_time(3 * DAY)
    came = office.now() - HOUR
    await office.hand_in(
        case,
        "back_again",
        **AGAIN,
        received_at=came.isoformat(),
        received_by="chen",
        form_no="OA-新-7",
        customer={"phone": "13900000002"},
    )
    async with office.api("wang") as door:
        seen = (await door.get(f"/api/cases/{case}")).json()
        paper = text_of((await door.get(f"/api/cases/{case}/record.pdf")).content)
    assert (seen["facts"]["content"], seen["facts"]["customer"]["phone"]) == ("羽绒服穿了两次就跑绒", "13900000002")
    assert seen["corrected"] == ["customer.phone"], "the matter it came back with stands beside the first"
    matter = paper.partition("事由")[2].partition("回复")[0]
    for said in ("羽绒服穿了两次就跑绒", "新换的又跑绒", "再次投诉", "OA-新-7", "电话"):
        assert said in matter, said
    assert "第2次处理" in paper
    await walk_again(office, case)
    async with office.api("wang") as door:
        paper = text_of((await door.get(f"/api/cases/{case}/record.pdf")).content)
    verdict = paper.partition("调查结论")[2]
    assert ("充绒工艺不良" in verdict, "同批次" in verdict) == (True, True)


async def test_who_is_asked_reads_with_what_he_came_back_and_nothing_of_him(office: Office):
    case = await closed(office)
    await office.pass_time(DAY)
    await office.hand_in(case, "back_again", content="张小红说又跑绒，请打 13800000001", channel="phone")
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次还有吗")
    async with office.api("shang") as door:
        seen = (await door.get(f"/api/cases/{case}")).json()
        [told] = [notice for notice in (await door.get("/api/notices")).json()["items"] if notice["answer"]]
        page = await door.get(told["answer"])
    [content] = [entry["content"] for entry in seen["timeline"] if entry["kind"] == "reopened"]
    assert content["content"] == "****说又跑绒，请打 ****"
    assert "****说又跑绒" in page.text
    assert not any(name in page.text + str(seen) for name in ("张小红", "13800000001"))


async def test_e44_what_was_erased_is_not_opened_again_and_what_is_opened_again_not_erased(office: Office):
    case = await closed(office)
    await office.pass_time(DAY)
    await office.worker_leaves()
    office.commit(case, "back_again", **AGAIN)
    async with office.api("wang") as wang:
        refused = await wang.post(f"/api/cases/{case}/erase", json={"because": "customer_request"})
        assert (refused.status_code, refused.json()["code"]) == (409, "erase_open")
        await office.worker_comes()
        await office.relay.deliver(case)
        await walk_again(office, case)
        erased = await wang.post(f"/api/cases/{case}/erase", json={"because": "customer_request"})
        assert erased.status_code == 200, erased.text
    with pytest.raises(Conflict) as gone:
        await office.hand_in(case, "back_again", **AGAIN)
    assert gone.value.code == "closed_for_good"
    assert await office.open(earlier=office.case(case).number) != case


async def test_what_is_sent_again_is_known_after_the_keys_were_turned_over(office: Office):
    """The paper of who is back, and a store's correction: their rows are sealed anew, and say what they said."""
    case = await closed(office)
    await office.pass_time(DAY)
    came = (office.now() - HOUR).isoformat()
    back = office.complaint(earlier=office.case(case).number, received_at=came)
    form = office.complaint(received_at=came)
    sent = (back, form, form | {"content": "只穿了一次"}, form | {"content": "只穿了一次", "demand": "换货"})
    async with office.api("oa-sh01") as store:
        first = [(await store.post("/api/cases/complaint", json=facts)).json()["submission"] for facts in sent]
    assert len(set(first)) == 4
    turned = seen_with(office.house, f"{NEW},{KEYS}")
    assert reseal(turned).unreadable == []
    submissions = Front(turned, office.client, office.now, office.task_queue).submissions
    store_account = office.front.actor("oa-sh01")
    again = [submissions.open(COMPLAINT, Complaint.model_validate(facts), store_account) for facts in sent]
    assert [(receipt.submission, receipt.first) for receipt in again] == [(known, False) for known in first]
