"""Erasing what is personal of a customer's visits, once they are over: the line keeps its day, its purpose and how it ended."""

import json
from collections.abc import Iterable
from typing import Any

from sqlmodel import Session, col, delete, select

from activities.archive import sealed_whole
from activities.cases import locked
from activities.keys import COLUMN, KeyRing
from activities.submissions import unsealed
from models.forms import LEDGER
from models.tables import ArchiveRow, CaseRow, SubmissionRow, VisitCallRow, VisitFinderRow, VisitRow
from models.visits.facts import PlannedVisit
from models.visits.forms import Deliver
from starter.customers import values_of
from starter.numbers import Kind
from starter.visits import whom
from starter.visits.calls import CallSent
from starter.visits.submitted import put_off

OVER = ("done", "dropped")


def of_customer(session: Session, keys: KeyRing, kind: Kind, number: str) -> list[VisitRow]:
    """The lines that a number, in its normal form, finds."""
    values = values_of(keys, kind, number)
    found = select(VisitFinderRow.visit_id).where(VisitFinderRow.kind == kind, col(VisitFinderRow.value).in_(values))
    return list(session.exec(select(VisitRow).where(col(VisitRow.id).in_(found)).order_by(col(VisitRow.id))))


def over(session: Session, lines: Iterable[VisitRow]) -> list[VisitRow]:
    """Those that nobody is to call any more: called, taken out, or left when their month was closed."""
    return [row for row in lines if row.state in OVER or session.get_one(CaseRow, row.case_id).state != "open"]


def erase(session: Session, keys: KeyRing, kind: Kind, number: str) -> int:
    """Erase a customer's lines that are over, what was said in their calls, and himself in the plans that named him. How many lines."""
    lines = over(session, of_customer(session, keys, kind, number))
    by_case: dict[str, set[str]] = {}
    for row in lines:
        locked(session, row.case_id)
        line = whom.line_of(keys, row)
        by_case.setdefault(row.case_id, set()).update(whom.called(line))
        row.sealed = whom.seal(keys, row.id, _hidden(line))
        session.exec(delete(VisitFinderRow).where(col(VisitFinderRow.visit_id) == row.id))
        for call in session.exec(select(VisitCallRow).where(VisitCallRow.visit_id == row.id)):
            _erase_call(keys, call)
        for sent in session.exec(put_off(row)):
            _keep(keys, sent, sent.outline)
    for case, him in by_case.items():
        _erase_plan(session, keys, locked(session, case), him)
    return len(lines)


def _erase_plan(session: Session, keys: KeyRing, case: CaseRow, him: set[str]) -> None:
    """Hide a customer's lines in every version of a plan, and in its archive."""
    versions = select(SubmissionRow).where(SubmissionRow.case_id == case.id, SubmissionRow.form == Deliver.form)
    for row in session.exec(versions):
        sent = unsealed(row, keys)
        sent["lines"] = [_without(him, line) for line in sent.get("lines", [])]
        _keep(keys, row, sent)
    session.flush()
    if archive := session.get(ArchiveRow, case.id):
        archive.sealed = sealed_whole(session, case, keys)
    case.keys = keys.noted(case.keys)


def _keep(keys: KeyRing, row: SubmissionRow, sent: dict[str, Any]) -> None:
    body = json.dumps(sent, ensure_ascii=False, sort_keys=True).encode()
    row.sealed, row.digest = keys.seal(body, COLUMN, f"submission/{row.id}"), keys.digest(body)


def _without(him: set[str], sent: dict[str, Any]) -> dict[str, Any]:
    line = PlannedVisit.model_validate(sent)
    hidden = _hidden(line) if him & whom.called(line) else line
    return hidden.model_dump(mode="json", context=LEDGER, exclude_none=True)


def _hidden(line: PlannedVisit) -> PlannedVisit:
    return PlannedVisit.model_validate(line.model_dump(mode="json", exclude_none=True))


def _erase_call(keys: KeyRing, call: VisitCallRow) -> None:
    place = f"visit/{call.visit_id}/{call.nth}"
    sent = CallSent.model_validate_json(keys.open(call.sealed, COLUMN, place))
    body = json.dumps(sent.model_dump(mode="json", exclude_none=True), ensure_ascii=False, sort_keys=True).encode()
    call.sealed, call.digest = keys.seal(body, COLUMN, place), keys.digest(body)
