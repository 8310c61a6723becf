"""The one set of functions behind every door: open a case, hand in a form, look. The API and the command line only translate."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import OperationalError
from sqlmodel import col, select
from temporalio.client import Client

from activities import schema
from models import policy
from models.forms import Case, Form
from models.people import Person
from models.tables import SubmissionRow
from models.tasks import Process
from settings import TASK_QUEUE, House
from starter.refusals import Busy, NotFound, Unauthenticated
from starter.relay import Relay
from starter.submissions import Receipt, Submissions
from starter.views import Views
from workflows import PROCESSES

T = TypeVar("T")
THREADS = 32


class Front:
    """A door of this house. `clock` gives the present instant, UTC; only the tests' stories bring their own."""

    def __init__(
        self,
        house: House,
        temporal: Client,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        task_queue: str = TASK_QUEUE,
    ) -> None:
        self.house = house
        self._clock = clock
        self.submissions = Submissions(house.database, house.keys, house.people, clock, house.settings.policy)
        self.relay = Relay(self.submissions, temporal, task_queue)

    @staticmethod
    def check(house: House) -> None:
        """What every command needs before it touches anything: settings, people and keys that fit what is there.

        Raises ValueError with the file and the reason.
        """
        policy.check(PROCESSES.values(), house.settings.policy)
        _ = house.people
        if house.database.is_sqlite and not Path(str(house.database.url.database)).exists():
            return
        schema.check(house.database)
        with house.database.reading() as session:
            for order in (col(SubmissionRow.recorded_at), col(SubmissionRow.recorded_at).desc()):
                if digest := session.exec(select(SubmissionRow.digest).order_by(order).limit(1)).first():
                    house.keys.require(digest)

    @staticmethod
    def make_room() -> None:
        """Threads for a serving process: those that wait for the ledger's writer must not hold up those that read."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="door"))

    def actor(self, id: str | None) -> Person:
        """The acting person. Unauthenticated when the directory does not know him."""
        person = self.house.people.person(id) if id else None
        if person is None:
            raise Unauthenticated("unknown_actor")
        return person

    def process(self, name: str) -> Process:
        if name not in PROCESSES:
            raise NotFound("not_found")
        return PROCESSES[name]

    async def open(self, process: Process, facts: Case, by: Person, key: str | None = None) -> Receipt:
        """Open a case, or find it open already. The receipt says `pending` when the engine has not taken it in time."""
        return await self.relay.send(_or_busy(lambda holder: self.submissions.open(process, facts, by, key, holder)))

    async def hand_in(
        self, process: Process, case: str, form: Form, by: Person, task: str | None = None, key: str | None = None
    ) -> Receipt:
        """Hand a form in. The receipt says `refused` when the desk did not take it, `pending` when it has not decided."""
        return await self.relay.send(
            _or_busy(lambda holder: self.submissions.hand_in(process, case, form, by, task, key, holder))
        )

    async def alive(self) -> None:
        """Raises unless the ledger can be read and its schema is the one this release knows."""
        await asyncio.to_thread(schema.check, self.house.database)

    async def look(self, reader: Person, at: Callable[[Views], T]) -> T:
        """Read the ledger as this person may."""
        return await asyncio.to_thread(self._look, reader, at)

    def _look(self, reader: Person, at: Callable[[Views], T]) -> T:
        with self.house.database.reading() as session:
            return at(Views(session, self.house.keys, self.house.calendar, reader, self._clock()))


def _or_busy(commit: Callable[[str | None], Receipt]) -> Callable[[str | None], Receipt]:
    def committed(holder: str | None) -> Receipt:
        try:
            return commit(holder)
        except OperationalError as error:
            raise Busy("busy") from error

    return committed
