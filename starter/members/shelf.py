"""What the screens show of members: one of them, the lines of a list, and how complete each store's records come."""

from datetime import date, datetime, time
from typing import Any, Literal, Self

from pydantic import BaseModel, model_validator
from pydantic_core import PydanticCustomError
from sqlmodel import Session, and_, case, col, func, or_, select

from activities import members
from models.audit import AUDIT_LIST
from models.forms import Private, Text
from models.members import Standing
from models.people import Person
from models.tables import AuditLineRow, CaseRow, MemberRow, SearchRow, TaskRow
from models.words import Language, say
from starter.access import Scoped, scoped
from starter.members.rules import number_of
from starter.members.said import HIDE, MASKED, WHOLE
from starter.numbers import normal
from starter.pages import Page, Part, instant_of, read_cursor
from starter.refusals import Forbidden, NotFound
from starter.views import Views

State = Literal["existing", "listed", "incomplete", "audited"]
"""A member before go-live; on the list of a day; something is wanting, or is audited again; found complete."""


class MemberView(BaseModel):
    """A member: what is known of him, what is wanting, and who audited him."""

    member: str
    version: int
    store: str
    region: str | None
    standing: Standing
    state: State
    entered_at: datetime
    changed_at: datetime
    audited_at: datetime | None = None
    audited_by: str | None = None
    case: str | None
    findings: dict[str, str]
    data: dict[str, Any]
    """Whole for specialists, the manager and his own store; masked for the others."""


class LineView(MemberView):
    """A line of a day's list."""

    line: Literal["listed", "passed", "rejected", "withdrawn"]
    at: datetime


class Lines(Page[LineView], Scoped):
    """The lines of a list. `listed` is how many wait for its auditor: what `check` is to say."""

    listed: int
    hint: str | None = None


class Completeness(BaseModel):
    """How the new members of a store came: complete at first, or not; those still to be audited apart."""

    store: str
    name: str
    entered: int
    complete: int
    incomplete: int
    waiting: int
    rate: float | None
    """Complete among those audited, of 1; None where nobody is."""


class Completenesses(Scoped):
    since: date
    until: date
    items: list[Completeness]
    hint: str | None = None


class Period(BaseModel):
    """Days of the calendar; the last one is not in it."""

    since: date
    until: date

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.until <= self.since:
            raise PydanticCustomError("period_empty", "must be later than since")
        return self


class LineQuery(Part):
    line: Literal["listed", "passed", "rejected", "withdrawn"] | None = None


class MemberWanted(Private):
    """Whom somebody looks for, by exactly one of his numbers. In a body: addresses stand in logs."""

    member_no: Text | None = None
    card: Text | None = None
    phone: Text | None = None

    @model_validator(mode="after")
    def _by_one(self) -> Self:
        if sum(value is not None for value in (self.member_no, self.card, self.phone)) != 1:
            raise PydanticCustomError("exactly_one", "name exactly one of {known}", {"known": "member_no, card, phone"})
        return self

    @property
    def finder(self) -> tuple[str, str]:
        """The kind of number, and it in its normal form. Invalid says what is wrong with it."""
        if self.member_no:
            return "number", number_of(self.member_no)
        return ("card", normal("card", self.card)) if self.card else ("phone", normal("phone", str(self.phone)))


class FoundMembers(BaseModel):
    items: list[MemberView]
    hint: str | None = None


class MemberViews(Views):
    """What the register shows to the reader of these views. Forbidden for who reads no members."""

    def __init__(self, views: Views) -> None:
        vars(self).update(vars(views))
        if self._reader.role not in WHOLE | MASKED:
            raise Forbidden("may_not_read")

    def member(self, id: str) -> MemberView:
        """NotFound also where the reader may not know of him."""
        row = self._session.get(MemberRow, id)
        if row is None or not self._reader.may_see(row.store, row.region):
            raise NotFound("no_such_member", member=id)
        return self._views([row])[0]

    def found(self, wanted: MemberWanted, language: Language = "zh") -> FoundMembers:
        kind, number = wanted.finder
        ids = members.found(self._session, self._keys, kind, number)
        rows = self._session.exec(select(MemberRow).where(col(MemberRow.id).in_(ids)).order_by(col(MemberRow.id)))
        views = self._views([row for row in rows if self._reader.may_see(row.store, row.region)])
        return FoundMembers(items=views, hint=None if views else say("hint", "no_member", language))

    def lines(
        self, id: str, *, line: str | None = None, limit: int = 50, cursor: str | None = None, language: Language = "zh"
    ) -> Lines:
        """The lines of a list, as they came. NotFound as for its case."""
        of = self._session.get(CaseRow, id)
        if of is None or of.process != AUDIT_LIST.name or not self._may_read(of):
            raise self.missing(id)
        query = select(AuditLineRow, MemberRow).join(MemberRow, col(MemberRow.id) == col(AuditLineRow.member_id))
        query = query.where(AuditLineRow.case_id == id)
        if line:
            query = query.where(AuditLineRow.state == line)
        query = query.order_by(col(AuditLineRow.at), col(AuditLineRow.member_id))
        if cursor:
            at, member = read_cursor(cursor, 2)
            later = and_(col(AuditLineRow.at) == instant_of(at), col(AuditLineRow.member_id) > member)
            query = query.where(or_(col(AuditLineRow.at) > instant_of(at), later))
        page = self._page(query, limit, self._lines, lambda found: (found[0].at.isoformat(), found[0].member_id))
        waiting = select(func.count()).where(AuditLineRow.case_id == id, AuditLineRow.state == "listed")
        hint = None if page.items else say("hint", "list_empty", language)
        return Lines(**dict(page), listed=self._session.exec(waiting).one(), hint=hint, **scoped(self._reader))

    def completeness(self, period: Period, language: Language = "zh") -> Completenesses:
        """Of each store that the reader may see and that had new members in the period."""
        since, until = (datetime.combine(day, time(), self._zone) for day in (period.since, period.until))
        clean = col(MemberRow.clean_at_first)
        sums = [func.sum(case((clean.is_(is_clean), 1), else_=0)) for is_clean in (True, False)]
        query: Any = select(MemberRow.store, MemberRow.region, func.count()).add_columns(*sums)
        query = query.where(MemberRow.entered_at >= since, MemberRow.entered_at < until)
        query = query.where(col(MemberRow.existing).is_(False))
        query = query.group_by(col(MemberRow.store), col(MemberRow.region)).order_by(col(MemberRow.store))
        items = [
            Completeness(
                store=store,
                name=known.name if (known := self._people.store(store)) else store,
                entered=entered,
                complete=complete,
                incomplete=incomplete,
                waiting=entered - complete - incomplete,
                rate=round(complete / (complete + incomplete), 4) if complete + incomplete else None,
            )
            for store, region, entered, complete, incomplete in self._session.exec(query)
            if self._reader.may_see(store, region)
        ]
        hint = None if items else say("hint", "no_new_members", language)
        return Completenesses(since=period.since, until=period.until, items=items, hint=hint, **scoped(self._reader))

    # Parts

    def _lines(self, rows: list[Any]) -> list[LineView]:
        views = self._views([member for _, member in rows])
        return [
            LineView(**dict(view), line=line.state, at=self._here(line.at))
            for view, (line, _) in zip(views, rows, strict=True)
        ]

    def _views(self, rows: list[MemberRow]) -> list[MemberView]:
        audits = self._audits(rows)
        return [self._view(row, *audits.get(row.case_id or "", (None, None))) for row in rows]

    def _audits(self, rows: list[MemberRow]) -> dict[str, tuple[CaseRow, TaskRow | None]]:
        """The cases these members are in, each with the task by which an auditor found him complete."""
        ids = {row.case_id for row in rows if row.case_id}
        cases = {found.id: found for found in self._session.exec(select(CaseRow).where(col(CaseRow.id).in_(ids)))}
        of_auditor = select(TaskRow).where(
            col(TaskRow.case_id).in_(ids), col(TaskRow.form).in_(["check", "review"]), TaskRow.state == "done"
        )
        done = {task.case_id: task for task in self._session.exec(of_auditor.order_by(col(TaskRow.done_at)))}
        return {case_id: (found, done.get(case_id)) for case_id, found in cases.items()}

    def _view(self, row: MemberRow, of: CaseRow | None, by: TaskRow | None) -> MemberView:
        audited = of is not None and of.state == "archived" and by is not None
        waiting: State = "listed" if of is not None and of.process == AUDIT_LIST.name else "incomplete"
        whole = members.whole(row, self._keys)
        return MemberView(
            member=row.id,
            version=row.version,
            store=row.store,
            region=row.region,
            standing=whole.get("standing", "active"),
            state="existing" if row.existing else "audited" if audited else waiting,
            entered_at=self._here(row.entered_at),
            changed_at=self._here(row.changed_at),
            audited_at=self._here(by.done_at) if by and audited else None,
            audited_by=by.done_by if by and audited else None,
            case=row.case_id,
            findings=row.findings,
            data={
                name: self._shown(name, said)
                for name, said in whole.items()
                if name not in ("store", "standing", "version")
            },
        )

    def _shown(self, name: str, said: Any) -> Any:
        hide = HIDE.get(name)
        return hide(said) if hide and self._reader.role in MASKED else said


def note_search(session: Session, now: datetime, by: Person, kind: str, found: int) -> None:
    """That somebody looked for a member, by what kind of number; never the number."""
    kind = "card" if kind == "number" else kind
    session.add(SearchRow(at=now, by=by.id, role=by.role, kind=kind, found=found))
