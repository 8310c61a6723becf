import csv
import multiprocessing
import os
import signal
import sqlite3
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError
from sqlmodel import select

from activities.database import Database
from activities.keys import COLUMN, KeyRing
from models.complaint import COMPLAINT
from models.complaint.facts import Complaint
from models.organisation import Directory
from models.tables import CaseRow, SubmissionRow
from starter.spreadsheets.imports import (
    CannotImport,
    ImportInterrupted,
    ImportReport,
    ImportStopped,
    reason_of,
    run_import,
    summary,
)
from starter.submissions import Submissions

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIXED = {"kind": "complaint", "channel": "im"}
HEADER = "form_no,received_at,content"
ROW = "OA-1,2026-11-22T10:00:00+08:00,跑绒"


@dataclass
class Counter:
    """Lin at her desk with a file somebody sent her."""

    folder: Path
    database: Database
    keys: KeyRing
    people: Directory

    @property
    def file(self) -> Path:
        return self.folder / "complaints.csv"

    @property
    def rejected(self) -> Path:
        return self.folder / "complaints.rejected.csv"

    def takes(self, *lines: str, encoding: str = "utf-8", **options: Any) -> ImportReport:
        self.file.write_bytes("\r\n".join(lines).encode(encoding))
        return self.imports(self.file, **options)

    def imports(
        self,
        file: Path,
        mapping: dict[str, str] | None = None,
        fixed: dict[str, str] = FIXED,
        by: str = "lin",
        zone: str = "Asia/Shanghai",
        progress: Callable[[int, int], None] = lambda done, total: None,
        submissions: Submissions | None = None,
        **options: Any,
    ) -> ImportReport:
        person = self.people.person(by)
        assert person
        return run_import(
            COMPLAINT,
            file,
            mapping=mapping or {},
            fixed=fixed,
            by=person,
            submissions=submissions or Submissions(self.database, self.keys, self.people, lambda: NOON),
            zone=ZoneInfo(zone),
            progress=progress,
            **options,
        )

    def numbers(self) -> list[str]:
        with self.database.reading() as session:
            return list(session.exec(select(CaseRow.number).order_by(CaseRow.number)))

    def facts(self, number: str) -> Complaint:
        """What the ledger keeps of a case, unsealed."""
        with self.database.reading() as session:
            row = session.exec(select(SubmissionRow).join(CaseRow).where(CaseRow.number == number)).one()
        return Complaint.model_validate_json(self.keys.open(row.sealed, COLUMN, f"submission/{row.id}"))

    def rejects(self) -> list[list[str]]:
        """The rejected rows: line, field, reason."""
        with self.rejected.open(encoding="utf-8-sig", newline="") as file:
            return [row[:3] for row in csv.reader(file)][1:]

    def refuses(self, *lines: str, **options: Any) -> str:
        """The message a file is refused with, before anything of it is taken."""
        with pytest.raises(CannotImport) as refused:
            self.takes(*lines, **options)
        assert self.numbers() == []
        assert not self.rejected.exists()
        return str(refused.value)


@pytest.fixture
def counter(tmp_path, database, keys, directory) -> Counter:
    return Counter(tmp_path, database, keys, directory)


def numbered(*numbers: int) -> list[str]:
    return [HEADER, *(f"OA-{n},2026-11-22T10:00:00+08:00,第{n}件" for n in numbers)]


# Columns


def test_headers_are_the_fields_of_the_case_dotted_where_nested(counter):
    counter.takes(
        "form_no,kind,channel,received_at,content,customer.phone,goods.style_no,goods.price,purchased_on",
        "OA-1,query,web,2026-11-22T10:00:00+08:00,几时到货,13800000001,Y-17,199.00,2026-11-20",
        fixed={},
    )
    facts = counter.facts("OA-1")
    assert (facts.kind, facts.channel, facts.content) == ("query", "web", "几时到货")
    assert facts.customer.phone == "13800000001"
    assert (facts.goods.style_no, str(facts.goods.price)) == ("Y-17", "199.00")
    assert facts.purchased_on == date(2026, 11, 20)


def test_other_headers_are_mapped_and_constants_are_set(counter):
    counter.takes(
        "case,received_at,text",
        "00001,2026-11-22T10:00:00+08:00,穿上不舒服",
        mapping={"case": "form_no", "text": "content"},
        fixed={**FIXED, "customer.name": "匿名", "store": "SH01"},
    )
    facts = counter.facts("00001")
    assert (facts.content, facts.kind, facts.channel, facts.store) == ("穿上不舒服", "complaint", "im", "SH01")
    assert facts.customer.name == "匿名"


def test_an_empty_cell_is_absent_and_so_is_an_object_of_empty_cells(counter):
    counter.takes(HEADER + ",store,goods.price,customer.phone,store_handling.help_wanted", ROW + ",, ,,")
    facts = counter.facts("OA-1")
    assert facts.store is facts.goods is facts.store_handling is facts.customer.phone is None


def test_a_row_with_fewer_cells_than_headers_lacks_the_rest(counter):
    counter.takes(HEADER + ",demand,store", ROW + ",换货")
    assert counter.facts("OA-1").demand == "换货"


def test_values_are_read_as_people_write_them(counter):
    counter.takes(HEADER + ",store_handling.help_wanted,store", ROW + ",true, SH01 ")
    assert counter.facts("OA-1").store_handling.help_wanted is True
    assert counter.facts("OA-1").store == "SH01"


def test_columns_nobody_asked_for_are_listed(counter):
    report = counter.takes(HEADER + ",steps,contnet,", ROW + ",3,打错了,")
    assert report.unused_columns == ["steps", "contnet"]
    assert report.opened == 1


def test_a_mapped_column_the_file_lacks_is_refused_with_the_columns_it_has(counter):
    message = counter.refuses(HEADER, ROW, mapping={"cse": "form_no"})
    assert "no column cse" in message
    assert "form_no, received_at, content" in message


@pytest.mark.parametrize("option", [{"mapping": {"content": "contnet"}}, {"fixed": {"contnet": "x"}}])
def test_a_field_the_case_lacks_is_refused_with_the_fields_it_has(counter, option):
    message = counter.refuses(HEADER, ROW, **option)
    assert "no field contnet" in message
    assert "customer.phone" in message


def test_an_object_is_not_a_field_a_column_can_fill(counter):
    assert "no field customer;" in counter.refuses(HEADER, ROW, fixed={"customer": "张"})


def test_two_columns_for_one_field_are_refused(counter):
    message = counter.refuses(HEADER + ",text", ROW + ",开线", mapping={"text": "content"})
    assert "two columns for content: 'content' and 'text'" in message


def test_a_constant_that_is_also_a_column_is_refused(counter):
    assert "kind is set for all rows" in counter.refuses(HEADER + ",kind", ROW + ",query")


def test_a_constant_that_does_not_hold_is_refused_once_and_not_in_every_row(counter):
    message = counter.refuses(HEADER, ROW, fixed={"kind": "complaint", "channel": "pigeon"})
    assert "channel must be one of phone, text message" in message
    assert "pigeon" not in message


def test_a_required_field_without_a_column_is_refused_once_and_not_in_every_row(counter):
    message = counter.refuses("case,received_at,content", ROW)
    assert "no column for form_no" in message
    assert "case, received_at, content" in message


def test_a_person_who_may_not_open_cases_is_refused_once_and_not_in_every_row(counter):
    assert "specialist" in counter.refuses(HEADER, ROW, by="admin")


# Times


def test_a_time_without_an_offset_is_one_of_the_calendars_zone(counter):
    without = ["2026-11-22T10:00", "2026-11-22T10:00:00", "2026-11-22 10:00", "2026/11/22 10:00", "2026/11/22 10:00:00"]
    offset = ["2026-11-22T10:00:00+08:00", "2026-11-22T02:00:00Z", "2026/11/22 2:00 +0000"]
    report = counter.takes(HEADER, *(f"OA-{n},{written},跑绒" for n, written in enumerate([*without, *offset])))
    assert {counter.facts(number).received_at for number in counter.numbers()} == {
        datetime(2026, 11, 22, 2, tzinfo=UTC)
    }
    assert (report.opened, report.zone_assumed) == (8, 5)


def test_the_zones_own_summer_time_counts(counter):
    counter.takes(HEADER, "OA-1,2026-10-24 10:00,跑绒", "OA-2,2026-10-26 10:00,跑绒", zone="Europe/Berlin")
    assert counter.facts("OA-1").received_at == datetime(2026, 10, 24, 8, tzinfo=UTC)
    assert counter.facts("OA-2").received_at == datetime(2026, 10, 26, 9, tzinfo=UTC)


def test_a_date_is_read_with_dashes_and_with_slashes(counter):
    header = HEADER + ",purchased_on"
    counter.takes(header, ROW + ",2026/3/5", ROW.replace("OA-1", "OA-2") + ",2026-03-05")
    assert counter.facts("OA-1").purchased_on == counter.facts("OA-2").purchased_on == date(2026, 3, 5)


def test_what_names_no_instant_is_rejected_and_never_guessed(counter):
    written = ["2026-11-22", "46348.5", "2026-02-30 10:00", "2026-11-22 25:00", "昨天", "20261122100000"]
    report = counter.takes(HEADER, *(f"OA-1,{cell},跑绒" for cell in written))
    assert report.rejected == len(written)
    for _, field, reason in counter.rejects():
        assert field == "received_at"
        assert "例如 2026-11-22" in reason


# The file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_utf8_with_and_without_its_mark_and_gb18030_are_read(counter, encoding):
    report = counter.takes(HEADER, "OA-1,2026-11-22 10:00,衣服䶮了", encoding=encoding)
    assert counter.facts("OA-1").content == "衣服䶮了"
    assert [remark.code for remark in report.remarks] == (["gb18030"] if encoding == "gb18030" else [])


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_the_header_tells_the_delimiter(counter, delimiter):
    counter.takes(
        delimiter.join(['"form_no"', "received_at", '"content"', '"a, b; c, d; e, f; g"']),
        delimiter.join(["OA-1", "2026-11-22 10:00", '"慢；贵,\t;旧"', ""]),
    )
    assert counter.facts("OA-1").content == "慢；贵,\t;旧"


def test_a_quoted_cell_may_hold_lines_and_quotes(counter):
    counter.takes(HEADER, 'OA-1,2026-11-22 10:00,"第一行\r\n第二行 ""好"""')
    assert counter.facts("OA-1").content == '第一行\n第二行 "好"'


def test_blank_lines_and_rows_of_empty_cells_are_no_rows(counter):
    report = counter.takes(HEADER, "", ROW, ",,", "")
    assert (report.total, report.opened) == (1, 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (HEADER.encode(), "a header and no rows"),
        (b"PK\x03\x04\x00\x00", "damaged, or no Excel workbook"),
        (b"<html><table><tr><td>form_no</td></tr></table></html>", "really a web page"),
        (f"{HEADER}\n{ROW}".encode("utf-16"), "no CSV file and no workbook"),
        (f"{HEADER}\n{ROW}".encode() + b"\xff", "neither UTF-8 nor GB18030"),
        (f"\ufeff{HEADER}\n{ROW}".encode() + b"\xb6\xaf", "neither UTF-8 nor GB18030"),
        (f"{HEADER}\n{ROW * 20}".encode() + b"\xe8\xb7" + ROW.encode(), "neither UTF-8 nor GB18030"),
        (f'{HEADER}\n{ROW}\nOA-2,2026-11-22 10:00,"没有\n{ROW}'.encode(), "begins on line 3 is not valid CSV"),
    ],
)
def test_a_file_that_is_no_csv_is_refused_and_the_message_says_why(counter, content, says):
    counter.file.write_bytes(content)
    with pytest.raises(CannotImport, match=says):
        counter.imports(counter.file)
    assert counter.numbers() == []


def test_a_file_that_is_not_there_is_refused(counter):
    with pytest.raises(CannotImport, match="cannot be read"):
        counter.imports(counter.file)


# What is taken, what is rejected


def test_the_report_counts_what_was_opened_was_there_and_was_rejected(counter):
    counter.takes(*numbered(1))
    told: list[tuple[int, int]] = []
    report = counter.takes(*numbered(1, 2), "OA-3,,无日期", progress=lambda *at: told.append(at))
    assert (report.total, report.opened, report.already, report.rejected) == (3, 1, 1, 1)
    assert report.rejected_file == counter.rejected
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_summary_says_all_that_was_assumed_left_out_or_rejected(counter):
    lines = [HEADER + ",steps,\x1b[2J", "OA-1,2026-11-22 10:00,跑绒", "OA-2,,无日期"]
    report = counter.takes(*lines, encoding="gb18030")
    said = summary(report, "Asia/Shanghai").splitlines()
    assert said[0].startswith("共 2 行：新登记 1，早已登记 0，退回 1；")
    assert said[1:] == [
        f"退回的行和原因在 {counter.rejected}，改好后直接导入该文件",
        "1 行的时间没有写时区，按 Asia/Shanghai 计",
        r"没有用到的列：steps, '\x1b[2J'",
        "文件按 GB18030 读取",
    ]
    assert summary(report, "Asia/Shanghai", "en").startswith("2 rows: 1 opened")


def test_a_plain_import_is_summed_up_in_a_line(counter):
    assert len(summary(counter.takes(HEADER, ROW), "Asia/Shanghai").splitlines()) == 1


def test_a_clean_file_leaves_no_file_of_rejected_rows(counter):
    report = counter.takes(*numbered(1))
    assert report.rejected_file is None
    assert list(counter.folder.glob("complaints*")) == [counter.file]


def test_a_row_is_rejected_once_with_every_field_and_reason(counter):
    counter.takes(
        HEADER + ",kind,customer.phone,goods.price",
        "OA 1,,,rumour,13800000001,便宜",
        fixed={"channel": "im"},
    )
    [(line, fields, reasons)] = counter.rejects()
    assert line == "2"
    assert fields == "form_no；kind；received_at；content；goods.price"
    assert len(reasons.split("；")) == 5
    assert "必填" in reasons


def test_a_rejected_row_names_the_line_it_begins_on(counter):
    counter.takes(HEADER, 'OA-1,2026-11-22 10:00,"两\r\n行"', "", 'OA-2,,"又\r\n两行"', "OA-3,,一行")
    assert [line for line, *_ in counter.rejects()] == ["5", "7"]


def test_a_row_with_more_cells_than_the_header_is_rejected(counter):
    counter.takes(HEADER, ROW + ",多了", "OA-2,2026-11-22 10:00,跑绒,,")
    assert counter.rejects() == [["2", "", "这一行的单元格比表头多"]]
    assert counter.numbers() == ["OA-2"]


def test_the_doors_own_rules_hold_for_files_too(counter):
    counter.takes(HEADER, "OA-1,2020-01-01 10:00,旧事", "OA-2,2026-12-24 10:00,未来", by="oa-sh01")
    assert counter.rejects() == [
        ["2", "received_at", "受理时间超过 90 天，不能再立为新工单"],
        ["3", "received_at", "受理时间不能晚于现在"],
    ]


def test_a_store_imports_its_own_cases_only(counter):
    counter.takes(HEADER + ",store", ROW + ",SH01", ROW.replace("OA-1", "OA-2") + ",SH02", by="oa-sh01")
    assert counter.numbers() == ["OA-1"]
    assert counter.rejects() == [["3", "", "门店只能登记本店的工单"]]


def test_the_same_row_twice_in_a_file_is_one_case_and_another_matter_under_its_number_is_rejected(counter):
    report = counter.takes(HEADER, ROW, ROW, ROW.replace("跑绒", "开线"))
    assert (report.opened, report.already, report.rejected) == (1, 1, 1)
    assert counter.facts("OA-1").content == "跑绒"
    [(line, field, reason)] = counter.rejects()
    assert (line, field) == ("4", "form_no")
    assert reason.startswith("单号已登记过")


def test_rejected_rows_come_back_corrected_and_are_taken(counter):
    header = HEADER + ",customer.phone,customer.name,备注"
    counter.takes(header, 'OA-1,待补,"跑绒,\n还掉色",+86 13800000001,=HYPERLINK(1),\'-x')
    rejected = counter.rejected.read_text(encoding="utf-8-sig")
    corrected = counter.folder / "corrected.csv"
    corrected.write_text(rejected.replace("待补", "2026-11-22 10:00"), encoding="utf-8-sig", newline="")
    report = counter.imports(corrected)
    facts = counter.facts("OA-1")
    assert (report.opened, report.unused_columns) == (1, ["备注"])
    assert facts.content == "跑绒,\n还掉色"
    assert (facts.customer.phone, facts.customer.name) == ("+86 13800000001", "=HYPERLINK(1)")


def test_excel_shows_the_rejected_rows_in_chinese_and_runs_no_formula_of_theirs(counter):
    cells = ["=1+1", "+1", "-1", "@SUM(A1)", "'=1", "a=1", "\tx", "\rx"]
    counter.takes(HEADER + ",b,c,d,e,f,g,h,=x", "OA-1,,内容," + ",".join(f'"{cell}"' for cell in cells))
    raw = counter.rejected.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    text = raw.decode("utf-8-sig")
    assert text.startswith("行号,字段,原因,form_no,received_at,content,b,c,d,e,f,g,h,'=x\r\n")
    assert text.endswith("OA-1,,内容,'=1+1,'+1,'-1,'@SUM(A1),''=1,a=1,'\tx,\"'\rx\"\r\n")


def test_rejected_rows_are_for_their_owners_eyes(counter):
    counter.takes(HEADER, "OA-1,,跑绒")
    assert counter.rejected.stat().st_mode & 0o077 == 0


def test_rejected_rows_replace_no_file_that_is_not_theirs(counter):
    counter.rejected.write_text("会议记录", encoding="utf-8")
    report = counter.takes(HEADER, "OA-1,,跑绒")
    assert report.rejected_file == counter.folder / "complaints.rejected-2.csv"
    assert counter.rejected.read_text(encoding="utf-8") == "会议记录"


def test_the_same_rows_rejected_again_are_said_once(counter):
    for _ in range(3):
        assert counter.takes(HEADER, "OA-1,,跑绒").rejected_file == counter.rejected
    assert counter.takes(HEADER, "OA-1,,跑绒", "OA-2,,开线").rejected_file == counter.rejected
    assert [line for line, *_ in counter.rejects()] == ["2", "3"]
    assert len(list(counter.folder.glob("complaints*"))) == 2


def test_corrections_that_were_not_imported_yet_outlive_another_import_of_the_first_file(counter):
    lines = [HEADER, "OA-1,,跑绒", "OA-2,,开线"]
    counter.takes(*lines)
    corrected = counter.rejected.read_text(encoding="utf-8-sig").replace("OA-1,,", "OA-1,2026-11-22 10:00,")
    counter.rejected.write_text(corrected, encoding="utf-8-sig", newline="")
    again = counter.takes(*lines)
    assert again.rejected_file == counter.folder / "complaints.rejected-2.csv"
    assert counter.rejected.read_text(encoding="utf-8-sig") == corrected
    assert counter.takes(*numbered(3)).rejected_file is None
    assert counter.rejected.read_text(encoding="utf-8-sig") == corrected
    assert counter.imports(counter.rejected).opened == 1


def test_a_file_of_rejected_rows_that_is_imported_itself_loses_no_row(counter):
    counter.takes(HEADER, "OA-1,,跑绒", "OA-2,,开线", "OA-3,,褪色")
    corrected = counter.rejected.read_text(encoding="utf-8-sig").replace("OA-1,,", "OA-1,2026-11-22 10:00,")
    counter.rejected.write_text(corrected, encoding="utf-8-sig", newline="")
    second = counter.imports(counter.rejected)
    assert (second.opened, second.rejected) == (1, 2)
    assert second.rejected_file == counter.folder / "complaints.rejected-2.csv"
    assert counter.rejected.read_text(encoding="utf-8-sig") == corrected
    text = second.rejected_file.read_text(encoding="utf-8-sig")
    assert text.count("OA-2") == text.count("OA-3") == 1
    second.rejected_file.write_text(text.replace(",,", ",2026-11-22 10:00,"), encoding="utf-8-sig", newline="")
    third = counter.imports(second.rejected_file)
    assert (third.opened, third.rejected_file) == (2, None)


def test_no_reason_repeats_what_stands_in_a_cell(counter):
    secret = "13800000001张小红"
    header = "form_no,kind,channel,received_at,content,store,purchased_on,goods.price,store_handling.help_wanted,customer.phone"
    counter.takes(header, ",".join([f"{secret} x"] * 9 + [secret * 1000]), fixed={})
    [(_, fields, reasons)] = counter.rejects()
    assert fields.count("；") == 8
    assert "13800000001" not in reasons
    assert "张小红" not in reasons


def test_a_sentence_of_the_catalogue_that_would_name_the_value_leaves_it_out():
    error = {"type": "unknown_person", "loc": ("person",), "msg": "", "input": "", "ctx": {"person": "张小红"}}
    assert "张小红" not in reason_of(error)


def test_every_reason_is_said_in_chinese_and_in_english():
    with pytest.raises(ValidationError) as refused:
        Complaint.model_validate(
            {"form_no": "a b", "kind": "x", "content": "x" * 9000, "goods": {"price": "1.234"}, "y": 1}
        )
    for error in refused.value.errors():
        assert not reason_of(error).isascii(), error["type"]
        assert reason_of(error, "en").replace("…", "").isascii(), error["type"]


# What was done before

COLUMNS = "单号,类型,来源,门店,受理时间,投诉内容,门店答复,联系电话,回复时间,回复内容,回访时间,回访结果,满意度,结案时间"


def test_each_kind_of_case_comes_with_the_steps_it_has_and_another_is_named_with_its_column(counter):
    rows = (
        "OA-1,咨询,,,2026-11-20 10:00,跑绒吗,,,2026-11-20 11:00,不会,,,,2026-11-20 12:00",
        "OA-2,咨询,,,2026-11-20 10:00,跑绒吗,,,2026-11-20 11:00,不会,2026-11-20 11:30,满意,5,2026-11-20 12:00",
        "OA-3,表扬,,,2026-11-20 10:00,谢谢,,,2026-11-20 11:00,不客气,,,,",
        "OA-4,投诉,门店投诉,SH01,2026-11-20 10:00,跑绒,已换,13800000001,,,2026-11-20 11:00,满意,5,2026-11-20 12:00",
        "OA-5,投诉,门店投诉,SH01,2026-11-20 10:00,跑绒,已换,13800000001,2026-11-20 11:00,已致歉,,,,2026-11-20 12:00",
        "OA-6,投诉,门店投诉,SH01,2026-11-20 10:00,跑绒,已换,,,,2026-11-20 11:00,满意,5,2026-11-20 12:00",
    )
    report = counter.takes(COLUMNS, *rows, fixed={"channel": "im"}, history=True)
    assert (report.opened, counter.numbers()) == (2, ["OA-1", "OA-4"])
    other = "这个类型的工单没有这一步：咨询只有回复，意见和表扬只登记，请留空"
    rejected = counter.rejects()
    assert [row[:2] for row in rejected] == [["3", "回访时间"], ["4", "回复时间"], ["6", "回复时间"], ["7", "联系电话"]]
    assert [row[2] for row in rejected[:2]] == [other, other]
    assert "门店已自行答复的客诉，总部只回访" in rejected[2][2]
    assert "也要填写顾客的联系方式" in rejected[3][2]
    assert counter.takes(COLUMNS, *rows, fixed={"channel": "im"}, history=True).already == 2


# Broken off and taken up again


def test_after_an_interruption_what_was_taken_stays_and_the_same_file_goes_on(counter):
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    lines = [HEADER, "OA-0,,无日期", *numbered(1, 2, 3, 4)[1:]]
    with pytest.raises(ImportInterrupted, match="after 3 of 5 rows") as stopped:
        counter.takes(*lines, progress=interrupt)
    assert (stopped.value.report.opened, stopped.value.report.rejected) == (2, 1)
    assert stopped.value.report.rejected_file == counter.rejected
    assert "还有 2 行没有处理" in summary(stopped.value.report, "Asia/Shanghai")
    assert [line for line, *_ in counter.rejects()] == ["2"]
    report = counter.takes(*lines)
    assert (report.opened, report.already, report.rejected) == (2, 2, 1)
    assert counter.numbers() == ["OA-1", "OA-2", "OA-3", "OA-4"]


def test_an_import_killed_in_the_middle_goes_on_and_doubles_nothing(counter):
    counter.takes(*numbered(1))  # the ledger and the file are there
    counter.file.write_text("\n".join([*numbered(1, 2, 3, 4, 5), "OA-6,,无日期"]), encoding="utf-8")
    doomed = multiprocessing.get_context("spawn").Process(
        target=_import_and_die, args=(counter.folder, str(counter.database.url), counter.keys, counter.people.now)
    )
    doomed.start()
    doomed.join()
    assert doomed.exitcode == -signal.SIGKILL
    assert counter.numbers() == ["OA-1", "OA-2", "OA-3"]
    report = counter.imports(counter.file)
    assert (report.opened, report.already, report.rejected) == (2, 3, 1)
    assert counter.numbers() == ["OA-1", "OA-2", "OA-3", "OA-4", "OA-5"]


def _import_and_die(folder: Path, url: str, keys: KeyRing, people: Directory) -> None:
    def die(done: int, total: int) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    Counter(folder, Database(url), keys, people).imports(folder / "complaints.csv", progress=die)


def test_a_time_without_an_offset_is_the_same_fact_as_with_it(counter):
    counter.takes(HEADER, "OA-1,2026/11/22 10:00,跑绒")
    report = counter.takes(HEADER, ROW)
    assert (report.opened, report.already) == (0, 1)


@pytest.mark.sqlite
def test_a_ledger_that_is_busy_for_a_moment_is_waited_for(counter):
    writer = _holding(counter.database)
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        writer.rollback()

    report = counter.takes(HEADER, ROW, pause=pause)
    writer.close()
    assert (report.opened, waits[0]) == (1, 0.1)


def test_an_import_leaves_the_ledger_to_the_doors_between_any_two_rows(counter):
    rests: list[float] = []
    counter.takes(*numbered(1, 2), "OA-3,,无日期", pause=rests.append)
    assert len(rests) == 2
    assert min(rests) > 0


@pytest.mark.sqlite
def test_a_ledger_that_stays_locked_stops_the_import_which_can_go_on_later(counter):
    holders: list[sqlite3.Connection] = []

    def lock(done: int, total: int) -> None:
        if done == 1 and not holders:
            holders.append(_holding(counter.database))

    with pytest.raises(ImportStopped, match="after 1 of 2 rows") as stopped:
        counter.takes(*numbered(1, 2), progress=lock, pause=lambda seconds: None)
    assert stopped.value.report.opened == 1
    holders[0].close()
    assert counter.takes(*numbered(1, 2)).opened == 1


def _holding(database: Database) -> sqlite3.Connection:
    """Another process in the middle of a write; ours gives up a try at once instead of in two seconds."""
    with database.writing() as session:
        session.connection().exec_driver_sql("PRAGMA busy_timeout=1")
    other = sqlite3.connect(str(database.url.database))
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_long_file_is_never_held_in_memory(counter):
    with counter.file.open("w", encoding="utf-8") as file:
        file.write(HEADER + "\n")
        for n in range(4_000):
            file.write(f"OA-{n},无日期,{'长' * 1000}\n")
    tracemalloc.start()
    report = counter.imports(counter.file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.rejected == 4_000
    assert peak < counter.file.stat().st_size / 2
