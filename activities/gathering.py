"""Several of one owner that are late together, where their promise says so: one notice names them all, and the others lie behind it."""

from datetime import timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, select

from models.tables import CaseRow, NoticeRow, TaskRow

WAITS = timedelta(seconds=30)
"""So long a notice that may name several waits for the others before it goes out."""
LOCK = 4101
"""Of who gathers, where several may write at once."""


def is_shown() -> ColumnElement[bool]:
    """The notices that are read: not those that lie behind one which names them."""
    within: ColumnElement[int] = col(NoticeRow.data)["within"].as_integer()
    return within.is_(None)


def gather(session: Session, case: CaseRow, task: TaskRow, told: list[NoticeRow]) -> None:
    """Put what is about to be told of a breach behind what the same people have just been told of another such case."""
    if not case.promises.get(task.due_because["promise"], {}).get("together"):
        return
    if session.get_bind().dialect.name == "postgresql":  # elsewhere writers come one after the other anyway
        session.connection().execute(select(func.pg_advisory_xact_lock(LOCK)))
    for notice in told:
        alike = [NoticeRow.data[name].as_string() == str(notice.data[name]) for name in ("due_at", "owner", "rung")]
        first = session.exec(
            select(NoticeRow)
            .join(CaseRow, col(CaseRow.id) == col(NoticeRow.case_id))
            .where(CaseRow.process == case.process, NoticeRow.case_id != case.id, NoticeRow.task == notice.task)
            .where(NoticeRow.person == notice.person, NoticeRow.what == notice.what, *alike)
            .where(NoticeRow.created_at >= notice.created_at - WAITS, is_shown())
            .order_by(col(NoticeRow.id))
        ).first()
        notice.data = {**notice.data, **({"within": first.id} if first else {"also": []})}
        if first:
            first.data = {**first.data, "also": [*first.data.get("also", []), case.number]}
