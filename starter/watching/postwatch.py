"""The watch over the post: who cannot be reached, which channel is silent, whether letters leave, whether anybody sends, whether the mailbox is read."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from sqlalchemy.orm import aliased
from sqlmodel import Session, col, exists, func, select

from activities.database import Database, once_more
from models.organisation import Who
from models.tables import DeliveryRow, LetterRow, MailboxRow, WatchRow
from starter.post.sorting import NAME
from starter.watching.alarms import Finding, keep, report

EVERY = timedelta(seconds=10)
SILENT = timedelta(minutes=15)
"""So long a channel may take nothing before it is a finding."""
STILL = timedelta(minutes=1)
UNREAD = timedelta(hours=1)
REMEMBERED = timedelta(days=7)
"""How long somebody counts as out of reach over a channel that was not tried again."""

UNDELIVERABLE, DOWN, STANDS, MAILBOX = "notice_undeliverable", "channel_down", "post_stands_still", "mailbox_unread"
LETTERS = "letters_wait"
KINDS = (UNDELIVERABLE, DOWN, STANDS, MAILBOX, LETTERS)


class PostWatch:
    """Asks the ledger in plain SQL. `mailbox` is the name of the complaint mailbox in the ledger, where there is one."""

    name = "post"
    every = EVERY

    def __init__(
        self, database: Database, people: Who, clock: Callable[[], datetime], mailbox: str | None = None
    ) -> None:
        self._database = database
        self._people = people
        self._clock = clock
        self._mailbox = mailbox
        self._began = clock()

    def round(self) -> list[Finding]:
        """Look once; raise and clear alarms. Returns what is wrong now."""
        with self._database.reading() as session:
            now = self._clock()
            findings = [
                *self._out_of_reach(session, now),
                *self._silent(session, now),
                *self._letters(session, now),
                *self._nobody_sends(session, now),
                *self._nobody_reads(session, now),
            ]
        report(self._keep(findings, now))
        return findings

    @once_more
    def _keep(self, findings: list[Finding], now: datetime) -> list[Finding]:
        with self._database.writing() as session:
            return keep(session, "post_watch", KINDS, findings, self._people, now)

    def _out_of_reach(self, session: Session, now: datetime) -> Iterator[Finding]:
        """Who was given up over a channel, until something reaches him over it."""
        later = aliased(DeliveryRow)
        same = (col(later.person) == DeliveryRow.person, col(later.channel) == DeliveryRow.channel)
        reached = exists().where(*same, col(later.state) == "delivered", col(later.created_at) > DeliveryRow.created_at)
        rows = session.exec(
            select(DeliveryRow.person, DeliveryRow.channel, func.min(DeliveryRow.created_at))
            .where(col(DeliveryRow.state).in_(("undeliverable", "bounced")), ~reached)
            .where(DeliveryRow.created_at > now - REMEMBERED)
            .group_by(col(DeliveryRow.person), col(DeliveryRow.channel))
        )
        for person, channel, since in rows:
            yield Finding(UNDELIVERABLE, f"{person}/{channel}", since, data={"person": person, "channel": channel})

    def _silent(self, session: Session, now: datetime) -> Iterator[Finding]:
        rows = session.exec(
            select(DeliveryRow.channel, func.min(DeliveryRow.first_tried_at))
            .where(DeliveryRow.state == "waiting", col(DeliveryRow.first_tried_at) < now - SILENT)
            .group_by(col(DeliveryRow.channel))
        )
        for channel, since in rows:
            yield Finding(DOWN, channel, since or now, data={"channel": channel})

    def _letters(self, session: Session, now: datetime) -> Iterator[Finding]:
        """What is for customers, and the mail server does not take."""
        waits = select(func.min(LetterRow.first_tried_at)).where(LetterRow.state == "waiting")
        since = session.exec(waits.where(col(LetterRow.first_tried_at) < now - SILENT)).one()
        if since:
            yield Finding(LETTERS, "letters", since)

    def _nobody_sends(self, session: Session, now: datetime) -> Iterator[Finding]:
        last = session.exec(select(WatchRow.at).where(WatchRow.name == NAME)).first()
        if last and last < now - STILL:
            yield Finding(STANDS, NAME, last)

    def _nobody_reads(self, session: Session, now: datetime) -> Iterator[Finding]:
        if self._mailbox is None:
            return
        row = session.get(MailboxRow, self._mailbox)
        last = (row.read_at or row.since) if row else self._began
        if last < now - UNREAD:
            yield Finding(MAILBOX, "complaints", last)
