"""The yardstick: the same six steps in Temporal code as plain as it gets, without a desk."""

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

from models.complaint.facts import Complaint
from models.complaint.terms import ComplaintPromises
from models.promises import Promise
from models.tasks import Opened, Outcome, Submission

STEPS = ("reply", "solution", "consent", "execution", "callback", "record")


@activity.defn
def keep(what: str, which: str) -> None:
    """Where a ledger would be written. What an activity is given leaves no byte in history when it is a local one."""


@workflow.defn(name="bare")
class BareWorkflow:
    """One step after the other: wait for its answer, and tell the next person of its ladder when it takes too long.

    It is given what a complaint is given and answers what a complaint answers. It is started plainly, without the
    update by which a complaint's opening is answered: that answer is a cost of ours.
    """

    def __init__(self) -> None:
        self._asked: str | None = None

    @workflow.run
    async def run(self, opened: Opened[Complaint, ComplaintPromises]) -> None:
        await self._keep("opened", opened.submission)
        for step in STEPS:
            await self._ask(step, getattr(opened.promises, step))
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _ask(self, step: str, promise: Promise) -> None:
        self._asked = step
        due = promise.due(workflow.now())
        for rung in promise.ladder:
            try:
                return await workflow.wait_condition(lambda: not self._asked, timeout=due + rung.after - workflow.now())
            except TimeoutError:
                await self._keep("overdue", rung.tell)
        return await workflow.wait_condition(lambda: not self._asked)

    @workflow.update
    async def submit(self, submission: Submission) -> Outcome:
        self._asked = None
        await self._keep(submission.form, submission.id)
        return Outcome()

    @submit.validator
    def _is_asked_for(self, submission: Submission) -> None:
        if submission.form != self._asked:
            raise ApplicationError("not asked for")

    async def _keep(self, what: str, which: str) -> None:
        await workflow.execute_local_activity(keep, args=[what, which], start_to_close_timeout=timedelta(seconds=1))
