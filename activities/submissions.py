"""A submission in the ledger: as the workflow sees it, as its sender wrote it, and as one case makes it to another."""

import json
from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, select

from activities.keys import COLUMN, KeyRing
from models.entries import DueRung, Sent
from models.people import Role
from models.tables import CaseRow, SubmissionRow
from models.tasks import Submission


def as_submission(row: SubmissionRow) -> Submission:
    """A submission as the workflow sees it."""
    return Submission(
        id=row.id,
        at=row.recorded_at,
        by=row.by,
        role=Role(row.role),
        form=row.form,
        task=row.task,
        outline=row.outline,
    )


def undecided(session: Session, due: DueRung) -> list[Submission]:
    """What was recorded before a rung was planned and its case does not know yet, in order."""
    waiting = session.exec(
        select(SubmissionRow)
        .where(SubmissionRow.case_id == due.case, SubmissionRow.state == "pending")
        .where(SubmissionRow.recorded_at <= due.planned_at)
        .order_by(col(SubmissionRow.recorded_at))
    )
    return [as_submission(row) for row in waiting if row.id not in due.known]


def unsealed(row: SubmissionRow, keys: KeyRing) -> dict[str, Any]:
    """What the person sent, in full."""
    form: dict[str, Any] = json.loads(keys.open(row.sealed, COLUMN, _place(row.id)))
    return form


def made_to(other: CaseRow, sent: Sent, by_case: str, keys: KeyRing) -> SubmissionRow:
    """A pending submission of another case, recorded now or just after its last one; the relay delivers it."""
    body = json.dumps(sent.outline, ensure_ascii=False, sort_keys=True).encode()
    other.last_instant = max(sent.at, other.last_instant + timedelta.resolution)
    submission = f"{sent.submission}-{by_case}"
    return SubmissionRow(
        id=submission,
        case_id=other.id,
        form=sent.form,
        by=sent.by,
        role=sent.role,
        recorded_at=other.last_instant,
        sealed=keys.seal(body, COLUMN, _place(submission)),
        outline=sent.outline,
        digest=keys.digest(body),
        next_try_at=sent.at,
    )


def _place(submission: str) -> str:
    """What the sealed column of a submission is bound to."""
    return f"submission/{submission}"
