"""Turning the ledger over to a new key: every sealed column and file under the writing key, a few cases at a time, while everything runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, sleep

import structlog
from cryptography.exceptions import InvalidTag
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, func, select

from activities.database import Database
from activities.keys import COLUMN, KeyRing, Need, UnknownKey, needed
from models.tables import ArchiveRow, CaseRow, ExpiryListRow, OrganisationRow, SubmissionRow
from settings import House
from starter import customers
from starter.attachments.cabinet import Attachments
from starter.expiry.lists import place_of
from starter.mail import letters
from starter.members import turning as register
from starter.visits import turning as visits

AT_ONCE = 20
"""Cases in one transaction: nobody waits for it longer than for a few forms."""
PATIENCE = 30.0
"""Seconds of a ledger that is busy without a pause, and it is given up until it is run again."""

log = structlog.get_logger()


@dataclass
class Report:
    """What was turned over, what could not be, and what every other key of the ring is still needed for."""

    turned: int = 0
    """Columns of submissions, of the archive and of members, and attached files."""
    unreadable: list[str] = field(default_factory=list)
    """Cases, and members, of which something does not open: it is not what was written there."""
    others: dict[str, Need | None] = field(default_factory=dict)
    """By key; None where nothing needs it any more."""


def reseal(house: House, progress: Callable[[int, int], None] = lambda _done, _all: None) -> Report:
    """Turn over what is sealed with another key than the writing one. Run again, it goes on where it stopped.

    `progress` is told how many cases are done, and of how many. OperationalError when the ledger stays busy.
    """
    database, keys, report = house.database, house.keys, Report()
    directory = house.settings.data / "attachments"
    files = Attachments(database, keys, directory, lambda: datetime.now(UTC), house.calendar)
    customers.fill(database, keys)
    with database.reading() as session:
        other = col(CaseRow.keys) != keys.writing
        total = session.exec(select(func.count()).select_from(CaseRow).where(other)).one()
    done, last = 0, ""
    while ids := _next(database, keys, last):
        report.turned += sum(files.turn_over_files(case) for case in ids)
        _patiently(lambda ids=ids: _turn_over(database, keys, files, ids, report))  # type: ignore[misc]
        done, last = done + len(ids), ids[-1]
        progress(done, max(done, total))
    month = ""
    while months := _lists(database, keys, month):
        _patiently(lambda months=months: _turn_over_lists(database, keys, months, report))  # type: ignore[misc]
        month = months[-1]
    turned, unreadable = register.turn_over(database, keys, _patiently)
    report.turned, report.unreadable = report.turned + turned, report.unreadable + unreadable
    _patiently(lambda: _turn_over_organisation(database, keys, report))
    with database.reading() as session:
        found = needed(session)
    report.others = {key_id: found.get(key_id) for key_id in keys.reading}
    return report


def _turn_over_organisation(database: Database, keys: KeyRing, report: Report) -> None:
    """Every version of the organisation; they are few."""
    with database.writing() as session:
        for row in session.exec(select(OrganisationRow).where(OrganisationRow.key != keys.writing)):
            where = f"organisation/{row.at.isoformat()}"
            try:
                plain = keys.open(row.sealed, COLUMN, where)
            except (InvalidTag, UnknownKey) as error:
                log.error("reseal.unreadable", organisation=row.version, reason=type(error).__name__)
                report.unreadable.append(f"organisation {row.version}")
                continue
            row.sealed, row.key = keys.seal(plain, COLUMN, where), keys.writing
            report.turned += 1


def _next(database: Database, keys: KeyRing, after: str) -> list[str]:
    with database.reading() as session:
        others = select(CaseRow.id).where(CaseRow.keys != keys.writing, CaseRow.id > after)
        return list(session.exec(others.order_by(col(CaseRow.id)).limit(AT_ONCE)))


def _lists(database: Database, keys: KeyRing, after: str) -> list[str]:
    """Months whose archived list is sealed with another key, those after one."""
    other = col(ExpiryListRow.keys) != keys.writing
    with database.reading() as session:
        wanted = select(ExpiryListRow.month).where(other, ExpiryListRow.keys != "", ExpiryListRow.month > after)
        return list(session.exec(wanted.order_by(col(ExpiryListRow.month)).limit(AT_ONCE)))


def _turn_over_lists(database: Database, keys: KeyRing, months: list[str], report: Report) -> None:
    turned, unreadable = 0, []
    with database.writing() as session:
        for row in session.exec(select(ExpiryListRow).where(col(ExpiryListRow.month).in_(months)).with_for_update()):
            where = place_of(row.month)
            assert row.sealed is not None
            try:
                row.sealed = keys.seal(keys.open(row.sealed, COLUMN, where), COLUMN, where)
            except (InvalidTag, UnknownKey) as error:
                log.error("reseal.unreadable", column=where, reason=type(error).__name__)
                unreadable.append(where)
                continue
            row.keys = keys.writing
            turned += 1
    report.turned += turned
    report.unreadable += unreadable


def _patiently(act: Callable[[], None]) -> None:
    """A busy ledger is for those who work; we come after them."""
    end = monotonic() + PATIENCE
    while True:
        try:
            return act()
        except OperationalError:
            if monotonic() > end:
                raise
            sleep(0.05)


def _turn_over(database: Database, keys: KeyRing, files: Attachments, ids: list[str], report: Report) -> None:
    """All of these cases or none of them; locked in one order, as by every other who does this."""
    with database.writing() as session:
        locked = select(CaseRow).where(col(CaseRow.id).in_(ids)).order_by(col(CaseRow.id)).with_for_update()
        outcomes = {case.id: _turn_over_case(session, keys, files, case) for case in session.exec(locked)}
    report.turned += sum(turned for turned, _ in outcomes.values())
    report.unreadable += [case for case, (_, whole) in outcomes.items() if not whole]


def _turn_over_case(session: Session, keys: KeyRing, files: Attachments, case: CaseRow) -> tuple[int, bool]:
    """How many columns; and whether all opened, its files too. A closed case then needs the writing key only; an open one's history stays as it is."""
    turned, whole = 0, files.turn_over(session, case.id)
    try:
        turned += letters.turn_over(session, keys, case.id)
    except (InvalidTag, UnknownKey) as error:
        log.error("reseal.unreadable", case=case.id, column="letters", reason=type(error).__name__)
        whole = False
    submissions = session.exec(select(SubmissionRow).where(SubmissionRow.case_id == case.id)).all()
    columns: list[tuple[SubmissionRow | ArchiveRow, str]] = [(row, f"submission/{row.id}") for row in submissions]
    if archive := session.get(ArchiveRow, case.id):
        columns.append((archive, f"archive/{case.id}"))
    for row, where in columns:
        if keys.has_written(row.sealed):
            continue
        try:
            plain = keys.open(row.sealed, COLUMN, where)
        except (InvalidTag, UnknownKey) as error:
            log.error("reseal.unreadable", case=case.id, column=where, reason=type(error).__name__)
            whole = False
            continue
        row.sealed = keys.seal(plain, COLUMN, where)
        if isinstance(row, SubmissionRow):
            row.digest = keys.digest(plain)
        turned += 1
    lines, readable = visits.turn_over(session, keys, case.id)
    turned, whole = turned + lines, whole and readable
    ended = case.state == "archived" and all(row.state != "pending" for row in submissions)
    case.keys = keys.writing if ended and whole else keys.noted(case.keys)
    return turned, whole
