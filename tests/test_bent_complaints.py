"""What bends the straight way of a complaint (handbook 5.2). Each story bears its line's number."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from models import policy
from models.duty import Absence
from models.tables import SubmissionRow
from settings import House
from starter.organisation.hand_over import listed
from starter.refusals import Forbidden, Invalid, NotFound
from starter.watching.doctor import examine
from tests.office import DAY, HOUR, Office

REFUND = Office.SOLUTION | {"remedy": "refund", "amount": "199"}


def refusal(receipt: Any) -> str:
    return receipt.refusal.code if receipt.refusal else receipt.state


async def at_callback(office: Office, **facts: Any) -> str:
    case = await office.open(**facts)
    await office.walk(case, until="execution")
    return case


async def test_e20_out_of_authority_is_two_facts_and_the_agreed_time_a_clock_of_its_own(office: Office):
    """E20: the manager hears at once, and the customer is told a time; neither removes the 24 hours."""
    case = await office.open()
    await office.hand_in(case, "out_of_authority", reason="要求三倍赔偿")
    assert {"agreement", "decision", "reply", "solution"} <= office.open_tasks(case)
    assert office.tasks(case)["decision"].owner == "wang"
    assert office.tasks(case)["agreement"].due_at - office.now() <= HOUR
    agreed = office.now() + 30 * HOUR
    await office.hand_in(case, "agreement", reply_at=agreed.isoformat())
    assert office.tasks(case)["agreed_reply"].due_at == agreed
    assert office.tasks(case)["reply"].state == "done", "who agrees on a time has answered"
    assert office.tasks(case)["solution"].due_at < office.now() + 48 * HOUR, "the 48 hours stay"
    await office.pass_time(31 * HOUR)
    assert "overdue/agreed_reply" in office.heard(case, "wang")
    assert "overdue/decision" in office.heard(case, "sun")


async def test_e20_without_an_agreement_the_task_stays_open_and_escalates(office: Office):
    case = await office.open()
    await office.hand_in(case, "out_of_authority", reason="要求三倍赔偿")
    await office.pass_time(2 * HOUR)
    assert office.heard(case, "wang") == ["task/decision", "overdue/agreement"]


async def test_e20_past_the_48_hours_only_with_the_managers_approval_and_it_is_kept_as_an_extension(office: Office):
    case = await office.open()
    await office.hand_in(case, "out_of_authority", reason="要求三倍赔偿")
    late = (office.now() + 5 * DAY).isoformat()
    assert refusal(await office.hand_in(case, "agreement", reply_at=late)) == "past_the_48_hours"
    await office.hand_in(case, "decision", by="wang", verdict="approve", reply_by=late)
    before = office.tasks(case)["solution"].due_at
    await office.hand_in(case, "agreement", reply_at=late)
    [change] = office.tasks(case)["solution"].due_because["changes"]
    assert (change["due_before"], change["by"]) == (before.isoformat().replace("+00:00", "Z"), "lin")
    approval = office.submission(change["allowed"])
    assert (change["allowed_by"], approval.form, approval.by) == ("wang", "decision", "wang")


async def test_e21_a_solution_beyond_the_role_needs_the_managers_approval(office: Office):
    """E21: limits by role are policy; the approval may bound the amount."""
    case = await office.open()
    assert refusal(await office.hand_in(case, "solution", **REFUND)) == "beyond_authority"
    assert (
        refusal(await office.hand_in(case, "solution", **office.SOLUTION | {"amount": "200.01"})) == "beyond_authority"
    )
    await office.hand_in(case, "ask_manager", question="可以退款吗")
    await office.hand_in(case, "decision", by="wang", verdict="approve", amount_limit="150")
    assert refusal(await office.hand_in(case, "solution", **REFUND)) == "beyond_authority"
    await office.hand_in(case, "ask_manager", question="199 元呢")
    await office.hand_in(case, "decision", by="wang", verdict="approve", amount_limit="200")
    assert refusal(await office.hand_in(case, "solution", **REFUND)) == "decided"


async def test_e21_an_approval_holds_for_what_was_asked(office: Office):
    """E21: one that names no amount is for one proposal; a later rejection ends it, and one with an amount as well."""
    case = await office.open()

    async def word(verdict: str, **more: Any) -> None:
        await office.hand_in(case, "ask_manager", question="可以退款吗")
        await office.hand_in(case, "decision", by="wang", verdict=verdict, **more)

    async def proposed(**solution: Any) -> str:
        said = refusal(await office.hand_in(case, "solution", **solution))
        if said == "decided":
            await office.hand_in(case, "consent", accepted=False, wish="再想想")
        return said

    await word("approve")
    assert await proposed(**office.SOLUTION) == "decided", "his own to promise: the approval is not used up"
    await office.hand_in(case, "attempt", channel="phone")
    assert await proposed(**REFUND) == "decided"
    await office.hand_in(case, "decision", by="wang", verdict="instruct", instruction="再谈")
    assert await proposed(**REFUND) == "beyond_authority"
    await word("approve", amount_limit="500")
    await word("reject")
    assert await proposed(**REFUND) == "beyond_authority"
    await word("approve", amount_limit="500")
    assert await proposed(**REFUND) == "decided"


async def test_e21_the_manager_may_promise_what_he_likes_and_a_rejection_approves_nothing(office: Office):
    case = await office.open()
    await office.hand_in(case, "ask_manager", question="可以退款吗")
    await office.hand_in(case, "decision", by="wang", verdict="reject")
    assert refusal(
        await office.hand_in(case, "solve", steps="退款", effect="满意", remedy="refund", execution="已退")
    ) == ("beyond_authority")
    assert refusal(await office.hand_in(case, "solution", by="wang", **REFUND)) == "decided"


async def test_e22_after_two_refusals_the_manager_says_how_it_goes_on(office: Office):
    """E22: the wish is kept; the 48 hours were met by the first proposal; nothing is carried out without a yes."""
    case = await office.open()
    await office.walk(case, until="solution")
    await office.hand_in(case, "consent", accepted=False, wish="要求退款")
    assert "solution-2" in office.open_tasks(case)
    await office.hand_in(case, "solution", **office.SOLUTION)
    await office.hand_in(case, "consent", accepted=False, wish="还是要求退款")
    assert office.open_tasks(case) == {"decision", "callback"}
    assert refusal(await office.hand_in(case, "execution", content="硬来")) == "not_owed_yet"
    await office.hand_in(case, "decision", by="wang", verdict="approve")
    await office.hand_in(case, "solution", **REFUND)
    await office.hand_in(case, "consent", accepted=True)
    assert office.open_tasks(case) == {"execution", "callback"}


async def test_e22_every_further_refusal_is_the_managers_too(office: Office):
    """E22: after two, not only at the second."""
    case = await office.open()
    await office.walk(case, until="solution")
    for refused in (1, 2, 3, 4):
        await office.hand_in(case, "consent", accepted=False, wish="要求退款")
        assert ("decision" in {key.partition("-")[0] for key in office.open_tasks(case)}) == (refused >= 2)
        if refused >= 2:
            await office.hand_in(case, "decision", by="wang", verdict="instruct", instruction="再谈")
        await office.hand_in(case, "solution", **office.SOLUTION)


BEYOND: list[dict[str, Any]] = [
    {"demand_amount": "200.01"},
    {"demand_remedy": "refund"},
    {"demand_amount": "0", "demand_remedy": "refund"},
    {"demand_amount": "900", "demand_remedy": "exchange"},
]


async def after_refusal(office: Office, case: str, **demand: Any) -> set[str]:
    """What is owed of the manager and the specialist when the customer has refused; his callback apart."""
    before = office.open_tasks(case)
    assert refusal(await office.hand_in(case, "consent", accepted=False, wish="不要这个", **demand)) == "decided"
    return office.open_tasks(case) - before


@pytest.mark.parametrize("demand", BEYOND)
async def test_e22_a_demand_beyond_the_specialist_is_the_managers_at_once(office: Office, demand: dict[str, Any]):
    """E22: after the first refusal already; then the specialist's proposal is judged as any is."""
    case = await office.open()
    await office.walk(case, until="solution")
    assert await after_refusal(office, case, **demand) == {"decision"}
    assert office.heard(case, "wang") == ["task/decision"]
    assert office.tasks(case)["decision"].due_because["anchor"] == "consent"
    assert refusal(await office.hand_in(case, "solution", **office.SOLUTION)) == "already_done"
    await office.hand_in(case, "decision", by="wang", verdict="approve", amount_limit="500")
    assert office.open_tasks(case) == {"solution-2", "callback"}
    assert refusal(await office.hand_in(case, "solution", **REFUND | {"amount": "501"})) == "beyond_authority"
    assert refusal(await office.hand_in(case, "solution", **REFUND | {"amount": "500"})) == "decided"
    await office.hand_in(case, "consent", accepted=True)
    assert office.open_tasks(case) == {"execution", "callback"}


@pytest.mark.parametrize(
    "demand", [{}, {"demand_amount": "200"}, {"demand_remedy": "repair"}, BEYOND[-1] | {"demand_amount": "200"}]
)
async def test_e22_a_demand_within_the_specialists_authority_is_his(office: Office, demand: dict[str, Any]):
    case = await office.open()
    await office.walk(case, until="solution")
    assert await after_refusal(office, case, **demand) == {"solution-2"}
    await office.hand_in(case, "solution", **office.SOLUTION)
    assert await after_refusal(office, case, **demand) == {"decision"}, "the second refusal is the manager's as ever"


async def test_e22_what_the_manager_has_approved_he_is_not_asked_again(office: Office):
    """E22: where the specialist might promise what is demanded. An approval without an amount is for one proposal."""

    async def asked(*words: dict[str, Any], proposed: dict[str, Any], **demand: Any) -> bool:
        case = await office.open()
        for word in words:
            await office.hand_in(case, "ask_manager", question="可以退款吗")
            await office.hand_in(case, "decision", by="wang", **word)
        assert refusal(await office.hand_in(case, "solution", **proposed)) == "decided"
        return {key.partition("-")[0] for key in await after_refusal(office, case, **demand)} == {"decision"}

    once, upto, no = {"verdict": "approve"}, {"verdict": "approve", "amount_limit": "500"}, {"verdict": "reject"}
    wanted = {"demand_amount": "500", "demand_remedy": "refund"}
    assert not await asked(upto, proposed=office.SOLUTION, **wanted)
    assert not await asked(upto, proposed=REFUND, **wanted), "as often as it takes"
    assert await asked(upto, proposed=office.SOLUTION, **wanted | {"demand_amount": "500.01"})
    assert await asked(upto, no, proposed=office.SOLUTION, **wanted)
    assert not await asked(once, proposed=office.SOLUTION, **wanted)
    assert await asked(once, proposed=REFUND, **wanted), "it is used up"


async def test_e22_who_was_to_say_how_it_goes_on_stays_so_there_and_back(office: Office):
    """E31: an approval, or a rejection, that comes after the refusal changes nothing of what was owed by it."""
    wanted, again = {"demand_amount": "900"}, {"verdict": "approve", "amount_limit": "900"}
    case = await office.open()
    await office.walk(case, until="solution")
    assert await after_refusal(office, case, **wanted) == {"decision"}
    await office.hand_in(case, "decision", by="wang", **again)
    due = office.tasks(case)["solution-2"].due_at
    await there_and_back(office, case)
    assert office.open_tasks(case) == {"solution-3", "callback-2"}
    assert office.tasks(case)["solution-3"].due_at == due
    allowed = await office.open()
    await office.hand_in(allowed, "ask_manager", question="可以赔 900 吗")
    await office.hand_in(allowed, "decision", by="wang", **again)
    await office.walk(allowed, until="solution")
    assert await after_refusal(office, allowed, **wanted) == {"solution-2"}
    await office.hand_in(allowed, "ask_manager", question="还可以吗")
    await office.hand_in(allowed, "decision", by="wang", verdict="reject")
    await there_and_back(office, allowed)
    assert office.open_tasks(allowed) == {"solution-3", "callback-2"}


async def test_e22_cases_of_an_earlier_edition_ask_the_manager_at_the_second_refusal(
    closed_office: Office, tmp_path: Path
):
    file = tmp_path / "policy.toml"
    file.write_text(policy.SHIPPED.read_text("utf-8").replace("edition = 4", "edition = 3"), encoding="utf-8")
    house = House(closed_office.house.settings.model_copy(update={"policy": file}))
    async with Office(closed_office.client, house, closed_office.env) as office:
        await office.worker_comes()
        case = await office.open()
        await office.walk(case, until="solution")
        for nth, owed in ((1, "solution-2"), (2, "decision")):
            assert await after_refusal(office, case, demand_amount="900") == {owed}, nth
            await office.hand_in(case, "solution", **office.SOLUTION)
    house.database.close()


async def test_e22_no_agreement_is_the_managers_alone_and_the_outside_ways_are_told(office: Office):
    case = await office.open()
    await office.walk(case, until="solution")
    with pytest.raises(Exception, match="may_not_hand_in"):
        await office.hand_in(case, "no_agreement", reason="要求过高", outside_ways_told=True)
    await office.hand_in(case, "no_agreement", by="wang", reason="要求过高", outside_ways_told=True)
    assert office.open_tasks(case) == {"record"}
    await office.hand_in(case, "record", finding="未达成一致")
    assert office.case(case).closed_because == "no_agreement"


async def test_e22_a_yes_with_a_wish_is_asked_again(office: Office):
    case = await office.open()
    await office.walk(case, until="solution")
    with pytest.raises(Invalid) as refused:
        await office.hand_in(case, "consent", accepted=True, wish="可是还坏着")
    assert [(error.field, error.code) for error in refused.value.errors] == [("wish", "consent_with_wish")]
    for field, what in (("demand_amount", "0"), ("demand_remedy", "exchange")):
        with pytest.raises(Invalid) as refused:
            await office.hand_in(case, "consent", accepted=True, **{field: what})
        assert [(error.field, error.code) for error in refused.value.errors] == [(field, "consent_with_wish")]


async def test_e23_silence_after_the_proposal_has_a_clock_of_its_own(office: Office):
    """E23: 72 hours of silence, and the manager hears; the case stays open."""
    case = await office.open()
    await office.walk(case, until="solution")
    await office.pass_time(73 * HOUR)
    assert office.heard(case, "lin") == ["new/None", "reminder/consent", "breached/consent"]
    assert office.heard(case, "wang") == ["overdue/consent"]
    assert "callback" in office.open_tasks(case)


async def test_e24_who_was_not_reached_has_said_nothing(office: Office):
    """E24: no satisfaction, and no answers to the survey, of a customer nobody spoke to."""
    case = await at_callback(office)
    with pytest.raises(Invalid) as refused:
        office.commit(
            case, "callback", outcome="unreachable", satisfaction=5, survey=[{"question": "again", "yes": True}]
        )
    fields = {error.field for error in refused.value.errors if error.code == "satisfaction_unreached"}
    assert fields == {"satisfaction", "survey"}


async def test_e24_unreachable_needs_attempts_on_several_days_and_channels_and_the_managers_word(office: Office):
    """E24: never counted as satisfied."""
    case = await at_callback(office)
    lost = {"outcome": "unreachable"}
    assert refusal(await office.hand_in(case, "callback", **lost)) == "not_tried_enough"
    await office.hand_in(case, "attempt", channel="phone")
    await office.hand_in(case, "attempt", channel="phone")
    await office.pass_time(DAY)
    await office.hand_in(case, "attempt", channel="phone")
    assert refusal(await office.hand_in(case, "callback", **lost)) == "not_tried_enough", "one channel only"
    await office.hand_in(case, "attempt", channel="sms")
    assert refusal(await office.hand_in(case, "callback", **lost)) == "decided"
    assert office.open_tasks(case) == {"sign_off"}
    await office.hand_in(case, "sign_off", by="wang", approved=False, note="再打一次")
    assert office.open_tasks(case) == {"callback-2"}
    before = (office.now() - HOUR).isoformat()
    await office.hand_in(case, "attempt", channel="phone", tried_at=before)
    assert refusal(await office.hand_in(case, "callback", **lost)) == "not_tried_enough", "not since the manager's word"
    await office.hand_in(case, "attempt", channel="phone")
    assert refusal(await office.hand_in(case, "callback", **lost)) == "decided"
    await office.hand_in(case, "sign_off", by="wang", approved=True)
    assert office.open_tasks(case) == {"record"}
    assert [event.data["what"] for event in office.events(case) if event.kind == "noted"].count("attempt") == 6


async def test_e24_who_wants_no_call_is_not_tried_three_times(office: Office):
    """E24 is about who is not reached; the manager signs off all the same, and it counts as no satisfaction."""
    case = await at_callback(office)
    assert refusal(await office.hand_in(case, "callback", outcome="refused_contact")) == "decided"
    assert office.open_tasks(case) == {"sign_off"}
    await office.hand_in(case, "sign_off", by="wang", approved=True)
    assert office.open_tasks(case) == {"record"}


async def test_e24_attempts_from_before_the_solution_was_carried_out_do_not_count(office: Office):
    """E24: there was nothing to call about yet; nor does one that is only said to lie so far back."""
    case = await office.open()
    await office.walk(case, until="consent")
    long_ago = (office.now() - 20 * DAY).isoformat()
    await office.hand_in(case, "attempt", channel="sms")
    await office.pass_time(DAY)
    await office.hand_in(case, "attempt", channel="phone")
    await office.hand_in(case, "execution", content="新衣已寄出")
    await office.hand_in(case, "attempt", channel="fax", tried_at=long_ago)
    await office.hand_in(case, "attempt", channel="phone")
    lost = {"outcome": "wrong_number"}
    assert refusal(await office.hand_in(case, "callback", **lost)) == "not_tried_enough"
    await office.pass_time(DAY)
    for channel in ("phone", "email"):
        await office.hand_in(case, "attempt", channel=channel)
    assert refusal(await office.hand_in(case, "callback", **lost)) == "decided"


async def test_e25_dissatisfied_is_handled_again_with_clocks_of_its_own(office: Office):
    """E25: cycle + 1, the manager at once; a third time, the director too. Earlier cycles stay."""
    case = await at_callback(office)
    await office.hand_in(case, "callback", outcome="dissatisfied", satisfaction=1)
    assert (office.case(case).cycle, office.open_tasks(case)) == (2, {"solution-2"})
    assert office.heard(case, "wang") == ["dissatisfied/None"]
    again = office.tasks(case)["solution-2"]
    assert again.due_at - again.owed_at == 48 * HOUR
    await office.pass_time(HOUR)
    await office.hand_in(case, "solution", **office.SOLUTION)
    callback = office.tasks(case)["callback-2"]
    assert callback.due_at - callback.owed_at == 7 * DAY
    assert refusal(await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5)) == "not_possible_yet"
    await office.hand_in(case, "consent", accepted=True)
    await office.hand_in(case, "execution", content="再换一件")
    await office.hand_in(case, "callback", outcome="dissatisfied", satisfaction=1)
    assert office.case(case).cycle == 3
    assert office.heard(case, "sun") == ["dissatisfied/None"]
    assert {"solution", "solution-2", "solution-3"} <= set(office.tasks(case))


async def test_e25_the_caller_is_not_the_solver_or_the_record_says_so(office: Office):
    case = await at_callback(office)
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5)
    other = await at_callback(office)
    await office.hand_in(other, "callback", by="chen", outcome="satisfied", satisfaction=5)
    noted = {c: [event.data["what"] for event in office.events(c) if event.kind == "noted"] for c in (case, other)}
    assert noted == {case: ["called_by_solver"], other: []}


@pytest.mark.parametrize(("kind", "owes"), [("query", {"reply"}), ("suggestion", {"record"}), ("praise", {"record"})])
async def test_e31_what_is_no_complaint_owes_less(office: Office, kind: str, owes: set[str]):
    """E31: a query is answered, an opinion is filed."""
    case = await office.open(kind=kind)
    assert office.open_tasks(case) == owes
    await office.hand_in(case, *owes, **({"content": "已答复"} if "reply" in owes else {"finding": "已归档"}))
    assert office.case(case).state == "archived"


async def test_e32_where_nobody_can_be_called_the_case_is_closed_with_the_reason(office: Office):
    """E32: anonymous, or no contact data; the form is still owed."""
    case = await office.open(customer={"name": "路过的人"})
    assert office.open_tasks(case) == {"reply", "solution", "callback"}, "an answer may find him where he wrote"
    await office.hand_in(case, "no_contact", reason="匿名来信")
    assert office.open_tasks(case) == {"record"}
    await office.hand_in(case, "record", finding="已整改")
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "nobody_to_call")


async def test_e32_not_where_the_customer_can_be_reached(office: Office):
    case = await office.open()
    assert refusal(await office.hand_in(case, "no_contact", reason="懒得打")) == "customer_can_be_reached"


async def test_e33_withdrawn_ends_the_clocks_and_owes_the_form(office: Office):
    """E33: who and when; the form is still required."""
    case = await office.open()
    await office.hand_in(case, "withdraw", reason="顾客来电撤诉")
    assert office.open_tasks(case) == {"record"}
    assert {row.withdrawn_because for row in office.tasks(case).values() if row.state == "withdrawn"} == {"withdrawn"}
    assert refusal(await office.hand_in(case, "withdraw", reason="再撤一次")) == "too_late_to_leave"
    await office.pass_time(10 * DAY)
    assert office.heard(case, "wang") == ["overdue/record"]
    await office.hand_in(case, "record", finding="顾客撤诉")
    assert office.case(case).closed_because == "withdrawn"


async def test_e34_a_case_about_an_employee_is_never_his(office: Office):
    """E34: about the manager → the director."""
    about_specialist = await office.open(about_employee="lin")
    assert "lin" not in {task.owner for task in office.tasks(about_specialist).values()}
    about_manager = await office.open(
        about_employee="wang", received_at=(office.now() - timedelta(hours=25)).isoformat()
    )
    assert (office.heard(about_manager, "wang"), office.heard(about_manager, "sun")) == ([], ["overdue/reply"])


async def test_e34_whom_it_turns_out_to_be_about_has_it_no_more(office: Office):
    """E34: found out later, all he owes is owed by who would have owed it from the first, with its clock; nothing comes to him again."""
    from_the_first = office.tasks(await office.open(about_employee="lin"))["reply"].owner
    case = await office.open()
    before = office.tasks(case)
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次有没有别的投诉")
    await office.hand_in(case, "amend", by="oa-sh01", about_employee="lin")
    tasks, mine = office.tasks(case), ("reply", "solution", "callback")
    assert {key: tasks[key].owner for key in office.open_tasks(case)} == {
        **dict.fromkeys(mine, from_the_first),
        "assist": "shang",
    }
    assert {key: tasks[key].due_at for key in before} == {key: task.due_at for key, task in before.items()}
    told = [said for said in office.heard(case, from_the_first) if said.startswith("assigned/")]
    assert told == [f"assigned/{task}" for task in mine]
    with pytest.raises(Invalid):
        await office.hand_in(case, "reassign", by="wang", task="reply", person="lin", reason="熟悉")
    with pytest.raises(Forbidden):
        await office.hand_in(case, "solution", **office.SOLUTION)
    await office.hand_in(case, "solution", by=from_the_first, **office.SOLUTION)
    assert office.tasks(case)["consent"].owner == from_the_first


async def test_e34_who_gets_or_loses_several_tasks_of_a_case_by_it_hears_once(office: Office):
    """E34: of two and more by one notice, as when an absence hands them over; of one as ever."""
    case = await office.open(form_no="YL-1")
    due = office.tasks(case)["reply"].due_at.astimezone(office.house.calendar)
    await office.hand_in(case, "amend", by="oa-sh01", about_employee="lin")
    owner = office.tasks(case)["reply"].owner
    assert await inbox(office, owner) == [
        f"工单 YL-1：原由林晓经办的 3 项待办已转派给您，时限照旧，最早 {due:%Y-%m-%d %H:%M} 到期。"
    ]
    gone = f"工单 YL-1：您的 3 项待办已转派他人（{office.house.people.name(owner)} 3 项），不再由您经办。"
    assert (await inbox(office, "lin"))[0] == gone
    assert len(await inbox(office, "lin")) == 2, "and that the case was hers"


async def test_e34_of_a_single_task_he_hears_as_ever(office: Office):
    """E34: also who is given one of several; whoever loses them has one notice."""
    case, other = await office.open(form_no="YL-1"), await office.open(form_no="YL-2")
    for one in (case, other):
        await office.hand_in(one, "ask_manager", question="可以加送一张券吗")
    await office.hand_in(case, "reassign", by="wang", task="reply", person="wang", reason="我来答复")
    for one in (case, other):
        await office.hand_in(one, "amend", about_employee="wang")
    assert await inbox(office, "sun") == [
        f"工单 {number}：经理批示已转派给您，时限照旧。" for number in ("YL-2", "YL-1")
    ]
    assert (await inbox(office, "lin"))[0] == "工单 YL-1：回复已转派给您，时限照旧。"
    assert (await inbox(office, "wang"))[:2] == [
        "工单 YL-2：经理批示已转派给孙总监，不再由您经办。",
        "工单 YL-1：您的 2 项待办已转派他人（林晓 1 项、孙总监 1 项），不再由您经办。",
    ]


async def test_e34_who_answers_by_a_link_keeps_the_link_of_each_question(office: Office):
    """E34: a colleague of the department gets both questions, and answers each without an account."""
    office.organise(chen={"role": "contact", "department": "merchandise", "regions": ()})
    case = await office.open(store=None, by="lin")
    for question in ("同批次有没有别的投诉", "别的颜色呢"):
        await office.hand_in(case, "ask_department", department="merchandise", question=question)
    before, after = office.tasks(case)["assist"].owner, {"chen": "shang", "shang": "chen"}
    assert office.tasks(case)["assist-2"].owner == before
    await office.hand_in(case, "amend", about_employee=before)
    async with office.api(after[before]) as door:
        notices = (await door.get("/api/notices")).json()["items"]
    assert [(notice["what"], notice["task"]) for notice in notices] == [
        ("assigned", "assist-2"),
        ("assigned", "assist"),
    ]
    assert len({notice["answer"] for notice in notices} - {None}) == 2
    assert "您的 2 项待办已转派他人" in (await inbox(office, before))[0]


async def inbox(office: Office, person: str) -> list[str]:
    async with office.api(person) as door:
        return [notice["text"] for notice in (await door.get("/api/notices")).json()["items"]]


async def test_e34_what_the_manager_owes_in_a_case_about_him_is_the_directors(office: Office):
    case = await office.open()
    await office.hand_in(case, "ask_manager", question="可以加送一张券吗")
    await office.hand_in(case, "amend", about_employee="wang")
    assert office.tasks(case)["decision"].owner == "sun"
    await office.pass_time(25 * HOUR)
    assert "overdue/reply" in office.heard(case, "sun")
    assert not [said for said in office.heard(case, "wang") if said.startswith("overdue")]


async def test_e34_what_a_department_was_asked_goes_to_no_other_department(office: Office):
    case = await office.open()
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次有没有别的投诉")
    await office.hand_in(case, "amend", about_employee="shang")
    assert office.tasks(case)["assist"].owner == "wang"


async def test_e34_nor_is_it_given_to_him_by_anybody(office: Office):
    """E34: neither reassigned nor handed over to whom it is about; who stands in for an absent colleague is another then."""
    case = await office.open(about_employee="chen")
    owner = office.tasks(case)["reply"].owner
    for act, by, fields in (("reassign", "wang", {"reason": "熟悉"}), ("hand_over", owner, {"note": "请接手"})):
        with pytest.raises(Invalid) as refused:
            office.commit(case, act, by=by, task="reply", person="chen", **fields)
        assert [(error.field, error.code) for error in refused.value.errors] == [("person", "case_is_about")]
    absence = Absence(person=owner, since=office.now(), until=office.now() + 10 * DAY, deputy="chen")
    with office.house.database.reading() as session:
        given = listed(session, office.house.people.now, absence, office.now())
    assert {item.case for item in given} == {case}
    assert "chen" not in {item.deputy for item in given}


@pytest.mark.parametrize(
    ("about", "form", "fields"),
    [
        ("lin", "solve", {"reply": "致歉", "steps": "换新", "effect": "好", "remedy": "exchange", "execution": "已换"}),
        ("lin", "reply", {"content": "已致歉"}),
        ("lin", "attempt", {"channel": "phone"}),
        ("lin", "amend", {"content": "不是我"}),
        ("lin", "hand_over", {"task": "reply", "person": "chen", "note": "请接手"}),
        ("wang", "reclassify", {"kind": "junk", "reason": "不是客诉"}),
        ("wang", "reassign", {"task": "reply", "person": "chen", "reason": "熟悉"}),
        ("wang", "extend", {"task": "reply", "due_at": "2027-01-01T00:00:00Z", "reason": "顾客不急"}),
        ("wang", "withdraw", {"reason": "顾客撤诉"}),
    ],
)
async def test_e34_whom_it_is_about_hands_in_nothing_on_it(
    office: Office, about: str, form: str, fields: dict[str, Any]
):
    """E34: neither a word of his own, nor one for the customer; and he is told who sees to it."""
    case = await office.open(about_employee=about)
    handler = {"lin": "王经理", "wang": "林晓" if form == "reply" else "孙总监"}[about]
    async with office.api(about) as door:
        answer = await door.post(f"/api/cases/complaint/{case}/{form}", json=fields)
    assert answer.status_code == 403
    assert f"投诉的是您本人，您不能在其中提交任何内容。请由{handler}办理" in answer.json()["detail"]
    assert [row.form for row in office.rows(SubmissionRow, case)] == ["open"]


async def test_e34_a_complaint_about_the_manager_ends_by_the_directors_word(office: Office):
    """E34: manager named → director, who may do what the manager else does: there, and in no other case."""
    case, other = await office.open(about_employee="wang"), await office.open()
    await office.hand_in(case, "reassign", by="sun", task="reply", person="chen", reason="由华南区答复")
    assert office.tasks(case)["reply"].owner == "chen"
    with pytest.raises(Forbidden):
        office.commit(other, "reassign", by="sun", task="reply", person="chen", reason="由华南区答复")
    await office.hand_in(case, "reclassify", kind="junk", reason="不是客诉")
    assert office.tasks(case)["sign_off"].owner == "sun"
    with pytest.raises(Forbidden) as refused:
        office.commit(case, "sign_off", by="wang", approved=True)
    assert (refused.value.code, refused.value.values["person"]) == ("about_yourself", "孙总监")
    await office.hand_in(case, "sign_off", by="sun", approved=True)
    assert office.case(case).state == "archived"


async def test_e34_who_stands_in_is_found_by_rule_whoever_is_complained_about(office: Office):
    """E34: an absence hands all over, a complaint about the manager too; it is no word of his on the case."""
    case = await office.open(about_employee="wang")
    absence = Absence(person="lin", since=office.now(), until=office.now() + 10 * DAY, deputy="chen")
    office.organise(absence)
    async with office.api("wang") as wang:
        given = await wang.post("/api/organisation/absences/lin/hand-over", json={"note": "休假"})
    assert given.status_code == 200, given.text
    await office.relay.deliver(case)
    assert {task.owner for task in office.tasks(case).values() if not task.by_itself} == {"chen"}


async def test_e35_a_major_case_is_told_to_the_manager_at_intake(office: Office):
    """E35: at once, before anything is late."""
    case = await office.open(severity="major")
    assert office.heard(case, "wang") == ["major/None"]


async def test_e42_given_and_completed_are_two_deadlines(office: Office):
    """E42, D-3: completed is met by the execution, and tells nobody."""
    case = await office.open()
    completion = office.tasks(case)["completion"]
    assert (completion.by_itself, completion.due_at) == (True, office.tasks(case)["solution"].due_at)
    await office.walk(case, until="consent")
    await office.pass_time(47 * HOUR)
    await office.hand_in(case, "execution", content="新衣已寄出")
    assert office.tasks(case)["completion"].state == "done"
    assert refusal(await office.hand_in(case, "reply", content="x")) == "already_done"


async def test_departments_answer_beside_the_case_and_pause_nothing(office: Office):
    """Handbook 1.2: repeatable, each with its own clock and ladder."""
    case = await office.open()
    due = office.case(case).due_at
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次有没有别的投诉")
    await office.hand_in(case, "ask_department", department="store", store="SH02", question="还有没有同款")
    tasks = office.tasks(case)
    assert (tasks["assist"].owner, tasks["assist-2"].owner) == ("shang", "oa-sh02")
    assert office.case(case).due_at == due
    await office.pass_time(25 * HOUR)
    assert "overdue/assist" in office.heard(case, "lin")
    await office.hand_in(case, "ask_department", department="merchandise", question="那么别的颜色呢")
    assert refusal(await office.hand_in(case, "assist", by="shang", answer="没有")) == "which_task"
    for asked, form, task, fields in (
        ("shang", "assist", "assist-2", {"answer": "替门店答"}),
        ("oa-sh02", "assist", "assist", {"answer": "替商品中心答"}),
        ("oa-sh02", "amend", None, {"content": "不是我店的事"}),
        ("oa-hz01", "assist", None, {"answer": "没有人问我"}),
    ):
        with pytest.raises(NotFound):
            await office.hand_in(case, form, by=asked, task=task, **fields)
    assert refusal(await office.hand_in(case, "assist", by="shang", task="assist", answer="没有")) == "decided"
    assert refusal(await office.hand_in(case, "assist", by="oa-sh02", answer="还有两件")) == "decided"
    tasks = office.tasks(case)
    assert {key: tasks[key].done_by for key in ("assist", "assist-2")} == {"assist": "shang", "assist-2": "oa-sh02"}


async def test_an_authoritys_reference_has_its_own_due_time(office: Office):
    """12315, 12345, a marketplace."""
    case = await office.open()
    due_at = office.now() + 3 * DAY
    await office.hand_in(case, "refer", body="12315", reference="SH-2026-117", due_at=due_at.isoformat())
    assert office.tasks(case)["external_reply"].due_at == due_at
    await office.walk(case)
    assert office.case(case).state == "open", "the authority still waits"
    await office.pass_time(3 * DAY + HOUR)
    assert "overdue/external_reply" in office.heard(case, "wang")
    await office.hand_in(case, "external_reply", content="已答复市监局")
    assert office.case(case).state == "archived"


async def test_an_authority_is_answered_whatever_becomes_of_the_complaint(office: Office):
    case = await office.open()
    await office.hand_in(case, "refer", body="12345", reference="SH-1", due_at=(office.now() + DAY).isoformat())
    other = await office.open()
    assert refusal(await office.hand_in(case, "duplicate", of=other)) == "reference_open"
    await office.hand_in(case, "withdraw", reason="顾客撤诉")
    assert office.open_tasks(case) == {"record", "external_reply"}
    await office.hand_in(case, "record", finding="已撤诉")
    await office.hand_in(case, "external_reply", content="已答复")
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "withdrawn")


async def test_e20_a_decision_for_a_time_that_is_near_comes_before_it(office: Office):
    """Two hours before what was agreed; where that is nearer, half-way to it."""
    case = await office.open()
    await office.hand_in(case, "out_of_authority", reason="要求三倍赔偿")
    agreed = office.now() + HOUR
    await office.hand_in(case, "agreement", reply_at=agreed.isoformat())
    assert office.now() < office.tasks(case)["decision"].due_at < agreed


async def test_e28_who_is_amended_to_be_reached_can_be_called(office: Office):
    case = await office.open(customer={})
    await office.hand_in(case, "amend", by="oa-sh01", customer={"phone": "13800000001"})
    assert refusal(await office.hand_in(case, "no_contact", reason="没有电话")) == "customer_can_be_reached"


async def test_another_store_that_is_asked_is_one_of_ours(office: Office):
    case = await office.open()
    with pytest.raises(Invalid) as refused:
        await office.hand_in(case, "ask_department", department="store", store="SH99", question="有同款吗")
    assert [(error.field, error.code) for error in refused.value.errors] == [("store", "unknown_store")]


async def test_a_side_task_does_not_hold_up_the_end(office: Office):
    case = await office.open()
    await office.hand_in(case, "ask_manager", question="可以加送一张券吗")
    await office.walk(case)
    assert office.case(case).state == "archived"
    assert office.tasks(case)["decision"].state == "withdrawn"


# The same matter twice


async def test_e27_a_duplicate_ends_and_the_other_goes_on_with_the_shorter_clocks(office: Office):
    """E27 (c): one master, the shortest remaining deadline of each kind, one callback; nothing of the duplicate escalates."""
    first = await office.open(received_at=(office.now() - 10 * HOUR).isoformat())
    second = await office.open(form_no="OA-7777")
    await office.hand_in(first, "reply", content="已致歉")
    sooner = {key: office.tasks(first)[key].due_at for key in ("solution", "callback", "completion")}
    await office.hand_in(first, "duplicate", of="OA-7777")
    assert (office.case(first).state, office.case(first).closed_because) == ("archived", "duplicate")
    await office.relay.deliver(second)
    assert {key: office.tasks(second)[key].due_at for key in sooner} == sooner
    assert office.tasks(second)["reply"].state == "open"
    [why] = office.tasks(second)["solution"].due_because["changes"]
    assert why["due_at"] < why["due_before"]
    heard = [notice for notice in office.heard(second, "lin") if notice.startswith("extended")]
    assert sorted(heard) == ["extended/callback", "extended/solution"], "completion is on nobody's list"
    await office.pass_time(10 * DAY)
    assert [notice for notice in office.heard(first, "wang") if notice.startswith("overdue")] == []


@pytest.mark.parametrize(
    ("of", "code"), [("OA-none", "no_such_other_case"), ("self", "no_such_other_case"), ("closed", "other_case_closed")]
)
async def test_e27_a_duplicate_names_an_open_case(office: Office, of: str, code: str):
    case = await office.open()
    if of == "closed":
        of = await office.open()
        await office.walk(of)
    with pytest.raises(Invalid) as refused:
        await office.hand_in(case, "duplicate", of=case if of == "self" else of)
    assert [error.code for error in refused.value.errors] == [code]


@pytest.mark.parametrize("waited", [0, 31])
async def test_e27_what_was_agreed_with_the_customer_goes_on_in_the_other(office: Office, waited: int):
    """E27 (c): the promised time is owed there, late or not; nothing that the customer was told is lost."""
    case, other = await office.open(), await office.open()
    await office.hand_in(case, "out_of_authority", reason="要求三倍赔偿")
    agreed = office.now() + 30 * HOUR
    await office.hand_in(case, "agreement", reply_at=agreed.isoformat())
    await office.pass_time(waited * HOUR)
    await office.hand_in(case, "duplicate", of=other)
    await office.relay.deliver(other)
    assert office.tasks(other)["agreed_reply"].due_at == agreed
    await office.pass_time((31 - waited) * HOUR)
    assert office.heard(other, "wang").count("overdue/agreed_reply") == 1
    assert office.heard(case, "wang").count("overdue/agreed_reply") == (1 if waited else 0)


async def test_e27_a_complaint_is_no_duplicate_of_what_is_owed_less(office: Office):
    """E27 (c): its clocks would be nobody's. What it is taken for now counts (E31), and a query may end in a complaint."""
    case, other, query = await office.open(), await office.open(), await office.open(kind="query")

    def refused(of: str) -> list[tuple[str, str]]:
        with pytest.raises(Invalid) as invalid:
            office.commit(case, "duplicate", of=of)
        return [(error.field, error.code) for error in invalid.value.errors]

    assert refused(query) == [("of", "other_case_owes_less")]
    theirs = await of_a_store(office)
    assert refused(theirs) == [("of", "other_case_owes_less")], (
        "of a store that has answered itself only the callback is owed"
    )
    closing = await office.open()
    await office.walk(closing, until="callback")
    assert refused(closing) == [("of", "other_case_owes_less")], "nobody will call there any more"
    await office.hand_in(theirs, "duplicate", of=case)
    for kind in ("praise", "junk"):
        await office.hand_in(other, "reclassify", kind=kind, reason="看错了")
        assert refused(other) == [("of", "other_case_owes_less")]
    await office.hand_in(other, "reclassify", kind="complaint", reason="确是投诉")
    await office.hand_in(other, "reclassify", kind="junk", reason="像广告")
    await office.hand_in(other, "sign_off", by="wang", approved=False)
    await office.hand_in(query, "duplicate", of=other)
    await office.hand_in(case, "duplicate", of=other)
    assert [office.case(one).closed_because for one in (query, case)] == ["duplicate", "duplicate"]


async def test_e27_a_duplicate_ends_neither_what_the_manager_looks_at_nor_what_is_being_closed(office: Office):
    """The sign-off of junk, of a query with nothing left, of a customer nobody reached; the closing form."""
    other = await office.open()
    junk, query, closing = await office.open(), await office.open(), await office.open()
    await office.hand_in(junk, "reclassify", kind="junk", reason="广告")
    await office.hand_in(query, "reply", content="已致歉")
    await office.hand_in(query, "reclassify", kind="query", reason="只是询问")
    await office.walk(closing, until="callback")
    lost = await at_callback(office)
    await office.hand_in(lost, "callback", outcome="refused_contact")
    await office.hand_in(other, "reclassify", kind="praise", reason="表扬")
    for case, code in (
        (junk, "sign_off_open"),
        (query, "sign_off_open"),
        (lost, "sign_off_open"),
        (closing, "too_late_to_leave"),
    ):
        owed = office.open_tasks(case)
        assert refusal(await office.hand_in(case, "duplicate", of=other)) == code
        assert office.open_tasks(case) == owed


async def test_e27_nor_the_supervisors_opinion_nor_what_the_customer_has_been_asked_or_has_agreed_to(office: Office):
    """The other one goes on from where it stands: it must not stand before that."""
    other = await office.open()
    wanting = await of_a_store(office, handling={"supervisor_opinion": None})
    asked, agreed = await office.open(), await office.open()
    await office.walk(asked, until="solution")
    await office.walk(agreed, until="consent")
    for case in (wanting, asked, agreed):
        with pytest.raises(Invalid) as invalid:
            office.commit(case, "duplicate", of=other)
        assert [error.code for error in invalid.value.errors] == ["other_case_owes_less"]
    await office.hand_in(other, "duplicate", of=agreed)
    assert office.case(other).closed_because == "duplicate"


async def test_e27_two_cases_never_end_in_each_other(office: Office):
    """Each as a duplicate of the other, and one that is just taking another over: the matter would be nobody's."""
    first, second, third = await office.open(), await office.open(), await office.open()
    office.commit(first, "duplicate", of=second)
    for case, of in ((second, first), (second, third)):
        with pytest.raises(Invalid) as refused:
            office.commit(case, "duplicate", of=of)
        assert [error.code for error in refused.value.errors] == ["being_merged"]
    for case in (first, second):
        await office.relay.deliver(case)
    await office.hand_in(second, "duplicate", of=third)
    await office.relay.deliver(third)
    assert {case: office.case(case).state for case in (first, second, third)} == {
        first: "archived",
        second: "archived",
        third: "open",
    }
    due = {case: office.tasks(case)["solution"].due_at for case in (first, third)}
    assert due[third] == due[first], "the shortest of the three, through the one between"


async def wrong_with(office: Office, *cases: str) -> list[tuple[str, str | None]]:
    """What the doctor says of some cases."""
    found = await examine(office.front, office.now() - DAY, office.now() + HOUR, office.now(), quick=True)
    return [(fault.kind, fault.case) for fault in found.faults if fault.case in cases]


@pytest.mark.parametrize("became", ["closed", "praise", "closed before it was taken"])
async def test_e27_what_a_duplicate_leaves_is_never_nobodys_unseen(office: Office, became: str):
    """The other one ended, or was found to owe less, while the duplicate was on its way: the manager hears, once, what to do."""
    first, second = await office.open(), await office.open()
    office.commit(first, "duplicate", of=second)
    ways = {"praise": [("reclassify", {"kind": "praise", "reason": "是表扬"})]}
    ending = [("withdraw", {"reason": "撤诉"}), ("record", {"finding": "已撤诉"})]
    for form, fields in ways.get(became, ending):
        if became == "closed before it was taken":
            office.commit(second, form, **fields)
        else:
            assert refusal(await office.hand_in(second, form, **fields)) == "decided"
    for case in (first, second, first, second):
        await office.relay.deliver(case)
    assert (office.case(first).state, office.case(first).closed_because) == ("archived", "duplicate")
    assert office.heard(first, "wang") == ["not_absorbed/None"]
    assert [notice for notice in office.heard(second, "lin") if notice.startswith("refused")] == []
    async with office.api("wang") as wang:
        [told] = [one for one in (await wang.get("/api/notices")).json()["items"] if one["what"] == "not_absorbed"]
    number, other = office.case(first).number, office.case(second).number
    assert f"工单 {number} 已并入 {other}" in told["text"]
    assert f"原工单号（earlier）填 {number}" in told["text"]
    assert await wrong_with(office, first, second) == [("not_absorbed", first)]
    assert office.case(await office.open(earlier=number)).cycle == 2
    assert await wrong_with(office, first, second) == []


async def test_e27_where_the_other_one_goes_on_the_manager_hears_nothing(office: Office):
    first, second = await office.open(), await office.open()
    await office.walk(second, until="consent")
    office.commit(first, "duplicate", of=second)
    for case in (first, second):
        await office.relay.deliver(case)
    assert office.case(first).closed_because == "duplicate"
    assert office.heard(first, "wang") == []
    assert await wrong_with(office, first, second) == [], "it had nothing that is due sooner, and left no trace"


async def test_e27_a_form_that_a_stores_system_sends_again_corrected_amends_its_case(office: Office):
    """E27 (b): no second case, no conflict; each correction once, however often and late it comes again."""
    form = office.complaint(goods={"style_no": "Y-1700"}, customer={"name": "张小红", "phone": "13800000001"})
    better = form | {"content": "跑绒，已拍照", "goods": {"style_no": "Y-1700", "size": "170"}, "severity": "major"}
    best = better | {"customer": {"name": "张小红", "phone": "13900000002"}}
    async with office.api("oa-sh01") as store:
        first = await store.post("/api/cases/complaint", json=form)
        case = first.json()["case"]
        due = {key: task.due_at for key, task in office.tasks(case).items()}
        answers = [await store.post("/api/cases/complaint", json=sent) for sent in (better, best, better, form, best)]
        shown = (await store.get(f"/api/cases/{case}")).json()
    assert (first.status_code, {answer.status_code for answer in answers}) == (201, {200})
    assert {answer.json()["case"] for answer in answers} == {case}
    ids = [answer.json()["submission"] for answer in answers]
    assert (ids[2], ids[3], ids[4]) == (ids[0], first.json()["submission"], ids[1])
    amended = [row.form for row in office.rows(SubmissionRow, case, SubmissionRow.recorded_at)]
    assert amended == ["open", "amend", "amend"]
    assert (shown["facts"]["content"], shown["facts"]["customer"]["phone"]) == ("跑绒，已拍照", "13900000002")
    assert shown["corrected"] == ["content", "customer.phone", "goods.size", "severity"]
    assert {key: task.due_at for key, task in office.tasks(case).items()} == due, (
        "the receipt stays, and so do the clocks"
    )
    assert office.heard(case, "wang") == ["major/None"]


async def test_e27_what_cannot_be_amended_is_named_and_nothing_of_it_is_kept(office: Office):
    form = office.complaint(demand="换货")
    async with office.api("oa-sh01") as store:
        case = (await store.post("/api/cases/complaint", json=form)).json()["case"]
        for other, fields in (
            ({**form, "channel": "phone", "content": "更正"}, ["channel"]),
            ({**form, "customer": {"name": "张小红"}}, ["customer.phone"]),
        ):
            answer = await store.post("/api/cases/complaint", json=other)
            assert (answer.status_code, answer.json()["code"]) == (409, "not_amendable")
            assert all(field in answer.json()["detail"] for field in fields)
        key = {"Idempotency-Key": "again-1"}
        once = await store.post("/api/cases/complaint", json=form | {"demand": "退货"}, headers=key)
        twice = await store.post("/api/cases/complaint", json=form | {"demand": "退货"}, headers=key)
        other = await store.post("/api/cases/complaint", json=form | {"demand": "赔偿"}, headers=key)
    assert (once.status_code, once.json()["submission"]) == (twice.status_code, twice.json()["submission"])
    assert (once.json()["submission"], other.status_code, other.json()["code"]) == ("again-1", 409, "key_reused")
    assert [row.form for row in office.rows(SubmissionRow, case, SubmissionRow.recorded_at)] == ["open", "amend"]


async def test_e27_an_amended_form_keeps_its_receipt_time_and_its_clocks(office: Office):
    """E27 (b): an amendment, not a new case."""
    case = await office.open()
    before = {key: task.due_at for key, task in office.tasks(case).items()}
    await office.hand_in(case, "amend", by="oa-sh01", severity="major", content="吊牌也是错的")
    assert {key: task.due_at for key, task in office.tasks(case).items()} == before
    assert office.heard(case, "wang") == ["major/None"]
    with pytest.raises(Invalid):
        await office.hand_in(case, "amend", by="oa-sh01")


async def test_e27_a_case_shows_what_is_so_by_now_and_what_it_was_before(office: Office):
    """E27 (b), E28: of the customer and the goods field by field; what is undecided or was refused corrects nothing."""
    case = await office.open(goods={"style_no": "Y-1700", "size": "165"}, severity="ordinary")
    as_it_came = await shown_to(office, "wang", case)
    assert (as_it_came["corrected"], as_it_came["timeline"][0]["content"]) == ([], None)
    for phone in ("13900000002", "13900000003"):
        await office.hand_in(case, "amend", by="oa-sh01", customer={"phone": phone}, goods={"size": "170"})
    await office.hand_in(case, "amend", content="羽绒服穿了一次就跑绒", severity="ordinary", demand="换一件")
    await office.walk(case, until="callback")
    closing = office.commit(case, "record", finding="充绒工艺不良")
    late = office.commit(case, "amend", demand="要求退款")
    async with office.api("wang") as wang:
        undecided = (await wang.get(f"/api/cases/{case}")).json()
        await office.relay.deliver(case)
        shown = (await wang.get(f"/api/cases/{case}")).json()
    assert [sent["form"] for sent in undecided["pending"]] == ["record", "amend"]
    assert [office.submission(sent.submission).state for sent in (closing, late)] == ["decided", "refused"]
    for seen in (undecided, shown):
        facts = {name: seen["facts"][name] for name in ("content", "demand", "customer", "goods")}
        assert facts == {
            "content": "羽绒服穿了一次就跑绒",
            "demand": "换一件",
            "customer": {"name": "张小红", "phone": "13900000003"},
            "goods": {"style_no": "Y-1700", "size": "170"},
        }
        assert seen["corrected"] == ["content", "customer.phone", "demand", "goods.size"], "as ordinary as it was"
    opened, *later = shown["timeline"]
    assert (opened["kind"], opened["content"]) == ("opened", as_it_came["facts"])
    assert [
        entry["content"] for entry in later if entry["submission"] == opened["submission"] and entry["content"]
    ] == []
    corrections = [entry["content"] for entry in later if entry["form"] == "amend"]
    assert [said["customer"]["phone"] for said in corrections if "customer" in said] == ["13900000002", "13900000003"]


async def test_e27_what_was_corrected_is_for_those_who_may_read_what_it_was(office: Office):
    """Who is asked sees the matter as it is by now, and of the customer no more than before; the administrator nothing."""
    case = await office.open(content="张小红的羽绒服跑绒", demand="换一件")
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次还有吗")
    await office.hand_in(case, "ask_department", department="store", store="SH02", question="还有没有同款")
    li = {"name": "李大明", "phone": "13900000002"}
    said = {"content": "李大明（电话 13900000002）的大衣起球", "goods": {"style_no": "Y-1700"}}
    await office.hand_in(case, "amend", by="oa-sh01", customer=li, about_employee="chen", **said)
    for asked in ("shang", "oa-sh02"):
        shown = await shown_to(office, asked, case)
        assert shown["facts"]["content"] == "****（电话 ****）的大衣起球"
        assert shown["corrected"] == ["content", "goods.style_no"]
        assert shown["timeline"][0]["content"]["content"] == "****的羽绒服跑绒"
        assert not shown["facts"].keys() & {"customer", "about_employee"}
        assert not any(word in str(shown) for word in ("张小红", "李大明", "13800000001", "13900000002", "chen"))
    for whole in ("lin", "wang", "sun", "qian", "oa-sh01"):
        shown = await shown_to(office, whole, case)
        assert (shown["facts"]["customer"], shown["facts"]["about_employee"]) == (li, "chen")
        assert {"about_employee", "customer.name", "customer.phone"} < set(shown["corrected"])
    nothing = await shown_to(office, "admin", case)
    assert (nothing["facts"], nothing["corrected"], nothing["timeline"][0]["content"]) == (None, [], None)


async def shown_to(office: Office, reader: str, case: str) -> dict[str, Any]:
    async with office.api(reader) as door:
        answer = await door.get(f"/api/cases/{case}")
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def test_e28_what_a_store_supplied_is_a_fact_of_its_case(office: Office):
    case = await of_a_store(office, customer={})
    contact = {"name": "李四", "phone": "13900000002"}
    await office.hand_in(case, "supplement", by="oa-sh01", customer=contact, note="顾客上午不便接听")
    shown = await shown_to(office, "lin", case)
    assert (shown["facts"]["customer"], shown["corrected"]) == (contact, ["customer.name", "customer.phone"])
    assert "note" not in shown["facts"]


async def test_e41_a_case_stays_open_until_its_closing_form_and_the_manager_hears_of_a_late_one(office: Office):
    """E41: due 24 hours after the callback."""
    case = await at_callback(office)
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5)
    await office.pass_time(25 * HOUR)
    assert office.heard(case, "wang") == ["overdue/record"]
    assert office.case(case).state == "open"
    await office.hand_in(case, "record", finding="补交")
    assert office.case(case).state == "archived"


# Of another kind than it was taken for


async def test_e31_reclassified_there_and_back_its_clocks_run_from_receipt_and_nobody_hears_twice(office: Office):
    """E31: passed rungs are kept; what was done stays done."""
    case = await office.open()
    received_at = office.now()
    await office.pass_time(25 * HOUR)
    assert office.heard(case, "wang") == ["overdue/reply"]
    assert (await office.hand_in(case, "reclassify", kind="query", reason="只是询问")).state == "decided"
    assert office.open_tasks(case) == {"reply"}
    assert refusal(await office.hand_in(case, "reclassify", kind="query", reason="再说一遍")) == "of_this_kind"
    await office.hand_in(case, "reclassify", kind="suggestion", reason="其实是建议")
    assert office.open_tasks(case) == {"record"}
    await office.pass_time(DAY)
    await office.hand_in(case, "reclassify", kind="complaint", reason="还是投诉")
    assert office.open_tasks(case) == {"reply-2", "solution-2", "callback-2"}
    assert office.tasks(case)["solution-2"].due_at - received_at <= 48 * HOUR, "from receipt, whatever passed"
    heard = office.heard(case, "wang")
    assert [notice for notice in heard if notice.startswith("overdue/reply")] == ["overdue/reply"], "not twice"
    assert "overdue/solution-2" in heard, "nobody had heard of this one"
    await office.walk(case)
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "completed")


async def test_e31_what_is_no_complaint_is_thrown_away_under_the_managers_eye(office: Office):
    case = await office.open()
    await office.hand_in(case, "reply", content="已致歉")
    await office.hand_in(case, "reclassify", kind="junk", reason="广告")
    assert {key: office.tasks(case)[key].owner for key in office.open_tasks(case)} == {"sign_off": "wang"}
    await office.hand_in(case, "sign_off", by="wang", approved=False, note="这是投诉")
    assert office.open_tasks(case) == {"solution-2", "callback-2"}, "the reply stays done"
    await office.hand_in(case, "reclassify", kind="junk", reason="确是广告")
    await office.hand_in(case, "sign_off", by="wang", approved=True)
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "junk")


async def test_e31_a_query_that_has_had_its_answer_is_gone_when_the_manager_says_so_and_not_before(office: Office):
    """Nothing is left to do of it: nobody archives a complaint by calling it something else."""
    case = await office.open()
    await office.hand_in(case, "reply", content="已致歉")
    due = office.tasks(case)["callback"].due_at
    await office.hand_in(case, "reclassify", kind="query", reason="只是询问")
    assert {key: office.tasks(case)[key].owner for key in office.open_tasks(case)} == {"sign_off": "wang"}
    await office.hand_in(case, "reclassify", kind="complaint", reason="还是投诉")
    assert office.open_tasks(case) == {"solution-2", "callback-2"}, "all stands where it stood"
    assert office.tasks(case)["callback-2"].due_at == due
    await office.hand_in(case, "reclassify", kind="query", reason="只是询问")
    await office.hand_in(case, "sign_off", by="wang", approved=False, note="这是投诉")
    assert office.open_tasks(case) == {"solution-3", "callback-3"}
    await office.hand_in(case, "reclassify", kind="query", reason="确是询问")
    await office.hand_in(case, "sign_off", by="wang", approved=True)
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "completed")


async def test_e31_lists_and_forms_say_what_it_is_taken_for_now(office: Office):
    """Junk, and a query with nothing left to do, when the manager has agreed."""
    case = await office.open()
    await office.open(kind="praise", form_no="OA-praise")

    async def kind() -> str:
        async with office.api() as lin:
            [listed] = (await lin.get("/api/cases", params={"q": case})).json()["items"]
            of_kind = (await lin.get("/api/cases", params={"kind": listed["kind"]})).json()["items"]
            shown = (await lin.get(f"/api/cases/{case}")).json()
        assert [one["case"] for one in of_kind] == [case]
        assert (shown["kind"], shown["facts"]["kind"]) == (listed["kind"], "complaint")
        return str(listed["kind"])

    assert await kind() == "complaint"
    await office.hand_in(case, "reclassify", kind="suggestion", reason="是建议")
    assert await kind() == "suggestion"
    await office.hand_in(case, "reclassify", kind="junk", reason="广告")
    assert await kind() == "suggestion", "the manager has not agreed"
    await office.hand_in(case, "sign_off", by="wang", approved=False)
    await office.hand_in(case, "reclassify", kind="complaint", reason="是投诉")
    await office.hand_in(case, "reply", content="已致歉")
    await office.hand_in(case, "reclassify", kind="query", reason="只是询问")
    assert await kind() == "complaint"
    await office.hand_in(case, "sign_off", by="wang", approved=True)
    assert await kind() == "query"


async def test_e31_what_the_manager_does_not_let_go_is_what_it_was_before_and_that_before(office: Office):
    """Junk that was an answered query, that was a complaint: he looks at each."""
    case = await office.open()
    await office.hand_in(case, "reply", content="已致歉")
    await office.hand_in(case, "reclassify", kind="query", reason="只是询问")
    await office.hand_in(case, "reclassify", kind="junk", reason="广告")
    await office.hand_in(case, "sign_off", by="wang", approved=False, note="不是广告")
    assert office.open_tasks(case) == {"sign_off-3"}
    await office.hand_in(case, "sign_off", by="wang", approved=False, note="也不只是询问")
    assert office.open_tasks(case) == {"solution-2", "callback-2"}


async def test_e31_what_others_were_asked_and_what_is_to_be_agreed_goes_on_there_and_back(office: Office):
    """No clock that somebody was late with ends because the case is called something else."""
    case = await office.open()
    await office.hand_in(case, "out_of_authority", reason="要求三倍赔偿")
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次还有吗")
    due = {key: office.tasks(case)[key].due_at for key in ("agreement", "decision", "assist")}
    await office.pass_time(2 * HOUR)
    for kind in ("suggestion", "query", "junk", "complaint"):
        await office.hand_in(case, "reclassify", kind=kind, reason="看错了")
        assert due.items() <= {key: task.due_at for key, task in office.tasks(case).items()}.items()
        assert due.keys() <= office.open_tasks(case)
    assert office.heard(case, "wang").count("overdue/agreement") == 1
    await office.hand_in(case, "assist", by="shang", answer="另有两起")
    assert "answered/assist" in office.heard(case, "lin")


async def test_e31_what_was_a_query_before_it_was_one_is_a_complaint_where_the_manager_does_not_let_it_go(
    office: Office,
):
    """It owes no closing form as a query, which no query does."""
    case = await office.open(kind="query")
    await office.hand_in(case, "out_of_authority", reason="要问工厂")
    await office.hand_in(case, "agreement", reply_at=(office.now() + 30 * HOUR).isoformat())
    await office.hand_in(case, "reclassify", kind="junk", reason="广告")
    await office.hand_in(case, "agreed_reply", content="可以定做")
    await office.hand_in(case, "reclassify", kind="query", reason="是询问")
    await office.hand_in(case, "sign_off", by="wang", approved=False, task="sign_off-2")
    assert (office.case(case).taken_for, office.open_tasks(case)) == ("complaint", {"solution", "callback", "decision"})


async def test_e31_a_query_that_was_one_from_the_first_ends_with_its_answer(office: Office):
    case = await office.open(kind="query")
    await office.hand_in(case, "reply", content="周末营业至十点")
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "completed")


async def there_and_back(office: Office, case: str, kind: str = "suggestion", back: str = "complaint") -> None:
    for found in (kind, back):
        assert (await office.hand_in(case, "reclassify", kind=found, reason="看错了")).state == "decided"


async def test_e31_what_the_customer_agreed_to_and_what_was_carried_out_is_not_asked_again(office: Office):
    case = await at_callback(office)
    due = office.tasks(case)["callback"].due_at
    await there_and_back(office, case)
    await there_and_back(office, case)
    assert office.open_tasks(case) == {"callback-3"}
    assert office.tasks(case)["callback-3"].due_at == due
    async with office.api() as lin:
        tasks = (await lin.get(f"/api/cases/{case}")).json()["tasks"]
    assert [task["possible"] for task in tasks if task["task"] == "callback-3"] == [True]
    assert "completion-2" not in office.tasks(case), "the 48 hours were kept"
    await office.hand_in(case, "callback", outcome="dissatisfied", satisfaction=1)
    await there_and_back(office, case)
    assert (office.case(case).cycle, office.open_tasks(case)) == (2, {"solution-3"})
    assert office.heard(case, "wang") == ["dissatisfied/None"], "once"


async def test_e31_an_extension_stays_and_nobody_hears_twice_of_the_time_before_it(office: Office):
    case = await office.open()
    await office.pass_time(25 * HOUR)
    later = office.now() + 10 * DAY
    await office.hand_in(case, "extend", by="wang", task="reply", due_at=later.isoformat(), reason="等检测")
    await there_and_back(office, case)
    assert office.tasks(case)["reply-2"].due_at == later
    assert [change["by"] for change in office.tasks(case)["reply-2"].due_because["changes"]] == ["wang"]
    await office.pass_time(HOUR)
    assert office.heard(case, "wang") == ["overdue/reply"]


async def test_e31_what_is_owed_anew_has_a_clock_that_somebody_hears(office: Office):
    """A record that was late before it was no suggestion is not told again; the one its return owes goes on in its ladder."""
    case = await office.open(kind="suggestion")
    await office.pass_time(25 * HOUR)
    await there_and_back(office, case, "complaint", "suggestion")
    await office.pass_time(25 * HOUR)
    assert [said for said in office.heard(case, "wang") if "record" in said] == ["overdue/record"]
    assert office.heard(case, "sun") == ["overdue/record-2"]


async def test_e20_a_query_whose_customer_was_promised_an_answer_ends_with_it(office: Office):
    """Found by the fuzz: to agree on a time was taken for the answer."""
    case = await office.open(kind="query")
    await office.hand_in(case, "out_of_authority", reason="要问工厂")
    agreed = office.now() + 30 * HOUR
    await office.hand_in(case, "agreement", reply_at=agreed.isoformat())
    assert {"agreed_reply"} <= office.open_tasks(case)
    await there_and_back(office, case, "complaint", "query")
    assert office.open_tasks(case) == {"agreed_reply", "decision"}
    await office.hand_in(case, "agreed_reply", content="工厂答复可以定做")
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "completed")


async def test_e20_what_was_promised_to_a_customer_is_kept_whatever_his_matter_is_found_to_be(office: Office):
    """A suggestion ends with its form, an answered query with the manager's word, but not before the agreed answer."""
    for before, kind, last in (
        ((), "suggestion", ("record", "lin", {"finding": "已归档"})),
        ((("reply", {"content": "已致歉"}),), "query", ("sign_off", "wang", {"approved": True})),
    ):
        case = await office.open()
        for form, said in before:
            await office.hand_in(case, form, **said)
        await office.hand_in(case, "reclassify", kind=kind, reason="看错了")
        await office.hand_in(case, "out_of_authority", reason="要问工厂")
        await office.hand_in(case, "agreement", reply_at=(office.now() + 30 * HOUR).isoformat())
        form, by, said = last
        await office.hand_in(case, form, by=by, **said)
        assert office.open_tasks(case) == {"agreed_reply", "decision"}
        await office.hand_in(case, "agreed_reply", content="工厂答复可以定做")
        assert office.case(case).state == "archived"


async def test_e20_a_later_answer_than_48_hours_is_the_managers_to_allow_of_a_query_and_after_the_proposal_too(
    office: Office,
):
    """E20: whatever is owed at the moment, from receipt."""
    query, proposed, stores = await office.open(kind="query"), await office.open(), await of_a_store(office)
    await office.walk(proposed, until="solution")
    for case in (query, proposed, stores):
        await office.hand_in(case, "out_of_authority", reason="要问工厂")
        late = (office.now() + 90 * DAY).isoformat()
        assert refusal(await office.hand_in(case, "agreement", reply_at=late)) == "past_the_48_hours"
        await office.hand_in(case, "decision", by="wang", verdict="approve", reply_by=late)
        assert refusal(await office.hand_in(case, "agreement", reply_at=late)) == "decided"


@pytest.mark.parametrize("kind", ["query", "suggestion", "junk", "store", "nobody"])
async def test_an_authority_is_answered_whatever_kind_of_case_it_is(office: Office, kind: str):
    """Found by the fuzz: what ends without a record ended with the authority's question open."""
    last = {
        "query": ("reply", "lin", {"content": "已答复"}),
        "suggestion": ("record", "lin", {"finding": "已归档"}),
        "junk": ("sign_off", "wang", {"approved": True}),
        "store": ("callback", "lin", {"outcome": "satisfied", "satisfaction": 5}),
        "nobody": ("supplement", "oa-sh01", {"nothing_more_known": True}),
    }
    if kind in ("store", "nobody"):
        case = await of_a_store(office, **({} if kind == "store" else {"customer": {}}))
    else:
        case = await office.open(kind="complaint" if kind == "junk" else kind)
    if kind == "junk":
        await office.hand_in(case, "reclassify", kind="junk", reason="广告")
    await office.hand_in(case, "refer", body="12315", reference="1", due_at=(office.now() + DAY).isoformat())
    form, by, fields = last[kind]
    assert refusal(await office.hand_in(case, form, by=by, **fields)) == "decided"
    if kind == "nobody":
        await office.hand_in(case, "record", finding="无联系方式")
    assert (office.case(case).state, office.open_tasks(case)) == ("open", {"external_reply"})
    assert refusal(await office.hand_in(case, "withdraw", reason="撤诉")) == "too_late_to_leave"
    await office.hand_in(case, "external_reply", content="已答复市监局")
    assert office.case(case).state == "archived"


async def test_e31_a_store_complaint_that_is_ours_stays_ours_and_its_supervisor_is_not_asked_twice(office: Office):
    case = await of_a_store(office, handling={"supervisor_opinion": None})
    await office.hand_in(case, "opinion", by="qian", content="同意")
    await office.hand_in(case, "callback", outcome="dissatisfied", satisfaction=1)
    due = {key: office.tasks(case)[key].due_at for key in ("solution", "callback-2")}
    await there_and_back(office, case)
    assert office.open_tasks(case) == {"reply-2", "solution-2", "callback-3"}
    assert [office.tasks(case)[key].due_at for key in ("solution-2", "callback-3")] == list(due.values())
    assert office.case(case).cycle == 2


async def test_e31_too_late_to_be_of_another_kind(office: Office):
    case = await office.open()
    await office.walk(case, until="callback")
    assert refusal(await office.hand_in(case, "reclassify", kind="junk", reason="广告")) == "too_late_to_leave"


async def test_the_survey_is_the_policys(office: Office):
    case = await at_callback(office)
    said = {"outcome": "satisfied", "satisfaction": 5}
    for survey, field, code in (
        ([{"question": "weather", "score": 5}], "survey.0.question", "unknown_question"),
        ([{"question": "speed", "yes": True}], "survey.0", "answer_by_score"),
        ([{"question": "solved", "yes": True, "score": 5}], "survey.0", "answer_by_yes_no"),
        ([{"question": "speed", "score": 5}] * 2, "survey.1.question", "asked_twice"),
    ):
        with pytest.raises(Invalid) as refused:
            await office.hand_in(case, "callback", **said, survey=survey)
        assert [(error.field, error.code) for error in refused.value.errors] == [(field, code)]
    whole = [
        {"question": "speed", "score": 4},
        {"question": "solved", "yes": True},
        {"question": "wish", "text": "快一点"},
    ]
    await office.hand_in(case, "callback", **said, survey=whole)
    outline = office.rows(SubmissionRow, case, SubmissionRow.recorded_at)[-1].outline
    assert outline["survey"][:2] == whole[:2]
    assert outline["survey"][2]["text"] == "§", "what the customer said in words stays in the ledger"


async def test_the_category_is_one_of_the_departments_two_levels(office: Office):
    await office.open(category="质量")
    await office.open(category="质量/起球")
    for category in ("质地", "质量/跑绒", "服务/态度"):
        with pytest.raises(Invalid) as refused:
            await office.open(category=category)
        assert [(error.field, error.code) for error in refused.value.errors] == [("category", "unknown_category")]


async def test_e27_a_category_is_corrected_to_one_that_there_is(office: Office):
    case = await office.open(category="质量")
    for category in ("质地", "质量/跑绒"):
        with pytest.raises(Invalid) as refused:
            await office.hand_in(case, "amend", category=category)
        [error] = refused.value.errors
        assert (error.field, error.code, "质量（起球、" in error.values["known"]) == (
            "category",
            "unknown_category",
            True,
        )
    assert (await office.hand_in(case, "amend", by="oa-sh01", category="质量/起球")).state == "decided"


# Store complaints (3.3 F8)

HANDLED = {"reply": "店长已致歉", "solution": "已换新", "by": "oa-sh01", "supervisor_opinion": "同意门店处理"}


async def of_a_store(office: Office, **more: Any) -> str:
    handling = HANDLED | more.pop("handling", {})
    return await office.open(origin="store", store_handling=handling, **more)


async def test_e29_a_store_complaint_starts_at_the_callback_and_ends_without_a_record(office: Office):
    """E29: the store's 24 and 48 hours are shown, not enforced; the week runs from OA receipt."""
    received = office.now() - DAY
    case = await of_a_store(office, received_at=received.isoformat())
    assert office.open_tasks(case) == {"callback"}
    assert office.tasks(case)["callback"].due_at == received + 7 * DAY
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=4)
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "completed")


async def test_e29_dissatisfied_becomes_headquarters_with_fresh_clocks(office: Office):
    case = await of_a_store(office, received_at=(office.now() - 3 * DAY).isoformat())
    await office.hand_in(case, "callback", outcome="dissatisfied", satisfaction=1)
    assert office.open_tasks(case) == {"reply", "solution", "callback-2"}
    called_at = office.tasks(case)["callback"].done_at
    assert called_at
    due = {key: office.tasks(case)[key].due_at - called_at for key in office.open_tasks(case)}
    assert due == {"reply": DAY, "solution": 2 * DAY, "callback-2": 7 * DAY}
    assert office.heard(case, "wang") == ["dissatisfied/None"]
    await office.walk(case)
    assert office.case(case).state == "archived"


async def test_e29_an_authority_that_comes_in_while_the_opinion_is_awaited_is_answered(office: Office):
    """E29, E44: the customer's part is over, and what others wait for holds, in whatever order it comes and goes."""
    case = await of_a_store(office, handling={"supervisor_opinion": None})
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=4)
    await office.hand_in(case, "refer", body="12315", reference="1", due_at=(office.now() + DAY).isoformat())
    await office.hand_in(case, "opinion", by="qian", content="同意")
    assert (office.case(case).state, office.open_tasks(case)) == ("open", {"external_reply"})
    await office.hand_in(case, "external_reply", content="已回函")
    assert office.case(case).state == "archived"


async def test_e29_a_dissatisfied_customer_waits_for_nobodys_opinion(office: Office):
    """E29: the manager hears at once, and headquarters' clocks begin; the supervisor's word is owed all the same, to the end."""
    case = await of_a_store(office, handling={"supervisor_opinion": None})
    await office.hand_in(case, "callback", outcome="dissatisfied", satisfaction=1)
    assert office.heard(case, "wang") == ["dissatisfied/None"]
    assert office.open_tasks(case) == {"opinion", "reply", "solution", "callback-2"}
    await office.walk(case)
    assert (office.case(case).state, office.open_tasks(case)) == ("open", {"opinion"})
    await office.hand_in(case, "opinion", by="qian", content="已与店长谈话")
    assert (office.case(case).state, office.case(case).closed_because) == ("archived", "completed")


async def test_e29_help_is_not_held_up_by_what_the_store_still_owes(office: Office):
    """E28, E29: neither how the customer is reached nor the supervisor's word; both are owed beside."""
    case = await of_a_store(office, handling={"help_wanted": True, "supervisor_opinion": None}, customer={})
    assert office.open_tasks(case) == {"opinion", "supplement", "reply", "solution", "callback"}
    await office.hand_in(case, "amend", by="oa-sh01", customer={"phone": "13800000001"})
    assert "supplement" not in office.open_tasks(case), "it is known now"
    await office.walk(case)
    assert office.open_tasks(case) == {"opinion"}


async def test_e29_help_wanted_is_headquarters_at_once(office: Office):
    case = await of_a_store(office, handling={"help_wanted": True}, received_at=(office.now() - 3 * DAY).isoformat())
    assert office.open_tasks(case) == {"reply", "solution", "callback"}
    assert office.heard(case, "wang") == [], "fresh clocks"


async def test_e29_the_supervisors_opinion_is_owed_where_it_did_not_come_along(office: Office):
    case = await of_a_store(office, handling={"supervisor_opinion": None})
    assert office.open_tasks(case) == {"callback", "opinion"}
    assert office.tasks(case)["opinion"].owner == "qian"
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=4)
    assert office.case(case).state == "open"
    await office.hand_in(case, "opinion", by="qian", content="同意")
    assert office.case(case).state == "archived"


async def test_e28_an_incomplete_form_goes_back_to_the_store_and_keeps_its_receipt_time(office: Office):
    """E28: with a clock; then it goes on."""
    received = office.now() - DAY
    case = await of_a_store(office, customer={}, received_at=received.isoformat())
    assert office.open_tasks(case) == {"supplement"}
    assert office.tasks(case)["supplement"].owner == "oa-sh01"
    await office.pass_time(49 * HOUR)
    assert office.heard(case, "qian") == ["overdue/supplement"]
    with pytest.raises(Invalid):
        await office.hand_in(case, "supplement", by="oa-sh01")
    await office.hand_in(case, "supplement", by="oa-sh01", customer={"phone": "13800000001"})
    assert office.tasks(case)["callback"].due_at == received + 7 * DAY


async def test_e28_a_store_that_knows_nothing_more_says_so(office: Office):
    case = await of_a_store(office, customer={})
    await office.hand_in(case, "supplement", by="oa-sh01", nothing_more_known=True)
    assert office.open_tasks(case) == {"record"}


def test_a_store_complaint_says_what_the_store_did(office: Office):
    with pytest.raises(Invalid) as refused:
        office.commit_opening(origin="store")
    assert [(error.field, error.code) for error in refused.value.errors] == [
        ("store_handling", "store_handling_needed")
    ]


async def test_what_was_asked_of_a_department_by_an_earlier_release_goes_on(office: Office):
    """Its act was `assist`, its answer `answer`: a run that recalls them, or replays them, takes them for what they are now."""
    case = await office.open()
    await office.hand_in(case, "ask_department", department="merchandise", question="同批次有没有别的投诉")
    await office.hand_in(case, "assist", by="shang", task="assist", answer="没有")
    with office.house.database.writing() as session:
        for row in session.exec(select(SubmissionRow).where(SubmissionRow.case_id == case)):
            if row.form == "assist":
                row.form, row.task, row.outline = "answer", "answer", {"content": "§"}
            elif row.form == "ask_department":
                row.form = "assist"
    await office.front.reconciler.rebuild(case)
    await office.hand_in(case, "ask_department", department="merchandise", question="别的颜色呢")
    assert office.tasks(case)["assist-2"].state == "open"
    await office.hand_in(case, "assist", by="shang", answer="也没有")
    assert {office.tasks(case)[key].state for key in ("assist", "assist-2")} == {"done"}
