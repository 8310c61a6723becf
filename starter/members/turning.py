"""Turning the register over to a new key: what is sealed of each member, and what he is found by."""

from collections.abc import Callable

import structlog
from cryptography.exceptions import InvalidTag
from sqlmodel import col, select

from activities import members
from activities.database import Database
from activities.keys import COLUMN, KeyRing, UnknownKey
from models.tables import FinderRow, MemberRow
from starter.members.register import written
from starter.members.rules import finders_of

AT_ONCE = 100
"""Members in one transaction: nobody waits for it long."""

log = structlog.get_logger()


def turn_over(
    database: Database, keys: KeyRing, patiently: Callable[[Callable[[], None]], None]
) -> tuple[int, list[str]]:
    """How many members were turned over to the writing key, and which could not be. Run again, it goes on where it stopped."""
    turned, unreadable, last = 0, [], ""
    while ids := _next(database, keys, last):
        failed: list[str] = []

        def turn(ids: list[str] = ids, failed: list[str] = failed) -> None:
            failed[:] = _turn(database, keys, ids)

        patiently(turn)
        turned += len(ids) - len(failed)
        unreadable += failed
        last = ids[-1]
    return turned, unreadable


def _next(database: Database, keys: KeyRing, after: str) -> list[str]:
    with database.reading() as session:
        others = select(MemberRow.id).where(MemberRow.keys != keys.writing, MemberRow.id > after)
        return list(session.exec(others.order_by(col(MemberRow.id)).limit(AT_ONCE)))


def _turn(database: Database, keys: KeyRing, ids: list[str]) -> list[str]:
    """All of these but those that do not open, whose ids are returned."""
    failed = []
    with database.writing() as session:
        query = select(MemberRow).where(col(MemberRow.id).in_(ids)).order_by(col(MemberRow.id)).with_for_update()
        for row in session.exec(query).all():
            try:
                document = members.unsealed(row, keys)
            except (InvalidTag, UnknownKey) as error:
                log.error("reseal.unreadable", member=row.id, reason=type(error).__name__)
                failed.append(row.id)
                continue
            row.sealed = keys.seal(written(document), COLUMN, members.place(row.id))
            row.digest, row.keys = keys.digest(written(document["sent"])), keys.writing
            for finder in session.exec(select(FinderRow).where(FinderRow.member_id == row.id)).all():
                session.delete(finder)
            session.flush()
            for kind, number in finders_of(members.merged(document)).items():
                session.add(FinderRow(member_id=row.id, kind=kind, value=members.finder(keys, kind, number)))
    return failed
