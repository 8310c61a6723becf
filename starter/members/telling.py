"""What of the member system's could not be taken, told to the administrators: how many, never whose."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

from sqlmodel import Session, select

from activities.keys import KeyRing
from models.organisation import Who
from models.people import Role
from models.tables import NoticeRow


def mark_of(content: str) -> bytes:
    """What a refused record is known again by."""
    return sha256(content.encode()).digest()


def tell_administrators(
    people: Who,
    keys: KeyRing,
    what: str,
    marks: Iterable[bytes],
    counts: dict[str, str],
    session: Session,
    now: datetime,
) -> None:
    """Once for the same records, or the same file, however often they come."""
    key = f"{what}/{keys.index(b''.join(sorted(set(marks))))}"
    for person in people.people:
        told = select(NoticeRow.id).where(NoticeRow.person == person.id, NoticeRow.key == key)
        if person.role is Role.ADMINISTRATOR and session.exec(told).first() is None:
            session.add(
                NoticeRow(
                    person=person.id, key=key, what=what, created_at=now, delivered_at=now, data={"values": counts}
                )
            )
