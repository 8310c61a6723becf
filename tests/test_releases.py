"""From one release to the next: cases that the release before has begun go on under this one, and nobody notices."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from httpx2 import AsyncClient, ConnectError
from pydantic import SecretStr
from sqlmodel import select
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus

import worker
from activities import schema
from models.tables import ArchiveRow, DeadlineRow, NoticeRow, SubmissionRow
from settings import TASK_QUEUE, House, Settings
from starter.front import Front
from tests.conftest import KEYS, free_port
from tests.office import HOUR, Office, connected, eventually
from tests.test_replay import RecordsFirstInNewCases
from workflows.complaint import ComplaintWorkflow
from workflows.desk import Desk

ROOT = Path(__file__).parent.parent
PRODUCT = ("models", "activities", "workflows", "starter", "settings.py", "worker.py")
SECOND = timedelta(seconds=1)

FORMS: dict[str, dict[str, Any]] = {
    "reply": {"content": "已致歉"},
    "solution": {"steps": "换一件新的", "duration": "P2D", "effect": "不再跑绒", "remedy": "exchange"},
    "consent": {"accepted": True},
    "execution": {"content": "新衣已寄出"},
    "callback": {"outcome": "satisfied", "satisfaction": 5},
    "record": {"finding": "充绒工艺不良"},
}
HANDED_IN: dict[str, list[str]] = {
    "opened": [],
    "replied": ["reply"],
    "waits": ["reply", "solution"],
    "late": [],
    "soon": [],
    "undecided": [],
}
RECEIVED_AGO = {"late": 25 * HOUR, "soon": 48 * HOUR - 12 * SECOND}
"""A reply is due after 24 hours, a solution after 48. The others were received just now."""


def the_last_commit() -> str:
    """KEFU_UPGRADE_FROM, or the last commit that is not what lies here."""
    return os.environ.get("KEFU_UPGRADE_FROM") or ("HEAD" if git("status", "--porcelain", "--", *PRODUCT) else "HEAD~1")


def the_schema_before() -> str:
    """The last commit whose ledgers have to be migrated."""
    [newest] = schema.MIGRATIONS.glob(f"versions/{schema.head()}_*.py")
    brought_by = git("log", "-1", "--diff-filter=A", "--format=%H", "--", str(newest)).decode().strip()
    return f"{brought_by}~1" if brought_by else "HEAD"


@pytest.fixture(scope="module", params=[the_last_commit, the_schema_before], ids=lambda find: find.__name__)
def before(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product as it was."""
    revision = request.param()
    if not git("rev-parse", "--verify", f"{revision}^{{commit}}"):
        pytest.skip(f"{revision} is not in this checkout: clone with more history, or name one in KEFU_UPGRADE_FROM")
    tree: Path = tmp_path_factory.mktemp("before")
    subprocess.run(["tar", "-x", "-C", tree], input=git("archive", revision, "--", *PRODUCT), check=True)
    assert has_changed(tree) or request.param is the_last_commit
    return tree


def has_changed(tree: Path) -> bool:
    """Whether the ledger's schema has, since then."""
    return not list(tree.glob(f"activities/migrations/versions/{schema.head()}_*.py"))


def git(*arguments: str) -> bytes:
    """What git says; nothing where there is no git, no repository or no such thing in it."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""


class Before:
    """The release before, at work in processes of its own."""

    def __init__(self, tree: Path, data: Path, engine: str) -> None:
        self._tree = tree
        self._log = data.parent / "before.log"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("KEFU_", "TEMPORAL_"))}
        ours = {"KEFU_DATA": str(data), "KEFU_KEYS": KEYS, "TEMPORAL_ADDRESS": engine, "PYTHONPATH": str(tree)}
        self._environment = clean | ours

    def migrates(self) -> None:
        with self.running("starter", "migrate") as process:
            assert process.wait(30) == 0, self._log.read_text()

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """`python -m …` until it is told to stop; it must have gone well."""
        with (
            self._log.open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self._tree, env=self._environment, stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()
                process.wait(20)
        assert process.returncode in (0, -15), self._log.read_text()
        assert "Traceback" not in self._log.read_text(), self._log.read_text()

    @asynccontextmanager
    async def door(self) -> AsyncIterator[AsyncClient]:
        port = free_port()
        who = {"X-Kefu-Actor": "lin"}
        with self.running("starter", "api", "--port", str(port)):
            async with AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=who, timeout=20) as lin:

                async def answers() -> bool:
                    try:
                        return (await lin.get("/health")).status_code == 200
                    except ConnectError:
                        return False

                await eventually(answers, within=30)
                yield lin


async def sent(lin: AsyncClient, path: str, body: dict[str, Any]) -> str:
    """Send, and be told the case; also where it is still being processed."""
    answer = await lin.post(f"/api/cases/complaint{path}", json=body)
    assert answer.status_code in (200, 201, 202), answer.text
    return str(answer.json()["case"])


def complaint(number: str, received_ago: timedelta) -> dict[str, Any]:
    return {
        "form_no": number,
        "kind": "complaint",
        "channel": "oa",
        "store": "SH01",
        "received_at": (datetime.now(UTC) - received_ago).isoformat(),
        "content": "羽绒服穿了两次就跑绒",
        "customer": {"name": "张小红"},
    }


@pytest.mark.sqlite
@pytest.mark.timeout(240)
async def test_cases_that_the_release_before_has_begun_go_on_and_lose_nothing(
    before: Path, engine: str, tmp_path: Path
):
    house = House(Settings(data=tmp_path / "var", keys=SecretStr(KEYS)))
    client = await connected(engine, house)
    release = Before(before, house.settings.data, engine)
    release.migrates()
    cases: dict[str, str] = {}

    async def begins(lin: AsyncClient, number: str) -> None:
        ago = RECEIVED_AGO.get(number, SECOND)
        cases[number] = await sent(lin, "", complaint(number, ago))
        for form in HANDED_IN[number]:
            await sent(lin, f"/{cases[number]}/{form}", FORMS[form])

    with ExitStack() as at_work:
        for part in (["worker"], ["starter", "relay"]):
            at_work.enter_context(release.running(*part))
        async with release.door() as lin:
            await asyncio.gather(*(begins(lin, number) for number in HANDED_IN))
            await eventually(lambda: not undecided(house), within=30)
            await eventually(lambda: all(is_heard(house, cases[number], "reply") for number in RECEIVED_AGO))
            at_work.close()
            await sent(lin, f"/{cases['undecided']}/reply", FORMS["reply"])
    assert undecided(house) == 1

    assert (schema.current(house.database) != schema.head()) == has_changed(before)
    schema.upgrade(house.database)
    Front.check(house)
    async with Office(client, house) as office:
        office.task_queue = TASK_QUEUE
        office.front = Front(house, client)
        office.submissions, office.docket = office.front.submissions, office.front.docket
        office.relay = office.front.relay
        due = office.tasks(cases["soon"])["solution"].due_at
        await office.pass_time(max(due - office.now(), timedelta(0)))  # and nobody at work
        await office.worker_comes()
        await eventually(lambda: is_delivered(office, cases["undecided"]), within=30)
        await eventually(lambda: is_heard(house, cases["soon"], "solution"), within=30)
        await asyncio.gather(*(finish(office, case) for case in cases.values()))
        for case in cases.values():
            await eventually(lambda case=case: has_ended_well(client, case))
        heard = {number: told for number, case in cases.items() if (told := office.heard(case, "wang"))}
        assert heard == {"late": ["overdue/reply"], "soon": ["overdue/reply", "overdue/solution"]}
        for case in cases.values():
            assert office.case(case).state == "archived"
            assert len(office.rows(ArchiveRow, case)) == 1
            assert {row.state for row in office.rows(SubmissionRow, case)} == {"decided"}
            kinds = [event.kind for event in office.events(case) if event.task in (None, *FORMS)]
            assert (kinds.count("opened"), kinds.count("done"), kinds.count("archived")) == (1, len(FORMS), 1)
            rungs = [event.key for event in office.events(case) if event.key.startswith("rung/")]
            fired = [
                f"rung/{row.task}/{row.generation}/{row.rung}" for row in office.rows(DeadlineRow, case) if row.fired_at
            ]
            assert sorted(rungs) == sorted(fired)
    house.database.close()


async def finish(office: Office, case: str) -> None:
    """Whatever it still owes, in order."""
    for form, fields in FORMS.items():
        await eventually(lambda form=form: form in office.tasks(case))
        if office.tasks(case)[form].state == "open":
            assert (await office.hand_in(case, form, **fields)).state == "decided"


async def is_delivered(office: Office, case: str) -> bool:
    """As the relay does it, once whoever held the case before has let go of it."""
    await office.relay.deliver(case)
    return not undecided(office.house)


def is_heard(house: House, case: str, task: str) -> bool:
    with house.database.reading() as session:
        return (
            session.exec(select(NoticeRow).where(NoticeRow.case_id == case, NoticeRow.task == task)).first() is not None
        )


def undecided(house: House) -> int:
    with house.database.reading() as session:
        return len(session.exec(select(SubmissionRow.id).where(SubmissionRow.state == "pending")).all())


async def has_ended_well(client: Client, case: str) -> bool:
    """Completed, and no task of it has failed on the way: neither release failed to follow what the other had done."""
    assert not await has_failed(client, case)
    return (await client.get_workflow_handle(case).describe()).status is WorkflowExecutionStatus.COMPLETED


@pytest.mark.sqlite
async def test_an_old_worker_that_meets_a_case_of_the_new_release_holds_it_up_and_spoils_nothing(
    house: House, engine: str
):
    """Why the old workers are stopped before the new ones start. The case goes on once they are gone."""
    client = await connected(engine, house)
    async with Office(client, house) as office:
        async with working(office, RecordsFirstInNewCases):
            case = await office.open()
        async with working(office, ComplaintWorkflow):
            office.commit(case, "reply", content="已致歉")
            sending = asyncio.create_task(office.relay.deliver(case))
            await eventually(lambda: has_failed(client, case))
            assert office.open_tasks(case) == {"reply", "solution", "callback"}
        async with working(office, RecordsFirstInNewCases):
            await eventually(lambda: office.tasks(case)["reply"].state == "done", within=60)
            await sending
            await finish(office, case)
            await eventually(lambda: office.case(case).state == "archived")


@asynccontextmanager
async def working(office: Office, complaint: type[Desk]) -> AsyncIterator[None]:
    """A worker of a release whose complaint is this one."""
    async with worker.build(office.client, office.ledger, task_queue=office.task_queue, workflows=[complaint]):
        yield


async def has_failed(client: Client, case: str) -> bool:
    return EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED in await kinds_of_events(client, case)


async def kinds_of_events(client: Client, case: str) -> set[EventType.ValueType]:
    history = await client.get_workflow_handle(case).fetch_history()
    return {event.event_type for event in history.events}
