"""What the doors of the visits send to a plan's and to a month's case, and what those owe.

Nobody types these: a line is a row that a door writes, and what its writing means for the lists goes along to the case.
"""

from datetime import date
from typing import Annotated, Any

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, WrapSerializer

from models.forms import LEDGER, Code, Form, Instant, Private, Text
from models.people import Role
from models.visits.facts import PlannedVisit

CALLERS = frozenset({Role.STORE, Role.SPECIALIST, Role.MANAGER})
HEADQUARTERS = frozenset({Role.SPECIALIST, Role.MANAGER})


def _whole_in_the_ledger(lines: Any, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
    return write(lines) if info.context == LEDGER else []


class CallList(Private):
    """One caller's list of one day, as long as something of it is to be done."""

    nth: int
    """Its number in the case: the task of the nth list is `calls-n`."""
    caller: Code
    role: Role
    begins_at: Instant
    """The first instant of its day."""


# What is owed


class Plan(Form):
    """The store's plan for next month; a nil return where there is nobody to visit (5.3 E56)."""

    may = frozenset()


class Calls(Form):
    """One caller's list of one day. The outcome of its last line closes it."""

    may = frozenset()


class Visits(Form):
    """The visits of the month: kept by the case itself until the month is closed."""

    may = frozenset()


class Consolidation(Form):
    """The stores' plans in one, archived."""

    may = frozenset()


class Report(Form):
    """How the month's visits went."""

    may = frozenset()


# What is sent


class Deliver(Form):
    """A store's plan, whole, each time it is handed in. What the lines say stays in the ledger; the case sees the lists."""

    may = CALLERS

    nil: bool
    remark: Text | None = None
    lines: Annotated[tuple[PlannedVisit, ...], WrapSerializer(_whole_in_the_ledger)] = ()
    lists: tuple[CallList, ...] = ()


class Progress(Form):
    """Which lists still have something to be done: after an outcome, a line held back, or one put off to another day."""

    may = CALLERS | {Role.SYSTEM}

    lists: tuple[CallList, ...]
    visit: Code | None = None
    """The line that was put off: to which day, and why."""
    day: date | None = None
    reason: Text | None = None


class StoreClosed(Form):
    """The store is not active on the 28th: no plan is expected of it (5.3 E55)."""

    may = frozenset({Role.SYSTEM})


class CloseMonth(Form):
    """The month was reported: what was not called by then stays so."""

    may = HEADQUARTERS


class Consolidate(Form):
    """The plans that were there then are one plan; the stores that are missing are named (5.3 E58)."""

    may = HEADQUARTERS

    delivered: int = Field(ge=0)
    lines: int = Field(ge=0)
    incomplete: int = Field(ge=0)
    missing: tuple[Code, ...]
    remark: Text | None = None


class Appended(Form):
    """A store's plan came, or was changed, after the consolidation (5.3 E57, E58). The month is not the store's to see."""

    may = frozenset({Role.SYSTEM})

    store: Code


class HandReport(Form):
    """The month's report, with its figures as they were then."""

    may = HEADQUARTERS

    planned: int = Field(ge=0)
    done: int = Field(ge=0)
    remark: Text | None = None
