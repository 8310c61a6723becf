"""Who looks whether the calendar was kept: a period that nobody opened is opened, and the administrator hears of it."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from activities.database import Database, once_more
from models.organisation import Who
from starter.calendar.almanac import Almanac
from starter.watching.alarms import Finding, keep, report

GRACE = timedelta(minutes=2)
"""So long the engine's Schedule has the first go."""
MISSED = "opening_missed"

log = structlog.get_logger()


class Keeper:
    """Looks at the ledger alone, so that it holds when the engine has lost its Schedules."""

    name = "calendar"
    every = timedelta(seconds=30)

    def __init__(self, almanac: Almanac, database: Database, people: Who, clock: Callable[[], datetime]) -> None:
        self._almanac = almanac
        self._database = database
        self._people = people
        self._clock = clock

    def round(self) -> list[Finding]:
        """Open what was missed since the calendar was installed; say what it was."""
        self._almanac.begin()
        now = self._clock()
        findings = []
        for process, period in self._almanac.missed(now - GRACE):
            if self._almanac.is_opened(process, period):
                continue
            self._almanac.open(process, period, "watch")
            about = f"{process}/{period.name}"
            findings.append(Finding(MISSED, about, period.at, repaired=True, data={"period": period.name}))
        report(self._keep(findings, now))
        return findings

    @once_more
    def _keep(self, findings: list[Finding], now: datetime) -> list[Finding]:
        with self._database.writing() as session:
            return keep(session, "calendar", (MISSED,), findings, self._people, now)
