"""The watch over who is there: while nobody manages and nobody stands in, the administrator has a standing warning."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from activities.database import Database, once_more
from models.organisation import Wanted, Who
from models.people import Role
from starter.watching.alarms import Finding, keep, report

NO_MANAGER = "no_manager"
ABOVE = frozenset({Role.DIRECTOR, Role.GENERAL_MANAGER, Role.ADMINISTRATOR})


class Staffing:
    """Asks as a rung does when it fires. An organisation without a manager is refused; one whose manager is away need not be."""

    name = "staffing"
    every = timedelta(seconds=30)

    def __init__(self, database: Database, people: Who, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._people = people
        self._clock = clock

    def round(self) -> list[Finding]:
        """Look once; raise and clear the alarm. Returns what is wrong now."""
        now = self._clock()
        findings = list(self._unmanned(now))
        report(self._keep(findings, now))
        return findings

    def _unmanned(self, now: datetime) -> Iterator[Finding]:
        hears = self._people.person(self._people.resolve(Role.MANAGER, Wanted(case=self.name, at=now)))
        if hears is None or hears.role in ABOVE:
            yield Finding(NO_MANAGER, Role.MANAGER, now)

    @once_more
    def _keep(self, findings: list[Finding], now: datetime) -> list[Finding]:
        with self._database.writing() as session:
            return keep(session, self.name, (NO_MANAGER,), findings, self._people, now)
