"""`kefu members …`: a file and its rejected rows, the day's list, how complete records come, a member, the watch (handbook 4.1)."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import func, select
from typer.testing import CliRunner, Result

from models import policy
from models.tables import MemberRow
from settings import House, Settings
from starter.__main__ import app
from starter.commands import members as commands
from starter.front import Front
from tests.members import MemberSystem, as_record, record
from tests.office import Office, eventually
from tests.terminals import wide_and_chinese
from tests.test_member_doors import LABELS, NOON, table

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _a_wide_terminal_of_a_chinese_reader(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    wide_and_chinese(house, monkeypatch, commands)


async def kefu(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["members", *words])


def known(house: House) -> int:
    with house.database.reading() as session:
        return session.exec(select(func.count()).select_from(MemberRow)).one()


async def test_a_file_is_imported_and_what_is_refused_lies_beside_it(house: House, tmp_path: Path):
    rows = [record(version=None) for _ in range(3)]
    rows[1]["store"] = "SH99"
    file = table(tmp_path / "members.csv", rows, LABELS)
    taken = await kefu("import", str(file), "--as", "lin")
    assert (taken.exit_code, known(house)) == (1, 2), taken.output
    assert "共 3 行：新增 2，更新 0，早已收到 0，退回 1" in taken.output
    assert "通讯录中没有这个门店代码" in (tmp_path / "members.rejected.csv").read_text(encoding="utf-8-sig")
    again = await kefu("import", str(file), "--as", "lin")
    assert "新增 0，更新 0，早已收到 2，退回 1" in again.output
    bought = [{"receipt": "R-1", "member_no": rows[0]["member_no"], "at": NOON.isoformat(), "amount": "5"}]
    receipts = await kefu("import", str(table(tmp_path / "r.csv", bought)), "--purchases", "--as", "lin")
    assert (receipts.exit_code, "新增 1" in receipts.output) == (0, True), receipts.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--existing", "--as", "lin"), "可以登记的岗位：administrator, manager"),
        (("--as", "oa-sh01"), "门店"),
        (("--existing", "--purchases", "--as", "wang"), "只能选一个"),
        (("--as", "nobody"), "X-Kefu-Actor"),
    ],
)
async def test_a_file_is_refused_of_who_may_not_bring_it(
    house: House, tmp_path: Path, words: tuple[str, ...], said: str
):
    file = table(tmp_path / "members.csv", [record(version=None)])
    refused = await kefu("import", str(file), *words)
    assert (refused.exit_code, said in refused.output, known(house)) == (1, True, 0), refused.output


async def test_a_days_list_is_shown_audited_and_counted(office: Office):
    fuxi = MemberSystem(office)
    good, bad = await fuxi.sends(record(name="周瑜")), await fuxi.sends(record(phone=None))
    [day] = fuxi.cases("audit_list")
    shown = await kefu("list", day.number, "--as", "lin")
    assert f"{good['member']}  SH01  待审核  周瑜" in shown.output
    assert bad["member"] not in shown.output
    assert "待审核 1 行" in shown.output
    assert "没有" in (await kefu("list", day.number, "--as", "oa-gz01")).output
    incomplete = await kefu("show", bad["member"], "--as", "lin")
    assert f"{bad['member']}  SH01  资料不完整" in incomplete.output
    assert "手机" in incomplete.output
    assert (await fuxi.hand_in(day.id, "check", lines=1)).status_code == 200
    assert f"{good['member']}  SH01  已审核建档  lin" in (await kefu("show", good["member"], "--as", "lin")).output
    rates = await kefu("completeness", "--as", "wang")
    assert "SH01 上海南京东路店：新会员 2，首次完整 1，不完整 1，待审核 0，首次完整率 50.0%" in rates.output
    empty = await kefu("completeness", "--since", "2026-01-01", "--until", "2026-02-01", "--as", "wang")
    assert "这段时间没有新会员" in empty.output
    assert (await kefu("completeness", "--since", "yesterday", "--as", "wang")).exit_code == 1


@pytest.mark.parametrize("source", [None, "[http]\n"])
async def test_a_pull_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str | None):
    if source:
        (tmp_path / "source.toml").write_text(source)
        monkeypatch.setenv("KEFU_MEMBER_SOURCE", str(tmp_path / "source.toml"))
    refused = await kefu("pull", "--as", "lin")
    said = "source.toml: http.url: Field required" if source else "没有设置 KEFU_MEMBER_SOURCE"
    assert (refused.exit_code, said in refused.output) == (1, True), refused.output


@pytest.fixture
def watching(house: House, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`kefu members watch`, a process of its own, over a folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    laid = table(folder / "members.csv", [record(1), record(2)])
    os.utime(laid, (0, 0))  # nobody has written to it for long
    words = [sys.executable, "-m", "starter", "members", "watch"]
    with subprocess.Popen(words, cwd=ROOT, env={**os.environ, "KEFU_MEMBER_FOLDER": str(folder)}) as process:
        yield process, folder
        process.kill()


async def test_the_watch_takes_what_lies_in_the_folder_and_leaves_when_it_is_told(
    watching: tuple[subprocess.Popen[bytes], Path], house: House
):
    process, folder = watching
    await eventually(lambda: (folder / "done" / "members.csv").exists())
    assert known(house) == 2
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 30) == 0


# The required set


async def test_another_required_set_makes_other_records_incomplete(house: House, tmp_path: Path):
    """E47: it is a setting; an address is asked for here, and no gender."""
    shipped = policy.SHIPPED.read_text(encoding="utf-8")
    before = '"name", "gender", "birth_date"'
    assert before in shipped
    file = tmp_path / "policy.toml"
    file.write_text(shipped.replace(before, '"name", "address", "birth_date"'), encoding="utf-8")

    async def findings(settings: Settings) -> list[dict[str, Any]]:
        house = House(settings)
        front = Front(house, await house.temporal(), lambda: NOON)
        with house.database.writing() as session:
            records = [as_record(gender=None), as_record(address=None), as_record(gender=None, address=None)]
            ids = [taken.id for taken in front.audits.register.take_all(session, NOON, records)]
            found = [session.get_one(MemberRow, member).findings for member in ids]
        house.database.close()
        return found

    no_gender, no_address = {"gender": "missing"}, {"address": "missing"}
    assert await findings(house.settings) == [no_gender, {}, no_gender]
    own = house.settings.model_copy(update={"policy": file})
    assert await findings(own) == [{}, no_address, no_address]
