"""Which cases the calendar opens, by process: one line for each `Process` that has a rhythm (`opens`)."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from models.calendar import Period
from models.expiry import EXPIRY, Expiry
from models.forms import Case
from settings import House
from starter.visits import opening as visits

CasesOf = Callable[[House, Period, datetime], Iterable[Case]]
"""The cases of a period, opened at an instant: late, where nobody did it in time. Asked again, it may know more; none that is
there already is opened twice, by its number."""


def _expiry(_house: House, period: Period, _now: datetime) -> Iterable[Case]:
    """In a month the list of the cards that expire in the next."""
    return [Expiry(month=period.next_month, begins_at=period.at)]


OPENINGS: Mapping[str, CasesOf] = {
    EXPIRY.name: _expiry,
    "visit_plan": visits.plans_of,
    "visit_month": visits.months_of,
}
