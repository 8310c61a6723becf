"""A storm: five hundred rungs due at once, the workers killed (-9) amid them; every mailbox holds each notice once."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import col, func, select

from activities import schema
from models.complaint.terms import ComplaintPromises
from models.tables import DeadlineRow, NoticeRow, SubmissionRow
from settings import House, Settings
from starter.post.sender import Sender
from tests.conftest import KEYS
from tests.letterbox import MailServer, mail_server, post_of
from tests.office import HOUR, Office, connected, eventually

pytestmark = [pytest.mark.fire, pytest.mark.timeout(400)]

CASES, OWED = 167, ("reply", "solution", "callback")
RUNGS = CASES * len(OWED)
WITHIN = dict.fromkeys(ComplaintPromises.model_fields, "P60D") | dict.fromkeys(OWED, "PT1S")
POLICY = '[complaint.intake]\noldest_receipt = "P90D"\nclocks_differ = "PT1M"\n' + "".join(
    f'[complaint.promises.{name}]\nwithin = "{within}"\nbasis = "a story"\nladder = [["PT0S", "manager"]]\n'
    for name, within in WITHIN.items()
)
HEAR = ("lin", "wang")
PATIENCE = 180.0
"""Seconds that a busy machine may take over all of it."""


@pytest.fixture
async def office(engine: str, tmp_path: Path) -> AsyncIterator[Office]:
    data = tmp_path / "var"
    data.mkdir()
    (data / "reach.toml").write_text('[post]\nwindow = "PT0S"\nmost_an_hour = 100000\n')
    (tmp_path / "policy.toml").write_text(POLICY)
    house = House(Settings(data=data, keys=SecretStr(KEYS), policy=tmp_path / "policy.toml"))
    schema.upgrade(house.database)
    async with Office(await connected(engine, house), house) as office:
        yield office
    house.database.close()


async def worker_of(office: Office) -> asyncio.subprocess.Process:
    environment = os.environ | {
        "KEFU_DATA": str(office.house.settings.data),
        "KEFU_KEYS": KEYS,
        "KEFU_POLICY": str(office.house.settings.policy),
    }
    address = office.client.service_client.config.target_host
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.doomed_worker", address, office.task_queue, "nothing", env=environment
    )


def fired(office: Office) -> int:
    with office.house.database.reading() as session:
        return session.exec(select(func.count()).where(col(DeadlineRow.fired_at).is_not(None))).one()


def undecided(office: Office) -> int:
    with office.house.database.reading() as session:
        return session.exec(select(func.count()).where(SubmissionRow.state == "pending")).one()


async def sending(post: Sender, over: asyncio.Event) -> None:
    while not over.is_set():
        await asyncio.to_thread(post.round)
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 0.2)


async def stormed(office: Office) -> None:
    """Two workers at work; one is killed and another comes, then both are, and one sees it through."""
    relay, at_work = asyncio.create_task(office.relay.run()), [await worker_of(office) for _ in range(2)]
    try:
        for enough, doomed in ((100, 1), (300, 2)):
            await eventually(lambda enough=enough: fired(office) >= enough, within=PATIENCE)
            assert fired(office) < RUNGS, "it was over before anybody was killed"
            for one in at_work[:doomed]:
                one.kill()
                await one.wait()
            at_work = [*at_work[doomed:], await worker_of(office)]
        await eventually(lambda: fired(office) == RUNGS and not undecided(office), within=PATIENCE)
    finally:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay
        for one in at_work:
            one.kill()
            await one.wait()


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


async def test_in_a_storm_with_workers_killed_every_mailbox_holds_each_notice_once(office: Office, mail: MailServer):
    office.organise(**{who: {"channels": [f"mailto:{who}@example.com"]} for who in HEAR})
    received = (office.now() - HOUR).isoformat()
    for _ in range(CASES):
        office.commit_opening(received_at=received)
    over, post = asyncio.Event(), post_of(office, mail)
    room = asyncio.create_task(sending(post, over))
    await stormed(office)
    over.set()
    await room
    post.round()
    with office.house.database.reading() as session:
        told = session.exec(select(NoticeRow.person, NoticeRow.what, NoticeRow.id)).all()
    for who, what in (("wang", "overdue"), ("lin", "breached")):
        assert sum((person, kind) == (who, what) for person, kind, _ in told) == RUNGS
        his = {notice for person, _, notice in told if person == who}
        assert mail.notices(f"{who}@example.com") == dict.fromkeys(his, 1), "each once, and none is missing"
        assert mail.notices(f"{who}@example.com", doubtful=True) == {}
