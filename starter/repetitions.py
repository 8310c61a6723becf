"""What is sent again, under the same key or with the same business number: whether it says what it said before."""

import json
from dataclasses import dataclass

from sqlmodel import Session, col, select

from activities.keys import KeyRing
from activities.submissions import unsealed
from models.complaint.forms import Amend
from models.forms import LEDGER, Case, Form, Private
from models.people import Person, Role
from models.tables import CaseRow, NumberRow, SubmissionRow
from models.tasks import OPENING, REOPENING, Past, Process
from starter.docket import Receipt, opening_of, past_of
from starter.facts import Said
from starter.refusals import Conflict
from starter.reopening import back_with, numbered, numbers_of
from starter.resent import otherwise, sends_again


def canonical(content: Private) -> bytes:
    """A form in full, the same bytes whenever it says the same: what is sealed, and what repetitions are known by."""
    document = content.model_dump(mode="json", context=LEDGER, exclude_none=True)
    return json.dumps(document, ensure_ascii=False, sort_keys=True).encode()


@dataclass(frozen=True)
class Correction:
    """An amendment that came as the form of its case once more."""

    case: str
    form: Amend


class Repetitions:
    """What a writing transaction finds committed before. The same again gets its receipt, something else a Conflict."""

    def __init__(self, session: Session, keys: KeyRing) -> None:
        self._session = session
        self._keys = keys

    def of_opening(
        self, process: Process, facts: Case, past: Past | None, by: Person, key: str | None
    ) -> Receipt | Correction | None:
        """A number is one case for ever, its own or one under which its customer came back. None where it is new."""
        if key and (row := self._session.get(SubmissionRow, key)):
            return self._receipt(row, self._said(row, facts, past, by), "key_reused", key=key)
        if case := self._session.exec(numbered(process.name, facts.number)).first():
            row = self._came_with(case, facts.number)
            if (
                past is None
                and sends_again(case, row, facts, by)
                and not self._keys.matches(row.digest, canonical(facts))
            ):
                return self._corrected(case, facts, by)
            return self._receipt(row, self._said(row, facts, past, by), "number_taken", number=facts.number)
        return None

    def of_form(self, case: CaseRow, form: Form, by: Person, task: str | None, key: str | None) -> Receipt | None:
        """The same key is the same form for the same task of the same case, from the same person. None where it is new."""
        if not key or not (row := self._session.get(SubmissionRow, key)):
            return None
        same = (row.case_id, row.form, row.task, row.by) == (case.id, form.form, task, by.id)
        return self._receipt(row, canonical(form) if same else b"", "key_reused", key=key)

    def _receipt(self, row: SubmissionRow, said: bytes, conflict: str, **values: str) -> Receipt:
        if not self._keys.matches(row.digest, said):
            raise Conflict(conflict, **values)
        return Receipt.of(row)

    def _came_with(self, case: CaseRow, number: str) -> SubmissionRow:
        """What a business number came with: the opening of its case, or that its customer was back."""
        if number == case.number:
            return opening_of(self._session, case)
        known = self._session.get_one(NumberRow, (case.process, number))
        return self._session.get_one(SubmissionRow, known.submission)

    def _said(self, row: SubmissionRow, facts: Case, past: Past | None, by: Person) -> bytes:
        """What a submission said if it was this opening, with this past, and this person may hear so: a store not of another's."""
        case = self._session.get_one(CaseRow, row.case_id)
        theirs = by.role is not Role.STORE or case.store == by.store
        back = back_with(facts) if theirs and past is None else None
        if back and row.form == REOPENING:
            named = facts.earlier_case in (case.number, *numbers_of(self._session, case.id))
            return canonical(back) if named and facts.store_code in (None, case.store) else b""
        if back and row.form == Amend.form and row.by == by.id:
            before = [sent for sent in self._sent_by(case, by) if sent.recorded_at < row.recorded_at]
            return canonical(otherwise(self._contents(before), facts).form) if before else b""
        same = theirs and row.form == OPENING and self._has_past(case, facts, past)
        return canonical(facts) if same else b""

    def _corrected(self, case: CaseRow, facts: Case, by: Person) -> Receipt | Correction:
        """What the sender corrects in it; the receipt where he has said so before, whatever he has corrected after it."""
        rows = self._sent_by(case, by)
        sent = self._contents(rows)
        for nth, row in enumerate(rows[1:], start=1):
            said = otherwise(sent[:nth], facts)
            if said.is_amendment and self._keys.matches(row.digest, canonical(said.form)):
                return Receipt.of(row)
        form, cannot = otherwise(sent, facts)
        if cannot:
            raise Conflict("not_amendable", number=case.number, fields=", ".join(cannot))
        return Correction(case.id, form) if form.model_fields_set else Receipt.of(rows[-1])

    def _sent_by(self, case: CaseRow, by: Person) -> list[SubmissionRow]:
        """The opening of a case and what its sender has amended, in their order."""
        his = select(SubmissionRow).where(SubmissionRow.case_id == case.id, SubmissionRow.by == by.id)
        said = his.where(col(SubmissionRow.form).in_((OPENING, Amend.form)), SubmissionRow.state != "refused")
        return list(self._session.exec(said.order_by(col(SubmissionRow.recorded_at))))

    def _contents(self, rows: list[SubmissionRow]) -> list[Said]:
        return [(row.form, unsealed(row, self._keys)) for row in rows]

    def _has_past(self, case: CaseRow, facts: Case, past: Past | None) -> bool:
        """Whether a case came with this very past, or with none where none is given."""
        known = [row for row in past_of(self._session, case) if row.form != OPENING]
        told = past.told(facts) if past else []
        return (
            bool(past) == bool(case.entered_at)
            and len(known) == len(told)
            and all(
                row.recorded_at == at and self._keys.matches(row.digest, canonical(form))
                for row, (at, form) in zip(known, told, strict=True)
            )
        )
