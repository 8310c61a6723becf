"""What is so of a complaint by now: what it was opened with, and over it what was corrected and supplied since."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlmodel import Session, col, select

from models.complaint.facts import Complaint
from models.complaint.forms import Amend, Supplement
from models.tables import SubmissionRow
from models.tasks import OPENING
from starter.mail.intake import MAILBOX

CORRECTING = (Amend.form, Supplement.form)


def corrects(form: str | None, by: str | None) -> bool:
    """Whether a form says what is so. What the customer writes later goes on with the matter: it stands in the course."""
    return form in CORRECTING and by != MAILBOX.id


def laid_over(facts: Mapping[str, Any], corrections: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts with each correction over them, in its turn: only what it says, of the customer and the goods field by field."""
    known = dict(facts)
    for correction in corrections:
        for name, said in correction.items():
            if name in Complaint.model_fields and said is not None:
                known[name] = {**(known.get(name) or {}), **said} if isinstance(said, Mapping) else said
    return known


def facts_now(session: Session, case: str, read: Callable[[SubmissionRow], Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of a case by what was decided in it. `read` opens a form, or takes of it what is not private."""
    sent = select(SubmissionRow).where(
        SubmissionRow.case_id == case, col(SubmissionRow.form).in_((OPENING, *CORRECTING))
    )
    rows = list(session.exec(sent.order_by(col(SubmissionRow.recorded_at))))
    [opening] = [row for row in rows if row.form == OPENING]
    decided = (row for row in rows if row.state == "decided" and corrects(row.form, row.by))
    return laid_over(read(opening), map(read, decided))
