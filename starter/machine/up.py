"""`kefu up`: everything on one machine, as child processes that one supervisor starts in order, keeps alive and stops."""

import asyncio
import errno
import fcntl
import http.client
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic

import structlog
import typer
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.service import RPCError

from activities import schema
from activities.keys import MissingKey
from models.organisation import Who
from models.people import Role
from models.words import LANGUAGES, say
from settings import TASK_QUEUE, House, Settings
from starter import customers
from starter import sample as made_up
from starter.docket import Docket
from starter.front import Front
from starter.machine.server import HOST, NAMESPACE, EmbeddedServer, NoServer, find_binary
from starter.machine.supervisor import GRACE, PROBE_EVERY, PROBE_WITHIN, Part, Supervisor, Trouble
from starter.relay import Relay
from starter.submissions import Submissions

SHOWN_OF_A_ROLE = 8

CLUSTER_VARIABLES = (
    *("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY", "TEMPORAL_TLS", "TEMPORAL_PROFILE"),
    *("TEMPORAL_CONFIG_FILE", "TEMPORAL_CODEC", "TEMPORAL_GRPC_META"),
)
"""How the names of Temporal's own connection settings begin."""

OUR_FILES = ("up.lock", "keys", "ledger.db", "directory.toml", "temporal.db")

log = structlog.get_logger()


async def up(settings: Settings, *, sample: bool, port: int) -> int:
    """Run everything on one machine until a signal. The exit code: 0 when told to stop, 1 when something did not work."""
    settings = settings.model_copy(update={"data": settings.data.resolve(), "port": port})
    before = os.umask(0o077)
    try:
        await _up(settings, sample=sample)
    except Trouble as trouble:
        tell(trouble.code, err=True, **trouble.values)
        return 1
    finally:
        os.umask(before)
    tell("stopped")
    return 0


async def _up(settings: Settings, *, sample: bool) -> None:
    house = House(settings)
    engine = EmbeddedServer(settings.data, port=settings.port + 1, ui_port=settings.port + 2)
    refuse_cluster(os.environ)
    binary = _binary()
    own_directory(settings.data)
    with only_one(settings.data):
        await end_leftover(settings.data / "server.pid", engine.file)
        for host, port, part in (
            (settings.host, settings.port, "api"),
            (HOST, engine.port, "server"),
            (HOST, engine.ui_port, "server (UI)"),
        ):
            see_port_free(host, port, part)
        prepare(house)
        house.engine_address.write_text(f"{engine.address}\n")
        supervisor = Supervisor(parts(settings, engine, binary), pids=settings.data)
        await supervisor.run(partial(_open_for_business, house, engine, sample=sample))


def tell(code: str, /, *, err: bool = False, **values: object) -> None:
    """Say a sentence on the terminal, in Chinese, then in English. A terminal that is gone stops nothing."""
    with suppress(OSError):
        for language in LANGUAGES:
            typer.echo(say("up", code, language, **values).rstrip(), err=err)


def parts(settings: Settings, engine: EmbeddedServer, binary: Path) -> list[Part]:
    """The six processes, and one that takes members where that is set, in the order in which they start. Only those that need our settings are given them."""
    for_engine = {name: value for name, value in os.environ.items() if not name.startswith("KEFU_")}
    env = {**os.environ, **_connection(engine), "KEFU_DATA": str(settings.data), "KEFU_PORT": str(settings.port)}
    env.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # the sandbox loads workflow code for every case: compiled once, not each time
    ours = [sys.executable, "-P", "-m"]  # -P: what lies in the current directory is not our code
    takes_members = settings.member_folder or settings.member_source
    members = [Part("members", [*ours, "starter", "members", "watch"], env)] if takes_members else []
    return [
        Part("server", engine.command(binary), for_engine, engine.is_ready, log=settings.data / "server.log"),
        Part("worker", [*ours, "worker"], env, partial(_worker_polls, engine), needs=("server",)),
        Part("relay", [*ours, "starter", "relay"], env),
        Part("watch", [*ours, "starter", "watch"], env),
        *members,
        Part("post", [*ours, "starter", "post"], env),
        Part("api", [*ours, "starter", "api"], env, partial(_api_answers, settings)),
    ]


def _connection(engine: EmbeddedServer) -> dict[str, str]:
    """Our own server and nothing else, whatever the user's Temporal profile says."""
    return {
        "TEMPORAL_ADDRESS": engine.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "TEMPORAL_CONFIG_FILE": os.devnull,
    }


async def _worker_polls(engine: EmbeddedServer, pid: int) -> bool:
    """Whether this very process asks for work; a dead worker stays in the server's list for minutes."""
    try:
        client = await engine.client()
        found = await client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=NAMESPACE,
                task_queue=TaskQueue(name=TASK_QUEUE),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
        )
    except (RuntimeError, RPCError):
        return False
    return any(poller.identity.partition("@")[0] == str(pid) for poller in found.pollers)


async def _api_answers(settings: Settings, _pid: int) -> bool:
    return await asyncio.to_thread(_healthy, settings.host, settings.port)


def _healthy(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_WITHIN)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


async def _open_for_business(house: House, engine: EmbeddedServer, *, sample: bool) -> None:
    settings = house.settings
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    tell(
        "ready",
        api=f"http://{host}:{settings.port}",
        ui=f"http://{HOST}:{engine.ui_port}",
        engine=engine.address,
        data=settings.data,
        people=_who_may_act(house.people),
    )
    if sample:
        try:
            tell("sample_filled", opened=await _fill(house, engine))
        except Exception:
            log.exception("sample.failed")


def _who_may_act(people: Who) -> str:
    """Ids by role, a few of each."""
    lines = []
    for role in Role:
        ids = [person.id for person in people.people if person.role is role]
        if ids:
            more = " …" if len(ids) > SHOWN_OF_A_ROLE else ""
            lines.append(f"    {role.value:<13} {' '.join(ids[:SHOWN_OF_A_ROLE])}{more}")
    return "\n".join(lines)


async def _fill(house: House, engine: EmbeddedServer) -> int:
    os.environ.update(_connection(engine))
    clock = partial(datetime.now, UTC)
    submissions = Submissions(house.database, house.keys, house.people, clock, house.settings.policy)
    docket = Docket(house.database, house.keys, house.people, clock)
    try:
        relay = Relay(docket, await house.temporal(), TASK_QUEUE)
        return await made_up.fill(submissions, docket, relay, house.people)
    finally:
        house.database.close()


# What must hold before


def refuse_cluster(environment: Mapping[str, str]) -> None:
    """Trouble when the environment names a Temporal of its own."""
    for name, value in environment.items():
        if value and name.startswith(CLUSTER_VARIABLES):
            raise Trouble("cluster_meant", name=name)


def _binary() -> Path:
    try:
        return find_binary()
    except NoServer as error:
        raise Trouble("no_server", reason=error) from error


def own_directory(data: Path) -> None:
    """Make the data directory, for its owner only. One that is shared with other things is not ours to close."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if data.stat().st_mode & 0o077:
            names = {entry.name for entry in data.iterdir()}
            if names and names.isdisjoint(OUR_FILES):
                raise Trouble("data_not_ours", data=data)
            data.chmod(0o700)
    except OSError as error:
        raise Trouble("cannot_prepare", reason=error) from error


@contextmanager
def only_one(data: Path) -> Iterator[None]:
    """Hold the data directory. Trouble says who else does. The kernel lets go of it when the process ends, however it ends."""
    with (data / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Trouble("already_running", data=data, pid=file.read().strip() or "?") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


async def end_leftover(pid_file: Path, database: Path) -> None:
    """End a server on our file that has outlived its supervisor, where the system could not do so.

    Call it with the lock held: then nobody else looks after that server, and a second one on the file would ruin it.
    """
    pid = _pid_in(pid_file)
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if pid is None or not await _serves(pid, database):
            return
        log.warning("server.left_over", pid=pid, signal=signum.name)
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
        end = monotonic() + GRACE
        while await _serves(pid, database) and monotonic() < end:  # noqa: ASYNC110 — not our child: nobody tells us
            await asyncio.sleep(PROBE_EVERY)


async def _serves(pid: int, database: Path) -> bool:
    """Whether this process is a server on this file, and not something else that was given the same number."""
    return f"--db-filename {database} " in await _command_of(pid)


def _pid_in(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None


async def _command_of(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    proc = Path("/proc")
    if (proc / "self").exists():
        with suppress(OSError):
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    asked = await asyncio.create_subprocess_exec(
        *("ps", "-o", "command=", "-p", str(pid)), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asked.communicate()
    return said.decode(errors="replace")


def see_port_free(host: str, port: int, part: str) -> None:
    """Trouble when a port cannot be listened on."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Trouble("port_taken", port=port, part=part) from error
            raise Trouble("port_refused", port=port, part=part, reason=error.strerror) from error


def prepare(house: House) -> None:
    """The keys, the directory, and the ledger in this release's schema, with a backup of what was there."""
    try:
        _ = house.people.now, house.make_keys(), house.keys
        backup = schema.upgrade(house.database)
        Front.check(house)
        customers.fill(house.database, house.keys)
        house.database.close()
    except MissingKey as error:
        raise Trouble(error.code, reason=error, **error.values) from error
    except (ValueError, OSError, CommandError, SQLAlchemyError, schema.UnknownSchema) as error:
        raise Trouble("cannot_prepare", reason=str(error).partition("\n")[0]) from error
    if backup:
        tell("backed_up", path=backup)
