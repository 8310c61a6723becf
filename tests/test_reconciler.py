"""The reconciler: a run that is lost, ended from outside, or older than the ledger is started anew from the ledger (reliability §2, R10)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

import worker
from models.complaint.facts import Complaint
from models.complaint.terms import ComplaintPromises
from models.tables import CaseRow, DeadlineRow, EventRow, NoticeRow, SubmissionRow, TaskRow
from models.tasks import Opened
from settings import House
from starter.watching.reconciler import AHEAD, BEHIND, ENDED, FAILED, LINGERING, LOST, UNKNOWN, Reconciler
from starter.watching.watchdog import PATIENCE, SUBMISSION
from tests.office import Office, connected, eventually
from workflows.complaint import ComplaintWorkflow


@pytest.fixture
async def real_office(engine: str, house: House) -> AsyncIterator[Office]:
    async with Office(await connected(engine, house), house) as office:
        await office.worker_comes()
        yield office


async def reconciled(office: Office, everything: bool = False) -> list[tuple[str, str]]:
    return [(finding.kind, finding.about) for finding in await office.front.reconciler.round(everything)]


async def status(office: Office, case: str) -> WorkflowExecutionStatus | None:
    return (await office.client.get_workflow_handle(case).describe()).status


def everything_of(office: Office, case: str) -> list[Any]:
    """All the ledger shows of a case."""
    tables = (SubmissionRow, EventRow, TaskRow, DeadlineRow, NoticeRow)
    return [row.model_dump() for table in tables for row in office.rows(table, case)]


def alarms(office: Office, case: str) -> list[Any]:
    return [row.model_dump() for row in office.rows(NoticeRow, case) if row.what == "alarm"]


async def recalled(office: Office, case: str) -> bool:
    taken = await office.client.get_workflow_handle(case).query("decided", result_type=list[str])
    return set(taken) == {row.id for row in office.rows(SubmissionRow, case)}


async def listed(office: Office, case: str, state: str) -> None:
    """The engine's list lags behind what it does by a moment."""

    async def there() -> bool:
        query = f"WorkflowId = '{case}' AND ExecutionStatus = '{state}'"
        return [run async for run in office.client.list_workflows(query)] != []

    await eventually(there)


async def test_where_nothing_is_wrong_nothing_is_found(real_office: Office):
    case = await real_office.open()
    await listed(real_office, case, "Running")
    assert await reconciled(real_office, everything=True) == []


async def test_what_is_found_is_told_though_its_repair_is_cut_short(real_office: Office, monkeypatch):
    office = real_office
    case = await office.open()
    await office.client.get_workflow_handle(case).terminate()
    await listed(office, case, "Terminated")

    async def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    reconciler = office.front.reconciler
    monkeypatch.setattr(reconciler, "rebuild", killed)
    with pytest.raises(KeyboardInterrupt):
        await reconciler.round()
    assert len(alarms(office, case)) == 1
    assert await reconciled(office) == [(ENDED, case)]
    assert len(alarms(office, case)) == 1, "and is not told again when it is repaired"


async def test_a_terminated_run_goes_on_from_the_ledger(real_office: Office):
    office = real_office
    received = office.now() - timedelta(hours=25)
    case = await office.open(received_at=received.isoformat())
    await eventually(lambda: office.heard(case, "wang") == ["overdue/reply"])
    await office.walk(case, until="consent")
    before = everything_of(office, case)
    await office.client.get_workflow_handle(case).terminate()
    await listed(office, case, "Terminated")

    assert await reconciled(office) == [(ENDED, case)]
    assert await status(office, case) is WorkflowExecutionStatus.RUNNING
    await eventually(lambda: recalled(office, case))
    assert everything_of(office, case) == [*before, *alarms(office, case)], "nothing was written anew"
    await office.hand_in(case, "execution", content="新衣已寄出")
    assert office.heard(case, "wang") == ["overdue/reply"], "and nobody was told twice"
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5)
    await office.hand_in(case, "record", finding="充绒工艺不良")
    assert office.case(case).state == "archived"


async def test_a_glance_is_enough_for_a_terminated_run(real_office: Office):
    case = await real_office.open()
    await real_office.client.get_workflow_handle(case).terminate()
    await listed(real_office, case, "Terminated")
    assert [finding.kind for finding in await real_office.front.reconciler.glance()] == [ENDED]
    assert await status(real_office, case) is WorkflowExecutionStatus.RUNNING
    assert await real_office.front.reconciler.glance() == []


async def test_the_administrator_is_told_once(real_office: Office):
    office = real_office
    case = await office.open()
    await office.client.get_workflow_handle(case).terminate()
    await listed(office, case, "Terminated")
    await reconciled(office)
    await reconciled(office)
    assert office.heard(case, "admin") == ["alarm/None"]


async def test_a_lost_engine_is_filled_again_from_the_ledger(real_office: Office):
    office = real_office
    case = await office.open()
    await office.walk(case, until="solution")
    await forget(office, case)
    assert await reconciled(office) == [(LOST, case)]
    await office.hand_in(case, "consent", accepted=True)
    assert office.open_tasks(case) == {"execution", "callback"}


@workflow.defn(name="complaint", sandboxed=False)
class Fails(ComplaintWorkflow):
    """A release that ends a case with a failure, as none of ours does."""

    @workflow.run
    async def run(self, opened: Opened[Complaint, ComplaintPromises]) -> None:
        raise ApplicationError("a bug that ends the run")


async def begun_anew(office: Office, case: str, **how: Any) -> None:
    """Its run is ended, and another one started, which will not last."""
    start = office.docket.rebuilt(case)
    await office.client.get_workflow_handle(case).terminate()
    await office.client.start_workflow(start.process, start.opened, id=case, task_queue=office.task_queue, **how)


async def test_a_run_that_failed_is_named_and_left_until_the_program_is_mended(real_office: Office):
    office = real_office
    case = await office.open()
    await office.worker_leaves()
    async with worker.build(office.client, office.ledger, task_queue=office.task_queue, workflows=[Fails]):
        await begun_anew(office, case)
        await listed(office, case, "Failed")
    await office.worker_comes()
    assert [finding.kind for finding in await office.front.reconciler.glance()] == [FAILED]
    assert await reconciled(office) == [(FAILED, case)]
    assert await status(office, case) is WorkflowExecutionStatus.FAILED, "the same program would only fail again"
    assert office.heard(case, "admin") == ["alarm/None"]
    await office.front.reconciler.rebuild(case)
    await office.walk(case)
    assert office.case(case).state == "archived"


async def test_a_run_that_timed_out_goes_on_from_the_ledger(real_office: Office):
    office = real_office
    case = await office.open()
    await begun_anew(office, case, run_timeout=timedelta(seconds=1))
    await listed(office, case, "TimedOut")
    assert await reconciled(office) == [(ENDED, case)]
    assert await status(office, case) is WorkflowExecutionStatus.RUNNING
    assert office.heard(case, "admin") == ["alarm/None"]
    await office.walk(case)
    assert office.case(case).state == "archived"


async def test_what_nobody_decides_is_named_by_a_round_and_stays_one_alarm(real_office: Office):
    office = real_office
    case = await office.open()
    sent = office.commit(case, "reply", content="已致歉").submission
    with office.house.database.writing() as session:
        session.get_one(SubmissionRow, sent).recorded_at -= 2 * PATIENCE
    office.docket.postpone(case, sent, "nobody is at work")
    assert await reconciled(office) == [(SUBMISSION, sent)]
    assert [(finding.kind, finding.about) for finding in office.front.watchdog.round()] == [(SUBMISSION, sent)]
    assert office.heard(case, "admin") == ["alarm/None"], "told once, whoever found it"
    await office.relay.deliver(case)
    assert await reconciled(office) == []


async def test_a_form_that_came_meanwhile_is_decided_after_what_came_before(real_office: Office):
    office = real_office
    case = await office.open()
    await office.walk(case, until="solution")
    await office.client.get_workflow_handle(case).terminate()
    sent = office.commit(case, "consent", accepted=True)
    await office.relay.deliver(case)
    assert office.submission(sent.submission).state == "pending"
    await office.front.reconciler.rebuild(case)

    async def decided() -> bool:
        await office.relay.deliver(case)
        return office.submission(sent.submission).state == "decided"

    await eventually(decided)
    assert office.open_tasks(case) == {"execution", "callback"}


async def test_an_engine_that_went_back_in_time_is_brought_up_to_the_ledger(real_office: Office, house: House):
    office = real_office
    case = await office.open()
    await office.walk(case, until="consent")
    await go_back(office, case)
    assert await reconciled(office) == [(BEHIND, case)]
    await office.hand_in(case, "execution", content="新衣已寄出")
    assert office.open_tasks(case) == {"callback"}


async def test_a_ledger_that_went_back_in_time_prevails_and_it_is_said(real_office: Office, house: House):
    office = real_office
    case = await office.open()
    await office.walk(case, until="reply")
    with house.database.writing() as session:  # the ledger as it was before the reply
        for table in (EventRow, SubmissionRow):
            for row in session.exec(select(table).where(table.case_id == case)):
                if (table is SubmissionRow and row.form == "reply") or (
                    table is EventRow and row.key == "closed/reply"
                ):
                    session.delete(row)
        session.get_one(TaskRow, (case, "reply")).state = "open"
    assert await reconciled(office) == [(AHEAD, case)]
    await office.hand_in(case, "reply", content="已致歉")
    assert office.open_tasks(case) == {"solution", "callback"}


async def test_a_run_whose_case_is_archived_is_stopped(real_office: Office, house: House):
    office = real_office
    case = await office.open()
    await listed(office, case, "Running")
    with house.database.writing() as session:
        row = session.get_one(CaseRow, case)
        row.state, row.closed_at = "archived", office.now()
    assert await reconciled(office) == [(LINGERING, case)]
    assert await status(office, case) is WorkflowExecutionStatus.TERMINATED


@pytest.mark.parametrize("when", ["looked", "said"])
async def test_a_run_whose_customer_comes_back_while_somebody_looks_goes_on(
    real_office: Office, house: House, monkeypatch: pytest.MonkeyPatch, when: str
):
    """E26: by the time that it would be stopped, it is the run of an open case."""
    office = real_office
    case = await office.open()
    await listed(office, case, "Running")

    def is_now(state: str) -> None:
        with house.database.writing() as session:
            row = session.get_one(CaseRow, case)
            row.state, row.closed_at = state, office.now() if state == "archived" else None

    is_now("archived")
    doing = {"looked": "_status", "said": "_keep"}[when]
    before = getattr(Reconciler, doing)

    def back_now(*given: Any) -> Any:
        is_now("open")
        return before(*given)

    monkeypatch.setattr(Reconciler, doing, back_now)
    found = await reconciled(office)
    assert found == ([] if when == "looked" else [(LINGERING, case)])
    assert await status(office, case) is WorkflowExecutionStatus.RUNNING


async def test_a_run_that_the_ledger_does_not_know_is_named_and_left(real_office: Office, house: House):
    office = real_office
    stranger = f"complaint-{office.task_queue}"
    started = office.docket.rebuilt(await office.open())
    await office.client.start_workflow("complaint", started.opened, id=stranger, task_queue=office.task_queue)
    await listed(office, stranger, "Running")
    assert await reconciled(office) == [(UNKNOWN, stranger)]
    assert await status(office, stranger) is WorkflowExecutionStatus.RUNNING
    await office.client.get_workflow_handle(stranger).terminate()


async def forget(office: Office, case: str) -> None:
    """The engine loses a run, as when its file is gone."""
    await office.client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=office.client.namespace, workflow_execution=WorkflowExecution(workflow_id=case)
        )
    )

    async def gone() -> bool:
        try:
            await status(office, case)
        except RPCError:
            return True
        return False

    await eventually(gone)


async def go_back(office: Office, case: str) -> None:
    """The engine has the case as it was when it had just been opened."""
    start = office.docket.rebuilt(case)
    assert start.opened
    await forget(office, case)
    early = start.opened.model_copy(update={"past": []})
    await office.client.start_workflow("complaint", early, id=case, task_queue=office.task_queue)
    await listed(office, case, "Running")
