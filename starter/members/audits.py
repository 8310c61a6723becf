"""The audit of new members (handbook 4.1): who comes on the list of the day, who gets a case of his own, and what follows from each form."""

from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel import Session, col, func, select, update

from activities import members
from activities.keys import KeyRing
from models import policy
from models.audit import (
    AUDIT,
    AUDIT_LIST,
    MEMBER_SYSTEM,
    Audit,
    AuditIntake,
    AuditList,
    Check,
    Reject,
    Review,
    Supplement,
)
from models.forms import FieldError, Form
from models.people import Directory, Person, Role
from models.tables import AuditLineRow, CaseRow, MemberRow, SubmissionRow, TaskRow
from starter.members.register import Batch, Register
from starter.members.rules import for_the_store
from starter.refusals import Conflict, Invalid
from starter.submissions import Submissions


class Audits:
    """What the two processes of the audit keep in tables of their own. Everything happens within the caller's transaction."""

    def __init__(
        self, submissions: Submissions, keys: KeyRing, people: Directory, zone: ZoneInfo, policy_file: Path
    ) -> None:
        self._submissions = submissions
        self._keys = keys
        self._zone = zone
        self._policy = policy_file
        self.register = Register(self, keys, people)

    @property
    def intake(self) -> AuditIntake:
        intake = policy.intake(AUDIT, self._policy)
        assert isinstance(intake, AuditIntake)
        return intake

    def day(self, now: datetime) -> date:
        """The business day of an instant (5.3 E45)."""
        return now.astimezone(self._zone).date()

    # From the register

    def begin(
        self, session: Session, now: datetime, batch: Batch, member: str, row: Mapping[str, Any], sent: dict[str, Any]
    ) -> dict[str, Any]:
        """Where a new member is audited: on the list of the day, or, with a finding, in a case of his own."""
        if row["findings"]:
            return {"case_id": self._open(session, member, row["version"], sent, row["findings"])}
        region = row["region"]
        if region not in batch.lists:
            batch.lists[region] = self._list_of(session, now, region)
        case = batch.lists[region]
        batch.lines.append({"case_id": case, "member_id": member, "at": now, "state": "listed"})
        return {"case_id": case, "clean_at_first": None}

    def go_on(self, session: Session, now: datetime, case: CaseRow, row: MemberRow) -> None:
        """What a later version means for the audit that the member is in."""
        wanting = for_the_store(row.findings)
        if case.process == AUDIT_LIST.name:
            if row.findings and self._take_off(session, row.id, "withdrawn"):
                whole = members.whole(row, self._keys)
                row.clean_at_first = False
                row.case_id = self._open(session, row.id, row.version, whole, row.findings)
        elif self._line_of(session, row.id):
            if wanting:
                self._add(session, case.id, Review(accepted=False, fields=wanting), MEMBER_SYSTEM)
        elif _awaits_the_store(session, case):
            self._add(session, case.id, Supplement(version=row.version, still=wanting), MEMBER_SYSTEM)
            if not wanting:
                self._relist(session, now, row)

    # From the doors

    def handed_in(self, session: Session, case: CaseRow, form: Form, by: Person, now: datetime) -> Form:
        """What a form changes besides its case, and the form as its desk gets it. Conflict or Invalid where it cannot be."""
        match form:
            case Check():
                self._check(session, case, form, by)
            case Reject():
                self._reject(session, case, form, by)
            case Supplement() if by.role is not Role.SYSTEM:
                return self._supplement(session, case, form, now)
            case Review():
                self._review(session, case, form)
        return form

    def _check(self, session: Session, case: CaseRow, form: Check, by: Person) -> None:
        """Every line that still stands is complete, and who says so is in the submission."""
        if not takes_lines(session, case):
            raise Conflict("already_done", task="check")
        listed = select(AuditLineRow.member_id).where(AuditLineRow.case_id == case.id, AuditLineRow.state == "listed")
        if (standing := len(session.exec(listed).all())) != form.lines:
            raise Conflict("list_changed", lines=str(standing))
        own = select(MemberRow).where(col(MemberRow.id).in_(listed), col(MemberRow.case_id) != case.id)
        for row in session.exec(own).all():
            assert row.case_id
            self._add(session, row.case_id, Review(accepted=True), by)
        of_list = col(MemberRow.case_id) == case.id
        first = update(MemberRow).where(of_list, col(MemberRow.id).in_(listed)).values(clean_at_first=True)
        session.exec(first.execution_options(synchronize_session=False))
        lines = update(AuditLineRow).where(col(AuditLineRow.case_id) == case.id, col(AuditLineRow.state) == "listed")
        session.exec(lines.values(state="passed").execution_options(synchronize_session=False))

    def _reject(self, session: Session, case: CaseRow, form: Reject, by: Person) -> None:
        line = session.get(AuditLineRow, (case.id, form.member))
        if line is None or line.state != "listed":
            raise Invalid([FieldError(field="member", code="not_on_list")])
        row = session.exec(select(MemberRow).where(MemberRow.id == form.member).with_for_update()).one()
        if row.case_id != case.id:
            assert row.case_id
            self._add(session, row.case_id, Review(accepted=False, fields=form.fields, note=form.note), by)
            return
        line.state = "rejected"
        row.clean_at_first = False
        row.findings = {**row.findings, **dict.fromkeys(form.fields, "rejected")}
        whole = members.whole(row, self._keys)
        row.case_id = self._open(session, row.id, row.version, whole, row.findings, form.note)

    def _supplement(self, session: Session, case: CaseRow, form: Supplement, now: datetime) -> Form:
        """What the store fills in is kept with the member, and audited by rule at once (5.3 E46)."""
        if not _awaits_the_store(session, case):
            raise Conflict("already_done", task="supplement")
        if not (form.given or form.declined or form.confirmed):
            raise Invalid([FieldError(field="note", code="nothing_supplemented")])
        row = session.exec(select(MemberRow).where(MemberRow.case_id == case.id).with_for_update()).one()
        allowed = self.intake.may_decline
        if refused := [field for field in form.declined if field in self.intake.required - allowed]:
            raise Invalid(
                [FieldError(field="declined", code="not_to_be_declined", values={"fields": ", ".join(refused)})]
            )
        self.register.supplement(session, now, row, form)
        still = for_the_store(row.findings)
        if not still:
            self._relist(session, now, row)
        return form.model_copy(update={"version": None, "still": still})

    def _review(self, session: Session, case: CaseRow, form: Review) -> None:
        row = session.exec(select(MemberRow).where(MemberRow.case_id == case.id).with_for_update()).one()
        if not self._take_off(session, row.id, "passed" if form.accepted else "rejected"):
            raise Conflict("not_owed_yet", task="review")
        if not form.accepted:
            row.findings = {**dict.fromkeys(form.fields, "rejected"), **row.findings}

    def _add(self, session: Session, case: str, form: Form, by: Person) -> None:
        self._submissions.add_in(session, AUDIT, case, form, by)

    # Cases and lists

    def _open(
        self,
        session: Session,
        member: str,
        version: int,
        whole: Mapping[str, Any],
        findings: Mapping[str, str],
        note: str | None = None,
    ) -> str:
        """A case for a member of whom something is wanting. Its id."""
        facts = {
            "audit_no": f"{member}-v{version}",
            "member": member,
            "version": version,
            "store": whole["store"],
            "member_no": whole["member_no"],
            "findings": dict(findings),
            "note": note,
        }
        return self._submissions.open_in(session, AUDIT, Audit.model_validate(facts), MEMBER_SYSTEM).case

    def _list_of(self, session: Session, now: datetime, region: str) -> str:
        """The list of this day and region that takes lines, to ourselves; a new one where there is none."""
        day = self.day(now)
        stem = f"{_as_code(region)}-{day}"
        of_day = select(CaseRow).where(CaseRow.process == AUDIT_LIST.name, CaseRow.region == region)
        lists = session.exec(
            of_day.where(col(CaseRow.number).startswith(stem, autoescape=True)).with_for_update()
        ).all()
        if taking := [case.id for case in lists if takes_lines(session, case)]:
            return taking[0]
        facts = AuditList(
            list_no=f"{stem}-{len(lists) + 1}" if lists else stem,
            region=region,
            day=day,
            began_at=datetime.combine(day, time(), self._zone),
        )
        return self._submissions.open_in(session, AUDIT_LIST, facts, MEMBER_SYSTEM).case

    def _relist(self, session: Session, now: datetime, row: MemberRow) -> None:
        """A record that was completed is audited with those of the day."""
        assert row.region
        case = self._list_of(session, now, row.region)
        line = session.get(AuditLineRow, (case, row.id)) or AuditLineRow(case_id=case, member_id=row.id, at=now)
        line.state, line.at = "listed", now
        session.add(line)
        session.flush()

    def _line_of(self, session: Session, member: str) -> AuditLineRow | None:
        listed = select(AuditLineRow).where(AuditLineRow.member_id == member, AuditLineRow.state == "listed")
        return session.exec(listed).first()

    def _take_off(self, session: Session, member: str, state: str) -> bool:
        """Take a member off the list he is on. False where he is on none."""
        line = self._line_of(session, member)
        if line:
            line.state = state
        return line is not None


def takes_lines(session: Session, case: CaseRow) -> bool:
    """Whether nobody has audited the list yet."""
    checked = select(func.count()).where(
        SubmissionRow.case_id == case.id, SubmissionRow.form == Check.form, SubmissionRow.state != "refused"
    )
    return case.state == "open" and session.exec(checked).one() == 0


def _awaits_the_store(session: Session, case: CaseRow) -> bool:
    """Whether the store owes something; also where the case has not begun yet, and will."""
    owed = session.exec(select(TaskRow.form, TaskRow.state).where(TaskRow.case_id == case.id)).all()
    return case.state == "open" and (not owed or (Supplement.form, "open") in owed)


def _as_code(region: str) -> str:
    """A region as a business number may hold it."""
    return "".join(char if char.isalnum() or char in "._:#/-" else "_" for char in region)[:40]
