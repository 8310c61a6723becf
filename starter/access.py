"""Who sees which cases: one rule for every door.

Most see a case whole or not at all. Who is asked in a case that is not his, a department's contact or another store, sees
the matter and the question, and nothing of the customer.
"""

from typing import Any

from sqlalchemy import ColumnElement, false, true
from sqlmodel import Session, col, select

from models.canary import CANARY
from models.people import Person, Role
from models.tables import CaseRow, TaskRow

CAN_BE_ASKED = (Role.CONTACT, Role.STORE)


def of_the_department() -> ColumnElement[bool]:
    """The cases that are somebody's: not the canary's, which the system opens for itself."""
    return col(CaseRow.process) != CANARY.name


def whole(reader: Person) -> ColumnElement[bool]:
    """The cases that he sees whole, as `Person.may_see` has it, for a query over `cases`."""
    match reader.role:
        case Role.STORE:
            return col(CaseRow.store) == reader.store
        case Role.SUPERVISOR:
            return col(CaseRow.region).in_(reader.regions)
        case Role.CONTACT:
            return false()
    return true()


def visible(reader: Person) -> ColumnElement[bool]:
    """The cases that he sees at all."""
    if reader.role not in CAN_BE_ASKED:
        return whole(reader)
    return whole(reader) | col(CaseRow.id).in_(_asked(reader))


def is_asked(session: Session, reader: Person, case: str) -> bool:
    """Whether he owes, or owed, a case that is not his an answer."""
    asked = _asked(reader).where(TaskRow.case_id == case).limit(1)
    return reader.role in CAN_BE_ASKED and session.exec(asked).first() is not None


def _asked(reader: Person) -> Any:
    return select(TaskRow.case_id).where(TaskRow.owner == reader.id)
