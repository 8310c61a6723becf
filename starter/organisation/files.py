"""The organisation from a file: TOML, or a workbook with the sheets regions, stores, people, days and absences."""

import re
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from python_calamine import CalamineError, CalamineWorkbook

from models.duty import WEEKDAYS
from models.forms import FieldError
from models.organisation import Directory
from models.words import LANGUAGES
from starter.organisation import posts
from starter.organisation.versions import errors_of
from starter.refusals import reason_of

LISTS = ("regions", "specialities", "deputies", "channels")
DATES = ("opens_on", "closes_on", "day")
SHEETS = {"regions": "区域", "stores": "门店", "people": "人员", "days": "班表例外", "absences": "请假"}
"""`days` are the days on which somebody's hours are not the week's; they go to his roster."""
HEADERS: dict[str, str] = {
    "code": "门店编号",
    "name": "名称",
    "region": "区域",
    "opens_on": "开业",
    "closes_on": "停业",
    "successor": "接收门店",
    "id": "工号",
    "role": "岗位",
    "regions": "负责区域",
    "store": "门店",
    "department": "部门",
    "specialities": "专长",
    "deputies": "代理人",
    "channels": "渠道",
    "quiet": "免打扰",
    "language": "语言",
    "most_an_hour": "每小时最多",
    "person": "人员",
    "since": "开始",
    "until": "结束",
    "deputy": "代理",
    "day": "日期",
    "hours": "时间",
    **dict(zip(WEEKDAYS, ("周一", "周二", "周三", "周四", "周五", "周六", "周日"), strict=True)),
}


class BadOrganisation(ValueError):
    """The file cannot be used; nothing of it is. Says the line, the place and the reason."""


def read(path: Path, zone: str) -> Directory:
    """A whole organisation. BadOrganisation names each fault with its line."""
    try:
        document, lines = (_of_workbook if path.suffix.lower() in (".xlsx", ".xls") else _of_toml)(path, zone)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, CalamineError) as error:
        raise BadOrganisation(f"{path}: {error}") from error
    try:
        directory = Directory.model_validate({"zone": zone, **document})
    except ValidationError as error:
        found = zip(error.errors(), errors_of(error), strict=True)
        faults = [f"{_place(e['loc'], e.get('ctx', {}), lines)}{_said(fault)}" for e, fault in found]
        raise BadOrganisation(f"{path}: " + "; ".join(faults)) from error
    if unknown := posts.unknown(directory):
        faults = [f"{_place(fault.place, {'id': fault.person}, lines)}{fault.said}" for fault in unknown]
        raise BadOrganisation(f"{path}: " + "; ".join(faults))
    return directory


def _said(fault: FieldError) -> str:
    """In both languages, as whoever edits the file may read either."""
    return " · ".join(dict.fromkeys(reason_of(fault, language) for language in LANGUAGES))


def _place(where: tuple[Any, ...], values: dict[str, Any], lines: dict[tuple[str, str], str]) -> str:
    """`line 12, people.3.store: `, as far as it is known."""
    named = [str(values[name]) for name in ("id", "person") if name in values]
    line = next((at for (_, known), at in lines.items() if known in named), None)
    if len(where) > 1:
        line = lines.get((str(where[0]), f"#{where[1]}"), line)
    path = ".".join(map(str, where))
    return "".join(f"{part}: " for part in (", ".join(filter(None, (line, path))),) if part)


def _of_toml(path: Path, _zone: str) -> tuple[dict[str, Any], dict[tuple[str, str], str]]:
    text = path.read_text(encoding="utf-8-sig")
    document = tomllib.loads(text)
    found: dict[tuple[str, str], str] = {}
    for kind, field in (("stores", "code"), ("people", "id"), ("absences", "person")):
        for nth, one in enumerate(document.get(kind, [])):
            said = re.escape(str(one.get(field, "")))
            at = [m.start() for m in re.finditer(rf"\b{field}\s*=\s*[\"']{said}[\"']", text)]
            same = sum(other.get(field) == one.get(field) for other in document[kind][: nth + 1])
            if at:
                line = f"line {text.count(chr(10), 0, at[min(same, len(at)) - 1]) + 1}"
                found[kind, f"#{nth}"] = line
                found[kind, str(one.get(field))] = line
    return document, found


def _of_workbook(path: Path, zone: str) -> tuple[dict[str, Any], dict[tuple[str, str], str]]:
    book = CalamineWorkbook.from_path(str(path))
    document: dict[str, Any] = {}
    lines: dict[tuple[str, str], str] = {}
    for kind, chinese in SHEETS.items():
        sheet = next((name for name in book.sheet_names if name.strip() in (kind, chinese)), None)
        if sheet is None:
            continue
        head, *rows = book.get_sheet_by_name(sheet).to_python() or [[]]
        fields = [_field(kind, str(cell).strip(), path, sheet) for cell in head]
        document[kind] = []
        for number, row in enumerate(rows, start=2):
            cells = {field: value for field, value in zip(fields, row, strict=False) if value not in ("", None)}
            if cells:
                one = _as_fields(cells, zone)
                lines[kind, f"#{len(document[kind])}"] = f"{sheet} row {number}"
                lines[kind, str(one.get("id") or one.get("code") or one.get("person"))] = f"{sheet} row {number}"
                document[kind].append(one)
    if named := document.pop("regions", []):
        document["regions"] = {one.get("region", ""): one.get("name", "") for one in named}
    for one in document.pop("days", []):
        his = next((person for person in document.get("people", []) if person.get("id") == one.get("person")), None)
        if his is None or "day" not in one:
            raise BadOrganisation(f"{path}: {SHEETS['days']}: {one}: names nobody of {SHEETS['people']}, or no day")
        his.setdefault("roster", {"week": {}}).setdefault("days", {})[one["day"]] = one.get("hours", "")
    return document, lines


def _field(kind: str, header: str, path: Path, sheet: str) -> str:
    for name, chinese in HEADERS.items():
        if header.lower() == name or header == chinese:
            return "store" if kind == "people" and chinese == "门店" else name
    raise BadOrganisation(f"{path}: {sheet}: there is no column {header!r}; there are {', '.join(HEADERS.values())}")


def _as_fields(cells: dict[str, Any], zone: str) -> dict[str, Any]:
    one: dict[str, Any] = {}
    for name, value in cells.items():
        if name in LISTS:
            one[name] = [part for part in re.split(r"[\s,，、;；]+", str(value)) if part]
        elif name in WEEKDAYS:
            one.setdefault("roster", {"week": {}})["week"][name] = str(value)
        elif isinstance(value, datetime | date) and name in DATES:
            one[name] = value.date() if isinstance(value, datetime) else value
        elif isinstance(value, datetime | date):
            at = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001
            one[name] = at.replace(tzinfo=ZoneInfo(zone))
        else:
            one[name] = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return one
