"""An Excel workbook that is sent while it is made: XlsxWriter makes everything but a long sheet's rows, which are set in on the way.

XlsxWriter keeps a long sheet in temporary files, in the clear. Here nothing of it touches a disk, and what is in
memory does not grow with the sheet.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any
from xml.sax.saxutils import escape

from xlsxwriter import Workbook
from xlsxwriter.utility import xl_col_to_name

SHEET = "xl/worksheets/sheet1.xml"
TYPES = "[Content_Types].xml"
"""What programs look at first to know a workbook."""
EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 — Excel's days know no zone
DAY = 86400
_END = re.compile(rb'<row r="(\d+)"[^>]*>((?:(?!<row ).)*)</row></sheetData>', re.DOTALL)
_STYLE = re.compile(rb'<c r="[A-Z]+\d+" s="(\d+)"')
_NOT_XML = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]")

Value = str | int | Decimal | datetime | None
"""What a cell may hold. A datetime's zone is left out: it is what the clock on the wall showed."""


@dataclass(frozen=True)
class Column:
    """A column of the long sheet: its heading, its width in characters, what kind of value it holds."""

    name: str
    width: int
    kind: str = "text"


FORMATS: dict[str, dict[str, Any]] = {
    # a text stays a text when somebody edits its cell, whatever it begins with
    "text": {"quote_prefix": True, "valign": "top"},
    "instant": {"num_format": "yyyy-mm-dd hh:mm", "align": "left", "valign": "top"},
    "money": {"num_format": "#,##0.00", "valign": "top"},
    "count": {"num_format": "0", "valign": "top"},
}


def streamed(
    title: str,
    columns: list[Column],
    length: int,
    rows: Iterable[list[Value]],
    others: Callable[[Workbook], None],
    made_at: datetime,
) -> Iterator[bytes]:
    """The workbook, piece by piece: `length` rows on a sheet of this name, then the sheets that `others` adds once they are read."""
    frame = _frame(title, columns, length, lambda book: None, made_at)
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
        part = zipfile.ZipInfo(SHEET)
        part.compress_type = zipfile.ZIP_DEFLATED
        with made.open(part, "w", force_zip64=True) as sheet:
            before, styles, after = _parted(frame[SHEET], length)
            sheet.write(before)
            for nth, row in enumerate(rows, start=2):
                sheet.write(_row(nth, row, styles))
                if pipe.holds > 64 * 1024:
                    yield pipe.taken()
            sheet.write(after)
        whole = _frame(title, columns, length, others, made_at)
        assert whole[SHEET].partition(b"<sheetViews>")[2] == frame[SHEET].partition(b"<sheetViews>")[2]
        for name, content in whole.items():
            if name != SHEET:
                made.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        yield pipe.taken()
    yield pipe.taken()


def _frame(
    name: str, columns: list[Column], length: int, others: Callable[[Workbook], None], made_at: datetime
) -> dict[str, bytes]:
    """The workbook's parts, with the heading and, in the last row's place, one that shows the styles."""
    memory = io.BytesIO()
    book = Workbook(memory, {"in_memory": True})
    book.set_properties({"created": made_at.replace(tzinfo=None)})
    formats = {kind: book.add_format(how) for kind, how in FORMATS.items()}
    head = book.add_format({"bold": True, "bg_color": "#E7E6E6", "border": 1, "text_wrap": True, "valign": "vcenter"})
    sheet = book.add_worksheet(name)
    sheet.freeze_panes(1, 1)
    sheet.autofilter(0, 0, max(length, 1), len(columns) - 1)
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0)
    for at, column in enumerate(columns):
        sheet.set_column(at, at, column.width)
        sheet.write_string(0, at, column.name, head)
        sheet.write_blank(max(length, 1), at, None, formats[column.kind])
    others(book)
    book.close()
    with zipfile.ZipFile(memory) as made:
        return {TYPES: made.read(TYPES)} | {part: made.read(part) for part in made.namelist()}


def _parted(sheet: bytes, length: int) -> tuple[bytes, list[bytes], bytes]:
    """A sheet before its rows, the style of each column, and the sheet after them."""
    found = _END.search(sheet)
    assert found is not None
    assert int(found[1]) == max(length, 1) + 1
    return sheet[: found.start()], _STYLE.findall(found[2]), b"</sheetData>" + sheet[found.end() :]


def _row(nth: int, values: list[Value], styles: list[bytes]) -> bytes:
    cells = (
        _cell(f"{name}{nth}", value, style.decode())
        for name, value, style in zip(_names(len(values)), values, styles, strict=True)
    )
    return f'<row r="{nth}">{"".join(cells)}</row>'.encode()


def _cell(place: str, value: Value, style: str) -> str:
    """One cell. A text is written as a text, and is never a formula."""
    match value:
        case None | "":
            return ""
        case str():
            said = escape(_NOT_XML.sub("", value))
            return f'<c r="{place}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{said}</t></is></c>'
        case datetime():
            return f'<c r="{place}" s="{style}"><v>{(value.replace(tzinfo=None) - EPOCH).total_seconds() / DAY:.8f}</v></c>'
        case _:
            return f'<c r="{place}" s="{style}"><v>{value}</v></c>'


@cache
def _names(length: int) -> list[str]:
    return [xl_col_to_name(at) for at in range(length)]


class _Pipe(io.RawIOBase):
    """Where a ZIP is written to that is sent on its way."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.holds = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self.holds += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        pieces, self._pieces, self.holds = self._pieces, [], 0
        return b"".join(pieces)
