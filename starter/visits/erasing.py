"""Erasing what is personal of a customer's visits, once they are over: the line keeps its day, its purpose and how it ended."""

import json

from sqlmodel import Session, col, delete, select

from activities.keys import COLUMN, KeyRing
from activities.ledger import locked
from models.tables import VisitCallRow, VisitFinderRow, VisitRow
from models.visits.facts import PlannedVisit
from starter.customers import Kind, values_of
from starter.visits import whom
from starter.visits.calls import CallSent

OVER = ("done", "dropped")


def of_customer(session: Session, keys: KeyRing, kind: Kind, number: str) -> list[VisitRow]:
    """The lines that a number, in its normal form, finds."""
    values = values_of(keys, kind, number)
    found = select(VisitFinderRow.visit_id).where(VisitFinderRow.kind == kind, col(VisitFinderRow.value).in_(values))
    return list(session.exec(select(VisitRow).where(col(VisitRow.id).in_(found)).order_by(col(VisitRow.id))))


def erase(session: Session, keys: KeyRing, kind: Kind, number: str) -> int:
    """Erase a customer's lines that are over, and what was said in their calls. How many lines."""
    lines = [row for row in of_customer(session, keys, kind, number) if row.state in OVER]
    for row in lines:
        case = locked(session, row.case_id)
        hidden = whom.line_of(keys, row).model_dump(mode="json", exclude_none=True)
        row.sealed = whom.seal(keys, row.id, PlannedVisit.model_validate(hidden))
        session.exec(delete(VisitFinderRow).where(col(VisitFinderRow.visit_id) == row.id))
        for call in session.exec(select(VisitCallRow).where(VisitCallRow.visit_id == row.id)):
            _erase_call(keys, call)
        case.keys = keys.noted(case.keys)
    return len(lines)


def _erase_call(keys: KeyRing, call: VisitCallRow) -> None:
    place = f"visit/{call.visit_id}/{call.nth}"
    sent = CallSent.model_validate_json(keys.open(call.sealed, COLUMN, place))
    body = json.dumps(sent.model_dump(mode="json", exclude_none=True), ensure_ascii=False, sort_keys=True).encode()
    call.sealed, call.digest = keys.seal(body, COLUMN, place), keys.digest(body)
