"""A store's plan is handed in: every line looked at, rows written, the case told, in one transaction (handbook 6.3, 5.3 E55–E58)."""

import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import Field
from sqlmodel import Session, col, select

from activities.cases import locked
from activities.keys import KeyRing
from activities.submissions import unsealed
from models import policy
from models.forms import LEDGER, FieldError, Private, Text
from models.people import CALENDAR, Person, Role, Store
from models.tables import CaseRow, PlanVersionRow, SubmissionRow, VisitRow
from models.visits import VISIT_MONTH, VISIT_PLAN
from models.visits.facts import PlanIntake, PlannedVisit
from models.visits.forms import CALLERS, Appended, Deliver
from models.visits.months import month_of, shifted
from settings import House
from starter.docket import Receipt
from starter.numbers import normal
from starter.refusals import Conflict, Forbidden, Invalid, NotFound
from starter.submissions import Submissions
from starter.visits import whom
from starter.visits.lists import Lists
from starter.visits.opening import facts_of
from starter.visits.submitted import consolidated_at, is_over
from starter.visits.whom import Whom

Source = Literal["api", "workbook"]
MOST_SENT = 1000
"""Lines in one request, whatever the policy lets a plan have."""
HEADQUARTERS = (Role.SPECIALIST, Role.MANAGER)


class PlanSent(Private):
    """A store's whole plan for a month. With nobody to visit it says `nil`: silence is late (5.3 E56)."""

    nil: bool = False
    lines: list[PlannedVisit] = Field(default=[], max_length=MOST_SENT)
    remark: Text | None = None


@dataclass(frozen=True)
class Delivered:
    """What became of a plan that was handed in."""

    receipt: Receipt
    version: PlanVersionRow
    month_case: str | None = None
    """Where it came after the consolidation: the month's case, which hears of it."""


class Plans:
    """The door for plans, within somebody's writing transaction at an instant (UTC)."""

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

    def deliver(
        self, month: str, store: str, sent: PlanSent, source: Source, key: str | None = None, holder: str | None = None
    ) -> Delivered:
        """Take a plan. The same one again is the one that is there; another replaces it, or amends the consolidated one.

        Forbidden, NotFound (a month that is not planned now), Conflict (closed, or the key used before), Invalid: every line
        that does not hold, and why. Then nothing is taken.
        """
        known_store = self._may_deliver(store)
        consolidated = self._consolidated(month)
        case = self._case(month, known_store)
        if known := self._known(case, sent, key):
            return known
        if is_over(self._session, case):
            raise Conflict("plan_closed", month=month, store=store)
        standing = self._standing(case.id)
        people = self._checked(month, store, sent, {line for _, line in standing})
        last = self._last(case.id)
        nth = (last.nth if last else 0) + 1
        lists = Lists(self._session, case.id, self._house)
        self._rewrite(case, known_store.region, nth, people, standing, lists)
        form = Deliver(nil=sent.nil, remark=sent.remark, lines=tuple(sent.lines), lists=lists.open())
        receipt = self._submissions.add_in(self._session, VISIT_PLAN, case.id, form, self._by, key=key, holder=holder)
        version = PlanVersionRow(
            id=receipt.submission,
            case_id=case.id,
            month=month,
            store=store,
            nth=nth,
            kind=("amended" if last else "late") if consolidated else "replaced" if last else "first",
            at=self._now,
            by=self._by.id,
            nil=sent.nil,
            lines=len(sent.lines),
            source=source,
        )
        self._session.flush()
        self._session.add(version)
        if consolidated and consolidated.state == "open":
            self._submissions.add_in(self._session, VISIT_MONTH, consolidated.id, Appended(store=store), CALENDAR)
        return Delivered(receipt, version, consolidated.id if consolidated else None)

    def look_at(self, month: str, store: str, lines: list[PlannedVisit]) -> None:
        """Look at lines as `deliver` does, and take none."""
        case = self._opened(month, self._may_deliver(store))
        standing = {line for _, line in self._standing(case)} if case else set()
        self._checked(month, store, PlanSent(lines=lines), standing)

    # Who and when

    def _may_deliver(self, store: str) -> Store:
        if self._by.role not in CALLERS:
            raise Forbidden("may_not_hand_in", role=self._by.role, form="deliver")
        known = self._house.people.store(store)
        if known is None:
            raise NotFound("no_such_store", store=store)
        if self._by.role is Role.STORE and self._by.store != store:
            raise Forbidden("other_store", store=store)
        return known

    def _consolidated(self, month: str) -> CaseRow | None:
        """The month's case, locked before any plan's, where the plans have been consolidated already."""
        query = select(CaseRow).where(CaseRow.process == VISIT_MONTH.name, CaseRow.number == month).with_for_update()
        case = self._session.exec(query).first()
        return case if case and consolidated_at(self._session, case.id) else None

    def _case(self, month: str, store: Store) -> CaseRow:
        """The plan's case, ours until the transaction ends; of this month or the next one it is opened where nobody has yet."""
        case = self._opened(month, store)
        this = month_of(self._today)
        if case is None and month not in (this, shifted(this, 1)):
            raise NotFound("no_such_plan", month=month, store=store.code)
        if case is None:
            facts = facts_of(month, store, self._house.calendar)
            case = self._submissions.open_in(self._session, VISIT_PLAN, facts, CALENDAR).case
            self._session.flush()
        return locked(self._session, case)

    def _opened(self, month: str, store: Store) -> str | None:
        number = facts_of(month, store, self._house.calendar).plan_no
        query = select(CaseRow.id).where(CaseRow.process == VISIT_PLAN.name, CaseRow.number == number)
        return self._session.exec(query).first()

    def _last(self, case: str) -> PlanVersionRow | None:
        query = select(PlanVersionRow).where(PlanVersionRow.case_id == case).order_by(col(PlanVersionRow.nth).desc())
        return self._session.exec(query.limit(1)).first()

    def _known(self, case: CaseRow, sent: PlanSent, key: str | None) -> Delivered | None:
        """What was sent before, under this key or as the plan's last version."""
        last = self._last(case.id)
        row = self._session.get(SubmissionRow, key) if key else None
        if row and (row.case_id != case.id or row.by != self._by.id or not self._says(row, sent)):
            raise Conflict("key_reused", key=str(key))
        if row is None and last and self._says(before := self._session.get_one(SubmissionRow, last.id), sent):
            row = before if before.state != "refused" else None
        if row is None:
            return None
        return Delivered(
            Receipt(row.id, row.case_id, row.state, None, False), self._session.get_one(PlanVersionRow, row.id)
        )

    def _says(self, row: SubmissionRow, sent: PlanSent) -> bool:
        """Whether a submission holds this plan, whatever the lists were then."""
        if row.form != Deliver.form:
            return False
        known = unsealed(row, self._keys)
        mine = json.loads(sent.model_dump_json(context=LEDGER, exclude_none=True))
        return all(known.get(name) == mine.get(name) for name in ("nil", "lines", "remark"))

    # The lines

    def _standing(self, case: str) -> list[tuple[VisitRow, PlannedVisit]]:
        """The lines that the plan has now, called or not."""
        rows = self._session.exec(select(VisitRow).where(VisitRow.case_id == case, VisitRow.state != "dropped"))
        return [(row, whom.line_of(self._keys, row)) for row in rows]

    def _checked(self, month: str, store: str, sent: PlanSent, standing: set[PlannedVisit]) -> list[Whom]:
        """Every line with whom it is about. Invalid names every field that does not hold; a line that stands may be of a day that passed."""
        intake = policy.intake(VISIT_PLAN, self._house.settings.policy)
        assert isinstance(intake, PlanIntake)
        if sent.nil == bool(sent.lines):
            raise Invalid([FieldError(field="nil", code="nil_or_lines")])
        if len(sent.lines) > intake.most_lines:
            raise Invalid([FieldError(field="lines", code="too_many_lines", values={"limit": str(intake.most_lines)})])
        errors: list[FieldError] = []
        people: list[Whom] = []
        seen: set[tuple[str, str]] = set()
        for nth, line in enumerate(sent.lines):
            about, against = self._whom(store, line)
            if about.line not in standing:
                against += self._against(month, store, about.line)
            if not against and (about.identity, line.purpose) in seen:
                against.append(FieldError(field="member_no", code="line_twice"))
            seen.add((about.identity, line.purpose))
            errors += [error.model_copy(update={"field": f"lines.{nth}.{error.field}"}) for error in against]
            people.append(about)
        if errors:
            raise Invalid(errors)
        return people

    def _whom(self, store: str, line: PlannedVisit) -> tuple[Whom, list[FieldError]]:
        """The line with the member's name and numbers, where he is the store's own; who is another's is named by the plan itself."""
        member = whom.member_of(self._session, self._keys, line)
        if member is None:
            lost = line.member_no and not (line.name and (line.phone or line.card_no))
            return Whom(line, None), [FieldError(field="member_no", code="no_such_member")] if lost else []
        theirs = whom.is_theirs(self._house.people, member, store)
        if theirs or self._by.role in HEADQUARTERS:
            return Whom(whom.with_record(line, whom.record_of(member, self._keys)), member.id), []
        complete = line.name and line.phone
        return Whom(line, member.id), [] if complete else [FieldError(field="member_no", code="member_elsewhere")]

    def _against(self, month: str, store: str, line: PlannedVisit) -> list[FieldError]:
        found = []
        if month_of(line.planned_on) != month:
            found.append(FieldError(field="planned_on", code="not_in_month", values={"month": month}))
        elif line.planned_on < self._today:
            found.append(FieldError(field="planned_on", code="day_passed"))
        if line.purchased_on and line.purchased_on > self._today:
            found.append(FieldError(field="purchased_on", code="past_in_future"))
        if not line.name and not line.member_no:
            found.append(FieldError(field="name", code="nobody_named"))
        if line.method in ("phone", "sms"):
            found += _phone(line)
        caller = self._house.people.person(line.caller) if line.caller else None
        if caller and not (caller.role in HEADQUARTERS or (caller.role is Role.STORE and caller.store == store)):
            found.append(FieldError(field="caller", code="caller_elsewhere"))
        return found

    def _rewrite(
        self,
        case: CaseRow,
        region: str,
        version: int,
        people: list[Whom],
        standing: list[tuple[VisitRow, PlannedVisit]],
        lists: Lists,
    ) -> None:
        """Lines that are as they were stay, with their outcomes; what is not in the plan any more is dropped; the rest is new."""
        before = {row.id: (row, line) for row, line in standing}
        done = {
            (Whom(line, row.member_id).identity, row.purpose) for row, line in before.values() if row.state == "done"
        }
        kept: set[str] = {row.id for row, _ in before.values() if row.state == "done"}
        new = []
        for about in people:
            if (about.identity, about.line.purpose) in done:
                continue
            same = next((one for one, (_, line) in before.items() if one not in kept and line == about.line), None)
            if same:
                kept.add(same)
            else:
                new.append(about)
        for row, _ in before.values():
            if row.id not in kept:
                row.state, row.dropped_at = "dropped", self._now
        for about in new:
            self._add(case, region, version, about, lists)
        self._session.flush()
        case.keys = self._keys.noted(case.keys)

    def _add(self, case: CaseRow, region: str, version: int, about: Whom, lists: Lists) -> None:
        line, visit = about.line, f"v{secrets.token_hex(5)}"
        caller = line.caller or self._by.id
        complete = line.purpose != "after_sale" or bool(line.goods and line.purchased_on)
        row = VisitRow(
            id=visit,
            case_id=case.id,
            month=month_of(line.planned_on),
            store=case.store or "",
            region=region,
            version=version,
            added_at=self._now,
            purpose=line.purpose,
            method=line.method,
            planned_on=line.planned_on,
            due_on=line.planned_on,
            caller=caller,
            list_nth=lists.of(caller, line.planned_on),
            member_id=about.member,
            complete=complete,
            sealed=whom.seal(self._keys, visit, line),
        )
        self._session.add(row)
        self._session.flush()
        self._session.add_all(whom.finders(self._keys, visit, line))


def lines_of(session: Session, keys: KeyRing, version: PlanVersionRow) -> list[dict[str, Any]]:
    """A version's lines as they were sent, in full."""
    return list(unsealed(session.get_one(SubmissionRow, version.id), keys).get("lines", []))


def _phone(line: PlannedVisit) -> list[FieldError]:
    if not line.phone:
        return [FieldError(field="phone", code="phone_needed")]
    try:
        normal("phone", line.phone)
    except Invalid as error:
        return [FieldError(field="phone", code=error.errors[0].code)]
    return []
