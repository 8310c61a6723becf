"""The new-member audit (handbook 4.1): the list of a day and region, and a member of whom something is wanting."""

from temporalio import workflow

from models.audit import (
    AUDIT,
    AUDIT_LIST,
    Audit,
    AuditList,
    AuditListPromises,
    AuditPromises,
    Check,
    Reject,
    Review,
    Supplement,
)
from models.forms import Form
from models.people import Role
from models.tasks import Opened
from workflows.desk import Desk


@workflow.defn(name="audit_list")
class AuditListWorkflow(Desk):
    process = AUDIT_LIST

    @workflow.run
    async def run(self, opened: Opened[AuditList, AuditListPromises]) -> None:
        """The records of a day are audited by the end of the next one. A line that is rejected becomes a case of its own."""
        async with self.until_ended(opened):
            await self.ask(Role.SPECIALIST, Check, opened.promises.check, since=opened.case.began_at)

    def follow(self, form: Form) -> None:
        if isinstance(form, Reject):
            self.note("rejected")


@workflow.defn(name="audit")
class AuditWorkflow(Desk):
    process = AUDIT

    @workflow.run
    async def run(self, opened: Opened[Audit, AuditPromises]) -> None:
        """The store fills in what is wanting, and the record is audited again, until it is complete."""
        self.promises = opened.promises
        async with self.until_ended(opened):
            supplement = await self.ask(Role.STORE, Supplement, self.promises.supplement, since=opened.at)
            review = await self.reviewed(supplement)
            while not review.accepted:
                review = await self.reviewed(await self.sent_back(review))

    async def reviewed(self, supplement: Supplement) -> Review:
        """By the rules first, which send it back at once; then on the list of the day, whose clock is the auditor's."""
        while supplement.still:
            supplement = await self.sent_back(supplement)
        return await self.owe(Role.SPECIALIST, Review, self.promises.review, since=supplement.at, by_itself=True)

    async def sent_back(self, answer: Form) -> Supplement:
        """The store is told what is wanting still; from the second time on its supervisor and the manager hear, too (5.3 E46)."""
        owed = self.owe(Role.STORE, Supplement, self.promises.supplement, since=answer.at)
        if answer.stamp.role is Role.STORE:  # who hands a form in is not told of what it makes him owe
            self.tell(Role.STORE, "still_wanting")
        if len(self.answers(Supplement)) >= self.promises.terms.returns:
            self.tell(Role.SUPERVISOR, "wanting_again")
            self.tell(Role.MANAGER, "wanting_again")
        return await owed
