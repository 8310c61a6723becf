"""The promises of the visits, and what must hold between them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from models.promises import Promise
from models.visits.months import month_begins, shifted

FOUR_YEARS = 48


class VisitTerms(BaseModel):
    """How a plan's, or a month's, case behaves, apart from its clocks."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    reminders: Literal["literal", "working_day"] = "literal"
    """Whether a reminder that would come on a day off comes on the last working day before. A due time never moves."""


class VisitPlanPromises(BaseModel):
    """The promises of a store's plan. The month's visits are kept by the case itself."""

    model_config = ConfigDict(frozen=True)
    plan: Promise
    calls: Promise
    visits: Promise
    terms: VisitTerms = VisitTerms()

    def reminding(self, earlier: int) -> Promise:
        """The promise of the plan, its reminder so many days earlier."""
        return reminding(self.plan, earlier)


class VisitMonthPromises(BaseModel):
    """The promises of a month at headquarters."""

    model_config = ConfigDict(frozen=True)
    consolidation: Promise
    report: Promise
    terms: VisitTerms = VisitTerms()

    def agree(self, others: Mapping[str, BaseModel]) -> None:
        """ValueError where the consolidation is not due after the stores' plans in every month of four years (5.1 E2)."""
        plans = others["visit_plan"]
        assert isinstance(plans, VisitPlanPromises)
        for n in range(FOUR_YEARS):
            anchor = month_begins(shifted("2027-01", n), ZoneInfo(plans.plan.zone))
            stores, ours = plans.plan.due(anchor), self.consolidation.due(anchor)
            if stores >= ours:
                raise ValueError(
                    f"visit_month.promises.consolidation ({self.consolidation.by}) must be due after "
                    f"visit_plan.promises.plan ({plans.plan.by}) in every month; not so in {anchor.astimezone(ZoneInfo(plans.plan.zone)):%Y-%m}"
                )


def reminding(promise: Promise, earlier: int) -> Promise:
    """A promise, its reminder so many days earlier."""
    ladder = tuple(
        rung._replace(after=rung.after - timedelta(days=earlier)) if rung.is_reminder else rung
        for rung in promise.ladder
    )
    return promise.model_copy(update={"ladder": ladder})


def plan_due(promises: VisitPlanPromises, month: str) -> datetime:
    """When the stores' plans for a month are due, UTC."""
    return promises.plan.due(month_begins(shifted(month, -1), ZoneInfo(promises.plan.zone))).astimezone(UTC)
