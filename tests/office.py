"""The department in virtual time: a real Temporal server whose clock we move, a real ledger, real people with names."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count
from secrets import token_hex
from typing import Any, Self, TypeVar

from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

import worker
from activities.ledger import Ledger
from activities.payloads import data_converter
from models.duty import Absence
from models.forms import Form
from models.organisation import Directory
from models.people import Person
from models.tables import CaseRow, DeadlineRow, EventRow, NoticeRow, SubmissionRow, TaskRow
from settings import House
from starter import api, relay
from starter.docket import Receipt
from starter.front import Front
from starter.organisation import versions
from workflows import PROCESSES, WORKFLOWS
from workflows.desk import Desk

T = TypeVar("T")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LEAVES_WITHIN = timedelta(seconds=30)
BUSY = timedelta(seconds=20)
"""So long a story waits for what somebody at work decides, on a machine that has much else to do."""


async def eventually(check: Callable[[], Any], within: float = 60) -> Any:
    """Wait for a condition, without a guess at how long it takes; the assertion that still fails at the end is raised."""
    end = asyncio.get_running_loop().time() + within
    while True:
        try:
            result = check()
            result = await result if isinstance(result, Awaitable) else result
            assert result, "the condition did not come true"
            return result
        except AssertionError:
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(0.01)


def patiently(write: Callable[[], T]) -> T:
    """As whoever is told that the ledger is busy: nothing was taken, so once more. SQLite does not queue its writers."""
    while True:
        try:
            return write()
        except OperationalError as error:
            if "database is locked" not in str(error.orig):
                raise


async def connected(address: str, house: House) -> Client:
    """A client of a server that may still be starting."""

    async def try_it() -> Client:
        try:
            return await Client.connect(address, data_converter=data_converter(house.keys))
        except RuntimeError as error:
            raise AssertionError("the engine does not answer") from error

    return await eventually(try_it)


def organised(house: House, at: datetime, *absences: Absence, **changes: dict[str, Any]) -> None:
    """The people as they were, some of them otherwise, from an instant on; as the door of the organisation writes it."""
    known, admin = house.people.now, house.people.person("admin")
    assert admin
    people = tuple(
        Person.model_validate({**person.model_dump(), **changes.get(person.id, {})}) for person in known.people
    )
    directory = Directory(stores=known.stores, people=people, absences=absences)
    with house.database.writing() as session:
        versions.keep(session, house.keys, directory, admin, "loaded", at, None)
    house.people.refresh()


async def left(running: Worker) -> None:
    """A worker leaves. Once in some hundred times, on a busy machine, the library's own never comes to its end: it is let go."""
    leaving = asyncio.create_task(running.__aexit__(None, None, None))
    done, _ = await asyncio.wait({leaving}, timeout=LEAVES_WITHIN.total_seconds())
    if done:
        return leaving.result()
    logging.getLogger(__name__).warning("a worker did not leave within %s", LEAVES_WITHIN)
    running._async_context_exiting, work = True, running._async_context_run_task
    assert work
    for task in (leaving, work):
        task.cancel()
    await asyncio.wait({leaving, work}, timeout=1)
    return None


class Office:
    """What the stories are told with. With `env` its clock is the engine's, which only `pass_time` moves."""

    def __init__(self, client: Client, house: House, env: WorkflowEnvironment | None = None) -> None:
        self.client = client
        self.env = env
        self.house = house
        self.task_queue = f"stories-{token_hex(4)}"
        self.front = Front(house, client, self.now, self.task_queue)
        self.submissions, self.docket = self.front.submissions, self.front.docket
        self.relay = self.front.relay
        self.ledger = Ledger(house.database, house.keys, house.people, self.now)
        self._ahead = timedelta(0)
        self._standing: datetime | None = None
        self._worker: Worker | None = None
        self._numbers = count(1)

    def now(self) -> datetime:
        return self._standing or datetime.now(UTC) + self._ahead

    def clock_stands_at(self, instant: datetime) -> None:
        """Our own clock, not the engine's: for what happens in one exact instant."""
        self._standing = instant

    def clock_runs(self) -> None:
        self._standing = None

    async def __aenter__(self) -> Self:
        await self._read_clock()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.worker_leaves()

    async def worker_comes(self, *more: type[Desk]) -> None:
        running = [*WORKFLOWS, *more]
        self._worker = worker.build(
            self.client, self.ledger, self.front.errands, task_queue=self.task_queue, workflows=running
        )
        await self._worker.__aenter__()
        self.relay.answer_within = BUSY  # what is decided matters here, not how fast

    @property
    def is_closed(self) -> bool:
        """Whether nobody is at work."""
        return self._worker is None

    async def worker_leaves(self) -> None:
        if self._worker:
            await left(self._worker)
            self._worker = None
            self.relay.answer_within, self.relay.send_within = relay.ANSWER_WITHIN, relay.SEND_WITHIN

    async def pass_time(self, span: timedelta) -> None:
        """Let virtual time pass; in an office of real time, wait."""
        until = self.now() + span
        if self.env is None:
            await eventually(lambda: self.now() >= until, within=span.total_seconds() + 5)
        else:
            await self.env.sleep(span)
            await self._read_clock()
            if not self.is_closed:
                await eventually(lambda: not self._about_to_fire())

    def _about_to_fire(self) -> list[DeadlineRow]:
        """Rungs whose time has just come. The test server strands a run whose task cancels a timer that fires meanwhile
        (temporalio/sdk-java#3088): whoever acts now waits until they have fired."""
        soon = self.now() + timedelta(seconds=1)
        of_task = (TaskRow.case_id == DeadlineRow.case_id) & (TaskRow.key == DeadlineRow.task)
        ahead = (
            select(DeadlineRow)
            .join(TaskRow, of_task)  # type: ignore[arg-type]
            .where(TaskRow.state == "open", TaskRow.generation == DeadlineRow.generation)
            .where(col(DeadlineRow.fired_at).is_(None), DeadlineRow.planned_at <= soon)
        )
        with self.house.database.reading() as session:
            return list(session.exec(ahead))

    async def _read_clock(self) -> None:
        if self.env:
            self._ahead = await self.env.get_current_time() - datetime.now(UTC)

    def organise(self, *absences: Absence, **changes: dict[str, Any]) -> None:
        """Another organisation from now on."""
        organised(self.house, self.now(), *absences, **changes)

    # What people do

    @cached_property
    def app(self) -> FastAPI:
        """The HTTP door, built once: its routes take longer than most of what is asked of them."""
        return api.build(self.front)

    def api(self, actor: str | None = "lin", **headers: str) -> AsyncClient:
        """The HTTP door, with somebody at it."""
        who = {"X-Kefu-Actor": actor} if actor else {}
        return AsyncClient(
            transport=ASGITransport(self.app, raise_app_exceptions=False),
            base_url="http://testserver",
            headers=who | headers,
        )

    def complaint(self, **facts: Any) -> dict[str, Any]:
        return {
            "form_no": f"OA-{next(self._numbers):04d}",
            "kind": "complaint",
            "channel": "oa",
            "received_at": self.now().isoformat(),
            "store": "SH01",
            "content": "羽绒服穿了两次就跑绒",
            "customer": {"name": "张小红", "phone": "13800000001"},
            **facts,
        }

    def commit_opening(
        self, by: str = "oa-sh01", process: str = "complaint", holder: str | None = None, **facts: Any
    ) -> Receipt:
        case = PROCESSES[process].case.model_validate(self.complaint(**facts))
        return patiently(lambda: self.submissions.open(PROCESSES[process], case, self.front.actor(by), holder=holder))

    def commit(
        self,
        case: str,
        form: str,
        by: str = "lin",
        task: str | None = None,
        key: str | None = None,
        process: str = "complaint",
        holder: str | None = None,
        **fields: Any,
    ) -> Receipt:
        """Put a form into the ledger, as the door does, without delivering it."""
        model: type[Form] = PROCESSES[process].submittable[form]
        if "task" in model.model_fields:  # an act names its task in its own field
            fields, task = fields | {"task": task}, None
        content = model.model_validate(fields)
        return patiently(
            lambda: self.submissions.hand_in(
                PROCESSES[process], case, content, self.front.actor(by), task=task, key=key, holder=holder
            )
        )

    async def open(self, **facts: Any) -> str:
        receipt = await self._decided(lambda holder: self.commit_opening(holder=holder, **facts))
        assert receipt.state == "decided", receipt
        return receipt.case

    async def hand_in(self, case: str, form: str, **fields: Any) -> Receipt:
        return await self._decided(lambda holder: self.commit(case, form, holder=holder, **fields))

    async def _decided(self, commit: Callable[[str | None], Receipt]) -> Receipt:
        """Send as the doors do; where the machine is too busy to answer in time, wait as its sender would."""
        receipt = await self.relay.send(commit)

        async def known() -> Receipt | None:
            if receipt.state != "pending":
                return receipt
            await self.relay.deliver(receipt.case)
            later = self.docket.receipt(receipt.submission)
            return later if later.state != "pending" else None

        return await eventually(known, within=90)

    # What the ledger shows

    def rows(self, table: Any, case: str, *order: Any) -> list[Any]:
        with self.house.database.reading() as session:
            return list(session.exec(select(table).where(table.case_id == case).order_by(*order)))

    def case(self, case: str) -> CaseRow:
        with self.house.database.reading() as session:
            return session.get_one(CaseRow, case)

    def tasks(self, case: str) -> dict[str, TaskRow]:
        return {row.key: row for row in self.rows(TaskRow, case)}

    def open_tasks(self, case: str) -> set[str]:
        return {key for key, row in self.tasks(case).items() if row.state == "open" and not row.by_itself}

    def events(self, case: str) -> list[EventRow]:
        return self.rows(EventRow, case, EventRow.id)

    def fired(self, case: str, task: str) -> list[DeadlineRow]:
        """The rungs of a task that somebody heard of, in the order they fired."""
        rows = self.rows(DeadlineRow, case, col(DeadlineRow.fired_at), DeadlineRow.rung)
        return [row for row in rows if row.task == task and row.fired_at and not row.passed]

    def heard(self, case: str, person: str) -> list[str]:
        """What a person was told about a case: "what/task", in order."""
        rows = self.rows(NoticeRow, case, NoticeRow.id)
        return [f"{row.what}/{row.task}" for row in rows if row.person == person and row.delivered_at]

    def submission(self, id: str) -> SubmissionRow:
        with self.house.database.reading() as session:
            return session.get_one(SubmissionRow, id)

    # The whole way

    SOLUTION = {"steps": "换一件新的", "duration": "P2D", "effect": "不再跑绒", "amount": "0", "remedy": "exchange"}

    async def walk(self, case: str, until: str = "record") -> None:
        """Hand in every form in time, up to and including one."""
        for form, fields in {
            "reply": {"content": "已致歉"},
            "solution": self.SOLUTION,
            "consent": {"accepted": True},
            "execution": {"content": "新衣已寄出"},
            "callback": {"outcome": "satisfied", "satisfaction": 5, "channel": "phone"},
            "record": {"finding": "充绒工艺不良", "responsible": "商品中心", "lesson": "抽检"},
        }.items():
            assert (await self.hand_in(case, form, **fields)).state == "decided"
            if form == until:
                return
