"""What the calendar opens for next month's visits: a plan for every store that is active on the 28th, and the month itself.

From the 20th to the 28th, every day: a store that is entered late gets its plan, and of one that closes none is expected
any more (5.3 E55). The lines of the day whose customers have an open complaint are held back, until it is closed (E59).
What a store that has closed leaves uncalled is somebody else's (`successors.py`).
"""

from collections.abc import Iterable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlmodel import col, not_, select

from activities.cases import locked
from activities.database import once_more
from models import policy
from models.calendar import Period
from models.forms import Case
from models.people import CALENDAR, Store
from models.promises import Promise
from models.tables import CaseRow, VisitRow
from models.visits import FIRST_DAY, VISIT_MONTH, VISIT_PLAN
from models.visits.facts import VisitMonth, VisitPlan
from models.visits.forms import Progress, StoreClosed
from models.visits.months import counting_day, month_begins, month_of, shifted
from models.visits.terms import VisitMonthPromises, VisitPlanPromises
from settings import House
from starter.submissions import Submissions
from starter.visits import days, successors, whom
from starter.visits.lists import Lists
from starter.visits.submitted import delivered_in, ending, is_over
from starter.visits.submitted import plans_of as plans_in

DUE_DAY = 28
"""Of a month: which stores are asked for the next one's plan (5.3 E55)."""
AT_ONCE = 50


def plans_of(house: House, period: Period, now: datetime) -> Iterable[Case]:
    """The plans to be opened on a day; before that, what else begins with the day."""
    begin_day(house, period, now)
    if not FIRST_DAY <= period.first_day.day <= DUE_DAY:
        return []
    earlier = reminded_earlier(house, period.next_month)
    return [
        facts_of(period.next_month, store, house.calendar, earlier)
        for store in house.people.stores
        if store.active_on(counting_day(period.month, DUE_DAY))
    ]


def months_of(house: House, period: Period, _now: datetime) -> Iterable[Case]:
    """The month to be opened on a day."""
    if not FIRST_DAY <= period.first_day.day <= DUE_DAY:
        return []
    month, zone = period.next_month, house.calendar
    asked_at, over_at = month_begins(period.month, zone), month_begins(shifted(month, 1), zone)
    promises = policy.promises(VISIT_MONTH, house.settings.policy)
    assert isinstance(promises, VisitMonthPromises)
    moves = promises.terms.reminders == "working_day"
    return [
        VisitMonth(
            month=month,
            asked_at=asked_at,
            over_at=over_at,
            consolidation_reminded_earlier=_earlier(house, promises.consolidation, asked_at) if moves else 0,
            report_reminded_earlier=_earlier(house, promises.report, over_at) if moves else 0,
        )
    ]


def facts_of(month: str, store: Store, zone: ZoneInfo, reminded_earlier: int = 0) -> VisitPlan:
    """A store's plan. Of one that was not active on the 28th none was expected: what it hands in all the same is not late (5.3 E55)."""
    before = shifted(month, -1)
    expected = store.active_on(counting_day(before, DUE_DAY))
    return VisitPlan(
        plan_no=f"{month}-{store.code}",
        month=month,
        store=store.code,
        asked_at=month_begins(before if expected else month, zone),
        begins_at=month_begins(month, zone),
        reminded_earlier=reminded_earlier,
    )


def reminded_earlier(house: House, month: str) -> int:
    """How many days earlier than the policy says stores are reminded of a month's plan: none, unless a setting says so."""
    promises = policy.promises(VISIT_PLAN, house.settings.policy)
    assert isinstance(promises, VisitPlanPromises)
    if promises.terms.reminders == "literal":
        return 0
    return _earlier(house, promises.plan, month_begins(shifted(month, -1), house.calendar))


def _earlier(house: House, promise: Promise, anchor: datetime) -> int:
    """How many days before the day of a promise's first reminder the last working day is: none, where it is one."""
    after = next((rung.after for rung in promise.ladder if rung.is_reminder), None)
    if after is None:
        return 0
    literal = (promise.due(anchor) + after).astimezone(house.calendar).date()
    with house.database.reading() as session:
        moved = days.Days.of(session, {literal.year - 1, literal.year}).last_worked(literal)
    return (literal - moved).days


def begin_day(house: House, period: Period, now: datetime) -> None:
    """Plans that are expected no more end; what a closed store leaves uncalled is handed on; lines that an open complaint
    forbids are held back, and given back once it is closed.

    Done again, it changes nothing. Done late, it is done as of today: no line is given to anybody for a day that has passed.
    """
    submissions = Submissions(house.database, house.keys, house.people, lambda: now, house.settings.policy)
    today = max(period.first_day, now.astimezone(house.calendar).date())
    for case in _expected_no_more(house, period):
        _end(house, submissions, case, now)
    for case in successors.left_behind(house, today):
        successors.hand_on(house, submissions, case, today, now)
    for case in _with_lines_to_begin(house, today):
        _begin_lists(house, submissions, case, today)


def _expected_no_more(house: House, period: Period) -> list[str]:
    """Open plans of stores that are not active on the 28th: they were closed, or they open later and have handed nothing in."""
    if not FIRST_DAY <= period.first_day.day <= DUE_DAY:
        return []
    month, due_day = period.next_month, counting_day(period.month, DUE_DAY)
    inactive = {store.code: store for store in house.people.stores if not store.active_on(due_day)}
    with house.database.reading() as session:
        delivered = delivered_in(session, month)
        return [
            plan.id
            for plan in plans_in(session, month)
            if (store := inactive.get(plan.store or ""))
            and plan.state == "open"
            and (store.is_closed_on(due_day) or plan.id not in delivered)
        ]


@once_more
def _end(house: House, submissions: Submissions, case: str, at: datetime) -> None:
    """End a plan. Nobody is there to call its lines: they are taken out of it."""
    with house.database.writing() as session:
        locked(session, case)
        submissions.add_in(session, VISIT_PLAN, case, StoreClosed(), CALENDAR, key=ending(case))
        left = select(VisitRow).where(VisitRow.case_id == case, col(VisitRow.state).in_(("planned", "held")))
        for row in session.exec(left):
            row.state, row.dropped_at = "dropped", at


def _with_lines_to_begin(house: House, day: date) -> list[str]:
    """Open plans with lines of a day, or overdue by then, or with lines of its month whose complaint is closed, or is none."""
    over = select(CaseRow.id).where(not_(whom.is_open_complaint()))
    of_day = (col(VisitRow.due_on) <= day) & (col(VisitRow.state) == "planned")
    free = (col(VisitRow.month) == month_of(day)) & (col(VisitRow.state) == "held") & col(VisitRow.held_for).in_(over)
    with house.database.reading() as session:
        query = select(VisitRow.case_id).where(of_day | free).distinct()
        query = query.join(CaseRow, col(CaseRow.id) == col(VisitRow.case_id)).where(CaseRow.state == "open")
        return list(session.exec(query))


@once_more
def _begin_lists(house: House, submissions: Submissions, case: str, day: date) -> None:
    """Hold back the lines of a day, and those that are overdue, whose customers have an open complaint; and give back, for this
    day at the earliest, those whose complaint is closed. The case hears where other lists are open by it."""
    with house.database.writing() as session:
        if is_over(session, locked(session, case)):
            return
        lists = Lists(session, case, house)
        waiting = select(VisitRow).where(VisitRow.case_id == case, col(VisitRow.state).in_(("planned", "held")))
        waiting = waiting.where((VisitRow.state == "held") | (VisitRow.due_on <= day))
        for row in session.exec(waiting.order_by(col(VisitRow.due_on), col(VisitRow.id))):
            if complaint := whom.open_complaint(session, house.keys, whom.line_of(house.keys, row)):
                row.state, row.held_for = "held", complaint
            elif row.state == "held" and row.month == month_of(day):
                row.state, row.held_for, row.due_on = "planned", None, max(row.due_on, day)
                row.list_nth = lists.of(row.caller, row.due_on)
        session.flush()
        if lists.changed:
            submissions.add_in(session, VISIT_PLAN, case, Progress(lists=lists.open()), CALENDAR)
