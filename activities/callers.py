"""Whose task a caller's list of a day is: that of whom the plan names, where he is one of ours (handbook 6.3)."""

from sqlmodel import Session

from models.entries import TaskOwed
from models.organisation import Who
from models.tables import VisitListRow
from models.visits.forms import Calls


def caller_of(session: Session, people: Who, case: str, owed: TaskOwed) -> str | None:
    """The person whose list a task is; None where it is no list, or where its caller is somebody whom only the store knows."""
    if owed.form != Calls.form:
        return None
    listed = session.get(VisitListRow, (case, int(owed.task.partition("-")[2] or 1)))
    person = people.person(listed.caller) if listed else None
    return person.id if person and person.role is owed.owner else None
