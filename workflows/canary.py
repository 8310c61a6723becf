"""The canary: what it owes comes too late, always."""

from temporalio import workflow

from models.canary import CANARY, Canary, CanaryPromises, Heard
from models.forms import Form
from models.people import Role
from models.tasks import Opened
from workflows.desk import Desk


@workflow.defn(name="canary")
class CanaryWorkflow(Desk):
    process = CANARY

    @workflow.run
    async def run(self, opened: Opened[Canary, CanaryPromises]) -> None:
        """Nobody hands in what is owed, so it escalates. Whoever watches for that ends it."""
        async with self.until_ended(opened):
            await self.owe(Role.SYSTEM, Heard, opened.promises.heard, since=opened.at, by_itself=True)

    def follow(self, form: Form) -> None:
        self.met(*self.open(Heard))
