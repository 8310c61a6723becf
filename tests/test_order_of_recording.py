"""A case decides in the order things were recorded, whatever was down meanwhile and whoever was killed (rule 4).

In these stories a reply is due after three seconds; at that instant the manager hears, two seconds later the director.
The engine goes down before, and comes back with the relay slower than the rungs.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from activities import schema
from models.complaint.terms import ComplaintPromises
from models.entries import DueRung
from models.people import Role
from models.tables import EventRow
from settings import House, Settings
from starter import relay
from tests.conftest import KEYS
from tests.office import Office, connected, eventually

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
LADDER = '[["PT0S", "manager"], ["PT2S", "director"]]'
WITHIN = dict.fromkeys(ComplaintPromises.model_fields, "P60D") | {"reply": "PT3S"}
STORY_POLICY = '[complaint.intake]\noldest_receipt = "P90D"\nclocks_differ = "PT1M"\n' + "".join(
    f'[complaint.promises.{name}]\nwithin = "{within}"\nbasis = "a story"\nladder = {LADDER}\n'
    for name, within in WITHIN.items()
)


@pytest.fixture
async def office(engine: str, tmp_path: Path) -> AsyncIterator[Office]:
    file = tmp_path / "policy.toml"
    file.write_text(STORY_POLICY)
    house = House(Settings(data=tmp_path / "var", keys=SecretStr(KEYS), policy=file))
    schema.upgrade(house.database)
    client = await connected(engine, house)
    async with Office(client, house) as office:
        await office.worker_comes()
        yield office
    house.database.close()


async def outage(office: Office, case: str, *, until: timedelta) -> None:
    """The worker leaves and time passes to an instant around the reply's due time; the engine's timers come due unseen."""
    await office.worker_leaves()
    due = office.tasks(case)["reply"].due_at
    await office.pass_time(due + until - office.now())


def recorded(office: Office, case: str, form: str, at: timedelta, **fields: object) -> str:
    """Commit a form as the door would have at an instant around the due time, and leave it to the relay."""
    office.clock_stands_at(office.due + at)
    receipt = office.commit(case, form, **fields)
    office.clock_runs()
    return receipt.submission


async def back_again(office: Office, case: str, closes: str = "reply") -> None:
    """The worker is back and the engine gets to its timers first; then comes the relay."""
    await office.worker_comes()
    await office.relay.deliver(case)
    await eventually(lambda: office.tasks(case)[closes].state == "done")


async def late_case(office: Office) -> str:
    case = await office.open()
    office.due = office.tasks(case)["reply"].due_at
    return case


def who_heard(office: Office, case: str) -> list[str]:
    return [row.role for row in office.fired(case, "reply")]


async def test_in_time_work_never_escalates_though_the_engine_was_down_past_both_rungs(office: Office):
    case = await late_case(office)
    await office.worker_leaves()
    recorded(office, case, "reply", -SECOND, content="及时")
    await outage(office, case, until=3 * SECOND)
    await back_again(office, case)
    assert who_heard(office, case) == []


async def test_work_done_at_the_very_instant_it_is_due_is_in_time(office: Office):
    """E38: done at the due time is in time."""
    case = await late_case(office)
    await office.worker_leaves()
    recorded(office, case, "reply", 0 * SECOND, content="准点")
    await outage(office, case, until=SECOND)
    await back_again(office, case)
    assert who_heard(office, case) == []


async def test_late_work_never_overtakes_its_breach(office: Office):
    case = await late_case(office)
    await outage(office, case, until=2.5 * SECOND)
    recorded(office, case, "reply", SECOND, content="迟了一秒")
    await back_again(office, case)
    assert who_heard(office, case) == ["manager"]
    happened = [(row.kind, row.task) for row in office.rows(EventRow, case, EventRow.id) if row.task == "reply"]
    assert happened == [("owed", "reply"), ("escalated", "reply"), ("done", "reply")]


async def test_the_manager_and_the_director_never_hear_in_one_instant_after_an_outage(office: Office):
    case = await late_case(office)
    await outage(office, case, until=3 * SECOND)
    await office.worker_comes()
    await eventually(lambda: who_heard(office, case) == ["manager", "director"])
    manager, director = office.fired(case, "reply")
    assert director.fired_at - manager.fired_at >= 2 * SECOND
    await office.hand_in(case, "reply", content="终于")
    assert office.tasks(case)["reply"].state == "done"


async def test_an_extension_in_time_holds_though_it_is_delivered_late(office: Office):
    case = await late_case(office)
    await office.worker_leaves()
    later = (office.due + MINUTE).isoformat()
    recorded(office, case, "extend", -SECOND, by="wang", task="reply", due_at=later, reason="与顾客约好")
    recorded(office, case, "reply", 2 * SECOND, content="按约")
    await outage(office, case, until=3 * SECOND)
    await back_again(office, case)
    assert who_heard(office, case) == []
    assert office.tasks(case)["reply"].generation == 1


async def test_a_form_that_was_refused_when_a_rung_asked_for_it_is_refused_to_its_sender(office: Office):
    case = await late_case(office)
    await office.worker_leaves()
    early = recorded(office, case, "callback", -SECOND, outcome="satisfied", satisfaction=5)
    await outage(office, case, until=SECOND)
    await office.worker_comes()
    await eventually(lambda: who_heard(office, case) == ["manager"])
    await office.relay.deliver(case)
    assert office.submission(early).state == "refused"
    assert office.submission(early).refusal["code"] == "not_possible_yet"


async def test_a_breach_between_two_submissions_that_a_rung_asked_for_is_not_passed_over(office: Office):
    case = await late_case(office)
    await office.hand_in(case, "solution", **office.SOLUTION | {"duration": "PT1S"})
    await office.worker_leaves()
    recorded(office, case, "consent", -2 * SECOND, accepted=True)  # so the execution is due a second before the reply
    recorded(office, case, "execution", -0.5 * SECOND, content="迟了半秒")
    await outage(office, case, until=SECOND)
    await back_again(office, case, closes="execution")
    assert [row.role for row in office.fired(case, "execution")] == ["manager"]


async def doomed_worker(office: Office, dies_after: str) -> asyncio.subprocess.Process:
    environment = os.environ | {
        "KEFU_DATA": str(office.house.settings.data),
        "KEFU_KEYS": KEYS,
        "KEFU_POLICY": str(office.house.settings.policy),
    }
    address = office.client.service_client.config.target_host
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.doomed_worker", address, office.task_queue, dies_after, env=environment
    )


async def test_a_kill_after_a_rung_was_kept_neither_loses_nor_doubles_it(office: Office):
    case = await late_case(office)
    await outage(office, case, until=SECOND)
    doomed = await doomed_worker(office, "fire")
    assert await doomed.wait() == -9
    assert who_heard(office, case) == ["manager"], "the ledger has it, the engine does not know"
    recorded(office, case, "reply", 1.5 * SECOND, content="在两级之间")
    await back_again(office, case)
    assert who_heard(office, case) == ["manager"]
    assert office.heard(case, "wang") == ["overdue/reply"]


async def test_a_kill_after_an_answer_was_kept_neither_loses_nor_doubles_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(relay, "SEND_WITHIN", 2 * SECOND)
    case = await late_case(office)
    await office.worker_leaves()
    sent = office.commit(case, "reply", content="已致歉").submission
    doomed = await doomed_worker(office, "record")
    delivery = asyncio.create_task(office.relay.deliver(case))
    assert await doomed.wait() == -9
    assert office.tasks(case)["reply"].state == "done", "the ledger has it, the engine does not know"
    await delivery
    assert office.submission(sent).state == "pending", "what a killed worker wrote decides nothing"
    await office.worker_comes()
    await eventually(lambda: decided(office, case, sent))
    assert [row.kind for row in office.events(case) if row.submission == sent] == ["done"]
    await outage(office, case, until=3 * SECOND)
    assert who_heard(office, case) == []


async def decided(office: Office, case: str, sent: str) -> bool:
    await office.relay.deliver(case)
    return office.submission(sent).state == "decided"


async def test_kills_after_a_rung_and_after_a_record_change_nothing_of_what_is_decided(office: Office):
    case = await late_case(office)
    await outage(office, case, until=SECOND)
    assert await (await doomed_worker(office, "fire")).wait() == -9
    sent = recorded(office, case, "reply", 1.5 * SECOND, content="在两级之间")
    doomed = await doomed_worker(office, "record")
    delivery = asyncio.create_task(office.relay.deliver(case))
    assert await doomed.wait() == -9
    await office.worker_comes()
    await delivery
    await eventually(lambda: decided(office, case, sent))
    assert who_heard(office, case) == ["manager"]
    assert office.tasks(case)["reply"].state == "done"


async def test_an_attempt_to_fire_that_was_given_up_long_ago_does_not_escalate_what_was_done_in_time(office: Office):
    case = await late_case(office)
    reply = office.tasks(case)["reply"]
    await office.worker_leaves()
    recorded(office, case, "reply", -SECOND, content="及时")
    await back_again(office, case)
    office.clock_stands_at(reply.due_at)
    forgotten = DueRung(
        case=case,
        task="reply",
        generation=0,
        rung=0,
        tell=Role.MANAGER,
        planned_at=reply.due_at,
        now=reply.due_at,
        silent=False,
        known=[],
    )
    office.ledger.fire(forgotten)
    assert who_heard(office, case) == []
    assert office.heard(case, "wang") == []


async def test_an_answer_and_its_rung_in_one_instant_are_decided_by_the_order_of_recording(office: Office):
    async def race(off_by: timedelta) -> bool:
        case = await office.open()
        due = office.tasks(case)["reply"].due_at
        await eventually(lambda: office.now() >= due + off_by)
        answer = await office.hand_in(case, "reply", content="赶上了吗")
        recorded_at = office.submission(answer.submission).recorded_at
        heard = bool(who_heard(office, case))
        return answer.state == "decided" and heard == (recorded_at > due)

    around = [timedelta(milliseconds=step * 5) for step in range(-6, 6)]
    assert all(await asyncio.gather(*(race(off_by) for off_by in around)))


async def test_a_case_cancelled_by_an_operator_is_closed_in_the_ledger_too(office: Office):
    case = await late_case(office)
    await office.client.get_workflow_handle(case).cancel()
    await eventually(lambda: office.case(case).state == "archived")
    assert office.case(case).closed_because == "cancelled"
    assert office.open_tasks(case) == set()
