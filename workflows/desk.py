"""The one idea every process here is made of: a role owes a form to a case by a time; if it does not come, a ladder of people hears about it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from activities.ledger import Ledger
from models.acts import Closed, EveryCase
from models.entries import Because
from models.forms import Bundle, Form
from models.people import Role
from models.promises import Promise
from models.tasks import OPENING, REOPENING, C, Opened, Outcome, P, Process, Refusal, Submission
from workflows.exits import Again, Exits, Kept, Left, Stretch
from workflows.journal import Journal, in_ledger
from workflows.order import Order
from workflows.owed import F, Owed
from workflows.tasks import Tasks

COMPLETED = "completed"
HISTORY = "history"


class Desk:
    """Base of every workflow: what its case owes, the clocks, and the one door forms are handed in through.

    A case decides in the order things were recorded. One turn at a time, it fires what was planned before a
    submission, takes the submission, lets `run()` go on, and carries what happened to the ledger in one transaction.
    """

    process: ClassVar[Process]

    def __init__(self) -> None:
        self._journal = Journal()
        self._tasks = Tasks(self._journal)
        self._order = Order(self.process, self._tasks, self.objection)
        self._exits = Exits()
        self._ahead: list[Form] = []  # forms of a bundle whose tasks are still to come
        self._outcomes: dict[str, Outcome] = {}
        self._past: list[Submission] = []  # what was decided before this run and is still to be recalled
        self._entered_at: datetime | None = None
        self._turn = asyncio.Lock()
        self._cycle = 1
        self._kept = False
        self._closed = False
        self._reopened = 0
        self._over = False

    # For run()

    @asynccontextmanager
    async def until_ended(self, opened: Opened[C, P]) -> AsyncIterator[None]:
        """Open the case; on leaving, archive it where `until_archived` has not."""
        opening = Submission(id=opened.submission, at=opened.at, by=opened.by, role=opened.role, form=OPENING)
        self._outcomes[opening.id] = Outcome()
        self._journal.bears(opening)
        self._journal.knows(opened.case)
        self._journal.opened(quiet=self.process.quiet)
        self._past, self._entered_at = opened.past, opened.entered_at
        self._cycle = opened.cycle
        clock = asyncio.create_task(self._keep_time())
        clock.add_done_callback(self._note_breakage)
        async with self.until_archived():
            yield
        self._over = True
        await workflow.wait_condition(lambda: clock.done() and workflow.all_handlers_finished())
        clock.result()

    @asynccontextmanager
    async def until_archived(self) -> AsyncIterator[None]:
        """On leaving, by its end or a side exit, drop what is still owed and archive the case, unless it is closed, or handled
        once more."""
        try:
            with self._exits.of_case():
                yield
        except Again:
            return
        if self._closed:
            return
        because = self._exits.because or COMPLETED
        self.drop(*self._tasks, because=because)
        self._journal.closed(because, nth=self._reopened + 1 if self._reopened else None)
        self._closed = True

    async def is_open(self) -> bool:
        """Whether there is something to handle: at first, and where it was opened again. Of an archived case that is known when
        this run begins, or while it ends: no run waits for it, which would stay in the engine for nothing."""
        if self._closed:
            await workflow.wait_condition(lambda: not self._closed or (self._kept and workflow.all_handlers_finished()))
        return not self._closed

    @asynccontextmanager
    async def until_left(self) -> AsyncIterator[Stretch]:
        """A stretch that `leave` ends early, at whatever await it stands: what it owed is dropped, what comes after it is not."""
        stretch = Stretch()
        try:
            with self._exits.of_stretch():
                yield stretch
        except Left as left:
            stretch.over_at = self.instant
            self.drop(*(owed for owed in self._tasks if not left.keeps(owed)), because=left.because)

    def owe(
        self,
        owner: Role,
        form: type[F],
        promise: Promise,
        since: datetime,
        after: type[Form] | None = None,
        unit: str | None = None,
        by_itself: bool = False,
        instead_of: Owed[F] | None = None,
    ) -> Owed[F]:
        """Open a task. Its clock runs from `since`, whoever waits; it may be handed in once `after` was, in this task's time.

        `unit` says which of several play the role: a department, another store. A task that is owed `by_itself` is
        closed by `met`, and is on nobody's list. One that is owed `instead_of` another climbs on where that one stood.
        """
        because = Because.of(promise, self._journal.anchor(since), since)
        owed = Owed(self, self._tasks.next_key(form), form, promise, because, after)
        if instead_of:
            owed.climbs_on_from(instead_of)
        self._tasks.add(owed, owner, unit, by_itself=by_itself)
        for ready in [form for form in self._ahead if isinstance(form, owed.form)]:
            self._ahead.remove(ready)
            self._close(owed, ready)
        return owed

    def resume(
        self, owner: Role, form: type[F], promise: Promise, since: datetime, after: type[Form] | None = None
    ) -> Owed[F]:
        """Owe, or go on with what was owed before under this promise since then: what was done stays done, what was moved
        stays moved, and who heard does not hear again."""
        before = self._tasks.latest(form, promise.name, since)
        if before and not before.withdrawn:
            return before
        if before and after and self._tasks.was_handed_in(after, before.owed_at):
            after = None  # nothing is missing any more
        return self.owe(owner, form, promise, since, after, instead_of=before)

    async def ask(
        self, owner: Role, form: type[F], promise: Promise, since: datetime, after: type[Form] | None = None
    ) -> F:
        """Owe, then wait for the form."""
        return await self.owe(owner, form, promise, since, after)

    def drop(self, *owed: Owed[Any], because: str) -> None:
        """Withdraw tasks that nobody owes any more; their ladders end."""
        self._tasks.withdraw(*owed, because=because)

    def met(self, *owed: Owed[Any]) -> None:
        """Close tasks whose promise was kept by what has just been handed in."""
        self._tasks.met(*owed)

    def tell(self, role: Role, what: str, person: str | None = None, task: str | None = None) -> None:
        """A notice without a clock, to whoever plays a role, or to a person; of a task, where it is about one."""
        self._journal.told(what, role, person, task)

    def note(self, what: str, taken_for: str | None = None, about: str | None = None) -> None:
        """A line in the timeline; of what kind the case is from now on, and the employee it turns out to be about."""
        self._journal.noted(what, taken_for, about)

    def send(self, to: str, form: Form) -> None:
        """Hand a form in to another case of this process, once what happened here is in the ledger."""
        self._journal.sent(to, form)

    def begin_cycle(self) -> int:
        """The case is handled once more. Returns which time it is."""
        self._cycle += 1
        self._journal.began_cycle(self._cycle)
        return self._cycle

    def end(self, because: str) -> None:
        """Leave by a side exit, at whatever await `run()` stands."""
        self._exits.end(because)

    def leave(self, because: str, keeping: Kept = ()) -> None:
        """Leave the stretch that `until_left` marks, `keeping` what is owed of these forms, and these tasks.

        The case closes for this reason once the rest is done.
        """
        assert self.may_leave
        self._exits.leave(because, keeping)

    @property
    def may_leave(self) -> bool:
        """Whether `run()` is in such a stretch, and not on its way out of it."""
        return self._exits.may_leave

    def move(self, *tasks: Owed[Any], to: datetime, allowed: Form | None = None) -> None:
        """Set another due time, as what was just handed in wants it, where somebody above had `allowed` it."""
        self._tasks.move(*tasks, to=to, allowed=allowed)

    def due_tasks(self) -> list[Owed[Any]]:
        """Every open task."""
        return [owed for owed in self._tasks if owed.is_open]

    def open(self, form: type[F]) -> list[Owed[F]]:
        """The open tasks of a form, in the order in which they were owed."""
        return self._tasks.open(form)

    # For the process to say

    def follow(self, form: Form) -> None:
        """A form or an act was taken: what it starts besides what `run()` waits for."""

    @property
    def is_over(self) -> bool:
        """Whether only a closing form, or others, are waited for: who is back then has it handled once more."""
        return False

    def reopened(self, form: Form) -> None:
        """What was archived, or over, is open again with this form: what `run()` begins with, once more."""

    def objection(self, form: Form, role: Role) -> Refusal | None:
        """What the process has against a form that the desk would take: authority, mostly."""
        return None

    @property
    def is_urgent(self) -> bool:
        """Whether every hour counts, on duty or not."""
        return False

    def every(self, form: type[F]) -> list[Owed[F]]:
        """The tasks of a form, whatever became of them, in the order in which they were owed."""
        return self._tasks.every(form)

    def answers(self, form: type[F]) -> list[F]:
        """Every form of a kind that was handed in, in order."""
        return self._tasks.answers(form)

    @property
    def instant(self) -> datetime:
        """When what the desk is deciding now was recorded."""
        return self._journal.cause.at

    async def wait_for(self, owed: Owed[F]) -> F:
        """The form of a task, however late; or the way out that the case takes meanwhile."""
        while owed.answer is None and not owed.met:
            self._exits.take()
            await workflow.wait_condition(lambda: owed.answer is not None or owed.met or self._exits.is_open)
        return cast(F, owed.answer)

    # The door

    @workflow.update
    async def submit(self, submission: Submission) -> Outcome:
        """Decide a submission; returns once the ledger shows it. A known id gets its old outcome."""
        await workflow.wait_condition(lambda: self._kept)  # a rebuilt case first recalls what it has decided
        if submission.form == OPENING:
            return self._outcomes.get(submission.id) or Outcome(refused=Refusal(code="already_open"))
        async with self._turn:
            if submission.id not in self._outcomes:
                await self._fire_before(submission.at)
                await self._take(submission)
        return self._outcomes[submission.id]

    @submit.validator
    def _may_be_taken(self, submission: Submission) -> None:
        if submission.id in self._outcomes or submission.form == OPENING or not self._kept:
            return
        if refused := self._objection(submission):
            raise ApplicationError(refused.code, refused.model_dump(), type="Refused", non_retryable=True)

    @workflow.query
    def tasks(self) -> list[str]:
        """The open tasks, for operators; screens read the ledger."""
        return [owed.key for owed in self.due_tasks()]

    @workflow.query
    def decided(self) -> list[str]:
        """The submissions it has decided, for the reconciler."""
        return list(self._outcomes)

    # Deciding

    async def _take(self, submission: Submission) -> None:
        if submission.id in self._outcomes:
            return
        refused = self._objection(submission)
        self._outcomes[submission.id] = Outcome(refused=refused)
        if refused:
            self._journal.refused(submission.id, refused)
            return
        self._journal.bears(submission)
        form = self.process.form_of(submission)
        assert form is not None
        match form:
            case _ if isinstance(form, EveryCase):
                self._tasks.take(form)
            case Closed():
                self.end(HISTORY)
            case _ if submission.form == REOPENING and (self._closed or self.is_over):
                self._reopen(form)
            case Bundle():
                self._ahead = form.then()
                for part in form.now():
                    self._close(self.open(type(part))[0], part)
            case _ if self.process.is_act(form):
                self.follow(form.stamped(self._journal.stamp))
            case _:
                task = submission.task and self._tasks[self.process.key_now(submission.task)]
                self._close(task or self.open(type(form))[0], form)
        await self._journal.carry()
        self._ahead = []  # what did not come up with its bundle closes nothing later

    def _objection(self, submission: Submission) -> Refusal | None:
        if self._closed and (self._over or submission.form != REOPENING):
            return Refusal(code="case_closed")
        return self._order.objection(submission)

    def _close(self, owed: Owed[Any], form: Form) -> None:
        self._tasks.close(owed, form)
        self.follow(form)

    def _reopen(self, form: Form) -> None:
        self._journal.knows(form)
        self._reopened += 1
        self._exits.shut()
        if not self._closed:
            self._exits.lead_back()
        self._closed = False
        self._journal.reopened(self._reopened)
        self.reopened(form.stamped(self._journal.stamp))

    # Clocks

    async def _keep_time(self) -> None:
        """Sleep until the next rung of any task, fire it, and so on until the case is closed."""
        while True:
            async with self._turn:
                await self._journal.carry()
                await self._recall()
                self._kept = True
            if self._over:
                return
            rung = self._next_rung()
            asleep = rung[0] - workflow.now() if rung else None
            try:
                await workflow.wait_condition(
                    lambda rung=rung: self._over or self._next_rung() != rung,  # type: ignore[misc]
                    timeout=max(asleep, timedelta(0)) if asleep is not None else None,
                )
            except TimeoutError:
                async with self._turn:
                    await self._fire_before(workflow.now() + timedelta.resolution)

    async def _recall(self) -> None:
        """Take what was decided before this run began, and with it what was planned in between."""
        for submission in self._past:
            await self._fire_before(submission.at)
            await self._take(submission)
        self._past = []

    def _next_rung(self) -> tuple[datetime, str, int] | None:
        """When the next rung of all tasks is planned, and which; the generation tells a moved one from the one before."""
        return min(((at, owed.key, owed.generation) for owed in self._tasks if (at := owed.next_rung_at)), default=None)

    async def _fire_before(self, instant: datetime) -> None:
        """Fire every rung planned before an instant, in their order, taking first what was recorded before each."""
        while not self._closed and (rung := self._next_rung()) and rung[0] < instant:
            planned_at, key, _ = rung
            owed = self._tasks[key]
            foreign = bool(self._past) and self._entered_at is not None and planned_at < self._entered_at
            due = owed.due_rung(
                case=workflow.info().workflow_id,
                now=planned_at if foreign else max(workflow.now(), planned_at),
                silent=foreign,
                urgent=self.is_urgent,
                known=list(self._outcomes),
            )
            fired = await in_ledger(Ledger.fire, due)
            if fired.at:
                owed.fired(due, fired)
            for submission in fired.earlier:  # and between them, too, what was planned comes first
                await self._fire_before(submission.at)
                await self._take(submission)

    def _note_breakage(self, clock: asyncio.Task[None]) -> None:
        """An exception in a background task is silent in asyncio: hand it to whoever waits in `run()`."""
        if not clock.cancelled():
            self._exits.broken = clock.exception()
