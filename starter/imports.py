"""Cases from a CSV file: each row becomes an opening submission, or a row of a second file that says why it did not."""

import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated, Any, NamedTuple, Self, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import (
    AwareDatetime,
    BaseModel,
    FutureDate,
    FutureDatetime,
    PastDate,
    PastDatetime,
    ValidationError,
)
from pydantic_core import ErrorDetails
from sqlalchemy.exc import OperationalError

from models.forms import Case
from models.people import Person
from models.tasks import Process
from models.words import Language, say
from starter.refusals import Conflict, Invalid, Refused
from starter.sheets import CannotImport, Problem, Record, Rejects, Sheet, check_target
from starter.submissions import Receipt, Submissions

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds after each try while another process holds the ledger; each try itself waits two seconds for its turn."""
BREATH = 0.5
"""After a commit the ledger is left alone for this part of the time the commit took. SQLite's writers do not queue but look
again now and then: an import that never rests makes the doors wait a second (measured), and answer 503 on a slow disk."""
LONGEST_BREATH = 0.02

INSTANTS = frozenset({datetime, AwareDatetime, PastDatetime, FutureDatetime})
DAYS = frozenset({date, PastDate, FutureDate})

REASONS: dict[str, tuple[str, str]] = {
    "too_many_cells": ("这一行的单元格比表头多", "the row has more cells than the header"),
    "timezone_aware": ("要写明几点几分，例如 2026-11-22 10:00", "needs a time of day, for example 2026-11-22 10:00"),
    "number_taken": (
        "单号已登记过，内容与这一行不同。请核对单号，确为另一件事请换一个单号",
        "the number was opened before with other facts",
    ),
    "other_store": ("门店只能登记本店的工单", "a store may open cases of its own only"),
}
"""Reasons (Chinese, English) that a file needs and the catalogue has not, or says with the cell's own value."""

TELLABLE = frozenset({"expected", "gt", "ge", "lt", "le", "max_length", "decimal_places", "days"})
"""What may fill a reason: limits of the model and the policy. Anything else could be a piece of the cell: personal data."""

SUMMARY: dict[str, tuple[str, str]] = {
    "rows": (
        "共 {total} 行：新登记 {opened}，早已登记 {already}，退回 {rejected}；用时 {seconds:.1f} 秒（每秒 {rate:.0f} 行）",
        "{total} rows: {opened} opened, {already} were there, {rejected} rejected; {seconds:.1f} s ({rate:.0f} rows/s)",
    ),
    "left": ("还有 {left} 行没有处理，再次运行即可继续", "{left} rows were not reached: run it again to go on"),
    "rejects": (
        "退回的行和原因在 {rejected_file}，改好后直接导入该文件",
        "rejected rows and reasons are in {rejected_file}: correct them there and import that file",
    ),
    "zone": (
        "{zone_assumed} 行的时间没有写时区，按 {zone} 计",
        "{zone_assumed} rows had times without an offset: taken as {zone}",
    ),
    "unused": ("没有用到的列：{unused}", "columns not used: {unused}"),
    "encoding": ("文件按 GB18030 读取", "the file was read as GB18030"),
}


@dataclass
class ImportReport:
    """What became of a file's rows. After an interruption: of those that were reached."""

    total: int
    """Rows with anything in them, the header apart."""
    encoding: str
    opened: int = 0
    already: int = 0
    """Open before, with the same facts."""
    rejected: int = 0
    rejected_file: Path | None = None
    """None when nothing was rejected."""
    zone_assumed: int = 0
    """Rows with a time that bore no offset: it was taken as a time in the calendar's zone."""
    unused_columns: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return self.opened + self.already + self.rejected


class ImportInterrupted(KeyboardInterrupt):
    """Ctrl-C. What was taken stays; the same import again goes on from there."""

    def __init__(self, report: ImportReport) -> None:
        super().__init__(f"interrupted after {report.done} of {report.total} rows; the same import again goes on")
        self.report = report


class ImportStopped(Exception):
    """The ledger stayed locked. What was taken stays; the same import again goes on from there."""

    def __init__(self, report: ImportReport) -> None:
        super().__init__(
            f"another process keeps the ledger locked: stopped after {report.done} of {report.total} rows. "
            "What was taken stays; run the same import again to go on"
        )
        self.report = report


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
    rejected_file: Path | None = None,
    pause: Callable[[float], None] = sleep,
) -> ImportReport:
    """Open a case for every row of a CSV file, as `by`. Only commits: the relay delivers.

    `mapping` says header -> field, `fixed` field -> value for all rows; times without an offset are times in `zone`, the
    earlier one where a clock going back shows it twice. `progress` hears (rows done, rows in all) after every row.
    Rejected rows go to `rejected_file`, by default next to the file. Every row is a transaction of its own and its number
    unique, so an import may be broken off anywhere and run again.

    Raises CannotImport before anything is imported; ImportInterrupted and ImportStopped in between, with the report so far.
    """
    _check_role(process, by)
    sheet = Sheet.of(file)
    plan = Plan.of(process.case, sheet, mapping, fixed, zone)
    target = rejected_file or file.with_suffix(".rejected.csv")
    check_target(target, file)
    report = ImportReport(sheet.rows, sheet.encoding, unused_columns=plan.unused)
    intake = Intake(process, plan, by, submissions, pause, report)
    started = monotonic()
    try:
        with Rejects(target, sheet.headers) as rejects:
            for record in sheet.records():
                if problems := intake.take(record):
                    rejects.add(record, problems)
                    report.rejected += 1
                progress(report.done, report.total)
    except KeyboardInterrupt as stop:
        raise ImportInterrupted(report) from stop
    finally:
        report.seconds = monotonic() - started
        report.rejected_file = target if report.rejected else None
    return report


def reason_of(error: ErrorDetails, language: Language = "zh") -> str:
    """Why a field does not hold, without what stands in it."""
    return _reason(error["type"], error.get("ctx", {}), language)


def _reason(code: str, values: dict[str, Any], language: Language = "zh") -> str:
    if code in REASONS:
        return REASONS[code][0 if language == "zh" else 1]
    return say("field", code, language, **{name: values[name] for name in TELLABLE & values.keys()})


def _check_role(process: Process, by: Person) -> None:
    if by.role not in process.case.may_open:
        able = ", ".join(sorted(process.case.may_open))
        raise CannotImport(f"{by.id} is {by.role}, who may not open a {process.name}; these roles may: {able}")


def summary(report: ImportReport, zone: str, language: Language = "zh") -> str:
    """What a person should know of an import, a line each. Plain text: print it without markup."""
    left = report.total - report.done
    values = vars(report) | {
        "left": left,
        "rate": report.done / max(report.seconds, 0.001),
        "zone": zone,
        "unused": _listed(report.unused_columns),
    }
    worth_saying = {
        "rows": True,
        "left": left,
        "rejects": report.rejected_file,
        "zone": report.zone_assumed,
        "unused": report.unused_columns,
        "encoding": report.encoding == "gb18030",
    }
    said = [SUMMARY[line][0 if language == "zh" else 1] for line, worth in worth_saying.items() if worth]
    return "\n".join(sentence.format(**values) for sentence in said)


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
            return [Problem("", _reason("too_many_cells", {}))]
        began = monotonic()
        facts, assumed = self.plan.facts(record.cells)
        self.report.zone_assumed += assumed
        try:
            case = self.process.case.model_validate(facts)
            receipt = self._patiently(partial(self.submissions.open, self.process, case, self.by))
        except ValidationError as error:
            return [Problem(_place(e), reason_of(e)) for e in error.errors(include_url=False, include_input=False)]
        except Invalid as refused:
            return [Problem(e.field, _reason(e.code, e.values)) for e in refused.errors]
        except Refused as refused:
            where = self.process.case.number_field if isinstance(refused, Conflict) else ""
            return [Problem(where, _reason(refused.code, refused.values))]
        self.report.opened += receipt.first
        self.report.already += not receipt.first
        self.pause(min(BREATH * (monotonic() - began), LONGEST_BREATH))
        return []

    def _patiently(self, commit: Callable[[], Receipt]) -> Receipt:
        """Commit, trying again while another process writes. A repeated commit is the same case, so trying is harmless."""
        for seconds in PAUSES:
            try:
                return commit()
            except OperationalError as error:
                if not _is_locked(error):
                    raise
                self.pause(seconds)
        raise ImportStopped(self.report)


def _is_locked(error: OperationalError) -> bool:
    return "locked" in str(error.orig)


def _place(error: ErrorDetails) -> str:
    return ".".join(str(part) for part in error["loc"])


# What the model can take from a flat file


class Leaf(NamedTuple):
    """A field of the case, dotted where nested, that one column can fill."""

    name: str
    types: frozenset[Any]
    required: bool


def _leaves(model: type[BaseModel], at: str = "", needed: bool = True) -> Iterator[Leaf]:
    for name, info in model.model_fields.items():
        kinds = frozenset(_types(info.annotation))
        required = needed and info.is_required()
        if inner := _model_among(kinds):
            yield from _leaves(inner, f"{at}{name}.", required)
        else:
            yield Leaf(f"{at}{name}", kinds, required)


def _required_objects(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Nested objects that cannot be left out where what holds them is there, the outer ones first."""
    for name, info in model.model_fields.items():
        if inner := _model_among(frozenset(_types(info.annotation))):
            if info.is_required():
                yield (*at, name)
            yield from _required_objects(inner, (*at, name))


def _types(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _types(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for choice in get_args(annotation):
            yield from _types(choice)
    else:
        yield annotation


def _model_among(kinds: frozenset[Any]) -> type[BaseModel] | None:
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


@dataclass(frozen=True)
class Plan:
    """Which column fills which field, and how a row's cells become a case's facts."""

    case: type[Case]
    zone: ZoneInfo
    columns: dict[int, Leaf]
    fixed: list[tuple[Leaf, str]]
    objects: list[tuple[str, ...]]
    unused: list[str]
    width: int

    @classmethod
    def of(cls, case: type[Case], sheet: Sheet, mapping: dict[str, str], fixed: dict[str, str], zone: ZoneInfo) -> Self:
        """CannotImport when columns, mapping and fixed values do not fit the model or each other."""
        leaves = {leaf.name: leaf for leaf in _leaves(case)}
        _check_names(leaves, sheet, mapping, fixed)
        columns: dict[int, Leaf] = {}
        for index, header in enumerate(sheet.headers):
            if leaf := leaves.get(mapping.get(header, header)):
                _check_free(leaf, header, columns, sheet, fixed)
                columns[index] = leaf
        _check_whole(leaves, columns, sheet, fixed)
        unused = [header for index, header in enumerate(sheet.headers) if header and index not in columns]
        constants = [(leaves[name], value) for name, value in fixed.items()]
        plan = cls(case, zone, columns, constants, list(_required_objects(case)), unused, len(sheet.headers))
        plan._check_fixed(fixed)
        return plan

    def facts(self, cells: list[str]) -> tuple[dict[str, Any], bool]:
        """The row as the model takes it, and whether a time in it was taken as one in the zone. An empty cell is absent."""
        facts: dict[str, Any] = {}
        assumed = False
        for leaf, text in [*self._filled(cells), *self.fixed]:
            value, without_offset = _value(leaf, text, self.zone)
            _put(facts, leaf.name, value)
            assumed |= without_offset
        for *outer, name in self.objects:
            holder = _at(facts, outer)
            if holder is not None:
                holder.setdefault(name, {})
        return facts, assumed

    def _filled(self, cells: list[str]) -> Iterator[tuple[Leaf, str]]:
        for index, leaf in self.columns.items():
            if index < len(cells) and (text := cells[index].strip()):
                yield leaf, text.replace("\r\n", "\n")  # a line break within a cell is one, whichever program saved it

    def _check_fixed(self, fixed: dict[str, str]) -> None:
        try:
            self.case.model_validate(self.facts([])[0])
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
            wrong = [f"{_place(e)} {reason_of(e, 'en')}" for e in errors if _place(e) in fixed]
            if wrong:
                raise CannotImport(f"a value set for all rows does not hold: {'; '.join(wrong)}") from None


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


def _check_names(leaves: dict[str, Leaf], sheet: Sheet, mapping: dict[str, str], fixed: dict[str, str]) -> None:
    if absent := [header for header in mapping if header not in sheet.headers]:
        raise CannotImport(f"{sheet.path} has no column {_listed(absent)}; its columns: {_listed(sheet.headers)}")
    if unknown := [name for name in [*mapping.values(), *fixed] if name not in leaves]:
        raise CannotImport(f"there is no field {_listed(unknown)}; the fields: {_listed(leaves)}")


def _check_free(leaf: Leaf, header: str, taken: dict[int, Leaf], sheet: Sheet, fixed: dict[str, str]) -> None:
    if leaf.name in fixed:
        raise CannotImport(f"{leaf.name} is set for all rows, and column {header!r} holds it too: drop one of them")
    for index, other in taken.items():
        if other == leaf:
            raise CannotImport(
                f"two columns for {leaf.name}: {sheet.headers[index]!r} and {header!r}; rename one of them"
            )


def _check_whole(leaves: dict[str, Leaf], columns: dict[int, Leaf], sheet: Sheet, fixed: dict[str, str]) -> None:
    there = {leaf.name for leaf in columns.values()} | fixed.keys()
    if wanting := [leaf.name for leaf in leaves.values() if leaf.required and leaf.name not in there]:
        raise CannotImport(
            f"no column for {_listed(wanting)}, and no value set for all rows; "
            f"map them from the columns of {sheet.path}: {_listed(sheet.headers)}"
        )


def _listed(names: Any) -> str:
    return ", ".join(name if name.isprintable() else repr(name) for name in names if name)


_WRITTEN = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[T ] *(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,6})?))? *(Z|[+-]\d{2}:?\d{2})?)?"
)
_WITHOUT_OFFSET = re.compile(r"\d{4}-\d{2}-\d{2}T[\d:.]+")
_NUMBER = re.compile(r"[+-]?[\d.]+")


def _value(leaf: Leaf, text: str, zone: ZoneInfo) -> tuple[str, bool]:
    if leaf.types & INSTANTS:
        return _instant(_iso(text), zone)
    return (_iso(text) if leaf.types & DAYS else text), False


def _iso(text: str) -> str:
    """A date as people write it, in ISO 8601; anything else unchanged, for the model to refuse."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        return "?" if _NUMBER.fullmatch(text) else text  # a spreadsheet's 46348: pydantic would count it from 1970
    year, month, day, hour, minute, second, offset = written.groups()
    iso = f"{year}-{month:0>2}-{day:0>2}"
    return iso if hour is None else f"{iso}T{hour:0>2}:{minute}:{second or '00'}{offset or ''}"


def _instant(iso: str, zone: ZoneInfo) -> tuple[str, bool]:
    """The instant with its offset, and whether the zone gave it one."""
    if not _WITHOUT_OFFSET.fullmatch(iso):
        return iso, False
    try:
        return datetime.fromisoformat(iso).replace(tzinfo=zone).isoformat(), True
    except ValueError:
        return iso, False  # no such day or hour: the model says so
