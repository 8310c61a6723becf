"""What is shown of a month's list: its members with their calls, the workbook that was archived, and what to say to one of them."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, false, func, select, true

from activities.keys import COLUMN
from activities.members import member_of, whole
from models.expiry import EXPIRY_NOTICE, Reckoned, Waiver
from models.forms import Code
from models.people import Role
from models.tables import CaseRow, ExpiryLineRow, ExpiryListRow, MemberRow, SubmissionRow
from models.words import Language, say
from starter.access import Scoped, scoped
from starter.expiry.course import Course, State, courses
from starter.expiry.lists import place_of
from starter.expiry.standing import made_anyway_by, reckoned, rule_of, yuan
from starter.expiry.workbook import Book, title_of
from starter.pages import Page, Part, read_cursor, whole_of
from starter.refusals import Conflict, Forbidden, NotFound
from starter.views import Views

MAY_READ = (Role.SPECIALIST, Role.MANAGER, Role.DIRECTOR, Role.SUPERVISOR, Role.STORE)
MAY_EXPORT = (Role.SPECIALIST, Role.MANAGER, Role.DIRECTOR)
LAST_OF_CARD = 4


class ExpiryLine(BaseModel):
    """A member of the list. Figures are those of the day it was made; who he is, and his number, as his record has it now."""

    nth: int
    case: str | None
    number: str | None
    store: str
    region: str
    card_no: str | None
    name: str | None
    phone: str | None
    valid_through: date
    purchases: int
    spend: Decimal
    purchases_missing: int
    amount_missing: Decimal
    waived: bool
    state: State | None
    outcome: str | None
    told_rule: bool | None
    called_at: datetime | None
    called_by: str | None
    store_notified_at: datetime | None
    closed_because: str | None


class ExpiryPage(Page[ExpiryLine], Scoped):
    """A month's list: when it was made, for whom it is shown and how far he sees, and its members."""

    month: str
    title: str
    case: str
    as_of: datetime
    made_at: datetime | None
    made_anyway_by: str | None
    """Who had it made without waiting for the member system; None for what was waited for."""
    listed: int
    waived: int


class MonthView(BaseModel):
    """A month's list as one line. Calls and ends are counted over those whom the reader sees."""

    month: str
    case: str
    as_of: datetime
    made_at: datetime | None
    made_anyway_by: str | None
    listed: int
    waived: int
    to_call: int
    called: int
    ended: dict[str, int]


class MonthPage(Page[MonthView], Scoped):
    """The months' lists, the latest first."""


class Script(BaseModel):
    """What to say to a member, by what he has bought until now."""

    case: str
    number: str
    phone: str | None
    purchases: int
    spend: Decimal
    purchases_missing: int
    amount_missing: Decimal
    waived: bool
    text: str


class ExpiryQuery(Part):
    store: Code | None = None
    region: Code | None = None
    state: State | None = None
    waived: bool = Field(default=False, description="已免年费者 · those who have earned the waiver instead")


class ExpiryViews(Views):
    """For the reader of these views. Forbidden for who may read no member."""

    def __init__(self, views: Views) -> None:
        vars(self).update(vars(views))
        if self._reader.role not in MAY_READ:
            raise Forbidden("may_not_read")

    def months(self, *, limit: int = 50, cursor: str | None = None) -> MonthPage:
        """Every list, the latest first."""
        query = select(ExpiryListRow).order_by(col(ExpiryListRow.month).desc())
        if cursor:
            year, month = divmod(whole_of(read_cursor(cursor, 1)[0]), 100)
            query = query.where(ExpiryListRow.month < f"{year:04}-{month:02}")
        page = self._page(query, limit, self._months, lambda row: (row.month.replace("-", ""),))
        return MonthPage(**dict(page), **scoped(self._reader))

    def members(
        self,
        month: str,
        *,
        store: str | None = None,
        region: str | None = None,
        state: State | None = None,
        waived: bool = False,
        language: Language = "zh",
        limit: int = 50,
        cursor: str | None = None,
    ) -> ExpiryPage:
        """A month's members by their place on the list. NotFound where there is none."""
        row = self._list(month)
        query = (
            select(ExpiryLineRow, MemberRow)
            .join(MemberRow, col(MemberRow.id) == col(ExpiryLineRow.member_id))
            .join(CaseRow, col(CaseRow.id) == col(ExpiryLineRow.case_id), isouter=True)
            .where(ExpiryLineRow.month == month, col(ExpiryLineRow.waived).is_(waived), self._seen())
            .order_by(col(ExpiryLineRow.nth))
        )
        if store:
            query = query.where(ExpiryLineRow.store == store)
        if region:
            query = query.where(ExpiryLineRow.region == region)
        if state:
            query = query.where(self._in_state(state))
        if cursor:
            query = query.where(ExpiryLineRow.nth > whole_of(read_cursor(cursor, 1)[0]))
        rule = rule_of(self._session, month)

        def shown(found: Any) -> Any:
            return self._lines(found, rule)

        page = self._page(query, limit, shown, lambda found: (str(found[0].nth),))
        return ExpiryPage(
            **dict(page),
            month=month,
            title=title_of(month, language),
            case=row.case_id,
            as_of=self._here(row.as_of),
            made_at=self._here(row.made_at),
            made_anyway_by=made_anyway_by(self._session, row),
            listed=row.listed,
            waived=row.waived,
            **scoped(self._reader),
        )

    def archived(self, month: str) -> bytes:
        """The workbook of the whole chain, as it was archived. Conflict while the list is being made."""
        if self._reader.role not in MAY_EXPORT:
            raise Forbidden("may_not_read")
        row = self._list(month)
        if row.sealed is None:
            raise Conflict("list_not_made", month=month)
        return self._keys.open(row.sealed, COLUMN, place_of(month))

    def with_calls(self, month: str, language: Language = "zh") -> bytes:
        """The same workbook with the calls until now. Conflict while the list is being made."""
        if self._reader.role not in MAY_EXPORT:
            raise Forbidden("may_not_read")
        made_at = self._list(month).made_at
        if made_at is None:
            raise Conflict("list_not_made", month=month)
        return Book(self._session, self._keys, self._people, self._zone, month, made_at, language).written()

    def script(self, case: str, language: Language = "zh") -> Script:
        """What to say to the member of a notice. NotFound where there is none, or none that he may read."""
        row = self._session.get(CaseRow, case)
        if row is None or not self._may_read(row):
            raise self.missing(case)
        line = self._session.exec(select(ExpiryLineRow).where(ExpiryLineRow.case_id == case)).first()
        if row.process != EXPIRY_NOTICE.name or line is None:
            raise NotFound("not_a_notice", case=case)
        member = self._session.get_one(MemberRow, line.member_id)
        known = whole(member, self._keys)
        stands = reckoned(self._session, rule_of(self._session, line.month), member_of(member), line)
        return Script(
            case=case,
            number=row.number,
            phone=known.get("phone"),
            **_figures(stands),
            waived=stands.waived,
            text=_text(known, line, stands, language),
        )

    # Parts

    def _list(self, month: str) -> ExpiryListRow:
        row = self._session.get(ExpiryListRow, month)
        if row is None:
            raise NotFound("no_such_list", month=month)
        return row

    def _seen(self) -> ColumnElement[bool]:
        match self._reader.role:
            case Role.STORE:
                return col(ExpiryLineRow.store) == self._reader.store
            case Role.SUPERVISOR:
                return col(ExpiryLineRow.region).in_(self._reader.regions)
        return true()

    def _in_state(self, state: State) -> ColumnElement[bool]:
        called = col(ExpiryLineRow.case_id).in_(
            select(SubmissionRow.case_id).where(SubmissionRow.form == "call", SubmissionRow.state == "decided")
        )
        is_open = col(CaseRow.state) == "open"
        return {"to_call": and_(is_open, ~called), "called": and_(is_open, called), "ended": ~is_open}.get(
            state, false()
        )

    def _lines(self, found: list[tuple[ExpiryLineRow, MemberRow]], rule: Waiver) -> list[ExpiryLine]:
        known = courses(self._session, [line.case_id for line, _ in found if line.case_id])
        return [self._line(line, member, rule, known.get(line.case_id or "")) for line, member in found]

    def _line(self, line: ExpiryLineRow, member: MemberRow, rule: Waiver, course: Course | None) -> ExpiryLine:
        known = whole(member, self._keys)
        return ExpiryLine(
            nth=line.nth,
            case=line.case_id,
            number=course.number if course else None,
            store=line.store,
            region=line.region,
            **{name: known.get(name) for name in ("card_no", "name", "phone")},
            valid_through=line.valid_through,
            **_figures(Reckoned(rule, line.purchases, yuan(line.fen))),
            waived=line.waived,
            state=course.state if course else None,
            outcome=course.outcome if course else None,
            told_rule=course.told_rule if course else None,
            called_at=self._here(course.called_at) if course else None,
            called_by=course.called_by if course else None,
            store_notified_at=self._here(course.store_notified_at) if course else None,
            closed_because=course.closed_because if course else None,
        )

    def _months(self, rows: list[ExpiryListRow]) -> list[MonthView]:
        return [
            MonthView(
                month=row.month,
                case=row.case_id,
                as_of=self._here(row.as_of),
                made_at=self._here(row.made_at),
                made_anyway_by=made_anyway_by(self._session, row),
                listed=row.listed,
                waived=row.waived,
                to_call=self._count(self._session, row.month, "to_call"),
                called=self._count(self._session, row.month, "called"),
                ended=self._ended(row.month),
            )
            for row in rows
        ]

    def _count(self, session: Session, month: str, state: State) -> int:
        query = select(func.count()).select_from(ExpiryLineRow).join(CaseRow, col(CaseRow.id) == ExpiryLineRow.case_id)
        return session.exec(query.where(ExpiryLineRow.month == month, self._seen(), self._in_state(state))).one()

    def _ended(self, month: str) -> dict[str, int]:
        query = select(CaseRow.closed_because, func.count()).join(
            ExpiryLineRow, col(ExpiryLineRow.case_id) == col(CaseRow.id)
        )
        query = query.where(ExpiryLineRow.month == month, self._seen(), CaseRow.state != "open")
        return {str(because): n for because, n in self._session.exec(query.group_by(col(CaseRow.closed_because)))}


def _figures(stands: Reckoned) -> dict[str, Any]:
    return {
        "purchases": stands.purchases,
        "spend": stands.spend,
        "purchases_missing": stands.purchases_missing,
        "amount_missing": stands.amount_missing,
    }


def _text(known: dict[str, Any], line: ExpiryLineRow, stands: Reckoned, language: Language) -> str:
    """The rule, and what this member still lacks (4.2(3))."""
    missing = say(
        "expiry",
        "nothing_missing" if stands.waived else "missing",
        language,
        purchases=stands.purchases_missing,
        amount=stands.amount_missing,
    )
    return say(
        "expiry",
        "script",
        language,
        name=known.get("name") or "",
        card=str(known.get("card_no") or "")[-LAST_OF_CARD:],
        valid_through=line.valid_through,
        purchases=stands.rule.purchases,
        amount=stands.rule.amount,
        bought=stands.purchases,
        spend=stands.spend,
        missing=missing,
    )
