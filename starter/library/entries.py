"""What an entry of the case library may say, and who writes it (handbook 3.4)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field
from sqlmodel import Session, col, delete, func, select

from activities.keys import KeyRing
from models.complaint.forms import Record
from models.forms import Code, Form, Private
from models.library import EntryText, Short
from models.people import Person, Role
from models.tables import CaseRow, EventRow, LibraryChangeRow, LibraryRow, LibraryWordRow, TaskRow
from starter.library.nameless import objections
from starter.library.words import shelve
from starter.numbers import facts_of
from starter.refusals import Conflict, Forbidden, Invalid, NotFound

MAY_READ = frozenset({Role.SPECIALIST, Role.MANAGER, Role.DIRECTOR})
MAY_WRITE = frozenset({Role.SPECIALIST, Role.MANAGER})
SETTLED = "record"
"""Once a case owes this form, what solved it is known."""
FRIDAY = 4
WEEK = timedelta(days=7)


class NewEntry(EntryText):
    """An entry for a case that has come to its closing form."""

    case: Code


class ChangedEntry(EntryText):
    """The whole entry as it shall be, and the version that was changed."""

    version: int = Field(ge=1, le=2**31 - 1)


class Removal(Private):
    """Why an entry goes."""

    reason: Short


class Shelving:
    """The library's side of a case's closing form: what it says of the case goes on the shelf with it, in one transaction."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def handed_in(self, session: Session, case: CaseRow, form: Form, by: Person, now: datetime) -> Form:
        """The desk gets the form without it, and has something against it where the case owes none (any more): then the shelf
        gets nothing either. Invalid, Conflict as for `add`; nothing of the form is kept then."""
        if not isinstance(form, Record) or form.entry is None:
            return form
        if _is_closed(session, case):
            return form.filed()
        try:
            add(session, now, self._keys, by, NewEntry(case=case.id, **dict(form.entry)))
        except Invalid as invalid:
            within = (error.model_copy(update={"field": f"entry.{error.field}"}) for error in invalid.errors)
            raise Invalid(list(within)) from None
        return form.filed()


def add(session: Session, now: datetime, keys: KeyRing, by: Person, new: NewEntry) -> int:
    """Add an entry. Forbidden, NotFound, Conflict (too early, or there already), Invalid (something of a customer in it)."""
    _check_role(by)
    case = session.get(CaseRow, new.case, with_for_update=True)  # it is not corrected meanwhile
    if case is None:
        raise NotFound("no_such_case", case=new.case)
    if case.state == "open" and not _is_settled(session, case):
        raise Conflict("not_at_record", case=case.id)
    standing = select(LibraryRow.id).where(LibraryRow.case_id == case.id, col(LibraryRow.removed_at).is_(None))
    if known := session.exec(standing).first():
        raise Conflict("in_library_already", case=case.id, entry=str(known))
    _check_texts(session, keys, case.id, new.texts)
    entry = LibraryRow(
        case_id=case.id,
        author=by.id,
        created_at=now,
        changed_at=now,
        for_meeting=new.for_meeting,
        marked_at=now if new.for_meeting else None,
        **new.texts,
    )
    session.add(entry)
    session.flush()
    shelve(session, entry)
    return _changed(session, entry, now, by, "added")


def change(session: Session, now: datetime, keys: KeyRing, by: Person, id: int, changed: ChangedEntry) -> int:
    """Change an entry: its author, or the manager. Conflict when somebody else has meanwhile."""
    entry = _theirs(session, by, id)
    if changed.version != entry.version:
        raise Conflict("entry_changed", entry=str(id), version=str(entry.version))
    _check_texts(session, keys, entry.case_id, changed.texts)
    if changed.for_meeting and not entry.for_meeting:
        entry.marked_at, entry.discussed_at = now, None
    entry.for_meeting = changed.for_meeting
    for name, text in changed.texts.items():
        setattr(entry, name, text)
    entry.version += 1
    shelve(session, entry)
    return _changed(session, entry, now, by, "changed")


def mark_off(session: Session, now: datetime, by: Person, id: int) -> int:
    """The meeting has discussed it."""
    entry = _standing(session, by, id)
    if not entry.for_meeting:
        raise Conflict("not_on_agenda", entry=str(id))
    entry.for_meeting, entry.discussed_at = False, now
    entry.version += 1
    return _changed(session, entry, now, by, "discussed")


def remove(session: Session, now: datetime, keys: KeyRing, by: Person, id: int, reason: str) -> int:
    """Take an entry out: its author, or the manager. Its texts go, of every version; who, when and why stays."""
    entry = _theirs(session, by, id)
    _check_texts(session, keys, entry.case_id, {"reason": reason})
    session.exec(delete(LibraryWordRow).where(col(LibraryWordRow.entry) == id))
    entry.title = entry.problem = entry.solution = ""
    entry.tags, entry.for_meeting = [], False
    entry.removed_at, entry.removed_because = now, reason
    entry.version += 1
    for version in session.exec(select(LibraryChangeRow).where(LibraryChangeRow.entry == id)):
        version.data = {}
    return _changed(session, entry, now, by, "removed")


def _changed(session: Session, entry: LibraryRow, now: datetime, by: Person, what: str) -> int:
    """Write down a version of an entry."""
    assert entry.id is not None
    entry.changed_at = now
    texts = entry.model_dump(include={"title", "problem", "solution", "tags", "for_meeting"})
    data = {} if entry.removed_at else texts
    session.add(LibraryChangeRow(entry=entry.id, version=entry.version, at=now, by=by.id, what=what, data=data))
    return entry.id


def _is_settled(session: Session, case: CaseRow) -> bool:
    return bool(_closing_forms(session, case) - {"withdrawn"})


def _is_closed(session: Session, case: CaseRow) -> bool:
    """Whether its closing form is there, or no longer wanted."""
    states = _closing_forms(session, case)
    return case.state != "open" or (bool(states) and "open" not in states)


def _closing_forms(session: Session, case: CaseRow) -> set[str]:
    """How its closing forms stand: since its customer was back, where he was (5.2 E26)."""
    was_back = select(func.max(EventRow.at)).where(EventRow.case_id == case.id, EventRow.kind == "reopened")
    owed = select(TaskRow.state).where(TaskRow.case_id == case.id, TaskRow.form == SETTLED)
    if since := session.exec(was_back).one():
        owed = owed.where(TaskRow.owed_at >= since)
    return set(session.exec(owed))


def _check_role(by: Person) -> None:
    if by.role not in MAY_WRITE:
        raise Forbidden("may_not_shelve", role=by.role)


def _check_texts(session: Session, keys: KeyRing, case: str, texts: Mapping[str, Any]) -> None:
    if errors := objections(texts, *facts_of(session, keys, case)):
        raise Invalid(errors)


def _standing(session: Session, by: Person, id: int) -> LibraryRow:
    """An entry to be changed, to ourselves until the transaction ends."""
    _check_role(by)
    entry = session.exec(select(LibraryRow).where(LibraryRow.id == id).with_for_update()).first()
    if entry is None:
        raise NotFound("no_such_entry", entry=str(id))
    if entry.removed_at:
        raise Conflict("entry_removed", entry=str(id))
    return entry


def _theirs(session: Session, by: Person, id: int) -> LibraryRow:
    entry = _standing(session, by, id)
    if by.role is not Role.MANAGER and by.id != entry.author:
        raise Forbidden("not_your_entry", entry=str(id), author=entry.author)
    return entry
