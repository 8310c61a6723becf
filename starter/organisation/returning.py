"""Who was away comes back: what was handed over for the absence, and is still open with who stood in, is his again, and nobody need think of it."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlmodel import and_, col, select

from activities.database import Database, once_more
from activities.people import Organisation
from models.duty import Absence
from models.organisation import Directory
from models.people import Person, Role
from models.tables import HandOverRow, TaskRow
from models.tasks import Process
from models.words import say
from starter.organisation.hand_over import give_back, key_of
from starter.submissions import Submissions

log = structlog.get_logger()


class Returning:
    """Gives back for the manager who handed over: that it goes back on the return was part of his act."""

    name = "returning"
    every = timedelta(minutes=1)

    def __init__(
        self,
        database: Database,
        people: Organisation,
        submissions: Submissions,
        processes: dict[str, Process],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._people = people
        self._submissions = submissions
        self._processes = processes
        self._clock = clock

    def round(self) -> int:
        """Returns how many tasks went back."""
        now, directory = self._clock(), self._people.now
        over = {key_of(absence): absence for absence in directory.absences if _is_back(directory, absence, now)}
        with_deputies = (
            select(HandOverRow.absence, HandOverRow.by)
            .join(
                TaskRow,
                and_(col(TaskRow.case_id) == col(HandOverRow.case_id), col(TaskRow.key) == col(HandOverRow.task)),
            )
            .where(col(HandOverRow.absence).in_(over), col(HandOverRow.returned_at).is_(None))
            .where(TaskRow.state == "open", col(TaskRow.owner) == col(HandOverRow.deputy))
        )
        with self._database.reading() as session:
            found = dict(session.exec(with_deputies).all())
        return sum(self._give_back(directory, over[key], by, now) for key, by in sorted(found.items()))

    @once_more
    def _give_back(self, directory: Directory, absence: Absence, by: str, now: datetime) -> int:
        manager = _manager(directory, by)
        if manager is None:
            return 0
        with self._database.writing() as session:
            note = say("hand_over", "absence_over", "zh")
            returned = give_back(
                session, self._submissions, self._processes, directory, absence, manager, note, self._clock()
            )
        log.info("organisation.given_back", person=absence.person, tasks=len(returned))
        return len(returned)


def _is_back(directory: Directory, absence: Absence, now: datetime) -> bool:
    """The absence is over, and no other one has begun."""
    away = (
        other for other in directory.absences if other.person == absence.person and other.since <= now < other.until
    )
    return absence.until <= now and next(away, None) is None


def _manager(directory: Directory, by: str) -> Person | None:
    """Who handed over, while he manages; another manager else."""
    managers = [person for person in directory.people if person.role is Role.MANAGER]
    return next((person for person in managers if person.id == by), managers[0] if managers else None)
