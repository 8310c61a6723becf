"""A chain whose member system sends nothing and is only asked: its lists, and the purchases that end a notice (handbook 4.2)."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import func, select
from typer.testing import CliRunner, Result

from models.tables import MemberRow
from starter.__main__ import app
from starter.members.pull import FIRST_AT_MOST, Pulled, WholeRegister, pull_news
from starter.members.sources import source_of
from tests.cards import at, cases, delivered, listed, month_opens, notice_of, on_list, until, waived
from tests.conftest import KEYS
from tests.office import HOUR, Office
from tests.test_member_doors import SQL

A_MINUTE = timedelta(minutes=1)


class Chain:
    """The chain's database, which only reads are asked of."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("CREATE TABLE vip (no, v, shop, name, sex, born, mobile, card, since, thru, ok, changed)")
        connection.execute("CREATE TABLE sales (id, no, at, amount, refund_of)")

    def joins(self, number: str, valid_through: str, shop: str = "SH01") -> None:
        facts = (number, 1, shop, "周", "男", "1980-01-01", f"1390000{number[1:]:0>4}", f"C-00{number}", "2026-01-01")
        self._connection.execute(
            "INSERT INTO vip VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'Y', '2026-11-20')", (*facts, valid_through)
        )
        self._connection.commit()

    def sells(self, number: str, receipt: str, when: datetime, amount: int, refund_of: str | None = None) -> None:
        sold = (receipt, number, when.astimezone(UTC).isoformat(" "), amount, refund_of)
        self._connection.execute("INSERT INTO sales VALUES (?, ?, ?, ?, ?)", sold)
        self._connection.commit()


@pytest.fixture
def chain(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    file = tmp_path / "source.toml"
    file.write_text(SQL.format(database=tmp_path / "chain.db"))
    monkeypatch.setattr(office.house.settings, "member_source", file)
    for name, value in (("MEMBER_SOURCE", file), ("KEYS", KEYS), ("DATA", office.house.settings.data)):
        monkeypatch.setenv(f"KEFU_{name}", str(value))
    with closing(sqlite3.connect(tmp_path / "chain.db", check_same_thread=False)) as connection:
        yield Chain(connection)


async def asked(office: Office) -> tuple[Pulled, Pulled]:
    """As the watch asks every minute."""
    pulled = await asyncio.to_thread(pull_news, office.front, source_of(office.house.settings.member_source))
    await delivered(office)
    return pulled


async def member_of(office: Office, number: str) -> str:
    async with office.api("wang") as door:
        [found] = (await door.post("/api/members/search", json={"member_no": number})).json()["items"]
    return found["member"]


async def test_a_list_is_reckoned_by_what_was_asked_for_and_a_purchase_ends_a_notice_by_itself(
    office: Office, chain: Chain
):
    for number in ("V1", "V2", "V3"):
        chain.joins(number, "2027-01-10")
    chain.sells("V2", "S1", at("2026-03-01 12:00"), 1000)
    await asked(office)
    buys, rich, poor = [await member_of(office, number) for number in ("V1", "V2", "V3")]
    await until(office, at("2026-12-01 00:00"))
    await month_opens(office)
    assert await asked(office) == (Pulled(), Pulled(new=1)), "a list waits for the receipts of its month, too"
    await office.pass_time(HOUR)
    await listed(office, "2027-01")
    assert (on_list(office, "2027-01"), waived(office, "2027-01")) == ({buys, poor}, {rich})

    chain.sells("V1", "S2", office.now(), 1000)
    await office.pass_time(A_MINUTE)
    await asked(office)
    ended = notice_of(office, buys, "2027-01")
    assert (ended.state, ended.closed_because) == ("archived", "waiver_reached")
    assert notice_of(office, poor, "2027-01").state == "open"

    chain.sells("V2", "S3", office.now(), 1, refund_of="S1")
    await office.pass_time(A_MINUTE)
    assert await asked(office) == (Pulled(), Pulled()), "each member is a question: not every minute"
    await office.pass_time(HOUR)
    assert await asked(office) == (Pulled(), Pulled(new=1, known=2))
    assert notice_of(office, rich, "2027-01").state == "open", "an old order was paid back today"


async def test_nobody_is_asked_about_whose_card_ends_later(office: Office, chain: Chain):
    await until(office, at("2026-11-30 12:00"))
    for number, valid_through in (("V1", "2027-01-01"), ("V2", "2026-11-29"), ("V3", "2026-12-31")):
        chain.joins(number, valid_through)
        chain.sells(number, f"S-{number}", at("2026-06-01 12:00"), 10)
    assert await asked(office) == (Pulled(new=3), Pulled(new=1))
    assert list(cases(office, "audit_list")) == ["east-2026-11-30"]
    await until(office, at("2026-12-01 00:00"))
    assert await asked(office) == (Pulled(), Pulled(new=1, known=1)), "the month is new, and so are those it lists"


async def test_what_cannot_be_taken_is_one_word_to_the_administrator_however_often_it_is_asked_for(
    office: Office, chain: Chain
):
    chain.joins("V1", "2026-12-31")
    chain.sells("V1", "S1", at("2026-06-01 12:00"), -5)
    await asked(office)
    for refused in ([1], [1, 2]):
        for _ in range(2):
            await office.pass_time(HOUR + A_MINUTE)
            assert (await asked(office))[1].refused == refused[-1]
        async with office.api("admin") as door:
            told = [one["text"] for one in (await door.get("/api/notices")).json()["items"]]
        assert [text[:18] for text in told] == [f"会员系统：拉取的消费小票中有 {n} 条" for n in reversed(refused)]
        chain.sells("V1", "S2", at("2026-06-02 12:00"), -7)


async def kefu(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["members", *words])


def members(office: Office) -> int:
    with office.house.database.reading() as session:
        return session.exec(select(func.count()).select_from(MemberRow)).one()


@pytest.mark.parametrize(("word", "lists"), [("--existing", 0), ("--new", 1)])
async def test_a_first_pull_of_the_whole_register_waits_for_the_word_what_they_are(
    office: Office, chain: Chain, word: str, lists: int
):
    for nth in range(1, FIRST_AT_MOST + 2):
        chain.joins(f"V{nth}", "2027-12-31")
    for _ in range(2):
        with pytest.raises(WholeRegister):
            await asked(office)
    async with office.api("admin") as door:
        [told] = (await door.get("/api/notices")).json()["items"]
    assert "第一次拉取有 200 位以上没见过的会员" in told["text"]
    for words, said in (
        (("--as", "wang"), "kefu members pull --existing"),
        (("--existing", "--as", "lin"), "您的岗位不能"),
        (("--existing", "--new", "--as", "wang"), "只能选一个"),
    ):
        refused = await kefu("pull", *words)
        assert (refused.exit_code, said in refused.output) == (1, True), refused.output
    assert members(office) == 0
    taken = await kefu("pull", word, "--as", "wang")
    assert (taken.exit_code, "新增 201" in taken.output) == (0, True), taken.output
    assert members(office) == FIRST_AT_MOST + 1
    assert (len(cases(office, "audit_list")), cases(office, "audit")) == (lists, {})
    assert await asked(office) == (Pulled(), Pulled())
