"""The archive's document: everything the ledger knows of a case, in full and sealed."""

import json
from typing import Any

from sqlmodel import Session, select

from activities.keys import COLUMN, KeyRing
from activities.submissions import unsealed
from models.tables import AttachmentRow, CaseRow, DeadlineRow, EventRow, SubmissionRow, TaskRow


def sealed_whole(session: Session, case: CaseRow, keys: KeyRing) -> bytes:
    """The archive's document of a case."""
    document = json.dumps(_whole(session, case, keys), ensure_ascii=False, default=str).encode()
    return keys.seal(document, COLUMN, f"archive/{case.id}")


def _whole(session: Session, case: CaseRow, keys: KeyRing) -> dict[str, Any]:
    """Rows by table, texts in full."""

    def rows(table: Any, *order: Any) -> list[Any]:
        return list(session.exec(select(table).where(table.case_id == case.id).order_by(*order)))

    submissions = rows(SubmissionRow, SubmissionRow.recorded_at)
    return {
        "case": case.model_dump(exclude={"keys", "leased_by", "leased_until", "last_instant"}),
        "submissions": [
            {
                **row.model_dump(include={"id", "form", "task", "by", "role", "recorded_at", "state"}),
                "content": unsealed(row, keys),
            }
            for row in submissions
        ],
        "tasks": [
            row.model_dump(exclude={"case_id"}) for row in rows(TaskRow, TaskRow.owed_at, TaskRow.due_at, TaskRow.key)
        ],
        "deadlines": [
            row.model_dump(exclude={"case_id"})
            for row in rows(DeadlineRow, DeadlineRow.planned_at, DeadlineRow.task, DeadlineRow.rung)
        ],
        "attachments": [
            {
                **row.model_dump(exclude={"case_id", "key", "digest", "sealed"}),
                **_told_of(row, keys),
            }
            for row in rows(AttachmentRow, AttachmentRow.at, AttachmentRow.id)
        ],
        "events": [row.model_dump(exclude={"case_id", "id"}) for row in rows(EventRow, EventRow.id)],
    }


def _told_of(row: AttachmentRow, keys: KeyRing) -> dict[str, Any]:
    """What an attachment is called; of a removed one, why."""
    known: dict[str, Any] = json.loads(keys.open(row.sealed, COLUMN, f"attachment/{row.id}"))
    return {name: known[name] for name in ("name", "caption", "because") if known.get(name)}
