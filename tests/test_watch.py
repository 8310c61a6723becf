"""Nothing stops silently: every fault planted here reaches the administrator, the log and the metric (reliability §5, R9);
and the rules of those who watch: told once, a queue that moves is no finding, a round that fails is not the end."""

import asyncio
import base64
import os
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select
from structlog.testing import capture_logs
from temporalio.common import PinnedVersioningOverride, VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError
from temporalio.worker import Worker, WorkerDeploymentConfig

import worker
from activities import schema
from activities.database import Database
from activities.ledger import Ledger
from activities.submissions import as_submission
from models import policy
from models.complaint import COMPLAINT
from models.complaint.facts import Complaint
from models.complaint.past import ComplaintPast
from models.organisation import Directory
from models.people import Person, Role
from models.tables import AlarmRow, CaseRow, DeadlineRow, DeliveryRow, NoticeRow, SubmissionRow, TaskRow, WatchRow
from models.words import knows
from settings import House, Settings
from starter import relay
from starter.docket import Docket
from starter.machine.server import EmbeddedServer, find_binary
from starter.submissions import Submissions
from starter.watching import alarms, lateness, metrics, reconciler, watch, watchdog
from starter.watching.alarms import Finding, keep
from starter.watching.reconciler import ENDED, LOST, UNREACHABLE, WEDGED
from starter.watching.watchdog import NOTICE, RUNG, SUBMISSION, Watchdog
from tests.bad_release import BadRelease
from tests.conftest import KEYS, free_port
from tests.office import DAY, HOUR, Office, connected, eventually
from workflows.complaint import ComplaintWorkflow

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
OTHER_KEYS = "other:" + base64.b64encode(b"a ring without the key it needs".ljust(32)).decode()
PATIENCE = 3 * SECOND
AS_SHIPPED = bool(os.environ.get("KEFU_TEST_AS_SHIPPED"))
"""Those who watch are as patient and as quiet as they are in the field: `make chaos` asks for it."""
WITHIN = 90 if AS_SHIPPED else 40
REPLY = '[complaint.promises.reply]\nwithin = "PT10S"\nbasis = "a story"\nladder = [["PT0S", "manager"]]\n'


# Every fault at once


@pytest.fixture
def story(tmp_path: Path) -> Iterator[House]:
    """A house in which a reply is due within seconds."""
    file = tmp_path / "policy.toml"
    shipped = policy.SHIPPED.read_text(encoding="utf-8")
    file.write_text(re.sub(r"\[complaint\.promises\.reply\]\n(?:\w.*\n)+", REPLY, shipped), encoding="utf-8")
    house = House(Settings(data=tmp_path / "var", keys=SecretStr(KEYS), policy=file))
    schema.upgrade(house.database)
    yield house
    house.database.close()


class Plants:
    """The department, each of its cases about to meet a fault."""

    def __init__(self, office: Office, elsewhere: Office) -> None:
        self.office = office
        self.elsewhere = elsewhere
        """With a queue of its own, so that only its worker loses the key."""
        patience = watchdog.PATIENCE if AS_SHIPPED else PATIENCE
        self.dog = Watchdog(office.house.database, office.house.people, office.now, patience)
        self.cases: dict[str, str] = {}
        self.sent = ""
        self._workers: list[Worker] = []
        self._running: list[asyncio.Task[Any]] = []

    def run(self, *work: Coroutine[Any, Any, Any]) -> None:
        """Beside the story, until it ends."""
        self._running += [asyncio.create_task(task) for task in work]

    async def end(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()
        while self._workers:
            await self._workers.pop().__aexit__(None, None, None)

    async def grow(self) -> None:
        """Cases that run as they should."""
        await self.office.worker_comes()
        await self.elsewhere.worker_comes()
        kinds = ["run", "handler", "clock", "deploy", "oversized", "terminated", "none"]
        self.cases["pinned"] = await self._pinned()
        there = [self.office.open(received_by=kind) for kind in kinds]
        *opened, keyless = await asyncio.gather(*there, self.elsewhere.open(received_by="key", form_no="OA-key"))
        self.cases |= dict(zip(kinds, opened, strict=True)) | {"key": keyless}

    async def strike(self) -> None:
        """All faults at once."""
        await self.office.worker_leaves()
        await self.elsewhere.worker_leaves()
        bad = worker.build(
            self.office.client, self.office.ledger, task_queue=self.office.task_queue, workflows=[BadRelease]
        )
        await self._comes(bad)
        settings = self.office.house.settings.model_copy(update={"keys": SecretStr(OTHER_KEYS)})
        lost = House(settings)
        client = await connected(self.office.client.service_client.config.target_host, lost)
        ledger = Ledger(self.office.house.database, lost.keys, self.office.house.people)
        await self._comes(worker.build(client, ledger, task_queue=self.elsewhere.task_queue))
        self.sent = self.office.commit(self.cases["handler"], "solution", **self.office.SOLUTION).submission
        self.run(self._oversized(self.cases["oversized"]))
        await self.office.client.get_workflow_handle(self.cases["terminated"]).terminate()

    async def mend(self) -> None:
        """The good release, with the key; what is wedged is built anew, the rest heals by itself."""
        await self.end()
        self.run(self.office.relay.run(), watch.watch(self.dog, self.office.front.reconciler))
        await self.office.worker_comes()
        await self.elsewhere.worker_comes()
        for kind in ("run", "handler", "clock", "deploy", "oversized", "pinned"):
            await self.office.front.reconciler.rebuild(self.cases[kind])

    async def _comes(self, running: Worker) -> None:
        await running.__aenter__()
        self._workers.append(running)

    async def _oversized(self, case: str) -> None:
        """More than the engine keeps, straight to it: our doors take no such thing. It accepts it, and fails for 20 seconds."""
        [opening] = self.office.rows(SubmissionRow, case)
        oversized = as_submission(opening).model_copy(update={"outline": {"content": "x" * 2_100_000}})
        while True:
            with suppress(RPCError):
                await self.office.client.get_workflow_handle(case).execute_update("submit", oversized)

    async def _pinned(self) -> str:
        """A run of a deployment version that nobody works for any more."""
        version = WorkerDeploymentVersion("kefu", self.office.task_queue)
        office = self.office
        versioned = Worker(
            office.client,
            task_queue=office.task_queue,
            workflows=[ComplaintWorkflow],
            activities=[office.ledger.record, office.ledger.fire],
            activity_executor=ThreadPoolExecutor(4),
            workflow_runner=worker.RUNNER,
            deployment_config=WorkerDeploymentConfig(
                version, use_worker_versioning=True, default_versioning_behavior=VersioningBehavior.PINNED
            ),
        )
        receipt = office.commit_opening(received_by="pinned")
        opened = office.docket.rebuilt(receipt.case).opened

        async def started() -> bool:
            with suppress(RPCError):  # the engine has not heard of the version yet
                pinned = PinnedVersioningOverride(version)
                queue = office.task_queue
                await office.client.start_workflow(
                    "complaint", opened, id=receipt.case, task_queue=queue, versioning_override=pinned
                )
                return True
            return False

        async with versioned:
            await eventually(started)
            await eventually(lambda: office.open_tasks(receipt.case), within=20)
            await office.relay.deliver(receipt.case)
        return receipt.case


@pytest.fixture
async def plants(engine: str, story: House) -> AsyncIterator[Plants]:
    client = await connected(engine, story)
    async with Office(client, story) as office, Office(client, story) as elsewhere:
        plants = Plants(office, elsewhere)
        yield plants
        await plants.end()


async def test_no_fault_is_silent(plants: Plants, monkeypatch: pytest.MonkeyPatch):
    office = plants.office
    if AS_SHIPPED:
        monkeypatch.setattr(alarms, "NAMED", 20)
    else:
        quicken(monkeypatch)
    plants.run(watch.watch(plants.dog, office.front.reconciler))
    await eventually(lambda: watches(office.house) == {"watchdog", "reconciler"}, within=20)
    await plants.grow()
    plants.run(office.relay.run())
    with capture_logs() as log:
        await plants.strike()
        struck_at = office.now()
        expected = {
            (plants.cases[fault], {"handler": SUBMISSION, "oversized": WEDGED, "terminated": ENDED}.get(fault, RUNG))
            for fault in plants.cases
            if fault != "none"
        }
        await eventually(lambda: expected <= told(office.house), within=WITHIN)
        values = await scraped(office)
        inbox = await notices(office)
    for case, kind in expected:
        [alarm] = [row for row in office.rows(AlarmRow, case) if row.kind == kind]
        knowable_at = alarm.since if kind == RUNG else struck_at
        assert alarm.told_at - knowable_at < MINUTE
        assert any(case in notice["text"] for notice in inbox)
        assert any((line.get("alarm"), line.get("case")) == (kind, case) for line in log)
        assert values[f"kefu_alarms_raised_total/{kind}"] >= 1
    assert values[f"kefu_alarms_open/{RUNG}"] >= 5
    assert values[f"kefu_alarms_open/{SUBMISSION}"] == 1
    assert plants.cases["none"] not in {case for case, _ in told(office.house)}, "a case without a fault alarms nobody"

    await plants.mend()
    await eventually(lambda: all(goes_on(office, case) for case in plants.cases.values()), within=WITHIN)
    await eventually(lambda: office.submission(plants.sent).state == "decided", within=20)
    for case in plants.cases.values():
        await office.hand_in(case, "reply", content="已致歉")
    await eventually(lambda: still_open(office.house) == [], within=20)
    values = await scraped(office)
    assert {value for name, value in values.items() if name.startswith("kefu_alarms_open/")} == {0}
    assert values["kefu_rungs_overdue"] == 0


def quicken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds one after the other, and a notice for whatever they find."""
    monkeypatch.setattr(watchdog, "EVERY", SECOND / 2)
    monkeypatch.setattr(reconciler, "GLANCE_EVERY", SECOND)
    monkeypatch.setattr(relay, "SEND_WITHIN", 2 * SECOND)
    monkeypatch.setattr(alarms, "QUIET", timedelta(0))
    monkeypatch.setattr(alarms, "NAMED", 20)


def told(house: House) -> set[tuple[str | None, str]]:
    """Cases the administrators have heard of, and what of each."""
    with house.database.reading() as session:
        rows = session.exec(select(AlarmRow).where(col(AlarmRow.told_at).is_not(None)))
        return {(row.case_id, row.kind) for row in rows}


def still_open(house: House) -> list[str]:
    with house.database.reading() as session:
        return list(session.exec(select(AlarmRow.key).where(col(AlarmRow.cleared_at).is_(None))))


def watches(house: House) -> set[str]:
    with house.database.reading() as session:
        return set(session.exec(select(WatchRow.name)))


def goes_on(office: Office, case: str) -> bool:
    """Its clock has rung, once."""
    return office.heard(case, "wang") == ["overdue/reply"]


async def notices(office: Office, person: str = "admin") -> list[dict[str, Any]]:
    async with office.api(person) as door:
        answer = await door.get("/api/notices", params={"limit": 200})
    return answer.json()["items"]


async def scraped(office: Office) -> dict[str, float]:
    """What `GET /metrics` says, by name and label."""
    async with office.api(None) as door:
        answer = await door.get("/metrics")
    assert answer.status_code == 200
    samples = (sample for family in text_string_to_metric_families(answer.text) for sample in family.samples)
    return {"/".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_those_who_watch_as_shipped_tell_within_a_minute():
    """Of a further case, too, which waits for the first round that is far enough from the last notice."""
    for patience, every in ((watchdog.PATIENCE, watchdog.EVERY), (timedelta(0), reconciler.GLANCE_EVERY)):
        assert patience + every + max(alarms.APART, every) < MINUTE


# The watchdog's rules, by the ledger alone


class Clock:
    """An instant that stands until somebody moves it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def go(self, span: timedelta) -> None:
        self.now += span


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dog(house: House, clock: Clock) -> Watchdog:
    return Watchdog(house.database, house.people, clock)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new ledger on each database."""
    if request.param == "postgresql":
        with request.getfixturevalue("postgres").ledger() as url:
            yield url
        return
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    database = Database(url)
    schema.upgrade(database)
    database.close()
    yield url


def door(house: House, clock: Clock) -> Submissions:
    return Submissions(house.database, house.keys, house.people, clock)


def docket(house: House, clock: Clock) -> Docket:
    return Docket(house.database, house.keys, house.people, clock)


def person(house: House, id: str = "lin") -> Person:
    found = house.people.person(id)
    assert found
    return found


def facts(clock: Clock, number: int) -> Complaint:
    return Complaint.model_validate(
        {
            "form_no": f"OA-{number}",
            "kind": "complaint",
            "channel": "oa",
            "received_at": clock.now,
            "store": "SH01",
            "content": "羽绒服穿了两次就跑绒",
            "customer": {"name": "张小红", "phone": "13800000001"},
        }
    )


def commit(house: House, clock: Clock, number: int = 1) -> tuple[str, str]:
    """An opening that nobody has delivered: its submission and its case."""
    receipt = door(house, clock).open(COMPLAINT, facts(clock, number), person(house))
    return receipt.submission, receipt.case


def opened(house: House, clock: Clock, number: int = 1) -> str:
    submission, case = commit(house, clock, number)
    docket(house, clock).decide(submission, None, "a test")
    return case


def owe(database: Database, case: str, due_at: datetime, tasks: Sequence[str] = ("reply",)) -> None:
    """Tasks with one rung each, as the desk has recorded them."""
    with database.writing() as session:
        armed_at = session.get_one(CaseRow, case).opened_at
        about = {"form": "reply", "owner_role": "specialist", "owner": "lin", "owed_at": armed_at, "due_because": {}}
        first = {"generation": 0, "rung": 0, "after_seconds": 0, "role": "manager", "armed_at": armed_at}
        session.add_all(TaskRow(case_id=case, key=task, due_at=due_at, **about) for task in tasks)
        session.add_all(DeadlineRow(case_id=case, task=task, planned_at=due_at, **first) for task in tasks)


def fired(database: Database, case: str, at: datetime | None, tasks: Sequence[str] = ("reply",)) -> None:
    with database.writing() as session:
        for task in tasks:
            session.get_one(DeadlineRow, (case, task, 0, 0)).fired_at = at


def rows(database: Database, table: Any) -> list[Any]:
    with database.reading() as session:
        return list(session.exec(select(table).order_by(table.id)))


def news(database: Database, who: str = "admin") -> list[tuple[str, int]]:
    """The alarms a person has read of: what, and how many of it."""
    return [(row.data["alarm"], row.data["count"]) for row in rows(database, NoticeRow) if row.person == who]


def test_a_rung_that_does_not_fire_is_told_once_and_cleared_when_it_has(house: House, clock: Clock, dog: Watchdog):
    case = opened(house, clock)
    owe(house.database, case, clock.now)
    clock.go(watchdog.PATIENCE)
    assert dog.round() == []
    clock.go(SECOND)
    for _ in range(5):
        assert [(finding.kind, finding.case) for finding in dog.round()] == [(RUNG, case)]
        clock.go(alarms.QUIET)
    assert news(house.database) == [(RUNG, 1)]
    fired(house.database, case, clock.now)
    assert dog.round() == [], "the next one keeps its distance"
    assert still_open(house) == []


def test_what_was_gone_and_came_back_is_told_again(house: House, clock: Clock, dog: Watchdog):
    case = opened(house, clock)
    owe(house.database, case, clock.now)
    for at in (None, clock.now, None):
        fired(house.database, case, at)
        clock.go(alarms.QUIET)
        dog.round()
    assert news(house.database) == [(RUNG, 1), (RUNG, 1)]
    assert [row.cleared_at is None for row in rows(house.database, AlarmRow)] == [False, True]


def test_of_one_outage_there_is_one_notice_and_so_many_rows(house: House, clock: Clock, dog: Watchdog):
    case = opened(house, clock)
    tasks = [f"reply-{n:03}" for n in range(300)]
    owe(house.database, case, clock.now, tasks)
    clock.go(MINUTE)
    for _ in range(10):
        dog.round()
        clock.go(watchdog.EVERY)
    assert news(house.database) == [(RUNG, watchdog.MOST)]
    assert len(rows(house.database, AlarmRow)) == watchdog.MOST

    fired(house.database, case, clock.now, tasks[::2])  # so that the rest comes into sight
    dog.round()
    assert len(still_open(house)) == 150
    assert news(house.database) == [(RUNG, watchdog.MOST)], "not so soon again"
    clock.go(alarms.QUIET)
    dog.round()
    assert news(house.database) == [(RUNG, watchdog.MOST), (RUNG, 50)]


def test_another_case_breaks_the_quiet_and_is_told_within_the_minute_of_what_should_have_been(
    house: House, clock: Clock, dog: Watchdog
):
    """Once a case; nobody hears again of those he knows, nor of one kind at every round."""
    cases = [opened(house, clock, number) for number in range(4)]
    for nth, case in enumerate(cases):
        owe(house.database, case, clock.now + nth * watchdog.EVERY)
    heard_at = []
    for _ in range(60):
        clock.go(watchdog.EVERY)
        known = len(news(house.database))
        dog.round()
        heard_at += [clock.now] * (len(news(house.database)) - known)
    assert news(house.database) == [(RUNG, 1), (RUNG, 2), (RUNG, 1)]
    assert min(later - sooner for sooner, later in pairwise(heard_at)) >= alarms.APART
    told_after = [row.told_at - row.since for row in rows(house.database, AlarmRow)]
    assert max(told_after) < MINUTE
    assert len(still_open(house)) == 4


def test_more_of_a_case_that_was_told_of_keeps_the_quiet(house: House, clock: Clock, dog: Watchdog):
    case = opened(house, clock)
    owe(house.database, case, clock.now)
    owe(house.database, case, clock.now + 2 * MINUTE, ["solution"])
    clock.go(MINUTE)
    dog.round()
    clock.go(alarms.QUIET - SECOND)
    dog.round()
    assert (news(house.database), len(still_open(house))) == ([(RUNG, 1)], 2)
    clock.go(SECOND)
    dog.round()
    assert news(house.database) == [(RUNG, 1), (RUNG, 1)]


def test_what_came_and_went_within_one_incident_is_not_told_afterwards(house: House, clock: Clock, dog: Watchdog):
    first, second = opened(house, clock, 1), opened(house, clock, 2)
    owe(house.database, first, clock.now)
    owe(house.database, second, clock.now + watchdog.EVERY)
    while len(still_open(house)) < 2:
        clock.go(watchdog.EVERY)
        dog.round()
    assert news(house.database) == [(RUNG, 1)]
    fired(house.database, first, clock.now)
    fired(house.database, second, clock.now)
    for _ in range(3):
        dog.round()
        clock.go(alarms.QUIET)
    assert news(house.database) == [(RUNG, 1)]


def test_what_was_repaired_meanwhile_is_told_after_the_pause(house: House, clock: Clock):
    for number in range(3):
        found = [Finding(LOST, case := opened(house, clock, number), clock.now, case, repaired=True)]
        with house.database.writing() as session:
            keep(session, "reconciler", [LOST], found, house.people, clock.now)
        clock.go(alarms.APART / 3)
    assert news(house.database) == [(LOST, 1)]
    with house.database.writing() as session:
        keep(session, "reconciler", [LOST], [], house.people, clock.now)
    assert news(house.database) == [(LOST, 1), (LOST, 2)]
    assert still_open(house) == []


def test_what_is_to_be_repaired_is_told_before_and_gone_after(house: House, clock: Clock):
    """Told twice it would be noise, and silent where whoever repairs is killed at it; too soon after another, told after the pause."""
    for number in range(2):
        found = Finding(LOST, case := opened(house, clock, number), clock.now, case)
        for kinds, finding in (([LOST], found), ([], replace(found, repaired=True))):
            with house.database.writing() as session:
                keep(session, "reconciler", kinds, [finding], house.people, clock.now)
            clock.go(SECOND)
        assert still_open(house) == []
    assert news(house.database) == [(LOST, 1)]
    clock.go(alarms.APART)
    with house.database.writing() as session:
        keep(session, "reconciler", [LOST], [], house.people, clock.now)
    assert news(house.database) == [(LOST, 1), (LOST, 1)]


def test_an_outage_soon_after_another_is_told_though_no_round_succeeds_any_more(house: House, clock: Clock):
    down = [Finding(UNREACHABLE, "engine", clock.now)]

    def kept(kinds: tuple[str, ...], findings: list[Finding]) -> None:
        with house.database.writing() as session:
            keep(session, "reconciler", kinds, findings, house.people, clock.now)
        clock.go(MINUTE)

    kept((), down)
    kept((UNREACHABLE,), [])
    for _ in range(20):
        kept((), down)
    assert news(house.database) == [(UNREACHABLE, 1), (UNREACHABLE, 1)]


def test_a_round_that_looked_earlier_and_writes_later_changes_nothing(house: House, clock: Clock):
    def kept(findings: list[Finding], looked_at: datetime) -> None:
        with house.database.writing() as session:
            keep(session, "watchdog", watchdog.KINDS, findings, house.people, looked_at)

    early, late = clock.now, clock.now + SECOND
    stuck = [Finding(RUNG, "a rung", clock.now)]
    kept(stuck, late)
    kept([], early)
    assert still_open(house) == [f"{RUNG}/a rung"]
    kept([], late + 2 * SECOND)
    kept(stuck, late + SECOND)
    assert still_open(house) == []
    assert len(rows(house.database, AlarmRow)) == 1


def test_two_watchdogs_side_by_side_tell_once(ledger_url: str, tmp_path: Path, clock: Clock):
    people = House(Settings(data=tmp_path / "var", keys=SecretStr(KEYS))).people
    settings = Settings(data=tmp_path / "var", keys=SecretStr(KEYS), database_url=SecretStr(ledger_url))
    house = House(settings)
    cases = [opened(house, clock, number) for number in range(10)]
    for n, case in enumerate(cases):
        owe(house.database, case, clock.now + n * alarms.QUIET)
    databases = [Database(ledger_url) for _ in range(2)]
    dogs = [Watchdog(database, people, clock) for database in databases]
    together = Barrier(2)

    def rounds(dog: Watchdog) -> int:
        failed = 0
        for n in range(10):
            if together.wait() == 0:
                clock.now = start + n * alarms.QUIET + MINUTE
            together.wait()
            try:
                dog.round()
            except OperationalError:  # busy: the next round is soon
                failed += 1
        return failed

    start = clock.now
    with ThreadPoolExecutor(2) as pool:
        failed = list(pool.map(rounds, dogs))
    assert min(failed) == 0
    assert news(house.database) == [(RUNG, 1)] * 10
    assert Counter(row.case_id for row in rows(house.database, AlarmRow)) == dict.fromkeys(cases, 1)
    for database in (*databases, house.database):
        database.close()


def test_every_administrator_hears(house: House, clock: Clock):
    more = [Person(id=who, name=who, role=Role.ADMINISTRATOR) for who in ("night", "day")]
    people = Directory(stores=house.people.stores, people=(*house.people.people, *more))
    case = opened(house, clock)
    owe(house.database, case, clock.now)
    clock.go(MINUTE)
    Watchdog(house.database, people, clock).round()
    assert [news(house.database, who) for who in ("admin", "night", "day", "wang")] == [[(RUNG, 1)]] * 3 + [[]]


def test_a_queue_that_moves_is_no_finding_and_one_that_stands_is(house: House, clock: Clock, dog: Watchdog):
    """An import: each takes its turn, the oldest first."""
    waiting = [commit(house, clock, number) for number in range(30)]
    for submission, _ in waiting[:20]:
        clock.go(5 * SECOND)
        docket(house, clock).decide(submission, None, "a test")
        assert dog.round() == []
    clock.go(watchdog.PATIENCE + SECOND)
    assert [finding.kind for finding in dog.round()] == [SUBMISSION] * 10


def test_what_a_dead_relay_leaves_behind_is_found_though_the_doors_decide_all_the_time(
    house: House, clock: Clock, dog: Watchdog
):
    left, _ = commit(house, clock, 0)
    for number in range(1, 12):
        clock.go(5 * SECOND)
        opened(house, clock, number)
    assert [finding.about for finding in dog.round()] == [left]


def test_what_was_tried_in_vain_is_found_while_all_else_moves(house: House, clock: Clock, dog: Watchdog):
    tried, case = commit(house, clock, 0)
    docket(house, clock).postpone(case, tried, "a test")
    for number in range(1, 10):
        clock.go(5 * SECOND)
        opened(house, clock, number)
    assert [finding.about for finding in dog.round()] == [tried]


def test_stuck_submissions_are_the_same_alarms_however_often_they_are_tried(
    house: House, clock: Clock, dog: Watchdog, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watchdog, "MOST", 8)
    for number in range(12):
        commit(house, clock, number)
    clock.go(MINUTE)
    for n in range(6):
        for row in rows(house.database, SubmissionRow)[n % 3 :: 3]:
            docket(house, clock).postpone(row.case_id, row.id, "a test")
        dog.round()
        clock.go(watchdog.EVERY)
    assert len(rows(house.database, AlarmRow)) == watchdog.MOST


def test_a_case_with_a_past_is_late_from_when_it_came(house: House, clock: Clock, dog: Watchdog):
    received = clock.now - 20 * DAY
    complaint = facts(clock, 1).model_copy(update={"received_at": received})
    past = ComplaintPast(replied_at=received + HOUR)
    receipt = door(house, clock).open(COMPLAINT, complaint, person(house), past=past)
    assert dog.round() == []
    clock.go(watchdog.PATIENCE + SECOND)
    assert {finding.about for finding in dog.round()} == {row.id for row in rows(house.database, SubmissionRow)}
    assert all(finding.since == clock.now - watchdog.PATIENCE - SECOND for finding in dog.round())
    docket(house, clock).decide(receipt.submission, None, "a test")


async def test_rungs_that_were_due_before_a_case_came_are_not_late(office: Office, house: House):
    received = office.now() - 10 * DAY
    case = COMPLAINT.case.model_validate(office.complaint(received_at=received.isoformat()))
    past = ComplaintPast(replied_at=received + HOUR)
    receipt = office.submissions.open(COMPLAINT, case, office.front.actor("lin"), past=past)
    await office.relay.deliver(receipt.case)
    assert office.front.watchdog.round() == []
    await eventually(lambda: office.heard(receipt.case, "wang") == ["overdue/solution", "overdue/callback"])
    await office.pass_time(MINUTE)
    assert office.front.watchdog.round() == []
    assert still_open(house) == []


def test_a_notice_that_did_not_go_out_is_found(house: House, clock: Clock, dog: Watchdog):
    sent, case = commit(house, clock)
    with house.database.writing() as session:
        said = {"person": "lin", "what": "assigned", "case_id": case, "created_at": clock.now, "data": {}}
        session.add(NoticeRow(key="one", submission=sent, **said))
    clock.go(watchdog.PATIENCE - SECOND)
    assert dog.round() == [], "it waits for its submission"
    with house.database.writing() as session:  # decided by somebody who was stopped before he sent it
        session.get_one(SubmissionRow, sent).state = "decided"
    clock.go(2 * SECOND)
    assert [finding.kind for finding in dog.round()] == [NOTICE]
    assert news(house.database) == [(NOTICE, 1)]


@contextmanager
def plans_of(house: House) -> Iterator[list[str]]:
    """How SQLite goes about what it is asked meanwhile."""
    plans: list[str] = []

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            plans.extend(row[3] for row in cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    for engine in (house.database.reader, house.database.writer):
        event.listen(engine, "before_cursor_execute", explain)
    yield plans


@pytest.mark.sqlite
def test_no_round_reads_a_whole_table(house: House, dog: Watchdog):
    """Every ten seconds, whatever the ledger holds: what has ended is not looked at."""
    with plans_of(house) as plans:
        dog.round()
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
    assert any("deadlines" in plan for plan in plans)


# A round that fails is not the end


@pytest.mark.sqlite
async def test_a_locked_ledger_ends_a_round_and_not_the_watch(house: House, clock: Clock, dog: Watchdog):
    owe(house.database, opened(house, clock), clock.now)
    clock.go(MINUTE)
    lock = sqlite3.connect(house.settings.data / "ledger.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(watch._again_and_again("watchdog", lambda: asyncio.to_thread(dog.round), SECOND / 10))
    with capture_logs() as log:
        await eventually(lambda: [line for line in log if line["event"] == "watch.failed"], within=20)
    assert news(house.database) == []
    lock.execute("ROLLBACK")
    lock.close()
    await eventually(lambda: news(house.database) == [(RUNG, 1)])
    task.cancel()


@asynccontextmanager
async def running(server: EmbeddedServer) -> AsyncIterator[asyncio.subprocess.Process]:
    engine = await asyncio.create_subprocess_exec(*server.command(find_binary()))
    try:
        yield engine
    finally:
        if engine.returncode is None:
            engine.terminate()
            await engine.wait()


async def test_an_engine_that_is_gone_is_an_alarm_and_its_return_the_end_of_it(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch
):
    quicken(monkeypatch)
    server = EmbeddedServer(data=tmp_path, port=free_port(), ui_port=free_port())
    async with running(server) as engine, Office(await connected(server.address, house), house) as office:
        engine.kill()
        await engine.wait()
        watching = asyncio.create_task(watch.watch(office.front.watchdog, office.front.reconciler))
        await eventually(lambda: news(house.database) == [(UNREACHABLE, 1)], within=30)
        async with running(server):
            await eventually(lambda: still_open(house) == [], within=30)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert news(house.database) == [(UNREACHABLE, 1)]
    assert watches(house) == {"watchdog", "reconciler"}


# The metric


async def test_the_metric_counts_what_is_there(office: Office, house: House):
    case = await office.open(received_at=(office.now() - 25 * HOUR).isoformat())
    await eventually(lambda: office.heard(case, "wang"))
    values = await scraped(office)
    assert values["kefu_cases/open"] == 1
    assert values["kefu_cases/archived"] == 0
    assert values["kefu_tasks_open"] == len(office.open_tasks(case))
    assert values["kefu_tasks_overdue"] == 1
    assert values["kefu_submissions_pending"] == values["kefu_submission_oldest_pending_seconds"] == 0
    assert values["kefu_rungs_overdue"] == values["kefu_notices_unsent"] == 0
    assert not [name for name in values if name.startswith("kefu_watch_age_seconds")], "nobody has watched yet"
    office.front.watchdog.round()
    assert (await scraped(office))["kefu_watch_age_seconds/watchdog"] < 60


def measured(house: House, clock: Clock) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.exposition(house.database, clock).decode())
    return {"/".join([s.name, *s.labels.values()]): s.value for family in families for s in family.samples}


def test_the_metric_counts_what_is_late(house: House, clock: Clock, dog: Watchdog):
    case = opened(house, clock)
    owe(house.database, case, clock.now + SECOND)
    commit(house, clock, 2)
    assert measured(house, clock)["kefu_rungs_overdue"] == 0
    clock.go(MINUTE)
    dog.round()
    clock.go(MINUTE)
    values = measured(house, clock)
    assert values["kefu_tasks_overdue"] == values["kefu_rungs_overdue"] == values["kefu_submissions_pending"] == 1
    assert values["kefu_submission_oldest_pending_seconds"] == 120
    assert values["kefu_watch_age_seconds/watchdog"] == 60
    assert {kind: values[f"kefu_alarms_open/{kind}"] for kind in metrics.ALARMS} == dict.fromkeys(metrics.ALARMS, 0) | {
        RUNG: 1,
        SUBMISSION: 1,
    }
    fired(house.database, case, clock.now)
    dog.round()
    values = measured(house, clock)
    assert (values[f"kefu_alarms_open/{RUNG}"], values[f"kefu_alarms_raised_total/{RUNG}"]) == (0, 1)


def test_the_metric_says_how_late_the_system_was_on_the_last_day(house: House, clock: Clock):
    """Seven seconds until it fired, two minutes until a channel took it; nothing of how late the work is."""
    case = opened(house, clock)
    owe(house.database, case, clock.now + MINUTE)
    due = clock.now + MINUTE
    fired(house.database, case, due + 7 * SECOND)
    clock.go(HOUR)
    with house.database.writing() as session:
        told = {"person": "wang", "key": f"{case}/reply/0/0"}
        notice = NoticeRow(**told, what="overdue", case_id=case, task="reply", created_at=due, data={})
        session.add(notice)
        session.flush()
        sent = {"state": "delivered", "delivered_at": due + 2 * MINUTE, "created_at": due, "next_try_at": due}
        session.add(DeliveryRow(**told, notice=notice.id, rank=0, channel="wecom", **sent))
    values = measured(house, clock)
    buckets = {le: values[f"kefu_rung_lateness_seconds_bucket/{le}"] for le in ("5", "10", "86400", "+Inf")}
    assert buckets == {"5": 0, "10": 1, "86400": 1, "+Inf": 1}
    assert (values["kefu_rung_lateness_seconds_gcount"], values["kefu_rung_lateness_seconds_gsum"]) == (1, 7)
    assert [values[f"kefu_notice_lateness_seconds_bucket/wecom/{le}"] for le in ("60", "300")] == [0, 1]
    clock.go(DAY)
    later = measured(house, clock)
    assert later["kefu_rung_lateness_seconds_gcount"] == 0
    assert not [name for name in later if name.startswith("kefu_notice_lateness_seconds_bucket")]


@pytest.mark.sqlite
def test_how_late_the_last_day_was_is_found_by_index(house: House, clock: Clock):
    with plans_of(house) as plans, house.database.reading() as session:
        lateness.fired(session, col(DeadlineRow.fired_at) > clock.now)
        lateness.delivered(session, col(DeliveryRow.delivered_at) > clock.now)
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
    assert any("deadlines_by_fired_at" in plan for plan in plans)
    assert any("deliveries_by_delivery" in plan for plan in plans)


def test_the_wait_of_a_case_with_a_past_is_counted_from_when_it_came(house: House, clock: Clock):
    received = clock.now - 20 * DAY
    complaint = facts(clock, 1).model_copy(update={"received_at": received})
    door(house, clock).open(COMPLAINT, complaint, person(house), past=ComplaintPast(replied_at=received + HOUR))
    clock.go(MINUTE)
    assert measured(house, clock)["kefu_submission_oldest_pending_seconds"] == 60


def test_the_metric_names_nobody_and_no_case(house: House, clock: Clock, dog: Watchdog):
    case = opened(house, clock)
    owe(house.database, case, clock.now)
    clock.go(MINUTE)
    dog.round()
    shown = metrics.exposition(house.database, clock).decode()
    assert not [secret for secret in (case, "OA-1", "SH01", "wang", "张小红", "13800000001") if secret in shown]


def test_every_kind_of_alarm_is_shown_and_has_its_words():
    assert len(set(metrics.ALARMS)) == len(metrics.ALARMS)
    assert all(knows("alarm", kind) for kind in metrics.ALARMS)


def test_a_scrape_asks_few_questions(house: House, clock: Clock):
    asked: list[str] = []
    event.listen(house.database.reader, "before_cursor_execute", lambda *call: asked.append(call[2]))
    measured(house, clock)
    assert len(asked) <= 11
