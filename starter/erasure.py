"""Erasing what is personal of closed complaints, for good (handbook 5.2 E44): what stays is what the engine was given, which held no text.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Header, Path
from pydantic import BaseModel
from sqlmodel import Session, col, delete, func, select

from activities.archive import sealed_whole
from activities.cases import locked
from activities.keys import COLUMN, KeyRing
from activities.members import found as members_found
from models.complaint import COMPLAINT
from models.forms import HIDDEN, Code, Private
from models.people import Person, Role
from models.tables import ERASED, ArchiveRow, AttachmentRow, CaseRow, CustomerRow, EventRow, LetterRow, SubmissionRow
from models.words import Language, language_of, say
from starter.customers import NOTED, OfCustomer, values_of
from starter.mail import letters
from starter.refusals import Conflict, Forbidden, NotFound
from starter.reopening import is_open
from starter.views import Views
from starter.visits import erasing as visiting

if TYPE_CHECKING:
    from starter.front import Front

log = structlog.get_logger()

Because = Literal["customer_request", "consent_withdrawn", "retention_over", "mistake"]


class Erasure(Private):
    """Why a case is erased. A code: a sentence might name whom it is about."""

    because: Because
    preview: bool = False
    """Say what would go, and change nothing."""


class CustomerErasure(Erasure, OfCustomer):
    """Whose closed cases are erased: by exactly one of his numbers."""


class ErasedCase(BaseModel):
    """What is, or would be, erased of a case; nothing of an open one, nor of one that was erased before."""

    case: str
    number: str
    state: Literal["open", "archived"]
    erased_at: datetime | None
    forms: int
    letters: int
    attachments: int


class Erased(BaseModel):
    """What became of each case, the open ones last. `hints` say what is left to do, and by whom."""

    preview: bool
    cases: list[ErasedCase]
    visits: int = 0
    """Lines of plans, over, that were his."""
    hints: list[str]


async def erase(front: "Front", by: Person, case: str, asked: Erasure, language: Language = "zh") -> Erased:
    """Erase a closed complaint, or say what would go. Forbidden for everybody but the manager, NotFound for what is no
    complaint, Conflict while it is open: what is still being handled is needed."""
    _check(by)

    def known(views: Views) -> CaseRow:
        row = views.session.get(CaseRow, case)
        if row is None:
            raise views.missing(case)
        if row.process != COMPLAINT.name:
            raise NotFound("no_paper")
        if is_open(views.session, row):
            raise Conflict("erase_open", case=case)
        return row

    row = await front.look(by, known)
    return await _erase(front, by, [row.id], asked, [], language)


async def erase_customer(front: "Front", by: Person, asked: CustomerErasure, language: Language = "zh") -> Erased:
    """Erase all closed complaints of a customer; the open ones are named. Forbidden for everybody but the manager,
    Invalid for what is no number."""
    _check(by)
    kind, number = asked.kind, asked.number

    def theirs(views: Views) -> tuple[list[str], int, list[str]]:
        values = values_of(front.house.keys, kind, number)
        of_him = select(CustomerRow.case_id).where(CustomerRow.kind == kind, col(CustomerRow.value).in_(values))
        query = select(CaseRow.id).where(col(CaseRow.id).in_(of_him), CaseRow.process == COMPLAINT.name)
        cases = list(views.session.exec(query.order_by(col(CaseRow.state), col(CaseRow.opened_at))))
        visits = visiting.of_customer(views.session, front.house.keys, kind, number)
        is_member = kind in ("phone", "card") and members_found(views.session, front.house.keys, kind, number)
        over = len(visiting.over(views.session, visits))
        hints = ["erase_visits_open"] if over < len(visits) else []
        return cases, over, [*hints, "erase_member"] if is_member else hints

    cases, over, hints = await front.look(by, theirs)
    erased = await _erase(front, by, cases, asked, hints if cases or over or hints else ["erase_nobody"], language)
    if over and not asked.preview:
        over = await front.write(lambda session, _: visiting.erase(session, front.house.keys, kind, number))
        front.house.database.forget()
    return erased.model_copy(update={"visits": over})


def told(content: Any, word: str) -> Any:
    """A document as it is shown: where a text was erased, `word`."""
    if isinstance(content, dict):
        return {name: told(inner, word) for name, inner in content.items()}
    if isinstance(content, list | tuple):
        return [told(inner, word) for inner in content]
    return word if content == HIDDEN else content


def _check(by: Person) -> None:
    if by.role is not Role.MANAGER:
        raise Forbidden("may_not_erase", role=by.role)


async def _erase(
    front: "Front", by: Person, cases: list[str], asked: Erasure, hints: list[str], language: Language
) -> Erased:
    """Each case in a transaction of its own: what was broken off goes on when it is asked for again."""
    eraser = Eraser(front, by, asked)
    if asked.preview:
        done = await front.look(by, lambda views: [eraser.would_go(views.session, case) for case in cases])
    else:
        done = [await eraser.erase(case) for case in cases]
        front.house.database.forget()
    if any(one.state == "open" for one in done):
        hints = [*hints, "erase_close_first"]
    return Erased(preview=asked.preview, cases=done, hints=[say("hint", hint, language) for hint in hints])


class Eraser:
    """Erases cases for one person and one reason."""

    def __init__(self, front: "Front", by: Person, asked: Erasure) -> None:
        self._front = front
        self._keys: KeyRing = front.house.keys
        self._by = by
        self._asked = asked

    def would_go(self, session: Session, id: str) -> ErasedCase:
        """What there is to erase of a case."""
        case = session.get_one(CaseRow, id)
        event = session.exec(select(EventRow).where(EventRow.case_id == id, EventRow.key == ERASED)).first()
        left = event is None and not is_open(session, case)

        def many(*which: Any) -> int:
            return session.exec(select(func.count()).where(*which)).one() if left else 0

        return ErasedCase(
            case=case.id,
            number=case.number,
            state=case.state,
            erased_at=event and event.at.astimezone(self._front.house.calendar),
            forms=many(SubmissionRow.case_id == id),
            letters=many(LetterRow.case_id == id, LetterRow.sealed != b""),
            attachments=many(AttachmentRow.case_id == id, col(AttachmentRow.removed_at).is_(None)),
        )

    async def erase(self, id: str) -> ErasedCase:
        """Erase a case, where it is closed and was not erased before."""
        gone, files = await self._front.write(lambda session, now: self._erase(session, now, id))
        self._front.attachments.drop(files)  # a crash before this leaves files that nothing refers to: they are swept
        if gone.forms:
            log.info("case.erased", case=id, by=self._by.id, because=self._asked.because)
        return gone

    def _erase(self, session: Session, now: datetime, id: str) -> tuple[ErasedCase, list[str]]:
        case = locked(session, id)
        gone = self.would_go(session, id)
        if not gone.forms:
            return gone, []
        for row in session.exec(select(SubmissionRow).where(SubmissionRow.case_id == id)):
            body = json.dumps(row.outline, ensure_ascii=False, sort_keys=True).encode()
            row.sealed, row.digest = self._keys.seal(body, COLUMN, f"submission/{row.id}"), self._keys.digest(body)
        letters.erase(session, id)
        files = self._front.attachments.erase_in(session, id, now)
        session.exec(delete(CustomerRow).where(col(CustomerRow.case_id) == id, col(CustomerRow.kind) != NOTED))
        session.add(self._event(id, now))
        session.flush()
        session.get_one(ArchiveRow, id).sealed = sealed_whole(session, case, self._keys)
        case.keys = self._keys.noted(case.keys)
        return gone.model_copy(update={"erased_at": now.astimezone(self._front.house.calendar)}), files

    def _event(self, case: str, now: datetime) -> EventRow:
        data = {"because": self._asked.because}
        return EventRow(case_id=case, key=ERASED, kind=ERASED, at=now, by=self._by.id, role=self._by.role, data=data)


Said = Annotated[str | None, Header(alias="Accept-Language")]


def add_routes(router: APIRouter, front: "Front", who: Any) -> None:
    """The doors of this module."""

    @router.post(
        "/cases/{case}/erase", tags=["customers"], summary="删除个人信息 · erase a closed complaint's personal data"
    )
    async def erase_case(
        case: Annotated[Code, Path(description="工单编号 · the case's id")],
        asked: Erasure,
        by: who,
        language: Said = None,
    ) -> Erased:
        return await erase(front, by, case, asked, language_of(language))

    @router.post(
        "/customers/erase", tags=["customers"], summary="删除某位顾客的个人信息 · erase a customer's personal data"
    )
    async def erase_person(asked: CustomerErasure, by: who, language: Said = None) -> Erased:
        return await erase_customer(front, by, asked, language_of(language))
