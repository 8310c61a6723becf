"""The desk by itself, tried with a process of another kind: what it offers every process, and how it fails."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.api.enums.v1 import EventType

import workflows
from activities import schema
from activities.submissions import as_submission
from models import policy
from settings import House, Settings
from tests import umbrellas
from tests.conftest import KEYS
from tests.office import Office, connected, eventually


@pytest.fixture
async def lending(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """The department with a fifth process: a line in the list of workflows and a section of the policy."""

    monkeypatch.setitem(workflows.PROCESSES, "loan", umbrellas.LOAN)
    file = tmp_path / "policy.toml"
    file.write_text(policy.SHIPPED.read_text() + umbrellas.POLICY)
    house = House(Settings(data=tmp_path / "var", keys=SecretStr(KEYS), policy=file))
    schema.upgrade(house.database)
    async with Office(await connected(engine, house), house) as office:
        await office.worker_comes(umbrellas.LoanWorkflow)
        yield office
    house.database.close()


def loan(office: Office, **facts: Any) -> dict[str, Any]:
    return {"loan_no": "U-1", "store": "SH01", "lent_at": office.now().isoformat(), **facts}


async def lend(office: Office, **facts: Any) -> str:
    async with office.api("oa-sh01") as store:
        answer = await store.post("/api/cases/loan", json=loan(office, **facts))
    assert answer.status_code == 201, answer.text
    return answer.json()["case"]


async def test_a_fifth_process_has_its_doors_without_a_line_in_desk_ledger_or_api(lending: Office):
    case = await lend(lending)
    async with lending.api("oa-sh01") as store:
        answer = await store.post(f"/api/cases/loan/{case}/give_back", json={"condition": "完好"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "archived"
    assert {task["task"]: task["state"] for task in answer.json()["tasks"]} == {
        "give_back": "done",
        "fee": "withdrawn",
        "lost": "withdrawn",
    }
    assert lending.heard(case, "wang") == ["umbrella_back/None"]


async def test_a_store_does_what_it_owes_itself_and_nobody_elses(lending: Office):
    case = await lend(lending)
    assert lending.tasks(case)["give_back"].owner == "oa-sh01"
    async with lending.api("oa-gz01") as other:
        answer = await other.post(f"/api/cases/loan/{case}/give_back", json={"condition": "完好"})
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_case")
    assert lending.case(case).state == "open"


async def test_a_side_exit_ends_the_case_wherever_it_stands(lending: Office):
    case = await lend(lending)
    await lending.hand_in(case, "lost", process="loan", by="oa-sh01", where="地铁")
    assert lending.case(case).state == "archived"
    assert lending.case(case).closed_because == "lost"
    assert lending.tasks(case)["give_back"].withdrawn_because == "lost"


@pytest.mark.parametrize("broken", [umbrellas.BrokenInRun, umbrellas.BrokenInClock, umbrellas.BrokenInHandler])
async def test_a_bug_stops_the_case_loudly_and_loses_nothing_once_it_is_mended(lending: Office, broken: type):
    case = await lend(lending)
    await lending.worker_leaves()
    await lending.worker_comes(broken)
    sent = lending.commit(case, "give_back", process="loan", by="oa-sh01", condition="完好")
    delivery = asyncio.create_task(lending.relay.deliver(case))
    await eventually(lambda: failed_task(lending, case), within=20)
    assert lending.case(case).state == "open"
    await lending.worker_leaves()
    await lending.worker_comes(umbrellas.LoanWorkflow)
    await delivery
    await eventually(lambda: archived(lending, case), within=30)
    assert lending.submission(sent.submission).state == "decided"


async def failed_task(office: Office, case: str) -> bool:
    history = await office.client.get_workflow_handle(case).fetch_history()
    return any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED for event in history.events)


async def archived(office: Office, case: str) -> bool:
    await office.relay.deliver(case)
    return office.case(case).state == "archived"


@pytest.mark.sqlite
async def test_a_ledger_that_is_locked_for_seconds_holds_the_case_up_and_loses_nothing(lending: Office):
    case = await lend(lending)
    sent = lending.commit(case, "give_back", process="loan", by="oa-sh01", condition="完好")
    lock = sqlite3.connect(lending.house.settings.data / "ledger.db", isolation_level=None)
    handed_in = asyncio.create_task(hand_over(lending, case, sent.submission))
    lock.execute("BEGIN IMMEDIATE")
    try:
        await eventually(lambda: regular_activity(lending, case), within=20)
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    await handed_in
    await eventually(lambda: archived(lending, case), within=20)
    assert [row.kind for row in lending.events(case) if row.task == "give_back"] == ["owed", "done"]


async def hand_over(office: Office, case: str, submission: str) -> None:
    """Straight to the engine: the relay, too, would wait for the ledger."""
    row = office.submission(submission)
    await office.client.get_workflow_handle(case).execute_update("submit", as_submission(row), id=submission)


async def regular_activity(office: Office, case: str) -> bool:
    history = await office.client.get_workflow_handle(case).fetch_history()
    return any(event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED for event in history.events)


async def test_what_the_engine_cannot_decide_holds_up_nothing_new(lending: Office):
    await lending.worker_leaves()
    await lending.worker_comes()  # a release that does not know loans
    lending.relay.send_within = timedelta(seconds=1)
    person = lending.front.actor("oa-sh01")
    stuck = [
        lending.submissions.open(umbrellas.LOAN, umbrellas.Loan(**loan(lending, loan_no=f"U-{n}")), person)
        for n in range(12)
    ]
    running = asyncio.create_task(lending.relay.run())
    await eventually(lambda: all(lending.submission(sent.submission).attempts for sent in stuck), within=30)
    fresh = [lending.commit_opening() for _ in range(3)]
    await eventually(lambda: all(lending.submission(sent.submission).state == "decided" for sent in fresh), within=30)
    assert {lending.submission(sent.submission).state for sent in stuck} == {"pending"}
    running.cancel()
