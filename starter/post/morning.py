"""The morning message: what is due today, what is overdue and whose, to the manager, once a day whatever is restarted."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, time, timedelta

from sqlmodel import Session, col, select

from activities.database import once_more
from models.people import Person, Role
from models.reach import GROUP
from models.tables import NoticeRow, TaskRow
from settings import House


class Morning:
    """Writes the notices of a morning; the ledger knows each of them by its day, so that there is one."""

    def __init__(self, house: House, clock: Callable[[], datetime]) -> None:
        self._house = house
        self._clock = clock
        self._told = ""

    def round(self) -> bool:
        """Tell the day if its time has come and nobody has. Whether this call did."""
        at = self._house.reach.post.morning
        here = self._clock().astimezone(self._house.calendar)
        day = here.date().isoformat()
        if at is None or here.time() < time.fromisoformat(at) or self._told == day:
            return False
        done = self._tell(day)
        self._told = day
        return done

    @once_more
    def _tell(self, day: str) -> bool:
        with self._house.database.writing() as session:
            now = self._clock()
            counts = self._counts(session, now)
            whole = {"day": day, **_sums(counts)}
            told = [(person.id, "morning", {**whole, "owners": counts}) for person in self._managers()]
            told += [(f"{GROUP}{group}", "morning_counts", whole) for group in self._house.reach.groups]
            fresh = [one for one in told if not _is_told(session, one[0], day)]
            session.add_all(
                NoticeRow(person=person, key=_key(day), what=what, created_at=now, delivered_at=now, data=data)
                for person, what, data in fresh
            )
        return bool(fresh)

    def _managers(self) -> list[Person]:
        return [person for person in self._house.people.people if person.role is Role.MANAGER]

    def _counts(self, session: Session, now: datetime) -> dict[str, list[int]]:
        """By owner: what is due until midnight, and what is overdue. Who has most overdue comes first."""
        here = now.astimezone(self._house.calendar)
        midnight = here.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        open_until_then = select(TaskRow.owner, TaskRow.due_at).where(
            TaskRow.state == "open", col(TaskRow.by_itself).is_(False), col(TaskRow.due_at) < midnight
        )
        due: Counter[str] = Counter()
        overdue: Counter[str] = Counter()
        for owner, due_at in session.exec(open_until_then):
            (overdue if due_at < now else due)[owner] += 1
        owners = sorted({*due, *overdue}, key=lambda owner: (-overdue[owner], -due[owner], owner))
        return {owner: [due[owner], overdue[owner]] for owner in owners}


def _sums(counts: dict[str, list[int]]) -> dict[str, int]:
    return {"due": sum(due for due, _ in counts.values()), "overdue": sum(late for _, late in counts.values())}


def _key(day: str) -> str:
    return f"morning/{day}"


def _is_told(session: Session, person: str, day: str) -> bool:
    told = select(NoticeRow.id).where(NoticeRow.person == person, NoticeRow.key == _key(day))
    return session.exec(told).first() is not None
