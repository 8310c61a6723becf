"""What a notice says of a member: which one it is about, masked; and, of an audit, exactly which fields are wanting."""

from typing import Any

from sqlmodel import Session, col, select

from activities import members
from activities.keys import KeyRing
from models.audit import AUDIT, Review, Supplement
from models.expiry import EXPIRY_NOTICE
from models.members import MEMBER_FIELDS
from models.people import Person, Role
from models.tables import MemberRow, NoticeRow, SubmissionRow
from models.tasks import OPENING
from models.words import Language, choice, label, say
from starter.papers import masks

TELLING = (OPENING, Supplement.form, Review.form)

WHOLE = frozenset({Role.STORE, Role.SPECIALIST, Role.MANAGER})
MASKED = frozenset({Role.SUPERVISOR, Role.DIRECTOR})
HIDE = {
    "member_no": masks.ends,
    "card_no": masks.ends,
    "name": masks.name,
    "birth_date": lambda said: f"{said[:4]}{masks.STARS}",
    "phone": masks.phone,
    "email": masks.email,
    "address": masks.address,
}
"""What who need not know a member sees of him."""
KNOWN_BY = ("name", "member_no", "card_no")
"""What tells one member of a store from another, masked as it is."""


def whom(session: Session, keys: KeyRing, reader: Person, notice: NoticeRow, language: Language) -> str:
    """Which member a notice is about: masked for everybody, and where all of him is. Opened as it is read, and never kept.

    Nothing where the notice is about no member, or its reader may not know him.
    """
    if (notice.case_id or "").rpartition("-")[0] not in (AUDIT.name, EXPIRY_NOTICE.name):
        return ""
    of = select(SubmissionRow).where(SubmissionRow.case_id == notice.case_id, SubmissionRow.form == OPENING)
    opening = session.exec(of).first()
    row = session.get(MemberRow, opening.outline.get("member")) if opening else None
    if row is None or reader.role not in WHOLE | MASKED or not reader.may_see(row.store, row.region):
        return ""
    known = members.whole(row, keys)
    between = "，" if language == "zh" else ", "
    member = between.join(
        f"{label('member', name, language)} {HIDE[name](known[name])}" for name in KNOWN_BY if known.get(name)
    )
    return say("notice", "whom", language, member=member, id=row.id)


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
