"""Which cases the calendar opens, by process: one line for each `Process` that has a rhythm (`opens`)."""

from collections.abc import Callable, Iterable, Mapping

from models.calendar import Period
from models.forms import Case
from settings import House
from starter.visits import opening as visits

CasesOf = Callable[[House, Period], Iterable[Case]]
"""The cases of a period. Asked again, it may know more; none that is there already is opened twice, by its number."""

OPENINGS: Mapping[str, CasesOf] = {
    "visit_plan": visits.plans_of,
    "visit_month": visits.months_of,
}
