"""Expiring cards (handbook 4.2): the month's list, then a call to each member on it, and what becomes of him until his card ends."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from activities.expiry import ExpiryLists, Wanted
from models.expiry import (
    EXPIRY,
    EXPIRY_CALLS,
    EXPIRY_NOTICE,
    Attempt,
    Call,
    CallsDone,
    Expiry,
    ExpiryCalls,
    ExpiryCallsPromises,
    ExpiryNotice,
    ExpiryPromises,
    Listed,
    NoticePromises,
    Settled,
)
from models.forms import Form
from models.people import Role
from models.tasks import Opened, Refusal
from workflows.desk import Desk


@workflow.defn(name="expiry")
class ExpiryWorkflow(Desk):
    process = EXPIRY

    @workflow.run
    async def run(self, opened: Opened[Expiry, ExpiryPromises]) -> None:
        """The list of next month's expiring members is there by the 5th; then their notices are opened."""
        async with self.until_ended(opened):
            listed = self.owe(
                Role.SPECIALIST, Listed, opened.promises.listed, since=opened.case.begins_at, by_itself=True
            )
            making = self.made(opened.case.month)
            await listed
            await making

    def made(self, month: str) -> workflow.ActivityHandle[None]:
        """The member system may be down for days: it is tried until it works, and the clock of the list runs meanwhile (5.3 E51)."""
        return workflow.start_activity_method(
            ExpiryLists.make_list,
            Wanted(case=workflow.info().workflow_id, month=month),
            start_to_close_timeout=timedelta(hours=1),
            heartbeat_timeout=timedelta(minutes=1),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=5), maximum_interval=timedelta(hours=1)),
        )

    def follow(self, form: Form) -> None:
        self.met(*self.open(Listed))


@workflow.defn(name="expiry_calls")
class ExpiryCallsWorkflow(Desk):
    process = EXPIRY_CALLS

    @workflow.run
    async def run(self, opened: Opened[ExpiryCalls, ExpiryCallsPromises]) -> None:
        """The specialist hears of all calls of a region at once; they are done before the cards expire, else the manager hears, once."""
        async with self.until_ended(opened):
            self.tell(Role.SPECIALIST, "calls_to_make")
            await self.owe(
                Role.SPECIALIST,
                CallsDone,
                opened.promises.calls_done,
                since=opened.case.begins_at,
                by_itself=True,
            )

    def follow(self, form: Form) -> None:
        self.met(*self.open(CallsDone))


@workflow.defn(name="expiry_notice")
class ExpiryNoticeWorkflow(Desk):
    process = EXPIRY_NOTICE

    def __init__(self) -> None:
        super().__init__()
        self.tried_at: list[datetime] = []

    @workflow.run
    async def run(self, opened: Opened[ExpiryNotice, NoticePromises]) -> None:
        """A call tells the member what he lacks; his store hears of it; until the card ends, a purchase may make it needless."""
        self.case, self.terms = opened.case, opened.promises.terms
        async with self.until_ended(opened):
            settled = self.owe(
                Role.SPECIALIST, Settled, opened.promises.settled, since=self.case.expires_at, by_itself=True
            )
            call = await self.ask(Role.SPECIALIST, Call, opened.promises.call, since=self.case.begins_at)
            self.tell_the_store()
            if call.is_final:
                self.end(call.outcome)
            await settled

    def tell_the_store(self) -> None:
        """Whatever the member said (4.2(4), 5.3 E54)."""
        if self.case.store:
            self.tell(Role.STORE, "member_called")

    def follow(self, form: Form) -> None:
        match form:
            case Attempt():
                self.tried_at.append(form.at)
                self.note("attempt")
            case Settled(because=because):
                self.met(*self.open(Settled))
                self.end(because)

    def objection(self, form: Form, role: Role) -> Refusal | None:
        match form:
            case Call(outcome="unreachable") if not self.tried_enough():
                attempts, days = self.terms.attempts, self.terms.attempt_days
                return Refusal(code="not_called_enough", values={"attempts": str(attempts), "days": str(days)})
        return None

    def tried_enough(self) -> bool:
        """Several calls on several days: nobody is given up after one afternoon."""
        days = {self.terms.day(at) for at in self.tried_at}
        return len(self.tried_at) >= self.terms.attempts and len(days) >= self.terms.attempt_days
