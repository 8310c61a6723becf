"""The watch over the canary: opens it, looks whether it escalated in time, ends it, and forgets it.

One sings at a time: while one is silent there is no other. What was planned before this watch began is late from then on:
a desk that was stopped for the night has not been silent.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, exists, select

from activities.database import once_more
from models import policy
from models.canary import CANARY, WATCH, Canary, CanaryIntake, CanaryPromises, Heard
from models.tables import (
    AlarmRow,
    ArchiveRow,
    CaseRow,
    CustomerRow,
    DeadlineRow,
    DeliveryRow,
    EventRow,
    NoticeRow,
    SubmissionRow,
    TaskRow,
)
from settings import House
from starter.submissions import Submissions
from starter.watching.alarms import Finding, keep, report

KEPT = timedelta(days=7)
"""A canary that was heard is forgotten after so long. One that an alarm names stays."""
AT_ONCE = 50
OF_A_CANARY = (ArchiveRow, EventRow, NoticeRow, DeadlineRow, TaskRow, CustomerRow, SubmissionRow)
SILENT = "canary_silent"
KINDS = (SILENT,)


class CanaryWatch:
    """Any number may watch one house: a turn has one canary."""

    name = "canary"
    every = timedelta(seconds=10)

    def __init__(self, house: House, submissions: Submissions, clock: Callable[[], datetime]) -> None:
        self._database = house.database
        self._people = house.people
        self._submissions = submissions
        self._clock = clock
        self._began = clock()
        self._rules = CanaryIntake.model_validate(policy.intake(CANARY, house.settings.policy))

    def round(self) -> list[Finding]:
        """Look once; raise and clear alarms. Returns what is silent now."""
        with self._database.reading() as session:
            now = self._clock()
            waiting = [case.id for case in session.exec(_open().where(~_has_fired()))]
            heard = [case.id for case in session.exec(_open().where(_has_fired(), ~_is_ended()))]
            late = silent(session, self._began, self._rules.bound, now)
        findings = [Finding(SILENT, case, since, case) for case, since in late]
        report(self._keep(findings, now))
        for case in heard:
            self._end(case)
        if self._rules.every and not waiting:
            self._begin()
        self._forget()
        return findings

    @once_more
    def _keep(self, findings: list[Finding], now: datetime) -> list[Finding]:
        with self._database.writing() as session:
            return keep(session, self.name, KINDS, findings, self._people, now)

    @once_more
    def _end(self, case: str) -> None:
        with self._database.writing() as session:
            self._submissions.add_in(session, CANARY, case, Heard(), WATCH, key=_heard(case))

    @once_more
    def _begin(self) -> None:
        """Open the canary of this turn, where nobody has."""
        with self._database.reading() as session:
            canary = Canary(turn=self._rules.turn(self._clock()))
            of_turn = select(CaseRow.id).where(CaseRow.process == CANARY.name, CaseRow.number == canary.number)
            known = session.exec(of_turn).first()
        if known is None:
            self._submissions.open(CANARY, canary, WATCH)

    def _forget(self) -> None:
        """Delete what was heard long ago, a few at a time: the chain keeps its own cases for ever, not these."""
        undecided = exists().where(col(SubmissionRow.case_id) == CaseRow.id, col(SubmissionRow.state) == "pending")
        named = exists().where(col(AlarmRow.case_id) == CaseRow.id)
        old = select(CaseRow.id).where(CaseRow.process == CANARY.name, CaseRow.state == "archived", ~undecided, ~named)
        old = old.where(col(CaseRow.closed_at) < self._clock() - KEPT).limit(AT_ONCE)
        with self._database.reading() as session:
            cases = session.exec(old).all()
        for case in cases:
            with suppress(IntegrityError):  # somebody has put something to it, which stays, and it with it
                self._delete(case)

    def _delete(self, case: str) -> None:
        with self._database.writing() as session:
            notices = select(NoticeRow.id).where(NoticeRow.case_id == case)
            session.exec(delete(DeliveryRow).where(col(DeliveryRow.notice).in_(notices)))
            for table in OF_A_CANARY:
                of_case: Any = table.case_id
                session.exec(delete(table).where(of_case == case))
            session.exec(delete(CaseRow).where(col(CaseRow.id) == case))


def silent(session: Session, began: datetime, bound: timedelta, now: datetime) -> list[tuple[str, datetime]]:
    """The canaries that ought to have escalated by an instant and have not, and since when; the rest of the ledger, and
    nothing else, says so: whether the engine has ever heard of them does not matter."""
    late = []
    for case in session.exec(_open().where(~_has_fired())):
        due = CanaryPromises.model_validate(case.promises).heard.due(case.opened_at)
        if max(due, began) + bound < now:
            late.append((case.id, due))
    return late


def _open() -> Any:
    return select(CaseRow).where(CaseRow.process == CANARY.name, CaseRow.state == "open").order_by(col(CaseRow.number))


def _has_fired() -> ColumnElement[bool]:
    return exists().where(col(DeadlineRow.case_id) == CaseRow.id, col(DeadlineRow.fired_at).is_not(None))


def _is_ended() -> ColumnElement[bool]:
    return exists().where(col(SubmissionRow.case_id) == CaseRow.id, col(SubmissionRow.form) == Heard.form)


def _heard(case: str) -> str:
    return f"heard-{case}"
