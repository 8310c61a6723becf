"""The one idea every process here is made of: a role owes a form to a case by a time; if it does not come, a ladder of people hears about it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, FailureError

from activities.ledger import Ledger
from models.acts import Accept, Acknowledge, Closed, EveryCase, Extend, HandOver, Reassign
from models.entries import (
    Acknowledged,
    AnyEntry,
    Because,
    CaseClosed,
    CaseOpened,
    CaseReopened,
    Change,
    CycleBegun,
    DueRung,
    Noted,
    Recording,
    Sent,
    TaskDone,
    TaskMoved,
    TaskOwed,
    TaskReassigned,
    TaskWithdrawn,
    Told,
)
from models.forms import Bundle, Form, Stamp
from models.people import Role
from models.promises import Promise
from models.tasks import OPENING, REOPENING, C, Opened, Outcome, P, Process, Refusal, Submission
from workflows.owed import Ended, F, Kept, Left, Owed, Stretch

COMPLETED = "completed"
CANCELLED = "cancelled"
HISTORY = "history"


class Desk:
    """Base of every workflow: what its case owes, the clocks, and the one door forms are handed in through.

    A case decides in the order things were recorded. One turn at a time, it fires what was planned before a
    submission, takes the submission, lets `run()` go on, and carries what happened to the ledger in one transaction.
    """

    process: ClassVar[Process]

    def __init__(self) -> None:
        self._owed: dict[str, Owed[Any]] = {}
        self._ahead: list[Form] = []  # forms of a bundle whose tasks are still to come
        self._offers: dict[str, str] = {}  # tasks that their owners would give to somebody
        self._outcomes: dict[str, Outcome] = {}
        self._anchors: dict[datetime, str] = {}
        self._refused: dict[str, Refusal] = {}  # what the ledger does not know yet
        self._journal: list[AnyEntry] = []  # what happened and is not in the ledger yet
        self._cause: Submission
        self._past: list[Submission] = []  # what was decided before this run and is still to be recalled
        self._entered_at: datetime | None = None
        self._turn = asyncio.Lock()
        self._ended: str | None = None
        self._left: str | None = None
        self._keeping: Kept = ()
        self._because: str | None = None
        self._leavable = False
        self._cycle = 1
        self._broken: BaseException | None = None
        self._kept = False
        self._closed = False
        self._reopened = 0
        self._over = False

    # For run()

    @asynccontextmanager
    async def until_ended(self, opened: Opened[C, P]) -> AsyncIterator[None]:
        """Open the case; on leaving, archive it where `until_archived` has not."""
        self._cause = Submission(id=opened.submission, at=opened.at, by=opened.by, role=opened.role, form=OPENING)
        self._outcomes[opened.submission] = Outcome()
        self._anchors = {opened.at: OPENING}
        self._anchors |= {when: name for name, when in opened.case if isinstance(when, datetime)}
        self._journal.append(CaseOpened(quiet=self.process.quiet, **self._by))
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
        """On leaving, by its end or a side exit, drop what is still owed and archive the case, unless it is closed."""
        try:
            yield
        except Ended as ended:
            self._because = ended.because
        except asyncio.CancelledError:  # an operator's cancel ends the case here as it does in the engine
            self._ended = CANCELLED
        if self._closed:
            return
        because = self._ended or self._because or COMPLETED
        self.drop(*self._owed.values(), because=because)
        nth = self._reopened + 1 if self._reopened else None
        self._journal.append(CaseClosed(because=because, nth=nth, **self._by))
        self._closed = True

    async def is_open(self) -> bool:
        """Whether there is something to handle: at first; and where the case was archived, when it was opened again before this
        run began, or while it ends. No run waits for that: it would stay in the engine for nothing."""
        if self._closed:
            await workflow.wait_condition(lambda: not self._closed or (self._kept and workflow.all_handlers_finished()))
        return not self._closed

    @asynccontextmanager
    async def until_left(self) -> AsyncIterator[Stretch]:
        """A stretch that `leave` ends early, at whatever await it stands: what it owed is dropped, what comes after it is not."""
        stretch = Stretch()
        self._leavable, self._because = True, None
        try:
            yield stretch
        except Left as left:
            self._because, self._left = left.because, None
            stretch.over_at = self.instant
            self.drop(*(owed for owed in self._owed.values() if not owed.is_kept(left.keeping)), because=left.because)
        finally:
            self._leavable = False

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
        nth = sum(owed.form is form for owed in self._owed.values()) + 1
        because = Because(
            promise=promise.name,
            basis=promise.basis,
            anchor=self._anchors.get(since, "date"),
            anchored_at=since,
            within=promise.within,
            by=promise.by,
            counted="calendar" if promise.by else "elapsed",
        )
        owed = Owed(self, form.form if nth == 1 else f"{form.form}-{nth}", form, promise, because, after)
        if instead_of:
            owed.climbs_on_from(instead_of)
        self._owed[owed.key] = owed
        self._journal.append(
            TaskOwed(
                task=owed.key,
                form=form.form,
                owner=owner,
                unit=unit,
                by_itself=by_itself,
                due_at=owed.due,
                because=owed.because,
                after=after.form if after else None,
                rungs=owed.armed(),
                **self._by,
            )
        )
        for ready in [form for form in self._ahead if isinstance(form, owed.form)]:
            self._ahead.remove(ready)
            self._close(owed, ready)
        return owed

    def resume(
        self, owner: Role, form: type[F], promise: Promise, since: datetime, after: type[Form] | None = None
    ) -> Owed[F]:
        """Owe, or go on with what was owed before under this promise since then: what was done stays done, what was moved
        stays moved, and who heard does not hear again."""
        clock = (form, promise.name, since)
        owed = (owed for owed in reversed(self._owed.values()) if owed.clock == clock)
        before = next(owed, None)
        if before and not before.withdrawn:
            return before
        if before and after and self._was_handed_in(after, before.owed_at):
            after = None  # nothing is missing any more
        return self.owe(owner, form, promise, since, after, instead_of=before)

    async def ask(
        self, owner: Role, form: type[F], promise: Promise, since: datetime, after: type[Form] | None = None
    ) -> F:
        """Owe, then wait for the form."""
        return await self.owe(owner, form, promise, since, after)

    def drop(self, *owed: Owed[Any], because: str) -> None:
        """Withdraw tasks that nobody owes any more; their ladders end."""
        for task in owed:
            if task.is_open:
                task.withdrawn = True
                self._journal.append(TaskWithdrawn(task=task.key, because=because, **self._by))

    def met(self, *owed: Owed[Any]) -> None:
        """Close tasks whose promise was kept by what has just been handed in."""
        for task in owed:
            if task.is_open:
                task.met = True
                self._journal.append(TaskDone(task=task.key, **self._by))

    def tell(self, role: Role, what: str, person: str | None = None, task: str | None = None) -> None:
        """A notice without a clock, to whoever plays a role, or to a person; of a task, where it is about one."""
        self._journal.append(Told(what=what, to=role, person=person, task=task, **self._by))

    def note(self, what: str, taken_for: str | None = None, about: str | None = None) -> None:
        """A line in the timeline; of what kind the case is from now on, and the employee it turns out to be about."""
        self._journal.append(Noted(what=what, taken_for=taken_for, about=about, **self._by))

    def send(self, to: str, form: Form) -> None:
        """Hand a form in to another case of this process, once what happened here is in the ledger."""
        outline = form.model_dump(mode="json", exclude_none=True)
        self._journal.append(Sent(to=to, form=form.form, outline=outline, **self._by))

    def begin_cycle(self) -> int:
        """The case is handled once more. Returns which time it is."""
        self._cycle += 1
        self._journal.append(CycleBegun(cycle=self._cycle, **self._by))
        return self._cycle

    def end(self, because: str) -> None:
        """Leave by a side exit, at whatever await `run()` stands."""
        self._ended = because

    def leave(self, because: str, keeping: Kept = ()) -> None:
        """Leave the stretch that `until_left` marks, `keeping` what is owed of these forms, and these tasks.

        The case closes for this reason once the rest is done.
        """
        assert self.may_leave
        self._left, self._keeping = because, keeping

    @property
    def may_leave(self) -> bool:
        """Whether `run()` is in such a stretch, and not on its way out of it."""
        return self._leavable and self._left is None and self._ended is None

    def move(self, *tasks: Owed[Any], to: datetime, allowed: Form | None = None) -> None:
        """Set another due time, as what was just handed in wants it, where somebody above had `allowed` it."""
        for task in tasks:
            self._move(task, to, allowed)

    def due_tasks(self) -> list[Owed[Any]]:
        """Every open task."""
        return [owed for owed in self._owed.values() if owed.is_open]

    def open(self, form: type[F]) -> list[Owed[F]]:
        """The open tasks of a form, in the order in which they were owed."""
        return [owed for owed in self._owed.values() if owed.form is form and owed.is_open]

    # For the process to say

    def follow(self, form: Form) -> None:
        """A form or an act was taken: what it starts besides what `run()` waits for."""

    def reopened(self, form: Form) -> None:
        """The archived case is open again with this form: what `run()` begins with, once more."""

    def objection(self, form: Form, role: Role) -> Refusal | None:
        """What the process has against a form that the desk would take: authority, mostly."""
        return None

    @property
    def is_urgent(self) -> bool:
        """Whether every hour counts, on duty or not."""
        return False

    def every(self, form: type[F]) -> list[Owed[F]]:
        """The tasks of a form, whatever became of them, in the order in which they were owed."""
        return [owed for owed in self._owed.values() if owed.form is form]

    def answers(self, form: type[F]) -> list[F]:
        """Every form of a kind that was handed in, in order."""
        return [owed.answer for owed in self.every(form) if owed.answer]

    @property
    def instant(self) -> datetime:
        """When what the desk is deciding now was recorded."""
        return self._cause.at

    async def wait_for(self, owed: Owed[F]) -> F:
        """The form of a task, however late; or the way out that the case takes meanwhile."""
        while owed.answer is None and not owed.met:
            if self._broken:
                raise self._broken
            if self._ended:
                raise Ended(self._ended)
            if self._left:
                raise Left(self._left, self._keeping)
            await workflow.wait_condition(
                lambda: owed.answer is not None or owed.met or bool(self._ended or self._left or self._broken)
            )
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
        return [key for key, owed in self._owed.items() if owed.is_open]

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
            self._refused[submission.id] = refused
            return
        self._cause = submission
        self._anchors[submission.at] = submission.form
        form = self._form_of(submission)
        assert form is not None
        match form:
            case Extend(task=key, due_at=due_at):
                self._move(self._owed[key], due_at)
            case Reassign(task=key, person=person):
                self._reassign(key, person)
                self._journal.append(Told(what="assigned", to=Role.OWNER, person=person, task=key, **self._by))
            case HandOver(task=key, person=person):
                self._offers[key] = person
                self._journal.append(Told(what="offered", to=Role.OWNER, person=person, task=key, **self._by))
            case Accept(task=key):
                self._reassign(key, self._cause.by)
            case Acknowledge(task=key):
                owed = self._owed[key]
                assert owed.breached is not None
                owed.climbs_at = None
                heard = Acknowledged(task=key, generation=owed.generation, rung=owed.breached, **self._by)
                self._journal.append(heard)
            case Closed():
                self.end(HISTORY)
            case _ if self._closed:
                self._reopen(submission, form)
            case Bundle():
                self._ahead = form.then()
                for part in form.now():
                    self._close(self._open_of(part.form)[0], part)
            case _ if self._is_act(type(form)):
                self.follow(form.stamped(self._stamp))
            case _:
                task = submission.task and self.process.key_now(submission.task)
                self._close(self._owed[task or self._open_of(form.form)[0].key], form)
        await self._settle()
        self._ahead = []  # what did not come up with its bundle closes nothing later

    def _objection(self, submission: Submission) -> Refusal | None:
        """What stands against a submission now: order and openness. The door has validated the form and the sender."""
        if self._closed and (self._over or submission.form != REOPENING):
            return Refusal(code="case_closed")
        form = self._form_of(submission)
        if form is None:
            return Refusal(code="unknown_form", values={"form": submission.form})
        model = type(form)
        if model is Closed:
            return None
        if isinstance(form, EveryCase):
            return self._objection_to_act(form, submission.by)
        parts = form.now() if isinstance(form, Bundle) else [] if self._is_act(model) else [form]
        task = submission.task and self.process.key_now(submission.task) if model in self.process.forms else None
        against = (self._objection_to_form(part.form, task) or self.objection(part, submission.role) for part in parts)
        return next(filter(None, against), None) or (None if parts else self.objection(form, submission.role))

    def _form_of(self, submission: Submission) -> Form | None:
        """What was sent, by the name its form has now; None where the process has no such form."""
        model = self.process.recordable.get(self.process.name_now(submission.form, submission.outline))
        return model.model_validate(submission.outline, extra="ignore") if model else None

    def _objection_to_act(self, act: EveryCase, by: str) -> Refusal | None:
        owed = self._owed.get(act.task)
        if owed is None:
            return Refusal(code="no_such_task", values={"task": act.task})
        if not owed.is_open:
            return Refusal(code="already_done", values={"task": act.task})
        match act:
            case Accept() if self._offers.get(act.task) != by:
                return Refusal(code="not_offered", values={"task": act.task})
            case Acknowledge() if owed.breached is None:
                return Refusal(code="nothing_to_acknowledge", values={"task": act.task})
            case Extend(due_at=due_at) if due_at <= owed.due:
                return Refusal(code="not_later", values={"task": act.task, "due_at": owed.due.isoformat()})
        return None

    def _objection_to_form(self, form: str, task: str | None) -> Refusal | None:
        of_form = [owed for owed in self._owed.values() if owed.form.form == form and task in (None, owed.key)]
        waiting = [owed for owed in of_form if owed.is_open]
        if not of_form:
            return Refusal(code="not_owed_yet", values={"task": task or form})
        if not waiting:
            return Refusal(code="already_done", values={"task": of_form[-1].key})
        if len(waiting) > 1:
            return Refusal(code="which_task", values={"tasks": ", ".join(owed.key for owed in waiting)})
        before = waiting[0].after
        if before and not self._was_handed_in(before, waiting[0].owed_at):
            return Refusal(code="not_possible_yet", values={"task": waiting[0].key, "before": before.form})
        return None

    def _was_handed_in(self, form: type[Form], since: datetime) -> bool:
        return any(answer.at >= since for answer in self.answers(form))

    def _open_of(self, form: str) -> list[Owed[Any]]:
        return [owed for owed in self._owed.values() if owed.form.form == form and owed.is_open]

    def _close(self, owed: Owed[Any], form: Form) -> None:
        owed.answer = form.stamped(self._stamp)
        self._journal.append(TaskDone(task=owed.key, **self._by))
        self.follow(form)

    def _reopen(self, submission: Submission, form: Form) -> None:
        self._anchors |= {when: name for name, when in form if isinstance(when, datetime)}
        self._reopened += 1
        self._ended = self._left = self._because = None
        self._closed = False
        self._journal.append(CaseReopened(nth=self._reopened, **self._by))
        self.reopened(form.stamped(self._stamp))

    def _is_act(self, model: type[Form]) -> bool:
        return model in (*self.process.acts, *self.process.sent) and not issubclass(model, Bundle)

    @property
    def _stamp(self) -> Stamp:
        return Stamp(by=self._cause.by, role=self._cause.role, at=self._cause.at, submission=self._cause.id)

    def _reassign(self, key: str, person: str) -> None:
        self._offers.pop(key, None)
        self._journal.append(TaskReassigned(task=key, person=person, **self._by))

    def _move(self, owed: Owed[Any], due_at: datetime, allowed: Form | None = None) -> None:
        change = Change(due_before=owed.due, due_at=due_at, by=self._cause.by, submission=self._cause.id)
        if allowed:
            change = change.model_copy(update={"allowed_by": allowed.stamp.by, "allowed": allowed.stamp.submission})
        owed.move(change)
        self._journal.append(
            TaskMoved(
                task=owed.key,
                generation=owed.generation,
                due_at=owed.due,
                because=owed.because,
                rungs=owed.armed(),
                **self._by,
            )
        )
        self._journal.append(Told(what="extended", to=Role.OWNER, task=owed.key, **self._by))

    @property
    def _by(self) -> dict[str, Any]:
        return {"at": self._cause.at, "submission": self._cause.id, "by": self._cause.by, "role": self._cause.role}

    # Clocks

    async def _keep_time(self) -> None:
        """Sleep until the next rung of any task, fire it, and so on until the case is closed."""
        while True:
            async with self._turn:
                await self._settle()
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
        ahead = [(at, key, owed.generation) for key, owed in self._owed.items() if (at := owed.next_rung_at)]
        return min(ahead, default=None)

    async def _fire_before(self, instant: datetime) -> None:
        """Fire every rung planned before an instant, in their order, taking first what was recorded before each."""
        while not self._closed and (rung := self._next_rung()) and rung[0] < instant:
            planned_at, key, generation = rung
            owed = self._owed[key]
            climbs = owed.climbs
            nth = owed.breached if climbs else owed.rung
            assert nth is not None
            told = owed.ladder[nth]
            foreign = bool(self._past) and self._entered_at is not None and planned_at < self._entered_at
            now = planned_at if foreign else max(workflow.now(), planned_at)
            fired = await self._in_ledger(
                Ledger.fire,
                DueRung(
                    case=workflow.info().workflow_id,
                    task=key,
                    generation=generation,
                    rung=nth,
                    tell=told.tell,
                    planned_at=planned_at,
                    now=now,
                    silent=foreign or (told.is_reminder and owed.due <= now),
                    acknowledge=told.acknowledge,
                    urgent=self.is_urgent,
                    hop=owed.hops + 1 if climbs else 0,
                    known=list(self._outcomes),
                ),
            )
            if fired.at and climbs:
                owed.climbs_at, owed.hops = fired.climbs_at, owed.hops + 1
            elif fired.at:
                owed.fired(fired.at, fired.climbs_at, fired.hops)
            for submission in fired.earlier:  # and between them, too, what was planned comes first
                await self._fire_before(submission.at)
                await self._take(submission)

    def _note_breakage(self, clock: asyncio.Task[None]) -> None:
        """An exception in a background task is silent in asyncio: hand it to whoever waits in `run()`."""
        if not clock.cancelled():
            self._broken = clock.exception()

    # The ledger

    async def _settle(self) -> None:
        """Let everything this instant causes happen, then carry it to the ledger in one transaction."""
        await workflow.wait_condition(lambda: True)
        while self._journal:
            recording = Recording(case=workflow.info().workflow_id, entries=self._journal, refused=self._refused)
            self._journal, self._refused = [], {}
            await self._in_ledger(Ledger.record, recording)

    async def _in_ledger(self, method: Any, argument: Any) -> Any:
        """Write locally, which costs one event of history; when that fails for seconds, as an activity that never gives up."""
        try:
            return await workflow.execute_local_activity_method(
                method,
                argument,
                start_to_close_timeout=timedelta(seconds=1),
                schedule_to_close_timeout=timedelta(seconds=3),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=4),
            )
        except FailureError as failure:
            workflow.logger.error("ledger.unreachable", extra={"failure": type(failure).__name__})
            return await workflow.execute_activity_method(
                method,
                argument,
                start_to_close_timeout=timedelta(seconds=5),
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=2)
                ),
            )
