"""The empty workbook of a process: a sheet to fill in and import, and one that explains it."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import xlsxwriter
from xlsxwriter.workbook import Workbook

from models.tasks import Process
from models.words import Language, example, knows, say
from starter.spreadsheets.columns import DAYS, INSTANTS, Leaf, leaves_of
from starter.spreadsheets.sheets import CannotImport

LAST_ROW = 1_048_575


class Kind(NamedTuple):
    """What a column holds: the catalogue's code of its explanation, Excel's number format, its width, and an example."""

    code: str
    number_format: str
    width: int
    example: str = ""


INSTANT = Kind("instant", "yyyy-mm-dd hh:mm", 18, "2026-11-22 10:00")
DAY = Kind("day", "yyyy-mm-dd", 13, "2026-11-22")
PICK = Kind("pick", "@", 14)
MONEY = Kind("money", "0.00", 12, "199.00")
WHOLE = Kind("whole", "0", 10, "5")
SPAN = Kind("span", "@", 12, "P2D")
CODE = Kind("code", "@", 18)
TEXT = Kind("text", "@", 24)
"""Text and codes are cells of text: Excel would change a phone number, a leading nought, and what looks like a formula."""
KINDS = (INSTANT, DAY, PICK, MONEY, WHOLE, SPAN, CODE, TEXT)


def write(process: Process, path: Path, language: Language, *, with_past: bool = False, replace: bool = False) -> None:
    """Write the workbook. CannotImport when the file is there and is not to be replaced, or cannot be written."""
    leaves = [leaf for leaf in leaves_of(process) if with_past or not leaf.is_past]
    try:
        with path.open("wb" if replace else "xb") as file, xlsxwriter.Workbook(file) as book:
            _write_sheet(book, leaves, process, language)
            _write_guide(book, leaves, process, language)
    except FileExistsError as error:
        raise CannotImport("exists", path=path) from error
    except OSError as error:
        raise CannotImport("cannot_write", path=path, reason=error.strerror) from error


def _kind_of(leaf: Leaf) -> Kind:
    if leaf.choices:
        return PICK
    for types, kind in ((INSTANTS, INSTANT), (DAYS, DAY), ({Decimal}, MONEY), ({int}, WHOLE), ({timedelta}, SPAN)):
        if leaf.types & types:
            return kind
    return CODE if leaf.is_code else TEXT


def _write_sheet(book: Workbook, leaves: list[Leaf], process: Process, language: Language) -> None:
    sheet = book.add_worksheet(_said(process, "sheet", language))
    sheet.freeze_panes(1, 1)
    sheet.set_row(0, 24)
    heads = {
        True: book.add_format({"bold": True, "bg_color": "#FCE4D6", "border": 1, "valign": "vcenter"}),
        False: book.add_format({"bold": True, "bg_color": "#EDEDED", "border": 1, "valign": "vcenter"}),
    }
    formats = {kind: book.add_format({"num_format": kind.number_format}) for kind in KINDS}
    for column, leaf in enumerate(leaves):
        kind, name = _kind_of(leaf), _header(leaf, language)
        sheet.set_column(
            column, column, max(kind.width, 2 * len(name) if language == "zh" else len(name) + 2), formats[kind]
        )
        sheet.write_string(0, column, name, heads[leaf.required])
        if leaf.choices:
            words = [leaf.choice(code, language) for code in leaf.choices]
            sheet.data_validation(1, column, LAST_ROW, column, {"validate": "list", "source": words})


def _write_guide(book: Workbook, leaves: list[Leaf], process: Process, language: Language) -> None:
    sheet = book.add_worksheet(say("template", "guide", language))
    bold, wrapped = book.add_format({"bold": True}), book.add_format({"text_wrap": True, "valign": "top"})
    for column, width in enumerate((26, 10, 44, 44, 26)):
        sheet.set_column(column, column, width, wrapped)
    first = _said(process, "sheet", language)
    intro = _said(process, "intro", language, sheet=first, process=process.name)
    sheet.merge_range(0, 0, 0, 4, intro, wrapped)
    sheet.set_row(0, 48)
    for column, code in enumerate(("column", "needed", "how", "choices", "example")):
        sheet.write_string(1, column, say("template", code, language), bold)
    sheet.freeze_panes(2, 0)
    for row, leaf in enumerate(leaves, start=2):
        for column, text in enumerate(_explained(process, leaf, language)):
            sheet.write_string(row, column, text, wrapped)


def _explained(process: Process, leaf: Leaf, language: Language) -> tuple[str, ...]:
    kind = _kind_of(leaf)
    words = [leaf.choice(code, language) for code in leaf.choices]
    shown = example(process.name, leaf.name, language) or kind.example or next(iter(words), "")
    needed = say("template", "required", language) if leaf.required else ""
    between = "、" if language == "zh" else ", "
    how = _said(process, leaf.name, language, otherwise=kind.code)
    return _header(leaf, language), needed, how, between.join(words), shown


def _said(process: Process, code: str, language: Language, /, *, otherwise: str = "", **values: str) -> str:
    """What the catalogue says of this table, or else of any."""
    own = f"{process.name}.{code}"
    return say("template", own if knows("template", own) else otherwise or code, language, **values)


def _header(leaf: Leaf, language: Language) -> str:
    return leaf.label(language) + ("*" if leaf.required else "")
