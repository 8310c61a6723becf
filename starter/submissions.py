"""What people send, committed before it is decided: who may send what, and one row a submission."""

import json
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from sqlmodel import Session, select

from activities.database import Database, once_more
from activities.keys import COLUMN, KeyRing
from models import policy
from models.complaint.forms import BackAgain
from models.forms import Case, Form, Private
from models.organisation import Who
from models.people import Person, Role
from models.tables import CaseRow, SubmissionRow, TaskRow
from models.tasks import OPENING, REOPENING, Past, Process
from starter import customers, reopening
from starter.checks import check, may_send, of_somebody_else, unknown_store
from starter.docket import Receipt, take_lease
from starter.refusals import FieldError, Forbidden, Invalid, NotFound
from starter.repetitions import Correction, Repetitions, canonical


class Room(Protocol):
    """What a process keeps in tables of its own, beside its cases."""

    def handed_in(self, session: Session, case: CaseRow, form: Form, by: Person, now: datetime) -> Form:
        """What a form changes there, in its own transaction, and the form as its desk gets it. Refused where it cannot be."""


class Submissions:
    """The ledger's side of every door. Who commits may take the case's lease along, and deliver what he sent himself.

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

    # A case to open

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
        _check_opener(process, facts, past, by)
        known = Repetitions(session, self._keys).of_opening(process, facts, past, by, key)
        if isinstance(known, Correction):
            return self.add_in(session, process, known.case, known.form, by, key=key, holder=holder)
        if known:
            return known
        now, intake = self._clock(), policy.intake(process, self._policy)
        earlier = _earlier(session, process, facts)
        if errors := self._against(process, facts, past, by, earlier, intake, now):
            raise Invalid(errors)
        if REOPENING in process.submittable and reopening.given_meanwhile(session, process.name, facts.number):
            return self.open_in(session, process, facts, by, key, holder, past)
        if (
            earlier
            and past is None
            and by.may_see(earlier.store, earlier.region)
            and (back := reopening.continued(session, earlier, facts, intake, now))
        ):
            return self.add_in(session, process, earlier.id, back, by, key=key, holder=holder, by_rule=True)
        case = self._begun(process, facts, past, by, earlier, intake, now)
        session.add(case)
        body = canonical(facts)
        opening = self._add(session, case, OPENING, facts, body, by, case.opened_at, now, key)
        customers.begin(session, self._keys, case.id, json.loads(body))
        for at, form in past.told(facts) if past else ():
            self._add(session, case, form.form, form, canonical(form), by, at, now)
        return Receipt.of(opening, True, take_lease(session, self._keys, case, holder, now, opening))

    def _against(
        self,
        process: Process,
        facts: Case,
        past: Past | None,
        by: Person,
        earlier: CaseRow | None,
        intake: Any,
        now: datetime,
    ) -> list[FieldError]:
        """What cannot be so, field by field."""
        if past:
            unfit = past.unfit(policy.promises(process, self._policy), by.role)
            errors = [*past.objections(facts, intake, now), *unfit]
        else:
            errors = facts.objections(intake, now)
            if facts.earlier_case and earlier is None:
                unknown = FieldError(field="earlier", code="no_such_other_case", values={"case": facts.earlier_case})
                errors = [*errors, unknown]
        return [*errors, *unknown_store(self._people, "store", facts.store_code)]

    def _begun(
        self,
        process: Process,
        facts: Case,
        past: Past | None,
        by: Person,
        earlier: CaseRow | None,
        intake: Any,
        now: datetime,
    ) -> CaseRow:
        """The row of a new case, with the promises it is opened under."""
        opened_at = past.began_at(facts) if past else now
        cycle = _cycle(earlier, getattr(intake, "back_again", None), opened_at)
        store = facts.store_code or by.store
        return CaseRow(
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

    # A form to hand in

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
    ) -> Receipt:
        """`hand_in`, as part of a writing transaction. `by_rule` where it follows from something else, and is nobody's word on
        the case: a task that goes to who stands in."""
        case = session.exec(select(CaseRow).where(CaseRow.id == case_id).with_for_update()).first()
        if not may_send(self._people, case, form, by):
            raise Forbidden("may_not_hand_in", role=by.role, form=form.form)
        if case is None or case.process != process.name:
            raise NotFound("no_such_case", case=case_id)
        if not by.may_see(case.store, case.region):
            task = _asked_for(session, case, form, by, task)
        if known := Repetitions(session, self._keys).of_form(case, form, by, task, key):
            return known
        now = self._clock()
        if not by_rule:
            of_somebody_else(session, self._people, case, form, by, now)
        check(session, self._people, process, case, form, by, now, policy.intake(process, self._policy))
        room = self.rooms.get(process.name)
        taken = room.handed_in(session, case, form, by, now) if room else form
        recorded_at = max(now, case.last_instant + timedelta.resolution)
        body, kept = canonical(form), canonical(form.filed())
        row = self._add(session, case, form.form, taken, body, by, recorded_at, now, key, task, kept)
        customers.note(session, self._keys, case.id, json.loads(body))
        if isinstance(form, BackAgain):
            reopening.keep_number(session, case, form, row.id)
        return Receipt.of(row, True, take_lease(session, self._keys, case, holder, now))

    # One row a submission

    def _add(
        self,
        session: Session,
        case: CaseRow,
        form: str,
        content: Private,
        body: bytes,
        by: Person,
        recorded_at: datetime,
        now: datetime,
        key: str | None = None,
        task: str | None = None,
        kept: bytes | None = None,
    ) -> SubmissionRow:
        """One row: `content` is what its desk gets, `body` what was sent, `kept` what is filed of it where that is less."""
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


def _check_opener(process: Process, facts: Case, past: Past | None, by: Person) -> None:
    """Forbidden where it is not his to open: not with his role, not for another's store, no past about himself."""
    if by.role not in (process.case.may_open & past.may_bring if past else process.case.may_open):
        raise Forbidden("may_not_open", role=by.role, process=process.name)
    if by.role is Role.STORE and facts.store_code not in (None, by.store):
        raise Forbidden("other_store", store=str(facts.store_code))
    if past and facts.about == by.id:
        raise Forbidden("past_about_yourself")


def _earlier(session: Session, process: Process, facts: Case) -> CaseRow | None:
    """The case that this one continues."""
    if facts.earlier_case is None:
        return None
    return session.exec(reopening.numbered(process.name, facts.earlier_case).with_for_update()).first()


def _cycle(earlier: CaseRow | None, soon: timedelta | None, now: datetime) -> int:
    """Which time a matter is handled, when it comes back so soon after it was closed."""
    if earlier is None or earlier.closed_at is None or soon is None or now - earlier.closed_at > soon:
        return 1
    return earlier.cycle + 1


def _asked_for(session: Session, case: CaseRow, form: Form, by: Person, task: str | None) -> str | None:
    """The task that somebody may hand a form in for, in a case that is not his: one that he owes. NotFound otherwise.

    Where he owes several and names none, the desk asks which.
    """
    his = select(TaskRow).where(TaskRow.case_id == case.id, TaskRow.owner == by.id, TaskRow.form == form.form)
    owed = {row.key: row.state for row in session.exec(his)}
    if not owed or (task and task not in owed):
        raise NotFound("no_such_case", case=case.id)
    still = [key for key, state in owed.items() if state == "open"] or list(owed)
    return task or (still[0] if len(still) == 1 else None)
