"""Letters in the ledger: sealed whole, found by a keyed hash of their Message-ID or by the case they name."""

import json
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from activities.keys import COLUMN, KeyRing
from models.organisation import Wanted, Who
from models.people import Role
from models.tables import CaseRow, LetterRow, NoticeRow, TaskRow

IN = "in"
"""The state of a letter that came."""
REFERENCE = re.compile(r"KF-([0-9a-f]{10})\b", re.IGNORECASE)
"""How a subject names a case."""


def reference_of(case: str) -> str:
    """What a subject bears, so that an answer finds the case again. It says nothing of the case or the customer."""
    return f"[KF-{case.rpartition('-')[2]}]"


def find(session: Session, keys: KeyRing, message_ids: Iterable[str]) -> LetterRow | None:
    """The letter that bears one of these ids, the first that is known."""
    for message_id in message_ids:
        marks = keys.indexes(f"letter/{message_id}".encode())
        if row := session.exec(select(LetterRow).where(col(LetterRow.mark).in_(marks))).first():
            return row
    return None


def named_in(session: Session, subject: str) -> str | None:
    """The case that a subject names, where there is one."""
    for found in REFERENCE.findall(subject):
        case = session.exec(select(CaseRow.id).where(CaseRow.id == f"complaint-{found.lower()}")).first()
        if case:
            return case
    return None


def new(
    keys: KeyRing,
    message_id: str,
    at: datetime,
    *,
    came: bool,
    what: str,
    case: str | None,
    content: dict[str, Any] | None,
) -> LetterRow:
    """A letter; without a case nothing of it is kept but that it came."""
    row = LetterRow(
        id=secrets.token_hex(12),
        case_id=case,
        came=came,
        what=what,
        mark=keys.index(f"letter/{message_id}".encode()),
        at=at,
        state=IN if came else "waiting",
        next_try_at=at,
        sealed=b"",
    )
    if case and content is not None:
        seal(keys, row, {"message_id": message_id, **content})
    return row


def seal(keys: KeyRing, row: LetterRow, content: dict[str, Any]) -> None:
    row.sealed = keys.seal(json.dumps(content, ensure_ascii=False).encode(), COLUMN, f"letter/{row.id}")


def content_of(keys: KeyRing, row: LetterRow) -> dict[str, Any]:
    """What a letter says; empty where nothing of it was kept."""
    if not row.sealed:
        return {}
    content: dict[str, Any] = json.loads(keys.open(row.sealed, COLUMN, f"letter/{row.id}"))
    return content


def turn_over(session: Session, keys: KeyRing, case: str) -> int:
    """Seal a case's letters with the writing key, in the transaction that has locked the case. How many."""
    turned = 0
    for row in session.exec(select(LetterRow).where(LetterRow.case_id == case)):
        if row.sealed and not keys.has_written(row.sealed):
            content = content_of(keys, row)
            seal(keys, row, content)
            row.mark = keys.index(f"letter/{content['message_id']}".encode())
            turned += 1
    return turned


def erase(session: Session, case: str) -> None:
    """Nothing of a case's letters is left but that they came or went, and none goes any more. They are known by their
    mark: none is read twice."""
    for row in session.exec(select(LetterRow).where(LetterRow.case_id == case)):
        row.sealed = b""
        if row.state == "waiting":
            row.state = "undeliverable"


def tell_owner(
    session: Session, people: Who, case: CaseRow, what: str, letter: str, now: datetime, **data: str
) -> None:
    """A notice to whoever has the case in hand: the owner of what is due first, else the manager."""
    of_case = select(TaskRow).where(
        TaskRow.case_id == case.id, TaskRow.state == "open", col(TaskRow.by_itself).is_(False)
    )
    task = session.exec(of_case.order_by(col(TaskRow.due_at)).limit(1)).first()
    person = (
        task.owner
        if task
        else people.resolve(Role.MANAGER, Wanted(case.id, now, case.region, case.store, about=case.about))
    )
    key = f"{what}/{letter}"
    if session.exec(select(NoticeRow.id).where(NoticeRow.person == person, NoticeRow.key == key)).first():
        return
    session.add(
        NoticeRow(person=person, key=key, what=what, case_id=case.id, created_at=now, delivered_at=now, data=data)
    )
