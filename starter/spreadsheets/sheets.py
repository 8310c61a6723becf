"""Tables as people have them: read once through before anything is believed. Here are those of text; `workbooks` has Excel's."""

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from models.words import Language, say

DELIMITERS = ",;\t"
CHUNK = 1 << 20
DEEPEST_HEADER = 20
"""A title, a date of printing and the like may stand above the header; it is looked for in this many rows."""
REJECT_HEADERS = ["行号", "字段", "原因"]
"""The columns a file of rejected rows begins with. A file that begins with them is one, corrected: they are passed over."""

Knows = Callable[[str], bool]
"""Whether a cell's text is the name of a column."""


class CannotImport(Exception):
    """The file, its columns or the person will not do. Nothing was imported; the message says what would do.

    A value of its sentence may be a function of the language.
    """

    def __init__(self, code: str, **values: Any) -> None:
        self.code = code
        self.values = values
        super().__init__(self.said("en"))

    def said(self, language: Language) -> str:
        values = {name: value(language) if callable(value) else value for name, value in self.values.items()}
        return say("import", self.code, language, **values)


class Record(NamedTuple):
    """One row: the physical line it begins on, and its cells as text."""

    line: int
    cells: list[str]


class Remark(NamedTuple):
    """Something about the file that its sender should know: a code of the catalogue and the values of its sentence."""

    code: str
    values: dict[str, Any] = {}


@dataclass
class Sheet:
    """A table that was read through once and has rows. What is above its header is passed over."""

    path: Path
    headers: list[str] = field(init=False)
    rows: int = field(init=False)
    corrected: bool = field(init=False)
    """Whether it is a file of rejected rows, come back."""
    remarks: list[Remark] = field(init=False, default_factory=list)
    _above: int = field(init=False, repr=False)

    def lines(self) -> Iterator[Record]:
        """The rows with anything in them, the header and what is above it too, from the first one on."""
        raise NotImplementedError

    def records(self) -> Iterator[Record]:
        """The rows below the header, one at a time; of a corrected file, as they stood in the first one."""
        for record in islice(self.lines(), self._above + 1, None):
            yield Record(record.line, original(record.cells)) if self.corrected else record

    def _read_through(self, knows: Knows) -> None:
        lines = self.lines()
        head = list(islice(lines, DEEPEST_HEADER))
        if not head:
            raise CannotImport("is_empty", path=self.path)
        self._above, _ = header_among(head, knows)
        header = head[self._above]
        below = chain(head[self._above + 1 :], lines)
        self.rows = self._count(below, header)
        if self.rows == 0:
            raise CannotImport("no_rows", path=self.path)
        cells = [cell.strip() for cell in header.cells]
        self.corrected = cells[: len(REJECT_HEADERS)] == REJECT_HEADERS
        self.headers = original(cells) if self.corrected else cells
        if self._above:
            self.remarks.append(Remark("header_at", {"line": header.line}))

    def _count(self, below: Iterator[Record], header: Record) -> int:
        return sum(1 for _ in below)


def header_among(head: list[Record], knows: Knows) -> tuple[int, int]:
    """Which row names the columns, and how many of its names are known: the row with the most, or else the first of more than one cell."""
    known = [sum(map(knows, record.cells)) for record in head]
    best = max(known)
    if best:
        return known.index(best), best
    wide = (index for index, record in enumerate(head) if sum(bool(cell.strip()) for cell in record.cells) > 1)
    return next(wide, 0), 0


class TextSheet(Sheet):
    """A CSV file: it is text, and its quotes close."""

    encoding: str
    delimiter: str

    @classmethod
    def of(cls, path: Path, knows: Knows) -> Self:
        """CannotImport when the file is not a CSV file with a header and at least one row."""
        sheet = cls(path)
        try:
            sheet.encoding = _encoding(path)
            sheet.delimiter = _delimiter(path, sheet.encoding)
            sheet._read_through(knows)
        except OSError as error:
            raise CannotImport("cannot_read", path=path, reason=error.strerror) from error
        if sheet.encoding == "gb18030":
            sheet.remarks.append(Remark("gb18030"))
        return sheet

    def lines(self) -> Iterator[Record]:
        return _records(self.path, self.encoding, self.delimiter)


def _encoding(path: Path) -> str:
    """UTF-8 with or without its mark, or else GB18030, whichever decodes the whole file."""
    if _decodes(path, "utf-8-sig"):
        return "utf-8-sig"
    if _is_damaged_utf8(path) or not _decodes(path, "gb18030"):
        raise CannotImport("not_text", path=path)
    return "gb18030"


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        try:
            while chunk := file.read(CHUNK):
                if b"\0" in chunk:
                    raise CannotImport("not_csv", path=path)
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _is_damaged_utf8(path: Path) -> bool:
    """UTF-8 but for a few bytes. Read as GB18030 it would mostly pass, as nonsense, and nonsense would be kept for ever."""
    with path.open("rb") as file:
        start = file.read(CHUNK)
    text = start.decode("utf-8", "replace")
    beyond_ascii = sum(not character.isascii() for character in text)
    return start.startswith(codecs.BOM_UTF8) or beyond_ascii > 10 * text.count("\ufffd")


def _delimiter(path: Path, encoding: str) -> str:
    """The one that the first lines' fullest has most of, outside quotes; of a file with a title, that is the header's."""
    with path.open(encoding=encoding, newline="") as file:
        line = next((line for line in file if any(d in line for d in DELIMITERS)), "")
    return max(DELIMITERS, key=re.sub(r'"[^"]*"', "", line).count)


def _records(path: Path, encoding: str, delimiter: str) -> Iterator[Record]:
    """Rows with anything in them. Strict: a quote that does not close would silently swallow the rows after it."""
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise CannotImport("bad_csv", path=path, line=line, reason=error) from error
            if any(cell.strip() for cell in cells):
                yield Record(line, cells)


_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def guarded(cell: str) -> str:
    """A cell no spreadsheet takes for a formula. `original` is the way back, also for a cell that was quoted already."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def original(cells: list[str]) -> list[str]:
    """The cells of the first file, from a row of rejects."""
    cells = cells[len(REJECT_HEADERS) :]
    return [cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell for cell in cells]


def listed(names: Iterable[str]) -> str:
    """Names out of a file, safe on a terminal."""
    return ", ".join(name if name.isprintable() else repr(name) for name in names if name)
