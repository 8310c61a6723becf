"""How late what was due came. The system: from when a rung could fire until it did, and until a channel had taken its notice.
People: from a task's due time until it was done. The one is never counted as the other.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Literal, Self

from pydantic import BaseModel
from sqlalchemy import ColumnElement, String, cast
from sqlmodel import Session, and_, col, func, or_, select

from models.people import Role
from models.tables import CaseRow, DeadlineRow, DeliveryRow, NoticeRow, TaskRow

NONE = timedelta(0)
FIRED_AT: Any = col(DeadlineRow.fired_at)


class Spread(BaseModel):
    """How late so many were."""

    count: int = 0
    p50: timedelta = NONE
    p99: timedelta = NONE
    longest: timedelta = NONE

    @classmethod
    def of(cls, lateness: Collection[timedelta]) -> Self:
        if not lateness:
            return cls()
        ranked = sorted(lateness)
        p50, p99 = (ranked[ceil(len(ranked) * share) - 1] for share in (0.5, 0.99))
        return cls(count=len(ranked), p50=p50, p99=p99, longest=ranked[-1])


class Late(BaseModel):
    """One that was late, by whom, and by how much: a task by the person who owed it, a rung by the system."""

    case: str
    number: str
    task: str
    rung: int | None = None
    by: Literal["system", "person"]
    span: timedelta


def fired(session: Session, *where: ColumnElement[bool]) -> list[timedelta]:
    """Of the rungs that somebody heard of: from when they were planned, or could first be known, until they fired and
    lay in his inbox. A hop of a climb is none. Not of the canary's: its lateness would be most of it.
    """
    heard_at = func.coalesce(DeadlineRow.delivered_at, DeadlineRow.fired_at, type_=FIRED_AT.type)
    query = select(DeadlineRow.planned_at, DeadlineRow.armed_at, heard_at).join(TaskRow, _of_its_task())
    somebodys = (col(DeadlineRow.passed).is_(False), col(TaskRow.owner_role) != Role.SYSTEM)
    rows = session.exec(query.where(FIRED_AT.is_not(None), *somebodys, *where))
    return [_after(max(planned_at, armed_at), at) for planned_at, armed_at, at in rows]


def delivered(session: Session, *where: ColumnElement[bool]) -> dict[str, list[timedelta]]:
    """Of the same rungs, by channel: until it had taken the notice. Quiet hours and windows hold it, and count."""
    by_channel: dict[str, list[timedelta]] = defaultdict(list)
    for channel, planned_at, armed_at, at in _deliveries(session, *where):
        by_channel[channel].append(_after(max(planned_at, armed_at), at))
    return dict(sorted(by_channel.items()))


def _deliveries(session: Session, *where: ColumnElement[bool]) -> Iterator[tuple[str, datetime, datetime, datetime]]:
    place = (DeadlineRow.case_id, DeadlineRow.task, DeadlineRow.generation, DeadlineRow.rung)
    key: Any = cast(place[0], String)
    for part in place[1:]:
        key = key + "/" + cast(part, String)
    of_its_rung = and_(
        col(DeadlineRow.case_id) == NoticeRow.case_id, col(DeadlineRow.task) == NoticeRow.task, key == NoticeRow.key
    )
    rows = session.exec(
        select(DeliveryRow.channel, DeadlineRow.planned_at, DeadlineRow.armed_at, DeliveryRow.delivered_at)
        .join(NoticeRow, col(NoticeRow.id) == DeliveryRow.notice)
        .join(DeadlineRow, of_its_rung)
        .where(col(DeliveryRow.delivered_at).is_not(None), *where)
    )
    return ((channel, planned_at, armed_at, at) for channel, planned_at, armed_at, at in rows if at)


def people(session: Session, now: datetime, *where: ColumnElement[bool]) -> list[Late]:
    """The tasks that were done late, or are late at an instant."""
    late = or_(
        and_(TaskRow.state == "done", col(TaskRow.done_at) > TaskRow.due_at),
        and_(TaskRow.state == "open", TaskRow.due_at < now),
    )
    tasks = select(TaskRow, CaseRow.number).join(CaseRow, col(CaseRow.id) == TaskRow.case_id)
    rows = session.exec(tasks.where(col(TaskRow.by_itself).is_(False), late, *where))
    return [
        Late(case=row.case_id, number=number, task=row.key, by="person", span=_after(row.due_at, row.done_at or now))
        for row, number in rows
    ]


def _of_its_task() -> ColumnElement[bool]:
    return (col(TaskRow.case_id) == DeadlineRow.case_id) & (col(TaskRow.key) == DeadlineRow.task)


def _after(due: datetime, at: datetime) -> timedelta:
    return max(at - due, NONE)
