"""The one set of functions behind every door: open a case, hand in a form, look. The API and the command line only translate."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session
from temporalio.client import Client

from activities import schema
from activities.database import READERS, once_more
from activities.keys import check as check_keys
from models import policy
from models.audit import AUDIT, AUDIT_LIST
from models.complaint import COMPLAINT
from models.forms import Case, Form
from models.people import Person
from models.tasks import Process
from models.words import LANGUAGES, say
from settings import TASK_QUEUE, House
from starter.attachments.cabinet import Attachments
from starter.calendar.almanac import Almanac
from starter.calendar.keeper import Keeper
from starter.docket import Docket, Receipt
from starter.errands import errands
from starter.expiry.lists import Lists
from starter.expiry.rounds import Rounds
from starter.expiry.standing import heard_of
from starter.library.entries import Shelving
from starter.mail.mailbox import mailbox_name
from starter.members.audits import Audits
from starter.members.receipts import Receipts
from starter.members.watching import SourceWatch
from starter.organisation import posts
from starter.organisation.returning import Returning
from starter.organisation.staffing import Staffing
from starter.post.wording import spoken
from starter.refusals import Conflict, Full, NotFound, Unauthenticated, of_ledger
from starter.relay import Relay
from starter.submissions import Submissions
from starter.views import Views
from starter.watching.bell import Bell
from starter.watching.canary import CanaryWatch
from starter.watching.postwatch import PostWatch
from starter.watching.reconciler import Reconciler
from starter.watching.watch import Watch
from starter.watching.watchdog import Watchdog
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
        self.temporal = temporal
        self.task_queue = task_queue
        self._clock = clock
        self.submissions = Submissions(house.database, house.keys, house.people, clock, house.settings.policy)
        self.audits = Audits(self.submissions, house.keys, house.people, house.calendar, house.settings.policy)
        self.submissions.rooms |= {AUDIT.name: self.audits, AUDIT_LIST.name: self.audits}
        self.submissions.rooms[COMPLAINT.name] = Shelving(house.keys)
        self.receipts = Receipts(house.keys, house.people)
        heard = partial(heard_of, self.submissions, house.people)
        self.receipts.followers.append(heard)
        self.audits.register.followers.append(heard)
        self.docket = Docket(house.database, house.keys, house.people, clock)
        self.relay = Relay(self.docket, temporal, task_queue)
        files = house.settings.data / "attachments"
        self.attachments = Attachments(house.database, house.keys, files, clock, house.calendar)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        """Their own: who waits for the ledger's writer must not hold up who only reads."""
        self._full = False
        """The last submission found the ledger's disk full."""

    @cached_property
    def almanac(self) -> Almanac:
        return Almanac(self.house, self.submissions, self._clock)

    @property
    def errands(self) -> list[Callable[..., Any]]:
        return errands(self.house, self.submissions, self.almanac, self._clock)

    @property
    def rounds(self) -> Rounds:
        return Rounds(self.house, self.submissions, self._clock)

    @property
    def keeper(self) -> Keeper:
        return Keeper(self.almanac, self.house.database, self.house.people, self._clock)

    @property
    def watches(self) -> list[Watch]:
        """Who looks round beside the watchdog and the reconciler."""
        staffing = Staffing(self.house.database, self.house.people, self._clock)
        returning = Returning(self.house.database, self.house.people, self.submissions, PROCESSES, self._clock)
        return [self.keeper, self.rounds, SourceWatch(self.house, self._clock), staffing, returning]

    @property
    def expiry_lists(self) -> Lists:
        return Lists(self.house, self.submissions, self._clock)

    @property
    def watchdog(self) -> Watchdog:
        return Watchdog(self.house.database, self.house.people, self._clock)

    @property
    def post_watch(self) -> PostWatch:
        return PostWatch(self.house.database, self.house.people, self._clock, mailbox_name(self.house))

    @property
    def canary_watch(self) -> CanaryWatch:
        return CanaryWatch(self.house, self.submissions, self._clock)

    @property
    def bell(self) -> Bell:
        return Bell(self.house, self._clock)

    @property
    def reconciler(self) -> Reconciler:
        return Reconciler(self.docket, self.house, self.temporal, self._clock, self.task_queue)

    @staticmethod
    def check(house: House) -> None:
        """What every command needs before it touches anything: settings, people and keys that fit what is there.

        Raises ValueError with the file and the reason.
        """
        policy.check(PROCESSES.values(), house.settings.policy)
        posts.check(house.people.now)
        _ = house.reach
        if house.database.is_sqlite and not Path(str(house.database.url.database)).exists():
            return
        schema.check(house.database)
        check_keys(house.database, house.keys)

    @staticmethod
    def make_room() -> None:
        """Threads for a serving process: so many may wait for the ledger's writer at a time."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="door"))

    def actor(self, id: str | None) -> Person:
        """The acting person. Unauthenticated when the directory does not know him."""
        person = self.house.people.person(id) if id else None
        if person is None:
            raise Unauthenticated("unknown_actor")
        return person

    def now(self) -> datetime:
        """The present instant, UTC."""
        return self._clock()

    def process(self, name: str) -> Process:
        if name not in PROCESSES:
            raise NotFound("not_found")
        return PROCESSES[name]

    async def open(self, process: Process, facts: Case, by: Person, key: str | None = None) -> Receipt:
        """Open a case, or find it open already. The receipt says `pending` when the engine has not taken it in time."""
        return await self.relay.send(
            self._or_refused(lambda holder: self.submissions.open(process, facts, by, key, holder))
        )

    async def hand_in(
        self, process: Process, case: str, form: Form, by: Person, task: str | None = None, key: str | None = None
    ) -> Receipt:
        """Hand a form in. The receipt says `refused` when the desk did not take it, `pending` when it has not decided."""
        task = task and task_of(task)
        named: dict[str, str] = {
            field: task_of(getattr(form, field)) for field in ("task", "rung") if field in type(form).model_fields
        }
        form = form.model_copy(update=named)
        try:
            return await self.relay.send(
                self._or_refused(lambda holder: self.submissions.hand_in(process, case, form, by, task, key, holder))
            )
        except NotFound as error:
            raise await self.look(by, lambda views: views.missing(case)) from error

    def taken(self, receipt: Receipt) -> Receipt:
        """The receipt of what was taken. Conflict, with the desk's reason, where it was refused."""
        if receipt.refusal:
            raise Conflict(receipt.refusal.code, **spoken(receipt.refusal.values, self.house.calendar))
        return receipt

    async def alive(self) -> None:
        """Raises unless the ledger can be read, its schema is the one this release knows, and its disk is not full."""
        await self._reading(self._check_ledger)

    async def look(self, reader: Person, at: Callable[[Views], T]) -> T:
        """Read the ledger as this person may."""
        return await self._reading(lambda: self._look(reader, at))

    async def write(self, act: Callable[[Session, datetime], T]) -> T:
        """Write the ledger: one short transaction, given the present instant, UTC. Begun anew where somebody was faster."""
        return await asyncio.to_thread(self.write_here, act)

    @once_more
    def write_here(self, act: Callable[[Session, datetime], T]) -> T:
        """`write`, in this thread."""
        with self.house.database.writing() as session:
            return act(session, self._clock())

    async def _reading(self, read: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, read)

    def _look(self, reader: Person, at: Callable[[Views], T]) -> T:
        with self.house.database.reading() as session:
            return at(Views(session, self.house.keys, self.house.calendar, reader, self._clock(), self.house.people))

    def _check_ledger(self) -> None:
        schema.check(self.house.database)
        if self._full:
            with self.house.database.writing() as session:  # changes nothing, and needs the disk all the same
                session.connection().execute(text("UPDATE alembic_version SET version_num = version_num"))
            self._full = False

    def _or_refused(self, commit: Callable[[str | None], Receipt]) -> Callable[[str | None], Receipt]:
        """A commit that says as a refusal what the ledger's database fails with."""

        def committed(holder: str | None) -> Receipt:
            try:
                receipt = commit(holder)
            except OperationalError as error:
                refused = of_ledger(error)
                self._full |= isinstance(refused, Full)
                raise refused from error
            self._full = False
            return receipt

        return committed


def task_of(name: str) -> str:
    """The key of a task that somebody calls by its name, or a rung of it: `解决方案（2）` is `solution-2`. What is no name stays as
    it is."""
    task, slash, rung = name.partition("/")
    called, _, nth = task.replace(" (", "（").replace("(", "（").rstrip("）)").partition("（")
    forms = [form for process in PROCESSES.values() for form in process.submittable]
    keys = {say("form", form, language): form for form in forms for language in LANGUAGES}
    return keys[called] + (f"-{nth}" if nth else "") + slash + rung if called in keys else name
