"""A customer is found by a number he left, exactly, however it is typed; and by nothing that is kept in the clear."""

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport, AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlmodel import col, delete, select

from activities.keys import KeyRing
from models.complaint import COMPLAINT
from models.complaint.facts import Complaint, Customer
from models.complaint.past import ComplaintPast
from models.forms import Form
from models.tables import CaseRow, CustomerRow, SearchRow
from settings import House
from starter import api, customers
from starter.__main__ import app as kefu
from starter.front import Front
from starter.numbers import Kind, normal, numbers_of
from starter.refusals import Invalid
from tests.conftest import KEYS
from tests.office import DAY, Office
from tests.test_postgres import DATABASES, door_of, house_on

ON_SQLITE = pytest.mark.parametrize("house", ["sqlite"], indirect=True)
FRESH = "new:" + base64.b64encode(b"n" * 32).decode()
CUSTOMER = {"name": "张小红", "phone": "138-0000-0001", "email": "Xiao.Hong@Example.com", "card_no": "ＶＩＰ 0012-345"}
GOODS = {"receipt_no": "2026-1122-0001"}


@pytest.fixture(params=DATABASES)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A house with nobody in it, on each database."""
    yield from house_on(request.param, request, tmp_path)


async def at_the_door(house: House, actor: str, **headers: str) -> AsyncClient:
    """The HTTP door without an engine: what is only looked up needs none."""
    if "door" not in house.__dict__:  # built once: its routes take longer than all that is asked of them
        house.__dict__["door"] = api.build(Front(house, await house.temporal()))
    transport = ASGITransport(house.__dict__["door"], raise_app_exceptions=False)
    return AsyncClient(transport=transport, base_url="http://testserver", headers={"X-Kefu-Actor": actor} | headers)


def ask(house: House, actor: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """One request by somebody; the answer's status and document."""

    async def asked() -> Any:
        async with await at_the_door(house, actor, **headers) as door:
            answer = await door.request(method, f"/api{path}", json=body)
            return answer.status_code, answer.json()

    return asyncio.run(asked())


def found(house: House, actor: str = "lin", **number: Any) -> list[str]:
    status, page = ask(house, actor, "POST", "/customers/search", number)
    assert status == 200, page
    return [one["number"] for one in page["items"]]


def opened(house: House, number: str, store: str = "SH01", past: ComplaintPast | None = None, **facts: Any) -> str:
    wang = house.people.person("wang")
    assert wang
    now = datetime.now(UTC)
    form = {"form_no": number, "kind": "complaint", "channel": "oa", "received_at": now, "store": store}
    form |= {"content": "跑绒", "customer": CUSTOMER, "goods": GOODS} | facts
    return door_of(house).open(COMPLAINT, Complaint.model_validate(form), wang, past=past).case


def closed(house: House, case: str, ago: timedelta = timedelta(0)) -> None:
    with house.database.writing() as session:
        row = session.get_one(CaseRow, case)
        row.state, row.closed_at = "archived", datetime.now(UTC) - ago


# However it is typed


@pytest.mark.parametrize(
    "spelt",
    [
        "13800000001",
        "138 0000 0001",
        "+86 138-0000-0001",
        "0086 13800000001",
        "８６　１３８００００　０００１",
        "(138) 0000.0001",
        "一三八〇〇〇〇零零零一",
        "138\u200b0000\u200b0001",
    ],
)
def test_every_spelling_of_a_phone_number_is_one_number(spelt: str):
    assert normal("phone", spelt) == "+8613800000001"


@given(
    st.lists(st.sampled_from(["", " ", "-", "－", "—", ".", "　", "\u200b"]), min_size=11, max_size=11),
    st.lists(st.sampled_from([0, 0xFF10 - 0x30, 0x0660 - 0x30]), min_size=11, max_size=11),
)
def test_whatever_stands_between_its_digits_and_whichever_digits_they_are(apart: list[str], scripts: list[int]):
    spelt = "".join(
        chr(ord(digit) + script) + mark for digit, script, mark in zip("13800000001", scripts, apart, strict=True)
    )
    assert normal("phone", spelt) == "+8613800000001"


@pytest.mark.parametrize(
    ("kind", "spelt", "known"),
    [
        ("phone", "021-5555 1234 转 8001", "+862155551234"),
        ("phone", "+1 (650) 253-0000", "+16502530000"),
        ("card", "vip 0012-345", "VIP0012345"),
        ("card", "ＶＩＰ００１２３４５", "VIP0012345"),
        ("receipt", "2026/1122/0001", "202611220001"),
        ("email", " Xiao.Hong＠EXAMPLE.com", "xiao.hong@example.com"),
    ],
)
def test_so_it_is_with_every_other_number(kind: Kind, spelt: str, known: str):
    assert normal(kind, spelt) == known


@pytest.mark.parametrize(
    ("kind", "spelt", "code"),
    [
        ("phone", "她的手机", "phone_none"),
        ("phone", "1380000000", "phone_short"),
        ("phone", "138000000012", "phone_long"),
        ("phone", "13800000001 / 13900000002", "phone_long"),
        ("phone", "+999 1234 5678", "phone_country"),
        ("card", "- 12 -", "code_short"),
        ("email", "xiao.hong", "email_none"),
    ],
)
def test_what_is_no_such_number_says_why_and_repeats_nothing_of_it(kind: Kind, spelt: str, code: str):
    with pytest.raises(Invalid) as refused:
        normal(kind, spelt)
    assert [(error.field, error.code) for error in refused.value.errors] == [(kind, code)]
    assert spelt not in str(refused.value.errors)


def test_a_text_with_two_phone_numbers_is_found_by_either():
    facts = {"customer": {"phone": "138-0000-0001（女儿），座机 021-5555 1234"}}
    assert numbers_of(facts) == {("phone", "+8613800000001"), ("phone", "+862155551234")}


def test_facts_without_a_customer_or_of_another_process_hold_nothing():
    assert numbers_of({"customer": None, "goods": "umbrella"}) == set()


# Found


@pytest.mark.parametrize(
    "number",
    [
        {"phone": "+86 138 0000 0001"},
        {"card": "vip0012345"},
        {"receipt": "202611220001"},
        {"email": "xiao.hong@example.com"},
    ],
    ids=lambda number: next(iter(number)),
)
def test_a_customer_is_found_by_each_of_his_numbers_and_nobody_else_is(house: House, number: dict[str, str]):
    opened(house, "OA-1")
    opened(house, "OA-2", customer={"phone": "13900000002", "card_no": "VIP0012346"}, goods=None)
    assert found(house, **number) == ["OA-1"]


def test_a_number_of_one_kind_is_not_found_as_another(house: House):
    opened(house, "OA-1", customer={"card_no": "13800000001"}, goods=None)
    assert found(house, phone="13800000001") == []
    assert found(house, card="13800000001") == ["OA-1"]


def test_open_cases_come_first_then_the_latest_in_pages(house: House):
    cases = [opened(house, f"OA-{n}") for n in range(5)]
    closed(house, cases[4])
    status, first = ask(house, "lin", "POST", "/customers/search", {"phone": "13800000001", "limit": 2})
    assert (status, first["more"]) == (200, 3)
    rest = ask(house, "lin", "POST", "/customers/search", {"phone": "13800000001", "cursor": first["cursor"]})[1]
    shown = [one["number"] for page in (first, rest) for one in page["items"]]
    assert shown == ["OA-3", "OA-2", "OA-1", "OA-0", "OA-4"]
    assert rest["cursor"] is None
    assert "1380000" not in base64.b64decode(first["cursor"]).decode()


def test_a_case_that_comes_with_a_past_is_found_too(house: House):
    received_at = datetime.now(UTC) - 10 * DAY
    past = ComplaintPast.model_validate({"replied_at": received_at + DAY, "closed_at": received_at + 2 * DAY})
    opened(house, "OLD-1", past=past, received_at=received_at)
    assert found(house, phone="13800000001") == ["OLD-1"]


def test_a_store_finds_its_own_cases_only(house: House):
    opened(house, "OA-1", store="SH01")
    opened(house, "OA-2", store="SH02")
    assert found(house, "oa-sh01", phone="13800000001") == ["OA-1"]
    assert found(house, "wang", phone="13800000001") == ["OA-2", "OA-1"]


@pytest.mark.parametrize("actor", ["admin", "sun"])
def test_nobody_else_looks_for_customers(house: House, actor: str):
    opened(house, "OA-1")
    status, said = ask(house, actor, "POST", "/customers/search", {"phone": "13800000001"})
    assert (status, said["code"]) == (403, "may_not_search")
    with house.database.reading() as session:
        assert session.exec(select(SearchRow)).all() == []


def test_nothing_found_is_an_empty_list_that_says_what_to_do(house: House):
    status, page = ask(house, "lin", "POST", "/customers/search", {"phone": "13800000001"})
    assert (status, page["items"], page["more"]) == (200, [], 0)
    assert "卡号" in page["hint"]
    english = ask(house, "lin", "POST", "/customers/search", {"phone": "13800000001"}, **{"Accept-Language": "en"})
    assert "receipt" in english[1]["hint"]


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"phone": "1380000"}, "phone", "phone_short"),
        ({"phone": "13800000001", "card": "1234"}, "body", "exactly_one"),
        ({}, "body", "exactly_one"),
        ({"phone": 13800000001}, "phone", "string_type"),
        ({"phone": "13800000001", "cursor": "nonsense"}, "cursor", "bad_cursor"),
        ({"13800000001": "phone"}, "body", "extra_forbidden"),
    ],
)
def test_what_does_not_hold_is_refused_without_being_repeated(house: House, body: Any, field: str, code: str):
    status, said = ask(house, "lin", "POST", "/customers/search", body)
    assert status == 422
    assert (field, code) in [(error["field"], error["code"]) for error in said["errors"]]
    assert "13800000001" not in str(said)
    assert "1380000" not in str(said)
    assert all(error["reason"] and "…" not in error["reason"] for error in said["errors"])


def test_a_number_is_never_part_of_an_address(house: House):
    assert ask(house, "lin", "GET", "/customers/search?phone=13800000001")[0] == 405


def test_every_search_is_written_down_by_kind_and_only_the_manager_reads_of_it(house: House):
    opened(house, "OA-1")
    found(house, "lin", phone="13800000001")
    found(house, "oa-sh02", card="VIP0012345")
    status, page = ask(house, "wang", "GET", "/customers/searches")
    assert status == 200
    assert [(one["by"], one["role"], one["kind"], one["found"]) for one in page["items"]] == [
        ("oa-sh02", "store", "card", 0),
        ("lin", "specialist", "phone", 1),
    ]
    assert ask(house, "lin", "GET", "/customers/searches")[0] == 403


# Related


def related(house: House, case: str, actor: str = "lin") -> dict[str, list[str]]:
    status, page = ask(house, actor, "GET", f"/cases/{case}/related")
    assert status == 200, page
    return {one["number"]: one["same"] for one in page["items"]}


def test_a_case_says_which_other_cases_its_customer_has_and_by_what(house: House):
    case = opened(house, "OA-1")
    opened(house, "OA-2", goods=None, customer={"phone": "+86 13800000001"})
    opened(house, "OA-3", goods=GOODS, customer={"phone": "13900000002", "card_no": "vip-0012345"})
    opened(house, "OA-4", goods=None, customer={"phone": "13900000002"})
    assert related(house, case) == {"OA-2": ["phone"], "OA-3": ["card", "receipt"]}


def test_a_card_is_not_another_customers_receipt(house: House):
    case = opened(house, "OA-1", customer={"card_no": "20261122"}, goods=None)
    opened(house, "OA-2", customer={}, goods={"receipt_no": "20261122"})
    assert related(house, case) == {}


def test_of_those_that_are_closed_only_the_last_ninety_days(house: House):
    for number, days in (("NEW", 89), ("OLD", 91)):
        closed(house, opened(house, number), ago=days * DAY)
    assert list(related(house, opened(house, "OA-1"))) == ["NEW"]


def test_a_case_without_others_says_so(house: House):
    case = opened(house, "OA-1")
    assert ask(house, "lin", "GET", f"/cases/{case}/related")[1]["hint"]


def test_who_may_not_read_a_case_hears_nothing_of_its_customers_others(house: House):
    case = opened(house, "OA-1", store="SH01")
    opened(house, "OA-2", store="SH02")
    assert related(house, case, "oa-sh01") == {}
    assert ask(house, "oa-sh02", "GET", f"/cases/{case}/related")[0] == 404
    assert ask(house, "admin", "GET", f"/cases/{case}/related")[0] == 403


# Corrected


class Correct(Form):
    """As the desk's own form that corrects a case's facts: the customer and the goods may be in it."""

    customer: Customer | None = None


CORRECTING = replace(COMPLAINT, acts=(*COMPLAINT.acts, Correct))


def corrected(house: House, case: str, **customer: str) -> None:
    lin = house.people.person("lin")
    assert lin
    door_of(house).hand_in(CORRECTING, case, Correct(customer=Customer(**customer)), lin)


def test_a_customer_is_found_by_a_corrected_number_and_still_by_the_one_before(house: House):
    case = opened(house, "OA-1")
    corrected(house, case, phone="139 0000 0002")
    corrected(house, case, phone="13900000002", name="李四")
    noted = values(house)
    for phone in ("13800000001", "13900000002"):
        assert found(house, phone=phone) == ["OA-1"]
    opened(house, "OA-2", customer={"phone": "13900000002"}, goods=None)
    assert related(house, case) == {"OA-2": ["phone"]}
    with house.database.writing() as session:
        customers.note_anew(session, house.keys, case)
    assert values(house) >= noted


def test_nor_does_the_library_take_a_corrected_name(house: House):
    case = opened(house, "OA-1")
    corrected(house, case, name="李四四")
    closed(house, case)
    for name in ("张小红", "李四四"):
        entry = {"case": case, "title": f"{name}的围巾", "problem": "褪色", "solution": "换新"}
        status, said = ask(house, "lin", "POST", "/library", entry)
        assert (status, said["errors"][0]["code"]) == (422, "holds_own_name")


# The index


def values(house: House) -> set[tuple[str, str]]:
    with house.database.reading() as session:
        return {(row.kind, row.value) for row in session.exec(select(CustomerRow))}


def with_keys(house: House, text: str) -> House:
    """The same ledger, with another key ring."""
    other = House(house.settings.model_copy(update={"keys": SecretStr(text)}))
    other.__dict__["database"] = house.database
    return other


def test_the_index_is_of_its_own_key_and_holds_no_number():
    ring = KeyRing(KEYS)
    assert ring.index(b"phone:+8613800000001") != ring.digest(b"phone:+8613800000001")
    assert ring.index(b"phone:+8613800000001") != KeyRing(FRESH).index(b"phone:+8613800000001")
    assert ring.index(b"phone:+8613800000001") == KeyRing(f"{FRESH},{KEYS}").indexes(b"phone:+8613800000001")[1]


def test_cases_from_before_the_index_are_noted_once_and_then_left_alone(house: House):
    for number in ("OA-1", "OA-2"):
        opened(house, number)
    noted = values(house)
    with house.database.writing() as session:
        session.exec(delete(CustomerRow))
    assert found(house, phone="13800000001") == []
    assert customers.fill(house.database, house.keys) == 2
    assert values(house) == noted
    assert customers.fill(house.database, house.keys) == 0


def test_filling_goes_on_where_it_stopped_and_passes_over_what_it_cannot_read(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(customers, "AT_ONCE", 2)
    cases = [opened(house, f"OA-{n}") for n in range(5)]
    lost = opened(with_keys(house, FRESH), "LOST")
    with house.database.writing() as session:
        session.exec(delete(CustomerRow).where(col(CustomerRow.case_id) != cases[0]))
    assert customers.fill(house.database, house.keys) == 4
    assert sorted(found(house, phone="13800000001")) == [f"OA-{n}" for n in range(5)]
    assert customers.fill(house.database, with_keys(house, f"{FRESH},{KEYS}").keys) == 6
    with house.database.reading() as session:
        assert session.get(CustomerRow, (lost, customers.NOTED, "new"))


def test_a_customer_is_found_before_and_after_the_turn_to_a_new_key(house: House):
    opened(house, "OLD")
    both = with_keys(house, f"{FRESH},{KEYS}")
    latest = opened(both, "NEW")
    assert found(both, phone="13800000001") == ["NEW", "OLD"]
    assert related(both, latest) == {"OLD": ["card", "email", "phone", "receipt"]}
    assert customers.fill(both.database, both.keys) == 1
    assert {value.partition(":")[0] for _, value in values(both)} == {"new"}
    assert found(with_keys(house, FRESH), phone="13800000001") == ["NEW", "OLD"]


@ON_SQLITE
def test_the_ledger_file_holds_no_number_in_any_spelling_after_all_this(house: House):
    case = opened(house, "OA-1")
    opened(house, "OA-2")
    found(house, phone="138-0000-0001")
    found(house, card="VIP0012345")
    related(house, case)
    customers.fill(house.database, with_keys(house, f"{FRESH},{KEYS}").keys)
    secrets = ("张小红", "13800000001", "138-0000-0001", "VIP0012345", "202611220001", "xiao.hong", "Xiao.Hong")
    files = [Path(str(house.database.url.database) + end) for end in ("", "-wal")]
    assert all(file.exists() for file in files)
    for file in files:
        content = file.read_bytes()
        assert [secret for secret in secrets if secret.encode() in content] == []


async def test_a_case_opened_over_http_is_found_at_once(office: Office):
    async with office.api("oa-sh01") as store:
        opened = (await store.post("/api/cases/complaint", json=office.complaint())).json()
        page = (await store.post("/api/customers/search", json={"phone": "138 0000 0001"})).json()
    assert [one["case"] for one in page["items"]] == [opened["case"]]


# The command


@ON_SQLITE
def test_the_command_line_finds_them_too(house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    opened(house, "OA-1")
    monkeypatch.setenv("KEFU_DATA", str(house.settings.data))
    monkeypatch.setenv("KEFU_DATABASE_URL", house.settings.database_url.get_secret_value())  # type: ignore[union-attr]
    monkeypatch.setenv("KEFU_KEYS", KEYS)
    kefu(["customer", "--as", "lin", "--phone", "138-0000-0001"], standalone_mode=False)
    assert "OA-1" in capsys.readouterr().out
    kefu(["customer", "--as", "lin", "--card", "9999"], standalone_mode=False)
    assert "核对卡号" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"phone: .*位数不够"):
        kefu(["customer", "--as", "lin", "--phone", "1380000"], standalone_mode=False)


@ON_SQLITE
def test_migrating_notes_the_customers_of_a_ledger_that_had_no_index(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    opened(house, "OA-1")
    with house.database.writing() as session:
        session.exec(delete(CustomerRow))
    monkeypatch.setenv("KEFU_DATA", str(house.settings.data))
    monkeypatch.setenv("KEFU_DATABASE_URL", house.settings.database_url.get_secret_value())  # type: ignore[union-attr]
    monkeypatch.setenv("KEFU_KEYS", KEYS)
    kefu(["migrate"], standalone_mode=False)
    assert "1 个工单" in capsys.readouterr().out
    assert found(house, phone="13800000001") == ["OA-1"]
