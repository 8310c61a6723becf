"""Planned visits (handbook 6.3): a store's plan for a month, the calls of its lists, and the month at headquarters."""

from models.calendar import Daily
from models.tasks import Process
from models.visits.facts import PlanIntake, VisitMonth, VisitMonthIntake, VisitPlan
from models.visits.forms import (
    Appended,
    CloseMonth,
    Consolidate,
    Deliver,
    HandReport,
    Progress,
    StoreClosed,
)
from models.visits.terms import VisitMonthPromises, VisitPlanPromises

FIRST_DAY = 20
"""Of a month: from when stores are asked for the next one's plan."""

VISIT_PLAN = Process(
    name="visit_plan",
    case=VisitPlan,
    intake=PlanIntake,
    promises=VisitPlanPromises,
    forms=(),
    sent=(Deliver, Progress, StoreClosed, CloseMonth),
    opens=Daily(ahead_from=FIRST_DAY),
)
"""One for every store and month. What comes to it comes through the doors of the visits, which write the lines with it."""

VISIT_MONTH = Process(
    name="visit_month",
    case=VisitMonth,
    intake=VisitMonthIntake,
    promises=VisitMonthPromises,
    forms=(),
    sent=(Consolidate, Appended, HandReport),
    opens=Daily(ahead_from=FIRST_DAY),
)
"""One for every month: the stores' plans in one, and how it went."""
