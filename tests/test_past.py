"""Cases that come with a past: they enter where they are, and what passed elsewhere is told to nobody (edge-cases, Firing 13)."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from models.complaint.past import ComplaintPast
from models.tables import DeadlineRow, NoticeRow, SubmissionRow
from starter.docket import Receipt
from starter.refusals import Conflict, Forbidden, Invalid
from tests.office import DAY, HOUR, Office, eventually
from workflows import PROCESSES

COMPLAINT = PROCESSES["complaint"]
STEPS = {"replied_at": 1, "proposed_at": 2, "consented_at": 3, "executed_at": 4, "called_back_at": 5}


def past_of(received_at: datetime, until: str, **more: Any) -> ComplaintPast:
    """Every step up to one, an hour after the other."""
    reached = list(STEPS)[: list(STEPS).index(until) + 1]
    steps = {step: received_at + STEPS[step] * HOUR for step in reached}
    outcome = {"outcome": "satisfied", "satisfaction": 5} if "called_back_at" in steps else {}
    return ComplaintPast.model_validate(steps | outcome | more)


async def enter(office: Office, past: ComplaintPast, received_at: datetime, by: str = "lin", **facts: Any) -> str:
    receipt = commit(office, past, received_at, by, **facts)
    await office.relay.deliver(receipt.case)
    assert office.docket.receipt(receipt.submission).state == "decided"
    return receipt.case


def commit(office: Office, past: ComplaintPast, received_at: datetime, by: str = "lin", **facts: Any) -> Receipt:
    case = COMPLAINT.case.model_validate(office.complaint(received_at=received_at.isoformat(), **facts))
    return office.submissions.open(COMPLAINT, case, office.front.actor(by), past=past)


@pytest.mark.parametrize(
    ("until", "owes"),
    [
        ("replied_at", {"solution", "callback"}),
        ("proposed_at", {"consent", "callback"}),
        ("consented_at", {"execution", "callback"}),
        ("executed_at", {"callback"}),
        ("called_back_at", {"record"}),
    ],
)
async def test_a_half_done_case_enters_where_it_is(office: Office, until: str, owes: set[str]):
    received = office.now() - timedelta(hours=6)
    case = await enter(office, past_of(received, until), received)
    assert office.open_tasks(case) == owes
    assert {row.state for row in office.rows(SubmissionRow, case)} == {"decided"}
    assert office.tasks(case)["reply"].done_at == received + HOUR
    assert office.rows(NoticeRow, case) == []


async def test_it_goes_on_from_there_to_the_archive(office: Office):
    received = office.now() - timedelta(hours=6)
    case = await enter(office, past_of(received, "consented_at"), received)
    await office.hand_in(case, "execution", content="新衣已寄出")
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5)
    await office.hand_in(case, "record", finding="充绒工艺不良")
    assert office.case(case).state == "archived"


async def test_what_was_late_elsewhere_is_kept_as_passed_and_told_to_nobody(office: Office):
    received = office.now() - 10 * DAY
    late = ComplaintPast(
        replied_at=received + 3 * DAY, proposed_at=received + 3 * DAY, consented_at=office.now() - HOUR
    )
    case = await enter(office, late, received)
    passed = [row for row in office.rows(DeadlineRow, case) if row.task == "reply" and row.fired_at]
    assert [(row.rung, row.passed, row.fired_at == row.planned_at) for row in passed] == [
        (0, True, True),
        (1, True, True),
        (2, True, True),
    ]
    assert [row for row in office.rows(NoticeRow, case) if row.task != "callback"] == []


async def test_what_is_open_and_overdue_escalates_once_it_is_here(office: Office):
    received = office.now() - 10 * DAY
    case = await enter(office, past_of(received, "replied_at"), received)
    await eventually(lambda: office.heard(case, "wang") == ["overdue/solution", "overdue/callback"])
    assert office.fired(case, "solution")[0].system_was_late is False, "it could not be known before it came"
    assert office.heard(case, "sun") == []
    await office.pass_time(DAY + HOUR)
    told = ["overdue/callback", "overdue/solution", "unacknowledged/callback", "unacknowledged/solution"]
    assert sorted(office.heard(case, "sun")) == told


async def test_history_ends_in_the_archive_at_its_own_time_and_is_told_to_nobody(office: Office):
    received = office.now() - 3000 * DAY
    closed = received + 40 * DAY
    case = await enter(office, ComplaintPast(replied_at=received + 20 * DAY, closed_at=closed), received)
    row = office.case(case)
    assert (row.state, row.closed_because, row.closed_at, row.opened_at) == ("archived", "history", closed, received)
    assert office.rows(NoticeRow, case) == []
    rungs = office.rows(DeadlineRow, case)
    assert all(rung.passed and rung.fired_at < closed for rung in rungs if rung.fired_at)
    assert {task.state for task in office.tasks(case).values()} == {"done", "withdrawn"}
    assert (await office.client.get_workflow_handle(case).describe()).status.name == "COMPLETED"


@pytest.mark.parametrize("closed", [True, False])
async def test_what_bent_it_elsewhere_is_told_to_nobody_here(office: Office, closed: bool):
    """A major case, a customer who was not satisfied: whoever had to hear of it has heard of it there."""
    received = office.now() - 5 * DAY
    steps = {step: received + hours * HOUR for step, hours in STEPS.items()}
    called = {"outcome": "dissatisfied", "satisfaction": 1} | ({"closed_at": received + 2 * DAY} if closed else {})
    case = await enter(office, ComplaintPast.model_validate(steps | called), received, severity="major")
    assert office.case(case).state == ("archived" if closed else "open")
    assert office.case(case).cycle == 2
    heard = {row.what for row in office.rows(NoticeRow, case)}
    assert heard <= (set() if closed else {"overdue", "breached"}), "of what is late here, where it is open"


HANDLED = {"reply": "已致歉", "solution": "换一件", "by": "dian01"}
OPINION = {"supervisor_opinion": "同意"}
STORE = {"origin": "store", "store_handling": HANDLED}


@pytest.mark.parametrize(
    ("facts", "until"),
    [
        ({"kind": "query"}, "replied_at"),
        ({"origin": "store", "store_handling": HANDLED | OPINION}, "called_back_at"),
    ],
)
async def test_what_its_last_step_ends_is_closed_by_it_and_nothing_is_refused(
    office: Office, facts: dict[str, Any], until: str
):
    """5.2 E29, E31: a query by its reply, what a store has answered by the callback; nobody hears of the end that follows."""
    received = office.now() - 100 * DAY
    last = received + STEPS[until] * HOUR
    outcome = {"outcome": "satisfied", "satisfaction": 5} if until == "called_back_at" else {}
    past = ComplaintPast.model_validate({until: last, "closed_at": last + HOUR, **outcome})
    case = await enter(office, past, received, **facts)
    assert (office.case(case).state, office.case(case).closed_at) == ("archived", last)
    assert [row.state for row in office.rows(SubmissionRow, case)] == ["decided"] * 2
    assert office.rows(NoticeRow, case) == []


async def test_what_a_store_has_answered_comes_with_its_callback_alone(office: Office):
    """5.2 E29: the supervisor's word is still owed; where the case is closed already, that is its end."""
    received = office.now() - timedelta(hours=6)
    called = {"called_back_at": received + HOUR, "outcome": "satisfied", "satisfaction": 5}
    case = await enter(office, ComplaintPast.model_validate(called), received, **STORE)
    assert office.open_tasks(case) == {"opinion"}
    closed = ComplaintPast.model_validate(called | {"closed_at": received + 2 * HOUR})
    ended = office.case(await enter(office, closed, received, **STORE))
    assert (ended.state, ended.closed_at) == ("archived", received + 2 * HOUR)


async def test_where_the_store_wants_help_every_step_is_headquarters(office: Office):
    received = office.now() - timedelta(hours=6)
    wanting = STORE | {"store_handling": HANDLED | OPINION | {"help_wanted": True}}
    case = await enter(office, past_of(received, "called_back_at"), received, **wanting)
    assert office.open_tasks(case) == {"record"}
    assert {row.state for row in office.rows(SubmissionRow, case)} == {"decided"}


@pytest.mark.parametrize(
    ("facts", "until", "errors"),
    [
        ({"kind": "query"}, "proposed_at", {"proposed_at": "past_of_no_step"}),
        ({"kind": "praise"}, "replied_at", {"replied_at": "past_of_no_step"}),
        ({"kind": "suggestion"}, "proposed_at", dict.fromkeys(list(STEPS)[:2], "past_of_no_step")),
        (STORE, "executed_at", dict.fromkeys(list(STEPS)[:4], "past_is_the_stores")),
        (STORE, "called_back_at", dict.fromkeys(list(STEPS)[:4], "past_is_the_stores")),
    ],
)
def test_a_step_that_such_a_case_does_not_have_is_named(
    office: Office, facts: dict[str, Any], until: str, errors: dict[str, str]
):
    received = office.now() - timedelta(hours=6)
    with pytest.raises(Invalid) as refused:
        commit(office, past_of(received, until), received, **facts)
    assert {error.field: error.code for error in refused.value.errors} == errors


def test_who_was_called_back_can_be_reached(office: Office):
    received = office.now() - timedelta(hours=6)
    called = ComplaintPast(called_back_at=received + HOUR, outcome="satisfied", satisfaction=5)
    with pytest.raises(Invalid) as refused:
        commit(office, called, received, customer={"name": "张小红"}, **STORE)
    assert [(error.field, error.code) for error in refused.value.errors] == [("customer.phone", "past_whom_was_called")]


async def test_a_form_handed_in_before_the_opening_was_delivered_is_taken_after_the_past(office: Office):
    received = office.now() - timedelta(hours=6)
    receipt = commit(office, past_of(received, "consented_at"), received)
    handed_in = office.commit(receipt.case, "execution", content="新衣已寄出")
    await office.relay.deliver(receipt.case)
    assert office.docket.receipt(handed_in.submission).state == "decided"
    assert office.open_tasks(receipt.case) == {"callback"}


def test_the_same_past_again_is_the_same_case_and_another_is_not(office: Office):
    received = office.now() - timedelta(hours=6)
    first = commit(office, past_of(received, "consented_at"), received, form_no="OA-9")
    again = commit(office, past_of(received, "consented_at"), received, form_no="OA-9")
    assert (again.case, again.first) == (first.case, False)
    with pytest.raises(Conflict):
        commit(office, past_of(received, "executed_at"), received, form_no="OA-9")
    with pytest.raises(Conflict):
        office.commit_opening(by="lin", received_at=received.isoformat(), form_no="OA-9")


@pytest.mark.parametrize(
    ("hours", "errors"),
    [
        ({"replied_at": -1}, [("replied_at", "past_out_of_order")]),
        ({"replied_at": 7}, [("replied_at", "past_in_future")]),
        ({"consented_at": 2}, [("proposed_at", "past_step_missing")]),
        ({"proposed_at": 3, "consented_at": 2}, [("consented_at", "past_out_of_order")]),
        ({"replied_at": 3, "closed_at": 2}, [("closed_at", "past_out_of_order")]),
    ],
)
def test_a_past_that_cannot_be_is_refused(office: Office, hours: dict[str, int], errors: list[tuple[str, str]]):
    received = office.now() - timedelta(hours=6)
    past = ComplaintPast.model_validate({step: received + at * HOUR for step, at in hours.items()})
    with pytest.raises(Invalid) as refused:
        commit(office, past, received)
    assert [(error.field, error.code) for error in refused.value.errors] == errors


def test_an_open_case_is_not_older_than_the_intake_allows(office: Office):
    received = office.now() - 100 * DAY
    with pytest.raises(Invalid) as refused:
        commit(office, past_of(received, "replied_at"), received)
    assert [error.code for error in refused.value.errors] == ["received_too_long_ago"]


def test_nobody_brings_what_was_done_with_a_complaint_about_himself(office: Office):
    """5.2 E34: half done or closed, somebody else brings it."""
    received = office.now() - timedelta(hours=6)
    for past in (past_of(received, "replied_at"), past_of(received, "called_back_at", closed_at=office.now())):
        with pytest.raises(Forbidden) as refused:
            commit(office, past, received, about_employee="lin")
        assert refused.value.code == "past_about_yourself"
        assert commit(office, past, received, by="wang", about_employee="lin").first


async def test_a_proposal_beyond_ones_authority_is_brought_by_whoever_may_promise_it(office: Office):
    """Otherwise the desk would refuse it, and with it all that stood on it."""
    received = office.now() - DAY
    past = past_of(received, "executed_at", amount=500)
    with pytest.raises(Invalid) as invalid:
        commit(office, past, received)
    assert [(error.field, error.code) for error in invalid.value.errors] == [("amount", "past_beyond_authority")]
    case = await enter(office, past, received, by="wang")
    assert office.open_tasks(case) == {"callback"}


@pytest.mark.parametrize("outcome", ["unreachable", "wrong_number", "rescheduled"])
async def test_a_callback_that_reached_nobody_is_still_to_be_made(office: Office, outcome: str):
    received = office.now() - DAY
    steps = {step: received + hours * HOUR for step, hours in STEPS.items()}
    with pytest.raises(Invalid) as invalid:
        commit(office, ComplaintPast.model_validate(steps | {"outcome": outcome}), received)
    assert [(error.field, error.code) for error in invalid.value.errors] == [("outcome", "past_not_reached")]


def test_a_store_brings_no_past(office: Office):
    received = office.now() - timedelta(hours=6)
    with pytest.raises(Forbidden):
        commit(office, past_of(received, "replied_at"), received, by="oa-sh01")
