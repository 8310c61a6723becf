"""One notice for what comes in numbers, and the others lie behind it: several of one owner that are late together, where their
promise says so; and many tasks that one act, or one form, gives to somebody."""

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


def act_of(submission: str) -> str:
    """What the submissions of one act share: theirs are `act-0`, `act-1` and so on."""
    return submission.rpartition("-")[0]


def key_together(what: str, act: str) -> str:
    """The key of the notice that tells somebody of all that an act changed for him."""
    return f"{what}/{act}"


def lies_behind(session: Session, person: str, what: str, submission: str) -> int | None:
    """The notice that has told this person of the whole act already, where there is one."""
    if not (act := act_of(submission)):
        return None
    key = key_together(what, act)
    return session.exec(select(NoticeRow.id).where(NoticeRow.person == person, NoticeRow.key == key)).first()
