"""A file of a hundred thousand rows is read to its end in little memory, a workbook's values aside."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import xlsxwriter

from models.complaint import COMPLAINT
from starter.spreadsheets.columns import Names
from starter.spreadsheets.imports import Plan
from starter.spreadsheets.workbooks import sheet_of

ROWS = 100_000
MB = 1024 * 1024
HEADER = ["form_no", "received_at", "content"]
SHEET = "xl/worksheets/sheet1.xml"
READER = """
import sys
from pathlib import Path
from tests.test_long_files import read_whole, standing

before = standing()
print(*read_whole(Path(sys.argv[1])), standing() - before)
"""


def row(n: int) -> list[str]:
    return [f"OA-{n}", "2026-11-22T10:00:00+08:00", f"羽绒服穿了两次就跑绒，要求换新，第 {n} 件。"]


def text(file: Path) -> None:
    with file.open("w", encoding="utf-8") as lines:
        lines.write(",".join(HEADER) + "\n")
        lines.writelines(",".join(row(n)) + "\n" for n in range(1, ROWS + 1))


def workbook(file: Path) -> None:
    """As a program makes it that writes its rows one after the other: a library takes half a minute."""
    small = file.with_suffix(".small")
    with xlsxwriter.Workbook(small) as book:
        book.add_worksheet().write_row(0, 0, HEADER)

    def cells(nth: int, values: list[str]) -> str:
        said = "".join(
            f'<c r="{c}{nth}" t="inlineStr"><is><t>{v}</t></is></c>' for c, v in zip("ABC", values, strict=True)
        )
        return f'<row r="{nth}">{said}</row>'

    with zipfile.ZipFile(small) as parts, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as whole:
        for name in parts.namelist():
            content = parts.read(name).decode()
            if name == SHEET:
                before, _, after = content.partition("<sheetData>")
                rows = "".join(cells(n + 1, row(n) if n else HEADER) for n in range(ROWS + 1))
                before = before.replace("A1:C1", f"A1:C{ROWS + 1}")
                content = f"{before}<sheetData>{rows}</sheetData>{after.partition('</sheetData>')[2]}"
            whole.writestr(name, content)


def read_whole(file: Path) -> list[str]:
    """The numbers of the first and of the last complaint in it; every row between is taken up, and none is kept."""
    names = Names.of(COMPLAINT)
    sheet = sheet_of(file, lambda header: names.find(header) is not None)
    fixed = {"kind": "complaint", "channel": "im"}
    plan = Plan.of(COMPLAINT, names, sheet, {}, fixed, ZoneInfo("Asia/Shanghai"), history=False)
    assert sheet.rows == ROWS
    ends = (plan.read(record.cells) for record in sheet.records() if record.line in (2, ROWS + 1))
    return [row.case.number for row in ends if row.case and not row.errors]


def standing() -> int:
    """The most memory this process has had so far, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("write", "bound"), [(text, 8 * MB), (workbook, 80 * MB)], ids=["csv", "xlsx"])
def test_a_hundred_thousand_rows_are_read_in_little_memory(write: Callable[[Path], None], bound: int, tmp_path: Path):
    file = tmp_path / "long"
    write(file)
    reader = subprocess.run(
        [sys.executable, "-c", READER, str(file)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert reader.returncode == 0, reader.stderr
    *ends, grown = reader.stdout.split()
    assert ends == ["OA-1", f"OA-{ROWS}"]
    assert int(grown) < bound, f"{int(grown) / MB:.1f} MB more"
