"""A release of complaints with three bugs and one incompatible change; a case's recipient says which of them it meets."""

from typing import Any

from temporalio import workflow

from models.complaint.facts import Complaint
from models.complaint.terms import ComplaintPromises
from models.tasks import Opened, Submission
from workflows.complaint import ComplaintWorkflow


@workflow.defn(name="complaint")
class BadRelease(ComplaintWorkflow):
    _meets: str | None = None

    @workflow.run
    async def run(self, opened: Opened[Complaint, ComplaintPromises]) -> None:
        self._meets = opened.case.received_by
        if self._meets == "run":
            raise KeyError("a bug in run()")
        if self._meets == "deploy":
            await workflow.sleep(60)
        await super().run(opened)

    def _next_rung(self) -> Any:
        if self._meets == "clock":
            raise KeyError("a bug in a clock")
        return super()._next_rung()

    async def _take(self, submission: Submission) -> None:
        if self._meets == "handler":
            raise KeyError("a bug in a handler")
        await super()._take(submission)
