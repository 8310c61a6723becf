"""The direct complaint (handbook 6.2): reply, solution, consent, execution, callback, record; and what bends it (5.2)."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from temporalio import workflow

from models.complaint import COMPLAINT
from models.complaint.facts import Complaint, Remedy
from models.complaint.forms import (
    Absorb,
    AgreedReply,
    Agreement,
    Amend,
    AskDepartment,
    AskManager,
    Assist,
    Attempt,
    BackAgain,
    Callback,
    Completion,
    Consent,
    Decision,
    Duplicate,
    Execution,
    ExternalReply,
    NoAgreement,
    NoContact,
    Opinion,
    OutOfAuthority,
    Reclassify,
    Record,
    Refer,
    Reply,
    SignOff,
    Solution,
    Supplement,
    Withdraw,
)
from models.complaint.terms import ComplaintPromises, Limit
from models.forms import Form
from models.people import Role
from models.tasks import Opened, Refusal
from workflows.desk import COMPLETED, Desk
from workflows.exits import Left
from workflows.owed import F, Owed

SECOND = 2
THIRD = 3
FOURTH = 4
JUNK = "junk"
OUTSIDE: tuple[type[Form], ...] = (ExternalReply,)
REPLIED_TO = ("complaint", "query")
BEFORE_AGREED = timedelta(hours=2)
"""The manager decides so long before the time that was agreed with the customer."""


class Consented(NamedTuple):
    """What the customer agreed to: when, and how long it may take."""

    at: datetime
    duration: timedelta | None


@workflow.defn(name="complaint")
class ComplaintWorkflow(Desk):
    process = COMPLAINT

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[Attempt] = []
        self.asked_by: dict[str, str] = {}  # who waits for a department's, or the manager's, word
        self.to_be_tried_since: datetime | None = None  # where the manager had it tried again
        self.amendments: list[Amend] = []
        self.beyond_us: dict[datetime, bool] = {}  # by refusal: as it was then, whatever the manager says later
        self.unsorted = True
        self.kinds_before: list[str] = []
        self.taken_for: str | None = None  # where not what it was opened as
        self.first_at: dict[str, datetime] = {}  # who comes to a step again finds its clock as it was
        self.again_since: set[datetime] = set()
        self.ours_since: datetime | None = None  # where a store had answered first
        self.back: BackAgain | None = None  # where the customer is back with what was closed
        self.is_filed = False

    @workflow.run
    async def run(self, opened: Opened[Complaint, ComplaintPromises]) -> None:
        """Handled until it is archived; and once more, where the customer is back with it soon (5.2 E26)."""
        self.case, self.promises = opened.case, opened.promises
        self.kind: str = opened.case.kind
        async with self.until_ended(opened):
            self.heard_at_intake(opened.cycle)
            while await self.is_open():
                async with self.until_archived():
                    await self.handled()

    async def handled(self) -> None:
        """Three clocks run side by side from receipt; nothing is carried out without the customer's consent."""
        promises = self.promises
        while self.is_to_be_sorted():
            async with self.until_left() as handling:
                received_at = await self.received_by_us()
                reply = self.resume(Role.SPECIALIST, Reply, promises.reply, received_at)
                solution = self.resume(Role.SPECIALIST, Solution, promises.solution, received_at)
                callback = self.resume(Role.SPECIALIST, Callback, promises.callback, received_at, after=Execution)

                await self.carried_out(await self.agreed(await solution))
                called = await self.reached(callback)
                while self.is_to_be_handled_again(called):
                    called = await self.handled_again(since=called.at)
                await reply
                handling.over_at = called.at
        if not self.is_filed:
            await self.ask(Role.SPECIALIST, Record, promises.record, since=handling.over_at or self.instant)
        await self.answered(ExternalReply, *self.outliving)  # others wait for these, whatever became of it

    def heard_at_intake(self, cycle: int) -> None:
        """Major ones, and customers who come back: the manager's, the third time the director's (5.2 E26, E35)."""
        if self.bends and self.case.is_major:
            self.tell(Role.MANAGER, "major")
        if self.bends and self.case.earlier:
            self.tell(Role.MANAGER, "back_again")
        if cycle > SECOND:
            self.tell(Role.DIRECTOR, "back_again")

    def reopened(self, form: Form) -> None:
        """The customer is back: fresh clocks from then, headquarters' whoever had it first. The manager hears, the third time
        the director (5.2 E26)."""
        assert isinstance(form, BackAgain)
        self.back, self.ours_since = form, form.came_at
        self.kind = form.kind or self.kind
        self.unsorted, self.is_filed, self.to_be_tried_since = True, False, None
        self.drop(*self.open(Record), because="back_again")
        self.attempts.clear()
        self.kinds_before.clear()
        self.first_at.clear()
        self.comes_along(form)
        if form.about_employee:
            self.note("amended", about=form.about_employee)
        self.tell(Role.MANAGER, "back_again")
        if self.begin_cycle() > SECOND:
            self.tell(Role.DIRECTOR, "back_again")

    def is_to_be_sorted(self) -> bool:
        """Once, and again whenever it is found to be of another kind (5.2 E31)."""
        first_or_again, self.unsorted = self.unsorted, False
        return first_or_again

    def first(self, step: str) -> datetime:
        """When the case first came to a step."""
        return self.first_at.setdefault(step, self.instant)

    async def agreed(self, proposed: Solution) -> Consented:
        """Proposals until the customer agrees to one. After the second refusal, or a demand beyond the specialist, the manager
        says how it goes on."""
        promises, refusals = self.promises, 0
        consent = await self.resume(Role.SPECIALIST, Consent, promises.consent, since=proposed.at)
        while not consent.accepted:
            refusals += 1
            since = consent.at
            if self.asks_the_manager(refusals, consent):
                since = (await self.resume(Role.MANAGER, Decision, promises.decision, since=since)).at
            proposed = await self.resume(Role.SPECIALIST, Solution, promises.new_solution, since=since)
            consent = await self.resume(Role.SPECIALIST, Consent, promises.consent, since=proposed.at)
        return Consented(consent.at, proposed.duration)

    def asks_the_manager(self, refusals: int, refused: Consent) -> bool:
        """Whether so many refused proposals, or more, or what is demanded, are for him to say how it goes on (5.2 E22)."""
        more = self.edition >= FOURTH and (refusals > self.promises.terms.refusals or self.is_beyond_us(refused))
        return self.bends and (more or refusals == self.promises.terms.refusals)

    def is_beyond_us(self, refused: Consent) -> bool:
        """Whether the customer demands what the specialist, who proposes next, might not promise when he refused."""
        may = self.may_promise(refused.demand_amount or Decimal(0), refused.demand_remedy, Role.SPECIALIST)
        return self.beyond_us.setdefault(refused.at, not may)

    async def carried_out(self, agreed: Consented) -> None:
        """Within the span promised to the customer, at once where none was."""
        execution = self.promises.execution.lasting(agreed.duration)
        await self.resume(Role.SPECIALIST, Execution, execution, since=agreed.at)

    async def reached(self, callback: Owed[Callback]) -> Callback:
        """The callback; where nobody was reached, the manager signs off or has it tried again (5.2 E24)."""
        called = await callback
        while self.bends and called.not_reached:
            form: type[SignOff | Decision] = SignOff if self.edition >= THIRD else Decision
            verdict = await self.resume(Role.MANAGER, form, self.promises.sign_off, since=called.at)
            if verdict.approves:
                return called
            self.to_be_tried_since = verdict.at
            called = await self.resume(Role.SPECIALIST, Callback, self.promises.second_callback, since=verdict.at)
        return called

    def is_to_be_handled_again(self, called: Callback) -> bool:
        return self.bends and called.dissatisfied

    async def handled_again(self, since: datetime) -> Callback:
        """A customer who is not satisfied is handled once more, with clocks of its own (5.2 E25)."""
        self.dissatisfied(since)
        proposed = await self.resume(Role.SPECIALIST, Solution, self.promises.solution, since=since)
        callback = self.resume(
            Role.SPECIALIST, Callback, self.promises.second_callback, since=proposed.at, after=Execution
        )
        await self.carried_out(await self.agreed(proposed))
        return await self.reached(callback)

    def dissatisfied(self, called_at: datetime) -> None:
        """The manager hears at once, the third time the director; once for each callback."""
        if called_at in self.again_since:
            return
        self.again_since.add(called_at)
        self.tell(Role.MANAGER, "dissatisfied")
        if self.begin_cycle() > SECOND:
            self.tell(Role.DIRECTOR, "dissatisfied")
        self.attempts.clear()

    async def received_by_us(self) -> datetime:
        """When the clocks of headquarters begin: at receipt, mostly. Where less is owed, that is all (5.2 E29, E31)."""
        received_at = self.ours_since or self.case.received_at
        if not self.bends:
            return received_at
        while self.kind != "complaint":
            await self.nothing_more_than(self.kind, received_at)
        self.settles()
        if self.case.is_the_stores and not self.back:
            received_at = self.ours_since = await self.handed_over_by_the_store()
        if not self.since_it_is_back(self.answers(Execution)):
            self.owe(Role.SPECIALIST, Completion, self.promises.completion, since=received_at, by_itself=True)
        return received_at

    def since_it_is_back(self, forms: list[F]) -> list[F]:
        """Those of this handling, where the case was closed before."""
        return [form for form in forms if self.back is None or form.at > self.back.at]

    async def nothing_more_than(self, kind: str, received_at: datetime) -> None:
        """What is owed of another kind than a complaint, and what was promised to the customer meanwhile. Where nothing is left
        of it, or it is not for us at all, the manager looks before it is gone, and may have it taken for what it was."""
        last: Owed[Any] | None = None
        if kind == "query":
            last = self.resume(Role.SPECIALIST, Reply, self.promises.reply, received_at)
        elif kind != JUNK:
            last = self.resume(Role.SPECIALIST, Record, self.promises.record, self.first("filed"))
        if last is None or self.is_nothing_left(last):
            verdict = await self.ask(Role.MANAGER, SignOff, self.promises.sign_off, since=self.instant)
            if not verdict.approves:
                self.kind = self.before(kind)
                return
        self.settles()
        if last:
            await last
            if kind == "query" or self.edition >= FOURTH:
                await self.answered(AgreedReply)
        self.file({JUNK: JUNK, "query": COMPLETED}.get(kind, "filed"))

    def is_nothing_left(self, last: Owed[Any]) -> bool:
        """Whether a case would be over by being found to be of another kind, and by nothing else."""
        return self.edition >= FOURTH and bool(self.kinds_before) and not (last.is_open or self.open(AgreedReply))

    def before(self, kind: str) -> str:
        """What it was taken for before that."""
        while self.kinds_before and (earlier := self.kinds_before.pop()):
            if earlier != kind:
                return earlier
        return "complaint"

    def settles(self) -> None:
        """It is taken for what it was found to be: at once, or when the manager has agreed."""
        if self.kind != (self.taken_for or self.case.kind):
            self.taken_for = self.kind
            self.note("taken_for", taken_for=self.kind)

    def file(self, because: str) -> NoReturn:
        """All that is owed of this kind was done: no record besides, and only somebody outside may still wait."""
        self.is_filed = True
        raise Left(because, keeping=self.outliving)

    async def handed_over_by_the_store(self) -> datetime:
        """A store has answered itself: we call back, and take over where it asks for help or the customer is not satisfied (5.2 E28, E29)."""
        promises, store = self.promises, self.case.store_handling
        at_once = self.edition >= FOURTH  # nothing that others owe holds up the customer
        if store is None or store.supervisor_opinion is None:
            self.resume(Role.SUPERVISOR, Opinion, promises.opinion, since=self.first("told_by_the_store"))
        while not self.can_be_reached and not self.answers(Supplement):
            lacking = self.resume(Role.STORE, Supplement, promises.supplement, since=self.first("found_incomplete"))
            if store and store.help_wanted and at_once:
                break
            await lacking
        if store and store.help_wanted:
            return self.first("help_wanted")
        if not self.can_be_reached:
            raise Left("nobody_to_call", keeping=self.outliving)
        called = await self.reached(
            self.resume(Role.SPECIALIST, Callback, promises.callback, since=self.case.received_at)
        )
        if not at_once:
            await self.answered(Opinion)
        if not called.dissatisfied:
            self.file(COMPLETED)
        self.dissatisfied(called.at)
        return called.at

    async def answered(self, *forms: type[Form]) -> None:
        """All that is still owed of these forms."""
        while waiting := [owed for form in forms for owed in self.open(form)]:
            await waiting[0]

    @property
    def can_be_reached(self) -> bool:
        said_later: list[Supplement | Amend] = [*self.answers(Supplement), *self.amendments]
        return self.case.can_be_reached or any(more.can_be_reached for more in said_later)

    # What may come at any time

    def follow(self, form: Form) -> None:
        match form:
            case AskManager():
                self.asks(self.owe(Role.MANAGER, Decision, self.promises.decision, since=form.at), form.stamp.by)
            case OutOfAuthority():
                self.owe(Role.SPECIALIST, Agreement, self.promises.agreement, since=form.at)
                self.asks(self.owe(Role.MANAGER, Decision, self.promises.decision, since=form.at), form.stamp.by)
            case Decision() | Assist():
                self.tell_who_asked(form)
            case Agreement(reply_at=reply_at):
                self.met(*self.open(Reply))  # who agrees on a time has answered
                promise = self.promises.agreed_reply.lasting(reply_at - form.at)
                self.owe(Role.SPECIALIST, AgreedReply, promise, since=form.at)
                late = [solution for solution in self.open(Solution) if solution.due < reply_at]
                self.move(*late, to=reply_at, allowed=self.allowing(reply_at))
                decided_by = max(reply_at - BEFORE_AGREED, form.at + (reply_at - form.at) / 2)
                self.move(*(word for word in self.open(Decision) if word.due > decided_by), to=decided_by)
            case AskDepartment():
                role = Role.STORE if form.store else Role.CONTACT
                self.asks(self.owe(role, Assist, self.promises.assist, since=form.at, unit=form.unit), form.stamp.by)
            case Refer(due_at=due_at):
                promise = self.promises.external_reply.lasting(due_at - form.at)
                self.owe(Role.SPECIALIST, ExternalReply, promise, since=form.at)
            case Attempt():
                self.attempts.append(form)
                self.note("attempt")
            case Execution():
                self.met(*self.open(Completion))
            case Callback() if form.stamp.by in {solution.stamp.by for solution in self.answers(Solution)}:
                self.note("called_by_solver")
            case BackAgain():  # handed in twice at once: it is open again already
                self.comes_along(form)
                self.note("back_again", about=form.about_employee)
            case Amend():
                self.comes_along(form)
                self.note("amended", about=form.about_employee)
            case Duplicate(of=master):
                owed = sorted(self.due_tasks(), key=lambda task: task.due, reverse=True)
                due = {task.form.form: task.due for task in owed}
                self.send(master, Absorb(case=workflow.info().workflow_id, due=due))
                self.end("duplicate")
            case Absorb(due=due):
                for task in self.due_tasks():
                    if (sooner := due.get(task.form.form)) and sooner < task.due:
                        self.move(task, to=sooner)
                agreed = due.get(AgreedReply.form) if self.edition >= FOURTH else None
                if agreed and not self.open(AgreedReply):
                    promise = self.promises.agreed_reply.lasting(agreed - form.at)
                    self.owe(Role.SPECIALIST, AgreedReply, promise, since=form.at)
            case Reclassify(kind=kind):
                if self.kind != JUNK:
                    self.kinds_before.append(self.kind)
                self.kind, self.unsorted = kind, True
                self.note("reclassified")
                self.leave(
                    "reclassified", keeping=(*OUTSIDE, AgreedReply, *self.owed_in_both(kind), *self.still_asked())
                )
            case Withdraw():
                self.leave("withdrawn", keeping=self.outliving)
            case NoContact():
                self.leave("nobody_to_call", keeping=self.outliving)
            case NoAgreement():
                self.leave("no_agreement", keeping=self.outliving)

    def comes_along(self, form: Amend) -> None:
        """What is so by now, and was not said at the opening."""
        if self.edition >= THIRD:
            self.amendments.append(form)
        if self.edition >= FOURTH and self.can_be_reached:
            self.met(*self.open(Supplement))
        if form.severity == "major" and not self.case.is_major:
            self.tell(Role.MANAGER, "major")

    def asks(self, question: Owed[Any], by: str) -> None:
        self.asked_by[question.key] = by

    def tell_who_asked(self, answer: Form) -> None:
        """Whoever asked hears that the answer is there, unless he has given it himself."""
        task = next(owed.key for owed in self.every(type(answer)) if owed.answer is answer)
        asker = self.asked_by.get(task)
        if asker and asker != answer.stamp.by:
            self.tell(Role.OWNER, "answered", asker, task)

    def owed_in_both(self, kind: str) -> tuple[type[Form], ...]:
        """What goes on when a case is found to be of another kind, besides what the customer and others were promised."""
        is_ours = self.ours_since is not None or not self.case.is_the_stores
        return (Reply,) if kind in REPLIED_TO and is_ours else ()

    def still_asked(self) -> tuple[type[Form] | Owed[Any], ...]:
        """What others were asked, and what is to be agreed with the customer: whatever kind it is of."""
        if self.edition < FOURTH:
            return ()
        return (Agreement, *(question for question in self.due_tasks() if question.key in self.asked_by))

    def objection(self, form: Form, role: Role) -> Refusal | None:
        match form:
            case Solution() if not self.may_promise(form.amount, form.remedy, role):
                return Refusal(code="beyond_authority", values={"amount": str(form.amount), "remedy": form.remedy})
            case Agreement(reply_at=reply_at) if not self.may_wait_until(reply_at):
                return Refusal(code="past_the_48_hours")
            case Reclassify(kind=kind) if kind == self.kind:
                return Refusal(code="of_this_kind")
            case Duplicate() if self.edition >= THIRD and self.open(ExternalReply):
                return Refusal(code="reference_open")
            case Duplicate() if self.edition >= FOURTH and self.open(SignOff):
                return Refusal(code="sign_off_open")
            case Duplicate() if self.edition >= FOURTH and not self.may_leave:
                return Refusal(code="too_late_to_leave")
            case Callback() if self.is_to_be_tried(form) and not self.tried_enough():
                return Refusal(
                    code="not_tried_enough",
                    values={
                        "attempts": str(self.promises.terms.attempts),
                        "days": str(self.promises.terms.attempt_days),
                    },
                )
            case NoContact() if self.can_be_reached:
                return Refusal(code="customer_can_be_reached")
            case Withdraw() | NoAgreement() | NoContact() | Reclassify() if not self.may_leave:
                return Refusal(code="too_late_to_leave")
        return None

    def may_promise(self, amount: Decimal, remedy: Remedy | None, role: Role) -> bool:
        """Within the role's authority, or approved by the manager (5.2 E20, E21)."""
        limit = self.promises.terms.authority.get(role)
        return limit is None or limit.allows(amount, remedy) or any(self.approved(amount, limit))

    def approved(self, amount: Decimal, limit: Limit) -> Iterator[bool]:
        """Whether each approval covers it. One that names no amount is for one proposal beyond the limit, the next."""
        beyond = [made.at for made in self.answers(Solution) if not limit.covers(made)]
        for word in self.approvals():
            is_spent = word.amount_limit is None and any(at > word.at for at in beyond)
            yield word.covers(amount) and not (is_spent and self.edition >= FOURTH)

    def approvals(self) -> list[Decision]:
        """The manager's approvals that hold: a rejection ends those before it."""
        holding: list[Decision] = []
        for word in sorted(self.since_it_is_back(self.answers(Decision)), key=lambda word: word.at):
            if word.verdict == "reject" and self.edition >= FOURTH:
                holding = []
            elif word.approves:
                holding.append(word)
        return holding

    def may_wait_until(self, reply_at: datetime) -> bool:
        """A later answer than the 48 hours needs the manager's approval."""
        first = next((solution for solution in self.open(Solution)), None)
        if first is None and self.edition < FOURTH:
            return True
        due = first.due if first else self.promises.solution.due(self.ours_since or self.case.received_at)
        return reply_at <= due or self.allowing(reply_at) is not None

    def allowing(self, reply_at: datetime) -> Decision | None:
        """The manager's approval of so late an answer, the latest."""
        allow = (word for word in reversed(self.approvals()) if word.reply_by and reply_at <= word.reply_by)
        return next(allow, None)

    def is_to_be_tried(self, called: Callback) -> bool:
        """Who was not reached, but for a customer who has said that he wants no call: nobody tries that three times."""
        return called.not_reached and not (called.outcome == "refused_contact" and self.edition >= FOURTH)

    def tried_enough(self) -> bool:
        """Several attempts on several days over more than one channel since there was something to call about, before a case
        is closed without the customer; where the manager had it tried again, one since at least."""
        tried, again = self.attempts, self.to_be_tried_since
        if self.edition >= FOURTH:
            executions = self.since_it_is_back(self.answers(Execution))
            carried_out = max([self.case.received_at, *(execution.at for execution in executions)])
            tried = [attempt for attempt in tried if attempt.made_at >= carried_out]
            if again and not any(attempt.made_at >= again for attempt in tried):
                return False
        days = {attempt.day(self.promises.terms.zone) for attempt in tried}
        channels = {attempt.channel for attempt in tried}
        return (
            len(tried) >= self.promises.terms.attempts
            and len(days) >= self.promises.terms.attempt_days
            and len(channels) > 1
        )

    @property
    def is_over(self) -> bool:
        return not self.may_leave

    @property
    def is_urgent(self) -> bool:
        return self.case.is_major or any(amended.severity == "major" for amended in self.amendments)

    @property
    def edition(self) -> int:
        return self.promises.terms.edition

    @property
    def bends(self) -> bool:
        """Cases of the first edition go the straight way to their end, as they began."""
        return self.edition >= SECOND

    @property
    def outliving(self) -> tuple[type[Form], ...]:
        """What is owed on when the customer's part is over: an answer to an authority, the supervisor's word on a store."""
        if self.edition < THIRD:
            return ()
        return OUTSIDE if self.edition < FOURTH else (*OUTSIDE, Opinion)
