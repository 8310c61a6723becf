"""What a store is told of an audit: exactly which fields are wanting, in the words of the screens; nothing of the member."""

from typing import Any

from sqlmodel import Session, col, select

from models.audit import AUDIT, Review, Supplement
from models.members import MEMBER_FIELDS
from models.tables import NoticeRow, SubmissionRow
from models.tasks import OPENING
from models.words import Language, choice, label, say

TELLING = (OPENING, Supplement.form, Review.form)


def wanting(session: Session, notice: NoticeRow, language: Language) -> str:
    """What was wanting when somebody was told of it; nothing where the notice is about something else."""
    of_store = notice.what in ("new", "still_wanting") or (notice.task or "").startswith(Supplement.form)
    if not of_store or not (notice.case_id or "").startswith(f"{AUDIT.name}-"):
        return ""
    known = select(SubmissionRow).where(
        SubmissionRow.case_id == notice.case_id,
        SubmissionRow.recorded_at <= notice.created_at,
        col(SubmissionRow.form).in_(TELLING),
        SubmissionRow.state != "refused",
    )
    latest = session.exec(known.order_by(col(SubmissionRow.recorded_at).desc()).limit(1)).first()
    fields = said(latest.outline, language) if latest else ""
    return say("notice", "wanting", language, fields=fields) if fields else ""


def said(outline: dict[str, Any], language: Language) -> str:
    """The fields of a submission's outline: with what is wrong, where it says so."""
    findings: dict[str, str] = outline.get("findings", {})
    named = {*findings, *outline.get("still", ()), *outline.get("fields", ())}
    names = [name for name in MEMBER_FIELDS if name in named]
    brackets = "（{}）" if language == "zh" else " ({})"
    return ("、" if language == "zh" else ", ").join(
        label(AUDIT.name, name, language)
        + (brackets.format(choice(AUDIT.name, "findings", findings[name], language)) if name in findings else "")
        for name in names
    )
