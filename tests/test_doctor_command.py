"""`kefu doctor` at a terminal: what it prints, its JSON, its periods, and what it ends in."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest
from sqlmodel import Session
from typer.testing import CliRunner, Result

from models.tables import ArchiveRow
from models.words import say
from settings import House
from starter.__main__ import app
from starter.commands import care, terminal
from starter.front import Front
from tests.conftest import KEYS
from tests.office import Office, connected
from tests.test_doctor import Day


@pytest.fixture
async def day(engine: str, house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Day]:
    """The doctor's day on the real server, and a Chinese reader at a wide terminal."""
    async with Office(await connected(engine, house), house) as office:
        await office.worker_comes()
        day = Day(office)
        await day.passes()

        async def front_of(house: House) -> Front:
            return Front(house, await house.temporal(), task_queue=office.task_queue)

        monkeypatch.setattr(terminal, "front_of", front_of)
        monkeypatch.setattr(terminal, "configure_logs", lambda: None)
        monkeypatch.setattr(terminal.out, "width", 300)
        for module in (terminal, care):
            monkeypatch.setattr(module, "LANGUAGE", "zh")
        monkeypatch.setenv("KEFU_DATA", str(house.settings.data))
        monkeypatch.setenv("KEFU_KEYS", KEYS)
        monkeypatch.setenv("TEMPORAL_ADDRESS", engine)
        yield day


async def doctor(*words: str) -> Result:
    """`kefu doctor`, beside the office's own loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["doctor", *words])


def day_after(day: Day, days: int) -> date:
    return day.office.now().astimezone(day.office.house.calendar).date() + timedelta(days=days)


async def test_a_clean_desk_is_said_to_be_well_with_its_figures_and_ends_in_zero(day: Day):
    answer = await doctor()
    assert answer.exit_code == 0, answer.output
    *figures, last = answer.output.splitlines()
    assert last == "一切正常。"
    for said in ("工单 6，", "已发出 2", "登记前已过 2", "逾期待办 3 项（人）"):
        assert said in figures[0], answer.output
    assert not any(line.startswith("✗") for line in figures)
    late = [line for line in figures if line.startswith("   ")]
    of_late = f"   逾期待办  {day.office.case(day.late).number}  {day.late}  回复  1 小时"
    assert len(late) == 3
    assert any(line.startswith(of_late) for line in late), answer.output

    shown = await doctor("--json", "--quick", f"--until={day_after(day, 30)}")
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert (found["faults"], found["cases"], found["late_people"], found["cache_is_small"]) == ([], 6, 3, False)
    assert {late["by"] for late in found["late"]} == {"person"}
    assert found["late"][-1] == {
        "case": day.foreign,
        "number": day.office.case(day.foreign).number,
        "task": "reply",
        "rung": None,
        "by": "person",
        "span": "PT1H",
    }
    assert (found["rungs"]["withdrawn"], found["rungs"]["moved"], found["rungs"]["before_it_came"]) == (9, 3, 2)


async def test_a_fault_is_shown_with_what_to_do_and_the_case_and_ends_in_one(day: Day):
    case = day.archived
    day.spoil(lambda session: session.delete(session.get_one(ArchiveRow, case)))
    answer = await doctor()
    assert answer.exit_code == 1
    number = day.office.case(case).number
    assert f"✗ 1 × {say('doctor', 'archive_missing')}\n   {number}  {case}\n" in answer.output
    assert "一切正常" not in answer.output
    shown = await doctor("--json")
    assert shown.exit_code == 1
    [fault] = json.loads(shown.stdout)["faults"]
    assert (fault["kind"], fault["case"], fault["number"]) == ("archive_missing", case, number)
    assert fault["what_to_do"] == say("doctor", "archive_missing")


async def test_of_many_faults_of_one_kind_the_first_are_listed(day: Day, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(care, "SHOWN", 1)
    for case in (day.late, day.moved):
        await day.office.client.get_workflow_handle(case).terminate()
    answer = await doctor()
    _, faults = answer.output.split(f"✗ 2 × {say('doctor', 'run_ended')}")  # before it stands who was late by most
    assert sum(case in faults for case in (day.late, day.moved)) == 1
    assert "   … 1（--json）" in answer.output.splitlines()


async def test_a_fault_is_found_in_the_period_it_lies_in(day: Day):
    day.spoil(lambda session: setattr(day.rung(session, day.answered, 1), "fired_at", None))
    due = day.office.tasks(day.answered)["reply"].due_at.astimezone(day.office.house.calendar).date()
    after, later = due + timedelta(days=1), due + timedelta(days=30)
    for period in ([f"--since={due}", f"--until={after}"], [f"--since={due}"], [f"--until={later}"], []):
        assert (await doctor("--quick", *period)).exit_code == 1, period
    for period in ([f"--until={due}"], [f"--since={after}", f"--until={later}"]):
        assert (await doctor("--quick", *period)).exit_code == 0, period
    long_ago = await doctor("--since=2020-01-01", "--until=2020-02-01")
    assert "2020-01-01 00:00 至 2020-02-01 00:00：工单 0，提交 0。提醒与上报：0。" in long_ago.output


@pytest.mark.parametrize(
    ("period", "said"),
    [
        (("--since=2026-02-30",), "--since: '2026-02-30' 应写作 2026-11-01"),
        (("--until=yesterday",), "--until: 'yesterday' 应写作 2026-11-01"),
        (("--since=2026-11-02", "--until=2026-11-02"), "--since 应早于 --until"),
    ],
)
async def test_a_period_that_is_none_is_refused_with_the_reason(day: Day, period: tuple[str, ...], said: str):
    answer = await doctor(*period)
    assert answer.exit_code == 1
    assert said in str(answer.exception)


async def test_a_cache_that_is_small_is_said_with_what_to_do_and_is_no_fault(day: Day, monkeypatch: pytest.MonkeyPatch):
    def plant(session: Session) -> None:
        day.rung(session, day.moved, 0, generation=1).planned_at = day.office.now()

    day.spoil(plant)
    assert "KEFU_MAX_CACHED_WORKFLOWS" not in (await doctor()).output
    monkeypatch.setenv("KEFU_MAX_CACHED_WORKFLOWS", "0")
    answer = await doctor()
    assert "个工单到时限，而 worker 只缓存 0 个：请调大 KEFU_MAX_CACHED_WORKFLOWS" in answer.output
    assert answer.exit_code == 0
    assert json.loads((await doctor("--json")).stdout)["cache_is_small"] is True


async def test_an_engine_that_is_gone_is_a_fault_of_its_own(day: Day, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")  # nobody listens there
    answer = await doctor()
    assert answer.exit_code == 1
    assert say("doctor", "engine_unreachable") in answer.output
