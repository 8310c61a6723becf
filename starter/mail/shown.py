"""What is shown of letters: those of a case, in full for who may read it; and what was set aside."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlmodel import col, select

from models.people import Role
from models.tables import CaseRow, LetterRow
from starter.mail.letters import content_of
from starter.pages import Page, Part, instant_of, read_cursor
from starter.refusals import Forbidden
from starter.views import Views

MAY_LIST = frozenset({Role.SPECIALIST, Role.MANAGER, Role.ADMINISTRATOR})


class LetterView(BaseModel):
    """A letter of a case. `left` names the attachments that were not taken, and why."""

    letter: str
    came: bool
    what: str
    state: Literal["in", "waiting", "delivered", "undeliverable", "bounced"]
    at: datetime
    submission: str | None
    delivered_at: datetime | None
    attempts: int
    failed: str | None
    possible_duplicate: bool
    address: str | None
    subject: str | None
    text: str | None
    left: list[dict[str, str]] = []


class LetterLine(BaseModel):
    """A letter in a list: nothing of what it says."""

    letter: str
    case: str | None
    number: str | None
    what: str
    state: str
    at: datetime
    delivered_at: datetime | None
    failed: str | None


class LetterQuery(Part):
    what: (
        Literal[
            "opened",
            "reopened",
            "added",
            "unreadable",
            "bounce",
            "automatic",
            "own",
            "receipt",
            "reply",
            "solution",
            "solve",
            "agreed_reply",
        ]
        | None
    ) = None
    state: Literal["in", "waiting", "delivered", "undeliverable", "bounced"] | None = None


class LetterViews(Views):
    """Reads letters for the reader of these views."""

    def __init__(self, views: Views) -> None:
        vars(self).update(vars(views))

    def of(self, case: str) -> list[LetterView]:
        """A case's letters, the oldest first. NotFound as for the case; Forbidden for who reads no contents."""
        row = self._session.get(CaseRow, case)
        if row is None or not self._reader.may_see(row.store, row.region):
            raise self.missing(case)
        if self._reader.role is Role.ADMINISTRATOR:
            raise Forbidden("may_not_read")
        of_case = select(LetterRow).where(LetterRow.case_id == case, LetterRow.sealed != b"")
        return [self._letter(one) for one in self._session.exec(of_case.order_by(col(LetterRow.at), col(LetterRow.id)))]

    def letters(
        self, *, what: str | None = None, state: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[LetterLine]:
        """All letters, the latest first."""
        if self._reader.role not in MAY_LIST:
            raise Forbidden("may_not_read")
        query = select(LetterRow, CaseRow.number).join(CaseRow, col(CaseRow.id) == col(LetterRow.case_id), isouter=True)
        query = query.order_by(col(LetterRow.at).desc(), col(LetterRow.id))
        if what:
            query = query.where(LetterRow.what == what)
        if state:
            query = query.where(LetterRow.state == state)
        if cursor:
            at, last = read_cursor(cursor, 2)
            moment = instant_of(at)
            query = query.where(
                (col(LetterRow.at) < moment) | ((col(LetterRow.at) == moment) & (col(LetterRow.id) > last))
            )
        return self._page(query, limit, self._lines, lambda found: (found[0].at.isoformat(), found[0].id))

    def _lines(self, rows: list[Any]) -> list[LetterLine]:
        return [
            LetterLine(
                letter=row.id,
                case=row.case_id,
                number=number,
                what=row.what,
                state=row.state,
                at=self._here(row.at),
                delivered_at=self._here(row.delivered_at),
                failed=row.failed,
            )
            for row, number in rows
        ]

    def _letter(self, row: LetterRow) -> LetterView:
        content = content_of(self._keys, row)
        return LetterView(
            letter=row.id,
            came=row.came,
            what=row.what,
            state=row.state,
            at=self._here(row.at),
            submission=row.submission,
            delivered_at=self._here(row.delivered_at),
            attempts=row.attempts,
            failed=row.failed,
            possible_duplicate=row.doubtful,
            address=content.get("from") if row.came else content.get("to"),
            subject=content.get("subject"),
            text=content.get("text"),
            left=content.get("left", []),
        )
