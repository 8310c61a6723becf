"""Cases from a table: each row becomes an opening submission, or a row of a second file that says why it did not."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import OperationalError

from models.forms import Case, FieldError, Form
from models.people import Person
from models.tasks import Past, Process
from models.words import Language, knows, label, say
from starter.docket import Receipt
from starter.refusals import Conflict, Invalid, Refused
from starter.spreadsheets.columns import Leaf, Names, Unreadable, required_objects, value_of
from starter.spreadsheets.rejects import Problem, Rejects
from starter.spreadsheets.sheets import CannotImport, Record, Remark, Sheet, listed
from starter.spreadsheets.workbooks import sheet_of
from starter.submissions import Submissions

M = TypeVar("M", bound=BaseModel)

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds after each try while another process holds the ledger; each try itself waits two seconds for its turn."""
BREATH = 0.5
"""After a commit the ledger is left alone for this part of the time the commit took. SQLite's writers do not queue but look
again now and then: an import that never rests makes the doors wait a second (measured), and answer 503 on a slow disk."""
LONGEST_BREATH = 0.02

TELLABLE = frozenset({"expected", "gt", "ge", "lt", "le", "max_length", "decimal_places", "days", "shown"})
"""What may fill a reason: limits of the model and the policy. Anything else could be a piece of the cell: personal data."""


@dataclass
class ImportReport:
    """What became of a file's rows. After an interruption: of those that were reached."""

    total: int
    """Rows with anything in them, the header apart."""
    opened: int = 0
    already: int = 0
    """Open before, with the same facts."""
    rejected: int = 0
    rejected_file: Path | None = None
    """None when nothing was rejected."""
    with_past: int = 0
    """Rows that brought what was done before; of those opened and those there."""
    zone_assumed: int = 0
    """Rows with a time that bore no offset: it was taken as a time in the calendar's zone."""
    day_assumed: int = 0
    """Rows of history with a day where a time is asked for: it was taken as its midnight."""
    unused_columns: list[str] = field(default_factory=list)
    nearest: dict[str, str] = field(default_factory=dict)
    """Of an unused column: the field that its sender may have meant."""
    remarks: list[Remark] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return self.opened + self.already + self.rejected


class _BrokenOff(BaseException):
    """What was taken stays; the same import again goes on from there."""

    code: str

    def __init__(self, report: ImportReport) -> None:
        self.report = report
        super().__init__(self.said("en"))

    def said(self, language: Language) -> str:
        return say("import", self.code, language, done=self.report.done, total=self.report.total)


class ImportInterrupted(_BrokenOff, KeyboardInterrupt):
    """Ctrl-C."""

    code = "interrupted"


class ImportStopped(_BrokenOff, Exception):
    """The ledger stayed locked."""

    code = "ledger_locked"


def run_import(
    process: Process,
    file: Path,
    *,
    mapping: dict[str, str],
    fixed: dict[str, str],
    by: Person,
    submissions: Submissions,
    zone: ZoneInfo,
    progress: Callable[[int, int], None],
    sheet: str | None = None,
    history: bool = False,
    pause: Callable[[float], None] = sleep,
) -> ImportReport:
    """Open a case for every row of a CSV file or of a workbook's `sheet`, as `by`. Only commits: the relay delivers.

    `mapping` says header -> field (empty: leave the column out), `fixed` field -> value for all rows; times without an offset
    are times in `zone`, the earlier one where a clock going back shows it twice. With `history` every row is a closed case: it
    ends at its `closed_at`, or else at the latest instant it knows. `progress` hears (rows done, rows in all) after every row.
    Rejected rows go to a file beside it. Every row is a transaction of its own and its number unique, so an import may be
    broken off anywhere and run again.

    Raises CannotImport before anything is imported; ImportInterrupted and ImportStopped in between, with the report so far.
    """
    _check_role(process, by, history)
    names = Names.of(process)
    table = sheet_of(file, lambda header: header in mapping or names.find(header) is not None, sheet)
    plan = Plan.of(process, names, table, mapping, fixed, zone, history)
    report = ImportReport(table.rows, unused_columns=plan.unused, remarks=table.remarks)
    report.nearest = {header: nearest for header in plan.unused if (nearest := names.nearest(header))}
    intake = Intake(process, plan, by, submissions, pause, report)
    started = monotonic()
    rejects = Rejects(table)
    try:
        with rejects:
            for record in table.records():
                if problems := intake.take(record):
                    rejects.add(record, problems)
                    report.rejected += 1
                progress(report.done, report.total)
    except KeyboardInterrupt as stop:
        raise ImportInterrupted(report) from stop
    finally:
        report.seconds = monotonic() - started
        report.rejected_file = rejects.path
    return report


def _check_role(process: Process, by: Person, history: bool) -> None:
    code, able = "may_not_open", process.case.may_open
    if history:
        if process.past is None:
            raise CannotImport("no_history")
        code, able = "may_not_bring", able & process.past.may_bring
    if by.role not in able:
        raise CannotImport(code, person=by.id, role=by.role, able=", ".join(sorted(able)))


def summary(report: ImportReport, zone: str, language: Language = "zh") -> str:
    """What a person should know of an import, a line each. Plain text: print it without markup."""
    left = report.total - report.done
    values = vars(report) | {
        "left": left,
        "seconds": f"{report.seconds:.1f}",
        "rate": f"{report.done / max(report.seconds, 0.001):.0f}",
        "zone": zone,
        "unused": unused(report, language),
    }
    worth_saying = {
        "rows": True,
        "left": left,
        "rejects": report.rejected_file,
        "with_past": report.with_past,
        "zone_assumed": report.zone_assumed,
        "day_assumed": report.day_assumed,
        "unused": report.unused_columns,
    }
    said = [say("import", code, language, **values) for code, worth in worth_saying.items() if worth]
    return "\n".join([*said, *(say("import", code, language, **given) for code, given in report.remarks)])


def unused(report: ImportReport, language: Language) -> str:
    """The columns that were not used, and what each may have meant."""
    return ("；" if language == "zh" and report.nearest else ", ").join(_unused(report, language))


def _unused(report: ImportReport, language: Language) -> Iterator[str]:
    for column in report.unused_columns:
        nearest = report.nearest.get(column)
        yield say("import", "nearest", language, column=column, nearest=nearest) if nearest else listed([column])


# The rows


@dataclass(frozen=True)
class Intake:
    """Takes one row after the other, and keeps count of what was taken."""

    process: Process
    plan: "Plan"
    by: Person
    submissions: Submissions
    pause: Callable[[float], None]
    report: ImportReport

    def take(self, record: Record) -> list[Problem]:
        """Open the row's case, or say why not."""
        if any(cell.strip() for cell in record.cells[self.plan.width :]):
            return self._said([FieldError(field="", code="too_many_cells")])
        began = monotonic()
        row = self.plan.read(record.cells)
        self.report.zone_assumed += "zone_assumed" in row.assumed
        self.report.day_assumed += "day_assumed" in row.assumed
        if row.case is None or row.errors:
            return self._said(row.errors)
        if row.past and self.by.role not in row.past.may_bring:
            return self._said([FieldError(field="", code="past_not_allowed")])
        try:
            opening = partial(self.submissions.open, self.process, row.case, self.by, past=row.past)
            receipt = self._patiently(opening)
        except Invalid as refused:
            return self._said(refused.errors)
        except Refused as refused:
            where = self.process.case.number_field if isinstance(refused, Conflict) else ""
            return self._said([FieldError(field=where, code=refused.code, values=refused.values)])
        self.report.opened += receipt.first
        self.report.already += not receipt.first
        self.report.with_past += row.past is not None
        self.pause(min(BREATH * (monotonic() - began), LONGEST_BREATH))
        return []

    def _said(self, errors: list[FieldError]) -> list[Problem]:
        return [Problem(self.plan.called(error.field), self.plan.reason(error)) for error in errors]

    def _patiently(self, commit: Callable[[], Receipt]) -> Receipt:
        """Commit, trying again while another process writes. A repeated commit is the same case, so trying is harmless."""
        for seconds in PAUSES:
            try:
                return commit()
            except OperationalError as error:
                if not is_locked(error):
                    raise
                self.pause(seconds)
        raise ImportStopped(self.report)


def is_locked(error: OperationalError) -> bool:
    """SQLite: “database is locked”. PostgreSQL: “canceling statement due to lock timeout”, “deadlock detected”."""
    return "lock" in str(error.orig)


def reason_of(error: ErrorDetails, language: Language = "zh") -> str:
    """Why a field does not hold, without what stands in it."""
    return _reason(_field_error(error), language)


def _field_error(error: ErrorDetails) -> FieldError:
    values = {name: str(value) for name, value in error.get("ctx", {}).items()}
    return FieldError(field=".".join(str(part) for part in error["loc"]), code=error["type"], values=values)


def _reason(error: FieldError, language: Language) -> str:
    """The reason as a file needs it, where that is another than at the other doors."""
    section = next((section for section in ("import", "field", "refusal") if knows(section, error.code)), "field")
    values = {name: error.values[name] for name in TELLABLE & error.values.keys()}
    return say(section, error.code, language, **values)


# What the model can take from a table


class Row(NamedTuple):
    """What a row says: the case, what was done with it before, what is wrong with either, and what was assumed."""

    case: Case | None
    past: Past | None
    errors: list[FieldError]
    assumed: set[str]


@dataclass(frozen=True)
class Plan:
    """Which column fills which field, and how a row's cells become a case, and the past of one."""

    process: Process
    zone: ZoneInfo
    history: bool
    columns: dict[int, Leaf]
    fixed: list[tuple[Leaf, str]]
    objects: list[tuple[str, ...]]
    headers: list[str]
    unused: list[str]

    @classmethod
    def of(
        cls,
        process: Process,
        names: Names,
        sheet: Sheet,
        mapping: dict[str, str],
        fixed: dict[str, str],
        zone: ZoneInfo,
        history: bool,
    ) -> Self:
        """CannotImport when columns, mapping and fixed values do not fit the process or each other."""
        _check_names(names, sheet, mapping, fixed)
        constants = {leaf.name: (leaf, value) for name, value in fixed.items() if (leaf := names.find(name))}
        columns: dict[int, Leaf] = {}
        for index, header in enumerate(sheet.headers):
            if (name := mapping.get(header, header)) and (leaf := names.find(name)):
                _check_free(leaf, header, columns, sheet, constants)
                columns[index] = leaf
        _check_whole(names, columns, sheet, constants)
        unused = [
            header for index, header in enumerate(sheet.headers) if mapping.get(header, header) and index not in columns
        ]
        objects = list(required_objects(process.case))
        plan = cls(process, zone, history, columns, list(constants.values()), objects, sheet.headers, unused)
        plan._check_fixed()
        return plan

    @property
    def width(self) -> int:
        return len(self.headers)

    def read(self, cells: list[str]) -> Row:
        """An empty cell is absent."""
        facts: dict[str, Any] = {}
        past: dict[str, Any] = {}
        errors: dict[str, FieldError] = {}
        assumed: set[str] = set()
        for leaf, text in [*self._filled(cells), *self.fixed]:
            try:
                value = value_of(leaf, text, self.zone, whole_days=self.history)
            except Unreadable as lost:
                errors[leaf.name] = FieldError(field=leaf.name, code=lost.code, values=lost.values)
                continue
            _put(past if leaf.is_past else facts, leaf.name, value.text)
            assumed |= {value.assumed} if value.assumed else set()
        for *outer, name in self.objects:
            holder = _at(facts, outer)
            if holder is not None:
                holder.setdefault(name, {})
        case = _fitted(self.process.case, facts, errors)
        came = _fitted(self.process.past, past, errors) if self.process.past and (past or self.history) else None
        if case and came and not errors:
            came = self._ended(case, came)
            for name in _untold(case, came):
                errors[name] = FieldError(field=name, code="past_without_time")
        return Row(case, came, list(errors.values()), assumed)

    def _filled(self, cells: list[str]) -> Iterator[tuple[Leaf, str]]:
        for index, leaf in self.columns.items():
            if index < len(cells) and (text := cells[index].strip()):
                yield leaf, text.replace("\r\n", "\n")  # a line break within a cell is one, whichever program saved it

    def _ended(self, case: Case, past: Past) -> Past:
        """An old case that does not say when it was closed ended with the last that is known of it."""
        if not self.history or past.closed_at:
            return past
        known = [value for value in (*vars(case).values(), *vars(past).values()) if isinstance(value, datetime)]
        return past.model_copy(update={"closed_at": max(known)})

    def called(self, field: str) -> str:
        """A field as the file calls it."""
        index = next((index for index, leaf in self.columns.items() if leaf.name == field), None)
        return (field and label(self.process.name, field)) if index is None else self.headers[index]

    def reason(self, error: FieldError, language: Language = "zh") -> str:
        """Why a field does not hold; of a coded one, what would."""
        filled = [*self.columns.values(), *(leaf for leaf, _ in self.fixed)]
        leaf = next((leaf for leaf in filled if leaf.name == error.field), None)
        if error.code == "literal_error" and leaf:
            words = ("、" if language == "zh" else ", ").join(leaf.choice(code, language) for code in leaf.choices)
            error = error.model_copy(update={"values": {"expected": words}})
        return _reason(error, language)

    def _check_fixed(self) -> None:
        leaves = {leaf.name: leaf for leaf, _ in self.fixed}
        wrong = [error for error in self.read([]).errors if error.field in leaves]

        def reasons(language: Language) -> str:
            return "; ".join(f"{_name(leaves[e.field], language)} {self.reason(e, language)}" for e in wrong)

        if wrong:
            raise CannotImport("fixed_wrong", reasons=reasons)


def _fitted(model: type[M], facts: dict[str, Any], errors: dict[str, FieldError]) -> M | None:
    """The model of these facts; or None, and among the errors why, once for each field."""
    try:
        return model.model_validate(facts)
    except ValidationError as refused:
        for error in map(_field_error, refused.errors(include_url=False, include_input=False)):
            errors.setdefault(error.field, error)
        return None


def _untold(case: Case, past: Past) -> list[str]:
    """What a past says that none of its steps would keep: a reply, and not when it was given. The empty name: that there is no step."""
    told = past.told(case)
    said = sorted(past.model_fields_set - {"closed_at"})  # an instant itself, also where the last step is the end
    untold = [name for name in said if not _tells(past, name, case, told)]
    return untold or ([] if told else [""])


def _tells(past: Past, name: str, case: Case, told: list[tuple[datetime, Form]]) -> bool:
    nothing = type(past).model_fields[name].default
    return getattr(past, name) == nothing or _told(case, past.model_copy(update={name: nothing})) != told


def _told(case: Case, past: Past) -> list[tuple[datetime, Form]] | None:
    try:
        return past.told(case)
    except ValidationError:  # a step does not hold without it
        return None


def _put(facts: dict[str, Any], name: str, value: str) -> None:
    *outer, last = name.split(".")
    for part in outer:
        facts = facts.setdefault(part, {})
    facts[last] = value


def _at(facts: dict[str, Any], path: list[str]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = facts
    for part in path:
        found = found.get(part) if found is not None else None
    return found


def _check_names(names: Names, sheet: Sheet, mapping: dict[str, str], fixed: dict[str, str]) -> None:
    columns = listed(sheet.headers)
    if absent := [header for header in mapping if header not in sheet.headers]:
        raise CannotImport("no_column", path=sheet.path, names=listed(absent), columns=columns)
    if unknown := [name for name in [*mapping.values(), *fixed] if name and names.find(name) is None]:
        raise CannotImport("no_field", names=listed(unknown), fields=_names(names.leaves.values()))


def _check_free(leaf: Leaf, header: str, taken: dict[int, Leaf], sheet: Sheet, fixed: Collection[str]) -> None:
    if leaf.name in fixed:
        raise CannotImport("set_twice", field=partial(_name, leaf), column=repr(header))
    for index, other in taken.items():
        if other == leaf:
            one = sheet.headers[index]
            raise CannotImport("two_columns", field=partial(_name, leaf), column=repr(one), other=repr(header))


def _check_whole(names: Names, columns: dict[int, Leaf], sheet: Sheet, fixed: Collection[str]) -> None:
    there = {leaf.name for leaf in columns.values()} | set(fixed)
    if wanting := [leaf for leaf in names.leaves.values() if leaf.required and leaf.name not in there]:
        raise CannotImport("no_required", path=sheet.path, names=_names(wanting), columns=listed(sheet.headers))


def _names(leaves: Iterable[Leaf]) -> Callable[[Language], str]:
    return lambda language: ", ".join(_name(leaf, language) for leaf in leaves)


def _name(leaf: Leaf, language: Language) -> str:
    """For a person who may have to type it on the command line."""
    return f"{leaf.label()}（{leaf.name}）" if language == "zh" else leaf.name
