"""The keys: where they come from, which of them the cases need, and how a house changes to another one while its cases run."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr, ValidationError
from sqlmodel import col, select
from temporalio.client import Client

from activities.keys import COLUMN, MissingKey, Need
from activities.people import BadDirectory
from models.complaint import COMPLAINT
from models.complaint.facts import Complaint
from models.complaint.terms import ComplaintPromises
from models.tables import ArchiveRow, CaseRow, SubmissionRow
from settings import TASK_QUEUE, House, Settings
from starter.front import Front
from starter.machine import up
from starter.machine.supervisor import Trouble
from starter.reseal import reseal
from tests.office import Office, connected, eventually, patiently


def a_key(name: str) -> str:
    return f"{name}:{base64.b64encode(name.encode().ljust(32)).decode()}"


OLD, NEW = a_key("old"), a_key("new")
STEPS = (OLD, f"{OLD},{NEW}", f"{NEW},{OLD}", NEW)
"""The rings of a rotation: before it; the new key may read; the new key writes; the old one is gone."""

RECEIVED = datetime.now(UTC)


# Where keys come from


@pytest.mark.parametrize("bad", ["k1:short", f"{OLD},{OLD}", OLD.replace("old:", ":"), "\ufffd", ""])
def test_a_file_of_keys_that_cannot_be_read_is_named_and_not_quoted(tmp_path: Path, bad: str):
    (tmp_path / "keys").write_text(bad, encoding="utf-8")
    with pytest.raises(ValueError, match=str(tmp_path / "keys")) as error:
        _ = House(Settings(data=tmp_path, keys=None)).keys
    assert OLD.partition(":")[2] not in str(error.value)


@pytest.mark.sqlite
def test_a_file_of_keys_as_an_editor_on_windows_leaves_it_is_read(tmp_path: Path):
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbf" + f"{NEW}\r\n{OLD}\r\n".encode())
    ring = House(Settings(data=tmp_path, keys=None)).keys
    assert (ring.writing, ring.reading) == ("new", ["old"])


def test_a_directory_as_an_editor_on_windows_leaves_it_is_read_and_another_is_named(tmp_path: Path):
    house = House(Settings(data=tmp_path))
    _ = house.people.now
    file = tmp_path / "directory.toml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert House(house.settings).people.person("lin")
    file.write_bytes("people = '张'".encode("gb18030"))
    with pytest.raises(BadDirectory, match=r"directory\.toml"):
        _ = House(house.settings).people.now


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[[str], House]:
    """Machines with a ledger in common, each with a directory of its own."""

    def machine(name: str) -> House:
        return House(Settings(data=tmp_path / name, keys=None, database_url=f"sqlite:///{tmp_path}/common.db"))

    return machine


def test_a_common_ledger_is_given_its_key_where_it_is_made_and_no_other_machine_makes_one(elsewhere):
    first, second = elsewhere("first"), elsewhere("second")
    with pytest.raises(ValueError, match="all machines of one ledger need the same keys"):
        _ = second.keys
    up.prepare(first)
    assert (first.settings.data / "keys").stat().st_mode & 0o777 == 0o600
    for act in (up.prepare, Front.check):
        with pytest.raises((Trouble, ValueError)) as refused:
            act(second)
        assert "Copy the file" in str(getattr(refused.value, "values", refused.value))
    assert not (second.settings.data / "keys").exists()
    (second.settings.data / "keys").write_text((first.settings.data / "keys").read_text())
    up.prepare(elsewhere("second"))


def test_migrate_makes_the_key_of_a_new_ledger_and_says_so_once(elsewhere):
    house = elsewhere("first")
    environment = {"KEFU_DATABASE_URL": f"sqlite:///{house.settings.data.parent}/common.db", "LANG": "en"}
    said = [kefu("migrate", "--data", str(house.settings.data), **environment).stdout.decode() for _ in range(2)]
    assert "A key was made" in said[0]
    assert "A key was made" not in said[1]
    Front.check(house)


# The ledger's address


@pytest.mark.parametrize(
    "bad",
    [
        "ledger.db",
        "postgresql://kefu:sesame@db/kefu",
        "mysql://kefu:sesame@db/kefu",
        "postgresql+psycopg://kefu:ses:ame/@db:sesame/kefu",
        "://sesame",
    ],
)
def test_an_address_of_no_ledger_is_refused_and_its_password_is_not_said(bad: str):
    with pytest.raises(ValidationError, match=r"postgresql\+psycopg://user:password@host/database") as error:
        Settings(database_url=SecretStr(bad))
    assert "sesame" not in str(error.value)


def test_a_command_names_the_setting_that_does_not_hold(tmp_path: Path):
    said = kefu("tasks", "--as", "lin", "--data", str(tmp_path), KEFU_DATABASE_URL="postgres://kefu:sesame@db")
    assert (said.returncode, said.stdout) == (1, b"")
    assert said.stderr.startswith(b"KEFU_DATABASE_URL: ")
    assert b"sesame" not in said.stderr


def test_no_address_is_the_file_in_the_data_directory_and_nothing_prints_a_password(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("KEFU_DATABASE_URL", "")
    assert House(Settings(data=tmp_path)).database.url.database == str(tmp_path / "ledger.db")
    house = House(Settings(data=tmp_path, database_url="postgresql+psycopg://kefu:sesame@db/kefu"))
    assert "sesame" not in f"{house!r} {house.settings} {house.settings.model_dump_json()} {house.database.url!r}"
    assert house.database.url.password == "sesame"


def kefu(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command, in an environment of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KEFU_", "TEMPORAL_"))}
    command = (sys.executable, "-m", "starter", *arguments)
    return subprocess.run(command, env=clean | environment, capture_output=True, check=False)


# Which keys the cases need


def seen_with(house: House, ring: str) -> House:
    """The same ledger, as a process with these keys has it."""
    other = House(house.settings.model_copy(update={"keys": SecretStr(ring)}))
    other.__dict__["database"] = house.database
    return other


def facts(number: str) -> Complaint:
    return Complaint.model_validate(
        {
            "form_no": number,
            "kind": "complaint",
            "channel": "oa",
            "received_at": RECEIVED,
            "store": "SH01",
            "content": "起球",
            "customer": {"name": "张小红"},
        }
    )


def at_the_door(house: House) -> Front:
    """A door without an engine."""
    return Front(house, cast(Client, None))


def opened(house: House, number: str, *, first: bool = True) -> str:
    """A case's opening, committed and decided."""
    front = at_the_door(house)
    receipt = front.submissions.open(COMPLAINT, facts(number), front.actor("lin"))
    assert receipt.first is first
    front.docket.decide(receipt.submission, None, "a test")
    return receipt.case


def closed(house: House, number: str) -> str:
    """A case that is archived."""
    case = opened(house, number)
    with house.database.writing() as session:
        row = session.get_one(CaseRow, case)
        row.state, row.closed_at, row.keys = "archived", row.opened_at, house.keys.noted(row.keys)
        sealed = house.keys.seal(b'{"whole": 1}', COLUMN, f"archive/{case}")
        session.add(ArchiveRow(case_id=case, archived_at=row.opened_at, sealed=sealed))
    return case


def noted(house: House) -> dict[str, str]:
    with house.database.reading() as session:
        return {row.number: row.keys for row in session.exec(select(CaseRow))}


def sealed_with(house: House) -> dict[str, set[str]]:
    """The keys of a case's columns, digests included, by its number."""
    found: dict[str, set[str]] = {}
    with house.database.reading() as session:
        for case in session.exec(select(CaseRow)):
            submissions = session.exec(select(SubmissionRow).where(SubmissionRow.case_id == case.id)).all()
            archive = session.exec(select(ArchiveRow).where(ArchiveRow.case_id == case.id)).all()
            marks = [row.digest for row in submissions] + [
                row.sealed[:9].decode("latin1") for row in [*submissions, *archive]
            ]
            found[case.number] = {mark.partition(":")[0] for mark in marks}
    return found


def test_a_case_notes_the_key_of_whoever_seals_something_of_it(house: House):
    old, both, new = (seen_with(house, ring) for ring in (OLD, STEPS[1], STEPS[2]))
    case = opened(old, "A")
    assert noted(house) == {"A": "old"}
    both_front, new_front = at_the_door(both), at_the_door(new)
    assert both_front.docket.next_of(case, "relay") is None
    receipt = both_front.submissions.hand_in(COMPLAINT, case, reply(), both_front.actor("lin"))
    assert noted(house) == {"A": "old"}, "the new key only reads"
    assert new_front.docket.next_of(case, "relay")
    assert noted(house) == {"A": "new,old"}, "the one who delivers seals payloads"
    assert new_front.docket.receipt(receipt.submission).state == "pending"


def reply() -> Any:
    return COMPLAINT.submittable["reply"].model_validate({"content": "已致歉"})


def test_nothing_starts_without_a_key_that_cases_need_and_it_is_said_which_and_why(house: House):
    old = seen_with(house, OLD)
    ids = [opened(old, f"A{n}") for n in range(4)]
    closed(old, "B")
    lacking = seen_with(house, NEW)
    with pytest.raises(MissingKey) as missing:
        Front.check(lacking)
    chinese, english = str(missing.value).splitlines()
    assert chinese.startswith("密钥 old 不在密钥串里：4 件未结工单")
    such_as = ", ".join(f"A{n} {ids[n]}" for n in range(3))
    assert "Key old is not in the key ring: 4 open cases need it" in english
    assert f"): {such_as}; so do the contents of 1 closed ones and of 0 members" in english
    with pytest.raises(Trouble, match="key_missing"):
        up.prepare(lacking)
    for ring in STEPS[:3]:
        Front.check(seen_with(house, ring))


# Turning columns over


def test_columns_are_turned_over_and_say_what_they_said(house: House):
    old = seen_with(house, OLD)
    opened(old, "open")
    case = closed(old, "closed")
    both = seen_with(house, STEPS[2])
    opened(both, "later")
    steps: list[tuple[int, int]] = []
    report = reseal(both, lambda done, total: steps.append((done, total)))
    assert sealed_with(house) == {"open": {"new"}, "closed": {"new"}, "later": {"new"}}
    assert noted(house) == {"open": "new,old", "closed": "new", "later": "new"}, (
        "its history holds what the old one sealed"
    )
    assert (report.turned, steps, report.unreadable) == (3, [(2, 2)], [])
    assert report.others == {"old": Need(open=1, closed=0, such_as=[f"open {case_of(house, 'open')}"])}
    new = seen_with(house, NEW)
    opened(new, "open", first=False)
    with house.database.reading() as session:
        archive = session.get_one(ArchiveRow, case)
    assert json.loads(new.keys.open(archive.sealed, COLUMN, f"archive/{case}")) == {"whole": 1}
    assert reseal(both).turned == 0


def case_of(house: House, number: str) -> str:
    with house.database.reading() as session:
        return session.exec(select(CaseRow.id).where(CaseRow.number == number)).one()


def test_an_archived_case_whose_last_submission_has_no_answer_yet_still_needs_its_keys(house: House):
    """Its worker may have been killed between the ledger and the engine: the case has to end once more, from its history."""
    old = seen_with(house, OLD)
    case = closed(old, "A")
    with house.database.writing() as session:
        session.exec(select(SubmissionRow).where(SubmissionRow.case_id == case)).one().state = "pending"
    both = seen_with(house, STEPS[2])
    assert reseal(both).others["old"] == Need(closed=1)
    at_the_door(both).docket.decide_without_engine(opening_of(house, case), "relay")
    assert reseal(both).others["old"] is None


def opening_of(house: House, case: str) -> str:
    with house.database.reading() as session:
        return session.exec(select(SubmissionRow.id).where(SubmissionRow.case_id == case)).one()


def test_turning_over_goes_on_where_it_was_interrupted(house: House):
    old = seen_with(house, OLD)
    for n in range(50):
        closed(old, f"A{n}")

    def enough(done: int, total: int) -> None:
        assert total == 50
        if done == 40:
            raise KeyboardInterrupt

    both = seen_with(house, STEPS[2])
    with pytest.raises(KeyboardInterrupt):
        reseal(both, enough)
    assert sum(keys == "old" for keys in noted(house).values()) == 10
    report = reseal(both)
    assert (report.turned, report.others) == (20, {"old": None})


def test_a_column_that_does_not_open_is_named_and_stays_and_holds_up_no_other(house: House):
    old = seen_with(house, OLD)
    cases = {number: closed(old, number) for number in ("A", "B")}
    with house.database.writing() as session:
        archive = session.get_one(ArchiveRow, cases["A"])
        archive.sealed = archive.sealed[:-1] + bytes([archive.sealed[-1] ^ 1])
    report = reseal(seen_with(house, STEPS[2]))
    assert (report.turned, report.unreadable) == (3, [cases["A"]])
    assert report.others == {"old": Need(closed=1)}
    assert sealed_with(house) == {"A": {"new", "old"}, "B": {"new"}}


async def test_turning_over_under_people_at_work_loses_nothing_they_send(house: House):
    old, both = seen_with(house, STEPS[1]), seen_with(house, STEPS[2])
    cases = [opened(old, f"A{n}") for n in range(30)]
    fronts = [at_the_door(old), at_the_door(both)]

    def works(front: Front) -> int:
        sent = 0
        for case in cases:
            patiently(partial(front.submissions.hand_in, COMPLAINT, case, reply(), front.actor("lin")))
            again = partial(front.submissions.open, COMPLAINT, facts(f"A{cases.index(case)}"), front.actor("lin"))
            assert not patiently(again).first
            sent += 1
        return sent

    turning = [asyncio.to_thread(reseal, both) for _ in range(2)]
    await asyncio.gather(*(asyncio.to_thread(works, front) for front in fronts), *turning)
    reseal(both)
    assert set(map(frozenset, sealed_with(house).values())) == {frozenset({"new"})}
    with house.database.reading() as session:
        rows = session.exec(select(SubmissionRow).order_by(col(SubmissionRow.recorded_at))).all()
    assert len(rows) == 3 * len(cases)
    for row in rows:
        assert both.keys.matches(row.digest, both.keys.open(row.sealed, COLUMN, f"submission/{row.id}"))


# A rotation, with a worker of its own in every step

STORY_POLICY = '[complaint.intake]\noldest_receipt = "P90D"\nclocks_differ = "PT1M"\n' + "".join(
    f'[complaint.promises.{name}]\nwithin = "{within}"\nbasis = "a story"\nladder = [["PT0S", "manager"]]\n'
    for name, within in (dict.fromkeys(ComplaintPromises.model_fields, "P60D") | {"reply": "PT4S"}).items()
)


@contextmanager
def worker(house: House, ring: str, engine: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python worker.py` with these keys, until it is told to stop."""
    environment = environment_of(house, ring) | {"TEMPORAL_ADDRESS": engine}
    with subprocess.Popen([sys.executable, "-m", "worker"], env=environment, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=20)


def environment_of(house: House, ring: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KEFU_", "TEMPORAL_"))}
    settings = house.settings
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    ours = {"KEFU_DATA": str(settings.data), "KEFU_KEYS": ring, "KEFU_DATABASE_URL": url, "LANG": "en"}
    return clean | ours | {"KEFU_POLICY": str(settings.policy)}


async def keys_in_history(client: Client, case: str) -> set[str]:
    """The keys of everything the engine keeps of a case."""
    history = await client.get_workflow_handle(case).fetch_history()
    found: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            if key := node.get("metadata", {}).get("key") if isinstance(node.get("metadata"), dict) else None:
                found.add(base64.b64decode(key).decode())
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                visit(child)

    visit(json.loads(history.to_json()))
    return found


@asynccontextmanager
async def step(house: House, ring: str, engine: str) -> AsyncIterator[Office]:
    """All have stopped and start with these keys: the doors and the relay here, a worker of its own."""
    house = seen_with(house, ring)
    office = Office(await connected(engine, house), house)
    office.task_queue = TASK_QUEUE
    office.front = Front(house, office.client, office.now)
    office.submissions, office.docket = office.front.submissions, office.front.docket
    office.relay = office.front.relay
    with worker(house, ring, engine):
        yield office


@pytest.mark.timeout(240)
async def test_a_house_changes_its_key_in_three_steps_while_its_cases_run(house: House, engine: str, tmp_path: Path):
    policy = tmp_path / "policy.toml"
    policy.write_text(STORY_POLICY)
    house = seen_with(House(house.settings.model_copy(update={"policy": policy})), OLD)
    received = datetime.now(UTC)
    async with step(house, OLD, engine) as office:
        done = await office.open(form_no="done", received_at=received.isoformat())
        lasting = await office.open(form_no="lasting")
        await office.walk(done)
    async with step(house, f"{OLD},{NEW}", engine) as office:
        await office.hand_in(lasting, "solution", **office.SOLUTION)
        assert await keys_in_history(office.client, lasting) == {"old"}
        assert noted(house) == {"done": "old", "lasting": "old"}
    async with step(house, f"{NEW},{OLD}", engine) as office:
        fresh = await office.open(form_no="fresh")
        await office.hand_in(lasting, "consent", accepted=True)
        await eventually(lambda: office.heard(lasting, "wang") == ["overdue/reply"])
        assert await keys_in_history(office.client, fresh) == {"new"}
        assert await keys_in_history(office.client, lasting) == {"new", "old"}

        with worker(house, NEW, engine) as too_early:
            refused = await asyncio.to_thread(too_early.stderr.read) if too_early.stderr else b""
        assert too_early.returncode == 1
        assert "Key old is not in the key ring: 1 open cases need it (their histories" in refused.decode()
        assert f"lasting {lasting}; so do the contents of 1 closed ones and of 0 members" in refused.decode()
        assert "Key old must stay: the histories of 1 open cases" in await turned_over(house, f"{NEW},{OLD}")
        assert noted(house) == {"done": "new", "lasting": "new,old", "fresh": "new"}
        assert set(map(frozenset, sealed_with(house).values())) == {frozenset({"new"})}
        for form, fields in REST.items():
            await office.hand_in(lasting, form, **fields)
        await eventually(lambda: office.case(lasting).state == "archived")
        assert reseal(office.house).others == {"old": None}
    async with step(house, NEW, engine) as office:
        await office.walk(fresh)
        again = office.commit_opening(form_no="done", received_at=received.isoformat())
        assert (again.case, again.first) == (done, False)
        async with office.api("wang") as wang:
            for case in (done, lasting, fresh):
                assert (await wang.get(f"/api/cases/{case}")).json()["facts"]["customer"]["name"] == "张小红"
    assert noted(house) == {"done": "new", "lasting": "new", "fresh": "new"}


REST: dict[str, dict[str, Any]] = {
    "reply": {"content": "晚了"},
    "execution": {"content": "已寄出"},
    "callback": {"outcome": "satisfied", "satisfaction": 5},
    "record": {"finding": "充绒工艺不良"},
}


async def turned_over(house: House, ring: str) -> str:
    """What `kefu reseal` says."""
    run = await asyncio.to_thread(kefu, "reseal", **environment_of(house, ring))
    assert run.returncode == 0, run.stderr
    return " ".join(run.stdout.decode().split())
