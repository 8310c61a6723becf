"""Sorting: for every notice of the ledger, over which channel it goes out, and when at the earliest."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel import Session, and_, col, exists, func, insert, literal, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from activities.gathering import WAITS
from models.reach import Reachable, kind_of
from models.tables import DeadlineRow, DeliveryRow, NoticeRow, SubmissionRow, WatchRow
from models.tasks import OPENING

NAME = "post"
"""Under which the post room notes that it is at work."""
INBOX = "inbox"
"""The state, and the channel, of what is told nowhere else."""
OLD = timedelta(days=1)
"""What is older when the post room opens for the first time stays in the inbox."""
HEARD_AT_THE_DOOR = timedelta(seconds=5)
"""A refusal that its sender hears at the door himself is taken back within this."""
AT_ONCE = 200
OVERLAP = 1000
"""So many numbers back is looked for what was committed out of order."""
ALWAYS_URGENT = frozenset({"major", "alarm"})


class Sorter:
    """Makes the delivery rows. Any number may sort at once: a notice has one row for each of its channels, for ever."""

    def __init__(self, reached: Callable[[str], Reachable], zone: ZoneInfo) -> None:
        self._reached = reached
        self._zone = zone
        self._seen = 0

    def sort(self, session: Session, now: datetime) -> int:
        """Sort what is new, as much as is quickly done. How many; none when all is sorted."""
        if session.get(WatchRow, NAME) is None:
            self._open_for_the_first_time(session, now)
        fresh = list(session.exec(self._fresh(now).limit(AT_ONCE)))
        for notice in fresh:
            self._sort_one(session, notice, now)
        if len(fresh) < AT_ONCE:
            self._seen = self._sorted_to(session)
        return len(fresh)

    def anything(self, session: Session, now: datetime) -> bool:
        """Whether something is unsorted."""
        return session.get(WatchRow, NAME) is None or session.exec(self._fresh(now).limit(1)).first() is not None

    def next_channel(self, session: Session, row: DeliveryRow, now: datetime) -> DeliveryRow | None:
        """The same notice over the person's next channel, where he has one."""
        reach = self._reached(row.person)
        if row.rank + 1 >= len(reach.channels):
            return None
        following = _row(row.person, row.key, row.notice, row.rank + 1, reach, row.urgent, now, now)
        known = select(DeliveryRow.id).where(
            DeliveryRow.person == row.person, DeliveryRow.key == row.key, DeliveryRow.rank == following.rank
        )
        if session.exec(known).first():
            return None
        session.add(following)
        return following

    def _sort_one(self, session: Session, notice: NoticeRow, now: datetime) -> None:
        reach = self._reached(notice.person)
        urgent = _is_urgent(session, notice)
        at = now if urgent else reach.awake_at(now, self._zone)
        if "also" in notice.data:
            at = max(at, notice.created_at + WAITS)
        row = _row(notice.person, notice.key, notice.id or 0, 0, reach, urgent, at, now)
        if "within" in notice.data:
            row.channel = row.state = INBOX
        session.add(row)

    def _fresh(self, now: datetime) -> SelectOfScalar[NoticeRow]:
        return self._unsorted(now).where(col(NoticeRow.id) > self._seen - OVERLAP)

    def _unsorted(self, now: datetime) -> SelectOfScalar[NoticeRow]:
        rows = and_(col(DeliveryRow.person) == NoticeRow.person, col(DeliveryRow.key) == NoticeRow.key)
        ready = or_(NoticeRow.what != "refused", col(NoticeRow.delivered_at) <= now - HEARD_AT_THE_DOOR)
        return (
            select(NoticeRow)
            .where(col(NoticeRow.delivered_at).is_not(None), ready, ~exists().where(rows))
            .order_by(col(NoticeRow.id))
        )

    def _sorted_to(self, session: Session) -> int:
        """The number below which nothing new can come, but for the overlap."""
        held = session.exec(select(func.min(NoticeRow.id)).where(col(NoticeRow.delivered_at).is_(None))).one()
        last = session.exec(select(func.max(NoticeRow.id))).one()
        return min(held - 1 if held else last or 0, last or 0)

    def _open_for_the_first_time(self, session: Session, now: datetime) -> None:
        old = self._unsorted(now).where(col(NoticeRow.delivered_at) < now - OLD).order_by(None)
        kept: dict[str, Any] = {
            "person": NoticeRow.person,
            "key": NoticeRow.key,
            "notice": NoticeRow.id,
            "rank": literal(0),
            "channel": literal(INBOX),
            "urgent": literal(False),
            "created_at": NoticeRow.created_at,
            "state": literal(INBOX),
            "next_try_at": NoticeRow.created_at,
            "attempts": literal(0),
            "doubtful": literal(False),
        }
        session.connection().execute(insert(DeliveryRow).from_select(list(kept), old.with_only_columns(*kept.values())))
        session.add(WatchRow(name=NAME, at=now))
        session.flush()


def _row(
    person: str, key: str, notice: int, rank: int, reach: Reachable, urgent: bool, at: datetime, now: datetime
) -> DeliveryRow:
    outside = rank < len(reach.channels)
    channel = kind_of(reach.channels[rank].get_secret_value()) if outside else INBOX
    return DeliveryRow(
        person=person,
        key=key,
        notice=notice,
        rank=rank,
        channel=channel or INBOX,
        urgent=urgent,
        created_at=now,
        next_try_at=at,
        state="waiting" if outside else INBOX,
    )


def _is_urgent(session: Session, notice: NoticeRow) -> bool:
    """Whether nothing holds it: an alarm, a major case as such, and the last rung of a major case's ladder."""
    if notice.what in ALWAYS_URGENT:
        return True
    if notice.what != "overdue" or notice.case_id is None or not _is_major(session, notice.case_id):
        return False
    generation, rung = (int(part) for part in notice.key.rsplit("/", 2)[1:])
    later = select(DeadlineRow.rung).where(
        DeadlineRow.case_id == notice.case_id,
        DeadlineRow.task == notice.task,
        DeadlineRow.generation == generation,
        DeadlineRow.rung > rung,
    )
    return session.exec(later.limit(1)).first() is None


def _is_major(session: Session, case: str) -> bool:
    """Whether a case was opened, or corrected since, as a major one."""
    said = select(SubmissionRow.outline).where(
        SubmissionRow.case_id == case, SubmissionRow.state != "refused", col(SubmissionRow.form).in_((OPENING, "amend"))
    )
    return any(outline.get("severity") == "major" for outline in session.exec(said))
