"""Who sees which cases: one rule for every door.

Most see a case whole or not at all. Who is asked in a case that is not his, a department's contact or another store, sees
the matter and the question, and nothing of the customer.
"""

from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, false, true
from sqlmodel import Session, col, select

from activities.keys import KeyRing
from models.canary import CANARY
from models.complaint.forms import Assist
from models.people import Person, Role
from models.tables import CaseRow, NoticeRow, TaskRow

CAN_BE_ASKED = (Role.CONTACT, Role.STORE)
TOLD_TO_OWNERS = ("task", "assigned", "reminder", "breached")
"""What the owner of a task hears of it."""


class Scoped(BaseModel):
    """For whom a list is shown, in which role, and how far he sees: a store, regions, or `all`."""

    reader: str
    role: Role
    scope: str


def scope_of(reader: Person) -> str:
    """How far he sees, as `whole` has it."""
    match reader.role:
        case Role.STORE:
            return str(reader.store)
        case Role.SUPERVISOR:
            return ",".join(reader.regions)
        case Role.CONTACT:
            return "none"
    return "all"


def scoped(reader: Person) -> dict[str, Any]:
    """What a list says of its reader."""
    return {"reader": reader.id, "role": reader.role, "scope": scope_of(reader)}


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


def answer_at(keys: KeyRing, row: NoticeRow) -> str | None:
    """Where the owner of a question answers it, without a name of his own: whoever has this may. None of any other notice."""
    if row.case_id is None or row.task is None or row.what not in TOLD_TO_OWNERS:
        return None
    if row.task.partition("-")[0] != Assist.form:
        return None
    mark = keys.digest(asked(row.case_id, row.task, row.person))
    return f"/answer/{row.case_id}/{row.task}/{mark.replace(':', '.')}"


def asked(case: str, task: str, person: str) -> bytes:
    """What the mark of such an address is the keyed hash of."""
    return f"answer/{case}/{task}/{person}".encode()


def is_asked(session: Session, reader: Person, case: str) -> bool:
    """Whether he owes, or owed, a case that is not his an answer."""
    query = _asked(reader).where(TaskRow.case_id == case).limit(1)
    return reader.role in CAN_BE_ASKED and session.exec(query).first() is not None


def _asked(reader: Person) -> Any:
    return select(TaskRow.case_id).where(TaskRow.owner == reader.id)
