"""What came of a planned visit (handbook 3.3 F10): an outcome, another day, a line held back; and the complaint that opens at once.

An outcome is a row. The case hears of it only when a list of its begins or ends by it.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from sqlmodel import Session, col, func, select

from activities.cases import locked
from activities.keys import COLUMN, KeyRing
from models.complaint import COMPLAINT
from models.complaint.facts import Complaint, Customer, Goods, Reached
from models.forms import LEDGER, Code, FieldError, Private, Text
from models.people import Person, Role
from models.tables import CaseRow, VisitCallRow, VisitRow
from models.visits import VISIT_PLAN
from models.visits.facts import Method, PlannedVisit
from models.visits.forms import CALLERS, Progress
from models.visits.months import begins, month_of
from settings import House
from starter.refusals import Conflict, Forbidden, Invalid, NotFound
from starter.submissions import Submissions
from starter.visits import whom
from starter.visits.lists import Lists
from starter.visits.submitted import is_over

SPOKEN_TO = ("satisfied", "partly_satisfied", "dissatisfied")
AGAIN = ("unreachable", "rescheduled")
"""Outcomes after which somebody may try again on another day."""


class CallSent(Private):
    """A call of a planned visit. With `next_on` it is not the last: the line goes to that day's list.

    What the customer complains of opens a complaint at once; whoever is dissatisfied complains of something.
    """

    outcome: Reached
    channel: Method = "phone"
    satisfaction: Annotated[int, Field(ge=1, le=5)] | None = Field(default=None, validate_default=True)
    answer: Text | None = None
    problem: Text | None = None
    complaint: Text | None = None
    demand: Text | None = None
    next_on: date | None = None
    cause: Literal["price", "quality", "style", "size", "service", "moved", "competitor", "no_need", "other"] | None = (
        None
    )
    """Of a churned member: why he has bought nothing for so long."""
    offer: Text | None = None
    won: Literal["back", "lost", "open"] | None = None
    """Of a churned member: whether he comes back."""

    @field_validator("satisfaction")
    @classmethod
    def _is_said_when_reached(cls, satisfaction: int | None, info: ValidationInfo) -> int | None:
        if satisfaction is None and info.data.get("outcome") in SPOKEN_TO:
            raise PydanticCustomError("satisfaction_needed", "say how satisfied, 1 to 5, when the customer was reached")
        return satisfaction

    @property
    def reached(self) -> bool:
        return self.outcome in SPOKEN_TO

    @property
    def complains_of(self) -> str | None:
        if self.complaint or self.outcome != "dissatisfied":
            return self.complaint
        return self.problem or self.answer


class PutOff(Private):
    """Another day for a line, as it suits the customer, or once what held it back is over."""

    day: date
    reason: Text | None = None


@dataclass(frozen=True)
class Called:
    """What became of a call: the visit, and the cases that hear of it."""

    visit: str
    complaint: str | None = None
    cases: tuple[str, ...] = ()


class Calls:
    """The doors for a line of a plan, within somebody's writing transaction at an instant (UTC)."""

    def __init__(self, session: Session, now: datetime, house: House, submissions: Submissions, by: Person) -> None:
        self._session = session
        self._now = now
        self._house = house
        self._submissions = submissions
        self._by = by
        self._today = now.astimezone(house.calendar).date()

    @property
    def _keys(self) -> KeyRing:
        return self._house.keys

    def call(self, visit: str, sent: CallSent, key: str | None = None) -> Called:
        """Write what came of a call. NotFound, Forbidden, Conflict (done, held back, the month closed), Invalid."""
        row, case = self._row(visit)
        body = json.dumps(json.loads(sent.model_dump_json(context=LEDGER, exclude_none=True)), ensure_ascii=False)
        if known := self._known(row, body.encode(), key):
            return known
        line = whom.line_of(self._keys, row)
        self._check(row, case, line)
        self._check_sent(row, sent)
        lists = Lists(self._session, case.id, self._house)
        self._note(row, case, sent, body.encode(), key)
        if sent.next_on:
            row.due_on, row.list_nth = sent.next_on, lists.of(row.caller, sent.next_on)
        else:
            self._finish(row, sent)
        complaint = self._complain(row, line, sent) if sent.complains_of else None
        self._session.flush()
        cases = self._tell(case, lists) + ((complaint,) if complaint else ())
        return Called(row.id, complaint, cases)

    def hold(self, visit: str) -> Called:
        """Hold a line back because its customer has an open complaint. Conflict where he has none."""
        row, case = self._row(visit)
        self._check_open(row, case)
        complaint = whom.open_complaint(self._session, self._keys, whom.line_of(self._keys, row))
        if complaint is None:
            raise Conflict("nothing_holds_it", visit=visit)
        lists = Lists(self._session, case.id, self._house)
        row.state, row.held_for = "held", complaint
        self._session.flush()
        return Called(row.id, None, self._tell(case, lists))

    def put_off(self, visit: str, sent: PutOff) -> Called:
        """Give a line another day; one that was held back is free again, unless the complaint is still open."""
        row, case = self._row(visit)
        if row.state != "held":
            self._check_open(row, case)
        self._check_month(row, case)
        if against := self._against_day(row, sent.day, "day"):
            raise Invalid(against)
        self._check_nothing_holds(whom.line_of(self._keys, row))
        lists = Lists(self._session, case.id, self._house)
        row.state, row.held_for, row.due_on = "planned", None, sent.day
        row.list_nth = lists.of(row.caller, sent.day)
        self._session.flush()
        form = Progress(lists=lists.open(), visit=row.id, day=sent.day, reason=sent.reason)
        self._submissions.add_in(self._session, VISIT_PLAN, case.id, form, self._for(case))
        return Called(row.id, None, (case.id,))

    # What stands against it

    def _row(self, visit: str) -> tuple[VisitRow, CaseRow]:
        """The line and its case, ours until the transaction ends; NotFound also where it is nobody's business of his."""
        row = self._session.get(VisitRow, visit)
        if row is None or not self._by.may_see(row.store, row.region):
            raise NotFound("no_such_visit", visit=visit)
        if self._by.role not in CALLERS:
            raise Forbidden("may_not_call", role=self._by.role)
        case = locked(self._session, row.case_id)
        self._session.refresh(row)
        return row, case

    def _check(self, row: VisitRow, case: CaseRow, line: PlannedVisit) -> None:
        self._check_open(row, case)
        self._check_nothing_holds(line)

    def _check_open(self, row: VisitRow, case: CaseRow) -> None:
        self._check_month(row, case)
        if row.state != "planned":
            raise Conflict(f"visit_{row.state}", visit=row.id)

    def _check_month(self, row: VisitRow, case: CaseRow) -> None:
        if is_over(self._session, case):
            raise Conflict("visits_closed", month=row.month)

    def _check_nothing_holds(self, line: PlannedVisit) -> None:
        if complaint := whom.open_complaint(self._session, self._keys, line):
            raise Conflict("visit_held_back", case=complaint)

    def _check_sent(self, row: VisitRow, sent: CallSent) -> None:
        found = []
        if sent.outcome == "dissatisfied" and not sent.complains_of:
            found.append(FieldError(field="complaint", code="complaint_needed"))
        if sent.complaint and not sent.reached:
            found.append(FieldError(field="complaint", code="not_reached"))
        if sent.outcome == "rescheduled" and not sent.next_on:
            found.append(FieldError(field="next_on", code="missing"))
        if sent.next_on and sent.outcome not in AGAIN:
            found.append(FieldError(field="next_on", code="not_again"))
        elif sent.next_on:
            found += self._against_day(row, sent.next_on, "next_on")
        if row.purpose == "churned" and sent.reached:
            found += [FieldError(field=name, code="missing") for name in ("cause", "won") if not getattr(sent, name)]
        if row.purpose != "churned" and (sent.cause or sent.won):
            found.append(FieldError(field="cause" if sent.cause else "won", code="only_of_churned"))
        if found:
            raise Invalid(found)

    def _against_day(self, row: VisitRow, day: date, field: str) -> list[FieldError]:
        if month_of(day) != row.month:
            return [FieldError(field=field, code="not_in_month", values={"month": row.month})]
        return [FieldError(field=field, code="day_passed")] if day < self._today else []

    def _known(self, row: VisitRow, body: bytes, key: str | None) -> Called | None:
        known = self._session.exec(select(VisitCallRow).where(VisitCallRow.key == key)).first() if key else None
        if known is None:
            return None
        if known.visit_id != row.id or known.by != self._by.id or not self._keys.matches(known.digest, body):
            raise Conflict("key_reused", key=str(key))
        return Called(row.id, row.complaint)

    # What follows from it

    def _note(self, row: VisitRow, case: CaseRow, sent: CallSent, body: bytes, key: str | None) -> None:
        nth = self._session.exec(select(func.count()).where(col(VisitCallRow.visit_id) == row.id)).one() + 1
        self._session.add(
            VisitCallRow(
                visit_id=row.id,
                nth=nth,
                key=key,
                digest=self._keys.digest(body),
                at=self._now,
                channel=sent.channel,
                outcome=sent.outcome,
                by=self._by.id,
                role=self._by.role,
                sealed=self._keys.seal(body, COLUMN, f"visit/{row.id}/{nth}"),
            )
        )
        row.attempts = nth
        case.keys = self._keys.noted(case.keys)

    def _finish(self, row: VisitRow, sent: CallSent) -> None:
        row.state, row.outcome, row.satisfaction = "done", sent.outcome, sent.satisfaction
        row.done_at, row.done_by, row.reached = self._now, self._by.id, sent.reached
        row.on_time = self._now < begins(row.planned_on + timedelta(days=1), self._house.calendar)
        row.problem = bool(sent.problem or sent.complains_of)
        row.cause, row.won = sent.cause, sent.won

    def _complain(self, row: VisitRow, line: PlannedVisit, sent: CallSent) -> str:
        """Open the complaint, its clocks running from this instant; its number names the visit, the visit names the case."""
        row.problem = True
        facts = Complaint(
            form_no=number_of(row.id),
            kind="complaint",
            channel=sent.channel,
            received_at=self._now,
            received_by=self._by.id,
            store=row.store,
            content=sent.complains_of or "",
            demand=sent.demand,
            customer=Customer(name=line.name, phone=line.phone, card_no=line.card_no),
            goods=Goods(receipt_no=line.receipt_no) if line.receipt_no else None,
            purchased_on=line.purchased_on,
        )
        case = self._submissions.open_in(self._session, COMPLAINT, facts, self._by).case
        self._session.flush()
        row.complaint = case
        return case

    def _tell(self, case: CaseRow, lists: Lists) -> tuple[str, ...]:
        """Let the case know where other lists are open now."""
        if not lists.changed:
            return ()
        self._submissions.add_in(self._session, VISIT_PLAN, case.id, Progress(lists=lists.open()), self._for(case))
        return (case.id,)

    def _for(self, plan: CaseRow) -> Person:
        """Whoever calls the lines of a store that has closed speaks for it in its plan."""
        return self._by.model_copy(update={"store": plan.store}) if self._by.role is Role.STORE else self._by


def number_of(visit: str) -> Code:
    """The business number of the complaint that a visit becomes."""
    return f"HF-{visit}"


def said_in(keys: KeyRing, row: VisitCallRow) -> dict[str, Any]:
    """What was said in a call, in full."""
    said: dict[str, Any] = json.loads(keys.open(row.sealed, COLUMN, f"visit/{row.visit_id}/{row.nth}"))
    return said
