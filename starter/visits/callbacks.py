"""The callback file of a region (handbook 3.4): every complaint callback and every call of a planned visit, to be found and exported."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import literal, union_all
from sqlmodel import col, func, select

from activities.submissions import unsealed
from models.complaint import COMPLAINT
from models.complaint.facts import Customer, Reached
from models.forms import Code, FieldError, Private, Text
from models.people import Role
from models.tables import CaseRow, CustomerRow, SubmissionRow, VisitCallRow, VisitFinderRow, VisitRow
from models.visits.months import begins
from models.words import Language, choice, say
from starter.customers import values_of
from starter.facts import facts_now
from starter.numbers import Kind, normal
from starter.pages import Page, Part, cursor_of, instant_of, read_cursor
from starter.papers.masks import masked
from starter.refusals import Invalid
from starter.visits import whom
from starter.visits.books import Sheet, book
from starter.visits.calls import said_in
from starter.visits.notices import SEES_NAMES
from starter.visits.shown import VisitViews

CALLBACK = "callback"
MOST = 20_000
"""Records of one workbook: more is asked for in parts, and never cut."""


Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(2200, 12, 31))]
"""Far enough from the calendar's ends to be reckoned with."""


class CallbackQuery(Part):
    """What of the file is asked for. Days are the calendar's; `until` is not among them."""

    kind: Literal["callback", "visit"] | None = None
    region: Code | None = None
    store: Code | None = None
    since: Day | None = None
    until: Day | None = None
    outcome: Reached | None = None
    caller: Code | None = None


class CallbackSearch(Private):
    """The same, of one customer: by exactly one number, in the body so that no log holds it."""

    phone: Text | None = None
    card: Text | None = None
    kind: Literal["callback", "visit"] | None = None
    region: Code | None = None
    store: Code | None = None
    since: Day | None = None
    until: Day | None = None
    outcome: Reached | None = None
    caller: Code | None = None
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=500)

    @model_validator(mode="after")
    def _by_one_number(self) -> Self:
        if (self.phone is None) == (self.card is None):
            raise PydanticCustomError("exactly_one", "takes exactly one of {known}", {"known": "phone, card"})
        return self

    @property
    def number(self) -> tuple[Kind, str]:
        """Invalid where it is none."""
        return ("phone", normal("phone", self.phone)) if self.phone else ("card", normal("card", str(self.card)))

    @property
    def wanted(self) -> CallbackQuery:
        return CallbackQuery(**self.model_dump(exclude={"phone", "card"}, context="ledger"))


class CallbackView(BaseModel):
    """A callback or a call. Of those who need not know him, the customer is masked and what he said left out."""

    kind: Literal["callback", "visit"]
    id: str
    """The case of the complaint, or the visit."""
    at: datetime
    store: str | None
    region: str | None
    by: str
    channel: str | None
    outcome: str
    satisfaction: int | None
    purpose: str | None
    complaint: str | None
    """The complaint that a visit became."""
    customer: dict[str, Any]
    said: dict[str, Any] | None


class Callbacks(Page[CallbackView]):
    hint: str | None = None


class CallbackViews(VisitViews):
    """The file, as the reader of these views may have it: the latest first."""

    def callbacks(
        self, wanted: CallbackQuery, number: tuple[Kind, str] | None = None, language: Language = "zh"
    ) -> Callbacks:
        records = self._records(wanted, number)
        columns: Any = select
        query = columns(*records.c).order_by(records.c.at.desc(), records.c.id, records.c.nth)
        if wanted.cursor:
            at, last_id, nth = read_cursor(wanted.cursor, 3)
            instant = instant_of(at)
            same = (records.c.at == instant) & (
                (records.c.id > last_id)
                | ((records.c.id == last_id) & (records.c.nth > int(nth) if nth.isdecimal() else False))
            )
            query = query.where((records.c.at < instant) | same)
        rows = list(self._session.exec(query.limit(wanted.limit + 1)))
        shown = [self._callback(row) for row in rows[: wanted.limit]]
        if len(rows) <= wanted.limit:
            return Callbacks(items=shown, hint=None if shown else say("hint", "no_callbacks", language))
        last = rows[wanted.limit - 1]
        found: int = self._session.exec(select(func.count()).select_from(query.order_by(None).subquery())).one()
        return Callbacks(
            items=shown, cursor=cursor_of(last.at.isoformat(), last.id, str(last.nth)), more=found - wanted.limit
        )

    def workbook(
        self, wanted: CallbackQuery, number: tuple[Kind, str] | None = None, language: Language = "zh"
    ) -> bytes:
        """The file as a workbook, a sheet for each region. Invalid where it would hold more than MOST records."""
        records = self._records(wanted, number)
        columns: Any = select
        found: int = self._session.exec(select(func.count()).select_from(records)).one()
        if found > MOST:
            values = {"found": str(found), "limit": str(MOST)}
            raise Invalid([FieldError(field="since", code="too_many_records", values=values)])
        rows = self._session.exec(columns(*records.c).order_by(records.c.at.desc(), records.c.id, records.c.nth))
        by_region: dict[str, list[list[Any]]] = {}
        for one in map(self._callback, rows):
            by_region.setdefault(one.region or "-", []).append(list(self._cells(one, language)))
        heads = [say("visit", name, language) for name in HEADS]
        sheets = [Sheet(region, heads, cells) for region, cells in sorted(by_region.items())]
        return book(sheets or [Sheet(say("visit", "file", language), heads)], self._here(self._now))

    def _records(self, wanted: CallbackQuery, number: tuple[Kind, str] | None) -> Any:
        parts = {"callback": self._of_cases, "visit": self._of_visits}
        chosen = [part(wanted, number) for kind, part in parts.items() if wanted.kind in (None, kind)]
        return union_all(*chosen).subquery()

    def _of_cases(self, wanted: CallbackQuery, number: tuple[Kind, str] | None) -> Any:
        outcome = col(SubmissionRow.outline)["outcome"].as_string()
        columns: Any = select
        query = (
            columns(
                literal("callback").label("kind"),
                col(CaseRow.id).label("id"),
                literal(0).label("nth"),
                col(SubmissionRow.id).label("record"),
                col(SubmissionRow.recorded_at).label("at"),
                col(CaseRow.store).label("store"),
                col(CaseRow.region).label("region"),
                col(SubmissionRow.by).label("by"),
                outcome.label("outcome"),
            )
            .join(CaseRow, col(CaseRow.id) == col(SubmissionRow.case_id))
            .where(CaseRow.process == COMPLAINT.name, SubmissionRow.form == CALLBACK, SubmissionRow.state == "decided")
        )
        query = self._narrowed(query, wanted, CaseRow, col(SubmissionRow.recorded_at), col(SubmissionRow.by), outcome)
        if number:
            known = select(CustomerRow.case_id).where(
                CustomerRow.kind == number[0], col(CustomerRow.value).in_(values_of(self._keys, *number))
            )
            query = query.where(col(CaseRow.id).in_(known))
        return query

    def _of_visits(self, wanted: CallbackQuery, number: tuple[Kind, str] | None) -> Any:
        columns: Any = select
        query = columns(
            literal("visit").label("kind"),
            col(VisitRow.id).label("id"),
            col(VisitCallRow.nth).label("nth"),
            col(VisitRow.id).label("record"),
            col(VisitCallRow.at).label("at"),
            col(VisitRow.store).label("store"),
            col(VisitRow.region).label("region"),
            col(VisitCallRow.by).label("by"),
            col(VisitCallRow.outcome).label("outcome"),
        ).join(VisitRow, col(VisitRow.id) == col(VisitCallRow.visit_id))
        outcome, at, by = col(VisitCallRow.outcome), col(VisitCallRow.at), col(VisitCallRow.by)
        query = self._narrowed(query, wanted, VisitRow, at, by, outcome)
        if number:
            known = select(VisitFinderRow.visit_id).where(
                VisitFinderRow.kind == number[0], col(VisitFinderRow.value).in_(values_of(self._keys, *number))
            )
            query = query.where(col(VisitRow.id).in_(known))
        return query

    def _narrowed(self, query: Any, wanted: CallbackQuery, table: Any, at: Any, by: Any, outcome: Any) -> Any:
        match self._reader.role:
            case Role.STORE:
                query = query.where(table.store == self._reader.store)
            case Role.SUPERVISOR:
                query = query.where(col(table.region).in_(self._reader.regions))
        asked = [
            (table.region, wanted.region),
            (table.store, wanted.store),
            (by, wanted.caller),
            (outcome, wanted.outcome),
        ]
        query = query.where(*(column == value for column, value in asked if value is not None))
        if wanted.since:
            query = query.where(at >= begins(wanted.since, self._zone))
        if wanted.until:
            query = query.where(at < begins(wanted.until, self._zone))
        return query

    def _callback(self, record: Any) -> CallbackView:
        customer, said, more = self._of_case(record) if record.kind == "callback" else self._of_visit(record)
        full = self._reader.role in SEES_NAMES
        hidden = customer if full else masked(customer)
        return CallbackView(
            **{name: getattr(record, name) for name in ("kind", "id", "store", "region", "by", "outcome")},
            **more,
            at=self._here(record.at),
            channel=said.get("channel"),
            satisfaction=said.get("satisfaction"),
            customer=hidden.model_dump(mode="json", context="ledger", exclude_none=True),
            said=said if full else None,
        )

    def _of_case(self, record: Any) -> tuple[Customer, dict[str, Any], dict[str, Any]]:
        facts = facts_now(self._session, record.id, lambda row: unsealed(row, self._keys))
        said = unsealed(self._session.get_one(SubmissionRow, record.record), self._keys)
        return Customer.model_validate(facts.get("customer", {})), said, {"purpose": None, "complaint": record.id}

    def _of_visit(self, record: Any) -> tuple[Customer, dict[str, Any], dict[str, Any]]:
        visit = self._session.get_one(VisitRow, record.id)
        line = whom.line_of(self._keys, visit)
        said = said_in(self._keys, self._session.get_one(VisitCallRow, (record.id, record.nth)))
        customer = Customer(name=line.name, phone=line.phone, card_no=line.card_no)
        return customer, said, {"purpose": visit.purpose, "complaint": visit.complaint}

    def _cells(self, one: CallbackView, language: Language) -> Iterator[Any]:
        said = one.said or {}
        yield one.at
        yield say("visit", f"kind_{one.kind}", language)
        yield one.store
        yield self._people.name(one.by)
        yield one.customer.get("name")
        yield one.customer.get("phone")
        yield choice("visit_line", "purpose", one.purpose, language) if one.purpose else None
        yield choice("callback", "outcome", one.outcome, language)
        yield one.satisfaction
        yield said.get("answer") or said.get("comment")
        yield said.get("problem") or said.get("complaint")
        yield one.complaint if one.kind == "visit" else None
        yield one.id


HEADS = (
    *("at", "kind", "store", "by", "customer", "phone", "purpose", "outcome", "satisfaction"),
    *("answer", "problem", "complaint", "id"),
)
