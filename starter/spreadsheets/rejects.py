"""The file of rejected rows: of the kind of the file they came from, to be corrected and imported again."""

import csv
import os
import re
from collections.abc import Iterator
from functools import partial
from io import TextIOWrapper
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import xlsxwriter

from starter.spreadsheets.sheets import REJECT_HEADERS, CannotImport, Record, Sheet, guarded
from starter.spreadsheets.workbooks import WorkbookSheet, sheet_of

LONGEST_CELL = 32_767
_PRIVATE = partial(os.open, mode=0o600)
_OURS = re.compile(r"\.rejected(-\d+)?$")


class Problem(NamedTuple):
    """Why a row is rejected: the field (empty: the row as a whole) and the reason in Chinese."""

    field: str
    reason: str


class Rejects:
    """Rejected rows: where, which field, why, and the row as it was. For its owner's eyes: rows hold personal data.

    It stands beside the imported file, and only when something was rejected. It replaces the one of an earlier run only
    where it repeats it and goes on: a person may have corrected that one, and not imported it yet. Else it is `…-2`.
    """

    path: Path | None = None
    """Where it is, once all is written; None when nothing was rejected."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._rows = 0
        base = _OURS.sub("", sheet.path.stem)
        self._suffix = ".xlsx" if isinstance(sheet, WorkbookSheet) else ".csv"
        self._base = sheet.path.with_name(f"{base}.rejected")
        self._unfinished = sheet.path.with_name(f"{base}.rejected.unfinished")

    def __enter__(self) -> Self:
        try:
            self._unfinished.unlink(missing_ok=True)
            self._file = open(self._unfinished, "xb", opener=_PRIVATE)
        except OSError as error:
            raise CannotImport("cannot_write", path=self._unfinished, reason=error.strerror) from error
        self._writer = (_WorkbookWriter if self._suffix == ".xlsx" else _TextWriter)(self._file)
        self._writer.write([*REJECT_HEADERS, *map(guarded, self._sheet.headers)])
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._file.close()
        if self._rows:
            self.path = self._place()
            self._unfinished.replace(self.path)
        else:
            self._unfinished.unlink()

    def add(self, record: Record, problems: list[Problem]) -> None:
        fields, reasons = ("；".join(parts) for parts in zip(*problems, strict=True))
        self._writer.write([str(record.line), fields, reasons, *map(guarded, record.cells)])
        self._rows += 1

    def _place(self) -> Path:
        numbers = chain([""], map("-{}".format, count(2)))
        paths = (Path(f"{self._base}{number}{self._suffix}") for number in numbers)
        return next(path for path in paths if not path.exists() or self._goes_on(path))

    def _goes_on(self, old: Path) -> bool:
        """Whether an earlier file says nothing but what the new one says too."""
        if old.samefile(self._sheet.path):
            return False
        try:
            new = _written(self._unfinished)
            return all(next(new, None) == row for row in _written(old))
        except CannotImport:
            return False


def _written(path: Path) -> Iterator[list[str]]:
    """The rows of a file of rejected rows, its header first, without the empty cells at their ends."""
    for record in sheet_of(path, lambda name: name == REJECT_HEADERS[0]).lines():
        last = max(index for index, cell in enumerate(record.cells) if cell)
        yield record.cells[: last + 1]


class _TextWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
        self._writer = csv.writer(self._text)

    def write(self, cells: list[str]) -> None:
        self._writer.writerow(cells)

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


class _WorkbookWriter:
    """Every cell is text, so that Excel changes no number, no day and no leading nought of it. A row at a time is in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._book = xlsxwriter.Workbook(file, {"constant_memory": True})
        self._text = self._book.add_format({"num_format": "@", "text_wrap": True, "valign": "top"})
        self._sheet = self._book.add_worksheet("退回")
        self._sheet.freeze_panes(1, len(REJECT_HEADERS))
        self._next = 0

    def write(self, cells: list[str]) -> None:
        if self._next == 0:
            self._sheet.set_column(0, len(cells) - 1, 18, self._text)
        for column, cell in enumerate(cells):
            if cell:
                fits = cell if len(cell) <= LONGEST_CELL else cell[1:]  # a full cell, and the quote that guards it
                self._sheet.write_string(self._next, column, fits, self._text)
        self._next += 1

    def close(self) -> None:
        self._book.close()
