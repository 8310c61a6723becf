"""What departments keep their complaints in: Excel workbooks, Chinese column names, half-done cases and old ones."""

import io
import signal
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import xlsxwriter
import xlwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msoffcrypto.format.ooxml import OOXMLFile
from openpyxl.worksheet.worksheet import Worksheet
from sqlalchemy.exc import OperationalError
from sqlmodel import select
from typer.testing import CliRunner

from models import words
from models.tables import CaseRow, NoticeRow, SubmissionRow
from starter.__main__ import app
from starter.spreadsheets import templates
from starter.spreadsheets.columns import Names, leaves_of, plain
from starter.spreadsheets.imports import CannotImport, ImportInterrupted, is_locked, summary
from starter.spreadsheets.workbooks import sheet_of
from tests.office import HOUR, Office
from tests.test_imports import HEADER, Counter
from workflows import PROCESSES

COMPLAINT = PROCESSES["complaint"]
HEADS = ["单号", "受理时间", "投诉内容", "联系电话", "购买日期", "价格"]
AT = datetime.fromisoformat("2026-11-22 10:00")
"""As a cell has it: without an offset."""
LAST = ["", AT, "跑绒", "", "", ""]


@pytest.fixture
def desk(tmp_path, database, keys, directory) -> "Desk":
    return Desk(tmp_path, database, keys, directory)


class Desk(Counter):
    """Lin at her desk with a workbook somebody sent her."""

    @property
    def file(self) -> Path:
        return self.folder / "november.xlsx"

    @property
    def rejected(self) -> Path:
        return self.folder / "november.rejected.xlsx"

    def holds(self, *rows: Iterable[Any], change: Callable[[Worksheet], None] = lambda sheet: None) -> None:
        """A workbook as Excel saves one."""
        book = openpyxl.Workbook()
        sheet = book.active
        for row in rows:
            sheet.append(list(row))
        change(sheet)
        book.save(self.file)

    def takes_rows(self, *rows: Iterable[Any], change: Callable[[Worksheet], None] = lambda sheet: None, **more: Any):
        self.holds(*rows, change=change)
        return self.imports(self.file, **more)

    def refuses_it(self, **options: Any) -> CannotImport:
        with pytest.raises(CannotImport) as refused:
            self.imports(self.file, **options)
        assert self.numbers() == []
        assert not refused.value.said("zh").isascii()
        return refused.value

    def rejects(self) -> list[list[str]]:
        rows = openpyxl.load_workbook(self.rejected).active.iter_rows(min_row=2, max_col=3, values_only=True)
        return [[cell or "" for cell in row] for row in rows]


def numbered(number: str, **cells: Any) -> list[Any]:
    """A complete row, some of its cells otherwise."""
    return [number, *(cells.get(head, cell) for head, cell in zip(HEADS[1:], LAST[1:], strict=True))]


def all_text(sheet: Worksheet) -> None:
    """Nothing is a formula, whatever it begins with."""
    for row in sheet.iter_rows():
        for cell in row:
            cell.data_type = "s" if cell.data_type == "f" else cell.data_type


# Cells


def test_cells_are_what_a_person_typed(desk):
    desk.takes_rows(
        HEADS, ["OA-1", AT, "跑绒", 13800000001, date(2026, 3, 5), 199.9], ["0012", AT, "-_-", "013", "", 0.1 + 0.2]
    )
    facts = desk.facts("OA-1")
    assert facts.received_at == datetime(2026, 11, 22, 2, tzinfo=UTC)
    assert (facts.customer.phone, facts.purchased_on, facts.goods.price) == (
        "13800000001",
        date(2026, 3, 5),
        Decimal("199.9"),
    )
    facts = desk.facts("0012")
    assert (facts.content, facts.customer.phone, facts.goods.price) == ("-_-", "013", Decimal("0.3"))


def test_every_second_of_a_day_comes_out_as_it_was_typed(desk):
    seconds = [AT + timedelta(seconds=n * 11) for n in range(7_000)]
    desk.holds(HEADS, *(["OA-1", second, "跑绒"] for second in seconds))
    read = [record.cells[1] for record in sheet_of(desk.file, HEADS.__contains__).records()]
    assert read == [str(second) for second in seconds if second.time() != time(0)] or len(read) == len(seconds)
    assert all(str(second) == cell for second, cell in zip(seconds, read, strict=True) if second.time() != time(0))


def test_a_number_that_shows_noughts_before_it_keeps_them(desk):
    def show(sheet: Worksheet) -> None:
        sheet["A2"].number_format = "000000"

    desk.takes_rows(HEADS, numbered(123), numbered("OA-2"), change=show)
    assert desk.numbers() == ["000123", "OA-2"]


@pytest.mark.parametrize("number", [123456789012345678, 1.38e19])
def test_a_number_too_long_for_a_spreadsheet_is_rejected_and_not_guessed(desk, number):
    desk.takes_rows([*HEADS, "会员卡号"], [*numbered("OA-1"), number])
    [(line, column, reason)] = desk.rejects()
    assert (line, column) == ("2", "会员卡号")
    assert "文本格式" in reason


@pytest.mark.parametrize("phone", ["1.38E+10", "1.38e+10", "13800000001.0"])
def test_a_phone_that_a_spreadsheet_mangled_in_a_csv_is_rejected_and_not_guessed(desk, phone):
    file = desk.folder / "phones.csv"
    file.write_text(f"{HEADER},联系电话\nOA-1,2026-11-22 10:00,跑绒,{phone}\n", encoding="utf-8")
    report = desk.imports(file)
    assert report.rejected == 1
    assert "联系电话,数字被表格软件改写了" in report.rejected_file.read_text(encoding="utf-8-sig")


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#DIV/0!"])
def test_an_error_in_a_cell_rejects_its_row(desk, error):
    def fail(sheet: Worksheet) -> None:
        sheet["D2"].data_type = "e"

    report = desk.takes_rows(HEADS, numbered("OA-1", 联系电话=error), numbered("OA-2"), change=fail)
    assert report.opened == 1
    [(line, column, reason)] = desk.rejects()
    assert (line, column) == ("2", "联系电话")
    assert error in reason


def test_a_formula_that_was_computed_is_its_result(desk):
    with xlsxwriter.Workbook(desk.file) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, HEADS)
        sheet.write_row(1, 0, ["OA-1", "2026-11-22 10:00"])
        sheet.write_formula(1, 2, '="跑"&"绒"', None, "跑绒")
        sheet.write_formula(1, 5, "=100+99", None, 199)
        sheet.write_formula(1, 3, '=""', None, "")
    _recomputed(desk.file)
    desk.imports(desk.file)
    assert (desk.facts("OA-1").content, desk.facts("OA-1").goods.price) == ("跑绒", 199)


def _recomputed(file: Path) -> None:
    """As Excel leaves it: nothing in it is to be computed anew, and an empty text is a text."""
    parts = {name: zipfile.ZipFile(file).read(name) for name in zipfile.ZipFile(file).namelist()}
    parts["xl/workbook.xml"] = parts["xl/workbook.xml"].replace(b' fullCalcOnLoad="1"', b"")
    sheet = parts["xl/worksheets/sheet1.xml"].replace(
        b'<c r="D2"><f>""</f><v></v>', b'<c r="D2" t="str"><f>""</f><v></v>'
    )
    assert b'<c r="D2" t="str">' in sheet
    with zipfile.ZipFile(file, "w") as new:
        for name, content in (parts | {"xl/worksheets/sheet1.xml": sheet}).items():
            new.writestr(name, content)


@pytest.mark.parametrize("written_by", ["openpyxl", "xlsxwriter"])
def test_a_formula_that_nobody_computed_rejects_its_row_and_says_how_to_have_it_computed(desk, written_by):
    if written_by == "openpyxl":
        desk.holds(HEADS, numbered("OA-1", 联系电话="=1+1"), ["=1+1", "=1+1", "=1+1", "=1+1"])
    else:
        with xlsxwriter.Workbook(desk.file) as book:
            sheet = book.add_worksheet()
            for row, cells in enumerate([HEADS, ["OA-1", "2026-11-22 10:00", "跑绒", "=1+1"], ["=1+1"] * 4]):
                sheet.write_row(row, 0, cells)
    report = desk.imports(desk.file)
    assert (report.total, report.rejected) == (2, 2)
    first, second = desk.rejects()
    assert first[:2] == ["2", "联系电话"]
    assert "用 Excel 或 WPS 打开该文件，保存后再导入" in first[2]
    assert second[:2] == ["3", "单号；受理时间；投诉内容；联系电话"]


def test_the_uncomputed_formula_of_a_rejects_file_is_rejected_again_and_not_taken_for_text(desk):
    desk.takes_rows(HEADS, numbered("OA-1", 联系电话="=1+1"))
    assert desk.imports(desk.rejected).rejected == 1


# Sheets and their headers


def test_a_title_and_a_date_of_printing_above_the_header_are_passed_over(desk):
    def merge(sheet: Worksheet) -> None:
        sheet.merge_cells("A1:F1")

    report = desk.takes_rows(
        ["客户投诉登记表"], ["填表人：林", "", "日期：2026-11"], [], HEADS, numbered("OA-1"), change=merge
    )
    assert (report.total, report.opened) == (1, 1)
    assert "表头在第 4 行" in summary(report, "Asia/Shanghai")


def test_a_title_above_the_header_of_a_csv_is_passed_over(desk):
    file = desk.folder / "titled.csv"
    file.write_text("客户投诉登记表,,\n单号,受理时间,投诉内容\nOA-1,2026-11-22 10:00,跑绒\n", encoding="gb18030")
    assert desk.imports(file).opened == 1


def test_a_header_of_two_rows_whose_cells_are_merged_is_read(desk):
    def merge(sheet: Worksheet) -> None:
        for cells in ("A1:A2", "B1:B2", "C1:D1", "E1:E2"):
            sheet.merge_cells(cells)

    rows = [
        ["单号", "受理时间", "顾客", "", "投诉内容"],
        ["", "", "姓名", "电话", ""],
        ["OA-1", AT, "张小红", 13800000001, "跑绒"],
    ]
    desk.takes_rows(*rows, change=merge)
    assert desk.facts("OA-1").customer.phone == "13800000001"


def test_a_cell_merged_over_several_rows_gives_its_value_to_each_of_them(desk):
    def merge(sheet: Worksheet) -> None:
        sheet.merge_cells("B2:B4")
        sheet.merge_cells("G2:G3")

    rows = [numbered("OA-1"), numbered("OA-2", 受理时间=""), numbered("OA-3", 受理时间=""), numbered("OA-4")]
    desk.takes_rows([*HEADS, "门店"], [*rows[0], "SH01"], [*rows[1], ""], [*rows[2], "SH02"], rows[3], change=merge)
    assert desk.numbers() == ["OA-1", "OA-2", "OA-3", "OA-4"]
    assert {desk.facts(f"OA-{n}").received_at for n in (1, 2, 3)} == {datetime(2026, 11, 22, 2, tzinfo=UTC)}
    assert [desk.facts(f"OA-{n}").store for n in (1, 2, 3, 4)] == ["SH01", "SH01", "SH02", None]


def test_a_row_that_is_nothing_but_the_rest_of_merged_cells_is_no_row(desk):
    def merge(sheet: Worksheet) -> None:
        for column in "ABC":
            sheet.merge_cells(f"{column}2:{column}3")

    report = desk.takes_rows(HEADS, numbered("OA-1"), [], numbered("OA-2"), change=merge)
    assert (report.total, report.opened) == (2, 2)


def test_a_table_may_stand_anywhere_on_its_sheet(desk):
    def move(sheet: Worksheet) -> None:
        sheet.move_range("A1:F3", rows=4, cols=3)

    report = desk.takes_rows(HEADS, numbered("OA-1"), numbered("OA-2", 投诉内容=""), change=move)
    assert report.opened == 1
    assert desk.rejects() == [["7", "投诉内容", "必填"]]


def test_the_first_sheet_with_a_header_is_imported_and_the_others_are_named(desk):
    with xlsxwriter.Workbook(desk.file) as book:
        book.add_worksheet("封面").write(0, 0, "二〇二六年客诉汇总")
        book.add_worksheet("旧").hide()
        for name in ("10月", "11月"):
            sheet = book.add_worksheet(name)
            sheet.write_row(0, 0, HEADS[:3])
            sheet.write_row(1, 0, [f"OA-{name}", "2026-11-22 10:00", "跑绒"])
    report = desk.imports(desk.file)
    assert desk.numbers() == ["OA-10月"]
    assert "导入的是工作表 10月；也有表头而没有导入的：11月（用 --sheet 指明）" in summary(report, "Asia/Shanghai")
    assert desk.imports(desk.file, sheet="11月").opened == 1
    with pytest.raises(CannotImport, match="no sheet 12月; its sheets: 封面, 旧, 10月, 11月"):
        desk.imports(desk.file, sheet="12月")


def test_a_workbook_without_a_header_is_refused_with_the_names_of_its_sheets(desk):
    with xlsxwriter.Workbook(desk.file) as book:
        book.add_worksheet("封面").write(0, 0, "客诉")
        book.add_worksheet("图")
    message = str(desk.refuses_it())
    assert "封面, 图" in message
    assert "kefu template" in message


def test_a_header_and_no_rows_are_refused(desk):
    desk.holds(HEADS)
    assert "a header and no rows" in str(desk.refuses_it())


def test_a_csv_file_has_no_sheets(desk):
    file = desk.folder / "x.csv"
    file.write_text(HEADER, encoding="utf-8")
    with pytest.raises(CannotImport, match="leave out --sheet"):
        desk.imports(file, sheet="11月")


def test_hidden_rows_are_taken_and_told(desk):
    def hide(sheet: Worksheet) -> None:
        sheet.row_dimensions[2].hidden = True

    report = desk.takes_rows(HEADS, numbered("OA-1"), numbered("OA-2"), change=hide)
    assert report.opened == 2
    assert "1 行在表里是隐藏的" in summary(report, "Asia/Shanghai")


def test_a_column_with_content_and_without_a_name_is_named_by_its_letter(desk):
    report = desk.takes_rows([*HEADS, "", ""], [*numbered("OA-1"), "", "急"])
    assert report.unused_columns == ["[H]"]


# Files


def test_an_old_excel_file_is_read_and_what_it_cannot_tell_is_said(desk):
    book = xlwt.Workbook()
    sheet = book.add_sheet("登记")
    sheet.write_merge(0, 0, 0, 3, "客户投诉登记表")
    for column, head in enumerate(HEADS[:4]):
        sheet.write(1, column, head)
    for column, cell in enumerate(["OA-1", AT, "跑绒", 13800000001]):
        sheet.write(2, column, cell, xlwt.easyxf(num_format_str="yyyy-mm-dd hh:mm" if column == 1 else "general"))
    old = desk.folder / "old.xls"
    book.save(str(old))
    report = desk.imports(old)
    assert desk.facts("OA-1").customer.phone == "13800000001"
    assert desk.facts("OA-1").received_at == datetime(2026, 11, 22, 2, tzinfo=UTC)
    assert ".xls 里公式出错的单元格读作空白" in summary(report, "Asia/Shanghai")


def test_what_a_file_is_counts_and_not_what_it_is_called(desk):
    desk.holds(HEADS, numbered("OA-1"))
    misnamed = desk.file.rename(desk.folder / "november.csv")
    assert desk.imports(misnamed).opened == 1
    text = desk.folder / "text.xls"
    text.write_text("单号\t受理时间\t投诉内容\nOA-2\t2026-11-22 10:00\t跑绒\n", encoding="gb18030")
    assert desk.imports(text).opened == 1


def test_a_file_with_a_password_is_refused_and_the_message_says_so(desk):
    desk.holds(HEADS, numbered("OA-1"))
    plain_file = io.BytesIO(desk.file.read_bytes())
    with desk.file.open("wb") as sealed:
        OOXMLFile(plain_file).encrypt("geheim", sealed)
    assert "去掉密码" in desk.refuses_it().said("zh")


def test_a_web_page_that_calls_itself_excel_is_refused_and_the_message_says_what_to_do(desk):
    desk.file.write_text("<html><table><tr><td>单号</td></tr></table></html>", encoding="utf-8")
    assert "另存为 .xlsx" in desk.refuses_it().said("zh")


def test_a_damaged_workbook_is_refused_however_it_is_damaged(desk):
    desk.holds(HEADS, *(numbered(f"OA-{n}") for n in range(200)))
    whole = desk.file.read_bytes()
    for at in range(0, len(whole), len(whole) // 60):
        for damaged in (whole[:at], whole[:at] + bytes(64) + whole[at + 64 :]):
            desk.file.write_bytes(damaged)
            try:
                rows = sheet_of(desk.file, HEADS.__contains__).rows
            except CannotImport:
                continue
            assert rows == 200, f"rows were lost by the damage at {at}"


@pytest.mark.parametrize("inside", ["word/document.xml", "xl/workbook.bin"])
def test_a_package_that_is_no_workbook_is_refused(desk, inside):
    with zipfile.ZipFile(desk.file, "w") as package:
        package.writestr(inside, "<a/>")
    assert desk.refuses_it().code == "is_damaged"


# Column names and values


@pytest.mark.parametrize(
    "header",
    [
        "联系电话",
        " 联系 电话 ",
        "联系电话：",
        "联系电话*",
        "＊联系电话",
        "联系电话（必填）",
        "联系电话(11位)",
        "手机号",
        "customer.phone",
        "Phone",
    ],
)
def test_a_column_is_known_by_what_people_call_it(header):
    assert Names.of(COMPLAINT).find(header).name == "customer.phone"


def test_the_oa_forms_own_labels_are_taken(desk):
    heads = "OA单号 受理时间 投诉渠道 门店编号 投诉内容 顾客姓名 联系电话 会员卡号 货号 颜色 尺码 小票号 价格 购买日期 顾客诉求 类型 严重程度 是否需要协助"
    row = "OA-1|2026年11月22日 10时05分|来电|SH01|跑绒|张小红|13800000001|0012|Y-17|黑|165/88A|2026001|¥1,299.00|2026.3.5|换货|投诉|重大|是"
    report = desk.takes_rows(heads.split(), row.split("|"), fixed={})
    facts = desk.facts("OA-1")
    assert (report.opened, report.unused_columns) == (1, [])
    assert facts.received_at == datetime(2026, 11, 22, 2, 5, tzinfo=UTC)
    assert (facts.channel, facts.kind, facts.severity, facts.store) == ("phone", "complaint", "major", "SH01")
    assert (facts.customer.name, facts.customer.card_no, facts.demand) == ("张小红", "0012", "换货")
    assert (facts.goods.price, facts.goods.receipt_no, facts.purchased_on) == (1299, "2026001", date(2026, 3, 5))
    assert facts.store_handling.help_wanted is True


def test_a_value_that_is_none_of_a_coded_fields_is_rejected_with_those_that_are(desk):
    desk.takes_rows([*HEADS, "严重程度"], [*numbered("OA-1"), "吓人"])
    assert desk.rejects() == [["2", "严重程度", "只能是：一般、严重、重大"]]


def test_a_column_nobody_knows_is_named_with_the_one_it_may_have_been(desk):
    report = desk.takes_rows([*HEADS, "顾客的姓名", "天气"], [*numbered("OA-1"), "张", "晴"])
    assert report.unused_columns == ["顾客的姓名", "天气"]
    assert "没有用到的列：顾客的姓名（是不是“顾客姓名”？）；天气" in summary(report, "Asia/Shanghai")
    assert "顾客的姓名 (is it “顾客姓名”?), 天气" in summary(report, "Asia/Shanghai", "en")


def test_a_column_can_be_left_out_and_options_take_chinese_names_too(desk):
    heads = ["编码", "受理时间", "内容", "投诉内容"]
    desk.takes_rows(
        heads, ["OA-1", AT, "一", "二"], mapping={"编码": "单号", "内容": ""}, fixed={"类型": "投诉", "渠道": "微信"}
    )
    assert (desk.facts("OA-1").content, desk.facts("OA-1").channel) == ("二", "im")


def test_a_missing_column_is_said_as_the_reader_calls_it(desk):
    desk.holds(HEADS[1:], numbered("OA-1")[1:])
    refused = desk.refuses_it()
    assert "缺少必填的列：单号（form_no）" in refused.said("zh")
    assert "no column for form_no" in refused.said("en")


@pytest.mark.parametrize("number", ["沪客诉〔2026〕12号", "OA（2026）12", "(12)", "【12】"])
def test_a_chinese_document_number_is_a_number(desk, number):
    desk.takes_rows(HEADS, numbered(number))
    assert desk.numbers() == [number]


# Every field and every value has its word


def _forms(process) -> dict[str, Any]:
    return {form.form: form for form in (*process.forms, *process.submittable.values())}


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_every_field_and_every_value_has_a_label_in_both_languages(process):
    for leaf in leaves_of(process):
        assert len(words.names_of(process.name, leaf.name)) >= 2, leaf.name
        for code in leaf.choices:
            assert len(words.values_of(process.name, leaf.name, code)) >= 2, f"{leaf.name}.{code}"
    for name, form in _forms(process).items():
        for field in form.model_fields:
            assert len(words.names_of(name, field)) >= 2, f"{name}.{field}"


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_no_word_stands_for_two_fields_or_two_values(process):
    taken: dict[str, str] = {}
    for leaf in leaves_of(process):
        for word in {plain(word) for word in (leaf.name, *words.names_of(process.name, leaf.name))}:
            assert taken.setdefault(word, leaf.name) == leaf.name, word
        values: dict[str, str] = {}
        for code in leaf.choices:
            for word in {plain(word) for word in (code, *words.values_of(process.name, leaf.name, code))}:
                assert values.setdefault(word, code) == code, word


# What was rejected comes back


def test_rejected_rows_come_back_as_a_workbook_of_text_are_corrected_and_taken(desk):
    odd = ["=1+1", "'=x", "+86 138", "0012", "2026-11-22 10:00", "１２", "a\nb", "#"]
    desk.takes_rows(
        [*HEADS, "顾客姓名", "诉求", "地址"],
        *([f"OA-{n}", "", text, 13800000001, "", "", text, text, text] for n, text in enumerate(odd)),
        change=all_text,
    )
    book = openpyxl.load_workbook(desk.rejected)
    sheet = book.active
    assert [cell.value for cell in sheet[1]] == ["行号", "字段", "原因", *HEADS, "顾客姓名", "诉求", "地址"]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n"}, "no formula"
    assert {cell.value[0] for row in sheet.iter_rows(min_row=2) for cell in row if cell.value} & set("=+-@") == set()
    for row in range(2, len(odd) + 2):
        assert sheet.cell(row, 7).number_format == "@"
        sheet.cell(row, 5).value = AT
    book.save(desk.rejected)
    report = desk.imports(desk.rejected)
    assert (report.opened, report.rejected_file) == (len(odd), None), _told(report)
    for n, text in enumerate(odd):
        facts = desk.facts(f"OA-{n}")
        assert (facts.content, facts.customer.name, facts.demand, facts.customer.phone) == (
            text,
            text,
            text,
            "13800000001",
        )
        assert facts.received_at == datetime(2026, 11, 22, 2, tzinfo=UTC)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_stood_in_a_rejected_row_comes_back_as_it_stood(desk, texts):
    for file in desk.folder.glob("november*"):
        file.unlink()
    desk.holds(HEADS[:3])
    book = xlsxwriter.Workbook(desk.file)
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, HEADS[:3])
    for row, text in enumerate(texts, start=1):
        sheet.write_string(row, 2, text)
    book.close()
    first = [record.cells for record in sheet_of(desk.file, HEADS.__contains__).records()]
    desk.imports(desk.file)
    assert [record.cells for record in sheet_of(desk.rejected, HEADS.__contains__).records()] == first


def test_a_time_from_a_cell_comes_back_exactly(desk):
    exact = AT.replace(minute=20, second=33)
    desk.takes_rows(HEADS, ["OA-1", exact, "", "", date(2026, 3, 5), 199.9])
    cells = [cell.value for cell in openpyxl.load_workbook(desk.rejected).active[2]]
    assert cells[3:] == ["OA-1", "2026-11-22 10:20:33", None, None, "2026-03-05", "199.9"]


def test_a_corrected_workbook_of_rejects_overwrites_nothing(desk):
    desk.takes_rows(HEADS, numbered("OA-1", 投诉内容=""), numbered("OA-2", 投诉内容=""))
    assert desk.imports(desk.file).rejected_file == desk.rejected, "the same rows again are said once"
    book = openpyxl.load_workbook(desk.rejected)
    book.active["F2"] = "跑绒"
    book.save(desk.rejected)
    corrected = desk.rejected.read_bytes()
    assert desk.imports(desk.file).rejected_file == desk.folder / "november.rejected-2.xlsx"
    report = desk.imports(desk.rejected)
    assert (report.opened, report.rejected) == (1, 1)
    assert report.rejected_file == desk.folder / "november.rejected-3.xlsx"
    assert desk.rejected.read_bytes() == corrected


def test_a_workbook_of_rejects_is_for_its_owners_eyes(desk):
    desk.takes_rows(HEADS, numbered("OA-1", 投诉内容=""))
    assert desk.rejected.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in desk.folder.glob("november*")) == ["november.rejected.xlsx", "november.xlsx"]


def test_after_an_interruption_the_rejects_are_there_and_the_same_workbook_goes_on(desk):
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    desk.holds(HEADS, numbered("OA-1", 投诉内容=""), *(numbered(f"OA-{n}") for n in (2, 3, 4)))
    with pytest.raises(ImportInterrupted) as stopped:
        desk.imports(desk.file, progress=interrupt)
    assert "已中断，处理了 2 / 4 行" in stopped.value.said("zh")
    assert [line for line, *_ in desk.rejects()] == ["2"]
    report = desk.imports(desk.file)
    assert (report.opened, report.already, report.rejected_file) == (2, 1, desk.rejected)


def _told(report: Any) -> Any:
    """What was rejected, for a test that did not expect it."""
    return report.rejected_file and [record.cells for record in sheet_of(report.rejected_file, bool).lines()]


# The template


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_template_that_was_filled_in_is_taken(desk, language):
    templates.write(COMPLAINT, desk.file, language, with_past=False)
    filled = {
        "form_no": "OA-1",
        "received_at": AT,
        "content": "跑绒",
        "customer.phone": "013800000001",
        "purchased_on": date(2026, 3, 5),
    }
    filled |= {"goods.price": 199.9}
    book = openpyxl.load_workbook(desk.file)
    sheet = book.worksheets[0]
    for column, leaf in enumerate((leaf for leaf in leaves_of(COMPLAINT) if not leaf.is_past), start=1):
        if leaf.choices:
            sheet.cell(2, column).value = leaf.choice(leaf.choices[-1 if leaf.name != "origin" else 0], language)
        elif leaf.name in filled:
            sheet.cell(2, column).value = filled[leaf.name]
    book.save(desk.file)
    report = desk.imports(desk.file, fixed={})
    assert (report.opened, report.unused_columns, report.remarks) == (1, [], [])
    facts = desk.facts("OA-1")
    assert (facts.kind, facts.channel, facts.severity, facts.store_handling.help_wanted) == (
        "praise",
        "marketplace",
        "major",
        False,
    )
    assert (facts.customer.phone, facts.purchased_on, facts.goods.price) == (
        "013800000001",
        date(2026, 3, 5),
        Decimal("199.9"),
    )


@pytest.mark.parametrize(("language", "past"), [("zh", False), ("zh", True), ("en", True)])
def test_an_empty_template_imports_nothing_not_even_its_examples(desk, language, past):
    templates.write(COMPLAINT, desk.file, language, with_past=past)
    assert desk.refuses_it(fixed={}).code == "no_rows"


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_template_helps_to_fill_it_in(desk, language):
    templates.write(COMPLAINT, desk.file, language, with_past=True)
    sheet, guide = openpyxl.load_workbook(desk.file).worksheets
    leaves = leaves_of(COMPLAINT)
    heads = [cell.value for cell in sheet[1]]
    assert [head.endswith("*") for head in heads] == [leaf.required for leaf in leaves]
    assert [Names.of(COMPLAINT).find(head) for head in heads] == leaves
    assert sheet.freeze_panes == "B2"
    lists = {int(next(iter(v.sqref.ranges)).min_col): v for v in sheet.data_validations.dataValidation}
    assert set(lists) == {column for column, leaf in enumerate(leaves, start=1) if leaf.choices}
    for column, validation in lists.items():
        offered = validation.formula1.strip('"')
        assert [leaves[column - 1].code_of(word) for word in offered.split(",")] == list(leaves[column - 1].choices)
        assert len(offered) <= 255, "Excel takes no longer list"
    widths = sheet.column_dimensions.values()
    formats = {
        leaf.name: next(group.number_format for group in widths if group.min <= n <= group.max)
        for n, leaf in enumerate(leaves, start=1)
    }
    assert (formats["customer.phone"], formats["form_no"], formats["received_at"]) == ("@", "@", "yyyy-mm-dd hh:mm")
    assert [row[0].value for row in guide.iter_rows(min_row=3)] == heads
    assert all(row[2].value for row in guide.iter_rows(min_row=3))


def test_the_examples_of_the_template_hold(desk):
    templates.write(COMPLAINT, desk.file, "zh", with_past=True)
    guide = openpyxl.load_workbook(desk.file).worksheets[1]
    examples = {row[0].value: row[4].value for row in guide.iter_rows(min_row=3) if row[4].value}
    file = desk.folder / "examples.csv"
    file.write_text(",".join(examples) + "\n" + ",".join(examples.values()) + "\n", encoding="utf-8")
    report = desk.imports(file, fixed={})
    assert (report.opened, report.with_past) == (1, 1), _told(report)


def run(*words: str, **options: Any) -> Any:
    return CliRunner().invoke(app, [*words], **options)


def test_the_command_writes_a_template_and_replaces_no_file_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("template", "complaint").exit_code == 0
    assert Path("complaint.xlsx").exists()
    Path("mine.xlsx").write_text("mine", encoding="utf-8")
    refused = run("template", "complaint", "mine.xlsx")
    assert refused.exit_code != 0
    assert Path("mine.xlsx").read_text(encoding="utf-8") == "mine"
    assert run("template", "complaint", "mine.xlsx", "--past", "--force").exit_code == 0
    assert Path("mine.xlsx").read_bytes().startswith(b"PK")
    assert run("template", "praise").exit_code != 0
    assert [run("template", name).exit_code for name in ("member", "purchase")] == [0, 0]
    assert Path("purchase.xlsx").exists()


# The command


@pytest.fixture
def here(house, monkeypatch, tmp_path):
    """The command line in the house of the test."""
    monkeypatch.setenv("KEFU_DATA", str(house.settings.data))
    monkeypatch.setenv("KEFU_KEYS", house.settings.keys.get_secret_value())
    monkeypatch.chdir(tmp_path)
    return house


def test_the_exit_code_says_whether_all_was_taken(here, desk):
    now = datetime.now() - HOUR  # noqa: DTZ005 — as a person types it
    row = ["OA-1", now.isoformat(" ", "seconds"), "跑绒"]
    more = ["--as", "lin", "--set", "类型=投诉,渠道=电话"]
    desk.holds(HEADS, row, ["OA-2", "", "跑绒"])
    assert run("import", "complaint", str(desk.file), *more).exit_code == 1
    desk.holds(HEADS, row)
    done = run("import", "complaint", str(desk.file), *more)
    assert (done.exit_code, "早已登记 1" in done.output) == (0, True)


def test_ctrl_c_stops_the_command_at_once_and_the_same_command_goes_on(here, desk):
    now = datetime.now(UTC) - HOUR
    desk.holds(HEADS, *([f"OA-{n}", now.isoformat(), "跑绒"] for n in range(3_000)))
    command = [sys.executable, "-P", "-m", "starter", "import", "complaint", str(desk.file), "--as", "lin"]
    command += ["--set", "kind=complaint,channel=phone"]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not desk.numbers():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        said, errors = running.communicate()
    assert running.returncode == 1
    assert "已中断" in errors
    assert 0 < len(desk.numbers()) < 3_000
    assert "再次运行即可继续" in said


def test_a_lock_is_known_by_either_databases_words():
    for said in ("database is locked", "canceling statement due to lock timeout", "deadlock detected"):
        assert is_locked(OperationalError("", {}, Exception(said)))
    assert not is_locked(OperationalError("", {}, Exception("disk I/O error")))


# Cases with a past


PAST = [
    "回复时间",
    "回复内容",
    "方案提出时间",
    "解决方案",
    "处理方式",
    "顾客同意时间",
    "落实时间",
    "回访时间",
    "回访结果",
    "满意度",
    "结案时间",
]


def _imported(office: Office, folder: Path, *rows: dict[str, Any], by: str = "lin", history: bool = False):
    """A workbook of cases with what was done with them, imported at the office's own time."""
    heads = list(dict.fromkeys(head for row in rows for head in row))
    file = folder / "past.xlsx"
    book = openpyxl.Workbook()
    for cells in (heads, *([row.get(head) for head in heads] for row in rows)):
        book.active.append([cell.isoformat(" ") if isinstance(cell, datetime) else cell for cell in cells])
    book.save(file)
    return Desk(folder, office.house.database, office.house.keys, office.house.people).imports(
        file, by=by, submissions=office.submissions, zone="UTC", history=history
    )


def _row(number: str, received: datetime, **past: Any) -> dict[str, Any]:
    return {"单号": number, "受理时间": received, "投诉内容": "跑绒", "门店": "SH01"} | past


def _case(office: Office, number: str) -> str:
    with office.house.database.reading() as session:
        return session.exec(select(CaseRow.id).where(CaseRow.number == number)).one()


async def _arrived(office: Office, number: str) -> str:
    case = _case(office, number)
    await office.relay.deliver(case)
    assert {row.state for row in office.rows(SubmissionRow, case)} == {"decided"}
    return case


async def test_a_half_done_case_of_a_workbook_enters_where_it_is(office: Office, tmp_path):
    received = office.now() - 6 * HOUR
    past = {
        "回复时间": received + HOUR,
        "回复内容": "已致电",
        "方案提出时间": received + 2 * HOUR,
        "解决方案": "换货",
        "处理方式": "换货",
    }
    report = _imported(office, tmp_path, _row("OA-1", received, **past), _row("OA-2", received))
    assert (report.opened, report.with_past, report.rejected) == (2, 1, 0)
    case = await _arrived(office, "OA-1")
    assert office.open_tasks(case) == {"consent", "callback"}
    assert office.rows(NoticeRow, case) == []
    assert office.open_tasks(await _arrived(office, "OA-2")) == {"reply", "solution", "callback"}


async def test_what_is_still_open_and_overdue_escalates_once_and_what_passed_before_is_told_to_nobody(
    office: Office, tmp_path
):
    received = office.now() - 60 * HOUR
    _imported(office, tmp_path, _row("OA-1", received, 回复时间=received + 30 * HOUR, 回复内容="已致电"))
    case = await _arrived(office, "OA-1")
    await office.pass_time(timedelta(minutes=1))
    assert office.open_tasks(case) == {"solution", "callback"}
    assert office.heard(case, "wang") == ["overdue/solution"], (
        "the reply was late elsewhere: that is told to nobody here"
    )
    await office.pass_time(HOUR)
    assert office.heard(case, "wang") == ["overdue/solution"]


async def test_a_row_of_history_ends_archived_in_order_and_silent(office: Office, tmp_path):
    received = datetime(2024, 3, 5, 9, tzinfo=UTC)
    steps = {
        head: received + n * HOUR
        for n, head in enumerate(["回复时间", "方案提出时间", "顾客同意时间", "落实时间", "回访时间"], start=1)
    }
    whole = _row("OA-1", received, **steps, 回访结果="满意", 满意度=5)
    report = _imported(office, tmp_path, whole, _row("OA-2", received), history=True)
    assert (report.opened, report.with_past, report.rejected) == (2, 2, 0)
    case = await _arrived(office, "OA-1")
    assert office.case(case).state == "archived"
    assert office.open_tasks(case) == set()
    done = [event for event in office.events(case) if event.kind == "done"]
    assert [event.at for event in done] == sorted(event.at for event in done)
    assert office.rows(NoticeRow, case) == []
    assert office.case(await _arrived(office, "OA-2")).state == "archived"


def test_a_case_of_history_ends_with_the_last_that_is_known_of_it(desk):
    heads = [*HEADS[:3], "回复时间", "回复内容"]
    desk.takes_rows(heads, ["OA-1", "2024-03-05", "跑绒", "2024-03-07", "已致电"], history=True)
    [(_, at)] = [row for row in _submissions(desk, "OA-1") if row[0] == "closed"]
    assert at.date() == date(2024, 3, 6), "midnight in Shanghai"


def _submissions(desk: Desk, number: str) -> list[tuple[str, datetime]]:
    with desk.database.reading() as session:
        rows = session.exec(select(SubmissionRow).join(CaseRow).where(CaseRow.number == number))
        return [(row.form, row.recorded_at) for row in rows]


def test_history_takes_a_day_for_its_midnight_and_says_so_and_a_live_case_does_not(desk):
    rows = [HEADS, ["OA-1", date(2026, 11, 20), "跑绒"]]
    assert desk.takes_rows(*rows).rejected == 1
    assert "要写明几点几分" in desk.rejects()[0][2]
    report = desk.takes_rows(*rows, history=True)
    assert (report.opened, report.day_assumed) == (1, 1)
    assert "按当天零点计" in summary(report, "Asia/Shanghai")


def test_what_cannot_have_been_is_rejected_with_the_column_and_the_reason(desk):
    heads = [*HEADS[:3], "回复时间", "顾客同意时间", "回访时间"]
    rows = [
        ["OA-1", AT, "跑绒", AT - timedelta(days=1)],
        ["OA-2", AT, "跑绒", None, AT],
        ["OA-3", AT, "跑绒", None, None, AT],
    ]
    desk.takes_rows(heads, *rows)
    assert [(line, column) for line, column, _ in desk.rejects()][:2] == [("2", "回复时间"), ("3", "方案提出时间")]
    assert desk.rejects()[2][2] == "填了回访时间，就要填回访结果"
    assert desk.numbers() == []


def test_what_was_done_without_when_it_was_done_is_rejected_and_not_lost(desk):
    heads = [*HEADS[:3], "回复时间", "回复内容", "解决方案", "赔付金额"]
    rows = [["OA-1", AT, "跑绒", AT + HOUR, "已致电", "换货"], ["OA-2", AT, "跑绒", AT + HOUR, "已致电", None, 0]]
    report = desk.takes_rows(heads, *rows, ["OA-3", AT, "跑绒", None, "已致电"])
    assert report.opened == 1
    lost = "填了办理内容，却没有写是什么时候办的"
    assert desk.rejects()[0] == ["2", "解决方案", lost]
    assert desk.rejects()[1][:2] == ["4", "回复内容"]


def test_only_specialists_and_managers_bring_a_past(desk):
    heads = [*HEADS[:3], "回复时间"]
    report = desk.takes_rows(heads, ["OA-1", AT, "跑绒", AT + HOUR], ["OA-2", AT, "跑绒"], by="oa-sh01")
    assert (report.opened, desk.rejects()) == (1, [["2", "", "您的岗位不能导入办理过程"]])
    with pytest.raises(CannotImport, match="may not bring"):
        desk.imports(desk.file, by="oa-sh01", history=True)


def test_the_same_history_again_is_the_same_cases(desk):
    rows = [[*HEADS[:3], "结案时间"], ["OA-1", AT.replace(year=2024), "跑绒", AT.replace(year=2025)]]
    assert desk.takes_rows(*rows, history=True).opened == 1
    assert desk.takes_rows(*rows, history=True).already == 1


# Many rows


def test_a_long_workbook_is_read_a_row_at_a_time(desk):
    with xlsxwriter.Workbook(desk.file, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, HEADS)
        for row in range(1, 2_001):
            sheet.write_string(row, 0, f"OA-{row}")
            sheet.write_string(row, 2, f"{row}" + "长" * 4_000)
    tracemalloc.start()
    report = desk.imports(desk.file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.rejected == 2_000
    assert peak < 8_000_000, "of what Python holds; the texts alone are 16 MB"
