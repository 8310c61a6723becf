"""Planned visits (handbook 6.3): a store's month, from the plan to the last call; and the month at headquarters."""

from temporalio import workflow

from models.forms import Form
from models.people import Role
from models.tasks import Opened
from models.visits import VISIT_MONTH, VISIT_PLAN
from models.visits.facts import VisitMonth, VisitPlan
from models.visits.forms import (
    Appended,
    CallList,
    Calls,
    CloseMonth,
    Consolidate,
    Consolidation,
    Deliver,
    HandReport,
    Plan,
    Progress,
    Report,
    StoreClosed,
    Visits,
)
from models.visits.terms import VisitMonthPromises, VisitPlanPromises, reminding
from workflows.desk import Desk
from workflows.owed import Owed


@workflow.defn(name="visit_plan")
class VisitPlanWorkflow(Desk):
    process = VISIT_PLAN

    def __init__(self) -> None:
        super().__init__()
        self.lists: dict[int, Owed[Calls]] = {}

    @workflow.run
    async def run(self, opened: Opened[VisitPlan, VisitPlanPromises]) -> None:
        """By the 28th the store says whom it visits next month; then every caller's list of every day is owed, until the month is closed."""
        self.promises = opened.promises
        month, plan = opened.case, self.promises.reminding(opened.case.reminded_earlier)
        async with self.until_ended(opened):
            await self.ask(Role.STORE, Plan, plan, since=month.asked_at)
            await self.owe(Role.STORE, Visits, self.promises.visits, since=month.begins_at, by_itself=True)

    def follow(self, form: Form) -> None:
        match form:
            case Deliver(lists=lists):
                if not self.open(Plan):
                    self.note("replanned")
                self.met(*self.open(Plan))
                self.keep(lists, dropped_because="replanned")
            case Progress(lists=lists):
                self.keep(lists)
            case CloseMonth() if self.open(Plan):
                self.end("never_delivered")
            case CloseMonth():
                self.met(*self.open(Visits))
            case StoreClosed():
                self.end("store_closed")

    def keep(self, lists: tuple[CallList, ...], dropped_because: str | None = None) -> None:
        """Owe what is new among the lists; those that are there no more were done, or taken out of the plan."""
        still = {one.nth for one in lists}
        gone = [owed for nth, owed in self.lists.items() if nth not in still and owed.is_open]
        if dropped_because:
            self.drop(*gone, because=dropped_because)
        else:
            self.met(*gone)
        for one in lists:
            if one.nth not in self.lists:
                self.lists[one.nth] = self.owe(one.role, Calls, self.promises.calls, since=one.begins_at)


@workflow.defn(name="visit_month")
class VisitMonthWorkflow(Desk):
    process = VISIT_MONTH

    @workflow.run
    async def run(self, opened: Opened[VisitMonth, VisitMonthPromises]) -> None:
        """The stores' plans become one by the 30th; before the next 28th after the month, how it went."""
        month, promises = opened.case, opened.promises
        consolidation = reminding(promises.consolidation, month.consolidation_reminded_earlier)
        report = reminding(promises.report, month.report_reminded_earlier)
        async with self.until_ended(opened):
            await self.ask(Role.SPECIALIST, Consolidation, consolidation, since=month.asked_at)
            await self.ask(Role.SPECIALIST, Report, report, since=month.over_at)

    def follow(self, form: Form) -> None:
        match form:
            case Consolidate(missing=missing):
                self.met(*self.open(Consolidation))
                if missing:
                    self.tell(Role.MANAGER, "plans_missing")
            case Appended():
                self.note("plan_appended")
                self.tell(Role.SPECIALIST, "plan_appended")
            case HandReport():
                self.met(*self.open(Report))
                self.tell(Role.MANAGER, "visits_reported")
