"""A rung whose time has come: who hears of the task, and who next where nobody says that he has heard."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import col, or_, select

from activities.cases import Held
from activities.gathering import gather
from models.entries import DueRung, Fired
from models.people import Role
from models.tables import DeadlineRow, EventRow, NoticeRow


class Firing:
    """A rung that fires, or climbs once more: either writes what became of it, and returns the notices."""

    def __init__(self, case: Held, due: DueRung, clock: Callable[[], datetime]) -> None:
        self._case = case
        self._due = due
        self._clock = clock
        self._deadline = case.session.get_one(DeadlineRow, (due.case, due.task, due.generation, due.rung))
        self._task = case.task(due.task)
        self._name = f"{due.task}/{due.generation}/{due.rung}"

    @property
    def is_over(self) -> bool:
        """Whether its task has been closed, or has had its due time moved, meanwhile."""
        return self._task.state != "open" or self._task.generation != self._due.generation

    @property
    def written_before(self) -> Fired | None:
        """What became of it, as an earlier attempt wrote it."""
        deadline = self._deadline
        if deadline.fired_at is None or deadline.hops < self._due.hop:
            return None
        climbs_at = None if self.is_over else deadline.climbs_at
        return Fired(at=deadline.fired_at, climbs_at=climbs_at, hops=deadline.hops)

    @property
    def written(self) -> Fired:
        """What became of it, as this attempt wrote it."""
        return Fired(at=self._due.now, climbs_at=self._deadline.climbs_at, hops=self._deadline.hops)

    def fire(self) -> list[NoticeRow]:
        """The ladder's person hears, and of a breach the owner, too."""
        due, task, deadline = self._due, self._task, self._deadline
        deadline.planned_at, deadline.fired_at, deadline.passed = due.planned_at, due.now, due.silent
        deadline.person = task.owner if due.tell is Role.OWNER else self._case.who(due.tell, due.now)
        self._keep_distance()
        is_reminder = deadline.after_seconds < 0
        kind = "passed" if due.silent else "reminded" if is_reminder else "escalated"
        data = {"rung": due.rung, "generation": due.generation, "role": due.tell, "person": deadline.person}
        self._happened(kind, f"rung/{self._name}", data)
        if due.silent:
            return []
        deadline.delivered_at = self._delivered_at()
        deadline.climbs_at = self._climbs_at([deadline.person])
        heard = {deadline.person: "reminder"} if is_reminder else {task.owner: "breached", deadline.person: "overdue"}
        said = {"due_at": task.due_at.isoformat(), "owner": task.owner, "role": due.tell, "rung": due.rung}
        return self._tell(heard, f"{due.case}/{self._name}", deadline.delivered_at, said)

    def climb(self) -> list[NoticeRow]:
        """Nobody has acknowledged a breach: the next in line hears, if there is one left who has not."""
        due, task, deadline = self._due, self._task, self._deadline
        deadline.hops, deadline.climbs_at = due.hop, None
        told = self._told_so_far()
        if deadline.acknowledged_at or not told:
            return []
        person = self._case.next_in_line(told, due.now)
        data = {"rung": due.rung, "generation": due.generation, "hop": due.hop, "before": told[-1], "person": person}
        self._happened("climbed", f"rung/{self._name}/{due.hop}", data)
        if person is None:
            return []
        deadline.climbs_at = self._climbs_at([*told, person])
        key = f"{due.case}/{self._name}/{due.hop}"
        said = {"due_at": task.due_at.isoformat(), "owner": task.owner, "before": told[-1], "rung": due.rung}
        return self._tell({person: "unacknowledged"}, key, self._delivered_at(), said)

    def _keep_distance(self) -> None:
        """The next rung comes no sooner after this one than the ladder says, and screens show it."""
        due, fired = self._due, self._deadline
        following = self._case.session.get(DeadlineRow, (due.case, due.task, due.generation, due.rung + 1))
        if following and fired.after_seconds >= 0:
            distance = timedelta(seconds=following.after_seconds - fired.after_seconds)
            following.planned_at = max(following.planned_at, due.now + distance)

    def _told_so_far(self) -> list[str]:
        """Who has heard of the breach, and not only as the owner, in order."""
        key = f"{self._due.case}/{self._name}"
        return list(
            self._case.session.exec(
                select(NoticeRow.person)
                .where(NoticeRow.case_id == self._due.case, col(NoticeRow.what).in_(("overdue", "unacknowledged")))
                .where(or_(NoticeRow.key == key, col(NoticeRow.key).startswith(f"{key}/", autoescape=True)))
                .order_by(col(NoticeRow.id))
            )
        )

    def _climbs_at(self, told: list[str]) -> datetime | None:
        """Until when who heard last may acknowledge it: so much of his duty, or of every hour where it is urgent.

        None where nobody need, and where nobody is above him.
        """
        due = self._due
        if due.acknowledge is None or self._case.next_in_line(told, due.now) is None:
            return None
        if due.urgent:
            return due.now + due.acknowledge
        return self._case.people.answers_by(told[-1], due.now, due.acknowledge)

    def _delivered_at(self) -> datetime:
        return max(self._due.now, self._clock())

    def _happened(self, kind: str, key: str, data: dict[str, Any]) -> None:
        due = self._due
        event = EventRow(case_id=due.case, key=key, kind=kind, task=due.task, at=due.now, data=data)
        self._case.session.add(event)

    def _tell(self, heard: dict[str, str], key: str, delivered_at: datetime, said: dict[str, Any]) -> list[NoticeRow]:
        """What each person hears of it."""
        told = [
            NoticeRow(
                person=person,
                key=key,
                what=what,
                case_id=self._due.case,
                task=self._due.task,
                created_at=self._due.now,
                delivered_at=delivered_at,
                data=said,
            )
            for person, what in heard.items()
        ]
        gather(self._case.session, self._case.row, self._task, told)
        self._case.session.add_all(told)
        return told
