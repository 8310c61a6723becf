"""The watchdog: plain SQL on the ledger, and no trust in the engine. What should have happened and has not?"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from sqlalchemy.orm import aliased
from sqlmodel import Session, col, exists, func, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from activities.database import Database, once_more
from models.organisation import Who
from models.people import Role
from models.tables import CaseRow, DeadlineRow, NoticeRow, SubmissionRow, TaskRow
from models.tasks import OPENING
from starter.watching.alarms import Finding, keep, report

PATIENCE = timedelta(seconds=30)
"""How long a rung, a submission or a notice may be late before it is a finding. With a round every ten seconds the
administrator hears within a minute, of a further case soon after another, too (`alarms.APART`)."""
EVERY = timedelta(seconds=10)
MOST = 200
"""Findings of one kind in one round, the oldest first: in an outage, the rest are the same news."""

RUNG, SUBMISSION, NOTICE = "rung_not_fired", "submission_undecided", "notice_unsent"
KINDS = (RUNG, SUBMISSION, NOTICE)


class Watchdog:
    """Looks for rungs that did not fire, submissions that nobody decides, notices that did not go out."""

    def __init__(
        self, database: Database, people: Who, clock: Callable[[], datetime], patience: timedelta = PATIENCE
    ) -> None:
        self._database = database
        self._people = people
        self._clock = clock
        self._patience = patience

    def round(self) -> list[Finding]:
        """Look once; raise and clear alarms. Returns what is wrong now, the oldest first within each kind."""
        with self._database.reading() as session:
            now = self._clock()
            late = now - self._patience
            findings = [*self._rungs(session, late), *undecided(session, late), *self._notices(session, late)]
        report(self._keep(findings, now))
        return findings

    @once_more
    def _keep(self, findings: list[Finding], now: datetime) -> list[Finding]:
        with self._database.writing() as session:
            return keep(session, "watchdog", KINDS, findings, self._people, now)

    def _rungs(self, session: Session, late: datetime) -> Iterator[Finding]:
        in_order = (col(DeadlineRow.planned_at), col(DeadlineRow.case_id), col(DeadlineRow.task))
        for row in session.exec(overdue(late).order_by(*in_order).limit(MOST)):
            since = max(row.planned_at, row.armed_at)
            about = f"{row.case_id}/{row.task}/{row.generation}/{row.rung}"
            yield Finding(RUNG, about, since, row.case_id, data={"task": row.task, "role": row.role})
        for row in session.exec(unclimbed(late).order_by(col(DeadlineRow.climbs_at)).limit(MOST)):
            about = f"{row.case_id}/{row.task}/{row.generation}/{row.rung}/{row.hops + 1}"
            yield Finding(RUNG, about, row.climbs_at or late, row.case_id, data={"task": row.task, "role": row.role})

    def _notices(self, session: Session, late: datetime) -> Iterator[Finding]:
        rows = session.exec(
            unsent()
            .where(NoticeRow.created_at < late)
            .order_by(col(NoticeRow.created_at), col(NoticeRow.id))
            .limit(MOST)
        )
        for row in rows:
            yield Finding(NOTICE, str(row.id), row.created_at, row.case_id, data={"what": row.what})


def undecided(session: Session, late: datetime) -> Iterator[Finding]:
    """Those tried in vain, and those passed over. A queue that moves takes the oldest first: one that was never tried
    and is older than all that was decided lately does not stand in it."""
    of_queue = select(func.min(SubmissionRow.next_try_at)).where(col(SubmissionRow.decided_at) >= late)
    front = session.exec(of_queue).one()
    passed_over = (SubmissionRow.next_try_at < front) if front else (SubmissionRow.attempts == 0)
    rows = session.exec(
        select(
            col(SubmissionRow.id),
            col(SubmissionRow.case_id),
            col(SubmissionRow.recorded_at),
            col(CaseRow.entered_at),
        )
        .join(CaseRow)
        .where(SubmissionRow.state == "pending", SubmissionRow.recorded_at < late)
        .where(or_(col(CaseRow.entered_at).is_(None), col(CaseRow.entered_at) < late))
        .where(or_(SubmissionRow.attempts > 0, passed_over))
        .order_by(col(SubmissionRow.recorded_at), col(SubmissionRow.id))
        .limit(MOST)
    )
    for sent, case, recorded_at, entered_at in rows:
        yield Finding(SUBMISSION, sent, max(recorded_at, entered_at or recorded_at), case)


def overdue(late: datetime) -> SelectOfScalar[DeadlineRow]:
    """The next rung of an open task, planned and armed before an instant. Those after it wait for it, and are no news.

    Nor are those of a case that is still taking in its past: its opening is undecided, and that is a finding of its own.
    The canary's has a watch of its own.
    """
    earlier = aliased(DeadlineRow)
    same_ladder = (
        col(earlier.case_id) == DeadlineRow.case_id,
        col(earlier.task) == DeadlineRow.task,
        col(earlier.generation) == DeadlineRow.generation,
    )
    waits = exists().where(*same_ladder, col(earlier.rung) < DeadlineRow.rung, col(earlier.fired_at).is_(None))
    of_task = (col(TaskRow.case_id) == DeadlineRow.case_id) & (col(TaskRow.key) == DeadlineRow.task)
    of_case = col(SubmissionRow.case_id) == DeadlineRow.case_id
    opening = exists().where(of_case, col(SubmissionRow.form) == OPENING, col(SubmissionRow.state) == "pending")
    return (
        select(DeadlineRow)
        .join(TaskRow, of_task & (col(TaskRow.generation) == DeadlineRow.generation))
        .where(TaskRow.state == "open", TaskRow.owner_role != Role.SYSTEM, col(DeadlineRow.fired_at).is_(None))
        .where(DeadlineRow.planned_at < late, DeadlineRow.armed_at < late, ~waits, ~opening)
    )


def unclimbed(late: datetime) -> SelectOfScalar[DeadlineRow]:
    """Breaches of open tasks that nobody acknowledged, and of which the next in line ought to have heard."""
    following = aliased(DeadlineRow)
    same_ladder = (
        col(following.case_id) == DeadlineRow.case_id,
        col(following.task) == DeadlineRow.task,
        col(following.generation) == DeadlineRow.generation,
    )
    overtaken = exists().where(
        *same_ladder, col(following.rung) > DeadlineRow.rung, col(following.fired_at).is_not(None)
    )
    of_task = (col(TaskRow.case_id) == DeadlineRow.case_id) & (col(TaskRow.key) == DeadlineRow.task)
    return (
        select(DeadlineRow)
        .join(TaskRow, of_task & (col(TaskRow.generation) == DeadlineRow.generation))
        .where(TaskRow.state == "open", col(DeadlineRow.climbs_at) < late, ~overtaken)
    )


def unsent() -> SelectOfScalar[NoticeRow]:
    """Notices that nothing holds up any more, and that did not go out."""
    return (
        select(NoticeRow)
        .join(SubmissionRow, col(SubmissionRow.id) == NoticeRow.submission, isouter=True)
        .where(col(NoticeRow.delivered_at).is_(None))
        .where(or_(col(NoticeRow.submission).is_(None), SubmissionRow.state != "pending"))
    )
