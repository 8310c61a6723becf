"""`kefu doctor` finds what is planted, and nothing where nothing is wrong."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select
from structlog.testing import capture_logs

import worker
from models.complaint import COMPLAINT
from models.complaint.past import ComplaintPast
from models.tables import (
    AlarmRow,
    ArchiveRow,
    CaseRow,
    DeadlineRow,
    DeliveryRow,
    EventRow,
    NoticeRow,
    SubmissionRow,
    TaskRow,
)
from models.words import LANGUAGES, Language, say
from settings import House
from starter.commands.care import _lateness
from starter.watching import doctor as doctors
from starter.watching import reconciler
from starter.watching.doctor import KINDS, Examination, examine
from starter.watching.lateness import Spread
from tests.bad_release import BadRelease
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


async def test_a_breach_that_nobody_acknowledged_and_that_did_not_climb(day: Day):
    def plant(session: Session) -> None:
        breach = day.rung(session, day.late, 1)
        assert breach.climbs_at, "four hours from now, as nothing is wrong"
        breach.climbs_at = day.office.now() - HOUR

    day.spoil(plant)
    found = (await day.examined()).faults
    assert [(fault.kind, fault.case, fault.about) for fault in found] == [("rung_unclimbed", day.late, "reply/0/1/1")]


async def test_a_rung_that_fired_and_was_never_planned(day: Day):
    day.spoil(lambda session: session.delete(day.rung(session, day.answered, 1)))
    assert await day.found() == [("rung_unplanned", day.answered)]


async def test_a_run_that_owes_other_tasks_than_the_ledger_shows(day: Day, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconciler, "ANSWER_WITHIN", timedelta(seconds=2))

    def plant(session: Session) -> None:
        session.get_one(TaskRow, (day.late, "solution")).state = "withdrawn"

    day.spoil(plant)
    assert ("run_differs", day.late) in await day.found()
    assert await day.office.front.reconciler.round(everything=True) == [], "whoever asked decides what to do"


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
        [silent] = await office.front.reconciler.round(everything=True)
        assert (silent.kind, silent.case) == ("run_silent", broken), "who asks is told"
        assert office.rows(AlarmRow, broken) == [], "and nobody else"
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


async def test_how_late_the_system_was_is_kept_apart_from_how_late_people_were(
    day: Day, monkeypatch: pytest.MonkeyPatch
):
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
    assert {(late.case, late.task, late.rung, late.by) for late in before.late} == {
        (case, "reply", None, "person") for case in (day.late, day.answered, day.foreign)
    }
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
    [system, *people] = after.late
    number = day.office.case(day.late).number
    assert (system.case, system.number, system.task, system.rung) == (day.late, number, "reply", 1)
    assert (system.by, system.span) == ("system", 2 * HOUR)
    assert [late.by for late in people] == ["person"] * 3
    assert [late.span for late in people] == sorted((late.span for late in people), reverse=True)
    assert max(late.span for late in people) == after.overdue.longest
    monkeypatch.setattr(doctors, "LISTED", 2)
    listed = [(late.by, late.case) for late in (system, *people[:2])]
    assert [(late.by, late.case) for late in (await day.examined()).late] == listed, "those who were late by most"


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
