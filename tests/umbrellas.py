"""A fifth process, as small as one can be: a store lends an umbrella and owes its return. It exists to try the desk, and to show what a process costs."""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import AwareDatetime, BaseModel
from temporalio import workflow

from models.forms import Case, Code, Form, Text
from models.people import Role
from models.promises import Promise
from models.tasks import Opened, Process, Submission
from workflows.desk import Desk

BOTH = frozenset({Role.STORE, Role.SPECIALIST})


class Loan(Case):
    number_field = "loan_no"
    loan_no: Code
    store: Code
    lent_at: AwareDatetime

    @property
    def store_code(self) -> str:
        return self.store


class GiveBack(Form):
    may = BOTH
    condition: Text


class Fee(Form):
    may = BOTH
    paid: bool


class Lost(Form):
    may = BOTH
    where: Text


class LoanIntake(BaseModel):
    longest: timedelta = timedelta(days=30)


class LoanPromises(BaseModel):
    give_back: Promise
    fee: Promise
    lost: Promise


LOAN = Process(name="loan", case=Loan, intake=LoanIntake, promises=LoanPromises, forms=(GiveBack, Fee, Lost))

POLICY = "\n[loan.intake]\n" + "".join(
    f'[loan.promises.{name}]\nwithin = "P3D"\nbasis = "ours"\nladder = [["PT0S", "manager"]]\n'
    for name in LoanPromises.model_fields
)


@workflow.defn(name="loan")
class LoanWorkflow(Desk):
    process = LOAN

    @workflow.run
    async def run(self, opened: Opened[Loan, LoanPromises]) -> None:
        lent_at, promises = opened.case.lent_at, opened.promises
        async with self.until_ended(opened):
            give_back = self.owe(Role.STORE, GiveBack, promises.give_back, since=lent_at)
            fee = self.owe(Role.STORE, Fee, promises.fee, since=lent_at)
            lost = self.owe(Role.STORE, Lost, promises.lost, since=lent_at)
            asyncio.create_task(self._write_off(lost))  # noqa: RUF006 — it lives as long as the case
            returned = await give_back
            self.break_if(returned.condition)
            self.drop(fee, lost, because="returned")
            self.tell(Role.MANAGER, "umbrella_back")

    def break_if(self, condition: str) -> None:
        """A place for a bug."""

    async def _write_off(self, lost: Any) -> None:
        await lost
        self.end("lost")


@workflow.defn(name="loan")
class BrokenInRun(LoanWorkflow):
    def break_if(self, condition: str) -> None:
        raise KeyError("a bug in run()")

    @workflow.run
    async def run(self, opened: Opened[Loan, LoanPromises]) -> None:
        await super().run(opened)


@workflow.defn(name="loan")
class BrokenInClock(LoanWorkflow):
    def _next_rung(self) -> Any:
        if any(not owed.is_open for owed in self._tasks):
            raise KeyError("a bug in a clock")
        return super()._next_rung()

    @workflow.run
    async def run(self, opened: Opened[Loan, LoanPromises]) -> None:
        await super().run(opened)


@workflow.defn(name="loan")
class BrokenInHandler(LoanWorkflow):
    async def _take(self, submission: Submission) -> None:
        raise KeyError("a bug in a handler")

    @workflow.run
    async def run(self, opened: Opened[Loan, LoanPromises]) -> None:
        await super().run(opened)
