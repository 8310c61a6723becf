"""Cases that began under an earlier release go on under this one: every recorded history replays."""

import json
import re
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory
from temporalio.converter import DefaultFailureConverter
from temporalio.worker import Replayer

import worker
from activities.keys import KeyRing
from activities.ledger import Ledger
from activities.payloads import ENCODING, NOTHING, data_converter
from models import policy
from models.complaint import COMPLAINT
from models.complaint.facts import Complaint
from models.complaint.terms import ComplaintPromises
from models.entries import Recording
from models.tasks import Opened
from settings import House
from tests.conftest import KEYS
from tests.expiring import EXPIRING
from tests.members import AUDITS
from tests.office import DAY, HOUR, Office, connected, eventually
from tests.singing import a_canary_is_heard
from tests.visited import VISITED
from workflows import WORKFLOWS
from workflows.complaint import FOURTH, ComplaintWorkflow
from workflows.journal import in_ledger

PROJECT = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
RELEASE = "v" + PROJECT["version"].rpartition(".")[0]
"""The release at hand: what is recorded is recorded as its own. Those of earlier releases stay as they are."""
HISTORIES = Path(__file__).with_name("histories")
CONVERTER = data_converter(KeyRing(KEYS))
SECOND = timedelta(seconds=1)

TEACHING = """
{story}: this release cannot replay it.

    {failure}

What happened. Given this recorded history, the workflow no longer does the same things in the same order: it starts a
timer, writes to the ledger or answers a submission where it did not, or does not where it did; or it cannot read what
was kept.

Why it matters. Cases live for weeks, across releases. When the new worker takes over a case like this one, the case
stands still: its clock rings no more and forms get no answer, until the old code is back.

What to do. Let cases that went the old way go on in the old way. A case knows how it began, by one of two things.

Its edition, where the steps of a complaint change. Raise `edition` in models/policy.toml, name it beside FOURTH in
workflows/complaint.py, and where the ways part:

    if self.edition >= FIFTH:
        ...  # the new way
    else:
        ...  # the old way, as it was

The promises of a case hold the edition it was opened under (models/complaint/terms.py), and a case that is rebuilt from
the ledger keeps it.

A patch, where a process has no editions, or where the desk changes (workflows/desk.py and what it is made of): that is
every process.

    if workflow.patched("records-first"):  # the reason, and the day the old way may go
        ...  # the new way
    else:
        ...  # the old way, as it was

Neither is needed to change the body of an activity, a timeout, a log line or a number of the policy, or to add a
workflow.

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


async def solved_first_and_replied_last(office: Office) -> str:
    """The clocks are independent: nobody waits for the reply until everything else is done."""
    case = await office.open()
    await office.hand_in(case, "solution", **office.SOLUTION)
    await office.hand_in(case, "consent", accepted=True)
    await office.hand_in(case, "execution", content="新衣已寄出")
    await office.hand_in(case, "callback", outcome="satisfied", satisfaction=5)
    await office.pass_time(25 * HOUR)
    await office.hand_in(case, "reply", content="抱歉久等")
    await office.hand_in(case, "record", finding="充绒工艺不良")
    return case


async def refused_twice_then_accepted(office: Office) -> str:
    case = await office.open()
    await office.walk(case, until="solution")
    for _ in range(2):
        await office.hand_in(case, "consent", accepted=False, wish="要求退款")
        await office.pass_time(HOUR)
        await office.hand_in(case, "solution", by="wang", **office.SOLUTION | {"remedy": "refund"})
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
    await office.hand_in(case, "callback", outcome="partly_satisfied", satisfaction=2)
    await office.pass_time(3 * DAY)
    await office.hand_in(case, "record", finding="充绒工艺不良")
    assert {key: len(office.fired(case, key)) for key, task in office.tasks(case).items() if not task.by_itself} == {
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
    office.clock_stands_at(due - timedelta.resolution)
    office.commit(case, "reply", content="及时")
    office.clock_runs()
    await eventually(lambda: office.now() > due)
    await office.worker_comes()
    await office.relay.deliver(case)
    assert office.heard(case, "wang") == []
    return case


async def back_again_and_handled_once_more(office: Office) -> str:
    """E26: closed, opened again after its run had ended, and late the second time; the history is the second run's."""
    case = await office.open()
    await office.walk(case)
    await office.pass_time(5 * DAY)
    await office.hand_in(case, "back_again", content="又跑绒了", channel="phone")
    await office.pass_time(25 * HOUR)
    assert office.heard(case, "wang") == ["back_again/None", "overdue/reply-2"]
    await office.walk(case)
    return case


Story = Callable[[Office], Awaitable[str]]
IN_VIRTUAL_TIME: list[Story] = [
    handled_in_time,
    solved_on_the_line,
    solved_first_and_replied_last,
    refused_twice_then_accepted,
    received_25_hours_ago,
    late_everywhere,
    extended_and_reassigned,
    still_open,
    decided_when_a_rung_asked_for_it,
    opened_and_answered_while_nobody_was_at_work,
    back_again_and_handled_once_more,
    *EXPIRING,
    *AUDITS,
    *VISITED,
    a_canary_is_heard,
]
IN_REAL_TIME: list[Story] = [answered_while_the_worker_was_away]


# Telling, recording, replaying


@dataclass(frozen=True)
class Recorded:
    """A history as it lies in the repository."""

    file: Path

    @property
    def story(self) -> str:
        return str(self.file.relative_to(HISTORIES))

    @property
    def release(self) -> str:
        return self.file.parent.name

    @property
    def text(self) -> str:
        return self.file.read_text()

    @property
    def history(self) -> Any:
        return json.loads(self.text)


RECORDED = sorted(HISTORIES.glob("*/*.json"))


def named(file: Path) -> str:
    return f"{file.parent.name}-{file.stem}"


@pytest.fixture(params=RECORDED, ids=named)
def recording(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(request.param)


@pytest.fixture(
    params=[file for file in RECORDED if '"name": "complaint"' in file.read_text().splitlines()[1]], ids=named
)
def complaint(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(request.param)


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


async def test_a_recorded_case_goes_on_under_this_release(recording: Recorded):
    if failure := await failure_of(recording.text):
        pytest.fail(taught(recording, failure), pytrace=False)


def taught(recording: Recorded, failure: Exception) -> str:
    return TEACHING.format(story=recording.story, failure=said_by(failure), release=recording.release)


async def told_and_replayed(story: Story, office: Office, *, record: bool) -> None:
    case = await story(office)
    history = await office.client.get_workflow_handle(case).fetch_history()
    text = as_text(history).replace(office.client.identity, "recorded")
    assert await failure_of(text) is None
    if record:
        keep(story.__name__, text)


def keep(story: str, text: str) -> None:
    file = HISTORIES / RELEASE / f"{story}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def as_text(history: WorkflowHistory) -> str:
    """JSON, an event a line."""
    events = ",\n".join(json.dumps(happened, ensure_ascii=False) for happened in history.to_json_dict()["events"])
    return f'{{"events": [\n{events}\n]}}\n'


async def failure_of(text: str, workflows: list[type] | None = None) -> Exception | None:
    """What the Replayer has to say, with the worker's own runner and converter; None when it is content."""
    replayer = Replayer(
        workflows=workflows or WORKFLOWS,
        workflow_runner=worker.RUNNER,
        data_converter=replace(CONVERTER, failure_converter_class=DefaultFailureConverter),  # to be read here, not kept
    )
    history = WorkflowHistory.from_json("recorded", text)
    return (await replayer.replay_workflow(history, raise_on_replay_failure=False)).replay_failure


def said_by(failure: Exception) -> str:
    """The messages of a failure and of its causes, out of everything else the engine's library prints of it."""
    return "\n    ".join(re.findall(r'message: "(.*?)", source', str(failure))) or str(failure)


def test_every_story_is_recorded():
    told = {story.__name__ for story in (*IN_VIRTUAL_TIME, *IN_REAL_TIME)}
    recorded = {file.stem for file in (HISTORIES / RELEASE).glob("*.json")}
    assert recorded == told, "pytest tests/test_replay.py --record; and delete by hand what is told no more"


# That it can fail


@workflow.defn(name="complaint", sandboxed=False)  # this module is no workflow module: the sandbox would load pytest
class RecordsFirst(ComplaintWorkflow):
    """The ledger is to hear of the case before anything is owed: it looks harmless, and stops every open case."""

    @workflow.run
    async def run(self, opened: Opened[Complaint, ComplaintPromises]) -> None:
        await in_ledger(Ledger.record, Recording(case=workflow.info().workflow_id, entries=[]))
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


async def test_an_incompatible_change_is_found(complaint: Recorded):
    assert await failure_of(complaint.text, [RecordsFirst])


async def test_whoever_makes_one_is_taught_what_happened_and_what_to_do():
    """Every file it sends him to is there, and so is what it speaks of in it."""
    recording = Recorded(HISTORIES / "v0.1" / "handled_in_time.json")
    failure = await failure_of(recording.text, [RecordsFirst])
    assert failure
    text = taught(recording, failure)
    assert text.strip().startswith("v0.1/handled_in_time.json: this release cannot replay it.")
    assert "Nondeterminism" in text.partition("What happened.")[0], "what the engine's library says of it"
    parts = ["What happened.", "Why it matters.", "What to do.", "When to record anew. While v0.1 is not released"]
    assert sorted(parts, key=text.index) == parts
    named = set(re.findall(r"[\w/]+\.(?:py|toml)", text))
    assert {"models/policy.toml", "models/complaint/terms.py", "workflows/desk.py", "tests/test_replay.py"} <= named
    assert [file for file in named if not (HISTORIES.parents[1] / file).is_file()] == []
    assert "self.edition >= FIFTH" in text
    promised = policy.promises(COMPLAINT)
    assert isinstance(promised, ComplaintPromises)
    assert promised.terms.edition == FOURTH, "FIFTH is the next"
    assert 'workflow.patched("records-first")' in text, "as RecordsFirstInNewCases does it, which replays"


async def test_an_incompatible_change_lets_old_cases_go_on_when_it_is_gated(complaint: Recorded):
    assert await failure_of(complaint.text, [RecordsFirstInNewCases]) is None


# What a recording may say

NOTED_BY_THE_ENGINE = {
    *("seq", "attempt", "activity_id", "activity_type", "activation_index"),
    *("complete_time", "original_schedule_time", "backoff"),
}
"""What Temporal's library writes of a local activity, in the clear."""
NAME_ID_OR_INSTANT = re.compile(r"[\w.:+-]*(/request)?", re.ASCII)


async def test_a_recording_holds_no_text_no_name_and_no_phone_even_for_those_who_have_the_key(recording: Recorded):
    sealed = [payload for payload, _ in leaves(recording.history) if payload]
    opened = await CONVERTER.payload_codec.decode(sealed)
    texts = [payload.data.decode() for payload in opened]
    assert any(re.search('received_at|begins_at|began_at|asked_at|"case"', text) for text in texts), "they were opened"
    promised = policy.promises(COMPLAINT)
    assert isinstance(promised, ComplaintPromises)
    of_the_policy = "|".join(re.escape(question.zh) for question in promised.terms.survey)
    told = [re.sub(of_the_policy, "", text) for text in (recording.text, *texts)]
    assert [text for text in told if re.search("[\u4e00-\u9fff]|13800000001", text)] == []


def test_a_recording_is_sealed(recording: Recorded):
    for payload, _ in leaves(recording.history):
        if payload and payload.metadata["encoding"] not in (ENCODING, NOTHING):
            assert json.loads(payload.data).keys() <= NOTED_BY_THE_ENGINE


def test_a_recording_says_nothing_of_the_machine_it_was_made_on(recording: Recorded):
    """Beside what is sealed there are names, ids and instants: no path, no process at no host."""
    words = [word for _, word in leaves(recording.history) if word]
    assert [word for word in words if not NAME_ID_OR_INSTANT.fullmatch(word)] == []


def leaves(node: Any) -> Iterator[tuple[Payload | None, str | None]]:
    """The payloads of a history's JSON, and the strings beside them."""
    match node:
        case {"metadata": _}:
            yield ParseDict(node, Payload()), None
        case str(word):
            yield None, word
        case dict() | list():
            for child in node.values() if isinstance(node, dict) else node:
                yield from leaves(child)
