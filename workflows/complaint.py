"""The direct complaint (handbook 6.2): reply, solution, consent, execution, callback, record."""

from temporalio import workflow

from models.complaint import (
    COMPLAINT,
    Callback,
    Complaint,
    ComplaintPromises,
    Consent,
    Execution,
    Record,
    Reply,
    Solution,
)
from models.people import Role
from models.tasks import Opened
from workflows.desk import Desk


@workflow.defn(name="complaint")
class ComplaintWorkflow(Desk):
    process = COMPLAINT

    @workflow.run
    async def run(self, opened: Opened[Complaint, ComplaintPromises]) -> None:
        """Three clocks run side by side from receipt; nothing is carried out without the customer's consent."""
        received_at, promises = opened.case.received_at, opened.promises
        async with self.until_ended(opened):
            reply = self.owe(Role.SPECIALIST, Reply, promises.reply, since=received_at)
            solution = self.owe(Role.SPECIALIST, Solution, promises.solution, since=received_at)
            callback = self.owe(Role.SPECIALIST, Callback, promises.callback, since=received_at, after=Execution)

            proposed = await solution
            consent = await self.ask(Role.SPECIALIST, Consent, promises.consent, since=proposed.at)
            while not consent.accepted:
                proposed = await self.ask(Role.SPECIALIST, Solution, promises.new_solution, since=consent.at)
                consent = await self.ask(Role.SPECIALIST, Consent, promises.consent, since=proposed.at)

            execution = promises.execution.lasting(proposed.duration)
            await self.ask(Role.SPECIALIST, Execution, execution, since=consent.at)
            await reply
            called = await callback
            await self.ask(Role.SPECIALIST, Record, promises.record, since=called.at)
