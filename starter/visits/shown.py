"""What the screens show of visits: a plan, lines, a caller's day, a month; names only to those who call or answer for it."""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import String, case, cast, literal
from sqlmodel import col, func, select

from activities.submissions import unsealed
from models.complaint.facts import Customer
from models.forms import Code, FieldError
from models.people import Person, Role
from models.tables import (
    CaseRow,
    MemberRow,
    PlanVersionRow,
    SubmissionRow,
    TaskRow,
    VisitCallRow,
    VisitListRow,
    VisitRow,
)
from models.visits.facts import Purpose
from models.visits.months import Month
from models.words import Language, say
from starter.pages import Page, Part, read_cursor
from starter.papers.masks import masked
from starter.refusals import Forbidden, Invalid, NotFound
from starter.views import Views
from starter.visits import whom
from starter.visits.calls import said_in
from starter.visits.figures import WHAT, What
from starter.visits.notices import SEES_NAMES
from starter.visits.submitted import consolidated_at, delivered_in, month_case, plans_of, put_off

MAY_SEE_VISITS = (Role.STORE, Role.SUPERVISOR, Role.SPECIALIST, Role.MANAGER, Role.DIRECTOR)
State = Literal["planned", "held", "done", "dropped"]


class CallView(BaseModel):
    """A call of a visit, and what was said in it."""

    nth: int
    at: datetime
    channel: str
    outcome: str
    by: str
    said: dict[str, Any] | None


class VisitView(BaseModel):
    """A line of a plan. `line` is as it was planned; of those who need not know him, the customer is masked."""

    visit: str
    case: str
    month: str
    store: str
    region: str | None
    purpose: str
    method: str
    planned_on: date
    due_on: date
    caller: str
    state: State
    overdue: bool
    complete: bool
    line: dict[str, Any]
    flags: list[str]
    """`open_complaint`, `card_expired`, `churned`, `left`: as it is today."""
    held_for: str | None
    attempts: int
    outcome: str | None
    satisfaction: int | None
    problem: bool
    cause: str | None
    won: str | None
    on_time: bool
    done_at: datetime | None
    done_by: str | None
    complaint: str | None
    """The complaint that it became; its number is `HF-` and this visit's id."""


class MoveView(BaseModel):
    """Who put a visit off, to which day, and why."""

    at: datetime
    by: str
    day: date
    reason: str | None


class WholeVisit(VisitView):
    calls: list[CallView]
    moves: list[MoveView]


class Visits(Page[VisitView]):
    """Lines, the soonest due first. `hint` says what to do where there is none."""

    hint: str | None = None


class ListView(BaseModel):
    """One caller's list of one day."""

    case: str
    task: str
    store: str
    caller: str
    day: date
    state: Literal["open", "done", "withdrawn"]
    due_at: datetime | None
    overdue: bool
    lines: int
    left: int
    """Lines that nobody has settled yet."""
    held: int


class Lists(Page[ListView]):
    hint: str | None = None


class PlanVersionView(BaseModel):
    version: int
    kind: Literal["first", "replaced", "late", "amended"]
    at: datetime
    by: str
    nil: bool
    lines: int
    source: str


class PlanView(BaseModel):
    """A store's plan for a month: where it stands, and every time it was handed in."""

    case: str
    number: str
    month: str
    store: str
    state: Literal["open", "archived"]
    closed_because: str | None
    due_at: datetime | None
    delivered: bool
    overdue: bool
    nil: bool
    lines: int
    versions: list[PlanVersionView]


class MonthView(BaseModel):
    """A month at headquarters: which stores have delivered, which are missing, which lines are incomplete."""

    case: str
    month: str
    state: Literal["open", "archived"]
    consolidated_at: datetime | None
    delivered: list[str]
    missing: list[str]
    nil: list[str]
    appended: list[str]
    """Stores whose plan came, or was changed, after the consolidation."""
    lines: int
    incomplete: list[str]
    """Lines of a sale that do not say what was bought, or when."""


class VisitQuery(Part):
    month: Month | None = None
    store: Code | None = None
    region: Code | None = None
    caller: Code | None = None
    day: date | None = None
    state: State | None = None
    purpose: Purpose | None = None
    complaint: Code | None = None
    what: What | None = None
    """The lines behind a number of the report."""


class ListQuery(Part):
    day: date | None = None
    month: Month | None = None
    store: Code | None = None
    caller: Code | None = None
    state: Literal["open", "done", "withdrawn"] | None = "open"


class VisitViews(Views):
    """What the ledger shows of visits to the reader of these views. Forbidden for who may not see any."""

    def __init__(self, views: Views) -> None:
        vars(self).update(vars(views))
        if self._reader.role not in MAY_SEE_VISITS:
            raise Forbidden("may_not_read")

    def record(self, member: MemberRow) -> dict[str, Any]:
        """All that is known of a member."""
        return whom.record_of(member, self._keys)

    # Lines

    def visit(self, id: str) -> WholeVisit:
        row = self._session.get(VisitRow, id)
        if row is None or not self._reader.may_see(row.store, row.region):
            raise NotFound("no_such_visit", visit=id)
        calls = self._session.exec(
            select(VisitCallRow).where(VisitCallRow.visit_id == id).order_by(col(VisitCallRow.nth))
        )
        shown = [
            CallView(
                **call.model_dump(include={"nth", "channel", "outcome", "by"}),
                at=self._here(call.at),
                said=said_in(self._keys, call) if self._reader.role in SEES_NAMES else None,
            )
            for call in calls
        ]
        return WholeVisit(**dict(self._visit(row)), calls=shown, moves=self._moves(row))

    def _moves(self, row: VisitRow) -> list[MoveView]:
        query = put_off(row).order_by(col(SubmissionRow.recorded_at))
        sent = [(one, unsealed(one, self._keys)) for one in self._session.exec(query)]
        full = self._reader.role in SEES_NAMES
        return [
            MoveView(
                at=self._here(one.recorded_at), by=one.by, day=said["day"], reason=said.get("reason") if full else None
            )
            for one, said in sent
        ]

    def visits(self, wanted: VisitQuery, language: Language = "zh") -> Visits:
        query = select(VisitRow).where(_theirs(self._reader)).order_by(col(VisitRow.due_on), col(VisitRow.id))
        asked = {
            VisitRow.month: wanted.month,
            VisitRow.store: wanted.store,
            VisitRow.region: wanted.region,
            VisitRow.caller: wanted.caller,
            VisitRow.due_on: wanted.day,
            VisitRow.purpose: wanted.purpose,
            VisitRow.complaint: wanted.complaint,
        }
        query = query.where(*(column == value for column, value in asked.items() if value is not None))
        if wanted.state:
            query = query.where(VisitRow.state == wanted.state)
        elif wanted.what is None:
            query = query.where(VisitRow.state != "dropped")
        if wanted.what:
            query = query.where(WHAT[wanted.what]())
        if wanted.cursor:
            day, visit = read_cursor(wanted.cursor, 2)
            query = query.where(
                (col(VisitRow.due_on) > _day(day)) | ((col(VisitRow.due_on) == _day(day)) & (col(VisitRow.id) > visit))
            )
        page = self._page(
            query,
            wanted.limit,
            lambda rows: [self._visit(row) for row in rows],
            lambda row: (row.due_on.isoformat(), row.id),
        )
        return Visits(**dict(page), hint=None if page.items else say("hint", "no_visits", language))

    def _visit(self, row: VisitRow) -> VisitView:
        line = whom.line_of(self._keys, row)
        today = self._now.astimezone(self._zone).date()
        waits = row.state in ("planned", "held")
        kept = row.model_dump(
            exclude={"id", "case_id", "version", "added_at", "dropped_at", "list_nth", "member_id", "sealed", "reached"}
        )
        kept["done_at"] = self._here(row.done_at)
        return VisitView(
            **kept,
            visit=row.id,
            case=row.case_id,
            overdue=row.state == "planned" and row.due_on < today,
            line=line_shown(line, self._reader),
            flags=whom.flags(self._session, self._keys, row, line, today, self._zone) if waits else [],
        )

    # Lists

    def lists(self, wanted: ListQuery, language: Language = "zh") -> Lists:
        """Callers' lists, the soonest first."""
        of_case = (TaskRow.case_id == VisitListRow.case_id) & (TaskRow.key == _task())
        store, region = _of_list(VisitRow.store, CaseRow.store), _of_list(VisitRow.region, CaseRow.region)
        query: Any = select(VisitListRow, TaskRow, store).join(TaskRow, of_case, isouter=True)
        query = query.order_by(col(VisitListRow.day), col(VisitListRow.case_id), col(VisitListRow.nth))
        match self._reader.role:
            case Role.STORE:
                query = query.where(store == self._reader.store)
            case Role.SUPERVISOR:
                query = query.where(region.in_(self._reader.regions))
        asked = {VisitListRow.day: wanted.day, VisitListRow.caller: wanted.caller, TaskRow.state: wanted.state}
        query = query.where(*(column == value for column, value in asked.items() if value is not None))
        if wanted.store:
            query = query.where(store == wanted.store)
        if wanted.month:
            query = query.where(
                col(VisitListRow.case_id).in_(select(VisitRow.case_id).where(VisitRow.month == wanted.month))
            )
        if wanted.cursor:
            day, of, nth = read_cursor(wanted.cursor, 3)
            later = (col(VisitListRow.case_id) > of) | (
                (col(VisitListRow.case_id) == of) & (col(VisitListRow.nth) > _whole(nth))
            )
            query = query.where((col(VisitListRow.day) > _day(day)) | ((col(VisitListRow.day) == _day(day)) & later))
        page = self._page(
            query, wanted.limit, self._lists, lambda row: (row[0].day.isoformat(), row[0].case_id, str(row[0].nth))
        )
        return Lists(**dict(page), hint=None if page.items else say("hint", "no_lists", language))

    def _lists(self, rows: list[Any]) -> list[ListView]:
        cases = {row.case_id for row, _, _ in rows}
        counted: dict[tuple[str, int], dict[str, int]] = {}
        grouped = select(VisitRow.case_id, VisitRow.list_nth, VisitRow.state, func.count()).where(
            col(VisitRow.case_id).in_(cases), VisitRow.state != "dropped"
        )
        grouped = grouped.group_by(col(VisitRow.case_id), col(VisitRow.list_nth), col(VisitRow.state))
        for of, nth, state, count in self._session.exec(grouped):
            counted.setdefault((of, nth), {})[state] = count
        found = []
        for row, task, store in rows:
            states = counted.get((row.case_id, row.nth), {})
            state = task.state if task else "open"
            due = task.due_at if task else None
            found.append(
                ListView(
                    case=row.case_id,
                    task=row.task,
                    store=store or "",
                    caller=row.caller,
                    day=row.day,
                    state=state,
                    due_at=self._here(due),
                    overdue=state == "open" and due is not None and due < self._now,
                    lines=sum(states.values()),
                    left=states.get("planned", 0),
                    held=states.get("held", 0),
                )
            )
        return found

    # Plans and months

    def plan(self, month: Month, store: str) -> PlanView:
        row = next((row for row in plans_of(self._session, month) if row.store == store), None)
        if row is None or not self._reader.may_see(row.store, row.region):
            raise NotFound("no_such_plan", month=month, store=store)
        query = select(PlanVersionRow).where(PlanVersionRow.case_id == row.id).order_by(col(PlanVersionRow.nth))
        versions = list(self._session.exec(query))
        task = self._session.get(TaskRow, (row.id, "plan"))
        last = versions[-1] if versions else None
        return PlanView(
            case=row.id,
            number=row.number,
            month=month,
            store=store,
            state=row.state,
            closed_because=row.closed_because,
            due_at=self._here(task.due_at) if task else None,
            delivered=bool(versions),
            overdue=bool(task and task.due_at < (versions[0].at if versions else self._now)),
            nil=bool(last and last.nil),
            lines=last.lines if last else 0,
            versions=[
                PlanVersionView(
                    version=one.nth,
                    at=self._here(one.at),
                    **one.model_dump(include={"kind", "by", "nil", "lines", "source"}),
                )
                for one in versions
            ],
        )

    def month(self, month: Month) -> MonthView:
        if self._reader.role in (Role.STORE, Role.SUPERVISOR):
            raise Forbidden("may_not_read")
        found = month_case(self._session, month)
        if found is None:
            raise NotFound("no_such_month", month=month)
        plans = plans_of(self._session, month)
        delivered = delivered_in(self._session, month)
        versions = list(self._session.exec(select(PlanVersionRow).where(PlanVersionRow.month == month)))
        last = {row.store: row for row in sorted(versions, key=lambda row: row.nth)}
        standing = (VisitRow.month == month, VisitRow.state != "dropped")
        lines = self._session.exec(select(func.count()).where(*standing)).one()
        incomplete = select(VisitRow.id).where(*standing, col(VisitRow.complete).is_(False)).order_by(col(VisitRow.id))
        return MonthView(
            case=found.id,
            month=month,
            state=found.state,
            consolidated_at=self._here(consolidated_at(self._session, found.id)),
            delivered=sorted(plan.store or "" for plan in plans if plan.id in delivered),
            missing=sorted(plan.store or "" for plan in plans if plan.id not in delivered),
            nil=sorted(store for store, row in last.items() if row.nil),
            appended=sorted({row.store for row in versions if row.kind in ("late", "amended")}),
            lines=lines,
            incomplete=list(self._session.exec(incomplete.limit(1000))),
        )


def line_shown(line: Any, reader: Person) -> dict[str, Any]:
    """A line in full for those who call or answer for it; for others without notes, its customer masked."""
    full: dict[str, Any] = line.model_dump(mode="json", context="ledger", exclude_none=True)
    if reader.role in SEES_NAMES:
        return full
    hidden = masked(Customer(name=line.name, phone=line.phone, card_no=line.card_no))
    known = {name: said for name in ("name", "phone", "card_no") if (said := getattr(hidden, name))}
    return {
        name: full[name] for name in ("goods", "purchased_on", "planned_on", "purpose", "method") if name in full
    } | known


def _theirs(reader: Person) -> Any:
    """The lines that a reader may see, as `Person.may_see` has it, for a query."""
    match reader.role:
        case Role.STORE:
            return col(VisitRow.store) == reader.store
        case Role.SUPERVISOR:
            return col(VisitRow.region).in_(reader.regions)
    return col(VisitRow.id).is_not(None)


def _of_list(of_lines: Any, of_case: Any) -> Any:
    """Whose a list is: of who calls its lines; where none is left on it, of the plan."""
    on_it = (VisitRow.case_id == VisitListRow.case_id) & (VisitRow.list_nth == VisitListRow.nth)
    called: Any = select(func.min(of_lines)).where(on_it)
    planned: Any = select(of_case).where(CaseRow.id == VisitListRow.case_id)
    return func.coalesce(called.scalar_subquery(), planned.scalar_subquery())


def _task() -> Any:
    nth = cast(col(VisitListRow.nth), String)
    return case((col(VisitListRow.nth) == 1, literal("calls")), else_=literal("calls-").concat(nth))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise Invalid([FieldError(field="cursor", code="bad_cursor")]) from error


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else 0
