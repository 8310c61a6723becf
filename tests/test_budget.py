"""What a complaint costs the engine and the ledger, held against a yardstick: the same six steps in plain Temporal code."""

from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import event
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig
from temporalio.worker import Worker

import worker
from activities import schema
from activities.database import Database
from activities.submissions import as_submission
from models.tables import SubmissionRow
from models.tasks import Opened
from settings import House, Settings
from starter.docket import Receipt
from starter.front import Front
from tests.bare import BareWorkflow, keep
from tests.conftest import KEYS
from tests.office import HOUR, Office, connected, eventually

ENOUGH = 1.25
"""How much more than the yardstick a complaint may cost."""
KB = 1024


@dataclass(repr=False)
class Weight:
    """A history on the scales: how many events of each type, and the bytes they take as they are kept, encrypted."""

    events: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)

    @property
    def workflow_tasks(self) -> int:
        return self.events["WORKFLOW_TASK_COMPLETED"]


async def weigh(handle: WorkflowHandle[Any, Any]) -> Weight:
    weight = Weight()
    for happened in (await handle.fetch_history()).events:
        kind = EventType.Name(happened.event_type).removeprefix("EVENT_TYPE_")
        weight.events[kind] += 1
        weight.bytes[kind] += happened.ByteSize()
    return weight


@dataclass(repr=False)
class Bill:
    """What one call at the door cost: statements and commits of the ledger, round trips to the engine."""

    statements: list[str]
    commits: int
    trips: list[str]

    @property
    def items(self) -> str:
        return "\n".join([f"{self.commits} commits", *self.trips, *self.statements])


class Meter:
    """Counts on the wires: every statement the drivers get, every request the doors' client makes."""

    def __init__(self, database: Database) -> None:
        self._statements: list[str] = []
        self._commits = 0
        self._requests = MetricBuffer(10_000)
        self.runtime = Runtime(telemetry=TelemetryConfig(metrics=self._requests))
        for engine in {database.writer, database.reader}:
            event.listen(engine, "before_cursor_execute", self._note_statement)
            event.listen(engine, "commit", self._note_commit)

    def _note_statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        of_an_act = not statement.startswith("BEGIN") and "FROM organisation" not in " ".join(statement.split())
        if (
            of_an_act
        ):  # whether somebody has changed the organisation is asked once a second, whatever is done meanwhile
            self._statements.append(" ".join(statement.split()))

    def _note_commit(self, _connection: Any) -> None:
        self._commits += 1

    def read(self) -> Bill:
        """What was spent since the last time."""
        counted = ("temporal_request", "temporal_long_request")
        updates = [update for update in self._requests.retrieve_updates() if update.metric.name in counted]
        bill = Bill(self._statements, self._commits, [str(update.attributes["operation"]) for update in updates])
        self._statements, self._commits = [], 0
        return bill


class MeteredOffice(Office):
    """The department with a meter at its door."""

    async def put_meter(self, engine: str) -> None:
        self.meter = Meter(self.house.database)
        self.bills: dict[str, Bill] = {}
        client = await Client.connect(engine, data_converter=self.client.data_converter, runtime=self.meter.runtime)
        self.front = Front(self.house, client, self.now, self.task_queue)
        self.submissions, self.docket, self.relay = self.front.submissions, self.front.docket, self.front.relay
        self.meter.read()

    async def open(self, **facts: Any) -> str:
        case = await super().open(**facts)
        self.bills["open"] = self.meter.read()
        return case

    async def hand_in(self, case: str, form: str, **fields: Any) -> Receipt:
        receipt = await super().hand_in(case, form, **fields)
        self.bills[form] = self.meter.read()
        return receipt


@dataclass(repr=False)
class Measured:
    """One complaint handled in time, and the same submissions sent to the yardstick."""

    ours: Weight
    bare: Weight
    again: Weight
    """The run in which it is opened again, by then."""
    bills: dict[str, Bill]

    @property
    def table(self) -> str:
        """Where the events and the bytes went, on both sides."""
        kinds = [*self.ours.events.keys() | self.bare.events.keys()]
        kinds.sort(key=lambda kind: -self.ours.bytes[kind])
        rows = [
            (kind, self.ours.events[kind], self.ours.bytes[kind], self.bare.events[kind], self.bare.bytes[kind])
            for kind in kinds
        ]
        rows.append(("all", *(sum(row[column] for row in rows) for column in range(1, 5))))
        lines = [f"{kind:<38}{n:>9}{size:>8}{m:>12}{other:>8}" for kind, n, size, m, other in rows]
        return "\n".join(["", f"{'':<38}{'complaint':>9}{'bytes':>8}{'yardstick':>12}{'bytes':>8}", *lines])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Weighed on the real server: the one with the movable clock counts the same events, and a seventh fewer bytes."""
    house = House(Settings(data=tmp_path_factory.mktemp("house"), keys=SecretStr(KEYS)))
    schema.upgrade(house.database)
    async with MeteredOffice(await connected(engine, house), house) as office:
        await office.worker_comes()
        await office.put_meter(engine)
        case = await office.open()
        await office.walk(case)
        ours = await weigh(office.client.get_workflow_handle(case))
        bare = await weigh(await walked_barely(office, case))
        office.meter.read()
        await office.hand_in(case, "back_again", content="又跑绒了")
        again = await weigh(office.client.get_workflow_handle(case))
    house.database.close()
    return Measured(ours, bare, again, office.bills)


async def walked_barely(office: Office, case: str) -> WorkflowHandle[Any, Any]:
    """Send the yardstick the very submissions the case got."""
    opening, *forms = office.rows(SubmissionRow, case, SubmissionRow.recorded_at)
    opened = Opened[Any, Any].model_construct(
        case=opening.outline,
        promises=office.case(case).promises,
        submission=opening.id,
        by=opening.by,
        role=opening.role,
        at=opening.recorded_at,
    )
    async with bare_worker(office.client):
        handle = await office.client.start_workflow(
            "bare", opened, id="bare", task_queue="bare", task_timeout=timedelta(seconds=5)
        )
        await eventually(lambda: is_asking(handle))
        for row in forms:
            await handle.execute_update("submit", as_submission(row), id=row.id)
        await handle.result()
    return handle


async def is_asking(handle: WorkflowHandle[Any, Any]) -> bool:
    return "TIMER_STARTED" in (await weigh(handle)).events


@asynccontextmanager
async def bare_worker(client: Client) -> AsyncIterator[None]:
    async with Worker(
        client,
        task_queue="bare",
        workflows=[BareWorkflow],
        activities=[keep],
        activity_executor=ThreadPoolExecutor(1),
        workflow_runner=worker.RUNNER,
    ):
        yield


# The engine


def test_a_complaint_takes_at_most_a_quarter_more_events_than_its_six_steps_in_plain_temporal(told: Measured):
    assert told.ours.events.total() <= ENOUGH * told.bare.events.total(), told.table


def test_a_complaint_takes_at_most_a_quarter_more_workflow_tasks_than_plain_temporal(told: Measured):
    assert told.ours.workflow_tasks <= ENOUGH * told.bare.workflow_tasks, told.table


def test_a_complaint_takes_at_most_64_events(told: Measured):
    assert told.ours.events.total() <= 64, told.table


def test_a_complaint_takes_at_most_16_kilobytes_encrypted(told: Measured):
    assert told.ours.bytes.total() <= 16 * KB, told.table


def test_three_clocks_side_by_side_take_no_more_timers_than_one_after_the_other(told: Measured):
    """The callback's clock runs from receipt beside all the others and costs nothing: the desk sleeps until the next rung of any task."""
    assert told.ours.events["TIMER_STARTED"] <= told.bare.events["TIMER_STARTED"], told.table


@dataclass(repr=False)
class Escalated:
    """What a late reply adds to the same complaint answered in time: events of the history, and by step what the ledger was asked."""

    more: Counter[str]
    bills: dict[str, Bill]


STEPS = {"reminder": (21, "lin", "reminder"), "rung": (4, "wang", "overdue"), "hop": (4, "sun", "unacknowledged")}
"""So many hours further on somebody hears: the owner, the manager, and the director, because the manager does not acknowledge."""


@pytest.fixture
async def escalated(office: Office) -> Escalated:
    in_time, late = await office.open(), await office.open()
    await office.hand_in(in_time, "reply", content="已致歉")
    meter, bills = Meter(office.house.database), {}
    for step, (hours, person, what) in STEPS.items():
        await office.pass_time(hours * HOUR)
        await eventually(lambda hears=(person, what): f"{hears[1]}/reply" in office.heard(late, hears[0]), within=30)
        bills[step] = meter.read()
    await office.hand_in(late, "reply", content="抱歉久等")
    before, after = [(await weigh(office.client.get_workflow_handle(case))).events for case in (in_time, late)]
    return Escalated(after - before, bills)


async def test_an_escalation_takes_at_most_eight_events_and_is_one_transaction(escalated: Escalated):
    """A rung, a reminder among them, or a hop: a workflow task, a local activity, a timer."""
    assert escalated.more.total() <= len(STEPS) * 8, str(escalated.more)
    assert escalated.more["ACTIVITY_TASK_SCHEDULED"] == 0, "local, all of them"
    for step, bill in escalated.bills.items():
        assert bill.commits == 1, f"{step}\n{bill.items}"
        # the 14th where it fired late: the next rung keeps its distance
        assert len(bill.statements) <= 14, f"{step}\n{bill.items}"


def test_a_case_is_opened_again_with_fewer_events_than_it_took_and_every_one_local(told: Measured):
    """All that was decided is recalled in one workflow task, an event for what each submission wrote; nothing is written twice."""
    assert told.again.events.total() < told.ours.events.total() / 2, str(told.again.events)
    assert told.again.events["ACTIVITY_TASK_SCHEDULED"] == 0
    assert told.again.workflow_tasks <= 3, str(told.again.events)


# The ledger and the doors


def test_a_case_opens_with_at_most_28_statements_and_three_commits(told: Measured):
    bill = told.bills["open"]
    assert len(bill.statements) <= 28, bill.items
    assert bill.commits <= 3, bill.items


@pytest.mark.parametrize(
    ("form", "at_most"),
    {"reply": 20, "solution": 23, "consent": 23, "execution": 23, "callback": 24, "record": 27}.items(),
)
def test_a_form_is_handed_in_with_few_statements_and_three_commits(told: Measured, form: str, at_most: int):
    """Committed, leased, recorded by the desk, decided, let go. The last form also writes the archive."""
    bill = told.bills[form]
    assert len(bill.statements) <= at_most, bill.items
    assert bill.commits <= 3, bill.items


def test_a_case_is_opened_again_with_at_most_60_statements_and_ten_commits(told: Measured):
    """Three and one of them for each of the seven recordings of the first handling: asked for, and found to be there."""
    bill = told.bills["back_again"]
    assert len(bill.statements) <= 60, bill.items
    assert bill.commits <= 10, bill.items


def test_every_submission_is_one_round_trip_to_the_engine(told: Measured):
    assert {form: bill.trips for form, bill in told.bills.items() if len(bill.trips) > 1} == {}
    for starts in ("open", "back_again"):
        assert told.bills[starts].trips == ["ExecuteMultiOperation"], "start and answer in one"
    assert told.bills["reply"].trips == ["UpdateWorkflowExecution"]
