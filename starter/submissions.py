"""What people send, committed before it is decided; and what became of it."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog
from sqlmodel import Session, col, func, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from activities.cases import locked
from activities.database import Database, once_more
from activities.duplicates import left_to_nobody
from activities.keys import COLUMN, KeyRing
from activities.submissions import as_submission, unsealed
from models import policy
from models.complaint.forms import Amend, BackAgain
from models.forms import LEDGER, Case, Form, Private
from models.organisation import Wanted, Who
from models.people import Person, Role
from models.tables import CaseRow, EventRow, NoticeRow, NumberRow, SubmissionRow, TaskRow
from models.tasks import OPENING, REOPENING, Opened, Past, Process, Refusal, Submission
from starter import customers, reopening
from starter.checks import check, may_send, of_somebody_else, unknown_store
from starter.facts import corrects
from starter.library.words import shelve_anew
from starter.refusals import Conflict, FieldError, Forbidden, Invalid, NotFound
from starter.resent import amendment, sends_again

LEASE = timedelta(seconds=12)
"""How long one deliverer has a case to himself: longer than he waits for an answer; a killed one holds it up no longer."""
LONGEST_WAIT = timedelta(seconds=8)
MADE_OF_OPENINGS = (REOPENING, Amend.form)
"""What may come as an opening: the customer is back, or the form is sent again, corrected."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Delivery:
    """The oldest undecided submission of a case, ready to send; with what starts the case where it opens it, or opens it again."""

    submission: Submission
    process: str
    opened: Opened[Any, Any] | None


@dataclass(frozen=True)
class Receipt:
    """A committed submission and what is known of it: `pending`, `decided` or `refused`."""

    submission: str
    case: str
    state: str
    refusal: Refusal | None
    first: bool
    """Whether this call committed it; false for a repetition."""
    form: str = OPENING
    delivery: Delivery | None = None
    """What the one who committed it may send now, the case's lease being his; None when somebody else delivers."""


class Room(Protocol):
    """What a process keeps in tables of its own, beside its cases."""

    def handed_in(self, session: Session, case: CaseRow, form: Form, by: Person, now: datetime) -> Form:
        """What a form changes there, in its own transaction, and the form as its desk gets it. Refused where it cannot be."""


class Submissions:
    """The ledger's side of every door: who may send what, one row a submission, and the order in which they leave.

    `clock` gives the instant (UTC) that counts; it is read inside the writing transaction.
    """

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        people: Who,
        clock: Callable[[], datetime],
        policy_file: Path = policy.SHIPPED,
    ) -> None:
        self._database = database
        self._keys = keys
        self._people = people
        self._clock = clock
        self._policy = policy_file
        self.rooms: dict[str, Room] = {}
        """By process, where it has one."""

    # From the doors

    @once_more
    def open(
        self,
        process: Process,
        facts: Case,
        by: Person,
        key: str | None = None,
        holder: str | None = None,
        past: Past | None = None,
    ) -> Receipt:
        """Commit the opening submission of a case. The same business number again is the same case, for ever.

        Where it names an earlier case that was closed lately, that one is opened again, and the number leads to it (5.2 E26).
        A case with a `past` enters where it is: its steps are committed with it, recorded when they were done.
        With a `holder` the case's lease is his from the first instant. Raises Forbidden, Invalid (a fact that cannot be), Conflict (the number with other facts, the key with another body).
        """
        with self._database.writing() as session:
            return self.open_in(session, process, facts, by, key, holder, past)

    def open_in(
        self,
        session: Session,
        process: Process,
        facts: Case,
        by: Person,
        key: str | None = None,
        holder: str | None = None,
        past: Past | None = None,
    ) -> Receipt:
        """`open`, as part of a writing transaction: a door that writes rows of its own opens what follows from them with them."""
        if by.role not in (process.case.may_open & past.may_bring if past else process.case.may_open):
            raise Forbidden("may_not_open", role=by.role, process=process.name)
        if by.role is Role.STORE and facts.store_code not in (None, by.store):
            raise Forbidden("other_store", store=str(facts.store_code))
        if past and facts.about == by.id:
            raise Forbidden("past_about_yourself")
        body = _canonical(facts)
        if key and (row := session.get(SubmissionRow, key)):
            same = self._is_of(session, row, facts, past, by)
            return self._repeated(row, body if same else b"", "key_reused", key=key)
        if known := session.exec(reopening.numbered(process.name, facts.number)).first():
            row = self._opening_of(session, known, facts.number)
            if not self._keys.matches(row.digest, body) and sends_again(known, row, facts, by):
                return self._amended(session, process, known, row, facts, body, by, key, holder)
            same = self._is_of(session, row, facts, past, by)
            return self._repeated(row, body if same else b"", "number_taken", number=facts.number)
        now = self._clock()
        intake = policy.intake(process, self._policy)
        errors = past.objections(facts, intake, now) if past else facts.objections(intake, now)
        if past:
            errors = [*errors, *past.unfit(policy.promises(process, self._policy), by.role)]
        earlier = self._earlier(session, process, facts)
        if facts.earlier_case and not earlier and not past:
            errors = [
                *errors,
                FieldError(field="earlier", code="no_such_other_case", values={"case": facts.earlier_case}),
            ]
        if errors := [*errors, *unknown_store(self._people, "store", facts.store_code)]:
            raise Invalid(errors)
        if reopening.given_meanwhile(session, process.name, facts.number):
            return self.open_in(session, process, facts, by, key, holder, past)
        goes_on = earlier and not past and by.may_see(earlier.store, earlier.region)
        if goes_on and earlier and (back := reopening.continued(session, earlier, facts, intake, now)):
            return self.add_in(session, process, earlier.id, back, by, None, key, holder, by_rule=True, made_of=body)
        opened_at = past.began_at(facts) if past else now
        cycle = _cycle(earlier, getattr(intake, "back_again", None), opened_at)
        store = facts.store_code or by.store
        case = CaseRow(
            id=f"{process.name}-{secrets.token_hex(5)}",
            process=process.name,
            number=facts.number,
            store=store,
            region=facts.region_code or self._people.region(store),
            taken_for=facts.taken_for,
            about=facts.about,
            keys=self._keys.writing,
            opened_at=opened_at,
            entered_at=now if past else None,
            last_instant=opened_at,
            cycle=cycle,
            first_cycle=cycle,
            promises=policy.promises(process, self._policy).model_dump(mode="json"),
        )
        session.add(case)
        row = self._add(session, case, OPENING, facts, body, by, key, None, opened_at, now)
        customers.begin(session, self._keys, case.id, json.loads(body))
        for at, form in past.told(facts) if past else ():
            self._add(session, case, form.form, form, _canonical(form), by, None, None, at, now)
        return _receipt(row, True, self._lease(session, case, holder, now, row))

    @once_more
    def hand_in(
        self,
        process: Process,
        case_id: str,
        form: Form,
        by: Person,
        task: str | None = None,
        key: str | None = None,
        holder: str | None = None,
    ) -> Receipt:
        """Commit a form for a case, also for one whose opening is still undecided.

        With a `holder` the case's lease is his, if nobody has it. Raises NotFound, Forbidden, Invalid, Conflict (the key with another body).
        """
        with self._database.writing() as session:
            return self.add_in(session, process, case_id, form, by, task, key, holder)

    def add_in(
        self,
        session: Session,
        process: Process,
        case_id: str,
        form: Form,
        by: Person,
        task: str | None = None,
        key: str | None = None,
        holder: str | None = None,
        by_rule: bool = False,
        made_of: bytes | None = None,
    ) -> Receipt:
        """`hand_in`, as part of a writing transaction. `by_rule` where it follows from something else, and is nobody's word on
        the case: a task that goes to who stands in. `made_of` is what was sent, where the form was made of something else."""
        case = session.exec(select(CaseRow).where(CaseRow.id == case_id).with_for_update()).first()
        if not may_send(self._people, case, form, by):
            raise Forbidden("may_not_hand_in", role=by.role, form=form.form)
        body = _canonical(form)
        if case is None or case.process != process.name:
            raise NotFound("no_such_case", case=case_id)
        if not by.may_see(case.store, case.region):
            task = self._asked_for(session, case, form, by, task)
        if key and (row := session.get(SubmissionRow, key)):
            same = (row.case_id, row.form, row.task, row.by) == (case.id, form.form, task, by.id)
            return self._repeated(row, body if same else b"", "key_reused", key=key)
        now = self._clock()
        if not by_rule:
            of_somebody_else(session, self._people, case, form, by, now)
        check(session, self._people, process, case, form, by, now, policy.intake(process, self._policy))
        room = self.rooms.get(process.name)
        taken = room.handed_in(session, case, form, by, now) if room else form
        recorded_at = max(now, case.last_instant + timedelta.resolution)
        kept = _canonical(form.filed())
        row = self._add(session, case, form.form, taken, made_of or body, by, key, task, recorded_at, now, kept)
        customers.note(session, self._keys, case.id, json.loads(body))
        if isinstance(form, BackAgain):
            reopening.keep_number(session, case, form, row.id)
        return _receipt(row, True, self._lease(session, case, holder, now))

    def _asked_for(self, session: Session, case: CaseRow, form: Form, by: Person, task: str | None) -> str | None:
        """The task that somebody may hand a form in for, in a case that is not his: one that he owes. NotFound otherwise.

        Where he owes several and names none, the desk asks which.
        """
        his = select(TaskRow).where(TaskRow.case_id == case.id, TaskRow.owner == by.id, TaskRow.form == form.form)
        owed = {row.key: row.state for row in session.exec(his)}
        if not owed or (task and task not in owed):
            raise NotFound("no_such_case", case=case.id)
        still = [key for key, state in owed.items() if state == "open"] or list(owed)
        return task or (still[0] if len(still) == 1 else None)

    def receipt(self, submission: str) -> Receipt:
        """What became of a submission. NotFound when there is none."""
        with self._database.reading() as session:
            row = session.get(SubmissionRow, submission)
            if row is None:
                raise NotFound("no_such_submission", submission=submission)
            return _receipt(row)

    def heard(self, submission: str) -> None:
        """The sender hears of the refusal himself: the notice of it is not needed. Where this fails, he hears twice."""
        with self._database.writing() as session:
            _, row = _held(session, submission)
            row.deferred = False
            for notice in session.exec(
                select(NoticeRow).where(NoticeRow.person == row.by, NoticeRow.key == _refused(row))
            ):
                session.delete(notice)

    def _repeated(self, row: SubmissionRow, body: bytes, conflict: str, **values: str) -> Receipt:
        if not self._keys.matches(row.digest, body):
            raise Conflict(conflict, **values)
        return _receipt(row)

    def _opening_of(self, session: Session, case: CaseRow, number: str) -> SubmissionRow:
        """What a business number came with: the opening of its case, or that its customer was back."""
        if number != case.number:
            return session.get_one(SubmissionRow, session.get_one(NumberRow, (case.process, number)).submission)
        return session.exec(
            select(SubmissionRow).where(SubmissionRow.case_id == case.id, SubmissionRow.form == OPENING)
        ).one()

    def _has_past(self, session: Session, case: CaseRow, facts: Case, past: Past | None) -> bool:
        """Whether a case came with this very past, or with none where none is given."""
        known = [row for row in _past_of(session, case) if row.form != OPENING]
        told = past.told(facts) if past else []
        return (
            bool(past) == bool(case.entered_at)
            and len(known) == len(told)
            and all(
                row.recorded_at == at and self._keys.matches(row.digest, _canonical(form))
                for row, (at, form) in zip(known, told, strict=True)
            )
        )

    def _is_of(self, session: Session, row: SubmissionRow, facts: Case, past: Past | None, by: Person) -> bool:
        """Whether a submission may be of these facts with this past: their opening, or made of it; and whether this person may
        hear so: a store not of another's."""
        case = session.get_one(CaseRow, row.case_id)
        theirs = by.role is not Role.STORE or case.store == by.store
        if row.form in MADE_OF_OPENINGS:
            return theirs and past is None
        return theirs and row.form == OPENING and self._has_past(session, case, facts, past)

    def _amended(
        self,
        session: Session,
        process: Process,
        case: CaseRow,
        opening: SubmissionRow,
        facts: Case,
        body: bytes,
        by: Person,
        key: str | None,
        holder: str | None,
    ) -> Receipt:
        """Its sender has sent a form again, corrected; the same correction again is the one that is there."""
        of_his = select(SubmissionRow).where(SubmissionRow.case_id == case.id, SubmissionRow.by == by.id)
        amended = of_his.where(SubmissionRow.form == Amend.form, SubmissionRow.state != "refused")
        rows = list(session.exec(amended.order_by(col(SubmissionRow.recorded_at))))
        if known := next((row for row in rows if self._keys.matches(row.digest, body)), None):
            return _receipt(known)
        sent = [(row.form, unsealed(row, self._keys)) for row in (opening, *rows)]
        form = amendment(case.number, sent, facts)
        return self.add_in(session, process, case.id, form, by, None, key, holder, made_of=body)

    def _earlier(self, session: Session, process: Process, facts: Case) -> CaseRow | None:
        """The case that this one continues."""
        if facts.earlier_case is None:
            return None
        return session.exec(reopening.numbered(process.name, facts.earlier_case).with_for_update()).first()

    def _add(
        self,
        session: Session,
        case: CaseRow,
        form: str,
        content: Private,
        body: bytes,
        by: Person,
        key: str | None,
        task: str | None,
        recorded_at: datetime,
        now: datetime,
        kept: bytes | None = None,
    ) -> SubmissionRow:
        submission = key or secrets.token_hex(13)
        case.last_instant, case.keys = recorded_at, self._keys.noted(case.keys)
        row = SubmissionRow(
            id=submission,
            case_id=case.id,
            form=form,
            task=task,
            by=by.id,
            role=by.role,
            recorded_at=recorded_at,
            sealed=self._keys.seal(kept or body, COLUMN, f"submission/{submission}"),
            outline=content.model_dump(mode="json", exclude_none=True),
            digest=self._keys.digest(body),
            next_try_at=now,
        )
        session.add(row)
        return row

    # For the deliverer

    def waiting(self, limit: int, again: bool) -> list[str]:
        """Cases with something to deliver now, the longest waiting first: those never tried, or those tried in vain."""
        now = self._clock()
        with self._database.reading() as session:
            return list(
                session.exec(
                    select(CaseRow.id)
                    .join(SubmissionRow, col(SubmissionRow.case_id) == col(CaseRow.id))
                    .where(SubmissionRow.state == "pending", SubmissionRow.next_try_at <= now)
                    .where(or_(col(CaseRow.leased_until).is_(None), col(CaseRow.leased_until) <= now))
                    .group_by(col(CaseRow.id))
                    .having(func.max(SubmissionRow.attempts) > 0 if again else func.max(SubmissionRow.attempts) == 0)
                    .order_by(func.min(SubmissionRow.next_try_at))
                    .limit(limit)
                )
            )

    def next_of(self, case_id: str, holder: str) -> Delivery | None:
        """Take or renew the case's lease and get its oldest undecided submission; None, and no lease, when there is none.

        Whoever holds the lease delivers alone: what arrives meanwhile is found by his next call.
        """
        with self._database.writing() as session:
            return self._lease(session, locked(session, case_id), holder, self._clock())

    def decide(self, submission: str, refusal: Refusal | None, holder: str) -> Delivery | None:
        """Write what Temporal answered, and go on as `next_of` does. Only who holds the answer calls this; its notices go out now."""
        told: list[NoticeRow] = []
        with self._database.writing() as session:
            case, row = _held(session, submission)
            now = self._clock()
            if row.state == "pending":
                told += self._decide(session, row, refusal, now)
            if row.form == OPENING and case.entered_at:
                told += self._decide_past(session, case, now)
            delivery = self._lease(session, case, holder, now)
        for notice in told:
            log.info("notice", what=notice.what, to=notice.person, case=notice.case_id, task=notice.task)
        return delivery

    def decide_without_engine(self, submission: str, holder: str) -> bool:
        """The engine no longer runs the case: an archived one decides by what is in the ledger. False for an open one, and for
        what opens one again: its run was just ending, and another begins with the next try."""
        with self._database.reading() as session:
            row = session.get_one(SubmissionRow, submission)
            archived = session.get_one(CaseRow, row.case_id).state == "archived"
            happened = session.exec(select(EventRow.id).where(EventRow.submission == submission)).first()
            against = Refusal.model_validate(row.refusal) if row.refusal else Refusal(code="case_closed")
            is_over = archived and (happened is not None or row.form != REOPENING)
        if is_over:
            self.decide(submission, None if happened else against, holder)
        return is_over

    def _lease(
        self, session: Session, case: CaseRow, holder: str | None, now: datetime, only: SubmissionRow | None = None
    ) -> Delivery | None:
        if holder is None or (
            case.leased_by not in (None, holder) and case.leased_until is not None and case.leased_until > now
        ):
            return None
        row = only or session.exec(_submissions(case).where(SubmissionRow.state == "pending").limit(1)).first()
        if row is None:
            case.leased_by = case.leased_until = None
            return None
        case.leased_by, case.leased_until = holder, now + LEASE
        case.keys = self._keys.noted(case.keys)
        if row.form == OPENING:
            return _delivery(case, row, row, _past_of(session, case))
        if row.form == REOPENING:  # starts the case anew from all that was decided in it, unless it runs
            before = [*_decided(session, case), row]
            return _delivery(case, row, self._opening_of(session, case, case.number), before)
        return Delivery(as_submission(row), case.process, None)

    def _decide(self, session: Session, row: SubmissionRow, refusal: Refusal | None, now: datetime) -> list[NoticeRow]:
        """Write the decision; returns the notices that go out with it."""
        row.state, row.decided_at = ("refused" if refusal else "decided"), now
        if refusal:
            row.refusal = refusal.model_dump()
        elif corrects(row.form, row.by):
            shelve_anew(session, row.case_id)
        notice = left_to_nobody(session, self._people, row, is_refused=bool(refusal))
        if refusal and row.deferred:
            notice = notice or self._refusal_notice(session, row, refusal, now)
        if notice:
            session.add(notice)
            session.flush()
        told = list(session.exec(select(NoticeRow).where(NoticeRow.submission == row.id)))
        for notice in told:
            notice.delivered_at = now
        return told

    def _refusal_notice(self, session: Session, row: SubmissionRow, refusal: Refusal, now: datetime) -> NoticeRow:
        """To whoever sent it; what a machine sent, the administrator sees to."""
        machine = row.role == Role.SYSTEM
        person = self._people.resolve(Role.ADMINISTRATOR, Wanted(row.case_id, now)) if machine else row.by
        return NoticeRow(
            person=person,
            key=_refused(row),
            what="refused",
            case_id=row.case_id,
            task=row.task,
            submission=row.id,
            created_at=now,
            data={"form": row.form, **refusal.model_dump()},
        )

    def _decide_past(self, session: Session, case: CaseRow, now: datetime) -> list[NoticeRow]:
        """What a case took along when it began is decided with its opening; its events say that it was taken."""
        taken = set(session.exec(select(EventRow.submission).where(EventRow.case_id == case.id)))
        waiting = [row for row in _of(session, case) if row.state == "pending" and row.id in taken]
        return [notice for row in waiting for notice in self._decide(session, row, None, now)]

    def rebuilt(self, case_id: str) -> Delivery:
        """What starts a case anew from all that was decided in it: its opening, the rest as its past. Notes the key that seals it."""
        with self._database.writing() as session:
            case = locked(session, case_id)
            case.keys = self._keys.noted(case.keys)
            opening = self._opening_of(session, case, case.number)
            return _delivery(case, opening, opening, _decided(session, case))

    def postpone(self, case_id: str, submission: str, holder: str) -> None:
        """No answer: try again later, and let go of the case."""
        with self._database.writing() as session:
            case = locked(session, case_id)
            row = session.get_one(SubmissionRow, submission)
            row.attempts += 1
            row.next_try_at = self._clock() + min(timedelta(seconds=0.5 * 2 ** min(row.attempts, 5)), LONGEST_WAIT)
            if case.leased_by == holder:
                case.leased_by = case.leased_until = None


def _held(session: Session, submission: str) -> tuple[CaseRow, SubmissionRow]:
    """A submission, its case locked first: what is read of either holds until the transaction ends."""
    case_id = select(SubmissionRow.case_id).where(SubmissionRow.id == submission).scalar_subquery()
    case = session.exec(select(CaseRow).where(CaseRow.id == case_id).with_for_update()).one()
    return case, session.get_one(SubmissionRow, submission)


def _cycle(earlier: CaseRow | None, soon: timedelta | None, now: datetime) -> int:
    """Which time a matter is handled, when it comes back so soon after it was closed."""
    if earlier is None or earlier.closed_at is None or soon is None or now - earlier.closed_at > soon:
        return 1
    return earlier.cycle + 1


def _canonical(content: Private) -> bytes:
    document = content.model_dump(mode="json", context=LEDGER, exclude_none=True)
    return json.dumps(document, ensure_ascii=False, sort_keys=True).encode()


def _receipt(row: SubmissionRow, first: bool = False, delivery: Delivery | None = None) -> Receipt:
    refusal = Refusal.model_validate(row.refusal) if row.refusal and row.state == "refused" else None
    return Receipt(row.id, row.case_id, row.state, refusal, first, row.form, delivery)


def _submissions(case: CaseRow) -> SelectOfScalar[SubmissionRow]:
    return select(SubmissionRow).where(SubmissionRow.case_id == case.id).order_by(col(SubmissionRow.recorded_at))


def _of(session: Session, case: CaseRow) -> list[SubmissionRow]:
    return list(session.exec(_submissions(case)))


def _decided(session: Session, case: CaseRow) -> list[SubmissionRow]:
    return [row for row in _of(session, case) if row.state == "decided"]


def _past_of(session: Session, case: CaseRow) -> list[SubmissionRow]:
    """What a case came with, its opening first; nothing where it began here."""
    return [row for row in _of(session, case) if row.recorded_at < case.entered_at] if case.entered_at else []


def _delivery(case: CaseRow, sent: SubmissionRow, opening: SubmissionRow, past: list[SubmissionRow]) -> Delivery:
    opened = Opened[Any, Any].model_construct(
        case=opening.outline,
        promises=case.promises,
        submission=opening.id,
        by=opening.by,
        role=Role(opening.role),
        at=opening.recorded_at,
        cycle=case.first_cycle,
        entered_at=case.entered_at,
        past=[as_submission(row) for row in past if row.id != opening.id],
    )
    return Delivery(as_submission(sent), case.process, opened)


def _refused(row: SubmissionRow) -> str:
    """The key of the notice that it was refused."""
    return f"{row.id}/refused"
