"""Who was away comes back: what was handed over for the absence, and is still open with who stood in, is his again, and nobody need think of it."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlmodel import and_, col, select

from activities.database import Database, once_more
from activities.people import Organisation
from models.organisation import Directory
from models.people import Person, Role
from models.tables import HandOverRow, TaskRow
from models.tasks import Process
from models.words import say
from starter.organisation.hand_over import Moves, back, key_of
from starter.refusals import Refused
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
        of_task = and_(col(TaskRow.case_id) == col(HandOverRow.case_id), col(TaskRow.key) == col(HandOverRow.task))
        with_deputies = (
            select(HandOverRow.absence, HandOverRow.case_id, HandOverRow.task, HandOverRow.by)
            .join(TaskRow, of_task)
            .where(col(HandOverRow.returned_at).is_(None))
            .where(TaskRow.state == "open", col(TaskRow.owner) == col(HandOverRow.deputy))
        )
        with self._database.reading() as session:
            found = session.exec(with_deputies).all()
        over: dict[str, list[tuple[str, str, str]]] = {}
        for absence, case, task, by in found:
            if _is_over(directory, absence, now):
                over.setdefault(absence, []).append((case, task, by))
        return sum(self._give_back(directory, absence, tasks) for absence, tasks in over.items())

    @once_more
    def _give_back(self, directory: Directory, absence: str, tasks: list[tuple[str, str, str]]) -> int:
        """All of one absence in one act. A task that cannot go back, to somebody with another role now, stays where it is and
        holds up no other."""
        given = 0
        with self._database.writing() as session:
            now = self._clock()
            note = say("hand_over", "absence_over", "zh")
            moves = Moves(session, self._submissions, self._processes, directory, note, now)
            for case, task, by in tasks:
                manager = _manager(directory, by)
                try:
                    given += manager is not None and back(session, moves, (absence, case, task), manager, now)
                except Refused as refused:
                    log.warning("organisation.not_given_back", case=case, task=task, code=refused.code)
            moves.tell()
        if given:
            log.info("organisation.given_back", tasks=given, absence=absence)
        return given


def _is_over(directory: Directory, handed: str, now: datetime) -> bool:
    """The absence is over, or was called off, and no other one has begun."""
    person = handed.partition("/")[0]
    absences = [absence for absence in directory.absences if absence.person == person]
    for_it = (absence for absence in absences if key_of(absence) == handed)
    is_away = any(absence.since <= now < absence.until for absence in absences)
    return not is_away and all(absence.until <= now for absence in for_it)


def _manager(directory: Directory, by: str) -> Person | None:
    """Who handed over, while he manages; another manager else."""
    managers = [person for person in directory.people if person.role is Role.MANAGER]
    return next((person for person in managers if person.id == by), managers[0] if managers else None)
