"""The ledger on PostgreSQL and on SQLite: the same rules and the same answers, whoever comes at the same time."""

import asyncio
import base64
import json
import multiprocessing
import os
import random
import runpy
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, count
from pathlib import Path
from signal import SIGTERM
from threading import Barrier, Event
from typing import Any, TypeVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from httpx2 import AsyncClient, ConnectError, Response
from pydantic import SecretStr
from sqlalchemy import inspect, literal_column
from sqlalchemy import select as sa_select
from sqlalchemy import table as sa_table
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import Session, SQLModel, col, func, select, text
from temporalio.client import Client, WorkflowExecutionStatus

from activities import database, schema
from activities.cases import locked
from activities.database import Database
from activities.keys import COLUMN
from activities.ledger import Ledger
from models.complaint import COMPLAINT
from models.complaint.facts import Complaint
from models.complaint.forms import Reclassify, Reply
from models.entries import Armed, Because, CaseOpened, DueRung, Recording, TaskOwed, Told
from models.forms import LEDGER
from models.people import Role
from models.tables import (
    AlarmRow,
    AnswerRow,
    ArchiveRow,
    AttachmentRow,
    AuditLineRow,
    CaseRow,
    DayRevisionRow,
    DayRow,
    DeadlineRow,
    DeliveryRow,
    EventRow,
    ExpiryLineRow,
    ExpiryListRow,
    FinderRow,
    HandOverRow,
    LetterRow,
    LibraryChangeRow,
    LibraryRow,
    LibraryWordRow,
    MailboxRow,
    MemberFileRow,
    MemberRow,
    MessageRow,
    NoticeRow,
    NumberRow,
    OrganisationRow,
    PeriodRow,
    PlanVersionRow,
    PullRow,
    PurchaseRow,
    SearchRow,
    SubmissionRow,
    TaskRow,
    VisitCallRow,
    VisitFinderRow,
    VisitListRow,
    VisitRow,
    WatchRow,
)
from models.tasks import Refusal
from settings import House, Settings
from starter.__main__ import app as kefu
from starter.docket import Docket, Receipt
from starter.pages import Page
from starter.refusals import Conflict
from starter.submissions import Submissions
from starter.views import Views
from tests.conftest import KEYS, free_port
from tests.office import DAY, HOUR, Office, connected, eventually, patiently
from tests.postgres import Server

T = TypeVar("T")

SECOND = timedelta(seconds=1)
KEY_A, KEY_B, KEY_C = (f"{name}:{base64.b64encode(name.encode() * 32).decode()}" for name in "abc")
DATABASES = ("sqlite", "postgresql")
CUSTOMERS_AND_LIBRARY = ("case_customers", "customer_searches", "library", "library_changes", "library_words")
TEXTS = ("title", "problem", "solution")
PROCESSES = 3
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])
MEETING: list[Any] = []
"""Where the processes of `at_once` wait for each other."""


@contextmanager
def new_database(kind: str, request: pytest.FixtureRequest, *, migrated: bool) -> Iterator[str]:
    """The URL of a new database, with or without our tables."""
    if kind == "postgresql":
        server = request.getfixturevalue("postgres")
        with server.ledger() if migrated else server.database() as url:
            yield url
        return
    url = f"sqlite:///{request.getfixturevalue('tmp_path') / 'ledger.db'}"
    if migrated:
        database = Database(url)
        schema.upgrade(database)
        database.close()
    yield url


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database with nothing in it, not even tables."""
    with new_database(request.param, request, migrated=False) as url:
        database = Database(url)
        yield database
        database.close()


@pytest.fixture(params=DATABASES)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A house with nobody in it, on each database."""
    yield from house_on(request.param, request, tmp_path)


@pytest.fixture
def postgres_house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """For what SQLite, whose writers come one at a time, never sees."""
    yield from house_on("postgresql", request, tmp_path)


def house_on(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with new_database(kind, request, migrated=True) as url:
        house = House(Settings(data=tmp_path / "var", keys=SecretStr(KEYS), database_url=url))
        _ = house.people
        yield house
        house.database.close()


# What people and the desk do, without an engine


def door_of(house: House, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Submissions:
    return Submissions(house.database, house.keys, house.people, clock, house.settings.policy)


def docket_of(house: House, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Docket:
    return Docket(house.database, house.keys, house.people, clock)


def ledger_of(house: House) -> Ledger:
    return Ledger(house.database, house.keys, house.people)


def facts(number: str, content: str = "羽绒服穿了两次就跑绒") -> Complaint:
    return Complaint.model_validate(
        {
            "form_no": number,
            "kind": "complaint",
            "channel": "oa",
            "received_at": datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0),
            "store": "SH01",
            "content": content,
            "customer": {"name": "张小红", "phone": "13800000001"},
        }
    )


def url_of(house: House) -> str:
    assert house.settings.database_url
    return house.settings.database_url.get_secret_value()


def opened(house: House, number: str, key: str | None = None, submissions: Submissions | None = None) -> Receipt:
    lin = house.people.person("lin")
    assert lin
    door = submissions or door_of(house)
    return patiently(lambda: door.open(COMPLAINT, facts(number), lin, key))


def replied(house: House, case: str, key: str | None = None, submissions: Submissions | None = None) -> Receipt:
    lin = house.people.person("lin")
    assert lin
    door = submissions or door_of(house)
    return patiently(lambda: door.hand_in(COMPLAINT, case, Reply(content="已致歉"), lin, key=key))


def cause(submission: str, at: datetime) -> dict[str, Any]:
    return {"at": at, "submission": submission, "by": "lin", "role": Role.SPECIALIST}


def running_case(house: House, number: str, rungs: int = 1, due_in: timedelta = HOUR) -> tuple[str, datetime]:
    """A case that owes a reply, as its desk has recorded it; and when that is due."""
    receipt = opened(house, number)
    docket_of(house).decide(receipt.submission, None, "a test")
    with house.database.reading() as session:
        at = session.get_one(CaseRow, receipt.case).opened_at
    because = Because(promise="reply", basis="a test", anchor="received_at", anchored_at=at, within=due_in)
    armed = [Armed(rung=n, after=n * HOUR, tell=Role.MANAGER, planned_at=at + due_in + n * HOUR) for n in range(rungs)]
    by = cause(receipt.submission, at)
    owed = TaskOwed(
        task="reply",
        form="reply",
        owner=Role.SPECIALIST,
        due_at=at + due_in,
        because=because,
        after=None,
        rungs=armed,
        **by,
    )
    ledger_of(house).record(Recording(case=receipt.case, entries=[CaseOpened(**by), owed]))
    return receipt.case, at + due_in


def due_rung(case: str, planned_at: datetime, rung: int = 0, known: tuple[str, ...] = ()) -> DueRung:
    return DueRung(
        case=case,
        task="reply",
        generation=0,
        rung=rung,
        tell=Role.MANAGER,
        planned_at=planned_at,
        now=planned_at + SECOND,
        silent=False,
        known=list(known),
    )


def rows(house: House, table: Any, *where: Any) -> list[Any]:
    with house.database.reading() as session:
        return list(session.exec(select(table).where(*where)))


# Several processes at once


def at_once(work: Callable[..., Any], *arguments: Any, processes: int = PROCESSES) -> list[Any]:
    """Run in several processes that begin at the same moment. What each gave back."""
    meeting = CONTEXT.Barrier(processes)
    with ProcessPoolExecutor(processes, CONTEXT, initializer=_meet_at, initargs=(meeting,)) as pool:
        return list(pool.map(partial(_together, work, *arguments), range(processes)))


def _meet_at(meeting: Any) -> None:
    MEETING.append(meeting)


def _together(work: Callable[..., Any], settings: Settings, *arguments: Any) -> Any:
    """`work` in this process's own house."""
    house = House(settings)
    MEETING[0].wait()
    return work(house, *arguments)


# The schema


def changed(database: Database, change: Callable[..., None], revision: str, versions: Path | None = None) -> None:
    """Up or down to a revision, as `schema.upgrade` does it; with `versions`, over the migrations of a made-up release."""
    with database.migrating() as connection:
        config = schema.config(connection)
        if versions:
            config.set_main_option("path_separator", "newline")
            config.set_main_option("version_locations", f"{schema.MIGRATIONS / 'versions'}\n{versions}")
        change(config, revision)


def differences(database: Database) -> list[Any]:
    with database.reader.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), SQLModel.metadata)


def contents(database: Database) -> dict[str, list[Any]]:
    """Every row of every table of ours that is there."""
    with database.reader.connect() as connection:
        return {
            table.name: sorted(tuple(map(repr, row)) for row in connection.execute(select(table)))
            for table in SQLModel.metadata.sorted_tables
            if inspect(connection).has_table(table.name)
        }


def sizes(database: Database) -> dict[str, int]:
    with database.reader.connect() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in SQLModel.metadata.sorted_tables
            if inspect(connection).has_table(table.name)
        }


def sizes_of(found: dict[str, list[Any]]) -> dict[str, int]:
    return {name: len(rows) for name, rows in found.items()}


def full(house: House) -> dict[str, list[Any]]:
    """A ledger with something in every table but the archive."""
    case, due = running_case(house, "OA-1", rungs=2)
    ledger_of(house).fire(due_rung(case, due))
    replied(house, case)
    with house.database.writing() as session:
        session.add(NumberRow(process="complaint", number="OA-1-2", case_id=case, submission="back"))
        session.add(AlarmRow(key=f"late/{case}", kind="late", case_id=case, data={}, since=due, raised_at=due))
        session.add(WatchRow(name="watchdog", at=due))
        entry = LibraryRow(
            case_id=case, author="lin", created_at=due, changed_at=due, **dict.fromkeys(TEXTS, "开线"), tags=[]
        )
        session.add_all([entry, SearchRow(at=due, by="lin", role="specialist", kind="phone", found=0)])
        session.flush()
        assert entry.id
        session.add(LibraryChangeRow(entry=entry.id, version=1, at=due, by="lin", what="added", data={}))
        session.add(LibraryWordRow(word="开线", entry=entry.id, weight=1))
        what = {"kind": "image/jpeg", "size": 1, "digest": "test:-", "sealed": house.keys.seal(b"{}", COLUMN, "file")}
        people = house.people.now.model_dump_json().encode()
        sealed = house.keys.seal(people, COLUMN, f"organisation/{due.isoformat()}")
        org = OrganisationRow(version=1, at=due, by="admin", what="loaded", sealed=sealed, key=house.keys.writing)
        given = HandOverRow(absence="lin", case_id=case, task="reply", deputy="chen", at=due, by="wang")
        session.add_all([org, given])
        session.add(AttachmentRow(id="file", case_id=case, by="lin", role="specialist", at=due, **what))
        add_member(session, house, case, due)
        add_month(session, house, case, due)
        session.add(
            DeliveryRow(person="lin", key="new", notice=1, rank=0, channel="email", created_at=due, next_try_at=due)
        )
        known = {
            "came": True,
            "what": "opened",
            "mark": "test:-",
            "sealed": house.keys.seal(b"{}", COLUMN, "letter/in"),
        }
        session.add(LetterRow(id="in", case_id=case, at=due, next_try_at=due, state="in", **known))
        session.add(MailboxRow(name="test:-", since=due))
        session.add(AnswerRow(form="reply", title="起球", text="已送检", by="wang", changed_at=due))
        add_visits(session, house, case, due)
    found = contents(house.database)
    assert {name for name, rows in found.items() if not rows} == {"archive"}
    return found


def add_member(session: Session, house: House, case: str, at: datetime) -> None:
    """Something in every table of members."""
    what = {"digest": "test:-", "sealed": house.keys.seal(b"{}", COLUMN, "member/m"), "keys": "test", "findings": {}}
    session.add(MemberRow(id="m", version=1, store="SH01", entered_at=at, changed_at=at, case_id=case, **what))
    session.flush()
    session.add(FinderRow(member_id="m", kind="phone", value="test:-"))
    session.add(PurchaseRow(receipt="R-1", member_id="m", at=at, fen=100, recorded_at=at))
    session.add(AuditLineRow(case_id=case, member_id="m", at=at))
    session.add_all([MessageRow(id="msg-1", at=at, kind="member"), PullRow(source="sql", since=at, at=at)])
    session.add(MemberFileRow(digest="-", kind="members", by="lin", role="specialist", at=at))


def add_visits(session: Session, house: House, case: str, at: datetime) -> None:
    """Something in every table of the visits and of the calendar's days."""
    sent = session.exec(select(SubmissionRow.id).where(SubmissionRow.case_id == case)).first()
    plan = {"month": "2026-12", "store": "SH01", "nth": 1, "kind": "first", "nil": False, "lines": 1, "source": "api"}
    session.add(PlanVersionRow(id=sent, case_id=case, at=at, by="oa-sh01", **plan))
    line = {"purpose": "care", "method": "phone", "planned_on": at.date(), "due_on": at.date(), "caller": "oa-sh01"}
    sealed = {"sealed": house.keys.seal(b"{}", COLUMN, "visit/v"), "list_nth": 1, "complete": True, "version": 1}
    session.add(VisitRow(id="v", case_id=case, month="2026-12", store="SH01", added_at=at, **line, **sealed))
    session.add(VisitListRow(case_id=case, nth=1, caller="oa-sh01", role="store", day=at.date()))
    session.add(DayRevisionRow(id=1, at=at, by="wang", year=2026, why="seed"))
    session.flush()
    session.add(DayRow(day=at.date(), working=False, name="元旦", provisional=False, revision=1))
    session.add(VisitFinderRow(visit_id="v", kind="phone", value="test:-"))
    call = {"channel": "phone", "outcome": "unreachable", "by": "oa-sh01", "role": "store", "digest": "test:-"}
    session.add(VisitCallRow(visit_id="v", nth=1, at=at, sealed=b"-", **call))


def add_month(session: Session, house: House, case: str, at: datetime) -> None:
    """Something in every table of the calendar and the months."""
    session.add(PeriodRow(process="expiry", period="2026-12", at=at, opened_at=at, by="calendar", cases=1))
    sealed = house.keys.seal(b"PK", COLUMN, "expiry_list/2027-01")
    session.add(ExpiryListRow(month="2027-01", case_id=case, as_of=at, made_at=at, sealed=sealed, keys="test"))
    what = {"nth": 1, "store": "SH01", "region": "east", "valid_through": at.date(), "expires_at": at}
    figures = {"purchases": 2, "fen": 99999, "waived": False, "case_id": case, "checked_at": at}
    session.add(ExpiryLineRow(month="2027-01", member_id="m", **what, **figures))


def test_the_models_are_what_the_migrations_make(empty: Database):
    schema.upgrade(empty)
    assert differences(empty) == []


def test_a_ledger_that_was_taken_down_to_nothing_comes_up_again_and_takes_cases(house: House):
    full(house)
    changed(house.database, command.downgrade, "base")
    assert contents(house.database) == {}
    with pytest.raises(schema.UnknownSchema, match="kefu migrate"):
        schema.check(house.database)
    schema.upgrade(house.database)
    schema.check(house.database)
    assert differences(house.database) == []
    full(house)


def test_every_migration_but_the_first_can_be_taken_back_and_done_again_under_a_full_ledger(house: House):
    before = full(house)
    for revision in schema.known()[1:]:
        changed(house.database, command.downgrade, revision)
        kept = sizes(house.database)
        assert kept.items() <= sizes_of(before).items()
    schema.upgrade(house.database)
    after = contents(house.database)
    assert {name: rows for name, rows in after.items() if name in kept} == {name: before[name] for name in kept}
    assert {name for name in after if name not in kept} >= {"alarms", "watches"}
    assert not any(after[name] for name in after if name not in kept)
    assert differences(house.database) == []


def test_a_departments_open_answer_bears_its_new_name_everywhere(house: House):
    """What 0006 renames, and what it leaves: a case that was asked something before goes on under the next release."""
    case, due = running_case(house, "OA-1")
    names = {"assist": "answer", "assist-2": "answer-2", "reply": "reply"}
    with house.database.writing() as session:
        reply = session.get_one(TaskRow, (case, "reply"))
        for task in ("assist", "assist-2"):
            session.add(TaskRow(**reply.model_dump(exclude={"key", "form"}), key=task, form="assist"))
            about = {"case_id": case, "task": task, "data": {}}
            session.add(EventRow(**about, key=f"owed/{task}", kind="owed", at=due))
            session.add(EventRow(**about, key=f"told/task/contact/{task}/x", kind="told", at=due))
            session.add(NoticeRow(**about, person="shang", key=f"{case}/{task}/0/0", what="overdue", created_at=due))

    def found() -> list[tuple[Any, ...]]:
        with house.database.reader.connect() as connection:
            of = ("tasks", "key", "form"), ("events", "task", "key"), ("notices", "task", "key")
            return [
                (table, *row)
                for table, *columns in of
                for row in connection.execute(sa_select(*map(literal_column, columns)).select_from(sa_table(table)))
            ]

    now = found()
    changed(house.database, command.downgrade, "0005")
    before = [(table, *(_renamed(cell, names) for cell in cells)) for table, *cells in now]
    assert sorted(map(str, found())) == sorted(map(str, before))
    schema.upgrade(house.database)
    assert sorted(map(str, found())) == sorted(map(str, now))


def test_what_a_case_is_taken_for_is_found_in_a_ledger_that_did_not_keep_it(house: House):
    """0016: as it was opened, or found to be; what was to be thrown away is junk where the manager has agreed."""
    found = {
        "untouched": [],
        "praise": ["praise"],
        "refused": ["query"],
        "junk": ["junk"],
        "kept": ["query", "junk"],
        "back": ["query", "complaint"],
    }
    cases = {number: opened(house, number).case for number in found}
    lin = house.people.person("lin")
    assert lin
    for number, kinds in found.items():
        for kind in kinds:
            form = Reclassify.model_validate({"kind": kind, "reason": "看错"})
            sent = door_of(house).hand_in(COMPLAINT, cases[number], form, lin).submission
            if number != "refused":
                docket_of(house).decide(sent, None, "a test")
    with house.database.writing() as session:
        session.get_one(CaseRow, cases["junk"]).closed_because = "junk"
    changed(house.database, command.downgrade, "0015")
    schema.upgrade(house.database)
    now = {row.number: row.taken_for for row in rows(house, CaseRow)}
    assert now == {
        "untouched": "complaint",
        "praise": "praise",
        "refused": "complaint",
        "junk": "junk",
        "kept": "query",
        "back": "complaint",
    }


def _renamed(cell: str | None, names: dict[str, str]) -> str | None:
    return cell and "/".join(names.get(part, part) for part in cell.split("/"))


def with_keys(house: House, keys: str) -> House:
    """The same ledger, as a process with these keys has it."""
    other = House(house.settings.model_copy(update={"keys": SecretStr(keys)}))
    other.__dict__["database"] = house.database
    return other


def test_a_ledger_of_the_first_schema_knows_afterwards_which_keys_its_cases_need(house: House):
    """Key `a` wrote, then `b`; then somebody put `c` first. Every open case may have met whatever wrote since it was opened."""
    houses = [with_keys(house, keys) for keys in (KEY_A, f"{KEY_B},{KEY_A}", f"{KEY_C},{KEY_B},{KEY_A}")]
    cases = {}
    for n, one in enumerate(houses):
        cases[f"open-{n}"] = opened(one, f"open-{n}").case
        cases[f"closed-{n}"] = opened(one, f"closed-{n}").case
        replied(one, cases[f"closed-{max(n - 1, 0)}"])
    with house.database.writing() as session:
        for n, keys in enumerate((houses[1].keys, houses[1].keys, houses[2].keys)):
            case = session.get_one(CaseRow, cases[f"closed-{n}"])
            case.state, case.closed_at = "archived", case.opened_at
            sealed = keys.seal(b"{}", COLUMN, f"archive/{case.id}")
            session.add(ArchiveRow(case_id=case.id, archived_at=case.opened_at, sealed=sealed))
    changed(house.database, command.downgrade, "0001")
    schema.upgrade(house.database)
    found = {row.number: row.keys for row in rows(house, CaseRow)}
    assert found == {
        "open-0": "a,b,c",
        "open-1": "b,c",
        "open-2": "c",
        "closed-0": "a,b",
        "closed-1": "b,c",
        "closed-2": "c",
    }


NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "made_up", "{after}", None, None

def upgrade():
    with op.batch_alter_table("cases") as cases:
        cases.add_column(sa.Column("weight", sa.Integer(), nullable=False, server_default="7"))
        cases.alter_column("number", nullable=False, new_column_name="business_number")
    {then}

def downgrade():
    with op.batch_alter_table("cases") as cases:
        cases.alter_column("business_number", nullable=False, new_column_name="number")
        cases.drop_column("weight")
"""


@pytest.fixture
def next_release(tmp_path: Path) -> Callable[[str], Path]:
    """A migration that makes the table of cases anew under all that refers to it; and the directory it is in."""

    def write(then: str = "") -> Path:
        (tmp_path / "versions").mkdir()
        (tmp_path / "versions" / "made_up.py").write_text(NEXT.format(after=schema.head(), then=then))
        return tmp_path / "versions"

    return write


def test_a_migration_under_a_full_ledger_keeps_every_row_on_the_way_up_and_down(house: House, next_release):
    before, versions = full(house), next_release()
    changed(house.database, command.upgrade, "made_up", versions)
    with house.database.reader.connect() as connection:
        assert connection.execute(text("SELECT business_number, weight FROM cases")).all() == [("OA-1", 7)]
    for act in (schema.check, schema.upgrade):
        with pytest.raises(schema.UnknownSchema, match=r"made_up, .* a newer release has migrated it, start that one"):
            act(house.database)
    changed(house.database, command.downgrade, schema.head(), versions)
    assert contents(house.database) == before
    assert differences(house.database) == []
    assert opened(house, "OA-1").first is False, "the number is still unique"


def test_a_migration_that_fails_half_way_leaves_the_ledger_as_it_was(house: House, next_release):
    before, versions = full(house), next_release(then="op.execute('SELECT nonsense')")
    with pytest.raises(DBAPIError, match="nonsense"):
        changed(house.database, command.upgrade, "made_up", versions)
    schema.check(house.database)
    assert contents(house.database) == before
    assert differences(house.database) == []


def migrate(house: House, _n: int) -> None:
    """`kefu migrate`."""
    os.environ.update(KEFU_DATA=str(house.settings.data), KEFU_DATABASE_URL=url_of(house))
    kefu(["migrate"], standalone_mode=False)
    schema.check(house.database)


@pytest.mark.several_processes
def test_processes_that_migrate_at_once_come_one_after_the_other(empty: Database, tmp_path: Path):
    settings = Settings(data=tmp_path / "var", keys=SecretStr(KEYS), database_url=empty.url.render_as_string(False))
    at_once(migrate, settings)
    assert differences(empty) == []


# The same at the same time


def open_it(house: House, times: int, _n: int) -> list[tuple[str, bool]]:
    submissions = door_of(house)
    with ThreadPoolExecutor(times) as threads:
        receipts = list(threads.map(lambda _: opened(house, "OA-1", submissions=submissions), range(times)))
    return [(receipt.case, receipt.first) for receipt in receipts]


def test_fifty_simultaneous_openings_of_one_number_are_one_case_and_one_first(house: House):
    receipts = list(chain(*at_once(open_it, house.settings, 10, processes=5)))
    assert len(receipts) == 50
    assert len({case for case, _ in receipts}) == 1
    assert sum(first for _, first in receipts) == 1
    assert len(rows(house, CaseRow)) == len(rows(house, SubmissionRow)) == 1


def hand_it_in(house: House, cases: list[str], n: int) -> list[str]:
    """The same submission's id for one case after the other: where it was first, it is known; elsewhere it is taken."""
    outcomes = []
    for key in range(20):
        try:
            outcomes.append(replied(house, cases[(key + n) % len(cases)], key=f"key-{key}").case)
        except Conflict:
            outcomes.append("conflict")
    return outcomes


@pytest.mark.several_processes
def test_a_submissions_id_used_for_two_cases_at_once_goes_to_one_of_them(house: House):
    cases = [running_case(house, number)[0] for number in ("OA-1", "OA-2")]
    outcomes = at_once(hand_it_in, house.settings, cases)
    replies = rows(house, SubmissionRow, SubmissionRow.form == "reply")
    assert sorted(row.id for row in replies) == sorted(f"key-{key}" for key in range(20))
    for row in replies:
        told = {outcome[int(row.id.removeprefix("key-"))] for outcome in outcomes}
        assert told == {row.case_id, "conflict"}


def meeting_clock() -> Callable[[], datetime]:
    """A clock that lets the first two who look at it go on together: both have seen that a row is not there."""
    both = Barrier(2)
    looks = count()

    def clock() -> datetime:
        if next(looks) < 2:
            both.wait(timeout=10)
        return datetime.now(UTC)

    return clock


def both_at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What came of acts in threads of their own: a result, or what was raised."""
    with ThreadPoolExecutor(len(acts)) as threads:
        futures = [threads.submit(act) for act in acts]
        return [future.exception() or future.result() for future in futures]


def test_two_transactions_that_both_see_no_such_number_make_one_case(postgres_house: House):
    submissions = door_of(postgres_house, meeting_clock())
    one = partial(opened, postgres_house, "OA-1", submissions=submissions)
    first, second = both_at_once(one, one)
    assert first.case == second.case
    assert {first.first, second.first} == {True, False}


@pytest.mark.parametrize("names_it", [True, False])
def test_two_transactions_that_both_see_no_such_number_lead_it_to_one_case(postgres_house: House, names_it: bool):
    """The paper of a customer who is back, sent twice; and the same number once with the case it continues, once without."""
    lin = postgres_house.people.person("lin")
    assert lin
    before = opened(postgres_house, "OA-1")
    with postgres_house.database.writing() as session:
        case, row = session.get_one(CaseRow, before.case), session.get_one(SubmissionRow, before.submission)
        case.state, case.closed_at, case.closed_because = "archived", case.opened_at, "completed"
        row.state = "decided"
    submissions, now = door_of(postgres_house, meeting_clock()), datetime.now(UTC)
    back = facts("OA-2").model_copy(update={"earlier": "OA-1", "received_at": now})
    other = back if names_it else back.model_copy(update={"earlier": None})
    outcomes = both_at_once(*(partial(submissions.open, COMPLAINT, said, lin) for said in (back, other)))
    own = {row.id for row in rows(postgres_house, CaseRow, CaseRow.number == "OA-2")}
    led = {row.case_id for row in rows(postgres_house, NumberRow)}
    assert len(own | led) == 1, "one number, one case"
    assert len(rows(postgres_house, SubmissionRow)) == 2, "and taken once"
    if names_it:
        assert sorted(receipt.first for receipt in outcomes) == [False, True]


def test_two_transactions_that_both_see_no_such_submission_make_one(postgres_house: House):
    submissions = door_of(postgres_house, meeting_clock())
    outcomes = both_at_once(*(partial(opened, postgres_house, n, "key-1", submissions) for n in ("OA-1", "OA-2")))
    [refused] = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert refused.code == "key_reused"
    assert len(rows(postgres_house, CaseRow)) == 1, "nothing is left of the other"


def increment(house: House, case: str, times: int, _n: int) -> None:
    def once() -> None:
        with house.database.writing() as session:
            locked(session, case).cycle += 1

    for _ in range(times):
        patiently(once)


@pytest.mark.several_processes
def test_six_hundred_increments_from_three_processes_are_six_hundred(house: House):
    case = opened(house, "OA-1").case
    at_once(increment, house.settings, case, 200)
    with house.database.reading() as session:
        assert session.get_one(CaseRow, case).cycle == 601


def record_and_fire(house: House, case: str, due: datetime, n: int) -> list[datetime | None]:
    """What every one of the processes does, as if each ran the same workflow task again: in an order of its own."""
    ledger, fired = ledger_of(house), {}
    for at in random.Random(n).sample(range(40), 40):
        told = Told(what=f"word-{at}", to=Role.MANAGER, **cause(f"submission-{at}", due))
        patiently(partial(ledger.record, Recording(case=case, entries=[told])))
        fired[at] = patiently(partial(ledger.fire, due_rung(case, due + at * HOUR, rung=at))).at
    return [fired[at] for at in sorted(fired)]


def test_processes_that_record_and_fire_the_same_write_it_once_and_hear_the_same(house: House):
    case, due = running_case(house, "OA-1", rungs=40)
    heard = at_once(record_and_fire, house.settings, case, due)
    assert heard == [[due + n * HOUR + SECOND for n in range(40)]] * PROCESSES
    assert Counter(row.kind for row in rows(house, EventRow)) == {"opened": 1, "owed": 1, "told": 40, "escalated": 40}
    assert Counter(row.what for row in rows(house, NoticeRow))["overdue"] == 40
    assert all(row.fired_at for row in rows(house, DeadlineRow))


# Everything at once: no deadlock, and nothing that rests on luck


@dataclass
class Bustle:
    """Somebody in a hurry: does at random whatever the doors, the deliverers and the desks of a few cases do."""

    house: House
    cases: dict[str, datetime]
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        wrong_by = timedelta(seconds=self.chance.uniform(-2, 2))  # another machine's clock

        def clock() -> datetime:
            return datetime.now(UTC) + wrong_by

        self.submissions, self.docket = door_of(self.house, clock), docket_of(self.house, clock)
        self.name = f"{self.chance.random()}"

    def act(self) -> None:
        case = self.chance.choice(list(self.cases))
        act = self.chance.choice(
            [self.sends, self.delivers, self.decides, self.postpones, self.hears, self.records, self.fires]
        )
        patiently(partial(act, case))
        self.done[act.__name__] += 1

    def sends(self, case: str) -> None:
        before = self._latest(case)
        try:
            sent = replied(self.house, case, key=f"key-{self.chance.randrange(300)}", submissions=self.submissions)
        except Conflict:
            return
        if sent.first:
            with self.house.database.reading() as session:
                assert session.get_one(SubmissionRow, sent.submission).recorded_at > before

    def delivers(self, case: str) -> None:
        self.docket.next_of(case, self.name)

    def decides(self, case: str) -> None:
        if sent := self._some(case):
            self.docket.decide(sent, self.chance.choice([None, Refusal(code="case_closed")]), self.name)

    def postpones(self, case: str) -> None:
        if sent := self._some(case):
            self.docket.postpone(case, sent, self.name)

    def hears(self, case: str) -> None:
        if sent := self._some(case):
            self.docket.heard(sent)

    def records(self, case: str) -> None:
        if sent := self._some(case):
            told = Told(what="word", to=Role.MANAGER, **cause(sent, self.cases[case]))
            ledger_of(self.house).record(Recording(case=case, entries=[told]))

    def fires(self, case: str) -> None:
        rung = self.chance.randrange(5)
        ledger_of(self.house).fire(due_rung(case, self.cases[case] + rung * HOUR, rung=rung))

    def _latest(self, case: str) -> datetime:
        with self.house.database.reading() as session:
            return session.exec(select(func.max(SubmissionRow.recorded_at)).where(SubmissionRow.case_id == case)).one()

    def _some(self, case: str) -> str | None:
        """One of the latest: somebody else may have it in hand."""
        with self.house.database.reading() as session:
            query = select(SubmissionRow.id).where(SubmissionRow.case_id == case, SubmissionRow.form != "open")
            ids = session.exec(query.order_by(col(SubmissionRow.recorded_at).desc()).limit(4)).all()
        return self.chance.choice(ids) if ids else None


def bustle(house: House, cases: dict[str, datetime], people: int, acts: int, n: int) -> Counter[str]:
    def hurry(person: int) -> Counter[str]:
        someone = Bustle(house, cases, random.Random(f"{n}/{person}"))
        for _ in range(acts):
            someone.act()
        return someone.done

    with ThreadPoolExecutor(people) as threads:
        return sum(threads.map(hurry, range(people)), Counter())


@pytest.mark.parametrize("acts", [20, pytest.param(60, marks=pytest.mark.several_processes)])
def test_everything_at_once_neither_deadlocks_nor_loses_a_refusal(house: House, acts: int):
    cases = dict(running_case(house, f"OA-{n}", rungs=5, due_in=-DAY) for n in range(3))
    done = sum(at_once(bustle, house.settings, cases, 3, acts), Counter())
    assert sum(done.values()) == PROCESSES * 3 * acts
    refused = {f"{row.id}/refused" for row in rows(house, SubmissionRow) if row.state == "refused" and row.deferred}
    assert refused
    told = [row for row in rows(house, NoticeRow) if row.what == "refused"]
    assert {row.key for row in told} == refused, "who was told to wait hears of the refusal; nobody else does"
    assert all(row.delivered_at for row in told)


# In the order of recording: a rung and a submission that is being written


async def waiting_for_a_lock(house: House, transactions: int) -> None:
    """Until so many transactions of this ledger stand behind another one."""
    behind = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def count_them() -> bool:
        with house.database.reader.connect() as connection:
            return connection.execute(text(behind)).scalar_one() >= transactions

    await eventually(count_them)


async def test_a_rung_waits_for_a_submission_that_is_being_written_and_lets_it_go_first(postgres_house: House):
    case, due = running_case(postgres_house, "OA-1")
    looked, go_on = Event(), Event()

    def clock() -> datetime:
        looked.set()
        assert go_on.wait(10)
        return due - SECOND

    sending = asyncio.create_task(
        asyncio.to_thread(replied, postgres_house, case, submissions=door_of(postgres_house, clock))
    )
    await asyncio.to_thread(looked.wait, 10)
    firing = asyncio.create_task(asyncio.to_thread(ledger_of(postgres_house).fire, due_rung(case, due)))
    await waiting_for_a_lock(postgres_house, 1)
    go_on.set()
    fired, sent = await firing, await sending
    assert fired.at is None
    assert [submission.id for submission in fired.earlier] == [sent.submission]
    assert [notice.what for notice in rows(postgres_house, NoticeRow)] == ["new"]


async def test_a_submission_behind_a_firing_rung_is_recorded_after_it_whatever_its_clock_says(postgres_house: House):
    case, due = running_case(postgres_house, "OA-1")
    rung = due_rung(case, due)
    with postgres_house.database.writing() as session:
        locked(session, case)
        firing = asyncio.create_task(asyncio.to_thread(ledger_of(postgres_house).fire, rung))
        await waiting_for_a_lock(postgres_house, 1)
        early = door_of(postgres_house, lambda: due - SECOND)
        sending = asyncio.create_task(asyncio.to_thread(replied, postgres_house, case, submissions=early))
        await waiting_for_a_lock(postgres_house, 2)
    assert (await firing).at == rung.now
    [row] = rows(postgres_house, SubmissionRow, SubmissionRow.id == (await sending).submission)
    assert row.recorded_at > rung.now


async def test_a_case_that_somebody_holds_for_long_is_busy_and_takes_the_form_afterwards(
    postgres_house: House, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database, "BUSY_MS", 100)
    case, _ = running_case(postgres_house, "OA-1")
    other = House(postgres_house.settings)
    with postgres_house.database.writing() as session:
        locked(session, case)
        with pytest.raises(OperationalError, match="lock timeout"):
            await asyncio.to_thread(replied, other, case, "key-1")
    assert replied(other, case, "key-1").first
    other.database.close()


def test_a_process_that_stops_in_the_middle_of_a_transaction_does_not_hold_its_case_up_for_long(
    postgres_house: House, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database, "HANGING_MS", 200)
    hanging = House(postgres_house.settings)
    case, _ = running_case(postgres_house, "OA-1")

    def stops_in_the_middle() -> None:
        with hanging.database.writing() as session:
            locked(session, case).cycle += 1
            assert replied(postgres_house, case).first

    with pytest.raises(DBAPIError, match="idle-in-transaction"):
        stops_in_the_middle()
    hanging.database.close()
    with postgres_house.database.reading() as session:
        assert session.get_one(CaseRow, case).cycle == 1


def test_connections_that_the_server_has_ended_are_made_anew(postgres_house: House, postgres: Server):
    case, due = running_case(postgres_house, "OA-1")
    theirs = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL"
    )
    assert len(postgres.run(theirs)) >= 2
    assert ledger_of(postgres_house).fire(due_rung(case, due)).at
    assert rows(postgres_house, NoticeRow)


# The same answers


def made_up_ledger(house: House) -> None:
    """Forty cases, every row by hand: equal due times, none at all, numbers in capitals or not; the same on each database."""
    day = datetime(2026, 11, 2, tzinfo=UTC)
    with house.database.writing() as session:
        for n in range(40):
            case = f"complaint-{n * 7919 % 40:010x}"
            at = day + n * HOUR
            archived = n % 5 == 0
            session.add(
                CaseRow(
                    id=case,
                    process="complaint",
                    number=["OA-{}", "oa-{}", "OA_{}", "投诉-{}", "Form#{}"][n % 5].format(n),
                    state="archived" if archived else "open",
                    store=[None, "SH01", "GZ01"][n % 3],
                    region=[None, "east", "south"][n % 3],
                    opened_at=at,
                    due_at=None if archived else day + (n // 4) * DAY,
                    closed_at=at + DAY if archived else None,
                    closed_because="completed" if archived else None,
                    last_instant=at,
                    promises={},
                )
            )
            session.flush()
            made_up_rows(session, house, case, n, at)


def made_up_rows(session: Session, house: House, case: str, n: int, at: datetime) -> None:
    opening = f"opening-{n}"
    sealed = house.keys.seal(json.dumps({"form_no": f"OA-{n}"}).encode(), COLUMN, f"submission/{opening}")
    who = {"by": "lin", "role": "specialist"}
    session.add(
        SubmissionRow(
            **(who | {"id": opening, "case_id": case, "form": "open", "recorded_at": at, "next_try_at": at}),
            sealed=sealed,
            outline={},
            digest="-",
            state="pending" if n % 7 == 0 else "decided",
        )
    )
    for kind in ("opened", "owed", "told"):
        session.add(EventRow(case_id=case, key=kind, kind=kind, at=at, submission=opening, **who, data={"n": n}))
    for key in ("reply", "solution", "callback"):
        due = at + DAY * (n % 2)
        session.add(
            TaskRow(
                case_id=case,
                key=key,
                form=key,
                owner_role="specialist",
                owner=["lin", "chen"][n % 2],
                state=["open", "done", "withdrawn"][n % 3],
                owed_at=at,
                due_at=due,
                due_because={},
            )
        )
        for rung in range(2):
            where = {
                "case_id": case,
                "task": key,
                "generation": 0,
                "rung": rung,
                "after_seconds": rung,
                "role": "manager",
            }
            session.add(DeadlineRow(**where, armed_at=at, planned_at=due))
    told = {"person": "lin", "what": "overdue", "case_id": case, "created_at": at, "data": {"n": n}}
    session.add(NoticeRow(**told, key=f"notice-{n}", delivered_at=at if n % 4 else None))


def all_pages(look: Callable[..., Page[Any]], **wanted: Any) -> list[Any]:
    """Every item of a list, seven at a time."""
    items: list[Any] = []
    page = look(**wanted, limit=7)
    while page.cursor:
        items += page.items
        page = look(**wanted, limit=7, cursor=page.cursor)
    return items + page.items


DAY_8 = datetime(2026, 11, 2, 8, tzinfo=UTC)
CASE_LISTS: list[dict[str, Any]] = [
    *({}, {"process": "complaint"}, {"process": "audit"}, {"state": "open"}, {"state": "archived"}),
    *({"store": "SH01"}, {"region": "south"}, {"owner": "lin"}, {"since": DAY_8}, {"until": DAY_8}),
    *({"q": text} for text in ("OA-1", "oa-1", "form#", "OA_", "投诉", "%", "_", "complaint-000000000a", "nothing")),
    {"state": "open", "store": "GZ01", "owner": "chen", "q": "o"},
]
TASK_LISTS: list[dict[str, Any]] = [
    *(
        {},
        {"owner": "lin"},
        {"state": "done"},
        {"state": None},
        {"due_before": DAY_8},
        {"owner": "chen", "state": "withdrawn"},
    )
]


def everything_seen(house: House) -> dict[str, list[Any]]:
    """All lists as several people see them, and every case."""
    seen: dict[str, list[Any]] = {}
    for reader in map(house.people.person, ("lin", "oa-sh01", "admin")):
        assert reader
        with house.database.reading() as session:
            views = Views(session, house.keys, house.calendar, reader, DAY_8)
            for wanted in CASE_LISTS:
                seen[f"{reader.id} cases {wanted}"] = all_pages(views.cases, **wanted)
            for wanted in TASK_LISTS:
                seen[f"{reader.id} tasks {wanted}"] = all_pages(views.tasks, **wanted)
            seen[f"{reader.id} notices"] = all_pages(views.notices)
            seen[f"{reader.id} each"] = [views.case(summary.case) for summary in views.cases().items[::4]]
    return seen


def test_lists_pages_and_searches_are_the_same_on_both_databases(request: pytest.FixtureRequest, tmp_path: Path):
    seen = []
    for kind in DATABASES:
        for house in house_on(kind, request, tmp_path):
            made_up_ledger(house)
            seen.append(everything_seen(house))
    on_sqlite, on_postgresql = seen
    assert on_sqlite == on_postgresql
    sizes = {name: len(items) for name, items in on_sqlite.items()}
    assert (sizes["lin cases {}"], sizes["lin each"], sizes["lin notices"]) == (40, 10, 30)
    assert sizes["lin cases {'q': 'oa-1'}"] == sizes["lin cases {'q': 'OA-1'}"] == 5
    assert (sizes["lin cases {'q': '_'}"], sizes["lin cases {'q': '%'}"]) == (8, 0)
    assert 0 < sizes["oa-sh01 cases {}"] < 40


async def test_what_no_browser_sends_is_refused_and_never_a_failure(office: Office):
    case = await office.open()
    async with office.api() as lin:
        for path, wanted in {
            "/api/cases": [{"q": "\0"}, {"q": "OA\0"}, {"cursor": cursor("9999-01-01T00:00:00Z", "\0")}],
            "/api/tasks": [{"cursor": cursor("2026-01-01T00:00:00Z", case, "\0")}, {"owner": "\0"}],
            "/api/notices": [{"cursor": cursor("9" * 18)}, {"cursor": cursor("9" * 10)}],
        }.items():
            for query in wanted:
                assert (await lin.get(path, params=query)).status_code in (200, 422), (path, query)
        assert (await lin.get("/api/submissions/%00")).status_code in (404, 422)


# The whole way, and several of everything side by side


async def test_a_complaint_goes_its_whole_way_to_the_archive(office: Office):
    case = await office.open()
    await office.pass_time(25 * HOUR)
    await eventually(lambda: office.heard(case, "wang") == ["overdue/reply"])
    await office.walk(case)
    await eventually(lambda: office.case(case).state == "archived")
    async with office.api() as lin:
        seen = (await lin.get(f"/api/cases/{case}")).json()
    assert seen["state"] == "archived"
    assert seen["facts"]["customer"]["name"] == "张小红"
    assert len(rows(office.house, ArchiveRow)) == 1
    assert {row.state for row in rows(office.house, SubmissionRow)} == {"decided"}
    assert (await office.relay.send(lambda holder: office.commit(case, "reply", holder=holder, content="晚"))).refusal


CASES = 30
REST: dict[str, dict[str, Any]] = {
    "callback": {"outcome": "satisfied", "satisfaction": 5},
    "record": {"finding": "充绒工艺不良"},
}
STEP_BY_STEP = {
    "reply": {"content": "已致歉"},
    "solution": {"steps": "换一件新的", "duration": "P2D", "effect": "不再跑绒", "remedy": "exchange"},
    "consent": {"accepted": True},
    "execution": {"content": "新衣已寄出"},
    **REST,
}
ON_THE_LINE = {
    "solve": {"reply": "已致歉", "steps": "换新", "effect": "已换好", "remedy": "exchange", "execution": "已换"},
    **REST,
}


def way_of(n: int) -> dict[str, dict[str, Any]]:
    """What is sent for the nth complaint."""
    return ON_THE_LINE if n % 3 else STEP_BY_STEP


@pytest.fixture
def start(house: House, engine: str, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Starts our commands as processes that share a ledger and nothing else. They are told to stop in the end, and must have gone well."""
    environment = {
        "KEFU_DATA": str(house.settings.data),
        "KEFU_KEYS": KEYS,
        "KEFU_DATABASE_URL": url_of(house),
        "TEMPORAL_ADDRESS": engine,
    }
    log = tmp_path / "log"
    started: list[Any] = []

    def start_it(module: str, *arguments: str) -> None:
        started.append(CONTEXT.Process(target=run_module, args=(environment, log, module, *arguments)))
        started[-1].start()

    yield start_it
    for process in started:
        process.terminate()
    for process in started:
        process.join(20)
    assert {process.exitcode for process in started} <= {0, -SIGTERM}, log.read_text()
    assert "ledger.fork" not in log.read_text(), log.read_text()


def run_module(environment: dict[str, str], log: Path, module: str, *arguments: str) -> None:
    """`python -m module …` in a process that has loaded our code before, which would take each of them a second."""
    for name in [name for name in os.environ if name.startswith(("KEFU_", "TEMPORAL_"))]:
        del os.environ[name]
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [module, *arguments]
    sys.dont_write_bytecode = False  # the sandbox loads workflow code for every case
    runpy.run_module(module, run_name="__main__")


@pytest.fixture
async def doors(start, house: House, engine: str) -> AsyncIterator[list[AsyncClient]]:
    """Two workers, two relays and two APIs. Gives the doors of the latter."""
    await connected(engine, house)
    ports = [free_port() for _ in range(2)]
    for port in ports:
        start("worker")
        start("starter", "relay")
        start("starter", "api", "--port", str(port))
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_door(port)) for port in ports]


@asynccontextmanager
async def open_door(port: int) -> AsyncIterator[AsyncClient]:
    """The API at a port, as the specialist meets it, once it answers."""
    async with AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"X-Kefu-Actor": "lin"}, timeout=20) as client:

        async def answers() -> bool:
            try:
                return (await client.get("/health")).status_code == 200
            except ConnectError:
                return False

        await eventually(answers, within=30)
        yield client


async def handle_complaint(house: House, doors: list[AsyncClient], n: int) -> str:
    """One complaint through both doors: opened at both at once; its forms at one, at both, or left in the ledger by a door that died."""
    body = facts(f"OA-{n}").model_dump(mode="json", context=LEDGER, exclude_none=True)
    answers = await asyncio.gather(*(sent(door, "/api/cases/complaint", body) for door in doors))
    assert len({answer.json()["case"] for answer in answers}) == 1
    case = answers[0].json()["case"]
    for at, (form, fields) in enumerate(way_of(n).items(), n):
        key = f"{case}-{form}"
        if at % 3 == 0:
            model = COMPLAINT.submittable[form].model_validate(fields)
            lin = house.people.person("lin")
            left = partial(door_of(house).hand_in, COMPLAINT, case, model, lin, key=key)
            await asyncio.to_thread(patiently, left)
        else:
            at_doors = doors if at % 3 == 1 else [doors[n % 2]]
            path = f"/api/cases/complaint/{case}/{form}"
            await asyncio.gather(*(sent(door, path, fields, key) for door in at_doors))
        await eventually(partial(is_decided, house, key), within=30)
    return case


async def sent(door: AsyncClient, path: str, body: dict[str, Any], key: str | None = None) -> Response:
    """Send it until the ledger is not busy: 503 says that nothing was taken."""
    answer = await door.post(path, json=body, headers={"Idempotency-Key": key} if key else {})
    while answer.status_code == 503:
        answer = await door.post(path, json=body, headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code in (200, 201, 202), answer.text
    return answer


def is_decided(house: House, key: str) -> bool:
    return bool(rows(house, SubmissionRow, SubmissionRow.id == key, SubmissionRow.state == "decided"))


async def test_two_workers_two_relays_and_two_apis_handle_thirty_complaints_side_by_side(
    house: House, engine: str, doors: list[AsyncClient]
):
    places = asyncio.Semaphore(6)

    async def handled(n: int) -> str:
        async with places:
            return await handle_complaint(house, doors, n)

    cases = await asyncio.gather(*(handled(n) for n in range(CASES)))
    client = await connected(engine, house)
    for case in cases:
        await eventually(lambda case=case: has_ended(client, case))
    assert len(set(cases)) == len(rows(house, CaseRow, CaseRow.state == "archived")) == CASES
    sent = Counter((row.case_id, row.form) for row in rows(house, SubmissionRow, SubmissionRow.state == "decided"))
    assert sent == Counter((case, form) for n, case in enumerate(cases) for form in ("open", *way_of(n)))
    done = Counter((row.case_id, row.task) for row in rows(house, EventRow, EventRow.kind == "done"))
    assert done == Counter((case, task) for case in cases for task in (*STEP_BY_STEP, "completion"))
    assert sorted(row.case_id for row in rows(house, ArchiveRow)) == sorted(cases)
    assert {row.kind for row in rows(house, EventRow)} == {"opened", "owed", "done", "noted", "archived"}, (
        "nobody was reminded"
    )


async def has_ended(client: Client, case: str) -> bool:
    return (await client.get_workflow_handle(case).describe()).status is WorkflowExecutionStatus.COMPLETED


def cursor(*parts: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
