"""Members and purchases from a table: many rows at a time, each taken, known already, or in a second file that says why not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import file_digest
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal, cast

from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from models.audit import Nothing
from models.forms import FieldError
from models.members import MemberRecord, PurchaseRecord
from models.people import Person, Role
from models.tables import MemberFileRow
from models.tasks import Process
from models.words import Language, say
from settings import House
from starter.members.audits import Audits
from starter.members.receipts import Receipts
from starter.members.register import Taken
from starter.refusals import Invalid, Refused
from starter.spreadsheets.columns import Names
from starter.spreadsheets.imports import (
    BREATH,
    LONGEST_BREATH,
    PAUSES,
    ImportInterrupted,
    ImportReport,
    ImportStopped,
    Plan,
    is_locked,
    unused,
)
from starter.spreadsheets.rejects import Problem, Rejects
from starter.spreadsheets.sheets import CannotImport, Record, Sheet
from starter.spreadsheets.workbooks import sheet_of

Kind = Literal["members", "existing", "purchases"]
MAY_BRING: dict[Kind, frozenset[Role]] = {
    "members": frozenset({Role.SPECIALIST, Role.MANAGER, Role.ADMINISTRATOR, Role.SYSTEM}),
    "purchases": frozenset({Role.SPECIALIST, Role.MANAGER, Role.ADMINISTRATOR, Role.SYSTEM}),
    "existing": frozenset({Role.MANAGER, Role.ADMINISTRATOR}),
}
AT_ONCE: dict[Kind, int] = {"members": 100, "purchases": 100, "existing": 500}
"""Rows of one transaction: a door waits no longer than for a few forms; at go-live nobody waits."""

TABLES = {
    name: Process(name=name, case=cast(Any, model), intake=Nothing, promises=Nothing, forms=())
    for name, model in (("member", MemberRecord), ("purchase", PurchaseRecord))
}
"""What a file may hold, as the reader of tables, and the maker of empty ones, know it."""
NAMES = {name: Names.of(table) for name, table in TABLES.items()}

Write = Callable[[Callable[[Session, datetime], Any]], Any]
"""One transaction of the ledger."""


@dataclass
class FileReport(ImportReport):
    """What became of a file's rows."""

    changed: int = 0

    @property
    def done(self) -> int:
        return self.opened + self.changed + self.already + self.rejected


@dataclass
class _Row:
    record: Record
    taken: MemberRecord | PurchaseRecord | None
    problems: list[Problem] = field(default_factory=list)


def kind_of(file: Path) -> Kind:
    """What a file's header says it holds: receipts, or members. CannotImport where it is no table."""
    sheet = sheet_of(file, lambda header: any(names.find(header) for names in NAMES.values()))
    found = {leaf.name for header in sheet.headers if (leaf := NAMES["purchase"].find(header))}
    return "purchases" if "receipt" in found else "members"


def take_file(
    house: House,
    audits: Audits,
    receipts: Receipts,
    file: Path,
    *,
    kind: Kind,
    by: Person,
    write: Write,
    mapping: dict[str, str] | None = None,
    fixed: dict[str, str] | None = None,
    sheet: str | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    pause: Callable[[float], None] = sleep,
) -> FileReport:
    """Take a CSV file or a workbook. Broken off anywhere, the same file again goes on: what was taken is known.

    Rejected rows go to a file beside it. CannotImport before anything is taken; ImportInterrupted and ImportStopped in between.
    """
    if by.role not in MAY_BRING[kind]:
        able = ", ".join(sorted(MAY_BRING[kind] - {Role.SYSTEM}))
        raise CannotImport("may_not_open", person=by.id, role=by.role, able=able)
    name = "purchase" if kind == "purchases" else "member"
    names, mapping = NAMES[name], mapping or {}
    table = sheet_of(file, lambda header: header in mapping or names.find(header) is not None, sheet)
    plan = Plan.of(TABLES[name], names, table, mapping, fixed or {}, house.calendar, False)
    report = FileReport(table.rows, unused_columns=plan.unused, remarks=table.remarks)
    report.nearest = {header: nearest for header in plan.unused if (nearest := names.nearest(header))}
    intake = _Intake(plan, kind, report, audits, receipts, partial(_patiently, write, report, pause), pause)
    with file.open("rb") as content:
        digest = file_digest(content, "sha256").hexdigest()
    intake.write(partial(_begin, digest, kind, by))
    started, rejects = monotonic(), Rejects(table)
    try:
        with rejects:
            intake.take_all(table, rejects, progress)
    except KeyboardInterrupt as stop:
        raise ImportInterrupted(report) from stop
    finally:
        report.seconds, report.rejected_file = monotonic() - started, rejects.path
    intake.write(partial(_finish, digest, report))
    return report


def summary(report: FileReport, zone: str, language: Language = "zh") -> str:
    """What a person should know of it, a line each. Plain text: print it without markup."""
    rate = f"{report.done / max(report.seconds, 0.001):.0f}"
    left = report.total - report.done
    values = vars(report) | {"left": left, "seconds": f"{report.seconds:.1f}", "rate": rate, "zone": zone}
    values["unused"] = unused(report, language)
    worth_saying = {
        "member_rows": True,
        "left": left,
        "rejects": report.rejected_file,
        "zone_assumed": report.zone_assumed,
        "unused": report.unused_columns,
    }
    said = [say("import", code, language, **values) for code, worth in worth_saying.items() if worth]
    return "\n".join([*said, *(say("import", code, language, **given) for code, given in report.remarks)])


@dataclass(frozen=True)
class _Intake:
    """Takes one part of the rows after the other, and keeps count."""

    plan: Plan
    kind: Kind
    report: FileReport
    audits: Audits
    receipts: Receipts
    write: Write
    pause: Callable[[float], None]

    def take_all(self, table: Sheet, rejects: Rejects, progress: Callable[[int, int], None]) -> None:
        rows: list[_Row] = []
        for record in table.records():
            rows.append(self._read(record))
            if len(rows) == AT_ONCE[self.kind]:
                self._take(rows, rejects)
                progress(self.report.done, self.report.total)
                rows = []
        self._take(rows, rejects)
        progress(self.report.done, self.report.total)

    def _read(self, record: Record) -> _Row:
        if any(cell.strip() for cell in record.cells[self.plan.width :]):
            return _Row(record, None, self._said([FieldError(field="", code="too_many_cells")]))
        row = self.plan.read(record.cells)
        self.report.zone_assumed += "zone_assumed" in row.assumed
        if row.case is None or row.errors:
            return _Row(record, None, self._said(row.errors))
        return _Row(record, cast(MemberRecord | PurchaseRecord, row.case))

    def _take(self, rows: list[_Row], rejects: Rejects) -> None:
        sound = [row for row in rows if row.taken]
        began = monotonic()
        outcomes = self.write(partial(self._act, [row.taken for row in sound])) if sound else []
        for row, outcome in zip(sound, outcomes, strict=True):
            if isinstance(outcome, Refused):
                where = "" if self.kind == "purchases" else "version"
                errors = outcome.errors if isinstance(outcome, Invalid) else []
                row.problems = self._said(errors or [FieldError(field=where, code=outcome.code, values=outcome.values)])
                continue
            taken = cast(Taken, outcome)
            self.report.opened += taken.what == "new"
            self.report.changed += taken.what == "changed"
            self.report.already += taken.what == "known"
        for row in rows:
            if row.problems:
                rejects.add(row.record, row.problems)
                self.report.rejected += 1
        self.pause(min(BREATH * (monotonic() - began), LONGEST_BREATH))

    def _act(self, records: list[Any], session: Session, now: datetime) -> list[Taken | Refused]:
        if self.kind == "purchases":
            return self.receipts.take_all(session, now, records)
        return self.audits.register.take_all(session, now, records, existing=self.kind == "existing")

    def _said(self, errors: list[FieldError]) -> list[Problem]:
        return [Problem(self.plan.called(error.field), self.plan.reason(error)) for error in errors]


def _patiently(
    write: Write, report: FileReport, pause: Callable[[float], None], act: Callable[[Session, datetime], Any]
) -> Any:
    """Write, trying again while another process does. What is written twice is known the second time."""
    for seconds in PAUSES:
        try:
            return write(act)
        except OperationalError as error:
            if not is_locked(error):
                raise
            pause(seconds)
    raise ImportStopped(report)


def _begin(digest: str, kind: Kind, by: Person, session: Session, now: datetime) -> None:
    if session.get(MemberFileRow, digest) is None:
        session.add(MemberFileRow(digest=digest, kind=kind, by=by.id, role=by.role, at=now))


def _finish(digest: str, report: FileReport, session: Session, now: datetime) -> None:
    row = session.get_one(MemberFileRow, digest)
    if row.finished_at is None:
        row.finished_at = now
        row.total, row.new, row.changed = report.total, report.opened, report.changed
        row.known, row.rejected = report.already, report.rejected
