"""CSV files as people have them: read once through before anything is believed, and written back with what was wrong."""

import codecs
import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

DELIMITERS = ",;\t"
CHUNK = 1 << 20
REJECT_HEADERS = ["行号", "字段", "原因"]
"""The columns a file of rejected rows begins with. A file that begins with them is one, corrected: they are passed over."""


class CannotImport(Exception):
    """The file, its columns or the person will not do. Nothing was imported; the message says what would do."""


class Problem(NamedTuple):
    """Why a row is rejected: the field (empty: the row as a whole) and the reason in Chinese."""

    field: str
    reason: str


class Record(NamedTuple):
    """One row: the physical line it begins on, and its cells as they stand in the file."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class Sheet:
    """A CSV file that was read through once: it is text, its quotes close, and it has rows."""

    path: Path
    encoding: str
    delimiter: str
    headers: list[str]
    rows: int
    corrected: bool
    """Whether it is a file of rejected rows, come back."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """CannotImport when the file is not a CSV file with a header and at least one row."""
        try:
            encoding = _encoding(path)
            delimiter = _delimiter(path, encoding)
            records = _records(path, encoding, delimiter)
            header = next(records, None)
            rows = sum(1 for _ in records)
        except OSError as error:
            raise CannotImport(f"{path} cannot be read: {error.strerror}") from error
        if header is None:
            raise CannotImport(f"{path} is empty: the first row names the columns, each other row is one case")
        if rows == 0:
            raise CannotImport(f"{path} holds a header and no rows: nothing to import")
        cells = [cell.strip() for cell in header.cells]
        corrected = cells[: len(REJECT_HEADERS)] == REJECT_HEADERS
        headers = _original(cells) if corrected else cells
        return cls(path, encoding, delimiter, headers, rows, corrected)

    def records(self) -> Iterator[Record]:
        """The rows, one at a time; of a corrected file, as they stood in the first one."""
        records = _records(self.path, self.encoding, self.delimiter)
        next(records)
        for record in records:
            yield Record(record.line, _original(record.cells)) if self.corrected else record


def _encoding(path: Path) -> str:
    """UTF-8 with or without its mark, or else GB18030, whichever decodes the whole file."""
    if _decodes(path, "utf-8-sig"):
        return "utf-8-sig"
    if _is_damaged_utf8(path) or not _decodes(path, "gb18030"):
        raise CannotImport(f"{path} is neither UTF-8 nor GB18030 text throughout: save it as “CSV UTF-8”")
    return "gb18030"


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        try:
            while chunk := file.read(CHUNK):
                if b"\0" in chunk:
                    raise CannotImport(f"{path} is no CSV file but a workbook or the like: save it as “CSV UTF-8”")
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
    """The one the header line has most of, outside quotes."""
    with path.open(encoding=encoding, newline="") as file:
        line = next((line for line in file if line.strip()), "")
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
                raise CannotImport(
                    f"{path}: the row that begins on line {line} is not valid CSV ({error}). "
                    'A cell with a quote in it is written "…""…", and every quote must close'
                ) from error
            if any(cell.strip() for cell in cells):
                yield Record(line, cells)


_PRIVATE = partial(os.open, mode=0o600)


class Rejects:
    """The file of rejected rows: where, which field, why, and the row as it was, to be corrected and imported again.

    It is there only while, and after, something was rejected. For its owner's eyes: rows hold personal data.
    """

    def __init__(self, path: Path, headers: list[str]) -> None:
        self._path = path
        self._headers = headers
        self._rows = 0

    def __enter__(self) -> Self:
        try:
            self._path.unlink(missing_ok=True)
            self._file = open(self._path, "x", encoding="utf-8-sig", newline="", opener=_PRIVATE)
        except OSError as error:
            raise CannotImport(f"{self._path}, for rejected rows, cannot be written: {error.strerror}") from error
        self._writer = csv.writer(self._file)
        self._write([*REJECT_HEADERS, *self._headers])
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._rows == 0:
            self._path.unlink()

    def add(self, record: Record, problems: list[Problem]) -> None:
        fields, reasons = ("；".join(parts) for parts in zip(*problems, strict=True))
        self._write([str(record.line), fields, reasons, *record.cells])
        self._rows += 1

    def _write(self, cells: list[str]) -> None:
        self._writer.writerow([_guarded(cell) for cell in cells])


def check_target(target: Path, file: Path) -> None:
    """Rejected rows replace those of an earlier run, and nothing else."""
    try:
        if not target.exists():
            return
        if target.samefile(file):
            raise CannotImport(f"{target} is the file to import: rejected rows need another one")
        with target.open(encoding="utf-8-sig", errors="replace") as old:
            first = old.readline()
    except OSError as error:
        raise CannotImport(f"{target}, for rejected rows, cannot be read: {error.strerror}") from error
    if first and not first.startswith(",".join(REJECT_HEADERS)):
        raise CannotImport(f"{target} exists and is not ours to replace: move it, or name another for rejected rows")


_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def _guarded(cell: str) -> str:
    """A cell no spreadsheet takes for a formula. `_original` is the way back, also for a cell that was quoted already."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _original(cells: list[str]) -> list[str]:
    """The cells of the first file, from a row of rejects."""
    cells = cells[len(REJECT_HEADERS) :]
    return [cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell for cell in cells]
