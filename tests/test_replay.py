"""Cases that began under an earlier release go on under this one: every recorded history replays."""

import base64
import json
import re
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

import worker
from activities.keys import KeyRing
from activities.ledger import Ledger
from activities.payloads import ENCODING, data_converter
from models.complaint import Complaint, ComplaintPromises
from models.tasks import Opened, Recording
from settings import House
from tests.conftest import KEYS
from tests.office import DAY, HOUR, Office, connected, eventually
from workflows import WORKFLOWS
from workflows.complaint import ComplaintWorkflow

ROOT = Path(__file__).parents[1]
HISTORIES = Path(__file__).with_name("histories")
RELEASE = "v" + tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"].rpartition(".")[0]
"""The release at hand: what is recorded is recorded as its own. Those of earlier releases stay as they are."""
RECORDED = sorted(HISTORIES.glob("*/*.json"))
SECOND = timedelta(seconds=1)

every_recording = pytest.mark.parametrize("file", RECORDED, ids=lambda file: f"{file.parent.name}-{file.stem}")

TEACHING = """
{story}: this release cannot replay it.

    {failure}

What happened. Given this recorded history, the workflow no longer does the same things in the same order: it starts a
timer, writes to the ledger or answers a submission where it did not, or does not where it did.

Why it matters. Cases live for weeks, across releases. When the new worker takes over a case like this one, the case
stands still: its clock rings no more and forms get no answer, until the old code is back.

What to do. Let cases that went the old way go on in the old way. In workflows/patches.py, with the reason and the day
it may go:

    RECORDS_FIRST = "records-first"

and where the ways part:

    if workflow.patched(patches.RECORDS_FIRST):
        ...  # the new way
    else:
        ...  # the old way, as it was

A change of the desk is a change of every process. It needs no patch to change the body of an activity, a timeout, a
log line or a number of the policy, or to add a workflow.

When to record anew. While {release} is not released: pytest tests/test_replay.py --record. Never what a released
version recorded: its cases are out there.
"""


# The stories, each told to the point where its history is taken


async def handled_in_time(office: Office) -> str:
    case = await office.open()
    await office.walk(case)
    return case


async def solved_on_the_line(office: Office) -> str:
    case = await office.open()
    await office.hand_in(
        case, "solve", reply="当场致歉", steps="换新", effect="满意", remedy="exchange", execution="已换"
    )
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=4)
    await office.hand_in(case, "record", finding="尺码标错")
    return case


async def refused_twice_then_accepted(office: Office) -> str:
    case = await office.open()
    await office.walk(case, until="solution")
    for _ in range(2):
        await office.hand_in(case, "consent", accepted=False, wish="要求退款")
        await office.pass_time(HOUR)
        await office.hand_in(case, "solution", **office.SOLUTION | {"remedy": "refund"})
    await office.hand_in(case, "consent", accepted=True)
    await office.hand_in(case, "execution", content="已退款")
    await office.hand_in(case, "callback", outcome="partly_satisfied", satisfaction=3)
    await office.hand_in(case, "record", finding="充绒工艺不良")
    return case


async def received_25_hours_ago(office: Office) -> str:
    case = await office.open(received_at=(office.now() - 25 * HOUR).isoformat())
    assert office.heard(case, "wang") == ["overdue/reply"]
    await office.walk(case)
    return case


async def late_everywhere(office: Office) -> str:
    """Every rung of every task fires: reminder, manager, director."""
    case = await office.open()
    await office.pass_time(9 * DAY)
    await office.hand_in(case, "reply", content="抱歉久等")
    await office.hand_in(case, "solution", **office.SOLUTION)
    await office.pass_time(5 * DAY)
    await office.hand_in(case, "consent", accepted=True)
    await office.pass_time(4 * DAY)
    await office.hand_in(case, "execution", content="新衣已寄出")
    await office.hand_in(case, "callback", outcome="dissatisfied", satisfaction=1)
    await office.pass_time(3 * DAY)
    await office.hand_in(case, "record", finding="充绒工艺不良")
    assert {key: len(office.fired(case, key)) for key in office.tasks(case)} == {
        **dict.fromkeys(("reply", "solution", "consent", "execution", "callback"), 3),
        "record": 2,
    }
    return case


async def extended_and_reassigned(office: Office) -> str:
    case = await office.open()
    await office.pass_time(25 * HOUR)
    later = (office.now() + 10 * HOUR).isoformat()
    await office.hand_in(case, "extend", by="wang", task="reply", due_at=later, reason="已与顾客约定")
    await office.hand_in(case, "reassign", by="wang", task="reply", person="chen", reason="林晓休假")
    await office.pass_time(7 * HOUR)
    await office.walk(case)
    return case


async def still_open(office: Office) -> str:
    """In the middle: the reply is overdue, the solution given, the customer not yet asked."""
    case = await office.open()
    await office.pass_time(25 * HOUR)
    await office.hand_in(case, "solution", **office.SOLUTION)
    assert office.open_tasks(case) == {"reply", "consent", "callback"}
    return case


async def decided_when_a_rung_asked_for_it(office: Office) -> str:
    """Answered in time, and the relay slower than the clock."""
    case = await office.open()
    office.commit(case, "reply", content="及时")
    await office.pass_time(25 * HOUR)
    assert office.tasks(case)["reply"].state == "done"
    await office.relay.deliver(case)
    return case


async def opened_and_answered_while_nobody_was_at_work(office: Office) -> str:
    """The case begins after its reply was due and in time."""
    await office.worker_leaves()
    case = office.commit_opening().case
    office.commit(case, "reply", content="及时")
    await office.pass_time(25 * HOUR)
    await office.worker_comes()
    await office.relay.deliver(case)
    assert office.heard(case, "wang") == []
    return case


async def answered_while_the_worker_was_away(office: Office) -> str:
    """In real time: the rung, the answer and the worker come all at once."""
    case = await office.open(received_at=(office.now() - 24 * HOUR + SECOND).isoformat())
    await office.worker_leaves()
    due = office.tasks(case)["reply"].due_at
    office.commit(case, "reply", content="及时")
    await eventually(lambda: office.now() > due)
    await office.worker_comes()
    await office.relay.deliver(case)
    assert office.heard(case, "wang") == []
    return case


Story = Callable[[Office], Awaitable[str]]
IN_VIRTUAL_TIME: list[Story] = [
    handled_in_time,
    solved_on_the_line,
    refused_twice_then_accepted,
    received_25_hours_ago,
    late_everywhere,
    extended_and_reassigned,
    still_open,
    decided_when_a_rung_asked_for_it,
    opened_and_answered_while_nobody_was_at_work,
]
IN_REAL_TIME: list[Story] = [answered_while_the_worker_was_away]


# Telling, recording, replaying


@pytest.fixture
async def real_office(engine: str, house: House) -> AsyncIterator[Office]:
    async with Office(await connected(engine, house), house) as office:
        await office.worker_comes()
        yield office


@pytest.mark.parametrize("story", IN_VIRTUAL_TIME, ids=lambda story: story.__name__)
async def test_a_story_replays_as_it_was_told(story: Story, office: Office, pytestconfig: pytest.Config):
    await told_and_replayed(story, office, record=pytestconfig.getoption("record"))


@pytest.mark.parametrize("story", IN_REAL_TIME, ids=lambda story: story.__name__)
async def test_an_outage_replays_as_it_was_told(story: Story, real_office: Office, pytestconfig: pytest.Config):
    await told_and_replayed(story, real_office, record=pytestconfig.getoption("record"))


@every_recording
async def test_a_recorded_case_goes_on_under_this_release(file: Path):
    if failure := await failure_of(file.read_text()):
        pytest.fail(
            TEACHING.format(story=file.relative_to(HISTORIES), failure=failure, release=file.parent.name), pytrace=False
        )


async def told_and_replayed(story: Story, office: Office, *, record: bool) -> None:
    case = await story(office)
    history = await office.client.get_workflow_handle(case).fetch_history()
    text = as_text(history).replace(office.client.identity, "recorded")
    assert await failure_of(text) is None
    if record:
        file = HISTORIES / RELEASE / f"{story.__name__}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def as_text(history: WorkflowHistory) -> str:
    """JSON, an event a line."""
    events = ",\n".join(json.dumps(happened, ensure_ascii=False) for happened in history.to_json_dict()["events"])
    return f'{{"events": [\n{events}\n]}}\n'


async def failure_of(text: str, workflows: list[type] | None = None) -> Exception | None:
    """What the Replayer has to say, with the worker's own runner and converter; None when it is content."""
    replayer = Replayer(
        workflows=workflows or WORKFLOWS, workflow_runner=worker.RUNNER, data_converter=data_converter(KeyRing(KEYS))
    )
    history = WorkflowHistory.from_json("recorded", text)
    return (await replayer.replay_workflow(history, raise_on_replay_failure=False)).replay_failure


def test_every_story_is_recorded():
    told = {story.__name__ for story in (*IN_VIRTUAL_TIME, *IN_REAL_TIME)}
    recorded = {file.stem for file in RECORDED if file.parent.name == RELEASE}
    assert recorded == told, "pytest tests/test_replay.py --record, and delete what is told no more"


# That it can fail


@workflow.defn(name="complaint", sandboxed=False)  # this module is no workflow module: the sandbox would load pytest
class RecordsFirst(ComplaintWorkflow):
    """The ledger is to hear of the case before anything is owed: it looks harmless, and stops every open case."""

    @workflow.run
    async def run(self, opened: Opened[Complaint, ComplaintPromises]) -> None:
        await self._in_ledger(Ledger.record, Recording(case=workflow.info().workflow_id, entries=[]))
        await super().run(opened)


@workflow.defn(name="complaint", sandboxed=False)
class RecordsFirstInNewCases(RecordsFirst):
    """The same change, gated."""

    @workflow.run
    async def run(self, opened: Opened[Complaint, ComplaintPromises]) -> None:
        if workflow.patched("records-first"):
            await super().run(opened)
        else:
            await ComplaintWorkflow.run(self, opened)


@every_recording
async def test_an_incompatible_change_is_found(file: Path):
    assert "Nondeterminism" in str(await failure_of(file.read_text(), [RecordsFirst]))


@every_recording
async def test_an_incompatible_change_that_is_gated_lets_old_cases_go_on(file: Path):
    assert await failure_of(file.read_text(), [RecordsFirstInNewCases]) is None


