"""The watch over the member system that is asked: whether it answers."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from sqlmodel import select

from activities.database import once_more
from models.tables import PullRow
from settings import House
from starter.members.sources import BadSource, source_of
from starter.watching.alarms import Finding, keep, report

SILENT = timedelta(hours=1)
"""So long it may answer nothing before it is an alarm: it is asked every minute."""
UNANSWERED = "members_not_pulled"
KINDS = (UNANSWERED,)


def _name_of(file: Path | None) -> str | None:
    """What the ledger calls the system that a file describes; of a file that cannot be read, the file: it answers nothing either."""
    try:
        return source_of(file).name if file else None
    except BadSource:
        return str(file)


class SourceWatch:
    """Looks at when the member system answered last, where one is set to be asked."""

    name = "members"
    every = timedelta(minutes=1)

    def __init__(self, house: House, clock: Callable[[], datetime]) -> None:
        self._database = house.database
        self._people = house.people
        self._clock = clock
        self._source = _name_of(house.settings.member_source)
        self._began = clock()

    def round(self) -> list[Finding]:
        """Look once; raise and clear the alarm. Returns what is wrong now."""
        now = self._clock()
        findings = (
            [Finding(UNANSWERED, self._source, last)] if self._source and (last := self._last()) < now - SILENT else []
        )
        report(self._keep(findings, now))
        return findings

    def _last(self) -> datetime:
        """When it answered last; where it never did, when this watch began."""
        with self._database.reading() as session:
            answered = session.exec(select(PullRow.at).where(PullRow.source == self._source)).first()
        return answered or self._began

    @once_more
    def _keep(self, findings: list[Finding], now: datetime) -> list[Finding]:
        with self._database.writing() as session:
            return keep(session, "member_watch", KINDS, findings, self._people, now)
