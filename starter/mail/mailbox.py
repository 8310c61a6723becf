"""Reading the complaint mailbox (IMAP): every message once, in order, its attachments too; nothing in it is deleted.

What has been read is known by number (UID) and, whatever becomes of the numbers, by Message-ID. A message is flagged as
seen once it is in the ledger; what was set aside stays unseen, for a person to look at.
"""

import asyncio
import imaplib
import re
import secrets
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlsplit

import structlog
from imap_tools import BaseMailBox, ImapToolsError, MailBox, MailBoxUnencrypted
from sqlmodel import Session

from activities.database import once_more
from models.people import MAILBOX
from models.tables import MailboxRow
from settings import House
from starter.attachments.cabinet import Attachments
from starter.attachments.uploads import Arrival
from starter.mail.intake import Intake, Taken
from starter.mail.reading import File, Mail, Unreadable, headers_of, read
from starter.refusals import Conflict, Invalid, Refused

LARGEST = 60 * 1024 * 1024
"""Bytes of a message that is fetched whole."""
TIMEOUT = 30
LEASE = timedelta(minutes=5)
ARRIVED = re.compile(rb'INTERNALDATE "([^"]+)"')
SIZE = re.compile(rb"RFC822\.SIZE (\d+)")
SET_ASIDE = frozenset({"automatic", "bounce", "own"})

log = structlog.get_logger()


def mailbox_name(house: House) -> str | None:
    """How the ledger calls the complaint mailbox, without its password; None where there is none."""
    if house.settings.mailbox is None:
        return None
    parts = urlsplit(house.settings.mailbox.get_secret_value())
    return f"{parts.username}@{parts.hostname}{parts.path}"


class Mailbox:
    """The complaint mailbox of the settings. Several readers take turns."""

    def __init__(self, house: House, clock: Callable[[], datetime]) -> None:
        self._house = house
        self._database = house.database
        self._clock = clock
        self._name = mailbox_name(house)
        self._holder = secrets.token_hex(4)
        self._intake = Intake(house, clock)

    def round(self) -> int:
        """Read what is new. How many messages were taken; none where another reads, or there is no mailbox."""
        if self._name is None or not self._is_ours():
            return 0
        try:
            self._intake.once_again()
            with self._opened() as box:
                return self._read_all(box)
        except (OSError, imaplib.IMAP4.error, ImapToolsError) as error:
            log.warning("mailbox.out_of_reach", reason=type(error).__name__)
            return 0
        finally:
            self._let_go()

    # The mailbox

    def _opened(self) -> BaseMailBox:
        assert self._house.settings.mailbox is not None
        parts = urlsplit(self._house.settings.mailbox.get_secret_value())
        host, folder = parts.hostname or "", unquote(parts.path.strip("/")) or "INBOX"
        box: BaseMailBox
        if parts.scheme == "imaps":
            box = MailBox(host, parts.port or 993, timeout=TIMEOUT, ssl_context=ssl.create_default_context())
        else:
            box = MailBoxUnencrypted(host, parts.port or 143, timeout=TIMEOUT)
        return box.login(unquote(parts.username or ""), unquote(parts.password or ""), initial_folder=folder)

    def _read_all(self, box: BaseMailBox) -> int:
        status = box.folder.status()
        validity, last = str(status["UIDVALIDITY"]), status["UIDNEXT"] - 1
        row = self._row()
        known = row.validity == validity
        uids = self._after(box, row.read_to) if known else self._new_here(box, row)
        for uid in uids:
            self._read_one(box, uid)
            if known:
                self._note(validity, uid)
        self._note(validity, max(last, *uids) if uids else last, at=self._clock())
        return len(uids)

    def _after(self, box: BaseMailBox, read_to: int) -> list[int]:
        found = box.uids(f"UID {read_to + 1}:*")
        return sorted(int(uid) for uid in found if int(uid) > read_to)  # the last one is always among them

    def _new_here(self, box: BaseMailBox, row: MailboxRow) -> list[int]:
        """At first, what nobody has seen; where all numbers are new, also what came since we read first."""
        found = {int(uid) for uid in box.uids("UNSEEN")}
        if row.validity:
            found |= {int(uid) for uid in box.uids(f"SINCE {row.since - timedelta(days=1):%d-%b-%Y}")}
        return sorted(found)

    def _read_one(self, box: BaseMailBox, uid: int) -> None:
        meta = b" ".join(_parts(box, uid, "(INTERNALDATE RFC822.SIZE)"))
        if not meta:
            return  # gone meanwhile
        came, size = ARRIVED.search(meta), SIZE.search(meta)
        arrived_at = datetime.strptime(came[1].decode().strip(), "%d-%b-%Y %H:%M:%S %z") if came else self._clock()
        too_large = size is not None and int(size[1]) > LARGEST
        raw = b"".join(_bodies(box, uid, "(BODY.PEEK[HEADER])" if too_large else "(BODY.PEEK[])"))
        taken = self._taken(raw, arrived_at.astimezone(UTC), "too_large" if too_large else None)
        log.info("mailbox.read", uid=uid, what=taken.what, case=taken.case)
        if taken.what not in SET_ASIDE:
            with suppress(imaplib.IMAP4.error, ImapToolsError):
                box.flag([str(uid)], r"\Seen", value=True)

    def _taken(self, raw: bytes, arrived_at: datetime, unreadable: str | None) -> Taken:
        mail: Mail
        try:
            mail = headers_of(raw) if unreadable else read(raw)
        except Unreadable as error:
            mail, unreadable = headers_of(raw), str(error)
        taken = self._intake.take(mail, arrived_at, unreadable)
        if not taken.settled and taken.case:
            self._intake.settle(taken.letter, self._attach(taken.case, mail.files))
        return taken

    # Attachments

    def _attach(self, case: str, files: tuple[File, ...]) -> list[dict[str, str]]:
        """Each for itself, within the limits of all attachments; and what was not taken, and why."""
        left = []
        for file in files:
            try:
                asyncio.run(self._attach_one(case, file))
            except Invalid as error:
                left.append({"name": file.name, "why": error.errors[0].code})
            except Conflict as error:
                left.append({"name": file.name, "why": error.code})
            except Refused as error:
                if error.status in (503, 507):
                    raise
                left.append({"name": file.name, "why": error.code})
        return left

    async def _attach_one(self, case: str, file: File) -> None:
        house = self._house
        directory = house.settings.data / "attachments"
        cabinet = Attachments(house.database, house.keys, directory, self._clock, house.calendar)
        arrival = Arrival(cabinet.vault, file.name, 1)
        try:
            arrival.write(file.body)
            arrival.finish()
            await cabinet.add(case, MAILBOX, [arrival])
        finally:
            arrival.close()

    # How far it was read

    @once_more
    def _is_ours(self) -> bool:
        """Take the mailbox for this round, unless another reader has it."""
        with self._database.writing() as session:
            now = self._clock()
            row = self._found(session)
            if row is None:
                row = MailboxRow(name=str(self._name), since=now)
                session.add(row)
            if row.leased_by not in (None, self._holder) and row.leased_until and row.leased_until > now:
                return False
            row.leased_by, row.leased_until = self._holder, now + LEASE
            return True

    def _let_go(self) -> None:
        with self._database.writing() as session:
            if (row := self._found(session)) and row.leased_by == self._holder:
                row.leased_by = row.leased_until = None

    def _note(self, validity: str, read_to: int, at: datetime | None = None) -> None:
        with self._database.writing() as session:
            row = self._found(session)
            assert row is not None
            row.validity, row.read_to = validity, read_to
            row.read_at = at or row.read_at
            row.leased_until = self._clock() + LEASE

    def _found(self, session: Session) -> MailboxRow | None:
        return session.get(MailboxRow, self._name, with_for_update=True)

    def _row(self) -> MailboxRow:
        with self._database.reading() as session:
            return session.get_one(MailboxRow, self._name)


def _parts(box: BaseMailBox, uid: int, what: str) -> list[bytes]:
    """The lines of an answer."""
    kind, found = box.client.uid("FETCH", str(uid), what)
    if kind != "OK":
        raise imaplib.IMAP4.error(kind)
    return [part if isinstance(part, bytes) else part[0] for part in found if part]


def _bodies(box: BaseMailBox, uid: int, what: str) -> list[bytes]:
    """The contents of an answer."""
    kind, found = box.client.uid("FETCH", str(uid), what)
    if kind != "OK":
        raise imaplib.IMAP4.error(kind)
    return [part[1] for part in found if isinstance(part, tuple)]
