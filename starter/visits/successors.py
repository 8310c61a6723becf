"""What a store that closes within its month leaves uncalled: its successor's to call, or the specialist's of the region (5.3 E55).

The plan stays where it is; a line counts for the store that calls it.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlmodel import Session, col, select

from activities.cases import locked
from activities.database import once_more
from models.organisation import Wanted, Who
from models.people import CALENDAR, Role, Store
from models.tables import CaseRow, VisitRow
from models.visits import VISIT_PLAN
from models.visits.forms import Progress
from models.visits.months import month_of
from settings import House
from starter.submissions import Submissions
from starter.visits.lists import Lists
from starter.visits.submitted import is_over


@dataclass(frozen=True)
class Heir:
    """Who calls a closed store's lines, and of which store they are then."""

    caller: str
    store: str
    region: str | None


def left_behind(house: House, day: date) -> list[str]:
    """Open plans, of this month or a later one, with lines of stores that are closed on a day."""
    with house.database.reading() as session:
        query = select(VisitRow.case_id).join(CaseRow, col(CaseRow.id) == col(VisitRow.case_id))
        query = query.where(CaseRow.state == "open", *_left(house.people, day))
        return list(session.exec(query.distinct()))


@once_more
def hand_on(house: House, submissions: Submissions, case: str, day: date, at: datetime) -> None:
    """Give a closed store's lines to who calls them now, none for a day that has passed. Who calls from headquarters goes on."""
    people = house.people
    with house.database.writing() as session:
        plan = locked(session, case)
        if is_over(session, plan):
            return
        lists = Lists(session, case, house)
        for row in _rows(session, people, case, day):
            if lists.role_of(row.caller) is not Role.STORE:
                continue
            heir = heir_of(people, plan, row, day, at)
            row.caller, row.store, row.region = heir.caller, heir.store, heir.region
            if row.state == "planned":
                row.due_on = max(row.due_on, day)
                row.list_nth = lists.of(row.caller, row.due_on)
        session.flush()
        if lists.changed:
            submissions.add_in(session, VISIT_PLAN, case, Progress(lists=lists.open()), CALENDAR)


def heir_of(people: Who, plan: CaseRow, row: VisitRow, day: date, at: datetime) -> Heir:
    """Somebody of the store that takes the members over; where there is none, the specialist of the region."""
    if store := _successor(people, row.store, day):
        theirs = Wanted(plan.id, at, store.region, store.code, unit=store.code, process=plan.process)
        return Heir(people.resolve(Role.STORE, theirs), store.code, store.region)
    wanted = Wanted(plan.id, at, row.region, row.store, process=plan.process)
    return Heir(people.resolve(Role.SPECIALIST, wanted), row.store, row.region)


def _successor(people: Who, closed: str, day: date) -> Store | None:
    """The store that follows a closed one, or follows the one that followed it; it is open, and somebody is there."""
    seen = {closed}
    store = people.store(closed)
    while store and store.successor and store.successor not in seen:
        seen.add(store.successor)
        store = people.store(store.successor)
        if store and store.active_on(day):
            staffed = any(person.role is Role.STORE and person.store == store.code for person in people.people)
            return store if staffed else None
    return None


def _rows(session: Session, people: Who, case: str, day: date) -> list[VisitRow]:
    query = select(VisitRow).where(VisitRow.case_id == case, *_left(people, day))
    return list(session.exec(query.order_by(col(VisitRow.due_on), col(VisitRow.id))))


def _left(people: Who, day: date) -> tuple[Any, ...]:
    closed = [store.code for store in people.stores if store.is_closed_on(day)]
    uncalled = col(VisitRow.state).in_(("planned", "held"))
    return uncalled, col(VisitRow.store).in_(closed), col(VisitRow.month) >= month_of(day)
