"""One caller's list of one day: which line is on which, and which lists still have something to be done."""

from datetime import date

from sqlmodel import Session, col, func, select

from models.people import Role
from models.tables import VisitListRow, VisitRow
from models.visits.forms import CallList
from models.visits.months import begins
from settings import House

AT_HEADQUARTERS = (Role.SPECIALIST, Role.MANAGER)


class Lists:
    """The lists of a plan's case, within a writing transaction that holds the case."""

    def __init__(self, session: Session, case: str, house: House) -> None:
        self._session = session
        self._case = case
        self._house = house
        self._before = set(self._open_numbers())
        self._live = set(self._before)

    def of(self, caller: str, day: date) -> int:
        """The number of the list that a line of this caller and day is on: one that is still open, or a new one."""
        theirs = select(VisitListRow.nth).where(
            VisitListRow.case_id == self._case, VisitListRow.caller == caller, VisitListRow.day == day
        )
        for nth in self._session.exec(theirs.order_by(col(VisitListRow.nth).desc())):
            if nth in self._live:
                return nth
        numbered = select(func.max(VisitListRow.nth)).where(VisitListRow.case_id == self._case)
        nth = (self._session.exec(numbered).one() or 0) + 1
        self._session.add(VisitListRow(case_id=self._case, nth=nth, caller=caller, role=self.role_of(caller), day=day))
        self._session.flush()
        self._live.add(nth)
        return nth

    def open(self) -> tuple[CallList, ...]:
        """Those with something to be done, in the order in which they came up: so the case numbers their tasks."""
        rows = [self._session.get_one(VisitListRow, (self._case, nth)) for nth in self._open_numbers()]
        return tuple(
            CallList(
                nth=row.nth, caller=row.caller, role=Role(row.role), begins_at=begins(row.day, self._house.calendar)
            )
            for row in rows
        )

    @property
    def changed(self) -> bool:
        """Whether other lists are open than when this began."""
        return set(self._open_numbers()) != self._before

    def _open_numbers(self) -> list[int]:
        query = select(VisitRow.list_nth).where(VisitRow.case_id == self._case, VisitRow.state == "planned").distinct()
        return sorted(self._session.exec(query))

    def role_of(self, caller: str) -> Role:
        """Who owes it: somebody of headquarters, or else the store."""
        person = self._house.people.person(caller)
        return person.role if person and person.role in AT_HEADQUARTERS else Role.STORE
