"""`kefu doctor` finds what is planted, and nothing where nothing is wrong."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

import worker
from models.complaint import COMPLAINT
from models.complaint.past import ComplaintPast
from models.tables import ArchiveRow, CaseRow, DeadlineRow, DeliveryRow, EventRow, NoticeRow, SubmissionRow, TaskRow
from models.words import LANGUAGES, Language, say
from settings import House
from starter.__main__ import app
from starter.commands import care, terminal
from starter.commands.care import _lateness
from starter.front import Front
from starter.watching import reconciler
from starter.watching.doctor import KINDS, Examination, examine
from starter.watching.lateness import Spread
from tests.bad_release import BadRelease
from tests.conftest import KEYS
from tests.office import DAY, HOUR, Office, connected, eventually


@pytest.fixture
async def day(engine: str, house: House) -> AsyncIterator["Day"]:
    """A day with a bit of everything, on the real server."""
    async with Office(await connected(engine, house), house) as office:
        await office.worker_comes()
        day = Day(office)
        await day.passes()
        yield day


class Day:
    def __init__(self, office: Office) -> None:
        self.office = office

    async def passes(self) -> None:
        office = self.office
        received = (office.now() - timedelta(hours=25)).isoformat()
        self.archived = await office.open()
        await office.walk(self.archived)
        self.late = await office.open(received_at=received)
        await eventually(lambda: office.heard(self.late, "wang") == ["overdue/reply"])
        self.answered = await office.open(received_at=received)
        await eventually(lambda: office.heard(self.answered, "wang") == ["overdue/reply"])
        await office.hand_in(self.answered, "reply", content="已致歉")
        self.moved = await office.open()
        due_at = (office.now() + 3 * DAY).isoformat()
        await office.hand_in(self.moved, "extend", by="wang", task="reply", due_at=due_at, reason="等送检")
        self.withdrawn = await office.open()
        await office.hand_in(self.withdrawn, "withdraw", reason="顾客撤诉")
        self.foreign = await self.came_late_from_elsewhere()
        office.front.watchdog.round()

    async def came_late_from_elsewhere(self) -> str:
        """Its reply was an hour late, and that was before it came."""
        office = self.office
        received = office.now() - 30 * HOUR
        steps = ("replied_at", "proposed_at", "consented_at", "executed_at", "called_back_at")
        at = {step: received + 25 * HOUR + n * HOUR for n, step in enumerate(steps)}
        past = ComplaintPast.model_validate({**at, "outcome": "satisfied", "satisfaction": 5})
        case = COMPLAINT.case.model_validate(office.complaint(received_at=received.isoformat()))
        receipt = office.submissions.open(COMPLAINT, case, office.front.actor("lin"), past=past)
        await office.relay.deliver(receipt.case)
        return receipt.case

    async def examined(self, **more: Any) -> Examination:
        now = self.office.now()
        found = await examine(self.office.front, now - 7 * DAY, now + 30 * DAY, now, **more)
        assert {fault.kind for fault in found.faults} <= set(KINDS)
        return found

    def spoil(self, plant: Callable[[Session], None]) -> None:
        with self.office.house.database.writing() as session:
            plant(session)

    def rung(self, session: Session, case: str, rung: int, task: str = "reply", generation: int = 0) -> DeadlineRow:
        return session.get_one(DeadlineRow, (case, task, generation, rung))

    async def found(self, **more: Any) -> list[tuple[str, str | None]]:
        return [(fault.kind, fault.case) for fault in (await self.examined(**more)).faults]


async def test_where_all_is_well_nothing_is_found_and_everything_is_explained(day: Day):
    found = await day.examined()
    assert found.faults == []
    assert found.cases == 6
    assert found.rungs["fired"] == 2
    assert found.rungs["overtaken"] == 2, "both reminders of the late replies"
    assert found.rungs["moved"] == 3
    assert found.rungs["withdrawn"] == 9, "three each of reply, solution and callback"
    assert found.rungs["before_it_came"] == 2, "the reply's reminder and its first escalation, elsewhere"
    assert day.office.rows(NoticeRow, day.foreign) == [], "of which nobody heard"
    assert {"answered_in_time", "not_yet"} <= found.rungs.keys()
    assert found.late_people == 3, "two here, one elsewhere"
    assert found.late_system == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_every_fault_it_is_said_what_is_wrong_and_what_to_do(language: Language):
    """Behind the colon. In the reader's own language: no sentence of the one is left in the other."""
    assert len(set(KINDS)) == len(KINDS)
    for kind in KINDS:
        wrong, _, to_do = say("doctor", kind, language).partition("：" if language == "zh" else ": ")
        assert wrong != kind, "it has its words"
        assert len(to_do) >= 8, kind
        for part in (wrong, to_do):
            assert bool(re.search("[\u4e00-\u9fff]{2}", part)) == (language == "zh"), part


async def test_a_fault_says_in_the_readers_language_what_to_do_and_which_number_it_is(day: Day):
    await day.office.client.get_workflow_handle(day.late).terminate()
    day.spoil(lambda session: session.delete(session.get_one(ArchiveRow, day.archived)))
    for language in LANGUAGES:
        found = json.loads((await day.examined(language=language)).model_dump_json())
        assert {(fault["case"], fault["number"], fault["what_to_do"]) for fault in found["faults"]} == {
            (case, day.office.case(case).number, say("doctor", kind, language))
            for case, kind in ((day.late, "run_ended"), (day.archived, "archive_missing"))
        }
        assert found["cache_is_small"] is False


async def test_a_rung_that_did_not_fire(day: Day):
    def plant(session: Session) -> None:
        late = day.rung(session, day.late, 1)
        late.fired_at = None
        late.armed_at -= HOUR

    day.spoil(plant)
    assert await day.found() == [("rung_missed", day.late)]


async def test_a_rung_that_the_answer_came_too_late_for_and_that_never_fired(day: Day):
    day.spoil(lambda session: setattr(day.rung(session, day.answered, 1), "fired_at", None))
    assert await day.found() == [("rung_missed", day.answered)]


async def test_a_rung_that_fired_early(day: Day):
    def plant(session: Session) -> None:
        rung = day.rung(session, day.late, 1)
        rung.fired_at = rung.planned_at - HOUR

    day.spoil(plant)
    assert await day.found() == [("rung_early", day.late)]


async def test_a_rung_that_fired_although_the_work_was_in_time(day: Day):
    def plant(session: Session) -> None:
        closed = session.exec(select(EventRow).where(EventRow.case_id == day.answered, EventRow.key == "closed/reply"))
        closed.one().at = day.rung(session, day.answered, 1).planned_at

    day.spoil(plant)
    assert await day.found() == [("rung_unfair", day.answered)]


async def test_a_rung_that_told_twice_and_one_that_told_nobody(day: Day):
    def plant(session: Session) -> None:
        first, second = session.exec(select(NoticeRow).where(NoticeRow.what == "overdue").order_by(col(NoticeRow.id)))
        session.add(NoticeRow(**first.model_dump(exclude={"id", "person"}), person="sun"))
        session.delete(second)

    day.spoil(plant)
    assert sorted(await day.found()) == sorted([("rung_doubled", day.late), ("rung_silent", day.answered)])


async def test_a_moved_task_whose_old_ladder_went_on(day: Day):
    def plant(session: Session) -> None:
        old = day.rung(session, day.moved, 1)
        old.fired_at = old.planned_at

    day.spoil(plant)
    assert ("rung_unfair", day.moved) in await day.found()


async def test_submissions_without_an_answer_or_a_trace(day: Day):
    def plant(session: Session) -> None:
        reply = session.exec(
            select(SubmissionRow).where(SubmissionRow.form == "reply", SubmissionRow.case_id == day.answered)
        ).one()
        reply.state, reply.recorded_at = "pending", reply.recorded_at - HOUR
        extend = session.exec(select(SubmissionRow).where(SubmissionRow.form == "extend")).one()
        extend.state = "refused"
        opening = session.exec(select(EventRow).where(EventRow.case_id == day.late, EventRow.key == "opened")).one()
        for event in session.exec(select(EventRow).where(EventRow.submission == opening.submission)):
            event.submission = None

    day.spoil(plant)
    assert sorted(await day.found(quick=True))[:3] == sorted(
        [
            ("decided_without_trace", day.late),
            ("refused_yet_taken", day.moved),
            ("submission_undecided", day.answered),
        ]
    )


async def test_what_is_closed_and_not_archived(day: Day):
    day.spoil(lambda session: session.delete(session.get_one(ArchiveRow, day.archived)))
    assert await day.found() == [("archive_missing", day.archived)]


async def test_what_is_archived_and_still_owes(day: Day):
    day.spoil(lambda session: setattr(session.get_one(TaskRow, (day.archived, "record")), "state", "open"))
    assert await day.found() == [("archive_owes", day.archived)]


async def test_a_run_that_is_gone_and_one_that_lingers(day: Day):
    await day.office.client.get_workflow_handle(day.late).terminate()

    async def listed() -> bool:
        return [
            run
            async for run in day.office.client.list_workflows(
                f"WorkflowId = '{day.late}' AND ExecutionStatus = 'Terminated'"
            )
        ] != []

    await eventually(listed)
    assert await day.found() == [("run_ended", day.late)]
    assert await day.found() == [("run_ended", day.late)], "it changes nothing"


async def test_a_run_whose_code_fails_and_one_that_nobody_works_for(day: Day, monkeypatch: pytest.MonkeyPatch):
    office = day.office
    broken = await office.open(received_by="run")
    await office.worker_leaves()
    bad = worker.build(office.client, office.ledger, task_queue=office.task_queue, workflows=[BadRelease])
    async with bad:
        assert await day.found() == [("run_silent", broken)], "the others go on under the bad release"
        assert await office.front.reconciler.round(everything=True) == [], "which is no alarm yet"
    monkeypatch.setattr(reconciler, "ANSWER_WITHIN", timedelta(seconds=1))
    opened = [day.late, day.answered, day.moved, day.withdrawn, day.foreign, broken]
    assert sorted(await day.found()) == sorted(("run_silent", case) for case in opened)
    monkeypatch.setattr(reconciler, "SAMPLE", 3)
    found = (await day.examined()).faults
    assert [fault.kind for fault in found] == ["run_silent"] * 4, "three that were asked"
    assert (found[-1].case, found[-1].data) == (None, {"not_asked": 3}), (
        "nobody is at work: the rest would be silent too"
    )


async def test_a_run_that_was_busy_for_a_moment_is_no_fault(day: Day, monkeypatch: pytest.MonkeyPatch):
    """Asked while nobody is at work, and again when somebody is."""
    office, unanswered = day.office, asyncio.Event()

    def heard(_logger: Any, _method: str, line: Any) -> Any:
        if line["event"] == "case.cannot_be_asked":
            monkeypatch.setattr(reconciler, "ANSWER_WITHIN", timedelta(seconds=60))
            unanswered.set()
        return line

    await office.worker_leaves()
    monkeypatch.setattr(reconciler, "ANSWER_WITHIN", timedelta(seconds=1))
    with capture_logs(processors=[heard]):
        asked = asyncio.create_task(day.examined())
        await unanswered.wait()
        await office.worker_comes()
        assert (await asked).faults == []


async def test_nobody_watches(day: Day):
    now = day.office.now() + timedelta(minutes=2)
    found = await examine(day.office.front, now - DAY, now, now)
    assert "nobody_watches" in [fault.kind for fault in found.faults]


async def test_a_cache_smaller_than_the_next_hour(day: Day):
    day.spoil(lambda session: setattr(day.rung(session, day.moved, 0, generation=1), "planned_at", day.office.now()))
    assert (await day.examined()).cases_due_soon >= 1
    assert not (await day.examined()).cache_is_small
    day.office.house.settings.max_cached_workflows = 0
    assert (await day.examined()).cache_is_small


async def test_how_late_the_system_was_is_kept_apart_from_how_late_people_were(day: Day):
    before = await day.examined()
    assert (before.fired.count, before.overdue.count) == (2, 3)
    assert before.fired.longest < HOUR <= before.overdue.p50, "the replies were an hour late, and heard of at once"
    assert before.delivered == {}, "nothing goes outside"

    def plant(session: Session) -> None:
        rung = day.rung(session, day.late, 1)
        knowable_at = max(rung.planned_at, rung.armed_at)
        rung.fired_at = rung.delivered_at = knowable_at + 2 * HOUR
        of_rung = select(NoticeRow).where(NoticeRow.case_id == day.late, NoticeRow.what == "overdue")
        notice = session.exec(of_rung).one()
        session.add(
            DeliveryRow(
                person="wang",
                key=notice.key,
                notice=notice.id,
                rank=0,
                channel="email",
                created_at=notice.created_at,
                next_try_at=notice.created_at,
                state="delivered",
                delivered_at=knowable_at + 3 * HOUR,
            )
        )

    day.spoil(plant)
    after = await day.examined()
    assert (after.late_system, after.fired.count, after.fired.longest) == (1, 2, 2 * HOUR)
    assert after.fired.p50 < HOUR
    assert {channel: (late.count, late.longest) for channel, late in after.delivered.items()} == {
        "email": (1, 3 * HOUR)
    }
    assert after.overdue.count == before.overdue.count
    assert after.overdue.p50 - before.overdue.p50 < HOUR
    said = list(_lateness(after))
    assert [line.partition("：")[0] for line in said] == ["系统", "系统", "人"]
    assert "最长 7200.0 s" in said[0]
    assert "email" in said[1]


def test_the_median_and_the_tail_are_those_of_the_ones_there_were():
    seconds = [timedelta(seconds=n) for n in range(100, 0, -1)]
    spread = Spread.of(seconds)
    assert (spread.p50, spread.p99, spread.longest) == tuple(timedelta(seconds=n) for n in (50, 99, 100))
    one = Spread.of(seconds[:1])
    assert one.p50 == one.p99 == one.longest == timedelta(seconds=100)
    assert Spread.of([]).count == 0


async def test_a_canary_that_is_silent_is_a_fault(day: Day):
    day.office.front.canary_watch.round()
    assert await day.found() == []

    def plant(session: Session) -> None:
        canary = session.exec(select(CaseRow).where(CaseRow.process == "canary")).one()
        canary.opened_at -= HOUR

    day.spoil(plant)
    assert [kind for kind, _ in await day.found()] == ["canary_silent"]


async def test_a_case_is_looked_at_in_the_periods_it_was_open(day: Day):
    now = day.office.now()
    before = await examine(day.office.front, now - 30 * DAY, now - 8 * DAY, now)
    assert (before.cases, before.submissions, before.rungs) == (0, 0, {})
    assert CaseRow.__tablename__ == "cases"


# At the terminal


@pytest.fixture
def terminal_of(day: Day, engine: str, monkeypatch: pytest.MonkeyPatch) -> Day:
    """Whoever looks after the desk of that day, in Chinese, from a terminal of his own."""
    house, task_queue = day.office.house, day.office.task_queue

    async def front_of(house: House) -> Front:
        return Front(house, await house.temporal(), task_queue=task_queue)

    monkeypatch.setattr(terminal, "front_of", front_of)
    monkeypatch.setattr(terminal, "configure_logs", lambda: None)
    monkeypatch.setattr(terminal.out, "width", 300)
    for module in (terminal, care):
        monkeypatch.setattr(module, "LANGUAGE", "zh")
    monkeypatch.setenv("KEFU_DATA", str(house.settings.data))
    monkeypatch.setenv("KEFU_KEYS", KEYS)
    monkeypatch.setenv("TEMPORAL_ADDRESS", engine)
    return day


async def doctor(*words: str) -> Result:
    """`kefu doctor`, beside the office's own loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["doctor", *words])


def day_after(day: Day, days: int) -> date:
    return day.office.now().astimezone(day.office.house.calendar).date() + timedelta(days=days)


async def test_a_clean_desk_is_said_to_be_well_with_its_figures_and_ends_in_zero(terminal_of: Day):
    answer = await doctor()
    assert answer.exit_code == 0, answer.output
    *figures, last = answer.output.splitlines()
    assert last == "一切正常。"
    for said in ("工单 6，", "已发出 2", "登记前已过 2", "逾期待办 3 项（人）"):
        assert said in figures[0], answer.output
    assert not any(line.startswith("✗") for line in figures)

    shown = await doctor("--json", "--quick", f"--until={day_after(terminal_of, 30)}")
    assert shown.exit_code == 0
    found = json.loads(shown.stdout)
    assert (found["faults"], found["cases"], found["late_people"], found["cache_is_small"]) == ([], 6, 3, False)
    assert (found["rungs"]["withdrawn"], found["rungs"]["moved"], found["rungs"]["before_it_came"]) == (9, 3, 2)


async def test_a_fault_is_shown_with_what_to_do_and_the_case_and_ends_in_one(terminal_of: Day):
    day = terminal_of
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


async def test_of_many_faults_of_one_kind_the_first_are_listed(terminal_of: Day, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(care, "SHOWN", 1)
    for case in (terminal_of.late, terminal_of.moved):
        await terminal_of.office.client.get_workflow_handle(case).terminate()
    answer = await doctor()
    assert f"✗ 2 × {say('doctor', 'run_ended')}" in answer.output
    assert sum(case in answer.output for case in (terminal_of.late, terminal_of.moved)) == 1
    assert "   … 1（--json）" in answer.output.splitlines()


async def test_a_fault_is_found_in_the_period_it_lies_in(terminal_of: Day):
    day = terminal_of
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
async def test_a_period_that_is_none_is_refused_with_the_reason(terminal_of: Day, period: tuple[str, ...], said: str):
    answer = await doctor(*period)
    assert answer.exit_code == 1
    assert said in str(answer.exception)


async def test_a_cache_that_is_small_is_said_with_what_to_do_and_is_no_fault(
    terminal_of: Day, monkeypatch: pytest.MonkeyPatch
):
    def plant(session: Session) -> None:
        terminal_of.rung(session, terminal_of.moved, 0, generation=1).planned_at = terminal_of.office.now()

    terminal_of.spoil(plant)
    assert "KEFU_MAX_CACHED_WORKFLOWS" not in (await doctor()).output
    monkeypatch.setenv("KEFU_MAX_CACHED_WORKFLOWS", "0")
    answer = await doctor()
    assert "个工单到时限，而 worker 只缓存 0 个：请调大 KEFU_MAX_CACHED_WORKFLOWS" in answer.output
    assert answer.exit_code == 0
    assert json.loads((await doctor("--json")).stdout)["cache_is_small"] is True


async def test_an_engine_that_is_gone_is_a_fault_of_its_own(terminal_of: Day, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")  # nobody listens there
    answer = await doctor()
    assert answer.exit_code == 1
    assert say("doctor", "engine_unreachable") in answer.output
