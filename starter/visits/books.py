"""The workbooks of the visits: made in memory, so that nothing of a customer touches a disk; every text is written as text."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from xlsxwriter import Workbook

Cell = str | int | float | date | datetime | None


@dataclass
class Sheet:
    """A sheet: its name, its headings, its rows."""

    name: str
    headings: Sequence[str]
    rows: Iterable[Sequence[Cell]] = ()
    picks: dict[int, list[str]] = field(default_factory=dict)
    """Column -> what may be chosen in it."""
    required: frozenset[int] = frozenset()
    room: int = 0
    """Empty rows below, formatted to be filled in."""


def book(sheets: Sequence[Sheet], made_at: datetime) -> bytes:
    """The workbook. `made_at` is in the calendar's zone."""
    memory = io.BytesIO()
    with Workbook(memory, {"in_memory": True}) as made:
        made.set_properties({"created": made_at.replace(tzinfo=None)})
        kinds = {
            "text": made.add_format({"num_format": "@", "valign": "top"}),
            "day": made.add_format({"num_format": "yyyy-mm-dd", "align": "left"}),
            "instant": made.add_format({"num_format": "yyyy-mm-dd hh:mm", "align": "left"}),
        }
        heads = {
            needed: made.add_format({"bold": True, "border": 1, "bg_color": "#FCE4D6" if needed else "#EDEDED"})
            for needed in (True, False)
        }
        for sheet in sheets:
            _write(made.add_worksheet(_title(sheet.name)), sheet, kinds, heads)
    return memory.getvalue()


def _write(page: Any, sheet: Sheet, kinds: dict[str, Any], heads: dict[bool, Any]) -> None:
    page.freeze_panes(1, 0)
    widths = [_width(name) for name in sheet.headings]
    for column, name in enumerate(sheet.headings):
        page.write_string(0, column, name, heads[column in sheet.required])
    nth = 0
    for nth, row in enumerate(sheet.rows, start=1):
        for column, cell in enumerate(row):
            _put(page, nth, column, cell, kinds)
            widths[column] = max(widths[column], min(_width(str(cell or "")), 40))
    for column, width in enumerate(widths):
        page.set_column(column, column, width + 2, kinds["text"] if sheet.room else None)
    for column, words in sheet.picks.items():
        page.data_validation(1, column, nth + max(sheet.room, 1), column, {"validate": "list", "source": words})
    if nth:
        page.autofilter(0, 0, nth, len(sheet.headings) - 1)


def _put(page: Any, row: int, column: int, cell: Cell, kinds: dict[str, Any]) -> None:
    match cell:
        case None | "":
            pass
        case str():
            page.write_string(row, column, cell, kinds["text"])
        case datetime():
            page.write_datetime(row, column, cell.replace(tzinfo=None), kinds["instant"])
        case date():
            page.write_datetime(row, column, cell, kinds["day"])
        case _:
            page.write_number(row, column, cell)


def _width(text: str) -> int:
    return sum(2 if ord(letter) > 0x2E80 else 1 for letter in text)


def _title(name: str) -> str:
    """A sheet's name as Excel takes it."""
    return "".join(letter for letter in name if letter not in "[]:*?/\\'")[:31] or "-"
