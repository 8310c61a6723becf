"""Turning a plan's lines and calls over to a new key, within the transaction that turns its case over."""

import structlog
from cryptography.exceptions import InvalidTag
from sqlmodel import Session, col, delete, select

from activities.keys import COLUMN, KeyRing, UnknownKey
from models.tables import VisitCallRow, VisitFinderRow, VisitRow
from starter.visits import whom

log = structlog.get_logger()


def turn_over(session: Session, keys: KeyRing, case: str) -> tuple[int, bool]:
    """How many columns of a case's visits were turned over, and whether all of them opened."""
    turned, whole = 0, True
    rows = list(session.exec(select(VisitRow).where(VisitRow.case_id == case)))
    for row in rows:
        try:
            turned += _line(session, keys, row)
            calls = session.exec(select(VisitCallRow).where(VisitCallRow.visit_id == row.id))
            turned += sum(_call(keys, call) for call in calls)
        except (InvalidTag, UnknownKey) as error:
            log.error("reseal.unreadable", case=case, column=f"visit/{row.id}", reason=type(error).__name__)
            whole = False
    return turned, whole


def _line(session: Session, keys: KeyRing, row: VisitRow) -> int:
    if keys.has_written(row.sealed):
        return 0
    line = whom.line_of(keys, row)
    row.sealed = whom.seal(keys, row.id, line)
    session.exec(delete(VisitFinderRow).where(col(VisitFinderRow.visit_id) == row.id))
    session.add_all(whom.finders(keys, row.id, line))
    return 1


def _call(keys: KeyRing, call: VisitCallRow) -> int:
    if keys.has_written(call.sealed):
        return 0
    place = f"visit/{call.visit_id}/{call.nth}"
    plain = keys.open(call.sealed, COLUMN, place)
    call.sealed, call.digest = keys.seal(plain, COLUMN, place), keys.digest(plain)
    return 1
