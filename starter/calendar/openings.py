"""Which cases the calendar opens, by process: one line for each `Process` that has a rhythm (`opens`)."""

from collections.abc import Callable, Iterable, Mapping

from models.calendar import Period
from models.forms import Case
from settings import House

CasesOf = Callable[[House, Period], Iterable[Case]]
"""The cases of a period. Asked again, it may know more; none that is there already is opened twice, by its number."""

OPENINGS: Mapping[str, CasesOf] = {}
