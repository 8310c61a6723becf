"""Erasure: what a customer left is gone for good, and what the department did stays (handbook 5.2 E44)."""

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any

import pypdfium2
import pytest
from pydantic import SecretStr
from sqlmodel import select
from typer.testing import CliRunner

from activities.keys import COLUMN
from models.tables import ArchiveRow, AttachmentRow, CaseRow, CustomerRow, EventRow, LetterRow, SubmissionRow
from settings import House
from starter.__main__ import app as kefu
from starter.mail import letters
from starter.reseal import reseal
from tests.conftest import KEYS
from tests.office import Office
from tests.test_attachments import files_of, photo, send
from tests.test_papers import squeezed

NEW = "new:" + base64.b64encode(b"n" * 32).decode()
NAME, PHONE, TEXT = "欧阳小兰", "13912345678", "毛衣起球得厉害"
LETTER = "我是欧阳小兰，电话13912345678，毛衣起球得厉害"
FACTS = {"content": TEXT, "demand": "退货", "customer": {"name": NAME, "phone": PHONE, "email": "lan@example.com"}}
WHY = {"because": "customer_request"}
PLACES: dict[Any, Callable[[Any], str]] = {
    SubmissionRow: lambda row: f"submission/{row.id}",
    ArchiveRow: lambda row: f"archive/{row.case_id}",
    LetterRow: lambda row: f"letter/{row.id}",
    AttachmentRow: lambda row: f"attachment/{row.id}",
}
"""What is sealed of a case, and the place that it is bound to."""


async def closed_case(office: Office) -> str:
    """A complaint that went its whole way, with a photo and a letter."""
    async with office.api("oa-sh01") as store:
        case = (await store.post("/api/cases/complaint", json=office.complaint(**FACTS))).json()["case"]
        await send(store, case, photo(), caption=f"{NAME}的毛衣")
    await office.walk(case)
    with office.house.database.writing() as session:
        content = {"address": "lan@example.com", "subject": "投诉", "text": LETTER}
        letter = letters.new(
            office.house.keys, "<1@x>", office.now(), came=True, what="added", case=case, content=content
        )
        session.add(letter)
    return case


def sealed_of(office: Office, case: str) -> str:
    """All that opens with the keys of what is kept of a case."""
    return "\n".join(
        office.house.keys.open(row.sealed, COLUMN, place(row)).decode()
        for table, place in PLACES.items()
        for row in office.rows(table, case)
        if row.sealed
    )


def on_disk(office: Office) -> bytes:
    """The ledger's files, sealed as they are."""
    return b"".join(file.read_bytes() for file in office.house.settings.data.glob("ledger.db*"))


async def erased(office: Office, path: str, by: str = "wang", **body: Any) -> Any:
    async with office.api(by) as door:
        return await door.post(f"/api/{path}", json=body)


async def test_e44_what_a_customer_left_is_gone_and_what_was_done_stays(office: Office):
    """E44: the customer asks for erasure: name, contacts, texts, photos and letters go, the case and its figures stay."""
    case = await closed_case(office)
    assert all(said in sealed_of(office, case) for said in (NAME, PHONE, TEXT, LETTER)), "they were there"
    assert files_of(office)
    answer = await erased(office, f"cases/{case}/erase", **WHY)
    assert answer.status_code == 200, answer.text
    [gone] = answer.json()["cases"]
    assert (gone["forms"], gone["letters"], gone["attachments"]) == (7, 1, 1)

    left = sealed_of(office, case)
    assert not any(said in left for said in (NAME, PHONE, TEXT, "lan@", "已致歉", "换一件新的", "毛衣"))
    assert files_of(office) == []
    assert {row.kind for row in office.rows(CustomerRow, case)} == {"noted"}
    async with office.api("wang") as wang:
        shown = (await wang.get(f"/api/cases/{case}")).json()
        assert shown["facts"]["customer"] == {"name": "§", "phone": "§", "email": "§"}
        assert [task["state"] for task in shown["tasks"]] == ["done"] * len(shown["tasks"])
        assert (shown["timeline"][-1]["kind"], shown["timeline"][-1]["by"]) == ("erased", "wang")
        assert (await wang.post("/api/customers/search", json={"phone": PHONE})).json()["items"] == []
        paper = (await wang.get(f"/api/cases/{case}/record.pdf")).content
        days = {
            "since": f"{office.now().date() - timedelta(days=2)}",
            "until": f"{office.now().date() + timedelta(days=2)}",
        }
        assert (await wang.get("/api/register.xlsx", params=days)).status_code == 200
        assert (await wang.get(f"/api/cases/{case}/letters")).json() == []
    said = pypdfium2.PdfDocument(paper)[0].get_textpage().get_text_range()
    assert "个人信息已删除" in said
    assert "（已删除）" in said
    assert NAME not in said
    turned = House(office.house.settings.model_copy(update={"keys": SecretStr(f"{NEW},{KEYS}")}))
    assert reseal(turned).unreadable == []
    turned.database.close()


async def test_e44_what_was_corrected_is_as_hidden_as_what_it_was(office: Office):
    """E44: the page says which texts were corrected, and neither what they were nor what they are; codes stay."""
    case = await office.open(customer={"name": NAME, "phone": PHONE}, content=TEXT)
    other = {"customer": {"phone": "13900000002"}, "content": "另一件毛衣", "severity": "major"}
    assert (await office.hand_in(case, "amend", **other)).state == "decided"
    await office.walk(case)
    await erased(office, f"cases/{case}/erase", **WHY)
    async with office.api("wang") as wang:
        shown = (await wang.get(f"/api/cases/{case}")).json()
    assert shown["facts"]["customer"] == {"name": "§", "phone": "§"}
    assert (shown["facts"]["content"], shown["facts"]["severity"]) == ("§", "major")
    assert shown["corrected"] == ["content", "customer.phone", "severity"]
    assert shown["timeline"][0]["content"]["content"] == "§"
    assert not any(said in str(shown) for said in (NAME, PHONE, TEXT, "13900000002", "另一件毛衣"))


async def test_e44_the_course_on_paper_says_which_texts_were_erased(office: Office):
    """E44: as the rest of the form does, in either language, masked or not; nowhere on it stands a bare mark."""
    case = await office.open(**FACTS)
    await office.hand_in(case, "ask_department", department="merchandise", question=TEXT)
    await office.hand_in(case, "assist", by="shang", answer=TEXT)
    await office.hand_in(case, "amend", customer={"phone": PHONE}, goods={"colour": "驼色"})
    await office.hand_in(case, "withdraw", reason=LETTER)
    await office.hand_in(case, "record", finding=TEXT)
    await erased(office, f"cases/{case}/erase", **WHY)
    said = {
        "zh": (
            "协助事项：（已删除）",
            "部门答复：（已删除）",
            "联系电话：（已删除）；颜色：（已删除）",
            "原因：（已删除）",
        ),
        "en": ("answer: (erased)", "phone: (erased); colour: (erased)", "reason: (erased)"),
    }
    for language, masked in product(said, ("false", "true")):
        async with office.api("wang", **{"Accept-Language": language}) as wang:
            paper = (await wang.get(f"/api/cases/{case}/record.pdf", params={"masked": masked})).content
        printed = "".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(paper))
        assert "§" not in printed
        for held in said[language]:
            assert squeezed(held) in squeezed(printed), held


@pytest.mark.sqlite
async def test_e44_what_was_sealed_is_overwritten_on_the_disk(office: Office):
    case = await closed_case(office)
    sealed = [row.sealed for table in PLACES for row in office.rows(table, case)]
    middles = [one[len(one) // 2 :][:24] for one in sealed]  # a long one lies in pages of its own
    assert all(middle in on_disk(office) for middle in middles)
    await erased(office, f"cases/{case}/erase", **WHY)
    assert not any(middle in on_disk(office) for middle in middles)


async def test_e44_a_number_stays_taken_and_a_second_erasure_changes_nothing(office: Office):
    case = await closed_case(office)
    facts = json.loads(sealed_of(office, case).splitlines()[0])
    await erased(office, f"cases/{case}/erase", **WHY)
    again = await erased(office, f"cases/{case}/erase", because="mistake")
    assert again.json()["cases"][0]["forms"] == 0
    assert [event.data for event in office.events(case) if event.kind == "erased"] == [WHY]
    async with office.api("oa-sh01") as store:
        answer = await store.post("/api/cases/complaint", json=facts)
    assert (answer.status_code, answer.json()["code"]) == (409, "number_taken")


async def test_e44_a_customers_open_case_is_named_and_stays_whole(office: Office):
    done = await closed_case(office)
    waits = await office.open(**FACTS)
    look = (await erased(office, "customers/erase", phone=PHONE, preview=True, **WHY)).json()
    assert [(one["case"], one["state"], one["forms"]) for one in look["cases"]] == [
        (done, "archived", 7),
        (waits, "open", 0),
    ]
    assert NAME in sealed_of(office, done), "it was only looked at"
    gone = (await erased(office, "customers/erase", phone="139-1234-5678", **WHY)).json()
    assert [one["erased_at"] is None for one in gone["cases"]] == [False, True]
    assert gone["hints"] == ["未结案的工单没有删除：请先结案（或撤诉），再删除一次。"]
    assert (NAME in sealed_of(office, done), NAME in sealed_of(office, waits)) == (False, True)
    refused = await erased(office, f"cases/{waits}/erase", **WHY)
    assert (refused.status_code, refused.json()["code"]) == (409, "erase_open")


@pytest.mark.parametrize("by", ["lin", "oa-sh01", "sun", "admin"])
async def test_only_the_manager_erases(closed_office: Office, by: str):
    case = closed_office.commit_opening().case
    for path, body in ((f"cases/{case}/erase", {}), ("customers/erase", {"phone": PHONE})):
        answer = await erased(closed_office, path, by, **body, **WHY)
        assert (answer.status_code, answer.json()["code"]) == (403, "may_not_erase")


async def test_a_reason_is_needed_and_one_number(closed_office: Office):
    case = closed_office.commit_opening().case
    without = await erased(closed_office, f"cases/{case}/erase")
    two = await erased(closed_office, "customers/erase", phone=PHONE, card="V123456", **WHY)
    assert [(answer.status_code, answer.json()["errors"][0]["code"]) for answer in (without, two)] == [
        (422, "missing"),
        (422, "exactly_one"),
    ]
    nobody = await erased(closed_office, "customers/erase", phone="13800009999", **WHY)
    assert nobody.json()["cases"] == []
    assert nobody.json()["hints"][0].startswith("没有可删除的")


async def test_an_erasure_broken_off_before_its_files_are_gone_leaves_them_to_the_sweep(
    office: Office, monkeypatch: pytest.MonkeyPatch
):
    case = await closed_case(office)
    with monkeypatch.context() as killed:
        killed.setattr(office.front.attachments, "drop", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await erased(office, f"cases/{case}/erase", **WHY)
    assert NAME not in sealed_of(office, case)
    monkeypatch.setattr("starter.attachments.vault.GRACE", -1.0)
    office.front.attachments.sweep()
    assert files_of(office) == []


async def test_by_the_command_line_it_asks_first(office: Office):
    case = await closed_case(office)
    settings = office.house.settings
    run = ["erase", case, "--because", "customer_request", "--as", "wang", "--data", str(settings.data)]
    environment = {"KEFU_KEYS": KEYS}
    asked = await asyncio.to_thread(CliRunner().invoke, kefu, run, input="n\n", env=environment)
    assert "表单 7" in asked.output
    assert asked.exit_code == 1
    assert NAME in sealed_of(office, case)
    done = await asyncio.to_thread(CliRunner().invoke, kefu, run, input="y\n", env=environment)
    assert done.exit_code == 0, done.output
    assert NAME not in sealed_of(office, case)
    with office.house.database.reading() as session:
        assert (
            session.exec(select(EventRow.by).where(EventRow.case_id == case, EventRow.key == "erased")).one() == "wang"
        )
        assert session.get_one(CaseRow, case).state == "archived"
