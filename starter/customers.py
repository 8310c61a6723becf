"""Customers are found by a number they left, exactly, through a blind index: keyed hashes, made and compared, never opened.

Annotations here are evaluated when a route is made: no `from __future__ import annotations`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

import structlog
from cryptography.exceptions import InvalidTag
from fastapi import APIRouter, Header, Path, Query
from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, and_, col, delete, or_, select

from activities.database import Database
from activities.keys import KeyRing, UnknownKey
from models.forms import Code, Private, Text
from models.people import Person, Role
from models.tables import CaseRow, CustomerRow, SearchRow
from models.words import Language, language_of, say
from starter import access
from starter.numbers import PLACES, Kind, facts_of, normal, numbers_of
from starter.pages import Page, Part, instant_of, read_cursor, whole_of
from starter.refusals import Forbidden
from starter.shown import CaseSummary
from starter.views import Views

if TYPE_CHECKING:
    from starter.front import Front

NOTED = "noted"
RECENT = timedelta(days=90)
"""How long before a case was opened another one of its customer may have been closed, to be worth knowing."""
MAY_SEARCH = frozenset({Role.STORE, Role.SPECIALIST, Role.MANAGER})
AT_ONCE = 50
"""Cases in one transaction of `fill`."""
PATIENCE = 30.0
"""Seconds of a ledger that is busy without a pause, and `fill` is given up until it is run again."""

log = structlog.get_logger()


# The index


def begin(session: Session, keys: KeyRing, case: str, facts: Mapping[str, Any]) -> None:
    """Note what the customer of a new case is found by, and with which key."""
    session.add(CustomerRow(case_id=case, kind=NOTED, value=keys.writing))
    note(session, keys, case, facts)


def note(session: Session, keys: KeyRing, case: str, form: Mapping[str, Any]) -> None:
    """Note what else the customer of a case is found by, from a form that corrects it. What was known before stays."""
    for kind, number in numbers_of(form):
        value = keys.index(_bytes(kind, number))
        if session.get(CustomerRow, (case, kind, value)) is None:
            session.add(CustomerRow(case_id=case, kind=kind, value=value))


def note_anew(session: Session, keys: KeyRing, case: str) -> None:
    """Note all that a case knows of its customer with the writing key. UnknownKey or InvalidTag where it cannot be read."""
    known = facts_of(session, keys, case)
    session.exec(delete(CustomerRow).where(col(CustomerRow.case_id) == case))
    begin(session, keys, case, known[0])
    for form in known[1:]:
        note(session, keys, case, form)


def values_of(keys: KeyRing, kind: Kind, number: str) -> list[str]:
    """What a number in its normal form may be noted as."""
    return keys.indexes(_bytes(kind, number))


def _bytes(kind: str, number: str) -> bytes:
    return f"{kind}:{number}".encode()


def fill(database: Database, keys: KeyRing) -> int:
    """Note the customers of cases that came before there was an index, or were noted with another key. How many cases.

    Run again, it goes on where it stopped. OperationalError when the ledger stays busy.
    """
    done, last = 0, ""
    while ids := _not_noted(database, keys, last):
        done += _patiently(lambda ids=ids: _fill(database, keys, ids))  # type: ignore[misc]
        last = ids[-1]
    if done:
        log.info("customers.noted", cases=done)
    return done


def _not_noted(database: Database, keys: KeyRing, after: str) -> list[str]:
    noted = select(CustomerRow.case_id).where(
        CustomerRow.case_id == CaseRow.id, CustomerRow.kind == NOTED, CustomerRow.value == keys.writing
    )
    with database.reading() as session:
        missing = select(CaseRow.id).where(col(CaseRow.id) > after, ~noted.exists())
        return list(session.exec(missing.order_by(col(CaseRow.id)).limit(AT_ONCE)))


def _patiently(write: Callable[[], int]) -> int:
    end = monotonic() + PATIENCE
    while True:
        try:
            return write()
        except OperationalError:
            if monotonic() > end:
                raise
            sleep(0.05)


def _fill(database: Database, keys: KeyRing, ids: list[str]) -> int:
    """All of these cases or none of them; locked in one order, as by every other who does this."""
    done = 0
    with database.writing() as session:
        locked = select(CaseRow).where(col(CaseRow.id).in_(ids)).order_by(col(CaseRow.id)).with_for_update()
        for case in session.exec(locked).all():
            try:
                note_anew(session, keys, case.id)
                done += 1
            except (UnknownKey, InvalidTag) as error:
                log.error("customers.unreadable", case=case.id, reason=type(error).__name__)
    return done


# Who looks


class OfCustomer(Private):
    """Whom somebody means: by exactly one of his numbers. In a body, never in an address: those stand in logs."""

    phone: Text | None = None
    card: Text | None = None
    receipt: Text | None = None
    email: Text | None = None

    @model_validator(mode="after")
    def _by_one_number(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in PLACES) != 1:
            raise PydanticCustomError("exactly_one", "name exactly one of {known}", {"known": ", ".join(PLACES)})
        return self

    @property
    def kind(self) -> Kind:
        return next(kind for kind in PLACES if getattr(self, kind) is not None)

    @property
    def number(self) -> str:
        """As every spelling of it comes out. Invalid says what is wrong with it."""
        return normal(self.kind, getattr(self, self.kind))


class Wanted(OfCustomer):
    """Whom somebody looks for."""

    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=500)


class Found(Page[CaseSummary]):
    """The cases of a customer, the open ones first, then the latest. `hint` says what to do where there is none."""

    hint: str | None = None


class RelatedCase(CaseSummary):
    """Another case of the same customer, and which of his numbers the two share."""

    same: list[Kind]


class Related(Page[RelatedCase]):
    hint: str | None = None


class SearchView(BaseModel):
    """That somebody looked for a customer, and when; not whom he found."""

    at: datetime
    by: str
    role: Role
    kind: Kind
    found: int


class Searches(Page[SearchView]):
    hint: str | None = None


class CustomerViews(Views):
    """What the ledger shows of a customer to the reader of these views."""

    def __init__(self, views: Views) -> None:
        vars(self).update(vars(views))

    def found(self, wanted: Wanted, language: Language = "zh") -> Found:
        """His cases that the reader may read, the open ones first, then the latest."""
        values = values_of(self._keys, wanted.kind, wanted.number)
        theirs = select(CustomerRow.case_id).where(CustomerRow.kind == wanted.kind, col(CustomerRow.value).in_(values))
        page = self._of(col(CaseRow.id).in_(theirs), wanted.limit, wanted.cursor, self._summaries)
        hint = None if page.items else say("hint", f"no_{wanted.kind}", language)
        return Found(**dict(page), hint=hint)

    def related(self, id: str, *, limit: int = 50, cursor: str | None = None, language: Language = "zh") -> Related:
        """Other cases of the same customer: open, or closed at most RECENT before this one was opened.

        NotFound where the reader may not know of the case, Forbidden where he may not read its contents.
        """
        case = self._session.get(CaseRow, id)
        if case is None or not self._may_read(case):
            raise self.missing(id)
        if self._reader.role is Role.ADMINISTRATOR:
            raise Forbidden("may_not_read")
        shared = self._shared(case)
        recent = or_(col(CaseRow.state) == "open", col(CaseRow.closed_at) >= case.opened_at - RECENT)

        def shown(rows: list[CaseRow]) -> list[RelatedCase]:
            return [RelatedCase(**dict(one), same=sorted(shared[one.case])) for one in self._summaries(rows)]

        page = self._of(and_(col(CaseRow.id).in_(shared), recent), limit, cursor, shown)
        return Related(**dict(page), hint=None if page.items else say("hint", "no_related", language))

    def _shared(self, case: CaseRow) -> dict[str, set[Kind]]:
        """The other cases that have a number of this one's customer, whichever key either was noted with."""
        values = {
            value
            for facts in facts_of(self._session, self._keys, case.id)
            for kind, number in numbers_of(facts)
            for value in self._keys.indexes(_bytes(kind, number))
        }
        others = select(CustomerRow).where(col(CustomerRow.value).in_(values), CustomerRow.case_id != case.id)
        shared: dict[str, set[Kind]] = {}
        for row in self._session.exec(others):
            shared.setdefault(row.case_id, set()).add(cast(Kind, row.kind))
        return shared

    def _of(self, which: Any, limit: int, cursor: str | None, shown: Callable[[list[Any]], list[Any]]) -> Page[Any]:
        query = select(CaseRow).where(which)
        query = query.order_by(col(CaseRow.state).desc(), col(CaseRow.opened_at).desc(), col(CaseRow.id))
        query = query.where(access.whole(self._reader))
        if cursor:
            opened_at, state, case = read_cursor(cursor, 3)
            at = instant_of(opened_at)
            query = query.where(
                or_(
                    col(CaseRow.state) < state,
                    and_(col(CaseRow.state) == state, col(CaseRow.opened_at) < at),
                    and_(col(CaseRow.state) == state, col(CaseRow.opened_at) == at, col(CaseRow.id) > case),
                )
            )
        return self._page(query, limit, shown, lambda row: (row.opened_at.isoformat(), row.state, row.id))

    def searches(self, *, limit: int = 50, cursor: str | None = None, language: Language = "zh") -> Searches:
        """Who looked for customers, the latest first: for the manager. Forbidden for everybody else."""
        if self._reader.role is not Role.MANAGER:
            raise Forbidden("may_not_read")
        query = select(SearchRow).order_by(col(SearchRow.id).desc())
        if cursor:
            query = query.where(col(SearchRow.id) < whole_of(read_cursor(cursor, 1)[0]))
        page = self._page(query, limit, self._searches, lambda row: (str(row.id),))
        return Searches(**dict(page), hint=None if page.items else say("hint", "no_searches", language))

    def _searches(self, rows: list[SearchRow]) -> list[SearchView]:
        return [SearchView(**row.model_dump(exclude={"id", "at"}), at=self._here(row.at)) for row in rows]


async def search(front: "Front", by: Person, wanted: Wanted, language: Language = "zh") -> Found:
    """The cases of a customer; that somebody looked is written down before he sees them.

    Forbidden for who may not, Invalid for what is no number, OperationalError where it cannot be written down.
    """
    if by.role not in MAY_SEARCH:
        raise Forbidden("may_not_search", role=by.role)
    _ = wanted.number
    found = await front.look(by, lambda views: CustomerViews(views).found(wanted, language))
    looked: dict[str, Any] = {"by": by.id, "role": by.role, "kind": wanted.kind, "found": len(found.items) + found.more}
    await front.write(lambda session, now: session.add(SearchRow(at=now, **looked)))
    return found


Said = Annotated[str | None, Header(alias="Accept-Language")]


def add_routes(router: APIRouter, front: "Front", who: Any) -> None:
    """The doors of this module."""

    @router.post(
        "/customers/search", tags=["customers"], summary="按电话、卡号、小票号查找顾客的工单 · a customer's cases"
    )
    async def find_customer(wanted: Wanted, by: who, language: Said = None) -> Found:
        return await search(front, by, wanted, language_of(language))

    @router.get("/customers/searches", tags=["customers"], summary="谁查找过顾客 · who looked for customers")
    async def list_searches(by: who, part: Annotated[Part, Query()], language: Said = None) -> Searches:
        spoken = language_of(language)
        return await front.look(by, lambda views: CustomerViews(views).searches(**dict(part), language=spoken))

    @router.get(
        "/cases/{case}/related", tags=["customers"], summary="同一顾客的其他工单 · other cases of the same customer"
    )
    async def list_related(
        case: Annotated[Code, Path(description="工单编号 · the case's id")],
        by: who,
        part: Annotated[Part, Query()],
        language: Said = None,
    ) -> Related:
        spoken = language_of(language)
        return await front.look(by, lambda views: CustomerViews(views).related(case, **dict(part), language=spoken))
