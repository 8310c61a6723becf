"""The month at headquarters: the stores' plans become one, and in the end its report (handbook 6.3, 5.3 E58)."""

from collections.abc import Callable
from datetime import datetime

from sqlmodel import Session, col, func, select

from activities.cases import locked
from activities.database import once_more
from models.forms import Private, Text
from models.people import Person
from models.tables import CaseRow, SubmissionRow, VisitRow
from models.visits import VISIT_MONTH, VISIT_PLAN
from models.visits.forms import HEADQUARTERS, CloseMonth, Consolidate, HandReport
from models.visits.months import Month, month_begins, shifted
from models.visits.terms import VisitPlanPromises, plan_due
from settings import House
from starter.docket import Receipt
from starter.refusals import Conflict, Forbidden, NotFound
from starter.submissions import Submissions
from starter.visits.submitted import closing, consolidated_at, delivered_in, is_sent, month_case, plans_of

AT_ONCE = 20
"""Plans in one transaction."""


class Remark(Private):
    """What headquarters has to say of the month."""

    remark: Text | None = None


class Headquarters:
    """The doors for a month. Each call is a transaction of its own, but for the report's: it closes the plans first, a few at a time."""

    def __init__(self, house: House, submissions: Submissions, clock: Callable[[], datetime], by: Person) -> None:
        self._house = house
        self._clock = clock
        self._submissions = submissions
        self._by = by

    def consolidate(
        self,
        session: Session,
        now: datetime,
        month: Month,
        sent: Remark,
        key: str | None = None,
        holder: str | None = None,
    ) -> Receipt:
        """Make one plan of what the stores have handed in, and name those that have not.

        Forbidden, NotFound, Conflict (before the stores' time is over, or done already).
        """
        case = self._case(session, month)
        if key and (known := self._known(session, case, key, Consolidate.form)):
            return known
        if consolidated_at(session, case.id):
            raise Conflict("consolidated_already", month=month)
        due = self._stores_due(session, month)
        if now < due:
            raise Conflict("too_early_to_consolidate", due_at=f"{due.astimezone(self._house.calendar):%Y-%m-%d %H:%M}")
        plans = plans_of(session, month)
        delivered = delivered_in(session, month)
        missing = [plan.store or "" for plan in plans if plan.id not in delivered]
        standing = select(func.count()).where(VisitRow.month == month, VisitRow.state != "dropped")
        lines = session.exec(standing).one()
        incomplete = session.exec(standing.where(col(VisitRow.complete).is_(False))).one()
        form = Consolidate(
            delivered=len(plans) - len(missing),
            lines=lines,
            incomplete=incomplete,
            missing=tuple(sorted(missing)),
            remark=sent.remark,
        )
        return self._submissions.add_in(session, VISIT_MONTH, case.id, form, self._by, key=key, holder=holder)

    def close_plans(self, month: Month) -> list[str]:
        """Close the plans of a month that is over, before it is reported: nothing is called for them any more. Run again, it goes on."""
        closed: list[str] = []
        while cases := self._close_some(month):
            closed += cases
        return closed

    @once_more
    def _close_some(self, month: Month) -> list[str]:
        with self._house.database.writing() as session:
            self._reportable(session, self._clock(), month)
            told = select(SubmissionRow.case_id).where(SubmissionRow.form == CloseMonth.form)
            query = select(CaseRow.id).where(CaseRow.process == VISIT_PLAN.name, CaseRow.state == "open")
            query = query.where(col(CaseRow.number).like(f"{month}-%"), col(CaseRow.id).not_in(told))
            cases = list(session.exec(query.order_by(col(CaseRow.id)).limit(AT_ONCE)))
            for case in cases:
                self._submissions.add_in(session, VISIT_PLAN, case, CloseMonth(), self._by, key=closing(case))
            return cases

    def report(
        self,
        session: Session,
        now: datetime,
        month: Month,
        sent: Remark,
        key: str | None = None,
        holder: str | None = None,
    ) -> Receipt:
        """Hand in the month's report. Forbidden, NotFound, Conflict (not consolidated, not over, reported already)."""
        case = self._case(session, month)
        if key and (known := self._known(session, case, key, HandReport.form)):
            return known
        self._reportable(session, now, month)
        standing = select(func.count()).where(VisitRow.month == month, VisitRow.state != "dropped")
        planned = session.exec(standing).one()
        done = session.exec(standing.where(VisitRow.state == "done")).one()
        form = HandReport(planned=planned, done=done, remark=sent.remark)
        return self._submissions.add_in(session, VISIT_MONTH, case.id, form, self._by, key=key, holder=holder)

    def _reportable(self, session: Session, now: datetime, month: Month) -> None:
        case = self._case(session, month)
        if consolidated_at(session, case.id) is None:
            raise Conflict("not_consolidated", month=month)
        if now < month_begins(shifted(month, 1), self._house.calendar):
            raise Conflict("month_not_over", month=month)
        if case.state != "open" or is_sent(session, case.id, HandReport.form):
            raise Conflict("reported_already", month=month)

    def _case(self, session: Session, month: Month) -> CaseRow:
        if self._by.role not in HEADQUARTERS:
            raise Forbidden("may_not_hand_in", role=self._by.role, form="consolidation")
        found = month_case(session, month)
        if found is None:
            raise NotFound("no_such_month", month=month)
        return locked(session, found.id)

    def _known(self, session: Session, case: CaseRow, key: str, form: str) -> Receipt | None:
        row = session.get(SubmissionRow, key)
        if row is None:
            return None
        if (row.case_id, row.form, row.by) != (case.id, form, self._by.id):
            raise Conflict("key_reused", key=key)
        return Receipt(row.id, row.case_id, row.state, None, False)

    def _stores_due(self, session: Session, month: Month) -> datetime:
        """When the last of the plans is due: each keeps the promise it was opened under."""
        kept = {repr(plan.promises): plan.promises for plan in plans_of(session, month)}
        return max(
            (plan_due(VisitPlanPromises.model_validate(promises), month) for promises in kept.values()),
            default=month_begins(month, self._house.calendar),
        )
