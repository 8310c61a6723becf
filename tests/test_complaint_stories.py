"""The direct complaint, told as the department would tell it (handbook 6.2). Lin handles the east, Wang is the manager, Sun the director."""

from datetime import timedelta

import pytest

from models.tables import ArchiveRow, DeadlineRow
from starter.refusals import Forbidden, Invalid
from tests.office import DAY, HOUR, Office

SECOND = timedelta(seconds=1)


async def test_a_complaint_handled_in_time_goes_to_the_archive_and_nobody_is_bothered(office: Office):
    case = await office.open()
    await office.walk(case)
    assert office.case(case).state == "archived"
    assert office.case(case).closed_because == "completed"
    assert office.rows(ArchiveRow, case)
    assert [office.heard(case, person) for person in ("lin", "wang", "sun")] == [["new/None"], [], []]


async def test_reply_solution_and_callback_run_side_by_side_from_receipt(office: Office):
    received = office.now() - 2 * HOUR
    case = await office.open(received_at=received.isoformat())
    due = {key: office.tasks(case)[key].due_at - received for key in office.open_tasks(case)}
    assert due == {"reply": 24 * HOUR, "solution": 48 * HOUR, "callback": 7 * DAY}


async def test_every_due_time_explains_itself(office: Office):
    received = office.now() - HOUR
    case = await office.open(received_at=received.isoformat())
    because = office.tasks(case)["reply"].due_because
    assert because | {"anchored_at": ""} == {
        "promise": "reply",
        "basis": "6.2(4)",
        "anchor": "received_at",
        "anchored_at": "",
        "within": "P1D",
        "counted": "elapsed",
        "changes": [],
    }
    await office.walk(case, until="solution")
    assert office.tasks(case)["consent"].due_because["anchor"] == "solution"


async def test_the_owner_is_reminded_then_the_manager_hears_then_the_director(office: Office):
    """E39: one escalation a rung, a reminder before."""
    case = await office.open()
    await office.pass_time(20 * HOUR + SECOND)
    assert office.heard(case, "lin") == ["new/None", "reminder/reply"]
    await office.pass_time(4 * HOUR)
    assert office.heard(case, "wang") == ["overdue/reply"]
    await office.pass_time(24 * HOUR)
    assert office.heard(case, "wang") == ["overdue/reply", "overdue/solution"]
    assert office.heard(case, "sun") == ["unacknowledged/reply", "overdue/reply"]
    assert office.open_tasks(case) == {"reply", "solution", "callback"}, "escalated work goes on"


async def test_a_rung_fires_at_its_planned_instant(office: Office):
    case = await office.open()
    await office.pass_time(49 * HOUR)
    fired = [row for row in office.rows(DeadlineRow, case) if row.fired_at]
    assert len(fired) == 5
    assert [row for row in fired if row.system_was_late or row.fired_at < row.planned_at] == []


async def test_a_late_reply_closes_its_task_and_stops_only_its_own_ladder(office: Office):
    """E38: the escalation stays in the history; the task closes, and no second notice comes."""
    case = await office.open()
    await office.pass_time(25 * HOUR)
    assert (await office.hand_in(case, "reply", content="抱歉久等")).state == "decided"
    await office.pass_time(48 * HOUR)
    assert office.heard(case, "wang") == ["overdue/reply", "overdue/solution"]
    assert office.heard(case, "sun") == ["unacknowledged/solution", "overdue/solution"]


async def test_a_solution_may_come_before_the_reply_and_the_reply_is_still_owed(office: Office):
    case = await office.open()
    await office.hand_in(case, "solution", **office.SOLUTION)
    assert office.open_tasks(case) == {"reply", "consent", "callback"}


async def test_a_refused_proposal_brings_a_new_one_and_nothing_is_carried_out(office: Office):
    case = await office.open()
    await office.walk(case, until="solution")
    await office.pass_time(HOUR)
    await office.hand_in(case, "consent", accepted=False, wish="要求退款")
    assert office.open_tasks(case) == {"solution-2", "callback"}
    again = office.tasks(case)["solution-2"]
    assert again.due_at - again.owed_at == 24 * HOUR
    assert again.due_because["promise"] == "new_solution"
    refused = await office.hand_in(case, "execution", content="已退款")
    assert refused.refusal
    assert refused.refusal.code == "not_owed_yet"
    await office.hand_in(case, "solution", by="wang", **office.SOLUTION | {"remedy": "refund"})
    assert office.open_tasks(case) == {"consent-2", "callback"}
    await office.hand_in(case, "consent", accepted=True)
    assert office.open_tasks(case) == {"execution", "callback"}


async def test_the_first_proposal_met_the_48_hours_however_often_it_is_refused(office: Office):
    case = await office.open()
    await office.walk(case, until="solution")
    await office.hand_in(case, "consent", accepted=False)
    await office.pass_time(23 * HOUR)
    await office.hand_in(case, "solution", **office.SOLUTION)
    await office.pass_time(40 * HOUR)
    assert office.heard(case, "wang") == []


async def test_the_execution_is_due_by_the_duration_promised_to_the_customer(office: Office):
    case = await office.open()
    await office.walk(case, until="consent")
    task = office.tasks(case)["execution"]
    assert task.due_at - task.owed_at == 2 * DAY
    assert task.due_because["basis"] == "promised to the customer"


async def test_without_a_promised_duration_the_execution_is_due_at_once_within_24_hours(office: Office):
    case = await office.open()
    await office.hand_in(case, "reply", content="已致歉")
    await office.hand_in(case, "solution", steps="换新", effect="如新", remedy="exchange")
    await office.hand_in(case, "consent", accepted=True)
    task = office.tasks(case)["execution"]
    assert task.due_at - task.owed_at == 24 * HOUR


async def test_the_callback_is_refused_until_the_solution_is_carried_out(office: Office):
    """E40: out of order, refused with the reason."""
    case = await office.open()
    early = await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5)
    assert early.refusal
    assert early.refusal.code == "not_possible_yet"
    assert early.refusal.values == {"task": "callback", "before": "execution"}
    await office.walk(case, until="callback")
    assert office.open_tasks(case) == {"record"}
    assert office.tasks(case)["record"].due_because["anchor"] == "callback"


async def test_the_callback_is_owed_within_a_week_of_receipt_whatever_else_is_late(office: Office):
    """E43: from receipt (D-2)."""
    case = await office.open()
    await office.pass_time(7 * DAY + SECOND)
    assert "reminder/callback" in office.heard(case, "lin")
    assert "overdue/callback" in office.heard(case, "wang")


async def test_solved_on_the_line_leaves_the_callback_and_the_record(office: Office):
    """E30: reply, solution, consent and execution in one; only callback and record stay."""
    case = await office.open()
    done = await office.hand_in(
        case, "solve", reply="当场致歉", steps="换新", effect="满意", remedy="exchange", execution="已换"
    )
    assert done.state == "decided"
    assert office.open_tasks(case) == {"callback"}
    tasks = office.tasks(case)
    assert {tasks[key].done_at for key in ("reply", "solution", "consent", "execution")} == {tasks["reply"].done_at}
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=4)
    await office.hand_in(case, "record", finding="尺码标错")
    assert office.case(case).state == "archived"


async def test_solved_on_the_line_after_a_reply_needs_no_second_reply(office: Office):
    case = await office.open()
    await office.hand_in(case, "reply", content="已致歉")
    on_the_line = {"steps": "换新", "effect": "满意", "remedy": "exchange", "execution": "已换"}
    twice = await office.hand_in(case, "solve", reply="再次致歉", **on_the_line)
    assert twice.refusal
    assert twice.refusal.code == "already_done"
    assert (await office.hand_in(case, "solve", **on_the_line)).state == "decided"
    assert office.open_tasks(case) == {"callback"}


async def test_a_receipt_typed_25_hours_late_escalates_at_once_and_once(office: Office):
    received = office.now() - 25 * HOUR
    case = await office.open(received_at=received.isoformat())
    assert office.heard(case, "wang") == ["overdue/reply"]
    assert office.heard(case, "lin") == ["new/None", "breached/reply"], "a reminder of what is past is not sent"
    assert office.heard(case, "sun") == []
    passed = [row for row in office.rows(DeadlineRow, case) if row.passed]
    assert [(row.task, row.rung) for row in passed] == [("reply", 0)]
    escalated = office.fired(case, "reply")[0]
    assert not escalated.system_was_late, "the typist was"
    director = next(row for row in office.rows(DeadlineRow, case) if (row.task, row.rung) == ("reply", 2))
    assert director.planned_at == escalated.fired_at + 24 * HOUR
    await office.pass_time(23 * HOUR + 59 * 60 * SECOND)
    assert "overdue/reply" not in office.heard(case, "sun"), "the director keeps his distance from the manager"
    await office.pass_time(2 * 60 * SECOND)
    assert office.heard(case, "sun") == ["unacknowledged/reply", "overdue/reply"]
    assert office.heard(case, "wang").count("overdue/reply") == 1


async def test_a_receipt_older_than_everything_tells_the_manager_of_each_clock_once(office: Office):
    case = await office.open(received_at=(office.now() - 30 * DAY).isoformat())
    assert sorted(office.heard(case, "wang")) == ["overdue/callback", "overdue/reply", "overdue/solution"]
    assert office.heard(case, "sun") == []


@pytest.mark.parametrize(("off_by", "code"), [(2 * HOUR, "received_in_future"), (-91 * DAY, "received_too_long_ago")])
async def test_an_impossible_receipt_is_refused_with_its_field(office: Office, off_by: timedelta, code: str):
    with pytest.raises(Invalid) as refused:
        office.commit_opening(received_at=(office.now() + off_by).isoformat())
    assert [(error.field, error.code) for error in refused.value.errors] == [("received_at", code)]


async def test_an_extension_moves_the_due_time_and_says_who_and_from_when(office: Office):
    case = await office.open()
    before = office.tasks(case)["reply"].due_at
    later = before + 10 * HOUR
    await office.hand_in(case, "extend", by="wang", task="reply", due_at=later.isoformat(), reason="顾客出差")
    task = office.tasks(case)["reply"]
    assert task.due_at == later
    assert [(change["by"], change["due_before"]) for change in task.due_because["changes"]] == [
        ("wang", before.isoformat().replace("+00:00", "Z"))
    ]
    assert office.heard(case, "lin") == ["new/None", "extended/reply"]
    await office.pass_time(25 * HOUR)
    assert office.heard(case, "wang") == []
    await office.pass_time(10 * HOUR)
    assert office.heard(case, "lin") == ["new/None", "extended/reply", "reminder/reply", "breached/reply"]
    assert office.heard(case, "wang") == ["overdue/reply"]


async def test_an_extension_after_the_breach_arms_the_ladder_again(office: Office):
    case = await office.open()
    await office.pass_time(25 * HOUR)
    later = office.now() + 10 * HOUR
    await office.hand_in(case, "extend", by="wang", task="reply", due_at=later.isoformat(), reason="已与顾客约定")
    await office.pass_time(11 * HOUR)
    assert office.heard(case, "wang").count("overdue/reply") == 2
    assert [(row.generation, row.rung) for row in office.fired(case, "reply")] == [(0, 0), (0, 1), (1, 0), (1, 1)]


async def test_an_extension_that_is_no_later_is_refused(office: Office):
    case = await office.open()
    sooner = office.tasks(case)["reply"].due_at - HOUR
    refused = await office.hand_in(case, "extend", by="wang", task="reply", due_at=sooner.isoformat(), reason="?")
    assert refused.refusal
    assert refused.refusal.code == "not_later"
    with pytest.raises(Invalid) as past:
        office.commit(case, "extend", by="wang", task="reply", due_at=(office.now() - HOUR).isoformat(), reason="?")
    assert past.value.errors[0].field == "due_at"


async def test_only_the_manager_extends_and_reassigns(office: Office):
    case = await office.open()
    with pytest.raises(Forbidden):
        office.commit(case, "extend", by="lin", task="reply", due_at="2099-01-01T00:00:00Z", reason="忙")
    with pytest.raises(Forbidden):
        office.commit(case, "reassign", by="lin", task="reply", person="chen", reason="忙")
    with pytest.raises(Forbidden):
        office.commit(case, "reply", by="oa-sh01", content="门店不能代复")


async def test_a_reassigned_task_keeps_its_clock_and_its_new_owner_hears(office: Office):
    case = await office.open()
    due = office.tasks(case)["reply"].due_at
    await office.pass_time(HOUR)
    await office.hand_in(case, "reassign", by="wang", task="reply", person="chen", reason="林晓休假")
    assert office.tasks(case)["reply"].owner == "chen"
    assert office.tasks(case)["reply"].due_at == due
    assert office.heard(case, "chen") == ["assigned/reply"]
    await office.pass_time(19 * HOUR + SECOND)
    assert office.heard(case, "chen") == ["assigned/reply", "reminder/reply"]
    assert office.heard(case, "lin") == ["new/None", "given_away/reply"]


async def test_a_task_is_not_given_to_somebody_unknown(office: Office):
    case = await office.open()
    with pytest.raises(Invalid) as refused:
        office.commit(case, "reassign", by="wang", task="reply", person="nobody", reason="?")
    assert [(error.field, error.code) for error in refused.value.errors] == [("person", "unknown_person")]


async def test_a_task_is_not_given_to_somebody_who_may_not_do_it(office: Office):
    case = await office.open()
    with pytest.raises(Invalid) as refused:
        office.commit(case, "reassign", by="wang", task="reply", person="oa-gz01", reason="?")
    assert [(error.field, error.code) for error in refused.value.errors] == [("person", "unfit_person")]


async def test_an_extension_that_is_past_by_the_engines_clock_still_leaves_somebody_to_hear(office: Office):
    case = await office.open()
    due = office.tasks(case)["reply"].due_at
    await office.pass_time(24 * HOUR + 5 * SECOND)
    office.clock_stands_at(due + SECOND)  # our clock is behind the engine's
    moved = (due + 3 * SECOND).isoformat()
    await office.hand_in(case, "extend", by="wang", task="reply", due_at=moved, reason="再等三秒")
    office.clock_runs()
    await office.pass_time(SECOND)
    assert office.heard(case, "wang").count("overdue/reply") == 2


async def test_a_form_is_handed_in_once(office: Office):
    case = await office.open()
    await office.hand_in(case, "reply", content="已致歉")
    again = await office.hand_in(case, "reply", content="再次致歉")
    assert again.refusal
    assert again.refusal.code == "already_done"


async def test_nothing_is_taken_after_the_archive(office: Office):
    case = await office.open()
    await office.walk(case)
    late = await office.hand_in(case, "reply", content="还有一句")
    assert late.refusal
    assert late.refusal.code == "case_closed"
