"""Excel workbooks as people have them: titles above the header, merged cells, formulas, numbers that are really codes."""

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree
from xml.parsers import expat

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)
from xlsxwriter.utility import xl_cell_to_rowcol, xl_col_to_name

from starter.spreadsheets.sheets import (
    CHUNK,
    DEEPEST_HEADER,
    CannotImport,
    Knows,
    Record,
    Remark,
    Sheet,
    TextSheet,
    header_among,
    listed,
)

ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
"""The stream in which Office keeps a workbook that has a password."""
WEB_PAGES = (b"<html", b"<!doctype", b"<table", b"<?xml", b"<meta")

A_HEADER = 3
"""So many known names make a row of another sheet a header; it may hold a word or two of them otherwise."""

NOT_COMPUTED = "#FORMULA!"
"""What a cell reads as whose formula nobody computed: a program wrote it, and no spreadsheet has opened the file since."""


def sheet_of(path: Path, knows: Knows, name: str | None = None) -> Sheet:
    """The table in a file of either kind. `name`: which sheet of a workbook; without it the first one with a header.

    CannotImport when there is none, or it has no rows.
    """
    if _is_workbook(path):
        return WorkbookSheet.of(path, knows, name)
    if name:
        raise CannotImport("no_sheets_here", path=path)
    return TextSheet.of(path, knows)


def sheet_in(content: bytes, knows: Knows, called: str) -> Sheet:
    """The table in a workbook that never was a file of ours. CannotImport when it is none, or has no rows."""
    if not content.startswith((ZIP, OLE)):
        raise CannotImport("not_csv", path=called)
    return WorkbookSheet.in_memory(Path(called), content, knows)


def _is_workbook(path: Path) -> bool:
    """By what is in the file, not by what it is called: many a “.xls” is a web page or a text."""
    try:
        with path.open("rb") as file:
            start = file.read(1000)
    except OSError as error:
        raise CannotImport("cannot_read", path=path, reason=error.strerror) from error
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(WEB_PAGES):
        raise CannotImport("web_page", path=path)
    return start.startswith((ZIP, OLE))


class WorkbookSheet(Sheet):
    """One sheet of a workbook. Its values are in memory while it is imported; their texts are not."""

    _cells: CalamineSheet
    _shown: "Shown"

    @classmethod
    def of(cls, path: Path, knows: Knows, name: str | None) -> Self:
        return cls.in_memory(path, path.read_bytes(), knows, name)

    @classmethod
    def in_memory(cls, path: Path, content: bytes, knows: Knows, name: str | None = None) -> Self:
        if content.startswith(OLE) and ENCRYPTED in content:
            raise CannotImport("has_password", path=path)
        try:
            return cls._among(path, content, knows, name)
        except PasswordError as error:
            raise CannotImport("has_password", path=path) from error
        except (CalamineError, zipfile.BadZipFile, zlib.error, ElementTree.ParseError, expat.ExpatError, KeyError) as e:
            raise CannotImport("is_damaged", path=path, reason=str(e) or type(e).__name__) from e

    @classmethod
    def _among(cls, path: Path, content: bytes, knows: Knows, name: str | None) -> Self:
        """The sheet named, or the first visible one with a header."""
        book = CalamineWorkbook.from_filelike(BytesIO(content))
        names = [sheet.name for sheet in book.sheets_metadata if sheet.typ is SheetTypeEnum.WorkSheet]
        if name and name not in names:
            raise CannotImport("no_sheet", path=path, sheet=name, sheets=listed(names))
        hidden = {sheet.name for sheet in book.sheets_metadata if sheet.visible is not SheetVisibleEnum.Visible}
        sheets = {one: cls._one(path, book, one) for one in ([name] if name else names) if name or one not in hidden}
        known = {one: sheet._known(knows) for one, sheet in sheets.items()}
        chosen = name or next((one for one in known if known[one]), None)
        if chosen is None:
            raise CannotImport("no_header", path=path, sheets=listed(sheets))
        others = [one for one in known if one != chosen and known[one] >= A_HEADER]
        return sheets[chosen]._chosen(content, knows, others)

    @classmethod
    def _one(cls, path: Path, book: CalamineWorkbook, name: str) -> Self:
        sheet = cls(path)
        sheet._cells = book.get_sheet_by_name(name)
        sheet._shown = Shown()
        return sheet

    def _known(self, knows: Knows) -> int:
        head = list(islice(self.lines(), DEEPEST_HEADER))
        return header_among(head, knows)[1] if head else 0

    def _chosen(self, content: bytes, knows: Knows, others: list[str]) -> Self:
        if content.startswith(ZIP):
            self._shown = shown_in(content, self._cells.name)
        else:
            self.remarks.append(Remark("old_excel"))
        if others:
            self.remarks.append(Remark("sheet_read", {"sheet": self._cells.name, "others": listed(others)}))
        self._read_through(knows)
        if self._shown.hidden_rows:
            self.remarks.append(Remark("hidden_rows", {"hidden": self._shown.hidden_rows}))
        return self

    def _count(self, below: Iterator[Record], header: Record) -> int:
        """A column with something in it and without a name is called by its letter."""
        rows = 0
        for record in below:
            rows += 1
            for column, cell in enumerate(record.cells):
                if cell and not header.cells[column].strip():
                    header.cells[column] = f"[{xl_col_to_name(column)}]"
        return rows

    def lines(self) -> Iterator[Record]:
        """A cell merged over several rows gives its value to each of them; a row of nothing else is none of its own."""
        lasting: dict[int, tuple[int, str]] = {}
        merged = self._merged_downward()
        for row, cells in enumerate(self._rows()):
            is_its_own = any(cell.strip() for cell in cells)
            lasting = {column: (last, text) for column, (last, text) in lasting.items() if row <= last}
            for column, (_, text) in lasting.items():
                cells[column] = text
            lasting |= {column: (last, cells[column]) for column, last in merged.get(row, {}).items()}
            if is_its_own:
                yield Record(row + 1, cells)

    def _rows(self) -> Iterator[list[str]]:
        """As they show, the empty ones too. The reader leaves out empty columns on the left, and rows at the end that it finds empty."""
        instead = self._shown.instead
        _, left = self._cells.start or (0, 0)
        bottom, right = self._cells.end or (-1, 0)
        width = 1 + max([right, *(column for cells in instead.values() for column in cells)])
        beyond: Iterator[list[Any]] = ([] for _ in range(bottom, max(instead, default=bottom)))
        for row, values in enumerate(chain(self._cells.iter_rows(), beyond)):
            cells = [""] * left + [text_of(value) for value in values]
            cells += [""] * (width - len(cells))
            for column, text in instead.get(row, {}).items():
                cells[column] = text
            yield cells

    def _merged_downward(self) -> dict[int, dict[int, int]]:
        """Of the cells merged over several rows: first row -> column -> last row."""
        merged: dict[int, dict[int, int]] = {}
        _, right = self._cells.end or (0, 0)
        for (top, left), (bottom, _) in self._cells.merged_cell_ranges or ():
            if top < bottom and left <= right:
                merged.setdefault(top, {})[left] = bottom
        return merged


def text_of(value: Any) -> str:
    """A cell as a person would have typed it. Of a number only what a spreadsheet keeps, 15 digits: a longer one shows its loss."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.15g}"
        case datetime():
            return value.isoformat(" ")
        case timedelta():
            return f"PT{value.total_seconds():.0f}S"
        case _:
            return str(value)  # a text; a day or a time of day, in ISO 8601


# What the reader does not tell of a cell


@dataclass
class Shown:
    """What stands in a sheet's cells where the reader tells it otherwise, row by row; and how many rows are hidden.

    The reader gives an empty text for an error and for a formula that nobody computed, and 12 for what shows as 00012.
    """

    instead: dict[int, dict[int, str]] = field(default_factory=dict)
    hidden_rows: int = 0


def shown_in(content: bytes, sheet: str) -> Shown:
    with zipfile.ZipFile(BytesIO(content)) as parts:
        workbook = next(path for path in _targets(parts, "").values() if posixpath.basename(path) == "workbook.xml")
        book = _parsed(parts, workbook)
        [part] = [_of(one, "id") for one in _elements(book, "sheet") if one.get("name") == sheet]
        targets = _targets(parts, workbook)
        styles = next((path for path in targets.values() if posixpath.basename(path) == "styles.xml"), None)
        stale = any(one.get("fullCalcOnLoad") in ("1", "true") for one in _elements(book, "calcPr"))
        scan = _Scan(_widths(_parsed(parts, styles)) if styles else {}, stale)
        if scan.is_worth_it(_chunks(parts, targets[part])):
            for chunk in _chunks(parts, targets[part]):
                scan.parser.Parse(chunk)
            scan.parser.Parse(b"", True)
    return scan.found


MARKS = rb"<(?:\w+:)?f[\s/>]|\bt\s*=\s*.e\b|\bhidden\s*="
LONGEST_MARK = 32


class _Scan:
    """Goes through the cells of a sheet's XML.

    `widths`: style -> how many digits its numbers show at least. `stale`: the program that wrote the file asks that every
    formula be computed anew; a nought it left there is nobody's result.
    """

    def __init__(self, widths: dict[str, int], stale: bool) -> None:
        self.found = Shown()
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self._widths = widths
        self._stale = stale
        self._row = self._column = -1
        self._cell: dict[str, str] = {}
        self._has_formula = self._in_value = False
        self._value = ""

    def is_worth_it(self, chunks: Iterator[bytes]) -> bool:
        """Whether there is anything to find. Most sheets have no formula, no error and nothing hidden: looking is ten times as fast."""
        styles = "|".join(self._widths)
        marks = re.compile(MARKS + (rf"|\bs=.(?:{styles})\b" if styles else "").encode())
        end = b""
        for chunk in chunks:
            if marks.search(end + chunk):
                return True
            end = chunk[-LONGEST_MARK:]
        return False

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if name == "c":
            self._cell, self._has_formula, self._value = attributes, False, ""
            self._column += 1
        elif name == "v":
            self._in_value = True
        elif name == "f":
            self._has_formula = True
        elif name == "row":
            self._row = int(attributes.get("r", self._row + 2)) - 1
            self._column = -1
            self.found.hidden_rows += attributes.get("hidden") in ("1", "true")

    def _text(self, text: str) -> None:
        if self._in_value:
            self._value += text

    def _end(self, name: str) -> None:
        name = name.rpartition(":")[2]
        if name == "v":
            self._in_value = False
        elif name == "c" and (instead := self._instead()):
            at = self._cell.get("r")
            row, column = xl_cell_to_rowcol(at) if at else (self._row, self._column)
            self.found.instead.setdefault(row, {})[column] = instead

    def _instead(self) -> str | None:
        kind = self._cell.get("t", "n")
        if kind == "e":
            return self._value
        empty = self._value == "" and kind != "str"
        if self._has_formula and (empty or (self._stale and self._value == "0")):
            return NOT_COMPUTED
        width = self._widths.get(self._cell.get("s", ""))
        return self._value.zfill(width) if width and kind == "n" and self._value.isdigit() else None


def _chunks(parts: zipfile.ZipFile, part: str) -> Iterator[bytes]:
    with parts.open(part) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _widths(styles: ElementTree.Element) -> dict[str, int]:
    """Style -> the digits of a number format like 00000."""
    formats = {one.get("numFmtId"): one.get("formatCode", "") for one in _elements(styles, "numFmt")}
    cells = next(_elements(styles, "cellXfs"), ())
    codes = {str(index): formats.get(one.get("numFmtId"), "") for index, one in enumerate(cells)}
    return {style: len(code) for style, code in codes.items() if re.fullmatch("00+", code)}


def _targets(parts: zipfile.ZipFile, part: str) -> dict[str, str]:
    """Where a part of the package points to: id -> path."""
    folder, name = posixpath.split(part)
    links = _parsed(parts, posixpath.join(folder, "_rels", f"{name}.rels"))
    return {one.get("Id", ""): posixpath.join("/", folder, one.get("Target", ""))[1:] for one in links}


def _parsed(parts: zipfile.ZipFile, part: str) -> ElementTree.Element:
    return ElementTree.fromstring(parts.read(part))  # noqa: S314 — expat itself bounds what entities expand to


def _elements(tree: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (one for one in tree.iter() if one.tag.rpartition("}")[2] == name)


def _of(element: ElementTree.Element, name: str) -> str:
    """An attribute that bears a namespace."""
    return next(value for key, value in element.items() if key.endswith("}" + name))
