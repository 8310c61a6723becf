"""The member system's doors (handbook 4.1): signed messages, files, a folder, and questions to a database and to a service of the chain."""

import csv
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pydantic import SecretStr
from sqlmodel import func, select
from xlsxwriter import Workbook

from activities.members import LocalMembers
from models.audit import MEMBER_SYSTEM
from models.tables import AuditLineRow, CaseRow, FinderRow, MemberFileRow, MemberRow, MessageRow, NoticeRow, PurchaseRow
from models.words import Language
from settings import House
from starter.front import Front
from starter.members import interface
from starter.members.files import TABLES, FileReport, Kind, take_file
from starter.members.folder import take_folder
from starter.members.pull import Pulled, pull_expiring, pull_news, pull_purchases
from starter.members.shelf import MemberViews
from starter.members.sources import BadSource, SourceFailed, source_of
from starter.reseal import reseal
from starter.spreadsheets import templates
from starter.spreadsheets.imports import ImportInterrupted
from starter.spreadsheets.sheets import CannotImport
from tests.conftest import KEYS
from tests.members import MemberSystem, as_record, record, signed
from tests.office import Office
from tests.test_keys import NEW

NOON = datetime(2026, 11, 23, 4, tzinfo=UTC)
OTHER_SECRET = "whsec_YW5vdGhlciBzZWNyZXQgYWx0b2dldGhlciE="


@pytest.fixture
async def front(house: House) -> Front:
    """The doors of a house whose engine is away: everything is taken all the same."""
    return Front(house, await house.temporal(), lambda: NOON)


@pytest.fixture
async def fuxi(house: House) -> AsyncIterator[MemberSystem]:
    async with Office(await house.temporal(), house) as office:
        office.clock_stands_at(NOON)
        yield MemberSystem(office)


def count(house: House, table: Any, *where: Any) -> int:
    with house.database.reading() as session:
        return session.exec(select(func.count()).select_from(table).where(*where)).one()


# Signed messages


async def test_a_message_is_taken_only_with_its_signature_and_within_five_minutes(fuxi: MemberSystem, house: House):
    message = {"type": "member", "data": record()}
    now = datetime.now(UTC)
    whole = signed(message, "msg-1")
    bad: list[dict[str, Any]] = [
        signed(message, "msg-1", secret=OTHER_SECRET),
        signed(message, "msg-1", at=now - timedelta(minutes=6)),
        signed(message, "msg-1", at=now + timedelta(minutes=6)),
        whole | {"content": whole["content"].replace("李".encode(), "王".encode())},
        whole | {"headers": whole["headers"] | {"webhook-id": "msg-2"}},
        whole | {"headers": {}},
        whole | {"headers": whole["headers"] | {"webhook-signature": "v1,garbage"}},
    ]
    async with fuxi.door() as door:
        for sent in bad:
            answer = await door.post("/api/members/webhook", **sent)
            assert (answer.status_code, answer.json()["code"]) == (401, "bad_signature")
        assert count(house, MemberRow) == 0
        first, again = [(await door.post("/api/members/webhook", **whole)).json() for _ in range(2)]
    assert (first["taken"], again["taken"]) == ("new", "known")
    assert (count(house, MemberRow), count(house, MessageRow)) == (1, 1)


async def test_without_a_secret_there_is_no_webhook(house: House, front: Front):
    house.settings.member_secret = None
    async with Office(await house.temporal(), house) as office, office.api(actor=None) as door:
        assert (await door.post("/api/members/webhook", content=b"{}")).status_code == 404


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        ("gift", {}, "type"),
        ("member", record() | {"store": "SH99"}, "store"),
        ("member", {"member_no": "HY1", "version": 1}, "data.store"),
        ("member", record(version=None), "data.version"),
        ("member", record(member_no="--"), "member_no"),
        ("member", record() | {"shoe_size": "42"}, "data"),
        ("purchase", {"receipt": "R1", "member_no": "HY999", "at": NOON.isoformat(), "amount": "1.00"}, "member_no"),
        ("purchase", {"receipt": "R1", "member_no": "HY999", "at": NOON.isoformat(), "amount": "-1"}, "data.amount"),
    ],
)
async def test_what_cannot_be_taken_is_named_and_nothing_of_it_is_kept(
    fuxi: MemberSystem, house: House, kind: str, data: dict[str, Any], field: str
):
    answer = await fuxi.posts(kind, data, id="msg-3")
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert "李晓雨" not in answer.text
    assert (count(house, MemberRow), count(house, MessageRow), count(house, CaseRow)) == (0, 0, 0)


async def test_a_receipt_is_taken_once_and_a_refund_counts_against_it(fuxi: MemberSystem, house: House):
    member = (await fuxi.posts("member", record(1))).json()["member"]
    sold = {"receipt": "R-1", "member_no": "hy 0000-0001", "store": "SH01", "at": NOON.isoformat(), "amount": "399.90"}
    heard: list[str] = []
    fuxi.office.front.receipts.followers.append(lambda _session, _now, members: heard.extend(members))
    assert (await fuxi.sells(sold))["taken"] == "new"
    assert (await fuxi.sells(sold))["taken"] == "known"
    assert (await fuxi.posts("purchase", sold | {"amount": "1"})).json()["code"] == "receipt_taken"
    back = sold | {"receipt": "R-2", "refund_of": "R-1", "amount": "99.90", "at": "2027-01-05T10:00:00+08:00"}
    await fuxi.sells(back)
    local = LocalMembers(house.database)
    [order] = local.purchases(member, NOON, NOON + timedelta(days=1))
    assert (order.amount, order.counts) == (Decimal("300.00"), True)
    await fuxi.sells(back | {"receipt": "R-3", "amount": "300.00"})
    [order] = local.purchases(member, NOON, NOON + timedelta(days=1))
    assert (order.amount, order.counts) == (Decimal(0), False)
    assert local.purchases(member, NOON + timedelta(seconds=1), NOON + timedelta(days=90)) == []
    assert heard == [member, member, member]


async def test_who_may_see_a_member_and_how_much_of_him(fuxi: MemberSystem):
    taken = (await fuxi.posts("member", record(5, phone="13800000005"))).json()
    path = f"/api/members/{taken['member']}"
    for actor, status, phone in (
        ("lin", 200, "13800000005"),
        ("oa-sh01", 200, "13800000005"),
        ("qian", 200, "138****0005"),
        ("oa-gz01", 404, None),
        ("admin", 403, None),
        ("shang", 403, None),
        (None, 401, None),
    ):
        async with fuxi.door(actor) as door:
            answer = await door.get(path)
        assert answer.status_code == status, actor
        if phone:
            assert answer.json()["data"]["phone"] == phone
    async with fuxi.door("lin") as door:
        found = (await door.post("/api/members/search", json={"phone": "+86 138 0000 0005"})).json()
        nobody = (await door.post("/api/members/search", json={"card": "0000000000"})).json()
        both = await door.post("/api/members/search", json={"card": "1", "phone": "1"})
    assert [one["member"] for one in found["items"]] == [taken["member"]]
    assert nobody["hint"]
    assert both.status_code == 422
    async with fuxi.door("oa-gz01") as door:
        assert (await door.post("/api/members/search", json={"phone": "13800000005"})).json()["items"] == []


@pytest.mark.sqlite
async def test_the_ledger_and_the_log_hold_no_name_phone_card_or_member_number(
    fuxi: MemberSystem, house: House, capfd: pytest.CaptureFixture[str]
):
    await fuxi.posts("member", record(77, phone="12", name="欧阳静", address="静安区某弄"))
    secrets = ("欧阳静", "静安区", "HY00000077", "6600000077", "1990-05-17")
    files = [file.read_bytes() for file in house.settings.data.glob("ledger.db*")]
    said = "".join(capfd.readouterr())
    assert [word for word in secrets if any(word.encode() in file for file in files) or word in said] == []
    assert any(b"members" in file for file in files)


async def test_members_are_turned_over_to_a_new_key_and_found_by_it(fuxi: MemberSystem, house: House):
    first = (await fuxi.posts("member", record(9, phone="13800000009"))).json()
    turned = House(house.settings.model_copy(update={"keys": SecretStr(f"{NEW},{KEYS}")}))
    turned.__dict__["database"] = house.database
    report = reseal(turned)
    need = report.others["test"]
    assert need is not None
    assert (need.members, report.unreadable) == (0, [])
    alone = House(house.settings.model_copy(update={"keys": SecretStr(NEW)}))
    alone.__dict__["database"] = house.database
    front = Front(alone, await alone.temporal(), lambda: NOON)
    with alone.database.writing() as session:
        [again] = front.audits.register.take_all(session, NOON, [as_record(n=9, phone="13800000009")])
    assert again == ("known", first["member"], first["case"])
    assert count(house, FinderRow, FinderRow.kind == "phone") == 1


# Files


def take(front: Front, file: Path, kind: Kind = "members", by: str = "wang", **given: Any) -> FileReport:
    return take_file(
        front.house,
        front.audits,
        front.receipts,
        file,
        kind=kind,
        by=front.actor(by),
        write=front.write_here,
        pause=lambda _: None,
        **given,
    )


def table(file: Path, rows: list[dict[str, Any]], labels: dict[str, str] | None = None) -> Path:
    fields = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([(labels or {}).get(name, name) for name in fields])
        writer.writerows([[row.get(name, "") for name in fields] for row in rows])
    return file


LABELS = {
    "member_no": "会员号",
    "store": "开卡门店",
    "phone": "手机",
    "birth_date": "生日",
    "valid_through": "有效期至",
}


async def test_a_file_is_taken_row_by_row_and_what_is_refused_is_said(front: Front, house: House, tmp_path: Path):
    rows = [record(version=None) for _ in range(230)]
    rows[3]["store"] = "SH99"
    rows[120]["phone"] = "1.38E+10"
    rows[7].pop("phone")
    file = table(tmp_path / "members.csv", rows, LABELS)
    report = take(front, file, by="lin")
    assert (report.total, report.opened, report.rejected) == (230, 228, 2)
    assert report.rejected_file
    refused = report.rejected_file.read_text(encoding="utf-8-sig")
    assert "开卡门店" in refused
    assert "通讯录中没有这个门店代码" in refused
    assert count(house, CaseRow, CaseRow.process == "audit_list") == 1
    assert count(house, CaseRow, CaseRow.process == "audit") == 1
    assert count(house, AuditLineRow) == 227
    again = take(front, file, by="lin")
    assert (again.opened, again.already, again.rejected) == (0, 228, 2)
    with pytest.raises(CannotImport, match="store"):
        take(front, file, by="oa-sh01")


async def test_a_file_that_was_broken_off_goes_on_where_it_stopped(front: Front, house: House, tmp_path: Path):
    file = table(tmp_path / "members.csv", [record(version=None) for _ in range(250)])

    def enough(done: int, _total: int) -> None:
        if done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(ImportInterrupted) as broken:
        take(front, file, progress=enough)
    assert broken.value.report.done == count(house, MemberRow) == 100
    report = take(front, file)
    assert (report.opened, report.already) == (150, 100)


async def test_members_before_go_live_are_filed_without_audit_case_or_notice(
    front: Front, house: House, tmp_path: Path
):
    rows = [record(phone=None, version=None, valid_through="2026-12-31") for _ in range(20)]
    file = table(tmp_path / "all.csv", rows)
    with pytest.raises(CannotImport, match="manager"):
        take(front, file, kind="existing", by="lin")
    take(front, file, kind="existing")
    assert [count(house, kept) for kept in (MemberRow, CaseRow, AuditLineRow, NoticeRow)] == [20, 0, 0, 0]
    assert len(list(LocalMembers(house.database).expiring("2026-12"))) == 20
    changed = table(tmp_path / "later.csv", [row | {"valid_through": "2027-12-31"} for row in rows])
    assert take(front, changed).changed == 20
    assert [count(house, kept) for kept in (CaseRow, NoticeRow)] == [0, 0]
    assert list(LocalMembers(house.database).expiring("2026-12")) == []


async def test_receipts_come_from_a_workbook_too(front: Front, tmp_path: Path):
    take(front, table(tmp_path / "m.csv", [record(1), record(2)]))
    file = tmp_path / "receipts.xlsx"
    with Workbook(file) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["小票号", "会员号", "门店", "消费时间", "实付金额"])
        sheet.write_row(1, 0, ["R-1", "HY00000001", "SH01", "2026-11-01 10:00", 1280.5])
        sheet.write_row(2, 0, ["R-2", "HY00000009", "SH01", "2026-11-01 10:00", 5])
    report = take(front, file, kind="purchases")
    assert (report.opened, report.rejected, report.zone_assumed) == (1, 1, 2)


def filled_in_as_it_explains(file: Path, name: str, language: Language) -> dict[str, str]:
    """An empty workbook with the examples of its own guide in its first row."""
    templates.write(TABLES[name], file, language)
    book = openpyxl.load_workbook(file)
    sheet, guide = book.worksheets
    examples = {row[0].value: row[4].value for row in guide.iter_rows(min_row=3)}
    assert list(examples) == [cell.value for cell in sheet[1]]
    for column, example in enumerate(examples.values(), start=1):
        sheet.cell(2, column).value = example
    book.save(file)
    return examples


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_the_empty_workbooks_of_members_and_receipts_are_taken_back_as_their_guides_fill_them_in(
    front: Front, house: House, tmp_path: Path, language: Language
):
    examples = filled_in_as_it_explains(tmp_path / "member.xlsx", "member", language)
    assert all(examples.values())
    report = take(front, tmp_path / "member.xlsx", by="lin")
    assert (report.opened, report.unused_columns, report.remarks) == (1, [], []), report.rejected_file
    assert count(house, AuditLineRow) == 1, "as it is explained it lacks nothing"
    with house.database.reading() as session:
        [member] = session.exec(select(MemberRow.id)).all()
    shown = await front.look(front.actor("wang"), lambda views: MemberViews(views).member(member))
    assert shown.data["phone"] == "13800000001"
    assert set(shown.data["declined"]) == {"gender", "birth_date"}
    filled_in_as_it_explains(tmp_path / "purchase.xlsx", "purchase", language)
    book = openpyxl.load_workbook(tmp_path / "purchase.xlsx")
    book.worksheets[0].cell(2, 6).value = None  # paid, not paid back
    book.save(tmp_path / "purchase.xlsx")
    bought = take(front, tmp_path / "purchase.xlsx", kind="purchases", by="lin")
    assert (bought.opened, bought.unused_columns, bought.remarks) == (1, [], []), bought.rejected_file


async def inbox(front: Front, person: str = "admin") -> list[str]:
    """What somebody was told, the latest first."""
    notices = await front.look(front.actor(person), lambda views: views.notices())
    return [notice.text for notice in notices.items]


async def test_a_folder_takes_each_file_once_and_puts_it_away(front: Front, house: House, tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    table(folder / "a-members.csv", [record(1), record(2) | {"store": "SH99"}])
    receipt = {"receipt": "R-1", "member_no": "HY00000001", "at": NOON.isoformat(), "amount": "5"}
    table(folder / "b-receipts.csv", [receipt])
    (folder / "c-letter.csv").write_text("hello\n")
    (folder / "d-notes.txt").write_text("not for us")
    assert take_folder(front, folder, still=60) == [], "somebody may still be writing"
    reports = take_folder(front, folder, still=0)
    assert [(report.opened, report.rejected) for report in reports] == [(1, 1), (1, 0)]
    assert take_folder(front, folder, still=0) == []
    left = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    done = {"done/a-members.csv", "done/a-members.rejected.csv", "done/b-receipts.csv"}
    assert left == done | {"failed/c-letter.csv", "failed/c-letter.csv.txt", "d-notes.txt"}
    assert await inbox(front) == [
        "会员文件夹：一个文件不能收取，已移到 failed，原因在其旁的 .txt 文件中。",
        "会员文件夹：一个文件有 1 行（共 2 行）不能收下。退回的行和原因在 done 中，改好后重新放入文件夹。",
    ]
    (folder / "done" / "a-members.csv").rename(folder / "once-more.csv")
    (folder / "failed" / "c-letter.csv").rename(folder / "c-letter.csv")
    take_folder(front, folder, still=0)
    assert len(await inbox(front)) == 2, "the same file again is told once"
    assert (count(house, MemberRow), count(house, PurchaseRow)) == (1, 1)
    assert count(house, MemberFileRow, MemberFileRow.by == MEMBER_SYSTEM.id) == 2


async def test_a_file_is_taken_whatever_its_suffix_is_like_and_its_rejected_rows_once_they_are_corrected(
    front: Front, house: House, tmp_path: Path
):
    folder = tmp_path / "in"
    folder.mkdir()
    table(folder / "NEW.CSV", [record(1), record(2) | {"store": "SH99"}])
    [report] = take_folder(front, folder, still=0)
    assert (report.opened, report.rejected) == (1, 1)
    rejected = folder / "done" / "NEW.rejected.csv"
    corrected = folder / rejected.name
    corrected.write_text(rejected.read_text(encoding="utf-8-sig").replace("SH99", "SH02"), encoding="utf-8")
    [report] = take_folder(front, folder, still=0)
    assert (report.opened, report.rejected) == (1, 0)
    left = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert left == {"done/NEW.CSV", "done/NEW.rejected.csv", "done/NEW.corrected.csv"}
    assert count(house, MemberRow) == 2


# The member system, asked


SQL = """
[sql]
url = "sqlite:///{database}"
changed = "SELECT {member} FROM vip WHERE changed >= :since ORDER BY changed"
expiring = "SELECT {member} FROM vip WHERE thru BETWEEN :first AND :last"
purchases = "SELECT id AS receipt, no AS member_no, at, amount, refund_of FROM sales WHERE no = :member_no AND at < :until"
""".replace(
    "{member}",
    "no AS member_no, v AS version, shop AS store, name, sex AS gender, born AS birth_date, mobile AS phone,"
    " card AS card_no, since AS valid_from, thru AS valid_through, ok AS consent",
)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The chain's own database."""
    connection = sqlite3.connect(tmp_path / "chain.db", check_same_thread=False)
    connection.execute("CREATE TABLE vip (no, v, shop, name, sex, born, mobile, card, since, thru, ok, changed)")
    connection.execute("CREATE TABLE sales (id, no, at, amount, refund_of)")
    for n in range(1, 4):
        row = (f"V{n}", 1, "SH01" if n < 3 else "SH99", "周", "男", "1980-01-01", f"1390000000{n}", f"C-000{n}")
        days = ("2026-01-01", f"2026-12-{28 + n}", "Y", f"2026-11-2{n}")
        connection.execute("INSERT INTO vip VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row + days)
    for receipt, at, amount, of in (
        ("S1", "2026-11-01T10:00:00+08:00", 600, None),
        ("S2", "2026-11-02T10:00:00+08:00", 100, "S1"),
    ):
        connection.execute("INSERT INTO sales VALUES (?, 'V1', ?, ?, ?)", (receipt, at, amount, of))
    connection.commit()
    yield connection
    connection.close()


@pytest.fixture
def service(chain: sqlite3.Connection) -> Iterator[str]:
    """The chain's own service, as docs/member-system.json has it, over the same data; in parts of one record. Twice it does
    not say what was bought."""
    busy = iter(["/purchases"] * 2)

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = interface.document()["paths"].get(self.path)
            if known is None or self.headers["Authorization"] != "Bearer open sesame":
                self.send_error(403)
                return
            if self.path == "/purchases" and next(busy, None):
                self.send_error(503)
                return
            schema = known["post"]["requestBody"]["content"]["application/json"]["schema"]
            assert set(schema["required"]) <= set(asked) <= set(schema["properties"])
            self._answer([json.loads(row) for row in self._rows(asked)], int(asked.get("cursor", 0)))

        def _rows(self, asked: dict[str, Any]) -> list[str]:
            member = "json_object('member_no', no, 'version', v, 'store', shop, 'name', name, 'gender', sex, 'birth_date', born, 'phone', mobile, 'card_no', card, 'valid_from', since, 'valid_through', thru, 'consent', ok)"
            questions = {
                "/members/changed": f"SELECT {member} FROM vip WHERE changed >= :since ORDER BY changed",  # noqa: S608 — ours
                "/members/expiring": f"SELECT {member} FROM vip WHERE thru BETWEEN :first AND :last",  # noqa: S608
                "/purchases": "SELECT json_object('receipt', id, 'member_no', no, 'at', at, 'amount', amount, 'refund_of', refund_of) FROM sales WHERE no = :member_no",
            }
            return [row for (row,) in chain.execute(questions[self.path], asked)]

        def _answer(self, rows: list[Any], at: int) -> None:
            more = {"cursor": str(at + 1)} if at + 1 < len(rows) else {}
            body = json.dumps({"items": rows[at : at + 1], **more}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("kind", ["sql", "http"])
async def test_the_member_system_is_asked_for_changes_expiries_and_purchases(
    front: Front, house: House, chain: sqlite3.Connection, service: str, tmp_path: Path, kind: str
):
    """One refused for its store, and it holds up no other; asked again nothing is doubled; nothing is ever written there."""
    file = tmp_path / "source.toml"
    http = f'[http]\nurl = "{service}"\ntoken = "open sesame"\n'
    file.write_text(SQL.format(database=tmp_path / "chain.db") if kind == "sql" else http)
    source = source_of(file)
    before = list(chain.iterdump())
    assert pull_news(front, source) == (Pulled(new=2, refused=1), Pulled(new=2))
    assert pull_news(front, source) == (Pulled(), Pulled())
    [told] = await inbox(front)
    assert told.startswith("会员系统：拉取的会员中有 1 条不能收下")
    chain.execute("UPDATE vip SET v = 2, name = '周周', changed = '2026-11-24' WHERE no = 'V1'")
    chain.commit()
    assert pull_news(front, source) == (Pulled(changed=1), Pulled())
    assert [member.valid_through for member in source.expiring("2026-12")] == [
        date(2026, 12, 28 + n) for n in (1, 2, 3)
    ]
    assert pull_expiring(front, source, "2026-12").known == 2
    [order] = source.purchases("V1", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    assert (order.amount, order.paid) == (Decimal(500), Decimal(600))
    [mine] = [member for member in LocalMembers(house.database).changed(NOON) if member.version == 2]
    period = (datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    assert pull_purchases(front, source, [mine.id], *period) == Pulled(known=2)
    assert [one.amount for one in LocalMembers(house.database).purchases(mine.id, *period)] == [Decimal(500)]
    chain.execute("UPDATE vip SET v = 1, name = '周', changed = '2026-11-21' WHERE no = 'V1'")
    assert list(chain.iterdump()) == before


async def test_a_member_system_that_does_not_answer_or_is_not_described_is_said_without_its_password(
    front: Front, tmp_path: Path
):
    file = tmp_path / "source.toml"
    file.write_text('[http]\nurl = "http://127.0.0.1:1"\n')
    with pytest.raises(SourceFailed, match="ConnectError"):
        pull_news(front, source_of(file))
    file.write_text(SQL.format(database=tmp_path / "none.db").replace("FROM vip", "FROM nobody"))
    with pytest.raises(SourceFailed, match="OperationalError"):
        pull_news(front, source_of(file))
    for bad in ('[sql]\nurl = "nonsense://me:secret@here"\n', "[http]\n", "", "[sql"):
        file.write_text(bad)
        with pytest.raises(BadSource, match=r"source\.toml|sql\.url") as error:
            source_of(file)
        assert "secret" not in str(error.value)


@pytest.mark.sqlite
async def test_what_only_reads_cannot_write_there(tmp_path: Path, chain: sqlite3.Connection):
    file = tmp_path / "source.toml"
    file.write_text(SQL.format(database=tmp_path / "chain.db").replace("SELECT no AS", "DELETE FROM vip; -- :since", 1))
    with pytest.raises(SourceFailed):
        list(source_of(file).changed(NOON))
    assert chain.execute("SELECT count(*) FROM vip").fetchone() == (3,)


def test_the_description_of_the_interface_is_that_of_the_code():
    written = Path(__file__).parents[1] / "docs" / "member-system.json"
    assert written.read_text(encoding="utf-8") == interface.text(), "write it anew: starter.members.interface.text()"
