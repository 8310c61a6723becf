"""What has been sent of a month: which plans there are, and how far headquarters is with them."""

from datetime import datetime

from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from models.tables import CaseRow, PlanVersionRow, SubmissionRow, VisitRow
from models.visits import VISIT_MONTH, VISIT_PLAN
from models.visits.forms import Progress
from models.visits.months import Month

NOT_EXPECTED = "store_closed"


def consolidated_at(session: Session, month_case: str) -> datetime | None:
    """When a month's plans were consolidated: from the recording on, whoever has decided it yet."""
    query = select(func.min(SubmissionRow.recorded_at)).where(
        SubmissionRow.case_id == month_case, SubmissionRow.form == "consolidate", SubmissionRow.state != "refused"
    )
    return session.exec(query).one()


def closing(case: str) -> str:
    """The id of the submission that closes a plan."""
    return f"close-{case}"


def ending(case: str) -> str:
    """The id of the submission that ends the plan of a store that is no more."""
    return f"closed-{case}"


def is_over(session: Session, case: CaseRow) -> bool:
    """Whether a plan is closed, or will be as soon as its case hears of it."""
    sent = select(SubmissionRow.id).where(col(SubmissionRow.id).in_((closing(case.id), ending(case.id))))
    return case.state != "open" or session.exec(sent).first() is not None


def month_case(session: Session, month: Month) -> CaseRow | None:
    return session.exec(select(CaseRow).where(CaseRow.process == VISIT_MONTH.name, CaseRow.number == month)).first()


def plans_of(session: Session, month: Month) -> list[CaseRow]:
    """The plans that are expected for a month, by store."""
    query = select(CaseRow).where(CaseRow.process == VISIT_PLAN.name, col(CaseRow.number).like(f"{month}-%"))
    rows = session.exec(query.order_by(col(CaseRow.number)))
    return [row for row in rows if row.closed_because != NOT_EXPECTED]


def delivered_in(session: Session, month: Month) -> set[str]:
    """The plans' cases of a month for which something was handed in."""
    return set(session.exec(select(PlanVersionRow.case_id).where(PlanVersionRow.month == month).distinct()))


def put_off(visit: VisitRow) -> SelectOfScalar[SubmissionRow]:
    """A query: what was sent each time that a line was put off."""
    return select(SubmissionRow).where(
        SubmissionRow.case_id == visit.case_id,
        SubmissionRow.form == Progress.form,
        col(SubmissionRow.outline)["visit"].as_string() == visit.id,
    )


def is_sent(session: Session, case: str, form: str) -> bool:
    """Whether it was, decided or not yet."""
    query = select(SubmissionRow.id).where(
        SubmissionRow.case_id == case, SubmissionRow.form == form, SubmissionRow.state != "refused"
    )
    return session.exec(query.limit(1)).first() is not None
